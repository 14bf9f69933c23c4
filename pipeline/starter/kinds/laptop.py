"""Makes a laptop: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def laptop(rng: Rng) -> Thing:
    width = rng.uniform(0.27, 0.42)
    depth, old = width * rng.uniform(0.62, 0.78), maybe(rng, 0.35)
    thick, lid = (rng.uniform(0.026, 0.045), rng.uniform(0.014, 0.022)) if old else (rng.uniform(0.009, 0.018), rng.uniform(0.005, 0.009))
    case = pick(rng, (STEEL, BLACK, plastic(rng), metal(rng), plastic(rng, pick(rng, ("white", "grey", "black")))))
    key, glow, corner = pick(rng, (BLACK, BLACK, WHITE, plastic(rng))), screen_of(rng), pick(rng, (0.003, rng.uniform(0.008, 0.03)))
    wedge = rng.uniform(0.4, 0.9) if maybe(rng, 0.4) else 1.0
    low = thick * wedge  # of the front edge
    slope, foot = math.degrees(math.atan2(thick - low, depth)), 0.004
    if wedge < 1:
        side = [(depth / 2, 0.0), (depth / 2, low), (-depth / 2, thick), (-depth / 2, 0.0)]
        base = profile_of(side, width, case, 0.002)
    else:
        base = lying(rounded_rect(width, depth, corner), thick, case, min(0.003, thick * 0.3)).moved((0, 0, depth / 2))
    parts: list[Parts] = []
    # What lies on the deck is made flat around the middle of the deck and sloped with it.
    pad = width > 0.35 and maybe(rng, 0.5)
    field, rows = (width * rng.uniform(0.8, 0.93), depth * rng.uniform(0.42, 0.5)), int(rng.integers(5, 7))
    behind = -depth / 2 + 0.03 + field[1] / 2
    hind = behind + field[1] / 2 + 0.004
    well = lying(rounded_rect(field[0] + 0.008, field[1] + 0.008, 0.004), 0.002, pick(rng, (case, BLACK))).moved((0, -0.0005, hind))
    deck = [well, *(k.moved((0, 0.001, behind)) for k in keys_of(rng, *field, 0.0035 if not old else 0.006, rows, pad, False, (key, key)))]
    free = depth / 2 - (behind + field[1] / 2) - 0.008
    touch = (width * rng.uniform(0.22, 0.36), free * rng.uniform(0.6, 0.85))
    at, trim = (pick(rng, (0.0, -0.04)) * width, 0.0, depth / 2 - free / 2), pick(rng, (BLACK, STEEL, WHITE))
    deck.append(box((touch[0], 0.0016, touch[1]), at, trim))
    if old and maybe(rng, 0.6):
        parts.append(Parts("button", 2))
        buttons = [box((touch[0] * 0.46, 0.003, 0.012), (at[0] + s * touch[0] * 0.25, 0, depth / 2 - 0.013), trim) for s in (-1, 1)]
        deck += named("button", buttons)
    solids = [base, *(solid.turned("x", slope).moved((0, (thick + low) / 2, 0)) for solid in deck)]
    port = grid(0.03, 0.006, 3, 1, (0, 0, 0), 0.002, BLACK)
    solids += [port.turned("y", s * 90).moved((s * width / 2, low * 0.5, -depth * 0.1)) for s in (-1, 1)]
    solids += [box((0.02, foot + 0.001, 0.012), (x, -foot, z), BLACK) for x, z in four(width * 0.85, depth * 0.85)]
    # The lid is made upright, hinge on the origin, and then leant; 90 degrees more lay it on the keys.
    closed = maybe(rng, 0.08)
    lean = -90.0 if closed else rng.uniform(-15, 50)
    tall, rim = depth * rng.uniform(0.96, 1.0), rng.uniform(0.006, 0.022)
    chin = rim * rng.uniform(1, 2.5)
    top = named("lid", [sawn(rounded_rect(width, tall, corner), lid, case, lid * 0.25).moved((0, 0, -lid)).hidden("screen", 0.0, "z")])
    top.append(box((width - 2 * rim, tall - rim - chin, 0.002), (0, chin, 0.0), glow).named("screen"))
    top.append(facing([(0, 0), (0.005, 0), (0.005, 0.002), (0, 0.002)], (0, tall - rim / 2, 0.0), BLACK, sides=12).named("lid"))
    if maybe(rng, 0.5):
        mark = ngon(pick(rng, (4, 6, 24)), tall * rng.uniform(0.06, 0.1))
        top.append(sawn(mark, 0.002, trim).moved((0, tall * 0.55, -lid - 0.001)).named("lid"))
    hinge = (0.0, thick + 0.002, -depth / 2 + lid * 0.6)
    solids += [solid.turned("x", -lean).moved(hinge) for solid in top]
    span = pick(rng, ((0.0, 0.7), (0.36, 0.08), (0.3, 0.15)))
    for s in (-1, 1) if span[0] else (1,):
        x, half = s * span[0] * width, span[1] * width / 2
        solids.append(dowel((x - half, *hinge[1:]), (x + half, *hinge[1:]), lid * 0.55 + 0.002, trim if old else case))
    parts += [Parts("hinge", 2, trim if old else None)] if span[0] else []
    solids = [solid.moved((0, foot, 0)) for solid in solids]
    if maybe(rng, 0.15):
        parts.append(Parts("mouse", 1))
        x, z = width * rng.uniform(0.72, 0.9), depth * rng.uniform(0, 0.3)
        path = [(x, 0.012, z - 0.04), (x, 0.006, z - 0.1), (x * 0.85, 0.006, -depth * 0.4), (width * 0.49, low * 0.5, -depth * 0.3)]
        solids += [_mouse(key, x, z).named("mouse"), tube(np.array(path), 0.002, BLACK).named("cable")]
    style = (("closed",) if closed else ("open",)) + (("slim",) if thick < 0.014 else ())
    return Thing.of(solids, case, style, (Parts("screen", 1, glow), *parts) if not closed else tuple(parts))


def _mouse(material: Material, x: float, z: float) -> Solid:
    line = [(0.0, 0.0), (0.03, 0.0), (0.033, 0.008), (0.03, 0.02), (0.02, 0.03), (0.0, 0.034)]
    return turned(line, (x, 0, z), material, squash=1.6)
