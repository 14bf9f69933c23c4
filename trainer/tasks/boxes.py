"""Boxes in space: geometry, overlap, and the average precision of detectors.

    iou(found, true)                                                    # [n, m]
    kept = suppressed(found, objectness, best_class)                    # rows that survive, best first
    ap = average_precisions(curves(outcomes, 0.25, classes))            # [K], NaN for a class without a true box

A box is a row of seven numbers: centre x y z, full size x y z before the turn, and the angle of the turn in radians about +Y. The turn is
counter-clockwise seen from above: its matrix is [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]].

The evaluation is the official one of VoteNet (https://arxiv.org/abs/1904.09664) and 3DETR (https://arxiv.org/abs/2109.08141), in its
default setting. Boxes with fewer than five points are removed. Of two overlapping boxes with the same best class only one is kept. Each
box that is left counts for every class, with the class's probability times the probability that there is an object at all.

Letters: n and m boxes, Q boxes found in a scene, M true boxes of a scene, P points, K classes, E found boxes of one class in all scenes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OVERLAP: Final = 0.25
"""Largest overlap of two boxes of one best class that are both kept: the published `nms_iou`."""
CONFIDENCE: Final = 0.05
"""Lowest probability of being an object at which a box is evaluated: the published `conf_thresh`."""
POINTS: Final = 5
"""Number of points below which a box counts as empty, as published."""
ROUNDING: Final = 1e-9
"""Share of the smaller footprint below which a shared area counts as 0: it is rounding of boxes that are apart or only touch."""
FLAT: Final = 1e-7
"""Height difference below which an edge counts as horizontal in `_under`. A smaller one would be lost in rounding."""


# --------------------------------------------------------------------------------------------------------------- geometry


def turned(vectors: Floats, angles: Floats) -> Floats:
    """Turn vectors [..., 3] about +Y by angles [...]."""
    c, s = np.cos(angles), np.sin(angles)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack(np.broadcast_arrays(c * x + s * z, y, c * z - s * x), -1)


def corners(boxes: Floats) -> Floats:
    """The corners [..., 8, 3] of boxes [..., 7]. The first four lie below, in an order around the box; each of the others lies above one
    of them."""
    around = np.array([[-1, -1, -1], [1, -1, -1], [1, -1, 1], [-1, -1, 1]], float)
    signs = np.concatenate([around, around * [1, -1, 1]])  # [8, 3]
    offsets = signs * boxes[..., None, 3:6] / 2
    return boxes[..., None, :3] + turned(offsets, boxes[..., None, 6])


def volumes(boxes: Floats) -> Floats:
    """The volumes [...] of boxes [..., 7]."""
    return np.asarray(boxes[..., 3:6].prod(-1))


def envelopes(boxes: Floats) -> Floats:
    """The smallest boxes [..., 7] without a turn that hold the boxes [..., 7]."""
    ends = corners(boxes)
    low, high = ends.min(-2), ends.max(-2)
    return np.concatenate([(low + high) / 2, high - low, np.zeros_like(low[..., :1])], -1)


def inside(points: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Whether each of the points [P, 3] lies in each of the boxes [n, 7], borders included. [n, P]"""
    out = np.empty((len(boxes), len(points)), bool)
    for i, box in enumerate(boxes):  # one box at a time: a room has 40,000 points
        out[i] = (np.abs(turned(points - box[:3], -box[6])) <= box[3:6] / 2).all(-1)
    return out


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union, exact for turned boxes. Boxes a [n, 7] and b [m, 7] give [n, m]. It is 0 where both have no volume."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    low = np.maximum((a[:, 1] - a[:, 4] / 2)[:, None], b[:, 1] - b[:, 4] / 2)
    high = np.minimum((a[:, 1] + a[:, 4] / 2)[:, None], b[:, 1] + b[:, 4] / 2)
    shared = _footprints(a, b) * np.maximum(high - low, 0)  # [n, m]
    union = volumes(a)[:, None] + volumes(b) - shared
    return np.asarray(np.clip(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), 0, 1))


def _footprints(a: Floats, b: Floats) -> Floats:
    """The area that the footprints of boxes a [n, 7] and b [m, 7] share. [n, m]

    Each footprint of `a` is brought into the frame of `b`, where that of `b` is the rectangle |x| <= w, |z| <= h. Above every x, the shared
    height is clip(top) - clip(bottom) of the polygon, clipped at -h and h. So the area is the signed sum, over the edges of the polygon, of
    the integral of clip(z) over the part of the edge with |x| <= w. No case has to be told apart.
    """
    around = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])  # x and z of the corners
    offsets = np.zeros((len(a), len(b), 4, 3))
    offsets[..., ::2] = around * a[:, None, None, 3:6:2] / 2
    offsets = turned(offsets, (a[:, None, 6] - b[:, 6])[..., None])
    offsets += turned(a[:, None, :3] - b[:, :3], -b[:, 6])[..., None, :]
    start, end = offsets[..., ::2], np.roll(offsets, -1, axis=-2)[..., ::2]  # [n, m, 4, 2] each
    width, height = b[:, None, 3] / 2, b[:, None, 5] / 2
    area = np.abs(_under(start, end, width, height).sum(-1))
    smaller = np.minimum((a[:, 3] * a[:, 5])[:, None], b[:, 3] * b[:, 5])
    return np.where(area > ROUNDING * smaller, area, 0.0)


def _under(start: Floats, end: Floats, width: Floats, height: Floats) -> Floats:
    """The integral of clip(z, -height, height) over x, along edges from `start` to `end` [..., 2], with x clipped to -width, width."""
    (x0, z0), (x1, z1) = (np.moveaxis(ends, -1, 0) for ends in (start, end))
    run = x1 - x0
    slope = np.divide(z1 - z0, run, out=np.zeros_like(run), where=run != 0)
    left, right = np.clip(x0, -width, width), np.clip(x1, -width, width)
    low, high = z0 + slope * (left - x0), z0 + slope * (right - x0)

    def integral(z: Floats) -> Floats:  # of clip(z) from 0 to z
        return np.where(np.abs(z) <= height, z * z / 2, height * np.abs(z) - height**2 / 2)

    rise = high - low
    steep = np.abs(rise) > FLAT
    mean = np.where(steep, (integral(high) - integral(low)) / np.where(steep, rise, 1), np.clip((low + high) / 2, -height, height))
    return np.asarray((right - left) * mean)


# ------------------------------------------------------------------------------------------------- from boxes to detections


def suppressed(boxes: Floats, scores: Floats, kinds: Ints, overlap: float = OVERLAP) -> Ints:
    """Non-maximum suppression within each class. Returns the rows that are kept, by falling score.

    As published, the overlap is that of the boxes' envelopes without a turn.

    Args:
        boxes: [n, 7].
        scores: [n]; of equal ones the first row is taken first.
        kinds: class of each box, [n].
        overlap: intersection over union above which the box with the lower score is dropped.
    """
    order = np.argsort(-scores, kind="stable")
    upright = envelopes(boxes)
    alike = (iou(upright, upright) > overlap) & (kinds[:, None] == kinds)
    kept: list[int] = []
    for row in order.tolist():
        if not alike[row, kept].any():
            kept.append(row)
    return np.array(kept, np.int64)


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The boxes found in a scene, after suppression, and their scores for every class."""

    boxes: Floats
    """[Q, 7]."""
    scores: Floats
    """[Q, K]: probability of the class times that of being an object."""


def detections(boxes: Floats, probabilities: Floats, points: Floats, least: int = POINTS) -> Detections:
    """The official choice among the boxes found in a scene.

    Args:
        boxes: [Q, 7].
        probabilities: of the classes, and in the last column of no object. [Q, K + 1]
        points: points of the scene, [P, 3].
        least: number of points below which a box is empty and is removed.
    """
    objectness = 1 - probabilities[:, -1]
    there = inside(points, boxes).sum(1) >= least
    if not there.any():
        there[objectness.argmax()] = True  # as published: a scene has at least one box
    rows = np.flatnonzero(there)
    rows = rows[suppressed(boxes[rows], objectness[rows], probabilities[rows, :-1].argmax(1))]
    rows = rows[objectness[rows] > CONFIDENCE]
    return Detections(boxes=boxes[rows], scores=probabilities[rows, :-1] * objectness[rows, None])


# ------------------------------------------------------------------------------------------------------ average precision


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The boxes found in a scene compared with the true ones."""

    scores: Floats
    """[Q, K]."""
    overlaps: Floats
    """Intersection over union of found and true boxes, [Q, M]."""
    kinds: Ints
    """Class of each true box, [M]."""


def outcome(found: Detections, true: Floats, kinds: Ints) -> Outcome:
    """Compare the boxes found in a scene with the true boxes [M, 7] of classes [M]."""
    return Outcome(scores=found.scores, overlaps=iou(found.boxes, true), kinds=kinds)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The found boxes of one class in all scenes, by falling score."""

    scene: Ints
    """Scene of each box, [E]."""
    hit: NDArray[np.bool_]
    """Whether the box matches a true box that no box before it has matched, [E]."""
    truths: Ints
    """Number of true boxes of the class in each scene."""

    def area(self, weights: Ints | None = None) -> float:
        """Average precision: the area under the curve of precision over recall, where the precision at a recall is the best one at this or
        a higher recall, as in PASCAL VOC since 2010. NaN if there is no true box.

        Args:
            weights: how often each scene counts; None for once.
        """
        weights = np.ones_like(self.truths) if weights is None else weights
        total = int((weights * self.truths).sum())
        if not total:
            return float("nan")
        each = weights[self.scene]
        hits = np.cumsum(each * self.hit)
        precision = hits / np.maximum(np.cumsum(each), 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        gained = np.diff(hits, prepend=0)
        return float((gained * best).sum() / total)

    @property
    def recall(self) -> float:
        """Share of the true boxes that were found. NaN if there is no true box."""
        return float(self.hit.sum() / self.truths.sum()) if self.truths.sum() else float("nan")


def curves(outcomes: Sequence[Outcome], threshold: float, classes: int) -> tuple[Curve, ...]:
    """The curve of each class.

    Found boxes are taken by falling score. Each is compared with the true box of its class and scene that it overlaps most: it is a hit if
    the overlap is above the threshold and no box before it has hit the same true box.

    Args:
        outcomes: one for each scene.
        threshold: overlap of a hit: 0.25 for AP25, 0.5 for AP50.
        classes: number of classes, K.
    """
    return tuple(_curve(outcomes, threshold, kind) for kind in range(classes))


def _curve(outcomes: Sequence[Outcome], threshold: float, kind: int) -> Curve:
    scores, hits, scenes = [], [], []
    for scene, one in enumerate(outcomes):
        scores.append(one.scores[:, kind])
        hits.append(_hits(one.overlaps[:, one.kinds == kind], one.scores[:, kind], threshold))
        scenes.append(np.full(len(one.scores), scene))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    truths = np.array([(one.kinds == kind).sum() for one in outcomes], np.int64)
    return Curve(scene=np.concatenate(scenes)[order], hit=np.concatenate(hits)[order], truths=truths)


def _hits(overlaps: Floats, scores: Floats, threshold: float) -> NDArray[np.bool_]:
    """Whether each found box of a scene is a hit among the true boxes of one class: overlaps [Q, M], scores [Q]. [Q]"""
    hit = np.zeros(len(scores), bool)
    if overlaps.shape[1]:
        nearest, best = overlaps.argmax(1), overlaps.max(1)
        order = np.argsort(-scores, kind="stable")
        order = order[best[order] > threshold]
        first = np.unique(nearest[order], return_index=True)[1]
        hit[order[first]] = True
    return hit


def average_precisions(found: Sequence[Curve], weights: Ints | None = None) -> Floats:
    """Average precision of each class, in 0..1. [K], NaN for classes without a true box. `weights`: see `Curve.area`."""
    return np.array([curve.area(weights) for curve in found])


def mean_precision(seeds: Sequence[Sequence[Curve]], scenes: Ints | None = None) -> float:
    """Mean average precision, in 0..1, over the trainings and over the classes that have a true box. NaN if no class has one.

    Args:
        seeds: the curves of all classes, for each training.
        scenes: drawn scenes, whose numbers may repeat; None for every scene once. A class without a true box in them is left out.
    """
    weights = None if scenes is None else np.bincount(scenes, minlength=len(seeds[0][0].truths))
    areas = np.array([average_precisions(found, weights) for found in seeds])
    return float("nan") if np.isnan(areas).all() else float(np.nanmean(areas))
