"""From predictions to accuracies with what chance scores, and confusion counts.

Letters: n shapes, K classes, F features.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from trainer.tasks.result import Metric, wilson

PRIOR: Final = 4
"""Shapes that are added to what was counted, as Agresti and Coull do it, for a variance that is never zero."""


@contextlib.contextmanager
def few_shapes() -> Iterator[None]:
    """Without scikit-learn's warning that so many classes of so few shapes may be no classes: here they always are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        yield


def counted(
    name: str, values: Sequence[float], over: Literal["seeds", "folds", "blocks"], shapes: int, chance: float, *, headline: bool = False
) -> Metric:
    """A metric that is a share of test shapes, with its interval.

    Args:
        name, values, over, headline: as in `Metric`; values in percent.
        shapes: number of different test shapes.
        chance: in percent, what guessing scores.
    """
    metric = Metric(name=name, values=tuple(values), over=over, headline=headline, shapes=shapes, chance=min(chance, 100.0))
    return dataclasses.replace(metric, interval=wilson(metric.mean, shapes))


def accuracies(
    labels: NDArray[np.int64], predictions: Sequence[NDArray[np.int64]], over: Literal["seeds", "folds", "blocks"], classes: int
) -> tuple[Metric, ...]:
    """Share of shapes that are right, and the mean of that over the classes there are.

    Args:
        labels: [n].
        predictions: [n] each.
        over: what these differ in.
        classes: number of classes to choose among, K.
    """
    right = [prediction == labels for prediction in predictions]
    present = np.unique(labels)
    overall = tuple(float(100 * r.mean()) for r in right)
    by_class = tuple(float(100 * np.mean([r[labels == label].mean() for label in present])) for r in right)
    chance, largest = 100 / classes, 100 * float(np.bincount(labels).max()) / len(labels)
    accuracy = counted("accuracy", overall, over, len(labels), chance, headline=True)
    class_accuracy = Metric(
        name="class accuracy", values=by_class, over=over, shapes=len(labels), chance=chance,
        interval=_interval(labels, np.mean(right, axis=0)),
    )  # fmt: skip
    return dataclasses.replace(accuracy, largest=largest), class_accuracy


def _interval(labels: NDArray[np.int64], right: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval, in percent, of the mean over classes of shares right [n].

    It is Wilson's of as many shapes as would make a plain share as certain as this mean, which of classes of one size is the number of
    shapes at most. The variance of a class comes from its own share drawn towards the mean over classes: of one shape, or of shapes all
    right, the share itself would have none.
    """
    counts = np.unique(labels, return_counts=True)[1]  # [K]
    shares = np.array([right[labels == label].mean() for label in np.unique(labels)])  # [K]
    mean = float(shares.mean())
    even = len(counts) ** 2 / float((1 / counts).sum())  # shapes of a plain share as certain, were all classes equally hard
    middle = (mean * even + PRIOR / 2) / (even + PRIOR)
    drawn = (shares * counts + PRIOR * middle) / (counts + PRIOR)
    variance = float((drawn * (1 - drawn) / counts).sum()) / len(counts) ** 2
    return wilson(100 * mean, min(even, middle * (1 - middle) / variance))


def confusion(labels: NDArray[np.int64], predictions: Sequence[NDArray[np.int64]], classes: int) -> tuple[tuple[int, ...], ...]:
    """How often class i was taken for class j, [K, K], added up over predictions."""
    counts = np.zeros((classes, classes), np.int64)
    for prediction in predictions:
        np.add.at(counts, (labels, prediction), 1)
    return tuple(tuple(row) for row in counts.tolist())
