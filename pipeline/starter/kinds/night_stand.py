"""Makes a night stand: its designs, proportions and parts, and the words for them. See `thing`."""

from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def night_stand(rng: Rng) -> Thing:
    width, height = rng.uniform(0.36, 0.62), rng.uniform(0.46, 0.72)
    depth, timber, knob = rng.uniform(0.34, 0.46), wood(rng), pick(rng, (STEEL, BLACK, BRASS))
    fronts = pick(rng, (timber, timber, wood(rng)))
    face, many = joinery(rng, fronts, knob), int(rng.integers(1, 4))
    if maybe(rng, 0.14):  # a drum, round all about
        radius, count = width / 2, int(rng.integers(1, 3))
        low, high = pick(rng, (0.03, rng.uniform(0.1, 0.25), rng.uniform(0.1, 0.25))), height - 0.03
        count = count if low > 0.06 else int(rng.integers(2, 4))
        solids = [
            disc(radius, high - low, (0, low, 0), timber, sides=48).hidden("top", high),
            disc(radius + 0.012, 0.03, (0, high, 0), timber, sides=48).named("top"),
        ]
        x = np.linspace(-0.75, 0.75, 17) * radius
        bow, each, pull = np.sqrt(radius**2 - x**2) + 0.01, (high - low) / count, pull_on(rng, knob)
        for i in range(count):
            solids.append(lying_between(x, bow - 0.05, bow, each - 0.03, low + i * each + 0.015, timber).named("drawer"))
            solids += pull(0, low + (i + 0.5) * each, radius + 0.01, radius, each, 0)
        plinth = disc(radius - 0.03, low, (0, 0, 0), BLACK).named("base")
        solids += legs(rng, radius * 1.3, radius * 1.3, low, 0.04, timber)[0] if low > 0.06 else [plinth]
        return Thing.of(
            solids, timber, ("round",), said_of(timber, ("drawer", count, timber), ("leg", 4 if low > 0.06 else 0, timber)), rest="cabinet"
        )
    if maybe(rng, 0.3):  # a small table with a drawer, and often a board below
        high, top = rng.uniform(0.12, 0.26), height - 0.025
        rows, shelf = (2 if high > 0.2 else 1), int(maybe(rng, 0.6))
        solids = named("top", [cushion((width + 0.03, 0.025, depth + 0.03), (0, top, 0), 0.01, timber)])
        solids.append(box((width - 0.03, high, depth - 0.03), (0, top - high, 0), timber).hidden("top", top))
        solids += stacked(face, 0, top - high + 0.005, depth / 2 - 0.015, width - 0.09, high - 0.01, [1] * rows)
        if maybe(rng, 0.3):
            solids += cabriole(width, depth, top, timber)
        else:
            solids += [replace(leg, material=timber) for leg in legs(rng, width - 0.02, depth - 0.02, top, 0.04, timber)[0]]
        solids += named("shelf", [box((width - 0.05, 0.018, depth - 0.05), (0, top * rng.uniform(0.15, 0.3), 0), timber)] if shelf else [])
        return Thing.of(
            solids, timber, parts=said_of(timber, ("drawer", rows, fronts), ("shelf", shelf, timber), ("leg", 4, timber)), rest="cabinet"
        )
    low, solids, feet = cabinet_feet(rng, width, depth, timber)
    low_part = height - low
    bay = low_part * rng.uniform(0.3, 0.55) if many < 3 and maybe(rng, 0.5) else 0.0
    doors = int(not bay and many == 1)
    if bay:  # open below or above the drawers
        board, above = 0.02, maybe(rng, 0.35)
        start = low if not above else height - bay
        solids += named("side", [box((board, low_part, depth), (side * (width - board) / 2, low, 0), timber) for side in SIDES])
        shelfs = [box((width - 0.002, board, depth), (0, y, 0), timber) for y in (low, start if above else low + bay - board)]
        solids += named("shelf", shelfs)
        solids.append(cushion((width + 0.03, 0.025, depth + 0.03), (0, height - 0.025, 0), 0.008, timber).named("top"))
        solids.append(box((width - 0.01, low_part, 0.01), (0, low, -depth / 2 + 0.006), timber).named("back"))
        y, high = (low, low_part - bay) if above else (low + bay, low_part - bay - 0.03)
        solids.append(box((width - 0.03, high, depth - 0.02), (0, y, -0.005), timber))
        solids += stacked(face, 0, y, depth / 2 - 0.015, width - 0.045, high, [1] * many)
    else:
        solids += carcass(rng, width, low_part, depth, low, timber, "door" if doors else "drawer")
        up, span = low_part - 0.055, width - 0.04
        if doors and maybe(rng, 0.7):
            part = up * rng.uniform(0.55, 0.75)
            solids += face(0, low + 0.01, depth / 2, span, part, 1) + face(0, low + 0.01 + part, depth / 2, span, up - part, 0)
        elif doors:
            solids += face(0, low + 0.01, depth / 2, span, up, 1)
            many = 0
        else:
            solids += stacked(face, 0, low + 0.01, depth / 2, span, up, [1] * many, pick(rng, (1.0, 1.0, 1.5)))
    if maybe(rng, 0.15):
        x, arch = arch_over(width, 0.05)
        crest = plate_between(x, np.full(len(x), height - 0.01), height + 0.03 + arch, 0.018, timber)
        solids.append(crest.moved((0, 0, -depth / 2 + 0.01)).named("back"))
    parts = said_of(timber, ("drawer", many, fronts), ("door", doors, fronts), ("shelf", int(bay > 0), timber), feet)
    return Thing.of(solids, timber, ("open",) if bay else (), parts, rest="cabinet")
