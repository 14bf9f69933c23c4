"""Boxes: geometry by laws and by chance, overlap against Monte Carlo, average precision by hand and against a short second version."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.tasks import boxes
from trainer.tasks.accuracy import bootstrap
from trainer.tasks.boxes import Detections

FINITE = {"allow_nan": False, "allow_infinity": False}
box = st.tuples(*[st.floats(-2, 2, **FINITE)] * 3, *[st.floats(0.05, 3, **FINITE)] * 3, st.floats(-7, 7, **FINITE))
some = st.lists(box, min_size=1, max_size=4).map(np.array)


def along(box, x):
    """A box, or several, moved along +X."""
    return box + np.eye(7)[0] * x


def drawn(rng, count, turned=True):
    return np.concatenate([rng.uniform(-1, 1, (count, 3)), rng.uniform(0.3, 2, (count, 3)), rng.uniform(-4, 4, (count, 1)) * turned], 1)


# ------------------------------------------------------------------------------------------------------------ geometry


def test_corners_are_where_the_turn_of_the_format_puts_them():
    found = boxes.corners(np.array([1.0, 2, 3, 2, 4, 6, np.pi / 2]))
    # A quarter turn counter-clockwise seen from above takes +X to -Z and +Z to +X.
    assert found[1] == pytest.approx([1 - 3, 2 - 2, 3 - 1]) and found[6] == pytest.approx([1 + 3, 2 + 2, 3 - 1])
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    vector = np.array([0.3, -2, 0.7])
    assert boxes.turned(vector, np.array(0.3)) == pytest.approx(turn @ vector)


def test_points_inside_and_the_envelope():
    quarter = np.array([[0, 0, 0, 4, 2, 1, np.pi / 2]])
    points = np.array([[0, 0, 1.9], [1.9, 0, 0], [0, 1, 0], [0, 1.01, 0]])
    assert boxes.inside(points, quarter).tolist() == [[True, False, True, False]]
    assert boxes.envelopes(quarter)[0] == pytest.approx([0, 0, 0, 1, 2, 4, 0])
    assert boxes.envelopes(np.array([0, 0, 0, 1, 1, 1, np.pi / 4]))[3:6] == pytest.approx([2**0.5, 1, 2**0.5])


@settings(max_examples=60, deadline=None)
@given(some, some, st.floats(-7, 7, **FINITE), st.tuples(*[st.floats(-3, 3, **FINITE)] * 3))
def test_laws_of_overlap(a, b, angle, shift):
    overlap = boxes.iou(a, b)
    assert overlap == pytest.approx(boxes.iou(b, a).T, abs=1e-6)
    assert np.diagonal(boxes.iou(a, a)) == pytest.approx(1, abs=1e-5)

    def moved(some):
        return np.concatenate([boxes.turned(some[:, :3], np.array(angle)) + shift, some[:, 3:6], some[:, 6:] + angle], 1)

    assert boxes.iou(moved(a), moved(b)) == pytest.approx(overlap, abs=1e-6)
    turn = np.eye(7)[6] * np.pi
    half, quarter = b + turn, b[:, [0, 1, 2, 5, 4, 3, 6]] + turn / 2
    assert boxes.iou(a, half) == pytest.approx(overlap, abs=1e-6) and boxes.iou(a, quarter) == pytest.approx(overlap, abs=1e-6)
    apart = np.linalg.norm(a[:, None, :3] - b[:, :3], axis=-1) > (np.linalg.norm(a[:, None, 3:6], axis=-1) + 6) / 2
    assert (overlap[apart] == 0).all()


def test_overlap_is_that_of_random_points():
    rng = np.random.default_rng(0)
    a, b = drawn(rng, 12), drawn(rng, 12)
    points = rng.uniform(-3, 3, (400_000, 3))
    for one, other in zip(a, b, strict=True):
        in_one, in_other = boxes.inside(points, np.array([one, other]))
        expected = (in_one & in_other).sum() / (in_one | in_other).sum()
        assert boxes.iou(one[None], other[None])[0, 0] == pytest.approx(expected, abs=0.015)


def test_overlap_by_hand():
    cube = np.array([[0, 0, 0, 1, 1, 1, 0.0]])
    assert boxes.iou(cube, along(cube, 0.5))[0, 0] == pytest.approx(1 / 3)
    assert boxes.iou(cube, np.array([[0, 0, 0, 1, 1, 1, np.pi / 4]]))[0, 0] == pytest.approx(2**0.5 / 2)  # an octagon
    assert boxes.iou(cube, along(cube, 1))[0, 0] == 0 and boxes.iou(cube[:, :] * 0, cube * 0)[0, 0] == 0
    assert boxes.iou(np.zeros((0, 7)), cube).shape == (0, 1) and boxes.iou(cube, np.zeros((0, 7))).shape == (1, 0)


# ------------------------------------------------------------------------------------------------- from boxes to detections


def test_suppression_keeps_the_best_of_each_class():
    cube = np.array([0, 0, 0, 1, 1, 1, 0.0])
    shifted = [along(cube, x) for x in (0, 0.1, 0.55, 5)]  # overlaps with the first: 1, .82, .29, 0
    kept = boxes.suppressed(np.array(shifted), np.array([0.5, 0.9, 0.4, 0.1]), np.array([0, 0, 0, 0]))
    assert kept.tolist() == [1, 3], "0.55 overlaps with 0.1 by .38"
    assert boxes.suppressed(np.array(shifted), np.array([0.5, 0.9, 0.4, 0.1]), np.array([0, 1, 0, 0])).tolist() == [1, 0, 3]
    assert boxes.suppressed(np.array(shifted), np.array([0.5, 0.5, 0.4, 0.1]), np.array([0, 0, 0, 0]), overlap=1).tolist() == [0, 1, 2, 3]


def test_empty_boxes_and_those_of_low_confidence_are_removed():
    found = np.array([[0, 0, 0, 1, 1, 1, 0], [5, 0, 0, 1, 1, 1, 0], [9, 0, 0, 1, 1, 1, 0.0]])
    points = np.concatenate([np.full((5, 3), 0.1), np.full((4, 3), [5, 0, 0]), np.full((5, 3), [9, 0, 0])])
    sure = np.array([[0.6, 0.2, 0.2], [0.5, 0.4, 0.1], [0.02, 0.02, 0.96]])
    one = boxes.detections(found, sure, points)
    assert np.array_equal(one.boxes, found[:1]) and one.scores[0] == pytest.approx([0.6 * 0.8, 0.2 * 0.8])
    assert np.array_equal(boxes.detections(found, sure, points[:0]).boxes, found[1:2]), "the surest where all are empty"
    assert len(boxes.detections(found, sure, points, least=0).boxes) == 2


# ------------------------------------------------------------------------------------------------------ average precision


def areas(scenes, threshold=0.25, classes=1):
    """Average precision of scenes given as (found boxes, scores [Q, K], true boxes, kinds)."""
    outcomes = [
        boxes.outcome(
            Detections(boxes=np.reshape(found, (-1, 7)), scores=np.reshape(scores, (-1, classes))),
            np.reshape(true, (-1, 7)),
            np.array(kinds, np.int64),
        )
        for found, scores, true, kinds in scenes
    ]
    return boxes.average_precisions(boxes.curves(outcomes, threshold, classes))


def test_average_precision_by_hand():
    cube, far = np.array([0, 0, 0, 1, 1, 1, 0.0]), np.array([9, 0, 0, 1, 1, 1, 0.0])
    half = along(cube, 0.5)  # overlap 1/3
    assert areas([([cube, far], [0.9, 0.8], [cube, far], [0, 0])]) == [1]
    assert areas([([half], [0.9], [cube], [0])]) == [1] and areas([([half], [0.9], [cube], [0])], 0.5) == [0]
    # Two boxes on one object: the second is a miss. Precision 1, 1/2; recall 1, 1.
    assert areas([([cube, half], [0.9, 0.8], [cube], [0])]) == [1]
    # The same the other way round: the worse box is surer, hits first, and the better one is the miss.
    assert areas([([cube, half], [0.8, 0.9], [cube], [0])]) == [1]
    assert areas([([cube, half], [0.8, 0.9], [cube], [0])], 0.5) == [0.5], "a miss, then a hit"
    # Hit, miss, hit of two: 1/2 * 1 + 1/2 * 2/3.
    assert areas([([cube, half, far], [0.9, 0.8, 0.7], [cube, far], [0, 0])]) == pytest.approx([1 / 2 + 1 / 3])
    # One of two is found: half.
    assert areas([([cube], [0.9], [cube, far], [0, 0])]) == [0.5]
    # A class without a true box has no average precision; one that nothing was found of has 0.
    none = areas([([cube], [[0.9, 0.1]], [cube], [0])], classes=2)
    assert none[0] == 1 and np.isnan(none[1])
    assert areas([([], [], [cube], [0])]) == [0] and np.isnan(areas([([], [], [], [])])).all()
    # Scenes are pooled: a sure miss in a scene without a true box comes before the hit.
    assert areas([([cube], [0.5], [cube], [0]), ([cube], [0.9], [], [])]) == [0.5]


def slow_ap(scenes, threshold):
    """Average precision of one class, as the definition says it, step by step."""
    entries = sorted(
        ((s, i, b) for i, (found, scores, *_) in enumerate(scenes) for s, b in zip(scores, found, strict=True)), key=lambda e: -e[0]
    )
    taken, marks = set(), []
    for _, scene, one in entries:
        true = scenes[scene][2]
        overlaps = [boxes.iou(one[None], other[None])[0, 0] for other in true]
        j = int(np.argmax(overlaps)) if len(true) else -1
        good = j >= 0 and overlaps[j] > threshold and (scene, j) not in taken
        taken |= {(scene, j)} if good else set()
        marks.append(good)
    total, area, before = sum(len(s[2]) for s in scenes), 0.0, 0.0
    points = [(sum(marks[: i + 1]) / total, sum(marks[: i + 1]) / (i + 1)) for i in range(len(marks))]
    for recall in sorted({r for r, _ in points}):
        area += (recall - before) * max((p for r, p in points if r >= recall), default=0)
        before = recall
    return area


@pytest.mark.parametrize("threshold", [0.25, 0.5])
def test_average_precision_is_that_of_a_slow_version(threshold):
    rng = np.random.default_rng(3)
    for _ in range(6):
        scenes = []
        for _ in range(4):
            true = drawn(rng, rng.integers(1, 5))
            near = np.repeat(true, 2, 0) + rng.normal(0, 0.12, (2 * len(true), 7))
            found = np.concatenate([near, drawn(rng, 3)])
            scenes.append((found, rng.random(len(found)), true, [0] * len(true)))
        expected = slow_ap(scenes, threshold)
        assert 0 < expected < 1 and areas(scenes, threshold) == pytest.approx([expected])


def test_the_interval_holds_the_mean_and_weights_count_scenes_twice():
    rng = np.random.default_rng(0)
    outcomes = []
    for _ in range(30):
        true = drawn(rng, 2)
        found = Detections(boxes=np.concatenate([true + rng.normal(0, 0.1, (2, 7)), drawn(rng, 2)]), scores=rng.random((4, 1)))
        outcomes.append(boxes.outcome(found, true, np.zeros(2, np.int64)))
    found = boxes.curves(outcomes, 0.25, 1)
    low, high = bootstrap(lambda chosen: boxes.mean_precision([found], chosen), 30)
    assert 0 < low < boxes.average_precisions(found)[0] < high < 1 and high - low > 0.05
    none = boxes.curves([dataclasses.replace(one, overlaps=one.overlaps * 0) for one in outcomes], 0.25, 1)
    assert bootstrap(lambda chosen: boxes.mean_precision([none], chosen), 30) == (0, 0)
    weights = rng.integers(0, 3, 30)
    repeated = boxes.curves([o for o, w in zip(outcomes, weights, strict=True) for _ in range(w)], 0.25, 1)
    assert boxes.average_precisions(found, weights) == pytest.approx(boxes.average_precisions(repeated), abs=1e-3)
    assert 0 < found[0].recall <= 1
