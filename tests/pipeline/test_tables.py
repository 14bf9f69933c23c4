"""Clouds in tables of numbers, layout by layout: each has the right count, colour and extent, or says what is wrong."""

import io
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema.errors import UserError
from pipeline.formats import columns, labels
from pipeline.formats.table import is_table, parsed
from pipeline.geometry import Cloud, Mesh
from pipeline.reading import load

RNG = np.random.default_rng(0)
NORMALS = RNG.normal(size=(60, 3))
NORMALS /= np.linalg.norm(NORMALS, axis=1, keepdims=True)
XYZ = NORMALS * [1.0, 2.0, 3.0]
RED, GREEN = np.tile([255.0, 0, 0], (60, 1)), np.tile([0, 255.0, 0], (60, 1))
MIXED = RNG.integers(0, 256, (60, 3)).astype(float)
ONE = np.ones((60, 1))
TURN = np.arange(60)[:, None]
"""A whole number for each point, all of them different, so that columns made of it do not depend on chance."""
PURE = np.hstack([250 + 0 * TURN, TURN % 20, TURN * 7 % 20]).astype(float)
NEAR = np.clip(MIXED[:, :1] * [1, 0.9, 0.8] + TURN % 7, 0, 255).round()
"""Colours whose channels go together, as those of photographs do."""
LOW, HIGH = XYZ.min(axis=0), XYZ.max(axis=0)


def cube() -> tuple[np.ndarray, np.ndarray]:
    """Points on a cube and their normals without signs, which are pure red, green and blue as colours."""
    axis = np.arange(600) % 3
    points = RNG.uniform(-1, 1, (600, 3))
    points[np.arange(600), axis] = RNG.choice([-1.0, 1.0], 600)
    return points, np.eye(3)[axis]


def npy(array: np.ndarray, **how: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **how)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def text(table: np.ndarray, separator: str = " ", head: str = "") -> bytes:
    rows = (separator.join(f"{value:.6g}" for value in row) for row in table)
    return (head + "\n".join(rows) + "\n").encode()


def quoted(table: np.ndarray, names: tuple[str, ...]) -> bytes:
    """A table with each name and each cell in quotes."""
    lines = [names, *([f"{value:.6g}" for value in row] for row in table)]
    return "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines).encode()


def signed(table: np.ndarray) -> bytes:
    """A table as `numpy.savetxt` writes it with a blank in front of numbers that are not negative."""
    buffer = io.StringIO()
    np.savetxt(buffer, table, fmt="% .6f", delimiter=",")
    return buffer.getvalue().encode()


def grouped(*parts: np.ndarray, between: bytes = b" ") -> bytes:
    """Groups of columns with blanks or another text between them, and commas within."""
    lines = zip(*(text(part, ",").split(b"\n")[:-1] for part in parts), strict=True)
    return b"\n".join(map(between.join, lines)) + b"\n"


def fields(names: str, table: np.ndarray, kinds: str = "") -> np.ndarray:
    """A structured array."""
    split = names.split()
    dtype = np.dtype(list(zip(split, kinds.split() or ["<f4"] * len(split), strict=True)))
    return np.array([tuple(row) for row in table], dtype)


def pcd(data: str, table: np.ndarray, colors: np.ndarray | None = None) -> bytes:
    names, size, kind = "x y z", "4 4 4", "F F F"
    columns_ = [table.astype("<f4")[:, i] for i in range(3)]
    if colors is not None:
        names, size, kind = names + " rgb", size + " 4", kind + " F"
        bits = (colors.astype(np.uint32) * [1 << 16, 1 << 8, 1]).sum(axis=1).astype("<u4")
        columns_.append(bits.view("<f4"))
    count = len(names.split())
    head = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {names}\nSIZE {size}\nTYPE {kind}\nCOUNT {' '.join('1' * count)}\n"
        f"WIDTH {len(table)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(table)}\nDATA {data}\n"
    ).encode()
    if data == "ascii":
        return head + "\n".join(" ".join(repr(float(value)) for value in row) for row in zip(*columns_, strict=True)).encode() + b"\n"
    if data == "binary":
        return head + np.stack(columns_, axis=1).astype("<f4").tobytes()
    plain = b"".join(column.tobytes() for column in columns_)
    # LZF of literals alone: a byte n stands before n + 1 bytes.
    packed = b"".join(bytes([len(part) - 1]) + part for part in (plain[i : i + 32] for i in range(0, len(plain), 32)))
    return head + struct.pack("<II", len(packed), len(plain)) + packed


def normals_pcd() -> bytes:
    """A PCD as the Point Cloud Library writes it after estimating normals."""
    names = "x y z normal_x normal_y normal_z curvature"
    head = f"FIELDS {names}\nSIZE {'4 ' * 7}\nTYPE {'F ' * 7}\nCOUNT {'1 ' * 7}\nWIDTH 60\nHEIGHT 1\nPOINTS 60\nDATA ascii\n"
    return head.encode() + text(np.hstack([XYZ, NORMALS, ONE]))


def packed_text(kind: str, packed: np.ndarray) -> bytes:
    """A PCD text with colours as integers."""
    rows = "\n".join(f"{x:.6g} {y:.6g} {z:.6g} {int(rgb)}" for (x, y, z), rgb in zip(XYZ, packed, strict=True))
    head = f"FIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F {kind}\nCOUNT 1 1 1 1\nWIDTH 60\nHEIGHT 1\nPOINTS 60\nDATA ascii\n"
    return (head + rows + "\n").encode()


def stack(*parts: np.ndarray) -> np.ndarray:
    return np.hstack(parts)


CLOUDS = {
    # name: (bytes, colours or None, a word of every warning)
    "plain.npy": (npy(XYZ), None, ()),
    "float16.npy": (npy(XYZ.astype(np.float16)), None, ()),
    "big_endian.npy": (npy(XYZ.astype(">f4")), None, ()),
    "fortran.npy": (npy(np.asfortranarray(XYZ)), None, ()),
    "one_in_a_batch.npy": (npy(XYZ[None]), None, ()),
    "transposed.npy": (npy(XYZ.T.copy()), None, ("stored as [3, 60]",)),
    "transposed_rgb.npy": (npy(stack(XYZ, MIXED).T.copy()), MIXED, ("stored as [6, 60]",)),
    "intensity.npy": (npy(stack(XYZ, 7 * ONE)), None, ("1 to 3 are taken for x, y, z; left out: 4",)),
    "five.npy": (npy(stack(XYZ, 7 * ONE, ONE)), None, ("left out: 4, 5",)),
    "rgb.npy": (npy(stack(XYZ, MIXED)), MIXED, ()),
    "rgb_of_one.npy": (npy(stack(XYZ, MIXED / 255)), MIXED, ()),
    "red_of_one.npy": (npy(stack(XYZ, RED / 255)), RED, ()),
    "rgb_mean.npy": (npy(stack(XYZ, MIXED * 0.999)), np.rint(MIXED * 0.999), ("(0 to 255 with fractions)",)),
    "rgb16.npy": (npy(stack(XYZ, MIXED * 257)), MIXED, ("colours (16 bits)",)),
    "black.npy": (npy(stack(XYZ, 0 * RED)), 0 * RED, ("all black",)),
    "normals.npy": (npy(stack(XYZ, NORMALS)), None, ()),
    "normals_half.npy": (npy(stack(XYZ, NORMALS).astype(np.float16)), None, ()),
    "some_normals_unknown.npy": (npy(stack(XYZ, NORMALS * (np.arange(60) > 9)[:, None])), None, ()),
    "nearly_red.npy": (npy(stack(XYZ, PURE / 255)), PURE, ("(0 to 1, but column 4",)),
    "nearly_red.xyz": (text(stack(XYZ, PURE / 255)), PURE, ("(0 to 1, but column 4",)),
    "nearly_green.npy": (npy(stack(XYZ, PURE[:, [1, 0, 2]] / 255).astype(np.float32)), PURE[:, [1, 0, 2]], ("(0 to 1, but column 5",)),
    "minus_one.npy": (npy(stack(XYZ, MIXED / 127.5 - 1)), MIXED, ("(-1 to 1)",)),
    "unclear.npy": (npy(stack(XYZ, 0.3 * NORMALS)), None, ("left out: 4 to 6 (neither colours",)),
    "too_bright.npy": (npy(stack(XYZ, RED * 1.5)), None, ("left out: 4 to 6 (neither colours",)),
    "alpha.npy": (npy(stack(XYZ, MIXED / 255, ONE)), MIXED, ("colours (0 to 1); left out: 7",)),
    "intensity_rgb.npy": (npy(stack(XYZ, -300 * ONE, MIXED)), MIXED, ("5 to 7 for colours (0 to 255); left out: 4",)),
    "normals_label.npy": (npy(stack(XYZ, NORMALS, 3 * ONE)), None, ("4 to 6 for normals; left out: 7",)),
    "rgb_normals.npy": (npy(stack(XYZ, MIXED, NORMALS)), MIXED, ()),
    "normals_rgb.npy": (npy(stack(XYZ, NORMALS, MIXED)), MIXED, ()),
    "room.npy": (npy(stack(XYZ, MIXED / 255, np.abs(XYZ) / 3)), MIXED, ("left out: 7 to 9",)),
    "fields.npy": (npy(fields("x y z", XYZ)), None, ()),
    "fields_rgb.npy": (npy(fields("red x green y blue z", stack(RED, XYZ)[:, [0, 3, 1, 4, 2, 5]])), RED, ()),
    "fields_bytes.npy": (npy(fields("x y z r g b a", stack(XYZ, MIXED, ONE), "<f8 <f8 <f8 u1 u1 u1 u1")), MIXED, ("left out: a",)),
    "fields_normals.npy": (npy(fields("x y z nx ny nz", stack(XYZ, NORMALS))), None, ()),
    "one_array.npz": (npz(anything=stack(XYZ, MIXED)), MIXED, ()),
    "points_colors.npz": (npz(points=XYZ, colors=MIXED.astype(np.uint8)), MIXED, ()),
    "pc_normals.npz": (npz(pc=XYZ, normals=NORMALS), None, ()),
    "normals_on_their_side.npz": (npz(pc=XYZ, normals=2 * NORMALS.T), None, ("stored as [3, 60]",)),
    "too_few_normals.npz": (npz(pc=XYZ, normals=NORMALS[:9]), None, ("left out: normals",)),
    "whole_normals.npz": (npz(pc=XYZ, normals=NORMALS.astype(int)), None, ("left out: normals",)),
    "normals_of_long_names.csv": (text(stack(XYZ, NORMALS), ",", head="x,y,z,Normal_X,Normal_Y,Normal_Z\n"), None, ()),
    "xyz_rgb.npz": (npz(xyz=XYZ.T, rgb=MIXED / 255, label=np.array(3)), MIXED, ("left out: label", "stored as [3, 60]")),
    "point_e.npz": (npz(coords=XYZ, R=PURE[:, 0] / 255, G=PURE[:, 1] / 255, B=PURE[:, 2] / 255), PURE, ()),
    "point_e_alpha.npz": (npz(coords=XYZ, R=ONE[:, 0], G=0 * ONE[:, 0], B=0 * ONE[:, 0], A=ONE[:, 0]), RED, ("left out: A",)),
    "channels.npz": (npz(points=XYZ, red=MIXED[:, 0], green=MIXED[:, 1], blue=MIXED[:, 2]), MIXED, ()),
    "channels_of_one.npz": (npz(anything=XYZ, red=MIXED[:, 0], green=MIXED[:, 1], blue=MIXED[:, 2]), MIXED, ()),
    "opencv.npy": (npy(XYZ[:, None]), None, ()),
    "labelled.npz": (npz(anything=stack(XYZ, MIXED), label=TURN[:, 0], kind=np.array("x")), MIXED, ("kind", "left out: label")),
    "six_and_rgb.npz": (npz(points=stack(XYZ, NORMALS), rgb=MIXED), MIXED, ("only the first three",)),
    "coords.npz": (npz(coords=XYZ, color=stack(GREEN, 255 * ONE)), GREEN, ()),
    "columns.npz": (npz(x=XYZ[:, 0], y=XYZ[:, 1], z=XYZ[:, 2]), None, ()),
    "blanks.xyz": (text(XYZ), None, ()),
    "rgb.xyz": (text(stack(XYZ, MIXED)), MIXED, ()),
    "commas.xyz": (text(XYZ, ", "), None, ()),
    "semicolons.xyz": (text(XYZ, ";"), None, ()),
    "tabs.asc": (text(stack(XYZ, MIXED), "\t"), MIXED, ()),
    "decimal_commas.xyz": (text(XYZ, ";").replace(b".", b","), None, ("decimal",)),
    "decimal_commas_blanks.xyz": (text(XYZ + 0.001).replace(b".", b","), None, ("decimal",)),
    "header.xyz": (text(XYZ, head="X Y Z\n"), None, ()),
    "cloudcompare.txt": (text(stack(XYZ, MIXED, ONE), head="//X Y Z R G B Intensity\n"), MIXED, ("left out: Intensity",)),
    # An intensity before the colours, and what may stand behind them.
    "scanner.txt": (text(stack(XYZ, TURN * 40, PURE)), PURE, ("left out: 4",)),
    "scanner_signed.txt": (text(stack(XYZ, TURN * 40 - 1500, MIXED)), MIXED, ("left out: 4",)),
    "scanner_of_one.txt": (text(stack(XYZ, TURN / 60, MIXED)), MIXED, ("left out: 4",)),
    "scanner_fraction.txt": (text(stack(XYZ, TURN * 1.7, MIXED)), MIXED, ("left out: 4",)),
    "scanner_bytes.txt": (text(stack(XYZ, TURN * 4, PURE)), PURE, ("left out: 4; colours may be meant otherwise",)),
    "scanner_photo.txt": (text(stack(XYZ, TURN * 4, NEAR)), NEAR, ("a first line such as `x y z intensity red green blue` settles it",)),
    "scanner_both_of_one.txt": (text(stack(XYZ, TURN / 60, PURE / 255)), PURE, ("left out: 4; colours may be meant otherwise",)),
    "scanner_label.txt": (text(stack(XYZ, TURN * 40, MIXED, TURN % 8)), MIXED, ("left out: 4, 8",)),
    "scanner.npy": (npy(stack(XYZ, TURN * 40, MIXED)), MIXED, ("left out: 4",)),
    "scanner_normals.txt": (
        text(stack(XYZ, TURN * 40, MIXED, NORMALS)),
        MIXED,
        ("5 to 7 for colours (0 to 255), 8 to 10 for normals; left out: 4",),
    ),
    "scanner_header.txt": (text(stack(XYZ, TURN * 4, PURE), head="x y z intensity r g b\n"), PURE, ("left out: intensity",)),
    "rgb_label.txt": (text(stack(XYZ, MIXED, TURN % 13)), MIXED, ("4 to 6 for colours (0 to 255); left out: 7; colours may be",)),
    "red_label.txt": (text(stack(XYZ, RED, 3 * ONE)), RED, ("left out: 7",)),
    "red_two_labels.txt": (text(stack(XYZ, RED, TURN % 2)), RED, ("left out: 7",)),
    "red_of_one_label.txt": (text(stack(XYZ, RED / 255 * 0.4, 12 * ONE)), RED * 0.4, ("left out: 7",)),
    "rgb_intensity.txt": (text(stack(XYZ, MIXED, TURN * 40)), MIXED, ("left out: 7",)),
    "rgb_fraction.txt": (text(stack(XYZ, MIXED, TURN / 60)), MIXED, ("left out: 7",)),
    "photo_intensity.txt": (text(stack(XYZ, NEAR, TURN * 4)), NEAR, ("left out: 7; colours may be",)),
    "opaque.txt": (text(stack(XYZ, RED, 255 * ONE)), RED, ("left out: 7",)),
    "rgb16_label.txt": (text(stack(XYZ, MIXED * 257, TURN % 9)), MIXED, ("(16 bits); left out: 7; colours may be",)),
    "room.txt": (text(stack(XYZ, MIXED, np.abs(XYZ) / 3, TURN % 9)), MIXED, ("left out: 10, 7 to 9",)),
    "unknown_normals.xyz": (text(stack(XYZ, 0 * RED)).replace(b" 0 0 0\n", b" 0.0 0.0 0.0\n"), None, ("normals that they do not know",)),
    "black.xyz": (text(stack(XYZ, 0 * RED)), 0 * RED, ("all black",)),
    "nameless.csv": (text(stack(TURN, XYZ, MIXED), ",", head=",x,y,z,r,g,b\n"), MIXED, ("left out: a nameless column",)),
    "twice.csv": (text(stack(XYZ, MIXED, 9 * ONE), ",", head="x,y,z,r,g,b,R\n"), MIXED, ("left out: R",)),
    "named_otherwise.csv": (text(stack(ONE, XYZ, MIXED), ",", head='"id","x","y","z","Red","Green","Blue"\n'), MIXED, ("left out: id",)),
    "paraview.csv": (text(stack(MIXED, XYZ), ",", head='"RGB:0","RGB:1","RGB:2","Points:0","Points:1","Points:2"\n'), MIXED, ()),
    "pandas.csv": (text(XYZ, ",", head="0,1,2\n"), None, ("counts the columns",)),
    "units.csv": (text(XYZ, ",", head="X [m],Y [m],Z [m]\n"), None, ()),
    "words.xyz": (text(XYZ, head="my own cloud\n"), None, ("names no x, y and z",)),
    "bom_crlf.txt": (b"\xef\xbb\xbf" + text(XYZ).replace(b"\n", b"\r\n"), None, ()),
    "bom_latin1.txt": (b"\xef\xbb\xbf" + text(XYZ) + "# f\xfcr\n".encode("latin-1"), None, ()),
    "utf16.xyz": (text(XYZ).decode().encode("utf-16"), None, ()),
    "comments.xyz": (text(XYZ, head="# made by hand\n\n").replace(b"\n", b" # a point\n"), None, ()),
    "comma_and_blank.xyz": (text(XYZ, ", "), None, ()),
    "two_groups.xyz": (text(XYZ, ",").replace(b"\n", b" 1,2,3\n"), 0 * MIXED + [1, 2, 3], ()),
    "blanks_for_signs.csv": (signed(stack(XYZ, NORMALS)), None, ()),
    "commas_and_blanks.csv": (grouped(XYZ, MIXED, between=b", "), MIXED, ()),
    "three_groups.xyz": (grouped(XYZ, MIXED, NORMALS), MIXED, ()),
    "bright_groups.xyz": (grouped(XYZ, RED * 0 + [255, 128, 100], NORMALS), RED * 0 + [255, 128, 100], ()),
    "first_comment.xyz": (text(XYZ[:, ::-1], head="# exported as x y z\n# z y x\n"), None, ()),
    "comment_and_names.csv": (text(stack(XYZ[:, ::-1], MIXED), ",", head="# x y z and more\nz,y,x,r,g,b\n"), MIXED, ()),
    "names_twice.csv": (
        text(stack(XYZ[:, ::-1], ONE), ",", head="x,y,z\nz,y,x,id\n"),
        None,
        ("line 1 is left out as a header", "left out: id"),
    ),
    "g_b_r.xyz": (text(stack(MIXED[:, [1, 2, 0]], XYZ), head="g b r x y z\n"), MIXED, ()),
    "v_first.xyz": (text(stack(TURN, XYZ), head="v x y z\n"), None, ("left out: v",)),
    "z_and_height.csv": (text(stack(XYZ, TURN), ",", head="Easting,Northing,Z,Height\n"), None, ("left out: Height",)),
    "two_heights.csv": (
        text(stack(XYZ, TURN), ",", head="Easting,Northing,Elevation,Height\n"),
        None,
        ("Elevation is taken for z, not Height; name the right column z", "left out: Height"),
    ),
    "stray_faces.npz": (npz(points=XYZ, normals=NORMALS, faces=TURN[:3].T), None, ("few of the 60 points belong to a face",)),
    "empty_faces.npz": (npz(points=XYZ, colors=MIXED, faces=np.zeros((0, 3), int)), MIXED, ()),
    "no_faces.npz": (npz(verts=XYZ, faces=np.zeros((0, 3))), None, ()),
    "windows.xyz": (text(XYZ) + b"-1.#IND 1.#QNAN 2\n-nan(ind) 1 2\n1 1.#INF000 2\n", None, ("3 of 63 points are not finite",)),
    "hexadecimal.xyz": (text(XYZ).replace(b"\n", b" #ff8800\n"), None, ("behind # in 60 rows is left out: '#ff8800'",)),
    "rows_of_commas.csv": (b",,\n" + text(XYZ, ",").replace(b"\n", b"\n,,\n", 4), None, ("5 rows without numbers are left out",)),
    "quoted.csv": (quoted(XYZ, ("x", "y", "z")), None, ()),
    "quoted_by_r.csv": (quoted(stack(TURN, XYZ), ("", "x", "y", "z")), None, ("left out: a nameless column",)),
    "unit_line.csv": (text(stack(TURN, XYZ), ",", head="id,x,y,z\n-,m,m,m\n"), None, ("line 2 is left out as a header", "left out: id")),
    "names_then_comment.xyz": (text(XYZ[:, [0, 2, 1]], head="# x z y\n# made by me in 2020\n"), None, ()),
    "survey.csv": (text(stack(MIXED, XYZ[:, [1, 0, 2]]), ",", head="R,G,B,Northing (m),Easting (m),Elevation (m)\n"), MIXED, ()),
    "above_ground.csv": (text(stack(TURN, XYZ), ",", head="height,x,y,z\n"), None, ("left out: height",)),
    "trailing.csv": (text(XYZ, ",").replace(b"\n", b",\n"), None, ()),
    "count.pts": (text(stack(XYZ, -5 * ONE, MIXED), head="60\n"), MIXED, ("left out: 4",)),
    "count.xyz": (text(XYZ, head="60\nfrom 3 scans\n"), None, ()),
    "title.xyz": (text(XYZ, head="scan 3 of May\n"), None, ("line 1",)),
    "molecule.xyz": (b"60\nwater, 1.5 A\n" + b"".join(b"O " + line for line in text(XYZ).splitlines(True)), None, ("symbols",)),
    "modelnet.txt": (text(stack(XYZ, NORMALS), ","), None, ()),
    "shapenetpart.txt": (text(stack(XYZ, NORMALS, 12 * ONE)), None, ("left out: 7",)),
    "ascii.pcd": (pcd("ascii", XYZ), None, ()),
    "binary.pcd": (pcd("binary", XYZ), None, ()),
    "compressed.pcd": (pcd("binary_compressed", XYZ), None, ()),
    "normals.pcd": (normals_pcd(), None, ("left out: curvature",)),
    "ascii_rgb.pcd": (pcd("ascii", XYZ, MIXED), MIXED, ()),
    "binary_rgb.pcd": (pcd("binary", XYZ, MIXED), MIXED, ()),
    "compressed_rgb.pcd": (pcd("binary_compressed", XYZ, MIXED), MIXED, ()),
    "blank_lines.pcd": (pcd("ascii", XYZ, MIXED).replace(b"\n", b"\r\n").replace(b"ascii\r\n", b"ascii\r\n\r\n"), MIXED, ()),
    "integers.pcd": (packed_text("F", MIXED @ [65536, 256, 1]), MIXED, ()),
    "unsigned.pcd": (packed_text("U", MIXED @ [65536, 256, 1] + (255 << 24)), MIXED, ()),
    "signed.pcd": (packed_text("I", MIXED @ [65536, 256, 1] - (1 << 24)), MIXED, ()),
    "moved.pcd": (pcd("binary", XYZ).replace(b"VIEWPOINT 0", b"VIEWPOINT 5"), None, ("VIEWPOINT",)),
}


WITH_NORMALS = {
    "normals.npy",
    "normals_half.npy",
    "some_normals_unknown.npy",
    "normals_label.npy",
    "rgb_normals.npy",
    "normals_rgb.npy",
    "fields_normals.npy",
    "blanks_for_signs.csv",
    "three_groups.xyz",
    "bright_groups.xyz",
    "stray_faces.npz",
    "pc_normals.npz",
    "normals_on_their_side.npz",
    "normals_of_long_names.csv",
    "scanner_normals.txt",
    "modelnet.txt",
    "shapenetpart.txt",
    "normals.pcd",
}
"""Those of `CLOUDS` that have normals."""


def cloud(path: Path, data: bytes) -> Cloud:
    path.write_bytes(data)
    read = load(path, up="y", textures="require")
    assert isinstance(read, Cloud)
    return read


@pytest.mark.parametrize("name", CLOUDS)
def test_layouts(tmp_path, name):
    data, colors, words = CLOUDS[name]
    made = cloud(tmp_path / name, data)
    assert len(made.points) == 60
    np.testing.assert_allclose([made.points.min(axis=0), made.points.max(axis=0)], [LOW, HIGH], atol=5e-3)
    assert (made.colors is None) == (colors is None)
    if colors is not None:
        np.testing.assert_array_equal(made.colors, colors)
    assert (made.normals is None) == (name not in WITH_NORMALS)
    if made.normals is not None:
        known = (np.arange(60) > 9) | (name != "some_normals_unknown.npy")
        np.testing.assert_allclose(made.normals, NORMALS * known[:, None], atol=2e-3)
    assert len(made.warnings) == len(words), made.warnings
    assert all(word in warning for word, warning in zip(words, made.warnings, strict=True)), made.warnings


WRONG = {
    "batch_of_columns.npy": (npy(np.zeros((6, 1, 2048))), "6 clouds in one file"),
    "faces_alone.npz": (npz(faces=TURN.reshape(-1, 3), vertices=XYZ + 0j), "it holds faces [20, 3]"),
    "batch.npy": (npy(np.zeros((2, 60, 3))), "2 clouds in one file"),
    "dict.npy": (npy(np.array({"points": XYZ}), allow_pickle=True), "never unpickled"),
    "words.npy": (npy(np.array([["a", "b", "c"]])), "expected numbers"),
    "wide.npy": (npy(np.zeros((5, 100))), "[5, 100]"),
    "two.npy": (npy(XYZ[:, :2]), "[60, 2]"),
    "fields.npy": (npy(fields("a b c", XYZ)), "expected x, y, z"),
    "archive.npy": (npz(points=XYZ), "rename it"),
    "huge.npy": (npy(XYZ).replace(b"(60, 3)", b"(9999999999, 3)").replace(b"          \n", b"\n", 1), "table of numbers"),
    "no_points.npz": (npz(a=XYZ, b=XYZ), "expected x, y, z"),
    "lengths.npz": (npz(points=XYZ, colors=MIXED[:9]), "60 points, but 9 colours"),
    "cut.npz": (npz(points=XYZ)[:200], "damaged or cut short"),
    "ragged.xyz": (b"0 0 0\n1 0 0 255 0 0\n0 1 0\n", "line 2 has 6 numbers, expected 3 as in line 1"),
    "late.xyz": (text(XYZ) + b"1 2\n", "line 61 has 2 numbers"),
    "word.xyz": (text(XYZ) + b"1 2 x\n", "line 61: 'x' is no number"),
    "gap.csv": (b"x,y,z\n1,2,3\n1,,3\n2,3,4\n", "line 3: 'empty' is no number"),
    "gap_first.csv": (b"x,y,z\n,2,3\n1,2,3\n2,3,4\n", "line 2"),
    "short.pts": (text(XYZ, head="100\n"), "says 100 points and holds 60"),
    "pairs.xyz": (b"1 2\n3 4\n", "line 1: expected three numbers"),
    "two_commas.csv": (text(np.round(XYZ, 4) + 5, ",").replace(b".", b","), "commas seem to be decimal points and separators at once"),
    "no_xyz.csv": (text(stack(MIXED, XYZ), ",", head="r,g,b,one,two,three\n"), "names no x, y and z"),
    "thousands.xyz": (b"500,000.25 600,000.50 300.10\n" * 4, "cells have commas in them"),
    "thousands.csv": (b"x;y;z\n500,000.25;600,000.50;300.10\n", "cells have commas in them"),
    "thousands_in_german.csv": (b"500.000,25;600.000,50;300,10\n" * 4, "cells have commas in them"),
    "thousands_in_tabs.txt": (b"500,000.25\t600,000.50\t300.10\n" * 4, "cells have commas in them"),
    "thousands_and_blanks.csv": (b"500,000.25, 4,600,000.50, 300.10\n" * 4, "cells have commas in them"),
    "thousands_in_blanks_in_german.xyz": (b"500.000,25 600.000,50 300,10\n" * 4, "cells have commas in them"),
    "commas_and_points.csv": (b"0,5;1,25;100.3\n" * 4, "cells have commas in them"),
    "degrees.csv": (text(XYZ, ",", head="Latitude,Longitude,Altitude\n"), "says degrees"),
    "heights.asc": (text(XYZ, head="ncols 3\nnrows 60\nxllcorner 5e5\nyllcorner 46e5\ncellsize 5\n"), "grid of heights (ESRI ASCII)"),
    "off.xyz": (text(XYZ, head="OFF\n60 0 0\n"), "rename it to .off"),
    "ply.xyz": (
        text(XYZ, head="ply\nformat ascii 1.0\nelement vertex 60\n" + "".join(f"property float {a}\n" for a in "zyx") + "end_header\n"),
        "rename it to .ply",
    ),
    "obj.xyz": (text(XYZ).replace(b"\n", b"\nv ").join([b"# a\nv ", b"n 0 0 1\nf 1 2 3\n"]), "rename it to .obj"),
    "obj_in_tabs.xyz": (text(XYZ, "\t").replace(b"\n", b"\nv\t").join([b"o a b\nv\t", b"\t1 2 3\n"]), "rename it to .obj"),
    "ply_of_windows.xyz": (b"ply\r\nformat ascii 1.0\r\nelement vertex 1\r\nend_header\r\n1 2 3\r\n", "rename it to .ply"),
    "pcd.txt": (pcd("ascii", XYZ), "rename it to .pcd"),
    "occupancies.npz": (npz(points=XYZ, occupancies=ONE[:, 0], loc=np.zeros(3)), "fill the space around a surface"),
    "deepsdf.npz": (npz(pos=stack(XYZ, ONE), neg=stack(XYZ, -ONE)), "fill the space around a surface"),
    "voxels.npy": (npy(np.zeros((16, 16, 16))), "grid of voxels"),
    "pose.npy": (npy(np.eye(4) + 5 * np.eye(4, k=3)), "matrix of a camera"),
    "lens.npy": (npy(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])), "matrix of a camera"),
    "turn.npy": (npy(np.eye(3)[[1, 2, 0]]), "matrix of a camera"),
    "faces.npz": (npz(vertices=XYZ, faces=np.array([[0, 1, 60]])), "names vertex 60 of 60"),
    "cut.pcd": (pcd("binary", XYZ)[:-9], "cut short"),
    "cut_text.pcd": (pcd("ascii", XYZ)[:-300], "cut short"),
    "ragged.pcd": (pcd("ascii", XYZ).replace(b"DATA ascii\n", b"DATA ascii\n1 2\n"), "point 1 has 2 numbers, expected 3"),
    "word.pcd": (pcd("ascii", XYZ).replace(b"DATA ascii\n", b"DATA ascii\n1 2 x\n"), "point 1, field 'z': 'x' is no number"),
    "no_body.pcd": (pcd("ascii", XYZ).partition(b"ascii\n")[0] + b"ascii\n", "says 60 points and holds 0"),
    "damaged.pcd": (pcd("binary_compressed", XYZ)[:-700] + bytes([255] * 700), "damaged"),
    "greedy.pcd": (pcd("binary", XYZ).replace(b"POINTS 60", b"POINTS 99999999999"), "not read"),
    "no_header.pcd": (text(XYZ), "no PCD header"),
    "type.pcd": (pcd("binary", XYZ).replace(b"TYPE F", b"TYPE Q"), "which nothing reads"),
    "no.las": (b"LASF" + bytes(20), "laser scan"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tables_say_why(tmp_path, name):
    data, word = WRONG[name]
    if name.endswith(".las"):
        pytest.importorskip("laspy")
    with pytest.raises(ValueError) as caught:
        cloud(tmp_path / name, data)
    assert word in str(caught.value)


def test_unsigned_normals_and_pure_colours_are_told_apart_by_the_surface(tmp_path):
    points, normals = cube()
    assert not cloud(tmp_path / "a.npy", npy(stack(points, normals))).colored
    painted = cloud(tmp_path / "b.npy", npy(stack(points, normals[:, [1, 2, 0]])))
    np.testing.assert_array_equal(painted.colors, 255 * normals[:, [1, 2, 0]])
    octant = np.abs(RNG.normal(size=(600, 3)))
    octant /= np.linalg.norm(octant, axis=1, keepdims=True)
    taken = cloud(tmp_path / "c.npy", npy(stack(octant, octant)))
    assert taken.warnings == () and not taken.colored
    np.testing.assert_allclose(taken.normals, octant, atol=1e-6)
    assert cloud(tmp_path / "d.npy", npy(stack(octant, octant[:, [1, 2, 0]]))).colored


def test_points_that_are_no_numbers_do_not_decide_what_columns_mean():
    holes = XYZ.copy()
    holes[3] = np.nan
    warnings: list[str] = []
    assert columns.unnamed(stack(holes, MIXED), warnings.append).colors is not None
    unpainted = columns.unnamed(stack(holes, NORMALS), warnings.append)
    assert unpainted.colors is None and unpainted.normals is not None
    colors = MIXED / 255
    colors[5] = np.nan
    assert not warnings
    made = columns.unnamed(stack(XYZ, colors), warnings.append)
    assert made.colors[5].tolist() == [190] * 3 and made.colors[6].tolist() == MIXED[6].tolist()
    assert warnings == ["1 of 60 points have no colour (NaN): grey"]


def remark(table: np.ndarray, head: str = "", how: str = "%.5f") -> tuple[Cloud, str]:
    """The cloud in a text, and its remarks."""
    buffer = io.StringIO()
    np.savetxt(buffer, table, how)
    said: list[str] = []
    read = parsed((head + buffer.getvalue()).encode(), said.append)
    made = (
        columns.named(list(zip(read.names, read.values.T, strict=True)), said.append)
        if read.names
        else columns.unnamed(read.values, said.append, pointed=read.pointed)
    )
    return made, "; ".join(said)


def test_a_first_column_that_seems_to_be_no_coordinate_is_said_and_a_first_line_settles_it():
    rising = np.cumsum(np.abs(XYZ[:, 1:2]) + 0.01, axis=0)
    packets = 1.6e9 + np.repeat(np.arange(6.0), 10)[:, None]  # ten points of a scanner have one time
    for time, told in ((40 * rising, "a time"), (0.001 * rising, "a time"), (packets, "a time"), (TURN, "rows"), (TURN + 100, "rows")):
        table = stack(time, XYZ)
        made, said = remark(table)
        np.testing.assert_allclose(made.points, table[:, :3], atol=1e-5)
        assert said.startswith("the columns have no names: 1 to 3 are taken for x, y, z; column 1 ") and f"{told}: if so, name" in said
        assert said.endswith("name the columns in a first line; left out: 4") and len(said) < 256
        for head in ("time x y z\n", "# time x y z\n"):
            made, said = remark(table, head)
            np.testing.assert_allclose(made.points, XYZ, atol=1e-5)
            assert said == "left out: time"
    said = list[str]()
    columns.unnamed(stack(TURN, XYZ), said.append)
    assert "if so, give the columns names" in said[0], "an array has no first line"


def test_a_table_in_the_order_of_x_is_not_doubted():
    ordered = XYZ[np.argsort(XYZ[:, 0])]
    label = TURN % 3
    for table in (stack(ordered, label), stack(-ordered[::-1], label), stack(np.sort(XYZ, axis=0), label), stack(ordered, MIXED)):
        assert "if so" not in remark(table, how="%.5g")[1]
    assert "if so" not in remark(stack(TURN, XYZ[:, 1:], MIXED), how="%.5g")[1], "colours say what the other columns are"
    assert "if so" not in remark(stack(2 * TURN, 40 * XYZ))[1] and "if so" not in remark(stack(TURN, XYZ)[:5])[1]
    assert "if so" not in remark(stack(TURN, XYZ[:, :2]))[1], "three columns are x, y, z"


def test_measurements_that_are_taken_for_colours_are_said():
    measured = stack(XYZ, TURN * 4, TURN % 3 + 1, TURN % 5)
    assert "4 to 6 for colours (0 to 255, but column 5 has only 3 different values)" in remark(measured, how="%.5g")[1]
    assert remark(stack(XYZ, MIXED), how="%.5g")[1] == "" and remark(stack(XYZ, NORMALS))[1] == "" and remark(XYZ)[1] == ""


def test_colours_in_front_of_coordinates_are_said():
    made, said = remark(stack(MIXED, XYZ))
    np.testing.assert_array_equal(made.points, MIXED)
    assert "columns 1 to 3 hold whole numbers from 0 to 255, as colours do: if they are, " in said
    assert len(said) < 256 and "as colours do" not in remark(stack(np.rint(XYZ * 9), 0.3 * XYZ))[1]


def test_labels_apart_do_not_shift_the_numbers_of_columns(tmp_path):
    (tmp_path / "a.xyz").write_bytes(text(stack(TURN, XYZ, TURN % 2, MIXED)))
    asked = labels.Labelling(labels.Labels(way="column", name="5", names=(("0", "leg"), ("1", "arm"))))
    made = load(tmp_path / "a.xyz", up="y", textures="require", labels=asked)
    assert isinstance(made, Cloud) and made.part is not None and made.part.tolist() == (TURN[:, 0] % 2).tolist()
    np.testing.assert_array_equal(made.colors, MIXED)
    assert "1 to 3 are taken for x, y, z, 6 to 8 for colours" in made.warnings[0] and "column 1 seems to count" in made.warnings[0]


TWO_COMMAS = [
    ("0,6307,0,1335,-0,0022\n0,0772,0,4905,0,1155\n-0,1228,0,1833,0,1978\n", True),
    ("0,63, 0,13, 0,00\n" * 3, True),
    ("0,6,0,13,0,002\n0,07,0,4905,0,1\n1,1,0,1,2,19\n", True),  # leading zeros, though not all have four digits
    ("x,y,z\n" + "0,63,0,13,0,04\n" * 3, True),
    ("10,20,30,40\n10,99,30,41\n12,20,31,42\n", False),  # two digits each, as millimetres may have
    ("10,20,30,200,200,200\n" * 3, False),
    ("x,y,z,label\n" + "10,20,30,40\n" * 3, False),
    ("10,20,30,40\n10,9,30,41\n12,20,31,42\n", False),
    ("10,20,30,40\n10,20,30.5,41\n12,20,31,42\n", False),
    ("10,-20,30,40\n10,-20,30,41\n12,20,31,42\n", False),
    ("1,2,3,255,255,255\n" * 3, False),
    ("10,20,30\n" * 3, False),
]


@pytest.mark.parametrize(("content", "refused"), TWO_COMMAS)
def test_commas_that_are_decimal_points_and_separators_are_refused(content, refused):
    if refused:
        with pytest.raises(ValueError, match="write decimal points, or semicolons between columns"):
            parsed(content.encode(), lambda text: None)
    else:
        assert len(parsed(content.encode(), lambda text: None).values) == 3


COMMAS = [
    (b"1, 2, 3,255,100,200\n" * 4, False),  # or of a third column of three milliards
    (b"1, 2, 3,255,100,200\n" * 10, True),
    (b"x,y,z,r,g,b\n" + b"1, 2, 3,255,100,200\n" * 4, True),
    (b"1, 2, 3,255,100,200\n" * 4 + b"1, 2, 3,25,100,200\n", True),
    (b"1, 2, 3,255,100,200\n" * 4 + b"1, 2, 3, 255, 100, 200\n", True),
    (b"1, 2, 3,256,100,200\n" * 10, False),
    (b"1, 2, 3,100,200, 7\n" * 10, False),  # a third number of three millions
    (b"x,y,z,i\n" + b"1, 2, 3, 1,100,200\n" * 9, False),
    (b"500,000.5 600,123 300,500\n" * 10, False),
    (b"500,100.5 600,123 300,250\n" * 10 + b"500,100.5 600,123 99\n", False),
    (b"12 7 1,250\n" * 10, False),  # or a decimal comma
    (b"12;7;1,250\n" * 10, False),
    (b"1,250 2,500 3,125 255 100 200\n" * 3 + b"1,250 999 3,125 255 100 200\n", False),
    (b"1,250 2,500 3,125 999\n" * 3 + b"1,250 999 3,125 1,000\n", False),
    (b"i x y z\n" + b"1,250 1 2 3,125\n" * 3, False),
]


@pytest.mark.parametrize(("content", "is_read"), COMMAS)
def test_commas_that_may_separate_thousands_are_refused_unless_the_rows_tell(content, is_read):
    if is_read:
        assert parsed(content, lambda text: None).values[0].tolist() == [1, 2, 3, 255, 100, 200]
    else:
        with pytest.raises(UserError, match="cells have commas in them"):
            parsed(content, lambda text: None)


GAPS = st.lists(st.sampled_from([",", ", ", ",  "]), min_size=2, max_size=6)


def rows_of(least: int, most: int):
    """Gaps between columns, and rows of whole numbers."""
    return GAPS.flatmap(
        lambda gaps: st.tuples(
            st.just(gaps),
            st.lists(st.lists(st.integers(least, most), min_size=len(gaps) + 1, max_size=len(gaps) + 1), min_size=1, max_size=9),
        )
    )


def read_or_refused(lines: list[str]) -> list[list[float]] | None:
    try:
        return parsed("\n".join(lines).encode(), lambda text: None).values.tolist()
    except UserError:
        return None


@settings(deadline=None)
@given(rows_of(0, 999))
def test_whole_numbers_between_commas_are_read_unless_all_of_them_may_be_thousands(given_rows):
    gaps, rows = given_rows
    lines = ["".join(f"{value}{gap}" for value, gap in zip(row, [*gaps, ""], strict=True)) for row in rows]
    read = read_or_refused(lines)
    assert read in (rows, None)
    if read is None:
        cells = [cell for line in lines for cell in line.split(", ")]
        assert all(re.fullmatch(r" *(\d{1,3}(,\d{3})*|\d+,\d+)", cell) for cell in cells), "no row says that commas separate"


@settings(deadline=None)
@given(rows_of(-(10**8) + 1, 10**8 - 1), st.sampled_from([" ", ", "]))
def test_numbers_with_separators_of_thousands_are_never_read_as_another_shape(given_rows, gap):
    _, rows = given_rows
    read = read_or_refused([gap.join(f"{value:,}" for value in row) for row in rows])
    if read not in (rows, None):  # decimal commas in all coordinates: a shape of another scale, with a remark
        there, scaled = np.array(rows), np.array(rows) / 1000
        assert np.array_equal(np.array(read)[:, :3], scaled[:, :3])
        assert all(
            np.array_equal(column, there[:, at]) or np.array_equal(column, scaled[:, at]) for at, column in enumerate(np.array(read).T)
        )


@pytest.mark.parametrize("content", [b"1,250;2,500;3,125;255;100;200\n" * 3, b"y z i r g b x\n" + b"2,500 3,125 7 255 100 200 1,250\n" * 3])
def test_whole_numbers_beside_coordinates_with_decimal_commas_are_read(content):
    cloud = parsed(content, lambda text: None)
    x, y, z = (cloud.names.index(name) for name in "xyz") if cloud.names else range(3)
    assert cloud.values[0][[x, y, z]].tolist() == [1.25, 2.5, 3.125] and 255 in cloud.values[0]


@pytest.mark.parametrize("content", [b"12 7 1,25\n" * 3, b"12 7 0,250\n" * 3, b"1200 7 1,250\n" * 3, b"12,000 7,125 1,250\n" * 3])
def test_commas_that_can_only_be_decimal_points_are_read(content):
    assert parsed(content, lambda text: None).values[0].tolist() == [float(cell.replace(b",", b".")) for cell in content.split()[:3]]


def test_names_that_do_not_fit_the_rows_are_said():
    assert remark(stack(XYZ, MIXED), "x y z\n", "%.5g")[1] == "the first line names 3 columns and the rows have 6: its names are not used"


def test_few_rows_keep_their_orientation(tmp_path):
    np.testing.assert_array_equal(cloud(tmp_path / "a.npy", npy(XYZ[:3])).points, XYZ[:3].astype(np.float32))
    assert cloud(tmp_path / "b.npy", npy(stack(XYZ, MIXED)[:3])).points.shape == (3, 3)


def test_objects_beside_the_points_of_an_archive_stay_there(tmp_path):
    made = cloud(tmp_path / "a.npz", npz(points=XYZ, colors=MIXED, meta=np.array({"unit": "m"}, dtype=object)))
    assert made.colored and made.warnings == ("meta holds Python objects: left out",)


@pytest.mark.parametrize("colors", [None, MIXED.astype(np.uint8), MIXED / 255])
def test_vertices_and_faces_in_an_archive_are_a_surface(tmp_path, colors):
    corners, faces = XYZ[:5], np.array([[0, 1, 2, 3], [1, 2, 4, 1]], np.uint16)
    more = {} if colors is None else {"vertex_colors": colors[:5]}
    (tmp_path / "a.npz").write_bytes(npz(verts=corners, faces=faces, pose=np.eye(4), **more))
    made = load(tmp_path / "a.npz", up="y", textures="require")
    assert isinstance(made, Mesh) and made.colored == (colors is not None) and made.warnings == ("left out: pose",)
    (part,) = made.parts
    np.testing.assert_array_equal(part.vertices, corners.astype(np.float32))
    assert len(part.faces) == 4 and {frozenset(face) for face in part.faces.tolist()} >= {frozenset((1, 2, 4))}
    if colors is not None:
        np.testing.assert_array_equal(part.colors[:, :3], MIXED[:5])


def test_few_faces_of_vertices_are_a_surface_and_said_and_half_precision_has_no_warning(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz(vertices=XYZ.astype(np.float16), faces=TURN[:3].T.astype(np.uint8)))
    made = load(tmp_path / "a.npz", up="y", textures="require")
    assert isinstance(made, Mesh) and "only 3 of 60 vertices belong to a face" in made.warnings[0]
    np.testing.assert_array_equal(made.parts[0].vertices, XYZ[:3].astype(np.float16).astype(np.float32))


SIGNALLING = np.array([0x7FA00000] * 3, np.uint32).view(np.float32)
"""Numbers that are none (NaN), of a kind that warns when it is converted."""


@pytest.mark.parametrize("name", ["a.npy", "labelled.npy", "columns.npz", "mesh.npz", "rows.npy"])
def test_every_kind_of_nan_is_read_without_a_warning(tmp_path, name):
    table = np.append(XYZ, XYZ[:1], axis=0).astype(np.float32)
    table[60] = SIGNALLING
    x, y, z = table.T
    kinds = {
        "a.npy": npy(table),
        "labelled.npy": npy(np.append(table, table[:, :1], axis=1)),
        "columns.npz": npz(x=x, y=np.append(XYZ[:, 1], 0), z=z),
        "mesh.npz": npz(vertices=table, faces=TURN.reshape(-1, 3)),
        "rows.npy": npy(np.rec.fromarrays([x, y, z], names="x,y,z")),
    }
    (tmp_path / name).write_bytes(kinds[name])
    made = load(tmp_path / name, up="y", textures="require")
    points = made.points if isinstance(made, Cloud) else made.parts[0].vertices
    np.testing.assert_array_equal(np.sort(points, axis=0), np.sort(XYZ.astype(np.float32), axis=0))


def test_a_bomb_in_an_archive_is_not_unpacked(tmp_path):
    """The header of the array says more than the archive holds."""
    lying = npy(np.zeros((4, 3))).replace(b"(4, 3)", b"(9999, 3)").replace(b"   \n", b"\n", 1)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("points.npy", lying)
    with pytest.raises(ValueError, match="damaged or cut short"):
        load(tmp_path / "a.npz", up="y", textures="require")


@pytest.mark.parametrize("ending", ["las", "laz"])
@pytest.mark.parametrize(("scale", "words"), [(257, ()), (1, ("8 bits",)), (0, ())])
def test_laser_scans(tmp_path, ending, scale, words):
    laspy = pytest.importorskip("laspy")
    scan = laspy.create(point_format=3, file_version="1.2")
    scan.header.scales, scan.header.offsets = [1e-4] * 3, [500_000.0, 5_000_000.0, 0.0]
    scan.x, scan.y, scan.z = (XYZ + np.array([500_000, 5_000_000, 0])).T
    scan.red, scan.green, scan.blue = (MIXED * scale).astype(np.uint16).T
    scan.intensity = TURN[:, 0] * (scale == 257)
    scan.write(tmp_path / f"a.{ending}")
    made = load(tmp_path / f"a.{ending}", up="y", textures="require")
    np.testing.assert_allclose(np.ptp(made.points, axis=0), HIGH - LOW, atol=1e-3)
    assert made.colored == (scale > 0) and len(made.warnings) == len(words)
    assert all(word in text for word, text in zip(words, made.warnings, strict=True))
    if scale:
        np.testing.assert_array_equal(made.colors, MIXED)


@pytest.mark.parametrize(("point_format", "version"), [(3, "1.2"), (7, "1.4")])
def test_noise_and_deleted_points_of_a_laser_scan_are_left_out_and_counted(tmp_path, point_format, version):
    laspy = pytest.importorskip("laspy")
    scan = laspy.create(point_format=point_format, file_version=version)
    scan.x, scan.y, scan.z = XYZ.T
    scan.red, scan.green, scan.blue = (MIXED * 257).astype(np.uint16).T
    kinds = np.full(60, 2, np.uint8)
    kinds[:3] = [7, 18, 7]
    scan.classification, scan.withheld = kinds, TURN[:, 0] >= 58
    scan.write(tmp_path / "a.las")
    made = load(tmp_path / "a.las", up="y", textures="require")
    np.testing.assert_allclose(np.ptp(made.points, axis=0), np.ptp(XYZ[3:58], axis=0), atol=0.02)
    np.testing.assert_array_equal(made.colors, MIXED[3:58])
    assert made.warnings == ("5 of 60 points are marked as withheld or noise and left out",)
    scan.classification = np.full(60, 7, np.uint8)
    scan.write(tmp_path / "a.las")
    made = load(tmp_path / "a.las", up="y", textures="require")
    assert len(made.points) == 60 and made.warnings == ("all points are marked as withheld or noise: they are kept",)


@pytest.mark.parametrize(
    ("model", "text", "refused"),
    [
        (2, "", True),
        (1, "", False),
        (0, "GEOGCS[...", True),
        (0, 'PROJCS["GEOGCS[", GEOGCS[', False),
        (0, 'COMPD_CS["WGS 84 + EGM96",GEOGCS["WGS 84",UNIT["degree",0.017]],VERT_CS["EGM96",UNIT["metre",1]]]', True),
        (0, 'COMPD_CS["a + b",PROJCS["a",GEOGCS["WGS 84"]],VERT_CS["b"]]', False),
        (0, 'COMPOUNDCRS["GEOGCRS",PROJCRS["a",BASEGEOGCRS["b",DATUM["c"]],CS[Cartesian,2]],VERTCRS["d",CS[vertical,1]]]', False),
        (0, 'COMPOUNDCRS["a",GEODCRS["b",DATUM["c"],CS[ellipsoidal,2]],VERTCRS["h",CS[vertical,1]]]', True),
        (0, 'BOUNDCRS[SOURCECRS[GEOGCRS["a",CS[ellipsoidal,2]]],TARGETCRS[PROJCRS["b",CS[Cartesian,2]]]]', True),
        (0, 'BOUNDCRS[SOURCECRS[PROJCRS["a",CS[Cartesian,2]]],TARGETCRS[GEOGCRS["b",CS[ellipsoidal,2]]]]', False),
        (0, 'GEODCRS["a",DATUM["b"],CS[Cartesian,3],LENGTHUNIT["metre",1]]', False),
        (0, 'GEOCCS["a",DATUM["b"],UNIT["metre",1]]', False),
    ],
)
def test_a_laser_scan_in_degrees_is_refused(tmp_path, model, text, refused):
    laspy = pytest.importorskip("laspy")
    scan = laspy.create(point_format=6, file_version="1.4")
    scan.x, scan.y, scan.z = XYZ.T
    if model:
        keys = laspy.vlrs.known.GeoKeyDirectoryVlr()
        keys.geo_keys[0].id, keys.geo_keys[0].value_offset, keys.geo_keys_header.number_of_keys = 1024, model, 1
        scan.header.vlrs.append(keys)
    if text:
        scan.header.vlrs.append(laspy.vlrs.known.WktCoordinateSystemVlr(text))
    scan.write(tmp_path / "a.las")
    if refused:
        with pytest.raises(ValueError, match="places are in degrees"):
            load(tmp_path / "a.las", up="y", textures="require")
    else:
        assert len(load(tmp_path / "a.las", up="y", textures="require").points) == 60


def test_a_laser_scan_that_declares_too_many_points_is_refused_at_once(tmp_path):
    laspy = pytest.importorskip("laspy")
    scan = laspy.create(point_format=3, file_version="1.2")
    scan.x, scan.y, scan.z = XYZ.T
    scan.write(tmp_path / "a.laz")
    data = bytearray((tmp_path / "a.laz").read_bytes())
    data[107:111] = (4_000_000_000).to_bytes(4, "little")  # the number of points in a header of LAS 1.2
    (tmp_path / "a.laz").write_bytes(data)
    with pytest.raises(ValueError, match="damaged: the file declares 4,000,000,000 points in"):
        load(tmp_path / "a.laz", up="y", textures="require")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "laspy", None)
    (tmp_path / "a.laz").write_bytes(b"LASF")
    with pytest.raises(ValueError, match=r"need laspy: pip install 'mmpd\[las\]'"):
        load(tmp_path / "a.laz", up="y", textures="require")


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        (text(XYZ), True),
        (text(stack(XYZ, NORMALS), ","), True),
        (text(XYZ, head="//X Y Z\n"), True),
        (text(XYZ, head="60\n"), True),
        (text(XYZ, head="Points: 60\nX Y Z\n"), True),
        (text(np.tile(XYZ, (30, 1))), True),
        (b"a.off\nb.off\nc.off\n", False),
        (b"path,label\na.off,chair\n", False),
        (b"airplane_0001\nairplane_0002\n", False),
        (b"id,width,height\n1,2,3\n2,3,4\n3,4,5\n", False),
        (b"x,y,width,height\n1,2,3,4\n2,3,4,5\n3,4,5,6\n4,5,6,7\n", False),
        (b"x,y,height\n1,2,3\n2,3,4\n3,4,6\n4,5,7\n", True),
        (quoted(XYZ, ("x", "y", "z")), True),
        (text(XYZ).replace(b"\n", b"\nv ").join([b"v ", b"1 2 3\n"]), False),
        (text(XYZ, head="ncols 3\nnrows 60\n"), False),
        (b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", False),
        (b"0\n1\n2\n", False),
        (b"0 0.5 0.5 0.1 0.1 x\n1 2 3 4 5 y\n2 3 4 5 6 z\n", False),
        (b"A README\nwith 3 words 4 you\n", False),
        (b"", False),
        (bytes(range(256)), False),
    ],
)
def test_a_text_of_points_is_told_from_other_texts(tmp_path, content, is_one):
    (tmp_path / "a.txt").write_bytes(content)
    assert is_table(tmp_path / "a.txt") == is_one


def test_a_long_text_is_read_fast():
    lines = text(np.tile(XYZ, (2000, 1)))
    assert parsed(lines, pytest.fail).values.shape == (120_000, 3)


def test_a_long_text_of_pcd_is_read_fast(tmp_path):
    head, _, rows = pcd("ascii", XYZ, MIXED).replace(b" 60\n", b" 120000\n").partition(b"ascii\n")
    made = cloud(tmp_path / "a.pcd", head + b"ascii\n" + rows * 2000)
    np.testing.assert_array_equal(made.colors[-60:], MIXED)
