"""Wavefront OBJ: polygons with materials and textures, or a cloud where the file has only vertices.

Source of the format: http://paulbourke.net/dataformats/obj/. Vertex colours are read from the numbers after the coordinates, and
from the comments in which ZBrush writes them (its files explain the format). Free-form curves and surfaces, and statements of older
versions, are not read. If a file has nothing else, the message names them.

Letters: L lines, V, T, N rows of `v`, `vt`, `vn`, P polygons, C corners of all polygons, F triangles.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.formats import labels, mtl
from pipeline.formats.lines import Lines, parsed, shades
from pipeline.geometry import GREY, Cloud, Geometry, Mesh, Part, grouped, left_alone, unit
from pipeline.polygons import ALONG_SURFACE, across, clamped, triangulated
from pipeline.reading import File

FREEFORM: Final = {
    **dict.fromkeys(("vp", "cstype", "deg", "bmat", "step", "parm", "trim", "hole", "scrv", "sp", "end", "con"), "free-form geometry"),
    **dict.fromkeys(("curv", "curv2"), "free-form curves"),
    **dict.fromkeys(("surf", "bzp", "bsp"), "free-form surfaces"),
    **dict.fromkeys(("cdc", "cdp", "res"), "free-form curves of the old kind"),
}
"""Statements about curved geometry, and their names in messages."""

SILENT: Final = {"mg", "ctech", "stech", "bevel", "c_interp", "d_interp", "lod", "shadow_obj", "trace_obj"}
"""Statements that change neither the form nor the colour of a surface."""

LONG: Final = 4096
"""Number of characters of a `mtllib` line that are read."""

FAR: Final = 1e6
"""Largest UV coordinate. A larger one, or one that is no number, becomes 0, because float32 has no digits left for it."""


@dataclass(frozen=True)
class Corners:
    """The corners of all polygons. Indices count from 0; -1 where a corner has none."""

    counts: NDArray[Any]
    """[P] number of corners of each polygon."""
    lines: NDArray[Any]
    """[P] line of each polygon."""
    indices: NDArray[Any]
    """[C, 3] rows of `v`, `vt` and `vn` that each corner names."""


def read(file: File) -> Geometry:
    """The shape in an OBJ file, with the materials of the `.mtl` files it names.

    Raises:
        UserError: it cannot be read, has no polygons and no points, or lacks materials or a texture that is required.
    """
    lines = Lines(file.data)
    rows = {key: lines.are(key.encode()) for key in ("v", "vt", "vn", "l", "p")}
    faces = lines.are(b"f", b"fo")  # fo is the old name of f
    rest = lines.said()  # [L] the lines that `_statements` looks at
    for chosen in (*rows.values(), faces, lines.are(b"g", b"o", b"s")):
        rest[chosen] = False
    libraries, used, freeform = _statements(lines, np.flatnonzero(rest), file, bool(len(faces)))
    vertices, colors = _vertices(lines, rows["v"], file)
    if colors is None:
        colors = _polypaint(lines, len(vertices), file)
    if not len(faces):
        return _cloud(lines, rows, vertices, colors, freeform, file)
    for key, what in (("l", "lines"), ("p", "points")):
        if len(rows[key]):
            file.warn(f"{len(rows[key]):,} elements of {what} ({key}) are left out beside the surface")
    uv = _table(lines, rows["vt"], "vt", 2, file)
    normals = _table(lines, rows["vn"], "vn", 3, file)
    corners = _corners(lines, faces, {key: rows[key] for key in ("v", "vt", "vn")}, file)
    triangles, polygon = triangulated(vertices, corners.counts, corners.indices[:, 0])
    if np.any(corners.counts < 3):
        file.warn(f"{np.count_nonzero(corners.counts < 3):,} faces of fewer than three corners are left out")
    if not len(triangles):
        raise UserError(f"none of the {len(faces):,} faces has three corners")
    if alone := left_alone(len(vertices), corners.indices[:, 0], len(faces)):
        file.warn(alone)
    some = corners.indices[triangles[:: 1 + len(triangles) // 5000]]  # [f, 3, 3]
    some = some[(some[:, :, 2] >= 0).all(axis=1)]
    if len(some) and not across(normals[some[:, :, 2]], vertices[some[:, :, 0]]):
        file.warn(ALONG_SURFACE)
        normals = normals[:0]
    labelled = _labelled(lines, corners, used, uv, triangles, polygon, file)
    owned = _by_material(used, corners.lines, polygon)
    drawn = _drawn(file, libraries, [name for name, _ in owned])
    black = not any(look.pictured or look.base is None or any(look.base) for look in drawn)
    surface = _Surface(vertices, colors, uv, normals, corners.indices, file, black)
    made = [
        one
        for (name, mine), look in zip(owned, drawn, strict=True)
        for one in surface.parts(triangles[mine], look, name, _of(labelled, mine))
    ]
    parts, colored = [part for part, _ in made], any(said for _, said in made)
    return Mesh(parts=tuple(grouped(parts)), colored=colored, warnings=tuple(file.warnings))


def _of(labelled: Mapping[str, NDArray[Any]], rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The labels of some triangles. A picture of labels stays whole."""
    return {name: values if name == "label_map" else values[rows] for name, values in labelled.items()}


def _labelled(
    lines: Lines,
    corners: Corners,
    used: list[tuple[int, str]],
    uv: NDArray[Any],
    triangles: NDArray[Any],
    polygon: NDArray[Any],
    file: File,
) -> dict[str, NDArray[Any]]:
    """The fields `part` `[F]`, or `label_map` and `label_uv` `[F, 3, 2]`, of the surface; empty where no labels are asked for or found.

    Args:
        lines: the lines of the file.
        corners: the corners of the faces.
        used: line and material of each `usemtl`.
        uv: `[T, 2]` texture coordinates.
        triangles: `[F, 3]` positions in the corners.
        polygon: `[F]` polygon of each triangle.
        file: the file.
    """
    asked = labels.labelling(file)
    if asked is not None and asked.how.way == "texture":
        named = corners.indices[triangles, 1]  # [F, 3]
        places = np.where(named[..., None] >= 0, uv[named], np.nan) if len(uv) else np.full((*named.shape, 2), np.nan)
        return {"label_map": asked.of_picture(file), "label_uv": places}
    part = _part_of_faces(lines, corners.lines, used, file)
    return {} if part is None else {"part": part[polygon]}


def _part_of_faces(lines: Lines, faces: NDArray[Any], used: list[tuple[int, str]], file: File) -> NDArray[np.int16] | None:
    """Part labels `[P]` of the faces; None where none are asked for or found.

    Args:
        faces: `[P]` line of each face.
        used: line and material of each `usemtl`.
    """
    asked = labels.labelling(file)
    if asked is None:
        return None
    if asked.how.way in ("material", "group"):
        said = used
        if asked.how.way == "group":
            chosen = lines.are(b"g", b"o").tolist()
            said = [(line, [*lines.text(line).split(maxsplit=1), ""][1]) for line in chosen]
        names = ["", *(labels.named(name) for _, name in said)]
        owners, whose = np.unique(np.searchsorted([line for line, _ in said], faces), return_inverse=True)
        return asked.of_words([names[owner] for owner in owners], file)[whose]
    return asked.of_faces(file, len(faces))


def _by_material(used: list[tuple[int, str]], lines: NDArray[Any], polygon: NDArray[Any]) -> list[tuple[str, NDArray[Any]]]:
    """The materials in the order in which faces use them, each with the indices of its triangles. A face has the material of the last
    `usemtl` before it, or none (an empty name).

    Args:
        used: line and material of each `usemtl`.
        lines: `[P]` line of each polygon.
        polygon: `[F]` polygon of each triangle.
    """
    names = ["", *dict.fromkeys(name for _, name in used)]
    place = {name: i for i, name in enumerate(names)}
    number = np.array([0, *(place[name] for _, name in used)])
    owner = number[np.searchsorted([line for line, _ in used], lines)][polygon]  # [F]
    by_owner = np.argsort(owner, kind="stable")
    kinds, begin, count = np.unique(owner[by_owner], return_index=True, return_counts=True)
    found = [(names[kind], by_owner[a : a + n]) for kind, a, n in zip(kinds.tolist(), begin, count, strict=True)]
    return sorted(found, key=lambda one: int(one[1][0]))


def _drawn(file: File, libraries: list[str], names: list[str]) -> list[mtl.Look]:
    """How each of these materials is drawn. If all of them are wholly transparent, they are drawn opaque."""
    found = dict(mtl.materials(file, libraries, [name for name in names if name]))
    looks = mtl.Looks(file)
    drawn = [looks.look(material) if (material := found.get(name)) else mtl.Look() for name in names]
    if any(look.alpha != 0 for look in drawn):
        return drawn
    file.warn("all materials are wholly transparent (d 0); they are drawn opaque")
    return [dataclasses.replace(look, alpha=1.0, fields=look.fields | {"alpha_mode": "OPAQUE"}) for look in drawn]


def _statements(lines: Lines, chosen: NDArray[Any], file: File, surface: bool) -> tuple[list[str], list[tuple[int, str]], str]:
    """Reads the statements other than vertices and elements.

    Args:
        chosen: their lines.
        surface: whether the file has polygons.

    Returns:
        The names of `.mtl` files, line and material of each `usemtl`, and the name of free-form geometry in the file (empty for none).
    """
    libraries: list[str] = []
    used: list[tuple[int, str]] = []
    freeform, unknown = "", []
    for line in chosen.tolist():
        words = lines.text(line).split(maxsplit=1)
        key, value = words[0].lower(), words[1] if len(words) > 1 else ""
        if key == "usemtl":
            used.append((line, value))
        elif key == "mtllib":
            # Several names may follow, and a name may have blanks.
            libraries += re.findall(r"\S.*?\.mtl(?=\s|$)", value[:LONG], re.IGNORECASE) or [value] * bool(value)
        elif key in FREEFORM:
            if not freeform or "geometry" in freeform:
                freeform = FREEFORM[key]
        elif key in ("call", "csh"):
            raise UserError(f"line {lines.number(line)}: '{key}' takes in what another file or program gives; only plain OBJ can be read")
        elif key in ("usemap", "maplib"):
            file.warn(f"'{key}' is a texture of an old version of OBJ; it is left out")
        elif key not in SILENT:
            unknown.append(key)
    if freeform and surface:
        file.warn(f"left out beside the polygons: {freeform}")
    if unknown:
        kinds = list(dict.fromkeys(unknown))
        file.warn(
            f"{len(unknown):,} lines are no statements of OBJ and left out ({', '.join(kinds[:3])}{', ..' if len(kinds) > 3 else ''})"
        )
    return libraries, used, freeform


def _vertices(lines: Lines, chosen: NDArray[Any], file: File) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Coordinates `[V, 3]` float64 of the `v` lines, and their colours `[V, 4]` uint8, None where the file has none.

    After x, y and z a line may have a weight; or red, green and blue (0..1 or 0..255); or red, green, blue and alpha.
    """
    values, counts = lines.numbers(chosen, skip=1)
    wrong = ~np.isin(counts, (3, 4, 6, 7))
    if wrong.any():
        i = int(wrong.argmax())
        raise UserError(f"line {lines.number(chosen[i])}: a vertex (v) of {counts[i]} numbers, expected 3, 4, 6 or 7; cut short?")
    if len(counts) and counts.min() == counts.max():
        table = values.reshape(len(counts), -1)
        widths = counts[:1]
    else:
        widths = np.unique(counts)
        table = _padded(values, counts, 7)
    if np.any(counts == 4) and np.any(table[counts == 4, 3] != 1):
        file.warn("weights of vertices (w) matter to free-form geometry only and are left out")
    if not np.any(widths >= 6):
        return table[:, :3], None
    plain = counts < 6
    if plain.any():
        file.warn(f"{np.count_nonzero(plain):,} of {len(plain):,} vertices have no colour, though others have one; they are grey")
    said = shades(table[~plain, 3:], file)
    if said is None:
        return table[:, :3], None
    colors = np.full((len(table), 4), (*[round(GREY * 255)] * 3, 255), np.uint8)
    colors[~plain] = said
    if colors[:, 3].max() == 0:
        file.warn("all colours of vertices are wholly transparent; they are drawn opaque")
        colors[:, 3] = 255
    return table[:, :3], colors


def _polypaint(lines: Lines, count: int, file: File) -> NDArray[Any] | None:
    """Colours `[V, 4]` uint8 from the comments of ZBrush; None where there are none. A comment is `#MRGB` and eight hexadecimal digits
    (mask, red, green, blue) for each vertex, in the order of the `v` lines."""
    chosen = lines.are(b"#mrgb")
    if not len(chosen):
        return None
    digits = "".join("".join(lines.text(line).split()[1:]) for line in chosen.tolist())
    if len(digits) != 8 * count or not re.fullmatch(r"[0-9a-fA-F]+", digits):
        file.warn(f"colours of vertices in comments (#MRGB) are left out: expected 8 hexadecimal digits for each of {count:,} vertices")
        return None
    values = np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(count, 4)
    return np.hstack([values[:, 1:], np.full((count, 1), 255, np.uint8)])


def _padded(values: NDArray[Any], counts: NDArray[Any], width: int) -> NDArray[Any]:
    """Rows of different lengths as a table `[rows, width]`, NaN where a row is shorter."""
    table = np.full((len(counts), width), np.nan)
    table[np.arange(width) < counts[:, None]] = values
    return table


def _table(lines: Lines, chosen: NDArray[Any], key: str, width: int, file: File) -> NDArray[Any]:
    """The first `width` numbers of these lines, `[l, width]`. A `vt` with one number lies on the lower edge of the texture."""
    if not len(chosen):
        return np.zeros((0, width))
    values, counts = lines.numbers(chosen, skip=2)
    least = 1 if key == "vt" else width
    wrong = (counts < least) | (counts > 3)
    if wrong.any():
        i = int(wrong.argmax())
        raise UserError(f"line {lines.number(chosen[i])}: '{key}' with {counts[i]} numbers, expected {least} to 3; cut short?")
    if len(counts) and counts.min() == counts.max() >= width:
        return values.reshape(len(counts), -1)[:, :width]
    table = _padded(values, counts, 3)[:, :width]
    return np.where(np.arange(width) < counts[:, None], table, 0.0)


COLUMNS: Final = (("v", "vertex"), ("vt", "texture coordinate"), ("vn", "normal"))
"""The statements whose rows a corner names, in this order, and what a row is called in messages."""


def _corners(lines: Lines, chosen: NDArray[Any], rows: dict[str, NDArray[Any]], file: File) -> Corners:
    """The corners of the faces on these lines.

    Args:
        rows: the lines of `v`, `vt` and `vn`.

    Raises:
        UserError: an index is no number or names nothing. The message says in which line.
    """
    written = _written(lines, chosen)
    columns = [_from_zero(lines, written, column, rows[key], file) for column, (key, _) in enumerate(COLUMNS)]
    return dataclasses.replace(written, indices=np.stack(columns, axis=1))


def _written(lines: Lines, chosen: NDArray[Any]) -> Corners:
    """The corners of the faces on these lines, with the indices as the file writes them; 0 where an index is left out.

    Raises:
        UserError: an index is no number, or a corner has more than three.
    """
    text = _face_text(lines, chosen)
    array = np.frombuffer(text, np.uint8)
    slash, ink = array == ord("/"), array > 32
    slashed = bool(slash.any())
    if slashed:
        if (slash[1:] & (slash[:-1] | ~ink[:-1])).any():
            raise UserError(_wrong_face(lines, chosen))
        ink &= ~slash
    first = np.flatnonzero(ink[1:] > ink[:-1])  # the byte before each number
    joined = slash[first]
    counts = np.diff(np.searchsorted(first[~joined], np.flatnonzero(array == ord("\n"))))
    values = parsed(text.replace(b"/", b" ") if slashed else text, np.int64)
    indices = None if values is None or len(values) != len(first) else _in_columns(values, joined)
    if indices is None:
        raise UserError(_wrong_face(lines, chosen))
    return Corners(counts, chosen, indices)


def _face_text(lines: Lines, chosen: NDArray[Any]) -> bytes:
    """The corners on these lines as text, with a 0 where an index is left out (`1//3` becomes `1/0/3`)."""
    text = lines.cut(chosen, skip=1)
    if len(lines.are(b"fo")):
        text = re.sub(rb"(?m)^(\s*)o", rb"\1 ", text)
    if b"/" not in text:
        return text
    array = np.frombuffer(text, np.uint8)
    slash, ink = array == ord("/"), array > 32
    if (slash[:-1] & (slash[1:] | ~ink[1:])).any():
        text = text.replace(b"//", b"/0/")
        if any(end in text for end in (b"/ ", b"/\n", b"/\t")):
            text = re.sub(rb"/(?=\s)", b"/0", text)
    return text


def _in_columns(values: NDArray[Any], joined: NDArray[Any]) -> NDArray[Any] | None:
    """Indices `[C, 3]` of corners, 0 where a corner has fewer than three; None where a corner has more.

    Args:
        values: `[n]` all indices, one after another.
        joined: `[n]` whether a slash joins each index with the one before it.
    """
    corners = np.count_nonzero(~joined)
    width = int(np.argmin(joined[1:4])) + 1 if joined.any() else 1  # of the first corner, and nearly always of all
    indices = np.zeros((corners, 3), np.int64)
    if len(values) == width * corners and not joined.reshape(-1, width)[:, 0].any():
        indices[:, :width] = values.reshape(-1, width)
        return indices
    corner = np.cumsum(~joined) - 1
    column = np.arange(len(values)) - np.flatnonzero(~joined)[corner]
    if column.max() > 2:
        return None
    indices[corner, column] = values
    return indices


def _from_zero(lines: Lines, written: Corners, column: int, rows: NDArray[Any], file: File) -> NDArray[Any]:
    """One column of the written indices `[C]`, counted from 0; -1 where a corner has none.

    Args:
        column: index in `COLUMNS`.
        rows: the lines of the rows that the column names.

    Raises:
        UserError: an index names no row.
    """
    (key, what), count, index = COLUMNS[column], len(rows), written.indices[:, column]
    if column and (not count or not index.any()):
        if index.any():
            file.warn(f"faces name a {what} ({key}) and the file has none")
        return np.full(len(index), -1)
    place: NDArray[Any] = index - 1
    if index.min() < 0:
        # Negative numbers count backwards from the last row that was read before the face.
        before = np.repeat(np.searchsorted(rows, written.lines), written.counts)
        place = np.where(index < 0, before + index, place)
    wrong = (place >= count) | ((place < 0) & ((index != 0) | (column == 0)))
    if wrong.any():
        i = int(wrong.argmax())
        line = lines.number(np.repeat(written.lines, written.counts)[i])
        raise UserError(f"line {line}: index {index[i]} of a {what}, but the file has {count:,} of them ({key}); cut short?")
    return place


def _wrong_face(lines: Lines, chosen: NDArray[Any]) -> str:
    """A message about the first face that cannot be read."""
    for line in chosen.tolist():
        words = re.split(r"\s#", lines.text(line))[0].split()[1:]
        for word in words:
            if not re.fullmatch(r"[-+]?\d+(/([-+]?\d+)?(/([-+]?\d+)?)?)?", word):
                return f"line {lines.number(line)}: {word[:40]!r} is no corner of a face; expected an index, or indices like 1/2/3"
    return "a face cannot be read"


def _cloud(
    lines: Lines, rows: dict[str, NDArray[Any]], vertices: NDArray[Any], colors: NDArray[Any] | None, freeform: str, file: File
) -> Cloud:
    """The cloud in a file without faces: the vertices that its `p` elements name, or all vertices.

    In such a file no index joins vertices and normals. Programs that write clouds (MeshLab, CloudCompare) write one `vn` for each `v`, in
    the same order. If the numbers of `v` and `vn` differ, the normals are left out.

    Raises:
        UserError: there are no vertices, or they belong to lines or curves.
    """
    if freeform:
        raise UserError(f"the file holds {freeform} and no polygons; only polygons and points can be read")
    normals = _table(lines, rows["vn"], "vn", 3, file) if len(rows["vn"]) == len(vertices) else None
    if len(rows["p"]):
        corners = _corners(lines, rows["p"], {key: rows[key] for key in ("v", "vt", "vn")}, file)
        used = np.unique(corners.indices[:, 0])
        vertices, colors = vertices[used], None if colors is None else colors[used]
        normals = None if normals is None else normals[used]
    elif len(rows["l"]):
        raise UserError("the file holds only lines (l), no surface and no points")
    if len(rows["p"]) and len(rows["l"]):
        file.warn(f"{len(rows['l']):,} elements of lines (l) are left out beside the points")
    if not len(vertices):
        raise UserError("the file holds no triangles and no points")
    good = np.isfinite(vertices).all(axis=1)
    if not good.all() and good.any():
        file.warn(f"{np.count_nonzero(~good):,} of {len(good):,} points are not finite (NaN or infinity) and left out")
        vertices, colors = vertices[good], None if colors is None else colors[good]
        normals = None if normals is None else normals[good]
    colors = None if colors is None else colors[:, :3]
    return Cloud(points=vertices, colors=colors, normals=normals, warnings=tuple(file.warnings))


@dataclass(frozen=True)
class _Surface:
    """The values that the corners of triangles name, and how they become parts."""

    vertices: NDArray[Any]
    colors: NDArray[Any] | None
    uv: NDArray[Any]
    normals: NDArray[Any]
    indices: NDArray[Any]
    """[C, 3] rows of `vertices`, `uv` and `normals` that each corner names."""
    file: File
    black: bool
    """Whether all materials are black, so that only vertices can give a colour."""

    def parts(self, triangles: NDArray[Any], look: mtl.Look, name: str, labelled: Mapping[str, NDArray[Any]]) -> list[tuple[Part, bool]]:
        """Triangles `[F, 3]` of one material as parts, each with whether the file gives its colour.

        Faces without UV coordinates become a part of their own, in the plain colour of the material. `labelled` are their labels,
        see `_labelled`.
        """
        if look.texture is None:
            return [self._part(triangles, look, labelled, textured=False)]
        placed = (self.indices[triangles, 1] >= 0).all(axis=1)
        done = [] if not placed.any() else [self._part(triangles[placed], look, _of(labelled, placed), textured=True)]
        if not placed.all():
            self.file.warn(
                f"{np.count_nonzero(~placed):,} triangles of material {name!r} have no place (vt) on its texture; they are drawn without it"
            )
            done.append(self._part(triangles[~placed], look, _of(labelled, ~placed), textured=False))
        return done

    def _part(self, triangles: NDArray[Any], look: mtl.Look, labelled: Mapping[str, NDArray[Any]], textured: bool) -> tuple[Part, bool]:
        """Triangles `[F, 3]` with their labels as one part, with or without the texture of its look; and whether the file gives its
        colour."""
        corners = self.indices[triangles.reshape(-1)]  # [3 F, 3]
        columns = [0]
        if textured:
            columns.append(1)
        if len(self.normals) and (corners[:, 2] >= 0).all():
            columns.append(2)
        rows, faces = _distinct(corners, columns, (len(self.vertices), len(self.uv), len(self.normals)))
        faces = faces.reshape(-1, 3)
        values: dict[str, NDArray[Any]] = {"vertices": self.vertices[rows[:, 0]]}
        normals = unit(self.normals[rows[:, 2]], len(rows)) if 2 in columns else None
        if normals is not None:
            values["normals"] = normals
        pictured = textured and look.pictured
        # Beside a texture exporters write any Kd, and often black vertex colours. Viewers ignore both.
        if self.colors is not None and not pictured and not look.gone:
            values["colors"] = self.colors[rows[:, 0]]
        fields: dict[str, Any] = dict(look.fields)
        if textured and look.texture is not None and look.place is not None:
            with np.errstate(all="ignore"):
                uv = self.uv[rows[:, 1]] * look.place.scale + look.place.offset
            uv = np.where(np.abs(uv) < FAR, uv, 0.0)
            if look.place.clamp:
                height, width = look.texture.shape[:2]
                colors = values.get("colors")
                uv, faces, values, origin = clamped(uv, faces, (width, height), values)
                if "label_uv" in labelled and len(origin) > len(triangles):
                    raise UserError("labels=texture cannot be read beside a picture that ends at its edge (-clamp on)")
                labelled = _of(labelled, origin)
                if colors is not None:
                    values["colors"] = np.rint(values["colors"]).astype(np.uint8)
                if normals is not None:
                    values["normals"] /= np.maximum(np.linalg.norm(values["normals"], axis=1, keepdims=True), 1e-12)
            fields |= {"uv": uv, "texture": look.texture}
        elif fields.get("alpha_mode") == "MASK":
            fields["alpha_mode"] = "OPAQUE"
        if "colors" in values and values["colors"][:, 3].min() < 255 and fields.get("alpha_mode", "OPAQUE") == "OPAQUE":
            fields["alpha_mode"] = "BLEND"
        plain = look.beside if look.pictured and not textured else look.base
        if plain is not None and "colors" in values and self._hides(plain, values["colors"]):
            self.file.warn("a colour of a material (Kd) times the colours of vertices is black everywhere: the vertices' are taken alone")
            plain = None
        said = pictured or "colors" in values or plain is not None
        shade = (1.0, 1.0, 1.0) if pictured or (plain is None and "colors" in values) else plain or (GREY, GREY, GREY)
        fields |= values | dict(labelled)
        return Part(faces=faces, base_color=(*shade, look.alpha), **fields), said

    def _hides(self, plain: tuple[float, float, float], colors: NDArray[Any]) -> bool:
        """Whether the plain colour of a material times its vertex colours `[V, 4]` is black everywhere, so that it is better ignored.

        Rhino and MeshLab write vertex colours and any Kd. Vertices that are all white do not count, unless all materials of the file are
        black.
        """
        rgb = colors[:, :3]
        black = not np.rint(rgb.max(axis=0) * np.array(plain)).any()
        return bool(black and rgb.any() and (self.black or rgb.min() < 255))


def _distinct(corners: NDArray[Any], columns: list[int], sizes: tuple[int, int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Finds corners `[n, 3]` that are equal in some columns.

    Returns:
        One corner of each kind `[v, 3]`, in ascending order, and the kind of each corner `[n]`.
    """
    key, size = corners[:, columns[0]], sizes[columns[0]]
    if size > 8 * len(key):  # tables of this size are made for each material, so they must not be as large as all vertices
        present, key = np.unique(key, return_inverse=True)
        size = len(present)
    for column in columns[1:]:
        other = corners[:, column]
        partner = np.zeros(size, np.int64)
        partner[key] = other
        if np.array_equal(partner[key], other):
            continue  # each vertex always comes with the same row of this column
        key = key * sizes[column] + other
        size *= sizes[column]
        if size > max(8 * len(key), 1 << 16):
            present, key = np.unique(key, return_inverse=True)
            size = len(present)
    where = np.full(size, -1, np.int64)
    where[key] = np.arange(len(key))
    first = where[where >= 0]
    number = np.cumsum(where >= 0) - 1
    return corners[first], number[key]
