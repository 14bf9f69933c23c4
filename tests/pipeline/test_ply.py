"""PLY: one feature a row, with the surface or colour that it must give. Run: pytest tests/pipeline/test_ply.py"""

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.formats import ply
from pipeline.geometry import GREY, Cloud, Mesh, normalized, triangles
from pipeline.reading import load

SQUARE = ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0))
RED = (1, 0, 0)


def header(form: str, *lines: str, end: str = "\n") -> bytes:
    return end.join(("ply", f"format {form} 1.0", *lines, "end_header", "")).encode("latin-1")


def vertex(*extra: str, count: int = 4, kind: str = "float") -> tuple[str, ...]:
    return (f"element vertex {count}", *(f"property {kind} {axis}" for axis in "xyz"), *(f"property {e}" for e in extra))


def face(*extra: str, count: int = 1, lists: str = "uchar int vertex_indices") -> tuple[str, ...]:
    return (f"element face {count}", f"property list {lists}", *(f"property {e}" for e in extra))


def square(*lines: str, row: str = "", faces: str = "4 0 1 2 3\n", extra: tuple[str, ...] = (), last: tuple[str, ...] = ()) -> bytes:
    """A text file of one square; `row` follows every position."""
    rows = "".join(f"{x} {y} {z} {row}\n" for x, y, z in SQUARE)
    return header("ascii", *lines, *vertex(*extra), *(last or face())) + (rows + faces).encode()


def cloud(*extra: str, rows: list[str] | None = None, row: str = "", count: int = 4) -> bytes:
    rows = rows or [f"{x} {y} {z} {row}" for x, y, z in SQUARE]
    return header("ascii", *vertex(*extra, count=count)) + "\n".join(rows).encode()


def write(folder: Path, data: bytes) -> Path:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 30, 10)).save(buffer, "PNG")
    (folder / "wood 1.png").write_bytes(buffer.getvalue())
    path = folder / "a.ply"
    path.write_bytes(data)
    return path


def read(folder: Path, data: bytes, textures="require") -> Mesh | Cloud:
    return load(write(folder, data), up="y", textures=textures)


def area(shape: Mesh) -> float:
    return sum(areas.sum() for part in shape.parts for _, areas in triangles(part))


def color(shape: Mesh | Cloud) -> np.ndarray:
    """Mean colour over all corners, 0..1."""
    if isinstance(shape, Cloud):
        return shape.colors.mean(0) / 255
    values = []
    for p in shape.parts:
        own = np.ones((p.faces.size, 4)) if p.colors is None else p.colors[p.faces].reshape(-1, 4) / 255
        values.append(own * np.asarray(p.base_color) * (1 if p.texture is None else p.texture.reshape(-1, 4).mean(0) / 255))
    return np.concatenate(values).mean(0)


# ----------------------------------------------------------------------------------------------------------- surfaces

FOUR = struct.pack("<B4i", 4, 0, 1, 2, 3)
BINARY_SQUARE = np.array(SQUARE, "<f4").tobytes()
MIXED = b"".join(struct.pack("<B", len(c)) + struct.pack(f"<{len(c)}i", *c) for c in ((0, 1, 2), (0, 1, 2, 3), (0, 2, 3)))
CORNERS6 = "1 0 3\n0 0 3\n0 0 0\n3 0 0\n3 0 1\n1 0 1\n"  # an L whose fan would cover 9


def strips(*numbers: int, rows: int = 1) -> bytes:
    flat = numbers if rows == 1 else ()
    return (
        header("binary_big_endian", *vertex(), f"element tristrips {rows}", "property list int int vertex_indices")
        + np.array(SQUARE, ">f4").tobytes()
        + struct.pack(f">{len(flat) + 1}i", len(flat), *flat)
    )


SURFACES = {
    "text": (square(), 1),
    "crlf": (square().replace(b"\n", b"\r\n"), 1),
    "cr": (square().replace(b"\n", b"\r"), 1),
    "latin-1 comment": (square("comment M\xf6bel", "obj_info caf\xe9"), 1),
    "tabs, blanks, capitals": (square().replace(b"property float x", b"property\tFLOAT  X "), 1),
    "other names of elements": (square().replace(b"element vertex", b"element points").replace(b"element face", b"element polygons"), 1),
    "vertex_index, sized types": (square(last=face(lists="uint8 int32 vertex_index")), 1),
    "elements before, with lists": (
        header("ascii", "element camera 2", "property float fov", "property list uchar float lens", *vertex(), *face())
        + b"1 2 5 6\n1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n",
        1,
    ),
    "elements after": (square(last=(*face(), "element camera 1", "property float a")) + b"7\n", 1),
    "faces before vertices": (header("ascii", *face(), *vertex()) + b"4 0 1 2 3\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n", 1),
    "properties around the list": (square(last=("element face 1", "property int a", *face("float b")[1:]), faces="9 4 0 1 2 3 0.5\n"), 1),
    "concave": (header("ascii", *vertex(count=6), *face()) + (CORNERS6 + "6 0 1 2 3 4 5\n").encode(), 5),
    "concave the other way": (header("ascii", *vertex(count=6), *face()) + (CORNERS6 + "6 5 4 3 2 1 0\n").encode(), 5),
    "mixed binary": (header("binary_little_endian", *vertex(), *face(count=3)) + BINARY_SQUARE + MIXED, 2),
    "cr, binary that begins with LF": (
        header("binary_little_endian", *vertex(), *face(), end="\r")
        + struct.pack("<I", 0x0000000A)  # a tiny float whose first byte is a line feed
        + BINARY_SQUARE[4:]
        + struct.pack("<B4i", 4, 0, 1, 2, 3),
        1,
    ),
    "crlf, binary": (header("binary_little_endian", *vertex(), *face(), end="\r\n") + BINARY_SQUARE + FOUR, 1),
    "big endian, double, ushort": (
        header("binary_big_endian", *vertex(kind="double"), *face(lists="ushort ushort vertex_indices"))
        + np.array(SQUARE, ">f8").tobytes()
        + struct.pack(">5H", 4, 0, 1, 2, 3),
        1,
    ),
    "bytes as indices, int counts": (
        header("binary_little_endian", *vertex(), *face(lists="int uchar vertex_indices"))
        + BINARY_SQUARE
        + struct.pack("<i4B", 4, 0, 1, 2, 3),
        1,
    ),
    "strip": (strips(0, 1, 3, 2), 1),
    "strips with restarts": (strips(0, 1, 3, -1, 1, 2, 3), 1),
    "strip that steps over": (strips(0, 1, 3, 3, 1, 2), 1),
    "lines among the faces": (square(last=face(count=3), faces="2 0 1\n4 0 1 2 3\n0\n"), 1),
    "longer lines than declared": (square(row="9 9"), 1),
    "bytes at the end": (header("binary_little_endian", *vertex(), *face(count=3)) + BINARY_SQUARE + MIXED + b"\0\0\0", 2),
    "nan that is not used": (header("ascii", *vertex(count=5), *face()) + b"0 0 0\n1 0 0\n1 1 0\n0 1 0\nnan -1.#IND inf\n4 0 1 2 3\n", 1),
}


@pytest.mark.parametrize("name", SURFACES)
def test_surfaces(tmp_path, name):
    data, expected = SURFACES[name]
    shape = read(tmp_path, data)
    assert isinstance(shape, Mesh) and not shape.colored
    assert area(shape) == pytest.approx(expected, rel=1e-6)
    assert shape.parts[0].base_color == (GREY, GREY, GREY, 1.0)


@pytest.mark.parametrize("numbers", [(0, 1, 3, 2), (3, 0, 2, 1, -1, 0, 3, 1)])
def test_every_second_triangle_of_a_strip_is_turned(numbers):
    faces = ply._strips(np.array([len(numbers)]), np.array(numbers))
    corners = np.array(SQUARE, float)[faces]
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    assert (np.sign(facing[:2]) == np.sign(facing[0])).all()


WARNED = {
    "lines among the faces": "2 faces of fewer than three corners",
    "longer lines than declared": "numbers beyond those that the header declares",
    "bytes at the end": "3 bytes after the last row",
}


@pytest.mark.parametrize("name", WARNED)
def test_what_is_left_out_is_said(tmp_path, name):
    assert any(WARNED[name] in text for text in read(tmp_path, SURFACES[name][0]).warnings)


@pytest.mark.parametrize("make", [cloud, square])
def test_properties_of_vertices_that_nothing_reads_are_named(tmp_path, make):
    extra = ("float scalar_Intensity", "uchar red", "uchar green", "uchar blue", "uchar alpha", "float confidence", "float nx")
    shape = read(tmp_path, make(extra=extra, row="0.5 1 2 3 255 1 0") if make is square else cloud(*extra, row="0.5 1 2 3 255 1 0"))
    assert shape.warnings == ("left out: confidence, scalar_intensity",) and shape.colored
    shape = read(
        tmp_path, cloud("uchar red", "uchar green", "uchar blue", "float scalar_r", "float scalar_g", "float scalar_b", row="1 2 3 1 1 1")
    )
    assert shape.warnings == ("left out: scalar_b, scalar_g, scalar_r",)
    splat = [f"float {name}" for name in ("f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "rot_0", "f_rest_0", "age")]
    assert read(tmp_path, cloud(*splat, row="0 0 0 1 1 1 1 1")).warnings[0] == "left out: age"


def test_normals(tmp_path):
    extra = ("float nx", "float ny", "float nz")
    np.testing.assert_allclose(read(tmp_path, square(extra=extra, row="0 0 2")).parts[0].normals, [[0, 0, 1]] * 4)
    shape = read(tmp_path, square(extra=extra, row="1 0 0"))
    assert shape.parts[0].normals is None and "normals" in shape.warnings[0]


def test_mixed_rows_agree_with_uniform_rows(tmp_path):
    """The general way of reading rows gives what the fast one gives, for every property."""
    random = np.random.default_rng(0)
    element = ply.Element(
        "face", 50, (ply.Property("a", "i2"), ply.Property("b", "i4", "u1"), ply.Property("c", "f8"), ply.Property("d", "f4", "u2"))
    )
    expected: dict[str, list[float]] = {"a": [], "b": [], "c": [], "d": []}
    for uniform in (False, True):
        rows, want = b"", {k: [] for k in expected}
        for _ in range(50):
            b, d = (3, 2) if uniform else random.integers(0, 5, 2)
            values = random.integers(0, 99, 1), random.integers(0, 99, b), random.random(1), random.random(d).astype("f4")
            rows += values[0].astype(">i2").tobytes() + bytes([b]) + values[1].astype(">i4").tobytes() + values[2].astype(">f8").tobytes()
            rows += struct.pack(">H", d) + values[3].astype(">f4").tobytes()
            for key, value in zip("abcd", values, strict=True):
                want[key].extend(value)
        table, end = ply._rows(b"xyz" + rows, 3, element, ">")
        assert end == 3 + len(rows)
        got = {"a": table.columns["a"], "b": table.lists["b"][1], "c": table.columns["c"], "d": table.lists["d"][1]}
        for key in want:
            np.testing.assert_array_equal(got[key], want[key])


# ------------------------------------------------------------------------------------------------------------ colours

RGB = ("red", "green", "blue")
COLORS = {
    "uchar": (tuple(f"uchar {c}" for c in RGB), "255 0 0", RED),
    "diffuse": (tuple(f"uchar diffuse_{c}" for c in RGB), "255 0 0", RED),
    "r g b": (tuple(f"uchar {c}" for c in "rgb"), "255 0 0", RED),
    "any order": (("uchar blue", "uchar red", "uchar green"), "0 255 0", RED),
    "float 0..1": (tuple(f"float {c}" for c in RGB), "1.0 0 0.5", (1, 0, 0.5)),
    "float 0..1 a little beyond": (tuple(f"float {c}" for c in RGB), "1.04 0 -0.01", RED),
    "float 0..255": (tuple(f"float {c}" for c in RGB), "255.0 0 127.5", (1, 0, 0.5)),
    "int": (tuple(f"int {c}" for c in RGB), "255 0 51", (1, 0, 0.2)),
    "ushort": (tuple(f"ushort {c}" for c in RGB), "65535 0 13107", (1, 0, 0.2)),
    "ushort that holds bytes": (tuple(f"ushort {c}" for c in RGB), "255 0 51", (1, 0, 0.2)),
    "fractions under a whole type": (tuple(f"uchar {c}" for c in RGB), "1.0 0.5 0.0", (1, 0.5, 0)),
    "double nan": (tuple(f"double {c}" for c in RGB), "1 nan 0", RED),
    "with normals and label": (("float nx", "float ny", "float nz", *(f"uchar {c}" for c in RGB), "int label"), "0 0 1 255 0 0 7", RED),
    "CloudCompare's scalars": (tuple(f"float scalar_{c}" for c in "RGB"), "255 0 51", (1, 0, 0.2)),
    "packed uint": (("uint rgb",), str(0x00FF0033), (1, 0, 0.2)),
    "packed int with alpha": (("int rgba",), str(0xFFFF0033 - 2**32), (1, 0, 0.2)),
    "packed without alpha": (("uint rgba",), str(0x00FF0033), (1, 0, 0.2)),
    "packed float": (("float rgb",), repr(float(np.uint32(0x00FF0033).view(np.float32))), (1, 0, 0.2)),
    "packed whole number under float": (("float rgb",), str(0x00FF0033), (1, 0, 0.2)),
    "packed whole number with alpha under float": (("float rgba",), str(0xFFFF0033), (1, 0, 0.2)),
    "packed beside channels": (("uint rgb", *(f"uchar {c}" for c in RGB)), "255 255 0 0", RED),
    "harmonics": (tuple(f"float f_dc_{i}" for i in range(3)), "1.7724538 -1.7724538 0", (1, 0, 0.5)),
}


@pytest.mark.parametrize("name", COLORS)
def test_colours_of_points(tmp_path, name):
    extra, row, expected = COLORS[name]
    shape = read(tmp_path, cloud(*extra, row=row))
    assert isinstance(shape, Cloud) and shape.colored and len(shape.points) == 4
    np.testing.assert_allclose(color(shape), expected, atol=0.003)


@pytest.mark.parametrize("name", COLORS)
def test_colours_of_vertices_and_of_faces(tmp_path, name):
    extra, row, expected = COLORS[name]
    shape = read(tmp_path, square(extra=extra, row=row))
    assert shape.colored and area(shape) == pytest.approx(1)
    np.testing.assert_allclose(color(shape)[:3], expected, atol=0.003)
    if name == "harmonics":
        return  # faces have none
    shape = read(tmp_path, square(last=face(*extra), faces=f"4 0 1 2 3 {row}\n"))
    assert shape.colored and area(shape) == pytest.approx(1)
    np.testing.assert_allclose(color(shape)[:3], expected, atol=0.003)


def test_each_face_has_its_own_colour(tmp_path):
    faces = "3 0 1 2 255 0 0\n3 0 2 3 0 0 255\n"
    part = read(tmp_path, square(last=face("uchar red", "uchar green", "uchar blue", count=2), faces=faces)).parts[0]
    np.testing.assert_array_equal(part.colors[part.faces][:, :, :3], [[[255, 0, 0]] * 3, [[0, 0, 255]] * 3])


@pytest.mark.parametrize("kind", ["uint rgba", "float rgba"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_packed_colours_of_binary_files(tmp_path, kind, order):
    sign = "<" if order == "little" else ">"
    rows = b"".join(struct.pack(f"{sign}3fI", x, y, z, color) for (x, y, z), color in zip(SQUARE, (0x80FF0033,) * 4, strict=True))
    face_row = struct.pack(f"{sign}B4i", 4, 0, 1, 2, 3)
    (part,) = read(tmp_path, header(f"binary_{order}_endian", *vertex(kind), *face()) + rows + face_row).parts
    np.testing.assert_array_equal(part.colors, [[255, 0, 51, 128]] * 4)
    assert part.alpha_mode == "BLEND"


TABLE = tuple(f"property uchar {part}_{c}" for part in ("ambient", "diffuse") for c in RGB)
TWO, ONE = "0 0 0 255 0 0\n9 9 9 0 0 255\n", "0 0 0 255 0 0\n"
HALVES = face("int material_index", count=2)
OF_MATERIALS = {
    # name: (lines of the header after the vertices, rows after them, properties and row of vertices, mean colour, warning)
    "one": ((*HALVES, "element material 1", *TABLE), "3 0 1 2 0\n3 0 2 3 0\n" + ONE, (), "", RED, ""),
    "two": ((*HALVES, "element material 2", *TABLE), "3 0 1 2 0\n3 0 2 3 1\n" + TWO, (), "", (0.5, 0, 0.5), ""),
    "one that nothing names": ((*face(), "element material 1", *TABLE), "4 0 1 2 3\n" + ONE, (), "", RED, ""),
    "two that nothing names": ((*face(), "element material 2", *TABLE), "4 0 1 2 3\n" + TWO, (), "", None, "material_index"),
    "none": (
        (*HALVES, "element material 1", *TABLE),
        "3 0 1 2 0\n3 0 2 3 -1\n" + ONE,
        (),
        "",
        ((1 + GREY) / 2, GREY / 2, GREY / 2),
        "1 of 2",
    ),
    "of vertices": ((*face(), "element material 2", *TABLE), "4 0 1 2 3\n" + TWO, ("int material_index",), "1", (0, 0, 1), ""),
    "of floats": ((*face(), "element material 1", *(f"property float {c}" for c in RGB)), "4 0 1 2 3\n1 0.5 0\n", (), "", (1, 0.5, 0), ""),
    "without colours": ((*face(), "element material 1", "property float shininess"), "4 0 1 2 3\n1\n", (), "", None, "no colour"),
    "beside colours": (
        (*face(), "element material 1", *TABLE),
        "4 0 1 2 3\n" + ONE,
        tuple(f"uchar {c}" for c in RGB),
        "0 0 255",
        (0, 0, 1),
        "beside",
    ),
}


@pytest.mark.parametrize("name", OF_MATERIALS)
def test_colours_of_materials(tmp_path, name):
    last, rows, extra, row, expected, warning = OF_MATERIALS[name]
    shape = read(tmp_path, square(extra=extra, row=row, last=last, faces=rows))
    assert area(shape) == pytest.approx(1) and shape.colored == (expected is not None)
    np.testing.assert_allclose(color(shape)[:3], expected or (GREY,) * 3, atol=0.003)
    assert len(shape.warnings) == bool(warning) and warning in "".join(shape.warnings)


def test_colours_of_materials_of_points(tmp_path):
    data = square(extra=("int material_index",), row="1", last=("element material 2", *TABLE), faces=TWO)
    shape = read(tmp_path, data)
    assert isinstance(shape, Cloud) and (shape.colors == (0, 0, 255)).all()


@pytest.mark.parametrize("vertices, faces, expected", [("255 255 255", "255 0 0", RED), ("255 0 0", "255 255 255", RED)])
def test_white_beside_colours_is_not_meant(tmp_path, vertices, faces, expected):
    extra = tuple(f"uchar {c}" for c in RGB)
    shape = read(tmp_path, square(extra=extra, row=vertices, last=face(*extra), faces=f"4 0 1 2 3 {faces}\n"))
    np.testing.assert_allclose(color(shape)[:3], expected)


def test_faces_with_more_numbers_than_declared_have_no_colour(tmp_path):
    """As old MeshLab wrote: colours of faces are declared, colours of corners are written."""
    shape = read(tmp_path, square(last=face(*(f"uchar {c}" for c in RGB)), faces="4 0 1 2 3 12 1 0 0 1 0 0 1 0 0 1 0 0\n"))
    assert area(shape) == pytest.approx(1) and not shape.colored and shape.warnings


def test_alpha_of_some_that_means_nothing(tmp_path):
    extra = (*(f"uchar {c}" for c in RGB), "uchar alpha")
    data = square(extra=extra, row="255 0 0 255").replace(b"255 0 0 255", b"255 0 0 0", 1)
    shape = read(tmp_path, data)
    assert shape.parts[0].alpha_mode == "OPAQUE" and color(shape)[3] == 1 and "alpha" in shape.warnings[0]


@pytest.mark.parametrize("alpha, mode, value", [("255", "OPAQUE", 1), ("51", "BLEND", 0.2), ("0", "OPAQUE", 1)])
def test_alpha(tmp_path, alpha, mode, value):
    extra = (*(f"uchar {c}" for c in RGB), "uchar alpha")
    shape = read(tmp_path, square(extra=extra, row=f"255 0 0 {alpha}"))
    assert shape.parts[0].alpha_mode == mode and color(shape)[3] == pytest.approx(value)
    assert (alpha == "0") == bool(shape.warnings)
    assert color(read(tmp_path, cloud(*extra, row=f"255 0 0 {alpha}"))) == pytest.approx(RED)


def test_invisible_splats_are_left_out(tmp_path):
    rows = [f"{x} {y} {z} 0 0 0 {opacity}" for (x, y, z), opacity in zip(SQUARE, (5, 5, -20, 0), strict=True)]
    shape = read(tmp_path, cloud(*(f"float f_dc_{i}" for i in range(3)), "float opacity", rows=rows))
    assert len(shape.points) == 3 and len(shape.warnings) == 2 and "splats" in shape.warnings[0]


# ----------------------------------------------------------------------------------------------------------- pictures

NAMED = "comment TextureFile wood 1.png"
MAPPED = {
    "s t": square(NAMED, extra=("float s", "float t"), row="0.5 0.25"),
    "u v": square(NAMED, extra=("float u", "float v"), row="0.5 0.25"),
    "texture_u": square(NAMED, extra=("float texture_u", "float texture_v"), row="0.5 0.25"),
    "texture": square("comment texture wood 1.png", extra=("float u", "float v"), row="0.5 0.25"),
    "texture_file:": square("comment texture_file: wood 1.png", extra=("float u", "float v"), row="0.5 0.25"),
    "texture and other words": square("comment texture from wood", NAMED, extra=("float u", "float v"), row="0.5 0.25"),
    "of corners": square(NAMED, last=face("list uchar float texcoord"), faces="4 0 1 2 3 8" + " 0.5 0.25" * 4 + "\n"),
    "of corners, numbered": square(
        "comment TextureFile nowhere.png",
        NAMED,
        last=face("list uchar float texcoord", "int texnumber"),
        faces="4 0 1 2 3 8" + " 0.5 0.25" * 4 + " 1\n",
    ),
    "beside colours": square(NAMED, extra=("float s", "float t", *(f"uchar {c}" for c in RGB)), row="0.5 0.25 0 0 0"),
}


@pytest.mark.parametrize("name", MAPPED)
def test_pictures(tmp_path, name):
    shape = read(tmp_path, MAPPED[name])
    (part,) = shape.parts
    assert shape.colored and tuple(part.texture[0, 0]) == (200, 30, 10, 255) and part.colors is None
    np.testing.assert_allclose(part.uv, np.tile([0.5, 0.25], (len(part.uv), 1)))


def test_a_picture_of_an_old_encoding_is_found(tmp_path):
    (tmp_path / "M\xf6bel \u2013 1.png").write_bytes((write(tmp_path, b"").parent / "wood 1.png").read_bytes())
    named = "comment TextureFile M\xf6bel \x96 1.png"  # a dash as Windows-1252 has it
    assert read(tmp_path, square(named, extra=("float s", "float t"), row="0.5 0.25")).parts[0].texture is not None


def test_coordinates_of_corners_follow_their_corners(tmp_path):
    faces = "4 0 1 2 3 8 0 0 1 0 1 1 0 1\n"
    (part,) = read(tmp_path, square(NAMED, last=face("list uchar float texcoord"), faces=faces)).parts
    np.testing.assert_allclose(part.uv, part.vertices[:, :2])


def test_faces_without_coordinates_have_no_picture(tmp_path):
    faces = "3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 0\n"
    shape = read(tmp_path, square(NAMED, last=face("list uchar float texcoord", count=2), faces=faces))
    assert sorted(part.texture is None for part in shape.parts) == [False, True] and "1 of 2 faces" in shape.warnings[0]


def test_a_picture_that_is_missing(tmp_path):
    data = square("comment TextureFile nowhere.png", extra=("float s", "float t"), row="0 0")
    with pytest.raises(ValueError, match="nowhere"):
        read(tmp_path, data)
    shape = read(tmp_path, data, textures="grey")
    assert not shape.colored and "nowhere.png" in shape.warnings[0]


# ------------------------------------------------------------------------------------------------------------- clouds


@pytest.mark.parametrize("last", [(), face(count=0), face(count=1)])
def test_no_faces_are_a_cloud(tmp_path, last):
    data = header("ascii", *vertex(), *last) + b"0 0 0\n1 0 0\n1 1 0\n0 1 0\n" + (b"0\n" if "element face 1" in last else b"")
    shape = read(tmp_path, data)
    assert isinstance(shape, Cloud) and len(shape.points) == 4 and not shape.colored


def test_points_that_are_no_numbers_are_dropped_and_counted(tmp_path):
    rows = ["0 0 0 1 0 0", "nan 0 0 9 9 9", "1 inf 0 9 9 9", "1 1 1 1 0 0"]
    shape = read(tmp_path, cloud(*(f"uchar {c}" for c in RGB), rows=rows))
    assert len(shape.points) == len(shape.colors) == 2 and "2 of 4 points" in shape.warnings[0]
    np.testing.assert_array_equal(shape.colors, [[1, 0, 0]] * 2)
    with pytest.raises(ValueError, match="no points"):
        read(tmp_path, cloud(count=1, rows=["nan nan nan"]))


def test_far_points_keep_their_form(tmp_path):
    data = (
        header("binary_little_endian", *vertex(kind="double", count=2)) + np.array([[4e6 + 0.25, 2e5, 0], [4e6 + 0.75, 2e5, 0]]).tobytes()
    )
    points = read(tmp_path, data).points
    assert points[1, 0] - points[0, 0] == pytest.approx(0.5)


MAP = np.array([500_000, 4_600_000, 300.0])
"""Coordinates of a place on a map, in metres."""


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_coordinates_of_maps_that_were_rounded_before_are_said(tmp_path, kind):
    points = np.random.default_rng(0).uniform(-10, 10, (200, 3)) + MAP
    data = header("binary_little_endian", *vertex(kind={"<f4": "float", "<f8": "double"}[kind], count=200)) + points.astype(kind).tobytes()
    shape = read(tmp_path, data)
    np.testing.assert_allclose(np.ptp(shape.points, axis=0), np.ptp(points.astype(kind).astype(float), axis=0), atol=1e-4)
    said = "coordinates far from 0 are in steps of 0.5, and the shape measures 34"
    assert [text[: len(said)] for text in shape.warnings] == [said] * (kind == "<f4")


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.random.default_rng(0).uniform(-30, 30, (200, 3)) + MAP, "in steps of 10, and the shape measures 103"),
        (np.random.default_rng(0).uniform(-5, 5, (200, 3)) + MAP, "in steps of 1, and the shape measures"),  # one place in y
        (np.stack(np.meshgrid(*3 * [range(5)]), -1).reshape(-1, 3) + MAP + [1, 2, 3], ""),  # whole metres are not six digits
        (2.0 * np.array(SQUARE) + MAP, ""),
    ],
)
def test_coordinates_of_maps_with_six_digits_are_said(tmp_path, points, said):
    rows = [" ".join(f"{value:.6g}" if said else f"{value:.9g}" for value in point) for point in points]
    shape = read(tmp_path, cloud(rows=rows, count=len(rows)))
    assert len(shape.warnings) == bool(said) and said in "".join(shape.warnings)


def test_a_cloud_with_stray_faces_is_said_and_one_without_is_not(tmp_path):
    points = np.random.default_rng(0).normal(size=(100, 3)).astype("<f4")
    faces = b"".join(struct.pack("<B3i", 3, i, i + 1, i + 2) for i in range(0, 60, 3))
    data = header("binary_little_endian", *vertex(count=100), *face(count=20)) + points.tobytes() + faces
    assert read(tmp_path, data).warnings == ()
    few = header("binary_little_endian", *vertex(count=100), *face(count=2)) + points.tobytes() + faces[:26]
    said = "only 6 of 100 vertices belong to a face, the others are left out; if they are a cloud, take out its 2 faces"
    assert read(tmp_path, few).warnings == (said,)


def test_signed_bytes_hold_unsigned_colours(tmp_path):
    lines = vertex("char red", "char green", "char blue")
    rows = b"".join(struct.pack("<3f3b", *place, -1, 127, -128) for place in SQUARE)
    np.testing.assert_array_equal(read(tmp_path, header("binary_little_endian", *lines) + rows).colors, [[255, 127, 128]] * 4)


def test_numbers_of_the_other_byte_order_are_refused(tmp_path):
    data = header("binary_little_endian", *vertex()) + np.array(SQUARE, ">f4").tobytes()
    with pytest.raises(ValueError, match="written in the other byte order"):
        read(tmp_path, data)


# -------------------------------------------------------------------------------------------------------------- wrong

WRONG = {
    "no end": (square()[:60], "end_header"),
    "no ply": (b"plu\nformat", "does not begin"),
    "format": (square().replace(b"ascii", b"binary_middle_endian"), "binary_middle_endian"),
    "unknown type": (square().replace(b"float x", b"quaternion x"), "quaternion"),
    "no x": (square().replace(b"float x", b"float q"), "no properties x, y, z"),
    "no list": (square().replace(b"vertex_indices", b"corners"), "vertex_indices"),
    "twice": (square(extra=("float x",), row="1"), "two properties"),
    "index": (square(faces="4 0 1 2 4\n"), "vertex 4 of 4"),
    "negative index": (square(faces="4 0 1 2 -1\n"), "vertex -1 of 4"),
    "word": (square(faces="4 0 one 2 3\n"), "'one'"),
    "cut text": (square()[:-6], "damaged or cut short"),
    "cut text of vertices": (square()[:-30], "damaged or cut short"),
    "cut binary": (SURFACES["mixed binary"][0][:-3], "damaged or cut short"),
    "cut vertices": (header("binary_little_endian", *vertex()) + BINARY_SQUARE[:-1], "4 rows of element 'vertex'"),
    "a billion rows": (header("binary_little_endian", *vertex(count=10**9), *face()) + BINARY_SQUARE, "1,000,000,000 rows"),
    "a billion rows in text": (header("ascii", *vertex(count=10**9), *face()) + b"0 0 0\n", "damaged or cut short"),
    "a billion faces": (header("binary_little_endian", *vertex(), *face(count=10**9)) + BINARY_SQUARE + MIXED, "1,000,000,000 rows"),
    "a billion corners": (
        header("binary_little_endian", *vertex(), *face(lists="uint int vertex_indices")) + BINARY_SQUARE + struct.pack("<I", 10**9),
        "damaged or cut short",
    ),
    "negative count": (
        header("binary_little_endian", *vertex(), *face(lists="int int vertex_indices"))
        + BINARY_SQUARE
        + struct.pack("<5i", -4, 0, 1, 2, 3),
        "has -4 values",
    ),
    "nan count": (square(faces="nan 0 1 2 3\n"), "has nan values"),
    "nan index": (square(faces="4 0 1 nan 3\n"), "out of range"),
    "negative rows": (square().replace(b"vertex 4", b"vertex -4"), "element vertex -4"),
    "nothing": (header("ascii"), "no triangles and no points"),
    "packed splats": (
        header("binary_little_endian", "element vertex 1", "property uint packed_position") + b"\0" * 4,
        "compressed Gaussian",
    ),
    "nan corner": (square().replace(b"1 1 0 \n", b"1 nan 0 \n"), "not finite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_say_why(tmp_path, name):
    data, word = WRONG[name]
    before = time.process_time()  # of this process: others may keep it waiting
    with pytest.raises(ValueError) as caught:
        normalized(read(tmp_path, data), "unit_sphere")
    assert word in str(caught.value) and time.process_time() - before < 2


def test_any_cut_and_any_flipped_byte_is_read_or_refused(tmp_path):
    """Nothing but a reason comes out of a damaged file."""
    random = np.random.default_rng(1)
    sources = [SURFACES["mixed binary"][0], MAPPED["of corners"], SURFACES["strips with restarts"][0], square(row="9 9")]
    for data in sources:
        for _ in range(60):
            bad = bytearray(data[: random.integers(1, len(data) + 1)])
            for _ in range(random.integers(0, 3)):
                bad[random.integers(len(bad))] = random.integers(256)
            try:
                read(tmp_path, bytes(bad), textures="grey")
            except ValueError as error:
                assert type(error).__name__ in ("UserError", "Missing"), error
