"""Point clouds as tables of numbers: NumPy arrays (.npy, .npz) and text (.xyz, .txt, .pts, .asc, .csv).

`pipeline.formats.columns` decides what the columns mean. An archive with vertices and faces is a mesh. Samples of the space around a
surface (occupancies, distances), matrices of cameras, grids of heights and the text of other formats are refused, though they look like
tables.

Text may begin with a header line (`x y z r g b`) or the number of points, and may have comments after #, // or %. Blanks, tabs, commas or
semicolons separate the cells. Decimal commas are read if semicolons or blanks separate the cells.
"""

import contextlib
import dataclasses
import itertools
import re
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.terminal import some
from pipeline.formats import columns, labels
from pipeline.formats.catalog import sign_of
from pipeline.geometry import GREY, Cloud, Geometry, Mesh, Part, left_alone, rgba
from pipeline.polygons import triangulated
from pipeline.reading import File, decoded

HEADER: Final = 64
"""Number of lines within which the numbers of a table begin."""

NUMBER: Final = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?|[+-]?nan|[+-]?inf(?:inity)?", re.IGNORECASE)
GLANCED: Final = 1000
"""Number of rows that tell what commas are."""
SURE: Final = 10
"""Number of rows of which it is no accident that numbers with separators of thousands look like three colours each."""
WHOLE: Final = re.compile(r"[+-]?\d+")
COMMENT: Final = re.compile(r"#|//|%")
COUNT: Final = re.compile(r"(?:(?:number of )?points\s*[:=]?\s*)?(\d+)", re.IGNORECASE)
"""A header line with the number of points: `1000`, or `Points: 1000`."""
DATA_BEHIND: Final = re.compile(r"[#/%]+(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{8}|\s*[-+]?\.?\d)")
"""A mark of a comment, and behind it a colour or a number."""
DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")

MATRICES: Final = {(3, 3), (3, 4), (4, 4)}
"""Rows and columns of small tables that usually are cameras or poses, not clouds."""

THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}(?:(?:,\d{3})+(?:\.\d+)?|(?:\.\d{3})+,\d+)")
"""A number with separators of thousands, as in `4,600,000.5` or `4.600.000,5`."""

NOT_A_NUMBER: Final = re.compile(r"(?<!\S)[-+]?(?:\d*\.#(?:IND|QNAN|SNAN|INF)\d*|nan\(\w*\))", re.IGNORECASE)
"""What programs of Windows write for a value that is no number, such as `-1.#IND` or `-nan(ind)`."""

QUOTED: Final = re.compile(r'"([^",;\t\n]*)"')
"""A cell in quotes without a separator in it. R and pandas write so."""

EARTH: Final = ({"lat", "latitude"}, {"lon", "lng", "long", "longitude"})
"""Names of columns that hold degrees."""

OF_SPACE: Final = ("occupancies", "occupancy", "occ", "sdf", "sdfs", "udf", "tsdf")
"""Names of arrays that say of each point how far it is from a surface, or whether it lies inside. Such points fill the space around the
surface. Occupancy Networks and DeepSDF publish such archives beside clouds."""

CORNERS: Final = ("vertices", "verts", "vertex", "v", "points")
TRIANGLES: Final = ("faces", "face", "triangles", "tris", "f")
"""Names of the two arrays of a mesh in an archive, best first."""

NO_POINTS: Final = ("faces", "face", "triangles", "tris", *columns.NORMAL_KEYS, *columns.COLOR_KEYS)
"""Names of arrays that are no points, even if nothing else is there."""


def read(file: File) -> Geometry:
    """The points of a table, or the surface in an archive of vertices and faces.

    Raises:
        UserError: the file is damaged or no table with at least three columns.
    """
    readers: dict[str, Callable[[File], Geometry]] = {".npy": _from_array_file, ".npz": _from_archive}
    shape = readers.get(file.suffix, _from_text)(file)
    return dataclasses.replace(shape, warnings=tuple(file.warnings))


def _from_text(file: File) -> Cloud:
    table = parsed(file.data, file.warn)
    if table.names:
        return _named(file, list(zip(table.names, table.values.T, strict=True)))
    return _unnamed(file, table.values, table.pointed)


def _named(file: File, table: list[tuple[str, NDArray[Any]]]) -> Cloud:
    """The cloud in named columns or arrays, with its labels where they are asked for."""
    given, rest = labels.fields_apart(file, table)
    return labels.with_labels(file, columns.named(rest, file.warn), given)


def _unnamed(file: File, values: NDArray[Any], pointed: Sequence[bool] = ()) -> Cloud:
    """The cloud in a table `[n, c]` without names, with its labels where they are asked for."""
    part, numbers = labels.column_apart(file, values)
    if part is not None:
        kept = [number - 1 for number in numbers]
        values, pointed = values[:, kept], [pointed[at] for at in kept if pointed]
    cloud = columns.unnamed(values, file.warn, intensity_first=file.suffix == ".pts", pointed=pointed, numbers=numbers)
    return labels.with_labels(file, cloud, {} if part is None else {"part": part})


# ------------------------------------------------------------------------------------------------------------- arrays


def _from_array_file(file: File) -> Cloud:
    try:
        with file.path.open("rb") as stream, _quiet():
            array = np.load(stream, allow_pickle=False)
    except (*NO_ARRAY, zipfile.BadZipFile) as error:
        raise _damaged(error) from error
    if not isinstance(array, np.ndarray):  # np.load goes by the first bytes, not by the extension
        raise UserError("is an archive of arrays (.npz) under the name .npy: rename it")
    return _from_array(array, file)


NO_ARRAY: Final = (ValueError, EOFError, OSError, MemoryError, SyntaxError, TypeError, OverflowError, tokenize.TokenError)
"""Errors that NumPy raises for bytes that are no array. It parses the header as Python code."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides NumPy's warning about headers that Python 2 wrote. They are read correctly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _damaged(error: Exception) -> UserError:
    if "Object arrays" in str(error):
        return UserError("holds Python objects (Object arrays), which are never unpickled; save the points alone: np.save(file, points)")
    return UserError(f"cannot be read as a table of numbers, damaged or cut short? ({error})")


def _from_array(array: NDArray[Any], file: File) -> Cloud:
    if _of_a_camera(array):
        raise UserError(f"an array {list(array.shape)} that seems to be the matrix of a camera or a pose, not a cloud")
    if array.dtype.names:
        flat = array.reshape(-1)
        return _named(file, [(name, flat[name]) for name in array.dtype.names])
    return _unnamed(file, oriented(one_cloud(array), file.warn))


def _of_a_camera(array: NDArray[Any]) -> bool:
    """Whether a small table is a rotation, a pose, or the matrix of a lens, and no cloud of three or four points."""
    if array.shape not in MATRICES or array.dtype.kind not in "fiu":
        return False
    matrix = array[:3, :3].astype(np.float64)
    turn = np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3)
    lens = matrix[2].tolist() == [0, 0, 1] and matrix[1, 0] == 0 and bool((matrix[[0, 1], [0, 1]] > 0).all())
    return turn or lens or (array.shape == (4, 4) and array[3].tolist() == [0, 0, 0, 1])


def _surface_in(tables: dict[str, NDArray[Any]], file: File) -> Mesh | None:
    """The surface in arrays of vertices and faces; None if there are none, or labels are asked for, which only points have here.

    Points of which less than half belong to a face are a cloud. Its faces, and empty ones, are taken out of `tables`.

    Raises:
        UserError: a face names no vertex, or the colours are those of another number of vertices.
    """
    by_name = {columns.plain(name): name for name in reversed(list(tables))}
    corners, triangles = (next((by_name[key] for key in keys if key in by_name), "") for keys in (CORNERS, TRIANGLES))
    if not corners or not triangles or labels.labelling(file) is not None:
        return None
    vertices, faces = tables[corners], tables[triangles]
    if not faces.size:
        del tables[triangles]
        return None
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] not in (3, 4) or faces.dtype.kind not in "iu":
        return None
    flat = faces.astype(np.int64).reshape(-1)
    if not 0 <= flat.min() <= flat.max() < len(vertices):
        wrong = flat.min() if flat.min() < 0 else flat.max()
        raise UserError(f"{triangles}: a face names vertex {wrong} of {len(vertices):,}, counted from 0")
    alone = left_alone(len(vertices), flat, len(faces))
    if alone and columns.plain(corners) == "points":
        file.warn(f"few of the {len(vertices):,} points belong to a face: they are a cloud, without its faces ({len(faces):,})")
        del tables[triangles]
        return None
    if alone:
        file.warn(alone)
    used = {columns.plain(corners), columns.plain(triangles)}
    colors = columns.colors_beside({key: (name, tables[name]) for key, name in by_name.items()}, len(vertices), used, file.warn)
    columns.left_out([name for name in tables if columns.plain(name) not in used], file.warn)
    with np.errstate(invalid="ignore"):  # NaN of any kind
        vertices = vertices.astype(np.float64)
    cut, _ = triangulated(vertices, np.full(len(faces), faces.shape[1]), flat)
    look: dict[str, Any] = {"base_color": (GREY, GREY, GREY, 1.0)} if colors is None else {"colors": rgba(colors)}
    return Mesh(parts=(Part(vertices=vertices, faces=flat[cut], **look),), colored=colors is not None)


def _from_archive(file: File) -> Geometry:
    try:
        with file.path.open("rb") as stream, _quiet(), np.load(stream, allow_pickle=False) as archive:
            arrays = {}
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError as error:  # Python objects beside the points are left out
                    if "Object arrays" not in str(error):
                        raise
                    file.warn(f"{name} holds Python objects: left out")
    except (*NO_ARRAY, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, KeyError) as error:
        raise _damaged(error) from error
    asked = labels.labelling(file)
    of_labels = {name for name in arrays if asked is not None and asked.field([name])}
    tables = {
        name: array for name, array in arrays.items() if array.dtype.kind in ("fiub" if name in of_labels else "fiu") and array.ndim >= 1
    }
    if rest := sorted(arrays.keys() - tables.keys()):
        file.warn(f"left out: {some(rest)} (no columns of numbers)")
    known = {columns.plain(name): name for name in arrays}
    of_space = [known[key] for key in OF_SPACE if key in known] or [known[key] for key in ("neg",) if {"pos", "neg"} <= known.keys()]
    if of_space:
        raise UserError(
            f"{of_space[0]} beside the points says that they fill the space around a surface, as samples for implicit fields do: "
            "no cloud of a surface"
        )
    if (surface := _surface_in(tables, file)) is not None:
        return surface
    if len(tables) == 1 and columns.plain(next(iter(tables))) not in (*columns.POINT_KEYS, *NO_POINTS):
        return _from_array(next(iter(tables.values())), file)
    wide = [name for name, array in tables.items() if array.ndim >= 2]
    keys = set(map(columns.plain, tables))
    if columns.coordinates(keys) is None and not keys & set(columns.POINT_KEYS):
        # If there is only one table, it holds the points, unless its name says otherwise.
        told = {*columns.OTHERS, *NO_POINTS}
        if len(wide) == 1 and columns.plain(wide[0]) not in told:
            tables = {"points" if name == wide[0] else name: array for name, array in tables.items()}
    of_points = (*columns.POINT_KEYS, *columns.COLOR_KEYS, *columns.NORMAL_KEYS)
    shaped = {name: oriented(one_cloud(array), file.warn) if columns.plain(name) in of_points else array for name, array in tables.items()}
    return _named(file, list(shaped.items()))


def one_cloud(array: NDArray[Any]) -> NDArray[Any]:
    """An array `[1, n, c]` as `[n, c]`; other arrays unchanged.

    Raises:
        UserError: the array is a batch of several clouds.
    """
    while array.ndim > 2 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[1] == 1 and array.shape[2] <= columns.WIDEST:  # as OpenCV keeps points
        array = array[:, 0]
    if array.ndim == 3 and len(set(array.shape)) == 1 and len(array) > columns.NARROW:
        raise UserError(f"an array {list(array.shape)} is a grid of voxels or distances, not a cloud; save points [n, 3]")
    if array.ndim == 3 and array.shape[2] >= 3:
        raise UserError(
            f"an array {list(array.shape)} is {array.shape[0]} clouds in one file; save each as a .npy [n, 3] of its own, "
            "or all in one .h5 file as `data` [N, n, 3]"
        )
    return array


def oriented(array: NDArray[Any], warn: columns.Warn) -> NDArray[Any]:
    """A table `[n, c]`; transposed if it is clearly stored as `[c, n]`."""
    if columns.lies(array.shape):
        warn(f"stored as {list(array.shape)}: read as {array.shape[1]} points of {array.shape[0]} numbers")
        return array.T
    return array


# --------------------------------------------------------------------------------------------------------------- text


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of numbers from a text."""

    values: NDArray[Any]
    """[n, c] float64."""
    names: tuple[str, ...]
    """Names of the columns; empty where no header names x, y and z."""
    pointed: tuple[bool, ...]
    """For each column, whether its first number is written with a decimal point."""


def parsed(data: bytes, warn: columns.Warn) -> Table:
    """The table in a text.

    Raises:
        UserError: the text is no table. The message says in which line, where that can be told.
    """
    text = _plain_cells(decoded(data))
    if (sign := sign_of(text)) is not None and sign.remedy:
        raise UserError(f"no table of points, but {sign.what}: {sign.remedy}")
    lines = text.splitlines()
    head = _head(lines)
    if head.start < 0:
        raise UserError(f"cannot be read as a table of numbers: {head.problem}")
    for number in (*head.odd, *head.below):
        warn(f"line {number} is left out as a header: {lines[number - 1].strip()[:40]!r}")
    body = lines[head.start :]
    if _commas_of_two_kinds(body, head):
        raise UserError(
            f"commas seem to be decimal points and separators at once ({body[0].strip()[:20]!r}): write decimal points, or semicolons "
            "between columns; if all are whole numbers, name the columns in a first line"
        )
    if row := _commas_in_cells(body, head) if "," in text else "":
        raise UserError(
            f"cells have commas in them ({row[:40]!r}): write decimal points, no separators of thousands, and one separator between numbers"
        )
    if head.symbols or re.search(r"[,;#/%]", text):  # saves time: most clouds have only blanks between cells, and millions of lines
        _say_unread(lines[: head.start], body, warn)
        body = [_clean(line, head) for line in body]
    if head.symbols:
        warn("the chemical symbols in the first column are left out")
    try:
        values = np.loadtxt(body, ndmin=2, comments=None, dtype=np.float64)
    except ValueError as error:
        raise UserError(f"cannot be read as a table of numbers: {_fault(body, lines, head.start) or error}") from error
    if len(values) > 1 and np.array_equal(values[0], np.arange(values.shape[1])) and "." not in body[0] and "." in "".join(body[1:9]):
        warn(f"line {head.start + 1} counts the columns and is left out as a header")
        values = values[1:]
    if head.count is not None and len(values) < head.count:
        raise UserError(f"the file is cut short: it says {head.count} points and holds {len(values)}")
    if head.count is not None and len(values) > head.count:
        warn(f"the file says {head.count} points and holds {len(values)}")
    if head.decimal:
        warn("commas are read as decimal points")
    names = head.names if len(head.names) == values.shape[1] else ()
    known = [columns.plain(name) for name in names]
    if head.names and not names and columns.coordinates(map(columns.plain, head.names)):
        warn(f"the first line names {len(head.names)} columns and the rows have {values.shape[1]}: its names are not used")
    if names and columns.coordinates(known) is None:
        if all(set(known) & degrees for degrees in EARTH):
            raise UserError(f"the header {' '.join(names)[:60]!r} says degrees: project the places to metres first, for instance to UTM")
        if columns.OTHERS & set(known[:3]):
            raise UserError(f"the header {' '.join(names)[:60]!r} names no x, y and z; name the columns of the coordinates so")
        warn(f"the header {' '.join(names)[:40]!r} names no x, y and z: the first three columns are taken")
        names = ()
    return Table(values=values, names=names, pointed=tuple("." in cell for cell in next(filter(str.strip, body)).split()))


def _plain_cells(text: str) -> str:
    """A text without the quotes around cells that hold no separator, and with the usual word where Windows writes another for no number."""
    text = QUOTED.sub(r"\1", text) if '"' in text else text
    return NOT_A_NUMBER.sub("nan", text) if ".#" in text or "nan(" in text.lower() else text


def _commas_in_cells(body: list[str], head: "_Head") -> str:
    """The first row of numbers that semicolons, tabs or blanks separate, and of which some have commas in them that are no decimal points,
    as in `500,000.25 4,600,000.5 300`; empty if there is none.

    Between blanks, a comma separates numbers unless the cell is a number with separators of thousands, and `_commas_separate` does not say
    that it separates all the same.
    """
    lines = (COMMENT.split(line, maxsplit=1)[0].strip() for line in body[:GLANCED])
    rows = [re.sub(r",[ \t]+", ", ", line) for line in lines if line]
    if head.decimal:
        return _maybe_thousands(rows, head.names)
    for text in rows:
        separator = next((one for one in ";\t" if one in text), None)
        cells = [cell.strip(" ,") for cell in text.split(separator)]
        if len(cells) < 3 or not _all_numbers(cells):
            continue
        if any("," in cell if separator else THOUSANDS.fullmatch(cell) for cell in cells):
            return text if separator or not _commas_separate(rows, len(head.names)) else ""
    return ""


def _maybe_thousands(rows: Sequence[str], names: Sequence[str]) -> str:
    """The first of some rows with decimal commas in which all of these may separate thousands, and some numbers have none, so that these
    would be too large by a factor: `12 7 1,250`; empty if there is none.

    If all coordinates have such a comma, and of each other column all numbers or none, as in `12,250 7,125 1,500 255 100 200`, the shape is
    the same but for its size.
    """
    cells = [[cell for cell in re.split(r"[;\s]+", row) if cell] for row in rows]
    if not all(re.fullmatch(r"[+-]?(?:[1-9]\d{0,2},\d{3}|\d{1,3})", cell) for row in cells for cell in row):
        return ""
    plain = [columns.plain(name) for name in names]
    xyz = columns.coordinates(plain)
    places = [plain.index(name) for name in xyz] if xyz else [0, 1, 2]
    kinds = [{"," in cell for cell in column if cell} for column in itertools.zip_longest(*cells)]
    alike = all(kinds[at] == {True} for at in places if at < len(kinds)) and all(len(kind) == 1 for kind in kinds)
    return "" if alike else next(row for row in rows if "," in row)


def _commas_separate(rows: Sequence[str], named: int) -> bool:
    """Whether every comma of some rows separates two numbers, though some look like those of thousands: `1, 2, 3,255,100,200`.

    All rows then have as many numbers. It is so if there are as many names of columns (`named`), and not as many cells between blanks. Else
    no number begins with a zero, as what follows a separator of thousands may, and one of these holds: between blanks, some cell is no
    number with separators of thousands, as `3,25,100,200`; rows have different numbers of such cells; or `SURE` rows or more are of x, y, z
    and three values up to 255 that stand together.
    """
    numbers = [re.split(r"[,\s]+", row.strip(" ,")) for row in rows]
    cells = [[cell.strip(",") for cell in row.split()] for row in rows]
    wide = {len(row) for row in numbers}
    if len(wide) > 1:
        return False
    if wide == {named} and named not in map(len, cells):
        return True
    if any(re.match(r"[+-]?0\d", number) for row in numbers for number in row):
        return False
    if len(set(map(len, cells))) > 1 or not all(map(_all_numbers, cells)):
        return True
    together = all("," not in "".join(row[:-1]) and row[-1].count(",") in (2, 3) for row in cells)
    shades = wide == {6} and all(WHOLE.fullmatch(one) and 0 <= int(one) <= 255 for row in numbers for one in row[3:])
    return together and shades and len(rows) >= SURE


def _all_numbers(cells: Iterable[str]) -> bool:
    """Whether cells between blanks are numbers, perhaps with decimal commas or with separators of thousands."""
    return all(NUMBER.fullmatch(cell) or THOUSANDS.fullmatch(cell) for cell in cells)


def _say_unread(above: list[str], body: list[str], warn: columns.Warn) -> None:
    """Say how many rows have only separators, and in how many rows of the table (`body`) a number or a colour such as #ff8800 stands behind
    a mark of a comment."""
    empty = sum(1 for line in (*above, *body) if line.strip() and not line.strip(" \t,;"))
    behind = list[str]()
    for line in body:
        mark = COMMENT.search(line)
        if mark and DATA_BEHIND.match(line, mark.start()) and line[: mark.start()].strip(" \t,;"):
            behind.append(line[mark.start() :].strip())
    if empty:
        warn(f"{empty:,} rows without numbers are left out")
    if behind:
        warn(f"what stands behind {behind[0][0]} in {len(behind):,} rows is left out: {behind[0][:20]!r}")


def _commas_of_two_kinds(body: list[str], head: "_Head") -> bool:
    """Whether commas in rows that have no names are decimal points as well as separators: all cells are whole numbers, and every second one
    sometimes begins with a zero, as what follows a decimal point does. The first `GLANCED` rows tell."""
    if not body or "," not in body[0] or head.symbols:
        return False
    zeros = False
    for line in body[:GLANCED]:
        text = COMMENT.split(line, maxsplit=1)[0].strip().rstrip(",")
        if not text:
            continue
        cells = [cell.strip() for cell in text.split(",")]
        before, after = cells[::2], cells[1::2]
        if len(cells) < 4 or len(cells) % 2 or len(cells) == len(head.names) or not all(map(WHOLE.fullmatch, cells)):
            return False
        if not all(map(str.isdecimal, after)):
            return False
        if any(len(cell.lstrip("+-")) > 1 and cell.lstrip("+-")[0] == "0" for cell in before):
            return False  # zeros in front of all numbers mean nothing
        zeros = zeros or any(len(cell) > 1 and cell[0] == "0" for cell in after)
    return zeros


def is_table(path: Path) -> bool:
    """Whether a text file holds a cloud, not words, a list, or the matrix of a camera. Only the beginning is read."""
    try:
        with path.open("rb") as stream:
            data = stream.read(8192)
    except OSError:
        return False
    text = _plain_cells(decoded(data))
    lines = text.splitlines()
    if len(data) == 8192:
        lines = lines[:-1]  # the last line may be incomplete
    head = _head(lines)
    if head.start < 0 or head.odd or "\0" in text or ((sign := sign_of(text)) is not None and sign.remedy):
        return False
    if head.names and not head.commented and columns.coordinates(map(columns.plain, head.names)) is None:
        return False
    body = [cells for line in lines[head.start :] if (cells := _clean(line, head).split())]
    wide = len(body[0])
    same = all(len(cells) == wide and all(NUMBER.fullmatch(cell) for cell in cells) for cells in body)
    return same and len(body) >= 3 and (len(data) == 8192 or (len(body), wide) not in MATRICES)


def table_told(path: Path) -> str:
    """What to do with a text file that is no cloud by `is_table`, although nearly all of its lines are numbers; empty for other files.

    Only the beginning is read.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(8192)
    except OSError:
        return ""
    lines = [line.strip() for line in decoded(data).splitlines() if line.strip()]
    lines = lines[:-1] if len(data) == 8192 else lines
    odd = [line for line in lines if not _numbers(line)]
    if len(lines) - len(odd) < max(3, 0.8 * len(lines)):
        return ""
    told = f"; the first other line is {odd[0][:40]!r}" if odd else ""
    return (
        f"{len(lines) - len(odd)} of its first {len(lines)} lines are numbers{told}. If it is a cloud, write `x y z` (and `r g b`, "
        "`nx ny nz`) as its only header line, or # before each line that is not of the table"
    )


def _numbers(line: str) -> bool:
    """Whether a line has three cells or more, and all are numbers."""
    cells = _spaced(line, _decimal(line)).split()
    return len(cells) >= 3 and all(NUMBER.fullmatch(cell) for cell in cells)


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What the first lines of a text say about the rest."""

    start: int = -1
    """Index of the first line of numbers; -1 where there is none."""
    problem: str = ""
    """Why there are no numbers, where there are none."""
    count: int | None = None
    """Number of points according to the text; None where it does not say."""
    names: tuple[str, ...] = ()
    commented: bool = False
    """Whether the names are in a comment."""
    odd: tuple[int, ...] = ()
    """Numbers (from 1) of the lines before the table that hold numbers but are neither names, count nor comment."""
    below: tuple[int, ...] = ()
    """Numbers (from 1) of the lines between the names of the columns and the table, such as one with units."""
    symbols: bool = False
    """Whether the first column holds chemical symbols."""
    decimal: bool = False
    """Whether commas are decimal points."""


def _head(lines: list[str]) -> _Head:
    """Reads lines until the numbers begin. Of several lines that name coordinates, the last with as many names as the rows have cells
    counts."""
    count: int | None = None
    names: tuple[str, ...] = ()
    placed = list[tuple[tuple[str, ...], int]]()  # names of coordinates, and the number of their line; 0 for a comment
    commented, odd, below, first = False, list[int](), list[int](), ""
    for index, line in enumerate(lines[:HEADER]):
        text = COMMENT.split(line, maxsplit=1)[0].strip()
        if not text:
            words = tuple(_names(line))
            if _name_places(words):
                placed.append((words, 0))
            elif words:
                names, commented = words, True
            continue
        first = first or f"line {index + 1}: {text[:40]!r}"
        decimal = _decimal(text)
        cells = _spaced(text, decimal).split()
        if not cells:
            continue
        numeric = [bool(NUMBER.fullmatch(cell)) for cell in cells]
        if len(cells) >= 3 and all(numeric):
            if same := [number for number in odd if len(_spaced(lines[number - 1].strip(), decimal).split()) == len(cells)]:
                return _Head(problem=f"line {same[0]} has a cell that is no number: {lines[same[0] - 1].strip()[:40]!r}")
            if placed:
                fitting = [one for one in placed if len(one[0]) == len(cells)] or placed
                names, chosen = fitting[-1]
                commented = not chosen
                below += [number for _, number in placed if number not in (0, chosen, *odd)]
            return _Head(
                start=index, count=count, names=names, commented=commented, odd=tuple(odd), below=tuple(sorted(below)), decimal=decimal
            )
        if len(cells) >= 4 and re.fullmatch("[A-Za-z]{1,3}", cells[0]) and all(numeric[1:4]):
            return _Head(start=index, count=count, symbols=True)
        if counted := COUNT.fullmatch(text):
            if count is not None:
                return _Head(problem=f"line {index + 1}: one number where three or more are expected: {text[:40]!r}")
            count, names = int(counted[1]), ()
            placed.clear()
        elif numeric[0]:
            return _Head(problem=f"line {index + 1}: expected three numbers or more, got {text[:40]!r}")
        elif _name_places(words := tuple(_names(text))):
            placed.append((words, index + 1))
            if any(numeric):
                odd.append(index + 1)
        elif placed and not any(numeric):
            below.append(index + 1)
        elif count is None:
            names, commented = words, False
            if any(numeric):
                odd.append(index + 1)
        # any other line is a comment, which .xyz files have after the count
    return _Head(problem=f"no line has three numbers; it begins with {first}" if first else "it has no lines with numbers")


def _name_places(names: Iterable[str]) -> bool:
    """Whether names of columns name the coordinates."""
    return columns.coordinates(map(columns.plain, names)) is not None


def _names(line: str) -> Iterator[str]:
    """The words of a header line, without the mark of a comment."""
    text = re.sub(r"^\s*(?:#|//|%)+", "", line).strip()
    separator = ";" if ";" in text else "," if "," in text else None
    return (word.strip().strip("\"'") for word in text.split(separator))


def _decimal(text: str) -> bool:
    """Whether the commas of a line are decimal points."""
    if "," not in text or "." in text:
        return False
    cells = text.split(";") if ";" in text else text.split()
    return len(cells) >= 3 and all(DECIMAL_COMMA.fullmatch(cell.strip()) or re.fullmatch(r"[+-]?\d+", cell.strip()) for cell in cells)


def _spaced(text: str, decimal: bool) -> str:
    """A line with blanks between its cells. An empty cell becomes a word that is no number."""
    if decimal:
        text = text.replace(",", ".")
    text = text.rstrip(" \t,;")
    if "," in text or ";" in text:
        text = re.sub(r"(?:^|(?<=[,;]))[ \t]*(?=[,;])", "empty", text)
        text = text.replace(",", " ").replace(";", " ")
    return text


def _clean(line: str, head: _Head) -> str:
    """A line without comment and chemical symbol, with blanks between its cells."""
    text = _spaced(COMMENT.split(line, maxsplit=1)[0].strip(), head.decimal)
    return text.split(maxsplit=1)[1] if head.symbols and re.match(r"[A-Za-z]{1,3}\s", text) else text


def _fault(body: list[str], lines: list[str], start: int) -> str:
    """A message about the first line that is not like line `start`; empty where there is none."""
    expected = len(body[0].split())
    for index, line in enumerate(body):
        cells = line.split()
        where, shown = f"line {start + index + 1}", lines[start + index].strip()[:40]
        if cells and len(cells) != expected:
            return f"{where} has {len(cells)} numbers, expected {expected} as in line {start + 1}: {shown!r}"
        for cell in cells:
            try:
                float(cell)
            except ValueError:
                return f"{where}: {cell[:40]!r} is no number: {shown!r}"
    return ""
