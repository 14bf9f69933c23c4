"""Makes a bowl: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def _fruits(rng: Rng, wide: float, level: float) -> tuple[list[Solid], Parts]:
    """Three to five fruits in a ring that look over a rim, and perhaps one on top."""
    sorts = (("apple", "red", 0.9), ("apple", "green", 0.9), ("orange", "orange", 1.0), ("lemon", "yellow", 1.3), ("pear", "green", 1.2))
    noun, color, tall = pick(rng, sorts)
    skin, below = paint(rng, color), int(rng.integers(3, 6))
    size = wide / (1 + 1 / math.sin(math.pi / below)) * 0.98
    line = [(0, 0.1), (0.25, 0.0), (0.8, 0.25), (1, 1), (0.85, 1.6), (0.3, 1.85), (0, 1.7)]
    if noun == "pear":
        line = [(0, 0), (0.8, 0), (1.05, 0.5), (0.9, 1.1), (0.4, 1.5), (0.4, 2), (0, 2.05)]
    elif noun == "lemon":
        line = [(0, 0), (0.2, 0), (0.25, 0.2), (1, 0.5), (1, 1.5), (0.25, 1.8), (0.2, 2), (0, 2)]
    elif noun == "orange":
        line = [(0, 0), (0.5, 0), (1, 0.45), (1, 1.3), (0.5, 1.95), (0, 2)]
    one = [turned(smooth(line, size, size * tall, 2), (0, -size * tall, 0), skin, sides=20)]
    level = max(level, size * tall) + (0.5 * size if noun == "pear" else 0.0)
    if noun in ("apple", "pear"):
        one.append(rod((0, size * 0.6, 0), (size * 0.1, size * 1.05, 0), size * 0.05, size * 0.07, BLACK, sides=6))
    if noun == "lemon":
        one = [solid.turned("x", 70) for solid in one]
    solids = []
    for i in range(below):
        tilt = [solid.turned("z", float(rng.uniform(-25, 25))).moved((0, level, wide - size)) for solid in one]
        solids += placed(tilt, (0, 0, 0), turn=i * 360 / below)
    solids += [solid.moved((0, level + size * 1.35, 0)) for solid in one] if (top := maybe(rng, 0.6)) else []
    return solids, Parts(noun, below + top, skin)


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
            rng.uniform(0.9, 1.3),
            [(0.5, 0), (0.5, 0.03), (0.16, 0.1), (0.12, 0.3), (0.2, 0.42), (0.8, 0.52), (0.97, 0.75), (1, 1)],
        ),
        "mixing": (rng.uniform(0.7, 0.95), [(foot, 0), (0.78, 0.25), (0.92, 0.7), (0.95, 0.93), (0.95, 0.93), (1.02, 0.97), (1.02, 1)]),
        "tureen": (rng.uniform(0.8, 1.0), [(0.55, 0), (0.55, 0.04), (0.4, 0.1), (0.9, 0.3), (1.05, 0.6), (1, 0.9), (1, 1)]),
        "salad": (rng.uniform(0.55, 0.8), [(0.6, 0), (0.7, 0.04), (0.95, 0.4), (1.0, 0.75), (0.96, 1)]),
        "shallow": (rng.uniform(0.3, 0.42), [(foot, 0), (foot, 0.08), (0.8, 0.3), (1, 1)]),
        "faceted": (rng.uniform(0.6, 0.9), [(foot, 0), (foot, 0.05), (0.75, 0.4), (1, 1)]),
    }[form]
    tall = wide * ratio
    outer = smooth(curve, wide, tall)
    rim, wall = outer[-1][0], wide * rng.uniform(0.03, 0.06)
    solids = vessel(outer, wall, body, pick(rng, (body, body, WHITE, ceramic(rng))), sides=72)
    if form == "pedestal":
        solids[0] = solids[0].named("base", below=tall * 0.45)
    style: list[str] = {"wide": ["wide"], "shallow": ["wide", "low"], "deep": ["tall"], "pedestal": ["tall"]}.get(form, [])
    parts: list[Parts] = []
    parts += [Parts("stem", 1)] if form == "pedestal" else []
    count = int(rng.integers(1, 4))
    if form not in ("shallow", "pedestal", "mixing") and maybe(rng, 0.35):
        strip, thick = ceramic(rng), rng.uniform(0.05, 0.12)
        solids += [band(outer, tall * (0.85 - 0.2 * i - thick), tall * (0.85 - 0.2 * i), strip, proud=wide * 0.012) for i in range(count)]
        parts.append(Parts("band", count, replace(strip, substance="")))
        style = [*style, "striped"] if count > 1 else style
    if form == "faceted":
        solids = shaped(solids, faceted_by(pick(rng, (6, 8, 9, 12))))
    plain = form in ("tureen", "mixing") or maybe(rng, 0.5)
    if not plain and form != "faceted":
        match rng.integers(4):
            case 0:
                solids, style = shaped(solids, squared(rng.uniform(3, 7))), [*style, "square"]
            case 1:
                solids = shaped(solids, fluted_by(int(rng.integers(8, 19)), rng.uniform(0.02, 0.05)))
            case 2:  # a wavy rim
                lobes, depth = int(rng.integers(4, 9)), rng.uniform(0.06, 0.14)
                solids = shaped(solids, lambda a, h: 1 + depth * np.cos(lobes * a) * np.clip(h / tall, 0, 1) ** 3)
            case _:
                solids, style = [stretched(solid, x=1.35) for solid in solids], [*style, "oval"]
    if form == "tureen" or (form in ("half", "deep") and maybe(rng, 0.3)):
        low, high = tall * 0.55, tall * 0.85
        ear = ear_of(
            rng,
            (radius_at(outer, low) * 0.97, low),
            (radius_at(outer, high) * 0.97, high),
            wide * rng.uniform(0.25, 0.4),
            wide * 0.06,
            body,
        )
        if plain:
            solids += [ear, ear.turned("y", 180)]
            parts.append(Parts("handle", 2))
    if form == "mixing" and maybe(rng, 0.6):
        solids.append(ear_of(rng, (rim * 0.9, tall * 0.6), (rim * 0.97, tall * 0.95), wide * 0.3, wide * 0.06, body))
        parts.append(Parts("handle", 1))
    if plain and form in ("tureen", "deep", "half") and maybe(rng, 0.9 if form == "tureen" else 0.3):
        knots = [(0, 0), (1.03, 0), (1.03, 0), (1.0, 0.08), (0.7, 0.3), (0.12, 0.4), (0.1, 0.46), (0.18, 0.56), (0.1, 0.64), (0, 0.65)]
        lid = smooth(knots, rim, rim)
        solids.append(turned(lid, (0, tall, 0), body, sides=48).named("lid"))
        parts.append(Parts("lid", 1))
    elif plain and form in ("half", "wide", "pedestal", "salad", "mixing", "shallow") and maybe(rng, 0.35):
        fruits, words = _fruits(rng, rim * 0.8, tall * (0.95 if form != "shallow" else 1.3))
        solids += named("fruit", fruits)
        parts.append(words)
    elif form == "salad" and plain and maybe(rng, 0.6):
        server = wood(rng)
        for side in (-1, 1):
            end = (side * rim * 1.25, tall * 1.7, 0.0)
            solids += [rod((-side * rim * 0.2, tall * 0.2, side * rim * 0.3), end, wide * 0.03, wide * 0.05, server).named("spoon")]
            solids.append(stretched(bulb(wide * 0.05, (0, 0, 0), server), z=1.4).moved(end).named("spoon"))
        parts.append(Parts("spoon", 2, server))
    elif maybe(rng, 0.15) and plain:
        level, soup = tall * 0.75, paint(rng, pick(rng, ("orange", "green", "red", "brown", "white", "beige")))
        radius = radius_at(outer, level) - wall * 0.7
        solids.append(lathe([(0, level - 0.002), (radius, level - 0.002), (radius, level), (0, level)], soup, sides=48).named("filling"))
    else:
        style = [*style, "open"]
    return Thing.of(solids, body, style, parts[:4])
