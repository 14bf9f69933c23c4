"""Accuracies of predictions, with the score of guessing, and confusion counts; and the 95 % intervals of any measure.

Letters: n shapes, K classes, F features.
"""

import contextlib
import itertools
import math
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.distances import distance_in
from cache_schema.intervals import SIDE, wilson
from trainer.tasks.result import Metric, share
from trainer.tasks.shapes import Shapes

PRIOR: Final = 4
"""Number of made-up shapes added to those counted, half of them right, so that a variance is never zero (Agresti and Coull)."""
RANGES: Final = (0.0, 10.0, 20.0, 40.0, math.inf)
"""Limits in metres of the ranges of distances that results of laser scans tell apart."""
COUNTS: Final = (0, 32, 128, 512)
"""Limits of the ranges of numbers of points that results tell apart, if shapes have fewer points than a block."""
RESAMPLES: Final = 1000
"""Number of times that the test shapes or scenes are drawn again for an interval."""


@contextlib.contextmanager
def few_shapes() -> Iterator[None]:
    """Silence scikit-learn's warning that many classes and few shapes suggest a regression target: labels here are always classes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        yield


def interval(measure: Callable[[NDArray[np.int64]], float], count: int) -> tuple[float, float] | None:
    """The 95 % interval of a measure in percent, over other test shapes or scenes of the same kind; None if there is only one.

    It is `bootstrap`. But where everything is right, or nothing, no draw differs, and an interval without width would say that the value
    is certain: then it is that of a share of `count` shapes. Arguments: see `bootstrap`.
    """
    found = bootstrap(measure, count)
    whole = measure(np.arange(count))
    return wilson(whole, count) if found == (whole, whole) and whole in (0, 100) else found


def bootstrap(measure: Callable[[NDArray[np.int64]], float], count: int) -> tuple[float, float] | None:
    """The 95 % interval of a measure by bootstrap: its percentiles over samples of shapes that are drawn with replacement, corrected for
    bias (Efron, https://doi.org/10.1080/01621459.1987.10478410). The draws are always the same. None if there is one shape only.

    A draw repeats shapes, and so repeats what is easy in them. The average precision of detections is therefore higher in draws than in
    independent samples. The correction moves the ends by as much as the median of the draws is off the measure of all shapes. For a mean
    over shapes it changes almost nothing.

    Args:
        measure: the measure, of drawn shapes; their indices [n] may repeat. Draws for which it is NaN do not count.
        count: number of shapes, n.
    """
    if count < 2:
        return None
    rng = np.random.default_rng(0)
    # All shapes are drawn together, also for means over categories: drawn within each, a category with one shape would not vary.
    drawn = np.array([measure(rng.choice(count, count)) for _ in range(RESAMPLES)])
    drawn, whole = drawn[~np.isnan(drawn)], measure(np.arange(count))
    below = ((drawn < whole).sum() + (drawn == whole).sum() / 2 + 0.5) / (len(drawn) + 1)
    ends = [NormalDist().cdf(2 * NormalDist().inv_cdf(float(below)) + side) for side in (-SIDE, SIDE)]
    low, high = np.quantile(drawn, ends)
    return min(float(low), whole), max(float(high), whole)


def counted(
    name: str,
    values: Sequence[float],
    over: Literal["seeds", "folds", "blocks"],
    shapes: int,
    chance: float,
    *,
    headline: bool = False,
    largest: float | None = None,
    worth: float | None = None,
) -> Metric:
    """A metric that is a share of the test shapes, with its interval.

    Args:
        name, values, over, headline, largest: as in `Metric`; values in percent.
        shapes: number of different test shapes.
        chance: score of uniform guessing, in percent.
        worth: effective number of shapes, from which the interval is computed; None for `shapes`.
    """
    interval = wilson(statistics.fmean(values), shapes if worth is None else worth)
    return share(
        name=name,
        values=tuple(values),
        over=over,
        headline=headline,
        shapes=shapes,
        interval=interval,
        chance=min(chance, 100.0),
        largest=largest,
    )


def accuracies(
    labels: NDArray[np.int64], predictions: Sequence[NDArray[np.int64]], over: Literal["seeds", "folds", "blocks"], classes: int
) -> tuple[Metric, ...]:
    """Accuracy over all shapes, and class accuracy: the mean of the accuracies of the classes that have a test shape.

    Args:
        labels: true class of each shape, [n].
        predictions: predicted class of each shape, [n], once for each repetition.
        over: what the repetitions differ in.
        classes: number of classes of the classifier, K.
    """
    right = [prediction == labels for prediction in predictions]
    present = np.unique(labels)
    overall = tuple(float(100 * r.mean()) for r in right)
    by_class = tuple(float(100 * np.mean([r[labels == label].mean() for label in present])) for r in right)
    chance, largest = 100 / classes, 100 * float(np.bincount(labels).max()) / len(labels)
    return (
        counted("accuracy", overall, over, len(labels), chance, headline=True, largest=largest),
        counted("class accuracy", by_class, over, len(labels), chance, worth=_worth(labels, np.mean(right, axis=0))),
    )


def in_all(shapes: Shapes, predictions: Sequence[NDArray[np.int64]], over: Literal["seeds", "folds", "blocks"]) -> tuple[Metric, ...]:
    """What a classifier got right: `accuracies`, and behind them those by distance and by number of points where shapes differ in them.

    Args:
        shapes: the test shapes, labelled by the classes of the classifier.
        predictions, over: as for `accuracies`.
    """
    labels, classes = shapes.labels, len(shapes.classes)
    return (*accuracies(labels, predictions, over, classes), *in_ranges(shapes, predictions, over))


def in_ranges(
    shapes: Shapes, predictions: Sequence[NDArray[np.int64]], over: Literal["seeds", "folds", "blocks"], what: str = "accuracy"
) -> tuple[Metric, ...]:
    """`by_distance` and `by_points` of test shapes; `what` begins the names of the metrics."""
    labels, classes = shapes.labels, len(shapes.classes)
    return (
        *by_distance(shapes.ids, labels, predictions, over, classes, what),
        *by_points(shapes.different, labels, predictions, over, classes, what),
    )


def by_distance(
    names: Sequence[str],
    labels: NDArray[np.int64],
    predictions: Sequence[NDArray[np.int64]],
    over: Literal["seeds", "folds", "blocks"],
    classes: int,
    what: str = "accuracy",
) -> tuple[Metric, ...]:
    """Accuracy over the shapes of each range of distances; none if no id says a distance (`cache_schema.distances`).

    Args:
        names: id of each shape, [n].
        labels, predictions, over, classes: as for `accuracies`.
        what: beginning of the names of the metrics.
    """
    said = np.array([np.nan if (metres := distance_in(name)) is None else metres for name in names])  # [n]
    ranges = {
        f"{what} at {near:g} m and more" if math.isinf(far) else f"{what} at {near:g}-{far:g} m": (said >= near) & (said < far)
        for near, far in itertools.pairwise(RANGES)
    }
    return _in_ranges(ranges, labels, predictions, over, classes)


def by_points(
    counts: NDArray[np.int64] | None,
    labels: NDArray[np.int64],
    predictions: Sequence[NDArray[np.int64]],
    over: Literal["seeds", "folds", "blocks"],
    classes: int,
    what: str = "accuracy",
) -> tuple[Metric, ...]:
    """Accuracy over the shapes of each range of numbers of points; none without counts.

    Args:
        counts: number of different points of each shape, [n], as `Shapes.different` tells it; None if all shapes have enough.
        labels, predictions, over, classes, what: as for `by_distance`.
    """
    if counts is None:
        return ()
    ranges = {f"{what} of {few}-{many - 1} points": (counts >= few) & (counts < many) for few, many in itertools.pairwise(COUNTS)}
    ranges[f"{what} of {COUNTS[-1]} points and more"] = counts >= COUNTS[-1]
    return _in_ranges(ranges, labels, predictions, over, classes)


def _in_ranges(
    ranges: Mapping[str, NDArray[np.bool_]],
    labels: NDArray[np.int64],
    predictions: Sequence[NDArray[np.int64]],
    over: Literal["seeds", "folds", "blocks"],
    classes: int,
) -> tuple[Metric, ...]:
    """Accuracy over some of the shapes, by name of the metric; none where there are no shapes."""
    found = []
    for name, here in ranges.items():
        if here.any():
            values = [float(100 * (prediction[here] == labels[here]).mean()) for prediction in predictions]
            largest = 100 * float(np.bincount(labels[here]).max()) / int(here.sum())
            found.append(counted(name, values, over, int(here.sum()), 100 / classes, largest=largest))
    return tuple(found)


def _worth(labels: NDArray[np.int64], right: NDArray[np.float64]) -> float:
    """Effective number of shapes of class accuracy: plain accuracy on that many shapes would have the same variance.

    `right` [n] is the share of repetitions in which a shape was classified correctly. If all classes have the same size, the result is
    at most the number of shapes. The accuracy of each class is shrunk towards the mean over classes before its variance is computed:
    otherwise a class with one shape, or without an error, would have no variance.
    """
    counts = np.unique(labels, return_counts=True)[1]  # [K]
    shares = np.array([right[labels == label].mean() for label in np.unique(labels)])  # [K]
    even = len(counts) ** 2 / float((1 / counts).sum())  # the result if all classes were equally hard
    middle = (float(shares.mean()) * even + PRIOR / 2) / (even + PRIOR)
    drawn = (shares * counts + PRIOR * middle) / (counts + PRIOR)
    variance = float((drawn * (1 - drawn) / counts).sum()) / len(counts) ** 2
    return min(even, middle * (1 - middle) / variance)


def confusion(labels: NDArray[np.int64], predictions: Sequence[NDArray[np.int64]], classes: int) -> tuple[tuple[int, ...], ...]:
    """Confusion counts [K, K]: how often a shape of class i was predicted as class j, summed over repetitions."""
    counts = np.zeros((classes, classes), np.int64)
    for prediction in predictions:
        np.add.at(counts, (labels, prediction), 1)
    return tuple(tuple(row) for row in counts.tolist())
