"""The commands that add products, with --overlay: the bytes of a cache made in one place, and nothing written into the shared one."""

import json
import shutil
import signal
import time

import numpy as np
import pytest

from cache_schema import overlay, products, store, synthetic, validate
from cache_schema.copy import copy
from cache_schema.errors import UserError
from cache_schema.files import exclusive
from cache_schema.layout import node_json
from cache_schema.spec import Record
from pipeline import building, captioning, embedding, label_sets
from pipeline.append import Wanted, append
from pipeline.captioners import catalog as captioners
from pipeline.recipes import DenseConfig
from pipeline.repair import repair
from pipeline.retry import retry
from pipeline.work import Machine
from tests.boxes import Silent, box_off, contents, write_meshes
from tests.forks import Command
from tests.growth import grow
from tests.harm import flip
from tests.pipeline.conftest import build, small
from tests.pipeline.test_append import halves
from tests.pipeline.test_cli import run
from tests.readonly import read_only

CPU = Machine(workers=1, device="cpu")


def data(path):
    """Contents of all files but the root's, by place."""
    return {name: content for name, content in contents(path).items() if name != "zarr.json"}


def assert_one_cache(shared, mine, plain):
    """That a shared cache and an overlay together have the files of a cache made in one place, and each of them in one place only."""
    lower, upper = data(shared), data(mine)
    assert lower | upper == data(plain)
    assert all(upper[name] == node_json() for name in lower.keys() & upper.keys())  # groups
    assert store.open_cache(mine).products() == store.open_cache(plain).products()


def add_all(path):
    """Every command that adds to a cache, one after the other."""
    captioning.add_captioner(path, captioners.asked("template", []), 16, CPU, Silent())
    embedding.add_teacher(path, "starter-attributes", None, 8, CPU, Silent())
    label_sets.add_labels(path, "modelnet10", 64, CPU, Silent())
    embedding.add_dense(path, "starter-attributes", DenseConfig(groups=8, group_size=4), None, 8, CPU, Silent())


@pytest.fixture(scope="module")
def plain(built, tmp_path_factory):
    """A copy of the complete cache, with four more lots of products."""
    path = tmp_path_factory.mktemp("plain") / "boxes.zarr"
    shutil.copytree(built, path)
    shutil.copy(f"{built}.journal", f"{path}.journal")
    add_all(path)
    return path


@pytest.fixture(scope="module")
def mine(built, tmp_path_factory):
    """The same products in an overlay of the complete cache."""
    path = tmp_path_factory.mktemp("mine") / "mine.zarr"
    with read_only(built, built.with_name(built.name + ".journal")), overlay.laid(built, path):
        add_all(path)
    return path


def test_what_the_commands_add_to_an_overlay_has_the_bytes_of_one_cache(built, mine, plain, tmp_path):
    before = contents(built)
    assert_one_cache(built, mine, plain)
    assert validate.problems(mine) == []
    both, one = copy(mine, tmp_path / "both.zarr").cache, copy(plain, tmp_path / "one.zarr").cache
    assert contents(both.path) == contents(one.path) and validate.problems(both.path) == []
    assert contents(built) == before
    with open(tmp_path / "both.zarr.journal") as journal:
        events = [json.loads(line)["event"] for line in journal]
    assert [name for name in events if name not in ("shard", "done")] == ["build", "add-captioner", "add-teacher", "labels", "add-dense"]


def test_a_build_into_an_overlay_makes_what_the_shared_cache_lacks(meshes, built, tmp_path):
    points = small(views=None, teachers=(), captions=None, labels=())
    shared = build(meshes, tmp_path / "points.zarr", points).path
    with read_only(shared, tmp_path / "points.zarr.journal"), overlay.laid(shared, tmp_path / "mine.zarr") as path:
        build(meshes, path)
        build(meshes, path)  # the same again does nothing
    assert_one_cache(shared, path, built)
    assert validate.problems(path) == []
    record = store.open_cache(path).record(products.VIEWS.name)
    assert store.open_cache(path).owns("views") and record.complete
    with pytest.raises(UserError, match=r"holds points made from another specification.*spec.count is 64, asked 32"):
        build(meshes, path, small(points=small().points.__class__(count=32, blocks=2, ordered=16, normals=True)))


def test_failed_shapes_belong_to_the_shared_cache(meshes, tmp_path):
    folder = tmp_path / "boxes"
    shutil.copytree(meshes, folder)
    points = small(views=None, teachers=(), captions=None, labels=())
    shared = build(folder, tmp_path / "points.zarr", points).path
    before = contents(shared)
    (folder / "slab/train/broken.off").write_text(box_off((5, 1, 2)))
    views = small(teachers=(), captions=None, labels=())
    told = []
    terminal = type("Told", (Silent,), {"say": lambda _, text: told.append(text)})()
    with overlay.laid(shared, tmp_path / "mine.zarr") as path:
        building.build_cache(str(folder), path, views, CPU, terminal)
    assert any("not tried again" in line and f"`mmpd-cache retry {shared}` tries them there" in line for line in told)
    with pytest.raises(UserError, match=r"cannot be tried again: they belong to the shared cache .*mmpd-cache retry"):
        retry(path, "", CPU, Silent())
    assert contents(shared) == before and validate.problems(path) == []
    retry(shared, "", CPU, Silent())
    with pytest.raises(UserError, match=r"views was made from status of .*, which has been made again since"):
        store.open_cache(path)


def test_a_shape_whose_file_changed_stops_a_build_into_an_overlay(meshes, tmp_path):
    folder = tmp_path / "boxes"
    shutil.copytree(meshes, folder)
    shared = build(folder, tmp_path / "points.zarr", small(views=None, teachers=(), captions=None, labels=())).path
    before = contents(shared)
    (folder / "slab/train/box_0.off").write_text(box_off((5, 1, 2)))
    with pytest.raises(UserError, match=r"box_0.* is not as it was when its points were made .*status lies in the shared cache"):
        with overlay.laid(shared, tmp_path / "mine.zarr") as path:
            build(folder, path, small(teachers=(), captions=None, labels=()))
    assert contents(shared) == before


def test_repair_mends_an_overlay_and_leaves_the_shared_cache_to_its_owner(built, mine, tmp_path):
    for one in (built, mine):
        shutil.copytree(one, tmp_path / one.parent.name / one.name)
        shutil.copy(f"{one}.journal", tmp_path / one.parent.name)
    shared, path = tmp_path / built.parent.name / built.name, tmp_path / mine.parent.name / mine.name
    overlay_root = json.loads((path / "zarr.json").read_text())["attributes"]["mmpd"]
    assert overlay_root["shared"] == f"../../{built.parent.name}/{built.name}"
    assert store.open_cache(path).home == shared
    right = contents(path)
    flip(path / "image/starter-attributes/c/0/0/0")
    (path / "products/dense/starter-attributes/c/1/0/0").unlink()
    flip(path / "captions/template/text/c/0/0/0/0")
    done = repair(path, "", CPU, Silent())
    assert contents(path) == right and len(done) >= 3
    flip(shared / "points/xyz/c/1/0/0/0")
    with pytest.raises(UserError, match=r"the shared cache is damaged: `mmpd-cache verify --repair .*boxes.zarr` mends it"):
        repair(path, "", CPU, Silent())
    code, said, _ = run("verify", path)
    assert code == 1 and f"{shared}/points/xyz/c/1/0/0/0: corrupt" in said and "1 problem" in said
    repair(shared, "", CPU, Silent())
    assert validate.problems(path) == []


def test_every_reader_takes_an_overlay(built, mine, tmp_path):
    with read_only(built, built.with_name(built.name + ".journal")):
        code, said, _ = run("info", mine)
        assert code == 0 and f"overlay of {built}; of its own it has: " in said and "image/starter-resnet" in said
        code, said, _ = run("info", mine, "--json")
        told = json.loads(said)
        assert told["shared"] == str(built) and "dense/starter-attributes" in told["own"] and "points" not in told["own"]
        assert {"points", "dense/starter-attributes"} <= told["products"].keys()
        assert told["products"]["points"]["bytes"] == json.loads(run("info", built, "--json")[1])["products"]["points"]["bytes"] > 0
        code, said, _ = run("status", mine)
        assert code == 0 and "7 ok" in said and f"overlay of {built}" in said
        assert run("verify", mine)[:2] == (0, "everything is as it was written\n")
        code, said, err = run("report", mine, tmp_path / "report.html", "--shapes", 3)
        assert code == 0, err
        page = (tmp_path / "report.html").read_text()
        assert "starter-attributes" in page and "build" in page
        assert run("report", mine, built / "report.html")[0] == 2 and not (built / "report.html").exists()


ADDS = (("add-teacher", "starter-attributes"), ("add-captioner", "template"), ("labels", "modelnet10"), ("add-dense", "starter-attributes"))


def test_a_cache_that_is_read_only_is_one_line_that_names_the_option(built, meshes, mine, tmp_path):
    with read_only(built):
        for command, name in (*ADDS, ("build", meshes)):
            code, _, err = run(command, *((name, built) if command == "build" else (built, name)))
            told = [line for line in err.strip().splitlines() if line and "going on with the settings" not in line]
            assert code == 2 and len(told) == 1, err
            assert (
                f"{built} cannot be written: {built} is read-only for you. Put new products into a folder of your own by --overlay" in err
            )
    with read_only(mine):
        code, _, err = run("labels", mine, "modelnet10")
        assert code == 2 and f"--overlay MINE.zarr, and give {built} in place of {mine}" in err


def test_the_commands_as_a_user_calls_them(built, tmp_path):
    path, before = tmp_path / "mine.zarr", contents(built)
    for wrong in (("add-teacher", built, "no-such"), ("labels", built, "no-such-set"), ("add-captioner", built, "no-such")):
        code, _, err = run(*wrong, "--overlay", path)
        assert code == 2 and "no-such" in err and not path.exists(), err
    code, _, err = run("overlay", built, path)
    assert code == 0 and f"{path} is a new overlay of {built}." in err
    code, _, err = run("labels", built, "modelnet10", "--overlay", path, "--device", "cpu")
    assert code == 0 and f"{path} now has labels/modelnet10" in err
    code, _, err = run("add-captioner", path, "template", "--device", "cpu")
    assert code == 0 and f"{path} now has captions/template" in err
    code, _, err = run("add-captioner", path, "template", "--overlay", tmp_path / "third.zarr")
    assert code == 2 and f"is an overlay itself: lay yours on its shared cache, {built}" in err
    assert run("copy", path, tmp_path / "whole.zarr")[0] == 0 and store.open_cache(tmp_path / "whole.zarr").below is None
    assert contents(built) == before and run("verify", path)[0] == 0


def test_a_command_that_is_killed_goes_on_in_the_overlay(built, mine, tmp_path):
    path = tmp_path / "mine.zarr"
    arguments = ("add-dense", built, "starter-attributes", "--groups", 8, "--group-size", 4, "--batch", 8, "--device", "cpu")
    killed = Command(("mmpd-cache", *arguments, "--workers", 1, "--overlay", path), tmp_path / "said")
    marker = path / "products/dense/starter-attributes/c/0/0/0"
    while killed.alive and not marker.exists():
        time.sleep(0.01)
    killed.send(signal.SIGKILL)
    killed.end()
    assert run(*arguments, "--workers", 1, "--overlay", path)[0] == 0
    made, right = data(path), data(mine)
    there = {name: content for name, content in made.items() if "dense/" in name}
    assert there and there == {name: content for name, content in right.items() if "dense/" in name}
    assert validate.problems(path) == []


def test_an_overlay_of_a_shared_cache_that_has_grown_is_read_killed_and_filled(tmp_path):
    """`retry` makes the overlay's views of the new shapes, also after SIGKILL: the bytes of a cache that was made in one place and grew."""
    one, two = halves(write_meshes(tmp_path / "boxes", 7, ()), tmp_path, 4)
    points, path, plain = small(views=None, teachers=(), captions=None, labels=()), tmp_path / "mine.zarr", tmp_path / "plain.zarr"
    shared = build(one, tmp_path / "lab.zarr", points).path
    for suffix in ("", ".journal"):
        (shutil.copy if suffix else shutil.copytree)(f"{shared}{suffix}", f"{plain}{suffix}")
    views = small(teachers=(), captions=None, labels=())
    with overlay.laid(shared, path):
        build(one, path, views)
    build(one, plain, views)
    for cache in (shared, plain):
        append(cache, str(two), Wanted(), CPU, Silent())
    before = contents(shared)
    code, said, _ = run("status", path)
    assert code == 0 and "4 ok" in said and f"{shared} has grown by 3 shapes, which views of {path} lacks" in said
    assert json.loads(run("status", path, "--json")[1])["behind"] == 3
    assert run("verify", path)[0] == 0
    code, _, err = run("build", one, path)
    assert code == 2 and "has grown: it holds 7 shapes in 2 segments" in err and "mmpd-cache retry" in err
    killed = Command(("mmpd-cache", "retry", path, "--workers", 1, "--device", "cpu"), tmp_path / "said")
    assert killed.says("has its 7 shapes now, and views lacks the new ones")
    killed.send(signal.SIGKILL)
    killed.end()
    assert store.open_cache(path).manifest.count == 7
    assert run("retry", path, "--workers", 1, "--device", "cpu")[0] == 0
    assert_one_cache(shared, path, plain)
    assert validate.problems(path) == [] and contents(shared) == before


@pytest.fixture
def behind(tmp_path):
    """An overlay with embeddings of its own, whose shared cache of random numbers has grown by 5 shapes since."""
    path = tmp_path / "mine.zarr"
    synthetic.write(tmp_path / "lab.zarr", shapes=16)
    overlay.lay(tmp_path / "lab.zarr", path)
    cache = store.open_cache(path)
    record = Record(product="image/extra", kind="image", spec=synthetic.teacher("extra", 8), per_shape=3, inputs=())
    with exclusive(path):
        synthetic.fill(cache, {record: {"image/extra": np.ones((16, 3, 8), np.float16)}})
    grow(tmp_path / "lab.zarr")
    return path


def test_an_overlay_that_lacks_new_shapes_is_not_handed_on_in_silence(behind, tmp_path):
    for command in ("copy", "push"):
        code, _, err = run(command, behind, tmp_path / "out.zarr")
        assert code == 2 and f"has grown by 5 shapes, which image/extra of {behind} lacks" in err and f"`mmpd-cache retry {behind}`" in err
        assert "Do that first: " in err and not (tmp_path / "out.zarr").exists()
    assert run("report", behind, tmp_path / "report.html")[0] == 0
    assert "has grown by 5 shapes, which image/extra of" in (tmp_path / "report.html").read_text()
    assert run("report", tmp_path / "lab.zarr", tmp_path / "report.html")[0] == 0
    assert "has grown by" not in (tmp_path / "report.html").read_text()


def test_class_names_leave_what_an_overlay_has_as_it_is_and_other_imports_are_refused(behind, tmp_path):
    was = data(behind)
    np.savez(tmp_path / "names.npz", emb=np.ones((3, 8), np.float32), ids=np.array(["cone", "cube", "torus"]))
    new = ("import-embeddings", behind, tmp_path / "names.npz", "--key", "emb", "--model", "x", "--teacher", "given")
    assert run(*new, "--kind", "labels", "--labels", "mine")[0] == 0
    cache = store.open_cache(behind)
    assert {"image/extra", "labels/mine/given"} <= cache.products().keys() and overlay.behind(cache) == 5
    assert all(data(behind)[name] == value for name, value in was.items()) and validate.problems(behind) == []
    ids = store.open_cache(tmp_path / "lab.zarr").ids()
    np.savez(tmp_path / "all.npz", emb=np.ones((len(ids), 3, 8), np.float32), ids=ids.astype(str))
    was = contents(behind)
    code, _, err = run("import-embeddings", behind, tmp_path / "all.npz", "--kind", "image", *new[3:])
    assert code == 2 and "in image/extra, which this command does not make; they would be unfinished. First: `mmpd-cache retry" in err
    assert "Or put new products into another overlay (--overlay ANOTHER.zarr)" in err and contents(behind) == was


def test_a_teacher_is_refused_before_an_overlay_takes_in_new_shapes_or_makes_all_that_it_lacks(tmp_path):
    one, two = halves(write_meshes(tmp_path / "boxes", 5, ()), tmp_path, 3)
    path, teacher = tmp_path / "mine.zarr", ("starter-attributes", "--device", "cpu")
    shared = build(one, tmp_path / "lab.zarr", small(teachers=(), captions=None, labels=())).path
    assert run("add-teacher", shared, *teacher, "--overlay", path)[0] == 0
    append(shared, str(two), Wanted(), CPU, Silent())
    was = contents(path)
    for other, words in (
        (("mine=starter-attributes", "--device", "cpu"), "in image/starter-attributes, which this command does not make"),
        ((*teacher, "--precision", "bfloat16"), "made from another specification"),
    ):
        code, _, err = run("add-teacher", path, *other)
        assert code == 2 and words in err and contents(path) == was, err
    assert run("add-teacher", path, *teacher)[0] == 0
    cache = store.open_cache(path)
    assert cache.manifest.count == 5 and cache.proven("image/starter-attributes") and validate.problems(path) == []
