"""Written files are plain Zarr, whole or absent; readers get what was written, fast and bounded, and never half a product."""

import dataclasses
import errno
import json
import multiprocessing
import os
import resource
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache_schema import products, spec, store, synthetic
from cache_schema.errors import UserError
from cache_schema.files import exclusive, held_token, write_file
from cache_schema.layout import ArraySpec, ShardFile, encode, encode_chunk, node_json, text_cells, texts
from cache_schema.products import markers
from cache_schema.records import differences, restoring
from cache_schema.rows import Rows
from cache_schema.settings import override
from cache_schema.spec import Camera, CameraRig, GuideSpec, PointSpec, Record, ViewSpec
from tests.cache_schema.conftest import at_once

GUIDE = GuideSpec(name="g", encoder="e", weights="w", tokens=3, dim=5, blocks=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("cache") / "c.zarr", shapes=21, failed=(3,), guide=GUIDE)


def mapped_arrays(cache):
    return [n.path for r in cache.products().values() if r.kind != "labels" for n in cache.arrays(r) if n.codec == "raw" and n.sharded]


def test_zarr_python_and_tensorstore_read_every_array_alike(cache):
    tensorstore = pytest.importorskip("tensorstore")
    root = zarr.open_group(cache.path, mode="r")
    paths = [n.path for r in cache.products().values() for n in (*cache.arrays(r), markers(cache.manifest, r))]
    assert len(paths) > 15
    for path in paths:
        kvstore = {"driver": "file", "path": str(cache.path / path)}
        theirs = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}).result().read().result()
        assert np.array_equal(theirs, root[path][:]), path


def test_the_hierarchy_is_walked_without_a_warning(cache):
    """Warnings are errors here: a stray file between the nodes would be one."""
    members = dict(zarr.open_group(cache.path, mode="r").members(max_depth=None))
    assert {"points/xyz", "products/image/random-a", "guide/g/tokens", "id"} <= set(members)


def test_rows_are_what_zarr_reads(cache):
    rng = np.random.default_rng(0)
    paths = mapped_arrays(cache)
    assert len(paths) > 5
    for path in paths:
        everything, rows = cache.array(path)[:], cache.rows(path)
        i, j = rng.integers(0, 21, 64), rng.integers(0, everything.shape[1], 64)
        assert np.array_equal(rows.gather(i, j), everything[i, j])
        assert np.array_equal(rows.gather(i), everything[i])
        out = np.empty((64, *everything.shape[2:]), everything.dtype)
        assert rows.gather(i, j, out) is out
        assert np.array_equal(out, everything[i, j])
    assert rows.gather(np.array([], int)).shape == (0, *everything.shape[1:])


@pytest.mark.parametrize(("row", "column"), [(21, 0), (-1, 0), (0, 2), (0, -1)])
def test_rows_outside_are_refused(cache, row, column):
    with pytest.raises(IndexError, match="points/xyz"):
        cache.rows("points/xyz").gather(np.array([row]), np.array([column]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.integers(1, 30),
    shard=st.integers(1, 9),
    columns=st.integers(1, 4),
    width=st.integers(1, 700),
    dtype=st.sampled_from(["float16", "float32", "uint8"]),
    seed=st.integers(0, 9),
)
def test_any_layout_round_trips_through_both_readers(tmp_path_factory, shapes, shard, columns, width, dtype, seed):
    root = tmp_path_factory.mktemp("layout")
    shape = (shapes, columns, width)
    node = ArraySpec(path="a", dtype=dtype, shape=shape, chunk=(1, columns, width), shard=shard, dims=("x", "y", "z"), sharded=True)
    values = np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
    write_file(root / "a" / "zarr.json", node_json(node))
    for s in range(-(-shapes // shard)):
        write_file(root / node.key(s), encode(node, values[s * shard : (s + 1) * shard]))
    assert np.array_equal(zarr.open_array(root / "a", mode="r")[:], values)
    i, j = np.indices((shapes, columns)).reshape(2, -1)
    assert np.array_equal(Rows(root.joinpath, node).gather(i, j), values[i, j])


def test_compressed_pictures_round_trip(tmp_path):
    node = ArraySpec(
        path="v", dtype="uint8", shape=(5, 2, 4, 4, 3), chunk=(1, 1, 4, 4, 3), shard=3, codec="zstd", dims=tuple("abcde"), sharded=True
    )
    values = np.random.default_rng(0).integers(0, 255, node.shape).astype(np.uint8)
    write_file(tmp_path / "v" / "zarr.json", node_json(node))
    for s, part in enumerate((values[:3], values[3:])):
        chunks = [[encode_chunk(node, view) for view in row] for row in part]
        assert encode(node, chunks) == encode(node, part)
        write_file(tmp_path / node.key(s), encode(node, chunks))
    assert np.array_equal(zarr.open_array(tmp_path / "v", mode="r")[:], values)
    assert np.array_equal(ShardFile(tmp_path / node.key(1), node).row(1), values[4])


def test_maps_and_memory_stay_bounded(tmp_path, monkeypatch):
    """With one shape a shard, every row is a file: more files than may be open, more maps than are allowed."""
    monkeypatch.setattr(Rows, "MAPS", 16)
    monkeypatch.setattr(Rows, "RELEASE", 1 << 16)
    cache = synthetic.write(tmp_path / "c.zarr", shapes=60, shard=2)
    everything, rows = cache.array("points/xyz")[:], cache.rows("points/xyz")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, hard))
    try:
        rng = np.random.default_rng(0)
        for _ in range(30):
            i, j = rng.integers(0, 60, 20), rng.integers(0, 2, 20)
            assert np.array_equal(rows.gather(i, j), everything[i, j])
            assert rows._mapped.sum() <= 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_mapped_shard_is_one_mapping(cache):
    """A gap behind a file would be a second one, and the system allows a process only so many."""
    rows = cache.rows("points/rgb")
    assert rows._full < rows._stride - 4096, "there is room for a gap"
    rows.gather(np.arange(21))
    region = range(rows._state[0].address, rows._state[0].address + rows._state[0].size)
    maps = [line.split()[0].partition("-")[0] for line in Path("/proc/self/maps").read_text().splitlines()]
    assert sum(int(start, 16) in region for start in maps) == rows._shards == 3


def test_threads_share_a_reader(cache, monkeypatch):
    monkeypatch.setattr(Rows, "MAPS", 2)
    monkeypatch.setattr(Rows, "RELEASE", 1 << 14)
    everything, rows, wrong = cache.array("points/xyz")[:], cache.rows("points/xyz"), []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(200):
            i, j = rng.integers(0, 21, 8), rng.integers(0, 2, 8)
            if not np.array_equal(rows.gather(i, j), everything[i, j]):
                wrong.append(seed)

    with at_once(read, 4):
        pass
    assert not wrong


def test_a_file_of_another_layout_is_not_read_as_ours(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr")
    file = cache.path / "points/xyz/c/0/0/0/0"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"index is damaged.*verify --repair"):
        cache.rows("points/xyz").gather(np.array([0]), np.array([0]))


def test_a_product_being_made_is_not_there_yet(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr")
    record = Record(product="image/new", kind="image", spec=synthetic.teacher("new", 4), per_shape=3, inputs=())
    cache.begin(record)
    values = np.ones((8, 3, 4), np.float16)
    for shard in range(cache.manifest.shards - 1):
        cache.write(record, shard, {"image/new": values})
    assert "image/new" not in store.open_cache(cache.path).products()
    assert cache.missing(record) == [cache.manifest.shards - 1]
    with pytest.raises(ValueError, match="not finished"):
        cache.record("image/new")
    with pytest.raises(ValueError, match="no finished array 'image/new'"):
        cache.rows("image/new")
    cache.write(record, cache.manifest.shards - 1, {"image/new": values})
    cache.finish(record)
    assert np.array_equal(store.open_cache(cache.path).rows("image/new").gather(np.array([5])), values[:1])


def test_statistics_leave_failed_shapes_out(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=10, failed=(0, 9))
    values = cache.array("image/random-a")[:][1:9].reshape(-1, 32).astype(np.float64)
    assert np.allclose(cache.array("stats/image/random-a")[:], [values.mean(0), values.var(0)], atol=1e-9)


def test_adding_a_product_touches_no_other_file(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr")
    root = cache.path / "zarr.json"  # it lists what is finished
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in cache.path.rglob("*") if p.is_file() and p != root}
    record = Record(product="image/new", kind="image", spec=synthetic.teacher("new", 4), per_shape=3, inputs=())
    cache.begin(record)
    for shard in range(cache.manifest.shards):
        cache.write(record, shard, {"image/new": np.ones((8, 3, 4), np.float16)})
    cache.finish(record)
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before} == before


def test_another_specification_is_refused_with_the_difference(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr")
    other = Record(product="points", kind="points", spec=PointSpec(count=64, blocks=2, ordered=32, seed=5), inputs=())
    with pytest.raises(ValueError, match=r"spec.seed is 0, asked 5.*or with the recorded settings\.$"):
        cache.begin(other)
    with pytest.raises(ValueError, match=r"or with the recorded settings: --set points\.seed=0$"):
        cache.agreed(other, "points.")


def test_the_options_that_ask_for_what_is_recorded():
    points = PointSpec(count=64, blocks=2, ordered=32)
    asked = dataclasses.replace(points, normals=True, parts=("leg", "back"), revision=1)
    assert restoring(points, asked, "points.") == ["--set points.normals=false", "--set 'points.parts=[]'"]
    assert restoring(asked, points, "points.") == ["--set points.normals=true", '--set \'points.parts=["leg", "back"]\'']
    rig = CameraRig(name="ring1", cameras=(Camera(azimuth=0, elevation=30),))
    views = ViewSpec(rig=rig)
    other = ViewSpec(rig=dataclasses.replace(rig, name="wide", fov=60), level=9)
    assert restoring(views, other, "views.") == ["--set views.rig=ring1"]
    for there, here in ((points, asked), (asked, points)):
        options = [option.removeprefix("--set ") for option in restoring(there, here, "")]
        assert override(here, [shlex.split(option)[0] for option in options]) == dataclasses.replace(there, revision=here.revision)


def test_half_a_product_is_continued_by_the_same_software_only(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr")
    make = lambda version: Record(  # noqa: E731
        product="image/n", kind="image", spec=synthetic.teacher("n", 4), per_shape=3, inputs=(), made_by=(("torch", version),)
    )
    cache.begin(make("1"))
    cache.begin(make("1"))
    with pytest.raises(ValueError, match="begun with other software"):
        cache.begin(make("2"))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.mkdir(), "no cache"),
        (lambda p: zarr.create_group(p), "no cache of this project"),
        (lambda p: (p.mkdir(), (p / "zarr.json").write_text("{")), "damaged"),
    ],
)
def test_what_is_no_cache_is_said_to_be_none(tmp_path, prepare, message):
    prepare(tmp_path / "x.zarr")
    with pytest.raises(ValueError, match=message):
        store.open_cache(tmp_path / "x.zarr")


def test_a_newer_format_is_refused(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr")
    node = json.loads((cache.path / "zarr.json").read_text())
    node["attributes"]["mmpd"]["format_version"] = 99
    (cache.path / "zarr.json").write_text(json.dumps(node))
    with pytest.raises(ValueError, match=r"format version 99, this software reads 1 to 2; use the version"):
        store.open_cache(cache.path)


def test_a_folder_with_something_else_is_not_written_into(tmp_path):
    (tmp_path / "c.zarr").mkdir()
    (tmp_path / "c.zarr" / "thesis.tex").write_text("!")
    with pytest.raises(ValueError, match=r"exists and is no cache.*thesis.tex"):
        synthetic.write(tmp_path / "c.zarr")


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "a" / "file", b"data")
    assert list((tmp_path / "a").iterdir()) == []


def test_texts_survive_and_are_cut_at_a_character():
    long = "é" * 200
    assert texts(text_cells(["", "chaise à bras", long])).tolist() == ["", "chaise à bras", "é" * 128]


def _hold(path: str, held: "multiprocessing.Queue") -> None:
    with exclusive(path) as journal:
        journal.write("first\n")
        journal.flush()
        held.put(True)
        threading.Event().wait(60)


def test_two_writers_take_turns_and_a_dead_one_lets_go(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Queue()
    process = context.Process(target=_hold, args=(str(tmp_path / "c.zarr"), held))
    process.start()
    assert held.get(timeout=60)
    leftover = tmp_path / "c.zarr" / ".0.123.tmp"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    waited = []

    def wait() -> None:
        waited.append(True)
        process.kill()

    with exclusive(tmp_path / "c.zarr", wait) as journal:
        journal.write("second\n")
    assert waited == [True]
    assert (tmp_path / "c.zarr.journal").read_text() == "first\nsecond\n"
    assert not leftover.exists()


def test_a_million_shapes_open_at_once(tmp_path):
    """Only files that are read are opened: the root of a large cache is small."""
    source = spec.SourceSpec(kind="synthetic", ids="x")
    manifest = spec.Manifest(shapes=1_000_000, shard=512, source=source)
    root = Path(tmp_path / "big.zarr")
    cache = store.Cache(root, manifest)
    node = products.arrays(manifest, Record(product="points", kind="points", spec=PointSpec(), inputs=()))[0]
    rows = Rows(root.joinpath, node)
    shard = np.zeros((512, *node.shape[1:]), node.dtype)
    shard[3, 2, 1] = 1
    for s in (0, 1953):
        write_file(root / node.key(s), encode(node, shard[: len(manifest.rows(s))]))
    assert rows.gather(np.array([3, 1953 * 512 + 3]), np.array([2, 2]))[:, 1].tolist() == [[1, 1, 1]] * 2
    assert cache.manifest.shards == 1954


def test_who_no_longer_holds_a_cache_cannot_write(tmp_path):
    """An orphaned task of a killed build comes late: the cache is held by another build, or by nobody."""
    cache = synthetic.write(tmp_path / "c.zarr")
    record = cache.record("image/random-a")
    values = {"image/random-a": np.ones((8, 3, 32), np.float16)}
    begun = Record(product="image/new", kind="image", spec=synthetic.teacher("new", 4), per_shape=3, inputs=())
    assert held_token(cache.path) == ""
    with exclusive(cache.path):
        first = held_token(cache.path)
        mine = store.open_cache(cache.path, token=first)
        mine.begin(begun)
        mine.write(begun, 0, {"image/new": np.ones((8, 3, 4), np.float16)})
    assert held_token(cache.path) == "" and first

    def refused():
        before = {p: p.read_bytes() for p in cache.path.rglob("*") if p.is_file()}
        for act in (lambda: mine.begin(begun), lambda: mine.write(record, 0, values), lambda: mine.finish(record)):
            with pytest.raises(UserError, match="another build has taken over"):
                act()
        assert {p: p.read_bytes() for p in cache.path.rglob("*") if p.is_file()} == before

    refused()
    with exclusive(cache.path):
        assert held_token(cache.path) not in ("", first)
        refused()


def test_options_that_differ_are_told_one_by_one():
    one, other = (("label", "file"), ("up", "auto")), (("label", "folder"), ("split", "0.8"), ("up", "auto"))
    assert differences(one, other, "options") == ["options: label is 'file', asked 'folder'", "options: split is not set, asked '0.8'"]
    assert differences(one, one[1:], "options") == ["options: label is 'file', asked none"]
    assert differences(one, (), "options") == [f"options is {one}, asked ()"], "all of them, where nothing is known"
    assert differences(one, one[::-1], "options") == [f"options is {one}, asked {one[::-1]}"], "only their order differs"
    assert differences(((1, 2),), ((1, 3),), "pairs") == ["pairs is ((1, 2),), asked ((1, 3),)"]
