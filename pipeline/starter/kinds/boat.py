"""Makes a boat: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.starter.kinds.kit import *


def _hull(
    length: float,
    beam: float,
    depth: float,
    material: Material,
    *,
    rake: float = 0.3,
    stern: float = 0.7,
    sheer: float = 0.25,
    full: float = 1.5,
    inner: float = 0.0,
) -> Solid:
    """A hull whose deck is at about `depth`, bow to +Z; open from above with a wall of `inner` if that is given.

    Args:
        rake: how far the bow leans forward, a part of the depth.
        stern: width of the stern, a part of the beam; 0 is as sharp as the bow.
        sheer: how much the bow (and half as much the stern) is higher than the middle, a part of the depth.
        full: 1 for a V below, larger for a U.
    """
    angle = np.linspace(0, math.pi, 15)
    x0, y0 = np.sign(np.cos(angle)) * abs(np.cos(angle)) ** (1 / full), np.sin(angle) ** (1 / full)
    rings = []
    for s in np.linspace(0, 1, 26):
        back = stern + (1 - stern) * math.sin(min(s / 0.45, 1) * math.pi / 2) ** (0.8 if stern < 0.2 else 1)
        wide = max(beam / 2 * back * (1 - max(s - 0.45, 0) ** 2.2 / 0.55**2.2) ** 0.75, 0.006 * beam)
        end = abs(2 * s - 1)
        high = depth * (1 + sheer * end**2 * (1 if s > 0.5 else 0.5))
        keel = depth * 0.55 * (max(s - 0.7, 0) / 0.3) ** 2.5 * min(rake * 2, 1) + depth * 0.12 * (max(0.25 - s, 0) / 0.25) ** 2 * (
            1 if stern else 3
        )
        x, y = wide * x0, high - (high - keel) * y0
        if inner:
            wall = min(inner, 0.7 * wide)
            fx, fy = (wide - wall) * x0[::-1], high - (high - keel - inner) * y0[::-1] * (1 if s < 1 else 0.9)
            x, y = np.concatenate([x, fx]), np.concatenate([y, fy])
        lean = rake * depth * (s**3) * (y / depth) - (rake * depth * (1 - s) ** 3 * (y / depth) * 0.8 if stern < 0.2 else 0)
        rings.append(np.stack([x, y, (s - 0.5) * length + lean], axis=1))
    return loft(rings, material)


def _sail(corners: Sequence[Point], bulge: float, material: Material) -> Solid:
    """Cloth between foot (two points) and head (two points, which may coincide), blown out towards +X and +Z by `bulge` (x, z)."""
    a, b, c, d = (np.array(corner) for corner in corners)
    u, v = np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9))
    u, v = u[..., None], v[..., None]
    grid, flat = (a * (1 - u) + b * u) * (1 - v) + (d * (1 - u) + c * u) * v, np.cross(b - a, d - a)
    flat /= np.linalg.norm(flat)
    grid = grid + flat * bulge * np.sin(math.pi * u) * np.sin(math.pi * (0.15 + 0.85 * v))
    return drape(grid + flat * 0.012, grid - flat * 0.012, material)


def boat(rng: Rng) -> Thing:
    return designed(rng, (_rowing_boat, _sailing_boat, _sailing_boat, _motor_boat, _motor_boat, _ship, _ship, _tall_ship))


def _rowing_boat(rng: Rng) -> Thing:
    """Open: a rowing boat with a flat stern, or a canoe pointed at both ends."""
    canoe, length, depth = maybe(rng, 0.4), rng.uniform(2.8, 4.6), rng.uniform(0.4, 0.6)
    beam = rng.uniform(0.75, 0.95) if canoe else length * rng.uniform(0.33, 0.42)
    timber = pick(rng, (wood(rng, pick(rng, ("brown", "beige"))), plastic(rng), metal(rng, pick(rng, PAINTS))))
    bench = wood(rng, pick(rng, ("brown", "beige", "white")))
    stern, sheer, full = 0.0 if canoe else rng.uniform(0.5, 0.75), rng.uniform(0.2, 0.6), rng.uniform(1.3, 2.2)
    solids = [_hull(length, beam, depth, timber, rake=0.5, stern=stern, sheer=sheer, full=full, inner=0.04)]
    seats = int(rng.integers(1, 4))
    for z in ((0.0,), (-0.22, 0.12), (-0.28, 0.0, 0.24))[seats - 1]:
        solids.append(box((beam * (0.9 if abs(z) < 0.2 else 0.78), 0.035, 0.24), (0, depth * 0.72, z * length), bench).named("seat"))
    oars = 0 if maybe(rng, 0.25) else 1 if canoe and maybe(rng, 0.6) else 2
    paddle = [(-0.02, 0), (0.02, 0), (0.025, length * 0.33), (0.08, length * 0.37), (0.09, length * 0.5), (0.05, length * 0.53)]
    paddle += [(-0.05, length * 0.53), (-0.09, length * 0.5), (-0.08, length * 0.37), (-0.025, length * 0.33)]
    inside = maybe(rng, 0.3)
    for s in (-1, 1)[:oars]:
        oar = [slab(paddle, 0.025, bench, bevel=0.008), rod((0, -0.3, 0), (0, length * 0.36, 0), 0.022, 0.024, bench, sides=10)]
        if canoe or inside:
            some = [p.turned("x", 90).turned("y", s * 6).moved((s * 0.14, depth * 0.72 + 0.06, -length * 0.25)) for p in oar]
            solids += named("oar", some)
        else:
            solids += named("oar", [p.turned("z", -s * 97).turned("y", -s * 20).moved((s * beam * 0.32, depth * 1.12, 0)) for p in oar])
            end = (s * beam * 0.48, depth * 1.08, -length * 0.015)
            solids.append(dowel((s * beam * 0.48, depth * 0.9, -length * 0.015), end, 0.02, STEEL, sides=8).named("oar"))
    return Thing.of(
        grounded(solids),
        timber,
        ("open", "slim") if canoe else ("open",),
        parts_of(("seat", seats), ("paddle" if canoe else "oar", oars)),
        rest="hull",
    )


def _sailing_boat(rng: Rng) -> Thing:
    length = rng.uniform(5, 9)
    beam, depth = length * rng.uniform(0.27, 0.34), length * rng.uniform(0.11, 0.15)
    hull, deck = pick(rng, (metal(rng, pick(rng, PAINTS)), wood(rng))), wood(rng, pick(rng, ("brown", "beige", "white")))
    cloth, twin = fabric(rng, pick(rng, ("white", "white", "beige", "red", "blue", "yellow"))), maybe(rng, 0.15)
    if twin:
        solids = [_hull(length, beam * 0.28, depth, hull, rake=0.3, stern=0.6, full=2.0).moved((s * beam * 0.62, 0, 0)) for s in (-1, 1)]
        solids.append(cushion((beam * 1.4, depth * 0.25, length * 0.5), (0, depth * 0.9, -length * 0.08), 0.05, deck).named("deck"))
    else:
        rake, stern, sheer, full = rng.uniform(0.4, 1.2), rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.35), rng.uniform(1.2, 2)
        solids = [_hull(length, beam, depth, hull, rake=rake, stern=stern, sheer=sheer, full=full)]
    keel = not twin and maybe(rng, 0.5)
    if keel:
        one = wing_of((0, depth * 0.3, length * 0.08), (0, -depth * 1.1, -length * 0.02), length * 0.2, length * 0.14, 0.12, BLACK)
        solids.append(one.named("keel"))
        tip = (0, -depth * 0.6, -length * 0.41)
        solids.append(wing_of((0, depth * 0.3, -length * 0.38), tip, length * 0.08, length * 0.06, 0.12, hull).named("keel"))
    if maybe(rng, 0.75):
        top = [
            oval(1.0, 1.0, 0, 0, 4)[:, [0, 2, 1]] * (beam * 0.62 * g, 1, length * 0.3 * g) + (0, depth * y, -length * 0.02)
            for y, g in ((0.9, 1.0), (1.35, 0.95), (1.45, 0.88), (1.5, 0.6))
        ]
        solids.append(loft(top, pick(rng, (WHITE, deck))).named("cabin"))
        solids += named(
            "window",
            [cushion((beam * 0.6, depth * 0.16, length * 0.055), (0, depth * 1.16, z * length), 0.02, BLACK) for z in (-0.08, 0.0, 0.06)],
        )
    masts, spar = pick(rng, (1, 1, 2)), pick(rng, (STEEL, wood(rng, "brown"), WHITE))
    high = length * rng.uniform(1.0, 1.3)
    blow, sails, swing = length * rng.uniform(0.03, 0.07), 0, math.radians(rng.uniform(-25, 25))
    for i in range(masts):
        z, tall = ((0.1,), (0.16, -0.25))[masts - 1][i] * length, high * (1.0, 0.72)[i]
        solids.append(rod((0, depth * 0.5, z), (0, depth + tall, z), length * 0.011, length * 0.007, spar).named("mast"))
        boom, y = length * (0.5 if masts == 1 else 0.3), depth + tall * 0.12
        end = (math.sin(swing) * boom, y, z - math.cos(swing) * boom)
        solids.append(rod((0, y, z), end, length * 0.007, length * 0.006, spar).named("mast"))
        gaff = maybe(rng, 0.25)
        head = (
            (end[0] * 0.55, depth + tall * 0.98, z + (end[2] - z) * 0.6)
            if gaff
            else (end[0] * 0.04, depth + tall * 0.97, z - 0.03 * length)
        )
        throat = (0.0, depth + tall * (0.68 if gaff else 0.98), z - length * 0.01)
        points = [(0, y + 0.08, z - length * 0.01), (end[0] * 0.97, y + 0.12, z + (end[2] - z) * 0.97), head, throat]
        solids.append(_sail(points, blow, cloth).named("sail"))
        solids += named("mast", [rod(throat, head, length * 0.006, length * 0.005, spar)] if gaff else [])
        sails += 1
    bow = (0.0, depth * 1.25, length * 0.5)
    if maybe(rng, 0.75):
        mast = (0.1 if masts == 1 else 0.16) * length
        clew = (math.sin(swing) * length * 0.2, depth * 1.4, mast - length * 0.03)
        front = fabric(rng, pick(rng, ("white", "red", "blue", "orange"))) if maybe(rng, 0.3) else cloth
        peak = (0.0, depth + high * rng.uniform(0.7, 0.95), mast + 0.02 * length)
        solids += [
            _sail([bow, clew, peak, peak], blow, front).named("sail"),
            dowel(bow, peak, length * 0.003, STEEL, sides=6).named("mast"),
        ]
        sails += 1
    if maybe(rng, 0.5):  # an open place to sit behind, with a tiller
        solids += named("deck", [box((beam * 0.5, depth * 0.06, length * 0.18), (0, depth, -length * 0.33), deck)])
        handle = rod((0, depth * 0.9, -length * 0.49), (0, depth * 1.35, -length * 0.3), length * 0.006, length * 0.005, deck)
        solids.append(handle.named("handle"))
    said = parts_of(("mast", masts), ("sail", sails), ("hull", 2 * twin), ("keel", int(keel)))
    return Thing.of(grounded(solids), hull if not sails else cloth, ("tall",) if high > 1.15 * length else (), said, rest="hull")


def _motors(rng: Rng, length: float, beam: float, solids: list[Solid], depth: float) -> int:
    """Outboard motors."""
    motors = pick(rng, (1, 1, 2))
    size = 0.05 * length * (1 if motors == 1 else 0.85)
    for i in range(motors):
        x, levels = (i - (motors - 1) / 2) * beam * 0.3, ((0, 0.8), (0.3, 1), (1.2, 1), (1.7, 0.75), (1.8, 0.4))
        hood = [oval(1, 1, 0, 0, 3)[:, [0, 2, 1]] * (size * 1.1 * g, 1, size * 1.5 * g) + (0, y * size, 0) for y, g in levels]
        leg = [box((size * 0.35, size * 3.0, size * 0.7), (0, -size * 2.9, 0), STEEL)]
        leg += [wing_of((0, -size * 2.2, size * 0.4), (0, -size * 3.4, size * 0.3), size, size * 0.6, 0.2, STEEL)]
        solids += named("engine", [solid.moved((x, depth, -length * 0.5 - size * 0.7)) for solid in (loft(hood, BLACK), *leg)])
        solids.append(box((size * 0.5, size * 0.8, size * 1.6), (x, depth * 0.8, -length * 0.5), STEEL).named("engine"))
    return motors


def _bow_rail(beam: float, depth: float, length: float, solids: list[Solid]) -> None:
    """A rail around the bow."""
    levels = ((-1, 0.88, 0.02), (-1, 0.74, 0.22), (-1, 0.42, 0.38), (1, 0.0, 0.5), (1, 0.42, 0.38), (1, 0.74, 0.22), (1, 0.88, 0.02))
    spots = [(s * x * beam / 2, depth * (1.1 + 0.35 * max(q, 0)), q * length) for s, x, q in levels]
    one = tube(bent_by([(x, y + depth * 0.45, z) for x, y, z in spots], 30), 0.016 + 0.001 * length, STEEL, sides=8)
    solids.append(one.named("railing"))
    solids += named("railing", [dowel(spot, (spot[0], spot[1] + depth * 0.45, spot[2]), 0.015, STEEL, sides=6) for spot in spots])


def _motor_boat(rng: Rng) -> Thing:
    """A runabout with a windscreen, a cabin cruiser, or a working boat with a wheelhouse."""
    length = rng.uniform(4.5, 9)
    beam, depth = length * rng.uniform(0.3, 0.36), length * rng.uniform(0.13, 0.17)
    hull = pick(rng, (metal(rng, pick(rng, PAINTS)), plastic(rng), wood(rng, "brown")))
    deck = pick(rng, (WHITE, wood(rng, "brown"), wood(rng, "beige")))
    pane, form = glass(rng, pick(rng, ("black", "blue"))), int(rng.integers(3))
    rake, stern, sheer, full = rng.uniform(0.5, 1.1), rng.uniform(0.75, 0.92), rng.uniform(0.1, 0.4), rng.uniform(1.3, 2.0)
    solids = [_hull(length, beam, depth, hull, rake=rake, stern=stern, sheer=sheer, full=full, inner=0.06 * beam)]
    floor, seats, motors, cabins = depth * 0.55, 0, 0, 0
    solids.append(
        _hull(length * 0.94, beam * 0.9, depth * 0.6, deck, rake=0.6, stern=0.85, sheer=0.1, full=2.0)
        .moved((0, 0.04 * depth, -0.01 * length))
        .named("deck")
    )
    front = [(-0.86, -0.02), (0.86, -0.02), (0.84, 0.12), (0.7, 0.25), (0.45, 0.38), (0.1, 0.49), (-0.1, 0.49), (-0.45, 0.38), (-0.7, 0.25)]
    front += [(-0.84, 0.12)]
    outline = [(x * beam / 2 * 1.02, -z * length) for x, z in front]
    solids.append(slab(outline, depth * 0.12, deck).turned("x", -90).moved((0, depth * 1.03, 0)).named("deck"))
    hide = leather(rng, pick(rng, ("white", "red", "brown", "blue", "beige")))
    if form == 0:
        points = [(-beam * 0.4, depth, 0.02 * length), (beam * 0.4, depth, 0.02 * length), (beam * 0.36, depth * 1.6, -0.04 * length)]
        points += [(-beam * 0.36, depth * 1.6, -0.04 * length)]
        solids.append(_sail(points, beam * 0.1, pane).named("window"))
        solids.append(cushion((beam * 0.8, depth * 0.5, length * 0.06), (0, depth * 0.6, -0.02 * length), 0.05, deck).named("deck"))
        seats = pick(rng, (2, 3, 4))
        for x, z in (
            ((-0.2, -0.14), (0.2, -0.14), (0.0, -0.3), (0.0, -0.3))[:seats]
            if seats < 4
            else ((-0.2, -0.14), (0.2, -0.14), (-0.2, -0.3), (0.2, -0.3))
        ):
            w = beam * (0.3 if x else 0.75)
            solids.append(cushion((w, depth * 0.3, length * 0.08), (x * beam, floor, z * length), 0.04, hide).named("seat"))
            seat = cushion((w, depth * 0.75, length * 0.025), (x * beam, floor + 0.1 * depth, (z - 0.045) * length), 0.03, hide)
            solids.append(seat.named("seat"))
    else:
        cabins, tall = pick(rng, (1, 1, 2)), depth * rng.uniform(1.2, 1.7)
        z, long = (0.06, 0.36) if form == 1 else (pick(rng, (0.12, -0.2)), 0.2)
        y, wide = depth * 0.85, beam * 0.72
        for _ in range(cabins):
            slope = long * (0.25 if form == 1 else 0.05)
            walls = [(0, wide, -long / 2, long / 2 + slope * 0.3), (0.5, wide * 0.97, -long / 2, long / 2 - slope * 0.1)]
            walls += [(0.9, wide * 0.9, -long / 2 + 0.01, long / 2 - slope * 0.8)]
            rings = [np.array([(x, y + h * tall, -q * length) for x, q in rounded(w, -(b + z), -(a + z), 0.04)]) for h, w, a, b in walls]
            solids += [loft(rings[:2], WHITE).named("cabin"), loft(rings[1:], pane).named("window")]
            top = rounded(wide, -(long / 2 - slope * 0.72 + z), -(-long / 2 - 0.01 + z), 0.04)
            levels = ((0.88, 1), (0.96, 1), (1.02, 0.85))
            cabin = loft([np.array([(x * g, y + h * tall, -q * length * 1) for x, q in top]) for h, g in levels], deck)
            solids.append(cabin.named("cabin"))
            for s in (-1, 1):
                for q in (-long * 0.47, -long * 0.1):
                    start = (s * wide * 0.47, y + 0.45 * tall, (q + z) * length)
                    cabin = dowel(start, (s * wide * 0.45, y + 0.92 * tall, (q + z) * length), 0.02 * tall, WHITE, sides=6)
                    solids.append(cabin.named("cabin"))
            y, wide, long, z, tall = y + tall, wide * 0.8, long * 0.6, z - long * 0.1, tall * 0.75
        if form == 2 or maybe(rng, 0.5):
            mast = rod((0, y - 0.1, z * length), (0, y + depth * rng.uniform(0.8, 2.0), z * length), 0.03, 0.02, STEEL, sides=8)
            solids.append(mast.named("mast"))
    rails = maybe(rng, 0.5)
    if rails:
        _bow_rail(beam, depth, length, solids)
    if maybe(rng, 0.65):
        motors = _motors(rng, length, beam, solids, depth)
    said = parts_of(("seat", seats), ("motor", motors), ("cabin", cabins), ("railing", int(rails)))
    return Thing.of(grounded(solids), hull, ("open",) if form == 0 else ("closed",), said, rest="hull")


def _lifeboats(boats: int, length: float, solids: list[Solid], depth: float, second: Material, beam: float) -> None:
    """Lifeboats in two rows."""
    for i in range(boats):
        s, z = (-1, 1)[i % 2], (i // 2 - 1) * 0.14 * length
        shape = ((-0.55, 0.02), (-0.35, 0.2), (0, 0.28), (0.35, 0.2), (0.55, 0.02))
        stations = [(z + d * depth, w * depth, w * depth, depth * 1.75) for d, w in shape]
        solids.append(fuselage(stations, second, count=10).moved((s * beam * 0.44, 0, 0)).named("lifeboat"))


def _ship(rng: Rng) -> Thing:
    """A liner with funnels, a freighter with containers, or a tug."""
    form, length = int(rng.integers(3)), 60.0
    beam = length * ((0.13, 0.15, 0.3)[form] + rng.uniform(-0.01, 0.03))
    depth = length * ((0.09, 0.08, 0.15)[form] + rng.uniform(-0.01, 0.02))
    hull = metal(rng, pick(rng, ("black", "white", "blue", "red", "grey", "green")))
    second, house = metal(rng, pick(rng, ("red", "black", "yellow", "orange"))), metal(rng, pick(rng, ("white", "white", "beige")))
    dark, shape = glass(rng, "black"), (rng.uniform(0.3, 0.8), rng.uniform(0.55, 0.85), rng.uniform(0.1, 0.4))
    solids = [_hull(length, beam, depth, hull, rake=shape[0], stern=shape[1], sheer=shape[2], full=3.0)]
    solids.append(
        _hull(length * 0.995, beam * 1.01, depth * 0.35, second, rake=0.2, stern=shape[1] * 0.95, sheer=0, full=3.0).moved(
            (0, -depth * 0.01, -0.002 * length)
        )
    )
    stacks, containers, boats = 0, 0, 0

    def block(width: float, y: float, tall: float, back: float, front: float, paint: Material, panes: bool = True) -> None:
        """A deckhouse with rounded corners and a row of windows."""
        line = rounded(width, -front * length, -back * length, 0.25 * width, 5)
        solids.append(loft([np.array([(x * g, y + h * tall, -z) for x, z in line]) for h, g in ((0, 1), (1, 1))], paint).named("cabin"))
        solids.append(loft([np.array([(x * 1.05, y + h * tall, -z) for x, z in line]) for h in (0.96, 1.05)], paint).named("cabin"))
        if panes:
            for z in np.arange(back * length + 0.3 * width, front * length - 0.3 * width, tall * 0.8):
                places = [(s * width / 2, y + tall * 0.35, float(z)) for s in (-1, 1)]
                solids.extend(box((0.1, tall * 0.4, tall * 0.4), at, dark).named("window") for at in places)
            solids.extend(
                box((tall * 0.4, tall * 0.4, 0.1), (float(x), y + tall * 0.35, front * length), dark).named("window")
                for x in np.arange(-0.2, 0.3, 0.2) * width
            )

    if form == 0:
        decks, y, back, front, width = int(rng.integers(2, 5)), depth, -0.36, 0.28, beam * 0.86
        for _ in range(decks):
            block(width, y, depth * 0.42, back, front, house)
            y, back, front, width = y + depth * 0.42, back + rng.uniform(0.02, 0.06), front - rng.uniform(0.015, 0.05), width * 0.93
        stacks = int(rng.integers(1, 5))
        places = np.linspace(back + 0.08, front - 0.12, stacks) if stacks > 1 else [0.0]
        boats = pick(rng, (0, 6))
        _lifeboats(boats, length, solids, depth, second, beam)
        girth, lofty = depth * rng.uniform(0.3, 0.45), depth * rng.uniform(0.9, 1.6)
    elif form == 1:
        end = -0.28 if maybe(rng, 0.7) else 0.02
        for i, k in enumerate((1.0, 0.95, 0.9)):
            block(beam * 0.8 * k, depth * (1 + 0.45 * i), depth * 0.45, end - 0.1 + 0.005 * i, end - 0.005 * i, house)
        block(beam * 0.95, depth * 2.35, depth * 0.4, end - 0.05, end + 0.005, house)
        y, stacks, places, girth, lofty = depth * 2.3, 1, [end - 0.09], depth * 0.3, depth * 0.9
        paints = [metal(rng, color) for color in ("red", "blue", "green", "orange", "grey")]
        cells = [
            (float(z), x, h)
            for z in np.arange(-0.25, 0.38, 0.085)
            if z > end + 0.05 or z < end - 0.15
            for x in (-0.27, 0, 0.27)
            for h in range(int(rng.integers(1, 4)))
        ]
        containers = len(cells)
        for z, x, h in cells:
            at = (x * beam, depth * (1 + 0.37 * h), z * length)
            solids.append(box((beam * 0.26, depth * 0.36, length * 0.08), at, pick(rng, paints)).named("container"))
    else:
        y = depth
        for i, (tall, back, front, k) in enumerate(((0.55, -0.22, 0.22, 0.66), (0.6, -0.02, 0.2, 0.6))):
            block(beam * k, y, depth * tall, back, front, house, bool(i) or maybe(rng, 0.6))
            y += depth * tall
        stacks, places, girth, lofty, y = pick(rng, (1, 2)), [-0.12, -0.2], depth * 0.22, depth * rng.uniform(0.8, 1.2), depth * 1.5
        side = [(-1, 0.97, 0, -0.3), (-1, 1.02, 0, 0), (-1, 0.86, 0.3, 0.28), (1, 0, 1.7, 0.51), (1, 0.86, 0.3, 0.28), (1, 1.02, 0, 0)]
        side += [(1, 0.97, 0, -0.3)]
        rim = [(s * beam * 0.5 * w, depth * (1.0 + 0.1 * h), z * length) for s, w, h, z in side]
        solids.append(tube(bent_by(rim, 40), depth * 0.06, BLACK))
    lean = rng.uniform(0, 12)
    for place in list(places)[:stacks]:
        line = [(0, 0), (girth, 0), (girth, lofty * 0.72), (girth * 1.03, lofty * 0.72), (girth * 1.03, lofty), (girth * 0.85, lofty)]
        line += [(girth * 0.82, lofty * 0.9), (0, lofty * 0.9)]
        funnel = [lathe([*line[:3], (0, lofty * 0.72)], second, squash=1.35)]
        funnel += [lathe([(0, lofty * 0.72), *line[3:]], BLACK, squash=1.35)]
        solids += named("funnel", [part.turned("x", -lean).moved((0, y - depth * 0.08, place * length)) for part in funnel])
    masts = pick(rng, (0, 1, 2))
    for z in (0.36, -0.42)[:masts]:
        solids.append(rod((0, depth, z * length), (0, depth * 3.8, z * length), depth * 0.05, depth * 0.03, house, sides=8).named("mast"))
        mast = dowel((-beam * 0.2, depth * 3.2, z * length), (beam * 0.2, depth * 3.2, z * length), depth * 0.025, house, sides=8)
        solids.append(mast.named("mast"))
    said = parts_of(("funnel", stacks), ("mast", masts), ("container", containers), ("lifeboat", boats))
    return Thing.of(grounded(solids), hull, (("slim",), ("low",), ("wide",))[form], said, rest="hull")


def _tall_ship(rng: Rng) -> Thing:
    length, masts = 30.0, pick(rng, (2, 3, 3))
    beam, depth = length * rng.uniform(0.2, 0.26), length * rng.uniform(0.13, 0.18)
    hull, cloth = wood(rng, pick(rng, ("brown", "black", "brown"))), fabric(rng, pick(rng, ("white", "beige", "white", "red", "black")))
    spar = wood(rng, "brown")
    solids = [_hull(length, beam, depth, hull, rake=0.8, stern=0.65, sheer=rng.uniform(0.2, 0.5), full=1.8)]
    castle = maybe(rng, 0.6)
    if castle:
        solids.append(box((beam * 0.72, depth * 0.5, length * 0.2), (0, depth * 0.98, -length * 0.39), hull).named("cabin"))
        solids.append(box((beam * 0.78, depth * 0.06, length * 0.21), (0, depth * 1.46, -length * 0.39), spar).named("cabin"))
        for x in (-0.22, 0, 0.22):
            window = box((beam * 0.16, depth * 0.22, 0.15), (x * beam, depth * 1.1, -length * 0.49), glass(rng, "yellow"))
            solids.append(window.named("window"))
    line = depth * 0.72
    for s in (-1, 1):
        for q in np.linspace(-0.32, 0.2, 7):
            wide = beam / 2 * (0.98 if q > -0.25 else 0.95) * (1.0 if abs(q) < 0.15 else 0.94)
            solids.append(box((0.25, depth * 0.13, depth * 0.13), (s * wide * 0.95, line, float(q) * length), BLACK).named("window"))
    tip = (0.0, depth * 2.0, length * 0.74)
    solids.append(rod((0, depth * 1.2, length * 0.45), tip, 0.28, 0.16, spar, sides=10).named("mast"))
    sails, blow = 0, length * rng.uniform(0.025, 0.05)
    places, rows = (np.linspace(0.27, -0.32, masts)), int(rng.integers(2, 4))
    for i, q in enumerate(places):
        z, tall = float(q) * length, length * (0.85 if i != masts - 1 else 0.7)
        solids.append(rod((0, depth * 0.6, z), (0, depth + tall, z), 0.32, 0.16, spar, sides=10).named("mast"))
        y = depth + tall * 0.16
        for row in range(rows):
            step, low, high = tall * 0.78 / rows, beam * (1.0 - 0.17 * row), beam * (1.0 - 0.17 * (row + 1))
            points = [(-low, y, z + 0.35), (low, y, z + 0.35), (high, y + step * 0.9, z + 0.35), (-high, y + step * 0.9, z + 0.35)]
            solids.append(_sail(points, blow, cloth).named("sail"))
            mast = dowel((-high * 1.05, y + step * 0.92, z + 0.2), (high * 1.05, y + step * 0.92, z + 0.2), 0.14, spar, sides=8)
            solids.append(mast.named("mast"))
            y, sails = y + step, sails + 1
    for k in range(pick(rng, (1, 2))):
        z = float(places[0]) * length
        head = (0.0, depth + length * (0.55 - 0.15 * k), z + 0.6)
        foot = (0.0, depth * (2.0 - 0.3 * k), length * (0.72 - 0.14 * k))
        solids.append(_sail([foot, (1.0, depth * 1.7, z + length * 0.1), head, head], blow * 0.6, cloth).named("sail"))
        sails += 1
    return Thing.of(grounded(solids), cloth, ("tall",), parts_of(("mast", masts), ("sail", sails)), rest="hull")
