"""Makes a bathtub: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def _built_in(
    rng: Rng, high: float, white: Material, long: float, wide: float, solids: list[Solid], parts: list[Parts], shine: Material
) -> tuple[list[str], tuple[float, float, float]]:
    """A block or panels around a basin."""
    border, top = rng.uniform(0.04, 0.1), high - 0.03
    wood_or_stone, f = pick(rng, (white, white, stone(rng), wood(rng))), pick(rng, (0.25, 0.5, 0.98))
    block = [closed_loop(long, wide, 0.0, front=0.02), closed_loop(long, wide, top + 0.002, front=0.02)]
    rings = [*block, closed_loop(long - 2 * border, wide - 2 * border, top + 0.002, front=f)]
    solids.append(layered(rings, wood_or_stone, caps=(True, False)).named("body"))
    k = 0.0 if maybe(rng, 0.5) else -border * 0.5
    size = (long + 2 * k + 0.02, wide + 2 * k + 0.02)
    rim = [closed_loop(*size, top, front=0.06), closed_loop(*size, high - 0.006, front=0.06)]
    rim += [closed_loop(size[0] - 0.012, size[1] - 0.012, high, front=0.06)]
    steps = [(0.0, high - 0.001), (0.012, high - 0.02), (0.07, high * 0.5), (0.1, high * 0.3), (0.16, high * 0.25)]
    within = [closed_loop(long - 2 * border - 3.2 * d, wide - 2 * border - 2 * d, y, front=f) for d, y in steps]
    solids.append(layered([*rim, *within], white, caps=(False, True)).named("basin"))
    style = ["square" if f < 0.9 else "oval"]
    if maybe(rng, 0.35):
        panels = int(rng.integers(1, 4))
        each = (long - 0.1) / panels
        for i in range(panels):
            at = ((i - (panels - 1) / 2) * each, 0.06, wide / 2)
            solids.append(cushion((each - 0.06, high - 0.16, 0.02), at, 0.008, wood_or_stone))
        parts.append(Parts("panel", panels))
    if maybe(rng, 0.25):
        deep = rng.uniform(0.25, 0.35)
        solids.append(soft_board(long * 0.7, deep, high * 0.4, (0, 0, wide / 2 + deep / 2), wood_or_stone, 0.03).named("step"))
        parts.append(Parts("step", 1))
    if maybe(rng, 0.15):
        pane = glass(rng, "white")
        solids.append(box((long * 0.5, 1.4, 0.01), (-long * 0.24, high - 0.002, wide / 2 - 0.03), pane).named("pane"))
        one = dowel((-long / 2 + 0.015, high, wide / 2 - 0.03), (-long / 2 + 0.015, high + 1.4, wide / 2 - 0.03), 0.014, shine)
        solids.append(one.named("pane"))
        parts.append(Parts("glass screen", 1))
    if maybe(rng, 0.3):
        z = wide / 2 - border * 0.5
        bends = [(0.1, high - 0.01, z), (0.1, high + 0.05, z), (0.3, high + 0.05, z), (0.3, high - 0.01, z)]
        solids.append(piped(bends, 0.01, shine, bend=0.03).named("handle"))
        parts.append(Parts("handle", 1, shine))
    tap_at = (-long / 2 + border * 0.5, high, 0.0)
    return style, tap_at


def _in_corner(
    rng: Rng, high: float, solids: list[Solid], white: Material, shine: Material, parts: list[Parts]
) -> tuple[float, float, list[str], tuple[float, float, float], float]:
    """A tub that fits a corner."""
    side = rng.uniform(1.25, 1.5)
    long, wide, t = side, side, np.linspace(0, 1, 15)[:, None]
    start, full, wall = 0.3 * side, rng.uniform(0.85, 1.05) * side, np.linspace(0.99, 0.01, 8)[:, None] * side
    bulge = (1 - t) ** 2 * (start, side) + 2 * t * (1 - t) * full + t**2 * (side, start)
    edge = np.concatenate([[(0.01, side)], bulge, [(side, 0.01)], wall * (1, 0), wall[::-1] * (0, 1)])
    heart = 0.46 * side
    away = edge - heart
    ring = away / np.linalg.norm(away, axis=1, keepdims=True)

    def level(points: Floats, y: float) -> Floats:
        return np.stack([points[:, 0] - side / 2, np.full(len(points), y), points[:, 1] - side / 2], axis=1)

    walls = [level(heart + away * k, y) for k, y in ((0.97, 0), (0.97, high - 0.06), (1, high - 0.06), (1, high - 0.01), (0.99, high))]
    levels = ((0.4, high), (0.385, high - 0.025), (0.33, high * 0.5), (0.3, high * 0.32), (0.24, high * 0.27))
    bowl = [level(heart + ring * k * side, y) for k, y in levels]
    tub = layered([*walls, *bowl], white)
    solids.append(tub.named("body", first=(2 * len(walls) - 1) * len(edge)).named("basin"))
    style = ["corner"]
    tap_at, turn = (-side * 0.36, high + 0.01, -side * 0.36), 45.0
    if maybe(rng, 0.5):
        jets = int(rng.integers(3, 7))
        for i in range(jets):
            a = -1.2 + i * 2.4 / (jets - 1) + math.pi * 1.25
            at = (math.sin(a) * 0.34 * side - side * 0.04, high * 0.6, math.cos(a) * 0.34 * side - side * 0.04)
            solids.append(ball(0.025, at, shine, rings=6, sides=10).named("basin"))
        parts.append(Parts("jet", jets))
    return long, wide, style, tap_at, turn


def _free(
    rng: Rng,
    form: np.int64,
    high: float,
    long: float,
    wide: float,
    outside: Material,
    inside: Material,
    white: Material,
    solids: list[Solid],
    slipper: Callable[[Solid, float, bool], Solid],
    shine: Material,
    parts: list[Parts],
) -> tuple[list[str], tuple[float, float, float], float]:
    """A tub that stands free, on feet, on a plinth, or whole to the floor."""
    lift, f = (rng.uniform(0.1, 0.16) if form == 0 else 0.0), pick(rng, (0.98, 0.98, 0.8))
    body = high - lift
    tight = rng.uniform(0.5, 0.75) if form == 0 else rng.uniform(0.6, 0.92)
    curve = [(tight, 0.0), (tight + 0.1, 0.06), (0.5 + tight / 2, 0.4), (0.97, 0.8), (0.985, 0.96)]
    if form == 1:
        curve = [(0.84, 0.0), (0.83, 0.07), (0.76, 0.12), (0.78, 0.2), (0.9, 0.55), (0.98, 0.92)]
    roll = rng.uniform(0.012, 0.035) if form < 2 or maybe(rng, 0.5) else 0.004
    outer = [closed_loop(long * k - (1 - k) * 0.2, wide * k, lift + h * body, front=f) for k, h in curve]
    lip = [closed_loop(long + 2 * roll, wide + 2 * roll, high - roll, front=f)]
    lip += [closed_loop(long + 2 * roll, wide + 2 * roll, high, front=f), closed_loop(long - 0.02, wide - 0.02, high + roll * 0.7, front=f)]
    sizes, heights = np.array(curve).T
    well = []
    for most, h in ((0.94, 1 - 0.02 / body), (0.88, 0.6), (0.78, 0.28), (0.62, 0.17)):
        k = min(most, float(np.interp(h, heights, sizes)) - 0.05)  # inside the outer skin at every height
        well.append(closed_loop(long * k - (1 - k) * 0.2, wide * k, lift + h * body, front=f))
    skins = [layered([*outer, lip[0]], outside, caps=(True, False)), layered([*lip, *well], inside, caps=(False, True))]
    around = len(skins[0].faces)
    skins = [layered([*outer, *lip, *well], outside)] if inside is white and outside is white else skins
    skins = [skins[0].named("body", first=around), *skins[1:]]
    rise, both = rng.uniform(0.08, 0.24) if maybe(rng, 0.6) else 0.0, maybe(rng, 0.5)
    solids += named("basin", [slipper(s, rise, both) for s in skins] if rise else skins)
    style = ["oval", *(("curved",) if rise else ())]
    if form == 0:
        claw = pick(rng, (shine, white))
        for x, z in four(long * 0.62, wide * 0.62):
            knee = [(x * 0.92, lift + 0.035, z * 0.9), (x * 1.06, lift * 0.75, z * 1.14), (x * 1.04, 0.03, z * 1.12)]
            solids.append(piped(knee, 0.024, claw, bend=1).named("leg"))
            line = [(0, 0), (0.03, 0), (0.042, 0.025), (0.03, 0.05), (0, 0.055)]
            solids.append(turned(line, (x * 1.04, 0, z * 1.12), claw, sides=14).named("leg"))
        parts.append(Parts("leg", 4, claw))
    tap_at = (0.0, high, -wide / 2 + 0.02) if rise and both else (-long / 2 + 0.03, high + 0.01, 0.0)
    turn = 0.0 if rise and both else 90.0
    if maybe(rng, 0.4):  # pipes and a tap that stand on the floor
        z, high_tap = -wide / 2 - 0.12, high + rng.uniform(0.2, 0.35)
        solids += named(
            "tap",
            [dowel((x, 0, z), (x, high + 0.1, z), 0.012, shine) for x in (-0.07, 0.07)]
            + [dowel((-0.12, high + 0.1, z), (0.12, high + 0.1, z), 0.02, shine)],
        )
        corners = [(0, high + 0.1, z), (0, high_tap, z), (0, high_tap, z + 0.25), (0, high_tap - 0.06, z + 0.25)]
        solids.append(piped(corners, 0.013, shine, bend=0.06).named("tap"))
        parts.append(Parts("tap", 1, shine))
        turn = -1.0
    return style, tap_at, turn


def bathtub(rng: Rng) -> Thing:
    """Its length lies along X."""
    long, wide, high = rng.uniform(1.4, 1.85), rng.uniform(0.7, 0.9), rng.uniform(0.48, 0.64)
    white = pick(rng, (ceramic(rng, "white"), ceramic(rng, "white"), ceramic(rng), WHITE))
    inside, shine = pick(rng, (white, ceramic(rng, "white"))), pick(rng, (STEEL, STEEL, BRASS, BLACK))
    outside = pick(rng, (white, white, metal(rng), ceramic(rng)))
    parts: list[Parts] = []
    solids: list[Solid] = []
    form, tap_at, turn = rng.integers(6), (-long * 0.5 + 0.06, high, 0.0), 90.0

    def slipper(solid: Solid, rise: float, both: bool) -> Solid:
        """The rim goes up towards one end or both."""
        points = solid.vertices.copy()
        t = points[:, 0] / (long / 2)
        points[:, 1] += rise * (np.abs(t) if both else np.clip(t, 0, None)) ** 2.2 * np.clip(points[:, 1] / high, 0, 1) ** 2
        return replace(solid, vertices=points)

    if form <= 2:  # stands free: on feet, on a plinth, or whole to the floor
        style, tap_at, turn = _free(rng, form, high, long, wide, outside, inside, white, solids, slipper, shine, parts)
    elif form == 5:  # fits a corner
        long, wide, style, tap_at, turn = _in_corner(rng, high, solids, white, shine, parts)
    else:  # built in: a block or panels around a basin
        style, tap_at = _built_in(rng, high, white, long, wide, solids, parts, shine)
    if turn >= 0 and maybe(rng, 0.8):
        more, words = tap_of(rng, 0.16, shine, tall=rng.uniform(0.12, 0.2))
        solids += placed(more, tap_at, turn=turn)
        parts += words
    return Thing.of(solids, white, style, parts[:4])
