"""Makes a toilet: its designs, proportions and parts, and the words for them. See `thing`."""

import numpy as np

from pipeline.starter.kinds.padding import closed_loop, lofted, piped, slab_of
from pipeline.starter.kinds.solids import Solid, box, cushion, disc, dowel, rod, turned
from pipeline.starter.kinds.thing import BLACK, BRASS, STEEL, WHITE, Parts, Rng, Thing, ceramic, maybe, pick, stone, wood


def toilet(rng: Rng) -> Thing:
    white = ceramic(rng, pick(rng, ("white", "white", "white", "white", "beige", "pink", "blue", "green", "black")))
    shine = pick(rng, (STEEL, STEEL, BRASS, BLACK))
    cover = pick(rng, (white, white, white, WHITE, BLACK, wood(rng, "brown")))
    wide, long, high = rng.uniform(0.34, 0.4), rng.uniform(0.44, 0.54), rng.uniform(0.37, 0.44)
    front, back = pick(rng, ((0.98, 0.5), (0.98, 0.9), (0.7, 0.3), (0.45, 0.15)))
    form = int(rng.choice((0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 4)))  # on a foot, skirted, hung on the wall, with a high tank, in one piece
    hind = -long / 2
    solids: list[Solid] = []
    parts: list[Parts] = []
    style: list[str] = []
    rim = [closed_loop(wide, long, high, front=front, back=back)]
    rim += [closed_loop(wide - 0.06, long - 0.08, high - 0.005, 0.01, front=front, back=0.8)]
    bowl = [closed_loop(wide * 0.72, long * 0.7, high - 0.09, 0.02, front=0.95)]
    bowl += [closed_loop(wide * 0.35, long * 0.35, high - 0.2, 0.0, front=0.95)]
    lip = closed_loop(wide, long, high - 0.035, front=front, back=back)
    if form == 2:
        outer = [(0.5, 0.5, 0.32, -0.22), (0.74, 0.72, 0.26, -0.14), (0.93, 0.92, 0.13, -0.04), (0.97, 0.98, 0.06, 0)]
    elif form in (1, 4):
        outer = [(0.8, 0.86, high, -0.07), (0.82, 0.87, high * 0.5, -0.06), (0.9, 0.93, 0.13, -0.03), (0.98, 0.99, 0.06, 0)]
    else:
        waist = rng.uniform(0.42, 0.55)
        outer = [(0.68, 0.8, high, -0.06), (0.64, 0.76, high - 0.05, -0.06), (waist, 0.6, high * 0.62, -0.08)]
        outer += [(0.62, 0.7, high * 0.4, -0.06), (0.88, 0.9, 0.1, -0.02), (0.97, 0.98, 0.055, 0)]
    levels = [closed_loop(wide * w, long * d, high - y, long * z, front=front, back=back) for w, d, y, z in outer]
    solids.append(lofted([*levels, lip, *rim, *bowl], white))
    shape = [(wide + 0.01, long * 0.98, 0.0), (wide + 0.015, long * 0.985, 0.012), (wide - 0.01, long * 0.96, 0.024)]
    outer_ring = [closed_loop(w, d, high + y + 0.004, 0.005, front=front, back=back) for w, d, y in shape]
    inner_ring = [closed_loop(wide * 0.58, long * 0.6, high + y + 0.004, 0.025, front=0.95, back=0.7) for y in (0.024, 0)]
    ring = [*outer_ring, *inner_ring, outer_ring[0]]
    solids.append(lofted(ring, cover, caps=(False, False)))
    lid = [
        closed_loop(w, d * 1.0, y, front=front, back=back)
        for w, d, y in (
            (wide - 0.01, long * 0.95, 0),
            (wide + 0.01, long * 0.985, 0.008),
            (wide, long * 0.97, 0.02),
            (wide * 0.8, long * 0.8, 0.026),
        )
    ]
    up, cap = maybe(rng, 0.5), lofted(lid, cover)
    if up:
        angle = rng.uniform(96, 104)
        cap = cap.moved((0, 0, long / 2)).turned("x", -angle).moved((0, high + 0.03, hind + 0.045))
        style.append("open")
    else:
        cap = cap.moved((0, high + 0.03, 0.005))
        style.append("closed")
    solids.append(cap)
    solids += [
        dowel((s * 0.08 - 0.02, high + 0.025, hind + 0.035), (s * 0.08 + 0.02, high + 0.025, hind + 0.035), 0.013, shine) for s in (-1, 1)
    ]
    room = 0.06 if not up else 0.11  # a lid that is up leans on what is behind it
    if form == 2:
        ends = [closed_loop(wide * k, 0.2, high - y, hind, front=0.2) for k, y in ((0.6, 0.3), (0.9, 0.01))]
        solids.append(lofted(ends, white))
        if maybe(rng, 0.6):  # with the wall that hides its tank
            tall, buttons, z = rng.uniform(0.9, 1.2), int(rng.integers(1, 3)), hind - 0.11 - 0.04 * up
            solids.append(box((rng.uniform(0.45, 0.6), tall, 0.18), (0, 0, z), pick(rng, (white, stone(rng), WHITE))))
            solids.append(cushion((0.24, 0.16, 0.012), (0, tall - 0.25, z + 0.094), 0.005, shine))
            for x in (np.arange(buttons) - (buttons - 1) / 2) * 0.1:
                solids.append(cushion((0.2 / buttons - 0.02, 0.12, 0.012), (float(x), tall - 0.23, z + 0.102), 0.005, WHITE))
            parts.append(Parts("button", buttons))
    else:
        tank_wide, tank_deep, tank_tall = rng.uniform(0.36, 0.48), rng.uniform(0.16, 0.2), rng.uniform(0.3, 0.4)
        bottom, z, round_ = high - 0.01, hind - tank_deep / 2 + 0.06 - room, rng.uniform(0.1, 0.5)
        if form == 3:
            bottom = rng.uniform(1.25, 1.6)
            path = [(0, high - 0.15, hind + 0.05), (0, high - 0.13, hind - 0.06), (0, bottom + 0.02, hind - 0.06)]
            solids.append(piped(path, 0.022, shine))
            solids.append(lofted([closed_loop(wide * 0.5, 0.16, y, hind + 0.03, front=0.3) for y in (0.0, high - 0.02)], white))
            z, tank_tall, x = hind - 0.06, tank_tall * 0.8, tank_wide * 0.42
            solids += [
                dowel(
                    (x, bottom + tank_tall + 0.0, z + tank_deep * 0.3),
                    (x + 0.1, bottom + tank_tall + 0.03, z + tank_deep * 0.3),
                    0.006,
                    shine,
                ),
                dowel(
                    (x + 0.1, bottom - 0.4, z + tank_deep * 0.3),
                    (x + 0.1, bottom + tank_tall + 0.03, z + tank_deep * 0.3),
                    0.004,
                    shine,
                    sides=8,
                ),
            ]
            profile = [(0, 0), (0.016, 0.02), (0.012, 0.06), (0, 0.08)]
            solids.append(turned(profile, (x + 0.1, bottom - 0.46, z + tank_deep * 0.3), wood(rng, "brown"), sides=12))
            parts.append(Parts("pipe", 1, shine))
            style.append("tall")
        elif form == 4:
            bottom, tank_tall, tank_wide = 0.0, high + tank_tall * 0.75, wide * 1.02
        else:
            solids.append(
                lofted(
                    [
                        closed_loop(wide * 0.6, room + 0.2, high - 0.28, hind + 0.02 - room / 2, front=0.3),
                        closed_loop(wide * 0.86, room + 0.24, high - 0.05, hind - room / 2, front=0.3),
                        closed_loop(wide * 0.86, room + 0.24, high + 0.001, hind - room / 2, front=0.3),
                    ],
                    white,
                )
            )
        taper = rng.uniform(0.82, 1.0)
        solids.append(
            lofted(
                [
                    closed_loop(tank_wide * k, tank_deep * k, bottom + h * tank_tall, z, front=round_)
                    for k, h in ((taper * 0.97, 0), (taper, 0.03), (1, 1))
                ],
                white,
            )
        )
        solids.append(slab_of(tank_wide + 0.025, tank_deep + 0.025, 0.03, (0, bottom + tank_tall - 0.002, z), white, round_))
        over = bottom + tank_tall + 0.026
        match rng.integers(3) if form != 3 else 3:
            case 0:
                lever = (-tank_wide * 0.32, bottom + tank_tall * 0.85, z + tank_deep / 2 - 0.004)
                solids.append(rod(lever, (lever[0], lever[1], lever[2] + 0.03), 0.014, 0.012, shine))
                solids.append(
                    rod(
                        (lever[0] - 0.01, lever[1], lever[2] + 0.025),
                        (lever[0] + 0.08, lever[1] - 0.012, lever[2] + 0.025),
                        0.008,
                        0.006,
                        shine,
                    )
                )
                parts.append(Parts("lever", 1, shine))
            case 1:
                solids.append(disc(0.025, 0.012, (0, over, z), shine))
                parts.append(Parts("button", 1, shine))
            case 2:
                solids += [disc(0.024, 0.012, (s * 0.027, over, z), shine) for s in (-1, 1)]
                parts.append(Parts("button", 2, shine))
        parts.append(Parts("tank", 1))
    if maybe(rng, 0.15) and form not in (2, 3):
        z, x = hind + 0.1, wide / 2 + 0.17
        solids += [dowel((x, 0, z), (x, 0.62, z), 0.009, shine), disc(0.08, 0.015, (x, 0, z), shine)]
        solids += [dowel((x, 0.6, z), (x, 0.6, z + 0.15), 0.007, shine)]
        solids.append(dowel((x, 0.6, z + 0.025), (x, 0.6, z + 0.13), 0.055, WHITE, sides=20))
        parts.append(Parts("paper roll", 1))
    lowest = min(float(s.vertices[:, 1].min()) for s in solids)
    return Thing.of([s.moved((0, -lowest, 0)) for s in solids], white, style, parts)
