"""Surfaces that lie in the same place: from which side each is drawn, and which one is sampled.

    side = sides([(vertices, faces), ...])      # [F] uint8, one of BOTH, FRONT, BACK, HIDDEN for each triangle

Programs for drawing buildings and furniture give every surface two sides, each with its own material. They write the sides as two
surfaces in the same place with opposite winding. If both are drawn, they fight for every pixel (z-fighting).

Two patches of triangles lie in the same place if their outer edges and their corners have the same positions, bit for bit. A patch is
the smallest set of triangles with an outline that both surfaces share: one triangle where both surfaces have the same triangles, a quad
or a larger polygon where they are cut along other diagonals. The two patches may belong to different parts. Surfaces that overlap only
partly, that have other vertices on their edges, or that keep a small distance are not found.

Letters: V vertices, F triangles, S = 3 F slots (slot e F + f is edge e of triangle f), C patches that are compared.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BOTH: Final = 0
"""The only surface in its place: drawn from both sides, sampled."""
FRONT: Final = 1
"""Drawn only where its winding is counter-clockwise, sampled: the outer of two."""
BACK: Final = 2
"""Drawn only where its winding is counter-clockwise, not sampled: the inner of two. So the place is sampled once."""
HIDDEN: Final = 3
"""A copy of an earlier surface with the same winding: neither drawn nor sampled."""

FOLD: Final = math.cos(math.radians(10))
"""Cosine of the largest angle between two triangles that overlap: they share an edge and lie on the same side of it. The angle is not
zero, because the two ways to cut a quad differ where its corners are not exactly in one plane."""

FLAT: Final = 0.9
"""Smallest ratio of the projected area of a patch to its area. Patches that are bent more are not compared."""

MANY: Final = 100_000
"""Number of triangles above which a sample of the edges is checked first. Only if some of them overlap, all edges are checked."""

LONG: Final = 200
"""The sample has all edges that are longer than the size of the largest part divided by this."""

SAMPLED: Final = 16
"""The sample has one in so many of the shorter edges."""

AROUND: Final = 32
"""Largest number of triangles around one edge that are compared with one another."""


def places(vertices: NDArray[Any]) -> NDArray[Any]:
    """A number `[V]` uint64 for each position `[V, 3]` float32. Equal positions have equal numbers; 0.0 equals -0.0.

    Two different positions have the same number with a probability of 2**-64.
    """
    bits = np.ascontiguousarray(vertices, np.float32) + np.float32(0)
    words = bits.view(np.uint32).astype(np.uint64)  # [V, 3]
    number = np.zeros(len(words), np.uint64)
    for axis, factor in enumerate((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)):
        number = _mixed(number + words[:, axis] * np.uint64(factor))
    return number


def sides(parts: Sequence[tuple[NDArray[Any], NDArray[Any]]], see_through: Sequence[bool] = (), plain: Sequence[bool] = ()) -> NDArray[Any]:
    """How each triangle is drawn and whether it is sampled.

    Where several surfaces with the same winding lie in one place, one stays: the first opaque one, or the first one if all are see-through.
    If two surfaces of opposite winding remain, both are drawn, each from its front, and the outer one is sampled, because it is the visible
    surface of the shape. To find the outer one, connected triangles with consistent winding are taken as a layer. A layer with a positive
    enclosed volume faces outwards. If the volumes do not tell (a sheet), the first surface counts as the outer one. Two surfaces that look
    alike count as one.

    Args:
        parts: Vertices `[V, 3]` float32 and faces `[F, 3]` of each part.
        see_through: For each part, whether any of it may be transparent. Empty: no part is.
        plain: For each part, whether all of it looks alike. Empty: no part does.

    Returns:
        `[F]` uint8 over the faces of all parts in order: `BOTH`, `FRONT`, `BACK` or `HIDDEN`.
    """
    place = np.concatenate([_gathered(places(vertices), faces) for vertices, faces in parts], axis=1)  # [3, F]
    corners = np.concatenate([_gathered(vertices, faces) for vertices, faces in parts], axis=1)  # [3, F, 3]
    count = place.shape[1]
    side: NDArray[Any] = np.zeros(count, np.uint8)
    if count > MANY and not _any(place, corners, max(float(np.ptp(axis)) for vertices, _ in parts for axis in vertices.T)):
        return side
    edges = _edges(place, corners, None)
    if edges is None:
        return side

    patch, whole = _patches(edges, count)
    of_part = np.repeat(np.arange(len(parts)), [len(faces) for _, faces in parts])
    patches = _described(corners, of_part, place, edges, patch, whole)
    if not len(patches.key):
        return side
    clear = np.asarray(see_through or [False] * len(parts))[of_part[patches.first]]  # [C]
    fate, shared = _decided(patches, edges, patch, clear, np.asarray(plain or [False] * len(parts)))
    of_patch, paired = np.zeros(len(whole), np.uint8), np.zeros(len(whole), bool)
    of_patch[patches.label], paired[patches.label] = fate, shared
    side = of_patch[patch]
    left = edges.overlap.reshape(3, -1).any(axis=0) & ~paired[patch]
    if left.any() and (side == HIDDEN).any():
        # Three surfaces lie in one place, and two of them have the same triangles. Without the hidden one, larger patches of the other two
        # may match.
        ends = np.cumsum([len(faces) for _, faces in parts])[:-1]
        kept = [(vertices, faces[mine != HIDDEN]) for (vertices, faces), mine in zip(parts, np.split(side, ends), strict=True)]
        side[side != HIDDEN] = sides(kept, see_through, plain)
    return side


def _decided(
    patches: "_Patches", edges: "_Edges", patch: NDArray[Any], clear: NDArray[Any], plain: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each patch, how it is drawn and sampled (`BOTH`, `FRONT`, `BACK` or `HIDDEN`) `[C]` uint8, and whether another patch lies in its
    place `[C]` bool.

    Args:
        patches: the patches to compare.
        edges: all edges.
        patch: `[F]` the patch of each triangle.
        clear: `[C]` whether a patch may let through what is behind it.
        plain: for each part, whether all of it looks alike.
    """
    # Patches in one place have the same edges around and the same corners. The first of each group comes first.
    order = np.lexsort([patches.first, clear, patches.key])
    key = patches.key[order]
    start = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    size = np.diff(np.r_[start, len(order)])
    group = np.repeat(np.arange(len(start)), size)
    towards = np.einsum("cd,cd->c", patches.vector[order], patches.vector[order[start]][group]) > 0  # wound like the group's first
    fate = np.full(len(order), HIDDEN, np.uint8)
    fate[order[start]] = BOTH
    backs = np.flatnonzero(~towards)
    if len(backs):
        back = backs[np.unique(group[backs], return_index=True)[1]]  # in each group that has any, the first wound the other way
        front, back = order[start[group[back]]], order[back]
        part = patches.part
        alike = (part[front] == part[back]) & (part[front] >= 0) & plain[part[front]]
        front, back = front[~alike], back[~alike]
        if len(front):
            swapped = _inside_out(edges, patch, patches, front, back)
            fate[front], fate[back] = np.where(swapped, BACK, FRONT), np.where(swapped, FRONT, BACK)
    shared = np.zeros(len(order), bool)
    shared[order] = (size > 1)[group]
    return fate, shared


class _Edges(NamedTuple):
    """All edges of all triangles."""

    slot: NDArray[Any]
    """[S] slots, sorted so that slots of one edge follow one another."""
    key: NDArray[Any]
    """[S] uint64, in slot order: a number that is equal for slots of the same edge."""
    forward: NDArray[Any]
    """[S] bool, in slot order: the direction in which its triangle goes along the edge."""
    overlap: NDArray[Any]
    """[S] bool, in slot order: another triangle lies on the same side of the edge."""


class _Patches(NamedTuple):
    """The patches that are compared."""

    label: NDArray[Any]
    """[C], the number of each patch among all."""
    key: NDArray[Any]
    """[C] uint64, equal for patches with the same edges and corners."""
    first: NDArray[Any]
    """[C], its first triangle."""
    part: NDArray[Any]
    """[C], the part it belongs to, -1 where it belongs to several."""
    vector: NDArray[Any]
    """[C, 3] float64, its area vector."""
    center: NDArray[Any]
    """[C, 3] float64, its centroid."""
    area: NDArray[Any]
    """[C] float64, its area."""


def _mixed(number: NDArray[Any]) -> NDArray[Any]:
    """Mixes the bits of numbers one to one (the finaliser of SplitMix64), so that similar numbers become very different."""
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[Any] = number ^ (number >> np.uint64(31))
    return mixed


def _gathered(rows: NDArray[Any], faces: NDArray[Any]) -> NDArray[Any]:
    """The row of each corner, `[3, F, ..]`. The corner is the first axis, because later steps read one corner of all triangles at a
    time."""
    return np.stack([rows[corner] for corner in faces.T])


def _any(place: NDArray[Any], corners: NDArray[Any], size: float) -> bool:
    """Whether some triangles of a very large mesh overlap, judged by its long edges and one in `SAMPLED` of the others.

    The choice depends on the edge alone, so all triangles around a chosen edge are compared. A few overlapping triangles may be missed;
    each is too small to see in a picture.
    """
    long = np.float32(size / LONG) ** 2
    chosen = []
    for edge in range(3):
        along = corners[(edge + 1) % 3] - corners[edge]
        key = place[edge] + place[(edge + 1) % 3]
        chosen.append(
            np.flatnonzero((np.einsum("fd,fd->f", along, along) > long) | (key % np.uint64(SAMPLED) == 0)) + edge * place.shape[1]
        )
    return _edges(place, corners, np.concatenate(chosen)) is not None


def _normals(corners: NDArray[Any]) -> NDArray[Any]:
    """Unit normals `[3, f]` of triangles `[3, f, 3]`; 0 for a triangle without area. One component at a time, because that is faster."""
    u, v = (np.ascontiguousarray((corners[i] - corners[0]).T) for i in (1, 2))
    size = max(float(np.abs(u).max(initial=0)), float(np.abs(v).max(initial=0)), 1e-30)
    u, v = u / np.float32(size), v / np.float32(size)  # so that no square leaves float32
    normals = np.stack([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]])
    unit: NDArray[Any] = normals / np.maximum(np.sqrt((normals * normals).sum(axis=0)), np.float32(1e-30))
    return unit


def _edges(place: NDArray[Any], corners: NDArray[Any], chosen: NDArray[Any] | None) -> _Edges | None:
    """Edges and where triangles overlap; None where no triangles overlap, which is the usual case.

    Args:
        place: `[3, F]` number of the position of each corner.
        corners: `[3, F, 3]` coordinates.
        chosen: the slots to look at; None for all.
    """
    count = place.shape[1]
    following = place[[1, 2, 0]]
    key = (place + following).reshape(-1)  # [S]; sums of well mixed numbers are as good as mixed
    forward = (place < following).reshape(-1)
    # One number holds the first bits of the key, the slot and the direction, because sorting numbers is faster than sorting indices.
    bits = np.uint64((3 * count).bit_length() + 1)
    mask = (np.uint64(1) << bits) - np.uint64(1)
    slots = np.arange(3 * count, dtype=np.uint64) if chosen is None else chosen.astype(np.uint64)
    packed = (key if chosen is None else key[chosen]) & ~mask
    packed |= slots << np.uint64(1)
    packed |= forward if chosen is None else forward[chosen]
    packed.sort()
    ahead = (packed & np.uint64(1)).astype(bool)
    slot = ((packed & mask) >> np.uint64(1)).astype(np.int64)
    packed >>= bits
    face = slot % count
    here = np.arange(count) if chosen is None else np.flatnonzero(np.bincount(face, minlength=count))
    x, y, z = np.zeros((3, count), np.float32)
    x[here], y[here], z[here] = _normals(corners if chosen is None else corners[:, here])
    first, second = [], []
    for step in range(1, AROUND):
        alike = np.flatnonzero(packed[step:] == packed[:-step])
        if not len(alike):
            break
        a, b = face[alike], face[alike + step]
        dot = x[a] * x[b] + y[a] * y[b] + z[a] * z[b]
        folded = np.flatnonzero(np.abs(dot) > FOLD)
        # Two triangles lie on the same side of their edge in two cases: they run along it in the same direction and their normals agree, or
        # they run in opposite directions and their normals are opposite.
        folded = folded[(ahead[alike[folded]] == ahead[alike[folded] + step]) == (dot[folded] > 0)]
        a, b = slot[alike[folded]], slot[alike[folded] + step]
        same = key[a] == key[b]
        first.append(a[same])
        second.append(b[same])
    if not any(map(len, first)):
        return None
    overlap = np.zeros(3 * count, bool)
    overlap[np.concatenate(first + second)] = True
    return _Edges(slot, key, forward, overlap)


def _patches(edges: _Edges, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The patch of each triangle `[F]`, and for each patch whether all its outer edges are edges where triangles overlap."""
    inner = edges.slot[~edges.overlap[edges.slot]]
    joined = edges.key[inner[1:]] == edges.key[inner[:-1]]
    a, b = inner[:-1][joined] % count, inner[1:][joined] % count
    number, patch = connected_components(coo_array((np.ones(len(a), bool), (a, b)), shape=(count, count)), directed=False)
    alone = ~(np.r_[False, joined] | np.r_[joined, False]) if len(inner) else np.zeros(0, bool)
    whole = np.ones(number, bool)
    whole[patch[inner[alone] % count]] = False  # this outer edge is a border of the mesh or no overlap
    return patch, whole


def _described(
    corners: NDArray[Any], of_part: NDArray[Any], place: NDArray[Any], edges: _Edges, patch: NDArray[Any], whole: NDArray[Any]
) -> _Patches:
    """The patches that may lie on others: those that are flat and whose outer edges all are edges where triangles overlap."""
    count = place.shape[1]
    around = np.zeros(len(whole), bool)
    around[patch[np.flatnonzero(edges.overlap) % count]] = True
    face = np.flatnonzero((whole & around)[patch])
    face = face[np.argsort(patch[face], kind="stable")]
    label, start = np.unique(patch[face], return_index=True)
    if not len(label):
        empty = np.zeros(0)
        return _Patches(label, empty.astype(np.uint64), label, label, empty.reshape(0, 3), empty.reshape(0, 3), empty)

    a, b, c = corners[:, face].astype(np.float64)  # [f, 3] each
    areas = np.cross(b - a, c - a) / 2
    area = np.linalg.norm(areas, axis=1)
    total, vectors = np.add.reduceat(area, start), np.add.reduceat(areas, start)
    with np.errstate(invalid="ignore", divide="ignore"):
        center = np.add.reduceat((a + b + c) / 3 * area[:, None], start) / total[:, None]
        flat = np.linalg.norm(vectors, axis=1) > FLAT * total

    slots = face[:, None] + np.arange(3) * count  # [f, 3]
    rim = np.where(edges.overlap[slots], _mixed(edges.key[slots]), np.uint64(0)).sum(axis=1, dtype=np.uint64)
    key = np.add.reduceat(rim, start)
    size = np.diff(np.r_[start, len(face)])
    large = np.repeat(size > 2, size)  # smaller patches have no corner inside their rim
    if large.any():
        owner = np.repeat(np.arange(len(size)), size)[large]
        pair = np.unique(np.column_stack([np.repeat(owner, 3).astype(np.uint64), place[:, face[large]].T.reshape(-1)]), axis=0)
        np.add.at(key, pair[:, 0].astype(np.int64), _mixed(pair[:, 1]))
    first = np.minimum.reduceat(face, start)
    least, most = np.minimum.reduceat(of_part[face], start), np.maximum.reduceat(of_part[face], start)
    part = np.where(least == most, least, -1)
    return _Patches(*(array[flat] for array in (label, key, first, part, vectors, center, total)))


def _inside_out(edges: _Edges, patch: NDArray[Any], patches: _Patches, front: NDArray[Any], back: NDArray[Any]) -> NDArray[Any]:
    """For each pair of patches in one place, whether `back` faces outwards. False where that cannot be told.

    Two neighbouring patches belong to one layer if exactly two places (four patches) meet in their edge and their windings are consistent.
    Then each of the four patches has one such neighbour.
    """
    pairs = len(front)
    node = np.full(int(patch.max()) + 1, -1)  # patch -> place, then place + pairs for the back
    node[patches.label[front]] = np.arange(pairs)
    node[patches.label[back]] = np.arange(pairs) + pairs
    count = len(patch)
    slot = edges.slot[edges.overlap[edges.slot]]
    slot = slot[node[patch[slot % count]] >= 0]
    key, mine = edges.key[slot], node[patch[slot % count]]
    begin = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    begin = begin[np.diff(np.r_[begin, len(key)]) == 4]
    four = mine[begin[:, None] + np.arange(4)]  # [e, 4]
    along = edges.forward[slot][begin[:, None] + np.arange(4)]
    order = np.argsort(four % pairs, axis=1, kind="stable")
    four, along = np.take_along_axis(four, order, axis=1), np.take_along_axis(along, order, axis=1)
    at = four % pairs
    plain = (at[:, 0] == at[:, 1]) & (at[:, 2] == at[:, 3]) & (at[:, 1] != at[:, 2])
    plain &= (along[:, 0] != along[:, 1]) & (along[:, 2] != along[:, 3])
    four, along = four[plain], along[plain]
    crossed = along[:, 0] == along[:, 2]  # windings are consistent where two triangles run along their edge in opposite directions
    a = np.concatenate([four[:, 0], four[:, 1]])
    b = np.concatenate([np.where(crossed, four[:, 3], four[:, 2]), np.where(crossed, four[:, 2], four[:, 3])])
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(2 * pairs, 2 * pairs))
    layers, layer = connected_components(graph, directed=False)

    both = np.concatenate([front, back])
    area, center, vector = patches.area[both], patches.center[both], patches.vector[both]
    weight = np.bincount(layer, area, layers)
    middle = np.column_stack([np.bincount(layer, area * center[:, axis], layers) for axis in range(3)]) / weight[:, None]
    away = center - middle[layer]
    volume = np.bincount(layer, np.einsum("nd,nd->n", vector, away), layers)
    scale = np.bincount(layer, area * np.linalg.norm(away, axis=1), layers)
    difference = volume[layer[:pairs]] - volume[layer[pairs:]]
    inward: NDArray[Any] = difference < -1e-5 * scale[layer[:pairs]]
    return inward
