"""Boxes, turned profiles, rods, tubes and cushions: what `shapes` builds its furniture from.

    leg = rod((0, 0, 0), (0, 0.4, 0), 0.02, 0.015, STEEL)
    top = box((1.2, 0.03, 0.6), (0, 0.4, 0), OAK)

Lengths are in metres, +Y is up. A solid that stands is placed by the middle of its underside (`at`).
Letters for shapes: V vertices, F faces, K points of a path or profile, S sides around an axis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, float, float]

CREASE = math.cos(math.radians(40))
"""Neighbouring bands of a profile that bend more than 40 degrees get an edge, less is shaded smooth."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a solid looks like."""

    color: tuple[float, float, float]
    """sRGB, 0..1."""
    metallic: float = 0.0
    roughness: float = 0.8
    color_name: str = ""
    """What a person would call the colour; empty where nobody says it."""
    substance: str = ""
    """wood, metal, fabric ...; empty where nobody says it."""


@dataclass(frozen=True, kw_only=True)
class Solid:
    """One surface of one material."""

    vertices: Floats
    """[V, 3]"""
    normals: Floats
    """[V, 3], outward, of length 1."""
    faces: NDArray[np.int64]
    """[F, 3], counter-clockwise seen from outside."""
    material: Material

    def moved(self, by: Point) -> "Solid":
        return replace(self, vertices=self.vertices + np.array(by))

    def turned(self, axis: str, degrees: float) -> "Solid":
        """Turned about a coordinate axis through the origin, counter-clockwise for one who looks against it."""
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        return replace(self, vertices=self.vertices @ turn.T, normals=self.normals @ turn.T)


def box(size: Point, at: Point, material: Material) -> Solid:
    """A box with sharp edges."""
    half = np.array(size) / 2
    vertices: list[Floats] = []
    normals: list[Floats] = []
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            normal, u, v = np.zeros(3), np.zeros(3), np.zeros(3)
            normal[axis], u[(axis + 1) % 3], v[(axis + 2) % 3] = sign, sign, 1.0  # u x v = normal
            start = 4 * len(normals)
            vertices += [normal - u - v, normal + u - v, normal + u + v, normal - u + v]
            normals.append(normal)
            faces += [(start, start + 1, start + 2), (start, start + 2, start + 3)]
    middle = np.add(at, (0, half[1], 0))
    return Solid(
        vertices=np.array(vertices) * half + middle, normals=np.repeat(normals, 4, axis=0), faces=np.array(faces), material=material
    )


def cushion(size: Point, at: Point, radius: float, material: Material) -> Solid:
    """A box with edges rounded by a radius, smooth all over."""
    half = np.array(size) / 2
    radius = min(radius, 0.999 * half.min())
    core = half - radius
    bend = radius * np.tan(np.radians([0, 15, 30, 45]))
    lines = [np.concatenate([-h - bend[::-1], h + bend]) for h in core]  # the last lies on the box itself
    vertices: list[Floats] = []
    faces = []
    for axis in range(3):
        n = len(bend) * 2
        u, v = np.meshgrid(lines[(axis + 1) % 3], lines[(axis + 2) % 3], indexing="ij")
        for sign in (-1.0, 1.0):
            side = np.empty((n * n, 3))
            side[:, axis], side[:, (axis + 1) % 3], side[:, (axis + 2) % 3] = sign * half[axis], u.ravel(), v.ravel()
            corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel() + len(vertices) * n * n
            quad = [corner, corner + n, corner + n + 1, corner + 1][:: int(sign)]
            faces += [np.stack(quad[:3], axis=1), np.stack([quad[0], quad[2], quad[3]], axis=1)]
            vertices.append(side)
    on_box = np.concatenate(vertices)  # [V, 3]
    inner = np.clip(on_box, -core, core)
    normals = unit(on_box - inner)
    middle = np.add(at, (0, half[1], 0))
    return Solid(vertices=inner + radius * normals + middle, normals=normals, faces=np.concatenate(faces), material=material)


def turned(profile: Sequence[tuple[float, float]], at: Point, material: Material, *, sides: int = 32, squash: float = 1.0) -> Solid:
    """What a lathe makes: a profile turned about the vertical axis through `at`.

    Args:
        profile: (radius, height) [K, 2], with the solid on the left of the way along it: on the outside it goes up.
        squash: depth over width of the cross-section.
    """
    line = np.array(profile, float)
    step = np.diff(line, axis=0)
    out = unit(np.stack([step[:, 1], -step[:, 0]], axis=1))  # [K - 1, 2]: normal of each band as (radial, up)
    first, last = out.copy(), out.copy()  # at the two rims of each band
    smooth = (out[:-1] * out[1:]).sum(axis=1) > CREASE
    first[1:][smooth] = last[:-1][smooth] = unit(out[:-1] + out[1:])[smooth]
    angle = np.arange(sides) * (2 * math.pi / sides)
    around = np.stack([np.sin(angle), np.cos(angle)], axis=1)  # [S, 2]: x and z
    vertices, normals, faces = [], [], []
    j, k = np.arange(sides), (np.arange(sides) + 1) % sides
    for band in range(len(step)):
        low = 2 * sides * band
        for point, normal in ((line[band], first[band]), (line[band + 1], last[band])):
            vertices.append(np.stack([point[0] * around[:, 0], np.full(sides, point[1]), point[0] * squash * around[:, 1]], axis=1))
            normals.append(np.stack([normal[0] * around[:, 0], np.full(sides, normal[1]), normal[0] / squash * around[:, 1]], axis=1))
        # On the axis a rim is one point, and one triangle of each square has no area.
        if line[band, 0] > 0:
            faces.append(np.stack([low + j, low + k, low + sides + k], axis=1))
        if line[band + 1, 0] > 0:
            faces.append(np.stack([low + j, low + sides + k, low + sides + j], axis=1))
    return Solid(
        vertices=np.concatenate(vertices) + np.array(at),
        normals=unit(np.concatenate(normals)),
        faces=np.concatenate(faces),
        material=material,
    )


def lathe(profile: Sequence[tuple[float, float]], material: Material, *, sides: int = 32, squash: float = 1.0) -> Solid:
    """A profile turned about the Y axis itself. See `turned`."""
    return turned(profile, (0, 0, 0), material, sides=sides, squash=squash)


def scaled(profile: Sequence[tuple[float, float]], wide: float, tall: float | None = None) -> list[tuple[float, float]]:
    """A profile or an outline of size 1 drawn at a size; as tall as wide unless told."""
    return [(x * wide, y * (wide if tall is None else tall)) for x, y in profile]


def disc(radius: float, height: float, at: Point, material: Material, *, sides: int = 32, squash: float = 1.0) -> Solid:
    """A cylinder that stands."""
    return turned([(0, 0), (radius, 0), (radius, height), (0, height)], at, material, sides=sides, squash=squash)


def rod(start: Point, end: Point, start_radius: float, end_radius: float, material: Material, *, sides: int = 16) -> Solid:
    """A round bar between two points, thicker at one end if wanted."""
    way = np.subtract(end, start)
    length = float(np.linalg.norm(way))
    bar = turned([(0, 0), (start_radius, 0), (end_radius, length), (0, length)], (0, 0, 0), material, sides=sides)
    frame = _frame(way / length)
    return replace(bar, vertices=bar.vertices @ frame + np.array(start), normals=bar.normals @ frame)


def dowel(start: Point, end: Point, radius: float, material: Material, *, sides: int = 16) -> Solid:
    """A round bar of one thickness between two points."""
    return rod(start, end, radius, radius, material, sides=sides)


def tube(path: Floats, radius: float, material: Material, *, sides: int = 12) -> Solid:
    """A round bar along a curve [K, 3], open at its ends, which belong inside other solids."""
    ways = unit(np.gradient(path, axis=0))
    across = _frame(ways[0])[2]
    angle = np.arange(sides) * (2 * math.pi / sides)
    normals = []
    for way in ways:
        across = across - way * (across @ way)  # carried along the curve without twist
        across /= np.linalg.norm(across)
        normals.append(np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * np.cross(way, across))
    j, k = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = []
    for low in range(0, sides * (len(path) - 1), sides):
        faces += [np.stack([low + j, low + k, low + sides + k], axis=1), np.stack([low + j, low + sides + k, low + sides + j], axis=1)]
    ring = np.array(normals)  # [K, S, 3]
    vertices = (path[:, None] + radius * ring).reshape(-1, 3)
    return Solid(vertices=vertices, normals=ring.reshape(-1, 3), faces=np.concatenate(faces), material=material)


def _frame(up: Floats) -> Floats:
    """Rows: a right-handed frame whose Y is the unit vector `up`. `points @ frame` stands points that stood on Y on it."""
    side = np.cross(up, (0.0, 0.0, 1.0) if abs(up[2]) < 0.9 else (1.0, 0.0, 0.0))
    side /= np.linalg.norm(side)
    return np.array([side, up, np.cross(side, up)])


def unit(vectors: Floats) -> Floats:
    """Vectors [..., 3] of length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
