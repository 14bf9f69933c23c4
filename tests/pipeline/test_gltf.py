"""glTF, one feature a row: what a file says is applied, or it fails by name. Run: pytest tests/pipeline/test_gltf.py

Every file is written here from arrays. Most show a square of side 2 whose texture is red, green, blue and yellow in its upper left, upper
right, lower left and lower right quarter.
"""

import base64
import io
import json
import struct
import zlib
from pathlib import Path

import DracoPy
import meshoptimizer
import numpy as np
import pytest
from PIL import Image

from cache_schema.errors import UserError
from cache_schema.spec import PointSpec
from pipeline import points, textures
from pipeline.geometry import GREY, Cloud, Mesh, normalized, triangles
from pipeline.reading import REASON, load

SQUARE = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)  # glTF: (0, 0) is the upper left corner of a picture
FACES = np.array([0, 1, 2, 0, 2, 3], np.uint16)
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
WHITE, BLACK, PLAIN = (255, 255, 255), (0, 0, 0), (round(GREY * 255),) * 3
FOUR = {(-0.5, 0.5): RED, (0.5, 0.5): GREEN, (-0.5, -0.5): BLUE, (0.5, -0.5): YELLOW}
MIDDLE = {(0.0, 0.0): WHITE}
CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

# 8 x 8 pixels of the four colours in the UASTC format of Basis Universal, zlib over KTX2.
KTX2 = zlib.decompress(
    base64.b85decode(
        "c-mX-9TK5nWU!l;ONxsD2pEBw1BzjQ5sE<|1Bi8icnXw82M3_E0~!re%fz6;u#Az3fti_sK>)6+9?tp?1oA){=&bUh%#ze12B*a0%wmPmyv(xHqT<9H1tU"
        "E}0|o{bkS?IM@A3=}<f{<&i$9QmAkV~);4?h<FVFM<=6r_l|AF!~2zdYrtRep"
    )
)


def quarters(kind: str = "RGB", size: int = 16) -> Image.Image:
    image = Image.new("RGB", (size, size))
    for (x, y), color in FOUR.items():
        image.paste(color, (size // 2 * (x > 0), size // 2 * (y < 0), size // 2 * (1 + (x > 0)), size // 2 * (1 + (y < 0))))
    return image.convert(kind)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class File:
    """A glTF file in the making. `json` is its header, to be changed at will."""

    def __init__(self) -> None:
        self.json: dict = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}]}
        self.data = b""

    def add(self, kind: str, item: dict) -> int:
        self.json.setdefault(kind, []).append(item)
        return len(self.json[kind]) - 1

    def view(self, data: bytes, **more) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        self.data += data
        return self.add("bufferViews", {"buffer": 0, "byteOffset": len(self.data) - len(data), "byteLength": len(data)} | more)

    def array(self, array: np.ndarray, **more) -> int:
        """An accessor of an array `[n]` or `[n, k]`; `normalized=True` and the like go into it."""
        array = np.asarray(array)
        shape = SHAPES[1 if array.ndim == 1 else array.shape[1]]
        item = {"bufferView": self.view(array.tobytes()), "componentType": CODES[array.dtype.str[1:]], "count": len(array), "type": shape}
        return self.add("accessors", item | more)

    def primitive(self, vertices=SQUARE, faces=FACES, material=None, extra=None, **attributes) -> dict:
        """A part of a mesh; attributes are arrays, or numbers of accessors."""
        given = {"POSITION": vertices} | attributes
        item = {"attributes": {name: a if isinstance(a, int) else self.array(a) for name, a in given.items()}}
        if faces is not None:
            item["indices"] = self.array(faces)
        if material is not None:
            item["material"] = self.add("materials", material)
        return item | (extra or {})

    def mesh(self, *primitives: dict, node: dict | None = None, shown: bool = True, **more) -> dict:
        """A mesh in a node of its own."""
        item = {"mesh": self.add("meshes", {"primitives": list(primitives)} | more)} | (node or {})
        self.node(item, shown)
        return item

    def node(self, item: dict, shown: bool = True) -> int:
        index = self.add("nodes", item)
        if shown:
            self.json["scenes"][0]["nodes"].append(index)
        return index

    def texture(self, image: bytes | None = None, sampler: dict | None = None, **more) -> int:
        picture = self.add("images", {"bufferView": self.view(saved(quarters()) if image is None else image), "mimeType": "image/png"})
        item = {"source": picture} | more
        if sampler is not None:
            item["sampler"] = self.add("samplers", sampler)
        return self.add("textures", item)

    def glb(self) -> bytes:
        if self.data:
            self.json.setdefault("buffers", [{"byteLength": len(self.data)}])
        head = json.dumps(self.json).encode()
        head += b" " * (-len(head) % 4)
        rest = self.data + b"\0" * (-len(self.data) % 4)
        chunks = struct.pack("<I4s", len(head), b"JSON") + head + struct.pack("<I4s", len(rest), b"BIN\0") + rest
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def shape_of(file: File, folder: Path, **options) -> Mesh | Cloud:
    (folder / "a.glb").write_bytes(file.glb())
    return load(folder / "a.glb", **({"up": "y", "textures": "require"} | options))


def refusal(file: File, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        normalized(shape_of(file, folder), "unit_sphere")
    reason = str(caught.value)
    assert len(reason) <= REASON and "Error" not in reason
    return reason


def color_near(shape: Mesh, *places: tuple[float, ...]) -> list[np.ndarray]:
    """Colours `[3]` of the surface at places (x, y), as the cache would store them."""
    xyz, rgb = points.sample(shape, PointSpec(count=4096, blocks=1, ordered=1, dtype="float32"), "a")[:2]
    return [rgb[0, np.linalg.norm(xyz[0, :, :2] - place, axis=1).argmin()].astype(int) for place in places]


def textured(file: File, info: dict | None = None, sampler: dict | None = None, image: bytes | None = None, uv=UV, **more) -> None:
    """The square with its texture."""
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": file.texture(image, sampler)} | (info or {}), "metallicFactor": 0}}
    file.mesh(file.primitive(material=material | more, TEXCOORD_0=uv))


def colored(file: File, color=(1, 0, 0, 1), **more) -> dict:
    return {"pbrMetallicRoughness": {"baseColorFactor": list(color), "metallicFactor": 0}} | more


# ------------------------------------------------------------------------------------------------------------- applied
# Each function makes a file; what is expected follows it in APPLIED.


def plain(f):
    textured(f)


def uv_bytes(f):
    textured(f, uv=f.array((UV * 255).astype("u1"), normalized=True))


def uv_shorts(f):
    textured(f, uv=f.array((UV * 65535).astype("u2"), normalized=True))


def quantized(f):
    f.json["extensionsRequired"] = ["KHR_mesh_quantization"]
    whole = np.column_stack([np.rint(SQUARE * 32767), np.zeros(4)]).astype("i2")
    view = f.view(whole.tobytes(), byteStride=8)
    position = f.add("accessors", {"bufferView": view, "componentType": 5122, "normalized": True, "count": 4, "type": "VEC3"})
    f.mesh(f.primitive(position, material=colored(f)), node={"scale": [2, 2, 2]})


def quantized_whole_numbers(f):
    f.mesh(f.primitive(f.array((SQUARE * 100).astype("i2")), material=colored(f)), node={"scale": [0.01, 0.01, 0.01]})


def interleaved(f):
    view = f.view(np.column_stack([SQUARE, UV]).astype("f4").tobytes(), byteStride=20)
    place = {"bufferView": view, "componentType": 5126, "count": 4}
    position, uv = f.add("accessors", place | {"type": "VEC3"}), f.add("accessors", place | {"type": "VEC2", "byteOffset": 12})
    textured(f, uv=uv)
    f.json["meshes"][0]["primitives"][0]["attributes"]["POSITION"] = position


def sparse(f):
    index = f.array(np.where(SQUARE == 1, 0.5, SQUARE).astype("f4"))
    change = {"indices": {"bufferView": f.view(np.array([1, 2, 3], "u1").tobytes()), "componentType": 5121}}
    change["values"] = {"bufferView": f.view(SQUARE[1:].tobytes())}
    f.json["accessors"][index]["sparse"] = {"count": 3} | change
    f.mesh(f.primitive(index, material=colored(f)))


def sparse_only(f):
    sparse(f)
    change = f.json["accessors"][0]
    del change["bufferView"]
    change["sparse"] = {"count": 4} | {
        "indices": {"bufferView": f.view(np.arange(4, dtype="u2").tobytes()), "componentType": 5123},
        "values": {"bufferView": f.view(SQUARE.tobytes())},
    }


def color_of_zeros(f):
    zeros = f.add("accessors", {"componentType": 5126, "count": 4, "type": "VEC3"})
    f.mesh(f.primitive(COLOR_0=zeros))


def unindexed(f):
    f.mesh(f.primitive(SQUARE[FACES], None, colored(f)))


def long_indices(f):
    f.mesh(f.primitive(faces=FACES.astype("u4"), material=colored(f)))


def byte_indices(f):
    f.mesh(f.primitive(faces=FACES.astype("u1"), material=colored(f)))


def strip(f):
    f.mesh(f.primitive(faces=np.array([0, 1, 3, 2], "u2"), material=colored(f), extra={"mode": 5}))


def fan(f):
    f.mesh(f.primitive(faces=None, material=colored(f), extra={"mode": 6}))


def lines_beside(f):
    lines = f.primitive(faces=np.array([0, 1], "u2"), extra={"mode": 1})
    f.mesh(f.primitive(material=colored(f)), lines)


def points_beside(f):
    f.mesh(f.primitive(material=colored(f)), f.primitive(SQUARE * 9, None, extra={"mode": 0}))


def measured(f):
    f.mesh(f.primitive(material=colored(f), _TEMPERATURE=np.ones(len(SQUARE), "f4")))


def second_scene(f):
    f.mesh(f.primitive(SQUARE * 9, material=colored(f, (0, 0, 1, 1))))
    f.mesh(f.primitive(material=colored(f)), shown=False)
    f.json |= {"scene": 1, "scenes": [{"nodes": [0]}, {"nodes": [1]}]}


def no_scene(f):
    textured(f)
    f.json["nodes"] = [{"children": [1]}, f.json["nodes"][0]]
    del f.json["scene"], f.json["scenes"]


def moved(f):
    half = 0.5**0.5
    f.mesh(
        f.primitive(material=colored(f)), node={"translation": [5, 0, 0], "rotation": [0, 0, half, half], "scale": [2, 1, 1]}, shown=False
    )
    f.node({"matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, -5, 0, 0, 1], "children": [0]})


def hidden_node(f):
    f.json["extensionsUsed"] = ["KHR_node_visibility"]
    f.mesh(f.primitive(material=colored(f)))
    f.mesh(f.primitive(SQUARE * 9), node={"extensions": {"KHR_node_visibility": {"visible": False}}})


def instances(f):
    f.json["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    places = f.array(np.array([[0, 0, 0], [3, 0, 0], [6, 0, 0]], "f4"))
    f.mesh(f.primitive(), node={"extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": places}}}})


def turned_instances(f):
    turn = f.array(np.array([[0, 0, 90, 90]], "i1"), normalized=True)  # a quarter, in bytes
    size = f.array(np.array([[2, 1, 1]], "f4"))
    f.mesh(f.primitive(), node={"extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"ROTATION": turn, "SCALE": size}}}})


def skinned(f, **node):
    bind = f.array(_scaling(100).reshape(1, 16))
    joints, weights = np.zeros((4, 4), "u1"), np.tile(np.array([1, 0, 0, 0], "f4"), (4, 1))
    f.mesh(f.primitive(material=colored(f), JOINTS_0=joints, WEIGHTS_0=weights), node={"skin": 0, "scale": [7, 7, 7]} | node)
    f.add("skins", {"joints": [f.node({"scale": [0.01, 0.01, 0.01], "translation": [4, 0, 0]})], "inverseBindMatrices": bind})


def _scaling(by: float) -> np.ndarray:
    return np.diag([by, by, by, 1]).astype("f4")


def two_joints(f):
    """The upper half of the square goes up by 2 with its joint, by weights in bytes that are 255 together."""
    joints = np.tile(np.array([0, 1, 0, 0], "u2"), (4, 1))
    weights = f.array(np.array([[255, 0, 0, 0]] * 2 + [[0, 255, 0, 0]] * 2, "u1"), normalized=True)
    f.mesh(f.primitive(material=colored(f), JOINTS_0=joints, WEIGHTS_0=weights), node={"skin": 0})
    f.add("skins", {"joints": [f.node({}), f.node({"translation": [0, 2, 0]})]})


def morphed(f):
    f.mesh(f.primitive(material=colored(f), extra={"targets": [{"POSITION": f.array(SQUARE)}]}), weights=[0.5])


def morphed_by_node(f):
    f.mesh(f.primitive(material=colored(f), extra={"targets": [{"POSITION": f.array(SQUARE)}]}), node={"weights": [1]}, weights=[0.5])


def compressed_by_draco(f):
    data = DracoPy.encode(SQUARE, FACES.reshape(-1, 3).astype("u4"), tex_coord=UV.astype("f8"), quantization_bits=14)
    ids = {a["attribute_type"]: a["unique_id"] for a in DracoPy.decode(data).attributes}
    textured(f)
    part = f.json["meshes"][0]["primitives"][0]
    for name in (*part["attributes"].values(), part["indices"]):
        f.json["accessors"][name].pop("bufferView")
    part["extensions"] = {
        "KHR_draco_mesh_compression": {"bufferView": f.view(data), "attributes": {"POSITION": ids[0], "TEXCOORD_0": ids[3]}}
    }
    f.json["extensionsRequired"] = ["KHR_draco_mesh_compression"]


def colors_compressed_by_draco(f):
    """Colours of vertices as floats from 0 to 255."""
    colors = (HALF * 255).astype("f4")
    vertex_colors(f, colors)
    data = DracoPy.encode(SQUARE, FACES.reshape(-1, 3).astype("u4"), quantization_bits=14, generic_attributes={7: colors})
    (place,) = [a["unique_id"] for a in DracoPy.decode(data).attributes if a["attribute_type"] == 0]
    part = f.json["meshes"][0]["primitives"][0]
    for name in (*part["attributes"].values(), part["indices"]):
        f.json["accessors"][name].pop("bufferView")
    names = {"POSITION": place, "COLOR_0": 7}
    part["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": f.view(data), "attributes": names}}
    f.json["extensionsRequired"] = ["KHR_draco_mesh_compression"]


def compressed_by_meshopt(f, name="EXT_meshopt_compression", sieve="NONE"):
    f.json["extensionsRequired"] = [name]
    vertices = SQUARE
    if sieve == "EXPONENTIAL":  # 8 bits of a power of two, 24 of a number
        vertices = (np.uint32(0xF0 << 24) | (np.rint(SQUARE * 65536).astype("i4") & 0xFFFFFF).astype("u4")).astype("u4")
    blobs = [meshoptimizer.encode_vertex_buffer(vertices, 4, 12), meshoptimizer.encode_index_buffer(FACES.astype("u4"), 6, 4)]
    f.mesh(f.primitive(material=colored(f)))
    for index, (blob, stride, count, mode) in enumerate(zip(blobs, (12, 2), (4, 6), ("ATTRIBUTES", "TRIANGLES"), strict=True)):
        source = f.json["bufferViews"][f.view(blob)]
        packed = source | {"byteStride": stride, "count": count, "mode": mode} | ({"filter": sieve} if index == 0 else {})
        f.json["bufferViews"][index] = {"buffer": 1, "byteLength": stride * count, "extensions": {name: packed}}
    f.json["buffers"] = [{"byteLength": len(f.data)}, {"byteLength": 60, "extensions": {name: {"fallback": True}}}]


def with_transform(f, transform, uv=UV):
    f.json["extensionsRequired"] = ["KHR_texture_transform"]
    textured(f, {"extensions": {"KHR_texture_transform": transform}}, uv=uv)


def second_uv(f, info):
    textured(f, info)
    f.json["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_1"] = f.array(UV * 0.25)


def wrapped(f, s, t, low=-1.0, high=2.0, **sampler):
    textured(
        f, sampler={"wrapS": s, "wrapT": t} | sampler, uv=(low + UV * (high - low)).astype("f4")
    )  # a float of 32 bits holds these exactly


def in_extension(f, name, image, fallback=None):
    f.json["extensionsUsed"] = [name]
    textured(f, image=image)
    texture = f.json["textures"][0]
    texture["extensions"] = {name: {"source": texture.pop("source")}}
    if fallback is not None:
        texture["source"] = f.json["textures"][f.texture(fallback)]["source"]


def exif_turned(f):
    exif = Image.Exif()
    exif[0x0112] = 6
    textured(f, image=saved(quarters(size=64), "JPEG", exif=exif, quality=98, subsampling=0))


def specular(f, both=False, **values):
    f.json["extensionsUsed"] = ["KHR_materials_pbrSpecularGlossiness"]
    textured(f)
    material = f.json["materials"][0]
    base = material.pop("pbrMetallicRoughness")
    material["extensions"] = {"KHR_materials_pbrSpecularGlossiness": values or {"diffuseTexture": base["baseColorTexture"]}}
    if both:
        material["pbrMetallicRoughness"] = base


def specular_metal(f):
    """The upper half is black with a golden shine, the lower half blue with a faint one."""
    halves = [Image.new("RGB", (8, 8), color) for color in (BLACK, GOLD)]
    for image, below in zip(halves, (BLUE, (40, 40, 40)), strict=True):
        image.paste(below, (0, 4, 8, 8))
    textured(f, image=saved(halves[0]))
    names = {"diffuseTexture": {"index": 0}, "specularGlossinessTexture": {"index": f.texture(saved(halves[1]))}}
    f.json["materials"][0] = {"extensions": {"KHR_materials_pbrSpecularGlossiness": names}}


def vertex_colors(f, colors, base=None, **more):
    f.mesh(f.primitive(material=None if base is None else colored(f, base), COLOR_0=f.array(colors, **more)))


def emitting(f, base, factor=(1, 1, 1), picture=True, also_base=False, strength=None, base_picture=None):
    material = {"pbrMetallicRoughness": {} if base is None else {"baseColorFactor": [*base, 1]}, "emissiveFactor": list(factor)}
    texture = f.texture() if picture else None
    if picture:
        material["emissiveTexture"] = {"index": texture}
    if also_base:
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": texture}
    if base_picture is not None:
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": f.texture(base_picture)}
    if strength is not None:
        material["extensions"] = {"KHR_materials_emissive_strength": {"emissiveStrength": strength}}
    f.mesh(f.primitive(material=material, TEXCOORD_0=UV))


def with_helper(f, **material):
    f.mesh(f.primitive(material=colored(f)))
    f.mesh(f.primitive(SQUARE * 9, material=material))


def half_invisible(f):
    colors = np.array([[255, 0, 0, 255]] * 4 + [[0, 0, 0, 0]] * 4, "u1")
    vertices, faces = np.vstack([SQUARE, SQUARE * 9]), np.concatenate([FACES, FACES + 4])
    material = {"alphaMode": "BLEND"}
    f.mesh(f.primitive(vertices.astype("f4"), faces, material, COLOR_0=f.array(colors, normalized=True)))


def unknown_material(f):
    f.mesh(f.primitive(material=colored(f) | {"extensions": {"ACME_paint": {}}}))


def glass(f):
    f.json["extensionsRequired"] = ["KHR_materials_transmission"]
    f.mesh(f.primitive(material=colored(f) | {"extensions": {"KHR_materials_transmission": {"transmissionFactor": 1}}}))


def no_coordinates(f):
    textured(f, {"texCoord": 3})


TWO = (2.0, 2.0)
GOLD = (255, 226, 155)
LIT = {(0.0, 0.0): RED}
HALF = np.array([[0.5, 0.0, 0.25]] * 4)
SHADE = {(0.0, 0.0): (188, 0, 137)}  # linear 0.5, 0, 0.25 as sRGB
GREY16 = np.linspace(0, 65535, 16).astype("u2")[None].repeat(16, 0)
DARK = Image.new("RGB", (4, 4), (0, 0, 0))
ONE_SEES = {(-0.5, 0.5): RED, (0.5, 0.5): RED, (-0.5, -0.5): RED, (0.5, -0.5): RED}
WIDE = {(0.0, 0.0): PLAIN}

# what makes it, (width, height), number of triangles, colours at places, a word of the warning
APPLIED = {
    "texture": (plain, TWO, 2, FOUR, None),
    "uv u8 normalized": (uv_bytes, TWO, 2, FOUR, None),
    "uv u16 normalized": (uv_shorts, TWO, 2, FOUR, None),
    "positions i16 normalized, stride 8": (quantized, (4, 4), 2, LIT, None),
    "positions i16": (quantized_whole_numbers, TWO, 2, LIT, None),
    "interleaved": (interleaved, TWO, 2, FOUR, None),
    "sparse": (sparse, TWO, 2, LIT, None),
    "sparse only": (sparse_only, TWO, 2, LIT, None),
    "accessor without view is zeros": (color_of_zeros, TWO, 2, {(0, 0): BLACK}, None),
    "no indices": (unindexed, TWO, 2, LIT, None),
    "u32 indices": (long_indices, TWO, 2, LIT, None),
    "u8 indices": (byte_indices, TWO, 2, LIT, None),
    "strip": (strip, TWO, 2, LIT, None),
    "fan": (fan, TWO, 2, LIT, None),
    "lines beside triangles": (lines_beside, TWO, 2, LIT, "lines"),
    "points beside triangles": (points_beside, TWO, 2, LIT, "points"),
    "values that a program measured": (measured, TWO, 2, LIT, "left out: _TEMPERATURE"),
    "default scene": (second_scene, TWO, 2, LIT, None),
    "no scene: all roots": (no_scene, TWO, 2, FOUR, None),
    "matrix over translation, rotation, scale": (moved, (2, 4), 2, LIT, None),
    "hidden node": (hidden_node, TWO, 2, LIT, None),
    "instances": (instances, (8, 2), 6, {(6.0, 0.0): PLAIN}, None),
    "instances by bytes": (turned_instances, (2, 4), 2, WIDE, None),
    "skin": (skinned, TWO, 2, {(4.0, 0.0): RED}, None),
    "skin of two joints": (two_joints, (2, 4), 2, {(0.0, 2.5): RED}, None),
    "morph weights": (morphed, (3, 3), 2, LIT, None),
    "morph weights of a node": (morphed_by_node, (4, 4), 2, LIT, None),
    "Draco": (compressed_by_draco, TWO, 2, FOUR, None),
    "meshopt": (compressed_by_meshopt, TWO, 2, LIT, None),
    "meshopt of Khronos": (lambda f: compressed_by_meshopt(f, "KHR_meshopt_compression"), TWO, 2, LIT, None),
    "meshopt exponential": (lambda f: compressed_by_meshopt(f, sieve="EXPONENTIAL"), TWO, 2, LIT, None),
    "texture offset and scale": (
        lambda f: with_transform(f, {"offset": [0.5, 0.5], "scale": [0.5, 0.5]}),
        TWO,
        2,
        {(0, 0.4): YELLOW},
        None,
    ),
    # a quarter counter-clockwise with v down takes (1, 0) to (0, -1), so the upper left of the square shows (0..0.5, -0.5..0)
    "texture rotation": (
        lambda f: with_transform(f, {"rotation": np.pi / 2}),
        TWO,
        2,
        {(-0.5, 0.5): BLUE, (0.5, 0.5): RED, (-0.5, -0.5): YELLOW, (0.5, -0.5): GREEN},
        None,
    ),
    "texture transform's texCoord": (
        lambda f: second_uv(f, {"extensions": {"KHR_texture_transform": {"texCoord": 1}}}),
        TWO,
        2,
        {(0.5, -0.5): RED},
        None,
    ),
    "texCoord": (lambda f: second_uv(f, {"texCoord": 1}), TWO, 2, {(0.5, -0.5): RED}, None),
    "texCoord that is not there": (no_coordinates, TWO, 2, WIDE, "TEXCOORD_3"),
    "repeated": (lambda f: wrapped(f, 10497, 10497), TWO, 2, {(-0.5, 0.85): GREEN, (0.2, 0.2): GREEN}, None),
    "repeated far out": (lambda f: wrapped(f, 10497, 10497, 5e5, 5e5 + 1), TWO, 2, FOUR, None),
    "clamped": (lambda f: wrapped(f, 33071, 33071), TWO, 2, FOUR | {(-0.9, 0.2): RED, (0.9, -0.9): YELLOW}, None),
    "clamped far out": (lambda f: wrapped(f, 33071, 33071, -200.0, 201.0), TWO, 2, FOUR, None),
    "clamped without end": (lambda f: wrapped(f, 33071, 33071, -1e7, 1e7), TWO, 2, FOUR, "clamped"),
    "mirrored": (lambda f: wrapped(f, 33648, 33648), TWO, 2, {(-0.9, 0.9): YELLOW, (-0.5, 0.5): RED, (-0.9, 0.2): GREEN}, None),
    "clamped one way": (lambda f: wrapped(f, 33071, 10497), TWO, 2, {(-0.9, 0.85): RED, (-0.9, 0.5): BLUE, (0.9, 0.85): GREEN}, None),
    "pixels to be seen": (
        lambda f: textured(f, image=saved(quarters(size=2)), sampler={"magFilter": 9728}),
        TWO,
        2,
        FOUR | {(-0.1, 0.1): RED},
        None,
    ),
    "clamped at the border": (
        lambda f: textured(f, image=saved(quarters(size=2)), sampler={"wrapS": 33071, "wrapT": 33071}),
        TWO,
        2,
        {(-0.97, 0.97): RED},
        None,
    ),
    "WebP": (lambda f: in_extension(f, "EXT_texture_webp", saved(quarters(), "WEBP", lossless=True)), TWO, 2, FOUR, None),
    "KTX2": (lambda f: in_extension(f, "KHR_texture_basisu", KTX2), TWO, 2, FOUR, None),
    "KTX2 with a PNG": (lambda f: in_extension(f, "KHR_texture_basisu", b"?", saved(quarters())), TWO, 2, FOUR, None),
    "palette": (lambda f: textured(f, image=saved(quarters("P"))), TWO, 2, FOUR, None),
    "16-bit grey": (
        lambda f: textured(f, image=saved(Image.fromarray(GREY16))),
        TWO,
        2,
        {(0.0, 0.0): (128,) * 3, (-0.94, 0): (4,) * 3},
        None,
    ),
    "CMYK": (lambda f: textured(f, image=saved(quarters("CMYK", 64), "JPEG", quality=98, subsampling=0)), TWO, 2, FOUR, None),
    "EXIF is not applied": (exif_turned, TWO, 2, FOUR, None),
    "one bit": (lambda f: textured(f, image=saved(Image.new("1", (4, 4), 1))), TWO, 2, MIDDLE, None),
    "specular-glossiness": (specular, TWO, 2, FOUR, None),
    "specular-glossiness, factor": (lambda f: specular(f, diffuseFactor=[1, 0, 0, 1]), TWO, 2, LIT, None),
    "specular-glossiness is not mixed with its fallback": (lambda f: specular(f, True, diffuseFactor=[1, 0, 0, 1]), TWO, 2, ONE_SEES, None),
    "specular-glossiness, metal": (lambda f: specular(f, diffuseFactor=[0, 0, 0, 1], specularFactor=[1, 0, 0]), TWO, 2, LIT, None),
    "specular-glossiness, metal by texture": (specular_metal, TWO, 2, {(0, 0.5): GOLD, (0, -0.5): BLUE}, None),
    "vertex colours f32": (lambda f: vertex_colors(f, HALF.astype("f4")), TWO, 2, SHADE, None),
    "normals in the surface": (
        lambda f: f.mesh(f.primitive(NORMAL=f.array(np.tile([1, 0, 0], (4, 1)).astype("f4")))),
        TWO,
        2,
        {(0, 0): (190, 190, 190)},
        "along the surface",
    ),
    "vertex colours to 255": (lambda f: vertex_colors(f, (HALF * 255).astype("f4")), TWO, 2, SHADE, "taken as 0 to 255"),
    "vertex colours to 255 by Draco": (colors_compressed_by_draco, TWO, 2, SHADE, "taken as 0 to 255"),
    "vertex colours u8": (lambda f: vertex_colors(f, np.rint(HALF * 255).astype("u1"), normalized=True), TWO, 2, SHADE, None),
    "vertex colours u16": (lambda f: vertex_colors(f, np.rint(HALF * 65535).astype("u2"), normalized=True), TWO, 2, SHADE, None),
    "vertex colours times base": (lambda f: vertex_colors(f, (HALF * 2).astype("f4"), (0.5, 0.5, 0.5, 1)), TWO, 2, SHADE, None),
    "dark base colour": (lambda f: f.mesh(f.primitive(material=colored(f, (0.002, 0.01, 0.004, 1)))), TWO, 2, {(0, 0): (7, 25, 13)}, None),
    "unlit": (lambda f: textured(f, extensions={"KHR_materials_unlit": {}}), TWO, 2, FOUR, None),
    "painted emission": (lambda f: emitting(f, (0, 0, 0)), TWO, 2, FOUR, None),
    "painted emission, no base": (lambda f: emitting(f, None), TWO, 2, FOUR, None),
    "the same picture twice": (lambda f: emitting(f, (1, 1, 1), also_base=True), TWO, 2, FOUR, None),
    "emission over a dark texture": (lambda f: emitting(f, (1, 1, 1), base_picture=saved(DARK)), TWO, 2, FOUR, None),
    "emission of 0 is none": (lambda f: emitting(f, (1, 0, 0), (0, 0, 0)), TWO, 2, LIT, None),
    "emission keeps its hue": (lambda f: emitting(f, (0.2, 0.2, 0.8), picture=False), TWO, 2, {(0, 0): (213, 213, 255)}, None),
    "emission strength": (lambda f: emitting(f, (0, 0, 0), (0.1, 0, 0), False, strength=5), TWO, 2, {(0, 0): (188, 0, 0)}, None),
    "invisible by blending": (lambda f: with_helper(f, **colored(f, (0, 0, 0, 0)), alphaMode="BLEND"), TWO, 2, LIT, "transparent"),
    "invisible by a mask": (lambda f: with_helper(f, **colored(f, (0, 0, 0, 0.4)), alphaMode="MASK"), TWO, 2, LIT, "transparent"),
    "invisible triangles": (half_invisible, TWO, 2, LIT, "transparent"),
    "alpha of what is opaque": (lambda f: f.mesh(f.primitive(material=colored(f, (1, 0, 0, 0)))), TWO, 2, LIT, None),
    "glass": (glass, TWO, 2, LIT, "KHR_materials_transmission"),
    "unknown extension": (unknown_material, TWO, 2, LIT, "ACME_paint"),
}


@pytest.mark.parametrize("name", APPLIED)
def test_every_feature_is_applied(tmp_path, name):
    make, extent, count, colors, word = APPLIED[name]
    file = File()
    make(file)
    shape = shape_of(file, tmp_path)
    assert isinstance(shape, Mesh)
    vertices = np.concatenate([part.vertices for part in shape.parts])
    np.testing.assert_allclose(np.ptp(vertices, axis=0)[:2], extent, atol=1e-3 * max(extent))
    assert sum(len(part.faces) for part in shape.parts) == count
    area = sum(areas.sum() for part in shape.parts for _, areas in triangles(part))
    assert area == pytest.approx(4 * count / 2 * (extent[0] * extent[1] / 4 if count == 2 else 1), rel=1e-2)
    for (place, color), found in zip(colors.items(), color_near(shape, *colors), strict=True):
        assert np.abs(found - color).max() <= 12, f"at {place}: {found}, expected {color}"
    assert shape.colored is (set(colors.values()) != {PLAIN})
    if word is None:
        assert shape.warnings == ()
    else:
        assert len(shape.warnings) == 1 and word in shape.warnings[0]


# ------------------------------------------------------------------------------------------------------------- refused


def changed(path: str, value: object, make=plain):
    """Makes a file with one value of its JSON exchanged, such as "nodes/0/mesh"."""

    def build(f):
        make(f)
        at = f.json
        *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        for key in parents:
            at = at[key]
        at[last] = value

    return build


def cycle(f):
    f.mesh(f.primitive(), node={"children": [1]})
    f.json["nodes"].append({"children": [0]})


def two_parents(f):
    f.mesh(f.primitive(), shown=False)
    f.node({"children": [0]})
    f.node({"children": [0]})


def only_lines(f):
    f.mesh(f.primitive(extra={"mode": 3}))


def all_invisible(f):
    f.mesh(f.primitive(material=colored(f, (1, 1, 1, 0)) | {"alphaMode": "BLEND"}))


def other_compression(f):
    f.mesh(f.primitive(extra={"extensions": {"ACME_packed": {}}}))
    for accessor in f.json["accessors"]:
        del accessor["bufferView"]


def damaged_draco(f):
    compressed_by_draco(f)
    view = f.json["bufferViews"][-1]
    f.data = f.data[: view["byteOffset"] + 20] + b"\xff" * (len(f.data) - view["byteOffset"] - 20)


def copies_of_copies(f):
    places = f.array(np.zeros((40_000, 3), "f4"))
    indices = f.array(np.zeros(30_000, "u2"))
    f.mesh(f.primitive(faces=None, extra={"indices": indices}))
    f.json["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": places}}}


REFUSED = {
    "required": (changed("extensionsRequired", ["ACME_magic"]), "ACME_magic"),
    "geometry in an unknown extension": (other_compression, "ACME_packed"),
    "texture in an unknown extension": (changed("textures/0", {"extensions": {"ACME_picture": {"source": 0}}}), "ACME_picture"),
    "Draco of points": (changed("meshes/0/primitives/0/mode", 0, compressed_by_draco), "KHR_draco_mesh_compression"),
    "Draco damaged": (damaged_draco, "KHR_draco_mesh_compression"),
    "meshopt damaged": (changed("bufferViews/0/extensions/EXT_meshopt_compression/byteOffset", 0, compressed_by_meshopt), "EXT_meshopt"),
    "meshopt without end": (
        changed("bufferViews/0/extensions/EXT_meshopt_compression/count", 10**9, compressed_by_meshopt),
        "1,000,000,000",
    ),
    "meshopt unknown": (changed("bufferViews/0/extensions/EXT_meshopt_compression/filter", "COLOR", compressed_by_meshopt), "COLOR"),
    "KTX2 damaged": (lambda f: in_extension(f, "KHR_texture_basisu", KTX2[:100]), "KHR_texture_basisu"),
    "picture damaged": (lambda f: textured(f, image=saved(quarters(size=64))[:90]), "damaged or cut short"),
    "no picture": (lambda f: textured(f, image=b"hello"), "not an image"),
    "a program as a picture": (lambda f: textured(f, image=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image"),
    "cycle": (cycle, "own ancestor"),
    "two parents": (two_parents, "two parents"),
    "own ancestor of a joint": (changed("nodes/1/children", [1], skinned), "nodes[1]"),
    "no such node": (changed("scenes/0/nodes", [7]), "nodes[7]"),
    "no such mesh": (changed("nodes/0/mesh", 7), "meshes[7]"),
    "no such accessor": (changed("meshes/0/primitives/0/attributes/POSITION", 70), "accessors[70]"),
    "no such texture": (changed("materials/0/pbrMetallicRoughness/baseColorTexture/index", 7), "textures[7]"),
    "negative": (changed("nodes/0/mesh", -1), "whole number"),
    "text for a number": (changed("materials/0/pbrMetallicRoughness/metallicFactor", "1"), "should be a number"),
    "too few numbers": (changed("nodes/0/scale", [1, 1]), "3 numbers"),
    "list for an object": (changed("materials/0/pbrMetallicRoughness", []), "should be an object"),
    "more elements than bytes": (changed("accessors/0/count", 10**15), "1,000,000,000,000,000 elements"),
    "elements without bytes": (changed("accessors/0", {"componentType": 5126, "count": 10**15, "type": "VEC3"}), "has no bytes"),
    "view outside its buffer": (changed("bufferViews/1/byteLength", 10**9), "cut short"),
    "stride outside its view": (changed("bufferViews/1/byteStride", 252), "cut short"),
    "index too high": (lambda f: f.mesh(f.primitive(faces=np.array([0, 1, 9], "u2"))), "vertex 9 of 4"),
    "index of floats": (lambda f: f.mesh(f.primitive(faces=np.array([0, 1, 2], "f4"))), "whole numbers"),
    "sparse outside": (changed("accessors/0/count", 2, sparse), "element 3 of 2"),
    "component type": (changed("accessors/0/componentType", 1), "componentType 1"),
    "uneven attributes": (lambda f: textured(f, uv=UV[:3].copy()), "3 TEXCOORD_0 for 4"),
    "joint too high": (changed("skins/0/joints", [], skinned), "no joints"),
    "alpha mode": (changed("materials/0/alphaMode", "SOME"), "alphaMode"),
    "wrap mode": (changed("samplers", [{"wrapS": 1}], lambda f: textured(f, sampler={})), "wraps by"),
    "no copies": (
        changed(
            "nodes/0/extensions/EXT_mesh_gpu_instancing/attributes/TRANSLATION",
            4,
            changed("accessors", [{"componentType": 5126, "count": 0, "type": "VEC3"}] * 5, instances),
        ),
        "no triangles",
    ),
    "copies of copies": (copies_of_copies, "400,000,000 triangles"),
    "glTF 1": (changed("asset/version", "1.0"), "version"),
    "lines": (only_lines, "only lines"),
    "nothing": (lambda f: None, "no triangles"),
    "all invisible": (all_invisible, "invisible"),
    "not finite": (lambda f: f.mesh(f.primitive(np.full((4, 3), np.nan, "f4"))), "not finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_says_why(tmp_path, name):
    make, word = REFUSED[name]
    file = File()
    make(file)
    assert word in refusal(file, tmp_path)


@pytest.mark.parametrize("cut", [4, 11, 30, 300, -1, -60])
def test_files_cut_short(tmp_path, cut):
    file = File()
    plain(file)
    (tmp_path / "a.glb").write_bytes(file.glb()[:cut])
    with pytest.raises(UserError, match="damaged or cut short"):
        load(tmp_path / "a.glb", up="y", textures="require")


# ---------------------------------------------------------------------------------------------------------- the others


@pytest.mark.parametrize("where", ["data", "beside", "beside, with a blank", "in Latin-1"])
def test_buffers_and_pictures_outside_the_file(tmp_path, where):
    file = File()
    plain(file)
    picture = file.json["bufferViews"][file.json["images"][0].pop("bufferView")]
    png = file.data[picture["byteOffset"] : picture["byteOffset"] + picture["byteLength"]]
    uris = {}
    for name, kind, data in (("a b.bin", "application/octet-stream", file.data), ("c d.png", "image/png", png)):
        name = name if "blank" in where else name.replace(" ", "\xe4" if "Latin" in where else "")
        uris[kind] = f"data:{kind};base64,{base64.b64encode(data).decode()}" if where == "data" else name.replace(" ", "%20")
        if where != "data":
            (tmp_path / name).write_bytes(data)
    file.json["buffers"] = [{"byteLength": len(file.data), "uri": uris["application/octet-stream"]}]
    file.json["images"] = [{"uri": uris["image/png"]}]
    mark, encoding = ("", "latin-1") if "Latin" in where else ("\ufeff", "utf-8")
    (tmp_path / "a.gltf").write_text(mark + json.dumps(file.json, ensure_ascii=False), encoding=encoding)
    shape = load(tmp_path / "a.gltf", up="y", textures="require")
    for color, found in zip(FOUR.values(), color_near(shape, *FOUR), strict=True):
        assert np.abs(found - color).max() <= 2


def test_points_become_a_cloud(tmp_path):
    file = File()
    colors = file.array(np.array([[255, 0, 0], [0, 128, 0], [0, 0, 255], [255, 255, 255]], "u1"), normalized=True)
    file.mesh(file.primitive(faces=None, extra={"mode": 0}, COLOR_0=colors), node={"translation": [5, 0, 0]})
    cloud = shape_of(file, tmp_path)
    assert isinstance(cloud, Cloud)
    np.testing.assert_allclose(cloud.points, SQUARE + np.array([5, 0, 0]))
    np.testing.assert_array_equal(cloud.colors, [RED, (0, 188, 0), BLUE, WHITE])


def of_two_parts(tmp_path, *colors) -> list[list[int]]:
    """The first colour of each part of a mesh whose parts have these colours of vertices; the remarks come last."""
    file = File()
    parts = [
        file.primitive((SQUARE + np.array([3 * i, 0, 0])).astype("f4"), COLOR_0=file.array(np.asarray(c, "f4")))
        for i, c in enumerate(colors)
    ]
    file.mesh(*[part | {"material": file.add("materials", {"metallicFactor": i})} for i, part in enumerate(parts)])
    made = shape_of(file, tmp_path)
    table = {tuple(vertex): color[:3].tolist() for part in made.parts for vertex, color in zip(part.vertices, part.colors, strict=True)}
    return [*[table[tuple(SQUARE[0] + np.array([3 * i, 0, 0]))] for i in range(len(colors))], made.warnings]


def test_colours_of_vertices_have_one_scale_in_a_file(tmp_path):
    said = ("colours of vertices go beyond 1: taken as 0 to 255",)
    dark, bright = np.full((4, 3), 1.0), np.full((4, 3), 200.0)
    assert of_two_parts(tmp_path, bright, dark) == [*of_two_parts(tmp_path, dark, bright)[1::-1], said] == [[229] * 3, [13] * 3, said]
    pure = np.tile([255.0, 0, 0], (4, 1))
    assert of_two_parts(tmp_path, pure, dark)[:2] == [[255, 0, 0], [13] * 3], "whole numbers, of which most are 0"


@pytest.mark.parametrize("light", [2.5, 40.0])
def test_a_light_above_one_leaves_the_other_colours_as_they_are(tmp_path, light):
    lit = np.full((4, 3), 0.8)
    lit[3] = [light, 1, 1]
    assert of_two_parts(tmp_path, lit, np.full((4, 3), 0.5)) == [[231] * 3, [188] * 3, ()]


def test_mask_and_blend_arrive_with_their_alpha(tmp_path):
    file = File()
    cut = np.full((2, 2, 4), 255, np.uint8)
    cut[:, 0, 3] = 0
    mask = {"alphaMode": "MASK", "alphaCutoff": 0.3, "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 0.9]}}
    mask["pbrMetallicRoughness"]["baseColorTexture"] = {"index": file.texture(saved(Image.fromarray(cut)))}
    file.mesh(file.primitive(material=mask, TEXCOORD_0=UV))
    file.mesh(file.primitive(material=colored(file, (1, 0, 0, 0.5)) | {"alphaMode": "BLEND"}))
    first, second = shape_of(file, tmp_path).parts
    assert (first.alpha_mode, first.alpha_cutoff, first.base_color[3]) == ("MASK", 0.3, 0.9)
    np.testing.assert_array_equal(first.texture[..., 3], [[0, 255]] * 2)
    assert (second.alpha_mode, second.base_color[3]) == ("BLEND", 0.5)


def test_parts_of_a_material_share_its_texture(tmp_path):
    file = File()
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": file.texture(sampler={"wrapS": 33071, "wrapT": 33648})}}}
    parts = [file.primitive(SQUARE + np.float32(3 * i), TEXCOORD_0=UV * np.float32(1 + i / 10)) for i in range(3)]
    file.add("materials", material)
    file.mesh(*(part | {"material": 0} for part in parts))
    assert len({id(part.texture) for part in shape_of(file, tmp_path).parts}) <= 2  # one that is clamped, one mirrored


def test_a_missing_picture_is_grey_where_that_is_allowed(tmp_path):
    file = File()
    plain(file)
    file.json["images"] = [{"uri": "gone.png"}]
    with pytest.raises(UserError, match=r"gone\.png"):
        shape_of(file, tmp_path)
    shape = shape_of(file, tmp_path, textures="grey")
    assert not shape.colored and shape.parts[0].base_color == (GREY, GREY, GREY, 1.0) and "gone.png" in shape.warnings[0]


# ------------------------------------------------------------------------------------------------------------ pictures


def transparent_grey() -> bytes:
    return saved(Image.fromarray(np.array([[0, 65535]], "u2")), transparency=0)


def transparent_palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    return saved(image, transparency=0)


PIXELS = {
    "16-bit grey": (saved(Image.fromarray(np.array([[0, 257 * 100, 65535]], "u2"))), [[0, 0, 0, 255], [100, 100, 100, 255], [255] * 4]),
    "16-bit grey, transparent": (transparent_grey(), [[0, 0, 0, 0], [255] * 4]),
    "float TIFF": (saved(Image.fromarray(np.array([[0, 0.4, 1]], "f4")), "TIFF"), [[0, 0, 0, 255], [102, 102, 102, 255], [255] * 4]),
    "16-bit TIFF": (saved(Image.fromarray(np.array([[0, 257 * 9]], "u2")), "TIFF"), [[0, 0, 0, 255], [9, 9, 9, 255]]),
    "32-bit TIFF": (saved(Image.fromarray(np.array([[0, 65535]], "i4")), "TIFF"), [[0, 0, 0, 255], [255] * 4]),
    "palette": (transparent_palette(), [[10, 20, 30, 0], [40, 50, 60, 255]]),
    "grey and alpha": (saved(Image.new("LA", (1, 1), (7, 8))), [[7, 7, 7, 8]]),
    "CMYK": (saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [[255, 0, 0, 255]]),
    "one bit": (saved(Image.new("1", (1, 1), 1)), [[255] * 4]),
}


@pytest.mark.parametrize("name", PIXELS)
def test_pictures_of_every_kind(name):
    data, expected = PIXELS[name]
    np.testing.assert_array_equal(textures.decode(data, "a")[0], expected)


def test_colours_under_alpha_0_survive_averaging(monkeypatch):
    monkeypatch.setattr(textures, "SIDE", 4)
    data = saved(Image.new("RGBA", (8, 8), (200, 100, 50, 0)))
    np.testing.assert_array_equal(textures.decode(data, "a"), np.full((4, 4, 4), [200, 100, 50, 0]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "TGA"])
def test_pictures_cut_short(kind):
    data = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), kind)
    for length in (3, len(data) // 2, len(data) - 100):
        with pytest.raises(UserError, match="texture 'a'"):
            textures.decode(data[:length], "a")
