"""The same build again: settings need not be repeated, and a finished cache needs no model. Messages may go to a file or nowhere."""

import dataclasses
import json
import re

import pytest

from cache_schema import products, spec, store, synthetic
from cache_schema.spec import PointSpec
from pipeline import building, journal, terminal
from pipeline.opening import recorded_config
from pipeline.recipes import configured
from pipeline.teachers import catalog as teachers
from tests.boxes import box_off, contents, write_meshes
from tests.pipeline import checkpoints
from tests.pipeline.conftest import build
from tests.pipeline.test_cli import run

SETTINGS = ["points.count=32", "points.ordered=8", "points.blocks=1", "views.size=32", "views.rig=ring4", "captions=none", "shard=4"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_meshes(tmp_path_factory.mktemp("again") / "boxes")


@pytest.fixture(scope="module")
def done(shapes, tmp_path_factory):
    """A cache with one teacher."""
    path = tmp_path_factory.mktemp("cache") / "x.zarr"
    return build(shapes, path, configured("smoke", [*SETTINGS, "teachers=starter-resnet"]))


def test_a_finished_cache_says_so_and_loads_no_model(shapes, done, monkeypatch):
    before = contents(done.path)
    monkeypatch.setattr(teachers, "load", lambda *args, **options: pytest.fail("a model was loaded"))
    config = recorded_config(done.path)
    assert config == configured("smoke", [*SETTINGS, "teachers=starter-resnet"])
    code, _, said = run("build", shapes, done.path)
    assert code in (0, 1) and "going on with the settings of its last build" in said and "so no model is loaded" in said
    assert contents(done.path) == before

    file = shapes / "slab/train/box_0.off"
    was = file.read_text()
    file.write_text(box_off((2, 9, 1)))
    _, _, said = run("build", shapes, done.path)
    assert "the file of 1 shape changed" in said and "slab/train/box_0.off." in said and "has everything" not in said
    assert contents(done.path) == before
    file.write_text(was)  # it is newer than the cache, and the same
    assert "has everything that this build makes" in run("build", shapes, done.path)[2]


@pytest.mark.parametrize("change", ["dinov2", "labels", "removed", "folder"])
def test_a_cache_is_not_taken_for_finished_when_something_may_be_missing(shapes, done, monkeypatch, change):
    config = recorded_config(done.path)
    assert building._all_there(done.path, config)
    match change:
        case "dinov2":
            config = dataclasses.replace(config, teachers=(*config.teachers, "dinov2-small"))
        case "labels":
            config = dataclasses.replace(config, labels=("modelnet10",))
        case "removed":
            kept = {n: r for n, r in done.records().items() if products.of(r) is not products.IMAGE}
            monkeypatch.setattr(building, "finished", lambda cache: kept)
        case "folder":
            config = dataclasses.replace(config, teachers=(f"mine=transformers:{checkpoints.dino()}",))
            monkeypatch.setattr(journal.Journal, "last_build", journal.Build(config=spec.to_json(config)))
    assert not building._all_there(done.path, config)


def test_a_stopped_build_goes_on_with_its_settings_and_takes_changes(shapes, tmp_path):
    path = tmp_path / "x.zarr"
    build(
        shapes,
        path,
        configured("points", ["points.count=32", "points.ordered=8", "points.blocks=1", "source.kind=folder", "source.split=0.5"]),
    )
    code, _, said = run("build", shapes, path, "--set", "points.count=16")
    assert code == 2 and "with points.count=16" in said and "count is 32, asked 16" in said
    assert recorded_config(path).source.settings == {"split": "0.5"}
    code, _, said = run("build", shapes, path, "--recipe", "points")
    assert code == 2 and "was built from this source read otherwise" in said  # a recipe begins anew: the split was not asked for


def test_quiet_shows_results_and_mistakes_only_and_a_log_keeps_the_rest(shapes, tmp_path):
    log = tmp_path / "log.txt"
    build_points = ["build", shapes, tmp_path / "x.zarr", "--recipe", "points", "--set", "points.count=32", "--set", "points.ordered=8"]
    code, out, said = run(*build_points, "--quiet", "--log-file", log)
    assert (code, out, said) == (0, "", "")
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d .", line) for line in lines)
    assert "mmpd-cache build" in lines[0] and "is complete" in log.read_text()
    code, _, said = run("build", "nowhere/", tmp_path / "y.zarr", "--quiet", f"--log-file={log}")
    assert code == 2 and "nowhere" in said and "nowhere" in log.read_text().splitlines()[-1]
    code, _, said = run("pull", "https://jane:secret@lab.example/x.zarr?key=abc", tmp_path / "y.zarr", f"--log-file={log}")
    assert code == 2 and "secret" not in log.read_text() and "abc" not in log.read_text() and "lab.example/x.zarr" in log.read_text()
    code, _, said = run("status", tmp_path / "x.zarr", "--log-file", tmp_path / "none" / "log.txt")
    assert code == 2 and "log.txt cannot be written" in said
    code, _, said = run("status", tmp_path / "x.zarr", "--log-file", "--json")
    assert code == 2 and "--log-file needs the name of a file, got --json" in said
    code, _, said = run("status", tmp_path / "none.zarr")
    assert code == 2 and "does not exist" in said  # nothing stays quiet or logged afterwards
    assert not terminal.log


def test_no_place_of_this_machine_gets_into_a_cache(built):
    place = str(checkpoints.dino().parent).encode()
    for file in built.rglob("*"):
        if file.is_file():
            assert place not in file.read_bytes(), file
    assert place in built.with_name(built.name + ".journal").read_bytes()  # which stays beside it


def test_commands_that_change_a_cache_print_what_they_did_in_one_form(shapes, tmp_path):
    path, more = tmp_path / "x.zarr", tmp_path / "more"
    more.mkdir()
    (more / "new.off").write_text(box_off((1, 2, 3)))
    (more / "broken.off").write_text("OFF\n")
    tiny = ["--recipe", "points", "--set", "points.count=32", "--set", "points.ordered=8", "--set", "source.label=none", "--json"]
    now = {"path": str(path), "remarked": 0, "products": ["index", "points", "status"], "unfinished": []}

    def told(*command):
        code, out, _ = run(*command)
        assert code == 0
        return json.loads(out)

    built = told("build", more, path, *tiny)
    counts = {"ok": 1, "failed": 1, "pending": 0}
    assert built == now | {"did": {"made": now["products"]}, "shapes": counts}
    assert told("build", more, path, *tiny)["did"] == {"made": []}
    assert told("retry", path, "--json") == built | {"did": {"tried": 1, "changed": 0, "reread": 0, "mended": 0, "left": 0}}
    (more / "broken.off").write_text(box_off((2, 2, 3)))
    counts = {"ok": 2, "failed": 0, "pending": 0}
    assert told("retry", path, "--json") == now | {"did": {"tried": 1, "changed": 0, "reread": 0, "mended": 1, "left": 0}, "shapes": counts}
    assert told("retry", path, "--json") == now | {"did": {"tried": 0, "changed": 0, "reread": 0, "mended": 0, "left": 0}, "shapes": counts}
    assert told("append", path, more, "--json") == now | {"did": {"appended": 0, "known": 2, "left": 0}, "shapes": counts}
    (more / "third.off").write_text(box_off((3, 2, 3)))
    counts = {"ok": 3, "failed": 0, "pending": 0}
    assert told("append", path, more, "--json", "--set", "source.label=none") == now | {
        "did": {"appended": 1, "known": 2, "left": 0},
        "shapes": counts,
    }
    (more / "fourth.off").write_text("OFF\n")
    code, out, _ = run("append", path, more, "--json", "--strict", "--set", "source.label=none")
    assert code == 1 and json.loads(out)["shapes"] == {"ok": 3, "failed": 1, "pending": 0}, "what a command did is told before it fails"

    first = tmp_path / "first.zarr"
    synthetic.write(first, shapes=8, shard=4, points=PointSpec(count=32, blocks=1, ordered=8))
    image = next(record.product for record in store.open_cache(first).records().values() if record.kind == "image")
    copied = told("copy", first, tmp_path / "second.zarr", "--json")
    assert copied["did"] == {"copied": 8, "left_out": {}} and image in copied["products"]
    removed = told("remove", tmp_path / "second.zarr", image, "--with-dependants", "--json")
    assert image in removed["did"]["removed"] and image not in removed["products"]
    assert removed.keys() == copied.keys() == built.keys()
