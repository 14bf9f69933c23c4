"""Makes a stool: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def _boards(across: float, deep: float, height: float, splay: float, step: bool, timber: Material) -> tuple[list[Solid], list[Parts]]:
    """Two boards, each cut out to an arch below or carrying a step before the seat."""
    arch = [(-deep * 0.5, 0), (-deep * 0.25, 0), (0, 0.08), (deep * 0.25, 0), (deep * 0.5, 0), (deep * 0.42, height)]
    arch.append((-deep * 0.42, height))
    stair = scaled([(-0.5, 0), (1.3, 0), (1.3, 0.5), (0.5, 0.5), (0.45, 1)], deep, height)
    board = plate([*stair, (-deep * 0.45, height)] if step else arch, 0.022, timber).turned("y", -90)
    boards = [board.turned("z", s * (0 if step else splay)).moved((s * across * 0.38, 0.0, 0)) for s in (-1, 1)]
    solids = named("leg", [s.moved((0, -float(s.vertices[:, 1].min()), 0)) for s in boards])
    if step:
        tread = soft_board(across * 0.98, deep * 0.9, 0.024, (0, height * 0.5 - 0.005, deep * 0.9), timber, 0.1).named("step")
        return [*solids, tread], [Parts("step", 2)]
    return [*solids, box((across * 0.72, 0.06, 0.02), (0, height * 0.6, 0), timber).named("leg")], []


def stool(rng: Rng) -> Thing:
    """No back, or one too low to lean on: for the bar, the milk, the piano, the workshop, the camp, the step."""
    high = maybe(rng, 0.5)
    height = rng.uniform(0.6, 0.8) if high else rng.uniform(0.36, 0.52)
    across, timber, soft = rng.uniform(0.28, 0.37), pick(rng, (wood, wood, metal, plastic))(rng), softened(rng)
    stand, round_, padded = pick(rng, (timber, timber, frame(rng))), maybe(rng, 0.6), maybe(rng, 0.45)
    corner, squash = (0.98 if round_ else rng.uniform(0.05, 0.3)), pick(rng, (1.0, 1.0, 0.75))
    solids: list[Solid] = []
    parts: list[Parts] = []
    style = ["round" if round_ else "square"]
    form = rng.integers(7)
    if form == 0:  # one column; a thin flat seat on it would make a table
        padded, high, height, foot = True, True, max(height, 0.55), rng.uniform(0.15, 0.2)
        solids.append(
            lathe([(0, 0), (foot, 0), (foot, 0.008), (foot * 0.7, 0.025), (0.035, 0.05), (0.03, height), (0, height)], stand)
            .named("base", below=0.04)
            .named("pole")
        )
        solids.append(disc(0.06, 0.02, (0, height - 0.02, 0), stand).named("seat"))
        if maybe(rng, 0.8):
            solids += _footring(0.12, height * 0.35, stand)
    elif form == 1:
        padded = True
        more, parts = star(rng, rng.uniform(0.22, 0.27), height, pick(rng, (STEEL, BLACK)), wheels=maybe(rng, 0.7))
        solids += more
        if high:
            solids += _footring(0.16, height * 0.35, STEEL)
    elif form == 2:  # legs on a circle, with a ring
        count, spread = int(rng.integers(3, 5)), across * rng.uniform(0.42, 0.62)
        for turn in np.arange(count) * 360 / count + 45:
            leg = rod((0, 0, spread), (0, height + 0.005, across * 0.32), 0.012, 0.017, stand).turned("y", float(turn))
            solids.append(leg.named("leg"))
        t, ring = rng.uniform(0.25, 0.45), np.linspace(0, 2 * math.pi, 33)
        radius = spread + (across * 0.32 - spread) * t
        if high or maybe(rng, 0.4):
            footrest = tube(np.stack([np.sin(ring) * radius, np.full(33, height * t), np.cos(ring) * radius], 1), 0.009, stand, sides=8)
            solids.append(footrest.named("footrest"))
        parts.append(Parts("leg", count, stand))
    elif form == 3:  # legs that cross
        for x in (-across * 0.42, across * 0.42):
            some = [dowel((x, 0.012, s * across * 0.55), (x * 0.97, height, -s * across * 0.42), 0.013, stand) for s in (-1, 1)]
            solids += named("leg", some)
        bars, x = ((height * 0.51, 0.0), (0.1, across * 0.45), (0.1, -across * 0.45)), across * 0.42
        solids += named("leg", [dowel((-x, y, z), (x, y, z), 0.012, stand) for y, z in bars])
        corner, round_, squash, style = 0.12, False, 1.0, ["square", "folding"]
        parts.append(Parts("leg", 4, stand))
    elif form == 4:  # boards, as of a step stool
        squash, splay, corner, round_, style = rng.uniform(0.6, 0.8), rng.uniform(0, 10), 0.1, False, ["square"]
        step = high or maybe(rng, 0.3)
        solids, parts = _boards(across, across * squash * 0.85, height, splay, step, timber)
        padded = padded and not step
    else:
        wide = across * pick(rng, (0.95, 1.1))
        more, feet = seat_legs(rng, wide, wide * squash, height, rng.uniform(0.026, 0.042), stand, brace=0.8 if high else 0.4)
        solids += more
        parts.append(feet)
        solids += named("seat", [box((wide * 0.86, 0.05, wide * squash * 0.86), (0, height - 0.05, 0), stand)] if not round_ else [])
    wide = across * 1.08
    if padded:
        solids.append(pad_of(wide, wide * squash, rng.uniform(0.06, 0.13), (0, height - 0.01, 0), soft, corner).named("seat"))
        style.append("padded")
    elif form == 3 or (maybe(rng, 0.4) and form != 4):  # hollowed like a saddle
        u, v = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(1, -1, 9), indexing="ij")
        dish = np.stack([u * wide * 0.55, height + 0.02 + 0.045 * u**2, v * wide * 0.42 * (1 - 0.12 * u**4)], axis=2)
        solids.append(bent_board(dish, 0.028, timber).named("seat"))
    else:
        solids.append(soft_board(wide, wide * squash, rng.uniform(0.03, 0.06), (0, height - 0.005, 0), timber, corner).named("seat"))
    if high and form in (0, 1, 5, 6) and maybe(rng, 0.35):
        rest, tall = soft if padded else timber, rng.uniform(0.14, 0.24)
        one = backrest(wide * 0.95, tall * 0.6, 0.07, (0, height + tall * 0.6, -wide * squash * 0.5 - 0.02), 0.03, rest)
        solids.append(one.named("back"))
        back, y = wide * squash, height
        backs = [dowel((x, y + 0.005, -back * 0.4), (x, y + tall, -back * 0.5 - 0.025), 0.01, stand) for x in (-wide * 0.25, wide * 0.25)]
        solids += named("back", backs)
        parts.append(Parts("backrest", 1))
    elif form in (5, 6) and not high and maybe(rng, 0.2):  # handles of a stool for the bath or the bedside
        for s in (-1, 1):
            x = s * wide * 0.5
            path = [(x * 0.9, height - 0.03, -0.08), (x * 1.15, height + 0.05, -0.08), (x * 1.15, height + 0.05, 0.08)]
            path.append((x * 0.9, height - 0.03, 0.08))
            solids.append(piped(path, 0.01, stand, bend=0.03).named("handle"))
        parts.append(Parts("handle", 2))
    style.append("tall" if high else "low")
    return Thing.of(solids, soft if padded else timber, style, parts)


def _footring(radius: float, y: float, stand: Material) -> list[Solid]:
    """A ring for the feet around a column, and its spokes."""
    angle = np.linspace(0, 2 * math.pi, 33)
    ring = tube(np.stack([np.sin(angle) * radius, np.full(33, y), np.cos(angle) * radius], 1), 0.01, stand, sides=8)
    spoke = dowel((0, y, -radius), (0, y, radius), 0.007, stand, sides=8)
    return named("footrest", [ring, *(spoke.turned("y", turn) for turn in (0, 90))])
