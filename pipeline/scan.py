"""A virtual depth camera that is carried around an object, as people scan furniture with a hand-held sensor.

    walk = poses_around(low, high, 12, rng)             # the object's box stands on the floor y = 0; 12 camera-to-world matrices
    scan = scanned(mesh, walk, Sensor(), rng)           # points of everything that was seen, and which part of the mesh each saw
    around = room(mesh, neighbour, rng)                 # the same object with a floor, a wall and a neighbour

The camera stays at head height on one side of the object. So a scan has no undersides and no back, and what stands in front hides what is
behind. The sensor adds what depth sensors add: noise that grows with the square of the distance, rounding, points that fly between a near
and a far surface, and holes.

Lengths are metres, +Y is up. All random numbers come from the generators that are passed in, so that a scan depends on nothing else.
The renderer makes the depth pictures, see `Renderer.shots`.

Letters: K poses, H x W pixels, n points.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from cache_schema.checks import within
from cache_schema.errors import UserError
from cache_schema.spec import Camera, CameraRig, ViewSpec
from pipeline.geometry import Mesh, Part, compact, copied, extent

if TYPE_CHECKING:
    from pipeline.render import Renderer

FOV: Final = 58.0
"""Field of view in degrees, as wide as that of the first Kinect."""

VOXEL: Final = 0.01
"""Side in metres of the cubes whose points become one point. Reconstructions of rooms have about this detail."""

JUMP: Final = 0.05
"""Least difference in depth, in metres, between pixels side by side that makes an edge."""

FLYING: Final = 0.25
"""Share of the pixels at an edge whose depth lies anywhere between the near and the far surface."""

EDGE_LOSS: Final = 0.5
"""Share of the pixels at an edge that are lost, if any pixels are lost."""

GRAZING: Final = math.cos(math.radians(80))
"""Least cosine between ray and normal of a surface that a sensor sees, if any pixels are lost."""

BLOB: Final = 0.015
"""Size of holes as a share of the width of the picture."""


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """A depth camera. With noise 0 and drop 0 it is exact."""

    pixels: int = 192
    """Height and width of its pictures."""
    noise: float = 0.0015
    """Standard deviation of depth at a distance of 1 m, in metres. It grows with the square of the distance: 0.0014 was measured for the
    first Kinect (Khoshelham and Elberink 2012, doi:10.3390/s120201437). Inverse depth is rounded to steps of the same number, which adds 4
    per cent. With any noise, some pixels at edges fly between the two surfaces."""
    drop: float = 0.1
    """Share of the pixels that holes at random places take. With any drop, pixels that graze a surface and half of those at edges are
    lost, too."""

    def __post_init__(self) -> None:
        within("pixels", self.pixels, 16, 1024)
        within("noise", self.noise, 0, 0.1)
        within("drop", self.drop, 0, 0.9)


class Scan(NamedTuple):
    """Points that were seen."""

    points: np.ndarray
    """[n, 3] float64."""
    part: np.ndarray
    """[n] int32: number of the part of the mesh."""
    colors: np.ndarray | None
    """[n, 3] uint8, with light and shade; None for a mesh without colours."""

    def rows(self, chosen: np.ndarray) -> "Scan":
        """Select some of the points."""
        return Scan(self.points[chosen], self.part[chosen], None if self.colors is None else self.colors[chosen])


def scanned(mesh: Mesh, walk: np.ndarray, sensor: Sensor, rng: np.random.Generator) -> Scan:
    """Scan a mesh from every pose of a walk, and bring the points together.

    Args:
        mesh: in metres, from `geometry.normalized`.
        walk: `[K, 4, 4]`, camera to world. A camera looks along its -Z.
        sensor: the camera.
        rng: random numbers of the sensor.

    Raises:
        UserError: there is no OpenGL.
    """
    seen: list[Scan] = []
    for matrix, shot in zip(walk, _renderer(sensor.pixels).shots(mesh, walk, mesh.colored), strict=True):
        depth = measured(shot.depth, sensor, rng)
        there = depth > 0
        colors = None if shot.rgb is None else shot.rgb[there]
        seen.append(Scan(back_projected(depth, matrix)[there], shot.part[there], colors))
    colored = None if not mesh.colored else np.concatenate([one.colors for one in seen if one.colors is not None])
    return Scan(np.concatenate([one.points for one in seen]), np.concatenate([one.part for one in seen]), colored)


@functools.cache
def _renderer(pixels: int) -> "Renderer":
    """Return the renderer of this process for one size of pictures. It lives as long as the process, like its context."""
    try:
        from pipeline.render import Renderer
    except ImportError as error:
        raise UserError(f"a scan is drawn, but {error}") from error
    rig = CameraRig(name="scan", cameras=(Camera(azimuth=0, elevation=0),), fov=FOV)
    return Renderer(ViewSpec(rig=rig, size=pixels, depth=True), oversampling=1)


# --------------------------------------------------------------------------------------------------------- the sensor


def rays(pixels: int) -> np.ndarray:
    """Return the direction through the middle of each pixel `[H, W, 3]` in camera space, of length 1 along the optical axis."""
    steps = ((np.arange(pixels) + 0.5) / pixels * 2 - 1) * math.tan(math.radians(FOV) / 2)
    return np.stack(np.broadcast_arrays(steps[None, :], -steps[:, None], -1.0), axis=-1)


def back_projected(depth: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn a depth picture `[H, W]` into points `[H, W, 3]` of the world. `matrix` `[4, 4]` is the pose of the camera."""
    pose = matrix.astype(np.float64)
    points: np.ndarray = (rays(len(depth)) * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
    return points


def measured(depth: np.ndarray, sensor: Sensor, rng: np.random.Generator) -> np.ndarray:
    """Return what a sensor makes of true depth `[H, W]`: the measured depth, 0 for lost pixels. See `Sensor`.

    The number of random numbers that are drawn does not depend on the picture.
    """
    chance, place, noise, lost = (rng.random(depth.shape), rng.random(depth.shape), rng.normal(size=depth.shape), rng.random(depth.shape))
    holes = gaussian_filter(rng.normal(size=depth.shape), BLOB * len(depth))
    beyond = _beyond(depth)
    edge = np.abs(beyond - depth) > JUMP
    done = depth.copy()
    if sensor.noise:
        flying = edge & (chance < FLYING)
        done[flying] += (place * (beyond - depth))[flying]
        done += sensor.noise * done**2 * noise
        there = done > 0
        done[there] = 1 / (np.maximum(np.rint(1 / done[there] / sensor.noise), 1) * sensor.noise)
    done[depth == 0] = 0
    if sensor.drop:  # holes are the deepest valleys of a smooth random field
        done[edge & (lost < EDGE_LOSS)] = 0
        done[~edge & (_cosine(depth) < GRAZING)] = 0
        left = holes[done > 0]
        if len(left):
            done[holes < np.partition(left, round(sensor.drop * len(left)))[round(sensor.drop * len(left))]] = 0
    return done


def _beyond(depth: np.ndarray) -> np.ndarray:
    """Return for each pixel of `[H, W]` the depth of that of its four neighbours that differs most; its own where all are empty."""
    padded = np.pad(depth, 1)
    around = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])  # [4, H, W]
    around = np.where((around > 0) & (depth > 0), around, depth)
    far = np.abs(around - depth).argmax(axis=0)
    found: np.ndarray = np.take_along_axis(around, far[None], axis=0)[0]
    return found


def _cosine(depth: np.ndarray) -> np.ndarray:
    """Return the cosine between the ray of each pixel of `[H, W]` and the normal of the surface, from the neighbours; 1 where one is
    missing."""
    direction = rays(len(depth))
    points = direction * depth[..., None]
    across, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normal = np.cross(across, down)
    length = np.linalg.norm(normal, axis=-1) * np.linalg.norm(direction, axis=-1)
    with np.errstate(all="ignore"):
        cosine = np.abs(np.einsum("hwk,hwk->hw", normal, direction)) / length
    padded = np.pad(depth > 0, 1)
    whole = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.where(whole & (length > 0), cosine, 1.0)


def fused(scan: Scan) -> Scan:
    """Replace all points of one part in one voxel by their mean, with the mean colour. The order is that of voxels, then of parts.

    The points must lie within 160 m of the origin, and the mesh must have less than 2**18 parts.
    """
    cell = np.floor(scan.points / VOXEL).astype(np.int64) + 2**14  # [n, 3]
    key = ((cell[:, 0] << 15 | cell[:, 1]) << 15 | cell[:, 2]) << 18
    assert not len(cell) or (cell.min() >= 0 and cell.max() < 2**15 and scan.part.max() < 2**18)
    _, first, into = np.unique(key | scan.part, return_index=True, return_inverse=True)
    count = np.bincount(into)

    def mean(columns: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(into, column) / count for column in columns.T.astype(np.float64)], axis=1)

    colors = None if scan.colors is None else np.rint(mean(scan.colors)).astype(np.uint8)
    return Scan(mean(scan.points), scan.part[first], colors)


# ----------------------------------------------------------------------------------------------------------- the walk


def poses_around(low: np.ndarray, high: np.ndarray, count: int, rng: np.random.Generator, front: float = 0.0) -> np.ndarray:
    """Return the poses of a person who walks a part of a circle around a box with a camera at head height, and looks at the box.

    Args:
        low, high: corners `[3]` of the box, in metres. It stands on the floor y = 0.
        count: number of poses, K.
        rng: random numbers.
        front: azimuth in degrees of the free side; the walk stays within 80 degrees of it. 0 is +Z, 90 is +X.

    Returns:
        `[K, 4, 4]`, camera to world.
    """
    middle, half = (low + high) / 2, (high - low) / 2
    begin, span = rng.uniform(-25, 25), rng.uniform(90, 140)
    azimuth = begin + span * (np.linspace(-0.5, 0.5, count) if count > 1 else np.zeros(1)) + rng.normal(0, 3, count)
    azimuth = np.radians(front + np.clip(azimuth, -80, 80))
    away = math.hypot(half[0], half[2]) + rng.uniform(0.7, 1.2) + rng.normal(0, 0.05, count).clip(-0.15, 0.15)
    height = max(rng.uniform(1.35, 1.7), high[1] + 0.15) + rng.normal(0, 0.04, count).clip(-0.12, 0.12)
    place = np.stack([middle[0] + away * np.sin(azimuth), height, middle[2] + away * np.cos(azimuth)], axis=1)  # [K, 3]
    target = middle + rng.normal(0, 0.05, (count, 3)).clip(-0.15, 0.15)
    roll = np.radians(rng.normal(0, 3, count).clip(-9, 9))
    return np.stack([_looking(*one) for one in zip(place, target, roll, strict=True)])


def _looking(place: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    """Return the pose `[4, 4]` of a camera at a place that looks at a target, turned by `roll` radians about its axis."""
    back = (place - target) / np.linalg.norm(place - target)
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    matrix = np.eye(4)
    matrix[:3, 0] = math.cos(roll) * right + math.sin(roll) * up
    matrix[:3, 1] = math.cos(roll) * up - math.sin(roll) * right
    matrix[:3, 2], matrix[:3, 3] = back, place
    return matrix


# ----------------------------------------------------------------------------------------------------------- the room


class Room(NamedTuple):
    """An object in a corner of a room."""

    mesh: Mesh
    """The parts of the object first, then those of the neighbour, the floor and the wall."""
    own: int
    """Number of parts of the object."""
    front: float
    """Azimuth in degrees from which a person looks at the wall."""


def bounds(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners `[3]` float64 of the box around the visible places of a mesh."""
    places = np.concatenate([extent(part) for part in mesh.parts]).astype(np.float64)
    return places.min(axis=0), places.max(axis=0)


def standing(mesh: Mesh, side: float, heading: float = 0.0) -> Mesh:
    """Stand a mesh on the floor, with its box around the vertical axis and its longest side `side` metres long.

    Args:
        mesh: from `geometry.normalized`.
        side: length in metres.
        heading: angle in degrees by which it is turned about the vertical axis first.
    """
    turn = rotation(math.radians(heading))
    low, high = bounds(moved(mesh, turn))
    scale = side / float((high - low).max())
    matrix = np.eye(4)
    matrix[:3, :3] = scale * turn
    matrix[:3, 3] = -scale * np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return moved(mesh, matrix[:3, :3], matrix[:3, 3])


def room(mesh: Mesh, neighbour: Mesh | None, rng: np.random.Generator) -> Room:
    """Put an object on a floor, near a wall behind one of its four sides, with a neighbour beside it.

    Nobody knows which side of an object is its front, so the side of the wall is random, and the room is turned by up to 15 degrees more.
    The neighbour is 0.6 to 1.2 m in its longest side and stands 2 to 30 cm beside the object.

    Args:
        mesh: the object, from `standing`.
        neighbour: the other object, from `geometry.normalized`; None for none.
        rng: random numbers. Their number does not depend on the neighbour.
    """
    front = 90.0 * rng.integers(4) + rng.uniform(-15, 15)
    wall_gap, side_gap, size, heading, along = rng.uniform(0, 0.2), rng.uniform(0.02, 0.3), *rng.random(3)
    left = rng.random() < 0.5
    tones = rng.uniform(0.45, 0.9, 2)[:, None] + rng.uniform(-0.08, 0.08, (2, 3))
    turn = rotation(math.radians(front))  # from axes of the room, where the wall is at -Z, to those of the object
    low, high = bounds(moved(mesh, turn.T))
    back = low[2] - wall_gap
    parts = list(mesh.parts)
    if neighbour is not None:
        other = standing(neighbour, 0.6 + 0.6 * size, 90 * math.floor(4 * heading) + 30 * (4 * heading % 1) - 15)
        at, end = bounds(other)
        deep = max(back + 0.01 - at[2], low[2] + along * (high[2] - low[2]) - (end[2] - at[2]) / 2 - at[2])
        beside = low[0] - side_gap - end[0] if left else high[0] + side_gap - at[0]
        parts += moved(moved(other, np.eye(3), np.array([beside, 0.0, deep])), turn).parts
    corners = np.array([[-4, 0, back], [4, 0, back], [4, 0, back + 8], [-4, 0, back + 8], [4, 2.5, back], [-4, 2.5, back]]) @ turn.T
    for faces, tone in (([[0, 3, 2], [0, 2, 1]], tones[0]), ([[0, 1, 4], [0, 4, 5]], tones[1])):
        color = (float(tone[0]), float(tone[1]), float(tone[2]), 1.0)
        parts.append(compact(Part(vertices=corners.astype(np.float32), faces=np.array(faces, np.int32), base_color=color)))
    return Room(dataclasses.replace(mesh, parts=tuple(parts)), len(mesh.parts), front)


def rotation(angle: float) -> np.ndarray:
    """Return the rotation `[3, 3]` by an angle in radians about +Y, counter-clockwise seen from above."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def moved(mesh: Mesh, matrix: np.ndarray, shift: np.ndarray | None = None) -> Mesh:
    """Return a mesh whose places are multiplied by a matrix `[3, 3]`, and then shifted."""
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = matrix, 0.0 if shift is None else shift
    parts = []
    for part in mesh.parts:
        outline = None if part.outline is None else (part.outline @ whole[:3, :3].T + whole[:3, 3]).astype(np.float32)
        moved = copied(part, whole[None])
        vertices, faces = moved.vertices.astype(np.float32), moved.faces.astype(np.int32)
        parts.append(dataclasses.replace(moved, vertices=vertices, faces=faces, outline=outline))
    return dataclasses.replace(mesh, parts=tuple(parts))


# ----------------------------------------------------------------------------------------------------------- the crop


class Crop(NamedTuple):
    """A box that may be turned about the vertical axis."""

    center: np.ndarray
    """[3] float64."""
    size: np.ndarray
    """[3] float64, full lengths before the turn."""
    angle: float
    """Radians about +Y, counter-clockwise seen from above."""


def perturbed(box: Crop, rng: np.random.Generator) -> Crop:
    """Return a box as PB_T50_RS of ScanObjectNN makes it (Uy et al. 2019, arXiv:1908.04616).

    It is shifted along each axis by up to half its size (T50), turned about the vertical axis by any angle (R), and scaled by 0.75 to 1.25
    (S). The paper gives no range of the scale; ours is read from the name of its file, `augmentedrot_scale75`. All are uniform.
    """
    shift = rng.uniform(-0.5, 0.5, 3) * box.size
    angle, scale = rng.uniform(-math.pi, math.pi), rng.uniform(0.75, 1.25)
    return Crop(box.center + rotation(box.angle) @ shift, box.size * scale, box.angle + angle)


def cropped(scan: Scan, box: Crop) -> Scan:
    """Return the points inside a box, in the axes of the box, with the origin in its middle."""
    points = (scan.points - box.center) @ rotation(box.angle)
    inside = (np.abs(points) <= box.size / 2).all(axis=1)
    return scan.rows(inside)._replace(points=points[inside])
