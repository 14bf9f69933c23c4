"""Makes a vase: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.starter.kinds.kit import *


def _stems(rng: Rng, height: float, mouth: float, wide: float) -> tuple[list[Solid], tuple[Parts, ...]]:
    """Cut flowers, twigs, leaves or grass that rise from the origin through a mouth."""
    sort, green, petal = int(rng.integers(5)), green_of(rng), paint(rng, pick(rng, PETALS))
    count = pick(rng, (1, 2, 3, 4, 5, 6, 8, 10)) if sort < 3 else int(rng.integers(8, 16))
    dry = wood(rng, "brown")
    seed, size = int(rng.integers(1 << 30)), height * rng.uniform(0.12, 0.24) * (0.75 if count > 6 else 1)
    solids: list[Solid] = []
    for i in range(count):
        lean, tall = wide * (0.15 if count == 1 else rng.uniform(0.45, 1.0)), height * rng.uniform(0.7, 1.0)
        path = bezier((0, -height * 0.12, 0), (0, tall * 0.4, mouth * 0.6), (0, tall * 0.8, lean * 0.7), (0, tall, lean), steps=10)
        end: Point = (0.0, float(path[-1, 1]), float(path[-1, 2]))
        tip: list[Solid]
        match sort:
            case 0 | 1 | 2:
                turn = 0.4 * math.degrees(lean / tall)
                blossom = [part.turned("x", turn).moved(end) for part in flower(np.random.default_rng(seed), size, petal)]
                low = (0, float(path[5, 1]), float(path[5, 2]))
                leaf = [part.moved(low) for part in leaf_of(height * 0.3, height * 0.07, 50, 40, green)]
                tip = [tube(path, height * 0.009, green, sides=6).named("stem"), *blossom, *leaf]
            case 3:
                buds = [bulb(height * 0.022, (0, float(p[1]), float(p[2])), petal, 1.3, 8, rings=6).named("flower") for p in path[4::2]]
                tip = [horn(path, np.linspace(0.009, 0.004, 10) * height, dry, sides=6).named("stem"), *buds]
            case _:
                tip = [blade_of(path, height * 0.035 * np.array([0.5, 0.6, 0.7, 0.9, 1, 1, 0.9, 0.7, 0.4, 0.03]), green).named("leaf")]
        solids += placed(tip, (0, 0, 0), turn=i * 137.5)
    if sort < 3:
        return solids, (Parts("flower", count, petal),)
    return solids, (Parts("twig", count, dry),) if sort == 3 else ()


_VASES: Final[tuple[Line, ...]] = (
    [(0.45, 0), (0.5, 0.03), (0.95, 0.25), (1, 0.45), (0.8, 0.68), (0.35, 0.82), (0.32, 0.9), (0.5, 1)],  # belly and neck
    [(0.5, 0), (0.52, 0.1), (0.95, 0.6), (1, 0.78), (0.7, 0.92), (0.42, 0.95), (0.5, 1)],  # shoulders high up
    [(0.62, 0), (0.62, 0.04), (0.5, 0.3), (0.55, 0.6), (0.8, 0.9), (1, 1)],  # trumpet
    [(0.98, 0), (1, 0.02), (1, 0.4), (1, 0.8), (1, 1)],  # cylinder
    [(0.7, 0), (1, 0.12), (1, 0.3), (0.5, 0.48), (0.28, 0.62), (0.25, 0.8), (0.3, 1)],  # bottle
    [(0.6, 0), (0.95, 0.1), (1, 0.3), (0.55, 0.5), (0.62, 0.7), (0.6, 0.82), (0.3, 0.92), (0.38, 1)],  # double gourd
    [(0.55, 0), (0.6, 0.03), (0.3, 0.1), (0.28, 0.14), (0.8, 0.35), (1, 0.6), (0.8, 0.78), (0.6, 0.85), (0.85, 1)],  # urn on a foot
    [(0.4, 0), (0.75, 0.06), (1, 0.35), (0.98, 0.6), (0.7, 0.85), (0.5, 0.96), (0.55, 1)],  # egg
    [(0.5, 0), (0.55, 0.1), (0.7, 0.5), (0.95, 0.9), (1, 1)],  # cone
    [(0.8, 0), (0.85, 0.05), (0.6, 0.35), (0.6, 0.5), (0.9, 0.85), (1, 1)],  # hourglass
)


def vase(rng: Rng) -> Thing:
    """Turned, square, faceted, fluted or twisted; amphorae with two handles, jars with a lid; empty or with flowers, twigs or grass."""
    form, tall = int(rng.integers(len(_VASES))), rng.uniform(0.18, 0.45)
    wide = tall * (rng.uniform(0.2, 0.36) if form not in (3, 8) else rng.uniform(0.14, 0.28)) * rng.uniform(0.85, 1.1)
    body = pick(rng, (ceramic(rng), ceramic(rng), ceramic(rng), glass(rng), metal(rng), stone(rng)))
    knots = [(r * (rng.uniform(0.88, 1.12) if 0 < i < len(_VASES[form]) - 1 else 1), h) for i, (r, h) in enumerate(_VASES[form])]
    outer = smooth(knots, wide, tall)
    rim = outer[-1][0]
    solids = vessel(outer, min(0.006, rim * 0.2), body, body, sides=72)
    if rim < 0.6 * wide:
        shoulder = max(height for radius, height in outer if radius > rim + 0.35 * (wide - rim))
        solids[0] = solids[0].named("neck", above=shoulder)
    style = ["slim"] if tall / wide > 5.5 else ["wide"] if tall / wide < 3.1 else []
    parts: list[Parts] = []
    if maybe(rng, 0.35):
        strip, count = pick(rng, (ceramic(rng), BRASS, WHITE, BLACK)), int(rng.integers(1, 5))
        where, thick = np.linspace(rng.uniform(0.15, 0.4), rng.uniform(0.5, 0.8), count), rng.uniform(0.015, 0.05)
        solids += [band(outer, tall * float(h), tall * float(h + thick), strip, proud=0.001) for h in where]
        style += ["striped"] if count > 1 else []
        parts.append(Parts("band", count, replace(strip, substance="")))
    handles, section = 0, None
    match rng.integers(8):
        case 0:
            section, style = squared(rng.uniform(4, 14)), [*style, "square"]
        case 1:
            section = faceted_by(pick(rng, (6, 8, 9)))
        case 2 | 3:
            section = fluted_by(int(rng.integers(5, 17)), rng.uniform(0.03, 0.08))
        case 4 | 5 if form not in (3, 8):
            handles = 1 if maybe(rng, 0.15) else 2
    if section:
        solids = shaped(solids, section, 0.0 if parts else pick(rng, (0.0, 0.0, rng.uniform(0.8, 2.2) / tall)))
    if handles:
        low, high = tall * rng.uniform(0.5, 0.66), tall * rng.uniform(0.86, 0.95)
        ends = [(radius_at(outer, h) * k, h) for h, k in ((low, 0.98), (high, 0.97))]
        ear = ear_of(rng, ends[0], ends[1], wide * rng.uniform(0.35, 0.6), wide * 0.07, body)
        solids += [ear, ear.turned("y", 180)][:handles]
        parts.append(Parts("handle", handles))
    if not section and not handles and rim < 0.8 * wide and maybe(rng, 0.25):
        knots = [(0, 0), (1.06, 0), (1.06, 0), (1.04, 0.15), (0.8, 0.5), (0.2, 0.66), (0.16, 0.75), (0.28, 0.9), (0.2, 1.05), (0, 1.1)]
        solids.append(turned(smooth(knots, rim, rim), (0, tall, 0), body).named("lid"))
        parts.append(Parts("lid", 1))
    elif maybe(rng, 0.5):
        stems, words = _stems(rng, tall * rng.uniform(0.6, 1.1), rim * 0.7, tall * rng.uniform(0.25, 0.5))
        solids += [solid.moved((0, tall * 0.96, 0)) for solid in stems]
        parts += words
    else:
        style.append("open")
    return Thing.of(solids, body, style, parts[:4])
