"""glTF 2.0, `.glb` and `.gltf`: the default scene as one shape.

Everything that affects form or colour is applied: nodes, instances, skins, default morph weights, all primitive modes of triangles, texture
transforms, wrap modes, emission, and the extensions in `APPLIED`. If a file requires another extension, it is refused and the message
names the extension. If a file only uses an unknown extension that may be visible, a warning is given. `gltf_data.py` reads the bytes,
`gltf_looks.py` the materials.

Letters: V vertices, F triangles, n points, k copies, c corners, j joints.
"""

import functools
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.formats import columns
from pipeline.formats.gltf_data import (
    APPLIED,
    DRACO,
    INSTANCING,
    SEEN_THROUGH,
    UNSEEN,
    Document,
    Record,
    Values,
    extension,
    record,
    records,
    several,
    shown,
    vector,
    whole,
    wholes,
)
from pipeline.formats.gltf_looks import Looks
from pipeline.formats.labels import labelling, named
from pipeline.geometry import TRIANGLES, Cloud, Geometry, Mesh, Part, compact, copied, grouped, of_faces, unit
from pipeline.polygons import ALONG_SURFACE, across
from pipeline.reading import File

WIDTHS: Final = {"POSITION": (3,), "NORMAL": (3,), "TEXCOORD": (2,), "COLOR": (3, 4), "JOINTS": (4,), "WEIGHTS": (4,)}
"""By attribute that is read: how many numbers each element may have."""

IDENTITY: Final = np.eye(4)

PIECES: Final = 1_000_000
"""Largest number of parts in a scene. Each part counts once for each pose of its mesh."""


def read(file: File) -> Geometry:
    """The shape in a file: a `Mesh`, or a `Cloud` where it has points and no triangles.

    Raises:
        UserError: the file is damaged, shows nothing, requires an extension that is not read, or lacks a required texture.
    """
    document = Document(file)
    for name in several(document.json, "extensionsRequired"):
        if not isinstance(name, str) or name not in APPLIED | UNSEEN | SEEN_THROUGH:
            name = name if isinstance(name, str) else shown(name)
            raise UserError(f"the file requires the glTF extension {name}, which is not read: export it without")
    with np.errstate(all="ignore"):  # absurd numbers become infinite, and `geometry.finished` refuses infinite vertices
        return _Scene(document).shape()


# --------------------------------------------------------------------------------------------------------------- scene


class Placed(NamedTuple):
    """A mesh with the skin and the weights that decide its form."""

    mesh: int
    skin: int | None
    weights: tuple[float, ...]
    """One weight for each morph target."""


def _placing(translation: NDArray[Any], rotation: NDArray[Any], scale: NDArray[Any]) -> NDArray[Any]:
    """Matrices `[k, 4, 4]` of translations `[k, 3]`, rotations (quaternions x, y, z, w of any length) `[k, 4]` and scales `[k, 3]`."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    x, y, z, w = np.where(length > 0, rotation / length, [0, 0, 0, 1]).T
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrices = np.zeros((len(translation), 4, 4))
    matrices[:, :3, :3] = np.moveaxis(np.array(turn), 2, 0) * scale[:, None, :]
    matrices[:, :3, 3] = translation
    matrices[:, 3, 3] = 1
    return matrices


class _Scene:
    """The scene that is shown. Each mesh is built once, then its copies are put in place."""

    def __init__(self, document: Document) -> None:
        self.document, self.file = document, document.file
        self.looks = Looks(document)
        self._worlds: dict[int, NDArray[Any]] = {}
        self._nodes: dict[Placed, list[str]] = {}
        """By mesh of the scene: the name of the node of each of its copies. `_placements` fills it."""

    def shape(self) -> Geometry:
        """The shape in the scene. See `read`."""
        placed = self._placements()
        self._count(placed)
        parts: list[Part] = []
        clouds: list[Cloud] = []
        colored, lines, surfaces, hidden = False, 0, 0, 0
        for what, matrices in placed.items():
            for primitive in records(self.document.item("meshes", what.mesh), "primitives") if len(matrices) else ():
                if _mode(primitive) in (1, 2, 3):
                    lines += 1
                    continue
                built = self._built(primitive, what)
                if built is None:
                    continue
                part, said = built
                if not len(part.faces):
                    clouds.append(_points(part, matrices, said))
                    continue
                surfaces += 1
                visible = _visible(part)
                if visible is None:
                    hidden += 1
                else:
                    if len(visible.faces) < len(part.faces):
                        self.file.warn("triangles that are wholly transparent are left out")
                    colored |= said
                    put = copied(visible, matrices) if len(matrices) > 1 or (matrices[0] != IDENTITY).any() else visible
                    named_part = self._part_of_triangles(primitive, what, len(visible.faces), len(matrices))
                    parts.append(put if named_part is None else replace(put, part=named_part))
        if parts:
            if hidden:
                self.file.warn(f"{hidden} of {surfaces} surfaces are wholly transparent and left out")
            if lines:
                self.file.warn("lines are left out")
            if clouds:
                self.file.warn("single points are left out, the triangles kept")
            return Mesh(parts=tuple(grouped(parts)), colored=colored, warnings=tuple(self.file.warnings))
        if hidden:
            raise UserError("all surfaces of the file are invisible: their alpha is 0, or below alphaCutoff")
        if clouds:
            together = _together(clouds)
            if together.colors is None and any(cloud.colored for cloud in clouds):
                self.file.warn("some points have a colour and some have none: all are grey")
            if lines:
                self.file.warn("lines are left out")
            return replace(together, warnings=tuple(self.file.warnings))
        raise UserError("the file holds only lines, no surface and no points" if lines else "the file holds no triangles and no points")

    def _part_of_triangles(self, primitive: Record, what: Placed, faces: int, copies: int) -> NDArray[Any] | None:
        """Part labels `[copies * faces]` of the copies of a primitive, by its material or by the nodes; None where none are asked for."""
        labels = labelling(self.file)
        if labels is None or labels.how.way not in ("material", "group"):
            return None
        names = self._nodes[what] if labels.how.way == "group" else [self._material_name(primitive)] * copies
        return np.repeat(labels.of_words([named(name) for name in names], self.file), faces)

    @functools.cached_property
    def _label_map(self) -> NDArray[Any]:
        """The picture of labels, as indices of parts `[H, W]`."""
        asked = labelling(self.file)
        assert asked is not None
        return asked.of_picture(self.file)

    def _material_name(self, primitive: Record) -> str:
        """The name of the material of a primitive; empty where it has none."""
        if "material" not in primitive:
            return ""
        name = self.document.item("materials", whole(primitive, "material")).get("name", "")
        return name if isinstance(name, str) else ""

    # ------------------------------------------------------------------------------------------------------------ nodes

    def _roots(self) -> list[int]:
        """The root nodes of the scene that is shown."""
        document = self.document
        scenes = document.table("scenes")
        if "scene" in document.json or scenes:
            if "scene" not in document.json and len(scenes) > 1:
                self.file.warn(f"the first of {len(scenes)} scenes: the file does not say which one to show")
            return wholes(document.item("scenes", whole(document.json, "scene", 0)), "nodes")
        return [index for index in range(len(document.table("nodes"))) if index not in self._parents]

    @functools.cached_property
    def _parents(self) -> dict[int, int]:
        """By node with a parent: the parent."""
        found: dict[int, int] = {}
        for index, node in enumerate(self.document.table("nodes")):
            for child in wholes(node, "children"):
                self.document.item("nodes", child)
                if child in found:
                    raise UserError(f"the glTF is damaged: nodes[{child}] has two parents, nodes[{found[child]}] and nodes[{index}]")
                found[child] = index
        return found

    def _world(self, index: int) -> NDArray[Any]:
        """Matrix `[4, 4]` from a node to the world."""
        chain = []
        at: int | None = index
        while at is not None and at not in self._worlds:
            chain.append(at)
            if len(chain) > len(self.document.table("nodes")):
                raise UserError(f"the glTF is damaged: nodes[{index}] is its own ancestor")
            at = self._parents.get(at)
        world = IDENTITY if at is None else self._worlds[at]
        for node in reversed(chain):
            world = world @ self._local(self.document.item("nodes", node))
            self._worlds[node] = world
        return world

    @staticmethod
    def _local(node: Record) -> NDArray[Any]:
        """Matrix `[4, 4]` from a node to its parent."""
        if "matrix" in node:
            return np.transpose(vector(node, "matrix", tuple(IDENTITY.reshape(-1))).reshape(4, 4))
        if not node.keys() & {"translation", "rotation", "scale"}:
            return IDENTITY
        defaults = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0, 1.0), "scale": (1.0, 1.0, 1.0)}
        return np.asarray(_placing(*(vector(node, key, default)[None] for key, default in defaults.items()))[0])

    def _placements(self) -> dict[Placed, NDArray[Any]]:
        """By mesh of the scene, in the order of the file: the matrices `[k, 4, 4]` of its copies."""
        document = self.document
        found: dict[Placed, list[NDArray[Any]]] = {}
        if not document.table("nodes") and document.table("meshes"):
            self.file.warn("the file has meshes and no nodes: all are taken, as they lie")
            alone = {Placed(i, None, self._weights({}, i)): IDENTITY[None] for i in range(len(document.table("meshes")))}
            self._nodes = {what: [""] for what in alone}
            return alone
        seen: set[int] = set()
        todo = self._roots()[::-1]
        while todo:
            index = todo.pop()
            if index in seen:
                raise UserError(f"the glTF is damaged: nodes[{index}] comes twice in the scene")
            seen.add(index)
            node = document.item("nodes", index)
            if (extension(node, "KHR_node_visibility") or {}).get("visible") is False:
                continue
            todo.extend(wholes(node, "children")[::-1])
            self.looks.unknown(node, "nodes")
            if "mesh" not in node:
                continue
            mesh = whole(node, "mesh")
            skin = whole(node, "skin") if "skin" in node else None
            instances = extension(node, INSTANCING)
            if instances is not None and skin is not None:
                raise UserError(f"nodes[{index}] has {INSTANCING} and a skin, which no viewer shows alike")
            what = Placed(mesh, skin, self._weights(node, mesh))
            if skin is not None:
                # Joints alone place a skin; the specification ignores the matrix of the node. A second copy would lie exactly on the first.
                found.setdefault(what, [IDENTITY[None]])
                self._nodes.setdefault(what, [_name(node)])
                continue
            world = self._world(index)[None]
            found.setdefault(what, []).append(world if instances is None else world @ self._instances(instances))
            self._nodes.setdefault(what, []).extend([_name(node)] * len(found[what][-1]))
        return {what: np.concatenate(matrices) for what, matrices in found.items()}

    def _weights(self, node: Record, mesh: int) -> tuple[float, ...]:
        """Default weights of the morph targets: those of the node, else those of its mesh. Empty if all are 0."""
        owner = node if "weights" in node else self.document.item("meshes", mesh)
        given = owner.get("weights") or ()
        weights = vector({"weights": given}, "weights", (0.0,) * len(given) if isinstance(given, list) else ())
        return tuple(map(float, weights)) if weights.any() else ()

    def _instances(self, instances: Record) -> NDArray[Any]:
        """Matrices `[k, 4, 4]` of EXT_mesh_gpu_instancing."""
        attributes = record(instances, "attributes")
        shapes = {"TRANSLATION": (0, 0, 0), "ROTATION": (0, 0, 0, 1), "SCALE": (1, 1, 1)}
        given = {name: self.document.accessor(whole(attributes, name), name) for name in attributes if name in shapes}
        if len({len(values) for values in given.values()}) != 1:
            raise UserError(f"{INSTANCING} says {', '.join(f'{len(v)} {n}' for n, v in given.items()) or 'no place'}: one for each is due")
        if any(name.startswith("_COLOR") for name in attributes):
            self.file.warn(f"colours of single instances ({INSTANCING}) are left out")
        count = len(next(iter(given.values())))
        if count > TRIANGLES:
            raise UserError(f"{INSTANCING} makes {count:,} copies, more than {TRIANGLES:,}")
        arrays = []
        for name, default in shapes.items():
            if name in given and given[name].raw.shape[1] != len(default):
                raise UserError(f"{INSTANCING}: {name} should be {len(default)} numbers each, got {given[name].raw.shape[1]}")
            arrays.append(given[name].floats().astype(np.float64) if name in given else np.tile(np.array(default, np.float64), (count, 1)))
        return _placing(*arrays)

    def _count(self, placed: dict[Placed, NDArray[Any]]) -> None:
        """Refuses a scene that would be too large, before anything is built. The sizes are those that the accessors declare.

        Raises:
            UserError: there are too many parts or triangles.
        """
        document, total, pieces = self.document, 0, 0
        for what, matrices in placed.items():
            for primitive in records(document.item("meshes", what.mesh), "primitives"):
                pieces += 1
                if pieces > PIECES:
                    raise UserError(f"the scene has more than {PIECES:,} parts")
                attributes = record(primitive, "attributes")
                key = {**primitive, "POSITION": attributes.get("POSITION")}
                name = "indices" if "indices" in primitive else "POSITION"
                if key.get(name) is None:
                    continue
                count = whole(document.item("accessors", whole(key, name)), "count")
                total += len(matrices) * (count // 3 if _mode(primitive) in (0, 4) else count)
        if total > TRIANGLES:
            raise UserError(f"the scene has {total:,} triangles once its copies are in place, more than {TRIANGLES:,}")

    # ------------------------------------------------------------------------------------------------------- primitives

    def _built(self, primitive: Record, what: Placed) -> tuple[Part, bool] | None:
        """A primitive in the coordinates of its mesh, and whether the file gives its colour. A part without faces is a cloud of points.

        None where the primitive is empty.
        """
        self.looks.unknown(primitive, "primitives")
        attributes = {name: whole(record(primitive, "attributes"), name) for name in record(primitive, "attributes")}
        columns.left_out([name for name in attributes if name.startswith("_")], self.file.warn)  # what a program has measured
        packed, mode = extension(primitive, DRACO), _mode(primitive)
        given: dict[str, Values] = {}
        if packed is not None:
            if mode not in (4, 5):
                raise UserError(f"a part is compressed by {DRACO} and has mode {mode}: only triangles and strips can be")
            faces, given = self.document.draco(packed, attributes)
            declared = whole(self.document.item("accessors", whole(primitive, "indices")), "count") if "indices" in primitive else 0
            if len(faces) > max(declared, 1):
                raise UserError(f"{DRACO} holds {len(faces):,} triangles where {declared:,} corners are declared")
        for name, index in attributes.items():
            if name not in given and name.split("_")[0] in WIDTHS:
                given[name] = self._attribute(primitive, index, name)
        if "POSITION" not in given:
            self.file.warn("a part without positions is left out")
            return None
        count = len(given["POSITION"])
        for name, values in list(given.items()):
            widths = WIDTHS.get(name.split("_")[0], (values.raw.shape[1],))
            if values.raw.shape[1] not in widths:
                raise UserError(f"{name} should be {' or '.join(map(str, widths))} numbers each, got {values.raw.shape[1]}")
            if len(values) != count and name == "NORMAL":
                del given[name]
            elif len(values) != count:
                raise UserError(f"a part has {len(values):,} {name} for {count:,} vertices")
        if packed is None:
            corners = self._corners(primitive, count)
            faces = _triangles(corners, mode) if mode != 0 else corners[:, None]
            if mode == 4 and len(corners) % 3:
                self.file.warn("corners that make no whole triangle are left out")
        if not faces.size:
            return None
        if int(faces.max()) >= count:
            raise UserError(f"a triangle names vertex {int(faces.max()):,} of {count:,}: damaged or cut short?")
        rows, faces = _used(faces, count)
        vertices, normals = self._formed(primitive, what, given, rows)
        normals = unit(normals, len(vertices))
        if normals is not None and mode != 0:
            some = faces[:: 1 + len(faces) // 5000]
            if not across(normals[some], vertices[some]):
                self.file.warn(ALONG_SURFACE)
                normals = None
        part = Part(vertices=vertices, faces=faces, normals=normals)
        if (asked := labelling(self.file)) and asked.how.way == "texture":
            uv = given["TEXCOORD_0"].floats(rows) * [1, -1] + [0, 1] if "TEXCOORD_0" in given else np.full((len(vertices), 2), np.nan)
            part = replace(part, label_map=self._label_map, label_uv=uv[faces])
        part, said = self.looks.dressed(part, primitive, given, rows)
        return (part, said) if mode != 0 else (replace(part, faces=faces[:0]), said)

    def _attribute(self, primitive: Record, index: int, name: str) -> Values:
        """The values of an attribute.

        Raises:
            UserError: they are in an extension that is not read.
        """
        accessor = self.document.item("accessors", index)
        strange = sorted(record(primitive, "extensions").keys() - APPLIED - UNSEEN)
        if strange and name == "POSITION" and "bufferView" not in accessor and not record(accessor, "sparse"):
            raise UserError(f"a part's geometry is in the glTF extension {', '.join(strange)}, which is not read: export it without")
        return self.document.accessor(index, name)

    def _corners(self, primitive: Record, count: int) -> NDArray[Any]:
        """The vertex of each corner `[c]`."""
        if "indices" not in primitive:
            return np.arange(count)
        values = self.document.accessor(whole(primitive, "indices"), "indices")
        if values.raw.dtype.kind == "f" or values.raw.shape[1] != 1:
            raise UserError(f"the indices of a part should be whole numbers, got {values.raw.dtype} {list(values.raw.shape)}")
        corners = values.raw[:, 0].astype(np.int64)
        if corners.size and int(corners.min()) < 0:
            raise UserError(f"a triangle names vertex {int(corners.min())}: damaged?")
        return corners

    def _formed(
        self, primitive: Record, what: Placed, given: dict[str, Values], rows: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Positions `[V, 3]` and normals `[V, 3]` (or None) after morph targets and skin.

        Args:
            rows: the elements of the attributes that are used; None for all.
        """
        vertices = given["POSITION"].floats(rows)
        normals = given["NORMAL"].floats(rows, always_normalized=True) if "NORMAL" in given else None
        targets = records(primitive, "targets")
        active = [(weight, target) for weight, target in zip(what.weights, targets, strict=False) if weight]
        if len(active) * len(vertices) > 10 * TRIANGLES:
            raise UserError(f"{len(active):,} morph targets of {len(vertices):,} vertices are more than can be applied")
        for weight, target in active:
            if "POSITION" in target:
                vertices = vertices + weight * self._moved(target, "POSITION", len(given["POSITION"]), rows)
            if normals is not None and "NORMAL" in target:
                normals = normals + weight * self._moved(target, "NORMAL", len(given["POSITION"]), rows)
            if any(name.startswith(("TEXCOORD", "COLOR")) for name in target):
                self.file.warn("morph targets of colours and texture coordinates are left out")
        if what.skin is None:
            return vertices, normals
        return self._skinned(what, given, rows, vertices, normals)

    def _moved(self, target: Record, name: str, count: int, rows: NDArray[Any] | None) -> NDArray[Any]:
        """What a morph target adds to an attribute, `[V, 3]`."""
        values = self.document.accessor(whole(target, name), f"morph target {name}")
        if values.raw.shape != (count, 3):
            raise UserError(f"a morph target's {name} should be [{count}, 3], got {list(values.raw.shape)}")
        return values.floats(rows)

    def _skinned(
        self, what: Placed, given: dict[str, Values], rows: NDArray[Any] | None, vertices: NDArray[Any], normals: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Vertices `[V, 3]` and normals in the pose of the joints."""
        joints = self._joints(what.skin if what.skin is not None else 0)  # [j, 4, 4]
        blend, total = np.zeros((len(vertices), 4, 4)), np.zeros(len(vertices))
        for name in sorted(given):
            if not name.startswith("JOINTS_"):
                continue
            if name.replace("JOINTS", "WEIGHTS") not in given:
                raise UserError(f"a skinned part has {name} and no {name.replace('JOINTS', 'WEIGHTS')}")
            numbers = given[name].raw if rows is None else given[name].raw[rows]
            weights = given[name.replace("JOINTS", "WEIGHTS")].floats(rows, always_normalized=True).astype(np.float64)
            weights = np.nan_to_num(weights, posinf=0, neginf=0)
            numbers = np.where(weights != 0, numbers, 0).astype(np.int64)  # where the weight is 0, exporters write any joint
            if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(joints):
                raise UserError(f"a skinned part names joint {int(numbers.max())} of {len(joints)}")
            for column in range(4):
                blend += weights[:, column, None, None] * joints[numbers[:, column]]
            total += weights.sum(axis=1)
        if not total.any():
            self.file.warn("a part with a skin has no joints: it lies where its first joint is")
        blend[total == 0] = joints[0]  # as viewers do
        total[total == 0] = 1
        blend /= total[:, None, None]
        moved = np.einsum("vij,vj->vi", blend[:, :3, :3], vertices) + blend[:, :3, 3]
        if normals is not None:
            a, b, c = np.moveaxis(blend[:, :3, :3], 1, 0)  # the cofactors transform normals, see geometry.copied
            cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
            normals = np.einsum("vij,vj->vi", cofactors, normals)
        return moved, normals

    def _joints(self, index: int) -> NDArray[Any]:
        """For each joint of a skin, the matrix from the mesh to the world `[j, 4, 4]`."""
        skin = self.document.item("skins", index)
        nodes = wholes(skin, "joints")
        if not nodes:
            raise UserError(f"skins[{index}] has no joints")
        worlds = np.stack([self._world(node) for node in nodes])
        if "inverseBindMatrices" not in skin:
            return worlds
        values = self.document.accessor(whole(skin, "inverseBindMatrices"), "inverseBindMatrices")
        if len(values) < len(nodes) or values.raw.shape[1] != 16:
            raise UserError(f"skins[{index}] has {len(nodes)} joints and inverseBindMatrices {list(values.raw.shape)}")
        inverse = values.floats()[: len(nodes)].astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)
        return worlds @ inverse


def _name(node: Record) -> str:
    """The name of a node; empty where it has none."""
    name = node.get("name", "")
    return name if isinstance(name, str) else ""


def _mode(primitive: Record) -> int:
    """The mode of a primitive, 0 to 6."""
    mode = whole(primitive, "mode", 4)
    if mode > 6:
        raise UserError(f"a part has mode {mode}, which glTF does not know")
    return mode


def _triangles(corners: NDArray[Any], mode: int) -> NDArray[Any]:
    """Triangles `[F, 3]` from corners `[c]` in mode 4 (separate triangles), 5 (strip) or 6 (fan)."""
    if mode == 4:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    if len(corners) < 3:
        return np.empty((0, 3), np.int64)
    if mode == 6:
        return np.column_stack([np.full(len(corners) - 2, corners[0]), corners[1:-1], corners[2:]])
    faces = np.column_stack([corners[:-2], corners[1:-1], corners[2:]])
    faces[1::2] = faces[1::2, [1, 0, 2]]
    return faces


def _used(faces: NDArray[Any], count: int) -> tuple[NDArray[Any] | None, NDArray[Any]]:
    """The vertices that faces `[F, 3]` use, ascending, None for all; and the faces as indices of these vertices."""
    if faces.size * 8 < count:  # many parts may share one long list of vertices
        rows, places = np.unique(faces, return_inverse=True)
        return rows, places.reshape(faces.shape)
    used = np.zeros(count, bool)
    used[faces] = True
    if used.all():
        return None, faces
    return np.flatnonzero(used), (np.cumsum(used) - 1)[faces]


def _together(clouds: list[Cloud]) -> Cloud:
    """Several clouds as one. It has colours if all of them have colours. It has normals if any of them has; other points get normals of
    0."""
    colors = [cloud.colors for cloud in clouds if cloud.colors is not None]
    normals = [np.zeros_like(cloud.points) if cloud.normals is None else cloud.normals for cloud in clouds]
    return Cloud(
        points=np.concatenate([cloud.points for cloud in clouds]),
        colors=np.concatenate(colors) if len(colors) == len(clouds) else None,
        normals=None if all(cloud.normals is None for cloud in clouds) else np.concatenate(normals),
    )


def _points(part: Part, matrices: NDArray[Any], said: bool) -> Cloud:
    """The copies of a cloud as one cloud; with colours if the file gives any (`said`)."""
    moved = copied(part, matrices)
    normals = moved.normals
    if normals is not None:  # normals of a mirrored copy point to the other side, as for a surface whose winding is reversed
        with np.errstate(all="ignore"):
            mirrored = np.linalg.det(matrices[:, :3, :3]) < 0  # [k]
        normals = normals * np.repeat(np.where(mirrored, -1.0, 1.0), len(part.vertices))[:, None]
    if not said:
        return Cloud(points=moved.vertices, normals=normals)
    colors = np.full((len(part.vertices), 3), 255.0) if part.colors is None else part.colors[:, :3].astype(np.float64)
    if part.texture is not None and part.uv is not None:
        height, width = part.texture.shape[:2]
        column, row = (part.uv[:, 0] % 1 * width).astype(np.int64), ((1 - part.uv[:, 1]) % 1 * height).astype(np.int64)
        colors *= part.texture[np.minimum(row, height - 1), np.minimum(column, width - 1), :3] / 255
    colors = np.rint(colors * np.array(part.base_color[:3])).astype(np.uint8)
    return Cloud(points=moved.vertices, colors=np.tile(colors, (len(matrices), 1)), normals=normals)


def _visible(part: Part) -> Part | None:
    """The part without its invisible triangles; None where all are invisible."""
    least = part.threshold - 1e-6
    if least <= 0:
        return part
    most = part.base_color[3] * (1 if part.texture is None else part.texture[..., 3].max() / 255)
    if part.colors is None:
        return part if most >= least else None
    shown = part.colors[:, 3][part.faces].max(axis=1) / 255 * most >= least
    if shown.all():
        return part
    return compact(of_faces(part, shown)) if shown.any() else None
