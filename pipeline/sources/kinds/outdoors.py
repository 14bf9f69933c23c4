"""Things that stand outside: vehicles (car, airplane, boat, rocket), a tent, ladders, stairs, a traffic cone, a mailbox, a house.

Besides the solids of `solids` they need free forms: `_loft` joins cross-sections to one skin, `_slab` extrudes an outline, `_wing` is a
fin or a wing, `_sheet` a cloth between two grids of points. What is larger than a room in life is made at its size and then shrunk by
`_placed` to a model of it of at most `ROOM` metres.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.kinds.thing import (
    BLACK,
    BRASS,
    STEEL,
    WHITE,
    Parts,
    Rng,
    Thing,
    ceramic,
    fabric,
    four,
    glass,
    leather,
    maybe,
    metal,
    pick,
    plastic,
    stone,
    wood,
)
from pipeline.sources.solids import CREASE, Floats, Material, Point, Solid, box, cushion, disc, rod, tube, turned

ROOM: Final = 5.6
PAINTS: Final = ("white", "black", "grey", "red", "blue", "green", "yellow", "orange", "beige", "brown")


# ------------------------------------------------------------------------------------------------------------ free forms


def _surface(points: Floats, faces: NDArray[np.int64], material: Material) -> Solid:
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


def _ears(ring: Floats) -> list[tuple[int, int, int]]:
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


def _loft(rings: Sequence[Floats], material: Material) -> Solid:
    """A skin over cross-sections [S, 3] each, closed at both ends."""
    count, sides = len(rings), len(rings[0])
    j, k = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = [
        np.array(_ears(rings[0]), np.int64).reshape(-1, 3)[:, ::-1],
        np.array(_ears(rings[-1]), np.int64).reshape(-1, 3) + (count - 1) * sides,
    ]
    for low in range(0, sides * (count - 1), sides):
        faces += [np.stack([low + j, low + k, low + sides + k], axis=1), np.stack([low + j, low + sides + k, low + sides + j], axis=1)]
    return _surface(np.concatenate(rings).astype(float), np.concatenate(faces), material)


def _slab(outline: Sequence[tuple[float, float]], thick: float, material: Material, *, bevel: float = 0.0) -> Solid:
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
    return _loft([np.column_stack([line - mitre * inset, np.full(len(line), z)]) for z, inset in levels], material)


def _soft(size: Point, at: Point, radius: float, material: Material) -> Solid:
    """What `cushion` is, of a quarter of its triangles: for the small parts."""
    line = _rounded(size[0], 0, size[1], radius, 3)
    return _slab(line, size[2], material, bevel=min(radius, 0.45 * min(size)) * 0.6).moved(at)


def _sheet(front: Floats, back: Floats, material: Material) -> Solid:
    """A cloth between two grids of points [K, N, 3] each."""
    return _loft([np.concatenate([one, other[::-1]]) for one, other in zip(front, back, strict=True)], material)


def _wing(root: Point, tip: Point, chord: float, end: float, thick: float, material: Material) -> Solid:
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
    return _loft(rings, material)


def _oval(width: float, height: float, y: float, z: float, power: float = 2.0, sides: int = 24) -> Floats:
    """An upright cross-section: an ellipse, or with a higher power more of a rounded rectangle."""
    angle = np.arange(sides) * (2 * math.pi / sides)
    c, s = np.cos(angle), np.sin(angle)
    x = width / 2 * np.sign(c) * abs(c) ** (2 / power)
    return np.stack([x, y + height / 2 * np.sign(s) * abs(s) ** (2 / power), np.full(sides, z)], axis=1)


def _rounded(width: float, low: float, high: float, radius: float, corner: int = 4) -> list[tuple[float, float]]:
    """The outline of a rectangle about X = 0 with round corners."""
    radius = min(radius, 0.49 * width, 0.49 * (high - low))
    points = []
    for turn, (x, y) in enumerate(((1, high), (-1, high), (-1, low), (1, low))):
        middle = (x * (width / 2 - radius), y - math.copysign(radius, y - (low + high) / 2))
        for angle in np.linspace(0, math.pi / 2, corner) + turn * math.pi / 2:
            points.append((middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)))
    return points


def _bend(points: Sequence[Sequence[float]] | Floats, count: int) -> Floats:
    """A smooth curve [count, D] through points [K, D]."""
    line = np.array(points, float)
    slope = np.gradient(line, axis=0)
    at = np.linspace(0, len(line) - 1, count)
    i = np.minimum(at.astype(int), len(line) - 2)
    t = (at - i)[:, None]
    near = (2 * t**3 - 3 * t**2 + 1) * line[i] + (t**3 - 2 * t**2 + t) * slope[i]
    return np.asarray(near + (3 * t**2 - 2 * t**3) * line[i + 1] + (t**3 - t**2) * slope[i + 1])


def _body(stations: Sequence[tuple[float, float, float, float]], material: Material, power: float = 2.0, count: int = 28) -> Solid:
    """A fuselage through (z, width, height, y of the middle)."""
    line = _bend(stations, count)
    return _loft([_oval(max(w, 0.004), max(h, 0.004), y, z, power) for z, w, h, y in line], material)


def _placed(solids: Sequence[Solid], room: float = ROOM) -> tuple[Solid, ...]:
    """Set on the ground, and shrunk if it is larger than the room."""
    low = np.min([solid.vertices.min(axis=0) for solid in solids], axis=0)
    high = np.max([solid.vertices.max(axis=0) for solid in solids], axis=0)
    scale = min(1.0, room / float((high - low).max()))
    shift = np.array([-(low[0] + high[0]) / 2, -low[1], -(low[2] + high[2]) / 2])
    return tuple(replace(solid, vertices=(solid.vertices + shift) * scale) for solid in solids)


def _around(solids: Sequence[Solid], count: int, start: float = 0.0) -> list[Solid]:
    """Copies about the vertical axis."""
    return [solid.turned("y", start + i * 360 / count) for i in range(count) for solid in solids]


def _parts(*counted: tuple[str, int]) -> tuple[Parts, ...]:
    return tuple(Parts(noun=noun, count=count) for noun, count in counted if count)


# ------------------------------------------------------------------------------------------------------------- vehicles

# Along the length from the back (0) to the front (1): where the cabin begins and ends at the belt line, and where its roof does.
CARS: Final[dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], float, float, float, tuple[float, ...]]]] = {
    # length, height, wheel radius, belt, bonnet and boot (parts of the height), (base from, to, roof from, to)
    "sedan": ((4.3, 5.0), (1.38, 1.48), (0.31, 0.34), 0.63, 0.52, 0.62, (0.11, 0.71, 0.27, 0.53)),
    "estate": ((4.4, 4.9), (1.42, 1.52), (0.31, 0.34), 0.63, 0.53, 0.62, (0.01, 0.71, 0.06, 0.54)),
    "hatchback": ((3.4, 4.2), (1.42, 1.56), (0.28, 0.32), 0.61, 0.53, 0.6, (0.01, 0.76, 0.09, 0.56)),
    "coupe": ((4.2, 4.7), (1.15, 1.28), (0.32, 0.35), 0.66, 0.48, 0.66, (0.06, 0.68, 0.29, 0.48)),
    "jeep": ((4.2, 4.9), (1.68, 1.9), (0.36, 0.41), 0.6, 0.54, 0.59, (0.01, 0.73, 0.05, 0.61)),
    "van": ((4.5, 5.6), (1.85, 2.3), (0.31, 0.36), 0.53, 0.42, 0.52, (0.004, 0.9, 0.02, 0.76)),
    "pickup": ((4.9, 5.4), (1.65, 1.85), (0.36, 0.41), 0.58, 0.52, 0.56, (0.37, 0.73, 0.4, 0.61)),
    "convertible": ((3.9, 4.6), (1.2, 1.35), (0.31, 0.34), 0.64, 0.5, 0.62, (0.28, 0.68, 0.3, 0.56)),
}


def _wheel(radius: float, width: float, spokes: int, tyre: Material, rim: Material) -> list[Solid]:
    """A wheel about the origin whose outside is towards +X."""
    r, w = radius, width
    line = [(0, -w / 2), (0.9 * r, -w / 2), (0.97 * r, -0.4 * w), (r, -0.25 * w), (r, 0.25 * w), (0.97 * r, 0.4 * w), (0.9 * r, w / 2)]
    solids = [turned([*line, (0.68 * r, 0.48 * w), (0.66 * r, 0.3 * w), (0, 0.3 * w)], (0, 0, 0), tyre, sides=28)]
    if spokes:
        solids.append(
            turned([(0.66 * r, 0.3 * w), (0.68 * r, 0.5 * w), (0.6 * r, 0.48 * w), (0.58 * r, 0.3 * w)], (0, 0, 0), rim, sides=28)
        )
        solids.append(turned([(0, 0), (0.17 * r, 0), (0.14 * r, 0.5 * w), (0, 0.5 * w)], (0, 0, 0), rim, sides=16))
        spoke = _slab([(0.1 * r, -0.08 * r), (0.64 * r, -0.05 * r), (0.64 * r, 0.05 * r), (0.1 * r, 0.08 * r)], 0.14 * w, rim)
        solids += _around([spoke.turned("x", -90).moved((0, 0.4 * w, 0))], spokes)
    else:
        cap = [(0, 0.2 * w), (0.67 * r, 0.2 * w), (0.67 * r, 0.44 * w), (0.45 * r, 0.4 * w), (0.25 * r, 0.5 * w), (0, 0.54 * w)]
        solids.append(turned(cap, (0, 0, 0), rim, sides=24))
    return [solid.turned("z", -90) for solid in solids]


def _wheels(spots: Sequence[tuple[float, float, float]], wheel: Sequence[Solid]) -> list[Solid]:
    """A wheel at each spot, its outside away from X = 0."""
    return [(solid if x > 0 else solid.turned("y", 180)).moved((x, y, z)) for x, y, z in spots for solid in wheel]


def car(rng: Rng) -> Thing:
    form = rng.random()
    if form < 0.16:
        return (_old_car if form < 0.1 else _racing_car)(rng)
    name = pick(rng, tuple(CARS))
    lengths, heights, radii, belt, bonnet, boot, (back, front, roof_back, roof_front) = CARS[name]
    length, height, radius = rng.uniform(*lengths), rng.uniform(*heights), rng.uniform(*radii)
    half, belt, bonnet, boot = length * rng.uniform(0.19, 0.215), belt * height, bonnet * height, boot * height
    half = float(np.clip(half, 0.8, 0.98))
    clear, arch = radius * rng.uniform(0.55, 0.75), radius * rng.uniform(1.12, 1.22)
    paint, tyre, pane = metal(rng, pick(rng, PAINTS)), BLACK, glass(rng, pick(rng, ("black", "black", "blue", "grey")))
    boxy, trim = rng.uniform(0.3, 1.0), pick(rng, (STEEL, BLACK, paint))
    axles = (-length * rng.uniform(0.29, 0.32), length * rng.uniform(0.3, 0.33))

    def z_at(part: float) -> float:
        return (part - 0.5) * length

    hole = {"pickup": (0.015, back - 0.01), "convertible": (back, front - 0.06)}.get(name)
    marks = [mark for axle in axles for mark in (axle - arch, axle - arch + 0.004, axle + arch - 0.004, axle + arch)]
    marks += [z_at(f) + d for f in hole or () for d in (-0.004, 0.004)]
    stations = np.unique(np.concatenate([np.linspace(-length / 2, length / 2, 56), marks]))
    slope = rng.uniform(0.0, 0.06) * height
    top = np.interp(stations, [z_at(f) for f in (0, back, front, 0.97, 1)], [boot - slope, belt, belt - 0.01, bonnet, bonnet - 0.05])
    for _ in range(2):
        top[1:-1] = (top[:-2] + 2 * top[1:-1] + top[2:]) / 4
    ends = rng.uniform(0.14, 0.3)
    drop = ends * (1 - np.sqrt(1 - np.clip((abs(stations) - length / 2 + ends) / ends, 0, 1) ** 2))
    wide = half * (1 - 0.1 * abs(2 * stations / length) ** 3) - drop * 0.6
    top = top - drop * 0.6 * boxy
    low = clear + drop * 0.4
    for axle in axles:
        rise = np.sqrt(np.maximum(arch**2 - (stations - axle) ** 2, 0))
        low = np.where(abs(stations - axle) < arch, np.maximum(low, radius + rise), low)
    low = np.minimum(low, top - 0.08)

    def bulge(y: Floats) -> Floats:
        """How much narrower the body is above and below its widest line."""
        return np.asarray(1 - 0.07 * ((y - 0.4 * height) / (0.3 * height)) ** 2)

    def rings(side: int, first: float, last: float, tops: Floats) -> list[Floats]:
        """Cross-sections of the whole body, or of the wall on one side of it."""
        out = []
        for z, w, bottom, high in zip(stations, wide, low, tops, strict=True):
            if first - 1e-6 <= z <= last + 1e-6:
                line = np.array(_rounded(0.09 if side else 2 * w, bottom, high, 0.04 if side else 0.22 - 0.14 * boxy))
                x = (line[:, 0] + side * (w - 0.045)) * bulge(line[:, 1])
                out.append(np.stack([x, line[:, 1], np.full(len(x), z)], axis=1))
        return out

    floor = top
    if hole:
        deep = 0.5 * height if name == "pickup" else 0.35 * height
        inside = (stations > z_at(hole[0])) & (stations < z_at(hole[1]))
        floor = np.where(inside, np.maximum(deep, low + 0.02), top)
    solids = [_loft(rings(0, -9, 9, floor), paint)]
    if hole:
        solids += [_loft(rings(side, z_at(hole[0]), z_at(hole[1]), top), paint) for side in (-1, 1)]
    inner = half - 0.27
    solids.append(box((2 * inner, 0.26 if hole else belt - clear - 0.15, length * 0.86), (0, clear * 1.02, 0), BLACK))
    spots = [(side * (half * 0.97 - 0.11), radius, axle) for side in (-1, 1) for axle in axles]
    solids += _wheels(spots, _wheel(radius, 0.22, pick(rng, (0, 5, 6, 10)), tyre, STEEL))

    # The cabin: glass from the belt to the roof, pillars, roof.
    rails, seats, sign, doors = 0, 0, 0, 2 if name in ("coupe", "convertible") else pick(rng, (2, 4, 4))
    base_half, roof_half, roof = half * 0.9, half * rng.uniform(0.7, 0.78), height
    bend, arc = rng.uniform(0.1, 0.25), rng.uniform(0.0, 0.08) * height * (0.4 if name == "van" else 1.0)

    def plan(t: float, grow: float, y: float) -> Floats:
        z0, z1 = z_at(back + (roof_back - back) * t) - grow, z_at(front + (roof_front - front) * t) + grow
        line = np.array(_rounded(2 * (base_half + (roof_half - base_half) * t + grow), z0, z1, bend + grow))
        crown = 0.05 * length * (1 - (line[:, 0] / base_half) ** 2) * (line[:, 1] > 0)  # the windscreen bulges
        fall = arc * t * ((line[:, 1] - (z0 + z1) / 2) / (z1 - z0) * 2) ** 2
        return np.stack([line[:, 0], y - fall, line[:, 1] + 0.3 * crown], axis=1)

    sill = belt - 0.04
    if name == "convertible":
        screen = [(-base_half, 0), (base_half, 0), (roof_half, 0.36 * height), (-roof_half, 0.36 * height)]
        lean = math.degrees(math.atan2((front - roof_front) * length * 0.9, roof - belt))
        for solid in (
            _slab(screen, 0.02, pane),
            tube(np.array([(x, y, 0.0) for x, y in (screen[0], screen[3], screen[2], screen[1])]), 0.025, trim),
        ):
            solids.append(solid.turned("x", -lean).moved((0, belt - 0.05, z_at(front) - 0.05)))
        hide, seats = leather(rng), pick(rng, (2, 4))
        for row in range(seats // 2):
            z = z_at(front) - 0.95 - 0.75 * row
            for x in (-0.37, 0.37):
                solids.append(_soft((0.5, 0.16, 0.5), (x, 0.34 * height, z), 0.07, hide))
                solids.append(_soft((0.5, 0.62, 0.15), (0, 0, 0), 0.1, hide).turned("x", -14).moved((x, 0.37 * height, z - 0.24)))
        dash = z_at(front) - 0.42
        solids.append(cushion((2 * half - 0.3, 0.25, 0.3), (0, belt - 0.27, dash + 0.08), 0.1, BLACK))
        ring = np.array([(0.18 * math.cos(a), 0.18 * math.sin(a), 0) for a in np.linspace(0, 2 * math.pi, 21)])
        solids.append(tube(ring, 0.016, BLACK, sides=8).turned("x", -25).moved((0.37, belt, dash - 0.2)))
    else:
        levels = np.linspace(0, 1, 5)
        solids.append(_loft([plan(t, 0.0, sill + t * (roof - 0.07 - sill)) for t in levels], pane))
        crown_line = [(1.0, 0.014, -0.1), (1.0, 0.016, -0.06), (1.0, 0.0, -0.025), (1.0, -0.07, -0.008), (1.0, -0.2, 0.0)]
        solids.append(_loft([plan(t, grow, roof + y) for t, grow, y in crown_line], paint))
        low_line, high_line = plan(0, 0.004, sill), plan(1, 0.004, roof - 0.06)
        posts = [low_line.shape[0] // 4 * i + 1 for i in range(4)]
        solids += [rod(tuple(low_line[i]), tuple(high_line[i]), 0.05, 0.045, paint, sides=8) for i in posts]
        middles = [0.5] if doors == 2 else ([0.34, 0.62] if name != "pickup" else [0.45])
        panel = name == "van" and maybe(rng, 0.5)
        for side in (-1, 1):
            for f in middles:
                foot = (side * (base_half - 0.015), sill, z_at(back + (front - back) * f))
                head = (side * (roof_half - 0.015), roof - 0.06, z_at(roof_back + (roof_front - roof_back) * f))
                solids.append(rod(foot, head, 0.045, 0.04, paint, sides=8))
        if panel:  # no windows behind the driver
            line = [(z_at(back), 0.0), (z_at(0.56), 0.0), (z_at(0.54), 1.0), (z_at(roof_back), 1.0)]
            quad = [
                np.array([[s * (base_half + (roof_half - base_half) * t + 0.015), sill + t * (roof - 0.06 - sill), z] for z, t in line])
                for s in (1, -1)
            ]
            solids.append(_loft(quad, paint))
        if maybe(rng, 0.25) and name in ("estate", "jeep", "van", "hatchback"):
            rails = 2
            for side in (-1, 1):
                x, z0, z1 = side * (roof_half - 0.14), z_at(roof_back + 0.06), z_at(roof_front - 0.05)
                path = [(x, roof - 0.1, z0), (x, roof + 0.04, z0 + 0.12), (x, roof + 0.04, z1 - 0.12), (x, roof - 0.1, z1)]
                solids.append(tube(np.array(path), 0.02, STEEL, sides=8))

        elif maybe(rng, 0.12) and name in ("sedan", "estate"):
            sign = 1
            color = pick(rng, ("yellow", "blue", "red", "white"))
            solids.append(
                _soft((0.7 if color != "yellow" else 0.4, 0.15, 0.18), (0, roof - 0.02, z_at(roof_front) - 0.4), 0.05, plastic(rng, color))
            )

    # Seams of the doors, handles, mirrors, lights and bumpers.
    def skin(y: Floats | float, z: float) -> Floats:
        return np.asarray(float(np.interp(z, stations, wide)) * bulge(np.asarray(y)))

    lines = [0.3, 0.5, 0.66] if doors == 4 else [0.36, 0.66]
    if name == "van":
        lines = [0.3, 0.52, 0.72] if doors == 4 else [0.5, 0.72]
    if name == "pickup":
        lines = [0.39, 0.54, 0.69] if doors == 4 else [0.41, 0.66]
    for side in (-1, 1):
        for f in lines:
            z = z_at(f)
            line_up = np.linspace(max(clear + 0.1, float(np.interp(z, stations, low)) + 0.02), belt - 0.05, 8)
            solids.append(tube(np.stack([side * skin(line_up, z), line_up, np.full(8, z)], axis=1), 0.008, BLACK, sides=6))
        for f in lines[:-1]:
            y, z = belt - 0.13, z_at(f) + 0.14
            solids.append(_soft((0.04, 0.03, 0.18), (side * (float(skin(y, z)) + 0.005), y, z), 0.012, trim))
        z = z_at(front) - 0.42
        solids.append(_soft((0.2, 0.13, 0.1), (side * (float(skin(belt, z)) + 0.08), belt, z), 0.045, trim))
    lamp, red = glass(rng, "white"), plastic(rng, "red")
    for end, light in ((1, lamp), (-1, red)):
        tip = length / 2 - 0.06
        y = (bonnet if end > 0 else boot) * 0.84
        w = float(np.interp(end * (tip - 0.08), stations, wide)) * 0.94
        size = (0.22, 0.17, 0.16) if boxy < 0.6 else (0.36, 0.12, 0.16)
        solids += [_soft(size, (side * (w - size[0] / 2), y - size[1], end * (tip - 0.02)), 0.06, light) for side in (-1, 1)]
        solids.append(_soft((1.9 * w, 0.15, 0.2), (0, clear + 0.1, end * tip), 0.06, trim))
    solids.append(_soft((w * 0.9, 0.14, 0.1), (0, bonnet * 0.84 - 0.18, length / 2 - 0.04), 0.03, BLACK))
    solids.append(box((0.46, 0.11, 0.02), (0, clear + 0.13, -length / 2 - 0.035), WHITE))
    spoiler = int(name in ("coupe", "hatchback", "sedan") and maybe(rng, 0.4 if name == "coupe" else 0.15))
    if spoiler:
        rear = -length / 2 + 0.2
        y = boot + 0.16 if name != "hatchback" else roof
        z = rear if name != "hatchback" else z_at(roof_back) - 0.1
        solids.append(_soft((1.7 * half, 0.04, 0.28), (0, y, z), 0.018, paint))
        if name != "hatchback":
            solids += [box((0.05, 0.32, 0.14), (side * half * 0.6, y - 0.3, z), paint) for side in (-1, 1)]
    spare = int(name == "jeep" and maybe(rng, 0.4))
    if spare:
        solids += [solid.turned("y", 90).moved((0, belt - 0.02, -length / 2 - 0.08)) for solid in _wheel(radius * 0.9, 0.2, 5, tyre, STEEL)]
    style = {"coupe": ("low",), "convertible": ("open", "low"), "van": ("tall",), "jeep": ("tall",)}.get(name, ())
    said = _parts(
        ("door", doors), ("seat", seats), ("spoiler", spoiler), ("roof rail", rails), ("roof light", sign), ("spare wheel", spare)
    )
    return Thing(solids=_placed(solids), main=paint, style=style, parts=said[:4])


def _racing_car(rng: Rng) -> Thing:
    """One seat, free wheels, a wing before and behind."""
    length, paint, second = rng.uniform(3.9, 4.8), metal(rng, pick(rng, PAINTS)), metal(rng, pick(rng, PAINTS))
    radius, track = rng.uniform(0.3, 0.36), rng.uniform(0.68, 0.8)
    fat = rng.uniform(0.9, 1.3)
    stations = [
        (-0.44, 0.2, 0.25, 0.4),
        (-0.3, 0.45, 0.55, 0.45),
        (-0.12, 0.62, 0.68, 0.44),
        (0.05, 0.66, 0.46, 0.38),
        (0.22, 0.5, 0.4, 0.36),
    ]
    stations += [(0.4, 0.3, 0.22, 0.3), (0.5, 0.12, 0.08, 0.24)]
    solids = [_body([(z * length, w * fat, h, y) for z, w, h, y in stations], paint, 3)]
    pods = pick(rng, (0, 2, 2))
    for s in (-1, 1)[:pods]:
        pod = [(-0.3, 0.1, 0.15, 0.3), (-0.15, 0.36, 0.36, 0.34), (0.0, 0.42, 0.42, 0.36), (0.04, 0.36, 0.36, 0.36)]
        solids.append(_body([(z * length, w, h, y) for z, w, h, y in pod], pick(rng, (paint, second)), 4, 14).moved((s * 0.42 * fat, 0, 0)))
        solids.append(cushion((0.28, 0.28, 0.04), (s * 0.42 * fat, 0.22, 0.041 * length), 0.015, BLACK))
    hole = [(0, 0), (0.24, 0), (0.27, 0.03), (0.2, 0.05), (0.18, -0.02), (0, -0.02)]
    solids.append(turned(hole, (0, 0.56, 0.05 * length), BLACK, squash=1.6, sides=24))
    solids.append(cushion((0.3, 0.3, 0.25), (0, 0.6, -0.06 * length), 0.1, second))
    wings = pick(rng, (0, 2, 2, 2))
    if wings:
        for z, y, w, deep in ((0.47 * length, 0.12, 1.5, 0.36), (-0.45 * length, 0.9, 1.1, 0.34)):
            solids.append(cushion((w, 0.04, deep), (0, y, z), 0.018, second))
            solids += [box((0.025, 0.24, deep * 1.1), (s * w / 2, y - 0.08, z), second) for s in (-1, 1)]
        solids += [box((0.04, 0.5, 0.2), (s * 0.12, 0.42, -0.43 * length), BLACK) for s in (-1, 1)]
    spots = [(s * track, radius, z * length) for s in (-1, 1) for z in (-0.34, 0.31)]
    solids += _wheels(spots, _wheel(radius, 0.34, pick(rng, (0, 5, 6)), BLACK, STEEL))
    for x, y, z in spots:
        solids += [
            rod((x, y + k, z), (x * 0.15, y + k * 1.5, z + q), 0.018, 0.018, BLACK, sides=8) for k in (-0.08, 0.08) for q in (-0.15, 0.15)
        ]
    return Thing(solids=_placed(solids), main=paint, style=("open", "low", "slim"), parts=_parts(("wing", wings)))


def _old_car(rng: Rng) -> Thing:
    """With a long bonnet, fenders that stand free, an upright cabin and thin wheels."""
    length, radius = rng.uniform(3.6, 4.4), rng.uniform(0.36, 0.43)
    paint, dark = metal(rng, pick(rng, PAINTS)), pick(rng, (BLACK, metal(rng, pick(rng, PAINTS))))
    pane, shiny = glass(rng, "black"), pick(rng, (STEEL, BRASS))
    axles, open_top = (-length * 0.32, length * 0.34), maybe(rng, 0.35)
    nose, cowl, back = length * 0.4, length * 0.1, -length * 0.38
    low, belt, roof = radius, radius + 0.72, radius + 1.25
    bonnet = [_oval(w, h, low + h / 2, z, 3.5) for z, w, h in ((cowl, 1.16, 0.7), (cowl + 0.1, 1.1, 0.68), (nose, 0.72, 0.6))]
    solids = [
        _loft(bonnet, paint),
        cushion((0.68, 0.62, 0.12), (0, low, nose + 0.03), 0.05, shiny),
        cushion((0.5, 0.48, 0.06), (0, low + 0.05, nose + 0.08), 0.02, BLACK),
    ]
    tub = belt if not open_top else belt - 0.25
    plan = [(back - 0.02, 0.5), (back, 0.8), (back + 0.3, 1.15), (cowl - 0.2, 1.24), (cowl, 1.16)]
    solids.append(_loft([_oval(w, tub - low, (low + tub) / 2, z, 5) for z, w in plan], paint))
    doors, seats = pick(rng, (2, 4)), 0
    if open_top:
        hide, seats = leather(rng), pick(rng, (1, 2))
        for z in (cowl - 0.75, back + 0.35)[:seats]:
            solids += [cushion((1.0, 0.2, 0.5), (0, tub - 0.06, z), 0.08, hide), cushion((1.04, 0.5, 0.16), (0, tub, z - 0.28), 0.07, hide)]
        solids.append(box((1.1, 0.45, 0.02), (0, tub, cowl - 0.05), pane))
        solids += [box((0.03, 0.47, 0.03), (x, tub, cowl - 0.05), shiny) for x in (-0.55, 0.55)]
        solids += [box((1.12, 0.03, 0.03), (0, tub + 0.45, cowl - 0.05), shiny)]
        ring = np.array([(0.2 * math.cos(a), 0.2 * math.sin(a), 0) for a in np.linspace(0, 2 * math.pi, 21)])
        solids.append(tube(ring, 0.016, BLACK, sides=8).turned("x", -35).moved((0.28, tub + 0.18, cowl - 0.3)))
    else:
        solids.append(
            _loft(
                [
                    _oval(w, 1.0, 0, 0, 6)[:, [0, 2, 1]] * (1, 1, d) + (0, y, (cowl + back) / 2 + 0.1)
                    for y, w, d in ((belt - 0.05, 1.18, cowl - back - 0.3), (roof, 1.08, cowl - back - 0.42))
                ],
                pane,
            )
        )
        top = [(roof - 0.08, 1.12, 0.36), (roof, 1.14, 0.34), (roof + 0.07, 1.05, 0.5), (roof + 0.1, 0.7, 0.9)]
        solids.append(
            _loft(
                [_oval(w, 1.0, 0, 0, 5)[:, [0, 2, 1]] * (1, 1, cowl - back - d) + (0, y, (cowl + back) / 2 + 0.1) for y, w, d in top], paint
            )
        )
        for x in (-0.56, 0.56):
            for z in np.linspace(back + 0.27, cowl - 0.09, 3 if doors == 4 else 2):
                solids.append(box((0.07, roof - belt + 0.1, 0.09), (x * 0.98, belt - 0.05, float(z)), paint))
    around = np.linspace(-0.1, math.pi + 0.1, 16)
    for side in (-1, 1):
        for z in axles:
            rows = [
                [
                    (side * (0.58 + x), radius + r * math.sin(a), z + r * 1.1 * math.cos(a))
                    for x, r in ((0, radius + 0.1), (0.12, radius + 0.12), (0.24, radius + 0.06))
                ]
                for a in around
            ]
            inner = np.array(rows) - np.array([[(0, 0.03 * math.sin(a), 0.03 * math.cos(a))] * 3 for a in around])
            solids.append(_sheet(np.array(rows), inner, dark))
        solids.append(
            box((0.26, 0.05, axles[1] - axles[0] - 2 * radius - 0.1), (side * 0.72, radius * 0.7, (axles[0] + axles[1]) / 2), dark)
        )
        lamp = turned([(0, 0), (0.05, 0.02), (0.12, 0.14), (0.12, 0.18), (0, 0.2)], (0, 0, 0), shiny, sides=16).turned("x", 90)
        solids.append(lamp.moved((side * 0.46, belt - 0.22, nose - 0.05)))
        solids.append(rod((side * 0.46, belt - 0.24, nose + 0.02), (side * 0.4, low + 0.1, nose - 0.05), 0.02, 0.02, shiny, sides=8))
    solids += [box((1.0, 0.2, length * 0.74), (0, radius * 0.75, 0), BLACK)]
    solids += [rod((-0.7, radius, z), (0.7, radius, z), 0.04, 0.04, BLACK, sides=8) for z in axles]
    wheel = _wheel(radius, 0.14, pick(rng, (8, 10, 12)), BLACK, pick(rng, (shiny, paint, wood(rng, "brown"))))
    solids += _wheels([(side * 0.72, radius, z) for side in (-1, 1) for z in axles], wheel)
    solids.append(cushion((1.5, 0.09, 0.06), (0, radius, length * 0.34 + radius + 0.16), 0.02, shiny))
    solids += [box((0.05, 0.06, 0.5), (x, radius + 0.01, length * 0.34 + radius - 0.08), BLACK) for x in (-0.3, 0.3)]
    spare = int(maybe(rng, 0.5))
    if spare:
        solids += [solid.turned("y", 90).moved((0, low + 0.3, back - 0.06)) for solid in wheel]
    said = _parts(("seat", seats), ("spare wheel", spare))
    return Thing(solids=_placed(solids), main=paint, style=("open",) if open_top else ("tall",), parts=said)


def _propeller(blades: int, radius: float, at: Point, blade: Material, hub: Material) -> list[Solid]:
    """Turning about Z, in front of what is behind `at`."""
    one = _wing((0, 0, 0), (0, radius, 0), radius * 0.14, radius * 0.12, 0.25, blade).turned("y", 65)
    solids = [one.turned("z", i * 360 / blades + 20).moved((at[0], at[1], at[2] + radius * 0.05)) for i in range(blades)]
    cone = turned([(0, -0.1), (1, -0.1), (0.95, 0.4), (0.6, 1.1), (0, 1.4)], (0, 0, 0), hub, sides=16)
    cone = replace(cone, vertices=cone.vertices * radius * 0.14)
    return [*solids, cone.turned("x", 90).moved(at)]


def _gear(spots: Sequence[Point], radius: float, top: float) -> list[Solid]:
    """Landing gear: a strut and a wheel at each spot, which is where the wheel's middle is."""
    wheel = _wheel(radius, radius * 0.7, 0, BLACK, STEEL)
    struts = [rod((x, y, z), (x * 0.9, top, z), radius * 0.22, radius * 0.3, STEEL, sides=8) for x, y, z in spots]
    return [*struts, *(solid.moved(spot) for spot in spots for solid in wheel)]


def _nacelle(radius: float, length: float, at: Point, shell: Material) -> list[Solid]:
    """A jet engine whose intake is towards +Z."""
    r, n = radius, length
    line = [
        (0, -0.35 * n),
        (0.3 * r, -0.3 * n),
        (0.55 * r, -0.05 * n),
        (0.75 * r, 0),
        (0.97 * r, 0.3 * n),
        (r, 0.6 * n),
        (0.93 * r, 0.92 * n),
    ]
    solids = [turned([*line, (0.85 * r, n), (0.78 * r, 0.93 * n), (0.75 * r, 0.8 * n), (0, 0.8 * n)], (0, 0, 0), shell, sides=20)]
    solids.append(turned([(0, 0.8 * n), (0.3 * r, 0.81 * n), (0, 0.97 * n)], (0, 0, 0), STEEL, sides=12))
    solids.append(turned([(0, 0.81 * n), (0.76 * r, 0.81 * n), (0, 0.82 * n)], (0, 0, 0), BLACK, sides=20))
    return [solid.turned("x", 90).moved((at[0], at[1], at[2] - n * 0.5)) for solid in solids]


def airplane(rng: Rng) -> Thing:
    return pick(rng, (_airliner, _airliner, _light_plane, _light_plane, _biplane, _fighter, _fighter, _glider))(rng)


def _airliner(rng: Rng) -> Thing:
    skin, tail = metal(rng, pick(rng, ("white", "white", "grey", "blue", "red", "yellow"))), metal(rng, pick(rng, PAINTS))
    pod = pick(rng, (skin, tail, STEEL))
    length, dark = rng.uniform(18, 36), glass(rng, "black")
    r = length * rng.uniform(0.05, 0.07)
    stations = [(-0.5, 0.15, 0.35, 0.6), (-0.4, 0.75, 1.0, 0.45), (-0.27, 1.5, 1.6, 0.18), (-0.12, 2, 2, 0), (0.1, 2, 2, 0), (0.3, 2, 2, 0)]
    stations += [(0.39, 1.9, 1.95, -0.02), (0.455, 1.3, 1.35, -0.2), (0.49, 0.6, 0.6, -0.35), (0.5, 0.05, 0.05, -0.38)]
    solids = [_body([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin, count=36)]
    engines, rear = pick(rng, (2, 2, 4)), maybe(rng, 0.3)
    props = not rear and maybe(rng, 0.25)
    span, sweep = length * rng.uniform(0.4, 0.55), length * (0.02 if props else rng.uniform(0.14, 0.24))
    chord, high = length * rng.uniform(0.15, 0.21), props and maybe(rng, 0.6)
    y0, z0, rise = (0.85 * r if high else -0.55 * r), length * (0.06 if rear else 0.12), span * (0.02 if high else rng.uniform(0.05, 0.12))
    winglets = not props and maybe(rng, 0.45)
    for s in (-1, 1):
        tip = (s * span, y0 + rise, z0 - sweep)
        solids.append(_wing((s * 0.3 * r, y0, z0), tip, chord, chord * 0.32, 0.12, pick(rng, (skin, skin, STEEL))))
        if winglets:
            solids.append(
                _wing(
                    (tip[0], tip[1] - 0.02, tip[2]),
                    (tip[0] + s * 0.4 * r, tip[1] + 1.1 * r, tip[2] - chord * 0.2),
                    chord * 0.31,
                    chord * 0.14,
                    0.1,
                    tail,
                )
            )
        for k in range(engines // 2):
            f = (0.32, 0.6)[k] if engines == 4 else 0.33
            x, y, z = s * (span * f), y0 + rise * f, z0 - sweep * f
            if rear:
                x, y, z = s * (1.55 + 0.95 * k) * r, 0.35 * r, -length * 0.3
                solids += _nacelle(0.45 * r, 2.2 * r, (x, y, z), pod)
                solids.append(box((1.1 * r, 0.14 * r, 1.1 * r), (x - s * 0.45 * r, y - 0.07 * r, z), skin))
            elif props:
                stretch = [
                    (-chord * 0.8, 0.1, 0.1, 0),
                    (-chord * 0.4, 0.5, 0.5, 0),
                    (0, 0.75, 0.8, 0),
                    (chord * 0.3, 0.7, 0.75, 0),
                    (chord * 0.42, 0.4, 0.4, 0),
                ]
                solids += [_body([(z + dz, w * r, h * r, y) for dz, w, h, _ in stretch], pod, count=12)]
                solids += _propeller(pick(rng, (3, 4)), 1.15 * r, (x, y, z + chord * 0.42), BLACK, STEEL)
            else:
                big = r * rng.uniform(0.42, 0.55)
                solids += _nacelle(big, big * 3.2, (x, y - big * 1.15, z + big * 0.6), pod)
                solids.append(_wing((x, y - 0.5 * big, z + big), (x, y + 0.02 * r, z + 0.3 * big), big * 2.6, big * 2.6, 0.1, skin))
    t_tail = rear or (props and maybe(rng, 0.5))
    fin, zf = r * rng.uniform(2.0, 2.8), -length * 0.36
    solids.append(_wing((0, 0.5 * r, zf), (0, 0.8 * r + fin, zf - fin * 0.8), chord * 0.85, chord * 0.42, 0.1, tail))
    y, z, flat = (0.75 * r + fin, zf - fin * 0.75, 0.0) if t_tail else (0.55 * r, -length * 0.4, 0.25 * r)
    solids += [_wing((0, y, z), (s * span * 0.38, y + flat, z - sweep * 0.5), chord * 0.5, chord * 0.22, 0.1, skin) for s in (-1, 1)]
    step, size = r * 0.45, r * 0.2
    for z in np.arange(-0.22 * length, 0.36 * length, step):
        solids += [box((0.06 * r, size, size * 0.75), (s * 0.975 * r, 0.12 * r, float(z)), dark) for s in (-1, 1)]
    for s in (-1, 1):
        solids.append(
            cushion((0.5 * r, 0.34 * r, 0.7 * r), (0, 0, 0), 0.1 * r, dark)
            .turned("y", s * 32)
            .turned("x", 26)
            .moved((s * 0.44 * r, 0.14 * r, 0.43 * length))
        )
        solids.append(box((0.06 * r, 0.85 * r, 0.42 * r), (s * 0.97 * r, -0.3 * r, 0.375 * length), pick(rng, (tail, STEEL))))
    down = maybe(rng, 0.6)
    if down:
        ground = -2.1 * r if not high else -1.6 * r
        spots = [(s * (1.1 * r if not high else 0.8 * r), ground, z0 - chord * 0.75) for s in (-1, 1)] + [(0.0, ground, 0.38 * length)]
        solids += _gear([*spots], 0.32 * r, -0.5 * r)
    said = _parts(("propeller" if props else "engine", engines), ("winglet", 2 * winglets), ("wheel", 3 * down))
    return Thing(solids=_placed(solids), main=skin, style=("wide",) if span > 0.52 * length else (), parts=said)


def _light_plane(rng: Rng) -> Thing:
    """One propeller: a high wing with struts, a low wing, or an old fighter; on wheels or on floats."""
    skin, second = metal(rng, pick(rng, PAINTS)), metal(rng, pick(rng, PAINTS))
    length, high, dark = rng.uniform(6.5, 8.5), maybe(rng, 0.5), glass(rng, pick(rng, ("black", "blue", "white")))
    r = length * rng.uniform(0.068, 0.085)
    stations = [
        (-0.5, 0.12, 0.3, 0.25),
        (-0.3, 0.7, 0.9, 0.15),
        (-0.05, 1.55, 1.6, 0.05),
        (0.15, 1.9, 1.8, 0),
        (0.3, 1.7, 1.5, -0.05),
        (0.42, 1.3, 1.25, -0.08),
    ]
    solids = [_body([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin, 2.6)]
    solids += _propeller(pick(rng, (2, 3, 4)), r * rng.uniform(1.5, 1.9), (0, -0.08 * r, 0.42 * length), BLACK, second)
    span, chord, z0 = length * rng.uniform(0.5, 0.7), length * rng.uniform(0.17, 0.23), length * 0.2
    taper, sweep = pick(rng, (1.0, rng.uniform(0.4, 0.8))), rng.uniform(0, 0.05) * length
    struts, y0 = 0, 1.35 * r if high else -0.55 * r
    if high:
        stretch = [
            (-0.14, 0.4, 0.3, 0.65),
            (-0.02, 1.3, 1.1, 0.75),
            (0.1, 1.65, 1.5, 0.75),
            (0.2, 1.6, 1.4, 0.7),
            (0.26, 1.2, 0.7, 0.5),
            (0.3, 0.8, 0.2, 0.4),
        ]
        struts = 2 if maybe(rng, 0.75) else 0
    else:
        stretch = [(-0.15, 0.2, 0.2, 0.6), (-0.08, 0.9, 0.8, 0.75), (0.04, 1.2, 1.4, 0.75), (0.13, 1.1, 1.2, 0.7), (0.2, 0.7, 0.3, 0.6)]
    solids.append(_body([(z * length, w * r, h * r, y * r) for z, w, h, y in stretch], dark, 2.8, count=18))
    if high:
        solids += [
            rod((s * 0.72 * r, 0.6 * r, 0.11 * length), (s * 0.7 * r, 1.4 * r, 0.07 * length), 0.1 * r, 0.1 * r, skin, sides=8)
            for s in (-1, 1)
        ]
    else:
        solids.append(
            tube(
                _bend([(-0.62 * r, 0.7 * r, 0.06 * length), (0, 1.48 * r, 0.06 * length), (0.62 * r, 0.7 * r, 0.06 * length)], 12),
                0.05 * r,
                skin,
                sides=6,
            )
        )
    for s in (-1, 1):
        rise = 0.01 if high else 0.08
        solids.append(
            _wing(
                (s * -0.02, y0, z0), (s * span, y0 + rise * span, z0 - sweep), chord, chord * taper, 0.13, pick(rng, (skin, skin, second))
            )
        )
        if struts:
            end = (s * span * 0.5, y0 + 0.005 * span, z0 - chord * 0.4)
            solids.append(rod((s * 0.75 * r, -0.6 * r, z0 - chord * 0.4), end, 0.07 * r, 0.07 * r, skin, sides=8))
    fin = r * rng.uniform(1.5, 2.0)
    solids.append(
        _wing((0, 0.2 * r, -0.36 * length), (0, 0.3 * r + fin, -0.36 * length - fin * 0.45), chord * 0.8, chord * 0.42, 0.1, second)
    )
    solids += [
        _wing((0, 0.3 * r, -0.39 * length), (s * span * 0.36, 0.3 * r, -0.41 * length), chord * 0.6, chord * 0.4, 0.1, skin)
        for s in (-1, 1)
    ]
    floats, wheels = (2 if maybe(rng, 0.25) else 0), 0
    if floats:
        for s in (-1, 1):
            line = [
                (-0.3, 0.1, 0.1, -1.9),
                (-0.1, 0.65, 0.6, -2.1),
                (0.2, 0.75, 0.75, -2.1),
                (0.4, 0.6, 0.6, -2.05),
                (0.48, 0.1, 0.1, -1.9),
            ]
            solids.append(_body([(z * length, w * r, h * r, y * r) for z, w, h, y in line], second, 3).moved((s * 1.3 * r, 0, 0)))
            solids += [
                rod((s * 1.3 * r, -2 * r, z * length), (s * 0.5 * r, -0.5 * r, z * length), 0.07 * r, 0.07 * r, STEEL, sides=8)
                for z in (0.05, 0.28)
            ]
        solids += [
            rod((-1.3 * r, -2 * r, z * length), (1.3 * r, -2 * r, z * length), 0.06 * r, 0.06 * r, STEEL, sides=8) for z in (0.05, 0.28)
        ]
    else:
        wheels, size = 3, 0.36 * r
        spots = [(-1.3 * r, -1.9 * r, 0.1 * length), (1.3 * r, -1.9 * r, 0.1 * length)]
        nose = maybe(rng, 0.6)
        spots += [(0.0, -1.9 * r, 0.37 * length)] if nose else [(0.0, -0.35 * r, -0.45 * length)]
        for x, y, z in spots:
            small = size * (1.0 if nose or x else 0.5)
            solids += [solid.moved((x, y, z)) for solid in _wheel(small, small * 0.7, 0, BLACK, STEEL)]
            solids.append(rod((x, y, z), (x * 0.4, y + 1.5 * r if nose or x else 0.2 * r, z), 0.09 * r, 0.11 * r, skin, sides=8))
            if x and maybe(rng, 0.4):
                solids.append(
                    _body(
                        [
                            (z + d * r, w * r, h * r, y + 0.1 * r)
                            for d, w, h in ((-0.9, 0.05, 0.05), (-0.4, 0.4, 0.5), (0.2, 0.5, 0.7), (0.6, 0.1, 0.1))
                        ],
                        second,
                        count=10,
                    ).moved((x, 0, 0))
                )
    said = _parts(("propeller", 1), ("float", floats), ("strut", struts), ("wheel", wheels))
    return Thing(solids=_placed(solids), main=skin, parts=said)


def _biplane(rng: Rng) -> Thing:
    skin, wings = pick(rng, (metal, fabric))(rng, pick(rng, PAINTS)), fabric(rng, pick(rng, PAINTS))
    length, planes, timber = rng.uniform(5.5, 7.0), pick(rng, (2, 2, 2, 3)), wood(rng)
    r = length * rng.uniform(0.07, 0.085)
    stations = [(-0.5, 0.1, 0.5, 0.2), (-0.25, 0.9, 1.1, 0.1), (0.0, 1.6, 1.7, 0), (0.2, 1.8, 1.8, 0), (0.33, 1.8, 1.8, 0)]
    solids = [_body([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin, 3)]
    front = 0.33 * length
    solids.append(
        turned(
            [(0, 0), (0.95 * r, 0), (r, 0.5 * r), (0.85 * r, 0.75 * r), (0.55 * r, 0.78 * r), (0, 0.6 * r)],
            (0, 0, 0),
            pick(rng, (STEEL, BLACK, skin)),
        )
        .turned("x", 90)
        .moved((0, 0, front - 0.02))
    )
    solids += _propeller(pick(rng, (2, 2, 4)), 1.75 * r, (0, 0, front + 0.7 * r), timber, STEEL)
    span, chord, z0, gap = length * rng.uniform(0.5, 0.62), length * rng.uniform(0.17, 0.22), 0.24 * length, 2.3 * r / (planes - 1) * 1.15
    levels = [-0.8 * r + i * gap for i in range(planes)]
    stagger = rng.uniform(0, 0.05) * length
    for i, y in enumerate(levels):
        z = z0 + (i - planes + 1) * stagger
        solids += [
            _wing((s * -0.03, y, z), (s * span * (1 - 0.06 * (planes - 1 - i)), y + 0.02 * span, z), chord, chord * 0.9, 0.09, wings)
            for s in (-1, 1)
        ]
    for s in (-1, 1):
        for f in pick(rng, ((0.75,), (0.45, 0.85))):
            for z in (z0 - chord * 0.25 - stagger, z0 - chord * 0.75):
                foot = (s * span * f, levels[0] + 0.02 * span * f, z - stagger * (planes - 2))
                solids.append(
                    rod(foot, (s * span * f, levels[-1] + 0.02 * span * f, z + stagger * 0.4), 0.06 * r, 0.06 * r, timber, sides=8)
                )
        solids += [
            rod((s * 0.5 * r, 0.6 * r, z0 - chord * k), (s * 0.8 * r, levels[-1], z0 - chord * k), 0.05 * r, 0.05 * r, timber, sides=8)
            for k in (0.25, 0.7)
        ]
    seats = pick(rng, (1, 2))
    for z in (-0.07 * length, -0.2 * length)[:seats]:
        solids.append(
            turned(
                [(0.62 * r, 0), (0.66 * r, 0.1 * r), (0.52 * r, 0.1 * r), (0.5 * r, 0)],
                (0, 0.72 * r, z),
                leather(rng, "brown"),
                squash=1.3,
                sides=20,
            )
        )
        solids.append(turned([(0, 0), (0.55 * r, 0), (0, 0.06 * r)], (0, 0.73 * r, z), BLACK, squash=1.3, sides=20))
        solids.append(box((0.8 * r, 0.4 * r, 0.04 * r), (0, 0, 0), glass(rng, "white")).turned("x", -30).moved((0, 0.72 * r, z + 0.75 * r)))
    solids.append(_wing((0, 0.1 * r, -0.39 * length), (0, 1.7 * r, -0.45 * length), chord * 0.75, chord * 0.5, 0.08, wings))
    solids += [
        _wing((0, 0.25 * r, -0.38 * length), (s * span * 0.34, 0.25 * r, -0.4 * length), chord * 0.7, chord * 0.5, 0.08, wings)
        for s in (-1, 1)
    ]
    for s in (-1, 1):
        x, y, z = s * 1.1 * r, -2.0 * r, 0.2 * length
        solids += [solid.moved((x, y, z)) for solid in _wheel(0.55 * r, 0.25 * r, 8, BLACK, STEEL)]
        solids += [rod((x, y, z), (s * 0.6 * r, -0.6 * r, z + d * r), 0.07 * r, 0.07 * r, timber, sides=8) for d in (-0.7, 0.6)]
    solids.append(rod((-1.1 * r, -2 * r, 0.2 * length), (1.1 * r, -2 * r, 0.2 * length), 0.06 * r, 0.06 * r, STEEL, sides=8))
    solids.append(rod((0, -0.1 * r, -0.4 * length), (0, -0.7 * r, -0.46 * length), 0.07 * r, 0.05 * r, timber, sides=8))
    return Thing(
        solids=_placed(solids),
        main=wings,
        style=("open",),
        parts=_parts(("propeller", 1), ("wing", 2 * planes), ("seat", seats), ("wheel", 2)),
    )


def _fighter(rng: Rng) -> Thing:
    """A jet: delta or swept wings, one tail or two, one engine or two."""
    skin, second = (
        metal(rng, pick(rng, ("grey", "grey", "green", "blue", "beige", "black", "white"))),
        metal(rng, pick(rng, ("grey", "red", "blue", "yellow"))),
    )
    length, pane = rng.uniform(13, 19), glass(rng, pick(rng, ("black", "blue", "yellow" if maybe(rng, 0.3) else "black")))
    r, engines = length * rng.uniform(0.045, 0.058), pick(rng, (1, 2))
    fat = 1.0 if engines == 1 else 1.5
    stations = [
        (-0.48, 1.2 * fat, 1.2, 0),
        (-0.3, 2 * fat, 1.7, 0),
        (0.0, 2.1 * fat, 1.8, 0),
        (0.15, 1.7 * (1 + fat) / 2, 1.8, 0.05),
        (0.3, 1.3, 1.5, 0.1),
        (0.43, 0.6, 0.65, -0.1),
        (0.5, 0.03, 0.03, -0.2),
    ]
    solids = [_body([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin, 2.4)]
    canopy = [(0.1, 0.1, 0.1, 0.8), (0.16, 0.8, 0.9, 0.75), (0.23, 1.0, 1.3, 0.7), (0.29, 0.8, 0.9, 0.55), (0.35, 0.1, 0.1, 0.4)]
    solids.append(_body([(z * length, w * r, h * r, y * r) for z, w, h, y in canopy], pane, count=18))
    delta = maybe(rng, 0.45)
    span, chord = length * rng.uniform(0.28, 0.4), length * (rng.uniform(0.4, 0.5) if delta else rng.uniform(0.22, 0.3))
    z0 = length * (0.12 if delta else 0.08)
    sweep = chord * (0.85 if delta else rng.uniform(0.4, 0.8))
    for s in (-1, 1):
        solids.append(_wing((s * 0.4 * r, 0.1 * r, z0), (s * span, 0.0, z0 - sweep), chord, chord * (0.1 if delta else 0.35), 0.05, skin))
        x = s * 0.85 * fat * r
        intake = [
            np.add(_oval(w * r, h * r, y * r, z * length, 5), (x, 0, 0))
            for z, w, h, y in ((-0.2, 0.5, 0.5, 0), (0.0, 0.8, 1.3, -0.1), (0.14, 0.7, 1.3, -0.1), (0.16, 0.66, 1.24, -0.1))
        ]
        solids.append(_loft(intake, skin))
        solids.append(_loft([np.add(_oval(0.52 * r, 1.05 * r, -0.1 * r, z * length, 5), (x, 0, 0)) for z in (0.15, 0.1615)], BLACK))
    for i in range(engines):
        x = 0.0 if engines == 1 else (i - 0.5) * 1.5 * r
        bell = [(0, 0.2 * r), (0.55 * r, 0.2 * r), (0.6 * r, 0), (0.72 * r, 0), (0.85 * r, 0.9 * r), (0.8 * r, 2 * r), (0, 2 * r)]
        solids.append(turned(bell, (0, 0, 0), BLACK, sides=20).turned("x", 90).moved((x, 0, -0.5 * length - 0.3 * r)))
    fins, fin, zf = pick(rng, (1, 2)), r * rng.uniform(2.2, 3.0), -0.28 * length
    for i in range(fins):
        x, lean = (0.0, 0.0) if fins == 1 else ((2 * i - 1) * 0.9 * fat * r, (2 * i - 1) * rng.uniform(0.0, 0.5) * fin)
        solids.append(
            _wing(
                (x, 0.2 * r, zf), (x + lean, 0.6 * r + fin, zf - fin * 0.9), length * 0.17, length * 0.07, 0.06, pick(rng, (skin, second))
            )
        )
    if not delta or maybe(rng, 0.2):
        solids += [
            _wing(
                (s * 0.6 * r * fat, 0, -0.38 * length),
                (s * span * 0.6, -0.05 * r, -0.38 * length - 0.1 * length),
                length * 0.13,
                length * 0.05,
                0.05,
                skin,
            )
            for s in (-1, 1)
        ]
    elif maybe(rng, 0.6):
        solids += [
            _wing(
                (s * 0.5 * r, 0.35 * r, 0.23 * length), (s * span * 0.42, 0.4 * r, 0.17 * length), length * 0.09, length * 0.03, 0.05, skin
            )
            for s in (-1, 1)
        ]
    missiles, wheels = pick(rng, (0, 2, 4)), 3 * maybe(rng, 0.4)
    for k in range(missiles):
        s, f = (-1, 1)[k % 2], (0.62, 0.85)[k // 2]
        x, z = s * span * f, z0 - sweep * f - chord * 0.15
        solids.append(
            _body(
                [(z + d * r, w * r, w * r, -0.75 * r) for d, w in ((-2.6, 0.2), (-2.5, 0.4), (1.5, 0.4), (2.2, 0.25), (2.8, 0.02))],
                second,
                count=14,
            ).moved((x, 0, 0))
        )
        solids.append(box((0.12 * r, 0.75 * r, 1.6 * r), (x, -0.7 * r, z - 0.3 * r), skin))
    if wheels:
        solids += _gear(
            [(-1.1 * r, -2.0 * r, -0.1 * length), (1.1 * r, -2.0 * r, -0.1 * length), (0.0, -2.0 * r, 0.28 * length)], 0.4 * r, 0.0
        )
    said = _parts(("engine", engines), ("tail fin", fins), ("missile", missiles), ("wheel", wheels))
    return Thing(solids=_placed(solids), main=skin, style=("slim",), parts=said)


def _glider(rng: Rng) -> Thing:
    skin, mark, pane = (
        pick(rng, (WHITE, metal(rng, pick(rng, PAINTS)))),
        metal(rng, pick(rng, ("red", "blue", "orange"))),
        glass(rng, pick(rng, ("black", "blue"))),
    )
    length, r = rng.uniform(6.5, 8.0), 0.42
    stations = [
        (-0.5, 0.25, 0.3, 0.3),
        (-0.2, 0.45, 0.5, 0.2),
        (0.08, 0.9, 1.1, 0.1),
        (0.25, 1.5, 1.9, 0),
        (0.4, 1.2, 1.4, -0.05),
        (0.5, 0.05, 0.05, -0.2),
    ]
    solids = [_body([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin)]
    canopy = [(0.17, 0.2, 0.2, 0.75), (0.24, 1.05, 0.9, 0.6), (0.33, 1.1, 0.95, 0.4), (0.41, 0.8, 0.5, 0.3), (0.46, 0.1, 0.1, 0.15)]
    solids.append(_body([(z * length, w * r, h * r, y * r) for z, w, h, y in canopy], pane, count=16))
    span, chord = length * rng.uniform(0.8, 1.15), length * rng.uniform(0.12, 0.15)
    for s in (-1, 1):
        middle = (s * span * 0.6, 0.6 * r + 0.02 * span, 0.15 * length - 0.01 * span)
        solids.append(_wing((s * -0.02, 0.6 * r, 0.15 * length), middle, chord, chord * 0.8, 0.13, skin))
        solids.append(
            _wing(
                (s * span * 0.57, middle[1] - 0.001 * span, middle[2]),
                (s * span, middle[1] + 0.04 * span, middle[2] - 0.03 * span),
                chord * 0.8,
                chord * 0.35,
                0.12,
                pick(rng, (skin, mark)),
            )
        )
    fin, high = r * rng.uniform(2.2, 3.0), maybe(rng, 0.7)
    solids.append(_wing((0, 0.3 * r, -0.4 * length), (0, 0.3 * r + fin, -0.43 * length), chord, chord * 0.7, 0.1, mark))
    y = 0.3 * r + fin * 0.97 if high else 0.35 * r
    solids += [_wing((0, y, -0.43 * length), (s * length * 0.19, y, -0.44 * length), chord * 0.6, chord * 0.35, 0.1, skin) for s in (-1, 1)]
    solids += [solid.moved((0, -0.75 * r, 0.22 * length)) for solid in _wheel(0.4 * r, 0.2 * r, 0, BLACK, STEEL)]
    return Thing(solids=_placed(solids), main=skin, style=("wide", "slim"), parts=_parts(("wheel", 1)))


def _hull(
    length: float,
    beam: float,
    depth: float,
    material: Material,
    *,
    rake: float = 0.3,
    stern: float = 0.7,
    sheer: float = 0.25,
    full: float = 1.5,
    inner: float = 0.0,
) -> Solid:
    """A hull whose deck is at about `depth`, bow to +Z; open from above with a wall of `inner` if that is given.

    Args:
        rake: how far the bow leans forward, a part of the depth.
        stern: width of the stern, a part of the beam; 0 is as sharp as the bow.
        sheer: how much the bow (and half as much the stern) is higher than the middle, a part of the depth.
        full: 1 for a V below, larger for a U.
    """
    angle = np.linspace(0, math.pi, 15)
    x0, y0 = np.sign(np.cos(angle)) * abs(np.cos(angle)) ** (1 / full), np.sin(angle) ** (1 / full)
    rings = []
    for s in np.linspace(0, 1, 26):
        back = stern + (1 - stern) * math.sin(min(s / 0.45, 1) * math.pi / 2) ** (0.8 if stern < 0.2 else 1)
        wide = max(beam / 2 * back * (1 - max(s - 0.45, 0) ** 2.2 / 0.55**2.2) ** 0.75, 0.006 * beam)
        end = abs(2 * s - 1)
        high = depth * (1 + sheer * end**2 * (1 if s > 0.5 else 0.5))
        keel = depth * 0.55 * (max(s - 0.7, 0) / 0.3) ** 2.5 * min(rake * 2, 1) + depth * 0.12 * (max(0.25 - s, 0) / 0.25) ** 2 * (
            1 if stern else 3
        )
        x, y = wide * x0, high - (high - keel) * y0
        if inner:
            wall = min(inner, 0.7 * wide)
            fx, fy = (wide - wall) * x0[::-1], high - (high - keel - inner) * y0[::-1] * (1 if s < 1 else 0.9)
            x, y = np.concatenate([x, fx]), np.concatenate([y, fy])
        lean = rake * depth * (s**3) * (y / depth) - (rake * depth * (1 - s) ** 3 * (y / depth) * 0.8 if stern < 0.2 else 0)
        rings.append(np.stack([x, y, (s - 0.5) * length + lean], axis=1))
    return _loft(rings, material)


def _sail(corners: Sequence[Point], bulge: float, material: Material) -> Solid:
    """Cloth between foot (two points) and head (two points, which may coincide), blown out towards +X and +Z by `bulge` (x, z)."""
    a, b, c, d = (np.array(corner) for corner in corners)
    u, v = np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9))
    u, v = u[..., None], v[..., None]
    grid = (a * (1 - u) + b * u) * (1 - v) + (d * (1 - u) + c * u) * v
    flat = np.cross(b - a, d - a)
    flat /= np.linalg.norm(flat)
    grid = grid + flat * bulge * np.sin(math.pi * u) * np.sin(math.pi * (0.15 + 0.85 * v))
    return _sheet(grid + flat * 0.012, grid - flat * 0.012, material)


def boat(rng: Rng) -> Thing:
    return pick(rng, (_rowing_boat, _sailing_boat, _sailing_boat, _motor_boat, _motor_boat, _ship, _ship, _tall_ship))(rng)


def _rowing_boat(rng: Rng) -> Thing:
    """Open: a rowing boat with a flat stern, or a canoe pointed at both ends."""
    canoe = maybe(rng, 0.4)
    length, depth = rng.uniform(2.8, 4.6), rng.uniform(0.4, 0.6)
    beam = rng.uniform(0.75, 0.95) if canoe else length * rng.uniform(0.33, 0.42)
    timber = pick(rng, (wood(rng, pick(rng, ("brown", "beige"))), plastic(rng), metal(rng, pick(rng, PAINTS))))
    bench = wood(rng, pick(rng, ("brown", "beige", "white")))
    solids = [
        _hull(
            length,
            beam,
            depth,
            timber,
            rake=0.5,
            stern=0.0 if canoe else rng.uniform(0.5, 0.75),
            sheer=rng.uniform(0.2, 0.6),
            full=rng.uniform(1.3, 2.2),
            inner=0.04,
        )
    ]
    seats = int(rng.integers(1, 4))
    for z in ((0.0,), (-0.22, 0.12), (-0.28, 0.0, 0.24))[seats - 1]:
        solids.append(box((beam * (0.9 if abs(z) < 0.2 else 0.78), 0.035, 0.24), (0, depth * 0.72, z * length), bench))
    oars = 0 if maybe(rng, 0.25) else 1 if canoe and maybe(rng, 0.6) else 2
    paddle = [
        (-0.02, 0),
        (0.02, 0),
        (0.025, length * 0.33),
        (0.08, length * 0.37),
        (0.09, length * 0.5),
        (0.05, length * 0.53),
        (-0.05, length * 0.53),
        (-0.09, length * 0.5),
        (-0.08, length * 0.37),
        (-0.025, length * 0.33),
    ]
    inside = maybe(rng, 0.3)
    for s in (-1, 1)[:oars]:
        oar = [_slab(paddle, 0.025, bench, bevel=0.008), rod((0, -0.3, 0), (0, length * 0.36, 0), 0.022, 0.024, bench, sides=10)]
        if canoe or inside:
            solids += [p.turned("x", 90).turned("y", s * 6).moved((s * 0.14, depth * 0.72 + 0.06, -length * 0.25)) for p in oar]
        else:
            solids += [p.turned("z", -s * 97).turned("y", -s * 20).moved((s * beam * 0.32, depth * 1.12, 0)) for p in oar]
            solids.append(
                rod(
                    (s * beam * 0.48, depth * 0.9, -length * 0.015),
                    (s * beam * 0.48, depth * 1.08, -length * 0.015),
                    0.02,
                    0.02,
                    STEEL,
                    sides=8,
                )
            )
    return Thing(
        solids=_placed(solids),
        main=timber,
        style=("open", "slim") if canoe else ("open",),
        parts=_parts(("seat", seats), ("paddle" if canoe else "oar", oars)),
    )


def _sailing_boat(rng: Rng) -> Thing:
    length = rng.uniform(5, 9)
    beam, depth = length * rng.uniform(0.27, 0.34), length * rng.uniform(0.11, 0.15)
    hull, deck, cloth = (
        pick(rng, (metal(rng, pick(rng, PAINTS)), wood(rng))),
        wood(rng, pick(rng, ("brown", "beige", "white"))),
        fabric(rng, pick(rng, ("white", "white", "beige", "red", "blue", "yellow"))),
    )
    twin = maybe(rng, 0.15)
    if twin:
        solids = [_hull(length, beam * 0.28, depth, hull, rake=0.3, stern=0.6, full=2.0).moved((s * beam * 0.62, 0, 0)) for s in (-1, 1)]
        solids.append(cushion((beam * 1.4, depth * 0.25, length * 0.5), (0, depth * 0.9, -length * 0.08), 0.05, deck))
    else:
        solids = [
            _hull(
                length,
                beam,
                depth,
                hull,
                rake=rng.uniform(0.4, 1.2),
                stern=rng.uniform(0.3, 0.8),
                sheer=rng.uniform(0.1, 0.35),
                full=rng.uniform(1.2, 2),
            )
        ]
    keel = not twin and maybe(rng, 0.5)
    if keel:
        solids.append(_wing((0, depth * 0.3, length * 0.08), (0, -depth * 1.1, -length * 0.02), length * 0.2, length * 0.14, 0.12, BLACK))
        solids.append(_wing((0, depth * 0.3, -length * 0.38), (0, -depth * 0.6, -length * 0.41), length * 0.08, length * 0.06, 0.12, hull))
    if maybe(rng, 0.75):
        top = [
            _oval(1.0, 1.0, 0, 0, 4)[:, [0, 2, 1]] * (beam * 0.62 * g, 1, length * 0.3 * g) + (0, depth * y, -length * 0.02)
            for y, g in ((0.9, 1.0), (1.35, 0.95), (1.45, 0.88), (1.5, 0.6))
        ]
        solids.append(_loft(top, pick(rng, (WHITE, deck))))
        solids += [
            cushion((beam * 0.6, depth * 0.16, length * 0.055), (0, depth * 1.16, z * length), 0.02, BLACK) for z in (-0.08, 0.0, 0.06)
        ]
    masts, spar = pick(rng, (1, 1, 2)), pick(rng, (STEEL, wood(rng, "brown"), WHITE))
    high = length * rng.uniform(1.0, 1.3)
    blow, sails, swing = length * rng.uniform(0.03, 0.07), 0, math.radians(rng.uniform(-25, 25))
    for i in range(masts):
        z, tall = ((0.1,), (0.16, -0.25))[masts - 1][i] * length, high * (1.0, 0.72)[i]
        solids.append(rod((0, depth * 0.5, z), (0, depth + tall, z), length * 0.011, length * 0.007, spar))
        boom, y = length * (0.5 if masts == 1 else 0.3), depth + tall * 0.12
        end = (math.sin(swing) * boom, y, z - math.cos(swing) * boom)
        solids.append(rod((0, y, z), end, length * 0.007, length * 0.006, spar))
        gaff = maybe(rng, 0.25)
        head = (
            (end[0] * 0.55, depth + tall * 0.98, z + (end[2] - z) * 0.6)
            if gaff
            else (end[0] * 0.04, depth + tall * 0.97, z - 0.03 * length)
        )
        throat = (0.0, depth + tall * (0.68 if gaff else 0.98), z - length * 0.01)
        solids.append(
            _sail([(0, y + 0.08, z - length * 0.01), (end[0] * 0.97, y + 0.12, z + (end[2] - z) * 0.97), head, throat], blow, cloth)
        )
        if gaff:
            solids.append(rod(throat, head, length * 0.006, length * 0.005, spar))
        sails += 1
    bow = (0.0, depth * 1.25, length * 0.5)
    if maybe(rng, 0.75):
        mast = (0.1 if masts == 1 else 0.16) * length
        clew = (math.sin(swing) * length * 0.2, depth * 1.4, mast - length * 0.03)
        front = fabric(rng, pick(rng, ("white", "red", "blue", "orange"))) if maybe(rng, 0.3) else cloth
        peak = (0.0, depth + high * rng.uniform(0.7, 0.95), mast + 0.02 * length)
        solids += [_sail([bow, clew, peak, peak], blow, front), rod(bow, peak, length * 0.003, length * 0.003, STEEL, sides=6)]
        sails += 1
    if maybe(rng, 0.5):  # an open place to sit behind, with a tiller
        solids += [box((beam * 0.5, depth * 0.06, length * 0.18), (0, depth, -length * 0.33), deck)]
        solids.append(rod((0, depth * 0.9, -length * 0.49), (0, depth * 1.35, -length * 0.3), length * 0.006, length * 0.005, deck))
    said = _parts(("mast", masts), ("sail", sails), ("hull", 2 * twin), ("keel", int(keel)))
    return Thing(solids=_placed(solids), main=hull if not sails else cloth, style=("tall",) if high > 1.15 * length else (), parts=said)


def _motor_boat(rng: Rng) -> Thing:
    """A runabout with a windscreen, a cabin cruiser, or a working boat with a wheelhouse."""
    length = rng.uniform(4.5, 9)
    beam, depth = length * rng.uniform(0.3, 0.36), length * rng.uniform(0.13, 0.17)
    hull, deck = (
        pick(rng, (metal(rng, pick(rng, PAINTS)), plastic(rng), wood(rng, "brown"))),
        pick(rng, (WHITE, wood(rng, "brown"), wood(rng, "beige"))),
    )
    pane, form = glass(rng, pick(rng, ("black", "blue"))), int(rng.integers(3))
    solids = [
        _hull(
            length,
            beam,
            depth,
            hull,
            rake=rng.uniform(0.5, 1.1),
            stern=rng.uniform(0.75, 0.92),
            sheer=rng.uniform(0.1, 0.4),
            full=rng.uniform(1.3, 2.0),
            inner=0.06 * beam,
        )
    ]
    floor, seats, motors, cabins = depth * 0.55, 0, 0, 0
    solids.append(
        _hull(length * 0.94, beam * 0.9, depth * 0.6, deck, rake=0.6, stern=0.85, sheer=0.1, full=2.0).moved(
            (0, 0.04 * depth, -0.01 * length)
        )
    )
    front = [
        (-0.86, -0.02),
        (0.86, -0.02),
        (0.84, 0.12),
        (0.7, 0.25),
        (0.45, 0.38),
        (0.1, 0.49),
        (-0.1, 0.49),
        (-0.45, 0.38),
        (-0.7, 0.25),
        (-0.84, 0.12),
    ]
    solids.append(
        _slab([(x * beam / 2 * 1.02, -z * length) for x, z in front], depth * 0.12, deck).turned("x", -90).moved((0, depth * 1.03, 0))
    )
    hide = leather(rng, pick(rng, ("white", "red", "brown", "blue", "beige")))
    if form == 0:
        solids.append(
            _sail(
                [
                    (-beam * 0.4, depth, 0.02 * length),
                    (beam * 0.4, depth, 0.02 * length),
                    (beam * 0.36, depth * 1.6, -0.04 * length),
                    (-beam * 0.36, depth * 1.6, -0.04 * length),
                ],
                beam * 0.1,
                pane,
            )
        )
        solids.append(cushion((beam * 0.8, depth * 0.5, length * 0.06), (0, depth * 0.6, -0.02 * length), 0.05, deck))
        seats = pick(rng, (2, 3, 4))
        for x, z in (
            ((-0.2, -0.14), (0.2, -0.14), (0.0, -0.3), (0.0, -0.3))[:seats]
            if seats < 4
            else ((-0.2, -0.14), (0.2, -0.14), (-0.2, -0.3), (0.2, -0.3))
        ):
            w = beam * (0.3 if x else 0.75)
            solids.append(cushion((w, depth * 0.3, length * 0.08), (x * beam, floor, z * length), 0.04, hide))
            solids.append(cushion((w, depth * 0.75, length * 0.025), (x * beam, floor + 0.1 * depth, (z - 0.045) * length), 0.03, hide))
    else:
        cabins, tall = pick(rng, (1, 1, 2)), depth * rng.uniform(1.2, 1.7)
        z, long = (0.06, 0.36) if form == 1 else (pick(rng, (0.12, -0.2)), 0.2)
        y, wide = depth * 0.85, beam * 0.72
        for _ in range(cabins):
            slope = long * (0.25 if form == 1 else 0.05)
            walls = [
                (0, wide, -long / 2, long / 2 + slope * 0.3),
                (0.5, wide * 0.97, -long / 2, long / 2 - slope * 0.1),
                (0.9, wide * 0.9, -long / 2 + 0.01, long / 2 - slope * 0.8),
            ]
            rings = [np.array([(x, y + h * tall, -q * length) for x, q in _rounded(w, -(b + z), -(a + z), 0.04)]) for h, w, a, b in walls]
            solids += [_loft(rings[:2], WHITE), _loft(rings[1:], pane)]
            solids.append(
                _loft(
                    [
                        np.array(
                            [
                                (x * g, y + h * tall, -q * length * 1)
                                for x, q in _rounded(wide, -(long / 2 - slope * 0.72 + z), -(-long / 2 - 0.01 + z), 0.04)
                            ]
                        )
                        for h, g in ((0.88, 1), (0.96, 1), (1.02, 0.85))
                    ],
                    deck,
                )
            )
            solids += [
                rod(
                    (s * wide * 0.47, y + 0.45 * tall, (q + z) * length),
                    (s * wide * 0.45, y + 0.92 * tall, (q + z) * length),
                    0.02 * tall,
                    0.02 * tall,
                    WHITE,
                    sides=6,
                )
                for s in (-1, 1)
                for q in (-long * 0.47, -long * 0.1)
            ]
            y, wide, long, z, tall = y + tall, wide * 0.8, long * 0.6, z - long * 0.1, tall * 0.75
        if form == 2 or maybe(rng, 0.5):
            solids.append(rod((0, y - 0.1, z * length), (0, y + depth * rng.uniform(0.8, 2.0), z * length), 0.03, 0.02, STEEL, sides=8))
    rails = maybe(rng, 0.5)
    if rails:
        spots = [
            (s * x * beam / 2, depth * (1.1 + 0.35 * max(q, 0)), q * length)
            for s, x, q in (
                (-1, 0.88, 0.02),
                (-1, 0.74, 0.22),
                (-1, 0.42, 0.38),
                (1, 0.0, 0.5),
                (1, 0.42, 0.38),
                (1, 0.74, 0.22),
                (1, 0.88, 0.02),
            )
        ]
        solids.append(tube(_bend([(x, y + depth * 0.45, z) for x, y, z in spots], 30), 0.016 + 0.001 * length, STEEL, sides=8))
        solids += [rod(spot, (spot[0], spot[1] + depth * 0.45, spot[2]), 0.015, 0.015, STEEL, sides=6) for spot in spots]
    if maybe(rng, 0.65):
        motors = pick(rng, (1, 1, 2))
        size = 0.05 * length * (1 if motors == 1 else 0.85)
        for i in range(motors):
            x = (i - (motors - 1) / 2) * beam * 0.3
            hood = [
                _oval(1, 1, 0, 0, 3)[:, [0, 2, 1]] * (size * 1.1 * g, 1, size * 1.5 * g) + (0, y * size, 0)
                for y, g in ((0, 0.8), (0.3, 1), (1.2, 1), (1.7, 0.75), (1.8, 0.4))
            ]
            leg = [
                box((size * 0.35, size * 3.0, size * 0.7), (0, -size * 2.9, 0), STEEL),
                _wing((0, -size * 2.2, size * 0.4), (0, -size * 3.4, size * 0.3), size, size * 0.6, 0.2, STEEL),
            ]
            solids += [solid.moved((x, depth, -length * 0.5 - size * 0.7)) for solid in (_loft(hood, BLACK), *leg)]
            solids.append(box((size * 0.5, size * 0.8, size * 1.6), (x, depth * 0.8, -length * 0.5), STEEL))
    said = _parts(("seat", seats), ("motor", motors), ("cabin", cabins), ("railing", int(rails)))
    return Thing(solids=_placed(solids), main=hull, style=("open",) if form == 0 else ("closed",), parts=said)


def _ship(rng: Rng) -> Thing:
    """A liner with funnels, a freighter with containers, or a tug."""
    form, length = int(rng.integers(3)), 60.0
    beam, depth = (
        length * ((0.13, 0.15, 0.3)[form] + rng.uniform(-0.01, 0.03)),
        length * ((0.09, 0.08, 0.15)[form] + rng.uniform(-0.01, 0.02)),
    )
    hull, second, house = (
        metal(rng, pick(rng, ("black", "white", "blue", "red", "grey", "green"))),
        metal(rng, pick(rng, ("red", "black", "yellow", "orange"))),
        metal(rng, pick(rng, ("white", "white", "beige"))),
    )
    dark = glass(rng, "black")
    shape = (rng.uniform(0.3, 0.8), rng.uniform(0.55, 0.85), rng.uniform(0.1, 0.4))
    solids = [_hull(length, beam, depth, hull, rake=shape[0], stern=shape[1], sheer=shape[2], full=3.0)]
    solids.append(
        _hull(length * 0.995, beam * 1.01, depth * 0.35, second, rake=0.2, stern=shape[1] * 0.95, sheer=0, full=3.0).moved(
            (0, -depth * 0.01, -0.002 * length)
        )
    )
    stacks, containers, boats = 0, 0, 0

    def block(width: float, y: float, tall: float, back: float, front: float, paint: Material, panes: bool = True) -> None:
        """A deckhouse with rounded corners and a row of windows."""
        line = _rounded(width, -front * length, -back * length, 0.25 * width, 5)
        solids.append(_loft([np.array([(x * g, y + h * tall, -z) for x, z in line]) for h, g in ((0, 1), (1, 1))], paint))
        solids.append(_loft([np.array([(x * 1.05, y + h * tall, -z) for x, z in line]) for h in (0.96, 1.05)], paint))
        if panes:
            for z in np.arange(back * length + 0.3 * width, front * length - 0.3 * width, tall * 0.8):
                solids.extend(box((0.1, tall * 0.4, tall * 0.4), (s * width / 2, y + tall * 0.35, float(z)), dark) for s in (-1, 1))
            solids.extend(
                box((tall * 0.4, tall * 0.4, 0.1), (float(x), y + tall * 0.35, front * length), dark)
                for x in np.arange(-0.2, 0.3, 0.2) * width
            )

    if form == 0:
        decks, y, back, front, width = int(rng.integers(2, 5)), depth, -0.36, 0.28, beam * 0.86
        for _ in range(decks):
            block(width, y, depth * 0.42, back, front, house)
            y, back, front, width = y + depth * 0.42, back + rng.uniform(0.02, 0.06), front - rng.uniform(0.015, 0.05), width * 0.93
        stacks = int(rng.integers(1, 5))
        places = np.linspace(back + 0.08, front - 0.12, stacks) if stacks > 1 else [0.0]
        boats = pick(rng, (0, 6))
        for i in range(boats):
            s, z = (-1, 1)[i % 2], (i // 2 - 1) * 0.14 * length
            solids.append(
                _body(
                    [
                        (z + d * depth, w * depth, w * depth, depth * 1.75)
                        for d, w in ((-0.55, 0.02), (-0.35, 0.2), (0, 0.28), (0.35, 0.2), (0.55, 0.02))
                    ],
                    second,
                    count=10,
                ).moved((s * beam * 0.44, 0, 0))
            )
        girth, lofty = depth * rng.uniform(0.3, 0.45), depth * rng.uniform(0.9, 1.6)
    elif form == 1:
        end = -0.28 if maybe(rng, 0.7) else 0.02
        for i, k in enumerate((1.0, 0.95, 0.9)):
            block(beam * 0.8 * k, depth * (1 + 0.45 * i), depth * 0.45, end - 0.1 + 0.005 * i, end - 0.005 * i, house)
        block(beam * 0.95, depth * 2.35, depth * 0.4, end - 0.05, end + 0.005, house)
        y, stacks, places, girth, lofty = depth * 2.3, 1, [end - 0.09], depth * 0.3, depth * 0.9
        paints = [metal(rng, color) for color in ("red", "blue", "green", "orange", "grey")]
        cells = [
            (float(z), x, h)
            for z in np.arange(-0.25, 0.38, 0.085)
            if z > end + 0.05 or z < end - 0.15
            for x in (-0.27, 0, 0.27)
            for h in range(int(rng.integers(1, 4)))
        ]
        containers = len(cells)
        solids += [
            box((beam * 0.26, depth * 0.36, length * 0.08), (x * beam, depth * (1 + 0.37 * h), z * length), pick(rng, paints))
            for z, x, h in cells
        ]
    else:
        y = depth
        for i, (tall, back, front, k) in enumerate(((0.55, -0.22, 0.22, 0.66), (0.6, -0.02, 0.2, 0.6))):
            block(beam * k, y, depth * tall, back, front, house, bool(i) or maybe(rng, 0.6))
            y += depth * tall
        stacks, places, girth, lofty, y = pick(rng, (1, 2)), [-0.12, -0.2], depth * 0.22, depth * rng.uniform(0.8, 1.2), depth * 1.5
        rim = [
            (s * beam * 0.5 * w, depth * (1.0 + 0.1 * h), z * length)
            for s, w, h, z in (
                (-1, 0.97, 0, -0.3),
                (-1, 1.02, 0, 0),
                (-1, 0.86, 0.3, 0.28),
                (1, 0, 1.7, 0.51),
                (1, 0.86, 0.3, 0.28),
                (1, 1.02, 0, 0),
                (1, 0.97, 0, -0.3),
            )
        ]
        solids.append(tube(_bend(rim, 40), depth * 0.06, BLACK))
    lean = rng.uniform(0, 12)
    for place in list(places)[:stacks]:
        line = [
            (0, 0),
            (girth, 0),
            (girth, lofty * 0.72),
            (girth * 1.03, lofty * 0.72),
            (girth * 1.03, lofty),
            (girth * 0.85, lofty),
            (girth * 0.82, lofty * 0.9),
            (0, lofty * 0.9),
        ]
        funnel = [
            turned([*line[:3], (0, lofty * 0.72)], (0, 0, 0), second, squash=1.35),
            turned([(0, lofty * 0.72), *line[3:]], (0, 0, 0), BLACK, squash=1.35),
        ]
        solids += [part.turned("x", -lean).moved((0, y - depth * 0.08, place * length)) for part in funnel]
    masts = pick(rng, (0, 1, 2))
    for z in (0.36, -0.42)[:masts]:
        solids.append(rod((0, depth, z * length), (0, depth * 3.8, z * length), depth * 0.05, depth * 0.03, house, sides=8))
        solids.append(
            rod((-beam * 0.2, depth * 3.2, z * length), (beam * 0.2, depth * 3.2, z * length), depth * 0.025, depth * 0.025, house, sides=8)
        )
    said = _parts(("funnel", stacks), ("mast", masts), ("container", containers), ("lifeboat", boats))
    return Thing(solids=_placed(solids), main=hull, style=(("slim",), ("low",), ("wide",))[form], parts=said)


def _tall_ship(rng: Rng) -> Thing:
    length, masts = 30.0, pick(rng, (2, 3, 3))
    beam, depth = length * rng.uniform(0.2, 0.26), length * rng.uniform(0.13, 0.18)
    hull, cloth, spar = (
        wood(rng, pick(rng, ("brown", "black", "brown"))),
        fabric(rng, pick(rng, ("white", "beige", "white", "red", "black"))),
        wood(rng, "brown"),
    )
    solids = [_hull(length, beam, depth, hull, rake=0.8, stern=0.65, sheer=rng.uniform(0.2, 0.5), full=1.8)]
    castle = maybe(rng, 0.6)
    if castle:
        solids += [
            box((beam * 0.72, depth * 0.5, length * 0.2), (0, depth * 0.98, -length * 0.39), hull),
            box((beam * 0.78, depth * 0.06, length * 0.21), (0, depth * 1.46, -length * 0.39), spar),
        ]
        solids += [
            box((beam * 0.16, depth * 0.22, 0.15), (x * beam, depth * 1.1, -length * 0.49), glass(rng, "yellow")) for x in (-0.22, 0, 0.22)
        ]
    line = depth * 0.72
    for s in (-1, 1):
        for q in np.linspace(-0.32, 0.2, 7):
            wide = beam / 2 * (0.98 if q > -0.25 else 0.95) * (1.0 if abs(q) < 0.15 else 0.94)
            solids.append(box((0.25, depth * 0.13, depth * 0.13), (s * wide * 0.95, line, float(q) * length), BLACK))
    tip = (0.0, depth * 2.0, length * 0.74)
    solids.append(rod((0, depth * 1.2, length * 0.45), tip, 0.28, 0.16, spar, sides=10))
    sails, blow = 0, length * rng.uniform(0.025, 0.05)
    places, rows = (np.linspace(0.27, -0.32, masts)), int(rng.integers(2, 4))
    for i, q in enumerate(places):
        z, tall = float(q) * length, length * (0.85 if i != masts - 1 else 0.7)
        solids.append(rod((0, depth * 0.6, z), (0, depth + tall, z), 0.32, 0.16, spar, sides=10))
        y = depth + tall * 0.16
        for row in range(rows):
            step = tall * 0.78 / rows
            low, high = beam * (1.0 - 0.17 * row), beam * (1.0 - 0.17 * (row + 1))
            solids.append(
                _sail(
                    [(-low, y, z + 0.35), (low, y, z + 0.35), (high, y + step * 0.9, z + 0.35), (-high, y + step * 0.9, z + 0.35)],
                    blow,
                    cloth,
                )
            )
            solids.append(rod((-high * 1.05, y + step * 0.92, z + 0.2), (high * 1.05, y + step * 0.92, z + 0.2), 0.14, 0.14, spar, sides=8))
            y, sails = y + step, sails + 1
    for k in range(pick(rng, (1, 2))):
        z = float(places[0]) * length
        head = (0.0, depth + length * (0.55 - 0.15 * k), z + 0.6)
        foot = (0.0, depth * (2.0 - 0.3 * k), length * (0.72 - 0.14 * k))
        solids.append(_sail([foot, (1.0, depth * 1.7, z + length * 0.1), head, head], blow * 0.6, cloth))
        sails += 1
    return Thing(solids=_placed(solids), main=cloth, style=("tall",), parts=_parts(("mast", masts), ("sail", sails)))


def _ogive(radius: float, low: float, high: float, blunt: float) -> list[tuple[float, float]]:
    """The profile of a nose, without its lowest point."""
    t = np.linspace(0, 1, 12)[1:]
    return [(float(radius * (1 - s**1.8) ** (1 / blunt)) if s < 1 else 0.0, float(low + (high - low) * s)) for s in t]


def rocket(rng: Rng) -> Thing:
    return pick(rng, (_toy_rocket, _launcher, _launcher, _missile, _shuttle))(rng)


def _bell(radius: float, at: Point, material: Material) -> Solid:
    """A nozzle that opens downwards, its rim at `at`."""
    line = [(radius * (0.35 + 0.65 * (1 - h) ** 0.6), radius * 1.6 * h) for h in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return turned([(0, radius * 1.2), (radius * 0.9, 0), *line, (0, radius * 1.6)], at, material, sides=20)


def _toy_rocket(rng: Rng) -> Thing:
    """A round one as in picture books, standing on curved fins."""
    body, second, dark = (
        plastic(rng),
        plastic(rng, pick(rng, ("red", "blue", "yellow", "orange", "black", "white"))),
        glass(rng, pick(rng, ("blue", "black", "white"))),
    )
    tall, fat = 1.6, rng.uniform(0.22, 0.36)
    t = np.linspace(0, 1, 22)
    lift = rng.uniform(0.18, 0.35)
    width = fat * np.sin(math.pi * (0.2 + 0.8 * t ** rng.uniform(0.85, 1.15))) ** rng.uniform(0.7, 1.0)
    width[-1] = 0.0
    split = int(rng.integers(14, 17))
    y = lift + tall * t
    line = [(float(w), float(h)) for w, h in zip(width, y, strict=True)]
    solids = [turned([(0, lift), *line[: split + 1], (0, line[split][1])], (0, 0, 0), body, sides=40)]
    solids.append(turned([(0, line[split][1]), (line[split][0] * 1.03, line[split][1]), *line[split + 1 :]], (0, 0, 0), second, sides=40))
    solids.append(_bell(float(width[0]) * 0.85, (0, lift - float(width[0]) * 0.7, 0), STEEL))
    fins, reach = pick(rng, (3, 3, 4)), fat * rng.uniform(1.5, 2.1)
    at = [float(np.interp(h, y, width)) * 0.9 for h in (lift + 0.1, lift + 0.4, lift + 0.75)]
    outer = _bend([(at[2], lift + 0.75), (at[1] + reach * 0.28, lift + 0.52), (reach, lift + 0.1), (reach * 1.08, 0.0)], 10)
    inner = _bend([(reach * 0.98, 0.0), (reach * 0.75, lift * 0.75 + 0.06), (at[0], lift + 0.12)], 8)
    shape = [tuple(p) for p in (*outer, *inner, (at[1], lift + 0.4))]
    fin = _slab(shape, 0.05, second, bevel=0.015)
    solids += _around([fin], fins, 30)
    windows = int(rng.integers(0, 4))
    for i in range(windows):
        h = lift + tall * (0.58 - 0.19 * i)
        r, size = float(np.interp(h, y, width)), fat * (0.42 - 0.07 * i)
        ring = [(0, -0.05), (size, -0.05), (size, 0.02), (size * 0.9, 0.035), (size * 0.78, 0.02), (size * 0.72, 0.015), (0, 0.012)]
        solids.append(turned(ring, (0, 0, 0), pick(rng, (STEEL, second)), sides=24).turned("x", 90).moved((0, h, r)))
        solids.append(
            turned([(0, 0), (size * 0.72, 0.012), (size * 0.4, 0.035), (0, 0.04)], (0, 0, 0), dark, sides=24)
            .turned("x", 90)
            .moved((0, h, r))
        )
    if maybe(rng, 0.4):
        solids += [
            rod((0, lift + tall - 0.03, 0), (0, lift + tall + 0.2, 0), 0.012, 0.008, STEEL),
            turned([(0, -0.03), (0.03, 0), (0, 0.03)], (0, lift + tall + 0.2, 0), second),
        ]
    for h in (0.12, 0.3) if maybe(rng, 0.4) else ():
        edge = [(float(np.interp(lift + tall * k, y, width)) + 0.006, lift + tall * k) for k in (h, h + 0.05)]
        solids.append(turned([(0, edge[0][1]), *edge, (0, edge[1][1])], (0, 0, 0), second, sides=40))
    return Thing(solids=_placed(solids), main=body, style=("round",), parts=_parts(("fin", fins), ("window", windows)))


def _stack(
    stages: Sequence[tuple[float, float]], nose: float, blunt: float, paints: Sequence[Material], at: Point = (0, 0, 0)
) -> list[Solid]:
    """Cylinders of (radius, height) one on another, joined by cones, and a nose."""
    solids, y = [], 0.0
    for i, (r, h) in enumerate(stages):
        paint = paints[i % len(paints)]
        solids.append(turned([(0, y), (r, y), (r, y + h), (0, y + h)], at, paint))
        band = r * 0.12
        solids.append(turned([(0, y + h - band), (r * 1.015, y + h - band), (r * 1.015, y + h), (0, y + h)], at, BLACK if i % 2 else STEEL))
        y += h
        if i + 1 < len(stages) and stages[i + 1][0] != r:
            step = abs(r - stages[i + 1][0]) * 1.5 + 0.02
            solids.append(turned([(0, y), (r, y), (stages[i + 1][0], y + step), (0, y + step)], at, paint))
            y += step
    r = stages[-1][0]
    solids.append(turned([(0, y), (r, y), *_ogive(r, y, y + nose, blunt)], at, paints[-1]))
    return solids


def _launcher(rng: Rng) -> Thing:
    """A carrier rocket of stages, with or without boosters at its sides."""
    skin = metal(rng, pick(rng, ("white", "white", "grey", "orange", "green")))
    second, third = metal(rng, pick(rng, ("black", "white", "red", "orange"))), metal(rng, pick(rng, ("white", "grey", "red")))
    count, r = int(rng.integers(1, 4)), rng.uniform(0.19, 0.32)
    stages, radius, tall = [], r, rng.uniform(2.0, 3.0)
    for i in range(count):
        stages.append((radius, tall * (1.0, 0.55, 0.35)[i]))
        radius *= pick(rng, (1.0, rng.uniform(0.65, 0.9), 1.15 if i == count - 2 and count > 1 else 0.8))
    paints = (skin, pick(rng, (skin, second)), skin)
    solids = [solid.moved((0, r * 1.2, 0)) for solid in _stack(stages, stages[-1][0] * rng.uniform(1.8, 4), rng.uniform(1, 2), paints)]
    top = max(float(solid.vertices[:, 1].max()) for solid in solids)
    tower = maybe(rng, 0.3)
    if tower:
        solids += [
            rod((0, top - 0.05, 0), (0, top + 0.4, 0), 0.018, 0.014, STEEL),
            turned([(0, 0), (0.03, 0), (0.03, 0.15), (0, 0.22)], (0, top + 0.36, 0), second, sides=12),
        ]
    boosters = pick(rng, (0, 0, 2, 2, 4, 4))
    pushed = 0.0
    if boosters:
        small, high = r * rng.uniform(0.45, 0.95), tall * rng.uniform(0.55, 1.0)
        pushed = r + small * 0.98
        line = [
            (0, r * 0.9),
            (small, r * 0.9),
            (small, high),
            *_ogive(small, high, high + small * rng.uniform(2, 4.5), pick(rng, (1.0, 1.6))),
        ]
        one = [turned(line, (0, 0, pushed), third, sides=24), _bell(small * 0.7, (0, 0.02, pushed), STEEL)]
        one.append(
            turned(
                [(0, high * 0.8), (small * 1.02, high * 0.8), (small * 1.02, high * 0.86), (0, high * 0.86)],
                (0, 0, pushed),
                second,
                sides=24,
            )
        )
        one.append(box((small * 0.4, 0.06, r * 0.5), (0, high * 0.7, r), STEEL))
        solids += _around(one, boosters, 90 if boosters == 2 else 45)
    nozzles = pick(rng, (1, 3, 4, 5))
    if nozzles == 1:
        solids.append(_bell(r * 0.75, (0, 0, 0), STEEL))
    else:
        ring = nozzles if nozzles < 5 else 4
        solids += _around([_bell(r * 0.36, (0, 0, r * 0.56), STEEL)], ring)
        solids += [_bell(r * 0.36, (0, 0, 0), STEEL)] if nozzles == 5 else []
    fins = pick(rng, (0, 3, 4, 4, 4) if boosters == 0 else (0, 0, 4))
    if fins:
        size = r * rng.uniform(1.0, 1.9)
        fin = _wing((0, r * 0.9, r * 1.2 + size * 1.6), (0, r + size * 0.8, r * 1.2 + size * 0.7), size * 1.6, size * 0.7, 0.08, second)
        solids += _around([fin.turned("x", -90).turned("y", 180)], fins)
    said = _parts(("fin", fins), ("booster", boosters), ("nozzle", nozzles if not boosters else 0), ("stage", count))
    return Thing(solids=_placed(solids), main=skin, style=("tall",), parts=said)


def _missile(rng: Rng) -> Thing:
    """Slim and pointed with large fins: a V2, a model rocket, a missile."""
    skin, second = metal(rng, pick(rng, PAINTS)), metal(rng, pick(rng, ("red", "black", "white", "yellow", "blue")))
    r, tall, bulge = 0.16, rng.uniform(1.8, 3.2), rng.uniform(0.0, 0.3)
    t = np.linspace(0, 1, 18)
    width = r * (1 - bulge + bulge * np.sin(math.pi * np.minimum(t * 1.15, 1) ** 0.9) ** 0.7)
    line = [(float(w), float(h * tall)) for w, h in zip(width, t, strict=True)]
    nose = [(p, h) for p, h in _ogive(float(width[-1]), tall, tall + r * rng.uniform(2.5, 6), rng.uniform(1.0, 1.8))]
    solids = [
        turned([(0, 0), *line, (0, tall)], (0, 0, 0), skin),
        turned([(0, tall), (float(width[-1]), tall), *nose], (0, 0, 0), pick(rng, (skin, second))),
    ]
    fins, size = pick(rng, (3, 4, 4)), r * rng.uniform(1.5, 2.6)
    drop, chord = pick(rng, (0.0, 0.3, -0.3)) * size, size * rng.uniform(0.9, 1.5)
    fin = _wing((0, r * 0.6, chord), (0, r + size * 0.8, chord * 0.45 - drop), chord, chord * rng.uniform(0.3, 0.6), 0.06, second)
    solids += _around([fin.turned("x", -90).turned("y", 180)], fins, 45)
    small = 0
    if maybe(rng, 0.4):
        small, h = fins, tall * rng.uniform(0.55, 0.85)
        fin = _wing((0, r * 0.6, h + size * 0.5), (0, r + size * 0.45, h + size * 0.1), size * 0.5, size * 0.22, 0.06, second)
        solids += _around([fin.turned("x", -90).turned("y", 180)], fins, 45)
    for h in (0.2, 0.6, 0.93):
        if maybe(rng, 0.5):
            rim = float(np.interp(h, t, width)) * 1.02
            solids.append(turned([(0, h * tall), (rim, h * tall), (rim, h * tall + 0.08), (0, h * tall + 0.08)], (0, 0, 0), second))
    solids.append(_bell(r * 0.6, (0, -r * 0.6, 0), STEEL))
    return Thing(solids=_placed(solids), main=skin, style=("slim",), parts=_parts(("fin", fins + small)))


def _shuttle(rng: Rng) -> Thing:
    """A space shuttle alone, or on its tank between two boosters."""
    skin, dark, tank = metal(rng, "white"), BLACK, metal(rng, pick(rng, ("orange", "brown", "white")))
    r = 0.36
    stations = [(0, 2, 2, 0), (0.8, 2.05, 2.05, 0), (2.6, 2, 2, 0), (3.1, 1.7, 1.75, -0.1), (3.55, 0.9, 1.0, -0.3), (3.7, 0.05, 0.05, -0.4)]
    plane = [_body([(z, w * r, h * r, y * r) for z, w, h, y in stations], skin, 2.8)]
    for s in (-1, 1):
        plane.append(_wing((s * 0.2, -0.75 * r, 2.1), (s * 1.35, -0.65 * r, 0.55), 2.1, 0.55, 0.06, skin))
        plane.append(_wing((s * 0.15, -0.8 * r, 2.9), (s * 0.8, -0.75 * r, 1.4), 1.3, 0.3, 0.06, dark))
        plane.append(
            _body([(-0.1, 0.2, 0.2, r), (0.0, 0.3, 0.3, r), (0.5, 0.3, 0.3, r * 0.9), (0.9, 0.1, 0.1, r * 0.8)], skin, count=10).moved(
                (s * 0.2, 0, 0)
            )
        )
        plane.append(cushion((0.16, 0.1, 0.22), (s * 0.13, r * 0.42, 3.12), 0.03, dark))
    plane.append(_wing((0, 0.8 * r, 0.75), (0, 0.8 * r + 0.95, 0.15), 0.8, 0.42, 0.08, skin))
    plane += [_bell(0.15, (0, -0.16, 0), STEEL).turned("x", 90).moved((x, y, 0.0)) for x, y in ((0, 0.2), (-0.17, -0.1), (0.17, -0.1))]
    solids = [solid.turned("x", -90) for solid in plane]
    boosters = 0
    if maybe(rng, 0.7):
        boosters = 2
        solids = [solid.turned("y", 180).moved((0, 0.5, 1.15)) for solid in solids]
        line = [(0, 0.2), (0.5, 0.3), (0.62, 0.7), (0.62, 3.6), *_ogive(0.62, 3.6, 5.0, 1.3)]
        solids.append(turned(line, (0, 0, 0), tank))
        for s in (-1, 1):
            solids += _stack(((0.27, 1.2), (0.27, 1.2), (0.27, 1.2)), 0.5, 1.0, (WHITE,), (s * 0.88, 0.1, 0))
            solids.append(turned([(0, 0.0), (0.36, 0.0), (0.27, 0.4), (0, 0.4)], (s * 0.88, -0.1, 0), WHITE))
        solids += [rod((0, y, 0.5), (0, y, 0.85), 0.05, 0.05, STEEL, sides=8) for y in (1.2, 3.2)]
        solids += [rod((s * 0.5, y, 0), (s * 0.8, y, 0), 0.05, 0.05, STEEL, sides=8) for s in (-1, 1) for y in (0.7, 3.2)]
    else:
        solids = [solid.turned("y", 180) for solid in solids]
    return Thing(
        solids=_placed(solids),
        main=tank if boosters else skin,
        style=("tall",) if boosters else ("wide",),
        parts=_parts(("booster", boosters), ("wing", 2), ("nozzle", 3)),
    )


# ------------------------------------------------------------------------------------------------ tents, ladders, stairs


def tent(rng: Rng) -> Thing:
    return pick(rng, (_dome_tent, _dome_tent, _ridge_tent, _ridge_tent, _tipi, _tunnel_tent, _pavilion, _bell_tent))(rng)


def _guys(spots: Sequence[tuple[Point, Point]], cord: Material) -> list[Solid]:
    """Cords from a point of the tent to a peg in the ground."""
    lines = [rod(top, peg, 0.008, 0.008, cord, sides=6) for top, peg in spots]
    return [*lines, *(rod((x, 0, z), (x * 1.02, 0.08, z * 1.02), 0.012, 0.012, STEEL, sides=6) for _, (x, _, z) in spots)]


def _dome_tent(rng: Rng) -> Thing:
    cloth, second, pole = fabric(rng), fabric(rng), pick(rng, (STEEL, BLACK, fabric(rng)))
    width, depth, tall = rng.uniform(1.6, 2.8), rng.uniform(1.5, 2.5), rng.uniform(1.0, 1.7)
    corners, sag, belly = pick(rng, (4, 4, 6)), rng.uniform(0.9, 1.0), rng.uniform(0.75, 1.1)

    def point(angle: float, lift: float, grow: float = 1.0) -> Point:
        """At an angle from +Z and a part of the way up, on straight sides that sag between the poles."""
        part = math.pi / corners
        off = (angle + (part if corners == 4 else 0)) % (2 * part) - part  # 0 in the middle of a side
        out = math.cos(part) / math.cos(off) * (sag + (1 - sag) * abs(off / part)) * math.cos(lift * math.pi / 2) ** belly * grow * 0.7
        return out * width * math.sin(angle), tall * math.sin(lift * math.pi / 2) * grow, out * depth * math.cos(angle)

    shift = math.pi / corners if corners == 6 else 0.0
    angles = np.arange(48) * math.pi / 24
    solids = [_loft([np.array([point(a, t) for a in angles]) for t in np.linspace(0, 0.98, 14)], cloth)]
    for i in range(corners):
        a = (i + 0.5) * 2 * math.pi / corners - shift + (math.pi / corners if corners == 6 else 0)
        solids.append(tube(np.array([point(a, t, 1.01) for t in np.linspace(0, 1, 18)]), 0.022, pole, sides=8))
    windows = pick(rng, (0, 0, 2))
    turns = (0.0, -math.pi / 2, math.pi / 2)[: 1 + windows]
    for i, turn in enumerate(turns):
        half, low, high = (rng.uniform(0.35, 0.5), 0.04, rng.uniform(0.45, 0.6)) if i == 0 else (0.3, 0.22, 0.42)
        rows = [
            (half * math.sqrt(max(1 - (v * 0.95) ** 2, 0.02)), low + (high - low) * v) for v in np.linspace(0 if i == 0 else -0.9, 1, 9)
        ]
        grids = [np.array([[point(turn + u * w, t, g) for u in np.linspace(-1, 1, 9)] for w, t in rows]) for g in (1.025, 0.98)]
        solids.append(_sheet(grids[0], grids[1], pick(rng, (second, BLACK)) if i == 0 else BLACK))
        rim = np.concatenate([grids[0][:, 0], grids[0][-1, 1:-1], grids[0][::-1, -1]])
        solids.append(tube(rim * 1.003, 0.016, second, sides=6))
    if maybe(rng, 0.4):  # an awning over the door
        reach = rng.uniform(0.5, 0.9)
        spread = np.linspace(-0.55, 0.55, 9)
        back = np.array([point(a, 0.6 - 0.25 * abs(a), 1.02) for a in spread])
        front = np.array([(a * width * 0.75, tall * (0.62 - 0.3 * abs(a)), 0.5 * depth + reach) for a in spread])
        grid = np.array([back * (1 - t) + front * t for t in np.linspace(0, 1, 5)])
        solids.append(_sheet(np.add(grid, (0, 0.012, 0)), grid - (0, 0.012, 0), second))
        solids += [rod((x, 0, z), (x, y, z), 0.013, 0.013, pole, sides=8) for x, y, z in (front[0], front[-1])]
    elif maybe(rng, 0.5):
        top = [point(a, 0.68 + 0.04 * math.cos(corners * a), 1.03) for a in angles]
        hat = [np.array([point(a, t, 1.03) for a in angles]) for t in np.linspace(0.74, 0.98, 5)]
        solids.append(_loft([np.array(top), *hat], second))
    return Thing(solids=_placed(solids), main=cloth, style=("round",), parts=_parts(("window", windows), ("pole", corners)))


def _ridge_tent(rng: Rng) -> Thing:
    """Two slopes over a ridge, with open or closed flaps; or with upright walls as scouts and armies have it."""
    cloth, second, pole = fabric(rng), fabric(rng), pick(rng, (wood(rng, "brown"), STEEL))
    width, depth, tall = rng.uniform(1.3, 2.4), rng.uniform(1.8, 3.2), rng.uniform(1.1, 1.9)
    wall = tall * rng.uniform(0.3, 0.45) if maybe(rng, 0.4) else 0.0
    sag, half = rng.uniform(0, 0.06), depth / 2
    line = [(-width / 2, 0.0), (-width / 2 * (0.98 if wall else 1), wall)] if wall else [(-width / 2, 0.0)]
    line = [*line, (-width / 4 * 0.97, (tall + wall) / 2 - sag * 0.6), (0.0, tall)]
    arch = np.array([*line, *((-x, y) for x, y in line[-2::-1])])
    inner = arch * (1 - 0.03 / width * 2, 1) - (0, 0.03)
    inner[[0, -1], 1] = 0
    grids = [
        np.array(
            [
                np.column_stack([a, np.full(len(a), z)]) - (0, 1, 0) * np.array([0, sag * (1 - (z / half) ** 2), 0]) * (a[:, 1:] > 0.1)
                for z in np.linspace(-half, half, 7)
            ]
        )
        for a in (arch, inner)
    ]
    solids = [_sheet(grids[0], grids[1], cloth)]
    solids.append(_slab([(x * 0.97, y * 0.97) for x, y in arch], 0.02, cloth).moved((0, 0, -half + 0.05)))
    swung = maybe(rng, 0.6)
    foot, knee = width / 2 * 0.97, max(wall, 0.06)
    for s in (-1, 1):
        if swung:  # a flap thrown back to its side
            flap = [(s * 0.02, tall * 0.97), (s * foot, knee), (s * foot, 0.02), (s * foot * 0.78, 0.02), (s * width * 0.13, tall * 0.55)]
            solids.append(_slab(flap, 0.03, second, bevel=0.01).moved((0, 0, half - 0.02)))
            solids.append(
                rod((s * width * 0.14, tall * 0.5, half), (s * width * 0.24, tall * 0.52, half + 0.02), 0.03, 0.03, cloth, sides=8)
            )
        else:
            solids.append(
                _slab([(s * 0.008, tall * 0.97), (s * foot, knee), (s * foot, 0.0), (s * 0.008, 0.0)], 0.02, cloth).moved(
                    (0, 0, half - 0.03)
                )
            )
            solids += [
                rod((s * 0.03, tall * h, half - 0.02), (s * 0.03, tall * h, half + 0.01), 0.02, 0.02, second, sides=8)
                for h in (0.2, 0.4, 0.6)
            ]
    solids.append(box((width - 0.05, 0.02, depth - 0.08), (0, 0, 0), second))
    outside = maybe(rng, 0.4)
    for z in (-half - 0.02, half + 0.02):
        if outside:
            solids += [rod((s * width * 0.42, 0, z), (-s * 0.08, tall * 1.12, z), 0.02, 0.02, pole, sides=8) for s in (-1, 1)]
        else:
            solids.append(rod((0, 0, z * 0.99), (0, tall + 0.06, z * 0.99), 0.02, 0.02, pole, sides=8))
    solids.append(rod((0, tall - 0.005, -half - 0.06), (0, tall - 0.005, half + 0.06), 0.022, 0.022, pole, sides=8))
    fly = maybe(rng, 0.3)
    if fly:
        roof = [(-width * 0.6, tall * 0.32 + wall * 0.5), (0.0, tall + 0.08), (width * 0.6, tall * 0.32 + wall * 0.5)]
        rows = np.array([[(x, y, z) for x, y in roof] for z in np.linspace(-half * 1.1, half * 1.15, 3)])
        solids.append(_sheet(np.add(rows, (0, 0.02, 0)), rows, second))
    cords = 0
    if maybe(rng, 0.6):
        spots = [((0.0, tall, s * half), (0.0, 0.0, s * (half + tall * 0.6))) for s in (-1, 1)]
        spots += (
            [((s * width * 0.5, wall, z * half), (s * (width * 0.5 + 0.45), 0.0, z * half * 1.05)) for s in (-1, 1) for z in (-1, 0, 1)]
            if wall
            else []
        )
        solids, cords = solids + _guys(spots, WHITE), len(spots)
    style = ("open",) if swung else ("closed",)
    return Thing(solids=_placed(solids), main=cloth, style=style, parts=_parts(("pole", 2 + 2 * outside), ("cord", cords)))


def _tipi(rng: Rng) -> Thing:
    cloth, second, timber = (
        fabric(rng, pick(rng, ("beige", "white", "brown", "grey", "red", "blue", "pink"))),
        fabric(rng),
        wood(rng, pick(rng, ("brown", "beige"))),
    )
    radius, tall, sides = rng.uniform(0.7, 1.8), rng.uniform(1.7, 3.4), pick(rng, (4, 5, 6, 8, 10))
    rim = radius * 0.08
    angle = (np.arange(sides) + 0.5) * 2 * math.pi / sides
    rings = []
    for t in np.linspace(0, 1, 5):
        r = radius + (rim - radius) * t
        spread = np.stack([np.sin(angle) * r, np.full(sides, t * tall), np.cos(angle) * r], axis=1)
        middle = (spread + np.roll(spread, -1, axis=0)) / 2 * ((1 - 0.03 * math.sin(math.pi * t)), 1, (1 - 0.03 * math.sin(math.pi * t)))
        rings.append(np.stack([spread, middle], axis=1).reshape(-1, 3))
    solids = [_loft(rings, cloth)]
    reach = rng.uniform(0.12, 0.28)
    for a in angle:
        foot, top = (math.sin(a) * radius, 0.0, math.cos(a) * radius), np.array([math.sin(a) * rim, tall, math.cos(a) * rim])
        end = top + (top - foot) * reach
        solids.append(rod(foot, (float(end[0]), float(end[1]), float(end[2])), 0.028, 0.02, timber, sides=8))
    lean = (
        math.degrees(math.atan2(radius - rim, tall))
        if sides > 5
        else math.degrees(math.atan2((radius - rim) * math.cos(math.pi / sides), tall))
    )
    wide, high, face = (
        radius * rng.uniform(0.28, 0.4) * (0.9 if sides > 6 else 1),
        tall * rng.uniform(0.45, 0.62),
        radius * math.cos(math.pi / sides),
    )
    entry = [(-wide, 0.02), (wide, 0.02), (wide * 0.75, high * 0.55), (0.0, high), (-wide * 0.75, high * 0.55)]
    solids.append(_slab(entry, 0.05, BLACK).turned("x", -lean).moved((0, 0, face * 0.985)))
    for s in (-1, 1):
        flap = [
            (0.0, high * 1.03),
            (s * wide * 0.8, high * 0.55),
            (s * wide * 1.15, 0.02),
            (s * wide * rng.uniform(0.6, 1.0), 0.02),
            (s * wide * 0.5, high * 0.45),
        ]
        solids.append(_slab(flap, 0.04, second, bevel=0.012).turned("x", -lean).moved((0, 0, face + 0.02)))
    bands = pick(rng, (0, 1, 2))
    for t in (0.06, 0.75)[:bands]:
        rows = []
        for h in (t, t + 0.1):
            r = (radius + (rim - radius) * h) * 1.012
            rows.append(np.stack([np.sin(angle) * r, np.full(sides, h * tall), np.cos(angle) * r], axis=1))
        solids.append(_loft(rows, second))
    return Thing(solids=_placed(solids), main=cloth, style=("tall",), parts=_parts(("pole", sides), ("band", bands)))


def _tunnel_tent(rng: Rng) -> Thing:
    cloth, second = fabric(rng), fabric(rng)
    width, depth, tall, hoops = rng.uniform(1.6, 2.4), rng.uniform(2.6, 4.2), rng.uniform(1.1, 1.9), int(rng.integers(2, 5))
    power, angle = rng.uniform(2.0, 3.0), np.linspace(0, math.pi, 21)
    places = np.linspace(-0.5, 0.5, hoops)

    def arch(z: float, scale: float) -> Floats:
        c, s = np.cos(angle), np.sin(angle)
        x, y = np.sign(c) * abs(c) ** (2 / power) * width / 2, s ** (2 / power) * tall
        return np.stack([x * (0.7 + 0.3 * scale), y * scale, np.full(21, z)], axis=1)

    body = depth * 0.72
    along = np.linspace(-0.5, 0.5, 8 * (hoops - 1) + 1)
    rings = [arch(float(z) * body, 1 - 0.05 * abs(math.sin(math.pi * (z + 0.5) * (hoops - 1)))) for z in along]
    closed = maybe(rng, 0.6)
    back = [arch(-body / 2 - depth * 0.14 * q, 1 - q**2 * 0.8) for q in (1.0, 0.75, 0.5, 0.25)]
    front = [ring * (1, 1, -1) for ring in back[::-1]] if closed else []
    solids = [_loft([*back, *rings, *front], cloth)]
    solids += [tube(arch(float(z) * body, 1.01), 0.022, second, sides=8) for z in places]
    grid = np.array(
        [[(u * width * 0.3 * (1 - 0.6 * v**2), v * tall * 0.72, 0) for u in np.linspace(-1, 1, 7)] for v in np.linspace(0.02, 1, 7)]
    )
    if closed:
        grid[..., 2] = body / 2 + depth * 0.14 * np.sqrt(np.clip((1 - grid[..., 1] / tall) / 0.8, 0, 1))
        solids.append(_sheet(np.add(grid, (0, 0, 0.03)), grid - (0, 0, 0.03), BLACK))
        solids.append(tube(np.add(np.concatenate([grid[:, 0], grid[-1, 1:-1], grid[::-1, -1]]), (0, 0, 0.03)), 0.016, second, sides=6))
    else:
        solids.append(_slab([(x * 0.9, y * 0.93) for x, y, _ in arch(0, 1.0)], 0.03, BLACK).moved((0, 0, body / 2)))
        for s in (-1, 1):
            curtain = [
                (s * width * 0.44, 0.02),
                (s * width * 0.2, 0.02),
                (s * width * 0.14, tall * 0.5),
                (0.0, tall * 0.92),
                (s * width * 0.3, tall * 0.85),
                (s * width * 0.42, tall * 0.5),
            ]
            solids.append(_slab(curtain, 0.04, second, bevel=0.012).moved((0, 0, body / 2 + 0.03)))
    windows = pick(rng, (0, 2, 4))
    for i in range(windows):
        s, z = (-1, 1)[i % 2], (0.0 if windows == 2 else (i // 2 - 0.5) * 0.5) * body + 0.1
        solids.append(cushion((0.08, tall * 0.3, 0.5), (s * width * 0.475, tall * 0.3, z), 0.03, pick(rng, (BLACK, WHITE))))
    return Thing(
        solids=_placed(solids), main=cloth, style=("closed",) if closed else ("open",), parts=_parts(("hoop", hoops), ("window", windows))
    )


def _pavilion(rng: Rng) -> Thing:
    """A party tent: a roof on poles, with a fringe and perhaps with walls."""
    cloth, second, pole = (
        fabric(rng, pick(rng, ("white", "white", "red", "blue", "green", "beige", "yellow"))),
        fabric(rng),
        pick(rng, (STEEL, WHITE, BLACK)),
    )
    width, low, rise = rng.uniform(2.2, 3.6), rng.uniform(1.7, 2.1), rng.uniform(0.6, 1.4)
    depth, curve, peaked = width * pick(rng, (1.0, 1.0, rng.uniform(1.1, 1.5))), rng.uniform(1.0, 2.0), maybe(rng, 0.6)
    rings = []
    for t in np.linspace(0, 1, 7):
        k = (1 - t) ** curve
        line = _rounded(1.0, -0.5, 0.5, 0.02, 2)
        ridge = (0, 0) if peaked else (width * 0.5 * (1 - k), 0)
        rings.append(np.array([(x * (width * k + ridge[0]), low + rise * t, z * depth * max(k, 0.012)) for x, z in line]))
    solids = [_loft(rings, cloth)]
    wave = pick(rng, (0, 1))
    for turn, span, out in ((0, width, depth), (90, depth, width), (180, width, depth), (270, depth, width)):
        n = max(4, round(span / 0.35))
        if wave:
            edge = [
                (float(x), -0.12 - 0.1 * abs(math.sin(math.pi * n * (x / span + 0.5)))) for x in np.linspace(span / 2, -span / 2, 6 * n + 1)
            ]
        else:
            edge = [(span / 2, -0.22), (-span / 2, -0.22)]
        fringe = _slab([(-span / 2, 0.02), (span / 2, 0.02), *edge], 0.025, pick(rng, (second, cloth)))
        solids.append(fringe.moved((0, low, out / 2 - 0.01)).turned("y", turn))
    solids += [rod((x, 0, z), (x, low + 0.02, z), 0.03, 0.03, pole, sides=10) for x, z in four(width - 0.08, depth - 0.08)]
    solids += [disc(0.08, 0.02, (x, 0, z), pole, sides=12) for x, z in four(width - 0.08, depth - 0.08)]
    walls = int(rng.integers(0, 4))
    for turn in (180, 90, 270)[:walls]:
        span, out = (width, depth) if turn == 180 else (depth, width)
        x = np.linspace(-span / 2 + 0.05, span / 2 - 0.05, 40)
        grid = np.array([np.stack([x, np.full(40, y), out / 2 - 0.08 + 0.02 * np.sin(x * 14)], axis=1) for y in (0.03, low)])
        solids.append(_sheet(grid, grid - (0, 0, 0.02), cloth).turned("y", turn))
    if peaked and maybe(rng, 0.5):
        solids += [
            rod((0, low + rise - 0.05, 0), (0, low + rise + 0.35, 0), 0.02, 0.015, pole),
            _slab([(0, 0), (0.35, 0.08), (0, 0.17)], 0.02, second).moved((0, low + rise + 0.17, 0)),
        ]
    return Thing(solids=_placed(solids), main=cloth, style=("square", "open"), parts=_parts(("pole", 4), ("wall", walls)))


def _bell_tent(rng: Rng) -> Thing:
    """Round with an upright wall and a cone on it: a bell tent, a yurt, a circus or a knight's tent."""
    cloth, second, timber = fabric(rng, pick(rng, ("white", "beige", "red", "blue", "green", "yellow"))), fabric(rng), wood(rng, "brown")
    radius, wall, rise, sides = rng.uniform(1.2, 2.2), rng.uniform(0.5, 1.5), rng.uniform(0.9, 2.0), pick(rng, (12, 16, 20))
    curve, over = rng.uniform(1.0, 1.8), rng.uniform(1.02, 1.1)
    roof = [(float(radius * over * (1 - t) ** curve), float(wall + rise * t)) for t in np.linspace(0, 0.97, 9)]
    striped = maybe(rng, 0.45)
    solids = [turned([(0, 0), (radius, 0), (radius * 0.99, wall), (0, wall)], (0, 0, 0), cloth, sides=sides)]
    solids.append(
        turned([(0, wall - 0.1), (radius * over, wall - 0.1), *roof, (0, wall + rise)], (0, 0, 0), pick(rng, (cloth, second)), sides=sides)
    )
    for i in range(0, sides, 2) if striped else ():
        a = np.array([i, i + 1]) * 2 * math.pi / sides
        rows = [
            np.array([(r * 1.008 * math.sin(x), y + 0.012, r * 1.008 * math.cos(x)) for x in a])
            for r, y in [(radius * over, wall - 0.1), *roof]
        ]
        solids.append(_sheet(np.array(rows), np.array(rows) - (0, 0.02, 0), second))
    wide, high = rng.uniform(0.35, 0.5), max(wall * 0.98, 0.6)
    solids.append(
        _slab([(-wide, 0.0), (wide, 0.0), (wide * 0.85, high * 0.7), (0.0, high), (-wide * 0.85, high * 0.7)], 0.1, BLACK).moved(
            (0, 0, radius * 0.98)
        )
    )
    for s in (-1, 1):
        flap = [(0.0, high), (s * wide, high * 0.85), (s * wide * 1.4, 0.0), (s * wide * 0.85, 0.0), (s * wide * 0.6, high * 0.5)]
        solids.append(_slab(flap, 0.04, second, bevel=0.012).turned("y", s * 12).moved((0, 0, radius * 0.98 + 0.07)))
    solids.append(rod((0, wall + rise * 0.9, 0), (0, wall + rise * 1.12, 0), 0.03, 0.025, timber, sides=10))
    flags = int(maybe(rng, 0.4))
    if flags:
        solids += [
            rod((0, wall + rise, 0), (0, wall + rise + 0.55, 0), 0.02, 0.015, timber),
            _slab([(0, 0), (0.45, 0.12), (0, 0.24)], 0.02, second).moved((0, wall + rise + 0.3, 0)),
        ]
    cords = pick(rng, (0, 6, 8))
    ways = [(math.sin(turn), math.cos(turn)) for turn in (np.arange(cords) + 0.5) * 2 * math.pi / max(cords, 1)]
    rim = radius * over
    spots = [((rim * x, wall - 0.05, rim * z), (radius * 1.45 * x, 0.0, radius * 1.45 * z)) for x, z in ways]
    solids += _guys(spots, WHITE)
    style = ("round", "striped") if striped else ("round",)
    return Thing(solids=_placed(solids), main=cloth, style=style, parts=_parts(("flag", flags), ("cord", cords)))


def _rails(tall: float, foot: float, head: float, rungs: int, flat: bool, rail: Material, rung: Material) -> list[Solid]:
    """A ladder that stands upright: two rails, `foot` apart below and `head` above, with rungs or flat steps."""
    solids = []
    for s in (-1, 1):
        if flat:
            line = [(s * foot / 2 - 0.015, 0), (s * foot / 2 + 0.015, 0), (s * head / 2 + 0.015, tall), (s * head / 2 - 0.015, tall)]
            solids.append(_slab([(float(x), y) for x, y in line], 0.075, rail, bevel=0.004))
        else:
            solids.append(rod((s * foot / 2, 0, 0), (s * head / 2, tall, 0), 0.024, 0.022, rail, sides=12))
    for i in range(rungs):
        y = tall * (i + 0.8) / (rungs + 0.6)
        half = (foot + (head - foot) * y / tall) / 2
        if flat:
            solids.append(_soft((2 * half, 0.025, 0.085), (0, y - 0.012, 0), 0.008, rung))
        else:
            solids.append(rod((-half, y, 0), (half, y, 0), 0.015, 0.015, rung, sides=10))
    return solids


def ladder(rng: Rng) -> Thing:
    rail = pick(rng, (wood(rng), metal(rng), STEEL, metal(rng, pick(rng, ("yellow", "orange", "red", "blue")))))
    rung = pick(rng, (rail, rail, STEEL, wood(rng, "beige")))
    return pick(rng, (_straight_ladder, _straight_ladder, _step_ladder, _step_ladder, _step_ladder, _pool_ladder))(rng, rail, rung)


def _straight_ladder(rng: Rng, rail: Material, rung: Material) -> Thing:
    """Leaning or upright: plain, drawn out of two parts, with hooks, or narrowing to the top."""
    rungs, flat = int(rng.integers(4, 13)), maybe(rng, 0.45)
    step = rng.uniform(0.25, 0.34)
    tall = step * (rungs + 0.6)
    foot = rng.uniform(0.36, 0.55)
    head = foot * pick(rng, (1.0, 1.0, rng.uniform(0.5, 0.85)))
    solids, hooks = _rails(tall, foot, head, rungs, flat, rail, rung), 0
    lean = pick(rng, (0.0, rng.uniform(8, 22), rng.uniform(8, 22)))
    form = int(rng.integers(5))
    if form == 0 and rungs > 5:
        upper = _rails(tall * 0.85, foot * 0.86, foot * 0.86, rungs - 2, flat, rail, rung)
        solids = [solid.moved((0, tall * rng.uniform(0.45, 0.6), 0.085)) for solid in upper] + _rails(
            tall, foot, foot, rungs, flat, rail, rung
        )
        solids += [box((0.06, 0.1, 0.14), (s * foot / 2, tall * 0.96, 0.04), BLACK) for s in (-1, 1)]
        rungs = 2 * rungs - 2
    elif form == 1:
        hooks = 2
        for s in (-1, 1):
            path = [
                (s * head / 2, tall - 0.08, 0.0),
                (s * head / 2, tall + 0.1, -0.01),
                (s * head / 2, tall + 0.18, -0.1),
                (s * head / 2, tall + 0.12, -0.2),
                (s * head / 2, tall + 0.02, -0.22),
            ]
            solids.append(tube(_bend(path, 18), 0.02, STEEL, sides=10))
    elif form == 2:
        solids.append(cushion((foot * 1.9, 0.05, 0.07), (0, 0, 0), 0.02, pick(rng, (rail, BLACK))))
        solids += [cushion((0.07, 0.07, 0.11), (s * foot * 0.9, -0.03, 0), 0.02, BLACK) for s in (-1, 1)]
    elif form == 3:
        solids += [cushion((0.06, 0.09, 0.12), (s * foot / 2, -0.02, 0), 0.02, BLACK) for s in (-1, 1)]
    solids = [solid.turned("x", -lean) for solid in solids]
    style = ("slim",) if foot < 0.42 else ()
    if form == 4 and flat:  # a third leg, as for picking fruit
        rear = math.sin(math.radians(22)) * tall
        solids = [solid.turned("x", lean - 14) for solid in solids]
        solids.append(
            rod(
                (0, 0, -rear * 1.25),
                (0, math.cos(math.radians(14)) * tall * 0.97, -tall * math.sin(math.radians(14)) * 0.97),
                0.025,
                0.022,
                rail,
                sides=10,
            )
        )
        style = ("tall",)
    return Thing(
        solids=_placed(solids),
        main=rail,
        style=style,
        parts=_parts(("rung" if not flat else "step", rungs), ("hook", hooks)),
    )


def _step_ladder(rng: Rng, rail: Material, rung: Material) -> Thing:
    """Two frames that open like an A."""
    steps, both = int(rng.integers(2, 9)), maybe(rng, 0.3)
    step, lean = rng.uniform(0.22, 0.27), rng.uniform(11, 17)
    tall, foot = step * (steps + 0.6), rng.uniform(0.42, 0.6)
    head = foot * rng.uniform(0.62, 0.85)
    broad = pick(rng, (0.085, 0.12, 0.2))
    front = _rails(tall, foot, head, steps, True, rail, rung)[:2]
    top = tall * math.cos(math.radians(lean))
    solids = [solid.turned("x", -lean) for solid in front]
    for i in range(steps):
        y = top * (i + 0.8) / (steps + 0.6)
        half, z = (foot + (head - foot) * y / top) / 2, -y * math.tan(math.radians(lean))
        solids.append(_soft((2 * half, 0.03, broad), (0, y - 0.015, z), 0.01, rung))
    apex = -top * math.tan(math.radians(lean))
    rear = _rails(tall, foot, head, steps if both else pick(rng, (1, 2, 3)), both or maybe(rng, 0.4), rail, rung)
    solids += [solid.turned("x", lean).moved((0, 0, 2 * apex - 0.04)) for solid in rear]
    platform = maybe(rng, 0.6)
    if platform:
        solids.append(
            cushion(
                (head + 0.1, 0.035, rng.uniform(0.2, 0.32)), (0, top - 0.005, apex - 0.03), 0.015, pick(rng, (rung, BLACK, plastic(rng)))
            )
        )
    else:
        solids += [
            rod((s * head / 2 - 0.03, top - 0.04, apex - 0.02), (s * head / 2 + 0.03, top - 0.04, apex - 0.02), 0.04, 0.04, STEEL, sides=12)
            for s in (-1, 1)
        ]
    handle = not both and maybe(rng, 0.5)
    if handle:
        high, w = rng.uniform(0.35, 0.65), head / 2
        path = [
            (-w, top - 0.02, apex),
            (-w, top + high * 0.8, apex - 0.05),
            (-w * 0.75, top + high, apex - 0.06),
            (w * 0.75, top + high, apex - 0.06),
            (w, top + high * 0.8, apex - 0.05),
            (w, top - 0.02, apex),
        ]
        solids.append(tube(_bend(path, 30), 0.017, pick(rng, (rail, STEEL, BLACK)), sides=10))
    y = top * rng.uniform(0.35, 0.5)
    for s in (-1, 1):
        half, z = (foot + (head - foot) * y / top) / 2, y * math.tan(math.radians(lean))
        solids.append(rod((s * half, y, -z), (s * half, y, 2 * apex - 0.04 + z), 0.009, 0.009, STEEL, sides=8))
        spots = [(s * foot / 2, 0.0, z) for z in (0.0, 2 * apex - 0.04)]
        solids += [cushion((0.05, 0.05, 0.1), spot, 0.015, BLACK) for spot in spots]
    said = _parts(("step", steps), ("platform", int(platform)), ("handle", int(handle)))
    return Thing(solids=_placed(solids), main=rail, style=("folding", "low") if steps < 4 else ("folding",), parts=said)


def _pool_ladder(rng: Rng, rail: Material, rung: Material) -> Thing:
    """Rails that bow over at the top, as at a pool, a roof or a loft."""
    rungs, width, deep = int(rng.integers(2, 7)), rng.uniform(0.42, 0.6), rng.uniform(0.3, 0.6)
    step, high = rng.uniform(0.24, 0.3), rng.uniform(0.5, 0.9)
    tall, cage, wall = step * (rungs + 0.5), rungs > 4 and maybe(rng, 0.5), maybe(rng, 0.4)
    for_rung = pick(rng, (rung, BLACK))
    solids: list[Solid] = []
    for s in (-1, 1):
        top = tall + high
        path = [
            (0.0, 0.0),
            (0.0, tall * 0.5),
            (0.0, tall),
            (0.0, top - deep * 0.5),
            (-deep * 0.15, top - deep * 0.12),
            (-deep * 0.5, top),
            (-deep * 0.85, top - deep * 0.12),
            (-deep, top - deep * 0.5),
            (-deep, tall * 0.99),
        ]
        curve = _bend(path, 48)
        solids.append(tube(np.column_stack([np.full(48, s * width / 2), curve[:, 1], curve[:, 0]]), 0.022, rail, sides=12))
        solids += [
            disc(0.05, 0.02, (s * width / 2, tall - 0.01, -deep), rail, sides=16),
            cushion((0.06, 0.06, 0.06), (s * width / 2, -0.02, 0), 0.02, BLACK),
        ]
    solids += [cushion((width, 0.03, 0.1), (0, step * (i + 0.6), 0), 0.012, for_rung) for i in range(rungs)]
    solids += [
        rod((s * width / 2, tall * k, 0), (s * width / 2, tall * k, -deep), 0.016, 0.016, rail, sides=8)
        for s in (-1, 1)
        for k in ((0.35, 0.97) if wall else (0.97,))
    ]
    solids.append(
        box((width + 0.25, tall, 0.05), (0, 0, -deep - 0.02), stone(rng))
        if wall
        else box((width + 0.1, 0.03, 0.08), (0, tall - 0.03, -deep), rail)
    )
    if cage:
        a = np.linspace(0, math.pi, 15)
        for y in np.arange(tall * 0.45, tall + high * 0.5, 0.4):
            hoop = np.stack([np.cos(a) * width / 2, np.full(15, float(y)), np.sin(a) * 0.5], axis=1)
            solids.append(tube(hoop, 0.014, rail, sides=8))
        for b in (0.25, 0.5, 0.75):
            x, z = math.cos(b * math.pi) * width / 2, math.sin(b * math.pi) * 0.5
            solids.append(rod((x, tall * 0.42, z), (x, tall + high * 0.5, z), 0.012, 0.012, rail, sides=8))
    return Thing(solids=_placed(solids), main=rail, style=("curved",), parts=_parts(("step", rungs), ("handrail", 2), ("cage", int(cage))))


def _railing(path: Floats, high: float, kind: int, bar: Material, rail: Material) -> list[Solid]:
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
        solids.append(_sheet(np.array([path + side, tops + side]), np.array([path - side, tops - side]), bar))
    return solids


def _flight(steps: int, width: float, rise: float, going: float, form: int, below: float, tread: Material, base: Material) -> list[Solid]:
    """Steps up from the origin towards -Z: massive down to `below`, between two boards, on a beam, or massive with covered treads."""
    solids = []
    long, high = steps * going, steps * rise
    if form in (0, 3):
        line = [(0.0, 0.0)]
        for i in range(steps):
            line += [(i * going, (i + 1) * rise), ((i + 1) * going, (i + 1) * rise)]
        under = [(long, -below)] if below or form == 3 or steps < 5 else [(long, high - rise - 0.22), (going * 1.2, 0.0)]
        line += under if not below else [(long, -below), (0.0, -below)]
        solids.append(_slab(line, width, base).turned("y", 90))
    if form == 1:
        for s in (-1, 1):
            board = [
                (-0.02, 0.0),
                (going * 0.6, 0.0),
                (long + 0.02, high - rise * 0.6),
                (long + 0.02, high + 0.02),
                (long - going * 0.6, high + 0.04),
                (-0.02, rise * 1.25),
            ]
            solids.append(_slab(board, 0.045, base, bevel=0.006).turned("y", 90).moved((s * (width / 2 - 0.02), 0, 0)))
    if form == 2:
        beam = [(0.0, 0.0), (going, 0.0), (long, high - rise * 1.1), (long, high - 0.05)]
        solids.append(_slab([*beam, (0.0, rise - 0.05)], width * 0.18, base, bevel=0.01).turned("y", 90))
        solids += [box((width * 0.12, 0.12, going * 0.5), (0, (i + 1) * rise - 0.14, -(i + 0.5) * going), base) for i in range(steps)]
    if form:
        thick, nose = (0.05, 0.02) if form != 3 else (0.03, 0.03)
        for i in range(steps):
            z = -(i + 0.5) * going + nose / 2
            solids.append(
                _soft((width - (0.05 if form == 1 else -0.03), thick, going + nose), (0, (i + 1) * rise - thick + 0.005, z), 0.01, tread)
            )
    return solids


def stairs(rng: Rng) -> Thing:
    return pick(rng, (_straight_stairs, _straight_stairs, _straight_stairs, _bent_stairs, _bent_stairs, _round_stairs, _round_stairs))(rng)


def _looks(rng: Rng) -> tuple[Material, Material, Material, Material, int]:
    """Of treads, of what bears them, of bars and handrails, and the kind of railing."""
    tread = pick(rng, (wood(rng), wood(rng), stone(rng), metal(rng)))
    base = pick(rng, (tread, tread, stone(rng, "white"), stone(rng), metal(rng), wood(rng)))
    kind = int(rng.integers(4))
    bar = glass(rng, pick(rng, ("white", "blue", "green"))) if kind == 3 else pick(rng, (STEEL, BLACK, WHITE, wood(rng)))
    return tread, base, bar, pick(rng, (wood(rng), STEEL, BLACK)), kind


def _straight_stairs(rng: Rng) -> Thing:
    tread, base, bar, rail, kind = _looks(rng)
    steps, width, form = int(rng.integers(3, 15)), rng.uniform(0.75, 1.5), int(rng.integers(4))
    if steps < 6 and maybe(rng, 0.6):
        width, form = rng.uniform(1.4, 2.8), pick(rng, (0, 3))
    elif form in (1, 2):
        steps += 3
    rise, going = rng.uniform(0.16, 0.2), rng.uniform(0.24, 0.31)
    solids = _flight(steps, width, rise, going, form, 0.0, tread, base)
    rails, landing = pick(rng, (0, 1, 2, 2)), maybe(rng, 0.3)
    long, high = steps * going, steps * rise
    if landing:
        deep = rng.uniform(0.6, 1.2)
        solids.append(
            box((width, 0.12 if form in (1, 2) else high, deep), (0, high - 0.12 if form in (1, 2) else 0, -long - deep / 2), base)
        )
        if form in (1, 2):
            solids += [box((0.08, high - 0.1, 0.08), (s * (width / 2 - 0.06), 0, -long - deep + 0.06), base) for s in (-1, 1)]
    for s in (1, -1)[:rails]:
        x = s * (width / 2 - 0.05)
        path = [(x, (i + 1) * rise, -(i + 0.5) * going) for i in range(steps)]
        solids += _railing(np.array(path), rng.uniform(0.85, 0.95), kind, bar, rail)
        if landing:
            line = np.linspace((x, high, -long - 0.1), (x, high, -long - deep + 0.06), max(3, round(deep / 0.2)))
            solids += _railing(line, 0.92, kind, bar, rail)
    said = _parts(("step", steps), ("railing", rails), ("landing", int(landing)))
    style = ("open",) if form in (1, 2) else ("wide",) if width > 1.5 else ()
    return Thing(solids=_placed(solids), main=base if form in (0, 3) else tread, style=style, parts=said)


def _bent_stairs(rng: Rng) -> Thing:
    """Two flights with a landing between them: at a right angle, or back beside the first."""
    tread, base, bar, rail, kind = _looks(rng)
    lower, upper, width = int(rng.integers(3, 9)), int(rng.integers(3, 8)), rng.uniform(0.8, 1.1)
    rise, going, form = rng.uniform(0.17, 0.19), rng.uniform(0.24, 0.28), int(rng.integers(4))
    back, s = maybe(rng, 0.45), pick(rng, (-1, 1))
    y, z = (lower + 1) * rise, -lower * going
    massive = form in (0, 3)
    solids = _flight(lower, width, rise, going, form, 0.0, tread, base)
    second = _flight(upper, width, rise, going, form, y if massive else 0.0, tread, base)
    gap = 0.12
    wide = 2 * width + gap if back else width
    place = (s * (wide - width) / 2, 0.0, z - width / 2)
    thick = y if massive else 0.14
    solids.append(box((wide, thick, width), (place[0], y - thick, place[2]), base))
    solids.append(cushion((wide + 0.02, 0.04, width + 0.02), (place[0], y - 0.03, place[2]), 0.012, tread))
    if not massive:
        corners = [(place[0] + x, place[2] + q) for x, q in four(wide - 0.1, width - 0.1)]
        solids += [box((0.09, y - 0.05, 0.09), (x, 0, q), base) for x, q in corners]
    turn, at = (180.0, (s * (width + gap), y, z)) if back else (-90.0 * s, (s * width / 2, y, z - width / 2))
    solids += [solid.turned("y", turn).moved(at) for solid in second]
    rails, high = pick(rng, (0, 1, 2, 2) if massive else (2, 2, 1)), 0.9  # without any, an open landing looks like a table
    edge = width / 2 - 0.05
    for k in (s, -s)[:rails]:
        solids += _railing(np.array([(k * edge, (i + 1) * rise, -(i + 0.5) * going) for i in range(lower)]), high, kind, bar, rail)
        path = np.array([(k * edge, (i + 1) * rise, -(i + 0.5) * going) for i in range(upper)])
        for solid in _railing(path, high, kind, bar, rail):
            solids.append(solid.turned("y", turn).moved(at))
    if rails == 2:
        x0, x1, q = -s * edge, place[0] * 2 + s * edge, z - width + 0.05
        line = [np.linspace((x0, y, z - 0.1), (x0, y, q), 6), np.linspace((x0, y, q), (x1 if back else s * edge, y, q), 12 if back else 6)]
        line += [np.linspace((x1, y, q), (x1, y, z - 0.1), 6)] if back else []
        for one in line:
            solids += _railing(one, high, kind, bar, rail)
    said = _parts(("step", lower + upper), ("landing", 1), ("railing", rails))
    return Thing(solids=_placed(solids), main=base if massive else tread, style=() if back else ("corner",), parts=said)


def _round_stairs(rng: Rng) -> Thing:
    """Winding about a pole, or in a wide bow."""
    tread, base, bar, rail, kind = _looks(rng)
    spiral = maybe(rng, 0.6)
    steps = int(rng.integers(9, 17)) if spiral else int(rng.integers(7, 14))
    inner, outer = (0.05, rng.uniform(0.65, 1.0)) if spiral else (rng.uniform(0.7, 1.3), 0.0)
    outer = outer or inner + rng.uniform(0.8, 1.2)
    each, rise = math.radians(rng.uniform(22, 32) if spiral else rng.uniform(7, 13)), rng.uniform(0.17, 0.2)
    s, massive = pick(rng, (-1, 1)), not spiral and maybe(rng, 0.7)
    if not spiral:
        outer += 0.2

    def spot(radius: float, angle: float, y: float) -> tuple[float, float, float]:
        return radius * math.sin(s * angle), y, radius * math.cos(angle)

    thick, solids = rng.uniform(0.04, 0.07), []
    for i in range(steps):
        a = np.linspace(i * each, (i + 1.12) * each, 5)
        low, high = (0.0 if massive else (i + 1) * rise - thick), (i + 1) * rise
        plan = [(outer, float(b)) for b in a] + [(inner, float(b)) for b in a[::-1]]
        solids.append(_loft([np.array([spot(r, b, y) for r, b in plan]) for y in (low, high)], base if massive else tread))
        if massive:
            plan = [(outer + 0.03, float(b)) for b in a - 0.1 * each] + [(inner - 0.03, float(b)) for b in a[::-1] - 0.1 * each]
            solids.append(_loft([np.array([spot(r, b, y) for r, b in plan]) for y in (high - 0.01, high + 0.025)], tread))
    angles = [(i + 0.5) * each for i in range(steps)]
    rails = 1 if spiral else pick(rng, (0, 1, 2, 2))
    if spiral:
        solids += [
            disc(0.06, steps * rise + 0.95, (0, 0, 0), base),
            turned([(0, 0), (0.08, 0.02), (0.06, 0.1), (0, 0.13)], (0, steps * rise + 0.94, 0), rail),
        ]
        solids.append(disc(0.16, 0.03, (0, 0, 0), base))
    elif not massive:
        for r in (inner, outer):
            grid = np.array(
                [[spot(r, a, (a / each + 0.9) * rise - d) for a in np.linspace(-0.2 * each, steps * each, 30)] for d in (0.05, 0.25)]
            )
            grid[..., 1] = np.maximum(grid[..., 1], 0)
            out = grid * (1, 0, 1) / r * 0.02
            solids.append(_sheet(grid + out, grid - out, base))
    kind = kind if kind != 3 else 0
    for r in ((outer - 0.05), (inner + 0.05))[:rails]:
        solids += _railing(np.array([spot(r, a, (i + 1) * rise) for i, a in enumerate(angles)]), 0.9, kind, bar, rail)
    if spiral and maybe(rng, 0.5):
        a = np.linspace(steps * each, steps * each + 1.4, 8)
        plan = [(outer, float(b)) for b in a] + [(inner, float(b)) for b in a[::-1]]
        solids.append(_loft([np.array([spot(r, b, steps * rise + d) for r, b in plan]) for d in (-thick, 0.0)], tread))
    said = _parts(("step", steps), ("railing", rails), ("pole", int(spiral)))
    return Thing(solids=_placed(solids), main=base if massive else tread, style=("round", "tall") if spiral else ("curved",), parts=said)


# ------------------------------------------------------------------------------------------ by the road and at the house


def traffic_cone(rng: Rng) -> Thing:
    body = plastic(rng, pick(rng, ("orange", "orange", "orange", "orange", "yellow", "red", "green", "blue", "pink")))
    band = plastic(rng, pick(rng, ("white", "white", "white", "yellow", "grey")))
    foot_paint = pick(rng, (body, BLACK, BLACK))
    tall = pick(rng, (rng.uniform(0.2, 0.4), rng.uniform(0.45, 0.75), rng.uniform(0.75, 1.1)))
    form = int(rng.integers(5))  # plain, plain, curved at the foot, in steps, slim
    foot = tall * (rng.uniform(0.2, 0.3) if form < 4 else rng.uniform(0.12, 0.17))
    head, high = foot * rng.uniform(0.16, 0.35), rng.uniform(0.025, 0.07) * (tall + 0.3)
    base = foot * rng.uniform(1.25, 1.7)
    round_foot, solids = False, []
    match int(rng.integers(5)):
        case 0:
            round_foot = True
            solids.append(turned([(0, 0), (base, 0), (base, high * 0.6), (base * 0.93, high), (0, high)], (0, 0, 0), foot_paint, sides=40))
        case 1:
            eight = [(math.cos(a) * base * 1.05, math.sin(a) * base * 1.05) for a in (np.arange(8) + 0.5) * math.pi / 4]
            solids.append(_slab(eight, high, foot_paint, bevel=high * 0.3).turned("x", 90).moved((0, high / 2, 0)))
        case 2:
            solids.append(
                _slab(_rounded(2 * base, -base, base, base * 0.35, 5), high * 0.7, foot_paint, bevel=high * 0.2)
                .turned("x", 90)
                .moved((0, high * 0.65, 0))
            )
            solids += [
                cushion((base * 0.4, high * 0.5, base * 0.4), (x, 0, z), high * 0.1, foot_paint) for x, z in four(base * 1.5, base * 1.5)
            ]
        case _:
            solids.append(
                _slab(_rounded(2 * base, -base, base, base * 0.2, 4), high, foot_paint, bevel=high * 0.3)
                .turned("x", 90)
                .moved((0, high / 2, 0))
            )
    t = np.linspace(0, 1, 13)
    width = foot + (head - foot) * (t if form != 2 else t**0.75)
    y = high + (tall - high) * t
    if form == 2:
        width[0] = foot * 1.15
    line = [(float(w), float(h)) for w, h in zip(width, y, strict=True)]
    if form == 3:
        rows = int(rng.integers(4, 7))
        line = []
        for i in range(rows):
            wide = foot + (head - foot) * i / (rows - 1)
            line += [(wide, high + (tall - high) * i / rows), (wide * 0.93, high + (tall - high) * (i + 0.93) / rows)]
        line.append((line[-1][0], tall))
    rim = line[-1][0]
    solids.append(
        turned(
            [(0, high * 0.8), *line, (rim * 0.75, tall), (rim * 0.72, tall - head * 1.2), (0, tall - head * 1.2)], (0, 0, 0), body, sides=40
        )
    )
    if maybe(rng, 0.4):
        solids.append(
            turned(
                [(foot, high * 0.9), (foot * 1.18, high * 0.9), (foot * 1.12, high * 1.5), (foot * 0.98, high * 1.6)],
                (0, 0, 0),
                body,
                sides=40,
            )
        )
    bands = int(rng.integers(0, 4)) if form != 3 else pick(rng, (0, 1, 2))
    rs, hs = np.array([p[0] for p in line]), np.array([p[1] for p in line])
    places = {1: (0.5,), 2: (0.38, 0.68), 3: (0.24, 0.5, 0.74)}.get(bands, ())
    wide = rng.uniform(0.09, 0.15) if bands == 3 else rng.uniform(0.11, 0.22)
    for place in places:
        h = high + (tall - high) * (place + np.linspace(-0.5, 0.5, 5) * wide)
        r = (np.interp(h, hs, rs) if form != 3 else np.interp(h, hs[[0, -1]], rs[[0, -1]] * 1.04)) + 0.004 * (tall + 0.3)
        solids.append(
            turned(
                [(0, float(h[0])), *((float(a), float(b)) for a, b in zip(r, h, strict=True)), (0, float(h[-1]))], (0, 0, 0), band, sides=40
            )
        )
    extra = pick(rng, ("", "", "", "knob", "lamp", "handle"))
    if extra == "knob":
        solids.append(
            turned(
                [(0, 0), (rim * 1.3, 0), (rim * 1.5, rim * 0.5), (rim * 1.1, rim * 1.1), (0, rim * 1.2)],
                (0, tall - rim * 0.3, 0),
                body,
                sides=24,
            )
        )
    elif extra == "lamp":
        lamp = plastic(rng, pick(rng, ("yellow", "red", "orange")))
        solids.append(disc(rim * 1.5, tall * 0.05, (0, tall - 0.005, 0), BLACK, sides=24))
        dome = [(0, 0), (rim * 1.9, 0), (rim * 1.9, tall * 0.04), (rim * 1.6, tall * 0.1), (rim * 0.8, tall * 0.14), (0, tall * 0.15)]
        solids.append(turned(dome, (0, tall * 1.045, 0), lamp, sides=24))
    elif extra == "handle":
        a = np.linspace(-0.2, math.pi + 0.2, 14)
        loop = np.stack([np.cos(a) * rim * 0.95, tall + np.sin(a) * rim * 1.6, np.zeros(14)], axis=1)
        solids.append(tube(loop, rim * 0.28, body, sides=10))
    said = _parts(("stripe", bands), (extra or "knob", int(bool(extra))))
    return Thing(
        solids=_placed(solids),
        main=body,
        style=(*(("round",) if round_foot else ()), *(("tall",) if tall > 0.75 else ("low",) if tall < 0.4 else ())),
        parts=said,
    )


def mailbox(rng: Rng) -> Thing:
    return pick(rng, (_post_mailbox, _post_mailbox, _post_mailbox, _street_mailbox, _pillar_mailbox, _wall_mailbox, _cluster_mailbox))(rng)


def _post_mailbox(rng: Rng) -> Thing:
    """A box with a round, pitched or flat top on a post, its door to the front."""
    paint, second = (
        pick(rng, (metal(rng, pick(rng, PAINTS)), metal(rng, "black"), wood(rng), plastic(rng))),
        metal(rng, pick(rng, ("red", "red", "yellow", "white"))),
    )
    width, depth, form = rng.uniform(0.16, 0.28), rng.uniform(0.4, 0.58), int(rng.integers(4))
    wall, lift = width * rng.uniform(0.4, 0.7), rng.uniform(0.75, 1.1)
    if form < 2:
        a = np.linspace(0, math.pi, 15)
        line = [(-width / 2, 0.0), (width / 2, 0.0), *((width / 2 * math.cos(b), wall + width / 2 * math.sin(b)) for b in a)]
    elif form == 2:
        line = [(-width / 2, 0.0), (width / 2, 0.0), (width / 2, wall * 1.3), (0.0, wall * 1.3 + width * 0.4), (-width / 2, wall * 1.3)]
    else:
        line = _rounded(width, 0, wall * 2, width * 0.15)
    top = max(y for _, y in line)
    shell = [_slab(line, depth, paint)]
    inset = [(x * 0.96, 0.006 + y * 0.965) for x, y in line]
    outer = [(x * 1.06, -0.008 + y * 1.05) for x, y in line]
    fall = maybe(rng, 0.2)
    shell.append(_slab(outer, 0.03, paint, bevel=0.006).moved((0, 0, depth / 2 - 0.02)))
    shell.append(_slab(outer, 0.02, paint, bevel=0.005).moved((0, 0, -depth / 2)))
    if fall:  # the door hangs open, the inside is dark
        shell.append(_slab(inset, 0.01, BLACK).moved((0, 0, depth / 2)))
        shell.append(_slab(inset, 0.012, paint, bevel=0.003).turned("x", 100).moved((0, 0, depth / 2 + 0.01)))
    else:
        shell.append(_slab(inset, 0.016, pick(rng, (paint, paint, second)), bevel=0.005).moved((0, 0, depth / 2 + 0.006)))
        shell.append(
            tube(np.array([(-0.025, 0, 0), (-0.025, 0, 0.03), (0.025, 0, 0.03), (0.025, 0, 0)]), 0.006, STEEL, sides=8).moved(
                (0, top * 0.78, depth / 2)
            )
        )
    if form == 2:
        s = math.hypot(0.5, 0.4)
        roof = second if maybe(rng, 0.5) else wood(rng, "brown")
        for k in (-1, 1):
            board = cushion((width * s * 1.25, 0.018, depth * 1.12), (0, 0, 0), 0.006, roof).turned("z", -k * math.degrees(math.atan(0.8)))
            shell.append(board.moved((k * width * 0.29, top - width * 0.225, 0.01)))
    flag = maybe(rng, 0.75)
    if flag:
        up, x = maybe(rng, 0.5), width / 2 + 0.012
        arm = [
            box((0.008, 0.2, 0.018), (0, -0.02, 0), second),
            cushion((0.01, 0.07, 0.1), (0, 0.14, 0.04), 0.004, second),
            rod((-0.015, 0, 0), (0.012, 0, 0), 0.014, 0.014, STEEL, sides=10),
        ]
        shell += [(solid if up else solid.turned("x", -90)).moved((x, wall * 0.75, depth * 0.1)) for solid in arm]
    boxes = pick(rng, (1, 1, 1, 2))
    solids = [solid.moved(((i - (boxes - 1) / 2) * width * 1.5, lift, 0)) for i in range(boxes) for solid in shell]
    timber, tray = pick(rng, (wood(rng), wood(rng, "brown"), metal(rng))), width * (1.5 * boxes - 0.4)
    if boxes == 2:
        solids.append(box((tray + 0.1, 0.04, depth * 0.8), (0, lift - 0.04, 0), timber))
    paper = maybe(rng, 0.15)
    if paper:
        tube_line = [(0.055 * math.cos(b), 0.055 * math.sin(b)) for b in np.linspace(0, 2 * math.pi, 20, endpoint=False)]
        solids += [
            _slab(tube_line, depth * 0.9, second).moved((0, lift - 0.1, 0.0)),
            _slab([(x * 0.8, y * 0.8) for x, y in tube_line], 0.01, BLACK).moved((0, lift - 0.1, depth * 0.45)),
        ]
    post = int(rng.integers(5))
    if post == 0:
        solids += [
            box((0.09, lift - 0.02, 0.09), (0, 0, -0.05), timber),
            cushion((width * 0.9, 0.03, depth * 0.85), (0, lift - 0.035, 0), 0.008, timber),
        ]
        solids.append(rod((0, lift * 0.62, -0.05), (0, lift - 0.03, depth * 0.33), 0.03, 0.03, timber, sides=4))
    elif post == 1:  # the post goes up behind, the box sits on an arm
        solids += [
            box((0.1, lift + top + 0.25, 0.1), (0, 0, -depth / 2 - 0.07), timber),
            box((0.08, 0.08, depth * 1.15), (0, lift - 0.08, -0.02), timber),
        ]
        solids.append(rod((0, lift * 0.6, -depth / 2 - 0.05), (0, lift - 0.05, depth * 0.2), 0.035, 0.035, timber, sides=4))
        solids.append(
            turned(
                [(0, 0), (0.075, 0), (0.075, 0.02), (0.03, 0.05), (0.045, 0.08), (0, 0.12)],
                (0, lift + top + 0.25, -depth / 2 - 0.07),
                timber,
                sides=16,
            )
        )
    elif post == 2:
        solids += [
            rod((0, 0, 0), (0, lift, 0), 0.03, 0.03, timber),
            disc(0.12, 0.02, (0, 0, 0), timber),
            disc(0.07, 0.015, (0, lift - 0.015, 0), timber),
        ]
    elif post == 3:
        line = [
            (0, 0),
            (0.11, 0),
            (0.11, 0.06),
            (0.06, 0.12),
            (0.045, 0.2),
            (0.04, lift - 0.2),
            (0.055, lift - 0.15),
            (0.04, lift - 0.1),
            (0.08, lift),
            (0, lift),
        ]
        solids.append(turned(line, (0, 0, 0), timber, sides=20))
    else:
        brick = stone(rng, pick(rng, ("grey", "red" if maybe(rng, 0.5) else "beige")))
        wide = max(width * 1.7, tray + 0.1)
        solids += [
            box((wide, lift, depth * 0.85), (0, 0, -0.02), brick),
            cushion((wide * 1.12, 0.06, depth * 0.96), (0, lift - 0.05, -0.02), 0.012, stone(rng)),
            box((wide * 1.1, 0.08, depth * 0.94), (0, 0, -0.02), brick),
        ]
    said = _parts(("flag", boxes * flag), ("door", boxes), ("post", int(post != 4)))
    return Thing(solids=_placed(solids), main=paint, style=("round",) if form < 2 else ("open",) if fall else (), parts=said)


def _street_mailbox(rng: Rng) -> Thing:
    """A large collection box with a rounded top, on four legs or on the ground."""
    paint = metal(rng, pick(rng, ("blue", "blue", "red", "green", "yellow", "grey", "white")))
    width, depth, tall = rng.uniform(0.45, 0.65), rng.uniform(0.42, 0.6), rng.uniform(0.7, 1.05)
    lift, low = (rng.uniform(0.15, 0.28), True) if maybe(rng, 0.65) else (0.0, False)
    form = int(rng.integers(3))
    a = np.linspace(0, math.pi, 17)
    if form == 0:
        top = [(depth / 2 * math.cos(b), tall + depth / 2 * math.sin(b) * 0.8) for b in a]
    elif form == 1:
        top = [
            (depth / 2, tall),
            (depth * 0.42, tall + depth * 0.1),
            (-depth * 0.3, tall + depth * 0.45),
            (-depth / 2, tall + depth * 0.42),
        ]
    else:
        top = [(depth / 2, tall), (0.0, tall + depth * 0.3), (-depth / 2, tall)]
    line = [(-depth / 2, 0.0), (depth / 2, 0.0), *top]
    solids = [_slab(line, width, paint, bevel=0.02).turned("y", -90).moved((0, lift, 0))]
    if low:
        solids += [cushion((0.05, lift + 0.03, 0.05), (x, 0, z), 0.01, paint) for x, z in four(width - 0.06, depth - 0.06)]
        solids += [cushion((0.09, 0.02, 0.09), (x, 0, z), 0.006, paint) for x, z in four(width - 0.06, depth - 0.06)]
    else:
        solids.append(cushion((width + 0.05, 0.09, depth + 0.05), (0, 0, 0), 0.02, BLACK))
    front, y = depth / 2, lift + tall
    solids.append(cushion((width * 0.8, 0.09, 0.04), (0, y - 0.13, front), 0.012, paint))
    solids.append(box((width * 0.68, 0.025, 0.03), (0, y - 0.105, front + 0.01), BLACK))
    solids.append(
        tube(np.array([(-0.1, 0, 0), (-0.1, 0, 0.045), (0.1, 0, 0.045), (0.1, 0, 0)]), 0.009, STEEL, sides=8).moved((0, y - 0.14, front))
    )
    solids.append(cushion((width * rng.uniform(0.5, 0.8), tall * 0.5, 0.03), (0, lift + tall * 0.12, front), 0.012, paint))
    solids.append(
        rod((width * 0.15, lift + tall * 0.38, front), (width * 0.15, lift + tall * 0.38, front + 0.03), 0.018, 0.018, STEEL, sides=12)
    )
    label = maybe(rng, 0.6)
    if label:
        solids.append(
            box((width * 0.4, tall * 0.1, 0.012), (0, lift + tall * 0.68, front + 0.002), pick(rng, (WHITE, metal(rng, "yellow"))))
        )
    said = _parts(("leg", 4 * low), ("slot", 1), ("label", int(label)))
    return Thing(solids=_placed(solids), main=paint, style=("round",) if form == 0 else ("square",), parts=said)


def _pillar_mailbox(rng: Rng) -> Thing:
    """A round or modern square pillar with a slot."""
    paint = metal(rng, pick(rng, ("red", "red", "red", "green", "yellow", "blue", "black", "grey", "white")))
    tall, r, square = rng.uniform(1.1, 1.6), rng.uniform(0.19, 0.28), maybe(rng, 0.4)
    if square:
        wide, deep = r * 1.7, r * rng.uniform(1.2, 2.0)
        solids, front = (
            [
                cushion((wide, tall, deep), (0, 0.02, 0), rng.uniform(0.008, 0.04), paint),
                box((wide * 0.9, 0.04, deep * 0.9), (0, 0, 0), BLACK),
            ],
            deep / 2,
        )
        if maybe(rng, 0.5):
            solids.append(cushion((wide * 1.12, 0.05, deep * 1.12), (0, tall, 0), 0.015, pick(rng, (paint, BLACK, STEEL))))
        solids.append(cushion((wide * 0.75, tall * 0.28, 0.02), (0, tall * 0.42, front), 0.008, pick(rng, (paint, STEEL))))
    else:
        cap = [(r * 1.14, tall), (r * 1.17, tall + 0.04), (r * 1.1, tall + 0.07), (r * 0.8, tall + 0.13), (r * 0.3, tall + 0.17)]
        foot = [(0, 0), (r * 1.15, 0), (r * 1.15, 0.14), (r, 0.18)]
        solids, front = [turned([*foot, (r, tall * 0.93), (r * 1.06, tall * 0.95), *cap, (0, tall + 0.175)], (0, 0, 0), paint, sides=36)], r
        solids.append(turned([(0, 0), (r * 1.16, 0), (r * 1.16, 0.12), (0, 0.12)], (0, 0, 0), BLACK, sides=36))
        if maybe(rng, 0.4):
            solids.append(turned([(0, 0), (r * 0.2, 0), (r * 0.25, 0.06), (r * 0.12, 0.12), (0, 0.14)], (0, tall + 0.16, 0), paint))
        a = np.linspace(-0.6, 0.6, 9)
        grid = np.array([[(math.sin(b) * r, y, math.cos(b) * r) for b in a] for y in (0.25, tall * 0.68)])
        solids.append(_sheet(grid * (1.03, 1, 1.03), grid * (0.98, 1, 0.98), paint))
    slots = pick(rng, (1, 1, 2))
    for i in range(slots):
        y = tall * (0.82 - 0.08 * i)
        solids.append(cushion((r * 1.15, 0.07, 0.06), (0, y - 0.035, front - 0.012), 0.012, paint))
        solids.append(box((r * 0.95, 0.025, 0.03), (0, y - 0.012, front + 0.008), BLACK))
    label = maybe(rng, 0.6)
    if label:
        solids.append(box((r * 0.6, 0.13, 0.04), (0, tall * 0.55, front), WHITE))
    return Thing(
        solids=_placed(solids),
        main=paint,
        style=("square",) if square else ("round",),
        parts=_parts(("slot", slots), ("label", int(label))),
    )


def _wall_mailbox(rng: Rng) -> Thing:
    """Flat, to hang at a wall: with a lid, a slanted roof, a window, a holder for newspapers."""
    paint, second = pick(rng, (metal(rng, pick(rng, PAINTS)), metal(rng), wood(rng))), pick(rng, (STEEL, BLACK, BRASS))
    width, deep = rng.uniform(0.26, 0.42), rng.uniform(0.1, 0.16)
    tall, slope = width * pick(rng, (rng.uniform(0.7, 0.9), rng.uniform(1.1, 1.5))), rng.uniform(0.03, 0.1)
    bow, standing = rng.uniform(0, 0.04), maybe(rng, 0.35)
    side = [(-deep / 2, 0.0), (deep / 2 - 0.01, 0.0), (deep / 2 + bow, tall * 0.4), (deep / 2, tall), (-deep / 2, tall + slope)]
    solids = [_slab(side, width, paint, bevel=0.006).turned("y", -90)]
    lid_front, lid_back = deep / 2 + 0.025, -deep / 2
    lean = slope / deep
    lid = [
        (lid_back, tall + slope),
        (lid_front, tall + slope - lean * (lid_front - lid_back)),
        (lid_front, tall + slope - lean * (lid_front - lid_back) + 0.015),
        (lid_back, tall + slope + 0.02),
    ]
    solids.append(_slab([(float(x), float(y)) for x, y in lid], width + 0.03, pick(rng, (paint, second)), bevel=0.004).turned("y", -90))
    front = deep / 2 + bow * 0.5
    solids.append(cushion((width * 0.75, 0.04, 0.02), (0, tall * 0.76, front), 0.006, second))
    solids.append(box((width * 0.66, 0.016, 0.014), (0, tall * 0.772, front + 0.006), BLACK))
    windows = pick(rng, (0, 0, 3))
    for i in range(windows):
        solids.append(
            rod(
                ((i - 1) * width * 0.22, tall * 0.2, front - 0.02),
                ((i - 1) * width * 0.22, tall * 0.2, front + 0.012),
                0.018,
                0.018,
                BLACK,
                sides=14,
            )
        )
    keyhole = maybe(rng, 0.6)
    if keyhole:
        solids.append(rod((0, tall * 0.5, front), (0, tall * 0.5, front + bow * 0.4 + 0.012), 0.016, 0.014, second, sides=14))
    holder = maybe(rng, 0.45)
    if holder:
        for x in (-width * 0.3, width * 0.3):
            path = [(x, 0.02, -deep * 0.3), (x, -0.07, -deep * 0.25), (x, -0.09, 0.02), (x, -0.06, deep * 0.5), (x, -0.01, deep * 0.55)]
            solids.append(tube(_bend(path, 16), 0.008, second, sides=8))
        if maybe(rng, 0.5):
            solids.append(rod((-width * 0.55, -0.045, 0.02), (width * 0.55, -0.045, 0.02), 0.035, 0.035, WHITE, sides=14))
    if standing:
        solids = [solid.moved((0, 1.0, 0)) for solid in solids]
        post, feet = pick(rng, (STEEL, BLACK, paint)), pick(rng, (1, 2))
        for x in ((0.0,), (-width * 0.55, width * 0.55))[feet - 1]:
            solids += [
                box((0.05, 1.0 + (tall * 0.95 if feet == 2 else 0.03), 0.05), (x, 0, -deep * 0.2), post),
                box((0.14, 0.015, 0.14), (x, 0, -deep * 0.2), post),
            ]
    flag = not standing and maybe(rng, 0.3)
    if flag:
        solids += [
            box((0.008, 0.16, 0.016), (width / 2 + 0.012, tall * 0.6, 0), metal(rng, "red")),
            cushion((0.01, 0.06, 0.08), (width / 2 + 0.012, tall * 0.6 + 0.11, 0.03), 0.004, metal(rng, "red")),
        ]
    said = _parts(("newspaper holder", int(holder)), ("window", windows), ("flag", int(flag)), ("post", feet if standing else 0))
    return Thing(solids=_placed(solids), main=paint, style=("wide",) if tall < width else ("tall",), parts=said)


def _cluster_mailbox(rng: Rng) -> Thing:
    """Many small doors in one case, for a block of flats."""
    paint, frame_paint = metal(rng, pick(rng, ("grey", "beige", "green", "black", "white", "brown", "blue"))), pick(rng, (STEEL, BLACK))
    rows, columns, deep = int(rng.integers(2, 6)), int(rng.integers(2, 4)), rng.uniform(0.3, 0.45)
    cell = (rng.uniform(0.26, 0.32), rng.uniform(0.13, 0.2))
    width, tall, lift = cell[0] * columns + 0.06, cell[1] * rows + 0.06, rng.uniform(0.4, 0.75)
    solids = [
        cushion((width, tall, deep), (0, lift, 0), 0.015, paint),
        cushion((width + 0.06, 0.05, deep + 0.08), (0, lift + tall - 0.01, 0.01), 0.015, pick(rng, (paint, frame_paint))),
    ]
    for r in range(rows):
        for c in range(columns):
            x, y, z = (c - (columns - 1) / 2) * cell[0], lift + 0.03 + r * cell[1], deep / 2 + 0.004
            solids.append(cushion((cell[0] - 0.02, cell[1] - 0.02, 0.02), (x, y + 0.01, z), 0.006, paint))
            solids.append(box((cell[0] * 0.6, 0.015, 0.012), (x, y + cell[1] * 0.74, z + 0.006), BLACK))
            solids.append(
                rod(
                    (x + cell[0] * 0.34, y + cell[1] * 0.4, z),
                    (x + cell[0] * 0.34, y + cell[1] * 0.4, z + 0.02),
                    0.012,
                    0.01,
                    frame_paint,
                    sides=10,
                )
            )
    if maybe(rng, 0.5):
        solids += [
            box((width * 0.3, lift, deep * 0.45), (0, 0, 0), frame_paint),
            box((width * 0.6, 0.03, deep * 0.9), (0, 0, 0), frame_paint),
        ]
    else:
        solids += [box((0.06, lift + tall, 0.06), (s * (width / 2 + 0.03), 0, 0), frame_paint) for s in (-1, 1)]
    return Thing(solids=_placed(solids), main=paint, style=("square",), parts=_parts(("door", rows * columns), ("slot", rows * columns)))


def _window(width: float, height: float, bars: int, rim: Material, pane: Material) -> list[Solid]:
    """Facing +Z, the middle of its sill at the origin, to be put on a wall."""
    edge = 0.08
    solids = [box((width, height, 0.04), (0, 0, 0.0), pane)]
    solids += [box((edge, height + edge, 0.14), (s * width / 2, -edge / 2, 0), rim) for s in (-1, 1)]
    solids += [box((width + edge, edge, 0.14), (0, height - edge / 2, 0), rim), box((width + 0.25, edge, 0.26), (0, -edge / 2, 0.05), rim)]
    if bars:
        solids.append(box((0.05, height, 0.09), (0, 0, 0), rim))
    if bars > 1:
        solids.append(box((width, 0.05, 0.09), (0, height * 0.55, 0), rim))
    return solids


def _door(rng: Rng, width: float, height: float, leaf: Material, rim: Material) -> list[Solid]:
    """Facing +Z, the middle of its sill at the origin."""
    solids = [box((width, height, 0.08), (0, 0, 0), leaf), box((width + 0.5, 0.14, 0.5), (0, -0.14, 0.25), stone(rng, "grey"))]
    solids += [box((0.1, height + 0.1, 0.18), (s * (width + 0.1) / 2, 0, 0), rim) for s in (-1, 1)]
    solids.append(box((width + 0.2, 0.1, 0.18), (0, height, 0), rim))
    panels = pick(rng, (0, 2, 3))
    solids += [box((width * 0.7, height * 0.8 / panels, 0.03), (0, height * (0.06 + 0.9 / panels * i), 0.04), rim) for i in range(panels)]
    solids.append(rod((width * 0.38, height * 0.48, 0.03), (width * 0.38, height * 0.48, 0.12), 0.04, 0.04, BRASS, sides=10))
    return solids


def _roof(form: str, width: float, depth: float, pitch: float, over: float, tile: Material, wall: Material) -> list[Solid]:
    """Over a rectangle about the origin, its ridge along X."""
    if form == "flat":
        rim = (
            [box((width + 2 * over, 0.22, depth + 2 * over), (0, 0, 0), tile)]
            if over > 0.3
            else [box((width, 0.15, depth), (0, 0, 0), wall)]
        )
        if over <= 0.3:
            rim += [box((width + 0.1, 0.55, 0.2), (0, 0, s * (depth / 2 - 0.05)), tile) for s in (-1, 1)]
            rim += [box((0.2, 0.55, depth + 0.1), (s * (width / 2 - 0.05), 0, 0), tile) for s in (-1, 1)]
        return rim
    half, thick = depth / 2, 0.2
    rise = pitch * half
    if form in ("hip", "mansard"):
        ridge = max(width - depth, 0.0) + (0.02 if form == "hip" else 0)
        levels = [
            (width + 2 * over, depth + 2 * over, -over * pitch * 0.4),
            (width + 2 * over, depth + 2 * over, thick - over * pitch * 0.4),
        ]
        if form == "mansard":
            levels += [(width - 0.9, depth - 0.9, rise * 1.1), (width - 0.9 - depth * 0.5, depth * 0.35, rise * 1.45)]
        else:
            levels.append((ridge, 0.02, rise + thick))
        return [_loft([np.array([(x * w / 2, y, z * d / 2) for x, z in ((-1, -1), (1, -1), (1, 1), (-1, 1))]) for w, d, y in levels], tile)]
    if form == "shed":
        line = [(-half - over, rise + over * pitch / 2), (half + over, -over * pitch / 2)]
        plate = _slab([*line, *((x, y + thick) for x, y in line[::-1])], width + 2 * over, tile)
        gable = _slab([(-half, 0.0), (half, 0.0), (-half, rise)], width, wall)
        return [solid.turned("y", -90) for solid in (plate, gable)]
    knee = [(half * 0.62, rise * 0.72)] if form == "gambrel" else []
    steep = (rise * 0.72) / (half * 0.38) if knee else pitch
    line = [(half, 0.0), *knee, (0.0, rise)]
    low = [(half + over * (0.5 if knee else 1), -over * (0.5 if knee else 1) * steep), *line[1:]]
    under = [*low, *((-x, y) for x, y in low[-2::-1])]
    upper = [(x, y + thick * 1.2) for x, y in under]
    plate = _slab([*under, *upper[::-1]], width + 2 * over, tile)
    gable = _slab([*line, *((-x, y) for x, y in line[-2::-1])], width, wall)
    return [solid.turned("y", 90) for solid in (plate, gable)]


def house(rng: Rng) -> Thing:
    wall = pick(
        rng,
        (
            stone(rng, pick(rng, ("white", "white", "beige", "grey"))),
            stone(rng, pick(rng, ("red", "yellow", "blue", "green", "pink", "orange"))),
            wood(rng),
        ),
    )
    tile = pick(
        rng, (ceramic(rng, pick(rng, ("red", "brown", "orange", "black"))), stone(rng, pick(rng, ("grey", "black"))), wood(rng, "brown"))
    )
    rim, pane, leaf = (
        pick(rng, (WHITE, WHITE, wood(rng), BLACK)),
        glass(rng, pick(rng, ("black", "black", "blue", "grey"))),
        wood(rng, pick(rng, ("brown", "red", "green", "blue", "white", "black"))),
    )
    form = pick(rng, ("gable", "gable", "gable", "hip", "hip", "flat", "gambrel", "shed", "mansard", "steep"))
    floors, storey = pick(rng, (1, 1, 2, 2, 3)), rng.uniform(2.6, 3.0)
    width, depth = rng.uniform(5.5, 11), rng.uniform(5, 8)
    pitch, over = rng.uniform(0.55, 1.2), rng.uniform(0.25, 0.7)
    if form == "steep":  # the roof comes down to the ground
        floors, width, depth = 0, rng.uniform(5, 7), rng.uniform(6, 8)
        pitch, over = rng.uniform(1.6, 2.1), 0.15
    front_gable = form == "steep" or (form in ("gable", "gambrel") and maybe(rng, 0.4))
    tall = floors * storey + 0.3
    solids, windows, bars = [box((width, tall, depth), (0, 0, 0), wall)], 0, int(rng.integers(3))
    solids.append(box((width + 0.12, 0.35, depth + 0.12), (0, 0, 0), stone(rng, "grey")))
    flat_over = over if maybe(rng, 0.5) else 0.0
    kind, lengths = ("gable" if form == "steep" else form), ((depth, width) if front_gable else (width, depth))
    top = _roof(kind, *lengths, pitch, flat_over if form == "flat" else over, tile, wall)
    if front_gable:
        top = [solid.turned("y", 90) for solid in top]
    solids += [solid.moved((0, tall, 0)) for solid in top]
    rise = pitch * lengths[1] / 2

    def put(things: Sequence[Solid], x: float, y: float, z: float, turn: float = 0.0) -> None:
        solids.extend(solid.turned("y", turn).moved((x, y, z)) for solid in things)

    size = (rng.uniform(0.8, 1.5), rng.uniform(1.1, 1.6))
    shutters = wood(rng, pick(rng, ("green", "blue", "brown", "red", "black"))) if maybe(rng, 0.3) and size[0] < 1.15 else None

    def openings(span: float, skip: Sequence[float], x: float, z: float, turn: float, rows: int) -> None:
        """Windows evenly along a wall of some length, but for those near the places to skip on the ground floor."""
        nonlocal windows
        count = max(1, int(span / rng.uniform(2.2, 2.9)))
        for row in range(rows):
            for k in range(count):
                along = (k + 0.5) * span / count - span / 2
                if row == 0 and any(abs(along - place) < size[0] / 2 + room for place, room in zip(skip[::2], skip[1::2], strict=True)):
                    continue
                one = _window(size[0], size[1], bars, rim, pane)
                if shutters:
                    one += [box((size[0] * 0.42, size[1] + 0.05, 0.06), (s * (size[0] * 0.71 + 0.05), 0, 0.03), shutters) for s in (-1, 1)]
                c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
                put(one, x + along * c, 0.3 + row * storey + 0.95, z - along * s, turn)
                windows += 1

    # The front: a door, perhaps a garage or a porch, and windows where there is room.
    door_x = pick(rng, (0.0, rng.uniform(-0.3, 0.3) * width))
    if form == "steep":
        door_x = 0.0
    taken = [door_x, 0.75]
    front, garage = depth / 2, floors > 0 and maybe(rng, 0.25)
    put(_door(rng, rng.uniform(0.95, 1.2) * (1.6 if maybe(rng, 0.2) else 1), 2.15, leaf, rim), door_x, 0.3, front + 0.02)
    wing = floors > 0 and not garage and form != "shed" and maybe(rng, 0.4)
    s = -1 if door_x > 0 else 1
    if garage:
        w, d, x = 3.4, depth * 0.8, s * (width / 2 + 1.65)
        solids.append(box((w, 2.9, d), (x, 0, 0.0), wall))
        low = _roof("flat" if form == "flat" else "gable", d, w, pitch * 0.8, 0.3, tile, wall)
        put(low, x, 2.9, 0.0, 90)
        gate = [cushion((2.6, 2.2, 0.12), (0, 0, 0), 0.02, rim), *(box((2.5, 0.04, 0.14), (0, 0.5 * i, 0), STEEL) for i in (1, 2, 3, 4))]
        put(gate, x, 0.02, d / 2)
    if wing:
        w, d = width * rng.uniform(0.32, 0.45), rng.uniform(1.5, 3.0)
        x, high = s * (width - w) / 2, tall if maybe(rng, 0.6) else storey + 0.3
        solids.append(box((w, high, d + 1), (x, 0, front + d / 2 - 0.5), wall))
        above = form if form in ("flat", "hip") else "gable"
        deep = d + (depth / 2 if high == tall and above != "flat" else 1)
        put(_roof(above, deep, w, pitch, over if form != "flat" else flat_over, tile, wall), x, high, front + d - deep / 2, 90)
        openings(w, (), x, front + d, 0.0, max(1, round((high - 0.3) / storey)))
        taken += [x, w / 2 + 0.2]
    porch, columns = not wing and form != "steep" and maybe(rng, 0.4), 0
    if porch:
        wide, deep = pick(rng, (2.4, width * 0.98)), rng.uniform(1.2, 2.0)
        x = door_x if wide < 3 else 0.0
        columns = 2 if wide < 3 else int(rng.integers(3, 6))
        solids.append(box((wide, 0.28, deep), (x, 0, front + deep / 2), stone(rng, "grey")))
        solids.append(box((1.6, 0.14, 0.35), (door_x, 0, front + deep + 0.17), stone(rng, "grey")))
        for k in np.linspace(-1, 1, columns):
            post = [(0, 0), (0.16, 0), (0.16, 0.12), (0.11, 0.16), (0.095, 2.15), (0.15, 2.22), (0.15, 2.35), (0, 2.35)]
            solids.append(turned(post, (x + float(k) * (wide / 2 - 0.2), 0.27, front + deep - 0.2), rim, sides=16))
        if wide < 3 and form != "flat":
            put(_roof("gable", deep, wide, 0.6, 0.15, tile, wall), x, 2.6, front + deep / 2, 90)
        else:
            cover = _slab([(0, 2.95), (deep + 0.25, 2.6), (deep + 0.25, 2.75), (0, 3.12)], wide + 0.2, tile).turned("y", -90)
            solids.append(cover.moved((x, 0, front)))
    if form == "steep":
        put(_window(1.2, 1.2, bars, rim, pane), 0, rise * 0.5 + 0.2, front + 0.02)
        windows += 1
        balcony = maybe(rng, 0.5)
        if balcony:
            solids.append(box((2.6, 0.15, 1.0), (0, rise * 0.5 - 0.1, front + 0.5), rim))
            solids += _railing(
                np.linspace((-1.25, rise * 0.5 + 0.05, front + 0.95), (1.25, rise * 0.5 + 0.05, front + 0.95), 9), 0.8, 0, rim, rim
            )
    else:
        openings(width, taken, 0, front + 0.02, 0.0, floors)
        openings(width, (), 0, -front - 0.02, 180.0, floors)
        openings(depth, (), width / 2 + 0.02, 0, 90.0, 0 if garage and s > 0 else floors)
        openings(depth, (), -width / 2 - 0.02, 0, -90.0, 0 if garage and s < 0 else floors)
        if front_gable and rise > 2.2:
            put(_window(0.9, 1.0, bars, rim, pane), 0, tall + rise * 0.2, front + 0.02)
            windows += 1
    dormers = 0
    if form in ("gable", "gambrel", "hip") and not front_gable and not wing and pitch > 0.7 and depth > 5.5 and maybe(rng, 0.5):
        dormers = int(rng.integers(1, 4)) if form != "hip" else 1
        slope = pitch if form != "gambrel" else pitch * 0.72 / 0.38
        for k in range(dormers):
            x = ((k + 0.5) / dormers - 0.5) * width * 0.8
            back = min(1.5 / slope + 0.7, depth * 0.4)
            z, y = front - 0.45, tall + 0.3
            solids.append(box((1.4, 1.5, back), (x, y - 0.2, z - back / 2), wall))
            put(_roof("gable", back + 0.5, 1.4, 0.8, 0.15, tile, wall), x, y + 1.3, z - back / 2 - 0.25, 90)
            put(_window(0.8, 0.95, bars, rim, pane), x, y + 0.2, z + 0.02)
            windows += 1
    chimneys = pick(rng, (0, 1, 1, 2)) if form not in ("flat", "shed") else 0
    brick = stone(rng, pick(rng, ("red", "grey", "brown", "white")))
    for k in range(chimneys):
        x, z = (s, -s)[k] * lengths[0] * 0.28, -lengths[1] * 0.14
        if front_gable:
            x, z = z * 1.2 * s, x
        up = tall + rise * (1.05 if form != "mansard" else 1.45) + rng.uniform(0.4, 0.9)
        solids += [
            box((0.7, up - tall + 0.1, 0.7), (x, tall - 0.1, z), brick),
            box((0.86, 0.16, 0.86), (x, up - 0.2, z), brick),
            disc(0.16, 0.3, (x, up - 0.05, z), tile, sides=12),
        ]
    said = _parts(("chimney", chimneys), ("dormer", dormers), ("garage", int(garage)), ("column", columns), ("window", windows))
    style = {"flat": ("square", "low"), "steep": ("tall",)}.get(form, ("corner",) if wing else ())
    return Thing(solids=_placed(solids), main=wall if form != "steep" else tile, style=style, parts=said[:4])
