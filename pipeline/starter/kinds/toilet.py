"""Makes a toilet: its designs, proportions and parts, and the words for them. See `thing`."""

import numpy as np

from pipeline.starter.kinds.kit import *

ON_A_FOOT, SKIRTED, HUNG, HIGH_TANK, ONE_PIECE = range(5)
"""Forms: on a foot, with straight sides, hung on the wall, with a tank high above, bowl and tank in one piece."""


def _bowl(rng: Rng, form: int, wide: float, long: float, high: float, corners: tuple[float, float], white: Material) -> Solid:
    """From the foot over the rim down into the hollow."""
    front, back = corners
    if form == HUNG:
        outer = [(0.5, 0.5, 0.32, -0.22), (0.74, 0.72, 0.26, -0.14), (0.93, 0.92, 0.13, -0.04), (0.97, 0.98, 0.06, 0)]
    elif form in (SKIRTED, ONE_PIECE):
        outer = [(0.8, 0.86, high, -0.07), (0.82, 0.87, high * 0.5, -0.06), (0.9, 0.93, 0.13, -0.03), (0.98, 0.99, 0.06, 0)]
    else:
        outer = [(0.68, 0.8, high, -0.06), (0.64, 0.76, high - 0.05, -0.06), (rng.uniform(0.42, 0.55), 0.6, high * 0.62, -0.08)]
        outer += [(0.62, 0.7, high * 0.4, -0.06), (0.88, 0.9, 0.1, -0.02), (0.97, 0.98, 0.055, 0)]
    levels = [closed_loop(wide * w, long * d, high - y, long * z, front=front, back=back) for w, d, y, z in outer]
    levels += [closed_loop(wide, long, high - y, front=front, back=back) for y in (0.035, 0)]
    levels.append(closed_loop(wide - 0.06, long - 0.08, high - 0.005, 0.01, front=front, back=0.8))
    hollow = ((0.72, 0.7, 0.09, 0.02), (0.35, 0.35, 0.2, 0.0))
    return layered([*levels, *(closed_loop(wide * w, long * d, high - y, z, front=0.95) for w, d, y, z in hollow)], white).named("bowl")


def _seat(
    rng: Rng, wide: float, long: float, high: float, corners: tuple[float, float], cover: Material, shine: Material
) -> tuple[list[Solid], bool]:
    """A ring, a lid and their hinges; whether the lid is up."""
    front, back = corners
    shape = [(wide + 0.01, long * 0.98, 0.0), (wide + 0.015, long * 0.985, 0.012), (wide - 0.01, long * 0.96, 0.024)]
    ring = [closed_loop(w, d, high + y + 0.004, 0.005, front=front, back=back) for w, d, y in shape]
    inner = [closed_loop(wide * 0.58, long * 0.6, high + y + 0.004, 0.025, front=0.95, back=0.7) for y in (0.024, 0)]
    levels = ((wide - 0.01, 0.95, 0), (wide + 0.01, 0.985, 0.008), (wide, 0.97, 0.02), (wide * 0.8, 0.8, 0.026))
    up, lid = maybe(rng, 0.5), layered([closed_loop(w, long * d, y, front=front, back=back) for w, d, y in levels], cover)
    if up:
        lid = lid.moved((0, 0, long / 2)).turned("x", -rng.uniform(96, 104)).moved((0, high + 0.03, -long / 2 + 0.045))
    else:
        lid = lid.moved((0, high + 0.03, 0.005))
    y, z = high + 0.025, -long / 2 + 0.035
    hinges = named("seat", [dowel((x - 0.02, y, z), (x + 0.02, y, z), 0.013, shine) for x in (-0.08, 0.08)])
    return [layered([*ring, *inner, ring[0]], cover, caps=(False, False)).named("seat"), lid.named("lid"), *hinges], up


def _wall(rng: Rng, z: float, white: Material, shine: Material) -> tuple[list[Solid], list[Parts]]:
    """What hides the tank of a toilet that hangs, and the buttons in it."""
    tall, buttons = rng.uniform(0.9, 1.2), int(rng.integers(1, 3))
    solids = named("wall", [box((rng.uniform(0.45, 0.6), tall, 0.18), (0, 0, z), pick(rng, (white, stone(rng), WHITE)))])
    solids.append(cushion((0.24, 0.16, 0.012), (0, tall - 0.25, z + 0.094), 0.005, shine).named("button"))
    for x in (np.arange(buttons) - (buttons - 1) / 2) * 0.1:
        solids.append(cushion((0.2 / buttons - 0.02, 0.12, 0.012), (float(x), tall - 0.23, z + 0.102), 0.005, WHITE).named("button"))
    return solids, [Parts("button", buttons)]


def _tank(
    rng: Rng, form: int, wide: float, high: float, hind: float, room: float, white: Material, shine: Material
) -> tuple[list[Solid], list[Parts]]:
    """The tank, what it stands on or hangs from, and how it is flushed."""
    across, deep, tall = rng.uniform(0.36, 0.48), rng.uniform(0.16, 0.2), rng.uniform(0.3, 0.4)
    low, z, corner = high - 0.01, hind - deep / 2 + 0.06 - room, rng.uniform(0.1, 0.5)
    solids: list[Solid] = []
    parts: list[Parts] = []
    if form == HIGH_TANK:
        low = rng.uniform(1.25, 1.6)
        pipe = [(0, high - 0.15, hind + 0.05), (0, high - 0.13, hind - 0.06), (0, low + 0.02, hind - 0.06)]
        foot = [closed_loop(wide * 0.5, 0.16, y, hind + 0.03, front=0.3) for y in (0.0, high - 0.02)]
        solids += [piped(pipe, 0.022, shine).named("pipe"), layered(foot, white).named("bowl")]
        z, tall, x = hind - 0.06, tall * 0.8, across * 0.42
        side, end = z + deep * 0.3, (x + 0.1, low + tall + 0.03, z + deep * 0.3)
        handles = [dowel((x, low + tall, side), end, 0.006, shine), dowel((x + 0.1, low - 0.4, side), end, 0.004, shine, sides=8)]
        solids += named("handle", handles)
        grip = [(0, 0), (0.016, 0.02), (0.012, 0.06), (0, 0.08)]
        solids.append(turned(grip, (x + 0.1, low - 0.46, side), wood(rng, "brown"), sides=12).named("handle"))
        parts.append(Parts("pipe", 1, shine))
    elif form == ONE_PIECE:
        low, tall, across = 0.0, high + tall * 0.75, wide * 1.02
    else:
        neck = ((0.6, 0.2, high - 0.28, hind + 0.02), (0.86, 0.24, high - 0.05, hind), (0.86, 0.24, high + 0.001, hind))
        bowl = layered([closed_loop(wide * w, room + d, y, back - room / 2, front=0.3) for w, d, y, back in neck], white)
        solids.append(bowl.named("bowl"))
    taper = rng.uniform(0.82, 1.0)
    levels = ((taper * 0.97, 0), (taper, 0.03), (1, 1))
    solids.append(layered([closed_loop(across * k, deep * k, low + h * tall, z, front=corner) for k, h in levels], white).named("tank"))
    solids.append(soft_board(across + 0.025, deep + 0.025, 0.03, (0, low + tall - 0.002, z), white, corner).named("tank"))
    over = low + tall + 0.026
    match rng.integers(3) if form != HIGH_TANK else 3:
        case 0:
            x, y, front = -across * 0.32, low + tall * 0.85, z + deep / 2 - 0.004
            solids.append(rod((x, y, front), (x, y, front + 0.03), 0.014, 0.012, shine).named("handle"))
            solids.append(rod((x - 0.01, y, front + 0.025), (x + 0.08, y - 0.012, front + 0.025), 0.008, 0.006, shine).named("handle"))
            parts.append(Parts("lever", 1, shine))
        case 1:
            solids.append(disc(0.025, 0.012, (0, over, z), shine).named("button"))
            parts.append(Parts("button", 1, shine))
        case 2:
            solids += named("button", [disc(0.024, 0.012, (x, over, z), shine) for x in (-0.027, 0.027)])
            parts.append(Parts("button", 2, shine))
    return solids, [*parts, Parts("tank", 1)]


def toilet(rng: Rng) -> Thing:
    white = ceramic(rng, pick(rng, ("white", "white", "white", "white", "beige", "pink", "blue", "green", "black")))
    shine = pick(rng, (STEEL, STEEL, BRASS, BLACK))
    cover = pick(rng, (white, white, white, WHITE, BLACK, wood(rng, "brown")))
    wide, long, high = rng.uniform(0.34, 0.4), rng.uniform(0.44, 0.54), rng.uniform(0.37, 0.44)
    corners = pick(rng, ((0.98, 0.5), (0.98, 0.9), (0.7, 0.3), (0.45, 0.15)))
    form = int(rng.choice((*(ON_A_FOOT,) * 3, *(SKIRTED,) * 3, HUNG, HUNG, HIGH_TANK, ONE_PIECE, ONE_PIECE)))
    solids, hind = [_bowl(rng, form, wide, long, high, corners, white)], -long / 2
    seat, up = _seat(rng, wide, long, high, corners, cover, shine)
    solids += seat
    if form == HUNG:
        ends = [closed_loop(wide * k, 0.2, high - y, hind, front=0.2) for k, y in ((0.6, 0.3), (0.9, 0.01))]
        solids.append(layered(ends, white).named("bowl"))
        more, parts = _wall(rng, hind - 0.11 - 0.04 * up, white, shine) if maybe(rng, 0.6) else ([], [])
    else:  # a lid that is up leans on what is behind it
        more, parts = _tank(rng, form, wide, high, hind, 0.11 if up else 0.06, white, shine)
    solids += more
    if maybe(rng, 0.15) and form not in (HUNG, HIGH_TANK):
        z, x = hind + 0.1, wide / 2 + 0.17
        solids += named("holder", [dowel((x, 0, z), (x, 0.62, z), 0.009, shine), disc(0.08, 0.015, (x, 0, z), shine)])
        solids.append(dowel((x, 0.6, z), (x, 0.6, z + 0.15), 0.007, shine).named("holder"))
        solids.append(dowel((x, 0.6, z + 0.025), (x, 0.6, z + 0.13), 0.055, WHITE, sides=20).named("paper"))
        parts.append(Parts("paper roll", 1))
    style = ["open" if up else "closed", *["tall"] * (form == HIGH_TANK)]
    return Thing.of(standing(solids), white, style, parts, rest="bowl")
