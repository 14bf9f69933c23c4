"""A trained run as a thing to use: clouds of any form give what the same shapes in a cache give, or a refusal, or a warning."""

import dataclasses
import json
import os
import warnings

import numpy as np
import pytest
import safetensors.numpy
import torch

from cache_schema import label_files, synthetic
from cache_schema.errors import UserError
from cache_schema.label_files import LabelFile
from cache_schema.spec import GREY, LabelSet, fingerprint
from cache_schema.store import open_cache
from tests.trainer.test_cli import command  # noqa: F401
from trainer import checkpoint, classifiers, labels
from trainer.align import Align, Teacher
from trainer.clouds import CloudWarning, prepared, taken
from trainer.encoders import catalog
from trainer.model import Model, ModelWarning, _shapes
from trainer.options import AlignOptions
from trainer.points import Convention
from trainer.tasks import catalog as catalog_of_tasks
from trainer.tasks import zeroshot
from trainer.tasks.features import Body, extract

CPU = torch.device("cpu")
KNOWN = Convention(count=256, ordered=64, dtype="float16", colored=True)


def boxes(kind, count, seed=0):
    """Points on a thing made of boxes: a chair, a table or a shelf. [n, 3]"""
    parts = {
        "chair": [
            (0, 0, 0, 1, 0.1, 1),
            (0, 0.7, -0.45, 1, 1.3, 0.1),
            *((x, -0.5, z, 0.1, 1, 0.1) for x in (-0.4, 0.4) for z in (-0.4, 0.4)),
        ],
        "table": [(0, 0.5, 0, 2, 0.1, 1.2), (0, 0, 0, 0.2, 1, 0.2), (0, -0.5, 0, 0.9, 0.1, 0.9)],
        "shelf": [*((0, y, 0, 1.2, 0.08, 0.5) for y in (-1, -0.3, 0.3, 1)), (-0.6, 0, 0, 0.08, 2, 0.5), (0.6, 0, 0, 0.08, 2, 0.5)],
    }[kind]
    rng = np.random.default_rng(seed)
    areas = np.array([a * b + b * c + c * a for _, _, _, a, b, c in parts])
    which = np.array(parts)[rng.choice(len(parts), count, p=areas / areas.sum())]
    inside = rng.uniform(-0.5, 0.5, (count, 3))
    face = rng.integers(0, 3, count)
    inside[np.arange(count), face] = np.sign(inside[np.arange(count), face]) / 2
    return (which[:, :3] + inside * which[:, 3:]).astype(np.float32)


def drawn(clouds, convention=KNOWN, channels=3, **how):
    """All points that a model would read, in the order of the clouds. [m, P, C]"""
    found = list(prepared(taken(clouds), convention, channels=channels, batch=64, device=CPU, **how))
    which = torch.cat([batch.which for batch in found])
    return torch.cat([batch.points for batch in found])[which.argsort(stable=True)].numpy()


def rows(points):
    """The points as a sorted list, to compare sets."""
    return sorted(map(tuple, np.asarray(points, np.float64).round(5).tolist()))


@pytest.fixture(scope="module")
def model(aligned):
    return Model.load(aligned, "cpu")


# ------------------------------------------------------------------------------------------------------ clouds and caches


def test_a_block_of_a_cache_and_the_same_points_in_memory_agree(model, cache_path):
    cache = open_cache(cache_path)
    usable = np.flatnonzero(cache.ok())
    stored = cache.column("points/xyz")[usable, 1]
    expected = model.embed_cache(cache, block=1)
    assert expected.shape == (len(usable), model.dim) and expected.dtype == np.float32
    points, body = torch.from_numpy(stored).float(), Body.of(model._stage, model.pool)
    with torch.no_grad():
        assert np.allclose(body(points, True), expected, atol=1e-5)
        # The blocks of this cache were rounded after they were ordered, so that centres found anew differ in a few.
        assert np.allclose(model.embed(stored, placed=True), body(points, False), atol=1e-5)
    some = usable[[7, 2, 2]]
    assert np.allclose(model.embed_cache(cache_path, some, 1), expected[[7, 2, 2]], atol=1e-5)
    # Moved away and back: only the origin differs, since a block's mean is not that of its shape.
    moved = model.embed(stored.astype(np.float64) * 30 + [100, -4, 7])
    assert _cosines(moved, model.embed(stored)).min() > 0.999


def test_normalisation_is_that_of_the_pipeline():
    cloud = boxes("chair", 256).astype(np.float64) * 30 + [100, -40, 7]
    (found,) = drawn(cloud)
    out = cloud - cloud.mean(0)
    expected = (out / np.linalg.norm(out, axis=1).max()).astype(np.float32).astype(np.float16)
    assert rows(found) == rows(expected)
    (found,) = drawn(cloud, dataclasses.replace(KNOWN, normalize="none", dtype="float32"))
    assert rows(found.astype(np.float32)) == rows(cloud.astype(np.float32))


def test_a_result_does_not_depend_on_order_batch_type_or_form(model):
    rng = np.random.default_rng(0)
    clouds = [boxes(kind, count, count) for kind, count in (("chair", 300), ("table", 64), ("shelf", 151), ("chair", 1000), ("table", 64))]
    together = model.embed(clouds)
    alone = np.concatenate([model.embed(cloud) for cloud in clouds])
    assert together.shape == (5, model.dim) and np.allclose(together, alone, atol=1e-5)
    assert np.allclose(model.embed([rng.permutation(cloud) for cloud in clouds[::-1]])[::-1], alone, atol=1e-5)
    tensors = model.embed([torch.from_numpy(cloud).double() for cloud in clouds])
    assert isinstance(tensors, torch.Tensor) and tensors.dtype == torch.float32 and np.allclose(tensors, alone, atol=1e-5)
    pair = np.stack([clouds[1], clouds[4]])
    assert np.allclose(model.embed(pair), alone[[1, 4]], atol=1e-5)
    assert np.allclose(model.embed(np.asfortranarray(clouds[0].astype(">f8"))), alone[:1], atol=1e-5)
    assert model.embed([]).shape == (0, model.dim)


@pytest.mark.parametrize("name", [name for name in catalog.ENCODERS if name.endswith("-tiny")])
def test_scale_place_and_count_leave_the_vector_and_the_class(name, aligned):
    """A shape at 30 times the size, shifted, with 5,000 points: cosine to the normal one, and the class by a label file."""
    torch.manual_seed(0)
    model = Model(_untrained(name, checkpoint.load(aligned)), "cpu")
    kinds = ("chair", "table", "shelf")
    normal = [boxes(kind, 5000) for kind in kinds]
    large = [cloud * np.float32(30) + np.float32([100, -40, 7]) for cloud in normal]
    assert _cosines(model.embed(normal), model.embed(large)).min() >= 0.98
    embedded = model.teacher_space(normal, "t").astype(np.float16)[:, None]
    teacher = _spec("t", 32)
    file = LabelFile(labels=LabelSet(name="kinds", classes=kinds, templates=("a {}",)), teacher=teacher, embeddings=embedded)
    assert tuple(model._zero_shot(file, model._vectors(taken(large), model._body("summary")), lambda x: x.numpy()).names) == kinds


def _untrained(name, loaded):
    encoder = catalog.build(name)
    stage = Align(encoder, (Teacher(name="t", dim=32, text=True, objective="contrast"),), AlignOptions()).eval()
    stage.convention = Convention(count=1024, ordered=512, dtype="float16", colored=False)
    return dataclasses.replace(loaded, model=stage, weights=name)


def _cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


# --------------------------------------------------------------------------------------------------------------- drawing


def test_shares_of_a_large_cloud_are_even_and_have_no_point_twice():
    cloud = boxes("chair", 1100)
    shares = drawn(cloud, dataclasses.replace(KNOWN, dtype="float32"), draws=8)
    assert shares.shape == (4, 256, 3)
    assert len(set(map(tuple, shares.reshape(-1, 3).tolist()))) == 4 * 256
    # An even share: the share of points in the upper half is that of the cloud, but for chance (5 deviations).
    high = cloud[:, 1] > cloud[:, 1].mean()
    assert np.abs((shares[..., 1] > 0).mean(1) - high.mean()).max() < 5 * 0.5 / 16
    copies = np.repeat(boxes("chair", 64), 8, axis=0)  # 512 points in 64 places, of which no place may be drawn far more often
    with pytest.warns(CloudWarning, match="fewer different points than the 256"):
        (found,) = drawn(copies)
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) > 55 and counts.max() <= 8


def test_few_points_are_taken_equally_often_and_it_is_said():
    with pytest.warns(CloudWarning, match=r"1 of 2 clouds \(the first is number 1, counted from 0\): it has fewer different points"):
        found = drawn([boxes("table", 400), boxes("table", 100)])
    assert sorted(np.unique(found[1], axis=0, return_counts=True)[1]) == [2] * 44 + [3] * 56


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c * [1, 0, 1], "in a plane or on a line"),
        (lambda c: c.astype(np.float32) + np.float32(1e6), "coordinates are coarse"),
        (lambda c: np.concatenate([c, [[1e3, 0, 0]]]), "a few points lie far from all others"),
        (lambda c: np.concatenate([c, [[np.nan, 0, 0], [0, np.inf, 0]]]), "not finite"),
    ],
)
def test_what_changes_features_much_is_said(change, said):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        drawn(change(boxes("chair", 300)))
    assert any(said in str(w.message) for w in found)
    assert all(w.category is CloudWarning and w.filename == __file__ for w in found)
    drawn(boxes("chair", 300))  # and nothing is said, which would be an error


def test_points_that_are_not_finite_are_as_if_they_were_not_there():
    cloud = boxes("chair", 300)
    with pytest.warns(CloudWarning, match="not finite"):
        assert np.array_equal(drawn(np.insert(cloud, [0, 7, 7], np.nan, axis=0)), drawn(cloud))


NORMAL = boxes("chair", 300)


@pytest.mark.parametrize(
    ("clouds", "said"),
    [
        (NORMAL.T, r"shape \[3, 300\].*lies on its side, give its transpose"),
        (np.stack([NORMAL.T]), "lies on its side"),
        (NORMAL[:, :2], r"\[300, 2\], expected \[n, 3\] or \[n, 6\]"),
        (NORMAL[0], r"got an array \[3\]"),
        ([NORMAL, torch.from_numpy(NORMAL)], "give one kind"),
        ([NORMAL, NORMAL.tolist()], r"cloud 1 \(counted from 0\) is of type list"),
        ("chair.ply", "got str"),
        (NORMAL.astype(str), "expected real numbers"),
        (NORMAL + 0j, "expected real numbers"),
        (np.ma.masked_greater(NORMAL, 1), "masked array"),
        (NORMAL[:0], "has no points"),
        (NORMAL * np.nan, "no finite point"),
        ([NORMAL, np.ones((9, 3))], r"cloud 1 \(counted from 0\) has no two different points"),
        (NORMAL * 1e20, "beyond 1e"),
        (np.hstack([NORMAL, NORMAL]), "has colours from -"),
        (np.hstack([NORMAL, NORMAL * 0 + 1.5]), "not all are whole numbers"),
        (np.hstack([NORMAL, NORMAL * 0 + 256]), "colours from"),
        (np.hstack([NORMAL, NORMAL * np.nan]), "colours that are not finite"),
    ],
)
def test_what_cannot_be_read_is_refused(clouds, said):
    with pytest.raises(UserError, match=said), np.errstate(invalid="ignore"):
        drawn(clouds, channels=6)


# --------------------------------------------------------------------------------------------------------------- colours


def test_colours_of_every_range_are_the_ones_that_a_cache_stores():
    stored = np.random.default_rng(0).integers(0, 256, (300, 3))
    expected = np.unique((stored * np.float32(1 / 255)).astype(np.float32).round(5))
    for cloud in (
        np.hstack([NORMAL, stored / 255]),
        np.hstack([NORMAL, stored.astype(np.float32)]),
        np.hstack([(NORMAL * 100).astype(np.int64), stored]),
    ):
        found = drawn(cloud, channels=6)[0, :, 3:]
        assert np.isin(found.round(5), expected).all() and len(np.unique(found)) > 150
    with pytest.warns(CloudWarning, match=r"no colours and is given grey 0.745; the run was trained with colours"):
        assert np.allclose(drawn(NORMAL, channels=6)[..., 3:], GREY)
    with pytest.warns(CloudWarning, match="colours are dropped"):
        plain = dataclasses.replace(KNOWN, colored=False)
        assert np.allclose(drawn(np.hstack([NORMAL, stored / 255]), plain, channels=6)[..., 3:], GREY)
    with pytest.warns(CloudWarning, match="colours are dropped, since the run reads none"):
        assert np.array_equal(drawn(np.hstack([NORMAL, stored / 255])), drawn(NORMAL))


# ---------------------------------------------------------------------------------------------------------------- tokens


def test_tokens_are_where_the_points_are(model):
    clouds = [boxes("chair", 64) * 30 + 100, boxes("table", 90)]
    clouds[1][4] = np.nan
    with pytest.warns(CloudWarning, match="not finite"):
        found = model.tokens(clouds, per_point=True)
    groups = model._stage.encoder.groups
    assert found.features.shape == (2, groups, model.dim // 2) and found.centres.shape == (2, groups, 3)
    for cloud, centres, tokens, points in zip(clouds, found.centres, found.features, found.points, strict=True):
        real = np.isfinite(cloud).all(1)
        radius = np.linalg.norm(cloud[real] - cloud[real].mean(0), axis=1).max()
        apart = np.linalg.norm(centres[:, None] - cloud[real], axis=-1)
        assert apart.min(1).max() < 1e-3 * radius  # rounded to float16, as in a cache
        near = np.linalg.norm(cloud[:, None] - centres, axis=-1) / radius  # [n, G]
        best = np.argsort(near, 1)[:, :3]
        weights = 1 / (np.take_along_axis(near, best, 1) ** 2 + 1e-8)
        expected = (tokens[best] * (weights / weights.sum(1, keepdims=True))[..., None]).sum(1)
        assert points.shape == (len(cloud), tokens.shape[1]) and np.isnan(points[~real]).all()
        assert np.abs(points[real] - expected[real]).max() < 1e-2
    assert model.tokens(clouds[0]).points == ()


# ------------------------------------------------------------------------------------------------------- teachers, labels


@pytest.fixture(scope="module")
def labelled(aligned, cache_path, tmp_path_factory):
    """The run with the label set of its cache."""
    run = tmp_path_factory.mktemp("labelled") / "run"
    run.mkdir()
    (run / checkpoint.LAST).symlink_to(checkpoint.path(aligned))
    (found,) = labels.add(checkpoint.load(run), cache_path, "source")
    assert labels.sets(run) == {"source": ("random-a",)} and found.labels.classes == ("cone", "cube", "torus")
    return Model.load(run, "cpu")


def test_classes_are_those_of_eval_zeroshot(labelled, cache_path):
    cache = open_cache(cache_path)
    test = np.flatnonzero(cache.ok() & (cache.column("split") == 1))
    found = labelled.classify_cache(cache, "source", test)
    truth = [found.classes[i] for i in cache.column("label")[test]]
    right = 100 * np.mean([a == b for a, b in zip(found.names, truth, strict=True)])
    (first, *_) = zeroshot.run(labelled._stage, cache, cache, zeroshot.SMOKE).metrics
    assert right == pytest.approx(first.values[0], abs=1e-4)
    assert np.allclose(found.probabilities.sum(1), 1, atol=1e-5) and "random-a" in found.about
    stored = cache.column("points/xyz")[test, 0]
    assert np.allclose(labelled.teacher_space(stored[:3], "random-a"), labelled.teacher_space(torch.from_numpy(stored[:3]), "random-a"))
    sides = [labelled.teacher_space_cache(cache, "random-a", head, test) for head in ("image", "text")]
    both = sides[0] + sides[1]
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    assert np.allclose(labelled.teacher_space_cache(cache, "random-a", "both", test), both, atol=1e-5)
    # The probabilities by hand: mean cosine over the mean temperature.
    sentences = labels.read(labelled.run, "source", "random-a").embeddings.astype(np.float64)
    sentences /= np.linalg.norm(sentences, axis=-1, keepdims=True)
    classes = sentences.mean(1) / np.linalg.norm(sentences.mean(1), axis=-1, keepdims=True)
    scales = [float(labelled._stage.teachers.contrast(f"{side}/random-a").log_scale) for side in ("image", "text")]
    logits = np.exp(np.mean(scales)) * (sides[0] + sides[1]) @ classes.T / 2
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(found.probabilities, expected, atol=1e-4)
    assert found.top(2)[0][0][0] == found.names[0] and len(found.top(2)[0]) == 2


def test_lists_of_words_are_refused(labelled):
    with pytest.raises(UserError, match="--names"):
        labelled.classify(NORMAL, ["chair", "table"])


def test_a_kept_classifier_says_what_its_task_found(labelled, cache_path):
    cache = open_cache(cache_path)
    loaded = checkpoint.load(labelled.run)
    test = np.flatnonzero(cache.ok())
    truth = cache.column("label")[test]
    everything = {"train_split": "all", "test_split": "all"}
    for task in ("classify", "svm"):
        result = catalog_of_tasks.evaluate(task, loaded, cache, dataclasses.replace(catalog_of_tasks.task(task).SMOKE, **everything))
        catalog_of_tasks.keep(result, loaded, task)
        with warnings.catch_warnings():
            warnings.simplefilter("error" if task == "classify" else "ignore")
            found = labelled.classify_cache(cache, task, test)
        right = 100 * np.mean([found.classes[i] == name for i, name in zip(truth, found.names, strict=True)])
        assert right == pytest.approx(result.scores.metrics[0].values[0], abs=1e-4)
    with pytest.warns(ModelWarning, match="no probabilities"):
        found = labelled.classify_cache(cache, "svm", test)
    kept, k = classifiers.load(labelled.run, "svm"), len(found.classes)
    votes = extract(kept.body, _shapes(cache, test), 0, kept.head).round().numpy()  # whole numbers, K (K - 1) / 2 in a row
    assert found.votes and np.allclose(found.probabilities, votes / (k * (k - 1) / 2), atol=1e-6)
    empty = labelled.classify([], "classify")
    assert not empty.votes and empty.probabilities.shape == (0, k) and empty.names == []


def test_a_classifier_is_read_once_and_again_when_its_file_changes(labelled, cache_path, monkeypatch):
    loaded, cache, reads = checkpoint.load(labelled.run), open_cache(cache_path), []
    result = catalog_of_tasks.evaluate(
        "classify", loaded, cache, catalog_of_tasks.options("classify", ["epochs=1", "seeds=1", "train_split=all", "test_split=all"])
    )
    file, _ = catalog_of_tasks.keep(result, loaded, "source")
    load = classifiers.load
    monkeypatch.setattr(classifiers, "load", lambda *arguments: reads.append(1) or load(*arguments))
    with pytest.raises(UserError, match="a label set and a classifier that are called 'source'"):
        labelled.classify_cache(cache, "source", [0])
    for _ in range(2):
        assert labelled.classify_cache(cache, "source", [0], _kind="classifier").about == "classifier source"
    assert "label set source" in labelled.classify_cache(cache, "source", [0], _kind="labels").about and len(reads) == 1
    os.utime(file, ns=(1, 1))
    labelled.classify_cache(cache, "source", [0], _kind="classifier")
    assert len(reads) == 2
    file.unlink()


def test_nothing_gives_empty_results_and_unknown_choices_are_refused(labelled, cache_path):
    half = labelled.dim // 2
    assert labelled.embed([]).shape == (0, labelled.dim) and labelled.embed([], "summary").shape == (0, half)
    assert labelled.embed(torch.empty(0, 9, 3)).shape == (0, labelled.dim) and labelled.tokens([]).features.shape[0] == 0
    wide = labelled.teacher_space(boxes("chair", 300), "random-a").shape[1]
    assert labelled.teacher_space([], "random-a").shape == labelled.teacher_space_cache(cache_path, "random-a", rows=[]).shape == (0, wide)
    k = len(labelled.classify(boxes("chair", 300), "source").classes)
    assert labelled.classify([], "source").probabilities.shape == labelled.classify_cache(cache_path, "source", []).probabilities.shape
    assert labelled.classify([], "source").probabilities.shape == (0, k)
    assert labelled.embed_cache(cache_path, rows=[]).shape == (0, labelled.dim)
    assert labelled.embed_cache(cache_path, rows=[], pool="summary").shape == (0, half)
    for call in (lambda how: labelled.embed([], how), lambda how: labelled.embed_cache(cache_path, pool=how)):
        with pytest.raises(UserError, match=r"pool must be one of mean_max, summary, .*, mean_plus_max, got 'sumary'; did you mean"):
            call("sumary")
    with pytest.raises(UserError, match=r"head must be one of both, image, text, got 'nope'"):
        labelled.teacher_space(boxes("chair", 300), "random-a", head="nope")


def test_warnings_name_the_caller(labelled):
    few = boxes("chair", 10)
    few = np.concatenate([few, few], 1)  # 10 points with colours, for a run that reads none
    for call in (labelled.embed, labelled.tokens, lambda cloud: labelled.classify(cloud, "source")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call(few)
        assert {one.filename for one in caught} == {__file__} and len(caught) == 2
        assert any("its colours are dropped, since the run reads none" in str(one.message) for one in caught)
    assert labelled.classifiers == ("classify", "svm")
    assert Model.from_pretrained(labelled.run, "cpu").classifiers == labelled.classifiers


def test_the_encoder_that_comes_along_is_whole():
    model = Model.from_pretrained("starter-point-mae", "cpu")
    chairs = model.embed([boxes("chair", 3000, seed=i) for i in range(2)])
    tables = model.embed([boxes("table", 3000, seed=i) for i in range(2)])
    assert np.linalg.norm(chairs[0] - chairs[1]) < np.linalg.norm(chairs[0] - tables[0]) / 2


def test_labels_by_name_and_by_file(labelled, tmp_path):
    cloud = boxes("chair", 200)
    by_name = labelled.classify(cloud, "source")
    file = tmp_path / "mine.safetensors"
    label_files.write(file, labels.read(labelled.run, "source", "random-a"))
    for name in ("source@random-a", str(file), file):
        assert np.array_equal(labelled.classify(cloud, name).probabilities, by_name.probabilities)
    with pytest.raises(UserError, match=r"no label set and no classifier 'sourc'.*did you mean"):
        labelled.classify(cloud, "sourc")
    with pytest.raises(UserError, match=r"CACHE other` copies"):
        labelled.classify(cloud, "other@random-a")
    with pytest.raises(UserError, match="no label file"):
        labelled.classify(cloud, "nowhere.safetensors")


def test_labels_of_another_teacher_are_refused(labelled, tmp_path):
    known = labels.read(labelled.run, "source", "random-a")
    for change, said in ({"weights": "others"}, "another teacher"), ({"name": "other"}, "not aligned"):
        file = tmp_path / "x.safetensors"
        label_files.write(file, dataclasses.replace(known, teacher=dataclasses.replace(known.teacher, **change)))
        with pytest.raises(UserError, match=said):
            labelled.classify(boxes("chair", 200), file)
        with pytest.raises(UserError, match=r"another teacher|was embedded by other"):
            labels.add(checkpoint.load(labelled.run), file)
    assert labels.sets(labelled.run) == {"source": ("random-a",)}


def test_the_command_that_puts_labels_into_a_run(labelled, cache_path, tmp_path, command):  # noqa: F811
    run = tmp_path / "run"
    run.mkdir()
    (run / checkpoint.LAST).symlink_to(checkpoint.path(labelled.run))
    assert command("labels", run)[1].strip() == f"{run} has no label set"
    code, _, err = command("labels", run, cache_path, "sourc")
    assert code == 2 and "no label set 'sourc' embedded by random-a; did you mean 'source'" in err, err
    code, said, err = command("labels", run, cache_path)
    assert code == 0 and not said and f"{run} now has the label set source: 3 classes, by random-a" in err
    code, said, _ = command("labels", run, labels.path(labelled.run, "source", "random-a"), "source", "--json")
    assert json.loads(said) == [{"set": "source", "teacher": "random-a", "classes": ["cone", "cube", "torus"]}]
    assert command("labels", run)[1].strip() == "source@random-a  3 classes"
    code, _, err = command("labels", run, tmp_path / "nothing")
    assert code == 2 and "nothing" in err


def _spec(name, dim):
    return synthetic.teacher(name, dim)


def _label_file(**changes):
    teacher = _spec("t", 4)
    kinds = LabelSet(name="kinds", classes=("a", "b"), templates=("a {}", "one {}"))
    return LabelFile(labels=kinds, teacher=teacher, embeddings=np.ones((2, 2, 4), np.float16), made_by=(("torch", "2"),), **changes)


def test_a_label_file_comes_back_as_it_was(tmp_path):
    file = _label_file()
    label_files.write(tmp_path / "deep" / "a.safetensors", file)
    found = label_files.read(tmp_path / "deep" / "a.safetensors")
    assert (found.labels, found.teacher, found.made_by) == (file.labels, file.teacher, file.made_by)
    assert np.array_equal(found.embeddings, file.embeddings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b, t: b.update(kind="classifier"), "no label file"),
        (lambda b, t: b.update(format=2), "format 2"),
        (lambda b, t: b.pop("teacher"), "no 'teacher'"),
        (lambda b, t: b["teacher"].update(dim=5), "fingerprint"),
        (lambda b, t: b["teacher"].update(dim="4"), "dim"),
        (lambda b, t: b["labels"].update(classes=["a", "a"]), "comes twice"),
        (lambda b, t: b["labels"].update(classes=["a", " "]), "empty"),
        (lambda b, t: b["labels"].update(classes=["a"]), r"expected embeddings \[1, 2, 4\]"),
        (lambda b, t: b["labels"].update(name="../a"), "cannot be a file name"),
        (lambda b, t: b["labels"].update(templates=["a"]), "exactly one"),
        (lambda b, t: t.update(embeddings=np.ones((2, 2, 4), np.float32)), "float32"),
        (lambda b, t: t.update(embeddings=np.full((2, 2, 4), np.nan, np.float16)), "16 of its numbers are not finite"),
        (lambda b, t: t.update(embeddings=np.zeros((2, 2, 4), np.float16)), "all zeros"),
        (lambda b, t: t.update(other=np.ones(1)), "expected one tensor"),
        (lambda b, t: t.pop("embeddings"), "no tensor 'embeddings'"),
        (lambda b, t: (b.clear(), b.update(other=1)), "no label file"),
    ],
)
def test_a_label_file_of_a_stranger_is_read_strictly(change, said, tmp_path):
    path = tmp_path / "a.safetensors"
    label_files.write(path, _label_file())
    with safetensors.safe_open(path, "np") as opened:
        body, tensors = json.loads(opened.metadata()["mmpd"]), {"embeddings": opened.get_tensor("embeddings")}
    assert body["fingerprint"] == fingerprint(_spec("t", 4))
    change(body, tensors)
    path.write_bytes(safetensors.numpy.save(tensors, {"mmpd": json.dumps(body)}))
    with pytest.raises(UserError, match=said):
        label_files.read(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\xff" * 64, json.dumps({"a": 1}).encode()])
def test_what_is_no_safetensors_file_is_refused(data, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="no label file, or is damaged"):
        label_files.read(tmp_path / "a.safetensors")


# ------------------------------------------------------------------------------------------------------------- the model


def test_what_a_model_says_of_itself(model, aligned):
    loaded = checkpoint.load(aligned)
    assert (model.digest, model.convention) == (loaded.weights, loaded.model.convention)
    assert model.teachers == ("random-a",) and model.label_sets == {} and model.dim == 96
    assert Model.from_pretrained(aligned, "cpu").digest == model.digest


def test_rows_and_blocks_that_are_not_there_are_refused(model, cache_path):
    for how, said in (
        ({"rows": [4]}, "row 4 is not usable"),
        ({"rows": [60]}, "no row 60"),
        ({"rows": [0.5]}, "whole numbers"),
        ({"block": 2}, r"block must lie in 0..1"),
    ):
        with pytest.raises(UserError, match=said):
            model.embed_cache(cache_path, **how)
    with pytest.raises(UserError, match="not aligned by contrast of 'random-b'"):
        model.teacher_space(boxes("chair", 200), "random-b")


def test_a_run_that_does_not_say_its_points_reads_caches_only(aligned, cache_path):
    loaded = checkpoint.load(aligned)
    loaded.model.convention = None
    model = Model(loaded, "cpu")
    with pytest.raises(UserError, match="does not say what points it was trained on"):
        model.embed(boxes("chair", 200))
    assert len(model.embed_cache(cache_path, [0])) == 1


def test_an_unfinished_run_is_said(aligned):
    loaded = checkpoint.load(aligned)
    with pytest.warns(ModelWarning, match="had made 3 of 9 steps"):
        Model(dataclasses.replace(loaded, header=dataclasses.replace(loaded.header, step=3)), "cpu")
