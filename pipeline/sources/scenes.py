"""Scenes in files: the reader that the sources of scenes share, and what their files have in common.

A source of scenes makes its own reader from `SceneReader`: it says which files a scene has, and how they become a `Cloud`. The files have
+Z up; a scene has +Y up, metres, and its coordinates begin in the middle of its floor.

Letters: n points, m boxes.
"""

import abc
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.formats import table
from pipeline.geometry import GREY, Boxes, Cloud, finished_cloud
from pipeline.sources import crops
from pipeline.sources.catalog import Entry, Textures
from pipeline.sources.crops import Crop

COARSE: Final = 2e-3
"""Largest distance between neighbouring float32 coordinates that is not remarked, in metres. Far from the origin it is larger."""


@dataclass(frozen=True, kw_only=True)
class SceneReader(abc.ABC):
    """Reads crops of scenes. See `catalog.Reader`. The locator of a crop is `SCENE#CROP`."""

    kind: str
    location: str
    options: tuple[tuple[str, str], ...]
    textures: Textures
    crop: Crop

    @abc.abstractmethod
    def files(self, scene: str) -> list[Path]:
        """The files that a scene is made from, all of them existing.

        Raises:
            UserError: one is missing.
        """

    @abc.abstractmethod
    def scene(self, scene: str) -> Cloud:
        """The whole scene, +Y up, as `finished_scene` makes it.

        Raises:
            UserError: its files are damaged, or do not fit together.
        """

    def listed(self, scenes: Iterable[Entry]) -> tuple[list[Entry], list[str]]:
        """One entry for each crop of each scene, and notes. See `crops.listed`."""
        return crops.listed(scenes, self.crop, lambda scene: self.scene(scene.locator).points)

    def read(self, entry: Entry) -> Cloud:
        scene, name = crops.parted(entry.locator)
        key = (self.kind, self.location, self.options, scene, self._state(scene))
        whole = crops.remembered("scene", key, lambda: self.scene(scene))
        if name == crops.UNREAD:
            raise UserError("the scene could not be read when its crops were listed, and now it can: build a new cache")
        return self.crop.of(whole, name)

    def digest(self, entry: Entry) -> bytes:
        scene, _ = crops.parted(entry.locator)
        return crops.remembered("digest", (self.kind, self.location, scene, self._state(scene)), lambda: self._digest(scene))

    def _digest(self, scene: str) -> bytes:
        done = hashlib.sha256()
        for path in self.files(scene):
            with path.open("rb") as file:
                done.update(path.name.encode(errors="surrogateescape") + b"\0" + hashlib.file_digest(file, "sha256").digest())
        return done.digest()

    def _state(self, scene: str) -> tuple[tuple[str, int, int], ...]:
        """Name, size and time of the files of a scene, which change when it is mended."""
        states = [(path, path.stat()) for path in self.files(scene)]
        return tuple((str(path), state.st_size, state.st_mtime_ns) for path, state in states)


def present(path: Path) -> Path:
    """The path, if there is such a file.

    Raises:
        UserError: there is none.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path.parent.name}/{path.name}")
    return path


def other_files(folders: Iterable[Path], belongs: Callable[[str], object]) -> Counter[str]:
    """The number of files in folders that belong to no scene, by extension or reason.

    Args:
        folders: the folders. Those in them are not looked into.
        belongs: tells by its name whether a file belongs to a scene.
    """
    names = (path.name for folder in folders for path in folder.iterdir() if path.is_file() and not belongs(path.name))
    return Counter("hidden" if name.startswith(".") else Path(name).suffix.lower() or "no extension" for name in names)


def upright(places: NDArray[Any]) -> NDArray[Any]:
    """Turn places `[n, 3]` with +Z up so that +Y is up: x, y, z becomes x, z, -y, in float64."""
    turned = places[:, [0, 2, 1]].astype(np.float64)
    turned[:, 2] *= -1
    return turned


def finished_scene(
    points: NDArray[Any],
    colors: NDArray[np.uint8] | None,
    *,
    part: NDArray[Any] | None = None,
    instance: NDArray[Any] | None = None,
    boxes: Boxes | None = None,
    warnings: Sequence[str] = (),
) -> Cloud:
    """Make the cloud of a scene from what its files say.

    The middle of its footprint comes to x = z = 0 and its lowest point to y = 0. `origin` is the row in `points`, and points that are not
    finite are left out, with their labels.

    Args:
        points: `[n, 3]`, +Z up, in metres.
        colors: `[n, 3]`, or None.
        part: class of each point `[n]`, -1 for none.
        instance: object of each point `[n]`, -1 for none.
        boxes: centre, size and angle with +Y up, but in the coordinates of the file.
        warnings: remarks about the files.

    Raises:
        UserError: no point is left.
    """
    if not len(points):
        raise UserError("the scene has no points")
    placed = upright(points)
    real = placed[np.isfinite(placed).all(axis=1)]
    if not len(real):
        raise UserError(f"none of the scene's {len(points):,} points is finite: all are NaN or infinity")
    low, high = crops.bounds(real)
    middle = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    said = [*warnings]
    if (
        points.dtype.kind == "f"
        and points.dtype.itemsize < 8
        and (step := float(np.spacing(points.dtype.type(np.abs(real).max())))) > COARSE
    ):
        said.append(f"coordinates reach {np.abs(real).max():.3g} in {points.dtype}, which is exact to {step:.2g} m: save them as float64")
    cloud = finished_cloud(
        placed - middle,
        colors,
        part=None if part is None else part.astype(np.int16),
        instance=None if instance is None else instance.astype(np.int32),
        origin=np.arange(len(points), dtype=np.int32),
    )
    if boxes is not None:
        box = boxes.box.astype(np.float64)
        box[:, :3] -= middle
        boxes = replace(boxes, box=box)
    return replace(cloud, boxes=boxes, warnings=(*said, *cloud.warnings))


UNKNOWN: Final = 128
"""Number of boxes that are reserved for a scene whose files cannot be read when it is listed."""


def room_for(counts: Iterable[int | None], crop: Crop) -> int:
    """The number of boxes that a cache has room for in each row.

    A broken whole scene may be mended later, and must find room then. A broken scene that is cut into columns takes a new cache anyway.

    Args:
        counts: the number of boxes of each scene, or a little more; None for a scene that cannot be read.
        crop: how scenes are cut.
    """
    unknown = UNKNOWN if crop.kind == "whole" else 0
    return max((unknown if count is None else count for count in counts), default=0) or 1  # an array of boxes has room for one at least


def boxes_around(points: NDArray[Any], instance: NDArray[Any], kinds: dict[int, int]) -> Boxes:
    """Axis-aligned boxes around the points of objects.

    Args:
        points: `[n, 3]`, +Z up.
        instance: object of each point `[n]`.
        kinds: by object that gets a box: its class. Objects without a finite point get none.

    Returns:
        Boxes `[m, 7]` with +Y up, in order of the objects.
    """
    placed = upright(points)
    order = np.argsort(instance, kind="stable")
    sorted_ = instance[order]
    found: list[NDArray[Any]] = []
    kind: list[int] = []
    for number in sorted(kinds):
        rows = order[np.searchsorted(sorted_, number) : np.searchsorted(sorted_, number, side="right")]
        mine = placed[rows]
        mine = mine[np.isfinite(mine).all(axis=1)]
        if len(mine):
            low, high = mine.min(axis=0), mine.max(axis=0)
            found.append(np.concatenate([(low + high) / 2, high - low, [0.0]]))
            kind.append(kinds[number])
    return Boxes(box=np.array(found, np.float64).reshape(-1, 7), kind=np.array(kind, np.int32))


def kinds_of(instance: NDArray[Any], part: NDArray[Any], place: Sequence[int]) -> dict[int, int]:
    """The class of each object, for `boxes_around`: the most frequent one of its points.

    Args:
        instance: object of each point `[n]`, -1 for none.
        part: class of each point `[n]`, -1 for none.
        place: by class of points: that of boxes, -1 for none.
    """
    there = (instance >= 0) & (part >= 0)
    pairs, counts = np.unique(np.column_stack([instance[there], part[there]]), axis=0, return_counts=True)
    found: dict[int, int] = {}
    for number, kind in pairs[np.argsort(counts, kind="stable")].tolist():  # the most frequent one comes last and stays
        found[number] = place[kind]
    return {number: kind for number, kind in found.items() if kind >= 0}


COORDINATES: Final = "coord.npy"
"""Name of the points in a folder of arrays."""


def array_files(scene: Path, classes: str) -> list[Path]:
    """The files of a scene in a folder of arrays, as Pointcept prepares scenes (https://github.com/Pointcept/Pointcept). Only the points
    must be there.

    Args:
        scene: the folder.
        classes: name of the file of classes.

    Raises:
        UserError: there are no points.
    """
    more = (scene / name for name in ("color.npy", classes, "instance.npy"))
    return [present(scene / COORDINATES), *(path for path in more if path.is_file())]


def from_arrays(scene: Path, classes: str, count: int) -> tuple[NDArray[Any], dict[str, Any]]:
    """A scene in a folder of arrays. See `array_files`.

    Args:
        scene: the folder.
        classes: name of the file of classes.
        count: number of classes.

    Returns:
        The points `[n, 3]`, +Z up, and the arguments colors, part, instance and warnings of `finished_scene`.

    Raises:
        UserError: a file is damaged, or does not fit to the points.
    """
    points = array(scene / COORDINATES, 3, "x y z")
    rows = {"color.npy": 3, classes: None, "instance.npy": None}
    found: dict[str, NDArray[Any] | None] = {}
    for name, width in rows.items():
        path = scene / name
        found[name] = array(path, width, "one row for each point") if path.is_file() else None
        if (values := found[name]) is not None and len(values) != len(points):
            raise UserError(f"{scene.name}/{name} has {len(values):,} rows for {len(points):,} points")
    colors, said = (None, ["there is no color.npy"]) if found["color.npy"] is None else colors_from(found["color.npy"], 255, "color.npy")
    part, instance = found[classes], found["instance.npy"]
    said += [
        f"there is no {name}: {what} are unknown"
        for name, what in ((classes, "classes"), ("instance.npy", "objects"))
        if found[name] is None
    ]
    if (scene / "normal.npy").is_file():
        said.append("normal.npy is not read: normals are estimated from the points")
    if part is not None:
        part = whole_numbers(part, -1, count - 1, classes)
    if instance is not None:
        instance = whole_numbers(instance, -1, 2**31 - 1, "instance.npy")
    return points, {"colors": colors, "part": part, "instance": instance, "warnings": said}


def array(path: Path, width: int | None, what: str) -> NDArray[Any]:
    """An array of numbers from a .npy file.

    Args:
        path: the file.
        width: number of columns; None for one value a row `[n]` (also stored as `[n, 1]`).
        what: what a row means, for messages.

    Raises:
        UserError: the file is missing or damaged, holds Python objects, or has another shape.
    """
    try:
        with present(path).open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
    except table.NO_ARRAY as error:
        raise UserError(_unreadable(path.name, error)) from error
    if not isinstance(loaded, np.ndarray):
        raise UserError(f"{path.name} is an archive of arrays (.npz) under the name .npy")
    return shaped(loaded, width, f"{path.name}: {what}")


def _unreadable(name: str, error: Exception) -> str:
    if "Object arrays" in str(error):
        return f"{name} holds Python objects, which are never unpickled; save it as an array of numbers"
    return f"{name} cannot be read as an array, damaged or cut short? ({error})"


def shaped(values: NDArray[Any], width: int | None, what: str) -> NDArray[Any]:
    """The array, if it holds numbers and has this many columns; see `array`. An array `[0]` has no rows: a scene without boxes."""
    if values.dtype.kind not in "fiub":
        raise UserError(f"{what}: expected numbers, got the type {values.dtype}")
    if width is not None and values.shape == (0,):
        values = values.reshape(0, width)
    if width is None and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != (1 if width is None else 2) or (width is not None and values.shape[1] != width):
        expected = "[n]" if width is None else f"[n, {width}]"
        raise UserError(f"{what}: expected the shape {expected}, got {list(values.shape)}")
    return values


def labels_of_points(path: Path, points: Path, count: int) -> NDArray[Any]:
    """The labels `[count]` in a .npy file.

    Args:
        path: the file.
        points: the file of the points, for messages.
        count: number of the points.

    Raises:
        UserError: the file is missing or damaged, or has another number of labels.
    """
    values = array(path, None, "one label for each point")
    if len(values) != count:
        raise UserError(f"{path.name} has {len(values):,} labels for the {count:,} points of {points.name}")
    return values


def rows_of_boxes(path: Path, width: int, what: str) -> NDArray[np.float64]:
    """The boxes `[m, width]` in a .npy file; see `array`. Columns 0 to 2 are the centre, 3 to 5 the size.

    Raises:
        UserError: the file is missing or damaged, a size is negative, or a number is not finite.
    """
    values = array(path, width, what).astype(np.float64)
    if not np.isfinite(values).all() or (values[:, 3:6] < 0).any():
        raise UserError(f"{path.name}: a box has a negative size or numbers that are not finite")
    return values


def whole_numbers(values: NDArray[Any], low: int, high: int, what: str) -> NDArray[np.int64]:
    """Labels as int64.

    Raises:
        UserError: one is no whole number from `low` to `high`.
    """
    wrong = ~((values >= low) & (values <= high) & (values == np.rint(values)))  # also where it is NaN
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(f"{what}: row {row} has {values[row]:g}, expected a whole number from {low} to {high}")
    return values.astype(np.int64)


def colors_from(values: NDArray[Any], top: Literal[1, 255], what: str) -> tuple[NDArray[np.uint8], list[str]]:
    """Colours `[n, 3]` as bytes, and remarks. Colours that are not finite become grey.

    Args:
        values: colours from 0 to `top`.
        top: what the layout says is white.
        what: name of the file, for messages.

    Raises:
        UserError: a colour is out of its range.
    """
    bad = ~np.isfinite(values).all(axis=1)
    rest = values[~bad]
    # A resampled or rounded colour may lie just outside.
    if rest.size and (rest.min() < -0.005 * top or rest.max() > 1.005 * top):
        raise UserError(f"{what}: colours reach from {rest.min():g} to {rest.max():g}, expected 0 to {top}")
    said = [f"{np.count_nonzero(bad):,} of {len(bad):,} colours are no numbers and become grey"] if bad.any() else []
    if top == 255 and rest.size and 0 < rest.max() <= 1 and np.any(rest != np.rint(rest)):
        if rest.min() < -0.005:
            raise UserError(f"{what}: colours reach from {rest.min():g} to {rest.max():g}, expected 0 to {top}, or 0 to 1")
        said.append(f"colours reach from {rest.min():g} to {rest.max():g}, so 1 is taken as white instead of 255")
        top = 1
    scaled = np.where(bad[:, None], GREY, np.clip(np.nan_to_num(values.astype(np.float64)) / top, 0, 1))
    return np.rint(scaled * 255).astype(np.uint8), said
