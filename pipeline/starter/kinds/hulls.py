"""Wings, fuselages, wheels and railings that several vehicles and buildings share."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from pipeline.starter.kinds.outlines import *
from pipeline.starter.kinds.skins import *
from pipeline.starter.kinds.solids import *
from pipeline.starter.kinds.thing import *

PAINTS: Final = ("white", "black", "grey", "red", "blue", "green", "yellow", "orange", "beige", "brown")


def wing_of(root: Point, tip: Point, chord: float, end: float, thick: float, material: Material) -> Solid:
    """A wing from a leading edge point to another; its chord runs towards -Z, from `chord` to `end`. `thick` is a part of the chord."""
    c = (1 - np.cos(np.linspace(0, math.pi, 8))) / 2
    half = 5 * thick * (0.2969 * np.sqrt(c) - 0.126 * c - 0.3516 * c**2 + 0.2843 * c**3 - 0.1015 * c**4)
    foil = np.concatenate([np.stack([c, half], axis=1), np.stack([c, -half], axis=1)[-1:0:-1]])  # [S, 2]: along the chord, up
    start, way = np.array(root), np.subtract(tip, root)
    up = np.cross((0.0, 0.0, 1.0), way)
    up /= np.linalg.norm(up)
    rings = []
    for at, fat in ((0.0, 1.0), (0.5, 1.0), (0.9, 1.0), (0.975, 0.75), (1.0, 0.25)):
        size = chord + (end - chord) * at
        inset = 0.25 * size * (1 - fat) ** 2
        rings.append(
            start + way * at + np.outer(-inset - foil[:, 0] * (size - 2 * inset), (0, 0, 1)) + np.outer(foil[:, 1] * size * fat, up)
        )
    return loft(rings, material)


def fuselage(stations: Sequence[tuple[float, float, float, float]], material: Material, power: float = 2.0, count: int = 28) -> Solid:
    """A fuselage through (z, width, height, y of the middle)."""
    line = bent_by(stations, count)
    return loft([oval(max(w, 0.004), max(h, 0.004), y, z, power) for z, w, h, y in line], material)


def parts_of(*counted: tuple[str, int]) -> tuple[Parts, ...]:
    return tuple(Parts(noun=noun, count=count) for noun, count in counted if count)


def wheel_of(radius: float, width: float, spokes: int, tyre: Material, rim: Material) -> list[Solid]:
    """A wheel about the origin whose outside is towards +X."""
    r, w = radius, width
    line = [(0, -w / 2), (0.9 * r, -w / 2), (0.97 * r, -0.4 * w), (r, -0.25 * w), (r, 0.25 * w), (0.97 * r, 0.4 * w), (0.9 * r, w / 2)]
    solids = [turned([*line, (0.68 * r, 0.48 * w), (0.66 * r, 0.3 * w), (0, 0.3 * w)], (0, 0, 0), tyre, sides=28)]
    if spokes:
        profile = [(0.66 * r, 0.3 * w), (0.68 * r, 0.5 * w), (0.6 * r, 0.48 * w), (0.58 * r, 0.3 * w)]
        solids.append(turned(profile, (0, 0, 0), rim, sides=28))
        solids.append(turned([(0, 0), (0.17 * r, 0), (0.14 * r, 0.5 * w), (0, 0.5 * w)], (0, 0, 0), rim, sides=16))
        spoke = slab([(0.1 * r, -0.08 * r), (0.64 * r, -0.05 * r), (0.64 * r, 0.05 * r), (0.1 * r, 0.08 * r)], 0.14 * w, rim)
        solids += repeated([spoke.turned("x", -90).moved((0, 0.4 * w, 0))], spokes)
    else:
        cap = [(0, 0.2 * w), (0.67 * r, 0.2 * w), (0.67 * r, 0.44 * w), (0.45 * r, 0.4 * w), (0.25 * r, 0.5 * w), (0, 0.54 * w)]
        solids.append(turned(cap, (0, 0, 0), rim, sides=24))
    return named("wheel", [solid.turned("z", -90) for solid in solids])


def railing(path: Floats, high: float, kind: int, bar: Material, rail: Material) -> list[Solid]:
    """Along points at the feet of the balusters: bars, a pane of glass or only two posts, and a handrail."""
    tops = np.add(path, (0, high, 0))
    solids = [tube(tops, 0.03, rail, sides=10)]
    for i in (0, -1):
        x, y, z = (float(v) for v in path[i])
        post = [(0, 0), (0.04, 0), (0.04, high * 0.9), (0.028, high * 0.93), (0.05, high + 0.03), (0.035, high + 0.08), (0, high + 0.09)]
        solids.append(turned(post, (x, y, z), rail, sides=14))
    if kind == 0:
        solids += [rod(tuple(a), tuple(b), 0.013, 0.013, bar, sides=8) for a, b in zip(path[1:-1], tops[1:-1], strict=True)]
    elif kind == 1:
        line = [(0, 0), (0.018, 0), (0.012, 0.15), (0.026, 0.4), (0.012, 0.62), (0.018, 0.8), (0.014, 1), (0, 1)]
        solids += [turned([(r, h * high) for r, h in line], (float(x), float(y), float(z)), bar, sides=10) for x, y, z in path[1:-1]]
    elif kind == 2:
        solids += [tube(np.add(path, (0, high * k, 0)), 0.012, bar, sides=8) for k in (0.25, 0.5, 0.75)]
        solids += [rod(tuple(path[i]), tuple(tops[i]), 0.016, 0.016, bar, sides=8) for i in range(3, len(path) - 2, 3)]
    else:
        side = np.cross(path[-1] - path[0], (0, 1, 0))
        side = side / np.linalg.norm(side) * 0.012
        solids.append(drape(np.array([path + side, tops + side]), np.array([path - side, tops - side]), bar))
    return named("railing", solids)
