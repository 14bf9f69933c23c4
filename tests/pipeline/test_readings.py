"""Shapes of two readings of one format do not get into a cache unnoticed."""

import dataclasses
import importlib.metadata
import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cache_schema import copy, layout, overlay, store, synthetic, validate
from cache_schema.errors import UserError
from cache_schema.spec import ViewSpec
from pipeline import build as build_
from pipeline import complete, readings, records
from pipeline.append import Wanted, append
from pipeline.cameras import RIGS
from pipeline.cli import app
from pipeline.complete import Retried
from pipeline.executors import dask
from pipeline.formats.catalog import READINGS
from pipeline.models import Models
from pipeline.plan import Plan
from pipeline.repair import repair
from pipeline.retry import retry
from pipeline.work import Machine
from tests.boxes import Silent, box_off, contents
from tests.pipeline import reading_digests
from tests.pipeline.conftest import build, small

CPU = Machine(workers=1, device="cpu")
POINTS = small(views=None, captions=None, teachers=(), labels=(), shard=2)


@pytest.fixture
def shapes(tmp_path):
    """Two boxes and two clouds, and a box and a cloud that are broken."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    for at in range(2):
        (folder / f"box_{at}.off").write_text(box_off((1, 2, 3 + at)))
        np.savetxt(folder / f"cloud_{at}.xyz", np.random.default_rng(at).normal(size=(80, 3)))
    (folder / "box_9.off").write_text("OFF\n")
    (folder / "cloud_9.xyz").write_text("1 2 3\n4 5\n")
    return folder


@pytest.fixture
def more(tmp_path):
    """A folder of one box, and one of one cloud."""
    (tmp_path / "boxes").mkdir()
    (tmp_path / "clouds").mkdir()
    (tmp_path / "boxes" / "new.off").write_text(box_off((3, 1, 1)))
    np.savetxt(tmp_path / "clouds" / "new.xyz", np.random.default_rng(7).normal(size=(80, 3)))
    return tmp_path / "boxes", tmp_path / "clouds"


@pytest.fixture
def there(shapes, tmp_path):
    """A cache that an earlier version has built, which read .xyz otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(READINGS, ".xyz", 0)
        build(shapes, tmp_path / "c.zarr", POINTS)
    return tmp_path / "c.zarr"


@pytest.fixture
def said(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda _, text: lines.append(text))
    return lines


RETRIED = {"tried": 1, "changed": 0, "reread": 0, "mended": 1, "left": 1}
"""What `retry` tells of a box that is tried, and a cloud that is not."""


def noted(path: Path) -> dict[str, tuple[str, ...]]:
    return store.open_cache(path).record("points").readings


def forgotten(path: Path) -> Path:
    """A cache as it was before caches noted how files were read."""
    cache = store.open_cache(path)
    record = cache.record("points")
    cache.rewrite_record(readings.alike(record, dataclasses.replace(record, made_by=())))
    assert noted(path) == {}
    return path


def mend(shapes: Path) -> None:
    (shapes / "box_9.off").write_text(box_off((5, 1, 1)))
    np.savetxt(shapes / "cloud_9.xyz", np.random.default_rng(9).normal(size=(80, 3)))


def test_a_cache_notes_how_its_files_were_read_and_that_changes_no_fingerprint(shapes, there, tmp_path):
    assert noted(there) == {".off": ("1",), ".xyz": ("0",)}
    build(shapes, tmp_path / "now.zarr", POINTS)
    assert noted(tmp_path / "now.zarr") == {".off": ("1",), ".xyz": ("1",)}
    one, two = (store.open_cache(path).records() for path in (there, tmp_path / "now.zarr"))
    assert {name: record.fingerprint for name, record in one.items()} == {name: record.fingerprint for name, record in two.items()}
    made = build(Path("starter"), tmp_path / "starter.zarr", dataclasses.replace(POINTS, source=small_starter()))
    assert made.record("points").readings == {} and readings.told(made) == {}


def small_starter():
    return dataclasses.replace(POINTS.source, options=("count=3",))


def test_nothing_is_read_otherwise_without_a_new_number():
    pytest.importorskip("laspy")
    known, now = reading_digests.FILE.read_text().splitlines(), reading_digests.lines()
    before = {line.rpartition(" ")[0] for line in known}
    changed = [line.split()[0] for line in now if line not in known and line.rpartition(" ")[0] in before]
    assert not changed, (
        f"{changed} give another shape: raise their numbers in READINGS of pipeline/formats/catalog.py, and write the file again"
    )
    assert known == now, "write the file again: python -m tests.pipeline.reading_digests"


def test_append_refuses_files_that_are_read_otherwise_and_takes_others(there, more):
    boxes, clouds = more
    before = contents(there)
    with pytest.raises(UserError, match=r"1 shape \(new\.xyz\) would be read otherwise .*reader \.xyz 0, here 1.* retry .* --reread"):
        append(there, str(clouds), Wanted(), CPU, Silent())
    assert contents(there) == before
    assert append(there, str(boxes), Wanted(), CPU, Silent()).shapes == 1
    assert noted(there) == {".off": ("1",), ".xyz": ("0",)}


def test_append_takes_the_others_and_leaves_shapes_that_are_read_otherwise_with_a_reason(there, more):
    boxes, clouds = more
    (clouds / "new.xyz").rename(boxes / "cloud_new.xyz")
    done = CliRunner().invoke(app, ["append", str(there), str(boxes), "--device", "cpu", "--workers", "1", "--json"])
    assert done.exit_code == 1 and "2 shapes appended, 1 of them without being read" in done.stderr, done.stderr
    assert "Warning: 1 shape (cloud_new.xyz) would be read otherwise" in done.stderr and "the others are appended" in done.stderr
    assert json.loads(done.stdout)["did"]["left"] == 1
    cache = store.open_cache(there)
    rows = {str(name): row for row, name in enumerate(cache.ids())}
    ok, reasons = cache.ok(), cache.column("reason")
    assert ok[rows["new.off"]] and not ok[rows["cloud_new.xyz"]] and noted(there) == {".off": ("1",), ".xyz": ("0",)}
    assert "(reader .xyz 0, here 1): `mmpd-cache retry CACHE --reread`" in str(layout.texts(reasons[rows["cloud_new.xyz"]]))
    again = append(there, str(boxes), Wanted(), CPU, Silent())
    assert (again.shapes, again.known) == (0, 2), "it is known, and not appended a second time"
    retry(there, "", CPU, Silent(), reread=True)
    assert store.open_cache(there).ok()[rows["cloud_new.xyz"]] and noted(there) == {".off": ("1",), ".xyz": ("1",)}
    assert validate.problems(there) == []


def test_a_product_of_a_package_that_is_gone_names_the_package(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=4, shard=4)
    record = next(record for record in cache.products().values() if record.kind == "image")
    record = dataclasses.replace(record, made_by=(("mmpd-demo", "1.2"), ("numpy", importlib.metadata.version("numpy"))))
    said = complete.hindrance(record, Models("cpu"), "")
    assert said.endswith("It was made with mmpd-demo 1.2, not installed here: `pip install mmpd-demo==1.2`"), said


def test_a_format_that_is_new_in_a_cache_is_noted(there, tmp_path):
    (tmp_path / "tables").mkdir()
    np.save(tmp_path / "tables" / "new.npy", np.random.default_rng(7).normal(size=(80, 3)))
    append(there, str(tmp_path / "tables"), Wanted(), CPU, Silent())
    assert noted(there) == {".npy": ("1",), ".off": ("1",), ".xyz": ("0",)}


def test_shapes_that_are_read_otherwise_are_not_tried_again_until_all_of_them_are_made_anew(shapes, there, more, said, tmp_path):
    mend(shapes)
    (shapes / "box_9.off").write_text("OFF\n")
    before = contents(there)
    box = RETRIED | {"mended": 0}
    assert dataclasses.asdict(retry(there, "", CPU, Silent())) == box, "the broken box is tried all the same"
    mend(shapes)
    build(shapes, there, POINTS)
    told = "not tried again: 1 shape (cloud_9.xyz) would be read otherwise"
    assert sum(told in line for line in said) == 2
    assert noted(there) == {".off": ("1",), ".xyz": ("0",)} and contents(there) != before
    before = contents(there)
    with pytest.raises(UserError, match=r"1 failed or changed shape cannot be tried again: 1 shape \(cloud_9\.xyz\) .*--reread"):
        retry(there, "", CPU, Silent())
    assert contents(there) == before
    assert retry(there, "", CPU, Silent(), reread=True) == Retried(tried=3, reread=2, mended=3)
    build(shapes, tmp_path / "fresh.zarr", POINTS)
    assert contents(there) == contents(tmp_path / "fresh.zarr")
    assert not validate.problems(there)
    assert append(there, str(more[1]), Wanted(), CPU, Silent()).shapes == 1
    assert retry(there, "", CPU, Silent(), reread=True) == Retried()  # there is nothing left


def test_a_cache_whose_shapes_are_half_made_anew_says_that_it_has_both(shapes, there, more, tmp_path, monkeypatch):
    def stopped(cache, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_, "retry_shapes", after(1, build_.retry_shapes, stopped))
        with pytest.raises(KeyboardInterrupt):
            retry(there, "", CPU, Silent(), reread=True)
    build(shapes, there, POINTS)  # it lacks nothing
    assert noted(there) == {".off": ("1",), ".xyz": ("0", "1")}
    for number in (0, 1):  # whichever version goes on
        monkeypatch.setitem(READINGS, ".xyz", number)
        with pytest.raises(UserError, match=rf"reader \.xyz 0 and 1, here {number}"):
            append(there, str(more[1]), Wanted(), CPU, Silent())
    assert retry(there, "", CPU, Silent(), reread=True).reread == 2
    build(shapes, tmp_path / "fresh.zarr", POINTS)
    assert contents(there) == contents(tmp_path / "fresh.zarr")


def after(calls, first, then):
    """A function that is the first one for some calls, and then the other."""
    left = [calls]

    def called(*args):
        left[0] -= 1
        return (first if left[0] >= 0 else then)(*args)

    return called


def test_one_shape_that_is_read_otherwise_keeps_no_others_from_a_retry(shapes, there):
    (shapes / "box_9.off").write_text(box_off((5, 1, 1)))
    (shapes / "box_0.off").write_text(box_off((4, 1, 1)))  # it was ok
    np.savetxt(shapes / "cloud_0.xyz", np.random.default_rng(3).normal(size=(80, 3)))  # so was it
    result = CliRunner().invoke(app, ["retry", str(there), "--json", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["did"] == {"tried": 2, "changed": 1, "reread": 0, "mended": 2, "left": 2}
    assert "2 failed or changed shapes are not tried again: 2 shapes (cloud_0.xyz, cloud_9.xyz)" in " ".join(result.stderr.split())
    assert store.open_cache(there).ok().sum() == 5 and not validate.problems(there)


@pytest.mark.parametrize("installed", [True, False])
def test_reread_is_recommended_with_the_packages_that_it_needs(shapes, there, more, installed, monkeypatch):
    if not installed:
        versions = importlib.metadata.version
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "9" if name == "scipy" else versions(name))
    with pytest.raises(UserError, match="--reread") as told:
        append(there, str(more[1]), Wanted(), CPU, Silent())
    needs = re.search(
        r"only with the packages that made the cache \(scipy [0-9.]+, here 9\): install these, or build it anew", str(told.value)
    )
    assert bool(needs) != installed
    shown = CliRunner().invoke(app, ["status", str(there)]).output
    assert ("mmpd-cache retry" in shown) and ("(scipy" in shown) != installed
    if not installed:
        with pytest.raises(UserError, match=r"other software \(scipy .*Install what made the cache, or build it anew elsewhere"):
            retry(there, "", CPU, Silent(), reread=True)


def test_failed_shapes_of_other_formats_are_tried_again(shapes, there):
    (shapes / "box_9.off").write_text(box_off((5, 1, 1)))
    (shapes / "cloud_9.xyz").unlink()
    with pytest.raises(UserError, match="does not hold the shapes"):
        retry(there, "", CPU, Silent())
    (shapes / "cloud_9.xyz").write_text("1 2 3\n4 5\n")
    build(shapes, there, POINTS)
    assert store.open_cache(there).ok().sum() == 5


def test_what_a_stopped_build_lacks_is_not_read_otherwise(shapes, there, tmp_path):
    cache = store.open_cache(there)
    for name in ("points", "status"):
        cache.reopen(cache.record(name), 2)  # of a good and a broken cloud
    before = contents(there)
    for call in (lambda: build(shapes, there, POINTS), lambda: retry(there, "", CPU, Silent())):
        with pytest.raises(UserError, match=r"cloud_1\.xyz.* would be read otherwise"):
            call()
        assert contents(there) == before
    retry(there, "", CPU, Silent(), reread=True)
    build(shapes, tmp_path / "fresh.zarr", POINTS)
    assert contents(there) == contents(tmp_path / "fresh.zarr")


def test_pictures_are_not_drawn_of_another_reading_than_the_points(shapes, there):
    before = contents(there)
    with pytest.raises(UserError, match="would be read otherwise"):
        build(shapes, there, dataclasses.replace(POINTS, views=ViewSpec(rig=RIGS["ring4"], size=32)))
    assert contents(there) == before


def test_an_overlay_is_not_begun_to_be_filled_with_pictures_of_another_reading(shapes, there, more, tmp_path, monkeypatch):
    mine, views = tmp_path / "mine.zarr", dataclasses.replace(POINTS, views=ViewSpec(rig=RIGS["ring4"], size=32))
    with monkeypatch.context() as patch, overlay.laid(there, mine):
        patch.setitem(READINGS, ".xyz", 0)
        build(shapes, mine, views)
        append(there, str(more[1]), Wanted(), CPU, Silent())
    before = contents(mine)
    with pytest.raises(UserError, match=rf"new\.xyz\) would be read otherwise.* retry {there} --reread"):
        retry(mine, "", CPU, Silent())
    assert contents(mine) == before


def test_of_caches_of_before_it_is_said_that_it_is_not_known(shapes, there, more, said):
    forgotten(there)
    told = "does not say how it read .xyz"
    build(shapes, there, POINTS)  # it reads nothing
    assert not any(told in line for line in said)
    append(there, str(more[1]), Wanted(), CPU, Silent())
    assert sum(told in line for line in said) == 1
    assert noted(there) == {}, "of the new shape alone it is known"
    mend(shapes)
    retry(there, "", CPU, Silent())
    assert any("does not say how it read .off, .xyz" in line for line in said)
    assert retry(there, "", CPU, Silent(), reread=True).reread == 7
    assert noted(there) == {".off": ("1",), ".xyz": ("1",)}


def test_a_copy_of_several_caches_says_how_each_was_read(shapes, there, more, tmp_path):
    build(more[1], tmp_path / "two.zarr", POINTS)
    build(more[0], tmp_path / "three.zarr", POINTS)
    forgotten(tmp_path / "three.zarr")
    copy.copy(there, tmp_path / "both.zarr", also=(tmp_path / "two.zarr",))
    assert noted(tmp_path / "both.zarr") == {".off": ("1",), ".xyz": ("0", "1")}
    copy.copy(tmp_path / "both.zarr", tmp_path / "all.zarr", also=(tmp_path / "three.zarr",))
    assert noted(tmp_path / "all.zarr") == {"": ("not known",), ".off": ("1",), ".xyz": ("0", "1")}
    made_in_code = dataclasses.replace(POINTS, source=small_starter(), point_labels=False)
    build(Path("starter"), tmp_path / "starter.zarr", made_in_code)
    copy.copy(tmp_path / "starter.zarr", tmp_path / "with.zarr", also=(there,))
    assert noted(tmp_path / "with.zarr") == noted(there), "of shapes that are made in code there is nothing to know"
    copy.copy(tmp_path / "starter.zarr", tmp_path / "without.zarr", also=(tmp_path / "three.zarr",))
    assert noted(tmp_path / "without.zarr") == {}
    assert readings.told(store.open_cache(tmp_path / "without.zarr")) == {"readers": {"": ["not known"]}}
    cache = store.open_cache(tmp_path / "all.zarr")
    record = cache.record("points")
    assert readings.otherwise(record, [".off", ".xyz"]) == {".xyz": "0 and 1"}
    assert readings.not_known(cache.manifest, record, [".off", ".xyz"]) == [".off"]
    assert readings.alike(record, record).readings == record.readings


def test_info_says_how_files_were_read_and_status_what_is_read_otherwise(there):
    runner = CliRunner()
    told = runner.invoke(app, ["info", str(there)]).output
    assert "readings of the files: .off 1, .xyz 0" in told
    assert "reader .xyz 0, here 1" in runner.invoke(app, ["status", str(there)]).output
    body = json.loads(runner.invoke(app, ["info", str(there), "--json"]).output)
    assert body["readers"] == {".off": ["1"], ".xyz": ["0"]} and body["read_otherwise"] == {".xyz": 1}
    forgotten(there)
    assert "readings of the files: not known" in runner.invoke(app, ["info", str(there)]).output


def test_a_repair_says_what_is_read_otherwise(there):
    cache = store.open_cache(there)
    record = cache.record("points")
    values = {node.path: cache.shard_rows(node, 1).copy() for node in cache.arrays(record)}
    values["points/xyz"][1] *= -1  # so it was read then
    cache.reopen(record, 1)
    begun = cache.records()["points"]
    cache.write(begun, 1, values)
    cache.finish(begun)
    cache.file(cache.node("points/xyz").key(1)).unlink()
    with pytest.raises(UserError, match=r"made it \(reader \.xyz 0, here 1\)\. Restore"):
        repair(there, "", CPU, Silent())


def test_a_worker_that_reads_otherwise_is_refused(there, monkeypatch):
    plan = Plan(path=there, records=(), task=None, devices=("cpu",), image_batch=1, caption_batch=1)
    monkeypatch.setattr(dask, "held_token", lambda path: "")
    monkeypatch.setattr(dask, "is_held", lambda path: True)
    dask._check_machine(plan, "cpu")
    monkeypatch.setitem(READINGS, ".ply", 9)
    with pytest.raises(UserError, match=r"reads files otherwise \(\.ply 1, here 9\)"):
        dask._check_machine(plan, "cpu")


def test_packages_are_compared_without_an_import(tmp_path, monkeypatch):
    """`status` asks on every cache with a failed shape."""
    monkeypatch.setattr(records.teachers, "packages", lambda backend: pytest.fail("this imports torch"))
    record = synthetic.write(tmp_path / "a.zarr", shapes=2).records()["image/random-a"]
    said = (("torch", "0"), ("also no-such-package", "1"), ("device", "tpu"), ("also device", "cpu"), ("image_batch", "3"))
    here = importlib.metadata.version("torch")
    assert records.packages_changed([dataclasses.replace(record, made_by=said)]) == [
        f"torch 0, here {here}",
        "also no-such-package 1, here none",
    ]
