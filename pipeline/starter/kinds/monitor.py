"""Makes a monitor: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def _bow(width: float, low: float, tall: float, near: float, deep: float, radius: float, material: Material) -> Solid:
    """A slab bent around an axis `radius` in front of it; `near` is how far its front lies from Z = 0."""
    inner, outer = radius - near, radius - near + deep
    section = ((low, outer), (low + tall, outer), (low + tall, inner), (low, inner))
    angles = np.linspace(-0.5, 0.5, 19) * width / radius
    rings = [np.array([(r * math.sin(a), y, radius - r * math.cos(a)) for y, r in section]) for a in angles]
    return skin(rings, material)


def _panel(rng: Rng, width: float, tall: float, deep: float, bow: float, case: Material, glow: Material) -> list[Solid]:
    """A flat screen standing on the origin, with its bulging back; `bow` is the radius of a curved one."""
    rim, chin = rng.uniform(0.008, 0.035), pick(rng, (0.0, 0.0, rng.uniform(0.02, 0.1) * tall))
    bulge = (width * rng.uniform(0.35, 0.85), tall * rng.uniform(0.4, 0.7), deep * 1.6)
    hull = cushion(bulge, (0, tall * 0.2, -deep * 0.7), deep * 0.5, case)
    if bow:
        inlay = _bow(width - 2 * rim, rim + chin, tall - 2 * rim - chin, deep / 2 + 0.002, 0.004, bow, glow).named("screen")
        return [_bow(width, 0, tall, deep / 2, deep, bow, case), inlay, hull]
    outline = rounded_rect(width, tall, pick(rng, (0.004, rng.uniform(0.01, 0.04))))
    solids = [sawn(outline, deep, case, deep * 0.2).moved((0, 0, -deep / 2)).hidden("screen", deep / 2, "z"), hull]
    if maybe(rng, 0.3):
        slots = grid(width * 0.3, tall * 0.15, 1, 4, (0, 0, 0), 0.003, BLACK, 0.4).turned("y", 180)
        solids.append(slots.moved((0, tall * 0.5, -deep * 1.5)))
    return [*solids, box((width - 2 * rim, tall - 2 * rim - chin, 0.004), (0, rim + chin, deep / 2 - 0.001), glow).named("screen")]


def _screen_foot(rng: Rng, width: float, lift: float, up: float, deep: float, stand: Material) -> tuple[list[Solid], list[Parts]]:
    """What a flat screen stands on: from the ground to `up`, half way up its back."""
    back = -deep * 1.3
    neck = sawn(rounded_rect(rng.uniform(0.05, 0.12), up, 0.01), 0.025, stand, 0.004).moved((0, 0, back - 0.02))
    match rng.integers(8):
        case 0:
            radius = width * rng.uniform(0.17, 0.26)
            profile = [(0, 0), (radius, 0), (radius, 0.008), (radius * 0.3, 0.022), (0, 0.022)]
            plate = turned(profile, (0, 0, back), stand, sides=40, squash=0.75).named("base")
            return [plate, rod((0, 0, back), (0, up, back), 0.025, 0.018, stand).named("pole")], []
        case 1:
            plate = lying(rounded_rect(width * rng.uniform(0.3, 0.5), width * 0.28, 0.03), 0.014, stand, 0.004).named("base")
            return [plate.moved((0, 0, width * 0.14 + back * 0.7)), neck.named("pole")], []
        case 2:  # a fork at either side
            feet: list[Solid] = []
            for side in (-1, 1):
                x = side * width * rng.uniform(0.3, 0.42)
                feet += [rod((x * 1.06, 0.008, z * width * 0.17), (x, lift + 0.03, 0), 0.008, 0.01, stand) for z in (-1, 1)]
            return named("leg", feet), [Parts("bar", 4)]
        case 3:  # three toes
            reach = width * 0.22
            toes = [(-reach, 0.008, reach * 0.8), (reach, 0.008, reach * 0.8), (0.0, 0.008, back - reach * 0.7)]
            column = rod((0, 0.01, back), (0, up, back), 0.02, 0.018, stand).named("pole")
            return [*(rod((0, 0.025, back), toe, 0.016, 0.008, stand).named("leg") for toe in toes), column], []
        case 4:  # a sheet bent to an L
            far, thick = width * 0.3, 0.012
            line = [(far * 0.6, 0), (far * 0.6, thick), (back, thick), (back - 0.06 + thick, up), (back - 0.06, up), (back - far * 0.4, 0)]
            bent = profile_of(line, width * rng.uniform(0.2, 0.35), stand, 0.003).named("base", below=0.018).named("pole")
            return [bent, box((0.06, 0.06, 0.08), (0, up - 0.07, back - 0.04), stand).named("pole")], []
        case 5:  # a half moon
            half, turn = width * rng.uniform(0.2, 0.3), np.linspace(0.15, math.pi - 0.15, 20)
            path = np.stack([half * np.cos(turn), np.full(20, 0.014), back + half * 0.9 - half * np.sin(turn) * 0.9], axis=1)
            ends = [ball(0.0139, (float(p[0]), 0.0139, float(p[2])), stand) for p in path[[0, -1]]]
            return [tube(path, 0.0138, stand).named("base"), *named("base", ends), neck.moved((0, 0.005, 0)).named("pole")], []
        case 6:  # a box, maybe the computer itself
            tall, wide, room = rng.uniform(0.05, 0.13), width * rng.uniform(0.5, 0.95), rng.uniform(0.22, 0.36)
            front = room / 2 + back
            solids = named("base", [cushion((wide, tall, room), (0, 0, back), 0.008, stand)])
            solids.append(box((0.08, up - tall + 0.02, 0.03), (0, tall - 0.01, back - 0.01), stand).named("pole"))
            solids.append(box((wide * 0.3, 0.012, 0.006), (wide * 0.25, tall * 0.6, front), BLACK).named("base"))
            solids.append(knob(0.008, 0.006, (-wide * 0.35, tall * 0.5, front), BLACK).named("base"))
            return solids, [Parts("box", 1)]
        case _:  # a jointed arm on a clamp
            elbow = (rng.uniform(0.1, 0.25) * width, up * 0.55, back - 0.22)
            base = named("base", [cushion((0.1, 0.03, 0.09), (0, 0, back - 0.1), 0.01, stand)])
            base.append(dowel((0, 0, back - 0.1), (0, up * 0.55, back - 0.1), 0.018, stand).named("arm"))
            bars = named(
                "arm", [rod((0, up * 0.5, back - 0.1), elbow, 0.02, 0.016, stand), dowel(elbow, (0, up, back + 0.01), 0.016, stand)]
            )
            return [
                *base,
                *bars,
                ball(0.026, elbow, stand).named("arm"),
                box((0.1, 0.1, 0.02), (0, up - 0.05, back), stand).named("arm"),
            ], [Parts("arm", 1)]


def _flat_screen(rng: Rng) -> Thing:
    width = rng.uniform(0.4, 1.15)
    tall = width * pick(rng, (rng.uniform(0.54, 0.62), rng.uniform(0.54, 0.62), rng.uniform(0.72, 0.82), rng.uniform(0.4, 0.46)))
    deep, lift = rng.uniform(0.018, 0.055), rng.uniform(0.05, 0.16)
    case, glow = pick(rng, (BLACK, BLACK, STEEL, plastic(rng, pick(rng, ("white", "black", "grey"))))), screen_of(rng)
    stand = pick(rng, (case, case, STEEL, BLACK))
    bow = width * rng.uniform(1.3, 2.2) if maybe(rng, 0.25) else 0.0
    style = (("curved",) if bow else ()) + (("wide",) if tall < 0.5 * width else ("square",) if tall > 0.7 * width else ())
    parts = [Parts("screen", 1, glow)]
    if not bow and maybe(rng, 0.08):
        width, tall, style = tall, width, ("tall",)
    screen = _panel(rng, width, tall, deep, bow, case, glow)
    if not bow and width < 0.8 and maybe(rng, 0.18):  # several on one beam
        count, up = int(rng.integers(2, 4)) if width < 0.6 else 2, lift + tall * 0.5
        pitch, turn = width * 1.03, rng.uniform(0, 22)
        foot = lying(rounded_rect(width * rng.uniform(0.5, 0.9), 0.24, pick(rng, (0.01, 0.1))), 0.016, stand, 0.005)
        solids = [foot.moved((0, 0, 0.12 - deep)).named("base"), box((0.07, up, 0.03), (0, 0, -deep * 1.3 - 0.015), stand).named("pole")]
        for i in range(count):
            side = i - (count - 1) / 2
            forward = abs(side) * width * math.sin(math.radians(turn)) * 0.5
            solids += [solid.turned("y", -turn * side).moved((side * pitch, lift, forward)) for solid in screen]
        beam = pitch * (count - 1) / 2
        solids.append(box((2 * beam + 0.1, 0.04, 0.03), (0, up - 0.02, -deep * 1.3 - 0.015), stand).named("arm"))
        solids += named("arm", [box((0.06, 0.06, deep * 3), (x, up - 0.03, -deep * 0.6), stand) for x in (-beam, beam)])
        return Thing.of(solids, case, ("wide",), [Parts("screen", count, glow)])
    if maybe(rng, 0.12):  # for a wall: a plate behind, nothing below
        side = min(0.22, tall * 0.5)
        plate = named("mount", [box((side, side, 0.015), (0, tall * 0.45 - side / 2, -deep * 3.5), stand)])
        plate.append(box((0.07, 0.07, deep * 3), (0, tall * 0.45 - 0.035, -deep * 2.2), stand).named("mount"))
        return Thing.of([*screen, *plate], case, style, [*parts, Parts("wall plate", 1)])
    tilt = rng.uniform(-2, 9)
    solids, said = _screen_foot(rng, min(width, tall * 1.6), lift, lift + tall * 0.48, deep, stand)
    solids += [solid.turned("x", -tilt).moved((0, lift, 0)) for solid in screen]
    if maybe(rng, 0.15):
        said.append(Parts("speaker", 2))
        for side in (-1, 1):
            x = side * (width / 2 + 0.035)
            solids.append(cushion((0.075, tall, deep * 1.3), (x, lift, 0), 0.012, case).named("speaker"))
            solids.append(grid(0.05, tall * 0.8, 1, 14, (x, lift + tall / 2, deep * 0.65), 0.003, BLACK).named("speaker"))
    return Thing.of(solids, case, style, [*parts, *said])


def _tube_case(width: float, tall: float, deep: float, radius: float, tail: float, rise: float, case: Material) -> list[Solid]:
    """The deep case around a picture tube, its front at Z = 0. `tail` is the size of the back over that of the front; of the
    height it lacks, the share `rise` is missing below."""
    outline = rounded_rect(width, tall, radius)
    steps = ((-1, tail), (-0.55, (1 + tail) / 2), (-0.45, 0.95), (-0.3, 1), (-0.012 / deep, 1), (0, 0.98))
    rings = [np.column_stack([outline * k, np.full(len(outline), z * deep)]) + np.array([0, rise * (1 - k) * tall, 0]) for z, k in steps]
    slots = grid(width * tail * 0.7, tall * 0.12, 9, 1, (0, 0, 0), 0.004, BLACK, 0.4).turned("y", 180)
    return [skin(rings, case), slots.moved((0, tall * tail * 0.7, -deep + 0.001))]


def _bulge(outline: Floats, at: Point, rise: float, material: Material) -> Solid:
    """Glass that swells towards the viewer."""
    return skin([placed_at(outline, rise * (1 - s * s), s) for s in (1.0, 0.85, 0.6, 0.3, 0.05)], material).moved(at).named("screen")


def _tube_monitor(rng: Rng) -> Thing:
    width = rng.uniform(0.34, 0.5)
    tall, deep, lift = width * rng.uniform(0.8, 0.98), width * rng.uniform(0.85, 1.1), rng.uniform(0.03, 0.08)
    case, glow = plastic(rng, pick(rng, ("beige", "beige", "white", "grey", "black"))), screen_of(rng)
    solids = _tube_case(width, tall, deep, 0.02, rng.uniform(0.5, 0.85), 0.4, case)
    rim, chin = width * rng.uniform(0.06, 0.1), tall * rng.uniform(0.06, 0.14)
    solids.append(_bulge(rounded_rect(width - 2 * rim, tall - 2 * rim - chin, 0.025), (0, rim + chin, 0.0), 0.018, glow))
    buttons = int(rng.integers(1, 6))
    solids += named("button", [knob(0.007, 0.008, (width * 0.36 - i * 0.03, rim * 0.5 + chin * 0.4, 0), BLACK) for i in range(buttons)])
    solids = [solid.moved((0, lift, deep * 0.4)) for solid in solids]
    parts = [Parts("button", buttons)]
    if maybe(rng, 0.35):
        high, wide = rng.uniform(0.09, 0.15), max(width * rng.uniform(1.0, 1.25), 0.4)
        solids = [solid.moved((0, high, 0)) for solid in solids]
        solids.append(cushion((wide, high, deep * 1.1), (0, 0, 0), 0.01, case).named("base"))
        solids.append(box((wide * 0.36, high * 0.25, 0.008), (wide * 0.25, high * 0.5, deep * 0.55), BLACK).named("base"))
        solids.append(grid(wide * 0.3, high * 0.5, 8, 1, (-wide * 0.25, high * 0.5, deep * 0.55), 0.003, BLACK, 0.4).named("base"))
        parts.append(Parts("box", 1))
    else:
        high = 0.0
    foot = width * rng.uniform(0.26, 0.36)
    line = [(0.0, 0.0), (foot, 0.0), (foot, lift * 0.35), (foot * 0.6, lift * 0.6), (foot * 0.55, lift + 0.01), (0.0, lift + 0.01)]
    solids.append(turned(line, (0, high, 0), case).named("base"))
    return Thing.of(solids, case, ("square",), parts)


def _television(rng: Rng) -> Thing:
    """A box with a tube, dials or loudspeakers beside the picture, feet or legs below, and maybe two rods above."""
    width = rng.uniform(0.4, 0.85)
    tall, deep = width * rng.uniform(0.66, 0.82), width * rng.uniform(0.45, 0.8)
    case = pick(rng, (wood(rng, "brown"), wood(rng), plastic(rng), BLACK, metal(rng)))
    glow, trim = screen_of(rng), pick(rng, (STEEL, BRASS, BLACK))
    solids = _tube_case(width, tall, deep, rng.uniform(0.01, 0.09) * width, rng.uniform(0.55, 0.95), 0.0, case)
    side = width * pick(rng, (rng.uniform(0.2, 0.28), rng.uniform(0.2, 0.28), 0.06))
    rim, parts = 0.06 * width, []
    view = width - rim - side
    glass_line = rounded_rect(view - 0.02, tall - 2 * rim, rng.uniform(0.08, 0.2) * tall)
    middle = -width / 2 + rim + view / 2 - 0.01
    one = sawn(rounded_rect(view, tall - 2 * rim + 0.02, 0.1 * tall), 0.008, trim, 0.003).moved((middle, rim - 0.01, -0.003))
    solids.append(one.named("frame"))
    solids.append(_bulge(glass_line, (middle, rim, 0.004), 0.03, glow))
    if side > 0.1 * width:
        x, knobs = width / 2 - side / 2 - 0.005, int(rng.integers(1, 4))
        parts.append(Parts("knob", knobs, trim))
        some = [knob(side * rng.uniform(0.2, 0.26), 0.03, (x, tall * (0.84 - 0.19 * i), -0.002), trim) for i in range(knobs)]
        solids += named("knob", some)
        speaker = grid(side * 0.7, tall * 0.25, 1, int(rng.integers(4, 9)), (x, tall * 0.22, -0.002), 0.006, BLACK, 0.45)
        solids.append(speaker.named("speaker"))
    solids = [solid.moved((0, 0, deep / 2)) for solid in solids]
    lift = pick(rng, (0.025, 0.025, rng.uniform(0.2, 0.45)))
    if lift > 0.1:
        stands, said = legs(rng, width * 0.9, deep * 0.6, lift + 0.01, 0.05, wood(rng))
        solids, parts = [*(solid.moved((0, lift, 0)) for solid in solids), *stands], [*parts, said]
    else:
        solids = [solid.moved((0, lift, 0)) for solid in solids]
        foots = [disc(0.02, lift + 0.02, (x, 0, z + deep * 0.05), BLACK, sides=16) for x, z in four(width * 0.7, deep * 0.4)]
        solids += named("foot", foots)
    if maybe(rng, 0.45):
        parts.append(Parts("antenna", 2, STEEL))
        top, reach = lift + tall, rng.uniform(0.5, 0.8) * width
        solids.append(ball(0.04, (0, top, 0.1 * deep), BLACK, 0.7).named("antenna"))
        up, z = top + reach * 0.7, 0.1 * deep
        solids += named("antenna", [rod((0, top + 0.01, z), (x * reach * 0.6, up, z), 0.006, 0.003, STEEL, sides=8) for x in (-1, 1)])
    return Thing.of(solids, case, ("wide",) if tall < 0.7 * width else (), parts)


def monitor(rng: Rng) -> Thing:
    return designed(rng, (_flat_screen, _flat_screen, _flat_screen, _flat_screen, _tube_monitor, _television))
