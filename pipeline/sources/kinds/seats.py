"""Things to sit and lie on, and what a bathroom has: chair, stool, bench, sofa, bed, toilet, bathtub, sink.

A maker draws one of several designs, then its proportions, materials and the parts that come and go. Above the makers stand the surfaces
they share: skins over loops (legs, bowls, pads, basins), plates cut from an outline, bent sheets, pipes.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from pipeline.sources.kinds.thing import (
    BLACK,
    BRASS,
    STEEL,
    WHITE,
    Parts,
    Rng,
    Thing,
    ceramic,
    drawers,
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
from pipeline.sources.solids import CREASE, Floats, Material, Point, Solid, box, cushion, disc, rod, tube, turned

# -------------------------------------------------------------------------------------------------------------- surfaces


_FLAT = math.cos(math.radians(28))
"""Ends of a skin are flat and large: what bends more than this next to them would tint them all over."""


def _unit(vectors: Floats) -> Floats:
    """Of length 1; up where there is no direction."""
    size = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(size > 1e-12, vectors / np.maximum(size, 1e-12), (0.0, 1.0, 0.0))


def _smooth(points: ArrayLike, rounds: int = 3) -> Floats:
    """A polyline [K, D] with its corners cut off again and again; it keeps its ends."""
    line = np.asarray(points, float)
    for _ in range(rounds):
        cut = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], axis=1).reshape(-1, line.shape[1])
        line = np.concatenate([line[:1], cut, line[-1:]])
    return line


def _loop(width: float, depth: float, y: float, z: float = 0.0, x: float = 0.0, *, front: float = 0.3, back: float | None = None) -> Floats:
    """A level rectangle [S, 3] with rounded corners: 0 keeps them sharp, 1 makes an ellipse. `back` are those towards -Z."""
    short, points = min(width, depth), []
    for corner, amount in enumerate((front, front if back is None else back, front if back is None else back, front)):
        amount = min(max(amount, 0.01), 0.98)
        rx, rz = (amount / 2 * (short + (side - short) * amount**3) for side in (width, depth))
        angle = np.radians(90 * corner + np.linspace(0, 90, 7))
        right, ahead = (1, 1, -1, -1)[corner], (1, -1, -1, 1)[corner]
        points.append(np.stack([right * (width / 2 - rx) + rx * np.sin(angle), ahead * (depth / 2 - rz) + rz * np.cos(angle)], axis=1))
    flat = np.concatenate(points)
    return np.stack([flat[:, 0] + x, np.full(len(flat), y), flat[:, 1] + z], axis=1)


def _loft(rings: Sequence[Floats], material: Material, *, caps: tuple[bool, bool] = (True, True)) -> Solid:
    """A skin over loops of S points each. As with `turned`, the solid is on the left of the way along them: outside it goes up.

    Args:
        caps: whether to close the first and the last loop. A skin that returns to its first loop is closed by itself.
    """
    ends = [np.repeat(rings[i].mean(axis=0)[None], len(rings[i]), axis=0) for i in (0, -1)]
    line = np.stack([*ends[:1] * caps[0], *rings, *ends[1:] * caps[1]])  # [K, S, 3]
    around = np.roll(line, -1, axis=1) - np.roll(line, 1, axis=1)
    out = _unit(np.cross(around[:-1] + around[1:], np.diff(line, axis=0)))  # [K - 1, S, 3]
    first, last = out.copy(), out.copy()
    limit = np.full((len(out) - 1, 1), CREASE)
    limit[: caps[0]] = limit[len(limit) - caps[1] :] = _FLAT
    smooth = (out[:-1] * out[1:]).sum(axis=2) > limit
    first[1:][smooth] = last[:-1][smooth] = _unit(out[:-1] + out[1:])[smooth]
    sides, faces = line.shape[1], []
    j, k = np.arange(sides), (np.arange(sides) + 1) % sides
    for band in range(len(out)):
        low = 2 * sides * band
        if not (caps[0] and band == 0):
            faces.append(np.stack([low + j, low + k, low + sides + k], axis=1))
        if not (caps[1] and band == len(out) - 1):
            faces.append(np.stack([low + j, low + sides + k, low + sides + j], axis=1))
    return Solid(vertices=np.stack([line[:-1], line[1:]], axis=1).reshape(-1, 3), normals=np.stack([first, last], axis=1).reshape(-1, 3),
        faces=np.concatenate(faces), material=material)  # fmt: skip


def _joined(solids: Sequence[Solid]) -> Solid:
    """Several of one material as one."""
    starts = np.cumsum([0, *(len(solid.vertices) for solid in solids[:-1])])
    return Solid(vertices=np.concatenate([solid.vertices for solid in solids]),
        normals=np.concatenate([solid.normals for solid in solids]),
        faces=np.concatenate([solid.faces + start for solid, start in zip(solids, starts, strict=True)]),
        material=solids[0].material)  # fmt: skip


def _plate(outline: ArrayLike, thick: float, material: Material, *, edge: float = 0.006) -> Solid:
    """A board in the XY plane around Z = 0, cut along an outline [K, 2] that goes counter-clockwise seen from +Z."""
    points = np.asarray(outline, float)
    after, before = np.roll(points, -1, axis=0) - points, np.roll(points, 1, axis=0) - points
    points = np.stack([points + 0.04 * before, points + 0.04 * after], axis=1).reshape(-1, 2)  # corners stay corners to the light
    middle = points.mean(axis=0)
    inner = middle + (points - middle) * (1 - edge / np.abs(points - middle).max())
    levels = ((inner, -thick / 2), (points, edge - thick / 2), (points, thick / 2 - edge), (inner, thick / 2))
    return _loft([np.column_stack([line, np.full(len(line), z)]) for line, z in levels], material)


def _sheet(grid: Floats, thick: float, material: Material) -> Solid:
    """A bent board: points [A, B, 3] of its front, which looks along dA x dB, and as much behind it as it is thick."""

    def patch(points: Floats) -> Solid:
        a, b = points.shape[:2]
        normal = _unit(np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1)))
        low = (np.arange(a - 1)[:, None] * b + np.arange(b - 1)).ravel()
        faces = np.concatenate([np.stack([low, low + b, low + b + 1], axis=1), np.stack([low, low + b + 1, low + 1], axis=1)])
        return Solid(vertices=points.reshape(-1, 3), normals=normal.reshape(-1, 3), faces=faces, material=material)

    behind = grid - thick * _unit(np.cross(np.gradient(grid, axis=0), np.gradient(grid, axis=1)))
    return _joined([
        patch(grid), patch(behind[:, ::-1]),
        patch(np.stack([behind[:, 0], grid[:, 0]], axis=1)), patch(np.stack([grid[:, -1], behind[:, -1]], axis=1)),
        patch(np.stack([behind[0], grid[0]])), patch(np.stack([grid[-1], behind[-1]])),
    ])  # fmt: skip


def _bow(width: float, tall: float, depth: float, at: Point, thick: float, material: Material, *, top: float = 0.0) -> Solid:
    """An upright board bent around whoever leans on it: its sides come forward by `depth`, its middle rises by `top`."""
    u, v = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(0, 1, 4), indexing="ij")
    grid = np.stack([u * width / 2, v * (tall + top * (1 - u**2)), depth * u**2], axis=2)
    return _sheet(grid + np.array(at), thick, material)


def _ball(at: Point, radius: float, material: Material) -> Solid:
    angle = np.linspace(-math.pi / 2, math.pi / 2, 7)
    return turned([(max(0.0, radius * math.cos(a)) * (abs(a) < 1.57), radius * math.sin(a)) for a in angle], at, material, sides=10)


def _pipe(points: ArrayLike, radius: float, material: Material, *, bend: float = 0.07) -> Solid:
    """A round bar along a polyline [K, 3], with round ends. `bend`: how far from a corner its rounding begins; 0 leaves it."""
    path = np.asarray(points, float)
    if bend:
        knots = [path[0]]
        for i in range(1, len(path) - 1):
            ways = path[[i - 1, i + 1]] - path[i]
            reach = np.minimum(0.5, bend / np.linalg.norm(ways, axis=1))[:, None] * ways
            knots += [path[i] + reach[0], path[i], path[i] + reach[1]]
        path = _smooth([*knots, path[-1]], 2)
    first, last = ((float(p[0]), float(p[1]), float(p[2])) for p in (path[0], path[-1]))
    return _joined([_ball(first, radius, material), tube(path, radius, material, sides=10), _ball(last, radius, material)])


def _slab(width: float, depth: float, thick: float, at: Point, material: Material, front: float = 0.2, back: float | None = None) -> Solid:
    """A lying board with rounded corners and softened edges."""
    x, y, z = at
    edge = min(0.006, thick / 3)
    levels = ((edge, 0), (0, edge), (0, thick - edge), (edge, thick))
    return _loft([_loop(width - 2 * e, depth - 2 * e, y + h, z, x, front=front, back=back) for e, h in levels], material)


def _pad(width: float, depth: float, thick: float, at: Point, material: Material, front: float = 0.3, back: float | None = None) -> Solid:
    """Upholstery: a slab that swells."""
    x, y, z = at
    levels = ((0.8, 0), (0.94, 0.04), (1, 0.25), (1, 0.6), (0.95, 0.84), (0.84, 0.96), (0.6, 1))
    trim = min(width, depth)
    return _loft(
        [_loop(width - trim * (1 - s), depth - trim * (1 - s), y + h * thick, z, x, front=front, back=back) for s, h in levels], material
    )


def _placed(solids: Sequence[Solid], at: Point, *, lean: float = 0.0, turn: float = 0.0) -> list[Solid]:
    """Leant back about X, then turned about Y, then moved."""
    return [solid.turned("x", -lean).turned("y", turn).moved(at) for solid in solids]


def _pillow(rng: Rng, width: float, tall: float, material: Material) -> Solid:
    """A loose pillow that stands on its lower edge and faces +Z."""
    thick = rng.uniform(0.28, 0.4) * min(width, tall)
    levels = ((0.45, 0), (0.8, 0.12), (0.97, 0.38), (1, 0.5), (0.97, 0.62), (0.8, 0.88), (0.45, 1))
    lying = _loft([_loop(width * s, tall * s, (h - 0.5) * thick, front=0.25) for s, h in levels], material)
    return lying.turned("x", 90).moved((0, tall / 2, 0))


_LEGS = (
    ((0, 1, 0), (1, 1, 0)),
    ((0, 0.55, 0), (1, 1, 0)),
    ((0, 0.5, 0), (0.08, 0.6, 0), (0.3, 0.85, 0), (0.42, 0.5, 0), (0.48, 1.0, 0), (0.55, 0.6, 0), (0.8, 1, 0), (1, 1, 0)),
    ((0, 0.9, 0.9), (0.06, 0.75, 0.8), (0.2, 0.5, 0.3), (0.55, 0.75, 0.35), (0.85, 1.3, 0.5), (1, 1.2, 0.1)),
)
"""Straight, tapered, turned, cabriole: height, thickness and how far outwards, in parts of the whole."""


def _feet(
    rng: Rng, width: float, depth: float, height: float, thick: float, material: Material, *, brace: float = 0.4
) -> tuple[list[Solid], Parts]:
    """Four legs, sometimes splayed, now and then braced, and the words for them."""
    form = int(rng.integers(len(_LEGS)))
    splay = 0.0 if form == 3 else pick(rng, (0.0, rng.uniform(0.05, 0.18))) * height
    corner = 0.98 if form >= 2 or maybe(rng, 0.5) else 0.15
    ends, solids = [], []
    for x, z in four(width - 1.4 * thick, depth - 1.4 * thick):
        top = np.array((x, height, z))
        foot = np.array((x + math.copysign(splay, x), 0, z + math.copysign(splay * 0.8, z)))
        ends.append((foot, top))
        rings = []
        for t, size, out in _LEGS[form]:
            px, py, pz = foot + (top - foot) * t + out * thick * np.array((math.copysign(0.7, x), 0, math.copysign(0.7, z)))
            rings.append(_loop(thick * size, thick * size, py, pz, px, front=corner))
        solids.append(_loft(rings, material))

    def bar(i: int, j: int, t: float) -> Solid:
        start, end = (ends[n][0] + (ends[n][1] - ends[n][0]) * t for n in (i, j))
        return rod(tuple(start), tuple(end), thick * 0.28, thick * 0.28, material, sides=10)

    if form < 3 and maybe(rng, brace):
        t = rng.uniform(0.2, 0.45)
        match rng.integers(3):
            case 0:
                solids += [bar(0, 1, t), bar(2, 3, t)]
                half = width / 2 - 0.7 * thick + splay * (1 - t)
                solids.append(rod((-half, height * t, 0), (half, height * t, 0), thick * 0.28, thick * 0.28, material, sides=10))
            case 1:
                solids += [bar(0, 1, t), bar(2, 3, t), bar(0, 2, t + 0.1), bar(1, 3, t + 0.1)]
            case _:
                solids += [bar(0, 3, t), bar(1, 2, t)]
    return solids, Parts(noun="leg", count=4, material=material)


def _soft(rng: Rng) -> Material:
    return pick(rng, (fabric, fabric, leather))(rng)


# ------------------------------------------------------------------------------------------------------------- chairs


def _back(rng: Rng, width: float, tall: float, timber: Material, soft: Material) -> tuple[list[Solid], list[Parts], bool]:
    """A chair's back that stands on Y = 0; words for what it holds; whether it is padded."""
    bow, thick = rng.uniform(0.0, 0.05), rng.uniform(0.022, 0.034)
    half = width / 2 - thick / 2
    posts = [rod((s * half, -0.04, bow), (s * half, tall, bow), thick * 0.6, thick * 0.45, timber) for s in (-1, 1)]
    crest = _bow(width + pick(rng, (0.0, 0.03)), tall * 0.14, bow, (0, tall * 0.88, 0.008), 0.02, timber, top=pick(rng, (0, 0.04)))
    match rng.integers(9):
        case 0:
            count = int(rng.integers(2, 8))
            where = np.linspace(-1, 1, count + 2)[1:-1]
            slim = min(0.05, 0.5 * width / count)
            bars = [box((slim, tall * 0.92, 0.012), (float(u) * half, -0.02, bow * float(u) ** 2 - 0.004), timber) for u in where]
            return [*posts, crest, *bars], [Parts(noun="bar", count=count)], False
        case 1:
            count = int(rng.integers(2, 6))
            each = tall / count
            rungs = [_bow(width, each * 0.45, bow, (0, (i + 0.5) * each, 0.006), 0.014, timber, top=each * 0.12) for i in range(count)]
            return [*posts, *rungs], [Parts(noun="rung", count=count)], False
        case 2:
            low = rng.uniform(0.0, 0.35) * tall
            panel = _bow(width + 0.01, tall - low, bow + 0.02, (0, low, 0.012 - 0.02), 0.016, timber, top=pick(rng, (0, 0.05)))
            return ([*posts, panel] if low else [panel]), [], False
        case 3:
            low = rng.uniform(0.1, 0.3) * tall
            pad = (
                _pad(width * 0.9, (tall - low) * 0.96, 0.05, (0, 0, 0), soft, 0.25).turned("x", 90).moved((0, (tall + low) / 2, bow - 0.01))
            )
            board = box((width * 0.96, tall - low, 0.018), (0, low, bow - 0.018), timber)
            return [*posts, board, pad], [], True
        case 4:  # a splat cut like a vase
            heights = np.linspace(0, 1, 15)
            side = width * (0.14 + 0.05 * np.sin(heights * rng.uniform(6, 10) + rng.uniform(0, 3)))
            line = np.concatenate([np.stack([side, heights], 1), np.stack([-side, heights], 1)[::-1]]) * (1, tall * 0.95)
            return [*posts, crest, _plate(line, 0.014, timber, edge=0.003)], [], False
        case 5:
            angle = np.linspace(0, math.pi, 20)
            lift = rng.uniform(0.5, 1.0)
            arch = np.stack([np.cos(angle) * half, np.sin(angle) ** lift * tall, 0 * angle], axis=1)
            count = int(rng.integers(3, 7))
            solids = [tube(arch, thick / 2, timber)]
            for u in np.linspace(-1, 1, count + 2)[1:-1]:
                solids.append(
                    rod((float(u) * half * 0.8, -0.02, 0), (float(u) * half, tall * float(1 - u**2) ** (lift / 2), 0), 0.007, 0.007, timber)
                )
            return solids, [Parts(noun="bar", count=count)], False
        case 6:  # an oval medallion
            low, up = tall * 0.25, tall * 0.38
            angle = np.linspace(0, 2 * math.pi, 33)[:-1]
            oval = np.stack([np.cos(angle) * half, np.sin(angle) * up], axis=1)
            pad = _pad(1.7 * half, 1.7 * up, 0.06, (0, 0, 0), soft, 0.98).turned("x", 90)
            stems = [
                rod((s * half * 0.6, -0.03, 0), (s * half * 0.75, low + up * 0.4, 0), thick * 0.5, thick * 0.5, timber) for s in (-1, 1)
            ]
            return [*stems, *_placed([_plate(oval, 0.035, timber), pad], (0, low + up, 0))], [], True
        case 7:
            cross = [rod((-s * half, 0.1 * tall, bow), (s * half, 0.86 * tall, bow), 0.009, 0.009, timber) for s in (-1, 1)]
            return [*posts, crest, *cross, box((2 * half, 0.03, 0.02), (0, 0.07 * tall, bow - 0.01), timber)], [], False
        case _:  # upholstered all over
            deep = rng.uniform(0.05, 0.09)
            slab = cushion((width, tall + 0.05, deep), (0, -0.05, 0), 0.03, soft)
            nails = [_ball((x * width * 0.25, tall * y, deep / 2), 0.008, soft) for x in (-1, 0, 1) for y in (0.45, 0.7)]
            return [slab, *(nails if maybe(rng, 0.3) else ())], [], True


def _armrests(rng: Rng, width: float, depth: float, seat: float, stand: Material, rest: Material) -> list[Solid]:
    """A pair on a seat of this width, from its back edge forward."""
    up, solids = seat + rng.uniform(0.18, 0.25), []
    form = rng.integers(4)
    ahead = depth * rng.uniform(0.25, 0.42)
    for s in (-1, 1):
        x, hind = s * (width / 2 + 0.012), -depth / 2 - 0.02
        match form:
            case 0:
                solids.append(_slab(0.05, ahead - hind + 0.04, 0.024, (x, up - 0.01, (ahead + hind) / 2 + 0.02), rest, 0.7))
                solids.append(rod((x, seat - 0.03, ahead - 0.03), (x, up, ahead - 0.02), 0.016, 0.013, stand))
            case 1:
                solids.append(_pipe([(x, up + 0.04, hind), (x * 1.1, up, 0), (x * 1.12, up - 0.01, ahead), (x, up - 0.1, ahead),
                    (x, seat - 0.02, ahead * 0.6)], 0.015, rest, bend=1))  # fmt: skip
            case 2:
                solids.append(
                    _pipe([(x, seat - 0.03, hind + 0.06), (x, up, hind + 0.06), (x, up, ahead), (x, seat - 0.03, ahead)], 0.012, stand)
                )
                solids.append(cushion((0.045, 0.03, (ahead - hind) * 0.7), (x, up - 0.005, (ahead + hind) / 2 + 0.03), 0.012, rest))
            case _:
                solids.append(_loft([_loop(0.04, ahead - hind, seat - 0.04, (ahead + hind) / 2, x),
                    _loop(0.04, ahead - hind, up, (ahead + hind) / 2, x)], rest))  # fmt: skip
    return solids


def _joinery(rng: Rng) -> Thing:
    """The chair of the dining room: four legs, a seat, one of many backs."""
    width, depth, height = rng.uniform(0.38, 0.53), rng.uniform(0.37, 0.48), rng.uniform(0.41, 0.48)
    timber, soft = pick(rng, (wood, wood, wood, metal, plastic))(rng), _soft(rng)
    solids, feet = _feet(rng, width, depth, height, rng.uniform(0.028, 0.045), timber)
    back, parts, padded = _back(rng, width - 0.01, rng.uniform(0.34, 0.68), timber, soft)
    corner = pick(rng, (0.08, 0.2, 0.3, 0.98))
    square = 0.15 if corner > 0.9 else corner
    flat = maybe(rng, 0.45) and not padded
    if flat:
        solids.append(_slab(width + 0.02, depth + 0.02, rng.uniform(0.018, 0.045), (0, height - 0.005, 0), timber, corner, square))
    else:
        if corner < 0.5:
            solids.append(box((width - 0.02, 0.06, depth - 0.02), (0, height - 0.06, 0), timber))
        solids.append(_pad(width + 0.02, depth + 0.02, rng.uniform(0.05, 0.1), (0, height - 0.02, 0), soft, corner, square))
    lift = height + 0.01
    solids += _placed(back, (0, lift, -depth / 2 + 0.025), lean=rng.uniform(3, 14))
    if maybe(rng, 0.3):
        solids += _armrests(rng, width, depth, height, timber, timber)
        parts.append(Parts(noun="armrest", count=2))
    if maybe(rng, 0.08):
        z = np.linspace(-0.55, 0.5, 9)
        for x in (-1, 1):
            path = np.stack([np.full(9, x * (width / 2 - 0.02)), 0.016 + 0.35 * (z - 0.02) ** 2, z], axis=1)
            solids.append(_pipe(path, 0.016, timber, bend=0).moved((0, -0.03, 0)))
        solids = _placed(solids, (0, 0.03, 0))
        parts.append(Parts(noun="rocker", count=2))
    tall = ("tall",) if max(s.vertices[:, 1].max() for s in solids) > 1.06 else ()
    return Thing(solids=tuple(solids), main=soft if padded else timber, style=(*(() if flat else ("padded",)), *tall), parts=(feet, *parts))


def _windsor(rng: Rng) -> Thing:
    width, depth, height = rng.uniform(0.42, 0.54), rng.uniform(0.4, 0.48), rng.uniform(0.41, 0.46)
    timber = wood(rng)
    solids: list[Solid] = [_slab(width, depth, 0.04, (0, height - 0.03, 0), timber, 0.7, 0.95)]
    feet = []
    for x, z in four(width * 0.55, depth * 0.55):
        foot, top = np.array((x * 1.75, 0.0, z * 1.7)), np.array((x, height, z))
        knots = [foot + (top - foot) * t for t in (0, 0.3, 0.4, 0.65, 1)]
        for a, b, r, q in zip(knots, knots[1:], (0.011, 0.019, 0.013, 0.021), (0.019, 0.013, 0.021, 0.013), strict=False):
            solids.append(rod(tuple(a), tuple(b), r, q, timber, sides=10))
        feet.append(knots[2])
    for a, b in ((0, 1), (2, 3)):
        solids.append(rod(tuple(feet[a]), tuple(feet[b]), 0.011, 0.011, timber, sides=10))
    solids.append(rod(tuple((feet[0] + feet[1]) / 2), tuple((feet[2] + feet[3]) / 2), 0.011, 0.011, timber, sides=10))
    tall, count = rng.uniform(0.42, 0.68), int(rng.integers(5, 10))
    lean, comb = 0.18 * tall, maybe(rng, 0.4)
    us = np.linspace(-1, 1, count)
    angle = np.linspace(0, math.pi, 24)
    hind = -depth * 0.4
    arms = maybe(rng, 0.5)
    for u in map(float, us):
        peak = tall if comb else tall * float(max(0.0, 1 - (0.92 * u) ** 2)) ** 0.4
        solids.append(rod((u * width * 0.33, height, hind + 0.09 * u**2),
            (u * width * (0.5 if comb else 0.46), height + peak, hind + 0.09 * u**2 - lean * peak / tall), 0.008, 0.006, timber,
            sides=8))  # fmt: skip
    if comb:
        solids.append(_bow(width * 1.08, 0.07, 0.09, (0, height + tall - 0.01, hind - lean + 0.008), 0.02, timber, top=0.03))
    else:
        up = np.sin(angle) ** 0.75 * tall
        c = np.cos(angle)
        solids.append(_pipe(np.stack([c * width * 0.46, height + up, hind + 0.09 * c**2 - lean * up / tall], 1), 0.012, timber, bend=0))
    if arms:
        turn = np.linspace(-0.15, math.pi + 0.15, 24)
        rail = np.stack(
            [np.cos(turn) * width * 0.54, np.full(24, height + 0.22), depth * 0.1 - np.sin(turn) * (depth * 0.5 + lean * 0.35)], 1
        )
        solids.append(_pipe(rail, 0.016, timber, bend=0))
        for s in (-1, 1):
            for z in (-0.02, 0.12):
                solids.append(
                    rod((s * width * 0.4, height, z - 0.02), (s * width * 0.535, height + 0.22, z), 0.008, 0.008, timber, sides=8)
                )
    parts = (Parts(noun="bar", count=count), *((Parts(noun="armrest", count=2),) if arms else ()))
    return Thing(solids=tuple(solids), main=timber, style=("curved",), parts=parts)


def _star(rng: Rng, radius: float, top: float, stand: Material, *, wheels: bool) -> tuple[list[Solid], list[Parts]]:
    """A column on a foot with four or five rays, on castors or not."""
    rays, low = int(rng.integers(4, 6)), 0.075 if wheels else 0.02
    solids = [disc(0.028, top - low, (0, low, 0), STEEL, sides=16), disc(0.04, (top - low) * 0.5, (0, low, 0), stand, sides=16)]
    for turn in np.arange(rays) * 360 / rays:
        ray = [_loft([_loop(0.05, 0.05, 0, front=0.2), _loop(0.03, 0.025, radius, -0.02, front=0.2)], stand).turned("x",
            90).moved((0, low + 0.03, 0))]  # fmt: skip
        if wheels:
            ray += [rod((s * 0.008, 0.029, radius - 0.03), (s * 0.026, 0.029, radius - 0.03), 0.029, 0.026, BLACK) for s in (-1, 1)]
            ray.append(disc(0.01, 0.05, (0, 0.03, radius - 0.03), BLACK, sides=8))
        else:
            ray.append(disc(0.02, low + 0.01, (0, 0, radius - 0.02), stand, sides=12))
        solids += [part.turned("y", float(turn)) for part in ray]
    words = [Parts(noun="wheel", count=rays)] if wheels else [Parts(noun="leg", count=rays, material=stand)]
    return solids, words


def _swivel(rng: Rng) -> Thing:
    """The chair of the office."""
    width, depth, height = rng.uniform(0.46, 0.56), rng.uniform(0.44, 0.52), rng.uniform(0.42, 0.52)
    soft, stand = pick(rng, (fabric, leather))(rng), pick(rng, (BLACK, STEEL, WHITE))
    solids, parts = _star(rng, rng.uniform(0.28, 0.34), height - 0.02, stand, wheels=maybe(rng, 0.85))
    solids.append(_pad(width, depth, rng.uniform(0.07, 0.12), (0, height - 0.03, 0), soft, 0.45, 0.35))
    solids.append(cushion((0.2, 0.03, 0.24), (0, height - 0.06, 0), 0.01, BLACK))
    tall, lean, hind = rng.uniform(0.38, 0.72), rng.uniform(4, 14), -depth / 2 + 0.02
    back: list[Solid]
    match rng.integers(4):
        case 0:  # a mesh in a frame
            back = [_bow(width * 0.9, tall, 0.06, (0, 0.1, -0.03), 0.012, soft, top=0.03)]
            back += [tube(np.stack([np.full(8, s * width * 0.45), np.linspace(0.1, 0.1 + tall, 8), np.full(8, 0.025)], 1), 0.014, stand)
                for s in (-1, 1)]  # fmt: skip
        case 1:  # leather in rolls across
            rolls = max(3, round(tall / 0.14))
            back = [cushion((width * 0.94, tall / rolls + 0.006, 0.09), (0, 0.06 + i * tall / rolls, 0), 0.035, soft) for i in range(rolls)]
        case 2:
            back = [_pad(width * 0.88, tall, 0.09, (0, 0, 0), soft, pick(rng, (0.3, 0.6, 0.95)), 0.4).turned("x",
                -90).moved((0, 0.1 + tall / 2, 0.03))]  # fmt: skip
            back = [s.turned("y", 180) for s in back]
        case _:
            back = [_bow(width * 0.95, tall, 0.1, (0, 0.06, -0.05), 0.05, soft, top=0.05)]
    if maybe(rng, 0.3):
        back.append(cushion((0.28, 0.15, 0.07), (0, tall + 0.14, 0), 0.032, soft))
        back.append(box((0.1, 0.12, 0.015), (0, tall + 0.05, -0.02), stand))
        parts.append(Parts(noun="headrest", count=1))
    solids += _placed(back, (0, height, hind), lean=lean)
    solids.append(_pipe([(0, height - 0.04, -0.05), (0, height - 0.04, hind - 0.12), (0, height + 0.06, hind - 0.12),
        (0, height + tall * 0.5, hind - 0.09 - tall * 0.5 * math.tan(math.radians(lean)))], 0.02, stand))  # fmt: skip
    if maybe(rng, 0.65):
        high = height + rng.uniform(0.17, 0.23)
        form = rng.integers(3)
        for s in (-1, 1):
            x = s * (width / 2 + 0.035)
            if form < 2:
                solids.append(_slab(0.075, 0.26, 0.03, (x, high, 0.02), BLACK if form else soft, 0.6))
                solids.append(box((0.03, high - height + 0.02, 0.06), (x, height - 0.015, 0.0), stand))
                solids.append(box((0.14, 0.02, 0.06), (x - s * 0.06, height - 0.025, 0.0), stand))
            else:
                loop = [(x - s * 0.05, height - 0.02, 0.12), (x, height + 0.02, 0.16), (x, high, 0.14), (x, high, -0.14),
                    (x, height + 0.02, -0.12), (x - s * 0.05, height - 0.02, -0.1)]  # fmt: skip
                solids.append(_pipe(loop, 0.018, stand))
        parts.append(Parts(noun="armrest", count=2))
    return Thing(solids=tuple(solids), main=soft, style=("padded", *(("tall",) if tall > 0.62 else ())), parts=tuple(parts))


def _tubular(rng: Rng) -> Thing:
    """Seat and back on bent tube: cantilever or sled."""
    width, depth, height, tall = rng.uniform(0.42, 0.54), rng.uniform(0.42, 0.5), rng.uniform(0.42, 0.47), rng.uniform(0.33, 0.5)
    stand, soft = pick(rng, (STEEL, STEEL, BLACK, metal(rng))), pick(rng, (_soft, wood, leather, plastic))(rng)
    arms, sled, front, hind, r = maybe(rng, 0.45), maybe(rng, 0.3), depth / 2, -depth / 2, 0.0125
    solids: list[Solid] = []
    top, high = (hind - 0.1, height + tall), height + 0.22
    for s in (-1, 1):
        x = s * width / 2
        rail = [(x, height + 0.01, front - 0.02), (x, height, hind), (x, top[1], top[0])]
        if sled:
            solids.append(_pipe([(x, height, front - 0.04), (x, r, front), (x, r, hind), (x, height, hind + 0.04)], r, stand))
            solids.append(_pipe(rail, r, stand))
        else:
            solids.append(_pipe([(0, r, hind - 0.02), (x, r, hind - 0.02), (x, r, front), (x, height, front), *rail[1:]], r, stand))
        if arms:
            solids.append(_pipe([(x, height - 0.02, front - 0.06), (x, high, front - 0.06), (x, high, hind - 0.04)], r, stand))
            solids.append(cushion((0.04, 0.025, depth * 0.6), (x, high + 0.005, 0), 0.01, pick(rng, (BLACK, soft))))
    if sled:
        solids += [rod((-width / 2, r, z), (width / 2, r, z), r, r, stand, sides=10) for z in (hind + 0.1, front - 0.1)]
    padded = soft.substance in ("fabric", "leather") and maybe(rng, 0.6)
    low = pick(rng, (0.05, tall * 0.4))
    lean = math.degrees(math.atan2(hind - top[0], tall))
    if padded:
        solids.append(_pad(width + 0.01, depth - 0.02, 0.07, (0, height - 0.01, 0), soft, 0.25))
        back = _pad(width + 0.01, tall - low + 0.03, 0.06, (0, 0, -0.02), soft, 0.25).turned("x", 90).moved((0, (tall + low) / 2, 0))
    else:
        solids.append(_slab(width + 0.025, depth - 0.03, 0.025, (0, height - 0.008, 0), soft, 0.25))
        back = _bow(width + 0.025, tall - low + 0.02, 0.015, (0, low, 0.008), 0.018, soft)
    solids += _placed([back], (0, height, hind), lean=lean)
    return Thing(solids=tuple(solids), main=soft, style=("curved", *(("padded",) if padded else ())),
        parts=(Parts(noun="armrest", count=2),) if arms else ())  # fmt: skip


def _shell(rng: Rng) -> Thing:
    """One bent shell for seat and back, on one of many stands; or, with no stand, bent down to the floor in one piece."""
    width, depth, height, tall = rng.uniform(0.44, 0.6), rng.uniform(0.42, 0.5), rng.uniform(0.4, 0.46), rng.uniform(0.3, 0.5)
    skin, stand = pick(rng, (plastic, plastic, wood, fabric, leather))(rng), frame(rng)
    arms, whole = rng.uniform(0.0, 0.24) if maybe(rng, 0.6) else 0.0, maybe(rng, 0.12)
    front, hind = depth / 2, -depth / 2 - 0.02
    side = [(front + 0.03, height - 0.05), (front - 0.02, height + 0.02), (0, height - 0.01), (hind + 0.05, height - 0.01),
        (hind - 0.02, height + 0.12)]  # fmt: skip
    side.append((hind - 0.1 - 0.1 * tall, height + tall))
    if whole:
        side = [(front - 0.1, 0.02), (hind + 0.05, 0.01), (0.02, height * 0.4), (front + 0.02, height + 0.02), *side[2:]]
    line = _smooth(side)
    t = np.linspace(0, 1, len(line))
    u, v = np.meshgrid(np.linspace(-1, 1, 17), t, indexing="ij")
    bend = np.interp(t, (0, 0.35, 0.6, 1), (0.01, 0.03, 0.09, 0.04)) + arms * np.exp(-(((t - 0.55) / 0.2) ** 2))
    if whole:
        bend = 0.05 * np.clip(t * 3 - 1.2, 0, 1)
    waist = rng.uniform(0.85, 1.0)
    wide = width / 2 * np.interp(t, (0, 0.1, 0.5, 0.75, 1), (0.85, 1, 1, waist, 0.8 if not whole else 0.95))
    grid = np.stack([u * wide, line[:, 1] + bend * u**2, line[:, 0] + bend * u**2 * (t > 0.4) * np.clip(t * 3 - 1.2, 0, 1)], axis=2)
    grid[:, :, 1] -= 0.3 * (tall if not whole else 0.0) * 0.5 * np.abs(u) ** 4 * np.clip(v * 4 - 3, 0, 1)  # round shoulders
    solids = [_sheet(grid, 0.018 if whole else rng.uniform(0.008, 0.025), skin)]
    parts: list[Parts] = [Parts(noun="armrest", count=2)] if arms > 0.12 and not whole else []
    under, pad = height - 0.024, not whole and maybe(rng, 0.4)
    if pad:
        solids.append(_pad(width * 0.8, depth * 0.85, 0.05, (0, height - 0.01, 0), fabric(rng), 0.5))
    match -1 if whole else rng.integers(5):
        case -1:
            solids = [s.moved((0, -float(s.vertices[:, 1].min()), 0)) for s in solids]
        case 0:  # tulip
            solids.append(turned([(0, 0), (0.25, 0), (0.24, 0.012), (0.1, 0.04), (0.03, 0.14), (0.028, under * 0.6), (0.07, under - 0.02),
                (0.14, under), (0, under)], (0, 0, 0), stand, sides=32))  # fmt: skip
        case 1:
            more, words = _star(rng, rng.uniform(0.26, 0.32), under, stand, wheels=maybe(rng, 0.5))
            solids, parts = solids + more, parts + words
        case 2:  # wires
            for x, z in four(0.42, 0.4):
                solids += [_pipe([(x, 0.008, z), (k * x, under, z * 0.3)], 0.007, stand, bend=0) for k in (0.2, 0.7)]
            corners = [(x, under * 0.35, z) for x, z in ((-0.14, -0.1), (0.14, 0.1), (0.14, -0.1), (-0.14, 0.1))]
            solids += [rod(corners[i], corners[i + 1], 0.006, 0.006, stand, sides=8) for i in (0, 2)]
            solids.append(cushion((0.28, 0.014, 0.2), (0, under - 0.012, 0), 0.005, stand))
        case _:
            for x, z in four(0.4, 0.4):
                solids.append(rod((x * 1.1, 0, z), (x * 0.6, under + 0.005, z * 0.55), 0.011, 0.018, stand))
            solids.append(cushion((0.3, 0.03, 0.26), (0, under - 0.025, 0), 0.01, stand))
            parts.append(Parts(noun="leg", count=4, material=stand))
    return Thing(solids=tuple(solids), main=skin, style=("curved", *(("padded",) if pad else ())), parts=tuple(parts))


def _folding(rng: Rng) -> Thing:
    """Legs that cross: garden and director's chairs."""
    width, depth, height = rng.uniform(0.4, 0.52), rng.uniform(0.36, 0.44), rng.uniform(0.42, 0.48)
    stand = pick(rng, (wood, metal))(rng)
    cloth = pick(rng, (fabric, plastic, wood))(rng)
    tall, r, solids = rng.uniform(0.33, 0.42), 0.013, []
    director = maybe(rng, 0.4)
    if director:
        for z in (-depth / 2, depth / 2):
            solids += [rod((-s * width / 2, 0.012, z), (s * width / 2, height, z), r, r, stand) for s in (-1, 1)]
        for s in (-1, 1):
            x = s * width / 2
            solids += [rod((x, 0.013, -depth / 2), (x, 0.013, depth / 2), r, r, stand),
                rod((x, height, -depth / 2), (x, height, depth / 2), r, r, stand)]  # fmt: skip
            solids += [rod((x, height, z), (x, height + 0.2, z), r, r, stand) for z in (-depth / 2, depth / 2)]
            solids += [rod((x, height + 0.2, -depth / 2), (x, height + tall + 0.05, -depth / 2 - 0.04), r, r, stand)]
            solids.append(_slab(0.055, depth + 0.08, 0.022, (x, height + 0.19, 0), stand, 0.4))
        u, v = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(1, -1, 3), indexing="ij")
        solids.append(_sheet(np.stack([u * width / 2, height + 0.01 - 0.025 * (1 - u**2), v * depth * 0.46], axis=2), 0.008, cloth))
        solids.append(_bow(width + 0.03, 0.17, 0.03, (0, height + tall - 0.12, -depth / 2 - 0.05), 0.008, cloth))
    else:
        lean = 0.12 * (height + tall)
        for s in (-1, 1):
            x = s * width / 2
            solids.append(rod((x, 0.012, depth * 0.55), (x, height + tall, -depth / 2 - lean), r, r, stand))
            solids.append(rod((x - s * 0.03, 0.012, -depth * 0.62), (x - s * 0.03, height, depth * 0.36), r, r, stand))
        ways = ((0.09, depth * 0.42), (0.09, -depth * 0.47))
        solids += [rod((-width / 2, y, z), (width / 2, y, z), r * 0.8, r * 0.8, stand) for y, z in ways]
        slats = int(rng.integers(1, 7))
        each = depth / slats
        for i in range(slats):
            solids.append(_slab(width - 0.035, each * 0.88, 0.018, (0, height, -depth / 2 + (i + 0.5) * each + 0.02), cloth, 0.15))
        rails = int(rng.integers(1, 4))
        foot, top = np.array((0.012, depth * 0.55)), np.array((height + tall, -depth / 2 - lean))
        for i in range(rails):
            t = 0.97 - 0.12 * i - (0.1 if rails == 1 else 0.04)
            y, z = foot + (top - foot) * t
            solids += _placed(
                [_bow(width, 0.16 if rails == 1 else 0.07, 0.0, (0, 0, 0.01), 0.014, cloth)], (0, float(y), float(z)), lean=30
            )
    arms = (Parts(noun="armrest", count=2, material=stand),) if director else (Parts(noun="leg", count=4, material=stand),)
    return Thing(solids=tuple(solids), main=cloth, style=("folding",), parts=arms)


def _armchair(rng: Rng) -> Thing:
    """Upholstered all over: club, wing or barrel."""
    width, depth, height = rng.uniform(0.48, 0.62), rng.uniform(0.5, 0.62), rng.uniform(0.38, 0.44)
    soft, timber, low = _soft(rng), frame(rng), rng.uniform(0.08, 0.2)
    inner = pick(rng, (soft, soft, fabric(rng)))
    arm, tall = rng.uniform(0.08, 0.15), rng.uniform(0.36, 0.7)
    up = rng.uniform(0.14, 0.22)
    outer = width + 2 * arm
    form = rng.integers(3)
    inset = 0.8 if form == 2 else 1.0
    solids, feet = _feet(rng, (outer - 0.04) * inset, (depth + 0.04) * inset, low + 0.02, 0.045, timber, brace=0)
    solids.append(_pad(width + 0.02, depth, 0.14, (0, height - 0.12, 0.03), inner, 0.2))
    parts = [Parts(noun="armrest", count=2)]
    if form == 2:  # arms and back are one curve
        turn, t = np.meshgrid(np.linspace(math.pi * 1.06, -math.pi * 0.06, 33), np.linspace(0, 1, 6), indexing="ij")
        hug = np.maximum(0, np.sin(turn)) ** 2 * rng.uniform(0, 1)
        top = height + up - low + hug * (tall - up)
        flare = 1 + rng.uniform(0, 0.1) * t
        grid = np.stack([np.cos(turn) * (width / 2 + 0.01) * flare, low + t * top, 0.1 - np.sin(turn) * (depth / 2 + 0.1) * flare], axis=2)
        solids.append(_sheet(grid, arm * 0.7, soft))
        solids.append(_loft([_loop(width + 0.06, depth + 0.04, y, 0.01, front=0.3, back=0.95) for y in (low, height - 0.1)], soft))
        style: tuple[str, ...] = ("padded", "round")
    else:
        solids.append(cushion((outer, height - 0.1 - low, depth + 0.02), (0, low, 0), 0.02, soft))
        lean, thick = rng.uniform(6, 16), rng.uniform(0.1, 0.16)
        if maybe(rng, 0.5):
            back = cushion((width + 2 * arm * form, tall + height - low - 0.04, thick), (0, low - height + 0.02, 0), 0.05, soft)
        else:
            a = np.linspace(0, math.pi, 15)
            half = width / 2 + arm * form
            arch = np.stack([np.cos(a) * half, tall * 0.75 + np.sin(a) * tall * 0.25], axis=1)
            back = _plate(np.concatenate([[(-half, low - height + 0.02), (half, low - height + 0.02)], arch]), thick, soft, edge=0.025)
        solids += _placed([back], (0, height, -depth / 2 + 0.02), lean=lean)
        solids += _placed([_pad(width * 0.94, tall * 0.9, 0.13, (0, 0, 0), inner, 0.3).turned("x", 90).moved((0, tall * 0.45, 0))],
            (0, height, -depth / 2 + 0.06), lean=lean)  # fmt: skip
        rolled = maybe(rng, 0.4)
        for s in (-1, 1):
            x = s * (width + arm) / 2
            solids.append(cushion((arm, height + up - low, depth + 0.04), (x, low, 0.02), arm * 0.4, soft))
            if rolled:
                solids.append(rod((x + s * 0.01, height + up - 0.02, -depth / 2), (x + s * 0.01, height + up - 0.02, depth / 2 + 0.055),
                    arm * 0.62, arm * 0.62, soft, sides=20))  # fmt: skip
        if form == 1 and tall > 0.5:  # wings
            line = _smooth([(0, up - 0.04), (0.26, up - 0.02), (0.24, up + 0.12), (0.2, tall * 0.8), (0.08, tall + 0.02), (-0.05, tall)], 2)
            for s in (-1, 1):
                wing = _plate(line, 0.07, soft, edge=0.015).turned("y", -90)
                solids += _placed([wing], (s * (width / 2 + 0.03), height, -depth / 2 + 0.02), lean=lean * 0.7)
            parts.append(Parts(noun="wing", count=2))
        style = ("padded", *(("tall",) if tall > 0.6 else ()))
    if maybe(rng, 0.25):
        solids += _placed([_pillow(rng, 0.38, 0.36, fabric(rng))], (0, height + 0.01, -depth / 2 + 0.24), lean=20)
        parts.append(Parts(noun="pillow", count=1))
    return Thing(solids=tuple(solids), main=soft, style=style, parts=(feet, *parts))


def _lounge(rng: Rng) -> Thing:
    """Low and leant back: slats for the garden, or cushions on a frame of steel or wood."""
    width, depth, height = rng.uniform(0.54, 0.74), rng.uniform(0.52, 0.62), rng.uniform(0.32, 0.4)
    tall, lean, tilt = rng.uniform(0.5, 0.75), rng.uniform(20, 32), rng.uniform(5, 10)
    stand, parts, solids = frame(rng), [], []
    seat: list[Solid]
    form = rng.integers(3)
    if form == 0:
        soft = pick(rng, (wood, plastic))(rng)
        slats = int(rng.integers(4, 8))
        each = width / slats
        fan = rng.uniform(0, 0.12)
        seat = [_slab(width, 0.07, 0.02, (0, 0, -z), soft, 0.1) for z in np.arange(0.03, depth, 0.085)]
        back = []
        for i in range(slats):
            u = (2 * i + 1) / slats - 1
            back.append(_slab(each * 0.86, tall * (1 - fan * 2 * u * u), 0.018, (0, 0, 0), soft, 0.3).turned("x",
                -90).moved((u * width / 2, tall * (0.5 - fan * u * u), 0)))  # fmt: skip
        back += [box((width * 0.95, 0.06, 0.02), (0, y, -0.036), soft) for y in (0.1, tall * 0.6)]
        high = height + 0.2
        for s in (-1, 1):
            x = s * (width / 2 + 0.02)
            solids.append(_plate([(-0.03, 0), (0.06, 0), (0.06, height - 0.06), (-depth - 0.2, 0.1), (-depth - 0.24, 0)], 0.025,
                soft).turned("y", -90).moved((x, 0, depth / 2 - 0.06)))  # fmt: skip
            solids.append(box((0.03, high, 0.09), (x + s * 0.025, 0, depth / 2 - 0.1), soft))
            solids.append(box((0.03, high, 0.07), (x + s * 0.025, 0, -depth / 2 + 0.06), soft))
            solids.append(_slab(0.13, depth + 0.12, 0.022, (x + s * 0.03, high, -0.02), soft, 0.5))
        parts = [Parts(noun="armrest", count=2), Parts(noun="bar", count=slats)]
    else:
        soft = _soft(rng)
        thick = rng.uniform(0.08, 0.14)
        seat = [cushion((width, thick, depth), (0, 0, -depth / 2), 0.035, soft)]
        back = [cushion((width, tall, thick), (0, 0, thick / 2), 0.035, soft)]
        if maybe(rng, 0.5):
            seat += [_ball((x * width / 3, thick, -depth * (0.2 + 0.3 * z)), 0.012, soft) for x in (-1, 0, 1) for z in range(3)]
            back += [_ball((x * width / 3, tall * (0.25 + 0.25 * y), thick), 0.012, soft) for x in (-1, 0, 1) for y in range(3)]
        for s in (-1, 1):
            x = s * (width / 2 + 0.015)
            reach = tall * 0.9 * math.sin(math.radians(lean))
            if form == 1:  # two bent bars that cross
                curve = [(x, 0.016, depth / 2), (x, 0.1, depth * 0.2), (x, height * 0.8, -depth * 0.35),
                    (x, height + tall * 0.9, -depth / 2 - reach)]  # fmt: skip
                other = [(x, height - 0.02, depth / 2), (x, height * 0.75, depth * 0.2), (x, 0.12, -depth * 0.35),
                    (x, 0.016, -depth * 0.75)]  # fmt: skip
                solids += [_pipe(c, 0.016, stand, bend=1) for c in (curve, other)]
            else:
                high = height + 0.22
                solids += [rod((x, 0, depth * 0.45), (x, high, depth * 0.36), 0.014, 0.022, stand),
                    rod((x, 0, -depth * 0.6), (x, high, -depth * 0.45), 0.014, 0.022, stand)]  # fmt: skip
                solids.append(_slab(0.06, depth * 1.05, 0.03, (x, high - 0.01, -0.02), stand, 0.7))
                solids.append(box((0.03, 0.05, depth), (x - s * 0.01, height - 0.05, -0.02), stand))
        solids += [
            rod((-width / 2, height - 0.04, z), (width / 2, height - 0.04, z), 0.014, 0.014, stand) for z in (-depth * 0.35, depth * 0.35)
        ]
        parts = [Parts(noun="armrest", count=2, material=stand)] if form == 2 else [Parts(noun="leg", count=4, material=stand)]
    solids += _placed(seat, (0, height, depth / 2), lean=tilt)
    solids += _placed(back, (0, height - 0.09 + 0.02, -depth / 2 + 0.04), lean=lean)
    return Thing(solids=tuple(solids), main=soft, style=("low", *(("padded",) if form else ())), parts=tuple(parts))


def chair(rng: Rng) -> Thing:
    designs = (*(_joinery,) * 6, *(_shell,) * 3, *(_swivel,) * 3, *(_armchair,) * 3, *(_tubular,) * 2, _windsor, _folding, _lounge, _lounge)
    return pick(rng, designs)(rng)


# ------------------------------------------------------------------------------------------------- stools and benches


def stool(rng: Rng) -> Thing:
    """No back, or one too low to lean on: for the bar, the milk, the piano, the workshop, the camp, the step."""
    high = maybe(rng, 0.5)
    height = rng.uniform(0.6, 0.8) if high else rng.uniform(0.36, 0.52)
    across = rng.uniform(0.28, 0.37)
    timber, soft = pick(rng, (wood, wood, metal, plastic))(rng), _soft(rng)
    stand = pick(rng, (timber, timber, frame(rng)))
    round_, padded = maybe(rng, 0.6), maybe(rng, 0.45)
    corner, squash = (0.98 if round_ else rng.uniform(0.05, 0.3)), pick(rng, (1.0, 1.0, 0.75))
    solids: list[Solid] = []
    parts: list[Parts] = []
    style = ["round" if round_ else "square"]
    form = rng.integers(7)
    if form == 0:  # one column; a thin flat seat on it would make a table
        padded, high, height = True, True, max(height, 0.55)
        foot = rng.uniform(0.15, 0.2)
        solids.append(
            turned([(0, 0), (foot, 0), (foot, 0.008), (foot * 0.7, 0.025), (0.035, 0.05), (0.03, height), (0, height)], (0, 0, 0), stand)
        )
        solids.append(disc(0.06, 0.02, (0, height - 0.02, 0), stand))
        if maybe(rng, 0.8):
            solids += _footring(0.12, height * 0.35, stand)
    elif form == 1:
        padded = True
        more, parts = _star(rng, rng.uniform(0.22, 0.27), height, pick(rng, (STEEL, BLACK)), wheels=maybe(rng, 0.7))
        solids += more
        if high:
            solids += _footring(0.16, height * 0.35, STEEL)
    elif form == 2:  # legs on a circle, with a ring
        count = int(rng.integers(3, 5))
        spread = across * rng.uniform(0.42, 0.62)
        for turn in np.arange(count) * 360 / count + 45:
            solids.append(rod((0, 0, spread), (0, height + 0.005, across * 0.32), 0.012, 0.017, stand).turned("y", float(turn)))
        t = rng.uniform(0.25, 0.45)
        ring = np.linspace(0, 2 * math.pi, 33)
        radius = spread + (across * 0.32 - spread) * t
        if high or maybe(rng, 0.4):
            solids.append(tube(np.stack([np.sin(ring) * radius, np.full(33, height * t), np.cos(ring) * radius], 1), 0.009, stand, sides=8))
        parts.append(Parts(noun="leg", count=count, material=stand))
    elif form == 3:  # legs that cross
        for x in (-across * 0.42, across * 0.42):
            solids += [rod((x, 0.012, s * across * 0.55), (x * 0.97, height, -s * across * 0.42), 0.013, 0.013, stand) for s in (-1, 1)]
        solids += [rod((-across * 0.42, y, z), (across * 0.42, y, z), 0.012, 0.012, stand) for y,
            z in ((height * 0.51, 0.0), (0.1, across * 0.45), (0.1, -across * 0.45))]  # fmt: skip
        corner, round_, squash, style = 0.12, False, 1.0, ["square", "folding"]
        parts.append(Parts(noun="leg", count=4, material=stand))
    elif form == 4:  # boards, as of a step stool
        squash, corner, round_, style = rng.uniform(0.6, 0.8), 0.1, False, ["square"]
        deep, splay = across * squash * 0.85, rng.uniform(0, 10)
        step = high or maybe(rng, 0.3)
        for s in (-1, 1):
            arch = [(-deep * 0.5, 0), (-deep * 0.25, 0), (0, 0.08), (deep * 0.25, 0), (deep * 0.5, 0), (deep * 0.42, height),
                (-deep * 0.42, height)]  # fmt: skip
            if step:
                arch = [(-deep * 0.5, 0), (deep * 1.3, 0), (deep * 1.3, height * 0.5), (deep * 0.5, height * 0.5), (deep * 0.45, height),
                    (-deep * 0.45, height)]  # fmt: skip
            solids.append(
                _plate(arch, 0.022, timber).turned("y", -90).turned("z", s * (0 if step else splay)).moved((s * across * 0.38, 0.0, 0))
            )
        solids = [s.moved((0, -float(s.vertices[:, 1].min()), 0)) for s in solids]
        if step:
            solids.append(_slab(across * 0.98, deep * 0.9, 0.024, (0, height * 0.5 - 0.005, deep * 0.9), timber, 0.1))
            parts.append(Parts(noun="step", count=2))
        else:
            solids.append(box((across * 0.72, 0.06, 0.02), (0, height * 0.6, 0), timber))
        padded = padded and not step
    else:
        wide = across * pick(rng, (0.95, 1.1))
        more, feet = _feet(rng, wide, wide * squash, height, rng.uniform(0.026, 0.042), stand, brace=0.8 if high else 0.4)
        solids += more
        parts.append(feet)
        if not round_:
            solids.append(box((wide * 0.86, 0.05, wide * squash * 0.86), (0, height - 0.05, 0), stand))
    wide = across * 1.08
    if padded:
        solids.append(_pad(wide, wide * squash, rng.uniform(0.06, 0.13), (0, height - 0.01, 0), soft, corner))
        style.append("padded")
    elif form == 3 or (maybe(rng, 0.4) and form != 4):  # hollowed like a saddle
        u, v = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(1, -1, 9), indexing="ij")
        dish = np.stack([u * wide * 0.55, height + 0.02 + 0.045 * u**2, v * wide * 0.42 * (1 - 0.12 * u**4)], axis=2)
        solids.append(_sheet(dish, 0.028, timber))
    else:
        solids.append(_slab(wide, wide * squash, rng.uniform(0.03, 0.06), (0, height - 0.005, 0), timber, corner))
    if high and form in (0, 1, 5, 6) and maybe(rng, 0.35):
        rest, tall = soft if padded else timber, rng.uniform(0.14, 0.24)
        solids.append(_bow(wide * 0.95, tall * 0.6, 0.07, (0, height + tall * 0.6, -wide * squash * 0.5 - 0.02), 0.03, rest))
        solids += [rod((s * wide * 0.25, height + 0.005, -wide * squash * 0.4),
            (s * wide * 0.25, height + tall, -wide * squash * 0.5 - 0.025), 0.01, 0.01, stand) for s in (-1, 1)]  # fmt: skip
        parts.append(Parts(noun="backrest", count=1))
    elif form in (5, 6) and not high and maybe(rng, 0.2):  # handles of a stool for the bath or the bedside
        for s in (-1, 1):
            x = s * wide * 0.5
            solids.append(_pipe([(x * 0.9, height - 0.03, -0.08), (x * 1.15, height + 0.05, -0.08), (x * 1.15, height + 0.05, 0.08),
                (x * 0.9, height - 0.03, 0.08)], 0.01, stand, bend=0.03))  # fmt: skip
        parts.append(Parts(noun="handle", count=2))
    style.append("tall" if high else "low")
    return Thing(solids=tuple(solids), main=soft if padded else timber, style=tuple(style), parts=tuple(parts))


def _footring(radius: float, y: float, stand: Material) -> list[Solid]:
    """A ring for the feet around a column, and its spokes."""
    angle = np.linspace(0, 2 * math.pi, 33)
    ring = tube(np.stack([np.sin(angle) * radius, np.full(33, y), np.cos(angle) * radius], 1), 0.01, stand, sides=8)
    return [ring, *(rod((0, y, -s * radius), (0, y, s * radius), 0.007, 0.007, stand, sides=8).turned("y", turn) for s in (1,)
        for turn in (0, 90))]  # fmt: skip


def bench(rng: Rng) -> Thing:
    """For two and more: of the park, the hall, the church, the bed's foot, the waiting room."""
    length, depth, height = rng.uniform(1.05, 2.0), rng.uniform(0.36, 0.5), rng.uniform(0.4, 0.47)
    timber, stand, soft = wood(rng), pick(rng, (STEEL, BLACK, wood(rng), metal(rng))), _soft(rng)
    half, solids = length / 2 - rng.uniform(0.06, 0.2), []
    parts: list[Parts] = []
    style: list[str] = []
    form = rng.integers(8)
    tall, lean = rng.uniform(0.34, 0.5), rng.uniform(5, 14)
    if form <= 2:  # the park's: boards on two or three sides of iron, stone or wood
        planks, rails = int(rng.integers(2, 7)), int(rng.integers(1, 6)) if maybe(rng, 0.85) else 0
        depth *= 1.0 if rails else 0.8  # else it would be a low table
        each = (depth + 0.02) / planks
        solids += [_slab(length, each * 0.84, 0.03, (0, height - 0.002, -depth / 2 + (i + 0.5) * each), timber, 0.1) for i in range(planks)]
        where = (-half, 0.0, half) if length > 1.6 and maybe(rng, 0.5) else (-half, half)
        armed = rails > 0 and maybe(rng, 0.6)
        side = rng.integers(4)
        concrete = pick(rng, (stand, stone(rng)))
        for x in where:
            if side == 0:
                solids.append(_loft([_loop(0.12, depth * f, y, 0, x, front=0.2) for f,
                    y in ((0.9, 0), (0.8, 0.1), (0.8, height - 0.1), (0.95, height))], concrete))  # fmt: skip
            elif side == 1:
                solids += [_pipe([(x, 0.018, z * (depth / 2 + 0.05)), (x, height * 0.3, z * depth * 0.5),
                    (x, height * 0.7, z * depth * 0.2), (x, height - 0.015, z * depth * 0.45)], 0.018, stand, bend=1)
                    for z in (-1, 1)]  # fmt: skip
                solids.append(box((0.04, 0.035, depth), (x, height - 0.035, 0), stand))
            else:
                out = 0.08 if side == 2 else 0.0
                solids += [rod((x, 0, z * (depth / 2 + out)), (x, height, z * depth * 0.4), 0.022, 0.026, stand) for z in (-1, 1)]
                solids += [box((0.045, 0.05, depth * 0.95), (x, height - 0.05, 0), stand),
                    box((0.03, 0.04, depth * 0.9), (x, height * 0.35, 0), stand)]  # fmt: skip
            if rails:
                solids += _placed(
                    [box((0.045, tall + 0.1, 0.03), (x, -0.08, -0.035), stand)], (0, height + 0.02, -depth / 2 + 0.01), lean=lean
                )
        if rails:
            part = tall / rails
            upright = maybe(rng, 0.25)
            back = [_slab(length, part * 0.8, 0.024, (0, 0, 0), timber, 0.1).turned("x", 90).moved((0, 0.08 + (i + 0.5) * part, -0.02))
                for i in range(rails)]  # fmt: skip
            if upright:
                bars = np.arange(-length / 2 + 0.05, length / 2, 0.085)
                back = [box((length, 0.05, 0.035), (0, y, -0.02), timber) for y in (0.04, tall)]
                back += [box((0.035, tall - 0.05, 0.018), (float(x), 0.06, -0.02), timber) for x in bars]
            solids += _placed(back, (0, height + 0.02, -depth / 2 + 0.01), lean=lean)
            parts += [] if upright else [Parts(noun="backrest board", count=rails)]
            style += ["tall"] if tall > 0.45 else []
        if armed:
            up = height + rng.uniform(0.18, 0.24)
            curl = maybe(rng, 0.5)
            for x in (-half, half):
                if curl:
                    solids.append(_pipe([(x, up + 0.03, -depth / 2 - 0.05), (x, up, depth * 0.2), (x, up - 0.02, depth / 2 + 0.02),
                        (x, up - 0.12, depth * 0.48), (x, height - 0.02, depth * 0.4)], 0.018, stand, bend=1))  # fmt: skip
                else:
                    solids += [_slab(0.06, depth + 0.06, 0.03, (x, up, 0), stand, 0.4),
                        box((0.045, up - height + 0.05, 0.045), (x, height - 0.04, depth * 0.4), stand)]  # fmt: skip
            parts.append(Parts(noun="armrest", count=2))
        main = timber
    elif form == 3:  # a plain plank on boards, blocks or legs
        main = pick(rng, (timber, stone(rng)))
        thick = rng.uniform(0.035, 0.1)
        solids.append(_slab(length, depth, thick, (0, height - thick, 0), main, pick(rng, (0.05, 0.3))))
        under = height - thick + 0.004
        match rng.integers(4):
            case 0:
                solids += [_loft([_loop(0.08, depth * 0.9, 0, 0, s * half, front=0.1),
                    _loop(0.08, depth * 0.75, under, 0, s * half, front=0.1)], main) for s in (-1, 1)]  # fmt: skip
            case 1:
                solids += [_plate([(-depth / 2, 0), (-depth * 0.25, 0), (0, 0.12), (depth * 0.25, 0), (depth / 2, 0), (depth * 0.4, under),
                    (-depth * 0.4, under)], 0.04, main).turned("y", -90).moved((s * half, 0, 0)) for s in (-1, 1)]  # fmt: skip
                solids.append(box((2 * half, 0.09, 0.03), (0, under - 0.12, 0), main))
            case 2:
                for s in (-1, 1):
                    solids.append(_pipe([(s * half, under, -depth * 0.42), (s * half, 0.012, -depth * 0.46),
                        (s * half, 0.012, depth * 0.46), (s * half, under, depth * 0.42)], 0.014, stand, bend=0.02))  # fmt: skip
            case _:
                more, feet = _feet(rng, length - 0.1, depth * 0.9, under, 0.055, timber)
                solids += more
                parts.append(feet)
        if maybe(rng, 0.3):
            solids.append(_pad(length * 0.98, depth * 0.96, 0.06, (0, height - 0.004, 0), soft, 0.15))
            style.append("padded")
    elif form == 4:  # upholstered
        main = soft
        more, feet = _feet(rng, length, depth, height - 0.1, 0.05, timber, brace=0.2)
        solids += [*more, cushion((length, 0.1, depth), (0, height - 0.13, 0), 0.02, soft),
            _pad(length + 0.01, depth + 0.01, 0.1, (0, height - 0.06, 0), soft, 0.15)]  # fmt: skip
        style.append("padded")
        parts.append(feet)
        arms = maybe(rng, 0.5)
        if arms:
            for s in (-1, 1):
                edge = length / 2
                roll = _smooth([(s * edge, height - 0.12), (s * (edge + 0.02), height + 0.1), (s * (edge + 0.08), height + 0.2)])
                sides = [np.column_stack([roll, np.full(len(roll), z)]) for z in (s * depth / 2, -s * depth / 2)]
                solids.append(_sheet(np.stack(sides), 0.05, soft))
                x, y = s * (edge + 0.1), height + 0.2
                solids.append(rod((x, y, -depth / 2 - 0.01), (x, y, depth / 2 + 0.01), 0.055, 0.055, soft))
            parts.append(Parts(noun="armrest", count=2))
    elif form == 5:  # a chest to sit on, or a pew: closed to the floor
        main, pew = timber, maybe(rng, 0.5)
        t = 0.035
        for s in (-1, 1):
            line = [(-depth / 2 - 0.1, 0), (depth / 2, 0), (depth / 2, height + 0.1), (depth * 0.3, height + 0.26),
                (-depth * 0.2, height + 0.24), (-depth * 0.35, height + tall), (-depth / 2 - 0.1, height + tall + 0.04)]  # fmt: skip
            solids.append(_plate(line, 0.045, timber).turned("y", -90).moved((s * length / 2, 0, 0)))
        solids.append(_slab(length, depth + 0.02, t, (0, height - t, 0), timber, 0.1))
        solids += _placed([box((length, tall, 0.025), (0, 0, 0), timber)], (0, height - 0.02, -depth / 2 + 0.01), lean=lean * 0.6)
        parts.append(Parts(noun="armrest", count=2))
        if pew:
            solids.append(box((length, 0.1, 0.02), (0, height - 0.14, depth * 0.35), timber))
        else:
            columns = int(rng.integers(1, 4))
            more, said = drawers(
                rng, (length - 0.03, height - t - 0.06, depth - 0.04), (0, 0.06, 0), 1, columns, timber, pick(rng, (STEEL, BRASS, BLACK))
            )
            solids += [*more, box((length, 0.06, depth - 0.08), (0, 0, 0), timber)]
            parts.append(said)
        if maybe(rng, 0.4):
            solids.append(_pad(length - 0.06, depth - 0.06, 0.06, (0, height - 0.004, 0.01), soft, 0.1))
            style.append("padded")
    elif form == 6:  # seats in a row on a beam
        main = pick(rng, (plastic, metal, leather))(rng)
        seats = int(rng.integers(2, 5))
        flank = _smooth([(depth / 2, height - 0.02), (depth / 2 - 0.05, height + 0.01), (-depth * 0.45, height - 0.03),
            (-depth * 0.5, height + 0.05), (-depth * 0.72, height + tall)])  # fmt: skip
        for i in range(seats):
            u, v = np.meshgrid(np.linspace(-1, 1, 9), np.arange(len(flank)), indexing="ij")
            k = v.astype(int)
            grid = np.stack([u * 0.25 + (i - (seats - 1) / 2) * 0.55, flank[k, 1] + 0.02 * u**4, flank[k, 0] + 0.03 * u**4], axis=2)
            solids.append(_sheet(grid, 0.025, main))
        wide = seats * 0.55
        solids.append(box((wide, 0.05, 0.07), (0, height - 0.1, -0.05), stand))
        for s in (-1, 1):
            x = s * wide * 0.36
            solids += [box((0.05, height - 0.07, 0.05), (x, 0, -0.05), stand),
                cushion((0.06, 0.03, depth * 1.1), (x, 0, -0.03), 0.01, stand)]  # fmt: skip
        solids += [rod((x, height - 0.08, -0.05), (x, height - 0.035, -0.1), 0.015, 0.015, stand)
            for x in (np.arange(seats) - (seats - 1) / 2) * 0.55]  # fmt: skip
        parts.append(Parts(noun="seat", count=seats))
        if maybe(rng, 0.5):
            for x in (np.arange(seats + 1) - seats / 2) * 0.55:
                solids.append(
                    _pipe([(x, height - 0.07, -0.05), (x, height + 0.2, -0.2), (x, height + 0.21, 0.12)], 0.014, stand, bend=0.04)
                )
            parts.append(Parts(noun="armrest", count=seats + 1))
    else:  # curved in plan
        main = pick(rng, (timber, stone(rng)))
        sweep, radius = rng.uniform(0.5, 1.1), length * rng.uniform(0.8, 1.0)
        backed = maybe(rng, 0.6)
        a = np.linspace(-sweep / 2, sweep / 2, 25) * 1.2
        thick = rng.uniform(0.04, 0.08)
        arc = np.stack([np.sin(a), 0 * a, 1 - np.cos(a)], axis=1)
        rims = [arc * (radius + r) + (0, height, -r) for r in (-depth / 2, depth / 2)]
        solids.append(_sheet(np.stack(rims, axis=1), thick, main))
        for i in (3, 12, 21):
            turn = math.degrees(float(a[i]))
            solids += [_loft([_loop(0.12, depth * 0.8, y, front=0.15) for y in (0, height - thick + 0.004)], main).turned("y",
                -turn).moved((float(arc[i, 0] * radius), 0, float(arc[i, 2] * radius)))]  # fmt: skip
        if backed:
            rim = arc * (radius + depth / 2) + (0, height - 0.01, -depth / 2)
            solids.append(_sheet(np.stack([rim, rim + (0, tall, 0) + arc * 0.1 - (0, 0, 0.08)], axis=1), 0.04, main))
        style.append("curved")
        parts += [Parts(noun="backrest", count=1)] if backed else []
    style += ["wide"] if length > 1.7 and form != 6 else []
    return Thing(solids=tuple(solids), main=main, style=tuple(style), parts=tuple(parts[:4]))


# -------------------------------------------------------------------------------------------------------- sofas and beds


def _sofa_arm(form: int, arm: float, tall: float, depth: float, low: float, soft: Material, stand: Material) -> list[Solid]:
    """The arm on the right, around X = 0, that stands on Y = 0, which is `low` above the floor."""
    match form:
        case 0:
            return [cushion((arm, tall, depth), (0, 0, 0), min(0.03, arm / 3), soft)]
        case 1:  # rolled
            r = arm * 0.62
            roll = rod((0.02, tall - r, -depth / 2), (0.02, tall - r, depth / 2 + 0.012), r, r, soft, sides=24)
            return [cushion((arm * 0.9, tall - r, depth), (0, 0, 0), 0.02, soft), roll,
                disc(r * 0.75, 0.008, (0, 0, 0), soft).turned("x", 90).moved((0.02, tall - r, depth / 2 + 0.012))]  # fmt: skip
        case 2:
            return [cushion((arm, tall, depth), (0, 0, 0), arm * 0.48, soft)]
        case 3:  # falls to the front
            line = _smooth([(-depth / 2, 0), (depth / 2, 0), (depth / 2, tall * 0.72), (depth * 0.1, tall * 0.8),
                (-depth * 0.3, tall * 1.2), (-depth / 2, tall * 1.25)], 2)  # fmt: skip
            return [_plate(line, arm * 0.8, soft, edge=0.02).turned("y", -90)]
        case _:  # a frame of wood
            posts = [rod((0, -low, z), (0, tall, z * 0.9), 0.016, 0.022, stand) for z in (-depth * 0.42, depth * 0.42)]
            return [*posts, _slab(0.07, depth * 0.98, 0.03, (0, tall - 0.01, 0), stand, 0.6),
                rod((0, 0.06, -depth * 0.42), (0, 0.06, depth * 0.42), 0.018, 0.018, stand)]  # fmt: skip


def sofa(rng: Rng) -> Thing:
    seats = int(rng.choice((1, 2, 2, 3, 3, 3, 4)))
    each, depth = rng.uniform(0.54, 0.72), rng.uniform(0.74, 0.95)
    low, seat = rng.uniform(0.05, 0.16), rng.uniform(0.38, 0.46)
    soft, stand = _soft(rng), pick(rng, (wood(rng), BLACK, STEEL, BRASS))
    form = int(rng.choice((0, 0, 1, 1, 2, 3, 4, -1)))
    arm = 0.06 if form == 4 else rng.uniform(0.1, 0.26) if form >= 0 else 0.0
    inner = seats * each
    width, thick, back, up = inner + 2 * arm, rng.uniform(0.12, 0.2), rng.uniform(0.3, 0.52), rng.uniform(0.12, 0.26)
    corner = seats >= 2 and form != 4 and maybe(rng, 0.25)
    hand, long = pick(rng, (-1, 1)), rng.uniform(0.6, 1.1)
    solids, feet = _feet(rng, width - 0.06 - 0.5 * arm, depth - 0.06, low + 0.02, 0.055, stand, brace=0)
    parts = [replace(feet, count=6 if corner else 4)]
    solids = [] if form == 4 else solids  # there the arms go on as legs
    if form != 4 and maybe(rng, 0.2):  # down to the floor
        low, solids, parts = 0.01, [box((width - 0.06, 0.05, depth - 0.06), (0, 0, 0), BLACK)], []
    base = seat - thick - low + 0.02
    solids.append(cushion((inner + 0.02, base, depth), (0, low, 0), 0.025, soft))
    hind, stuff = -depth / 2, rng.uniform(0.14, 0.2)
    shape = rng.integers(4)
    half = inner / 2 if form in (0, 2, 3) and maybe(rng, 0.5) else width / 2 - 0.005
    if shape == 0 or corner:
        solids.append(cushion((2 * half, seat + back - low, stuff), (0, low, hind + stuff / 2), 0.05, soft))
    else:  # with a line of its own along the top
        u = np.linspace(1, -1, 33)
        crest = (np.cos(u * math.pi) * 0.06, -0.14 * np.abs(u) ** 3, 0.05 * np.abs(np.sin(u * math.pi * 1.5)))[shape - 1]
        line = np.concatenate([[(-half, low), (half, low)], np.stack([u * half, seat + back + crest], 1)])
        solids.append(_plate(line, stuff, soft, edge=0.03).moved((0, 0, hind + stuff / 2)))
    if form == 1 and maybe(rng, 0.6):  # rolled over behind as the arms are
        solids.append(rod((-half, seat + back - 0.03, hind + 0.04), (half, seat + back - 0.03, hind + 0.04), 0.09, 0.09, soft, sides=20))
    for s in (-1, 1) if form >= 0 else ():
        if not (corner and s == hand):
            pieces = _sofa_arm(form, arm, seat + up - low, depth + 0.01, low, soft, stand)
            mirror = [p.turned("y", 0 if s > 0 else 180) for p in pieces] if form != 3 else pieces
            if form in (1, 4) and s < 0:  # a half turn would put the front of a roll behind
                mirror = [p.moved((-2 * float(p.vertices[:, 0].min() + p.vertices[:, 0].max()) / 2, 0, 0)) for p in pieces]
            solids += [p.moved((s * (width - arm) / 2, low, 0)) for p in mirror]
    count = pick(rng, (seats, seats, 1 if seats < 4 else 2))
    part = inner / count
    cushioned, tufted = maybe(rng, 0.7), maybe(rng, 0.3)
    puff = maybe(rng, 0.5)
    cloth = pick(rng, (soft, soft, soft, fabric(rng)))
    for i in range(count):
        x = (i - (count - 1) / 2) * part
        size = (part - 0.008, thick, depth - stuff - 0.01)
        solids.append(_pad(size[0], size[2], thick + 0.03, (x, seat - thick, stuff / 2 + 0.015), cloth, 0.12) if puff
            else cushion(size, (x, seat - thick, stuff / 2 + 0.01), 0.04, cloth))  # fmt: skip
        if cushioned:
            tall = back + rng.uniform(-0.04, 0.06)
            rest = (_pad(part - 0.015, tall, 0.17, (0, 0, 0), cloth, 0.25).turned("x", 90).moved((0, tall / 2, 0)) if puff
                else cushion((part - 0.015, tall, 0.15), (0, 0, 0.07), 0.05, cloth))  # fmt: skip
            solids += _placed([rest], (x, seat - 0.015, hind + stuff - 0.01), lean=9)
    if tufted and not cushioned:
        rows = int(rng.integers(2, 4))
        for row in range(rows):
            for x in np.arange(-inner / 2 + 0.1 + 0.06 * (row % 2), inner / 2 - 0.05, 0.17):
                solids.append(_ball((float(x), seat + 0.1 + row * (back - 0.12) / rows, hind + stuff), 0.013, stand))
    if corner:
        deep, x = each + 0.1, hand * (inner / 2 + arm + (each + 0.1) / 2 - 0.01 - arm)
        z = depth / 2 + long / 2 - 0.01
        x = hand * (inner / 2 - deep / 2 + arm)
        solids.append(cushion((deep, base, long), (x, low, z), 0.025, soft))
        solids.append(_pad(deep - 0.01, long, thick + 0.03, (x, seat - thick, z), cloth, 0.12) if puff
            else cushion((deep - 0.01, thick, long), (x, seat - thick, z), 0.04, cloth))  # fmt: skip
        solids += [rod((x + s * deep * 0.4, 0, depth / 2 + long - 0.06), (x + s * deep * 0.4, low + 0.02, depth / 2 + long - 0.06), 0.02,
            0.025, stand) for s in (-1, 1)]  # fmt: skip
        side = hand * (width / 2 - stuff / 2)
        if maybe(rng, 0.5):  # the back goes around
            solids.append(cushion((stuff, seat + back - low, long + depth - 0.02), (side + hand * stuff * 0.5, low, long / 2), 0.05, soft))
        elif form >= 0:
            solids.append(
                cushion((max(arm, 0.1), seat + up - low, depth), (hand * (width / 2 + max(arm, 0.1) / 2 - 0.01), low, 0), 0.03, soft)
            )
    pillows = int(rng.integers(1, 5)) if maybe(rng, 0.45) else 0
    pillows = min(pillows, 2 * seats)
    colors = (fabric(rng), fabric(rng))
    if pillows:
        for i in range(pillows):
            side, row = (-1, 1)[i % 2], i // 2
            at = (side * (inner / 2 - 0.2 - 0.2 * row), seat + 0.01, hind + stuff + (0.2 if cushioned else 0.08) + 0.09 * (1 - row))
            solids += _placed([_pillow(rng, 0.42, 0.4, colors[row])], at, lean=18, turn=-14 * side)
        parts.append(Parts(noun="pillow", count=pillows))
    arms = (form >= 0) * (1 if corner else 2)
    parts += [Parts(noun="cushion", count=count)] if not corner else []
    parts += [Parts(noun="armrest", count=arms)] if arms and not corner else []
    style = ("corner",) if corner else ("wide",) if seats >= 3 else ()
    return Thing(solids=tuple(solids), main=soft, style=style, parts=tuple(parts[:4]))


def _mattress(
    rng: Rng, width: float, length: float, top: float, thick: float, blanket: Material, linen: Material
) -> tuple[list[Solid], int]:
    """A mattress that lies at `top`, what lies on it, and how many pillows there are."""
    solids = [cushion((width, thick, length), (0, top, 0), 0.05, linen)]
    up = top + thick
    if maybe(rng, 0.8):  # a cover that hangs over the sides
        cover, drop = rng.uniform(0.5, 0.8) * length, thick * rng.uniform(0.4, 0.9)
        z = (length - cover) / 2 + 0.01
        solids.append(cushion((width + 0.04, drop + 0.03, cover), (0, up - drop, z), 0.05, blanket))
        if maybe(rng, 0.5):
            solids.append(cushion((width + 0.05, 0.06, 0.22), (0, up - 0.015, z - cover / 2 + 0.1), 0.028, linen))
        if maybe(rng, 0.25):
            solids.append(
                cushion((width + 0.06, drop * 0.9 + 0.03, length * 0.16), (0, up - drop * 0.88 + 0.01, length * 0.3), 0.045, fabric(rng))
            )
    pillows = int(rng.integers(0, 3)) if width < 1.2 else int(rng.choice((2, 2, 3, 4, 4)))
    abreast, lying = (1 if width < 1.2 else 2), rng.uniform(30, 75)
    for i in range(pillows):
        x = (i % abreast - (abreast - 1) / 2) * width * 0.47 if pillows != 3 or i < 2 else 0.0
        row = i // abreast
        size = (min(0.72, width * 0.44 if abreast == 2 else width * 0.7) * (1 - 0.12 * row), 0.42)
        cloth = linen if row == 0 else blanket
        lean = 38 if row else lying
        z = -length / 2 + 0.1 + 0.42 * math.sin(math.radians(lean)) + 0.2 * row  # its top just reaches the head of the bed
        solids += _placed([_pillow(rng, *size, cloth)], (x, up - 0.02, z), lean=lean)
    return solids, pillows


def _headboard(rng: Rng, width: float, tall: float, low: float, timber: Material, soft: Material) -> tuple[list[Solid], tuple[Parts, ...]]:
    """An upright end of a bed around Z = 0, from the floor to `tall`; `low` is where the mattress begins."""
    half = width / 2
    posts = [rod((s * (half - 0.02), 0, 0), (s * (half - 0.02), tall, 0), 0.028, 0.028, timber) for s in (-1, 1)]
    knobs = [_ball((s * (half - 0.02), tall + 0.02, 0), 0.042, timber) for s in (-1, 1)]
    count = int(rng.integers(3, 10))
    match rng.integers(7):
        case 0:
            return [_plate([(-half, 0), (half, 0), (half, tall), (-half, tall)], 0.045, timber)], ()
        case 1:  # arched or with shoulders
            u = np.linspace(1, -1, 29)
            crest = pick(rng, (0.18 * (1 - u**2), 0.1 * np.cos(u * math.pi), 0.12 * (np.abs(u) < 0.7))) * min(1.0, tall)
            return [_plate(np.concatenate([[(-half, 0), (half, 0)], np.stack([u * half, tall - 0.05 + crest], 1)]), 0.05, timber)], ()
        case 2:  # upholstered
            cols = int(rng.integers(1, 5))
            pads = [_pad(width / cols, tall - low, 0.1, (0, 0, 0), soft, 0.1).turned("x",
                90).moved(((i - (cols - 1) / 2) * width / cols, (tall + low) / 2, -0.02)) for i in range(cols)]  # fmt: skip
            if cols == 1:
                pads += [_ball((float(x), y, 0.08), 0.014, soft) for x in np.linspace(-0.4, 0.4, 5) * width
                    for y in (low + (tall - low) * 0.5, low + (tall - low) * 0.8)]  # fmt: skip
            return [box((width, tall - 0.02, 0.04), (0, 0, -0.03), soft), *pads], ()
        case 3:
            bars = [rod((float(x), low - 0.05, 0), (float(x), tall - 0.04, 0), 0.012, 0.012, timber, sides=10)
                for x in np.linspace(-half, half, count + 2)[1:-1]]  # fmt: skip
            rails = [box((width - 0.03, 0.05, 0.03), (0, y, 0), timber) for y in (tall - 0.08, low - 0.06)]
            return [*posts, *(knobs if maybe(rng, 0.5) else ()), *rails, *bars], (Parts(noun="headboard bar", count=count),)
        case 4:
            each = (tall - low) / max(2, count // 2)
            slats = [box((width - 0.03, each * 0.7, 0.022), (0, low + i * each, 0), timber) for i in range(max(2, count // 2))]
            return [*posts, *slats], ()
        case 5:  # a hoop with bars
            a = np.linspace(0, math.pi, 25)
            rise = min(0.3, (tall - low) * 0.6)
            arch = np.stack([np.cos(a) * (half - 0.02), tall - rise + np.sin(a) * rise, 0 * a], axis=1)
            bars = []
            for x in np.linspace(-half, half, count + 2)[1:-1]:
                top = tall - rise + rise * math.sqrt(max(0.0, 1 - (float(x) / half) ** 2))
                bars.append(rod((float(x), low - 0.03, 0), (float(x), top, 0), 0.01, 0.01, timber, sides=10))
            sides = [rod((s * (half - 0.02), 0, 0), (s * (half - 0.02), tall - rise + 0.02, 0), 0.022, 0.022, timber) for s in (-1, 1)]
            return [*sides, tube(arch, 0.02, timber), box((width - 0.04, 0.03, 0.025), (0, low - 0.04, 0), timber), *bars], (
                Parts(noun="headboard bar", count=count),
            )
        case _:  # frame and panels
            cols = int(rng.integers(2, 5))
            wide = (width - 0.08) / cols
            panels = [cushion((wide - 0.07, tall - low - 0.16, 0.03), ((i - (cols - 1) / 2) * wide, low + 0.05, 0.016), 0.01, timber)
                for i in range(cols)]  # fmt: skip
            cap = _slab(width + 0.06, 0.1, 0.03, (0, tall - 0.005, 0), timber, 0.2)
            return [box((width, tall, 0.035), (0, 0, -0.005), timber), *panels, cap], ()


def bed(rng: Rng) -> Thing:
    """Its head is behind, its foot in front."""
    double = maybe(rng, 0.6)
    width, length, low = rng.uniform(1.35, 1.95) if double else rng.uniform(0.85, 1.15), rng.uniform(1.92, 2.15), rng.uniform(0.16, 0.38)
    timber, blanket = pick(rng, (wood, wood, wood, metal))(rng), fabric(rng)
    linen = pick(rng, (WHITE, WHITE, fabric(rng, "beige"), fabric(rng)))
    if not double and maybe(rng, 0.3):
        return _bunk(rng, width, length, timber, blanket, linen)
    thick, parts = rng.uniform(0.16, 0.28), []
    style: list[str] = ["wide"] if double else ["slim"]
    solids: list[Solid] = []
    end = length / 2 + 0.05
    board = rng.uniform(0.75, 1.3)
    soft = pick(rng, (blanket, _soft(rng)))
    form = rng.integers(6)
    if form == 0:  # a chest with drawers
        columns = int(rng.integers(1, 3))
        knob = pick(rng, (STEEL, BLACK, BRASS))
        solids.append(box((width, low + 0.08, length), (0, 0, 0), timber))
        side = pick(rng, (-1, 1))
        more, _ = drawers(rng, (length * 0.96, low, 0.2), (0, 0.04, width / 2 - 0.1 + 0.01), 1, columns, timber, knob)
        solids += [part.turned("y", 90 * side) for part in more]
        parts.append(Parts(noun="drawer", count=columns))
    elif form == 1:  # upholstered frame
        timber = soft
        solids += [cushion((width + 0.08, low + 0.06, length + 0.08), (0, 0.02 if low < 0.25 else 0.06, 0), 0.035, soft)]
        solids += legs(rng, width, length, 0.09, 0.06, BLACK)[0]
    elif form == 2:  # a platform wider than the mattress
        solids.append(_slab(width + 0.24, length + 0.14, 0.07, (0, low + 0.01, 0.02), timber, 0.06))
        solids.append(box((width * 0.8, low + 0.02, length * 0.85), (0, 0, 0), pick(rng, (timber, BLACK))))
        style.append("low")
    else:
        more, feet = _feet(rng, width, length, low, 0.085, timber, brace=0)
        solids += more
        solids += [box((0.035, 0.16, length), (s * (width / 2 - 0.02), low - 0.08, 0), timber) for s in (-1, 1)]
        solids += [box((width - 0.04, 0.14, 0.03), (0, low - 0.07, s * (length / 2 - 0.02)), timber) for s in (-1, 1)]
        solids.append(box((width - 0.04, 0.03, length - 0.04), (0, low + 0.03, 0), timber))
        parts.append(feet)
    top = low + 0.06
    bedding, pillows = _mattress(rng, width - 0.05, length - 0.04, top, thick, blanket, linen)
    solids += bedding
    if pillows:
        parts.append(Parts(noun="pillow", count=pillows))
    sleigh = maybe(rng, 0.12)
    footed = maybe(rng, 0.45)
    if sleigh:
        for s, tall in ((-1, 1.05), (1, 0.75)):
            line = _smooth([(0, 0.02), (0.0, low + 0.1), (0.02, tall * 0.7), (0.12, tall), (0.22, tall * 0.98), (0.22, tall * 0.88)])
            grid = np.stack(
                [np.stack([np.full(len(line), x), line[:, 1], s * (end + line[:, 0])], 1) for x in (-s * width / 2, s * width / 2)][::-1]
            )
            solids.append(_sheet(grid, 0.05, timber))
        parts.append(Parts(noun="footboard", count=1))
        style.append("curved")
    elif maybe(rng, 0.9):
        state = rng.bit_generator.state
        more, words = _headboard(rng, width + pick(rng, (0.04, 0.04, 0.3)) * (form != 3), board, top, timber, soft)
        solids += _placed(more, (0, 0, -end))
        if footed:
            after = rng.bit_generator.state
            rng.bit_generator.state = state  # the same design again, lower
            more, _ = _headboard(
                rng, width + pick(rng, (0.04, 0.04, 0.3)) * (form != 3), max(top + thick * 0.6, board * 0.62), top * 0.6, timber, soft
            )
            rng.bit_generator.state = after
            solids += _placed(more, (0, 0, end))
            parts.append(Parts(noun="footboard", count=1))
        parts += words
    if maybe(rng, 0.15):  # four posts, with curtains or a roof
        high, r = rng.uniform(1.8, 2.15), 0.03
        cloth = fabric(rng)
        for x, z in four(width + 0.06, 2 * end):
            solids.append(turned([(0, 0), (r * 1.3, 0), (r * 1.3, low + 0.2), (r, low + 0.3), (r * 1.3, high * 0.5), (r * 0.7, high * 0.6),
                (r, high), (0, high)], (x, 0, z), timber, sides=14))  # fmt: skip
        roof = rng.integers(3)
        solids += [
            rod((s * (width / 2 + 0.03), high - r, -end), (s * (width / 2 + 0.03), high - r, end), 0.02, 0.02, timber) for s in (-1, 1)
        ]
        solids += [rod((-width / 2 - 0.03, high - r, s * end), (width / 2 + 0.03, high - r, s * end), 0.02, 0.02, timber) for s in (-1, 1)]
        if roof == 0:
            solids.append(cushion((width + 0.16, 0.12, 2 * end + 0.1), (0, high - 0.06, 0), 0.03, cloth))
        elif roof == 1:
            u = np.linspace(0, 1, 25)
            for x, z in four(width + 0.06, 2 * end - 0.3):
                fold = np.stack(
                    [np.stack([x + 0.02 * np.sin(u * 30), np.full(25, y), z + (u - 0.5) * 0.4], 1) for y in (0.12, high - 0.05)], axis=1
                )
                solids.append(_sheet(fold, 0.012, cloth))
            parts.append(Parts(noun="curtain", count=4))
        parts.insert(0, Parts(noun="post", count=4))
        style.append("tall")
    if maybe(rng, 0.1):
        tall, z = top + thick - 0.05, -length / 2 + 0.18
        sides = pick(rng, ((1,), (-1, 1)))
        for s in sides:
            solids += drawers(
                rng, (0.42, tall, 0.38), (s * (width / 2 + 0.42), 0, z), int(rng.integers(1, 4)), 1, timber, pick(rng, (STEEL, BRASS))
            )[0]
        parts.insert(0, Parts(noun="night stand", count=len(sides)))
    return Thing(solids=tuple(solids), main=blanket if form else timber, style=tuple(style), parts=tuple(parts[:4]))


def _bunk(rng: Rng, width: float, length: float, timber: Material, blanket: Material, linen: Material) -> Thing:
    """Two beds, one above the other, or one on high legs, and a ladder."""
    high, low, t = rng.uniform(1.2, 1.45), rng.uniform(0.25, 0.35), rng.uniform(0.05, 0.08)
    top, loft = high + rng.uniform(0.35, 0.5), maybe(rng, 0.25)
    solids: list[Solid] = [cushion((t, top, t), (x, 0, z), 0.008, timber) for x, z in four(width, length)]
    pillows, levels = 0, (high,) if loft else (low, high)
    for y in levels:
        solids += [box((0.03, 0.15, length), (s * width / 2, y - 0.05, 0), timber) for s in (-1, 1)]
        solids += [box((width, 0.15, 0.03), (0, y - 0.05, s * length / 2), timber) for s in (-1, 1)]
        solids.append(box((width, 0.02, length), (0, y - 0.02, 0), timber))
        more, count = _mattress(rng, width - 0.06, length - 0.06, y, 0.14, blanket, linen)
        solids, pillows = solids + more, pillows + count
        rise = (top if y == high else y + 0.5) - y
        bars = int(rng.integers(0, 6))
        for s in (-1, 1):
            solids += [box((width, 0.07, 0.025), (0, y + h, s * length / 2), timber) for h in (rise * 0.55, rise - 0.08)]
            solids += [box((0.03, rise - 0.2, 0.02), (float(x), y + 0.08, s * length / 2), timber)
                for x in np.linspace(-width / 2, width / 2, bars + 2)[1:-1]]  # fmt: skip
    side = pick(rng, (-1, 1))
    for s, span, z in ((-side, length, 0.0), (side, length * 0.72, -length * 0.14)):
        solids += [box((0.022, 0.07, span), (s * width / 2, high + h, z), timber) for h in (0.2, top - high - 0.08)]
    solids.append(box((0.03, top - high, 0.05), (side * width / 2, high, length * 0.21), timber))
    z, rungs, foot = length * 0.36, int(rng.integers(4, 7)), rng.uniform(0.05, 0.3)
    reach = high + 0.25
    for dz in (-0.17, 0.17):
        solids.append(rod((side * (width / 2 + foot), 0, z + dz), (side * (width / 2 + 0.03), reach, z + dz), 0.02, 0.02, timber))
    for i in range(rungs):
        y = (i + 0.8) * reach / (rungs + 0.6)
        x = side * (width / 2 + 0.03 + (foot - 0.03) * (1 - y / reach))
        solids.append(rod((x, y, z - 0.17), (x, y, z + 0.17), 0.016, 0.016, timber))
    if loft and maybe(rng, 0.6):
        solids.append(box((width * 0.6, 0.03, length * 0.9), (-side * width * 0.2, 0.72, 0), timber))
    parts = [Parts(noun="ladder", count=1), Parts(noun="rung", count=rungs)]
    parts += [Parts(noun="pillow", count=pillows)] if pillows else []
    return Thing(solids=tuple(solids), main=timber, style=("tall", "open") if loft else ("tall",), parts=tuple(parts))


# ------------------------------------------------------------------------------------------------------- the bathroom


def toilet(rng: Rng) -> Thing:
    white = ceramic(rng, pick(rng, ("white", "white", "white", "white", "beige", "pink", "blue", "green", "black")))
    shine = pick(rng, (STEEL, STEEL, BRASS, BLACK))
    cover = pick(rng, (white, white, white, WHITE, BLACK, wood(rng, "brown")))
    wide, long, high = rng.uniform(0.34, 0.4), rng.uniform(0.44, 0.54), rng.uniform(0.37, 0.44)
    front, back = pick(rng, ((0.98, 0.5), (0.98, 0.9), (0.7, 0.3), (0.45, 0.15)))
    form = int(rng.choice((0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 4)))  # on a foot, skirted, hung on the wall, with a high tank, in one piece
    hind = -long / 2
    solids: list[Solid] = []
    parts: list[Parts] = []
    style: list[str] = []
    rim = [_loop(wide, long, high, front=front, back=back), _loop(wide - 0.06, long - 0.08, high - 0.005, 0.01, front=front, back=0.8)]
    bowl = [_loop(wide * 0.72, long * 0.7, high - 0.09, 0.02, front=0.95), _loop(wide * 0.35, long * 0.35, high - 0.2, 0.0, front=0.95)]
    lip = _loop(wide, long, high - 0.035, front=front, back=back)
    if form == 2:
        outer = [(0.5, 0.5, 0.32, -0.22), (0.74, 0.72, 0.26, -0.14), (0.93, 0.92, 0.13, -0.04), (0.97, 0.98, 0.06, 0)]
    elif form in (1, 4):
        outer = [(0.8, 0.86, high, -0.07), (0.82, 0.87, high * 0.5, -0.06), (0.9, 0.93, 0.13, -0.03), (0.98, 0.99, 0.06, 0)]
    else:
        waist = rng.uniform(0.42, 0.55)
        outer = [(0.68, 0.8, high, -0.06), (0.64, 0.76, high - 0.05, -0.06), (waist, 0.6, high * 0.62, -0.08),
            (0.62, 0.7, high * 0.4, -0.06), (0.88, 0.9, 0.1, -0.02), (0.97, 0.98, 0.055, 0)]  # fmt: skip
    levels = [_loop(wide * w, long * d, high - y, long * z, front=front, back=back) for w, d, y, z in outer]
    solids.append(_loft([*levels, lip, *rim, *bowl], white))
    shape = [(wide + 0.01, long * 0.98, 0.0), (wide + 0.015, long * 0.985, 0.012), (wide - 0.01, long * 0.96, 0.024)]
    outer_ring = [_loop(w, d, high + y + 0.004, 0.005, front=front, back=back) for w, d, y in shape]
    inner_ring = [_loop(wide * 0.58, long * 0.6, high + y + 0.004, 0.025, front=0.95, back=0.7) for y in (0.024, 0)]
    ring = [*outer_ring, *inner_ring, outer_ring[0]]
    solids.append(_loft(ring, cover, caps=(False, False)))
    lid = [_loop(w, d * 1.0, y, front=front, back=back) for w, d,
        y in ((wide - 0.01, long * 0.95, 0), (wide + 0.01, long * 0.985, 0.008), (wide, long * 0.97, 0.02),
        (wide * 0.8, long * 0.8, 0.026))]  # fmt: skip
    up = maybe(rng, 0.5)
    cap = _loft(lid, cover)
    if up:
        angle = rng.uniform(96, 104)
        cap = cap.moved((0, 0, long / 2)).turned("x", -angle).moved((0, high + 0.03, hind + 0.045))
        style.append("open")
    else:
        cap = cap.moved((0, high + 0.03, 0.005))
        style.append("closed")
    solids.append(cap)
    solids += [rod((s * 0.08 - 0.02, high + 0.025, hind + 0.035), (s * 0.08 + 0.02, high + 0.025, hind + 0.035), 0.013, 0.013, shine)
        for s in (-1, 1)]  # fmt: skip
    room = 0.06 if not up else 0.11  # a lid that is up leans on what is behind it
    if form == 2:
        ends = [_loop(wide * k, 0.2, high - y, hind, front=0.2) for k, y in ((0.6, 0.3), (0.9, 0.01))]
        solids.append(_loft(ends, white))
        if maybe(rng, 0.6):  # with the wall that hides its tank
            tall, buttons = rng.uniform(0.9, 1.2), int(rng.integers(1, 3))
            z = hind - 0.11 - 0.04 * up
            solids.append(box((rng.uniform(0.45, 0.6), tall, 0.18), (0, 0, z), pick(rng, (white, stone(rng), WHITE))))
            solids.append(cushion((0.24, 0.16, 0.012), (0, tall - 0.25, z + 0.094), 0.005, shine))
            for x in (np.arange(buttons) - (buttons - 1) / 2) * 0.1:
                solids.append(cushion((0.2 / buttons - 0.02, 0.12, 0.012), (float(x), tall - 0.23, z + 0.102), 0.005, WHITE))
            parts.append(Parts(noun="button", count=buttons))
    else:
        tank_wide, tank_deep, tank_tall = rng.uniform(0.36, 0.48), rng.uniform(0.16, 0.2), rng.uniform(0.3, 0.4)
        bottom = high - 0.01
        z = hind - tank_deep / 2 + 0.06 - room
        round_ = rng.uniform(0.1, 0.5)
        if form == 3:
            bottom = rng.uniform(1.25, 1.6)
            solids.append(
                _pipe([(0, high - 0.15, hind + 0.05), (0, high - 0.13, hind - 0.06), (0, bottom + 0.02, hind - 0.06)], 0.022, shine)
            )
            solids.append(_loft([_loop(wide * 0.5, 0.16, y, hind + 0.03, front=0.3) for y in (0.0, high - 0.02)], white))
            z, tank_tall = hind - 0.06, tank_tall * 0.8
            x = tank_wide * 0.42
            solids += [rod((x, bottom + tank_tall + 0.0, z + tank_deep * 0.3), (x + 0.1, bottom + tank_tall + 0.03, z + tank_deep * 0.3),
                0.006, 0.006, shine)]  # fmt: skip
            solids += [rod((x + 0.1, bottom - 0.4, z + tank_deep * 0.3), (x + 0.1, bottom + tank_tall + 0.03, z + tank_deep * 0.3), 0.004,
                0.004, shine, sides=8)]  # fmt: skip
            solids.append(turned([(0, 0), (0.016, 0.02), (0.012, 0.06), (0, 0.08)], (x + 0.1, bottom - 0.46, z + tank_deep * 0.3),
                wood(rng, "brown"), sides=12))  # fmt: skip
            parts.append(Parts(noun="pipe", count=1, material=shine))
            style.append("tall")
        elif form == 4:
            bottom, tank_tall, tank_wide = 0.0, high + tank_tall * 0.75, wide * 1.02
        else:
            solids.append(_loft([_loop(wide * 0.6, room + 0.2, high - 0.28, hind + 0.02 - room / 2, front=0.3),
                _loop(wide * 0.86, room + 0.24, high - 0.05, hind - room / 2, front=0.3),
                _loop(wide * 0.86, room + 0.24, high + 0.001, hind - room / 2, front=0.3)], white))  # fmt: skip
        taper = rng.uniform(0.82, 1.0)
        solids.append(_loft([_loop(tank_wide * k, tank_deep * k, bottom + h * tank_tall, z, front=round_) for k,
            h in ((taper * 0.97, 0), (taper, 0.03), (1, 1))], white))  # fmt: skip
        solids.append(_slab(tank_wide + 0.025, tank_deep + 0.025, 0.03, (0, bottom + tank_tall - 0.002, z), white, round_))
        over = bottom + tank_tall + 0.026
        match rng.integers(3) if form != 3 else 3:
            case 0:
                lever = (-tank_wide * 0.32, bottom + tank_tall * 0.85, z + tank_deep / 2 - 0.004)
                solids.append(rod(lever, (lever[0], lever[1], lever[2] + 0.03), 0.014, 0.012, shine))
                solids.append(rod((lever[0] - 0.01, lever[1], lever[2] + 0.025), (lever[0] + 0.08, lever[1] - 0.012, lever[2] + 0.025),
                    0.008, 0.006, shine))  # fmt: skip
                parts.append(Parts(noun="lever", count=1, material=shine))
            case 1:
                solids.append(disc(0.025, 0.012, (0, over, z), shine))
                parts.append(Parts(noun="button", count=1, material=shine))
            case 2:
                solids += [disc(0.024, 0.012, (s * 0.027, over, z), shine) for s in (-1, 1)]
                parts.append(Parts(noun="button", count=2, material=shine))
        parts.append(Parts(noun="tank", count=1))
    if maybe(rng, 0.15) and form not in (2, 3):
        z = hind + 0.1
        x = wide / 2 + 0.17
        solids += [rod((x, 0, z), (x, 0.62, z), 0.009, 0.009, shine), disc(0.08, 0.015, (x, 0, z), shine),
            rod((x, 0.6, z), (x, 0.6, z + 0.15), 0.007, 0.007, shine)]  # fmt: skip
        solids.append(rod((x, 0.6, z + 0.025), (x, 0.6, z + 0.13), 0.055, 0.055, WHITE, sides=20))
        parts.append(Parts(noun="paper roll", count=1))
    lowest = min(float(s.vertices[:, 1].min()) for s in solids)
    return Thing(solids=tuple(s.moved((0, -lowest, 0)) for s in solids), main=white, style=tuple(style), parts=tuple(parts))


def _tap(rng: Rng, reach: float, shine: Material, *, tall: float = 0.0) -> tuple[list[Solid], list[Parts]]:
    """A tap that stands on Y = 0 and lets water fall at Z = `reach`, and the words for it."""
    tall = tall or rng.uniform(0.1, 0.3)
    solids: list[Solid] = [disc(0.026, 0.01, (0, 0, 0), shine, sides=20)]
    match rng.integers(4):
        case 0:  # a swan's neck
            a = np.linspace(math.pi, -0.25, 15)
            bow = np.stack([0 * a, tall + np.sin(a) * reach / 2, reach / 2 + np.cos(a) * reach / 2], axis=1)
            solids.append(_pipe(np.concatenate([[(0, 0, 0)], bow]), 0.011, shine, bend=0))
        case 1:
            solids += [rod((0, 0, 0), (0, tall * 0.7, 0), 0.02, 0.018, shine),
                rod((0, tall * 0.45, 0), (0, tall * 0.68, reach), 0.014, 0.01, shine)]  # fmt: skip
            solids.append(rod((0, tall * 0.7 - 0.02, reach - 0.008), (0, tall * 0.6 - 0.02, reach - 0.008), 0.011, 0.011, shine))
        case 2:
            solids += [cushion((0.04, tall * 0.8, 0.04), (0, 0, 0), 0.005, shine),
                cushion((0.04, 0.022, reach + 0.03), (0, tall * 0.8 - 0.022, reach / 2), 0.005, shine)]  # fmt: skip
        case _:
            solids.append(_pipe([(0, 0, 0), (0, tall * 0.8, 0), (0, tall * 0.85, reach), (0, tall * 0.6, reach)], 0.013, shine, bend=0.05))
    grips = int(rng.integers(1, 3))
    if grips == 1:
        solids.append(_pipe([(0, tall * 0.3, 0), (0.03, tall * 0.34, 0), (0.085, tall * 0.34 + 0.04, 0)], 0.008, shine, bend=0.02))
    else:
        cross = maybe(rng, 0.5)
        for s in (-1, 1):
            x = s * 0.1
            solids.append(
                turned([(0, 0), (0.024, 0), (0.024, 0.008), (0.013, 0.02), (0.015, 0.05), (0, 0.055)], (x, 0, 0), shine, sides=16)
            )
            if cross:
                solids += [rod((x, 0.045, -0.035), (x, 0.045, 0.035), 0.006, 0.006, shine, sides=8),
                    rod((x - 0.035, 0.045, 0), (x + 0.035, 0.045, 0), 0.006, 0.006, shine, sides=8)]  # fmt: skip
            else:
                solids.append(rod((x, 0.047, 0), (x + s * 0.06, 0.055, 0.01), 0.009, 0.006, shine, sides=10))
    return solids, [Parts(noun="tap", count=1, material=shine), Parts(noun="tap handle", count=grips)]


def bathtub(rng: Rng) -> Thing:
    """Its length lies along X."""
    long, wide, high = rng.uniform(1.4, 1.85), rng.uniform(0.7, 0.9), rng.uniform(0.48, 0.64)
    white = pick(rng, (ceramic(rng, "white"), ceramic(rng, "white"), ceramic(rng), WHITE))
    inside, shine = pick(rng, (white, ceramic(rng, "white"))), pick(rng, (STEEL, STEEL, BRASS, BLACK))
    outside = pick(rng, (white, white, metal(rng), ceramic(rng)))
    parts: list[Parts] = []
    solids: list[Solid] = []
    form = rng.integers(6)
    tap_at, turn = (-long * 0.5 + 0.06, high, 0.0), 90.0

    def slipper(solid: Solid, rise: float, both: bool) -> Solid:
        """The rim goes up towards one end or both."""
        points = solid.vertices.copy()
        t = points[:, 0] / (long / 2)
        points[:, 1] += rise * (np.abs(t) if both else np.clip(t, 0, None)) ** 2.2 * np.clip(points[:, 1] / high, 0, 1) ** 2
        return Solid(vertices=points, normals=solid.normals, faces=solid.faces, material=solid.material)

    if form <= 2:  # stands free: on feet, on a plinth, or whole to the floor
        lift, f = (rng.uniform(0.1, 0.16) if form == 0 else 0.0), pick(rng, (0.98, 0.98, 0.8))
        body = high - lift
        tight = rng.uniform(0.5, 0.75) if form == 0 else rng.uniform(0.6, 0.92)
        curve = [(tight, 0.0), (tight + 0.1, 0.06), (0.5 + tight / 2, 0.4), (0.97, 0.8), (0.985, 0.96)]
        if form == 1:
            curve = [(0.84, 0.0), (0.83, 0.07), (0.76, 0.12), (0.78, 0.2), (0.9, 0.55), (0.98, 0.92)]
        roll = rng.uniform(0.012, 0.035) if form < 2 or maybe(rng, 0.5) else 0.004
        outer = [_loop(long * k - (1 - k) * 0.2, wide * k, lift + h * body, front=f) for k, h in curve]
        lip = [_loop(long + 2 * roll, wide + 2 * roll, high - roll, front=f), _loop(long + 2 * roll, wide + 2 * roll, high, front=f),
            _loop(long - 0.02, wide - 0.02, high + roll * 0.7, front=f)]  # fmt: skip
        sizes, heights = np.array(curve).T
        well = []
        for most, h in ((0.94, 1 - 0.02 / body), (0.88, 0.6), (0.78, 0.28), (0.62, 0.17)):
            k = min(most, float(np.interp(h, heights, sizes)) - 0.05)  # inside the outer skin at every height
            well.append(_loop(long * k - (1 - k) * 0.2, wide * k, lift + h * body, front=f))
        skins = [_loft([*outer, lip[0]], outside, caps=(True, False)), _loft([*lip, *well], inside, caps=(False, True))]
        skins = [_loft([*outer, *lip, *well], outside)] if inside is white and outside is white else skins
        rise, both = rng.uniform(0.08, 0.24) if maybe(rng, 0.6) else 0.0, maybe(rng, 0.5)
        solids += [slipper(s, rise, both) for s in skins] if rise else skins
        style = ["oval", *(("curved",) if rise else ())]
        if form == 0:
            claw = pick(rng, (shine, white))
            for x, z in four(long * 0.62, wide * 0.62):
                knee = [(x * 0.92, lift + 0.035, z * 0.9), (x * 1.06, lift * 0.75, z * 1.14), (x * 1.04, 0.03, z * 1.12)]
                solids += [_pipe(knee, 0.024, claw, bend=1),
                    turned([(0, 0), (0.03, 0), (0.042, 0.025), (0.03, 0.05), (0, 0.055)], (x * 1.04, 0, z * 1.12), claw,
                    sides=14)]  # fmt: skip
            parts.append(Parts(noun="leg", count=4, material=claw))
        tap_at = (0.0, high, -wide / 2 + 0.02) if rise and both else (-long / 2 + 0.03, high + 0.01, 0.0)
        turn = 0.0 if rise and both else 90.0
        if maybe(rng, 0.4):  # pipes and a tap that stand on the floor
            z = -wide / 2 - 0.12
            high_tap = high + rng.uniform(0.2, 0.35)
            solids += [rod((x, 0, z), (x, high + 0.1, z), 0.012, 0.012, shine) for x in (-0.07, 0.07)] + [
                rod((-0.12, high + 0.1, z), (0.12, high + 0.1, z), 0.02, 0.02, shine)
            ]
            solids.append(_pipe([(0, high + 0.1, z), (0, high_tap, z), (0, high_tap, z + 0.25), (0, high_tap - 0.06, z + 0.25)], 0.013,
                shine, bend=0.06))  # fmt: skip
            parts.append(Parts(noun="tap", count=1, material=shine))
            turn = -1.0
    elif form == 5:  # fits a corner
        side = rng.uniform(1.25, 1.5)
        long, wide = side, side
        t = np.linspace(0, 1, 15)[:, None]
        start, full, wall = 0.3 * side, rng.uniform(0.85, 1.05) * side, np.linspace(0.99, 0.01, 8)[:, None] * side
        bulge = (1 - t) ** 2 * (start, side) + 2 * t * (1 - t) * full + t**2 * (side, start)
        edge = np.concatenate([[(0.01, side)], bulge, [(side, 0.01)], wall * (1, 0), wall[::-1] * (0, 1)])
        heart = 0.46 * side
        away = edge - heart
        ring = away / np.linalg.norm(away, axis=1, keepdims=True)

        def level(points: Floats, y: float) -> Floats:
            return np.stack([points[:, 0] - side / 2, np.full(len(points), y), points[:, 1] - side / 2], axis=1)

        walls = [level(heart + away * k, y) for k, y in ((0.97, 0), (0.97, high - 0.06), (1, high - 0.06), (1, high - 0.01), (0.99, high))]
        bowl = [level(heart + ring * k * side, y) for k,
            y in ((0.4, high), (0.385, high - 0.025), (0.33, high * 0.5), (0.3, high * 0.32), (0.24, high * 0.27))]  # fmt: skip
        solids.append(_loft([*walls, *bowl], white))
        style = ["corner"]
        tap_at, turn = (-side * 0.36, high + 0.01, -side * 0.36), 45.0
        if maybe(rng, 0.5):
            jets = int(rng.integers(3, 7))
            for i in range(jets):
                a = -1.2 + i * 2.4 / (jets - 1) + math.pi * 1.25
                solids.append(
                    _ball((math.sin(a) * 0.34 * side - side * 0.04, high * 0.6, math.cos(a) * 0.34 * side - side * 0.04), 0.025, shine)
                )
            parts.append(Parts(noun="jet", count=jets))
    else:  # built in: a block or panels around a basin
        border, top = rng.uniform(0.04, 0.1), high - 0.03
        wood_or_stone = pick(rng, (white, white, stone(rng), wood(rng)))
        f = pick(rng, (0.25, 0.5, 0.98))
        block = [_loop(long, wide, 0.0, front=0.02), _loop(long, wide, top + 0.002, front=0.02)]
        solids.append(_loft([*block, _loop(long - 2 * border, wide - 2 * border, top + 0.002, front=f)], wood_or_stone, caps=(True, False)))
        k = 0.0 if maybe(rng, 0.5) else -border * 0.5
        size = (long + 2 * k + 0.02, wide + 2 * k + 0.02)
        rim = [_loop(*size, top, front=0.06), _loop(*size, high - 0.006, front=0.06),
            _loop(size[0] - 0.012, size[1] - 0.012, high, front=0.06)]  # fmt: skip
        steps = [(0.0, high - 0.001), (0.012, high - 0.02), (0.07, high * 0.5), (0.1, high * 0.3), (0.16, high * 0.25)]
        within = [_loop(long - 2 * border - 3.2 * d, wide - 2 * border - 2 * d, y, front=f) for d, y in steps]
        solids.append(_loft([*rim, *within], white, caps=(False, True)))
        style = ["square" if f < 0.9 else "oval"]
        if maybe(rng, 0.35):
            panels = int(rng.integers(1, 4))
            each = (long - 0.1) / panels
            solids += [cushion((each - 0.06, high - 0.16, 0.02), ((i - (panels - 1) / 2) * each, 0.06, wide / 2), 0.008, wood_or_stone)
                for i in range(panels)]  # fmt: skip
            parts.append(Parts(noun="panel", count=panels))
        if maybe(rng, 0.25):
            deep = rng.uniform(0.25, 0.35)
            solids.append(_slab(long * 0.7, deep, high * 0.4, (0, 0, wide / 2 + deep / 2), wood_or_stone, 0.03))
            parts.append(Parts(noun="step", count=1))
        if maybe(rng, 0.15):
            pane = glass(rng, "white")
            solids.append(box((long * 0.5, 1.4, 0.01), (-long * 0.24, high - 0.002, wide / 2 - 0.03), pane))
            solids.append(
                rod((-long / 2 + 0.015, high, wide / 2 - 0.03), (-long / 2 + 0.015, high + 1.4, wide / 2 - 0.03), 0.014, 0.014, shine)
            )
            parts.append(Parts(noun="glass screen", count=1))
        if maybe(rng, 0.3):
            z = wide / 2 - border * 0.5
            solids.append(
                _pipe([(0.1, high - 0.01, z), (0.1, high + 0.05, z), (0.3, high + 0.05, z), (0.3, high - 0.01, z)], 0.01, shine, bend=0.03)
            )
            parts.append(Parts(noun="handle", count=1, material=shine))
        tap_at = (-long / 2 + border * 0.5, high, 0.0)
    if turn >= 0 and maybe(rng, 0.8):
        more, words = _tap(rng, 0.16, shine, tall=rng.uniform(0.12, 0.2))
        solids += _placed(more, tap_at, turn=turn)
        parts += words
    return Thing(solids=tuple(solids), main=white, style=tuple(style), parts=tuple(parts[:4]))


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
    skin = [_loop(inner[0] * k + 0.015, inner[1] * k + 0.015, y, z, front=hole) for k, y in shell]
    skin += [
        _loop(outer[0] - 2 * d, outer[1] - 2 * d, y, front=edge) for d, y in ((0.005, -thick), (0, 0.004 - thick), (0, -0.004), (0.004, 0))
    ]
    hollow = ((1, 0), (0.97, -0.012), (0.92, -deep * 0.5), (0.82, -deep * 0.85), (0.6, -deep))
    return _loft([*skin, *(_loop(inner[0] * k, inner[1] * k, y, z, front=hole) for k, y in hollow)], material)


def sink(rng: Rng) -> Thing:
    """On a pedestal, on the wall, in a counter of the kitchen or the bathroom, on legs, as a bowl on a board, or just the basin."""
    white = pick(rng, (ceramic(rng, "white"), ceramic(rng, "white"), ceramic(rng)))
    shine = pick(rng, (STEEL, STEEL, STEEL, BRASS, BLACK))
    solids: list[Solid] = []
    basins: list[tuple[float, float]] = []
    parts: list[Parts] = []
    style: list[str] = []
    form = int(rng.choice((0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 6)))
    drains: list[Point] = []
    hole, edge = pick(rng, ((0.98, 0.98), (0.98, 0.3), (0.35, 0.12), (0.6, 0.3)))
    if form <= 1:  # of ceramic in one piece: on a pedestal, or hung on the wall
        wide, deep, high = rng.uniform(0.42, 0.66), rng.uniform(0.36, 0.5), rng.uniform(0.78, 0.88)
        thick, hollow, main = rng.uniform(0.03, 0.13), rng.uniform(0.12, 0.17), white
        mouth = (wide - 0.1, deep - 0.16)
        solids.append(_basin((wide, deep), mouth, hollow, thick, white, edge if edge < 0.9 else 0.75, hole, 0.03).moved((0, high, 0)))
        if maybe(rng, 0.4):
            solids.append(_slab(wide * 0.96, 0.03, rng.uniform(0.06, 0.14), (0, high - 0.01, -deep / 2 + 0.015), white, 0.3))
            parts.append(Parts(noun="backsplash", count=1))
        under = high - 0.12
        if form == 0:
            foot, waist = rng.uniform(0.12, 0.16), rng.uniform(0.065, 0.1)
            squash, corner = rng.uniform(0.8, 1.0), pick(rng, (0.98, 0.98, 0.3))
            line = ((foot, 0), (foot, 0.03), (foot * 0.85, 0.06), (waist, 0.2), (waist, under * 0.7), (waist * 1.5, under * 0.93),
                (waist * 2, under + 0.02))  # fmt: skip
            solids.append(_loft([_loop(2 * r, 2 * r * squash, y, -0.02, front=corner) for r, y in line], white))
            parts.append(Parts(noun="pedestal", count=1))
        elif maybe(rng, 0.5):
            solids.append(_loft([_loop(k * 0.2, k * 0.22, y, -deep / 2 + k * 0.11, front=0.9, back=0.1) for k,
                y in ((0.5, high - 0.45), (0.8, high - 0.35), (1, high - 0.12))], white))  # fmt: skip
        else:
            pipe = [(0, high - 0.12, 0), (0, high - 0.32, 0), (0, high - 0.36, -0.06), (0, high - 0.28, -0.1),
                (0, high - 0.28, -deep / 2 + 0.01)]  # fmt: skip
            solids += [_pipe(pipe, 0.017, shine, bend=0.04),
                disc(0.03, 0.012, (0, 0, 0), shine).turned("x", 90).moved((0, high - 0.28, -deep / 2))]  # fmt: skip
            parts.append(Parts(noun="pipe", count=1, material=shine))
        where, reach, basins = -deep / 2 + 0.055, deep * 0.32, [(0.0, high)]
        drains.append((0, high - hollow, 0.03))
        style.append("round" if hole > 0.9 else "square")
    elif form == 2:  # an upright bowl on a cabinet or a board
        timber = pick(rng, (wood(rng), stone(rng)))
        wide, deep, high = rng.uniform(0.6, 1.3), rng.uniform(0.42, 0.55), rng.uniform(0.7, 0.82)
        count = 2 if wide > 1.05 else 1
        across = min(0.45, wide / count - 0.1)
        tall = rng.uniform(0.1, 0.17)
        for i in range(count):
            x = (i - (count - 1) / 2) * wide / 2
            long, short = across, min(across, deep - 0.14)
            profile = [(0.5, 0), (0.75, 0.12), (0.93, 0.5), (1, 0.97), (0.985, 1), (0.95, 0.99), (0.86, 0.5), (0.66, 0.2), (0.4, 0.12)]
            if hole < 0.9:
                profile = [(0.94, 0), (0.97, 0.04), (1, 0.97), (0.99, 1), (0.93, 0.99), (0.9, 0.4), (0.82, 0.18), (0.5, 0.12)]
            solids.append(_loft([_loop(long * k, short * k, high + h * tall, 0.04, x, front=hole) for k, h in profile], white))
            basins.append((x, high))
        more, words, main = _vanity(rng, wide, deep, high, timber, shine)
        solids += more
        parts += words
        where, reach = -deep / 2 + 0.05, deep * 0.4
        style.append("round" if hole > 0.9 else "square")
    elif form <= 4:  # basins sunk into a counter
        kitchen = form == 3
        count = int(rng.integers(1, 3))
        deep, high = rng.uniform(0.48, 0.62), rng.uniform(0.8, 0.9)
        each = rng.uniform(0.42, 0.56)
        drain = each if kitchen and maybe(rng, 0.5) else 0.0
        spare = rng.uniform(0.0, 0.5)
        top = STEEL if kitchen and maybe(rng, 0.5) else stone(rng)
        bowl = STEEL if kitchen else white
        wide = count * each + drain + spare
        thick, left = 0.035, -wide / 2
        if kitchen:
            hole = 0.3
        for i in range(count):
            x = left + (i + 0.5) * each
            flat = (each - 0.07, deep - 0.17)
            if top is STEEL:
                solids.append(_basin((each, deep), flat, 0.18, thick, top, 0.0, hole, 0.04).moved((x, high, 0)))
            else:  # a rim of its own lies on the counter
                rims = [_loop(flat[0] * k + d, flat[1] * k + d, y, 0.04, front=hole) for k, d,
                    y in ((1, 0.04, 0), (1, 0.04, 0.007), (1, 0, 0.01), (0.96, 0, -0.02), (0.9, 0, -0.14), (0.7, 0, -0.17))]  # fmt: skip
                around = [_loop(each, deep, -thick, front=0.0), _loop(each, deep, 0, front=0.0),
                    _loop(flat[0], flat[1], 0, 0.04, front=hole)]  # fmt: skip
                solids += [_loft(around, top, caps=(True, False)).moved((x, high, 0)),
                    _loft(rims, bowl, caps=(False, True)).moved((x, high, 0))]  # fmt: skip
            basins.append((x, high))
            drains.append((x, high - (0.18 if top is STEEL else 0.17), 0.04))
        rest = drain + spare
        if rest > 0.01:
            x = left + count * each + rest / 2
            solids.append(box((rest, thick, deep), (x, high - thick, 0), top))
            if drain:
                grooves = int(rng.integers(5, 9))
                solids += [cushion((each * 0.8, 0.01, 0.018),
                    (left + count * each + each * 0.5, high - 0.004, (k - grooves / 2) * 0.05 + 0.04), 0.004, top)
                    for k in range(grooves)]  # fmt: skip
                parts.append(Parts(noun="drainboard", count=1))
        more, words, main = _vanity(rng, wide - 0.02, deep - 0.02, high - thick + 0.001, wood(rng), shine, topped=False)
        solids += more
        parts += words
        if maybe(rng, 0.5):
            solids.append(box((wide, rng.uniform(0.06, 0.4), 0.02), (0, high, -deep / 2 + 0.01), top))
            parts.append(Parts(noun="backsplash", count=1))
        where, reach = -deep / 2 + 0.06, 0.2
        if kitchen:
            basins = [(left + count * each / 2, high)]
        parts = [Parts(noun="basin", count=count), *parts]
    elif form == 5:  # a trough or basins on legs
        count = int(rng.integers(1, 4))
        main = pick(rng, (STEEL, stone(rng), white))
        each, deep, high = rng.uniform(0.45, 0.65), rng.uniform(0.42, 0.58), rng.uniform(0.8, 0.9)
        down, wide = rng.uniform(0.2, 0.32), count * each
        for i in range(count):
            x = (i - (count - 1) / 2) * each
            solids.append(_basin((each, deep), (each - 0.06, deep - 0.12), down - 0.02, down, main, 0.02, pick(rng, (0.2, 0.4)),
                0.03).moved((x, high, 0)))  # fmt: skip
            basins.append((x, high))
            drains.append((x, high - down + 0.02, 0.03))
        stand = pick(rng, (STEEL, BLACK, main))
        under = high - down
        solids += [rod((x, 0, z), (x, under + 0.005, z), 0.018, 0.02, stand) for x, z in four(wide - 0.08, deep - 0.08)]
        if maybe(rng, 0.5):
            solids.append(box((wide - 0.06, 0.02, deep - 0.06), (0, 0.2, 0), stand))
            parts.append(Parts(noun="shelf", count=1))
        if maybe(rng, 0.5):
            solids.append(_slab(wide, 0.025, rng.uniform(0.15, 0.3), (0, high - 0.01, -deep / 2 + 0.0125), main, 0.1))
            parts.append(Parts(noun="backsplash", count=1))
        parts = [Parts(noun="basin", count=count), Parts(noun="leg", count=4, material=stand), *parts]
        where, reach = -deep / 2 + 0.05, 0.2
    else:  # as it comes from the shop, before it is built in
        count = int(rng.integers(1, 3))
        main = pick(rng, (STEEL, white, stone(rng)))
        each, deep, high = rng.uniform(0.36, 0.5), rng.uniform(0.4, 0.52), rng.uniform(0.15, 0.22) + 0.012
        wing = rng.uniform(0.3, 0.45) if maybe(rng, 0.35) else 0.0
        left = -(count * each + wing) / 2
        round_ = count == 1 and not wing and maybe(rng, 0.5)
        for i in range(count):
            x = left + (i + 0.5) * each
            inner = (each - 0.05, deep - 0.15)
            solids.append(_basin((each, deep), inner, high - 0.012, 0.02, main, 0.9 if round_ else 0.02, 0.98 if round_ else 0.3,
                0.04).moved((x, high, 0)))  # fmt: skip
            drains.append((x, 0.012, 0.04))
        if wing:
            x = left + count * each + wing / 2
            solids.append(box((wing, 0.02, deep), (x, high - 0.02, 0), main))
            solids += [cushion((wing * 0.8, 0.012, 0.02), (x, high - 0.005, (k - 3) * 0.05 + 0.03), 0.005, main) for k in range(7)]
            parts.append(Parts(noun="drainboard", count=1))
        parts = [Parts(noun="basin", count=count), *parts]
        basins, where, reach = [(left + count * each / 2, high)], -deep / 2 + 0.05, 0.18
        style.append("low")
    solids += _taps(rng, basins, where, reach, shine, parts)
    solids += [disc(0.025, 0.006, at, shine, sides=16) for at in drains]
    lowest = min(float(s.vertices[:, 1].min()) for s in solids)
    return Thing(solids=tuple(s.moved((0, -lowest, 0)) for s in solids), main=main, style=tuple(style), parts=tuple(parts[:4]))


def _taps(rng: Rng, basins: list[tuple[float, float]], z: float, reach: float, shine: Material, parts: list[Parts]) -> list[Solid]:
    """The same tap at every basin; its words are added to `parts`."""
    solids, words = _tap(rng, reach, shine)
    parts += [Parts(noun=word.noun, count=word.count * len(basins), material=word.material) for word in words]
    return [part.moved((x, y - 0.002, z)) for x, y in basins for part in solids]


def _vanity(
    rng: Rng, wide: float, deep: float, high: float, timber: Material, shine: Material, *, topped: bool = True
) -> tuple[list[Solid], list[Parts], Material]:
    """What carries a counter: a cabinet with doors or drawers, or a board on legs."""
    solids = [_slab(wide, deep, 0.035, (0, high - 0.035, 0), timber, 0.03)] if topped else []
    under = high - 0.03 * topped
    form = rng.integers(4)
    if form == 0 and topped:
        stand = pick(rng, (shine, timber))
        more, feet = legs(rng, wide - 0.04, deep - 0.04, under, 0.05, stand)
        if maybe(rng, 0.5):
            more.append(box((wide - 0.06, 0.025, deep - 0.06), (0, 0.18, 0), timber))
            return [*solids, *more], [feet, Parts(noun="shelf", count=1)], timber
        return [*solids, *more], [feet], timber
    body = wood(rng)
    low = pick(rng, (0.08, 0.08, 0.15))
    height = under - low
    t = 0.02
    if low > 0.1:
        solids += legs(rng, wide, deep, low + 0.01, 0.05, body)[0]
    else:
        solids.append(box((wide - 0.04, low, deep - 0.08), (0, 0, -0.02), BLACK))
    if form == 1:
        rows, columns = int(rng.integers(1, 4)), 1 if wide < 0.8 else 2
        solids += _open_chest(wide, height, deep, low, t, body)
        more, said = drawers(rng, (wide - 2 * t, height, t), (0, low, deep / 2 - t), rows, columns, body, shine)
        return [*solids, *more], [said], body
    doors = max(1, min(4, round(wide / rng.uniform(0.35, 0.5))))
    each = (wide - 0.02) / doors
    solids += _open_chest(wide, height, deep, low, t, body)
    for i in range(doors):
        x = (i - (doors - 1) / 2) * each
        solids.append(cushion((each - 0.012, height - 0.03, 0.02), (x, low + 0.015, deep / 2), 0.004, body))
        if form == 3:
            solids.append(cushion((each - 0.12, height - 0.16, 0.012), (x, low + 0.08, deep / 2 + 0.009), 0.005, body))
        side = 1 if i % 2 == 0 and doors > 1 else -1
        solids.append(rod((x + side * each * 0.4, low + height * 0.62, deep / 2 + 0.03),
            (x + side * each * 0.4, low + height * 0.8, deep / 2 + 0.03), 0.007, 0.007, shine))  # fmt: skip
    return solids, [Parts(noun="door", count=doors)], body


def _open_chest(wide: float, height: float, deep: float, low: float, t: float, body: Material) -> list[Solid]:
    """Walls without a lid, so that basins can hang in."""
    solids = [box((t, height, deep), (s * (wide - t) / 2, low, 0), body) for s in (-1, 1)]
    solids += [box((wide - 2 * t, height, t), (0, low, s * (deep - t) / 2), body) for s in (-1, 1)]
    return [*solids, box((wide - 2 * t, t, deep - 2 * t), (0, low, 0), body)]
