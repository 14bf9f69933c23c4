"""Intersection over union of labels on points: against short versions written apart from the code, and against cases computed by hand."""

import math

import numpy as np
import pytest

from trainer.tasks import miou
from trainer.tasks.accuracy import bootstrap
from trainer.tasks.scenes import Measure


def simple_shape_iou(truth, predicted, parts):
    """A point at a time, with Python's sets."""
    ious = []
    for part in set(parts) | {t for t in truth if t >= 0}:
        true = {i for i, t in enumerate(truth) if t == part}
        said = {i for i, (t, p) in enumerate(zip(truth, predicted, strict=True)) if p == part and t >= 0}
        ious.append(1.0 if not true | said else len(true & said) / len(true | said))
    return sum(ious) / len(ious)


def simple_classes(truth, predicted, classes):
    """IoU and recall of each class, and accuracy, a class at a time."""
    known = truth >= 0
    truth, predicted = truth[known], predicted[known]
    ious, recalls = [], []
    for k in range(classes):
        hit, true, said = ((truth == k) & (predicted == k)).sum(), (truth == k).sum(), (predicted == k).sum()
        ious.append(hit / (true + said - hit) if true + said else math.nan)
        recalls.append(hit / true if true else math.nan)
    return ious, recalls, (truth == predicted).mean()


@pytest.mark.parametrize("seed", range(20))
def test_metrics_agree_with_versions_that_count_one_by_one(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 7))
    truth, predicted = rng.integers(-1, classes, 40), rng.integers(0, classes, 40)
    truth[0] = 0
    parts = sorted(rng.choice(classes, int(rng.integers(1, classes + 1)), replace=False).tolist())
    assert miou.shape_iou(truth, predicted, parts) == pytest.approx(simple_shape_iou(truth, predicted, parts))
    counts = miou.confusion(truth, predicted, classes)
    ious, recalls, accuracy = simple_classes(truth, predicted, classes)
    np.testing.assert_allclose(miou.by_class(counts)[0], ious)
    np.testing.assert_allclose(miou.by_class(counts)[1], recalls)
    assert miou.overall(counts) == pytest.approx(accuracy)


def test_a_shape_computed_by_hand():
    truth = np.array([0, 0, 0, 1, 1, -1])
    predicted = np.array([0, 0, 1, 1, 1, 2])
    # Part 0: 2 of 3; part 1: 2 of 3; part 2 is absent from both, since the point that was said to be it has no label.
    assert miou.shape_iou(truth, predicted, [0, 1, 2]) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    # Part 3 is predicted and is not there.
    assert miou.shape_iou(truth, np.array([0, 0, 3, 1, 1, 2]), [0, 1, 3]) == pytest.approx((2 / 3 + 1 + 0) / 3)
    # A part that the category does not know is always wrong: part 1 has 0, and what was said instead loses too.
    assert miou.shape_iou(truth, np.zeros(6, int), [0]) == pytest.approx((3 / 5 + 0) / 2)
    assert miou.shape_iou(truth, truth, [0, 1]) == 1


def test_classes_computed_by_hand():
    #                    floor wall (never there, predicted once) (absent everywhere)
    counts = np.array([[6, 1, 1, 0], [2, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    iou, recall = miou.by_class(counts)
    np.testing.assert_allclose(iou, [6 / 10, 2 / 5, 0, np.nan])
    np.testing.assert_allclose(recall, [6 / 8, 2 / 4, np.nan, np.nan])
    assert miou.overall(counts) == pytest.approx(8 / 12)
    assert Measure("iou")(counts) == pytest.approx((6 / 10 + 2 / 5 + 0) / 3)
    assert Measure("recall")(counts) == pytest.approx((6 / 8 + 2 / 4) / 2)
    assert Measure("iou", 1)(counts) == pytest.approx(2 / 5)
    assert np.isnan(miou.overall(np.zeros((2, 2))))


def test_chance_is_what_guessing_gives_on_average():
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 3000, p=(0.6, 0.3, 0.1))
    drawn = sum(miou.confusion(truth, rng.integers(0, 3, len(truth)), 3) for _ in range(50)) / 50
    np.testing.assert_allclose(miou.guessed(miou.confusion(truth, truth, 3)), drawn, rtol=0.02)


def test_an_interval_is_that_of_a_mean_and_is_always_the_same():
    values = np.random.default_rng(0).normal(50, 10, 400)
    low, high = bootstrap(lambda chosen: values[chosen].mean(), len(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert bootstrap(lambda chosen: values[chosen].mean(), len(values)) == (low, high)
    assert bootstrap(lambda chosen: 0.0, 1) is None


def test_a_mean_over_categories_with_one_shape_each_has_an_interval_with_width():
    values, kinds = np.array([10.0, 50.0, 90.0]), np.arange(3)

    def measure(chosen):
        return float(np.mean([values[chosen][kinds[chosen] == kind].mean() for kind in np.unique(kinds[chosen])]))

    low, high = bootstrap(measure, 3)
    assert low < 30 and high > 70
