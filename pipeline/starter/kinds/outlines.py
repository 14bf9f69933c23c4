"""Curves and outlines: points that the skins of `skins` and the tubes of `solids` follow."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from pipeline.starter.kinds.solids import *


def smoothed(points: ArrayLike, rounds: int = 3, *, closed: bool = False) -> Floats:
    """A polyline [K, D] with its corners cut off again and again. It keeps its ends, unless it is a closed polygon."""
    line = np.asarray(points, float)
    for _ in range(rounds):
        after = np.roll(line, -1, axis=0)
        cut = np.stack([0.75 * line + 0.25 * after, 0.25 * line + 0.75 * after], axis=1).reshape(-1, line.shape[1])
        line = cut if closed else np.concatenate([line[:1], cut[:-2], line[-1:]])
    return line


def line_of(points: Floats, coarse: int = 1) -> Line:
    """As `turned` wants it: without steps of no length, and with no more points than its bends ask for."""
    points = points[np.append(True, np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6)]
    step = np.diff(points, axis=0)
    long = np.linalg.norm(step, axis=1)
    bend = np.abs((np.diff(np.arctan2(step[:, 1], step[:, 0])) + math.pi) % (2 * math.pi) - math.pi)
    kept, turn, way = [0], 0.0, 0.0
    for i in range(1, len(points) - 1):
        turn, way = turn + bend[i - 1], way + long[i - 1]
        if turn > math.radians(11 * coarse) or way > long.sum() / 15 * coarse:
            kept.append(i)
            turn = way = 0.0
    return [(float(r), float(h)) for r, h in points[[*kept, -1]]]


def smooth(knots: Sequence[tuple[float, float]], wide: float = 1.0, tall: float = 1.0, coarse: int = 1) -> Line:
    """A profile with its corners cut round three times; a knot named twice stays a corner."""
    return line_of(smoothed(np.array(knots, float) * (wide, tall)), coarse)


def radius_at(line: Line, height: float) -> float:
    """The radius at a height of a profile that goes up."""
    r, h = np.array(line).T
    return float(np.interp(height, np.maximum.accumulate(h), r))


def bezier(*points: Point, steps: int = 16) -> Floats:
    t = np.linspace(0, 1, steps)[:, None]
    rest = [np.array(point) * np.ones((steps, 1)) for point in points]
    while len(rest) > 1:
        rest = [(1 - t) * a + t * b for a, b in pairwise(rest)]
    return rest[0]


def bent_by(points: Sequence[Sequence[float]] | Floats, count: int) -> Floats:
    """A smooth curve [count, D] through points [K, D]."""
    line = np.array(points, float)
    slope, at = np.gradient(line, axis=0), np.linspace(0, len(line) - 1, count)
    i = np.minimum(at.astype(int), len(line) - 2)
    t = (at - i)[:, None]
    near = (2 * t**3 - 3 * t**2 + 1) * line[i] + (t**3 - 2 * t**2 + t) * slope[i]
    return np.asarray(near + (3 * t**2 - 2 * t**3) * line[i + 1] + (t**3 - t**2) * slope[i + 1])


def arc_of(length: float, rise: float, droop: float, steps: int) -> Floats:
    """A path from the origin towards +Z that starts at a slope of so many degrees and bends down."""
    slope = np.radians(rise - droop * np.linspace(0, 1, steps - 1))
    step = length / (steps - 1) * np.stack([0 * slope, np.sin(slope), np.cos(slope)], axis=1)
    return np.concatenate([np.zeros((1, 3)), np.cumsum(step, axis=0)])


def arch_over(width: float, bulge: float, power: float = 2.0, points: int = 25) -> tuple[Floats, Floats]:
    """x [K] and an arch over it: 0 at both ends, `bulge` in the middle; the higher the power, the flatter."""
    x = -np.cos(np.linspace(0, math.pi, points))
    return x * width / 2, bulge * np.maximum(1 - np.abs(x) ** power, 0) ** (1 / power)


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


def oval(width: float, height: float, y: float, z: float, power: float = 2.0, sides: int = 24) -> Floats:
    """An upright cross-section: an ellipse, or with a higher power more of a rounded rectangle."""
    angle = np.arange(sides) * (2 * math.pi / sides)
    c, s = np.cos(angle), np.sin(angle)
    x = width / 2 * np.sign(c) * abs(c) ** (2 / power)
    return np.stack([x, y + height / 2 * np.sign(s) * abs(s) ** (2 / power), np.full(sides, z)], axis=1)


def rounded(width: float, low: float, high: float, radius: float, corner: int = 4) -> list[tuple[float, float]]:
    """The outline of a rectangle about X = 0 with round corners."""
    radius = min(radius, 0.49 * width, 0.49 * (high - low))
    points = []
    for turn, (x, y) in enumerate(((1, high), (-1, high), (-1, low), (1, low))):
        middle = (x * (width / 2 - radius), y - math.copysign(radius, y - (low + high) / 2))
        for angle in np.linspace(0, math.pi / 2, corner) + turn * math.pi / 2:
            points.append((middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)))
    return points


def rounded_rect(width: float, tall: float, radius: float, steps: int = 5) -> Floats:
    """The outline of a rectangle with round corners, standing on the origin."""
    turn, half, x = np.radians(np.linspace(0, 90, steps)), radius, width / 2 - radius
    centers = ((x, tall - radius), (-x, tall - radius), (-x, radius), (x, radius))
    arcs = [
        np.column_stack([cx + half * np.cos(turn + i * math.pi / 2), cy + half * np.sin(turn + i * math.pi / 2)])
        for i, (cx, cy) in enumerate(centers)
    ]
    return np.concatenate(arcs)


def ngon(sides: int, radius: float, offset: float = 0.0) -> Floats:
    angle = np.arange(sides) * 2 * math.pi / sides + offset
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def placed_at(outline: Floats, z: float, scale: float = 1.0) -> Floats:
    """An outline [K, 2] as a ring across Z, shrunk towards its middle."""
    middle = (outline.min(axis=0) + outline.max(axis=0)) / 2
    return np.column_stack([middle + (outline - middle) * scale, np.full(len(outline), z)])
