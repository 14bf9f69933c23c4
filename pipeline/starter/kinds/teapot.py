"""Makes a teapot: its designs, proportions and parts, and the words for them. See `thing`."""

from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.starter.kinds.kit import *

_TEAPOTS: Final[dict[str, tuple[float, Line]]] = {  # height over radius, profile
    "globe": (1.75, [(0.5, 0), (0.55, 0.03), (0.95, 0.25), (1, 0.5), (0.85, 0.8), (0.5, 1)]),
    "squat": (1.15, [(0.6, 0), (0.65, 0.05), (1, 0.3), (1.0, 0.55), (0.7, 0.9), (0.45, 1)]),
    "utah": (1.5, [(0.75, 0), (0.8, 0.02), (0.95, 0.2), (1, 0.4), (0.8, 0.8), (0.7, 1)]),
    "tall": (2.7, [(0.9, 0), (1, 0.04), (1, 0.25), (0.85, 0.55), (0.6, 0.85), (0.58, 1)]),
    "drum": (1.5, [(0.96, 0), (1, 0.05), (1, 0.4), (1, 0.85), (0.9, 0.97), (0.5, 1)]),
    "pear": (1.9, [(0.6, 0), (0.65, 0.04), (1, 0.22), (0.95, 0.45), (0.6, 0.8), (0.55, 1)]),
    "urn": (2.1, [(0.6, 0), (0.6, 0.03), (0.3, 0.12), (0.35, 0.17), (0.95, 0.4), (1, 0.62), (0.6, 0.9), (0.55, 1)]),
    "cone": (1.5, [(1, 0), (1, 0.04), (0.9, 0.3), (0.6, 0.8), (0.5, 1)]),
}


def _knob(rng: Rng, top: float, size: float, material: Material) -> list[Solid]:
    """To lift a lid by: a ball, a disc, a ring or a bud."""
    match rng.integers(4):
        case 0:
            neck = rod((0, top - size * 0.3, 0), (0, top + size, 0), size * 0.4, size * 0.35, material)
            return [neck, bulb(size, (0, top + size * 1.3, 0), material, 0.85)]
        case 1:
            line = [(0, -0.3), (0.4, -0.3), (0.35, 0.6), (1.3, 0.9), (1.3, 1.2), (0, 1.4)]
            return [turned(smooth(line, size, size), (0, top, 0), material)]
        case 2:
            return [ring_of(size, size * 0.3, (0, 0, 0), material).turned("x", 90).moved((0, top + size * 1.05, 0))]
    return [turned(smooth([(0, -0.3), (0.5, -0.3), (0.4, 0.3), (1, 1), (0.3, 2.0), (0, 2.4)], size, size), (0, top, 0), material)]


def _spout(rng: Rng, outer: Line, low: float, wide: float, tall: float, material: Material) -> list[Solid]:
    """From a height on a profile towards +X: like a swan, straight, short or steep."""
    start, reach, high = radius_at(outer, low) * 0.86, wide * rng.uniform(0.75, 1.1), tall * rng.uniform(0.85, 1.05)
    far, radii = wide + reach, np.linspace(1, 0.43, 16)
    match rng.integers(4):
        case 0:
            path = bezier((start, low, 0), (far - reach * 0.3, low * 0.9, 0), (wide + reach * 0.25, high * 0.85, 0), (far, high, 0))
        case 1:
            path = bezier((start, low, 0), (far - reach * 0.2, high, 0))
        case 2:
            low, high, radii = tall * 0.62, tall * rng.uniform(0.85, 0.97), np.linspace(1.15, 0.7, 16)
            start = radius_at(outer, low) * 0.85
            path = bezier((start, low, 0), (start + wide * 0.4, low, 0), (start + wide * 0.7, high, 0))
        case _:
            path = bezier((start, low, 0), (far - reach * 0.1, low, 0), (far - reach * 0.3, high * 0.9, 0), (far - reach * 0.2, high, 0))
    pipe = tube(path, 1.0, material)
    middle, around = np.repeat(path, 12, axis=0), np.repeat(radii * wide * rng.uniform(0.16, 0.25), 12)[:, None] * pipe.normals
    hollow = middle + 0.82 * around
    out = np.concatenate([(middle + around)[:-12], hollow[-12:]])  # the two walls meet at the mouth
    dark = pick(rng, (material, BLACK))
    return [replace(pipe, vertices=out), Solid(vertices=hollow, normals=-pipe.normals, faces=pipe.faces[:, ::-1], material=dark)]


def teapot(rng: Rng) -> Thing:
    """Teapots, coffee pots and kettles: spouts straight, curved or short; handles behind, above or at a right angle to the spout."""
    form = pick(rng, list(_TEAPOTS))
    ratio, knots = _TEAPOTS[form]
    wide = rng.uniform(0.06, 0.09)
    tall = wide * ratio * rng.uniform(0.9, 1.12)
    body = pick(rng, (ceramic(rng), ceramic(rng), ceramic(rng), metal(rng), metal(rng), glass(rng)))
    outer = smooth(knots, wide, tall)
    rim = outer[-1][0]
    solids = [lathe([(0.0, 0.0), *outer, (rim * 0.9, tall), (0.0, tall)], body, sides=72)]
    if form == "urn":
        solids[0] = solids[0].named("base", below=tall * 0.17)
    style = list(proportion(2 * wide, tall, 0.65, 1.15))
    parts: list[Parts] = []
    if maybe(rng, 0.3):
        strip, count = pick(rng, (ceramic(rng), BRASS, WHITE)), int(rng.integers(1, 4))
        solids += [band(outer, tall * (0.3 + 0.17 * i), tall * (0.36 + 0.17 * i), strip, proud=0.0008) for i in range(count)]
        parts.append(Parts("band", count, replace(strip, substance="")))
    match rng.integers(7):
        case 0:
            solids = shaped(solids, fluted_by(int(rng.integers(8, 19)), rng.uniform(0.02, 0.045)))
        case 1:
            solids = shaped(solids, faceted_by(pick(rng, (6, 8))))
        case 2 if form in ("drum", "cone", "globe"):
            solids, style = shaped(solids, squared(rng.uniform(3, 7))), [*style, "square"]
    knob = pick(rng, (body, body, wood(rng), BLACK, BRASS))
    if lidded := maybe(rng, 0.93):
        dome = rng.uniform(0.12, 0.5)
        cover = [(0, 0), (1.05, 0), (1.05, 0), (1, 0.08), (0.75, dome * 0.8), (0.1, dome), (0, dome)]
        solids[0] = solids[0].hidden("lid", tall)
        solids.append(turned(smooth(cover, rim, rim), (0, tall, 0), body).named("lid"))
        solids += named("lid", _knob(rng, tall + rim * dome, rim * rng.uniform(0.16, 0.28), knob))
    else:
        dark = lathe([(0, tall), (rim * 0.85, tall), (0, tall + 0.001)], BLACK)
        solids += [ring_of(rim * 0.92, rim * 0.08, (0, tall, 0), body), dark]
        style.append("open")
    solids += named("spout", _spout(rng, outer, tall * (0.5 if form == "urn" else rng.uniform(0.25, 0.45)), wide, tall, body))
    grip = pick(rng, (body, body, wood(rng), BLACK))
    match rng.integers(8):
        case 0 | 1:  # over the top
            base, arch = max(radius_at(outer, tall * 0.8), wide * 0.5), tall + wide * rng.uniform(0.9, 1.3)
            y, top, out = tall * 0.8, arch * 1.15, base * 1.3
            path = bezier((-base, y, 0), (-out, top, 0), (out, top, 0), (base, y, 0), steps=26)
            solids.append(stretched(tube(path, wide * 0.06, grip), z=rng.uniform(1, 1.8)).named("handle"))
            solids += named("handle", [bulb(wide * 0.1, (side * base, tall * 0.8, 0), grip, sides=12) for side in (-1, 1)])
            parts.append(Parts("top handle", 1, grip))
        case 2:  # a stick at the side
            y = tall * 0.6
            path = bezier((0, y, radius_at(outer, y) * 0.9), (0, y + wide * 0.25, wide * 2.1))
            solids.append(horn(path, np.linspace(0.12, 0.19, 16) * wide, grip).named("handle"))
            parts.append(Parts("side handle", 1, grip))
        case _:
            low, high = tall * rng.uniform(0.2, 0.35) if form != "urn" else tall * 0.45, tall * rng.uniform(0.75, 0.92)
            ends = [(radius_at(outer, h) * 0.95, h) for h in (low, high)]
            ear = ear_of(rng, ends[0], ends[1], wide * rng.uniform(0.6, 0.9), wide * rng.uniform(0.07, 0.11), grip)
            solids.append(ear.turned("y", 180))
            parts.append(Parts("handle", 1, grip))
    parts += [Parts("lid", 1)] if lidded else []
    if form in ("globe", "squat", "pear") and maybe(rng, 0.3):
        count, up = int(rng.integers(3, 5)), wide * 0.22
        stub = rod((0, 0, wide * 0.62), (0, up * 1.6, wide * 0.5), wide * 0.07, wide * 0.12, body)
        solids = [solid.moved((0, up, 0)) for solid in solids] + [stub.turned("y", 45 + i * 360 / count).named("leg") for i in range(count)]
        parts.append(Parts("leg", count))
    return Thing.of(solids, body, style, parts[:4])
