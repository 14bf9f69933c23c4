"""Pulls, fronts, feet and carcasses that several pieces of furniture share."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from pipeline.starter.kinds.outlines import *
from pipeline.starter.kinds.skins import *
from pipeline.starter.kinds.solids import *
from pipeline.starter.kinds.thing import *

Face = Callable[[float, float, float, float, float, int], list[Solid]]
"""(x, y, z, width, height, swing) -> one front: of a drawer (swing 0) or of a door with its handle to the left (-1) or right (1)."""

SIDES = (-1, 1)


def pull_on(rng: Rng, knob: Material) -> Face:
    """One style of handle for a whole piece; (x, y) is where its middle lies, swing tells doors (upright handles) from drawers."""
    style, part, thick = rng.integers(6), rng.uniform(0.2, 0.5), rng.uniform(0.005, 0.009)
    line = [(0, 0), (0.008, 0), (0.007, 0.012), (0.017, 0.02), (0.017, 0.027), (0, 0.034)]
    ball = turned(line, (0, 0, 0), knob, sides=12).turned("x", 90)
    cup = turned([(0, 0), (0.055, 0), (0.05, 0.014), (0.035, 0.024), (0, 0.028)], (0, 0, 0), knob, sides=14, squash=0.4).turned("x", 90)
    angle = np.linspace(0, math.pi, 9)

    def pull(x: float, y: float, z: float, width: float, height: float, swing: int) -> list[Solid]:
        long = min(part * (height if swing else width), 0.5)
        places = [x + side * width * 0.27 for side in SIDES] if not swing and width > 0.6 and style in (1, 3) else [x]
        solids = []
        for at in places:
            if style == 1:
                solids.append(ball.moved((at, y, z)))
                continue
            if style == 3:
                loop = np.stack([0.045 * np.cos(angle), -0.03 * np.sin(angle), 0.006 + 0.012 * np.sin(angle)], axis=1)
                made = [tube(loop, 0.004, knob, sides=8), *(ball.moved((side * 0.045, 0, -0.018)) for side in SIDES)]
            elif style == 2 and not swing:
                made = [cup]
            elif style == 4:
                made = [rod((-long / 2, 0, 0.03), (long / 2, 0, 0.03), thick, thick, knob, sides=10)]
                for side in SIDES:
                    made.append(rod((side * long * 0.4, 0, 0), (side * long * 0.4, 0, 0.03), thick * 0.8, thick * 0.8, knob, sides=8))
            elif style == 5 and not swing:
                made = [box((width * 0.4, 0.018, 0.004), (0, height * 0.28, 0), BLACK)]
            else:
                made = [bevelled((long, 0.018, 0.026), (0, -0.009, 0.012), 0.005, knob)]
            solids += [(solid.turned("z", 90) if swing and style != 3 else solid).moved((at, y, z)) for solid in made]
        return named("handle", solids)

    return pull


def joinery(rng: Rng, material: Material, knob: Material) -> Face:
    """One style of fronts, with handles, for a whole piece: plain, rounded, with a raised field, or with a frame around a sunk one."""
    look, gap, pull = rng.integers(4), rng.uniform(0.003, 0.009), pull_on(rng, knob)

    def face(x: float, y: float, z: float, width: float, height: float, swing: int) -> list[Solid]:
        w, h, low = width - 2 * gap, height - 2 * gap, y + gap
        rim = min(0.07, 0.2 * min(w, h))
        match look:
            case 0:
                solids = [box((w, h, 0.018), (x, low, z + 0.009), material)]
            case 1:
                solids = [bevelled((w, h, 0.022), (x, low, z + 0.011), min(0.012, 0.1 * h), material)]
            case 2:
                field = bevelled((w - 2 * rim, h - 2 * rim, 0.01), (x, low + rim, z + 0.022), 0.2 * rim + 0.003, material)
                solids = [box((w, h, 0.018), (x, low, z + 0.009), material), field]
            case _:
                solids = [box((w, h, 0.006), (x, low, z + 0.003), material)]
                solids += [box((w, rim, 0.02), (x, low + up, z + 0.01), material) for up in (0, h - rim)]
                solids += [box((rim, h - 2 * rim, 0.02), (x + side * (w - rim) / 2, low + rim, z + 0.01), material) for side in SIDES]
        depth, solids = (0.018, 0.022, 0.026, 0.006)[look], named("door" if swing else "drawer", solids)
        if swing:
            grip = 0.02 if look == 3 else depth
            return solids + pull(x + swing * (w / 2 - min(0.04, 0.15 * w)), y + height / 2, z + grip, width, height, swing)
        return solids + pull(x, y + height / 2, z + depth, w, h, 0)

    return face


def stacked(
    face: Face, x: float, y: float, z: float, width: float, height: float, columns: Sequence[int], grow: float = 1.0
) -> list[Solid]:
    """Drawers above one another: `columns[i]` in row i from below; the lowest row is `grow` times as high as the topmost."""
    shares = np.linspace(grow, 1, len(columns))
    edges = y + height * np.concatenate([[0], np.cumsum(shares) / shares.sum()])
    solids = []
    for row, many in enumerate(columns):
        for i in range(many):
            each = width / many
            solids += face(x - width / 2 + (i + 0.5) * each, float(edges[row]), z, each, float(edges[row + 1] - edges[row]), 0)
    return solids


def said_of(main: Material, *parts: tuple[str, int, Material]) -> tuple[Parts, ...]:
    """The words for parts of which there are any; a material is told where it differs from the main one."""
    said = []
    for noun, count, of in parts:
        same = (of.color_name, of.substance) == (main.color_name, main.substance)
        said += [Parts(noun=noun, count=count, material=None if same else of)] if count else []
    return tuple(said[:4])


def cabriole(width: float, depth: float, height: float, material: Material) -> list[Solid]:
    """Four S-shaped legs of the eighteenth century."""
    t = np.array([0, 0.08, 0.2, 0.35, 0.55, 0.75, 0.9, 1.0])
    out = np.array([0, 0.02, 0.035, 0.025, 0, -0.015, -0.005, 0.02]) * min(1.0, height / 0.4)
    radii = np.array([0.03, 0.034, 0.034, 0.028, 0.021, 0.016, 0.016, 0.024])
    solids = []
    for x, z in four(width - 0.1, depth - 0.1):
        path = np.stack([x + math.copysign(1, x) * out, height * (1 - t) + 0.008, z + math.copysign(1, z) * out], axis=1)
        solids += [limb(path, radii, material), disc(0.03, 0.016, (float(path[-1, 0]), 0, float(path[-1, 2])), material, sides=14)]
    return named("leg", solids)


def cabinet_feet(rng: Rng, width: float, depth: float, material: Material) -> tuple[float, list[Solid], tuple[str, int, Material]]:
    """What a cabinet stands on: how high it is, and the legs one would count."""
    stand = pick(rng, (material, material, frame(rng)))
    match rng.integers(7):
        case 0:
            high = rng.uniform(0.04, 0.09)
            return (
                high,
                named("base", [box((width - 0.04, high, depth - 0.06), (0, 0, -0.01), pick(rng, (material, BLACK)))]),
                ("leg", 0, material),
            )
        case 1:
            high = rng.uniform(0.06, 0.12)
            line = [(0, 0), (0.025, 0), (0.045, high * 0.45), (0.03, high * 0.85), (0.036, high), (0, high)]
            bun = turned(line, (0, 0, 0), material, sides=16)
            return high, named("leg", [bun.moved((x, 0, z)) for x, z in four(width - 0.1, depth - 0.1)]), ("leg", 4, material)
        case 2:  # brackets joined by a curved apron
            high = rng.uniform(0.09, 0.15)
            solids = []
            for long, deep, turn in ((width, depth, 0), (depth, width, 90)):
                x, arch = arch_over(long - 0.16, high * 0.65, 3)
                x, low = np.concatenate([[-long / 2], x, [long / 2]]), np.concatenate([[0], arch, [0]])
                plate = plate_between(x, low, np.full(len(x), high), 0.022, material)
                solids += [plate.moved((0, 0, side * (deep / 2 - 0.011))).turned("y", turn) for side in SIDES]
            return high, named("base", solids), ("leg", 0, material)
        case 3:
            high, bar = rng.uniform(0.1, 0.22), 0.02
            solids = [box((bar, bar, depth - 0.04), (side * (width / 2 - 0.04), 0, 0), stand) for side in SIDES]
            solids += [box((bar, high, bar), (x, 0, z), stand) for x, z in four(width - 0.08, depth - 0.06)]
            return high, named("leg", solids), ("leg", 0, material)
        case 4:
            high = rng.uniform(0.14, 0.24)
            return (
                high + 0.03,
                [*cabriole(width, depth, high, material), box((width, 0.03, depth), (0, high, 0), material)],
                ("leg", 4, material),
            )
        case _:
            high = rng.uniform(0.1, 0.24)
            return high, legs(rng, width - 0.02, depth - 0.02, high, rng.uniform(0.035, 0.055), stand)[0], ("leg", 4, stand)


def carcass(rng: Rng, width: float, height: float, depth: float, y: float, material: Material, front: str = "") -> list[Solid]:
    """A closed carcass whose upper side is at y + height: flush, or with a top that stands out, moulded or rounded.

    `front` is the part that hides its front.
    """
    top = pick(rng, (material, material, wood(rng), stone(rng)))
    solids = [box((width, height - 0.02, depth), (0, y, 0), material).hidden("top", y + height - 0.02).hidden(front, depth / 2, "z")]
    match rng.integers(4):
        case 0:
            solids.append(box((width, 0.02, depth + 0.02), (0, y + height - 0.02, 0.01), material).named("top"))
        case 1:
            solids.append(cushion((width + 0.04, 0.035, depth + 0.05), (0, y + height - 0.03, 0.015), 0.014, top).named("top"))
        case 2:
            for i, out in enumerate((0.012, 0.03, 0.045)):
                one = box((width + 2 * out, 0.016, depth + out + 0.025), (0, y + height - 0.04 + i * 0.014, out / 2 + 0.0125), top)
                solids.append(one.named("top"))
        case _:  # sides and top run around the fronts
            solids.append(cushion((width + 0.03, 0.03, depth + 0.03), (0, y + height - 0.025, 0.012), 0.006, material).named("top"))
            solids += [box((0.022, height, depth + 0.026), (side * (width / 2 + 0.004), y, 0.013), material) for side in SIDES]
    return solids
