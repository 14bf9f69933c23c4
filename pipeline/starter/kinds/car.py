"""Makes a car: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.starter.kinds.kit import *

# Along the length from the back (0) to the front (1): where the cabin begins and ends at the belt line, and where its roof does.
CARS: Final[dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], float, float, float, tuple[float, ...]]]] = {
    # length, height, wheel radius, belt, bonnet and boot (parts of the height), (base from, to, roof from, to)
    "sedan": ((4.3, 5.0), (1.38, 1.48), (0.31, 0.34), 0.63, 0.52, 0.62, (0.11, 0.71, 0.27, 0.53)),
    "estate": ((4.4, 4.9), (1.42, 1.52), (0.31, 0.34), 0.63, 0.53, 0.62, (0.01, 0.71, 0.06, 0.54)),
    "hatchback": ((3.4, 4.2), (1.42, 1.56), (0.28, 0.32), 0.61, 0.53, 0.6, (0.01, 0.76, 0.09, 0.56)),
    "coupe": ((4.2, 4.7), (1.15, 1.28), (0.32, 0.35), 0.66, 0.48, 0.66, (0.06, 0.68, 0.29, 0.48)),
    "jeep": ((4.2, 4.9), (1.68, 1.9), (0.36, 0.41), 0.6, 0.54, 0.59, (0.01, 0.73, 0.05, 0.61)),
    "van": ((4.5, 5.6), (1.85, 2.3), (0.31, 0.36), 0.53, 0.42, 0.52, (0.004, 0.9, 0.02, 0.76)),
    "pickup": ((4.9, 5.4), (1.65, 1.85), (0.36, 0.41), 0.58, 0.52, 0.56, (0.37, 0.73, 0.4, 0.61)),
    "convertible": ((3.9, 4.6), (1.2, 1.35), (0.31, 0.34), 0.64, 0.5, 0.62, (0.28, 0.68, 0.3, 0.56)),
}


def _wheels(spots: Sequence[tuple[float, float, float]], wheel: Sequence[Solid]) -> list[Solid]:
    """A wheel at each spot, its outside away from X = 0."""
    return [(solid if x > 0 else solid.turned("y", 180)).moved((x, y, z)) for x, y, z in spots for solid in wheel]


@dataclass
class _Design:
    """Lengths, heights and materials of a car, and what is made so far."""

    length: float
    bonnet: float
    boot: float
    stations: Floats
    wide: Floats
    boxy: float
    solids: list[Solid]
    clear: float
    trim: Material
    z_at: Callable[[float], float]
    low: Floats
    belt: float
    front: float
    plan: Callable[[float, float, float], Floats]
    sill: float
    roof: float
    pane: Material
    paint: Material
    doors: int
    name: str
    base_half: float
    back: float
    roof_half: float
    roof_back: float
    roof_front: float
    height: float
    half: float


def _lights(rng: Rng, d: _Design) -> None:
    """Lights, bumpers, grille and number plate."""
    lamp, red = glass(rng, "white"), plastic(rng, "red")
    for end, light in ((1, lamp), (-1, red)):
        tip, y = d.length / 2 - 0.06, (d.bonnet if end > 0 else d.boot) * 0.84
        w = float(np.interp(end * (tip - 0.08), d.stations, d.wide)) * 0.94
        size = (0.22, 0.17, 0.16) if d.boxy < 0.6 else (0.36, 0.12, 0.16)
        lights = [soft(size, (side * (w - size[0] / 2), y - size[1], end * (tip - 0.02)), 0.06, light) for side in (-1, 1)]
        d.solids += named("light", lights)
        d.solids.append(soft((1.9 * w, 0.15, 0.2), (0, d.clear + 0.1, end * tip), 0.06, d.trim).named("bumper"))
    d.solids.append(soft((w * 0.9, 0.14, 0.1), (0, d.bonnet * 0.84 - 0.18, d.length / 2 - 0.04), 0.03, BLACK))
    d.solids.append(box((0.46, 0.11, 0.02), (0, d.clear + 0.13, -d.length / 2 - 0.035), WHITE))


def _sides(d: _Design, lines: list[float], skin: Callable[[Floats | float, float], Floats]) -> None:
    """Seams of the doors, handles and mirrors."""
    for side in (-1, 1):
        for f in lines:
            z = d.z_at(f)
            line_up = np.linspace(max(d.clear + 0.1, float(np.interp(z, d.stations, d.low)) + 0.02), d.belt - 0.05, 8)
            d.solids.append(tube(np.stack([side * skin(line_up, z), line_up, np.full(8, z)], axis=1), 0.008, BLACK, sides=6))
        for f in lines[:-1]:
            y, z = d.belt - 0.13, d.z_at(f) + 0.14
            d.solids.append(soft((0.04, 0.03, 0.18), (side * (float(skin(y, z)) + 0.005), y, z), 0.012, d.trim).named("handle"))
        z = d.z_at(d.front) - 0.42
        d.solids.append(soft((0.2, 0.13, 0.1), (side * (float(skin(d.belt, z)) + 0.08), d.belt, z), 0.045, d.trim).named("mirror"))


def _closed_cabin(rng: Rng, d: _Design, rails: int, sign: int) -> tuple[int, int]:
    """Glass from the belt to the roof, pillars and the roof with what it carries."""
    levels = np.linspace(0, 1, 5)
    d.solids.append(loft([d.plan(t, 0.0, d.sill + t * (d.roof - 0.07 - d.sill)) for t in levels], d.pane).named("window"))
    crown_line = [(1.0, 0.014, -0.1), (1.0, 0.016, -0.06), (1.0, 0.0, -0.025), (1.0, -0.07, -0.008), (1.0, -0.2, 0.0)]
    d.solids.append(loft([d.plan(t, grow, d.roof + y) for t, grow, y in crown_line], d.paint).named("roof"))
    low_line, high_line = d.plan(0, 0.004, d.sill), d.plan(1, 0.004, d.roof - 0.06)
    posts = [low_line.shape[0] // 4 * i + 1 for i in range(4)]
    d.solids += [rod(tuple(low_line[i]), tuple(high_line[i]), 0.05, 0.045, d.paint, sides=8) for i in posts]
    middles = [0.5] if d.doors == 2 else ([0.34, 0.62] if d.name != "pickup" else [0.45])
    panel = d.name == "van" and maybe(rng, 0.5)
    for side in (-1, 1):
        for f in middles:
            foot = (side * (d.base_half - 0.015), d.sill, d.z_at(d.back + (d.front - d.back) * f))
            head = (side * (d.roof_half - 0.015), d.roof - 0.06, d.z_at(d.roof_back + (d.roof_front - d.roof_back) * f))
            d.solids.append(rod(foot, head, 0.045, 0.04, d.paint, sides=8))
    if panel:  # no windows behind the driver
        line = [(d.z_at(d.back), 0.0), (d.z_at(0.56), 0.0), (d.z_at(0.54), 1.0), (d.z_at(d.roof_back), 1.0)]
        quad = [
            np.array(
                [[s * (d.base_half + (d.roof_half - d.base_half) * t + 0.015), d.sill + t * (d.roof - 0.06 - d.sill), z] for z, t in line]
            )
            for s in (1, -1)
        ]
        d.solids.append(loft(quad, d.paint))
    if maybe(rng, 0.25) and d.name in ("estate", "jeep", "van", "hatchback"):
        rails = 2
        for side in (-1, 1):
            x, z0, z1 = side * (d.roof_half - 0.14), d.z_at(d.roof_back + 0.06), d.z_at(d.roof_front - 0.05)
            path = [(x, d.roof - 0.1, z0), (x, d.roof + 0.04, z0 + 0.12), (x, d.roof + 0.04, z1 - 0.12), (x, d.roof - 0.1, z1)]
            d.solids.append(tube(np.array(path), 0.02, STEEL, sides=8).named("roof"))

    elif maybe(rng, 0.12) and d.name in ("sedan", "estate"):
        sign, color = 1, pick(rng, ("yellow", "blue", "red", "white"))
        d.solids.append(
            soft(
                (0.7 if color != "yellow" else 0.4, 0.15, 0.18), (0, d.roof - 0.02, d.z_at(d.roof_front) - 0.4), 0.05, plastic(rng, color)
            ).named("roof")
        )
    return rails, sign


def _open_cabin(rng: Rng, d: _Design) -> int:
    """A windscreen, seats and a wheel to steer with."""
    screen = [(-d.base_half, 0), (d.base_half, 0), (d.roof_half, 0.36 * d.height), (-d.roof_half, 0.36 * d.height)]
    lean = math.degrees(math.atan2((d.front - d.roof_front) * d.length * 0.9, d.roof - d.belt))
    for solid in (
        slab(screen, 0.02, d.pane),
        tube(np.array([(x, y, 0.0) for x, y in (screen[0], screen[3], screen[2], screen[1])]), 0.025, d.trim),
    ):
        d.solids.append(solid.turned("x", -lean).moved((0, d.belt - 0.05, d.z_at(d.front) - 0.05)).named("window"))
    hide, seats = leather(rng), pick(rng, (2, 4))
    for row in range(seats // 2):
        z = d.z_at(d.front) - 0.95 - 0.75 * row
        for x in (-0.37, 0.37):
            d.solids.append(soft((0.5, 0.16, 0.5), (x, 0.34 * d.height, z), 0.07, hide).named("seat"))
            seat = soft((0.5, 0.62, 0.15), (0, 0, 0), 0.1, hide).turned("x", -14).moved((x, 0.37 * d.height, z - 0.24))
            d.solids.append(seat.named("seat"))
    dash = d.z_at(d.front) - 0.42
    d.solids.append(cushion((2 * d.half - 0.3, 0.25, 0.3), (0, d.belt - 0.27, dash + 0.08), 0.1, BLACK))
    ring = np.array([(0.18 * math.cos(a), 0.18 * math.sin(a), 0) for a in np.linspace(0, 2 * math.pi, 21)])
    d.solids.append(tube(ring, 0.016, BLACK, sides=8).turned("x", -25).moved((0.37, d.belt, dash - 0.2)))
    return seats


def car(rng: Rng) -> Thing:
    form = rng.random()
    if form < 0.16:
        return (_old_car if form < 0.1 else _racing_car)(rng)
    name = pick(rng, tuple(CARS))
    lengths, heights, radii, belt, bonnet, boot, (back, front, roof_back, roof_front) = CARS[name]
    length, height, radius = rng.uniform(*lengths), rng.uniform(*heights), rng.uniform(*radii)
    half, belt, bonnet, boot = length * rng.uniform(0.19, 0.215), belt * height, bonnet * height, boot * height
    half = float(np.clip(half, 0.8, 0.98))
    clear, arch = radius * rng.uniform(0.55, 0.75), radius * rng.uniform(1.12, 1.22)
    paint, tyre, pane = metal(rng, pick(rng, PAINTS)), BLACK, glass(rng, pick(rng, ("black", "black", "blue", "grey")))
    boxy, trim = rng.uniform(0.3, 1.0), pick(rng, (STEEL, BLACK, paint))
    axles = (-length * rng.uniform(0.29, 0.32), length * rng.uniform(0.3, 0.33))

    def z_at(part: float) -> float:
        return (part - 0.5) * length

    hole = {"pickup": (0.015, back - 0.01), "convertible": (back, front - 0.06)}.get(name)
    marks = [mark for axle in axles for mark in (axle - arch, axle - arch + 0.004, axle + arch - 0.004, axle + arch)]
    marks += [z_at(f) + d for f in hole or () for d in (-0.004, 0.004)]
    stations = np.unique(np.concatenate([np.linspace(-length / 2, length / 2, 56), marks]))
    slope = rng.uniform(0.0, 0.06) * height
    top = np.interp(stations, [z_at(f) for f in (0, back, front, 0.97, 1)], [boot - slope, belt, belt - 0.01, bonnet, bonnet - 0.05])
    for _ in range(2):
        top[1:-1] = (top[:-2] + 2 * top[1:-1] + top[2:]) / 4
    ends = rng.uniform(0.14, 0.3)
    drop = ends * (1 - np.sqrt(1 - np.clip((abs(stations) - length / 2 + ends) / ends, 0, 1) ** 2))
    wide, top = half * (1 - 0.1 * abs(2 * stations / length) ** 3) - drop * 0.6, top - drop * 0.6 * boxy
    low = clear + drop * 0.4
    for axle in axles:
        rise = np.sqrt(np.maximum(arch**2 - (stations - axle) ** 2, 0))
        low = np.where(abs(stations - axle) < arch, np.maximum(low, radius + rise), low)
    low = np.minimum(low, top - 0.08)

    def bulge(y: Floats) -> Floats:
        """How much narrower the body is above and below its widest line."""
        return np.asarray(1 - 0.07 * ((y - 0.4 * height) / (0.3 * height)) ** 2)

    def rings(side: int, first: float, last: float, tops: Floats) -> list[Floats]:
        """Cross-sections of the whole body, or of the wall on one side of it."""
        out = []
        for z, w, bottom, high in zip(stations, wide, low, tops, strict=True):
            if first - 1e-6 <= z <= last + 1e-6:
                line = np.array(rounded(0.09 if side else 2 * w, bottom, high, 0.04 if side else 0.22 - 0.14 * boxy))
                x = (line[:, 0] + side * (w - 0.045)) * bulge(line[:, 1])
                out.append(np.stack([x, line[:, 1], np.full(len(x), z)], axis=1))
        return out

    floor = top
    if hole:
        deep = 0.5 * height if name == "pickup" else 0.35 * height
        inside = (stations > z_at(hole[0])) & (stations < z_at(hole[1]))
        floor = np.where(inside, np.maximum(deep, low + 0.02), top)
    solids = [loft(rings(0, -9, 9, floor), paint)]
    solids += [loft(rings(side, z_at(hole[0]), z_at(hole[1]), top), paint) for side in (-1, 1)] if hole else []
    inner = half - 0.27
    solids.append(box((2 * inner, 0.26 if hole else belt - clear - 0.15, length * 0.86), (0, clear * 1.02, 0), BLACK))
    spots = [(side * (half * 0.97 - 0.11), radius, axle) for side in (-1, 1) for axle in axles]
    solids += _wheels(spots, wheel_of(radius, 0.22, pick(rng, (0, 5, 6, 10)), tyre, STEEL))

    # The cabin: glass from the belt to the roof, pillars, roof.
    rails, seats, sign, doors = 0, 0, 0, 2 if name in ("coupe", "convertible") else pick(rng, (2, 4, 4))
    base_half, roof_half, roof = half * 0.9, half * rng.uniform(0.7, 0.78), height
    bend, arc = rng.uniform(0.1, 0.25), rng.uniform(0.0, 0.08) * height * (0.4 if name == "van" else 1.0)

    def plan(t: float, grow: float, y: float) -> Floats:
        z0, z1 = z_at(back + (roof_back - back) * t) - grow, z_at(front + (roof_front - front) * t) + grow
        line = np.array(rounded(2 * (base_half + (roof_half - base_half) * t + grow), z0, z1, bend + grow))
        crown = 0.05 * length * (1 - (line[:, 0] / base_half) ** 2) * (line[:, 1] > 0)  # the windscreen bulges
        fall = arc * t * ((line[:, 1] - (z0 + z1) / 2) / (z1 - z0) * 2) ** 2
        return np.stack([line[:, 0], y - fall, line[:, 1] + 0.3 * crown], axis=1)

    sill = belt - 0.04
    d = _Design(
        *(length, bonnet, boot, stations, wide, boxy, solids, clear, trim, z_at, low, belt, front, plan, sill),
        *(roof, pane, paint, doors, name, base_half, back, roof_half, roof_back, roof_front, height, half),
    )
    if name == "convertible":
        seats = _open_cabin(rng, d)
    else:
        rails, sign = _closed_cabin(rng, d, rails, sign)

    # Seams of the doors, handles, mirrors, lights and bumpers.
    def skin(y: Floats | float, z: float) -> Floats:
        return np.asarray(float(np.interp(z, stations, wide)) * bulge(np.asarray(y)))

    lines = [0.3, 0.5, 0.66] if doors == 4 else [0.36, 0.66]
    if name == "van":
        lines = [0.3, 0.52, 0.72] if doors == 4 else [0.5, 0.72]
    if name == "pickup":
        lines = [0.39, 0.54, 0.69] if doors == 4 else [0.41, 0.66]
    _sides(d, lines, skin)
    _lights(rng, d)
    spoiler = int(name in ("coupe", "hatchback", "sedan") and maybe(rng, 0.4 if name == "coupe" else 0.15))
    if spoiler:
        rear = -length / 2 + 0.2
        y = boot + 0.16 if name != "hatchback" else roof
        z = rear if name != "hatchback" else z_at(roof_back) - 0.1
        solids.append(soft((1.7 * half, 0.04, 0.28), (0, y, z), 0.018, paint).named("wing"))
        wings = [box((0.05, 0.32, 0.14), (side * half * 0.6, y - 0.3, z), paint) for side in (-1, 1)] if name != "hatchback" else []
        solids += named("wing", wings)
    spare = int(name == "jeep" and maybe(rng, 0.4))
    if spare:
        for solid in wheel_of(radius * 0.9, 0.2, 5, tyre, STEEL):
            solids.append(solid.turned("y", 90).moved((0, belt - 0.02, -length / 2 - 0.08)))
    style = {"coupe": ("low",), "convertible": ("open", "low"), "van": ("tall",), "jeep": ("tall",)}.get(name, ())
    said = parts_of(
        ("door", doors), ("seat", seats), ("spoiler", spoiler), ("roof rail", rails), ("roof light", sign), ("spare wheel", spare)
    )
    return Thing.of(grounded(solids), paint, style, said[:4])


def _racing_car(rng: Rng) -> Thing:
    """One seat, free wheels, a wing before and behind."""
    length, paint, second = rng.uniform(3.9, 4.8), metal(rng, pick(rng, PAINTS)), metal(rng, pick(rng, PAINTS))
    radius, track, fat = rng.uniform(0.3, 0.36), rng.uniform(0.68, 0.8), rng.uniform(0.9, 1.3)
    stations = [(-0.44, 0.2, 0.25, 0.4), (-0.3, 0.45, 0.55, 0.45), (-0.12, 0.62, 0.68, 0.44), (0.05, 0.66, 0.46, 0.38)]
    stations += [(0.22, 0.5, 0.4, 0.36), (0.4, 0.3, 0.22, 0.3), (0.5, 0.12, 0.08, 0.24)]
    solids = [fuselage([(z * length, w * fat, h, y) for z, w, h, y in stations], paint, 3)]
    pods = pick(rng, (0, 2, 2))
    for s in (-1, 1)[:pods]:
        pod = [(-0.3, 0.1, 0.15, 0.3), (-0.15, 0.36, 0.36, 0.34), (0.0, 0.42, 0.42, 0.36), (0.04, 0.36, 0.36, 0.36)]
        shape = [(z * length, w, h, y) for z, w, h, y in pod]
        solids.append(fuselage(shape, pick(rng, (paint, second)), 4, 14).moved((s * 0.42 * fat, 0, 0)))
        solids.append(cushion((0.28, 0.28, 0.04), (s * 0.42 * fat, 0.22, 0.041 * length), 0.015, BLACK))
    hole = [(0, 0), (0.24, 0), (0.27, 0.03), (0.2, 0.05), (0.18, -0.02), (0, -0.02)]
    solids.append(turned(hole, (0, 0.56, 0.05 * length), BLACK, squash=1.6, sides=24))
    solids.append(cushion((0.3, 0.3, 0.25), (0, 0.6, -0.06 * length), 0.1, second))
    wings = pick(rng, (0, 2, 2, 2))
    if wings:
        for z, y, w, deep in ((0.47 * length, 0.12, 1.5, 0.36), (-0.45 * length, 0.9, 1.1, 0.34)):
            solids.append(cushion((w, 0.04, deep), (0, y, z), 0.018, second).named("wing"))
            solids += named("wing", [box((0.025, 0.24, deep * 1.1), (s * w / 2, y - 0.08, z), second) for s in (-1, 1)])
        solids += named("wing", [box((0.04, 0.5, 0.2), (s * 0.12, 0.42, -0.43 * length), BLACK) for s in (-1, 1)])
    spots = [(s * track, radius, z * length) for s in (-1, 1) for z in (-0.34, 0.31)]
    solids += _wheels(spots, wheel_of(radius, 0.34, pick(rng, (0, 5, 6)), BLACK, STEEL))
    for x, y, z in spots:
        struts = [dowel((x, y + k, z), (x * 0.15, y + k * 1.5, z + q), 0.018, BLACK, sides=8) for k in (-0.08, 0.08) for q in (-0.15, 0.15)]
        solids += named("strut", struts)
    return Thing.of(grounded(solids), paint, ("open", "low", "slim"), parts_of(("wing", wings)))


def _old_car(rng: Rng) -> Thing:
    """With a long bonnet, fenders that stand free, an upright cabin and thin wheels."""
    length, radius = rng.uniform(3.6, 4.4), rng.uniform(0.36, 0.43)
    paint, dark = metal(rng, pick(rng, PAINTS)), pick(rng, (BLACK, metal(rng, pick(rng, PAINTS))))
    pane, shiny = glass(rng, "black"), pick(rng, (STEEL, BRASS))
    axles, open_top = (-length * 0.32, length * 0.34), maybe(rng, 0.35)
    nose, cowl, back = length * 0.4, length * 0.1, -length * 0.38
    low, belt, roof = radius, radius + 0.72, radius + 1.25
    bonnet = [oval(w, h, low + h / 2, z, 3.5) for z, w, h in ((cowl, 1.16, 0.7), (cowl + 0.1, 1.1, 0.68), (nose, 0.72, 0.6))]
    solids = [loft(bonnet, paint), cushion((0.68, 0.62, 0.12), (0, low, nose + 0.03), 0.05, shiny)]
    solids += [cushion((0.5, 0.48, 0.06), (0, low + 0.05, nose + 0.08), 0.02, BLACK)]
    tub = belt if not open_top else belt - 0.25
    plan = [(back - 0.02, 0.5), (back, 0.8), (back + 0.3, 1.15), (cowl - 0.2, 1.24), (cowl, 1.16)]
    solids.append(loft([oval(w, tub - low, (low + tub) / 2, z, 5) for z, w in plan], paint))
    doors, seats = pick(rng, (2, 4)), 0
    if open_top:
        hide, seats = leather(rng), pick(rng, (1, 2))
        for z in (cowl - 0.75, back + 0.35)[:seats]:
            some = [cushion((1.0, 0.2, 0.5), (0, tub - 0.06, z), 0.08, hide), cushion((1.04, 0.5, 0.16), (0, tub, z - 0.28), 0.07, hide)]
            solids += named("seat", some)
        solids.append(box((1.1, 0.45, 0.02), (0, tub, cowl - 0.05), pane).named("window"))
        solids += named("window", [box((0.03, 0.47, 0.03), (x, tub, cowl - 0.05), shiny) for x in (-0.55, 0.55)])
        solids += named("window", [box((1.12, 0.03, 0.03), (0, tub + 0.45, cowl - 0.05), shiny)])
        ring = np.array([(0.2 * math.cos(a), 0.2 * math.sin(a), 0) for a in np.linspace(0, 2 * math.pi, 21)])
        solids.append(tube(ring, 0.016, BLACK, sides=8).turned("x", -35).moved((0.28, tub + 0.18, cowl - 0.3)))
    else:
        levels = ((belt - 0.05, 1.18, cowl - back - 0.3), (roof, 1.08, cowl - back - 0.42))
        window = loft([oval(w, 1.0, 0, 0, 6)[:, [0, 2, 1]] * (1, 1, d) + (0, y, (cowl + back) / 2 + 0.1) for y, w, d in levels], pane)
        solids.append(window.named("window"))
        top = [(roof - 0.08, 1.12, 0.36), (roof, 1.14, 0.34), (roof + 0.07, 1.05, 0.5), (roof + 0.1, 0.7, 0.9)]
        rings = [oval(w, 1.0, 0, 0, 5)[:, [0, 2, 1]] * (1, 1, cowl - back - d) + (0, y, (cowl + back) / 2 + 0.1) for y, w, d in top]
        solids.append(loft(rings, paint).named("roof"))
        for x in (-0.56, 0.56):
            for z in np.linspace(back + 0.27, cowl - 0.09, 3 if doors == 4 else 2):
                solids.append(box((0.07, roof - belt + 0.1, 0.09), (x * 0.98, belt - 0.05, float(z)), paint))
    around = np.linspace(-0.1, math.pi + 0.1, 16)
    for side in (-1, 1):
        for z in axles:
            rows = [
                [
                    (side * (0.58 + x), radius + r * math.sin(a), z + r * 1.1 * math.cos(a))
                    for x, r in ((0, radius + 0.1), (0.12, radius + 0.12), (0.24, radius + 0.06))
                ]
                for a in around
            ]
            inner = np.array(rows) - np.array([[(0, 0.03 * math.sin(a), 0.03 * math.cos(a))] * 3 for a in around])
            solids.append(drape(np.array(rows), inner, dark).named("fender"))
        at = (side * 0.72, radius * 0.7, (axles[0] + axles[1]) / 2)
        solids.append(box((0.26, 0.05, axles[1] - axles[0] - 2 * radius - 0.1), at, dark).named("fender"))
        lamp = lathe([(0, 0), (0.05, 0.02), (0.12, 0.14), (0.12, 0.18), (0, 0.2)], shiny, sides=16).turned("x", 90)
        solids.append(lamp.moved((side * 0.46, belt - 0.22, nose - 0.05)).named("light"))
        light = dowel((side * 0.46, belt - 0.24, nose + 0.02), (side * 0.4, low + 0.1, nose - 0.05), 0.02, shiny, sides=8)
        solids.append(light.named("light"))
    solids += [box((1.0, 0.2, length * 0.74), (0, radius * 0.75, 0), BLACK)]
    solids += [dowel((-0.7, radius, z), (0.7, radius, z), 0.04, BLACK, sides=8) for z in axles]
    wheel = wheel_of(radius, 0.14, pick(rng, (8, 10, 12)), BLACK, pick(rng, (shiny, paint, wood(rng, "brown"))))
    solids += _wheels([(side * 0.72, radius, z) for side in (-1, 1) for z in axles], wheel)
    solids.append(cushion((1.5, 0.09, 0.06), (0, radius, length * 0.34 + radius + 0.16), 0.02, shiny).named("bumper"))
    solids += named("bumper", [box((0.05, 0.06, 0.5), (x, radius + 0.01, length * 0.34 + radius - 0.08), BLACK) for x in (-0.3, 0.3)])
    spare = int(maybe(rng, 0.5))
    solids += [solid.turned("y", 90).moved((0, low + 0.3, back - 0.06)) for solid in wheel] if spare else []
    said = parts_of(("seat", seats), ("spare wheel", spare))
    return Thing.of(grounded(solids), paint, ("open",) if open_top else ("tall",), said)
