"""Copies of some shapes, some products and several caches: every row keeps its bytes, names are matched, and mixtures are refused."""

import dataclasses

import numpy as np
import pytest

from cache_schema import products, spec, store, synthetic, validate
from cache_schema.copy import copy
from cache_schema.errors import UserError
from cache_schema.merging import lineage
from cache_schema.selection import Selection
from cache_schema.spec import CUT, GuideSpec, LabelSet, PointSpec
from tests.boxes import contents

GUIDE = GuideSpec(name="g", encoder="e", weights="w", tokens=4, dim=8, blocks=2)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("one") / "one.zarr", shapes=17, shard=4, guide=GUIDE, failed=(3,))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Other shapes, and classes and splits in another order."""
    labels = LabelSet(name="three", classes=("torus", "zebra", "cone"), templates=("a {}",))
    cache = synthetic.write(tmp_path_factory.mktemp("two") / "two.zarr", shapes=7, shard=3, labels=labels, seed=1)
    return renamed(cache, "two/")


def renamed(cache, prefix):
    """The cache with other ids."""
    ids = [prefix + name for name in cache.ids()]
    source = spec.SourceSpec(kind="synthetic", ids=spec.ids_digest(ids))
    manifest = dataclasses.replace(cache.manifest, source=source)
    path = cache.path.with_name("renamed.zarr")
    made = store.create(path, manifest, ids, cache.column("label").tolist(), cache.column("split").tolist())
    for record in products.in_order(r for n, r in cache.products().items() if n != "index"):
        begun = made.begin(dataclasses.replace(record, complete=False, content=""))
        for shard in range(made.arrays(begun)[0].shards):
            made.write(begun, shard, {node.path: cache.shard_rows(node, shard) for node in cache.arrays(record)})
        made.finish(begun)
    return store.open_cache(path)


def by_id(cache, rows=None):
    """The bytes of every shape's row of every array, by array and id. Classes and splits are names."""
    m, found, ids = cache.manifest, {}, cache.ids()
    known = {"label": m.classes, "split": m.splits, "licence": m.licences}
    for record in cache.products().values():
        for node in () if products.of(record).labelled else cache.arrays(record):
            values = cache.array(node.path)[:]
            for row, name in enumerate(ids):
                if name and (rows is None or row in rows):
                    value = values[row]
                    names = known.get(node.path)
                    found[node.path, name] = value.tobytes() if names is None else names[value] if value >= 0 else ""
    return found


def check(made, *parts):
    """The copy holds the rows of the parts, in order, and nothing else, and its statistics are those of NumPy."""
    assert not validate.problems(made.path)
    expected, ours = {}, by_id(made)
    arrays = {array for array, _ in ours}
    for part, rows in parts:
        expected |= {key: value for key, value in by_id(part, {*rows.tolist()}).items() if key[0] in arrays}
    assert {key for key in ours if ours[key] != expected.get(key)} == set() and set(ours) == set(expected)
    assert [name for name in made.ids() if name] == [name for part, rows in parts for name in part.ids()[rows]]
    for record in made.products().values():
        if products.of(record).statistics:
            values = made.array(record.product)[:][made.ok()].astype(np.float64).reshape(-1, record.spec.dim)
            np.testing.assert_allclose(made.column(f"stats/{record.product}"), [values.mean(0), values.var(0)], rtol=1e-9)


def test_chosen_shapes_and_products_keep_their_bytes(one, tmp_path):
    where = Selection.parse("class=cone|torus,split=test")
    done = copy(one.path, tmp_path / "n.zarr", names=("points", "image/random-a", "labels/three/random-a"), where=where)
    rows = where.rows(one)
    check(done.cache, (one, rows))
    assert set(done.cache.records()) == {"index", "status", "points", "image/random-a", "labels/three/random-a"}
    assert done.cache.manifest.source.of == 17 and not done.cache.manifest.segments
    assert done.cache.manifest.source.ids == spec.ids_digest(one.ids()[rows])
    again = contents(done.cache.path)
    copy(one.path, tmp_path / "n.zarr", names=("points", "image/random-a", "labels/three/random-a"), where=where)
    assert contents(done.cache.path) == again


def test_some_products_of_all_shapes_are_copied_file_by_file(one, tmp_path):
    done = copy(one.path, tmp_path / "n.zarr", names=("guide/g",))
    assert not validate.problems(done.cache.path) and done.cache.record("guide/g") == one.record("guide/g")
    assert done.left_out["points"] == "was not asked for" and set(done.cache.records()) == {"index", "status", "guide/g"}
    with pytest.raises(UserError, match="no product 'guide/h'; did you mean 'guide/g'"):
        copy(one.path, tmp_path / "m.zarr", names=("guide/h",))
    assert not (tmp_path / "m.zarr").exists()


def test_two_caches_become_one_and_again_a_part_of_it(one, two, tmp_path):
    done = copy(one.path, tmp_path / "both.zarr", also=(two.path,))
    both = done.cache
    check(both, (one, np.arange(17)), (two, np.arange(7)))
    assert both.manifest.classes == ("cone", "cube", "torus", "zebra") and both.manifest.segments == (17, 7)
    assert done.left_out["guide/g"] == f"is not finished in {two.path}"
    assert done.left_out["labels/three/random-a"].startswith("is another label set")
    where = Selection.parse("class=cone|zebra")
    part = copy(both.path, tmp_path / "part.zarr", where=where).cache
    rows = [fitting(cache, {"cone", "zebra"}) for cache in (one, two)]
    check(part, (one, rows[0]), (two, rows[1]))
    assert part.manifest.segments == tuple(map(len, rows)) and [s.of for s in (part.manifest.source, *part.manifest.source.also)] == [17, 7]
    only = copy(both.path, tmp_path / "only.zarr", where=Selection.parse("class=zebra")).cache  # of the second source alone
    assert only.manifest.source.ids == spec.ids_digest(only.ids()) and not only.manifest.segments


def fitting(cache, classes):
    """Rows of some classes."""
    return np.array([row for row, label in enumerate(cache.column("label")) if cache.manifest.classes[label] in classes])


def test_texts_that_were_cut_are_counted_in_copies_of_all_shapes(one, two, tmp_path):
    name, made = next(name for name in one.products() if name.startswith("text/")), []
    for cache, cut in ((one, 5), (two, 2)):
        copied = copy(cache.path, tmp_path / f"{cut}.zarr").cache
        values = {node.path: copied.shard_rows(node, 0) for node in copied.arrays(copied.record(name))}
        copied.reopen(copied.record(name), 0)
        begun = copied.records()[name]
        copied.write(begun, 0, values)
        copied.finish(dataclasses.replace(begun, made_by=(*begun.made_by, (CUT, str(cut)))))
        made.append(copied.path)
    first, second = made
    assert copy(first, tmp_path / "both.zarr", also=(second,)).cache.record(name).cut == 7
    assert copy(first, tmp_path / "part.zarr", where=Selection.parse("split=test")).cache.record(name).cut is None
    assert copy(first, tmp_path / "half.zarr", also=(copy(two.path, tmp_path / "no.zarr").cache.path,)).cache.record(name).cut is None


def test_a_copy_that_was_stopped_goes_on_unless_an_original_has_changed(one, two, tmp_path):
    class Killed(Exception):
        pass

    def stop(product, shards):
        if product.startswith("image"):
            raise Killed

    with pytest.raises(Killed):
        copy(one.path, tmp_path / "k.zarr", also=(two.path,), advance=stop)
    copy(one.path, tmp_path / "k.zarr", also=(two.path,))
    copy(one.path, tmp_path / "o.zarr", also=(two.path,))
    assert contents(tmp_path / "k.zarr") == contents(tmp_path / "o.zarr")
    mine = copy(two.path, tmp_path / "mine.zarr").cache
    with pytest.raises(Killed):
        copy(one.path, tmp_path / "m.zarr", also=(mine.path,), advance=stop)
    record = mine.record("image/random-b")
    mine.reopen(record, 0)
    begun = mine.records()["image/random-b"]
    mine.write(begun, 0, {node.path: np.ones((3, *node.shape[1:]), node.dtype) for node in mine.arrays(begun)})
    mine.finish(begun)
    with pytest.raises(UserError, match="an original was changed"):
        copy(one.path, tmp_path / "m.zarr", also=(mine.path,))


def test_a_copy_of_several_becomes_one_with_another(one, two, tmp_path):
    both = copy(one.path, tmp_path / "both.zarr", also=(two.path,)).cache
    more = renamed(synthetic.write(tmp_path / "more.zarr", shapes=6, shard=3, seed=2), "more/")
    for _ in range(2):  # the second one finds everything
        done = copy(both.path, tmp_path / "all.zarr", names=("points",), also=(more.path,))
    check(done.cache, *((part, np.arange(part.manifest.shapes)) for part in (one, two, more)))


def test_what_does_not_fit_together_is_refused_and_nothing_is_written(one, two, tmp_path):
    other = synthetic.write(tmp_path / "other.zarr", shapes=6, shard=3, points=PointSpec(count=32, blocks=2, ordered=32), seed=2)
    named_alike, other = other, renamed(other, "other/")
    new = tmp_path / "n.zarr"
    for also, how, message in [
        (one.path, {}, "a cache is named twice"),
        (named_alike.path, {"names": ("image/random-a",)}, "6 ids are in several of the caches: 'cone/000000'"),
        (other.path, {}, "points was made otherwise in .*: spec.count is 64, asked 32"),
        (two.path, {"names": ("guide/g",)}, "has no finished product 'guide/g'"),
        (two.path, {"where": Selection.parse("class=zebr")}, "no cache has the class 'zebr'; did you mean 'zebra'"),
        (tmp_path / "old.zarr", {}, "has format 1"),
    ]:
        if also.name == "old.zarr":
            synthetic.write(also, format_version=1)
        with pytest.raises(UserError, match=message):
            copy(one.path, new, also=(also,), **how)
        assert not new.exists()
    assert copy(one.path, new, also=(other.path,), names=("image/random-a",)).cache.manifest.count == 23


def test_the_lineage_of_a_product_leaves_out_where_shapes_came_from():
    """Two caches of other shapes have other fingerprints all the way down, and one lineage; another setting changes it from there on."""

    def records(source, seed, dim):
        points = spec.Record(
            product="points", kind="points", spec=PointSpec(count=8, blocks=1, ordered=8, seed=seed), inputs=(("source", source),)
        )
        guide = dataclasses.replace(GUIDE, dim=dim)
        return {
            "points": points,
            "guide/g": spec.Record(product="guide/g", kind="guide", spec=guide, inputs=(("points", points.fingerprint),)),
        }

    a, b = records("s", 0, 8), records("t", 0, 8)
    assert all(a[name].fingerprint != b[name].fingerprint for name in a) and lineage(a) == lineage(b)
    c, d = lineage(records("s", 1, 8)), lineage(records("s", 0, 4))
    assert c["points"] != lineage(a)["points"] and c["guide/g"] != lineage(a)["guide/g"]
    assert d["points"] == lineage(a)["points"] and d["guide/g"] != lineage(a)["guide/g"]
