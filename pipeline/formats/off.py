"""OFF and its variants (COFF, NOFF, STOFF ...): polygons with colours of vertices or faces.

Source of the format: http://www.geomview.org/docs/html/OFF.html. Files that differ from it are read too: with the counts in the
header line (`OFF4 2 0`, as in ModelNet), without a header, without the count of edges, with colours that the header does not announce,
with the letters of the header in another order and normals after the colours (`NCOFF`, as MeshLab writes: export_off.h in
https://github.com/cnr-isti-vclab/vcglib), or with everything in one line.

Letters: V vertices, P polygons, C corners of all polygons, F triangles.
"""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.formats.labels import labelling
from pipeline.formats.lines import Lines, parsed, shades
from pipeline.geometry import GREY, Cloud, Geometry, Mesh, Part, compact, left_alone, taken, unit
from pipeline.polygons import ALONG_SURFACE, across, triangulated
from pipeline.reading import File

HEADER: Final = re.compile(r"((?:ST|[CN4])*)(n)?OFF")
"""Letters before OFF: ST for UV coordinates, C for colours, N for normals, 4 for a fourth coordinate, n for any number of dimensions."""


@dataclass(frozen=True)
class Kind:
    """The values that a vertex has besides x, y and z, according to the header."""

    texture: bool = False
    color: bool = False
    normal: bool = False
    normal_first: bool = True
    """Whether normals come before colours, as the format says. MeshLab writes N before C in the header, and normals after colours."""

    def extra(self, width: int) -> int:
        """How many numbers of a vertex with `width` numbers belong to its colour."""
        return width - 3 - 3 * self.normal - 2 * self.texture


@dataclass(frozen=True)
class Polygons:
    """The faces of a file."""

    counts: NDArray[Any]
    """[P] number of corners of each face."""
    corners: NDArray[Any]
    """[C] vertex of each corner."""
    lengths: NDArray[Any]
    """[P] how many numbers follow the corners of each face."""
    extras: NDArray[Any]
    """These numbers, face after face."""


def read(file: File) -> Geometry:
    """The surface in an OFF file, or a cloud where it has vertices and no faces.

    Raises:
        UserError: the file cannot be read, is cut short, or has more than three dimensions.
    """
    start = re.match(rb"(?:\s|#[^\n]*\n)*(\w*OFF)[ \t]+BINARY[^\n]*\n", file.data[:4096])
    if start:
        vertices, faces, kind = _binary(file.data[start.end() :], _kind(start[1].decode("latin-1"))[0])
        return _mesh(vertices, faces, kind, file) if len(faces.counts) else _points(vertices, kind, file)
    lines = Lines(file.data)
    said = np.flatnonzero(lines.said())
    if not len(said):
        raise UserError("the file holds no triangles and no points")
    kind, words = _kind(_words(lines, said[0]))
    used = 1
    while len(words) < 2 and used < len(said):
        words += _words(lines, said[used]).split()
        used += 1
    try:
        count, faces_count = int(words[0]), int(words[1])
    except (ValueError, IndexError) as error:
        raise UserError(f"expected numbers of vertices and faces at the beginning, got {' '.join(words[:3]) or 'nothing'!r}") from error
    if count < 0 or faces_count < 0:
        raise UserError(f"the file declares {count} vertices and {faces_count} faces")
    if not faces_count:
        return _cloud(lines, said[used:], words[3:], count, kind, file)
    found = _by_lines(lines, said[used:], count, faces_count, kind, file) if len(words) <= 3 else None
    found = found or _by_numbers(lines, said[used:], words[3:], count, faces_count, kind)
    return _mesh(*found, kind, file)


def _cloud(lines: Lines, body: NDArray[Any], words: list[str], count: int, kind: Kind, file: File) -> Cloud:
    """The points of a file without faces, whose header line goes on with `words`.

    Raises:
        UserError: there are fewer numbers than the points need, or more that stand in no line of their own.
    """
    if count and len(body) >= count and not words:
        values, widths = lines.numbers(body[:count])
        if (widths == widths[0]).all() and kind.extra(int(widths[0])) in (0, 1, 3, 4):
            if len(body) > count:
                file.warn(f"{len(body) - count:,} lines after the last vertex are left out")
            return _points(values.reshape(count, -1), kind, file)
    return _points(_by_numbers(lines, body, words, count, 0, kind)[0], kind, file)


def _points(table: NDArray[Any], kind: Kind, file: File) -> Cloud:
    """The cloud of vertices `[V, width]`.

    Raises:
        UserError: there are none.
    """
    if not len(table):
        raise UserError("the file holds no triangles and no points")
    normals, colors = _normals_and_colors(table, kind, np.zeros((0, 3), np.int64), file)
    return Cloud(points=table[:, :3], colors=None if colors is None else colors[:, :3], normals=normals, warnings=tuple(file.warnings))


def _words(lines: Lines, line: int) -> str:
    return lines.text(line).split("#")[0].strip()


def _kind(first: str) -> tuple[Kind, list[str]]:
    """What the header says, and the words after it.

    Raises:
        UserError: the header announces more than three dimensions.
    """
    match = HEADER.match(first) or HEADER.match(first.upper())
    if not match:
        return Kind(), first.split()
    letters = match[1].replace("ST", "T")
    if "4" in letters or match[2]:
        raise UserError(f"{match[0]}: vertices of {'four' if '4' in letters else 'any number of'} dimensions cannot be read, only x, y, z")
    color, normal = letters.find("C"), letters.find("N")
    return Kind("T" in letters, color >= 0, normal >= 0, not 0 <= normal < color), first[match.end() :].split()


def _by_lines(
    lines: Lines, body: NDArray[Any], count: int, faces_count: int, kind: Kind, file: File
) -> tuple[NDArray[Any], Polygons] | None:
    """Vertices `[V, width]` and faces of a file with one line for each. None where the lines are different."""
    if len(body) < count + faces_count:
        return None
    values, widths = lines.numbers(body[:count])
    if not count or widths.min() != widths.max() or kind.extra(widths[0]) not in (0, 1, 3, 4):
        return None
    values = values.reshape(count, -1)
    chosen = body[count : count + faces_count]
    text = lines.cut(chosen)
    whole = parsed(text, np.int64)
    numbers, lengths = lines.numbers(chosen) if whole is None else (whole, _lengths(text))
    if len(numbers) != lengths.sum():
        return None
    starts = np.cumsum(lengths) - lengths
    counts = numbers[starts]
    if not ((counts >= 0) & (counts < lengths) & (counts == np.rint(counts))).all():
        return None
    counts = counts.astype(np.int64)
    if len(body) > count + faces_count:
        file.warn(f"{len(body) - count - faces_count:,} lines after the last face are left out")
    place = np.arange(len(numbers)) - np.repeat(starts, lengths)
    corner = (place >= 1) & (place <= np.repeat(counts, lengths))
    extra = place > np.repeat(counts, lengths)
    corners = numbers[corner]
    wrong = (corners < 0) | (corners >= count) | (corners != np.rint(corners))
    if wrong.any():
        i = int(wrong.argmax())
        line = lines.number(np.repeat(chosen, counts)[i])
        raise UserError(f"line {line}: index {corners[i]:g} of a vertex, but the file has {count:,} vertices, counted from 0")
    return values, Polygons(counts, corners.astype(np.int64), lengths - 1 - counts, numbers[extra].astype(np.float64))


def _lengths(text: bytes) -> NDArray[Any]:
    """Number of words in each line. The first line, which is empty, is left out."""
    array = np.frombuffer(text, np.uint8)
    ink = array > 32
    return np.diff(np.searchsorted(np.flatnonzero(ink[1:] > ink[:-1]) + 1, np.flatnonzero(array == ord("\n"))))


def _by_numbers(
    lines: Lines, body: NDArray[Any], words: list[str], count: int, faces_count: int, kind: Kind
) -> tuple[NDArray[Any], Polygons]:
    """Vertices `[V, width]` and faces of a file, whatever its line breaks are.

    Raises:
        UserError: the file is cut short, or numbers follow its last face.
    """
    short = f"damaged or cut short: the file declares {count:,} vertices and {f'{faces_count:,}' if faces_count else 'no'} faces"
    try:
        values = np.concatenate([np.array(words, np.float64), lines.numbers(body)[0]])
    except ValueError as error:
        raise UserError(f"the file holds what is no number ({error})") from error
    width = 3 + 3 * kind.normal + 4 * kind.color + 2 * kind.texture
    rest = values[count * width :]
    if len(values) < count * width or len(rest) < 4 * faces_count:
        raise UserError(f"{short}, and ends after {len(values):,} numbers")
    counts: list[int] = []
    corners: list[NDArray[Any]] = []
    at = 0
    for _ in range(faces_count):
        n = int(rest[at]) if at < len(rest) and np.isfinite(rest[at]) else -1
        if n < 0 or at + n >= len(rest):
            raise UserError(f"{short}, and face {len(counts)} has not as many corners as it says")
        counts.append(n)
        corners.append(rest[at + 1 : at + 1 + n])
        at += 1 + n
    if at < len(rest):
        raise UserError(f"{short}, and {len(rest) - at:,} numbers follow; write each vertex and each face in a line of its own")
    flat = np.concatenate([np.zeros(0), *corners])
    _check(flat, count)
    none = np.zeros(faces_count, np.int64)
    return values[: count * width].reshape(count, width), Polygons(np.array(counts), flat.astype(np.int64), none, np.zeros(0))


def _check(corners: NDArray[Any], count: int) -> None:
    wrong = ~((corners >= 0) & (corners < count) & (corners == np.rint(corners)))
    if wrong.any():
        raise UserError(f"a face has the index {corners[wrong][0]:g} of a vertex, but the file has {count:,} vertices, counted from 0")


def _binary(data: bytes, kind: Kind) -> tuple[NDArray[Any], Polygons, Kind]:
    """Vertices `[V, width]` and faces of a binary file, whose numbers are big-endian and of four bytes.

    Raises:
        UserError: the file is cut short.
    """
    whole = np.frombuffer(data[: len(data) // 4 * 4], ">i4").astype(np.int64)
    width = 3 + 3 * kind.normal + 4 * kind.color + 2 * kind.texture
    count, faces_count = (int(whole[0]), int(whole[1])) if len(whole) >= 3 else (-1, -1)
    at = 3 + count * width
    if count < 0 or faces_count < 0 or len(whole) < at + 2 * faces_count:
        raise UserError(
            f"damaged or cut short: the binary file declares {count:,} vertices and {faces_count:,} faces in {len(data):,} bytes"
        )
    floats = np.frombuffer(data[: len(whole) * 4], ">f4")
    counts, lengths = np.zeros(faces_count, np.int64), np.zeros(faces_count, np.int64)
    corners, extras = [np.zeros(0, np.int64)], [np.zeros(0)]
    for i in range(faces_count):
        n = int(whole[at]) if at < len(whole) else -1
        after = at + 1 + n
        more = int(whole[after]) if n >= 0 and after < len(whole) else -1
        if more < 0 or after + 1 + more > len(whole):
            raise UserError(f"damaged or cut short: face {i} of {faces_count:,} reaches beyond the end of the file")
        counts[i], lengths[i] = n, more
        corners.append(whole[at + 1 : after])
        extras.append(floats[after + 1 : after + 1 + more].astype(np.float64))
        at = after + 1 + more
    flat = np.concatenate(corners)
    _check(flat, count)
    values = floats[3 : 3 + count * width].astype(np.float64).reshape(count, width)
    return values, Polygons(counts, flat, lengths, np.concatenate(extras)), kind


def _normal_first(values: NDArray[Any], kind: Kind, faces: NDArray[Any]) -> bool:
    """Whether normals come before colours in the numbers `[V, 9 or 10]` of vertices, which begin with x, y, z.

    Three tests try both orders: are the colours within 0..255, do the normals have length 1, do they stand across the surface? The first
    test that only one order passes decides, else the header does.

    Args:
        faces: `[f, 3]` some triangles.
    """
    places, colors, normals = values[:, :3], (values[:, 6:], values[:, 3:-3]), (values[:, 3:6], values[:, -3:])
    with np.errstate(all="ignore"):
        shown = [bool(((one >= 0) & (one <= 255)).all()) for one in colors]
        of_length_1 = [bool((np.abs(np.linalg.norm(one, axis=1) - 1) < 0.01).all()) for one in normals]
        upright = [(one := unit(some, len(places))) is not None and across(one[faces], places[faces]) for some in normals]
    for first, last in (shown, of_length_1, upright):
        if first != last:
            return first
    return kind.normal_first


def _mesh(values: NDArray[Any], faces: Polygons, kind: Kind, file: File) -> Mesh:
    """The surface of vertices `[V, width]` and faces, with their colours."""
    vertices = values[:, :3]
    triangles, polygon = triangulated(vertices, faces.counts, faces.corners)
    if np.any(faces.counts < 3):
        file.warn(f"{np.count_nonzero(faces.counts < 3):,} faces of fewer than three corners are left out")
    if not len(triangles):
        raise UserError(f"none of the {len(faces.counts):,} faces has three corners: there are no triangles")
    if alone := left_alone(len(vertices), faces.corners, len(faces.counts)):
        file.warn(alone)
    some = faces.corners[triangles[:: 1 + len(triangles) // 5000]]
    normals, colors = _normals_and_colors(values, kind, some, file)
    if normals is not None and not across(normals[some], vertices[some]):
        file.warn(ALONG_SURFACE)
        normals = None
    given = asked.of_faces(file, len(faces.counts)) if (asked := labelling(file)) else None
    part = Part(
        vertices=vertices, faces=faces.corners[triangles], normals=normals, colors=colors, part=None if given is None else given[polygon]
    )
    tints = _tints(faces, file, beside_colors=colors is not None)
    if tints is not None:
        flat = part.faces.reshape(-1)
        part = dataclasses.replace(
            taken(part, flat), faces=np.arange(len(flat)).reshape(-1, 3), colors=np.repeat(tints[polygon], 3, axis=0)
        )
    if part.colors is None:
        part = dataclasses.replace(part, base_color=(GREY, GREY, GREY, 1.0))
    elif part.colors[:, 3].min() < 255:
        if part.colors[:, 3].max() == 0:
            file.warn("all colours are wholly transparent; they are drawn opaque")
            part.colors[:, 3] = 255
        else:
            part = dataclasses.replace(part, alpha_mode="BLEND")
    return Mesh(parts=(compact(part),), colored=part.colors is not None, warnings=tuple(file.warnings))


def _normals_and_colors(
    values: NDArray[Any], kind: Kind, some: NDArray[Any], file: File
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Unit normals `[V, 3]` and colours `[V, 4]` uint8 of the vertices, None where the file has none.

    Args:
        values: `[V, width]` all numbers of each vertex.
        some: `[f, 3]` some triangles, by which the order of normals and colours is decided.
    """
    extra = kind.extra(values.shape[1])
    behind = kind.normal and extra in (3, 4) and not _normal_first(values[:, : 6 + extra], kind, some)
    normals = None if not kind.normal else values[:, 3 + extra : 6 + extra] if behind else values[:, 3:6]
    begin = 3 if behind or not kind.normal else 6
    colors = None
    if extra in (3, 4):
        raw = values[:, begin : begin + extra]
        if not kind.color and not kind.normal and extra == 3 and np.nanmin(raw) < 0:
            normals = raw  # the header announces neither, and no colour is negative
        else:
            colors = shades(raw, file)
    elif extra == 1:
        file.warn("colours of vertices are numbers in a colour map, which only Geomview has; they are left out")
    return unit(normals, len(values)), colors


def _tints(faces: Polygons, file: File, beside_colors: bool) -> NDArray[Any] | None:
    """Colours `[P, 4]` uint8 of the faces, grey for a face without one; None where no face has one, or `beside_colors` of vertices."""
    painted = np.isin(faces.lengths, (3, 4))
    odd = (faces.lengths > 0) & ~painted
    if odd.any():
        what = "numbers in a colour map" if (faces.lengths[odd] == 1).all() else "of a length that is no colour"
        file.warn(f"numbers after the corners of {np.count_nonzero(odd):,} faces are {what}; they are left out")
    if not painted.any():
        return None
    if beside_colors:
        file.warn("colours of faces are left out beside those of vertices")
        return None
    table = np.full((len(painted), 4), np.nan)
    table[np.arange(4) < np.where(painted, faces.lengths, 0)[:, None]] = faces.extras[np.repeat(painted, faces.lengths)]
    tints = np.full((len(painted), 4), (*[round(GREY * 255)] * 3, 255), np.uint8)
    said = shades(table[painted, : int(faces.lengths[painted].max())], file)
    if said is not None:
        tints[painted] = said
    return tints
