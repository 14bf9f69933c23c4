"""glTF 2.0, `.glb` and `.gltf`: the scene that a viewer shows first, as one shape.

Everything that decides form or colour is applied: nodes, instances, skins in their bind pose, default morph weights, all ways to write
triangles, texture transforms and wrapping, emission, and the extensions in `APPLIED`. What is not applied is refused by name where the
file says that it must be understood, and recorded as a warning where it might be seen. The bytes are read by `gltf_data.py`.

glTF's colour factors and vertex colours are linear light, its textures are sRGB; a `Part` is all sRGB. Its (0, 0) is the upper left
corner of a texture, that of a `Part` the lower left.

Letters: V vertices, F triangles, n points, k copies, H x W pixels, c corners.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from cache_schema.errors import UserError
from pipeline import textures
from pipeline.formats.gltf_data import (
    DRACO,
    MESHOPT,
    Document,
    Record,
    Values,
    extension,
    number,
    record,
    records,
    shown,
    text,
    vector,
    whole,
    wholes,
)
from pipeline.geometry import GREY, TRIANGLES, Cloud, Geometry, Mesh, Part, compact, copied, display, grouped, unit
from pipeline.reading import File, Missing

SPECULAR_GLOSSINESS: Final = "KHR_materials_pbrSpecularGlossiness"
INSTANCING: Final = "EXT_mesh_gpu_instancing"

PICTURES: Final = ("EXT_texture_webp", "EXT_texture_avif", "MSFT_texture_dds", "KHR_texture_basisu")
"""Extensions that give a texture another picture."""

APPLIED: Final = frozenset({
    DRACO, *MESHOPT, *PICTURES, SPECULAR_GLOSSINESS, INSTANCING, "KHR_mesh_quantization", "KHR_accessor_float64", "KHR_texture_transform",
    "KHR_materials_unlit", "KHR_materials_emissive_strength", "KHR_node_visibility",
})  # fmt: skip
"""What this module does as the extension says."""

SEEN_THROUGH: Final = frozenset({
    "KHR_materials_transmission", "KHR_materials_volume", "KHR_materials_diffuse_transmission", "KHR_materials_volume_scatter",
})  # fmt: skip
"""Glass and the like. The shape is right without: our light has nothing to bend, so it is drawn as opaque, in its own colour."""

UNSEEN: Final = frozenset({
    "KHR_materials_anisotropy", "KHR_materials_clearcoat", "KHR_materials_dispersion", "KHR_materials_ior", "KHR_materials_iridescence",
    "KHR_materials_sheen", "KHR_materials_specular", "KHR_materials_variants", "KHR_lights_punctual", "EXT_lights_image_based",
    "EXT_lights_ies", "KHR_animation_pointer", "KHR_interactivity", "KHR_audio_emitter", "KHR_xmp", "KHR_xmp_json_ld", "MSFT_lod",
    "MSFT_packing_occlusionRoughnessMetallic", "MSFT_packing_normalRoughnessMetallic", "KHR_node_hoverability", "KHR_node_selectability",
    "KHR_physics_rigid_bodies", "KHR_collision_shapes", "KHR_implicit_shapes", "EXT_mesh_features", "EXT_instance_features",
    "EXT_structural_metadata", "CESIUM_RTC", "CESIUM_primitive_outline", "AGI_articulations", "AGI_stk_metadata", "FB_geometry_metadata",
    "EXT_mesh_manifold", "VRM", "VRMC_vrm", "VRMC_springBone", "VRMC_node_constraint", "VRMC_materials_mtoon", "MOZ_hubs_components",
})  # fmt: skip
"""What changes neither form nor base colour: lights, behaviour, metadata, finer points of reflection, other choices than the default."""

REPEAT, CLAMP, MIRROR = 10497, 33071, 33648
NEAREST: Final = 9728

WIDEST: Final = 4096
"""Largest side of a texture that is widened because it does not repeat."""

FAINT: Final = 0.01
"""What is blended with less opacity than this is not there. Pictures draw from here on, too."""


def read(file: File) -> Geometry:
    """The shape in a file: a `Mesh`, or a `Cloud` where it has points and no triangles.

    Raises:
        UserError: it is damaged, has nothing to show, needs what is not implemented, or lacks a texture that is required.
    """
    document = Document(file)
    for name in _names(document.json, "extensionsRequired"):
        if name not in APPLIED | UNSEEN | SEEN_THROUGH:
            raise UserError(f"the file requires the glTF extension {name}, which is not read: export it without")
    return _Scene(document).shape()


def _names(owner: Record, key: str) -> list[str]:
    found = owner.get(key) or []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise UserError(f"the glTF is damaged: {key!r} should be a list of names, got {shown(found)}")
    return found


# --------------------------------------------------------------------------------------------------------------- scene


class Placed(NamedTuple):
    """A mesh and what its form depends on."""

    mesh: int
    skin: int | None
    weights: tuple[float, ...]
    """Of the morph targets."""


def _placing(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Matrices `[k, 4, 4]` of translations `[k, 3]`, rotations (quaternions x, y, z, w of any length) `[k, 4]` and scales `[k, 3]`."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    with np.errstate(all="ignore"):
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
    """Walks the nodes, builds each mesh once and puts its copies in place."""

    def __init__(self, document: Document) -> None:
        self.document, self.file = document, document.file
        self.looks = _Looks(document)
        self._worlds: dict[int, np.ndarray] = {}

    def shape(self) -> Geometry:
        """See `read`."""
        placed = self._placements()
        self._count(placed)
        parts: list[Part] = []
        clouds: list[tuple[np.ndarray, np.ndarray | None]] = []
        colored, lines, surfaces, hidden = False, 0, 0, 0
        for what, matrices in placed.items():
            for primitive in records(self.document.item("meshes", what.mesh), "primitives"):
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
                    parts.append(copied(visible, matrices) if len(matrices) > 1 or (matrices[0] != np.eye(4)).any() else visible)
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
            colors = [c for _, c in clouds if c is not None]
            together = np.concatenate(colors) if len(colors) == len(clouds) else None
            if colors and together is None:
                self.file.warn("some points have a colour and some have none: all are grey")
            if lines:
                self.file.warn("lines are left out")
            return Cloud(points=np.concatenate([p for p, _ in clouds]), colors=together, warnings=tuple(self.file.warnings))
        raise UserError("the file holds only lines, no surface and no points" if lines else "the file holds no triangles and no points")

    # ------------------------------------------------------------------------------------------------------------ nodes

    def _roots(self) -> list[int]:
        """The nodes of the scene that is shown."""
        document = self.document
        scenes = document.table("scenes")
        if "scene" in document.json or scenes:
            if "scene" not in document.json and len(scenes) > 1:
                self.file.warn(f"the first of {len(scenes)} scenes: the file does not say which one to show")
            return wholes(document.item("scenes", whole(document.json, "scene", 0)), "nodes")
        return [index for index in range(len(document.table("nodes"))) if index not in self._parents]

    @functools.cached_property
    def _parents(self) -> dict[int, int]:
        """The parent of each node that has one."""
        found: dict[int, int] = {}
        for index, node in enumerate(self.document.table("nodes")):
            for child in wholes(node, "children"):
                self.document.item("nodes", child)
                if child in found:
                    raise UserError(f"the glTF is damaged: nodes[{child}] has two parents, nodes[{found[child]}] and nodes[{index}]")
                found[child] = index
        return found

    def _world(self, index: int) -> np.ndarray:
        """Matrix `[4, 4]` from a node to the world."""
        chain = []
        at: int | None = index
        while at is not None and at not in self._worlds:
            chain.append(at)
            if len(chain) > len(self.document.table("nodes")):
                raise UserError(f"the glTF is damaged: nodes[{index}] is its own ancestor")
            at = self._parents.get(at)
        world = np.eye(4) if at is None else self._worlds[at]
        for node in reversed(chain):
            with np.errstate(all="ignore"):  # what is infinite is told when the vertices are checked
                world = world @ self._local(self.document.item("nodes", node))
            self._worlds[node] = world
        return world

    @staticmethod
    def _local(node: Record) -> np.ndarray:
        """Matrix `[4, 4]` from a node to its parent."""
        if "matrix" in node:
            return vector(node, "matrix", tuple(np.eye(4).reshape(-1))).reshape(4, 4).T
        if not node.keys() & {"translation", "rotation", "scale"}:
            return np.eye(4)
        defaults = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0, 1.0), "scale": (1.0, 1.0, 1.0)}
        return _placing(*(vector(node, key, default)[None] for key, default in defaults.items()))[0]

    def _placements(self) -> dict[Placed, np.ndarray]:
        """Each mesh of the scene with the matrices `[k, 4, 4]` of its copies, in the order of the file."""
        document = self.document
        found: dict[Placed, list[np.ndarray]] = {}
        if not document.table("nodes") and document.table("meshes"):
            self.file.warn("the file has meshes and no nodes: all are taken, as they lie")
            return {Placed(i, None, self._weights({}, i)): np.eye(4)[None] for i in range(len(document.table("meshes")))}
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
                # Joints alone place a skin; the specification leaves the node's own place out. Twice the same would be one on another.
                found.setdefault(what, [np.eye(4)[None]])
                continue
            world = self._world(index)[None]
            with np.errstate(all="ignore"):
                found.setdefault(what, []).append(world if instances is None else world @ self._instances(instances))
        return {what: np.concatenate(matrices) for what, matrices in found.items()}

    def _weights(self, node: Record, mesh: int) -> tuple[float, ...]:
        """Default weights of the morph targets; those of a node come before those of its mesh."""
        owner = node if "weights" in node else self.document.item("meshes", mesh)
        given = owner.get("weights") or ()
        weights = vector({"weights": given}, "weights", (0.0,) * len(given) if isinstance(given, list) else ())
        return tuple(map(float, weights)) if weights.any() else ()

    def _instances(self, instances: Record) -> np.ndarray:
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

    def _count(self, placed: dict[Placed, np.ndarray]) -> None:
        """Refuses what would be too large, by what the accessors declare, before anything is built."""
        document, total = self.document, 0
        for what, matrices in placed.items():
            for primitive in records(document.item("meshes", what.mesh), "primitives"):
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
        """A primitive where its mesh lies, and whether anything said its colour. A part without faces is a cloud of points.

        None where there is nothing.
        """
        self.looks.unknown(primitive, "primitives")
        attributes = {name: whole(record(primitive, "attributes"), name) for name in record(primitive, "attributes")}
        packed, mode = extension(primitive, DRACO), _mode(primitive)
        given: dict[str, Values] = {}
        if packed is not None and mode in (4, 5):
            faces, given = self.document.draco(packed, attributes)
            declared = whole(self.document.item("accessors", whole(primitive, "indices")), "count") if "indices" in primitive else 0
            if len(faces) > max(declared, 1):
                raise UserError(f"{DRACO} holds {len(faces):,} triangles where {declared:,} corners are declared")
        for name, index in attributes.items():
            if name not in given and name.split("_")[0] in ("POSITION", "NORMAL", "TEXCOORD", "COLOR", "JOINTS", "WEIGHTS"):
                given[name] = self._attribute(primitive, index, name)
        if "POSITION" not in given:
            self.file.warn("a part without positions is left out")
            return None
        count = len(given["POSITION"])
        for name, values in list(given.items()):
            if len(values) != count and name == "NORMAL":
                del given[name]
            elif len(values) != count:
                raise UserError(f"a part has {len(values):,} {name} for {count:,} vertices")
        if packed is None or mode not in (4, 5):
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
        part = Part(vertices=vertices, faces=faces, normals=unit(normals, len(vertices)))
        part, said = self.looks.dressed(part, primitive, given, rows)
        return (part, said) if mode != 0 else (replace(part, faces=faces[:0]), said)

    def _attribute(self, primitive: Record, index: int, name: str) -> Values:
        accessor = self.document.item("accessors", index)
        strange = sorted(record(primitive, "extensions").keys() - APPLIED - UNSEEN)
        if strange and name == "POSITION" and "bufferView" not in accessor and not record(accessor, "sparse"):
            raise UserError(f"a part's geometry is in the glTF extension {', '.join(strange)}, which is not read: export it without")
        values = self.document.accessor(index, name)
        widths = {"POSITION": (3,), "NORMAL": (3,), "TEXCOORD": (2,), "COLOR": (3, 4), "JOINTS": (4,), "WEIGHTS": (4,)}[name.split("_")[0]]
        if values.raw.shape[1] not in widths:
            raise UserError(f"{name} should be {' or '.join(map(str, widths))} numbers each, got {values.raw.shape[1]}")
        return values

    def _corners(self, primitive: Record, count: int) -> np.ndarray:
        """Vertex numbers `[c]`."""
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
        self, primitive: Record, what: Placed, given: dict[str, Values], rows: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Positions `[V, 3]` and normals `[V, 3]` after morph targets and skin."""
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

    def _moved(self, target: Record, name: str, count: int, rows: np.ndarray | None) -> np.ndarray:
        values = self.document.accessor(whole(target, name), f"morph target {name}")
        if values.raw.shape != (count, 3):
            raise UserError(f"a morph target's {name} should be [{count}, 3], got {list(values.raw.shape)}")
        return values.floats(rows)

    def _skinned(
        self, what: Placed, given: dict[str, Values], rows: np.ndarray | None, vertices: np.ndarray, normals: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Vertices `[V, 3]` and normals as the joints hold them now."""
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
            numbers = np.where(weights != 0, numbers, 0).astype(np.int64)  # exporters write any joint where the weight is 0
            if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(joints):
                raise UserError(f"a skinned part names joint {int(numbers.max())} of {len(joints)}")
            with np.errstate(all="ignore"):
                for column in range(4):
                    blend += weights[:, column, None, None] * joints[numbers[:, column]]
            total += weights.sum(axis=1)
        if not total.any():
            self.file.warn("a part with a skin has no joints: it lies where its first joint is")
        blend[total == 0] = joints[0]  # as viewers do
        total[total == 0] = 1
        with np.errstate(all="ignore"):
            blend /= total[:, None, None]
            moved = np.einsum("vij,vj->vi", blend[:, :3, :3], vertices) + blend[:, :3, 3]
            if normals is not None:
                a, b, c = np.moveaxis(blend[:, :3, :3], 1, 0)  # normals go by the cofactors, see geometry.copied
                cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
                normals = np.einsum("vij,vj->vi", cofactors, normals)
        return moved, normals

    def _joints(self, index: int) -> np.ndarray:
        """For each joint of a skin the matrix from the mesh to the world, `[j, 4, 4]`."""
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
        with np.errstate(all="ignore"):
            return worlds @ inverse


def _mode(primitive: Record) -> int:
    mode = whole(primitive, "mode", 4)
    if mode > 6:
        raise UserError(f"a part has mode {mode}, which glTF does not know")
    return mode


def _triangles(corners: np.ndarray, mode: int) -> np.ndarray:
    """Triangles `[F, 3]` of corners `[c]` in mode 4 (each three), 5 (strip) or 6 (fan)."""
    if mode == 4:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    if len(corners) < 3:
        return np.empty((0, 3), np.int64)
    if mode == 6:
        return np.column_stack([np.full(len(corners) - 2, corners[0]), corners[1:-1], corners[2:]])
    faces = np.column_stack([corners[:-2], corners[1:-1], corners[2:]])
    faces[1::2] = faces[1::2, [1, 0, 2]]
    return faces


def _used(faces: np.ndarray, count: int) -> tuple[np.ndarray | None, np.ndarray]:
    """The vertices that faces `[F, 3]` use, in order, None for all; and the faces over these."""
    if faces.size * 8 < count:  # many parts may share one long list of vertices
        rows, places = np.unique(faces, return_inverse=True)
        return rows, places.reshape(faces.shape)
    used = np.zeros(count, bool)
    used[faces] = True
    if used.all():
        return None, faces
    return np.flatnonzero(used), (np.cumsum(used) - 1)[faces]


def _points(part: Part, matrices: np.ndarray, said: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions `[n, 3]` of the copies of a cloud, and its colours `[n, 3]` uint8 where it has any."""
    with np.errstate(all="ignore"):
        points = np.einsum("kij,vj->kvi", matrices[:, :3, :3], part.vertices) + matrices[:, None, :3, 3]
    if not said:
        return points.reshape(-1, 3), None
    colors = np.full((len(part.vertices), 3), 255.0) if part.colors is None else part.colors[:, :3].astype(np.float64)
    if part.texture is not None and part.uv is not None:
        height, width = part.texture.shape[:2]
        column, row = (part.uv[:, 0] % 1 * width).astype(np.int64), ((1 - part.uv[:, 1]) % 1 * height).astype(np.int64)
        colors *= part.texture[np.minimum(row, height - 1), np.minimum(column, width - 1), :3] / 255
    colors = np.rint(colors * np.array(part.base_color[:3])).astype(np.uint8)
    return points.reshape(-1, 3), np.tile(colors, (len(matrices), 1))


def _visible(part: Part) -> Part | None:
    """The part without triangles of which nothing can be seen, None where that is all of them."""
    least = {"OPAQUE": 0.0, "MASK": part.alpha_cutoff, "BLEND": FAINT}[part.alpha_mode] - 1e-6
    if least <= 0:
        return part
    most = part.base_color[3] * (1 if part.texture is None else part.texture[..., 3].max() / 255)
    if part.colors is None:
        return part if most >= least else None
    shown = part.colors[:, 3][part.faces].max(axis=1) / 255 * most >= least
    if shown.all():
        return part
    return compact(replace(part, faces=part.faces[shown])) if shown.any() else None


# ----------------------------------------------------------------------------------------------------------- materials


class Slot(NamedTuple):
    """A texture of a material and how it lies on a part."""

    texture: int
    coordinates: int
    """Which TEXCOORD."""
    transform: tuple[float, ...] | None
    """Rows of the matrix `[2, 3]` that texture coordinates go through."""


class Picture(NamedTuple):
    """A decoded texture with the way it goes on outside 0..1."""

    pixels: np.ndarray
    """[H, W, 4] uint8."""
    wrap: tuple[int, int]
    image: int


@dataclass(frozen=True)
class Look:
    """A material, in linear light."""

    base: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    said: bool = False
    """Whether the file gives `base`; a viewer takes white where it does not, we take grey where nothing else says a colour."""
    base_slot: Slot | None = None
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)
    emission_slot: Slot | None = None
    metallic: float = 0.0
    roughness: float = 1.0
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: float = 0.5


class _Looks:
    """Materials and textures, each read once."""

    def __init__(self, document: Document) -> None:
        self.document, self.file = document, document.file
        self._looks: dict[int | None, Look] = {None: Look()}
        self._images: dict[int, np.ndarray | None] = {}
        self._pictures: dict[int, Picture | None] = {}
        self._made: dict[Any, Any] = {}

    def unknown(self, owner: Record, kind: str) -> None:
        """Warns of extensions of an object that may show and are not applied."""
        for name in record(owner, "extensions"):
            if name in SEEN_THROUGH:
                self.file.warn(f"{name}: drawn as opaque")
            elif name not in APPLIED | UNSEEN:
                self.file.warn(f"glTF extension {name} of {kind} is not known and left out")

    def dressed(self, part: Part, primitive: Record, given: dict[str, Values], rows: np.ndarray | None) -> tuple[Part, bool]:
        """The part with its material, and whether anything said its colour."""
        look = self._look(whole(primitive, "material") if "material" in primitive else None)
        tint = None  # [V, 4], linear
        if "COLOR_0" in given:
            tint = np.clip(np.nan_to_num(given["COLOR_0"].floats(rows, always_normalized=True)), 0, 1)
            tint = np.column_stack([tint, np.ones(len(tint), tint.dtype)]) if tint.shape[1] == 3 else tint
        picture, lost = self._laid(look.base_slot, given), False
        if picture is None and look.base_slot is not None:
            lost = not look.said or min(look.base[:3]) == 1  # white was only what the texture was to be multiplied with
        base, said = np.array(look.base), look.said and not lost
        part = replace(part, metallic=look.metallic, roughness=look.roughness, alpha_mode=look.alpha_mode, alpha_cutoff=look.alpha_cutoff)
        slot, pixels, base, tint, lit = self._lit(look, picture, base, said, tint, given)
        said |= lit or pixels is not None
        if tint is not None:
            # Multiplied as light, which is what glTF says; only then is it turned into what a screen shows.
            colors = np.column_stack([display(tint[:, :3] * base[:3]), tint[:, 3]])
            part = replace(part, colors=np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8))
            shade = (1.0, 1.0, 1.0)
            said = True
        else:
            red, green, blue = map(float, display(base[:3]))
            shade = (red, green, blue) if said else (GREY, GREY, GREY)
        if look.alpha_mode == "OPAQUE":
            base[3] = 1.0
            if part.colors is not None:
                part.colors[:, 3] = 255
        part = replace(part, base_color=(*shade, float(base[3])))
        if pixels is None or slot is None:
            return part, said
        wrap = (picture or self._laid(slot, given) or Picture(pixels, (REPEAT, REPEAT), 0)).wrap
        return self._textured(part, pixels, wrap, slot, given, rows), said

    def _textured(
        self, part: Part, pixels: np.ndarray, wrap: tuple[int, int], slot: Slot, given: dict[str, Values], rows: np.ndarray | None
    ) -> Part:
        """The part with a texture that may be repeated."""
        uv = np.nan_to_num(given[f"TEXCOORD_{slot.coordinates}"].floats(rows).astype(np.float64), posinf=0, neginf=0)
        if slot.transform is not None:
            matrix = np.array(slot.transform).reshape(2, 3)
            uv = uv @ matrix[:, :2].T + matrix[:, 2]
        for axis, how in enumerate(wrap):
            pixels, uv = self._wrapped(pixels, uv, axis, how)
        return replace(part, texture=pixels, uv=np.column_stack([uv[:, 0], 1 - uv[:, 1]]))

    def _wrapped(self, pixels: np.ndarray, uv: np.ndarray, axis: int, how: int) -> tuple[np.ndarray, np.ndarray]:
        """A texture that may be repeated along an axis (0: u, 1: v) in place of one that is clamped or mirrored there, and the coordinates
        `[V, 2]` on it. Only what is used of it is made, and nothing where no coordinate comes to the border.
        """
        size = pixels.shape[1 - axis]
        low, high = float(uv[:, axis].min()) * size, float(uv[:, axis].max()) * size
        if how == REPEAT or (low >= 0.5 and high <= size - 0.5):
            return pixels, uv
        uv = uv.copy()
        if how == MIRROR and (low < -0.5 or high > size + 0.5):
            uv[:, axis] /= 2
            mirror = (id(pixels), axis, "mirror")
            if mirror not in self._made:
                self._made[mirror] = (pixels, np.concatenate([pixels, np.flip(pixels, 1 - axis)], axis=1 - axis))
            return self._made[mirror][1], uv
        # Clamped: the border goes on as far as it is used. Powers of two, so that the parts of a material share a few pictures.
        # A coordinate nearer to the border than half a texel already mixes with what lies beyond.
        before, after = (1 << max(math.ceil(reach) - 1, 0).bit_length() if reach > 0 else 0 for reach in (0.5 - low, high - size + 0.5))
        shrink = 1
        while (size + before + after) / shrink > WIDEST and shrink < size:
            shrink *= 2
        if (size + before + after) / shrink > WIDEST:
            # So far out that even one texel would not do: there all is border anyway, so coordinates stop there.
            self.file.warn("texture coordinates lie thousands of textures outside a clamped texture: cut off")
            before, after = (min(reach, WIDEST // 2 * shrink) for reach in (before, after))
            uv[:, axis] = np.clip(uv[:, axis], -before / size, 1 + after / size)
        key = (id(pixels), axis, before, after)
        if key not in self._made:
            self._made[key] = (pixels, _padded(pixels, 1 - axis, before, after, shrink))
        uv[:, axis] = (uv[:, axis] * size + before) / (size + before + after)
        return self._made[key][1], uv

    # --------------------------------------------------------------------------------------------------------- emission

    def _lit(
        self, look: Look, picture: Picture | None, base: np.ndarray, said: bool, tint: np.ndarray | None, given: dict[str, Values]
    ) -> tuple[Slot | None, np.ndarray | None, np.ndarray, np.ndarray | None, bool]:
        """Adds the emission to the colour of the surface, so that pictures shade it and points see it.

        A viewer adds it after shading, which makes a strong one white on a white background, without form. Here light and emission are
        summed as light and scaled to their brightest channel where that is above 1, so a hue stays what it is.

        Returns:
            The slot and picture `[H, W, 4]` of the texture to use, the base colour, the vertex colours, and whether there is emission.
        """
        pixels = None if picture is None else picture.pixels
        slot, emission = look.base_slot, np.array(look.emission)
        plain = (slot, pixels, base, tint, False)
        if not emission.max() > 0:
            return plain
        if look.emission_slot is None:
            if pixels is None and tint is None:
                mixed = base[:3] + emission
                return slot, None, np.append(mixed / max(mixed.max(), 1), base[3]), None, True
            if pixels is None and tint is not None:
                mixed = tint[:, :3] * base[:3] + emission
                mixed = mixed / np.maximum(mixed.max(axis=1, keepdims=True), 1)
                return slot, None, np.append(np.ones(3), base[3]), np.column_stack([mixed, tint[:, 3]]), True
        glow = self._laid(look.emission_slot, given)
        if look.emission_slot is not None and glow is None:
            return plain
        if glow is not None and picture is not None and glow.image == picture.image:
            return plain  # painted light and shadow, given as base and emission: the picture is the colour
        if glow is not None and not (_light(glow.pixels[..., :3].reshape(-1, 3).max(axis=0)) * emission).max() > 1 / 512:
            return plain
        if pixels is None and not said:
            base = np.append(np.zeros(3), base[3])  # white by default, beside a painted emission, is a colour nobody chose
        if tint is not None and not (tint[:, :3] == 1).all():
            if pixels is not None or base[:3].any():
                self.file.warn("emission beside vertex colours and a texture is left out")
                return plain
            tint = np.column_stack([np.ones((len(tint), 3)), tint[:, 3]])
        if (
            glow is not None
            and picture is not None
            and (look.emission_slot, glow.wrap)
            != (
                look.base_slot._replace(texture=look.emission_slot.texture) if look.base_slot and look.emission_slot else None,
                picture.wrap,
            )
        ):
            self.file.warn("an emissive texture that lies otherwise than the base texture is left out")
            return plain
        key = ("emission", None if pixels is None else id(pixels), None if glow is None else id(glow.pixels), *base[:3], *emission)
        if key not in self._made:
            self._made[key] = (pixels, glow, _emitting(pixels, base[:3], None if glow is None else glow.pixels, emission))
        slot = look.base_slot if picture is not None else look.emission_slot
        return slot, self._made[key][2], np.append(np.ones(3), base[3]), tint, True

    # --------------------------------------------------------------------------------------------------------- textures

    def _laid(self, slot: Slot | None, given: dict[str, Values]) -> Picture | None:
        """The picture of a slot, None where the part has no coordinates for it or it is missing."""
        if slot is None:
            return None
        if f"TEXCOORD_{slot.coordinates}" not in given:
            self.file.warn(f"a part has a texture and no TEXCOORD_{slot.coordinates} to lay it on: drawn without")
            return None
        if slot.texture not in self._pictures:
            self._pictures[slot.texture] = self._picture(slot.texture)
        return self._pictures[slot.texture]

    def _picture(self, index: int) -> Picture | None:
        """A texture with its wrapping, None where its file is missing and that is allowed."""
        texture = self.document.item("textures", index)
        sampler = self.document.item("samplers", whole(texture, "sampler")) if "sampler" in texture else {}
        wrap = (whole(sampler, "wrapS", REPEAT), whole(sampler, "wrapT", REPEAT))
        if not set(wrap) <= {REPEAT, CLAMP, MIRROR}:
            raise UserError(f"textures[{index}] wraps by {wrap}, which glTF does not know")
        # The plain source comes first: it is a PNG or JPEG of the same picture for those who cannot read the other.
        sources = [
            owner for owner in (texture, *(extension(texture, name) for name in PICTURES)) if owner is not None and "source" in owner
        ]
        self.unknown(texture, "textures")
        if not sources:
            names = ", ".join(record(texture, "extensions"))
            if names:
                raise UserError(f"textures[{index}] is in the glTF extension {names}, which is not read: export it without")
            self.file.warn("a texture that names no picture is left out")
            return None
        missing: Missing | None = None
        for source in sources:
            image = whole(source, "source")
            try:
                pixels = self._image(image)
            except Missing as error:
                missing = error
                continue
            if whole(sampler, "magFilter", 0) == NEAREST and max(pixels.shape[:2]) <= 256:
                pixels = self._sharp(pixels)
            return Picture(pixels, wrap, image)
        if missing is not None:
            self.file.lacks(missing)
        return None

    def _sharp(self, pixels: np.ndarray) -> np.ndarray:
        """A small picture made larger without smoothing, for samplers that want to see its pixels: ours smooths between them."""
        key = (id(pixels), "sharp")
        if key not in self._made:
            times = min(16, 1024 // max(pixels.shape[:2]))
            self._made[key] = (pixels, pixels.repeat(times, axis=0).repeat(times, axis=1))
        return self._made[key][1]

    def _image(self, index: int) -> np.ndarray:
        """The pixels of an image `[H, W, 4]` uint8.

        Raises:
            Missing: its file is not there.
        """
        if index not in self._images:
            image = self.document.item("images", index)
            name = text(image, "name", "") or f"images[{index}]"
            if "bufferView" in image:
                data = self.document.view(whole(image, "bufferView")).tobytes()
            elif "uri" in image:
                uri = text(image, "uri", "")
                name = "in a data: address" if uri[:5].lower() == "data:" else uri
                data = self.document.uri(uri)
            else:
                raise UserError(f"images[{index}] has neither a file nor bytes")
            self._images[index] = textures.decode(data, name)
        found = self._images[index]
        assert found is not None
        return found

    # -------------------------------------------------------------------------------------------------------- materials

    def _look(self, index: int | None) -> Look:
        if index not in self._looks:
            assert index is not None
            self._looks[index] = self._material(self.document.item("materials", index))
        return self._looks[index]

    def _material(self, material: Record) -> Look:
        self.unknown(material, "materials")
        metal = record(material, "pbrMetallicRoughness")
        specular = extension(material, SPECULAR_GLOSSINESS)
        unlit = extension(material, "KHR_materials_unlit") is not None
        # Where both are given, the extension's text and most viewers that know it (Blender, Babylon, Filament) take
        # specular-glossiness: the other is the fallback of its exporter. Never are the two mixed.
        look = self._metallic(metal) if specular is None else self._specular(specular)
        mode = material.get("alphaMode", "OPAQUE")
        if mode not in ("OPAQUE", "MASK", "BLEND"):
            raise UserError(f"a material has alphaMode {shown(mode)}, which glTF does not know")
        look = replace(look, alpha_mode=mode, alpha_cutoff=number(material, "alphaCutoff", 0.5))
        if unlit:
            # Shown flat elsewhere; here it is lit like everything, because light shows form. It neither shines nor emits.
            return replace(look, metallic=0.0, roughness=1.0)
        strength = number(extension(material, "KHR_materials_emissive_strength") or {}, "emissiveStrength", 1.0)
        factor = np.clip(np.nan_to_num(vector(material, "emissiveFactor", (0.0, 0.0, 0.0))), 0, 1)
        red, green, blue = map(float, factor * min(max(strength, 0), 1e6))
        return replace(look, emission=(red, green, blue), emission_slot=self._slot(material, "emissiveTexture"))

    def _metallic(self, metal: Record) -> Look:
        mapped = "metallicRoughnessTexture" in metal  # the factors alone say nothing then; most such maps are dielectric
        return Look(
            base=_factor(metal, "baseColorFactor"),
            said="baseColorFactor" in metal,
            base_slot=self._slot(metal, "baseColorTexture"),
            metallic=0.0 if mapped else float(np.clip(number(metal, "metallicFactor", 1.0), 0, 1)),
            roughness=0.6 if mapped else float(np.clip(number(metal, "roughnessFactor", 1.0), 0, 1)),
        )

    def _specular(self, specular: Record) -> Look:
        """Specular-glossiness as far as it says a colour.

        That is its diffuse colour. By the letter it would be darkened by the specular one, which is white by default and would leave
        nothing; no viewer's default is black. Only what has no diffuse colour and a strong specular one is a metal of that colour.
        """
        diffuse, slot = _factor(specular, "diffuseFactor"), self._slot(specular, "diffuseTexture")
        shine = np.clip(vector(specular, "specularFactor", (1.0, 1.0, 1.0)), 0, 1)
        mapped = "specularGlossinessTexture" in specular
        metal = slot is None and max(diffuse[:3]) < 0.04 and shine.max() > 0.25 and "specularFactor" in specular and not mapped
        gloss = float(np.clip(number(specular, "glossinessFactor", 1.0), 0, 1))
        return Look(
            base=(float(shine[0]), float(shine[1]), float(shine[2]), diffuse[3]) if metal else diffuse,
            said="diffuseFactor" in specular,
            base_slot=slot,
            metallic=float(metal),
            roughness=0.6 if mapped or "glossinessFactor" not in specular else 1 - gloss,
        )

    def _slot(self, owner: Record, key: str) -> Slot | None:
        """A texture of a material, None where it has none."""
        if owner.get(key) is None:
            return None
        info = record(owner, key)
        self.unknown(info, "textures")
        transform = extension(info, "KHR_texture_transform")
        coordinates = whole(info, "texCoord", 0)
        if transform is None:
            return Slot(whole(info, "index"), coordinates, None)
        (x, y), (width, height) = vector(transform, "offset", (0.0, 0.0)), vector(transform, "scale", (1.0, 1.0))
        angle = number(transform, "rotation", 0.0)
        if not math.isfinite(angle):
            raise UserError("a texture's rotation is not finite")
        # Counter-clockwise with v pointing down, as in three.js, Babylon and Blender; the GLSL printed in the extension's text turns
        # the other way (https://github.com/KhronosGroup/glTF/issues/1563).
        c, s = math.cos(angle), math.sin(angle)
        matrix = tuple(map(float, (c * width, s * height, x, -s * width, c * height, y)))
        return Slot(whole(info, "index"), whole(transform, "texCoord", coordinates), matrix)


def _factor(owner: Record, key: str) -> tuple[float, float, float, float]:
    red, green, blue, alpha = map(float, np.clip(np.nan_to_num(vector(owner, key, (1.0, 1.0, 1.0, 1.0))), 0, 1))
    return red, green, blue, alpha


def _padded(pixels: np.ndarray, axis: int, before: int, after: int, shrink: int) -> np.ndarray:
    """A picture `[H, W, 4]` whose border goes on along an axis by so many texels of it, all `shrink` times smaller."""
    size = pixels.shape[axis]
    if shrink == 1:
        pads = [(0, 0)] * 3
        pads[axis] = (before, after)
        return np.pad(pixels, pads, mode="edge")
    count = max(round((size + before + after) / shrink), 1)
    places = np.clip((np.arange(count) + 0.5) * ((size + before + after) / count) - before, 0, size - 1).astype(np.int64)
    return np.ascontiguousarray(np.take(pixels, places, axis=axis))


_LIGHT: Final = np.where(
    np.arange(256) / 255 <= 0.04045, np.arange(256) / 255 / 12.92, ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4
).astype(np.float32)


def _light(shade: np.ndarray) -> np.ndarray:
    """sRGB of 8 bits as linear light 0..1."""
    return _LIGHT[shade]


def _emitting(pixels: np.ndarray | None, base: np.ndarray, glow: np.ndarray | None, emission: np.ndarray) -> np.ndarray:
    """Base texture times base colour plus emissive texture times emission, `[H, W, 4]` uint8, as large as the larger of the two."""
    from PIL import Image

    given = [picture for picture in (pixels, glow) if picture is not None]
    height, width = max(given, key=lambda picture: picture.shape[0] * picture.shape[1]).shape[:2]

    def light(picture: np.ndarray | None) -> np.ndarray:
        if picture is None:
            return np.ones((1, 1, 3), np.float32)
        if picture.shape[:2] != (height, width):
            color = Image.fromarray(np.ascontiguousarray(picture[..., :3]))
            return _light(np.asarray(color.resize((width, height), Image.Resampling.BILINEAR)))
        return _light(picture[..., :3])

    mixed = light(pixels) * base.astype(np.float32) + light(glow) * emission.astype(np.float32)
    mixed = mixed / np.maximum(mixed.max(axis=2, keepdims=True), 1)
    shades = np.rint(display(np.arange(65536) / 65535) * 255).astype(np.uint8)
    done = np.full((height, width, 4), 255, np.uint8)
    done[..., :3] = shades[np.rint(mixed * 65535).astype(np.uint16)]
    if pixels is not None:
        alpha = Image.fromarray(np.ascontiguousarray(pixels[..., 3]))
        done[..., 3] = np.asarray(alpha.resize((width, height), Image.Resampling.BILINEAR))
    return done
