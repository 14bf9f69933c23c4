"""COLLADA 1.4 and 1.5 (`.dae`), and archives with a document and its pictures (`.zae`).

A material that cannot be read is left out with a warning; its geometry is kept. Skinned meshes have the pose that their joints have in
the file. Morphed meshes have the default weights. Lengths are not converted by the unit of the file, because shapes are scaled anyway.
Specification: https://www.khronos.org/files/collada_spec_1_4.pdf

Letters: V places of a geometry, v vertices of a primitive (places with normal, colour and so on), C corners of its polygons,
P polygons, F triangles, J joints.
"""

import contextlib
import dataclasses
import re
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline import textures
from pipeline.formats.package import Archive, not_repeated, parsed
from pipeline.geometry import GREY, REACH, TRIANGLES, Geometry, Mesh, Part, compact, copied, grouped, unit
from pipeline.polygons import ALONG_SURFACE, across, projected, triangulated
from pipeline.reading import File, Missing

NODES: Final = 1_000_000
"""Largest number of nodes in a scene, copies of copies included."""

DEPTH: Final = 500
"""Largest depth of nested nodes. Deeper nesting means that a node contains itself."""

LUMINANCE: Final = np.array([0.212671, 0.715160, 0.072169])
"""Weights of red, green and blue in the modes RGB_ZERO and RGB_ONE, by the specification."""

PRIMITIVES: Final = ("triangles", "polylist", "polygons", "trifans", "tristrips")
SHADERS: Final = ("phong", "blinn", "lambert", "constant")


class Broken(Exception):
    """A material or a skin cannot be read."""


@dataclass(frozen=True)
class Material:
    """A material, and how its picture lies on a surface."""

    look: dict[str, Any]
    """Fields of a `Part`."""
    said: bool
    """Whether it gives a colour."""
    texcoord: str = ""
    """The name that `bind_vertex_input` binds to a set of UV coordinates."""
    turn: tuple[float, float, float, float] = (1.0, 1.0, 0.0, 0.0)
    """Repeat in u, repeat in v, offset in u, offset in v of the picture."""
    modes: tuple[str, str] = ("WRAP", "WRAP")
    """Wrap mode in u and v, see `package.not_repeated`."""


@dataclass(frozen=True)
class Primitive:
    """Triangles with one material symbol."""

    symbol: str
    faces: NDArray[Any]
    """[F, 3] int64, over the vertices of this primitive."""
    places: NDArray[Any]
    """[v] int64: the place of each vertex in its geometry."""
    normals: NDArray[Any] | None
    """[v, 3]"""
    colors: NDArray[Any] | None
    """[v, 3] or [v, 4] float."""
    coordinates: dict[int, NDArray[Any]]
    """By number of the set: UV coordinates [v, 2]."""


@dataclass(frozen=True)
class Surface:
    """A geometry: positions, and the triangles between them."""

    places: NDArray[Any]
    """[V, 3] float64."""
    primitives: tuple[Primitive, ...]


class Input(NamedTuple):
    """An input of a primitive: a source, and which of the indices of a corner points into it."""

    semantic: str
    set: int
    """Number of a set of UV coordinates."""
    offset: int
    """Position of the index among the indices of a corner."""
    source: Any


class Instance(NamedTuple):
    """A geometry or controller in the scene."""

    element: Any
    """`instance_geometry` or `instance_controller`."""
    matrix: NDArray[Any]
    """[4, 4]"""


def read(file: File) -> Geometry:
    """The surface in a file.

    Raises:
        UserError: the file is no COLLADA, is damaged, names parts in other files, or has no surface.
    """
    archive = Archive(file.data) if file.suffix == ".zae" or file.data[:4] == b"PK\x03\x04" else None
    data = file.data if archive is None else archive.read(main_document(archive))
    with np.errstate(all="ignore"):  # coordinates that are not finite are refused where they are used
        return _Document(file, data, archive).shape()


def head(path: Path) -> bytes:
    """The beginning of a COLLADA document, which says which axis points up; empty where it cannot be read."""
    with path.open("rb") as stream:
        start = stream.read(1 << 16)
    if start.startswith(b"PK"):
        try:
            archive = Archive(path.read_bytes())
            start = archive.read(main_document(archive))[: 1 << 16]
        except UserError:
            return b""  # `read` will say why
    return start.replace(b"\0", b"")  # makes UTF-16 readable as far as it is needed


def main_document(archive: Archive) -> str:
    """The name of the COLLADA document in an archive: the one that `manifest.xml` names, else the first `.dae`.

    Raises:
        UserError: there is no document.
    """
    manifest = archive.find("manifest.xml")
    if manifest:
        root = parsed(archive.read(manifest), "manifest.xml")
        named = [e.text or "" for e in root.iter() if _local(e) == "dae_root"]
        found = archive.find(named[0].split("#")[0]) if named else None
        if found:
            return found
    found = next((name for name in archive.names if name.lower().endswith(".dae")), None)
    if found is None:
        raise UserError("the archive holds no .dae file")
    return found


def _int(element: Any, name: str, default: int = 0) -> int:
    """The whole number in an attribute.

    Raises:
        UserError: the attribute holds anything else.
    """
    text = (element.get(name) or "").strip()
    if text and not re.fullmatch(r"\+?\d{1,9}", text):
        raise UserError(f"<{element.tag}> has {name}={text!r}, expected a whole number from 0")
    return int(text) if text else default


def _whole(text: str | None) -> NDArray[Any]:
    """All numbers in a text, int64, each at least -1.

    Raises:
        UserError: the text holds anything else.
    """
    if not (text or "").strip():
        return np.zeros(0, np.int64)
    try:
        whole = np.fromstring(text or "", np.int64, sep=" ")  # ten times as fast as by float64
        if whole.min() >= -1 and whole.max() <= 1e12:
            return whole
    except ValueError:  # whole numbers may be written as 1.0
        pass
    numbers = _numbers(text)
    if (len(numbers) and not (numbers == np.rint(numbers)).all()) or (np.abs(numbers) > 1e12).any() or (numbers < -1).any():
        raise UserError("damaged: expected whole numbers")
    return numbers.astype(np.int64)


def _local(element: Any) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _numbers(text: str | None) -> NDArray[Any]:
    """All numbers in a text, float64. Decimal commas are read where the text has no decimal point."""
    text = (text or "").strip()
    if not text:
        return np.zeros(0)
    if "," in text and "." not in text and all(re.fullmatch(r"[-+]?\d+(,\d+)?([eE][-+]?\d+)?", word) for word in text.split()):
        text = text.replace(",", ".")
    try:
        return np.fromstring(text, np.float64, sep=" ")
    except ValueError as error:
        raise UserError(f"damaged or cut short: expected numbers, got {text[:40]!r}") from error


@dataclass
class _Document:
    """A COLLADA document. What is read is kept, because many instances share geometries and materials."""

    file: File
    data: bytes
    archive: Archive | None
    root: Any = None
    ids: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, NDArray[Any] | None] = field(default_factory=dict)
    surfaces: dict[Any, Surface] = field(default_factory=dict)
    """By geometry element."""
    materials: dict[tuple[str, str], Material] = field(default_factory=dict)
    """By material symbol and the address of the bound material."""
    arrays: dict[Any, NDArray[Any]] = field(default_factory=dict)
    """By array element: its numbers."""
    worlds: dict[Any, NDArray[Any]] = field(default_factory=dict)
    """By node: matrix to the scene `[4, 4]`. For a node with copies, the matrix of the first."""

    def __post_init__(self) -> None:
        self.root = parsed(self.data, self.file.path.name)
        if _local(self.root).upper() != "COLLADA":
            raise UserError(f"cannot be read as COLLADA: the document is a <{_local(self.root)}>")
        for element in self.root.iter():
            element.tag = _local(element)
            if element.get("id"):
                self.ids.setdefault(element.get("id"), element)

    # ------------------------------------------------------------------------------------------------------ finding

    def find(self, url: str | None, what: str) -> Any:
        """The element with an id.

        Args:
            url: the id, after `#`.
            what: what is looked for, for the message.

        Raises:
            UserError: the element is in another file, or nowhere.
        """
        url = (url or "").strip()
        name, mark, fragment = url.partition("#")
        if mark and name:
            raise UserError(f"{what} {url!r} is in another file, which is not read: join them into one")
        key = fragment if mark else name
        found = self.ids.get(key, self.ids.get(urllib.parse.unquote(key)))
        if found is None:
            raise UserError(f"{what} {url!r} is not in the file")
        return found

    def shape(self) -> Mesh:
        """The surface of the scene. See `read`."""
        instances = self.instances()
        placed: dict[Any, tuple[Part, list[NDArray[Any]]]] = {}  # each distinct part is made once, even if it has many copies
        said, total = False, 0
        for index, instance in enumerate(instances):
            element, bent, matrix = self.moved(instance)
            surface = self.surface(element)
            for number, primitive in enumerate(surface.primitives):
                total += len(primitive.faces)
                if total > TRIANGLES:
                    raise UserError(f"the scene expands to more than {TRIANGLES:,} triangles")
                bound = next((e for e in instance.element.iter("instance_material") if e.get("symbol") == primitive.symbol), None)
                material = self.material(primitive.symbol, bound)
                chosen = self.chosen_set(material, bound, primitive)
                key = (element, number, id(material), chosen, index if bent is not None else -1)
                if key not in placed and len(primitive.faces):
                    part, colored = self.part(surface.places if bent is None else bent, primitive, material, chosen, bent is not None)
                    said |= colored
                    placed[key] = (part, [])
                if key in placed:
                    placed[key][1].append(matrix)
        if not placed:
            raise UserError("the file holds no triangles" + ("" if instances else " (no node of the scene holds a geometry)"))
        parts = [copied(part, np.stack(matrices)) for part, matrices in placed.values()]
        if all(part.base_color[3] == 0 for part in parts):
            self.file.warn("every material is wholly transparent, which would leave nothing to see: taken as opaque")
            parts = [dataclasses.replace(p, base_color=(*p.base_color[:3], 1.0), alpha_mode="OPAQUE") for p in parts]
        return Mesh(parts=tuple(grouped(parts)), colored=said, warnings=tuple(self.file.warnings))

    # ---------------------------------------------------------------------------------------------------- the scene

    def instances(self) -> list[Instance]:
        """All geometries and controllers of the scene, in order."""
        named = [e.get("url") for e in self.root.findall("scene/instance_visual_scene")]
        scenes = [self.find(url, "visual scene") for url in named] or self.root.findall("library_visual_scenes/visual_scene")
        tops = [node for scene in scenes for node in scene.findall("node")]
        if not scenes:
            tops = self.root.findall("library_nodes/node")
        found: list[Instance] = []
        todo = [(node, np.eye(4), 0) for node in reversed(tops)]
        count = 0
        while todo:
            node, parent, depth = todo.pop()
            count += 1
            if depth > DEPTH:
                raise UserError(f"node {node.get('id') or node.get('name')!r} contains itself, or is nested deeper than {DEPTH}")
            if count > NODES:
                raise UserError(f"the scene expands to more than {NODES:,} nodes")
            world = parent @ _transform(node)
            self.worlds.setdefault(node, world)
            children: list[Any] = []
            for child in node:
                match child.tag:
                    case "node":
                        children.append(child)
                    case "instance_node":
                        children.append(self.find(child.get("url"), "node"))
                    case "instance_geometry" | "instance_controller":
                        found.append(Instance(child, world))
            todo += [(child, world, depth + 1) for child in reversed(children)]
        if not scenes and not tops:
            self.file.warn("the file has no scene: its geometries are taken as they are")
            geometries = self.root.findall("library_geometries/geometry")
            found = [Instance(_element("instance_geometry", f"#{g.get('id')}"), np.eye(4)) for g in geometries if g.get("id")]
        return found

    # ------------------------------------------------------------------------------------------------- the surfaces

    def surface(self, element: Any) -> Surface:
        """The surface in a geometry element, read once."""
        if element not in self.surfaces:
            self.surfaces[element] = self.geometry(element)
        return self.surfaces[element]

    def moved(self, instance: Instance) -> tuple[Any, NDArray[Any] | None, NDArray[Any]]:
        """The geometry element of an instance, its positions `[V, 3]` if a controller deforms it (else None), and its matrix `[4, 4]`."""
        if instance.element.tag == "instance_geometry":
            return self.find(instance.element.get("url"), "geometry"), None, instance.matrix
        return self.controlled(instance)

    def controlled(self, instance: Instance) -> tuple[Any, NDArray[Any] | None, NDArray[Any]]:
        """The geometry element that a controller deforms, its deformed positions `[V, 3]`, and their matrix `[4, 4]`."""
        controller = self.find(instance.element.get("url"), "controller")
        if controller.tag == "geometry":
            return controller, None, instance.matrix
        skin, morph = controller.find("skin"), controller.find("morph")
        if morph is not None:
            element, places = self.morphed(morph)
            return element, places, instance.matrix
        if skin is None:
            raise UserError(f"controller {controller.get('id')!r} is neither skin nor morph")
        target = self.find(skin.get("source"), "geometry")
        if target.tag == "controller" and target.find("morph") is not None:
            element, places = self.morphed(target.find("morph"))
        else:
            element, places = target, self.surface(target).places
        return element, self.skinned(skin, places, instance), np.eye(4)

    def morphed(self, morph: Any) -> tuple[Any, NDArray[Any]]:
        """The base geometry of a morph, and its positions `[V, 3]` with the default weights."""
        base = self.find(morph.get("source"), "geometry")
        places = self.surface(base).places
        inputs = {e.get("semantic"): e for e in morph.iterfind("targets/input")}
        if "MORPH_TARGET" not in inputs or "MORPH_WEIGHT" not in inputs:
            return base, places
        names = self.words(self.find(inputs["MORPH_TARGET"].get("source"), "source"))
        weights = self.array(self.find(inputs["MORPH_WEIGHT"].get("source"), "source"))[:, 0]
        total = places * (1 if morph.get("method") == "RELATIVE" else 1 - weights[: len(names)].sum())
        for name, weight in zip(names, weights, strict=False):
            if weight:
                target = self.surface(self.find(f"#{name}", "geometry")).places
                if len(target) != len(places):
                    raise UserError(f"morph target {name!r} has {len(target)} places, its base {len(places)}")
                total = total + weight * target
        return base, total

    def skinned(self, skin: Any, places: NDArray[Any], instance: Instance) -> NDArray[Any]:
        """Positions `[V, 3]` of a skinned geometry in the scene, in the pose of its joints."""
        bind = _numbers(skin.findtext("bind_shape_matrix"))
        bind = bind.reshape(4, 4) if bind.size == 16 else np.eye(4)
        bound = places @ bind[:3, :3].T + bind[:3, 3]
        try:
            moves = self.joint_matrices(skin, instance)  # [J, 4, 4]
            joints, vertices, weights = self.influences(skin, len(places))
            if len(joints) and joints.max() >= len(moves):
                raise Broken(f"joint {joints.max()} of {len(moves)}")
        except (Broken, UserError) as error:
            self.file.warn(f"a skin is left in its bind pose ({error})")
            return np.asarray(bound)
        total = np.zeros((len(places), 4, 4))
        whole = np.concatenate([moves, np.eye(4)[None]])  # joint -1 stands for the bind shape
        np.add.at(total, vertices, weights[:, None, None] * whole[joints])
        free = np.bincount(vertices, weights, len(places)) < 1e-9
        total[free] = np.eye(4)
        total /= total[:, 3:, 3:]  # weights sum to 1
        turned: NDArray[Any] = np.einsum("vij,vj->vi", total[:, :3, :3], bound)
        skinned: NDArray[Any] = turned + total[:, :3, 3]
        return skinned

    def joint_matrices(self, skin: Any, instance: Instance) -> NDArray[Any]:
        """For each joint, the matrix in the scene times the inverse bind matrix: `[J, 4, 4]`."""
        inputs = {e.get("semantic"): e for e in skin.iterfind("joints/input")}
        if "JOINT" not in inputs:
            raise Broken("no joints")
        names = self.words(self.find(inputs["JOINT"].get("source"), "source"))
        if "INV_BIND_MATRIX" not in inputs:
            raise Broken("no INV_BIND_MATRIX")
        inverse = self.array(self.find(inputs["INV_BIND_MATRIX"].get("source"), "source"))
        if inverse.size != 16 * len(names):
            raise Broken(f"{len(names)} joints, {inverse.size} numbers of inverse bind matrices")
        # A joint name is the sid of a node below the skeleton; else the sid of any node; else an id or a name.
        roots = [self.find(e.text, "skeleton") for e in instance.element.findall("skeleton")]
        known: dict[str, Any] = {}
        for key, nodes in (
            ("sid", [n for top in roots for n in top.iter("node")]),
            *((k, list(self.worlds)) for k in ("sid", "id", "name")),
        ):
            for node in nodes:
                if node.get(key) and node in self.worlds:
                    known.setdefault(node.get(key), node)
        missing = [name for name in names if name not in known]
        if missing:
            raise Broken(f"joint {missing[0]!r} is no node of the scene")
        matrices: NDArray[Any] = np.stack([self.worlds[known[name]] for name in names]) @ inverse.reshape(-1, 4, 4)
        return matrices

    def influences(self, skin: Any, count: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Joint, vertex and weight of each influence, `[n]` each."""
        element = skin.find("vertex_weights")
        if element is None:
            raise Broken("no vertex_weights")
        inputs = {e.get("semantic"): e for e in element.iterfind("input")}
        offsets = {semantic: _int(e, "offset") for semantic, e in inputs.items()}
        if not {"JOINT", "WEIGHT"} <= offsets.keys():
            raise Broken("no joints or no weights")
        counts, values = _whole(element.findtext("vcount")), _whole(element.findtext("v"))
        stride = max(offsets.values()) + 1
        if len(counts) != count or len(values) != counts.sum() * stride:
            raise Broken(f"influences of {len(counts)} vertices, {count} are there")
        values = values.reshape(-1, stride)
        weights = self.array(self.find(inputs["WEIGHT"].get("source"), "source"))[:, 0]
        which = values[:, offsets["WEIGHT"]]
        if len(which) and not (0 <= which.min() and which.max() < len(weights)):
            raise Broken(f"a weight {which.max()} of {len(weights)}")
        return values[:, offsets["JOINT"]], np.repeat(np.arange(count), counts), weights[which]

    def geometry(self, element: Any) -> Surface:
        """Reads the surface in a geometry element."""
        mesh = element.find("mesh")
        mesh = element.find("convex_mesh") if mesh is None else mesh
        name = element.get("name") or element.get("id")
        if mesh is None or mesh.get("convex_hull_of"):
            kinds = [c.tag for c in element if c.tag not in ("asset", "extra")]
            if kinds and kinds[0] == "spline":
                self.file.warn("curves are left out")
                return Surface(np.zeros((0, 3)), ())
            raise UserError(f"geometry {name!r} is a {kinds[0] if kinds else 'nothing'}, which is not read")
        places = np.zeros((0, 3))
        primitives = []
        for child in mesh:
            if child.tag in ("lines", "linestrips"):
                self.file.warn("lines are left out")
            elif child.tag in PRIMITIVES:
                try:
                    found, primitive = self.primitive(child)
                except UserError as error:
                    raise UserError(f"geometry {name!r}: {error}") from error
                places = found
                primitives.append(primitive)
        if not len(places) and mesh.find("vertices") is not None:
            inputs = {e.get("semantic"): e for e in mesh.iterfind("vertices/input")}
            if "POSITION" in inputs:
                places = self.array(self.find(inputs["POSITION"].get("source"), "source"), 3)
        return Surface(places, tuple(primitives))

    def primitive(self, element: Any) -> tuple[NDArray[Any], Primitive]:
        """One element of polygons: the positions `[V, 3]` of its geometry, and its triangles."""
        inputs = self.inputs(element)
        position = next((one for one in inputs if one.semantic == "POSITION"), None)
        if position is None:
            raise UserError("a primitive has no positions")
        places = self.array(position.source, 3)
        counts, rows = _polygons(element, _stride(element))
        if counts.sum() != len(rows):
            raise UserError(f"damaged or cut short: polygons of {counts.sum():,} corners, {len(rows):,} are there")
        corners = rows[:, position.offset]
        if len(corners) and not (0 <= corners.min() and corners.max() < len(places)):
            wrong = corners.min() if corners.min() < 0 else corners.max()
            raise UserError(f"a polygon names vertex {wrong} of {len(places)} (index out of range)")
        if element.tag == "polygons" and element.find("ph") is not None:
            triangles = _with_holes(element, places, counts, corners)
        else:
            triangles, _ = triangulated(places, counts, corners)  # [F, 3] positions in corners
        used = rows[triangles.reshape(-1)]  # [3 F, stride]
        tables = self.attributes(inputs, used)
        kept, faces = _merged(used[:, sorted({position.offset, *(offset for offset, _ in tables.values())})])
        vertex = used[kept]  # [v, stride]
        found = {name: table[vertex[:, offset]] for name, (offset, table) in tables.items()}
        return places, Primitive(
            symbol=element.get("material") or "",
            faces=faces.reshape(-1, 3),
            places=vertex[:, position.offset],
            normals=found["NORMAL"][:, :3] if "NORMAL" in found else None,
            colors=found["COLOR"][:, :4] if "COLOR" in found else None,
            coordinates={int(name[8:]): table[:, :2] for name, table in found.items() if name.startswith("TEXCOORD")},
        )

    def inputs(self, element: Any) -> list[Input]:
        """What the indices of a primitive point into. The input VERTEX stands for the inputs of the element that it names."""
        inputs: list[Input] = []
        for one in element.findall("input"):
            offset, number = _int(one, "offset"), _int(one, "set")
            source = self.find(one.get("source"), "source")
            if one.get("semantic") == "VERTEX":
                for inner in source.findall("input"):
                    inputs.append(Input(inner.get("semantic"), _int(inner, "set"), offset, self.find(inner.get("source"), "source")))
            else:
                inputs.append(Input(one.get("semantic"), number, offset, source))
        return inputs

    def attributes(self, inputs: list[Input], used: NDArray[Any]) -> dict[str, tuple[int, NDArray[Any]]]:
        """Offset and values of normals (`NORMAL`), vertex colours (`COLOR`) and each set of UV coordinates (`TEXCOORD0` ...).

        Args:
            inputs: the inputs of a primitive.
            used: `[3 F, stride]` indices of its triangles' corners.
        """
        tables: dict[str, tuple[int, NDArray[Any]]] = {}
        for semantic, number, offset, source in inputs:
            width = {"NORMAL": 3, "COLOR": 3, "TEXCOORD": 2}.get(semantic)
            name = f"TEXCOORD{number}" if semantic == "TEXCOORD" else semantic
            if width is None or name in tables:
                continue
            try:
                table, column = self.array(source), used[:, offset]
                if column.size and not (0 <= column.min() and column.max() < len(table)):
                    raise UserError(f"index {column.max()} of {len(table)}")
                if table.shape[1] < width:
                    raise UserError(f"{table.shape[1]} numbers each")
            except UserError as error:
                self.file.warn(f"a source of {semantic} cannot be read and is left out ({error})")
                continue
            tables[name] = (offset, table)
        return tables

    def array(self, source: Any, columns: int = 0) -> NDArray[Any]:
        """Numbers `[n, columns]` of a source, in the rows that its accessor describes.

        Parameters of the accessor without a name are skipped if others have a name.

        Args:
            source: a `<source>`, or `<vertices>` for its positions.
            columns: how many numbers of each row to return; 0 for all.
        """
        if source.tag == "vertices":
            inner = next((e for e in source.findall("input") if e.get("semantic") == "POSITION"), None)
            return self.array(self.find(inner.get("source") if inner is not None else "", "source"), columns)
        accessor = source.find("technique_common/accessor")
        held = source.find("float_array")
        held = source.find("int_array") if held is None else held
        if accessor is not None and accessor.get("source"):
            named = self.find(accessor.get("source"), "array")
            held = named if named.tag in ("float_array", "int_array") else held
        if held is None:
            raise UserError(f"source {source.get('id')!r} holds no numbers")
        if held not in self.arrays:
            self.arrays[held] = _numbers(held.text)
        numbers = self.arrays[held]
        stride = _int(accessor, "stride", 1) if accessor is not None else columns or 1
        offset = _int(accessor, "offset") if accessor is not None else 0
        declared = _int(accessor, "count") if accessor is not None else 0
        if stride < 1 or offset < 0:
            raise UserError(f"source {source.get('id')!r} has stride {stride} and offset {offset}")
        available = max(len(numbers) - offset, 0) // stride
        if declared > available:
            raise UserError(
                f"damaged or cut short: source {source.get('id')!r} declares {declared:,} rows of {stride}, {available:,} are there"
            )
        table = numbers[offset : offset + available * stride].reshape(-1, stride)
        params = accessor.findall("param") if accessor is not None else []
        kept = [i for i, p in enumerate(params[:stride]) if p.get("name")]
        if kept and len(kept) < len(params):
            table = table[:, kept]
        if columns and table.shape[1] < columns:
            raise UserError(f"source {source.get('id')!r} has {table.shape[1]} numbers each, expected {columns}")
        return table[:, :columns] if columns else table

    def words(self, source: Any) -> list[str]:
        """The names in a source."""
        held = next((source.find(name) for name in ("Name_array", "IDREF_array", "SIDREF_array") if source.find(name) is not None), None)
        if held is None:
            raise UserError(f"source {source.get('id')!r} holds no names")
        return (held.text or "").split()

    # ------------------------------------------------------------------------------------------------ the materials

    def chosen_set(self, material: Material, bound: Any, primitive: Primitive) -> int:
        """Number of the set of UV coordinates that the picture of a material uses; -1 where there is none."""
        sets = primitive.coordinates
        if material.look.get("texture") is None or not sets:
            return -1
        for one in bound.findall("bind_vertex_input") if bound is not None else ():
            if one.get("semantic") == material.texcoord and _int(one, "input_set") in sets:
                return _int(one, "input_set")
        return min(sets)

    def part(self, places: NDArray[Any], primitive: Primitive, material: Material, chosen: int, bent: bool) -> tuple[Part, bool]:
        """Triangles with their material, and whether the file gives their colour.

        Args:
            places: `[V, 3]` positions of the geometry.
            primitive: the triangles.
            material: their material.
            chosen: number of the set of UV coordinates; -1 for none.
            bent: whether a controller has deformed the positions, so that the normals of the file no longer fit.
        """
        look, said, uv = dict(material.look), material.said, None
        base = look.pop("base_color", (GREY, GREY, GREY, 1.0))
        if look.get("texture") is not None:
            if chosen >= 0:
                repeat, offset = np.array(material.turn[:2]), np.array(material.turn[2:])
                uv = primitive.coordinates[chosen] * repeat + offset
                uv = np.where(np.abs(uv) < REACH, uv, 0)
            else:
                self.file.warn("a picture is left out: its surface has no texture coordinates")
                look.update(texture=None)
                base, said = (GREY, GREY, GREY, base[3]), False
        colors = None
        if primitive.colors is not None and uv is None:
            colors = np.hstack([primitive.colors, np.ones((len(primitive.colors), 4 - primitive.colors.shape[1]))])
            colors = np.rint(np.clip(np.nan_to_num(colors), 0, 1) * 255).astype(np.uint8)
            if not said or max(base[:3]) == 0:  # exporters write black where only the vertices have colours
                base = (1.0, 1.0, 1.0, base[3])
            said = True
            if len(colors) and colors[:, 3].max() == 0:
                self.file.warn("alpha is 0 everywhere, which would leave nothing to see: taken as opaque")
                colors[:, 3] = 255
            elif len(colors) and colors[:, 3].min() < 255:
                look["alpha_mode"] = "BLEND"
        vertices, normals = places[primitive.places], None if bent else unit(primitive.normals, len(primitive.places))
        some = primitive.faces[:: max(1, len(primitive.faces) // 4096)]
        if normals is not None and not across(normals[some], vertices[some]):
            self.file.warn(ALONG_SURFACE)
            normals = None
        part = Part(vertices=vertices, faces=primitive.faces, normals=normals, uv=uv, colors=colors, base_color=base, **look)
        return compact(part if uv is None else not_repeated(self.file, part, material.modes)), said

    def material(self, symbol: str, bound: Any) -> Material:
        """The material of a symbol, read once. One that cannot be read says nothing, and a warning is given.

        Args:
            bound: `<instance_material>` of the symbol, or None.
        """
        target = (bound.get("target") or "") if bound is not None else ""
        if (symbol, target) not in self.materials:
            try:
                self.materials[symbol, target] = self.read_material(symbol, target)
            except _BadPicture:
                raise
            except (Broken, UserError) as error:
                self.file.warn(f"material {symbol!r} is left out ({error})")
                self.materials[symbol, target] = Material({}, False)
        return self.materials[symbol, target]

    def read_material(self, symbol: str, target: str) -> Material:
        """Reads the material with an address, or the one that a symbol without an address means.

        Raises:
            Broken: the material cannot be read.
        """
        if target:
            material = self.find(target, "material")
        else:
            # Some programs bind no material: the symbol is the name of the material, or the file has only one.
            all_of_them = self.root.findall("library_materials/material")
            named = [m for m in all_of_them if symbol and symbol in (m.get("id"), m.get("name"))]
            if not named and len(all_of_them) == 1 and self.root.find(".//instance_material") is None:
                named = all_of_them
            if not named:
                if symbol and all_of_them:
                    raise Broken("no material is bound to it")
                return Material({}, False)
            material = named[0]
        instance = material.find("instance_effect")
        if instance is None:
            raise Broken("it names no effect")
        effect = self.find(instance.get("url"), "effect")
        profile = effect.find("profile_COMMON")
        if profile is None:
            raise Broken("its effect has no profile_COMMON")
        shader = next((e for e in profile.iter() if e.tag in SHADERS), None)
        if shader is None:
            raise Broken(f"none of {', '.join(SHADERS)}")
        params = {e.get("sid"): e for e in (*effect.findall("newparam"), *profile.iter("newparam"))}
        for e in instance.findall("setparam"):
            params[e.get("ref")] = e
        return self.shaded(shader, params)

    def shaded(self, shader: Any, params: dict[str, Any]) -> Material:
        """The material that a shader of the common profile describes."""
        diffuse = self.value(shader.find("diffuse"), params, "diffuse")
        emission = self.value(shader.find("emission"), params, "emission")
        light = emission.color if emission.color is not None else np.zeros(4)
        picture, base = diffuse, diffuse.color
        if shader.tag == "constant" or (diffuse.texture is None and emission.texture is not None):
            # The emission is the only colour: hand-painted models keep their colour there.
            picture, base, light = emission, emission.color if diffuse.color is None else diffuse.color, np.zeros(4)
            if shader.tag == "constant" and emission.color is not None:
                base = emission.color
        texture = picture.texture
        if texture is not None or picture.lost:
            base = None  # a colour beside a picture is not multiplied, and one whose picture is missing is grey
        said = base is not None or texture is not None
        color = np.append(np.clip((1.0, 1.0, 1.0) if texture is not None else (GREY,) * 3 if base is None else base[:3], 0, 1), 1.0)
        look: dict[str, Any] = {"texture": texture, "emissive": tuple(np.clip(light[:3], 0, 1).tolist())}
        shininess = None
        with contextlib.suppress(Broken):  # it changes highlights only, so nobody needs to hear of it
            shininess = self.scalar(shader.find("shininess"), params)
        look["roughness"] = 1.0 if shininess is None else float(np.sqrt(2 / (2 + max(shininess, 0))))
        alpha, mask = self.opacity(shader, params, picture)
        if mask is not None and texture is not None:
            look["texture"] = textures.with_alpha(texture, mask)
            look["alpha_mode"] = "BLEND"
        if alpha < 1:
            color[3] = alpha
            look["alpha_mode"] = "BLEND"
        look["base_color"] = tuple(color.tolist())
        return Material(look, said, picture.texcoord, picture.turn, picture.modes)

    def opacity(self, shader: Any, params: dict[str, Any], picture: "_Value") -> tuple[float, NDArray[Any] | None]:
        """Opacity of a surface, 0..1, and its opacity by pixel `[H, W]` uint8 where a picture gives one (else None)."""
        element = shader.find("transparent")
        mode = element.get("opaque", "A_ONE") if element is not None else "A_ONE"
        try:
            factor = self.scalar(shader.find("transparency"), params)
            clear = self.value(element, params, "transparent")
        except Broken as error:
            self.file.warn(f"the transparency of a material is left out ({error})")
            return 1.0, None
        if clear.lost or (element is None and factor is None):
            return 1.0, None
        amount = 1.0 if factor is None else factor
        if clear.texture is not None:
            pixels = clear.texture
            light = pixels[..., 3] if mode.startswith("A") else np.rint(pixels[..., :3] @ LUMINANCE).astype(np.uint8)
            covered = light if mode.endswith("ONE") else 255 - light
            if mode.endswith("ONE"):
                return 1.0, np.rint(covered * np.clip(amount, 0, 1)).astype(np.uint8) if amount > 0 else covered
            return 1.0, (255 - np.rint((255 - covered) * np.clip(amount, 0, 1))).astype(np.uint8)
        color = np.ones(4) if clear.color is None else clear.color
        part = (color[3] if mode.startswith("A") else color[:3] @ LUMINANCE) * amount
        alpha = float(np.clip(part if mode.endswith("ONE") else 1 - part, 0, 1))
        if mode == "A_ONE" and amount == 0:
            # Many exporters write 0 for "not transparent", and viewers draw it so. No exporter writes a surface that nobody sees.
            self.file.warn("transparency 0 in mode A_ONE is taken as opaque, as most programs mean it")
            alpha = 1.0
        return alpha, None

    def value(self, element: Any, params: dict[str, Any], what: str) -> "_Value":
        """The colour or picture that an element of a shader holds; an empty value where there is no element.

        Args:
            params: parameters by name.
            what: name of the element, for messages.

        Raises:
            Broken: the colour or picture cannot be read.
        """
        if element is None:
            return _Value()
        texture = element.find("texture")
        if texture is not None:
            name = self.image(texture.get("texture") or "", params)
            pixels = self.pixels(name) if name else None
            if not name:
                raise Broken(f"the picture {texture.get('texture')!r} of {what} is named nowhere")
            sampler = params.get(texture.get("texture"))
            modes = [sampler.findtext(f".//wrap_{axis}") if sampler is not None else None for axis in "st"]
            return _Value(
                texture=pixels,
                lost=pixels is None,
                texcoord=texture.get("texcoord") or "",
                turn=_turn(texture),
                modes=((modes[0] or "WRAP").strip(), (modes[1] or "WRAP").strip()),
            )
        held = element.find("color")
        reference = element.find("param")
        if reference is not None:
            param = params.get(reference.get("ref"))
            held = None if param is None else next((e for e in param if e.tag.startswith("float")), None)
        if held is None:
            return _Value()
        try:
            color = _numbers(held.text)
        except UserError as error:
            raise Broken(f"{what}: {error}") from error
        if len(color) not in (3, 4) or not np.isfinite(color).all():
            raise Broken(f"{what} is {(held.text or '').strip()[:40]!r}, expected 4 numbers")
        return _Value(color=np.append(color, 1.0)[:4])

    def scalar(self, element: Any, params: dict[str, Any]) -> float | None:
        """The number that an element of a shader holds; None where there is none.

        Raises:
            Broken: something else is there.
        """
        held = element.find("float") if element is not None else None
        if element is not None and element.find("param") is not None:
            param = params.get(element.find("param").get("ref"))
            held = param.find("float") if param is not None else None
        if held is None:
            return None
        try:
            value = _numbers(held.text)
        except UserError as error:
            raise Broken(f"{element.tag}: {error}") from error
        if len(value) != 1 or not np.isfinite(value[0]):
            raise Broken(f"{element.tag} is {(held.text or '').strip()[:40]!r}, expected a number")
        return float(value[0])

    def image(self, name: str, params: dict[str, Any]) -> str:
        """The file name of a picture; empty where nothing names one. A name leads from sampler to surface to image, or is the id of an
        image."""
        for _ in range(8):
            param = params.get(name)
            if param is None:
                break
            inner = next((e for e in param.iter() if e.tag in ("source", "init_from", "instance_image")), None)
            if inner is None:
                break
            name = (inner.get("url") or inner.text or "").strip().lstrip("#")
        image = self.ids.get(name.lstrip("#"))
        if image is None or image.tag != "image":
            image = next((e for e in self.root.iter("image") if name and name in (e.get("name"), e.get("sid"))), None)
        if image is None:
            return name if re.search(r"\.(png|jpe?g|tga|bmp|gif|tiff?|webp|dds)$", name, re.IGNORECASE) else ""
        start = image.find("init_from")
        if start is None:
            raise Broken(f"the picture {name!r} names no file")
        inner = start.find("ref")
        text = ((inner.text if inner is not None else start.text) or "").strip()
        if not text:
            raise Broken(f"the picture {name!r} names no file")
        return text

    def pixels(self, name: str) -> NDArray[Any] | None:
        """The pixels `[H, W, 4]` of a picture in the archive or beside the file; None where it is missing and textures are not required."""
        name = name.strip()
        if name.lower().startswith("file:"):
            name = urllib.parse.unquote(re.sub(r"^file:/*(?=[a-zA-Z]:)|^file:(//(localhost)?)?", "", name, flags=re.IGNORECASE))
        if name not in self.pictures:
            inside = self.archive and (self.archive.find(name) or self._same_name(name))
            if inside and self.archive:
                self.pictures[name] = textures.decode(self.archive.read(inside), name)
            else:
                try:
                    self.pictures[name] = self.file.texture(name)
                except UserError as error:
                    kind = _MissingPicture if isinstance(error, Missing) else _BadPicture
                    raise kind(str(error)) from error
        return self.pictures[name]

    def _same_name(self, name: str) -> str | None:
        """The first file in the archive with the same name in any folder; None where there is none."""
        last = urllib.parse.unquote(name).replace("\\", "/").rsplit("/", 1)[-1].lower()
        names = self.archive.names if self.archive else []
        return next((n for n in names if n.replace("\\", "/").rsplit("/", 1)[-1].lower() == last), None)


class _BadPicture(UserError):
    """A required picture is missing or damaged, so the shape fails. A material with other faults is only left out."""


class _MissingPicture(_BadPicture, Missing):
    """A required picture is missing."""


@dataclass(frozen=True)
class _Value:
    """What an element of a shader says: a colour, a picture, or nothing. See `Material` for the last three fields."""

    color: NDArray[Any] | None = None
    texture: NDArray[Any] | None = None
    lost: bool = False
    """Whether a picture is named and missing."""
    texcoord: str = ""
    turn: tuple[float, float, float, float] = (1.0, 1.0, 0.0, 0.0)
    modes: tuple[str, str] = ("WRAP", "WRAP")


def _element(tag: str, url: str) -> Any:
    from lxml import etree

    return etree.Element(tag, url=url)


def _turn(texture: Any) -> tuple[float, float, float, float]:
    """Repeats and offsets of a picture (see `Material.turn`), as Maya and similar programs write them beside a texture."""
    found = [1.0, 1.0, 0.0, 0.0]
    for index, name in enumerate(("repeatU", "repeatV", "offsetU", "offsetV")):
        for element in texture.iter(name):
            try:
                found[index] = float(element.text or "")
            except ValueError:
                continue
    return (found[0], found[1], found[2], found[3])


def _stride(element: Any) -> int:
    """How many indices each corner of a primitive has."""
    return max((_int(one, "offset") for one in element.findall("input")), default=0) + 1


def _merged(columns: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Makes corners `[c, k]` that agree in all k columns one vertex.

    Returns:
        A corner of each vertex `[v]`, and the vertex of each corner `[c]`.
    """
    key, count = np.zeros(len(columns), np.int64), 1
    for column in columns.T:
        count *= int(column.max(initial=0)) + 1
        if count >= 1 << 62:
            _, key = np.unique(key, return_inverse=True)
            count = int(key.max(initial=0) + 1) * (int(column.max(initial=0)) + 1)
        key = key * (column.max(initial=0) + 1) + column
    _, kept, vertex = np.unique(key, return_index=True, return_inverse=True)
    return kept, vertex


def _polygons(element: Any, stride: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Number of corners of each polygon `[P]`, and the indices of all corners `[C, stride]`. Strips and fans become triangles.

    Raises:
        UserError: a polygon has a negative number of corners, or triangles are cut short.
    """
    texts = [_whole(e.text) for e in element.findall("p")]
    if element.tag == "polygons":
        texts += [np.concatenate([_whole(e.text) for e in holed if e.tag in ("p", "h")]) for holed in element.findall("ph")]
        polygons = [_rows(text, stride) for text in texts]
        return np.array([len(polygon) for polygon in polygons], np.int64), _joined(polygons, stride)
    if element.tag in ("trifans", "tristrips"):
        rows = _joined([_unrolled(_rows(text, stride), element.tag) for text in texts], stride)
        return np.full(len(rows) // 3, 3), rows
    values = np.concatenate(texts) if texts else np.zeros(0, np.int64)
    if element.tag == "polylist":
        counts = _whole(element.findtext("vcount"))
        if len(counts) and counts.min() < 0:
            raise UserError("damaged: a polygon has a negative number of corners")
        return counts, _rows(values, stride)
    if len(values) % (3 * stride):
        raise UserError(f"damaged or cut short: {len(values):,} indices do not make triangles of {stride} indices a corner")
    return np.full(len(values) // (3 * stride), 3), _rows(values, stride)


def _rows(values: NDArray[Any], stride: int) -> NDArray[Any]:
    """Indices as `[n, stride]`, without those of a last corner that is incomplete."""
    return values[: len(values) // stride * stride].reshape(-1, stride)


def _joined(pieces: list[NDArray[Any]], stride: int) -> NDArray[Any]:
    return np.concatenate(pieces) if pieces else np.zeros((0, stride), np.int64)


def _unrolled(rows: NDArray[Any], kind: str) -> NDArray[Any]:
    """The corners `[n, stride]` of one fan (`trifans`) or strip (`tristrips`) as those of separate triangles `[3 F, stride]`."""
    k = np.arange(max(len(rows) - 2, 0))
    if kind == "trifans":
        triangles = np.stack([np.zeros_like(k), k + 1, k + 2], axis=1)
    else:
        triangles = np.stack([k + k % 2, k + 1 - k % 2, k + 2], axis=1)
    unrolled: NDArray[Any] = rows[triangles.reshape(-1)]
    return unrolled


def _with_holes(element: Any, places: NDArray[Any], counts: NDArray[Any], corners: NDArray[Any]) -> NDArray[Any]:
    """Triangles `[F, 3]`, as positions in `corners`, of polygons without holes (`<p>`) followed by polygons with holes (`<ph>`)."""
    import mapbox_earcut

    plain = len(element.findall("p"))
    stride = _stride(element)
    triangles, _ = triangulated(places, counts[:plain], corners[: counts[:plain].sum()])
    found, start = [triangles], int(counts[:plain].sum())
    for holed, count in zip(element.findall("ph"), counts[plain:], strict=True):
        rings = np.cumsum([len(_numbers(e.text)) // stride for e in holed if e.tag in ("p", "h")]).astype(np.uint32)
        points = places[corners[start : start + count]]
        outer = points[: rings[0]] - points[0]
        flat = projected(points, np.cross(outer, np.roll(outer, -1, axis=0)).sum(axis=0))
        cut = mapbox_earcut.triangulate_float64(np.ascontiguousarray(flat), rings).astype(np.int64).reshape(-1, 3)
        found.append(cut + start)
        start += int(count)
    return np.concatenate(found)


def _transform(node: Any) -> NDArray[Any]:
    """The matrix `[4, 4]` of a node: the product of its transformations, with the first one on the left."""
    total = np.eye(4)
    for child in node:
        if child.tag in ("matrix", "translate", "rotate", "scale", "skew", "lookat"):
            numbers = _numbers(child.text)
            expected = {"matrix": 16, "translate": 3, "rotate": 4, "scale": 3, "skew": 7, "lookat": 9}[child.tag]
            if len(numbers) != expected:
                raise UserError(f"a <{child.tag}> of node {node.get('id')!r} has {len(numbers)} numbers, expected {expected}")
            total = total @ _matrix(child.tag, numbers)
    return total


def _matrix(kind: str, numbers: NDArray[Any]) -> NDArray[Any]:
    """The matrix `[4, 4]` of one transformation element with these numbers."""
    matrix = np.eye(4)
    match kind:
        case "matrix":
            matrix = numbers.reshape(4, 4)
        case "translate":
            matrix[:3, 3] = numbers
        case "scale":
            matrix[:3, :3] = np.diag(numbers)
        case "rotate":
            length = np.linalg.norm(numbers[:3])
            if length > 0:
                x, y, z = numbers[:3] / length
                cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
                angle = np.radians(numbers[3])
                matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        case "skew":
            along, towards = numbers[1:4], numbers[4:7]
            matrix[:3, :3] += np.tan(np.radians(numbers[0])) * np.outer(
                towards / max(np.linalg.norm(towards), 1e-30), along / max(np.linalg.norm(along), 1e-30)
            )
        case "lookat":
            eye, interest, up = numbers.reshape(3, 3)
            back = (eye - interest) / max(np.linalg.norm(eye - interest), 1e-30)
            right = np.cross(up, back)
            right = right / max(np.linalg.norm(right), 1e-30)
            matrix[:3] = np.column_stack([right, np.cross(back, right), back, eye])
    return matrix
