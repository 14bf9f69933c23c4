"""Polygons cut into triangles: area, winding, corners. Run: pytest tests/pipeline/test_polygons.py"""

import itertools

import numpy as np
import pytest

from pipeline.polygons import across, clamped, triangulated


def ring(n: int, inner: float = 1.0) -> np.ndarray:
    """A polygon around the origin, `[n, 2]`, every second corner at the radius `inner`."""
    angle = np.arange(n) * 2 * np.pi / n
    return np.column_stack([np.cos(angle), np.sin(angle)]) * np.where(np.arange(n) % 2, inner, 1.0)[:, None]


FLAT = {
    "triangle": ring(3),
    "square": ring(4),
    "arrow": [(-2, -1), (0, 0), (2, -1), (0, 3)],
    "arrow from its notch": [(0, 0), (2, -1), (0, 3), (-2, -1)],
    "L": [(1, 3), (0, 3), (0, 0), (3, 0), (3, 1), (1, 1)],
    "star": ring(10, 0.3),
    "comb": [(0, 0), *((x / 2, 0.2 + x % 2 * 3) for x in range(20)), (9.5, 0)],
    "disc": ring(64),
    "gear": ring(256, 0.9),
    "straight corners": [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (0, 2)],
    "repeated corner": [(0, 0), (2, 0), (2, 0), (2, 2), (0, 2), (0, 0)],
    "repeated notch": [(0, 3), (-2, -1), (0, 0), (0, 0), (2, -1)],
    "hole by a bridge": [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)],
    "clockwise L": [(1, 1), (3, 1), (3, 0), (0, 0), (0, 3), (1, 3)],
}
"""Plane polygons that do not cross themselves."""

PLANES = {
    "floor": [(1, 0, 0), (0, 0, -1)],
    "front": [(1, 0, 0), (0, 1, 0)],
    "side": [(0, 0, 1), (0, 1, 0)],
    "tilted": [(0.6, 0.0, 0.8), (-0.48, 0.8, 0.36)],
}


def area_vectors(corners: np.ndarray) -> np.ndarray:
    return np.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]) / 2


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("turned", [0, 1, 2])
def test_area_and_winding_are_the_polygons(name, plane, turned):
    flat = np.roll(np.asarray(FLAT[name], float), turned, axis=0)
    place = flat @ np.asarray(PLANES[plane], float) + [3, -4, 50]
    moved = place - place[0]
    expected = np.cross(moved, np.roll(moved, -1, axis=0)).sum(axis=0) / 2
    triangles, polygon = triangulated(place, np.array([len(flat)]), np.arange(len(flat)))
    areas = area_vectors(place[triangles])
    np.testing.assert_allclose(areas.sum(axis=0), expected, atol=1e-9)
    # no triangle is turned over, so none lies outside of the polygon or on another
    np.testing.assert_allclose(np.linalg.norm(areas, axis=1).sum(), np.linalg.norm(expected), atol=1e-9)
    assert not polygon.any() and len(triangles) <= len(flat) - 2


def test_corners_and_polygons_are_followed():
    vertices = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (5, 0, 0)], float)
    counts = np.array([3, 4, 2, 0, 5, 3])
    corners = np.array([0, 1, 2, 3, 0, 1, 2, 0, 1, 0, 4, 4, 2, 3, 1, 2, 0])
    triangles, polygon = triangulated(vertices, counts, corners)
    np.testing.assert_array_equal(triangles[0], [0, 1, 2])
    np.testing.assert_array_equal(triangles[1:3], [[3, 4, 5], [3, 5, 6]])
    np.testing.assert_array_equal(triangles[-1], [14, 15, 16])
    assert (np.diff(polygon) >= 0).all() and set(polygon) == {0, 1, 4, 5}
    starts = np.cumsum(counts) - counts
    assert (triangles >= starts[polygon][:, None]).all() and (triangles < (starts + counts)[polygon][:, None]).all()


def test_quads_that_are_not_plane_are_covered():
    vertices = np.array([(0, 0, 0), (1, 0, 0.2), (1, 1, 0), (0, 1, 0.2), (0.2, 0.2, 0.1)])
    triangles, _ = triangulated(vertices, np.array([4, 4]), np.array([0, 1, 2, 3, 0, 1, 4, 3]))
    areas = area_vectors(vertices[np.array([0, 1, 2, 3, 0, 1, 4, 3])[triangles]])
    assert len(triangles) == 4 and (areas[:, 2] > 0).all()
    np.testing.assert_allclose([areas[:2, 2].sum(), areas[2:, 2].sum()], [1, 0.2])


@pytest.mark.parametrize("name", ["hole by a bridge", "repeated notch", "gear", "straight corners"])
def test_rounded_coordinates_do_not_bend_a_polygon(name):
    place = np.round(np.asarray(FLAT[name], float) @ np.array([(0.6, 0.0, 0.8), (-0.48, 0.8, 0.36)]) / 3, 4)
    triangles, _ = triangulated(place, np.array([len(place)]), np.arange(len(place)))
    expected = np.cross(place, np.roll(place, -1, axis=0)).sum(axis=0) / 2
    areas = area_vectors(place[triangles])
    np.testing.assert_allclose(areas.sum(axis=0), expected, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(areas, axis=1).sum(), np.linalg.norm(expected), rtol=2e-3)


@pytest.mark.parametrize("turned", range(5))
def test_bent_polygons_keep_corners_that_lie_in_a_line_as_seen_along_an_axis(turned):
    house = np.roll([(-1, 0, 1), (1, 0, 1), (1, 0, -1), (-1, 0, -1), (0, 1, -1)], turned, axis=0).astype(float)
    triangles, _ = triangulated(house, np.array([5]), np.arange(5))
    assert len(triangles) == 3 and set(triangles.ravel()) == set(range(5))


def test_what_would_take_forever_does_not(monkeypatch):
    places = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0)], float)
    triangles, _ = triangulated(places, np.array([15_000]), np.arange(15_000) % 3)
    assert len(triangles) == 14_998
    monkeypatch.setattr("pipeline.polygons.CORNERS", 200)
    gear = np.asarray(FLAT["gear"]) @ np.eye(2, 3)
    with pytest.raises(ValueError, match="256 corners and is not convex"):
        triangulated(gear, np.array([256]), np.arange(256))


@pytest.mark.parametrize(
    "vertices",
    [
        [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0)],
        [(1, 1, 1)] * 5,
        [(0, 0, 0), (np.nan, 0, 0), (1, 1, 0), (0, 1, 0), (0.2, 0.5, 0)],
        [(0, 0, 0), (np.inf, 0, 0), (1, 1, 0), (0, 1, 0), (0.2, 0.5, 0)],
        [(0, 0, 0), (1e200, 0, 0), (1e200, 1e200, 0), (1e199, 1e199, 0), (0, 1e200, 0)],
        [(0, 0, 0), (1, 1, 0), (1, 0, 0), (0, 1, 0), (0.5, 3, 0)],
        ring(5)[[0, 2, 4, 1, 3]] @ [[1, 0, 0], [0, 1, 0]],
    ],
    ids=["line", "point", "NaN", "infinity", "overflow", "crosses itself", "pentagram"],
)
@pytest.mark.parametrize("count", [4, 5])
def test_polygons_without_a_clear_inside_give_some_triangles(vertices, count):
    triangles, polygon = triangulated(np.array(vertices, float), np.array([count]), np.arange(count))
    assert 1 <= len(triangles) <= count - 2 and len(polygon) == len(triangles)
    assert triangles.min() >= 0 and triangles.max() < count


def test_nothing_gives_nothing():
    for counts in ([], [2, 1, 0]):
        triangles, polygon = triangulated(np.zeros((3, 3)), np.array(counts, int), np.arange(sum(counts)))
        assert triangles.shape == (0, 3) and polygon.shape == (0,)


def test_many_quads_are_not_walked_one_by_one(monkeypatch):
    monkeypatch.setattr("pipeline.polygons._ears", None)
    side = 317
    x, z = np.meshgrid(np.arange(side), np.arange(side))
    vertices = np.column_stack([x.ravel(), np.sin(x.ravel()), z.ravel()]).astype(float)
    a = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    quads = np.column_stack([a, a + 1, a + side + 1, a + side])  # [99856, 4]
    triangles, polygon = triangulated(vertices, np.full(len(quads), 4), quads.ravel())
    assert len(triangles) == 2 * len(quads)
    np.testing.assert_array_equal(polygon, np.repeat(np.arange(len(quads)), 2))


@pytest.mark.parametrize("low, high", [(-3.0, 5.0), (0.2, 0.8), (0.0, 1.0), (-1.0, 0.5), (7.0, 9.0)])
def test_clamped_coordinates_are_those_of_a_texture_that_ends(low, high):
    uv = low + (high - low) * np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    place = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float)
    cut, faces, values, origin = clamped(uv, np.array([(0, 1, 2), (0, 2, 3)]), (8, 4), {"vertices": place})
    corners = values["vertices"][faces]
    areas = area_vectors(corners)[:, 2]
    assert np.allclose(np.bincount(origin, areas), area_vectors(place[np.array([(0, 1, 2), (0, 2, 3)])])[:, 2])
    assert (areas >= 0).all()
    np.testing.assert_allclose(areas.sum(), 1)
    # at the middle of every piece, the coordinate is the true one, cut off at the middle of the outermost pixels
    true = low + (high - low) * corners.mean(axis=1)[:, :2]
    np.testing.assert_allclose(cut[faces].mean(axis=1), np.clip(true, [1 / 16, 1 / 8], [15 / 16, 7 / 8]), atol=1e-12)


def test_normals_along_a_surface_are_told_from_those_across():
    angle = np.linspace(0, 2 * np.pi, 13)
    around = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(13)])  # [13, 3]
    a, b = around[:-1], around[1:]
    tube = np.stack([a, b, b + np.array([0, 0, 1])], axis=1)  # [12, 3, 3]
    assert across(np.stack([a, b, b], axis=1) * 7, tube) and across(-np.stack([a, b, b], axis=1), tube)
    assert not across(np.broadcast_to([0.0, 0.1, 1.0], tube.shape), tube)
    assert across(np.full(tube.shape, np.nan), tube) and across(np.zeros(tube.shape), tube)


def test_normals_in_the_plane_of_a_quarter_of_the_surface_are_wrong():
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    sides = [[i for i in range(8) if signs[i, axis] == sign] for axis in range(3) for sign in (-1, 1)]  # [6, 4]
    triangles = np.array([(a, b, d) for a, b, _, d in sides] + [(a, d, c) for a, _, c, d in sides])
    corners = signs[triangles]
    assert across(corners, corners), "smoothed normals of a cube point along its diagonals"
    assert not across(np.broadcast_to([0.0, 0.0, 1.0], corners.shape), corners)
    assert across(np.broadcast_to([0.1, 0.2, 1.0], corners.shape), corners)
