"""Makes a guitar: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def _mirrored(half: Line) -> Line:
    """The right half of an outline, from below to above, and its image."""
    return half + [(-x, y) for x, y in half[::-1] if x > 0]


_HOLLOW: Line = [(0, 0), (0.2, 0), (0.4, 0.05), (0.5, 0.25), (0.36, 0.46), (0.23, 0.6), (0.34, 0.74), (0.36, 0.92), (0.22, 1.0), (0, 1.0)]
_NOTCHED: Line = [
    *[(0, 0), (0.2, 0), (0.41, 0.06), (0.48, 0.27), (0.34, 0.47), (0.2, 0.58), (0.3, 0.7), (0.34, 0.86), (0.22, 0.88), (0.12, 0.76)],
    *[(0.08, 0.8), (0.08, 0.98), (-0.2, 1.0), (-0.36, 0.94), (-0.36, 0.76), (-0.2, 0.6), (-0.34, 0.48), (-0.48, 0.27), (-0.41, 0.06)],
    *[(-0.2, 0)],
]
_TWO_HORNS: Line = [
    *[(0, 0), (0.3, -0.02), (0.46, 0.1), (0.44, 0.36), (0.28, 0.5), (0.28, 0.66), (0.42, 0.9), (0.3, 0.98), (0.2, 0.84), (0.08, 0.74)],
    *[(-0.08, 0.74), (-0.17, 0.84), (-0.24, 1.08), (-0.4, 1.06), (-0.36, 0.74), (-0.26, 0.52), (-0.44, 0.34), (-0.46, 0.1)],
    *[(-0.3, -0.02)],
]
_DEVIL: Line = _mirrored(
    [(0, 0), (0.3, 0), (0.45, 0.1), (0.42, 0.36), (0.27, 0.55), (0.32, 0.8), (0.42, 0.98), (0.4, 1.0), (0.2, 0.86), (0.1, 0.8), (0, 0.8)]
)
_ARROW: Line = _mirrored([(0, 0.36), (0.1, 0.36), (0.5, -0.08), (0.68, -0.06), (0.7, 0.04), (0.2, 0.86), (0.1, 0.94), (0, 0.94)])
_BOLT: Line = [
    *[(-0.5, 0.2), (-0.46, 0.08), (-0.1, 0.1), (0.42, -0.06), (0.5, 0.02), (0.26, 0.46), (0.42, 0.86), (0.34, 0.94), (0.1, 0.78)],
    *[(-0.08, 0.78), (-0.4, 0.84), (-0.46, 0.76), (-0.28, 0.5)],
]
_SEMI: Line = _mirrored(
    [
        *[(0, 0), (0.28, 0), (0.46, 0.06), (0.46, 0.32), (0.28, 0.5), (0.26, 0.6), (0.38, 0.76), (0.38, 0.94), (0.24, 0.96), (0.12, 0.8)],
        *[(0, 0.8)],
    ]
)
_PEAR: Line = _mirrored([(0, 0), (0.3, 0), (0.48, 0.12), (0.46, 0.5), (0.26, 0.85), (0.1, 1.0), (0, 1.0)])


def _neck(rng: Rng, x: float, low: float, nut: float, front: float, strings: int, timber: Material, bridge: float) -> list[Solid]:
    """Neck, frets, head, pegs and strings, upright at `x`: from `low` up to the `nut`, its board `front` before the middle of the body."""
    dark, peg = pick(rng, (BLACK, wood(rng, "brown"), wood(rng, "beige"))), pick(rng, (STEEL, WHITE, BRASS, BLACK))
    foot, top = 0.029 if strings != 4 else 0.03, 0.023
    line = [(-foot, low), (foot, low), (top, nut), (-top, nut)]
    solids = [sawn(line, 0.006, dark).moved((x, 0, front - 0.006))]
    back = [(foot * 0.95 * math.cos(a), 0.02 * math.sin(a)) for a in np.linspace(math.pi, 2 * math.pi, 9)]
    rings = [np.array([(px * k, y, front - 0.005 + pz) for px, pz in back[::-1]]) for y, k in ((low, 1.0), (nut + 0.02, 0.8))]
    solids.append(skin(rings, timber).moved((x, 0, 0)))
    long = nut - bridge
    frets = [bridge + long * 2 ** (-i / 12) for i in range(1, 21)]
    rects = [(0.0, -y, 2 * (top + (foot - top) * (nut - y) / (nut - low)) * 0.98, 0.003) for y in frets if y > low]
    solids.append(blocks_of(rects, 0.002, STEEL).turned("x", 90).moved((x, 0, front - 0.0005)))
    head, per, style = rng.uniform(0.15, 0.19) * min(1.0, 0.3 + long), (strings + 1) // 2, rng.integers(3)
    if style == 0:  # all pegs on one side
        knots = [(-0.022, 0), (0.022, 0), (0.03, 0.03), (0.035, head * 0.8), (0.02, head * 1.08), (-0.03, head * 1.1), (-0.05, head)]
        knots += [(-0.04, 0.04)]
        shape = smoothed(knots, rounds=1, closed=True)
        pegs = [(-1, 0.035 + (head - 0.05) * i / max(1, strings - 1)) for i in range(min(strings, 6))]
    else:
        wide = 0.034 if style == 1 else 0.042
        crown = [(wide, head), (0.012, head * 0.96), (0, head)] if style == 1 else [(wide, head * 0.92), (0.02, head), (0, head * 0.95)]
        shape = np.array(_mirrored([(0, 0), (0.022, 0), (wide, 0.03), *crown]))
        pegs = [(s, 0.04 + (head - 0.07) * i / max(1, min(per, 3) - 1)) for s in (-1, 1) for i in range(min(per, 3))]
    plate = [sawn(shape, 0.014, pick(rng, (timber, dark)), 0.002)]
    edge = 0.036
    plate += named("peg", [dowel((s * edge * 0.6, y, 0.006), (s * (edge + 0.018), y, 0.006), 0.003, peg, sides=6) for s, y in pegs])
    plate += named("peg", [box((0.012, 0.018, 0.009), (s * (edge + 0.022), y - 0.009, 0.006), peg) for s, y in pegs])
    plate += named("peg", [dowel((s * 0.018, y, 0.012), (s * 0.018, y, 0.022), 0.004, peg, sides=8) for s, y in pegs])
    solids += named("head", [s.turned("x", -10).moved((x, nut, front - 0.016)) for s in plate])
    solids.append(box((2 * top, 0.006, 0.006), (x, nut - 0.003, front + 0.001), WHITE))
    for i in range(strings):
        t = (i / (strings - 1) - 0.5) * 1.7
        string = dowel((x + t * foot, bridge, front + 0.008), (x + t * top, nut, front + 0.004), 0.001, STEEL, sides=6)
        solids.append(string.named("string"))
    return named("neck", solids)


def _guitar_stand(rng: Rng, wide: float, back: float, low: float) -> list[Solid]:
    """Two arms that carry the body `low` above the ground, and legs."""
    bar, arm = pick(rng, (BLACK, STEEL)), wide * 0.22
    solids = [dowel((s * arm, low - 0.012, back - 0.02), (s * arm, low - 0.012, 0.09), 0.011, bar) for s in (-1, 1)]
    solids += [dowel((s * arm, low - 0.015, 0.085), (s * arm, low + 0.03, 0.095), 0.011, bar) for s in (-1, 1)]
    solids.append(dowel((-arm, low - 0.012, back - 0.02), (arm, low - 0.012, back - 0.02), 0.011, bar))
    solids.append(dowel((0, low - 0.012, back - 0.02), (0, low + 0.25, back - 0.06), 0.012, bar))
    hub = (0.0, low + 0.22, back - 0.055)
    return named(
        "stand",
        [
            *solids,
            *(dowel(hub, foot, 0.01, bar) for foot in ((wide * 0.5, 0.01, 0.06), (-wide * 0.5, 0.01, 0.06), (0.0, 0.01, back - 0.3))),
            ball(0.02, hub, bar),
        ],
    )


def guitar(rng: Rng) -> Thing:
    hollow = maybe(rng, 0.45)
    trim, dark = pick(rng, (WHITE, BLACK, plastic(rng))), pick(rng, (BLACK, wood(rng, "brown")))
    timber = wood(rng, pick(rng, ("brown", "beige")))
    parts: list[Parts] = []
    if hollow:  # with a hole to sound through
        small = maybe(rng, 0.2)
        long = rng.uniform(0.26, 0.32) if small else rng.uniform(0.44, 0.54)
        wide, deep = long * rng.uniform(0.8, 0.95), long * rng.uniform(0.18, 0.24)
        shape = pick(rng, (_mirrored(_HOLLOW), _mirrored(_HOLLOW), _mirrored(_HOLLOW), _NOTCHED, _PEAR))
        body = pick(rng, (wood(rng, "brown"), wood(rng, "beige"), wood(rng), wood(rng, pick(rng, ("red", "black", "blue")))))
        top = pick(rng, (wood(rng, "beige"), wood(rng, "brown")))
        line = smoothed(np.array(shape) * (wide, long), rounds=2, closed=True)
        strings = 4 if small else pick(rng, (6, 6, 6, 12))
        solids = [sawn(line, deep, body, 0.004).moved((0, 0, -deep))]
        solids += [sawn(line * 0.985 + (0, long * 0.007), 0.004, top).moved((0, 0, -0.002))]
        hole, y = wide * rng.uniform(0.11, 0.14), long * 0.64
        solids.append(facing([(hole, 0), (hole * 1.25, 0), (hole * 1.25, 0.003), (hole, 0.003)], (0, y, 0), dark))
        solids.append(facing([(0, 0), (hole, 0), (hole, 0.0015), (0, 0.0015)], (0, y, 0.0015), BLACK))
        bridge = long * 0.25
        solids.append(cushion((wide * 0.42, 0.03, 0.012), (0, bridge - 0.015, 0), 0.005, dark).named("bridge"))
        solids.append(box((0.07, 0.004, 0.016), (0, bridge - 0.002, 0), WHITE).named("bridge"))
        if maybe(rng, 0.5):
            knots = [(hole * 0.9, -0.2 * hole), (hole * 2.2, -hole * 1.2), (hole * 1.7, -hole * 2.6), (hole * 0.3, -hole * 1.5)]
            guard = smoothed(knots, rounds=2, closed=True)
            solids.append(sawn(guard, 0.003, trim).moved((0, y, 0.0015)))
            parts.append(Parts("guard", 1, trim))
        front, low, nut = 0.009, y + hole * 1.05, bridge + (long * 1.3 if small else rng.uniform(0.62, 0.66))
        parts.append(Parts("sound hole", 1, BLACK))
        solids += _neck(rng, 0, low, nut, front, strings, timber, bridge)
        heel = long - 0.02
        outline = [(-deep * 0.85, heel), (0.0, heel), (0.0, heel + 0.1), (-0.015, heel + 0.1), (-deep * 0.6, heel + 0.03)]
        solids.append(profile_of(outline, 0.035, timber).named("neck"))
        main = body
    else:
        long, deep, bass = rng.uniform(0.4, 0.5), rng.uniform(0.035, 0.05), maybe(rng, 0.2)
        shape, rounds = pick(
            rng, ((_TWO_HORNS, 2), (_TWO_HORNS, 2), (_NOTCHED, 2), (_NOTCHED, 2), (_DEVIL, 2), (_ARROW, 1), (_BOLT, 1), (_SEMI, 2))
        )
        wide = long * rng.uniform(0.8, 0.95)
        main = pick(rng, (plastic(rng), wood(rng), wood(rng, "brown"), plastic(rng, pick(rng, ("red", "black", "white", "blue")))))
        line = smoothed(np.array(shape) * (wide, long), rounds=rounds, closed=True)
        solids = [sawn(line, deep, main, deep * rng.uniform(0.15, 0.3)).moved((0, 0, -deep))]
        bridge = long * (0.5 if shape is _ARROW else rng.uniform(0.26, 0.32))
        strings = 4 if bass else pick(rng, (6, 6, 6, 6, 12))
        pickups, knobs = int(rng.integers(1, 4)), int(rng.integers(1, 5))
        necks = 2 if not bass and wide > 0.33 and shape in (_SEMI, _DEVIL) and maybe(rng, 0.3) else 1
        room, xs = long * 0.78 - bridge, (0.0,) if necks == 1 else (-0.07, 0.07)
        nut = bridge + (rng.uniform(0.78, 0.86) if bass else rng.uniform(0.6, 0.66))
        for x in xs:
            for i in range(pickups):
                y = bridge + room * (0.14 + 0.66 * i / max(2, pickups))
                solids.append(cushion((0.085, rng.uniform(0.018, 0.036), 0.018), (x, y, 0), 0.005, pick(rng, (BLACK, trim, STEEL))))
            bridges = [box((0.085, 0.02, 0.022), (x, bridge - 0.01, 0), STEEL), box((0.075, 0.02, 0.014), (x, bridge - 0.06, 0), STEEL)]
            solids += named("bridge", bridges)
            solids += _neck(rng, x, bridge + room * 0.9, nut, 0.012, strings, timber, bridge)
        if maybe(rng, 0.5) and rounds == 2:
            low = shape in (_TWO_HORNS, _DEVIL)
            knots = [(0.03, 0.16), (0.26, 0.14), (0.22, 0.4), (0.2, 0.6), (0.24, 0.72) if low else (0.14, 0.66), (0.06, 0.7), (-0.1, 0.72)]
            knots += [(-0.18, 0.6), (-0.02, 0.4)]
            guard = smoothed(knots, rounds=2, closed=True)
            solids.append(sawn(guard * (wide, long), 0.003, trim).moved((0, 0, -0.0005)))
            parts.append(Parts("guard", 1, trim))
        ends = (
            [(0.2 + 0.1 * (i % 2), 0.3 - 0.1 * (i // 2)) for i in range(knobs)]
            if rounds == 2
            else [(0.17 + 0.06 * i, 0.28 - 0.07 * i) for i in range(knobs)]
        )
        some = [knob(0.013, 0.014, (px * wide + 0.01, py * long, 0.0), pick(rng, (BLACK, BRASS, STEEL))) for px, py in ends]
        solids += named("knob", some)
        horns = 2 if shape in (_TWO_HORNS, _DEVIL, _SEMI) else 1 if shape is _NOTCHED else 0
        parts += [Parts("horn", horns)] if horns else []
        parts += [Parts("pickup", pickups * necks), Parts("knob", knobs)]
        if necks == 2:
            parts = [Parts("neck", 2), *parts]
    low = -min(float(s.vertices[:, 1].min()) for s in solids)
    lift = rng.uniform(0.1, 0.22) if maybe(rng, 0.25) else 0.0
    solids = [s.moved((0, low + lift, 0)) for s in solids]
    if lift:
        solids = [s.moved((0, -lift, 0)).turned("x", -8).moved((0, lift, 0.03)) for s in solids] + _guitar_stand(rng, wide, -deep, lift)
        parts = [Parts("stand", 1), *parts]
    parts = [Parts("string", strings), *parts]
    return Thing.of(solids, main, () if hollow else ("slim",), parts[:4])
