"""Patch features on points: a teacher's patch features of the stored views, carried to groups of points.

    share, views = weights(xyz, pose, depth, 40.0, teacher.patch_grid(224), spec)    # how much each patch counts for each group
    features = share @ patches                                                       # [R, G, E]

A point is projected into every view by the view's pose. It is seen in a view if it lies in the part of the picture that the teacher sees
and no surface is in front of it, by the stored depth. Its feature in a view is interpolated bilinearly between the four nearest patches.
Features are averaged over the views that see a point, then over the points of a group that any view sees.

Letters: V views, H x W pixels, R blocks that have features, P points of a block, n points of all these blocks, G groups of a block,
K points of a group, h patches a side, E width of a patch feature.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.spec import DenseSpec

if TYPE_CHECKING:
    from pipeline.teachers.patches import Grid  # it imports torch, which shape processes do without

Floats = NDArray[np.float64]

ROUNDING: Final = 2.0**-10
"""Relative tolerance of a comparison with stored depth. A float16 number is exact to 2^-11 of itself. Both numbers are rounded: the depth,
and the coordinates of the point."""
STEEPEST: Final = 4.0
"""Steepest slope of a surface that is believed, in lengths of depth per length across the picture. It is that of a surface seen at an angle
of 76 degrees to its normal. A larger difference between neighbouring pixels is the edge of a surface."""
PLACE: Final = 0.25
"""How far from the middle of its pixel a stored depth may have been taken, in pixels along each axis. Depth is drawn at twice the size, and
one of four pixels is kept, as the driver chooses."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Where points appear in the views, and in which they are seen. [V, n] each"""

    column: Floats
    """Position in pixels from the left edge; the middle of the first pixel is 0.5."""
    row: Floats
    """Position in pixels from the upper edge."""
    clear: NDArray[np.bool_]
    """Whether the point lies in the picture and no surface hides it."""


def sight(points: NDArray[np.floating], pose: NDArray[np.float32], depth: NDArray[np.floating], fov: float) -> Sight:
    """Project points into views and test them against the views' depth.

    Args:
        points: coordinates as stored. [n, 3]
        pose: camera-to-world matrices. [V, 4, 4]
        depth: distance along the optical axis, 0 where nothing is. [V, H, W] with H = W
        fov: field of view in degrees, vertical and horizontal.
    """
    size = depth.shape[-1]
    world = np.concatenate([points.astype(np.float64), np.ones((len(points), 1))], axis=1)  # [n, 4]
    camera = np.einsum("vij,nj->vni", np.linalg.inv(pose.astype(np.float64)), world)  # [V, n, 4]
    away = -camera[..., 2]  # [V, n] distance along the optical axis
    front = away > 0
    reach = np.where(front, away, 1.0) * math.tan(math.radians(fov) / 2)  # half the width of what is seen at that distance
    column, row = size / 2 * (1 + camera[..., 0] / reach), size / 2 * (1 - camera[..., 1] / reach)
    inside = front & (column >= 0) & (column < size) & (row >= 0) & (row < size)
    surface, slope = _surface(depth.astype(np.float64), column, row, 2 * reach / size)
    rounding = ROUNDING * (away + float(np.abs(points).max(initial=0.0)))
    return Sight(column=column, row=row, clear=inside & (away <= surface + PLACE * slope + rounding))


def _surface(depth: Floats, column: Floats, row: Floats, pixel: Floats) -> tuple[Floats, Floats]:
    """The depth of the visible surface at positions in the views, and how fast it changes there.

    The depth of the nearest pixel is carried on by the slope of the surface, which is that to the neighbour with the smaller difference.
    So the slope at an edge is that of the surface, and not the step to what lies behind.

    Args:
        depth: stored depth. [V, H, W]
        column, row: positions. [V, n] each
        pixel: width of a pixel at each point's distance. [V, n]

    Returns:
        Depth, infinite where nothing was drawn; and the change per pixel, summed over both axes. [V, n] each
    """
    size = depth.shape[-1]
    drawn = np.where(depth > 0, depth, np.nan)
    view = np.arange(len(depth))[:, None]
    i, j = (np.clip(np.floor(place).astype(np.int64), 0, size - 1) for place in (row, column))
    here = drawn[view, i, j]
    found, slopes = here.copy(), np.zeros_like(here)
    for axis, place in ((0, row - (i + 0.5)), (1, column - (j + 0.5))):
        step = np.array([1, 0]) if axis == 0 else np.array([0, 1])
        ahead, behind = (
            _at(drawn, view, i + sign * step[0], j + sign * step[1]) * sign - here * sign for sign in (1, -1)
        )  # [V, n] change of depth per pixel to either side; NaN where nothing is
        nearer = np.where(np.abs(np.nan_to_num(ahead, nan=np.inf)) <= np.abs(np.nan_to_num(behind, nan=np.inf)), ahead, behind)
        slope = np.clip(np.nan_to_num(nearer), -STEEPEST * pixel, STEEPEST * pixel)
        found += slope * np.clip(place, -0.5, 0.5)
        slopes += np.abs(slope)
    return np.where(np.isnan(here), np.inf, found), slopes


def _at(drawn: Floats, view: NDArray[np.int64], i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
    """Depth at pixels [V, n]; NaN outside of the picture."""
    size = drawn.shape[-1]
    inside = (i >= 0) & (i < size) & (j >= 0) & (j < size)
    return np.where(inside, drawn[view, np.clip(i, 0, size - 1), np.clip(j, 0, size - 1)], np.nan)


def members(xyz: NDArray[np.floating], groups: int, group_size: int) -> NDArray[np.int64]:
    """Points of each group of a block: those nearest to its centre, and of equally near ones those that come first. [G, K]

    The first G points [P, 3] of the block are the centres. The distances are the same numbers as in the encoders (`trainer.ops.nearest`),
    so the groups are theirs.
    """
    at = xyz.astype(np.float32)
    dx, dy, dz = (at[:groups, None, axis] - at[None, :, axis] for axis in range(3))
    return np.argsort(dx * dx + dy * dy + dz * dz, axis=1, kind="stable")[:, :group_size]


def carried(seen: Sight, groups: NDArray[np.int64], grid: "Grid") -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Compute how much each patch counts for the feature of each group.

    Args:
        seen: where the n points appear.
        groups: indices into the n points. [G, K]
        grid: the patches of the teacher.

    Returns:
        Weights [G, V * h * h], which sum to 1 for a group that a view sees and are 0 for others; and the number of views that see a point
        of each group, 255 for more. [G]
    """
    clear = seen.clear & grid.covers(seen.column) & grid.covers(seen.row)  # [V, n]
    views, h = len(clear), grid.count
    x, y = grid.place(seen.column), grid.place(seen.row)  # [V, n]
    left, top = (np.minimum(np.floor(place).astype(np.int64), max(h - 2, 0)) for place in (x, y))
    right, low = np.minimum(left + 1, h - 1), np.minimum(top + 1, h - 1)
    across, down = x - left, y - top
    # A point counts 1 / (views that see it), and in its group 1 / (points of the group that are seen).
    times = clear.sum(0)  # [n]
    any_view = times > 0
    count = any_view[groups].sum(1)  # [G]
    weights = np.zeros((len(groups), views * h * h))
    group = np.arange(len(groups))[:, None, None]
    view = np.arange(views)[:, None] * (h * h)
    share = (clear / np.maximum(times, 1))[:, groups].transpose(1, 0, 2) / np.maximum(count, 1)[:, None, None]  # [G, V, K]
    for i, of_row in ((top, 1 - down), (low, down)):
        for j, of_column in ((left, 1 - across), (right, across)):
            cell, part = view + i * h + j, of_row * of_column  # [V, n]
            np.add.at(weights, (group, cell[:, groups].transpose(1, 0, 2)), share * part[:, groups].transpose(1, 0, 2))
    number = np.minimum(clear[:, groups].any(2).sum(0), 255)
    return weights.astype(np.float32), number.astype(np.uint8)


def weights(
    xyz: NDArray[np.floating], pose: NDArray[np.float32], depth: NDArray[np.float16], fov: float, grid: "Grid", spec: DenseSpec
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Compute how much each patch of the views counts for each group of a shape.

    Args:
        xyz: the shape's blocks as stored; the first `spec.blocks` are used. [R, P, 3]
        pose, depth, fov: the views. See `sight`.
        grid: the patches of the teacher.
        spec: groups and their size.

    Returns:
        Weights [R, G, V * h * h] and the number of views that see each group [R, G].
    """
    found = [carried(sight(block, pose, depth, fov), members(block, spec.groups, spec.group_size), grid) for block in xyz[: spec.blocks]]
    return np.stack([part for part, _ in found]), np.stack([number for _, number in found])
