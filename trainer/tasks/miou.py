"""Intersection over union of labels on points: for parts of shapes, and for classes of scenes. NumPy only.

    shape_iou(truth, predicted, parts=[0, 1, 2])                        # one shape: mean over the parts of its category
    counts = confusion(truth, predicted, classes=13)
    iou, recall = by_class(counts)                                      # NaN for a class that is absent everywhere

A label of -1 in the truth means that the point has no label: it counts nowhere.

Letters: P points, K classes or parts, n shapes or scenes; `...` any leading axes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Counts = Ints | Floats


def shape_iou(truth: Ints, predicted: Ints, parts: Sequence[int]) -> float:
    """Mean over parts of the intersection over union, for the points [P] of one shape, in 0..1.

    A part that is absent from both truth and prediction counts as 1, as in the protocol of ShapeNetPart
    (https://arxiv.org/abs/1612.00593, section 5.1).

    Args:
        truth: label of each point, -1 for none.
        predicted: predicted label of each point.
        parts: the parts of the shape's category, at least one. A label in `truth` beyond these counts as one more part.
    """
    known = truth >= 0
    truth, predicted = truth[known], predicted[known]
    counted = sorted({*parts, *np.unique(truth).tolist()})
    total = 0.0
    for part in counted:
        ours, theirs = predicted == part, truth == part
        union = np.count_nonzero(ours | theirs)
        total += np.count_nonzero(ours & theirs) / union if union else 1.0
    return total / len(counted)


def confusion(truth: Ints, predicted: Ints, classes: int) -> NDArray[np.int64]:
    """Number of points with label i and prediction j, [K, K]. Points with label -1 are left out."""
    known = truth >= 0
    cells = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def by_class(counts: Counts) -> tuple[Floats, Floats]:
    """Intersection over union and recall of each class, from confusion counts [..., K, K]: [..., K] each, in 0..1.

    A class that is absent from truth and prediction has NaN for both. A class that is absent from the truth, but predicted, has an
    intersection over union of 0 and a recall of NaN.
    """
    right = np.diagonal(counts, axis1=-2, axis2=-1).astype(float)
    true, guessed = counts.sum(-1), counts.sum(-2)
    union = true + guessed - right
    with np.errstate(invalid="ignore"):
        return np.where(union > 0, right / np.where(union > 0, union, 1), np.nan), np.where(
            true > 0, right / np.where(true > 0, true, 1), np.nan
        )


def overall(counts: Counts) -> Floats:
    """Share of points whose prediction is right, from confusion counts [..., K, K]: [...], in 0..1. NaN if there is no point."""
    total = counts.sum((-2, -1))
    right = np.diagonal(counts, axis1=-2, axis2=-1).sum(-1)
    return np.where(total > 0, right / np.where(total > 0, total, 1), np.nan)


def guessed(counts: Counts) -> Floats:
    """Expected confusion counts [K, K] of guessing every class equally often, for the true classes in `counts` [K, K]."""
    return np.repeat(counts.sum(1, keepdims=True) / len(counts), len(counts), 1)
