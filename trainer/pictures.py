"""Small pictures of the shapes of a cache, for pages that need no other file: a stored view, or the points as they lie.

    picture = Pictures(cache)
    html = f'<img src="{picture(row)}" alt="...">'

Letters: P points, S pixels per side.
"""

import base64
import io
from pathlib import Path
from typing import Any, Final

import matplotlib.image
import numpy as np
from numpy.typing import NDArray

from cache_schema import products
from cache_schema.spec import ViewSpec
from cache_schema.store import Cache

SIDE: Final = 192
"""Height and width of a drawing of points, pixels."""
AZIMUTH, ELEVATION = 35.0, 25.0
"""Where the camera of a drawing stands, in degrees: to the right of +Z and above the horizon."""
PLAIN: Final = (0.42, 0.55, 0.66)
"""Colour of points without a colour of their own, 0..1."""
FAR: Final = 0.5
"""Brightness of the farthest point; the nearest has 1."""
QUALITY: Final = 80
"""Quality of a picture, 0..100."""
KINDS: Final = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".gif": "gif"}
"""Kinds of pictures that browsers show, by the ending of the file."""
LARGE: Final = 8 << 20
"""Size in bytes beyond which a file is not put into a page."""
MOST: Final = 4096
"""Largest number of points that are drawn."""


class Pictures:
    """Pictures of the shapes of one cache, as data URIs."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        views = cache.products().get(products.VIEWS.name)
        spec = views.spec if views else None
        self.view = _angled(spec) if isinstance(spec, ViewSpec) else None
        """The stored view that is shown; None if points are drawn."""
        self.colored = cache.colored()

    @property
    def what(self) -> str:
        """What the pictures are, in words."""
        return "one stored view of each shape" if self.view is not None else "the first stored block of points of each shape"

    def __call__(self, row: int) -> str:
        """The picture of the shape in a row, as a data URI."""
        if self.view is not None:
            return data_uri(np.asarray(self.cache.array("views/rgb")[row, self.view]))
        xyz = np.asarray(self.cache.array("points/xyz")[row, 0], np.float32)[:MOST]
        rgb = np.asarray(self.cache.array("points/rgb")[row, 0])[:MOST] / 255 if self.colored[row] else None
        return data_uri(drawn(xyz, rgb))


def _angled(spec: ViewSpec) -> int:
    """The view that shows most of a shape: the one nearest to a camera at `AZIMUTH` and `ELEVATION`, or the first if views were chosen for
    each shape, the best first."""
    if spec.policy is not None:
        return 0
    off = [abs((one.azimuth - AZIMUTH + 180) % 360 - 180) + abs(one.elevation - ELEVATION) for one in spec.rig.cameras]
    return int(np.argmin(off))


def drawn(xyz: NDArray[np.float32], rgb: NDArray[np.float64] | None) -> NDArray[np.uint8]:
    """Draw points as discs, seen from far away. Near points cover far ones, and far points are darker.

    Args:
        xyz: points, +Y up. [P, 3]
        rgb: their colours in 0..1; None for one colour. [P, 3]

    Returns:
        [S, S, 3]
    """
    side = 2 * SIDE  # drawn large and averaged, for smooth edges
    turn, tilt = np.radians(AZIMUTH), np.radians(ELEVATION)
    right = np.array([np.cos(turn), 0, -np.sin(turn)])
    toward = np.array([np.sin(turn) * np.cos(tilt), np.sin(tilt), np.cos(turn) * np.cos(tilt)])
    seen = (xyz - (xyz.max(0) + xyz.min(0)) / 2) @ np.stack([right, np.cross(toward, right), toward], 1)  # [P, 3]
    size = max(float(np.abs(seen[:, :2]).max()), 1e-9)
    place = (seen[:, :2] / size * (0.94, -0.94) + 1) / 2 * side  # [P, 2]
    near = (seen[:, 2] - seen[:, 2].min()) / max(float(np.ptp(seen[:, 2])), 1e-9)
    color = np.broadcast_to(PLAIN if rgb is None else rgb, xyz.shape) * (FAR + (1 - FAR) * near)[:, None]
    radius = int(np.clip(side * 0.45 / np.sqrt(len(xyz)), 2, 9))
    offset = np.stack(np.meshgrid(*[np.arange(-radius, radius + 1)] * 2), -1).reshape(-1, 2)
    offset = offset[(offset**2).sum(1) <= radius**2]
    order = np.argsort(seen[:, 2], kind="stable")  # the farthest first: of several values for one pixel the last stays
    pixel = place[order].astype(int)[:, None] + offset  # [P, discs' pixels, 2]
    inside = ((pixel >= 0) & (pixel < side)).all(-1)
    image = np.ones((side, side, 3))
    image[pixel[inside][:, 1], pixel[inside][:, 0]] = np.repeat(color[order], inside.sum(1), 0)
    small: NDArray[np.uint8] = np.rint(image.reshape(SIDE, 2, SIDE, 2, 3).mean((1, 3)) * 255).astype(np.uint8)
    return small


def data_uri(picture: NDArray[Any]) -> str:
    """A picture [H, W, 3] uint8 as WebP in a data URI."""
    file = io.BytesIO()
    matplotlib.image.imsave(file, picture, format="webp", pil_kwargs={"quality": QUALITY})
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def file_uri(path: Path) -> str:
    """A file that browsers show, as a data URI; empty for another or a large file."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None or path.stat().st_size > LARGE:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
