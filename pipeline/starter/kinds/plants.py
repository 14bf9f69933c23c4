"""Leaves and flowers."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.starter.kinds.outlines import *
from pipeline.starter.kinds.skins import *
from pipeline.starter.kinds.solids import *
from pipeline.starter.kinds.thing import *
from pipeline.starter.kinds.vessels import *


def blade_of(path: Floats, widths: Floats, material: Material, fold: float = 0.2) -> Solid:
    """A leaf along a path in the plane of Y and Z, with a keel; both its sides are made."""
    way = np.gradient(path, axis=0)
    up, side = np.cross(way / np.linalg.norm(way, axis=1, keepdims=True), (1.0, 0, 0)), np.array([-1.0, 0, 1.0])
    out = up[:, None] * (fold * np.abs(side))[None, :, None] + side[None, :, None] * np.array([1.0, 0, 0])
    top = path[:, None] + widths[:, None, None] * out  # [K, 3, 3]
    normals = up[:, None] - (fold * side)[None, :, None] * np.array([1.0, 0, 0])
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    vertices = np.concatenate([top, top - 0.0006 * normals]).reshape(-1, 3)
    corner = (np.arange(len(path) - 1)[:, None] * 3 + np.arange(2)).ravel()
    faces = np.concatenate([np.stack([corner, corner + 3, corner + 4], axis=1), np.stack([corner, corner + 4, corner + 1], axis=1)])
    both = np.concatenate([faces, faces[:, ::-1] + 3 * len(path)])
    return Solid(vertices=vertices, normals=np.concatenate([normals, -normals]).reshape(-1, 3), faces=both, material=material)


def leaf_of(
    length: float, width: float, rise: float, droop: float, material: Material, stalk: float = 0.0, blunt: float = 0.8
) -> list[Solid]:
    """A leaf towards +Z; its stalk is a part of the length."""
    path, bare = arc_of(length, rise, droop, 11), round(10 * stalk)
    t = np.linspace(0, 1, 11 - bare)
    widths = width / 2 * np.maximum(np.sin(math.pi * t**blunt), 0.02)
    stem = [tube(path[: bare + 1], max(length * 0.008, 0.0012), material, sides=5)] if bare else []
    return [*named("stem", stem), blade_of(path[bare:], widths, material).named("leaf")]


def green_of(rng: Rng) -> Material:
    r, g, b = np.array(LEAF.color) * rng.uniform(0.75, 1.25) + rng.normal(0, 0.03, 3)
    return replace(LEAF, color=(float(np.clip(r, 0.05, 0.6)), float(np.clip(g, 0.25, 0.8)), float(np.clip(b, 0.05, 0.5))))


def flower(rng: Rng, size: float, petal: Material) -> list[Solid]:
    """A blossom that looks up from the origin: daisy, tulip, rose or lily."""
    match rng.integers(4):
        case 0:
            count = int(rng.integers(6, 13))
            one = blade_of(arc_of(size, 15, 30, 4), size * np.array([0.08, 0.24, 0.24, 0.02]), petal, 0.1)
            return named(
                "flower",
                [
                    bulb(size * 0.3, (0, size * 0.08, 0), pick(rng, (BRASS, BLACK)), 0.5, 10, rings=6),
                    *(one.turned("y", i * 360 / count) for i in range(count)),
                ],
            )
        case 1:
            cup = smooth([(0.05, 0), (0.5, 0.1), (0.62, 0.6), (0.4, 1.3)], size, size, 2)
            return named("flower", shaped(vessel(cup, size * 0.06, petal, petal, sides=18), fluted_by(3, 0.12)))
        case 2:
            line = smooth([(0, 0), (0.5, 0.05), (0.75, 0.5), (0.55, 0.95), (0.3, 0.9), (0, 0.7)], size, size, 2)
            return named("flower", shaped([turned(line, (0, 0, 0), petal, sides=20)], fluted_by(5, 0.1), 1.2 / size))
        case _:
            one = blade_of(arc_of(size * 1.3, 75, 75, 6), size * np.array([0.1, 0.25, 0.34, 0.3, 0.18, 0.02]), petal, 0.25)
            return named(
                "flower", [bulb(size * 0.15, (0, size * 0.3, 0), BRASS, 2, 8, rings=6), *(one.turned("y", i * 60) for i in range(6))]
            )


PETALS: Final = ("red", "pink", "yellow", "white", "purple", "orange", "blue")
