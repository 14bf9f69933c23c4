"""3MF: the core specification with materials and production extensions.

A 3MF file is an archive of XML files. A model file holds resources (objects, materials, pictures). Their ids are unique within that
file. The root model lists the objects to build. Objects that are not built, supports and modifiers are left out with a warning. A file
that requires an extension which is not implemented here is refused; the message names the extension.
Specification: https://github.com/3MFConsortium/spec_core (and spec_materials, spec_production)

Slicers record in files of their own which meshes are no part of the model. PrusaSlicer lists triangles of an object (`<volume>`,
https://github.com/prusa3d/PrusaSlicer, src/libslic3r/Format/3mf.cpp). Bambu Studio and OrcaSlicer list components (`<part>`,
https://github.com/bambulab/BambuStudio, src/libslic3r/Format/bbs_3mf.cpp). Cura writes it into the metadata of objects. Filament
colours and painted colours are not read.

Letters: V vertices, F triangles, n colours of a resource.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline import textures
from pipeline.formats.package import Archive, not_repeated, parsed
from pipeline.geometry import GREY, REACH, TRIANGLES, Geometry, Mesh, Part, compact, copied, grouped
from pipeline.reading import File

DEPTH: Final = 100
"""Largest depth of nested components. Deeper nesting means that a component contains itself."""

COPIES: Final = 1_000_000
"""Largest number of components, copies of copies included. A file with more is refused."""

IMPLEMENTED: Final = ("3dmanufacturing/core/", "3dmanufacturing/material/", "3dmanufacturing/production/", "3dmanufacturing/trianglesets/")
"""Parts of the addresses of the extensions that are read or do not change the surface."""

KNOWN: Final = {
    "beamlattice": "beam lattices",
    "slice": "slices",
    "volumetric": "volumetric data",
    "implicit": "implicit functions",
    "displacement": "displacement",
    "securecontent": "encrypted content",
    "boolean": "boolean operations",
}
"""Extensions that are not read: a part of the address, and the name in messages."""

SETTINGS: Final = ("Metadata/Slic3r_PE_model.config", "Metadata/model_settings.config")
"""Files in which slicers say what each part of an object is for: PrusaSlicer's, then that of Bambu Studio and OrcaSlicer."""

ORDINARY: Final = ("modelpart", "normal_part", "")
"""Names in the files `SETTINGS` for a part that belongs to the model. An empty name means that the file does not say."""

CURA: Final = ("support_mesh", "anti_overhang_mesh", "infill_mesh", "cutting_mesh")
"""Names of Cura's metadata for objects that are no part of the model."""

FILAMENTS: Final = {
    "Metadata/project_settings.config": re.compile(rb'"filament_colour"\s*:\s*\[[^\]]*#[0-9a-fA-F]{6}'),
    "Metadata/Slic3r_PE.config": re.compile(rb"(?m)^[;\s]*(?:extruder|filament)_colour\s*=.*#[0-9a-fA-F]{6}"),
}
"""Files in which slicers keep filament colours, each with a pattern that finds a colour in it."""

PAINT: Final = ("paint_color", "mmu_segmentation")
"""Triangle attributes that hold colours painted in a slicer."""


class Colors(NamedTuple):
    """A resource that colours triangles: a list of colours, or a picture with a list of UV coordinates."""

    values: NDArray[Any]
    """[n, 4] uint8 colours, or [n, 2] UV coordinates if there is a texture."""
    texture: NDArray[Any] | None = None
    modes: tuple[str, str] = ("wrap", "wrap")
    """Wrap mode of the picture in u and v. See `package.not_repeated`."""


@dataclass
class Model:
    """One model file of the archive."""

    name: str
    root: Any
    objects: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)


def read(file: File) -> Geometry:
    """The surface that the file builds.

    Raises:
        UserError: it is no 3MF, damaged, requires an extension that is not read, or builds no surface.
    """
    package = _Package(file, Archive(file.data))
    placed: dict[tuple[str, str], list[NDArray[Any]]] = {}
    total = 0
    for model, identity, matrix in package.placements():
        placed.setdefault((model.name, identity), []).append(matrix)
        mesh = _child(model.objects[identity], "mesh")
        total += len(_inside(mesh, "triangles", "triangle"))
        if total > TRIANGLES:
            raise UserError(f"the scene expands to more than {TRIANGLES:,} triangles")
    parts: list[Part] = []
    said = False
    for (name, identity), matrices in placed.items():
        for part, colored in package.parts(package.models[name], package.models[name].objects[identity]):
            said |= colored
            parts.append(copied(part, np.stack(matrices)))
    package.settled()
    if not parts:
        raise UserError(f"the file builds no surface{package.left_out()}")
    return Mesh(parts=tuple(grouped(parts)), colored=said, warnings=tuple(file.warnings))


def _local(element: Any) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _child(element: Any, name: str) -> Any:
    """The first child with this local name, or None."""
    return next((e for e in element if _local(e) == name), None) if element is not None else None


def _inside(element: Any, outer: str, inner: str) -> list[Any]:
    """All children with the local name `inner` of the first child with the local name `outer`."""
    child = _child(element, outer)
    return [] if child is None else list(child.iterchildren(f"{{*}}{inner}"))


def _attribute(element: Any, name: str) -> str | None:
    """An attribute by its local name. One without a namespace is preferred."""
    own = element.get(name)
    return own if own is not None else next((v for k, v in element.attrib.items() if k.rpartition("}")[2] == name), None)


@dataclass
class Roles:
    """Triangles and components that are no part of the model, according to a slicer. Ids are of objects in the root model."""

    triangles: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    """By object: first triangle, last triangle, and the slicer's word for them."""
    components: dict[tuple[str, str], str] = field(default_factory=dict)
    """By containing object and contained object: the slicer's word for the component."""


def _roles(root: Any, roles: Roles) -> None:
    """Adds to `roles` what a settings file of a slicer says.

    Args:
        root: `<config>`. It holds `<object>` elements, and these hold `<volume>` (triangles of the mesh) or `<part>` (components).
        roles: is changed.
    """
    for element in root.iterchildren("{*}object"):
        identity = element.get("id", "")
        for one in element.iterchildren("{*}volume", "{*}part"):
            said = {e.get("key", ""): e.get("value", "") for e in one.iterchildren("{*}metadata")}
            role = one.get("subtype") or said.get("volume_type") or ("modifier" if said.get("modifier") == "1" else "")
            if role.lower() in ORDINARY:
                continue
            if one.get("firstid") is not None:
                first, last = _index(one.get("firstid")), _index(one.get("lastid"))
                if 0 <= first <= last:
                    roles.triangles.setdefault(identity, []).append((first, last, role))
            elif one.get("id") is not None:
                roles.components[identity, one.get("id")] = role


@dataclass
class _Package:
    file: File
    archive: Archive
    models: dict[str, Model] = field(default_factory=dict)
    colors_of: dict[tuple[str, str], Colors | None] = field(default_factory=dict)
    pictures: dict[str, NDArray[Any] | None] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    roles: Roles = field(default_factory=Roles)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Number of triangles or components that are left out, by ("triangles" or "components", the slicer's word for them)."""

    def __post_init__(self) -> None:
        for name in SETTINGS:
            found = self.archive.find(name)
            if found is not None:
                _roles(parsed(self.archive.read(found), found), self.roles)
        for name, pattern in FILAMENTS.items():
            found = self.archive.find(name)
            if found is not None and pattern.search(self.archive.read(found)):
                self.file.warn("colours of the slicer's filaments are left out")

    # ------------------------------------------------------------------------------------------------------- models

    def model(self, name: str) -> Model:
        """A model file, by its name in the archive.

        Raises:
            UserError: the file is missing, is no model, or requires an extension that is not read.
        """
        found = self.archive.find(name)
        if found is None:
            raise UserError(f"the archive lacks {name!r}, which the model names")
        if found not in self.models:
            root = parsed(self.archive.read(found), found)
            if _local(root) != "model":
                raise UserError(f"{found} is a <{_local(root)}>, expected a 3MF <model>")
            self.check_extensions(root)
            model = Model(found, root)
            resources = _child(root, "resources")
            for element in resources if resources is not None else ():
                (model.objects if _local(element) == "object" else model.resources)[element.get("id", "")] = element
            self.models[found] = model
        return self.models[found]

    def check_extensions(self, root: Any) -> None:
        for prefix in (root.get("requiredextensions") or "").split():
            address = root.nsmap.get(prefix, prefix)
            if not any(word in address for word in IMPLEMENTED):
                what = next((text for word, text in KNOWN.items() if word in address.lower()), address)
                raise UserError(f"the file requires the 3MF extension {prefix!r} ({what}), which cannot be read")

    def root_model(self) -> Model:
        relations = self.archive.find("_rels/.rels")
        if relations:
            for element in parsed(self.archive.read(relations), relations):
                if (element.get("Type") or "").endswith("/3dmodel") and self.archive.find(element.get("Target") or ""):
                    return self.model(element.get("Target"))
        models = [name for name in self.archive.names if name.lower().endswith(".model")]
        name = self.archive.find("3D/3dmodel.model") or (models[0] if models else None)
        if name is None:
            raise UserError("the archive holds no 3MF model")
        return self.model(name)

    def placements(self) -> Iterator[tuple[Model, str, NDArray[Any]]]:
        """Model, id and matrix `[4, 4]` of every mesh object that is built."""
        root = self.root_model()
        todo = [*reversed(self.built(root))]
        count = 0
        while todo:
            model, identity, matrix, depth = todo.pop()
            count += 1
            if depth > DEPTH:
                raise UserError(f"object {identity} of {model.name} contains itself, or is nested deeper than {DEPTH}")
            if count > COPIES:
                raise UserError(f"the file expands to more than {COPIES:,} components")
            element = model.objects.get(identity)
            if element is None:
                raise UserError(f"object {identity!r} is not in {model.name}")
            if self.is_left_out(element):
                continue
            if _child(element, "mesh") is not None:
                yield model, identity, matrix
            elif _child(element, "components") is not None:
                inner = self.components(model, element, model is root)
                todo += [(other, name, matrix @ move, depth + 1) for other, name, move in reversed(inner)]
            else:
                kinds = [_local(e) for e in element if _local(e) not in ("metadatagroup",)]
                raise UserError(f"object {identity} of {model.name} is {kinds[0] if kinds else 'empty'}, which cannot be read")

    def built(self, root: Model) -> list[tuple[Model, str, NDArray[Any], int]]:
        """The objects that the root model builds: model, id, matrix `[4, 4]`, and a nesting depth of 0. Where it builds nothing, all
        objects that no other object contains."""
        items = _inside(root.root, "build", "item")
        found: list[tuple[Model, str, NDArray[Any], int]] = []
        for item in items:
            if (_attribute(item, "printable") or "1").lower() in ("0", "false"):
                self.skip("items that are not to be printed")
            else:
                found.append((self.model(_attribute(item, "path") or root.name), item.get("objectid", ""), _transform(item), 0))
        if items:
            return found
        components = [c for o in root.objects.values() for c in _inside(o, "components", "component")]
        used = {c.get("objectid") for c in components if _attribute(c, "path") is None}
        found = [(root, identity, np.eye(4), 0) for identity in root.objects if identity not in used]
        if found:
            self.file.warn("the file builds nothing: all its objects are taken as they are")
        return found

    def is_left_out(self, element: Any) -> bool:
        """Whether an object is a support or another helper for printing. Records what it is."""
        kind = element.get("type", "model")
        if kind in ("support", "solidsupport", "other"):
            self.skip(f"objects of type {kind!r}")
            return True
        helper = next((e for e in _inside(element, "metadatagroup", "metadata") if _helps(e)), None)
        if helper is not None:
            self.skip(f"objects that the slicer has as {helper.get('name')}")
        return helper is not None

    def components(self, model: Model, element: Any, in_root: bool) -> list[tuple[Model, str, NDArray[Any]]]:
        """Model, id and matrix `[4, 4]` of the objects that an object contains, without those that a slicer leaves out.

        Args:
            in_root: whether `model` is the root model; only there slicers say what components are for.
        """
        found = []
        for one in _inside(element, "components", "component"):
            role = self.roles.components.get((element.get("id", ""), one.get("objectid", ""))) if in_root else None
            if role:
                self.dropped["components", role] += 1
            else:
                found.append((self.model(_attribute(one, "path") or model.name), one.get("objectid", ""), _transform(one)))
        return found

    def skip(self, what: str) -> None:
        self.file.warn(f"{what} are left out")
        if what not in self.skipped:
            self.skipped.append(what)

    def settled(self) -> None:
        """Warns of the triangles and components that were left out because they are no part of the model."""
        for (what, role), count in self.dropped.items():
            self.skip(f"{count:,} {what} that the slicer has as {role}")

    def ordinary(self, rows: list[Any], model: Model, element: Any) -> list[Any]:
        """The triangle elements of an object without those that a slicer leaves out."""
        ranges = self.roles.triangles.get(element.get("id", ""), ()) if model is self.root_model() else ()
        kept = np.ones(len(rows), bool)
        for first, last, role in ranges:
            self.dropped["triangles", role] += int(kept[first : last + 1].sum())
            kept[first : last + 1] = False
        return rows if kept.all() else [row for row, keep in zip(rows, kept.tolist(), strict=True) if keep]

    def left_out(self) -> str:
        return f" ({', '.join(self.skipped)} are left out)" if self.skipped else ""

    # -------------------------------------------------------------------------------------------------------- meshes

    def parts(self, model: Model, element: Any) -> Iterator[tuple[Part, bool]]:
        """The mesh of an object as parts, one for each resource that colours it; each with whether the file gives its colour."""
        mesh = _child(element, "mesh")
        name = f"object {element.get('id')} of {model.name}"
        rows = _inside(mesh, "vertices", "vertex")
        vertices = _floats([[e.get("x"), e.get("y"), e.get("z")] for e in rows], 3, name)
        rows = _inside(mesh, "triangles", "triangle")
        if not rows:
            beams = next((e for e in mesh if _local(e) == "beamlattice"), None)
            if beams is not None:
                raise UserError(f"{name} is a beam lattice, which cannot be read")
            return
        if any(_local(e) == "beamlattice" for e in mesh):
            self.file.warn("beam lattices are left out")
        rows = self.ordinary(rows, model, element)
        if not rows:
            return
        faces = _floats([[e.get("v1"), e.get("v2"), e.get("v3")] for e in rows], 3, name)
        if not (faces == np.rint(faces)).all() or np.abs(faces).max() > 1e12:
            raise UserError(f"{name} is damaged: a triangle names vertices by what are no whole numbers")
        faces = faces.astype(np.int64)
        if faces.min() < 0 or faces.max() >= len(vertices):
            wrong = faces.min() if faces.min() < 0 else faces.max()
            raise UserError(f"{name}: a triangle names vertex {wrong} of {len(vertices)} (index out of range)")
        whole = Part(vertices=vertices, faces=faces)
        pid, pindex = element.get("pid"), element.get("pindex")
        if any(len(e.attrib) > 3 and any(k.rpartition("}")[2] in PAINT and v for k, v in e.attrib.items()) for e in rows):
            self.file.warn("colours painted in a slicer are left out")

        # The resource that colours each triangle, and the entry of that resource for each corner.
        names = np.full(len(rows), pid or "", object)
        entries = np.full(faces.shape, _index(pindex), np.int64)
        for i, e in enumerate(rows):
            first = e.get("p1")
            if first is not None:  # a triangle without p1 has the resource and entry of its object
                names[i] = e.get("pid") or pid or ""
                entries[i] = (_index(first), _index(e.get("p2") or first), _index(e.get("p3") or first))
        for one in dict.fromkeys(names.tolist()):
            which = names == one
            yield self.colored(model, one, dataclasses.replace(whole, faces=faces[which]), entries[which])

    def colored(self, model: Model, identity: str, part: Part, entries: NDArray[Any]) -> tuple[Part, bool]:
        """The part, coloured by one resource, and whether the file gives its colour.

        Args:
            identity: id of the resource; empty for none.
            part: geometry of the triangles that have this resource.
            entries: `[F, 3]` entry of the resource for each corner.
        """
        grey = dataclasses.replace(part, base_color=(GREY, GREY, GREY, 1.0))
        colors = self.colors(model, identity) if identity else None
        if colors is None:
            return compact(grey), False
        if entries.min() < 0 or entries.max() >= len(colors.values):
            self.file.warn(
                f"resource {identity} of {model.name} has {len(colors.values)} entries, a triangle names entry {entries.max()}: no colour"
            )
            return compact(grey), False
        if colors.texture is None and (entries == entries.flat[0]).all():
            color = tuple((colors.values[entries.flat[0]] / 255).tolist())
            return compact(dataclasses.replace(part, base_color=color, alpha_mode="BLEND" if color[3] < 1 else "OPAQUE")), True
        flat = part.faces.reshape(-1)
        apart = Part(vertices=part.vertices[flat], faces=np.arange(len(flat)).reshape(-1, 3))
        values = colors.values[entries.reshape(-1)]
        alpha = values[:, 3] if colors.texture is None else colors.texture[..., 3]
        look: dict[str, Any] = {"colors": values} if colors.texture is None else {"uv": values, "texture": colors.texture}
        shown = dataclasses.replace(apart, alpha_mode="BLEND" if alpha.min() < 255 else "OPAQUE", **look)
        return shown if colors.texture is None else not_repeated(self.file, shown, colors.modes), True

    # ------------------------------------------------------------------------------------------------------- colours

    def colors(self, model: Model, identity: str) -> Colors | None:
        """A resource by its id, or None with a warning where it cannot be read."""
        key = (model.name, identity)
        if key not in self.colors_of:
            self.colors_of[key] = None  # a resource that contains itself finds None here
            try:
                self.colors_of[key] = self.read_colors(model, identity)
            except _Broken as error:
                self.file.warn(f"resource {identity} of {model.name} is left out ({error})")
        return self.colors_of[key]

    def read_colors(self, model: Model, identity: str) -> Colors | None:
        element = model.resources.get(identity)
        if element is None:
            raise _Broken("it is not there")
        match _local(element):
            case "basematerials":
                values = [_color(e.get("displaycolor")) for e in element if _local(e) == "base"]
                return _opaque_if_all_clear(self.file, Colors(np.array(values, np.uint8).reshape(-1, 4)))
            case "colorgroup":
                values = [_color(e.get("color")) for e in element if _local(e) == "color"]
                return _opaque_if_all_clear(self.file, Colors(np.array(values, np.uint8).reshape(-1, 4)))
            case "texture2dgroup":
                try:
                    places = [(float(e.get("u", "")), float(e.get("v", ""))) for e in element if _local(e) == "tex2coord"]
                except ValueError as error:
                    raise _Broken(f"a coordinate is no number: {error}") from error
                texture = self.texture(model, element.get("texid", ""))
                picture = model.resources[element.get("texid", "")]
                modes = (picture.get("tilestyleu", "wrap"), picture.get("tilestylev", "wrap"))
                uv = np.array(places, np.float64).reshape(-1, 2)
                return None if texture is None else Colors(np.where(np.abs(uv) < REACH, uv, 0), texture, modes)
            case "compositematerials":
                return self.mixed(model, element)
            case "multiproperties":
                return self.layered(model, element)
            case other:
                raise _Broken(f"{other} is not read")

    def mixed(self, model: Model, element: Any) -> Colors:
        """The colours of a `compositematerials`: each is the mean of base colours, weighted as the file says."""
        base = self.colors(model, element.get("matid", ""))
        if base is None or base.texture is not None:
            raise _Broken("its base materials cannot be read")
        chosen = [_index(word) for word in (element.get("matindices") or "").split()]
        if not chosen or min(chosen) < 0 or max(chosen) >= len(base.values):
            raise _Broken("it names materials that are not there")
        rows = []
        for one in element:
            if _local(one) == "composite":
                weights = _floats([(one.get("values") or "").split()], len(chosen), "a composite")[0]
                total = weights.sum()
                rows.append(weights / total @ base.values[chosen] if total > 0 else base.values[chosen[0]])
        return Colors(np.rint(np.array(rows).reshape(-1, 4)).astype(np.uint8))

    def layered(self, model: Model, element: Any) -> Colors:
        """The colours of a `multiproperties`, which lays several resources over one another. Colours are blended by alpha or multiplied.
        Where a layer is a picture, only the last picture is used."""
        layers = [self.colors(model, word) for word in (element.get("pids") or "").split()]
        if not layers:
            raise _Broken("it has no layers")
        rows = [[_index(w) for w in (e.get("pindices") or "").split()] for e in element if _local(e) == "multi"]
        # An entry that is not written is the first one of its layer.
        entries = np.array([(row + [0] * len(layers))[: len(layers)] for row in rows], np.int64).reshape(-1, len(layers))
        methods = ["mix", *(element.get("blendmethods") or "").split(), *["mix"] * len(layers)]
        pictures = [i for i, layer in enumerate(layers) if layer is not None and layer.texture is not None]
        for i, layer in enumerate(layers):
            if layer is not None and len(entries) and not (0 <= entries[:, i].min() and entries[:, i].max() < len(layer.values)):
                raise _Broken("it names entries that are not there")
        if pictures:
            self.file.warn("layers of several properties are left out where one is a picture: only the last picture is used")
            layer = layers[pictures[-1]]
            assert layer is not None
            return Colors(layer.values[entries[:, pictures[-1]]], layer.texture, layer.modes)
        below: NDArray[Any] | None = None
        for i, layer in enumerate(layers):
            if layer is None:
                continue
            above = layer.values[entries[:, i]] / 255
            if below is None:
                below = above
            elif methods[i] == "multiply":
                below = below * above
            else:
                share = above[:, 3:]
                below = np.hstack([above[:, :3] * share + below[:, :3] * (1 - share), share + below[:, 3:] * (1 - share)])
        if below is None:
            raise _Broken("none of its layers can be read")
        return Colors(np.rint(below * 255).astype(np.uint8))

    def texture(self, model: Model, identity: str) -> NDArray[Any] | None:
        """The pixels of a picture in the archive `[H, W, 4]`; None where it is missing and textures are not required."""
        element = model.resources.get(identity)
        path = (_attribute(element, "path") or "") if element is not None else ""
        if not path:
            raise _Broken("it names no picture")
        if path not in self.pictures:
            found = self.archive.find(path)
            if found is None:
                self.file.lacks(UserError(f"file {path!r}, named in {model.name}, is missing in the archive"))
                self.pictures[path] = None
            else:
                self.pictures[path] = textures.decode(self.archive.read(found), path)
        return self.pictures[path]


class _Broken(Exception):
    """A resource cannot be read. The surface is kept without it."""


def _opaque_if_all_clear(file: File, colors: Colors) -> Colors:
    """The colours, made opaque where all of them are wholly transparent."""
    if not len(colors.values) or colors.values[:, 3].max() > 0:
        return colors
    file.warn("every colour of a resource is wholly transparent, which would leave nothing to see: taken as opaque")
    return Colors(np.hstack([colors.values[:, :3], np.full((len(colors.values), 1), 255, np.uint8)]))


def _helps(metadata: Any) -> bool:
    """Whether Cura's metadata say that an object only helps to print others."""
    return metadata.get("name", "").rpartition(":")[2] in CURA and (metadata.text or "").strip().lower() in ("true", "1")


def _color(text: str | None) -> tuple[int, int, int, int]:
    """Red, green, blue and alpha (0..255) from `#RRGGBB` or `#RRGGBBAA`."""
    digits = re.fullmatch(r"\s*#?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?\s*", text or "")
    if not digits:
        raise _Broken(f"{text!r} is no colour")
    red, green, blue = bytes.fromhex(digits[1])
    return red, green, blue, int(digits[2] or "ff", 16)


def _index(text: str | None) -> int:
    """An index from 0 in a text; 0 where there is no text, -1 where it is no index."""
    return int(text) if text and re.fullmatch(r"\d{1,9}", text.strip()) else 0 if not text else -1


def _floats(rows: list[Any], columns: int, what: str) -> NDArray[Any]:
    """Numbers `[n, columns]` from rows of texts.

    Raises:
        UserError: a number is missing, or a text is no number.
    """
    try:
        if any(None in row for row in rows):
            raise ValueError("one is missing")
        return np.array(rows, np.float64).reshape(len(rows), columns)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} is damaged: expected {columns} numbers each ({error})") from error


def _transform(element: Any) -> NDArray[Any]:
    """The matrix `[4, 4]` of an item or component. The file writes the transpose of it without the last column."""
    text = element.get("transform")
    matrix = np.eye(4)
    if text:
        matrix[:3] = _floats([text.split()], 12, "a transform").reshape(4, 3).T
    return matrix
