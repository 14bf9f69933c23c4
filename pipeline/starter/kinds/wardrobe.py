"""Makes a wardrobe: its designs, proportions and parts, and the words for them. See `thing`."""

import numpy as np

from pipeline.starter.kinds.kit import *


def _inside(rng: Rng, size: Point, low: float, top: float, high: float, timber: Material) -> tuple[list[Solid], int]:
    """Walls around a rail with clothes and, where there is room, shelves beside it; and how many shelves.

    The case stands at a height of `low`; its hollow begins at `top` and is `high`.
    """
    (width, up, depth), shelves = size, 0
    board = 0.025
    solids = named("side", [box((board, up, depth), (s * (width - board) / 2, low, 0), timber) for s in SIDES])
    solids += [
        box((width, up, 0.012), (0, low, -depth / 2 + 0.006), timber).named("back"),
        box((width, board, depth), (0, low + up - board, 0), timber).named("top"),
    ]
    solids.append(box((width - 0.01, top - low, depth - 0.002), (0, low, -0.001), timber))
    part = width * rng.uniform(0.3, 0.45) if width > 0.9 else 0.0
    side = pick(rng, SIDES)
    if part:
        shelves, wall, middle = int(rng.integers(3, 6)), side * (width / 2 - part), side * (width - part) / 2
        solids.append(box((board, high, depth - 0.02), (wall, top, 0), timber).named("side"))
        heights = top + np.linspace(0.12, 0.85, shelves) * high
        solids += named("shelf", [box((part, 0.02, depth - 0.03), (middle, float(y), 0), timber) for y in heights])
    reach, centre, rail = (width - part - 0.06) / 2, -side * part / 2, top + high - 0.1
    solids.append(dowel((centre - reach - 0.02, rail, 0), (centre + reach + 0.02, rail, 0), 0.012, STEEL).named("rail"))
    for x in np.linspace(-0.85, 0.7, int(rng.integers(3, 9))) * reach:
        long = rng.uniform(0.5, 0.8) * min(high, 1.4)
        cloth = cushion((0.05, long, depth * 0.75), (float(x) + centre, rail - 0.03 - long, 0), 0.02, fabric(rng)).named("garment")
        solids += [
            cloth,
            dowel((float(x) + centre, rail - 0.06, 0), (float(x) + centre, rail + 0.01, 0), 0.004, STEEL, sides=6).named("garment"),
        ]
    return solids, shelves


def _crown(rng: Rng, width: float, height: float, depth: float, timber: Material) -> list[Solid]:
    """What closes the top: a board, mouldings, or a rounded board with an arch on it."""
    match rng.integers(4):
        case 0 | 1:
            return named("top", [box((width, 0.03, depth + 0.02), (0, height - 0.03, 0.01), timber)])
        case 2:
            steps = ((height - 0.06 + i * 0.028, out) for i, out in enumerate((0.015, 0.04, 0.07)))
            return named("top", [box((width + 2 * out, 0.03, depth + out + 0.03), (0, y, out / 2 + 0.015), timber) for y, out in steps])
    x, arch = arch_over(width, rng.uniform(0.08, 0.22), pick(rng, (1.2, 2.0)))
    crest = plate_between(x, np.full(len(x), height - 0.02), height + 0.04 + arch, 0.04, timber).moved((0, 0, depth / 2 - 0.01))
    return named("top", [cushion((width + 0.1, 0.06, depth + 0.08), (0, height - 0.05, 0.02), 0.02, timber), crest])


def wardrobe(rng: Rng) -> Thing:
    doors = int(pick(rng, (1, 2, 2, 2, 2, 3, 3, 4)))
    width = doors * rng.uniform(0.42, 0.6) + (0.2 if doors == 1 else 0)
    height, depth, timber = rng.uniform(1.75, 2.3), rng.uniform(0.5, 0.66), wood(rng)
    leaf = pick(rng, (timber, timber, timber, wood(rng)))
    face = joinery(rng, leaf, pick(rng, (STEEL, BLACK, BRASS)))
    low, solids, feet = cabinet_feet(rng, width, depth, timber)
    front, up, bottom = depth / 2, height - low, low + 0.02
    drawer_rows = int(rng.integers(1, 3)) if maybe(rng, 0.45) else 0
    drawer_cols = max(1, doors // 2) if doors != 3 else int(pick(rng, (1, 3)))
    mirrors = shelves = 0
    style: list[str] = []
    top, high = bottom, up - 0.07
    if drawer_rows:
        part = drawer_rows * rng.uniform(0.18, 0.26)
        solids += stacked(face, 0, bottom, front, width - 0.05, part, [drawer_cols] * drawer_rows)
        top, high = bottom + part, high - part
    each = (width - 0.05) / doors
    sort = pick(rng, ("hinged", "hinged", "hinged", "hinged", "sliding", "sliding", "open", "louvre"))
    if sort == "open" or (sort == "hinged" and doors > 1 and maybe(rng, 0.12)):  # one sees rail, clothes and shelves inside
        more, shelves = _inside(rng, (width, height - low, depth), low, top, high, timber)
        solids += more
        style.append("open")
        if sort == "hinged":
            doors, turn, leaf_wide = 2, rng.uniform(60, 115), width / 2
            for s in SIDES:
                door = [box((leaf_wide, high, 0.018), (0, 0, -0.009), leaf), *face(0, 0, 0, leaf_wide, high, -s)]
                hung = [p.moved((-s * leaf_wide / 2, 0, 0)).turned("y", s * turn) for p in door]
                solids += named("door", [p.moved((s * (width / 2 - 0.01), top, front + 0.02)) for p in hung])
        else:
            doors = 0
    else:
        solids.append(box((width, up - 0.02, depth), (0, low, 0), timber).hidden("door", front, "z").hidden("top", height - 0.02))
        shine, mirrored = glass(rng, pick(rng, ("white", "white", "blue"))), {doors // 2} if doors % 2 and maybe(rng, 0.5) else set()
        if maybe(rng, 0.25):
            mirrored = set(range(doors))
        for i in range(doors):
            x = -(width - 0.05) / 2 + (i + 0.5) * each
            swing = (1 if i % 2 == 0 else -1) if doors > 1 else pick(rng, SIDES)
            if sort == "sliding":
                out, leaf_wide = front + (0.028 if i % 2 else 0), each + (0.03 if doors > 1 else 0)
                solids.append(box((leaf_wide, high, 0.026), (x, top, out + 0.013), leaf).named("door"))
                some = [box((0.025, high, 0.012), (x + s * (leaf_wide / 2 - 0.0125), top, out + 0.03), STEEL) for s in SIDES]
                solids += named("door", some)
                inner = out + 0.026
            else:
                solids += face(x, top, front, each, high, swing)
                inner = front + 0.026
            if sort == "louvre":
                for y in np.arange(top + 0.12, top + high - 0.12, 0.05):
                    slat = box((each * 0.72, 0.045, 0.008), (0, -0.0225, 0), leaf).turned("x", -25)
                    solids.append(slat.moved((x, float(y), inner)).named("door"))
            elif i in mirrored:
                edge = 0.08 if sort != "sliding" else 0.05
                solids.append(box((each - 2 * edge, high * 0.92 - 0.02, 0.008), (x, top + high * 0.04, inner), shine).named("mirror"))
                mirrors += 1
            elif sort == "sliding":
                solids += named("door", [box((each - 0.02, 0.012, 0.006), (x, top + high * y, inner), STEEL) for y in (0.33, 0.66)])
    solids += _crown(rng, width, height, depth, timber)
    counted = (("door", doors, leaf), ("drawer", drawer_rows * drawer_cols, leaf), ("mirror", mirrors, timber), ("shelf", shelves, timber))
    parts = said_of(timber, *counted, feet)
    return Thing.of(solids, timber, style, parts, rest="cabinet")
