"""Makes a potted plant: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def _frond(length: float, width: float, rise: float, droop: float, count: int, material: Material) -> list[Solid]:
    """A feather of narrow leaves on both sides of a rib: of a palm or a fern."""
    path = arc_of(length, rise, droop, 12)
    solids = named("stem", [horn(path, np.linspace(length * 0.009, length * 0.003, 12), material, sides=5)])
    for t in np.linspace(0.18, 0.98, count):
        at = [float(np.interp(t, np.linspace(0, 1, 12), path[:, i])) for i in range(3)]
        long = width * math.sin(math.pi * (0.12 + 0.8 * t)) ** 0.7
        small = blade_of(arc_of(long, 5, 35, 3), np.array([0.4, 1, 0.03]) * min(long * 0.11, length * 0.8 / count), material)
        pitch = rise - droop * float(t)
        solids += named("leaf", [small.turned("y", side * 58).turned("x", -pitch).moved((at[0], at[1], at[2])) for side in (-1, 1)])
    return solids


def _pot(rng: Rng, wide: float) -> tuple[list[Solid], float, Material, list[str], list[Parts]]:
    """A pot with earth of about a radius of 1 x wide: its solids, the height of the earth, its material and words."""
    tall = wide * rng.uniform(1.2, 2.0)
    clays = (ceramic(rng, "orange"), ceramic(rng, "brown"), ceramic(rng), ceramic(rng))
    body = pick(rng, (*clays, stone(rng), plastic(rng), metal(rng), wood(rng)))
    style, parts, section = [], [], None
    match rng.integers(6):
        case 0:
            foot = rng.uniform(0.6, 0.8)
            rim = [(0.95, 0.8), (0.95, 0.8), (1.08, 0.8), (1.08, 0.8), (1.12, 1), (1.12, 1)]
            knots = [(foot, 0), (foot, 0), ((foot + 0.95) / 2, 0.4), *rim]
        case 1:
            knots = [(0.97, 0), (1, 0.02), (1, 0.5), (1, 1)]
        case 2:
            knots, section = [(rng.uniform(0.75, 1), 0), (rng.uniform(0.8, 1), 0.05), (1, 0.5), (1, 1)], squared(rng.uniform(6, 16))
            style.append("square")
        case 3:
            knots, tall = [(0.55, 0), (0.8, 0.06), (1.05, 0.4), (1.1, 0.7), (1, 1)], tall * 0.8
        case 4:
            knots = [(0.6, 0), (0.65, 0.03), (0.4, 0.14), (0.45, 0.2), (0.9, 0.4), (0.95, 0.75), (0.9, 0.85), (1.15, 0.97), (1.15, 1)]
        case _:
            knots = [(rng.uniform(0.6, 0.8), 0), (0.8, 0.3), (1, 1)]
            section = pick(rng, (faceted_by(pick(rng, (6, 8, 12))), fluted_by(12, 0.03)))
    outer = smooth(knots, wide, tall)
    solids, level = vessel(outer, wide * 0.07, body, body, sides=48), tall * 0.9
    earth = replace(stone(rng, "brown"), substance="")
    soil = lathe([(0, level - 0.01), (radius_at(outer, level) - wide * 0.04, level - 0.01), (0, level + wide * 0.06)], earth)
    solids.append(soil.named("soil"))
    if section:
        solids = shaped(solids, section)
    low = outer[0][0]
    match rng.integers(6):
        case 0:
            plate = smooth([(1.0, 0), (1.15, 0.02), (1.3, 0.2)], low, low)
            solids = [*(solid.moved((0, low * 0.05, 0)) for solid in solids), *named("saucer", vessel(plate, low * 0.05, body, body))]
            level, parts = level + low * 0.05, [Parts("saucer", 1)]
        case 1 if not section:
            stand, up, reach = frame(rng), wide * rng.uniform(0.5, 1.1), max(r for r, _ in outer) + wide * 0.03
            corners = four(reach * 1.414, reach * 1.414)
            solids = [solid.moved((0, up, 0)) for solid in solids]
            solids += named("leg", [dowel((x, 0, z), (x, up + tall * 0.45, z), wide * 0.06, stand, sides=10) for x, z in corners])
            some = [horn(bezier((x, up, z), (-x, up, -z), steps=4), np.full(4, wide * 0.05), stand) for x, z in corners[:2]]
            solids += named("leg", some)
            level, parts = level + up, [Parts("leg", 4, stand)]
    return solids, level, body, style, parts


def _cactus(rng: Rng, wide: float, green: Material) -> tuple[list[Solid], list[Parts]]:
    """A column with arms, a few columns, a barrel, or pads that grow from pads."""
    petal, ribs, said = (paint(rng, pick(rng, ("pink", "red", "yellow", "white"))), int(rng.integers(8, 13)), [Parts("cactus", 1)])
    match rng.integers(4):
        case 0 | 1:
            tall, thick, arms = wide * rng.uniform(3, 6), wide * rng.uniform(0.35, 0.55), int(rng.integers(0, 4))
            t = np.linspace(0, 1, 9)
            trunk = np.stack([0 * t, t * tall - thick, 0 * t], axis=1)
            solids = named("stem", [horn(trunk, thick * (0.9 + 0.2 * np.sin(math.pi * t)), green, sides=ribs * 5, lobes=ribs)])
            for i in range(arms):
                y, out, up = tall * rng.uniform(0.25, 0.6), thick * rng.uniform(2.0, 2.6), tall * rng.uniform(0.2, 0.4)
                path = bezier((0, y, 0), (0, y, out * 0.95), (0, y + out * 0.1, out), (0, y + up, out), steps=12)
                stem = horn(path, np.full(12, thick * 0.55), green, sides=36, lobes=9).turned("y", 90 + i * rng.uniform(110, 180))
                solids.append(stem.named("stem"))
            return solids, [*said, Parts("arm", arms)] if arms else said
        case 2:
            size = wide * rng.uniform(0.8, 1.05)
            solids = named(
                "stem", shaped([bulb(size, (0, size * 0.75, 0), green, rng.uniform(0.85, 1.3), sides=ribs * 6)], fluted_by(ribs, 0.08))
            )
            top = max(float(solids[0].vertices[:, 1].max()) - size * 0.08, 0.0)
            if maybe(rng, 0.6):
                solids += [part.moved((0, top, 0)) for part in flower(rng, size * 0.4, petal)]
                said.append(Parts("flower", 1, petal))
            return solids, said
    size, count = wide * rng.uniform(0.7, 0.9), int(rng.integers(1, 6))
    small = bulb(size * 0.7, (0, size * 0.85, 0), green, 1.35, sides=20, squash=0.3).named("stem")
    solids = named("stem", [bulb(size, (0, size * 1.15, 0), green, 1.35, sides=24, squash=0.28)])
    for lean in (-40, 38, 0, -75, 72)[:count]:
        slope = math.radians(lean)
        foot = (-size * 0.85 * math.sin(slope), size * (1.15 + 1.15 * math.cos(slope)), 0.0)
        solids.append(small.turned("y", float(rng.uniform(-35, 35))).turned("z", lean).moved(foot))
    return placed(solids, (0, 0, 0), turn=rng.uniform(0, 60)), [*said, Parts("pad", count + 1)]


def _crown(rng: Rng, radius: float, at: Point, green: Material, leafy: bool) -> list[Solid]:
    """The crown of a tree or bush: a cloud of leaves, or clipped."""
    if not leafy:
        lumps = rng.uniform(-1, 1, (3, 3)) * 5 / radius

        def bend(points: Floats) -> Floats:
            away = points - at
            bump: Floats = 1 + 0.035 * np.sin(away @ lumps.T).sum(axis=1, keepdims=True)
            return np.asarray(at + away * bump)

        return named("leaf", [warped(bulb(radius, at, green, sides=40, rings=24), bend)])
    solids = []
    count, size = 110, radius * rng.uniform(0.45, 0.65)
    for i in range(count):
        up = 1 - 2 * (i + 0.5) / count
        rise, deep = math.degrees(math.asin(up)), radius * rng.uniform(0.35, 0.8)
        foot = (0.0, deep * up, deep * math.cos(math.radians(rise)))
        path = arc_of(size, rise + rng.uniform(-30, 30), rng.uniform(20, 70), 4)
        blade = blade_of(path, size * np.array([0.06, 0.28, 0.24, 0.01]), green).named("leaf")
        solids.append(blade.moved(foot).turned("y", i * 137.5).moved(at))
    return solids


def _rise(i: int, count: int, spread: float) -> float:
    """Slope in degrees of the i-th of leaves that stand up in the middle and lie at the rim."""
    return float(88 - spread * ((i + 0.5) / count) ** 0.8)


def _herb(rng: Rng, form: str, wide: float, level: float, green: Material) -> tuple[list[Solid], list[Parts]]:
    """What grows out of the earth without a trunk."""
    big, spread, count, plant = wide * rng.uniform(3.5, 6), rng.uniform(25, 65), int(rng.integers(6, 15)), []
    match form:
        case "broad":
            width, blunt, bare, droop = big * rng.uniform(0.2, 0.42), rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.55), rng.uniform(25, 85)
            for i in range(count):
                long, slope = big * rng.uniform(0.6, 1.0), _rise(i, count, spread)
                leaf = leaf_of(long, width, slope, droop * rng.uniform(0.7, 1.2), green, bare, blunt)
                plant += placed(leaf, (0, 0, 0), turn=i * 137.5)
            return plant, [Parts("stalk", count)]
        case "sword":
            thick = big * rng.uniform(0.035, 0.055)
            for i in range(count):
                widths = thick * np.array([0.7, 0.85, 1, 1, 1, 0.9, 0.7, 0.03])
                blade = blade_of(arc_of(big * rng.uniform(0.5, 0.9), 88, rng.uniform(0, 14), 8), widths, green, 0.5)
                plant += named("leaf", placed([blade.moved((0, 0, wide * 0.17 * math.sqrt(i)))], (0, 0, 0), turn=i * 137.5))
            return plant, [Parts("blade", count)]
        case "fern":
            for i in range(count := count + 4):
                frond = _frond(big * rng.uniform(0.45, 0.65), big * 0.13, _rise(i, count, 50), rng.uniform(90, 140), 12, green)
                plant += placed(frond, (0, 0, 0), turn=i * 137.5)
            return plant, [Parts("frond", count)]
        case "rosette":
            long, fat = wide * rng.uniform(1.2, 2.6), np.array([0.6, 0.8, 0.9, 0.85, 0.7, 0.5, 0.3, 0.08]) * rng.uniform(0.07, 0.15)
            for i in range(count := 2 * count + 4):
                path = arc_of(long * (0.6 + 0.4 * i / count), _rise(i, count, 66), -rng.uniform(10, 35), 8)
                plant += named("leaf", placed([stretched(horn(path, long * fat, green, sides=8), x=1.5)], (0, 0, 0), turn=i * 137.5))
            return plant, [Parts("thick blade", count)]
        case "flowers":
            count, petal = int(rng.integers(1, 10)), paint(rng, pick(rng, PETALS))
            tall, seed, size = wide * rng.uniform(1.8, 3.5), int(rng.integers(1 << 30)), wide * rng.uniform(0.4, 0.6)
            for i in range(count):
                lean = wide * (0.1 if count == 1 else 0.35 + math.sqrt(i / count))
                high = tall * rng.uniform(0.75, 1.0)
                stem = bezier((0, -0.01, wide * 0.1), (0, high * 0.6, lean * 0.4), (0, high, lean), steps=8)
                blossom = flower(np.random.default_rng(seed), size, petal)
                tilted = [part.turned("x", math.degrees(lean / high)).moved((0, high, lean)) for part in blossom]
                plant += placed([tube(stem, wide * 0.035, green, sides=6).named("stem"), *tilted], (0, 0, 0), turn=i * 137.5)
            for i in range(9):
                leaf = leaf_of(tall * rng.uniform(0.5, 0.75), wide * 0.5, rng.uniform(40, 75), rng.uniform(40, 90), green)
                plant += placed(leaf, (0, 0, 0), turn=60 + i * 137.5)
            return plant, [Parts("flower", count, petal)]
    for i in range(count):  # trailing
        reach, drop = wide * rng.uniform(1.25, 1.6), min(level * 0.85, wide * rng.uniform(0.6, 2.0))
        vine = bezier((0, 0, wide * 0.2), (0, wide * 1.6, wide * 0.8), (0, wide * 0.6, reach), (0, -drop, reach), steps=14)
        plant.append(tube(vine, wide * 0.02, green, sides=5).turned("y", i * 137.5).named("stem"))
        for k in range(2, 14):
            small = blade_of(arc_of(wide * 0.45, 30, 80, 5), wide * np.array([0.05, 0.19, 0.16, 0.09, 0.005]), green)
            leafs = placed([small.turned("y", 50 * (-1) ** k).moved((0, float(vine[k, 1]), float(vine[k, 2])))], (0, 0, 0), turn=i * 137.5)
            plant += named("leaf", leafs)
    return [*plant, *_crown(rng, wide * 0.8, (0, wide * 0.3, 0), green, True)], [Parts("vine", count)]


def _tree(rng: Rng, form: str, wide: float, green: Material) -> tuple[list[Solid], list[Parts]]:
    """What has a trunk."""
    big, bark, plant = wide * rng.uniform(3.5, 6), wood(rng, "brown"), []
    match form:
        case "palm":
            count, tall = int(rng.integers(7, 12)), wide * rng.uniform(0.3, 3.5)
            top, scars = (wide * rng.uniform(-0.4, 0.4), tall, 0.0), 1 + 0.15 * (np.arange(14) % 2)
            one = horn(bezier((0, -0.01, 0), (0, tall * 0.5, 0), top, steps=14), wide * np.linspace(0.16, 0.1, 14) * scars, bark)
            plant.append(one.named("trunk"))
            for i in range(count):
                frond = _frond(big * rng.uniform(0.6, 0.75), big * 0.24, 80 - 55 * i / count, rng.uniform(60, 100), 13, green)
                plant += placed(frond, top, turn=i * 137.5)
            trunk = [Parts("trunk", 1, bark)] if tall > wide else []
            return plant, [*trunk, Parts("frond", count)]
        case "topiary" if maybe(rng, 0.3):
            cone = smooth([(0, 0), (0.8, 0.0), (1, 0.08), (0.75, 0.4), (0.3, 0.85), (0, 1)], wide * 1.3, big * 0.9)
            plant = [
                turned(cone, (0, wide * 0.5, 0), green).named("leaf"),
                rod((0, -0.01, 0), (0, wide, 0), wide * 0.12, wide * 0.1, bark).named("trunk"),
            ]
            return plant, [Parts("cone", 1)]
        case "topiary":
            count, y, size = int(rng.integers(1, 4)), wide * rng.uniform(0.8, 2.5), wide * rng.uniform(1.0, 1.5)
            for _ in range(count):
                plant += _crown(rng, size, (0, y + size, 0), green, False)
                y, size = y + 2 * size + wide * rng.uniform(0.1, 0.5), size * 0.75
            return [*plant, rod((0, -0.01, 0), (0, y - size, 0), wide * 0.11, wide * 0.09, bark).named("trunk")], [Parts("ball", count)]
        case "rubber":  # leaves up along a stem
            stems, count = int(rng.integers(1, 3)), int(rng.integers(7, 14))
            width, droop = rng.uniform(0.3, 0.55), rng.uniform(10, 70)
            for j in range(stems):
                tall, x = big * rng.uniform(0.7, 1.0), wide * 0.3 * j
                one = horn(bezier((x, -0.01, 0), (x * 1.5, tall, 0), steps=6), wide * np.linspace(0.08, 0.04, 6), bark)
                plant.append(one.named("trunk"))
                for i in range(count):
                    t = 0.2 + 0.8 * i / (count - 1)
                    long = big * 0.38 * (1.1 - 0.4 * t)
                    leaf = leaf_of(long, long * width, 15 + 65 * t**2, droop, green, 0.17)
                    plant += placed(leaf, (x * (1 + 0.5 * t), tall * t, 0), turn=i * 137.5 + 90 * j)
            return plant, [Parts("stem", stems, bark)]
        case "dracaena":
            stems = int(rng.integers(1, 4))
            for j in range(stems):
                tall, away = big * (0.85 - 0.25 * j) * rng.uniform(0.7, 1.0), wide * 0.35 * (stems > 1)
                x, z = away * math.sin(2.1 * j), away * math.cos(2.1 * j)
                plant.append(horn(bezier((x, -0.01, z), (x * 1.3, tall, z * 1.3), steps=8), np.full(8, wide * 0.11), bark).named("trunk"))
                for i in range(26):
                    path = arc_of(big * 0.42, _rise(i, 26, 75), rng.uniform(40, 100), 8)
                    blade = blade_of(path, big * 0.02 * np.array([0.6, 0.9, 1, 1, 0.9, 0.7, 0.4, 0.02]), green)
                    plant += named("leaf", placed([blade], (x * 1.3, tall * (1 - 0.12 * i / 26), z * 1.3), turn=i * 137.5))
            return plant, [Parts("trunk", stems, bark)]
    tall, heads, leafy = wide * rng.uniform(2, 4.5), int(rng.integers(1, 4)), maybe(rng, 0.75)
    bow = wide * rng.uniform(-0.8, 0.8)
    stem = bezier((0, -0.01, 0), (bow, tall * 0.4, 0), (-bow * 0.6, tall * 0.7, 0), (0, tall, 0), steps=14)
    plant = [
        horn(stem, wide * np.linspace(0.17, 0.09, 14), bark).named("trunk"),
        *_crown(rng, wide * rng.uniform(1.3, 1.9), (0, tall, 0), green, leafy),
    ]
    for i in range(heads - 1):
        end = (math.cos(2.4 * i) * wide * 1.4, tall * rng.uniform(0.6, 0.85), math.sin(2.4 * i) * wide * 1.4)
        plant.append(rod((float(stem[6, 0]), float(stem[6, 1]), 0), end, wide * 0.08, wide * 0.05, bark).named("trunk"))
        plant += _crown(rng, wide * rng.uniform(0.9, 1.2), end, green, leafy)
    parts = [Parts("trunk", 1, bark)]
    if maybe(rng, 0.3):
        count, ripe = int(rng.integers(5, 14)), paint(rng, pick(rng, ("orange", "yellow", "red")))
        for i in range(count):
            fruit = bulb(wide * 0.17, (0, tall + wide * rng.uniform(-0.7, 0.9), wide * rng.uniform(1.1, 1.4)), ripe, sides=12, rings=8)
            plant.append(fruit.turned("y", i * 137.5).named("fruit"))
        parts.append(Parts("fruit", count, ripe))
    return plant, parts


def potted_plant(rng: Rng) -> Thing:
    """Broad leaves, swords, cacti, ferns, rosettes, flowers, vines; palms, dracaenas, rubber plants, small trees clipped or leafy."""
    herbs = ("broad", "broad", "sword", "fern", "rosette", "flowers", "flowers", "trailing")
    form = pick(rng, (*herbs, "cactus", "cactus", "palm", "palm", "topiary", "tree", "tree", "rubber", "dracaena"))
    green, wide = green_of(rng), rng.uniform(0.1, 0.2)
    solids, level, body, style, parts = _pot(rng, wide)
    if form == "cactus":
        plant, said = _cactus(rng, wide, green)
    else:
        plant, said = _herb(rng, form, wide, level, green) if form in herbs else _tree(rng, form, wide, green)
    for solid in plant:
        stood = solid.moved((0, level, 0))
        solids.append(replace(stood, vertices=np.maximum(stood.vertices, (-9.0, 0.003, -9.0))))  # leaves may lie on the floor
    return Thing.of(solids, body if form == "cactus" else green, style, (*said, Parts("pot", 1, body), *parts)[:4], rest="pot")
