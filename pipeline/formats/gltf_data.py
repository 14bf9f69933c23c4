"""The bytes of a glTF 2.0 file: JSON, buffers, views, accessors and compressed geometry. `gltf.py` reads the scene.

    document = Document(file)
    values = document.accessor(0, "POSITION")        # Values: raw numbers [n, 3], and whether they are normalised
    values.floats()                                  # [n, 3] float32

The file is not trusted: every index, offset and count is checked before an array is made.

Letters: n elements, k numbers in an element.
"""

import base64
import binascii
import importlib
import json
import struct
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.reading import File, decoded

Record = dict[str, Any]
"""A JSON object."""

COMPONENTS: Final = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5124: "<i4", 5125: "<u4", 5126: "<f4", 5130: "<f8"}
"""By glTF code of a component type: the NumPy type. 5124 and 5130 are not in the core specification, but files use them and viewers read
them."""

WIDTHS: Final = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
"""By accessor type: how many numbers an element has."""

ZEROS: Final = 1_000_000
"""Largest number of elements of an accessor without bytes, unless the file has more bytes than this."""

MESHOPT: Final = ("EXT_meshopt_compression", "KHR_meshopt_compression")

DRACO: Final = "KHR_draco_mesh_compression"

SPECULAR_GLOSSINESS: Final = "KHR_materials_pbrSpecularGlossiness"
INSTANCING: Final = "EXT_mesh_gpu_instancing"

PICTURES: Final = ("EXT_texture_webp", "EXT_texture_avif", "MSFT_texture_dds", "KHR_texture_basisu")
"""Extensions that give a texture a picture in another format."""

APPLIED: Final = frozenset(
    {
        DRACO,
        *MESHOPT,
        *PICTURES,
        SPECULAR_GLOSSINESS,
        INSTANCING,
        "KHR_mesh_quantization",
        "KHR_accessor_float64",
        "KHR_texture_transform",
        "KHR_materials_unlit",
        "KHR_materials_emissive_strength",
        "KHR_node_visibility",
    }
)
"""Extensions that are applied."""

SEEN_THROUGH: Final = frozenset(
    {"KHR_materials_transmission", "KHR_materials_volume", "KHR_materials_diffuse_transmission", "KHR_materials_volume_scatter"}
)
"""Extensions for glass and similar materials. Refraction is not drawn; the surface is opaque, in its base colour."""

UNSEEN: Final = frozenset(
    {
        "KHR_materials_anisotropy",
        "KHR_materials_clearcoat",
        "KHR_materials_dispersion",
        "KHR_materials_ior",
        "KHR_materials_iridescence",
        "KHR_materials_sheen",
        "KHR_materials_specular",
        "KHR_materials_variants",
        "KHR_lights_punctual",
        "EXT_lights_image_based",
        "EXT_lights_ies",
        "KHR_animation_pointer",
        "KHR_interactivity",
        "KHR_audio_emitter",
        "KHR_xmp",
        "KHR_xmp_json_ld",
        "MSFT_lod",
        "MSFT_packing_occlusionRoughnessMetallic",
        "MSFT_packing_normalRoughnessMetallic",
        "KHR_node_hoverability",
        "KHR_node_selectability",
        "KHR_physics_rigid_bodies",
        "KHR_collision_shapes",
        "KHR_implicit_shapes",
        "EXT_mesh_features",
        "EXT_instance_features",
        "EXT_structural_metadata",
        "CESIUM_RTC",
        "CESIUM_primitive_outline",
        "AGI_articulations",
        "AGI_stk_metadata",
        "FB_geometry_metadata",
        "EXT_mesh_manifold",
        "VRM",
        "VRMC_vrm",
        "VRMC_springBone",
        "VRMC_node_constraint",
        "VRMC_materials_mtoon",
        "MOZ_hubs_components",
    }
)
"""Extensions that change neither form nor base colour: lights, behaviour, metadata, details of reflection, variants other than the
default."""


# ---------------------------------------------------------------------------------------------------------------- JSON


def shown(value: Any) -> str:
    """A JSON value as short text for a message."""
    text = (
        json.dumps(value)
        if isinstance(value, (str, int, float, bool, type(None)))
        else "an object"
        if isinstance(value, dict)
        else "a list"
    )
    return text if len(text) <= 40 else text[:37] + "..."


def whole(owner: Record, key: str, default: int | None = None) -> int:
    """The value of a key as a whole number, 0 or more.

    Raises:
        UserError: the value is something else, or is missing and there is no default.
    """
    value = owner.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"the glTF is damaged: {key!r} should be a whole number, got {shown(value)}")
    return value


def number(owner: Record, key: str, default: float) -> float:
    """The value of a key as a number.

    Raises:
        UserError: it is something else.
    """
    value = owner.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300:
        raise UserError(f"the glTF is damaged: {key!r} should be a number, got {shown(value)}")
    return float(value)


def vector(owner: Record, key: str, default: tuple[float, ...]) -> NDArray[Any]:
    """The value of a key as an array float64, of the same length as the default.

    Raises:
        UserError: it is something else.
    """
    value = owner.get(key, default)
    if not isinstance(value, (list, tuple)) or len(value) != len(default):
        raise UserError(f"the glTF is damaged: {key!r} should be {len(default)} numbers, got {shown(value)}")
    if all(type(each) is float for each in value):  # the usual case, which must be fast because it is read for every node
        found = np.array(value, np.float64)
        if np.abs(found).max(initial=0) <= 1e300:
            return found
    return np.array([number({key: each}, key, 0) for each in value], np.float64)


def text(owner: Record, key: str, default: str) -> str:
    """The value of a key as text.

    Raises:
        UserError: it is something else.
    """
    value = owner.get(key, default)
    if not isinstance(value, str):
        raise UserError(f"the glTF is damaged: {key!r} should be a text, got {shown(value)}")
    return value


def record(owner: Record, key: str) -> Record:
    """The value of a key as a JSON object; empty where there is none.

    Raises:
        UserError: it is something else.
    """
    value = owner.get(key)
    if value is not None and not isinstance(value, dict):
        raise UserError(f"the glTF is damaged: {key!r} should be an object, got {shown(value)}")
    return value or {}


def several(owner: Record, key: str) -> list[Any]:
    """The value of a key as a list; empty where there is none.

    Raises:
        UserError: it is something else.
    """
    value = owner.get(key)
    if value is not None and not isinstance(value, list):
        raise UserError(f"the glTF is damaged: {key!r} should be a list, got {shown(value)}")
    return value or []


def wholes(owner: Record, key: str) -> list[int]:
    """The value of a key as a list of whole numbers; empty where there is none.

    Raises:
        UserError: it is something else.
    """
    return [whole({key: each}, key) for each in several(owner, key)]


def records(owner: Record, key: str) -> list[Record]:
    """The value of a key as a list of JSON objects; empty where there is none.

    Raises:
        UserError: it is something else.
    """
    found = several(owner, key)
    for each in found:
        if not isinstance(each, dict):
            raise UserError(f"the glTF is damaged: {key!r} should be a list of objects, one is {shown(each)}")
    return found


def extension(owner: Record, *names: str) -> Record | None:
    """The first of these extensions that an object has; None where it has none.

    Raises:
        UserError: the extension is no JSON object.
    """
    found = record(owner, "extensions")
    return next((record(found, name) for name in names if name in found), None)


# --------------------------------------------------------------------------------------------------------------- bytes


@dataclass(frozen=True)
class Values:
    """The elements of an accessor."""

    raw: NDArray[Any]
    """[n, k]; a view of the bytes of the file where possible."""
    normalized: bool
    """Whether whole numbers stand for 0..1 (unsigned) or -1..1 (signed)."""

    def __len__(self) -> int:
        return len(self.raw)

    def floats(self, rows: NDArray[Any] | None = None, always_normalized: bool = False) -> NDArray[Any]:
        """The elements as floats `[n, k]`: float32, or float64 where float32 would lose digits.

        Args:
            rows: indices of elements; None for all.
            always_normalized: scale whole numbers to 0..1 or -1..1, even if the accessor does not say so.
        """
        raw = self.raw if rows is None else self.raw[rows]
        kind, size = raw.dtype.kind, raw.dtype.itemsize
        if kind == "f" or not (self.normalized or always_normalized):
            return raw.astype(np.float32 if size < 4 or (kind == "f" and size == 4) else np.float64)
        most = float(np.iinfo(raw.dtype).max)
        values: NDArray[Any] = raw.astype(np.float32 if size < 4 else np.float64)
        return np.maximum(values / most, -1)


class Document:
    """One glTF 2.0 file, GLB or JSON, with the files beside it. Decoded views and accessors are kept."""

    def __init__(self, file: File) -> None:
        """Reads the JSON of a file.

        Raises:
            UserError: the file is no glTF 2.0, or cut short.
        """
        self.file = file
        head, self._binary = _chunks(file.data)
        try:
            # Padding with zeros and text in another encoding break the specification, but viewers accept both.
            self.json: Record = json.loads(decoded(head.rstrip(b"\0")))
        except (ValueError, RecursionError) as error:
            raise UserError("cannot be read as glTF, damaged or cut short? Its JSON does not parse") from error
        if not isinstance(self.json, dict):
            raise UserError("cannot be read as glTF: its JSON is no object")
        version = text(record(self.json, "asset"), "version", "1.0" if isinstance(self.json.get("meshes"), dict) else "2.0")
        if version.split(".")[0] != "2":
            raise UserError(f"glTF version {shown(version)} is not read, only 2.0: open it in an editor and export it again")
        self._bytes = len(file.data)
        self._buffers: dict[int, NDArray[Any]] = {}
        self._views: dict[int, NDArray[Any]] = {}
        self._accessors: dict[int, Values] = {}
        self._tables: dict[str, list[Record]] = {}

    def item(self, kind: str, index: int) -> Record:
        """An object of one of the top-level lists, such as ("nodes", 3).

        Raises:
            UserError: the list has no such object.
        """
        table = self.table(kind)
        if index >= len(table):
            raise UserError(f"the glTF is damaged: it names {kind}[{index}] and has {len(table)}")
        return table[index]

    def table(self, kind: str) -> list[Record]:
        """One of the top-level lists."""
        if kind not in self._tables:
            self._tables[kind] = records(self.json, kind)
        return self._tables[kind]

    def uri(self, uri: str) -> bytes:
        """The bytes in a `data:` address, or of a file beside this one.

        Raises:
            Missing: there is no such file.
            UserError: the address is damaged.
        """
        if not uri[:5].lower() == "data:":
            return self.file.beside(uri)
        kind, comma, payload = uri.partition(",")
        if not comma:
            raise UserError("the glTF is damaged: a data: address has no comma")
        try:
            plain = urllib.parse.unquote_to_bytes(payload)
            return base64.b64decode(plain) if kind.lower().endswith(";base64") else plain
        except (binascii.Error, ValueError) as error:
            raise UserError("the glTF is damaged: the base64 of a data: address is cut short or wrong") from error

    def buffer(self, index: int) -> NDArray[Any]:
        """The bytes of a buffer, `[n]` uint8.

        Raises:
            Missing: its file is missing.
            UserError: the buffer has no bytes.
        """
        if index not in self._buffers:
            buffer = self.item("buffers", index)
            if "uri" in buffer:
                data = self.uri(text(buffer, "uri", ""))
                self._bytes += len(data)
            elif index == 0 and self._binary is not None:
                data = self._binary
            else:
                raise UserError(f"buffers[{index}] has no bytes: no uri, and no binary chunk of a GLB")
            self._buffers[index] = np.frombuffer(data, np.uint8)
        return self._buffers[index]

    def piece(self, owner: Record, what: str) -> NDArray[Any]:
        """The bytes `[n]` uint8 that `buffer`, `byteOffset` and `byteLength` of an object select.

        Raises:
            UserError: they lie outside the buffer.
        """
        buffer, start, length = self.buffer(whole(owner, "buffer")), whole(owner, "byteOffset", 0), whole(owner, "byteLength")
        if start + length > len(buffer):
            raise UserError(f"{what} reaches byte {start + length} of a buffer of {len(buffer)}: damaged or cut short?")
        return buffer[start : start + length]

    def view(self, index: int) -> NDArray[Any]:
        """The bytes of a buffer view, `[n]` uint8, decompressed.

        Raises:
            UserError: they lie outside the buffer, or cannot be decompressed.
        """
        if index not in self._views:
            view, name = self.item("bufferViews", index), f"bufferViews[{index}]"
            packed = extension(view, *MESHOPT)
            self._views[index] = self.piece(view, name) if packed is None else _meshopt(packed, self.piece(packed, name), name)
        return self._views[index]

    def accessor(self, index: int, what: str) -> Values:
        """The elements of an accessor. Without a buffer view they are zeros, except those that a sparse accessor sets.

        Args:
            index: index of the accessor.
            what: what the accessor is for, for messages.

        Raises:
            UserError: the accessor is damaged, or there are too few bytes for its elements.
        """
        if index not in self._accessors:
            accessor, name = self.item("accessors", index), f"accessors[{index}] ({what})"
            raw, count, sparse = self._elements(accessor, accessor, name), whole(accessor, "count"), record(accessor, "sparse")
            if raw is None:
                if count > max(ZEROS, self._bytes):
                    raise UserError(f"{name} declares {count:,} elements and has no bytes for them")
                raw = np.broadcast_to(np.zeros(1, _dtype(accessor, name)), (count, _width(accessor, name)))  # takes no memory
            if sparse:
                raw = self._changed(raw, accessor, sparse, name)
            self._accessors[index] = Values(raw, accessor.get("normalized") is True)
        return self._accessors[index]

    def _elements(self, place: Record, accessor: Record, name: str, count: int | None = None) -> NDArray[Any] | None:
        """Elements `[n, k]` with the type of `accessor`, from the buffer view and offset in `place`; None where `place` has no buffer
        view."""
        if "bufferView" not in place:
            return None
        index = whole(place, "bufferView")
        data, stride = self.view(index), whole(self.item("bufferViews", index), "byteStride", 0)
        dtype, width = _dtype(accessor, name), _width(accessor, name)
        count, offset = whole(accessor, "count") if count is None else count, whole(place, "byteOffset", 0)
        stride = stride or dtype.itemsize * width
        if count and offset + stride * (count - 1) + dtype.itemsize * width > len(data):
            raise UserError(f"{name} declares {count:,} elements and its view has {len(data):,} bytes: damaged or cut short?")
        if not count:
            return np.empty((0, width), dtype)
        return np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize))

    def _changed(self, raw: NDArray[Any], accessor: Record, sparse: Record, name: str) -> NDArray[Any]:
        """A copy of `raw` `[n, k]` in which the elements of a sparse accessor are set."""
        changes, where, what = whole(sparse, "count"), record(sparse, "indices"), record(sparse, "values")
        indices = self._elements(where, {"componentType": where.get("componentType"), "type": "SCALAR"}, name, changes)
        values = self._elements(what, accessor, name, changes)
        if indices is None or values is None or indices.dtype.kind == "f":
            raise UserError(f"{name} is sparse and does not say what changes")
        if changes and int(indices.max()) >= len(raw):
            raise UserError(f"{name} is sparse and changes element {int(indices.max())} of {len(raw)}")
        raw = raw.copy()
        raw[indices[:, 0].astype(np.int64)] = values
        return raw

    def draco(self, packed: Record, attributes: Mapping[str, int]) -> tuple[NDArray[Any], dict[str, Values]]:
        """Decodes the geometry of a primitive.

        Args:
            packed: the JSON object of the extension.
            attributes: by attribute of the primitive, its accessor. It says whether the values are normalised.

        Returns:
            Triangles `[F, 3]`, and the values of the compressed attributes.

        Raises:
            UserError: the geometry is damaged.
        """
        DracoPy = library("DracoPy", DRACO)
        data = self.view(whole(packed, "bufferView")).tobytes()
        try:
            mesh = DracoPy.decode(data)
        except MemoryError:
            raise
        except Exception as error:  # the decoder raises errors of any type, and each means that the bytes are damaged
            raise UserError(f"the compressed geometry ({DRACO}) is damaged or cut short") from error
        if not hasattr(mesh, "faces"):
            raise UserError(f"the compressed geometry ({DRACO}) is a cloud of points, where triangles are expected")
        ids, found = record(packed, "attributes"), {}
        for name in ids:
            attribute = mesh.get_attribute_by_unique_id(whole(ids, name))
            if attribute is None:
                raise UserError(f"the compressed geometry ({DRACO}) has no attribute {whole(ids, name)} for {name}")
            raw = np.asarray(attribute["data"])
            accessor = self.item("accessors", attributes[name]) if name in attributes else {}
            found[name] = Values(raw.reshape(len(raw), -1), accessor.get("normalized") is True)
        return np.asarray(mesh.faces).reshape(-1, 3), found


def library(name: str, what: str) -> Any:
    """A Python package that decodes an extension.

    Raises:
        UserError: the package is not installed. For some machines no wheel exists.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"the file uses {what}, for which the Python package {name} is missing: pip install {name}") from error


def _dtype(accessor: Record, name: str) -> np.dtype:
    """The NumPy type of the components of an accessor."""
    code = whole(accessor, "componentType")
    if code not in COMPONENTS:
        raise UserError(f"{name} has componentType {code}, which glTF does not know")
    return np.dtype(COMPONENTS[code])


def _width(accessor: Record, name: str) -> int:
    """How many numbers an element of an accessor has."""
    kind = text(accessor, "type", "")
    if kind not in WIDTHS:
        raise UserError(f"{name} has type {shown(kind)}, which glTF does not know")
    return WIDTHS[kind]


def _chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON and the binary chunk (or None) of a file. A file that does not begin as a GLB is all JSON.

    Raises:
        UserError: the GLB is not of version 2, or is cut short.
    """
    if data[:4] != b"glTF":
        return data, None
    if len(data) < 20:
        raise UserError(f"the GLB is damaged or cut short: {len(data)} bytes")
    _, version, total = struct.unpack_from("<4sII", data)
    if version != 2:
        raise UserError(f"GLB version {version} is not read, only 2: open it in an editor and export it again")
    if total > len(data):
        raise UserError(f"the GLB is damaged or cut short: it declares {total:,} bytes and has {len(data):,}")
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= total:
        length, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + length > len(data):
            raise UserError(f"the GLB is damaged or cut short: a part declares {length:,} bytes and {len(data) - at - 8:,} are left")
        chunks.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 8 + length
    if b"JSON" not in chunks:
        raise UserError("the GLB is damaged: it has no JSON")
    return chunks[b"JSON"], chunks.get(b"BIN\0")


def _meshopt(packed: Record, data: NDArray[Any], name: str) -> NDArray[Any]:
    """Decompresses `data` `[m]` uint8 of EXT_meshopt_compression to bytes `[n]` uint8.

    Raises:
        UserError: the data are damaged, or of a kind that the library does not know.
    """
    meshoptimizer = library("meshoptimizer", MESHOPT[0])
    count, stride = whole(packed, "count"), whole(packed, "byteStride")
    mode, sieve = text(packed, "mode", ""), text(packed, "filter", "NONE")
    # Smallest compressed sizes: 256 vertices take one byte for each four bytes of a vertex, and an index takes a third of a byte.
    if count * stride > 1024 * len(data) + 1024:
        raise UserError(f"{name} declares {count:,} elements of {stride} bytes in {len(data):,} compressed bytes")
    strides = {"ATTRIBUTES": range(4, 257, 4), "TRIANGLES": (2, 4), "INDICES": (2, 4)}
    filters = {"NONE": strides["ATTRIBUTES"], "OCTAHEDRAL": (4, 8), "QUATERNION": (8,), "EXPONENTIAL": strides["ATTRIBUTES"]}
    if mode not in strides or sieve not in filters:
        raise UserError(f"{name} is compressed by EXT_meshopt_compression in mode {shown(mode)} with filter {shown(sieve)}: not read")
    if stride not in strides[mode] or (stride not in filters[sieve] and mode == "ATTRIBUTES") or (mode == "TRIANGLES" and count % 3):
        raise UserError(f"{name} is compressed by EXT_meshopt_compression as {count} elements of {stride} bytes: damaged?")
    if not count:
        return np.empty(0, np.uint8)
    try:
        if mode == "ATTRIBUTES":
            found = np.ascontiguousarray(meshoptimizer.decode_vertex_buffer(count, stride, data)).view(np.uint8).reshape(-1)
            match sieve:
                case "OCTAHEDRAL":
                    found = meshoptimizer.decode_filter_oct(found, count, stride)
                case "QUATERNION":
                    found = meshoptimizer.decode_filter_quat(found, count, stride)
                case "EXPONENTIAL":
                    found = meshoptimizer.decode_filter_exp(found, count, stride)
            return found
        decode = meshoptimizer.decode_index_buffer if mode == "TRIANGLES" else meshoptimizer.decode_index_sequence
        # Always ask for four bytes: asked for two, the library still fills an array of four.
        indices: NDArray[Any] = decode(count, 4, data)
        if stride == 2 and int(indices.max()) > 0xFFFF:
            raise UserError(f"{name} is compressed by EXT_meshopt_compression and holds indices of more than two bytes: damaged?")
        return indices.astype(f"<u{stride}").view(np.uint8)
    except UserError:
        raise
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{name}, compressed by EXT_meshopt_compression, is damaged or cut short") from error
