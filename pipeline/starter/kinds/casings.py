"""Screens and keys that several devices share."""

from pipeline.starter.kinds.skins import *
from pipeline.starter.kinds.solids import *
from pipeline.starter.kinds.thing import *


def screen_of(rng: Rng) -> Material:
    return plastic(rng, pick(rng, ("black", "grey", "blue", "blue", "green", "purple")))


def key_rects(width: float, depth: float, rows: int, pad: bool, cursor: bool, gap: float) -> tuple[list[Rect], list[Rect]]:
    """Plain and special keys of a field centred on the origin, as rectangles for `blocks_of`; the bottom row is at +Z."""
    plans = [
        [1.0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1],
        [1.0] * 13 + [2.0],
        [1.5] + [1.0] * 12 + [1.5],
        [1.75] + [1.0] * 11 + [2.25],
        [2.25] + [1.0] * 10 + [2.75],
        [1.25] * 3 + [6.25] + [1.25] * 4,
    ][6 - rows :]
    total = 15.0 + (3.25 if cursor else 0) + (4.25 if pad else 0)
    unit, deep = width / total, depth / rows
    plain: list[Rect] = []
    special: list[Rect] = []
    for r, plan in enumerate(plans):
        z, x, spare = (r + 0.5) * deep - depth / 2, 0.0, (15 - sum(plan)) / max(1, plan.count(0))
        for wide in plan:
            rect = ((x + wide / 2) * unit - width / 2, z, wide * unit - gap, deep - gap)
            if wide:
                (special if wide != 1 and wide < 5 else plain).append(rect)
            x += wide or spare
        below, x = len(plans) - 1 - r, 15.25
        if cursor:
            cells = {0: (0, 1, 2), 1: (1,), 2: ()}.get(below, (0, 1, 2))
            special += [((x + c + 0.5) * unit - width / 2, z, unit - gap, deep - gap) for c in cells]
            x += 3.25
        plain += [((x + c + 0.5) * unit - width / 2, z, unit - gap, deep - gap) for c in range(4)] if pad and below < 5 else []
    return plain, special


def keys_of(
    rng: Rng, width: float, depth: float, tall: float, rows: int, pad: bool, cursor: bool, colors: tuple[Material, Material]
) -> list[Solid]:
    gap = 0.12 * depth / rows + 0.001
    fields = key_rects(width, depth, rows, pad, cursor, gap)
    return named("key", [blocks_of(rects, tall, material, min(tall * 0.35, 0.003)) for rects, material in zip(fields, colors, strict=True)])
