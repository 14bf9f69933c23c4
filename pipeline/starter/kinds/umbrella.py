"""Makes an umbrella: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.starter.kinds.kit import *


def _canopy(rng: Rng, wide: float, high: float, panels: int, cloths: Sequence[Material], valance: float, stays: Material) -> list[Solid]:
    """A spread cloth between ribs, its rim at a height of 0, in panels or in one piece, and what holds the ribs up from below."""
    t, power = np.linspace(0, 1, 13), rng.uniform(1.6, 2.6)
    out = [(wide * (1 - float(s)), high * (1 - (1 - float(s)) ** power)) for s in t]
    if valance:
        out = [(wide, -valance), *out]
    thick = 0.004
    inner = [(max(r - thick * 0.3, 0.0), h - thick) for r, h in reversed(out)]
    each = 10
    shell = lathe([*inner[:-1], (inner[-1][0], out[0][1]), *out], cloths[0], sides=each * panels)
    wave, scallop = 2 * math.pi / panels, wide * rng.uniform(0.03, 0.1)

    def hang(points: Floats) -> Floats:
        """Between ribs the cloth runs straight and its rim curves up."""
        angle, along = np.arctan2(points[:, 0], points[:, 2]) % wave, np.hypot(points[:, 0], points[:, 2]) / wide
        chord = math.cos(wave / 2) / np.cos(angle - wave / 2)
        lift = scallop * np.clip(along, 0, 1.2) ** 4 * np.sin(math.pi * angle / wave)
        return np.stack([points[:, 0] * chord, points[:, 1] + lift, points[:, 2] * chord], axis=1)

    shell, thin = warped(shell, hang), wide * 0.005
    stay = dowel((0, high * 0.2, 0), (0, high * (1 - 0.55**power) - 2 * thin, wide * 0.55), thin, stays, sides=6).named("rib")
    below = [stay.turned("y", i * 360 / panels) for i in range(panels)]
    if len(cloths) == 1:
        return [shell.named("canopy"), *below]
    column = (shell.faces.min(axis=1) % (each * panels)) // each
    last = np.ptp(shell.faces % (each * panels), axis=1) > 1  # the column that closes the circle
    column = np.where(last, panels - 1, column)
    return [*below, *(_only(shell, column % 2 == i, cloth).named("canopy") for i, cloth in enumerate(cloths))]


def _only(solid: Solid, mask: Floats, material: Material) -> Solid:
    """Some of the faces, of another material."""
    used, faces = np.unique(solid.faces[mask], return_inverse=True)
    return Solid(vertices=solid.vertices[used], normals=solid.normals[used], faces=faces.reshape(-1, 3), material=material)


def _grip(rng: Rng, thick: float, material: Material) -> tuple[list[Solid], bool]:
    """What a hand holds, from the origin down: a hook, or something straight."""
    match rng.integers(5):
        case 0 | 1 | 2:
            size, bow = rng.uniform(0.04, 0.06), np.linspace(0, math.pi * rng.uniform(1.0, 1.15), 16)
            hook = np.stack([size * (1 - np.cos(bow)), -0.07 - size * np.sin(bow), 0 * bow], axis=1)
            return named(
                "handle", [horn(np.concatenate([[(0, 0.03, 0)], [(0, -0.02, 0)], hook]), np.full(18, thick * 1.6), material)]
            ), True
        case 3:
            line = smooth([(0, -0.14), (1.2, -0.14), (2.6, -0.12), (2, -0.08), (2.4, -0.02), (1.2, 0.02), (0, 0.02)], thick)
            return named("handle", [lathe(line, material, sides=16)]), False
        case _:
            return named(
                "handle", [dowel((0, -0.04, 0), (0, 0.02, 0), thick * 1.3, material), bulb(thick * 3, (0, -0.05, 0), material)]
            ), False


def _stand(rng: Rng, pole: float, material: Material) -> tuple[list[Solid], Parts]:
    """Foot of a parasol."""
    sleeve = dowel((0, 0.02, 0), (0, rng.uniform(0.25, 0.45), 0), pole * 1.5, material)
    match rng.integers(3):
        case 0:
            line = smooth([(0, 0), (0.24, 0), (0.24, 0), (0.24, 0.05), (0.1, 0.09), (0.06, 0.1), (0, 0.1)])
            return named("base", [sleeve, lathe(line, material)]), Parts("base", 1)
        case 1:
            return named("base", [sleeve, cushion((0.45, 0.07, 0.45), (0, 0, 0), 0.02, stone(rng))]), Parts("base", 1)
        case _:
            arms = [box((0.06, 0.04, 0.8), (0, 0, 0), material).turned("y", turn) for turn in (0, 90)]
            return named("base", [sleeve, *arms]), Parts("leg", 4)


def _held(rng: Rng, form: str, cloths: Sequence[Material], panels: int, pole: Material) -> Thing:
    """Open, for one person, upright or laid `down` to dry, or of `paper`."""
    grip = pick(rng, (BLACK, wood(rng, "brown"), leather(rng), plastic(rng)))
    wide, under = rng.uniform(0.42, 0.65), rng.uniform(0.4, 0.65)
    high = wide * rng.uniform(0.32, 0.62)
    if form == "paper":
        panels, pole, high = 16, wood(rng), wide * rng.uniform(0.2, 0.35)
        grip = pole
    elif maybe(rng, 0.1):  # a dome over the head
        high = wide * 0.9
    long, thick = under + high, rng.uniform(0.005, 0.008)
    solids = [solid.moved((0, under, 0)) for solid in _canopy(rng, wide, high, panels, cloths, 0.0, pole)]
    tip = np.array([(0, long - 0.01, 0), (0, long + 0.05, 0), (0, long + 0.07, 0)])
    runner = dowel((0, under + high * 0.2 - 0.03, 0), (0, under + high * 0.2 + 0.01, 0), thick * 2, pole, sides=10)
    solids += [dowel((0, 0, 0), (0, long, 0), thick, pole, sides=10), horn(tip, np.array([2.2, 1.2, 0.6]) * thick, pole), runner]
    held, hook = _grip(rng, thick, grip)
    solids += held
    if form == "down":
        solids = [solid.turned("x", 112) for solid in solids]
    parts = [Parts("hook" if hook else "handle", 1, grip), Parts("panel", panels)]
    style = ("striped", "open") if len(cloths) > 1 else ("open",)
    return Thing.of(standing(solids), cloths[0], style, parts, rest="pole")


def _rolled(rng: Rng, cloth: Material, panels: int, pole: Material) -> Thing:
    """Closed, neatly twisted or loose: on its tip, on its handle or lying."""
    grip, neat, long = pick(rng, (BLACK, wood(rng, "brown"), leather(rng), plastic(rng))), maybe(rng, 0.5), rng.uniform(0.55, 0.7)
    knots = [(0.3, 0.0), (1.0, 0.05), (1.0, 0.2), (0.75 if neat else 0.9, 0.5), (0.35, 0.9), (0.15, 1.0), (0, 1)]
    wide, deep = rng.uniform(0.035, 0.07), rng.uniform(0.08, 0.15) if neat else rng.uniform(0.18, 0.3)
    line = [(0.0, long * 0.03), *smooth(knots, wide, long)]
    solids = named("canopy", shaped([lathe(line, cloth, sides=80)], fluted_by(panels, deep), rng.uniform(3, 9) * neat))
    strap = long * rng.uniform(0.3, 0.5)
    solids.append(band(line[1:], strap, strap + 0.02, pick(rng, (cloth, BLACK)), proud=wide * deep * 0.8).named("canopy"))
    solids.append(rod((0, -0.12, 0), (0, long + 0.06, 0), 0.006, 0.005, pole, sides=10))
    held, hook = _grip(rng, 0.007, grip)
    solids += [solid.moved((0, -0.11, 0)) for solid in held]
    match rng.integers(3):
        case 0:
            solids = [solid.turned("x", 180) for solid in solids]
        case 1:
            solids = [solid.turned("z", 88) for solid in solids]
    said = Parts("hook" if hook else "handle", 1, grip)
    return Thing.of(standing(solids), cloth, ("closed",), [said], rest="pole")


def _parasol(rng: Rng, form: str, cloths: Sequence[Material], panels: int, metalwork: Material) -> Thing:
    """For the `garden`, `furled` or hung from a pole at its `side`, or leaning at the `beach`."""
    long, wide, thick = rng.uniform(2.0, 2.5), rng.uniform(0.9, 1.5), rng.uniform(0.018, 0.026)
    base, foot = _stand(rng, thick, pick(rng, (STEEL, BLACK, WHITE)))
    high = wide * rng.uniform(0.25, 0.5)
    under = long - high
    parts = [Parts("pole", 1, metalwork), *([foot] if form != "beach" else [])]
    if form == "furled":
        knots = [(0.5, 0), (1.0, 0.02), (0.95, 0.25), (0.55, 0.6), (0.6, 0.68), (0.25, 1), (0, 1)]
        line = [(0.0, 0.02), *smooth(knots, rng.uniform(0.12, 0.18), long * 0.55)]
        top, under = named("canopy", shaped([lathe(line, cloths[0], sides=80)], fluted_by(panels, 0.22))), long * 0.45
    else:
        top = _canopy(rng, wide, high, panels, cloths, pick(rng, (0.0, 0.12)) if form != "side" else 0.0, metalwork)
        parts.append(Parts("panel", panels))
    top = [*(solid.moved((0, under, 0)) for solid in top), bulb(thick * 1.8, (0, long + 0.02, 0), metalwork, 1.4, 12)]
    pole = dowel((0, 0.03, 0), (0, long, 0), thick, metalwork)
    if form == "side":
        arm = bezier((-wide * 1.05, 0.05, 0), (-wide * 1.25, long * 0.9, 0), (-wide * 1.1, long * 1.3, 0), (0, long + 0.14, 0), steps=24)
        hang = dowel((0, under + high * 0.1, 0), (0, long + 0.15, 0), thick * 0.8, metalwork)
        top += [tube(arm, thick * 1.4, metalwork), hang, *(solid.moved((-wide * 1.05, 0, 0)) for solid in base)]
    elif form == "beach":
        joint = long * 0.62
        upper = [solid.moved((0, -joint, 0)) for solid in [*top, dowel((0, joint - 0.02, 0), (0, long, 0), thick, metalwork)]]
        lean = rng.uniform(8, 28)
        top = [solid.turned("z", lean).moved((0, joint, 0)) for solid in upper]
        top += [rod((0, 0, 0), (0, joint, 0), thick * 0.5, thick, metalwork), bulb(thick * 1.6, (0, joint, 0), metalwork, sides=12)]
    else:
        top += [pole, *base]
    style = ("closed",) if form == "furled" else ("striped", "open") if len(cloths) > 1 else ("open",)
    return Thing.of(standing(top), cloths[0], style, parts, rest="pole")


def umbrella(rng: Rng) -> Thing:
    """Open, rolled up, laid down to dry; for the beach and the garden, furled, on a pole at the side; of paper."""
    form = pick(rng, ("open", "open", "open", "down", "closed", "closed", "beach", "garden", "garden", "furled", "side", "paper"))
    panels, cloths, pole = pick(rng, (6, 8, 8, 10)), [fabric(rng)], pick(rng, (STEEL, BLACK, wood(rng)))
    if form == "closed":
        return _rolled(rng, cloths[0], panels, pole)
    if form != "furled" and maybe(rng, 0.4):
        others = [name for name in ("white", "blue", "red", "yellow", "black") if name != cloths[0].color_name]
        cloths.append(fabric(rng, pick(rng, others)))
    return (_held if form in ("open", "down", "paper") else _parasol)(rng, form, cloths, panels, pole)
