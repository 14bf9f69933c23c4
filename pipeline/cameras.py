"""Place the cameras around a shape.

    matrices = poses(RIGS["ring12"], vertices)     # [V, 4, 4] camera to world

A rig is a list of directions. All cameras of a shape have the same distance, so that the shape has the same scale in all views. It is the
smallest distance at which every view shows the whole shape. Each camera is shifted sideways to centre what it sees.

Letters: V views, n vertices.
"""

import math
from typing import Final

import numpy as np

from cache_schema.spec import Camera, CameraRig

FILL: Final = 0.94
"""Share of the width or height of the picture that the shape fills in its widest view."""


def _ring(count: int, elevation: float, first: float = 0.0) -> tuple[Camera, ...]:
    return tuple(Camera(azimuth=first + 360 * i / count, elevation=elevation) for i in range(count))


RIGS: Final[dict[str, CameraRig]] = {
    rig.name: rig
    for rig in (
        CameraRig(name="ring12", cameras=_ring(12, 30)),
        # ULIP and ULIP-2: every 12 degrees.
        CameraRig(name="ring30", cameras=_ring(30, 30)),
        # OpenShape: polar angles 60, 90 and 120 degrees, four views each, turned against each other.
        CameraRig(name="openshape12", cameras=_ring(4, 30, 30) + _ring(4, 0, 60) + _ring(4, -30, 0)),
        CameraRig(name="ring4", cameras=_ring(4, 30, 30)),
        CameraRig(name="ring8", cameras=_ring(8, 30)),
        # Candidates for `views.policy`: at the height of the shape, from above, and from high above.
        CameraRig(name="dome30", cameras=_ring(12, 30) + _ring(12, 0) + _ring(6, 60)),
    )
}
"""Rigs by name. `ring12` is the default. With `views.policy` the cameras of a rig are candidates."""


def poses(rig: CameraRig, vertices: np.ndarray, radius: float = 0.0) -> np.ndarray:
    """Compute camera-to-world matrices for which the shape fills the picture and is never cut off.

    Args:
        rig: Directions and field of view.
        vertices: `[n, 3]`.
        radius: Radius around each vertex that must be visible, too: the size of a splat.

    Returns:
        `[V, 4, 4]` float32. A camera looks along its -Z, +Y is up in its picture (OpenGL).
    """
    low, high = vertices.min(axis=0).astype(np.float64), vertices.max(axis=0).astype(np.float64)
    center = (low + high) / 2
    axes = np.stack([_axes(camera) for camera in rig.cameras])  # [V, 3 axes, 3]
    right, up, back = axes[:, 0], axes[:, 1], axes[:, 2]
    slope = FILL * math.tan(math.radians(rig.fov) / 2)

    # A camera at (sx, sy, d) along its own axes sees a vertex at (x, y, z) if |x - sx| <= slope * (d - z). This is the same as
    # x + slope * z <= slope * d + sx and -x + slope * z <= slope * d - sx. So only the farthest vertex in four directions per view
    # counts. The best sx and the least d follow from these.
    tilted = slope * back
    sides = np.stack([right + tilted, tilted - right, up + tilted, tilted - up, back], axis=1)  # [V, 5, 3]
    reach = np.full(sides.shape[0] * 5, -np.inf)
    for start in range(0, len(vertices), 100_000):
        reach = np.maximum(reach, ((vertices[start : start + 100_000] - center) @ sides.reshape(-1, 3).T).max(axis=0))
    reach = reach.reshape(-1, 5) + radius * np.linalg.norm(sides, axis=2)  # [V, 5]
    shift = (reach[:, 0:4:2] - reach[:, 1:4:2]) / 2  # [V, 2] sx, sy
    needed = (reach[:, 0:4:2] + reach[:, 1:4:2]) / (2 * slope)  # [V, 2]
    extent = np.linalg.norm(high - low) / 2 + radius
    distance = max(needed.max(), reach[:, 4].max() + 0.1 * extent)  # the second keeps the camera out of a needle that points at it

    matrices = np.tile(np.eye(4), (len(axes), 1, 1))
    matrices[:, :3, :3] = axes.transpose(0, 2, 1)
    matrices[:, :3, 3] = center + shift[:, :1] * right + shift[:, 1:] * up + distance * back
    return matrices.astype(np.float32)


def _axes(camera: Camera) -> np.ndarray:
    """Return the right, up and back axes of a camera in world coordinates, `[3, 3]`. It also works straight from above or below."""
    a, e = math.radians(camera.azimuth), math.radians(camera.elevation)
    right = np.array([math.cos(a), 0, -math.sin(a)])
    back = np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
    return np.stack([right, np.cross(back, right), back])
