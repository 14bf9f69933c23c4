"""The basic solids - boxes, turned profiles, rods, tubes, cushions, balls - and how they are placed.

    leg = rod((0, 0, 0), (0, 0.4, 0), 0.02, 0.015, STEEL)
    top = box((1.2, 0.03, 0.6), (0, 0.4, 0), OAK)

Lengths are in metres, +Y is up. A solid that stands is placed by the middle of its underside (`at`).
Letters for shapes: V vertices, F faces, K points of a path or profile, S sides around an axis.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, float, float]
Line = list[tuple[float, float]]
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
    part: str | NDArray[np.str_] = ""
    """The part of the thing that it belongs to, a name in `thing.PARTS`: one for all faces, or one for each [F]. Empty if unknown."""

    def named(self, part: str, *, above: float = -math.inf, below: float = math.inf, axis: str = "y", first: int | None = None) -> "Solid":
        """Name the faces that have no name yet.

        Args:
            part: their name.
            above: only of faces whose middle is above this coordinate.
            below: only of faces whose middle is not above this coordinate.
            axis: the axis of `above` and `below`.
            first: only of so many faces at the beginning: those of the first bands of a profile or skin.
        """
        if above == -math.inf and below == math.inf and first is None and isinstance(self.part, str):
            return self if self.part else replace(self, part=part)
        middle = self.vertices[self.faces][:, :, "xyz".index(axis)].mean(axis=1)
        chosen = (np.broadcast_to(self.part, len(self.faces)) == "") & (middle > above) & (middle <= below)
        if first is not None:
            chosen[first:] = False
        return replace(self, part=np.where(chosen, part, self.part))

    def hidden(self, part: str, at: float, axis: str = "y") -> "Solid":
        """Name a flat side, which lies at a coordinate `at`, after the part that hides it.

        Two surfaces that touch would otherwise have two names in one place, and only the outer one is seen.
        """
        return self.named(part, above=at - 1e-6, below=at + 1e-6, axis=axis)

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
    core, bend = half - radius, radius * np.tan(np.radians([0, 15, 30, 45]))
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
    normals, middle = unit(on_box - inner), np.add(at, (0, half[1], 0))
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
        faces += [np.stack([low + j, low + k, low + sides + k], axis=1)] if line[band, 0] > 0 else []
        faces += [np.stack([low + j, low + sides + k, low + sides + j], axis=1)] if line[band + 1, 0] > 0 else []
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
    """A rod of one radius."""
    return rod(start, end, radius, radius, material, sides=sides)


def tube(path: Floats, radius: float, material: Material, *, sides: int = 12) -> Solid:
    """A round bar along a curve [K, 3], open at its ends, which belong inside other solids."""
    ways = unit(np.gradient(path, axis=0))
    across, angle = _frame(ways[0])[2], np.arange(sides) * (2 * math.pi / sides)
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
    """Vectors [..., D] of length 1; up (Y) where there is no direction."""
    size = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.where(size > 1e-12, vectors / np.maximum(size, 1e-12), np.eye(vectors.shape[-1])[1]))


def facing(profile: Line, at: Point, material: Material, *, sides: int = 32) -> Solid:
    """A turned profile whose axis points to the viewer."""
    return turned(profile, (0, 0, 0), material, sides=sides).turned("x", 90).moved(at)


def knob(radius: float, deep: float, at: Point, material: Material) -> Solid:
    x, y, z = at
    return rod(at, (x, y, z + deep), radius, radius * 0.82, material, sides=20)


def ball(radius: float, at: Point, material: Material, squash: float = 1.0, *, rings: int = 10, sides: int = 24) -> Solid:
    """A ball around a point, `squash` times as high as wide."""
    angle = np.linspace(-math.pi / 2, math.pi / 2, rings + 1)
    line = [(max(0.0, radius * math.cos(a)), radius * squash * math.sin(a)) for a in angle]
    line[0], line[-1] = (0.0, line[0][1]), (0.0, line[-1][1])
    return turned(line, at, material, sides=sides)


def bulb(radius: float, at: Point, material: Material, tall: float = 1.0, sides: int = 24, squash: float = 1.0, rings: int = 12) -> Solid:
    angle = np.linspace(0, math.pi, rings + 1)
    line = [(radius * math.sin(a) if 0 < a < math.pi else 0.0, -radius * tall * math.cos(a)) for a in angle]
    return turned(line, at, material, sides=sides, squash=squash)


def ring_of(radius: float, thick: float, at: Point, material: Material) -> Solid:
    """Lies flat."""
    bow = np.linspace(-math.pi / 2, 3 * math.pi / 2, 11)
    line = [(radius + thick * math.cos(a), thick * math.sin(a)) for a in bow]
    return turned(line, at, material, sides=32)


def bevelled(size: tuple[float, float, float], at: tuple[float, float, float], cut: float, material: Material) -> Solid:
    """A box whose side towards +Z is smaller all around by `cut`; lighter than a cushion, for what occurs many times."""
    block = box(size, (0, -size[1] / 2, 0), material)
    vertices = block.vertices * np.where(block.vertices[:, 2:] > 0, (1 - 2 * cut / size[0], 1 - 2 * cut / size[1], 1), 1)
    quads = vertices.reshape(6, 4, 3)
    normals = np.cross(quads[:, 1] - quads[:, 0], quads[:, 2] - quads[:, 0])
    normals = np.repeat(normals / np.linalg.norm(normals, axis=1)[:, None], 4, axis=0)
    return replace(block, vertices=vertices, normals=normals).moved((at[0], at[1] + size[1] / 2, at[2]))


def named(part: str, solids: Iterable[Solid]) -> list[Solid]:
    """Name the faces of several solids that have no name yet."""
    return [solid.named(part) for solid in solids]


def joined(solids: Sequence[Solid]) -> Solid:
    """Several of one material as one."""
    starts = np.cumsum([0, *(len(solid.vertices) for solid in solids[:-1])])
    return Solid(
        vertices=np.concatenate([solid.vertices for solid in solids]),
        normals=np.concatenate([solid.normals for solid in solids]),
        faces=np.concatenate([solid.faces + start for solid, start in zip(solids, starts, strict=True)]),
        material=solids[0].material,
        part=np.concatenate([np.broadcast_to(solid.part, len(solid.faces)) for solid in solids]),
    )


def placed(solids: Sequence[Solid], at: Point, *, lean: float = 0.0, turn: float = 0.0) -> list[Solid]:
    """Leant back about X, then turned about Y, then moved."""
    return [solid.turned("x", -lean).turned("y", turn).moved(at) for solid in solids]


ROOM: Final = 5.6


def grounded(solids: Sequence[Solid], room: float = ROOM) -> tuple[Solid, ...]:
    """Set on the ground, and shrunk if it is larger than the room."""
    low = np.min([solid.vertices.min(axis=0) for solid in solids], axis=0)
    high = np.max([solid.vertices.max(axis=0) for solid in solids], axis=0)
    scale = min(1.0, room / float((high - low).max()))
    shift = np.array([-(low[0] + high[0]) / 2, -low[1], -(low[2] + high[2]) / 2])
    return tuple(replace(solid, vertices=(solid.vertices + shift) * scale) for solid in solids)


def repeated(solids: Sequence[Solid], count: int, start: float = 0.0) -> list[Solid]:
    """Copies about the vertical axis."""
    return [solid.turned("y", start + i * 360 / count) for i in range(count) for solid in solids]


def levelled(solids: Sequence[Solid]) -> tuple[Solid, ...]:
    """Cut off by the floor: the ends of slanting legs."""
    return tuple(replace(solid, vertices=np.maximum(solid.vertices, (-np.inf, 0, -np.inf))) for solid in solids)
