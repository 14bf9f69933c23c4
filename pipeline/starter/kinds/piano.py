"""Makes a piano: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from itertools import pairwise

import numpy as np

from pipeline.starter.kinds.kit import *


def _claviature(octaves: int, wide: float, deep: float, at: Point) -> list[Solid]:
    """White and black keys whose hind edge is centred at `at`, on top of what bears them."""
    x, y, z = at
    count = octaves * 7 + 1
    unit = wide / count
    white = [((i + 0.5) * unit - wide / 2, deep / 2, unit * 0.92, deep) for i in range(count)]
    black = [((i + 1) * unit - wide / 2, deep * 0.32, unit * 0.5, deep * 0.64) for i in range(count - 1) if i % 7 not in (2, 6)]
    return named("key", [blocks_of(white, 0.02, WHITE).moved(at), blocks_of(black, 0.012, BLACK, 0.001).moved((x, y + 0.02, z))])


def _pedals(count: int, y: float, z: float, deep: float) -> list[Solid]:
    return named(
        "pedal", [cushion((0.03, 0.015, deep), ((i - (count - 1) / 2) * 0.07, y, z + deep / 2), 0.006, BRASS) for i in range(count)]
    )


def _piano_stool(rng: Rng, timber: Material, z: float) -> tuple[list[Solid], Parts]:
    """What one sits on to play, before the keys."""
    seat, tall = pick(rng, (timber, fabric(rng, "black"), fabric(rng, "red"))), rng.uniform(0.45, 0.5)
    if maybe(rng, 0.3):
        solids = [cushion((0.36, 0.07, 0.36), (0, tall, 0), 0.03, seat), disc(0.03, tall - 0.05, (0, 0.05, 0), timber)]
        solids += [rod((0, 0.14, 0), (0, 0.01, 0.2), 0.018, 0.014, timber).turned("y", a + 45) for a in range(0, 360, 90)]
    else:
        wide = rng.uniform(0.55, 0.85)
        stands, _ = legs(rng, wide, 0.34, tall, 0.045, timber)
        solids = [*stands, box((wide, 0.05, 0.34), (0, tall - 0.03, 0), timber)]
        solids.append(cushion((wide, 0.06, 0.34), (0, tall + 0.015, 0), 0.025, seat))
    return named("stool", [s.moved((0, 0, z + 0.22)) for s in solids]), Parts("stool", 1, seat)


def _upright_piano(rng: Rng) -> Thing:
    timber, octaves = pick(rng, (wood(rng, "black"), wood(rng, "brown"), wood(rng))), pick(rng, (7, 7, 7, 5))
    keys = octaves * 7 * 0.0238
    wide, tall, deep = keys + rng.uniform(0.2, 0.3), rng.uniform(0.95, 1.35), rng.uniform(0.3, 0.4)
    level, shelf, front = rng.uniform(0.62, 0.68), rng.uniform(0.22, 0.28), deep / 2
    solids = [box((wide - 0.06, tall - 0.04, deep - 0.02), (0, 0.03, 0), timber), box((wide, 0.08, deep), (0, 0, 0), timber).named("base")]
    solids += [box((0.05, tall - 0.02, deep), (s * (wide / 2 - 0.025), 0, 0), timber) for s in (-1, 1)]
    solids.append(cushion((wide + 0.04, 0.035, deep + 0.05), (0, tall - 0.03, 0.01), 0.012, timber).named("lid"))
    solids.append(lying(rounded_rect(wide, shelf + 0.02, 0.02), 0.06, timber, 0.008).moved((0, level - 0.06, front + shelf)))
    cheek = [(0, 0), (shelf, 0), (shelf, 0.05), (shelf * 0.75, 0.1), (0, pick(rng, (0.12, 0.2)))]
    solids += [profile_of(cheek, 0.05, timber, 0.004).moved((s * (wide / 2 - 0.025), level - 0.005, front - 0.005)) for s in (-1, 1)]
    solids += _claviature(octaves, wide - 0.14, 0.145, (0, level - 0.003, front + shelf - 0.175))
    solids.append(box((wide - 0.1, 0.012, shelf - 0.17), (0, level + 0.02, front + (shelf - 0.17) / 2), timber).named("lid"))
    if maybe(rng, 0.7):  # the flap behind the keys, folded up
        flap = box((wide - 0.1, 0.15, 0.015), (0, 0, 0), timber).turned("x", -rng.uniform(5, 20))
        solids.append(flap.moved((0, level + 0.025, front + 0.05)).named("lid"))
    parts: list[Parts] = []
    pedals = pick(rng, (2, 3))
    solids += _pedals(pedals, 0.05, front - 0.02, 0.1)
    parts.append(Parts("pedal", pedals, BRASS))
    x, z, kind = wide / 2 - 0.045, front + shelf - 0.06, rng.integers(4)
    if kind == 0:
        half = rng.uniform(0.025, 0.04)
        line = [(0.0, 0.0), (half, 0.0), (half, 0.05), (half * 0.6, 0.1), (half * 1.2, level * 0.5), (half * 0.6, level * 0.75)]
        line += [(half * 1.1, level * 0.85), (half, level - 0.05), (0.0, level - 0.05)]
        solids += named("leg", [turned(line, (s * x, 0, z), timber, sides=16) for s in (-1, 1)])
    elif kind == 1:
        solids += named("leg", [box((0.06, level - 0.05, 0.07), (s * x, 0, z), timber) for s in (-1, 1)])
        solids += named("leg", [cushion((0.09, 0.06, shelf + 0.1), (s * x, 0, front + shelf / 2), 0.015, timber) for s in (-1, 1)])
    elif kind == 2:  # a console bent like an S
        line = [(0, 0.3), (0.03, 0.3), (0.05, 0.5), (shelf, 0.56), (shelf, level - 0.03), (0, level - 0.03), (0, level - 0.03)]
        leg = smoothed(line, rounds=2, closed=True)
        solids += named("strut", [profile_of(leg, 0.06, timber).moved((s * x, 0, front - 0.02)) for s in (-1, 1)])
    parts += [Parts("leg", 2)] if kind < 2 else []
    if maybe(rng, 0.7):
        panels = int(rng.integers(1, 4))
        each = (wide - 0.2) / panels
        for i in range(panels):
            px = (i - (panels - 1) / 2) * each
            solids.append(sawn(rounded_rect(each * 0.88, level * 0.55, 0.01), 0.014, timber, 0.004).moved((px, level * 0.2, front - 0.014)))
            upper = sawn(rounded_rect(each * 0.88, (tall - level) * 0.5, 0.01), 0.014, timber, 0.004)
            solids.append(upper.moved((px, level + (tall - level) * 0.35, front - 0.014)))
    if maybe(rng, 0.5):
        rest = (
            box((rng.uniform(0.5, 1.0), 0.2, 0.012), (0, 0, 0), timber)
            .turned("x", -15)
            .moved((0, level + 0.2, front + 0.055))
            .named("rest")
        )
        pages = named("paper", [box((0.2, 0.26, 0.006), (x, 0, 0), WHITE).turned("x", -15) for x in (-0.102, 0.102)])
        paper = [page.moved((0, level + 0.21, front + 0.065)) for page in pages]
        solids += [rest, box((0.9, 0.02, 0.07), (0, level + 0.19, front + 0.03), timber).named("rest"), *paper]
        parts.append(Parts("sheet", 2, WHITE))
    if maybe(rng, 0.35):
        stool, said = _piano_stool(rng, timber, front + shelf + 0.15)
        solids, parts = [*solids, *stool], [*parts, said]
    solids += [box((0.05, tall - 0.2, 0.03), (i * wide * 0.22, 0.1, -deep / 2 - 0.005), timber) for i in (-1.5, -0.5, 0.5, 1.5)]
    style = ("tall",) if tall > 1.2 else ("low",) if tall < 1.05 else ()
    return Thing.of(solids, timber, style, parts)


def _grand_piano(rng: Rng) -> Thing:
    timber = pick(rng, (wood(rng, "black"), wood(rng, "black"), wood(rng, "brown"), wood(rng, "white"), wood(rng)))
    wide, long, low, rim = rng.uniform(1.42, 1.55), rng.uniform(1.4, 2.6), rng.uniform(0.58, 0.64), rng.uniform(0.26, 0.34)
    h, keys = wide / 2, 0.36
    # From above, Y away from the player: the bass side is straight, the treble side swings in to a narrow tail.
    tail = [(h, 0.12), (h, 0.3), (h * 0.98, 0.42), (h * 0.55, 0.55), (h * 0.2, 0.7), (h * 0.12, 0.9), (-h * 0.1, 1.02), (-h * 0.5, 1.02)]
    tail.append((-h * 0.92, 0.98))
    body = [(-h, 0.0), *[(float(px), float(py) * long) for px, py in _open_curve([(h, 0.0), *tail, (-h, 0.88)])]]
    line = np.array(body)
    cut = np.column_stack([line[:, 0], np.maximum(line[:, 1], keys)])
    case = [lying(cut, rim, timber, 0.006).moved((0, low, 0))]
    case.append(lying([(-h, 0), (h, 0), (h, keys + 0.05), (-h, keys + 0.05)], 0.08, timber).moved((0, low, 0)))
    arm = profile_of([(0, 0), (0, 0.06), (-0.06, rim * 0.6), (-0.1, rim), (-keys - 0.02, rim), (-keys - 0.02, 0)], 0.06, timber, 0.005)
    case += [arm.moved((s * (h - 0.031), low, 0)) for s in (-1, 1)]
    case += _claviature(7, wide - 0.16, 0.15, (0, low + 0.08, -0.19))
    case.append(box((wide - 0.12, 0.14, 0.02), (0, low + 0.08, -0.2), timber).named("lid"))
    case.append(box((wide - 0.06, rim - 0.1, 0.16), (0, low + 0.08, -keys + 0.06), timber))
    lid = 0.018
    parts: list[Parts] = []
    opened = rng.uniform(28, 42) if maybe(rng, 0.7) else 0.0
    if opened:  # strings under it, gold
        plate = np.column_stack([np.clip(cut[:, 0] * 0.9 - 0.02, -h, h), keys + 0.1 + (cut[:, 1] - keys) * 0.86])
        case.append(lying(plate, 0.006, BRASS).moved((0, low + rim, 0)).named("frame"))
        strings = []
        for i in range(22):
            reach, span = (0.32, 0.3) if i > 15 else (0.7 - 0.024 * i, 0.55 - 0.016 * i)
            strings.append(((i - 11) * wide * 0.034, -(keys + 0.14 + reach * long * 0.36), 0.006, 0.6 * long * span))
        case.append(blocks_of(strings, 0.006, STEEL).moved((0, low + rim + 0.005, 0)).named("string"))
    flap = np.column_stack([cut[:, 0] * 1.01, keys + (cut[:, 1] - keys) * 1.01])
    cover = named("lid", [lying(flap, lid, timber, 0.004).moved((h, 0, 0)).turned("z", opened).moved((-h, low + rim + 0.002, 0))])
    front_flap = lying([(-h, 0.12), (h, 0.12), (h, keys), (-h, keys)], lid, timber, 0.003)
    if opened:
        folded = front_flap.moved((h, 0.0, keys * 2)).moved((0, lid, -keys * 2 - 0.26))
        cover.append(folded.turned("z", opened).moved((-h, low + rim + 0.003, 0)).named("lid"))
        tip, a = 0.85 * wide, math.radians(opened)
        z, end = -0.24 * long - 0.1, (-h + tip * math.cos(a), low + rim + tip * math.sin(a))
        cover.append(dowel((h - 0.06, low + rim - 0.01, z), (*end, z), 0.012, timber).named("strut"))
    else:
        cover.append(front_flap.moved((0, low + rim + 0.002, 0)).named("lid"))
    if maybe(rng, 0.6):
        case.append(box((0.75, 0.24, 0.015), (0, 0, 0), timber).turned("x", -20).moved((0, low + rim + 0.005, -keys + 0.08)).named("rest"))
        parts.append(Parts("music rest", 1))
    places, square = [(-h + 0.16, -0.22), (h - 0.16, -0.22), (-h * 0.45, -long * 0.84)], maybe(rng, 0.5)
    thick = rng.uniform(0.05, 0.075)
    if square:
        ends = ((thick * 1.1, 0.06, thick * 0.55), (thick * 2.2, low + 0.01, thick * 1.1))
        rings = [placed_at(rounded_rect(w, w, 0.008), y) - np.array([0, half, 0]) for w, y, half in ends]
        stands = [skin(rings, timber).turned("x", -90)]
    else:
        profile = [(0, 0.05), (thick * 0.5, 0.05), (thick * 0.7, 0.12), (thick * 0.45, 0.16), (thick, low * 0.6)]
        profile += scaled([(1.25, 0.72), (0.7, 0.78), (1.3, 0.86), (1.3, 1), (0, 1)], thick, low)
        stands = [lathe(profile, timber, sides=24)]
    wheels = [disc(0.028, 0.05, (0, 0.005, 0), BRASS, sides=16), dowel((-0.014, 0.028, 0), (0.014, 0.028, 0), 0.028, BRASS)]
    stands += named("wheel", wheels)
    case += named("leg", [s.moved((px, 0, pz)) for s in stands for px, pz in places])
    pedals = pick(rng, (2, 3))
    parts += [Parts("pedal", pedals, BRASS), Parts("leg", 3)]
    case += named("pedal", [dowel((s * 0.05, 0.14, -0.3), (s * 0.09, low + 0.01, -0.3), 0.016, timber) for s in (-1, 1)])
    case += [cushion((0.3, 0.08, 0.14), (0, 0.08, -0.3), 0.015, timber).named("pedal"), *_pedals(pedals, 0.1, -0.24, 0.11)]
    solids = [*case, *cover]
    if maybe(rng, 0.4):
        stool, said = _piano_stool(rng, timber, 0.12)
        solids, parts = [*solids, *stool], [*parts, said]
    style = ("curved", "open") if opened else ("curved", "closed")
    return Thing.of([s.moved((0, 0, long / 2)) for s in solids], timber, style, parts[-4:])


def _open_curve(points: Line) -> Line:
    """Points with their corners cut, and the two ends kept."""
    for _ in range(3):
        inner = [(a[0] * k + b[0] * (1 - k), a[1] * k + b[1] * (1 - k)) for a, b in pairwise(points) for k in (0.75, 0.25)]
        points = [points[0], *inner[1:-1], points[-1]]
    return points


def _stage_piano(rng: Rng) -> Thing:
    """Electric: keys in a flat box, on a stand crossed like an X, on side walls or on four legs."""
    case, stand = pick(rng, (BLACK, WHITE, plastic(rng), wood(rng))), pick(rng, (BLACK, STEEL, WHITE))
    octaves = pick(rng, (5, 7, 7))
    wide, deep, tall, level = octaves * 7 * 0.0238 + 0.14, rng.uniform(0.28, 0.38), rng.uniform(0.09, 0.14), rng.uniform(0.62, 0.7)
    solids = [lying(rounded_rect(wide, deep, 0.015), tall * 0.7, case, 0.006).moved((0, level, deep / 2))]
    solids += _claviature(octaves, wide - 0.12, 0.14, (0, level + tall * 0.7 - 0.003, deep / 2 - 0.16))
    back = deep - 0.18
    outline = scaled([(0, 0), (1, 0), (1, 0.45), (0.7, 0.6), (0, 0.6)], back, tall)
    solids.append(profile_of(outline, wide, case, 0.004).moved((0, level + tall * 0.6, -deep / 2)))
    solids += [box((0.055, tall * 0.45, 0.16), (s * (wide / 2 - 0.0275), level + tall * 0.65, deep / 2 - 0.09), case) for s in (-1, 1)]
    parts: list[Parts] = []
    top, knobs = level + tall * 1.2, int(rng.integers(1, 6))
    some = [disc(0.012, 0.014, (-wide * 0.4 + 0.045 * i, top - 0.002, -deep / 2 + back * 0.35), stand, sides=16) for i in range(knobs)]
    solids += named("knob", some)
    parts.append(Parts("knob", knobs))
    match rng.integers(3):
        case 0:
            for z in (-0.12, 0.12):
                solids += named("leg", [dowel((s * 0.36, 0.02, z), (-s * 0.36, level - 0.015, z), 0.018, stand) for s in (-1, 1)])
            some = [dowel((s * 0.36, y, -0.2), (s * 0.36, y, 0.2), 0.019, stand) for s in (-1, 1) for y in (0.019, level - 0.018)]
            solids += named("leg", some)
        case 1:
            solids += named("leg", [box((0.035, level + 0.01, deep * 0.8), (s * (wide / 2 - 0.06), 0, 0), case) for s in (-1, 1)])
            solids += named("leg", [cushion((0.05, 0.04, deep * 1.15), (s * (wide / 2 - 0.06), 0, 0), 0.01, case) for s in (-1, 1)])
            solids.append(box((wide - 0.13, 0.22, 0.02), (0, level * 0.45, -deep * 0.3), case).named("leg"))
            solids += [*_pedals(3, 0.05, -deep * 0.2, 0.1), box((wide - 0.13, 0.08, 0.06), (0, 0.02, -deep * 0.25), case).named("leg")]
            parts.append(Parts("pedal", 3, BRASS))
        case _:
            stands, said = legs(rng, wide * 0.92, deep * 0.8, level + 0.01, 0.05, stand)
            solids, parts = [*solids, *stands], [*parts, said]
    if maybe(rng, 0.6):
        rest = box((0.5, 0.22, 0.01), (0, 0, 0), case).turned("x", -18).moved((0, top - 0.005, -deep / 2 + back * 0.3))
        solids.append(rest.named("rest"))
        parts.append(Parts("music rest", 1))
    if maybe(rng, 0.3):
        stool, said = _piano_stool(rng, BLACK, deep / 2 + 0.1)
        solids, parts = [*solids, *stool], [*parts, said]
    return Thing.of(solids, case, ("slim",), parts[:4])


def piano(rng: Rng) -> Thing:
    return designed(rng, (_upright_piano, _upright_piano, _upright_piano, _grand_piano, _grand_piano, _grand_piano, _stage_piano))
