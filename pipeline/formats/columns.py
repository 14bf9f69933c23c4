"""Decides what the columns of a table of points mean. The rules are the same for arrays, text, scans and HDF5 rows.

    cloud = unnamed(values, warn)                          # [n, c]: the numbers tell what follows x, y, z
    cloud = named({"x": x, "y": y, "z": z, "red": r, ...}, warn)   # the names tell

`warn` gets a sentence about everything that is left out or guessed.
Letters: n points, c columns.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.terminal import some
from pipeline.geometry import GREY, Cloud

Warn = Callable[[str], None]
"""Takes a warning, one sentence."""

ByName = Mapping[str, tuple[str, NDArray[Any]]]
"""Columns or arrays by plain name (see `plain`), each with its name as the file writes it."""

POINT_KEYS: Final[tuple[str, ...]] = (
    "points",
    "point",
    "data",
    "pc",
    "pcs",
    "pcl",
    "xyz",
    "coords",
    "coord",
    "pos",
    "position",
    "positions",
    "vertices",
    "cloud",
    "clouds",
    "pointcloud",
    "pointclouds",
    "pcd",
)
"""Names of arrays of points, as `plain` gives them."""

NORMAL_KEYS: Final[tuple[str, ...]] = ("normal", "normals")
"""Names of arrays of normals, as `plain` gives them."""

NORMAL_COLUMNS: Final = (("nx", "ny", "nz"), *((key + a, key + b, key + c) for key in NORMAL_KEYS for a, b, c in ("xyz", "012")))
"""Names of three columns of normals, as `plain` gives them."""

COLOR_KEYS: Final[tuple[str, ...]] = ("rgb", "rgbs", "color", "colors", "colour", "colours", "rgba")
"""Names of arrays of colours, as `plain` gives them."""

WIDEST: Final = 64
"""Largest number of columns of a cloud. A table with more is no cloud, or is stored as `[c, n]`."""

NARROW: Final = 8
"""Largest side of a cube of numbers that is not taken for a grid of voxels."""

UNIT: Final = 0.02
"""Largest difference from 1 of the length of a unit vector. It is not small, because text files have few digits."""

DARK: Final = 32
"""Largest channel value (0..255) of a cloud that counts as nearly black. Another reading of its columns is preferred."""

FEWEST: Final = 4
"""Least number of rows of which coordinates are seen to look like colours."""

ORDERED: Final = 8
"""Least number of rows of which the first column is seen to be in order: a few numbers may be so by chance."""

LOOKED_AT: Final = 10_000
"""Most rows of the other columns that the first one is compared with."""

UNLIKE: Final = 10
"""How many times larger or smaller than the next two columns the first one is, if it seems to be a time."""

COLORFUL: Final = 8
"""Number of different values of a channel, below which it may hold a measurement instead of a colour."""

BYTES, FRACTIONS, UNITS, SIGNED, SIXTEEN = "0 to 255", "0 to 255 with fractions", "0 to 1", "-1 to 1", "16 bits"
"""Scales of colours, in words."""

NO_SCALE: Final = "colours are neither 0 to 1 nor 0 to 255: left out"

TALL: Final = (3, 4, 6, 7, 9)
"""Numbers of values per point (c) for which a table `[c, n]` is recognised."""

MAPPED: Final = (
    ("x", "xcoord", "xcoordinate", "easting", "eastings", "east"),
    ("y", "ycoord", "ycoordinate", "northing", "northings", "north"),
    ("z", "zcoord", "zcoordinate", "elevation", "elev", "height", "altitude", "alt"),
)
"""Names of coordinates in surveys, as `plain` gives them: x, y and z, best first. They may be mixed, as in `x y elevation`."""

CHANNELS: Final = {
    "r": "red",
    "red": "red",
    "rf": "red",
    "diffusered": "red",
    "g": "green",
    "green": "green",
    "gf": "green",
    "diffusegreen": "green",
    "b": "blue",
    "blue": "blue",
    "bf": "blue",
    "diffuseblue": "blue",
    **{f"{key}{i}": name for key in ("rgb", "color", "colors", "rgba") for i, name in enumerate(("red", "green", "blue"))},
}
"""Names of columns of colours, as `plain` gives them, and the channel of each."""

OTHERS: Final = {
    *CHANNELS,
    *(name for names in NORMAL_COLUMNS for name in names),
    "intensity",
    "label",
    "class",
    "id",
    "index",
    "time",
    "timestamp",
    "gpstime",
    "curvature",
    "alpha",
    "a",
}
"""Usual names of columns that are no coordinates."""


def coordinates(names: Iterable[str]) -> tuple[str, str, str] | None:
    """The three names of the coordinates among plain names, such as x y z, points0 points1 points2 or xcoord ycoord zcoord; None if they
    are not there."""
    known = set(names)
    patterns = [
        "{}",
        *(key + "{}" for key in ("p", *POINT_KEYS)),
        *("{}" + unit for unit in ("coord", "coordinate", "pos", "m", "mm", "cm")),
    ]
    for pattern in patterns:
        for letters in ("xyz", "012"):
            x, y, z = (pattern.format(letter) for letter in letters)
            if {x, y, z} <= known:
                return x, y, z
    x, y, z = (next((name for name in choices if name in known), "") for choices in MAPPED)
    sized = z == "height" and known & {"width", "w"}  # the size of a picture or a box
    return (x, y, z) if x and y and z and not sized else None


def lies(shape: tuple[int, ...]) -> bool:
    """Whether a table with this shape is clearly stored as `[c, n]`. A table of few points is not clear and counts as `[n, c]`."""
    return len(shape) == 2 and shape[0] in TALL and shape[1] > 12


def plain(name: str) -> str:
    """The name of a column or array in small letters and digits alone: `"Point_Cloud"` becomes `pointcloud`, `X(m)` becomes `x`."""
    return re.sub(r"[\W_]+", "", re.sub(r"[(\[].*", "", name)).lower()


def unnamed(
    values: NDArray[Any], warn: Warn, *, intensity_first: bool = False, pointed: Sequence[bool] = (), numbers: Sequence[int] = ()
) -> Cloud:
    """The cloud in a table whose columns have no names.

    One remark says what each column was taken for, unless the table is an ordinary one: coordinates alone, or with normals or colours, and
    nothing else. It also says that the first column seems to be no coordinate, if it counts the rows or rises as a time does.

    Args:
        values: `[n, c]`, c at least 3: x, y, z, then colours, normals, alpha, intensity or labels.
        warn: gets a sentence for what is left out or guessed.
        intensity_first: a fourth of seven columns is an intensity and the colours follow, as in .pts files.
        pointed: for a text, whether each column is written with a decimal point.
        numbers: for a table of which a column was taken away before, the number of each column in the file, from 1.

    Raises:
        UserError: it is no such table.
    """
    if values.ndim != 2 or not 3 <= values.shape[1] <= WIDEST or values.dtype.kind not in "fiu":
        raise UserError(f"expected numbers [n, 3] or [n, 6], got {values.dtype} {list(values.shape)}")
    advice = "name the columns in a first line" if pointed else "give the columns names"
    numbers = numbers or range(1, values.shape[1] + 1)
    pointed = pointed or [False] * values.shape[1]
    with np.errstate(invalid="ignore"):  # NaN of any kind
        points, extra = values[:, :3].astype(np.float64), values[:, 3:]
    colors, normals, used = None, None, set[int]()
    taken, left, doubts, unusual = list[str](), list[str](), list[str](), False
    for start in _triples(extra, points, intensity_first, doubts):
        triple, columns = extra[:, start : start + 3], numbers[start + 3 : start + 6]
        used |= {start, start + 1, start + 2}
        if normals is None and is_normals(triple, points):
            normals = triple
            taken.append(f"{_run(columns)} for normals")
        elif all(pointed[start + 3 : start + 6]) and not triple.any():  # colours would be written 0 0 0
            left.append(f"{_run(columns)} (all 0.0, as programs write normals that they do not know)")
        elif colors is None and (found := _scaled(triple)) is not None:
            colors = found.rgb
            unsure = _few_values(found.rgb, columns)
            if found.missing:
                warn(_no_color(found))
            taken.append(f"{_run(columns)} for colours ({found.scale}{unsure})")
            unusual = bool(unsure) or found.scale not in (BYTES, UNITS)
        else:
            left.append(_run(columns) + (" (neither colours nor normals)" if colors is None else ""))
    rest = [number for at, number in enumerate(numbers[3:]) if at not in used]
    ordinary = taken and not rest and not left
    first = "" if ordinary or values.shape[1] == 3 else _no_coordinate(values[:, :4])
    if len(points) >= FEWEST and left and not taken and _are_bytes(values[:, :3]):
        doubts.append(f"columns {_run(numbers[:3])} hold whole numbers from 0 to 255, as colours do: if they are, {advice}")
    if first or left or rest or doubts or unusual:
        left = [_run(rest)] * bool(rest) + left
        parts = [f"{_run(numbers[:3])} are taken for x, y, z", *taken]
        after = [*[f"column {numbers[0]} {first}: if so, {advice}"] * bool(first), *[f"left out: {', '.join(left)}"] * bool(left), *doubts]
        warn("; ".join([f"the columns have no names: {', '.join(parts)}", *after]))
    return Cloud(points=points, colors=colors, normals=normals)


def _no_coordinate(values: NDArray[Any]) -> str:
    """What makes the first of four columns `[n, 4]` seem to be no coordinate; empty if nothing does.

    Rows are often in the order of x. So a column that never falls only counts if it lies far from the next ones or has another extent, as a
    time has.
    """
    with np.errstate(invalid="ignore"):  # NaN of any kind
        first = values[:, 0].astype(np.float64)
    if len(first) < ORDERED or not np.isfinite(first).all():
        return ""
    steps = np.diff(first)
    if (steps < 0).any() or not steps.any():
        return ""
    others = values[:: -(-len(values) // LOOKED_AT), 1:]
    others = others[np.isfinite(others).all(1)].astype(np.float64)
    if len(others) < 2 or (np.diff(others, axis=0) >= 0).all(0).any():
        return ""
    if (steps == 1).all() and first[0] == np.rint(first[0]):
        return "seems to count the rows"
    extent, middle = np.ptp(first), abs(np.median(first))
    size = max(float((np.ptp(others, axis=0) + np.abs(np.median(others, axis=0)))[:2].max()), np.finfo(float).tiny)
    unlike = extent > UNLIKE * size or UNLIKE * (extent + middle) < size or middle > UNLIKE * size
    return "never falls from row to row, and seems to be a time" if unlike else ""


def _are_bytes(triple: NDArray[Any]) -> bool:
    """Whether columns `[n, 3]` hold whole numbers from 0 to 255, some of them large."""
    found = _scaled(triple)
    return found is not None and found.scale == BYTES and bool(found.rgb.max() > DARK)


def _run(numbers: Sequence[int]) -> str:
    """Numbers of columns in words: `4 to 6`, or `4, 7`."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _few_values(rgb: NDArray[np.uint8], numbers: Sequence[int]) -> str:
    """What makes it doubtful that columns are colours `[n, 3]`: one of them has few different values. Empty if nothing does."""
    if not rgb.any():
        return ", all black"
    kinds = [int(np.count_nonzero(np.bincount(channel))) for channel in rgb.T]
    least = min(kinds)
    if least >= COLORFUL or max(kinds) < COLORFUL or 2 * least > len(rgb):
        return ""  # all three have many values, or few, as in a cloud of few colours
    told = "is the same in all rows" if least == 1 else f"has only {least} different values"
    return f", but column {numbers[kinds.index(least)]} {told}"


def left_out(names: Iterable[str], warn: Warn) -> None:
    """Say that fields with these names are left out, if there are any. Every format with named fields says it so."""
    rest = sorted(name.strip() or "a nameless column" for name in names)
    if rest:
        warn(f"left out: {some(rest)}")


def named(columns: Mapping[str, NDArray[Any]] | Sequence[tuple[str, NDArray[Any]]], warn: Warn) -> Cloud:
    """The cloud in named columns `[n]` or arrays `[n, c]`: x, y and z, or one of `POINT_KEYS`; colours and normals where there are any.

    Of several columns with equal names the first is taken.

    Raises:
        UserError: there are no coordinates, or arrays of different lengths.
    """
    by_name = dict[str, tuple[str, NDArray[Any]]]()
    rest = list[str]()
    for name, values in columns.items() if isinstance(columns, Mapping) else columns:
        if plain(name) in by_name:
            rest.append(name)
        else:
            by_name[plain(name)] = name, np.asarray(values)
    used = set[str]()
    points = _points(by_name, used)
    for choices in MAPPED:
        there = [name for name in choices if name in by_name]
        if len(there) > 1 and there[0] in used and there[0] != choices[0]:
            taken, *others = (by_name[name][0] for name in there)
            warn(f"{taken} is taken for {choices[0]}, not {' or '.join(others)}; name the right column {choices[0]}")
    colors = _colors(by_name, used)
    normals = _normals(by_name, len(points), used)
    rest += [name for key, (name, _) in by_name.items() if key not in used]
    left_out(rest, warn)
    if colors is None:
        plain_cloud = unnamed(points, warn)
        return plain_cloud if normals is None else dataclasses.replace(plain_cloud, normals=normals)
    if len(colors) != len(points):
        raise UserError(f"{len(points)} points, but {len(colors)} colours")
    done = as_bytes(colors[:, :3], warn, "colours")
    if done is None:
        warn(NO_SCALE)
    if points.ndim == 2 and points.shape[1] > 3:
        warn(f"the points have {points.shape[1]} columns, and colours lie beside them: only the first three are taken")
    return Cloud(points=unnamed(points[:, :3], warn).points, colors=done, normals=normals)


def _points(by_name: ByName, used: set[str]) -> NDArray[Any]:
    """The points `[n, c]` among named columns or arrays. `used` gets their names.

    Raises:
        UserError: there are no coordinates, or they are no numbers.
    """
    axes = coordinates(by_name)
    if axes is not None:
        points = _stacked(by_name, axes, used)
    else:
        key = next((key for key in POINT_KEYS if key in by_name and by_name[key][1].ndim == 2), None)
        if key is None:
            held = ", ".join(f"{name} {list(values.shape)}" for name, values in by_name.values())
            raise UserError(f"expected x, y, z or an array called {', '.join(POINT_KEYS[:6])} ...; it holds {held or 'nothing'}")
        used.add(key)
        points = by_name[key][1]
    for name, values in by_name.values():
        if values.dtype.kind not in "fiu" and plain(name) in used:
            raise UserError(f"{name} holds {values.dtype}, expected numbers")
    return points


def _colors(by_name: ByName, used: set[str]) -> NDArray[Any] | None:
    """The colours `[n, 3]` or `[n, 4]` among named columns or arrays, in any scale; None where there are none. `used` gets their names.

    Raises:
        UserError: an array with the name of colours is of another shape.
    """
    colors = _channels(by_name, used)
    key = next((key for key in COLOR_KEYS if key in by_name), None)
    if colors is not None or key is None:
        return colors
    used.add(key)
    name, colors = by_name[key]
    if colors.ndim == 1 and colors.dtype.itemsize == 4 and colors.dtype.kind in "fiu":
        colors = unpacked(colors)
    if colors.ndim != 2 or colors.shape[1] not in (3, 4) or colors.dtype.kind not in "fiu":
        raise UserError(f"{name}: expected colours [n, 3], got {colors.dtype} {list(colors.shape)}")
    return colors


def colors_beside(by_name: ByName, count: int, used: set[str], warn: Warn) -> NDArray[Any] | None:
    """The colours `[count, 3]` uint8 of vertices among named arrays; None where there are none, or their scale is unknown. `used` gets the
    plain names of the arrays.

    Raises:
        UserError: there is another number of colours.
    """
    aliases = {"vertexcolors": "colors", "vertexcolor": "colors", "vertcolors": "colors"}
    taken = set[str]()
    colors = _colors({aliases.get(key, key): value for key, value in reversed(list(by_name.items()))}, taken)
    if colors is None:
        return None
    used.update(key for key in by_name if aliases.get(key, key) in taken)
    if len(colors) != count:
        raise UserError(f"{count:,} vertices, but {len(colors):,} colours")
    done = as_bytes(colors[:, :3], warn, "colours of vertices")
    if done is None:
        warn(NO_SCALE)
    return done


def as_bytes(rgb: NDArray[Any], warn: Warn, what: str) -> NDArray[Any] | None:
    """Colours `[n, 3]` as uint8. Their scale may be 0..255, 0..1, -1..1 or 16 bits; None where it is another.

    `what` names the colours in warnings about a scale that is guessed.
    """
    found = _scaled(rgb)
    if found is None:
        return None
    if found.scale in (SIGNED, SIXTEEN):
        warn(f"{what} are taken for colours {'from -1 to 1' if found.scale == SIGNED else 'of 16 bits'}")
    if found.missing:
        warn(_no_color(found))
    elif rgb.dtype != np.uint8 and not found.rgb.any():
        warn(f"{what} are all black")
    return found.rgb


class _Scaled(NamedTuple):
    """Colours, and what their numbers were taken for."""

    rgb: NDArray[np.uint8]
    """[n, 3]"""
    scale: str
    """One of `BYTES`, `FRACTIONS`, `UNITS`, `SIGNED` and `SIXTEEN`."""
    missing: int = 0
    """Number of points without a colour (NaN). They are grey."""


def _no_color(found: _Scaled) -> str:
    return f"{found.missing:,} of {len(found.rgb):,} points have no colour (NaN): grey"


def _scaled(rgb: NDArray[Any]) -> _Scaled | None:
    """Colours `[n, 3]` of any scale that `as_bytes` knows; None where it is another."""
    if rgb.dtype == np.uint8:
        return _Scaled(np.ascontiguousarray(rgb), BYTES)
    there = np.isfinite(rgb).all(axis=1)
    if not there.any():
        return None
    real = rgb[there].astype(np.float64)
    low, high = real.min(), real.max()
    whole = rgb.dtype.kind in "iu" or bool(np.all(real == np.rint(real)))
    scale = BYTES
    if low < 0:
        # Shortened normals are within -1..1 too, but none is longer than 1. Colours from -1 to 1 fill a cube, so some are longer.
        if low < -1.001 or high > 1.001 or np.linalg.norm(real, axis=1).max() <= 1.05:
            return None
        real, scale = (real + 1) * 127.5, SIGNED
    elif rgb.dtype.kind == "f" and high <= 1.01:
        real, scale = np.minimum(real, 1) * 255, UNITS
    elif high > 255:
        if not whole or high < 1024 or high > 65535:
            return None
        real, scale = real / 257, SIXTEEN
    elif not whole:
        if high <= 2:
            return None
        scale = FRACTIONS
    done = np.full(rgb.shape, round(GREY * 255), np.uint8)
    done[there] = np.rint(real)
    return _Scaled(done, scale, int(np.count_nonzero(~there)))


def is_normals(triple: NDArray[Any], points: NDArray[Any]) -> bool:
    """Whether columns `[n, 3]` are normals of the points, that is, unit vectors.

    If no number is negative, the vectors may also be colours (pure red is 1 0 0). Then they must fit the surface that the points form.
    """
    if triple.dtype.kind != "f":
        return False
    rows = np.isfinite(triple).all(axis=1) & np.isfinite(points).all(axis=1)
    vectors, places = triple[rows].astype(np.float64), points[rows]
    with np.errstate(over="ignore"):  # a vector that overflows is no unit vector
        length = np.linalg.norm(vectors, axis=1)
    some = length > 1e-6  # exporters write 0 0 0 for an unknown normal
    if 2 * np.count_nonzero(some) <= len(some) or np.mean(np.abs(length[some] - 1) < UNIT) < 0.99:
        return False
    if vectors.min() < 0:
        return True
    return _on_surface(vectors[some], places[some])


def _on_surface(normals: NDArray[Any], points: NDArray[Any]) -> bool:
    """Whether unsigned normals agree with those of planes through the nearest points."""
    from scipy.spatial import cKDTree

    chosen = np.linspace(0, len(points) - 1, min(len(points), 20_000)).astype(int)
    points, normals = points[chosen], normals[chosen]
    if len(points) < 8:
        return False
    asked = np.linspace(0, len(points) - 1, min(len(points), 256)).astype(int)
    _, near = cKDTree(points).query(points[asked], k=8)
    if near.max() == len(points):  # squares of distances overflowed, so there are no neighbours
        return False
    around = points[near] - points[near].mean(axis=1, keepdims=True)  # [q, 8, 3]
    _, axes = np.linalg.eigh(np.einsum("qki,qkj->qij", around, around))
    cosines = np.einsum("qi,qi->q", np.abs(axes[:, :, 0]), np.abs(normals[asked]))
    return bool(np.median(cosines) > 0.9)


def _triples(extra: NDArray[Any], points: NDArray[Any], intensity_first: bool, doubts: list[str]) -> tuple[int, ...]:
    """Indices in `extra` at which three columns of colours or normals begin. `extra` has the columns after x, y and z. `doubts` gets a
    clause where another reading is possible."""
    count = extra.shape[1]
    if count < 3:
        return ()
    if count == 4 and intensity_first:
        return (1,)
    # A label or normals may follow. Other tables with six or more columns begin with colours or normals.
    if (count in (4, 5) or (count == 7 and is_normals(extra[:, 4:], points))) and _intensity_leads(extra[:, :4], points, doubts):
        return (1, 4) if count == 7 else (1,)
    return (0, 3) if count >= 6 else (0,)


def _intensity_leads(four: NDArray[Any], points: NDArray[Any], doubts: list[str]) -> bool:
    """Whether columns 4 to 7 are intensity, red, green, blue. If not, they begin with colours or normals.

    The three channels of a colour have one scale. Where both readings are possible, the usual order decides and `doubts` gets a clause: an
    alpha or a label follows the colours, an intensity precedes them (Semantic3D, .pts).
    """
    readings = _scaled(four[:, :3]), _scaled(four[:, 1:])
    if readings[1] is None or is_normals(four[:, :3], points):
        return False
    if readings[0] is None:
        return True
    first, second = readings[0].rgb, readings[1].rgb
    values = four[np.isfinite(four).all(axis=1)].astype(np.float64)
    if not len(values):
        return False
    high, whole = values.max(axis=0), np.all(values == np.rint(values), axis=0)
    one_scale = [bool(whole[part].all() or (high[part] <= 1.01).all() or not whole[part].any()) for part in (slice(3), slice(1, 4))]
    if one_scale[0] != one_scale[1]:
        return one_scale[1]
    if whole.all() and high[1:].max() <= 1 < high[0]:  # red alone, and a label of 0 or 1
        return False
    if (first.max() <= DARK) != (second.max() <= DARK):
        return bool(first.max() <= DARK)
    if np.ptp(values[:, 3]) == 0 and high[3] in (1, 255, 65535) and high[3] >= high.max():
        return False  # opaque
    if high[0] > 255 >= high[1:].max() or (not whole[0] and whole[1:].all() and high[1:].max() > 1):
        return True
    if high[3] > 255 >= high[:3].max() or (not whole[3] and whole[:3].all()):
        return False
    doubts.append("colours may be meant otherwise: a first line such as `x y z intensity red green blue` settles it")
    return _odd_one_leads(values)


def _odd_one_leads(values: NDArray[Any]) -> bool:
    """Whether the first of four columns `[n, 4]` is the one that is no colour. If not, the last is."""
    kinds = [len(np.unique(column)) for column in values.T]
    if 3 * kinds[3] <= min(kinds[1:3]):
        return False  # a column with few different values holds labels
    spread = values.std(axis=0)
    if (spread > 0).all():  # the channels of a colour are correlated, and other values less so
        related = np.abs(np.corrcoef(values.T))
        first, last = related[0, 1:3].min(), related[3, 1:3].min()
        if max(first, last) > 0.5 and abs(first - last) > 0.2:
            return bool(last > first)
    return not kinds[0] == 1 < kinds[3]  # an intensity is never the same for all points


def _stacked(by_name: ByName, names: tuple[str, str, str], used: set[str]) -> NDArray[Any]:
    """Three columns as `[n, 3]`. `used` gets their names."""
    arrays = [by_name[name][1] for name in names]
    if any(array.ndim != 1 or len(array) != len(arrays[0]) for array in arrays):
        raise UserError(f"{', '.join(names)}: expected one number for each point, got {[list(array.shape) for array in arrays]}")
    used.update(names)
    with np.errstate(invalid="ignore"):  # NaN of any kind
        return np.stack(arrays, axis=1)


def _channels(by_name: ByName, used: set[str]) -> NDArray[Any] | None:
    """Colours `[n, 3]` from three columns; None where there are not three. `used` gets their names."""
    found = {CHANNELS[name]: name for name in reversed(list(by_name)) if name in CHANNELS}
    if len(found) < 3:
        return None
    return _stacked(by_name, (found["red"], found["green"], found["blue"]), used)


def _normals(by_name: ByName, count: int, used: set[str]) -> NDArray[Any] | None:
    """Normals `[n, 3]` from three columns or an array; None where their number is not `count`, the number of points. `used` gets their
    names."""
    names = next((names for names in NORMAL_COLUMNS if set(names) <= set(by_name)), None)
    if names is not None and all(by_name[name][1].shape == (count,) and by_name[name][1].dtype.kind == "f" for name in names):
        return _stacked(by_name, names, used)
    for key in NORMAL_KEYS:
        if key in by_name and by_name[key][1].shape == (count, 3) and by_name[key][1].dtype.kind == "f":
            used.add(key)
            return by_name[key][1]
    return None


def unpacked(packed: NDArray[Any]) -> NDArray[Any]:
    """Colours `[n, 3]` uint8 from numbers 0x00RRGGBB. Some formats of scanners store these bits as a float."""
    if packed.dtype.itemsize != 4:
        packed = packed.astype(np.float32 if packed.dtype.kind == "f" else np.uint32)
    bits = np.ascontiguousarray(packed).view(np.uint32 if packed.dtype.isnative else packed.dtype.str[0] + "u4")
    return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8)
