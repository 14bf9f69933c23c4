"""Makes a door: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from pipeline.starter.kinds.kit import *


def _leaf(rng: Rng, width: float, height: float, timber: Material, pane: Material) -> tuple[Callable[[], list[Solid]], tuple[Parts, ...]]:
    """A design of door leaf: how to make one, standing at the origin, alike on both sides; and the words for one."""
    thick, stile = 0.045, rng.uniform(0.08, 0.13)
    sort = pick(rng, ("panels", "panels", "panels", "panes", "panes", "half", "planks", "flush", "grooves", "louvre", "strip"))
    columns, rows = int(rng.integers(1, 3)), int(rng.integers(1, 5))
    shares, raised = rng.uniform(0.5, 1.6, rows), maybe(rng, 0.7)
    fine, slot, seed = int(rng.integers(1, 4)), rng.uniform(0.1, 0.22), pick(rng, SIDES)
    porthole, waist = maybe(rng, 0.3), rng.uniform(0.4, 0.55)

    def field(x: float, y: float, w: float, h: float, glazed: bool, split: tuple[int, int]) -> list[Solid]:
        if not glazed:
            made = [box((w + 0.01, h + 0.01, 0.016), (x, y - 0.005, 0), timber)]
            return [*made, cushion((w - 0.05, h - 0.05, 0.038), (x, y + 0.025, 0), 0.016, timber)] if raised else made
        made = named("pane", [box((w + 0.01, h + 0.01, 0.012), (x, y - 0.005, 0), pane)])
        across, up = split
        made += [box((0.018, h, 0.03), (x - w / 2 + i * w / across, y, 0), timber) for i in range(1, across)]
        return made + [box((w, 0.018, 0.029), (x, y + i * h / up - 0.009, 0), timber) for i in range(1, up)]

    def framed(shares: Floats, columns: int, glazed: Sequence[bool], split: tuple[int, int]) -> list[Solid]:
        made = [box((stile, height, thick), (side * (width - stile) / 2, 0, 0), timber) for side in SIDES]
        base, rail = stile * 1.7, stile * 0.9
        free, y, wide = height - base - stile - rail * (len(shares) - 1), base, width - 2 * stile
        made += [box((wide, base, thick), (0, 0, 0), timber), box((wide, stile, thick), (0, height - stile, 0), timber)]
        for share, clear in zip(shares / shares.sum(), glazed, strict=True):
            h, each = float(share) * free, (wide - (columns - 1) * rail) / columns
            for i in range(columns):
                x = -wide / 2 + (i + 0.5) * each + i * rail
                made += field(x, y, each, h, clear, split)
                made += [box((rail, h, thick), (x - (each + rail) / 2, y, 0), timber)] if i else []
            y += h
            if y < height - 1.5 * stile:
                made.append(box((wide, rail, thick), (0, y, 0), timber))
                y += rail
        return made

    across, up = int(rng.integers(1, 4)) if width > 0.6 else int(rng.integers(1, 3)), int(rng.integers(1, 6))
    plain = [box((width, height, thick * 0.8), (0, 0, 0), timber)]

    def make() -> list[Solid]:
        match sort:
            case "panels":
                return framed(shares, columns, [False] * rows, (1, 1))
            case "panes":
                return framed(np.ones(1), 1, [True], (across, up))
            case "half":
                return framed(np.array([waist, 1 - waist]), 1, [False, True], (across, min(up, 3)))
            case "planks":
                many = 4 + fine
                each = width / many
                made = [box((each - 0.008, height, thick * 0.7), (-width / 2 + (i + 0.5) * each, 0, 0), timber) for i in range(many)]
                made.append(box((width - 0.01, height - 0.01, thick * 0.4), (0, 0.005, 0), timber))
                levels = [height * u for u in (0.12, 0.5, 0.86)[:: 2 if porthole else 1]]
                made += [box((width - 0.02, 0.1, thick * 1.5), (0, y, 0), timber) for y in levels]
                if raised:
                    for low, high in pairwise(levels):
                        x, lift = np.array([-1, 1]) * (width / 2 - 0.03), np.array([low + 0.05, high - 0.05])[::seed]
                        made.append(plate_between(x, lift, lift + 0.1, thick * 1.4, timber))
                return made
            case "louvre":
                made = [box((stile * 0.7, height, thick), (side * (width - stile * 0.7) / 2, 0, 0), timber) for side in SIDES]
                levels = [0.0, height * 0.5 - stile / 2, height - stile]
                made += [box((width - 0.02, stile, thick), (0, y, 0), timber) for y in levels]
                for low, high in ((stile, levels[1]), (levels[1] + stile, levels[2])):
                    for y in np.linspace(low, high, 2 * round((high - low) / 0.05) + 1)[1::2]:
                        slat = box((width - stile, 0.066, 0.01), (0, -0.033, 0), timber).turned("x", -35)
                        made.append(slat.moved((0, float(y), 0)))
                return made
            case "strip":  # a narrow upright window beside the handle or in the middle
                at = (seed * width * 0.2) if raised else 0.0
                made = named("pane", [box((slot, height * 0.72, thick * 0.9), (at, height * 0.16, 0), pane)])
                return plain + made + [box((slot + 0.04, 0.02, thick), (at, height * y, 0), timber) for y in (0.155, 0.88)]
            case "grooves":
                made = [
                    box((width * 0.999, height / (2 + fine) - 0.014, thick), (0, i * height / (2 + fine) + 0.007, 0), timber)
                    for i in range(2 + fine)
                ]
                return plain + made
            case _:
                if not porthole:
                    return plain
                places = ((slot, thick, STEEL), (slot * 0.8, thick * 1.1, pane))
                ring = [disc(r, d, (0, -d / 2, 0), m).turned("x", 90).moved((0, height * 0.74, 0)) for r, d, m in places]
                ring = [ring[0], ring[1].named("pane")]
                return plain + ring

    if sort == "panels":
        return make, said_of(timber, ("panel", rows * columns, timber))
    if sort == "panes":
        return make, said_of(timber, ("pane", across * up, timber))
    if sort == "half":
        return make, said_of(timber, ("pane", across * min(up, 3), timber), ("panel", 1, timber))
    return make, said_of(timber, ("pane", int(sort == "strip" or (sort == "flush" and porthole)), timber))


def door(rng: Rng) -> Thing:
    double = maybe(rng, 0.3)
    width, height = rng.uniform(0.55, 0.85) if double else rng.uniform(0.72, 1.0), rng.uniform(1.95, 2.35)
    timber = pick(rng, (wood(rng), wood(rng), wood(rng, pick(rng, ("red", "green", "blue", "white"))), metal(rng)))
    casing, pane = pick(rng, (timber, timber, wood(rng))), glass(rng, pick(rng, ("blue", "white", "green")))
    make, said = _leaf(rng, width, height, timber, pane)
    knob, side = pick(rng, (STEEL, BLACK, BRASS)), pick(rng, SIDES)
    pulls, level, framed = rng.integers(4), rng.uniform(0.95, 1.08), maybe(rng, 0.8)
    turn = rng.uniform(12, 50) if framed and maybe(rng, 0.25) else 0.0
    count = 2 if double else 1
    solids: list[Solid] = []
    for i in range(count):
        swing = (1, -1)[i] if double else side  # the side of the handle
        leaf, at = make(), swing * (width / 2 - 0.06)
        for z in SIDES:
            out = z * 0.0225
            if pulls == 3:
                leaf.append(dowel((at, level - 0.3, out + z * 0.05), (at, level + 0.3, out + z * 0.05), 0.014, knob).named("handle"))
                handles = [dowel((at, level + u, 0), (at, level + u, out + z * 0.05), 0.009, knob, sides=8) for u in (-0.22, 0.22)]
                leaf += named("handle", handles)
                continue
            plate = (
                cushion((0.045, 0.2, 0.01), (at, level - 0.12, out), 0.004, knob)
                if pulls
                else disc(0.032, 0.012, (0, 0, 0), knob, sides=20).turned("x", 90).moved((at, level, out - 0.006))
            )
            leaf += named("handle", [plate, dowel((at, level, out), (at, level, out + z * 0.055), 0.01, knob, sides=10)])
            if pulls == 1:
                start = (at + swing * 0.008, level, out + z * 0.055)
                leaf.append(rod(start, (at - swing * 0.12, level, out + z * 0.05), 0.011, 0.008, knob, sides=10).named("handle"))
            else:
                ball = [(0, -0.03), (0.018, -0.025), (0.03, -0.008), (0.03, 0.008), (0.018, 0.025), (0, 0.03)]
                leaf.append(facing(ball, (at, level, out + z * 0.065), knob, sides=16).named("handle"))
        hinge = -swing * width / 2
        leaf += [disc(0.011, 0.1, (hinge, height * u, 0.024), knob, sides=10) for u in (0.1, 0.85)]
        if turn and (i == 0 or turn > 40):
            leaf = [p.moved((-hinge, 0, 0)).turned("y", -swing * turn).moved((hinge, 0, 0)) for p in leaf]
        x = (i - 0.5) * (width + 0.006) if double else 0.0
        solids += named("door", [p.moved((x, 0.012, 0)) for p in leaf])
    style = ["open"] if turn else ["closed"] if framed else []
    panes = 0
    if framed:
        solids, arched, panes = _casing(rng, solids, count * (width + 0.006), height + 0.015, casing, pane)
        style += ["curved"] if arched else []
    else:
        solids = [solid.moved((0, -0.012, 0)) for solid in solids]
    words = {part.noun: part.count * count for part in said}
    words["pane"] = words.get("pane", 0) + panes
    parts = said_of(timber, ("panel", words.get("panel", 0), timber), ("pane", words["pane"], timber), ("handle", count, knob))
    return Thing.of(solids, timber, style + (["wide"] if double else []), parts, rest="frame")


def _casing(rng: Rng, leaf: list[Solid], opening: float, top: float, timber: Material, pane: Material) -> tuple[list[Solid], bool, int]:
    """A frame about a door, windows beside and above it: all solids, whether it ends in an arch, and how many panes it has."""
    rim, deep, panes = rng.uniform(0.05, 0.14), rng.uniform(0.08, 0.16), 0
    solids, half = list(leaf), opening / 2
    outer = half + rim
    if opening < 1.2 and maybe(rng, 0.25):  # windows beside it
        wing = rng.uniform(0.22, 0.4)
        for side in (-1, 1)[: int(rng.integers(1, 3))]:
            middle = side * (half + rim + wing / 2)
            solids.append(box((wing, top, 0.012), (middle, 0, 0), pane).named("pane"))
            solids.append(box((rim, top, deep), (side * (half + 1.5 * rim + wing), 0, 0), timber))
            solids += [box((wing, 0.08, deep * 0.6), (middle, y, 0), timber) for y in (0, top - 0.08)]
            panes += 1
        outer = half + 2 * rim + wing
    solids += [box((rim, top, deep), (side * (half + rim / 2), 0, 0), timber) for side in SIDES]
    solids.append(box((2 * half, 0.012, deep), (0, 0, 0), timber))
    both = panes != 1
    beam = 2 * outer if both else outer + half + rim
    shift = 0.0 if both else (half + rim - outer) / 2
    match rng.integers(5):
        case 0:  # a half-round or flat arch with a window or a closed field
            rise = rng.uniform(0.3, 1.0) * half
            if panes:
                rise = min(rise, 0.5)
            x = -np.cos(np.linspace(0, math.pi, 33)) * beam / 2
            arch, reach = (rise + rim) * np.sqrt(np.maximum(1 - (2 * x / beam) ** 2, 0)), beam / 2 - rim
            hole, glazed = rise * np.sqrt(np.maximum(1 - (x / reach) ** 2, 0)), maybe(rng, 0.7)
            solids.append(box((beam, rim * 0.7, deep), (shift, top, 0), timber))
            base = top + rim * 0.35
            solids.append(plate_between(x, base + hole, base + np.maximum(arch, hole + 1e-4), deep, timber).moved((shift, 0, 0)))
            solids.append(
                plate_between(x[1:-1], np.full(31, base), base + np.maximum(hole[1:-1], 1e-4), 0.02, pane if glazed else timber)
                .moved((shift, 0, 0))
                .named("pane" if glazed else "frame")
            )
            if glazed:
                fan = int(rng.integers(2, 6))
                panes += fan
                for angle in np.linspace(0, math.pi, fan + 1)[1:-1]:
                    end = (shift + 0.97 * reach * math.cos(angle), base + 0.97 * rise * math.sin(angle), 0)
                    solids.append(dowel((shift, base, 0), end, 0.012, timber, sides=8))
            return solids, True, panes
        case 1 if top < 2.25:  # a straight window above
            tall, many = rng.uniform(0.22, 0.4), int(rng.integers(1, 4))
            solids += [box((beam, rim, deep), (shift, top + y, 0), timber) for y in (0, rim + tall)]
            solids.append(box((beam - rim, tall, 0.012), (shift, top + rim, 0), pane).named("pane"))
            bars = np.linspace(-1, 1, many + 1) * (beam - 0.05) / 2
            solids += [box((0.05, tall, deep * 0.8), (shift + float(x), top + rim, 0), timber) for x in bars]
            panes += many
        case 2:  # a cornice on top
            solids.append(box((beam, rim, deep), (shift, top, 0), timber))
            for i, out in enumerate((0.02, 0.05)):
                solids.append(cushion((beam + 2 * out, 0.05, deep + 2 * out), (shift, top + rim + i * 0.045, 0), 0.012, timber))
            if maybe(rng, 0.5):
                x, low = np.array([-1.0, 0.0, 1.0]) * (beam / 2 + 0.03), np.full(3, top + rim + 0.09)
                solids.append(
                    plate_between(x, low, low + np.array([0.01, rng.uniform(0.12, 0.25), 0.01]), deep + 0.04, timber).moved((shift, 0, 0))
                )
        case _:
            solids.append(box((beam, rim, deep), (shift, top, 0), timber))
    return solids, False, panes
