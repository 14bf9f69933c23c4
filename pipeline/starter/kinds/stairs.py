"""Makes stairs: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def _flight(steps: int, width: float, rise: float, going: float, form: int, below: float, tread: Material, base: Material) -> list[Solid]:
    """Steps up from the origin towards -Z: massive down to `below`, between two boards, on a beam, or massive with covered treads."""
    solids = []
    long, high = steps * going, steps * rise
    if form in (0, 3):
        line = [(0.0, 0.0)]
        for i in range(steps):
            line += [(i * going, (i + 1) * rise), ((i + 1) * going, (i + 1) * rise)]
        under = [(long, -below)] if below or form == 3 or steps < 5 else [(long, high - rise - 0.22), (going * 1.2, 0.0)]
        line += under if not below else [(long, -below), (0.0, -below)]
        solids.append(slab(line, width, base).turned("y", 90))
    if form == 1:
        for s in (-1, 1):
            board = [(-0.02, 0.0), (going * 0.6, 0.0), (long + 0.02, high - rise * 0.6), (long + 0.02, high + 0.02)]
            board += [(long - going * 0.6, high + 0.04), (-0.02, rise * 1.25)]
            solids.append(slab(board, 0.045, base, bevel=0.006).turned("y", 90).moved((s * (width / 2 - 0.02), 0, 0)).named("side"))
    if form == 2:
        beam = [(0.0, 0.0), (going, 0.0), (long, high - rise * 1.1), (long, high - 0.05)]
        solids.append(slab([*beam, (0.0, rise - 0.05)], width * 0.18, base, bevel=0.01).turned("y", 90).named("beam"))
        beams = [box((width * 0.12, 0.12, going * 0.5), (0, (i + 1) * rise - 0.14, -(i + 0.5) * going), base) for i in range(steps)]
        solids += named("beam", beams)
    if form:
        thick, nose = (0.05, 0.02) if form != 3 else (0.03, 0.03)
        for i in range(steps):
            z, size = -(i + 0.5) * going + nose / 2, (width - (0.05 if form == 1 else -0.03), thick, going + nose)
            solids.append(soft(size, (0, (i + 1) * rise - thick + 0.005, z), 0.01, tread))
    return solids


def stairs(rng: Rng) -> Thing:
    return designed(rng, (_straight_stairs, _straight_stairs, _straight_stairs, _bent_stairs, _bent_stairs, _round_stairs, _round_stairs))


def _looks(rng: Rng) -> tuple[Material, Material, Material, Material, int]:
    """Materials of the treads, of what bears them, of bars and handrails, and the kind of railing."""
    tread = pick(rng, (wood(rng), wood(rng), stone(rng), metal(rng)))
    base = pick(rng, (tread, tread, stone(rng, "white"), stone(rng), metal(rng), wood(rng)))
    kind = int(rng.integers(4))
    bar = glass(rng, pick(rng, ("white", "blue", "green"))) if kind == 3 else pick(rng, (STEEL, BLACK, WHITE, wood(rng)))
    return tread, base, bar, pick(rng, (wood(rng), STEEL, BLACK)), kind


def _straight_stairs(rng: Rng) -> Thing:
    tread, base, bar, rail, kind = _looks(rng)
    steps, width, form = int(rng.integers(3, 15)), rng.uniform(0.75, 1.5), int(rng.integers(4))
    if steps < 6 and maybe(rng, 0.6):
        width, form = rng.uniform(1.4, 2.8), pick(rng, (0, 3))
    elif form in (1, 2):
        steps += 3
    rise, going = rng.uniform(0.16, 0.2), rng.uniform(0.24, 0.31)
    solids = _flight(steps, width, rise, going, form, 0.0, tread, base)
    rails, landing, long, high = pick(rng, (0, 1, 2, 2)), maybe(rng, 0.3), steps * going, steps * rise
    if landing:
        deep = rng.uniform(0.6, 1.2)
        at = (0, high - 0.12 if form in (1, 2) else 0, -long - deep / 2)
        solids.append(box((width, 0.12 if form in (1, 2) else high, deep), at, base).named("landing"))
        if form in (1, 2):
            posts = [box((0.08, high - 0.1, 0.08), (s * (width / 2 - 0.06), 0, -long - deep + 0.06), base) for s in (-1, 1)]
            solids += named("post", posts)
    for s in (1, -1)[:rails]:
        x = s * (width / 2 - 0.05)
        path = [(x, (i + 1) * rise, -(i + 0.5) * going) for i in range(steps)]
        solids += railing(np.array(path), rng.uniform(0.85, 0.95), kind, bar, rail)
        if landing:
            line = np.linspace((x, high, -long - 0.1), (x, high, -long - deep + 0.06), max(3, round(deep / 0.2)))
            solids += railing(line, 0.92, kind, bar, rail)
    said = parts_of(("step", steps), ("railing", rails), ("landing", int(landing)))
    style = ("open",) if form in (1, 2) else ("wide",) if width > 1.5 else ()
    return Thing.of(grounded(solids), base if form in (0, 3) else tread, style, said, rest="step")


def _bent_stairs(rng: Rng) -> Thing:
    """Two flights with a landing between them: at a right angle, or back beside the first."""
    tread, base, bar, rail, kind = _looks(rng)
    lower, upper, width = int(rng.integers(3, 9)), int(rng.integers(3, 8)), rng.uniform(0.8, 1.1)
    rise, going, form = rng.uniform(0.17, 0.19), rng.uniform(0.24, 0.28), int(rng.integers(4))
    back, s, y, z = maybe(rng, 0.45), pick(rng, (-1, 1)), (lower + 1) * rise, -lower * going
    massive, solids = form in (0, 3), _flight(lower, width, rise, going, form, 0.0, tread, base)
    second, gap = _flight(upper, width, rise, going, form, y if massive else 0.0, tread, base), 0.12
    wide = 2 * width + gap if back else width
    place = (s * (wide - width) / 2, 0.0, z - width / 2)
    thick = y if massive else 0.14
    solids.append(box((wide, thick, width), (place[0], y - thick, place[2]), base).named("landing"))
    solids.append(cushion((wide + 0.02, 0.04, width + 0.02), (place[0], y - 0.03, place[2]), 0.012, tread).named("landing"))
    if not massive:
        corners = [(place[0] + x, place[2] + q) for x, q in four(wide - 0.1, width - 0.1)]
        solids += named("post", [box((0.09, y - 0.05, 0.09), (x, 0, q), base) for x, q in corners])
    turn, at = (180.0, (s * (width + gap), y, z)) if back else (-90.0 * s, (s * width / 2, y, z - width / 2))
    solids += [solid.turned("y", turn).moved(at) for solid in second]
    rails, high = pick(rng, (0, 1, 2, 2) if massive else (2, 2, 1)), 0.9  # without any, an open landing looks like a table
    edge = width / 2 - 0.05
    for k in (s, -s)[:rails]:
        solids += railing(np.array([(k * edge, (i + 1) * rise, -(i + 0.5) * going) for i in range(lower)]), high, kind, bar, rail)
        path = np.array([(k * edge, (i + 1) * rise, -(i + 0.5) * going) for i in range(upper)])
        solids += [solid.turned("y", turn).moved(at) for solid in railing(path, high, kind, bar, rail)]
    if rails == 2:
        x0, x1, q = -s * edge, place[0] * 2 + s * edge, z - width + 0.05
        line = [np.linspace((x0, y, z - 0.1), (x0, y, q), 6), np.linspace((x0, y, q), (x1 if back else s * edge, y, q), 12 if back else 6)]
        line += [np.linspace((x1, y, q), (x1, y, z - 0.1), 6)] if back else []
        for one in line:
            solids += railing(one, high, kind, bar, rail)
    said = parts_of(("step", lower + upper), ("landing", 1), ("railing", rails))
    return Thing.of(grounded(solids), base if massive else tread, () if back else ("corner",), said, rest="step")


def _round_stairs(rng: Rng) -> Thing:
    """Winding about a pole, or in a wide bow."""
    tread, base, bar, rail, kind = _looks(rng)
    spiral = maybe(rng, 0.6)
    steps = int(rng.integers(9, 17)) if spiral else int(rng.integers(7, 14))
    inner, outer = (0.05, rng.uniform(0.65, 1.0)) if spiral else (rng.uniform(0.7, 1.3), 0.0)
    outer = outer or inner + rng.uniform(0.8, 1.2)
    each, rise = math.radians(rng.uniform(22, 32) if spiral else rng.uniform(7, 13)), rng.uniform(0.17, 0.2)
    s, massive = pick(rng, (-1, 1)), not spiral and maybe(rng, 0.7)
    if not spiral:
        outer += 0.2

    def spot(radius: float, angle: float, y: float) -> tuple[float, float, float]:
        return radius * math.sin(s * angle), y, radius * math.cos(angle)

    def wedge(turns: Floats, low: float, high: float, material: Material, nose: float = 0.0) -> Solid:
        """A step, or its tread, which stands out by `nose`."""
        plan = [(outer + nose, float(b)) for b in turns] + [(inner - nose, float(b)) for b in turns[::-1]]
        return loft([np.array([spot(r, b, y) for r, b in plan]) for y in (low, high)], material)

    thick, solids = rng.uniform(0.04, 0.07), []
    for i in range(steps):
        a = np.linspace(i * each, (i + 1.12) * each, 5)
        low, high = (0.0 if massive else (i + 1) * rise - thick), (i + 1) * rise
        solids.append(wedge(a, low, high, base if massive else tread))
        solids += [wedge(a - 0.1 * each, high - 0.01, high + 0.025, tread, 0.03)] if massive else []
    angles = [(i + 0.5) * each for i in range(steps)]
    rails = 1 if spiral else pick(rng, (0, 1, 2, 2))
    if spiral:
        solids.append(disc(0.06, steps * rise + 0.95, (0, 0, 0), base).named("pole"))
        solids.append(turned([(0, 0), (0.08, 0.02), (0.06, 0.1), (0, 0.13)], (0, steps * rise + 0.94, 0), rail).named("pole"))
        solids.append(disc(0.16, 0.03, (0, 0, 0), base).named("pole"))
    elif not massive:
        for r in (inner, outer):
            turns = np.linspace(-0.2 * each, steps * each, 30)
            grid = np.array([[spot(r, a, (a / each + 0.9) * rise - d) for a in turns] for d in (0.05, 0.25)])
            grid[..., 1] = np.maximum(grid[..., 1], 0)
            out = grid * (1, 0, 1) / r * 0.02
            solids.append(drape(grid + out, grid - out, base).named("side"))
    kind = kind if kind != 3 else 0
    for r in ((outer - 0.05), (inner + 0.05))[:rails]:
        solids += railing(np.array([spot(r, a, (i + 1) * rise) for i, a in enumerate(angles)]), 0.9, kind, bar, rail)
    if spiral and maybe(rng, 0.5):
        top = steps * rise
        solids.append(wedge(np.linspace(steps * each, steps * each + 1.4, 8), top - thick, top, tread).named("landing"))
    said = parts_of(("step", steps), ("railing", rails), ("pole", int(spiral)))
    return Thing.of(grounded(solids), base if massive else tread, ("round", "tall") if spiral else ("curved",), said, rest="step")
