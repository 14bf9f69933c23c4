"""USD: one feature a row. Run: pytest tests/pipeline/test_usd.py (skipped where `usd-core` is not installed)"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.geometry import GREY, Mesh, display, normalized, triangles
from pipeline.reading import load
from pipeline.sources.files import usual_up

pytest.importorskip("pxr")

START = '#usda 1.0\n(\n upAxis = "Y"\n metersPerUnit = 0.01\n)\n'
PLACES = "point3f[] points = [(0,0,0),(1,0,0),(1,1,0),(0,1,0)]"
FACES = "int[] faceVertexCounts = [4]\n int[] faceVertexIndices = [0,1,2,3]"


def square(inner: str = "", name: str = "m") -> str:
    return f'def Mesh "{name}" {{\n {PLACES}\n {FACES}\n {inner}\n}}\n'


def material(inputs: str, nodes: str = "", name: str = "mat") -> str:
    return (
        f'def Material "{name}" {{\n token outputs:surface.connect = </{name}/s.outputs:surface>\n'
        f' def Shader "s" {{\n uniform token info:id = "UsdPreviewSurface"\n {inputs}\n token outputs:surface\n }}\n {nodes}\n}}\n'
    )


BOUND = "rel material:binding = </mat>"
PICTURE = (
    'def Shader "t" {\n uniform token info:id = "UsdUVTexture"\n asset inputs:file = @wood.png@\n float2 inputs:st.connect = </mat/%s>\n'
    " float3 outputs:rgb\n }\n"
    'def Shader "r" {\n uniform token info:id = "UsdPrimvarReader_float2"\n string inputs:varname = "uv"\n float2 outputs:result\n }\n'
    'def Shader "x" {\n uniform token info:id = "UsdTransform2d"\n float2 inputs:in.connect = </mat/r.outputs:result>\n'
    " float inputs:rotation = 90\n float2 inputs:scale = (2, 3)\n float2 inputs:translation = (5, 0)\n float2 outputs:result\n }\n"
)
MAPPED = (
    'texCoord2f[] primvars:uv = [(0,0),(1,0),(1,1),(0,1)] (interpolation = "faceVarying")\n ' + BOUND,
    "color3f inputs:diffuseColor.connect = </mat/t.outputs:rgb>",
)
LINEAR = tuple(display(np.array([0.5, 0.2, 0])).tolist())
SHAPES = {
    # name: (stage, area, highest corner, colour)
    "plain": (START + square(), 1, (1, 1, 0), (GREY,) * 3),
    "z up": (START.replace('"Y"', '"Z"') + square(), 1, (1, 0, 0), (GREY,) * 3),
    "transform": (
        START + 'def Xform "x" {\n double3 xformOp:translate = (5,0,0)\n float3 xformOp:scale = (2,3,1)\n'
        ' uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:scale"]\n' + square() + "}", 6, (7, 3, 0), (GREY,) * 3,
    ),
    "instances": (
        START + 'class "c" {\n' + square() + '}\ndef "a" (instanceable = true\n inherits = </c>) {}\ndef Xform "b" (instanceable = true\n'
        ' inherits = </c>) {\n double3 xformOp:translate = (5,0,0)\n uniform token[] xformOpOrder = ["xformOp:translate"]\n}',
        2, (6, 1, 0), (GREY,) * 3,
    ),
    "time samples alone": (
        START + square().replace("points = ", "points.timeSamples = { 3: ").replace(")]", ")] }"), 1, (1, 1, 0), (GREY,) * 3,
    ),
    "a hole": (
        START + square("int[] holeIndices = [1]").replace("[4]", "[3, 3]").replace("[0,1,2,3]", "[0,1,2, 0,2,3]"),
        0.5, (1, 1, 0), (GREY,) * 3,
    ),
    "invisible": (START + square() + square('token visibility = "invisible"', "n"), 1, (1, 1, 0), (GREY,) * 3),
    "display colour": (START + square("color3f[] primvars:displayColor = [(0.5, 0.2, 0)]"), 1, (1, 1, 0), LINEAR),
    "material": (START + square(BOUND) + material("color3f inputs:diffuseColor = (0.5, 0.2, 0)"), 1, (1, 1, 0), LINEAR),
    "material by subset": (
        START + square('def GeomSubset "g" {\n uniform token elementType = "face"\n uniform token familyName = "materialBind"\n'
                       " int[] indices = [0]\n " + BOUND + "\n}") + material("color3f inputs:diffuseColor = (0.5, 0.2, 0)"),
        1, (1, 1, 0), LINEAR,
    ),
}  # fmt: skip


def read(folder: Path, text: str, name: str = "a.usda", textures="require") -> Mesh:
    path = folder / name
    path.write_text(text)
    return load(path, up=usual_up(path), textures=textures)


def color(shape: Mesh) -> np.ndarray:
    (part,) = shape.parts
    own = np.ones(4) if part.colors is None else part.colors.mean(0) / 255
    return own * np.asarray(part.base_color)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(tmp_path, name):
    text, area, high, expected = SHAPES[name]
    shape = read(tmp_path, text)
    assert sum(areas.sum() for part in shape.parts for _, areas in triangles(part)) == pytest.approx(area)
    np.testing.assert_allclose(shape.parts[0].vertices.max(0), high, atol=1e-6)
    np.testing.assert_allclose(color(shape)[:3], expected, atol=0.003)
    assert shape.colored == (expected == LINEAR) and bool(shape.warnings) == (name == "invisible")


@pytest.mark.parametrize("package", [False, True])
@pytest.mark.parametrize("node", ["r", "x"])
def test_pictures(tmp_path, package, node):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 30, 10)).save(buffer, "PNG")
    (tmp_path / "wood.png").write_bytes(buffer.getvalue())
    text = START + square(MAPPED[0]) + material(MAPPED[1], PICTURE % f"{node}.outputs:result")
    shape = read(tmp_path, text)
    if package:
        from pxr import Sdf, UsdUtils

        assert UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(tmp_path / "a.usda")), str(tmp_path / "b.usdz"))
        for name in ("a.usda", "wood.png"):
            (tmp_path / name).unlink()
        shape = load(tmp_path / "b.usdz", up="y", textures="require")
    (part,) = shape.parts
    assert tuple(part.texture[0, 0]) == (200, 30, 10, 255) and not shape.warnings
    x, y = part.vertices[:, 0], part.vertices[:, 1]
    np.testing.assert_allclose(part.uv, np.stack([x, y] if node == "r" else [5 - 3 * y, 2 * x], axis=1), atol=1e-6)


def test_a_missing_picture(tmp_path):
    text = START + square(MAPPED[0]) + material(MAPPED[1], PICTURE % "r.outputs:result")
    with pytest.raises(ValueError, match="wood"):
        read(tmp_path, text)
    assert not read(tmp_path, text, textures="grey").colored


@pytest.mark.parametrize("inputs, mode, alpha", [("", "OPAQUE", 1), ("float inputs:opacity = 0.3", "BLEND", 0.3)])
def test_opacity(tmp_path, inputs, mode, alpha):
    (part,) = read(tmp_path, START + square(BOUND) + material("color3f inputs:diffuseColor = (1, 0, 0)\n " + inputs)).parts
    assert part.alpha_mode == mode and part.base_color == pytest.approx((1, 0, 0, alpha))


WRONG = {
    "damaged": (START + "def Mesh {", "cannot be read as USD"),
    "missing layer": (START + 'def "a" (references = @nowhere.usda@) {}', "nowhere.usda"),
    "sphere": (START + 'def Sphere "s" {}', "is a Sphere"),
    "copies of points": (START + 'def PointInstancer "s" {}', "is a PointInstancer"),
    "range": (START + square().replace("[0,1,2,3]", "[0,1,2,9]"), "vertex 9 of 4"),
    "counts": (START + square().replace("[4]", "[5]"), "5 corners"),
    "nothing": (START + 'def Xform "x" {}', "no triangles"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_say_why(tmp_path, name):
    text, word = WRONG[name]
    with pytest.raises(ValueError) as caught:
        normalized(read(tmp_path, text), "unit_sphere")
    assert word in str(caught.value) and type(caught.value).__name__ == "UserError"
