"""OBJ with MTL, OFF and STL, one feature to a row: the right area, extent and colour, a warning, or the feature's name.

Run: pytest tests/pipeline/test_obj_off_stl.py
"""

import io
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import reading
from pipeline.geometry import Cloud, Mesh, baked, triangles
from pipeline.reading import load

GREY = (190, 190, 190)
RED, GREEN, BLUE, YELLOW, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255)


def png(rows, mode="RGB") -> bytes:
    """A picture of single pixels, its first row at the top."""
    buffer = io.BytesIO()
    Image.fromarray(np.array(rows, np.uint8), mode).resize((16, 16), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def solid(color) -> bytes:
    return png([[color]])


TEX = png([[RED, GREEN], [BLUE, YELLOW]])
HALF = png([[255, 0]], "L")
"""The left half is there, the right is not."""
V = "v 0 0 0\nv 2 0 0\nv 2 2 0\nv 0 2 0\n"
VT = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
QUAD = V + VT + "usemtl m\nf 1/1 2/2 3/3 4/4\n"
TRI = "v 0 0 0\nv 2 0 0\nv 0 2 0\n"
LOWER_LEFT = "vt 0.1 0.1\nvt 0.4 0.1\nvt 0.4 0.4\nvt 0.1 0.4\n"
"""Texture coordinates within the blue quarter."""


@dataclass
class Row:
    files: dict[str, str | bytes]
    """The first is read."""
    area: float = 4.0
    color: tuple[float, ...] | None = GREY
    """Mean colour of the surface, or of the points."""
    alpha: float = 1.0
    warns: str = ""
    """Word of the only warning; nothing may warn where it is empty."""
    refuses: str = ""
    textures: str = "require"
    points: int = 0
    high: tuple[float, ...] | None = None
    more: dict = field(default_factory=dict)
    """Fields of the first part."""


def obj(text: str | bytes, mtl: str | bytes | None = None, **options) -> Row:
    files: dict[str, str | bytes] = {"a.obj": text if mtl is None or isinstance(text, bytes) else "mtllib a.mtl\n" + text}
    extra = options.pop("files", {})
    return Row(files | ({} if mtl is None else {"a.mtl": mtl}) | extra, **options)


def textured(options: str = "", uv: str = VT, mtl: str = "", **row) -> Row:
    """A square of material m, whose texture has four colours."""
    row.setdefault("files", {"tex.png": TEX})
    return obj(V + uv + "usemtl m\nf 1/1 2/2 3/3 4/4\n", f"newmtl m\nKd 0 0 0\n{mtl}map_Kd {options}tex.png\n", **row)


def kd(text: str, **row) -> Row:
    return obj(QUAD, f"newmtl m\n{text}\n", **row)


def off(text: str | bytes, **row) -> Row:
    return Row({"a.off": text}, **row)


OFF_V = "0 0 0\n2 0 0\n2 2 0\n0 2 0\n"


def rows(header: str, row: str) -> str:
    """A square in which `row` follows every position."""
    return f"{header}\n4 1 0\n" + "".join(f"{line} {row}\n" for line in OFF_V.splitlines()) + "4 0 1 2 3\n"


def stl(color=(0, 0), header=b"", extra=b"", count=2) -> bytes:
    body = b""
    for word, corners in zip(color, [(0, 0, 0, 2, 0, 0, 2, 2, 0), (0, 0, 0, 2, 2, 0, 0, 2, 0)], strict=True):
        body += struct.pack("<3f9fH", 0, 0, 0, *corners, word)
    return header.ljust(80, b" ") + struct.pack("<I", count) + body + extra


MESHLAB = b"COLOR=\x7f\x7f\x7f MATERIAL=\x7f\x7f\x7f \x7f\x7f\x7f \x7f\x7f\x7f  "
"""How MeshLab's STL headers begin."""


def ascii_stl(name: str = "a", end: str = "endsolid a\n", third="0 2 0") -> str:
    facets = "".join(
        f"  facet normal 0 0 1\n    outer loop\n      vertex 0 0 0\n      vertex {b}\n      vertex {c}\n    endloop\n  endfacet\n"
        for b, c in (("2 0 0", "2 2 0"), ("2 2 0", third))
    )
    return f"solid {name}\n{facets}{end}"


def binary_off(corners=(0, 1, 2, 3)) -> bytes:
    head = b"OFF BINARY\n" + struct.pack(">3i", 4, 1, 0) + np.array([0, 0, 0, 2, 0, 0, 2, 2, 0, 0, 2, 0], ">f4").tobytes()
    return head + struct.pack(f">i{len(corners)}ii3f", len(corners), *corners, 3, 0, 1, 0)


ROWS: dict[str, Row] = {
    # ---- OBJ: lines
    "plain": obj(V + "f 1 2 3 4\n"),
    "crlf": obj((V + "f 1 2 3 4\n").replace("\n", "\r\n")),
    "cr": obj((V + "f 1 2 3 4\n").replace("\n", "\r")),
    "bom": obj(b"\xef\xbb\xbf" + (V + "f 1 2 3 4").encode()),
    "utf-16": obj((V + "f 1 2 3 4\n").encode("utf-16")),
    "continued lines": obj(V + "f 1 \\\n 2 3 \\\n4\n"),
    "comment that ends in a backslash": obj("# C:\\models\\\n" + V + "f 1 2 3 4\n"),
    "comments behind numbers": obj(V.replace("\n", " # here\n") + "f 1 2 3 4 # there\n"),
    "blanks, tabs and capitals": obj(V.replace("v ", "\t V  ").replace("\n", " \t\n\n") + "  F\t1  2 3 4 \n"),
    "no last line end": obj(V + "f 1 2 3 4"),
    "latin-1 comment": obj(b"# f\xfcr M\xf6bel\n" + (V + "f 1 2 3 4\n").encode()),
    "groups and smoothing": obj("o f 1 2\n" + V + "g f 1 2 3\ns off\ns 1\nf 1 2 3 4\ng\n"),
    "comma decimals": obj("v 0,5 0 0\n", refuses="line 1: '0,5' is no number: write decimals with a point"),
    "word in a vertex": obj(V + "\nv 1 2 x\nf 1 2 3\n", refuses="line 6: 'x'"),
    "vertex cut short": obj(V + "v 1 2\nf 1 2 3\n", refuses="line 5: a vertex (v) of 2 numbers"),
    "word in a face": obj(V + "f 1 2 three\n", refuses="line 5: 'three' is no corner"),
    "float in a face": obj(V + "f 1 2 3.0\n", refuses="line 5: '3.0' is no corner"),
    "slash without a vertex": obj(V + VT + "f /1 2/2 3/3\n", refuses="line 9: '/1' is no corner"),
    "four indices": obj(V + "f 1/1/1/1 2/2/2/2 3/3/3/3\n", refuses="line 5: '1/1/1/1' is no corner"),
    "unknown statements": obj("hello world\n" + V + "f 1 2 3 4\n", warns="hello"),
    # ---- OBJ: vertices and faces
    "weights": obj(V.replace(" 0\n", " 0 1.0\n") + "f 1 2 3 4\n"),
    "odd weights": obj(V.replace(" 0\n", " 0 0.5\n") + "f 1 2 3 4\n", warns="weights"),
    "rgb 0..1": obj(V.replace(" 0\n", " 0 1 0 0\n") + "f 1 2 3 4\n", color=RED),
    "rgb 0..255": obj(V.replace(" 0\n", " 0 0 255 0\n") + "f 1 2 3 4\n", color=GREEN),
    "rgba": obj(V.replace(" 0\n", " 0 0 0 1 0.5\n") + "f 1 2 3 4\n", color=BLUE, alpha=0.5, more={"alpha_mode": "BLEND"}),
    "rgb of some": obj(
        TRI.replace(" 0\n", " 0 1 0 0\n") + "v 0 0 1\nv 2 0 1\nv 0 2 1\nf 1 2 3\nf 4 5 6\n", color=(222.5, 95, 95), warns="no colour"
    ),
    "rgb that is no number": obj(V.replace(" 0\n", " 0 nan 0 0\n") + "f 1 2 3 4\n", warns="no numbers"),
    "five columns": obj("v 0 0 0 1 1\n", refuses="a vertex (v) of 5 numbers"),
    "normals": obj(V + "vn 0 0 1\nf 1//1 2//1 3//1 4//1\n"),
    "normals along the surface": obj(V + "vn 1 0 0\nf 1//1 2//1 3//1 4//1\n", warns="along the surface", more={"normals": None}),
    "normals of Microsoft": obj(V + "vn -1.#IND 0 0\nf 1//1 2//1 3//1 4//1\n", more={"normals": None}),
    "all three indices": obj(V + VT + "vn 0 0 1\nf 1/1/1 2/2/1 3/3/1 4/4/1\n"),
    "slashes left over": obj(V + "f 1/ 2/ 3/ 4//\n"),
    "corners of several forms": obj(V + VT + "vn 0 0 1\nf 1/1/1 2/2 3//1\nf 1 3/3/1 4\n"),
    "index of what is not there": obj(V + "f 1/1 2/2 3/3 4/4\n", warns="texture coordinate (vt)"),
    "negative": obj(V + VT + "f -4/-4 -3/-3 -2/-2 -1/-1\n"),
    "negative counts so far": obj(TRI + "f -3 -2 -1\n" + TRI.replace("0\n", "9\n") + "f -3 -2 -1\nv 50 50 50\n", high=(2, 2, 9)),
    "negative texture coordinates": textured(
        uv=LOWER_LEFT, color=None, files={"a.obj": f"mtllib a.mtl\n{V}{LOWER_LEFT}usemtl m\nf 1/-4 2/-3 3/-2 4/-1\n{VT}", "tex.png": TEX}
    ),
    "index too large": obj(V + "\nf 1 2 9\n", refuses="line 6: index 9 of a vertex"),
    "index of a coordinate too large": obj(V + VT + "f 1/1 2/2 3/7\n", refuses="line 9: index 7 of a texture coordinate"),
    "index too negative": obj(V + "f -1 -2 -5\n", refuses="line 5: index -5"),
    "index zero": obj(V + "f 0 1 2\n", refuses="line 5: index 0"),
    "concave": obj("v 0 3 0\nv -2 -1 0\nv 0 0 0\nv 2 -1 0\nf 2 3 4 1\n", area=6.0),
    "polygons of all sizes": obj(V + "v 1 3 0\nf 1 2 3\nf 1 3 4\nf 1 2 3 5 4\n", area=9.0),
    "old word for face": obj(V + "f 1 2 3\nfo 1 3 4\n"),
    "face of two corners": obj(V + "f 1 2\nf 1 2 3 4\n", warns="fewer than three"),
    "nothing but such": obj(V + "f 1 2\n", refuses="none of the 1 faces has three corners"),
    "not finite in use": obj("v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", refuses="1 of 3 vertices in use are not finite"),
    "not finite and unused": obj(V + "v nan nan nan\nf 1 2 3 4\n"),
    "lines beside": obj(V + "l 1 2 3\nf 1 2 3 4\n", warns="lines (l)"),
    "points beside": obj(V + "p 1 2 3\nf 1 2 3 4\n", warns="points (p)"),
    "only lines": obj(V + "l 1 2 3\n", refuses="only lines"),
    "only vertices": obj(V, points=4, color=None),
    "only coloured vertices": obj(V.replace(" 0\n", " 0 0 255 0\n"), points=4, color=GREEN),
    "points": obj(V + "p 1 2\np -1\n", points=3, color=None),
    "cloud with a hole": obj(V + "v nan 0 0\n", points=4, color=None, warns="1 of 5 points"),
    "free-form": obj(V + "cstype bezier\ndeg 3 3\nsurf 0 1 0 1 1 2 3 4\nend\n", refuses="free-form surfaces"),
    "free-form curves": obj(V + "cstype bspline\ndeg 3\ncurv 0 1 1 2 3 4\nend\n", refuses="free-form curves"),
    "free-form beside": obj(V + "f 1 2 3 4\ncstype bezier\ncurv 0 1 1 2 3 4\nend\n", warns="free-form curves"),
    "call": obj("call b.obj\n" + V + "f 1 2 3\n", refuses="'call'"),
    # ---- MTL
    "texture": textured(color=(127.5, 127.5, 63.75)),
    "texture, some faces without": obj(
        QUAD + "v 4 0 0\nv 6 0 0\nv 4 2 0\nf 5 6 7\n",
        "newmtl m\nKd 1 1 1\nmap_Kd t.png\n",
        files={"t.png": solid(RED)},
        area=6.0,
        color=(255, 85, 85),
        warns="1 triangles of material 'm'",
    ),
    "texture, black Kd, no coordinates": obj(
        V + "usemtl m\nf 1 2 3 4\n", "newmtl m\nKd 0 0 0\nmap_Kd t.png\n", files={"t.png": solid(RED)}, warns="no place"
    ),
    "texture beside vertex colours": obj(
        V.replace(" 0\n", " 0 0 0 0\n") + QUAD.removeprefix(V), "newmtl m\nmap_Kd t.png\n", files={"t.png": solid(RED)}, color=RED
    ),
    "-s and -o": textured("-s 0.5 0.5 1 -o 0.5 0.5 0 ", uv=VT, color=GREEN),
    "-o of one number": textured("-o 0.5 ", uv=LOWER_LEFT, color=YELLOW),
    "-s of two numbers": textured("-s 1 2 ", uv="vt 0.1 0.3\nvt 0.4 0.3\nvt 0.4 0.45\nvt 0.1 0.45\n", color=RED),
    "-mm": textured("-mm 0.2 0.5 ", uv=LOWER_LEFT, color=(51, 51, 178.5)),
    "-bm, -blendu, -boost, -texres, -imfchan": textured(
        "-bm 1.5 -blendu on -boost 2 -texres 64 -imfchan l -cc off ", uv=LOWER_LEFT, color=BLUE
    ),
    "-t": textured("-t 1 1 1 ", uv=LOWER_LEFT, color=BLUE, warns="turbulence"),
    "-clamp on": textured("-clamp on ", uv="vt 1.5 1.5\nvt 3 1.5\nvt 3 3\nvt 1.5 3\n", color=GREEN),
    "-clamp off": textured("-clamp off ", uv="vt 1.1 1.1\nvt 1.4 1.1\nvt 1.4 1.4\nvt 1.1 1.4\n", color=BLUE),
    "-clamp across the edge": textured("-clamp on ", uv="vt -1 0.1\nvt 3 0.1\nvt 3 0.2\nvt -1 0.2\n", color=(159.4, 159.4, 95.6)),
    "name with blanks": obj(QUAD, "newmtl m\nmap_Kd  my  tex.png \n", files={"my  tex.png": solid(RED)}, color=RED),
    "name that begins with a hyphen": obj(QUAD, "newmtl m\nmap_Kd -red tex.png\n", files={"-red tex.png": solid(RED)}, color=RED),
    "latin-1 name": obj(QUAD, "newmtl m\nmap_Kd M\xf6bel.png\n".encode("latin-1"), files={"M\xf6bel.png": solid(RED)}, color=RED),
    "missing texture": obj(QUAD, "newmtl m\nmap_Kd t.png\n", refuses="file 't.png', named in a.mtl, is missing"),
    "missing texture, grey": obj(QUAD, "newmtl m\nKd 1 0 0\nmap_Kd t.png\n", textures="grey", warns="t.png"),
    "name and comment": obj(QUAD, "newmtl m # here\nmap_Kd t.png # there\nd 1 # all\n", files={"t.png": solid(RED)}, color=RED),
    "material without a name": obj(QUAD, "newmtl m\nKd 1 0 0\nnewmtl\nKd 0 0 1\n", color=RED),
    "names of another encoding": obj(
        b"mtllib a.mtl\n" + QUAD.encode().replace(b"usemtl m", b"usemtl \xc4\xbe\x81\x80"),
        b"# \xff\xff\nnewmtl \xc4\xbe\x81\x80\nKd 1 0 0\n",
        color=RED,
    ),
    "no name": obj(QUAD, "newmtl m\nKd 1 0 0\nmap_Kd\n", color=RED),
    "Kd": kd("Kd 1 0 0", color=RED),
    "Kd with tabs and capitals": obj(QUAD, "NEWMTL m\n\tKD\t0 1\t0\n", color=GREEN),
    "Kd of one number": kd("Kd 0.5", color=(127.5,) * 3),
    "Kd times vertex colours": obj(QUAD.replace(" 0\n", " 0 1 1 0\n", 4), "newmtl m\nKd 1 0.5 1\n", color=(255, 127.5, 0)),
    "Kd xyz": kd("Kd xyz 0.5 0.5 0.5", warns="not red, green, blue"),
    "Kd spectral": kd("Kd spectral file.rfl 1", warns="not red, green, blue"),
    "black Kd and vertex colours": obj(QUAD.replace(" 0\n", " 0 1 1 0\n", 4), "newmtl m\nKd 0 0 0\n", color=YELLOW, warns="times"),
    "black Kd and white vertices": obj(QUAD.replace(" 0\n", " 0 1 1 1\n", 4), "newmtl m\nKd 0 0 0\n", color=WHITE, warns="times"),
    "black Kd and black vertices": obj(QUAD.replace(" 0\n", " 0 0 0 0\n", 4), "newmtl m\nKd 0 0 0\n", color=(0, 0, 0)),
    "green Kd and red vertices": obj(QUAD.replace(" 0\n", " 0 1 0 0\n", 4), "newmtl m\nKd 0 1 0\n", color=RED, warns="times"),
    "black Kd beside another, white vertices": obj(
        TRI.replace(" 0\n", " 0 1 1 1\n") + "v 2 2 0 1 1 1\nusemtl m\nf 1 2 3\nusemtl n\nf 2 4 3\n",
        "newmtl m\nKd 0 0 0\nnewmtl n\nKd 1 0 0\n",
        color=(127.5, 0, 0),
    ),
    "black Kd beside another, red vertices": obj(
        TRI.replace(" 0\n", " 0 1 0 0\n") + "v 2 2 0 0 1 0\nusemtl m\nf 1 2 3\nusemtl n\nf 4 3 2\n",
        "newmtl m\nKd 0 0 0\nnewmtl n\nKd 1 1 1\n",
        color=None,
        warns="times",
    ),
    "decal": kd("Kd 1 0 0\ndecal t.png", color=RED, warns="'decal'"),
    "bump and disp": kd("Kd 1 0 0\nbump b.png\nmap_bump b.png\ndisp d.png\nmap_disp d.png\nnorm n.png", color=RED),
    "#MRGB": obj(V + "#MRGB ffff0000ffff0000\n#MRGB 00ff0000FFFF0000\nf 1 2 3 4\n", color=RED),
    "#MRGB of a cloud": obj(V + "#MRGB " + "ff00ff00" * 4 + "\n", points=4, color=GREEN),
    "#MRGB of fewer vertices": obj(V + "#MRGB ffff0000\nf 1 2 3 4\n", warns="#MRGB"),
    "#MRGB that is no number": obj(V + "#MRGB " + "of red!!" * 4 + "\nf 1 2 3 4\n", warns="#MRGB"),
    "#MRGB beside colours": obj(V.replace(" 0\n", " 0 1 0 0\n") + "#MRGB " + "ff00ff00" * 4 + "\nf 1 2 3 4\n", color=RED),
    "#MRGB over a black Kd": obj(QUAD + "#MRGB " + "ff00ff00" * 4 + "\n", "newmtl m\nKd 0 0 0\n", color=GREEN, warns="times"),
    "Kd beyond 1": kd("Kd 2 0 0", color=RED, warns="0..1"),
    "Kd with a comma": kd("Kd 0,5 0,5 0,5", warns="not red, green, blue"),
    "Ka alone": kd("Ka 0 0 1", color=BLUE, warns="ambient"),
    "Ka black": kd("Ka 0 0 0"),
    "Ka beside Kd": kd("Ka 0 0 1\nKd 1 0 0", color=RED),
    "map_Ka alone": obj(QUAD, "newmtl m\nmap_Ka t.png\n", files={"t.png": solid(RED)}, color=RED, warns="ambient"),
    "map_Ka beside Kd": obj(QUAD, "newmtl m\nKd 0 1 0\nmap_Ka t.png\n", files={"t.png": solid(RED)}, color=GREEN, warns="map_Ka"),
    "Ke": kd("Kd 0 1 0\nKe 0.5 0 0", color=GREEN, more={"emissive": (0.5, 0, 0)}),
    "map_Ke alone": obj(QUAD, "newmtl m\nKd 0 0 0\nmap_Ke t.png\n", files={"t.png": solid(RED)}, color=RED),
    "map_Ke beside a texture": obj(
        QUAD, "newmtl m\nmap_Kd t.png\nmap_Ke e.png\n", files={"t.png": solid(RED), "e.png": solid(BLUE)}, color=RED, warns="map_Ke"
    ),
    "d": kd("Kd 1 0 0\nd 0.25", color=RED, alpha=0.25, more={"alpha_mode": "BLEND"}),
    "d -halo": kd("Kd 1 0 0\nd -halo 0.25", color=RED, alpha=0.25, warns="halo"),
    "Tr": kd("Kd 1 0 0\nTr 0.25", color=RED, alpha=0.75, more={"alpha_mode": "BLEND"}),
    "Tr of MeshLab": kd("Kd 1 0 0\nTr 1.0", color=RED, warns="'Tr 1'", more={"alpha_mode": "OPAQUE"}),
    "d and Tr agree": kd("Kd 1 0 0\nd 0.25\nTr 0.75", color=RED, alpha=0.25),
    "d and Tr of old exporters": kd("Kd 1 0 0\nd 1\nTr 1", color=RED, warns="contradict", more={"alpha_mode": "OPAQUE"}),
    "d 0 everywhere": kd("Kd 1 0 0\nd 0", color=RED, warns="wholly transparent", more={"alpha_mode": "OPAQUE"}),
    "d that is no number": kd("Kd 1 0 0\nd high", color=RED, warns="no number"),
    "map_d of black and white": textured(
        mtl="map_d mask.png\n", files={"tex.png": TEX, "mask.png": HALF}, color=None, alpha=0.5, more={"alpha_mode": "MASK"}
    ),
    "map_d of greys": textured(
        mtl="map_d mask.png\n", files={"tex.png": TEX, "mask.png": png([[51]], "L")}, color=None, alpha=0.2, more={"alpha_mode": "BLEND"}
    ),
    "map_d alone": obj(
        QUAD, "newmtl m\nKd 1 0 0\nmap_d mask.png\n", files={"mask.png": HALF}, color=RED, alpha=0.5, more={"alpha_mode": "MASK"}
    ),
    "map_d white": textured(
        mtl="map_d mask.png\n", files={"tex.png": TEX, "mask.png": solid(WHITE)}, color=None, more={"alpha_mode": "OPAQUE"}
    ),
    "map_d by its own alpha": obj(
        QUAD,
        "newmtl m\nmap_Kd t.png\nmap_d t.png\n",
        files={"t.png": png([[(*RED, 255), (*RED, 0)]], "RGBA")},
        color=RED,
        alpha=0.5,
        more={"alpha_mode": "MASK"},
    ),
    "map_d is the picture": textured(mtl="map_d tex.png\n", color=None, warns="no alpha", more={"alpha_mode": "OPAQUE"}),
    "map_d elsewhere": textured(
        mtl="map_d -s 2 2 2 mask.png\n", files={"tex.png": TEX, "mask.png": HALF}, refuses="map_d of material 'm' lies elsewhere"
    ),
    "alpha of a picture without map_d": obj(
        QUAD, "newmtl m\nmap_Kd t.png\n", files={"t.png": png([[(*RED, 0)]], "RGBA")}, color=RED, alpha=0.0, more={"alpha_mode": "OPAQUE"}
    ),
    "alpha of a picture with d": obj(
        QUAD,
        "newmtl m\nd 0.5\nmap_Kd t.png\n",
        files={"t.png": png([[(*RED, 0)]], "RGBA")},
        color=RED,
        alpha=0.5,
        more={"alpha_mode": "BLEND"},
    ),
    "Pm and Pr": kd("Kd 1 0 0\nPm 1\nPr 0.25", color=RED, more={"metallic": 1.0, "roughness": 0.25}),
    "two materials": obj(
        V + "usemtl r\nf 1 2 3\nusemtl b\nf 1 3 4\nusemtl r\n", "newmtl r\nKd 1 0 0\nnewmtl b\nKd 0 0 1\n", color=(127.5, 0, 127.5)
    ),
    "faces before the first usemtl": obj(V + "f 1 2 3\nusemtl r\nf 1 3 4\n", "newmtl r\nKd 1 0 0\n", color=(222.5, 95, 95)),
    "faults of a material that nobody uses": obj(
        QUAD, "newmtl m\nKd 1 0 0\nnewmtl n\nKd spectral x\nKe a\nd x\nmap_Kd gone.png\nnewmtl n\n", color=RED
    ),
    "unknown material": obj(QUAD, "newmtl other\nKd 1 0 0\n", warns="material 'm' is in none"),
    "no file of materials": obj(QUAD, warns="material 'm' is in no file"),
    "missing file of materials": Row({"a.obj": "mtllib b.mtl\n" + QUAD}, refuses="'b.mtl', named in a.obj, is missing"),
    "missing file of materials, grey": Row({"a.obj": "mtllib b.mtl\n" + QUAD}, textures="grey", warns="b.mtl"),
    "missing file of no use": Row({"a.obj": "mtllib b.mtl\n" + V + "f 1 2 3 4\n"}, warns="no face needs it"),
    "file of the shape's name": Row({"a.obj": "mtllib b.mtl\n" + QUAD, "a.mtl": "newmtl m\nKd 1 0 0\n"}, color=RED, warns="*"),
    "same name, not named": Row({"a.obj": QUAD, "a.mtl": "newmtl m\nKd 1 0 0\n"}, color=RED, warns="a.mtl"),
    "several files": Row(
        {"a.obj": "mtllib b.mtl my c.mtl\n" + QUAD, "b.mtl": "newmtl x\nKd 0 0 1\n", "my c.mtl": "newmtl m\nKd 1 0 0\n"}, color=RED
    ),
    "several statements": Row(
        {"a.obj": "mtllib b.mtl\nmtllib c.mtl\n" + QUAD, "b.mtl": "newmtl x\nKd 0 0 1\n", "c.mtl": "newmtl m\nKd 1 0 0\n"}, color=RED
    ),
    "blanks in names": Row(
        {
            "a.obj": "mtllib my mat.mtl\n" + QUAD.replace("usemtl m", "usemtl my red  paint "),
            "my mat.mtl": "newmtl my red  paint\nKd 1 0 0\n",
        },
        color=RED,
    ),
    "another number of blanks": obj(QUAD.replace("usemtl m", "usemtl my  red"), "newmtl my red\nKd 1 0 0\n", color=RED),
    "another case": obj(QUAD.replace("usemtl m", "usemtl Red"), "newmtl RED\nKd 1 0 0\n", color=RED),
    "names that differ in case only": obj(QUAD, "newmtl M\nKd 0 0 1\nnewmtl m\nKd 1 0 0\n", color=RED),
    "utf-8 name": Row(
        {"a.obj": "mtllib stühle.mtl\n" + QUAD.replace("usemtl m", "usemtl für"), "stühle.mtl": "newmtl für\nKd 1 0 0\n"}, color=RED
    ),
    "mtl in utf-16": obj(QUAD, "newmtl m\nKd 1 0 0\n".encode("utf-16"), color=RED),
    "latin-1 in both": obj(
        ("mtllib a.mtl\n" + QUAD.replace("usemtl m", "usemtl für")).encode("latin-1"), "newmtl für\nKd 1 0 0\n".encode("latin-1"), color=RED
    ),
    "same material twice": obj(QUAD, "newmtl m\nKd 1 0 0\nnewmtl m\nKd 0 0 1\n", color=RED, warns="two materials 'm'"),
    # ---- OFF
    "off": off(f"OFF\n4 1 0\n{OFF_V}4 0 1 2 3\n"),
    "off glued": off(f"OFF4 1 0\n{OFF_V}4 0 1 2 3\n"),
    "off glued to a blank": off(f"OFF 4 1 0\r\n{OFF_V}4 0 1 2 3\r\n"),
    "off in small letters": off(f"off\n4 1 0\n{OFF_V}4 0 1 2 3\n"),
    "off without header": off(f"4 1 0\n{OFF_V}4 0 1 2 3\n"),
    "off with two counts": off(f"OFF\n4 1\n{OFF_V}4 0 1 2 3\n"),
    "off with counts in lines": off(f"OFF\n4\n1\n{OFF_V}4 0 1 2 3\n"),
    "off in one line": off(f"OFF 4 1 0 {OFF_V}4 0 1 2 3".replace("\n", " ")),
    "off in lines of any length": off(f"OFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace("2 2 0\n0", "2 2\n0 0")),
    "off comments": off(f"# a\n\nOFF # b\n# c\n4 1 0 # d\n\n{OFF_V}# e\n4 0 1 2 3 # f\n# g\n"),
    "off latin-1": off(b"OFF\n# M\xf6bel\n4 1 0\n" + OFF_V.encode() + b"4 0 1 2 3\n"),
    "off bom": off(b"\xef\xbb\xbfOFF\n4 1 0\n" + OFF_V.encode() + b"4 0 1 2 3\n"),
    "off concave": off("OFF\n6 1 0\n1 0 3\n0 0 3\n0 0 0\n3 0 0\n3 0 1\n1 0 1\n6 0 1 2 3 4 5\n", area=5.0),
    "coff ints": off(
        f"COFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace(" 0\n", " 0 255 0 0 255\n").replace("1 0 255 0 0 255", "1 0", 1), color=RED
    ),
    "coff floats": off(
        f"COFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace(" 0\n", " 0 1.0 0 0 0.5\n").replace("1 0 1.0 0 0 0.5", "1 0", 1),
        color=RED,
        alpha=0.5,
        more={"alpha_mode": "BLEND"},
    ),
    "coff without alpha": off(
        f"COFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace(" 0\n", " 0 0 0 255\n").replace("1 0 0 0 255", "1 0", 1), color=BLUE
    ),
    "coff in one line": off(f"COFF 4 1 0 {OFF_V.replace(chr(10), ' 255 0 0 255 ')} 4 0 1 2 3", color=RED),
    "colours not announced": off(
        f"OFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace(" 0\n", " 0 255 0 0\n").replace("1 0 255 0 0", "1 0", 1), color=RED
    ),
    "normals not announced": off(f"OFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace(" 0\n", " 0 0 0 -1\n").replace("1 0 0 0 -1", "1 0", 1)),
    "noff": off(f"NOFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace(" 0\n", " 0 0 0 1\n").replace("1 0 0 0 1", "1 0", 1)),
    "noff along": off(
        f"NOFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace(" 0\n", " 0 1 0 0\n").replace("1 0 1 0 0", "1 0", 1),
        warns="along",
        more={"normals": None},
    ),
    "cnoff": off(
        f"CNOFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace(" 0\n", " 0 0 0 1 255 0 0 255\n").replace("1 0 0 0 1 255 0 0 255", "1 0", 1), color=RED
    ),
    "stoff": off(f"STOFF\n4 1 0\n{OFF_V}4 0 1 2 3\n".replace(" 0\n", " 0 0.5 1\n").replace("1 0 0.5 1", "1 0", 1)),
    "stoff with normals": off(rows("STNOFF", "0 0 1 0.5 1"), more={"uv": None}),
    "ncoff of MeshLab": off(rows("NCOFF", "255 0 0 255 0 0 -1.57"), color=RED, more={"alpha_mode": "OPAQUE"}),
    "ncoff of MeshLab, red and black": off(rows("NCOFF", "0 0 0 255 0 0 2"), color=(0, 0, 0)),
    "ncoff of MeshLab, upwards": off(rows("NCOFF", "255 0 0 255 0 0 1.57"), color=RED),
    "ncoff without alpha": off(rows("NCOFF", "0 255 0 0 0 1"), color=GREEN),
    "ncoff as the format says": off(rows("NCOFF", "0 0 1 255 0 0 255"), color=RED),
    "ncoff as the format says, downwards": off(rows("NCOFF", "0 0 -1 255 0 0"), color=RED),
    "cnoff in MeshLab's order": off(rows("CNOFF", "255 0 0 255 0 0 -1"), color=RED),
    "cnoff of floats": off(rows("CNOFF", "0 0 1 0 1 0 1"), color=GREEN),
    "cnoff of floats, a unit vector": off(rows("CNOFF", "0 0 1 0 1 0"), color=GREEN),
    "ncoff of floats, a unit vector": off(rows("NCOFF", "0 1 0 0 0 1"), color=GREEN),
    "ncoff of floats, as the format says": off(rows("NCOFF", "0 0 1 1 0 0"), color=RED),
    "nstoff": off(rows("NSTOFF", "0 0 2 0.5 1")),
    "ncstoff": off(rows("NCSTOFF", "255 0 0 255 0 0 -1.57 0.5 1"), color=RED),
    "cstoff": off(rows("CSTOFF", "255 0 0 255 0.5 1"), color=RED),
    "stcnoff": off(rows("STCNOFF", "0 0 1 255 0 0 255 0.5 1"), color=RED),
    "ncoff in one line": off(rows("NCOFF", "255 0 0 255 0 0 -1.57").replace("\n", " "), color=RED),
    "nc4off": off("NC4OFF\n1 1 0\n0 0 0 1\n", refuses="NC4OFF: vertices of four dimensions"),
    "4off": off("4OFF\n1 1 0\n0 0 0 1\n", refuses="4OFF: vertices of four dimensions"),
    "noff of n dimensions": off("nOFF\n3\n1 1 0\n", refuses="nOFF: vertices of any number of dimensions"),
    "face colours": off(f"OFF\n4 2 0\n{OFF_V}3 0 1 2 255 0 0\n3 0 2 3 0 0 255\n", color=(127.5, 0, 127.5)),
    "face colours of floats and alpha": off(
        f"OFF\n4 2 0\n{OFF_V}3 0 1 2 1.0 0 0 0.5\n3 0 2 3 1.0 0 0 0.5\n", color=RED, alpha=0.5, more={"alpha_mode": "BLEND"}
    ),
    "face colours of some": off(f"OFF\n4 2 0\n{OFF_V}3 0 1 2 255 0 0\n3 0 2 3\n", color=(222.5, 95, 95)),
    "colour map": off(f"OFF\n4 2 0\n{OFF_V}3 0 1 2 5\n3 0 2 3 5\n", warns="colour map"),
    "colours of both": off(
        f"COFF\n4 1 0\n{OFF_V.replace(' 0' + chr(10), ' 0 255 0 0 255' + chr(10))}4 0 1 2 3 0 0 255\n",
        color=RED,
        warns="beside those of vertices",
    ),
    "binary off": off(binary_off(), color=GREEN),
    "binary off cut": off(binary_off()[:-9], refuses="damaged or cut short"),
    "binary off index": off(binary_off((0, 1, 9)), refuses="index 9"),
    "off cut in vertices": off("OFF\n4 2 0\n0 0 0\n1 0 0\n", refuses="damaged or cut short"),
    "off cut in faces": off(f"OFF\n4 2 0\n{OFF_V}3 0 1 2\n3 0 2\n", refuses="damaged or cut short"),
    "off index": off(f"OFF\n4 2 0\n{OFF_V}3 0 1 2\n3 0 2 7\n", refuses="line 8: index 7 of a vertex"),
    "off index below": off(f"OFF\n4 2 0\n{OFF_V}3 0 1 2\n3 0 2 -1\n", refuses="line 8: index -1 of a vertex"),
    "off without faces": off(f"OFF\n4 0 0\n{OFF_V}", points=4, color=None),
    "off cloud with colours": off("COFF\n2 0 0\n0 0 0 255 0 0 255\n1 1 1 255 0 0 255\n", points=2, color=RED),
    "off cloud with normals": off("NOFF\n2 0 0\n0 0 0 0 0 1\n1 1 1 0 0 1\n", points=2, color=None),
    "off cloud cut short": off("OFF\n3 0 0\n0 0 0\n1 1 1\n", refuses="declares 3 vertices and no faces, and ends after 6 numbers"),
    "off cloud with too much": off("OFF\n3 0 0\n0 0 0 1 1 1\n2 2 2 3 3 3\n", refuses="no faces, and 3 numbers follow; write each vertex"),
    "off cloud with lines after it": off(f"OFF\n3 0 0\n{OFF_V}", points=3, color=None, warns="1 lines after the last vertex"),
    "off cloud of two points a line": off("OFF\n4 0 0\n0 0 0 1 1 1\n2 2 2 3 3 3\n", points=4, color=None),
    "off cloud in one line": off("COFF 2 0 0 0 0 0 255 0 0 255 1 1 1 255 0 0 255", points=2, color=RED),
    "binary off without faces": off(b"OFF BINARY\n" + struct.pack(">3i6f", 2, 0, 0, 0, 0, 0, 1, 1, 1), points=2, color=None),
    "binary off without anything": off(b"OFF BINARY\n" + struct.pack(">3i", 0, 0, 0), refuses="no triangles and no points"),
    "off without anything": off("OFF\n0 0 0\n", refuses="no triangles and no points"),
    "off cloud with a stray face": off(f"OFF\n12 1 0\n{OFF_V * 3}4 0 1 2 3\n", warns="only 4 of 12 vertices belong"),
    "cloud with a stray face": obj(V * 3 + "f 1 2 3 4\n", warns="only 4 of 12 vertices belong"),
    "off of words": off("hello\n", refuses="numbers of vertices and faces"),
    "off with a comma": off(
        f"OFF\n4 1 0\n{OFF_V.replace('2 2', '2,0 2')}4 0 1 2 3\n", refuses="line 5: '2,0' is no number: write decimals"
    ),
    "lines after the faces": off(f"OFF\n4 1 0\n{OFF_V}4 0 1 2 3\n2 0 1\n", warns="1 lines after"),
    # ---- STL
    "binary stl": Row({"a.stl": stl()}),
    "binary stl named solid": Row({"a.stl": stl(header=b"solid facet by me")}),
    "trailing bytes": Row({"a.stl": stl(extra=b"\0" * 70)}, warns="70 bytes after"),
    "trailing bytes, named solid": Row({"a.stl": stl(header=b"solid x\0", extra=b"xy")}, warns="2 bytes after"),
    "cut stl": Row({"a.stl": stl(count=3)}, refuses="declares 3 triangles and holds 2"),
    "wrong count": Row({"a.stl": stl(count=1)}, refuses="declares 1 triangles and holds 2"),
    "no count": Row({"a.stl": stl(count=0)}, refuses="declares no triangles"),
    "stl of a few bytes": Row({"a.stl": b"abc"}, refuses="damaged or cut short"),
    "Materialise, own colours": Row({"a.stl": stl((0x001F, 0x7C00), b"x COLOR=\1\2\3\xff")}, color=(127.5, 0, 127.5)),
    "Materialise, colour of all": Row(
        {"a.stl": stl((0x801F, 0x8000), b"COLOR=\x00\xff\x00\x80")}, color=GREEN, alpha=128 / 255, more={"alpha_mode": "BLEND"}
    ),
    "Materialise, header alone": Row({"a.stl": stl((0, 0), b"COLOR=\x00\xff\x00\xff")}, color=GREEN),
    "MeshLab without colours": Row({"a.stl": stl((0, 0), MESHLAB)}),
    "MeshLab, own colours": Row({"a.stl": stl((0x83E0, 0x83E0), MESHLAB)}, color=GREEN, more={"alpha_mode": "OPAQUE"}),
    "MeshLab, red lowest": Row({"a.stl": stl((0x801F, 0xFC00), MESHLAB)}, color=(127.5, 0, 127.5)),
    "MeshLab, black and white": Row({"a.stl": stl((0x8000, 0xFFFF), MESHLAB)}, color=(127.5,) * 3),
    "MeshLab, some": Row({"a.stl": stl((0x83E0, 0), MESHLAB)}, color=(63.5, 191, 63.5)),
    "three bytes and MATERIAL, header alone": Row({"a.stl": stl((0, 0), MESHLAB.replace(b"\x7f\x7f\x7f", b"\xff\0\0", 1))}, color=RED),
    "three bytes and MATERIAL, no highest bits": Row({"a.stl": stl((0x001F, 0x7C00), MESHLAB)}, color=(127.5, 0, 127.5)),
    "three bytes, MATERIAL after a comma": Row({"a.stl": stl((0, 0), b"COLOR=\xff\0\0,MATERIAL=\1\2\3\4")}, color=RED),
    "three bytes alone": Row({"a.stl": stl((0, 0), b"COLOR=\xff\0\0")}, color=RED, more={"alpha_mode": "OPAQUE"}),
    "Materialise, MATERIAL": Row(
        {"a.stl": stl((0x801F, 0x8000), b"COLOR=\x00\xff\x00\x80,MATERIAL=" + b"\xff" * 12)}, color=GREEN, alpha=128 / 255
    ),
    "COLOR= and a word": Row({"a.stl": stl((0, 0), b"COLOR=RED")}, warns="text behind 'COLOR='"),
    "COLOR= and a word, own colours": Row({"a.stl": stl((0xFC00, 0xFC00), b"COLOR=blue MATERIAL=PLA")}, color=RED, warns="text behind"),
    "COLOR= and a word, MATERIAL and a word": Row({"a.stl": stl((0, 0), b"COLOR=RED MATERIAL=PLA")}, warns="text behind"),
    "COLOR= with alpha 0": Row({"a.stl": stl((0, 0), b"COLOR=\x00\xff\x00\0")}, color=GREEN, more={"alpha_mode": "OPAQUE"}),
    "COLOR= with alpha 1": Row({"a.stl": stl((0, 0), b"COLOR=\x00\xff\x00\1")}, color=GREEN, warns="taken as opaque"),
    "COLOR= cut": Row({"a.stl": stl((0, 0), b" " * 74 + b"COLOR=")}),
    "VisCAM": Row({"a.stl": stl((0x801F, 0xFC00))}, color=(127.5, 0, 127.5)),
    "VisCAM, blue lowest": Row({"a.stl": stl((0x801F, 0x801F))}, color=BLUE),
    "VisCAM, some": Row({"a.stl": stl((0xFC00, 0x0000))}, color=(222.5, 95, 95)),
    "bytes that are no colour": Row({"a.stl": stl((0x001F, 0x001F))}),
    "ascii stl": Row({"a.stl": ascii_stl()}),
    "ascii stl of two solids": Row(
        {"a.stl": ascii_stl() + ascii_stl().replace("vertex", "vertex  ").replace(" 0\n", " 5\n")}, area=8.0, high=(2, 2, 5)
    ),
    "ascii stl in capitals": Row({"a.stl": "  " + ascii_stl().upper()}),
    "ascii stl in one line": Row({"a.stl": ascii_stl("").replace("\n", " ")}),
    "ascii stl with cr": Row({"a.stl": ascii_stl().replace("\n", "\r")}),
    "ascii stl, latin-1": Row({"a.stl": ascii_stl("Möbel facet vertex").encode("latin-1")}),
    "ascii stl, bom": Row({"a.stl": b"\xef\xbb\xbf" + ascii_stl().encode()}),
    "ascii stl without end": Row({"a.stl": ascii_stl(end="")}, warns="endsolid"),
    "binary stl with signalling NaN": Row(
        {"a.stl": stl().replace(struct.pack("<9f", 0, 0, 0, 2, 0, 0, 2, 2, 0), struct.pack("<8fI", 0, 0, 0, 2, 0, 0, 2, 2, 0x7FA00000))},
        refuses="1 of 6 vertices in use are not finite",
    ),
    "ascii stl with NaN": Row({"a.stl": ascii_stl(third="nan 0 0")}, refuses="not finite"),
    "ascii stl with a little NaN": Row(
        {"a.stl": ascii_stl(end="") * 50 + ascii_stl(third="nan 0 0")}, area=202.0, warns="1 of 102 triangles"
    ),
    "ascii stl with a comma": Row({"a.stl": ascii_stl(third="0,5 2 0")}, refuses="'0,5' is no number"),
    "ascii stl with colours": Row(
        {"a.stl": ascii_stl().replace("facet normal", "color 1 0 0\nfacet normal")}, warns="colours in a text file (color)"
    ),
    "ascii stl cut": Row({"a.stl": ascii_stl()[:-60]}, refuses="damaged or cut short"),
    "ascii stl of a quad": Row({"a.stl": ascii_stl(third="0 2 0\nvertex 0 1 0")}, refuses="a facet of 4 vertices"),
    "ascii stl without triangles": Row({"a.stl": "solid a\nendsolid a\n"}, refuses="no triangles"),
    "ascii stl cut at once": Row({"a.stl": "solid " + "vertex " * 30 + "\n"}, refuses="no triangles"),
}


def mean_color(shape: Mesh) -> tuple[float, np.ndarray]:
    """Area of a mesh and its mean colour `[4]` 0..255, looked up where a grid over every triangle falls."""
    step = np.array([(i + 0.25, j + 0.5) for i in range(32) for j in range(32)]) / 32  # never on the diagonal
    step = np.where(step.sum(axis=1, keepdims=True) > 1, 1 - step, step)
    weights = np.column_stack([1 - step.sum(axis=1), step])  # [k, 3]
    total, sums = 0.0, np.zeros(4)
    for part in shape.parts:
        areas = np.concatenate([a for _, a in triangles(part)])
        colors = np.einsum("kc,fcd->fkd", weights, baked(part)[part.faces].astype(float))
        if part.texture is not None:
            height, width = part.texture.shape[:2]
            uv = np.einsum("kc,fcd->fkd", weights, part.uv[part.faces]) % 1
            row = np.minimum(((1 - uv[..., 1]) * height).astype(int), height - 1)
            colors = colors * part.texture[row, np.minimum((uv[..., 0] * width).astype(int), width - 1)] / 255
        total += areas.sum()
        sums += areas @ colors.mean(axis=1)
    return total, sums / total


@pytest.mark.parametrize("name", ROWS)
def test_one_feature(name, tmp_path):
    row = ROWS[name]
    for file, data in row.files.items():
        (tmp_path / file).write_bytes(data.encode() if isinstance(data, str) else data)
    path = tmp_path / next(iter(row.files))
    if row.refuses:
        with pytest.raises(ValueError) as caught:
            load(path, up="y", textures=row.textures)
        assert row.refuses in str(caught.value) and len(str(caught.value)) <= reading.REASON
        return
    shape = load(path, up="y", textures=row.textures)
    if row.warns != "*":
        assert len(shape.warnings) == bool(row.warns) and row.warns in "".join(shape.warnings)
    if row.points:
        assert isinstance(shape, Cloud) and len(shape.points) == row.points
        assert shape.colors is None if row.color is None else (shape.colors == row.color).all()
        return
    area, color = mean_color(shape)
    assert area == pytest.approx(row.area, rel=1e-5)
    assert color[3] / 255 == pytest.approx(row.alpha, abs=0.01)
    if row.color is not None:
        np.testing.assert_allclose(color[:3], row.color, atol=2.5)
        assert shape.colored == (row.color != GREY)
    if row.high:
        np.testing.assert_allclose(np.max([p.vertices.max(axis=0) for p in shape.parts], axis=0), row.high)
    for key, value in row.more.items():
        found = getattr(shape.parts[0], key)
        assert found == value if value is not None else found is None


PLACES = {
    "beside": ("model/tex.png", "tex.png"),
    "named folder": ("model/maps/tex.png", "maps/tex.png"),
    "above": ("tex.png", "../tex.png"),
    "other case": ("model/Maps/TEX.PNG", "maps/tex.png"),
    "backslash": ("model/maps/tex.png", "maps\\tex.png"),
    "another machine": ("model/tex.png", "C:\\Users\\me\\Desktop\\tex.png"),
    "end of another machine's path": ("model/skins/tex.png", "/home/me/model/skins/tex.png"),
    "address": ("model/my tex.png", "file:///C:/work/my%20tex.png"),
    "percent": ("model/my tex.png", "my%20tex.png"),
    "runs of blanks": ("model/my  tex.png", "my tex.png"),
    "quoted": ("model/tex.png", '"tex.png"'),
    "accents composed otherwise": ("model/o\u0308.png", "\u00f6.png"),
    "textures": ("model/textures/tex.png", "tex.png"),
    "images": ("model/images/tex.png", "elsewhere/tex.png"),
    "../textures": ("textures/tex.png", "tex.png"),
    "../images": ("Images/tex.png", "tex.png"),
    "gazebo": ("materials/textures/tex.png", "tex.png"),
}


@pytest.mark.parametrize("place", PLACES)
def test_files_are_found_where_they_are(place, tmp_path):
    where, name = PLACES[place]
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).write_bytes(b"here")
    (tmp_path / "model").mkdir(exist_ok=True)
    assert reading.File(tmp_path / "model/a.obj", "require").beside(name) == b"here"


def test_textures_are_as_seen_from_their_materials(tmp_path):
    pictures = {"t.png": BLUE, "skins/t.png": RED, "more/t.png": GREEN}
    for where, color in pictures.items():
        (tmp_path / where).parent.mkdir(exist_ok=True)
        (tmp_path / where).write_bytes(solid(color))
    for folder, material in (("skins", "m"), ("more", "n")):
        (tmp_path / folder / "a.mtl").write_text(f"newmtl {material}\nmap_Kd t.png\n")
    text = f"mtllib skins/a.mtl\nmtllib more/a.mtl\n{V}{VT}usemtl m\nf 1/1 2/2 3/3\nusemtl n\nf 1/1 3/3 4/4\n"
    (tmp_path / "a.obj").write_text(text)
    _, color = mean_color(load(tmp_path / "a.obj", up="y", textures="require"))
    np.testing.assert_allclose(color[:3], np.mean([RED, GREEN], axis=0))


def test_the_named_file_comes_first(tmp_path):
    (tmp_path / "model").mkdir()
    for i, where in enumerate(("textures/tex.png", "model/textures/tex.png", "model/TEX.png", "model/Tex.png", "model/tex.png")):
        (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / where).write_bytes(bytes([i]))
        assert reading.File(tmp_path / "model/a.obj", "require").beside("tex.png") == bytes([2 if i == 3 else i])
    file = reading.File(tmp_path / "model/a.obj", "require")
    for name in ("wood tex.png", "", "..", "a/" * 3000, "x" * 5000, "a\0b", "textures"):
        with pytest.raises(reading.Missing):
            file.beside(name)


def test_materials_with_one_texture_are_one_part(tmp_path):
    (tmp_path / "t.png").write_bytes(TEX)
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd t.png\nnewmtl b\nKd 1 0 0\nmap_Kd t.png\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{V}{VT}usemtl a\nf 1/1 2/2 3/3\nusemtl b\nf 1/1 3/3 4/4\n")
    shape = load(tmp_path / "a.obj", up="y", textures="require")
    assert len(shape.parts) == 1 and len(shape.parts[0].faces) == 2


def test_corners_that_differ_in_one_index_become_vertices(tmp_path):
    (tmp_path / "t.png").write_bytes(TEX)
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd t.png\n")
    # vertices 1 and 3 have one place on the texture in each triangle, and one normal
    text = f"mtllib a.mtl\nusemtl a\n{V}{VT}vt 0.5 0.5\nvn 0 0 1\nvn 0 0.6 0.8\nf 1/1/1 2/2/1 3/3/1\nf 1/5/1 3/3/2 4/4/1\n"
    (tmp_path / "a.obj").write_text(text)
    part = load(tmp_path / "a.obj", up="y", textures="require").parts[0]
    assert len(part.vertices) == 6
    corners = np.column_stack([part.vertices, part.uv, part.normals])[part.faces]
    np.testing.assert_allclose(corners[0], [(0, 0, 0, 0, 0, 0, 0, 1), (2, 0, 0, 1, 0, 0, 0, 1), (2, 2, 0, 1, 1, 0, 0, 1)])
    np.testing.assert_allclose(
        corners[1], [(0, 0, 0, 0.5, 0.5, 0, 0, 1), (2, 2, 0, 1, 1, 0, 0.6, 0.8), (0, 2, 0, 0, 1, 0, 0, 1)], atol=1e-6
    )


def test_clamped_textures_end_where_they_should(tmp_path: Path):
    (tmp_path / "t.png").write_bytes(TEX)
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd -clamp on t.png\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{V}vt -1 -1\nvt 2 -1\nvt 2 2\nvt -1 2\nusemtl m\nf 1/1 2/2 3/3 4/4\n")
    area, color = mean_color(load(tmp_path / "a.obj", up="y", textures="require"))
    assert area == pytest.approx(4)
    np.testing.assert_allclose(color[:3], (127.5, 127.5, 63.75), atol=2)  # each quarter of the texture goes on to its corner
