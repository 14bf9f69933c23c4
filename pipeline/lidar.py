"""A laser scanner on a car, which sees a shape that stands on the street some metres away.

    scan = scanned(mesh, Lidar(), rng)          # the mesh stands where `placed` put it; points in the axes of the sensor's car

The scanner turns about the vertical axis. Each of its lasers has a fixed elevation, so the points of one laser lie on a ring. Rays are
intersected with triangles directly. A picture as `pipeline.scan` draws it has square pixels in a wide field of view: too coarse for a car
at 70 m, where neighbouring rays are 0.2 degrees apart.

Lengths are metres, +Y is up, the street is y = 0, and the sensor is above the origin. All random numbers come from the generators that are
passed in. The same mesh and the same numbers give the same points on every machine up to rounding.

Letters: R rays, F triangles, n points.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema.checks import within
from cache_schema.errors import UserError
from pipeline.geometry import Mesh
from pipeline.scan import bounds, moved, rotation, standing

PAIRS: Final = 2_000_000
"""Largest number of pairs of a ray and a triangle that are intersected at a time."""

GRAZING: Final = math.cos(math.radians(87))
"""Least cosine between ray and normal of a surface that returns light, if any rays are lost."""


@dataclass(frozen=True, kw_only=True)
class Lidar:
    """A turning laser scanner. The defaults are those of a Velodyne HDL-64E, the scanner of KITTI. With noise 0 and drop 0 it is exact."""

    rings: int = 64
    """Number of lasers, evenly spread from `lowest` to `highest`."""
    lowest: float = -24.8
    """Elevation of the lowest laser in degrees."""
    highest: float = 2.0
    """Elevation of the highest laser in degrees."""
    step: float = 0.17
    """Angle in degrees between two shots of a laser: at 10 turns a second."""
    height: float = 1.7
    """Height of the sensor above the street."""
    noise: float = 0.02
    """Standard deviation of the measured distance."""
    drop: float = 0.1
    """Share of the rays that come back from no surface. With any drop, rays that graze a surface are lost, too."""

    def __post_init__(self) -> None:
        within("rings", self.rings, 1, 256)
        within("lowest", self.lowest, -80, 80)
        within("highest", self.highest, -80, 80)
        within("step", self.step, 0.01, 10)
        within("height", self.height, 0.1, 20)
        within("noise", self.noise, 0, 1)
        within("drop", self.drop, 0, 0.99)
        if self.rings > 1 and self.lowest >= self.highest:
            raise UserError(f"lowest must be below highest, got {self.lowest:g} and {self.highest:g}")

    @property
    def elevations(self) -> NDArray[np.float64]:
        """Elevation of each laser in radians, from low to high."""
        return np.radians(np.linspace(self.lowest, self.highest, self.rings))


class Returns(NamedTuple):
    """What came back to the sensor."""

    points: NDArray[np.float64]
    """[n, 3], in order of the lasers from low to high, then of the azimuth."""
    ring: NDArray[np.int64]
    """[n] number of the laser."""
    part: NDArray[np.int64]
    """[n] number of the part of the mesh."""


def placed(mesh: Mesh, distance: float, bearing: float) -> Mesh:
    """Move a mesh that stands on the street at the origin (`pipeline.scan.standing`) to a distance from the sensor and a bearing.

    Args:
        mesh: the mesh.
        distance: from the vertical axis of the sensor to that of the mesh.
        bearing: azimuth in radians; 0 is +Z, where the car drives.

    Raises:
        UserError: the sensor would be inside the box of the mesh.
    """
    low, high = bounds(mesh)
    if distance <= math.hypot(*np.maximum(np.abs(low), np.abs(high))[[0, 2]]):
        raise UserError(f"a shape of {high[0] - low[0]:.1f} x {high[2] - low[2]:.1f} m at {distance:g} m would reach the sensor")
    return moved(mesh, np.eye(3), np.array([math.sin(bearing) * distance, 0.0, math.cos(bearing) * distance]))


def on_street(mesh: Mesh, size: float, heading: float) -> Mesh:
    """Turn a mesh by an angle in radians about the vertical axis, make its longest side `size` long, and stand it on the origin."""
    low, high = bounds(mesh)
    # `standing` measures the box after the turn; the length of a car does not depend on where it heads.
    turned = moved(mesh, rotation(heading))
    then_low, then_high = bounds(turned)
    return standing(turned, size * float((then_high - then_low).max() / (high - low).max()))


def scanned(mesh: Mesh, lidar: Lidar, rng: np.random.Generator) -> Returns:
    """Scan a mesh once. Only rays that may hit its box are shot; the sensor is above the origin.

    Args:
        mesh: in metres, on the street.
        lidar: the sensor.
        rng: random numbers of the sensor: its first azimuth, and for each hit its noise and whether it is lost.
    """
    low, high = bounds(mesh)
    middle = math.atan2((low[0] + high[0]) / 2, (low[2] + high[2]) / 2)
    corners = np.array([(x, z) for x in (low[0], high[0]) for z in (low[2], high[2])])
    around = np.arctan2(corners[:, 0], corners[:, 1]) - middle
    around = (around + math.pi) % (2 * math.pi) - math.pi
    step = math.radians(lidar.step)
    shift = rng.random()
    columns = np.arange(math.floor(around.min() / step) - 1, math.ceil(around.max() / step) + 2) + shift  # in steps from the middle
    triangles, part = _triangles(mesh)
    sensor = np.array([0.0, lidar.height, 0.0])
    distance, hit = cast(triangles - sensor, lidar.elevations, middle + columns * step)
    rows = np.flatnonzero(np.isfinite(distance))
    ring, column = np.divmod(rows, len(columns))
    direction = directions(lidar.elevations[ring], middle + columns[column] * step)
    measured = distance[rows] + lidar.noise * rng.normal(size=len(rows))
    kept = rng.random(len(rows)) >= lidar.drop
    if lidar.drop:
        kept &= _cosine(triangles[hit[rows]], direction) >= GRAZING
    points = sensor + measured[:, None] * direction
    return Returns(points[kept], ring[kept], part[hit[rows]][kept])


def directions(elevation: NDArray[np.float64], azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors `[..., 3]` for elevations and azimuths in radians; azimuth 0 is +Z and a quarter turn is +X."""
    flat = np.cos(elevation)
    return np.stack([flat * np.sin(azimuth), np.sin(elevation) + 0 * azimuth, flat * np.cos(azimuth)], axis=-1)


def cast(
    triangles: NDArray[np.float64], elevations: NDArray[np.float64], azimuths: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Shoot a grid of rays from the origin.

    Args:
        triangles: `[F, 3, 3]` corners.
        elevations: of the rows of the grid in radians, ascending.
        azimuths: of the columns in radians, ascending, less than a turn apart.

    Returns:
        For each ray, rows first: the distance of the nearest triangle (infinite for none), and its number (-1).
    """
    found = np.full(len(elevations) * len(azimuths), np.inf)
    which = np.full(len(found), -1)
    first_row, rows, first_column, columns = _windows(triangles, elevations, azimuths)
    ends = np.cumsum(rows * columns)
    begin = 0
    while begin < len(triangles):
        done = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, done + PAIRS, side="right")), begin + 1)
        some = np.repeat(np.arange(begin, end), (rows * columns)[begin:end])  # [pairs] triangles
        place = np.arange(len(some)) - np.repeat(ends[begin:end] - (rows * columns)[begin:end] - done, (rows * columns)[begin:end])
        row, column = np.divmod(place, np.maximum(columns[some], 1))
        row, column = row + first_row[some], column + first_column[some]
        far = _distances(triangles[some], directions(elevations[row], azimuths[column]))
        good = np.isfinite(far)
        ray, far, some = (row * len(azimuths) + column)[good], far[good], some[good]
        order = np.lexsort((some, far, ray))  # of equally far triangles the first one
        ray, far, some = ray[order], far[order], some[order]
        nearest = np.flatnonzero(np.diff(ray, prepend=-1))
        ray, far, some = ray[nearest], far[nearest], some[nearest]
        closer = far < found[ray]
        found[ray[closer]], which[ray[closer]] = far[closer], some[closer]
        begin = end
    return found, which


def _windows(
    triangles: NDArray[np.float64], elevations: NDArray[np.float64], azimuths: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rays that may hit each triangle: first row, number of rows, first column, number of columns, `[F]` each.

    They are the rays through a sphere around the triangle. If the sensor is in the sphere, or above or below it, they are all rays.
    """
    middle = triangles.mean(axis=1)  # [F, 3]
    radius = np.linalg.norm(triangles - middle[:, None], axis=2).max(axis=1) * (1 + 1e-9) + 1e-9
    away, flat = np.linalg.norm(middle, axis=1), np.hypot(middle[:, 0], middle[:, 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        up, side = np.arcsin(np.minimum(radius / away, 1)), np.arcsin(np.minimum(radius / flat, 1))
        elevation, azimuth = np.arcsin(middle[:, 1] / away), np.arctan2(middle[:, 0], middle[:, 2])
    around = radius >= away
    row = np.where(around, 0, np.searchsorted(elevations, elevation - up))
    rows = np.where(around, len(elevations), np.searchsorted(elevations, elevation + up, side="right")) - row
    centre = (azimuths[0] + azimuths[-1]) / 2
    azimuth = centre + (azimuth - centre + math.pi) % (2 * math.pi) - math.pi
    whole = radius >= flat
    # A window may reach over the far side of the circle, where azimuths begin again.
    whole |= (azimuth - side < centre - math.pi) | (azimuth + side > centre + math.pi)
    column = np.where(whole, 0, np.searchsorted(azimuths, azimuth - side))
    columns = np.where(whole, len(azimuths), np.searchsorted(azimuths, azimuth + side, side="right")) - column
    return row, rows, column, columns


def _distances(triangles: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the origin to each triangle `[n, 3, 3]` along a direction `[n, 3]`, infinite without a hit (Moeller and Trumbore,
    https://doi.org/10.1080/10867651.1997.10487468). Both sides of a triangle are hit."""
    corner, one, two = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    across = np.cross(direction, two)
    size = (one * across).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = -(corner * across).sum(axis=1) / size
        beside = np.cross(-corner, one)
        v = (direction * beside).sum(axis=1) / size
        far = (two * beside).sum(axis=1) / size
        hit = (size != 0) & (u >= 0) & (v >= 0) & (u + v <= 1) & (far > 0)
    return np.where(hit, far, np.inf)


def _triangles(mesh: Mesh) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Corners `[F, 3, 3]` of all opaque triangles, and the part `[F]` each belongs to."""
    corners = [part.vertices[part.faces].astype(np.float64) for part in mesh.parts]
    opaque = [number for number, part in enumerate(mesh.parts) if part.alpha_mode != "BLEND"]  # glass returns no light
    if not opaque:
        raise UserError("everything about it is transparent, and a laser sees no glass")
    return np.concatenate([corners[i] for i in opaque]), np.concatenate([np.full(len(corners[i]), i) for i in opaque])


def _cosine(triangles: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine between directions `[n, 3]` and the normals of triangles `[n, 3, 3]`, without sign."""
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    cosine: NDArray[np.float64] = np.abs((normal * direction).sum(axis=1)) / np.linalg.norm(normal, axis=1)
    return cosine
