"""Failed shapes are tried again: what is mended later ends with the bytes it would have had at once, and nobody else is touched."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache_schema import products, spec, store, validate
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.layout import texts
from cache_schema.spec import GuideSpec, Record
from pipeline import embedding, opening, origins, records
from pipeline.complete import Retried
from pipeline.recipes import BuildConfig, SourceConfig
from pipeline.retry import retry
from pipeline.work import Machine
from tests.pipeline.checkpoints import dino
from tests.pipeline.conftest import Silent, box_off, build, contents, small, write_meshes

CPU = Machine(workers=1, device="cpu")
BROKEN = {"slab/train/broken.off": box_off((5, 1, 2)), "tower/test/empty.off": box_off((1, 4, 2))}


def mend(folder: Path, *names: str) -> Path:
    for name in names or BROKEN:
        (folder / name).write_text(BROKEN[name])
    return folder


@pytest.fixture
def mine(meshes, tmp_path):
    """A copy of the meshes, in which two are broken."""
    return Path(shutil.copytree(meshes, tmp_path / "boxes"))


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """A cache of the same shapes of which none was ever broken."""
    folder = tmp_path_factory.mktemp("right")
    build(mend(write_meshes(folder / "boxes")), folder / "c.zarr")
    return folder / "c.zarr"


@pytest.fixture
def there(built, mine, tmp_path):
    """A cache with two failed shapes, whose files can be mended."""
    shutil.copytree(built, tmp_path / "c.zarr")
    shutil.copy(f"{built}.journal", tmp_path / "c.zarr.journal")
    return tmp_path / "c.zarr"


def said(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda _, text: lines.append(text))
    return lines


@pytest.mark.parametrize("how", ["build", "retry"])
def test_mended_files_get_the_bytes_they_would_have_had_at_once(there, mine, right, how):
    mend(mine)
    if how == "build":
        build(mine, there)
    else:
        assert retry(there, str(mine), CPU, Silent()) == Retried(tried=2, mended=2)
    assert contents(there) == contents(right)
    assert validate.problems(there) == []


def test_nobody_else_is_touched_and_what_is_still_broken_stays_so(there, mine, built):
    mend(mine, "slab/train/broken.off")
    (mine / "tower/test/empty.off").write_text("OFF\n1 0 0\n")  # broken otherwise
    before = store.open_cache(built)
    build(mine, there)
    after = store.open_cache(there)
    ids = list(after.ids())
    rows = [row for row, name in enumerate(ids) if name not in BROKEN]
    for name in (
        "points/xyz",
        "points/rgb",
        "points/normal",
        "views/rgb",
        "views/pose",
        "captions/blip2/text",
        "captions/blip2/score",
        "image/starter-resnet",
        "image/random-dino",
        "text/blip2/starter-resnet",
        "reason",
        "source_sha256",
        "status",
    ):
        assert np.array_equal(after.array(name)[:][rows], before.array(name)[:][rows]), name
    row = ids.index("tower/test/empty.off")
    assert not after.ok()[row] and after.ok().sum() == 8
    assert texts(after.array("reason")[:])[row] not in ("", texts(before.array("reason")[:])[row])
    untouched = contents(there)
    build(mine, there)  # its file is as it was when it failed
    assert contents(there) == untouched
    assert validate.problems(there) == []


def test_a_build_of_more_tries_mended_files_too(mine, right, tmp_path):
    build(mine, tmp_path / "c.zarr", small(views=None, captions=None, teachers=(), labels=()))
    mend(mine)
    build(mine, tmp_path / "c.zarr")
    assert contents(tmp_path / "c.zarr") == contents(right)


def test_a_changed_file_fails_that_shape_alone_until_it_is_restored_or_taken_as_it_is(mine, tmp_path, monkeypatch):
    path, changed = tmp_path / "c.zarr", mine / "slab/train/box_0.off"
    original = changed.read_text()
    few = small(teachers=("starter-resnet",), captions=None, labels=())
    build(mine, path, dataclasses.replace(few, views=None, teachers=()))
    changed.write_text(box_off((2, 9, 1)))
    build(mine, path, few)
    cache = store.open_cache(path)
    reasons = dict(zip(cache.ids(), texts(cache.array("reason")[:]), strict=True))
    assert reasons["slab/train/box_0.off"].startswith("its file, or one beside it, has changed since its points were made; restore it")
    assert cache.ok().sum() == 6 and not cache.array("points/xyz")[:][~cache.ok()].any()
    assert validate.problems(path) == []
    shutil.copytree(path, tmp_path / "other.zarr")

    changed.write_text(original)
    build(mine, path, few)
    build(mine, tmp_path / "fresh.zarr", few)
    assert contents(path) == contents(tmp_path / "fresh.zarr")

    changed.write_text(box_off((2, 9, 1)))
    lines = said(monkeypatch)
    assert retry(tmp_path / "other.zarr", str(mine), CPU, Silent()).mended == 1
    assert [line for line in lines if "1 shape had failed because of files that changed" in line]
    build(mine, tmp_path / "fresh2.zarr", few)
    assert contents(tmp_path / "other.zarr") == contents(tmp_path / "fresh2.zarr")


def test_shapes_whose_files_changed_are_named_by_a_build_and_made_anew_by_retry(there, mine, tmp_path, monkeypatch):
    lines = said(monkeypatch)
    build(mine, there)  # the copies of the files are newer than the cache, and the same
    assert lines and not any("changed" in line for line in lines)
    before = contents(there)
    (mine / "slab/train/box_0.off").write_text(box_off((2, 9, 1)))
    (mine / "slab/train/box_2.off").write_text("OFF\n1 0 0\n")
    lines.clear()
    build(mine, there)
    assert any("2 shapes changed after" in line and "slab/train/box_0.off, slab/train/box_2.off." in line for line in lines)
    assert contents(there) == before

    assert retry(there, str(mine), CPU, Silent()) == Retried(tried=4, changed=2, mended=1)
    build(mine, tmp_path / "fresh.zarr")
    assert contents(there) == contents(tmp_path / "fresh.zarr")
    assert validate.problems(there) == []


def test_a_teacher_that_was_added_follows(mine, tmp_path):
    config, name = small(teachers=("starter-resnet",)), f"late=transformers:{dino()}"
    build(mine, tmp_path / "c.zarr", config)
    embedding.add_teacher(tmp_path / "c.zarr", name, None, 64, CPU, Silent())
    mend(mine)
    build(mine, tmp_path / "c.zarr", config)
    build(mine, tmp_path / "fresh.zarr", config)
    embedding.add_teacher(tmp_path / "fresh.zarr", name, None, 64, CPU, Silent())
    assert contents(tmp_path / "c.zarr") == contents(tmp_path / "fresh.zarr")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("writes", [1, 9, 20, 45])
def test_killed_while_it_tries_again_it_goes_on(there, mine, right, monkeypatch, writes):
    mend(mine)
    count, write, unlink = [0], write_file, Path.unlink

    def dying(act):
        def call(*arguments, **options):
            count[0] += 1
            if count[0] == writes:
                raise Killed
            return act(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_file", dying(write))
        patch.setattr(Path, "unlink", dying(unlink))
        with pytest.raises(Killed):
            build(mine, there)
    build(mine, there)
    assert contents(there) == contents(right)


def test_other_software_is_not_mixed_in(there, mine, monkeypatch):
    lines = said(monkeypatch)
    mend(mine)
    before = contents(there)
    real = records.software

    def other(kind, **where):
        return (*real(kind, **where), ("torch", "0")) if kind is products.IMAGE else real(kind, **where)

    monkeypatch.setattr(records, "software", other)
    with pytest.raises(UserError, match=r"2 failed shapes cannot be tried again: image/.* was made by other software \(torch 2.*here 0\)"):
        retry(there, str(mine), CPU, Silent())
    build(mine, there)
    assert any("2 failed shapes are not tried again, though files may be others by now" in line for line in lines)
    assert contents(there) == before


def test_a_guide_has_to_be_made_again(there, mine, monkeypatch):
    lines = said(monkeypatch)
    cache = store.open_cache(there)
    described = GuideSpec(name="g", encoder="e", weights="w", tokens=3, dim=5, blocks=2)
    guide = Record(product="guide/g", kind="guide", spec=described, inputs=())
    cache.begin(guide)
    for shard in range(cache.manifest.shards):
        rows = len(cache.manifest.rows(shard))
        values = {"guide/g/tokens": np.zeros((rows, 2, 3, 5), np.float16), "guide/g/summary": np.zeros((rows, 2, 5), np.float16)}
        cache.write(guide, shard, values)
    cache.finish(guide)
    mend(mine, "slab/train/broken.off")
    build(mine, there)
    assert "guide/g" not in store.open_cache(there).products()
    assert store.open_cache(there).missing(guide) == [1]
    assert any("guide/g is not finished: run `mmpd-train guide c.zarr RUN --name g`" in line for line in lines)
    assert {p.kind for p in validate.problems(there)} == {"unfinished"}


def test_a_failed_shape_has_the_digest_of_its_file(built):
    cache = store.open_cache(built)
    assert cache.array("source_sha256")[:].any(axis=1).all()
    assert (cache.array("status")[:] == spec.FAILED).sum() == 2


def test_what_cannot_be_tried_again_is_said(there, mine, tmp_path):
    Path(f"{there}.journal").rename(tmp_path / "kept")
    with pytest.raises(UserError, match="give it with --source"):
        retry(there, "", CPU, Silent())
    other = write_meshes(tmp_path / "other")
    (other / "slab/train/new.off").write_text(box_off((1, 2, 3)))
    with pytest.raises(UserError, match=r"holds shapes that .* does not hold: slab/train/new\.off\. `mmpd-cache append` takes them in"):
        retry(there, str(other), CPU, Silent())
    with pytest.raises(UserError, match=r"image/random-dino cannot be made here: no folder .*random-dino"):  # only the journal knows where
        retry(there, str(mine), CPU, Silent())
    (tmp_path / "kept").rename(f"{there}.journal")
    assert retry(there, str(mine), CPU, Silent()) == Retried(tried=2, mended=0)


@pytest.mark.parametrize("option", ["count=999999999", "seed=5"])
def test_a_journal_does_not_overrule_what_the_cache_says_of_its_source(tmp_path, option):
    asked = BuildConfig(source=SourceConfig(options=("count=3",)))
    cache = opening.create(tmp_path / "c.zarr", opening.open_config_source("starter", asked), 0)
    noted = spec.to_json(dataclasses.replace(asked, source=SourceConfig(options=(option,))))
    note = {"time": 1, "event": "build", "source": "starter", "config": noted}
    (tmp_path / "c.zarr.journal").write_text(json.dumps(note) + "\n")
    source, _ = origins.source_again(cache, "")
    assert len(source.entries) == 3 and dict(source.reader.options)["seed"] == "0"
    sealed = dataclasses.replace(cache.manifest.source, options=(("count", "999999999"),))
    forged = store.Cache(cache.path, dataclasses.replace(cache.manifest, source=sealed))
    with pytest.raises(UserError, match="holds 3 shapes, but its source is said to make 999999999"):
        origins.source_again(forged, "")
