"""Pillows, legs, rolling feet and taps that several seats and bathroom things share."""

import math

import numpy as np

from pipeline.starter.kinds.outlines import *
from pipeline.starter.kinds.skins import *
from pipeline.starter.kinds.solids import *
from pipeline.starter.kinds.thing import *


def pillow(rng: Rng, width: float, tall: float, material: Material) -> Solid:
    """A loose pillow that stands on its lower edge and faces +Z."""
    thick = rng.uniform(0.28, 0.4) * min(width, tall)
    levels = ((0.45, 0), (0.8, 0.12), (0.97, 0.38), (1, 0.5), (0.97, 0.62), (0.8, 0.88), (0.45, 1))
    lying = layered([closed_loop(width * s, tall * s, (h - 0.5) * thick, front=0.25) for s, h in levels], material)
    return lying.turned("x", 90).moved((0, tall / 2, 0)).named("pillow")


LEGS = (
    ((0, 1, 0), (1, 1, 0)),
    ((0, 0.55, 0), (1, 1, 0)),
    ((0, 0.5, 0), (0.08, 0.6, 0), (0.3, 0.85, 0), (0.42, 0.5, 0), (0.48, 1.0, 0), (0.55, 0.6, 0), (0.8, 1, 0), (1, 1, 0)),
    ((0, 0.9, 0.9), (0.06, 0.75, 0.8), (0.2, 0.5, 0.3), (0.55, 0.75, 0.35), (0.85, 1.3, 0.5), (1, 1.2, 0.1)),
)
"""Straight, tapered, turned, cabriole: height, thickness and how far outwards, in parts of the whole."""


def seat_legs(
    rng: Rng, width: float, depth: float, height: float, thick: float, material: Material, *, brace: float = 0.4
) -> tuple[list[Solid], Parts]:
    """Four legs, sometimes splayed, now and then braced, and the words for them."""
    form = int(rng.integers(len(LEGS)))
    splay = 0.0 if form == 3 else pick(rng, (0.0, rng.uniform(0.05, 0.18))) * height
    corner = 0.98 if form >= 2 or maybe(rng, 0.5) else 0.15
    ends, solids = [], []
    for x, z in four(width - 1.4 * thick, depth - 1.4 * thick):
        top = np.array((x, height, z))
        foot = np.array((x + math.copysign(splay, x), 0, z + math.copysign(splay * 0.8, z)))
        ends.append((foot, top))
        rings = []
        for t, size, out in LEGS[form]:
            px, py, pz = foot + (top - foot) * t + out * thick * np.array((math.copysign(0.7, x), 0, math.copysign(0.7, z)))
            rings.append(closed_loop(thick * size, thick * size, py, pz, px, front=corner))
        solids.append(layered(rings, material))

    def bar(i: int, j: int, t: float) -> Solid:
        start, end = (ends[n][0] + (ends[n][1] - ends[n][0]) * t for n in (i, j))
        return rod(tuple(start), tuple(end), thick * 0.28, thick * 0.28, material, sides=10)

    if form < 3 and maybe(rng, brace):
        t = rng.uniform(0.2, 0.45)
        match rng.integers(3):
            case 0:
                solids += [bar(0, 1, t), bar(2, 3, t)]
                half = width / 2 - 0.7 * thick + splay * (1 - t)
                solids.append(rod((-half, height * t, 0), (half, height * t, 0), thick * 0.28, thick * 0.28, material, sides=10))
            case 1:
                solids += [bar(0, 1, t), bar(2, 3, t), bar(0, 2, t + 0.1), bar(1, 3, t + 0.1)]
            case _:
                solids += [bar(0, 3, t), bar(1, 2, t)]
    return named("leg", solids), Parts(noun="leg", count=4, material=material)


def softened(rng: Rng) -> Material:
    return pick(rng, (fabric, fabric, leather))(rng)


def star(rng: Rng, radius: float, top: float, stand: Material, *, wheels: bool) -> tuple[list[Solid], list[Parts]]:
    """A column on a foot with four or five rays, on castors or not."""
    rays, low = int(rng.integers(4, 6)), 0.075 if wheels else 0.02
    solids = named(
        "pole", [disc(0.028, top - low, (0, low, 0), STEEL, sides=16), disc(0.04, (top - low) * 0.5, (0, low, 0), stand, sides=16)]
    )
    for turn in np.arange(rays) * 360 / rays:
        ray = [
            layered([closed_loop(0.05, 0.05, 0, front=0.2), closed_loop(0.03, 0.025, radius, -0.02, front=0.2)], stand)
            .named("leg")
            .turned("x", 90)
            .moved((0, low + 0.03, 0))
        ]
        if wheels:
            ray += [rod((s * 0.008, 0.029, radius - 0.03), (s * 0.026, 0.029, radius - 0.03), 0.029, 0.026, BLACK) for s in (-1, 1)]
            ray.append(disc(0.01, 0.05, (0, 0.03, radius - 0.03), BLACK, sides=8))
        else:
            ray.append(disc(0.02, low + 0.01, (0, 0, radius - 0.02), stand, sides=12))
        solids += [part.turned("y", float(turn)).named("wheel" if wheels else "leg") for part in ray]
    words = [Parts(noun="wheel", count=rays)] if wheels else [Parts(noun="leg", count=rays, material=stand)]
    return solids, words


def tap_of(rng: Rng, reach: float, shine: Material, *, tall: float = 0.0) -> tuple[list[Solid], list[Parts]]:
    """A tap that stands on Y = 0 and lets water fall at Z = `reach`, and the words for it."""
    tall = tall or rng.uniform(0.1, 0.3)
    solids: list[Solid] = [disc(0.026, 0.01, (0, 0, 0), shine, sides=20)]
    match rng.integers(4):
        case 0:  # a swan's neck
            a = np.linspace(math.pi, -0.25, 15)
            bow = np.stack([0 * a, tall + np.sin(a) * reach / 2, reach / 2 + np.cos(a) * reach / 2], axis=1)
            solids.append(piped(np.concatenate([[(0, 0, 0)], bow]), 0.011, shine, bend=0))
        case 1:
            solids.append(rod((0, 0, 0), (0, tall * 0.7, 0), 0.02, 0.018, shine))
            solids.append(rod((0, tall * 0.45, 0), (0, tall * 0.68, reach), 0.014, 0.01, shine))
            solids.append(rod((0, tall * 0.7 - 0.02, reach - 0.008), (0, tall * 0.6 - 0.02, reach - 0.008), 0.011, 0.011, shine))
        case 2:
            solids.append(cushion((0.04, tall * 0.8, 0.04), (0, 0, 0), 0.005, shine))
            solids.append(cushion((0.04, 0.022, reach + 0.03), (0, tall * 0.8 - 0.022, reach / 2), 0.005, shine))
        case _:
            solids.append(piped([(0, 0, 0), (0, tall * 0.8, 0), (0, tall * 0.85, reach), (0, tall * 0.6, reach)], 0.013, shine, bend=0.05))
    grips = int(rng.integers(1, 3))
    if grips == 1:
        solids.append(piped([(0, tall * 0.3, 0), (0.03, tall * 0.34, 0), (0.085, tall * 0.34 + 0.04, 0)], 0.008, shine, bend=0.02))
    else:
        cross = maybe(rng, 0.5)
        for s in (-1, 1):
            x = s * 0.1
            line = [(0, 0), (0.024, 0), (0.024, 0.008), (0.013, 0.02), (0.015, 0.05), (0, 0.055)]
            solids.append(turned(line, (x, 0, 0), shine, sides=16))
            if cross:
                solids.append(rod((x, 0.045, -0.035), (x, 0.045, 0.035), 0.006, 0.006, shine, sides=8))
                solids.append(rod((x - 0.035, 0.045, 0), (x + 0.035, 0.045, 0), 0.006, 0.006, shine, sides=8))
            else:
                solids.append(rod((x, 0.047, 0), (x + s * 0.06, 0.055, 0.01), 0.009, 0.006, shine, sides=10))
    return named("tap", solids), [Parts(noun="tap", count=1, material=shine), Parts(noun="tap handle", count=grips)]
