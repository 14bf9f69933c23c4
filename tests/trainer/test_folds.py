"""Few-shot tests on folds that a cache stores: each fold is learned and tested on its own shapes alone."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from cache_schema.errors import UserError
from cache_schema.folds import Fold, folds
from cache_schema.intervals import wilson
from cache_schema.spec import PointSpec
from tests.trainer.labelled import write_cache
from trainer.align import Align, Teacher
from trainer.encoders.catalog import build
from trainer.options import AlignOptions
from trainer.tasks import catalog, fewshot, svm
from trainer.tasks.finetune import Classifying

WAYS, SHOTS, QUERIES = 2, 2, 3
FOLDS = tuple(Fold(ways=WAYS, shots=SHOTS, number=number) for number in range(3))


def write(path, *, repeated=False, shared=False, failed=()):
    """Three folds of clouds high up and on the right. Which of the two is a chair and which is a table changes from fold to fold.

    `repeated`: a query of each class is a training shape of its fold. `shared`: all folds have the same queries.
    """
    rng = np.random.default_rng(0)
    ids, splits, labels, clouds = [], [], [], []
    names = tuple(name for fold in FOLDS for name in (fold.train, fold.test))
    for fold in FOLDS:
        for side, each in ((0, SHOTS), (1, QUERIES)):
            for form in range(2):
                for one in range(each):
                    cloud = 0.1 * rng.normal(size=(1, 64, 3)) + ((0, 0.7, 0), (0.7, 0, 0))[form]
                    ids.append(f"{fold.number}/{side}/{form}/{one}")
                    again = repeated and side == 1 and one == 0
                    earlier = f"{fold.number}/0/{form}/0" if again else f"0/1/{form}/{one}"
                    clouds.append(clouds[ids.index(earlier)] if again or (shared and side == 1 and fold.number) else cloud)
                    splits.append(2 * fold.number + side)
                    labels.append((form + fold.number) % 2)
    xyz = np.stack(clouds).astype(np.float16)
    digests = np.stack([np.frombuffer(hashlib.sha256(cloud.tobytes()).digest(), np.uint8) for cloud in xyz])
    points = PointSpec(count=64, blocks=1, ordered=1)
    return write_cache(path, ids, splits, points, {"points/xyz": xyz}, labels, ("chair", "table"), names, digests, failed)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write(tmp_path_factory.mktemp("folds") / "folds.zarr")


@pytest.fixture(scope="module")
def stage():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build("pointmae-tiny", groups=8, group_size=8, embed=(16, 16, 32), dim=24, depth=2, heads=2)
        return Align(encoder, (Teacher(name="a", dim=8, text=True, objective="contrast"),), AlignOptions(heads=2), {}).eval()


def asked(*assignments):
    return catalog.options("fewshot", ["stored=true", f"ways={WAYS}", f"shots={SHOTS}", "folds=3", *assignments])


def test_names_of_splits_are_read_back():
    several = (Fold(ways=10, shots=20, number=9), Fold(ways=5, shots=10, number=0), Fold(ways=5, shots=10, number=10))
    names = [name for fold in several for name in (fold.train, fold.test)]
    assert folds([*names, "train", "test", "5way10shot"]) == tuple(sorted(several)) and several[1].train == "5way10shot-fold0-train"
    with pytest.raises(UserError, match=r"5way10shot-fold10-test is missing"):
        folds(names[:-1])


def test_each_fold_is_learned_and_tested_alone(stage, cache, monkeypatch):
    """The classes swap their clouds from fold to fold: whoever mixes two folds is wrong in half of the cases."""
    learned = []
    fit = svm.fit
    monkeypatch.setattr(svm, "fit", lambda features, labels, c: (learned.append(len(features)), fit(features, labels, c))[1])
    scores = fewshot.run(stage, cache, cache, asked())
    assert scores.metrics[0].values == (100.0, 100.0, 100.0) and learned == [WAYS * SHOTS] * 3
    assert scores.variant == "2-way 2-shot in stored folds" and not scores.notes
    assert (scores.train.split, scores.train.shapes) == ("2way2shot-folds-train", 12)
    assert (scores.test.split, scores.test.shapes, scores.metrics[0].shapes) == ("2way2shot-folds-test", 18, 18)
    (kept,) = scores.predictions
    for number, own in enumerate(kept.predicted):
        told = np.array(own.split())
        assert (told[6 * number : 6 * number + 6] != "-1").all(), "a fold predicts its own queries"
        assert (np.delete(told, np.s_[6 * number : 6 * number + 6]) == "-1").all(), "and no others"


def test_fine_tuning_takes_them_too(stage, cache):
    training = Classifying(tune="linear", epochs=20, batch=4, lr=2e-2)
    scores = fewshot.run(stage, cache, cache, dataclasses.replace(asked("by=finetune"), training=training))
    assert scores.metrics[0].mean > 90 and scores.variant == "2-way 2-shot linear in stored folds"


def test_what_a_reader_must_know_of_the_folds_is_said(stage, tmp_path):
    notes = fewshot.run(stage, *[write(tmp_path / "r.zarr", repeated=True)] * 2, asked()).notes
    assert notes == ("queries that are also training shapes of their fold: 2 of 6 in fold 0, 2 of 6 in fold 1, 2 of 6 in fold 2",)
    notes = fewshot.run(stage, *[write(tmp_path / "f.zarr", failed=(9,))] * 2, asked()).notes
    assert notes == ("queries that could not be built and are left out: 1 of 6 in fold 0",)


def test_a_shape_that_is_a_query_of_several_folds_counts_once(stage, cache, tmp_path):
    """Each fold has a row of its own for it, and a wider interval is due than for as many different shapes."""
    same = write(tmp_path / "same.zarr", shared=True)
    (metric,), (other,) = (fewshot.run(stage, one, one, asked()).metrics for one in (same, cache))
    assert (metric.shapes, other.shapes) == (2 * QUERIES, 3 * 2 * QUERIES) and metric.values == other.values
    assert metric.interval is not None and metric.interval == wilson(metric.mean, 2 * QUERIES) != other.interval


def test_folds_that_cannot_be_taken_are_refused(stage, cache, tmp_path):
    with pytest.raises(UserError, match=r"stores the folds of a data set.*--set stored=true"):
        fewshot.run(stage, cache, cache, catalog.options("fewshot", ["train_split=all", "test_split=all", "ways=2", "shots=1"]))
    with pytest.raises(UserError, match=r"stores 3 folds of 2-way 2-shot, and 10 are asked for; it has 3 of 2-way 2-shot"):
        fewshot.run(stage, cache, cache, asked("folds=10"))
    with pytest.raises(UserError, match=r"stores 0 folds of 5-way 2-shot"):
        fewshot.run(stage, cache, cache, asked("ways=5"))
    other = write(tmp_path / "other.zarr", failed=(1,))
    with pytest.raises(UserError, match=r"fold 0 needs 2 of each of 2: some failed"):
        fewshot.run(stage, other, other, asked())
    lost = write(tmp_path / "lost.zarr", failed=tuple(range(2 * SHOTS, 2 * SHOTS + QUERIES)))
    with pytest.raises(UserError, match=r"no usable query of chair, and fold 0 needs one of each of its 2 classes"):
        fewshot.run(stage, lost, lost, asked())
    with pytest.raises(UserError, match=r"of one cache"):
        fewshot.run(stage, cache, other, asked())


@pytest.mark.parametrize("setting", ["queries=5", "train_split=x", "test_split=x", "seed=1"])
def test_a_setting_that_stored_folds_do_not_read_is_refused(setting):
    with pytest.raises(UserError, match=r"would have no effect where stored=true"):
        asked(setting)
