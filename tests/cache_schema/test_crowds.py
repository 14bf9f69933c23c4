"""A few far points, and many in one place, are found, and ordinary shapes have neither."""

import numpy as np
import pytest

from cache_schema.crowds import OUTLYING_SAID, outlying, said_of, together

RNG = np.random.default_rng(0)
WAYS = RNG.normal(size=(2000, 3))
SHAPES = {
    "sphere": WAYS / np.linalg.norm(WAYS, axis=1, keepdims=True),
    "box": RNG.uniform(-1, 1, (2000, 3)),
    "rod": RNG.uniform(-1, 1, (2000, 3)) * (1, 0.01, 0.01),
    "plate": RNG.uniform(-1, 1, (2000, 3)) * (1, 1, 0),
    "dumbbell": RNG.normal(size=(2000, 3)) * 0.05 + np.where(np.arange(2000)[:, None] % 2, 1, -1) * (1.0, 0, 0),
    "lamp": np.concatenate([RNG.normal(size=(1500, 3)) * 0.3, RNG.uniform(0, 1, (500, 1)) * (0, 4.0, 0)]),
}


def placed(xyz: np.ndarray) -> np.ndarray:
    """A cloud with its mean at the origin and the farthest point at distance 1."""
    out = xyz - xyz.mean(axis=0)
    return out / np.linalg.norm(out, axis=1).max()


def said(xyz: np.ndarray) -> str:
    return "; ".join(said_of(xyz.astype(np.float32), placed(xyz)))


@pytest.mark.parametrize("name", SHAPES)
def test_of_an_ordinary_shape_nothing_is_said_until_a_few_points_are_moved(name):
    xyz = SHAPES[name].copy()
    assert said(xyz) == ""
    xyz[:2] = [[300, 0, 0], [0, 300, 0]]
    assert said(xyz) == OUTLYING_SAID
    xyz[::20, 2] = -999  # one in twenty: more than a few, but all others are a speck
    assert said(xyz) == OUTLYING_SAID


@pytest.mark.parametrize("name", SHAPES)
def test_many_points_in_one_place_are_said_with_their_number(name):
    xyz = SHAPES[name].copy()
    xyz[::25] = 0
    assert said(xyz) == "80 of 2,000 points lie in one place, as padding and a scanner's points without a return do"
    xyz[::25] = -9999
    assert said(xyz).startswith(OUTLYING_SAID + "; 80 of 2,000 points lie in one place")
    xyz = SHAPES[name] + (3.0, 3, 3)
    xyz[RNG.permutation(2000)[:1800]] = 0  # few points left are no few far ones
    assert said(xyz).startswith("1,800 of 2,000 points lie in one place")


def test_a_few_repeats_are_no_crowd_and_a_long_cloud_is_counted_exactly():
    assert not together(np.repeat(SHAPES["box"], 5, axis=0)).any()
    assert not together(np.zeros((5, 3))).any() and not together(np.zeros((0, 3))).any()
    long = RNG.normal(size=(50_000, 3))
    long[7::10] = (-0.0, 0, 0)
    long[17::20, 0] = 0.0  # -0 and 0 are one place
    assert together(long).sum() == 5000 and together(long)[7::10].all()
    assert not outlying(np.zeros((0, 3)))
