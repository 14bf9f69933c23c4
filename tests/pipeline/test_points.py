"""Surface samples: where they lie, their colours, their order. Run: pytest tests/pipeline/test_points.py"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cache_schema.crowds import OUTLYING_SAID, SPECK_SAID
from cache_schema.spec import PointSpec
from pipeline.geometry import GREY, Cloud, Geometry, Mesh, Part, normalized
from pipeline.points import farthest_first, remarks, sample

SQUARE = {
    "vertices": np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32),
    "faces": np.array([[0, 1, 2], [0, 2, 3]], np.int32),
}
UV = SQUARE["vertices"][:, :2].copy()


def square(**look) -> Mesh:
    return Mesh(parts=(Part(**SQUARE, **look),), colored=bool(look))


def farthest_point_sampling(points: np.ndarray, count: int) -> np.ndarray:
    """The definition, without thought of speed."""
    points = points.astype(np.float64)
    chosen, distance = [0], np.full(len(points), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    return np.array(chosen)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_prefix_is_its_own_farthest_point_sample(dtype):
    rng = np.random.default_rng(3)
    soup = Part(vertices=rng.normal(size=(60, 3)).astype(np.float32), faces=rng.integers(0, 60, (40, 3)).astype(np.int32))
    shapes = [square(), Mesh(parts=(soup,), colored=False), Cloud(points=rng.normal(size=(5000, 3)).astype(np.float32))]
    for shape in shapes:
        xyz, rgb = sample(shape, PointSpec(count=256, blocks=3, ordered=128, dtype=dtype), "a")[:2]
        assert xyz.dtype == dtype and xyz.shape == (3, 256, 3) and rgb.shape == (3, 256, 3) and rgb.dtype == np.uint8
        for block in xyz:
            for groups in (1, 2, 5, 17, 64, 127, 128):
                np.testing.assert_array_equal(farthest_point_sampling(block[:groups], groups), np.arange(groups))
            np.testing.assert_array_equal(farthest_point_sampling(block, 128), np.arange(128))


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(np.float16, st.tuples(st.integers(1, 40), st.just(3)), elements=st.sampled_from([-1.0, -0.5, 0.0, 0.1, 0.5, 1.0])),
    st.integers(1, 40),
)
def test_order_is_a_permutation_and_the_law_holds_among_copies(points, ordered):
    ordered = min(ordered, len(points))
    order = farthest_first(points, ordered)
    assert sorted(order) == list(range(len(points)))
    different = len(np.unique(points, axis=0))
    stored = points[order]
    for groups in range(1, min(ordered, different) + 1):
        np.testing.assert_array_equal(farthest_point_sampling(stored[:groups], groups), np.arange(groups))


def test_a_block_depends_on_id_and_seed_alone():
    spec = PointSpec(count=32, blocks=2, ordered=16)
    first = sample(square(), spec, "a")
    np.random.default_rng(0).random(100)
    sample(square(), spec, "something else")
    again = sample(square(), spec, "a")
    np.testing.assert_array_equal(first.xyz, again.xyz)
    assert not np.array_equal(first.xyz, sample(square(), spec, "b").xyz)
    assert not np.array_equal(first.xyz, sample(square(), PointSpec(count=32, blocks=2, ordered=16, seed=1), "a").xyz)
    assert not np.array_equal(first.xyz[0], first.xyz[1])


def test_samples_are_uniform_by_area_and_on_the_surface():
    part = Part(
        vertices=np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 5], [1, 0, 5], [0, 1, 5], [7, 7, 7]], np.float32),
        faces=np.array([[6, 6, 6], [0, 1, 2], [3, 4, 5], [6, 6, 6]], np.int32),
    )
    spec = PointSpec(count=20_000, blocks=1, ordered=1, dtype="float32")
    xyz = sample(Mesh(parts=(part,), colored=False), spec, "a").xyz[0]
    low = xyz[xyz[:, 2] == 0]
    assert len(low) + (xyz[:, 2] == 5).sum() == 20_000
    assert len(low) / 20_000 == pytest.approx(0.75, abs=0.02)
    assert (low[:, 0] / 3 + low[:, 1]).max() <= 1 + 1e-6
    np.testing.assert_allclose(low.mean(axis=0), [1, 1 / 3, 0], atol=0.03)


def test_colour_from_texture_is_bilinear_and_repeats():
    texture = np.zeros((2, 2, 4), np.uint8)
    texture[0, :, 0] = 200  # the upper row is red
    texture[:, 1, 1] = 100  # the right column is green
    xyz, rgb = (a[0] for a in sample(square(texture=texture, uv=UV), PointSpec(count=2000, blocks=1, ordered=1, dtype="float32"), "a")[:2])
    wrapped = np.abs((xyz[:, 1] - 0.75 + 0.5) % 1 - 0.5)  # distance from the centre of the upper row
    np.testing.assert_allclose(rgb[:, 0], 200 * (1 - wrapped / 0.5), atol=1.01)
    wrapped = np.abs((xyz[:, 0] - 0.75 + 0.5) % 1 - 0.5)
    np.testing.assert_allclose(rgb[:, 1], 100 * (1 - wrapped / 0.5), atol=1.01)
    shifted = sample(square(texture=texture, uv=UV - 7), PointSpec(count=2000, blocks=1, ordered=1, dtype="float32"), "a").rgb[0]
    np.testing.assert_allclose(shifted.astype(int), rgb.astype(int), atol=1)


def test_colour_from_vertices_times_base_colour():
    colors = np.array([[0, 100, 0, 255], [255, 100, 0, 255], [255, 100, 0, 255], [0, 100, 0, 255]], np.uint8)
    shape = square(colors=colors, base_color=(1, 0.5, 1, 1))
    xyz, rgb = (a[0] for a in sample(shape, PointSpec(count=500, blocks=1, ordered=9, dtype="float32"), "a")[:2])
    np.testing.assert_allclose(rgb[:, 0], 255 * xyz[:, 0], atol=1)
    assert (rgb[:, 1] == 50).all() and (rgb[:, 2] == 0).all()


def test_what_glows_has_the_colour_of_its_light():
    rgb = sample(square(base_color=(0, 0, 0, 1), emissive=(1, 0.4, 0)), PointSpec(count=8, blocks=1, ordered=8), "a").rgb
    assert (rgb == [255, 102, 0]).all()


def test_parts_are_sampled_by_their_area():
    other = Part(vertices=SQUARE["vertices"] * 3 + 10, faces=SQUARE["faces"], base_color=(1, 0, 0, 1))
    shape = Mesh(parts=(Part(**SQUARE, base_color=(0, 0, 1, 1)), other), colored=True)
    xyz, rgb = (a[0] for a in sample(shape, PointSpec(count=5000, blocks=1, ordered=1), "a")[:2])
    far = xyz[:, 0] > 5
    assert far.mean() == pytest.approx(0.9, abs=0.02)
    assert (rgb[far] == [255, 0, 0]).all() and (rgb[~far] == [0, 0, 255]).all()


def test_cloud_blocks_hold_no_point_twice_while_there_are_enough():
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    colors = np.arange(300, dtype=np.uint8).reshape(100, 3)
    xyz, rgb = sample(Cloud(points=points, colors=colors), PointSpec(count=80, blocks=2, ordered=40, dtype="float32"), "a")[:2]
    for block, color in zip(xyz, rgb, strict=True):
        assert len(np.unique(block, axis=0)) == 80
        rows = [np.flatnonzero((points == p).all(axis=1))[0] for p in block]
        np.testing.assert_array_equal(colors[rows], color)
    few = sample(Cloud(points=points[:30]), PointSpec(count=80, blocks=1, ordered=40, dtype="float32"), "a")
    _, counts = np.unique(few.xyz[0], axis=0, return_counts=True)
    assert len(counts) == 30 and set(counts) == {2, 3}
    assert len(np.unique(few.xyz[0, :30], axis=0)) == 30, "copies come last, as far as points are ordered"
    many = sample(Cloud(points=points[:60]), PointSpec(count=80, blocks=1, ordered=40), "a").xyz[0]
    assert len(np.unique(many, axis=0)) == 60 and len(np.unique(many[:40], axis=0)) == 40
    assert (few.rgb == round(GREY * 255)).all()


def test_coordinates_that_do_not_fit_are_refused():
    far = Mesh(parts=(Part(vertices=SQUARE["vertices"] * 1e6, faces=SQUARE["faces"]),), colored=False)
    with pytest.raises(ValueError, match=r"points\.dtype=float32"):
        sample(far, PointSpec(count=8, blocks=1, ordered=8, normalize="none"), "a")


def told(shape: Geometry, **how: str) -> tuple[str, ...]:
    """What a build says about the points of a shape."""
    spec = PointSpec(count=1024, blocks=2, ordered=64, **how)
    placed = normalized(shape, spec.normalize)
    return remarks(shape.points if isinstance(shape, Cloud) else None, placed, sample(placed, spec, "a"), spec)


def test_what_spoils_the_points_of_a_cloud_is_said():
    xyz = np.random.default_rng(0).uniform(-1, 1, (3000, 3)).astype(np.float32)
    assert told(Cloud(points=xyz)) == () == told(Cloud(points=xyz[:100]))  # repeated points are said elsewhere
    far = xyz.copy()
    far[5] = 5e7
    said = told(Cloud(points=far))
    assert (
        said[0] == OUTLYING_SAID
        and "different points of a block differ as float16" in said[1]
        and said[1].endswith("points.dtype=float32 is finer")
    )
    assert told(Cloud(points=far), dtype="float32") == (OUTLYING_SAID,)
    far[::10] = -9999
    assert "300 of 3,000 points lie in one place" in told(Cloud(points=far))[1]
    assert told(Cloud(points=far), normalize="none", dtype="float32") == told(Cloud(points=far))[1:2]  # nothing sets a scale
    assert "differ as float16" in told(Cloud(points=xyz + 1000), normalize="none")[0]


def test_a_far_speck_of_a_mesh_is_said_and_a_far_vertex_that_no_triangle_uses_is_not():
    rng = np.random.default_rng(0)
    around = rng.normal(size=(200, 3, 3)) * 0.1 + rng.normal(size=(200, 1, 3))
    vertices = np.concatenate([around.reshape(-1, 3), [[900, 0, 0], [900, 0.01, 0], [900, 0, 0.01]]]).astype(np.float32)
    faces = np.arange(len(vertices)).reshape(-1, 3)

    def mesh(faces: np.ndarray) -> Mesh:
        return Mesh(parts=(Part(vertices=vertices, faces=faces),), colored=False)

    assert told(mesh(faces))[0] == OUTLYING_SAID and told(mesh(faces[:-1])) == ()


@pytest.mark.parametrize("far", [[[1e4, 0, 0]], [[-500, 0, -500], [500, 0, 500], [-500, 0, 500]]])
def test_a_surface_beside_which_the_rest_is_a_speck_is_said(far):
    """A triangle that reaches to a stray vertex has nearly all the area, and so nearly all the points; a ground plane has, too."""
    vertices = np.concatenate([np.random.default_rng(0).uniform(-1, 1, (30, 3)), far]).astype(np.float32)
    faces = np.concatenate([np.arange(30).reshape(-1, 3), [[30, 30 + (len(far) > 1), 30 + 2 * (len(far) > 1)]]])
    if len(far) == 1:
        faces[-1, 1:] = 0, 1
    shape = Mesh(parts=(Part(vertices=vertices, faces=faces),), colored=False)
    assert told(shape)[0] == SPECK_SAID and told(shape, normalize="none", dtype="float32") == ()
    assert told(Mesh(parts=(Part(vertices=vertices[:30], faces=faces[:-1]),), colored=False)) == ()
