"""Makes a radio: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def _speaker(radius: float, at: Point, rim: Material, cone: Material) -> list[Solid]:
    """A ring with a cone and a dome in it, towards the viewer."""
    ring = scaled([(0, 0), (1, 0.0), (1, 0.1), (0.86, 0.14), (0.82, 0.06), (0.0, 0.06)], radius)
    dish = scaled([(0.82, 0.09), (0.32, 0.02), (0.3, 0.1), (0.15, 0.16), (0.0, 0.18)], radius)
    return named("speaker", [facing(ring, at, rim), facing(dish, at, cone)])


def _grille(rng: Rng, wide: float, tall: float, at: Point, trim: Material) -> list[Solid]:
    """What a loudspeaker sounds through: cloth, slats or holes, in a rectangle centred at `at`."""
    x, y, z = at
    match rng.integers(4):
        case 0:
            return named("speaker", [grid(wide, tall, 1, int(rng.integers(5, 12)), at, 0.005, trim, 0.5)])
        case 1:
            return named("speaker", [grid(wide, tall, int(rng.integers(6, 16)), 1, at, 0.005, trim, 0.5)])
        case 2:
            return named("speaker", [grid(wide, tall, 14, max(3, round(14 * tall / wide)), at, 0.003, trim, 0.5)])
        case _:
            if tall > wide * 0.6:
                return _speaker(min(wide, tall) * 0.48, at, trim, BLACK)
            return named("speaker", [box((wide, tall, 0.006), (x, y - tall / 2, z), trim)])


def _mast(start: Point, reach: float, lean: float) -> list[Solid]:
    """A telescopic antenna."""
    x, y, z = start
    way = (math.sin(math.radians(lean)), math.cos(math.radians(lean)))
    joints = [(x + way[0] * reach * k / 3, y + way[1] * reach * k / 3, z) for k in range(4)]
    return named(
        "antenna", [dowel(joints[k], joints[k + 1], 0.0045 - 0.001 * k, STEEL, sides=8) for k in range(3)] + [ball(0.006, joints[3], STEEL)]
    )


def _portable_radio(rng: Rng) -> Thing:
    """With a handle and an antenna; with two loudspeakers and a deck for tapes, a boombox."""
    boom = maybe(rng, 0.4)
    width = rng.uniform(0.42, 0.7) if boom else rng.uniform(0.16, 0.34)
    tall, deep = width * (rng.uniform(0.35, 0.5) if boom else rng.uniform(0.5, 0.75)), width * rng.uniform(0.2, 0.32)
    case, trim = pick(rng, (plastic(rng), BLACK, STEEL, plastic(rng))), pick(rng, (STEEL, BRASS, WHITE, BLACK))
    dark = pick(rng, (BLACK, STEEL, plastic(rng)))
    if maybe(rng, 0.6):
        body = cushion((width, tall, deep), (0, 0, 0), deep * pick(rng, (0.1, 0.2, 0.48)), case)
    else:
        body = sawn(rounded_rect(width, tall, tall * rng.uniform(0.05, 0.4)), deep, case, deep * 0.12).moved((0, 0, -deep / 2))
    solids, front, knobs = [body], deep / 2, int(rng.integers(1, 5))
    parts = [Parts("knob", knobs)]
    size = tall * rng.uniform(0.05, 0.09)
    if boom:
        radius = min(tall * 0.34, width * 0.19)
        for x in (-1, 1):
            solids += _speaker(radius, (x * (width / 2 - radius * 1.25), tall * 0.42, front - 0.002), trim, dark)
        solids.append(box((width * 0.3, tall * 0.34, 0.014), (0, tall * 0.14, front), dark))
        solids.append(grid(width * 0.28, 0.012, 6, 1, (0, tall * 0.08, front), 0.016, trim, 0.8).named("button"))
        solids.append(box((width * 0.8, tall * 0.12, 0.006), (0, tall * 0.82, front), WHITE).named("dial"))
        reels, y = (-width * 0.05, width * 0.05), tall * 0.31
        solids += [dowel((x, y, front), (x, y, front + 0.012), width * 0.025, trim) for x in reels]
        some = [knob(size, 0.02, (width * (i - (knobs - 1) / 2) * 0.09, tall * 0.66, front - 0.002), trim) for i in range(knobs)]
        solids += named("knob", some)
        parts.append(Parts("speaker", 2))
    else:
        side = pick(rng, (-1, 1))
        solids += _grille(rng, width * 0.46, tall * 0.72, (side * width * 0.2, tall * 0.45, front - 0.001), dark)
        if maybe(rng, 0.5):  # a round dial
            profile = [(0, 0), (width * 0.15, 0), (width * 0.14, 0.012), (0, 0.012)]
            solids.append(facing(profile, (-side * width * 0.26, tall * 0.6, front - 0.002), WHITE).named("dial"))
            solids.append(knob(width * 0.06, 0.024, (-side * width * 0.26, tall * 0.6, front), trim).named("knob"))
        else:
            solids.append(box((width * 0.36, tall * 0.16, 0.006), (-side * width * 0.25, tall * 0.62, front), WHITE).named("dial"))
            at = (-side * width * rng.uniform(0.15, 0.35), tall * 0.625, front)
            solids.append(box((0.003, tall * 0.15, 0.008), at, plastic(rng, "red")).named("dial"))
        spots = [-side * width * 0.26 + (i - (knobs - 1) / 2) * size * 2.3 for i in range(knobs)]
        solids += named("knob", [knob(size, 0.018, (x, tall * 0.24, front - 0.002), trim) for x in spots])
    if maybe(rng, 0.75):
        parts.append(Parts("handle", 1))
        reach, y = width * rng.uniform(0.3, 0.46), tall * 0.88
        if maybe(rng, 0.5):
            handles = [box((0.012, tall * 0.35 + 0.01, 0.02), (s * (width / 2 + 0.005), tall * 0.88, 0), trim) for s in (-1, 1)]
            solids += named("handle", handles)
            solids.append(cushion((width + 0.022, 0.018, 0.024), (0, tall * 1.22, 0), 0.008, trim).named("handle"))
        else:
            solids.append(arch_of((-reach, y, 0), (reach, y, 0), tall * rng.uniform(0.3, 0.55), 0.007, trim).named("handle"))
    if maybe(rng, 0.75):
        parts.append(Parts("antenna", 1, STEEL))
        foot = (pick(rng, (-1, 1)) * width * 0.42, tall - deep * 0.1, -deep * 0.3)
        solids += _mast(foot, width * rng.uniform(0.5, 1.1), rng.uniform(-35, 35))
    solids += named("foot", [disc(0.012, 0.012, (x, -0.008, z), BLACK, sides=12) for x, z in four(width * 0.8, deep * 0.5)])
    return Thing.of([s.moved((0, 0.008, 0)) for s in solids], case, ("wide",) if boom else (), parts)


def _parlour_radio(rng: Rng) -> Thing:
    """A radio of wood or bakelite, with an arched or round-cornered front, cloth or slats, dial and knobs."""
    timber, trim = pick(rng, (wood(rng, "brown"), wood(rng), plastic(rng))), pick(rng, (BRASS, BLACK, WHITE))
    cloth, arched = fabric(rng, pick(rng, ("beige", "brown", "grey"))), maybe(rng, 0.45)
    width = rng.uniform(0.26, 0.42) if arched else rng.uniform(0.34, 0.6)
    tall, deep = width * (rng.uniform(1.1, 1.5) if arched else rng.uniform(0.5, 0.7)), width * rng.uniform(0.45, 0.65)
    if arched:
        up, sharp, turn = tall * rng.uniform(0.4, 0.6), rng.uniform(0.8, 1.0), np.linspace(0, math.pi, 21)
        arc = [(width / 2 * math.cos(a), up + (tall - up) * math.sin(a) ** sharp) for a in turn]
        line = np.array([(-width / 2, 0.0), (width / 2, 0.0), *arc])
        view = line * 0.8 + np.array([0, tall * 0.1])
    else:
        bend = tall * pick(rng, (0.04, 0.2, 0.42))
        line = rounded_rect(width, tall, bend)
        view = rounded_rect(width - 0.14 * tall, tall * 0.86, max(0.01, bend - 0.07 * tall)) + np.array([0.0, tall * 0.07])
    solids = [sawn(line, deep, timber, 0.012).moved((0, 0, -deep / 2))]
    front, knobs = deep / 2, int(rng.integers(2, 5))
    parts = [Parts("knob", knobs, trim)]
    if arched:
        solids.append(sawn(view[view[:, 1] > tall * 0.05], 0.006, cloth).moved((0, 0, front - 0.002)).named("speaker"))
        bars = int(rng.integers(2, 5))
        for i in range(bars):
            x = (i - (bars - 1) / 2) * width * 0.2
            solids.append(box((width * 0.05, tall * 0.42, 0.014), (x, tall * 0.42, front), timber).named("speaker"))
        solids.append(box((width * 0.8, tall * 0.045, 0.016), (0, tall * 0.4, front), timber).named("speaker"))
        if maybe(rng, 0.5):
            one = facing([(0, 0), (width * 0.14, 0), (width * 0.13, 0.012), (0, 0.012)], (0, tall * 0.27, front), trim)
            solids.append(one.named("dial"))
            solids.append(facing([(0, 0), (width * 0.11, 0), (0, 0.014)], (0, tall * 0.27, front), WHITE).named("dial"))
        else:
            solids.append(box((width * 0.4, tall * 0.09, 0.012), (0, tall * 0.24, front), WHITE).named("dial"))
        some = [knob(width * 0.05, 0.03, ((i - (knobs - 1) / 2) * width * 0.2, tall * 0.12, front), trim) for i in range(knobs)]
        solids += named("knob", some)
        parts.append(Parts("bar", bars))
    else:
        solids.append(sawn(view, 0.005, pick(rng, (cloth, trim))).moved((0, 0, front - 0.002)).named("speaker"))
        dial = pick(rng, (WHITE, BLACK, plastic(rng, "yellow")))
        if maybe(rng, 0.5):  # loudspeaker above, a long dial below
            solids += _grille(rng, width * 0.78, tall * 0.4, (0, tall * 0.68, front + 0.002), timber)
            solids.append(box((width * 0.55, tall * 0.16, 0.012), (0, tall * 0.2, front), dial).named("dial"))
            places = [(s * width * 0.36, tall * (0.28 - 0.15 * (i // 2))) for i, s in enumerate((-1, 1, -1, 1))][:knobs]
        else:
            side = pick(rng, (-1, 1))
            solids += _grille(rng, width * 0.46, tall * 0.7, (side * width * 0.2, tall * 0.5, front + 0.002), timber)
            at = (-side * width * 0.24, tall * 0.62, front)
            solids += [
                facing([(0, 0), (tall * 0.2, 0), (tall * 0.19, 0.014), (0, 0.014)], at, dial).named("dial"),
                knob(tall * 0.06, 0.035, at, trim).named("knob"),
            ]
            places = [(-side * width * 0.24 + (i - (knobs - 1) / 2) * width * 0.1, tall * 0.24) for i in range(knobs)]
        solids += named("knob", [knob(tall * 0.065, 0.03, (x, y, front), trim) for x, y in places])
    if maybe(rng, 0.5):
        base = lying(rounded_rect(width * 1.06, deep * 1.08, 0.01), 0.02, timber, 0.004).moved((0, -0.015, deep * 0.54))
        solids.append(base.named("base"))
        solids = [s.moved((0, 0.015, 0)) for s in solids]
    else:
        solids = [s.moved((0, 0.015, 0)) for s in solids] + named(
            "foot", [ball(0.02, (x, 0.02, z), trim) for x, z in four(width * 0.8, deep * 0.7)]
        )
        parts.append(Parts("ball", 4, trim))
    return Thing.of(solids, timber, ("curved", "tall") if arched else ("wide",), parts)


def _hand_radio(rng: Rng) -> Thing:
    """To talk through or for a pocket: upright, with an antenna."""
    width = rng.uniform(0.055, 0.085)
    tall, deep = width * rng.uniform(1.6, 2.4), width * rng.uniform(0.45, 0.65)
    case, dark = pick(rng, (BLACK, plastic(rng), plastic(rng, "yellow"))), pick(rng, (BLACK, STEEL, plastic(rng)))
    hips = pick(rng, (0.0, 0.12)) * width
    line = [(-width / 2, 0), (width / 2, 0), (width / 2, tall * 0.4), (width / 2 - hips, tall * 0.5), (width / 2 - hips, tall * 0.62)]
    line += [(width / 2, tall * 0.72), (width / 2, tall)]
    line += [(-width / 2, tall), (-width / 2, tall * 0.72), (hips - width / 2, tall * 0.62), (hips - width / 2, tall * 0.5)]
    line.append((-width / 2, tall * 0.4))
    front, side = deep / 2, pick(rng, (-1, 1))
    solids = [sawn(np.array(line), deep, case, 0.004).moved((0, 0, -deep / 2))]
    solids += _grille(rng, width * 0.7, tall * 0.26, (0, tall * 0.22, front - 0.001), dark)
    buttons, knobs = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    screen = box((width * 0.7, tall * 0.15, 0.004), (0, tall * 0.76, front), plastic(rng, pick(rng, ("green", "grey", "black"))))
    solids.append(screen.named("screen"))
    solids.append(grid(width * 0.7, tall * 0.1, buttons, 1, (0, tall * 0.58, front - 0.001), 0.005, dark, 0.75).named("button"))
    solids.append(box((0.006, tall * 0.2, deep * 0.4), (-width / 2 + hips * 0.6, tall * 0.55, 0), dark).named("button"))
    antenna = rod((side * width * 0.3, tall - 0.004, 0), (side * width * 0.3, tall * rng.uniform(1.6, 2.2), 0), 0.008, 0.005, BLACK)
    solids.append(antenna.named("antenna"))
    solids += named("knob", [disc(0.008, 0.016, (-side * width * (0.3 - 0.32 * i), tall - 0.003, 0), dark, sides=16) for i in range(knobs)])
    if maybe(rng, 0.5):
        solids.append(box((width * 0.4, tall * 0.5, 0.005), (0, tall * 0.35, -front - 0.006), dark))
        solids.append(box((width * 0.4, tall * 0.06, 0.012), (0, tall * 0.8, -front - 0.003), dark))
    return Thing.of(solids, case, ("tall",), [Parts("antenna", 1), Parts("button", buttons), Parts("knob", knobs)])


def _receiver(rng: Rng) -> Thing:
    """A flat wide box with dials: a part of a hi-fi, of a car or of a station; or a clock radio."""
    width = rng.uniform(0.2, 0.46)
    tall, deep = width * rng.uniform(0.28, 0.42), width * rng.uniform(0.5, 0.8)
    case, face = pick(rng, (wood(rng), BLACK, metal(rng), plastic(rng))), pick(rng, (STEEL, BLACK, plastic(rng)))
    trim, slant = pick(rng, (STEEL, BLACK, WHITE)), rng.uniform(0, 0.3) * tall
    side = [(deep / 2, 0.0), (deep / 2 - slant, tall), (-deep / 2, tall), (-deep / 2, 0.0)]
    solids = [profile_of(side, width, case, 0.006)]
    knobs, speaker = int(rng.integers(2, 7)), maybe(rng, 0.4)
    items = named("panel", [sawn(rounded_rect(width * 0.95, tall * 0.84, 0.004), 0.005, face).moved((0, tall * 0.08, 0))])
    big = min(tall * 0.26, width * 0.09)
    items.append(knob(big, 0.025, (width * 0.36, tall * 0.5, 0.004), trim).named("knob"))
    items += named("knob", [knob(big * 0.4, 0.02, (-width * 0.38 + i * big * 1.15, tall * 0.24, 0.004), trim) for i in range(knobs - 1)])
    lit = plastic(rng, pick(rng, ("black", "yellow", "green", "white")))
    items.append(box((width * 0.4, tall * 0.26, 0.006), (-width * 0.02, tall * 0.54, 0.005), lit).named("dial"))
    dial = facing([(0, 0), (big * 0.6, 0), (big * 0.55, 0.008), (0, 0.008)], (-width * 0.36, tall * 0.64, 0.004), WHITE)
    items.append(dial.named("dial"))
    if speaker:
        one = grid(width * 0.7, deep * 0.5, 12, 6, (0, 0, 0), 0.004, BLACK, 0.5).turned("x", -90).moved((0, tall, -deep * 0.1))
        solids.append(one.named("speaker"))
    lean = math.degrees(math.atan2(slant, tall))
    solids += [s.turned("x", -lean).moved((0, 0, deep / 2 - 0.001)) for s in items]
    parts = [Parts("knob", knobs, trim)]
    if maybe(rng, 0.5):
        parts.append(Parts("antenna", 1, STEEL))
        solids += _mast((-width * 0.4, tall * 0.9, -deep * 0.44), width * 0.8, rng.uniform(-20, 20))
    if maybe(rng, 0.3):
        parts.append(Parts("handle", 2))
        grip = arch_of((0, 0, 0), (tall * 0.7, 0, 0), 0.03, 0.005, trim).turned("z", 90).turned("y", -90)
        solids += named("handle", [grip.moved((s * width * 0.49, tall * 0.15, deep / 2 - slant * 0.5)) for s in (-1, 1)])
    feet = named("foot", [disc(0.014, 0.014, (x, 0, z), BLACK, sides=12) for x, z in four(width * 0.85, deep * 0.8)])
    solids = [*(s.moved((0, 0.01, 0)) for s in solids), *feet]
    return Thing.of(solids, case, ("low", "wide"), parts)


def radio(rng: Rng) -> Thing:
    return designed(rng, (_portable_radio, _portable_radio, _portable_radio, _parlour_radio, _parlour_radio, _hand_radio, _receiver))
