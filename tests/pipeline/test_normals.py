"""Normals of points: of the triangle that a point lies on, of a cloud's file, or estimated. Run: pytest tests/pipeline/test_normals.py"""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from cache_schema.spec import PointSpec
from pipeline.geometry import TURNS, Cloud, Geometry, Mesh, Part, finished, normalized
from pipeline.normals import estimated
from pipeline.points import Samples, sample
from pipeline.polygons import triangulated
from pipeline.reading import load
from pipeline.sources.catalog import open_source
from tests.pipeline.test_gltf import FACES, SQUARE, File

SPEC = PointSpec(count=512, blocks=2, ordered=64, dtype="float32", normals=True)

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
"""The faces of the cube, counter-clockwise from outside."""


def cube(**look) -> Part:
    faces = np.concatenate([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]]).astype(np.int32)
    return Part(vertices=CUBE, faces=faces, **look)


def mesh(*parts: Part) -> Mesh:
    return Mesh(parts=parts, colored=False)


def ball(count: int, seed: int = 0) -> np.ndarray:
    """Places on the unit sphere."""
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def rounded(levels: int) -> Part:
    """A sphere of triangles."""
    a, b = np.meshgrid(np.linspace(0, np.pi, levels), np.linspace(0, 2 * np.pi, 2 * levels), indexing="ij")
    vertices = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)], axis=-1).reshape(-1, 3)
    number = np.arange(a.size).reshape(a.shape)
    p, q, r, s = (part.reshape(-1) for part in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]))
    return Part(
        vertices=vertices.astype(np.float32), faces=np.concatenate([np.stack([p, q, r], 1), np.stack([p, r, s], 1)]).astype(np.int32)
    )


def flat(made: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Positions and normals `[n, 3]`, after looking at the type and the length of the normals."""
    assert made.normal is not None and made.normal.dtype == np.float16 and made.normal.shape == made.xyz.shape
    normals = made.normal.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)
    return made.xyz.reshape(-1, 3).astype(np.float64), normals


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", one, other) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_a_cubes_normals_are_those_of_its_sides():
    xyz, normals = flat(sample(mesh(cube()), SPEC, "a"))
    side = np.abs(xyz).argmax(axis=1)
    np.testing.assert_array_equal(normals, np.eye(3)[side] * np.sign(xyz[np.arange(len(xyz)), side])[:, None])


def test_a_spheres_normals_look_outwards():
    xyz, normals = flat(sample(normalized(mesh(rounded(48)), "unit_sphere"), SPEC, "a"))
    assert cosines(xyz, normals).min() > np.cos(np.radians(4))


def test_a_normal_belongs_to_the_point_at_its_index():
    rng = np.random.default_rng(1)
    corners = rng.normal(size=(40, 3, 3))
    soup = Part(vertices=corners.reshape(-1, 3).astype(np.float32), faces=np.arange(120, dtype=np.int32).reshape(-1, 3))
    xyz, normals = flat(sample(mesh(cube(), soup), SPEC, "a"))
    every = np.concatenate([part.vertices[part.faces] for part in (cube(), soup)]).astype(np.float64)  # [F, 3, 3]
    across = np.cross(every[:, 1] - every[:, 0], every[:, 2] - every[:, 0])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    # Barycentric coordinates of each point in each triangle's plane, and its distance from that plane.
    apart = xyz[:, None] - every[None, :, 0]
    weights = np.einsum("nfd,fdk->nfk", apart, np.linalg.pinv((every[:, 1:] - every[:, :1]).transpose(0, 2, 1)).transpose(0, 2, 1))
    outside = np.maximum(np.maximum(-weights.min(axis=2), weights.sum(axis=2) - 1), 0)
    nearest = (np.abs(np.einsum("nfd,fd->nf", apart, across)) + outside).argmin(axis=1)
    assert cosines(normals, across[nearest]).min() > 0.999


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_positions_and_colours_do_not_depend_on_normals(dtype):
    alphas = np.full((8, 4), 255, np.uint8)
    alphas[:, 3] = np.arange(8) * 36
    see_through = cube(alpha_mode="MASK", colors=alphas)
    shapes: list[Geometry] = [mesh(cube(), rounded(9)), mesh(see_through), Cloud(points=ball(300)), Cloud(points=ball(3000))]
    for shape in shapes:
        on = dataclasses.replace(SPEC, dtype=dtype, ordered=400)
        with_, without = sample(shape, on, "a"), sample(shape, dataclasses.replace(on, normals=False), "a")
        assert without.normal is None
        assert with_.xyz.tobytes() == without.xyz.tobytes() and with_.rgb.tobytes() == without.rgb.tobytes()


def test_points_that_float64_cannot_tell_apart_have_a_normal():
    points = np.zeros((64, 3), np.float32)
    points[:32, 0] = np.arange(1, 33) * np.float32(1e-30)
    points[32:, 0], points[32:48, 1], points[48:, 1] = 1, np.arange(1, 17) / 16, np.arange(1, 17) / -16
    np.testing.assert_allclose(np.linalg.norm(estimated(points, np.arange(64)), axis=1), 1, atol=1e-12)


def test_mirrored_copies_look_outwards(tmp_path):
    file = File()
    corners = CUBE[cube().faces].reshape(-1, 3)
    what = file.primitive(corners, np.arange(36, dtype=np.uint16))
    file.mesh(what, node={"scale": [-1, 1, 1], "translation": [5, 0, 0]})
    (tmp_path / "a.glb").write_bytes(file.glb())
    shape = normalized(load(tmp_path / "a.glb", up="y", textures="require"), "unit_sphere")
    xyz, normals = flat(sample(shape, SPEC, "a"))
    assert cosines(xyz, normals).min() > 0.5


def test_of_two_surfaces_in_one_place_the_outer_one_counts():
    inner = dataclasses.replace(cube(), faces=cube().faces[:, ::-1], base_color=(1.0, 0.0, 0.0, 1.0))
    for parts in ((cube(), inner), (inner, cube())):
        made = sample(normalized(mesh(*parts), "unit_sphere"), SPEC, "a")
        xyz, normals = flat(made)
        assert cosines(xyz, normals).min() > 0.5 and (made.rgb == 255).all()


def test_a_face_keeps_the_sign_of_its_winding():
    turned = cube().faces.copy()
    turned[0] = turned[0, ::-1]
    xyz, normals = flat(sample(mesh(dataclasses.replace(cube(), faces=turned)), SPEC, "a"))
    inwards = cosines(xyz, normals) < 0
    assert 0.5 / 12 < inwards.mean() < 1.5 / 12 and (xyz[inwards, 0] == -1).all()


def test_triangulation_keeps_the_winding():
    arrow = np.array([[0, 0, 0], [2, -1, 0], [1, 0, 0], [2, 1, 0]], np.float64)  # concave
    for order, z in (([0, 1, 2, 3], 1), ([3, 2, 1, 0], -1)):
        triangles, _ = triangulated(arrow, np.array([4]), np.array(order))
        corners = arrow[np.array(order)[triangles]]
        assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] * z > 0).all()


def test_slivers_have_normals():
    thin = Part(
        vertices=np.array([[0, 0, 0], [1e-30, 0, 0], [0, 1e-30, 0], [1, 0, 0]], np.float32),
        faces=np.array([[0, 1, 2], [0, 1, 3]], np.int32),
    )
    _, normals = flat(sample(mesh(thin), dataclasses.replace(SPEC, normalize="none"), "a"))
    np.testing.assert_array_equal(normals, np.tile([0, 0, 1], (len(normals), 1)))


# ------------------------------------------------------------------------------------------------------------- clouds


@pytest.mark.parametrize("up", TURNS)
def test_an_axis_turns_to_the_top_and_nothing_is_mirrored(up):
    axis = {"x": [1, 0, 0], "y": [0, 1, 0], "z": [0, 0, 1], "-x": [-1, 0, 0], "-y": [0, -1, 0], "-z": [0, 0, -1]}[up]
    np.testing.assert_array_equal(np.array(TURNS[up]) @ axis, [0, 1, 0])
    assert np.linalg.det(TURNS[up]) == 1
    np.testing.assert_array_equal(finished(Cloud(points=np.array([axis, [0, 0, 0]])), up).points, [[0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_a_clouds_own_normals_turn_with_it_and_have_length_1(up):
    points = ball(2000)
    cloud = finished(Cloud(points=points * 40 + 7.0, normals=points * 3), up)
    xyz, normals = flat(sample(normalized(cloud, "unit_sphere"), SPEC, "a"))
    assert cosines(xyz, normals).min() > 0.995  # the mean of the points is not quite the middle
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-6)
    turned = {"x": [-1, 1, 1], "y": [1, 1, 1], "z": [1, 1, -1]}[up]  # what becomes of the middle (7, 7, 7)
    assert cosines(cloud.points - 7 * np.array(turned), cloud.normals).min() > 0.999


def test_normals_that_a_file_does_not_know_are_estimated():
    points = ball(2000)
    given = -points  # against what would be estimated
    given[:700], given[700], given[701] = 0, np.nan, [np.inf, 0, 0]
    cloud = finished(Cloud(points=points, normals=given), "y")
    assert isinstance(cloud, Cloud) and not cloud.normals[:702].any()
    xyz, normals = flat(sample(cloud, dataclasses.replace(SPEC, count=2000, blocks=1), "a"))
    known = cosines(xyz, normals) < -0.99
    assert known.sum() == 1298 and cosines(xyz, normals)[~known].min() > np.cos(np.radians(10))
    assert finished(Cloud(points=points, normals=np.zeros_like(points)), "y").normals is None


def test_points_that_are_not_finite_take_their_normals_along():
    points = ball(50).astype(np.float64)
    points[3] = np.nan
    cloud = finished(Cloud(points=points, normals=ball(50)), "y")
    np.testing.assert_allclose(cloud.normals, np.delete(ball(50), 3, axis=0), atol=1e-6)


def test_estimated_normals_of_a_sphere():
    for count in (2048, 100_000):
        points = ball(count)
        rows = np.random.default_rng(0).integers(0, count, 3000)
        assert cosines(points[rows], estimated(points, rows)).min() > np.cos(np.radians(10))


def test_estimated_normals_do_not_depend_on_what_is_asked_nor_on_copies():
    points = ball(900)
    every = estimated(points, np.arange(900))
    rows = np.array([5, 899, 5, 17])
    np.testing.assert_array_equal(estimated(points, rows), every[rows])
    np.testing.assert_allclose(estimated(np.repeat(points, 20, axis=0), np.arange(900) * 20), every, atol=1e-6)


def test_clouds_that_are_no_surface_have_unit_normals():
    rng = np.random.default_rng(0)
    line = np.linspace(0, 1, 60)[:, None] * np.array([[1.0, 2.0, 3.0]], np.float32)
    sheet = rng.random((400, 3)) * [1, 0, 1]
    for points in (line, sheet, line[:2], rng.normal(size=(200, 3)) * 1e14, rng.normal(size=(200, 3)) * 1e-40):
        normals = estimated(points.astype(np.float32), np.arange(len(points)))
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert np.abs(estimated(line.astype(np.float32), np.arange(60)) @ [1, 2, 3]).max() < 1e-4
    np.testing.assert_allclose(estimated(sheet.astype(np.float32), np.arange(400)), np.tile([0, 1, 0], (400, 1)), atol=1e-12)


def test_ply_and_obj_clouds_keep_their_normals(tmp_path):
    points = ball(40)
    rows = [" ".join(map(repr, row)) for row in np.hstack([points, 2 * points]).tolist()]
    head = "ply\nformat ascii 1.0\nelement vertex 40\n" + "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
    (tmp_path / "a.ply").write_text(head + "end_header\n" + "\n".join(rows) + "\n")
    lines = [f"vn {' '.join(row.split()[3:])}\nv {' '.join(row.split()[:3])}" for row in rows]
    (tmp_path / "a.obj").write_text("\n".join(lines) + "\n")
    (tmp_path / "short.obj").write_text("\n".join(lines[:-1]) + "\nv 3 3 3\n")
    (tmp_path / "named.obj").write_text("\n".join(lines) + "\np 3 5 9\n")
    for name in ("a.ply", "a.obj", "named.obj"):
        cloud = load(tmp_path / name, up="y", textures="require")
        assert isinstance(cloud, Cloud) and cloud.warnings == ()
        np.testing.assert_allclose(cloud.normals, cloud.points, atol=1e-6)
    assert load(tmp_path / "short.obj", up="y", textures="require").normals is None


def test_gltf_clouds_keep_their_normals_in_mirrored_copies(tmp_path):
    file = File()
    points = ball(50)
    file.mesh(file.primitive(points, None, NORMAL=points, extra={"mode": 0}), node={"scale": [-1, 2, 1]})
    file.mesh(file.primitive(SQUARE, None, extra={"mode": 0}))
    (tmp_path / "a.glb").write_bytes(file.glb())
    cloud = load(tmp_path / "a.glb", up="y", textures="require")
    assert isinstance(cloud, Cloud) and len(cloud.points) == 54 and len(FACES) == 6
    right = points * [-1, 0.5, 1]
    np.testing.assert_allclose(cloud.normals[:50], right / np.linalg.norm(right, axis=1, keepdims=True), atol=1e-6)
    assert not cloud.normals[50:].any()


def hdf5(path: Path, **sets) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in sets.items():
            file[name] = value
    return path


def test_hdf5_clouds_have_their_normals_from_a_data_set_beside(tmp_path):
    points = np.stack([ball(30, 1), ball(30, 2)])
    right = {"beside": {"normal": points}, "on their side": {"normals": points.swapaxes(1, 2)}}
    wrong = {
        "whole": {"normal": points.astype(np.int32)},
        "few": {"normal": points[:, :20]},
        "link": {"normal": h5py.ExternalLink("b.h5", "n")},
    }
    plain = open_source(str(hdf5(tmp_path / "plain.h5", data=points)))
    digest = plain.reader.digest(plain.entries[1])
    for name, sets in (right | wrong).items():
        source = open_source(str(hdf5(tmp_path / f"{name}.h5", data=points, **sets)))
        cloud = source.reader.read(source.entries[1])
        assert isinstance(cloud, Cloud)
        assert source.reader.digest(source.entries[1]) == digest  # that of old caches
        assert (cloud.normals is not None) == bool(cloud.normals_beside) == (name in right)
        assert any("not used: normal" in note for note in source.notes) == (name in wrong)
        if name in right:
            np.testing.assert_allclose(cloud.normals, points[1], atol=1e-6)
