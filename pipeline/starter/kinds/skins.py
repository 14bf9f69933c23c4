"""Surfaces over outlines and grids of points: lofts, plates, boards, bent sheets, horns, and what bends a solid."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.starter.kinds.outlines import *
from pipeline.starter.kinds.solids import *


def surface(points: Floats, faces: NDArray[np.int64], material: Material, *, weld: bool = True) -> Solid:
    """A closed skin, turned outward, smooth where neighbouring faces bend less than the crease.

    Args:
        weld: whether points at the same place are one point. Else a seam stays sharp, and faces keep the way they are turned.
    """
    corners = points[faces]  # [F, 3, 3]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    keep = area > (1e-9 if weld else 1e-12)
    corners, cross, area, place = corners[keep], cross[keep], area[keep], faces[keep].reshape(-1)
    if weld and (cross * (corners[:, 0] - points.mean(axis=0))).sum() < 0:
        corners, cross = corners[:, ::-1], -cross
    flat, vertices = cross / area[:, None], corners.reshape(-1, 3)
    if weld:
        place = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)[1].reshape(-1)
    order, count = np.argsort(place, kind="stable"), np.bincount(place)
    many = count[place[order]]
    left = np.repeat(np.arange(len(order)), many)  # every corner with each that shares its place
    right = np.repeat((np.cumsum(count) - count)[place[order]] - np.cumsum(many) + many, many) + np.arange(len(left))
    near, normals = (flat[order[left] // 3] * flat[order[right] // 3]).sum(axis=1) > CREASE, np.zeros_like(vertices)
    np.add.at(normals, order[left[near]], cross[order[right[near]] // 3])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Solid(vertices=vertices, normals=normals, faces=np.arange(len(vertices)).reshape(-1, 3), material=material)


def ears(ring: Floats, spare: int = 0) -> list[tuple[int, int, int]]:
    """Triangles that fill a flat outline [S, 3], however it bends. Where to the last digit no corner is an ear, the one at `spare` goes."""
    middle = ring - ring.mean(axis=0)
    normal = np.cross(middle, np.roll(middle, -1, axis=0)).sum(axis=0)
    size = np.linalg.norm(normal)
    if size < 1e-9:
        return []
    side = np.cross(normal, np.eye(3)[np.argmin(abs(normal))])
    side /= np.linalg.norm(side)
    flat = np.stack([middle @ side, middle @ np.cross(normal / size, side)], axis=1)  # [S, 2], counter-clockwise
    left, faces = list(range(len(flat))), []
    while len(left) > 3:
        for i in [*range(len(left)), spare % len(left)]:
            a, b, c = left[i - 1], left[i], left[(i + 1) % len(left)]
            ends = flat[[a, b, c]]
            sides, to = np.roll(ends, -1, axis=0) - ends, flat[left][:, None] - ends
            inside = (sides[:, 0] * to[..., 1] - sides[:, 1] * to[..., 0] > 1e-12).all(axis=1)
            if sides[0, 0] * sides[1, 1] - sides[0, 1] * sides[1, 0] > 1e-12 and not inside.any():
                break
        faces.append((a, b, c))
        left.pop(i)
    return [*faces, (left[0], left[1], left[2])]


def _bands(rings: Sequence[Floats]) -> list[NDArray[np.int64]]:
    """The faces between each ring and the next."""
    n, faces = len(rings[0]), []
    j, k = np.arange(n), (np.arange(n) + 1) % n
    for low in range(0, n * (len(rings) - 1), n):
        faces += [np.stack([low + j, low + k, low + n + k], axis=1), np.stack([low + j, low + n + k, low + n + j], axis=1)]
    return faces


def _ends(rings: Sequence[Floats], spare: int = 0) -> list[NDArray[np.int64]]:
    """The faces that close the first and the last ring."""
    first, last = (np.array(ears(rings[i], spare), np.int64).reshape(-1, 3) for i in (0, -1))
    return [first[:, ::-1], last + (len(rings) - 1) * len(rings[0])]


def loft(rings: Sequence[Floats], material: Material) -> Solid:
    """A skin over cross-sections [S, 3] each, closed at both ends."""
    return surface(np.concatenate(rings).astype(float), np.concatenate(_ends(rings) + _bands(rings)), material)


def skin(rings: Sequence[Floats], material: Material, *, caps: bool = True) -> Solid:
    """What `loft` makes, with its ends after its sides, or open."""
    return surface(np.concatenate(rings), np.concatenate(_bands(rings) + (_ends(rings, -1) if caps else [])), material, weld=False)


FLAT = math.cos(math.radians(28))
"""Ends of a skin are flat and large: what bends more than this next to them would tint them all over."""


def layered(rings: Sequence[Floats], material: Material, *, caps: tuple[bool, bool] = (True, True)) -> Solid:
    """A skin over loops of S points each. As with `turned`, the solid is on the left of the way along them: outside it goes up.

    Args:
        caps: whether to close the first and the last loop. A skin that returns to its first loop is closed by itself.
    """
    ends = [np.repeat(rings[i].mean(axis=0)[None], len(rings[i]), axis=0) for i in (0, -1)]
    line = np.stack([*ends[:1] * caps[0], *rings, *ends[1:] * caps[1]])  # [K, S, 3]
    around = np.roll(line, -1, axis=1) - np.roll(line, 1, axis=1)
    out = unit(np.cross(around[:-1] + around[1:], np.diff(line, axis=0)))  # [K - 1, S, 3]
    first, last, limit = out.copy(), out.copy(), np.full((len(out) - 1, 1), CREASE)
    limit[: caps[0]] = limit[len(limit) - caps[1] :] = FLAT
    smooth = (out[:-1] * out[1:]).sum(axis=2) > limit
    first[1:][smooth] = last[:-1][smooth] = unit(out[:-1] + out[1:])[smooth]
    sides, faces = line.shape[1], []
    j, k = np.arange(sides), (np.arange(sides) + 1) % sides
    for band in range(len(out)):
        low = 2 * sides * band
        faces += [np.stack([low + j, low + k, low + sides + k], axis=1)] if not (caps[0] and band == 0) else []
        faces += [np.stack([low + j, low + sides + k, low + sides + j], axis=1)] if not (caps[1] and band == len(out) - 1) else []
    return Solid(
        vertices=np.stack([line[:-1], line[1:]], axis=1).reshape(-1, 3),
        normals=np.stack([first, last], axis=1).reshape(-1, 3),
        faces=np.concatenate(faces),
        material=material,
    )


def slab(outline: Sequence[tuple[float, float]], thick: float, material: Material, *, bevel: float = 0.0) -> Solid:
    """An outline in X and Y as a plate of some thickness about Z = 0."""
    line = np.array(outline, float)
    after = np.roll(line, -1, axis=0)
    if (line[:, 0] * after[:, 1] - line[:, 1] * after[:, 0]).sum() < 0:
        line = line[::-1]
    edge = np.roll(line, -1, axis=0) - line
    out = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / np.linalg.norm(edge, axis=1, keepdims=True)
    before = np.roll(out, 1, axis=0)
    mitre = (out + before) / np.maximum(1 + (out * before).sum(axis=1, keepdims=True), 0.3)
    levels = [(-thick / 2, 0.0), (thick / 2, 0.0)]
    if bevel:
        levels = [(-thick / 2, bevel), (-thick / 2 + bevel * 0.3, bevel * 0.3), (-thick / 2 + bevel, 0.0)]
        levels += [(-z, inset) for z, inset in levels[::-1]]
    return loft([np.column_stack([line - mitre * inset, np.full(len(line), z)]) for z, inset in levels], material)


def soft(size: Point, at: Point, radius: float, material: Material) -> Solid:
    """What `cushion` is, of a quarter of its triangles: for the small parts."""
    line = rounded(size[0], 0, size[1], radius, 3)
    return slab(line, size[2], material, bevel=min(radius, 0.45 * min(size)) * 0.6).moved(at)


def drape(front: Floats, back: Floats, material: Material) -> Solid:
    """A cloth between two grids of points [K, N, 3] each."""
    return loft([np.concatenate([one, other[::-1]]) for one, other in zip(front, back, strict=True)], material)


def plate(outline: ArrayLike, thick: float, material: Material, *, edge: float = 0.006) -> Solid:
    """A board in the XY plane around Z = 0, cut along an outline [K, 2] that goes counter-clockwise seen from +Z."""
    points = np.asarray(outline, float)
    after, before = np.roll(points, -1, axis=0) - points, np.roll(points, 1, axis=0) - points
    points = np.stack([points + 0.04 * before, points + 0.04 * after], axis=1).reshape(-1, 2)  # corners stay corners to the light
    middle = points.mean(axis=0)
    inner = middle + (points - middle) * (1 - edge / np.abs(points - middle).max())
    levels = ((inner, -thick / 2), (points, edge - thick / 2), (points, thick / 2 - edge), (inner, thick / 2))
    return layered([np.column_stack([line, np.full(len(line), z)]) for line, z in levels], material)


def sawn(outline: Floats | Line, thick: float, material: Material, bevel: float = 0.0) -> Solid:
    """What a saw makes: an outline [K, 2] in X and Y, from Z = 0 to `thick`, with edges rounded by `bevel`."""
    line = np.array(outline, float)
    after = np.roll(line, -1, axis=0)
    if (line[:, 0] * after[:, 1] - line[:, 1] * after[:, 0]).sum() < 0:
        line = line[::-1]
    way = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    inward = np.column_stack([-way[:, 1], way[:, 0]]) / (np.linalg.norm(way, axis=1, keepdims=True) + 1e-12)
    rings = [placed_at(line, 0.0), placed_at(line, thick)]
    if bevel:
        bends = [(bevel * (1 - math.sin(a)), bevel * (1 - math.cos(a))) for a in np.radians([0, 30, 60, 90])]
        rings = [placed_at(line + inward * i, z) for i, z in bends] + [placed_at(line + inward * i, thick - z) for i, z in bends[::-1]]
    return skin(rings, material)


def profile_of(outline: Floats | Line, width: float, material: Material, bevel: float = 0.0) -> Solid:
    """An outline in Z and Y, seen from the side, that is `width` wide along X."""
    return sawn(outline, width, material, bevel).moved((0, 0, -width / 2)).turned("y", -90)


def lying(outline: Floats | Line, thick: float, material: Material, bevel: float = 0.0) -> Solid:
    """An outline in X and -Z, seen from above, that lies on Y = 0."""
    return sawn(outline, thick, material, bevel).turned("x", -90)


Rect = tuple[float, float, float, float]


def blocks_of(rects: Sequence[Rect], tall: float, material: Material, shrink: float = 0.0) -> Solid:
    """Many blocks on Y = 0 as one solid, (x, z, width, depth) each; `shrink` is what their tops lose on every side."""
    corner = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)])
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    at = np.array(rects, float)[:, None]  # [N, 1, 4]
    less = 2 * shrink * corner[:, 1]
    x, z = at[..., 0] + corner[:, 0] * (at[..., 2] - less), at[..., 1] + corner[:, 2] * (at[..., 3] - less)
    points = np.stack([x, np.broadcast_to(corner[:, 1] * tall, x.shape), z], axis=-1).reshape(-1, 3)
    return surface(points, (faces + 8 * np.arange(len(rects))[:, None, None]).reshape(-1, 3), material, weld=False)


def grid(wide: float, tall: float, columns: int, rows: int, at: Point, deep: float, material: Material, full: float = 0.65) -> Solid:
    """Blocks in rows and columns on a front, their field centred at `at`: buttons, slats, slots."""
    x, y, z = at
    dx, dy = wide / columns, tall / rows
    rects = [((i + 0.5) * dx - wide / 2, (j + 0.5) * dy - tall / 2, dx * full, dy * full) for i in range(columns) for j in range(rows)]
    return blocks_of(rects, deep, material, min(dx, dy) * 0.06).turned("x", 90).moved((x, y, z))


def plate_between(x: Floats, low: Floats, high: Floats, thick: float, material: Material) -> Solid:
    """An upright plate between the curves low(x) and high(x), x rising [K], with its middle on z = 0."""
    k = len(x)
    flat = np.stack([np.tile(x, 2), np.concatenate([low, high])], axis=1)  # [2K, 2]
    i = np.arange(k - 1)
    front = np.concatenate([np.stack([i, i + 1, k + i + 1], axis=1), np.stack([i, k + i + 1, k + i], axis=1)])
    a, b = flat[front[:, 1]] - flat[front[:, 0]], flat[front[:, 2]] - flat[front[:, 0]]
    front = front[a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 1e-12]  # where the curves meet a triangle has no area
    loop = np.concatenate([flat[:k], flat[: k - 1 : -1]])
    loop = loop[np.linalg.norm(loop - np.roll(loop, 1, axis=0), axis=1) > 1e-9]
    edge = np.roll(loop, -1, axis=0) - loop
    out = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / np.linalg.norm(edge, axis=1)[:, None]
    before = np.roll(out, 1, axis=0)
    smooth = (before * out).sum(axis=1) > CREASE
    mean = np.where(smooth[:, None], before + out, out)
    first = mean / np.linalg.norm(mean, axis=1)[:, None]  # normal where an edge starts
    last, n, half = np.where(np.roll(smooth, -1)[:, None], np.roll(first, -1, axis=0), out), len(loop), thick / 2
    ends = np.concatenate([loop, np.roll(loop, -1, axis=0)] * 2)
    rim = np.column_stack([ends, np.repeat([half, -half], 2 * n)])
    rim_normals, j = np.column_stack([np.concatenate([first, last] * 2), np.zeros(4 * n)]), np.arange(n)
    rim_faces = np.concatenate([np.stack([j, j + 2 * n, j + 3 * n], axis=1), np.stack([j, j + 3 * n, j + n], axis=1)])
    sides = [np.column_stack([flat, np.full(2 * k, z)]) for z in (half, -half)]
    normals = np.repeat([(0.0, 0.0, 1.0), (0.0, 0.0, -1.0)], 2 * k, axis=0)
    return Solid(
        vertices=np.concatenate([*sides, rim]),
        normals=np.concatenate([normals, rim_normals]),
        faces=np.concatenate([front, front[:, ::-1] + 2 * k, rim_faces + 4 * k]),
        material=material,
    )


def lying_between(x: Floats, back: Floats, front: Floats, thick: float, y: float, material: Material) -> Solid:
    """The same lying: between z = back(x) and front(x), its underside at y."""
    return plate_between(x, back, front, thick, material).turned("x", 90).moved((0, y + thick / 2, 0))


def bent_board(grid: Floats, thick: float, material: Material) -> Solid:
    """A bent board: points [A, B, 3] of its front, which looks along dA x dB, and as much behind it as it is thick."""

    def patch(points: Floats) -> Solid:
        a, b = points.shape[:2]
        normal = unit(np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1)))
        low = (np.arange(a - 1)[:, None] * b + np.arange(b - 1)).ravel()
        faces = np.concatenate([np.stack([low, low + b, low + b + 1], axis=1), np.stack([low, low + b + 1, low + 1], axis=1)])
        return Solid(vertices=points.reshape(-1, 3), normals=normal.reshape(-1, 3), faces=faces, material=material)

    behind = grid - thick * unit(np.cross(np.gradient(grid, axis=0), np.gradient(grid, axis=1)))
    rims = [(behind[:, 0], grid[:, 0]), (grid[:, -1], behind[:, -1])]
    sides = [np.stack(pair, axis=1) for pair in rims] + [np.stack([behind[0], grid[0]]), np.stack([grid[-1], behind[-1]])]
    return joined([patch(points) for points in (grid, behind[:, ::-1], *sides)])


def backrest(width: float, tall: float, depth: float, at: Point, thick: float, material: Material, *, top: float = 0.0) -> Solid:
    """An upright board bent around whoever leans on it: its sides come forward by `depth`, its middle rises by `top`."""
    u, v = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(0, 1, 4), indexing="ij")
    grid = np.stack([u * width / 2, v * (tall + top * (1 - u**2)), depth * u**2], axis=2)
    return bent_board(grid + np.array(at), thick, material)


def soft_board(
    width: float, depth: float, thick: float, at: Point, material: Material, front: float = 0.2, back: float | None = None
) -> Solid:
    """A lying board with rounded corners and softened edges."""
    x, y, z = at
    edge = min(0.006, thick / 3)
    levels = ((edge, 0), (0, edge), (0, thick - edge), (edge, thick))
    return layered([closed_loop(width - 2 * e, depth - 2 * e, y + h, z, x, front=front, back=back) for e, h in levels], material)


def pad_of(width: float, depth: float, thick: float, at: Point, material: Material, front: float = 0.3, back: float | None = None) -> Solid:
    """Upholstery: a slab that swells."""
    x, y, z = at
    levels = ((0.8, 0), (0.94, 0.04), (1, 0.25), (1, 0.6), (0.95, 0.84), (0.84, 0.96), (0.6, 1))
    trim = min(width, depth)
    rings = [closed_loop(width - trim * (1 - s), depth - trim * (1 - s), y + h * thick, z, x, front=front, back=back) for s, h in levels]
    return layered(rings, material)


def piped(points: ArrayLike, radius: float, material: Material, *, bend: float = 0.07) -> Solid:
    """A round bar along a polyline [K, 3], with round ends. `bend`: how far from a corner its rounding begins; 0 leaves it."""
    path = np.asarray(points, float)
    if bend:
        knots = [path[0]]
        for i in range(1, len(path) - 1):
            ways = path[[i - 1, i + 1]] - path[i]
            reach = np.minimum(0.5, bend / np.linalg.norm(ways, axis=1))[:, None] * ways
            knots += [path[i] + reach[0], path[i], path[i] + reach[1]]
        path = smoothed([*knots, path[-1]], 2)
    ends = [ball(radius, tuple(path[i]), material, rings=6, sides=10) for i in (0, -1)]
    return joined([ends[0], tube(path, radius, material, sides=10), ends[1]])


def arch_of(start: Point, end: Point, rise: float, radius: float, material: Material) -> Solid:
    """A bent bar between two points on one height, as handles are."""
    angle = np.linspace(0, math.pi, 17)
    way = (1 - np.cos(angle)) / 2
    path = np.array(start) + way[:, None] * np.subtract(end, start)
    path[:, 1] += rise * np.sin(angle) ** 0.6
    return tube(path, radius, material)


def limb(path: Floats, radii: Floats, material: Material) -> Solid:
    """A tube whose radius varies along its way."""
    even = tube(path, 1.0, material)
    return replace(even, vertices=np.repeat(path, 12, axis=0) + even.normals * np.repeat(radii, 12)[:, None])


def horn(path: Floats, radii: Floats, material: Material, sides: int = 12, lobes: int = 0) -> Solid:
    """A round bar of changing thickness with rounded ends; lobes make its section a star."""
    first, last = path[0] - path[1], path[-1] - path[-2]
    first, last, bow = first / np.linalg.norm(first), last / np.linalg.norm(last), np.radians([88, 60, 30])
    path = np.concatenate(
        [path[0] + radii[0] * np.outer(np.sin(bow), first), path, path[-1] + radii[-1] * np.outer(np.sin(bow[::-1]), last)]
    )
    radii = np.concatenate([radii[0] * np.cos(bow), radii, radii[-1] * np.cos(bow[::-1])])
    bar = tube(path, 1.0, material, sides=sides)
    ring, way = bar.normals.reshape(len(path), sides, 3), np.gradient(path, axis=0)
    length = np.linalg.norm(way, axis=1)
    normals = ring * length[:, None, None] - (np.gradient(radii) / length)[:, None, None] * way[:, None]
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    star = 1 + 0.12 * np.cos(lobes * np.arange(sides) * 2 * math.pi / sides) if lobes else np.ones(sides)
    vertices = path[:, None] + radii[:, None, None] * star[None, :, None] * ring
    return replace(bar, vertices=vertices.reshape(-1, 3), normals=normals.reshape(-1, 3))


Section = Callable[[Floats, Floats], Floats]
"""From angle and height to a factor on the radius."""


def warped(solid: Solid, bend: Callable[[Floats], Floats]) -> Solid:
    """Bent by a map of space; the normals follow its derivative."""
    a, b, c = (bend(solid.vertices + step) - bend(solid.vertices - step) for step in 1e-5 * np.eye(3))
    normals = sum(solid.normals[:, i : i + 1] * np.cross(u, v) for i, (u, v) in enumerate(((b, c), (c, a), (a, b))))
    return replace(solid, vertices=bend(solid.vertices), normals=normals / np.linalg.norm(normals, axis=1, keepdims=True))


def shaped(solids: Sequence[Solid], section: Section, twist: float = 0.0) -> list[Solid]:
    """With another section than a round one, and turned by so many radians per metre of height."""

    def bend(points: Floats) -> Floats:
        x, y, z = points.T
        angle = np.arctan2(x, z)
        radius, angle = np.hypot(x, z) * section(angle, y), angle + twist * y
        return np.stack([radius * np.sin(angle), y, radius * np.cos(angle)], axis=1)

    return [warped(solid, bend) for solid in solids]


def stretched(solid: Solid, x: float = 1.0, y: float = 1.0, z: float = 1.0) -> Solid:
    return warped(solid, lambda points: points * (x, y, z))


def squared(power: float) -> Section:
    """A square with rounded corners, rounder for a lower power, its sides as far away as the round was."""
    return lambda angle, height: (np.abs(np.sin(angle)) ** power + np.abs(np.cos(angle)) ** power) ** (-1 / power)


def fluted_by(count: int, depth: float) -> Section:
    return lambda angle, height: 1 + depth * np.cos(count * angle)


def faceted_by(count: int) -> Section:
    each = 2 * math.pi / count
    return lambda angle, height: math.cos(each / 2) / np.cos(angle % each - each / 2)
