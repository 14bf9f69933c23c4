"""Makes a desk: its designs, proportions and parts, and the words for them. See `thing`."""

import numpy as np

from pipeline.starter.kinds.kit import *


def _hutch(rng: Rng, width: float, y: float, z: float, timber: Material) -> tuple[list[Solid], int]:
    """Shelves on the back of a desk, and how many levels they have; z is where its back lies."""
    tall, deep, levels = rng.uniform(0.35, 0.75), rng.uniform(0.2, 0.3), int(rng.integers(1, 4))
    middle, uprights = z + deep / 2, pick(rng, ((-1, 1), (-1, 1), (-1, 0, 1), (-1, -0.35, 0.35, 1)))
    solids = [box((0.02, tall, deep), (u * (width / 2 - 0.01), y, middle), timber) for u in uprights]
    solids += [box((width, 0.02, deep), (0, float(at), middle), timber) for at in y + np.linspace(tall * 0.4, tall - 0.01, levels)]
    solids.append(box((width, tall, 0.01), (0, y, z + 0.006), timber))
    return solids, levels


def desk(rng: Rng) -> Thing:
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.52, 0.8), rng.uniform(0.71, 0.78)
    timber, knob = wood(rng), pick(rng, (STEEL, BLACK, BRASS))
    surface, stand = pick(rng, (timber, timber, timber, wood(rng))), pick(rng, (STEEL, BLACK, WHITE, timber, timber))
    thick, face = rng.uniform(0.022, 0.045), joinery(rng, timber, knob)
    under, side = height - thick, pick(rng, SIDES)
    solids: list[Solid] = []
    style: list[str] = []
    drawer_count = shelves = door_count = leg_count = 0
    back, sort = (
        -depth / 2,
        pick(
            rng,
            (
                "chests",
                "chests",
                "chests",
                "writing",
                "writing",
                "corner",
                "corner",
                "computer",
                "computer",
                "office",
                "office",
                "roll",
                "trestle",
            ),
        ),
    )

    def chest(at: float, wide: float, rows: int, y: float, deep: float) -> None:
        solids.append(box((wide, under - y, deep), (at, y, 0), timber))
        if y < 0.1:
            solids.append(box((wide - 0.05, y, deep - 0.08), (at, 0, 0), BLACK))
        solids.extend(stacked(face, at, y, deep / 2, wide, under - y, [1] * rows, pick(rng, (1.0, 1.0, 2.0))))

    def panel(at: float) -> None:
        solids.append(box((0.03, under, depth - 0.04), (at, 0, 0), timber))

    modesty = box((width - 0.1, under * rng.uniform(0.35, 0.9), 0.02), (0, 0, 0), timber)
    hide = modesty.moved((0, under - float(np.ptp(modesty.vertices[:, 1])), back + rng.uniform(0.03, 0.15)))
    top_made = box((width, thick, depth), (0, under, 0), surface)
    match sort:
        case "chests":
            wide, both, rows = rng.uniform(0.3, 0.46), maybe(rng, 0.55), int(rng.integers(2, 5))
            for one in (side, -side)[: 2 if both else 1]:
                at = one * (width / 2 - wide / 2 - 0.02)
                if one == -side and maybe(rng, 0.3):
                    solids.append(box((wide, under - 0.06, depth - 0.08), (at, 0.06, 0), timber))
                    solids.append(box((wide - 0.05, 0.06, depth - 0.14), (at, 0, 0), BLACK))
                    solids += face(at, 0.06, depth / 2 - 0.04, wide, under - 0.06, side)
                    door_count = 1
                else:
                    chest(at, wide, rows, 0.06, depth - 0.08)
                    drawer_count += rows
            if not both and maybe(rng, 0.5):
                panel(-side * (width / 2 - 0.03))
            elif not both:
                solids += [box((0.05, under, 0.05), (-side * (width / 2 - 0.05), 0, z * (depth / 2 - 0.06)), stand) for z in SIDES]
                leg_count = 2
            knee = width - (2 if both else 1) * wide - 0.1
            if both and maybe(rng, 0.6):
                solids.append(box((knee + 0.06, 0.1, depth - 0.12), (0, under - 0.1, 0), timber))
                solids += stacked(face, 0, under - 0.1, depth / 2 - 0.06, knee + 0.05, 0.095, [1])
                drawer_count += 1
            solids.append(hide)
            if maybe(rng, 0.45):  # of a director: a moulded top with a field of leather
                top_made = cushion((width + 0.08, thick + 0.01, depth + 0.08), (0, under, 0), 0.016, surface)
                solids.append(box((width + 0.03, 0.025, depth + 0.03), (0, under - 0.02, 0), timber))
                if maybe(rng, 0.6):
                    size = (width * 0.7, 0.004, depth * 0.65)
                    solids.append(box(size, (0, height + 0.009, 0), leather(rng, pick(rng, ("green", "brown", "black", "red")))))
            elif maybe(rng, 0.25):
                run, bulge = arch_over(width, rng.uniform(0.06, 0.2))
                top_made = lying_between(run, np.full(len(run), back), depth / 2 + bulge, thick, under, surface)
                style.append("curved")
        case "writing":
            depth_in, columns, high = depth - 0.06, int(rng.integers(1, 4)), rng.uniform(0.1, 0.15)
            solids.append(box((width - 0.06, high, depth_in), (0, under - high, 0), timber))
            solids += stacked(face, 0, under - high, depth_in / 2, width - 0.16, high, [columns])
            drawer_count, leg_count = columns, 4
            if maybe(rng, 0.3):
                stand = timber
                solids += cabriole(width, depth, under, timber)
            else:
                solids += legs(rng, width - 0.1, depth - 0.04, under, 0.055, stand)[0]
            if maybe(rng, 0.4):  # a small row of drawers at the back of the top
                many, tall = int(rng.integers(2, 6)), rng.uniform(0.12, 0.2)
                solids.append(box((width - 0.02, tall, 0.2), (0, height, back + 0.11), timber))
                solids += stacked(face, 0, height, back + 0.21, width - 0.04, tall - 0.01, [many])
                drawer_count += many
            elif maybe(rng, 0.5):
                run, arch = arch_over(width, rng.uniform(0.04, 0.12))
                solids.append(plate_between(run, np.full(len(run), height), height + 0.06 + arch, 0.02, timber).moved((0, 0, back + 0.012)))
            if maybe(rng, 0.4):
                top_made = cushion((width + 0.03, thick, depth + 0.03), (0, under, 0), 0.011, surface)
        case "corner":
            style.append("corner")
            reach, arm = rng.uniform(0.5, 0.9), rng.uniform(0.45, 0.6)
            at = side * (width / 2 - arm / 2)
            solids.append(box((arm, thick, reach), (at, under, depth / 2 + reach / 2), surface))
            solids.append(box((arm - 0.04, under, 0.03), (at, 0, depth / 2 + reach - 0.04), timber))
            if maybe(rng, 0.6):
                rows = int(rng.integers(2, 5))
                chest(-side * (width / 2 - 0.22), 0.4, rows, 0.05, depth - 0.06)
                drawer_count = rows
            else:
                panel(-side * (width / 2 - 0.03))
            solids += [hide, box((0.02, under * 0.7, reach + depth - 0.08), (side * (width / 2 - 0.04), under * 0.3, reach / 2), timber)]
            solids += [box((0.05, under, 0.05), (side * (width / 2 - 0.05), 0, back + 0.05), stand)]
            if maybe(rng, 0.5):  # a slanting edge across the inner corner
                cut = rng.uniform(0.15, 0.35)
                run = np.array([-cut, 0.0]) if side > 0 else np.array([0.0, cut])
                wedge = lying_between(run, np.zeros(2), cut - np.abs(run), thick, under, surface)
                solids.append(wedge.moved((at - side * arm / 2, 0, depth / 2)))
        case "computer":
            width = rng.uniform(0.8, 1.3)
            modesty = box((width - 0.06, under * 0.5, 0.018), (0, under * 0.45, back + 0.03), timber)
            solids += [modesty, box((width - 0.3, 0.018, depth * 0.65), (0, under - 0.12, depth * 0.25), surface)]
            top_made = box((width, thick, depth), (0, under, 0), surface)
            for x in SIDES:
                panel(x * (width / 2 - 0.03))
            wide = rng.uniform(0.24, 0.32)
            inner = side * (width / 2 - 0.045 - wide)
            panel(inner)
            middle = (inner + side * (width / 2 - 0.03)) / 2
            solids += [
                box((wide, 0.018, depth - 0.06), (middle, float(y), 0), timber) for y in (0.06, under * 0.55)[: int(rng.integers(1, 3))]
            ]
            shelves = 1
            keys = box((0.45, 0.02, 0.16), (-side * wide * 0.3, under - 0.1, depth * 0.45), pick(rng, (BLACK, WHITE)))
            solids += [keys] if maybe(rng, 0.5) else []
        case "office":
            spread = depth - 0.06
            for x in SIDES:
                at = x * (width / 2 - rng.uniform(0.06, 0.1))
                solids.append(cushion((0.07, 0.035, spread), (at, 0, 0), 0.012, stand))
                solids += [box((0.05, 0.03, spread), (at, under - 0.03, 0), stand), box((0.05, under, 0.09), (at, 0, -depth * 0.12), stand)]
            solids += [hide, box((width - 0.2, 0.05, 0.03), (0, under - 0.06, -depth * 0.12), stand)]
            if maybe(rng, 0.6):  # a chest on castors
                rows = int(rng.integers(2, 4))
                at, tall, low = side * (width / 2 - 0.36), rng.uniform(0.48, 0.56), 0.06
                solids += [box((0.4, tall, depth - 0.14), (at, low, 0.02), timber)]
                solids += [disc(0.025, low, (at + x, 0, z + 0.02), BLACK, sides=12) for x, z in four(0.32, depth - 0.24)]
                solids += stacked(face, at, low, depth / 2 - 0.05, 0.4, tall, [1] * rows, pick(rng, (1.0, 2.0)))
                drawer_count = rows
            solids += [cushion((width, 0.4, 0.03), (0, height - 0.05, back - 0.015), 0.012, fabric(rng))] if maybe(rng, 0.3) else []
        case "roll":  # a roll top over chests
            wide, rows, tall = width * rng.uniform(0.26, 0.32), int(rng.integers(3, 5)), rng.uniform(0.32, 0.42)
            for one in SIDES:
                chest(one * (width / 2 - wide / 2 - 0.01), wide, rows, 0.06, depth - 0.06)
            drawer_count = 2 * rows
            solids.append(hide)
            closed, run = maybe(rng, 0.5), np.linspace(0, 1, 17)
            profile, deep = tall * np.minimum(1, 1.25 * np.sqrt(1 - run**2.2)), back + run * depth * 0.92
            cheek = plate_between(-deep[::-1], np.zeros(17), profile[::-1], 0.025, timber).turned("y", 90)
            solids += [cheek.moved((x * (width / 2 - 0.0125), height, 0)) for x in SIDES]
            keep = slice(None) if closed else slice(0, 9)
            shell = plate_between(-deep[keep][::-1], np.zeros(len(run[keep])), (profile[keep] - 0.012)[::-1].clip(0), width - 0.05, timber)
            solids.append(shell.turned("y", 90).moved((0, height, 0)))
            reach = width / 2 - 0.03
            if closed:
                for high, at in zip((height + profile - 0.012).tolist()[4:16], deep.tolist()[4:16], strict=True):
                    solids.append(dowel((-reach, high, at), (reach, high, at), 0.012, timber, sides=8))
            else:
                many = int(rng.integers(2, 4))
                solids += stacked(face, 0, height + 0.01, float(deep[8]), width - 0.06, tall * 0.6, [many, many + 1])
                drawer_count += 2 * many + 1
            style.append("closed" if closed else "open")
        case _:
            for x in SIDES:
                at = x * width * 0.36
                for slope in SIDES:
                    for z in SIDES:
                        foot, head = (at + slope * 0.16, 0.0, z * depth * 0.42), (at + slope * 0.02, under, z * depth * 0.36)
                        solids.append(dowel(foot, head, 0.02, stand, sides=10))
                solids.append(box((0.05, 0.04, depth * 0.9), (at, under - 0.04, 0), stand))
                solids.append(box((0.2, 0.025, depth * 0.8), (at, under * 0.35, 0), stand))
            many = int(rng.integers(1, 4))
            solids.append(box((width * 0.6, 0.1, depth * 0.7), (0, under - 0.1, 0.02), timber))
            solids += stacked(face, 0, under - 0.1, depth * 0.35 + 0.02, width * 0.6, 0.1, [many])
            drawer_count = many
    solids.append(top_made)
    if (
        sort in ("computer", "corner", "chests", "trestle", "office")
        and "curved" not in style
        and maybe(rng, 0.65 if sort == "computer" else 0.25)
    ):
        shelf_solids, levels = _hutch(rng, width - 0.02, height, back, timber)
        solids += shelf_solids
        shelves += levels
    parts = said_of(
        timber, ("drawer", drawer_count, timber), ("shelf", shelves, timber), ("door", door_count, timber), ("leg", leg_count, stand)
    )
    return Thing.of(levelled(solids), timber, style, parts)
