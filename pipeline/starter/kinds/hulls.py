"""Lofted bodies, slabs, wings, wheels, railings and windows that several vehicles and buildings share."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.starter.kinds.solids import CREASE, Floats, Material, Point, Solid, rod, tube, turned
from pipeline.starter.kinds.thing import Parts

ROOM: Final = 5.6


PAINTS: Final = ("white", "black", "grey", "red", "blue", "green", "yellow", "orange", "beige", "brown")


def surface(points: Floats, faces: NDArray[np.int64], material: Material) -> Solid:
    """A closed skin, turned outward, smooth where neighbouring faces bend less than the crease."""
    corners = points[faces]  # [F, 3, 3]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    keep = area > 1e-9
    corners, cross, area = corners[keep], cross[keep], area[keep]
    if (cross * (corners[:, 0] - points.mean(axis=0))).sum() < 0:
        corners, cross = corners[:, ::-1], -cross
    flat, vertices = cross / area[:, None], corners.reshape(-1, 3)
    place = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)[1].reshape(-1)
    order, count = np.argsort(place, kind="stable"), np.bincount(place)
    many = count[place[order]]
    left = np.repeat(np.arange(len(order)), many)  # every corner with each that shares its place
    right = np.repeat((np.cumsum(count) - count)[place[order]] - np.cumsum(many) + many, many) + np.arange(len(left))
    near = (flat[order[left] // 3] * flat[order[right] // 3]).sum(axis=1) > CREASE
    normals = np.zeros_like(vertices)
    np.add.at(normals, order[left[near]], cross[order[right[near]] // 3])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Solid(vertices=vertices, normals=normals, faces=np.arange(len(vertices)).reshape(-1, 3), material=material)


def ears(ring: Floats) -> list[tuple[int, int, int]]:
    """Triangles that fill a flat outline [S, 3], however it bends."""
    middle = ring - ring.mean(axis=0)
    normal = np.cross(middle, np.roll(middle, -1, axis=0)).sum(axis=0)
    size = np.linalg.norm(normal)
    if size < 1e-9:
        return []
    side = np.cross(normal, np.eye(3)[np.argmin(abs(normal))])
    side /= np.linalg.norm(side)
    flat = np.stack([middle @ side, middle @ np.cross(normal / size, side)], axis=1)

    def turn(a: int, b: int, points: Floats) -> Floats:
        edge, way = flat[b] - flat[a], points - flat[a]
        return np.asarray(edge[0] * way[..., 1] - edge[1] * way[..., 0])

    rest, out = list(range(len(ring))), []
    while len(rest) > 3:
        best = 0
        for i in range(len(rest)):
            a, b, c = rest[i - 1], rest[i], rest[(i + 1) % len(rest)]
            others = flat[[k for k in rest if k not in (a, b, c)]]
            inside = (turn(a, b, others) > 1e-12) & (turn(b, c, others) > 1e-12) & (turn(c, a, others) > 1e-12)
            if turn(a, b, flat[c]) > 1e-12 and not inside.any():
                best = i
                break
        out.append((rest[best - 1], rest[best], rest[(best + 1) % len(rest)]))
        rest.pop(best)
    return [*out, (rest[0], rest[1], rest[2])]


def loft(rings: Sequence[Floats], material: Material) -> Solid:
    """A skin over cross-sections [S, 3] each, closed at both ends."""
    count, sides = len(rings), len(rings[0])
    j, k = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = [
        np.array(ears(rings[0]), np.int64).reshape(-1, 3)[:, ::-1],
        np.array(ears(rings[-1]), np.int64).reshape(-1, 3) + (count - 1) * sides,
    ]
    for low in range(0, sides * (count - 1), sides):
        faces += [np.stack([low + j, low + k, low + sides + k], axis=1), np.stack([low + j, low + sides + k, low + sides + j], axis=1)]
    return surface(np.concatenate(rings).astype(float), np.concatenate(faces), material)


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


def sheet(front: Floats, back: Floats, material: Material) -> Solid:
    """A cloth between two grids of points [K, N, 3] each."""
    return loft([np.concatenate([one, other[::-1]]) for one, other in zip(front, back, strict=True)], material)


def wing_of(root: Point, tip: Point, chord: float, end: float, thick: float, material: Material) -> Solid:
    """A wing from a leading edge point to another; its chord runs towards -Z, from `chord` to `end`. `thick` is a part of the chord."""
    c = (1 - np.cos(np.linspace(0, math.pi, 8))) / 2
    half = 5 * thick * (0.2969 * np.sqrt(c) - 0.126 * c - 0.3516 * c**2 + 0.2843 * c**3 - 0.1015 * c**4)
    foil = np.concatenate([np.stack([c, half], axis=1), np.stack([c, -half], axis=1)[-1:0:-1]])  # [S, 2]: along the chord, up
    start, way = np.array(root), np.subtract(tip, root)
    up = np.cross((0.0, 0.0, 1.0), way)
    up /= np.linalg.norm(up)
    rings = []
    for at, fat in ((0.0, 1.0), (0.5, 1.0), (0.9, 1.0), (0.975, 0.75), (1.0, 0.25)):
        size = chord + (end - chord) * at
        inset = 0.25 * size * (1 - fat) ** 2
        rings.append(
            start + way * at + np.outer(-inset - foil[:, 0] * (size - 2 * inset), (0, 0, 1)) + np.outer(foil[:, 1] * size * fat, up)
        )
    return loft(rings, material)


def oval(width: float, height: float, y: float, z: float, power: float = 2.0, sides: int = 24) -> Floats:
    """An upright cross-section: an ellipse, or with a higher power more of a rounded rectangle."""
    angle = np.arange(sides) * (2 * math.pi / sides)
    c, s = np.cos(angle), np.sin(angle)
    x = width / 2 * np.sign(c) * abs(c) ** (2 / power)
    return np.stack([x, y + height / 2 * np.sign(s) * abs(s) ** (2 / power), np.full(sides, z)], axis=1)


def rounded(width: float, low: float, high: float, radius: float, corner: int = 4) -> list[tuple[float, float]]:
    """The outline of a rectangle about X = 0 with round corners."""
    radius = min(radius, 0.49 * width, 0.49 * (high - low))
    points = []
    for turn, (x, y) in enumerate(((1, high), (-1, high), (-1, low), (1, low))):
        middle = (x * (width / 2 - radius), y - math.copysign(radius, y - (low + high) / 2))
        for angle in np.linspace(0, math.pi / 2, corner) + turn * math.pi / 2:
            points.append((middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)))
    return points


def bent_by(points: Sequence[Sequence[float]] | Floats, count: int) -> Floats:
    """A smooth curve [count, D] through points [K, D]."""
    line = np.array(points, float)
    slope = np.gradient(line, axis=0)
    at = np.linspace(0, len(line) - 1, count)
    i = np.minimum(at.astype(int), len(line) - 2)
    t = (at - i)[:, None]
    near = (2 * t**3 - 3 * t**2 + 1) * line[i] + (t**3 - 2 * t**2 + t) * slope[i]
    return np.asarray(near + (3 * t**2 - 2 * t**3) * line[i + 1] + (t**3 - t**2) * slope[i + 1])


def body_of(stations: Sequence[tuple[float, float, float, float]], material: Material, power: float = 2.0, count: int = 28) -> Solid:
    """A fuselage through (z, width, height, y of the middle)."""
    line = bent_by(stations, count)
    return loft([oval(max(w, 0.004), max(h, 0.004), y, z, power) for z, w, h, y in line], material)


def placed(solids: Sequence[Solid], room: float = ROOM) -> tuple[Solid, ...]:
    """Set on the ground, and shrunk if it is larger than the room."""
    low = np.min([solid.vertices.min(axis=0) for solid in solids], axis=0)
    high = np.max([solid.vertices.max(axis=0) for solid in solids], axis=0)
    scale = min(1.0, room / float((high - low).max()))
    shift = np.array([-(low[0] + high[0]) / 2, -low[1], -(low[2] + high[2]) / 2])
    return tuple(replace(solid, vertices=(solid.vertices + shift) * scale) for solid in solids)


def set_around(solids: Sequence[Solid], count: int, start: float = 0.0) -> list[Solid]:
    """Copies about the vertical axis."""
    return [solid.turned("y", start + i * 360 / count) for i in range(count) for solid in solids]


def parts_of(*counted: tuple[str, int]) -> tuple[Parts, ...]:
    return tuple(Parts(noun=noun, count=count) for noun, count in counted if count)


def wheel_of(radius: float, width: float, spokes: int, tyre: Material, rim: Material) -> list[Solid]:
    """A wheel about the origin whose outside is towards +X."""
    r, w = radius, width
    line = [(0, -w / 2), (0.9 * r, -w / 2), (0.97 * r, -0.4 * w), (r, -0.25 * w), (r, 0.25 * w), (0.97 * r, 0.4 * w), (0.9 * r, w / 2)]
    solids = [turned([*line, (0.68 * r, 0.48 * w), (0.66 * r, 0.3 * w), (0, 0.3 * w)], (0, 0, 0), tyre, sides=28)]
    if spokes:
        solids.append(
            turned([(0.66 * r, 0.3 * w), (0.68 * r, 0.5 * w), (0.6 * r, 0.48 * w), (0.58 * r, 0.3 * w)], (0, 0, 0), rim, sides=28)
        )
        solids.append(turned([(0, 0), (0.17 * r, 0), (0.14 * r, 0.5 * w), (0, 0.5 * w)], (0, 0, 0), rim, sides=16))
        spoke = slab([(0.1 * r, -0.08 * r), (0.64 * r, -0.05 * r), (0.64 * r, 0.05 * r), (0.1 * r, 0.08 * r)], 0.14 * w, rim)
        solids += set_around([spoke.turned("x", -90).moved((0, 0.4 * w, 0))], spokes)
    else:
        cap = [(0, 0.2 * w), (0.67 * r, 0.2 * w), (0.67 * r, 0.44 * w), (0.45 * r, 0.4 * w), (0.25 * r, 0.5 * w), (0, 0.54 * w)]
        solids.append(turned(cap, (0, 0, 0), rim, sides=24))
    return [solid.turned("z", -90) for solid in solids]


def railing(path: Floats, high: float, kind: int, bar: Material, rail: Material) -> list[Solid]:
    """Along points at the feet of the balusters: bars, a pane of glass or only two posts, and a handrail."""
    tops = np.add(path, (0, high, 0))
    solids = [tube(tops, 0.03, rail, sides=10)]
    for i in (0, -1):
        x, y, z = (float(v) for v in path[i])
        post = [(0, 0), (0.04, 0), (0.04, high * 0.9), (0.028, high * 0.93), (0.05, high + 0.03), (0.035, high + 0.08), (0, high + 0.09)]
        solids.append(turned(post, (x, y, z), rail, sides=14))
    if kind == 0:
        solids += [rod(tuple(a), tuple(b), 0.013, 0.013, bar, sides=8) for a, b in zip(path[1:-1], tops[1:-1], strict=True)]
    elif kind == 1:
        line = [(0, 0), (0.018, 0), (0.012, 0.15), (0.026, 0.4), (0.012, 0.62), (0.018, 0.8), (0.014, 1), (0, 1)]
        for x, y, z in path[1:-1]:
            solids.append(turned([(r, h * high) for r, h in line], (float(x), float(y), float(z)), bar, sides=10))
    elif kind == 2:
        solids += [tube(np.add(path, (0, high * k, 0)), 0.012, bar, sides=8) for k in (0.25, 0.5, 0.75)]
        solids += [rod(tuple(path[i]), tuple(tops[i]), 0.016, 0.016, bar, sides=8) for i in range(3, len(path) - 2, 3)]
    else:
        side = np.cross(path[-1] - path[0], (0, 1, 0))
        side = side / np.linalg.norm(side) * 0.012
        solids.append(sheet(np.array([path + side, tops + side]), np.array([path - side, tops - side]), bar))
    return solids
