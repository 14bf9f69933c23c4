"""A shape in memory: triangles with their materials, or a cloud of points; and what can be done to either.

    shape = normalized(shape, "unit_sphere")                 # area centroid at the origin, farthest vertex at distance 1

Colours are sRGB, as they are seen on a screen, whatever the file held.

Letters: V vertices, F triangles, n points of a cloud, H x W texture pixels, k copies of a part in a scene.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from cache_schema.errors import UserError

GREY: Final = 190 / 255
"""What has no colour of its own is this grey, in pictures and in points."""

REACH: Final = 1e15
"""Coordinates beyond this cannot be squared in float32."""

TRIANGLES: Final = 60_000_000
"""A scene that expands to more triangles than this, by copies of copies, is refused before it is built."""

PER_VERTEX: Final = ("vertices", "normals", "uv", "colors")
"""The arrays of a `Part` that hold one row for each vertex."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Triangles of one material, in world coordinates."""

    vertices: np.ndarray
    """[V, 3] float32."""
    faces: np.ndarray
    """[F, 3] int32. Winding says nothing: files are inconsistent about it."""
    normals: np.ndarray | None = None
    """[V, 3] float32, unit length, where the file gave them."""
    uv: np.ndarray | None = None
    """[V, 2] float32. (0, 0) is the lower left corner of the texture, which repeats."""
    colors: np.ndarray | None = None
    """[V, 4] uint8. Multiplies the base colour and the texture."""
    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    texture: np.ndarray | None = None
    """[H, W, 4] uint8, row 0 at the top."""
    metallic: float = 0.0
    roughness: float = 1.0
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A surface."""

    parts: tuple[Part, ...]
    """No two of the same material where they come from a file."""
    colored: bool
    """False where nothing said a colour and all is grey."""
    warnings: tuple[str, ...] = ()
    """What a reader left out, and the shape is still right without."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A point cloud."""

    points: np.ndarray
    """[n, 3] float32."""
    colors: np.ndarray | None = None
    """[n, 3] uint8."""
    warnings: tuple[str, ...] = ()
    """What a reader left out, and the shape is still right without."""

    @property
    def colored(self) -> bool:
        return self.colors is not None


Geometry = Mesh | Cloud


def normalized(geometry: Geometry, how: Literal["unit_sphere", "none"]) -> Geometry:
    """Moves a shape to where the cache keeps it, after checking that there is something to keep.

    `unit_sphere` puts the area centroid (of a cloud: the mean) at the origin and the farthest vertex at distance 1;
    `none` only checks.

    Raises:
        UserError: coordinates are not finite or beyond float32, the surface has no area, a cloud has fewer than two
            different points.
    """
    if isinstance(geometry, Cloud):
        points = geometry.points.astype(np.float64)
        _check_coordinates([points])
        if not len(points) or np.all(points == points[0]):
            raise UserError(f"the cloud has {len(points)} points and no two different ones")
        center = points.mean(axis=0)
        radius = np.linalg.norm(points - center, axis=1).max()
        moved = ((points - center) / radius).astype(np.float32)
        return geometry if how == "none" else dataclasses.replace(geometry, points=moved)

    parts = [compact(part) for part in geometry.parts]
    _check_coordinates([part.vertices for part in parts])
    sums, area = np.zeros(3), 0.0
    for part in parts:
        for corners, areas in triangles(part):
            sums += areas @ corners.mean(axis=1)
            area += areas.sum()
    low, high = _bounds([part.vertices for part in parts])
    if area <= 1e-12 * np.sum((high - low) ** 2):
        raise UserError("the surface has no area: its triangles are all points or lines")
    if how == "none":
        return dataclasses.replace(geometry, parts=tuple(parts))
    center = sums / area
    radius = max(np.linalg.norm(part.vertices - center, axis=1).max() for part in parts)
    moved = [dataclasses.replace(part, vertices=((part.vertices - center) / radius).astype(np.float32)) for part in parts]
    return dataclasses.replace(geometry, parts=tuple(moved))


def triangles(part: Part, at_once: int = 1_000_000) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Corners `[f, 3, 3]` and areas `[f]` of all triangles in order, float64, a bounded number at a time."""
    for start in range(0, len(part.faces), at_once):
        corners = part.vertices[part.faces[start : start + at_once]].astype(np.float64)  # [f, 3, 3]
        sides = corners[:, 1:] - corners[:, :1]
        yield corners, np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2


def unit(normals: np.ndarray | None, count: int) -> np.ndarray | None:
    """Normals of unit length, or None where they are none."""
    if normals is None or np.shape(normals) != (count, 3):
        return None
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / length if np.isfinite(length).all() and length.min() > 1e-12 else None


def rgba(colors: np.ndarray, linear: bool = False) -> np.ndarray:
    """Colours of any type as `[n, 4]` uint8."""
    colors = np.asarray(colors)
    if colors.dtype.kind == "f":
        colors = np.rint(np.clip(np.nan_to_num(colors), 0, 1) * 255)
    elif colors.dtype.itemsize == 2:
        colors = colors >> 8
    colors = colors.astype(np.uint8)
    rgb = np.rint(display(np.arange(256) / 255) * 255).astype(np.uint8)[colors[:, :3]] if linear else colors[:, :3]
    alpha = colors[:, 3:4] if colors.shape[1] == 4 else np.full((len(colors), 1), 255, np.uint8)
    return np.hstack([rgb, alpha])


def display(light: np.ndarray) -> np.ndarray:
    """Linear light 0..1 as sRGB 0..1 (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def taken(part: Part, rows: np.ndarray) -> Part:
    """The part with these of its vertices; the faces are the caller's business."""
    arrays = {name: getattr(part, name) for name in PER_VERTEX}
    return dataclasses.replace(part, **{name: array[rows] for name, array in arrays.items() if array is not None})


def compact(part: Part) -> Part:
    """The part without vertices that no triangle uses."""
    used = np.zeros(len(part.vertices), bool)
    used[part.faces] = True
    if used.all():
        return part
    return dataclasses.replace(taken(part, np.flatnonzero(used)), faces=(np.cumsum(used, dtype=np.int32) - 1)[part.faces])


def copied(part: Part, matrices: np.ndarray) -> Part:
    """The part at each of the places `[k, 4, 4]`, as one."""
    k, count = len(matrices), len(part.vertices)
    with np.errstate(all="ignore"):  # infinite coordinates and flattening matrices are told apart later
        vertices = np.einsum("kij,vj->kvi", matrices[:, :3, :3], part.vertices) + matrices[:, None, :3, 3]  # [k, V, 3]
        normals = None
        if part.normals is not None:
            # Normals go by the inverse transpose, which is the cofactor matrix up to scale and exists for flat copies too.
            a, b, c = np.moveaxis(matrices[:, :3, :3], 1, 0)
            cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
            normals = unit(np.einsum("kij,vj->kvi", cofactors, part.normals).reshape(-1, 3), k * count)
    faces = part.faces[None] + np.arange(k)[:, None, None] * count  # [k, F, 3]
    return dataclasses.replace(
        part,
        vertices=vertices.reshape(-1, 3),
        faces=faces.reshape(-1, 3),
        normals=normals,
        uv=None if part.uv is None else np.tile(part.uv, (k, 1)),
        colors=None if part.colors is None else np.tile(part.colors, (k, 1)),
    )


def joined(parts: list[Part]) -> Part:
    """Parts of one material as one. Where their base colours differ, these go into vertex colours."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if any(p.colors is not None or p.base_color != first.base_color for p in parts):
        parts = [dataclasses.replace(p, colors=baked(p), base_color=(1.0, 1.0, 1.0, 1.0)) for p in parts]
    starts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    stacked: dict[str, Any] = {
        name: None if any(getattr(p, name) is None for p in parts) else np.concatenate([getattr(p, name) for p in parts])
        for name in PER_VERTEX
    }
    faces = np.concatenate([p.faces + start for p, start in zip(parts, starts, strict=True)])
    return dataclasses.replace(parts[0], faces=faces, **stacked)


def baked(part: Part) -> np.ndarray:
    """Vertex colours times base colour, `[V, 4]` uint8."""
    colors = np.full((len(part.vertices), 4), 255, np.uint8) if part.colors is None else part.colors
    return np.rint(colors * np.asarray(part.base_color)).astype(np.uint8)


def finished_mesh(parts: list[Part], colored: bool) -> Mesh:
    vertices = _near([part.vertices for part in parts])
    types = {"normals": np.float32, "uv": np.float32, "faces": np.int32}
    done = []
    for part, moved in zip(parts, vertices, strict=True):
        arrays = {name: getattr(part, name) for name in types}
        cast: dict[str, Any] = {name: np.ascontiguousarray(a, types[name]) for name, a in arrays.items() if a is not None}
        done.append(dataclasses.replace(part, vertices=moved, **cast))
    return Mesh(parts=tuple(done), colored=colored)


def finished_cloud(points: np.ndarray, colors: np.ndarray | None) -> Cloud:
    if not len(points):
        raise UserError("the cloud has no points")
    return Cloud(points=_near([points])[0], colors=colors)


def _near(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Checked float64 coordinates as float32, moved to the origin where they are so far away that float32 would tear them."""
    _check_coordinates(arrays)
    low, high = _bounds(arrays)
    center = (low + high) / 2
    far = np.linalg.norm(center) > 100 * np.linalg.norm(high - low)
    return [np.ascontiguousarray(a - center if far else a, np.float32) for a in arrays]


def _bounds(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    low = np.min([a.min(axis=0) for a in arrays], axis=0).astype(np.float64)
    return low, np.max([a.max(axis=0) for a in arrays], axis=0).astype(np.float64)


def _check_coordinates(arrays: list[np.ndarray]) -> None:
    """Raises `UserError` for coordinates `[.., 3]` that nothing can be computed with."""
    for array in arrays:
        bad = np.count_nonzero(~np.isfinite(array).all(axis=1))
        if bad:
            raise UserError(f"{bad:,} of {len(array):,} vertices in use are not finite (NaN or infinity)")
        if len(array) and np.abs(array).max() > REACH:
            raise UserError(f"coordinates reach {np.abs(array).max():.3g}; beyond {REACH:g} nothing can be computed in float32")


def grouped(parts: Iterable[Part]) -> list[Part]:
    """Parts of one material made one, in the order in which materials first appear.

    Two parts have one material where they share the texture array itself and agree in everything but base and vertex colours.
    """
    groups: dict[Any, list[Part]] = {}
    for part in parts:
        look = (part.metallic, part.roughness, part.emissive, part.alpha_mode, part.alpha_cutoff)
        groups.setdefault((id(part.texture), *look, part.uv is None, part.normals is None), []).append(part)
    return [joined(alike) for alike in groups.values()]


def finished(geometry: Geometry, up: Literal["x", "y", "z"]) -> Geometry:
    """What a format gave, turned so that +Y is up, checked, and in float32.

    Args:
        geometry: coordinates in the file's own axes, of any float type.
        up: which of these axes points up.

    Raises:
        UserError: coordinates are not finite or beyond `REACH`, or a cloud has no points.
    """
    turn = np.array({"x": [[0, -1, 0], [1, 0, 0], [0, 0, 1]], "y": np.eye(3), "z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]]}[up], np.float64)
    _check_coordinates([geometry.points] if isinstance(geometry, Cloud) else [part.vertices for part in geometry.parts])
    if isinstance(geometry, Cloud):
        done = finished_cloud(geometry.points.astype(np.float64) @ turn.T, geometry.colors)
        return dataclasses.replace(done, warnings=geometry.warnings)
    parts = [
        dataclasses.replace(p, vertices=p.vertices.astype(np.float64) @ turn.T, normals=None if p.normals is None else p.normals @ turn.T)
        for p in geometry.parts
    ]
    return dataclasses.replace(finished_mesh(parts, geometry.colored), warnings=geometry.warnings)
