"""Makes a dresser: its designs, proportions and parts, and the words for them. See `thing`."""

import numpy as np

from pipeline.starter.kinds.kit import *


def _mirror(rng: Rng, width: float, height: float, material: Material) -> list[Solid]:
    """A framed mirror: square, arched or oval."""
    rim, shine = rng.uniform(0.025, 0.06), glass(rng, pick(rng, ("white", "white", "blue")))
    if (style := rng.integers(3)) == 0:
        return named(
            "mirror",
            [
                cushion((width, height, 0.035), (0, 0, 0), 0.012, material),
                box((width - 2 * rim, height - 2 * rim, 0.008), (0, rim, 0.017), shine),
            ],
        )
    plates = []
    for w, inset, deep, of in ((width, 0.0, 0.035, material), (width - 2 * rim, rim, 0.045, shine)):
        x, arch = arch_over(w, (height - 2 * inset) / 2 if style == 1 else 0.35 * height - inset)
        middle = height / 2 if style == 1 else 0.65 * height
        low = middle - arch if style == 1 else np.full(len(x), inset)
        plates.append(plate_between(x, low, middle + arch, deep, of))
    return named("mirror", plates)


def dresser(rng: Rng) -> Thing:
    tall = maybe(rng, 0.35)
    width = rng.uniform(0.6, 1.0) if tall else rng.uniform(1.1, 1.8)
    height = rng.uniform(1.05, 1.45) if tall else rng.uniform(0.72, 0.98)
    depth, timber, knob = rng.uniform(0.4, 0.55), wood(rng), pick(rng, (STEEL, BLACK, BRASS, BRASS))
    inner = pick(rng, (timber, timber, timber, wood(rng)))
    face = joinery(rng, inner, knob)
    low, solids, feet = cabinet_feet(rng, width, depth, timber)
    solids += carcass(rng, width, height - low, depth, low, timber, "drawer")
    rows = int(rng.integers(4, 7)) if tall else int(rng.integers(3, 5))
    across = int(rng.integers(1, 3)) if tall else int(rng.integers(2, 4))
    columns = [across] * rows
    if maybe(rng, 0.45):
        columns[-1] = across + 1
    if tall and maybe(rng, 0.5):
        columns = [1] * (rows - 1) + [2]
    up, span, front, door_count, drawer_count = height - low - 0.06, width - 0.05, depth / 2, 0, sum(columns)
    if not tall and maybe(rng, 0.3):  # doors at both sides or in the middle
        share, middle, door_count = span * rng.uniform(0.26, 0.32), maybe(rng, 0.5), 2
        if middle:
            for side in SIDES:
                solids += face(side * share / 2, low + 0.01, front, share, up, -side)
                solids += stacked(face, side * (share + (span / 2 - share) / 2), low + 0.01, front, span / 2 - share, up, [1] * rows)
            drawer_count = 2 * rows
        else:
            for side in SIDES:
                solids += face(side * (span - share) / 2, low + 0.01, front, share, up, -side)
            drawer_count = rows
            solids += stacked(face, 0, low + 0.01, front, span - 2 * share, up, [1] * rows)
    else:
        solids += stacked(face, 0, low + 0.01, front, span, up, columns, pick(rng, (1.0, 1.0, 1.5)))
    mirrors = 0
    if maybe(rng, 0.2 if tall else 0.45):
        mirrors, w, h = 1, width * rng.uniform(0.45, 0.75), rng.uniform(0.6, 0.95) * (0.6 if tall else 1)
        lift = rng.uniform(0.03, 0.12)
        at = (0, height + lift, -depth / 2 + 0.05)
        if not tall and maybe(rng, 0.3):
            mirrors, each, state = 3, w * 0.5, rng.bit_generator.state
            solids += [part.moved(at) for part in _mirror(rng, w * 0.7, h, timber)]
            rng.bit_generator.state = state  # the wings are made as the middle is
            wing = _mirror(rng, each, h * 0.85, timber)
            solids += [p.moved((s * each / 2, 0, 0)).turned("y", -s * 25).moved((s * w * 0.36, at[1], at[2])) for s in SIDES for p in wing]
        else:
            solids += [part.moved(at) for part in _mirror(rng, w, h, timber)]
            solids += [cushion((0.035, h * 0.7 + lift, 0.04), (s * (w / 2 + 0.02), height - 0.01, at[2]), 0.01, timber) for s in SIDES]
        solids.append(box((w * 0.9, lift + 0.05, 0.03), (0, height - 0.01, at[2]), timber).named("mirror"))
    parts = said_of(timber, ("drawer", drawer_count, inner), ("mirror", mirrors, timber), ("door", door_count, inner), feet)
    return Thing.of(levelled(solids), timber, ("tall",) if tall else ("wide",), parts, rest="cabinet")
