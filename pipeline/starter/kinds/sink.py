"""Makes a sink: its designs, proportions and parts, and the words for them. See `thing`."""

from dataclasses import dataclass, field

from pipeline.starter.kinds.kit import *


def _basin(
    outer: tuple[float, float],
    inner: tuple[float, float],
    deep: float,
    thick: float,
    material: Material,
    edge: float,
    hole: float,
    z: float = 0.0,
) -> Solid:
    """A slab whose top is at Y = 0, with a hollow sunk into it, round the wall of the hollow and the slab's underside as well."""
    shell = [(0.7, -deep - 0.012), (0.93, -deep * 0.7), (1.0, -thick - 0.001)]
    skin = [closed_loop(inner[0] * k + 0.015, inner[1] * k + 0.015, y, z, front=hole) for k, y in shell]
    edges = ((0.005, -thick), (0, 0.004 - thick), (0, -0.004), (0.004, 0))
    skin += [closed_loop(outer[0] - 2 * d, outer[1] - 2 * d, y, front=edge) for d, y in edges]
    hollow = ((1, 0), (0.97, -0.012), (0.92, -deep * 0.5), (0.82, -deep * 0.85), (0.6, -deep))
    return layered([*skin, *(closed_loop(inner[0] * k, inner[1] * k, y, z, front=hole) for k, y in hollow)], material).named("basin")


@dataclass(frozen=True, kw_only=True)
class _Basins:
    """A sink without its taps."""

    solids: list[Solid]
    main: Material
    taps: list[tuple[float, float]]
    """x and y of each."""
    z: float
    """Where the taps stand along Z."""
    reach: float
    """How far the water falls before the taps."""
    drains: list[Point] = field(default_factory=list)
    parts: list[Parts]
    style: list[str] = field(default_factory=list)


def _ceramic(rng: Rng, pedestal: bool, hole: float, edge: float, white: Material, shine: Material) -> _Basins:
    """In one piece: on a pedestal, or hung on the wall."""
    wide, deep, high = rng.uniform(0.42, 0.66), rng.uniform(0.36, 0.5), rng.uniform(0.78, 0.88)
    thick, hollow, parts = rng.uniform(0.03, 0.13), rng.uniform(0.12, 0.17), []
    rim = edge if edge < 0.9 else 0.75
    solids = [_basin((wide, deep), (wide - 0.1, deep - 0.16), hollow, thick, white, rim, hole, 0.03).moved((0, high, 0))]
    if maybe(rng, 0.4):
        solids.append(soft_board(wide * 0.96, 0.03, rng.uniform(0.06, 0.14), (0, high - 0.01, -deep / 2 + 0.015), white, 0.3).named("back"))
        parts.append(Parts("backsplash", 1))
    if pedestal:
        under, foot, waist = high - 0.12, rng.uniform(0.12, 0.16), rng.uniform(0.065, 0.1)
        squash, corner = rng.uniform(0.8, 1.0), pick(rng, (0.98, 0.98, 0.3))
        line = [(foot, 0), (foot, 0.03), (foot * 0.85, 0.06), (waist, 0.2), (waist, under * 0.7), (waist * 1.5, under * 0.93)]
        line.append((waist * 2, under + 0.02))
        solids.append(layered([closed_loop(2 * r, 2 * r * squash, y, -0.02, front=corner) for r, y in line], white).named("pedestal"))
        parts.append(Parts("pedestal", 1))
    elif maybe(rng, 0.5):
        ends = ((0.5, high - 0.45), (0.8, high - 0.35), (1, high - 0.12))
        basin = layered([closed_loop(k * 0.2, k * 0.22, y, -deep / 2 + k * 0.11, front=0.9, back=0.1) for k, y in ends], white)
        solids.append(basin.named("basin"))
    else:
        y, wall = high - 0.28, -deep / 2
        pipe = [(0, high - 0.12, 0), (0, high - 0.32, 0), (0, high - 0.36, -0.06), (0, y, -0.1), (0, y, wall + 0.01)]
        pipes = [piped(pipe, 0.017, shine, bend=0.04), disc(0.03, 0.012, (0, 0, 0), shine).turned("x", 90).moved((0, y, wall))]
        solids += named("pipe", pipes)
        parts.append(Parts("pipe", 1, shine))
    drains: list[Point] = [(0, high - hollow, 0.03)]
    z, reach, style = -deep / 2 + 0.055, deep * 0.32, ["round" if hole > 0.9 else "square"]
    return _Basins(solids=solids, main=white, taps=[(0.0, high)], z=z, reach=reach, drains=drains, parts=parts, style=style)


def _bowls(rng: Rng, hole: float, white: Material, shine: Material) -> _Basins:
    """Upright bowls on a cabinet or a board."""
    timber = pick(rng, (wood(rng), stone(rng)))
    wide, deep, high = rng.uniform(0.6, 1.3), rng.uniform(0.42, 0.55), rng.uniform(0.7, 0.82)
    count = 2 if wide > 1.05 else 1
    long, tall = min(0.45, wide / count - 0.1), rng.uniform(0.1, 0.17)
    short = min(long, deep - 0.14)
    profile = [(0.5, 0), (0.75, 0.12), (0.93, 0.5), (1, 0.97), (0.985, 1), (0.95, 0.99), (0.86, 0.5), (0.66, 0.2), (0.4, 0.12)]
    if hole < 0.9:
        profile = [(0.94, 0), (0.97, 0.04), (1, 0.97), (0.99, 1), (0.93, 0.99), (0.9, 0.4), (0.82, 0.18), (0.5, 0.12)]
    places = [(i - (count - 1) / 2) * wide / 2 for i in range(count)]
    rings = [[closed_loop(long * k, short * k, high + h * tall, 0.04, x, front=hole) for k, h in profile] for x in places]
    more, parts, main = _vanity(rng, wide, deep, high, timber, shine)
    solids, taps = [*(layered(ring, white) for ring in rings), *more], [(x, high) for x in places]
    style = "round" if hole > 0.9 else "square"
    return _Basins(solids=solids, main=main, taps=taps, z=-deep / 2 + 0.05, reach=deep * 0.4, parts=parts, style=[style])


def _counter(rng: Rng, kitchen: bool, hole: float, white: Material, shine: Material) -> _Basins:
    """Basins sunk into the counter of a kitchen or a bathroom."""
    count, deep, high = int(rng.integers(1, 3)), rng.uniform(0.48, 0.62), rng.uniform(0.8, 0.9)
    each = rng.uniform(0.42, 0.56)
    drain = each if kitchen and maybe(rng, 0.5) else 0.0
    spare = rng.uniform(0.0, 0.5)
    top = STEEL if kitchen and maybe(rng, 0.5) else stone(rng)
    bowl, hole = (STEEL, 0.3) if kitchen else (white, hole)
    wide, thick, flat = count * each + drain + spare, 0.035, (each - 0.07, deep - 0.17)
    left, parts = -wide / 2, []
    if top is STEEL:
        unit = [_basin((each, deep), flat, 0.18, thick, top, 0.0, hole, 0.04)]
    else:  # a rim of its own lies on the counter
        levels = ((1, 0.04, 0), (1, 0.04, 0.007), (1, 0, 0.01), (0.96, 0, -0.02), (0.9, 0, -0.14), (0.7, 0, -0.17))
        rims = [closed_loop(flat[0] * k + d, flat[1] * k + d, y, 0.04, front=hole) for k, d, y in levels]
        around = [*(closed_loop(each, deep, y, front=0.0) for y in (-thick, 0)), closed_loop(flat[0], flat[1], 0, 0.04, front=hole)]
        unit = [layered(around, top, caps=(True, False)).named("top"), layered(rims, bowl, caps=(False, True))]
    taps = [(left + (i + 0.5) * each, high) for i in range(count)]
    solids = [solid.moved((x, high, 0)) for x, _ in taps for solid in unit]
    drains = [(x, high - (0.18 if top is STEEL else 0.17), 0.04) for x, _ in taps]
    end = left + count * each
    tops = [box((drain + spare, thick, deep), (end + (drain + spare) / 2, high - thick, 0), top)] if drain + spare > 0.01 else []
    solids += named("top", tops)
    if drain:
        grooves = int(rng.integers(5, 9))
        places = [(end + each * 0.5, high - 0.004, (k - grooves / 2) * 0.05 + 0.04) for k in range(grooves)]
        solids += named("top", [cushion((each * 0.8, 0.01, 0.018), place, 0.004, top) for place in places])
        parts.append(Parts("drainboard", 1))
    more, words, main = _vanity(rng, wide - 0.02, deep - 0.02, high - thick + 0.001, wood(rng), shine, topped=False)
    solids, parts = [*solids, *more], [Parts("basin", count), *parts, *words]
    if maybe(rng, 0.5):
        solids.append(box((wide, rng.uniform(0.06, 0.4), 0.02), (0, high, -deep / 2 + 0.01), top).named("back"))
        parts.append(Parts("backsplash", 1))
    taps = [(left + count * each / 2, high)] if kitchen else taps
    return _Basins(solids=solids, main=main, taps=taps, z=-deep / 2 + 0.06, reach=0.2, drains=drains, parts=parts)


def _trough(rng: Rng, white: Material) -> _Basins:
    """Basins on legs."""
    count, main = int(rng.integers(1, 4)), pick(rng, (STEEL, stone(rng), white))
    each, deep, high = rng.uniform(0.45, 0.65), rng.uniform(0.42, 0.58), rng.uniform(0.8, 0.9)
    down, wide, inner = rng.uniform(0.2, 0.32), count * each, (each - 0.06, deep - 0.12)
    taps = [((i - (count - 1) / 2) * each, high) for i in range(count)]
    holes = [pick(rng, (0.2, 0.4)) for _ in taps]
    basins = [_basin((each, deep), inner, down - 0.02, down, main, 0.02, hole, 0.03) for hole in holes]
    solids = [basin.moved((x, high, 0)) for basin, (x, _) in zip(basins, taps, strict=True)]
    drains = [(x, high - down + 0.02, 0.03) for x, _ in taps]
    stand, under = pick(rng, (STEEL, BLACK, main)), high - down
    parts = [Parts("basin", count), Parts("leg", 4, stand)]
    solids += named("leg", [rod((x, 0, z), (x, under + 0.005, z), 0.018, 0.02, stand) for x, z in four(wide - 0.08, deep - 0.08)])
    if maybe(rng, 0.5):
        solids.append(box((wide - 0.06, 0.02, deep - 0.06), (0, 0.2, 0), stand).named("shelf"))
        parts.append(Parts("shelf", 1))
    if maybe(rng, 0.5):
        solids.append(soft_board(wide, 0.025, rng.uniform(0.15, 0.3), (0, high - 0.01, -deep / 2 + 0.0125), main, 0.1).named("back"))
        parts.append(Parts("backsplash", 1))
    return _Basins(solids=solids, main=main, taps=taps, z=-deep / 2 + 0.05, reach=0.2, drains=drains, parts=parts)


def _unbuilt(rng: Rng, white: Material) -> _Basins:
    """As it comes from the shop, before it is built in."""
    count, main = int(rng.integers(1, 3)), pick(rng, (STEEL, white, stone(rng)))
    each, deep, high = rng.uniform(0.36, 0.5), rng.uniform(0.4, 0.52), rng.uniform(0.15, 0.22) + 0.012
    wing = rng.uniform(0.3, 0.45) if maybe(rng, 0.35) else 0.0
    left, parts = -(count * each + wing) / 2, [Parts("basin", count)]
    edge, hole = (0.9, 0.98) if count == 1 and not wing and maybe(rng, 0.5) else (0.02, 0.3)
    basin = _basin((each, deep), (each - 0.05, deep - 0.15), high - 0.012, 0.02, main, edge, hole, 0.04)
    places = [left + (i + 0.5) * each for i in range(count)]
    solids, drains = [basin.moved((x, high, 0)) for x in places], [(x, 0.012, 0.04) for x in places]
    if wing:
        x = left + count * each + wing / 2
        solids.append(box((wing, 0.02, deep), (x, high - 0.02, 0), main).named("top"))
        tops = [cushion((wing * 0.8, 0.012, 0.02), (x, high - 0.005, (k - 3) * 0.05 + 0.03), 0.005, main) for k in range(7)]
        solids += named("top", tops)
        parts.append(Parts("drainboard", 1))
    taps, z = [(left + count * each / 2, high)], -deep / 2 + 0.05
    return _Basins(solids=solids, main=main, taps=taps, z=z, reach=0.18, drains=drains, parts=parts, style=["low"])


def sink(rng: Rng) -> Thing:
    """On a pedestal, on the wall, in a counter of the kitchen or the bathroom, on legs, as a bowl on a board, or just the basin."""
    white = pick(rng, (ceramic(rng, "white"), ceramic(rng, "white"), ceramic(rng)))
    shine, form = pick(rng, (STEEL, STEEL, STEEL, BRASS, BLACK)), int(rng.choice((0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 6)))
    hole, edge = pick(rng, ((0.98, 0.98), (0.98, 0.3), (0.35, 0.12), (0.6, 0.3)))
    match form:
        case 0 | 1:
            made = _ceramic(rng, form == 0, hole, edge, white, shine)
        case 2:
            made = _bowls(rng, hole, white, shine)
        case 3 | 4:
            made = _counter(rng, form == 3, hole, white, shine)
        case 5:
            made = _trough(rng, white)
        case _:
            made = _unbuilt(rng, white)
    tap, words = tap_of(rng, made.reach, shine)
    taps = [part.moved((x, y - 0.002, made.z)) for x, y in made.taps for part in tap]
    parts = [*made.parts, *(Parts(word.noun, word.count * len(made.taps), word.material) for word in words)]
    solids = [*made.solids, *taps, *(disc(0.025, 0.006, at, shine, sides=16) for at in made.drains)]
    return Thing.of(standing(solids), made.main, made.style, parts[:4], rest="basin")


def _vanity(
    rng: Rng, wide: float, deep: float, high: float, timber: Material, shine: Material, *, topped: bool = True
) -> tuple[list[Solid], list[Parts], Material]:
    """What carries a counter: a cabinet with doors or drawers, or a board on legs."""
    solids = named("top", [soft_board(wide, deep, 0.035, (0, high - 0.035, 0), timber, 0.03)] if topped else [])
    under, form = high - 0.03 * topped, rng.integers(4)
    if form == 0 and topped:
        stand = pick(rng, (shine, timber))
        more, feet = legs(rng, wide - 0.04, deep - 0.04, under, 0.05, stand)
        if maybe(rng, 0.5):
            more.append(box((wide - 0.06, 0.025, deep - 0.06), (0, 0.18, 0), timber).named("shelf"))
            return [*solids, *more], [feet, Parts("shelf", 1)], timber
        return [*solids, *more], [feet], timber
    body, low = wood(rng), pick(rng, (0.08, 0.08, 0.15))
    height, t = under - low, 0.02
    if low > 0.1:
        solids += legs(rng, wide, deep, low + 0.01, 0.05, body)[0]
    else:
        solids.append(box((wide - 0.04, low, deep - 0.08), (0, 0, -0.02), BLACK).named("base"))
    solids += _open_chest(wide, height, deep, low, t, body)
    if form == 1:
        rows, columns = int(rng.integers(1, 4)), 1 if wide < 0.8 else 2
        more, said = drawers(rng, (wide - 2 * t, height, t), (0, low, deep / 2 - t), rows, columns, body, shine)
        return [*solids, *more], [said], body
    doors = max(1, min(4, round(wide / rng.uniform(0.35, 0.5))))
    each = (wide - 0.02) / doors
    for i in range(doors):
        x = (i - (doors - 1) / 2) * each
        solids.append(cushion((each - 0.012, height - 0.03, 0.02), (x, low + 0.015, deep / 2), 0.004, body).named("door"))
        some = [cushion((each - 0.12, height - 0.16, 0.012), (x, low + 0.08, deep / 2 + 0.009), 0.005, body)] if form == 3 else []
        solids += named("door", some)
        side = 1 if i % 2 == 0 and doors > 1 else -1
        px, z = x + side * each * 0.4, deep / 2 + 0.03
        solids.append(dowel((px, low + height * 0.62, z), (px, low + height * 0.8, z), 0.007, shine).named("handle"))
    return solids, [Parts("door", doors)], body


def _open_chest(wide: float, height: float, deep: float, low: float, t: float, body: Material) -> list[Solid]:
    """Walls without a lid, so that basins can hang in."""
    solids = named("cabinet", [box((t, height, deep), (s * (wide - t) / 2, low, 0), body) for s in (-1, 1)])
    solids += named("cabinet", [box((wide - 2 * t, height, t), (0, low, s * (deep - t) / 2), body) for s in (-1, 1)])
    return [*solids, box((wide - 2 * t, t, deep - 2 * t), (0, low, 0), body).named("cabinet")]
