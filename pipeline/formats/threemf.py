"""3MF: the core specification with materials and production extensions.

An archive of XML files. A model file holds resources (objects, materials, pictures), each with an id of that file alone, and the root
model says what is built from which objects. What is not built, supports and modifiers are left out with a warning. A file that
requires an extension which is not implemented here is refused, by the extension's name.
Specification: https://github.com/3MFConsortium/spec_core (and spec_materials, spec_production)

Slicers say in files of their own which meshes are no part of the model: PrusaSlicer which triangles of an object are (`<volume>`,
https://github.com/prusa3d/PrusaSlicer, src/libslic3r/Format/3mf.cpp), Bambu Studio and OrcaSlicer which components are (`<part>`,
https://github.com/bambulab/BambuStudio, src/libslic3r/Format/bbs_3mf.cpp). Cura says it in the metadata of objects. Colours of
filaments and painted ones are not read.

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
"""Components nested deeper than this contain themselves."""

COPIES: Final = 1_000_000
"""More components than this, by copies of copies, are refused."""

IMPLEMENTED: Final = ("3dmanufacturing/core/", "3dmanufacturing/material/", "3dmanufacturing/production/", "3dmanufacturing/trianglesets/")
"""Parts of the names of extensions that are read, or that change no surface."""

KNOWN: Final = {
    "beamlattice": "beam lattices",
    "slice": "slices",
    "volumetric": "volumetric data",
    "implicit": "implicit functions",
    "displacement": "displacement",
    "securecontent": "encrypted content",
    "boolean": "boolean operations",
}
"""What else there is, by a part of its name."""

SETTINGS: Final = ("Metadata/Slic3r_PE_model.config", "Metadata/model_settings.config")
"""Where PrusaSlicer, and where Bambu Studio and OrcaSlicer, say what each part of an object is for."""

ORDINARY: Final = ("modelpart", "normal_part", "")
"""What these files call what is part of the model; empty where they say nothing."""

CURA: Final = ("support_mesh", "anti_overhang_mesh", "infill_mesh", "cutting_mesh")
"""Metadata by which Cura says that an object is no part of the model."""

FILAMENTS: Final = {
    "Metadata/project_settings.config": re.compile(rb'"filament_colour"\s*:\s*\[[^\]]*#[0-9a-fA-F]{6}'),
    "Metadata/Slic3r_PE.config": re.compile(rb"(?m)^[;\s]*(?:extruder|filament)_colour\s*=.*#[0-9a-fA-F]{6}"),
}
"""Where slicers keep colours of filaments, and how these look there."""

PAINT: Final = ("paint_color", "mmu_segmentation")
"""Attributes of triangles in which slicers keep painted colours."""

COLORS: Final = ("basematerials", "colorgroup", "compositematerials", "multiproperties")


class Colors(NamedTuple):
    """A resource that triangles may name: colours, or a picture with coordinates."""

    values: NDArray[Any]
    """[n, 4] uint8, or [n, 2] coordinates of the picture."""
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
    """What the file builds.

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
    """The first child of a local name, or None."""
    return next((e for e in element if _local(e) == name), None) if element is not None else None


def _inside(element: Any, outer: str, inner: str) -> list[Any]:
    """All grandchildren of a local name below a child of a local name."""
    child = _child(element, outer)
    return [] if child is None else list(child.iterchildren(f"{{*}}{inner}"))


def _attribute(element: Any, name: str) -> str | None:
    """An attribute by its local name: of no namespace, else of any."""
    own = element.get(name)
    return own if own is not None else next((v for k, v in element.attrib.items() if k.rpartition("}")[2] == name), None)


@dataclass
class Roles:
    """What a slicer says is no part of the model, by the ids of objects in the root model."""

    triangles: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    """The first and last triangle of an object, and what they are."""
    components: dict[tuple[str, str], str] = field(default_factory=dict)
    """What a component is, by the object that has it and the object that it names."""


def _roles(root: Any, roles: Roles) -> None:
    """Takes in what a file of settings says.

    Args:
        root: `<config>` of `<object>`s, each of `<volume>`s (triangles of the object's mesh) or `<part>`s (its components).
        roles: Where it goes.
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
    """How many triangles or components are left out because a slicer says what they are."""

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
            UserError: it is not there, no model, or requires what is not implemented.
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
        """Each mesh object that is built: its model, its id, and where it stands `[4, 4]`."""
        root = self.root_model()
        items = _inside(root.root, "build", "item")
        todo: list[tuple[Model, str, NDArray[Any], int]] = []
        for item in items:
            if (_attribute(item, "printable") or "1").lower() in ("0", "false"):
                self.skip("items that are not to be printed")
                continue
            model = self.model(_attribute(item, "path") or root.name)
            todo.append((model, item.get("objectid", ""), _transform(item), 0))
        if not items:
            used = {
                c.get("objectid")
                for o in root.objects.values()
                for c in _inside(o, "components", "component")
                if _attribute(c, "path") is None
            }
            todo = [(root, identity, np.eye(4), 0) for identity in root.objects if identity not in used]
            if todo:
                self.file.warn("the file builds nothing: all its objects are taken as they are")
        todo.reverse()
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
            kind = element.get("type", "model")
            if kind in ("support", "solidsupport", "other"):
                self.skip(f"objects of type {kind!r}")
                continue
            helper = next((e for e in _inside(element, "metadatagroup", "metadata") if _helps(e)), None)
            if helper is not None:
                self.skip(f"objects that the slicer has as {helper.get('name')}")
                continue
            components = _child(element, "components")
            if _child(element, "mesh") is not None:
                yield model, identity, matrix
            elif components is not None:
                inner = []
                for one in _inside(element, "components", "component"):
                    role = self.roles.components.get((identity, one.get("objectid", ""))) if model is root else None
                    if role:
                        self.dropped["components", role] += 1
                        continue
                    other = self.model(_attribute(one, "path") or model.name)
                    inner.append((other, one.get("objectid", ""), matrix @ _transform(one), depth + 1))
                todo += reversed(inner)
            else:
                kinds = [_local(e) for e in element if _local(e) not in ("metadatagroup",)]
                raise UserError(f"object {identity} of {model.name} is {kinds[0] if kinds else 'empty'}, which cannot be read")

    def skip(self, what: str) -> None:
        self.file.warn(f"{what} are left out")
        if what not in self.skipped:
            self.skipped.append(what)

    def settled(self) -> None:
        """Says how much is left out because it is no part of the model."""
        for (what, role), count in self.dropped.items():
            self.skip(f"{count:,} {what} that the slicer has as {role}")

    def ordinary(self, rows: list[Any], model: Model, element: Any) -> list[Any]:
        """The triangles of an object that are part of the model."""
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
        """The mesh of an object, one part for each resource that colours it, and whether this says a colour."""
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

        # Which resource colours each triangle, and which of its entries each corner has.
        names = np.full(len(rows), pid or "", object)
        entries = np.full(faces.shape, _index(pindex), np.int64)
        for i, e in enumerate(rows):
            first = e.get("p1")
            if first is not None:  # one without entries of its own has the object's
                names[i] = e.get("pid") or pid or ""
                entries[i] = (_index(first), _index(e.get("p2") or first), _index(e.get("p3") or first))
        for one in dict.fromkeys(names.tolist()):
            which = names == one
            yield self.colored(model, one, dataclasses.replace(whole, faces=faces[which]), entries[which])

    def colored(self, model: Model, identity: str, part: Part, entries: NDArray[Any]) -> tuple[Part, bool]:
        """A part with the entries `[F, 3]` of one resource as its colours."""
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
            self.colors_of[key] = None  # whoever names itself finds this
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
        """Materials mixed by weight look like their colours mixed by weight."""
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
        """Several resources one over another: mixed by alpha or multiplied where all are colours, else the last picture alone."""
        layers = [self.colors(model, word) for word in (element.get("pids") or "").split()]
        if not layers:
            raise _Broken("it has no layers")
        rows = [[_index(w) for w in (e.get("pindices") or "").split()] for e in element if _local(e) == "multi"]
        # Entries that are not written are the first one of their layer.
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
        """A picture of the archive; None where it is missing and that is allowed."""
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
    """A resource that cannot be read; the surface stays."""


def _opaque_if_all_clear(file: File, colors: Colors) -> Colors:
    if not len(colors.values) or colors.values[:, 3].max() > 0:
        return colors
    file.warn("every colour of a resource is wholly transparent, which would leave nothing to see: taken as opaque")
    return Colors(np.hstack([colors.values[:, :3], np.full((len(colors.values), 1), 255, np.uint8)]))


def _helps(metadata: Any) -> bool:
    """Whether Cura says of an object that it only helps to print others."""
    return metadata.get("name", "").rpartition(":")[2] in CURA and (metadata.text or "").strip().lower() in ("true", "1")


def _color(text: str | None) -> tuple[int, int, int, int]:
    """`#RRGGBB` or `#RRGGBBAA`."""
    digits = re.fullmatch(r"\s*#?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?\s*", text or "")
    if not digits:
        raise _Broken(f"{text!r} is no colour")
    red, green, blue = bytes.fromhex(digits[1])
    return red, green, blue, int(digits[2] or "ff", 16)


def _index(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,9}", text.strip()) else 0 if not text else -1


def _floats(rows: list[Any], columns: int, what: str) -> NDArray[Any]:
    """Numbers `[n, columns]` from texts.

    Raises:
        UserError: one is missing or no number.
    """
    try:
        if any(None in row for row in rows):
            raise ValueError("one is missing")
        return np.array(rows, np.float64).reshape(len(rows), columns)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} is damaged: expected {columns} numbers each ({error})") from error


def _transform(element: Any) -> NDArray[Any]:
    """The matrix `[4, 4]` of an item or component. The file writes its transpose, without the last column."""
    text = element.get("transform")
    matrix = np.eye(4)
    if text:
        matrix[:3] = _floats([text.split()], 12, "a transform").reshape(4, 3).T
    return matrix
