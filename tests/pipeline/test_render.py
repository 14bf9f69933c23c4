"""Pictures: framed, lit, coloured, the same every time, and nothing left behind. Run: pytest tests/pipeline/test_render.py"""

import dataclasses
import gc

import numpy as np
import psutil
import pytest
import trimesh

from cache_schema.spec import Camera, CameraRig, ViewSpec
from pipeline.cameras import RIGS
from pipeline.geometry import GREY, Cloud, Mesh, Part, normalized
from pipeline.render import Renderer
from pipeline.smooth import smooth

FRONT = CameraRig(name="front", cameras=(Camera(azimuth=0, elevation=0),))
SIDE = CameraRig(name="side", cameras=(Camera(azimuth=90, elevation=0),))
SHEET = {
    "vertices": np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32),
    "faces": np.array([[0, 1, 2], [0, 2, 3]], np.int32),
}
SHEET_UV = (SHEET["vertices"][:, :2] + 1) / 2


@pytest.fixture(scope="module")
def ring():
    renderer = Renderer(ViewSpec(rig=RIGS["ring4"], size=96, depth=True))
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def front():
    renderer = Renderer(ViewSpec(rig=FRONT, size=64, depth=True, background=(10, 20, 30)))
    yield renderer
    renderer.close()


def sheet(**look) -> Mesh:
    return Mesh(parts=(Part(**SHEET, **look),), colored=True)


def solid(shape: trimesh.Trimesh, **look) -> Mesh:
    part = Part(vertices=shape.vertices.astype(np.float32), faces=shape.faces.astype(np.int32), base_color=(GREY, GREY, GREY, 1), **look)
    return normalized(Mesh(parts=(part,), colored=False), "unit_sphere")


def covered(pictures) -> np.ndarray:
    return pictures.depth > 0  # [V, H, W]


def shapes() -> dict[str, Mesh | Cloud]:
    rng = np.random.default_rng(0)
    return {
        "box": solid(trimesh.creation.box((1, 2, 0.3))),
        "ball": solid(trimesh.creation.icosphere(subdivisions=3)),
        "pole": solid(trimesh.creation.cylinder(radius=0.05, height=4)),
        "lean": solid(trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 3, 0.2], [0.1, 0, 2]], [[0, 1, 2], [0, 2, 3], [0, 1, 3], [1, 2, 3]])),
        "cloud": normalized(Cloud(points=rng.normal(size=(500, 3)).astype(np.float32)), "unit_sphere"),
    }


@pytest.mark.parametrize("name", shapes())
def test_whole_and_filling_the_frame(ring, name):
    pictures = ring.render(shapes()[name])
    assert pictures.rgb.shape == (4, 96, 96, 3) and pictures.rgb.dtype == np.uint8
    assert pictures.pose.shape == (4, 4, 4) and pictures.pose.dtype == np.float32
    assert pictures.depth.shape == (4, 96, 96) and pictures.depth.dtype == np.float16
    for border in (pictures.rgb[:, 0], pictures.rgb[:, -1], pictures.rgb[:, :, 0], pictures.rgb[:, :, -1]):
        assert (border == 255).all()
    seen = (pictures.rgb < 250).any(axis=3)
    widths, heights = seen.any(axis=1).sum(axis=1), seen.any(axis=2).sum(axis=1)
    assert max(*widths, *heights) >= 0.85 * 96


def test_form_shows_without_colour(ring):
    pictures = ring.render(shapes()["box"])
    tones = np.unique(pictures.rgb[0][covered(pictures)[0]][:, 0], return_counts=True)
    large = sorted(tone for tone, count in zip(*tones, strict=True) if count > 100)
    assert len(large) == 3 and np.diff(large).min() > 15  # top and two sides
    ball = ring.render(shapes()["ball"])
    assert len(np.unique(ball.rgb[0][covered(ball)[0]])) > 60


def test_both_faces_are_lit_alike(ring):
    shape = shapes()["lean"]
    turned = dataclasses.replace(shape, parts=(dataclasses.replace(shape.parts[0], faces=shape.parts[0].faces[:, ::-1].copy()),))
    np.testing.assert_array_equal(ring.render(shape).rgb, ring.render(turned).rgb)


def test_given_normals_that_point_inwards_change_nothing(ring):
    ball = trimesh.creation.icosphere(subdivisions=3)
    outward = ring.render(solid(ball, normals=ball.vertex_normals.astype(np.float32)))
    inward = ring.render(solid(ball, normals=-ball.vertex_normals.astype(np.float32)))
    np.testing.assert_array_equal(outward.rgb, inward.rgb)


def test_pictures_are_the_right_way_up_and_round(front):
    texture = np.full((4, 4, 4), 255, np.uint8)
    texture[:2, :2] = [255, 0, 0, 255]  # upper left is red
    picture = front.render(sheet(texture=texture, uv=SHEET_UV)).rgb[0].astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 60)
    assert red[16, 16] and not red[16, 48] and not red[48, 16] and not red[48, 48]
    colors = np.array([[0, 0, 255, 255], [0, 0, 255, 255], [0, 255, 0, 255], [0, 255, 0, 255]], np.uint8)
    picture = front.render(sheet(colors=colors)).rgb[0].astype(int)
    assert picture[8, 32, 1] > picture[8, 32, 2] and picture[55, 32, 1] < picture[55, 32, 2]


def test_the_file_a_texture_came_from_agrees_with_the_points(front):
    # The same texel is seen and sampled: points and pictures of a shape have the same colours.
    from cache_schema.spec import PointSpec
    from pipeline.points import sample

    texture = np.random.default_rng(0).integers(0, 256, (8, 8, 4)).astype(np.uint8)
    shape = sheet(texture=texture, uv=SHEET_UV * 2.5 - 0.7)
    picture = front.render(shape)
    xyz, rgb = (a[0] for a in sample(shape, PointSpec(count=400, blocks=1, ordered=1, dtype="float32", normalize="none"), "a")[:2])
    camera = np.linalg.inv(picture.pose[0].astype(np.float64))
    seen = np.column_stack([xyz, np.ones(len(xyz))]) @ camera.T
    place = seen[:, :2] / -seen[:, 2:3] / np.tan(np.radians(20))
    row, column = ((1 - place[:, 1]) * 32).astype(int), ((1 + place[:, 0]) * 32).astype(int)
    difference = np.corrcoef(picture.rgb[0][row, column].reshape(-1).astype(float), rgb.reshape(-1).astype(float))
    assert difference[0, 1] > 0.95


def test_base_colour_and_glow(front):
    picture = front.render(sheet(base_color=(1, 0.5, 0, 1))).rgb[0, 32, 32].astype(int)
    assert picture[0] > 200 and abs(picture[1] - picture[0] / 2) < 3 and picture[2] == 0
    glow = front.render(sheet(base_color=(0, 0, 0, 1), emissive=(0, 1, 0.5))).rgb[0, 32, 32]
    np.testing.assert_array_equal(glow, [0, picture[0], round(picture[0] / 2)])  # lit as any colour


def test_background_and_depth(front):
    pictures = front.render(sheet())
    np.testing.assert_array_equal(pictures.rgb[0, 0, 0], [10, 20, 30])
    assert pictures.depth[0, 0, 0] == 0
    assert pictures.depth[0, 32, 32] == pytest.approx(pictures.pose[0, 2, 3], rel=2e-3)


def test_masked_and_blended_parts_let_see_through(front):
    behind = Part(**{**SHEET, "vertices": SHEET["vertices"] * 0.99 - np.array([0, 0, 0.5], np.float32)}, base_color=(0, 0, 1, 1))
    texture = np.full((4, 4, 4), 255, np.uint8)
    texture[:, :2, 3] = 0  # the left half is a hole

    def middle(**look) -> tuple[np.ndarray, np.ndarray]:
        picture = front.render(Mesh(parts=(Part(**SHEET, **look), behind), colored=True)).rgb[0].astype(int)
        return picture[32, 16], picture[32, 48]

    left, right = middle(texture=texture, uv=SHEET_UV, alpha_mode="MASK", base_color=(1, 0, 0, 1))
    assert left[2] > 150 > left[0] and right[0] > 150 > right[2]
    left, right = middle(texture=texture, uv=SHEET_UV, alpha_mode="BLEND", base_color=(1, 0, 0, 1))
    assert left[2] > 150 > left[0] and right[0] > 150 > right[2]
    left, right = middle(alpha_mode="BLEND", base_color=(1, 0, 0, 0.5))
    assert 80 < left[0] < 160 and 80 < left[2] < 160 and (left == right).all()
    left, right = middle(alpha_mode="OPAQUE", base_color=(1, 0, 0, 0.0))
    assert left[0] > 150 and left[2] == 0


def test_an_invisible_shape_is_an_error(front):
    with pytest.raises(ValueError, match="view 0 has nothing in it"):
        front.render(sheet(alpha_mode="BLEND", base_color=(1, 1, 1, 0.0)))
    assert front.render(sheet()).rgb.any()  # and the renderer goes on


def test_a_sheet_from_its_edge_is_a_line():
    renderer = Renderer(ViewSpec(rig=SIDE, size=64))
    picture = renderer.render(sheet()).rgb[0]
    renderer.close()
    lines = np.flatnonzero((picture < 255).any(axis=(0, 2)))
    assert 1 <= len(lines) <= 3


def test_the_same_bytes_whatever_was_drawn_before(ring):
    first = {name: ring.render(shape) for name, shape in shapes().items()}
    for name, shape in reversed(shapes().items()):
        again = ring.render(shape)
        np.testing.assert_array_equal(again.rgb, first[name].rgb)
        np.testing.assert_array_equal(again.depth, first[name].depth)
    other = Renderer(ring.spec)  # a second one shares the process's context
    np.testing.assert_array_equal(other.render(shapes()["box"]).rgb, first["box"].rgb)
    other.close()


def test_clouds_show_colour_and_density(front):
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-1, 1, (3000, 2)), np.zeros(3000)]).astype(np.float32)
    colors = np.where(points[:, :1] < 0, [[255, 0, 0]], [[0, 255, 0]]).astype(np.uint8)
    pictures = front.render(Cloud(points=points, colors=colors))
    picture = pictures.rgb[0].astype(int)
    assert picture[32, 16, 0] > 120 > picture[32, 16, 1] and picture[32, 48, 1] > 120 > picture[32, 48, 0]
    assert covered(pictures)[0, 8:-8, 8:-8].mean() > 0.9  # splats just close the surface
    sparse = front.render(Cloud(points=points[:30]))
    assert 0.02 < covered(sparse).mean() < 0.6
    assert covered(front.render(Cloud(points=np.array([[0, 0, 0], [1, 1, 1]], np.float32)))).any()


def test_depth_is_none_unless_asked_for():
    renderer = Renderer(ViewSpec(rig=FRONT, size=17))
    pictures = renderer.render(sheet())
    assert pictures.depth is None and pictures.rgb.shape == (1, 17, 17, 3)
    assert "pyrender 0.1.45" in renderer.describe() and "OpenGL" in renderer.describe()
    renderer.close()


def test_memory_stays_flat(front):
    rng = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(subdivisions=4)

    def some(count: int) -> None:
        for _ in range(count):
            texture = rng.integers(0, 256, (256, 256, 4), np.uint8)
            front.render(sheet(texture=texture, uv=SHEET_UV))
            front.render(solid(ball, normals=ball.vertex_normals.astype(np.float32)))

    some(25)
    grown = []
    for _ in range(4):  # what is kept grows each time; what others take now and then does not
        before = psutil.Process().memory_info().rss
        some(20)  # 5 MB of textures and 2.5 MB of vertices, were they kept
        gc.collect()
        grown.append(psutil.Process().memory_info().rss - before)
    assert min(grown) < 1e6 and sum(grown) < 8e6, grown  # 30 MB in all, were they kept


# ------------------------------------------------------------------------------------------------------------ shading


def corner_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """`[F, 3, 3]` per corner, and a check that the surface has not moved."""
    rows, new, normals = smooth(vertices.astype(np.float32), faces, shared=True)
    np.testing.assert_array_equal(vertices.astype(np.float32)[rows][new], vertices.astype(np.float32)[faces])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-5)
    return normals[new]


def test_edges_stay_sharp_and_curves_become_smooth():
    box = trimesh.creation.box()
    np.testing.assert_allclose(corner_normals(box.vertices, box.faces), np.repeat(box.face_normals[:, None], 3, axis=1), atol=1e-6)
    ball = trimesh.creation.icosphere(subdivisions=2)
    expected = ball.vertices[ball.faces]
    assert np.einsum("fcd,fcd->fc", corner_normals(ball.vertices, ball.faces), expected).min() > 0.99


def test_smoothing_ignores_winding_and_unshared_vertices():
    ball = trimesh.creation.icosphere(subdivisions=2)
    faces = ball.faces.copy()
    faces[::3] = faces[::3, ::-1]
    soup = ball.vertices[faces].reshape(-1, 3)
    normals = corner_normals(soup, np.arange(len(soup)).reshape(-1, 3))
    assert np.abs(np.einsum("fcd,fcd->fc", normals, ball.vertices[faces])).min() > 0.99
    rows, _, _ = smooth(soup.astype(np.float32), np.arange(len(soup)).reshape(-1, 3), shared=True)
    assert len(rows) < len(soup) / 2


def test_smoothing_survives_fans_and_points():
    angles = np.linspace(0, 2 * np.pi, 2001)
    rim = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(2001)])
    fan = np.column_stack([np.zeros(2000, int), np.arange(1, 2001), np.arange(2, 2002)])
    assert np.abs(corner_normals(np.vstack([[[0, 0, 0]], rim]), fan)[..., 2]).min() > 0.999
    assert np.isfinite(corner_normals(np.zeros((3, 3)), np.array([[0, 1, 2]]))).all()
