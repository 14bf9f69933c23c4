"""PartNet as it is distributed for segmentation: HDF5 files of clouds of 10,000 points with a part, and with the object, of each point.

    open_source("sem_seg_h5/", level="3")              # CATEGORY-LEVEL/{train,val,test}-NN.h5: data [n, 10000, 3], label_seg [n, 10000]
    open_source("sem_seg_h5/Chair-1/")
    open_source("ins_seg_h5_for_detection/Chair-3/")   # pts, gt_label, gt_mask [n, 200, 10000], gt_valid [n, 200]; .json with ids
    open_source("ins_seg_h5_gt/Chair-3/")              # pts, gt_mask, gt_mask_label, gt_mask_valid: the same for the test split
    open_source("ins_seg_h5/", level="3")              # CATEGORY/train-00.h5: pts, nor, rgb, label; .json with the leaves of each part

Source of the layouts: https://github.com/daerduoCarey/partnet_seg_exps. A point of a part that the level does not name ("other", label 0)
has no part (-1), as the official scores leave it out. Label k is line k of `after_merging_label_ids/CATEGORY-level-LEVEL.txt` (of
https://github.com/daerduoCarey/partnet_dataset, folder stats), whose second word is the name. This folder is looked for in the location, in
`stats` there, and in the folders above; the option `names` gives another place. Without it parts are called `chair 1`, `chair 2`, and the
labels of all shapes are read to count them.

Option `level`: 1, 2 or 3, needed where the location holds several levels. Id: folder and number of the annotation (`Chair-3/43001`) where a
.json of this name lies beside the file, else file and row (`Chair-3/train-00.h5/000012`). Label: the category (`trash can`). Split: from
the name of the file. `train_files.txt` and the like choose the files; a file that they name and that is missing stops the listing.
Up axis, by the option `up`: `y` (default) or `z`.
"""

import functools
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline import geometry
from pipeline.formats import columns
from pipeline.formats.labels import MOST, whole
from pipeline.reading import decoded
from pipeline.sources import hdf5, splits
from pipeline.sources.catalog import Entry, Labelled, Source, Textures, shape_id, shape_text
from pipeline.sources.files import find_files
from pipeline.sources.folders import folder_at, folders_in
from pipeline.sources.options import choice

LOOKS_FOR: Final = "CATEGORY-LEVEL/train-00.h5 with label_seg or gt_mask"

FOLDER: Final = re.compile(r"([A-Za-z]+)(?:-([123]))?")
"""Pattern for the name of a folder: category and level. `ins_seg_h5` has all levels in one folder."""

POINTS: Final = ("data", "pts")
"""Data sets of points, of semantic and of instance segmentation."""

LABELS: Final = ("label_seg", "gt_label", "gt_mask_label", "label")
"""Data sets of labels: two for points with 0 for other, one for masks without other, one with leaves of the hierarchy of parts."""

RAW: Final = "label"
"""Data set of `ins_seg_h5` with a leaf of the hierarchy of parts for each point. The .json beside says of which part a leaf is."""

VALID: Final = ("gt_valid", "gt_mask_valid")
"""Data sets that tell which masks are objects."""

NAMES: Final = "after_merging_label_ids"
"""Folder with the names of parts."""

GLANCE: Final = 10
"""Number of files that are looked into to recognise the source. Some may be damaged."""

CHUNK: Final = 64
"""Number of shapes whose labels are read at once when they are counted."""


@dataclass(frozen=True, kw_only=True)
class RowReader:
    """Reads clouds of PartNet. See `catalog.Reader`. A locator is `FILE#ROW`."""

    kind: str = "partnet"
    location: str
    root: str
    """Absolute path that locators are relative to."""
    up: Literal["y", "z"]
    first: tuple[tuple[str, int, int], ...]
    """(CATEGORY-LEVEL, index of its first part, number of its parts)."""
    parts: tuple[str, ...]
    """Names of all parts."""
    level: str
    """The option `level`; empty where folders have one level."""
    options: tuple[tuple[str, str], ...]
    textures: Textures

    def read(self, entry: Entry) -> geometry.Geometry:
        row = self._row(entry)
        points = next(row[key] for key in POINTS if key in row)
        if points.ndim != 2 or points.shape[1] != 3:
            raise UserError(f"expected points [n, 3], got {list(points.shape)}")
        start, count = next((start, count) for name, start, count in self.first if name == self._group(entry))
        instance, labels = self._labelled(entry, row, self.parts[start : start + count], len(points))
        if labels.min(initial=0) < 0 or labels.max(initial=0) > count:
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise UserError(f"the label {wrong} of a point; {self._group(entry)} has the labels 0 (other) to {count}")
        part = np.where(labels > 0, labels - 1 + start, -1).astype(np.int16)
        normals, colors = row.get("nor"), row.get("rgb")
        if any(array is not None and array.shape != points.shape for array in (normals, colors)):
            raise UserError(f"expected nor and rgb of the shape of the points, {list(points.shape)}")
        warnings: list[str] = []
        shades = None if colors is None else columns.as_bytes(colors, warnings.append, "rgb")
        cloud = geometry.Cloud(points=points, normals=normals, colors=shades, part=part, instance=instance, warnings=tuple(warnings))
        return geometry.finished(cloud, self.up)

    def _labelled(
        self, entry: Entry, row: dict[str, NDArray[Any]], names: Sequence[str], count: int
    ) -> tuple[NDArray[np.int32] | None, NDArray[np.int64]]:
        """The object `[count]` of each point (-1 for none; None where the file has no objects) and its label (from 1, 0 for other)."""
        if RAW in row:
            return _of_leaves(row[RAW], self._record(entry).get("ins_seg"), names, count)
        instance = _instances(row, count)
        return instance, _labels(row, instance, count)

    def digest(self, entry: Entry) -> bytes:
        """See `catalog.Reader`. The digest covers the points and all labels."""
        total = hashlib.sha256()
        for key, array in sorted(self._row(entry).items()):
            total.update(key.encode() + hdf5.digest_of(array).digest())
            if key == RAW:
                total.update(json.dumps(self._record(entry), sort_keys=True).encode())
        return total.digest()

    def _group(self, entry: Entry) -> str:
        """CATEGORY-LEVEL of a shape."""
        return _group(entry.locator, self.level)

    def _record(self, entry: Entry) -> dict[str, Any]:
        """What the .json beside its file says about a shape."""
        name, _, row = entry.locator.rpartition("#")
        path = Path(self.root, name).with_suffix(".json")
        if not path.is_file():
            raise UserError(f"no such file: {path.name}, which says what the labels in {Path(name).name} mean")
        records = _records(path, path.stat().st_mtime_ns)
        if int(row) >= len(records):
            raise UserError(f"{path.name} describes {len(records)} shapes, and this is number {row}, counted from 0")
        return records[int(row)]

    def _row(self, entry: Entry) -> dict[str, NDArray[Any]]:
        """By name of a data set: its row for this shape."""
        name, _, row = entry.locator.rpartition("#")
        with hdf5.opened(Path(self.root), name) as file:
            held = [key for key in (*POINTS, *LABELS, *VALID, "gt_mask", "nor", "rgb") if key in file]
            keys = [key for key in held if key != RAW or not set(LABELS[:3]) & set(held)]
            return {key: hdf5.one_row(hdf5.reached(file, key, Path(self.root)), int(row), f"{name}, {key}") for key in keys}


@functools.lru_cache(maxsize=4)
def _records(path: Path, changed: int) -> list[dict[str, Any]]:
    """The records in a .json file. `changed` is the time of its last change, so that a repaired file is read again.

    Raises:
        UserError: it is no list of records with `anno_id`.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(records, list) or not all("anno_id" in record for record in records):
            raise ValueError("a record has no anno_id")
    except (ValueError, TypeError) as error:
        raise UserError(f"{path.name} cannot be read as a list of records with anno_id: {error}") from error
    return records


def _group(name: str, level: str) -> str:
    """CATEGORY-LEVEL of an HDF5 file below the root; empty for a folder of another name, or for `ins_seg_h5` without the option `level`."""
    match = FOLDER.fullmatch(Path(name).parent.name)
    return "" if match is None or not (match[2] or level) else f"{match[1]}-{match[2] or level}"


def _of_leaves(leaves: NDArray[Any], held: Any, names: Sequence[str], count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The object `[count]` of each point (-1 for none) and its label (from 1, 0 for other), from leaves of the hierarchy of parts.

    Args:
        leaves: `[count]` leaf of each point.
        held: the field `ins_seg` of the shape's record: a list of `part_name` and `leaf_id_list`.
        names: the parts of the level, in the order of their labels. Other parts of the hierarchy are passed over.
        count: number of points.

    Raises:
        UserError: the record is otherwise, or a point is in two objects of the level.
    """
    instance, labels = np.full(count, -1, np.int32), np.zeros(count, np.int64)
    if leaves.shape != (count,) or not isinstance(held, list):
        raise UserError(f"expected label [{count}] and, in the .json, a list ins_seg, got {list(leaves.shape)} and {held!r:.20}")
    number = 0
    for item in held:
        if not (isinstance(item, dict) and isinstance(item.get("part_name"), str) and isinstance(item.get("leaf_id_list"), list)):
            raise UserError(f"expected part_name and leaf_id_list for each object in the list ins_seg of the .json, got {item!r:.60}")
        if item["part_name"] not in names:
            continue
        mine = np.isin(leaves, item["leaf_id_list"])
        if (instance[mine] >= 0).any():
            raise UserError(
                f"{np.count_nonzero(instance[mine] >= 0):,} points of {item['part_name']} are in another object of the level, too"
            )
        instance[mine], labels[mine] = number, names.index(item["part_name"]) + 1
        number += bool(mine.any())
    return instance, labels


def _instances(row: dict[str, NDArray[Any]], count: int) -> NDArray[np.int32] | None:
    """The object `[n]` of each point, -1 for none; None where the file has no masks.

    Raises:
        UserError: masks are of another size, overlap, or nothing tells which are objects.
    """
    if "gt_mask" not in row:
        return None
    masks, valid = row["gt_mask"], next((row[key] for key in VALID if key in row), None)
    if valid is None or masks.ndim != 2 or masks.shape != (len(valid), count):
        shape = None if valid is None else list(valid.shape)
        raise UserError(f"expected gt_mask [objects, {count}] and gt_valid [objects], got {list(masks.shape)} and {shape}")
    used = masks.astype(bool) & valid.astype(bool)[:, None]  # [objects, n]
    if (several := np.count_nonzero(used.sum(axis=0) > 1)) != 0:
        raise UserError(f"{several:,} points are in more than one object (gt_mask)")
    return np.where(used.any(axis=0), used.argmax(axis=0), -1).astype(np.int32)


def _labels(row: dict[str, NDArray[Any]], instance: NDArray[np.int32] | None, count: int) -> NDArray[np.int64]:
    """The label `[n]` of each point, from 1; 0 for other.

    Raises:
        UserError: there are labels for another number of points or masks, or one is no whole number.
    """
    of_points = next((row[key] for key in LABELS[:2] if key in row), None)
    if of_points is not None:
        if of_points.shape != (count,):
            raise UserError(f"{count:,} points, but labels {list(of_points.shape)}")
        return whole(of_points, "the label")
    of_masks = row.get(LABELS[2])
    if of_masks is None or instance is None or of_masks.shape != (len(row["gt_mask"]),):
        raise UserError(f"expected one of {', '.join(LABELS)}")
    return np.where(instance >= 0, whole(of_masks, "the label")[instance] + 1, 0)


# ----------------------------------------------------------------------------------------------------------------- listing


def recognises(location: str) -> bool:
    """Whether there is a folder CATEGORY-LEVEL, or it is one, with HDF5 files that have labels of points."""
    path = Path(location)
    if not path.is_dir():
        return False
    folders = [path.absolute(), *folders_in(path)][: hdf5.GLANCE]
    files = (file for one in folders if FOLDER.fullmatch(one.name) for file in sorted(one.glob("*.h5")) if not file.name.startswith("."))
    return any(_labelled_file(file) for file in itertools.islice(files, GLANCE))


def _labelled_file(path: Path) -> bool:
    """Whether an HDF5 file has labels of points of PartNet. A damaged file has none."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            keys = set(file)
    except (OSError, RuntimeError, ValueError):
        return False
    if "-" not in path.parent.name:
        return {"pts", RAW} <= keys and path.with_suffix(".json").is_file()
    return bool(set(LABELS[:3]) & keys) and bool(set(POINTS) & keys)


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    level: str = "",
    names: str = "",
    up: str = "y",
    split: str = "",
    split_seed: str = "0",
) -> Source:
    """Lists PartNet. The options are explained at the head of this module."""
    axis: Literal["y", "z"] = choice("option up", up, ("y", "z"))
    choice("option level", level, ("", "1", "2", "3"))
    recorded = splits.settings(split, split_seed)
    root = folder_at(location)
    folder, root = root, root.parent if FOLDER.fullmatch(root.name) and list(root.glob("*.h5")) else root
    files, skipped = find_files(folder, hdf5.EXTENSIONS)
    files = [(folder / name).relative_to(root).as_posix() for name in files]
    told = {(folder / name).relative_to(root).as_posix(): one for name, one in _file_lists(folder, root, files).items()}
    groups = _groups(files, level, skipped)
    place = _names_folder(names, folder)
    if place is None and any("-" not in Path(name).parent.name for held in groups.values() for name in held):
        raise UserError(f"ins_seg_h5 needs the names of the parts of each level: put the folder {NAMES} beside it, or set names=FOLDER")
    notes: list[str] = []
    entries: list[Entry] = []
    first, parts, masked = [], list[str](), False
    for group, held in groups.items():
        chosen = [name for name in held if name in told or not any(one.rpartition("/")[0] == _folder(name) for one in told)]
        skipped[".h5 in no list"] += len(held) - len(chosen)
        found, most, masks = _rows(root, chosen, place is None)
        mine = _names(place, group, most, notes)
        first.append((group, len(parts), len(mine)))
        parts += mine
        masked |= masks
        entries += found
    if len(set(parts)) < len(parts) or len(parts) > MOST:
        twice = next((name for name, times in Counter(parts).items() if times > 1), None)
        raise UserError(f"{f'two parts are called {twice!r}' if twice else f'{len(parts):,} parts are too many'}; take fewer categories")
    entries, said = splits.finished(entries, split, split_seed, "names of files")
    notes += [*said, f"+{up.upper()} is taken for up; choose with --set source.up=y|z"]
    options = tuple(sorted((("level", level), ("up", up), *recorded) if level else (("up", up), *recorded)))
    reader = RowReader(
        location=str(folder),
        root=str(root),
        up=axis,
        first=tuple(first),
        parts=tuple(parts),
        level=level,
        options=options,
        textures=textures,
    )
    return Source.of(reader, entries, +skipped, notes, labelled=Labelled(parts=tuple(parts), instances=masked))


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _file_lists(folder: Path, root: Path, files: Sequence[str]) -> dict[str, str]:
    """By HDF5 file below `folder`: its split, according to `train_files.txt` and the like. See `hdf5.file_lists`."""
    return hdf5.file_lists(folder, "*_files.txt", [Path(root, name).relative_to(folder).as_posix() for name in files])


def _groups(files: Sequence[str], level: str, skipped: Counter[str]) -> dict[str, list[str]]:
    """By CATEGORY-LEVEL: its files.

    Raises:
        UserError: there are several levels and none is chosen, or none of the chosen level.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(files):
        if FOLDER.fullmatch(Path(name).parent.name) and splits.split_named(Path(name).stem) and not _group(name, level):
            raise UserError("ins_seg_h5 holds all levels of PartNet; set the option level to 1, 2 or 3")
        if (group := _group(name, level)) and splits.split_named(Path(name).stem):
            found.setdefault(group, []).append(name)
        else:
            skipped[".h5 elsewhere"] += 1
    levels = sorted({group[-1] for group in found})
    if len(levels) > 1 and not level:
        raise UserError(f"the levels {', '.join(levels)} of PartNet are here; set the option level to one of them")
    if level and level not in levels:
        raise UserError(f"option level: no folder CATEGORY-{level} is here, only levels {', '.join(levels) or 'of nothing'}")
    kept = {group: held for group, held in found.items() if not level or group[-1] == level}
    skipped["of another level"] += sum(map(len, found.values())) - sum(map(len, kept.values()))
    return kept


def _names_folder(names: str, folder: Path) -> Path | None:
    """The folder with the names of parts; None where there is none.

    Raises:
        UserError: the option `names` gives no such folder.
    """
    if names:
        given = folder_at(names)
        place = given / NAMES if (given / NAMES).is_dir() else given
        if not list(place.glob("*-level-*.txt")):
            raise UserError(f"option names: {names!r} holds no files CATEGORY-level-LEVEL.txt")
        return place
    above = [folder, *list(folder.parents)[:3]]
    return next((one for base in above for one in (base / NAMES, base / "stats" / NAMES) if one.is_dir()), None)


def _names(place: Path | None, group: str, most: int, notes: list[str]) -> list[str]:
    """Names of the parts of a category.

    Args:
        place: the folder with names; None for none.
        group: CATEGORY-LEVEL.
        most: the largest label, where there is no folder.

    Raises:
        UserError: the file of names is missing or has an odd line.
    """
    category, level = group.split("-")
    if place is None:
        words = _words(category)
        notes.append(f"{group}: nothing names its {most} parts ({NAMES}), so they are called {words} 1 to {words} {most}; set names=FOLDER")
        return [f"{words} {number}" for number in range(1, most + 1)]
    path = place / f"{category}-level-{level}.txt"
    if not path.is_file():
        raise UserError(f"{path.name} is missing in {NAMES}; without names set names to another folder, or move the folder away")
    found = []
    for number, line in enumerate(decoded(path.read_bytes()).splitlines(), 1):
        words_of = line.split()
        if words_of and (len(words_of) < 2 or not words_of[0].isdecimal()):
            raise UserError(f"{path.name}, line {number}: expected NUMBER NAME, got {line[:60]!r}")
        if words_of:
            found.append(shape_text(words_of[1]))
    return found


def _words(category: str) -> str:
    """The name of a category in words: `StorageFurniture` is `storage furniture`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", category).lower()


def _rows(root: Path, names: Sequence[str], count: bool) -> tuple[list[Entry], int, bool]:
    """The entries of the files of one category, its largest label (0 unless `count`), and whether there are masks of objects."""
    entries: list[Entry] = []
    most, masked = 0, False
    for name in names:
        text, split = shape_text(name), splits.split_named(Path(name).stem)
        with hdf5.opened(root, name) as file:
            points = next((key for key in POINTS if key in file), "")
            labels = next((key for key in LABELS if key in file), "")
            if not points or not labels:
                raise UserError(f"{text}: expected {' or '.join(POINTS)}, and {' or '.join(LABELS)}; it holds {hdf5.held(file)}")
            clouds, given = hdf5.reached(file, points, root), hdf5.reached(file, labels, root)
            hdf5.check_clouds(clouds, f"{text}, {points}", file)
            expected = clouds.shape[:2] if labels != LABELS[2] else (len(clouds), *given.shape[1:2])
            if given.shape != expected:
                raise UserError(f"{text}, {labels}: expected {list(expected)}, got {list(given.shape)}")
            masked |= "gt_mask" in file or labels == RAW
            most = max(most, _largest(given) + (labels == LABELS[2])) if count else 0
            total = len(clouds)
        category = _words(Path(name).parent.name.split("-")[0])
        for row, one in enumerate(_ids(root / name, text, total)):
            entries.append(Entry(id=shape_id(one), locator=f"{name}#{row}", label=category, split=split))
    return entries, most, masked


def _largest(labels: h5py.Dataset) -> int:
    """The largest whole number in a data set; 0 for none. What is no number is found when its shape is read."""
    largest = 0
    for start in range(0, len(labels), CHUNK):
        values = np.asarray(labels[start : start + CHUNK])
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        largest = max(largest, int(values.max(initial=0)))
    return largest


def _ids(path: Path, text: str, count: int) -> list[str]:
    """The ids of the rows of a file: from the .json beside it, else file and row.

    Raises:
        UserError: the .json cannot be read, or describes another number of shapes.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return [f"{text}/{row:06d}" for row in range(count)]
    numbers = [shape_text(str(record["anno_id"])) for record in _records(beside, beside.stat().st_mtime_ns)]
    if len(numbers) != count:
        raise UserError(f"{beside.name} describes {len(numbers)} shapes, and {path.name} holds {count}")
    return [f"{text.rpartition('/')[0]}/{number}" for number in numbers]


def example(folder: Path) -> str:
    rng = np.random.default_rng(0)
    (folder / "Chair-1").mkdir()
    for split in ("train", "val", "test"):
        with h5py.File(folder / "Chair-1" / f"{split}-00.h5", "w") as file:
            file["data"] = rng.normal(size=(2, 64, 3)).astype(np.float32)
            file["data_num"] = np.full(2, 64, np.int32)
            file["label_seg"] = np.tile(np.arange(64) % 3, (2, 1)).astype(np.uint8)
        (folder / "Chair-1" / f"{split}_files.txt").write_text(f"./{split}-00.h5\n")
    return str(folder)
