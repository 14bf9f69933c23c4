"""Makes a fence: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.starter.kinds.kit import *


def _picket(rng: Rng, wide: float, height: float, thick: float, timber: Material) -> Solid:
    """One board of a fence: pointed, rounded, with cut corners, straight, or with a spearhead."""
    half = wide / 2
    match rng.integers(5):
        case 0:
            x, high = np.array([-half, 0, half]), np.array([height - 1.2 * half, height, height - 1.2 * half])
        case 1:
            x, arch = arch_over(wide, half, 2, 13)
            high = height - half + arch
        case 2:
            x, high = np.array([-half, -half * 0.5, half * 0.5, half]), np.array([height - half * 0.6, height, height, height - half * 0.6])
        case 3:
            x, high = np.array([-half, half]), np.full(2, height)
        case _:
            x = half * np.array([-1, -0.99, -0.5, -0.49, -0.8, 0, 0.8, 0.49, 0.5, 0.99, 1])
            x, high = np.sort(x), height - half * np.array([3.4, 3.2, 2.6, 1.4, 1.2, 0, 1.2, 1.4, 2.6, 3.2, 3.4])
    return plate_between(x, np.full(len(x), 0.05), high, thick, timber)


def _post(rng: Rng, thick: float, height: float, material: Material) -> list[Solid]:
    """A post of a fence, with one of several caps."""
    match rng.integers(5):
        case 0:
            return [box((thick, height, thick), (0, 0, 0), material)]
        case 1:
            roof = turned([(0, 0), (thick * 0.85, 0), (0, thick * 0.7)], (0, height, 0), material, sides=4).turned("y", 45)
            return [box((thick, height, thick), (0, 0, 0), material), roof]
        case 2:
            ball: Line = [(0, 0), (thick * 0.25, 0)]
            ball += [(thick * 0.55 * math.sin(a), thick * (0.65 - 0.55 * math.cos(a))) for a in np.linspace(0.5, 2.9, 8)]
            ball += [(0, thick * 1.2)]
            cap = [cushion((thick * 1.3, thick * 0.3, thick * 1.3), (0, height, 0), 0.01, material)]
            cap += [turned(ball, (0, height + thick * 0.25, 0), material, sides=16)]
            return [box((thick, height, thick), (0, 0, 0), material), *cap]
        case 3:
            return [
                lathe(
                    [(0, 0), (thick / 2, 0), (thick / 2, height), (thick * 0.3, height + thick * 0.3), (0, height + thick * 0.3)],
                    material,
                    sides=14,
                )
            ]
        case _:
            return [
                box((thick, height, thick), (0, 0, 0), material),
                cushion((thick * 1.4, thick * 0.4, thick * 1.4), (0, height - 0.01, 0), 0.012, material),
            ]


@dataclass(frozen=True)
class _Design:
    """What all fields of a fence have alike."""

    height: float
    thick: float
    timber: Material
    shape: int
    gap: float
    wide: float
    rails: int
    cross: bool
    swell: float
    hoops: bool
    ring: bool
    picket: Callable[[float], Solid]
    """From a height to a picket; all have the same top."""


def _picket_field(d: _Design, w: float) -> list[Solid]:
    """Pickets on two rails; their tops follow a curve."""
    made: list[Solid] = []
    lows = (d.height * 0.22, d.height * 0.72)
    made += named("rail", [box((w, 0.07, 0.035), (0, y, -0.028), d.timber) for y in lows])
    many = max(3, round(w / (d.wide * (1 + d.gap))))
    for i in range(many):
        u = 2 * (i + 0.5) / many - 1
        tall = d.height + (d.swell * (1 - u * u) - max(d.swell, 0) if d.shape == 0 else 0)
        made.append(d.picket(tall).moved((u * w / 2, 0, 0)).named("board"))
    return made


def _rail_field(d: _Design, w: float) -> list[Solid]:
    """Rails, sometimes with a cross."""
    made: list[Solid] = []
    for y in np.linspace(d.height * 0.3, d.height * 0.88, d.rails):
        if d.shape == 0:
            made.append(dowel((-w / 2, float(y), 0), (w / 2, float(y), 0), 0.045, d.timber, sides=10).named("rail"))
        else:
            made.append(box((w, 0.12, 0.035), (0, float(y) - 0.06, 0 if d.shape == 1 else d.thick * 0.4), d.timber).named("rail"))
    if d.cross:
        x, lift = np.array([-w / 2, w / 2]), np.array([d.height * 0.3, d.height * 0.88])
        made += named("rail", [plate_between(x, part - 0.05, part + 0.05, 0.03, d.timber) for part in (lift, lift[::-1])])
    return made


def _boards_field(d: _Design, w: float) -> list[Solid]:
    """Upright boards, side by side or in two rows."""
    made: list[Solid] = []
    lows, many = (d.height * 0.22, d.height * 0.72), max(3, round(w / 0.14))
    made += named("rail", [box((w, 0.08, 0.04), (0, y, -0.03), d.timber) for y in lows])
    for i in range(many):
        z = -0.07 * (i % 2) if d.shape == 1 else 0.0
        size = (w / many - (0.008 if d.shape else 0.001), d.height - 0.08, 0.022)
        made.append(box(size, (-w / 2 + (i + 0.5) * w / many, 0.05, z), d.timber).named("board"))
    made += named("rail", [cushion((w, 0.04, 0.09), (0, d.height - 0.04, 0), 0.01, d.timber)] if d.shape != 1 else [])
    return made


def _slats_field(d: _Design, w: float) -> list[Solid]:
    """Lying slats."""
    made: list[Solid] = []
    many = max(4, round(d.height / (0.09 + 0.05 * d.gap)))
    each = (d.height - 0.08) / many
    made += named("board", [box((w, each * (0.96 - 0.35 * d.gap), 0.025), (0, 0.06 + i * each, 0), d.timber) for i in range(many)])
    made += named("rail", [box((0.05, d.height - 0.06, 0.03), (s * w * 0.25, 0.05, -0.027), d.timber) for s in SIDES])
    return made


def _lattice_field(d: _Design, w: float) -> list[Solid]:
    """A lattice, sometimes above boards."""
    made: list[Solid] = []
    made += named("rail", [box((w, 0.07, 0.05), (0, y, 0), d.timber) for y in (0.06, d.height - 0.07)])
    low, high, step = 0.1, d.height - 0.04, 0.16 + 0.06 * d.gap
    split = d.height * 0.6 if d.cross else low
    made += (
        [box((w, split - low, 0.02), (0, low, 0), d.timber).named("board"), box((w, 0.06, 0.05), (0, split, 0), d.timber).named("rail")]
        if d.cross
        else []
    )
    tall = high - split
    for at in np.arange(-w / 2 - tall + step / 2, w / 2, step):
        a, b = max(float(at), -w / 2), min(float(at) + tall, w / 2)
        if b - a > 0.03:
            for z, mirror in ((0.006, 1), (-0.006, -1)):
                x, y = np.array([a, b]), split + np.array([a - float(at), b - float(at)])
                x, y = (x, y) if mirror == 1 else (-x[::-1], y[::-1])
                made.append(plate_between(x, y - 0.018, y + 0.018, 0.012, d.timber).moved((0, 0, z)).named("board"))
    return made


def _iron_field(d: _Design, w: float) -> list[Solid]:
    """Iron bars with spears or hoops."""
    made: list[Solid] = []
    rails = [box((w, 0.03, 0.02), (0, y, 0), d.timber) for y in (0.1, d.height * 0.8, *([d.height * 0.92] if d.ring else []))]
    made += named("rail", rails)
    many = max(5, round(w / 0.13))
    for i in range(many):
        u = 2 * (i + 0.5) / many - 1
        tall = d.height * 0.95 + (d.swell * 0.6 * (1 - u * u) if d.shape == 0 and d.swell > 0 else 0)
        made.append(dowel((u * w / 2, 0.06, 0), (u * w / 2, tall, 0), 0.009, d.timber, sides=8).named("bar"))
        if not d.hoops:
            spear = [(0, 0), (0.012, 0.0), (0.022, 0.03), (0, 0.1)]
            made.append(turned(spear, (u * w / 2, tall - 0.01, 0), d.timber, sides=8).named("bar"))
        if d.hoops and i % 2 == 0 and i + 1 < many:
            angle = np.linspace(0, math.pi, 9)
            x = (u + 1 / many) * w / 2 + np.cos(angle) * w / many / 2
            made.append(tube(np.stack([x, tall + np.sin(angle) * w / many / 2, 0 * x], axis=1), 0.009, d.timber, sides=8).named("bar"))
        if d.ring and i < many - 1:
            angle, radius = np.linspace(0, 2 * math.pi, 13), min(d.height * 0.05, w / many / 2)
            points = [(u + 1 / many) * w / 2 + radius * np.cos(angle), d.height * 0.87 + radius * np.sin(angle), 0 * angle]
            loop = np.stack(points, axis=1)
            made.append(tube(loop, 0.006, d.timber, sides=6).named("bar"))
    return made


def _wire_field(d: _Design, w: float) -> list[Solid]:
    """A mesh of wire."""
    made: list[Solid] = []
    made += named("rail", [dowel((-w / 2, y, 0), (w / 2, y, 0), 0.018, d.timber, sides=8) for y in (0.08, d.height - 0.03)])
    low, high, step = 0.08, d.height - 0.03, 0.11 + 0.06 * d.gap
    tall = high - low
    if d.shape:  # a mesh on its corner
        for at in np.arange(-w / 2 - tall + step, w / 2, step):
            a, b = max(float(at), -w / 2), min(float(at) + tall, w / 2)
            for m in SIDES:
                start = (m * a, low + a - float(at), 0.004 * m)
                made.append(dowel(start, (m * b, low + b - float(at), 0.004 * m), 0.005, d.timber, sides=5).named("wire"))
    else:
        wires = [dowel((float(x), low, 0), (float(x), high, 0), 0.005, d.timber, sides=5) for x in np.arange(-w / 2 + step, w / 2, step)]
        made += named("wire", wires)
        wires = [dowel((-w / 2, float(y), 0), (w / 2, float(y), 0), 0.005, d.timber, sides=5) for y in np.arange(low + step, high, step)]
        made += named("wire", wires)
    return made


def _woven_field(d: _Design, w: float) -> list[Solid]:
    """Withies woven about stakes."""
    made: list[Solid] = []
    stakes = max(3, round(w / 0.36))
    bend = np.linspace(-w / 2, w / 2, 4 * stakes + 1)
    for x in np.linspace(-w / 2 + 0.05, w / 2 - 0.05, stakes):
        made.append(rod((float(x), 0, 0), (float(x), d.height, 0), 0.022, 0.018, d.timber, sides=8).named("board"))
    many = round(d.height / 0.09)
    for i in range(many):
        wave = 0.03 * np.sin((bend + w / 2 - 0.05) / (w - 0.1) * (stakes - 1) * math.pi + math.pi / 2 + (i % 2) * math.pi)
        path = np.stack([bend, np.full(len(bend), 0.06 + i * (d.height - 0.12) / many), wave], axis=1)
        made.append(tube(path, 0.04, d.timber, sides=6).named("board"))
    return made


FIELDS: Final = {
    "picket": _picket_field,
    "rail": _rail_field,
    "boards": _boards_field,
    "slats": _slats_field,
    "lattice": _lattice_field,
    "iron": _iron_field,
    "wire": _wire_field,
    "woven": _woven_field,
}


def fence(rng: Rng) -> Thing:
    sort = pick(
        rng, (*["picket"] * 5, *["rail"] * 3, "boards", "boards", "slats", "slats", "lattice", "iron", "iron", "iron", "wire", "woven")
    )
    height = {"rail": rng.uniform(0.9, 1.4), "picket": rng.uniform(0.7, 1.2)}.get(sort, rng.uniform(1.0, 1.9))
    if sort == "iron":
        timber = metal(rng, pick(rng, ("black", "black", "white", "grey", "green")))
    elif sort == "wire":
        timber = metal(rng, pick(rng, ("grey", "green")))
    elif sort == "woven":
        timber = wood(rng, pick(rng, ("brown", "beige")))
    else:
        timber = pick(rng, (wood(rng, pick(rng, ("white", "brown", "beige", "grey", "green"))), wood(rng), plastic(rng, "white")))
    masonry = sort in ("iron", "slats", "picket", "boards") and maybe(rng, 0.25)
    thick = rng.uniform(0.24, 0.36) if masonry else rng.uniform(0.04, 0.07) if sort in ("iron", "wire") else rng.uniform(0.08, 0.13)
    pillar = stone(rng) if masonry else timber
    fields, span = int(pick(rng, (1, 2, 2, 3, 3, 4) if not masonry else (2, 3))), rng.uniform(1.1, 1.5) * (0.6 + 0.4 * height)
    span, corner = min(span * (1.6 if fields == 1 else 1.0), 5.2 / fields), fields > 1 and maybe(rng, 0.2)
    gate = int(rng.integers(0, fields)) if fields > 1 and not corner and maybe(rng, 0.4) else -1
    widths = [rng.uniform(0.9, 1.1) if i == gate else span for i in range(fields)]
    post = _post(rng, thick, height * rng.uniform(1.0, 1.15) + (0.1 if masonry else 0.02), pillar)
    shape, gap = rng.integers(3), rng.uniform(0.4, 1.1)
    wide, rails, cross = rng.uniform(0.06, 0.11), int(rng.integers(2, 5)), maybe(rng, 0.35)
    picket_state, swell = rng.bit_generator.state, rng.uniform(0.12, 0.25) * height * pick(rng, SIDES)
    hoops, ring = maybe(rng, 0.3), maybe(rng, 0.4)

    def picket(tall: float) -> Solid:
        rng.bit_generator.state = picket_state
        return _picket(rng, wide, tall, 0.022, timber)

    d = _Design(height, thick, timber, int(shape), gap, wide, rails, cross, swell, hoops, ring, picket)

    solids: list[Solid] = []
    x, first = 0.0, list(post)
    solids += first
    for i, w in enumerate(widths):
        inner = w - thick
        made = FIELDS[sort](d, inner if i != gate else inner - 0.04)
        if i == gate:
            brace, y = np.array([-0.5, 0.5]) * (inner - 0.06), np.array([height * 0.2, height * 0.78])
            made.append(plate_between(brace, y - 0.04, y + 0.04, 0.03, timber).moved((0, 0, -0.035)).named("rail"))
            made += named("rail", [box((0.045, height * 0.85, 0.035), (s * (inner / 2 - 0.035), 0.06, -0.03), timber) for s in SIDES])
            made += named("handle", [box((0.04, 0.05, 0.05), (inner / 2 - 0.03, height * 0.6, 0.03), BLACK)])
            some = [box((0.2, 0.035, 0.012), (-inner / 2 + 0.06, float(u), 0.022), BLACK) for u in (height * 0.25, height * 0.75)]
            made += named("rail", some)
            turn = rng.uniform(15, 40) if maybe(rng, 0.4) else 0.0
            made = [p.moved((inner / 2, 0, 0)).turned("y", turn).moved((-inner / 2, 0, 0)) for p in made]
        solids += [p.moved((x + w / 2, 0, 0)) for p in made + [p.moved((w / 2, 0, 0)) for p in post]]
        x += w
        if corner and i == 0:  # what follows goes off at a right angle
            solids = [p.moved((-x, 0, 0)).turned("y", 90) for p in solids]
            x = 0.0
    if not corner:
        solids = [p.moved((-x / 2, 0, 0)) for p in solids]
    if masonry and maybe(rng, 0.5) and not corner and gate < 0:
        solids.append(box((x, height * 0.18, thick * 0.7), (0, 0, 0), pillar).named("base"))
    style = ["corner"] if corner else []
    style += ["curved"] if sort == "picket" and shape == 0 else []
    style += ["tall"] if height > 1.45 else ["low"] if height < 0.85 else []
    parts = [Parts("post", fields + 1, pillar if masonry else None)]
    parts += said_of(timber, ("gate", int(gate >= 0), timber), ("rail", rails if sort == "rail" else 0, timber))
    parts += [Parts("picket", sum(max(3, round((w - thick) / (wide * (1 + gap)))) for w in widths))] if sort == "picket" else []
    return Thing.of(solids, timber, style, parts[:4], rest="post")
