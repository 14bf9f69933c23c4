"""Makes a refrigerator: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.joinery import SIDES, said_of
from pipeline.starter.kinds.solids import Solid, box, cushion, disc, tube, turned
from pipeline.starter.kinds.thing import BLACK, STEEL, WHITE, Rng, Thing, four, glass, maybe, metal, pick, plastic

SORTS = (*("freezer above",) * 2, *("freezer below",) * 2, "single", *("twin",) * 2, *("french",) * 2, *("small",) * 2, "retro", "shop")


def refrigerator(rng: Rng) -> Thing:
    sort = pick(rng, SORTS)
    paint = metal(rng, pick(rng, ("white", "white", "grey", "grey", "black")))
    width, height, depth = rng.uniform(0.55, 0.75), rng.uniform(1.5, 2.0), rng.uniform(0.6, 0.72)
    style: list[str] = []
    if sort in ("twin", "french"):
        width, height = rng.uniform(0.85, 1.0), rng.uniform(1.7, 1.9)
        style.append("wide")
    elif sort == "small":
        width, height, depth = rng.uniform(0.45, 0.55), rng.uniform(0.68, 1.0), rng.uniform(0.45, 0.55)
        style.append("low")
    elif sort == "retro":
        paint = metal(rng, pick(rng, ("red", "blue", "green", "pink", "white", "beige", "yellow", "black")))
        style.append("curved")
    elif sort == "shop":
        width = rng.uniform(0.6, 1.3)
    low, thick = rng.uniform(0.03, 0.07), rng.uniform(0.05, 0.08)
    front, grip = depth / 2, STEEL if sort == "retro" else pick(rng, (STEEL, STEEL, BLACK, WHITE))
    edge = 0.1 if sort == "retro" else rng.uniform(0.006, 0.02)
    body = cushion((width, height - low, depth), (0, low, 0), min(edge, 0.09), paint)
    feet = [disc(0.022, low + 0.03, (x, 0, z), BLACK, sides=12) for x, z in four(width - 0.14, depth - 0.14)]
    solids = [*feet]
    gap, side, pulls, drawer_count = 0.006, pick(rng, SIDES), pick(rng, (0, 0, 1, 1, 2, 2, 3)), 0
    handle_count = 0
    leaves: list[tuple[float, float, float, float, int]] = []  # x, y, width, height, side of the handle; 0: a drawer
    split = height * rng.uniform(0.62, 0.74)
    match sort:
        case "freezer above" | "retro" | "small" if sort == "freezer above" or maybe(rng, 0.4):
            leaves = [(0, low, width, split - low, side), (0, split, width, height - split, side)]
        case "freezer below":
            cut, drawer_count = height - split + low, int(pick(rng, (0, 0, 1, 2)))
            leaves = [(0, cut, width, height - cut, side)]
            part = (cut - low) / max(1, drawer_count)
            leaves += [(0, low + i * part, width, part, 0 if drawer_count else side) for i in range(max(1, drawer_count))]
        case "twin":
            share = rng.uniform(0.4, 0.5) * width
            leaves = [(-(width - share) / 2, low, share, height - low, 1), (share / 2, low, width - share, height - low, -1)]
        case "french":
            drawer_count, cut = int(rng.integers(1, 3)), height * rng.uniform(0.34, 0.42)
            leaves = [(s * width / 4, cut, width / 2, height - cut, -s) for s in SIDES]
            part = (cut - low) / drawer_count
            leaves += [(0, low + i * part, width, part, 0) for i in range(drawer_count)]
        case "shop":
            many = 2 if width > 0.95 else 1
            each, tall = width / many, height - low - 0.36
            leaves = [((i - (many - 1) / 2) * width / many, low + 0.12, each, tall, 1 - 2 * i if many == 2 else side) for i in range(many)]
        case _:
            leaves = [(0, low, width, height - low, side)]
    door_count, shelves = len(leaves) - drawer_count, 0
    ajar = sort in ("single", "small", "retro") and len(leaves) == 1 and maybe(rng, 0.3)
    if ajar or sort == "shop":  # hollow, with shelves
        wall, inside = 0.05, metal(rng, "white")
        solids += [cushion((wall, height - low, depth), (s * (width - wall) / 2, low, 0), 0.01, paint) for s in SIDES]
        solids += [cushion((width, wall, depth), (0, y, 0), 0.01, paint) for y in (low, height - wall)]
        for z, of in ((0.01, paint), (0.03, inside)):
            solids.append(box((width - 0.02, height - low - 0.02, 0.02), (0, low + 0.01, z - front), of))
        shelves = int(rng.integers(2, 4)) if sort == "small" else int(rng.integers(3, 6))
        bottom, top = low + 0.05, height - (0.25 if sort == "shop" else 0.05)
        for i in range(shelves):
            y = bottom + (i + 0.6) * (top - bottom) / (shelves + 0.5)
            solids.append(box((width - 0.08, 0.012, depth - 0.1), (0, y, -0.02), inside))
            for x in np.arange(-width / 2 + 0.12, width / 2 - 0.08, 0.11):
                if maybe(rng, 0.5):
                    tall = rng.uniform(0.08, 0.18)
                    shape = [(0, 0), (0.035, 0), (0.035, tall * 0.6), (0.014, tall * 0.8), (0.014, tall), (0, tall)]
                    solids.append(turned(shape, (float(x), y + 0.012, rng.uniform(-0.05, 0.1)), plastic(rng), sides=12))
    else:
        solids.append(body)
    if sort == "shop":
        sign = pick(rng, (plastic(rng), paint))
        solids += [cushion((width - 0.01, 0.23, depth + 0.04), (0, height - 0.24, 0.02), 0.02, sign)]
        solids += [box((width - 0.02, 0.12, depth), (0, low, 0.01), paint)]
    pane = glass(rng, pick(rng, ("blue", "white")))
    for x, y, w, h, swing in leaves:
        w, h = w - gap, h - gap
        door: list[Solid] = []
        if sort == "shop":
            rim = 0.05
            door += [box((w, rim, 0.04), (0, up, 0.02), grip) for up in (0, h - rim)]
            door += [box((rim, h, 0.04), (s * (w - rim) / 2, 0, 0.02), grip) for s in SIDES]
        else:
            door.append(cushion((w, h, thick), (0, 0, thick / 2 + gap), min(edge, thick * 0.48), paint))
            door.append(box((w - 2 * edge, h - 2 * edge, 0.03), (0, edge, 0.01), BLACK))  # its seal
            if sort != "retro" and swing:
                door.append(cushion((0.05, 0.025, 0.06), (-swing * (w / 2 - 0.04), h - 0.004, 0.01), 0.008, BLACK))  # a hinge
        at, out = swing * (w / 2 - 0.05), (0.04 if sort == "shop" else thick) + gap
        long = min(0.9 * h, max(0.16, h * (0.2, 0.5, 0.75, 0.3)[pulls]))
        if swing == 0:
            bar = min(w * 0.8, 0.6)
            door.append(cushion((bar, 0.03, 0.03), (0, h - 0.11, out + 0.035), 0.012, grip))
            door += [box((0.03, 0.025, 0.04), (s * bar * 0.45, h - 0.108, out + 0.018), grip) for s in SIDES]
        elif sort == "retro":
            start = h * 0.42 if y < height * 0.5 else h * 0.15
            door += [cushion((0.15, 0.04, 0.03), (at - swing * 0.05, start, out + 0.03), 0.013, STEEL)]
            door += [cushion((0.05, 0.075, 0.04), (at, start - 0.0175, out + 0.01), 0.018, STEEL)]
        else:
            start = h * 0.5 - long / 2 if len(leaves) == 1 or sort in ("twin", "shop") else (0.06 if y > 0.3 else h - long - 0.06)
            if pulls == 3 and sort != "shop":  # sunk into the edge
                door.append(box((0.035, long, 0.006), (swing * (w / 2 - 0.02), start, out + 0.001), BLACK))
                long = 0.0
            elif pulls == 2:
                bend = np.linspace(0, 1, 11)
                path = np.stack([np.full(11, at), start + bend * long, out - 0.004 + 0.05 * np.sin(math.pi * bend) ** 0.5], axis=1)
                door.append(tube(path, 0.012, grip))
            else:
                door.append(cushion((0.028, long, 0.026), (at, start, out + 0.045), 0.011, grip))
                door += [box((0.022, 0.03, 0.05), (at, start + u * long - 0.015, out + 0.02), grip) for u in (0.12, 0.88)]
        handle_count += int(long > 0)
        if sort in ("twin", "french") and x < 0 and swing and maybe(rng, 0.6):  # water and ice
            tall = min(0.36, h * 0.35)
            door += [cushion((w * 0.52, tall, 0.02), (-w * 0.08, h * 0.5, out), 0.008, pick(rng, (BLACK, STEEL)))]
            door += [box((w * 0.42, tall * 0.55, 0.006), (-w * 0.08, h * 0.5 + tall * 0.08, out + 0.01), BLACK)]
            door += [box((w * 0.42, tall * 0.2, 0.006), (-w * 0.08, h * 0.5 + tall * 0.72, out + 0.01), pane)]
        if ajar:
            hinge, turn = -swing * w / 2, swing * -rng.uniform(60, 120)
            door += [box((w - 0.14, 0.07, 0.09), (0, h * u, -0.04), WHITE) for u in (0.15, 0.4, 0.65)]
            door = [p.moved((-hinge, 0, 0)).turned("y", turn).moved((hinge, 0, 0)) for p in door]
            style.append("open")
        solids += [p.moved((x, y + gap / 2, front)) for p in door]
    counted = (("door", door_count, paint), ("drawer", drawer_count, paint), ("handle", handle_count, grip), ("shelf", shelves, paint))
    parts = said_of(paint, *counted)
    return Thing.of(solids, paint, style, parts)
