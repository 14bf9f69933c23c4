"""Makes a bench: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.starter.kinds.kit import *


@dataclass
class _Design:
    """What every bench has, and what is made so far."""

    timber: Material
    length: float
    height: float
    solids: list[Solid]
    tall: float
    style: list[str]
    parts: list[Parts]
    stand: Material
    lean: float
    soft: Material
    half: float


def _curved(rng: Rng, d: _Design, depth: float) -> Material:
    """A bench curved in plan."""
    main, sweep, radius = pick(rng, (d.timber, stone(rng))), rng.uniform(0.5, 1.1), d.length * rng.uniform(0.8, 1.0)
    backed, a, thick = maybe(rng, 0.6), np.linspace(-sweep / 2, sweep / 2, 25) * 1.2, rng.uniform(0.04, 0.08)
    arc = np.stack([np.sin(a), 0 * a, 1 - np.cos(a)], axis=1)
    rims = [arc * (radius + r) + (0, d.height, -r) for r in (-depth / 2, depth / 2)]
    d.solids.append(bent_board(np.stack(rims, axis=1), thick, main).named("seat"))
    for i in (3, 12, 21):
        turn = math.degrees(float(a[i]))
        rings = [closed_loop(0.12, depth * 0.8, y, front=0.15) for y in (0, d.height - thick + 0.004)]
        leg = layered(rings, main).turned("y", -turn).moved((float(arc[i, 0] * radius), 0, float(arc[i, 2] * radius)))
        d.solids.append(leg.named("leg"))
    if backed:
        rim = arc * (radius + depth / 2) + (0, d.height - 0.01, -depth / 2)
        d.solids.append(bent_board(np.stack([rim, rim + (0, d.tall, 0) + arc * 0.1 - (0, 0, 0.08)], axis=1), 0.04, main).named("back"))
    d.style.append("curved")
    d.parts += [Parts("backrest", 1)] if backed else []
    return main


def _row(rng: Rng, d: _Design, depth: float) -> Material:
    """Seats in a row on a beam."""
    main, seats = pick(rng, (plastic, metal, leather))(rng), int(rng.integers(2, 5))
    knots = [(depth / 2, d.height - 0.02), (depth / 2 - 0.05, d.height + 0.01), (-depth * 0.45, d.height - 0.03)]
    knots += [(-depth * 0.5, d.height + 0.05), (-depth * 0.72, d.height + d.tall)]
    flank = smoothed(knots)
    for i in range(seats):
        u, v = np.meshgrid(np.linspace(-1, 1, 9), np.arange(len(flank)), indexing="ij")
        k = v.astype(int)
        grid = np.stack([u * 0.25 + (i - (seats - 1) / 2) * 0.55, flank[k, 1] + 0.02 * u**4, flank[k, 0] + 0.03 * u**4], axis=2)
        d.solids.append(bent_board(grid, 0.025, main).named("back", above=d.height + 0.04).named("seat"))
    wide = seats * 0.55
    d.solids.append(box((wide, 0.05, 0.07), (0, d.height - 0.1, -0.05), d.stand).named("frame"))
    for s in (-1, 1):
        x = s * wide * 0.36
        d.solids += named(
            "leg",
            [box((0.05, d.height - 0.07, 0.05), (x, 0, -0.05), d.stand), cushion((0.06, 0.03, depth * 1.1), (x, 0, -0.03), 0.01, d.stand)],
        )
    d.solids += named(
        "frame",
        [
            dowel((x, d.height - 0.08, -0.05), (x, d.height - 0.035, -0.1), 0.015, d.stand)
            for x in (np.arange(seats) - (seats - 1) / 2) * 0.55
        ],
    )
    d.parts.append(Parts("seat", seats))
    if maybe(rng, 0.5):
        for x in (np.arange(seats + 1) - seats / 2) * 0.55:
            points = [(x, d.height - 0.07, -0.05), (x, d.height + 0.2, -0.2), (x, d.height + 0.21, 0.12)]
            d.solids.append(piped(points, 0.014, d.stand, bend=0.04).named("arm"))
        d.parts.append(Parts("armrest", seats + 1))
    return main


def _chest_or_pew(rng: Rng, d: _Design, depth: float) -> Material:
    """A chest to sit on, or a pew, closed to the floor."""
    main, pew, t = d.timber, maybe(rng, 0.5), 0.035
    for s in (-1, 1):
        line = [(-depth / 2 - 0.1, 0), (depth / 2, 0), (depth / 2, d.height + 0.1), (depth * 0.3, d.height + 0.26)]
        line += [(-depth * 0.2, d.height + 0.24), (-depth * 0.35, d.height + d.tall), (-depth / 2 - 0.1, d.height + d.tall + 0.04)]
        d.solids.append(plate(line, 0.045, d.timber).turned("y", -90).moved((s * d.length / 2, 0, 0)).named("side"))
    d.solids.append(soft_board(d.length, depth + 0.02, t, (0, d.height - t, 0), d.timber, 0.1).named("seat"))
    backs = placed([box((d.length, d.tall, 0.025), (0, 0, 0), d.timber)], (0, d.height - 0.02, -depth / 2 + 0.01), lean=d.lean * 0.6)
    d.solids += named("back", backs)
    d.parts.append(Parts("armrest", 2))
    if pew:
        d.solids.append(box((d.length, 0.1, 0.02), (0, d.height - 0.14, depth * 0.35), d.timber).named("side"))
    else:
        columns = int(rng.integers(1, 4))
        more, said = drawers(
            rng, (d.length - 0.03, d.height - t - 0.06, depth - 0.04), (0, 0.06, 0), 1, columns, d.timber, pick(rng, (STEEL, BRASS, BLACK))
        )
        d.solids += named("side", [*more, box((d.length, 0.06, depth - 0.08), (0, 0, 0), d.timber)])
        d.parts.append(said)
    if maybe(rng, 0.4):
        d.solids.append(pad_of(d.length - 0.06, depth - 0.06, 0.06, (0, d.height - 0.004, 0.01), d.soft, 0.1).named("seat"))
        d.style.append("padded")
    return main


def _upholstered(rng: Rng, d: _Design, depth: float) -> Material:
    """A padded bench on legs."""
    main = d.soft
    more, feet = seat_legs(rng, d.length, depth, d.height - 0.1, 0.05, d.timber, brace=0.2)
    d.solids += [*more, cushion((d.length, 0.1, depth), (0, d.height - 0.13, 0), 0.02, d.soft).named("seat")]
    d.solids.append(pad_of(d.length + 0.01, depth + 0.01, 0.1, (0, d.height - 0.06, 0), d.soft, 0.15).named("seat"))
    d.style.append("padded")
    d.parts.append(feet)
    arms = maybe(rng, 0.5)
    if arms:
        for s in (-1, 1):
            edge = d.length / 2
            roll = smoothed([(s * edge, d.height - 0.12), (s * (edge + 0.02), d.height + 0.1), (s * (edge + 0.08), d.height + 0.2)])
            sides = [np.column_stack([roll, np.full(len(roll), z)]) for z in (s * depth / 2, -s * depth / 2)]
            d.solids.append(bent_board(np.stack(sides), 0.05, d.soft).named("arm"))
            x, y = s * (edge + 0.1), d.height + 0.2
            d.solids.append(dowel((x, y, -depth / 2 - 0.01), (x, y, depth / 2 + 0.01), 0.055, d.soft).named("arm"))
        d.parts.append(Parts("armrest", 2))
    return main


def _plank(rng: Rng, d: _Design, depth: float) -> Material:
    """A plain plank on boards, blocks or legs."""
    main, thick = pick(rng, (d.timber, stone(rng))), rng.uniform(0.035, 0.1)
    d.solids.append(soft_board(d.length, depth, thick, (0, d.height - thick, 0), main, pick(rng, (0.05, 0.3))).named("seat"))
    under = d.height - thick + 0.004
    match rng.integers(4):
        case 0:
            for s in (-1, 1):
                rings = [closed_loop(0.08, depth * 0.9, 0, 0, s * d.half, front=0.1)]
                rings += [closed_loop(0.08, depth * 0.75, under, 0, s * d.half, front=0.1)]
                d.solids.append(layered(rings, main).named("leg"))
        case 1:
            for s in (-1, 1):
                outline = [(-depth / 2, 0), (-depth * 0.25, 0), (0, 0.12), (depth * 0.25, 0), (depth / 2, 0), (depth * 0.4, under)]
                outline += [(-depth * 0.4, under)]
                d.solids.append(plate(outline, 0.04, main).turned("y", -90).moved((s * d.half, 0, 0)).named("leg"))
            d.solids.append(box((2 * d.half, 0.09, 0.03), (0, under - 0.12, 0), main).named("leg"))
        case 2:
            for s in (-1, 1):
                points = [(s * d.half, under, -depth * 0.42), (s * d.half, 0.012, -depth * 0.46), (s * d.half, 0.012, depth * 0.46)]
                points += [(s * d.half, under, depth * 0.42)]
                d.solids.append(piped(points, 0.014, d.stand, bend=0.02).named("leg"))
        case _:
            more, feet = seat_legs(rng, d.length - 0.1, depth * 0.9, under, 0.055, d.timber)
            d.solids += more
            d.parts.append(feet)
    if maybe(rng, 0.3):
        d.solids.append(pad_of(d.length * 0.98, depth * 0.96, 0.06, (0, d.height - 0.004, 0), d.soft, 0.15).named("seat"))
        d.style.append("padded")
    return main


def _park(rng: Rng, d: _Design, depth: float) -> Material:
    """The bench of a park, boards on two or three sides of iron, stone or wood."""
    planks, rails = int(rng.integers(2, 7)), int(rng.integers(1, 6)) if maybe(rng, 0.85) else 0
    depth *= 1.0 if rails else 0.8  # else it would be a low table
    each = (depth + 0.02) / planks
    for i in range(planks):
        seat = soft_board(d.length, each * 0.84, 0.03, (0, d.height - 0.002, -depth / 2 + (i + 0.5) * each), d.timber, 0.1)
        d.solids.append(seat.named("seat"))
    where = (-d.half, 0.0, d.half) if d.length > 1.6 and maybe(rng, 0.5) else (-d.half, d.half)
    armed, side, concrete = rails > 0 and maybe(rng, 0.6), rng.integers(4), pick(rng, (d.stand, stone(rng)))
    for x in where:
        if side == 0:
            levels = ((0.9, 0), (0.8, 0.1), (0.8, d.height - 0.1), (0.95, d.height))
            d.solids.append(layered([closed_loop(0.12, depth * f, y, 0, x, front=0.2) for f, y in levels], concrete).named("leg"))
        elif side == 1:
            for z in (-1, 1):
                points = [(x, 0.018, z * (depth / 2 + 0.05)), (x, d.height * 0.3, z * depth * 0.5), (x, d.height * 0.7, z * depth * 0.2)]
                points += [(x, d.height - 0.015, z * depth * 0.45)]
                d.solids.append(piped(points, 0.018, d.stand, bend=1).named("leg"))
            d.solids.append(box((0.04, 0.035, depth), (x, d.height - 0.035, 0), d.stand).named("leg"))
        else:
            out = 0.08 if side == 2 else 0.0
            some = [rod((x, 0, z * (depth / 2 + out)), (x, d.height, z * depth * 0.4), 0.022, 0.026, d.stand) for z in (-1, 1)]
            d.solids += named("leg", some)
            d.solids.append(box((0.045, 0.05, depth * 0.95), (x, d.height - 0.05, 0), d.stand).named("leg"))
            d.solids.append(box((0.03, 0.04, depth * 0.9), (x, d.height * 0.35, 0), d.stand).named("leg"))
        if rails:
            d.solids += named(
                "back",
                placed(
                    [box((0.045, d.tall + 0.1, 0.03), (x, -0.08, -0.035), d.stand)], (0, d.height + 0.02, -depth / 2 + 0.01), lean=d.lean
                ),
            )
    if rails:
        part, upright = d.tall / rails, maybe(rng, 0.25)
        back = [
            soft_board(d.length, part * 0.8, 0.024, (0, 0, 0), d.timber, 0.1).turned("x", 90).moved((0, 0.08 + (i + 0.5) * part, -0.02))
            for i in range(rails)
        ]
        if upright:
            bars = np.arange(-d.length / 2 + 0.05, d.length / 2, 0.085)
            back = [box((d.length, 0.05, 0.035), (0, y, -0.02), d.timber) for y in (0.04, d.tall)]
            back += [box((0.035, d.tall - 0.05, 0.018), (float(x), 0.06, -0.02), d.timber) for x in bars]
        d.solids += named("back", placed(back, (0, d.height + 0.02, -depth / 2 + 0.01), lean=d.lean))
        d.parts += [] if upright else [Parts("backrest board", rails)]
        d.style += ["tall"] if d.tall > 0.45 else []
    if armed:
        up, curl = d.height + rng.uniform(0.18, 0.24), maybe(rng, 0.5)
        for x in (-d.half, d.half):
            if curl:
                points = [(x, up + 0.03, -depth / 2 - 0.05), (x, up, depth * 0.2), (x, up - 0.02, depth / 2 + 0.02)]
                points += [(x, up - 0.12, depth * 0.48), (x, d.height - 0.02, depth * 0.4)]
                d.solids.append(piped(points, 0.018, d.stand, bend=1).named("arm"))
            else:
                d.solids.append(soft_board(0.06, depth + 0.06, 0.03, (x, up, 0), d.stand, 0.4).named("arm"))
                d.solids.append(box((0.045, up - d.height + 0.05, 0.045), (x, d.height - 0.04, depth * 0.4), d.stand).named("arm"))
        d.parts.append(Parts("armrest", 2))
    main = d.timber
    return main


def bench(rng: Rng) -> Thing:
    """For two and more: of the park, the hall, the church, the bed's foot, the waiting room."""
    length, depth, height = rng.uniform(1.05, 2.0), rng.uniform(0.36, 0.5), rng.uniform(0.4, 0.47)
    timber, stand, soft = wood(rng), pick(rng, (STEEL, BLACK, wood(rng), metal(rng))), softened(rng)
    half = length / 2 - rng.uniform(0.06, 0.2)
    solids: list[Solid] = []
    parts: list[Parts] = []
    style: list[str] = []
    form, tall, lean = rng.integers(8), rng.uniform(0.34, 0.5), rng.uniform(5, 14)
    d = _Design(timber, length, height, solids, tall, style, parts, stand, lean, soft, half)
    if form <= 2:  # the park's: boards on two or three sides of iron, stone or wood
        main = _park(rng, d, depth)
    elif form == 3:  # a plain plank on boards, blocks or legs
        main = _plank(rng, d, depth)
    elif form == 4:  # upholstered
        main = _upholstered(rng, d, depth)
    elif form == 5:  # a chest to sit on, or a pew: closed to the floor
        main = _chest_or_pew(rng, d, depth)
    elif form == 6:  # seats in a row on a beam
        main = _row(rng, d, depth)
    else:  # curved in plan
        main = _curved(rng, d, depth)
    style += ["wide"] if length > 1.7 and form != 6 else []
    return Thing.of(solids, main, style, parts[:4])
