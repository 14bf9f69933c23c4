"""Padded and bent surfaces, pillows, feet and taps that several seats and bathroom things share."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from pipeline.starter.kinds.solids import CREASE, Floats, Material, Point, Solid, cushion, disc, rod, tube, turned
from pipeline.starter.kinds.thing import BLACK, STEEL, Parts, Rng, fabric, four, leather, maybe, pick

FLAT = math.cos(math.radians(28))
"""Ends of a skin are flat and large: what bends more than this next to them would tint them all over."""


def unit(vectors: Floats) -> Floats:
    """Of length 1; up where there is no direction."""
    size = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(size > 1e-12, vectors / np.maximum(size, 1e-12), (0.0, 1.0, 0.0))


def smoothed(points: ArrayLike, rounds: int = 3) -> Floats:
    """A polyline [K, D] with its corners cut off again and again; it keeps its ends."""
    line = np.asarray(points, float)
    for _ in range(rounds):
        cut = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], axis=1).reshape(-1, line.shape[1])
        line = np.concatenate([line[:1], cut, line[-1:]])
    return line


def closed_loop(
    width: float, depth: float, y: float, z: float = 0.0, x: float = 0.0, *, front: float = 0.3, back: float | None = None
) -> Floats:
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


def lofted(rings: Sequence[Floats], material: Material, *, caps: tuple[bool, bool] = (True, True)) -> Solid:
    """A skin over loops of S points each. As with `turned`, the solid is on the left of the way along them: outside it goes up.

    Args:
        caps: whether to close the first and the last loop. A skin that returns to its first loop is closed by itself.
    """
    ends = [np.repeat(rings[i].mean(axis=0)[None], len(rings[i]), axis=0) for i in (0, -1)]
    line = np.stack([*ends[:1] * caps[0], *rings, *ends[1:] * caps[1]])  # [K, S, 3]
    around = np.roll(line, -1, axis=1) - np.roll(line, 1, axis=1)
    out = unit(np.cross(around[:-1] + around[1:], np.diff(line, axis=0)))  # [K - 1, S, 3]
    first, last = out.copy(), out.copy()
    limit = np.full((len(out) - 1, 1), CREASE)
    limit[: caps[0]] = limit[len(limit) - caps[1] :] = FLAT
    smooth = (out[:-1] * out[1:]).sum(axis=2) > limit
    first[1:][smooth] = last[:-1][smooth] = unit(out[:-1] + out[1:])[smooth]
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


def joined(solids: Sequence[Solid]) -> Solid:
    """Several of one material as one."""
    starts = np.cumsum([0, *(len(solid.vertices) for solid in solids[:-1])])
    return Solid(vertices=np.concatenate([solid.vertices for solid in solids]),
        normals=np.concatenate([solid.normals for solid in solids]),
        faces=np.concatenate([solid.faces + start for solid, start in zip(solids, starts, strict=True)]),
        material=solids[0].material)  # fmt: skip


def plate(outline: ArrayLike, thick: float, material: Material, *, edge: float = 0.006) -> Solid:
    """A board in the XY plane around Z = 0, cut along an outline [K, 2] that goes counter-clockwise seen from +Z."""
    points = np.asarray(outline, float)
    after, before = np.roll(points, -1, axis=0) - points, np.roll(points, 1, axis=0) - points
    points = np.stack([points + 0.04 * before, points + 0.04 * after], axis=1).reshape(-1, 2)  # corners stay corners to the light
    middle = points.mean(axis=0)
    inner = middle + (points - middle) * (1 - edge / np.abs(points - middle).max())
    levels = ((inner, -thick / 2), (points, edge - thick / 2), (points, thick / 2 - edge), (inner, thick / 2))
    return lofted([np.column_stack([line, np.full(len(line), z)]) for line, z in levels], material)


def sheet(grid: Floats, thick: float, material: Material) -> Solid:
    """A bent board: points [A, B, 3] of its front, which looks along dA x dB, and as much behind it as it is thick."""

    def patch(points: Floats) -> Solid:
        a, b = points.shape[:2]
        normal = unit(np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1)))
        low = (np.arange(a - 1)[:, None] * b + np.arange(b - 1)).ravel()
        faces = np.concatenate([np.stack([low, low + b, low + b + 1], axis=1), np.stack([low, low + b + 1, low + 1], axis=1)])
        return Solid(vertices=points.reshape(-1, 3), normals=normal.reshape(-1, 3), faces=faces, material=material)

    behind = grid - thick * unit(np.cross(np.gradient(grid, axis=0), np.gradient(grid, axis=1)))
    return joined([
        patch(grid), patch(behind[:, ::-1]),
        patch(np.stack([behind[:, 0], grid[:, 0]], axis=1)), patch(np.stack([grid[:, -1], behind[:, -1]], axis=1)),
        patch(np.stack([behind[0], grid[0]])), patch(np.stack([grid[-1], behind[-1]])),
    ])  # fmt: skip


def bowed(width: float, tall: float, depth: float, at: Point, thick: float, material: Material, *, top: float = 0.0) -> Solid:
    """An upright board bent around whoever leans on it: its sides come forward by `depth`, its middle rises by `top`."""
    u, v = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(0, 1, 4), indexing="ij")
    grid = np.stack([u * width / 2, v * (tall + top * (1 - u**2)), depth * u**2], axis=2)
    return sheet(grid + np.array(at), thick, material)


def ball(at: Point, radius: float, material: Material) -> Solid:
    angle = np.linspace(-math.pi / 2, math.pi / 2, 7)
    return turned([(max(0.0, radius * math.cos(a)) * (abs(a) < 1.57), radius * math.sin(a)) for a in angle], at, material, sides=10)


def piped(points: ArrayLike, radius: float, material: Material, *, bend: float = 0.07) -> Solid:
    """A round bar along a polyline [K, 3], with round ends. `bend`: how far from a corner its rounding begins; 0 leaves it."""
    path = np.asarray(points, float)
    if bend:
        knots = [path[0]]
        for i in range(1, len(path) - 1):
            ways = path[[i - 1, i + 1]] - path[i]
            reach = np.minimum(0.5, bend / np.linalg.norm(ways, axis=1))[:, None] * ways
            knots += [path[i] + reach[0], path[i], path[i] + reach[1]]
        path = smoothed([*knots, path[-1]], 2)
    first, last = ((float(p[0]), float(p[1]), float(p[2])) for p in (path[0], path[-1]))
    return joined([ball(first, radius, material), tube(path, radius, material, sides=10), ball(last, radius, material)])


def slab_of(
    width: float, depth: float, thick: float, at: Point, material: Material, front: float = 0.2, back: float | None = None
) -> Solid:
    """A lying board with rounded corners and softened edges."""
    x, y, z = at
    edge = min(0.006, thick / 3)
    levels = ((edge, 0), (0, edge), (0, thick - edge), (edge, thick))
    return lofted([closed_loop(width - 2 * e, depth - 2 * e, y + h, z, x, front=front, back=back) for e, h in levels], material)


def pad_of(width: float, depth: float, thick: float, at: Point, material: Material, front: float = 0.3, back: float | None = None) -> Solid:
    """Upholstery: a slab that swells."""
    x, y, z = at
    levels = ((0.8, 0), (0.94, 0.04), (1, 0.25), (1, 0.6), (0.95, 0.84), (0.84, 0.96), (0.6, 1))
    trim = min(width, depth)
    return lofted(
        [closed_loop(width - trim * (1 - s), depth - trim * (1 - s), y + h * thick, z, x, front=front, back=back) for s, h in levels],
        material,
    )


def placed(solids: Sequence[Solid], at: Point, *, lean: float = 0.0, turn: float = 0.0) -> list[Solid]:
    """Leant back about X, then turned about Y, then moved."""
    return [solid.turned("x", -lean).turned("y", turn).moved(at) for solid in solids]


def pillow(rng: Rng, width: float, tall: float, material: Material) -> Solid:
    """A loose pillow that stands on its lower edge and faces +Z."""
    thick = rng.uniform(0.28, 0.4) * min(width, tall)
    levels = ((0.45, 0), (0.8, 0.12), (0.97, 0.38), (1, 0.5), (0.97, 0.62), (0.8, 0.88), (0.45, 1))
    lying = lofted([closed_loop(width * s, tall * s, (h - 0.5) * thick, front=0.25) for s, h in levels], material)
    return lying.turned("x", 90).moved((0, tall / 2, 0))


LEGS = (
    ((0, 1, 0), (1, 1, 0)),
    ((0, 0.55, 0), (1, 1, 0)),
    ((0, 0.5, 0), (0.08, 0.6, 0), (0.3, 0.85, 0), (0.42, 0.5, 0), (0.48, 1.0, 0), (0.55, 0.6, 0), (0.8, 1, 0), (1, 1, 0)),
    ((0, 0.9, 0.9), (0.06, 0.75, 0.8), (0.2, 0.5, 0.3), (0.55, 0.75, 0.35), (0.85, 1.3, 0.5), (1, 1.2, 0.1)),
)
"""Straight, tapered, turned, cabriole: height, thickness and how far outwards, in parts of the whole."""


def feet_under(
    rng: Rng, width: float, depth: float, height: float, thick: float, material: Material, *, brace: float = 0.4
) -> tuple[list[Solid], Parts]:
    """Four legs, sometimes splayed, now and then braced, and the words for them."""
    form = int(rng.integers(len(LEGS)))
    splay = 0.0 if form == 3 else pick(rng, (0.0, rng.uniform(0.05, 0.18))) * height
    corner = 0.98 if form >= 2 or maybe(rng, 0.5) else 0.15
    ends, solids = [], []
    for x, z in four(width - 1.4 * thick, depth - 1.4 * thick):
        top = np.array((x, height, z))
        foot = np.array((x + math.copysign(splay, x), 0, z + math.copysign(splay * 0.8, z)))
        ends.append((foot, top))
        rings = []
        for t, size, out in LEGS[form]:
            px, py, pz = foot + (top - foot) * t + out * thick * np.array((math.copysign(0.7, x), 0, math.copysign(0.7, z)))
            rings.append(closed_loop(thick * size, thick * size, py, pz, px, front=corner))
        solids.append(lofted(rings, material))

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


def softened(rng: Rng) -> Material:
    return pick(rng, (fabric, fabric, leather))(rng)


def star(rng: Rng, radius: float, top: float, stand: Material, *, wheels: bool) -> tuple[list[Solid], list[Parts]]:
    """A column on a foot with four or five rays, on castors or not."""
    rays, low = int(rng.integers(4, 6)), 0.075 if wheels else 0.02
    solids = [disc(0.028, top - low, (0, low, 0), STEEL, sides=16), disc(0.04, (top - low) * 0.5, (0, low, 0), stand, sides=16)]
    for turn in np.arange(rays) * 360 / rays:
        ray = [lofted([closed_loop(0.05, 0.05, 0, front=0.2), closed_loop(0.03, 0.025, radius, -0.02, front=0.2)], stand).turned("x",
            90).moved((0, low + 0.03, 0))]  # fmt: skip
        if wheels:
            ray += [rod((s * 0.008, 0.029, radius - 0.03), (s * 0.026, 0.029, radius - 0.03), 0.029, 0.026, BLACK) for s in (-1, 1)]
            ray.append(disc(0.01, 0.05, (0, 0.03, radius - 0.03), BLACK, sides=8))
        else:
            ray.append(disc(0.02, low + 0.01, (0, 0, radius - 0.02), stand, sides=12))
        solids += [part.turned("y", float(turn)) for part in ray]
    words = [Parts(noun="wheel", count=rays)] if wheels else [Parts(noun="leg", count=rays, material=stand)]
    return solids, words


def tap_of(rng: Rng, reach: float, shine: Material, *, tall: float = 0.0) -> tuple[list[Solid], list[Parts]]:
    """A tap that stands on Y = 0 and lets water fall at Z = `reach`, and the words for it."""
    tall = tall or rng.uniform(0.1, 0.3)
    solids: list[Solid] = [disc(0.026, 0.01, (0, 0, 0), shine, sides=20)]
    match rng.integers(4):
        case 0:  # a swan's neck
            a = np.linspace(math.pi, -0.25, 15)
            bow = np.stack([0 * a, tall + np.sin(a) * reach / 2, reach / 2 + np.cos(a) * reach / 2], axis=1)
            solids.append(piped(np.concatenate([[(0, 0, 0)], bow]), 0.011, shine, bend=0))
        case 1:
            solids += [rod((0, 0, 0), (0, tall * 0.7, 0), 0.02, 0.018, shine),
                rod((0, tall * 0.45, 0), (0, tall * 0.68, reach), 0.014, 0.01, shine)]  # fmt: skip
            solids.append(rod((0, tall * 0.7 - 0.02, reach - 0.008), (0, tall * 0.6 - 0.02, reach - 0.008), 0.011, 0.011, shine))
        case 2:
            solids += [cushion((0.04, tall * 0.8, 0.04), (0, 0, 0), 0.005, shine),
                cushion((0.04, 0.022, reach + 0.03), (0, tall * 0.8 - 0.022, reach / 2), 0.005, shine)]  # fmt: skip
        case _:
            solids.append(piped([(0, 0, 0), (0, tall * 0.8, 0), (0, tall * 0.85, reach), (0, tall * 0.6, reach)], 0.013, shine, bend=0.05))
    grips = int(rng.integers(1, 3))
    if grips == 1:
        solids.append(piped([(0, tall * 0.3, 0), (0.03, tall * 0.34, 0), (0.085, tall * 0.34 + 0.04, 0)], 0.008, shine, bend=0.02))
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
