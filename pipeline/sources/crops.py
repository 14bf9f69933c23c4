"""Crops of scenes: a scene becomes one row of a cache, or one row for each of its columns.

    crop = Crop.chosen("columns", size="1.0", stride="0.5", least="100")
    names, few = crop.names(scene.points)           # ("x000z000", "x000z001", ...), and the columns with too few points
    part = crop.of(scene, "x000z001")               # a Cloud in metres; its middle is at x = z = 0, the floor of the scene at y = 0

A column is a horizontal square, from the floor to the ceiling. Columns overlap where the stride is less than the size. `Cloud.origin` says
which points of the scene a crop has, so that what is predicted for overlapping crops can be brought together again.

Letters: n points of a scene, m boxes.
"""

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

import numpy as np

from cache_schema.errors import UserError
from cache_schema.terminal import counted, some
from pipeline.geometry import Boxes, Cloud
from pipeline.sources.catalog import Entry, shape_id
from pipeline.sources.options import choice, number, whole

WHOLE: Final = "whole"
"""Name of the only crop of a scene that is not cut."""

UNREAD: Final = "unread"
"""Name of the only crop of a scene that could not be read when its columns were listed. It fails with the reason when it is read."""

COLUMNS: Final = 1_000_000
"""Most columns of one scene. More of them come from a unit that is not the metre, or from points far away."""

USUAL: Final = {"size": "1.0", "stride": "0.5", "least": "100"}
"""Default values of the options of columns: 1 m x 1 m, as PointNet cuts rooms, with an overlap of half a column. Columns with fewer than
100 points are left out, as PointNet leaves out its blocks (https://arxiv.org/abs/1612.00593)."""

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Column:
    """The part of a scene above a horizontal square: all points with x0 <= x < x1 and z0 <= z < z1, in metres."""

    name: str
    """Its place in the grid: `x003z012` is the fourth along x and the thirteenth along z."""
    x0: float
    x1: float
    z0: float
    z1: float

    def holds(self, places: np.ndarray) -> np.ndarray:
        """Tell which of the places `[n, 3]` lie in the column. `[n]` bool"""
        x, z = places[:, 0].astype(np.float64), places[:, 2].astype(np.float64)
        held: np.ndarray = (self.x0 <= x) & (x < self.x1) & (self.z0 <= z) & (z < self.z1)
        return held


def columns(low: np.ndarray, high: np.ndarray, size: float, stride: float) -> tuple[Column, ...]:
    """Lay columns over a scene. Every point lies in at least one; with a stride of half the size, points away from the walls lie in four.

    Args:
        low: least x, y, z of the points `[3]`, in metres. The first column begins here.
        high: largest x, y, z of the points `[3]`.
        size: length of the sides of a column, in metres.
        stride: distance between the beginnings of neighbouring columns, in metres; at most the size.

    Raises:
        UserError: there would be more than a million columns.
    """
    if not 0 < stride <= size:
        raise UserError(f"stride: expected more than 0 and at most the size {size:g}, got {stride:g}; larger steps would leave points out")
    along_x, along_z = (_intervals(float(low[axis]), float(high[axis]), size, stride) for axis in (0, 2))
    if len(along_x) * len(along_z) > COLUMNS:
        spread = " x ".join(f"{float(high[axis]) - float(low[axis]):.3g}" for axis in (0, 2))
        raise UserError(f"the scene covers {spread} metres, which gives more than {COLUMNS:,} columns of {size:g}; are its units metres?")
    return tuple(Column(f"x{i:03d}z{j:03d}", x0, x1, z0, z1) for i, (x0, x1) in enumerate(along_x) for j, (z0, z1) in enumerate(along_z))


def bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest x, y, z of points `[n, 3]`, in float64."""
    # Axis by axis, which is twenty times as fast in NumPy as a minimum over rows of three.
    return np.array([axis.min() for axis in points.T], np.float64), np.array([axis.max() for axis in points.T], np.float64)


def _intervals(low: float, high: float, size: float, stride: float) -> list[tuple[float, float]]:
    """Cover low..high, both included, with intervals [begin, end)."""
    if not math.isfinite(high - low) or (high - low) / stride > COLUMNS:
        return [(low, high)] * (COLUMNS + 1)
    steps = round(size / stride)
    whole = math.isclose(steps * stride, size, rel_tol=1e-9)
    found: list[tuple[float, float]] = []
    while not found or found[-1][1] <= high:
        index = len(found)
        # The end of one interval is computed as the beginning of another, so that no rounding leaves a gap between them.
        found.append((low + index * stride, low + (index + steps) * stride if whole else low + index * stride + size))
    return found


def cropped(scene: Cloud, column: Column | None) -> Cloud:
    """Cut a column out of a scene, or take all of it, and move it to where crops are stored.

    The middle of the column, or of the scene's footprint, comes to x = z = 0, and the lowest point of the scene to y = 0. `origin` is
    the scene's own, or the row of the point in the scene's cloud if it has none. Boxes stay whose centre lies in the column.

    Args:
        scene: a cloud in metres, +Y up.
        column: one of `columns`; None for the whole scene.

    Raises:
        UserError: no point lies in the column.
    """
    rows = np.arange(len(scene.points)) if column is None else np.flatnonzero(column.holds(scene.points))
    if not len(rows):
        raise UserError(f"no point lies in the crop {column.name if column else WHOLE}")
    low, high = bounds(scene.points)
    if column is not None:
        low[[0, 2]], high[[0, 2]] = (column.x0, column.z0), (column.x1, column.z1)
    middle = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    origin = rows.astype(np.int32) if scene.origin is None else scene.origin[rows]
    return replace(
        scene,
        points=(scene.points[rows].astype(np.float64) - middle).astype(np.float32),
        colors=_rows(scene.colors, rows),
        normals=_rows(scene.normals, rows),
        part=_rows(scene.part, rows),
        instance=_rows(scene.instance, rows),
        origin=origin,
        boxes=None if scene.boxes is None else _boxes(scene.boxes, column, middle),
    )


def _rows(array: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if array is None else array[rows]


def _boxes(boxes: Boxes, column: Column | None, middle: np.ndarray) -> Boxes:
    """The boxes whose centre lies in the column, moved."""
    kept = np.ones(len(boxes.box), bool) if column is None else column.holds(boxes.box[:, :3])
    box = boxes.box[kept].astype(np.float64)
    box[:, :3] -= middle
    return replace(boxes, box=box, kind=boxes.kind[kept])


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """How scenes are cut. Make one with `Crop.chosen`."""

    kind: Literal["whole", "columns"]
    size: float
    """Side of a column, in metres."""
    stride: float
    """Distance between the beginnings of columns, in metres."""
    least: int
    """Fewest points of a column. Columns with fewer are left out."""

    @staticmethod
    def chosen(crop: str, size: str, stride: str, least: str) -> "Crop":
        """The crop for the options of a source, which are texts.

        Raises:
            UserError: a value is out of its range.
        """
        kind: Literal["whole", "columns"] = choice("option crop", crop, ("whole", "columns"))
        given = {"size": size, "stride": stride, "least": least}
        if kind == "whole" and (unused := [name for name, value in given.items() if value != USUAL[name]]):
            raise UserError(f"option {unused[0]}: a whole scene has none; set crop=columns, too")
        sides = [number(name, text, 1e-3, 1e4, "metres") for name, text in (("size", size), ("stride", stride))]
        made = Crop(kind=kind, size=sides[0], stride=sides[1], least=whole("least", least, 2, what="a number of points"))
        if made.stride > made.size:
            raise UserError(f"option stride: expected at most the size {size}, got {stride}; larger steps would leave points out")
        return made

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """The options of a source that give this crop, sorted by name."""
        if self.kind == "whole":
            return (("crop", "whole"),)
        said = {"crop": self.kind, "least": str(self.least), "size": repr(self.size), "stride": repr(self.stride)}
        return tuple(sorted(said.items()))

    def names(self, points: np.ndarray) -> tuple[list[str], int, int]:
        """The crops of a scene with points `[n, 3]`.

        Returns:
            The names of the crops with enough points, the number of columns that have some points but too few, and the number of points
            that lie in no crop.

        Raises:
            UserError: there are too many columns.
        """
        if self.kind == "whole":
            return [WHOLE], 0, 0
        found = self._columns(points)
        held, where = _held(points, found)
        enough = held >= self.least
        few = int(np.count_nonzero((held > 0) & ~enough))
        covered = np.zeros(len(points), bool)
        for one in where:
            covered |= (one >= 0) & enough[one]
        return [column.name for column, kept in zip(found, enough, strict=True) if kept], few, int(np.count_nonzero(~covered))

    def of(self, scene: Cloud, name: str) -> Cloud:
        """The crop of a scene that has this name.

        Raises:
            UserError: the scene has no such crop.
        """
        if self.kind == "whole":
            return cropped(scene, None)
        for column in self._columns(scene.points):
            if column.name == name:
                return cropped(scene, column)
        raise UserError(f"the scene has no crop {name!r} any more: its points changed after its crops were listed; list it again")

    def _columns(self, points: np.ndarray) -> tuple[Column, ...]:
        return columns(*bounds(points), self.size, self.stride)


def _held(points: np.ndarray, found: tuple[Column, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Count the points of columns, all columns at once.

    Args:
        points: `[n, 3]`.
        found: all columns of the scene, k of them, as `columns` orders them.

    Returns:
        The number of points in each column `[k]`, and arrays `[n]` that together name every column that a point lies in; -1 for none.
    """
    ranges = []
    for axis, begins, ends in ((0, "x0", "x1"), (2, "z0", "z1")):
        values = points[:, axis].astype(np.float64)
        starts, stops = (np.unique([getattr(column, name) for column in found]) for name in (begins, ends))
        first, last = np.searchsorted(stops, values, side="right"), np.searchsorted(starts, values, side="right") - 1
        ranges.append((first, last, len(starts)))
    (first_x, last_x, _), (first_z, last_z, along_z) = ranges
    counts, where = np.zeros(len(found), np.int64), []
    for i in range(int((last_x - first_x).max()) + 1):
        for j in range(int((last_z - first_z).max()) + 1):
            there = (first_x + i <= last_x) & (first_z + j <= last_z)
            where.append(np.where(there, (first_x + i) * along_z + first_z + j, -1))
            counts += np.bincount(where[-1][there], minlength=len(found))
    return counts, where


def listed(scenes: Iterable[Entry], crop: Crop, points: Callable[[Entry], np.ndarray]) -> tuple[list[Entry], list[str]]:
    """One entry for each crop of each scene, with the id `scene#crop` and the locator `locator#crop`.

    Args:
        scenes: one entry for each scene.
        crop: how the scenes are cut.
        points: reads the points `[n, 3]` of a scene exactly as its reader does. It is called only where scenes are cut into columns,
            and for one scene after the other.

    Returns:
        The entries, and notes about columns that were left out and scenes that cannot be read.
    """
    entries, few, lost, unread = list[Entry](), 0, 0, list[str]()
    for scene in scenes:
        names = [WHOLE]
        if crop.kind == "columns":
            try:
                names, here, alone = crop.names(points(scene))
                few, lost = few + here, lost + alone
            except UserError as error:
                names = [UNREAD]
                unread.append(f"{scene.id} ({error})")
        entries += [replace(scene, id=shape_id(f"{scene.id}#{name}"), locator=f"{scene.locator}#{name}") for name in names]
    return entries, _told(crop, few, lost, unread)


def _told(crop: Crop, few: int, lost: int, unread: list[str]) -> list[str]:
    notes = [
        "scenes are in metres; the recipes scenes and whole-scenes keep that, by points.normalize=none and points.dtype=float32, and "
        "without these settings each scene is scaled to one size"
    ]
    if few:
        where = f", and {lost:,} points lie in no crop" if lost else "; each of their points lies in another crop, too"
        advice = " (--set source.least=2 keeps almost all)" if crop.least > 2 else ""
        notes.append(f"{few:,} crops with fewer than {crop.least} points are left out{where}{advice}")
    if unread:
        notes.append(
            f"crops are unknown of {counted(len(unread), 'scene')} that cannot be read: {some(unread, 3, '; ')}; each is listed as one row "
            "that fails; mend them before the build, because a cache takes no further crops of a scene later"
        )
    return notes


def parted(locator: str) -> tuple[str, str]:
    """The locator of a scene and the name of its crop, from the locator of a crop."""
    scene, _, name = locator.rpartition("#")
    return scene, name


_last: dict[str, tuple[Hashable, Any]] = {}
"""By kind of thing: the last one that was made in this process, with its key."""


def remembered(what: str, key: Hashable, make: Callable[[], Kept]) -> Kept:
    """Make a thing, or return it again if it was the last one of its kind: crops of a scene are read one after the other.

    Args:
        what: the kind of thing.
        key: everything that it depends on, for example the size and time of its files.
        make: makes it. If it fails, nothing is kept.
    """
    kept = _last.get(what)
    if kept is None or kept[0] != key:
        _last.pop(what, None)  # so that two scenes are never in memory
        kept = (key, make())
        _last[what] = kept
    made: Kept = kept[1]
    return made
