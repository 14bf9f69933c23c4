"""COLLADA and 3MF: one feature a row, with the area, extent or colour that it must give. Run: pytest tests/pipeline/test_collada_3mf.py"""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.formats import package
from pipeline.geometry import GREY, Mesh, normalized, triangles
from pipeline.reading import load
from pipeline.sources.files import usual_up

RED = (1, 0, 0, 1)
NO_COLOR = (GREY, GREY, GREY, 1)


def png(color=(200, 30, 10, 255)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), color).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def read(folder: Path, name: str, data: str | bytes, textures="require") -> Mesh:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return load(path, up=usual_up(path), textures=textures)


def refusal(folder: Path, name: str, data: str | bytes) -> str:
    with pytest.raises(ValueError) as caught:
        normalized(read(folder, name, data), "unit_sphere")
    assert type(caught.value).__name__ in ("UserError", "Missing")
    return str(caught.value)


def area(shape: Mesh) -> float:
    return sum(areas.sum() for part in shape.parts for _, areas in triangles(part))


def bounds(shape: Mesh) -> np.ndarray:
    places = np.concatenate([part.vertices for part in shape.parts])
    return np.array([places.min(0), places.max(0)])


def color(shape: Mesh) -> np.ndarray:
    """Mean colour over all corners, 0..1."""
    values = []
    for p in shape.parts:
        own = np.ones((p.faces.size, 4)) if p.colors is None else p.colors[p.faces].reshape(-1, 4) / 255
        values.append(own * np.asarray(p.base_color) * (1 if p.texture is None else p.texture.reshape(-1, 4).mean(0) / 255))
    return np.concatenate(values).mean(0)


# ------------------------------------------------------------------------------------------------------------ COLLADA

SQUARE = "0 0 0 1 0 0 1 1 0 0 1 0"
TRIANGLES = '<triangles material="m" count="2">{inputs}<p>0 1 2 0 2 3</p></triangles>'
VERTEX = '<input semantic="VERTEX" source="#v" offset="0"/>'
BIND = (
    '<bind_material><technique_common><instance_material symbol="m" target="#mm">{}</instance_material></technique_common></bind_material>'
)
NODE = '<node id="n"><instance_geometry url="#g">' + BIND.format("") + "</instance_geometry></node>"


def source(name: str, numbers: str, params: str = "X Y Z", stride: int = 0, count: int | None = None) -> str:
    names = params.split()
    stride = stride or len(names)
    rows = len(numbers.split()) // stride if count is None else count
    named = "".join('<param type="float"/>' if n == "-" else f'<param name="{n}" type="float"/>' for n in names)
    return (
        f'<source id="{name}"><float_array id="{name}a" count="{len(numbers.split())}">{numbers}</float_array>'
        f'<technique_common><accessor source="#{name}a" count="{rows}" stride="{stride}">{named}</accessor></technique_common></source>'
    )


def effect(shader: str = "<diffuse><color>1 0 0 1</color></diffuse>", kind: str = "phong", params: str = "") -> str:
    return f'<effect id="e"><profile_COMMON>{params}<technique sid="c"><{kind}>{shader}</{kind}></technique></profile_COMMON></effect>'


def geometry(name: str = "g", primitives: str = TRIANGLES.format(inputs=VERTEX), places: str = SQUARE, sources: str = "") -> str:
    position = source(f"{name}p", places)
    return (
        f'<geometry id="{name}" name="{name}"><mesh>{position}{sources}'
        f'<vertices id="v"><input semantic="POSITION" source="#{name}p"/></vertices>{primitives}</mesh></geometry>'
    )


def dae(
    nodes: str = NODE,
    geometries: str = "",
    effects: str = "",
    images: str = "",
    asset: str = "<up_axis>Y_UP</up_axis>",
    more: str = "",
    scene: str = '<scene><instance_visual_scene url="#s"/></scene>',
    start: str = '<?xml version="1.0" encoding="utf-8"?>',
    material: str = '<material id="mm" name="mm"><instance_effect url="#e"/></material>',
) -> str:
    return (
        f'{start}<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1"><asset>{asset}</asset>'
        f"<library_images>{images}</library_images><library_effects>{effects or effect()}</library_effects>"
        f"<library_materials>{material}</library_materials><library_geometries>{geometries or geometry()}</library_geometries>{more}"
        f'<library_visual_scenes><visual_scene id="s">{nodes}</visual_scene></library_visual_scenes>{scene}</COLLADA>'
    )


def primitive(kind: str, body: str, inputs: str = VERTEX) -> str:
    return geometry(primitives=f'<{kind} material="m" count="1">{inputs}{body}</{kind}>', places="1 3 0 0 3 0 0 0 0 3 0 0 3 1 0 1 1 0")


def node(*moves: str, inner: str = "") -> str:
    return f'<node id="n">{"".join(moves)}{inner or NODE.replace("id", "sid", 1)}</node>'


OTHER_OFFSETS = '<input semantic="VERTEX" source="#v" offset="2"/><input semantic="TEXCOORD" source="#unused" offset="0" set="0"/>'
SURFACES = {
    # name: (document, area, highest corner)
    "triangles": (dae(), 1, (1, 1, 0)),
    "polylist, concave": (dae(geometries=primitive("polylist", "<vcount>6</vcount><p>0 1 2 3 4 5</p>")), 5, (3, 3, 0)),
    "polygons, concave": (dae(geometries=primitive("polygons", "<p>0 1 2 3 4 5</p>")), 5, (3, 3, 0)),
    "polygons, a hole": (
        dae(
            geometries=geometry(
                primitives=f'<polygons material="m" count="2">{VERTEX}<p>8 9 10</p><ph><p>0 1 2 3</p><h>4 5 6 7</h></ph></polygons>',
                places="0 0 0 4 0 0 4 4 0 0 4 0 1 1 0 1 2 0 2 2 0 2 1 0 5 0 0 6 0 0 5 2 0",
            )
        ),
        16,
        (6, 4, 0),
    ),
    "polygons, a hole, from behind": (
        dae(
            geometries=geometry(
                primitives=f'<polygons material="m" count="1">{VERTEX}<ph><p>3 2 1 0</p><h>4 5 6 7</h></ph></polygons>',
                places="0 0 0 0 4 0 0 4 4 0 0 4 0 1 1 0 1 2 0 2 2 0 2 1",
            )
        ),
        15,
        (0, 4, 4),
    ),
    "trifans": (dae(geometries=geometry(primitives=f'<trifans material="m">{VERTEX}<p>0 1 2 3</p></trifans>')), 1, (1, 1, 0)),
    "tristrips": (dae(geometries=geometry(primitives=f'<tristrips material="m">{VERTEX}<p>0 1 3 2</p></tristrips>')), 1, (1, 1, 0)),
    "two strips": (
        dae(geometries=geometry(primitives=f'<tristrips material="m">{VERTEX}<p>0 1 3</p><p>1 3 2</p></tristrips>')),
        1,
        (1, 1, 0),
    ),
    "unit of an inch": (dae(asset='<unit meter="0.0254"/><up_axis>Y_UP</up_axis>'), 1, (1, 1, 0)),
    "z up": (dae(asset="<up_axis>Z_UP</up_axis>"), 1, (1, 0, 0)),
    "x up": (dae(asset="<up_axis>X_UP</up_axis>"), 1, (0, 1, 0)),
    "no axis": (dae(asset=""), 1, (1, 1, 0)),
    "no scene": (dae(scene=""), 1, (1, 1, 0)),
    "latin-1, declared": (dae(start='<?xml version="1.0" encoding="iso-8859-1"?><!-- \xe4 -->').encode("latin-1"), 1, (1, 1, 0)),
    "latin-1, claimed utf-8": (dae(start='<?xml version="1.0" encoding="utf-8"?><!-- \xe4 -->').encode("latin-1"), 1, (1, 1, 0)),
    "latin-1, nothing said": (dae(start="<!-- \xe4 -->").encode("latin-1"), 1, (1, 1, 0)),
    "8 bits, claimed utf-16": (dae(start='<?xml version="1.0" encoding="utf-16"?>').encode(), 1, (1, 1, 0)),
    "byte order mark": (b"\xef\xbb\xbf" + dae().encode(), 1, (1, 1, 0)),
    "byte order mark and latin-1": (b"\xef\xbb\xbf" + dae(start="<!-- \xe4 -->").encode("latin-1"), 1, (1, 1, 0)),
    "utf-16": (dae(start='<?xml version="1.0" encoding="utf-16"?>').encode("utf-16"), 1, (1, 1, 0)),
    "doctype": (dae(start="<!DOCTYPE COLLADA>"), 1, (1, 1, 0)),
    "translate, then scale": (dae(node("<translate>5 0 0</translate>", "<scale>2 3 1</scale>")), 6, (7, 3, 0)),
    "matrix": (dae(node("<matrix>2 0 0 1 0 1 0 0 0 0 1 7 0 0 0 1</matrix>")), 2, (3, 1, 7)),
    "rotate": (dae(node("<rotate>0 0 2 90</rotate>")), 1, (0, 1, 0)),
    "skew": (dae(node("<skew>45 0 1 0 1 0 0</skew>")), 1, (2, 1, 0)),
    "lookat": (dae(node("<lookat>0 0 5 0 0 0 0 1 0</lookat>")), 1, (1, 1, 5)),
    "nested": (dae(node("<scale>2 2 2</scale>", inner=node("<translate>1 0 0</translate>"))), 4, (4, 2, 0)),
    "instance_node, twice": (
        dae(
            '<node><instance_node url="#l"/></node><node><translate>0 0 3</translate><instance_node url="#l"/></node>',
            more='<library_nodes><node id="l">' + NODE + "</node></library_nodes>",
        ),
        2,
        (1, 1, 3),
    ),
    "other offsets, a source that is not used": (
        dae(
            geometries=geometry(
                primitives=f'<triangles material="m">{OTHER_OFFSETS}<p>0 9 0 0 9 1 0 9 2 0 9 0 0 9 2 0 9 3</p></triangles>',
                sources=source("unused", "0 0", "S T"),
            )
        ),
        1,
        (1, 1, 0),
    ),
    "accessor with a gap": (
        dae(geometries=geometry().replace(source("gp", SQUARE), source("gp", "9 0 0 0 9 1 0 0 9 1 1 0 9 0 1 0", "- X Y Z"))),
        1,
        (1, 1, 0),
    ),
    "accessor without names": (dae(geometries=geometry().replace(source("gp", SQUARE), source("gp", SQUARE, "- - -"))), 1, (1, 1, 0)),
    "decimal commas": (dae(geometries=geometry(places="0 0 0 0,5 0 0 0,5 0,5 0 0 0,5 0")), 0.25, (0.5, 0.5, 0)),
}


@pytest.mark.parametrize("name", SURFACES)
def test_collada_surfaces(tmp_path, name):
    document, expected, high = SURFACES[name]
    shape = read(tmp_path, "a.dae", document)
    assert area(shape) == pytest.approx(expected, rel=1e-6) and shape.colored
    np.testing.assert_allclose(bounds(shape)[1], high, atol=1e-6)
    np.testing.assert_allclose(color(shape), RED)


def texture(params: str = "", name: str = "im", coordinates: str = "UV", extra: str = "") -> str:
    return effect(f'<diffuse><texture texture="{name}" texcoord="{coordinates}">{extra}</texture></diffuse>', params=params)


SAMPLER = (
    '<newparam sid="su"><surface type="2D"><init_from>im</init_from></surface></newparam>'
    '<newparam sid="sa"><sampler2D><source>su</source></sampler2D></newparam>'
)
SAMPLER15 = '<newparam sid="sa"><sampler2D><instance_image url="#im"/></sampler2D></newparam>'
PICTURE = '<image id="im"><init_from>wood%201.png</init_from></image>'
UV = source("t0", "0 0 1 0 1 1 0 1", "S T") + source("t1", "0 0 2 0 2 2 0 2", "S T")
UV_INPUTS = (
    VERTEX + '<input semantic="TEXCOORD" source="#t0" offset="0" set="0"/><input semantic="TEXCOORD" source="#t1" offset="0" set="1"/>'
)
MAPPED = geometry(primitives=TRIANGLES.format(inputs=UV_INPUTS), sources=UV)


def painted(effects: str, images: str = PICTURE, bind: str = "", geometries: str = MAPPED) -> str:
    return dae(NODE.replace(BIND.format(""), BIND.format(bind)), geometries, effects, images)


BOUND = '<bind_vertex_input semantic="UV" input_semantic="TEXCOORD" input_set="1"/>'
PICTURES = {
    "sampler and surface": (painted(texture(SAMPLER, "sa")), 1),
    "sampler of 1.5": (painted(texture(SAMPLER15, "sa"), '<image id="im"><init_from><ref>wood%201.png</ref></init_from></image>'), 1),
    "image named directly": (painted(texture()), 1),
    "file scheme": (painted(texture(), PICTURE.replace("wood", "file:///C:/somewhere/wood")), 1),
    "backslashes": (painted(texture(), PICTURE.replace("wood", ".\\wood")), 1),
    "second set": (painted(texture(), bind=BOUND), 2),
    "set that is not there": (painted(texture(), bind=BOUND.replace('"1"', '"7"')), 1),
    "repeats": (painted(texture(extra='<extra><technique profile="MAYA"><repeatU>3</repeatU><repeatV>3</repeatV></technique></extra>')), 3),
    "emission alone": (painted(texture().replace("diffuse>", "emission>")), 1),
}


@pytest.mark.parametrize("name", PICTURES)
def test_collada_pictures(tmp_path, name):
    document, reach = PICTURES[name]
    (tmp_path / "wood 1.png").write_bytes(png())
    shape = read(tmp_path, "a.dae", document)
    (part,) = shape.parts
    assert shape.colored and tuple(part.texture[0, 0]) == (200, 30, 10, 255) and not shape.warnings
    np.testing.assert_allclose(part.uv, part.vertices[:, :2] * reach)


@pytest.mark.parametrize("kind", ["collada", "3mf"])
def test_pictures_that_do_not_repeat(tmp_path, kind):
    """Coordinates reach to 2; what lies beyond the picture's edge shows the edge."""
    (tmp_path / "wood 1.png").write_bytes(png())
    if kind == "collada":
        sampler = SAMPLER.replace("</source>", "</source><wrap_s>CLAMP</wrap_s><wrap_t>CLAMP</wrap_t>")
        shape = read(tmp_path, "a.dae", painted(texture(sampler, "sa"), bind=BOUND))
    else:
        paper = PAPER.replace("contenttype", 'tilestyleu="clamp" tilestylev="clamp" contenttype').replace('"1"', '"2"')
        faces = each('pid="7" p1="0" p2="1" p3="2"', 'pid="7" p1="0" p2="2" p3="3"')
        shape = read(tmp_path, "a.3mf", threemf(model(paper + thing(inner=faces)), {"3D/Textures/a.png": png()}))
    (part,) = shape.parts
    assert part.uv.min() == pytest.approx(1 / 8) and part.uv.max() == pytest.approx(7 / 8) and len(part.faces) > 2
    assert area(shape) == pytest.approx(1) and not shape.warnings


def test_normals_along_the_surface_are_left_out(tmp_path):
    inputs = VERTEX + '<input semantic="NORMAL" source="#nn" offset="0"/>'
    one = geometry(primitives=TRIANGLES.format(inputs=inputs), sources=source("nn", "1 0 0 " * 4))
    shape = read(tmp_path, "a.dae", dae(geometries=one))
    assert shape.parts[0].normals is None and "normals" in shape.warnings[0]


def test_collada_missing_picture(tmp_path):
    document = painted(texture(), PICTURE.replace("wood", "nowhere"))
    assert "nowhere" in refusal(tmp_path, "a.dae", document)
    shape = read(tmp_path, "a.dae", document, textures="grey")
    assert not shape.colored and area(shape) == pytest.approx(1) and "nowhere" in shape.warnings[0]
    (tmp_path / "wood 1.png").write_bytes(b"no picture")
    for textures in ("require", "grey"):
        with pytest.raises(ValueError, match="not an image"):
            read(tmp_path, "a.dae", painted(texture()), textures=textures)


@pytest.mark.parametrize("manifest", [True, False])
def test_archive_of_collada(tmp_path, manifest):
    files = {"x/a.dae": painted(texture()).replace("Y_UP", "X_UP"), "x/images/wood 1.png": png()}
    if manifest:
        files = {"b.dae": "<nothing/>", "manifest.xml": "<dae_root>./x/a.dae#s</dae_root>"} | files
    shape = read(tmp_path, "a.zae", zipped(files))
    assert shape.parts[0].texture is not None
    np.testing.assert_allclose(bounds(shape), [[-1, 0, 0], [0, 1, 0]], atol=1e-6)


def clear(transparent: str = "", transparency: str = "") -> str:
    factor = f"<transparency><float>{transparency}</float></transparency>" if transparency else ""
    return dae(effects=effect("<diffuse><color>1 0 0 1</color></diffuse>" + transparent + factor))


def tint(mode: str, color: str) -> str:
    return f'<transparent opaque="{mode}"><color>{color}</color></transparent>'.replace(' opaque=""', "")


OPACITY = {
    "nothing said": (clear(), 1),
    "A_ONE": (clear(tint("A_ONE", "1 1 1 1"), "0.3"), 0.3),
    "A_ONE, colour": (clear(tint("A_ONE", "1 1 1 0.5"), "0.5"), 0.25),
    "A_ONE, black": (clear(tint("A_ONE", "0 0 0 1"), "1"), 1),
    "A_ONE is what nothing means": (clear(tint("", "1 1 1 0.4")), 0.4),
    "transparency alone": (clear("", "0.3"), 0.3),
    "0 that means opaque": (clear(tint("A_ONE", "1 1 1 1"), "0"), 1),
    "RGB_ZERO, black": (clear(tint("RGB_ZERO", "0 0 0 1"), "1"), 1),
    "RGB_ZERO, grey": (clear(tint("RGB_ZERO", "0.5 0.5 0.5 1"), "1"), 0.5),
    "RGB_ZERO, white times 0": (clear(tint("RGB_ZERO", "1 1 1 1"), "0"), 1),
    "RGB_ZERO, white": (clear(tint("RGB_ZERO", "1 1 1 1"), "1"), 1),  # all of the file would be invisible
    "RGB_ONE": (clear(tint("RGB_ONE", "0.2 0.2 0.2 1")), 0.2),
    "A_ZERO": (clear(tint("A_ZERO", "1 1 1 0.2")), 0.8),
    "a parameter": (
        dae(
            effects=effect(
                "<diffuse><color>1 0 0 1</color></diffuse><transparency><param ref='o'/></transparency>",
                params='<newparam sid="o"><float>0.6</float></newparam>',
            )
        ),
        0.6,
    ),
}


@pytest.mark.parametrize("name", OPACITY)
def test_collada_transparency(tmp_path, name):
    document, expected = OPACITY[name]
    (part,) = read(tmp_path, "a.dae", document).parts
    np.testing.assert_allclose(part.base_color, (1, 0, 0, expected), atol=1e-6)
    assert part.alpha_mode == ("BLEND" if expected < 1 else "OPAQUE")


@pytest.mark.parametrize("mode, color, expected", [("A_ONE", (9, 9, 9, 51), 51), ("RGB_ZERO", (51, 51, 51, 255), 204)])
def test_collada_transparency_of_a_picture(tmp_path, mode, color, expected):
    (tmp_path / "wood 1.png").write_bytes(png())
    (tmp_path / "leaf.png").write_bytes(png(color))
    transparent = f'<transparent opaque="{mode}"><texture texture="leaf" texcoord="UV"/></transparent>'
    images = PICTURE + '<image id="leaf"><init_from>leaf.png</init_from></image>'
    (part,) = read(tmp_path, "a.dae", painted(texture().replace("</diffuse>", "</diffuse>" + transparent), images)).parts
    assert part.alpha_mode == "BLEND" and tuple(part.texture[0, 0]) == (200, 30, 10, expected)


def colored_by(shader: str) -> str:
    return dae(effects=effect(shader))


RGB_SOURCE = source("c", "0 1 0 0 1 0 0 1 0 0 1 0", "R G B")
VERTEX_COLORS = geometry(
    primitives=TRIANGLES.format(inputs=VERTEX + '<input semantic="COLOR" source="#c" offset="0"/>'), sources=RGB_SOURCE
)
DIFFUSE = "<diffuse><color>{}</color></diffuse>"
MATERIALS = {
    # name: (document, colour, a word of the warning)
    "constant": (dae(effects=effect("<emission><color>0 0 1 1</color></emission>", "constant")), (0, 0, 1, 1), ""),
    "blinn": (dae(effects=effect(kind="blinn")), RED, ""),
    "parameter": (
        dae(effects=effect('<diffuse><param ref="k"/></diffuse>', params='<newparam sid="k"><float4>0 0 1 1</float4></newparam>')),
        (0, 0, 1, 1),
        "",
    ),
    "three numbers": (colored_by("<diffuse><color>1 0 0</color></diffuse>"), RED, ""),
    "bad transparency": (
        colored_by("<diffuse><color>1 0 0 1</color></diffuse><transparency><float>none</float></transparency>"),
        RED,
        "the transparency of a material is left out",
    ),
    "bad shininess": (colored_by("<diffuse><color>1 0 0 1</color></diffuse><shininess><float>-nan(ind)</float></shininess>"), RED, ""),
    "decimal commas": (colored_by("<diffuse><color>0,5 0,5 0,5 1,0</color></diffuse>"), (0.5, 0.5, 0.5, 1), ""),
    "commas between": (colored_by("<diffuse><color>1,0,0,1</color></diffuse>"), NO_COLOR, "'m' is left out"),
    "a word": (colored_by("<diffuse><color>red</color></diffuse>"), NO_COLOR, "'m' is left out"),
    "no effect": (dae(effects=effect().replace('id="e"', 'id="f"')), NO_COLOR, "'m' is left out"),
    "no material": (dae(material=""), NO_COLOR, "'m' is left out"),
    "empty image": (painted(texture(), '<image id="im"><init_from></init_from></image>'), NO_COLOR, "names no file"),
    "picture that nothing names": (painted(texture(name="q")), NO_COLOR, "named nowhere"),
    "nothing bound, one material": (dae(NODE.replace(BIND.format(""), "")), RED, ""),
    "vertices": (dae(NODE.replace(BIND.format(""), ""), VERTEX_COLORS, material=""), (0, 1, 0, 1), ""),
    "vertices times material": (dae(geometries=VERTEX_COLORS, effects=effect(DIFFUSE.format("1 0.5 1 1"))), (0, 0.5, 0, 1), ""),
    "vertices, black material": (dae(geometries=VERTEX_COLORS, effects=effect(DIFFUSE.format("0 0 0 1"))), (0, 1, 0, 1), ""),
}


@pytest.mark.parametrize("name", MATERIALS)
def test_collada_materials(tmp_path, name):
    document, expected, warning = MATERIALS[name]
    shape = read(tmp_path, "a.dae", document)
    assert area(shape) == pytest.approx(1)
    np.testing.assert_allclose(color(shape), expected, atol=0.003)
    assert warning in " ".join(shape.warnings) and bool(warning) == bool(shape.warnings)


def skin(weights: str = "1 0.5", inverse: str = "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", v: str = "0 0 0 0 0 0 0 0", bind: str = "") -> str:
    names = '<source id="jn"><Name_array id="jna" count="1">j</Name_array></source>'
    return (
        f'<library_controllers><controller id="c"><skin source="#g">{bind}{names}'
        f"{source('ib', inverse, 'M', 16)}{source('w', weights, 'W')}"
        '<joints><input semantic="JOINT" source="#jn"/><input semantic="INV_BIND_MATRIX" source="#ib"/></joints>'
        '<vertex_weights count="4"><input semantic="JOINT" source="#jn" offset="0"/><input semantic="WEIGHT" source="#w" offset="1"/>'
        f"<vcount>1 1 1 1</vcount><v>{v}</v></vertex_weights></skin></controller></library_controllers>"
    )


CONTROLLED = '<instance_controller url="#c"><skeleton>#root</skeleton>' + BIND.format("") + "</instance_controller>"
JOINT = '<node id="root"><translate>0 0 1</translate><node sid="j"><scale>2 2 2</scale></node></node>'
HALF = "0.5 0 0 0 0 0.5 0 0 0 0 0.5 0 0 0 0 1"
SKINS = {
    "as the joints stand": (skin(), JOINT, (2, 2, 1)),
    "in its bind pose": (skin(inverse=HALF), JOINT, (1, 1, 1)),
    "bind shape": (skin(bind="<bind_shape_matrix>3 0 0 0 0 3 0 0 0 0 3 0 0 0 0 1</bind_shape_matrix>"), JOINT, (6, 6, 1)),
    "weights that do not sum to 1": (skin(v="0 1 0 1 0 1 0 1"), JOINT, (2, 2, 1)),
    "joint -1": (skin(v="-1 0 -1 0 -1 0 -1 0"), JOINT, (1, 1, 0)),
    "the node's own place does not count": (skin(), JOINT + "{moved}", (2, 2, 1)),
    "no joint": (skin(), '<node id="root"/>', (1, 1, 0)),
    "weights that are not there": (skin(v="0 9 0 9 0 9 0 9"), JOINT, (1, 1, 0)),
}


@pytest.mark.parametrize("name", SKINS)
def test_collada_skins(tmp_path, name):
    controller, joints, high = SKINS[name]
    moved = "<translate>50 0 0</translate>" if "{moved}" in joints else ""
    shape = read(tmp_path, "a.dae", dae(joints.replace("{moved}", "") + f"<node>{moved}{CONTROLLED}</node>", more=controller))
    np.testing.assert_allclose(bounds(shape)[1], high, atol=1e-6)
    np.testing.assert_allclose(color(shape), RED)
    assert bool(shape.warnings) == ("no" in name.split()[0] or "not there" in name)


@pytest.mark.parametrize("method, high", [("NORMALIZED", 2), ("RELATIVE", 2.5)])
def test_collada_morph(tmp_path, method, high):
    both = geometry() + geometry("h", places="0 0 0 3 0 0 3 3 0 0 3 0").replace('"v"', '"hv"').replace("#v", "#hv")
    names = '<source id="mt"><IDREF_array id="mta" count="1">h</IDREF_array></source>'
    morph = (
        f'<library_controllers><controller id="c"><morph source="#g" method="{method}">{names}{source("mw", "0.5", "W")}'
        '<targets><input semantic="MORPH_TARGET" source="#mt"/><input semantic="MORPH_WEIGHT" source="#mw"/></targets></morph></controller>'
        "</library_controllers>"
    )
    shape = read(tmp_path, "a.dae", dae(f"<node>{CONTROLLED.replace('<skeleton>#root</skeleton>', '')}</node>", both, more=morph))
    np.testing.assert_allclose(bounds(shape)[1], (high, high, 0))


def test_collada_normals_follow_their_node(tmp_path):
    inputs = VERTEX + '<input semantic="NORMAL" source="#nn" offset="1"/>'
    one = geometry(
        primitives=f'<triangles material="m">{inputs}<p>0 0 1 0 2 0 0 0 2 0 3 0</p></triangles>', sources=source("nn", "0 0 2", "X Y Z")
    )
    part = read(tmp_path, "a.dae", dae(node("<rotate>1 0 0 90</rotate>"), one)).parts[0]
    np.testing.assert_allclose(part.normals, np.tile([0, -1, 0], (4, 1)), atol=1e-6)
    assert len(part.vertices) == 4


def test_collada_lines_are_left_out(tmp_path):
    lines = f'<lines material="m" count="1">{VERTEX}<p>0 1</p></lines>'
    shape = read(tmp_path, "a.dae", dae(geometries=geometry(primitives=lines + TRIANGLES.format(inputs=VERTEX))))
    assert area(shape) == pytest.approx(1) and shape.warnings == ("lines are left out",)
    assert "no triangles" in refusal(tmp_path, "a.dae", dae(geometries=geometry(primitives=lines)))


LAUGHS = '<?xml version="1.0"?><!DOCTYPE C [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
ENDLESS = (
    "".join(f'<node id="x{i}"><instance_node url="#x{i + 1}"/><instance_node url="#x{i + 1}"/></node>' for i in range(40))
    + '<node id="x40"/>'
)
WRONG = {
    "entities": (dae(start=LAUGHS), "<!ENTITY"),
    "entities in utf-16": (dae(start=LAUGHS).encode("utf-16"), "<!ENTITY"),
    "external entity": (dae(start='<!DOCTYPE C [<!ENTITY x SYSTEM "file:///etc/passwd">]>'), "<!ENTITY"),
    "cut": (dae()[:-300], "cut short"),
    "nested without end": (dae(f"{'<node>' * 3000}{'</node>' * 3000}"), "XML"),
    "no collada": ("<html/>", "COLLADA"),
    "cut indices": (dae().replace("0 1 2 0 2 3", "0 1 2 0 2"), "do not make triangles"),
    "cut places": (dae(geometries=geometry().replace(source("gp", SQUARE), source("gp", SQUARE, count=5))), "declares 5 rows"),
    "range": (dae().replace("0 1 2 0 2 3", "0 1 2 0 2 4"), "vertex 4 of 4"),
    "negative": (dae().replace("0 1 2 0 2 3", "0 1 2 0 2 -1"), "vertex -1 of 4"),
    "fractions": (dae().replace("0 1 2 0 2 3", "0 1 2 0 2 0.5"), "whole numbers"),
    "word": (dae().replace("0 1 2 0 2 3", "0 1 2 0 2 x"), "expected numbers"),
    "offset": (dae().replace('offset="0"', 'offset="first"'), "offset='first'"),
    "counts": (dae(geometries=primitive("polylist", "<vcount>7</vcount><p>0 1 2 3 4 5</p>")), "corners"),
    "another file": (dae(NODE.replace("#g", "other.dae#g")), "another file"),
    "no geometry": (dae(NODE.replace("#g", "#q")), "'#q' is not in the file"),
    "boundary representation": (dae(geometries='<geometry id="g"><brep/></geometry>'), "brep"),
    "node in itself": (dae('<node id="n"><instance_node url="#n"/></node>'), "contains itself"),
    "copies of copies": (dae('<node><instance_node url="#x0"/></node>', more=f"<library_nodes>{ENDLESS}</library_nodes>"), "more than"),
    "no nodes": (dae("<node/>"), "no triangles"),
    "matrix": (dae(node("<matrix>1 2 3</matrix>")), "expected 16"),
    "infinite": (dae(geometries=geometry(places="0 0 0 1 0 0 1 1 0 0 inf 0")), "not finite"),
}


# ---------------------------------------------------------------------------------------------------------------- 3MF

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
SPACES = (
    f'xmlns="{CORE}" xmlns:m="http://schemas.microsoft.com/3dmanufacturing/material/2015/02" '
    'xmlns:p="http://schemas.microsoft.com/3dmanufacturing/production/2015/06" '
    'xmlns:b="http://schemas.microsoft.com/3dmanufacturing/beamlattice/2017/02" '
)
RELS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Target="/3D/root.model" Id="r" '
    'Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>'
)
FLAT = '<triangle v1="0" v2="1" v3="2"{}/><triangle v1="0" v2="2" v3="3"{}/>'


def mesh(faces: str = FLAT.format("", ""), size: float = 1) -> str:
    rows = "".join(f'<vertex x="{x * size}" y="{y * size}" z="0"/>' for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)))
    return f"<mesh><vertices>{rows}</vertices><triangles>{faces}</triangles></mesh>"


def thing(identity: str = "1", inner: str = "", attributes: str = "") -> str:
    return f'<object id="{identity}" {attributes}>{inner or mesh()}</object>'


def model(resources: str = "", build: str = '<item objectid="1"/>', attributes: str = "") -> str:
    inner = f"<resources>{resources or thing()}</resources><build>{build}</build>"
    return f'<?xml version="1.0"?><model unit="millimeter" {SPACES} {attributes}>{inner}</model>'


def threemf(root: str, more: dict[str, str | bytes] | None = None) -> bytes:
    return zipped({"_rels/.rels": RELS, "3D/root.model": root, **(more or {})})


def component(identity: str, transform: str = "", path: str = "") -> str:
    attributes = (f' transform="{transform}"' if transform else "") + (f' p:path="{path}"' if path else "")
    return f'<component objectid="{identity}"{attributes}/>'


def group(*components: str, identity: str = "2") -> str:
    return f'<object id="{identity}"><components>{"".join(components)}</components></object>'


BASE = '<basematerials id="5"><base name="a" displaycolor="#FF0000"/><base name="b" displaycolor="#0000FF80"/></basematerials>'
GROUP = '<m:colorgroup id="6"><m:color color="#FF0000FF"/><m:color color="#00FF00FF"/><m:color color="#0000FFFF"/></m:colorgroup>'
PAPER = (
    '<m:texture2d id="8" path="/3D/Textures/a.png" contenttype="image/png"/><m:texture2dgroup id="7" texid="8">'
    '<m:tex2coord u="0" v="0"/><m:tex2coord u="1" v="0"/><m:tex2coord u="1" v="1"/><m:tex2coord u="0" v="1"/></m:texture2dgroup>'
)
MIX = '<m:compositematerials id="9" matid="5" matindices="0 1"><m:composite values="1 3"/></m:compositematerials>'
AWAY = "1 0 0 0 1 0 0 0 1 10 0 0"
TWO_FILES = {"3D/a.model": model(build=""), "3D/b.model": model(thing(inner=mesh(size=3)), build="")}

SECOND_ITEM = '<item objectid="2"/>'
BUILT = {
    # name: (archive, area, extent in the file's x)
    "plain": (threemf(model()), 1, 1),
    "another name": (zipped({"3D/3dmodel.model": model()}), 1, 1),
    "names in another case": (threemf(model(build='<item objectid="1" p:path="/3D/A.MODEL"/>'), TWO_FILES), 1, 1),
    "item with a transform": (threemf(model(build='<item objectid="1" transform="2 0 0 0 3 0 0 0 1 5 0 0"/>')), 6, 7),
    "quarter turn": (threemf(model(build='<item objectid="1" transform="0 1 0 -1 0 0 0 0 1 4 0 0"/>')), 1, 4),
    "two items": (threemf(model(build=f'<item objectid="1"/><item objectid="1" transform="{AWAY}"/>')), 2, 11),
    "components": (threemf(model(thing() + group(component("1"), component("1", AWAY)), '<item objectid="2"/>')), 2, 11),
    "item in another file": (threemf(model(build='<item objectid="1" p:path="/3D/b.model"/>'), TWO_FILES), 9, 3),
    "equal ids in two files": (
        threemf(
            model(group(component("1", "", "/3D/a.model"), component("1", AWAY, "/3D/b.model")), SECOND_ITEM, 'requiredextensions="p"'),
            TWO_FILES,
        ),
        10,
        13,
    ),
    "nothing is built": (threemf(model(thing() + group(component("1", AWAY)), "")), 1, 11),
    "not printable": (threemf(model(build=f'<item objectid="1"/><item objectid="1" printable="0" transform="{AWAY}"/>')), 1, 1),
    "support": (threemf(model(thing() + thing("2", mesh(size=9), 'type="support"'), '<item objectid="1"/><item objectid="2"/>')), 1, 1),
    "surface": (threemf(model(thing(attributes='type="surface"'))), 1, 1),
    "required and read": (threemf(model(attributes='requiredextensions="m p"')), 1, 1),
}


@pytest.mark.parametrize("name", BUILT)
def test_3mf_builds(tmp_path, name):
    data, expected, reach = BUILT[name]
    shape = read(tmp_path, "a.3mf", data)
    assert area(shape) == pytest.approx(expected) and bounds(shape)[1, 0] == pytest.approx(reach) and not shape.colored
    np.testing.assert_allclose(color(shape), NO_COLOR)
    assert bool(shape.warnings) == (name in ("nothing is built", "not printable", "support"))


def each(*attributes: str) -> str:
    return mesh(FLAT.format(*(f" {a}" for a in attributes)))


def settings(name: str, *inner: str, identity: str = "1") -> dict[str, str | bytes]:
    return {f"Metadata/{name}": f'<?xml version="1.0"?><config><object id="{identity}">{"".join(inner)}</object></config>'}


def volume(first: int, last: int, kind: str, key: str = "volume_type") -> str:
    return f'<volume firstid="{first}" lastid="{last}"><metadata type="volume" key="{key}" value="{kind}"/></volume>'


def pieces(*kinds: str) -> dict[str, str | bytes]:
    parts = "".join(f'<part id="{i}" subtype="{kind}"><metadata key="name" value="x"/></part>' for i, kind in enumerate(kinds, 1))
    return settings("model_settings.config", parts, identity="3")


PRUSA, BODY = "Slic3r_PE_model.config", volume(0, 0, "ModelPart")
PAIR = model(
    thing() + thing("2", mesh(size=3)) + group(component("1"), component("2", AWAY), component("2"), identity="3"), '<item objectid="3"/>'
)
CURA = '<metadatagroup><metadata name="cura:{}" type="xs:boolean">{}</metadata></metadatagroup>'
FAR_FILES = {"3D/a.model": model(build=""), "3D/b.model": model(thing("2", mesh(size=3)), build="")}
FAR_PAIR = model(group(component("1", "", "/3D/a.model"), component("2", AWAY, "/3D/b.model"), identity="3"), '<item objectid="3"/>')
MANY = mesh(FLAT.format("", "") * 600 + FLAT.format(' paint_color="4"', ""))
FILAMENTS: dict[str, str | bytes] = {"Metadata/project_settings.config": '{"filament_colour": ["#FF0000", "#00FF00"]}'}
SLICED: dict[str, tuple[bytes, float, str]] = {
    # name: (archive, area, the only warning)
    "model parts": (threemf(model(), settings(PRUSA, volume(0, 1, "ModelPart"))), 1, ""),
    **{
        f"a {kind}": (threemf(model(), settings(PRUSA, BODY, volume(1, 1, kind))), 0.5, f"1 triangles that the slicer has as {kind}")
        for kind in ("ParameterModifier", "NegativeVolume", "SupportBlocker", "SupportEnforcer")
    },
    "modifier of an old version": (threemf(model(), settings(PRUSA, BODY, volume(1, 1, "1", "modifier"))), 0.5, "1 triangles"),
    "no modifier of an old version": (threemf(model(), settings(PRUSA, BODY, volume(1, 1, "0", "modifier"))), 1, ""),
    "beyond the last triangle": (threemf(model(), settings(PRUSA, BODY, volume(1, 99, "NegativeVolume"))), 0.5, "1 triangles"),
    "another object's": (threemf(model(), settings(PRUSA, volume(0, 1, "NegativeVolume"), identity="7")), 1, ""),
    "normal parts": (threemf(PAIR, pieces("normal_part", "normal_part")), 19, ""),
    **{
        f"a {kind}": (threemf(PAIR, pieces("normal_part", kind)), 1, f"2 components that the slicer has as {kind}")
        for kind in ("modifier_part", "negative_part", "support_blocker", "support_enforcer")
    },
    "a part in another file": (threemf(FAR_PAIR, FAR_FILES | pieces("normal_part", "modifier_part")), 1, "1 components"),
    "painted late": (threemf(model(thing(inner=MANY))), 601, "painted"),
    "painted, but nothing": (threemf(model(thing(inner=mesh(FLAT.format(' paint_color=""', ""))))), 1, ""),
    "painted on a modifier": (
        threemf(model(thing(inner=each("", 'mmu_segmentation="4"'))), settings(PRUSA, BODY, volume(1, 1, "NegativeVolume"))),
        0.5,
        "1 triangles",
    ),
    **{
        f"cura {kind} {said}": (
            threemf(model(thing() + thing("2", CURA.format(kind, said) + mesh(size=3)), '<item objectid="1"/><item objectid="2"/>')),
            reach,
            warning,
        )
        for kind, said, reach, warning in (
            ("support_mesh", "True", 1, "support_mesh"),
            ("infill_mesh", "true", 1, "infill_mesh"),
            ("support_mesh", "False", 10, ""),
            ("drop_to_buildplate", "True", 10, ""),
        )
    },
    "filaments": (threemf(model(), FILAMENTS), 1, "filaments"),
    "filaments of PrusaSlicer": (
        threemf(model(), {"Metadata/Slic3r_PE.config": "; a = 1\n; extruder_colour = #FF8000;#00FF00\n"}),
        1,
        "filaments",
    ),
    "filaments without colours": (threemf(model(), {"Metadata/Slic3r_PE.config": '; extruder_colour = ""\n; b = #FF8000\n'}), 1, ""),
}


@pytest.mark.parametrize("name", SLICED)
def test_3mf_of_slicers(tmp_path, name):
    data, expected, warning = SLICED[name]
    shape = read(tmp_path, "a.3mf", data)
    assert area(shape) == pytest.approx(expected)
    # Copies in one place are warned about by whoever looks for them.
    said = [text for text in shape.warnings if "in one place" not in text]
    assert len(said) == bool(warning) and warning in "".join(said)


FIRST, SECOND = 'pid="6" p1="0"', 'pid="6" p1="2"'
PAINTED = {
    # name: (resources, colour, parts)
    "of the object": (BASE + thing(attributes='pid="5" pindex="0"'), RED, 1),
    "of the object, clear": (BASE + thing(attributes='pid="5" pindex="1"'), (0, 0, 1, 128 / 255), 1),
    "of each triangle": (GROUP + thing(inner=each(FIRST, SECOND)), (0.5, 0, 0.5, 1), 1),
    "of each corner": (GROUP + thing(inner=each(*['pid="6" p1="0" p2="1" p3="2"'] * 2)), (1 / 3, 1 / 3, 1 / 3, 1), 1),
    "object's group, triangle's entry": (GROUP + thing(inner=each('p1="1"', 'p1="1"'), attributes='pid="6" pindex="0"'), (0, 1, 0, 1), 1),
    "some by the object": (GROUP + thing(inner=each(SECOND, ""), attributes='pid="6" pindex="0"'), (0.5, 0, 0.5, 1), 1),
    "some without": (GROUP + thing(inner=each(FIRST, "")), ((1 + GREY) / 2, GREY / 2, GREY / 2, 1), 1),
    "composite": (BASE + MIX + thing(attributes='pid="9" pindex="0"'), (64 / 255, 0, 191 / 255, 160 / 255), 1),
    "picture": (
        PAPER + thing(inner=each('pid="7" p1="0" p2="1" p3="2"', 'pid="7" p1="0" p2="2" p3="3"')),
        (200 / 255, 30 / 255, 10 / 255, 1),
        1,
    ),
    "layers": (
        BASE
        + GROUP
        + '<m:multiproperties id="3" pids="5 6"><m:multi pindices="0 2"/></m:multiproperties>'
        + thing(attributes='pid="3" pindex="0"'),
        (0, 0, 1, 1),
        1,
    ),
    "layers, multiplied": (
        '<m:colorgroup id="4"><m:color color="#FFFF00"/></m:colorgroup>'
        + GROUP
        + '<m:multiproperties id="3" pids="4 6" blendmethods="multiply"><m:multi pindices="0 1"/></m:multiproperties>'
        + thing(attributes='pid="3" pindex="0"'),
        (0, 1, 0, 1),
        1,
    ),
    "wholly clear": (BASE.replace("#FF0000", "#FF000000").replace("FF80", "FF00") + thing(attributes='pid="5" pindex="0"'), RED, 1),
    "no such entry": (BASE + thing(attributes='pid="5" pindex="7"'), NO_COLOR, 1),
    "no such resource": (thing(attributes='pid="5" pindex="0"'), NO_COLOR, 1),
    "no colour": ('<basematerials id="5"><base displaycolor="red"/></basematerials>' + thing(attributes='pid="5" pindex="0"'), NO_COLOR, 1),
}


@pytest.mark.parametrize("name", PAINTED)
def test_3mf_colours(tmp_path, name):
    resources, expected, parts = PAINTED[name]
    shape = read(tmp_path, "a.3mf", threemf(model(resources), {"3D/Textures/a.png": png()}))
    assert area(shape) == pytest.approx(1) and len(shape.parts) == parts
    np.testing.assert_allclose(color(shape), expected, atol=0.005)
    assert bool(shape.warnings) == (name.startswith("no ") or name == "wholly clear")
    assert shape.colored != (name.startswith("no "))


def test_3mf_picture_lies_as_its_coordinates_say(tmp_path):
    shape = read(tmp_path, "a.3mf", threemf(model(PAINTED["picture"][0]), {"3D/Textures/a.png": png()}))
    (part,) = shape.parts
    np.testing.assert_allclose(part.uv, np.stack([part.vertices[:, 0], -part.vertices[:, 2]], axis=1))
    missing = threemf(model(PAINTED["picture"][0]))
    assert "a.png" in refusal(tmp_path, "a.3mf", missing)
    assert not read(tmp_path, "a.3mf", missing, textures="grey").colored


def required(prefix: str, address: str) -> bytes:
    return threemf(model(attributes=f'xmlns:{prefix}="{address}" requiredextensions="{prefix}"'))


LOOP = group(component("3")) + group(component("2"), identity="3")
DOUBLING = thing() + "".join(group(component(str(i)), component(str(i)), identity=str(i + 1)) for i in range(1, 40))
BROKEN = {
    "beams": (threemf(model(attributes='requiredextensions="b"')), "beam lattices"),
    "slices": (required("s", "http://schemas.microsoft.com/3dmanufacturing/slice/2015/07"), "slices"),
    "volumes": (required("v", "http://schemas.3mf.io/3dmanufacturing/volumetric/2022/01"), "volumetric"),
    "secret": (required("sc", "http://schemas.microsoft.com/3dmanufacturing/securecontent/2019/04"), "encrypted"),
    "made up": (required("zz", "http://example.org/zz"), "example.org/zz"),
    "range": (threemf(model(thing(inner=mesh('<triangle v1="0" v2="1" v3="4"/>')))), "vertex 4 of 4"),
    "no number": (threemf(model(thing(inner=mesh('<triangle v1="0" v2="1" v3="x"/>')))), "expected 3 numbers"),
    "lacks": (threemf(model(thing(inner=mesh('<triangle v1="0" v2="1"/>')))), "expected 3 numbers"),
    "no object": (threemf(model(build='<item objectid="4"/>')), "'4' is not in"),
    "no file": (threemf(model(build='<item objectid="1" p:path="/3D/q.model"/>')), "lacks '/3D/q.model'"),
    "loop": (threemf(model(LOOP, '<item objectid="2"/>')), "contains itself"),
    "copies of copies": (threemf(model(DOUBLING, '<item objectid="40"/>')), "expands to more than"),
    "support only": (threemf(model(thing(attributes='type="support"'))), "'support'"),
    "nothing to print": (threemf(model(build='<item objectid="1" printable="0"/>')), "not to be printed"),
    "modifier only": (threemf(model(), settings(PRUSA, volume(0, 1, "ParameterModifier"))), "2 triangles that the slicer has as"),
    "settings that are no XML": (threemf(model(), {"Metadata/model_settings.config": "<config>"}), "model_settings.config cannot be read"),
    "no model": (zipped({"a.txt": "hello"}), "no 3MF model"),
    "another archive": (zipped({"3D/3dmodel.model": "<html/>"}), "expected a 3MF"),
    "no zip": (b"PK\x03\x04 nonsense", "ZIP archive"),
    "cut": (threemf(model())[:-30], "ZIP archive"),
    "entities": (threemf(model().replace("?>", "?><!DOCTYPE m [<!ENTITY a 'b'>]>", 1)), "<!ENTITY"),
    "bad transform": (threemf(model(build='<item objectid="1" transform="1 2 3"/>')), "transform"),
    "infinite": (threemf(model(build='<item objectid="1" transform="inf 0 0 0 1 0 0 0 1 0 0 0"/>')), "not finite"),
}


@pytest.mark.parametrize(("file", "name"), [*(("a.dae", name) for name in WRONG), *(("a.3mf", name) for name in BROKEN)])
def test_what_is_wrong_says_why(tmp_path, file, name, monkeypatch):
    monkeypatch.setattr("pipeline.formats.collada.NODES", 5000)
    monkeypatch.setattr("pipeline.formats.threemf.COPIES", 5000)
    data, word = (WRONG if file == "a.dae" else BROKEN)[name]
    assert word in refusal(tmp_path, file, data)


def test_archives_that_unpack_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(package, "LIMIT", 100_000)
    for name, data in (("a.3mf", threemf(model() + " " * 200_000)), ("a.zae", zipped({"a.dae": dae() + " " * 200_000}))):
        monkeypatch.setattr(package, "LIMIT", 100_000)
        assert "at most 100,000" in refusal(tmp_path, name, data)
        monkeypatch.setattr(package, "LIMIT", 1_000_000)
        monkeypatch.setattr(package, "SMALL", 100_000)
        assert "100 times" in refusal(tmp_path, name, data)


def test_names_cannot_lead_out_of_an_archive():
    archive = package.Archive(zipped({"../../a.txt": "x", "b/./c.txt": "y"}))
    assert archive.find("/../a.txt") == "../../a.txt" and archive.read("../../a.txt") == b"x"
    assert archive.find("b/c.txt") == "b/./c.txt" and archive.find("/etc/passwd") is None


def test_any_damage_is_read_or_refused(tmp_path):
    """Nothing but a reason comes out of a damaged document."""
    random = np.random.default_rng(2)
    documents = [
        SURFACES["nested"][0],
        PICTURES["second set"][0],
        dae(JOINT + f"<node>{CONTROLLED}</node>", more=skin()),
        model(PAINTED["layers"][0]),
    ]
    (tmp_path / "wood 1.png").write_bytes(png())
    for document in documents:
        for _ in range(80):
            bad = bytearray(document.encode())
            for _ in range(random.integers(1, 4)):
                place = int(random.integers(150, len(bad)))
                if random.random() < 0.5:
                    bad[place] = int(random.integers(32, 127))
                else:
                    del bad[place : place + int(random.integers(1, 4))]
            name, data = ("a.3mf", threemf(bad.decode())) if b"<model" in bad else ("a.dae", bytes(bad))
            try:
                read(tmp_path, name, data, textures="grey")
            except ValueError as error:
                assert type(error).__name__ in ("UserError", "Missing"), error


@pytest.mark.parametrize("suffix, word", [(".fbx", "Blender"), (".step", "FreeCAD"), (".SKP", "SketchUp")])
def test_formats_that_are_not_read_say_how_to_convert(tmp_path, suffix, word):
    assert word in refusal(tmp_path, f"a{suffix}", "anything")
