"""Rules by which bodies without names are made: creatures, stars, pots, assemblies, cut plates, frames of bars, trees.

    solids = body(np.random.default_rng(0))

They are no kinds: nobody has a word for them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.starter.kinds.kit import *


def curve(rng: Rng, start: Floats, way: Floats, length: float, wild: float, knots: int = 4) -> Floats:
    """A smooth curve [K, 3] that begins at a point and wanders from its way by `wild` of its length."""
    steps = unit(way + rng.normal(0, wild, (knots, 3))) * (length / knots)
    return smoothed(np.concatenate([start[None], start + np.cumsum(steps, axis=0)]), 3)


def swelling(rng: Rng, count: int, first: float, last: float, wild: float) -> Floats:
    """Radii [count] from one end to the other, thicker and thinner in between."""
    knots = np.geomspace(first, last, 5) * np.exp(rng.normal(0, wild, 5))
    return np.interp(np.linspace(0, 4, count), np.arange(5), knots)


def mirrored(solid: Solid) -> Solid:
    """Mirrored at x = 0, its surface still turned outward."""
    flip = np.array([-1.0, 1.0, 1.0])
    return replace(solid, vertices=solid.vertices * flip, normals=solid.normals * flip, faces=solid.faces[:, ::-1])


def arm(rng: Rng, start: Floats, way: Floats, length: float, thick: float, material: Material) -> list[Solid]:
    """A limb in one or two joints, perhaps with fingers, a foot or a blade at its end."""
    upper = curve(rng, start, way, length * rng.uniform(0.4, 0.7), 0.25)
    turned_way = unit(unit(way) + np.array([0, rng.uniform(-1.4, 0.6), 0]) + rng.normal(0, 0.3, 3))
    lower = curve(rng, upper[-1], turned_way, length * rng.uniform(0.3, 0.6), 0.2)
    path = np.concatenate([upper, lower[1:]])
    solids = [horn(path, swelling(rng, len(path), thick, thick * rng.uniform(0.3, 0.8), 0.15), material, sides=10)]
    end, last = path[-1], unit(path[-1] - path[-3])
    ending = pick(rng, ("none", "none", "ball", "fingers", "fingers", "foot", "blade"))
    if ending == "ball":
        solids.append(ball(thick * rng.uniform(0.8, 1.6), tuple(end), material, rings=8, sides=14))
    elif ending == "fingers":
        for _ in range(int(rng.integers(2, 6))):
            finger = curve(rng, end, unit(last + rng.normal(0, 0.5, 3)), length * rng.uniform(0.12, 0.3), 0.25)
            solids.append(horn(finger, swelling(rng, len(finger), thick * 0.35, thick * 0.15, 0.1), material, sides=8))
    elif ending == "foot":
        foot = curve(rng, end, np.array([0.1, -0.1, 1.0]), length * rng.uniform(0.15, 0.35), 0.1)
        solids.append(horn(foot, swelling(rng, len(foot), thick * 0.6, thick * 0.5, 0.1), material, sides=10))
    elif ending == "blade":
        tip = end + last * length * rng.uniform(0.3, 0.8)
        solids.append(wing_of(tuple(end), tuple(tip), thick * rng.uniform(2, 5), thick * rng.uniform(0.5, 2), 0.3, material))
    return solids


def creature(rng: Rng) -> list[Solid]:
    """A trunk with pairs of limbs, perhaps with a head, ears, horns, a tail or wings."""
    main, other = stuff(rng), stuff(rng)
    upright = maybe(rng, 0.4)
    way = np.array([0.0, 1.0, rng.uniform(-0.3, 0.3)]) if upright else np.array([0.0, rng.uniform(-0.2, 0.4), 1.0])
    trunk = curve(rng, np.zeros(3), way, 1.0, 0.12, 5)
    trunk[:, 0] = 0  # it has a left and a right
    thick = rng.uniform(0.06, 0.28)
    radii = swelling(rng, len(trunk), thick * rng.uniform(0.4, 1.1), thick, 0.3)
    body = [horn(trunk, radii, main, sides=20)]
    pairs: list[Solid] = []
    count = int(pick(rng, (0, 1, 2, 2, 2, 3, 4)))
    for place in np.sort(rng.uniform(0.05, 0.95, count)):
        at = int(place * (len(trunk) - 1))
        down = np.array([rng.uniform(0.4, 1.2), rng.uniform(-1.4, 0.5), rng.normal(0, 0.3)])
        start = trunk[at] + np.array([radii[at] * 0.6, 0, 0])
        pairs += arm(rng, start, down, rng.uniform(0.25, 1.0), radii[at] * rng.uniform(0.2, 0.6), main if maybe(rng, 0.7) else other)
    neck, front = trunk[-1], unit(trunk[-1] - trunk[-4])
    if maybe(rng, 0.75):
        throat = curve(rng, neck, front + np.array([0, rng.uniform(0, 1.5), 0]), rng.uniform(0.05, 0.7), 0.1)
        throat[:, 0] = 0
        size = thick * rng.uniform(0.5, 1.3)
        head = curve(rng, throat[-1], np.array([0, rng.uniform(-0.4, 0.6), 1.0]), size * rng.uniform(0.8, 2.5), 0.1)
        head[:, 0] = 0
        body.append(horn(throat, swelling(rng, len(throat), radii[-1] * 0.8, size * 0.7, 0.1), main, sides=14))
        body.append(horn(head, swelling(rng, len(head), size, size * rng.uniform(0.3, 1), 0.2), main, sides=16))
        for _ in range(int(rng.integers(0, 3))):  # ears, horns
            ear = curve(
                rng, throat[-1] + np.array([size * 0.5, size * 0.5, 0]), rng.normal((0.5, 1, 0), 0.4), size * rng.uniform(0.5, 2.5), 0.3
            )
            pairs.append(horn(ear, swelling(rng, len(ear), size * 0.3, size * 0.08, 0.1), other, sides=8))
    if maybe(rng, 0.5):
        tail = curve(rng, trunk[0], -unit(trunk[3] - trunk[0]) + rng.normal(0, 0.2, 3), rng.uniform(0.1, 1.0), 0.4, 6)
        body.append(horn(tail, swelling(rng, len(tail), radii[0] * 0.6, radii[0] * rng.uniform(0.05, 0.5), 0.1), main, sides=10))
    if maybe(rng, 0.2):
        at = trunk[int(rng.uniform(0.3, 0.7) * (len(trunk) - 1))]
        tip = at + np.array([rng.uniform(0.4, 1.2), rng.uniform(-0.2, 0.7), rng.normal(0, 0.3)])
        pairs.append(wing_of(tuple(at), tuple(tip), rng.uniform(0.2, 0.6), rng.uniform(0.05, 0.3), 0.2, other))
    return [*body, *pairs, *map(mirrored, pairs)]


def rayed(rng: Rng) -> list[Solid]:
    """A middle with the same arms all around."""
    main, other = stuff(rng), stuff(rng)
    radius, count = rng.uniform(0.1, 0.45), int(rng.integers(3, 11))
    middle = bulb(radius, (0, 0, 0), main, tall=rng.uniform(0.3, 1.8), rings=14)
    way = np.array([0.0, rng.uniform(-1.2, 0.8), 1.0])
    own = arm(rng, np.array([0, 0, radius * 0.7]), way, rng.uniform(0.3, 1.2), rng.uniform(0.03, 0.14), pick(rng, (main, other)))
    return [middle, *repeated(own, count)]


def pot(rng: Rng) -> list[Solid]:
    """Something turned on a lathe, perhaps with another section, with handles or a lid."""
    main, other = stuff(rng), stuff(rng)
    knots = int(rng.integers(4, 9))
    radii, heights = rng.uniform(0.05, 0.6, knots), np.sort(rng.uniform(0, rng.uniform(0.4, 1.8), knots))
    outline = smooth([(0.0, float(heights[0])), *zip(radii.tolist(), heights.tolist(), strict=True), (0.0, float(heights[-1]))])
    solids = [lathe(outline, main, sides=36, squash=float(pick(rng, (1, 1, 1, rng.uniform(0.3, 1)))))]
    if maybe(rng, 0.5):
        section = pick(
            rng,
            (
                squared(rng.uniform(2.5, 8)),
                fluted_by(int(rng.integers(2, 13)), rng.uniform(0.04, 0.25)),
                faceted_by(int(rng.integers(3, 9))),
            ),
        )
        solids = shaped(solids, section, rng.normal(0, 1.5) if maybe(rng, 0.3) else 0.0)
    for _ in range(int(rng.integers(0, 3))):
        low, high = np.sort(rng.uniform(heights[0], heights[-1], 2))
        reach = rng.uniform(0.3, 0.9)
        handle = bezier((0.1, low, 0), (reach, low, 0), (reach, high, 0), (0.1, high, 0))
        own = [tube(handle, rng.uniform(0.015, 0.06), other)]
        solids += repeated(own, int(rng.integers(1, 4)), float(rng.uniform(0, 360)))
    return solids


def primitive(rng: Rng, size: float, material: Material) -> Solid:
    """One simple body around the origin."""
    x, y, z = (float(v) for v in size * np.exp(rng.normal(0, 0.5, 3)))
    sort = pick(rng, ("box", "cushion", "disc", "ball", "cone", "ring", "prism"))
    if sort == "box":
        return box((x, y, z), (0, -y / 2, 0), material)
    if sort == "cushion":
        return cushion((x, y, z), (0, -y / 2, 0), min(x, y, z) * rng.uniform(0.1, 0.45), material)
    if sort == "ball":
        return stretched(ball(size / 2, (0, 0, 0), material), x / size, y / size, z / size)
    if sort == "ring":
        return ring_of(x / 2, min(x, y) * rng.uniform(0.05, 0.2), (0, 0, 0), material)
    if sort == "prism":
        return lying(ngon(int(rng.integers(3, 9)), x / 2), y, material)
    return turned([(0, 0), (x / 2, 0), (x / 2 * (1.0 if sort == "disc" else rng.uniform(0.05, 0.7)), y), (0, y)], (0, -y / 2, 0), material)


def assembly(rng: Rng) -> list[Solid]:
    """Simple bodies that touch each other, perhaps the same on both sides or all around."""
    materials = [stuff(rng) for _ in range(3)]
    first = primitive(rng, 0.6, materials[0])
    solids = [first]
    sides: list[Solid] = []
    for _ in range(int(rng.integers(1, 9))):
        base = pick(rng, [*solids, *sides])
        low, high = base.vertices.min(axis=0), base.vertices.max(axis=0)
        place = rng.uniform(low, high)
        axis, up = int(rng.integers(3)), maybe(rng, 0.6)
        place[axis] = (high if up else low)[axis]
        one = primitive(rng, rng.uniform(0.08, 0.6), pick(rng, materials))
        one = one.turned(pick(rng, ("x", "y", "z")), float(pick(rng, (0, 90, 90, rng.uniform(0, 360)))))
        half = (one.vertices.max(axis=0)[axis] - one.vertices.min(axis=0)[axis]) / 2
        place[axis] += (0.9 if up else -0.9) * half
        one = one.moved(tuple(place))
        (sides if maybe(rng, 0.5) else solids).append(one)
    kind = pick(rng, ("both", "both", "around", "single"))
    if kind == "both":
        return [*solids, *sides, *map(mirrored, sides)]
    return [*solids, *(repeated(sides, int(rng.integers(2, 7))) if kind == "around" else sides)]


def cutting(rng: Rng) -> list[Solid]:
    """Plates with random outlines: cut-out figures, fins, blades, gears."""
    material, solids = stuff(rng), []
    for _ in range(int(rng.integers(1, 4))):
        angle = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        radius = np.full(72, 0.5)
        for wave in range(1, int(rng.integers(3, 10))):
            radius += rng.normal(0, 0.28 / wave) * np.cos(wave * angle + rng.uniform(0, 6.3))
        radius = np.clip(radius, 0.08, None) * np.array(pick(rng, (1.0, rng.uniform(0.3, 1))))
        outline = np.stack([radius * np.cos(angle), radius * np.sin(angle) * rng.uniform(0.3, 1)], axis=1)
        thick = rng.uniform(0.03, 0.4)
        one = slab([(float(x), float(y)) for x, y in outline], thick, material, bevel=thick * rng.uniform(0, 0.3))
        solids.append(
            one.turned(pick(rng, ("x", "y")), float(pick(rng, (0, 90, rng.uniform(0, 180))))).moved(tuple(rng.normal(0, 0.15, 3)))
        )
    return solids


def frame_of_bars(rng: Rng) -> list[Solid]:
    """Bars between random places, with knots, perhaps the same on both sides or all around."""
    main, other = stuff(rng), stuff(rng)
    places, radius = rng.uniform(-0.5, 0.5, (int(rng.integers(4, 9)), 3)), rng.uniform(0.015, 0.06)
    solids = []
    for one in range(len(places) - 1):
        near = places[: one + 1][np.argmin(np.linalg.norm(places[: one + 1] - places[one + 1], axis=1))]
        middle = (near + places[one + 1]) / 2 + rng.normal(0, 0.12, 3) * maybe(rng, 0.4)
        solids.append(piped([near, middle, places[one + 1]], radius, main, bend=0.0))
    if maybe(rng, 0.5):
        solids += [ball(radius * rng.uniform(1.5, 3), tuple(place), other, rings=6, sides=12) for place in places]
    if maybe(rng, 0.5):
        block = primitive(rng, rng.uniform(0.15, 0.5), other)
        x, y, z = pick(rng, places.tolist())
        solids.append(block.moved((x, y, z)))
    if maybe(rng, 0.6):
        return [*solids, *map(mirrored, solids)]
    return repeated(solids, int(rng.integers(2, 5)))


def tree(rng: Rng) -> list[Solid]:
    """A stem that branches again and again, with balls at its ends or none."""
    main, other = stuff(rng), stuff(rng)
    solids: list[Solid] = []
    depth, spread, tips = int(rng.integers(2, 4)), rng.uniform(0.3, 0.9), rng.uniform(0.05, 0.25) * maybe(rng, 0.6)

    def grow(start: Floats, way: Floats, length: float, thick: float, left: int) -> None:
        path = curve(rng, start, way, length, 0.2)
        solids.append(horn(path, swelling(rng, len(path), thick, thick * 0.6, 0.08), main, sides=8))
        if left == 0:
            if tips:
                solids.append(ball(tips, tuple(path[-1]), other, rings=7, sides=12))
            return
        for _ in range(int(rng.integers(2, 4))):
            grow(path[-1], unit(unit(way) + rng.normal(0, spread, 3)), length * rng.uniform(0.5, 0.8), thick * 0.6, left - 1)

    grow(np.zeros(3), np.array([0.0, 1.0, 0.0]), 0.6, rng.uniform(0.03, 0.12), depth)
    return solids


RULES: Final[tuple[Callable[[Rng], list[Solid]], ...]] = (
    creature,
    creature,
    creature,
    rayed,
    pot,
    assembly,
    assembly,
    cutting,
    frame_of_bars,
    tree,
)
"""The rules, some of them named more than once: each entry is chosen as often as the others."""


def stuff(rng: Rng) -> Material:
    return pick(rng, (wood, fabric, leather, plastic, metal, ceramic, stone))(rng)


def bent(rng: Rng, solids: Sequence[Solid]) -> list[Solid]:
    """Perhaps bent, twisted, made thinner towards one end or stretched, as a whole."""
    stretch = np.exp(rng.normal(0, 0.2, 3))
    solids = [stretched(solid, *stretch) for solid in solids]
    points = np.concatenate([solid.vertices for solid in solids])
    middle, size = points.mean(axis=0), float(np.ptp(points, axis=0).max())
    axis = int(rng.integers(3))
    u, v = (axis + 1) % 3, (axis + 2) % 3
    amount = rng.normal(0, 0.5)
    kind = pick(rng, ("none", "none", "bend", "twist", "taper"))

    def change(points: Floats) -> Floats:
        out = (points - middle) / size
        at = out[:, axis].copy()
        if kind == "bend":
            out[:, u] += amount * at**2
        elif kind == "twist":
            c, s = np.cos(2 * amount * at), np.sin(2 * amount * at)
            out[:, u], out[:, v] = c * out[:, u] - s * out[:, v], s * out[:, u] + c * out[:, v]
        else:
            out[:, [u, v]] *= np.exp(amount * at)[:, None]
        return np.asarray(out * size + middle)

    return list(solids) if kind == "none" else [warped(solid, change) for solid in solids]


def body(rng: Rng) -> list[Solid]:
    """A body by one of the rules, +Y up."""
    return bent(rng, pick(rng, RULES)(rng))
