"""Normals that make curved surfaces look smooth and leave edges sharp, for meshes whose files have no normals.

    rows, faces, normals = smooth(vertices, faces, shared=True)

Letters: n vertices, m vertices with normals, F triangles, C corners of triangles (3 F).
"""

import math
from typing import Final

import numpy as np

from pipeline.coincident import places

# VRML calls this the crease angle, and shades smoothly across every edge whose two faces meet at less:
# https://www.web3d.org/documents/specifications/14772/V2.0/part1/nodesRef.html#IndexedFaceSet
# 40 degrees keeps the sides of an octagonal rod (45 degrees apart) flat, and makes a cylinder of ten sides or more round.
CREASE: Final = math.cos(math.radians(40))
"""Least cosine between the normals of two triangles that are shaded as one smooth surface."""

VALENCE: Final = 24
"""Largest number of triangles around a place that is smoothed; where more meet, each keeps its own normal, which bounds the work."""


def smooth(vertices: np.ndarray, faces: np.ndarray, shared: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute a normal for each corner of each triangle.

    A corner's normal is the area-weighted mean of the normals of the triangles that meet in its place. Only triangles count whose normal
    lies within `CREASE` of the corner's own triangle. Each of them is turned to the side of that triangle first.

    Args:
        vertices: `[n, 3]`; several may be in one place.
        faces: `[F, 3]`.
        shared: whether vertices in one place are alike (no texture coordinates, no colours), so that one may stand for all.

    Returns:
        For m new vertices: which of the old they are `[m]`, the faces over them `[F, 3]`, and their normals `[m, 3]` float32.
    """
    sides = vertices[faces[:, 1:]] - vertices[faces[:, :1]]
    # The cross product is twice the triangle's area long. Summed as it is, it weighs each triangle by its area: the mean of Gouraud
    # (https://doi.org/10.1109/T-C.1971.223313), weighted. Weights by angle (https://doi.org/10.1080/10867651.1998.10487487) depend
    # less on how a face is cut into triangles, but need an arc cosine for each corner; at the size of our pictures nobody sees it.
    cross = np.cross(sides[:, 0], sides[:, 1]).astype(np.float32)  # [F, 3]
    own = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-30)

    # Corners are matched by their place, not by their vertex number: many files repeat a vertex for each of its triangles.
    _, first, place = np.unique(places(vertices), return_index=True, return_inverse=True)
    corners = place[faces.reshape(-1)]  # [C] places
    order = np.argsort(corners, kind="stable")  # [C] corners, grouped by place
    total = _summed(own[order // 3], cross[order // 3], np.bincount(corners))
    normals = np.empty_like(total)  # [C, 3]
    normals[order] = total
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    # A triangle without an area has no normal. It covers no pixel either, so any direction will do.
    normals = np.where(length > 0, normals / np.maximum(length, 1e-30), [0, 0, 1]).astype(np.float32)

    # Corners of one vertex whose normals agree to 1/127 become one vertex again, which halves the work of drawing.
    vertex = first[corners] if shared else faces.reshape(-1).astype(np.int64)
    steps = np.rint(normals * 127).astype(np.int64) + 127
    key = ((vertex * 255 + steps[:, 0]) * 255 + steps[:, 1]) * 255 + steps[:, 2]
    _, kept, index = np.unique(key, return_index=True, return_inverse=True)
    return vertex[kept], index.reshape(-1, 3), normals[kept]


def _summed(own: np.ndarray, cross: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Add to each corner the normals of the corners in its place that lie within `CREASE` of its own.

    Args:
        own: unit normals of the corners' triangles, grouped by place. `[C, 3]`
        cross: the same normals, as long as twice the area. `[C, 3]`
        counts: number of corners in each place.

    Returns:
        The sums, not of unit length. `[C, 3]`
    """
    valence, start = np.repeat(counts, counts), np.repeat(np.cumsum(counts) - counts, counts)  # [C] each
    rank = np.arange(len(own)) - start
    # x, y and z lie apart, because numpy gathers single numbers fastest.
    unit, area = np.ascontiguousarray(own.T), np.ascontiguousarray(cross.T)  # [3, C] each
    total = area.copy()
    looking = np.flatnonzero(valence <= VALENCE)
    # Step by step every corner looks at the next one of its place: VALENCE passes over arrays instead of a loop over places.
    for step in range(1, VALENCE):
        looking = looking[valence[looking] > step]
        other = rank[looking] + step
        other = start[looking] + np.where(other < valence[looking], other, other - valence[looking])
        alike = sum(axis[looking] * axis[other] for axis in unit)
        # The absolute value, and the sign as weight: in many files neighbours are wound in opposite directions, so that a normal
        # that points the other way belongs to the same smooth surface.
        weight = np.where(np.abs(alike) >= CREASE, np.sign(alike), np.float32(0))
        for axis in range(3):
            total[axis, looking] += area[axis, other] * weight
    return np.ascontiguousarray(total.T)
