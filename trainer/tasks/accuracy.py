"""From predictions to accuracies and confusion counts.

Letters: n shapes, K classes, F features.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.tasks.result import Metric


def accuracies(
    labels: NDArray[np.int64], predictions: Sequence[NDArray[np.int64]], over: Literal["seeds", "folds", "blocks"]
) -> tuple[Metric, ...]:
    """Share of shapes that are right, and the mean of that over the classes there are. Labels and each prediction [n]."""
    right = [prediction == labels for prediction in predictions]
    present = np.unique(labels)
    overall = tuple(float(100 * r.mean()) for r in right)
    by_class = tuple(float(100 * np.mean([r[labels == label].mean() for label in present])) for r in right)
    return (
        Metric(name="accuracy", values=overall, over=over, headline=True),
        Metric(name="class accuracy", values=by_class, over=over),
    )


def confusion(labels: NDArray[np.int64], predictions: Sequence[NDArray[np.int64]], classes: int) -> tuple[tuple[int, ...], ...]:
    """How often class i was taken for class j, [K, K], added up over predictions."""
    counts = np.zeros((classes, classes), np.int64)
    for prediction in predictions:
        np.add.at(counts, (labels, prediction), 1)
    return tuple(tuple(row) for row in counts.tolist())
