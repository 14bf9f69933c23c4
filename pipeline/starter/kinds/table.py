"""Makes a table: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from typing import Final

import numpy as np

from pipeline.starter.kinds.kit import *

_SIZES: Final = (
    ((0.70, 0.78), (1.1, 2.2), (0.55, 0.75)),  # to eat at
    ((0.70, 0.78), (0.7, 1.4), (1.0, 1.0)),
    ((0.30, 0.48), (0.7, 1.4), (0.5, 0.8)),
    ((0.32, 0.50), (0.6, 1.0), (1.0, 1.0)),
    ((0.45, 0.62), (0.45, 0.7), (0.8, 1.0)),
    ((0.72, 0.85), (0.9, 1.5), (0.28, 0.4)),
    ((0.95, 1.08), (0.65, 0.95), (0.9, 1.0)),
    ((0.72, 0.77), (2.3, 3.4), (0.34, 0.48)),
)
"""Ranges of height, width and depth; depth as a share of the width, 1 at the most."""


def _top(rng: Rng, width: float, depth: float, thick: float, y: float, material: Material) -> tuple[list[Solid], str, float, float]:
    """A table top, the word for its form, and the rectangle that fits under it."""
    match rng.integers(9):
        case 0 | 1:
            return [box((width, thick, depth), (0, y, 0), material)], "", width, depth
        case 2:
            return [cushion((width, thick, depth), (0, y, 0), thick * 0.45, material)], "", width, depth
        case 3 | 4:  # round or, where it is long, oval
            squash, edge = depth / width, thick * rng.uniform(0.0, 0.4)
            line = [(0.0, 0.0), (width / 2 - edge, 0.0), (width / 2, edge + 1e-4), (width / 2, thick - edge)]
            line.append((width / 2 - edge, thick + 1e-4))
            disk = turned([*line, (0.0, thick + 1e-4)], (0, y, 0), material, sides=56, squash=squash)
            return [disk], "round" if squash > 0.9 else "oval", width * 0.72, depth * 0.72
        case 5:
            x, half = arch_over(width, depth / 2, rng.uniform(4, 9), 49)
            return [lying_between(x, -half, half, thick, y, material)], "curved", width * 0.92, depth * 0.92
        case 6:  # wide in the middle as a boat, or with cut corners
            x = np.linspace(-width / 2, width / 2, 25)
            half = depth / 2 * (1 - rng.uniform(0.15, 0.3) * (2 * x / width) ** 2)
            return [lying_between(x, -half, half, thick, y, material)], "curved", width * 0.9, depth * 0.78
        case 7:
            cut = 0.29 * min(width, depth)
            x = np.array([-width / 2, -width / 2 + cut, width / 2 - cut, width / 2])
            half = np.array([depth / 2 - cut, depth / 2, depth / 2, depth / 2 - cut])
            return [lying_between(x, -half, half, thick, y, material)], "", width * 0.8, depth * 0.8
        case _:
            planks = int(rng.integers(3, 7))
            each = depth / planks
            boards = [box((width - 0.12, thick, each - 0.006), (0, y, -depth / 2 + (i + 0.5) * each), material) for i in range(planks)]
            boards += [box((0.06, thick, depth), (side * (width / 2 - 0.03), y, 0), material) for side in SIDES]
            return boards, "", width, depth


def _column(rng: Rng, reach: float, height: float, material: Material) -> list[Solid]:
    """One foot in the middle: a trumpet, a drum, a plate with a pole, or a turned pillar on three or four bent legs."""
    stem, head = rng.uniform(0.06, 0.11) * min(reach, 0.6), (reach * 0.45, height)
    match rng.integers(5):
        case 0:
            t = np.linspace(0, 1, 12)
            radius = stem + (reach * 0.6 - stem) * (1 - t) ** rng.uniform(2.5, 6) + (head[0] - stem) * t**8
            line = [(0.0, 0.0), *((float(r), float(0.01 + h * (height - 0.01))) for r, h in zip(radius, t, strict=True)), (0.0, height)]
            return named("pedestal", [lathe(line, material)])
        case 1:
            wide, waist = reach * rng.uniform(0.4, 0.62), rng.uniform(0.55, 1.0)
            middle = [(wide * (waist + (1 - waist) * (2 * float(t) - 1) ** 2), float(t) * height) for t in np.linspace(0, 1, 11)]
            return named("pedestal", [lathe([(0, 0), *middle, (0, height)], material, sides=int(pick(rng, (4, 8, 36, 36))))])
        case 2:
            plate, square = reach * rng.uniform(0.5, 0.7), maybe(rng, 0.4)
            flat = disc(plate, 0.02, (0, 0, 0), material)
            foot = cushion((plate * 1.7, 0.03, plate * 1.7), (0, 0, 0), 0.012, material) if square else flat
            return named(
                "pedestal", [foot, disc(stem, height, (0, 0, 0), material), disc(reach * 0.4, 0.02, (0, height - 0.02, 0), material)]
            )
    knots = stem * np.concatenate([[1.2, 1.4], rng.uniform(0.8, 2.2, 5), [1.0, 2.4]])
    line = [(0.0, height * 0.1), *((float(r), float(h)) for r, h in zip(knots, height * np.linspace(0.1, 1, 9), strict=True))]
    line.append((0.0, height))
    solids = named("pedestal", [lathe(line, material, sides=20)])
    count, t = int(rng.integers(3, 5)), np.linspace(0, 1, 9)
    drop = height * 0.36 * (1 - t) ** 2 + 0.03 * np.sin(math.pi * t)
    way = np.stack([0 * t, drop + stem * 0.6, t * reach * 0.85], axis=1)
    leg = limb(way, stem * (0.9 - 0.3 * t), material)
    toe = cushion((stem * 1.5, stem * 1.3, stem * 2.2), (0, 0, reach * 0.85), stem * 0.5, material)
    offset = 45 if count == 4 else 0
    return solids + named("leg", [part.turned("y", offset + i * 360 / count) for i in range(count) for part in (leg, toe)])


def _ends(rng: Rng, width: float, depth: float, height: float, material: Material) -> tuple[list[Solid], int]:
    """Supports left and right, and how many legs one counts: slabs, loops, crossed or spread bars, posts on feet, lyres."""
    x, style = width * rng.uniform(0.34, 0.47), rng.integers(6)
    thick = rng.uniform(0.035, 0.07) * min(1.6, max(0.6, depth / 0.75))
    solids: list[Solid] = []
    for side in SIDES:
        at = side * x
        match style:
            case 0:
                solids.append(box((thick, height, depth * 0.92), (at, 0, 0), material))
            case 1:
                solids += [box((thick, height, thick * 0.7), (at, 0, z * depth * 0.44), material) for z in SIDES]
                solids += [box((thick, thick * 0.7, depth * 0.88), (at, y, 0), material) for y in (0, height - thick * 0.7)]
            case 2:
                solids += [dowel((at, 0, z * depth * 0.42), (at, height, -z * depth * 0.42), thick * 0.5, material, sides=8) for z in SIDES]
            case 3:
                solids += [dowel((at, 0, z * depth * 0.43), (at, height, z * depth * 0.18), thick * 0.5, material) for z in SIDES]
                solids.append(box((thick, thick, depth * 0.7), (at, height - thick, 0), material))
                solids.append(box((thick * 0.7, thick, depth * 0.6), (at, height * 0.3, 0), material))
            case 4:
                solids.append(cushion((thick * 1.3, thick, depth * 0.85), (at, 0, 0), 0.012, material))
                solids.append(box((thick, height, depth * rng.uniform(0.15, 0.2)), (at, 0, 0), material))
                solids.append(cushion((thick * 1.3, thick, depth * 0.7), (at, height - thick, 0), 0.012, material))
            case _:  # a lyre: a plate with a waist
                y = np.linspace(0, height, 19)
                half = depth * (0.24 + 0.2 * np.cos(2 * math.pi * y / height))
                solids.append(plate_between(y, -half, half, thick, material).turned("z", 90).turned("y", 90).moved((at, 0, 0)))
    if style > 1 or maybe(rng, 0.4):
        low = height * (0.5 if style == 2 else rng.uniform(0.25, 0.5))
        solids.append(box((2 * x, thick * 1.1, thick * 0.6), (0, low - thick * 0.55, 0), material))
    return named("leg", solids), 2 if style in (0, 4, 5) else 4


def _hairpins(width: float, depth: float, height: float, material: Material) -> list[Solid]:
    """Four legs, each of two thin bars that meet at the floor."""
    solids = []
    for x, z in four(width - 0.16, depth - 0.16):
        foot, inward = (x * 1.05, 0.0, z * 1.05), (math.copysign(0.09, x), math.copysign(0.09, z))
        solids += [rod(foot, head, 0.009, 0.007, material, sides=8) for head in ((x - inward[0], height, z), (x, height, z - inward[1]))]
        solids.append(disc(0.014, 0.012, foot, material, sides=10))
    return named("leg", solids)


def _apron(width: float, depth: float, high: float, y: float, material: Material, sag: float) -> list[Solid]:
    """Boards below the rim of a top; sag is how far their lower edge rises in the middle."""
    solids = []
    for long, deep, turn in ((width, depth, 0), (depth, width, 90)):
        x, arch = arch_over(long, sag)
        board = plate_between(x, y - high + arch, np.full(len(x), y), 0.02, material)
        solids += [board.moved((0, 0, side * (deep / 2 - 0.01))).turned("y", turn) for side in SIDES]
    return named("frame", solids)


def table(rng: Rng) -> Thing:
    height, wide, deep = pick(rng, _SIZES)
    tall, width = rng.uniform(*height), rng.uniform(*wide)
    depth, low, timber, thick = width * rng.uniform(*deep), tall < 0.52, wood(rng), rng.uniform(0.018, 0.05)
    surface = pick(rng, (timber, timber, timber, timber, glass(rng, pick(rng, ("white", "blue", "green"))), stone(rng), plastic(rng)))
    stand, under = pick(rng, (timber, timber, frame(rng))), tall - thick
    solids, word, w, d = _top(rng, width, depth, thick, under, surface)
    style = [word] if word else ["square"] if depth > 0.97 * width else []
    style += ["low"] if low else ["tall"] if tall > 0.9 else []
    parts: tuple[Parts, ...] = ()
    wooden = surface.substance == "wood"
    match pick(
        rng, ("legs", "legs", "legs", "legs", "column", "column", "ends", "ends", "hairpins", "cabriole", "cross", "block", "frame")
    ):
        case "column":
            count = 2 if width > 1.8 * depth else 1
            for side in SIDES[:count]:
                state, column = rng.bit_generator.state, _column(rng, depth / 2 * 0.95, under, stand)
                if side == -1 and count == 2:
                    rng.bit_generator.state = state  # both alike
                solids += [part.moved(((side * width * 0.26) if count == 2 else 0, 0, 0)) for part in column]
            parts = said_of(surface, ("pedestal", count, stand))
        case "ends":
            supports, count = _ends(rng, w, d, under, stand)
            solids += supports
            parts = said_of(surface, ("leg", count, stand))
        case "hairpins":
            solids += _hairpins(w, d, under, stand := pick(rng, (BLACK, STEEL, BRASS)))
            parts = said_of(surface, ("leg", 4, stand))
        case "cabriole":
            solids += cabriole(w, d, under, timber) + _apron(w - 0.1, d - 0.1, 0.09, under, timber, rng.uniform(0, 0.05))
            parts = said_of(surface, ("leg", 4, timber))
        case "cross" if w < 1.8 * d:
            thin = rng.uniform(0.022, 0.036) * min(1.4, max(0.7, w))
            solids += named("leg", [dowel((x, 0, z), (-x * 0.9, under, -z * 0.9), thin, stand) for x, z in four(w * 0.85, d * 0.85)])
            parts = said_of(surface, ("leg", 4, stand))
        case "block" if low:
            solids.append(cushion((w * 0.8, under, d * 0.8), (0, 0, 0), 0.03, stand).named("pedestal"))
        case "frame":
            bar = rng.uniform(0.02, 0.04)
            solids += named("leg", [box((bar, under, bar), (x, 0, z), stand) for x, z in four(w - 0.04, d - 0.04)])
            for y in (0, under - bar):
                solids += named("frame", [box((w - 0.04, bar, bar), (0, y, side * (d / 2 - 0.02)), stand) for side in SIDES])
                solids += named("frame", [box((bar, bar, d - 0.04), (side * (w / 2 - 0.02), y, 0), stand) for side in SIDES])
            parts = said_of(surface, ("leg", 4, stand))
        case _:
            solids += legs(rng, w * 0.96, d * 0.96, under, rng.uniform(0.04, 0.09) * min(1, 0.4 + d), stand)[0]
            if wooden and maybe(rng, 0.6):
                solids += _apron(w * 0.96 - 0.06, d * 0.96 - 0.06, rng.uniform(0.06, 0.11), under, timber, pick(rng, (0.0, 0.03)))
            drawer_count = 0
            if wooden and not word and maybe(rng, 0.3):
                drawer_count, high = max(1, round(width / 0.6)), 0.11
                solids.append(box((w * 0.9, high + 0.02, d * 0.9), (0, under - high - 0.02, 0), timber).named("frame"))
                face = joinery(rng, timber, pick(rng, (STEEL, BLACK, BRASS)))
                solids += stacked(face, 0, under - high - 0.005, d * 0.45, w * 0.86, high, [drawer_count])
            shelf, board = int((low or width < 0.7 or depth < 0.45) and maybe(rng, 0.5)), pick(rng, (surface, timber))
            if shelf:
                solids.append(box((w * 0.9, 0.02, d * 0.9), (0, under * rng.uniform(0.2, 0.4), 0), board).named("shelf"))
            elif maybe(rng, 0.25):
                solids += named("leg", [box((0.03, 0.03, d * 0.88), (side * w * 0.43, under * 0.25, 0), stand) for side in SIDES])
                solids.append(box((w * 0.86, 0.03, 0.03), (0, under * 0.25, 0), stand).named("leg"))
            parts = said_of(surface, ("leg", 4, stand), ("drawer", drawer_count, timber), ("shelf", shelf, board))
    return Thing.of(levelled(solids), surface, style, parts, rest="top")
