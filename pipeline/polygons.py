"""Cuts polygons into triangles, concave polygons too.

    triangles, polygon = triangulated(vertices, np.array([4, 3]), np.array([0, 1, 2, 3, 3, 2, 4]))
    faces = corners[triangles]                               # [F, 3], indices of vertices
    uv = uv_of_corner[triangles]                             # any other value that the file gives for each corner

`across` checks normals. `clamped` cuts triangles at the edge of a texture that does not repeat.

Letters: V vertices, P polygons, C corners of all polygons together, F triangles, p polygons that have n corners each.
"""

from collections.abc import Iterator
from typing import Any, Final

import mapbox_earcut
import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError

FLAT: Final = 1e-6
"""Sine of the angle below which a corner counts as straight: coordinates in text files have about seven digits."""

BENT: Final = 1e-3
"""A polygon counts as flat if it leaves its plane by less than this share of its size."""

CORNERS: Final = 20_000
"""Largest number of corners of a concave polygon. Ear clipping takes seconds for so many corners if the polygon crosses itself, and four
times as long for twice as many."""

ALONG: Final = 0.2
"""Smallest mean cosine between given normals and the triangles' own normals. Below it the given normals are wrong. Smoothed normals at the
corners of a cube have 0.58."""

IN_PLANE: Final = 0.05
"""Largest mean cosine between the normals of a triangle's corners and its own normal, of a triangle in whose plane they lie."""

MOST_IN_PLANE: Final = 0.25
"""Largest share of the surface in whose plane its normals lie. Such triangles are drawn as noise, because their normals point to neither
side."""


ALONG_SURFACE: Final = "normals lie along the surface; they are left out"
"""The warning about normals for which `across` is false."""


def triangulated(vertices: NDArray[Any], counts: NDArray[Any], corners: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cuts polygons into triangles.

    A triangle stays as it is. A convex polygon becomes a fan around its first corner. A concave one is cut by ear clipping in its
    own plane (that of its area vector). Triangles wind as their polygon does. Straight and repeated corners may be left out.

    Args:
        vertices: `[V, 3]` coordinates.
        counts: `[P]` number of corners of each polygon. A polygon of fewer than three corners has no surface and gives no triangle.
        corners: `[C]` index of a vertex for each corner, polygon after polygon. C is the sum of `counts`.

    Returns:
        Triangles `[F, 3]` int64 as positions in `corners`, so that they select any value given for each corner; and the polygon
        of each triangle `[F]` int64, ascending.

    Raises:
        UserError: a concave polygon has more than `CORNERS` corners.
    """
    counts, corners = np.asarray(counts, np.int64), np.asarray(corners, np.int64)
    assert counts.sum() == len(corners), (counts.sum(), len(corners))
    if len(counts) and counts.min() == counts.max() == 3:
        return np.arange(len(corners)).reshape(-1, 3), np.arange(len(counts))
    starts = np.cumsum(counts) - counts  # [P]
    triangles, polygon = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for n in np.unique(counts[counts >= 3]):
        which = np.flatnonzero(counts == n)  # [p]
        places = np.asarray(vertices, np.float64)[corners[starts[which, None] + np.arange(n)]]  # [p, n, 3]
        for cut, owner in _cut_alike(places):
            triangles.append((cut + starts[which[owner], None, None]).reshape(-1, 3))
            polygon.append(np.repeat(which[owner], cut.shape[1]))
    found, origin = np.concatenate(triangles), np.concatenate(polygon)
    order = np.argsort(origin, kind="stable")
    return found[order], origin[order]


def _cut_alike(places: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Cuts polygons `[p, n, 3]` that all have n corners.

    Yields:
        Triangles `[q, t, 3]` as positions in the polygon, and which polygons `[q]` they are of. Each polygon comes once.

    Raises:
        UserError: see `triangulated`.
    """
    n = places.shape[1]
    fan = np.stack([np.zeros(n - 2, np.int64), np.arange(1, n - 1), np.arange(2, n)], axis=1)  # [n - 2, 3]
    cut = np.broadcast_to(fan, (len(places), n - 2, 3)).copy()  # [p, n - 2, 3]
    clip = np.zeros(len(places), bool)  # which polygons ear clipping has to cut
    if n > 3:
        with np.errstate(all="ignore"):  # the caller refuses coordinates that are not finite
            places = places - places[:, :1]
            normals = np.cross(places, np.roll(places, -1, axis=1)).sum(axis=1)  # [p, 3], twice the area vector
            clip = _other_diagonal(places, normals, cut) if n == 4 else ~_convex(places, normals)
            clip &= np.isfinite(normals).all(axis=1) & (np.abs(normals).max(axis=1) > 0)
    yield cut[~clip], np.flatnonzero(~clip)
    if clip.any() and n > CORNERS:
        raise UserError(f"a face has {n:,} corners and is not convex; at most {CORNERS:,} can be cut into triangles")
    for i in np.flatnonzero(clip):
        ears = _ears(places[i], normals[i])
        yield (ears if len(ears) else fan)[None], np.array([i])


def _other_diagonal(places: NDArray[Any], normals: NDArray[Any], cut: NDArray[Any]) -> NDArray[Any]:
    """Cuts the concave quads among `places [p, 4, 3]` along their other diagonal, by changing `cut [p, 2, 3]`.

    Returns:
        `[p]` bool: quads that cross themselves. Neither diagonal cuts them into two triangles with the winding of the quad.
    """
    other = np.array([[1, 2, 3], [1, 3, 0]])
    first, second = ((_areas(places[:, way], normals) < -FLAT).any(axis=1) for way in (cut[0], other))
    cut[first & ~second] = other
    return np.logical_and(first, second)


def _areas(triangles: NDArray[Any], normals: NDArray[Any]) -> NDArray[Any]:
    """Signed areas `[p, t]` of triangles `[p, t, 3, 3]`, as fractions of the area of their polygon, whose normal is in `normals [p, 3]`."""
    sides = triangles[:, :, 1:] - triangles[:, :, :1]
    areas = np.einsum("ptd,pd->pt", np.cross(sides[:, :, 0], sides[:, :, 1]), normals)
    shares: NDArray[Any] = areas / np.einsum("pd,pd->p", normals, normals)[:, None]
    return shares


def _convex(places: NDArray[Any], normals: NDArray[Any]) -> NDArray[Any]:
    """`[p]` bool: whether a polygon `[p, n, 3]` turns left at every corner and goes around exactly once."""
    ahead = np.roll(places, -1, axis=1) - places  # [p, n, 3]
    behind = np.roll(ahead, 1, axis=1)
    length = np.linalg.norm(ahead, axis=2) * np.linalg.norm(behind, axis=2)  # [p, n]
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    turns = np.einsum("pnd,pd->pn", np.cross(behind, ahead), normals)
    around = np.arctan2(turns, np.einsum("pnd,pnd->pn", behind, ahead)).sum(axis=1)
    # A repeated corner hides its turn, and a star turns left everywhere but goes around twice: both show in the sum.
    convex: NDArray[Any] = np.logical_and(np.abs(around - 2 * np.pi) < 0.1, (turns >= -FLAT * length).all(axis=1))
    return convex


def _ears(places: NDArray[Any], normal: NDArray[Any]) -> NDArray[Any]:
    """Triangles `[t, 3]` of one polygon `[n, 3]` by ear clipping; empty `[0, 3]` where they would not cover the whole polygon."""
    if len(places) > 100 and len(np.unique(places, axis=0)) < len(places) / 2:
        # The polygon visits the same places again and again. No surface does that, and the library would not finish. A polygon whose
        # holes are joined to its rim repeats only two corners for each hole.
        return np.zeros((0, 3), np.int64)
    whole, normal = normal, normal / np.linalg.norm(normal)
    height = np.abs((places - places.mean(axis=0)) @ normal).max() / np.abs(places).max()
    if height > FLAT:  # seen along its area vector
        first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
        flat = places @ np.stack([first / np.linalg.norm(first), np.cross(normal, first) / np.linalg.norm(first)], axis=1)
    else:
        flat = projected(places, normal)
    corners = mapbox_earcut.triangulate_float64(np.ascontiguousarray(flat), np.array([len(flat)], np.uint32))
    ears = corners.astype(np.int64).reshape(-1, 3)
    # The library drops corners that look straight or cross other sides. In a flat polygon these have no area. In a bent polygon they may
    # have some, and then the area vectors of the triangles do not add up to the area vector of the polygon.
    sides = places[ears[:, 1:]] - places[ears[:, :1]]
    lost = np.linalg.norm(whole - np.cross(sides[:, 0], sides[:, 1]).sum(axis=0)) > BENT * np.linalg.norm(whole)
    return ears[:0] if height > BENT and lost else ears


def projected(places: NDArray[Any], normal: NDArray[Any]) -> NDArray[Any]:
    """Points `[n, 3]` of a flat polygon as `[n, 2]`, without the axis that is nearest to the normal `[3]`. They wind counterclockwise.

    Leaving out a coordinate keeps straight corners straight to the last bit; turning the polygon would not.
    """
    axis = int(np.abs(normal).argmax())
    flat: NDArray[Any] = places[:, [(axis + 1) % 3, (axis + 2) % 3]]
    return flat[:, ::-1] if normal[axis] < 0 else flat


def across(normals: NDArray[Any], corners: NDArray[Any]) -> bool:
    """Whether normals stand across their triangles. If not, they lie along the surface and are wrong.

    Some programs write the same normal everywhere, or the normals of another mesh. A surface that is shaded with them looks like noise.

    Args:
        normals: `[F, 3, 3]` a normal of any length for each corner of each triangle.
        corners: `[F, 3, 3]` coordinates. A few thousand triangles are enough.
    """
    with np.errstate(all="ignore"):  # later steps refuse coordinates and drop normals that are not finite
        areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        units = normals / np.linalg.norm(normals, axis=2, keepdims=True)
        agreement = np.abs(np.einsum("fcd,fd->fc", units, areas)).mean(axis=1)
        good = np.isfinite(agreement)
        agreement, size = agreement[good], np.linalg.norm(areas[good], axis=1)
        in_plane = size[agreement < IN_PLANE * size].sum() > MOST_IN_PLANE * size.sum()
        return not (in_plane or agreement.sum() < ALONG * size.sum())


def clamped(
    uv: NDArray[Any], faces: NDArray[Any], size: tuple[int, int], values: dict[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any], dict[str, NDArray[Any]], NDArray[Any]]:
    """Changes the UV coordinates of a clamped texture so that a repeating texture looks the same.

    Beyond its edge a clamped texture has the colour of its outermost pixels. Triangles are cut along the middle of these pixels, so that
    each piece lies on one side of it. Then UV coordinates beyond the edge are moved to the edge.

    Args:
        uv: `[V, 2]` finite texture coordinates.
        faces: `[F, 3]` indices of vertices.
        size: Width and height of the texture in pixels.
        values: Any other values `[V, ..]` of the vertices.

    Returns:
        UV coordinates, faces and values with more vertices (the first V are the old ones) and more triangles, and the row of `faces` that
        each triangle is a piece of. `values` are float64.
    """
    values = {"uv": np.asarray(uv, np.float64)} | {name: np.asarray(array, np.float64) for name, array in values.items()}
    edges = [(0.5 / pixels, 1 - 0.5 / pixels) for pixels in size]
    origin = np.arange(len(faces))
    for axis in (0, 1):
        for edge in edges[axis]:
            faces, values, whose = _cut(faces, values, values["uv"][:, axis], edge)
            origin = origin[whose]
    low, high = np.transpose(edges)
    return np.clip(values.pop("uv"), low, high), faces, values, origin


def _cut(
    faces: NDArray[Any], values: dict[str, NDArray[Any]], height: NDArray[Any], edge: float
) -> tuple[NDArray[Any], dict[str, NDArray[Any]], NDArray[Any]]:
    """Cuts the triangles that lie on both sides of `height [V] == edge` into three each. Also returns which triangle each is a piece of."""
    over = (height > edge)[faces]  # [F, 3]
    mixed = over.any(axis=1) & ~over.all(axis=1)
    if not mixed.any():
        return faces, values, np.arange(len(faces))
    over, split = over[mixed], faces[mixed]
    alone = (over == (over.sum(axis=1) == 1)[:, None]).argmax(axis=1)  # the corner that is alone on its side
    a, b, c = (split[np.arange(len(split)), (alone + i) % 3] for i in range(3))
    # Each side is walked from its lower vertex, so that both triangles of a side cut it in the same place.
    first, second = np.minimum([a, a], [b, c]).ravel(), np.maximum([a, a], [b, c]).ravel()
    share = (edge - height[first]) / (height[second] - height[first])
    count = len(height)
    p, q = count + np.arange(2 * len(split)).reshape(2, -1)
    pieces = np.stack([a, p, q, p, b, c, p, c, q], axis=1).reshape(-1, 3)
    grown = {}
    for name, array in values.items():
        weight = share.reshape(-1, *[1] * (array.ndim - 1))
        grown[name] = np.concatenate([array, array[first] * (1 - weight) + array[second] * weight])
    whose = np.concatenate([np.flatnonzero(~mixed), np.repeat(np.flatnonzero(mixed), 3)])
    return np.concatenate([faces[~mixed], pieces]), grown, whose
