"""Pots, handles, labels and the closures of bottles, which several wares share."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.starter.kinds.outlines import *
from pipeline.starter.kinds.skins import *
from pipeline.starter.kinds.solids import *
from pipeline.starter.kinds.thing import *


def vessel(outer: Line, wall: float, out: Material, inside: Material, squash: float = 1.0, sides: int = 72) -> list[Solid]:
    """An open pot: a profile from the edge of its underside to its rim, and the same again inside, closer by the thickness of the wall."""
    line = np.array(outer)
    way = np.gradient(line, axis=0)
    normal = np.stack([way[:, 1], -way[:, 0]], axis=1) / np.linalg.norm(way, axis=1, keepdims=True)
    inner = (line - wall * normal)[::-1]
    inner = inner[(inner[:, 1] > line[0, 1] + wall) & (inner[:, 0] > wall)]
    inner[0, 1] = line[-1, 1]  # a level rim
    floor = line[0, 1] + wall
    deep = line_of(np.concatenate([inner, [(inner[-1, 0], floor), (0.0, floor)]]), 2)
    shell = line_of(np.concatenate([[(0.0, line[0, 1])], line, inner[:1]]))
    return [turned(shell, (0, 0, 0), out, sides=sides, squash=squash), turned(deep, (0, 0, 0), inside, sides=sides, squash=squash)]


def band(outer: Line, low: float, high: float, material: Material, squash: float = 1.0, proud: float = 0.0006) -> Solid:
    """A strip that lies on a profile."""
    heights = np.linspace(low, high, 3 + round(8 * min(1.0, (high - low) / outer[-1][1])))
    around = [(radius_at(outer, h) + proud, float(h)) for h in heights]
    inside = [(max(r - 3 * proud, 0.0), h) for r, h in (around[0], around[-1])]
    return turned([inside[0], *around, inside[1]], (0, 0, 0), material, sides=72, squash=squash)


def ear_of(rng: Rng, low: tuple[float, float], high: tuple[float, float], reach: float, thick: float, material: Material) -> Solid:
    """A handle at +X between two points (radius, height): round, square or shaped like an ear."""
    (r0, y0), (r1, y1) = low, high
    match rng.integers(4):
        case 0:
            angle, power = np.linspace(-0.5, 0.5, 22) * math.pi, rng.uniform(0.35, 0.95)
            up = 0.5 + 0.5 * np.sign(angle) * np.abs(np.sin(angle)) ** power
            path = np.stack([r0 + (r1 - r0) * up + reach * np.cos(angle) ** power, y0 + (y1 - y0) * up, 0 * up], axis=1)
        case 1:
            path = bezier((r0, y0, 0), (r0 + reach * 1.6, y0, 0), (r1 + reach * 1.1, y1, 0), (r1, y1, 0), steps=22)
        case 2:
            above = y1 + (y1 - y0) * 0.35
            bends = ((r0 + reach * 0.3, y0, 0), (r1 + reach * 2, above, 0), (r1 + reach * 0.6, above, 0))
            path = bezier((r0, y0, 0), *bends, (r1, y1, 0), steps=22)
        case _:
            tip = max(r0, r1) + reach
            points = [bezier((r0, y0, 0), (tip * 0.98, y0, 0), (tip, y0, 0), (tip, y0 + (y1 - y0) * 0.5, 0), steps=11)[:-1]]
            points += [bezier((tip, y0 + (y1 - y0) * 0.5, 0), (tip, y1, 0), (tip * 0.98, y1, 0), (r1, y1, 0), steps=11)]
            path = np.concatenate(points)
    return stretched(tube(path, thick, material), z=rng.uniform(1.0, 1.8)).named("handle")


def paint(rng: Rng, color: str) -> Material:
    """A colour with no substance worth a word: petals, fruit, drink."""
    return replace(plastic(rng, color), substance="", roughness=0.7)


def proportion(wide: float, tall: float, low: float, high: float) -> tuple[str, ...]:
    """`tall` or `low` where the height over the width lies beyond what is usual."""
    return ("tall",) if tall / wide > high else ("low",) if tall / wide < low else ()


Span = tuple[float, float]
PROFILES: Final[dict[str, Line]] = {
    "claret": [(1, 0.03), (1, 0.3), (1, 0.62), (1, 0.7), (0.4, 0.72), (0.38, 0.8), (0.38, 0.97), (0.38, 1)],
    "burgundy": [(1, 0.03), (1, 0.2), (1, 0.48), (0.85, 0.6), (0.42, 0.72), (0.34, 0.8), (0.33, 1)],
    "beer": [(1, 0.03), (1, 0.3), (1, 0.52), (0.95, 0.62), (0.5, 0.72), (0.42, 0.8), (0.4, 0.96), (0.4, 1)],
    "stubby": [(0.95, 0.04), (1, 0.1), (1, 0.5), (1, 0.62), (0.55, 0.78), (0.45, 0.85), (0.45, 1)],
    "cola": [(0.9, 0.04), (0.95, 0.12), (0.78, 0.3), (1, 0.46), (1, 0.58), (0.7, 0.72), (0.38, 0.85), (0.36, 1)],
    "water": [(0.95, 0.03), (1, 0.1), (1, 0.3), (0.86, 0.42), (0.9, 0.46), (1, 0.56), (1, 0.68), (0.8, 0.8), (0.36, 0.9), (0.34, 1)],
    "milk": [(1, 0.03), (1, 0.3), (1, 0.52), (0.95, 0.62), (0.55, 0.76), (0.5, 0.84), (0.56, 0.96), (0.56, 1)],
    "medicine": [(1, 0.03), (1, 0.03), (1, 0.66), (1, 0.76), (0.62, 0.8), (0.6, 0.85), (0.6, 1)],
    "sauce": [(1, 0.03), (0.98, 0.3), (0.9, 0.55), (0.85, 0.7), (0.7, 0.84), (0.45, 0.88), (0.45, 1)],
    "thermos": [(0.95, 0.02), (1, 0.04), (1, 0.3), (1, 0.7), (0.98, 0.8), (0.8, 0.85), (0.72, 0.9), (0.72, 1)],
    "dispenser": [(1, 0.03), (1, 0.1), (1, 0.7), (0.95, 0.84), (0.5, 0.92), (0.4, 0.94), (0.4, 1)],
    "spray": [(1, 0.03), (1, 0.1), (1, 0.4), (0.85, 0.55), (0.55, 0.8), (0.34, 0.92), (0.34, 1)],
    "whisky": [(1, 0.02), (1, 0.02), (1, 0.55), (1, 0.66), (0.5, 0.7), (0.34, 0.78), (0.33, 1)],
    "decanter": [(0.85, 0), (1, 0.08), (1, 0.2), (0.85, 0.42), (0.3, 0.58), (0.22, 0.7), (0.22, 0.9), (0.36, 1)],
    "flask": [(1, 0.0), (1.02, 0.05), (0.9, 0.18), (0.5, 0.5), (0.26, 0.68), (0.24, 0.9), (0.3, 0.98), (0.3, 1)],
    "globe": [(0.4, 0), (0.8, 0.08), (1, 0.28), (0.95, 0.5), (0.5, 0.66), (0.24, 0.7), (0.22, 0.85), (0.3, 1)],
    "perfume": [(1, 0.02), (1, 0.02), (1, 0.85), (0.98, 0.95), (0.4, 0.96), (0.3, 0.97), (0.3, 1)],
    "jug": [(0.92, 0.02), (1, 0.08), (1, 0.45), (0.95, 0.6), (0.6, 0.78), (0.3, 0.86), (0.28, 1)],
}
"""Half of each form of bottle, from its foot to its mouth: radius and height of 1."""

BOTTLES: Final[dict[str, tuple[Span, Span, Span, tuple[str, ...]]]] = {
    "claret": ((0.07, 0.082), (0.28, 0.33), (0.12, 0.55), ("cork", "foil", "foil", "open")),
    "burgundy": ((0.08, 0.092), (0.28, 0.32), (0.1, 0.4), ("cork", "foil", "open")),
    "beer": ((0.058, 0.068), (0.2, 0.26), (0.14, 0.46), ("crown", "crown", "open")),
    "stubby": ((0.07, 0.085), (0.15, 0.19), (0.14, 0.5), ("crown", "screw", "cork")),
    "cola": ((0.058, 0.07), (0.19, 0.25), (0.46, 0.58), ("crown", "screw", "open")),
    "water": ((0.06, 0.09), (0.2, 0.3), (0.1, 0.3), ("screw", "sport")),
    "milk": ((0.085, 0.1), (0.2, 0.25), (0.15, 0.45), ("open", "screw", "cork")),
    "medicine": ((0.045, 0.08), (0.08, 0.15), (0.14, 0.62), ("screw", "screw", "dropper")),
    "sauce": ((0.055, 0.075), (0.14, 0.2), (0.15, 0.6), ("cone", "sport", "screw")),
    "thermos": ((0.065, 0.085), (0.2, 0.28), (0.25, 0.6), ("cup", "screw", "sport")),
    "dispenser": ((0.06, 0.085), (0.12, 0.2), (0.15, 0.65), ("pump",)),
    "spray": ((0.08, 0.1), (0.17, 0.22), (0.1, 0.4), ("trigger",)),
    "whisky": ((0.07, 0.09), (0.2, 0.28), (0.12, 0.5), ("screw", "stopper", "cork")),
    "decanter": ((0.13, 0.18), (0.22, 0.28), (0.1, 0.2), ("stopper", "stopper", "open")),
    "flask": ((0.09, 0.14), (0.14, 0.2), (0.1, 0.2), ("open", "cork")),
    "globe": ((0.1, 0.15), (0.17, 0.24), (0.2, 0.4), ("open", "cork", "stopper")),
    "perfume": ((0.05, 0.08), (0.06, 0.1), (0.2, 0.7), ("stopper", "block")),
    "jug": ((0.14, 0.19), (0.24, 0.32), (0.15, 0.45), ("cork", "screw", "screw", "open")),
}
"""For each form: width and height in metres, where a label fits in parts of the height, and how it may be closed."""


def closure(rng: Rng, sort: str, neck: float, top: float, squash: float) -> list[Solid]:
    """What shuts a bottle whose neck ends at a height."""
    lid, shaft = pick(rng, (STEEL, BLACK, WHITE, BRASS, plastic(rng))), (0.0, top, 0.0)
    match sort:
        case "cork":
            return [rod((0, top - neck, 0), (0, top + neck * rng.uniform(0.7, 1.6), 0), neck * 0.8, neck * 0.9, wood(rng, "beige"))]
        case "foil":
            long = neck * rng.uniform(3, 5)
            knots = [(0, 0), (1.1, 0), (1.1, 0), (1.12, 0.8), (1.12, 0.9), (1.22, 0.9), (1.22, 1), (1.1, 1.02), (0, 1.02)]
            capsule = smooth(knots, neck, long)
            return [turned(capsule, (0, top - long, 0), lid)]
        case "crown":
            cap = smooth([(0, 0), (1.35, 0), (1.35, 0), (1.15, 0.4), (0.9, 0.5), (0, 0.52)], neck, neck)
            return shaped([turned(cap, (0, top - neck * 0.2, 0), lid, sides=84)], fluted_by(21, 0.03))
        case "stopper":
            knob, big = pick(rng, (glass(rng), lid)), neck * rng.uniform(1.1, 1.7)
            return [disc(neck * 0.75, neck, shaft, knob), bulb(big, (0, top + neck * 0.7 + big * 0.8, 0), knob, rng.uniform(0.8, 1.5), 12)]
        case "block":
            return [cushion((neck * 2.6, neck * rng.uniform(1.5, 4), neck * 2.6), (0, top - neck * 0.1, 0), neck * 0.2, lid)]
        case "cone" | "dropper":
            rubber = pick(rng, (BLACK, lid))
            tip = [(0, 0), (1.25, 0), (1.25, 0), (1.25, 1), (1.2, 1.2), (0.5, 1.6), (0.3, 3.2), (0.25, 3.5), (0, 3.5)]
            if sort == "dropper":
                tip = [(0, 0), (1.2, 0), (1.2, 0), (1.2, 1.2), (0.8, 1.3), (0.8, 1.6), (0.9, 2.6), (0.6, 3.6), (0, 3.7)]
            return [turned(smooth(tip, neck, neck * 0.8), (0, top - neck * 0.4, 0), rubber)]
        case "cup":
            line = smooth([(0, 0), (1.38, 0), (1.38, 0), (1.36, 2.2), (1.3, 2.5), (1.2, 2.5), (0, 2.5)], neck, neck)
            return [turned(line, (0, top - neck * 0.9, 0), lid)]
        case "sport":
            line = [(0, 0), (1.3, 0), (1.3, 0), (1.3, 0.9), (1.0, 1.2), (0.5, 1.3), (0.45, 1.9), (0.6, 2.0), (0.6, 2.2), (0, 2.3)]
            return [turned(smooth(line, neck, neck), (0, top - neck * 0.3, 0), lid)]
        case "pump":
            high = top + neck * rng.uniform(2.2, 3.6)
            beak = bezier((0, high, 0), (0, high + neck * 0.2, neck * 2), (0, high, neck * 3), (0, high - neck * 0.7, neck * 3.4))
            button = turned(smooth([(0, -0.4), (0.9, -0.4), (0.9, -0.4), (0.9, 0.4), (0.6, 0.6), (0, 0.6)], neck, neck), (0, high, 0), lid)
            collar = smooth([(0, 0), (1.35, 0), (1.35, 0), (1.3, 0.9), (0.6, 1.1), (0, 1.2)], neck, neck)
            stem = rod((0, top, 0), (0, high, 0), neck * 0.35, neck * 0.35, pick(rng, (STEEL, lid)))
            return [turned(collar, (0, top - neck * 0.3, 0), lid), stem, button, horn(beak, np.full(16, neck * 0.36), lid)]
        case "trigger":
            y, other = top + neck * 1.3, plastic(rng)
            head = cushion((neck * 1.7, neck * 2.0, neck * 5.2), (0, y, neck * 0.5), neck * 0.6, lid)
            pull = bezier(
                (0, y + neck * 0.3, neck * 1.8), (0, y - neck, neck * 2.6), (0, y - neck * 2.4, neck * 1.8), (0, y - neck * 3, neck * 2.8)
            )
            ring, start = disc(neck * 1.3, neck * 1.5, (0, top - neck * 0.2, 0), lid), (0, y + neck, neck * 2.8)
            nozzle = rod(start, (0, y + neck, neck * 3.9), neck * 0.75, neck * 0.6, other)
            return [ring, head, nozzle, horn(pull, np.linspace(0.5, 0.3, 16) * neck, other)]
        case "screw":
            line = smooth([(0, 0), (1.25, 0), (1.25, 0), (1.25, 1.3), (1.22, 1.5), (1.1, 1.55), (0, 1.55)], neck, neck)
            screwed = [turned(line, (0, top - neck * rng.uniform(0.6, 0.9), 0), lid, sides=72)]
            return shaped(screwed, fluted_by(24, 0.02)) if squash == 1 else screwed
    return []
