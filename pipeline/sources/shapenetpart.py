"""ShapeNetPart: clouds of 16 categories whose points carry one of 50 part labels. +Y up.

    open_source("shapenetcore_partanno_segmentation_benchmark_v0_normal/")   # SYNSET/MODEL.txt: x y z nx ny nz label, label in 0..49
    open_source("shapenetcore_partanno_segmentation_benchmark_v0/")          # SYNSET/points/MODEL.pts and SYNSET/points_label/MODEL.seg
    open_source("hdf5_data/")                                                # ply_data_train0.h5 ...: data, label, pid in 0..49
    open_source("shapenetpart_hdf5_2048/")                                   # train0.h5 ...: data, label, seg in 0..49

The location may also be the folder above one of these. Id: `SYNSET-MODEL`, or file and row for HDF5 (`ply_data_train0.h5/000012`). Label:
the name of the category. Split: the lists in `train_test_split/` (`shuffled_train_file_list.json` ...) or, for HDF5,
`train_hdf5_file_list.txt` ...; without them, names of HDF5 files.
A shape that no list names is left out and counted; a listed shape whose file is missing fails when it is read, and a note tells how many.
`split=0.8` makes a split instead, see `splits.made`. Up axis, by the option `up`: `y` (default) or `z`.

The releases number parts differently: the second from 1 in each category, all others with 0..49 over all categories.
All become one list of 50 parts. The releases have numbers alone; the names here are those with which zero-shot segmentation is prompted
(https://github.com/yangyangyang127/PointCLIP_V2, for lamps https://github.com/ziqi-ma/Find3D), put in our words. A shape with a label
that is none of its category, with a label too many or too few, or with one that is no whole number fails with this reason.
"""

import hashlib
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline import geometry
from pipeline.formats import table
from pipeline.formats.labels import whole, whole_numbers
from pipeline.reading import decoded
from pipeline.sources import hdf5, shapenet, splits
from pipeline.sources.catalog import Entry, Labelled, Source, Textures, shape_id, shape_text
from pipeline.sources.files import find_files
from pipeline.sources.folders import folder_at
from pipeline.sources.options import choice

LOOKS_FOR: Final = "SYNSET/MODEL.txt of 7 columns, SYNSET/points/MODEL.pts with points_label/MODEL.seg, or ply_data_*.h5 with pid"

CATEGORIES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "02691156": ("airplane", ("body", "wing", "tail", "engine")),
    "02773838": ("bag", ("handle", "body")),
    "02954340": ("cap", ("crown", "peak")),
    "02958343": ("car", ("roof", "hood", "wheel", "body")),
    "03001627": ("chair", ("back", "seat", "leg", "arm")),
    "03261776": ("earphone", ("earcup", "headband", "wire")),
    "03467517": ("guitar", ("head", "neck", "body")),
    "03624134": ("knife", ("blade", "handle")),
    "03636649": ("lamp", ("base", "shade", "bracket", "stem")),
    "03642806": ("laptop", ("keyboard", "screen")),
    "03790512": ("motorbike", ("gas tank", "seat", "wheel", "handlebar", "light", "frame")),
    "03797390": ("mug", ("handle", "cup")),
    "03948459": ("pistol", ("barrel", "handle", "trigger")),
    "04099429": ("rocket", ("body", "fin", "nose")),
    "04225987": ("skateboard", ("wheel", "deck", "belt")),
    "04379243": ("table", ("top", "leg", "drawer")),
}
"""By synset, in the order of the labels of HDF5: the category and the names of its parts in the order of their numbers."""

PARTS: Final = tuple(f"{category} {part}" for category, parts in CATEGORIES.values() for part in parts)
"""Names of the 50 parts, in the order of the labels 0..49."""

FIRST: Final = dict(zip(CATEGORIES, np.cumsum([0, *(len(parts) for _, parts in CATEGORIES.values())])[:-1].tolist(), strict=True))
"""By synset: the label of its first part."""

LISTS: Final = "train_test_split"
"""Folder of the lists."""

HOME: Final = re.compile(r"shapenetcore_partanno\w*|partannotation|hdf5_data|shapenet_?part\w*")
"""Pattern for the usual names of the folders of the releases, in small letters."""

FILE: Final = re.compile(r"(?:ply_data_)?(?:train|val|test)\d*\.h5")
"""Pattern for the names of HDF5 files, in small letters."""

LABELS: Final = ("pid", "seg")
"""Data sets of part labels: the name in `ply_data_train0.h5`, and in https://github.com/antao97/PointCloudDatasets."""

GLANCE: Final = 10
"""Number of files that are looked into to recognise a release."""

GUESSED: Final = (
    "the names of the 50 parts are not official: the release has numbers alone, and its part numbers follow the order of the categories"
)


@dataclass(frozen=True, kw_only=True)
class PartReader:
    """Reads the clouds of ShapeNetPart with their part labels. See `catalog.Reader`. A locator is a file, or `FILE#ROW` for HDF5."""

    kind: str = "shapenetpart"
    location: str
    root: str
    """Absolute path that locators are relative to."""
    up: Literal["y", "z"]
    options: tuple[tuple[str, str], ...]
    textures: Textures

    def read(self, entry: Entry) -> geometry.Geometry:
        if "#" in entry.locator:
            points, label, pid = self._row(entry)
            synset = self._synset(label)
            return self._cloud(points, None, _checked(pid, synset, FIRST[synset]), ())
        synset, path = entry.id.partition("-")[0], self._path(entry)
        warnings: list[str] = []
        values = table.parsed(path.read_bytes(), warnings.append).values
        if path.suffix.lower() == ".txt":
            if values.shape[1] != 7:
                raise UserError(f"expected 7 columns (x y z nx ny nz label), got {values.shape[1]}")
            part = _checked(values[:, 6], synset, FIRST[synset])
            return self._cloud(values[:, :3], values[:, 3:6], part, tuple(warnings))
        if values.shape[1] != 3:
            raise UserError(f"expected 3 columns (x y z), got {values.shape[1]}")
        beside = _labels_of(entry.locator)
        data = self._beside(beside)
        part = _checked(whole_numbers(data, beside), synset, 1)
        if len(part) != len(values):
            raise UserError(f"{beside} holds {len(part):,} labels for {len(values):,} points")
        digest = hashlib.sha256(f"{beside}\0{hashlib.sha256(data).hexdigest()}\0".encode()).digest()
        return self._cloud(values, None, part, tuple(warnings), digest)

    def digest(self, entry: Entry) -> bytes:
        """See `catalog.Reader`. For HDF5 it covers the points and their labels; for .pts the labels are in `Cloud.beside`."""
        if "#" in entry.locator:
            total = hashlib.sha256()
            for array in self._row(entry):
                total.update(hdf5.digest_of(array).digest())
            return total.digest()
        return hashlib.sha256(self._path(entry).read_bytes()).digest()

    def _cloud(
        self, points: NDArray[Any], normals: NDArray[Any] | None, part: NDArray[Any], warnings: tuple[str, ...], beside: bytes = b""
    ) -> geometry.Geometry:
        """A cloud with +Y up. `part` `[n]` holds indices into `PARTS`."""
        made = geometry.Cloud(points=points, normals=normals, part=part, warnings=warnings, beside=beside)
        return geometry.finished(made, self.up)

    def _path(self, entry: Entry) -> Path:
        path = Path(self.root, entry.locator)
        if not path.is_file():
            raise UserError(f"no such file: {entry.locator}")
        return path

    def _beside(self, locator: str) -> bytes:
        """The bytes of the file of labels of a cloud."""
        try:
            return Path(self.root, locator).read_bytes()
        except OSError as error:
            raise UserError(f"the labels {locator} cannot be read: {error.strerror}") from error

    def _row(self, entry: Entry) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Points `[n, 3]`, category `[]` or `[1]` and part labels `[n]` of a row of an HDF5 file."""
        name, _, row = entry.locator.rpartition("#")
        with hdf5.opened(Path(self.root), name) as file:
            keys = ("data", "label", _labels_in(file))
            arrays = [hdf5.one_row(hdf5.reached(file, key, Path(self.root)), int(row), f"{name}, {key}") for key in keys]
        points, label, pid = arrays
        if points.ndim != 2 or points.shape[1] != 3 or pid.shape not in ((len(points),), (len(points), 1)):
            raise UserError(f"expected data [n, 3] and pid [n], got {list(points.shape)} and {list(pid.shape)}")
        return points, label, pid.reshape(-1)

    def _synset(self, label: NDArray[Any]) -> str:
        number = int(whole(label.reshape(-1)[:1], "the category")[0])
        if not 0 <= number < len(CATEGORIES):
            raise UserError(f"the category {number} is none of the {len(CATEGORIES)} (0 to {len(CATEGORIES) - 1})")
        return list(CATEGORIES)[number]


def _checked(labels: NDArray[Any], synset: str, first: int) -> NDArray[np.int16]:
    """Labels `[n]` of the points of one category as indices into `PARTS`.

    Args:
        labels: labels as the release writes them.
        synset: the category.
        first: the label that the release gives to the first part of the category.

    Raises:
        UserError: a label is no whole number, or is none of the category.
    """
    numbers = whole(labels, "the label")
    category, parts = CATEGORIES[synset]
    wrong = (numbers < first) | (numbers >= first + len(parts))
    if wrong.any():
        point = int(wrong.argmax())
        raise UserError(
            f"{np.count_nonzero(wrong):,} of {len(numbers):,} points have a label that is none of {category} ({first} to "
            f"{first + len(parts) - 1}), such as {numbers[point]} at point {point}"
        )
    return np.asarray(numbers - first + FIRST[synset], np.int16)


def _labels_of(locator: str) -> str:
    """The file of labels of a cloud `SYNSET/points/MODEL.pts`."""
    folder, name = os.path.split(locator)
    return f"{os.path.dirname(folder)}/points_label/{os.path.splitext(name)[0]}.seg"


# ----------------------------------------------------------------------------------------------------------------- listing


def recognises(location: str) -> bool:
    """Whether one of the releases is there, or in a folder of its usual name there."""
    path = Path(location)
    return path.is_dir() and any(_released(home) for home in _homes(path))


def _homes(path: Path) -> list[Path]:
    """The location, and folders in it that have the name of a release."""
    names = sorted(os.listdir(path))
    return [path, *(path / name for name in names if HOME.fullmatch(name.lower()) and (path / name).is_dir())]


def _released(home: Path) -> bool:
    """Whether a folder is one of the releases. Its first readable files tell, because some files may be damaged."""
    if any(_labelled_file(file) for file in _clouds_in(home)[:GLANCE]):
        return True
    for synset in (synset for synset in CATEGORIES if (home / synset).is_dir()):
        if (home / synset / "points_label").is_dir() and (home / synset / "points").is_dir():
            return True
        texts = sorted(path for path in (home / synset).iterdir() if path.suffix.lower() == ".txt" and not path.name.startswith("."))
        if any(_seven_columns(file) for file in texts[:GLANCE]):
            return True
    return False


def _root_of(path: Path) -> Path:
    """The folder of the release.

    Raises:
        UserError: there are several.
    """
    found = [home for home in _homes(path) if _released(home)]
    if len(found) > 1:
        raise UserError(f"ShapeNetPart is in {' and in '.join(repr(home.name) for home in found)}; give one of these folders")
    return found[0] if found else path


def _clouds_in(home: Path) -> list[Path]:
    """HDF5 files with the name of a split."""
    return sorted(path for path in home.iterdir() if FILE.fullmatch(path.name.lower()))


def _labelled_file(path: Path) -> bool:
    """Whether an HDF5 file has part labels of ShapeNetPart."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            key = next((key for key in LABELS if key in file), "")
            # Other data sets have a `seg`, too. Only those of this collection have a list of names of the categories beside it.
            usual = key == LABELS[0] or path.with_name(f"{path.stem}_id2name.json").is_file() or HOME.fullmatch(path.parent.name.lower())
            return {"data", "label"} <= set(file) and bool(key) and bool(usual)
    except (OSError, RuntimeError, ValueError):
        return False


def _seven_columns(path: Path) -> bool:
    """Whether the first line of numbers in a text has seven of them."""
    try:
        with path.open("rb") as stream:
            first = next((line for line in itertools.islice(stream, 3) if line.strip() and not line.startswith(b"#")), b"")
            return len([float(cell) for cell in first.replace(b",", b" ").split()]) == 7
    except (OSError, ValueError):
        return False


def open_source(location: str, *, textures: Textures = "require", up: str = "y", split: str = "", split_seed: str = "0") -> Source:
    """Lists ShapeNetPart. The layouts are explained at the head of this module."""
    axis: Literal["y", "z"] = choice("option up", up, ("y", "z"))
    recorded = splits.settings(split, split_seed)
    root = _root_of(folder_at(location))
    notes, skipped = [GUESSED], Counter[str]()
    if _clouds_in(root):
        _check_numbers(root)
        entries, told_by = _of_hdf5(root, skipped, notes), "the lists of files"
    else:
        _check_synsets(root)
        entries, told_by = _of_files(root, skipped, notes), f"the lists in {LISTS}"
    entries, said = splits.finished(entries, split, split_seed, told_by)
    options = tuple(sorted((*((("up", up),) if up != "y" else ()), *recorded)))
    reader = PartReader(location=str(Path(location).absolute()), root=str(root), up=axis, options=options, textures=textures)
    return Source.of(reader, entries, +skipped, (*notes, *said), labelled=Labelled(parts=PARTS))


def _of_files(root: Path, skipped: Counter[str], notes: list[str]) -> list[Entry]:
    """The entries of a release of texts: those that the lists name, or all without lists."""
    locators, others = find_files(root, (".txt", ".pts"))
    skipped.update(others)
    found: dict[str, Entry] = {}
    old = False
    for locator in sorted(locators):
        parts = locator.split("/")
        stem, extension = os.path.splitext(parts[-1])
        plain = len(parts) == 2 and extension.lower() == ".txt"
        if parts[0] not in CATEGORIES or not (plain or (len(parts) == 3 and parts[1] == "points" and extension.lower() == ".pts")):
            skipped[f"{extension} elsewhere"] += 1
            continue
        old |= not plain
        entry = Entry(id=shape_id(f"{parts[0]}-{shape_text(stem)}"), locator=locator, label=CATEGORIES[parts[0]][0])
        if entry.id in found:
            raise UserError(f"two files are {entry.id}: {found[entry.id].locator} and {locator}; keep one of the releases")
        found[entry.id] = entry
    folder = root / LISTS
    told = shapenet.read_lists(folder).told if folder.is_dir() else {}
    if not told:
        return list(found.values())
    missing = sorted({"train", "val", "test"} - set(told.values()))
    if missing:
        notes.append(f"{LISTS} holds no list of {' and none of '.join(missing)}: no shape is in {' or '.join(missing)}")
    skipped["not in the lists"] = len(found.keys() - told.keys())
    return _listed(found, told, old, notes)


def _listed(found: dict[str, Entry], told: dict[str, str], old: bool, notes: list[str]) -> list[Entry]:
    """One entry for every shape in the lists. The locator of a missing one is the path where it is expected."""
    entries, gone = [], []
    for name, split in told.items():
        synset, _, model = name.partition("-")
        if synset not in CATEGORIES:
            raise UserError(f"{LISTS} names {synset}/{model}, and {synset} is none of the 16 categories of ShapeNetPart")
        locator = f"{synset}/points/{model}.pts" if old else f"{synset}/{model}.txt"
        if name in found:
            locator = found[name].locator
        else:
            gone.append(locator)
        entries.append(Entry(id=shape_id(name), locator=locator, label=CATEGORIES[synset][0], split=split))
    if gone:
        notes.append(f"{len(gone):,} of {len(entries):,} listed shapes are missing, such as {gone[0]}; they will fail")
    return entries


def _check_synsets(root: Path) -> None:
    """Compares synsetoffset2category.txt, where it is, with the categories.

    Raises:
        UserError: it names another category, so that the numbers of parts would mean something else.
    """
    for name, synset in _pairs(root / "synsetoffset2category.txt"):
        if synset not in CATEGORIES or CATEGORIES[synset][0] != name.lower():
            expected = CATEGORIES[synset][0] if synset in CATEGORIES else f"one of {', '.join(CATEGORIES)}"
            raise UserError(f"synsetoffset2category.txt: {name} {synset} is none of ShapeNetPart, expected {expected}")


def _pairs(path: Path) -> Iterable[tuple[str, str]]:
    """Names and synsets of a text with two words a line; nothing where there is no such file.

    Raises:
        UserError: the file cannot be read, or a line has not two words.
    """
    if not path.is_file():
        return
    for number, line in enumerate(decoded(path.read_bytes()).splitlines(), 1):
        words = line.split()
        if words and len(words) != 2:
            raise UserError(f"{path.name}, line {number}: expected a name and a synset, got {line[:40]!r}")
        if words:
            yield words[0], words[1]


# -------------------------------------------------------------------------------------------------------------------- HDF5


def _check_numbers(root: Path) -> None:
    """Compares the files beside the data with the numbers of categories and parts of ShapeNetPart.

    Raises:
        UserError: they number categories or parts in another way, so that the labels would mean something else.
    """
    told = [synset for _, synset in _pairs(root / "all_object_categories.txt")]
    if told and told != list(CATEGORIES):
        raise UserError(
            "all_object_categories.txt does not list the 16 categories of ShapeNetPart in their order; use kind=hdf5 with labels=pid"
        )
    path = root / "overallid_to_catid_partid.json"
    if path.is_file():
        try:
            numbered = [str(pair[0]) for pair in json.loads(path.read_text(encoding="utf-8-sig"))]
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise UserError(f"{path.name} cannot be read as a list of [synset, part]: {error}") from error
        if numbered != [synset for synset, (_, parts) in CATEGORIES.items() for _ in parts]:
            raise UserError(f"{path.name} numbers the parts otherwise than ShapeNetPart; use kind=hdf5 with labels=pid")


def _of_hdf5(root: Path, skipped: Counter[str], notes: list[str]) -> list[Entry]:
    """The entries of a release of HDF5 files."""
    names, others = find_files(root, hdf5.EXTENSIONS)
    skipped.update(others)
    told = hdf5.file_lists(root, "*_file*.txt", names)
    if not told:
        notes.append("no *_hdf5_file_list.txt or *_files.txt is there: the names of the files tell the split")
    entries = []
    for name in sorted(names):
        if told and name not in told:
            skipped[".h5 in no list"] += 1
            continue
        entries += _rows(root, name, told.get(name) or splits.split_named(Path(name).stem))
    return entries


def _labels_in(file: h5py.File) -> str:
    """The name of the data set of part labels; the usual one where there is none."""
    return next((key for key in LABELS if key in file), LABELS[0])


def _rows(root: Path, name: str, split: str) -> list[Entry]:
    """The entries of one HDF5 file."""
    text = shape_text(name)
    with hdf5.opened(root, name) as file:
        data, label, pid = (hdf5.reached(file, key, root) for key in ("data", "label", _labels_in(file)))
        hdf5.check_clouds(data, f"{text}, data", file)
        if label.shape not in ((len(data),), (len(data), 1)) or pid.shape[:2] != data.shape[:2]:
            raise UserError(
                f"{text}: expected label [{len(data)}] and pid {list(data.shape[:2])}, got {list(label.shape)} and {list(pid.shape)}"
            )
        numbers = whole(np.asarray(label[()]).reshape(-1), f"{text}: the category")
    names = [category for category, _ in CATEGORIES.values()]
    named = [names[n] if 0 <= n < len(names) else "" for n in numbers.tolist()]
    return [
        Entry(id=shape_id(f"{text}/{row:06d}"), locator=f"{name}#{row}", label=category, split=split) for row, category in enumerate(named)
    ]


def example(folder: Path) -> str:
    rng = np.random.default_rng(0)
    listed: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for (synset, split), model in zip((("02691156", "train"), ("03001627", "val"), ("03001627", "test")), ("1a", "2b", "3c"), strict=True):
        first, count = FIRST[synset], len(CATEGORIES[synset][1])
        rows = np.column_stack([rng.normal(size=(64, 3)), np.tile([0, 1, 0], (64, 1)), first + np.arange(64) % count])
        (folder / synset).mkdir(exist_ok=True)
        np.savetxt(folder / synset / f"{model}.txt", rows, fmt="%.6f")
        listed[split].append(f"shape_data/{synset}/{model}")
    (folder / LISTS).mkdir()
    for split, names in listed.items():
        (folder / LISTS / f"shuffled_{split}_file_list.json").write_text(json.dumps(names))
    (folder / "synsetoffset2category.txt").write_text("Airplane\t02691156\nChair\t03001627\n")
    return str(folder)
