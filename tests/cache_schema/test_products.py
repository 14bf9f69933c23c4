"""The table of product kinds: names and arrays agree in both formats, and a new kind is one entry."""

import ast
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

from cache_schema import products, store, synthetic, validate
from cache_schema.errors import UserError
from cache_schema.products import KINDS, Kind
from cache_schema.spec import BoxSpec, DenseSpec, GuideSpec, Manifest, PointSpec, Record

GUIDE = GuideSpec(name="g", encoder="e", weights="w", tokens=4, dim=8, blocks=2)
ROOMY = PointSpec(count=64, blocks=2, ordered=32, normals=True, parts=("leg", "seat"), instances=True)
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", params=[1, 2])
def cache(request, tmp_path_factory):
    """A cache of each format, with every product that both know."""
    return synthetic.write(tmp_path_factory.mktemp("c") / "c.zarr", guide=GUIDE, format_version=request.param, failed=(3,))


def test_every_array_on_disk_is_found_from_its_path_and_its_product_from_its_names(cache):
    assert not validate.problems(cache.path)
    for name, record in cache.products().items():
        kind = products.of(record)
        assert products.select(cache.products(), kind, **products.parts(record)) == [record]
        assert products.renamed(record, cache.manifest.format_version).product == name
        for node in cache.arrays(record):
            assert products.owner(node.path, cache.manifest.format_version) == name
            assert cache.node(node.path) == node
            assert zarr.open_array(cache.path / node.path, mode="r").shape == node.shape
        if kind.statistics:
            assert cache.column(products.statistics_array(cache.manifest, record).path).shape[0] == 2
    assert cache.of(products.TEXT, teacher="random-a")[0].product in ("text/random-a", "text/synthetic/random-a")
    assert not cache.of(products.TEXT, teacher="random-b")


def test_xarray_opens_every_group_and_the_whole_tree_is_one_read(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", guide=GUIDE, points=ROOMY, captions=("one", "two"))
    root = zarr.open_group(cache.path, mode="r")
    assert root.metadata.consolidated_metadata is not None
    groups = [name for name, node in root.members(max_depth=None) if isinstance(node, zarr.Group)]
    assert {"points", "captions/two", "text/one", "guide/g", "products", "stats/image"} <= {*groups}
    opened = {name: xarray.open_zarr(cache.path, group=name or None, chunks=None) for name in ("", *groups)}
    np.testing.assert_array_equal(opened["points"]["xyz"].values, cache.array("points/xyz")[:])
    assert opened["points"]["part"].dims == ("shape", "block", "point") and opened[""]["licence"].dims == ("shape",)
    arrays = {name for name, node in root.members(max_depth=None) if isinstance(node, zarr.Array)}
    assert {f"{group}/{array}".lstrip("/") for group, data in opened.items() for array in data.data_vars} == arrays


def test_the_summary_in_the_root_lists_finished_products_only_and_follows_them(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr")
    record = Record(product="image/new", kind="image", spec=synthetic.teacher("new", 4), per_shape=3, inputs=())
    cache.begin(record)
    assert "image/new" not in zarr.open_group(cache.path, mode="r")
    for shard in range(3):
        cache.write(record, shard, {"image/new": np.ones((8, 3, 4), np.float16)})
    behind = (cache.path / "zarr.json").read_bytes()
    final = cache.finish(record)
    assert "image/new" in zarr.open_group(cache.path, mode="r")
    (cache.path / "zarr.json").write_bytes(behind)  # as a kill just before the summary leaves it
    assert [(p.where, p.kind) for p in validate.problems(cache.path)] == [("zarr.json", "unfinished")]
    cache.finish(final)
    assert not validate.problems(cache.path)
    cache.reopen(final, 1)
    assert "image/new" not in zarr.open_group(cache.path, mode="r")
    root = json.loads((cache.path / "zarr.json").read_bytes())
    root["consolidated_metadata"]["metadata"]["points/xyz"]["shape"][0] = 7
    (cache.path / "zarr.json").write_text(json.dumps(root))
    assert ("zarr.json", "metadata") in [(p.where, p.kind) for p in validate.problems(cache.path)]


@pytest.mark.parametrize(
    ("kind", "spec", "arrays"),
    [
        (
            products.DENSE,
            DenseSpec(teacher=synthetic.teacher("t"), blocks=2, groups=8, group_size=4, dim=6, method="any"),
            {"features", "seen"},
        ),
        (products.BOXES, BoxSpec(names=("chair",), most=3), {"box", "class"}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_kinds_that_synthetic_caches_lack_have_room(tmp_path, kind, spec, arrays):
    cache = synthetic.write(tmp_path / "c.zarr")
    record = Record(product=kind.product(teacher="t"), kind=kind.name, spec=spec, inputs=())
    values = {node.path: np.ones(node.shape, node.dtype) for node in cache.arrays(record)}
    assert {path.rpartition("/")[2] for path in values} == arrays
    # Older xarray refuses a group with an array that has several axes, one of them with its own name.
    assert not any(node.path.rpartition("/")[2] in node.dims for node in cache.arrays(record))
    synthetic.fill(cache, {record: values})
    assert store.open_cache(cache.path).record(record.product).spec == spec and not validate.problems(cache.path)


def test_labels_and_normals_of_points_are_read_by_rows(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", points=ROOMY)
    rows, blocks = np.array([20, 1]), np.array([1, 0])
    for name in ("normal", "part", "instance"):
        np.testing.assert_array_equal(
            cache.rows(f"points/{name}").gather(rows, blocks), cache.array(f"points/{name}")[:][rows, blocks], err_msg=name
        )
    xyz = cache.node("points/normal")
    cache.write(cache.record("points"), 0, {n.path: np.ones((8, *n.shape[1:]), n.dtype) for n in cache.arrays(cache.record("points"))})
    assert any(p.where == xyz.key(0) and "length 1" in p.message for p in validate.problems(cache.path))


def test_a_made_up_kind_is_one_entry_of_the_table(tmp_path, monkeypatch):
    weight = Kind(
        name="weight",
        pattern="weight/<scale>",
        spec=GuideSpec,
        arrays=lambda to, record: (to.rows(record.product, "float16", (1,), ("weight",)),),
        origin="files",
        statistics=True,
    )
    monkeypatch.setitem(KINDS, "weight", weight)
    cache = synthetic.write(tmp_path / "c.zarr")
    record = Record(product=weight.product(scale="kitchen"), kind="weight", spec=GUIDE, inputs=())
    synthetic.fill(cache, {record: {"weight/kitchen": np.arange(1, 25, dtype=np.float16)[:, None]}})
    again = store.open_cache(cache.path)
    assert again.of(weight) == [again.record("weight/kitchen")] and not validate.problems(cache.path)
    assert again.column("stats/weight/kitchen")[0, 0] == pytest.approx(12.5)
    np.testing.assert_array_equal(again.rows("weight/kitchen").gather(np.array([5])), [[6]])


def test_a_cache_in_segments_reads_as_one_and_has_no_shapes_between_them(tmp_path):
    """10 shapes, then 5 more in a new shard: rows 10 and 11 are nobody's."""
    whole = synthetic.write(tmp_path / "whole.zarr", shapes=17, shard=4)
    manifest = dataclasses.replace(whole.manifest, segments=(10, 5))
    ids, index = [*whole.ids()], lambda name: whole.column(name).tolist()
    assert [len(manifest.rows(shard)) for shard in range(5)] == [4, 4, 2, 4, 1]
    cache = store.create(tmp_path / "c.zarr", manifest, ids, index("label"), index("split"))
    for record in products.in_order(r for n, r in whole.products().items() if n != "index" and not products.of(r).labelled):
        begun = cache.begin(dataclasses.replace(record, complete=False, content=""))
        for shard in range(manifest.shards):
            rows = manifest.rows(shard)
            cache.write(begun, shard, {n.path: whole.array(n.path)[rows.start : rows.stop] for n in whole.arrays(record)})
        cache.finish(begun)
    again = store.open_cache(cache.path)
    assert not validate.problems(cache.path) and again.manifest == manifest
    assert again.ok().tolist() == [True] * 10 + [False] * 2 + [True] * 5 and again.column("label")[10:12].tolist() == [-1, -1]
    rows = np.array([9, 12, 16])
    np.testing.assert_array_equal(again.rows("points/xyz").gather(rows), whole.rows("points/xyz").gather(rows))
    with pytest.raises(IndexError, match=r"no shapes in rows 10\.\.11"):
        again.rows("points/xyz").gather(np.array([10]))
    with pytest.raises(UserError, match="do not end at row"):
        Manifest(shapes=17, shard=4, source=manifest.source, segments=(10, 6))


def test_no_code_compares_kinds_or_builds_names_outside_the_table():
    """`record.kind == "image"`, `case "guide", _` and `f"text/{teacher}"` belong to `products.py`."""
    found = []
    for file in (f for p in ("cache_schema", "pipeline", "trainer") for f in sorted((ROOT / p).rglob("*.py"))):
        if file.name == "products.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(v, ast.Attribute) and v.attr == "kind" for v in ast.walk(node)):
                words = {v.value for v in ast.walk(node) if isinstance(v, ast.Constant)}
                if words & set(KINDS):
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno} compares {words & set(KINDS)}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("startswith", "removeprefix"):
                words = {v.value for v in node.args if isinstance(v, ast.Constant)}
                if words & {f"{name}/" for name in KINDS}:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno} takes names of {words} apart")
            if isinstance(node, ast.JoinedStr) and len(node.values) > 1 and isinstance(node.values[0], ast.Constant):
                if str(node.values[0].value) in {f"{name}/" for name in KINDS if name not in products.FIXED}:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno} builds a name of {node.values[0].value}")
    assert not found, "\n".join(found)
