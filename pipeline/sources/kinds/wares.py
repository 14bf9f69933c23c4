"""Vessels and other small wares: bottle, mug, vase, bowl, teapot, bucket, frying pan, umbrella and potted plant.

Most start from a curve turned on a lathe; `_shaped` then makes the round section square, fluted, faceted or twisted. Leaves are `_blade`s.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from pipeline.sources.kinds.thing import (
    BLACK,
    BRASS,
    LEAF,
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
    leather,
    maybe,
    metal,
    pick,
    plastic,
    stone,
    wood,
)
from pipeline.sources.solids import Floats, Material, Point, Solid, box, cushion, disc, rod, tube, turned

Line = list[tuple[float, float]]
Section = Callable[[Floats, Floats], Floats]
"""From angle and height to a factor on the radius."""

# ---------------------------------------------------------------------------------------------------- curves and shells


def _line(points: Floats, coarse: int = 1) -> Line:
    """As `turned` wants it: without steps of no length, and with no more points than its bends ask for."""
    points = points[np.append(True, np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6)]
    step = np.diff(points, axis=0)
    long = np.linalg.norm(step, axis=1)
    bend = np.abs((np.diff(np.arctan2(step[:, 1], step[:, 0])) + math.pi) % (2 * math.pi) - math.pi)
    kept, turn, way = [0], 0.0, 0.0
    for i in range(1, len(points) - 1):
        turn, way = turn + bend[i - 1], way + long[i - 1]
        if turn > math.radians(11 * coarse) or way > long.sum() / 15 * coarse:
            kept.append(i)
            turn = way = 0.0
    return [(float(r), float(h)) for r, h in points[[*kept, -1]]]


def _smooth(knots: Sequence[tuple[float, float]], wide: float = 1.0, tall: float = 1.0, coarse: int = 1) -> Line:
    """A profile with its corners cut round three times; a knot named twice stays a corner."""
    points = np.array(knots, float) * (wide, tall)
    for _ in range(3):
        a, b = points[:-1], points[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return _line(points, coarse)


def _radius(line: Line, height: float) -> float:
    """Of a profile that goes up."""
    r, h = np.array(line).T
    return float(np.interp(height, np.maximum.accumulate(h), r))


def _bezier(*points: Point, steps: int = 16) -> Floats:
    t = np.linspace(0, 1, steps)[:, None]
    rest = [np.array(point) * np.ones((steps, 1)) for point in points]
    while len(rest) > 1:
        rest = [(1 - t) * a + t * b for a, b in pairwise(rest)]
    return rest[0]


def _vessel(outer: Line, wall: float, out: Material, inside: Material, squash: float = 1.0, sides: int = 72) -> list[Solid]:
    """An open pot: a profile from the edge of its underside to its rim, and the same again inside, closer by the thickness of the wall."""
    line = np.array(outer)
    way = np.gradient(line, axis=0)
    normal = np.stack([way[:, 1], -way[:, 0]], axis=1) / np.linalg.norm(way, axis=1, keepdims=True)
    inner = (line - wall * normal)[::-1]
    inner = inner[(inner[:, 1] > line[0, 1] + wall) & (inner[:, 0] > wall)]
    inner[0, 1] = line[-1, 1]  # a level rim
    floor = line[0, 1] + wall
    deep = _line(np.concatenate([inner, [(inner[-1, 0], floor), (0.0, floor)]]), 2)
    shell = _line(np.concatenate([[(0.0, line[0, 1])], line, inner[:1]]))
    return [turned(shell, (0, 0, 0), out, sides=sides, squash=squash), turned(deep, (0, 0, 0), inside, sides=sides, squash=squash)]


def _band(outer: Line, low: float, high: float, material: Material, squash: float = 1.0, proud: float = 0.0006) -> Solid:
    """A strip that lies on a profile."""
    heights = np.linspace(low, high, 3 + round(8 * min(1.0, (high - low) / outer[-1][1])))
    around = [(_radius(outer, h) + proud, float(h)) for h in heights]
    inside = [(max(r - 3 * proud, 0.0), h) for r, h in (around[0], around[-1])]
    return turned([inside[0], *around, inside[1]], (0, 0, 0), material, sides=72, squash=squash)


def _warped(solid: Solid, bend: Callable[[Floats], Floats]) -> Solid:
    """Bent by a map of space; the normals follow its derivative."""
    a, b, c = (bend(solid.vertices + step) - bend(solid.vertices - step) for step in 1e-5 * np.eye(3))
    normals = sum(solid.normals[:, i : i + 1] * np.cross(u, v) for i, (u, v) in enumerate(((b, c), (c, a), (a, b))))
    return replace(solid, vertices=bend(solid.vertices), normals=normals / np.linalg.norm(normals, axis=1, keepdims=True))


def _shaped(solids: Sequence[Solid], section: Section, twist: float = 0.0) -> list[Solid]:
    """With another section than a round one, and turned by so many radians per metre of height."""

    def bend(points: Floats) -> Floats:
        x, y, z = points.T
        angle = np.arctan2(x, z)
        radius, angle = np.hypot(x, z) * section(angle, y), angle + twist * y
        return np.stack([radius * np.sin(angle), y, radius * np.cos(angle)], axis=1)

    return [_warped(solid, bend) for solid in solids]


def _stretched(solid: Solid, x: float = 1.0, y: float = 1.0, z: float = 1.0) -> Solid:
    return _warped(solid, lambda points: points * (x, y, z))


def _squared(power: float) -> Section:
    """A square with rounded corners, rounder for a lower power, its sides as far away as the round was."""
    return lambda angle, height: (np.abs(np.sin(angle)) ** power + np.abs(np.cos(angle)) ** power) ** (-1 / power)


def _fluted(count: int, depth: float) -> Section:
    return lambda angle, height: 1 + depth * np.cos(count * angle)


def _faceted(count: int) -> Section:
    each = 2 * math.pi / count
    return lambda angle, height: math.cos(each / 2) / np.cos(angle % each - each / 2)


def _horn(path: Floats, radii: Floats, material: Material, sides: int = 12, lobes: int = 0) -> Solid:
    """A round bar of changing thickness with rounded ends; lobes make its section a star."""
    first, last = path[0] - path[1], path[-1] - path[-2]
    first, last = first / np.linalg.norm(first), last / np.linalg.norm(last)
    bow = np.radians([88, 60, 30])
    path = np.concatenate(
        [path[0] + radii[0] * np.outer(np.sin(bow), first), path, path[-1] + radii[-1] * np.outer(np.sin(bow[::-1]), last)]
    )
    radii = np.concatenate([radii[0] * np.cos(bow), radii, radii[-1] * np.cos(bow[::-1])])
    bar = tube(path, 1.0, material, sides=sides)
    ring = bar.normals.reshape(len(path), sides, 3)
    way = np.gradient(path, axis=0)
    length = np.linalg.norm(way, axis=1)
    normals = ring * length[:, None, None] - (np.gradient(radii) / length)[:, None, None] * way[:, None]
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    star = 1 + 0.12 * np.cos(lobes * np.arange(sides) * 2 * math.pi / sides) if lobes else np.ones(sides)
    vertices = path[:, None] + radii[:, None, None] * star[None, :, None] * ring
    return replace(bar, vertices=vertices.reshape(-1, 3), normals=normals.reshape(-1, 3))


def _ball(radius: float, at: Point, material: Material, tall: float = 1.0, sides: int = 24, squash: float = 1.0, rings: int = 12) -> Solid:
    angle = np.linspace(0, math.pi, rings + 1)
    line = [(radius * math.sin(a) if 0 < a < math.pi else 0.0, -radius * tall * math.cos(a)) for a in angle]
    return turned(line, at, material, sides=sides, squash=squash)


def _ring(radius: float, thick: float, at: Point, material: Material) -> Solid:
    """Lies flat."""
    bow = np.linspace(-math.pi / 2, 3 * math.pi / 2, 11)
    line = [(radius + thick * math.cos(a), thick * math.sin(a)) for a in bow]
    return turned(line, at, material, sides=32)


def _ear(rng: Rng, low: tuple[float, float], high: tuple[float, float], reach: float, thick: float, material: Material) -> Solid:
    """A handle at +X between two points (radius, height): round, square or shaped like an ear."""
    (r0, y0), (r1, y1) = low, high
    match rng.integers(4):
        case 0:
            angle = np.linspace(-0.5, 0.5, 22) * math.pi
            power = rng.uniform(0.35, 0.95)
            up = 0.5 + 0.5 * np.sign(angle) * np.abs(np.sin(angle)) ** power
            path = np.stack([r0 + (r1 - r0) * up + reach * np.cos(angle) ** power, y0 + (y1 - y0) * up, 0 * up], axis=1)
        case 1:
            path = _bezier((r0, y0, 0), (r0 + reach * 1.6, y0, 0), (r1 + reach * 1.1, y1, 0), (r1, y1, 0), steps=22)
        case 2:
            tall = (y1 - y0) * 0.35
            path = _bezier(
                (r0, y0, 0),
                (r0 + reach * 0.3, y0, 0),
                (r1 + reach * 2, y1 + tall, 0),
                (r1 + reach * 0.6, y1 + tall, 0),
                (r1, y1, 0),
                steps=22,
            )
        case _:
            tip = max(r0, r1) + reach
            path = np.concatenate(
                [
                    _bezier((r0, y0, 0), (tip * 0.98, y0, 0), (tip, y0, 0), (tip, y0 + (y1 - y0) * 0.5, 0), steps=11)[:-1],
                    _bezier((tip, y0 + (y1 - y0) * 0.5, 0), (tip, y1, 0), (tip * 0.98, y1, 0), (r1, y1, 0), steps=11),
                ]
            )
    return _stretched(tube(path, thick, material), z=rng.uniform(1.0, 1.8))


def _paint(rng: Rng, color: str) -> Material:
    """A colour with no substance worth a word: petals, fruit, drink."""
    return replace(plastic(rng, color), substance="", roughness=0.7)


def _proportion(wide: float, tall: float, low: float, high: float) -> tuple[str, ...]:
    """`tall` or `low` where the height over the width lies beyond what is usual."""
    return ("tall",) if tall / wide > high else ("low",) if tall / wide < low else ()


# -------------------------------------------------------------------------------------------------------------- bottles

# Form: knots (radius and height of 1), width and height in metres, where a label fits, closures.
_BOTTLES: Final[dict[str, tuple[Line, tuple[float, float], tuple[float, float], tuple[float, float], tuple[str, ...]]]] = {
    "claret": ([(1, 0.03), (1, 0.3), (1, 0.62), (1, 0.7), (0.4, 0.72), (0.38, 0.8), (0.38, 0.97), (0.38, 1)],
               (0.07, 0.082), (0.28, 0.33), (0.12, 0.55), ("cork", "foil", "foil", "open")),
    "burgundy": ([(1, 0.03), (1, 0.2), (1, 0.48), (0.85, 0.6), (0.42, 0.72), (0.34, 0.8), (0.33, 1)],
                 (0.08, 0.092), (0.28, 0.32), (0.1, 0.4), ("cork", "foil", "open")),
    "beer": ([(1, 0.03), (1, 0.3), (1, 0.52), (0.95, 0.62), (0.5, 0.72), (0.42, 0.8), (0.4, 0.96), (0.4, 1)],
             (0.058, 0.068), (0.2, 0.26), (0.14, 0.46), ("crown", "crown", "open")),
    "stubby": ([(0.95, 0.04), (1, 0.1), (1, 0.5), (1, 0.62), (0.55, 0.78), (0.45, 0.85), (0.45, 1)],
               (0.07, 0.085), (0.15, 0.19), (0.14, 0.5), ("crown", "screw", "cork")),
    "cola": ([(0.9, 0.04), (0.95, 0.12), (0.78, 0.3), (1, 0.46), (1, 0.58), (0.7, 0.72), (0.38, 0.85), (0.36, 1)],
             (0.058, 0.07), (0.19, 0.25), (0.46, 0.58), ("crown", "screw", "open")),
    "water": ([(0.95, 0.03), (1, 0.1), (1, 0.3), (0.86, 0.42), (0.9, 0.46), (1, 0.56), (1, 0.68), (0.8, 0.8), (0.36, 0.9), (0.34, 1)],
              (0.06, 0.09), (0.2, 0.3), (0.1, 0.3), ("screw", "sport")),
    "milk": ([(1, 0.03), (1, 0.3), (1, 0.52), (0.95, 0.62), (0.55, 0.76), (0.5, 0.84), (0.56, 0.96), (0.56, 1)],
             (0.085, 0.1), (0.2, 0.25), (0.15, 0.45), ("open", "screw", "cork")),
    "medicine": ([(1, 0.03), (1, 0.03), (1, 0.66), (1, 0.76), (0.62, 0.8), (0.6, 0.85), (0.6, 1)],
                 (0.045, 0.08), (0.08, 0.15), (0.14, 0.62), ("screw", "screw", "dropper")),
    "sauce": ([(1, 0.03), (0.98, 0.3), (0.9, 0.55), (0.85, 0.7), (0.7, 0.84), (0.45, 0.88), (0.45, 1)],
              (0.055, 0.075), (0.14, 0.2), (0.15, 0.6), ("cone", "sport", "screw")),
    "thermos": ([(0.95, 0.02), (1, 0.04), (1, 0.3), (1, 0.7), (0.98, 0.8), (0.8, 0.85), (0.72, 0.9), (0.72, 1)],
                (0.065, 0.085), (0.2, 0.28), (0.25, 0.6), ("cup", "screw", "sport")),
    "dispenser": ([(1, 0.03), (1, 0.1), (1, 0.7), (0.95, 0.84), (0.5, 0.92), (0.4, 0.94), (0.4, 1)],
                  (0.06, 0.085), (0.12, 0.2), (0.15, 0.65), ("pump",)),
    "spray": ([(1, 0.03), (1, 0.1), (1, 0.4), (0.85, 0.55), (0.55, 0.8), (0.34, 0.92), (0.34, 1)],
              (0.08, 0.1), (0.17, 0.22), (0.1, 0.4), ("trigger",)),
    "whisky": ([(1, 0.02), (1, 0.02), (1, 0.55), (1, 0.66), (0.5, 0.7), (0.34, 0.78), (0.33, 1)],
               (0.07, 0.09), (0.2, 0.28), (0.12, 0.5), ("screw", "stopper", "cork")),
    "decanter": ([(0.85, 0), (1, 0.08), (1, 0.2), (0.85, 0.42), (0.3, 0.58), (0.22, 0.7), (0.22, 0.9), (0.36, 1)],
                 (0.13, 0.18), (0.22, 0.28), (0.1, 0.2), ("stopper", "stopper", "open")),
    "flask": ([(1, 0.0), (1.02, 0.05), (0.9, 0.18), (0.5, 0.5), (0.26, 0.68), (0.24, 0.9), (0.3, 0.98), (0.3, 1)],
              (0.09, 0.14), (0.14, 0.2), (0.1, 0.2), ("open", "cork")),
    "globe": ([(0.4, 0), (0.8, 0.08), (1, 0.28), (0.95, 0.5), (0.5, 0.66), (0.24, 0.7), (0.22, 0.85), (0.3, 1)],
              (0.1, 0.15), (0.17, 0.24), (0.2, 0.4), ("open", "cork", "stopper")),
    "perfume": ([(1, 0.02), (1, 0.02), (1, 0.85), (0.98, 0.95), (0.4, 0.96), (0.3, 0.97), (0.3, 1)],
                (0.05, 0.08), (0.06, 0.1), (0.2, 0.7), ("stopper", "block")),
    "jug": ([(0.92, 0.02), (1, 0.08), (1, 0.45), (0.95, 0.6), (0.6, 0.78), (0.3, 0.86), (0.28, 1)],
            (0.14, 0.19), (0.24, 0.32), (0.15, 0.45), ("cork", "screw", "screw", "open")),
}  # fmt: skip


def _closure(rng: Rng, sort: str, neck: float, top: float, squash: float) -> list[Solid]:
    """What shuts a bottle whose neck ends at a height."""
    lid = pick(rng, (STEEL, BLACK, WHITE, BRASS, plastic(rng)))
    shaft = (0.0, top, 0.0)
    match sort:
        case "cork":
            return [rod((0, top - neck, 0), (0, top + neck * rng.uniform(0.7, 1.6), 0), neck * 0.8, neck * 0.9, wood(rng, "beige"))]
        case "foil":
            long = neck * rng.uniform(3, 5)
            capsule = _smooth(
                [(0, 0), (1.1, 0), (1.1, 0), (1.12, 0.8), (1.12, 0.9), (1.22, 0.9), (1.22, 1), (1.1, 1.02), (0, 1.02)], neck, long
            )
            return [turned(capsule, (0, top - long, 0), lid)]
        case "crown":
            cap = _smooth([(0, 0), (1.35, 0), (1.35, 0), (1.15, 0.4), (0.9, 0.5), (0, 0.52)], neck, neck)
            return _shaped([turned(cap, (0, top - neck * 0.2, 0), lid, sides=84)], _fluted(21, 0.03))
        case "stopper":
            knob = pick(rng, (glass(rng), lid))
            big = neck * rng.uniform(1.1, 1.7)
            return [disc(neck * 0.75, neck, shaft, knob), _ball(big, (0, top + neck * 0.7 + big * 0.8, 0), knob, rng.uniform(0.8, 1.5), 12)]
        case "block":
            return [cushion((neck * 2.6, neck * rng.uniform(1.5, 4), neck * 2.6), (0, top - neck * 0.1, 0), neck * 0.2, lid)]
        case "cone" | "dropper":
            rubber = pick(rng, (BLACK, lid))
            tip = [(0, 0), (1.25, 0), (1.25, 0), (1.25, 1), (1.2, 1.2), (0.5, 1.6), (0.3, 3.2), (0.25, 3.5), (0, 3.5)]
            if sort == "dropper":
                tip = [(0, 0), (1.2, 0), (1.2, 0), (1.2, 1.2), (0.8, 1.3), (0.8, 1.6), (0.9, 2.6), (0.6, 3.6), (0, 3.7)]
            return [turned(_smooth(tip, neck, neck * 0.8), (0, top - neck * 0.4, 0), rubber)]
        case "cup":
            line = _smooth([(0, 0), (1.38, 0), (1.38, 0), (1.36, 2.2), (1.3, 2.5), (1.2, 2.5), (0, 2.5)], neck, neck)
            return [turned(line, (0, top - neck * 0.9, 0), lid)]
        case "sport":
            line = [(0, 0), (1.3, 0), (1.3, 0), (1.3, 0.9), (1.0, 1.2), (0.5, 1.3), (0.45, 1.9), (0.6, 2.0), (0.6, 2.2), (0, 2.3)]
            return [turned(_smooth(line, neck, neck), (0, top - neck * 0.3, 0), lid)]
        case "pump":
            high = top + neck * rng.uniform(2.2, 3.6)
            beak = _bezier((0, high, 0), (0, high + neck * 0.2, neck * 2), (0, high, neck * 3), (0, high - neck * 0.7, neck * 3.4))
            button = turned(_smooth([(0, -0.4), (0.9, -0.4), (0.9, -0.4), (0.9, 0.4), (0.6, 0.6), (0, 0.6)], neck, neck), (0, high, 0), lid)
            collar = _smooth([(0, 0), (1.35, 0), (1.35, 0), (1.3, 0.9), (0.6, 1.1), (0, 1.2)], neck, neck)
            stem = rod((0, top, 0), (0, high, 0), neck * 0.35, neck * 0.35, pick(rng, (STEEL, lid)))
            return [turned(collar, (0, top - neck * 0.3, 0), lid), stem, button, _horn(beak, np.full(16, neck * 0.36), lid)]
        case "trigger":
            y, other = top + neck * 1.3, plastic(rng)
            head = cushion((neck * 1.7, neck * 2.0, neck * 5.2), (0, y, neck * 0.5), neck * 0.6, lid)
            pull = _bezier(
                (0, y + neck * 0.3, neck * 1.8), (0, y - neck, neck * 2.6), (0, y - neck * 2.4, neck * 1.8), (0, y - neck * 3, neck * 2.8)
            )
            return [
                disc(neck * 1.3, neck * 1.5, (0, top - neck * 0.2, 0), lid),
                head,
                rod((0, y + neck, neck * 2.8), (0, y + neck, neck * 3.9), neck * 0.75, neck * 0.6, other),
                _horn(pull, np.linspace(0.5, 0.3, 16) * neck, other),
            ]
        case "screw":
            line = _smooth([(0, 0), (1.25, 0), (1.25, 0), (1.25, 1.3), (1.22, 1.5), (1.1, 1.55), (0, 1.55)], neck, neck)
            screwed = [turned(line, (0, top - neck * rng.uniform(0.6, 0.9), 0), lid, sides=72)]
            return _shaped(screwed, _fluted(24, 0.02)) if squash == 1 else screwed
    return []


def bottle(rng: Rng) -> Thing:
    """Wine, beer, soda, milk, spray, soap, perfume, jug, decanter, flask of a laboratory, and now and then a flat one for the hip."""
    form = pick(rng, list(_BOTTLES))
    knots, widths, heights, (low, high), closures = _BOTTLES[form]
    wide, tall, sort = rng.uniform(*widths) / 2, rng.uniform(*heights), pick(rng, closures)
    body = glass(rng)
    if form in ("water", "medicine", "sauce", "dispenser", "spray") and maybe(rng, 0.8):
        body = plastic(rng)
    elif form in ("thermos", "jug"):
        body = pick(rng, (metal(rng), plastic(rng))) if form == "thermos" else pick(rng, (body, ceramic(rng), plastic(rng)))
    outer = _smooth(knots, wide, tall)
    neck = outer[-1][0]
    mouth = [(neck * 0.75, tall), (neck * 0.7, tall - neck), (0.0, tall - neck)]
    style: list[str] = []
    bulbs = ("flask", "globe", "decanter")
    chance = {"whisky": 0.9, "perfume": 0.8, "spray": 0.6, "dispenser": 0.4, "medicine": 0.2, "water": 0.2, "jug": 0.35}.get(form, 0.0)
    angular = maybe(rng, chance)
    squash = (
        rng.uniform(0.45, 0.72) if maybe(rng, 0.7 if form in ("spray", "whisky", "perfume") else 0.0 if form in bulbs else 0.08) else 1.0
    )
    solids = [turned([(0.0, 0.0), (outer[0][0] * 0.92, 0.0), *outer, *mouth], (0, 0, 0), body, sides=72, squash=squash)]
    parts = []
    if form not in bulbs and maybe(rng, 0.6):
        paper = pick(rng, (WHITE, _paint(rng, pick(rng, ("red", "yellow", "beige", "blue", "green", "black")))))
        ends = low + (high - low) * rng.uniform((0, 0.7), (0.3, 1))
        solids.append(_band(outer, tall * float(ends[0]), tall * float(ends[1]), paper, squash))
        parts.append(Parts(noun="label", count=1, material=replace(paper, substance="")))
    if angular:  # square below, round at the neck
        square = _squared(rng.uniform(4, 12))
        solids = _shaped(solids, lambda a, h: 1 + (square(a, h) - 1) * np.clip((0.92 * tall - h) / (0.25 * tall), 0, 1))
        style.append("square")
    elif squash < 0.75:
        style.append("oval")
    if form == "jug":
        ear = _ear(rng, (_radius(outer, tall * 0.55), tall * 0.55), (neck, tall * rng.uniform(0.86, 0.93)), wide * 0.55, 0.008, body)
        solids.append(ear)
        if both := body.substance == "ceramic" and maybe(rng, 0.5):
            solids.append(ear.turned("y", 180))
        parts.append(Parts(noun="handle", count=1 + both))
    if form == "thermos" and maybe(rng, 0.4):
        solids.append(_ear(rng, (wide * 0.98, tall * 0.25), (wide * 0.98, tall * 0.7), wide * 0.7, 0.007, BLACK))
        parts.append(Parts(noun="handle", count=1, material=BLACK))
    solids += _closure(rng, sort, neck, tall, squash)
    if sort == "open":
        style.append("open")
    elif sort != "foil":
        parts.append(Parts(noun=sort if sort in ("cork", "stopper", "pump", "trigger") else "cap", count=1))
    style += ["slim"] if tall / wide > 7 else ["wide"] if tall / wide < 3.6 else []
    return Thing(solids=tuple(solids), main=body, style=tuple(style), parts=tuple(parts))


# ----------------------------------------------------------------------------------------------------------------- mugs


def mug(rng: Rng) -> Thing:
    """For coffee, tea on a saucer, soup, beer with or without a lid, camping, travel."""
    form = pick(rng, ("straight", "tapered", "barrel", "footed", "beer", "stein", "enamel", "travel", "cup", "tulip", "square"))
    radius, tall = rng.uniform(0.036, 0.05), rng.uniform(0.08, 0.11)
    body = ceramic(rng)
    knots: Line = [(1, 0.02), (1, 0.3), (1, 0.7), (1, 1)]
    match form:
        case "tapered":
            foot = rng.uniform(0.6, 0.82)
            knots = [(foot, 0), (foot + 0.04, 0.05), (0.5 + foot / 2, 0.5), (1, 1)]
        case "barrel":
            knots = [(rng.uniform(0.6, 0.9), 0), (0.95, 0.12), (rng.uniform(1.05, 1.25), 0.5), (1, 0.9), (0.95, 1)]
        case "footed":
            knots = [(0.7, 0), (0.7, 0.03), (0.32, 0.12), (0.3, 0.22), (0.75, 0.3), (1, 0.45), (1, 0.75), (0.95, 1)]
            body, tall = pick(rng, (glass(rng), body)), tall * rng.uniform(1.2, 1.5)
        case "beer" | "stein":
            tall, radius = tall * rng.uniform(1.35, 1.7), radius * 1.15
            knots = [(1.1, 0), (1.12, 0.04), (1, 0.12), (1, 0.5), (0.95, 0.9), (rng.uniform(0.85, 1.0), 1)]
            body = pick(rng, (glass(rng), ceramic(rng), wood(rng), stone(rng)))
        case "enamel":
            knots = [(0.96, 0), (1, 0.04), (1, 0.5), (1, 0.96), (1, 0.96), (1.05, 1)]
            body, tall = metal(rng, pick(rng, ("white", "blue", "red", "green", "grey"))), tall * 0.85
        case "travel":
            knots = [(0.75, 0), (0.75, 0.05), (0.8, 0.4), (1, 0.6), (1.02, 1)]
            body, tall = pick(rng, (metal(rng), plastic(rng))), tall * rng.uniform(1.5, 1.9)
        case "cup":
            knots = [(0.5, 0), (0.5, 0.06), (0.75, 0.15), (1.0, 0.5), (1.05, 0.8), (1.12, 1)]
            tall *= 0.7
        case "tulip":
            knots = [(0.62, 0), (0.66, 0.05), (1.0, 0.2), (0.98, 0.5), (0.86, 0.75), (1.05, 1)]
    outer = _smooth(knots, radius, tall)
    wall = 0.0035 if form != "enamel" else 0.0015
    solids = _vessel(outer, wall, body, pick(rng, (body, WHITE, ceramic(rng))), sides=72)
    parts, style = [], list(_proportion(2 * radius, tall, 0.85, 1.35))
    if form in ("straight", "tapered", "barrel", "enamel", "cup", "tulip", "travel", "stein") and maybe(rng, 0.45):
        count, strip = int(rng.integers(1, 4)), ceramic(rng)
        low, thick = rng.uniform(0.25, 0.4), rng.uniform(0.04, 0.1)
        solids += [_band(outer, tall * (low + 0.16 * i), tall * (low + 0.16 * i + thick), strip) for i in range(count)]
        parts.append(Parts(noun="band", count=count, material=replace(strip, substance="")))
        style += ["striped"] if count > 1 else []
    if form == "square":
        solids, style = _shaped(solids, _squared(rng.uniform(3.5, 8))), [*style, "square"]
    elif form == "beer" or maybe(rng, 0.12):
        count = int(rng.integers(8, 13))
        solids = _shaped(solids, pick(rng, (_faceted(count), _fluted(count, 0.035))))
    low, high = tall * rng.uniform(0.15, 0.3), tall * rng.uniform(0.72, 0.88)
    if form == "footed":
        low = tall * 0.42
    ends = [(_radius(outer, h) - wall * 0.6, h) for h in (low, high)]
    ear = _ear(rng, ends[0], ends[1], radius * rng.uniform(0.55, 0.85), radius * rng.uniform(0.1, 0.16), body)
    count = 2 if form in ("cup", "tulip", "barrel") and maybe(rng, 0.2) else 1
    solids += [ear, ear.turned("y", 180)][:count]
    parts.append(Parts(noun="handle", count=count))
    rim = outer[-1][0]
    if form in ("stein", "travel") or (form != "cup" and maybe(rng, 0.06)):
        lid = metal(rng) if form == "stein" else plastic(rng)
        dome = 0.38 if form == "stein" else 0.2
        line = [(0, 0), (1.04, 0), (1.04, 0), (1.04, 0.12), (0.9, 0.22), (0.5, dome * 0.4 + 0.12), (0, dome)]
        solids.append(turned(_smooth(line, rim, rim), (0, tall - 0.001, 0), lid, sides=48))
        if form == "stein":
            solids.append(_ball(rim * 0.12, (0, tall + rim * 0.45, 0), lid))
            solids.append(
                _horn(_bezier((rim, tall + 0.004, 0), (rim * 1.3, tall, 0), (rim * 1.25, tall * 1.18, 0)), np.full(16, rim * 0.08), lid)
            )
        else:
            solids.append(cushion((rim * 0.5, 0.006, rim * 0.25), (0, tall + rim * 0.17, rim * 0.55), 0.002, BLACK))
        parts.append(Parts(noun="lid", count=1, material=lid))
    elif maybe(rng, 0.4):
        top = tall * 0.86
        drink = turned([(0, top - 0.001), (_radius(outer, top) - wall, top - 0.001), (0, top)], (0, 0, 0), _paint(rng, "brown"))
        solids += _shaped([drink], _squared(6)) if form == "square" else [drink]
    if form == "cup" and maybe(rng, 0.75):
        plate = _smooth([(0.55, 0), (0.6, 0.004), (1.2, 0.008), (1.75, 0.02)], radius)
        solids = [*(solid.moved((0, 0.005, 0)) for solid in solids), *_vessel(plate, 0.003, body, body)]
        parts.append(Parts(noun="saucer", count=1))
    if form in ("straight", "cup", "tapered", "tulip") and len(parts) < 3 and maybe(rng, 0.15):
        end = (-rim * 0.9, tall * 1.5, 0.01)
        solids += [rod((rim * 0.2, 0.02, 0), end, 0.0018, 0.0025, STEEL), _stretched(_ball(0.009, (0, 0, 0), STEEL, 1.5), z=0.4).moved(end)]
        parts.append(Parts(noun="spoon", count=1, material=STEEL))
    return Thing(solids=tuple(solids), main=body, style=tuple(style), parts=tuple(parts))


# --------------------------------------------------------------------------------------------------------------- plants


def _blade(path: Floats, widths: Floats, material: Material, fold: float = 0.2) -> Solid:
    """A leaf along a path in the plane of Y and Z, with a keel; both its sides are made."""
    way = np.gradient(path, axis=0)
    up = np.cross(way / np.linalg.norm(way, axis=1, keepdims=True), (1.0, 0, 0))
    side = np.array([-1.0, 0, 1.0])
    out = up[:, None] * (fold * np.abs(side))[None, :, None] + side[None, :, None] * np.array([1.0, 0, 0])
    top = path[:, None] + widths[:, None, None] * out  # [K, 3, 3]
    normals = up[:, None] - (fold * side)[None, :, None] * np.array([1.0, 0, 0])
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    vertices = np.concatenate([top, top - 0.0006 * normals]).reshape(-1, 3)
    corner = (np.arange(len(path) - 1)[:, None] * 3 + np.arange(2)).ravel()
    faces = np.concatenate([np.stack([corner, corner + 3, corner + 4], axis=1), np.stack([corner, corner + 4, corner + 1], axis=1)])
    both = np.concatenate([faces, faces[:, ::-1] + 3 * len(path)])
    return Solid(vertices=vertices, normals=np.concatenate([normals, -normals]).reshape(-1, 3), faces=both, material=material)


def _arc(length: float, rise: float, droop: float, steps: int) -> Floats:
    """A path from the origin towards +Z that starts at a slope of so many degrees and bends down."""
    slope = np.radians(rise - droop * np.linspace(0, 1, steps - 1))
    step = length / (steps - 1) * np.stack([0 * slope, np.sin(slope), np.cos(slope)], axis=1)
    return np.concatenate([np.zeros((1, 3)), np.cumsum(step, axis=0)])


def _leaf(
    length: float, width: float, rise: float, droop: float, material: Material, stalk: float = 0.0, blunt: float = 0.8
) -> list[Solid]:
    """A leaf towards +Z; its stalk is a part of the length."""
    path = _arc(length, rise, droop, 11)
    bare = round(10 * stalk)
    t = np.linspace(0, 1, 11 - bare)
    widths = width / 2 * np.maximum(np.sin(math.pi * t**blunt), 0.02)
    stem = [tube(path[: bare + 1], max(length * 0.008, 0.0012), material, sides=5)] if bare else []
    return [*stem, _blade(path[bare:], widths, material)]


def _frond(length: float, width: float, rise: float, droop: float, count: int, material: Material) -> list[Solid]:
    """A feather of narrow leaves on both sides of a rib: of a palm or a fern."""
    path = _arc(length, rise, droop, 12)
    solids = [_horn(path, np.linspace(length * 0.009, length * 0.003, 12), material, sides=5)]
    for t in np.linspace(0.18, 0.98, count):
        at = [float(np.interp(t, np.linspace(0, 1, 12), path[:, i])) for i in range(3)]
        long = width * math.sin(math.pi * (0.12 + 0.8 * t)) ** 0.7
        small = _blade(_arc(long, 5, 35, 3), np.array([0.4, 1, 0.03]) * min(long * 0.11, length * 0.8 / count), material)
        pitch = rise - droop * float(t)
        solids += [small.turned("y", side * 58).turned("x", -pitch).moved((at[0], at[1], at[2])) for side in (-1, 1)]
    return solids


def _around(solids: Sequence[Solid], degrees: float, at: Point = (0, 0, 0)) -> list[Solid]:
    return [solid.turned("y", degrees).moved(at) for solid in solids]


def _green(rng: Rng) -> Material:
    r, g, b = np.array(LEAF.color) * rng.uniform(0.75, 1.25) + rng.normal(0, 0.03, 3)
    return replace(LEAF, color=(float(np.clip(r, 0.05, 0.6)), float(np.clip(g, 0.25, 0.8)), float(np.clip(b, 0.05, 0.5))))


def _flower(rng: Rng, size: float, petal: Material) -> list[Solid]:
    """A blossom that looks up from the origin: daisy, tulip, rose or lily."""
    match rng.integers(4):
        case 0:
            count = int(rng.integers(6, 13))
            one = _blade(_arc(size, 15, 30, 4), size * np.array([0.08, 0.24, 0.24, 0.02]), petal, 0.1)
            return [
                _ball(size * 0.3, (0, size * 0.08, 0), pick(rng, (BRASS, BLACK)), 0.5, 10, rings=6),
                *(one.turned("y", i * 360 / count) for i in range(count)),
            ]
        case 1:
            cup = _smooth([(0.05, 0), (0.5, 0.1), (0.62, 0.6), (0.4, 1.3)], size, size, 2)
            return _shaped(_vessel(cup, size * 0.06, petal, petal, sides=18), _fluted(3, 0.12))
        case 2:
            line = _smooth([(0, 0), (0.5, 0.05), (0.75, 0.5), (0.55, 0.95), (0.3, 0.9), (0, 0.7)], size, size, 2)
            return _shaped([turned(line, (0, 0, 0), petal, sides=20)], _fluted(5, 0.1), 1.2 / size)
        case _:
            one = _blade(_arc(size * 1.3, 75, 75, 6), size * np.array([0.1, 0.25, 0.34, 0.3, 0.18, 0.02]), petal, 0.25)
            return [_ball(size * 0.15, (0, size * 0.3, 0), BRASS, 2, 8, rings=6), *(one.turned("y", i * 60) for i in range(6))]


_PETALS: Final = ("red", "pink", "yellow", "white", "purple", "orange", "blue")


def _stems(rng: Rng, height: float, mouth: float, wide: float) -> tuple[list[Solid], tuple[Parts, ...]]:
    """Cut flowers, twigs, leaves or grass that rise from the origin through a mouth."""
    sort, green, petal = int(rng.integers(5)), _green(rng), _paint(rng, pick(rng, _PETALS))
    count = pick(rng, (1, 2, 3, 4, 5, 6, 8, 10)) if sort < 3 else int(rng.integers(8, 16))
    dry = wood(rng, "brown")
    seed, size = int(rng.integers(1 << 30)), height * rng.uniform(0.12, 0.24) * (0.75 if count > 6 else 1)
    solids: list[Solid] = []
    for i in range(count):
        lean = wide * (0.15 if count == 1 else rng.uniform(0.45, 1.0))
        tall = height * rng.uniform(0.7, 1.0)
        path = _bezier((0, -height * 0.12, 0), (0, tall * 0.4, mouth * 0.6), (0, tall * 0.8, lean * 0.7), (0, tall, lean), steps=10)
        end: Point = (0.0, float(path[-1, 1]), float(path[-1, 2]))
        tip: list[Solid]
        match sort:
            case 0 | 1 | 2:
                blossom = [
                    part.turned("x", 0.4 * math.degrees(lean / tall)).moved(end)
                    for part in _flower(np.random.default_rng(seed), size, petal)
                ]
                leaf = [part.moved((0, float(path[5, 1]), float(path[5, 2]))) for part in _leaf(height * 0.3, height * 0.07, 50, 40, green)]
                tip = [tube(path, height * 0.009, green, sides=6), *blossom, *leaf]
            case 3:
                buds = [_ball(height * 0.022, (0, float(p[1]), float(p[2])), petal, 1.3, 8, rings=6) for p in path[4::2]]
                tip = [_horn(path, np.linspace(0.009, 0.004, 10) * height, dry, sides=6), *buds]
            case _:
                tip = [_blade(path, height * 0.035 * np.array([0.5, 0.6, 0.7, 0.9, 1, 1, 0.9, 0.7, 0.4, 0.03]), green)]
        solids += _around(tip, i * 137.5)
    if sort < 3:
        return solids, (Parts(noun="flower", count=count, material=petal),)
    return solids, (Parts(noun="twig", count=count, material=dry),) if sort == 3 else ()


# ---------------------------------------------------------------------------------------------------------------- vases

_VASES: Final[tuple[Line, ...]] = (
    [(0.45, 0), (0.5, 0.03), (0.95, 0.25), (1, 0.45), (0.8, 0.68), (0.35, 0.82), (0.32, 0.9), (0.5, 1)],  # belly and neck
    [(0.5, 0), (0.52, 0.1), (0.95, 0.6), (1, 0.78), (0.7, 0.92), (0.42, 0.95), (0.5, 1)],  # shoulders high up
    [(0.62, 0), (0.62, 0.04), (0.5, 0.3), (0.55, 0.6), (0.8, 0.9), (1, 1)],  # trumpet
    [(0.98, 0), (1, 0.02), (1, 0.4), (1, 0.8), (1, 1)],  # cylinder
    [(0.7, 0), (1, 0.12), (1, 0.3), (0.5, 0.48), (0.28, 0.62), (0.25, 0.8), (0.3, 1)],  # bottle
    [(0.6, 0), (0.95, 0.1), (1, 0.3), (0.55, 0.5), (0.62, 0.7), (0.6, 0.82), (0.3, 0.92), (0.38, 1)],  # double gourd
    [(0.55, 0), (0.6, 0.03), (0.3, 0.1), (0.28, 0.14), (0.8, 0.35), (1, 0.6), (0.8, 0.78), (0.6, 0.85), (0.85, 1)],  # urn on a foot
    [(0.4, 0), (0.75, 0.06), (1, 0.35), (0.98, 0.6), (0.7, 0.85), (0.5, 0.96), (0.55, 1)],  # egg
    [(0.5, 0), (0.55, 0.1), (0.7, 0.5), (0.95, 0.9), (1, 1)],  # cone
    [(0.8, 0), (0.85, 0.05), (0.6, 0.35), (0.6, 0.5), (0.9, 0.85), (1, 1)],  # hourglass
)


def vase(rng: Rng) -> Thing:
    """Turned, square, faceted, fluted or twisted; amphorae with two handles, jars with a lid; empty or with flowers, twigs or grass."""
    form = int(rng.integers(len(_VASES)))
    tall = rng.uniform(0.18, 0.45)
    wide = tall * (rng.uniform(0.2, 0.36) if form not in (3, 8) else rng.uniform(0.14, 0.28)) * rng.uniform(0.85, 1.1)
    body = pick(rng, (ceramic(rng), ceramic(rng), ceramic(rng), glass(rng), metal(rng), stone(rng)))
    knots = [(r * (rng.uniform(0.88, 1.12) if 0 < i < len(_VASES[form]) - 1 else 1), h) for i, (r, h) in enumerate(_VASES[form])]
    outer = _smooth(knots, wide, tall)
    rim = outer[-1][0]
    solids = _vessel(outer, min(0.006, rim * 0.2), body, body, sides=72)
    style = ["slim"] if tall / wide > 5.5 else ["wide"] if tall / wide < 3.1 else []
    parts: list[Parts] = []
    if maybe(rng, 0.35):
        strip, count = pick(rng, (ceramic(rng), BRASS, WHITE, BLACK)), int(rng.integers(1, 5))
        where, thick = np.linspace(rng.uniform(0.15, 0.4), rng.uniform(0.5, 0.8), count), rng.uniform(0.015, 0.05)
        solids += [_band(outer, tall * float(h), tall * float(h + thick), strip, proud=0.001) for h in where]
        style += ["striped"] if count > 1 else []
        parts.append(Parts(noun="band", count=count, material=replace(strip, substance="")))
    handles, section = 0, None
    match rng.integers(8):
        case 0:
            section, style = _squared(rng.uniform(4, 14)), [*style, "square"]
        case 1:
            section = _faceted(pick(rng, (6, 8, 9)))
        case 2 | 3:
            section = _fluted(int(rng.integers(5, 17)), rng.uniform(0.03, 0.08))
        case 4 | 5 if form not in (3, 8):
            handles = 1 if maybe(rng, 0.15) else 2
    if section:
        solids = _shaped(solids, section, 0.0 if parts else pick(rng, (0.0, 0.0, rng.uniform(0.8, 2.2) / tall)))
    if handles:
        low, high = tall * rng.uniform(0.5, 0.66), tall * rng.uniform(0.86, 0.95)
        ear = _ear(
            rng, (_radius(outer, low) * 0.98, low), (_radius(outer, high) * 0.97, high), wide * rng.uniform(0.35, 0.6), wide * 0.07, body
        )
        solids += [ear, ear.turned("y", 180)][:handles]
        parts.append(Parts(noun="handle", count=handles))
    if not section and not handles and rim < 0.8 * wide and maybe(rng, 0.25):
        lid = _smooth(
            [(0, 0), (1.06, 0), (1.06, 0), (1.04, 0.15), (0.8, 0.5), (0.2, 0.66), (0.16, 0.75), (0.28, 0.9), (0.2, 1.05), (0, 1.1)],
            rim,
            rim,
        )
        solids.append(turned(lid, (0, tall, 0), body))
        parts.append(Parts(noun="lid", count=1))
    elif maybe(rng, 0.5):
        stems, words = _stems(rng, tall * rng.uniform(0.6, 1.1), rim * 0.7, tall * rng.uniform(0.25, 0.5))
        solids += [solid.moved((0, tall * 0.96, 0)) for solid in stems]
        parts += words
    else:
        style.append("open")
    return Thing(solids=tuple(solids), main=body, style=tuple(style), parts=tuple(parts[:4]))


# ---------------------------------------------------------------------------------------------------------------- bowls


def _fruits(rng: Rng, wide: float, level: float) -> tuple[list[Solid], Parts]:
    """Three to five fruits in a ring that look over a rim, and perhaps one on top."""
    sorts = (("apple", "red", 0.9), ("apple", "green", 0.9), ("orange", "orange", 1.0), ("lemon", "yellow", 1.3), ("pear", "green", 1.2))
    noun, color, tall = pick(rng, sorts)
    skin, below = _paint(rng, color), int(rng.integers(3, 6))
    size = wide / (1 + 1 / math.sin(math.pi / below)) * 0.98
    line = [(0, 0.1), (0.25, 0.0), (0.8, 0.25), (1, 1), (0.85, 1.6), (0.3, 1.85), (0, 1.7)]
    if noun == "pear":
        line = [(0, 0), (0.8, 0), (1.05, 0.5), (0.9, 1.1), (0.4, 1.5), (0.4, 2), (0, 2.05)]
    elif noun == "lemon":
        line = [(0, 0), (0.2, 0), (0.25, 0.2), (1, 0.5), (1, 1.5), (0.25, 1.8), (0.2, 2), (0, 2)]
    elif noun == "orange":
        line = [(0, 0), (0.5, 0), (1, 0.45), (1, 1.3), (0.5, 1.95), (0, 2)]
    one = [turned(_smooth(line, size, size * tall, 2), (0, -size * tall, 0), skin, sides=20)]
    level = max(level, size * tall) + (0.5 * size if noun == "pear" else 0.0)
    if noun in ("apple", "pear"):
        one.append(rod((0, size * 0.6, 0), (size * 0.1, size * 1.05, 0), size * 0.05, size * 0.07, BLACK, sides=6))
    if noun == "lemon":
        one = [solid.turned("x", 70) for solid in one]
    solids = []
    for i in range(below):
        tilt = [solid.turned("z", float(rng.uniform(-25, 25))).moved((0, level, wide - size)) for solid in one]
        solids += _around(tilt, i * 360 / below)
    if top := maybe(rng, 0.6):
        solids += [solid.moved((0, level + size * 1.35, 0)) for solid in one]
    return solids, Parts(noun=noun, count=below + top, material=skin)


def bowl(rng: Rng) -> Thing:
    """For rice, soup, salad, mixing, fruit on a pedestal, sugar with a lid; round, square, fluted, with a wavy rim."""
    form = pick(rng, ("half", "wide", "deep", "flared", "pedestal", "mixing", "tureen", "salad", "shallow", "faceted"))
    wide = rng.uniform(0.07, 0.16)
    body = pick(rng, (ceramic(rng), ceramic(rng), ceramic(rng), glass(rng), wood(rng), metal(rng), stone(rng)))
    foot = rng.uniform(0.35, 0.55)
    ratio, curve = {
        "half": (rng.uniform(0.75, 0.95), [(foot, 0), (foot, 0.06), (0.85, 0.25), (1.0, 0.6), (1, 1)]),
        "wide": (rng.uniform(0.45, 0.6), [(foot, 0), (foot, 0.1), (0.8, 0.25), (0.95, 0.6), (1, 1)]),
        "deep": (rng.uniform(0.95, 1.2), [(foot, 0), (foot, 0.05), (0.85, 0.2), (1, 0.5), (0.98, 0.8), (0.95, 1)]),
        "flared": (rng.uniform(0.6, 0.85), [(foot, 0), (foot, 0.1), (0.5, 0.14), (0.62, 0.5), (0.75, 0.8), (1, 1)]),
        "pedestal": (
            rng.uniform(0.9, 1.3), [(0.5, 0), (0.5, 0.03), (0.16, 0.1), (0.12, 0.3), (0.2, 0.42), (0.8, 0.52), (0.97, 0.75), (1, 1)]
        ),
        "mixing": (
            rng.uniform(0.7, 0.95), [(foot, 0), (0.78, 0.25), (0.92, 0.7), (0.95, 0.93), (0.95, 0.93), (1.02, 0.97), (1.02, 1)]
        ),
        "tureen": (rng.uniform(0.8, 1.0), [(0.55, 0), (0.55, 0.04), (0.4, 0.1), (0.9, 0.3), (1.05, 0.6), (1, 0.9), (1, 1)]),
        "salad": (rng.uniform(0.55, 0.8), [(0.6, 0), (0.7, 0.04), (0.95, 0.4), (1.0, 0.75), (0.96, 1)]),
        "shallow": (rng.uniform(0.3, 0.42), [(foot, 0), (foot, 0.08), (0.8, 0.3), (1, 1)]),
        "faceted": (rng.uniform(0.6, 0.9), [(foot, 0), (foot, 0.05), (0.75, 0.4), (1, 1)]),
    }[form]  # fmt: skip
    tall = wide * ratio
    outer = _smooth(curve, wide, tall)
    rim, wall = outer[-1][0], wide * rng.uniform(0.03, 0.06)
    solids = _vessel(outer, wall, body, pick(rng, (body, body, WHITE, ceramic(rng))), sides=72)
    style: list[str] = {"wide": ["wide"], "shallow": ["wide", "low"], "deep": ["tall"], "pedestal": ["tall"]}.get(form, [])
    parts: list[Parts] = []
    if form == "pedestal":
        parts.append(Parts(noun="stem", count=1))
    count = int(rng.integers(1, 4))
    if form not in ("shallow", "pedestal", "mixing") and maybe(rng, 0.35):
        strip, thick = ceramic(rng), rng.uniform(0.05, 0.12)
        solids += [_band(outer, tall * (0.85 - 0.2 * i - thick), tall * (0.85 - 0.2 * i), strip, proud=wide * 0.012) for i in range(count)]
        parts.append(Parts(noun="band", count=count, material=replace(strip, substance="")))
        style = [*style, "striped"] if count > 1 else style
    if form == "faceted":
        solids = _shaped(solids, _faceted(pick(rng, (6, 8, 9, 12))))
    plain = form in ("tureen", "mixing") or maybe(rng, 0.5)
    if not plain and form != "faceted":
        match rng.integers(4):
            case 0:
                solids, style = _shaped(solids, _squared(rng.uniform(3, 7))), [*style, "square"]
            case 1:
                solids = _shaped(solids, _fluted(int(rng.integers(8, 19)), rng.uniform(0.02, 0.05)))
            case 2:  # a wavy rim
                lobes, depth = int(rng.integers(4, 9)), rng.uniform(0.06, 0.14)
                solids = _shaped(solids, lambda a, h: 1 + depth * np.cos(lobes * a) * np.clip(h / tall, 0, 1) ** 3)
            case _:
                solids, style = [_stretched(solid, x=1.35) for solid in solids], [*style, "oval"]
    if form == "tureen" or (form in ("half", "deep") and maybe(rng, 0.3)):
        low, high = tall * 0.55, tall * 0.85
        ear = _ear(
            rng, (_radius(outer, low) * 0.97, low), (_radius(outer, high) * 0.97, high), wide * rng.uniform(0.25, 0.4), wide * 0.06, body
        )
        if plain:
            solids += [ear, ear.turned("y", 180)]
            parts.append(Parts(noun="handle", count=2))
    if form == "mixing" and maybe(rng, 0.6):
        solids.append(_ear(rng, (rim * 0.9, tall * 0.6), (rim * 0.97, tall * 0.95), wide * 0.3, wide * 0.06, body))
        parts.append(Parts(noun="handle", count=1))
    if plain and form in ("tureen", "deep", "half") and maybe(rng, 0.9 if form == "tureen" else 0.3):
        lid = _smooth(
            [(0, 0), (1.03, 0), (1.03, 0), (1.0, 0.08), (0.7, 0.3), (0.12, 0.4), (0.1, 0.46), (0.18, 0.56), (0.1, 0.64), (0, 0.65)],
            rim,
            rim,
        )
        solids.append(turned(lid, (0, tall, 0), body, sides=48))
        parts.append(Parts(noun="lid", count=1))
    elif plain and form in ("half", "wide", "pedestal", "salad", "mixing", "shallow") and maybe(rng, 0.35):
        fruits, words = _fruits(rng, rim * 0.8, tall * (0.95 if form != "shallow" else 1.3))
        solids += fruits
        parts.append(words)
    elif form == "salad" and plain and maybe(rng, 0.6):
        server = wood(rng)
        for side in (-1, 1):
            end = (side * rim * 1.25, tall * 1.7, 0.0)
            solids += [rod((-side * rim * 0.2, tall * 0.2, side * rim * 0.3), end, wide * 0.03, wide * 0.05, server)]
            solids.append(_stretched(_ball(wide * 0.05, (0, 0, 0), server), z=1.4).moved(end))
        parts.append(Parts(noun="spoon", count=2, material=server))
    elif maybe(rng, 0.15) and plain:
        level = tall * 0.75
        soup = _paint(rng, pick(rng, ("orange", "green", "red", "brown", "white", "beige")))
        radius = _radius(outer, level) - wall * 0.7
        solids.append(turned([(0, level - 0.002), (radius, level - 0.002), (radius, level), (0, level)], (0, 0, 0), soup, sides=48))
    else:
        style = [*style, "open"]
    return Thing(solids=tuple(solids), main=body, style=tuple(style), parts=tuple(parts[:4]))


# -------------------------------------------------------------------------------------------------------------- teapots

_TEAPOTS: Final[dict[str, tuple[float, Line]]] = {  # height over radius, profile
    "globe": (1.75, [(0.5, 0), (0.55, 0.03), (0.95, 0.25), (1, 0.5), (0.85, 0.8), (0.5, 1)]),
    "squat": (1.15, [(0.6, 0), (0.65, 0.05), (1, 0.3), (1.0, 0.55), (0.7, 0.9), (0.45, 1)]),
    "utah": (1.5, [(0.75, 0), (0.8, 0.02), (0.95, 0.2), (1, 0.4), (0.8, 0.8), (0.7, 1)]),
    "tall": (2.7, [(0.9, 0), (1, 0.04), (1, 0.25), (0.85, 0.55), (0.6, 0.85), (0.58, 1)]),
    "drum": (1.5, [(0.96, 0), (1, 0.05), (1, 0.4), (1, 0.85), (0.9, 0.97), (0.5, 1)]),
    "pear": (1.9, [(0.6, 0), (0.65, 0.04), (1, 0.22), (0.95, 0.45), (0.6, 0.8), (0.55, 1)]),
    "urn": (2.1, [(0.6, 0), (0.6, 0.03), (0.3, 0.12), (0.35, 0.17), (0.95, 0.4), (1, 0.62), (0.6, 0.9), (0.55, 1)]),
    "cone": (1.5, [(1, 0), (1, 0.04), (0.9, 0.3), (0.6, 0.8), (0.5, 1)]),
}  # fmt: skip


def _knob(rng: Rng, top: float, size: float, material: Material) -> list[Solid]:
    """To lift a lid by: a ball, a disc, a ring or a bud."""
    match rng.integers(4):
        case 0:
            neck = rod((0, top - size * 0.3, 0), (0, top + size, 0), size * 0.4, size * 0.35, material)
            return [neck, _ball(size, (0, top + size * 1.3, 0), material, 0.85)]
        case 1:
            line = [(0, -0.3), (0.4, -0.3), (0.35, 0.6), (1.3, 0.9), (1.3, 1.2), (0, 1.4)]
            return [turned(_smooth(line, size, size), (0, top, 0), material)]
        case 2:
            return [_ring(size, size * 0.3, (0, 0, 0), material).turned("x", 90).moved((0, top + size * 1.05, 0))]
    return [turned(_smooth([(0, -0.3), (0.5, -0.3), (0.4, 0.3), (1, 1), (0.3, 2.0), (0, 2.4)], size, size), (0, top, 0), material)]


def _spout(rng: Rng, outer: Line, low: float, wide: float, tall: float, material: Material) -> list[Solid]:
    """From a height on a profile towards +X: like a swan, straight, short or steep."""
    start, reach, high = _radius(outer, low) * 0.86, wide * rng.uniform(0.75, 1.1), tall * rng.uniform(0.85, 1.05)
    far, radii = wide + reach, np.linspace(1, 0.43, 16)
    match rng.integers(4):
        case 0:
            path = _bezier((start, low, 0), (far - reach * 0.3, low * 0.9, 0), (wide + reach * 0.25, high * 0.85, 0), (far, high, 0))
        case 1:
            path = _bezier((start, low, 0), (far - reach * 0.2, high, 0))
        case 2:
            low, high, radii = tall * 0.62, tall * rng.uniform(0.85, 0.97), np.linspace(1.15, 0.7, 16)
            start = _radius(outer, low) * 0.85
            path = _bezier((start, low, 0), (start + wide * 0.4, low, 0), (start + wide * 0.7, high, 0))
        case _:
            path = _bezier((start, low, 0), (far - reach * 0.1, low, 0), (far - reach * 0.3, high * 0.9, 0), (far - reach * 0.2, high, 0))
    pipe = tube(path, 1.0, material)
    middle, around = np.repeat(path, 12, axis=0), np.repeat(radii * wide * rng.uniform(0.16, 0.25), 12)[:, None] * pipe.normals
    hollow = middle + 0.82 * around
    out = np.concatenate([(middle + around)[:-12], hollow[-12:]])  # the two walls meet at the mouth
    dark = pick(rng, (material, BLACK))
    return [replace(pipe, vertices=out), Solid(vertices=hollow, normals=-pipe.normals, faces=pipe.faces[:, ::-1], material=dark)]


def teapot(rng: Rng) -> Thing:
    """Teapots, coffee pots and kettles: spouts straight, curved or short; handles behind, above or at a right angle to the spout."""
    form = pick(rng, list(_TEAPOTS))
    ratio, knots = _TEAPOTS[form]
    wide = rng.uniform(0.06, 0.09)
    tall = wide * ratio * rng.uniform(0.9, 1.12)
    body = pick(rng, (ceramic(rng), ceramic(rng), ceramic(rng), metal(rng), metal(rng), glass(rng)))
    outer = _smooth(knots, wide, tall)
    rim = outer[-1][0]
    solids = [turned([(0.0, 0.0), *outer, (rim * 0.9, tall), (0.0, tall)], (0, 0, 0), body, sides=72)]
    style = list(_proportion(2 * wide, tall, 0.65, 1.15))
    parts: list[Parts] = []
    if maybe(rng, 0.3):
        strip, count = pick(rng, (ceramic(rng), BRASS, WHITE)), int(rng.integers(1, 4))
        solids += [_band(outer, tall * (0.3 + 0.17 * i), tall * (0.36 + 0.17 * i), strip, proud=0.0008) for i in range(count)]
        parts.append(Parts(noun="band", count=count, material=replace(strip, substance="")))
    match rng.integers(7):
        case 0:
            solids = _shaped(solids, _fluted(int(rng.integers(8, 19)), rng.uniform(0.02, 0.045)))
        case 1:
            solids = _shaped(solids, _faceted(pick(rng, (6, 8))))
        case 2 if form in ("drum", "cone", "globe"):
            solids, style = _shaped(solids, _squared(rng.uniform(3, 7))), [*style, "square"]
    knob = pick(rng, (body, body, wood(rng), BLACK, BRASS))
    if lidded := maybe(rng, 0.93):
        dome = rng.uniform(0.12, 0.5)
        solids.append(
            turned(
                _smooth([(0, 0), (1.05, 0), (1.05, 0), (1, 0.08), (0.75, dome * 0.8), (0.1, dome), (0, dome)], rim, rim), (0, tall, 0), body
            )
        )
        solids += _knob(rng, tall + rim * dome, rim * rng.uniform(0.16, 0.28), knob)
    else:
        dark = turned([(0, tall), (rim * 0.85, tall), (0, tall + 0.001)], (0, 0, 0), BLACK)
        solids += [_ring(rim * 0.92, rim * 0.08, (0, tall, 0), body), dark]
        style.append("open")
    solids += _spout(rng, outer, tall * (0.5 if form == "urn" else rng.uniform(0.25, 0.45)), wide, tall, body)
    grip = pick(rng, (body, body, wood(rng), BLACK))
    match rng.integers(8):
        case 0 | 1:  # over the top
            base = max(_radius(outer, tall * 0.8), wide * 0.5)
            arch = tall + wide * rng.uniform(0.9, 1.3)
            path = _bezier(
                (-base, tall * 0.8, 0), (-base * 1.3, arch * 1.15, 0), (base * 1.3, arch * 1.15, 0), (base, tall * 0.8, 0), steps=26
            )
            solids.append(_stretched(tube(path, wide * 0.06, grip), z=rng.uniform(1, 1.8)))
            solids += [_ball(wide * 0.1, (side * base, tall * 0.8, 0), grip, sides=12) for side in (-1, 1)]
            parts.append(Parts(noun="top handle", count=1, material=grip))
        case 2:  # a stick at the side
            y = tall * 0.6
            path = _bezier((0, y, _radius(outer, y) * 0.9), (0, y + wide * 0.25, wide * 2.1))
            solids.append(_horn(path, np.linspace(0.12, 0.19, 16) * wide, grip))
            parts.append(Parts(noun="side handle", count=1, material=grip))
        case _:
            low, high = tall * rng.uniform(0.2, 0.35) if form != "urn" else tall * 0.45, tall * rng.uniform(0.75, 0.92)
            ends = [(_radius(outer, h) * 0.95, h) for h in (low, high)]
            solids.append(_ear(rng, ends[0], ends[1], wide * rng.uniform(0.6, 0.9), wide * rng.uniform(0.07, 0.11), grip).turned("y", 180))
            parts.append(Parts(noun="handle", count=1, material=grip))
    if lidded:
        parts.append(Parts(noun="lid", count=1))
    if form in ("globe", "squat", "pear") and maybe(rng, 0.3):
        count, up = int(rng.integers(3, 5)), wide * 0.22
        stub = rod((0, 0, wide * 0.62), (0, up * 1.6, wide * 0.5), wide * 0.07, wide * 0.12, body)
        solids = [solid.moved((0, up, 0)) for solid in solids] + [stub.turned("y", 45 + i * 360 / count) for i in range(count)]
        parts.append(Parts(noun="leg", count=count))
    return Thing(solids=tuple(solids), main=body, style=tuple(style), parts=tuple(parts[:4]))


# -------------------------------------------------------------------------------------------------------------- buckets


def _bail(rng: Rng, half: float, at: float, thick: float, wire: Material, grip: Material | None) -> list[Solid]:
    """A wire over a mouth from ear to ear, upright, leaning or let down."""
    high = half * rng.uniform(1.0, 1.35)
    angle = np.linspace(0, math.pi, 29)
    path = np.stack([-half * np.cos(angle), high * np.sin(angle) ** rng.uniform(0.7, 1.0), 0 * angle], axis=1)
    solids = [tube(path, thick, wire, sides=8)]
    if grip:
        mid = path[11:18]
        solids.append(_horn(mid, np.full(len(mid), thick * 3), grip, sides=12))
    lean = pick(rng, (0.0, 0.0, rng.uniform(20, 60), 82.0)) * pick(rng, (-1, 1))
    knobs = [rod((side * half * 0.94, 0, 0), (side * (half + thick * 2), 0, 0), thick * 2.5, thick * 2.5, wire) for side in (-1, 1)]
    return [solid.turned("x", lean).moved((0, at, 0)) for solid in [*solids, *knobs]]


def bucket(rng: Rng) -> Thing:
    """Pails of plastic, zinc or staves with hoops, square ones, tubs with two handles, paint with a lid, ice on a foot, toys for sand."""
    form = pick(rng, ("plastic", "plastic", "zinc", "zinc", "staves", "square", "tub", "paint", "ice", "toy"))
    wide, foot = rng.uniform(0.13, 0.17), rng.uniform(0.68, 0.85)
    tall = wide * rng.uniform(1.7, 2.2)
    body = plastic(rng)
    rim: Line = [(0.97, 0.93), (0.97, 0.93), (1.04, 0.93), (1.04, 0.93), (1.04, 1), (1.04, 1)]
    match form:
        case "zinc" | "ice":
            body = metal(rng, pick(rng, ("grey", "grey", "white", "blue", "green", "red")) if form == "zinc" else "grey")
            rim = [(0.98, 0.96), (1, 0.97), (1.04, 0.98), (1.04, 1), (1.02, 1.01)]
        case "staves":
            body, foot, rim = wood(rng, pick(rng, ("brown", "beige"))), pick(rng, (rng.uniform(0.75, 0.95), 1.15)), [(1, 1)]
        case "tub":
            tall, wide = tall * 0.6, wide * 1.3
        case "paint":
            foot, body, wide, tall = 0.97, pick(rng, (metal(rng), plastic(rng, "white"), plastic(rng))), wide * 0.75, tall * 0.75
        case "toy":
            wide, tall = wide * 0.55, tall * 0.55
    base = wide * foot
    knots = [(foot, 0), (foot, 0), (foot + (0.97 - foot) * 0.3, 0.3), (foot + (0.97 - foot) * 0.75, 0.75), *rim]
    if form == "zinc":
        knots[:2] = [(foot * 1.02, 0), (foot * 1.02, 0.05), (foot, 0.05), (foot, 0.05)]
    if form == "ice":
        knots = [(0.55, 0), (0.55, 0.04), (0.2, 0.1), (0.2, 0.16), (0.7, 0.26), (0.85, 0.5), *rim] if maybe(rng, 0.5) else knots
    outer = _smooth(knots, wide, tall)
    solids = _vessel(outer, wide * (0.06 if form == "staves" else 0.025), body, body)
    parts: list[Parts] = []
    style = list(_proportion(2 * wide, tall, 0.8, 1.05))
    count = 0
    if form == "staves":
        n, hoop = int(rng.integers(10, 17)), pick(rng, (STEEL, BLACK, BRASS))
        solids = _shaped(solids, lambda a, h: 1 - 0.022 * np.abs(np.cos(n / 2 * a)) ** 14)
        count = int(rng.integers(2, 4))
        where = np.linspace(0.15, 0.82, count)
        solids += [_band(outer, tall * float(h), tall * float(h + 0.07), hoop, proud=0.002) for h in where]
        parts.append(Parts(noun="hoop", count=count, material=hoop))
    elif form in ("zinc", "plastic", "toy", "paint") and maybe(rng, 0.6):
        count, strip = int(rng.integers(1, 4)), body if form == "zinc" else plastic(rng)
        where, thick = np.linspace(0.35, 0.72, count), 0.015 if form == "zinc" else rng.uniform(0.04, 0.12)
        solids += [_band(outer, tall * float(h), tall * float(h + thick), strip, proud=0.0025 if form == "zinc" else 0.001) for h in where]
        style += ["striped"] if strip is not body and count > 1 else []
        if strip is not body:
            parts.append(Parts(noun="band", count=count, material=replace(strip, substance="")))
    if form == "square":
        solids, style = _shaped(solids, _squared(rng.uniform(4, 9))), [*style, "square"]
        if maybe(rng, 0.5):
            solids = [_stretched(solid, z=1.35) for solid in solids]
    edge, grip = wide * 1.02, pick(rng, (None, wood(rng), plastic(rng), BLACK))
    if form in ("tub", "ice"):
        at = tall * rng.uniform(0.8, 0.92)
        arc = _bezier((-0.35, 0, 0), (-0.35, 0, 0.45), (0.35, 0, 0.45), (0.35, 0, 0), steps=20) * wide
        ear = tube(arc, wide * 0.05, pick(rng, (body, BLACK, STEEL)), sides=10)
        ear = ear.turned("x", pick(rng, (0.0, 60.0, -50.0))).moved((0, at, _radius(outer, at) - wide * 0.06))
        solids += [ear.turned("y", turn) for turn in (90, 270)]
        parts.append(Parts(noun="handle", count=2))
    elif form == "staves" or maybe(rng, 0.94):
        rope = pick(rng, (STEEL, STEEL, BLACK, plastic(rng)))
        if form == "staves":
            solids += [box((wide * 0.06, tall * 0.28, wide * 0.35), (side * wide * 0.97, tall * 0.86, 0), body) for side in (-1, 1)]
            rope, edge = pick(rng, (STEEL, fabric(rng, "beige"))), wide * 0.98
        at = tall * (1.05 if form == "staves" else 0.9)
        thick = wide * (0.045 if rope.substance == "fabric" else 0.024)
        solids += _bail(rng, edge + thick, at, thick, rope, None if rope.substance == "fabric" else grip)
        parts.append(Parts(noun="handle", count=1, material=rope))
    top = outer[-1][0]
    if form == "paint" and maybe(rng, 0.6):
        lid = pick(rng, (body, plastic(rng)))
        line = [(0, 0), (1.03, 0), (1.03, 0), (1.03, 0.06), (0.9, 0.06), (0.9, 0.06), (0.88, 0.03), (0, 0.03)]
        solids.append(turned(_smooth(line, top, top), (0, tall * 0.985, 0), lid, sides=48))
        parts.append(Parts(noun="lid", count=1, material=lid))
    elif form == "ice" and maybe(rng, 0.6):
        wine = _smooth(_BOTTLES["claret"][0], wide * 0.27, tall * 1.25)
        flask = [
            turned([(0.0, 0.0), *wine, (0.0, tall * 1.25)], (0, 0, 0), glass(rng)),
            *_closure(rng, "foil", wine[-1][0], tall * 1.25, 1.0),
        ]
        solids += [solid.turned("z", -14).moved((-wide * 0.15, tall * 0.3, 0)) for solid in flask]
        parts.append(Parts(noun="bottle", count=1))
    elif form == "toy" and maybe(rng, 0.6):
        spade = plastic(rng)
        handle = rod((0, tall * 0.2, 0), (wide * 0.5, tall * 1.6, 0), wide * 0.07, wide * 0.07, spade)
        solids += [
            handle,
            rod((wide * 0.5, tall * 1.6, -wide * 0.25), (wide * 0.5, tall * 1.6, wide * 0.25), wide * 0.08, wide * 0.08, spade),
        ]
        parts.append(Parts(noun="spade", count=1, material=spade))
    elif form != "square" and maybe(rng, 0.3):
        level = tall * rng.uniform(0.6, 0.88)
        fill = _paint(rng, pick(rng, ("blue", "beige", "grey", "brown")))
        solids.append(turned([(0, base * 0.1), (_radius(outer, level) - wide * 0.03, level), (0, level)], (0, 0, 0), fill, sides=48))
    return Thing(solids=tuple(solids), main=body, style=tuple(style), parts=tuple(parts[:4]))


# ---------------------------------------------------------------------------------------------------------------- pans


def _egg(rng: Rng, radius: float) -> list[Solid]:
    """Fried."""
    white, yolk = _paint(rng, "white"), _paint(rng, "orange")
    edge = turned(_smooth([(0, 0), (1, 0), (1, 0.05), (0.8, 0.12), (0, 0.13)], radius, radius), (0, 0, 0), white)
    return [
        *_shaped([edge], _fluted(int(rng.integers(3, 6)), rng.uniform(0.06, 0.13))),
        _ball(radius * 0.36, (0, radius * 0.1, 0), yolk, 0.7, 16),
    ]


def _pan_handle(rng: Rng, path: Floats, wide: float, grip: Material, bracket: Material) -> list[Solid]:
    """A flat bar along a path of 28 points, its first third of the bracket's material."""
    t, flat = np.linspace(0, 1, 28), rng.uniform(1.4, 2.2)
    styles = (
        0.055 + 0.03 * t,
        0.075 - 0.03 * np.sin(math.pi * t**0.8),
        0.045 + 0.035 * np.sin(math.pi * np.clip(t * 1.5 - 0.5, 0, 1)),
        0.06 + 0 * t,
    )
    radii = wide * pick(rng, styles)
    if bracket is grip:
        return [_stretched(_horn(path, radii, grip), z=flat)]
    return [_stretched(_horn(path[:10], np.full(10, wide * 0.035), bracket), z=flat), _stretched(_horn(path[9:], radii[9:], grip), z=flat)]


def frying_pan(rng: Rng) -> Thing:
    """Skillets of cast iron, coated and square grill pans, woks, crepe pans, saucepans and saute pans with lids, paella pans."""
    form = pick(rng, ("coated", "coated", "coated", "iron", "iron", "grill", "wok", "crepe", "sauce", "sauce", "saute", "paella"))
    wide = rng.uniform(0.1, 0.16)
    dark, bare = metal(rng, "black"), metal(rng, "grey")
    body = pick(rng, (dark, bare, bare, metal(rng, pick(rng, ("red", "blue", "green", "orange", "white", "beige")))))
    inside = pick(rng, (dark, bare, body))
    depth, knots = {
        "coated": (rng.uniform(0.28, 0.42), [(0.74, 0), (0.8, 0.05), (0.88, 0.35), (0.95, 0.8), (1.02, 1)]),
        "iron": (rng.uniform(0.3, 0.45), [(0.86, 0), (0.9, 0.05), (0.95, 0.5), (1, 0.9), (1, 1)]),
        "grill": (rng.uniform(0.3, 0.4), [(0.84, 0), (0.88, 0.05), (0.95, 0.6), (1, 1)]),
        "wok": (rng.uniform(0.5, 0.7), [(0.3, 0), (0.45, 0.05), (0.75, 0.35), (0.93, 0.75), (1, 1)]),
        "crepe": (rng.uniform(0.12, 0.18), [(0.88, 0), (0.92, 0.1), (1, 1)]),
        "sauce": (rng.uniform(0.95, 1.5), [(0.92, 0), (1, 0.06), (1, 0.4), (1, 0.9), (1.04, 1)]),
        "saute": (rng.uniform(0.42, 0.6), [(0.92, 0), (1, 0.1), (1, 0.5), (1, 0.9), (1.02, 1)]),
        "paella": (rng.uniform(0.2, 0.28), [(0.82, 0), (0.86, 0.05), (1, 0.9), (1.03, 1)]),
    }[form]  # fmt: skip
    if form == "iron" or form == "grill":
        body = inside = pick(rng, (dark, dark, metal(rng, "grey"), body))
    wide *= 0.75 if form == "sauce" else 1.25 if form in ("wok", "paella") else 1
    tall, wall = wide * depth, wide * (0.045 if form in ("iron", "grill") else 0.025)
    outer = _smooth(knots, wide, tall)
    solids = _vessel(outer, wall, body, inside, sides=72)
    style: list[str] = {"sauce": ["tall"], "saute": [], "crepe": ["low"], "paella": ["wide"], "wok": ["curved", "wide"]}.get(form, [])
    parts: list[Parts] = []
    rim, floor = outer[-1][0], wall
    square = form == "grill" and maybe(rng, 0.6)
    lips = form in ("iron", "sauce") and maybe(rng, 0.7)
    if square:
        solids, style = _shaped(solids, _squared(rng.uniform(5, 10))), [*style, "square"]
    elif lips:  # to pour over
        solids = _shaped(solids, lambda a, h: 1 + 0.07 * np.abs(np.cos(a)) ** 24 * np.clip(h / tall * 2 - 1, 0, 1))
    if form == "grill":
        for x in np.linspace(-0.7, 0.7, 9) * wide:
            half = wide * 0.78 if square else 0.97 * math.sqrt((wide * 0.86) ** 2 - x * x)
            solids.append(cushion((wide * 0.05, wide * 0.05, 2 * half), (float(x), floor - 0.001, 0), wide * 0.02, inside))
    grip = pick(rng, (BLACK, BLACK, wood(rng, pick(rng, ("brown", "beige"))), STEEL, body)) if form not in ("iron", "grill") else body
    from_side = _radius(outer, tall * 0.8) - wall
    if form == "paella":
        arc = _bezier((-0.32, 0, 0), (-0.32, 0.05, 0.42), (0.32, 0.05, 0.42), (0.32, 0, 0), steps=20) * wide
        loop = tube(arc, wide * 0.035, pick(rng, (body, STEEL)), sides=10).moved((0, tall * 0.75, from_side - wall))
        solids += [loop.turned("y", turn) for turn in (90, 270)]
        parts.append(Parts(noun="handle", count=2))
    else:
        long = wide * (rng.uniform(0.9, 1.3) if form in ("iron", "grill") else rng.uniform(1.4, 2.1))
        rise, start = wide * rng.uniform(0.0, 0.45), tall * rng.uniform(0.75, 0.9)
        path = _bezier(
            (from_side, start, 0),
            (rim + long * 0.35, start + rise * 1.1, 0),
            (rim + long * 0.6, start + rise, 0),
            (rim + long, start + rise, 0),
            steps=28,
        )
        solids += _pan_handle(rng, path, wide, grip, body if grip is body else pick(rng, (STEEL, body, dark, grip)))
        if maybe(rng, 0.5):  # to hang it up
            eye = _ring(wide * 0.085, wide * 0.03, (0, 0, 0), pick(rng, (STEEL, grip)))
            solids.append(eye.moved((float(path[-1, 0]) + wide * 0.13, float(path[-1, 1]), 0)))
            parts.append(Parts(noun="ring", count=1))
        if form == "coated" or form == "saute":
            rivet = _ball(wide * 0.03, (0, 0, 0), STEEL, sides=10)
            solids += [rivet.moved((_radius(outer, start) - wall, start, z * wide * 0.07)) for z in (-1, 1)]
        if second := (form in ("iron", "wok", "saute") and maybe(rng, 0.5)):
            arc = _bezier((-0.25, 0, 0), (-0.25, 0, 0.3), (0.25, 0, 0.3), (0.25, 0, 0), steps=16) * wide
            solids.append(tube(arc, wide * 0.04, grip if form == "wok" else body, sides=10).moved((0, start, from_side)).turned("y", 270))
        parts.append(Parts(noun="handle", count=1 + second, material=grip if grip is not body else None))
    if form in ("sauce", "saute", "wok") and maybe(rng, 0.6):
        lid, high = pick(rng, (glass(rng, "white"), glass(rng, "blue"), body, STEEL)), rim * rng.uniform(0.12, 0.4)
        cover = turned(
            _smooth([(0, 0), (1.02, 0), (1.02, 0), (1.0, 0.1), (0.7, 0.75), (0.1, 1), (0, 1)], rim, high),
            (0, tall - 0.001, 0),
            lid,
            sides=48,
        )
        knob = _smooth([(0, -0.3), (0.4, -0.3), (0.4, 0.6), (1, 0.9), (1, 1.3), (0, 1.5)], rim * 0.16, rim * 0.16)
        solids += [cover, turned(knob, (0, tall + high, 0), pick(rng, (BLACK, grip, STEEL)))]
        if lid is not body:
            solids.append(_ring(rim, wide * 0.03, (0, tall + wide * 0.01, 0), STEEL))
        parts.append(Parts(noun="lid", count=1, material=lid))
    elif form not in ("sauce", "grill") and maybe(rng, 0.35):
        count = int(rng.integers(1, 4))
        place = wide * (0.0 if count == 1 else 0.4)
        if form == "wok":
            place *= 0.6
        for i in range(count):
            solids += _around(
                [solid.moved((0, floor, place)) for solid in _egg(rng, wide * (0.5 if count == 1 else 0.33))], i * 360 / count + 30
            )
        parts.append(Parts(noun="egg", count=count, material=_paint(rng, "white")))
    turn = pick(rng, (0.0, 0.0, -90.0))
    return Thing(solids=tuple(_around(solids, turn)), main=body, style=tuple(style), parts=tuple(parts[:4]))


# ------------------------------------------------------------------------------------------------------------ umbrellas


def _canopy(rng: Rng, wide: float, high: float, panels: int, cloths: Sequence[Material], valance: float, stays: Material) -> list[Solid]:
    """A spread cloth between ribs, its rim at a height of 0, in panels or in one piece, and what holds the ribs up from below."""
    t = np.linspace(0, 1, 13)
    power = rng.uniform(1.6, 2.6)
    out = [(wide * (1 - float(s)), high * (1 - (1 - float(s)) ** power)) for s in t]
    if valance:
        out = [(wide, -valance), *out]
    thick = 0.004
    inner = [(max(r - thick * 0.3, 0.0), h - thick) for r, h in reversed(out)]
    each = 10
    shell = turned([*inner[:-1], (inner[-1][0], out[0][1]), *out], (0, 0, 0), cloths[0], sides=each * panels)
    wave, scallop = 2 * math.pi / panels, wide * rng.uniform(0.03, 0.1)

    def hang(points: Floats) -> Floats:
        """Between ribs the cloth runs straight and its rim curves up."""
        angle = np.arctan2(points[:, 0], points[:, 2]) % wave
        along = np.hypot(points[:, 0], points[:, 2]) / wide
        chord = math.cos(wave / 2) / np.cos(angle - wave / 2)
        lift = scallop * np.clip(along, 0, 1.2) ** 4 * np.sin(math.pi * angle / wave)
        return np.stack([points[:, 0] * chord, points[:, 1] + lift, points[:, 2] * chord], axis=1)

    shell = _warped(shell, hang)
    thin = wide * 0.005
    stay = rod((0, high * 0.2, 0), (0, high * (1 - 0.55**power) - 2 * thin, wide * 0.55), thin, thin, stays, sides=6)
    below = [stay.turned("y", i * 360 / panels) for i in range(panels)]
    if len(cloths) == 1:
        return [shell, *below]
    column = (shell.faces.min(axis=1) % (each * panels)) // each
    last = np.ptp(shell.faces % (each * panels), axis=1) > 1  # the column that closes the circle
    column = np.where(last, panels - 1, column)
    return [*below, *(_only(shell, column % 2 == i, cloth) for i, cloth in enumerate(cloths))]


def _only(solid: Solid, mask: Floats, material: Material) -> Solid:
    """Some of the faces, of another material."""
    used, faces = np.unique(solid.faces[mask], return_inverse=True)
    return Solid(vertices=solid.vertices[used], normals=solid.normals[used], faces=faces.reshape(-1, 3), material=material)


def _grip(rng: Rng, thick: float, material: Material) -> tuple[list[Solid], bool]:
    """What a hand holds, from the origin down: a hook, or something straight."""
    match rng.integers(5):
        case 0 | 1 | 2:
            size = rng.uniform(0.04, 0.06)
            bow = np.linspace(0, math.pi * rng.uniform(1.0, 1.15), 16)
            hook = np.stack([size * (1 - np.cos(bow)), -0.07 - size * np.sin(bow), 0 * bow], axis=1)
            return [_horn(np.concatenate([[(0, 0.03, 0)], [(0, -0.02, 0)], hook]), np.full(18, thick * 1.6), material)], True
        case 3:
            line = _smooth([(0, -0.14), (1.2, -0.14), (2.6, -0.12), (2, -0.08), (2.4, -0.02), (1.2, 0.02), (0, 0.02)], thick)
            return [turned(line, (0, 0, 0), material, sides=16)], False
        case _:
            return [rod((0, -0.04, 0), (0, 0.02, 0), thick * 1.3, thick * 1.3, material), _ball(thick * 3, (0, -0.05, 0), material)], False


def _stand(rng: Rng, pole: float, material: Material) -> tuple[list[Solid], Parts]:
    """Foot of a parasol."""
    sleeve = rod((0, 0.02, 0), (0, rng.uniform(0.25, 0.45), 0), pole * 1.5, pole * 1.5, material)
    match rng.integers(3):
        case 0:
            line = _smooth([(0, 0), (0.24, 0), (0.24, 0), (0.24, 0.05), (0.1, 0.09), (0.06, 0.1), (0, 0.1)])
            return [sleeve, turned(line, (0, 0, 0), material)], Parts(noun="base", count=1)
        case 1:
            return [sleeve, cushion((0.45, 0.07, 0.45), (0, 0, 0), 0.02, stone(rng))], Parts(noun="base", count=1)
        case _:
            arms = [box((0.06, 0.04, 0.8), (0, 0, 0), material).turned("y", turn) for turn in (0, 90)]
            return [sleeve, *arms], Parts(noun="leg", count=4)


def _standing(solids: Sequence[Solid]) -> list[Solid]:
    down = min(float(solid.vertices[:, 1].min()) for solid in solids)
    return [solid.moved((0, -down, 0)) for solid in solids]


def _held(rng: Rng, form: str, cloths: Sequence[Material], panels: int, pole: Material) -> Thing:
    """Open, for one person, upright or laid `down` to dry, or of `paper`."""
    grip = pick(rng, (BLACK, wood(rng, "brown"), leather(rng), plastic(rng)))
    wide, under = rng.uniform(0.42, 0.65), rng.uniform(0.4, 0.65)
    high = wide * rng.uniform(0.32, 0.62)
    if form == "paper":
        panels, pole, high = 16, wood(rng), wide * rng.uniform(0.2, 0.35)
        grip = pole
    elif maybe(rng, 0.1):  # a dome over the head
        high = wide * 0.9
    long, thick = under + high, rng.uniform(0.005, 0.008)
    solids = [solid.moved((0, under, 0)) for solid in _canopy(rng, wide, high, panels, cloths, 0.0, pole)]
    tip = np.array([(0, long - 0.01, 0), (0, long + 0.05, 0), (0, long + 0.07, 0)])
    runner = rod((0, under + high * 0.2 - 0.03, 0), (0, under + high * 0.2 + 0.01, 0), thick * 2, thick * 2, pole, sides=10)
    solids += [rod((0, 0, 0), (0, long, 0), thick, thick, pole, sides=10), _horn(tip, np.array([2.2, 1.2, 0.6]) * thick, pole), runner]
    held, hook = _grip(rng, thick, grip)
    solids += held
    if form == "down":
        solids = [solid.turned("x", 112) for solid in solids]
    parts = [Parts(noun="hook" if hook else "handle", count=1, material=grip), Parts(noun="panel", count=panels)]
    style = ("striped", "open") if len(cloths) > 1 else ("open",)
    return Thing(solids=tuple(_standing(solids)), main=cloths[0], style=style, parts=tuple(parts))


def _rolled(rng: Rng, cloth: Material, panels: int, pole: Material) -> Thing:
    """Closed, neatly twisted or loose: on its tip, on its handle or lying."""
    grip, neat, long = pick(rng, (BLACK, wood(rng, "brown"), leather(rng), plastic(rng))), maybe(rng, 0.5), rng.uniform(0.55, 0.7)
    knots = [(0.3, 0.0), (1.0, 0.05), (1.0, 0.2), (0.75 if neat else 0.9, 0.5), (0.35, 0.9), (0.15, 1.0), (0, 1)]
    wide, deep = rng.uniform(0.035, 0.07), rng.uniform(0.08, 0.15) if neat else rng.uniform(0.18, 0.3)
    line = [(0.0, long * 0.03), *_smooth(knots, wide, long)]
    solids = _shaped([turned(line, (0, 0, 0), cloth, sides=80)], _fluted(panels, deep), rng.uniform(3, 9) * neat)
    strap = long * rng.uniform(0.3, 0.5)
    solids.append(_band(line[1:], strap, strap + 0.02, pick(rng, (cloth, BLACK)), proud=wide * deep * 0.8))
    solids.append(rod((0, -0.12, 0), (0, long + 0.06, 0), 0.006, 0.005, pole, sides=10))
    held, hook = _grip(rng, 0.007, grip)
    solids += [solid.moved((0, -0.11, 0)) for solid in held]
    match rng.integers(3):
        case 0:
            solids = [solid.turned("x", 180) for solid in solids]
        case 1:
            solids = [solid.turned("z", 88) for solid in solids]
    said = Parts(noun="hook" if hook else "handle", count=1, material=grip)
    return Thing(solids=tuple(_standing(solids)), main=cloth, style=("closed",), parts=(said,))


def _parasol(rng: Rng, form: str, cloths: Sequence[Material], panels: int, metalwork: Material) -> Thing:
    """For the `garden`, `furled` or hung from a pole at its `side`, or leaning at the `beach`."""
    long, wide, thick = rng.uniform(2.0, 2.5), rng.uniform(0.9, 1.5), rng.uniform(0.018, 0.026)
    base, foot = _stand(rng, thick, pick(rng, (STEEL, BLACK, WHITE)))
    high = wide * rng.uniform(0.25, 0.5)
    under = long - high
    parts = [Parts(noun="pole", count=1, material=metalwork), *([foot] if form != "beach" else [])]
    if form == "furled":
        knots = [(0.5, 0), (1.0, 0.02), (0.95, 0.25), (0.55, 0.6), (0.6, 0.68), (0.25, 1), (0, 1)]
        line = [(0.0, 0.02), *_smooth(knots, rng.uniform(0.12, 0.18), long * 0.55)]
        top, under = _shaped([turned(line, (0, 0, 0), cloths[0], sides=80)], _fluted(panels, 0.22)), long * 0.45
    else:
        top = _canopy(rng, wide, high, panels, cloths, pick(rng, (0.0, 0.12)) if form != "side" else 0.0, metalwork)
        parts.append(Parts(noun="panel", count=panels))
    top = [*(solid.moved((0, under, 0)) for solid in top), _ball(thick * 1.8, (0, long + 0.02, 0), metalwork, 1.4, 12)]
    pole = rod((0, 0.03, 0), (0, long, 0), thick, thick, metalwork)
    if form == "side":
        arm = _bezier((-wide * 1.05, 0.05, 0), (-wide * 1.25, long * 0.9, 0), (-wide * 1.1, long * 1.3, 0), (0, long + 0.14, 0), steps=24)
        hang = rod((0, under + high * 0.1, 0), (0, long + 0.15, 0), thick * 0.8, thick * 0.8, metalwork)
        top += [tube(arm, thick * 1.4, metalwork), hang, *(solid.moved((-wide * 1.05, 0, 0)) for solid in base)]
    elif form == "beach":
        joint = long * 0.62
        upper = [solid.moved((0, -joint, 0)) for solid in [*top, rod((0, joint - 0.02, 0), (0, long, 0), thick, thick, metalwork)]]
        lean = rng.uniform(8, 28)
        top = [solid.turned("z", lean).moved((0, joint, 0)) for solid in upper]
        top += [rod((0, 0, 0), (0, joint, 0), thick * 0.5, thick, metalwork), _ball(thick * 1.6, (0, joint, 0), metalwork, sides=12)]
    else:
        top += [pole, *base]
    style = ("closed",) if form == "furled" else ("striped", "open") if len(cloths) > 1 else ("open",)
    return Thing(solids=tuple(_standing(top)), main=cloths[0], style=style, parts=tuple(parts))


def umbrella(rng: Rng) -> Thing:
    """Open, rolled up, laid down to dry; for the beach and the garden, furled, on a pole at the side; of paper."""
    form = pick(rng, ("open", "open", "open", "down", "closed", "closed", "beach", "garden", "garden", "furled", "side", "paper"))
    panels, cloths, pole = pick(rng, (6, 8, 8, 10)), [fabric(rng)], pick(rng, (STEEL, BLACK, wood(rng)))
    if form == "closed":
        return _rolled(rng, cloths[0], panels, pole)
    if form != "furled" and maybe(rng, 0.4):
        cloths.append(
            fabric(rng, pick(rng, [name for name in ("white", "blue", "red", "yellow", "black") if name != cloths[0].color_name]))
        )
    return (_held if form in ("open", "down", "paper") else _parasol)(rng, form, cloths, panels, pole)


# ---------------------------------------------------------------------------------------------------------- potted plants


def _pot(rng: Rng, wide: float) -> tuple[list[Solid], float, Material, list[str], list[Parts]]:
    """A pot with earth of about a radius of 1 x wide: its solids, the height of the earth, its material and words."""
    tall = wide * rng.uniform(1.2, 2.0)
    body = pick(
        rng, (ceramic(rng, "orange"), ceramic(rng, "brown"), ceramic(rng), ceramic(rng), stone(rng), plastic(rng), metal(rng), wood(rng))
    )
    style, parts, section = [], [], None
    match rng.integers(6):
        case 0:
            foot = rng.uniform(0.6, 0.8)
            rim = [(0.95, 0.8), (0.95, 0.8), (1.08, 0.8), (1.08, 0.8), (1.12, 1), (1.12, 1)]
            knots = [(foot, 0), (foot, 0), ((foot + 0.95) / 2, 0.4), *rim]
        case 1:
            knots = [(0.97, 0), (1, 0.02), (1, 0.5), (1, 1)]
        case 2:
            knots, section = [(rng.uniform(0.75, 1), 0), (rng.uniform(0.8, 1), 0.05), (1, 0.5), (1, 1)], _squared(rng.uniform(6, 16))
            style.append("square")
        case 3:
            knots, tall = [(0.55, 0), (0.8, 0.06), (1.05, 0.4), (1.1, 0.7), (1, 1)], tall * 0.8
        case 4:
            knots = [(0.6, 0), (0.65, 0.03), (0.4, 0.14), (0.45, 0.2), (0.9, 0.4), (0.95, 0.75), (0.9, 0.85), (1.15, 0.97), (1.15, 1)]
        case _:
            knots, section = (
                [(rng.uniform(0.6, 0.8), 0), (0.8, 0.3), (1, 1)],
                pick(rng, (_faceted(pick(rng, (6, 8, 12))), _fluted(12, 0.03))),
            )
    outer = _smooth(knots, wide, tall)
    solids = _vessel(outer, wide * 0.07, body, body, sides=48)
    level = tall * 0.9
    earth = replace(stone(rng, "brown"), substance="")
    solids.append(
        turned([(0, level - 0.01), (_radius(outer, level) - wide * 0.04, level - 0.01), (0, level + wide * 0.06)], (0, 0, 0), earth)
    )
    if section:
        solids = _shaped(solids, section)
    low = outer[0][0]
    match rng.integers(6):
        case 0:
            plate = _smooth([(1.0, 0), (1.15, 0.02), (1.3, 0.2)], low, low)
            solids = [*(solid.moved((0, low * 0.05, 0)) for solid in solids), *_vessel(plate, low * 0.05, body, body)]
            level, parts = level + low * 0.05, [Parts(noun="saucer", count=1)]
        case 1 if not section:
            stand, up = frame(rng), wide * rng.uniform(0.5, 1.1)
            reach = max(r for r, _ in outer) + wide * 0.03
            corners = four(reach * 1.414, reach * 1.414)
            solids = [solid.moved((0, up, 0)) for solid in solids]
            solids += [rod((x, 0, z), (x, up + tall * 0.45, z), wide * 0.06, wide * 0.06, stand, sides=10) for x, z in corners]
            solids += [_horn(_bezier((x, up, z), (-x, up, -z), steps=4), np.full(4, wide * 0.05), stand) for x, z in corners[:2]]
            level, parts = level + up, [Parts(noun="leg", count=4, material=stand)]
    return solids, level, body, style, parts


def _cactus(rng: Rng, wide: float, green: Material) -> tuple[list[Solid], list[Parts]]:
    """A column with arms, a few columns, a barrel, or pads that grow from pads."""
    petal, ribs, said = (
        _paint(rng, pick(rng, ("pink", "red", "yellow", "white"))),
        int(rng.integers(8, 13)),
        [Parts(noun="cactus", count=1)],
    )
    match rng.integers(4):
        case 0 | 1:
            tall, thick, arms = wide * rng.uniform(3, 6), wide * rng.uniform(0.35, 0.55), int(rng.integers(0, 4))
            t = np.linspace(0, 1, 9)
            trunk = np.stack([0 * t, t * tall - thick, 0 * t], axis=1)
            solids = [_horn(trunk, thick * (0.9 + 0.2 * np.sin(math.pi * t)), green, sides=ribs * 5, lobes=ribs)]
            for i in range(arms):
                y, out, up = tall * rng.uniform(0.25, 0.6), thick * rng.uniform(2.0, 2.6), tall * rng.uniform(0.2, 0.4)
                path = _bezier((0, y, 0), (0, y, out * 0.95), (0, y + out * 0.1, out), (0, y + up, out), steps=12)
                solids.append(_horn(path, np.full(12, thick * 0.55), green, sides=36, lobes=9).turned("y", 90 + i * rng.uniform(110, 180)))
            return solids, [*said, Parts(noun="arm", count=arms)] if arms else said
        case 2:
            size = wide * rng.uniform(0.8, 1.05)
            solids = _shaped([_ball(size, (0, size * 0.75, 0), green, rng.uniform(0.85, 1.3), sides=ribs * 6)], _fluted(ribs, 0.08))
            top = max(float(solids[0].vertices[:, 1].max()) - size * 0.08, 0.0)
            if maybe(rng, 0.6):
                solids += [part.moved((0, top, 0)) for part in _flower(rng, size * 0.4, petal)]
                said.append(Parts(noun="flower", count=1, material=petal))
            return solids, said
    size, count = wide * rng.uniform(0.7, 0.9), int(rng.integers(1, 6))
    small = _ball(size * 0.7, (0, size * 0.85, 0), green, 1.35, sides=20, squash=0.3)
    solids = [_ball(size, (0, size * 1.15, 0), green, 1.35, sides=24, squash=0.28)]
    for lean in (-40, 38, 0, -75, 72)[:count]:
        slope = math.radians(lean)
        foot = (-size * 0.85 * math.sin(slope), size * (1.15 + 1.15 * math.cos(slope)), 0.0)
        solids.append(small.turned("y", float(rng.uniform(-35, 35))).turned("z", lean).moved(foot))
    return _around(solids, rng.uniform(0, 60)), [*said, Parts(noun="pad", count=count + 1)]


def _crown(rng: Rng, radius: float, at: Point, green: Material, leafy: bool) -> list[Solid]:
    """Of a tree or bush: a cloud of leaves, or clipped."""
    if not leafy:
        lumps = rng.uniform(-1, 1, (3, 3)) * 5 / radius

        def bend(points: Floats) -> Floats:
            away = points - at
            bump = 1 + 0.035 * np.sin(away @ lumps.T).sum(axis=1, keepdims=True)
            return at + away * bump

        return [_warped(_ball(radius, at, green, sides=40, rings=24), bend)]
    solids = []
    count = 110
    size = radius * rng.uniform(0.45, 0.65)
    for i in range(count):
        up = 1 - 2 * (i + 0.5) / count
        rise = math.degrees(math.asin(up))
        deep = radius * rng.uniform(0.35, 0.8)
        foot = (0.0, deep * up, deep * math.cos(math.radians(rise)))
        blade = _blade(_arc(size, rise + rng.uniform(-30, 30), rng.uniform(20, 70), 4), size * np.array([0.06, 0.28, 0.24, 0.01]), green)
        solids.append(blade.moved(foot).turned("y", i * 137.5).moved(at))
    return solids


def _rise(i: int, count: int, spread: float) -> float:
    """Slope in degrees of the i-th of leaves that stand up in the middle and lie at the rim."""
    return 88 - spread * ((i + 0.5) / count) ** 0.8


def _herb(rng: Rng, form: str, wide: float, level: float, green: Material) -> tuple[list[Solid], list[Parts]]:
    """What grows out of the earth without a trunk."""
    big, spread, count, plant = wide * rng.uniform(3.5, 6), rng.uniform(25, 65), int(rng.integers(6, 15)), []
    match form:
        case "broad":
            width, blunt, bare, droop = big * rng.uniform(0.2, 0.42), rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.55), rng.uniform(25, 85)
            for i in range(count):
                leaf = _leaf(big * rng.uniform(0.6, 1.0), width, _rise(i, count, spread), droop * rng.uniform(0.7, 1.2), green, bare, blunt)
                plant += _around(leaf, i * 137.5)
            return plant, [Parts(noun="stalk", count=count)]
        case "sword":
            thick = big * rng.uniform(0.035, 0.055)
            for i in range(count):
                widths = thick * np.array([0.7, 0.85, 1, 1, 1, 0.9, 0.7, 0.03])
                blade = _blade(_arc(big * rng.uniform(0.5, 0.9), 88, rng.uniform(0, 14), 8), widths, green, 0.5)
                plant += _around([blade.moved((0, 0, wide * 0.17 * math.sqrt(i)))], i * 137.5)
            return plant, [Parts(noun="blade", count=count)]
        case "fern":
            for i in range(count := count + 4):
                frond = _frond(big * rng.uniform(0.45, 0.65), big * 0.13, _rise(i, count, 50), rng.uniform(90, 140), 12, green)
                plant += _around(frond, i * 137.5)
            return plant, [Parts(noun="frond", count=count)]
        case "rosette":
            long, fat = wide * rng.uniform(1.2, 2.6), np.array([0.6, 0.8, 0.9, 0.85, 0.7, 0.5, 0.3, 0.08]) * rng.uniform(0.07, 0.15)
            for i in range(count := 2 * count + 4):
                path = _arc(long * (0.6 + 0.4 * i / count), _rise(i, count, 66), -rng.uniform(10, 35), 8)
                plant += _around([_stretched(_horn(path, long * fat, green, sides=8), x=1.5)], i * 137.5)
            return plant, [Parts(noun="thick blade", count=count)]
        case "flowers":
            count, petal = int(rng.integers(1, 10)), _paint(rng, pick(rng, _PETALS))
            tall, seed, size = wide * rng.uniform(1.8, 3.5), int(rng.integers(1 << 30)), wide * rng.uniform(0.4, 0.6)
            for i in range(count):
                lean = wide * (0.1 if count == 1 else 0.35 + math.sqrt(i / count))
                high = tall * rng.uniform(0.75, 1.0)
                stem = _bezier((0, -0.01, wide * 0.1), (0, high * 0.6, lean * 0.4), (0, high, lean), steps=8)
                blossom = _flower(np.random.default_rng(seed), size, petal)
                tilted = [part.turned("x", math.degrees(lean / high)).moved((0, high, lean)) for part in blossom]
                plant += _around([tube(stem, wide * 0.035, green, sides=6), *tilted], i * 137.5)
            for i in range(9):
                leaf = _leaf(tall * rng.uniform(0.5, 0.75), wide * 0.5, rng.uniform(40, 75), rng.uniform(40, 90), green)
                plant += _around(leaf, 60 + i * 137.5)
            return plant, [Parts(noun="flower", count=count, material=petal)]
    for i in range(count):  # trailing
        reach, drop = wide * rng.uniform(1.25, 1.6), min(level * 0.85, wide * rng.uniform(0.6, 2.0))
        vine = _bezier((0, 0, wide * 0.2), (0, wide * 1.6, wide * 0.8), (0, wide * 0.6, reach), (0, -drop, reach), steps=14)
        plant.append(tube(vine, wide * 0.02, green, sides=5).turned("y", i * 137.5))
        for k in range(2, 14):
            small = _blade(_arc(wide * 0.45, 30, 80, 5), wide * np.array([0.05, 0.19, 0.16, 0.09, 0.005]), green)
            plant += _around([small.turned("y", 50 * (-1) ** k).moved((0, float(vine[k, 1]), float(vine[k, 2])))], i * 137.5)
    return [*plant, *_crown(rng, wide * 0.8, (0, wide * 0.3, 0), green, True)], [Parts(noun="vine", count=count)]


def _tree(rng: Rng, form: str, wide: float, green: Material) -> tuple[list[Solid], list[Parts]]:
    """What has a trunk."""
    big, bark, plant = wide * rng.uniform(3.5, 6), wood(rng, "brown"), []
    match form:
        case "palm":
            count, tall = int(rng.integers(7, 12)), wide * rng.uniform(0.3, 3.5)
            top = (wide * rng.uniform(-0.4, 0.4), tall, 0.0)
            scars = 1 + 0.15 * (np.arange(14) % 2)
            plant.append(_horn(_bezier((0, -0.01, 0), (0, tall * 0.5, 0), top, steps=14), wide * np.linspace(0.16, 0.1, 14) * scars, bark))
            for i in range(count):
                frond = _frond(big * rng.uniform(0.6, 0.75), big * 0.24, 80 - 55 * i / count, rng.uniform(60, 100), 13, green)
                plant += _around(frond, i * 137.5, top)
            trunk = [Parts(noun="trunk", count=1, material=bark)] if tall > wide else []
            return plant, [*trunk, Parts(noun="frond", count=count)]
        case "topiary" if maybe(rng, 0.3):
            cone = _smooth([(0, 0), (0.8, 0.0), (1, 0.08), (0.75, 0.4), (0.3, 0.85), (0, 1)], wide * 1.3, big * 0.9)
            plant = [turned(cone, (0, wide * 0.5, 0), green), rod((0, -0.01, 0), (0, wide, 0), wide * 0.12, wide * 0.1, bark)]
            return plant, [Parts(noun="cone", count=1)]
        case "topiary":
            count, y, size = int(rng.integers(1, 4)), wide * rng.uniform(0.8, 2.5), wide * rng.uniform(1.0, 1.5)
            for _ in range(count):
                plant += _crown(rng, size, (0, y + size, 0), green, False)
                y, size = y + 2 * size + wide * rng.uniform(0.1, 0.5), size * 0.75
            return [*plant, rod((0, -0.01, 0), (0, y - size, 0), wide * 0.11, wide * 0.09, bark)], [Parts(noun="ball", count=count)]
        case "rubber":  # leaves up along a stem
            stems, count = int(rng.integers(1, 3)), int(rng.integers(7, 14))
            width, droop = rng.uniform(0.3, 0.55), rng.uniform(10, 70)
            for j in range(stems):
                tall, x = big * rng.uniform(0.7, 1.0), wide * 0.3 * j
                plant.append(_horn(_bezier((x, -0.01, 0), (x * 1.5, tall, 0), steps=6), wide * np.linspace(0.08, 0.04, 6), bark))
                for i in range(count):
                    t = 0.2 + 0.8 * i / (count - 1)
                    long = big * 0.38 * (1.1 - 0.4 * t)
                    leaf = _leaf(long, long * width, 15 + 65 * t**2, droop, green, 0.17)
                    plant += _around(leaf, i * 137.5 + 90 * j, (x * (1 + 0.5 * t), tall * t, 0))
            return plant, [Parts(noun="stem", count=stems, material=bark)]
        case "dracaena":
            stems = int(rng.integers(1, 4))
            for j in range(stems):
                tall, away = big * (0.85 - 0.25 * j) * rng.uniform(0.7, 1.0), wide * 0.35 * (stems > 1)
                x, z = away * math.sin(2.1 * j), away * math.cos(2.1 * j)
                plant.append(_horn(_bezier((x, -0.01, z), (x * 1.3, tall, z * 1.3), steps=8), np.full(8, wide * 0.11), bark))
                for i in range(26):
                    path = _arc(big * 0.42, _rise(i, 26, 75), rng.uniform(40, 100), 8)
                    blade = _blade(path, big * 0.02 * np.array([0.6, 0.9, 1, 1, 0.9, 0.7, 0.4, 0.02]), green)
                    plant += _around([blade], i * 137.5, (x * 1.3, tall * (1 - 0.12 * i / 26), z * 1.3))
            return plant, [Parts(noun="trunk", count=stems, material=bark)]
    tall, heads, leafy = wide * rng.uniform(2, 4.5), int(rng.integers(1, 4)), maybe(rng, 0.75)
    bow = wide * rng.uniform(-0.8, 0.8)
    stem = _bezier((0, -0.01, 0), (bow, tall * 0.4, 0), (-bow * 0.6, tall * 0.7, 0), (0, tall, 0), steps=14)
    plant = [_horn(stem, wide * np.linspace(0.17, 0.09, 14), bark), *_crown(rng, wide * rng.uniform(1.3, 1.9), (0, tall, 0), green, leafy)]
    for i in range(heads - 1):
        end = (math.cos(2.4 * i) * wide * 1.4, tall * rng.uniform(0.6, 0.85), math.sin(2.4 * i) * wide * 1.4)
        plant.append(rod((float(stem[6, 0]), float(stem[6, 1]), 0), end, wide * 0.08, wide * 0.05, bark))
        plant += _crown(rng, wide * rng.uniform(0.9, 1.2), end, green, leafy)
    parts = [Parts(noun="trunk", count=1, material=bark)]
    if maybe(rng, 0.3):
        count, ripe = int(rng.integers(5, 14)), _paint(rng, pick(rng, ("orange", "yellow", "red")))
        for i in range(count):
            fruit = _ball(wide * 0.17, (0, tall + wide * rng.uniform(-0.7, 0.9), wide * rng.uniform(1.1, 1.4)), ripe, sides=12, rings=8)
            plant.append(fruit.turned("y", i * 137.5))
        parts.append(Parts(noun="fruit", count=count, material=ripe))
    return plant, parts


def potted_plant(rng: Rng) -> Thing:
    """Broad leaves, swords, cacti, ferns, rosettes, flowers, vines; palms, dracaenas, rubber plants, small trees clipped or leafy."""
    herbs = ("broad", "broad", "sword", "fern", "rosette", "flowers", "flowers", "trailing")
    form = pick(rng, (*herbs, "cactus", "cactus", "palm", "palm", "topiary", "tree", "tree", "rubber", "dracaena"))
    green, wide = _green(rng), rng.uniform(0.1, 0.2)
    solids, level, body, style, parts = _pot(rng, wide)
    if form == "cactus":
        plant, said = _cactus(rng, wide, green)
    else:
        plant, said = _herb(rng, form, wide, level, green) if form in herbs else _tree(rng, form, wide, green)
    for solid in plant:
        stood = solid.moved((0, level, 0))
        solids.append(replace(stood, vertices=np.maximum(stood.vertices, (-9.0, 0.003, -9.0))))  # leaves may lie on the floor
    pot = Parts(noun="pot", count=1, material=body)
    return Thing(solids=tuple(solids), main=body if form == "cactus" else green, style=tuple(style), parts=(*said, pot, *parts)[:4])
