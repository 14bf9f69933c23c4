"""Makes a lamp: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from itertools import pairwise

import numpy as np

from pipeline.starter.kinds.kit import *


def _shell(outer: Line, wall: float) -> Line:
    """A thin wall outside of which runs `outer`, upwards."""
    inner = [(max(0.0, r - wall), h - (wall if r == 0 else 0)) for r, h in outer[::-1]]
    return [*outer, *inner, outer[0]]


def _shade(rng: Rng, width: float, cloth: Material) -> tuple[list[Solid], float, str]:
    """A lamp shade of radius `width` that stands open on the origin, how high it is, and a word for its form."""
    wall, t = width * 0.03, np.linspace(0, 1, 12)
    match rng.integers(8):
        case 0 | 1:  # cone or drum
            tall, mouth = width * rng.uniform(0.8, 1.5), width * pick(rng, (1.0, rng.uniform(0.75, 0.95), rng.uniform(0.3, 0.6)))
            hems = [(r - 0.01, r * 1.02 + 0.001, h) for r, h in ((width, 0), (mouth, tall - 0.01))]
            rings = [lathe([(a, h), (b, h), (b, h + 0.01), (a, h + 0.01)], cloth) for a, b, h in hems]
            return [lathe(_shell([(width, 0), (mouth, tall)], wall), cloth, sides=40), *rings], tall, "round"
        case 2:  # bell
            tall, mouth = width * rng.uniform(0.9, 1.3), width * rng.uniform(0.3, 0.5)
            line = [(float(mouth + (width - mouth) * (1 - a) ** 2.2), float(a * tall)) for a in t]
            return [lathe(_shell(line, wall), cloth, sides=40)], tall, "curved"
        case 3:  # dome of coloured glass, with ribs and a finial
            tall = width * rng.uniform(0.5, 0.75)
            quarter = [float(a) * math.pi / 2 for a in t[:-1]]
            line = [*((width * math.cos(a) ** 0.8, tall * math.sin(a)) for a in quarter), (0.0, tall)]
            path = np.array([(0.0, h, r + 0.001) for r, h in line])
            ribs = [tube(path, width * 0.018, BRASS, sides=6).turned("y", a) for a in range(0, 360, 45)]
            hem, skirt = fabric(rng), [(width * 1.02, -width * 0.12), (width * 1.02, 0.0)]
            dome, rim = lathe(_shell(line, wall), cloth, sides=40), lathe(_shell(skirt, wall), hem, sides=40)
            return [dome, *ribs, rim, ball(width * 0.08, (0, tall, 0), BRASS)], tall, "curved"
        case 4:  # globe
            return [ball(width * 0.75, (0, width * 0.72, 0), cloth, rng.uniform(0.8, 1.2))], width * 0.8, "round"
        case 5:  # square or six-sided
            tall, mouth, sides = width * rng.uniform(0.9, 1.6), width * pick(rng, (1.0, rng.uniform(0.4, 0.8))), pick(rng, (4, 4, 6))
            big, small = ngon(sides, width, math.pi / sides), ngon(sides, mouth, math.pi / sides)
            hulls = [placed_at(big, 0), placed_at(small, tall), placed_at(small, tall, 0.95), placed_at(big, 0, 0.95), placed_at(big, 0)]
            return [skin(hulls, cloth, caps=False).turned("x", -90)], tall, "square" if sides == 4 else ""
        case 6:  # pleated
            tall, mouth = width * rng.uniform(0.8, 1.3), rng.uniform(0.45, 0.8)
            pleats = ngon(72, width) * (1 - 0.05 * (np.arange(72) % 2))[:, None]
            hulls = [placed_at(pleats, 0), placed_at(pleats, tall, mouth), placed_at(pleats, tall, mouth * 0.95)]
            hulls += [placed_at(pleats, 0, 0.95), placed_at(pleats, 0)]
            return [skin(hulls, cloth, caps=False).turned("x", -90)], tall, "striped"
        case _:  # bowl that opens upwards
            tall = width * rng.uniform(0.4, 0.9)
            line = [(float(width * (0.15 + 0.85 * math.sin(a * math.pi / 2))), float(tall * (1 - math.cos(a * math.pi / 2)))) for a in t]
            profile = [(0.0, 0.0), *line, *[(r - wall, h + wall * 0.5) for r, h in line[:0:-1]], (0.0, wall)]
            return ([lathe(profile, cloth, sides=40)], tall, "open")


def _bulb(radius: float, at: Point) -> Solid:
    return turned(scaled([(0, -1), (0.5, -1), (0.55, 0), (1, 1), (0.7, 1.9), (0, 2.2)], radius), at, WHITE, sides=20).named("bulb")


def _standing_lamp(rng: Rng) -> Thing:
    """A shade on a stem: of a table, or of the floor."""
    metallic, cloth = frame(rng), pick(rng, (fabric(rng), fabric(rng, pick(rng, ("white", "beige"))), glass(rng), WHITE))
    floor = maybe(rng, 0.4)
    height = rng.uniform(1.2, 1.75) if floor else rng.uniform(0.3, 0.65)
    width = height * (rng.uniform(0.11, 0.18) if floor else rng.uniform(0.28, 0.42))
    shade, tall, word = _shade(rng, width, cloth)
    thick, top, main = height * (0.008 if floor else 0.02), height - tall, metallic
    parts: list[Parts] = []
    solids: list[Solid] = []
    t = np.linspace(0, 1, 16)
    match rng.integers(7):
        case 0:  # three or four legs
            count, spread, knot = int(rng.integers(3, 5)), width * rng.uniform(0.8, 1.15), top * rng.uniform(0.75, 1.0)
            leg = rod((0, 0, spread), (0, knot, thick), thick * 0.8, thick * 1.4, metallic)
            solids += named("leg", [leg.turned("y", a * 360 / count) for a in range(count)])
            poles = [disc(thick * 3, thick * 2, (0, knot - thick, 0), metallic), dowel((0, knot, 0), (0, top + 0.02, 0), thick, metallic)]
            solids += named("pole", poles)
            parts.append(Parts("leg", count, metallic))
        case 1 | 2 if not floor:  # a belly of clay or glass, on a foot
            belly, body, power = width * rng.uniform(0.35, 0.65), pick(rng, (ceramic(rng), glass(rng))), rng.uniform(0.5, 1.6)
            curve = belly * (rng.uniform(0.2, 0.4) + 0.65 * np.sin(math.pi * t**power) ** pick(rng, (1, 2)))
            line = [(0.0, 0.0), *((float(r), float(0.02 + h)) for r, h in zip(curve, t * top * 0.85, strict=True))]
            line.append((0.0, 0.02 + top * 0.85))
            solids += [lathe(line, body).named("body"), disc(float(curve[0]) * 1.25, 0.025, (0, 0, 0), metallic).named("base")]
            main = body
        case 3:  # turned on a lathe
            half = width * rng.uniform(0.12, 0.22) * (0.6 if floor else 1)
            knots, line = half * rng.uniform(0.3, 1.0, 9), scaled([(0, 0), (3, 0.0), (3, 0.4), (1.4, 0.9)], half)
            line += [(float(r), float(half + (top - half) * (i + 1) / 9)) for i, r in enumerate(knots)] + [(0.0, top)]
            main = wood(rng)
            solids.append(lathe(line, main, sides=24).named("base", below=half))
        case 4 if not floor:  # balls or blocks on one another
            count, x = int(rng.integers(2, 5)), 0.0
            main = pick(rng, (ceramic(rng), wood(rng), glass(rng), stone(rng)))
            step, square = (top - 0.02) / count, maybe(rng, 0.4)
            for i in range(count):
                size, at = step * (0.5 if i % 2 or not square else 0.4), 0.02 + i * step
                block, middle = (size * 2, step * 0.98, size * 2), at + step / 2
                one = cushion(block, (x, at, 0), size * 0.15, main) if square else ball(step * 0.51, (0, middle, 0), main)
                solids.append(one.named("body"))
            solids.append(disc(step * 0.45, 0.025, (0, 0, 0), metallic).named("base"))
            parts.append(Parts("block" if square else "ball", count, main))
        case _:  # a bar on a plate
            base = width * rng.uniform(0.5, 0.8)
            if maybe(rng, 0.3):
                solids.append(cushion((base * 1.7, base * 0.12, base * 1.7), (0, 0, 0), base * 0.05, metallic).named("base"))
            else:
                profile = [(0, 0), (base, 0), (base, base * 0.08), (base * 0.4, base * 0.16), (thick * 1.2, base * 0.35), (0, base * 0.35)]
                solids.append(lathe(profile, metallic).named("base"))
            solids.append(dowel((0, 0.01, 0), (0, top, 0), thick, metallic).named("pole"))
            if floor and maybe(rng, 0.3):
                solids += [
                    disc(base * 1.3, 0.02, (0, height * 0.38, 0), wood(rng)).named("shelf"),
                    ball(thick * 2.5, (0, height * 0.36, 0), metallic),
                ]
                parts.append(Parts("shelf", 1))
    pin = 0.02 if word == "open" or shade[0].vertices[:, 1].min() < -1 else tall * 0.9
    solids.append(dowel((0, top * 0.8, 0), (0, top + pin, 0), thick * 0.8, metallic))
    solids.append(_bulb(min(width, tall) * 0.16, (0, top + tall * (0.85 if word == "open" else 0.4), 0)))
    if word not in ("open", "round"):  # the cross that carries the shade
        solids.append(disc(width * 0.12, 0.006, (0, top + pin - 0.006, 0), metallic))
    style = tuple(w for w in (word, "tall" if floor else "") if w)
    return Thing.of(
        [*solids, *(s.moved((0, top, 0)).named("shade") for s in shade)], main, style, [Parts("shade", 1, cloth), *parts], rest="pole"
    )


def _reading_lamp(rng: Rng) -> Thing:
    """A head that an arm holds over a desk: jointed, or a bent neck; or a bar under a long shade."""
    paint, base = metal(rng, pick(rng, ("grey", "black", "white", "red", "blue", "green", "yellow", "orange"))), rng.uniform(0.07, 0.11)
    tall, bar = rng.uniform(0.3, 0.5), pick(rng, (paint, STEEL, BLACK))
    foot = named("base", [lathe([(0, 0), (base, 0), (base, 0.012), (base * 0.6, 0.03), (0, 0.035)], paint)])
    if maybe(rng, 0.3):
        foot = named("base", [cushion((base * 1.8, 0.03, base * 1.5), (0, 0, 0), 0.01, paint)])
    if maybe(rng, 0.15):  # a half pipe of glass across two posts
        long, color = rng.uniform(0.1, 0.15), glass(rng, pick(rng, ("green", "green", "blue", "red")))
        arc = [(0.075 * math.cos(a), 0.07 * math.sin(a)) for a in np.linspace(0, math.pi, 15)]
        inner = [(0.068 * math.cos(a), 0.063 * math.sin(a)) for a in np.linspace(math.pi, 0, 15)]
        shade = profile_of(arc + inner, 2 * long, color).turned("x", -12).moved((0, tall * 0.75, 0.02))
        posts = [rod((0, 0.03, 0), (0, tall * 0.75, 0), 0.009, 0.007, BRASS)]
        posts += [dowel((0, tall * 0.8, 0), (s * long * 0.9, tall * 0.78, 0.02), 0.006, BRASS) for s in (-1, 1)]
        bulb = dowel((-long * 0.7, tall * 0.77, 0.02), (long * 0.7, tall * 0.77, 0.02), 0.016, WHITE).named("bulb")
        ends = named(
            "shade", [sawn(arc, 0.004, color).turned("y", -90).turned("x", -12).moved((s * long, tall * 0.75, 0.02)) for s in (-1, 1)]
        )
        profile = [(0, 0), (base, 0), (base, 0.012), (base * 0.3, 0.04), (0, 0.045)]
        return Thing.of(
            [lathe(profile, BRASS).named("base"), *posts, bulb, *ends, shade.named("shade")],
            color,
            ("low",),
            [Parts("shade", 1, color)],
            rest="pole",
        )
    parts: list[Parts] = []
    if maybe(rng, 0.4):
        reach, a = rng.uniform(0.15, 0.28), np.linspace(0, 1, 24)
        bend = np.stack([0 * a, tall * np.sin(a * 2.0) / 0.95, reach * (1 - np.cos(a * 2.0)) / 1.42 - 0.04], axis=1)
        arm, end, style = [tube(bend, 0.009, bar)], (0.0, float(bend[-1, 1]), float(bend[-1, 2])), ("curved",)
        foot = [solid.moved((0, 0, -0.02)) for solid in foot]
    else:
        elbow = (0.0, tall * rng.uniform(0.75, 1.0), -rng.uniform(0.08, 0.2))
        end = (0.0, tall * rng.uniform(0.9, 1.35), rng.uniform(0.1, 0.25))
        pairs, joints = pick(rng, ((0.0,), (-0.016, 0.016))), ((0.0, 0.02, 0.0), elbow, end)
        arm = [dowel((x, *s[1:]), (x, *e[1:]), 0.006, bar, sides=8) for x in pairs for s, e in pairwise(joints)]
        arm += [dowel((-0.024, at[1], at[2]), (0.024, at[1], at[2]), 0.014, bar) for at in ((0.0, 0.04, 0.0), elbow, end)]
        style = ("folding",)
        parts.append(Parts("joint", 3))
    mouth = rng.uniform(0.06, 0.1)
    deep = mouth * rng.uniform(1.0, 1.7)
    bell = [(1.0, 0.0), (0.9, 0.35), (0.55, 0.65), (0.3, 0.75), (0.28, 1.0), (0.0, 1.0)]
    cup = [(mouth * r, deep * h) for r, h in pick(rng, (bell, [(1.0, 0.0), (0.35, 1.0), (0.0, 1.0)]))]
    head = [lathe(_shell(cup, 0.004), paint).named("shade"), _bulb(mouth * 0.22, (0, deep * 0.1, 0))]
    if maybe(rng, 0.2):  # a flat bar with lights
        head = named("shade", [cushion((0.06, 0.02, rng.uniform(0.25, 0.4)), (0, deep * 0.8, 0.08), 0.008, paint)])
    lean = -rng.uniform(0, 40)
    head = [solid.moved((0, -deep * 0.9, 0)).turned("x", lean).moved(end) for solid in head]
    return Thing.of([*foot, *named("arm", arm), *head], paint, style, [*parts, Parts("shade", 1)], rest="pole")


def _arc_lamp(rng: Rng) -> Thing:
    bar, height, reach = pick(rng, (STEEL, STEEL, BLACK, BRASS)), rng.uniform(1.6, 2.1), rng.uniform(0.8, 1.4)
    cloth, arms, foot = pick(rng, (bar, fabric(rng), WHITE)), pick(rng, (1, 1, 3)), pick(rng, (stone(rng), bar))
    solids: list[Solid] = named(
        "base", [disc(0.17, 0.05, (0, 0, 0), foot) if maybe(rng, 0.5) else cushion((0.34, 0.06, 0.24), (0, 0, 0), 0.01, foot)]
    )
    width = rng.uniform(0.13, 0.22) * (1 if arms == 1 else 0.7)
    line = [(width * math.cos(a), width * 0.85 * math.sin(a)) for a in np.linspace(0, 1.45, 10)] + [(0.0, width * 0.85)]
    for i in range(arms):
        a, out = np.linspace(0, 1, 30) * rng.uniform(2.2, 2.6), reach * (1 - 0.25 * i)
        path = np.stack([out * (1 - np.cos(a)) / 1.7, height * (1 - 0.12 * i) * np.sin(a), 0.12 * (i - (arms - 1) / 2) * a], axis=1)
        x, y, z = (float(v) for v in path[-1])
        solids += [tube(path + np.array([0, 0.03, 0]), 0.012, bar), dowel((x, y - 0.05, z), (x, y + 0.05, z), 0.015, bar)]
        solids.append(turned(_shell(line, 0.005), (x, y - 0.05 - width * 0.85, z), cloth).named("shade"))
        solids.append(ball(width * 0.3, (x, y - 0.05 - width * 0.5, z), WHITE).named("bulb"))
    return Thing.of(solids, bar, ("curved", "tall"), [Parts("shade", arms, cloth)], rest="pole")


def _branched_lamp(rng: Rng) -> Thing:
    """Several lights around one stem: standing, or a chandelier."""
    bar, count = pick(rng, (BRASS, STEEL, BLACK, metal(rng))), int(rng.integers(2, 7))
    hanging, tall = maybe(rng, 0.45), rng.uniform(0.35, 0.6)
    reach, dip, floor = tall * rng.uniform(0.4, 0.8), tall * rng.uniform(0.1, 0.3), not hanging and maybe(rng, 0.4)
    if floor:
        tall, reach, dip = rng.uniform(1.3, 1.7), rng.uniform(0.2, 0.35), rng.uniform(0.05, 0.2)
    size, candle, cloth = reach * rng.uniform(0.2, 0.3), maybe(rng, 0.4), pick(rng, (WHITE, glass(rng), fabric(rng)))
    knot, a = tall * (0.2 if hanging else 0.75), np.linspace(0, 1, 16)
    branch = np.stack([0 * a, knot - dip * np.sin(a * math.pi) + dip * 0.8 * a, reach * a], axis=1)
    end, profile = (0.0, float(branch[-1, 1]), reach), scaled([(0, 0), (0.5, 0.25), (0.55, 0.3), (0, 0.32)], size)
    arm = named("arm", [tube(branch, size * 0.12, bar, sides=8), turned(profile, (0, end[1] - size * 0.1, reach), bar, sides=16)])
    if candle:
        arm.append(disc(size * 0.2, size * 1.4, (0, end[1], reach), WHITE, sides=12).named("candle"))
        arm.append(ball(size * 0.17, (0, end[1] + size * 1.65, reach), BRASS, 1.8).named("bulb"))
    else:
        mouth = pick(rng, (0.45, 1.0, 1.4))
        profile = _shell([(size * (0.9 if mouth < 1 else 0.4), 0), (size * mouth * 0.9, size * 1.2)], size * 0.05)
        arm.append(turned(profile, (0, end[1] + size * 0.2, reach), cloth, sides=20).named("shade"))
        arm += [
            dowel(end, (0, end[1] + size * 0.5, reach), size * 0.1, bar, sides=8).named("arm"),
            _bulb(size * 0.25, (0, end[1] + size * 0.6, reach)),
        ]
    solids = [solid.turned("y", i * 360 / count + 90) for solid in arm for i in range(count)]
    half = size * rng.uniform(0.25, 0.4)
    rings = half * rng.uniform(0.35, 1.2, 7)
    line = [(0.0, 0.0), *((float(r), tall * (i + 0.5) / 7) for i, r in enumerate(rings)), (half * 0.4, tall), (0.0, tall)]
    if floor:
        line = [(0.0, 0.0), (half * 0.7, 0.0), (half * 0.7, tall), (0.0, tall + half)]
    solids.append(lathe(line, bar, sides=20))
    if hanging:
        solids.append(dowel((0, tall, 0), (0, tall * 1.5, 0), size * 0.06, bar, sides=8))
        solids.append(turned(scaled([(0, 0), (0.3, 0), (0.8, 0.3), (0, 0.32)], size), (0, tall * 1.5, 0), bar).named("mount"))
    else:
        foot = reach * rng.uniform(0.4, 0.6)
        base = lathe([(0, 0), (foot, 0), (foot, foot * 0.1), (foot * 0.5, foot * 0.25), (half, foot * 0.5), (0, foot * 0.5)], bar)
        solids.append(base.named("base"))
    solids, said = standing(solids), Parts("candle" if candle else "shade", count, WHITE if candle else cloth)
    return Thing.of(solids, bar, ("tall",) if floor else ("wide",) if hanging else (), [said, Parts("arm", count)], rest="pole")


def _lantern(rng: Rng) -> Thing:
    """Glass in a frame under a roof, to carry or on a post."""
    iron, pane = pick(rng, (BLACK, BRASS, metal(rng), wood(rng))), glass(rng, pick(rng, ("white", "white", "blue", "green", "red")))
    sides, size, tall = pick(rng, (4, 4, 6, 24)), rng.uniform(0.07, 0.12), rng.uniform(0.14, 0.3)
    flare = rng.uniform(1.0, 1.3)
    post = rng.uniform(1.8, 3.2) if maybe(rng, 0.35) else 0.0
    grow = 1.6 if post else 1.0
    size, tall = size * grow, tall * grow
    line, turn = ngon(sides, size, math.pi / sides), math.pi / sides
    body = named("pane", [skin([placed_at(line, 0.02, 0.9), placed_at(line, 0.02 + tall, 0.9 * flare)], pane).turned("x", -90)])
    roof = [(0.02 + tall, 1.25 * flare), (0.03 + tall, 1.25 * flare), (0.03 + tall + size * 0.7, 0.35), (0.03 + tall + size, 0.3)]
    roof.append((0.03 + tall + size * 1.05, 0.05))
    body.append(skin([placed_at(line, 0, 1.15), placed_at(line, 0.02, 1.15)], iron).turned("x", -90).named("frame"))
    body.append(skin([placed_at(line, z, s) for z, s in roof], iron).turned("x", -90).named("roof"))
    count = sides if sides < 24 else 4
    for i in range(count):
        a = turn + i * 2 * math.pi / count if sides < 24 else i * math.pi / 2
        c, s = math.cos(a) * size * 0.92, -math.sin(a) * size * 0.92
        body.append(dowel((c, 0.01, s), (c * flare, 0.025 + tall, s * flare), size * 0.05, iron, sides=8).named("frame"))
    body.append(ball(size * 0.3, (0, 0.02 + tall * 0.4, 0), WHITE, 1.6).named("bulb"))
    top = 0.03 + tall + size * 1.02
    parts = [Parts("pane", sides)] if sides < 24 else []
    if post:
        half = size * 0.25
        pole = [(0.0, 0.0), (half * 3, 0.0), (half * 2.6, half * 1.5), (half * 1.6, post * 0.1), (half, post * 0.16)]
        pole += scaled([(0.8, 0.9), (2, 0.95), (1, 0.97), (2, 1), (0.0, 1)], half, post)
        body = [
            *(solid.moved((0, post - 0.005, 0)) for solid in body),
            lathe(pole, iron).named("base", below=half * 1.5),
            ball(size * 0.12, (0, post + top, 0), iron, 1.5),
        ]
        return Thing.of(body, iron, ("tall", "slim"), [*parts, Parts("post", 1)], rest="pole")
    bow = np.linspace(0, 2 * math.pi, 25)
    ring = np.stack([size * 0.45 * np.cos(bow), top + size * 0.4 + size * 0.45 * np.sin(bow), np.zeros(25)], axis=1)
    body.append(tube(ring, size * 0.05, iron, sides=8).named("ring"))
    return Thing.of(body, iron, ("square",) if sides == 4 else ("round",) if sides == 24 else (), [*parts, Parts("ring", 1)], rest="pole")


def _hanging_lamp(rng: Rng) -> Thing:
    """Shades on cords below a rose or a beam."""
    cloth, bar = pick(rng, (fabric(rng), metal(rng), glass(rng), WHITE)), pick(rng, (BLACK, STEEL, BRASS))
    width, cord = rng.uniform(0.12, 0.28), rng.uniform(0.25, 0.8)
    shade, tall, word = _shade(rng, width, cloth)
    count = int(rng.integers(2, 5)) if maybe(rng, 0.25) else 1
    solids: list[Solid] = []
    for i in range(count):
        x = (i - (count - 1) / 2) * width * 2.4
        solids += named("shade", [s.moved((x, 0, 0)) for s in shade])
        solids.append(dowel((x, tall * 0.5 if word != "open" else 0.01, 0), (x, tall + cord, 0), 0.005, bar, sides=8).named("cord"))
        solids.append(_bulb(width * 0.2, (x, tall * 0.35, 0)))
        solids.append(turned([(0, 0), (0.025, 0), (0.03, 0.05), (0.01, 0.07), (0, 0.07)], (x, tall - 0.01, 0), bar, sides=20).named("cord"))
        solids += named("shade", [disc(width * 0.3, 0.004, (x, tall - 0.012, 0), bar)] if word not in ("open",) else [])
    beam, rose = (width * 2.4 * (count - 1) + 0.14, 0.03, 0.06), [(0, 0), (0.03, 0), (0.07, 0.03), (0, 0.032)]
    top = (box(beam, (0, tall + cord, 0), bar) if count > 1 else turned(rose, (0, tall + cord, 0), bar)).named("mount")
    solids, style = standing([*solids, top]), tuple(w for w in (word, "wide" if count > 1 else "") if w)
    return Thing.of(solids, cloth, style, [Parts("shade", count), Parts("cord", count, bar)], rest="pole")


def lamp(rng: Rng) -> Thing:
    return designed(rng, (*(_standing_lamp,) * 4, _reading_lamp, _reading_lamp, _arc_lamp, _branched_lamp, _lantern, _hanging_lamp))
