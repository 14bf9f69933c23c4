"""A guide in an overlay: the bytes and the training of one that was written into the cache itself."""

import dataclasses

import numpy as np
import pytest
import torch

from cache_schema import overlay, store, synthetic, validate
from cache_schema.errors import UserError
from cache_schema.spec import Record
from tests.boxes import contents
from tests.growth import grow
from tests.harm import copied
from tests.readonly import read_only
from tests.trainer.conftest import LABELS, config_of
from tests.trainer.test_cli import command  # noqa: F401
from trainer import checkpoint, guide, log
from trainer.loop import train
from trainer.tasks.seen import same
from trainer.tasks.shapes import of_split


@pytest.fixture(scope="module")
def mine(cache_path, aligned, tmp_path_factory):
    """An overlay of the small cache with the guide of `guided`."""
    path = tmp_path_factory.mktemp("mine") / "mine.zarr"
    with read_only(cache_path), overlay.laid(cache_path, path):
        guide.write(store.open_cache(path), checkpoint.load(aligned), "own", device="cpu")
    return path


def test_a_guide_in_an_overlay_has_the_bytes_of_one_in_the_cache(cache_path, guided, mine):
    own = {name: content for name, content in contents(mine).items() if name != "zarr.json"}
    whole = contents(guided)
    assert {name: whole[name] for name in own} == own
    assert any(name.startswith("guide/own/tokens/c/") for name in own) and not any(name.startswith("points/") for name in own)
    one, both = store.open_cache(guided), store.open_cache(mine)
    assert both.products() == one.products() and "guide/own" not in store.open_cache(cache_path).products()
    with read_only(cache_path):
        assert validate.problems(mine) == []


def test_a_student_trains_the_same_from_an_overlay(cache_path, guided, mine, aligned, tmp_path):
    losses = {}
    for name, path in (("one", guided), ("both", mine)):
        with read_only(cache_path):
            train(config_of("distill", "guide=own"), [path], tmp_path / name, guide_run=aligned, device="cpu")
        losses[name] = [record["loss"] for record in log.records(tmp_path / name)]
    assert losses["one"] == losses["both"] and len(losses["one"]) == 9


def test_a_teacher_in_an_overlay_is_the_same_target_in_the_same_place(cache_path, tmp_path):
    """Its name comes before those of the shared cache, so that an order by place on disk would be another one."""
    first = synthetic.teacher("a-first", 8, text=False)

    def extend(path):
        cache, rng = store.open_cache(path), np.random.default_rng(3)
        views = cache.record("image/random-a").per_shape
        image = Record(product="image/a-first", kind="image", spec=first, per_shape=views, inputs=())
        (node,) = cache.arrays(image)
        synthetic.fill(cache, {image: {node.path: rng.standard_normal(node.shape).astype(np.float16)}})
        return cache.path

    with overlay.laid(cache_path, tmp_path / "mine.zarr") as mine:
        caches = {"one": extend(copied(cache_path, tmp_path).path), "both": extend(mine)}
    losses = {}
    for name, path in caches.items():
        train(config_of("align"), [path], tmp_path / name, device="cpu")
        losses[name] = list(log.records(tmp_path / name))
    keys = [key for key in losses["one"][0] if key.startswith(("loss", "image", "text")) or "a-first" in key]
    assert any("a-first" in key for key in losses["one"][0]), losses["one"][0].keys()
    assert [[record[key] for key in keys] for record in losses["one"]] == [[record[key] for key in keys] for record in losses["both"]]
    assert list(losses["one"][0]) == list(losses["both"][0])


def test_the_command_writes_into_an_overlay_where_the_cache_is_read_only(cache_path, aligned, tmp_path, command):  # noqa: F811
    shared, path = copied(cache_path, tmp_path), tmp_path / "mine.zarr"
    before = contents(shared.path)
    with read_only(shared.path):
        code, _, err = command("guide", shared.path, aligned, "--name", "own", "--device", "cpu")
        assert code == 2 and len(err.strip().splitlines()) == 1
        assert f"{shared.path} cannot be written: " in err and "--overlay MINE.zarr, or compute" in err and "guide_online=true" in err
        code, _, err = command("guide", shared.path, aligned, "--name", "a/b", "--overlay", path)
        assert code == 2 and not path.exists()
        code, _, err = command("guide", shared.path, aligned, "--name", "own", "--overlay", path, "--device", "cpu")
        assert code == 0 and f"{path} now has guide/own. Next: mmpd-train distill {path} RUN --guide own" in err
        code, _, err = command("guide", path, aligned, "--name", "second", "--device", "cpu")  # the overlay is a cache as any
        assert code == 0
    assert contents(shared.path) == before and {"guide/own", "guide/second"} <= set(store.open_cache(path).products())


def test_a_cache_and_its_overlay_count_as_the_same_shapes(cache_path, mine):
    """So that a result says which test shapes were trained on, whichever of the two is named."""
    one, both = store.open_cache(cache_path), store.open_cache(mine)
    assert both.home == one.home == one.path and both.path != one.path and both.paths == (one.path, both.path)
    assert of_split(both, "train").data.cache == of_split(one, "train").data.cache == "small"
    assert (
        same(of_split(both, "train"), one, of_split(one, "train").rows).all() and not same(of_split(both, "train"), one, np.arange(0)).any()
    )


def test_a_guide_in_an_overlay_is_trained_on_when_the_shared_cache_has_grown_and_then_filled(cache_path, aligned, tmp_path, command):  # noqa: F811
    shared, path = copied(cache_path, tmp_path).path, tmp_path / "mine.zarr"
    with overlay.laid(shared, path):
        guide.write(store.open_cache(path), checkpoint.load(aligned), "own", device="cpu")
    losses, was = [], contents(path)
    for run in ("before", "after"):
        train(config_of("distill", "guide=own"), [path], tmp_path / run, guide_run=aligned, device="cpu")
        losses.append([record["loss"] for record in log.records(tmp_path / run)])
        if run == "before":
            grow(shared, 6, leave=("guide/random",), labels=LABELS)
    assert losses[0] == losses[1] and contents(path) == was
    code, _, err = command("guide", path, aligned, "--name", "own", "--device", "cpu")
    assert code == 0 and f"{path} now has guide/own" in err
    cache = store.open_cache(path)
    assert (
        cache.manifest.count == 66
        and cache.proven("guide/own")
        and {problem.product for problem in validate.problems(path)} == {"guide/random"}
    )
    kept = {name: data for name, data in was.items() if name.startswith("guide/") and "/c/" in name}
    assert {name: contents(path)[name] for name in kept} == kept


def test_what_a_guide_in_an_overlay_cannot_be_filled_by_is_refused_before_the_overlay_is_changed(
    cache_path, aligned, tmp_path, monkeypatch
):
    """An earlier version recorded no settings of its guide, and not always the fingerprint of its training."""
    loaded, known = checkpoint.load(aligned), guide.setup
    older, paths = dataclasses.replace(loaded, settings=()), {}
    shared = copied(cache_path, tmp_path).path
    for setup in ("", "other"):
        paths[setup] = tmp_path / f"mine{setup}.zarr"
        monkeypatch.setattr(guide, "setup", lambda header, setup=setup: setup)
        with overlay.laid(shared, paths[setup]):
            guide.write(store.open_cache(paths[setup]), older, "own", device="cpu")
    monkeypatch.setattr(guide, "setup", known)
    grow(shared, 6, leave=("guide/random",), labels=LABELS)
    was = {setup: contents(path) for setup, path in paths.items()}
    with pytest.raises(UserError, match=r"of another guide or other settings \(spec\.settings is "):
        guide.write(store.open_cache(paths["other"]), loaded, "own", device="cpu")
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"begun with other software .*torch"):
        patch.setattr(torch, "__version__", "another")
        guide.write(store.open_cache(paths[""]), loaded, "own", device="cpu")
    assert was == {setup: contents(path) for setup, path in paths.items()}
    assert guide.write(store.open_cache(paths[""]), loaded, "own", device="cpu").complete
    assert store.open_cache(paths[""]).manifest.count == 66
