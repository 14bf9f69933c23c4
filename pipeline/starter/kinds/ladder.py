"""Makes a ladder: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def _rails(tall: float, foot: float, head: float, rungs: int, flat: bool, rail: Material, rung: Material) -> list[Solid]:
    """A ladder that stands upright: two rails, `foot` apart below and `head` above, with rungs or flat steps."""
    solids = []
    for s in (-1, 1):
        if flat:
            line = [(s * foot / 2 - 0.015, 0), (s * foot / 2 + 0.015, 0), (s * head / 2 + 0.015, tall), (s * head / 2 - 0.015, tall)]
            solids.append(slab([(float(x), y) for x, y in line], 0.075, rail, bevel=0.004))
        else:
            solids.append(rod((s * foot / 2, 0, 0), (s * head / 2, tall, 0), 0.024, 0.022, rail, sides=12))
    for i in range(rungs):
        y = tall * (i + 0.8) / (rungs + 0.6)
        half = (foot + (head - foot) * y / tall) / 2
        if flat:
            solids.append(soft((2 * half, 0.025, 0.085), (0, y - 0.012, 0), 0.008, rung).named("step"))
        else:
            solids.append(dowel((-half, y, 0), (half, y, 0), 0.015, rung, sides=10).named("step"))
    return solids


def ladder(rng: Rng) -> Thing:
    rail = pick(rng, (wood(rng), metal(rng), STEEL, metal(rng, pick(rng, ("yellow", "orange", "red", "blue")))))
    rung = pick(rng, (rail, rail, STEEL, wood(rng, "beige")))
    return designed(rng, (_straight_ladder, _straight_ladder, _step_ladder, _step_ladder, _step_ladder, _pool_ladder), rail, rung)


def _straight_ladder(rng: Rng, rail: Material, rung: Material) -> Thing:
    """Leaning or upright: plain, drawn out of two parts, with hooks, or narrowing to the top."""
    rungs, flat, step = int(rng.integers(4, 13)), maybe(rng, 0.45), rng.uniform(0.25, 0.34)
    tall, foot = step * (rungs + 0.6), rng.uniform(0.36, 0.55)
    head = foot * pick(rng, (1.0, 1.0, rng.uniform(0.5, 0.85)))
    solids, hooks = _rails(tall, foot, head, rungs, flat, rail, rung), 0
    lean, form = pick(rng, (0.0, rng.uniform(8, 22), rng.uniform(8, 22))), int(rng.integers(5))
    if form == 0 and rungs > 5:
        upper = _rails(tall * 0.85, foot * 0.86, foot * 0.86, rungs - 2, flat, rail, rung)
        slid = [solid.moved((0, tall * rng.uniform(0.45, 0.6), 0.085)) for solid in upper]
        solids = slid + _rails(tall, foot, foot, rungs, flat, rail, rung)
        solids += named("hook", [box((0.06, 0.1, 0.14), (s * foot / 2, tall * 0.96, 0.04), BLACK) for s in (-1, 1)])
        rungs = 2 * rungs - 2
    elif form == 1:
        hooks = 2
        for s in (-1, 1):
            path = [(s * head / 2, tall - 0.08, 0.0), (s * head / 2, tall + 0.1, -0.01), (s * head / 2, tall + 0.18, -0.1)]
            path += [(s * head / 2, tall + 0.12, -0.2), (s * head / 2, tall + 0.02, -0.22)]
            solids.append(tube(bent_by(path, 18), 0.02, STEEL, sides=10).named("hook"))
    elif form == 2:
        solids.append(cushion((foot * 1.9, 0.05, 0.07), (0, 0, 0), 0.02, pick(rng, (rail, BLACK))).named("foot"))
        solids += named("foot", [cushion((0.07, 0.07, 0.11), (s * foot * 0.9, -0.03, 0), 0.02, BLACK) for s in (-1, 1)])
    elif form == 3:
        solids += named("foot", [cushion((0.06, 0.09, 0.12), (s * foot / 2, -0.02, 0), 0.02, BLACK) for s in (-1, 1)])
    solids = [solid.turned("x", -lean) for solid in solids]
    style = ("slim",) if foot < 0.42 else ()
    if form == 4 and flat:  # a third leg, as for picking fruit
        rear = math.sin(math.radians(22)) * tall
        solids = [solid.turned("x", lean - 14) for solid in solids]
        up, back = math.cos(math.radians(14)) * tall * 0.97, -tall * math.sin(math.radians(14)) * 0.97
        solids.append(rod((0, 0, -rear * 1.25), (0, up, back), 0.025, 0.022, rail, sides=10).named("leg"))
        style = ("tall",)
    return Thing.of(grounded(solids), rail, style, parts_of(("rung" if not flat else "step", rungs), ("hook", hooks)), rest="rail")


def _step_ladder(rng: Rng, rail: Material, rung: Material) -> Thing:
    """Two frames that open like an A."""
    steps, both, step, lean = int(rng.integers(2, 9)), maybe(rng, 0.3), rng.uniform(0.22, 0.27), rng.uniform(11, 17)
    tall, foot = step * (steps + 0.6), rng.uniform(0.42, 0.6)
    head, broad = foot * rng.uniform(0.62, 0.85), pick(rng, (0.085, 0.12, 0.2))
    front, top = _rails(tall, foot, head, steps, True, rail, rung)[:2], tall * math.cos(math.radians(lean))
    solids = [solid.turned("x", -lean) for solid in front]
    for i in range(steps):
        y = top * (i + 0.8) / (steps + 0.6)
        half, z = (foot + (head - foot) * y / top) / 2, -y * math.tan(math.radians(lean))
        solids.append(soft((2 * half, 0.03, broad), (0, y - 0.015, z), 0.01, rung).named("step"))
    apex = -top * math.tan(math.radians(lean))
    rear = _rails(tall, foot, head, steps if both else pick(rng, (1, 2, 3)), both or maybe(rng, 0.4), rail, rung)
    solids += [solid.turned("x", lean).moved((0, 0, 2 * apex - 0.04)) for solid in rear]
    platform = maybe(rng, 0.6)
    if platform:
        size = (head + 0.1, 0.035, rng.uniform(0.2, 0.32))
        solids.append(cushion(size, (0, top - 0.005, apex - 0.03), 0.015, pick(rng, (rung, BLACK, plastic(rng)))).named("top"))
    else:
        y, z = top - 0.04, apex - 0.02
        solids += [dowel((x - 0.03, y, z), (x + 0.03, y, z), 0.04, STEEL, sides=12) for x in (-head / 2, head / 2)]
    handle = not both and maybe(rng, 0.5)
    if handle:
        high, w = rng.uniform(0.35, 0.65), head / 2
        path = [(-w, top - 0.02, apex), (-w, top + high * 0.8, apex - 0.05), (-w * 0.75, top + high, apex - 0.06)]
        path += [(w * 0.75, top + high, apex - 0.06), (w, top + high * 0.8, apex - 0.05), (w, top - 0.02, apex)]
        solids.append(tube(bent_by(path, 30), 0.017, pick(rng, (rail, STEEL, BLACK)), sides=10).named("handle"))
    y = top * rng.uniform(0.35, 0.5)
    for s in (-1, 1):
        half, z = (foot + (head - foot) * y / top) / 2, y * math.tan(math.radians(lean))
        solids.append(dowel((s * half, y, -z), (s * half, y, 2 * apex - 0.04 + z), 0.009, STEEL, sides=8).named("strut"))
        spots = [(s * foot / 2, 0.0, z) for z in (0.0, 2 * apex - 0.04)]
        solids += named("foot", [cushion((0.05, 0.05, 0.1), spot, 0.015, BLACK) for spot in spots])
    said = parts_of(("step", steps), ("platform", int(platform)), ("handle", int(handle)))
    return Thing.of(grounded(solids), rail, ("folding", "low") if steps < 4 else ("folding",), said, rest="rail")


def _pool_ladder(rng: Rng, rail: Material, rung: Material) -> Thing:
    """Rails that bow over at the top, as at a pool, a roof or a loft."""
    rungs, width, deep = int(rng.integers(2, 7)), rng.uniform(0.42, 0.6), rng.uniform(0.3, 0.6)
    step, high = rng.uniform(0.24, 0.3), rng.uniform(0.5, 0.9)
    tall, cage, wall = step * (rungs + 0.5), rungs > 4 and maybe(rng, 0.5), maybe(rng, 0.4)
    for_rung = pick(rng, (rung, BLACK))
    solids: list[Solid] = []
    for s in (-1, 1):
        top = tall + high
        path = [(0.0, 0.0), (0.0, tall * 0.5), (0.0, tall), (0.0, top - deep * 0.5), (-deep * 0.15, top - deep * 0.12), (-deep * 0.5, top)]
        path += [(-deep * 0.85, top - deep * 0.12), (-deep, top - deep * 0.5), (-deep, tall * 0.99)]
        curve = bent_by(path, 48)
        solids.append(tube(np.column_stack([np.full(48, s * width / 2), curve[:, 1], curve[:, 0]]), 0.022, rail, sides=12))
        solids.append(disc(0.05, 0.02, (s * width / 2, tall - 0.01, -deep), rail, sides=16))
        solids.append(cushion((0.06, 0.06, 0.06), (s * width / 2, -0.02, 0), 0.02, BLACK).named("foot"))
    solids += named("step", [cushion((width, 0.03, 0.1), (0, step * (i + 0.6), 0), 0.012, for_rung) for i in range(rungs)])
    for s in (-1, 1):
        heights = [tall * k for k in ((0.35, 0.97) if wall else (0.97,))]
        solids += named("strut", [dowel((s * width / 2, y, 0), (s * width / 2, y, -deep), 0.016, rail, sides=8) for y in heights])
    back = (width + 0.25, tall, 0.05) if wall else (width + 0.1, 0.03, 0.08)
    solids.append(box(back, (0, 0, -deep - 0.02), stone(rng)).named("wall") if wall else box(back, (0, tall - 0.03, -deep), rail))
    if cage:
        a = np.linspace(0, math.pi, 15)
        for y in np.arange(tall * 0.45, tall + high * 0.5, 0.4):
            hoop = np.stack([np.cos(a) * width / 2, np.full(15, float(y)), np.sin(a) * 0.5], axis=1)
            solids.append(tube(hoop, 0.014, rail, sides=8).named("cage"))
        for b in (0.25, 0.5, 0.75):
            x, z = math.cos(b * math.pi) * width / 2, math.sin(b * math.pi) * 0.5
            solids.append(dowel((x, tall * 0.42, z), (x, tall + high * 0.5, z), 0.012, rail, sides=8).named("cage"))
    return Thing.of(grounded(solids), rail, ("curved",), parts_of(("step", rungs), ("handrail", 2), ("cage", int(cage))), rest="rail")
