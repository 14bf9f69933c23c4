"""Things with screens, dials, keys and strings: monitors, laptops, lamps, keyboards, radios, microwaves, clocks, pianos, guitars.

First come the surfaces that `solids` lacks - skins over rings of points, plates with an outline, blocks by the dozen -
then, for each kind, its designs and the maker that draws among them.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

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
    frame,
    glass,
    legs,
    maybe,
    metal,
    pick,
    plastic,
    stone,
    wood,
)
from pipeline.sources.solids import CREASE, Floats, Material, Point, Solid, box, cushion, disc, rod, tube, turned

__all__ = ["clock", "guitar", "keyboard", "lamp", "laptop", "microwave", "monitor", "piano", "radio"]

Line = list[tuple[float, float]]
Rect = tuple[float, float, float, float]


# ------------------------------------------------------------------------------------------------------------- surfaces


def _surface(points: Floats, faces: NDArray[np.int64], material: Material) -> Solid:
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


def _ears(outline: Floats) -> list[tuple[int, int, int]]:
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


def _skin(rings: Sequence[Floats], material: Material, *, caps: bool = True) -> Solid:
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
            faces.append(start + np.array(_ears(flat))[:, ::way])
    return _surface(np.concatenate(rings), np.concatenate(faces), material)


def _at(outline: Floats, z: float, scale: float = 1.0) -> Floats:
    """An outline [K, 2] as a ring across Z, shrunk towards its middle."""
    middle = (outline.min(axis=0) + outline.max(axis=0)) / 2
    return np.column_stack([middle + (outline - middle) * scale, np.full(len(outline), z)])


def _plate(outline: Floats | Line, thick: float, material: Material, bevel: float = 0.0) -> Solid:
    """What a saw makes: an outline [K, 2] in X and Y, from Z = 0 to `thick`, with edges rounded by `bevel`."""
    line = np.array(outline, float)
    after = np.roll(line, -1, axis=0)
    if (line[:, 0] * after[:, 1] - line[:, 1] * after[:, 0]).sum() < 0:
        line = line[::-1]
    way = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    inward = np.column_stack([-way[:, 1], way[:, 0]]) / (np.linalg.norm(way, axis=1, keepdims=True) + 1e-12)
    rings = [_at(line, 0.0), _at(line, thick)]
    if bevel:
        bends = [(bevel * (1 - math.sin(a)), bevel * (1 - math.cos(a))) for a in np.radians([0, 30, 60, 90])]
        rings = [_at(line + inward * i, z) for i, z in bends] + [_at(line + inward * i, thick - z) for i, z in bends[::-1]]
    return _skin(rings, material)


def _profile(outline: Floats | Line, width: float, material: Material, bevel: float = 0.0) -> Solid:
    """An outline in Z and Y, seen from the side, that is `width` wide along X."""
    return _plate(outline, width, material, bevel).moved((0, 0, -width / 2)).turned("y", -90)


def _lying(outline: Floats | Line, thick: float, material: Material, bevel: float = 0.0) -> Solid:
    """An outline in X and -Z, seen from above, that lies on Y = 0."""
    return _plate(outline, thick, material, bevel).turned("x", -90)


def _rounded(width: float, tall: float, radius: float, steps: int = 5) -> Floats:
    """The outline of a rectangle with round corners, standing on the origin."""
    turn = np.radians(np.linspace(0, 90, steps))
    half, x = radius, width / 2 - radius
    centers = ((x, tall - radius), (-x, tall - radius), (-x, radius), (x, radius))
    arcs = [
        np.column_stack([cx + half * np.cos(turn + i * math.pi / 2), cy + half * np.sin(turn + i * math.pi / 2)])
        for i, (cx, cy) in enumerate(centers)
    ]
    return np.concatenate(arcs)


def _ngon(sides: int, radius: float, offset: float = 0.0) -> Floats:
    angle = np.arange(sides) * 2 * math.pi / sides + offset
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def _curve(points: Floats | Line, rounds: int = 2) -> Floats:
    """A closed polygon with its corners cut again and again, until it is a curve."""
    line = np.array(points, float)
    for _ in range(rounds):
        after = np.roll(line, -1, axis=0)
        line = np.stack([0.75 * line + 0.25 * after, 0.25 * line + 0.75 * after], axis=1).reshape(-1, 2)
    return line


def _mirrored(half: Line) -> Line:
    """The right half of an outline, from below to above, and its image."""
    return half + [(-x, y) for x, y in half[::-1] if x > 0]


def _blocks(rects: Sequence[Rect], tall: float, material: Material, shrink: float = 0.0) -> Solid:
    """Many blocks on Y = 0 as one solid, (x, z, width, depth) each; `shrink` is what their tops lose on every side."""
    corner = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)])
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    at = np.array(rects, float)[:, None]  # [N, 1, 4]
    less = 2 * shrink * corner[:, 1]
    x = at[..., 0] + corner[:, 0] * (at[..., 2] - less)
    z = at[..., 1] + corner[:, 2] * (at[..., 3] - less)
    points = np.stack([x, np.broadcast_to(corner[:, 1] * tall, x.shape), z], axis=-1).reshape(-1, 3)
    return _surface(points, (faces + 8 * np.arange(len(rects))[:, None, None]).reshape(-1, 3), material)


def _front(profile: Line, at: Point, material: Material, *, sides: int = 32) -> Solid:
    """A turned profile whose axis points to the viewer."""
    return turned(profile, (0, 0, 0), material, sides=sides).turned("x", 90).moved(at)


def _knob(radius: float, deep: float, at: Point, material: Material) -> Solid:
    x, y, z = at
    return rod(at, (x, y, z + deep), radius, radius * 0.82, material, sides=20)


def _ball(radius: float, at: Point, material: Material, squash: float = 1.0) -> Solid:
    """A ball around a point, `squash` times as high as wide."""
    angle = np.linspace(-math.pi / 2, math.pi / 2, 11)
    line = [(max(0.0, radius * math.cos(a)), radius * squash * math.sin(a)) for a in angle]
    line[0], line[-1] = (0.0, line[0][1]), (0.0, line[-1][1])
    return turned(line, at, material, sides=24)


def _arch(start: Point, end: Point, rise: float, radius: float, material: Material) -> Solid:
    """A bent bar between two points on one height, as handles are."""
    angle = np.linspace(0, math.pi, 17)
    way = (1 - np.cos(angle)) / 2
    path = np.array(start) + way[:, None] * np.subtract(end, start)
    path[:, 1] += rise * np.sin(angle) ** 0.6
    return tube(path, radius, material)


def _grid(wide: float, tall: float, columns: int, rows: int, at: Point, deep: float, material: Material, full: float = 0.65) -> Solid:
    """Blocks in rows and columns on a front, their field centred at `at`: buttons, slats, slots."""
    x, y, z = at
    dx, dy = wide / columns, tall / rows
    rects = [((i + 0.5) * dx - wide / 2, (j + 0.5) * dy - tall / 2, dx * full, dy * full) for i in range(columns) for j in range(rows)]
    return _blocks(rects, deep, material, min(dx, dy) * 0.06).turned("x", 90).moved((x, y, z))


def _screen(rng: Rng) -> Material:
    return plastic(rng, pick(rng, ("black", "grey", "blue", "blue", "green", "purple")))


# ------------------------------------------------------------------------------------------------------------- monitors


def _bow(width: float, low: float, tall: float, near: float, deep: float, radius: float, material: Material) -> Solid:
    """A slab bent around an axis `radius` in front of it; `near` is how far its front lies from Z = 0."""
    inner, outer = radius - near, radius - near + deep
    section = ((low, outer), (low + tall, outer), (low + tall, inner), (low, inner))
    rings = [
        np.array([(r * math.sin(a), y, radius - r * math.cos(a)) for y, r in section]) for a in np.linspace(-0.5, 0.5, 19) * width / radius
    ]
    return _skin(rings, material)


def _panel(rng: Rng, width: float, tall: float, deep: float, bow: float, case: Material, glow: Material) -> list[Solid]:
    """A flat screen standing on the origin, with its bulging back; `bow` is the radius of a curved one."""
    rim, chin = rng.uniform(0.008, 0.035), pick(rng, (0.0, 0.0, rng.uniform(0.02, 0.1) * tall))
    hull = cushion(
        (width * rng.uniform(0.35, 0.85), tall * rng.uniform(0.4, 0.7), deep * 1.6), (0, tall * 0.2, -deep * 0.7), deep * 0.5, case
    )
    if bow:
        inlay = _bow(width - 2 * rim, rim + chin, tall - 2 * rim - chin, deep / 2 + 0.002, 0.004, bow, glow)
        return [_bow(width, 0, tall, deep / 2, deep, bow, case), inlay, hull]
    outline = _rounded(width, tall, pick(rng, (0.004, rng.uniform(0.01, 0.04))))
    solids = [_plate(outline, deep, case, deep * 0.2).moved((0, 0, -deep / 2)), hull]
    if maybe(rng, 0.3):
        slots = _grid(width * 0.3, tall * 0.15, 1, 4, (0, 0, 0), 0.003, BLACK, 0.4).turned("y", 180)
        solids.append(slots.moved((0, tall * 0.5, -deep * 1.5)))
    return [*solids, box((width - 2 * rim, tall - 2 * rim - chin, 0.004), (0, rim + chin, deep / 2 - 0.001), glow)]


def _screen_foot(rng: Rng, width: float, lift: float, up: float, deep: float, stand: Material) -> tuple[list[Solid], list[Parts]]:
    """What a flat screen stands on: from the ground to `up`, half way up its back."""
    back = -deep * 1.3
    neck = _plate(_rounded(rng.uniform(0.05, 0.12), up, 0.01), 0.025, stand, 0.004).moved((0, 0, back - 0.02))
    match rng.integers(8):
        case 0:
            radius = width * rng.uniform(0.17, 0.26)
            plate = turned(
                [(0, 0), (radius, 0), (radius, 0.008), (radius * 0.3, 0.022), (0, 0.022)], (0, 0, back), stand, sides=40, squash=0.75
            )
            return [plate, rod((0, 0, back), (0, up, back), 0.025, 0.018, stand)], []
        case 1:
            plate = _lying(_rounded(width * rng.uniform(0.3, 0.5), width * 0.28, 0.03), 0.014, stand, 0.004)
            return [plate.moved((0, 0, width * 0.14 + back * 0.7)), neck], []
        case 2:  # a fork at either side
            feet: list[Solid] = []
            for side in (-1, 1):
                x = side * width * rng.uniform(0.3, 0.42)
                feet += [rod((x * 1.06, 0.008, z * width * 0.17), (x, lift + 0.03, 0), 0.008, 0.01, stand) for z in (-1, 1)]
            return feet, [Parts(noun="bar", count=4)]
        case 3:  # three toes
            reach = width * 0.22
            toes = [(-reach, 0.008, reach * 0.8), (reach, 0.008, reach * 0.8), (0.0, 0.008, back - reach * 0.7)]
            return [
                *(rod((0, 0.025, back), toe, 0.016, 0.008, stand) for toe in toes),
                rod((0, 0.01, back), (0, up, back), 0.02, 0.018, stand),
            ], []
        case 4:  # a sheet bent to an L
            far, thick = width * 0.3, 0.012
            line = [
                (far * 0.6, 0),
                (far * 0.6, thick),
                (back, thick),
                (back - 0.06 + thick, up),
                (back - 0.06, up),
                (back - far * 0.4, 0),
            ]
            return [
                _profile(line, width * rng.uniform(0.2, 0.35), stand, 0.003),
                box((0.06, 0.06, 0.08), (0, up - 0.07, back - 0.04), stand),
            ], []
        case 5:  # a half moon
            half = width * rng.uniform(0.2, 0.3)
            turn = np.linspace(0.15, math.pi - 0.15, 20)
            path = np.stack([half * np.cos(turn), np.full(20, 0.014), back + half * 0.9 - half * np.sin(turn) * 0.9], axis=1)
            ends = [_ball(0.0139, (float(p[0]), 0.0139, float(p[2])), stand) for p in path[[0, -1]]]
            return [tube(path, 0.0138, stand), *ends, neck.moved((0, 0.005, 0))], []
        case 6:  # a box, maybe the computer itself
            tall, wide, room = rng.uniform(0.05, 0.13), width * rng.uniform(0.5, 0.95), rng.uniform(0.22, 0.36)
            front = room / 2 + back
            solids = [
                cushion((wide, tall, room), (0, 0, back), 0.008, stand),
                box((0.08, up - tall + 0.02, 0.03), (0, tall - 0.01, back - 0.01), stand),
            ]
            solids += [
                box((wide * 0.3, 0.012, 0.006), (wide * 0.25, tall * 0.6, front), BLACK),
                _knob(0.008, 0.006, (-wide * 0.35, tall * 0.5, front), BLACK),
            ]
            return solids, [Parts(noun="box", count=1)]
        case _:  # a jointed arm on a clamp
            elbow = (rng.uniform(0.1, 0.25) * width, up * 0.55, back - 0.22)
            base = [
                cushion((0.1, 0.03, 0.09), (0, 0, back - 0.1), 0.01, stand),
                rod((0, 0, back - 0.1), (0, up * 0.55, back - 0.1), 0.018, 0.018, stand),
            ]
            bars = [rod((0, up * 0.5, back - 0.1), elbow, 0.02, 0.016, stand), rod(elbow, (0, up, back + 0.01), 0.016, 0.016, stand)]
            return [*base, *bars, _ball(0.026, elbow, stand), box((0.1, 0.1, 0.02), (0, up - 0.05, back), stand)], [
                Parts(noun="arm", count=1)
            ]


def _flat_screen(rng: Rng) -> Thing:
    width = rng.uniform(0.4, 1.15)
    tall = width * pick(rng, (rng.uniform(0.54, 0.62), rng.uniform(0.54, 0.62), rng.uniform(0.72, 0.82), rng.uniform(0.4, 0.46)))
    deep, lift = rng.uniform(0.018, 0.055), rng.uniform(0.05, 0.16)
    case, glow = pick(rng, (BLACK, BLACK, STEEL, plastic(rng, pick(rng, ("white", "black", "grey"))))), _screen(rng)
    stand = pick(rng, (case, case, STEEL, BLACK))
    bow = width * rng.uniform(1.3, 2.2) if maybe(rng, 0.25) else 0.0
    style = (("curved",) if bow else ()) + (("wide",) if tall < 0.5 * width else ("square",) if tall > 0.7 * width else ())
    parts = [Parts(noun="screen", count=1, material=glow)]
    if not bow and maybe(rng, 0.08):
        width, tall, style = tall, width, ("tall",)
    screen = _panel(rng, width, tall, deep, bow, case, glow)
    if not bow and width < 0.8 and maybe(rng, 0.18):  # several on one beam
        count, up = int(rng.integers(2, 4)) if width < 0.6 else 2, lift + tall * 0.5
        pitch, turn = width * 1.03, rng.uniform(0, 22)
        foot = _lying(_rounded(width * rng.uniform(0.5, 0.9), 0.24, pick(rng, (0.01, 0.1))), 0.016, stand, 0.005)
        solids = [foot.moved((0, 0, 0.12 - deep)), box((0.07, up, 0.03), (0, 0, -deep * 1.3 - 0.015), stand)]
        for i in range(count):
            side = i - (count - 1) / 2
            forward = abs(side) * width * math.sin(math.radians(turn)) * 0.5
            solids += [solid.turned("y", -turn * side).moved((side * pitch, lift, forward)) for solid in screen]
        beam = pitch * (count - 1) / 2
        solids.append(box((2 * beam + 0.1, 0.04, 0.03), (0, up - 0.02, -deep * 1.3 - 0.015), stand))
        solids += [box((0.06, 0.06, deep * 3), (x, up - 0.03, -deep * 0.6), stand) for x in (-beam, beam)]
        return Thing(solids=tuple(solids), main=case, style=("wide",), parts=(Parts(noun="screen", count=count, material=glow),))
    if maybe(rng, 0.12):  # for a wall: a plate behind, nothing below
        side = min(0.22, tall * 0.5)
        plate = [box((side, side, 0.015), (0, tall * 0.45 - side / 2, -deep * 3.5), stand)]
        plate.append(box((0.07, 0.07, deep * 3), (0, tall * 0.45 - 0.035, -deep * 2.2), stand))
        return Thing(solids=(*screen, *plate), main=case, style=style, parts=(*parts, Parts(noun="wall plate", count=1)))
    tilt = rng.uniform(-2, 9)
    solids, said = _screen_foot(rng, min(width, tall * 1.6), lift, lift + tall * 0.48, deep, stand)
    solids += [solid.turned("x", -tilt).moved((0, lift, 0)) for solid in screen]
    if maybe(rng, 0.15):
        said.append(Parts(noun="speaker", count=2))
        for side in (-1, 1):
            x = side * (width / 2 + 0.035)
            solids += [
                cushion((0.075, tall, deep * 1.3), (x, lift, 0), 0.012, case),
                _grid(0.05, tall * 0.8, 1, 14, (x, lift + tall / 2, deep * 0.65), 0.003, BLACK),
            ]
    return Thing(solids=tuple(solids), main=case, style=style, parts=(*parts, *said))


def _tube_case(width: float, tall: float, deep: float, radius: float, tail: float, rise: float, case: Material) -> list[Solid]:
    """The deep case around a picture tube, its front at Z = 0. `tail` is the size of the back over that of the front; of the
    height it lacks, the share `rise` is missing below."""
    outline = _rounded(width, tall, radius)
    steps = ((-1, tail), (-0.55, (1 + tail) / 2), (-0.45, 0.95), (-0.3, 1), (-0.012 / deep, 1), (0, 0.98))
    rings = [np.column_stack([outline * k, np.full(len(outline), z * deep)]) + np.array([0, rise * (1 - k) * tall, 0]) for z, k in steps]
    slots = _grid(width * tail * 0.7, tall * 0.12, 9, 1, (0, 0, 0), 0.004, BLACK, 0.4).turned("y", 180)
    return [_skin(rings, case), slots.moved((0, tall * tail * 0.7, -deep + 0.001))]


def _bulge(outline: Floats, at: Point, rise: float, material: Material) -> Solid:
    """Glass that swells towards the viewer."""
    return _skin([_at(outline, rise * (1 - s * s), s) for s in (1.0, 0.85, 0.6, 0.3, 0.05)], material).moved(at)


def _tube_monitor(rng: Rng) -> Thing:
    width = rng.uniform(0.34, 0.5)
    tall, deep, lift = width * rng.uniform(0.8, 0.98), width * rng.uniform(0.85, 1.1), rng.uniform(0.03, 0.08)
    case, glow = plastic(rng, pick(rng, ("beige", "beige", "white", "grey", "black"))), _screen(rng)
    solids = _tube_case(width, tall, deep, 0.02, rng.uniform(0.5, 0.85), 0.4, case)
    rim = width * rng.uniform(0.06, 0.1)
    chin = tall * rng.uniform(0.06, 0.14)
    solids.append(_bulge(_rounded(width - 2 * rim, tall - 2 * rim - chin, 0.025), (0, rim + chin, 0.0), 0.018, glow))
    buttons = int(rng.integers(1, 6))
    solids += [_knob(0.007, 0.008, (width * 0.36 - i * 0.03, rim * 0.5 + chin * 0.4, 0), BLACK) for i in range(buttons)]
    solids = [solid.moved((0, lift, deep * 0.4)) for solid in solids]
    parts = [Parts(noun="button", count=buttons)]
    if maybe(rng, 0.35):
        high, wide = rng.uniform(0.09, 0.15), max(width * rng.uniform(1.0, 1.25), 0.4)
        solids = [solid.moved((0, high, 0)) for solid in solids]
        solids += [
            cushion((wide, high, deep * 1.1), (0, 0, 0), 0.01, case),
            box((wide * 0.36, high * 0.25, 0.008), (wide * 0.25, high * 0.5, deep * 0.55), BLACK),
        ]
        solids += [_grid(wide * 0.3, high * 0.5, 8, 1, (-wide * 0.25, high * 0.5, deep * 0.55), 0.003, BLACK, 0.4)]
        parts.append(Parts(noun="box", count=1))
    else:
        high = 0.0
    foot = width * rng.uniform(0.26, 0.36)
    line = [(0.0, 0.0), (foot, 0.0), (foot, lift * 0.35), (foot * 0.6, lift * 0.6), (foot * 0.55, lift + 0.01), (0.0, lift + 0.01)]
    solids.append(turned(line, (0, high, 0), case))
    return Thing(solids=tuple(solids), main=case, style=("square",), parts=tuple(parts))


def _television(rng: Rng) -> Thing:
    """A box with a tube, dials or loudspeakers beside the picture, feet or legs below, and maybe two rods above."""
    width = rng.uniform(0.4, 0.85)
    tall, deep = width * rng.uniform(0.66, 0.82), width * rng.uniform(0.45, 0.8)
    case = pick(rng, (wood(rng, "brown"), wood(rng), plastic(rng), BLACK, metal(rng)))
    glow, trim = _screen(rng), pick(rng, (STEEL, BRASS, BLACK))
    solids = _tube_case(width, tall, deep, rng.uniform(0.01, 0.09) * width, rng.uniform(0.55, 0.95), 0.0, case)
    side = width * pick(rng, (rng.uniform(0.2, 0.28), rng.uniform(0.2, 0.28), 0.06))
    rim, parts = 0.06 * width, []
    view = width - rim - side
    glass_line = _rounded(view - 0.02, tall - 2 * rim, rng.uniform(0.08, 0.2) * tall)
    middle = -width / 2 + rim + view / 2 - 0.01
    solids.append(_plate(_rounded(view, tall - 2 * rim + 0.02, 0.1 * tall), 0.008, trim, 0.003).moved((middle, rim - 0.01, -0.003)))
    solids.append(_bulge(glass_line, (middle, rim, 0.004), 0.03, glow))
    if side > 0.1 * width:
        x, knobs = width / 2 - side / 2 - 0.005, int(rng.integers(1, 4))
        parts.append(Parts(noun="knob", count=knobs, material=trim))
        solids += [_knob(side * rng.uniform(0.2, 0.26), 0.03, (x, tall * (0.84 - 0.19 * i), -0.002), trim) for i in range(knobs)]
        solids.append(_grid(side * 0.7, tall * 0.25, 1, int(rng.integers(4, 9)), (x, tall * 0.22, -0.002), 0.006, BLACK, 0.45))
    solids = [solid.moved((0, 0, deep / 2)) for solid in solids]
    lift = pick(rng, (0.025, 0.025, rng.uniform(0.2, 0.45)))
    if lift > 0.1:
        stands, said = legs(rng, width * 0.9, deep * 0.6, lift + 0.01, 0.05, wood(rng))
        solids, parts = [*(solid.moved((0, lift, 0)) for solid in solids), *stands], [*parts, said]
    else:
        solids = [solid.moved((0, lift, 0)) for solid in solids]
        solids += [disc(0.02, lift + 0.02, (x, 0, z + deep * 0.05), BLACK, sides=16) for x, z in four(width * 0.7, deep * 0.4)]
    if maybe(rng, 0.45):
        parts.append(Parts(noun="antenna", count=2, material=STEEL))
        top, reach = lift + tall, rng.uniform(0.5, 0.8) * width
        solids.append(_ball(0.04, (0, top, 0.1 * deep), BLACK, 0.7))
        solids += [
            rod((0, top + 0.01, 0.1 * deep), (x * reach * 0.6, top + reach * 0.7, 0.1 * deep), 0.006, 0.003, STEEL, sides=8)
            for x in (-1, 1)
        ]
    return Thing(solids=tuple(solids), main=case, style=("wide",) if tall < 0.7 * width else (), parts=tuple(parts))


def monitor(rng: Rng) -> Thing:
    return pick(rng, (_flat_screen, _flat_screen, _flat_screen, _flat_screen, _tube_monitor, _television))(rng)


# ------------------------------------------------------------------------------------------------- laptops and keyboards


def _key_rects(width: float, depth: float, rows: int, pad: bool, cursor: bool, gap: float) -> tuple[list[Rect], list[Rect]]:
    """Plain and special keys of a field centred on the origin, as rectangles for `_blocks`; the bottom row is at +Z."""
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


def _keys(
    rng: Rng, width: float, depth: float, tall: float, rows: int, pad: bool, cursor: bool, colors: tuple[Material, Material]
) -> list[Solid]:
    gap = 0.12 * depth / rows + 0.001
    fields = _key_rects(width, depth, rows, pad, cursor, gap)
    return [_blocks(rects, tall, material, min(tall * 0.35, 0.003)) for rects, material in zip(fields, colors, strict=True)]


def laptop(rng: Rng) -> Thing:
    width = rng.uniform(0.27, 0.42)
    depth = width * rng.uniform(0.62, 0.78)
    old = maybe(rng, 0.35)
    thick, lid = (rng.uniform(0.026, 0.045), rng.uniform(0.014, 0.022)) if old else (rng.uniform(0.009, 0.018), rng.uniform(0.005, 0.009))
    case = pick(rng, (STEEL, BLACK, plastic(rng), metal(rng), plastic(rng, pick(rng, ("white", "grey", "black")))))
    key, glow, corner = pick(rng, (BLACK, BLACK, WHITE, plastic(rng))), _screen(rng), pick(rng, (0.003, rng.uniform(0.008, 0.03)))
    wedge = rng.uniform(0.4, 0.9) if maybe(rng, 0.4) else 1.0
    low = thick * wedge  # of the front edge
    slope = math.degrees(math.atan2(thick - low, depth))
    foot = 0.004
    if wedge < 1:
        side = [(depth / 2, 0.0), (depth / 2, low), (-depth / 2, thick), (-depth / 2, 0.0)]
        base = _profile(side, width, case, 0.002)
    else:
        base = _lying(_rounded(width, depth, corner), thick, case, min(0.003, thick * 0.3)).moved((0, 0, depth / 2))
    parts: list[Parts] = []
    # What lies on the deck is made flat around the middle of the deck and sloped with it.
    pad = width > 0.35 and maybe(rng, 0.5)
    field, rows = (width * rng.uniform(0.8, 0.93), depth * rng.uniform(0.42, 0.5)), int(rng.integers(5, 7))
    behind = -depth / 2 + 0.03 + field[1] / 2
    well = _lying(_rounded(field[0] + 0.008, field[1] + 0.008, 0.004), 0.002, pick(rng, (case, BLACK))).moved(
        (0, -0.0005, behind + field[1] / 2 + 0.004)
    )
    deck = [well, *(k.moved((0, 0.001, behind)) for k in _keys(rng, *field, 0.0035 if not old else 0.006, rows, pad, False, (key, key)))]
    free = depth / 2 - (behind + field[1] / 2) - 0.008
    touch = (width * rng.uniform(0.22, 0.36), free * rng.uniform(0.6, 0.85))
    at = (pick(rng, (0.0, -0.04)) * width, 0.0, depth / 2 - free / 2)
    trim = pick(rng, (BLACK, STEEL, WHITE))
    deck.append(box((touch[0], 0.0016, touch[1]), at, trim))
    if old and maybe(rng, 0.6):
        parts.append(Parts(noun="button", count=2))
        deck += [box((touch[0] * 0.46, 0.003, 0.012), (at[0] + s * touch[0] * 0.25, 0, depth / 2 - 0.013), trim) for s in (-1, 1)]
    solids = [base, *(solid.turned("x", slope).moved((0, (thick + low) / 2, 0)) for solid in deck)]
    solids += [
        _grid(0.03, 0.006, 3, 1, (0, 0, 0), 0.002, BLACK).turned("y", s * 90).moved((s * width / 2, low * 0.5, -depth * 0.1))
        for s in (-1, 1)
    ]
    solids += [box((0.02, foot + 0.001, 0.012), (x, -foot, z), BLACK) for x, z in four(width * 0.85, depth * 0.85)]
    # The lid is made upright, hinge on the origin, and then leant; 90 degrees more lay it on the keys.
    closed = maybe(rng, 0.08)
    lean = -90.0 if closed else rng.uniform(-15, 50)
    tall, rim = depth * rng.uniform(0.96, 1.0), rng.uniform(0.006, 0.022)
    chin = rim * rng.uniform(1, 2.5)
    top = [_plate(_rounded(width, tall, corner), lid, case, lid * 0.25).moved((0, 0, -lid))]
    top += [box((width - 2 * rim, tall - rim - chin, 0.002), (0, chin, 0.0), glow)]
    top += [_front([(0, 0), (0.005, 0), (0.005, 0.002), (0, 0.002)], (0, tall - rim / 2, 0.0), BLACK, sides=12)]
    if maybe(rng, 0.5):
        mark = _ngon(pick(rng, (4, 6, 24)), tall * rng.uniform(0.06, 0.1))
        top.append(_plate(mark, 0.002, trim).moved((0, tall * 0.55, -lid - 0.001)))
    hinge = (0.0, thick + 0.002, -depth / 2 + lid * 0.6)
    solids += [solid.turned("x", -lean).moved(hinge) for solid in top]
    span = pick(rng, ((0.0, 0.7), (0.36, 0.08), (0.3, 0.15)))
    for s in (-1, 1) if span[0] else (1,):
        x, half = s * span[0] * width, span[1] * width / 2
        solids.append(rod((x - half, *hinge[1:]), (x + half, *hinge[1:]), lid * 0.55 + 0.002, lid * 0.55 + 0.002, trim if old else case))
    if span[0]:
        parts.append(Parts(noun="hinge", count=2, material=trim if old else None))
    solids = [solid.moved((0, foot, 0)) for solid in solids]
    if maybe(rng, 0.15):
        parts.append(Parts(noun="mouse", count=1))
        x, z = width * rng.uniform(0.72, 0.9), depth * rng.uniform(0, 0.3)
        solids += [
            _mouse(key, x, z),
            tube(
                np.array(
                    [(x, 0.012, z - 0.04), (x, 0.006, z - 0.1), (x * 0.85, 0.006, -depth * 0.4), (width * 0.49, low * 0.5, -depth * 0.3)]
                ),
                0.002,
                BLACK,
            ),
        ]
    style = (("closed",) if closed else ("open",)) + (("slim",) if thick < 0.014 else ())
    return Thing(
        solids=tuple(solids),
        main=case,
        style=style,
        parts=(Parts(noun="screen", count=1, material=glow), *parts) if not closed else tuple(parts),
    )


def _mouse(material: Material, x: float, z: float) -> Solid:
    line = [(0.0, 0.0), (0.03, 0.0), (0.033, 0.008), (0.03, 0.02), (0.02, 0.03), (0.0, 0.034)]
    return turned(line, (x, 0, z), material, squash=1.6)


def keyboard(rng: Rng) -> Thing:
    case = pick(rng, (BLACK, WHITE, STEEL, plastic(rng), plastic(rng, pick(rng, ("beige", "grey", "white", "black")))))
    key = pick(rng, (case, BLACK, WHITE, plastic(rng)))
    accent = pick(rng, (key, key, plastic(rng), case))
    rows, cursor = int(rng.integers(4, 7)), maybe(rng, 0.7)
    pad = cursor and maybe(rng, 0.75)
    unit = rng.uniform(0.0175, 0.0205)
    width, depth = unit * (15 + (3.25 if cursor else 0) + (4.25 if pad else 0)), rows * unit * rng.uniform(0.92, 1.02)
    tall, thick = pick(rng, ((0.003, 0.008), (0.007, 0.016), (0.011, 0.022), (0.011, 0.03)))
    rise = rng.uniform(0, 9)
    edge, front, behind = rng.uniform(0.006, 0.02), rng.uniform(0.006, 0.03), pick(rng, (0.008, 0.012, rng.uniform(0.02, 0.05)))
    parts = [Parts(noun="number pad", count=1)] if pad else []
    style: tuple[str, ...] = ("slim",) if thick < 0.01 else ()
    keys = [k.moved((0, thick - 0.001, 0)) for k in _keys(rng, width, depth, tall, rows, pad, cursor, (key, accent))]
    z0, z1 = -depth / 2 - behind, depth / 2 + front
    whole = width + 2 * edge
    if maybe(rng, 0.2):  # two halves that part in the middle
        rows, depth, wide = 5, 5 * unit, unit * 7
        turn, apart, tent = rng.uniform(6, 20), pick(rng, (0.0, rng.uniform(0.01, 0.08))), pick(rng, (0.0, rng.uniform(3, 10)))
        solids: list[Solid] = []
        for side in (-1, 1):
            rects = [((c - 3 + 0.1 * (r % 2)) * unit, (r - 2) * unit, unit * 0.86, unit * 0.86) for r in range(4) for c in range(7)]
            thumbs = [(-side * (1.8 - 2.2 * i) * unit, 2 * unit, unit * 1.9, unit * 0.86) for i in range(2)]
            z0, z1 = -depth / 2 - behind, depth / 2 + front * 2
            outline = _rounded(wide + 2 * edge, z1 - z0, rng.uniform(0.01, 0.03))
            half = [
                _lying(outline, thick, case, 0.004).moved((0, 0, z1)),
                *(_blocks(b, tall, m, 0.002).moved((0, thick - 0.001, 0)) for b, m in ((rects, key), (thumbs, accent))),
            ]
            # Each half turns about its inner far corner, which stays in the middle and rises with the tent.
            reach = side * (wide / 2 + edge)
            half = [s.moved((reach, 0, -z0)).turned("y", -side * turn).turned("z", -side * tent) for s in half]
            up = 0.0 if not tent else math.sin(math.radians(tent)) * (wide + 2 * edge) * 1.05
            solids += [s.moved((side * apart / 2, up, 0)) for s in half]
        low = min(float(s.vertices[:, 1].min()) for s in solids)
        solids = [s.moved((0, -low, -depth / 2)) for s in solids]
        if apart > 0:
            solids.append(
                _arch((-apart / 2 - 0.02, 0.012, 0.0), (apart / 2 + 0.02, 0.012, 0.0), 0.0, 0.003, BLACK).moved((0, 0, -depth / 2 + 0.02))
            )
        else:
            solids.append(
                _profile([(0, 0), (depth * 0.7, 0), (depth * 0.7, 0.004), (0, thick * 0.8)], 0.05, case).moved((0, 0, -depth / 2))
            )
        return Thing(solids=tuple(solids), main=case, style=("open",) if apart else ("curved",), parts=(Parts(noun="half board", count=2),))
    if maybe(rng, 0.5):
        board = _lying(_rounded(whole, z1 - z0, pick(rng, (0.003, rng.uniform(0.01, 0.03)))), thick, case, min(0.004, thick * 0.3)).moved(
            (0, 0, z1)
        )
    else:
        contour = [
            (z1, 0.0),
            (z1, thick * 0.5),
            (depth / 2 + 0.002, thick),
            (-depth / 2 - 0.004, thick),
            (z0 + behind * 0.3, thick * pick(rng, (1.0, 1.7))),
            (z0, thick * 0.5),
            (z0, 0.0),
        ]
        board = _profile(contour, whole, case, 0.002)
    top = [board, *keys]
    if behind > 0.02 and maybe(rng, 0.6):
        buttons = int(rng.integers(3, 9))
        parts.append(Parts(noun="extra button", count=buttons))
        top.append(
            _blocks(
                [((i - buttons / 2) * 0.022 - width * 0.2, z0 + behind * 0.6, 0.014, 0.008) for i in range(buttons)], thick + 0.004, accent
            )
        )
        if maybe(rng, 0.5):
            parts.append(Parts(noun="knob", count=1))
            top.append(disc(0.012, 0.02, (width * 0.4, thick - 0.002, z0 + behind * 0.5), accent, sides=20))
    if maybe(rng, 0.3):
        parts.append(Parts(noun="wrist rest", count=1))
        reach = rng.uniform(0.05, 0.09)
        top.append(
            cushion(
                (whole * 0.98, thick * 0.9, reach),
                (0, 0, z1 + reach / 2 + 0.001),
                0.007,
                pick(rng, (case, fabric(rng, "black"), wood(rng))),
            )
        )
        z1 += reach
    lift = math.sin(math.radians(rise)) * (z1 - z0)
    solids = [solid.moved((0, 0, -z1)).turned("x", rise).moved((0, 0, z1)) for solid in top]
    if lift > 0.008:
        solids += [box((0.03, lift + thick * 0.3, 0.006), (x * whole * 0.4, 0, z0 + 0.012), case) for x in (-1, 1)]
    if maybe(rng, 0.3):
        parts.append(Parts(noun="cable", count=1, material=BLACK))
        bend = rng.uniform(-0.2, 0.2)
        t = np.linspace(0, 1, 16)
        path = np.stack([whole * 0.2 + bend * t**2, 0.0025 + (lift + thick * 0.4) * (1 - t) ** 3, z0 + 0.006 - 0.16 * t], axis=1)
        solids += [tube(path, 0.0024, BLACK, sides=8), box((0.012, 0.006, 0.03), (whole * 0.2 + bend, 0, z0 - 0.16), BLACK)]
    style += ("wide",) if pad else ("square",) if not cursor else ()
    return Thing(solids=tuple(solids), main=case, style=style, parts=tuple(parts[:4]))


# ---------------------------------------------------------------------------------------------------------------- lamps


def _shell(outer: Line, wall: float) -> Line:
    """A thin wall outside of which runs `outer`, upwards."""
    inner = [(max(0.0, r - wall), h - (wall if r == 0 else 0)) for r, h in outer[::-1]]
    return [*outer, *inner, outer[0]]


def _shade(rng: Rng, width: float, cloth: Material) -> tuple[list[Solid], float, str]:
    """A lamp shade of radius `width` that stands open on the origin, how high it is, and a word for its form."""
    wall, t = width * 0.03, np.linspace(0, 1, 12)
    match rng.integers(8):
        case 0 | 1:  # cone or drum
            tall, mouth = width * rng.uniform(0.8, 1.5), width * pick(rng, (1.0, rng.uniform(0.75, 0.95), rng.uniform(0.3, 0.6)))
            rings = [
                turned([(r - 0.01, h), (r * 1.02 + 0.001, h), (r * 1.02 + 0.001, h + 0.01), (r - 0.01, h + 0.01)], (0, 0, 0), cloth)
                for r, h in ((width, 0), (mouth, tall - 0.01))
            ]
            return [turned(_shell([(width, 0), (mouth, tall)], wall), (0, 0, 0), cloth, sides=40), *rings], tall, "round"
        case 2:  # bell
            tall, mouth = width * rng.uniform(0.9, 1.3), width * rng.uniform(0.3, 0.5)
            line = [(float(mouth + (width - mouth) * (1 - a) ** 2.2), float(a * tall)) for a in t]
            return [turned(_shell(line, wall), (0, 0, 0), cloth, sides=40)], tall, "curved"
        case 3:  # dome of coloured glass, with ribs and a finial
            tall = width * rng.uniform(0.5, 0.75)
            line = [(float(width * math.cos(a * math.pi / 2) ** 0.8), float(tall * math.sin(a * math.pi / 2))) for a in t[:-1]] + [
                (0.0, tall)
            ]
            path = np.array([(0.0, h, r + 0.001) for r, h in line])
            ribs = [tube(path, width * 0.018, BRASS, sides=6).turned("y", a) for a in range(0, 360, 45)]
            hem, skirt = fabric(rng), [(width * 1.02, -width * 0.12), (width * 1.02, 0.0)]
            return (
                [
                    turned(_shell(line, wall), (0, 0, 0), cloth, sides=40),
                    *ribs,
                    turned(_shell(skirt, wall), (0, 0, 0), hem, sides=40),
                    _ball(width * 0.08, (0, tall, 0), BRASS),
                ],
                tall,
                "curved",
            )
        case 4:  # globe
            return [_ball(width * 0.75, (0, width * 0.72, 0), cloth, rng.uniform(0.8, 1.2))], width * 0.8, "round"
        case 5:  # square or six-sided
            tall, mouth, sides = width * rng.uniform(0.9, 1.6), width * pick(rng, (1.0, rng.uniform(0.4, 0.8))), pick(rng, (4, 4, 6))
            big, small = _ngon(sides, width, math.pi / sides), _ngon(sides, mouth, math.pi / sides)
            hulls = [_at(big, 0), _at(small, tall), _at(small, tall, 0.95), _at(big, 0, 0.95), _at(big, 0)]
            return [_skin(hulls, cloth, caps=False).turned("x", -90)], tall, "square" if sides == 4 else ""
        case 6:  # pleated
            tall, mouth = width * rng.uniform(0.8, 1.3), rng.uniform(0.45, 0.8)
            pleats = _ngon(72, width) * (1 - 0.05 * (np.arange(72) % 2))[:, None]
            hulls = [_at(pleats, 0), _at(pleats, tall, mouth), _at(pleats, tall, mouth * 0.95), _at(pleats, 0, 0.95), _at(pleats, 0)]
            return [_skin(hulls, cloth, caps=False).turned("x", -90)], tall, "striped"
        case _:  # bowl that opens upwards
            tall = width * rng.uniform(0.4, 0.9)
            line = [(float(width * (0.15 + 0.85 * math.sin(a * math.pi / 2))), float(tall * (1 - math.cos(a * math.pi / 2)))) for a in t]
            return (
                [
                    turned(
                        [(0.0, 0.0), *line, *[(r - wall, h + wall * 0.5) for r, h in line[:0:-1]], (0.0, wall)], (0, 0, 0), cloth, sides=40
                    )
                ],
                tall,
                "open",
            )


def _bulb(radius: float, at: Point) -> Solid:
    return turned(
        [(0, -radius), (radius * 0.5, -radius), (radius * 0.55, 0), (radius, radius), (radius * 0.7, radius * 1.9), (0, radius * 2.2)],
        at,
        WHITE,
        sides=20,
    )


def _standing_lamp(rng: Rng) -> Thing:
    """A shade on a stem: of a table, or of the floor."""
    metallic, cloth = frame(rng), pick(rng, (fabric(rng), fabric(rng, pick(rng, ("white", "beige"))), glass(rng), WHITE))
    floor = maybe(rng, 0.4)
    height = rng.uniform(1.2, 1.75) if floor else rng.uniform(0.3, 0.65)
    width = height * (rng.uniform(0.11, 0.18) if floor else rng.uniform(0.28, 0.42))
    shade, tall, word = _shade(rng, width, cloth)
    thick, top, main = height * (0.008 if floor else 0.02), height - tall, metallic
    parts: list[Parts] = []
    solids: list[Solid] = []
    t = np.linspace(0, 1, 16)
    match rng.integers(7):
        case 0:  # three or four legs
            count = int(rng.integers(3, 5))
            spread, knot = width * rng.uniform(0.8, 1.15), top * rng.uniform(0.75, 1.0)
            solids += [
                rod((0, 0, spread), (0, knot, thick), thick * 0.8, thick * 1.4, metallic).turned("y", a * 360 / count) for a in range(count)
            ]
            solids += [
                disc(thick * 3, thick * 2, (0, knot - thick, 0), metallic),
                rod((0, knot, 0), (0, top + 0.02, 0), thick, thick, metallic),
            ]
            parts.append(Parts(noun="leg", count=count, material=metallic))
        case 1 | 2 if not floor:  # a belly of clay or glass, on a foot
            belly, body, power = width * rng.uniform(0.35, 0.65), pick(rng, (ceramic(rng), glass(rng))), rng.uniform(0.5, 1.6)
            curve = belly * (rng.uniform(0.2, 0.4) + 0.65 * np.sin(math.pi * t**power) ** pick(rng, (1, 2)))
            line = [
                (0.0, 0.0),
                *((float(r), float(0.02 + h)) for r, h in zip(curve, t * top * 0.85, strict=True)),
                (0.0, 0.02 + top * 0.85),
            ]
            solids += [turned(line, (0, 0, 0), body), disc(float(curve[0]) * 1.25, 0.025, (0, 0, 0), metallic)]
            main = body
        case 3:  # turned on a lathe
            half = width * rng.uniform(0.12, 0.22) * (0.6 if floor else 1)
            knots = half * rng.uniform(0.3, 1.0, 9)
            line = [(0.0, 0.0), (half * 3, 0.0), (half * 3, half * 0.4), (half * 1.4, half * 0.9)]
            line += [(float(r), float(half + (top - half) * (i + 1) / 9)) for i, r in enumerate(knots)] + [(0.0, top)]
            main = wood(rng)
            solids.append(turned(line, (0, 0, 0), main, sides=24))
        case 4 if not floor:  # balls or blocks on one another
            count, x = int(rng.integers(2, 5)), 0.0
            main = pick(rng, (ceramic(rng), wood(rng), glass(rng), stone(rng)))
            step = (top - 0.02) / count
            square = maybe(rng, 0.4)
            for i in range(count):
                size = step * (0.5 if i % 2 or not square else 0.4)
                at = 0.02 + i * step
                solids.append(
                    cushion((size * 2, step * 0.98, size * 2), (x, at, 0), size * 0.15, main)
                    if square
                    else _ball(step * 0.51, (0, at + step / 2, 0), main)
                )
            solids.append(disc(step * 0.45, 0.025, (0, 0, 0), metallic))
            parts.append(Parts(noun="block" if square else "ball", count=count, material=main))
        case _:  # a bar on a plate
            base = width * rng.uniform(0.5, 0.8)
            if maybe(rng, 0.3):
                solids.append(cushion((base * 1.7, base * 0.12, base * 1.7), (0, 0, 0), base * 0.05, metallic))
            else:
                solids.append(
                    turned(
                        [(0, 0), (base, 0), (base, base * 0.08), (base * 0.4, base * 0.16), (thick * 1.2, base * 0.35), (0, base * 0.35)],
                        (0, 0, 0),
                        metallic,
                    )
                )
            solids.append(rod((0, 0.01, 0), (0, top, 0), thick, thick, metallic))
            if floor and maybe(rng, 0.3):
                solids += [disc(base * 1.3, 0.02, (0, height * 0.38, 0), wood(rng)), _ball(thick * 2.5, (0, height * 0.36, 0), metallic)]
                parts.append(Parts(noun="shelf", count=1))
    pin = 0.02 if word == "open" or shade[0].vertices[:, 1].min() < -1 else tall * 0.9
    solids += [
        rod((0, top * 0.8, 0), (0, top + pin, 0), thick * 0.8, thick * 0.8, metallic),
        _bulb(min(width, tall) * 0.16, (0, top + tall * (0.85 if word == "open" else 0.4), 0)),
    ]
    if word not in ("open", "round"):  # the cross that carries the shade
        solids.append(disc(width * 0.12, 0.006, (0, top + pin - 0.006, 0), metallic))
    style = tuple(w for w in (word, "tall" if floor else "") if w)
    return Thing(
        solids=(*solids, *(s.moved((0, top, 0)) for s in shade)),
        main=main,
        style=style,
        parts=(Parts(noun="shade", count=1, material=cloth), *parts),
    )


def _reading_lamp(rng: Rng) -> Thing:
    """A head that an arm holds over a desk: jointed, or a bent neck; or a bar under a long shade."""
    paint, base = metal(rng, pick(rng, ("grey", "black", "white", "red", "blue", "green", "yellow", "orange"))), rng.uniform(0.07, 0.11)
    tall = rng.uniform(0.3, 0.5)
    bar = pick(rng, (paint, STEEL, BLACK))
    foot = [turned([(0, 0), (base, 0), (base, 0.012), (base * 0.6, 0.03), (0, 0.035)], (0, 0, 0), paint)]
    if maybe(rng, 0.3):
        foot = [cushion((base * 1.8, 0.03, base * 1.5), (0, 0, 0), 0.01, paint)]
    if maybe(rng, 0.15):  # a half pipe of glass across two posts
        long, color = rng.uniform(0.1, 0.15), glass(rng, pick(rng, ("green", "green", "blue", "red")))
        arc = [(0.075 * math.cos(a), 0.07 * math.sin(a)) for a in np.linspace(0, math.pi, 15)]
        inner = [(0.068 * math.cos(a), 0.063 * math.sin(a)) for a in np.linspace(math.pi, 0, 15)]
        shade = _profile(arc + inner, 2 * long, color).turned("x", -12).moved((0, tall * 0.75, 0.02))
        posts = [
            rod((0, 0.03, 0), (0, tall * 0.75, 0), 0.009, 0.007, BRASS),
            *(rod((0, tall * 0.8, 0), (s * long * 0.9, tall * 0.78, 0.02), 0.006, 0.006, BRASS) for s in (-1, 1)),
        ]
        bulb = rod((-long * 0.7, tall * 0.77, 0.02), (long * 0.7, tall * 0.77, 0.02), 0.016, 0.016, WHITE)
        ends = [_plate(arc, 0.004, color).turned("y", -90).turned("x", -12).moved((s * long, tall * 0.75, 0.02)) for s in (-1, 1)]
        return Thing(
            solids=(
                turned([(0, 0), (base, 0), (base, 0.012), (base * 0.3, 0.04), (0, 0.045)], (0, 0, 0), BRASS),
                *posts,
                bulb,
                *ends,
                shade,
            ),
            main=color,
            style=("low",),
            parts=(Parts(noun="shade", count=1, material=color),),
        )
    parts: list[Parts] = []
    if maybe(rng, 0.4):
        reach, a = rng.uniform(0.15, 0.28), np.linspace(0, 1, 24)
        bend = np.stack([0 * a, tall * np.sin(a * 2.0) / 0.95, reach * (1 - np.cos(a * 2.0)) / 1.42 - 0.04], axis=1)
        arm, end, style = [tube(bend, 0.009, bar)], (0.0, float(bend[-1, 1]), float(bend[-1, 2])), ("curved",)
        foot = [solid.moved((0, 0, -0.02)) for solid in foot]
    else:
        elbow = (0.0, tall * rng.uniform(0.75, 1.0), -rng.uniform(0.08, 0.2))
        end = (0.0, tall * rng.uniform(0.9, 1.35), rng.uniform(0.1, 0.25))
        pairs = pick(rng, ((0.0,), (-0.016, 0.016)))
        arm = [
            rod((x, s[1], s[2]), (x, e[1], e[2]), 0.006, 0.006, bar, sides=8)
            for x in pairs
            for s, e in (((0.0, 0.02, 0.0), elbow), (elbow, end))
        ]
        arm += [rod((-0.024, at[1], at[2]), (0.024, at[1], at[2]), 0.014, 0.014, bar) for at in ((0.0, 0.04, 0.0), elbow, end)]
        style = ("folding",)
        parts.append(Parts(noun="joint", count=3))
    mouth = rng.uniform(0.06, 0.1)
    deep = mouth * rng.uniform(1.0, 1.7)
    cup = pick(
        rng,
        (
            [
                (mouth, 0.0),
                (mouth * 0.9, deep * 0.35),
                (mouth * 0.55, deep * 0.65),
                (mouth * 0.3, deep * 0.75),
                (mouth * 0.28, deep),
                (0.0, deep),
            ],
            [(mouth, 0.0), (mouth * 0.35, deep), (0.0, deep)],
        ),
    )
    head = [turned(_shell(cup, 0.004), (0, 0, 0), paint), _bulb(mouth * 0.22, (0, deep * 0.1, 0))]
    if maybe(rng, 0.2):  # a flat bar with lights
        head = [cushion((0.06, 0.02, rng.uniform(0.25, 0.4)), (0, deep * 0.8, 0.08), 0.008, paint)]
    lean = -rng.uniform(0, 40)
    head = [solid.moved((0, -deep * 0.9, 0)).turned("x", lean).moved(end) for solid in head]
    return Thing(solids=(*foot, *arm, *head), main=paint, style=style, parts=(*parts, Parts(noun="shade", count=1)))


def _arc_lamp(rng: Rng) -> Thing:
    bar, height, reach = pick(rng, (STEEL, STEEL, BLACK, BRASS)), rng.uniform(1.6, 2.1), rng.uniform(0.8, 1.4)
    cloth = pick(rng, (bar, fabric(rng), WHITE))
    arms = pick(rng, (1, 1, 3))
    foot = pick(rng, (stone(rng), bar))
    solids: list[Solid] = [disc(0.17, 0.05, (0, 0, 0), foot) if maybe(rng, 0.5) else cushion((0.34, 0.06, 0.24), (0, 0, 0), 0.01, foot)]
    width = rng.uniform(0.13, 0.22) * (1 if arms == 1 else 0.7)
    line = [(width * math.cos(a), width * 0.85 * math.sin(a)) for a in np.linspace(0, 1.45, 10)] + [(0.0, width * 0.85)]
    for i in range(arms):
        a = np.linspace(0, 1, 30) * rng.uniform(2.2, 2.6)
        out = reach * (1 - 0.25 * i)
        path = np.stack(
            [out * (1 - np.cos(a)) / 1.7, height * (1 - 0.12 * i) * np.sin(a), 0.12 * (i - (arms - 1) / 2) * a],
            axis=1,
        )
        x, y, z = (float(v) for v in path[-1])
        solids += [tube(path + np.array([0, 0.03, 0]), 0.012, bar), rod((x, y - 0.05, z), (x, y + 0.05, z), 0.015, 0.015, bar)]
        solids += [
            turned(_shell(line, 0.005), (x, y - 0.05 - width * 0.85, z), cloth),
            _ball(width * 0.3, (x, y - 0.05 - width * 0.5, z), WHITE),
        ]
    return Thing(solids=tuple(solids), main=bar, style=("curved", "tall"), parts=(Parts(noun="shade", count=arms, material=cloth),))


def _branched_lamp(rng: Rng) -> Thing:
    """Several lights around one stem: standing, or a chandelier."""
    bar, count = pick(rng, (BRASS, STEEL, BLACK, metal(rng))), int(rng.integers(2, 7))
    hanging, tall = maybe(rng, 0.45), rng.uniform(0.35, 0.6)
    reach, dip = tall * rng.uniform(0.4, 0.8), tall * rng.uniform(0.1, 0.3)
    floor = not hanging and maybe(rng, 0.4)
    if floor:
        tall, reach, dip = rng.uniform(1.3, 1.7), rng.uniform(0.2, 0.35), rng.uniform(0.05, 0.2)
    size = reach * rng.uniform(0.2, 0.3)
    candle, cloth = maybe(rng, 0.4), pick(rng, (WHITE, glass(rng), fabric(rng)))
    knot = tall * (0.2 if hanging else 0.75)
    a = np.linspace(0, 1, 16)
    branch = np.stack([0 * a, knot - dip * np.sin(a * math.pi) + dip * 0.8 * a, reach * a], axis=1)
    end = (0.0, float(branch[-1, 1]), reach)
    arm = [
        tube(branch, size * 0.12, bar, sides=8),
        turned(
            [(0, 0), (size * 0.5, size * 0.25), (size * 0.55, size * 0.3), (0, size * 0.32)], (0, end[1] - size * 0.1, reach), bar, sides=16
        ),
    ]
    if candle:
        arm += [
            disc(size * 0.2, size * 1.4, (0, end[1], reach), WHITE, sides=12),
            _ball(size * 0.17, (0, end[1] + size * 1.65, reach), BRASS, 1.8),
        ]
    else:
        mouth = pick(rng, (0.45, 1.0, 1.4))
        arm += [
            turned(
                _shell([(size * (0.9 if mouth < 1 else 0.4), 0), (size * mouth * 0.9, size * 1.2)], size * 0.05),
                (0, end[1] + size * 0.2, reach),
                cloth,
                sides=20,
            ),
            rod(end, (0, end[1] + size * 0.5, reach), size * 0.1, size * 0.1, bar, sides=8),
            _bulb(size * 0.25, (0, end[1] + size * 0.6, reach)),
        ]
    solids = [solid.turned("y", i * 360 / count + 90) for solid in arm for i in range(count)]
    half = size * rng.uniform(0.25, 0.4)
    rings = half * rng.uniform(0.35, 1.2, 7)
    line = [(0.0, 0.0), *((float(r), tall * (i + 0.5) / 7) for i, r in enumerate(rings)), (half * 0.4, tall), (0.0, tall)]
    if floor:
        line = [(0.0, 0.0), (half * 0.7, 0.0), (half * 0.7, tall), (0.0, tall + half)]
    solids.append(turned(line, (0, 0, 0), bar, sides=20))
    if hanging:
        solids += [
            rod((0, tall, 0), (0, tall * 1.5, 0), size * 0.06, size * 0.06, bar, sides=8),
            turned([(0, 0), (size * 0.3, 0), (size * 0.8, size * 0.3), (0, size * 0.32)], (0, tall * 1.5, 0), bar),
        ]
    else:
        foot = reach * rng.uniform(0.4, 0.6)
        solids.append(
            turned([(0, 0), (foot, 0), (foot, foot * 0.1), (foot * 0.5, foot * 0.25), (half, foot * 0.5), (0, foot * 0.5)], (0, 0, 0), bar)
        )
    low = min(float(solid.vertices[:, 1].min()) for solid in solids)
    solids = [solid.moved((0, -low, 0)) for solid in solids]
    said = Parts(noun="candle" if candle else "shade", count=count, material=WHITE if candle else cloth)
    return Thing(
        solids=tuple(solids),
        main=bar,
        style=("tall",) if floor else ("wide",) if hanging else (),
        parts=(said, Parts(noun="arm", count=count)),
    )


def _lantern(rng: Rng) -> Thing:
    """Glass in a frame under a roof, to carry or on a post."""
    iron, pane = pick(rng, (BLACK, BRASS, metal(rng), wood(rng))), glass(rng, pick(rng, ("white", "white", "blue", "green", "red")))
    sides, size, tall = pick(rng, (4, 4, 6, 24)), rng.uniform(0.07, 0.12), rng.uniform(0.14, 0.3)
    flare = rng.uniform(1.0, 1.3)
    post = rng.uniform(1.8, 3.2) if maybe(rng, 0.35) else 0.0
    grow = 1.6 if post else 1.0
    size, tall = size * grow, tall * grow
    line, turn = _ngon(sides, size, math.pi / sides), math.pi / sides
    body = [_skin([_at(line, 0.02, 0.9), _at(line, 0.02 + tall, 0.9 * flare)], pane).turned("x", -90)]
    roof = [
        (0.02 + tall, 1.25 * flare),
        (0.03 + tall, 1.25 * flare),
        (0.03 + tall + size * 0.7, 0.35),
        (0.03 + tall + size, 0.3),
        (0.03 + tall + size * 1.05, 0.05),
    ]
    body += [
        _skin([_at(line, 0, 1.15), _at(line, 0.02, 1.15)], iron).turned("x", -90),
        _skin([_at(line, z, s) for z, s in roof], iron).turned("x", -90),
    ]
    count = sides if sides < 24 else 4
    for i in range(count):
        a = turn + i * 2 * math.pi / count if sides < 24 else i * math.pi / 2
        c, s = math.cos(a) * size * 0.92, -math.sin(a) * size * 0.92
        body.append(rod((c, 0.01, s), (c * flare, 0.025 + tall, s * flare), size * 0.05, size * 0.05, iron, sides=8))
    body += [_ball(size * 0.3, (0, 0.02 + tall * 0.4, 0), WHITE, 1.6)]
    top = 0.03 + tall + size * 1.02
    parts = [Parts(noun="pane", count=sides)] if sides < 24 else []
    if post:
        half = size * 0.25
        pole = [
            (0.0, 0.0),
            (half * 3, 0.0),
            (half * 2.6, half * 1.5),
            (half * 1.6, post * 0.1),
            (half, post * 0.16),
            (half * 0.8, post * 0.9),
            (half * 2, post * 0.95),
            (half, post * 0.97),
            (half * 2, post),
            (0.0, post),
        ]
        body = [
            *(solid.moved((0, post - 0.005, 0)) for solid in body),
            turned(pole, (0, 0, 0), iron),
            _ball(size * 0.12, (0, post + top, 0), iron, 1.5),
        ]
        return Thing(solids=tuple(body), main=iron, style=("tall", "slim"), parts=(*parts, Parts(noun="post", count=1)))
    ring = np.stack(
        [
            size * 0.45 * np.cos(np.linspace(0, 2 * math.pi, 25)),
            top + size * 0.4 + size * 0.45 * np.sin(np.linspace(0, 2 * math.pi, 25)),
            np.zeros(25),
        ],
        axis=1,
    )
    body.append(tube(ring, size * 0.05, iron, sides=8))
    return Thing(
        solids=tuple(body),
        main=iron,
        style=("square",) if sides == 4 else ("round",) if sides == 24 else (),
        parts=(*parts, Parts(noun="ring", count=1)),
    )


def _hanging_lamp(rng: Rng) -> Thing:
    """Shades on cords below a rose or a beam."""
    cloth, bar = pick(rng, (fabric(rng), metal(rng), glass(rng), WHITE)), pick(rng, (BLACK, STEEL, BRASS))
    width, cord = rng.uniform(0.12, 0.28), rng.uniform(0.25, 0.8)
    shade, tall, word = _shade(rng, width, cloth)
    count = int(rng.integers(2, 5)) if maybe(rng, 0.25) else 1
    solids: list[Solid] = []
    for i in range(count):
        x = (i - (count - 1) / 2) * width * 2.4
        solids += [s.moved((x, 0, 0)) for s in shade]
        solids += [
            rod((x, tall * 0.5 if word != "open" else 0.01, 0), (x, tall + cord, 0), 0.005, 0.005, bar, sides=8),
            _bulb(width * 0.2, (x, tall * 0.35, 0)),
        ]
        solids.append(turned([(0, 0), (0.025, 0), (0.03, 0.05), (0.01, 0.07), (0, 0.07)], (x, tall - 0.01, 0), bar, sides=20))
        if word not in ("open",):
            solids.append(disc(width * 0.3, 0.004, (x, tall - 0.012, 0), bar))
    top = (
        box((width * 2.4 * (count - 1) + 0.14, 0.03, 0.06), (0, tall + cord, 0), bar)
        if count > 1
        else turned([(0, 0), (0.03, 0), (0.07, 0.03), (0, 0.032)], (0, tall + cord, 0), bar)
    )
    low = min(float(solid.vertices[:, 1].min()) for solid in solids)
    solids = [solid.moved((0, -low, 0)) for solid in [*solids, top]]
    style = tuple(w for w in (word, "wide" if count > 1 else "") if w)
    return Thing(
        solids=tuple(solids),
        main=cloth,
        style=style,
        parts=(Parts(noun="shade", count=count), Parts(noun="cord", count=count, material=bar)),
    )


def lamp(rng: Rng) -> Thing:
    makers = (
        _standing_lamp,
        _standing_lamp,
        _standing_lamp,
        _standing_lamp,
        _reading_lamp,
        _reading_lamp,
        _arc_lamp,
        _branched_lamp,
        _lantern,
        _hanging_lamp,
    )
    return pick(rng, makers)(rng)


# --------------------------------------------------------------------------------------------------- radios, microwaves


def _speaker(radius: float, at: Point, rim: Material, cone: Material) -> list[Solid]:
    """A ring with a cone and a dome in it, towards the viewer."""
    ring = [
        (0.0, 0.0),
        (radius, 0.0),
        (radius, radius * 0.1),
        (radius * 0.86, radius * 0.14),
        (radius * 0.82, radius * 0.06),
        (0.0, radius * 0.06),
    ]
    dish = [
        (radius * 0.82, radius * 0.09),
        (radius * 0.32, radius * 0.02),
        (radius * 0.3, radius * 0.1),
        (radius * 0.15, radius * 0.16),
        (0.0, radius * 0.18),
    ]
    return [_front(ring, at, rim), _front(dish, at, cone)]


def _grille(rng: Rng, wide: float, tall: float, at: Point, trim: Material) -> list[Solid]:
    """What a loudspeaker sounds through: cloth, slats or holes, in a rectangle centred at `at`."""
    x, y, z = at
    match rng.integers(4):
        case 0:
            return [_grid(wide, tall, 1, int(rng.integers(5, 12)), at, 0.005, trim, 0.5)]
        case 1:
            return [_grid(wide, tall, int(rng.integers(6, 16)), 1, at, 0.005, trim, 0.5)]
        case 2:
            return [_grid(wide, tall, 14, max(3, round(14 * tall / wide)), at, 0.003, trim, 0.5)]
        case _:
            return (
                [*_speaker(min(wide, tall) * 0.48, at, trim, BLACK)]
                if tall > wide * 0.6
                else [box((wide, tall, 0.006), (x, y - tall / 2, z), trim)]
            )


def _mast(start: Point, reach: float, lean: float) -> list[Solid]:
    """A telescopic antenna."""
    x, y, z = start
    way = (math.sin(math.radians(lean)), math.cos(math.radians(lean)))
    joints = [(x + way[0] * reach * k / 3, y + way[1] * reach * k / 3, z) for k in range(4)]
    return [rod(joints[k], joints[k + 1], 0.0045 - 0.001 * k, 0.0045 - 0.001 * k, STEEL, sides=8) for k in range(3)] + [
        _ball(0.006, joints[3], STEEL)
    ]


def _portable_radio(rng: Rng) -> Thing:
    """With a handle and an antenna; with two loudspeakers and a deck for tapes, a boombox."""
    boom = maybe(rng, 0.4)
    width = rng.uniform(0.42, 0.7) if boom else rng.uniform(0.16, 0.34)
    tall = width * (rng.uniform(0.35, 0.5) if boom else rng.uniform(0.5, 0.75))
    deep = width * rng.uniform(0.2, 0.32)
    case, trim, dark = (
        pick(rng, (plastic(rng), BLACK, STEEL, plastic(rng))),
        pick(rng, (STEEL, BRASS, WHITE, BLACK)),
        pick(rng, (BLACK, STEEL, plastic(rng))),
    )
    body = (
        cushion((width, tall, deep), (0, 0, 0), deep * pick(rng, (0.1, 0.2, 0.48)), case)
        if maybe(rng, 0.6)
        else _plate(_rounded(width, tall, tall * rng.uniform(0.05, 0.4)), deep, case, deep * 0.12).moved((0, 0, -deep / 2))
    )
    solids, front = [body], deep / 2
    knobs = int(rng.integers(1, 5))
    parts = [Parts(noun="knob", count=knobs)]
    size = tall * rng.uniform(0.05, 0.09)
    if boom:
        radius = min(tall * 0.34, width * 0.19)
        for x in (-1, 1):
            solids += _speaker(radius, (x * (width / 2 - radius * 1.25), tall * 0.42, front - 0.002), trim, dark)
        solids += [
            box((width * 0.3, tall * 0.34, 0.014), (0, tall * 0.14, front), dark),
            _grid(width * 0.28, 0.012, 6, 1, (0, tall * 0.08, front), 0.016, trim, 0.8),
        ]
        solids.append(box((width * 0.8, tall * 0.12, 0.006), (0, tall * 0.82, front), WHITE))
        solids += [
            rod((s * width * 0.05, tall * 0.31, front), (s * width * 0.05, tall * 0.31, front + 0.012), width * 0.025, width * 0.025, trim)
            for s in (-1, 1)
        ]
        solids += [_knob(size, 0.02, (width * (i - (knobs - 1) / 2) * 0.09, tall * 0.66, front - 0.002), trim) for i in range(knobs)]
        parts.append(Parts(noun="speaker", count=2))
    else:
        side = pick(rng, (-1, 1))
        solids += _grille(rng, width * 0.46, tall * 0.72, (side * width * 0.2, tall * 0.45, front - 0.001), dark)
        if maybe(rng, 0.5):  # a round dial
            solids += [
                _front(
                    [(0, 0), (width * 0.15, 0), (width * 0.14, 0.012), (0, 0.012)], (-side * width * 0.26, tall * 0.6, front - 0.002), WHITE
                )
            ]
            solids += [_knob(width * 0.06, 0.024, (-side * width * 0.26, tall * 0.6, front), trim)]
        else:
            solids.append(box((width * 0.36, tall * 0.16, 0.006), (-side * width * 0.25, tall * 0.62, front), WHITE))
            solids.append(
                box((0.003, tall * 0.15, 0.008), (-side * width * rng.uniform(0.15, 0.35), tall * 0.625, front), plastic(rng, "red"))
            )
        solids += [
            _knob(size, 0.018, (-side * width * 0.26 + (i - (knobs - 1) / 2) * size * 2.3, tall * 0.24, front - 0.002), trim)
            for i in range(knobs)
        ]
    if maybe(rng, 0.75):
        parts.append(Parts(noun="handle", count=1))
        reach, y = width * rng.uniform(0.3, 0.46), tall * 0.88
        if maybe(rng, 0.5):
            solids += [box((0.012, tall * 0.35 + 0.01, 0.02), (s * (width / 2 + 0.005), tall * 0.88, 0), trim) for s in (-1, 1)]
            solids.append(cushion((width + 0.022, 0.018, 0.024), (0, tall * 1.22, 0), 0.008, trim))
        else:
            solids.append(_arch((-reach, y, 0), (reach, y, 0), tall * rng.uniform(0.3, 0.55), 0.007, trim))
    if maybe(rng, 0.75):
        parts.append(Parts(noun="antenna", count=1, material=STEEL))
        solids += _mast(
            (pick(rng, (-1, 1)) * width * 0.42, tall - deep * 0.1, -deep * 0.3), width * rng.uniform(0.5, 1.1), rng.uniform(-35, 35)
        )
    solids += [disc(0.012, 0.012, (x, -0.008, z), BLACK, sides=12) for x, z in four(width * 0.8, deep * 0.5)]
    return Thing(solids=tuple(s.moved((0, 0.008, 0)) for s in solids), main=case, style=("wide",) if boom else (), parts=tuple(parts))


def _parlour_radio(rng: Rng) -> Thing:
    """Of wood or bakelite: with an arched or round-cornered front, cloth or slats, dial and knobs."""
    timber, trim, cloth = (
        pick(rng, (wood(rng, "brown"), wood(rng), plastic(rng))),
        pick(rng, (BRASS, BLACK, WHITE)),
        fabric(rng, pick(rng, ("beige", "brown", "grey"))),
    )
    arched = maybe(rng, 0.45)
    width = rng.uniform(0.26, 0.42) if arched else rng.uniform(0.34, 0.6)
    tall, deep = width * (rng.uniform(1.1, 1.5) if arched else rng.uniform(0.5, 0.7)), width * rng.uniform(0.45, 0.65)
    if arched:
        up = tall * rng.uniform(0.4, 0.6)
        sharp, turn = rng.uniform(0.8, 1.0), np.linspace(0, math.pi, 21)
        arc = [(width / 2 * math.cos(a), up + (tall - up) * math.sin(a) ** sharp) for a in turn]
        line = np.array([(-width / 2, 0.0), (width / 2, 0.0), *arc])
        view = line * 0.8 + np.array([0, tall * 0.1])
    else:
        bend = tall * pick(rng, (0.04, 0.2, 0.42))
        line = _rounded(width, tall, bend)
        view = _rounded(width - 0.14 * tall, tall * 0.86, max(0.01, bend - 0.07 * tall)) + np.array([0.0, tall * 0.07])
    solids = [_plate(line, deep, timber, 0.012).moved((0, 0, -deep / 2))]
    front, knobs = deep / 2, int(rng.integers(2, 5))
    parts = [Parts(noun="knob", count=knobs, material=trim)]
    if arched:
        solids.append(_plate(view[view[:, 1] > tall * 0.05], 0.006, cloth).moved((0, 0, front - 0.002)))
        bars = int(rng.integers(2, 5))
        for i in range(bars):
            x = (i - (bars - 1) / 2) * width * 0.2
            solids.append(box((width * 0.05, tall * 0.42, 0.014), (x, tall * 0.42, front), timber))
        solids.append(box((width * 0.8, tall * 0.045, 0.016), (0, tall * 0.4, front), timber))
        if maybe(rng, 0.5):
            solids += [
                _front([(0, 0), (width * 0.14, 0), (width * 0.13, 0.012), (0, 0.012)], (0, tall * 0.27, front), trim),
                _front([(0, 0), (width * 0.11, 0), (0, 0.014)], (0, tall * 0.27, front), WHITE),
            ]
        else:
            solids.append(box((width * 0.4, tall * 0.09, 0.012), (0, tall * 0.24, front), WHITE))
        solids += [_knob(width * 0.05, 0.03, ((i - (knobs - 1) / 2) * width * 0.2, tall * 0.12, front), trim) for i in range(knobs)]
        parts.append(Parts(noun="bar", count=bars))
    else:
        solids.append(_plate(view, 0.005, pick(rng, (cloth, trim))).moved((0, 0, front - 0.002)))
        dial = pick(rng, (WHITE, BLACK, plastic(rng, "yellow")))
        if maybe(rng, 0.5):  # loudspeaker above, a long dial below
            solids += _grille(rng, width * 0.78, tall * 0.4, (0, tall * 0.68, front + 0.002), timber)
            solids.append(box((width * 0.55, tall * 0.16, 0.012), (0, tall * 0.2, front), dial))
            places = [(s * width * 0.36, tall * (0.28 - 0.15 * (i // 2))) for i, s in enumerate((-1, 1, -1, 1))][:knobs]
        else:
            side = pick(rng, (-1, 1))
            solids += _grille(rng, width * 0.46, tall * 0.7, (side * width * 0.2, tall * 0.5, front + 0.002), timber)
            solids += [
                _front([(0, 0), (tall * 0.2, 0), (tall * 0.19, 0.014), (0, 0.014)], (-side * width * 0.24, tall * 0.62, front), dial),
                _knob(tall * 0.06, 0.035, (-side * width * 0.24, tall * 0.62, front), trim),
            ]
            places = [(-side * width * 0.24 + (i - (knobs - 1) / 2) * width * 0.1, tall * 0.24) for i in range(knobs)]
        solids += [_knob(tall * 0.065, 0.03, (x, y, front), trim) for x, y in places]
    if maybe(rng, 0.5):
        solids.append(_lying(_rounded(width * 1.06, deep * 1.08, 0.01), 0.02, timber, 0.004).moved((0, -0.015, deep * 0.54)))
        solids = [s.moved((0, 0.015, 0)) for s in solids]
    else:
        solids = [s.moved((0, 0.015, 0)) for s in solids] + [_ball(0.02, (x, 0.02, z), trim) for x, z in four(width * 0.8, deep * 0.7)]
        parts.append(Parts(noun="ball", count=4, material=trim))
    return Thing(solids=tuple(solids), main=timber, style=("curved", "tall") if arched else ("wide",), parts=tuple(parts))


def _hand_radio(rng: Rng) -> Thing:
    """To talk through or for a pocket: upright, with an antenna."""
    width = rng.uniform(0.055, 0.085)
    tall, deep = width * rng.uniform(1.6, 2.4), width * rng.uniform(0.45, 0.65)
    case, dark = pick(rng, (BLACK, plastic(rng), plastic(rng, "yellow"))), pick(rng, (BLACK, STEEL, plastic(rng)))
    hips = pick(rng, (0.0, 0.12)) * width
    line = [
        (-width / 2, 0),
        (width / 2, 0),
        (width / 2, tall * 0.4),
        (width / 2 - hips, tall * 0.5),
        (width / 2 - hips, tall * 0.62),
        (width / 2, tall * 0.72),
        (width / 2, tall),
    ]
    line += [
        (-width / 2, tall),
        (-width / 2, tall * 0.72),
        (hips - width / 2, tall * 0.62),
        (hips - width / 2, tall * 0.5),
        (-width / 2, tall * 0.4),
    ]
    front, side = deep / 2, pick(rng, (-1, 1))
    solids = [_plate(np.array(line), deep, case, 0.004).moved((0, 0, -deep / 2))]
    solids += _grille(rng, width * 0.7, tall * 0.26, (0, tall * 0.22, front - 0.001), dark)
    buttons, knobs = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    solids += [box((width * 0.7, tall * 0.15, 0.004), (0, tall * 0.76, front), plastic(rng, pick(rng, ("green", "grey", "black"))))]
    solids.append(_grid(width * 0.7, tall * 0.1, buttons, 1, (0, tall * 0.58, front - 0.001), 0.005, dark, 0.75))
    solids.append(box((0.006, tall * 0.2, deep * 0.4), (-width / 2 + hips * 0.6, tall * 0.55, 0), dark))
    solids.append(rod((side * width * 0.3, tall - 0.004, 0), (side * width * 0.3, tall * rng.uniform(1.6, 2.2), 0), 0.008, 0.005, BLACK))
    solids += [disc(0.008, 0.016, (-side * width * (0.3 - 0.32 * i), tall - 0.003, 0), dark, sides=16) for i in range(knobs)]
    if maybe(rng, 0.5):
        solids.append(box((width * 0.4, tall * 0.5, 0.005), (0, tall * 0.35, -front - 0.006), dark))
        solids.append(box((width * 0.4, tall * 0.06, 0.012), (0, tall * 0.8, -front - 0.003), dark))
    return Thing(
        solids=tuple(solids),
        main=case,
        style=("tall",),
        parts=(Parts(noun="antenna", count=1), Parts(noun="button", count=buttons), Parts(noun="knob", count=knobs)),
    )


def _receiver(rng: Rng) -> Thing:
    """A flat wide box with dials: a part of a hi-fi, of a car or of a station; or a clock radio."""
    width = rng.uniform(0.2, 0.46)
    tall, deep = width * rng.uniform(0.28, 0.42), width * rng.uniform(0.5, 0.8)
    case, face, trim = (
        pick(rng, (wood(rng), BLACK, metal(rng), plastic(rng))),
        pick(rng, (STEEL, BLACK, plastic(rng))),
        pick(rng, (STEEL, BLACK, WHITE)),
    )
    slant = rng.uniform(0, 0.3) * tall
    side = [(deep / 2, 0.0), (deep / 2 - slant, tall), (-deep / 2, tall), (-deep / 2, 0.0)]
    solids = [_profile(side, width, case, 0.006)]
    knobs, speaker = int(rng.integers(2, 7)), maybe(rng, 0.4)
    items = [_plate(_rounded(width * 0.95, tall * 0.84, 0.004), 0.005, face).moved((0, tall * 0.08, 0))]
    big = min(tall * 0.26, width * 0.09)
    items += [_knob(big, 0.025, (width * 0.36, tall * 0.5, 0.004), trim)]
    items += [_knob(big * 0.4, 0.02, (-width * 0.38 + i * big * 1.15, tall * 0.24, 0.004), trim) for i in range(knobs - 1)]
    items.append(
        box(
            (width * 0.4, tall * 0.26, 0.006),
            (-width * 0.02, tall * 0.54, 0.005),
            plastic(rng, pick(rng, ("black", "yellow", "green", "white"))),
        )
    )
    items += [_front([(0, 0), (big * 0.6, 0), (big * 0.55, 0.008), (0, 0.008)], (-width * 0.36, tall * 0.64, 0.004), WHITE)]
    if speaker:
        solids.append(_grid(width * 0.7, deep * 0.5, 12, 6, (0, 0, 0), 0.004, BLACK, 0.5).turned("x", -90).moved((0, tall, -deep * 0.1)))
    lean = math.degrees(math.atan2(slant, tall))
    solids += [s.turned("x", -lean).moved((0, 0, deep / 2 - 0.001)) for s in items]
    parts = [Parts(noun="knob", count=knobs, material=trim)]
    if maybe(rng, 0.5):
        parts.append(Parts(noun="antenna", count=1, material=STEEL))
        solids += _mast((-width * 0.4, tall * 0.9, -deep * 0.44), width * 0.8, rng.uniform(-20, 20))
    if maybe(rng, 0.3):
        parts.append(Parts(noun="handle", count=2))
        solids += [
            _arch((0, 0, 0), (tall * 0.7, 0, 0), 0.03, 0.005, trim)
            .turned("z", 90)
            .turned("y", -90)
            .moved((s * width * 0.49, tall * 0.15, deep / 2 - slant * 0.5))
            for s in (-1, 1)
        ]
    solids = [s.moved((0, 0.01, 0)) for s in solids] + [
        disc(0.014, 0.014, (x, 0, z), BLACK, sides=12) for x, z in four(width * 0.85, deep * 0.8)
    ]
    return Thing(solids=tuple(solids), main=case, style=("low", "wide"), parts=tuple(parts))


def radio(rng: Rng) -> Thing:
    return pick(rng, (_portable_radio, _portable_radio, _portable_radio, _parlour_radio, _parlour_radio, _hand_radio, _receiver))(rng)


def microwave(rng: Rng) -> Thing:
    width = rng.uniform(0.42, 0.62)
    tall, deep = width * rng.uniform(0.52, 0.64), width * rng.uniform(0.62, 0.82)
    case = pick(rng, (STEEL, WHITE, BLACK, metal(rng, pick(rng, ("red", "blue", "green", "beige"))), metal(rng)))
    face, trim, pane = (
        pick(rng, (case, BLACK, WHITE, STEEL)),
        pick(rng, (STEEL, BLACK, WHITE)),
        pick(rng, (BLACK, glass(rng, "brown"), plastic(rng, "grey"))),
    )
    opened = rng.uniform(40, 120) if maybe(rng, 0.25) else 0.0
    layout = rng.integers(4)  # where one sets it: keys beside, knobs beside, a strip below, a strip above
    strip = tall * rng.uniform(0.15, 0.2) if layout >= 2 else 0.0
    panel = width * rng.uniform(0.2, 0.3) if layout < 2 else 0.0
    door, high, low = width - panel, tall - strip, strip if layout == 2 else 0.0
    front, lid, corner = deep / 2, rng.uniform(0.02, 0.04), pick(rng, (0.004, 0.015, 0.05))
    left, x = -width / 2, (width - panel) / 2
    solids: list[Solid] = []
    if opened:  # then it is hollow: four walls and a back around the chamber
        wall = 0.02
        solids += [
            box((wall, tall, deep), (left + wall / 2, 0, 0), case),
            box((panel + wall, tall, deep), (width / 2 - (panel + wall) / 2, 0, 0), case),
        ]
        solids += [
            box((door, wall + low, deep), (left + door / 2, 0, 0), case),
            box((door, wall + strip - low, deep), (left + door / 2, high + low - wall, 0), case),
        ]
        solids += [box((door, tall, wall), (left + door / 2, 0, -deep / 2 + wall / 2), case)]
        inside = (left + door / 2, low + wall, 0.0)
        solids += [
            disc(min(door, deep) * 0.38, 0.012, (inside[0], inside[1] + 0.012, 0), glass(rng, "white")),
            disc(0.05, 0.013, inside, trim),
        ]
    else:
        solids.append(_plate(_rounded(width, tall, corner), deep, case, min(corner, 0.012)).moved((0, 0, -deep / 2)))
    rim = rng.uniform(0.03, 0.06)
    leaf = [_plate(_rounded(door - 0.004, high - 0.004, corner * 0.9), lid, face, 0.004).moved((door / 2, 0.002, 0))]
    leaf.append(
        _plate(_rounded(door - 2 * rim, high - 2 * rim, pick(rng, (0.004, 0.03, 0.06))), 0.004, pane).moved((door / 2, rim, lid - 0.001))
    )
    if maybe(rng, 0.4):
        leaf.append(
            _plate(_rounded(door - 3 * rim, high - 3 * rim, 0.02), 0.003, plastic(rng, "grey")).moved((door / 2, 1.5 * rim, lid + 0.002))
        )
    parts = [Parts(noun="door", count=1, material=pane)] if opened else []
    grip = rng.integers(4)
    if grip == 0:
        bar = [
            rod((0, high * 0.12, 0), (0, high * 0.88, 0), 0.009, 0.009, trim),
            *(rod((0, y * high, -0.035), (0, y * high, 0.002), 0.007, 0.007, trim) for y in (0.18, 0.82)),
        ]
        leaf += [s.moved((door - rim * 0.5, 0, lid + 0.035)) for s in bar]
    elif grip == 1:
        leaf.append(
            _arch((0, 0, 0), (high * 0.76, 0, 0), 0.045, 0.009, trim)
            .turned("z", 90)
            .turned("y", -90)
            .moved((door - rim * 0.5, high * 0.12, lid - 0.003))
        )
    elif grip == 2:
        leaf.append(cushion((0.025, high * 0.7, 0.03), (door - rim * 0.5, high * 0.15, lid + 0.008), 0.01, trim))
    if grip < 3:
        parts.append(Parts(noun="handle", count=1, material=trim))
    solids += [s.turned("y", -opened).moved((left, low, front)) for s in leaf]
    bottom = (low + high) if layout == 3 else 0.0
    if layout < 2:
        solids.append(_plate(_rounded(panel - 0.004, tall - 0.004, corner * 0.5), lid, face, 0.004).moved((x, 0.002, front)))
        at = front + lid
        if layout == 0:
            solids.append(
                _grid(
                    panel * 0.7,
                    tall * 0.46,
                    3,
                    int(rng.integers(3, 6)),
                    (x, tall * 0.48, at - 0.001),
                    0.004,
                    pick(rng, (trim, WHITE, plastic(rng))),
                    0.75,
                )
            )
        else:
            knobs = int(rng.integers(1, 4))
            radius = min(panel * 0.28, tall * 0.32 / knobs)
            parts.append(Parts(noun="knob", count=knobs, material=trim))
            for i in range(knobs):
                y = tall * 0.62 - i * radius * 2.5
                solids += [
                    _front([(0, 0), (radius, 0), (radius, 0.005), (0, 0.005)], (x, y, at - 0.001), trim),
                    _knob(radius * 0.75, 0.025, (x, y, at), trim),
                    box((0.006, radius * 1.2, 0.03), (x, y - radius * 0.6, at + 0.012), BLACK),
                ]
        solids.append(box((panel * 0.72, tall * 0.1, 0.006), (x, tall * 0.8, at), plastic(rng, pick(rng, ("green", "black", "blue")))))
        if grip == 3:
            parts.append(Parts(noun="button", count=1, material=trim))
            solids.append(cushion((panel * 0.75, tall * 0.12, 0.012), (x, tall * 0.05, at), 0.004, trim))
    else:
        solids.append(_plate(_rounded(width - 0.004, strip - 0.004, 0.003), lid, face, 0.003).moved((0, bottom + 0.002, front)))
        middle, at = bottom + strip / 2, front + lid - 0.001
        count = int(rng.integers(2, 5))
        parts.append(Parts(noun="knob", count=count, material=trim))
        solids += [_knob(strip * 0.32, 0.022, (width * (0.42 - 0.12 * i), middle, at), trim) for i in range(count)]
        solids.append(box((width * 0.25, strip * 0.5, 0.006), (-width * 0.3, middle - strip * 0.25, at), BLACK))
    vents = _grid(deep * 0.5, tall * 0.2, 10, 1, (0, 0, 0), 0.003, BLACK, 0.45)
    solids += [vents.turned("y", s * 90).moved((s * width / 2 - s * 0.001, tall * 0.7, -deep * 0.1)) for s in (-1, 1)]
    solids += [
        _grid(width * 0.5, tall * 0.3, 1, 7, (0, 0, 0), 0.003, BLACK, 0.4).turned("y", 180).moved((0, tall * 0.6, -deep / 2 + 0.001))
    ]
    foot = rng.uniform(0.01, 0.025)
    solids = [s.moved((0, foot, 0)) for s in solids] + [
        disc(0.018, foot + 0.004, (px, 0, z), BLACK, sides=16) for px, z in four(width * 0.85, deep * 0.8)
    ]
    style = (
        (("open",) if opened else ("closed",))
        + (("wide",) if tall < 0.56 * width else ())
        + (("round",) if corner > 0.03 and not opened else ())
    )
    return Thing(solids=tuple(solids), main=case, style=style, parts=tuple(parts))


# --------------------------------------------------------------------------------------------------------------- clocks


def _dial(rng: Rng, radius: float, paper: Material, ink: Material) -> tuple[list[Solid], Parts]:
    """A face centred on the origin with its back on Z = 0, marks and hands on it, and the words for the hands."""
    thin = radius * 0.03
    solids = [_front([(0, 0), (radius, 0), (radius, thin), (0, thin)], (0, 0, 0), paper, sides=48)]
    every, long, wide = pick(rng, ((1, 0.14, 0.05), (1, 0.2, 0.06), (3, 0.2, 0.08), (1, 0.06, 0.06)))
    for i in range(0, 12, every):
        grow = 1.5 if i % 3 == 0 else 1.0
        mark = box((radius * wide * grow, radius * long, thin), (0, radius * (0.92 - long), thin * 1.3), ink)
        solids.append(mark.turned("z", -30 * i))
    hour = rng.uniform(0, 12)
    hands = [(hour * 30, 0.5, 0.09), ((hour % 1) * 360, 0.78, 0.06)]
    if maybe(rng, 0.35):
        hands.append((rng.uniform(0, 360), 0.85, 0.025))
    for k, (angle, length, thick) in enumerate(hands):
        line = [(-thick / 2, -0.12), (thick / 2, -0.12), (thick * 0.7, length * 0.7), (0, length), (-thick * 0.7, length * 0.7)]
        hand = _plate(np.array(line) * radius, thin, ink if k < 2 else plastic(rng, "red"))
        solids.append(hand.turned("z", -angle).moved((0, 0, thin * (2.2 + k))))
    solids.append(_front([(0, 0), (radius * 0.06, 0), (radius * 0.05, thin * 6), (0, thin * 6)], (0, 0, 0), ink, sides=16))
    return solids, Parts(noun="hand", count=len(hands))


def _face(rng: Rng) -> tuple[Material, Material]:
    return pick(
        rng, ((WHITE, BLACK), (WHITE, BLACK), (plastic(rng, "beige"), BLACK), (BLACK, WHITE), (BRASS, BLACK), (plastic(rng), WHITE))
    )


def _wall_clock(rng: Rng) -> Thing:
    """A dial in a frame: round, cornered, in rays, or above a case with a pendulum."""
    radius, trim = rng.uniform(0.12, 0.22), pick(rng, (wood(rng), metal(rng), plastic(rng), BRASS))
    dial, hands = _dial(rng, radius, *_face(rng))
    deep = radius * rng.uniform(0.15, 0.35)
    parts = [hands]
    style: tuple[str, ...] = ("round",)
    match rng.integers(5):
        case 0 | 1:
            out = radius * rng.uniform(1.06, 1.3)
            ring = [
                (0, 0),
                (out * 0.97, 0),
                (out, deep * 0.4),
                (out * 0.98, deep),
                (radius * 1.01, deep * rng.uniform(0.7, 1.2)),
                (radius * 0.98, deep * 0.55),
                (0, deep * 0.55),
            ]
            body = [_front(ring, (0, 0, 0), trim, sides=56)]
        case 2:
            sides = pick(rng, (4, 6, 8, 8))
            out = radius * 1.12 / math.cos(math.pi / sides)
            line = _ngon(sides, out, math.pi / sides)
            body = [_skin([_at(line, 0), _at(line, deep * 0.8), _at(line, deep, 0.95), _at(line, deep * 0.5, 0.9)], trim)]
            style = ("square",) if sides == 4 else ()
        case 3:  # rays
            count, far = int(rng.integers(8, 17)), radius * rng.uniform(1.8, 2.4)
            body = [
                _front(
                    [(0, 0), (radius * 1.12, 0), (radius * 1.12, deep * 0.8), (radius, deep), (0, deep * 0.55)], (0, 0, 0), trim, sides=48
                )
            ]
            for i in range(count):
                reach = far * (1 if i % 2 else 0.8)
                ray = [rod((0, radius, deep * 0.4), (0, reach, deep * 0.4), radius * 0.05, radius * 0.02, trim, sides=8)]
                ray += [_ball(radius * 0.09, (0, reach, deep * 0.4), trim)] if count < 12 else []
                body += [s.turned("z", i * 360 / count) for s in ray]
            style = ("open",)
        case _:  # a case with a pendulum below
            line, drop = _ngon(8, radius * 1.3, math.pi / 8), radius * rng.uniform(1.9, 2.8)
            body = [_skin([_at(line, 0), _at(line, deep * 0.8), _at(line, deep, 0.95), _at(line, deep * 0.5, 0.85)], trim)]
            wide = radius * 0.75
            chest = [
                (-wide, -radius * 1.1),
                (-wide, -drop),
                (-wide * 0.5, -drop - wide * 0.5),
                (wide * 0.5, -drop - wide * 0.5),
                (wide, -drop),
                (wide, -radius * 1.1),
            ]
            view = [(x * 0.75, min(y, -radius * 1.25) * 0.95) for x, y in chest]
            body += [_plate(chest, deep * 0.7, trim, 0.006), _plate(view, 0.004, plastic(rng, "beige")).moved((0, 0, deep * 0.7 - 0.001))]
            body += [
                rod((0, -radius * 1.15, deep * 0.8), (0, -drop + wide * 0.1, deep * 0.8), 0.005, 0.005, BRASS, sides=8),
                _front([(0, 0), (wide * 0.4, 0), (wide * 0.35, 0.008), (0, 0.012)], (0, -drop + wide * 0.1, deep * 0.75), BRASS),
            ]
            parts.append(Parts(noun="pendulum", count=1, material=BRASS))
            style = ("tall",)
    if len(parts) == 1 and maybe(rng, 0.2):  # on feet
        body += [
            rod((s * radius * 0.5, -radius * 0.9, deep * 0.5), (s * radius * 0.8, -radius * 1.35, deep), radius * 0.06, radius * 0.05, trim)
            for s in (-1, 1)
        ]
        body.append(rod((0, -radius * 0.9, 0), (0, -radius * 1.33, -deep), radius * 0.06, radius * 0.05, trim))
        parts.append(Parts(noun="leg", count=3))
    solids = [*body, *(s.moved((0, 0, deep * 0.56)) for s in dial)]
    low = min(float(s.vertices[:, 1].min()) for s in solids)
    return Thing(solids=tuple(s.moved((0, -low, 0)) for s in solids), main=trim, style=style, parts=tuple(parts))


def _alarm_clock(rng: Rng) -> Thing:
    radius, paint = (
        rng.uniform(0.05, 0.08),
        pick(rng, (metal(rng, pick(rng, ("red", "blue", "green", "black", "white", "grey", "pink", "yellow"))), BRASS, STEEL)),
    )
    deep, trim = radius * rng.uniform(0.7, 1.1), pick(rng, (STEEL, BRASS, BLACK))
    dial, hands = _dial(rng, radius * 0.92, *_face(rng))
    parts, y = [hands], radius * 1.25
    if maybe(rng, 0.6):  # a drum with bells above
        ring = [
            (0, 0),
            (radius * 0.9, 0),
            (radius, deep * 0.15),
            (radius, deep * 0.9),
            (radius * 1.05, deep),
            (radius * 0.93, deep),
            (radius * 0.92, deep * 0.9),
            (0, deep * 0.9),
        ]
        body = [_front(ring, (0, y, -deep / 2), paint, sides=40)]
        bells = pick(rng, (1, 2, 2, 2))
        for s in (-1, 1) if bells == 2 else (0,):
            bell = turned(
                [(0, 0), (radius * 0.42, 0), (radius * 0.38, radius * 0.16), (radius * 0.2, radius * 0.3), (0, radius * 0.35)],
                (0, 0, 0),
                trim,
            )
            stem = rod((0, -radius * 0.3, 0), (0, 0.001, 0), radius * 0.06, radius * 0.06, trim)
            body += [part.moved((0, radius * 1.22, 0)).turned("z", -38 * s).moved((0, y, 0)) for part in (bell, stem)]
        if bells == 2 and maybe(rng, 0.7):
            body.append(
                _arch((-radius * 0.55, y + radius * 0.85, 0), (radius * 0.55, y + radius * 0.85, 0), radius * 1.05, radius * 0.06, trim)
            )
            parts.append(Parts(noun="handle", count=1, material=trim))
            body.append(rod((0, y + radius * 0.9, 0), (0, y + radius * 1.4, 0), radius * 0.04, radius * 0.12, trim))
        body += [
            rod((s * radius * 0.55, y - radius * 0.75, 0), (s * radius * 0.85, 0.004, 0), radius * 0.08, radius * 0.08, trim)
            for s in (-1, 1)
        ]
        body += [_knob(radius * 0.12, 0.01, (s * radius * 0.4, y, -deep / 2 - 0.009), trim) for s in (-1, 1)]
        parts.append(Parts(noun="bell", count=bells, material=trim))
        return Thing(solids=(*body, *(s.moved((0, y, deep * 0.41)) for s in dial)), main=paint, style=("round",), parts=tuple(parts))
    if maybe(rng, 0.5):  # digits
        width, tall, far = rng.uniform(0.14, 0.26), rng.uniform(0.06, 0.1), rng.uniform(0.05, 0.12)
        case, glow = pick(rng, (BLACK, plastic(rng), wood(rng))), plastic(rng, pick(rng, ("red", "green", "blue", "white", "orange")))
        body = (
            [_profile([(far / 2, 0), (far * 0.4, tall), (-far * 0.4, tall), (-far / 2, 0)], width, case, 0.006)]
            if maybe(rng, 0.6)
            else [cushion((width, tall, far), (0, 0, 0), min(tall, far) * 0.3, case)]
        )
        front = [box((width * 0.88, tall * 0.66, 0.004), (0, tall * 0.17, 0.0), BLACK)]
        on = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
        where = {
            "a": (0, 1, 1),
            "b": (0.5, 0.75, 0),
            "c": (0.5, 0.25, 0),
            "d": (0, 0, 1),
            "e": (-0.5, 0.25, 0),
            "f": (-0.5, 0.75, 0),
            "g": (0, 0.5, 1),
        }
        w, h, t = width * 0.11, tall * 0.46, width * 0.02
        for x in (-0.32, -0.14, 0.14, 0.32):
            for segment in on[int(rng.integers(10))]:
                dx, dy, flat = where[segment]
                front.append(
                    box(
                        (w, t, 0.004) if flat else (t, h / 2, 0.004),
                        (x * width + dx * w, tall * 0.27 + dy * h - (t / 2 if flat else h / 4), 0.002),
                        glow,
                    )
                )
        front += [box((t, t, 0.004), (0, tall * y, 0.002), glow) for y in (0.38, 0.58)]
        lean = math.degrees(math.atan2(far * 0.1, tall)) if len(body[0].vertices) < 300 else 0.0
        body += [s.turned("x", -lean).moved((0, 0, far / 2 + 0.001)) for s in front]
        buttons = int(rng.integers(1, 6))
        body += [box((0.014, 0.008, 0.01), ((i - (buttons - 1) / 2) * 0.025, tall - 0.003, 0), glow) for i in range(buttons)]
        return Thing(
            solids=tuple(body),
            main=case,
            style=("wide",),
            parts=(Parts(noun="digit", count=4, material=glow), Parts(noun="button", count=buttons)),
        )
    size = radius * 2.3
    body = [cushion((size, size, deep * 1.2), (0, 0, 0), pick(rng, (0.004, size * 0.12)), paint)]
    style: tuple[str, ...] = ("square",)
    if maybe(rng, 0.5):
        body.append(cushion((size * 0.5, 0.014, deep * 0.5), (0, size - 0.004, 0), 0.004, trim))
        parts.append(Parts(noun="button", count=1, material=trim))
    return Thing(solids=(*body, *(s.moved((0, size / 2, deep * 0.6 - 0.001)) for s in dial)), main=paint, style=style, parts=tuple(parts))


def _mantel_clock(rng: Rng) -> Thing:
    """Stands on a shelf: arched, a bent hat, a little temple, or a house with a cuckoo's door."""
    radius, timber = rng.uniform(0.06, 0.1), pick(rng, (wood(rng, "brown"), wood(rng), stone(rng), BRASS))
    deep, trim = radius * rng.uniform(0.8, 1.2), pick(rng, (BRASS, BRASS, STEEL))
    dial, hands = _dial(rng, radius, *_face(rng))
    parts, y = [hands], radius * rng.uniform(1.5, 1.9)
    style: tuple[str, ...] = ("curved",)
    turn = np.linspace(0, math.pi, 21)
    match rng.integers(4):
        case 0:  # arch
            half = radius * 1.35
            body = [
                _plate([(-half, 0), (half, 0), *((half * math.cos(a), y + half * math.sin(a)) for a in turn)], deep, timber, 0.006).moved(
                    (0, 0, -deep / 2)
                )
            ]
        case 1:  # hat
            wide = radius * rng.uniform(2.6, 3.6)
            s = np.linspace(-1, 1, 41)
            hump = [
                (
                    float(-x * wide),
                    float(radius * 0.45 + (y + radius * 0.85) * math.exp(-((x * wide / (radius * 1.45)) ** 4))),
                )
                for x in s
            ]
            body = [_plate([(-wide, 0), (wide, 0), *hump], deep, timber, 0.006).moved((0, 0, -deep / 2))]
            style = ("curved", "wide")
        case 2:  # temple
            half, columns = radius * 1.6, pick(rng, (2, 4))
            body = [
                box((half * 1.7, y * 1.55, deep * 0.8), (0, 0, 0), timber),
                box((half * 2.2, radius * 0.25, deep * 1.5), (0, y * 1.5, 0), timber),
            ]
            y = y * 0.85
            body += [
                _plate([(-half * 1.1, 0), (half * 1.1, 0), (0, radius * 0.7)], deep * 1.3, timber, 0.003).moved(
                    (0, body[0].vertices[:, 1].max() + radius * 0.1, -deep * 0.65)
                )
            ]
            body += [
                turned(
                    [
                        (0, 0),
                        (radius * 0.2, 0),
                        (radius * 0.13, 0.02),
                        (radius * 0.11, float(body[0].vertices[:, 1].max()) - 0.02),
                        (radius * 0.2, float(body[0].vertices[:, 1].max())),
                        (0, float(body[0].vertices[:, 1].max())),
                    ],
                    (sx * half * 0.93, 0, sz * deep * 0.5),
                    trim,
                    sides=16,
                )
                for sx in (-1, 1)
                for sz in ((0.8,) if columns == 2 else (-0.8, 1))
            ]
            parts.append(Parts(noun="column", count=columns, material=trim))
            style = ()
        case _:  # a house under a roof, weights on chains below
            half, eave = radius * 1.4, radius * 2.4
            body = [
                _plate([(-half, 0), (half, 0), (half, eave), (0, eave + half), (-half, eave)], deep, timber, 0.003).moved((0, 0, -deep / 2))
            ]
            for s1 in (-1, 1):
                body.append(
                    box((half * 1.9, radius * 0.18, deep * 1.5), (0, 0, 0), timber)
                    .turned("z", -s1 * 45)
                    .moved((s1 * half * 0.62, eave + half * 0.45, 0))
                )
            body += [
                box((radius * 0.6, radius * 0.75, 0.01), (0, eave - radius * 0.1, deep / 2), trim),
                box((half * 2.3, radius * 0.2, deep * 1.3), (0, -radius * 0.05, 0), timber),
            ]
            weights, drop = int(rng.integers(2, 4)), radius * rng.uniform(2, 4)
            for i in range(weights):
                x, z = (i - (weights - 1) / 2) * half * 0.8, 0.0
                low = -drop * (1 - 0.25 * (i % 2))
                body += [rod((x, 0, z), (x, low, z), 0.003, 0.003, trim, sides=6), _ball(radius * 0.2, (x, low, z), timber, 2.2)]
            parts.append(Parts(noun="weight", count=weights))
            y, style = radius * 1.2, ("tall",)
    if style != ("tall",):
        if maybe(rng, 0.6):
            span = float(body[0].vertices[:, 0].max()) * 2
            body.append(cushion((span * 1.12, radius * 0.3, deep * 1.5), (0, -radius * 0.25, 0), radius * 0.08, timber))
        else:
            span = float(body[0].vertices[:, 0].max()) * 2
            body += [_ball(radius * 0.15, (px, -radius * 0.1, pz), trim) for px, pz in four(span * 0.85, deep * 0.7)]
            parts.append(Parts(noun="ball", count=4, material=trim))
        if maybe(rng, 0.3):
            top = max(float(b.vertices[:, 1].max()) for b in body)
            body.append(_arch((-radius * 0.5, top - 0.01, 0), (radius * 0.5, top - 0.01, 0), radius * 0.6, radius * 0.07, trim))
            parts.append(Parts(noun="handle", count=1, material=trim))
    ring = [(radius * 0.97, 0.0), (radius * 1.12, 0.0), (radius * 1.08, radius * 0.1), (radius * 0.98, radius * 0.08), (radius * 0.97, 0.0)]
    front = deep * (0.4 if any(p.noun == "column" for p in parts) else 0.5) - 0.001
    solids = [*body, *(s.moved((0, y, front)) for s in dial), _front(ring, (0, y, front), trim, sides=40)]
    low = min(float(s.vertices[:, 1].min()) for s in solids)
    return Thing(solids=tuple(s.moved((0, -low, 0)) for s in solids), main=timber, style=style, parts=tuple(parts))


def _tall_clock(rng: Rng) -> Thing:
    """A grandfather: base, waist with a pendulum behind its door, hood with the dial. Or a clock on a post."""
    radius = rng.uniform(0.13, 0.18)
    dial, hands = _dial(rng, radius, *_face(rng))
    if maybe(rng, 0.2):
        iron, tall = pick(rng, (BLACK, metal(rng, "green"), STEEL)), rng.uniform(1.6, 2.6)
        faces, big = pick(rng, (2, 4)), radius * 1.15
        post = [
            (0.0, 0.0),
            (0.2, 0.0),
            (0.19, 0.08),
            (0.1, 0.2),
            (0.06, 0.3),
            (0.05, tall * 0.9),
            (0.1, tall * 0.95),
            (0.06, tall),
            (0.0, tall),
        ]
        solids, mid = [turned(post, (0, 0, 0), iron)], tall + big * 0.95
        solids.append(
            _front([(0, 0), (big, 0), (big * 1.05, 0.02), (big * 1.05, 0.14), (big, 0.16), (0, 0.16)], (0, mid, -0.08), iron, sides=40)
            if faces == 2
            else cushion((big * 2.1, big * 2.1, big * 2.1), (0, mid - big * 1.05, 0), 0.02, iron)
        )
        out = 0.079 if faces == 2 else big * 1.05 - 0.001
        solids += [s.moved((0, 0, out)).turned("y", 360 / faces * i).moved((0, mid, 0)) for i in range(faces) for s in dial]
        solids += [_ball(0.03, (0, mid + big * 1.08, 0), iron, 1.8)]
        return Thing(
            solids=tuple(solids), main=iron, style=("tall", "slim"), parts=(Parts(noun="dial", count=faces), Parts(noun="post", count=1))
        )
    timber, trim = wood(rng, pick(rng, ("brown", "brown", "black", "white", "beige"))), BRASS
    wide, deep, height = radius * rng.uniform(2.5, 2.9), rng.uniform(0.24, 0.32), rng.uniform(1.7, 2.2)
    low, hood = height * rng.uniform(0.18, 0.26), wide * rng.uniform(1.05, 1.25)
    waist, top = wide * rng.uniform(0.62, 0.9), height - hood
    solids = [box((wide, low, deep), (0, 0.05, 0), timber), box((wide * 1.08, 0.07, deep * 1.08), (0, 0, 0), timber)]
    solids += [
        cushion((wide * 1.04, 0.05, deep * 1.04), (0, low + 0.03, 0), 0.02, timber),
        box((waist, top - low, deep * 0.8), (0, low, 0), timber),
    ]
    solids += [cushion((wide * 1.06, 0.06, deep * 1.06), (0, top - 0.03, 0), 0.025, timber), box((wide, hood, deep), (0, top, 0), timber)]
    solids.append(box((wide * 0.7, low * 0.6, 0.012), (0, 0.05 + low * 0.2, deep / 2), timber))
    glazed, front, tall = maybe(rng, 0.7), deep * 0.4, (top - low) * 0.78
    mid = low + 0.05 + (top - low - 0.1) / 2
    view = waist * 0.7
    parts = [hands]
    if glazed:
        solids.append(box((view, tall, 0.01), (0, mid - tall / 2, front), plastic(rng, pick(rng, ("beige", "black", "grey")))))
        solids += [rod((0, mid - tall * 0.25, front + 0.012), (0, mid + tall * 0.48, front + 0.012), 0.006, 0.006, trim, sides=8)]
        solids.append(_front([(0, 0), (view * 0.3, 0), (view * 0.26, 0.012), (0, 0.018)], (0, mid - tall * 0.28, front + 0.006), trim))
        parts.append(Parts(noun="pendulum", count=1, material=trim))
        if maybe(rng, 0.5):
            weights = int(rng.integers(2, 4))
            solids += [
                disc(view * 0.1, tall * 0.2, ((i - (weights - 1) / 2) * view * 0.33, mid + tall * 0.05, front + 0.012), trim, sides=16)
                for i in range(weights)
            ]
            parts.append(Parts(noun="weight", count=weights, material=trim))
        solids += [box((view + 0.03, 0.02, 0.02), (0, y - 0.01, front + 0.005), timber) for y in (mid - tall / 2, mid + tall / 2)]
        solids += [box((0.02, tall, 0.02), (s * (view / 2 + 0.005), mid - tall / 2, front + 0.005), timber) for s in (-1, 1)]
    else:
        solids += [
            box((view, tall, 0.015), (0, mid - tall / 2, front + 0.005), timber),
            _ball(0.015, (view * 0.42, mid, front + 0.02), trim),
        ]
        parts.append(Parts(noun="door", count=1))
    style: tuple[str, ...] = ("tall",)
    turn = np.linspace(0, math.pi, 17)
    match rng.integers(4):
        case 0:  # gable
            solids.append(
                _plate([(-wide * 0.56, 0), (wide * 0.56, 0), (0, wide * 0.35)], deep * 1.06, timber, 0.004).moved((0, height, -deep * 0.53))
            )
        case 1:  # arch
            solids.append(
                _plate([(wide * 0.5 * math.cos(a), wide * 0.3 * math.sin(a)) for a in turn], deep, timber, 0.004).moved(
                    (0, height - 0.01, -deep / 2)
                )
            )
            style = ("tall", "curved")
        case 2:  # two horns and a finial
            for s in (-1, 1):
                horn = [(0.5, 0.0), (0.5, 0.08), (0.35, 0.16), (0.22, 0.3), (0.1, 0.36), (0.06, 0.3), (0.1, 0.0)]
                solids += [_plate([(s * x * wide, y * wide) for x, y in horn], 0.04, timber).moved((0, height - 0.01, deep / 2 - 0.04))]
            solids.append(_ball(wide * 0.07, (0, height + wide * 0.1, deep / 2 - 0.02), trim, 1.8))
            solids.append(box((wide, wide * 0.06, deep), (0, height - 0.01, 0), timber))
        case _:
            solids.append(cushion((wide * 1.12, 0.06, deep * 1.1), (0, height - 0.01, 0), 0.02, timber))
    if maybe(rng, 0.4):
        solids += [
            turned(
                [(0, 0), (0.02, 0), (0.014, 0.05), (0.02, 0.1), (0.012, hood - 0.1), (0.02, hood), (0, hood)],
                (s * wide * 0.47, top, deep * 0.53),
                timber,
                sides=12,
            )
            for s in (-1, 1)
        ]
        parts.append(Parts(noun="column", count=2))
    solids += [s.moved((0, top + hood / 2, deep / 2 - 0.001)) for s in dial]
    return Thing(solids=tuple(solids), main=timber, style=style, parts=tuple(parts))


def clock(rng: Rng) -> Thing:
    return pick(
        rng, (_wall_clock, _wall_clock, _wall_clock, _alarm_clock, _alarm_clock, _mantel_clock, _mantel_clock, _tall_clock, _tall_clock)
    )(rng)


# --------------------------------------------------------------------------------------------------------------- pianos


def _claviature(octaves: int, wide: float, deep: float, at: Point) -> list[Solid]:
    """White and black keys whose hind edge is centred at `at`, on top of what bears them."""
    x, y, z = at
    count = octaves * 7 + 1
    unit = wide / count
    white = [((i + 0.5) * unit - wide / 2, deep / 2, unit * 0.92, deep) for i in range(count)]
    black = [((i + 1) * unit - wide / 2, deep * 0.32, unit * 0.5, deep * 0.64) for i in range(count - 1) if i % 7 not in (2, 6)]
    return [_blocks(white, 0.02, WHITE).moved(at), _blocks(black, 0.012, BLACK, 0.001).moved((x, y + 0.02, z))]


def _pedals(count: int, y: float, z: float, deep: float) -> list[Solid]:
    return [cushion((0.03, 0.015, deep), ((i - (count - 1) / 2) * 0.07, y, z + deep / 2), 0.006, BRASS) for i in range(count)]


def _piano_stool(rng: Rng, timber: Material, z: float) -> tuple[list[Solid], Parts]:
    """What one sits on to play, before the keys."""
    seat, tall = pick(rng, (timber, fabric(rng, "black"), fabric(rng, "red"))), rng.uniform(0.45, 0.5)
    if maybe(rng, 0.3):
        solids = [cushion((0.36, 0.07, 0.36), (0, tall, 0), 0.03, seat), disc(0.03, tall - 0.05, (0, 0.05, 0), timber)]
        solids += [rod((0, 0.14, 0), (0, 0.01, 0.2), 0.018, 0.014, timber).turned("y", a + 45) for a in range(0, 360, 90)]
    else:
        wide = rng.uniform(0.55, 0.85)
        stands, _ = legs(rng, wide, 0.34, tall, 0.045, timber)
        solids = [
            *stands,
            box((wide, 0.05, 0.34), (0, tall - 0.03, 0), timber),
            cushion((wide, 0.06, 0.34), (0, tall + 0.015, 0), 0.025, seat),
        ]
    return [s.moved((0, 0, z + 0.22)) for s in solids], Parts(noun="stool", count=1, material=seat)


def _upright_piano(rng: Rng) -> Thing:
    timber = pick(rng, (wood(rng, "black"), wood(rng, "brown"), wood(rng)))
    octaves = pick(rng, (7, 7, 7, 5))
    keys = octaves * 7 * 0.0238
    wide, tall, deep = keys + rng.uniform(0.2, 0.3), rng.uniform(0.95, 1.35), rng.uniform(0.3, 0.4)
    level, shelf = rng.uniform(0.62, 0.68), rng.uniform(0.22, 0.28)
    front = deep / 2
    solids = [box((wide - 0.06, tall - 0.04, deep - 0.02), (0, 0.03, 0), timber), box((wide, 0.08, deep), (0, 0, 0), timber)]
    solids += [box((0.05, tall - 0.02, deep), (s * (wide / 2 - 0.025), 0, 0), timber) for s in (-1, 1)]
    solids.append(cushion((wide + 0.04, 0.035, deep + 0.05), (0, tall - 0.03, 0.01), 0.012, timber))
    solids.append(_lying(_rounded(wide, shelf + 0.02, 0.02), 0.06, timber, 0.008).moved((0, level - 0.06, front + shelf)))
    cheek = [(0, 0), (shelf, 0), (shelf, 0.05), (shelf * 0.75, 0.1), (0, pick(rng, (0.12, 0.2)))]
    solids += [_profile(cheek, 0.05, timber, 0.004).moved((s * (wide / 2 - 0.025), level - 0.005, front - 0.005)) for s in (-1, 1)]
    span = wide - 0.14
    solids += _claviature(octaves, span, 0.145, (0, level - 0.003, front + shelf - 0.175))
    solids.append(box((wide - 0.1, 0.012, shelf - 0.17), (0, level + 0.02, front + (shelf - 0.17) / 2), timber))
    if maybe(rng, 0.7):  # the flap behind the keys, folded up
        solids.append(
            box((wide - 0.1, 0.15, 0.015), (0, 0, 0), timber).turned("x", -rng.uniform(5, 20)).moved((0, level + 0.025, front + 0.05))
        )
    parts: list[Parts] = []
    pedals = pick(rng, (2, 3))
    solids += _pedals(pedals, 0.05, front - 0.02, 0.1)
    parts.append(Parts(noun="pedal", count=pedals, material=BRASS))
    x, z = wide / 2 - 0.045, front + shelf - 0.06
    kind = rng.integers(4)
    if kind == 0:
        half = rng.uniform(0.025, 0.04)
        line = [
            (0.0, 0.0),
            (half, 0.0),
            (half, 0.05),
            (half * 0.6, 0.1),
            (half * 1.2, level * 0.5),
            (half * 0.6, level * 0.75),
            (half * 1.1, level * 0.85),
            (half, level - 0.05),
            (0.0, level - 0.05),
        ]
        solids += [turned(line, (s * x, 0, z), timber, sides=16) for s in (-1, 1)]
    elif kind == 1:
        solids += [box((0.06, level - 0.05, 0.07), (s * x, 0, z), timber) for s in (-1, 1)]
        solids += [cushion((0.09, 0.06, shelf + 0.1), (s * x, 0, front + shelf / 2), 0.015, timber) for s in (-1, 1)]
    elif kind == 2:  # a console bent like an S
        leg = _curve([(0, 0.3), (0.03, 0.3), (0.05, 0.5), (shelf, 0.56), (shelf, level - 0.03), (0, level - 0.03), (0, level - 0.03)])
        solids += [_profile(leg, 0.06, timber).moved((s * x, 0, front - 0.02)) for s in (-1, 1)]
    if kind < 2:
        parts.append(Parts(noun="leg", count=2))
    if maybe(rng, 0.7):
        panels = int(rng.integers(1, 4))
        each = (wide - 0.2) / panels
        for i in range(panels):
            px = (i - (panels - 1) / 2) * each
            solids.append(_plate(_rounded(each * 0.88, level * 0.55, 0.01), 0.014, timber, 0.004).moved((px, level * 0.2, front - 0.014)))
            solids.append(
                _plate(_rounded(each * 0.88, (tall - level) * 0.5, 0.01), 0.014, timber, 0.004).moved(
                    (px, level + (tall - level) * 0.35, front - 0.014)
                )
            )
    if maybe(rng, 0.5):
        rest = box((rng.uniform(0.5, 1.0), 0.2, 0.012), (0, 0, 0), timber).turned("x", -15).moved((0, level + 0.2, front + 0.055))
        paper = [
            box((0.2, 0.26, 0.006), (s * 0.102, 0, 0), WHITE).turned("x", -15).moved((0, level + 0.21, front + 0.065)) for s in (-1, 1)
        ]
        solids += [rest, box((0.9, 0.02, 0.07), (0, level + 0.19, front + 0.03), timber), *paper]
        parts.append(Parts(noun="sheet", count=2, material=WHITE))
    if maybe(rng, 0.35):
        stool, said = _piano_stool(rng, timber, front + shelf + 0.15)
        solids, parts = [*solids, *stool], [*parts, said]
    solids += [box((0.05, tall - 0.2, 0.03), (i * wide * 0.22, 0.1, -deep / 2 - 0.005), timber) for i in (-1.5, -0.5, 0.5, 1.5)]
    style = ("tall",) if tall > 1.2 else ("low",) if tall < 1.05 else ()
    return Thing(solids=tuple(solids), main=timber, style=style, parts=tuple(parts))


def _grand_piano(rng: Rng) -> Thing:
    timber = pick(rng, (wood(rng, "black"), wood(rng, "black"), wood(rng, "brown"), wood(rng, "white"), wood(rng)))
    wide, long = rng.uniform(1.42, 1.55), rng.uniform(1.4, 2.6)
    low, rim = rng.uniform(0.58, 0.64), rng.uniform(0.26, 0.34)
    h, keys = wide / 2, 0.36
    # From above, Y away from the player: the bass side is straight, the treble side swings in to a narrow tail.
    tail = [
        (h, 0.12),
        (h, 0.3),
        (h * 0.98, 0.42),
        (h * 0.55, 0.55),
        (h * 0.2, 0.7),
        (h * 0.12, 0.9),
        (-h * 0.1, 1.02),
        (-h * 0.5, 1.02),
        (-h * 0.92, 0.98),
    ]
    body = [(-h, 0.0), *[(float(px), float(py) * long) for px, py in _open_curve([(h, 0.0), *tail, (-h, 0.88)])]]
    line = np.array(body)
    cut = np.column_stack([line[:, 0], np.maximum(line[:, 1], keys)])
    case = [
        _lying(cut, rim, timber, 0.006).moved((0, low, 0)),
        _lying([(-h, 0), (h, 0), (h, keys + 0.05), (-h, keys + 0.05)], 0.08, timber).moved((0, low, 0)),
    ]
    arm = _profile([(0, 0), (0, 0.06), (-0.06, rim * 0.6), (-0.1, rim), (-keys - 0.02, rim), (-keys - 0.02, 0)], 0.06, timber, 0.005)
    case += [arm.moved((s * (h - 0.031), low, 0)) for s in (-1, 1)]
    case += _claviature(7, wide - 0.16, 0.15, (0, low + 0.08, -0.19))
    case += [
        box((wide - 0.12, 0.14, 0.02), (0, low + 0.08, -0.2), timber),
        box((wide - 0.06, rim - 0.1, 0.16), (0, low + 0.08, -keys + 0.06), timber),
    ]
    lid = 0.018
    parts: list[Parts] = []
    opened = rng.uniform(28, 42) if maybe(rng, 0.7) else 0.0
    if opened:  # strings under it, gold
        plate = np.column_stack([np.clip(cut[:, 0] * 0.9 - 0.02, -h, h), keys + 0.1 + (cut[:, 1] - keys) * 0.86])
        case.append(_lying(plate, 0.006, BRASS).moved((0, low + rim, 0)))
        case.append(
            _blocks(
                [
                    (
                        (i - 11) * wide * 0.034,
                        -(keys + 0.14 + (0.32 if i > 15 else 0.7 - 0.024 * i) * long * 0.36),
                        0.006,
                        0.6 * long * (0.3 if i > 15 else 0.55 - 0.016 * i),
                    )
                    for i in range(22)
                ],
                0.006,
                STEEL,
            ).moved((0, low + rim + 0.005, 0))
        )
    flap = np.column_stack([cut[:, 0] * 1.01, keys + (cut[:, 1] - keys) * 1.01])
    cover = [_lying(flap, lid, timber, 0.004).moved((h, 0, 0)).turned("z", opened).moved((-h, low + rim + 0.002, 0))]
    front_flap = _lying([(-h, 0.12), (h, 0.12), (h, keys), (-h, keys)], lid, timber, 0.003)
    if opened:
        cover.append(
            front_flap.moved((h, 0.0, keys * 2)).moved((0, lid, -keys * 2 - 0.26)).turned("z", opened).moved((-h, low + rim + 0.003, 0))
        )
        tip = 0.85 * wide
        a = math.radians(opened)
        cover.append(
            rod(
                (h - 0.06, low + rim - 0.01, -0.24 * long - 0.1),
                (-h + tip * math.cos(a), low + rim + tip * math.sin(a), -0.24 * long - 0.1),
                0.012,
                0.012,
                timber,
            )
        )
    else:
        cover.append(front_flap.moved((0, low + rim + 0.002, 0)))
    if maybe(rng, 0.6):
        case.append(box((0.75, 0.24, 0.015), (0, 0, 0), timber).turned("x", -20).moved((0, low + rim + 0.005, -keys + 0.08)))
        parts.append(Parts(noun="music rest", count=1))
    places, square = [(-h + 0.16, -0.22), (h - 0.16, -0.22), (-h * 0.45, -long * 0.84)], maybe(rng, 0.5)
    thick = rng.uniform(0.05, 0.075)
    if square:
        stands = [
            _skin(
                [
                    _at(_rounded(thick * 1.1, thick * 1.1, 0.008), 0.06) - np.array([0, thick * 0.55, 0]),
                    _at(_rounded(thick * 2.2, thick * 2.2, 0.008), low + 0.01) - np.array([0, thick * 1.1, 0]),
                ],
                timber,
            ).turned("x", -90)
        ]
    else:
        stands = [
            turned(
                [
                    (0, 0.05),
                    (thick * 0.5, 0.05),
                    (thick * 0.7, 0.12),
                    (thick * 0.45, 0.16),
                    (thick, low * 0.6),
                    (thick * 1.25, low * 0.72),
                    (thick * 0.7, low * 0.78),
                    (thick * 1.3, low * 0.86),
                    (thick * 1.3, low),
                    (0, low),
                ],
                (0, 0, 0),
                timber,
                sides=24,
            )
        ]
    stands += [disc(0.028, 0.05, (0, 0.005, 0), BRASS, sides=16), rod((-0.014, 0.028, 0), (0.014, 0.028, 0), 0.028, 0.028, BRASS)]
    case += [s.moved((px, 0, pz)) for s in stands for px, pz in places]
    pedals = pick(rng, (2, 3))
    parts += [Parts(noun="pedal", count=pedals, material=BRASS), Parts(noun="leg", count=3)]
    case += [rod((s * 0.05, 0.14, -0.3), (s * 0.09, low + 0.01, -0.3), 0.016, 0.016, timber) for s in (-1, 1)]
    case += [cushion((0.3, 0.08, 0.14), (0, 0.08, -0.3), 0.015, timber), *_pedals(pedals, 0.1, -0.24, 0.11)]
    solids = [*case, *cover]
    if maybe(rng, 0.4):
        stool, said = _piano_stool(rng, timber, 0.12)
        solids, parts = [*solids, *stool], [*parts, said]
    style = ("curved", "open") if opened else ("curved", "closed")
    return Thing(solids=tuple(s.moved((0, 0, long / 2)) for s in solids), main=timber, style=style, parts=tuple(parts[-4:]))


def _open_curve(points: Line) -> Line:
    """Points with their corners cut, and the two ends kept."""
    for _ in range(3):
        inner = [(a[0] * k + b[0] * (1 - k), a[1] * k + b[1] * (1 - k)) for a, b in pairwise(points) for k in (0.75, 0.25)]
        points = [points[0], *inner[1:-1], points[-1]]
    return points


def _stage_piano(rng: Rng) -> Thing:
    """Electric: keys in a flat box, on a stand crossed like an X, on side walls or on four legs."""
    case, stand = pick(rng, (BLACK, WHITE, plastic(rng), wood(rng))), pick(rng, (BLACK, STEEL, WHITE))
    octaves = pick(rng, (5, 7, 7))
    wide, deep, tall, level = octaves * 7 * 0.0238 + 0.14, rng.uniform(0.28, 0.38), rng.uniform(0.09, 0.14), rng.uniform(0.62, 0.7)
    solids = [_lying(_rounded(wide, deep, 0.015), tall * 0.7, case, 0.006).moved((0, level, deep / 2))]
    solids += _claviature(octaves, wide - 0.12, 0.14, (0, level + tall * 0.7 - 0.003, deep / 2 - 0.16))
    back = deep - 0.18
    solids.append(
        _profile([(0, 0), (back, 0), (back, tall * 0.45), (back * 0.7, tall * 0.6), (0, tall * 0.6)], wide, case, 0.004).moved(
            (0, level + tall * 0.6, -deep / 2)
        )
    )
    solids += [box((0.055, tall * 0.45, 0.16), (s * (wide / 2 - 0.0275), level + tall * 0.65, deep / 2 - 0.09), case) for s in (-1, 1)]
    parts: list[Parts] = []
    top = level + tall * 1.2
    knobs = int(rng.integers(1, 6))
    solids += [disc(0.012, 0.014, (-wide * 0.4 + 0.045 * i, top - 0.002, -deep / 2 + back * 0.35), stand, sides=16) for i in range(knobs)]
    parts.append(Parts(noun="knob", count=knobs))
    match rng.integers(3):
        case 0:
            for z in (-0.12, 0.12):
                solids += [rod((s * 0.36, 0.02, z), (-s * 0.36, level - 0.015, z), 0.018, 0.018, stand) for s in (-1, 1)]
            solids += [rod((s * 0.36, y, -0.2), (s * 0.36, y, 0.2), 0.019, 0.019, stand) for s in (-1, 1) for y in (0.019, level - 0.018)]
        case 1:
            solids += [box((0.035, level + 0.01, deep * 0.8), (s * (wide / 2 - 0.06), 0, 0), case) for s in (-1, 1)]
            solids += [cushion((0.05, 0.04, deep * 1.15), (s * (wide / 2 - 0.06), 0, 0), 0.01, case) for s in (-1, 1)]
            solids.append(box((wide - 0.13, 0.22, 0.02), (0, level * 0.45, -deep * 0.3), case))
            solids += [*_pedals(3, 0.05, -deep * 0.2, 0.1), box((wide - 0.13, 0.08, 0.06), (0, 0.02, -deep * 0.25), case)]
            parts.append(Parts(noun="pedal", count=3, material=BRASS))
        case _:
            stands, said = legs(rng, wide * 0.92, deep * 0.8, level + 0.01, 0.05, stand)
            solids, parts = [*solids, *stands], [*parts, said]
    if maybe(rng, 0.6):
        solids.append(box((0.5, 0.22, 0.01), (0, 0, 0), case).turned("x", -18).moved((0, top - 0.005, -deep / 2 + back * 0.3)))
        parts.append(Parts(noun="music rest", count=1))
    if maybe(rng, 0.3):
        stool, said = _piano_stool(rng, BLACK, deep / 2 + 0.1)
        solids, parts = [*solids, *stool], [*parts, said]
    return Thing(solids=tuple(solids), main=case, style=("slim",), parts=tuple(parts[:4]))


def piano(rng: Rng) -> Thing:
    return pick(rng, (_upright_piano, _upright_piano, _upright_piano, _grand_piano, _grand_piano, _grand_piano, _stage_piano))(rng)


# -------------------------------------------------------------------------------------------------------------- guitars


_HOLLOW: Line = [(0, 0), (0.2, 0), (0.4, 0.05), (0.5, 0.25), (0.36, 0.46), (0.23, 0.6), (0.34, 0.74), (0.36, 0.92), (0.22, 1.0), (0, 1.0)]
_NOTCHED: Line = [
    (0, 0), (0.2, 0), (0.41, 0.06), (0.48, 0.27), (0.34, 0.47), (0.2, 0.58), (0.3, 0.7), (0.34, 0.86), (0.22, 0.88), (0.12, 0.76),
    (0.08, 0.8), (0.08, 0.98), (-0.2, 1.0), (-0.36, 0.94), (-0.36, 0.76), (-0.2, 0.6),
    (-0.34, 0.48), (-0.48, 0.27), (-0.41, 0.06), (-0.2, 0),
]  # fmt: skip
_TWO_HORNS: Line = [
    (0, 0), (0.3, -0.02), (0.46, 0.1), (0.44, 0.36), (0.28, 0.5), (0.28, 0.66), (0.42, 0.9), (0.3, 0.98), (0.2, 0.84), (0.08, 0.74),
    (-0.08, 0.74), (-0.17, 0.84), (-0.24, 1.08), (-0.4, 1.06), (-0.36, 0.74), (-0.26, 0.52), (-0.44, 0.34), (-0.46, 0.1), (-0.3, -0.02),
]  # fmt: skip
_DEVIL: Line = _mirrored(
    [(0, 0), (0.3, 0), (0.45, 0.1), (0.42, 0.36), (0.27, 0.55), (0.32, 0.8), (0.42, 0.98), (0.4, 1.0), (0.2, 0.86), (0.1, 0.8), (0, 0.8)]
)
_ARROW: Line = _mirrored([(0, 0.36), (0.1, 0.36), (0.5, -0.08), (0.68, -0.06), (0.7, 0.04), (0.2, 0.86), (0.1, 0.94), (0, 0.94)])
_BOLT: Line = [
    (-0.5, 0.2), (-0.46, 0.08), (-0.1, 0.1), (0.42, -0.06), (0.5, 0.02), (0.26, 0.46), (0.42, 0.86), (0.34, 0.94), (0.1, 0.78),
    (-0.08, 0.78), (-0.4, 0.84), (-0.46, 0.76), (-0.28, 0.5),
]  # fmt: skip
_SEMI: Line = _mirrored(
    [
        (0, 0),
        (0.28, 0),
        (0.46, 0.06),
        (0.46, 0.32),
        (0.28, 0.5),
        (0.26, 0.6),
        (0.38, 0.76),
        (0.38, 0.94),
        (0.24, 0.96),
        (0.12, 0.8),
        (0, 0.8),
    ]
)
_PEAR: Line = _mirrored([(0, 0), (0.3, 0), (0.48, 0.12), (0.46, 0.5), (0.26, 0.85), (0.1, 1.0), (0, 1.0)])


def _neck(rng: Rng, x: float, low: float, nut: float, front: float, strings: int, timber: Material, bridge: float) -> list[Solid]:
    """Neck, frets, head, pegs and strings, upright at `x`: from `low` up to the `nut`, its board `front` before the middle of the body."""
    dark, peg = pick(rng, (BLACK, wood(rng, "brown"), wood(rng, "beige"))), pick(rng, (STEEL, WHITE, BRASS, BLACK))
    foot, top = 0.029 if strings != 4 else 0.03, 0.023
    line = [(-foot, low), (foot, low), (top, nut), (-top, nut)]
    solids = [_plate(line, 0.006, dark).moved((x, 0, front - 0.006))]
    back = [(foot * 0.95 * math.cos(a), 0.02 * math.sin(a)) for a in np.linspace(math.pi, 2 * math.pi, 9)]
    rings = [np.array([(px * k, y, front - 0.005 + pz) for px, pz in back[::-1]]) for y, k in ((low, 1.0), (nut + 0.02, 0.8))]
    solids.append(_skin(rings, timber).moved((x, 0, 0)))
    long = nut - bridge
    frets = [bridge + long * 2 ** (-i / 12) for i in range(1, 21)]
    rects = [(0.0, -y, 2 * (top + (foot - top) * (nut - y) / (nut - low)) * 0.98, 0.003) for y in frets if y > low]
    solids.append(_blocks(rects, 0.002, STEEL).turned("x", 90).moved((x, 0, front - 0.0005)))
    head, per = rng.uniform(0.15, 0.19) * min(1.0, 0.3 + long), (strings + 1) // 2
    style = rng.integers(3)
    if style == 0:  # all pegs on one side
        shape = _curve(
            [
                (-0.022, 0),
                (0.022, 0),
                (0.03, 0.03),
                (0.035, head * 0.8),
                (0.02, head * 1.08),
                (-0.03, head * 1.1),
                (-0.05, head),
                (-0.04, 0.04),
            ],
            1,
        )
        pegs = [(-1, 0.035 + (head - 0.05) * i / max(1, strings - 1)) for i in range(min(strings, 6))]
    else:
        wide = 0.034 if style == 1 else 0.042
        crown = [(wide, head), (0.012, head * 0.96), (0, head)] if style == 1 else [(wide, head * 0.92), (0.02, head), (0, head * 0.95)]
        shape = np.array(_mirrored([(0, 0), (0.022, 0), (wide, 0.03), *crown]))
        pegs = [(s, 0.04 + (head - 0.07) * i / max(1, min(per, 3) - 1)) for s in (-1, 1) for i in range(min(per, 3))]
    plate = [_plate(shape, 0.014, pick(rng, (timber, dark)), 0.002)]
    edge = 0.036
    plate += [rod((s * edge * 0.6, y, 0.006), (s * (edge + 0.018), y, 0.006), 0.003, 0.003, peg, sides=6) for s, y in pegs]
    plate += [box((0.012, 0.018, 0.009), (s * (edge + 0.022), y - 0.009, 0.006), peg) for s, y in pegs]
    plate += [rod((s * 0.018, y, 0.012), (s * 0.018, y, 0.022), 0.004, 0.004, peg, sides=8) for s, y in pegs]
    solids += [s.turned("x", -10).moved((x, nut, front - 0.016)) for s in plate]
    solids.append(box((2 * top, 0.006, 0.006), (x, nut - 0.003, front + 0.001), WHITE))
    for i in range(strings):
        t = (i / (strings - 1) - 0.5) * 1.7
        solids.append(rod((x + t * foot, bridge, front + 0.008), (x + t * top, nut, front + 0.004), 0.001, 0.001, STEEL, sides=6))
    return solids


def _guitar_stand(rng: Rng, wide: float, back: float, low: float) -> list[Solid]:
    """Two arms that carry the body `low` above the ground, and legs."""
    bar, arm = pick(rng, (BLACK, STEEL)), wide * 0.22
    solids = [rod((s * arm, low - 0.012, back - 0.02), (s * arm, low - 0.012, 0.09), 0.011, 0.011, bar) for s in (-1, 1)]
    solids += [rod((s * arm, low - 0.015, 0.085), (s * arm, low + 0.03, 0.095), 0.011, 0.011, bar) for s in (-1, 1)]
    solids += [
        rod((-arm, low - 0.012, back - 0.02), (arm, low - 0.012, back - 0.02), 0.011, 0.011, bar),
        rod((0, low - 0.012, back - 0.02), (0, low + 0.25, back - 0.06), 0.012, 0.012, bar),
    ]
    hub = (0.0, low + 0.22, back - 0.055)
    return [
        *solids,
        *(rod(hub, foot, 0.01, 0.01, bar) for foot in ((wide * 0.5, 0.01, 0.06), (-wide * 0.5, 0.01, 0.06), (0.0, 0.01, back - 0.3))),
        _ball(0.02, hub, bar),
    ]


def guitar(rng: Rng) -> Thing:
    hollow = maybe(rng, 0.45)
    trim, dark = pick(rng, (WHITE, BLACK, plastic(rng))), pick(rng, (BLACK, wood(rng, "brown")))
    timber = wood(rng, pick(rng, ("brown", "beige")))
    parts: list[Parts] = []
    if hollow:  # with a hole to sound through
        small = maybe(rng, 0.2)
        long = rng.uniform(0.26, 0.32) if small else rng.uniform(0.44, 0.54)
        wide, deep = long * rng.uniform(0.8, 0.95), long * rng.uniform(0.18, 0.24)
        shape = pick(rng, (_mirrored(_HOLLOW), _mirrored(_HOLLOW), _mirrored(_HOLLOW), _NOTCHED, _PEAR))
        body, top = (
            pick(rng, (wood(rng, "brown"), wood(rng, "beige"), wood(rng), wood(rng, pick(rng, ("red", "black", "blue"))))),
            pick(rng, (wood(rng, "beige"), wood(rng, "brown"))),
        )
        line = _curve(np.array(shape) * (wide, long))
        strings = 4 if small else pick(rng, (6, 6, 6, 12))
        solids = [
            _plate(line, deep, body, 0.004).moved((0, 0, -deep)),
            _plate(line * 0.985 + (0, long * 0.007), 0.004, top).moved((0, 0, -0.002)),
        ]
        hole, y = wide * rng.uniform(0.11, 0.14), long * 0.64
        solids.append(_front([(hole, 0), (hole * 1.25, 0), (hole * 1.25, 0.003), (hole, 0.003)], (0, y, 0), dark))
        solids.append(_front([(0, 0), (hole, 0), (hole, 0.0015), (0, 0.0015)], (0, y, 0.0015), BLACK))
        bridge = long * 0.25
        solids += [
            cushion((wide * 0.42, 0.03, 0.012), (0, bridge - 0.015, 0), 0.005, dark),
            box((0.07, 0.004, 0.016), (0, bridge - 0.002, 0), WHITE),
        ]
        if maybe(rng, 0.5):
            guard = _curve([(hole * 0.9, -0.2 * hole), (hole * 2.2, -hole * 1.2), (hole * 1.7, -hole * 2.6), (hole * 0.3, -hole * 1.5)])
            solids.append(_plate(guard, 0.003, trim).moved((0, y, 0.0015)))
            parts.append(Parts(noun="guard", count=1, material=trim))
        front, low = 0.009, y + hole * 1.05
        nut = bridge + (long * 1.3 if small else rng.uniform(0.62, 0.66))
        parts.append(Parts(noun="sound hole", count=1, material=BLACK))
        solids += _neck(rng, 0, low, nut, front, strings, timber, bridge)
        heel = long - 0.02
        solids.append(
            _profile(
                [(-deep * 0.85, heel), (0.0, heel), (0.0, heel + 0.1), (-0.015, heel + 0.1), (-deep * 0.6, heel + 0.03)], 0.035, timber
            )
        )
        main = body
    else:
        long, deep, bass = rng.uniform(0.4, 0.5), rng.uniform(0.035, 0.05), maybe(rng, 0.2)
        shape, rounds = pick(
            rng, ((_TWO_HORNS, 2), (_TWO_HORNS, 2), (_NOTCHED, 2), (_NOTCHED, 2), (_DEVIL, 2), (_ARROW, 1), (_BOLT, 1), (_SEMI, 2))
        )
        wide = long * rng.uniform(0.8, 0.95)
        main = pick(rng, (plastic(rng), wood(rng), wood(rng, "brown"), plastic(rng, pick(rng, ("red", "black", "white", "blue")))))
        line = _curve(np.array(shape) * (wide, long), rounds)
        solids, bridge = (
            [_plate(line, deep, main, deep * rng.uniform(0.15, 0.3)).moved((0, 0, -deep))],
            long * (0.5 if shape is _ARROW else rng.uniform(0.26, 0.32)),
        )
        strings = 4 if bass else pick(rng, (6, 6, 6, 6, 12))
        pickups, knobs = int(rng.integers(1, 4)), int(rng.integers(1, 5))
        necks = 2 if not bass and wide > 0.33 and shape in (_SEMI, _DEVIL) and maybe(rng, 0.3) else 1
        room, xs = long * 0.78 - bridge, (0.0,) if necks == 1 else (-0.07, 0.07)
        nut = bridge + (rng.uniform(0.78, 0.86) if bass else rng.uniform(0.6, 0.66))
        for x in xs:
            for i in range(pickups):
                y = bridge + room * (0.14 + 0.66 * i / max(2, pickups))
                solids.append(cushion((0.085, rng.uniform(0.018, 0.036), 0.018), (x, y, 0), 0.005, pick(rng, (BLACK, trim, STEEL))))
            solids += [box((0.085, 0.02, 0.022), (x, bridge - 0.01, 0), STEEL), box((0.075, 0.02, 0.014), (x, bridge - 0.06, 0), STEEL)]
            solids += _neck(rng, x, bridge + room * 0.9, nut, 0.012, strings, timber, bridge)
        if maybe(rng, 0.5) and rounds == 2:
            low = shape in (_TWO_HORNS, _DEVIL)
            guard = _curve(
                [
                    (0.03, 0.16),
                    (0.26, 0.14),
                    (0.22, 0.4),
                    (0.2, 0.6),
                    (0.24, 0.72) if low else (0.14, 0.66),
                    (0.06, 0.7),
                    (-0.1, 0.72),
                    (-0.18, 0.6),
                    (-0.02, 0.4),
                ]
            )
            solids.append(_plate(guard * (wide, long), 0.003, trim).moved((0, 0, -0.0005)))
            parts.append(Parts(noun="guard", count=1, material=trim))
        ends = (
            [(0.2 + 0.1 * (i % 2), 0.3 - 0.1 * (i // 2)) for i in range(knobs)]
            if rounds == 2
            else [(0.17 + 0.06 * i, 0.28 - 0.07 * i) for i in range(knobs)]
        )
        solids += [_knob(0.013, 0.014, (px * wide + 0.01, py * long, 0.0), pick(rng, (BLACK, BRASS, STEEL))) for px, py in ends]
        horns = 2 if shape in (_TWO_HORNS, _DEVIL, _SEMI) else 1 if shape is _NOTCHED else 0
        parts += [Parts(noun="horn", count=horns)] if horns else []
        parts += [Parts(noun="pickup", count=pickups * necks), Parts(noun="knob", count=knobs)]
        if necks == 2:
            parts = [Parts(noun="neck", count=2), *parts]
    low = -min(float(s.vertices[:, 1].min()) for s in solids)
    lift = rng.uniform(0.1, 0.22) if maybe(rng, 0.25) else 0.0
    solids = [s.moved((0, low + lift, 0)) for s in solids]
    if lift:
        solids = [s.moved((0, -lift, 0)).turned("x", -8).moved((0, lift, 0.03)) for s in solids] + _guitar_stand(rng, wide, -deep, lift)
        parts = [Parts(noun="stand", count=1), *parts]
    parts = [Parts(noun="string", count=strings), *parts]
    return Thing(solids=tuple(solids), main=main, style=() if hollow else ("slim",), parts=tuple(parts[:4]))
