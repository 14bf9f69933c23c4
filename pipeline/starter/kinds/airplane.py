"""Makes an airplane: its designs, proportions and parts, and the words for them. See `thing`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def _propeller(blades: int, radius: float, at: Point, blade: Material, hub: Material) -> list[Solid]:
    """Turning about Z, in front of what is behind `at`."""
    one = wing_of((0, 0, 0), (0, radius, 0), radius * 0.14, radius * 0.12, 0.25, blade).turned("y", 65)
    solids = named(
        "propeller", [one.turned("z", i * 360 / blades + 20).moved((at[0], at[1], at[2] + radius * 0.05)) for i in range(blades)]
    )
    cone = lathe([(0, -0.1), (1, -0.1), (0.95, 0.4), (0.6, 1.1), (0, 1.4)], hub, sides=16)
    cone = replace(cone, vertices=cone.vertices * radius * 0.14)
    return [*solids, cone.turned("x", 90).moved(at).named("propeller")]


def _gear(spots: Sequence[Point], radius: float, top: float) -> list[Solid]:
    """Landing gear: a strut and a wheel at each spot, which is where the wheel's middle is."""
    wheel = wheel_of(radius, radius * 0.7, 0, BLACK, STEEL)
    struts = named("strut", [rod((x, y, z), (x * 0.9, top, z), radius * 0.22, radius * 0.3, STEEL, sides=8) for x, y, z in spots])
    return [*struts, *(solid.moved(spot) for spot in spots for solid in wheel)]


def _nacelle(radius: float, length: float, at: Point, shell: Material) -> list[Solid]:
    """A jet engine whose intake is towards +Z."""
    r, n = radius, length
    line = [(0, -0.35 * n), (0.3 * r, -0.3 * n), (0.55 * r, -0.05 * n), (0.75 * r, 0), (0.97 * r, 0.3 * n), (r, 0.6 * n)]
    line += [(0.93 * r, 0.92 * n)]
    solids = named("engine", [lathe([*line, (0.85 * r, n), (0.78 * r, 0.93 * n), (0.75 * r, 0.8 * n), (0, 0.8 * n)], shell, sides=20)])
    solids.append(lathe([(0, 0.8 * n), (0.3 * r, 0.81 * n), (0, 0.97 * n)], STEEL, sides=12).named("engine"))
    solids.append(lathe([(0, 0.81 * n), (0.76 * r, 0.81 * n), (0, 0.82 * n)], BLACK, sides=20).named("engine"))
    return [solid.turned("x", 90).moved((at[0], at[1], at[2] - n * 0.5)) for solid in solids]


def airplane(rng: Rng) -> Thing:
    return designed(rng, (_airliner, _airliner, _light_plane, _light_plane, _biplane, _fighter, _fighter, _glider))


def _airliner(rng: Rng) -> Thing:
    skin, tail = metal(rng, pick(rng, ("white", "white", "grey", "blue", "red", "yellow"))), metal(rng, pick(rng, PAINTS))
    pod, length, dark = pick(rng, (skin, tail, STEEL)), rng.uniform(18, 36), glass(rng, "black")
    r = length * rng.uniform(0.05, 0.07)
    stations = [(-0.5, 0.15, 0.35, 0.6), (-0.4, 0.75, 1.0, 0.45), (-0.27, 1.5, 1.6, 0.18), (-0.12, 2, 2, 0), (0.1, 2, 2, 0), (0.3, 2, 2, 0)]
    stations += [(0.39, 1.9, 1.95, -0.02), (0.455, 1.3, 1.35, -0.2), (0.49, 0.6, 0.6, -0.35), (0.5, 0.05, 0.05, -0.38)]
    solids = named("body", [fuselage([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin, count=36)])
    engines, rear = pick(rng, (2, 2, 4)), maybe(rng, 0.3)
    props = not rear and maybe(rng, 0.25)
    span, sweep = length * rng.uniform(0.4, 0.55), length * (0.02 if props else rng.uniform(0.14, 0.24))
    chord, high = length * rng.uniform(0.15, 0.21), props and maybe(rng, 0.6)
    y0, z0, rise = (0.85 * r if high else -0.55 * r), length * (0.06 if rear else 0.12), span * (0.02 if high else rng.uniform(0.05, 0.12))
    winglets = not props and maybe(rng, 0.45)
    for s in (-1, 1):
        tip = (s * span, y0 + rise, z0 - sweep)
        solids.append(wing_of((s * 0.3 * r, y0, z0), tip, chord, chord * 0.32, 0.12, pick(rng, (skin, skin, STEEL))).named("wing"))
        if winglets:
            end = (tip[0] + s * 0.4 * r, tip[1] + 1.1 * r, tip[2] - chord * 0.2)
            solids.append(wing_of((tip[0], tip[1] - 0.02, tip[2]), end, chord * 0.31, chord * 0.14, 0.1, tail).named("wing"))
        for k in range(engines // 2):
            f = (0.32, 0.6)[k] if engines == 4 else 0.33
            x, y, z = s * (span * f), y0 + rise * f, z0 - sweep * f
            if rear:
                x, y, z = s * (1.55 + 0.95 * k) * r, 0.35 * r, -length * 0.3
                solids += _nacelle(0.45 * r, 2.2 * r, (x, y, z), pod)
                solids.append(box((1.1 * r, 0.14 * r, 1.1 * r), (x - s * 0.45 * r, y - 0.07 * r, z), skin).named("engine"))
            elif props:
                stretch = [(-chord * 0.8, 0.1, 0.1, 0), (-chord * 0.4, 0.5, 0.5, 0), (0, 0.75, 0.8, 0), (chord * 0.3, 0.7, 0.75, 0)]
                stretch += [(chord * 0.42, 0.4, 0.4, 0)]
                solids += named("engine", [fuselage([(z + dz, w * r, h * r, y) for dz, w, h, _ in stretch], pod, count=12)])
                solids += _propeller(pick(rng, (3, 4)), 1.15 * r, (x, y, z + chord * 0.42), BLACK, STEEL)
            else:
                big = r * rng.uniform(0.42, 0.55)
                solids += _nacelle(big, big * 3.2, (x, y - big * 1.15, z + big * 0.6), pod)
                engine = wing_of((x, y - 0.5 * big, z + big), (x, y + 0.02 * r, z + 0.3 * big), big * 2.6, big * 2.6, 0.1, skin)
                solids.append(engine.named("engine"))
    t_tail, fin, zf = rear or (props and maybe(rng, 0.5)), r * rng.uniform(2.0, 2.8), -length * 0.36
    solids.append(wing_of((0, 0.5 * r, zf), (0, 0.8 * r + fin, zf - fin * 0.8), chord * 0.85, chord * 0.42, 0.1, tail).named("tail"))
    y, z, flat = (0.75 * r + fin, zf - fin * 0.75, 0.0) if t_tail else (0.55 * r, -length * 0.4, 0.25 * r)
    tails = [wing_of((0, y, z), (s * span * 0.38, y + flat, z - sweep * 0.5), chord * 0.5, chord * 0.22, 0.1, skin) for s in (-1, 1)]
    solids += named("tail", tails)
    step, size = r * 0.45, r * 0.2
    for z in np.arange(-0.22 * length, 0.36 * length, step):
        solids += named("window", [box((0.06 * r, size, size * 0.75), (s * 0.975 * r, 0.12 * r, float(z)), dark) for s in (-1, 1)])
    for s in (-1, 1):
        extent, at = (0.5 * r, 0.34 * r, 0.7 * r), (0, 0, 0)
        window = cushion(extent, at, 0.1 * r, dark).turned("y", s * 32).turned("x", 26).moved((s * 0.44 * r, 0.14 * r, 0.43 * length))
        solids.append(window.named("window"))
        solids.append(box((0.06 * r, 0.85 * r, 0.42 * r), (s * 0.97 * r, -0.3 * r, 0.375 * length), pick(rng, (tail, STEEL))).named("door"))
    down = maybe(rng, 0.6)
    if down:
        ground = -2.1 * r if not high else -1.6 * r
        spots = [(s * (1.1 * r if not high else 0.8 * r), ground, z0 - chord * 0.75) for s in (-1, 1)] + [(0.0, ground, 0.38 * length)]
        solids += _gear([*spots], 0.32 * r, -0.5 * r)
    said = parts_of(("propeller" if props else "engine", engines), ("winglet", 2 * winglets), ("wheel", 3 * down))
    return Thing.of(grounded(solids), skin, ("wide",) if span > 0.52 * length else (), said)


def _light_plane(rng: Rng) -> Thing:
    """One propeller: a high wing with struts, a low wing, or an old fighter; on wheels or on floats."""
    skin, second = metal(rng, pick(rng, PAINTS)), metal(rng, pick(rng, PAINTS))
    length, high, dark = rng.uniform(6.5, 8.5), maybe(rng, 0.5), glass(rng, pick(rng, ("black", "blue", "white")))
    r = length * rng.uniform(0.068, 0.085)
    stations = [(-0.5, 0.12, 0.3, 0.25), (-0.3, 0.7, 0.9, 0.15), (-0.05, 1.55, 1.6, 0.05), (0.15, 1.9, 1.8, 0), (0.3, 1.7, 1.5, -0.05)]
    stations += [(0.42, 1.3, 1.25, -0.08)]
    solids = [fuselage([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin, 2.6)]
    solids += _propeller(pick(rng, (2, 3, 4)), r * rng.uniform(1.5, 1.9), (0, -0.08 * r, 0.42 * length), BLACK, second)
    span, chord, z0 = length * rng.uniform(0.5, 0.7), length * rng.uniform(0.17, 0.23), length * 0.2
    taper, sweep = pick(rng, (1.0, rng.uniform(0.4, 0.8))), rng.uniform(0, 0.05) * length
    struts, y0 = 0, 1.35 * r if high else -0.55 * r
    if high:
        stretch = [(-0.14, 0.4, 0.3, 0.65), (-0.02, 1.3, 1.1, 0.75), (0.1, 1.65, 1.5, 0.75), (0.2, 1.6, 1.4, 0.7), (0.26, 1.2, 0.7, 0.5)]
        stretch += [(0.3, 0.8, 0.2, 0.4)]
        struts = 2 if maybe(rng, 0.75) else 0
    else:
        stretch = [(-0.15, 0.2, 0.2, 0.6), (-0.08, 0.9, 0.8, 0.75), (0.04, 1.2, 1.4, 0.75), (0.13, 1.1, 1.2, 0.7), (0.2, 0.7, 0.3, 0.6)]
    solids.append(fuselage([(z * length, w * r, h * r, y * r) for z, w, h, y in stretch], dark, 2.8, count=18).named("window"))
    if high:
        for s in (-1, 1):
            solids.append(dowel((s * 0.72 * r, 0.6 * r, 0.11 * length), (s * 0.7 * r, 1.4 * r, 0.07 * length), 0.1 * r, skin, sides=8))
    else:
        path = bent_by([(-0.62 * r, 0.7 * r, 0.06 * length), (0, 1.48 * r, 0.06 * length), (0.62 * r, 0.7 * r, 0.06 * length)], 12)
        solids.append(tube(path, 0.05 * r, skin, sides=6))
    for s in (-1, 1):
        rise = 0.01 if high else 0.08
        tip = (s * span, y0 + rise * span, z0 - sweep)
        solids.append(wing_of((s * -0.02, y0, z0), tip, chord, chord * taper, 0.13, pick(rng, (skin, skin, second))).named("wing"))
        if struts:
            end = (s * span * 0.5, y0 + 0.005 * span, z0 - chord * 0.4)
            solids.append(dowel((s * 0.75 * r, -0.6 * r, z0 - chord * 0.4), end, 0.07 * r, skin, sides=8).named("strut"))
    fin = r * rng.uniform(1.5, 2.0)
    tip = (0, 0.3 * r + fin, -0.36 * length - fin * 0.45)
    solids.append(wing_of((0, 0.2 * r, -0.36 * length), tip, chord * 0.8, chord * 0.42, 0.1, second).named("tail"))
    for s in (-1, 1):
        tip = (s * span * 0.36, 0.3 * r, -0.41 * length)
        solids.append(wing_of((0, 0.3 * r, -0.39 * length), tip, chord * 0.6, chord * 0.4, 0.1, skin).named("tail"))
    floats, wheels = (2 if maybe(rng, 0.25) else 0), 0
    if floats:
        for s in (-1, 1):
            line = [(-0.3, 0.1, 0.1, -1.9), (-0.1, 0.65, 0.6, -2.1), (0.2, 0.75, 0.75, -2.1), (0.4, 0.6, 0.6, -2.05)]
            line += [(0.48, 0.1, 0.1, -1.9)]
            one = fuselage([(z * length, w * r, h * r, y * r) for z, w, h, y in line], second, 3).moved((s * 1.3 * r, 0, 0))
            solids.append(one.named("float"))
            for z in (0.05, 0.28):
                strut = dowel((s * 1.3 * r, -2 * r, z * length), (s * 0.5 * r, -0.5 * r, z * length), 0.07 * r, STEEL, sides=8)
                solids.append(strut.named("strut"))
        some = [dowel((-1.3 * r, -2 * r, z * length), (1.3 * r, -2 * r, z * length), 0.06 * r, STEEL, sides=8) for z in (0.05, 0.28)]
        solids += named("strut", some)
    else:
        wheels, size = 3, 0.36 * r
        spots = [(-1.3 * r, -1.9 * r, 0.1 * length), (1.3 * r, -1.9 * r, 0.1 * length)]
        nose = maybe(rng, 0.6)
        spots += [(0.0, -1.9 * r, 0.37 * length)] if nose else [(0.0, -0.35 * r, -0.45 * length)]
        for x, y, z in spots:
            small = size * (1.0 if nose or x else 0.5)
            solids += [solid.moved((x, y, z)) for solid in wheel_of(small, small * 0.7, 0, BLACK, STEEL)]
            strut = rod((x, y, z), (x * 0.4, y + 1.5 * r if nose or x else 0.2 * r, z), 0.09 * r, 0.11 * r, skin, sides=8)
            solids.append(strut.named("strut"))
            if x and maybe(rng, 0.4):
                shape = ((-0.9, 0.05, 0.05), (-0.4, 0.4, 0.5), (0.2, 0.5, 0.7), (0.6, 0.1, 0.1))
                stations = [(z + d * r, w * r, h * r, y + 0.1 * r) for d, w, h in shape]
                solids.append(fuselage(stations, second, count=10).moved((x, 0, 0)).named("wheel"))
    said = parts_of(("propeller", 1), ("float", floats), ("strut", struts), ("wheel", wheels))
    return Thing.of(grounded(solids), skin, parts=said)


def _biplane(rng: Rng) -> Thing:
    skin, wings = pick(rng, (metal, fabric))(rng, pick(rng, PAINTS)), fabric(rng, pick(rng, PAINTS))
    length, planes, timber = rng.uniform(5.5, 7.0), pick(rng, (2, 2, 2, 3)), wood(rng)
    r = length * rng.uniform(0.07, 0.085)
    stations = [(-0.5, 0.1, 0.5, 0.2), (-0.25, 0.9, 1.1, 0.1), (0.0, 1.6, 1.7, 0), (0.2, 1.8, 1.8, 0), (0.33, 1.8, 1.8, 0)]
    solids = [fuselage([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin, 3)]
    front = 0.33 * length
    line = [(0, 0), (0.95 * r, 0), (r, 0.5 * r), (0.85 * r, 0.75 * r), (0.55 * r, 0.78 * r), (0, 0.6 * r)]
    solids.append(facing(line, (0, 0, front - 0.02), pick(rng, (STEEL, BLACK, skin))).named("engine"))
    solids += _propeller(pick(rng, (2, 2, 4)), 1.75 * r, (0, 0, front + 0.7 * r), timber, STEEL)
    span, chord, z0, gap = length * rng.uniform(0.5, 0.62), length * rng.uniform(0.17, 0.22), 0.24 * length, 2.3 * r / (planes - 1) * 1.15
    levels = [-0.8 * r + i * gap for i in range(planes)]
    stagger = rng.uniform(0, 0.05) * length
    for i, y in enumerate(levels):
        z = z0 + (i - planes + 1) * stagger
        for s in (-1, 1):
            tip = (s * span * (1 - 0.06 * (planes - 1 - i)), y + 0.02 * span, z)
            solids.append(wing_of((s * -0.03, y, z), tip, chord, chord * 0.9, 0.09, wings).named("wing"))
    for s in (-1, 1):
        for f in pick(rng, ((0.75,), (0.45, 0.85))):
            for z in (z0 - chord * 0.25 - stagger, z0 - chord * 0.75):
                foot = (s * span * f, levels[0] + 0.02 * span * f, z - stagger * (planes - 2))
                strut = dowel(foot, (s * span * f, levels[-1] + 0.02 * span * f, z + stagger * 0.4), 0.06 * r, timber, sides=8)
                solids.append(strut.named("strut"))
        for k in (0.25, 0.7):
            end = (s * 0.8 * r, levels[-1], z0 - chord * k)
            solids.append(dowel((s * 0.5 * r, 0.6 * r, z0 - chord * k), end, 0.05 * r, timber, sides=8).named("strut"))
    seats = pick(rng, (1, 2))
    for z in (-0.07 * length, -0.2 * length)[:seats]:
        line = [(0.62 * r, 0), (0.66 * r, 0.1 * r), (0.52 * r, 0.1 * r), (0.5 * r, 0)]
        solids.append(turned(line, (0, 0.72 * r, z), leather(rng, "brown"), squash=1.3, sides=20).named("seat"))
        solids.append(turned([(0, 0), (0.55 * r, 0), (0, 0.06 * r)], (0, 0.73 * r, z), BLACK, squash=1.3, sides=20).named("seat"))
        window = box((0.8 * r, 0.4 * r, 0.04 * r), (0, 0, 0), glass(rng, "white")).turned("x", -30).moved((0, 0.72 * r, z + 0.75 * r))
        solids.append(window.named("window"))
    solids.append(wing_of((0, 0.1 * r, -0.39 * length), (0, 1.7 * r, -0.45 * length), chord * 0.75, chord * 0.5, 0.08, wings).named("tail"))
    for s in (-1, 1):
        tip = (s * span * 0.34, 0.25 * r, -0.4 * length)
        solids.append(wing_of((0, 0.25 * r, -0.38 * length), tip, chord * 0.7, chord * 0.5, 0.08, wings).named("tail"))
    for s in (-1, 1):
        x, y, z = s * 1.1 * r, -2.0 * r, 0.2 * length
        solids += [solid.moved((x, y, z)) for solid in wheel_of(0.55 * r, 0.25 * r, 8, BLACK, STEEL)]
        solids += named("strut", [dowel((x, y, z), (s * 0.6 * r, -0.6 * r, z + d * r), 0.07 * r, timber, sides=8) for d in (-0.7, 0.6)])
    solids.append(dowel((-1.1 * r, -2 * r, 0.2 * length), (1.1 * r, -2 * r, 0.2 * length), 0.06 * r, STEEL, sides=8).named("strut"))
    solids.append(rod((0, -0.1 * r, -0.4 * length), (0, -0.7 * r, -0.46 * length), 0.07 * r, 0.05 * r, timber, sides=8).named("strut"))
    return Thing.of(grounded(solids), wings, ("open",), parts_of(("propeller", 1), ("wing", 2 * planes), ("seat", seats), ("wheel", 2)))


def _fighter(rng: Rng) -> Thing:
    """A jet: delta or swept wings, one tail or two, one engine or two."""
    skin = metal(rng, pick(rng, ("grey", "grey", "green", "blue", "beige", "black", "white")))
    second = metal(rng, pick(rng, ("grey", "red", "blue", "yellow")))
    length, pane = rng.uniform(13, 19), glass(rng, pick(rng, ("black", "blue", "yellow" if maybe(rng, 0.3) else "black")))
    r, engines = length * rng.uniform(0.045, 0.058), pick(rng, (1, 2))
    fat = 1.0 if engines == 1 else 1.5
    stations = [(-0.48, 1.2 * fat, 1.2, 0), (-0.3, 2 * fat, 1.7, 0), (0.0, 2.1 * fat, 1.8, 0), (0.15, 1.7 * (1 + fat) / 2, 1.8, 0.05)]
    stations += [(0.3, 1.3, 1.5, 0.1), (0.43, 0.6, 0.65, -0.1), (0.5, 0.03, 0.03, -0.2)]
    solids = [fuselage([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin, 2.4)]
    canopy = [(0.1, 0.1, 0.1, 0.8), (0.16, 0.8, 0.9, 0.75), (0.23, 1.0, 1.3, 0.7), (0.29, 0.8, 0.9, 0.55), (0.35, 0.1, 0.1, 0.4)]
    solids.append(fuselage([(z * length, w * r, h * r, y * r) for z, w, h, y in canopy], pane, count=18).named("window"))
    delta = maybe(rng, 0.45)
    span, chord = length * rng.uniform(0.28, 0.4), length * (rng.uniform(0.4, 0.5) if delta else rng.uniform(0.22, 0.3))
    z0, sweep = length * (0.12 if delta else 0.08), chord * (0.85 if delta else rng.uniform(0.4, 0.8))
    for s in (-1, 1):
        wing = wing_of((s * 0.4 * r, 0.1 * r, z0), (s * span, 0.0, z0 - sweep), chord, chord * (0.1 if delta else 0.35), 0.05, skin)
        solids.append(wing.named("wing"))
        x = s * 0.85 * fat * r
        levels = ((-0.2, 0.5, 0.5, 0), (0.0, 0.8, 1.3, -0.1), (0.14, 0.7, 1.3, -0.1), (0.16, 0.66, 1.24, -0.1))
        intake = [np.add(oval(w * r, h * r, y * r, z * length, 5), (x, 0, 0)) for z, w, h, y in levels]
        solids.append(loft(intake, skin).named("engine"))
        engine = loft([np.add(oval(0.52 * r, 1.05 * r, -0.1 * r, z * length, 5), (x, 0, 0)) for z in (0.15, 0.1615)], BLACK)
        solids.append(engine.named("engine"))
    for i in range(engines):
        x = 0.0 if engines == 1 else (i - 0.5) * 1.5 * r
        bell = [(0, 0.2 * r), (0.55 * r, 0.2 * r), (0.6 * r, 0), (0.72 * r, 0), (0.85 * r, 0.9 * r), (0.8 * r, 2 * r), (0, 2 * r)]
        solids.append(facing(bell, (x, 0, -0.5 * length - 0.3 * r), BLACK, sides=20).named("engine"))
    fins, fin, zf = pick(rng, (1, 2)), r * rng.uniform(2.2, 3.0), -0.28 * length
    for i in range(fins):
        x, lean = (0.0, 0.0) if fins == 1 else ((2 * i - 1) * 0.9 * fat * r, (2 * i - 1) * rng.uniform(0.0, 0.5) * fin)
        tip = (x + lean, 0.6 * r + fin, zf - fin * 0.9)
        solids.append(wing_of((x, 0.2 * r, zf), tip, length * 0.17, length * 0.07, 0.06, pick(rng, (skin, second))).named("tail"))
    if not delta or maybe(rng, 0.2):
        for s in (-1, 1):
            tip = (s * span * 0.6, -0.05 * r, -0.38 * length - 0.1 * length)
            solids.append(wing_of((s * 0.6 * r * fat, 0, -0.38 * length), tip, length * 0.13, length * 0.05, 0.05, skin).named("tail"))
    elif maybe(rng, 0.6):
        for s in (-1, 1):
            root, tip = (s * 0.5 * r, 0.35 * r, 0.23 * length), (s * span * 0.42, 0.4 * r, 0.17 * length)
            solids.append(wing_of(root, tip, length * 0.09, length * 0.03, 0.05, skin).named("wing"))
    missiles, wheels = pick(rng, (0, 2, 4)), 3 * maybe(rng, 0.4)
    for k in range(missiles):
        s, f = (-1, 1)[k % 2], (0.62, 0.85)[k // 2]
        x, z = s * span * f, z0 - sweep * f - chord * 0.15
        shape = [(z + d * r, w * r, w * r, -0.75 * r) for d, w in ((-2.6, 0.2), (-2.5, 0.4), (1.5, 0.4), (2.2, 0.25), (2.8, 0.02))]
        some = [fuselage(shape, second, count=14).moved((x, 0, 0)), box((0.12 * r, 0.75 * r, 1.6 * r), (x, -0.7 * r, z - 0.3 * r), skin)]
        solids += named("missile", some)
    if wheels:
        points = [(-1.1 * r, -2.0 * r, -0.1 * length), (1.1 * r, -2.0 * r, -0.1 * length), (0.0, -2.0 * r, 0.28 * length)]
        solids += _gear(points, 0.4 * r, 0.0)
    said = parts_of(("engine", engines), ("tail fin", fins), ("missile", missiles), ("wheel", wheels))
    return Thing.of(grounded(solids), skin, ("slim",), said)


def _glider(rng: Rng) -> Thing:
    skin, mark = pick(rng, (WHITE, metal(rng, pick(rng, PAINTS)))), metal(rng, pick(rng, ("red", "blue", "orange")))
    pane, length, r = glass(rng, pick(rng, ("black", "blue"))), rng.uniform(6.5, 8.0), 0.42
    stations = [(-0.5, 0.25, 0.3, 0.3), (-0.2, 0.45, 0.5, 0.2), (0.08, 0.9, 1.1, 0.1), (0.25, 1.5, 1.9, 0), (0.4, 1.2, 1.4, -0.05)]
    stations += [(0.5, 0.05, 0.05, -0.2)]
    solids = [fuselage([(z * length, w * r, h * r, y * r) for z, w, h, y in stations], skin)]
    canopy = [(0.17, 0.2, 0.2, 0.75), (0.24, 1.05, 0.9, 0.6), (0.33, 1.1, 0.95, 0.4), (0.41, 0.8, 0.5, 0.3), (0.46, 0.1, 0.1, 0.15)]
    solids.append(fuselage([(z * length, w * r, h * r, y * r) for z, w, h, y in canopy], pane, count=16).named("window"))
    span, chord = length * rng.uniform(0.8, 1.15), length * rng.uniform(0.12, 0.15)
    for s in (-1, 1):
        middle = (s * span * 0.6, 0.6 * r + 0.02 * span, 0.15 * length - 0.01 * span)
        solids.append(wing_of((s * -0.02, 0.6 * r, 0.15 * length), middle, chord, chord * 0.8, 0.13, skin).named("wing"))
        root, tip = (s * span * 0.57, middle[1] - 0.001 * span, middle[2]), (s * span, middle[1] + 0.04 * span, middle[2] - 0.03 * span)
        solids.append(wing_of(root, tip, chord * 0.8, chord * 0.35, 0.12, pick(rng, (skin, mark))).named("wing"))
    fin, high = r * rng.uniform(2.2, 3.0), maybe(rng, 0.7)
    solids.append(wing_of((0, 0.3 * r, -0.4 * length), (0, 0.3 * r + fin, -0.43 * length), chord, chord * 0.7, 0.1, mark).named("tail"))
    y = 0.3 * r + fin * 0.97 if high else 0.35 * r
    for s in (-1, 1):
        tail = wing_of((0, y, -0.43 * length), (s * length * 0.19, y, -0.44 * length), chord * 0.6, chord * 0.35, 0.1, skin)
        solids.append(tail.named("tail"))
    solids += [solid.moved((0, -0.75 * r, 0.22 * length)) for solid in wheel_of(0.4 * r, 0.2 * r, 0, BLACK, STEEL)]
    return Thing.of(grounded(solids), skin, ("wide", "slim"), parts_of(("wheel", 1)))
