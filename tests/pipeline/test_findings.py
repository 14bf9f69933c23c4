"""Numbers that a report computes: accuracy as an independent loop counts it, equal data across splits, scores, and maps."""

import base64
import dataclasses
import shutil
import sys
import types

import numpy as np
import pytest

from cache_schema import spec, synthetic
from cache_schema.errors import UserError
from cache_schema.products import LABELS
from cache_schema.spec import CaptionSpec, LabelSet, Record
from pipeline import findings, pictures, scatter
from pipeline.snapshot import Snapshot
from tests.pipeline.test_report import share_data

NAMES = LabelSet(name="words", classes=("Cube", "sphere", "t-o-r-u-s", "CONE"), templates=("a {}", "{}"))


def add_labels(cache, labels, teacher, seed=0):
    record = Record(product=LABELS.product(set=labels.name, teacher=teacher.name), kind="labels", spec=teacher, labels=labels, inputs=())
    values = np.random.default_rng(seed).standard_normal((len(labels.classes), len(labels.templates), teacher.dim)).astype(np.float16)
    synthetic.fill(cache, {record: {record.product: values}})
    return values


def test_accuracy_is_that_of_an_independent_loop(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=24, failed=(5,))
    values = add_labels(cache, NAMES, cache.record("image/random-a").spec)
    found = {(one.label_set, one.split): one for one in findings.accuracy(Snapshot(cache))}
    pictures_of = cache.column("image/random-a").astype(np.float64)
    place = {"cone": 3, "cube": 0}  # 'torus' is not 't-o-r-u-s'
    counts = {}
    for row in range(24):
        name = cache.manifest.classes[cache.column("label")[row]]
        if row == 5 or name not in place:
            continue
        shape = sum(view / np.linalg.norm(view) for view in pictures_of[row])
        scores = []
        for sentences in values.astype(np.float64):
            mean = sum(one / np.linalg.norm(one) for one in sentences)
            scores.append(shape @ mean / np.linalg.norm(mean))
        right = scores.index(max(scores)) == place[name]
        for split in ("", cache.manifest.splits[cache.column("split")[row]]):
            n, hits = counts.get(split, (0, 0))
            counts[split] = n + 1, hits + right
    assert counts.keys() == {"", "train"}  # every torus is a test shape
    for split, (n, hits) in counts.items():
        one = found["words", split]
        assert (one.shapes, one.percent, one.chance, one.note) == (n, pytest.approx(100 * hits / n), 25, "")
    assert found["words", ""].left_out == 7 and found["words", "train"].left_out == 0
    assert (found["words", "test"].percent, found["words", "test"].note) == (None, "no shape has a class of this label set")
    assert found["three", ""].shapes == 23 and found["three", ""].left_out == 0


def test_what_cannot_be_measured_says_why(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=9)
    teacher = cache.record("image/random-a").spec
    add_labels(cache, dataclasses.replace(NAMES, name="one", classes=("cone",)), teacher)
    add_labels(cache, dataclasses.replace(NAMES, name="other"), dataclasses.replace(teacher, weights="others"))
    add_labels(cache, dataclasses.replace(NAMES, name="twice", classes=("Cone", "CONE", "cube")), teacher)
    notes = {one.label_set: (one.percent, one.note) for one in findings.accuracy(Snapshot(cache)) if not one.split}
    assert notes["one"] == (None, "the label set has one class only")
    assert notes["other"] == (None, "another model of the name random-a embedded the label set")
    assert notes["twice"][0] is None and "cannot be told from its spelling" in notes["twice"][1]
    assert notes["three"][1] == ""


def test_equal_data_is_found_within_and_across_splits(tmp_path):
    """Classes come round in threes, and every third shape is a test shape."""
    cache = synthetic.write(tmp_path / "c.zarr", shapes=30, shard=7, failed=(4,))
    share_data(cache, [(0, 3), (0, 26), (1, 4), (6, 7), (8, 11)])
    found = findings.duplicates(Snapshot(cache))
    assert (found.known, found.groups, found.shapes, found.disagreeing) == (29, 3, 7, 2)  # 4 failed, so 1 is alone
    (one,) = found.crossing
    assert one.splits == ("train", "test") and one.shapes == (2, 1)
    assert [member.row for member in found.listed[0]] == [0, 3, 26]  # across splits first
    assert {tuple(member.row for member in group) for group in found.listed[1:]} == {(6, 7), (8, 11)}
    assert found.listed[0][2].split == "test" and found.listed[0][0].id == "cone/000000"
    record, node = cache.record("status"), cache.node("source_sha256")
    for shard in range(cache.manifest.shards):
        values = {one.path: cache.shard_rows(one, shard) for one in cache.arrays(record)}
        cache.write(record, shard, values | {node.path: np.zeros_like(values[node.path])})
    nothing = findings.duplicates(Snapshot(cache))
    assert (nothing.known, nothing.groups, nothing.crossing, nothing.listed) == (0, 0, (), ())  # zeros: unknown, not equal


def test_scores_are_those_of_embedded_captions(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=4, failed=(3,), views=2)
    assert findings.findings(Snapshot(cache)).scores == ()  # nobody ranked them
    record = dataclasses.replace(
        cache.record("captions/synthetic"),
        spec=CaptionSpec(name="synthetic", captioner="synthetic", samples=2, keep=1, rank_by="random-a"),
        complete=False,
        content="",
    )
    text = cache.column("captions/synthetic/text")
    for made in ("captions/synthetic", "text/synthetic"):
        shutil.rmtree(cache.path / "products" / made)
    scores = np.array([[[1, 9], [2, 9]], [[3, 9], [4, 9]], [[5, 9], [np.nan, 9]], [[7, 7], [7, 7]]], np.float32)
    synthetic.fill(cache, {record: {"captions/synthetic/text": text, "captions/synthetic/score": scores}})
    (found,) = findings.findings(Snapshot(cache)).scores
    assert (found.shapes, found.scores, found.mean, found.quantiles) == (3, 5, 3, (1, 2, 3, 4, 5))
    assert sum(found.counts) == 5 and (found.edges[0], found.edges[-1]) == (1, 5) and len(found.edges) == len(found.counts) + 1


def test_shapes_without_an_embedding_are_left_out(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=12, shard=12)
    record = cache.record("image/random-a")
    values = cache.column("image/random-a").copy()
    values[[2, 7]] = 0
    cache.write(record, 0, {record.product: values})
    snapshot = Snapshot(cache)
    assert findings.neighbours(snapshot, record).sampled == 10
    (one,) = [one for one in findings.accuracy(snapshot) if not one.split]
    assert one.shapes == 10
    first = next(scatter.maps(snapshot, "pca"))
    assert first.rows.tolist() == [i for i in range(12) if i not in (2, 7)]


def test_a_map_shows_the_two_directions_of_largest_variance(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=12, shard=12)
    record = cache.record("image/random-a")
    snapshot = Snapshot(cache)
    found = next(scatter.maps(snapshot, "pca"))
    values = findings.mean_embeddings(snapshot.mapped(record.product), np.arange(12)).astype(np.float64)
    variance, directions = np.linalg.eigh(np.cov(values.T))
    for axis in range(2):
        wanted = (values - values.mean(0)) @ directions[:, -1 - axis]
        assert np.abs(np.abs(found.places[:, axis]) - np.abs(wanted)).max() < 1e-5
        assert f"{variance[-1 - axis] / variance.sum():.0%}" in found.axes[axis]


def test_umap_is_asked_for_by_name(tmp_path, monkeypatch):
    snapshot = Snapshot(synthetic.write(tmp_path / "c.zarr", shapes=12))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"pip install 'mmpd\[umap\]', or --map pca"):
        next(scatter.maps(snapshot, "umap"))
    asked = {}

    class Umap:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, values):
            return values[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Umap))
    found = next(scatter.maps(snapshot, "umap"))
    assert found.places.shape == (12, 2) and asked["n_neighbors"] == 11 and asked["random_state"] == 0
    with pytest.raises(UserError, match="by pca or umap"):
        next(scatter.maps(snapshot, "tsne"))


def test_labels_of_points_are_packed_with_room_for_none():
    found, packed = pictures.packed_labels(np.array([7, -1, 3, 7, 9, 9, 9]), most=2)
    assert found == [7, 9] and list(base64.b64decode(packed)) == [0, 2, 2, 0, 1, 1, 1]
    assert pictures.packed_labels(np.array([-1, -1]))[0] == []


def test_rows_between_segments_are_no_shapes(tmp_path):
    snapshot = Snapshot(synthetic.write(tmp_path / "c.zarr", shapes=12, failed=(2,)))
    snapshot.held[[5, 6]] = False
    snapshot.status[[5, 6]] = spec.PENDING
    assert snapshot.counts == {"ok": 9, "failed": 1, "pending": 0}


def test_points_are_counted_where_blocks_repeat_some(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=10, failed=(0,), real=(9, 64, 30, 5))
    found = findings.findings(Snapshot(cache)).scarce
    assert found is not None  # rows 4 and 8 have 9 points, 2 and 6 have 30, 3 and 7 have 5
    assert (found.shapes, found.counted, found.block, found.quantiles) == (6, 6, 64, (5, 5, 9, 9, 30))
    assert found.below == ((8, 2), (16, 2), (32, 2), (64, 0), (65, 0))
    assert findings.findings(Snapshot(synthetic.write(tmp_path / "full.zarr", shapes=3))).scarce is None
    points = np.array([[0, 0, 0], [0.5, 0, 0], [-0.0, 0, 0], [0, 0.5, 0], [0.5, 0, 0]], np.float16)
    assert findings.different(points) == 3
