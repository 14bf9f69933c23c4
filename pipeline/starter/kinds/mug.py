"""Makes a mug: its designs, proportions and parts, and the words for them. See `thing`."""

from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def mug(rng: Rng) -> Thing:
    """For coffee, tea on a saucer, soup, beer with or without a lid, camping, travel."""
    form = pick(rng, ("straight", "tapered", "barrel", "footed", "beer", "stein", "enamel", "travel", "cup", "tulip", "square"))
    radius, tall, body = rng.uniform(0.036, 0.05), rng.uniform(0.08, 0.11), ceramic(rng)
    knots: Line = [(1, 0.02), (1, 0.3), (1, 0.7), (1, 1)]
    match form:
        case "tapered":
            foot = rng.uniform(0.6, 0.82)
            knots = [(foot, 0), (foot + 0.04, 0.05), (0.5 + foot / 2, 0.5), (1, 1)]
        case "barrel":
            knots = [(rng.uniform(0.6, 0.9), 0), (0.95, 0.12), (rng.uniform(1.05, 1.25), 0.5), (1, 0.9), (0.95, 1)]
        case "footed":
            knots = [(0.7, 0), (0.7, 0.03), (0.32, 0.12), (0.3, 0.22), (0.75, 0.3), (1, 0.45), (1, 0.75), (0.95, 1)]
            body, tall = pick(rng, (glass(rng), body)), tall * rng.uniform(1.2, 1.5)
        case "beer" | "stein":
            tall, radius = tall * rng.uniform(1.35, 1.7), radius * 1.15
            knots = [(1.1, 0), (1.12, 0.04), (1, 0.12), (1, 0.5), (0.95, 0.9), (rng.uniform(0.85, 1.0), 1)]
            body = pick(rng, (glass(rng), ceramic(rng), wood(rng), stone(rng)))
        case "enamel":
            knots = [(0.96, 0), (1, 0.04), (1, 0.5), (1, 0.96), (1, 0.96), (1.05, 1)]
            body, tall = metal(rng, pick(rng, ("white", "blue", "red", "green", "grey"))), tall * 0.85
        case "travel":
            knots = [(0.75, 0), (0.75, 0.05), (0.8, 0.4), (1, 0.6), (1.02, 1)]
            body, tall = pick(rng, (metal(rng), plastic(rng))), tall * rng.uniform(1.5, 1.9)
        case "cup":
            knots = [(0.5, 0), (0.5, 0.06), (0.75, 0.15), (1.0, 0.5), (1.05, 0.8), (1.12, 1)]
            tall *= 0.7
        case "tulip":
            knots = [(0.62, 0), (0.66, 0.05), (1.0, 0.2), (0.98, 0.5), (0.86, 0.75), (1.05, 1)]
    outer = smooth(knots, radius, tall)
    wall = 0.0035 if form != "enamel" else 0.0015
    solids = vessel(outer, wall, body, pick(rng, (body, WHITE, ceramic(rng))), sides=72)
    if form == "footed":
        solids[0] = solids[0].named("base", below=tall * 0.25)
    parts, style = [], list(proportion(2 * radius, tall, 0.85, 1.35))
    if form in ("straight", "tapered", "barrel", "enamel", "cup", "tulip", "travel", "stein") and maybe(rng, 0.45):
        count, strip, low, thick = int(rng.integers(1, 4)), ceramic(rng), rng.uniform(0.25, 0.4), rng.uniform(0.04, 0.1)
        solids += [band(outer, tall * (low + 0.16 * i), tall * (low + 0.16 * i + thick), strip) for i in range(count)]
        parts.append(Parts("band", count, replace(strip, substance="")))
        style += ["striped"] if count > 1 else []
    if form == "square":
        solids, style = shaped(solids, squared(rng.uniform(3.5, 8))), [*style, "square"]
    elif form == "beer" or maybe(rng, 0.12):
        count = int(rng.integers(8, 13))
        solids = shaped(solids, pick(rng, (faceted_by(count), fluted_by(count, 0.035))))
    low, high = tall * rng.uniform(0.15, 0.3), tall * rng.uniform(0.72, 0.88)
    if form == "footed":
        low = tall * 0.42
    ends = [(radius_at(outer, h) - wall * 0.6, h) for h in (low, high)]
    ear = ear_of(rng, ends[0], ends[1], radius * rng.uniform(0.55, 0.85), radius * rng.uniform(0.1, 0.16), body)
    count = 2 if form in ("cup", "tulip", "barrel") and maybe(rng, 0.2) else 1
    solids += [ear, ear.turned("y", 180)][:count]
    parts.append(Parts("handle", count))
    rim = outer[-1][0]
    if form in ("stein", "travel") or (form != "cup" and maybe(rng, 0.06)):
        lid = metal(rng) if form == "stein" else plastic(rng)
        dome = 0.38 if form == "stein" else 0.2
        line = [(0, 0), (1.04, 0), (1.04, 0), (1.04, 0.12), (0.9, 0.22), (0.5, dome * 0.4 + 0.12), (0, dome)]
        solids.append(turned(smooth(line, rim, rim), (0, tall - 0.001, 0), lid, sides=48).named("lid"))
        if form == "stein":
            solids.append(bulb(rim * 0.12, (0, tall + rim * 0.45, 0), lid).named("lid"))
            lever = bezier((rim, tall + 0.004, 0), (rim * 1.3, tall, 0), (rim * 1.25, tall * 1.18, 0))
            solids.append(horn(lever, np.full(16, rim * 0.08), lid).named("lid"))
        else:
            solids.append(cushion((rim * 0.5, 0.006, rim * 0.25), (0, tall + rim * 0.17, rim * 0.55), 0.002, BLACK).named("lid"))
        parts.append(Parts("lid", 1, lid))
    elif maybe(rng, 0.4):
        top = tall * 0.86
        drink = lathe([(0, top - 0.001), (radius_at(outer, top) - wall, top - 0.001), (0, top)], paint(rng, "brown")).named("filling")
        solids += shaped([drink], squared(6)) if form == "square" else [drink]
    if form == "cup" and maybe(rng, 0.75):
        plate = smooth([(0.55, 0), (0.6, 0.004), (1.2, 0.008), (1.75, 0.02)], radius)
        solids = [*(solid.moved((0, 0.005, 0)) for solid in solids), *named("saucer", vessel(plate, 0.003, body, body))]
        parts.append(Parts("saucer", 1))
    if form in ("straight", "cup", "tapered", "tulip") and len(parts) < 3 and maybe(rng, 0.15):
        end = (-rim * 0.9, tall * 1.5, 0.01)
        spoons = [rod((rim * 0.2, 0.02, 0), end, 0.0018, 0.0025, STEEL), stretched(bulb(0.009, (0, 0, 0), STEEL, 1.5), z=0.4).moved(end)]
        solids += named("spoon", spoons)
        parts.append(Parts("spoon", 1, STEEL))
    return Thing.of(solids, body, style, parts)
