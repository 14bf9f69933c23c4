"""Point clouds in HDF5: ModelNet40's `ply_data_*`, ScanObjectNN's three variants, or any file with clouds [N, n, 3].

    open_source("modelnet40_ply_hdf5_2048/")
    open_source("h5_files/", variant="PB_T50_RS")     # ScanObjectNN: OBJ_BG, OBJ_ONLY or PB_T50_RS, in main_split/ or main_split_nobg/
    open_source("clouds.h5", up="z", keys="features/xyz,targets")

A file holds clouds `data` [N, n, c] (or points, pc, xyz, clouds ...) and where there are labels `label` (or labels, y, cls, class ...). The
option `keys=CLOUDS,LABELS,COLOURS` gives other names; an empty name means the usual ones. `pipeline.formats.columns` decides whether
columns after x, y, z are colours or normals, or are left out. Colours may also be in a data set `rgb` [N, n, 3], and normals in `normal`
[N, n, 3].

Labels are numbers [N] or [N, 1] (-1 is none), one-hot rows [N, C], or texts. Class names for numbers come from a file `shape_names.txt`
beside the file, from a data set or attribute `classes` or `names` in it, or from a list of the name of each row beside it
(`train0_id2name.json`). The names of ScanObjectNN are in this module. Without names, classes are called `class_3`. `label=none` leaves
labels out.

Labels of points [N, n] or [N, n, 1] are read as labels of parts if the option `labels=KEY` names them. `parts=leg,seat` or
`parts=1:leg,2:seat` names the parts, else a pass over all labels lists them.

Split: train, val or test from the name of the file, in any case, else from the folders on its path. `split=0.8` makes a split by a hash of
the id, see `splits.made`. Id: file and row, `ply_data_train0.h5/000012`.
Up axis, by the option `up`: `y` (default: ModelNet40's and ScanObjectNN's clouds are distributed with +Y up) or `z`. PointNet's blocks of
S3DIS (`ply_data_all_0.h5` with `room_filelist.txt`) have +Z up, and are refused with the other one.

A file that cannot be opened stops the listing, because the number of its shapes is unknown. So does a file that is missing although a list
names it (`train_files.txt`, `all_files.txt`, `train_hdf5_file_list.txt`). A row that is no cloud fails alone when it is
read. Files are opened for each read, which takes one or two milliseconds and is safe in any number of processes. Links to data outside
the file are not followed.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from cache_schema import class_lists
from cache_schema.axes import UP
from cache_schema.errors import UserError
from cache_schema.terminal import some
from pipeline import geometry
from pipeline.formats import columns
from pipeline.formats.labels import Labelling, Labels, vocabulary
from pipeline.formats.table import oriented
from pipeline.reading import decoded
from pipeline.sources import splits
from pipeline.sources.catalog import Entry, Labelled, Source, Textures, shape_id, shape_text
from pipeline.sources.files import find_files
from pipeline.sources.folders import folder_at
from pipeline.sources.options import choice

LOOKS_FOR: Final = "an .h5 file, or a folder with .h5 files such as ply_data_*.h5 or train.h5 and test.h5"

EXTENSIONS: Final = (".h5", ".hdf5")
FILE_LISTS: Final = ("*_files.txt", "*_file_list.txt")
"""Patterns for the names of lists of HDF5 files."""

VARIANTS: Final = {
    "OBJ_BG": ("main_split", "_objectdataset.h5"),
    "OBJ_ONLY": ("main_split_nobg", "_objectdataset.h5"),
    "PB_T50_RS": ("main_split", "_objectdataset_augmentedrot_scale75.h5"),
}
"""By variant of ScanObjectNN: its folder, and the end of its two file names, after `training` and `test`."""

SPLIT_FOLDER: Final = re.compile(r"(main_)?split\w*")
"""Names of folders that tell which variants of ScanObjectNN are in them."""

SCAN_CLASSES: Final = class_lists.names("scanobjectnn")
"""ScanObjectNN's labels, in the order of their numbers."""

LABEL_KEYS: Final = (
    "label",
    "labels",
    "y",
    "cls",
    "class",
    "classid",
    "classids",
    "labelid",
    "labelids",
    "category",
    "categories",
    "target",
    "targets",
    "classlabel",
    "classlabels",
    "gt",
)
"""Names of labels, as `columns.plain` gives them. The first that a file has is used."""

NAME_KEYS: Final = ("classes", "classnames", "names", "shapenames", "labelnames", "categorynames", "classname")
"""Names of lists of class names, as `columns.plain` gives them."""

ROWS: Final = 2_000_000
"""Largest number of shapes in one file. A damaged or hostile file can declare any number in a few bytes."""

DENSEST: Final = 200
"""Largest ratio of declared to stored bytes. Above it, the file was not written to its end, and HDF5 would return zeros for the rest."""

ROW_BYTES: Final = 4 << 30
"""Largest size of a shape, in bytes."""

LABEL_VALUES: Final = 500_000_000
"""Largest number of values in an array of labels."""

BLOCKS: Final = "room_filelist.txt"
"""Name of the file that tells the room of each of PointNet's blocks of S3DIS."""

GLANCE: Final = 100
"""Number of subfolders that are looked into to recognise a source."""

LABELS_AT_ONCE: Final = 4_000_000
"""Number of labels of points that are read at once when they are listed."""

LINKS: Final = 8
"""Longest chain of links within a file that is followed."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Names of the data sets of one file; empty for those that it does not have."""

    clouds: str
    labels: str = ""
    colors: str = ""
    normals: str = ""


@dataclass(frozen=True, kw_only=True)
class RowReader:
    """Reads rows of HDF5 files. See `catalog.Reader`. A locator is `FILE#ROW`."""

    kind: str = "hdf5"
    location: str
    root: str
    """Absolute path that locators are relative to."""
    up: Literal["y", "z"]
    keys: str = ""
    """The option `keys`."""
    options: tuple[tuple[str, str], ...]
    textures: Textures
    labels: Labels | None = None
    """The data set with a label of a part for each point, as `Labels.name`; None for none."""

    def read(self, entry: Entry) -> geometry.Cloud:
        values, colors, normals = self._row(entry)
        warnings: list[str] = []

        def warn(text: str) -> None:
            if text not in warnings:
                warnings.append(text)

        values = oriented(values, warn)
        beside = {"rgb": colors, "normals": normals}
        arrays = {"xyz": values} | {name: oriented(array, warn) for name, array in beside.items() if array is not None}
        cloud = columns.named(arrays, warn)
        apart = b"" if normals is None else digest_of(normals).digest()
        part, beside_labels = self._part(entry, len(cloud.points))
        cloud = dataclasses.replace(cloud, warnings=tuple(warnings), normals_beside=apart, part=part, beside=beside_labels)
        done = geometry.finished(cloud, self.up)
        assert isinstance(done, geometry.Cloud)
        return done

    def _part(self, entry: Entry, count: int) -> tuple[NDArray[np.int16] | None, bytes]:
        """Part labels `[count]` of a cloud, and the digest of their row; None and nothing if no labels are asked for.

        Raises:
            UserError: there is another number of labels, or one is no part.
        """
        if self.labels is None:
            return None, b""
        name, _, row = entry.locator.rpartition("#")
        with opened(Path(self.root), name) as file:
            values = one_row(reached(file, self.labels.name, Path(self.root)), int(row), f"{name}, {self.labels.name}")
        if values.shape not in ((count,), (count, 1)):
            raise UserError(f"{self.labels.name}: expected a label for each of {count:,} points, got {list(values.shape)}")
        return Labelling(self.labels).of_numbers(values.reshape(-1), self.labels.name), digest_of(values).digest()

    def digest(self, entry: Entry) -> bytes:
        """See `catalog.Reader`. The digest covers points and colours. `Cloud.normals_beside` is the digest of normals in their own data
        set."""
        row, colors, _ = self._row(entry)
        total = digest_of(row)
        if colors is not None:
            total.update(f" {colors.dtype.str} {colors.shape} ".encode() + colors.tobytes())
        return total.digest()

    def _row(self, entry: Entry) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """The numbers of a cloud `[n, c]`; and its colours and its normals if they have their own data set (else None)."""
        name, _, row = entry.locator.rpartition("#")
        with opened(Path(self.root), name) as file:
            keys = _found(file, name, self.keys)

            def one(key: str) -> NDArray[Any]:
                return one_row(reached(file, key, Path(self.root)), int(row), f"{name}, {key}")

            return one(keys.clouds), one(keys.colors) if keys.colors else None, one(keys.normals) if keys.normals else None


def digest_of(array: NDArray[Any]) -> "hashlib._Hash":
    """sha256 over numbers, their type and their shape."""
    return hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes())


def recognises(location: str) -> bool:
    """Whether the location is an HDF5 file, or a folder with HDF5 files and no other shapes."""
    path = Path(location)
    if path.is_file():
        return path.suffix.lower() in EXTENSIONS
    if not path.is_dir():
        return False
    names = sorted(_listed(path))
    extensions = {one.suffix.lower() for one in names}
    if extensions & set(EXTENSIONS):
        known = any(one.name.lower().startswith("ply_data_") or "_objectdataset" in one.name for one in names)
        return known or not extensions & (set(UP) - {".txt", ".csv"})
    if extensions & (set(UP) - {".txt", ".csv"}):
        return False
    within = [two.suffix.lower() for one in names[:GLANCE] if one.is_dir() and not one.name.startswith(".") for two in _listed(one)]
    return bool(set(within) & set(EXTENSIONS)) and not set(within) & (set(UP) - {".txt", ".csv"})


def _listed(folder: Path) -> list[Path]:
    """The contents of a folder; empty where it may not be read. `open_source` reports that."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    variant: str = "",
    up: str = "y",
    keys: str = "",
    label: str = "auto",
    labels: str = "",
    parts: str = "",
    split: str = "",
    split_seed: str = "0",
) -> Source:
    """Lists HDF5 files. The options are explained at the head of this module."""
    axis: Literal["y", "z"] = choice("option up", up, ("y", "z"))
    choice("option label", label, ("auto", "none"))
    recorded = splits.settings(split, split_seed)
    if keys and (keys.count(",") > 2 or not any(part.strip() for part in keys.split(","))):
        raise UserError(f"option keys: expected the names of clouds, labels and colours as data,label,rgb, got {keys!r}")
    path = Path(location).absolute()
    if path.is_file():
        root, files, skipped = path.parent, [path.name], Counter[str]()
    else:
        root = folder_at(location)
        files, skipped = find_files(root, EXTENSIONS)
        if not variant and any("_objectdataset" in name for name in files):
            raise UserError(f"{location!r} is ScanObjectNN, of which there are three: set the option variant to {', '.join(VARIANTS)}")
    if up == "y" and (root / BLOCKS).is_file() and any(Path(name).name.startswith("ply_data_all_") for name in files):
        raise UserError(
            f"{location!r} holds blocks of rooms of S3DIS, as PointNet reads them, and their up axis is +Z: --set source.up=z reads them "
            "as shapes; for segmentation take the rooms themselves, which the source s3dis reads"
        )
    untold: list[str] = []
    if variant:
        folder, ending = VARIANTS[choice("option variant", variant, tuple(VARIANTS))]
        wanted = {f"{folder}/training{ending}", f"{folder}/test{ending}"}
        chosen = [name for name in files if "/".join((root / name).parts[-2:]) in wanted]
        if not chosen and not SPLIT_FOLDER.fullmatch(root.name):
            untold = chosen = [name for name in files if name in (f"training{ending}", f"test{ending}")]
        skipped[f".h5 that is not {variant}"] = len(files) - len(chosen)
        files = chosen
    notes = [f"no folder main_split or main_split_nobg tells the background: {variant} is taken at your word"] if untold else []
    _check_lists(root, files)
    entries = [entry for name in sorted(files) for entry in _rows(root, name, keys, label, labels, notes)]
    how = _labels_of_points(root, sorted(files), labels, parts, notes)
    unsplit = sorted(name for name in files if not _split_of(name))
    if unsplit and len(files) > 1 and not split:
        shown = some([shape_text(name) for name in unsplit], 3)
        notes.append(f"the names of {len(unsplit)} of {len(files)} files tell no split ({shown}); name them train, val or test")
    entries, said = splits.finished(entries, split, split_seed, "names of files")
    if entries:
        notes = [*notes, *said, f"+{up.upper()} is taken for up; choose with --set source.up=y|z"]
    told = (("labels", labels), ("parts", how.vocabulary if how else ""))
    chosen_ = (("keys", keys), ("label", label if label != "auto" else ""), *told, ("up", up), ("variant", variant))
    options = tuple(sorted((*((name, value) for name, value in chosen_ if value), *recorded)))
    reader = RowReader(location=str(path), root=str(root), up=axis, keys=keys, options=options, textures=textures, labels=how)
    return Source.of(reader, entries, +skipped, dict.fromkeys(notes), labelled=Labelled(parts=how.parts if how else ()))


def _check_lists(root: Path, files: Sequence[str]) -> None:
    """Check that what lists of HDF5 files (`train_files.txt`, `all_files.txt`, `train_hdf5_file_list.txt`) name is there: a part of a data
    set is not the whole. A line is a path from the root or from the list's folder, or has folders of another machine before a name.

    Raises:
        UserError: a list beside some files, or in the root, names a file that is missing.
    """
    for folder in sorted({root, *((root / name).parent for name in files)}):
        for path in sorted(path for pattern in FILE_LISTS for path in folder.glob(pattern) if _is_of_files(path)):
            named = [line.strip().replace("\\", "/") for line in decoded(path.read_bytes()).splitlines()]
            missing = [
                name.rsplit("/", 1)[-1]
                for name in named
                if name.lower().endswith(EXTENSIONS)
                and not name.startswith("#")
                and not any((home / place).is_file() for home in (root, folder) for place in (name, name.rsplit("/", 1)[-1]))
            ]
            if missing:
                raise UserError(
                    f"{shape_text(path.name)} names {some([*map(shape_text, missing)], 3)}, missing here: bring what is missing, or take "
                    "its line out of the list"
                )


def _is_of_files(path: Path) -> bool:
    """Whether the name of a list says that it lists files to use: `train_files.txt`, `all_files.txt`; not `excluded_files.txt`."""
    return path.is_file() and bool(splits.split_named(path.stem) or path.stem.lower().startswith("all_"))


def _labels_of_points(root: Path, files: Sequence[str], key: str, parts: str, notes: list[str]) -> Labels | None:
    """How labels of points are read; None where the option `labels` names no data set.

    Args:
        root: the folder of the files.
        files: their names.
        key: the option `labels`.
        parts: the option `parts`; empty for a pass over all labels.
        notes: get a sentence about parts that were listed.

    Raises:
        UserError: a file lacks the data set, it holds no numbers, or `parts` is given without labels.
    """
    if not key:
        if parts:
            raise UserError("option parts has no effect without the option labels, the name of a data set with a label for each point")
        return None
    if parts:
        return Labels(way="field", name=key, names=vocabulary(parts.split(","), True, "option parts"))
    found: set[int] = set()
    for name in files:
        with opened(root, name) as file:
            held_labels = reached(file, key, root)
            if held_labels.dtype.kind not in "fiub":
                raise UserError(f"option labels: {shape_text(name)}, {key} has the type {held_labels.dtype}, expected whole numbers")
            rows = max(1, LABELS_AT_ONCE // max(1, math.prod(held_labels.shape[1:])))
            for start in range(0, len(held_labels) if held_labels.ndim else 0, rows):
                values = np.unique(np.asarray(held_labels[start : start + rows]))
                found |= {int(value) for value in values if np.isfinite(value) and value >= 0 and value == np.rint(value)}
    if not found:
        raise UserError(f"option labels: {key!r} holds no label")
    notes.append(f"{len(found)} parts were found by reading all labels of {key}; name them with --set source.parts=NUMBER:NAME,...")
    return Labels(way="field", name=key, names=tuple((str(number), str(number)) for number in sorted(found)))


def _split_of(name: str) -> str:
    """The split in the path of a file: from its name, else from the innermost folder with a split in its name."""
    return next((split for part in reversed(Path(name).parts) if (split := splits.split_named(Path(part).stem))), "")


# ------------------------------------------------------------------------------------------------------ what is in a file


def _rows(root: Path, name: str, wanted: str, label: str, points_labels: str, notes: list[str]) -> list[Entry]:
    """The entries of a file."""
    text = shape_text(name)
    with opened(root, name) as file:
        keys = _found(file, text, wanted)
        clouds = reached(file, keys.clouds, root)
        check_clouds(clouds, f"{text}, {keys.clouds}", file)
        count = len(clouds)
        points = clouds.shape[2 if columns.lies(clouds.shape[1:]) else 1]
        if columns.lies(clouds.shape[1:]):
            notes.append(f"{text}, {keys.clouds}: stored as {list(clouds.shape)}, read as clouds of {clouds.shape[2]} points")
        if keys.colors:
            colors = reached(file, keys.colors, root)
            if colors.ndim != 3 or colors.shape[0] != count:
                raise UserError(f"{text}, {keys.colors}: expected colours [{count}, n, 3], got {list(colors.shape)}")
        labels = [""] * count
        if keys.labels and label != "none":
            known = _class_names(file, root, name)
            by_row = _names_of_rows(root, name, count, notes, needed=not known)
            held_labels, where = reached(file, keys.labels, root), f"{text}, {keys.labels}"
            if not wanted.partition(",")[2].partition(",")[0].strip() and _of_points(held_labels, count, points):
                notes.append(
                    f"{where}: {list(held_labels.shape)} are labels of points, one for each of {points}, and are not used as classes; "
                    f"--set source.keys=CLOUDS,LABELS names the labels of shapes, and --set source.labels={shape_text(keys.labels)} reads "
                    "these as labels of parts"
                )
            else:
                labels = _labels(held_labels, where, count, known, notes, by_row)
        elif label != "none":
            notes.append(f"{text} holds no labels under a usual name; --set source.keys=CLOUDS,LABELS names them")
        used = (keys.clouds, keys.labels, keys.colors, keys.normals, points_labels)
        rest = [key for key in file if key not in used and columns.plain(key) not in NAME_KEYS]
        if rest:
            notes.append(f"not used: {some([*map(shape_text, rest)])}")
        like_labels = [key for key in rest if _whole_for_points(file, key, count, points)]
        if like_labels and not points_labels:
            shown = shape_text(like_labels[0])
            notes.append(f"{shown} holds a whole number for each point; --set source.labels={shown} reads it as labels of parts")
    split = _split_of(name)
    return [Entry(id=shape_id(f"{text}/{row:06d}"), locator=f"{name}#{row}", label=labels[row], split=split) for row in range(count)]


def file_lists(root: Path, pattern: str, names: Sequence[str]) -> dict[str, str]:
    """By HDF5 file: its split, according to lists of files below a folder.

    Args:
        root: the folder.
        pattern: pattern for the names of the lists, which hold the name of a split. A line of a list is the name of a file beside it, with
            or without folders before it.
        names: the HDF5 files below the root.

    Raises:
        UserError: a list names a file that is missing, so that shapes would be lost without a word, or a file is in two splits.
    """
    told: dict[str, str] = {}
    for path in sorted(root.rglob(pattern)):
        split, folder = splits.split_named(path.stem), path.parent.relative_to(root).as_posix()
        for line in decoded(path.read_bytes()).splitlines() if split else ():
            last = line.strip().replace("\\", "/").rsplit("/", 1)[-1]
            name = last if folder == "." else f"{folder}/{last}"
            if last and name not in names:
                raise UserError(f"{path.name} names {shape_text(last)}, which is missing; bring it, or take the line out of the list")
            if last and told.setdefault(name, split) != split:
                raise UserError(f"{path.name} puts {shape_text(name)} into {split}, and another list puts it into {told[name]}")
    return told


def _whole_for_points(file: h5py.File, key: str, count: int, points: int) -> bool:
    """Whether a data set of the file itself holds a whole number for each point of each cloud."""
    value = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    shapes = ((count, points), (count, points, 1))
    return isinstance(value, h5py.Dataset) and value.dtype.kind in "iu" and points > 1 and value.shape in shapes


@contextmanager
def opened(root: Path, name: str) -> Iterator[h5py.File]:
    """Opens a file below the root. Errors of HDF5 become errors that name the file."""
    path = root / name
    if not path.is_file():
        raise UserError(f"no such file: {shape_text(name)}")
    try:
        file = h5py.File(path, "r", locking=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{shape_text(name)} is no HDF5 file that can be opened: {error}") from error
    try:
        with file:
            yield file
    except UserError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{shape_text(name)}: cannot be read, damaged or cut short? ({error})") from error


def _found(file: h5py.File, text: str, wanted: str) -> Keys:
    """The data sets that the option `keys` names, else those with a usual name."""
    asked = [part.strip() for part in (wanted + ",,").split(",")]
    by_name = {columns.plain(key): key for key in reversed(list(file))}
    clouds = asked[0]
    if not clouds:
        found = [by_name[name] for name in columns.POINT_KEYS if name in by_name]
        shaped = [key for key in found if _shape_said(file, key, 3)] or found
        if not shaped:
            raise UserError(f"{text}: expected a data set `data` of the shape [N, n, 3]; the file holds {held(file)}; {REMEDY}")
        if len(shaped) > 1:
            raise UserError(f"{text} holds {' and '.join(map(repr, map(shape_text, shaped)))}, either of which can be the clouds; {REMEDY}")
        clouds = shaped[0]
    labels = asked[1] or next((by_name[name] for name in LABEL_KEYS if name in by_name), "")
    colors = asked[2] or next((by_name[name] for name in columns.COLOR_KEYS if name in by_name), "")
    normals = next((by_name[name] for name in columns.NORMAL_KEYS if name in by_name and _fit(file, by_name[name], clouds)), "")
    return Keys(clouds=clouds, labels=labels, colors=colors, normals=normals)


REMEDY: Final = "name the right one with --set source.keys=CLOUDS,LABELS"
"""The advice where the clouds are not found."""


def _shape_said(file: h5py.File, key: str, ndim: int) -> bool:
    """Whether a key is no link and names an array with `ndim` axes."""
    if not isinstance(file.get(key, getlink=True), h5py.HardLink):
        return False
    value = file[key]
    return isinstance(value, h5py.Dataset) and value.ndim == ndim


def _fit(file: h5py.File, normals: str, clouds: str) -> bool:
    """Whether an array is stored in the file itself and has three floats for each point of the clouds. Other normals are left out."""
    if "/" in clouds or not _shape_said(file, normals, 3) or not _shape_said(file, clouds, 3):  # a group may be a link out of the file
        return False
    values, points = file[normals], file[clouds]
    inside = not values.external and not values.is_virtual
    lie = columns.lies(points.shape[1:])
    wanted = (len(points), points.shape[2 if lie else 1])
    return inside and values.dtype.kind == "f" and values.shape in ((*wanted, 3), (wanted[0], 3, wanted[1]))


def held(file: h5py.File) -> str:
    """The contents of a file in words. Links are not followed."""
    shown = []
    for key in list(file)[:12]:
        shape = ""
        if isinstance(file.get(key, getlink=True), h5py.HardLink):
            value = file[key]
            shape = f" {value.shape}" if isinstance(value, h5py.Dataset) else " (a group)"
        shown.append(f"{shape_text(key)}{shape}")
    return ", ".join(shown) + (" ..." if len(file) > 12 else "") if shown else "nothing"


def reached(file: h5py.File, key: str, root: Path) -> h5py.Dataset:
    """A data set whose data all lie in this file.

    HDF5 follows links to any file of the machine, and returns zeros for missing data. So links are checked before anything is opened, and
    links out of the file are refused.
    """
    name = shape_text(Path(file.filename).relative_to(root).as_posix())
    remedy = "copy the data into one file, for instance with h5repack or h5py"
    parts, place, followed = [part for part in key.split("/") if part], "", 0
    while parts:
        part = parts.pop(0)
        place = f"{place}/{part}"
        link = file.get(place, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise UserError(f"{name}, {shape_text(key)} is a link to another file, which is not followed: {remedy}")
        if isinstance(link, h5py.SoftLink):
            followed += 1
            if followed > LINKS:
                raise UserError(f"{name}, {shape_text(key)}: a chain of more than {LINKS} links")
            target = link.path if link.path.startswith("/") else f"{place.rpartition('/')[0]}/{link.path}"
            parts, place = [step for step in target.split("/") if step not in ("", ".")] + parts, ""
        elif link is None:
            raise UserError(f"{name} has no {shape_text(key)!r}; the file holds {held(file)}")
    found = file[place or "/"]
    if not isinstance(found, h5py.Dataset):
        raise UserError(f"{name}, {shape_text(key)}: expected a data set, got a group with {', '.join(map(shape_text, list(found)[:8]))}")
    if found.external:
        raise UserError(f"{name}, {shape_text(key)} keeps its numbers in another file, which is not read: {remedy}")
    if found.is_virtual:
        raise UserError(f"{name}, {shape_text(key)} is a virtual data set put together from others, which is not read: {remedy}")
    return found


def check_clouds(clouds: h5py.Dataset, where: str, file: h5py.File) -> None:
    """Refuses a data set that holds no clouds `[N, n, c]`, is too large, or was not written to its end.

    Args:
        clouds: the data set.
        where: its name in messages.
        file: the file that it is in.

    Raises:
        UserError: the data set is no such thing.
    """
    shape = clouds.shape
    if clouds.ndim != 3 or clouds.dtype.kind not in "fiu" or not (3 <= shape[2] <= columns.WIDEST or columns.lies(shape[1:])):
        hint = f"the file holds {held(file)}; {REMEDY}"
        raise UserError(f"{where}: expected a data set `data` of the shape [N, n, 3], got {clouds.dtype} {list(shape)}; {hint}")
    if len(clouds) > ROWS:
        raise UserError(f"{where} declares {len(clouds):,} shapes; more than {ROWS:,} in one file are not listed: split it into several")
    if math.prod(clouds.shape[1:]) * clouds.dtype.itemsize > ROW_BYTES:
        raise UserError(f"{where} declares {clouds.shape[1]:,} points a shape; more than {ROW_BYTES >> 30} GiB a shape are not read")
    stored, declared = clouds.id.get_storage_size(), math.prod(shape) * clouds.dtype.itemsize
    if declared > DENSEST * stored:
        raise UserError(
            f"{where} declares {len(clouds):,} shapes, {declared:,} bytes, and holds {stored:,} bytes of them: not written to its end"
        )


def one_row(values: h5py.Dataset, row: int, where: str) -> NDArray[Any]:
    """One row of a data set; `where` is its name in messages.

    Raises:
        UserError: there is no such row.
    """
    if row >= len(values):
        raise UserError(f"{where}: there is no row {row}, it has {len(values)}")
    return np.asarray(values[row])


# ----------------------------------------------------------------------------------------------------------------- labels


def _labels(
    labels: h5py.Dataset, where: str, count: int, names: tuple[str, ...], notes: list[str], by_row: Sequence[str] = ()
) -> list[str]:
    """The class name of each row; empty for none.

    Args:
        labels: the labels.
        where: their name in messages.
        count: number of the rows.
        names: by number of a class: its name; empty where nothing says it.
        notes: get sentences about what was found.
        by_row: the name of the class of each row, from another file; empty where there is none.

    Raises:
        UserError: they are no labels of the rows, or contradict the names of the rows.
    """
    shape = labels.shape
    if not shape or shape[0] != count:
        raise UserError(f"{where}: {count} clouds, but {shape[0] if shape else 1} labels")
    if math.prod(shape) > LABEL_VALUES:
        raise UserError(f"{where}: labels of the shape {list(shape)}, expected [{count}], [{count}, 1] or [{count}, classes]")
    if _is_text(labels.dtype):
        if math.prod(shape) != count:
            raise UserError(f"{where}: texts of the shape {list(shape)}, expected [{count}]")
        return [_text(value) for value in np.asarray(labels[()]).reshape(-1)]
    if labels.dtype.kind not in "fiub":
        raise UserError(f"{where}: labels of the type {labels.dtype}, expected whole numbers or texts")
    numbers = _numbers(np.asarray(labels[()]), where, count)
    missing = int((numbers == -1).sum())
    if missing:
        hint = "; if -1 is a class of its own, save the labels as 0 and 1" if set(numbers.tolist()) <= {-1, 0, 1} else ""
        notes.append(f"{where}: {missing} of {count} shapes have the label -1, which is none{hint}")
    if count and numbers.min() < -1:
        raise UserError(f"{where}: label {numbers.min()}; expected 0 or more, or -1 for none")
    if names and count and numbers.max() >= len(names):
        raise UserError(f"{where}: label {numbers.max()}, but there are {len(names)} class names")
    if names and (numbers > 0).any() and not (numbers == 0).any():
        notes.append(f"{where}: no shape has the label 0, {names[0]!r}; if the labels count from 1, store them less 1")
    if names and by_row:
        _check_names(numbers.tolist(), names, by_row, where)
        by_row = ()
    if by_row and not _one_to_one(numbers.tolist(), by_row):
        raise UserError(f"{where}: a number has two names, or a name two numbers, in the names of the rows: they are of another file")
    if by_row:
        return ["" if number < 0 else name for number, name in zip(numbers.tolist(), by_row, strict=True)]
    if not names and count:
        notes.append(f"nothing names the classes, so they are called class_0, class_1 and so on; {NAMING}")
    return ["" if number < 0 else names[number] if names else f"class_{number}" for number in numbers.tolist()]


def _check_names(numbers: Sequence[int], names: Sequence[str], by_row: Sequence[str], where: str) -> None:
    """Compare the names of classes by their numbers with those of the rows.

    Raises:
        UserError: they contradict each other, so that one of the files is of other data.
    """
    for row, (number, name) in enumerate(zip(numbers, by_row, strict=True)):
        if number >= 0 and name and columns.plain(names[number]) != columns.plain(name):
            raise UserError(
                f"{where}: row {row} is {names[number]!r} by its number {number}, and {name!r} by the names of the rows (*_id2name.json): "
                "one of the two lists is of other files, take it away"
            )


def _one_to_one(numbers: Sequence[int], names: Sequence[str]) -> bool:
    """Whether each number of a class that is there has one name, and each name one number."""
    pairs = {(number, name) for number, name in zip(numbers, names, strict=True) if number >= 0}
    return len(pairs) == len({number for number, _ in pairs}) == len({name for _, name in pairs})


NAMING: Final = "put their names, one a line, into shape_names.txt beside the file"


def _of_points(labels: h5py.Dataset, count: int, points: int) -> bool:
    """Whether there is one label for each point of each cloud. One-hot rows of the same shape are no labels of points."""
    shape = labels.shape
    if (
        shape not in ((count, points), (count, points, 1))
        or points < 2
        or labels.dtype.kind not in "iub"
        or math.prod(shape) > LABEL_VALUES
    ):
        return False
    values = np.asarray(labels[()]).reshape(count, points)
    return not bool(np.all((values == 0) | (values == 1)) and np.all(values.sum(axis=1, dtype=np.int64) == 1))


def _numbers(values: NDArray[Any], where: str, count: int) -> NDArray[Any]:
    """Labels as whole numbers `[N]`, from numbers or one-hot rows."""
    flat = values.reshape(count, -1) if count else values.reshape(0, 1)
    if values.dtype.kind == "f" and not np.all(flat == np.rint(flat)):
        raise UserError(f"{where}: labels that are no whole numbers, such as {flat[flat != np.rint(flat)].flat[0]}")
    if flat.shape[1] == 1:
        if flat.size and np.abs(flat.astype(np.float64)).max() >= 1 << 31:
            raise UserError(f"{where}: label {flat.max()}; expected numbers of classes")
        return flat[:, 0].astype(np.int64)
    if values.ndim == 2 and np.all((flat == 0) | (flat == 1)) and np.all(flat.sum(axis=1, dtype=np.int64) <= 1):
        return np.where(flat.any(axis=1), flat.argmax(axis=1), -1)
    raise UserError(
        f"{where}: labels of the shape {list(values.shape)}, expected one for each of the {count} clouds, or rows with a single 1; "
        "name the right data set with --set source.keys=CLOUDS,LABELS, or leave labels out with --set source.label=none"
    )


def _is_text(kind: np.dtype[Any]) -> bool:
    """Whether values are texts. Other objects of variable length are not read: HDF5 crashes if they are damaged."""
    return kind.kind == "S" or h5py.check_string_dtype(kind) is not None


def _text(value: object) -> str:
    """A text of an HDF5 file, in safe characters."""
    raw = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return shape_text(raw.rstrip("\0").strip())


def _class_names(file: h5py.File, root: Path, name: str) -> tuple[str, ...]:
    """The class names of numbered labels; empty where the file and its folder have none."""
    beside = (root / name).parent / "shape_names.txt"
    if beside.is_file():
        try:
            lines = beside.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{beside.name} is no UTF-8 text: {error}") from error
        return _distinct([shape_text(line.strip()) for line in lines if line.strip()], beside.name)
    if "_objectdataset" in name:
        return SCAN_CLASSES
    keys = {columns.plain(key): key for key in reversed(list(file))}
    for one in NAME_KEYS:
        if one in keys and isinstance(file.get(keys[one], getlink=True), h5py.HardLink):
            found = reached(file, keys[one], root)
            if found.ndim == 1 and _is_text(found.dtype) and found.size < 1 << 20:
                return _distinct([_text(value) for value in found[()]], f"{shape_text(name)}, {shape_text(keys[one])}")
    for key in file.attrs:
        said = file.attrs.get_id(key)
        if columns.plain(key) in NAME_KEYS and len(said.shape) == 1 and _is_text(said.dtype):
            return _distinct([_text(one) for one in np.asarray(file.attrs[key])], f"{shape_text(name)}, attribute {shape_text(key)}")
    return ()


def _names_of_rows(root: Path, name: str, count: int, notes: list[str], *, needed: bool) -> tuple[str, ...]:
    """The name of the class of each row, from `train0_id2name.json` beside `train0.h5` (https://github.com/antao97/PointCloudDatasets);
    empty where there is no such file, or it is no list of as many names, which `notes` gets.

    Raises:
        UserError: it is no JSON, and `needed`: the names of the classes are nowhere else.
    """
    path = (root / name).with_name(f"{Path(name).stem}_id2name.json")
    if not path.is_file():
        return ()
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        if needed:
            raise UserError(f"{shape_text(path.name)} is no JSON: {error}") from error
        found = None
    if not isinstance(found, list) or len(found) != count or not all(isinstance(one, str) for one in found):
        notes.append(f"{shape_text(path.name)} is not read: it is no list with the name of the class of each of {count} rows")
        return ()
    return tuple(map(shape_text, found))


def _distinct(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Class names with numbers for empty names.

    Raises:
        UserError: two names are equal, so that two labels would become one class.
    """
    twice = [name for name, times in Counter(names).items() if times > 1 and name]
    if twice:
        raise UserError(f"{where} gives the name {twice[0]!r} to two classes; make the names differ")
    return tuple(name or f"class_{number}" for number, name in enumerate(names))


def example(folder: Path) -> str:
    points = np.random.default_rng(0).normal(size=(2, 64, 3)).astype(np.float32)
    for split in ("train", "test"):
        with h5py.File(folder / f"ply_data_{split}0.h5", "w") as file:
            file["data"], file["label"] = points, np.array([[0], [1]], np.uint8)
    (folder / "shape_names.txt").write_text("chair\ntable\n")
    return str(folder)
