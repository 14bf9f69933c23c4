"""Small pictures of shapes, and their points packed as text, for pages and tables.

    picture = points_picture(snapshot, row)            # a Pillow image
    data_uri(picture, 192)                             # 'data:image/webp;base64,...'
    packed_points(xyz, rgb)                            # 6 bytes a point, as base64

Letters: P points.
"""

import base64
import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cache_schema import products
from cache_schema.spec import Camera, CameraRig
from pipeline.cameras import poses
from pipeline.snapshot import Snapshot

CENTERS: Final = 64
"""Number of leading points of a block that are marked. They are the centres of the coarsest groups."""
MARK: Final = (225, 20, 130)
"""Colour of the marked centres, which objects seldom have."""
SIDE: Final = 384
"""Height and width of a picture of points while it is drawn, in pixels. It is averaged down, for smooth edges."""
THREE_QUARTER: Final = CameraRig(name="three-quarter", cameras=(Camera(azimuth=35, elevation=25),))
"""Camera for points of a cache without views."""


def view_picture(snapshot: Snapshot, row: int, view: int) -> Image.Image:
    """Read a stored view of a shape."""
    return Image.fromarray(snapshot.cache.array("views/rgb")[row, view])


def block(snapshot: Snapshot, row: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Read the coordinates [P, 3] and colours [P, 3] of block 0 of a shape."""
    at = np.array([row]), np.array([0])
    return snapshot.mapped("points/xyz").gather(*at)[0].astype(np.float32), snapshot.mapped("points/rgb").gather(*at)[0]


def points_picture(snapshot: Snapshot, row: int) -> Image.Image:
    """Draw block 0 of a shape with the camera of one of its views, or with `THREE_QUARTER` if it has none."""
    xyz, rgb = block(snapshot, row)
    if snapshot.views and snapshot.done(products.VIEWS.name)[row]:
        pose = snapshot.cache.array("views/pose")[row, snapshot.points_view]
        return draw_points(xyz, rgb, pose, snapshot.rig.fov)
    return draw_points(xyz, rgb, poses(THREE_QUARTER, xyz)[0], THREE_QUARTER.fov)


def thumbnail(snapshot: Snapshot, row: int, side: int) -> str:
    """Return a small picture of a shape as a data URI; empty if there is nothing to show."""
    if snapshot.views and snapshot.done(products.VIEWS.name)[row]:
        return data_uri(view_picture(snapshot, row, snapshot.points_view), side)
    return data_uri(points_picture(snapshot, row), side) if snapshot.done(products.POINTS.name)[row] else ""


def draw_points(xyz: NDArray[np.float32], rgb: NDArray[np.uint8], pose: NDArray[np.float32], fov: float) -> Image.Image:
    """Draw points as a camera sees them. Near points cover far ones, far points are darker, and the first `CENTERS` are ringed.

    Args:
        xyz: [P, 3], rgb: [P, 3].
        pose: camera to world, looking along its -Z. [4, 4]
        fov: field of view, degrees.
    """
    seen = (xyz - pose[:3, 3]) @ pose[:3, :3]  # [P, 3]
    depth = np.maximum(-seen[:, 2], 1e-6)
    where = seen[:, :2] / (depth * np.tan(np.radians(fov) / 2))[:, None] * (1, -1)
    where = (where + 1) / 2 * SIDE
    nearness = (depth.max() - depth) / max(float(np.ptp(depth)), 1e-6)
    colours = (rgb * (0.55 + 0.45 * nearness)[:, None]).astype(np.uint8)
    radii = min(SIDE * 0.4 / np.sqrt(len(xyz)), SIDE * 0.025) * depth.mean() / depth
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(picture)
    for i in np.argsort(-depth, kind="stable"):
        (x, y), r, fill = where[i], radii[i], tuple(colours[i].tolist())
        edge = tuple((colours[i] * 0.7).astype(int).tolist())
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=edge)
        if i < CENTERS:
            draw.ellipse((x - r, y - r, x + r, y + r), outline=MARK, width=3)
    return picture


def data_uri(picture: Image.Image, side: int) -> str:
    """Encode a picture as a data URI, at most `side` pixels high and wide."""
    picture.thumbnail((side, side))
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()


def packed_points(xyz: NDArray[np.float32], rgb: NDArray[np.uint8]) -> str:
    """Pack points for the page, 6 bytes each, as base64. `report.js` unpacks them.

    A point is 48 bits, the highest first: x, y and z with 11 bits each, red, green and blue with 5 bits each. Coordinates are relative to
    the middle of the bounding box, in units of half of its longest side: 0 is -1, 2047 is 1.

    Args:
        xyz: [P, 3], rgb: [P, 3].
    """
    low, high = xyz.min(0), xyz.max(0)
    half = max(float((high - low).max()) / 2, 1e-12)
    place = np.clip(np.round(((xyz - (low + high) / 2) / half + 1) / 2 * 2047), 0, 2047).astype(np.uint64)  # [P, 3]
    bits = np.zeros(len(xyz), np.uint64)
    for column, width in ((place, 11), ((rgb >> 3).astype(np.uint64), 5)):
        for axis in range(3):
            bits = bits << np.uint64(width) | column[:, axis]
    return base64.b64encode(bits.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:].tobytes()).decode()


def packed_labels(values: NDArray[Any], most: int = 255) -> tuple[list[int], str]:
    """Pack a label of each point for the page, one byte each, as base64.

    Args:
        values: labels; negative ones are none. [P]
        most: largest number of different labels. Rarer ones become none.

    Returns:
        The different labels, and for each point the place of its label among them, or `most` for none.
    """
    found, counts = np.unique(values[values >= 0], return_counts=True)
    found = np.sort(found[np.argsort(-counts, kind="stable")[:most]])
    places = np.searchsorted(found, values)
    known = (places < len(found)) & (found[np.minimum(places, len(found) - 1)] == values) if len(found) else np.zeros(len(values), bool)
    return found.tolist(), base64.b64encode(np.where(known, places, most).astype(np.uint8).tobytes()).decode()
