"""A few far points, and many in one place, are found, and ordinary shapes have neither."""

import numpy as np
import pytest

from cache_schema.crowds import CROWDED, FAR, LOOKED_AT, OUTLYING, OUTLYING_SAID, outlying, outlying_each, said_of, together

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


def plainly(xyz: np.ndarray) -> bool:
    """`outlying` of one cloud with a sort for each."""
    if np.mean(np.linalg.norm(xyz, axis=1) > FAR) < OUTLYING:
        return True
    some = xyz[:: -(-len(xyz) // LOOKED_AT)]
    most, middle = 3 * (len(some) - 1) // 4, (len(some) - 1) // 2
    out = np.linalg.norm(some - np.partition(some, middle, axis=0)[middle], axis=1)
    return bool(np.partition(out, most)[most] < CROWDED)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, 3, 50, 1024, LOOKED_AT + 1])
def test_clouds_of_a_batch_are_told_as_one_by_one(count, kind):
    """Specks of all sizes near the limit, anywhere in the ball, with more or fewer others; and ordinary shapes."""
    rng, clouds = np.random.default_rng(count), []
    for speck in (0.0, 0.03, 0.0499, 0.0501, 0.06, 0.3, 1.0):
        for share in (0.5, 0.74, 0.76, 0.995):
            ways = rng.normal(size=(count, 3))
            near = ways / np.linalg.norm(ways, axis=1, keepdims=True) * speck + rng.uniform(-0.5, 0.5, 3)
            clouds.append(np.where(rng.random((count, 1)) < share, near, rng.uniform(-0.57, 0.57, (count, 3))))
    batch = np.stack(clouds).astype(kind)
    told = outlying_each(batch).tolist()
    assert told == [plainly(one) for one in batch] == [outlying(one) for one in batch]
    assert count < 50 or 0 < sum(told) < len(told)


def test_no_points_and_points_that_are_no_numbers_set_no_scale():
    assert not outlying(np.zeros((0, 3))) and outlying_each(np.zeros((0, 5, 3))).tolist() == []
    shape = np.stack([SHAPES["box"], SHAPES["box"]]) * 0.5
    shape[1, :3] = np.nan
    assert outlying_each(shape).tolist() == [False, False]
