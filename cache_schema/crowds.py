"""A few points that spoil the others of a shape: some that lie far out and set the scale, and many that lie in one place.

    said = said_of(given, placed)      # the remarks about a cloud, as it was given and as it is placed and scaled

Builds write these remarks beside the shape, and the trainer says them of clouds in memory and of stored shapes.

Letters: n points.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FAR: Final = 0.5
"""Share of the radius beyond which a point lies far out."""
OUTLYING: Final = 0.01
"""Share of far points, below which a few points set the scale."""
CROWDED: Final = 0.05
"""Share of the radius within which three quarters of the points lie if the others set the scale, though they are many."""
SPECK: Final = 0.01
"""Share of the radius within which three quarters of the vertices of a mesh lie if a far or large surface sets the scale."""
TOGETHER: Final = 0.03
"""Share of the points in one place, above which they are no points of a surface."""
FEWEST: Final = 10
"""Least number of points in one place that is spoken of."""
LOOKED_AT: Final = 10_000
"""Most points that tell where a crowd lies, and which place holds many."""

OUTLYING_SAID: Final = "a few points lie far from all others and set the scale; leave them out if they are noise"

SPECK_SAID: Final = (
    "three quarters of its vertices lie in 1/100 of its size: a far or large surface sets the scale; take it out if unwanted"
)


def speck(vertices: NDArray[Any]) -> bool:
    """Whether most of a mesh is a speck, because a far or large surface sets the scale: a stray vertex, a ground plane, a sky.

    Args:
        vertices: its vertices, scaled so that the farthest has distance 1 from the origin. [n, 3]
    """
    some = vertices[:: -(-len(vertices) // LOOKED_AT)]
    if len(some) < 2:
        return False
    out = np.linalg.norm(some - np.median(some, axis=0), axis=1)
    most = 3 * (len(some) - 1) // 4
    return bool(np.partition(out, most)[most] < SPECK)


def outlying(xyz: NDArray[Any]) -> bool:
    """Whether a few points set the scale of a shape.

    Args:
        xyz: points of the shape, not necessarily all. The mean of all is the origin, and the farthest of all has distance 1. [n, 3]
    """
    return bool(outlying_each(xyz[None])[0])


def outlying_each(clouds: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a few points set the scale, for shapes with as many points each. See `outlying`. [b, n, 3] -> [b]"""
    if not clouds.size:
        return np.zeros(len(clouds), bool)
    x, y, z = clouds[..., 0], clouds[..., 1], clouds[..., 2]  # [b, n] each
    found: NDArray[np.bool_] = np.mean(np.sqrt(x * x + y * y + z * z) > FAR, axis=1) < OUTLYING
    some = clouds[:, :: -(-clouds.shape[1] // LOOKED_AT)]
    count = some.shape[1]
    most, middle = 3 * (count - 1) // 4, (count - 1) // 2
    # Most shapes are told by one axis after the other, without sorting: `most` points that are near one place are in two bins of each.
    left = np.flatnonzero(~found)
    for axis in range(3):
        left = left[_narrow(some[left, :, axis], most + 1)]
    for i in left:
        out = np.linalg.norm(some[i] - np.partition(some[i], middle, axis=0)[middle], axis=1)
        found[i] = np.partition(out, most)[most] < CROWDED
    return found


def _narrow(values: NDArray[Any], least: int) -> NDArray[np.bool_]:
    """Whether so many values of a row can lie within `CROWDED` of one value. It is never False where they do. [b, n] -> [b]"""
    bins = int(1 / CROWDED) - 1  # each is a little wider than twice `CROWDED`
    if not len(values):
        return np.zeros(0, bool)
    with np.errstate(invalid="ignore"):  # what is no number is in the first bin
        place = np.clip(((values + 1) * (bins / 2)).astype(np.intp), 0, bins - 1)  # [b, n]
    place += np.arange(len(values))[:, None] * (bins + 1)
    counts = np.bincount(place.reshape(-1), minlength=len(values) * (bins + 1)).reshape(len(values), bins + 1)
    enough: NDArray[np.bool_] = (counts[:, :-1] + counts[:, 1:]).max(axis=1) >= least
    return enough


def together(xyz: NDArray[Any]) -> NDArray[np.bool_]:
    """Which points lie in the one place that holds the most of them; none if it holds no large share. [n, 3] -> [n]"""
    nowhere = np.zeros(len(xyz), bool)
    if len(xyz) < FEWEST:
        return nowhere
    chosen = np.random.default_rng(0).integers(0, len(xyz), LOOKED_AT) if len(xyz) > LOOKED_AT else slice(None)
    some = np.ascontiguousarray(xyz[chosen] + 0.0)  # -0 and 0 are one place
    _, first, counts = np.unique(some.view(f"V{some.itemsize * 3}").reshape(-1), return_index=True, return_counts=True)
    here: NDArray[np.bool_] = np.all(xyz == some[first[counts.argmax()]], axis=1)
    return here if np.count_nonzero(here) >= max(FEWEST, TOGETHER * len(xyz)) else nowhere


def said_of(given: NDArray[Any], placed: NDArray[Any] | None) -> list[str]:
    """The remarks about a cloud.

    Args:
        given: its points as they were given. [n, 3]
        placed: the same points with their mean at the origin and the farthest at distance 1; None if nothing sets a scale. [n, 3]
    """
    here = together(given)
    count = int(np.count_nonzero(here))
    said = [f"{count:,} of {len(given):,} points lie in one place, as padding and a scanner's points without a return do"] if count else []
    # The place of many points may itself be what lies far out, or what seems to be a crowd.
    return [*([OUTLYING_SAID] if placed is not None and outlying(placed[~here] if count else placed) else []), *said]
