"""Files to shapes: colours, places, and every way a file can be wrong. Run: pytest tests/pipeline/test_reading.py"""

import io
import json
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from pipeline import geometry, reading, textures
from pipeline.geometry import GREY, Cloud, Mesh, Part, normalized
from pipeline.reading import load

QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
QUAD_FACES = "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"


def write(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def png(color=(200, 30, 10), size=(4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def saved(pixels: np.ndarray) -> bytes:
    """A PNG file of these pixels `[H, W, 3 or 4]`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A few bytes that declare a picture of 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def textured_obj(folder: Path, image: str = "wood.png", data: bytes | None = None) -> Path:
    write(folder / "chair.mtl", f"newmtl wood\nKd 0 0 0\nmap_Kd {image}\n")
    if data is not None:
        write(folder / image.replace("\\", "/"), data)
    return write(folder / "chair.obj", f"mtllib chair.mtl\n{QUAD}usemtl wood\n{QUAD_FACES}")


def glb(path: Path, scene: trimesh.Trimesh | trimesh.Scene) -> Path:
    return write(path, scene.export(file_type="glb"))


def glb_with_image(path: Path, data: bytes) -> Path:
    """A textured GLB whose image bytes are exchanged for others of any kind."""
    box = trimesh.creation.box()
    material = PBRMaterial(baseColorTexture=Image.new("RGB", (8, 8), (1, 2, 3)))
    box.visual = TextureVisuals(uv=np.zeros((8, 2)), material=material)
    files = trimesh.exchange.gltf.export_gltf(trimesh.Scene(box))
    header = json.loads(files.pop("model.gltf"))
    header["images"] = [{"uri": "picture.png"}]
    for name, content in files.items():
        write(path.parent / name, content)
    write(path.parent / "picture.png", data)
    return write(path, json.dumps(header))


def refusal(path: Path, **options) -> str:
    """The reason a file is refused for; every one of them fits into a cell of the cache and on a line."""
    with pytest.raises(ValueError) as caught:
        normalized(load(path, **{"up": "y", "textures": "require"} | options), "unit_sphere")
    reason = str(caught.value)
    assert reason and len(reason) <= reading.REASON and reason.isprintable()
    return reason


def read(path: Path, **options) -> Mesh:
    return load(path, **{"up": "y", "textures": "require"} | options)


# ------------------------------------------------------------------------------------------------------------ places


def test_off_with_counts_on_the_first_line(tmp_path):
    shape = read(write(tmp_path / "a.off", "OFF4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2\n3 0 2 3\n"))
    assert shape.parts[0].faces.shape == (2, 3) and not shape.colored
    assert shape.parts[0].base_color == (GREY, GREY, GREY, 1.0)


def test_z_up_is_turned_to_y_up(tmp_path):
    path = write(tmp_path / "a.obj", "v 0 0 0\nv 1 0 0\nv 0 2 3\nf 1 2 3\n")
    np.testing.assert_allclose(read(path, up="z").parts[0].vertices[2], [0, 3, -2])
    np.testing.assert_allclose(read(path, up="y").parts[0].vertices[2], [0, 2, 3])


def test_instances_are_placed_and_one_material_is_one_part(tmp_path):
    box, ball = trimesh.creation.box(), trimesh.creation.icosphere(subdivisions=1)
    scene = trimesh.Scene()
    scene.add_geometry(box, geom_name="box", node_name="root")
    for i in range(1, 40):
        turn = trimesh.transformations.rotation_matrix(0.1, [0, 1, 0], point=[i, 0, 0])
        scene.add_geometry(box, geom_name="box", node_name=f"n{i}", parent_node_name=f"n{i - 1}" if i > 1 else "root", transform=turn)
    scene.add_geometry(ball, transform=trimesh.transformations.scale_and_translate(2, [5, 6, 7]))
    shape = read(glb(tmp_path / "a.glb", scene))
    expected = scene.to_mesh()
    assert len(shape.parts) == 1 and len(shape.parts[0].faces) == len(expected.faces)
    np.testing.assert_allclose([shape.parts[0].vertices.min(0), shape.parts[0].vertices.max(0)], expected.bounds, atol=1e-5)
    corners = shape.parts[0].vertices[shape.parts[0].faces]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if shape.parts[0].normals is not None:
        assert (np.einsum("fd,fd->f", outward, shape.parts[0].normals[shape.parts[0].faces].mean(1)) > 0).all()


def test_normals_follow_uneven_scaling():
    part = Part(vertices=np.zeros((1, 3)), faces=np.zeros((1, 3), int), normals=np.array([[1, 1, 0]]) / 2**0.5)
    copied = geometry.copied(part, np.diag([2.0, 1.0, 1.0, 1.0])[None])
    np.testing.assert_allclose(copied.normals[0], np.array([1, 2, 0]) / 5**0.5)


def test_a_scene_that_expands_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.formats.gltf.TRIANGLES", 30)
    scene = trimesh.Scene()
    for i in range(3):
        scene.add_geometry(trimesh.creation.box(), geom_name="box", transform=trimesh.transformations.translation_matrix([i, 0, 0]))
    assert "36 triangles" in refusal(glb(tmp_path / "a.glb", scene))


def test_far_away_shapes_keep_their_form(tmp_path):
    lines = "".join(f"v {665187.52 + x} {5648349.89 + y} {0.01 * x}\n" for x, y in ((0, 0), (0.03, 0), (0, 0.03)))
    corners = read(write(tmp_path / "a.obj", lines + "f 1 2 3\n")).parts[0].vertices
    np.testing.assert_allclose(np.linalg.norm(corners[1] - corners[0]), 0.03, rtol=1e-2)


def test_unused_vertices_are_dropped_even_if_not_numbers(tmp_path):
    shape = read(write(tmp_path / "a.off", "OFF\n5 1 0\nnan nan nan\n0 0 0\n1e30 0 0\n1 0 0\n0 1 0\n3 1 3 4\n"))
    assert shape.parts[0].vertices.shape == (3, 3)
    assert sorted(shape.parts[0].faces[0]) == [0, 1, 2]


# ----------------------------------------------------------------------------------------------------------- colours


def test_texture_with_its_coordinates(tmp_path):
    shape = read(textured_obj(tmp_path, data=png()))
    part = shape.parts[0]
    assert shape.colored and part.texture.shape == (4, 4, 4) and part.base_color == (1, 1, 1, 1)
    assert tuple(part.texture[0, 0]) == (200, 30, 10, 255)
    np.testing.assert_array_equal(part.uv, part.vertices[:, :2])


@pytest.mark.parametrize(
    "name", ["../images/wood.png", "..\\images\\wood.png", "C:\\Users\\me\\wood.png", "-bm 1 WOOD.PNG", "/home/me/wood.png"]
)
def test_textures_are_found_as_exporters_name_them(tmp_path, name):
    write(tmp_path / "images/wood.png", png())
    path = textured_obj(tmp_path / "models", name)
    if "images" not in name:
        write(path.parent / "wood.png", png())
    assert read(path).parts[0].texture is not None


def test_missing_texture_is_named_or_grey(tmp_path):
    path = textured_obj(tmp_path, "wood.png")
    reason = refusal(path)
    assert "wood.png" in reason and "chair.mtl" in reason and "source.textures=grey" in reason
    shape = read(path, textures="grey")
    assert not shape.colored and shape.parts[0].base_color[:3] == (GREY,) * 3


def test_missing_texture_of_gltf(tmp_path):
    path = glb_with_image(tmp_path / "a.gltf", png())
    assert read(path).parts[0].texture is not None
    (tmp_path / "picture.png").unlink()
    assert "picture.png" in refusal(path) and "a.gltf" in refusal(path)
    assert not read(path, textures="grey").colored


def test_missing_material_file_is_named_or_grey(tmp_path):
    path = textured_obj(tmp_path, data=png())
    (tmp_path / "chair.mtl").unlink()
    reason = refusal(path)
    assert "chair.mtl" in reason and "source.textures=grey" in reason
    shape = read(path, textures="grey")
    assert not shape.colored and shape.parts[0].texture is None and "chair.mtl" in shape.warnings[0]


@pytest.mark.parametrize("textures", ["require", "grey"])
@pytest.mark.parametrize(
    "data, word",
    [(bomb(), "268 million pixels"), (b"no picture", "not an image"), (png(size=(64, 64))[:90], "damaged"), (b"", "not an image")],
)
def test_bad_textures_never_turn_grey(tmp_path, data, word, textures):
    assert word in refusal(textured_obj(tmp_path, data=data), textures=textures)
    assert word in refusal(glb_with_image(tmp_path / "a.gltf", data), textures=textures)


def test_large_textures_are_averaged_down(tmp_path, monkeypatch):
    monkeypatch.setattr(textures, "SIDE", 8)
    assert read(textured_obj(tmp_path, data=png(size=(32, 20)))).parts[0].texture.shape == (5, 8, 4)


def test_a_large_picture_without_alpha_is_averaged_like_one_with_alpha(monkeypatch):
    monkeypatch.setattr(textures, "SIDE", 8)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    opaque = np.dstack([pixels, np.full((30, 20), 255, np.uint8)])
    made = [textures.decode(saved(picture), "a.png") for picture in (pixels, opaque)]
    np.testing.assert_array_equal(*made)
    assert made[0].shape == (8, 5, 4) and textures.PIXELS >= 16384**2, "textures of photogrammetry are that large"


def test_material_colour_of_obj(tmp_path):
    write(tmp_path / "a.mtl", "newmtl red\nKd 0.8 0.2 0.0\n")
    shape = read(write(tmp_path / "a.obj", "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl red\nf 1 2 3\n"))
    assert shape.colored
    np.testing.assert_allclose(shape.parts[0].base_color, (0.8, 0.2, 0, 1))


def test_factors_of_gltf_are_linear_light(tmp_path):
    box = trimesh.creation.box()
    box.visual = TextureVisuals(
        uv=np.zeros((8, 2)), material=PBRMaterial(baseColorFactor=[0.2157, 1.0, 0.0, 1.0], emissiveFactor=[0.2157, 0, 0])
    )
    part = read(glb(tmp_path / "a.glb", box)).parts[0]
    np.testing.assert_allclose(part.base_color, (0.69, 1, 0, 1), atol=0.005)  # 0.2157 of base and 0.2157 of emission, together
    assert part.emissive == (0, 0, 0)


def test_vertex_and_face_colours_of_ply(tmp_path):
    box = trimesh.creation.box()
    box.visual.vertex_colors = [[10 * i, 0, 255, 255] for i in range(8)]
    shape = read(write(tmp_path / "v.ply", box.export(file_type="ply")))
    assert shape.colored
    np.testing.assert_array_equal(shape.parts[0].colors[:, 0], np.arange(8) * 10)
    box = trimesh.creation.box()
    box.visual.face_colors = [[20 * i, 0, 0, 255] for i in range(12)]
    part = read(write(tmp_path / "f.ply", box.export(file_type="ply"))).parts[0]
    np.testing.assert_array_equal(part.colors[part.faces][:, :, 0], np.arange(12)[:, None].repeat(3, 1) * 20)


def test_parts_of_different_plain_colours_become_vertex_colours(tmp_path):
    scene = trimesh.Scene()
    for i, color in enumerate(([1.0, 0, 0, 1.0], [0, 1.0, 0, 1.0])):
        box = trimesh.creation.box().apply_translation([2 * i, 0, 0])
        box.visual = TextureVisuals(material=PBRMaterial(baseColorFactor=color))
        scene.add_geometry(box)
    shape = read(glb(tmp_path / "a.glb", scene))
    assert len(shape.parts) == 1
    part = shape.parts[0]
    np.testing.assert_array_equal(part.colors[part.vertices[:, 0] > 1][0], [0, 255, 0, 255])
    np.testing.assert_array_equal(part.colors[part.vertices[:, 0] < 1][0], [255, 0, 0, 255])


def test_colours_of_two_bytes_and_floats():
    np.testing.assert_array_equal(geometry.rgba(np.array([[0xFFFF, 0x8000, 0, 0xFFFF]], np.uint16)), [[255, 128, 0, 255]])
    np.testing.assert_array_equal(geometry.rgba(np.array([[1.0, 0.5, np.nan]])), [[255, 128, 0, 255]])


def test_reading_leaves_no_trace(tmp_path):
    log, limit = logging.getLogger("trimesh"), Image.MAX_IMAGE_PIXELS
    before = (list(log.handlers), log.level, log.propagate)
    refusal(textured_obj(tmp_path, data=bomb()))
    assert (list(log.handlers), log.level, log.propagate) == before and Image.MAX_IMAGE_PIXELS == limit


# ------------------------------------------------------------------------------------------------------------ clouds


def test_clouds_from_ply_xyz_and_npy(tmp_path):
    points = np.arange(12.0).reshape(4, 3)
    colors = np.array([[255, 0, 9]] * 4)
    ply = trimesh.PointCloud(points, colors=np.column_stack([colors, [255] * 4])).export(file_type="ply")
    rows = "\n".join(" ".join(map(str, row)) for row in np.column_stack([points, colors]))
    np.save(tmp_path / "whole.npy", np.column_stack([points, colors]).astype(np.float32))
    np.save(tmp_path / "unit.npy", np.column_stack([points, colors / 255]))
    for path in (write(tmp_path / "a.ply", ply), write(tmp_path / "a.xyz", rows), tmp_path / "whole.npy", tmp_path / "unit.npy"):
        cloud = load(path, up="y", textures="require")
        assert isinstance(cloud, Cloud) and cloud.colored
        np.testing.assert_allclose(cloud.points, points)
        np.testing.assert_array_equal(cloud.colors, colors)


def test_normals_are_not_taken_for_colours(tmp_path):
    np.save(tmp_path / "a.npy", np.column_stack([np.arange(12.0).reshape(4, 3), np.full((4, 3), -0.5)]))
    cloud = load(tmp_path / "a.npy", up="z", textures="require")
    assert not cloud.colored
    np.testing.assert_allclose(cloud.points[1], [3, 5, -4])


def test_objects_in_npy_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    assert "Object arrays" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((4, 2)))
    assert "[n, 3]" in refusal(tmp_path / "b.npy")


# ------------------------------------------------------------------------------------------------------------- wrong

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
BOX = trimesh.creation.box()
WRONG = {
    "empty.obj": ("", "empty"),
    "comment.obj": ("# nothing\n", "no triangles"),
    "picture.blend": ("BLENDER", "'.blend' files cannot be read"),
    "noextension": ("hello", "cannot be read"),
    "cut.ply": (BOX.export(file_type="ply")[:-40], "damaged or cut short"),
    "cut.glb": (BOX.export(file_type="glb")[:-200], "damaged or cut short"),
    "cut.stl": (BOX.export(file_type="stl")[:-60], "damaged or cut short"),
    "cut.off": ("OFF\n4 2 0\n0 0 0\n1 0 0\n", "damaged or cut short"),
    "cut.npy": (b"\x93NUMPY\x01\x00", "damaged or cut short"),
    "really_obj.stl": (TRIANGLE + "f 1 2 3\n", "named .stl but looks like OBJ"),
    "really_ply.off": (BOX.export(file_type="ply"), "named .off but looks like PLY"),
    "page.glb": ("<!DOCTYPE html><html>404</html>", "a web page"),
    "pointer.glb": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "zero.off": ("OFF\n0 0 0\n", "no triangles"),
    "range.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "index"),
    "range.obj": (TRIANGLE + "f 1 2 9\n", "index"),
    "nan.off": ("OFF\n3 1 0\n0 0 0\n1 0 nan\n0 1 0\n3 0 1 2\n", "1 of 3 vertices in use are not finite"),
    "inf.obj": ("v 0 0 0\nv inf 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    "line.obj": ("v 0 0 0\nv 1 1 1\nv 2 2 2\nf 1 2 3\n", "no area"),
    "point.obj": ("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "no area"),
    "huge.obj": ("v 0 0 0\nv 1e30 0 0\nv 0 1e30 0\nf 1 2 3\n", "1e+30"),
    "one.xyz": ("1 2 3\n", "no two different"),
    "words.xyz": ("hello world again\n", "table of numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_say_why(tmp_path, name):
    data, word = WRONG[name]
    assert word in refusal(write(tmp_path / name, data))


def test_missing_file_and_lines_only(tmp_path):
    assert "there is no file" in refusal(tmp_path / "a.obj")
    path = trimesh.load_path([[[0, 0, 0], [1, 1, 1]]])
    assert "only lines" in refusal(glb(tmp_path / "a.glb", trimesh.Scene(path)))


def test_a_missing_buffer_is_named(tmp_path):
    files = trimesh.exchange.gltf.export_gltf(trimesh.Scene(BOX))
    write(tmp_path / "a.gltf", files["model.gltf"])
    assert "gltf_buffer" in refusal(tmp_path / "a.gltf")


def test_compressed_geometry_is_not_read_as_zeros(tmp_path):
    files = trimesh.exchange.gltf.export_gltf(trimesh.Scene(BOX))
    header = json.loads(files.pop("model.gltf"))
    for name, content in files.items():
        write(tmp_path / name, content)
    for accessor in header["accessors"]:
        del accessor["bufferView"]
    header["meshes"][0]["primitives"][0]["extensions"] = {"EXT_made_up_compression": {}}
    assert "EXT_made_up_compression" in refusal(write(tmp_path / "a.gltf", json.dumps(header)))


# -------------------------------------------------------------------------------------------------------- normalized


def box_mesh(box: trimesh.Trimesh) -> Mesh:
    return Mesh(parts=(Part(vertices=box.vertices.astype(np.float32), faces=box.faces.astype(np.int32)),), colored=False)


def test_unit_sphere_is_by_area_and_farthest_vertex():
    scene = trimesh.util.concatenate([trimesh.creation.box().subdivide().subdivide(), trimesh.creation.box().apply_translation([9, 0, 0])])
    shape = normalized(box_mesh(scene), "unit_sphere")
    vertices = shape.parts[0].vertices.astype(np.float64)
    assert np.linalg.norm(vertices, axis=1).max() == pytest.approx(1, abs=1e-6)
    # both boxes have the same area, however many triangles they are cut into
    np.testing.assert_allclose((vertices.min(0) + vertices.max(0)) / 2, 0, atol=1e-6)
    assert vertices.dtype == np.float64 and shape.parts[0].vertices.dtype == np.float32


def test_none_moves_nothing():
    shape = normalized(box_mesh(trimesh.creation.box().apply_translation([3, 4, 5])), "none")
    np.testing.assert_allclose(shape.parts[0].vertices.mean(0), [3, 4, 5])


@pytest.mark.parametrize("how", ["unit_sphere", "none"])
@pytest.mark.parametrize(
    "points, word",
    [
        (np.zeros((0, 3)), "no two different"),
        (np.ones((5, 3)), "no two different"),
        ([[0, 0, np.nan], [1, 1, 1]], "not finite"),
        ([[0, 0, 0], [1e30, 0, 0]], "1e\\+30"),
    ],
)
def test_bad_clouds(points, word, how):
    with pytest.raises(ValueError, match=word):
        normalized(Cloud(points=np.asarray(points, np.float32)), how)


def test_cloud_into_the_unit_sphere():
    cloud = normalized(Cloud(points=np.array([[0, 0, 0], [4, 0, 0]], np.float32)), "unit_sphere")
    np.testing.assert_allclose(cloud.points, [[-1, 0, 0], [1, 0, 0]])
