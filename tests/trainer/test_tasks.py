"""The tasks, on caches of shapes that differ by class and a model that was aligned with them for some steps."""

import ast
import copy
import csv
import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cache_schema import spec, store, synthetic
from cache_schema.errors import UserError
from cache_schema.spec import BoxSpec, LabelSet, Manifest, PointSpec, Record, SourceSpec
from tests.trainer.conftest import config_of
from tests.trainer.labelled import write_parts
from tests.trainer.test_config import leaves
from trainer import checkpoint, ops
from trainer.align import Align, AlignOptions, LocalLosses, PatchTeacher, Teacher
from trainer.arithmetic import Arithmetic
from trainer.batch import Batch
from trainer.checkpoint import Header, Loaded
from trainer.config import AlignConfig, OptimConfig
from trainer.distill import Distill, DistillOptions
from trainer.encoders.blocks import DropPath
from trainer.encoders.catalog import build, refitted, regrouped
from trainer.points import Convention
from trainer.stage import Facts
from trainer.tasks import (
    catalog,
    classify,
    crossval,
    features,
    fewshot,
    finetune,
    knn,
    mistakes,
    picture,
    rank,
    result,
    retrieval,
    svm,
    teachers,
    unfinished,
    unread,
    zeroshot,
)
from trainer.tasks import table as tables
from trainer.tasks.protocol import TASKS
from trainer.tasks.result import Metric
from trainer.tasks.shapes import matched, of_split, relabelled
from trainer.tasks.teachers import contrasted
from trainer.tuning.catalog import learned

CLASSES = ("night_stand", "Cube", "rod", "disc")
FORMS = {"night_stand": (0.9, 0.9, 0.9), "Cube": (0.2, 0.9, 0.2), "rod": (0.9, 0.1, 0.1), "disc": (0.9, 0.05, 0.9)}
TEACHER = synthetic.teacher("clip.b", 16)
BLIND = synthetic.teacher("dino", 8, text=False)


def write(path, classes=CLASSES, splits=("train", "test"), shapes=48, failed=(), teacher=TEACHER, labelled=True, label_sets=("source",)):
    """Ellipsoids whose axes and whose teacher's embeddings tell their class. Row i is of class i mod 4, two of five of the last split."""
    rng = np.random.default_rng(1)
    labels = [i % len(classes) for i in range(shapes)]
    source = SourceSpec(kind="synthetic", ids=spec.ids_digest([str(i) for i in range(shapes)]))
    manifest = Manifest(shapes=shapes, shard=16, source=source, classes=classes if labelled else (), splits=splits)
    where = [(len(splits) - 1 if i % 5 > 2 else 0) if splits else -1 for i in range(shapes)]
    cache = store.create(path, manifest, [str(i) for i in range(shapes)], labels if labelled else [-1] * shapes, where)
    ok = np.isin(np.arange(shapes), failed, invert=True)
    xyz = rng.standard_normal((shapes, 2, 64, 3))
    xyz *= np.array([FORMS[classes[label]] for label in labels])[:, None, None] / np.linalg.norm(xyz, axis=-1, keepdims=True)
    xyz = torch.from_numpy(xyz.reshape(-1, 64, 3).astype(np.float16))
    xyz = ops.gather(xyz, ops.farthest_points(xyz, 64)).reshape(shapes, 2, 64, 3).numpy()
    direction = np.random.default_rng(7).standard_normal((len(FORMS), 16))[[list(FORMS).index(c) for c in classes]]
    embedding = (direction[labels][:, None] + 0.3 * rng.standard_normal((shapes, 3, 16))).astype(np.float16)
    points = PointSpec(count=64, blocks=2, ordered=32, parts=("low", "high"))
    products = {
        Record(product="status", kind="status", spec=source, inputs=()): {
            "status": np.where(ok, spec.OK, spec.FAILED).astype(np.uint8),
            "reason": np.zeros((shapes, spec.TEXT_BYTES), np.uint8),
            "source_sha256": np.zeros((shapes, 32), np.uint8),
            "colored": np.ones(shapes, np.uint8),
            "repeated": np.zeros(shapes, np.uint8),
        },
        Record(product="points", kind="points", spec=points, inputs=()): {
            "points/xyz": xyz * ok[:, None, None, None].astype(np.float16),
            "points/rgb": np.full((shapes, 2, 64, 3), 128, np.uint8),
            "points/part": (xyz[..., 1] > 0).astype(np.int16),
        },
        # Each shape is a scene with one object: itself.
        Record(product="boxes", kind="boxes", spec=BoxSpec(names=classes, most=1), inputs=()): {
            "boxes/box": np.tile(np.array([0, 0, 0, 1, 1, 1, 0], np.float32), (shapes, 1, 1)),
            "boxes/class": np.array(labels, np.int32)[:, None],
        },
        Record(product="image/clip.b", kind="image", spec=teacher, per_shape=3, inputs=()): {"image/clip.b": embedding},
        # One text for all shapes of a class.
        Record(product="text/c/clip.b", kind="text", spec=teacher, per_shape=3, inputs=()): {
            "text/c/clip.b": np.repeat(direction[labels][:, None], 3, 1).astype(np.float16)
        },
    }
    synthetic.fill(cache, products)
    for name in label_sets:
        names = tuple(c.replace("_", " ").lower() for c in classes)
        label_set = LabelSet(name=name, classes=names, templates=("a {}", "one {}"))
        record = Record(product=f"labels/{name}/clip.b", kind="labels", spec=teacher, labels=label_set, inputs=())
        cache.begin(record)
        cache.write(record, 0, {record.product: np.repeat(direction[:, None], 2, 1).astype(np.float16)})
        cache.finish(record)
    return cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write(tmp_path_factory.mktemp("caches") / "shapes.zarr", failed=(0, 9))


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("pointmae-tiny", groups=8, group_size=8, embed=(16, 16, 32), dim=24, depth=2, heads=2)


@pytest.fixture(scope="module")
def stage(cache, encoder):
    """A model aligned for some steps."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stage = Align(
            encoder,
            (
                Teacher(name="clip.b", dim=16, text=True, objective="contrast", fingerprint=spec.fingerprint(TEACHER)),
                Teacher(name="dino", dim=8, text=False, objective="regress"),
            ),
            AlignOptions(heads=2),
            {"image/dino": (torch.zeros(8), torch.ones(8))},
        )
    shapes = of_split(cache, "train")
    order = np.arange(len(shapes))
    batch = Batch(
        points=shapes.points(order, 0, 3),
        index=torch.from_numpy(shapes.rows),
        label=torch.from_numpy(shapes.labels),
        image={"clip.b": torch.from_numpy(cache.rows("image/clip.b").gather(shapes.rows, order % 3)), "dino": torch.zeros(len(shapes), 8)},
        text={"clip.b": torch.from_numpy(cache.rows("text/c/clip.b").gather(shapes.rows, order % 3))},
    )
    optimizer = torch.optim.AdamW(stage.parameters(), lr=3e-3)
    draw = stage.draw(len(shapes), torch.Generator().manual_seed(0))
    for module in stage.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 0.5  # so that its running means follow in so few steps
    for _ in range(100):
        optimizer.zero_grad()
        stage(batch, draw)["loss"].backward()
        optimizer.step()
    optimizer.zero_grad()
    return stage.eval()


def mean(scores, name):
    return next(metric for metric in scores.metrics if metric.name == name).mean


# ------------------------------------------------------------------------------------------------- every task


def test_every_task_module_is_in_the_catalogue():
    folder = Path(catalog.__file__).parent
    tasks = {
        f"trainer.tasks.{file.stem}"
        for file in folder.glob("*.py")
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in ast.parse(file.read_text()).body)
    }
    assert tasks == set(catalog.TASKS.values())


def knowing_parts(stage, path):
    """A copy of the model with a head from tokens to patch features, and a cache with the names of its parts."""
    stage, cache = copy.deepcopy(stage), write(path, failed=(0, 9))
    with torch.random.fork_rng():
        stage.local = LocalLosses(24, (PatchTeacher(name="clip.b", dim=16, text=True, fingerprint=spec.fingerprint(TEACHER)),)).eval()
    names = LabelSet(name="parts", classes=("low", "high"), templates=("a {}",))
    record = Record(product="labels/parts/clip.b", kind="labels", spec=TEACHER, labels=names, inputs=())
    synthetic.fill(cache, {record: {record.product: np.random.default_rng(2).standard_normal((2, 1, 16)).astype(np.float16)}})
    return stage, cache


@pytest.mark.parametrize("name", catalog.TASKS)
def test_a_task_keeps_the_contract(name, stage, cache, tmp_path):
    module = catalog.task(name)
    if name == "zeroshot-parts":
        stage, cache = knowing_parts(stage, tmp_path / "parts.zarr")
    before = {key: value.clone() for key, value in stage.state_dict().items()}
    global_state = torch.get_rng_state()
    scores = module.run(stage, cache, cache, module.SMOKE)
    assert scores == module.run(stage, cache, cache, module.SMOKE), "the same again must give the same"
    assert all(torch.equal(value, before[key]) for key, value in stage.state_dict().items()) and not stage.training
    assert torch.equal(global_state, torch.get_rng_state())
    assert any(metric.headline for metric in scores.metrics)
    assert all(0 <= value <= 100 for metric in scores.metrics for value in metric.values)
    if name in ("zeroshot", "svm", "crossval", "knn", "fewshot", "classify"):
        headline = {metric.name: metric.values for metric in scores.metrics if metric.headline}
        assert {kept.metric: pytest.approx(kept.values) for kept in scores.predictions} == headline
        assert {kept.right.shape for kept in scores.predictions} == {(len(scores.metrics[0].values), scores.test.shapes)}
    if scores.confusion:
        counts = np.array(scores.confusion)
        assert counts.shape == (len(scores.classes),) * 2
        points = 64 if name in ("parts", "scenes", "zeroshot-parts") else 1  # what is counted: points of one block, or shapes
        blocks = 2 if name == "scenes" else 1
        assert counts.sum() == scores.test.shapes * points * blocks * len(scores.metrics[0].values)
        accuracy = next((metric for metric in scores.metrics if metric.name == "accuracy"), None)
        assert accuracy is None or 100 * np.trace(counts) / counts.sum() == pytest.approx(accuracy.mean)


@pytest.mark.parametrize("name", catalog.TASKS)
def test_options_are_explained_frozen_and_settable(name):
    module = catalog.task(name)
    chosen = catalog.options(name, ["test_split=val"])
    assert chosen == dataclasses.replace(module.Options(), test_split="val")
    with pytest.raises(ValueError, match="did you mean 'test_split'"):
        catalog.options(name, ["test_splt=val"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        chosen.test_split = "x"
    json.dumps(spec.to_json(chosen))


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'zeroshot'"):
        catalog.task("zero-shot")


def test_the_peer_protocol_is_refused_where_there_is_none():
    assert catalog.options("classify", peer_protocol=True).peer_protocol
    with pytest.raises(ValueError, match="task svm has no peer protocol"):
        catalog.options("svm", peer_protocol=True)


def test_the_catalogue_imports_no_task_before_it_is_chosen():
    code = "import sys, trainer.tasks.catalog as c; print([m for m in c.TASKS.values() if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------- which shapes


def test_failed_shapes_are_left_out(cache):
    rows = np.concatenate([of_split(cache, split).rows for split in ("train", "test")])
    assert sorted(rows) == [i for i in range(48) if i not in (0, 9)]
    assert len(of_split(cache, "all")) == 46


def test_the_default_test_split_is_test_or_else_val(cache, tmp_path):
    assert of_split(cache, None).split == "test"
    assert of_split(write(tmp_path / "v.zarr", splits=("train", "val"), shapes=12), None).split == "val"
    with pytest.raises(ValueError, match="neither a split 'test' nor 'val'; there is: learn, all"):
        of_split(write(tmp_path / "n.zarr", splits=("learn",), shapes=12), None)


def test_what_a_cache_lacks_is_said_with_what_it_has(cache, tmp_path):
    with pytest.raises(ValueError, match="no split 'tset'; did you mean 'test'"):
        of_split(cache, "tset")
    plain = write(tmp_path / "plain.zarr", splits=(), shapes=12, labelled=False, label_sets=())
    with pytest.raises(ValueError, match=r"no split 'train'; there is: all.*`mmpd-train eval crossval` tests every shape once"):
        of_split(plain, "train")
    with pytest.raises(ValueError, match="has no classes"):
        of_split(plain, "all")
    assert len(of_split(plain, "all", labelled=False)) == 12
    empty = write(tmp_path / "empty.zarr", splits=("train", "val", "test"), shapes=12)
    with pytest.raises(ValueError, match=r"split 'val' of .* has no usable shape"):
        of_split(empty, "val")


def test_classes_are_matched_by_name_and_those_without_training_shapes_left_out(cache, tmp_path):
    other = write(tmp_path / "o.zarr", classes=("disc", "rod", "night_stand"), shapes=12)
    train, test, notes = matched(of_split(cache, "train"), of_split(other, "test"))
    assert [test.classes[i] for i in test.labels] == [other.manifest.classes[row % 3] for row in test.rows]
    assert not notes

    seen = of_split(cache, "train")
    train, test, notes = matched(seen.of(seen.labels != 1), of_split(cache, "test"))
    assert train.classes == test.classes == ("night_stand", "rod", "disc")
    assert [CLASSES[row % 4] for row in test.rows] == [test.classes[i] for i in test.labels]
    assert len(notes) == 1 and notes[0].startswith("3 of 17 test shapes are left out") and "Cube" in notes[0]
    with pytest.raises(ValueError, match="one class only"):
        matched(seen.of(seen.labels == 1), of_split(cache, "test"))
    with pytest.raises(ValueError, match="no class that the classifier knows: it has Cube, rod; the classifier knows sofa"):
        of_test = of_split(cache, "test")
        relabelled(of_test.of(np.isin(of_test.labels, (1, 2))), ("sofa",))


@pytest.mark.parametrize("name", ["svm", "knn", "classify"])
def test_shapes_that_are_learned_from_and_tested_on_are_counted(name, stage, cache, tmp_path):
    module = catalog.task(name)
    other = write(tmp_path / "other.zarr")
    chosen = dataclasses.replace(module.SMOKE, train_split="all")
    run = loaded(stage, tmp_path / "run")
    assert not catalog.evaluate(name, run, cache, module.SMOKE).scores.warning
    assert not catalog.evaluate(name, run, cache, chosen, other).scores.warning
    for wide, known in ((chosen, 17), (dataclasses.replace(module.SMOKE, test_split="all"), 29)):
        found = catalog.evaluate(name, run, cache, wide, store.open_cache(cache.path))
        note = f"{known} of {found.scores.test.shapes} test shapes are also training shapes"
        assert found.scores.warning == f"learned from {known} of {found.scores.test.shapes}"
        assert note in found.scores.notes and note in found.json() and f"run: {note}" in tables.table([found]).markdown()


def test_points_are_those_of_the_cache(cache):
    shapes = of_split(cache, "test")
    points = shapes.points(np.array([3, 1]), np.array([1, 0]), 6)
    stored = cache.array("points/xyz")[:]
    assert np.array_equal(points[0, :, :3], stored[shapes.rows[3], 1]) and np.array_equal(points[1, :, :3], stored[shapes.rows[1], 0])
    assert (points[..., 3:] == torch.tensor(128) / 255).all()
    assert torch.equal(shapes.points(np.array([3]), 1, 3), points[:1, :, :3])


# ------------------------------------------------------------------------------------------------- frozen features


def test_probes_tell_classes_apart_that_differ(stage, cache):
    for module, chosen in ((svm, svm.Options()), (knn, knn.Options(neighbours=3))):
        scores = module.run(stage, cache, cache, chosen)
        assert mean(scores, "accuracy") > 90 and mean(scores, "class accuracy") > 90
        assert len(scores.metrics[0].values) == 2, "one for each stored block"
    assert "C = " in svm.run(stage, cache, cache, svm.Options()).notes[0]


def test_the_svm_is_standardised_by_and_chosen_on_what_it_learns_from():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    inputs = (rng.standard_normal((60, 5)) * [1, 10, 100, 1, 1] + 3 * labels[:, None]).astype(np.float32)
    probe = svm.fit(inputs, labels, 0.01)
    assert np.allclose(probe[0].mean_, inputs.mean(0), rtol=1e-4) and probe[-1].C == 0.01
    chosen = svm.choose(inputs, labels, 0)
    assert chosen in svm.GRID and svm.choose(inputs, labels, 0) == chosen
    assert svm.choose(np.zeros((60, 5), np.float32), labels, 0) == min(svm.GRID), "of equally good ones the smallest"


def test_features_are_computed_once_for_the_same_weights(stage, cache, monkeypatch):
    stage, shapes, passes = copy.deepcopy(stage), of_split(cache, "test"), []
    forward = features.Body.forward
    monkeypatch.setattr(features.Body, "forward", lambda *arguments: passes.append(1) or forward(*arguments))
    plain = features.extract(features.Body.of(stage, "mean_max"), shapes, 0)
    with features.once(features=True):
        for pool, block in (("mean_max", 0), ("mean_max", 0), ("summary", 0), ("mean_max", 1), ("mean_max", 0)):
            found = features.extract(features.Body.of(stage, pool), shapes, block)
            assert torch.equal(found, plain) == ((pool, block) == ("mean_max", 0))
            found.zero_()  # a caller's change is its own
        assert len(passes) == 4
        with torch.no_grad():
            next(stage.encoder.parameters()).add_(1)
        assert not torch.equal(features.extract(features.Body.of(stage, "mean_max"), shapes, 0), plain)


@pytest.mark.parametrize("name", ["svm", "knn", "crossval"])
def test_blocks_of_a_shape_may_be_averaged(name, stage, cache, monkeypatch):
    """The features that are compared are means over both blocks, of training and test shapes; and the result says so."""
    module, plain, seen = catalog.task(name), features.extract, []
    chosen = dataclasses.replace(module.SMOKE, repeats=None)
    each = module.run(stage, cache, cache, chosen)
    monkeypatch.setattr(features, "extract", lambda body, shapes, block: seen.append(block) or plain(body, shapes, 0))
    mean = module.run(stage, cache, cache, dataclasses.replace(chosen, average=True))
    assert sorted(set(seen)) == [0, 1] and seen.count(0) == seen.count(1), "every block once"
    assert mean.predictions[0].predicted == each.predictions[0].predicted[:1], "the mean of equal blocks is the block"
    assert "a shape is read by the mean of the features of its 2 blocks" in mean.notes and mean.trained is None
    shapes, body = of_split(cache, "test"), features.Body.of(stage, "mean_max")
    monkeypatch.undo()
    half = (features.extract(body, shapes, 0) + features.extract(body, shapes, 1)) / 2
    assert torch.allclose(features.read(body, shapes, range(2)), half, atol=1e-6)


def test_an_average_is_over_the_blocks_that_both_caches_have_and_over_two_at_least(stage, cache, tmp_path):
    body, train = features.Body.of(stage, "mean_max"), of_split(cache, "train")
    one, three = (
        of_split(synthetic.write(tmp_path / f"{count}.zarr", points=PointSpec(count=64, blocks=count, ordered=32)), "test")
        for count in (1, 3)
    )
    blocks = features.readings(True, None, body, train, three)
    assert blocks == [range(2)]
    (note,) = features.averaged(True, blocks, body, train, three)
    assert note == "a shape is read by the mean of the features of 2 of 3 blocks, as many as there are in both caches"
    assert features.averaged(False, blocks, body, train, three) == ()
    with pytest.raises(
        UserError, match=r"average=true needs two blocks of a shape or more, and only one can be read in .*1.zarr: leave it out"
    ):
        features.readings(True, None, body, train, one)
    joined = copy.deepcopy(stage)
    joined.convention = Convention(count=128, normalize="unit_sphere")
    with pytest.raises(UserError, match=r"in .*shapes.zarr \(2 stored blocks are joined to reach the point count of the run\)"):
        zeroshot.run(joined, cache, cache, zeroshot.Options(average=True))


def test_nearest_shapes_vote_as_in_scikit_learn(monkeypatch):
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 200)
    known, asked = (rng.standard_normal((n, 16)).astype(np.float32) for n in (200, 50))
    known[3] = 0  # has no direction: as far from all as a right angle
    for neighbours, pairs in ((1, 1), (20, 7 * 200), (200, 1 << 20)):  # a shape at a time, seven, all
        monkeypatch.setattr(knn, "PAIRS", pairs)
        twin = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-d / knn.TEMPERATURE))
        assert (knn.vote(known, labels, asked, neighbours) == twin.fit(known, labels).predict(asked)).all()


def test_an_svm_that_does_not_converge_says_so(stage, cache, monkeypatch):
    monkeypatch.setattr(svm, "STEPS", 1)
    assert any("before it had converged" in note for note in svm.run(stage, cache, cache, svm.SMOKE).notes)


def test_classes_with_one_training_shape_can_still_choose_c():
    labels = np.array([0] * 8 + [1] * 8 + [2])
    inputs = np.random.default_rng(0).standard_normal((17, 4)).astype(np.float32) + 4 * labels[:, None]
    assert set(svm.fit(inputs, labels, svm.choose(inputs, labels, 0))[-1].classes_) == {0, 1, 2}


def test_cross_validation_tests_every_shape_without_its_object(stage, cache, tmp_path):
    shapes = of_split(cache, "all")
    objects = crossval.objects_of(shapes)
    assert len(set(objects)) == 46
    parts = list(crossval.dealt(shapes, objects, 4, 0))
    assert sorted(np.concatenate([asked for _, asked in parts])) == list(range(len(shapes)))
    assert all(sorted(np.concatenate(part)) == list(range(len(shapes))) for part in parts)
    assert [list(asked) for _, asked in parts] != [list(asked) for _, asked in crossval.dealt(shapes, objects, 4, 1)]

    scores = crossval.run(stage, cache, cache, crossval.Options(folds=4, c=0.01, repeats=1))
    body, right = features.Body.of(stage, "mean_max"), []
    x = features.extract(body, shapes, 0).numpy()
    for known, asked in parts:
        right += (svm.fit(x[known], shapes.labels[known], 0.01).predict(x[asked]) == shapes.labels[asked]).tolist()
    assert scores.metrics[0].mean == pytest.approx(100 * np.mean(right)) and scores.metrics[0].shapes == 46
    assert "cross-validation in 4 folds over all 46 shapes of the split" in scores.notes

    # Scans of one object stay together, and what is made of one file.
    names, digests = np.array([f"{row // 4}#{row}" for row in range(48)]), np.zeros((48, 32), np.uint8)
    digests[[1, 10], 0] = 7
    other = SimpleNamespace(ids=lambda: names, path="x", column={"source_sha256": digests}.get)
    twins = dataclasses.replace(shapes, cache=other, classes=("a", "b"), labels=shapes.labels % 2)
    together = crossval.objects_of(twins)
    whole = [{"2": "0"}.get(one := name.split("#")[0], one) for name in names[shapes.rows]]
    assert len(set(zip(together, whole, strict=True))) == len(set(together)) == len(set(whole)) == 11
    for known, asked in crossval.dealt(twins, together, 3, 0):
        assert len(asked) and not set(together[known]) & set(together[asked])

    with pytest.raises(ValueError, match=r"has 46 objects, and folds=50 needs as many: set folds=46 or fewer"):
        list(crossval.dealt(shapes, objects, 50, 0))
    with pytest.raises(ValueError, match=r"the largest class of .* has 12 shapes: set folds=12 or fewer, got 20"):
        list(crossval.dealt(shapes, objects, 20, 0))
    few = (shapes.labels != 1) | (np.arange(46) == np.flatnonzero(shapes.labels == 1)[0])
    with pytest.raises(ValueError, match=r"needs two objects of each class, and .* has one of: Cube"):
        list(crossval.dealt(shapes.of(few), objects[few], 2, 0))
    with pytest.raises(ValueError, match=r"crossval fits and tests on the same shapes of one cache: leave --test-cache out"):
        crossval.run(stage, cache, write(tmp_path / "other.zarr", shapes=12), crossval.SMOKE)


def test_a_probe_learned_on_one_cache_is_tested_on_another(stage, cache, tmp_path):
    other = write(tmp_path / "other.zarr", classes=("rod", "night_stand", "disc"), shapes=24)
    for module, chosen in ((svm, svm.Options(c=0.01)), (knn, knn.Options(neighbours=3)), (zeroshot, zeroshot.Options())):
        scores = module.run(stage, cache, other, chosen)
        assert scores.metrics[0].mean > 90 and scores.test.cache == "other" and scores.test.shapes == 9


def test_another_test_cache_without_splits_is_tested_whole_and_says_so(stage, cache, tmp_path):
    other = write(tmp_path / "other.zarr", shapes=24)
    other.manifest = dataclasses.replace(other.manifest, splits=())
    run = loaded(stage, tmp_path / "run")
    found = catalog.evaluate("knn", run, cache, catalog.options("knn", ["neighbours=3"]), other)
    assert (found.scores.test.split, found.scores.test.shapes) == ("all", 24)


def test_pooling_is_of_tokens_and_summary(stage, cache):
    shapes = of_split(cache, "test")
    truth = stage.features(shapes.points(np.arange(len(shapes)), 1, 3), ordered=True)
    parts = {"mean": truth.tokens.mean(1), "max": truth.tokens.amax(1), "summary": truth.summary}
    for pool, names in (("mean_max", ("mean", "max")), ("summary", ("summary",)), ("summary_max", ("summary", "max"))):
        found = features.extract(features.Body.of(stage, pool), shapes, 1)
        assert torch.allclose(found, torch.cat([parts[n] for n in names], 1), atol=1e-5)
    found = features.extract(features.Body.of(stage, "depths"), shapes, 1).unflatten(1, (4, -1))  # [n, 4, 2 D]
    assert torch.allclose(found[:, -1], torch.cat([parts["mean"], parts["max"]], 1), atol=1e-5)
    patches = stage.encoder.patchify(shapes.points(np.arange(len(shapes)), 1, 3), ordered=True)
    first = stage.encoder.layers(patches, 4)[0].tokens
    assert torch.allclose(found[:, 0], torch.cat([first.mean(1), first.amax(1)], 1), atol=1e-5)
    assert (found[:, 0] - found[:, -1]).abs().mean() > 1e-2
    for method in (None, lambda patches: ()):  # encoders of other packages may have no depths, or three alone
        other = copy.deepcopy(stage)
        other.encoder = torch.nn.Module()
        other.encoder.layers = method
        with pytest.raises(UserError, match="Module gives no features of 4 depths: set pool to mean_max"):
            features.Body.of(other.eval(), "depths")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_frozen_features_are_of_float32_on_a_gpu_too(stage, cache):
    body, shapes = features.Body.of(copy.deepcopy(stage), "summary_max"), of_split(cache, "test")
    here = features.extract(body, shapes, 0)
    assert torch.allclose(features.extract(body.to("cuda"), shapes, 0), here, atol=1e-4)


def test_batch_size_changes_no_feature(stage, cache, monkeypatch):
    shapes, body = of_split(cache, "train"), features.Body.of(stage, "mean_max")
    whole = features.extract(body, shapes, 0)
    monkeypatch.setattr(features, "BATCH", 4)
    assert torch.allclose(features.extract(body, shapes, 0), whole, atol=1e-6)


def test_a_model_without_a_summary_says_what_to_choose(encoder, stage, cache):
    student = Distill(encoder, DistillOptions(local_weight=0, global_weight=0, reconstruction_weight=1, heads=2)).eval()
    assert len(svm.run(student, cache, cache, svm.SMOKE).metrics)
    with pytest.raises(ValueError, match="without a summary: set pool to mean_max"):
        svm.run(student, cache, cache, svm.Options(pool="summary"))
    with pytest.raises(ValueError, match="no heads into the spaces of teachers"):
        zeroshot.run(student, cache, cache, zeroshot.SMOKE)
    with pytest.raises(ValueError, match="before training there is no summary"):
        classify.run(stage, cache, cache, classify.Options(pool="summary", scratch=True, epochs=1))


def test_a_model_of_infinite_features_is_stopped(encoder, cache):
    broken = Align(encoder, (Teacher(name="t", dim=4, text=True, objective="contrast"),), AlignOptions(heads=2)).eval()
    with torch.no_grad():
        broken.pool.norm2.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        features.extract(features.Body.of(broken, "summary"), of_split(cache, "test"), 0)


def test_too_many_repeats_and_neighbours_are_refused(stage, cache):
    with pytest.raises(ValueError, match=r"1\.\.2, the number of stored blocks"):
        svm.run(stage, cache, cache, svm.Options(c=1.0, repeats=3))
    with pytest.raises(ValueError, match=r"1\.\.29, the number of training shapes, got 30"):
        knn.run(stage, cache, cache, knn.Options(neighbours=30))


# ------------------------------------------------------------------------------------------------- teachers' spaces


@pytest.mark.parametrize(
    ("counts", "searched"), [([1] * 30, False), ([1, 1], False), ([2, 1], True), ([2, 2], True), ([5, 1], True), ([2] * 20, True)]
)
def test_few_shapes_of_a_class_make_no_warning_and_no_error(counts, searched):
    labels = np.repeat(np.arange(len(counts)), counts)
    inputs = (np.eye(len(counts))[labels] + 0.01 * np.random.default_rng(0).normal(size=(len(labels), len(counts)))).astype(np.float32)
    for seed in range(5):
        c = svm.choose(inputs, labels, seed)
        assert c in svm.GRID and (searched or c == svm.UNSEARCHED)
    assert (svm.fit(inputs, labels, 1.0).predict(inputs) == labels).all()


def test_zero_shot_after_alignment(stage, cache):
    scores = zeroshot.run(stage, cache, cache, zeroshot.Options())
    assert [m.name for m in scores.metrics] == ["clip.b top-1", "clip.b top-3"], "5 of 4 classes says nothing"
    assert mean(scores, "clip.b top-1") > 90 and mean(scores, "clip.b top-3") >= mean(scores, "clip.b top-1")
    for head in ("image", "text"):
        assert mean(zeroshot.run(stage, cache, cache, zeroshot.Options(head=head)), "clip.b top-1") > 80
    assert len(zeroshot.run(stage, cache, cache, zeroshot.Options(average=True)).metrics[0].values) == 1


def test_the_class_embedding_is_a_mean_of_unit_vectors(cache, monkeypatch):
    stored = np.array([[[3.0, 0.0], [0.0, 1.0]], [[-2.0, 0.0], [-4.0, 0.0]]], np.float16)
    monkeypatch.setattr(type(cache), "column", lambda self, path: stored)
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]])
    assert torch.allclose(zeroshot.class_embeddings(cache, "source", "clip"), expected)


def test_zero_shot_says_what_label_sets_there_are(stage, cache, tmp_path):
    several = write(tmp_path / "several.zarr", shapes=12, label_sets=("one", "two"))
    with pytest.raises(ValueError, match="has several label sets, name one with --set labels=NAME: one, two"):
        zeroshot.run(stage, several, several, zeroshot.SMOKE)
    assert zeroshot.run(stage, several, several, zeroshot.Options(labels="two")).variant == "two"
    with pytest.raises(ValueError, match=r"no label set 'too'.*did you mean 'two'"):
        zeroshot.run(stage, several, several, zeroshot.Options(labels="too"))
    without = write(tmp_path / "without.zarr", shapes=12, label_sets=())
    with pytest.raises(ValueError, match=r"no label set embedded by clip.b; `mmpd-cache labels"):
        zeroshot.run(stage, without, without, zeroshot.SMOKE)
    scores = zeroshot.run(stage, cache, without, zeroshot.SMOKE)
    assert scores.metrics[0].mean > 80, "the label set of the other cache serves"
    assert scores.variant == "classes of shapes", "and the result is of another title than one among other classes"
    assert zeroshot.run(stage, several, without, zeroshot.Options(labels="two")).variant == "two of several"


def test_two_teachers_of_one_name_are_not_confused(stage, cache, tmp_path):
    impostor = write(tmp_path / "impostor.zarr", shapes=12, teacher=dataclasses.replace(TEACHER, weights="others"))
    for module in (zeroshot, retrieval):
        for train_cache in (cache, impostor):
            with pytest.raises(ValueError, match=r"comes from another teacher than the 'clip.b' this model learned from.*weights others"):
                module.run(stage, train_cache, impostor, module.SMOKE)


def test_only_teachers_met_by_contrast_are_compared(stage):
    assert [t.name for t in teachers.contrasted(stage, (), text=True)] == ["clip.b"]
    with pytest.raises(ValueError, match="by contrast of 'dino'"):
        teachers.contrasted(stage, ("dino",), text=False)


def test_retrieval_finds_the_class_at_least(stage, cache):
    scores = retrieval.run(stage, cache, cache, retrieval.Options())
    assert mean(scores, "clip.b 3D to text R@1") > 90, "a class is one text here"
    assert mean(scores, "clip.b 3D to image R@5") > 80, "three to five shapes of a class are in the split"
    assert "text/clip.b: 17 shapes share 4 different entries" in scores.notes


def test_ranks_count_what_is_as_near_or_nearer():
    entries = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=-1)
    queries = torch.tensor([[1.0, 0.1], [1.0, 0.1], [1.0, 0.1], [0.0, 0.0]])
    assert retrieval.ranks(queries, entries, torch.tensor([0, 1, 2, 0])).tolist() == [0, 2, 1, 2]


# ------------------------------------------------------------------------------------------------- few-shot


def test_folds_are_disjoint_balanced_and_depend_on_seed_and_number_alone(cache):
    train, test, _ = matched(of_split(cache, "train"), of_split(cache, "test"))
    chosen = fewshot.Options(ways=3, shots=4, queries=3, folds=4)
    folds = [fewshot.deal(train, test, chosen, fold) for fold in range(4)]
    for support, queries in folds:
        classes, count = np.unique(train.labels[support], return_counts=True)
        assert len(classes) == 3 and (count == 4).all() and len(set(support)) == 12
        assert set(test.labels[queries]) == set(classes) and len(set(queries)) == len(queries) == 9
    assert len({tuple(support) for support, _ in folds}) == 4
    again = fewshot.deal(train, test, dataclasses.replace(chosen, folds=1), 2)
    assert np.array_equal(again[0], folds[2][0]) and np.array_equal(again[1], folds[2][1])


def test_few_shot_by_svm_and_by_training(stage, cache):
    scores = fewshot.run(stage, cache, cache, fewshot.Options(ways=3, shots=5))
    assert len(scores.metrics[0].values) == 10 and scores.metrics[0].mean > 90 and scores.variant == "3-way 5-shot"
    training = finetune.Classifying(tune="linear", epochs=20, batch=8, lr=2e-2)
    scores = fewshot.run(stage, cache, cache, fewshot.Options(ways=2, shots=5, folds=2, by="finetune", training=training))
    assert scores.metrics[0].mean > 80 and scores.variant == "2-way 5-shot linear" and not scores.notes
    training = dataclasses.replace(training, tune="lora", epochs=1)
    scores = fewshot.run(stage, cache, cache, fewshot.Options(ways=2, shots=5, folds=2, by="finetune", training=training))
    tuned, top = list(finetune.fit(features.Body.of(stage, "mean_max"), of_split(cache, "train"), training, 0))[-1]
    inside = learned(tuned)
    above = learned(top) - 2 * (256 + 1)  # a fold has two of the four classes
    assert scores.notes[0].startswith(f"lora: {inside + above:,} parameters learned, {inside:,} in the encoder and {above:,} in the head")


@pytest.mark.parametrize(
    ("task", "assignments"),
    [
        ("fewshot", ["training.epochs=2"]),
        ("fewshot", ["c=2", "by=finetune"]),
        ("zeroshot", ["average=true", "repeats=2"]),
        ("svm", ["average=true", "repeats=2"]),
        ("crossval", ["average=true", "repeats=2"]),
        ("knn", ["average=true", "repeats=2"]),
        ("classify", ["votes=3"]),
        ("classify", ["dropout=0.1", "tune=linear"]),
        ("svm", ["c=0.1", "seed=3"]),
    ],
)
def test_a_task_refuses_what_it_would_not_read(task, assignments):
    with pytest.raises(ValueError, match=r"would have no effect where"):
        catalog.options(task, assignments)


def test_settings_of_a_task_may_come_in_any_order():
    for assignments in (["training.epochs=2", "by=finetune"], ["by=finetune", "training.epochs=2"]):
        assert catalog.options("fewshot", assignments).training.epochs == 2
    assert catalog.options("classify", ["votes=3"], peer_protocol=True).votes == 3


def test_few_shot_says_how_many_classes_have_enough(stage, cache):
    with pytest.raises(ValueError, match=r"0 of 4 have them. Lower ways or shots"):
        fewshot.run(stage, cache, cache, fewshot.Options(ways=2, shots=10))


# ------------------------------------------------------------------------------------------------- fine-tuning


@pytest.mark.parametrize("tune", ["full", "mlp", "linear"])
def test_fine_tuning_learns_and_changes_only_what_it_may(tune, stage, cache):
    train, test, _ = matched(of_split(cache, "train"), of_split(cache, "test"))
    body = features.Body.of(stage, "summary_max")
    before = {name: value.clone() for name, value in body.state_dict().items()}
    with features.seeded(0, body.device):
        *_, (tuned, head) = finetune.fit(body, train, finetune.Classifying(tune=tune, epochs=25, batch=16, lr=5e-3), seed=0)
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items()), "the run's own model stays"
    same = all(torch.equal(value, before[name]) for name, value in tuned.state_dict().items())
    assert same == (tune != "full")
    assert len([m for m in head if isinstance(m, torch.nn.Linear)]) == (1 if tune == "linear" else 3)
    assert (features.extract(tuned, test, 0, head).argmax(1).numpy() == test.labels).mean() > 0.7


def test_gradients_reach_the_encoder_only_when_all_is_tuned(stage, cache):
    train, _, _ = matched(of_split(cache, "train"), of_split(cache, "test"))
    body = features.Body.of(stage, "mean_max")
    for tune in ("full", "mlp"):
        tuned, head = next(finetune.fit(body, train, finetune.Classifying(tune=tune, epochs=1), seed=0))
        assert all(p.grad is not None for p in head.parameters())
        assert any(p.grad is not None for p in tuned.encoder.parameters()) == (tune == "full")


def test_a_new_class_token_is_the_only_new_weight_and_the_head_reads_it(stage, cache):
    """The input of Point-MAE's head: the class token's output and the maximum over groups, here from states after the last block."""
    shapes = of_split(cache, "train")
    training = finetune.Classifying(class_token=True, epochs=1, batch=16)
    bodies = []
    for seed in (0, 0, 1):
        with features.seeded(seed, torch.device("cpu")):
            bodies.append(finetune.begin(stage, "max", training, shapes))
    body, encoder = bodies[0], bodies[0].encoder
    state = encoder.state_dict()
    new = set(state) - set(stage.encoder.state_dict())
    assert new == {"learnt_tokens.tokens.0", "learnt_tokens.positions.0"}
    assert all(torch.equal(value, state[name]) for name, value in stage.encoder.state_dict().items())
    same, other = (one.encoder.state_dict() for one in bodies[1:])
    assert all(torch.equal(state[name], same[name]) and not torch.equal(state[name], other[name]) for name in new)
    points = body.blocks(shapes).read(shapes.rows[:3], 0)
    level = encoder.patchify(points, True).coarsest
    (whole,) = encoder._states(level.groups, level.centres, (encoder.config.depth,), None)  # [B, 1 + G, D]
    whole = encoder.norm(whole)
    assert torch.equal(body(points, True), torch.cat([whole[:, 0], whole[:, 1:].amax(1)], 1))
    scores = classify.run(stage, cache, cache, classify.Options(class_token=True, pool="max", epochs=1, batch=16, seeds=1))
    assert "the encoder has a class token that is new in this training" in scores.notes


def test_a_class_token_that_nothing_reads_is_refused(stage, cache):
    with pytest.raises(UserError, match=r"class_token=true is read with pool=max, .*; got pool=mean_max"):
        classify.run(stage, cache, cache, classify.Options(class_token=True))
    with pytest.raises(UserError, match="class_token would have no effect where tune=lora"):
        classify.Options(class_token=True, pool="max", tune="lora")
    with pytest.raises(UserError, match="drop_path would have no effect where tune=linear"):
        classify.Options(drop_path=0.5, tune="linear")
    for name, why in (("pointmamba-tiny", "PointMamba has no class token"), ("pointbert-tiny", "has a class token already")):
        with pytest.raises(UserError, match=why):
            refitted(build(name), class_token=True)
    for wrong in ({"smoothing": 1.0}, {"drop_path": -0.1}, {"points": 0}, {"groups": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            classify.Options(**wrong)


def test_a_classifier_may_read_other_points_and_groups_than_its_run(stage, cache):
    stage = copy.deepcopy(stage)
    had = stage.encoder.groups
    stage.convention = Convention(count=48)
    options = classify.Options(tune="linear", epochs=1, batch=16, seeds=1, points=64, groups=2 * had, group_size=4)
    scores = classify.run(stage, cache, cache, options)
    assert scores.trained is not None
    body = scores.trained.body
    assert (body.encoder.groups, body.encoder.group_size, body.blocks(of_split(cache, "test")).count) == (2 * had, 4, 64)
    assert "the encoder reads 64 points a shape as asked, its run was trained on 48" in scores.notes
    assert f"the encoder reads {2 * had} groups of 4 as asked, its run was trained with {had} groups of 8" in scores.notes
    with pytest.raises(UserError, match=r"points=1000000: a shape of .* has 64 points in each of"):
        classify.run(stage, cache, cache, dataclasses.replace(options, points=1_000_000))
    few = fewshot.Options(ways=2, shots=3, folds=1, by="finetune", training=finetune.Classifying(tune="linear", epochs=1, groups=2 * had))
    assert any(f"{2 * had} groups of" in note for note in fewshot.run(stage, cache, cache, few).notes)


def test_levels_keep_their_proportions_when_they_are_regrouped():
    pyramid = build("pointm2ae-tiny", counts=(64, 32, 8), sizes=(16, 8, 8))
    assert vars(regrouped(pyramid, 16, 16).config) | {"counts": 0, "sizes": 0} == vars(pyramid.config) | {"counts": 0, "sizes": 0}
    assert regrouped(pyramid, 16, 16).config.counts == (128, 64, 16) and regrouped(pyramid, 16, 16).config.sizes == (32, 16, 16)
    odd = build("pointm2ae-tiny", counts=(64, 32, 8), sizes=(9, 8, 8))
    with pytest.raises(
        UserError, match=r"group_size=12: the levels of this encoder have \(9, 8, 8\) members a group; take a multiple of 8"
    ):
        regrouped(odd, group_size=12)


def test_smoothing_is_that_of_torch_and_drop_path_reaches_the_blocks(stage, cache, monkeypatch):
    asked = []
    plain = finetune.F.cross_entropy
    monkeypatch.setattr(finetune.F, "cross_entropy", lambda *given, **named: asked.append(named) or plain(*given, **named))
    classify.run(stage, cache, cache, classify.Options(tune="linear", epochs=1, seeds=1, smoothing=0.3))
    assert asked and all(one == {"label_smoothing": 0.3} for one in asked)
    made = refitted(stage.encoder, drop_path=0.5)
    rates = [module.rate for module in made.modules() if isinstance(module, DropPath)]
    assert rates[0] == 0 and max(rates) == 0.5


def test_scratch_draws_new_weights_for_every_seed(stage):
    def weights(seed):
        with features.seeded(seed, torch.device("cpu")):
            return features.Body.of(stage, "mean_max", scratch=True).encoder.positions[0].weight

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))
    assert not torch.equal(weights(0), stage.encoder.positions[0].weight)


def test_seeds_give_different_trainings_and_a_deviation(stage, cache):
    scores = classify.run(stage, cache, cache, classify.Options(epochs=2, batch=16, seeds=2, scratch=True))
    assert scores.variant == "full from scratch" and len(scores.metrics[0].values) == 2
    assert [m.name for m in scores.metrics] == ["accuracy", "class accuracy"], "nothing chosen on test shapes without the flag"


def test_the_peer_protocol_is_named_and_never_below_the_last_epoch(stage, cache):
    chosen = classify.Options(epochs=4, batch=16, seeds=2, tune="mlp", peer_protocol=True, votes=2, vote_repeats=2)
    scores = classify.run(stage, cache, cache, chosen)
    plain = classify.run(stage, cache, cache, classify.Options(epochs=4, batch=16, seeds=2, tune="mlp"))
    assert scores.metrics[:2] == plain.metrics, "looking does not change the last epoch"
    extra = scores.metrics[2:]
    assert len(extra) == 4 and all("peer protocol" in m.name for m in extra)
    assert all(best >= last for best, last in zip(extra[0].values, scores.metrics[0].values, strict=True))
    assert extra[1].values == (max(extra[0].values),) and extra[3].values == (max(extra[2].values),)


def test_a_rest_of_one_shape_is_no_batch_of_its_own(stage, cache):
    train, _, _ = matched(of_split(cache, "train"), of_split(cache, "test"))
    train = train.of(np.arange(9))
    next(finetune.fit(features.Body.of(stage, "mean_max"), train, finetune.Classifying(epochs=1, batch=8), seed=0))


def test_divergence_is_stopped_with_the_epoch(stage, cache):
    train, _, _ = matched(of_split(cache, "train"), of_split(cache, "test"))
    with pytest.raises(ValueError, match=r"diverged in epoch . of 30: lower lr"):
        list(
            finetune.fit(features.Body.of(stage, "mean_max"), train, finetune.Classifying(epochs=30, lr=1e30, clip=1e30, warmup=0), seed=0)
        )


# ------------------------------------------------------------------------------------------------- results


def loaded(stage, run, *, lr=1e-3, seed=0):
    config = AlignConfig(optim=OptimConfig(batch=8, epochs=1, lr=lr), seed=seed)
    header = Header(config=config, facts=Facts(), caches=(), step=10, steps=10, points=Convention(count=64))
    return Loaded(run=run, header=header, model=stage, weights=checkpoint.digest(stage.state_dict()))


def test_a_result_survives_its_file_and_has_a_picture(stage, cache, tmp_path):
    run = tmp_path / "first"
    found = catalog.evaluate("svm", loaded(stage, run), cache, catalog.options("svm", ["c=0.01"]))
    files = catalog.save(found, run)
    names = ["svm-c-0.01-shapes-test.json", "svm-c-0.01-shapes-test.png", "svm-c-0.01-shapes-test-worst.png"]
    assert [f.name for f in files] == names[: 3 if found.scores.worst else 2]
    assert result.load(files[0]) == found and files[1].read_bytes().startswith(b"\x89PNG")
    assert found.protocol == "last epoch" and ("c", "0.01") in found.settings and found.run == "first"
    assert found.scores.train.shapes == 29 and found.scores.test.shapes == 17
    short = catalog.evaluate("classify", loaded(stage, run), cache, catalog.options("classify", ["epochs=1", "seeds=1"]))
    assert short.protocol == "last epoch" and ("augment.tilt", "0.0") in short.settings
    assert catalog.save(short, run)[0].name == "classify-full-epochs-1-seeds-1-shapes-test.json"


def test_a_result_says_in_which_precision_it_was_trained(stage, cache, tmp_path, monkeypatch):
    chosen = catalog.options("classify", ["epochs=1", "seeds=1"])

    def stored():
        (file, *_) = catalog.save(catalog.evaluate("classify", loaded(stage, tmp_path), cache, chosen), tmp_path)
        return file, json.loads(file.read_text())["scores"], any("bfloat16" in note for note in result.load(file).scores.notes)

    _, scores, noted = stored()
    assert scores["precision"] == "float32" and not noted
    monkeypatch.setattr(finetune, "of_task", lambda learns, device: Arithmetic(precision="bfloat16", why="a GPU"))
    file, scores, noted = stored()
    assert scores["precision"] == "bfloat16" and noted
    old = json.loads(file.read_text())
    del old["scores"]["precision"]
    file.write_text(json.dumps(old))
    assert result.load(file).scores.precision == ""
    assert not catalog.evaluate("knn", loaded(stage, tmp_path), cache, knn.SMOKE).scores.precision


def test_the_worst_confusions_are_listed_with_examples(cache):
    """Counted by hand: two repetitions, in which disc 3 is a rod both times and once a Cube, and Cube 5 once a rod."""
    test = of_split(cache, "test")
    first, second = test.labels.copy(), test.labels.copy()
    discs, cubes, rods = (np.flatnonzero(test.labels == CLASSES.index(name)) for name in ("disc", "Cube", "rod"))
    first[discs[:2]] = second[discs[1]] = CLASSES.index("rod")
    second[discs[0]] = CLASSES.index("Cube")
    first[cubes[0]] = CLASSES.index("rod")
    first[rods[0]] = CLASSES.index("night_stand")
    worst, drawing = mistakes.mistakes(test, [first, second])
    ids = test.cache.ids()[test.rows]
    assert str(worst[0]) == f"disc as rod: 3 of {2 * len(discs)}"
    assert worst[0].wrong == (ids[discs[1]], ids[discs[0]]) and worst[0].right == (ids[rods[1]],), "the most often wrong one is first"
    assert {(w.true, w.predicted, w.count) for w in worst[1:]} == {("disc", "Cube", 1), ("Cube", "rod", 1), ("rod", "night_stand", 1)}
    assert drawing.png("title $1$").startswith(b"\x89PNG") and drawing.ending == "worst"
    assert mistakes.mistakes(test, [test.labels]) == ((), None)


def test_pictures_say_over_what_they_count(stage, cache, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(mistakes.Mistakes, "png", lambda self, title: titles.append(title) or b"")
    drawing = mistakes.Mistakes(test=None, worst=(), rows=())
    result = catalog.evaluate("knn", loaded(stage, tmp_path), cache, catalog.options("knn", ["repeats=2"]))
    worst = mistakes.pairs([[1, 1], [0, 2]], ("disc", "rod"))
    for values in (result.scores.metrics[0].values, (50.0,)):
        metric = dataclasses.replace(result.scores.metrics[0], values=values)
        scores = dataclasses.replace(result.scores, metrics=(metric,), confusion=(), worst=worst, drawing=drawing)
        catalog.save(dataclasses.replace(result, scores=scores), tmp_path)
    assert titles[0].endswith("\ncounted over 2 blocks together") and "together" not in titles[1]
    other = SimpleNamespace(ending="points", png=lambda title: titles.append(title) or b"")  # predictions of one seed, as of scenes
    catalog.save(dataclasses.replace(result, scores=dataclasses.replace(result.scores, confusion=(), worst=worst, drawing=other)), tmp_path)
    assert result.together and "together" not in titles[2]


def test_of_many_classes_the_most_confused_are_shown():
    counts = np.diag(np.full(136, 50.0))
    counts[[7, 90, 135], [100, 3, 8]] = 9, 8, 7
    chosen = picture.most_confused(counts)
    assert len(chosen) == picture.MOST and {7, 100, 90, 3, 135, 8} <= set(chosen.tolist()) and (np.diff(chosen) > 0).all()
    assert picture.most_confused(counts[:40, :40]).tolist() == list(range(40))


def test_options_that_nothing_reads_of_a_run_are_refused(stage, cache, tmp_path):
    """`stage` reads no colours."""
    for task, assignments, said in (
        ("classify", ["augment.drop_color=0.9"], "augment.drop_color would have no effect where the encoder of the run reads no colours"),
        ("fewshot", ["by=finetune", "training.augment.drop_color=0.9"], "training.augment.drop_color would have no effect"),
    ):
        with pytest.raises(UserError, match=said):
            catalog.evaluate(task, loaded(stage, tmp_path), cache, catalog.options(task, assignments))


@pytest.mark.parametrize("task", TASKS)
def test_every_option_says_when_it_is_read(task):
    there = set(leaves(type(catalog.task(task).Options())))
    rows = {name for row in unread.READINGS if task in row.tasks for name in row.names} & there
    always, checked = set(unread.ALWAYS[task]), set(unread.CHECKED.get(task, ()))
    assert not always & (checked | rows)
    assert always | checked | rows == there, "name a new option in trainer/tasks/unread.py"
    assert all(rows_ & there for row in unread.READINGS if task in row.tasks and (rows_ := set(row.names))), "a row is about no option"


STILL = "augment.rotate=false augment.tilt=0 augment.scale=1,1 augment.shift=0 augment.drop=0"


@pytest.mark.parametrize(
    ("task", "assignments", "said"),
    [
        ("classify", f"peer_protocol=true votes=3 {STILL}", "votes would have no effect where augment changes nothing"),
        ("classify", f"peer_protocol=true vote_repeats=3 {STILL}", "vote_repeats would have no effect where augment changes nothing"),
        ("parts", f"peer_protocol=true votes=3 {STILL}", "votes would have no effect where augment moves no points"),
        ("parts", f"peer_protocol=true votes=3 {STILL} augment.drop=0.4", "votes would have no effect where augment moves no points"),
        ("detect", "weights.kind=0 weights.nothing=0.5", "weights.nothing would have no effect where weights.kind=0"),
        ("detect", "model.bins=1", "model.bins must be at least 2"),
    ],
)
def test_options_that_nothing_reads_beside_others_are_refused(task, assignments, said):
    with pytest.raises(UserError, match=said):
        catalog.options(task, assignments.split())
    catalog.options(task, [one for one in assignments.split() if not one.startswith(("vote", "weights.nothing", "model.bins"))])


def test_copies_that_only_lose_points_or_colours_may_vote():
    for loses in ("augment.drop=0.4", "augment.drop_color=0.5"):
        assert catalog.options("classify", f"peer_protocol=true votes=3 {STILL} {loses}".split()).votes == 3


def test_without_augmentation_no_vote_depends_on_the_number_of_copies(stage, cache):
    """`trainer.tasks.unread` says so: the options go around it here."""
    still = dataclasses.replace(classify.SMOKE.augment, rotate=False, tilt=0, scale=(1, 1), shift=0, drop=0)
    chosen = dataclasses.replace(classify.SMOKE, augment=still, peer_protocol=True, votes=1, vote_repeats=1)
    one, many = (classify.run(stage, cache, cache, dataclasses.replace(chosen, votes=n, vote_repeats=n)) for n in (1, 3))
    assert one.metrics == many.metrics


def test_captions_are_refused_where_no_teacher_reads_texts(stage, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog.task("retrieval"), "run", lambda *_: pytest.fail("it would have run"))
    chosen, run = catalog.options("retrieval", ["captions=c"]), loaded(stage, tmp_path)
    with pytest.raises(pytest.fail.Exception, match="it would have run"):
        catalog.evaluate("retrieval", run, cache, chosen)
    blind = tuple(dataclasses.replace(teacher, text=False) for teacher in contrasted(stage, (), text=False))
    monkeypatch.setattr(unread, "contrasted", lambda *_, **__: blind)
    with pytest.raises(UserError, match="captions would have no effect where none of the teachers reads texts: leave it out"):
        catalog.evaluate("retrieval", run, cache, chosen)


def test_a_loss_on_fewer_points_is_refused_where_a_block_has_no_more(stage, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog.task("parts"), "run", lambda *_: pytest.fail("it would have run"))
    run = loaded(stage, tmp_path)
    for count, joined, says in ((64, 64, "no more points than that"), (63, 64, "it would have run"), (64, 65, "it would have run")):
        header = dataclasses.replace(run.header, points=Convention(count=joined))
        with pytest.raises((UserError, pytest.fail.Exception), match=says):
            catalog.evaluate("parts", dataclasses.replace(run, header=header), cache, catalog.options("parts", [f"loss_points={count}"]))
    header = dataclasses.replace(run.header, points=Convention(count=128))
    with pytest.raises(UserError, match="no more points than that"):
        catalog.evaluate("parts", dataclasses.replace(run, header=header), cache, catalog.options("parts", ["loss_points=64", "points=64"]))
    blocks = cache.record("points").spec.blocks
    for count, says in ((64 * blocks, "it would have run"), (64 * blocks + 1, "no more points than that")):  # too few blocks are not joined
        header = dataclasses.replace(run.header, points=Convention(count=count))
        with pytest.raises((UserError, pytest.fail.Exception), match=says):
            catalog.evaluate("parts", dataclasses.replace(run, header=header), cache, catalog.options("parts", ["loss_points=64"]))


def test_a_warm_up_that_is_cut_is_told_beside_the_result(stage, cache, tmp_path):
    def notes(*assignments):
        found = catalog.evaluate("classify", loaded(stage, tmp_path), cache, catalog.options("classify", [*assignments, "seeds=1"]))
        return [note for note in found.scores.notes if "warmup" in note]

    assert notes("epochs=1", "batch=16", "tune=linear") == [], "nobody asked for it"
    assert notes("epochs=2", "batch=16", "tune=linear", "warmup=0.2") == []
    said = "warmup=1 is more than was used: the learning rate rises over a tenth of all epochs at most"
    assert notes("epochs=2", "batch=16", "tune=linear", "warmup=1") == [said]
    fewer = catalog.options("fewshot", ["by=finetune", "training.warmup=20"])
    assert unread.told("fewshot", fewer) == [said.replace("warmup=1 ", "training.warmup=20 ")]


def test_dropped_colours_are_refused_where_there_are_none(stage, cache, tmp_path, monkeypatch):
    """For a run whose encoder reads colours. As trainings do."""
    run, chosen = loaded(stage, tmp_path), catalog.options("classify", ["augment.drop_color=0.9"])
    run = dataclasses.replace(run, header=dataclasses.replace(run.header, config=config_of("align", "encoder.channels=6")))
    monkeypatch.setattr(catalog.task("classify"), "run", lambda *_: pytest.fail("it would have run"))
    grey = write_parts(tmp_path / "grey.zarr")
    with pytest.raises(UserError, match=r"augment.drop_color would have no effect where no shape of .*grey.zarr has colours: leave it out"):
        catalog.evaluate("classify", run, grey, chosen)
    without = dataclasses.replace(run.header, points=Convention(count=64, colored=False))
    with pytest.raises(UserError, match="would have no effect where the run was trained without colours"):
        catalog.evaluate("classify", dataclasses.replace(run, header=without), cache, chosen)
    with pytest.raises(pytest.fail.Exception, match="it would have run"):
        catalog.evaluate("classify", run, cache, chosen)


def test_a_result_with_other_options_stands_beside_the_first(stage, cache, tmp_path):
    run = tmp_path / "run"
    names = []
    for assignments in ([], ["pool=summary"], ["train_split=all", "neighbours=3"], ["test_split=test"]):
        found = catalog.evaluate("knn", loaded(stage, run), cache, catalog.options("knn", assignments))
        names.append(found.title)
        assert result.load(found.save(run)) == found
    assert names == [
        "knn, shapes test",
        "knn pool=summary, shapes test",
        "knn train_split=all neighbours=3, shapes test",
        "knn, shapes test",
    ]
    assert len(tables.table(tables.collect([run])).lines) == 3
    chosen = catalog.options("fewshot", ["ways=2", "shots=1", "by=svm", "c=0.1"])
    assert catalog.evaluate("fewshot", loaded(stage, run), cache, chosen).scores.variant == "2-way 1-shot c=0.1"
    assert catalog.evaluate("zeroshot", loaded(stage, run), cache, catalog.options("zeroshot", ["teachers=clip.b"])).title == (
        "zeroshot teachers=clip.b, shapes test"
    )
    long = dataclasses.replace(found, scores=dataclasses.replace(found.scores, variant="ü" * 300))
    assert result.load(long.save(run)) == long and len(long.file.encode()) <= result.LONGEST


def test_a_run_that_was_not_finished_is_named_so(stage, cache, tmp_path):
    unfinished = loaded(stage, tmp_path)
    unfinished = dataclasses.replace(unfinished, header=dataclasses.replace(unfinished.header, step=4))
    assert "the run had made 4 of 10 steps" in catalog.evaluate("knn", unfinished, cache, knn.SMOKE).scores.notes


def made(run, value, setup="s", task="svm", settings=(), values=None, shapes=9, notes=(), trial=None, weights="w"):
    data = result.Data(cache="shapes", points="p", split="test", shapes=shapes)
    metrics = (
        Metric(name="accuracy", values=values or (value,), over="blocks", headline=True),
        Metric(name="other", values=(1,), over="blocks"),
    )
    scores = result.Scores(test=data, metrics=metrics, notes=notes)
    return result.Result(
        task=task, run=run, setup=setup, trial=trial or run, weights=weights, protocol="last epoch", settings=settings, scores=scores
    )


def test_a_table_joins_runs(tmp_path):
    for name, tasks in {"a": ("svm", "knn"), "b": ("svm",)}.items():
        for task in tasks:
            made(name, 0, task=task, values=(80.0, 82.0)).save(tmp_path / name)
    table = tables.table(tables.collect([tmp_path / "a", tmp_path / "b"]))
    assert table.markdown().splitlines() == [
        "|  | n | chance | a | b |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| **knn, shapes test** |  |  |  |  |",
        "| accuracy |  |  | 81.0 ± 1.4 | - |",
        "| **svm, shapes test** |  |  |  |  |",
        "| accuracy |  |  | 81.0 ± 1.4 | 81.0 ± 1.4 |",
        "",
        "Percent; mean ± standard deviation over blocks.",
    ]
    cell = {"mean": 81.0, "std": pytest.approx(2**0.5), "values": [80.0, 82.0], "over": "blocks", "measured_in": "%", "better": "higher"}
    cell |= dict.fromkeys(("shapes", "interval", "chance", "largest"))
    body = json.loads(table.json())
    assert body["rows"] == [["a", cell, cell], ["b", None, cell]]
    assert body["header"] == ["run", "knn, shapes test: accuracy", "svm, shapes test: accuracy"]
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [(row["run"], row["task"], row["mean"], row["n"]) for row in rows] == [
        ("a", "knn", "81.0", ""),
        ("a", "svm", "81.0", ""),
        ("b", "svm", "81.0", ""),
    ]
    assert rows[0]["values"] == "80.0 82.0" and rows[0]["shapes"] == "shapes test"


def test_the_lines_of_a_task_share_what_they_have_in_common():
    found = [
        dataclasses.replace(one, scores=dataclasses.replace(one.scores, variant=variant))
        for one, variant in ((made("a", 1.0), "full seeds=1 lr=0.1"), (made("b", 2.0), "full from scratch seeds=1 lr=0.1"))
    ]
    text = tables.table([*found, made("b", 3.0, task="knn")]).markdown()
    assert "**svm full seeds=1 lr=0.1, shapes test**" in text and "| from scratch: accuracy |" in text and "**knn, shapes test**" in text
    metric = Metric(name="accuracy", values=(5.0,), over="blocks", headline=True, shapes=9, chance=5.0, interval=(1.0, 9.0))
    other = dataclasses.replace(metric, shapes=8, chance=2.5)
    differ = [
        dataclasses.replace(made(run, 0), scores=dataclasses.replace(made(run, 0).scores, metrics=(m,)))
        for run, m in zip("ab", (metric, other), strict=True)
    ]
    assert (
        "| accuracy | varies | varies | 5.0 [1.0, 9.0] at chance n 9 chance 5.0 | 5.0 [1.0, 9.0] at chance n 8 chance 2.5 |"
        in tables.table(differ).markdown()
    )


def test_runs_that_differ_in_their_seed_are_pooled(stage, cache, tmp_path):
    seeds = [catalog.evaluate("knn", loaded(stage, tmp_path / f"s{s}", seed=s), cache, knn.SMOKE) for s in (0, 1)]
    other = catalog.evaluate("knn", loaded(stage, tmp_path / "o", lr=1.0), cache, knn.SMOKE)
    assert seeds[0].setup == seeds[1].setup != other.setup
    table = tables.table([made("a", 80.0), made("b", 84.0), made("c", 50.0, setup="t")], by="setup")
    assert table.names == ("a", "c") and "| accuracy |  |  | 82.0 ± 2.8 (2) | 50.0 (1) |" in table.markdown()
    assert json.loads(table.json())["rows"][0][1]["values"] == [80.0, 84.0]


def test_a_copy_of_a_run_is_no_repetition(stage, cache, tmp_path):
    copies = [catalog.evaluate("knn", loaded(stage, tmp_path / name), cache, knn.SMOKE) for name in ("a", "b")]
    assert tables.table(copies).names[1] == "b"
    with pytest.raises(ValueError, match="a and b are one experiment with the same seeds"):
        tables.table(copies, by="setup")


def test_a_table_carries_the_notes_each_once():
    found = [made("a", 1.0, task=task, notes=("unfinished", f"{task} odd")) for task in ("svm", "knn")]
    assert tables.table([*found, made("b", 1.0, notes=("svm odd",))]).notes[1:] == (
        "a: unfinished (svm, shapes test; knn, shapes test).",
        "a, b: svm odd (svm, shapes test).",
        "a: knn odd (knn, shapes test).",
    )
    same, other = (dataclasses.replace(one, scores=dataclasses.replace(one.scores, variant="full")) for one in (found[0], found[1]))
    assert tables.table([*found, same]).notes[1:3] == ("a: unfinished (all of svm; knn, shapes test).", "a: svm odd (all of svm).")
    assert "a: knn odd (knn full, shapes test)." in tables.table([made("a", 1.0, task="knn"), other]).notes


def test_a_result_of_weights_that_are_gone_is_named_so(stage, cache, encoder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    now = loaded(stage, run)
    catalog.save(catalog.evaluate("knn", now, cache, knn.SMOKE), run)
    checkpoint.save(run, now.header, stage, {}, {})
    assert not any("out of date" in note for note in tables.table(tables.collect([run])).notes)
    checkpoint.save(run, now.header, Align(encoder, stage.teachers.teachers[:1], AlignOptions(heads=2)), {}, {})
    assert any("run: out of date" in note for note in tables.table(tables.collect([run])).notes)


def test_a_result_of_other_settings_of_the_encoder_is_named_so():
    found = dataclasses.replace(made("a", 1.0), weights="w", model=(("encoder.group_size", "16"),))
    assert found.outdated("w", found.model) == found.outdated("w", ()) == ""
    assert found.outdated("w", (("encoder.group_size", "8"),)).startswith("out of date, the settings of the run's encoder")
    assert found.outdated("v", found.model).startswith("out of date, the run's weights")
    assert dataclasses.replace(found, model=()).outdated("w", (("encoder.group_size", "8"),)) == "", "an earlier version recorded none"


def test_a_table_warns_of_what_cannot_be_compared():
    table = tables.table([made("a", 1.0, settings=(("c", "1"),)), made("b", 1.0, settings=(("c", "2"),)), made("c", 1.0, shapes=8)])
    assert "Not comparable: svm, shapes test in a / b: c 1 / 2." in table.notes
    assert any("in a / c" in note and "other shapes" in note for note in table.notes)


def test_results_on_two_caches_of_one_name_stand_side_by_side(tmp_path):
    one, other = made("a", 1.0), made("a", 2.0, shapes=8)
    files = [found.save(tmp_path / "a") for found in (one, other, one, other)]
    assert files[0] == files[2] and files[1] == files[3] and files[0].name == "svm-shapes-test.json"
    assert files[1].name == f"svm-shapes-test-{other.mark}.json"
    table = tables.table(tables.collect([tmp_path / "a"]))
    marks = {f"svm, shapes ({one.mark}) test: accuracy", f"svm, shapes ({other.mark}, measured last) test: accuracy"}
    assert {line.title for line in table.lines} == marks
    assert [line.cells[0].mean for line in table.lines] == [2.0, 1.0]
    # The names stay what they are for a script: the mark, and which is the newest, have places of their own.
    body, rows = json.loads(table.json()), list(csv.DictReader(io.StringIO(table.csv())))
    assert body["header"] == ["run", f"svm, shapes ({other.mark}) test: accuracy", f"svm, shapes ({one.mark}) test: accuracy"]
    told = [(column["shapes"], column["mark"], column["measured_last"]) for column in body["columns"][1:]]
    assert told == [("shapes test", other.mark, True), ("shapes test", one.mark, False)]
    assert [(row["shapes"], row["mark"], row["measured_last"]) for row in rows] == [(*own, str(last)) for *own, last in told]
    files[0].write_text("{}")
    assert other.save(tmp_path / "a") == files[0], "a damaged one is replaced"


def test_results_among_other_classes_are_not_comparable():
    found = [made(run, 1.0) for run in ("a", "b")]
    found = [
        dataclasses.replace(r, scores=dataclasses.replace(r.scores, classes=names))
        for r, names in zip(found, [("x", "y"), ("x", "y", "z")], strict=True)
    ]
    assert "Not comparable: svm, shapes test in a / b: among 2 / 3 classes." in tables.table(found).notes


def test_runs_without_results_or_with_damaged_ones_are_named(tmp_path):
    with pytest.raises(ValueError, match="has no results yet"):
        tables.collect([tmp_path])
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "svm.json").write_text('{"task": "svm"}')
    with pytest.raises(ValueError, match=r"svm\.json is no result of an evaluation"):
        tables.collect([tmp_path])
    body = json.loads(made("a", 1.0).json())
    body["scores"]["metrics"][0]["values"] = []
    (tmp_path / "eval" / "svm.json").write_text(json.dumps(body))
    with pytest.raises(ValueError, match=r"svm\.json is no result of an evaluation \(accuracy has no values\)"):
        tables.collect([tmp_path])
    with pytest.raises(ValueError, match=r"x does not exist; .*y does not exist\. `mmpd-train eval"):
        tables.collect([tmp_path / "x", tmp_path / "y"])
    with pytest.raises(ValueError, match="given twice"):
        tables.table([made("a", 1.0), made("a", 2.0)])


def test_runs_of_one_name_go_by_their_paths(tmp_path):
    for folder in ("x", "y"):
        made("align", 1.0).save(tmp_path / folder / "align")
    found = tables.collect([tmp_path / "x" / "align", tmp_path / "y" / "align"])
    assert [r.run for r in found] == [str(tmp_path / "x" / "align"), str(tmp_path / "y" / "align")]


# ----------------------------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("classify", ["epochs=3", "seeds=2", "batch=8"]),
        ("classify", ["epochs=3", "seeds=2", "batch=8", "tune=pointlora"]),
        ("parts", ["epochs=3", "seeds=2", "batch=8", "tune=lora"]),
    ],
)
def test_a_fine_tuning_that_was_killed_goes_on_to_the_same_result(name, settings, stage, cache, tmp_path, monkeypatch):
    run, chosen = loaded(stage, tmp_path), catalog.options(name, settings)

    class Killed(BaseException):
        pass

    def measured(stop=0):
        """The result, and the epochs after which a state was offered. After `stop` of them the process is killed."""
        kept, offered = unfinished.Training.keep, []

        def keep(self, epochs, *args, **how):
            kept(self, epochs, *args, **how)
            offered.append(epochs)
            if len(offered) == stop:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(unfinished.Training, "keep", keep)
            with catalog.resumable(name, run, chosen, [cache]):
                return catalog.evaluate(name, run, cache, chosen), offered

    def files():
        return sorted(file.name for file in tmp_path.glob("eval/*"))

    monkeypatch.setattr(unfinished, "EVERY", 1e9)
    whole, offered = measured()
    assert offered == [1, 2, 3] * 2 and not files()
    with pytest.raises(Killed):
        measured(stop=2)
    assert not files(), "it was not time to write a state"

    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    with pytest.raises(Killed):
        measured(stop=2)
    with pytest.raises(Killed):
        measured(stop=2)  # the last epoch of the first training, and one of the second
    assert len(files()) == 2
    (tmp_path / "eval" / "unfinished-other-1.safetensors").write_bytes(b"of another evaluation")
    again, offered = measured()
    assert offered == [2, 3] and again.json() == whole.json()
    assert again.scores.predictions == whole.scores.predictions
    if whole.scores.trained is not None:
        one, two = (made.scores.trained for made in (whole, again))
        for mine, theirs in ((one.body, two.body), (one.head, two.head)):
            assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in mine.state_dict().items())
    assert files() == ["unfinished-other-1.safetensors"], "what the evaluation kept is gone"

    # A state that is cut short is none, and one of other settings is another.
    with pytest.raises(Killed):
        measured(stop=1)
    state = next(tmp_path.glob(f"eval/unfinished-{name}-*"))
    state.write_bytes(state.read_bytes()[:-7])
    again, offered = measured()
    assert offered == [1, 2, 3] * 2 and again.json() == whole.json()


def test_a_fine_tuning_that_goes_on_with_other_code_says_so_in_its_result(stage, cache, tmp_path, monkeypatch):
    run, chosen = loaded(stage, tmp_path), catalog.options("classify", ["epochs=2", "seeds=1", "batch=16", "tune=linear"])
    monkeypatch.setattr(unfinished, "EVERY", 0.0)

    def measured(code, stop=False):
        kept = unfinished.Training.keep

        def keep(self, *args, **how):
            kept(self, *args, **how)
            if stop:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(unfinished, "software", lambda: (("code", code),))
            patch.setattr(unfinished.Training, "keep", keep)
            with catalog.resumable("classify", run, chosen, [cache]):
                return [note for note in catalog.evaluate("classify", run, cache, chosen).scores.notes if "software" in note]

    assert measured("a") == []
    note = "other software made the first 1 epoch of a training: code a, now b"
    for codes, notes in ((("a", "a"), []), (("a", "b"), [note])):
        with pytest.raises(KeyboardInterrupt):
            measured(codes[0], stop=True)
        assert measured(codes[1]) == notes
    with pytest.raises(KeyboardInterrupt):
        measured("a", stop=True)
    with pytest.raises(KeyboardInterrupt):
        measured("b", stop=True)
    assert measured("b") == [note], "a second stop does not lose it"


def test_the_peer_protocol_and_short_tasks_keep_no_state(stage, cache, tmp_path):
    run = loaded(stage, tmp_path)
    for name, chosen in (("classify", catalog.options("classify", peer_protocol=True)), ("fewshot", catalog.options("fewshot"))):
        with catalog.resumable(name, run, chosen, [cache]):
            assert unfinished.training() is None
    with catalog.resumable("classify", run, catalog.options("classify"), [cache]):
        first, second = unfinished.training(), unfinished.training()
        assert first is not None and second is not None and first.file != second.file
    assert unfinished.training() is None


def test_copies_vote_by_the_mean_of_their_logits(monkeypatch):
    """As in the published code. By the mean of probabilities the one sure copy would be outvoted by the two that are not."""
    copies = [torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 2.0]])]
    assert torch.stack(copies).softmax(-1).mean(0).argmax().item() == 1 and torch.stack(copies).mean(0).argmax().item() == 0
    given = iter(copies)
    monkeypatch.setattr(classify, "extract", lambda *_: next(given))
    shapes = SimpleNamespace(labels=np.array([0]))
    options = classify.Options(peer_protocol=True, votes=3, vote_repeats=1)
    assert classify.vote(SimpleNamespace(device="cpu"), None, shapes, options, seed=0) == 100


def test_effective_rank():
    generator = torch.Generator().manual_seed(0)
    line = torch.randn(40, 1, generator=generator) @ torch.randn(1, 6, generator=generator)
    assert rank.effective_rank(line + 3) == pytest.approx(1, abs=1e-3)
    assert rank.effective_rank(torch.eye(5)) == pytest.approx(4)  # centred, one direction of five is gone
    assert rank.effective_rank(torch.ones(5, 3)) == 0


def test_an_encoder_worse_than_random_weights_is_told(aligned: Path, cache_path: Path):
    """Only the kind of features decides: those of a run that went well give no note, those along one direction do, in each such task."""
    loaded, cache = checkpoint.load(aligned), store.open_cache(cache_path)
    whole = {name: dataclasses.replace(catalog.task(name).SMOKE, test_split="all") for name in ("knn", "zeroshot", "crossval")}

    def told() -> list[str]:
        found = [catalog.evaluate(name, loaded, cache, options) for name, options in whole.items()]
        return [note for one in found for note in one.scores.notes if "effective rank" in note]

    assert told() == []
    last = [module for module in loaded.model.encoder.modules() if isinstance(module, torch.nn.LayerNorm)][-1]
    with torch.no_grad():
        last.weight[1:] = 0  # the tokens differ in one number alone
    assert len(told()) == len(whole)
    some = of_split(cache, "all")
    assert rank.notes(loaded.model, some.of(np.arange(rank.LEAST - 1))) == ()
