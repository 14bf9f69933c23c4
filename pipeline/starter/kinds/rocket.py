"""Makes a rocket: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.starter.kinds.kit import *


def _ogive(radius: float, low: float, high: float, blunt: float) -> list[tuple[float, float]]:
    """The profile of a nose, without its lowest point."""
    t = np.linspace(0, 1, 12)[1:]
    return [(float(radius * (1 - s**1.8) ** (1 / blunt)) if s < 1 else 0.0, float(low + (high - low) * s)) for s in t]


def rocket(rng: Rng) -> Thing:
    return designed(rng, (_toy_rocket, _launcher, _launcher, _missile, _shuttle))


def _bell(radius: float, at: Point, material: Material) -> Solid:
    """A nozzle that opens downwards, its rim at `at`."""
    line = [(radius * (0.35 + 0.65 * (1 - h) ** 0.6), radius * 1.6 * h) for h in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return turned([(0, radius * 1.2), (radius * 0.9, 0), *line, (0, radius * 1.6)], at, material, sides=20).named("nozzle")


def _toy_rocket(rng: Rng) -> Thing:
    """A round one as in picture books, standing on curved fins."""
    body, second = plastic(rng), plastic(rng, pick(rng, ("red", "blue", "yellow", "orange", "black", "white")))
    dark = glass(rng, pick(rng, ("blue", "black", "white")))
    tall, fat, t, lift = 1.6, rng.uniform(0.22, 0.36), np.linspace(0, 1, 22), rng.uniform(0.18, 0.35)
    width = fat * np.sin(math.pi * (0.2 + 0.8 * t ** rng.uniform(0.85, 1.15))) ** rng.uniform(0.7, 1.0)
    width[-1] = 0.0
    split, y = int(rng.integers(14, 17)), lift + tall * t
    line = [(float(w), float(h)) for w, h in zip(width, y, strict=True)]
    solids = [lathe([(0, lift), *line[: split + 1], (0, line[split][1])], body, sides=40)]
    solids.append(lathe([(0, line[split][1]), (line[split][0] * 1.03, line[split][1]), *line[split + 1 :]], second, sides=40).named("nose"))
    solids.append(_bell(float(width[0]) * 0.85, (0, lift - float(width[0]) * 0.7, 0), STEEL))
    fins, reach = pick(rng, (3, 3, 4)), fat * rng.uniform(1.5, 2.1)
    at = [float(np.interp(h, y, width)) * 0.9 for h in (lift + 0.1, lift + 0.4, lift + 0.75)]
    outer = bent_by([(at[2], lift + 0.75), (at[1] + reach * 0.28, lift + 0.52), (reach, lift + 0.1), (reach * 1.08, 0.0)], 10)
    inner = bent_by([(reach * 0.98, 0.0), (reach * 0.75, lift * 0.75 + 0.06), (at[0], lift + 0.12)], 8)
    shape = [tuple(p) for p in (*outer, *inner, (at[1], lift + 0.4))]
    fin = slab(shape, 0.05, second, bevel=0.015)
    solids += named("fin", repeated([fin], fins, 30))
    windows = int(rng.integers(0, 4))
    for i in range(windows):
        h = lift + tall * (0.58 - 0.19 * i)
        r, size = float(np.interp(h, y, width)), fat * (0.42 - 0.07 * i)
        ring = [(0, -0.05), (size, -0.05), (size, 0.02), (size * 0.9, 0.035), (size * 0.78, 0.02), (size * 0.72, 0.015), (0, 0.012)]
        solids.append(lathe(ring, pick(rng, (STEEL, second)), sides=24).turned("x", 90).moved((0, h, r)).named("window"))
        profile = [(0, 0), (size * 0.72, 0.012), (size * 0.4, 0.035), (0, 0.04)]
        solids.append(lathe(profile, dark, sides=24).turned("x", 90).moved((0, h, r)).named("window"))
    if maybe(rng, 0.4):
        solids.append(rod((0, lift + tall - 0.03, 0), (0, lift + tall + 0.2, 0), 0.012, 0.008, STEEL).named("antenna"))
        solids.append(turned([(0, -0.03), (0.03, 0), (0, 0.03)], (0, lift + tall + 0.2, 0), second).named("antenna"))
    for h in (0.12, 0.3) if maybe(rng, 0.4) else ():
        edge = [(float(np.interp(lift + tall * k, y, width)) + 0.006, lift + tall * k) for k in (h, h + 0.05)]
        solids.append(lathe([(0, edge[0][1]), *edge, (0, edge[1][1])], second, sides=40))
    return Thing.of(grounded(solids), body, ("round",), parts_of(("fin", fins), ("window", windows)))


def _stack(
    stages: Sequence[tuple[float, float]], nose: float, blunt: float, paints: Sequence[Material], at: Point = (0, 0, 0)
) -> list[Solid]:
    """Cylinders of (radius, height) one on another, joined by cones, and a nose."""
    solids, y = [], 0.0
    for i, (r, h) in enumerate(stages):
        paint = paints[i % len(paints)]
        solids.append(turned([(0, y), (r, y), (r, y + h), (0, y + h)], at, paint))
        band = r * 0.12
        solids.append(turned([(0, y + h - band), (r * 1.015, y + h - band), (r * 1.015, y + h), (0, y + h)], at, BLACK if i % 2 else STEEL))
        y += h
        if i + 1 < len(stages) and stages[i + 1][0] != r:
            step = abs(r - stages[i + 1][0]) * 1.5 + 0.02
            solids.append(turned([(0, y), (r, y), (stages[i + 1][0], y + step), (0, y + step)], at, paint))
            y += step
    r = stages[-1][0]
    solids.append(turned([(0, y), (r, y), *_ogive(r, y, y + nose, blunt)], at, paints[-1]).named("nose"))
    return solids


def _launcher(rng: Rng) -> Thing:
    """A carrier rocket of stages, with or without boosters at its sides."""
    skin = metal(rng, pick(rng, ("white", "white", "grey", "orange", "green")))
    second, third = metal(rng, pick(rng, ("black", "white", "red", "orange"))), metal(rng, pick(rng, ("white", "grey", "red")))
    count, r = int(rng.integers(1, 4)), rng.uniform(0.19, 0.32)
    stages, radius, tall = [], r, rng.uniform(2.0, 3.0)
    for i in range(count):
        stages.append((radius, tall * (1.0, 0.55, 0.35)[i]))
        radius *= pick(rng, (1.0, rng.uniform(0.65, 0.9), 1.15 if i == count - 2 and count > 1 else 0.8))
    paints = (skin, pick(rng, (skin, second)), skin)
    solids = [solid.moved((0, r * 1.2, 0)) for solid in _stack(stages, stages[-1][0] * rng.uniform(1.8, 4), rng.uniform(1, 2), paints)]
    top = max(float(solid.vertices[:, 1].max()) for solid in solids)
    if maybe(rng, 0.3):
        solids.append(rod((0, top - 0.05, 0), (0, top + 0.4, 0), 0.018, 0.014, STEEL).named("nose"))
        solids.append(turned([(0, 0), (0.03, 0), (0.03, 0.15), (0, 0.22)], (0, top + 0.36, 0), second, sides=12).named("nose"))
    boosters, pushed = pick(rng, (0, 0, 2, 2, 4, 4)), 0.0
    if boosters:
        small, high = r * rng.uniform(0.45, 0.95), tall * rng.uniform(0.55, 1.0)
        pushed = r + small * 0.98
        line = [(0, r * 0.9), (small, r * 0.9), (small, high)]
        line += _ogive(small, high, high + small * rng.uniform(2, 4.5), pick(rng, (1.0, 1.6)))
        one = [turned(line, (0, 0, pushed), third, sides=24), _bell(small * 0.7, (0, 0.02, pushed), STEEL)]
        profile = scaled([(0, 0.8), (1.02, 0.8), (1.02, 0.86), (0, 0.86)], small, high)
        one += [turned(profile, (0, 0, pushed), second, sides=24), box((small * 0.4, 0.06, r * 0.5), (0, high * 0.7, r), STEEL)]
        solids += named("booster", repeated(one, boosters, 90 if boosters == 2 else 45))
    nozzles = pick(rng, (1, 3, 4, 5))
    if nozzles == 1:
        solids.append(_bell(r * 0.75, (0, 0, 0), STEEL))
    else:
        solids += repeated([_bell(r * 0.36, (0, 0, r * 0.56), STEEL)], min(nozzles, 4))
        solids += [_bell(r * 0.36, (0, 0, 0), STEEL)] if nozzles == 5 else []
    fins = pick(rng, (0, 3, 4, 4, 4) if boosters == 0 else (0, 0, 4))
    if fins:
        size = r * rng.uniform(1.0, 1.9)
        fin = wing_of((0, r * 0.9, r * 1.2 + size * 1.6), (0, r + size * 0.8, r * 1.2 + size * 0.7), size * 1.6, size * 0.7, 0.08, second)
        solids += named("fin", repeated([fin.turned("x", -90).turned("y", 180)], fins))
    said = parts_of(("fin", fins), ("booster", boosters), ("nozzle", nozzles if not boosters else 0), ("stage", count))
    return Thing.of(grounded(solids), skin, ("tall",), said)


def _missile(rng: Rng) -> Thing:
    """Slim and pointed with large fins: a V2, a model rocket, a missile."""
    skin, second = metal(rng, pick(rng, PAINTS)), metal(rng, pick(rng, ("red", "black", "white", "yellow", "blue")))
    r, tall, bulge, t = 0.16, rng.uniform(1.8, 3.2), rng.uniform(0.0, 0.3), np.linspace(0, 1, 18)
    width = r * (1 - bulge + bulge * np.sin(math.pi * np.minimum(t * 1.15, 1) ** 0.9) ** 0.7)
    line = [(float(w), float(h * tall)) for w, h in zip(width, t, strict=True)]
    nose = [(p, h) for p, h in _ogive(float(width[-1]), tall, tall + r * rng.uniform(2.5, 6), rng.uniform(1.0, 1.8))]
    solids = [
        lathe([(0, 0), *line, (0, tall)], skin),
        lathe([(0, tall), (float(width[-1]), tall), *nose], pick(rng, (skin, second))).named("nose"),
    ]
    fins, size = pick(rng, (3, 4, 4)), r * rng.uniform(1.5, 2.6)
    drop, chord = pick(rng, (0.0, 0.3, -0.3)) * size, size * rng.uniform(0.9, 1.5)
    fin = wing_of((0, r * 0.6, chord), (0, r + size * 0.8, chord * 0.45 - drop), chord, chord * rng.uniform(0.3, 0.6), 0.06, second)
    solids += named("fin", repeated([fin.turned("x", -90).turned("y", 180)], fins, 45))
    small = 0
    if maybe(rng, 0.4):
        small, h = fins, tall * rng.uniform(0.55, 0.85)
        fin = wing_of((0, r * 0.6, h + size * 0.5), (0, r + size * 0.45, h + size * 0.1), size * 0.5, size * 0.22, 0.06, second)
        solids += named("fin", repeated([fin.turned("x", -90).turned("y", 180)], fins, 45))
    for h in (0.2, 0.6, 0.93):
        if maybe(rng, 0.5):
            rim = float(np.interp(h, t, width)) * 1.02
            solids.append(lathe([(0, h * tall), (rim, h * tall), (rim, h * tall + 0.08), (0, h * tall + 0.08)], second))
    solids.append(_bell(r * 0.6, (0, -r * 0.6, 0), STEEL))
    return Thing.of(grounded(solids), skin, ("slim",), parts_of(("fin", fins + small)))


def _shuttle(rng: Rng) -> Thing:
    """A space shuttle alone, or on its tank between two boosters."""
    skin, dark, tank, r = metal(rng, "white"), BLACK, metal(rng, pick(rng, ("orange", "brown", "white"))), 0.36
    stations = [(0, 2, 2, 0), (0.8, 2.05, 2.05, 0), (2.6, 2, 2, 0), (3.1, 1.7, 1.75, -0.1), (3.55, 0.9, 1.0, -0.3), (3.7, 0.05, 0.05, -0.4)]
    plane = [fuselage([(z, w * r, h * r, y * r) for z, w, h, y in stations], skin, 2.8)]
    for s in (-1, 1):
        plane.append(wing_of((s * 0.2, -0.75 * r, 2.1), (s * 1.35, -0.65 * r, 0.55), 2.1, 0.55, 0.06, skin).named("wing"))
        plane.append(wing_of((s * 0.15, -0.8 * r, 2.9), (s * 0.8, -0.75 * r, 1.4), 1.3, 0.3, 0.06, dark).named("wing"))
        outline = [(-0.1, 0.2, 0.2, r), (0.0, 0.3, 0.3, r), (0.5, 0.3, 0.3, r * 0.9), (0.9, 0.1, 0.1, r * 0.8)]
        plane.append(fuselage(outline, skin, count=10).moved((s * 0.2, 0, 0)).named("engine"))
        plane.append(cushion((0.16, 0.1, 0.22), (s * 0.13, r * 0.42, 3.12), 0.03, dark).named("window"))
    plane.append(wing_of((0, 0.8 * r, 0.75), (0, 0.8 * r + 0.95, 0.15), 0.8, 0.42, 0.08, skin).named("tail"))
    plane += [_bell(0.15, (0, -0.16, 0), STEEL).turned("x", 90).moved((x, y, 0.0)) for x, y in ((0, 0.2), (-0.17, -0.1), (0.17, -0.1))]
    solids = [solid.turned("x", -90) for solid in plane]
    boosters = 0
    if maybe(rng, 0.7):
        boosters = 2
        solids = [solid.turned("y", 180).moved((0, 0.5, 1.15)) for solid in solids]
        line = [(0, 0.2), (0.5, 0.3), (0.62, 0.7), (0.62, 3.6), *_ogive(0.62, 3.6, 5.0, 1.3)]
        solids.append(lathe(line, tank).named("tank"))
        for s in (-1, 1):
            solids += named("booster", _stack(((0.27, 1.2), (0.27, 1.2), (0.27, 1.2)), 0.5, 1.0, (WHITE,), (s * 0.88, 0.1, 0)))
            solids.append(turned([(0, 0.0), (0.36, 0.0), (0.27, 0.4), (0, 0.4)], (s * 0.88, -0.1, 0), WHITE).named("booster"))
        solids += named("strut", [dowel((0, y, 0.5), (0, y, 0.85), 0.05, STEEL, sides=8) for y in (1.2, 3.2)])
        solids += named("strut", [dowel((s * 0.5, y, 0), (s * 0.8, y, 0), 0.05, STEEL, sides=8) for s in (-1, 1) for y in (0.7, 3.2)])
    else:
        solids = [solid.turned("y", 180) for solid in solids]
    main, words = (tank, ("tall",)) if boosters else (skin, ("wide",))
    return Thing.of(grounded(solids), main, words, parts_of(("booster", boosters), ("wing", 2), ("nozzle", 3)))
