"""Makes a tent: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.starter.kinds.kit import *


def tent(rng: Rng) -> Thing:
    return designed(rng, (_dome_tent, _dome_tent, _ridge_tent, _ridge_tent, _tipi, _tunnel_tent, _pavilion, _bell_tent))


def _guys(spots: Sequence[tuple[Point, Point]], cord: Material) -> list[Solid]:
    """Cords from a point of the tent to a peg in the ground."""
    lines = [dowel(top, peg, 0.008, cord, sides=6) for top, peg in spots]
    return named("cord", [*lines, *(dowel((x, 0, z), (x * 1.02, 0.08, z * 1.02), 0.012, STEEL, sides=6) for _, (x, _, z) in spots)])


def _dome_tent(rng: Rng) -> Thing:
    cloth, second, pole = fabric(rng), fabric(rng), pick(rng, (STEEL, BLACK, fabric(rng)))
    width, depth, tall = rng.uniform(1.6, 2.8), rng.uniform(1.5, 2.5), rng.uniform(1.0, 1.7)
    corners, sag, belly = pick(rng, (4, 4, 6)), rng.uniform(0.9, 1.0), rng.uniform(0.75, 1.1)

    def point(angle: float, lift: float, grow: float = 1.0) -> Point:
        """At an angle from +Z and a part of the way up, on straight sides that sag between the poles."""
        part = math.pi / corners
        off = (angle + (part if corners == 4 else 0)) % (2 * part) - part  # 0 in the middle of a side
        out = math.cos(part) / math.cos(off) * (sag + (1 - sag) * abs(off / part)) * math.cos(lift * math.pi / 2) ** belly * grow * 0.7
        return out * width * math.sin(angle), tall * math.sin(lift * math.pi / 2) * grow, out * depth * math.cos(angle)

    shift = math.pi / corners if corners == 6 else 0.0
    angles = np.arange(48) * math.pi / 24
    solids = [loft([np.array([point(a, t) for a in angles]) for t in np.linspace(0, 0.98, 14)], cloth)]
    for i in range(corners):
        a = (i + 0.5) * 2 * math.pi / corners - shift + (math.pi / corners if corners == 6 else 0)
        solids.append(tube(np.array([point(a, t, 1.01) for t in np.linspace(0, 1, 18)]), 0.022, pole, sides=8).named("pole"))
    windows = pick(rng, (0, 0, 2))
    turns = (0.0, -math.pi / 2, math.pi / 2)[: 1 + windows]
    for i, turn in enumerate(turns):
        half, low, high = (rng.uniform(0.35, 0.5), 0.04, rng.uniform(0.45, 0.6)) if i == 0 else (0.3, 0.22, 0.42)
        heights = np.linspace(0 if i == 0 else -0.9, 1, 9)
        rows = [(half * math.sqrt(max(1 - (v * 0.95) ** 2, 0.02)), low + (high - low) * v) for v in heights]
        grids = [np.array([[point(turn + u * w, t, g) for u in np.linspace(-1, 1, 9)] for w, t in rows]) for g in (1.025, 0.98)]
        solids.append(drape(grids[0], grids[1], pick(rng, (second, BLACK)) if i == 0 else BLACK).named("window" if i else "door"))
        rim = np.concatenate([grids[0][:, 0], grids[0][-1, 1:-1], grids[0][::-1, -1]])
        solids.append(tube(rim * 1.003, 0.016, second, sides=6).named("window" if i else "door"))
    if maybe(rng, 0.4):  # an awning over the door
        reach, spread = rng.uniform(0.5, 0.9), np.linspace(-0.55, 0.55, 9)
        back = np.array([point(a, 0.6 - 0.25 * abs(a), 1.02) for a in spread])
        front = np.array([(a * width * 0.75, tall * (0.62 - 0.3 * abs(a)), 0.5 * depth + reach) for a in spread])
        grid = np.array([back * (1 - t) + front * t for t in np.linspace(0, 1, 5)])
        solids.append(drape(np.add(grid, (0, 0.012, 0)), grid - (0, 0.012, 0), second).named("awning"))
        solids += named("pole", [dowel((x, 0, z), (x, y, z), 0.013, pole, sides=8) for x, y, z in (front[0], front[-1])])
    elif maybe(rng, 0.5):
        top = [point(a, 0.68 + 0.04 * math.cos(corners * a), 1.03) for a in angles]
        hat = [np.array([point(a, t, 1.03) for a in angles]) for t in np.linspace(0.74, 0.98, 5)]
        solids.append(loft([np.array(top), *hat], second).named("roof"))
    return Thing.of(grounded(solids), cloth, ("round",), parts_of(("window", windows), ("pole", corners)))


def _ridge_tent(rng: Rng) -> Thing:
    """Two slopes over a ridge, with open or closed flaps; or with upright walls as scouts and armies have it."""
    cloth, second, pole = fabric(rng), fabric(rng), pick(rng, (wood(rng, "brown"), STEEL))
    width, depth, tall = rng.uniform(1.3, 2.4), rng.uniform(1.8, 3.2), rng.uniform(1.1, 1.9)
    wall = tall * rng.uniform(0.3, 0.45) if maybe(rng, 0.4) else 0.0
    sag, half = rng.uniform(0, 0.06), depth / 2
    line = [(-width / 2, 0.0), (-width / 2 * (0.98 if wall else 1), wall)] if wall else [(-width / 2, 0.0)]
    line = [*line, (-width / 4 * 0.97, (tall + wall) / 2 - sag * 0.6), (0.0, tall)]
    arch = np.array([*line, *((-x, y) for x, y in line[-2::-1])])
    inner = arch * (1 - 0.03 / width * 2, 1) - (0, 0.03)
    inner[[0, -1], 1] = 0

    def row(line: Floats, z: float) -> Floats:
        """Across the tent; the ridge sags in the middle."""
        drop = np.array([0, sag * (1 - (z / half) ** 2), 0]) * (line[:, 1:] > 0.1)
        return np.column_stack([line, np.full(len(line), z)]) - (0, 1, 0) * drop

    grids = [np.array([row(a, z) for z in np.linspace(-half, half, 7)]) for a in (arch, inner)]
    solids = [drape(grids[0], grids[1], cloth), slab([(x * 0.97, y * 0.97) for x, y in arch], 0.02, cloth).moved((0, 0, -half + 0.05))]
    swung, foot, knee = maybe(rng, 0.6), width / 2 * 0.97, max(wall, 0.06)
    for s in (-1, 1):
        if swung:  # a flap thrown back to its side
            flap = [(s * 0.02, tall * 0.97), (s * foot, knee), (s * foot, 0.02), (s * foot * 0.78, 0.02), (s * width * 0.13, tall * 0.55)]
            solids.append(slab(flap, 0.03, second, bevel=0.01).moved((0, 0, half - 0.02)).named("door"))
            door = dowel((s * width * 0.14, tall * 0.5, half), (s * width * 0.24, tall * 0.52, half + 0.02), 0.03, cloth, sides=8)
            solids.append(door.named("door"))
        else:
            outline = [(s * 0.008, tall * 0.97), (s * foot, knee), (s * foot, 0.0), (s * 0.008, 0.0)]
            solids.append(slab(outline, 0.02, cloth).moved((0, 0, half - 0.03)).named("door"))
            x, z = s * 0.03, half
            doors = [dowel((x, tall * h, z - 0.02), (x, tall * h, z + 0.01), 0.02, second, sides=8) for h in (0.2, 0.4, 0.6)]
            solids += named("door", doors)
    solids.append(box((width - 0.05, 0.02, depth - 0.08), (0, 0, 0), second).named("floor"))
    outside = maybe(rng, 0.4)
    for z in (-half - 0.02, half + 0.02):
        if outside:
            solids += named("pole", [dowel((s * width * 0.42, 0, z), (-s * 0.08, tall * 1.12, z), 0.02, pole, sides=8) for s in (-1, 1)])
        else:
            solids.append(dowel((0, 0, z * 0.99), (0, tall + 0.06, z * 0.99), 0.02, pole, sides=8).named("pole"))
    solids.append(dowel((0, tall - 0.005, -half - 0.06), (0, tall - 0.005, half + 0.06), 0.022, pole, sides=8).named("pole"))
    if maybe(rng, 0.3):
        roof = [(-width * 0.6, tall * 0.32 + wall * 0.5), (0.0, tall + 0.08), (width * 0.6, tall * 0.32 + wall * 0.5)]
        rows = np.array([[(x, y, z) for x, y in roof] for z in np.linspace(-half * 1.1, half * 1.15, 3)])
        solids.append(drape(np.add(rows, (0, 0.02, 0)), rows, second).named("roof"))
    cords = 0
    if maybe(rng, 0.6):
        spots = [((0.0, tall, s * half), (0.0, 0.0, s * (half + tall * 0.6))) for s in (-1, 1)]
        sides = [(s, z) for s in (-1, 1) for z in (-1, 0, 1)] if wall else []
        spots += [((s * width * 0.5, wall, z * half), (s * (width * 0.5 + 0.45), 0.0, z * half * 1.05)) for s, z in sides]
        solids, cords = solids + _guys(spots, WHITE), len(spots)
    style = ("open",) if swung else ("closed",)
    return Thing.of(grounded(solids), cloth, style, parts_of(("pole", 2 + 2 * outside), ("cord", cords)))


def _tipi(rng: Rng) -> Thing:
    cloth, second = fabric(rng, pick(rng, ("beige", "white", "brown", "grey", "red", "blue", "pink"))), fabric(rng)
    timber = wood(rng, pick(rng, ("brown", "beige")))
    radius, tall, sides = rng.uniform(0.7, 1.8), rng.uniform(1.7, 3.4), pick(rng, (4, 5, 6, 8, 10))
    rim, angle = radius * 0.08, (np.arange(sides) + 0.5) * 2 * math.pi / sides
    rings = []
    for t in np.linspace(0, 1, 5):
        r = radius + (rim - radius) * t
        spread = np.stack([np.sin(angle) * r, np.full(sides, t * tall), np.cos(angle) * r], axis=1)
        middle = (spread + np.roll(spread, -1, axis=0)) / 2 * ((1 - 0.03 * math.sin(math.pi * t)), 1, (1 - 0.03 * math.sin(math.pi * t)))
        rings.append(np.stack([spread, middle], axis=1).reshape(-1, 3))
    solids = [loft(rings, cloth)]
    reach = rng.uniform(0.12, 0.28)
    for a in angle:
        foot, top = (math.sin(a) * radius, 0.0, math.cos(a) * radius), np.array([math.sin(a) * rim, tall, math.cos(a) * rim])
        end = top + (top - foot) * reach
        solids.append(rod(foot, (float(end[0]), float(end[1]), float(end[2])), 0.028, 0.02, timber, sides=8).named("pole"))
    slant = radius - rim if sides > 5 else (radius - rim) * math.cos(math.pi / sides)
    lean = math.degrees(math.atan2(slant, tall))
    wide, high = radius * rng.uniform(0.28, 0.4) * (0.9 if sides > 6 else 1), tall * rng.uniform(0.45, 0.62)
    face = radius * math.cos(math.pi / sides)
    entry = [(-wide, 0.02), (wide, 0.02), (wide * 0.75, high * 0.55), (0.0, high), (-wide * 0.75, high * 0.55)]
    solids.append(slab(entry, 0.05, BLACK).turned("x", -lean).moved((0, 0, face * 0.985)).named("door"))
    for s in (-1, 1):
        flap = [(0.0, high * 1.03), (s * wide * 0.8, high * 0.55), (s * wide * 1.15, 0.02), (s * wide * rng.uniform(0.6, 1.0), 0.02)]
        flap.append((s * wide * 0.5, high * 0.45))
        solids.append(slab(flap, 0.04, second, bevel=0.012).turned("x", -lean).moved((0, 0, face + 0.02)).named("door"))
    bands = pick(rng, (0, 1, 2))
    for t in (0.06, 0.75)[:bands]:
        rows = []
        for h in (t, t + 0.1):
            r = (radius + (rim - radius) * h) * 1.012
            rows.append(np.stack([np.sin(angle) * r, np.full(sides, h * tall), np.cos(angle) * r], axis=1))
        solids.append(loft(rows, second))
    return Thing.of(grounded(solids), cloth, ("tall",), parts_of(("pole", sides), ("band", bands)))


def _tunnel_tent(rng: Rng) -> Thing:
    cloth, second = fabric(rng), fabric(rng)
    width, depth, tall, hoops = rng.uniform(1.6, 2.4), rng.uniform(2.6, 4.2), rng.uniform(1.1, 1.9), int(rng.integers(2, 5))
    power, angle, places = rng.uniform(2.0, 3.0), np.linspace(0, math.pi, 21), np.linspace(-0.5, 0.5, hoops)

    def arch(z: float, scale: float) -> Floats:
        c, s = np.cos(angle), np.sin(angle)
        x, y = np.sign(c) * abs(c) ** (2 / power) * width / 2, s ** (2 / power) * tall
        return np.stack([x * (0.7 + 0.3 * scale), y * scale, np.full(21, z)], axis=1)

    body, along = depth * 0.72, np.linspace(-0.5, 0.5, 8 * (hoops - 1) + 1)
    rings = [arch(float(z) * body, 1 - 0.05 * abs(math.sin(math.pi * (z + 0.5) * (hoops - 1)))) for z in along]
    closed = maybe(rng, 0.6)
    back = [arch(-body / 2 - depth * 0.14 * q, 1 - q**2 * 0.8) for q in (1.0, 0.75, 0.5, 0.25)]
    front = [ring * (1, 1, -1) for ring in back[::-1]] if closed else []
    solids = [loft([*back, *rings, *front], cloth)]
    solids += named("pole", [tube(arch(float(z) * body, 1.01), 0.022, second, sides=8) for z in places])
    across, rows = np.linspace(-1, 1, 7), np.linspace(0.02, 1, 7)
    grid = np.array([[(u * width * 0.3 * (1 - 0.6 * v**2), v * tall * 0.72, 0) for u in across] for v in rows])
    if closed:
        grid[..., 2] = body / 2 + depth * 0.14 * np.sqrt(np.clip((1 - grid[..., 1] / tall) / 0.8, 0, 1))
        solids.append(drape(np.add(grid, (0, 0, 0.03)), grid - (0, 0, 0.03), BLACK).named("door"))
        door = tube(np.add(np.concatenate([grid[:, 0], grid[-1, 1:-1], grid[::-1, -1]]), (0, 0, 0.03)), 0.016, second, sides=6)
        solids.append(door.named("door"))
    else:
        solids.append(slab([(x * 0.9, y * 0.93) for x, y, _ in arch(0, 1.0)], 0.03, BLACK).moved((0, 0, body / 2)).named("door"))
        for s in (-1, 1):
            curtain = [(s * width * 0.44, 0.02), (s * width * 0.2, 0.02), (s * width * 0.14, tall * 0.5), (0.0, tall * 0.92)]
            curtain += [(s * width * 0.3, tall * 0.85), (s * width * 0.42, tall * 0.5)]
            solids.append(slab(curtain, 0.04, second, bevel=0.012).moved((0, 0, body / 2 + 0.03)).named("door"))
    windows = pick(rng, (0, 2, 4))
    for i in range(windows):
        s, z = (-1, 1)[i % 2], (0.0 if windows == 2 else (i // 2 - 0.5) * 0.5) * body + 0.1
        solids.append(cushion((0.08, tall * 0.3, 0.5), (s * width * 0.475, tall * 0.3, z), 0.03, pick(rng, (BLACK, WHITE))).named("window"))
    return Thing.of(grounded(solids), cloth, ("closed",) if closed else ("open",), parts_of(("hoop", hoops), ("window", windows)))


def _pavilion(rng: Rng) -> Thing:
    """A party tent: a roof on poles, with a fringe and perhaps with walls."""
    cloth, second = fabric(rng, pick(rng, ("white", "white", "red", "blue", "green", "beige", "yellow"))), fabric(rng)
    pole = pick(rng, (STEEL, WHITE, BLACK))
    width, low, rise = rng.uniform(2.2, 3.6), rng.uniform(1.7, 2.1), rng.uniform(0.6, 1.4)
    depth, curve, peaked = width * pick(rng, (1.0, 1.0, rng.uniform(1.1, 1.5))), rng.uniform(1.0, 2.0), maybe(rng, 0.6)
    rings = []
    for t in np.linspace(0, 1, 7):
        k, line = (1 - t) ** curve, rounded(1.0, -0.5, 0.5, 0.02, 2)
        ridge = (0, 0) if peaked else (width * 0.5 * (1 - k), 0)
        rings.append(np.array([(x * (width * k + ridge[0]), low + rise * t, z * depth * max(k, 0.012)) for x, z in line]))
    solids = named("roof", [loft(rings, cloth)])
    wave = pick(rng, (0, 1))
    for turn, span, out in ((0, width, depth), (90, depth, width), (180, width, depth), (270, depth, width)):
        n = max(4, round(span / 0.35))
        edge = [(span / 2, -0.22), (-span / 2, -0.22)]
        if wave:
            along = np.linspace(span / 2, -span / 2, 6 * n + 1)
            edge = [(float(x), -0.12 - 0.1 * abs(math.sin(math.pi * n * (x / span + 0.5)))) for x in along]
        fringe = slab([(-span / 2, 0.02), (span / 2, 0.02), *edge], 0.025, pick(rng, (second, cloth)))
        solids.append(fringe.moved((0, low, out / 2 - 0.01)).turned("y", turn).named("roof"))
    solids += named("pole", [dowel((x, 0, z), (x, low + 0.02, z), 0.03, pole, sides=10) for x, z in four(width - 0.08, depth - 0.08)])
    solids += named("pole", [disc(0.08, 0.02, (x, 0, z), pole, sides=12) for x, z in four(width - 0.08, depth - 0.08)])
    walls = int(rng.integers(0, 4))
    for turn in (180, 90, 270)[:walls]:
        span, out = (width, depth) if turn == 180 else (depth, width)
        x = np.linspace(-span / 2 + 0.05, span / 2 - 0.05, 40)
        grid = np.array([np.stack([x, np.full(40, y), out / 2 - 0.08 + 0.02 * np.sin(x * 14)], axis=1) for y in (0.03, low)])
        solids.append(drape(grid, grid - (0, 0, 0.02), cloth).turned("y", turn).named("wall"))
    if peaked and maybe(rng, 0.5):
        solids.append(rod((0, low + rise - 0.05, 0), (0, low + rise + 0.35, 0), 0.02, 0.015, pole).named("pole"))
        solids.append(slab([(0, 0), (0.35, 0.08), (0, 0.17)], 0.02, second).moved((0, low + rise + 0.17, 0)).named("flag"))
    return Thing.of(grounded(solids), cloth, ("square", "open"), parts_of(("pole", 4), ("wall", walls)))


def _bell_tent(rng: Rng) -> Thing:
    """Round with an upright wall and a cone on it: a bell tent, a yurt, a circus or a knight's tent."""
    cloth, second, timber = fabric(rng, pick(rng, ("white", "beige", "red", "blue", "green", "yellow"))), fabric(rng), wood(rng, "brown")
    radius, wall, rise, sides = rng.uniform(1.2, 2.2), rng.uniform(0.5, 1.5), rng.uniform(0.9, 2.0), pick(rng, (12, 16, 20))
    curve, over = rng.uniform(1.0, 1.8), rng.uniform(1.02, 1.1)
    roof = [(float(radius * over * (1 - t) ** curve), float(wall + rise * t)) for t in np.linspace(0, 0.97, 9)]
    striped = maybe(rng, 0.45)
    solids = named("wall", [lathe([(0, 0), (radius, 0), (radius * 0.99, wall), (0, wall)], cloth, sides=sides)])
    one = lathe([(0, wall - 0.1), (radius * over, wall - 0.1), *roof, (0, wall + rise)], pick(rng, (cloth, second)), sides=sides)
    solids.append(one.named("roof"))
    for i in range(0, sides, 2) if striped else ():
        a = np.array([i, i + 1]) * 2 * math.pi / sides
        eaves = [(r * 1.008, y + 0.012) for r, y in [(radius * over, wall - 0.1), *roof]]
        rows = [np.array([(r * math.sin(x), y, r * math.cos(x)) for x in a]) for r, y in eaves]
        solids.append(drape(np.array(rows), np.array(rows) - (0, 0.02, 0), second).named("roof"))
    wide, high = rng.uniform(0.35, 0.5), max(wall * 0.98, 0.6)
    outline = scaled([(-1, 0.0), (1, 0.0), (0.85, 0.7), (0.0, 1), (-0.85, 0.7)], wide, high)
    solids.append(slab(outline, 0.1, BLACK).moved((0, 0, radius * 0.98)).named("door"))
    for s in (-1, 1):
        flap = [(0.0, high), (s * wide, high * 0.85), (s * wide * 1.4, 0.0), (s * wide * 0.85, 0.0), (s * wide * 0.6, high * 0.5)]
        solids.append(slab(flap, 0.04, second, bevel=0.012).turned("y", s * 12).moved((0, 0, radius * 0.98 + 0.07)).named("door"))
    solids.append(rod((0, wall + rise * 0.9, 0), (0, wall + rise * 1.12, 0), 0.03, 0.025, timber, sides=10).named("pole"))
    flags = int(maybe(rng, 0.4))
    if flags:
        solids.append(rod((0, wall + rise, 0), (0, wall + rise + 0.55, 0), 0.02, 0.015, timber).named("pole"))
        solids.append(slab([(0, 0), (0.45, 0.12), (0, 0.24)], 0.02, second).moved((0, wall + rise + 0.3, 0)).named("flag"))
    cords = pick(rng, (0, 6, 8))
    ways = [(math.sin(turn), math.cos(turn)) for turn in (np.arange(cords) + 0.5) * 2 * math.pi / max(cords, 1)]
    rim = radius * over
    spots = [((rim * x, wall - 0.05, rim * z), (radius * 1.45 * x, 0.0, radius * 1.45 * z)) for x, z in ways]
    solids += _guys(spots, WHITE)
    style = ("round", "striped") if striped else ("round",)
    return Thing.of(grounded(solids), cloth, style, parts_of(("flag", flags), ("cord", cords)))
