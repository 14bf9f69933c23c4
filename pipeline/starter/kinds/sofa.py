"""Makes a sofa: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def _sofa_arm(form: int, arm: float, tall: float, depth: float, low: float, soft: Material, stand: Material) -> list[Solid]:
    """The arm on the right, around X = 0, that stands on Y = 0, which is `low` above the floor."""
    match form:
        case 0:
            return [cushion((arm, tall, depth), (0, 0, 0), min(0.03, arm / 3), soft)]
        case 1:  # rolled
            r = arm * 0.62
            roll = dowel((0.02, tall - r, -depth / 2), (0.02, tall - r, depth / 2 + 0.012), r, soft, sides=24)
            end = disc(r * 0.75, 0.008, (0, 0, 0), soft).turned("x", 90).moved((0.02, tall - r, depth / 2 + 0.012))
            return [cushion((arm * 0.9, tall - r, depth), (0, 0, 0), 0.02, soft), roll, end]
        case 2:
            return [cushion((arm, tall, depth), (0, 0, 0), arm * 0.48, soft)]
        case 3:  # falls to the front
            outline = [(-depth / 2, 0), (depth / 2, 0), (depth / 2, tall * 0.72), (depth * 0.1, tall * 0.8), (-depth * 0.3, tall * 1.2)]
            outline.append((-depth / 2, tall * 1.25))
            return [plate(smoothed(outline, 2), arm * 0.8, soft, edge=0.02).turned("y", -90)]
        case _:  # a frame of wood
            posts = named("leg", [rod((0, -low, z), (0, tall, z * 0.9), 0.016, 0.022, stand) for z in (-depth * 0.42, depth * 0.42)])
            rail = dowel((0, 0.06, -depth * 0.42), (0, 0.06, depth * 0.42), 0.018, stand)
            return [*posts, soft_board(0.07, depth * 0.98, 0.03, (0, tall - 0.01, 0), stand, 0.6), rail]


def _seat(wide: float, deep: float, thick: float, at: Point, puff: bool, cloth: Material) -> Solid:
    """To sit on: full, or flat with soft edges."""
    return pad_of(wide, deep, thick + 0.03, at, cloth, 0.12) if puff else cushion((wide, thick, deep), at, 0.04, cloth)


def sofa(rng: Rng) -> Thing:
    seats, each, depth = int(rng.choice((1, 2, 2, 3, 3, 3, 4))), rng.uniform(0.54, 0.72), rng.uniform(0.74, 0.95)
    low, seat = rng.uniform(0.05, 0.16), rng.uniform(0.38, 0.46)
    soft, stand = softened(rng), pick(rng, (wood(rng), BLACK, STEEL, BRASS))
    form = int(rng.choice((0, 0, 1, 1, 2, 3, 4, -1)))
    arm = 0.06 if form == 4 else rng.uniform(0.1, 0.26) if form >= 0 else 0.0
    inner = seats * each
    width, thick, back, up = inner + 2 * arm, rng.uniform(0.12, 0.2), rng.uniform(0.3, 0.52), rng.uniform(0.12, 0.26)
    corner, hand, long = seats >= 2 and form != 4 and maybe(rng, 0.25), pick(rng, (-1, 1)), rng.uniform(0.6, 1.1)
    solids, feet = seat_legs(rng, width - 0.06 - 0.5 * arm, depth - 0.06, low + 0.02, 0.055, stand, brace=0)
    parts = [replace(feet, count=6 if corner else 4)]
    solids = [] if form == 4 else solids  # there the arms go on as legs
    if form != 4 and maybe(rng, 0.2):  # down to the floor
        low, solids, parts = 0.01, named("base", [box((width - 0.06, 0.05, depth - 0.06), (0, 0, 0), BLACK)]), []
    base = seat - thick - low + 0.02
    solids.append(cushion((inner + 0.02, base, depth), (0, low, 0), 0.025, soft).named("seat"))
    hind, stuff, shape = -depth / 2, rng.uniform(0.14, 0.2), rng.integers(4)
    half = inner / 2 if form in (0, 2, 3) and maybe(rng, 0.5) else width / 2 - 0.005
    if shape == 0 or corner:
        solids.append(cushion((2 * half, seat + back - low, stuff), (0, low, hind + stuff / 2), 0.05, soft).named("back"))
    else:  # with a line of its own along the top
        u = np.linspace(1, -1, 33)
        crest = (np.cos(u * math.pi) * 0.06, -0.14 * np.abs(u) ** 3, 0.05 * np.abs(np.sin(u * math.pi * 1.5)))[shape - 1]
        line = np.concatenate([[(-half, low), (half, low)], np.stack([u * half, seat + back + crest], 1)])
        solids.append(plate(line, stuff, soft, edge=0.03).moved((0, 0, hind + stuff / 2)).named("back"))
    if form == 1 and maybe(rng, 0.6):  # rolled over behind as the arms are
        one = dowel((-half, seat + back - 0.03, hind + 0.04), (half, seat + back - 0.03, hind + 0.04), 0.09, soft, sides=20)
        solids.append(one.named("back"))
    for s in (-1, 1) if form >= 0 else ():
        if not (corner and s == hand):
            pieces = _sofa_arm(form, arm, seat + up - low, depth + 0.01, low, soft, stand)
            mirror = [p.turned("y", 0 if s > 0 else 180) for p in pieces] if form != 3 else pieces
            if form in (1, 4) and s < 0:  # a half turn would put the front of a roll behind
                mirror = [p.moved((-2 * float(p.vertices[:, 0].min() + p.vertices[:, 0].max()) / 2, 0, 0)) for p in pieces]
            solids += named("arm", [p.moved((s * (width - arm) / 2, low, 0)) for p in mirror])
    count = pick(rng, (seats, seats, 1 if seats < 4 else 2))
    part, cushioned, tufted, puff = inner / count, maybe(rng, 0.7), maybe(rng, 0.3), maybe(rng, 0.5)
    cloth = pick(rng, (soft, soft, soft, fabric(rng)))
    for i in range(count):
        x = (i - (count - 1) / 2) * part
        at = (x, seat - thick, stuff / 2 + (0.015 if puff else 0.01))
        solids.append(_seat(part - 0.008, depth - stuff - 0.01, thick, at, puff, cloth).named("seat"))
        if cushioned:
            tall = back + rng.uniform(-0.04, 0.06)
            padded = pad_of(part - 0.015, tall, 0.17, (0, 0, 0), cloth, 0.25).turned("x", 90).moved((0, tall / 2, 0))
            rest = padded if puff else cushion((part - 0.015, tall, 0.15), (0, 0, 0.07), 0.05, cloth)
            solids += named("back", placed([rest], (x, seat - 0.015, hind + stuff - 0.01), lean=9))
    if tufted and not cushioned:
        rows = int(rng.integers(2, 4))
        for row in range(rows):
            for x in np.arange(-inner / 2 + 0.1 + 0.06 * (row % 2), inner / 2 - 0.05, 0.17):
                one = ball(0.013, (float(x), seat + 0.1 + row * (back - 0.12) / rows, hind + stuff), stand, rings=6, sides=10)
                solids.append(one.named("back"))
    if corner:
        deep, z = each + 0.1, depth / 2 + long / 2 - 0.01
        x = hand * (inner / 2 - deep / 2 + arm)
        solids.append(cushion((deep, base, long), (x, low, z), 0.025, soft).named("seat"))
        solids.append(_seat(deep - 0.01, long, thick, (x, seat - thick, z), puff, cloth).named("seat"))
        ends = [(x + s * deep * 0.4, depth / 2 + long - 0.06) for s in (-1, 1)]
        solids += named("leg", [rod((a, 0, b), (a, low + 0.02, b), 0.02, 0.025, stand) for a, b in ends])
        side = hand * (width / 2 - stuff / 2)
        if maybe(rng, 0.5):  # the back goes around
            one = cushion((stuff, seat + back - low, long + depth - 0.02), (side + hand * stuff * 0.5, low, long / 2), 0.05, soft)
            solids.append(one.named("back"))
        elif form >= 0:
            wide = max(arm, 0.1)
            solids.append(cushion((wide, seat + up - low, depth), (hand * (width / 2 + wide / 2 - 0.01), low, 0), 0.03, soft).named("arm"))
    pillows, colors = min(int(rng.integers(1, 5)) if maybe(rng, 0.45) else 0, 2 * seats), (fabric(rng), fabric(rng))
    for i in range(pillows):
        side, row = (-1, 1)[i % 2], i // 2
        at = (side * (inner / 2 - 0.2 - 0.2 * row), seat + 0.01, hind + stuff + (0.2 if cushioned else 0.08) + 0.09 * (1 - row))
        solids += placed([pillow(rng, 0.42, 0.4, colors[row])], at, lean=18, turn=-14 * side)
    parts += [Parts("pillow", pillows)] if pillows else []
    arms = (form >= 0) * (1 if corner else 2)
    parts += [Parts("cushion", count)] if not corner else []
    parts += [Parts("armrest", arms)] if arms and not corner else []
    style = ("corner",) if corner else ("wide",) if seats >= 3 else ()
    return Thing.of(solids, soft, style, parts[:4])
