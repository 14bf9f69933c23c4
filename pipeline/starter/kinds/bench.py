"""Makes a bench: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def bench(rng: Rng) -> Thing:
    """For two and more: of the park, the hall, the church, the bed's foot, the waiting room."""
    length, depth, height = rng.uniform(1.05, 2.0), rng.uniform(0.36, 0.5), rng.uniform(0.4, 0.47)
    timber, stand, soft = wood(rng), pick(rng, (STEEL, BLACK, wood(rng), metal(rng))), softened(rng)
    half, solids = length / 2 - rng.uniform(0.06, 0.2), []
    parts: list[Parts] = []
    style: list[str] = []
    form, tall, lean = rng.integers(8), rng.uniform(0.34, 0.5), rng.uniform(5, 14)
    if form <= 2:  # the park's: boards on two or three sides of iron, stone or wood
        planks, rails = int(rng.integers(2, 7)), int(rng.integers(1, 6)) if maybe(rng, 0.85) else 0
        depth *= 1.0 if rails else 0.8  # else it would be a low table
        each = (depth + 0.02) / planks
        for i in range(planks):
            solids.append(soft_board(length, each * 0.84, 0.03, (0, height - 0.002, -depth / 2 + (i + 0.5) * each), timber, 0.1))
        where = (-half, 0.0, half) if length > 1.6 and maybe(rng, 0.5) else (-half, half)
        armed, side, concrete = rails > 0 and maybe(rng, 0.6), rng.integers(4), pick(rng, (stand, stone(rng)))
        for x in where:
            if side == 0:
                solids.append(
                    layered(
                        [
                            closed_loop(0.12, depth * f, y, 0, x, front=0.2)
                            for f, y in ((0.9, 0), (0.8, 0.1), (0.8, height - 0.1), (0.95, height))
                        ],
                        concrete,
                    )
                )
            elif side == 1:
                for z in (-1, 1):
                    points = [(x, 0.018, z * (depth / 2 + 0.05)), (x, height * 0.3, z * depth * 0.5), (x, height * 0.7, z * depth * 0.2)]
                    points += [(x, height - 0.015, z * depth * 0.45)]
                    solids.append(piped(points, 0.018, stand, bend=1))
                solids.append(box((0.04, 0.035, depth), (x, height - 0.035, 0), stand))
            else:
                out = 0.08 if side == 2 else 0.0
                solids += [rod((x, 0, z * (depth / 2 + out)), (x, height, z * depth * 0.4), 0.022, 0.026, stand) for z in (-1, 1)]
                solids.append(box((0.045, 0.05, depth * 0.95), (x, height - 0.05, 0), stand))
                solids.append(box((0.03, 0.04, depth * 0.9), (x, height * 0.35, 0), stand))
            if rails:
                solids += placed(
                    [box((0.045, tall + 0.1, 0.03), (x, -0.08, -0.035), stand)], (0, height + 0.02, -depth / 2 + 0.01), lean=lean
                )
        if rails:
            part, upright = tall / rails, maybe(rng, 0.25)
            back = [
                soft_board(length, part * 0.8, 0.024, (0, 0, 0), timber, 0.1).turned("x", 90).moved((0, 0.08 + (i + 0.5) * part, -0.02))
                for i in range(rails)
            ]
            if upright:
                bars = np.arange(-length / 2 + 0.05, length / 2, 0.085)
                back = [box((length, 0.05, 0.035), (0, y, -0.02), timber) for y in (0.04, tall)]
                back += [box((0.035, tall - 0.05, 0.018), (float(x), 0.06, -0.02), timber) for x in bars]
            solids += placed(back, (0, height + 0.02, -depth / 2 + 0.01), lean=lean)
            parts += [] if upright else [Parts("backrest board", rails)]
            style += ["tall"] if tall > 0.45 else []
        if armed:
            up, curl = height + rng.uniform(0.18, 0.24), maybe(rng, 0.5)
            for x in (-half, half):
                if curl:
                    points = [(x, up + 0.03, -depth / 2 - 0.05), (x, up, depth * 0.2), (x, up - 0.02, depth / 2 + 0.02)]
                    points += [(x, up - 0.12, depth * 0.48), (x, height - 0.02, depth * 0.4)]
                    solids.append(piped(points, 0.018, stand, bend=1))
                else:
                    solids.append(soft_board(0.06, depth + 0.06, 0.03, (x, up, 0), stand, 0.4))
                    solids.append(box((0.045, up - height + 0.05, 0.045), (x, height - 0.04, depth * 0.4), stand))
            parts.append(Parts("armrest", 2))
        main = timber
    elif form == 3:  # a plain plank on boards, blocks or legs
        main, thick = pick(rng, (timber, stone(rng))), rng.uniform(0.035, 0.1)
        solids.append(soft_board(length, depth, thick, (0, height - thick, 0), main, pick(rng, (0.05, 0.3))))
        under = height - thick + 0.004
        match rng.integers(4):
            case 0:
                for s in (-1, 1):
                    rings = [closed_loop(0.08, depth * 0.9, 0, 0, s * half, front=0.1)]
                    rings += [closed_loop(0.08, depth * 0.75, under, 0, s * half, front=0.1)]
                    solids.append(layered(rings, main))
            case 1:
                for s in (-1, 1):
                    outline = [(-depth / 2, 0), (-depth * 0.25, 0), (0, 0.12), (depth * 0.25, 0), (depth / 2, 0), (depth * 0.4, under)]
                    outline += [(-depth * 0.4, under)]
                    solids.append(plate(outline, 0.04, main).turned("y", -90).moved((s * half, 0, 0)))
                solids.append(box((2 * half, 0.09, 0.03), (0, under - 0.12, 0), main))
            case 2:
                for s in (-1, 1):
                    points = [(s * half, under, -depth * 0.42), (s * half, 0.012, -depth * 0.46), (s * half, 0.012, depth * 0.46)]
                    points += [(s * half, under, depth * 0.42)]
                    solids.append(piped(points, 0.014, stand, bend=0.02))
            case _:
                more, feet = seat_legs(rng, length - 0.1, depth * 0.9, under, 0.055, timber)
                solids += more
                parts.append(feet)
        if maybe(rng, 0.3):
            solids.append(pad_of(length * 0.98, depth * 0.96, 0.06, (0, height - 0.004, 0), soft, 0.15))
            style.append("padded")
    elif form == 4:  # upholstered
        main = soft
        more, feet = seat_legs(rng, length, depth, height - 0.1, 0.05, timber, brace=0.2)
        solids += [*more, cushion((length, 0.1, depth), (0, height - 0.13, 0), 0.02, soft)]
        solids.append(pad_of(length + 0.01, depth + 0.01, 0.1, (0, height - 0.06, 0), soft, 0.15))
        style.append("padded")
        parts.append(feet)
        arms = maybe(rng, 0.5)
        if arms:
            for s in (-1, 1):
                edge = length / 2
                roll = smoothed([(s * edge, height - 0.12), (s * (edge + 0.02), height + 0.1), (s * (edge + 0.08), height + 0.2)])
                sides = [np.column_stack([roll, np.full(len(roll), z)]) for z in (s * depth / 2, -s * depth / 2)]
                solids.append(bent_board(np.stack(sides), 0.05, soft))
                x, y = s * (edge + 0.1), height + 0.2
                solids.append(dowel((x, y, -depth / 2 - 0.01), (x, y, depth / 2 + 0.01), 0.055, soft))
            parts.append(Parts("armrest", 2))
    elif form == 5:  # a chest to sit on, or a pew: closed to the floor
        main, pew, t = timber, maybe(rng, 0.5), 0.035
        for s in (-1, 1):
            line = [(-depth / 2 - 0.1, 0), (depth / 2, 0), (depth / 2, height + 0.1), (depth * 0.3, height + 0.26)]
            line += [(-depth * 0.2, height + 0.24), (-depth * 0.35, height + tall), (-depth / 2 - 0.1, height + tall + 0.04)]
            solids.append(plate(line, 0.045, timber).turned("y", -90).moved((s * length / 2, 0, 0)))
        solids.append(soft_board(length, depth + 0.02, t, (0, height - t, 0), timber, 0.1))
        solids += placed([box((length, tall, 0.025), (0, 0, 0), timber)], (0, height - 0.02, -depth / 2 + 0.01), lean=lean * 0.6)
        parts.append(Parts("armrest", 2))
        if pew:
            solids.append(box((length, 0.1, 0.02), (0, height - 0.14, depth * 0.35), timber))
        else:
            columns = int(rng.integers(1, 4))
            more, said = drawers(
                rng, (length - 0.03, height - t - 0.06, depth - 0.04), (0, 0.06, 0), 1, columns, timber, pick(rng, (STEEL, BRASS, BLACK))
            )
            solids += [*more, box((length, 0.06, depth - 0.08), (0, 0, 0), timber)]
            parts.append(said)
        if maybe(rng, 0.4):
            solids.append(pad_of(length - 0.06, depth - 0.06, 0.06, (0, height - 0.004, 0.01), soft, 0.1))
            style.append("padded")
    elif form == 6:  # seats in a row on a beam
        main, seats = pick(rng, (plastic, metal, leather))(rng), int(rng.integers(2, 5))
        knots = [(depth / 2, height - 0.02), (depth / 2 - 0.05, height + 0.01), (-depth * 0.45, height - 0.03)]
        knots += [(-depth * 0.5, height + 0.05), (-depth * 0.72, height + tall)]
        flank = smoothed(knots)
        for i in range(seats):
            u, v = np.meshgrid(np.linspace(-1, 1, 9), np.arange(len(flank)), indexing="ij")
            k = v.astype(int)
            grid = np.stack([u * 0.25 + (i - (seats - 1) / 2) * 0.55, flank[k, 1] + 0.02 * u**4, flank[k, 0] + 0.03 * u**4], axis=2)
            solids.append(bent_board(grid, 0.025, main))
        wide = seats * 0.55
        solids.append(box((wide, 0.05, 0.07), (0, height - 0.1, -0.05), stand))
        for s in (-1, 1):
            x = s * wide * 0.36
            solids.append(box((0.05, height - 0.07, 0.05), (x, 0, -0.05), stand))
            solids.append(cushion((0.06, 0.03, depth * 1.1), (x, 0, -0.03), 0.01, stand))
        solids += [
            dowel((x, height - 0.08, -0.05), (x, height - 0.035, -0.1), 0.015, stand) for x in (np.arange(seats) - (seats - 1) / 2) * 0.55
        ]
        parts.append(Parts("seat", seats))
        if maybe(rng, 0.5):
            for x in (np.arange(seats + 1) - seats / 2) * 0.55:
                points = [(x, height - 0.07, -0.05), (x, height + 0.2, -0.2), (x, height + 0.21, 0.12)]
                solids.append(piped(points, 0.014, stand, bend=0.04))
            parts.append(Parts("armrest", seats + 1))
    else:  # curved in plan
        main, sweep, radius = pick(rng, (timber, stone(rng))), rng.uniform(0.5, 1.1), length * rng.uniform(0.8, 1.0)
        backed, a, thick = maybe(rng, 0.6), np.linspace(-sweep / 2, sweep / 2, 25) * 1.2, rng.uniform(0.04, 0.08)
        arc = np.stack([np.sin(a), 0 * a, 1 - np.cos(a)], axis=1)
        rims = [arc * (radius + r) + (0, height, -r) for r in (-depth / 2, depth / 2)]
        solids.append(bent_board(np.stack(rims, axis=1), thick, main))
        for i in (3, 12, 21):
            turn = math.degrees(float(a[i]))
            rings = [closed_loop(0.12, depth * 0.8, y, front=0.15) for y in (0, height - thick + 0.004)]
            solids.append(layered(rings, main).turned("y", -turn).moved((float(arc[i, 0] * radius), 0, float(arc[i, 2] * radius))))
        if backed:
            rim = arc * (radius + depth / 2) + (0, height - 0.01, -depth / 2)
            solids.append(bent_board(np.stack([rim, rim + (0, tall, 0) + arc * 0.1 - (0, 0, 0.08)], axis=1), 0.04, main))
        style.append("curved")
        parts += [Parts("backrest", 1)] if backed else []
    style += ["wide"] if length > 1.7 and form != 6 else []
    return Thing.of(solids, main, style, parts[:4])
