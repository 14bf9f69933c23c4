"""Makes a microwave: its designs, proportions and parts, and the words for them. See `thing`."""

from pipeline.starter.kinds.kit import *


def _chamber(width: float, tall: float, deep: float, panel: float, strip: float, low: float, case: Material) -> list[Solid]:
    """Four walls and a back around the hollow; `panel` is the width of what is beside it, `low` the height of what is below."""
    wall, door, left, high = 0.02, width - panel, -width / 2, tall - strip
    solids = [box((wall, tall, deep), (left + wall / 2, 0, 0), case)]
    solids.append(box((panel + wall, tall, deep), (width / 2 - (panel + wall) / 2, 0, 0), case))
    solids.append(box((door, wall + low, deep), (left + door / 2, 0, 0), case))
    solids.append(box((door, wall + strip - low, deep), (left + door / 2, high + low - wall, 0), case))
    return [*solids, box((door, tall, wall), (left + door / 2, 0, -deep / 2 + wall / 2), case)]


def _dial(radius: float, at: Point, trim: Material) -> list[Solid]:
    """A knob with a grip across it, on a disc."""
    x, y, z = at
    disk = facing([(0, 0), (radius, 0), (radius, 0.005), (0, 0.005)], (x, y, z - 0.001), trim)
    return [disk, knob(radius * 0.75, 0.025, at, trim), box((0.006, radius * 1.2, 0.03), (x, y - radius * 0.6, z + 0.012), BLACK)]


def microwave(rng: Rng) -> Thing:
    width = rng.uniform(0.42, 0.62)
    tall, deep = width * rng.uniform(0.52, 0.64), width * rng.uniform(0.62, 0.82)
    case = pick(rng, (STEEL, WHITE, BLACK, metal(rng, pick(rng, ("red", "blue", "green", "beige"))), metal(rng)))
    face, trim = pick(rng, (case, BLACK, WHITE, STEEL)), pick(rng, (STEEL, BLACK, WHITE))
    pane = pick(rng, (BLACK, glass(rng, "brown"), plastic(rng, "grey")))
    opened = rng.uniform(40, 120) if maybe(rng, 0.25) else 0.0
    layout = rng.integers(4)  # where one sets it: keys beside, knobs beside, a strip below, a strip above
    strip = tall * rng.uniform(0.15, 0.2) if layout >= 2 else 0.0
    panel = width * rng.uniform(0.2, 0.3) if layout < 2 else 0.0
    door, high, low = width - panel, tall - strip, strip if layout == 2 else 0.0
    front, lid, corner = deep / 2, rng.uniform(0.02, 0.04), pick(rng, (0.004, 0.015, 0.05))
    left, x = -width / 2, (width - panel) / 2
    solids: list[Solid] = []
    if opened:  # then it is hollow
        solids, middle, floor = _chamber(width, tall, deep, panel, strip, low, case), left + door / 2, low + 0.02
        plate = disc(min(door, deep) * 0.38, 0.012, (middle, floor + 0.012, 0), glass(rng, "white"))
        solids += named("plate", [plate, disc(0.05, 0.013, (middle, floor, 0.0), trim)])
    else:
        solids.append(
            sawn(rounded_rect(width, tall, corner), deep, case, min(corner, 0.012)).moved((0, 0, -deep / 2)).hidden("door", front, "z")
        )
    rim = rng.uniform(0.03, 0.06)
    leaf = named("door", [sawn(rounded_rect(door - 0.004, high - 0.004, corner * 0.9), lid, face, 0.004).moved((door / 2, 0.002, 0))])
    field = rounded_rect(door - 2 * rim, high - 2 * rim, pick(rng, (0.004, 0.03, 0.06)))
    leaf.append(sawn(field, 0.004, pane).moved((door / 2, rim, lid - 0.001)).named("window"))
    if maybe(rng, 0.4):
        inner = rounded_rect(door - 3 * rim, high - 3 * rim, 0.02)
        leaf.append(sawn(inner, 0.003, plastic(rng, "grey")).moved((door / 2, 1.5 * rim, lid + 0.002)).named("window"))
    parts = [Parts("door", 1, pane)] if opened else []
    grip = rng.integers(4)
    if grip == 0:
        bar = [dowel((0, high * 0.12, 0), (0, high * 0.88, 0), 0.009, trim)]
        bar += [dowel((0, y * high, -0.035), (0, y * high, 0.002), 0.007, trim) for y in (0.18, 0.82)]
        leaf += named("handle", [s.moved((door - rim * 0.5, 0, lid + 0.035)) for s in bar])
    elif grip == 1:
        bow = arch_of((0, 0, 0), (high * 0.76, 0, 0), 0.045, 0.009, trim).turned("z", 90).turned("y", -90)
        leaf.append(bow.moved((door - rim * 0.5, high * 0.12, lid - 0.003)).named("handle"))
    elif grip == 2:
        leaf.append(cushion((0.025, high * 0.7, 0.03), (door - rim * 0.5, high * 0.15, lid + 0.008), 0.01, trim).named("handle"))
    parts += [Parts("handle", 1, trim)] if grip < 3 else []
    solids += [s.turned("y", -opened).moved((left, low, front)) for s in leaf]
    bottom = (low + high) if layout == 3 else 0.0
    if layout < 2:
        one = sawn(rounded_rect(panel - 0.004, tall - 0.004, corner * 0.5), lid, face, 0.004).moved((x, 0.002, front))
        solids.append(one.named("panel"))
        at = front + lid
        if layout == 0:
            rows, at_keys = int(rng.integers(3, 6)), (x, tall * 0.48, at - 0.001)
            button = grid(panel * 0.7, tall * 0.46, 3, rows, at_keys, 0.004, pick(rng, (trim, WHITE, plastic(rng))), 0.75)
            solids.append(button.named("button"))
        else:
            knobs = int(rng.integers(1, 4))
            radius = min(panel * 0.28, tall * 0.32 / knobs)
            parts.append(Parts("knob", knobs, trim))
            for i in range(knobs):
                solids += named("knob", _dial(radius, (x, tall * 0.62 - i * radius * 2.5, at), trim))
        screen = box((panel * 0.72, tall * 0.1, 0.006), (x, tall * 0.8, at), plastic(rng, pick(rng, ("green", "black", "blue"))))
        solids.append(screen.named("screen"))
        if grip == 3:
            parts.append(Parts("button", 1, trim))
            solids.append(cushion((panel * 0.75, tall * 0.12, 0.012), (x, tall * 0.05, at), 0.004, trim).named("button"))
    else:
        one = sawn(rounded_rect(width - 0.004, strip - 0.004, 0.003), lid, face, 0.003).moved((0, bottom + 0.002, front))
        solids.append(one.named("panel"))
        middle, at, count = bottom + strip / 2, front + lid - 0.001, int(rng.integers(2, 5))
        parts.append(Parts("knob", count, trim))
        solids += named("knob", [knob(strip * 0.32, 0.022, (width * (0.42 - 0.12 * i), middle, at), trim) for i in range(count)])
        solids.append(box((width * 0.25, strip * 0.5, 0.006), (-width * 0.3, middle - strip * 0.25, at), BLACK).named("screen"))
    vents = grid(deep * 0.5, tall * 0.2, 10, 1, (0, 0, 0), 0.003, BLACK, 0.45)
    solids += [vents.turned("y", s * 90).moved((s * width / 2 - s * 0.001, tall * 0.7, -deep * 0.1)) for s in (-1, 1)]
    solids += [grid(width * 0.5, tall * 0.3, 1, 7, (0, 0, 0), 0.003, BLACK, 0.4).turned("y", 180).moved((0, tall * 0.6, -deep / 2 + 0.001))]
    foot = rng.uniform(0.01, 0.025)
    feet = named("foot", [disc(0.018, foot + 0.004, (px, 0, z), BLACK, sides=16) for px, z in four(width * 0.85, deep * 0.8)])
    solids = [*(s.moved((0, foot, 0)) for s in solids), *feet]
    style = ["open" if opened else "closed", *["wide"] * (tall < 0.56 * width), *["round"] * (corner > 0.03 and not opened)]
    return Thing.of(solids, case, style, parts)
