"""Nothing that is damaged or absent is read as if it were whole; whatever a stranger's cache holds ends in one clear line."""

import dataclasses
import hashlib
import json
import os
import shutil
import threading

import numpy as np
import pytest

from cache_schema import files, products, spec, store, synthetic, validate
from cache_schema.errors import UserError
from cache_schema.files import exclusive, is_held, write_file
from cache_schema.layout import ArraySpec, ShardFile, encode, node_json
from cache_schema.rows import Rows
from cache_schema.spec import GuideSpec, PointSpec, Record
from tests.cache_schema.conftest import at_once
from tests.harm import exchange

GUIDE = GuideSpec(name="g", encoder="e", weights="w", tokens=3, dim=5, blocks=2)
SMALL = (
    "id",
    "label",
    "split",
    "status",
    "reason",
    "source_sha256",
    "colored",
    "repeated",
    "captions/synthetic/text",
    "captions/synthetic/score",
    "labels/three/random-a",
    "stats/image/random-a",
    "stats/text/synthetic/random-a",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("cache") / "c.zarr", shapes=21, guide=GUIDE, failed=(3,))


@pytest.fixture
def cache(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "c.zarr")
    return store.open_cache(tmp_path / "c.zarr")


def last_file(cache, path):
    return max((p for p in (cache.path / path / "c").rglob("*") if p.is_file()), key=str)


def as_folder(file):
    file.unlink()
    file.mkdir()


HARM = {
    "missing": lambda file: file.unlink(),
    "cut short": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: os.truncate(file, 0),
    "flipped": lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]),
    "a folder": as_folder,
}


# -------------------------------------------------------------------------------------------------------- small arrays


@pytest.mark.parametrize("path", SMALL)
def test_a_column_is_what_zarr_reads(cache, path):
    assert np.array_equal(cache.column(path), cache.array(path)[:])


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("path", SMALL)
def test_a_damaged_column_is_refused_by_the_name_of_its_file(cache, path, harm):
    file = last_file(cache, path)
    HARM[harm](file)
    with pytest.raises(UserError, match=r"verify --repair") as caught:
        cache.column(path)
    assert str(file) in str(caught.value)
    assert file.relative_to(cache.path).as_posix() in {p.where for p in validate.problems(cache.path)}


@pytest.mark.parametrize("harm", ["missing", "flipped"])
def test_a_column_without_its_completion_marker_is_refused(cache, harm):
    HARM[harm](last_file(cache, "products/status"))
    with pytest.raises(UserError, match=r"products/status/c/2/0/0.*verify --repair"):
        cache.ok()


def test_what_is_not_made_yet_is_zeros_and_what_is_lost_is_not(cache):
    record = Record(
        product="labels/late/random-a",
        kind="labels",
        spec=synthetic.teacher("random-a", 4),
        labels=spec.LabelSet(name="late", classes=("a", "b"), templates=("{}",)),
        inputs=(),
    )
    cache.begin(record)
    assert not cache.column("labels/late/random-a").any()
    (cache.path / "points/xyz/c/1/0/0/0").unlink()
    with pytest.raises(UserError, match=r"points/xyz/c/1/0/0/0 is missing"):
        cache.array("points/xyz")


@pytest.mark.parametrize(("path", "value"), [("label", 3), ("label", -2), ("split", 2), ("status", 3)])
def test_values_that_cannot_be_are_refused(cache, path, value):
    record = cache.record("status" if path == "status" else "index")
    values = {node.path: cache.shard_rows(node, 0).copy() for node in cache.arrays(record)}
    values[path][0] = value
    cache.write(record, 0, values)
    with pytest.raises(UserError, match=f"{path} holds values outside"):
        cache.column(path)


@pytest.mark.parametrize("harm", ["missing", "cut short", "empty", "a folder"])
def test_damaged_pictures_and_tables_are_refused_by_the_name_of_their_file(tmp_path, harm):
    node = ArraySpec(
        path="v", dtype="uint8", shape=(3, 2, 4, 4, 3), chunk=(1, 1, 4, 4, 3), shard=3, codec="zstd", dims=tuple("abcde"), sharded=True
    )
    data = encode(node, np.arange(288, dtype=np.uint8).reshape(node.shape))
    file = tmp_path / node.key(0)
    write_file(file, data)
    HARM[harm](file)
    with pytest.raises(UserError, match=rf"{file}.*repair"):
        ShardFile(tmp_path / node.key(0), node)
    shutil.rmtree(file.parent)
    index = len(data) - 16 * 6 - 4
    write_file(file, data[: index // 2] + b"\0" * (index - index // 2) + data[index:])
    with pytest.raises(UserError, match=r"does not unpack to what was written"):
        [ShardFile(tmp_path / node.key(0), node).row(row) for row in range(3)]


# ---------------------------------------------------------------------------------------------- what verify finds beyond


def test_statistics_that_are_lost_wrong_or_of_another_product_are_named(cache):
    file = cache.path / "stats/image/random-a/c/0/0"
    good = file.read_bytes()
    file.unlink()
    assert [(p.where, p.kind) for p in validate.problems(cache.path)] == [("stats/image/random-a/c/0/0", "missing")]
    other = np.frombuffer(good[:-4], np.float64).reshape(2, -1) + 1
    node = products.statistics_array(cache.manifest, cache.record("image/random-a"))
    file.write_bytes(encode(node, other))  # intact in itself
    assert [(p.where, p.kind) for p in validate.problems(cache.path)] == [("stats/image/random-a/c/0/0", "corrupt")]


@pytest.mark.parametrize("product", ["image/random-a", "points", "status", "captions/synthetic", "guide/g"])
def test_shards_that_changed_places_with_their_markers_are_named(cache, product):
    exchange(cache, product)
    found = {(p.product, p.shard) for p in validate.problems(cache.path)}
    assert {(product, shard) for shard in range(3)} <= found


@pytest.mark.parametrize("product", ["points", "image/random-a", "labels/three/random-a", "index"])
@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_record_is_named_alone(cache, product, harm):
    HARM[harm](cache.path / "products" / product / "zarr.json")
    assert {p.where for p in validate.problems(cache.path)} == {f"products/{product}/zarr.json"}


def test_links_leftovers_and_empty_folders_are_told(cache, tmp_path):
    shutil.move(cache.path / "points" / "rgb", tmp_path / "elsewhere")
    (cache.path / "points" / "rgb").symlink_to(tmp_path / "elsewhere")
    (cache.path / "image" / "nothing").mkdir()
    (cache.path / "image" / ".0.1.2.tmp").write_bytes(b"half")
    found = {p.where: p.message for p in validate.problems(cache.path)}
    assert found.keys() == {"points/rgb", "image/nothing", "image/.0.1.2.tmp"}
    assert "outside the cache" in found["points/rgb"] and "left behind by a writer" in found["image/.0.1.2.tmp"]
    with exclusive(cache.path):
        assert "image/.0.1.2.tmp" not in {p.where for p in validate.problems(cache.path)}


# ----------------------------------------------------------------------------------------------------- a stranger's cache


def rewritten(path, change, seal=True):
    """A description changed by hand, with or without the checksum that then belongs to it."""
    node = json.loads(path.read_text())
    change(node)
    if seal and isinstance(node.get("attributes"), dict):
        node["attributes"]["sha256"] = hashlib.sha256(spec.canonical(node["attributes"]["mmpd"])).hexdigest()
    path.write_text(json.dumps(node))


def set_manifest(**changes):
    return lambda node: node["attributes"]["mmpd"].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_manifest(shapes=10**15), "1000000000000000 shapes in 125000000000000 shards of 8, but there are files of 3"),
        (set_manifest(shapes=10**15, shard=10**15), "it is damaged"),
        (set_manifest(shapes=500), "it is damaged"),
        (set_manifest(shapes="many"), "expected int"),
        (set_manifest(shapes=None), "expected int"),
        (set_manifest(classes=5), "expected a list"),
        (set_manifest(classes=[5]), "expected str"),
        (set_manifest(source=[]), "expected an object"),
        (set_manifest(shard=0), "at least one shape"),
        (lambda node: node.update(attributes=5), "no description of a Zarr node"),
        (lambda node: node.update(attributes=[]), "no description of a Zarr node"),
        (lambda node: node["attributes"].update(mmpd=[]), "no cache of this project"),
        (set_manifest(format_version=[]), "format version"),
    ],
)
def test_a_root_that_cannot_be_true_is_refused_at_once(cache, change, message):
    rewritten(cache.path / "zarr.json", change)
    with pytest.raises(UserError, match=message):
        store.open_cache(cache.path)


@pytest.mark.parametrize("text", ["", "5", "[]", "[" * 100_000, '{"attributes": {"mmpd": NaN}}', '{"attributes": {"mmpd": {"a": 1e999}}}'])
def test_no_text_in_the_place_of_a_description_is_a_traceback(cache, text):
    (cache.path / "products/points/zarr.json").write_text(text)
    assert "products/points/zarr.json" in {p.where for p in validate.problems(cache.path)}
    if "NaN" not in text:
        (cache.path / "zarr.json").write_text(text)
        with pytest.raises(UserError):
            store.open_cache(cache.path)


def set_record(**changes):
    return lambda node: node["attributes"]["mmpd"].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        set_record(kind="views"),
        set_record(product="points/../../x"),
        set_record(kind=[]),
        set_record(per_shape=1.5),
        set_record(per_shape=True),
        set_record(inputs=5),
        set_record(spec=5),
        set_record(spec={}),
        set_record(labels=5),
        set_record(complete=1),
    ],
)
def test_a_record_of_wrong_types_is_named(cache, change):
    rewritten(cache.path / "products/points/zarr.json", change)
    assert "products/points/zarr.json" in {p.where for p in validate.problems(cache.path)}
    with pytest.raises(UserError, match=r"products/points/zarr\.json"):
        cache.records()


def test_a_record_of_impossible_size_is_refused_before_anything_is_mapped(cache):
    rewritten(cache.path / "products/image/random-a/zarr.json", set_record(per_shape=2**58))
    with pytest.raises(UserError, match="its description is damaged"):
        cache.rows("image/random-a")


def test_a_changed_letter_in_a_record_is_noticed_by_every_reader(cache):
    rewritten(cache.path / "products/image/random-a/zarr.json", set_record(made_by=[["torch", "9"]]), seal=False)
    with pytest.raises(UserError, match="does not match its checksum"):
        cache.rows("image/random-a")


@pytest.mark.parametrize("name", ["..", ".hidden", "a b", "a/b", "", "-x", "x" * 101, "nul\0", "ünder"])
def test_a_name_that_cannot_be_a_file_name_is_refused(cache, name):
    record = Record(product=f"image/{name}", kind="image", spec=synthetic.teacher(name, 4), per_shape=3, inputs=())
    before = sorted(cache.path.parent.rglob("*"))
    with pytest.raises(UserError, match=r"cannot be a file name|is called image/<teacher>"):
        cache.begin(record)
    assert sorted(cache.path.parent.rglob("*")) == before


# -------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("link", ["points", "points/xyz", "products"])
def test_nothing_is_written_through_a_link(cache, tmp_path, link):
    shutil.move(cache.path / link, tmp_path / "elsewhere")
    (cache.path / link).symlink_to(tmp_path / "elsewhere")
    before = {p: p.read_bytes() for p in (tmp_path / "elsewhere").rglob("*") if p.is_file()}
    record = cache.record("points")
    values = {node.path: np.zeros((8, *node.shape[1:]), node.dtype) for node in cache.arrays(record)}
    with pytest.raises(UserError, match="symbolic link"):
        cache.write(record, 0, values)
    assert {p: p.read_bytes() for p in (tmp_path / "elsewhere").rglob("*") if p.is_file()} == before


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'a' / 'file'}'"):
        write_file(tmp_path / "a" / "file", b"data")


def test_a_folder_or_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "a" / "file").mkdir(parents=True)
    with pytest.raises(UserError, match="file is a folder where a file belongs"):
        write_file(tmp_path / "a" / "file", b"data")
    (tmp_path / "b").write_text("!")
    with pytest.raises(UserError, match="b is a file where a folder belongs"):
        write_file(tmp_path / "b" / "c" / "file", b"data")
    assert not list(files.leftovers(tmp_path))


def test_a_shard_that_is_lost_counts_as_missing_and_comes_back_only_as_it_was(cache):
    record = cache.record("image/random-a")
    node = cache.arrays(record)[0]
    before = cache.shard_rows(node, 1)
    (cache.path / node.key(1)).unlink()
    assert cache.missing(record) == [1]
    cache.write(record, 1, {node.path: before + np.float16(1)})
    with pytest.raises(UserError, match="not as it was when it was finished"):
        cache.finish(record)
    (cache.path / "stats/image/random-a/c/0/0").unlink()
    cache.write(record, 1, {node.path: before})
    cache.finish(record)
    assert validate.problems(cache.path) == []


def test_markers_of_a_product_whose_record_was_deleted_are_not_believed(cache):
    record = Record(product="image/random-a", kind="image", spec=synthetic.teacher("random-a"), per_shape=3, inputs=())
    (cache.path / "products/image/random-a/zarr.json").unlink()
    cache.begin(record)
    assert cache.missing(record) == [0, 1, 2]


# ---------------------------------------------------------------------------------------------------------- mapped files


@pytest.mark.parametrize("harm", ["missing", "cut short", "empty", "a folder"])
def test_a_shard_that_cannot_be_mapped_is_named(cache, harm):
    file = cache.path / "points/xyz/c/1/0/0/0"
    HARM[harm](file)
    with pytest.raises(UserError, match=rf"{file}.*verify --repair"):
        cache.rows("points/xyz").gather(np.array([9]), np.array([0]))


def test_a_flipped_bit_is_found_at_first_use(cache):
    file = cache.path / "points/xyz/c/1/0/0/0"
    HARM["flipped"](file)
    at = np.array([9])
    cache.rows("points/xyz").gather(at, at * 0)
    reader = cache.rows("points/xyz", verify="first_use")
    reader.gather(at - 9, at * 0)
    reader.settle()
    try:
        reader.gather(at, at * 0)
    except UserError:
        pass  # the check was faster than the copy
    for _ in range(2):
        with pytest.raises(UserError, match=rf"{file} is not as it was written.*verify --repair"):
            reader.settle()
    with pytest.raises(UserError, match="is not as it was written"):
        reader.gather(at - 9, at * 0)


def test_a_shard_cut_short_while_it_is_mapped_is_named(tmp_path):
    """SIGBUS would end this process; several threads read on while it happens."""
    cache = synthetic.write(tmp_path / "c.zarr", shapes=32, points=PointSpec(count=256, blocks=2, ordered=8))
    reader, told, first = cache.rows("points/xyz"), [], threading.Barrier(3)

    def read(seed):
        rng = np.random.default_rng(seed)
        try:
            for step in range(10_000):
                reader.gather(rng.integers(0, 32, 16), rng.integers(0, 2, 16))
                if step == 5:
                    first.wait(60)
        except UserError as error:
            told.append(str(error))

    with at_once(read, 2):
        first.wait(60)
        os.truncate(cache.path / "points/xyz/c/2/0/0/0", 100)
    assert len(told) == 2 and all("points/xyz/c/2/0/0/0 was cut short" in text for text in told)


def test_one_bound_of_maps_for_all_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(Rows, "MAPS", 12)
    cache = synthetic.write(tmp_path / "c.zarr", shapes=40, shard=2)
    paths = ("points/xyz", "points/rgb", "image/random-a", "text/synthetic/random-a")
    readers = {path: (cache.rows(path), cache.array(path)[:]) for path in paths}
    wrong = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(60):
            path = paths[int(rng.integers(4))]
            reader, everything = readers[path]
            i, j = rng.integers(0, 40, 5), rng.integers(0, 2, 5)
            if not np.array_equal(reader.gather(i, j), everything[i, j]):
                wrong.append(path)

    with at_once(read, 4):
        pass
    assert not wrong
    assert sum(int(reader._mapped.sum()) for reader, _ in readers.values()) <= 12 + 5


# ------------------------------------------------------------------------------------------------ records without content

EMPTIED = {
    "nothing but a version": b'{"zarr_format":3}',
    "no attributes": b'{"zarr_format":3,"node_type":"array","attributes":{}}',
    "a group": node_json(),
    "an empty object": b"{}",
}


@pytest.mark.parametrize("product", ["image/random-a", "labels/three/random-a", "guide/g", "points", "status", "index"])
@pytest.mark.parametrize("content", EMPTIED)
def test_a_record_that_lost_its_content_is_damaged_and_no_group(cache, product, content):
    node = cache.path / "products" / product / "zarr.json"
    node.write_bytes(EMPTIED[content])
    with pytest.raises(UserError, match=rf"{node} is damaged.*run the command that made it again"):
        cache.products()
    (problem,) = [p for p in validate.problems(cache.path) if p.where == f"products/{product}/zarr.json"]
    assert problem.kind == "metadata" and "delete" in problem.message
    shutil.rmtree(node.parent / "c")  # not even markers: the product's own arrays name it
    with pytest.raises(UserError, match=rf"{node} is damaged"):
        cache.records()


def test_a_record_that_is_gone_is_missed_by_readers_but_not_by_the_build_that_makes_it_again(cache):
    (cache.path / "products/image/random-a/zarr.json").unlink()
    with pytest.raises(UserError, match=r"products/image/random-a/zarr.json is not there"):
        cache.products()
    assert "image/random-a" not in cache.records()


def test_somebodys_own_group_is_a_stray_and_stops_nobody(cache):
    write_file(cache.path / "products/image/mine/zarr.json", node_json())
    assert "image/mine" not in cache.products()
    assert [(p.where, p.kind) for p in validate.problems(cache.path)] == [("products/image/mine/zarr.json", "stray")]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
@pytest.mark.parametrize("place", ["/proc/x.zarr", "/proc/none/x.zarr"])
def test_where_the_system_takes_no_files_is_said_by_the_place_that_was_asked_for(place):
    with pytest.raises(UserError, match=rf"{place} cannot be made: /proc.* takes no new files"), exclusive(place):
        pass


# ------------------------------------------------------------------------------------------------- links and named pipes


@pytest.mark.parametrize("end", ["lock", "journal"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_what_lies_in_place_of_a_file_beside_a_cache_is_left_alone(cache, tmp_path, end, kind):
    beside, precious = tmp_path / f"c.zarr.{end}", tmp_path / "precious"
    beside.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(beside)
    elif kind == "folder":
        beside.mkdir()
    else:
        beside.symlink_to(precious)
    if kind == "link":
        precious.write_text("mine")
    with pytest.raises(UserError, match=f"c.zarr.{end} is "), exclusive(cache.path):
        pass
    assert precious.read_text() == "mine" if kind == "link" else not precious.exists()
    assert not is_held(cache.path)


def test_nothing_is_deleted_through_a_link(cache, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    record = cache.record("image/random-a")
    shutil.move(cache.path / "products/image", elsewhere)
    (cache.path / "products/image").symlink_to(elsewhere)
    before = {p: p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="products/image is a symbolic link"):
        cache.reopen(dataclasses.replace(record, complete=False, content=""), 0)
    (elsewhere / "random-a/zarr.json").rename(tmp_path / "kept")
    with pytest.raises(UserError, match="products/image is a symbolic link"):
        cache.begin(dataclasses.replace(record, complete=False, content=""))
    (tmp_path / "kept").rename(elsewhere / "random-a/zarr.json")
    assert {p: p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "place",
    [
        "points/xyz/c/0/0/0/0",
        "points/xyz/zarr.json",
        "products/points/c/0/0/0",
        "products/points/zarr.json",
        "id/c/0/0",
        "stats/image/random-a/c/0/0",
        "zarr.json",
    ],
)
def test_a_named_pipe_is_not_waited_for(cache, place):
    (cache.path / place).unlink()
    os.mkfifo(cache.path / place)
    if place == "zarr.json":
        with pytest.raises(UserError):
            validate.problems(cache.path)
        return
    assert place in {problem.where for problem in validate.problems(cache.path)}
    if place.startswith("points/xyz/c"):
        with pytest.raises(UserError, match="no regular file"):
            cache.rows("points/xyz").gather(np.array([0]), np.array([0]))


@pytest.mark.parametrize(
    "product", ["points", "captions/synthetic", "status", "image/random-a", "text/synthetic/random-a", "labels/three/random-a", "guide/g"]
)
@pytest.mark.parametrize("described", [True, False])
def test_a_product_whose_folder_was_deleted_is_named_and_its_files_are_no_strays(cache, product, described):
    if not described:
        for node in cache.arrays(cache.record(product)):
            (cache.path / node.path / "zarr.json").unlink()
    shutil.rmtree(cache.path / "products" / product)
    found = validate.problems(cache.path)
    assert (f"products/{product}", "missing") in {(problem.where, problem.kind) for problem in found}
    assert not [problem for problem in found if problem.kind == "stray"]


def test_an_array_of_somebody_else_is_a_stray(cache):
    write_file(cache.path / "image/own/zarr.json", node_json())
    write_file(cache.path / "image/own/c/0", b"1")
    assert {problem.kind for problem in validate.problems(cache.path)} == {"stray"}
