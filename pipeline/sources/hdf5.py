"""Point clouds in HDF5: ModelNet40's `ply_data_*`, ScanObjectNN's three variants, or any file with `data` [N, n, 3].

    open_source("modelnet40_ply_hdf5_2048/")
    open_source("h5_files/", variant="PB_T50_RS")     # ScanObjectNN: OBJ_BG, OBJ_ONLY or PB_T50_RS
    open_source("clouds.h5", up="z")

A file holds `data` [N, n, 3] and where there are labels `label` [N] or [N, 1]. Names of labels come from a `shape_names.txt` beside the
file, ScanObjectNN's from here; without either the number is the name. Split: train or test where the file's name says so.
Id: file and row, `ply_data_train0.h5/000012`.
Up axis, by the option `up`: `y` (default: ModelNet40's and ScanObjectNN's clouds are distributed with +Y up) or `z`.

A file that cannot be opened stops the listing, since the number of its shapes is unknown; a row that is no cloud fails alone, when it is
read. Files are opened for each read, which costs less than a millisecond and is safe in any number of processes.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from cache_schema.errors import UserError
from pipeline import geometry
from pipeline.sources.catalog import Entry, Source, Textures, shape_id, shape_text
from pipeline.sources.files import choice, find_files, folder_at

LOOKS_FOR: Final = "an .h5 file, or a folder with ply_data_*.h5 or *_objectdataset*.h5"

VARIANTS: Final = {
    "OBJ_BG": ("main_split", "_objectdataset.h5"),
    "OBJ_ONLY": ("main_split_nobg", "_objectdataset.h5"),
    "PB_T50_RS": ("main_split", "_objectdataset_augmentedrot_scale75.h5"),
}
"""ScanObjectNN's variants: the folder, and how its two files end, after `training` and `test`."""

SCAN_CLASSES: Final = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink", "sofa", "toilet"
)  # fmt: skip
"""ScanObjectNN's labels, in the order of their numbers."""


@dataclass(frozen=True, kw_only=True)
class RowReader:
    """Reads rows of HDF5 files. See `catalog.Reader`. A locator is `FILE#ROW`."""

    kind: str = "hdf5"
    location: str
    root: str
    """Absolute path that locators are relative to."""
    up: str
    options: tuple[tuple[str, str], ...]
    textures: Textures

    def read(self, entry: Entry) -> geometry.Cloud:
        points = self._row(entry).astype(np.float32)  # [n, 3]
        bad = len(points) - int(np.isfinite(points).all(axis=1).sum())
        if bad:
            raise UserError(f"{bad} of {len(points)} points are not finite")
        return geometry.Cloud(points=points if self.up == "y" else points[:, [0, 2, 1]] * np.array([1, 1, -1], np.float32))

    def digest(self, entry: Entry) -> bytes:
        row = self._row(entry)
        return hashlib.sha256(f"{row.dtype.str} {row.shape} ".encode() + row.tobytes()).digest()

    def _row(self, entry: Entry) -> np.ndarray[Any, Any]:
        name, _, row = entry.locator.rpartition("#")
        path = Path(self.root, name)
        if not path.is_file():
            raise UserError(f"no such file: {name}")
        try:
            with h5py.File(path, "r") as file:
                return file["data"][int(row)]
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{name}: cannot read row {row}: {error}") from error


def recognises(location: str) -> bool:
    path = Path(location)
    if path.is_file():
        return path.suffix.lower() in (".h5", ".hdf5")
    return any(path.glob("ply_data_*.h5")) or any(path.glob("*_objectdataset*.h5")) or any(path.glob("main_split*/*_objectdataset*.h5"))


def open_source(location: str, *, textures: Textures = "require", variant: str = "", up: str = "y") -> Source:
    """Lists HDF5 files. The options are explained at the head of this module."""
    choice("option up", up, ("y", "z"))
    path = Path(location).absolute()
    if path.is_file():
        root, files, skipped = path.parent, [path.name], Counter[str]()
    else:
        root = folder_at(location)
        files, skipped = find_files(root, (".h5", ".hdf5"))
        if not variant and any("_objectdataset" in name for name in files):
            raise UserError(f"{location!r} is ScanObjectNN, of which there are three: set the option variant to {', '.join(VARIANTS)}")
    if variant:
        folder, ending = VARIANTS[choice("option variant", variant, tuple(VARIANTS))]
        wanted = {f"{folder}/training{ending}", f"{folder}/test{ending}"}
        chosen = [name for name in files if "/".join((root / name).parts[-2:]) in wanted]
        skipped[f".h5 that is not {variant}"] = len(files) - len(chosen)
        files = chosen
    entries = [entry for name in files for entry in _rows(root, name)]
    options = tuple((name, value) for name, value in (("up", up), ("variant", variant)) if value)
    reader = RowReader(location=str(path), root=str(root), up=up, options=options, textures=textures)
    return Source.of(reader, entries, +skipped)


def _rows(root: Path, name: str) -> list[Entry]:
    try:
        with h5py.File(root / name, "r") as file:
            data, labels = file.get("data"), file.get("label")
            if not isinstance(data, h5py.Dataset) or data.ndim != 3 or data.shape[2] != 3:
                held = ", ".join(f"{key} {getattr(value, 'shape', '')}" for key, value in file.items())
                raise UserError(f"{name}: expected a data set `data` of the shape [N, n, 3]; the file holds {held or 'nothing'}")
            numbers = None if labels is None else np.asarray(labels).reshape(-1).astype(int).tolist()
            count = len(data)
    except OSError as error:
        raise UserError(f"{name} is no HDF5 file that can be opened: {error}") from error
    if numbers is not None and len(numbers) != count:
        raise UserError(f"{name}: {count} clouds, but {len(numbers)} labels")
    names = _class_names(root / name)
    split = re.search(r"(?<![a-z])(train|test|val)", Path(name).name)
    text = shape_text(name)
    return [
        Entry(
            id=shape_id(f"{text}/{row:06d}"),
            locator=f"{name}#{row}",
            label="" if numbers is None else _class_name(names, numbers[row], name),
            split=split[1] if split else "",
        )
        for row in range(count)
    ]


def _class_names(path: Path) -> tuple[str, ...]:
    """What the numbers in `label` mean; empty if nothing tells."""
    names = path.parent / "shape_names.txt"
    if names.is_file():
        return tuple(line.strip() for line in names.read_text(encoding="utf-8").splitlines() if line.strip())
    return SCAN_CLASSES if "_objectdataset" in path.name else ()


def _class_name(names: tuple[str, ...], number: int, file: str) -> str:
    if not names:
        return str(number)
    if not 0 <= number < len(names):
        raise UserError(f"{file}: label {number}, but there are {len(names)} class names")
    return names[number]


def example(folder: Path) -> str:
    points = np.random.default_rng(0).normal(size=(2, 64, 3)).astype(np.float32)
    for split in ("train", "test"):
        with h5py.File(folder / f"ply_data_{split}0.h5", "w") as file:
            file["data"], file["label"] = points, np.array([[0], [1]], np.uint8)
    (folder / "shape_names.txt").write_text("chair\ntable\n")
    return str(folder)
