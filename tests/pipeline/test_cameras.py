"""Camera poses: conventions and framing. Run: pytest tests/pipeline/test_cameras.py"""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema.spec import Camera, CameraRig
from pipeline.cameras import FILL, RIGS, poses


def frame(rig: CameraRig, vertices: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Where vertices appear, `[V, n, 2]` in -1..1; every one must lie before the camera."""
    seen = np.einsum("vij,nj->vni", np.linalg.inv(matrices.astype(np.float64)), np.column_stack([vertices, np.ones(len(vertices))]))
    assert (seen[..., 2] < 0).all()
    return seen[..., :2] / -seen[..., 2:3] / math.tan(math.radians(rig.fov) / 2)


def test_rigs():
    assert {name: len(rig.cameras) for name, rig in RIGS.items()} == {
        "ring12": 12,
        "ring30": 30,
        "openshape12": 12,
        "ring4": 4,
        "ring8": 8,
        "dome30": 30,
    }
    assert all(name == rig.name for name, rig in RIGS.items())
    assert [c.elevation for c in RIGS["openshape12"].cameras] == [30] * 4 + [0] * 4 + [-30] * 4
    assert RIGS["ring30"].cameras[1].azimuth == 12


def test_azimuth_and_elevation():
    cube = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    rig = CameraRig(name="x", cameras=(Camera(azimuth=0, elevation=0), Camera(azimuth=90, elevation=0), Camera(azimuth=0, elevation=90)))
    ahead = -poses(rig, cube)[:, :3, 2]
    np.testing.assert_allclose(ahead, [[0, 0, -1], [-1, 0, 0], [0, -1, 0]], atol=1e-6)
    up = poses(rig, cube)[:, :3, 1]
    np.testing.assert_allclose(up, [[0, 1, 0], [0, 1, 0], [0, 0, -1]], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 50), st.sampled_from(sorted(RIGS)), st.floats(5, 90))
def test_the_whole_shape_is_in_every_view_and_fills_the_widest(seed, count, name, fov):
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(count, 3)) * rng.uniform(0.01, 3, 3) + rng.normal(size=3) * 5
    rig = CameraRig(name=name, cameras=RIGS[name].cameras, fov=fov)
    matrices = poses(rig, vertices)
    places = frame(rig, vertices, matrices)
    assert np.abs(places).max() <= FILL + 1e-3
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    center = (low + high) / 2
    distance = np.einsum("vd,vd->v", matrices[:, :3, 3] - center, matrices[:, :3, 2])
    nearest = np.einsum("nd,vd->vn", vertices - center, matrices[:, :3, 2]).max() + 0.1 * np.linalg.norm(high - low) / 2
    if distance[0] > 1.001 * nearest:  # else the frame is as full as it can be from where the camera is not inside the shape
        assert (places.max(axis=1) - places.min(axis=1)).max() / 2 >= 0.85
    np.testing.assert_allclose(distance, distance[0], rtol=1e-4)
    rotation = matrices[:, :3, :3].astype(np.float64)
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (len(rig.cameras), 1, 1)), atol=1e-5)


def test_a_radius_around_vertices_is_seen_too():
    vertices = np.random.default_rng(0).normal(size=(20, 3))
    corners = (vertices[:, None] + 0.3 * np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T / 3**0.5).reshape(-1, 3)
    assert np.abs(frame(RIGS["ring12"], corners, poses(RIGS["ring12"], vertices, 0.3))).max() <= FILL + 1e-3


def test_a_needle_that_points_at_the_camera_is_before_it():
    rig = CameraRig(name="x", cameras=(Camera(azimuth=0, elevation=0),))
    needle = np.array([[0, 0, -1], [0, 0, 1.0]])
    assert poses(rig, needle)[0, 2, 3] > 1.05
