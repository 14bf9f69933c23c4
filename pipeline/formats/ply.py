"""PLY: surfaces, clouds and Gaussian splats, as text or binary in both byte orders.

These properties give a colour; the first one in the file is used: `red green blue`, `diffuse_red ...`, `r g b`, `scalar_r ...`, the bits
0xAARRGGBB of `rgba` or `rgb` (whole numbers or floats of four bytes, as in PCD), the same properties of element `material`, spherical
harmonics `f_dc_0..2`. The scale of a colour depends on its declared type and its range. Bytes are 0..255. Larger whole numbers are
0..255, or 0..65535 if one exceeds 255. Floats are 0..1, or 0..255 if one exceeds 2 (values a little above 1 count as 1). The scale of
alpha is decided separately by the same rule.

Also read: triangles, polygons, strips, normals, UV coordinates of vertices or corners, the picture that `comment TextureFile` names, and
colours of vertices or faces. Other properties of vertices, such as `intensity`, `confidence` and `quality`, are left out, and a remark
names those that have a number for each vertex.

Letters: V vertices, P polygons, C corners of all polygons together, F triangles, R rows of an element.
"""

import dataclasses
import itertools
import re
import struct
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.formats import columns
from pipeline.formats.labels import labelling, majority
from pipeline.geometry import GREY, REACH, TRIANGLES, Cloud, Geometry, Mesh, Part, compact, grouped, left_alone, of_faces, taken, unit
from pipeline.polygons import ALONG_SURFACE, across, triangulated
from pipeline.reading import File, decoded

HEADER: Final = 1 << 20
"""Largest size of a header, in bytes."""

TYPES: Final = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
    "float32": "f4",
    "float64": "f8",
}
"""NumPy type of each number type of PLY."""

COLORS: Final = (
    ("red", "green", "blue", "alpha"),
    ("diffuse_red", "diffuse_green", "diffuse_blue", "diffuse_alpha"),
    ("r", "g", "b", "a"),
    ("scalar_r", "scalar_g", "scalar_b", "scalar_a"),  # CloudCompare's, where a table was read without saying what it holds
    ("scalar_red", "scalar_green", "scalar_blue", "scalar_alpha"),
)
"""Properties for red, green, blue and alpha, best first."""

PACKED: Final = ("rgba", "rgb")
"""Properties that hold a whole colour in their bits."""

MATERIAL: Final = ("material_index", "material", "material_id")
"""Properties of a face or a vertex that name a row of element `material`."""

COORDINATES: Final = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
"""Properties for UV coordinates of vertices."""

CORNERS: Final = ("vertex_indices", "vertex_index")
"""Lists with the vertices of a face."""

LABELS: Final = frozenset(
    {"label", "labels", "class", "classification", "semantic", "instance", "object_id", "scalar_label", "scalar_classification"}
)
"""Properties that hold labels of points."""

PICTURE: Final = re.compile(
    r"\w+\s+(texture|texture_?files?|texture_?name|map_Kd):?\s.*\.(png|jpe?g|tga|bmp|tiff?|webp|dds)", re.IGNORECASE
)
"""Pattern of other comments than `TextureFile` that name a picture."""

NAMES: Final = {
    "materials": "material",
    "vertices": "vertex",
    "point": "vertex",
    "points": "vertex",
    "faces": "face",
    "polygon": "face",
    "polygons": "face",
}
"""Unusual names of elements, and the usual name of each."""

HARMONIC: Final = 0.28209479177387814
"""Value of the constant spherical harmonic: half the square root of 1/pi."""

INVISIBLE: Final = 1 / 255
"""Smallest opacity of a splat that is kept. Viewers do not draw fainter ones either."""


class Property(NamedTuple):
    """A property of an element."""

    name: str
    type: str
    """One of the values of `TYPES`."""
    counted: str = ""
    """Type of the number of values if the property is a list, else empty."""


@dataclass(frozen=True)
class Element:
    """An element that the header declares, with its number of rows."""

    name: str
    rows: int
    properties: tuple[Property, ...]


@dataclass(frozen=True)
class Header:
    """What the header of a file says."""

    elements: tuple[Element, ...]
    order: str
    """Byte order in NumPy's notation, `<` or `>`; empty for text."""
    textures: tuple[str, ...]
    """Names of pictures."""
    length: int
    """Number of bytes before the first row."""


@dataclass
class Table:
    """The rows of one element."""

    rows: int
    types: dict[str, str]
    """Declared type of each property."""
    columns: dict[str, NDArray[Any]]
    """By property that is no list: its numbers `[R]`."""
    lists: dict[str, tuple[NDArray[Any], NDArray[Any]]]
    """By property that is a list: the number of values in each row `[R]`, and all values one after another."""

    def stacked(self, names: tuple[str, ...]) -> NDArray[Any] | None:
        """Columns side by side `[R, k]`, or None where one is missing."""
        if not all(name in self.columns for name in names):
            return None
        return np.stack([self.columns[name] for name in names], axis=1)


def read(file: File) -> Geometry:
    """The surface in a file, or a cloud where the file has vertices and no faces.

    Raises:
        UserError: the file is no PLY, is damaged or cut short, or a face names a vertex that does not exist.
    """
    header = _header(file.data)
    tables = _tables(file, header)
    vertices = tables.get("vertex")
    if vertices is None or not vertices.rows:
        raise UserError("the file holds no triangles and no points (no element 'vertex', or no rows of it)")
    if "packed_position" in vertices.columns:
        raise UserError("compressed Gaussian splats (packed_position) cannot be read: save them as plain PLY")
    places = vertices.stacked(("x", "y", "z"))
    if places is None:
        raise UserError(f"element 'vertex' has no properties x, y, z; it has: {' '.join(vertices.types) or 'none'}")
    _unread_labels(file, vertices)
    _unread_values(file, vertices)
    counts, corners, faces = _polygons(file, tables, len(places))
    materials = tables.get("material", Table(0, {}, {}, {}))
    if not (counts >= 3).any():
        if len(counts):
            file.warn(f"{len(counts):,} faces of fewer than three corners are left out")
        return _cloud(file, vertices, places, materials)
    return _mesh(file, header, vertices, places, counts, corners, faces, materials)


def vertices(file: File) -> tuple[Table, NDArray[Any] | None]:
    """The rows of element 'vertex' in the order of the file, used by faces or not, and their colours `[V, 4]` uint8 if they have any.

    Raises:
        UserError: the file is no PLY, is damaged or cut short, or has no vertices.
    """
    found = _tables(file, _header(file.data)).get("vertex")
    if found is None or not found.rows:
        raise UserError("the file holds no points (no element 'vertex', or no rows of it)")
    return found, _colors(found)


# ------------------------------------------------------------------------------------------------------------ shapes


def _unread_labels(file: File, vertices: Table) -> None:
    """Warns about properties of points that are labels and are not read."""
    asked = labelling(file)
    read = {asked.field(vertices.columns), asked.how.objects.lower()} if asked else set()
    found = sorted(LABELS.intersection(vertices.types) - read)
    if found:
        hint = "" if asked else "; --set source.labels=field reads them in a folder"
        file.warn(f"labels of points ({', '.join(found)}) are not used{hint}")


def _unread_values(file: File, vertices: Table) -> None:
    """Names the properties of vertices that nothing reads, in a remark."""
    read = {"x", "y", "z", "nx", "ny", "nz", *LABELS, *MATERIAL, *itertools.chain(*COORDINATES), *_color_names(vertices)}
    if "f_dc_0" in vertices.columns:  # Gaussian splats have a remark of their own
        read |= {name for name in vertices.columns if re.fullmatch(r"opacity|(f_dc|f_rest|scale|rot)_\d+", name)}
    if asked := labelling(file):
        read |= {str(asked.field(vertices.columns)), *(name for name in vertices.columns if _is(name, asked.how.objects))}
    columns.left_out([name for name in vertices.columns if name not in read], file.warn)


def _is(name: str, asked: str) -> bool:
    """Whether a property has the name that a setting gives."""
    return bool(asked) and columns.plain(name) == columns.plain(asked)


def _cloud(file: File, vertices: Table, places: NDArray[Any], materials: Table) -> Cloud:
    colors = _colors(vertices)
    if materials.rows:
        colors, _ = _with_materials(file, materials, vertices, Table(0, {}, {}, {}), colors, None)
    keep = np.isfinite(places).all(axis=1)
    if not keep.all():
        file.warn(f"{np.count_nonzero(~keep):,} of {len(places):,} points are not finite (NaN or infinity) and left out")
    dc = vertices.stacked(("f_dc_0", "f_dc_1", "f_dc_2"))
    if dc is not None:
        file.warn("Gaussian splats are read as points: their sizes, opacities and view-dependent colours are left out")
        colors = _harmonic(dc)[:, :3] if colors is None else colors
        if "opacity" in vertices.columns:
            with np.errstate(over="ignore"):
                seen = 1 / (1 + np.exp(-vertices.columns["opacity"].astype(np.float64))) >= INVISIBLE
            if seen.any() and not seen.all():
                file.warn(f"{np.count_nonzero(~seen):,} of {len(places):,} splats are invisible and left out")
                keep &= seen
    normals = vertices.stacked(("nx", "ny", "nz"))
    part, instance = None, None
    if asked := labelling(file):
        part, instance = (take(vertices.columns, "vertex property") for take in (asked.of_field, asked.of_objects))
        part = asked.of_faces(file, len(places)) if part is None else part
    return Cloud(
        points=places[keep],
        colors=None if colors is None else colors[keep, :3],
        normals=None if normals is None else normals[keep],
        part=None if part is None else part[keep],
        instance=None if instance is None else instance[keep],
        warnings=tuple(file.warnings),
    )


def _mesh(
    file: File,
    header: Header,
    vertices: Table,
    places: NDArray[Any],
    counts: NDArray[Any],
    corners: NDArray[Any],
    faces: Table,
    materials: Table,
) -> Mesh:
    """The surface as a mesh, with one part for each picture.

    Args:
        places: `[V, 3]` positions.
        counts: `[P]` number of corners of each polygon. Triangles of strips come after the rows of `faces`.
        corners: `[C]` vertex of each corner.
    """
    thin = np.count_nonzero(counts < 3)
    if thin:
        file.warn(f"{thin:,} faces of fewer than three corners are left out")
    if np.sum(np.maximum(counts - 2, 0)) > TRIANGLES:
        raise UserError(f"the file holds more than {TRIANGLES:,} triangles")
    triangles, polygon = triangulated(places, counts, corners)  # [F, 3] positions in corners, [F]
    if not len(triangles):
        raise UserError("the file holds no triangles: all its faces are lines")

    if alone := left_alone(len(places), corners, len(counts)):
        file.warn(alone)
    colors, painted = _chosen_colors(file, vertices, faces, materials, len(counts))
    only_triangles = 3 * len(triangles) == len(corners) and not thin
    faces_of = corners.reshape(-1, 3) if only_triangles else corners[triangles]  # [F, 3]
    of_vertex, of_corner, mapped = _coordinates(file, header, vertices, faces, counts)
    normals = unit(vertices.stacked(("nx", "ny", "nz")), len(places))
    some = faces_of[:: max(1, len(faces_of) // 4096)]
    if normals is not None and not across(normals[some], places[some]):
        file.warn(ALONG_SURFACE)
        normals = None
    whole = Part(vertices=places, faces=faces_of, normals=normals)
    whole = dataclasses.replace(whole, **_labelled(file, vertices, faces, counts, triangles, faces_of, polygon))

    parts, said = [], False
    pictures = np.unique(mapped) if header.textures else np.array([-1])
    for picture in pictures:
        rows: Any = mapped[polygon] == picture if len(pictures) > 1 else slice(None)  # [F]
        part = dataclasses.replace(of_faces(whole, rows), base_color=(1.0, 1.0, 1.0, 1.0))
        texture = file.texture(header.textures[picture]) if picture >= 0 else None
        if texture is not None:
            # Colours beside a picture are often black, so they are not multiplied with it.
            uv = of_vertex if of_corner is None else of_corner[triangles[rows].reshape(-1)]
            part = dataclasses.replace(part if of_corner is None else _apart(part), uv=uv, texture=texture)
        elif painted is not None:
            part = dataclasses.replace(_apart(part), colors=np.repeat(painted[polygon[rows]], 3, axis=0))
        elif colors is not None:
            part = dataclasses.replace(part, colors=colors)
        else:
            part = dataclasses.replace(part, base_color=(GREY, GREY, GREY, 1.0))
        said |= part.texture is not None or part.colors is not None
        parts.append(compact(_seen_through(file, part)))
    return Mesh(parts=tuple(grouped(parts)), colored=said, warnings=tuple(file.warnings))


def _labelled(
    file: File, vertices: Table, faces: Table, counts: NDArray[Any], triangles: NDArray[Any], faces_of: NDArray[Any], polygon: NDArray[Any]
) -> dict[str, Any]:
    """The fields of a `Part` that hold labels; empty where none are asked for.

    Args:
        file: the file.
        vertices: the rows of element 'vertex'.
        faces: the rows of element 'face'.
        counts: `[P]` number of corners of each polygon.
        triangles: `[F, 3]` positions of corners.
        faces_of: `[F, 3]` vertices.
        polygon: `[F]` polygon of each triangle.
    """
    asked = labelling(file)
    if asked is None:
        return {}
    if asked.how.way == "texture":
        return {"label_map": asked.of_picture(file), "label_uv": _label_places(vertices, faces, counts, triangles, faces_of)}
    parts = asked.of_field(faces.columns, "face property") if faces.rows else None
    parts = asked.of_faces(file, faces.rows) if parts is None else parts
    parts_of_vertices = asked.of_field(vertices.columns, "vertex property") if parts is None else None
    if parts_of_vertices is not None:
        corners = parts_of_vertices[faces_of]  # [F, 3]
        if mixed := np.count_nonzero((corners != corners[:, :1]).any(axis=1)):
            file.warn(f"labels are of vertices: {mixed:,} of {len(corners):,} triangles have several, and take that of most corners")
    objects = asked.of_objects(faces.columns, "face property") if faces.rows else None
    objects_of_vertices = asked.of_objects(vertices.columns, "vertex property") if objects is None else None
    return {
        "part": _of_triangles(parts, parts_of_vertices, len(counts), faces_of, polygon),
        "instance": _of_triangles(objects, objects_of_vertices, len(counts), faces_of, polygon),
    }


def _of_triangles(
    of_faces: NDArray[Any] | None, of_vertices: NDArray[Any] | None, polygons: int, triangles: NDArray[Any], polygon: NDArray[Any]
) -> NDArray[Any] | None:
    """Labels `[F]` of triangles, from those of faces or else of vertices; None where there are neither.

    Args:
        of_faces: label of each row of element 'face'.
        of_vertices: `[V]`.
        polygons: P, which is more than the faces where the file has strips, too. Triangles of strips get -1.
        triangles: `[F, 3]` vertices of each triangle.
        polygon: `[F]` polygon of each triangle.
    """
    if of_faces is not None:
        of_polygons = np.concatenate([of_faces, np.full(polygons - len(of_faces), -1, of_faces.dtype)])
        return np.asarray(of_polygons[polygon])
    return None if of_vertices is None else majority(of_vertices[triangles])


def _label_places(
    vertices: Table, faces: Table, counts: NDArray[Any], triangles: NDArray[Any], faces_of: NDArray[Any]
) -> NDArray[np.float64]:
    """Texture coordinates `[F, 3, 2]` of triangles: of their corners, else of their vertices; NaN where there are none.

    Args:
        vertices: the rows of element 'vertex'.
        faces: the rows of element 'face'.
        counts: `[P]` number of corners of each polygon.
        triangles: `[F, 3]` positions of corners.
        faces_of: `[F, 3]` vertices.
    """
    if "texcoord" in faces.lists and faces.rows == len(counts):
        given, values = faces.lists["texcoord"]
        fits = given == 2 * counts
        uv = np.full((counts.sum(), 2), np.nan)
        uv[np.repeat(fits, counts)] = values[np.repeat(fits, given)].reshape(-1, 2)
        of_corners: NDArray[np.float64] = uv[triangles]
        return of_corners
    of_vertex = next((found for names in COORDINATES if (found := vertices.stacked(names)) is not None), None)
    return np.full((*faces_of.shape, 2), np.nan) if of_vertex is None else of_vertex.astype(np.float64)[faces_of]


def _chosen_colors(
    file: File, vertices: Table, faces: Table, materials: Table, polygons: int
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Colours of vertices `[V, 4]` uint8, or of polygons `[P, 4]` uint8; never both, and neither where the file has none.

    Args:
        polygons: P, which is more than the rows of `faces` where the file has strips, too.
    """
    colors, painted = _colors(vertices), _colors(faces)
    if materials.rows:
        colors, painted = _with_materials(file, materials, vertices, faces, colors, painted)
    dc = vertices.stacked(("f_dc_0", "f_dc_1", "f_dc_2"))
    if dc is not None and colors is None and painted is None:
        colors = _harmonic(dc)
    if painted is not None and len(painted) < polygons:
        painted = None  # no known program writes strips beside coloured faces
    if painted is not None and colors is not None:
        # Some programs write one colour for all vertices beside the faces' own, others white for all faces.
        faces_are_meant = (colors == colors[0]).all() and not (painted[:, :3] == 255).all()
        return (None, painted) if faces_are_meant else (colors, None)
    return colors, painted


def _apart(part: Part) -> Part:
    """The part with three vertices of its own for each triangle."""
    flat = part.faces.reshape(-1)
    return dataclasses.replace(taken(part, flat), faces=np.arange(len(flat)).reshape(-1, 3))


def _seen_through(file: File, part: Part) -> Part:
    """The part with the alpha mode that fits its vertex colours."""
    if part.colors is None or part.colors[:, 3].min() == 255:
        return part
    if part.colors[:, 3].min() > 1:
        return dataclasses.replace(part, alpha_mode="BLEND")
    # Programs that do not know alpha write 0 or 1, and viewers of PLY show such surfaces opaque.
    file.warn("alpha is 0 in places where viewers show a surface: taken as opaque")
    return dataclasses.replace(part, colors=np.hstack([part.colors[:, :3], np.full((len(part.colors), 1), 255, np.uint8)]))


def _polygons(file: File, tables: dict[str, Table], count: int) -> tuple[NDArray[Any], NDArray[Any], Table]:
    """The number of corners of each polygon `[P]`, the vertex of each corner `[C]`, and the rows of element 'face'.

    The polygons are the faces, then the triangles of strips.
    """
    none = np.zeros(0, np.int64)
    faces = tables.get("face", Table(0, {}, {}, {}))
    name = next((name for name in CORNERS if name in faces.lists), "")
    if faces.rows and not name:
        raise UserError(f"element 'face' has no list vertex_indices; it has: {' '.join(faces.types) or 'none'}")
    sizes, flat = faces.lists[name] if name else (none, none)
    counts, corners = [sizes], [_indices(flat, count)]
    for strips in [table for key, table in tables.items() if key in ("tristrips", "tristrip")]:
        for name in CORNERS:
            if name in strips.lists:
                triangles = _strips(*strips.lists[name])
                corners.append(_indices(triangles.reshape(-1), count))
                counts.append(np.full(len(triangles), 3))
    for name in ("edge", "trifans", "trifan"):
        if name in tables and tables[name].rows and name != "edge":
            raise UserError(f"element '{name}' cannot be read")
        if name in tables and tables[name].rows and not sum(map(len, corners)):
            file.warn("edges are left out")
    return np.concatenate(counts), np.concatenate(corners), faces


def _strips(counts: NDArray[Any], flat: NDArray[Any]) -> NDArray[Any]:
    """Triangles `[F, 3]` of strips. Each vertex forms a triangle with the two before it; every second triangle has its winding reversed.
    The index -1 begins a new strip."""
    flat = flat.astype(np.int64)
    position = np.arange(len(flat))
    first = np.zeros(len(flat), bool)  # where a strip begins
    first[(np.cumsum(counts) - counts)[counts > 0]] = True
    first[1:] |= flat[:-1] == -1
    place = position - np.maximum.accumulate(np.where(first, position, 0))  # position within the strip
    ends = position[(place >= 2) & (flat != -1)]
    turned = place[ends] % 2 == 1
    a, b, c = flat[ends - 2], flat[ends - 1], flat[ends]
    triangles = np.stack([np.where(turned, b, a), np.where(turned, a, b), c], axis=1)
    surface = (a != b) & (b != c) & (a != c)  # the others have no area and only continue the strip elsewhere
    return np.compress(surface, triangles, axis=0)


def _indices(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Indices of vertices as int64.

    Raises:
        UserError: one is not within 0 and `count`.
    """
    if not len(values):
        return np.zeros(0, np.int64)
    low, high = values.min(), values.max()
    if not (0 <= low and high < count):
        raise UserError(f"a face names vertex {low if not low >= 0 else high:.0f} of {count} (index out of range)")
    return values.astype(np.int64)


# ----------------------------------------------------------------------------------------------- colours and pictures


def _color_names(table: Table) -> tuple[str, ...]:
    """Names of the properties that `_colors` reads: red, green, blue and perhaps alpha, or one with all in its bits; empty for none."""
    for *names, alpha in COLORS:
        if all(name in table.columns for name in names):
            return (*names, alpha) if alpha in table.columns else tuple(names)
    packed = ("u4", "i4", "f4", "u8", "i8")
    return next(((name,) for name in PACKED if name in table.columns and table.types[name] in packed), ())


def _colors(table: Table) -> NDArray[Any] | None:
    """Colours `[R, 4]` uint8, or None where the element has none."""
    names = _color_names(table)
    if not table.rows or not names:
        return None
    if len(names) == 1:
        return _unpacked(table.columns[names[0]], table.types[names[0]], with_alpha=names[0] == "rgba")
    values = np.stack([table.columns[name] for name in names[:3]], axis=1)
    rgb = _bytes(_fraction(values, table.types[names[0]]))
    if len(names) == 3:
        return np.hstack([rgb, np.full((len(rgb), 1), 255, np.uint8)])
    return np.hstack([rgb, _bytes(_fraction(table.columns[names[3]], table.types[names[3]]))[:, None]])


def _harmonic(dc: NDArray[Any]) -> NDArray[Any]:
    """Colours `[R, 4]` uint8 from the constant spherical harmonics `[R, 3]`."""
    rgb = _bytes(0.5 + HARMONIC * dc.astype(np.float64))
    return np.hstack([rgb, np.full((len(rgb), 1), 255, np.uint8)])


def _unpacked(values: NDArray[Any], kind: str, with_alpha: bool) -> NDArray[Any]:
    """Colours `[R, 4]` uint8 from numbers 0xAARRGGBB with this declared type. An alpha that is 0 everywhere counts as opaque."""
    if kind == "f4":
        with np.errstate(all="ignore"):
            # Text files hold the whole number itself, even if the header declares a float.
            whole = values.max(initial=0) >= 1 and ((values >= 0) & (values < 2**32) & (values == np.rint(values))).all()
            bits = values.astype(np.int64) if whole else np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.int64)
    else:
        with np.errstate(invalid="ignore"):
            bits = values.astype(np.int64)
    rgba = np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255, bits >> 24 & 255], axis=1).astype(np.uint8)
    if not with_alpha or not rgba[:, 3].any():
        rgba[:, 3] = 255
    return rgba


def _with_materials(
    file: File, materials: Table, vertices: Table, faces: Table, colors: NDArray[Any] | None, painted: NDArray[Any] | None
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Colours of vertices `[V, 4]` and of faces `[R, 4]`. Where both are None, they come from element `material`."""
    shades = _colors(materials)
    if shades is None:
        file.warn("element 'material' says no colour that is read (diffuse_red, diffuse_green, diffuse_blue); it is left out")
        return colors, painted
    if colors is not None or painted is not None:
        file.warn("element 'material' is left out beside colours of vertices or faces")
        return colors, painted
    for table in (faces, vertices):
        index = next((table.columns[name] for name in MATERIAL if name in table.columns), None)
        if index is None and table is vertices and len(shades) == 1:
            index = np.zeros(vertices.rows)
        if index is None or not len(index):
            continue
        known = (index >= 0) & (index < len(shades))
        if not known.any():
            continue
        if not known.all():
            file.warn(f"{np.count_nonzero(~known):,} of {len(known):,} rows name no row of element 'material'; they are grey")
        chosen = np.full((len(index), 4), (*[round(GREY * 255)] * 3, 255), np.uint8)
        chosen[known] = shades[index[known].astype(np.int64)]
        return (None, chosen) if table is faces else (chosen, None)
    file.warn(f"element 'material' is left out: nothing says which of its {len(shades):,} rows a face has (material_index)")
    return None, None


def _fraction(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Colours as 0..1, scaled by their declared type and range as the head of this module says. Bytes stay bytes."""
    if kind == "u1" and values.dtype == np.uint8:
        return values  # `_bytes` keeps bytes as they are
    if kind == "i1" and (values < 0).any():
        return values.astype(np.int8).view(np.uint8)  # a program without unsigned bytes wrote them
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    top = values.max(initial=0)
    if kind[0] == "f" or (values != np.rint(values)).any():  # text files may hold fractions though a whole type is declared
        return values if top <= 2 else values / 255
    return values / (255 if top <= 255 else 65535)


def _bytes(values: NDArray[Any]) -> NDArray[Any]:
    """Colours 0..1 as uint8. Bytes stay as they are."""
    return values if values.dtype == np.uint8 else np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)


def _coordinates(
    file: File, header: Header, vertices: Table, faces: Table, counts: NDArray[Any]
) -> tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any]]:
    """UV coordinates of vertices `[V, 2]` or of corners `[C, 2]`, and the index of the picture on each polygon `[P]`, -1 for none."""
    nothing, mapped = np.full(len(counts), -1), np.zeros(len(counts), np.int64)
    if not header.textures:
        return None, None, nothing
    number = next((faces.columns[name] for name in ("texnumber", "texture_number", "texnum") if name in faces.columns), None)
    if number is not None:
        mapped[: len(number)] = np.where((number >= 0) & (number < len(header.textures)), number, -1)
    elif len(header.textures) > 1:
        file.warn(f"{len(header.textures)} pictures are named and no property texnumber says whose: only the first is used")
    if "texcoord" in faces.lists and faces.rows == len(counts):
        given, values = faces.lists["texcoord"]
        fits = given == 2 * counts
        if not fits.all():
            file.warn(f"{np.count_nonzero(~fits):,} of {len(counts):,} faces have no texture coordinates and are drawn without picture")
        uv = np.zeros((counts.sum(), 2))
        uv[np.repeat(fits, counts)] = values[np.repeat(fits, given)].reshape(-1, 2)
        return None, np.where(np.abs(uv) < REACH, uv, 0), np.where(fits, mapped, -1)
    for names in COORDINATES:
        of_vertex = vertices.stacked(names)
        if of_vertex is not None:
            return np.where(np.abs(of_vertex) < REACH, of_vertex, 0), None, mapped
    file.warn("the picture that the file names is left out: there are no texture coordinates")
    return None, None, nothing


# ------------------------------------------------------------------------------------------------------------ header


def _header(data: bytes) -> Header:
    """The header of a file.

    Raises:
        UserError: the file does not begin with a PLY header.
    """
    if not re.match(rb"ply[ \t]*[\r\n]", data):
        raise UserError("cannot be read as PLY: it does not begin with 'ply'")
    # All lines end as the first one does. If they end in CR alone, a following LF belongs to the data.
    newline = rb"\r(?!\n)" if re.match(rb"ply[ \t]*\r(?!\n)", data) else rb"\r?\n"
    end = re.search(rb"[\r\n]end_header[ \t]*" + newline.replace(rb"(?!\n)", b""), data[:HEADER])
    if end is None:
        raise UserError("cannot be read as PLY, damaged or cut short? (the header has no end_header)")
    elements: list[tuple[str, int, list[Property]]] = []
    form, textures = "", []
    for line in re.split(r"[\r\n]+", decoded(data[: end.start()]))[1:]:
        match line.split():
            case ["format", form, *_]:
                pass
            case ["comment" | "obj_info", word, *_] if word.lower() in ("texturefile", "texturefile:"):
                textures.append(line.split(maxsplit=2)[2].strip() if len(line.split(maxsplit=2)) == 3 else "")
            case ["comment" | "obj_info", _, *_] if PICTURE.fullmatch(line.strip()):
                textures.append(line.split(maxsplit=2)[2].strip())
            case ["comment" | "obj_info", *_] | []:
                pass
            case ["element", name, rows] if rows.isdecimal():
                elements.append((NAMES.get(name.lower(), name.lower()), int(rows), []))
            case ["property", "list", count, kind, name] if elements and count.lower() in TYPES and kind.lower() in TYPES:
                elements[-1][2].append(Property(name.lower(), TYPES[kind.lower()], TYPES[count.lower()]))
            case ["property", kind, name] if elements and kind.lower() in TYPES:
                elements[-1][2].append(Property(name.lower(), TYPES[kind.lower()]))
            case _:
                raise UserError(f"cannot be read as PLY: the header's line {line.strip()!r} is none that PLY has")
    orders = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
    if form not in orders:
        raise UserError(f"cannot be read as PLY: expected format {', '.join(orders)}, got {form!r}")
    for name, _, properties in elements:
        names = [p.name for p in properties]
        if len(set(names)) < len(names):
            raise UserError(f"cannot be read as PLY: element {name!r} has two properties of one name")
    if len({name for name, *_ in elements}) < len(elements):
        raise UserError("cannot be read as PLY: two elements have one name")
    parsed = tuple(Element(name, rows, tuple(properties)) for name, rows, properties in elements)
    return Header(parsed, orders[form], tuple(name for name in textures if name), end.end())


# -------------------------------------------------------------------------------------------------------------- rows


def _tables(file: File, header: Header) -> dict[str, Table]:
    """By element: its rows."""
    data: Any = file.data
    if not header.order:
        return _from_text(file, header)
    tables, at = {}, header.length
    for element in header.elements:
        tables[element.name], at = _rows(data, at, element, header.order)
    if at < len(data):
        file.warn(f"{len(data) - at:,} bytes after the last row are left out")
    return tables


def _from_text(file: File, header: Header) -> dict[str, Table]:
    """The rows in a text file. The text becomes numbers of 8 bytes each, which are then read like a binary file."""
    text = file.data[header.length :]
    least = sum(e.rows * len(e.properties) for e in header.elements)  # numbers
    if 2 * least > len(text) + 1:
        raise UserError(f"damaged or cut short: the header declares at least {least:,} numbers, {len(text):,} bytes follow")
    wide = tuple(
        dataclasses.replace(e, properties=tuple(Property(p.name, "f8", "f8" if p.counted else "") for p in e.properties))
        for e in header.elements
    )
    numbers = _numbers(text)
    tables, left, trouble = _of_numbers(numbers, wide)
    if trouble or left:
        # Lines may hold more numbers than the header declares. Then the extra numbers are dropped.
        trimmed, longer = _trimmed(text, header)
        if trimmed:
            tables, _, trouble = _of_numbers(_numbers(trimmed), wide)
            if "face" in longer and not trouble:
                # The numbers after the corners are not the declared ones: old MeshLab wrote colours of corners as colours of faces.
                tables["face"].columns.clear()
        if trouble:
            raise trouble
        file.warn("numbers beyond those that the header declares are left out")
    for element in header.elements:
        tables[element.name].types = {p.name: p.type for p in element.properties}
    return tables


def _of_numbers(numbers: NDArray[Any], elements: tuple[Element, ...]) -> tuple[dict[str, Table], int, UserError | None]:
    """The rows of elements whose properties are all float64, how many numbers are left over, and the error that ended the reading."""
    data, at = numbers.tobytes(), 0
    tables: dict[str, Table] = {}
    for element in elements:
        try:
            tables[element.name], at = _rows(data, at, element, "=")
        except UserError as error:
            return tables, 0, error
    return tables, (len(data) - at) // 8, None


def _numbers(text: bytes) -> NDArray[Any]:
    """All numbers in a text, float64.

    Raises:
        UserError: a word is no number.
    """
    if b"#" in text:
        text = re.sub(rb"-?1\.#\w+", b"nan", text)  # how old Windows programs write NaN
    if not text.strip():
        return np.zeros(0)
    try:
        return np.fromstring(text, np.float64, sep=" ")
    except ValueError as error:
        for word in text.split():
            try:
                float(word)
            except ValueError:
                raise UserError(f"damaged or cut short: expected a number, got {decoded(word[:40])!r}") from error
        raise UserError(f"damaged or cut short: {error}") from error


def _trimmed(text: bytes, header: Header) -> tuple[bytes, set[str]]:
    """The text with each line cut to the numbers that its element declares, and the elements that had longer lines. The text is empty where
    a line is too short."""
    lines = [line.split() for line in re.split(rb"[\r\n]+", text) if line.strip()]
    kept: list[bytes] = []
    longer: set[str] = set()
    at = 0
    for element in header.elements:
        for words in lines[at : at + element.rows]:
            used = 0
            try:
                for one in element.properties:
                    used += 1 + (int(float(words[used])) if one.counted else 0)
            except (IndexError, ValueError, OverflowError):
                return b"", set()
            if used > len(words):
                return b"", set()
            if used < len(words):
                longer.add(element.name)
            kept.extend(words[:used])
        at += element.rows
    return b" ".join(kept), longer


def _rows(data: bytes, at: int, element: Element, order: str) -> tuple[Table, int]:
    """The rows of an element, and the position after them.

    Args:
        at: position of the first byte.
        order: byte order in NumPy's notation.

    Raises:
        UserError: the data end before the last row.
    """
    types = {p.name: p.type for p in element.properties}
    least = sum(np.dtype(p.counted or p.type).itemsize for p in element.properties)
    if element.rows * least > len(data) - at:
        fit = max(len(data) - at, 0) // least
        raise UserError(_short(element, f"the data are enough for {fit:,} at most"))
    if not element.rows or not element.properties:
        empty = np.zeros(0)
        lists = {p.name: (np.zeros(element.rows, np.int64), empty) for p in element.properties if p.counted}
        return Table(element.rows, types, {p.name: empty for p in element.properties if not p.counted}, lists), at

    # Usually all lists of an element have the same length. Then the element is one array of structures.
    positions, end = _walk(data, at, dataclasses.replace(element, rows=1), order)
    sizes = iter(positions[0][1::2])
    alike = [(p, next(sizes) if p.counted else 0) for p in element.properties]
    if element.rows * (end - at) <= len(data) - at:
        fields: list[Any] = []
        for index, (p, count) in enumerate(alike):
            fields += [(f"n{index}", order + p.counted)] if p.counted else []
            fields += [(f"v{index}", order + p.type, (count,) if p.counted else ())]
        rows = np.frombuffer(data, np.dtype(fields), element.rows, at)
        if all((rows[f"n{index}"] == count).all() for index, (p, count) in enumerate(alike) if p.counted):
            columns = {p.name: rows[f"v{index}"] for index, (p, _) in enumerate(alike) if not p.counted}
            lists = {
                p.name: (np.full(element.rows, count), rows[f"v{index}"].reshape(-1)) for index, (p, count) in enumerate(alike) if p.counted
            }
            return Table(element.rows, types, columns, lists), at + element.rows * (end - at)

    positions, end = _walk(data, at, element, order)
    found = np.array(positions, np.int64).reshape(element.rows, -1, 2)  # [R, lists, (first byte, count)]
    last = max(index for index, p in enumerate(element.properties) if p.counted)
    tail = sum(np.dtype(p.type).itemsize for p in element.properties[last + 1 :])
    place = np.empty(element.rows, np.int64)  # [R] position of the next property of each row
    place[0], place[1:] = at, (found[:, -1, 0] + found[:, -1, 1] * np.dtype(element.properties[last].type).itemsize + tail)[:-1]
    columns, lists = {}, {}
    for p in element.properties:
        size = np.dtype(p.type).itemsize
        if p.counted:
            start, counts = found[:, len(lists), 0], found[:, len(lists), 1]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            lists[p.name] = (counts, _gathered(data, np.repeat(start, counts) + within * size, order + p.type))
            place = start + counts * size
        else:
            columns[p.name] = _gathered(data, place, order + p.type)
            place = place + size
    return Table(element.rows, types, columns, lists), end


def _gathered(data: bytes, positions: NDArray[Any], kind: str) -> NDArray[Any]:
    """Numbers of one type at these byte positions, which need not be aligned."""
    dtype = np.dtype(kind)
    # A view in which a number begins at every byte.
    everywhere: NDArray[Any] = np.ndarray((max(len(data) - dtype.itemsize + 1, 0),), dtype, data, strides=(1,))
    return np.take(everywhere, positions)


def _walk(data: bytes, at: int, element: Element, order: str) -> tuple[list[tuple[int, ...]], int]:
    """Goes through the rows one by one, because only the length of a list tells where the next row begins.

    Returns:
        For each row, the position and the number of values of each of its lists, one after another; and the position after the last row.

    Raises:
        UserError: the data end before the last row, or a list has a negative length.
    """
    steps: list[tuple[int, struct.Struct, int]] = []  # bytes before the count, how to read it, size of a value
    before = 0
    for p in element.properties:
        if p.counted:
            code = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q", "f4": "f", "f8": "d"}[p.counted]
            steps.append((before, struct.Struct(order + code), np.dtype(p.type).itemsize))
            before = 0
        else:
            before += np.dtype(p.type).itemsize
    found: list[tuple[int, ...]] = []
    try:
        if len(steps) == 1 and steps[0][1].format.endswith("B"):  # the usual case, written separately because it runs a million times
            first, _, size = steps[0]
            for _ in range(element.rows):
                at += first
                count = data[at]
                found.append((at + 1, count))
                at += 1 + count * size + before
            return found, _within(data, at)
        for row in range(element.rows):
            places: list[int] = []
            for first, number, size in steps:
                at += first
                (said,) = number.unpack_from(data, at)
                if not 0 <= said < 1 << 62:
                    raise UserError(f"damaged: a list in row {row + 1:,} of element {element.name!r} has {said} values")
                places += (at + number.size, int(said))
                at = _within(data, at + number.size + int(said) * size)
            found.append(tuple(places))
            at += before
        return found, _within(data, at)
    except (IndexError, struct.error) as error:
        raise UserError(_short(element, f"the data end near row {len(found) + 1:,}")) from error


def _within(data: bytes, at: int) -> int:
    """The position, if the data reach so far.

    Raises:
        IndexError: they do not.
    """
    if at > len(data):
        raise IndexError(at)
    return at


def _short(element: Element, fact: str) -> str:
    """The message about an element with too little data."""
    return f"damaged or cut short: the header declares {element.rows:,} rows of element {element.name!r}, {fact}"
