"""Makes a bucket: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def _bail(rng: Rng, half: float, at: float, thick: float, wire: Material, grip: Material | None) -> list[Solid]:
    """A wire over a mouth from ear to ear, upright, leaning or let down."""
    high, angle = half * rng.uniform(1.0, 1.35), np.linspace(0, math.pi, 29)
    path = np.stack([-half * np.cos(angle), high * np.sin(angle) ** rng.uniform(0.7, 1.0), 0 * angle], axis=1)
    solids = [tube(path, thick, wire, sides=8)]
    if grip:
        mid = path[11:18]
        solids.append(horn(mid, np.full(len(mid), thick * 3), grip, sides=12))
    lean = pick(rng, (0.0, 0.0, rng.uniform(20, 60), 82.0)) * pick(rng, (-1, 1))
    knobs = [dowel((side * half * 0.94, 0, 0), (side * (half + thick * 2), 0, 0), thick * 2.5, wire) for side in (-1, 1)]
    return [solid.named("handle").turned("x", lean).moved((0, at, 0)) for solid in [*solids, *knobs]]


def bucket(rng: Rng) -> Thing:
    """Pails of plastic, zinc or staves with hoops, square ones, tubs with two handles, paint with a lid, ice on a foot, toys for sand."""
    form = pick(rng, ("plastic", "plastic", "zinc", "zinc", "staves", "square", "tub", "paint", "ice", "toy"))
    wide, foot = rng.uniform(0.13, 0.17), rng.uniform(0.68, 0.85)
    tall, body = wide * rng.uniform(1.7, 2.2), plastic(rng)
    rim: Line = [(0.97, 0.93), (0.97, 0.93), (1.04, 0.93), (1.04, 0.93), (1.04, 1), (1.04, 1)]
    match form:
        case "zinc" | "ice":
            body = metal(rng, pick(rng, ("grey", "grey", "white", "blue", "green", "red")) if form == "zinc" else "grey")
            rim = [(0.98, 0.96), (1, 0.97), (1.04, 0.98), (1.04, 1), (1.02, 1.01)]
        case "staves":
            body, foot, rim = wood(rng, pick(rng, ("brown", "beige"))), pick(rng, (rng.uniform(0.75, 0.95), 1.15)), [(1, 1)]
        case "tub":
            tall, wide = tall * 0.6, wide * 1.3
        case "paint":
            foot, body, wide, tall = 0.97, pick(rng, (metal(rng), plastic(rng, "white"), plastic(rng))), wide * 0.75, tall * 0.75
        case "toy":
            wide, tall = wide * 0.55, tall * 0.55
    base = wide * foot
    knots = [(foot, 0), (foot, 0), (foot + (0.97 - foot) * 0.3, 0.3), (foot + (0.97 - foot) * 0.75, 0.75), *rim]
    if form == "zinc":
        knots[:2] = [(foot * 1.02, 0), (foot * 1.02, 0.05), (foot, 0.05), (foot, 0.05)]
    if form == "ice":
        knots = [(0.55, 0), (0.55, 0.04), (0.2, 0.1), (0.2, 0.16), (0.7, 0.26), (0.85, 0.5), *rim] if maybe(rng, 0.5) else knots
    outer = smooth(knots, wide, tall)
    solids = vessel(outer, wide * (0.06 if form == "staves" else 0.025), body, body)
    if form != "staves":
        solids[0] = solids[0].named("rim", above=tall * 0.925)
    parts: list[Parts] = []
    style, count = list(proportion(2 * wide, tall, 0.8, 1.05)), 0
    if form == "staves":
        n, hoop = int(rng.integers(10, 17)), pick(rng, (STEEL, BLACK, BRASS))
        solids = shaped(solids, lambda a, h: 1 - 0.022 * np.abs(np.cos(n / 2 * a)) ** 14)
        count = int(rng.integers(2, 4))
        where = np.linspace(0.15, 0.82, count)
        solids += [band(outer, tall * float(h), tall * float(h + 0.07), hoop, proud=0.002) for h in where]
        parts.append(Parts("hoop", count, hoop))
    elif form in ("zinc", "plastic", "toy", "paint") and maybe(rng, 0.6):
        count, strip = int(rng.integers(1, 4)), body if form == "zinc" else plastic(rng)
        where, thick = np.linspace(0.35, 0.72, count), 0.015 if form == "zinc" else rng.uniform(0.04, 0.12)
        solids += [band(outer, tall * float(h), tall * float(h + thick), strip, proud=0.0025 if form == "zinc" else 0.001) for h in where]
        style += ["striped"] if strip is not body and count > 1 else []
        parts += [Parts("band", count, replace(strip, substance=""))] if strip is not body else []
    if form == "square":
        solids, style = shaped(solids, squared(rng.uniform(4, 9))), [*style, "square"]
        if maybe(rng, 0.5):
            solids = [stretched(solid, z=1.35) for solid in solids]
    edge, grip = wide * 1.02, pick(rng, (None, wood(rng), plastic(rng), BLACK))
    if form in ("tub", "ice"):
        at = tall * rng.uniform(0.8, 0.92)
        arc = bezier((-0.35, 0, 0), (-0.35, 0, 0.45), (0.35, 0, 0.45), (0.35, 0, 0), steps=20) * wide
        ear = tube(arc, wide * 0.05, pick(rng, (body, BLACK, STEEL)), sides=10)
        ear = ear.turned("x", pick(rng, (0.0, 60.0, -50.0))).moved((0, at, radius_at(outer, at) - wide * 0.06))
        solids += [ear.turned("y", turn).named("handle") for turn in (90, 270)]
        parts.append(Parts("handle", 2))
    elif form == "staves" or maybe(rng, 0.94):
        rope = pick(rng, (STEEL, STEEL, BLACK, plastic(rng)))
        if form == "staves":
            solids += [box((wide * 0.06, tall * 0.28, wide * 0.35), (side * wide * 0.97, tall * 0.86, 0), body) for side in (-1, 1)]
            rope, edge = pick(rng, (STEEL, fabric(rng, "beige"))), wide * 0.98
        at = tall * (1.05 if form == "staves" else 0.9)
        thick = wide * (0.045 if rope.substance == "fabric" else 0.024)
        solids += _bail(rng, edge + thick, at, thick, rope, None if rope.substance == "fabric" else grip)
        parts.append(Parts("handle", 1, rope))
    top = outer[-1][0]
    if form == "paint" and maybe(rng, 0.6):
        lid = pick(rng, (body, plastic(rng)))
        line = [(0, 0), (1.03, 0), (1.03, 0), (1.03, 0.06), (0.9, 0.06), (0.9, 0.06), (0.88, 0.03), (0, 0.03)]
        solids.append(turned(smooth(line, top, top), (0, tall * 0.985, 0), lid, sides=48).named("lid"))
        parts.append(Parts("lid", 1, lid))
    elif form == "ice" and maybe(rng, 0.6):
        wine = smooth(PROFILES["claret"], wide * 0.27, tall * 1.25)
        flask = [lathe([(0.0, 0.0), *wine, (0.0, tall * 1.25)], glass(rng))]
        flask += [*closure(rng, "foil", wine[-1][0], tall * 1.25, 1.0)]
        solids += [solid.named("bottle").turned("z", -14).moved((-wide * 0.15, tall * 0.3, 0)) for solid in flask]
        parts.append(Parts("bottle", 1))
    elif form == "toy" and maybe(rng, 0.6):
        spade = plastic(rng)
        handle = dowel((0, tall * 0.2, 0), (wide * 0.5, tall * 1.6, 0), wide * 0.07, spade)
        across = dowel((wide * 0.5, tall * 1.6, -wide * 0.25), (wide * 0.5, tall * 1.6, wide * 0.25), wide * 0.08, spade)
        solids += named("spade", [handle, across])
        parts.append(Parts("spade", 1, spade))
    elif form != "square" and maybe(rng, 0.3):
        level, fill = tall * rng.uniform(0.6, 0.88), paint(rng, pick(rng, ("blue", "beige", "grey", "brown")))
        solids.append(lathe([(0, base * 0.1), (radius_at(outer, level) - wide * 0.03, level), (0, level)], fill, sides=48).named("filling"))
    return Thing.of(solids, body, style, parts[:4])
