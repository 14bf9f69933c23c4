"""Tables, cabinets and what closes a room or a garden: table, desk, dresser, night stand, bookshelf, wardrobe, refrigerator, door, fence.

    thing = dresser(np.random.default_rng(0))

Each public function makes one kind. What they share stands first: flat plates of any outline, fronts of drawers and doors, bases, tops.
A front lies against a plane z = const and is placed by its middle in x and its lower edge in y, like everything that stands.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pipeline.sources.kinds.thing import (
    BLACK,
    BRASS,
    STEEL,
    WHITE,
    Parts,
    Rng,
    Thing,
    fabric,
    four,
    frame,
    glass,
    leather,
    legs,
    maybe,
    metal,
    pick,
    plastic,
    stone,
    wood,
)
from pipeline.sources.solids import CREASE, Floats, Material, Solid, box, cushion, disc, rod, tube, turned

Face = Callable[[float, float, float, float, float, int], list[Solid]]
"""(x, y, z, width, height, swing) -> one front: of a drawer (swing 0) or of a door with its handle to the left (-1) or right (1)."""

SIDES = (-1, 1)


# --------------------------------------------------------------------------------------------------------------- plates


def _sheet(x: Floats, low: Floats, high: Floats, thick: float, material: Material) -> Solid:
    """An upright plate between the curves low(x) and high(x), x rising [K], with its middle on z = 0."""
    k = len(x)
    flat = np.stack([np.tile(x, 2), np.concatenate([low, high])], axis=1)  # [2K, 2]
    i = np.arange(k - 1)
    front = np.concatenate([np.stack([i, i + 1, k + i + 1], axis=1), np.stack([i, k + i + 1, k + i], axis=1)])
    a, b = flat[front[:, 1]] - flat[front[:, 0]], flat[front[:, 2]] - flat[front[:, 0]]
    front = front[a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 1e-12]  # where the curves meet a triangle has no area
    loop = np.concatenate([flat[:k], flat[: k - 1 : -1]])
    loop = loop[np.linalg.norm(loop - np.roll(loop, 1, axis=0), axis=1) > 1e-9]
    edge = np.roll(loop, -1, axis=0) - loop
    out = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / np.linalg.norm(edge, axis=1)[:, None]
    before = np.roll(out, 1, axis=0)
    smooth = (before * out).sum(axis=1) > CREASE
    mean = np.where(smooth[:, None], before + out, out)
    first = mean / np.linalg.norm(mean, axis=1)[:, None]  # normal where an edge starts
    last = np.where(np.roll(smooth, -1)[:, None], np.roll(first, -1, axis=0), out)
    n, half = len(loop), thick / 2
    ends = np.concatenate([loop, np.roll(loop, -1, axis=0)] * 2)
    rim = np.column_stack([ends, np.repeat([half, -half], 2 * n)])
    rim_normals = np.column_stack([np.concatenate([first, last] * 2), np.zeros(4 * n)])
    j = np.arange(n)
    rim_faces = np.concatenate([np.stack([j, j + 2 * n, j + 3 * n], axis=1), np.stack([j, j + 3 * n, j + n], axis=1)])
    sides = [np.column_stack([flat, np.full(2 * k, z)]) for z in (half, -half)]
    normals = np.repeat([(0.0, 0.0, 1.0), (0.0, 0.0, -1.0)], 2 * k, axis=0)
    return Solid(
        vertices=np.concatenate([*sides, rim]),
        normals=np.concatenate([normals, rim_normals]),
        faces=np.concatenate([front, front[:, ::-1] + 2 * k, rim_faces + 4 * k]),
        material=material,
    )


def _slab(x: Floats, back: Floats, front: Floats, thick: float, y: float, material: Material) -> Solid:
    """The same lying: between z = back(x) and front(x), its underside at y."""
    return _sheet(x, back, front, thick, material).turned("x", 90).moved((0, y + thick / 2, 0))


def _bow(width: float, bulge: float, power: float = 2.0, points: int = 25) -> tuple[Floats, Floats]:
    """x [K] and an arch over it: 0 at both ends, `bulge` in the middle; the higher the power, the flatter."""
    x = -np.cos(np.linspace(0, math.pi, points))
    return x * width / 2, bulge * np.maximum(1 - np.abs(x) ** power, 0) ** (1 / power)


def _limb(path: Floats, radii: Floats, material: Material) -> Solid:
    """A tube whose radius varies along its way."""
    even = tube(path, 1.0, material)
    return replace(even, vertices=np.repeat(path, 12, axis=0) + even.normals * np.repeat(radii, 12)[:, None])


def _bevelled(size: tuple[float, float, float], at: tuple[float, float, float], cut: float, material: Material) -> Solid:
    """A box whose side towards +Z is smaller all around by `cut`; lighter than a cushion, for what occurs many times."""
    block = box(size, (0, -size[1] / 2, 0), material)
    vertices = block.vertices * np.where(block.vertices[:, 2:] > 0, (1 - 2 * cut / size[0], 1 - 2 * cut / size[1], 1), 1)
    quads = vertices.reshape(6, 4, 3)
    normals = np.cross(quads[:, 1] - quads[:, 0], quads[:, 2] - quads[:, 0])
    normals = np.repeat(normals / np.linalg.norm(normals, axis=1)[:, None], 4, axis=0)
    return replace(block, vertices=vertices, normals=normals).moved((at[0], at[1] + size[1] / 2, at[2]))


def _level(solids: Sequence[Solid]) -> tuple[Solid, ...]:
    """Cut off by the floor: the ends of slanting legs."""
    return tuple(replace(solid, vertices=np.maximum(solid.vertices, (-np.inf, 0, -np.inf))) for solid in solids)


def _mirror(rng: Rng, width: float, height: float, material: Material) -> list[Solid]:
    """A framed mirror: square, arched or oval."""
    rim, shine = rng.uniform(0.025, 0.06), glass(rng, pick(rng, ("white", "white", "blue")))
    if (style := rng.integers(3)) == 0:
        return [
            cushion((width, height, 0.035), (0, 0, 0), 0.012, material),
            box((width - 2 * rim, height - 2 * rim, 0.008), (0, rim, 0.017), shine),
        ]
    plates = []
    for w, inset, deep, of in ((width, 0.0, 0.035, material), (width - 2 * rim, rim, 0.045, shine)):
        x, arch = _bow(w, (height - 2 * inset) / 2 if style == 1 else 0.35 * height - inset)
        middle = height / 2 if style == 1 else 0.65 * height
        low = middle - arch if style == 1 else np.full(len(x), inset)
        plates.append(_sheet(x, low, middle + arch, deep, of))
    return plates


# --------------------------------------------------------------------------------------------------------------- fronts


def _pull(rng: Rng, knob: Material) -> Face:
    """One style of handle for a whole piece; (x, y) is where its middle lies, swing tells doors (upright handles) from drawers."""
    style, part, thick = rng.integers(6), rng.uniform(0.2, 0.5), rng.uniform(0.005, 0.009)
    ball = turned([(0, 0), (0.008, 0), (0.007, 0.012), (0.017, 0.02), (0.017, 0.027), (0, 0.034)], (0, 0, 0), knob, sides=12).turned(
        "x", 90
    )
    cup = turned([(0, 0), (0.055, 0), (0.05, 0.014), (0.035, 0.024), (0, 0.028)], (0, 0, 0), knob, sides=14, squash=0.4).turned("x", 90)
    angle = np.linspace(0, math.pi, 9)

    def pull(x: float, y: float, z: float, width: float, height: float, swing: int) -> list[Solid]:
        long = min(part * (height if swing else width), 0.5)
        places = [x + side * width * 0.27 for side in SIDES] if not swing and width > 0.6 and style in (1, 3) else [x]
        solids = []
        for at in places:
            if style == 1:
                solids.append(ball.moved((at, y, z)))
                continue
            if style == 3:
                loop = np.stack([0.045 * np.cos(angle), -0.03 * np.sin(angle), 0.006 + 0.012 * np.sin(angle)], axis=1)
                made = [tube(loop, 0.004, knob, sides=8), *(ball.moved((side * 0.045, 0, -0.018)) for side in SIDES)]
            elif style == 2 and not swing:
                made = [cup]
            elif style == 4:
                made = [rod((-long / 2, 0, 0.03), (long / 2, 0, 0.03), thick, thick, knob, sides=10)]
                made += [
                    rod((side * long * 0.4, 0, 0), (side * long * 0.4, 0, 0.03), thick * 0.8, thick * 0.8, knob, sides=8) for side in SIDES
                ]
            elif style == 5 and not swing:
                made = [box((width * 0.4, 0.018, 0.004), (0, height * 0.28, 0), BLACK)]
            else:
                made = [_bevelled((long, 0.018, 0.026), (0, -0.009, 0.012), 0.005, knob)]
            solids += [(solid.turned("z", 90) if swing and style != 3 else solid).moved((at, y, z)) for solid in made]
        return solids

    return pull


def _joinery(rng: Rng, material: Material, knob: Material) -> Face:
    """One style of fronts, with handles, for a whole piece: plain, rounded, with a raised field, or with a frame around a sunk one."""
    look, gap, pull = rng.integers(4), rng.uniform(0.003, 0.009), _pull(rng, knob)

    def face(x: float, y: float, z: float, width: float, height: float, swing: int) -> list[Solid]:
        w, h, low = width - 2 * gap, height - 2 * gap, y + gap
        rim = min(0.07, 0.2 * min(w, h))
        match look:
            case 0:
                solids = [box((w, h, 0.018), (x, low, z + 0.009), material)]
            case 1:
                solids = [_bevelled((w, h, 0.022), (x, low, z + 0.011), min(0.012, 0.1 * h), material)]
            case 2:
                field = _bevelled((w - 2 * rim, h - 2 * rim, 0.01), (x, low + rim, z + 0.022), 0.2 * rim + 0.003, material)
                solids = [box((w, h, 0.018), (x, low, z + 0.009), material), field]
            case _:
                solids = [box((w, h, 0.006), (x, low, z + 0.003), material)]
                solids += [box((w, rim, 0.02), (x, low + up, z + 0.01), material) for up in (0, h - rim)]
                solids += [box((rim, h - 2 * rim, 0.02), (x + side * (w - rim) / 2, low + rim, z + 0.01), material) for side in SIDES]
        depth = (0.018, 0.022, 0.026, 0.006)[look]
        if swing:
            grip = 0.02 if look == 3 else depth
            return solids + pull(x + swing * (w / 2 - min(0.04, 0.15 * w)), y + height / 2, z + grip, width, height, swing)
        return solids + pull(x, y + height / 2, z + depth, w, h, 0)

    return face


def _stack(face: Face, x: float, y: float, z: float, width: float, height: float, columns: Sequence[int], grow: float = 1.0) -> list[Solid]:
    """Drawers above one another: `columns[i]` in row i from below; the lowest row is `grow` times as high as the topmost."""
    shares = np.linspace(grow, 1, len(columns))
    edges = y + height * np.concatenate([[0], np.cumsum(shares) / shares.sum()])
    solids = []
    for row, many in enumerate(columns):
        for i in range(many):
            each = width / many
            solids += face(x - width / 2 + (i + 0.5) * each, float(edges[row]), z, each, float(edges[row + 1] - edges[row]), 0)
    return solids


def _said(main: Material, *parts: tuple[str, int, Material]) -> tuple[Parts, ...]:
    """The words for parts of which there are any; a material is told where it differs from the main one."""
    said = []
    for noun, count, of in parts:
        same = (of.color_name, of.substance) == (main.color_name, main.substance)
        if count:
            said.append(Parts(noun=noun, count=count, material=None if same else of))
    return tuple(said[:4])


# ----------------------------------------------------------------------------------------------------- bases and carcasses


def _cabriole(width: float, depth: float, height: float, material: Material) -> list[Solid]:
    """Four S-shaped legs of the eighteenth century."""
    t = np.array([0, 0.08, 0.2, 0.35, 0.55, 0.75, 0.9, 1.0])
    out = np.array([0, 0.02, 0.035, 0.025, 0, -0.015, -0.005, 0.02]) * min(1.0, height / 0.4)
    radii = np.array([0.03, 0.034, 0.034, 0.028, 0.021, 0.016, 0.016, 0.024])
    solids = []
    for x, z in four(width - 0.1, depth - 0.1):
        path = np.stack([x + math.copysign(1, x) * out, height * (1 - t) + 0.008, z + math.copysign(1, z) * out], axis=1)
        solids += [_limb(path, radii, material), disc(0.03, 0.016, (float(path[-1, 0]), 0, float(path[-1, 2])), material, sides=14)]
    return solids


def _feet(rng: Rng, width: float, depth: float, material: Material) -> tuple[float, list[Solid], tuple[str, int, Material]]:
    """What a cabinet stands on: how high it is, and the legs one would count."""
    stand = pick(rng, (material, material, frame(rng)))
    match rng.integers(7):
        case 0:
            high = rng.uniform(0.04, 0.09)
            return high, [box((width - 0.04, high, depth - 0.06), (0, 0, -0.01), pick(rng, (material, BLACK)))], ("leg", 0, material)
        case 1:
            high = rng.uniform(0.06, 0.12)
            bun = turned(
                [(0, 0), (0.025, 0), (0.045, high * 0.45), (0.03, high * 0.85), (0.036, high), (0, high)], (0, 0, 0), material, sides=16
            )
            return high, [bun.moved((x, 0, z)) for x, z in four(width - 0.1, depth - 0.1)], ("leg", 4, material)
        case 2:  # brackets joined by a curved apron
            high = rng.uniform(0.09, 0.15)
            solids = []
            for long, deep, turn in ((width, depth, 0), (depth, width, 90)):
                x, arch = _bow(long - 0.16, high * 0.65, 3)
                x = np.concatenate([[-long / 2], x, [long / 2]])
                low = np.concatenate([[0], arch, [0]])
                plate = _sheet(x, low, np.full(len(x), high), 0.022, material)
                solids += [plate.moved((0, 0, side * (deep / 2 - 0.011))).turned("y", turn) for side in SIDES]
            return high, solids, ("leg", 0, material)
        case 3:
            high, bar = rng.uniform(0.1, 0.22), 0.02
            solids = [box((bar, bar, depth - 0.04), (side * (width / 2 - 0.04), 0, 0), stand) for side in SIDES]
            solids += [box((bar, high, bar), (x, 0, z), stand) for x, z in four(width - 0.08, depth - 0.06)]
            return high, solids, ("leg", 0, material)
        case 4:
            high = rng.uniform(0.14, 0.24)
            return (
                high + 0.03,
                [*_cabriole(width, depth, high, material), box((width, 0.03, depth), (0, high, 0), material)],
                ("leg", 4, material),
            )
        case _:
            high = rng.uniform(0.1, 0.24)
            return high, legs(rng, width - 0.02, depth - 0.02, high, rng.uniform(0.035, 0.055), stand)[0], ("leg", 4, stand)


def _body(rng: Rng, width: float, height: float, depth: float, y: float, material: Material) -> list[Solid]:
    """A closed carcass whose upper side is at y + height: flush, or with a top that stands out, moulded or rounded."""
    top = pick(rng, (material, material, wood(rng), stone(rng)))
    solids = [box((width, height - 0.02, depth), (0, y, 0), material)]
    match rng.integers(4):
        case 0:
            solids.append(box((width, 0.02, depth + 0.02), (0, y + height - 0.02, 0.01), material))
        case 1:
            solids.append(cushion((width + 0.04, 0.035, depth + 0.05), (0, y + height - 0.03, 0.015), 0.014, top))
        case 2:
            for i, out in enumerate((0.012, 0.03, 0.045)):
                solids.append(box((width + 2 * out, 0.016, depth + out + 0.025), (0, y + height - 0.04 + i * 0.014, out / 2 + 0.0125), top))
        case _:  # sides and top run around the fronts
            solids.append(cushion((width + 0.03, 0.03, depth + 0.03), (0, y + height - 0.025, 0.012), 0.006, material))
            solids += [box((0.022, height, depth + 0.026), (side * (width / 2 + 0.004), y, 0.013), material) for side in SIDES]
    return solids


# --------------------------------------------------------------------------------------------------------------- tables


def _top(rng: Rng, width: float, depth: float, thick: float, y: float, material: Material) -> tuple[list[Solid], str, float, float]:
    """A table top, the word for its form, and the rectangle that fits under it."""
    match rng.integers(9):
        case 0 | 1:
            return [box((width, thick, depth), (0, y, 0), material)], "", width, depth
        case 2:
            return [cushion((width, thick, depth), (0, y, 0), thick * 0.45, material)], "", width, depth
        case 3 | 4:  # round or, where it is long, oval
            squash = depth / width
            edge = thick * rng.uniform(0.0, 0.4)
            line = [
                (0.0, 0.0),
                (width / 2 - edge, 0.0),
                (width / 2, edge + 1e-4),
                (width / 2, thick - edge),
                (width / 2 - edge, thick + 1e-4),
            ]
            disk = turned([*line, (0.0, thick + 1e-4)], (0, y, 0), material, sides=56, squash=squash)
            return [disk], "round" if squash > 0.9 else "oval", width * 0.72, depth * 0.72
        case 5:
            x, half = _bow(width, depth / 2, rng.uniform(4, 9), 49)
            return [_slab(x, -half, half, thick, y, material)], "curved", width * 0.92, depth * 0.92
        case 6:  # wide in the middle as a boat, or with cut corners
            x = np.linspace(-width / 2, width / 2, 25)
            half = depth / 2 * (1 - rng.uniform(0.15, 0.3) * (2 * x / width) ** 2)
            return [_slab(x, -half, half, thick, y, material)], "curved", width * 0.9, depth * 0.78
        case 7:
            cut = 0.29 * min(width, depth)
            x = np.array([-width / 2, -width / 2 + cut, width / 2 - cut, width / 2])
            half = np.array([depth / 2 - cut, depth / 2, depth / 2, depth / 2 - cut])
            return [_slab(x, -half, half, thick, y, material)], "", width * 0.8, depth * 0.8
        case _:
            planks = int(rng.integers(3, 7))
            each = depth / planks
            boards = [box((width - 0.12, thick, each - 0.006), (0, y, -depth / 2 + (i + 0.5) * each), material) for i in range(planks)]
            boards += [box((0.06, thick, depth), (side * (width / 2 - 0.03), y, 0), material) for side in SIDES]
            return boards, "", width, depth


def _column(rng: Rng, reach: float, height: float, material: Material) -> list[Solid]:
    """One foot in the middle: a trumpet, a drum, a plate with a pole, or a turned pillar on three or four bent legs."""
    stem = rng.uniform(0.06, 0.11) * min(reach, 0.6)
    head = (reach * 0.45, height)
    match rng.integers(5):
        case 0:
            t = np.linspace(0, 1, 12)
            radius = stem + (reach * 0.6 - stem) * (1 - t) ** rng.uniform(2.5, 6) + (head[0] - stem) * t**8
            line = [(0.0, 0.0), *((float(r), float(0.01 + h * (height - 0.01))) for r, h in zip(radius, t, strict=True)), (0.0, height)]
            return [turned(line, (0, 0, 0), material)]
        case 1:
            wide, waist = reach * rng.uniform(0.4, 0.62), rng.uniform(0.55, 1.0)
            middle = [(wide * (waist + (1 - waist) * (2 * float(t) - 1) ** 2), float(t) * height) for t in np.linspace(0, 1, 11)]
            return [turned([(0, 0), *middle, (0, height)], (0, 0, 0), material, sides=int(pick(rng, (4, 8, 36, 36))))]
        case 2:
            plate, square = reach * rng.uniform(0.5, 0.7), maybe(rng, 0.4)
            foot = (
                cushion((plate * 1.7, 0.03, plate * 1.7), (0, 0, 0), 0.012, material) if square else disc(plate, 0.02, (0, 0, 0), material)
            )
            return [foot, disc(stem, height, (0, 0, 0), material), disc(reach * 0.4, 0.02, (0, height - 0.02, 0), material)]
    knots = stem * np.concatenate([[1.2, 1.4], rng.uniform(0.8, 2.2, 5), [1.0, 2.4]])
    line = [
        (0.0, height * 0.1),
        *((float(r), float(h)) for r, h in zip(knots, height * np.linspace(0.1, 1, 9), strict=True)),
        (0.0, height),
    ]
    solids = [turned(line, (0, 0, 0), material, sides=20)]
    count, t = int(rng.integers(3, 5)), np.linspace(0, 1, 9)
    drop = height * 0.36 * (1 - t) ** 2 + 0.03 * np.sin(math.pi * t)
    way = np.stack([0 * t, drop + stem * 0.6, t * reach * 0.85], axis=1)
    leg = _limb(way, stem * (0.9 - 0.3 * t), material)
    toe = cushion((stem * 1.5, stem * 1.3, stem * 2.2), (0, 0, reach * 0.85), stem * 0.5, material)
    offset = 45 if count == 4 else 0
    return solids + [part.turned("y", offset + i * 360 / count) for i in range(count) for part in (leg, toe)]


def _ends(rng: Rng, width: float, depth: float, height: float, material: Material) -> tuple[list[Solid], int]:
    """Supports left and right, and how many legs one counts: slabs, loops, crossed or spread bars, posts on feet, lyres."""
    x, style = width * rng.uniform(0.34, 0.47), rng.integers(6)
    thick = rng.uniform(0.035, 0.07) * min(1.6, max(0.6, depth / 0.75))
    solids: list[Solid] = []
    for side in SIDES:
        at = side * x
        match style:
            case 0:
                solids.append(box((thick, height, depth * 0.92), (at, 0, 0), material))
            case 1:
                solids += [box((thick, height, thick * 0.7), (at, 0, z * depth * 0.44), material) for z in SIDES]
                solids += [box((thick, thick * 0.7, depth * 0.88), (at, y, 0), material) for y in (0, height - thick * 0.7)]
            case 2:
                for z in SIDES:
                    solids.append(
                        rod((at, 0, z * depth * 0.42), (at, height, -z * depth * 0.42), thick * 0.5, thick * 0.5, material, sides=8)
                    )
            case 3:
                solids += [
                    rod((at, 0, z * depth * 0.43), (at, height, z * depth * 0.18), thick * 0.5, thick * 0.5, material) for z in SIDES
                ]
                solids += [box((thick, thick, depth * 0.7), (at, height - thick, 0), material)]
                solids += [box((thick * 0.7, thick, depth * 0.6), (at, height * 0.3, 0), material)]
            case 4:
                solids.append(cushion((thick * 1.3, thick, depth * 0.85), (at, 0, 0), 0.012, material))
                solids.append(box((thick, height, depth * rng.uniform(0.15, 0.2)), (at, 0, 0), material))
                solids.append(cushion((thick * 1.3, thick, depth * 0.7), (at, height - thick, 0), 0.012, material))
            case _:  # a lyre: a plate with a waist
                y = np.linspace(0, height, 19)
                half = depth * (0.24 + 0.2 * np.cos(2 * math.pi * y / height))
                solids.append(_sheet(y, -half, half, thick, material).turned("z", 90).turned("y", 90).moved((at, 0, 0)))
    if style > 1 or maybe(rng, 0.4):
        low = height * (0.5 if style == 2 else rng.uniform(0.25, 0.5))
        solids.append(box((2 * x, thick * 1.1, thick * 0.6), (0, low - thick * 0.55, 0), material))
    return solids, 2 if style in (0, 4, 5) else 4


def _hairpins(width: float, depth: float, height: float, material: Material) -> list[Solid]:
    """Four legs, each of two thin bars that meet at the floor."""
    solids = []
    for x, z in four(width - 0.16, depth - 0.16):
        foot = (x * 1.05, 0.0, z * 1.05)
        inward = (math.copysign(0.09, x), math.copysign(0.09, z))
        solids += [rod(foot, head, 0.009, 0.007, material, sides=8) for head in ((x - inward[0], height, z), (x, height, z - inward[1]))]
        solids.append(disc(0.014, 0.012, foot, material, sides=10))
    return solids


def _apron(width: float, depth: float, high: float, y: float, material: Material, sag: float) -> list[Solid]:
    """Boards below the rim of a top; sag is how far their lower edge rises in the middle."""
    solids = []
    for long, deep, turn in ((width, depth, 0), (depth, width, 90)):
        x, arch = _bow(long, sag)
        board = _sheet(x, y - high + arch, np.full(len(x), y), 0.02, material)
        solids += [board.moved((0, 0, side * (deep / 2 - 0.01))).turned("y", turn) for side in SIDES]
    return solids


def table(rng: Rng) -> Thing:
    height, wide, deep = pick(
        rng,
        (
            ((0.70, 0.78), (1.1, 2.2), (0.55, 0.75)),  # to eat at; depth as a share of the width, 1 at the most
            ((0.70, 0.78), (0.7, 1.4), (1.0, 1.0)),
            ((0.30, 0.48), (0.7, 1.4), (0.5, 0.8)),
            ((0.32, 0.50), (0.6, 1.0), (1.0, 1.0)),
            ((0.45, 0.62), (0.45, 0.7), (0.8, 1.0)),
            ((0.72, 0.85), (0.9, 1.5), (0.28, 0.4)),
            ((0.95, 1.08), (0.65, 0.95), (0.9, 1.0)),
            ((0.72, 0.77), (2.3, 3.4), (0.34, 0.48)),
        ),
    )
    tall, width = rng.uniform(*height), rng.uniform(*wide)
    depth, low = width * rng.uniform(*deep), tall < 0.52
    timber, thick = wood(rng), rng.uniform(0.018, 0.05)
    surface = pick(rng, (timber, timber, timber, timber, glass(rng, pick(rng, ("white", "blue", "green"))), stone(rng), plastic(rng)))
    stand = pick(rng, (timber, timber, frame(rng)))
    under = tall - thick
    solids, word, w, d = _top(rng, width, depth, thick, under, surface)
    style = [word] if word else ["square"] if depth > 0.97 * width else []
    style += ["low"] if low else ["tall"] if tall > 0.9 else []
    parts: tuple[Parts, ...] = ()
    wooden = surface.substance == "wood"
    match pick(
        rng, ("legs", "legs", "legs", "legs", "column", "column", "ends", "ends", "hairpins", "cabriole", "cross", "block", "frame")
    ):
        case "column":
            count = 2 if width > 1.8 * depth else 1
            for side in SIDES[:count]:
                state = rng.bit_generator.state
                column = _column(rng, depth / 2 * 0.95, under, stand)
                if side == -1 and count == 2:
                    rng.bit_generator.state = state  # both alike
                solids += [part.moved(((side * width * 0.26) if count == 2 else 0, 0, 0)) for part in column]
            parts = _said(surface, ("pedestal", count, stand))
        case "ends":
            supports, count = _ends(rng, w, d, under, stand)
            solids += supports
            parts = _said(surface, ("leg", count, stand))
        case "hairpins":
            solids += _hairpins(w, d, under, stand := pick(rng, (BLACK, STEEL, BRASS)))
            parts = _said(surface, ("leg", 4, stand))
        case "cabriole":
            solids += _cabriole(w, d, under, timber) + _apron(w - 0.1, d - 0.1, 0.09, under, timber, rng.uniform(0, 0.05))
            parts = _said(surface, ("leg", 4, timber))
        case "cross" if w < 1.8 * d:
            thin = rng.uniform(0.022, 0.036) * min(1.4, max(0.7, w))
            solids += [rod((x, 0, z), (-x * 0.9, under, -z * 0.9), thin, thin, stand) for x, z in four(w * 0.85, d * 0.85)]
            parts = _said(surface, ("leg", 4, stand))
        case "block" if low:
            solids.append(cushion((w * 0.8, under, d * 0.8), (0, 0, 0), 0.03, stand))
        case "frame":
            bar = rng.uniform(0.02, 0.04)
            solids += [box((bar, under, bar), (x, 0, z), stand) for x, z in four(w - 0.04, d - 0.04)]
            for y in (0, under - bar):
                solids += [box((w - 0.04, bar, bar), (0, y, side * (d / 2 - 0.02)), stand) for side in SIDES]
                solids += [box((bar, bar, d - 0.04), (side * (w / 2 - 0.02), y, 0), stand) for side in SIDES]
            parts = _said(surface, ("leg", 4, stand))
        case _:
            solids += legs(rng, w * 0.96, d * 0.96, under, rng.uniform(0.04, 0.09) * min(1, 0.4 + d), stand)[0]
            if wooden and maybe(rng, 0.6):
                solids += _apron(w * 0.96 - 0.06, d * 0.96 - 0.06, rng.uniform(0.06, 0.11), under, timber, pick(rng, (0.0, 0.03)))
            drawer_count = 0
            if wooden and not word and maybe(rng, 0.3):
                drawer_count, high = max(1, round(width / 0.6)), 0.11
                solids.append(box((w * 0.9, high + 0.02, d * 0.9), (0, under - high - 0.02, 0), timber))
                face = _joinery(rng, timber, pick(rng, (STEEL, BLACK, BRASS)))
                solids += _stack(face, 0, under - high - 0.005, d * 0.45, w * 0.86, high, [drawer_count])
            shelf = int((low or width < 0.7 or depth < 0.45) and maybe(rng, 0.5))
            board = pick(rng, (surface, timber))
            if shelf:
                solids.append(box((w * 0.9, 0.02, d * 0.9), (0, under * rng.uniform(0.2, 0.4), 0), board))
            elif maybe(rng, 0.25):
                solids += [box((0.03, 0.03, d * 0.88), (side * w * 0.43, under * 0.25, 0), stand) for side in SIDES]
                solids.append(box((w * 0.86, 0.03, 0.03), (0, under * 0.25, 0), stand))
            parts = _said(surface, ("leg", 4, stand), ("drawer", drawer_count, timber), ("shelf", shelf, board))
    return Thing(solids=_level(solids), main=surface, style=tuple(style), parts=parts)


def _hutch(rng: Rng, width: float, y: float, z: float, timber: Material) -> tuple[list[Solid], int]:
    """Shelves on the back of a desk, and how many levels they have; z is where its back lies."""
    tall, deep, levels = rng.uniform(0.35, 0.75), rng.uniform(0.2, 0.3), int(rng.integers(1, 4))
    middle = z + deep / 2
    uprights = pick(rng, ((-1, 1), (-1, 1), (-1, 0, 1), (-1, -0.35, 0.35, 1)))
    solids = [box((0.02, tall, deep), (u * (width / 2 - 0.01), y, middle), timber) for u in uprights]
    solids += [box((width, 0.02, deep), (0, float(at), middle), timber) for at in y + np.linspace(tall * 0.4, tall - 0.01, levels)]
    solids.append(box((width, tall, 0.01), (0, y, z + 0.006), timber))
    return solids, levels


def desk(rng: Rng) -> Thing:
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.52, 0.8), rng.uniform(0.71, 0.78)
    timber, knob = wood(rng), pick(rng, (STEEL, BLACK, BRASS))
    surface, stand = pick(rng, (timber, timber, timber, wood(rng))), pick(rng, (STEEL, BLACK, WHITE, timber, timber))
    thick, face = rng.uniform(0.022, 0.045), _joinery(rng, timber, knob)
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
        solids.extend(_stack(face, at, y, deep / 2, wide, under - y, [1] * rows, pick(rng, (1.0, 1.0, 2.0))))

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
                    solids += [
                        box((wide, under - 0.06, depth - 0.08), (at, 0.06, 0), timber),
                        box((wide - 0.05, 0.06, depth - 0.14), (at, 0, 0), BLACK),
                    ]
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
                solids += _stack(face, 0, under - 0.1, depth / 2 - 0.06, knee + 0.05, 0.095, [1])
                drawer_count += 1
            solids.append(hide)
            if maybe(rng, 0.45):  # of a director: a moulded top with a field of leather
                top_made = cushion((width + 0.08, thick + 0.01, depth + 0.08), (0, under, 0), 0.016, surface)
                solids.append(box((width + 0.03, 0.025, depth + 0.03), (0, under - 0.02, 0), timber))
                if maybe(rng, 0.6):
                    solids.append(
                        box(
                            (width * 0.7, 0.004, depth * 0.65),
                            (0, height + 0.009, 0),
                            leather(rng, pick(rng, ("green", "brown", "black", "red"))),
                        )
                    )
            elif maybe(rng, 0.25):
                run, bulge = _bow(width, rng.uniform(0.06, 0.2))
                top_made = _slab(run, np.full(len(run), back), depth / 2 + bulge, thick, under, surface)
                style.append("curved")
        case "writing":
            depth_in, columns, high = depth - 0.06, int(rng.integers(1, 4)), rng.uniform(0.1, 0.15)
            solids.append(box((width - 0.06, high, depth_in), (0, under - high, 0), timber))
            solids += _stack(face, 0, under - high, depth_in / 2, width - 0.16, high, [columns])
            drawer_count, leg_count = columns, 4
            if maybe(rng, 0.3):
                stand = timber
                solids += _cabriole(width, depth, under, timber)
            else:
                solids += legs(rng, width - 0.1, depth - 0.04, under, 0.055, stand)[0]
            if maybe(rng, 0.4):  # a small row of drawers at the back of the top
                many, tall = int(rng.integers(2, 6)), rng.uniform(0.12, 0.2)
                solids.append(box((width - 0.02, tall, 0.2), (0, height, back + 0.11), timber))
                solids += _stack(face, 0, height, back + 0.21, width - 0.04, tall - 0.01, [many])
                drawer_count += many
            elif maybe(rng, 0.5):
                run, arch = _bow(width, rng.uniform(0.04, 0.12))
                solids.append(_sheet(run, np.full(len(run), height), height + 0.06 + arch, 0.02, timber).moved((0, 0, back + 0.012)))
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
                wedge = _slab(run, np.zeros(2), cut - np.abs(run), thick, under, surface)
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
                solids += _stack(face, at, low, depth / 2 - 0.05, 0.4, tall, [1] * rows, pick(rng, (1.0, 2.0)))
                drawer_count = rows
            if maybe(rng, 0.3):
                solids.append(cushion((width, 0.4, 0.03), (0, height - 0.05, back - 0.015), 0.012, fabric(rng)))
        case "roll":  # a roll top over chests
            wide, rows, tall = width * rng.uniform(0.26, 0.32), int(rng.integers(3, 5)), rng.uniform(0.32, 0.42)
            for one in SIDES:
                chest(one * (width / 2 - wide / 2 - 0.01), wide, rows, 0.06, depth - 0.06)
            drawer_count = 2 * rows
            solids.append(hide)
            closed = maybe(rng, 0.5)
            run = np.linspace(0, 1, 17)
            profile = tall * np.minimum(1, 1.25 * np.sqrt(1 - run**2.2))
            deep = back + run * depth * 0.92
            cheek = _sheet(-deep[::-1], np.zeros(17), profile[::-1], 0.025, timber).turned("y", 90)
            solids += [cheek.moved((x * (width / 2 - 0.0125), height, 0)) for x in SIDES]
            keep = slice(None) if closed else slice(0, 9)
            shell = _sheet(-deep[keep][::-1], np.zeros(len(run[keep])), (profile[keep] - 0.012)[::-1].clip(0), width - 0.05, timber)
            solids.append(shell.turned("y", 90).moved((0, height, 0)))
            reach = width / 2 - 0.03
            if closed:
                for high, at in zip((height + profile - 0.012).tolist()[4:16], deep.tolist()[4:16], strict=True):
                    solids.append(rod((-reach, high, at), (reach, high, at), 0.012, 0.012, timber, sides=8))
            else:
                many = int(rng.integers(2, 4))
                solids += _stack(face, 0, height + 0.01, float(deep[8]), width - 0.06, tall * 0.6, [many, many + 1])
                drawer_count += 2 * many + 1
            style.append("closed" if closed else "open")
        case _:
            for x in SIDES:
                at = x * width * 0.36
                for slope in SIDES:
                    for z in SIDES:
                        foot, head = (at + slope * 0.16, 0.0, z * depth * 0.42), (at + slope * 0.02, under, z * depth * 0.36)
                        solids.append(rod(foot, head, 0.02, 0.02, stand, sides=10))
                solids += [
                    box((0.05, 0.04, depth * 0.9), (at, under - 0.04, 0), stand),
                    box((0.2, 0.025, depth * 0.8), (at, under * 0.35, 0), stand),
                ]
            many = int(rng.integers(1, 4))
            solids.append(box((width * 0.6, 0.1, depth * 0.7), (0, under - 0.1, 0.02), timber))
            solids += _stack(face, 0, under - 0.1, depth * 0.35 + 0.02, width * 0.6, 0.1, [many])
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
    parts = _said(
        timber, ("drawer", drawer_count, timber), ("shelf", shelves, timber), ("door", door_count, timber), ("leg", leg_count, stand)
    )
    return Thing(solids=_level(solids), main=timber, style=tuple(style), parts=parts)


# -------------------------------------------------------------------------------------------------------------- cabinets


def dresser(rng: Rng) -> Thing:
    tall = maybe(rng, 0.35)
    width = rng.uniform(0.6, 1.0) if tall else rng.uniform(1.1, 1.8)
    height = rng.uniform(1.05, 1.45) if tall else rng.uniform(0.72, 0.98)
    depth, timber, knob = rng.uniform(0.4, 0.55), wood(rng), pick(rng, (STEEL, BLACK, BRASS, BRASS))
    inner = pick(rng, (timber, timber, timber, wood(rng)))
    face = _joinery(rng, inner, knob)
    low, solids, feet = _feet(rng, width, depth, timber)
    solids += _body(rng, width, height - low, depth, low, timber)
    rows = int(rng.integers(4, 7)) if tall else int(rng.integers(3, 5))
    across = int(rng.integers(1, 3)) if tall else int(rng.integers(2, 4))
    columns = [across] * rows
    if maybe(rng, 0.45):
        columns[-1] = across + 1
    if tall and maybe(rng, 0.5):
        columns = [1] * (rows - 1) + [2]
    up, span, front, door_count, drawer_count = height - low - 0.06, width - 0.05, depth / 2, 0, sum(columns)
    if not tall and maybe(rng, 0.3):  # doors at both sides or in the middle
        share, middle = span * rng.uniform(0.26, 0.32), maybe(rng, 0.5)
        door_count = 2
        if middle:
            for side in SIDES:
                solids += face(side * share / 2, low + 0.01, front, share, up, -side)
                solids += _stack(face, side * (share + (span / 2 - share) / 2), low + 0.01, front, span / 2 - share, up, [1] * rows)
            drawer_count = 2 * rows
        else:
            for side in SIDES:
                solids += face(side * (span - share) / 2, low + 0.01, front, share, up, -side)
            drawer_count = rows
            solids += _stack(face, 0, low + 0.01, front, span - 2 * share, up, [1] * rows)
    else:
        solids += _stack(face, 0, low + 0.01, front, span, up, columns, pick(rng, (1.0, 1.0, 1.5)))
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
        solids.append(box((w * 0.9, lift + 0.05, 0.03), (0, height - 0.01, at[2]), timber))
    parts = _said(timber, ("drawer", drawer_count, inner), ("mirror", mirrors, timber), ("door", door_count, inner), feet)
    return Thing(solids=_level(solids), main=timber, style=("tall",) if tall else ("wide",), parts=parts)


def night_stand(rng: Rng) -> Thing:
    width, height = rng.uniform(0.36, 0.62), rng.uniform(0.46, 0.72)
    depth, timber, knob = rng.uniform(0.34, 0.46), wood(rng), pick(rng, (STEEL, BLACK, BRASS))
    fronts = pick(rng, (timber, timber, wood(rng)))
    face = _joinery(rng, fronts, knob)
    many = int(rng.integers(1, 4))
    if maybe(rng, 0.14):  # a drum, round all about
        radius, count = width / 2, int(rng.integers(1, 3))
        low, high = pick(rng, (0.03, rng.uniform(0.1, 0.25), rng.uniform(0.1, 0.25))), height - 0.03
        count = count if low > 0.06 else int(rng.integers(2, 4))
        solids = [disc(radius, high - low, (0, low, 0), timber, sides=48), disc(radius + 0.012, 0.03, (0, high, 0), timber, sides=48)]
        x = np.linspace(-0.75, 0.75, 17) * radius
        bow = np.sqrt(radius**2 - x**2) + 0.01
        each = (high - low) / count
        pull = _pull(rng, knob)
        for i in range(count):
            solids.append(_slab(x, bow - 0.05, bow, each - 0.03, low + i * each + 0.015, timber))
            solids += pull(0, low + (i + 0.5) * each, radius + 0.01, radius, each, 0)
        solids += (
            legs(rng, radius * 1.3, radius * 1.3, low, 0.04, timber)[0] if low > 0.06 else [disc(radius - 0.03, low, (0, 0, 0), BLACK)]
        )
        return Thing(
            solids=tuple(solids),
            main=timber,
            style=("round",),
            parts=_said(timber, ("drawer", count, timber), ("leg", 4 if low > 0.06 else 0, timber)),
        )
    if maybe(rng, 0.3):  # a small table with a drawer, and often a board below
        high, top = rng.uniform(0.12, 0.26), height - 0.025
        rows, shelf = (2 if high > 0.2 else 1), int(maybe(rng, 0.6))
        solids = [
            cushion((width + 0.03, 0.025, depth + 0.03), (0, top, 0), 0.01, timber),
            box((width - 0.03, high, depth - 0.03), (0, top - high, 0), timber),
        ]
        solids += _stack(face, 0, top - high + 0.005, depth / 2 - 0.015, width - 0.09, high - 0.01, [1] * rows)
        if maybe(rng, 0.3):
            solids += _cabriole(width, depth, top, timber)
        else:
            solids += [replace(leg, material=timber) for leg in legs(rng, width - 0.02, depth - 0.02, top, 0.04, timber)[0]]
        solids += [box((width - 0.05, 0.018, depth - 0.05), (0, top * rng.uniform(0.15, 0.3), 0), timber)] if shelf else []
        return Thing(
            solids=tuple(solids), main=timber, parts=_said(timber, ("drawer", rows, fronts), ("shelf", shelf, timber), ("leg", 4, timber))
        )
    low, solids, feet = _feet(rng, width, depth, timber)
    low_part = height - low
    bay = low_part * rng.uniform(0.3, 0.55) if many < 3 and maybe(rng, 0.5) else 0.0
    doors = int(not bay and many == 1)
    if bay:  # open below or above the drawers
        board, above = 0.02, maybe(rng, 0.35)
        start = low if not above else height - bay
        solids += [box((board, low_part, depth), (side * (width - board) / 2, low, 0), timber) for side in SIDES]
        solids += [box((width - 0.002, board, depth), (0, y, 0), timber) for y in (low, start if above else low + bay - board)]
        solids += [
            cushion((width + 0.03, 0.025, depth + 0.03), (0, height - 0.025, 0), 0.008, timber),
            box((width - 0.01, low_part, 0.01), (0, low, -depth / 2 + 0.006), timber),
        ]
        y, high = (low, low_part - bay) if above else (low + bay, low_part - bay - 0.03)
        solids.append(box((width - 0.03, high, depth - 0.02), (0, y, -0.005), timber))
        solids += _stack(face, 0, y, depth / 2 - 0.015, width - 0.045, high, [1] * many)
    else:
        solids += _body(rng, width, low_part, depth, low, timber)
        up, span = low_part - 0.055, width - 0.04
        if doors and maybe(rng, 0.7):
            part = up * rng.uniform(0.55, 0.75)
            solids += face(0, low + 0.01, depth / 2, span, part, 1) + face(0, low + 0.01 + part, depth / 2, span, up - part, 0)
        elif doors:
            solids += face(0, low + 0.01, depth / 2, span, up, 1)
            many = 0
        else:
            solids += _stack(face, 0, low + 0.01, depth / 2, span, up, [1] * many, pick(rng, (1.0, 1.0, 1.5)))
    if maybe(rng, 0.15):
        x, arch = _bow(width, 0.05)
        solids.append(_sheet(x, np.full(len(x), height - 0.01), height + 0.03 + arch, 0.018, timber).moved((0, 0, -depth / 2 + 0.01)))
    parts = _said(timber, ("drawer", many, fronts), ("door", doors, fronts), ("shelf", int(bay > 0), timber), feet)
    return Thing(solids=tuple(solids), main=timber, style=("open",) if bay else (), parts=parts)


def _books(rng: Rng, left: float, right: float, y: float, room: float, depth: float, z: float, covers: Sequence[Material]) -> list[Solid]:
    """A row of books from the left, some leaning at its end, or a pile; z is the middle of the board."""
    solids: list[Solid] = []
    if maybe(rng, 0.15):
        wide, at = min(0.22, (right - left) * 0.8), rng.uniform(0.3, 0.7) * (right - left) + left
        while y < room and len(solids) < 5:
            high = rng.uniform(0.02, 0.04)
            solids.append(box((wide * rng.uniform(0.8, 1), high, depth * 0.7), (at, y, z), pick(rng, covers)))
            y += high
        return solids
    x, end = left, right - rng.uniform(0, 0.6) * (right - left)
    while x < end - 0.05:
        thick, tall, deep = rng.uniform(0.02, 0.055), rng.uniform(0.55, 0.88) * room, rng.uniform(0.6, 0.85) * depth
        book = box((thick * 0.94, tall, deep), (x + thick / 2, y, z), pick(rng, covers))
        solids.append(book)
        x += thick
    return solids


def bookshelf(rng: Rng) -> Thing:
    width, height, depth = rng.uniform(0.6, 1.4), rng.uniform(1.2, 2.2), rng.uniform(0.24, 0.36)
    timber, board = wood(rng), rng.uniform(0.018, 0.035)
    style: list[str] = []
    covers = [fabric(rng) for _ in range(5)]
    filled = rng.uniform(0.4, 1.0) if maybe(rng, 0.65) else 0.0
    sort = pick(rng, ("case", "case", "case", "cubes", "posts", "ladder", "steps", "low", "uneven", "corner"))
    doors = drawer_count = 0
    solids: list[Solid] = []
    bays: list[tuple[float, float, float, float]] = []  # left, right, y, room above: where books can stand
    levels = max(3, round(height / rng.uniform(0.3, 0.42)))
    match sort:
        case "case" | "low":
            if sort == "low":
                height, width, levels = rng.uniform(0.75, 1.05), rng.uniform(0.9, 1.7), int(rng.integers(2, 4))
                style.append("low")
            columns = int(rng.integers(1, 3)) + int(width > 1.1)
            base = 0.0
            foot, crown = rng.uniform(0.03, 0.1), maybe(rng, 0.4)
            solids += [box((board, height, depth), (float(x), 0, 0), timber) for x in np.linspace(-1, 1, columns + 1) * (width - board) / 2]
            solids.append(box((width - 0.01, foot, depth - 0.03), (0, 0, 0), timber))
            if sort == "case" and maybe(rng, 0.35):  # closed below
                base = height * rng.uniform(0.22, 0.36)
                face = _joinery(rng, timber, pick(rng, (STEEL, BLACK, BRASS)))
                solids.append(box((width, base - foot, depth + 0.02), (0, foot, 0.01), timber))
                solids.append(cushion((width + 0.03, 0.03, depth + 0.07), (0, base - 0.01, 0.02), 0.01, timber))
                fronts = 2 * max(1, columns - 1)
                if maybe(rng, 0.7):
                    doors, each = fronts, width / fronts
                    for i in range(fronts):
                        solids += face(-width / 2 + (i + 0.5) * each, foot, depth / 2 + 0.02, each, base - foot - 0.01, 1 - 2 * (i % 2))
                else:
                    drawer_count = 2 * (fronts // 2)
                    solids += _stack(face, 0, foot, depth / 2 + 0.02, width, base - foot - 0.01, [fronts // 2] * 2)
                levels = max(2, levels - 2)
            start = base or foot
            step = (height - board - start) / levels
            solids += [box((width - 0.004, board, depth - 0.004), (0, start + i * step, 0), timber) for i in range(levels + 1)]
            if maybe(rng, 0.6):
                solids.append(box((width - 0.002, height, 0.008), (0, 0, -depth / 2 + 0.006), timber))
            if crown:
                solids.append(cushion((width + 0.06, 0.05, depth + 0.06), (0, height - 0.01, 0.005), 0.015, timber))
                if maybe(rng, 0.5):
                    run, arch = _bow(width, rng.uniform(0.06, 0.16))
                    solids.append(
                        _sheet(run, np.full(len(run), height), height + 0.035 + arch, 0.03, timber).moved((0, 0, depth / 2 - 0.02))
                    )
            edges = np.linspace(-1, 1, columns + 1) * (width - board) / 2
            for i in range(levels):
                bays += [(a + board / 2, b - board / 2, start + i * step + board, step - board) for a, b in pairwise(edges)]
        case "cubes":
            style.append("square")
            across, levels, cell = int(rng.integers(2, 5)), int(rng.integers(2, 6)), rng.uniform(0.33, 0.4)
            width, height = across * cell + board, levels * cell + board
            depth = rng.uniform(0.3, 0.38)
            solids += [box((board, height, depth), (-width / 2 + board / 2 + i * cell, 0, 0), timber) for i in range(across + 1)]
            solids += [box((width - 0.002, board, depth - 0.002), (0, i * cell, 0), timber) for i in range(levels + 1)]
            for i in range(across * levels):
                x, y = -width / 2 + board + (i % across) * cell, (i // across) * cell + board
                if maybe(rng, 0.12):
                    room = cell - board
                    solids.append(cushion((room - 0.02, room - 0.03, depth - 0.04), (x + room / 2, y, 0.01), 0.02, pick(rng, covers)))
                else:
                    bays.append((x, x + cell - board, y, cell - board))
        case "posts":
            style.append("open")
            stand, thin = pick(rng, (STEEL, BLACK, BRASS, timber)), rng.uniform(0.012, 0.02)
            step, low = (height - 0.15) / (levels - 1), rng.uniform(0.05, 0.15)
            solids += [box((2 * thin, height, 2 * thin), (x, 0, z), stand) for x, z in four(width - 2 * thin, depth - 2 * thin)]
            solids += [box((width, board, depth), (0, low + i * step, 0), timber) for i in range(levels)]
            if maybe(rng, 0.5):
                for s in SIDES:
                    solids.append(
                        rod(
                            (s * (width / 2 - 0.03), 0.1, -depth / 2),
                            (-s * (width / 2 - 0.03), height * 0.95, -depth / 2),
                            0.008,
                            0.008,
                            stand,
                            sides=8,
                        )
                    )
            bays += [(-width / 2 + 0.05, width / 2 - 0.05, low + i * step + board, step - board) for i in range(levels - 1)]
        case "ladder":
            style.append("open")
            levels, deep = int(rng.integers(4, 6)), depth + 0.2
            for i in range(levels):
                y, share = 0.08 + i * (height - 0.2) / (levels - 1), 1 - 0.62 * i / (levels - 1)
                solids.append(box((width - 0.03, 0.022, deep * share), (0, y, -deep / 2 + deep * share / 2), timber))
                if maybe(rng, 0.6):
                    solids.append(box((width - 0.03, 0.05, 0.012), (0, y, -deep / 2 + 0.01), timber))
            top = -deep / 2 + 0.36 * deep
            for s in SIDES:
                x = s * (width / 2 - 0.012)
                solids.append(rod((x, 0, deep / 2 + 0.02), (x, height, top), 0.019, 0.019, timber, sides=8))
                solids.append(box((0.025, height, 0.03), (x, 0, -deep / 2 + 0.015), timber))
            filled *= 0.5
            bays += [(-width / 2 + 0.08, width / 2 - 0.08, 0.103 + i * (height - 0.2) / (levels - 1), 0.24) for i in range(levels - 1)]
        case "steps":
            across, cell = int(rng.integers(3, 6)), rng.uniform(0.33, 0.4)
            levels, width, side = across, across * cell, pick(rng, SIDES)
            for i in range(across):
                high = (i + 1) * cell
                left = side * (-width / 2 + (i + 0.5) * cell)
                solids += [box((board, high + board, depth), (left + s * (cell - 0.001) / 2, 0, 0), timber) for s in SIDES]
                solids += [box((cell + board, board, depth - 0.002), (left, j * cell, 0), timber) for j in range(i + 2)]
                bays += [(left - cell / 2 + board, left + cell / 2 - board, j * cell + board, cell - board) for j in range(i + 1)]
        case "uneven":  # uprights jump from level to level
            step = (height - board) / levels
            solids += [box((width, board, depth), (0, i * step, 0), timber) for i in range(levels + 1)]
            framed = maybe(rng, 0.5)
            for i in range(levels):
                cuts = (-1.0, float(rng.uniform(-0.5, 0.5)), 1.0) if framed else ((-0.9, 0.4) if i % 2 else (-0.4, 0.9))
                at = [c * (width - board) / 2 for c in cuts]
                solids += [box((board, step, depth), (x, i * step, 0), timber) for x in at]
                bays += [(a + board, b - board, i * step + board, step - board) for a, b in pairwise(at)]
        case _:  # a quarter of a disc in a corner
            style.append("corner")
            radius = rng.uniform(0.4, 0.6)
            step = (height - board) / levels
            run = radius * np.cos(np.linspace(0, math.pi / 2, 13))
            back = -radius / 2
            bow = np.sqrt(np.maximum(radius**2 - run**2, 0))
            for i in range(levels + 1):
                solids.append(_slab(radius / 2 - run, np.full(13, back), back + bow, board, i * step, timber))
            solids += [box((radius, height, 0.018), (0, 0, back), timber), box((0.018, height, radius), (radius / 2, 0, 0), timber)]
            bays += [(-radius * 0.25, radius * 0.45, i * step + board, step - board) for i in range(levels)]
            filled *= 0.6
    z, book_depth = (-0.12, 0.24) if sort in ("corner", "ladder") else (0.0, depth)
    bare = len(solids)
    for left, right, y, room in bays:
        if maybe(rng, filled):
            solids += _books(rng, left + 0.005, right - 0.01, y, min(room, 0.36), book_depth, z, covers)
    if sort == "case" and width < 0.75:
        style.append("slim")
    parts = _said(
        timber, ("shelf", levels, timber), ("door", doors, timber), ("drawer", drawer_count, timber), ("book", len(solids) - bare, timber)
    )
    return Thing(solids=tuple(solids), main=timber, style=tuple(style), parts=parts)


def wardrobe(rng: Rng) -> Thing:
    doors = int(pick(rng, (1, 2, 2, 2, 2, 3, 3, 4)))
    width = doors * rng.uniform(0.42, 0.6) + (0.2 if doors == 1 else 0)
    height, depth, timber = rng.uniform(1.75, 2.3), rng.uniform(0.5, 0.66), wood(rng)
    leaf = pick(rng, (timber, timber, timber, wood(rng)))
    face = _joinery(rng, leaf, pick(rng, (STEEL, BLACK, BRASS)))
    low, solids, feet = _feet(rng, width, depth, timber)
    front, up, bottom = depth / 2, height - low, low + 0.02
    drawer_rows = int(rng.integers(1, 3)) if maybe(rng, 0.45) else 0
    drawer_cols = max(1, doors // 2) if doors != 3 else int(pick(rng, (1, 3)))
    mirrors = shelves = 0
    style: list[str] = []
    top, high = bottom, up - 0.07
    if drawer_rows:
        part = drawer_rows * rng.uniform(0.18, 0.26)
        solids_of = _stack(face, 0, bottom, front, width - 0.05, part, [drawer_cols] * drawer_rows)
        top, high = bottom + part, high - part
        solids += solids_of
    each = (width - 0.05) / doors
    sort = pick(rng, ("hinged", "hinged", "hinged", "hinged", "sliding", "sliding", "open", "louvre"))
    if sort == "open" or (sort == "hinged" and doors > 1 and maybe(rng, 0.12)):  # one sees rail, clothes and shelves inside
        board = 0.025
        solids += [box((board, up, depth), (s * (width - board) / 2, low, 0), timber) for s in SIDES]
        solids += [box((width, up, 0.012), (0, low, -front + 0.006), timber), box((width, board, depth), (0, low + up - board, 0), timber)]
        solids.append(box((width - 0.01, top - low, depth - 0.002), (0, low, -0.001), timber))
        part = width * rng.uniform(0.3, 0.45) if width > 0.9 else 0.0
        side = pick(rng, SIDES)
        if part:
            shelves = int(rng.integers(3, 6))
            wall = side * (width / 2 - part)
            middle = side * (width - part) / 2
            solids.append(box((board, high, depth - 0.02), (wall, top, 0), timber))
            solids += [
                box((part, 0.02, depth - 0.03), (middle, float(y), 0), timber) for y in top + np.linspace(0.12, 0.85, shelves) * high
            ]
        reach = (width - part - 0.06) / 2
        centre = -side * part / 2
        rail = top + high - 0.1
        solids.append(rod((centre - reach - 0.02, rail, 0), (centre + reach + 0.02, rail, 0), 0.012, 0.012, STEEL))
        for x in np.linspace(-0.85, 0.7, int(rng.integers(3, 9))) * reach:
            long = rng.uniform(0.5, 0.8) * min(high, 1.4)
            cloth = cushion((0.05, long, depth * 0.75), (float(x) + centre, rail - 0.03 - long, 0), 0.02, fabric(rng))
            solids += [cloth, rod((float(x) + centre, rail - 0.06, 0), (float(x) + centre, rail + 0.01, 0), 0.004, 0.004, STEEL, sides=6)]
        style.append("open")
        if sort == "hinged":
            doors, turn = 2, rng.uniform(60, 115)
            leaf_wide = width / 2
            for s in SIDES:
                door = [box((leaf_wide, high, 0.018), (0, 0, -0.009), leaf), *face(0, 0, 0, leaf_wide, high, -s)]
                solids += [
                    p.moved((-s * leaf_wide / 2, 0, 0)).turned("y", s * turn).moved((s * (width / 2 - 0.01), top, front + 0.02))
                    for p in door
                ]
        else:
            doors = 0
    else:
        solids.append(box((width, up - 0.02, depth), (0, low, 0), timber))
        shine, mirrored = glass(rng, pick(rng, ("white", "white", "blue"))), {doors // 2} if doors % 2 and maybe(rng, 0.5) else set()
        if maybe(rng, 0.25):
            mirrored = set(range(doors))
        for i in range(doors):
            x = -(width - 0.05) / 2 + (i + 0.5) * each
            swing = (1 if i % 2 == 0 else -1) if doors > 1 else pick(rng, SIDES)
            if sort == "sliding":
                out = front + (0.028 if i % 2 else 0)
                leaf_wide = each + (0.03 if doors > 1 else 0)
                solids += [box((leaf_wide, high, 0.026), (x, top, out + 0.013), leaf)]
                solids += [box((0.025, high, 0.012), (x + s * (leaf_wide / 2 - 0.0125), top, out + 0.03), STEEL) for s in SIDES]
                inner = out + 0.026
            else:
                solids += face(x, top, front, each, high, swing)
                inner = front + 0.026
            if sort == "louvre":
                for y in np.arange(top + 0.12, top + high - 0.12, 0.05):
                    slat = box((each * 0.72, 0.045, 0.008), (0, -0.0225, 0), leaf).turned("x", -25)
                    solids.append(slat.moved((x, float(y), inner)))
            elif i in mirrored:
                edge = 0.08 if sort != "sliding" else 0.05
                solids.append(box((each - 2 * edge, high * 0.92 - 0.02, 0.008), (x, top + high * 0.04, inner), shine))
                mirrors += 1
            elif sort == "sliding":
                solids += [box((each - 0.02, 0.012, 0.006), (x, top + high * y, inner), STEEL) for y in (0.33, 0.66)]
    match rng.integers(4):
        case 0 | 1:
            solids.append(box((width, 0.03, depth + 0.02), (0, height - 0.03, 0.01), timber))
        case 2:
            for i, out in enumerate((0.015, 0.04, 0.07)):
                solids.append(box((width + 2 * out, 0.03, depth + out + 0.03), (0, height - 0.06 + i * 0.028, out / 2 + 0.015), timber))
        case _:
            solids.append(cushion((width + 0.1, 0.06, depth + 0.08), (0, height - 0.05, 0.02), 0.02, timber))
            x, arch = _bow(width, rng.uniform(0.08, 0.22), pick(rng, (1.2, 2.0)))
            solids.append(_sheet(x, np.full(len(x), height - 0.02), height + 0.04 + arch, 0.04, timber).moved((0, 0, front - 0.01)))
    parts = _said(
        timber,
        ("door", doors, leaf),
        ("drawer", drawer_rows * drawer_cols, leaf),
        ("mirror", mirrors, timber),
        ("shelf", shelves, timber),
        feet,
    )
    return Thing(solids=tuple(solids), main=timber, style=tuple(style), parts=parts)


def refrigerator(rng: Rng) -> Thing:
    sort = pick(
        rng,
        (
            "freezer above",
            "freezer above",
            "freezer below",
            "freezer below",
            "single",
            "twin",
            "twin",
            "french",
            "french",
            "small",
            "small",
            "retro",
            "shop",
        ),
    )
    paint = metal(rng, pick(rng, ("white", "white", "grey", "grey", "black")))
    width, height, depth = rng.uniform(0.55, 0.75), rng.uniform(1.5, 2.0), rng.uniform(0.6, 0.72)
    style: list[str] = []
    if sort in ("twin", "french"):
        width, height = rng.uniform(0.85, 1.0), rng.uniform(1.7, 1.9)
        style.append("wide")
    elif sort == "small":
        width, height, depth = rng.uniform(0.45, 0.55), rng.uniform(0.68, 1.0), rng.uniform(0.45, 0.55)
        style.append("low")
    elif sort == "retro":
        paint = metal(rng, pick(rng, ("red", "blue", "green", "pink", "white", "beige", "yellow", "black")))
        style.append("curved")
    elif sort == "shop":
        width = rng.uniform(0.6, 1.3)
    low, thick = rng.uniform(0.03, 0.07), rng.uniform(0.05, 0.08)
    front, grip, edge = (
        depth / 2,
        STEEL if sort == "retro" else pick(rng, (STEEL, STEEL, BLACK, WHITE)),
        0.1 if sort == "retro" else rng.uniform(0.006, 0.02),
    )
    body = cushion((width, height - low, depth), (0, low, 0), min(edge, 0.09), paint)
    feet = [disc(0.022, low + 0.03, (x, 0, z), BLACK, sides=12) for x, z in four(width - 0.14, depth - 0.14)]
    solids = [*feet]
    gap, side = 0.006, pick(rng, SIDES)
    pulls, drawer_count = pick(rng, (0, 0, 1, 1, 2, 2, 3)), 0
    handle_count = 0
    leaves: list[tuple[float, float, float, float, int]] = []  # x, y, width, height, side of the handle; 0: a drawer
    split = height * rng.uniform(0.62, 0.74)
    match sort:
        case "freezer above" | "retro" | "small" if sort == "freezer above" or maybe(rng, 0.4):
            leaves = [(0, low, width, split - low, side), (0, split, width, height - split, side)]
        case "freezer below":
            cut = height - split + low
            drawer_count = int(pick(rng, (0, 0, 1, 2)))
            leaves = [(0, cut, width, height - cut, side)]
            part = (cut - low) / max(1, drawer_count)
            leaves += [(0, low + i * part, width, part, 0 if drawer_count else side) for i in range(max(1, drawer_count))]
        case "twin":
            share = rng.uniform(0.4, 0.5) * width
            leaves = [(-(width - share) / 2, low, share, height - low, 1), (share / 2, low, width - share, height - low, -1)]
        case "french":
            drawer_count = int(rng.integers(1, 3))
            cut = height * rng.uniform(0.34, 0.42)
            leaves = [(s * width / 4, cut, width / 2, height - cut, -s) for s in SIDES]
            part = (cut - low) / drawer_count
            leaves += [(0, low + i * part, width, part, 0) for i in range(drawer_count)]
        case "shop":
            many = 2 if width > 0.95 else 1
            leaves = [
                ((i - (many - 1) / 2) * width / many, low + 0.12, width / many, height - low - 0.36, (1 - 2 * i) if many == 2 else side)
                for i in range(many)
            ]
        case _:
            leaves = [(0, low, width, height - low, side)]
    door_count, shelves = len(leaves) - drawer_count, 0
    ajar = sort in ("single", "small", "retro") and len(leaves) == 1 and maybe(rng, 0.3)
    if ajar or sort == "shop":  # hollow, with shelves
        wall, inside = 0.05, metal(rng, "white")
        solids += [cushion((wall, height - low, depth), (s * (width - wall) / 2, low, 0), 0.01, paint) for s in SIDES]
        solids += [cushion((width, wall, depth), (0, y, 0), 0.01, paint) for y in (low, height - wall)]
        for z, of in ((0.01, paint), (0.03, inside)):
            solids.append(box((width - 0.02, height - low - 0.02, 0.02), (0, low + 0.01, z - front), of))
        shelves = int(rng.integers(2, 4)) if sort == "small" else int(rng.integers(3, 6))
        bottom, top = low + 0.05, height - (0.25 if sort == "shop" else 0.05)
        for i in range(shelves):
            y = bottom + (i + 0.6) * (top - bottom) / (shelves + 0.5)
            solids.append(box((width - 0.08, 0.012, depth - 0.1), (0, y, -0.02), inside))
            for x in np.arange(-width / 2 + 0.12, width / 2 - 0.08, 0.11):
                if maybe(rng, 0.5):
                    tall = rng.uniform(0.08, 0.18)
                    shape = [(0, 0), (0.035, 0), (0.035, tall * 0.6), (0.014, tall * 0.8), (0.014, tall), (0, tall)]
                    solids.append(turned(shape, (float(x), y + 0.012, rng.uniform(-0.05, 0.1)), plastic(rng), sides=12))
    else:
        solids.append(body)
    if sort == "shop":
        sign = pick(rng, (plastic(rng), paint))
        solids += [
            cushion((width - 0.01, 0.23, depth + 0.04), (0, height - 0.24, 0.02), 0.02, sign),
            box((width - 0.02, 0.12, depth), (0, low, 0.01), paint),
        ]
    pane = glass(rng, pick(rng, ("blue", "white")))
    for x, y, w, h, swing in leaves:
        w, h = w - gap, h - gap
        door: list[Solid] = []
        if sort == "shop":
            rim = 0.05
            door += [box((w, rim, 0.04), (0, up, 0.02), grip) for up in (0, h - rim)]
            door += [box((rim, h, 0.04), (s * (w - rim) / 2, 0, 0.02), grip) for s in SIDES]
        else:
            door.append(cushion((w, h, thick), (0, 0, thick / 2 + gap), min(edge, thick * 0.48), paint))
            door.append(box((w - 2 * edge, h - 2 * edge, 0.03), (0, edge, 0.01), BLACK))  # its seal
            if sort != "retro" and swing:
                door.append(cushion((0.05, 0.025, 0.06), (-swing * (w / 2 - 0.04), h - 0.004, 0.01), 0.008, BLACK))  # a hinge
        at, out = swing * (w / 2 - 0.05), (0.04 if sort == "shop" else thick) + gap
        long = min(0.9 * h, max(0.16, h * (0.2, 0.5, 0.75, 0.3)[pulls]))
        if swing == 0:
            bar = min(w * 0.8, 0.6)
            door.append(cushion((bar, 0.03, 0.03), (0, h - 0.11, out + 0.035), 0.012, grip))
            door += [box((0.03, 0.025, 0.04), (s * bar * 0.45, h - 0.108, out + 0.018), grip) for s in SIDES]
        elif sort == "retro":
            start = h * 0.42 if y < height * 0.5 else h * 0.15
            door += [cushion((0.15, 0.04, 0.03), (at - swing * 0.05, start, out + 0.03), 0.013, STEEL)]
            door += [cushion((0.05, 0.075, 0.04), (at, start - 0.0175, out + 0.01), 0.018, STEEL)]
        else:
            start = h * 0.5 - long / 2 if len(leaves) == 1 or sort in ("twin", "shop") else (0.06 if y > 0.3 else h - long - 0.06)
            if pulls == 3 and sort != "shop":  # sunk into the edge
                door.append(box((0.035, long, 0.006), (swing * (w / 2 - 0.02), start, out + 0.001), BLACK))
                long = 0.0
            elif pulls == 2:
                bend = np.linspace(0, 1, 11)
                path = np.stack([np.full(11, at), start + bend * long, out - 0.004 + 0.05 * np.sin(math.pi * bend) ** 0.5], axis=1)
                door.append(tube(path, 0.012, grip))
            else:
                door.append(cushion((0.028, long, 0.026), (at, start, out + 0.045), 0.011, grip))
                door += [box((0.022, 0.03, 0.05), (at, start + u * long - 0.015, out + 0.02), grip) for u in (0.12, 0.88)]
        handle_count += int(long > 0)
        if sort in ("twin", "french") and x < 0 and swing and maybe(rng, 0.6):  # water and ice
            tall = min(0.36, h * 0.35)
            door += [cushion((w * 0.52, tall, 0.02), (-w * 0.08, h * 0.5, out), 0.008, pick(rng, (BLACK, STEEL)))]
            door += [box((w * 0.42, tall * 0.55, 0.006), (-w * 0.08, h * 0.5 + tall * 0.08, out + 0.01), BLACK)]
            door += [box((w * 0.42, tall * 0.2, 0.006), (-w * 0.08, h * 0.5 + tall * 0.72, out + 0.01), pane)]
        if ajar:
            hinge = -swing * w / 2
            turn = swing * -rng.uniform(60, 120)
            door += [box((w - 0.14, 0.07, 0.09), (0, h * u, -0.04), WHITE) for u in (0.15, 0.4, 0.65)]
            door = [p.moved((-hinge, 0, 0)).turned("y", turn).moved((hinge, 0, 0)) for p in door]
            style.append("open")
        solids += [p.moved((x, y + gap / 2, front)) for p in door]
    parts = _said(
        paint, ("door", door_count, paint), ("drawer", drawer_count, paint), ("handle", handle_count, grip), ("shelf", shelves, paint)
    )
    return Thing(solids=tuple(solids), main=paint, style=tuple(style), parts=parts)


# -------------------------------------------------------------------------------------------------------- door and fence


def _leaf(rng: Rng, width: float, height: float, timber: Material, pane: Material) -> tuple[Callable[[], list[Solid]], tuple[Parts, ...]]:
    """A design of door leaf: how to make one, standing at the origin, alike on both sides; and the words for one."""
    thick, stile = 0.045, rng.uniform(0.08, 0.13)
    sort = pick(rng, ("panels", "panels", "panels", "panes", "panes", "half", "planks", "flush", "grooves", "louvre", "strip"))
    columns, rows = int(rng.integers(1, 3)), int(rng.integers(1, 5))
    shares, raised = rng.uniform(0.5, 1.6, rows), maybe(rng, 0.7)
    fine, slot, seed = int(rng.integers(1, 4)), rng.uniform(0.1, 0.22), pick(rng, SIDES)
    porthole, waist = maybe(rng, 0.3), rng.uniform(0.4, 0.55)

    def field(x: float, y: float, w: float, h: float, glazed: bool, split: tuple[int, int]) -> list[Solid]:
        if not glazed:
            made = [box((w + 0.01, h + 0.01, 0.016), (x, y - 0.005, 0), timber)]
            return [*made, cushion((w - 0.05, h - 0.05, 0.038), (x, y + 0.025, 0), 0.016, timber)] if raised else made
        made = [box((w + 0.01, h + 0.01, 0.012), (x, y - 0.005, 0), pane)]
        across, up = split
        made += [box((0.018, h, 0.03), (x - w / 2 + i * w / across, y, 0), timber) for i in range(1, across)]
        return made + [box((w, 0.018, 0.029), (x, y + i * h / up - 0.009, 0), timber) for i in range(1, up)]

    def framed(shares: Floats, columns: int, glazed: Sequence[bool], split: tuple[int, int]) -> list[Solid]:
        made = [box((stile, height, thick), (side * (width - stile) / 2, 0, 0), timber) for side in SIDES]
        base, rail = stile * 1.7, stile * 0.9
        free = height - base - stile - rail * (len(shares) - 1)
        y, wide = base, width - 2 * stile
        made += [box((wide, base, thick), (0, 0, 0), timber), box((wide, stile, thick), (0, height - stile, 0), timber)]
        for share, clear in zip(shares / shares.sum(), glazed, strict=True):
            h, each = float(share) * free, (wide - (columns - 1) * rail) / columns
            for i in range(columns):
                x = -wide / 2 + (i + 0.5) * each + i * rail
                made += field(x, y, each, h, clear, split)
                if i:
                    made.append(box((rail, h, thick), (x - (each + rail) / 2, y, 0), timber))
            y += h
            if y < height - 1.5 * stile:
                made.append(box((wide, rail, thick), (0, y, 0), timber))
                y += rail
        return made

    across, up = int(rng.integers(1, 4)) if width > 0.6 else int(rng.integers(1, 3)), int(rng.integers(1, 6))
    plain = [box((width, height, thick * 0.8), (0, 0, 0), timber)]

    def make() -> list[Solid]:
        match sort:
            case "panels":
                return framed(shares, columns, [False] * rows, (1, 1))
            case "panes":
                return framed(np.ones(1), 1, [True], (across, up))
            case "half":
                return framed(np.array([waist, 1 - waist]), 1, [False, True], (across, min(up, 3)))
            case "planks":
                many = 4 + fine
                each = width / many
                made = [box((each - 0.008, height, thick * 0.7), (-width / 2 + (i + 0.5) * each, 0, 0), timber) for i in range(many)]
                made.append(box((width - 0.01, height - 0.01, thick * 0.4), (0, 0.005, 0), timber))
                levels = [height * u for u in (0.12, 0.5, 0.86)[:: 2 if porthole else 1]]
                made += [box((width - 0.02, 0.1, thick * 1.5), (0, y, 0), timber) for y in levels]
                if raised:
                    for low, high in pairwise(levels):
                        x, lift = np.array([-1, 1]) * (width / 2 - 0.03), np.array([low + 0.05, high - 0.05])[::seed]
                        made.append(_sheet(x, lift, lift + 0.1, thick * 1.4, timber))
                return made
            case "louvre":
                made = [box((stile * 0.7, height, thick), (side * (width - stile * 0.7) / 2, 0, 0), timber) for side in SIDES]
                levels = [0.0, height * 0.5 - stile / 2, height - stile]
                made += [box((width - 0.02, stile, thick), (0, y, 0), timber) for y in levels]
                for low, high in ((stile, levels[1]), (levels[1] + stile, levels[2])):
                    for y in np.linspace(low, high, 2 * round((high - low) / 0.05) + 1)[1::2]:
                        slat = box((width - stile, 0.066, 0.01), (0, -0.033, 0), timber).turned("x", -35)
                        made.append(slat.moved((0, float(y), 0)))
                return made
            case "strip":  # a narrow upright window beside the handle or in the middle
                at = (seed * width * 0.2) if raised else 0.0
                made = [box((slot, height * 0.72, thick * 0.9), (at, height * 0.16, 0), pane)]
                return plain + made + [box((slot + 0.04, 0.02, thick), (at, height * y, 0), timber) for y in (0.155, 0.88)]
            case "grooves":
                made = [
                    box((width * 0.999, height / (2 + fine) - 0.014, thick), (0, i * height / (2 + fine) + 0.007, 0), timber)
                    for i in range(2 + fine)
                ]
                return plain + made
            case _:
                if not porthole:
                    return plain
                ring = [
                    disc(r, d, (0, -d / 2, 0), m).turned("x", 90).moved((0, height * 0.74, 0))
                    for r, d, m in ((slot, thick, STEEL), (slot * 0.8, thick * 1.1, pane))
                ]
                return plain + ring

    if sort == "panels":
        return make, _said(timber, ("panel", rows * columns, timber))
    if sort == "panes":
        return make, _said(timber, ("pane", across * up, timber))
    if sort == "half":
        return make, _said(timber, ("pane", across * min(up, 3), timber), ("panel", 1, timber))
    return make, _said(timber, ("pane", int(sort == "strip" or (sort == "flush" and porthole)), timber))


def door(rng: Rng) -> Thing:
    double = maybe(rng, 0.3)
    width, height = rng.uniform(0.55, 0.85) if double else rng.uniform(0.72, 1.0), rng.uniform(1.95, 2.35)
    timber = pick(rng, (wood(rng), wood(rng), wood(rng, pick(rng, ("red", "green", "blue", "white"))), metal(rng)))
    casing, pane = pick(rng, (timber, timber, wood(rng))), glass(rng, pick(rng, ("blue", "white", "green")))
    make, said = _leaf(rng, width, height, timber, pane)
    knob, side = pick(rng, (STEEL, BLACK, BRASS)), pick(rng, SIDES)
    pulls, level = rng.integers(4), rng.uniform(0.95, 1.08)
    framed = maybe(rng, 0.8)
    turn = rng.uniform(12, 50) if framed and maybe(rng, 0.25) else 0.0
    count = 2 if double else 1
    solids: list[Solid] = []
    for i in range(count):
        swing = (1, -1)[i] if double else side  # the side of the handle
        leaf, at = make(), swing * (width / 2 - 0.06)
        for z in SIDES:
            out = z * 0.0225
            if pulls == 3:
                leaf.append(rod((at, level - 0.3, out + z * 0.05), (at, level + 0.3, out + z * 0.05), 0.014, 0.014, knob))
                leaf += [rod((at, level + u, 0), (at, level + u, out + z * 0.05), 0.009, 0.009, knob, sides=8) for u in (-0.22, 0.22)]
                continue
            plate = (
                cushion((0.045, 0.2, 0.01), (at, level - 0.12, out), 0.004, knob)
                if pulls
                else disc(0.032, 0.012, (0, 0, 0), knob, sides=20).turned("x", 90).moved((at, level, out - 0.006))
            )
            leaf += [plate, rod((at, level, out), (at, level, out + z * 0.055), 0.01, 0.01, knob, sides=10)]
            if pulls == 1:
                leaf.append(
                    rod(
                        (at + swing * 0.008, level, out + z * 0.055),
                        (at - swing * 0.12, level, out + z * 0.05),
                        0.011,
                        0.008,
                        knob,
                        sides=10,
                    )
                )
            else:
                ball = [(0, -0.03), (0.018, -0.025), (0.03, -0.008), (0.03, 0.008), (0.018, 0.025), (0, 0.03)]
                leaf.append(turned(ball, (0, 0, 0), knob, sides=16).turned("x", 90).moved((at, level, out + z * 0.065)))
        hinge = -swing * width / 2
        leaf += [disc(0.011, 0.1, (hinge, height * u, 0.024), knob, sides=10) for u in (0.1, 0.85)]
        if turn and (i == 0 or turn > 40):
            leaf = [p.moved((-hinge, 0, 0)).turned("y", -swing * turn).moved((hinge, 0, 0)) for p in leaf]
        x = (i - 0.5) * (width + 0.006) if double else 0.0
        solids += [p.moved((x, 0.012, 0)) for p in leaf]
    style = ["open"] if turn else ["closed"] if framed else []
    panes = 0
    if framed:
        solids, arched, panes = _casing(rng, solids, count * (width + 0.006), height + 0.015, casing, pane)
        style += ["curved"] if arched else []
    else:
        solids = [solid.moved((0, -0.012, 0)) for solid in solids]
    words = {part.noun: part.count * count for part in said}
    words["pane"] = words.get("pane", 0) + panes
    parts = _said(timber, ("panel", words.get("panel", 0), timber), ("pane", words["pane"], timber), ("handle", count, knob))
    return Thing(solids=tuple(solids), main=timber, style=tuple(style + (["wide"] if double else [])), parts=parts)


def _casing(rng: Rng, leaf: list[Solid], opening: float, top: float, timber: Material, pane: Material) -> tuple[list[Solid], bool, int]:
    """A frame about a door, windows beside and above it: all solids, whether it ends in an arch, and how many panes it has."""
    rim, deep, panes = rng.uniform(0.05, 0.14), rng.uniform(0.08, 0.16), 0
    solids, half = list(leaf), opening / 2
    outer = half + rim
    if opening < 1.2 and maybe(rng, 0.25):  # windows beside it
        wing = rng.uniform(0.22, 0.4)
        for side in (-1, 1)[: int(rng.integers(1, 3))]:
            middle = side * (half + rim + wing / 2)
            solids += [
                box((wing, top, 0.012), (middle, 0, 0), pane),
                box((rim, top, deep), (side * (half + 1.5 * rim + wing), 0, 0), timber),
            ]
            solids += [box((wing, 0.08, deep * 0.6), (middle, y, 0), timber) for y in (0, top - 0.08)]
            panes += 1
        outer = half + 2 * rim + wing
    solids += [box((rim, top, deep), (side * (half + rim / 2), 0, 0), timber) for side in SIDES]
    solids.append(box((2 * half, 0.012, deep), (0, 0, 0), timber))
    both = panes != 1
    beam = 2 * outer if both else outer + half + rim
    shift = 0.0 if both else (half + rim - outer) / 2
    match rng.integers(5):
        case 0:  # a half-round or flat arch with a window or a closed field
            rise = rng.uniform(0.3, 1.0) * half
            if panes:
                rise = min(rise, 0.5)
            x = -np.cos(np.linspace(0, math.pi, 33)) * beam / 2
            arch = (rise + rim) * np.sqrt(np.maximum(1 - (2 * x / beam) ** 2, 0))
            reach = beam / 2 - rim
            hole = rise * np.sqrt(np.maximum(1 - (x / reach) ** 2, 0))
            glazed = maybe(rng, 0.7)
            solids.append(box((beam, rim * 0.7, deep), (shift, top, 0), timber))
            base = top + rim * 0.35
            solids.append(_sheet(x, base + hole, base + np.maximum(arch, hole + 1e-4), deep, timber).moved((shift, 0, 0)))
            solids.append(
                _sheet(x[1:-1], np.full(31, base), base + np.maximum(hole[1:-1], 1e-4), 0.02, pane if glazed else timber).moved(
                    (shift, 0, 0)
                )
            )
            if glazed:
                fan = int(rng.integers(2, 6))
                panes += fan
                for angle in np.linspace(0, math.pi, fan + 1)[1:-1]:
                    end = (shift + 0.97 * reach * math.cos(angle), base + 0.97 * rise * math.sin(angle), 0)
                    solids.append(rod((shift, base, 0), end, 0.012, 0.012, timber, sides=8))
            return solids, True, panes
        case 1 if top < 2.25:  # a straight window above
            tall, many = rng.uniform(0.22, 0.4), int(rng.integers(1, 4))
            solids += [box((beam, rim, deep), (shift, top + y, 0), timber) for y in (0, rim + tall)]
            solids.append(box((beam - rim, tall, 0.012), (shift, top + rim, 0), pane))
            bars = np.linspace(-1, 1, many + 1) * (beam - 0.05) / 2
            solids += [box((0.05, tall, deep * 0.8), (shift + float(x), top + rim, 0), timber) for x in bars]
            panes += many
        case 2:  # a cornice on top
            solids.append(box((beam, rim, deep), (shift, top, 0), timber))
            for i, out in enumerate((0.02, 0.05)):
                solids.append(cushion((beam + 2 * out, 0.05, deep + 2 * out), (shift, top + rim + i * 0.045, 0), 0.012, timber))
            if maybe(rng, 0.5):
                x = np.array([-1.0, 0.0, 1.0]) * (beam / 2 + 0.03)
                low = np.full(3, top + rim + 0.09)
                solids.append(
                    _sheet(x, low, low + np.array([0.01, rng.uniform(0.12, 0.25), 0.01]), deep + 0.04, timber).moved((shift, 0, 0))
                )
        case _:
            solids.append(box((beam, rim, deep), (shift, top, 0), timber))
    return solids, False, panes


def _picket(rng: Rng, wide: float, height: float, thick: float, timber: Material) -> Solid:
    """One board of a fence: pointed, rounded, with cut corners, straight, or with a spearhead."""
    half = wide / 2
    match rng.integers(5):
        case 0:
            x, high = np.array([-half, 0, half]), np.array([height - 1.2 * half, height, height - 1.2 * half])
        case 1:
            x, arch = _bow(wide, half, 2, 13)
            high = height - half + arch
        case 2:
            x, high = np.array([-half, -half * 0.5, half * 0.5, half]), np.array([height - half * 0.6, height, height, height - half * 0.6])
        case 3:
            x, high = np.array([-half, half]), np.full(2, height)
        case _:
            x = half * np.array([-1, -0.99, -0.5, -0.49, -0.8, 0, 0.8, 0.49, 0.5, 0.99, 1])
            x = np.sort(x)
            high = height - half * np.array([3.4, 3.2, 2.6, 1.4, 1.2, 0, 1.2, 1.4, 2.6, 3.2, 3.4])
    return _sheet(x, np.full(len(x), 0.05), high, thick, timber)


def _post(rng: Rng, thick: float, height: float, material: Material) -> list[Solid]:
    """A post of a fence, with one of several caps."""
    match rng.integers(5):
        case 0:
            return [box((thick, height, thick), (0, 0, 0), material)]
        case 1:
            roof = turned([(0, 0), (thick * 0.85, 0), (0, thick * 0.7)], (0, height, 0), material, sides=4).turned("y", 45)
            return [box((thick, height, thick), (0, 0, 0), material), roof]
        case 2:
            ball = [
                (0, 0),
                (thick * 0.25, 0),
                *((thick * 0.55 * math.sin(a), thick * (0.65 - 0.55 * math.cos(a))) for a in np.linspace(0.5, 2.9, 8)),
                (0, thick * 1.2),
            ]
            cap = [
                cushion((thick * 1.3, thick * 0.3, thick * 1.3), (0, height, 0), 0.01, material),
                turned(ball, (0, height + thick * 0.25, 0), material, sides=16),
            ]
            return [box((thick, height, thick), (0, 0, 0), material), *cap]
        case 3:
            return [
                turned(
                    [(0, 0), (thick / 2, 0), (thick / 2, height), (thick * 0.3, height + thick * 0.3), (0, height + thick * 0.3)],
                    (0, 0, 0),
                    material,
                    sides=14,
                )
            ]
        case _:
            return [
                box((thick, height, thick), (0, 0, 0), material),
                cushion((thick * 1.4, thick * 0.4, thick * 1.4), (0, height - 0.01, 0), 0.012, material),
            ]


def fence(rng: Rng) -> Thing:
    sort = pick(
        rng, (*["picket"] * 5, *["rail"] * 3, "boards", "boards", "slats", "slats", "lattice", "iron", "iron", "iron", "wire", "woven")
    )
    height = {"rail": rng.uniform(0.9, 1.4), "picket": rng.uniform(0.7, 1.2)}.get(sort, rng.uniform(1.0, 1.9))
    if sort == "iron":
        timber = metal(rng, pick(rng, ("black", "black", "white", "grey", "green")))
    elif sort == "wire":
        timber = metal(rng, pick(rng, ("grey", "green")))
    elif sort == "woven":
        timber = wood(rng, pick(rng, ("brown", "beige")))
    else:
        timber = pick(rng, (wood(rng, pick(rng, ("white", "brown", "beige", "grey", "green"))), wood(rng), plastic(rng, "white")))
    masonry = sort in ("iron", "slats", "picket", "boards") and maybe(rng, 0.25)
    thick = rng.uniform(0.24, 0.36) if masonry else rng.uniform(0.04, 0.07) if sort in ("iron", "wire") else rng.uniform(0.08, 0.13)
    pillar = stone(rng) if masonry else timber
    fields, span = int(pick(rng, (1, 2, 2, 3, 3, 4) if not masonry else (2, 3))), rng.uniform(1.1, 1.5) * (0.6 + 0.4 * height)
    span = min(span * (1.6 if fields == 1 else 1.0), 5.2 / fields)
    corner = fields > 1 and maybe(rng, 0.2)
    gate = int(rng.integers(0, fields)) if fields > 1 and not corner and maybe(rng, 0.4) else -1
    widths = [rng.uniform(0.9, 1.1) if i == gate else span for i in range(fields)]
    post = _post(rng, thick, height * rng.uniform(1.0, 1.15) + (0.1 if masonry else 0.02), pillar)
    shape, gap = rng.integers(3), rng.uniform(0.4, 1.1)
    wide, rails, cross = rng.uniform(0.06, 0.11), int(rng.integers(2, 5)), maybe(rng, 0.35)
    picket_state = rng.bit_generator.state
    swell = rng.uniform(0.12, 0.25) * height * pick(rng, SIDES)
    hoops, ring = maybe(rng, 0.3), maybe(rng, 0.4)

    def field(w: float) -> list[Solid]:
        made: list[Solid] = []
        lows = (height * 0.22, height * 0.72)
        match sort:
            case "picket":
                made += [box((w, 0.07, 0.035), (0, y, -0.028), timber) for y in lows]
                many = max(3, round(w / (wide * (1 + gap))))
                for i in range(many):
                    rng.bit_generator.state = picket_state
                    u = 2 * (i + 0.5) / many - 1
                    tall = height + (swell * (1 - u * u) - max(swell, 0) if shape == 0 else 0)
                    made.append(_picket(rng, wide, tall, 0.022, timber).moved((u * w / 2, 0, 0)))
            case "rail":
                for y in np.linspace(height * 0.3, height * 0.88, rails):
                    if shape == 0:
                        made.append(rod((-w / 2, float(y), 0), (w / 2, float(y), 0), 0.045, 0.045, timber, sides=10))
                    else:
                        made.append(box((w, 0.12, 0.035), (0, float(y) - 0.06, 0 if shape == 1 else thick * 0.4), timber))
                if cross:
                    x, lift = np.array([-w / 2, w / 2]), np.array([height * 0.3, height * 0.88])
                    made += [_sheet(x, part - 0.05, part + 0.05, 0.03, timber) for part in (lift, lift[::-1])]
            case "boards":
                many = max(3, round(w / 0.14))
                made += [box((w, 0.08, 0.04), (0, y, -0.03), timber) for y in lows]
                for i in range(many):
                    z = -0.07 * (i % 2) if shape == 1 else 0.0
                    made.append(
                        box(
                            (w / many - (0.008 if shape else 0.001), height - 0.08, 0.022), (-w / 2 + (i + 0.5) * w / many, 0.05, z), timber
                        )
                    )
                if shape != 1:
                    made.append(cushion((w, 0.04, 0.09), (0, height - 0.04, 0), 0.01, timber))
            case "slats":
                many = max(4, round(height / (0.09 + 0.05 * gap)))
                each = (height - 0.08) / many
                made += [box((w, each * (0.96 - 0.35 * gap), 0.025), (0, 0.06 + i * each, 0), timber) for i in range(many)]
                made += [box((0.05, height - 0.06, 0.03), (s * w * 0.25, 0.05, -0.027), timber) for s in SIDES]
            case "lattice":
                made += [box((w, 0.07, 0.05), (0, y, 0), timber) for y in (0.06, height - 0.07)]
                low, high, step = 0.1, height - 0.04, 0.16 + 0.06 * gap
                split = height * 0.6 if cross else low
                if cross:
                    made += [box((w, split - low, 0.02), (0, low, 0), timber), box((w, 0.06, 0.05), (0, split, 0), timber)]
                tall = high - split
                for at in np.arange(-w / 2 - tall + step / 2, w / 2, step):
                    a, b = max(float(at), -w / 2), min(float(at) + tall, w / 2)
                    if b - a > 0.03:
                        for z, mirror in ((0.006, 1), (-0.006, -1)):
                            x, y = np.array([a, b]), split + np.array([a - float(at), b - float(at)])
                            x, y = (x, y) if mirror == 1 else (-x[::-1], y[::-1])
                            made.append(_sheet(x, y - 0.018, y + 0.018, 0.012, timber).moved((0, 0, z)))
            case "iron":
                made += [box((w, 0.03, 0.02), (0, y, 0), timber) for y in (0.1, height * 0.8, *([height * 0.92] if ring else []))]
                many = max(5, round(w / 0.13))
                for i in range(many):
                    u = 2 * (i + 0.5) / many - 1
                    tall = height * 0.95 + (swell * 0.6 * (1 - u * u) if shape == 0 and swell > 0 else 0)
                    made.append(rod((u * w / 2, 0.06, 0), (u * w / 2, tall, 0), 0.009, 0.009, timber, sides=8))
                    if not hoops:
                        spear = [(0, 0), (0.012, 0.0), (0.022, 0.03), (0, 0.1)]
                        made.append(turned(spear, (u * w / 2, tall - 0.01, 0), timber, sides=8))
                    if hoops and i % 2 == 0 and i + 1 < many:
                        angle = np.linspace(0, math.pi, 9)
                        x = (u + 1 / many) * w / 2 + np.cos(angle) * w / many / 2
                        made.append(tube(np.stack([x, tall + np.sin(angle) * w / many / 2, 0 * x], axis=1), 0.009, timber, sides=8))
                    if ring and i < many - 1:
                        angle = np.linspace(0, 2 * math.pi, 13)
                        radius = min(height * 0.05, w / many / 2)
                        loop = np.stack(
                            [(u + 1 / many) * w / 2 + radius * np.cos(angle), height * 0.87 + radius * np.sin(angle), 0 * angle], axis=1
                        )
                        made.append(tube(loop, 0.006, timber, sides=6))
            case "wire":
                made += [rod((-w / 2, y, 0), (w / 2, y, 0), 0.018, 0.018, timber, sides=8) for y in (0.08, height - 0.03)]
                low, high, step = 0.08, height - 0.03, 0.11 + 0.06 * gap
                tall = high - low
                if shape:  # a mesh on its corner
                    for at in np.arange(-w / 2 - tall + step, w / 2, step):
                        a, b = max(float(at), -w / 2), min(float(at) + tall, w / 2)
                        for m in SIDES:
                            made.append(
                                rod(
                                    (m * a, low + a - float(at), 0.004 * m),
                                    (m * b, low + b - float(at), 0.004 * m),
                                    0.005,
                                    0.005,
                                    timber,
                                    sides=5,
                                )
                            )
                else:
                    made += [
                        rod((float(x), low, 0), (float(x), high, 0), 0.005, 0.005, timber, sides=5)
                        for x in np.arange(-w / 2 + step, w / 2, step)
                    ]
                    made += [
                        rod((-w / 2, float(y), 0), (w / 2, float(y), 0), 0.005, 0.005, timber, sides=5)
                        for y in np.arange(low + step, high, step)
                    ]
            case _:  # withies woven about stakes
                stakes = max(3, round(w / 0.36))
                bend = np.linspace(-w / 2, w / 2, 4 * stakes + 1)
                made += [
                    rod((float(x), 0, 0), (float(x), height, 0), 0.022, 0.018, timber, sides=8)
                    for x in np.linspace(-w / 2 + 0.05, w / 2 - 0.05, stakes)
                ]
                many = round(height / 0.09)
                for i in range(many):
                    wave = 0.03 * np.sin((bend + w / 2 - 0.05) / (w - 0.1) * (stakes - 1) * math.pi + math.pi / 2 + (i % 2) * math.pi)
                    made.append(
                        tube(np.stack([bend, np.full(len(bend), 0.06 + i * (height - 0.12) / many), wave], axis=1), 0.04, timber, sides=6)
                    )
        return made

    solids: list[Solid] = []
    x, first = 0.0, list(post)
    solids += first
    for i, w in enumerate(widths):
        inner = w - thick
        made = field(inner if i != gate else inner - 0.04)
        if i == gate:
            brace, y = np.array([-0.5, 0.5]) * (inner - 0.06), np.array([height * 0.2, height * 0.78])
            made.append(_sheet(brace, y - 0.04, y + 0.04, 0.03, timber).moved((0, 0, -0.035)))
            made += [box((0.045, height * 0.85, 0.035), (s * (inner / 2 - 0.035), 0.06, -0.03), timber) for s in SIDES]
            made += [box((0.04, 0.05, 0.05), (inner / 2 - 0.03, height * 0.6, 0.03), BLACK)]
            made += [box((0.2, 0.035, 0.012), (-inner / 2 + 0.06, float(u), 0.022), BLACK) for u in (height * 0.25, height * 0.75)]
            turn = rng.uniform(15, 40) if maybe(rng, 0.4) else 0.0
            made = [p.moved((inner / 2, 0, 0)).turned("y", turn).moved((-inner / 2, 0, 0)) for p in made]
        solids += [p.moved((x + w / 2, 0, 0)) for p in made + [p.moved((w / 2, 0, 0)) for p in post]]
        x += w
        if corner and i == 0:  # what follows goes off at a right angle
            solids = [p.moved((-x, 0, 0)).turned("y", 90) for p in solids]
            x = 0.0
    if not corner:
        solids = [p.moved((-x / 2, 0, 0)) for p in solids]
    if masonry and maybe(rng, 0.5) and not corner and gate < 0:
        solids.append(box((x, height * 0.18, thick * 0.7), (0, 0, 0), pillar))
    style = ["corner"] if corner else []
    style += ["curved"] if sort == "picket" and shape == 0 else []
    style += ["tall"] if height > 1.45 else ["low"] if height < 0.85 else []
    parts = [Parts(noun="post", count=fields + 1, material=pillar if masonry else None)]
    parts += _said(timber, ("gate", int(gate >= 0), timber), ("rail", rails if sort == "rail" else 0, timber))
    if sort == "picket":
        parts.append(Parts(noun="picket", count=sum(max(3, round((w - thick) / (wide * (1 + gap)))) for w in widths)))
    return Thing(solids=tuple(solids), main=timber, style=tuple(style), parts=tuple(parts[:4]))
