"""Makes a traffic cone: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def traffic_cone(rng: Rng) -> Thing:
    body = plastic(rng, pick(rng, ("orange", "orange", "orange", "orange", "yellow", "red", "green", "blue", "pink")))
    band = plastic(rng, pick(rng, ("white", "white", "white", "yellow", "grey")))
    foot_paint = pick(rng, (body, BLACK, BLACK))
    tall = pick(rng, (rng.uniform(0.2, 0.4), rng.uniform(0.45, 0.75), rng.uniform(0.75, 1.1)))
    form = int(rng.integers(5))  # plain, plain, curved at the foot, in steps, slim
    foot = tall * (rng.uniform(0.2, 0.3) if form < 4 else rng.uniform(0.12, 0.17))
    head, high = foot * rng.uniform(0.16, 0.35), rng.uniform(0.025, 0.07) * (tall + 0.3)
    base, round_foot, solids = foot * rng.uniform(1.25, 1.7), False, []
    match int(rng.integers(5)):
        case 0:
            round_foot = True
            one = lathe([(0, 0), (base, 0), (base, high * 0.6), (base * 0.93, high), (0, high)], foot_paint, sides=40)
            solids.append(one.named("base"))
        case 1:
            eight = [(math.cos(a) * base * 1.05, math.sin(a) * base * 1.05) for a in (np.arange(8) + 0.5) * math.pi / 4]
            solids.append(slab(eight, high, foot_paint, bevel=high * 0.3).turned("x", 90).moved((0, high / 2, 0)).named("base"))
        case 2:
            foot_plate = slab(rounded(2 * base, -base, base, base * 0.35, 5), high * 0.7, foot_paint, bevel=high * 0.2)
            solids.append(foot_plate.turned("x", 90).moved((0, high * 0.65, 0)).named("base"))
            stub = (base * 0.4, high * 0.5, base * 0.4)
            solids += named("base", [cushion(stub, (x, 0, z), high * 0.1, foot_paint) for x, z in four(base * 1.5, base * 1.5)])
        case _:
            foot_plate = slab(rounded(2 * base, -base, base, base * 0.2, 4), high, foot_paint, bevel=high * 0.3)
            solids.append(foot_plate.turned("x", 90).moved((0, high / 2, 0)).named("base"))
    t = np.linspace(0, 1, 13)
    width, y = foot + (head - foot) * (t if form != 2 else t**0.75), high + (tall - high) * t
    if form == 2:
        width[0] = foot * 1.15
    line = [(float(w), float(h)) for w, h in zip(width, y, strict=True)]
    if form == 3:
        rows = int(rng.integers(4, 7))
        line = []
        for i in range(rows):
            wide = foot + (head - foot) * i / (rows - 1)
            line += [(wide, high + (tall - high) * i / rows), (wide * 0.93, high + (tall - high) * (i + 0.93) / rows)]
        line.append((line[-1][0], tall))
    rim = line[-1][0]
    profile = [(0, high * 0.8), *line, (rim * 0.75, tall), (rim * 0.72, tall - head * 1.2), (0, tall - head * 1.2)]
    solids.append(lathe(profile, body, sides=40).named("base", first=40))
    if maybe(rng, 0.4):
        profile = scaled([(1, 0.9), (1.18, 0.9), (1.12, 1.5), (0.98, 1.6)], foot, high)
        solids.append(lathe(profile, body, sides=40))
    bands = int(rng.integers(0, 4)) if form != 3 else pick(rng, (0, 1, 2))
    rs, hs = np.array([p[0] for p in line]), np.array([p[1] for p in line])
    places = {1: (0.5,), 2: (0.38, 0.68), 3: (0.24, 0.5, 0.74)}.get(bands, ())
    wide = rng.uniform(0.09, 0.15) if bands == 3 else rng.uniform(0.11, 0.22)
    for place in places:
        h = high + (tall - high) * (place + np.linspace(-0.5, 0.5, 5) * wide)
        r = (np.interp(h, hs, rs) if form != 3 else np.interp(h, hs[[0, -1]], rs[[0, -1]] * 1.04)) + 0.004 * (tall + 0.3)
        profile = [(0, float(h[0])), *((float(a), float(b)) for a, b in zip(r, h, strict=True)), (0, float(h[-1]))]
        solids.append(lathe(profile, band, sides=40))
    extra = pick(rng, ("", "", "", "knob", "lamp", "handle"))
    if extra == "knob":
        profile = scaled([(0, 0), (1.3, 0), (1.5, 0.5), (1.1, 1.1), (0, 1.2)], rim)
        solids.append(turned(profile, (0, tall - rim * 0.3, 0), body, sides=24).named("knob"))
    elif extra == "lamp":
        lamp = plastic(rng, pick(rng, ("yellow", "red", "orange")))
        solids.append(disc(rim * 1.5, tall * 0.05, (0, tall - 0.005, 0), BLACK, sides=24).named("lamp"))
        dome = scaled([(0, 0), (1.9, 0), (1.9, 0.04), (1.6, 0.1), (0.8, 0.14), (0, 0.15)], rim, tall)
        solids.append(turned(dome, (0, tall * 1.045, 0), lamp, sides=24).named("lamp"))
    elif extra == "handle":
        a = np.linspace(-0.2, math.pi + 0.2, 14)
        loop = np.stack([np.cos(a) * rim * 0.95, tall + np.sin(a) * rim * 1.6, np.zeros(14)], axis=1)
        solids.append(tube(loop, rim * 0.28, body, sides=10).named("handle"))
    said = parts_of(("stripe", bands), (extra or "knob", int(bool(extra))))
    style = ["round"] * round_foot + (["tall"] if tall > 0.75 else ["low"] if tall < 0.4 else [])
    return Thing.of(grounded(solids), body, style, said)
