"""Skins, plates, knobs, keys and screens that several devices share."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.starter.kinds.solids import CREASE, Floats, Material, Point, Solid, rod, tube, turned
from pipeline.starter.kinds.thing import Rng, pick, plastic

Line = list[tuple[float, float]]


Rect = tuple[float, float, float, float]


def surface(points: Floats, faces: NDArray[np.int64], material: Material) -> Solid:
    """Triangles [F, 3] over points, shaded smooth except across edges that bend more than CREASE."""
    across = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    area = np.linalg.norm(across, axis=1)
    faces, across, area = faces[area > 1e-12], across[area > 1e-12], area[area > 1e-12]
    flat = across / area[:, None]
    corner = faces.ravel()
    order = np.argsort(corner, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(corner[order], corner[order])
    table = np.full((len(points), int(rank.max()) + 1), -1)  # the faces around each point
    table[corner[order], rank] = order // 3
    near = table[corner]
    alike = (near >= 0) & ((flat[near] * np.repeat(flat, 3, axis=0)[:, None]).sum(-1) > CREASE)
    normals = (across[near] * alike[..., None]).sum(1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Solid(vertices=points[corner], normals=normals, faces=np.arange(len(corner)).reshape(-1, 3), material=material)


def ears(outline: Floats) -> list[tuple[int, int, int]]:
    """A simple polygon [K, 2], counter-clockwise, cut into triangles."""
    left, faces = list(range(len(outline))), []
    while len(left) > 3:
        for i in range(len(left)):
            a, b, c = left[i - 1], left[i], left[(i + 1) % len(left)]
            ends = outline[[a, b, c]]
            sides = np.roll(ends, -1, axis=0) - ends
            if sides[0, 0] * sides[1, 1] - sides[0, 1] * sides[1, 0] <= 1e-12:
                continue
            to = outline[left][:, None] - ends
            inside = (sides[:, 0] * to[..., 1] - sides[:, 1] * to[..., 0] > 1e-12).all(axis=1)
            if not inside.any():
                break
        faces.append((a, b, c))
        left.pop(i)
    return [*faces, (left[0], left[1], left[2])]


def skin(rings: Sequence[Floats], material: Material, *, caps: bool = True) -> Solid:
    """Over rings [K, 3] that run counter-clockwise for one towards whom they proceed."""
    n, faces = len(rings[0]), []
    j, k = np.arange(n), (np.arange(n) + 1) % n
    for low in range(0, n * (len(rings) - 1), n):
        faces += [np.stack([low + j, low + k, low + n + k], axis=1), np.stack([low + j, low + n + k, low + n + j], axis=1)]
    if caps:
        for ring, start, way in ((rings[0], 0, -1), (rings[-1], n * (len(rings) - 1), 1)):
            normal = np.cross(ring, np.roll(ring, -1, axis=0)).sum(axis=0)
            axis = int(np.abs(normal).argmax())
            flat = ring[:, [(axis + 1) % 3, (axis + 2) % 3][:: 1 if normal[axis] > 0 else -1]]
            faces.append(start + np.array(ears(flat))[:, ::way])
    return surface(np.concatenate(rings), np.concatenate(faces), material)


def placed_at(outline: Floats, z: float, scale: float = 1.0) -> Floats:
    """An outline [K, 2] as a ring across Z, shrunk towards its middle."""
    middle = (outline.min(axis=0) + outline.max(axis=0)) / 2
    return np.column_stack([middle + (outline - middle) * scale, np.full(len(outline), z)])


def plate_of(outline: Floats | Line, thick: float, material: Material, bevel: float = 0.0) -> Solid:
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
    return plate_of(outline, width, material, bevel).moved((0, 0, -width / 2)).turned("y", -90)


def lying(outline: Floats | Line, thick: float, material: Material, bevel: float = 0.0) -> Solid:
    """An outline in X and -Z, seen from above, that lies on Y = 0."""
    return plate_of(outline, thick, material, bevel).turned("x", -90)


def rounded(width: float, tall: float, radius: float, steps: int = 5) -> Floats:
    """The outline of a rectangle with round corners, standing on the origin."""
    turn = np.radians(np.linspace(0, 90, steps))
    half, x = radius, width / 2 - radius
    centers = ((x, tall - radius), (-x, tall - radius), (-x, radius), (x, radius))
    arcs = [
        np.column_stack([cx + half * np.cos(turn + i * math.pi / 2), cy + half * np.sin(turn + i * math.pi / 2)])
        for i, (cx, cy) in enumerate(centers)
    ]
    return np.concatenate(arcs)


def ngon(sides: int, radius: float, offset: float = 0.0) -> Floats:
    angle = np.arange(sides) * 2 * math.pi / sides + offset
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def curve_of(points: Floats | Line, rounds: int = 2) -> Floats:
    """A closed polygon with its corners cut again and again, until it is a curve."""
    line = np.array(points, float)
    for _ in range(rounds):
        after = np.roll(line, -1, axis=0)
        line = np.stack([0.75 * line + 0.25 * after, 0.25 * line + 0.75 * after], axis=1).reshape(-1, 2)
    return line


def blocks_of(rects: Sequence[Rect], tall: float, material: Material, shrink: float = 0.0) -> Solid:
    """Many blocks on Y = 0 as one solid, (x, z, width, depth) each; `shrink` is what their tops lose on every side."""
    corner = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)])
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    at = np.array(rects, float)[:, None]  # [N, 1, 4]
    less = 2 * shrink * corner[:, 1]
    x = at[..., 0] + corner[:, 0] * (at[..., 2] - less)
    z = at[..., 1] + corner[:, 2] * (at[..., 3] - less)
    points = np.stack([x, np.broadcast_to(corner[:, 1] * tall, x.shape), z], axis=-1).reshape(-1, 3)
    return surface(points, (faces + 8 * np.arange(len(rects))[:, None, None]).reshape(-1, 3), material)


def front_of(profile: Line, at: Point, material: Material, *, sides: int = 32) -> Solid:
    """A turned profile whose axis points to the viewer."""
    return turned(profile, (0, 0, 0), material, sides=sides).turned("x", 90).moved(at)


def knob(radius: float, deep: float, at: Point, material: Material) -> Solid:
    x, y, z = at
    return rod(at, (x, y, z + deep), radius, radius * 0.82, material, sides=20)


def ball(radius: float, at: Point, material: Material, squash: float = 1.0) -> Solid:
    """A ball around a point, `squash` times as high as wide."""
    angle = np.linspace(-math.pi / 2, math.pi / 2, 11)
    line = [(max(0.0, radius * math.cos(a)), radius * squash * math.sin(a)) for a in angle]
    line[0], line[-1] = (0.0, line[0][1]), (0.0, line[-1][1])
    return turned(line, at, material, sides=24)


def arch_of(start: Point, end: Point, rise: float, radius: float, material: Material) -> Solid:
    """A bent bar between two points on one height, as handles are."""
    angle = np.linspace(0, math.pi, 17)
    way = (1 - np.cos(angle)) / 2
    path = np.array(start) + way[:, None] * np.subtract(end, start)
    path[:, 1] += rise * np.sin(angle) ** 0.6
    return tube(path, radius, material)


def grid(wide: float, tall: float, columns: int, rows: int, at: Point, deep: float, material: Material, full: float = 0.65) -> Solid:
    """Blocks in rows and columns on a front, their field centred at `at`: buttons, slats, slots."""
    x, y, z = at
    dx, dy = wide / columns, tall / rows
    rects = [((i + 0.5) * dx - wide / 2, (j + 0.5) * dy - tall / 2, dx * full, dy * full) for i in range(columns) for j in range(rows)]
    return blocks_of(rects, deep, material, min(dx, dy) * 0.06).turned("x", 90).moved((x, y, z))


def screen_of(rng: Rng) -> Material:
    return plastic(rng, pick(rng, ("black", "grey", "blue", "blue", "green", "purple")))


def key_rects(width: float, depth: float, rows: int, pad: bool, cursor: bool, gap: float) -> tuple[list[Rect], list[Rect]]:
    """Plain and special keys of a field centred on the origin, as rectangles for `blocks_of`; the bottom row is at +Z."""
    plans = [
        [1.0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1],
        [1.0] * 13 + [2.0],
        [1.5] + [1.0] * 12 + [1.5],
        [1.75] + [1.0] * 11 + [2.25],
        [2.25] + [1.0] * 10 + [2.75],
        [1.25] * 3 + [6.25] + [1.25] * 4,
    ][6 - rows :]
    total = 15.0 + (3.25 if cursor else 0) + (4.25 if pad else 0)
    unit, deep = width / total, depth / rows
    plain: list[Rect] = []
    special: list[Rect] = []
    for r, plan in enumerate(plans):
        z, x = (r + 0.5) * deep - depth / 2, 0.0
        spare = (15 - sum(plan)) / max(1, plan.count(0))
        for wide in plan:
            rect = ((x + wide / 2) * unit - width / 2, z, wide * unit - gap, deep - gap)
            if wide:
                (special if wide != 1 and wide < 5 else plain).append(rect)
            x += wide or spare
        below = len(plans) - 1 - r
        x = 15.25
        if cursor:
            cells = {0: (0, 1, 2), 1: (1,), 2: ()}.get(below, (0, 1, 2))
            special += [((x + c + 0.5) * unit - width / 2, z, unit - gap, deep - gap) for c in cells]
            x += 3.25
        if pad and below < 5:
            plain += [((x + c + 0.5) * unit - width / 2, z, unit - gap, deep - gap) for c in range(4)]
    return plain, special


def keys_of(
    rng: Rng, width: float, depth: float, tall: float, rows: int, pad: bool, cursor: bool, colors: tuple[Material, Material]
) -> list[Solid]:
    gap = 0.12 * depth / rows + 0.001
    fields = key_rects(width, depth, rows, pad, cursor, gap)
    return [blocks_of(rects, tall, material, min(tall * 0.35, 0.003)) for rects, material in zip(fields, colors, strict=True)]
