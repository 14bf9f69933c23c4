"""Makes a desk: its designs, proportions and parts, and the words for them. See `thing`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.starter.kinds.kit import *

SORTS = "chests chests chests writing writing corner corner computer computer office office roll trestle".split()
"""The sorts of desks; those that are more common stand here more than once."""


def _hutch(rng: Rng, width: float, y: float, z: float, timber: Material) -> tuple[list[Solid], int]:
    """Shelves on the back of a desk, and how many levels they have; z is where its back lies."""
    tall, deep, levels = rng.uniform(0.35, 0.75), rng.uniform(0.2, 0.3), int(rng.integers(1, 4))
    middle, uprights = z + deep / 2, pick(rng, ((-1, 1), (-1, 1), (-1, 0, 1), (-1, -0.35, 0.35, 1)))
    solids = named("side", [box((0.02, tall, deep), (u * (width / 2 - 0.01), y, middle), timber) for u in uprights])
    shelfs = [box((width, 0.02, deep), (0, float(at), middle), timber) for at in y + np.linspace(tall * 0.4, tall - 0.01, levels)]
    solids += named("shelf", shelfs)
    solids.append(box((width, tall, 0.01), (0, y, z + 0.006), timber).named("back"))
    return solids, levels


@dataclass
class _Design:
    """What the parts of a desk are made of and have to fit."""

    width: float
    depth: float
    under: float
    solids: list[Solid]
    timber: Material
    face: Face
    chest: Callable[[float, float, int, float, float], None]
    hide: Solid
    back: float
    height: float
    style: list[str]
    side: int
    surface: Material
    thick: float
    panel: Callable[[float], None]


def _trestle(rng: Rng, d: _Design, stand: Material) -> int:
    """A top on two trestles with a drawer between them."""
    for x in SIDES:
        at = x * d.width * 0.36
        for slope in SIDES:
            for z in SIDES:
                foot, head = (at + slope * 0.16, 0.0, z * d.depth * 0.42), (at + slope * 0.02, d.under, z * d.depth * 0.36)
                d.solids.append(dowel(foot, head, 0.02, stand, sides=10).named("leg"))
        d.solids.append(box((0.05, 0.04, d.depth * 0.9), (at, d.under - 0.04, 0), stand).named("leg"))
        d.solids.append(box((0.2, 0.025, d.depth * 0.8), (at, d.under * 0.35, 0), stand).named("leg"))
    many = int(rng.integers(1, 4))
    d.solids.append(box((d.width * 0.6, 0.1, d.depth * 0.7), (0, d.under - 0.1, 0.02), d.timber).hidden("top", d.under))
    d.solids += stacked(d.face, 0, d.under - 0.1, d.depth * 0.35 + 0.02, d.width * 0.6, 0.1, [many])
    drawer_count = many
    return drawer_count


def _roll_top(rng: Rng, d: _Design) -> int:
    """A desk with a roll top, open or closed, over chests."""
    wide, rows, tall = d.width * rng.uniform(0.26, 0.32), int(rng.integers(3, 5)), rng.uniform(0.32, 0.42)
    for one in SIDES:
        d.chest(one * (d.width / 2 - wide / 2 - 0.01), wide, rows, 0.06, d.depth - 0.06)
    drawer_count = 2 * rows
    d.solids.append(d.hide)
    closed, run = maybe(rng, 0.5), np.linspace(0, 1, 17)
    profile, deep = tall * np.minimum(1, 1.25 * np.sqrt(1 - run**2.2)), d.back + run * d.depth * 0.92
    cheek = plate_between(-deep[::-1], np.zeros(17), profile[::-1], 0.025, d.timber).turned("y", 90)
    d.solids += named("side", [cheek.moved((x * (d.width / 2 - 0.0125), d.height, 0)) for x in SIDES])
    keep = slice(None) if closed else slice(0, 9)
    shell = plate_between(-deep[keep][::-1], np.zeros(len(run[keep])), (profile[keep] - 0.012)[::-1].clip(0), d.width - 0.05, d.timber)
    d.solids.append(shell.turned("y", 90).moved((0, d.height, 0)).named("lid"))
    reach = d.width / 2 - 0.03
    if closed:
        for high, at in zip((d.height + profile - 0.012).tolist()[4:16], deep.tolist()[4:16], strict=True):
            d.solids.append(dowel((-reach, high, at), (reach, high, at), 0.012, d.timber, sides=8).named("lid"))
    else:
        many = int(rng.integers(2, 4))
        d.solids += stacked(d.face, 0, d.height + 0.01, float(deep[8]), d.width - 0.06, tall * 0.6, [many, many + 1])
        drawer_count += 2 * many + 1
    d.style.append("closed" if closed else "open")
    return drawer_count


def _office(rng: Rng, d: _Design, stand: Material, drawer_count: int) -> int:
    """A desk on two feet with a beam."""
    spread = d.depth - 0.06
    for x in SIDES:
        at = x * (d.width / 2 - rng.uniform(0.06, 0.1))
        d.solids.append(cushion((0.07, 0.035, spread), (at, 0, 0), 0.012, stand).named("leg"))
        some = [box((0.05, 0.03, spread), (at, d.under - 0.03, 0), stand), box((0.05, d.under, 0.09), (at, 0, -d.depth * 0.12), stand)]
        d.solids += named("leg", some)
    d.solids += [d.hide, box((d.width - 0.2, 0.05, 0.03), (0, d.under - 0.06, -d.depth * 0.12), stand).named("leg")]
    if maybe(rng, 0.6):  # a chest on castors
        rows, at, tall, low = int(rng.integers(2, 4)), d.side * (d.width / 2 - 0.36), rng.uniform(0.48, 0.56), 0.06
        d.solids += [box((0.4, tall, d.depth - 0.14), (at, low, 0.02), d.timber)]
        d.solids += named("wheel", [disc(0.025, low, (at + x, 0, z + 0.02), BLACK, sides=12) for x, z in four(0.32, d.depth - 0.24)])
        d.solids += stacked(d.face, at, low, d.depth / 2 - 0.05, 0.4, tall, [1] * rows, pick(rng, (1.0, 2.0)))
        drawer_count = rows
    backs = [cushion((d.width, 0.4, 0.03), (0, d.height - 0.05, d.back - 0.015), 0.012, fabric(rng))] if maybe(rng, 0.3) else []
    d.solids += named("back", backs)
    return drawer_count


def _computer(rng: Rng, d: _Design) -> tuple[float, Solid, int]:
    """A narrow desk with a shelf for the keyboard."""
    width = rng.uniform(0.8, 1.3)
    modesty = box((width - 0.06, d.under * 0.5, 0.018), (0, d.under * 0.45, d.back + 0.03), d.timber).named("back")
    d.solids += [modesty, box((width - 0.3, 0.018, d.depth * 0.65), (0, d.under - 0.12, d.depth * 0.25), d.surface).named("shelf")]
    top_made = box((width, d.thick, d.depth), (0, d.under, 0), d.surface)
    for x in SIDES:
        d.panel(x * (width / 2 - 0.03))
    wide = rng.uniform(0.24, 0.32)
    inner = d.side * (width / 2 - 0.045 - wide)
    d.panel(inner)
    middle = (inner + d.side * (width / 2 - 0.03)) / 2
    d.solids += named(
        "shelf",
        [box((wide, 0.018, d.depth - 0.06), (middle, float(y), 0), d.timber) for y in (0.06, d.under * 0.55)[: int(rng.integers(1, 3))]],
    )
    shelves = 1
    keys = box((0.45, 0.02, 0.16), (-d.side * wide * 0.3, d.under - 0.1, d.depth * 0.45), pick(rng, (BLACK, WHITE)))
    d.solids += named("key", [keys] if maybe(rng, 0.5) else [])
    return width, top_made, shelves


def _writing(rng: Rng, d: _Design, stand: Material, top_made: Solid) -> tuple[int, int, Material, Solid]:
    """A table with drawers under its top."""
    depth_in, columns, high = d.depth - 0.06, int(rng.integers(1, 4)), rng.uniform(0.1, 0.15)
    d.solids.append(box((d.width - 0.06, high, depth_in), (0, d.under - high, 0), d.timber).hidden("top", d.under))
    d.solids += stacked(d.face, 0, d.under - high, depth_in / 2, d.width - 0.16, high, [columns])
    drawer_count, leg_count = columns, 4
    if maybe(rng, 0.3):
        stand = d.timber
        d.solids += cabriole(d.width, d.depth, d.under, d.timber)
    else:
        d.solids += legs(rng, d.width - 0.1, d.depth - 0.04, d.under, 0.055, stand)[0]
    if maybe(rng, 0.4):  # a small row of drawers at the back of the top
        many, tall = int(rng.integers(2, 6)), rng.uniform(0.12, 0.2)
        d.solids.append(box((d.width - 0.02, tall, 0.2), (0, d.height, d.back + 0.11), d.timber))
        d.solids += stacked(d.face, 0, d.height, d.back + 0.21, d.width - 0.04, tall - 0.01, [many])
        drawer_count += many
    elif maybe(rng, 0.5):
        run, arch = arch_over(d.width, rng.uniform(0.04, 0.12))
        back = plate_between(run, np.full(len(run), d.height), d.height + 0.06 + arch, 0.02, d.timber).moved((0, 0, d.back + 0.012))
        d.solids.append(back.named("back"))
    if maybe(rng, 0.4):
        top_made = cushion((d.width + 0.03, d.thick, d.depth + 0.03), (0, d.under, 0), 0.011, d.surface)
    return drawer_count, leg_count, stand, top_made


def _chests(
    rng: Rng, d: _Design, drawer_count: int, stand: Material, door_count: int, leg_count: int, top_made: Solid
) -> tuple[int, int, int, Solid]:
    """A top on one chest of drawers or two."""
    wide, both, rows = rng.uniform(0.3, 0.46), maybe(rng, 0.55), int(rng.integers(2, 5))
    for one in (d.side, -d.side)[: 2 if both else 1]:
        at = one * (d.width / 2 - wide / 2 - 0.02)
        if one == -d.side and maybe(rng, 0.3):
            d.solids.append(box((wide, d.under - 0.06, d.depth - 0.08), (at, 0.06, 0), d.timber))
            d.solids.append(box((wide - 0.05, 0.06, d.depth - 0.14), (at, 0, 0), BLACK).named("base"))
            d.solids += d.face(at, 0.06, d.depth / 2 - 0.04, wide, d.under - 0.06, d.side)
            door_count = 1
        else:
            d.chest(at, wide, rows, 0.06, d.depth - 0.08)
            drawer_count += rows
    if not both and maybe(rng, 0.5):
        d.panel(-d.side * (d.width / 2 - 0.03))
    elif not both:
        some = [box((0.05, d.under, 0.05), (-d.side * (d.width / 2 - 0.05), 0, z * (d.depth / 2 - 0.06)), stand) for z in SIDES]
        d.solids += named("leg", some)
        leg_count = 2
    knee = d.width - (2 if both else 1) * wide - 0.1
    if both and maybe(rng, 0.6):
        d.solids.append(box((knee + 0.06, 0.1, d.depth - 0.12), (0, d.under - 0.1, 0), d.timber))
        d.solids += stacked(d.face, 0, d.under - 0.1, d.depth / 2 - 0.06, knee + 0.05, 0.095, [1])
        drawer_count += 1
    d.solids.append(d.hide)
    if maybe(rng, 0.45):  # of a director: a moulded top with a field of leather
        top_made = cushion((d.width + 0.08, d.thick + 0.01, d.depth + 0.08), (0, d.under, 0), 0.016, d.surface)
        d.solids.append(box((d.width + 0.03, 0.025, d.depth + 0.03), (0, d.under - 0.02, 0), d.timber).named("top"))
        if maybe(rng, 0.6):
            size = (d.width * 0.7, 0.004, d.depth * 0.65)
            d.solids.append(box(size, (0, d.height + 0.009, 0), leather(rng, pick(rng, ("green", "brown", "black", "red")))).named("top"))
    elif maybe(rng, 0.25):
        run, bulge = arch_over(d.width, rng.uniform(0.06, 0.2))
        top_made = lying_between(run, np.full(len(run), d.back), d.depth / 2 + bulge, d.thick, d.under, d.surface)
        d.style.append("curved")
    return door_count, drawer_count, leg_count, top_made


def desk(rng: Rng) -> Thing:
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.52, 0.8), rng.uniform(0.71, 0.78)
    timber, knob = wood(rng), pick(rng, (STEEL, BLACK, BRASS))
    surface, stand = pick(rng, (timber, timber, timber, wood(rng))), pick(rng, (STEEL, BLACK, WHITE, timber, timber))
    thick, face = rng.uniform(0.022, 0.045), joinery(rng, timber, knob)
    under, side = height - thick, pick(rng, SIDES)
    solids: list[Solid] = []
    style: list[str] = []
    drawer_count = shelves = door_count = leg_count = 0
    back, sort = -depth / 2, pick(rng, SORTS)

    def chest(at: float, wide: float, rows: int, y: float, deep: float) -> None:
        solids.append(box((wide, under - y, deep), (at, y, 0), timber).hidden("top", under).hidden("drawer", deep / 2, "z"))
        if y < 0.1:
            solids.append(box((wide - 0.05, y, deep - 0.08), (at, 0, 0), BLACK).named("base"))
        solids.extend(stacked(face, at, y, deep / 2, wide, under - y, [1] * rows, pick(rng, (1.0, 1.0, 2.0))))

    def panel(at: float) -> None:
        solids.append(box((0.03, under, depth - 0.04), (at, 0, 0), timber).named("side"))

    modesty = box((width - 0.1, under * rng.uniform(0.35, 0.9), 0.02), (0, 0, 0), timber).named("back")
    hide = modesty.moved((0, under - float(np.ptp(modesty.vertices[:, 1])), back + rng.uniform(0.03, 0.15)))
    top_made = box((width, thick, depth), (0, under, 0), surface)
    d = _Design(width, depth, under, solids, timber, face, chest, hide, back, height, style, side, surface, thick, panel)
    match sort:
        case "chests":
            door_count, drawer_count, leg_count, top_made = _chests(rng, d, drawer_count, stand, door_count, leg_count, top_made)
        case "writing":
            drawer_count, leg_count, stand, top_made = _writing(rng, d, stand, top_made)
        case "corner":
            style.append("corner")
            reach, arm = rng.uniform(0.5, 0.9), rng.uniform(0.45, 0.6)
            at = side * (width / 2 - arm / 2)
            solids.append(box((arm, thick, reach), (at, under, depth / 2 + reach / 2), surface).named("top"))
            solids.append(box((arm - 0.04, under, 0.03), (at, 0, depth / 2 + reach - 0.04), timber).named("side"))
            if maybe(rng, 0.6):
                rows = int(rng.integers(2, 5))
                chest(-side * (width / 2 - 0.22), 0.4, rows, 0.05, depth - 0.06)
                drawer_count = rows
            else:
                panel(-side * (width / 2 - 0.03))
            solids += [
                hide,
                box((0.02, under * 0.7, reach + depth - 0.08), (side * (width / 2 - 0.04), under * 0.3, reach / 2), timber).named("side"),
            ]
            solids += named("leg", [box((0.05, under, 0.05), (side * (width / 2 - 0.05), 0, back + 0.05), stand)])
            if maybe(rng, 0.5):  # a slanting edge across the inner corner
                cut = rng.uniform(0.15, 0.35)
                run = np.array([-cut, 0.0]) if side > 0 else np.array([0.0, cut])
                wedge = lying_between(run, np.zeros(2), cut - np.abs(run), thick, under, surface)
                solids.append(wedge.moved((at - side * arm / 2, 0, depth / 2)).named("top"))
        case "computer":
            width, top_made, shelves = _computer(rng, d)
        case "office":
            drawer_count = _office(rng, d, stand, drawer_count)
        case "roll":  # a roll top over chests
            drawer_count = _roll_top(rng, d)
        case _:
            drawer_count = _trestle(rng, d, stand)
    solids.append(top_made.named("top"))
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
    return Thing.of(levelled(solids), timber, style, parts, rest="cabinet")
