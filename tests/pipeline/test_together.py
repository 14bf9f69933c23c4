"""What one command makes is known to the others: overlays, imported products, growth, copies and pushes."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cache_schema import licences, overlay, remote, store, synthetic, validate
from cache_schema.copy import copy
from cache_schema.errors import UserError
from cache_schema.selection import Selection
from pipeline import publish
from pipeline.edits import relabel, remove
from pipeline.importing import Captions, Embeddings, import_captions, import_embeddings
from pipeline.opening import recorded_config
from pipeline.origins import source_again
from pipeline.retry import retry
from pipeline.sources import objaverse, ulip
from tests.boxes import Silent, contents, write_meshes
from tests.pipeline.conftest import build, small
from tests.pipeline.test_append import CPU, grow, halves


def brought(path: Path, name: str, dim: int = 6) -> None:
    """Import embeddings of all shapes."""
    ids = [str(one) for one in store.open_cache(path).ids() if one]
    values = np.random.default_rng(len(ids)).standard_normal((len(ids), dim)).astype(np.float32)
    file = path.with_name(f"{name}.npz")
    np.savez(file, ids=np.array(ids), values=values)
    import_embeddings(path, file, Embeddings(teacher=name, kind="image", text_side=False), Silent())


@pytest.fixture
def shared(tmp_path):
    return synthetic.write(tmp_path / "shared.zarr", shapes=10, shard=4, failed=(3,)).path


@pytest.fixture
def mine(shared, tmp_path):
    """An overlay with a product of its own."""
    with overlay.laid(shared, tmp_path / "mine.zarr") as path:
        brought(path, "own")
    return path


def test_an_overlay_gives_up_its_own_products_and_leaves_the_shared_cache_alone(shared, mine, tmp_path):
    before = contents(shared)
    table = tmp_path / "t.csv"
    table.write_text(f"id,class\n{store.open_cache(shared).ids()[0]},new\n")
    with pytest.raises(UserError, match=r"image/random-a lies in the shared cache .*shared.zarr; run this command on .*shared.zarr"):
        remove(mine, ["image/random-a"], True, Silent())
    with pytest.raises(UserError, match=r"is an overlay: its shapes are those of the shared cache .*; run this command on .*shared.zarr"):
        relabel(mine, table, Silent())
    with pytest.raises(UserError, match=r"is an overlay: its shapes are those of the shared cache"):
        grow(mine, tmp_path)
    assert remove(mine, ["image/own"], False, Silent()) == ["image/own"]
    assert set(contents(mine)) == {"zarr.json"} and validate.problems(mine) == [] and contents(shared) == before
    brought(mine, "own")
    assert validate.problems(mine) == [] and store.open_cache(mine).owns("image/own")


def test_an_overlay_is_pushed_and_copied_in_part_as_one_cache(shared, mine, tmp_path):
    publish.push(mine, str(tmp_path / "there.zarr"), allow_unknown=True, terminal=Silent())
    whole = copy(mine, tmp_path / "whole.zarr").cache
    there = {name: data for name, data in contents(tmp_path / "there.zarr").items() if name not in (remote.CARD, remote.TABLE)}
    assert there == contents(whole.path) and validate.problems(tmp_path / "there.zarr") == []
    with pytest.raises(UserError, match="is an overlay, and a pull makes a plain cache"):
        publish.pull(str(tmp_path / "there.zarr"), mine, terminal=Silent())
    part = copy(mine, tmp_path / "part.zarr", where=Selection.parse("split=train")).cache
    rows = Selection.parse("split=train").rows(store.open_cache(mine))
    np.testing.assert_array_equal(part.array("image/own")[:], store.open_cache(mine).array("image/own")[:][rows])
    assert validate.problems(part.path) == []


def test_who_opened_an_overlay_before_its_shared_cache_was_replaced_is_told(shared, mine):
    remove(shared, ["image/random-b"], True, Silent())
    assert "image/random-b" not in store.open_cache(mine).products()
    assert "image/own" in store.open_cache(mine).products()


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A cache of points of the first five of nine shapes, with imported embeddings and captions, and the folders of both halves."""
    folder = tmp_path_factory.mktemp("half")
    one, two = halves(write_meshes(folder / "boxes", 9), folder, 5)
    path = build(one, folder / "c.zarr", small(views=None, teachers=(), captions=None, labels=())).path
    brought(path, "theirs")
    lines = "".join(f"{name},a box\n" for name in store.open_cache(path).ids())
    (folder / "captions.csv").write_text(f"id,caption\n{lines}")
    import_captions(path, folder / "captions.csv", Captions(name="said"), Silent())
    return path, one, two


@pytest.fixture
def grown(half, tmp_path):
    path = tmp_path / "c.zarr"
    shutil.copytree(half[0], path)
    shutil.copy(f"{half[0]}.journal", tmp_path)
    return path, half[1], half[2]


def test_a_cache_with_imported_products_grows_without_them_and_gets_them_again(grown):
    path, _, two = grown
    with pytest.raises(UserError, match=r"image/theirs: .*it was imported, and no model here makes it: remove it") as told:
        grow(path, two)
    assert "captions/said: " in str(told.value) and "--products points" in str(told.value)
    made = grow(path, two, "points")
    assert set(made.unfinished) == {"image/theirs", "captions/said"}
    with pytest.raises(UserError, match=r"failed shapes cannot be tried again: .*it was imported"):
        retry(path, "", CPU, Silent())
    assert {problem.kind for problem in validate.problems(path)} == {"unfinished"}
    remove(path, made.unfinished, True, Silent())
    brought(path, "theirs")
    assert validate.problems(path) == [] and store.open_cache(path).record("image/theirs").lacking == 0
    publish.push(path, f"{path}.there", allow_unknown=True, terminal=Silent())
    publish.pull(f"{path}.there", path.with_name("back.zarr"), terminal=Silent())
    assert store.open_cache(path.with_name("back.zarr")).manifest == store.open_cache(path).manifest
    assert validate.problems(path.with_name("back.zarr")) == []
    with pytest.raises(UserError, match=r"has grown: .*so no one source can build it"):
        build(two, path, small(views=None, teachers=(), captions=None, labels=()))


def test_an_append_that_was_stopped_leaves_the_settings_of_the_build(grown, monkeypatch):
    path, one, two = grown
    before = recorded_config(path)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.append.complete", lambda *args, **more: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            grow(path, two, "points", settings=("limits.seconds=77",))
    assert recorded_config(path) == before
    assert source_again(store.open_cache(path), "")[0].reader.location == str(one)


def test_licences_that_sources_write_are_known():
    for name in (*objaverse.LICENCES.values(), *ulip.LICENCES.values()):
        assert licences.terms(name).sharing != "unknown", name
