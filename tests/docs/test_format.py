"""docs/format.md is enough to read a cache: the reader in this file is written from that page alone. Only what writes caches is ours."""

import hashlib
import json
import re
import struct

import google_crc32c
import numpy as np
import pytest
from numcodecs.zstd import Zstd

from cache_schema import synthetic
from cache_schema.spec import GuideSpec
from tests.docs.pages import ROOT
from tests.docs.running import forked

PAGE = ROOT / "docs" / "format.md"
TYPES = {"uint8", "int16", "int32", "float16", "float32", "float64"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A cache of a few shapes, built from files."""
    folder = tmp_path_factory.mktemp("format")
    forked(["mmpd-cache", "build", "starter", "tiny.zarr", "--recipe", "smoke", "--set", "source.count=5", "--set", "shard=2"], folder)
    return folder / "tiny.zarr"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cache of random numbers that has what a build of starter shapes has not."""
    path = tmp_path_factory.mktemp("format") / "random.zarr"
    guide = GuideSpec(name="mine", encoder="tiny", weights="0", tokens=4, dim=8, blocks=1)
    synthetic.write(path, shapes=7, shard=3, failed=(4,), captions=("one", "two"), guide=guide)
    return path


@pytest.fixture(params=["built", "made"])
def cache(request):
    return request.getfixturevalue(request.param)


def table():
    """The page's table of arrays: (pattern of the product, pattern of the array, type, layout), in its order."""
    rows, product = [], ""
    section = PAGE.read_text().partition("## Arrays")[2].partition("### Values")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 5 and cells[0] != "product":
            product = cells[0].strip("`") or product
            rows += [(product, array, cells[2], cells[4]) for array in re.findall(r"`([^`]+)`", cells[1])]
    return rows


def fits(pattern, name):
    return re.fullmatch(re.sub(r"<\w+>", "[^/]+", pattern), name) is not None


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def description(node):
    """What the attributes of a node describe, compared with its hash."""
    attributes = json.loads(node.read_text())["attributes"]
    assert hashlib.sha256(canonical(attributes["mmpd"])).hexdigest() == attributes["sha256"]
    return attributes


def files(path):
    """The files of an array, by shard."""
    return sorted((file for file in (path / "c").rglob("*") if file.is_file()), key=lambda file: int(file.relative_to(path / "c").parts[0]))


def values(path):
    """An array, read by the rules of the page."""
    node = json.loads((path / "zarr.json").read_text())
    shape, dtype = node["shape"], np.dtype(node["data_type"])
    (name, *_) = codecs = [codec["name"] for codec in node["codecs"]]
    parts = []
    for file in files(path):
        data = file.read_bytes()
        if name == "sharding_indexed":
            inner = node["codecs"][0]["configuration"]
            grid = [
                s // c
                for s, c in zip([node["chunk_grid"]["configuration"]["chunk_shape"][0], *shape[1:]], inner["chunk_shape"], strict=True)
            ]
            footer = data[-(16 * np.prod(grid) + 4) :]
            assert struct.unpack("<I", footer[-4:])[0] == google_crc32c.value(footer[:-4])
            index = np.frombuffer(footer[:-4], "<u8").reshape(-1, 2)
            present = index[index[:, 0] != 2**64 - 1]
            assert np.array_equal(present[:, 0], np.cumsum(present[:, 1]) - present[:, 1]), "chunks lie one after another"
            chunks = [data[int(at) : int(at + size)] for at, size in present]
            if "zstd" in [codec["name"] for codec in inner["codecs"]]:
                chunks = [bytes(Zstd().decode(chunk)) for chunk in chunks]
            parts.append(np.frombuffer(b"".join(chunks), dtype).reshape(-1, *shape[1:]))
        else:
            if "zstd" in codecs:
                data = bytes(Zstd().decode(data))
            if "crc32c" in codecs:
                assert struct.unpack("<I", data[-4:])[0] == google_crc32c.value(data[:-4])
                data = data[:-4]
            parts.append(np.frombuffer(data, dtype).reshape(-1, *shape[1:]))
    return np.concatenate(parts)[: shape[0]]


def records(cache):
    found = [node for node in (cache / "products").rglob("zarr.json") if "mmpd" in json.loads(node.read_text())["attributes"]]
    return {record["mmpd"]["product"]: (record, node.parent) for node in found for record in [description(node)]}


def test_every_array_on_disk_is_in_the_table_with_its_type(cache):
    rows = table()
    assert {row[2] for row in rows} <= {*TYPES, "float16 or float32"}
    for product, (record, _) in records(cache).items():
        assert record["mmpd"]["kind"] == product.split("/")[0]
        assert [pattern for pattern, *_ in rows if fits(pattern, product)], f"the page does not name {product}"
    on_disk = [json.loads(node.read_text()) | {"path": node.parent.relative_to(cache).as_posix()} for node in cache.rglob("zarr.json")]
    for node in on_disk:
        if node["node_type"] == "array" and node["path"].split("/")[0] not in ("stats", "products"):
            (row,) = [row for row in rows if fits(row[1], node["path"]) and fits(row[0], node["attributes"]["product"])]
            assert node["data_type"] in row[2], node["path"]
            sharded = node["codecs"][0]["name"] == "sharding_indexed"
            assert sharded == (row[3] != "table"), node["path"]


def test_markers_content_and_statistics_are_as_the_page_says(cache):
    for product, (record, place) in records(cache).items():
        arrays = [array for pattern, array, *_ in table() if fits(pattern, product)]
        if "<" in arrays[0]:
            arrays = [product + array.removeprefix(next(p for p, a, *_ in table() if a == array)) for array in arrays]
        arrays = [array for array in arrays if (cache / array).is_dir()]
        digest = hashlib.sha256()
        marks = values(place)
        for shard, mark in enumerate(marks):
            stored = [hashlib.sha256(files(cache / array)[shard].read_bytes()).digest() for array in arrays]
            assert mark.tobytes() == b"".join(stored), product
            digest.update(mark.tobytes())
        if record["mmpd"]["kind"] in ("image", "text"):
            digest.update(files(cache / "stats" / product)[0].read_bytes())
            ok = values(cache / "status") == 1
            usable = values(cache / product)[ok].reshape(-1, record["mmpd"]["spec"]["dim"]).astype(float)
            assert np.allclose(values(cache / "stats" / product), [usable.mean(0), usable.var(0)])
        assert record["mmpd"]["content"] == digest.hexdigest(), product


def test_values_are_as_the_page_says(built):
    cache = built
    root = description(cache / "zarr.json")["mmpd"]
    assert root["shapes"] == 5 and root["shard"] == 2
    names = [cell.tobytes().rstrip(b"\0").decode() for cell in values(cache / "id")]
    assert hashlib.sha256(b"".join(name.encode() + b"\0" for name in names)).hexdigest() == root["source"]["ids"]
    assert [root["classes"][i] for i in values(cache / "label")] == [name.partition("/")[0] for name in names]
    xyz = values(cache / "points" / "xyz").astype(np.float64)
    ordered = records(cache)["points"][0]["mmpd"]["spec"]["ordered"]
    near = np.full(xyz.shape[2], np.inf)
    for g in range(ordered - 1):
        near = np.minimum(near, ((xyz[0, 0] - xyz[0, 0, g]) ** 2).sum(-1))
        assert near[g + 1] == near.max()


def test_points_appear_in_the_pictures_where_the_page_says(built):
    cache = built
    pixels, pose, points = values(cache / "views" / "rgb"), values(cache / "views" / "pose"), values(cache / "points" / "xyz")
    rig = records(cache)["views"][0]["mmpd"]["spec"]["rig"]
    t, (height, width) = np.tan(np.radians(rig["fov"] / 2)), pixels.shape[2:4]
    for view in range(pixels.shape[1]):
        camera = np.linalg.inv(pose[0, view].astype(np.float64))
        x, y, z = camera[:3, :3] @ points[0, 0].astype(np.float64).T + camera[:3, 3:]
        columns, rows = width / 2 * (1 + x / (-z * t)), height / 2 * (1 - y / (-z * t))
        hit = pixels[0, view][rows.astype(int), columns.astype(int)].min(-1) < 250
        assert hit.mean() > 0.9


def test_fingerprints_are_as_the_page_says(cache):
    """By the table of descriptions alone."""
    section = PAGE.read_text().partition("### Descriptions")[2].partition("\n## ")[0]
    fields, omitted, kinds = {}, {}, {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| `"):
            continue
        name, *of = re.findall(r"`(\w+)`", cells[0])
        fields[name] = set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", cells[1])))
        omitted[name] = set(re.findall(r"\*`(\w+)`\*", line))
        kinds |= dict.fromkeys(of, name)
    fields["Camera"] = {"azimuth", "elevation"}

    def identity(value, name):
        kept = {}
        for key in fields[name]:
            if key in omitted.get(name, ()) and key not in value:
                continue
            kept[key] = value[key]
        for key, inner in {"rig": "CameraRig", "labels": "LabelSet", "source": "SourceSpec"}.items():
            if kept.get(key):
                kept[key] = identity(kept[key], inner)
        if name == "CameraRig":
            kept["cameras"] = [identity(camera, "Camera") for camera in kept["cameras"]]
        if name == "Record":
            kept["spec"] = identity(kept["spec"], kinds[value["kind"]])
        return {"class": name, **kept}

    def fingerprint(value, name):
        return hashlib.sha256(canonical(identity(value, name))).hexdigest()[:16]

    root = description(cache / "zarr.json")
    assert fingerprint(root["mmpd"], "Manifest") == root["fingerprint"]
    for product, (record, _) in records(cache).items():
        assert fingerprint(record["mmpd"], "Record") == record["fingerprint"], product
