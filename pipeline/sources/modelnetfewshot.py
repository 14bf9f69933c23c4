"""The few-shot folds of ModelNet40 that Point-BERT has published and its followers use: pickles, one for each fold.

    open_source("ModelNetFewshot/")                      # 5way_10shot/0.pkl ... 9.pkl, 5way_20shot/, 10way_10shot/, 10way_20shot/

A file `WAYSway_SHOTSshot/NUMBER.pkl` (also `WAYSwaySHOTSshot/`) holds a dict with two lists, `train` and `test`, of
(cloud [n, 6], number of the class within the fold, class). A cloud is x y z and the normal. The class is its number among the 40 of
ModelNet40 in alphabetical order, or its name. This is how datasets/generate_few_shot_data.py and datasets/ModelNetDatasetFewShot.py of
https://github.com/Julie-tang00/Point-BERT write and read them. The files are read by `pipeline.formats.unpickled`, which executes nothing.

Every fold has two splits of its own (`cache_schema.folds`), and a shape of several folds becomes a row in each. Id: file and row,
`5way10shot/0/train/000012`. Up axis, by the option `up`: `y` (default, as these clouds are published) or `z`.

A file whose fold is not what its name says (another number of classes or shapes, numbers that mean two classes) stops the listing: its
results would be no results of the published folds. A cloud that is damaged fails alone.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema import class_lists
from cache_schema.errors import UserError
from cache_schema.folds import Fold
from pipeline import geometry
from pipeline.formats import columns, unpickled
from pipeline.sources.catalog import Entry, Source, Textures, shape_id, shape_text
from pipeline.sources.crops import remembered
from pipeline.sources.files import find_files
from pipeline.sources.folders import folder_at
from pipeline.sources.hdf5 import digest_of
from pipeline.sources.options import choice

LOOKS_FOR: Final = "5way_10shot/0.pkl or 5way10shot/0.pkl (few-shot folds of ModelNet40)"

FOLDER: Final = re.compile(r"([1-9]\d{0,3})way_?([1-9]\d{0,3})shot")
"""Pattern of the folders of the folds with as many classes and shapes."""
FILE: Final = re.compile(r"(?:.*/)?([1-9]\d{0,3})way_?([1-9]\d{0,3})shot/(0|[1-9]\d{0,3})\.pkl")
"""Pattern of the path of a fold."""
SIDES: Final = ("train", "test")
"""Keys of the dict in a file."""
CLASSES: Final = class_lists.names("modelnet40")

Side = Sequence[tuple[NDArray[Any], int, str]]
"""Training shapes or queries of a fold: cloud, number of the class within the fold, and name of the class."""


@dataclass(frozen=True, kw_only=True)
class FoldReader:
    """Reads the clouds of folds. See `catalog.Reader`. A locator is `FILE#SIDE#ROW`."""

    kind: str = "modelnetfewshot"
    location: str
    up: Literal["y", "z"]
    options: tuple[tuple[str, str], ...]
    textures: Textures

    def read(self, entry: Entry) -> geometry.Geometry:
        warnings: list[str] = []
        cloud = columns.unnamed(self._cloud(entry), warnings.append)
        return geometry.finished(dataclasses.replace(cloud, warnings=tuple(warnings)), self.up)

    def digest(self, entry: Entry) -> bytes:
        return digest_of(self._cloud(entry)).digest()

    def written(self, entry: Entry) -> float:
        """See `catalog.DatedReader`."""
        try:
            state = Path(self.location, entry.locator.split("#")[0]).stat()
        except OSError:
            return 0.0
        return max(state.st_mtime, state.st_ctime)

    def _cloud(self, entry: Entry) -> NDArray[Any]:
        """The cloud of an entry, [n, c].

        Raises:
            UserError: the file is gone, or has changed since it was listed.
        """
        name, side, row = entry.locator.split("#")
        path = Path(self.location, name)
        if not path.is_file():
            raise UserError(f"no such file: {name}")
        state = path.stat()
        sides = remembered("fold", (str(path), state.st_size, state.st_mtime_ns), lambda: _read(path))
        if int(row) >= len(sides[side]):
            raise UserError(f"{shape_text(name)}: there is no {side} shape {row}, it has {len(sides[side])}: build a new cache")
        cloud, _, label = sides[side][int(row)]
        if label != entry.label:
            raise UserError(f"{shape_text(name)}: {side} shape {row} is of {label!r} now, and was of {entry.label!r}: build a new cache")
        return cloud


def _read(path: Path) -> dict[str, Side]:
    """Training shapes and queries of a fold.

    Raises:
        UserError: the file is damaged, asks for anything but numbers, or holds no fold.
    """
    name = shape_text(path.name)
    try:
        found = unpickled.read(path)
    except UserError as error:
        raise UserError(f"{shape_text(path.parent.name)}: {error}. Fetch the file again, or take it away") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(side), list | tuple) for side in SIDES):
        raise UserError(f"{name}: expected a dict with the lists {' and '.join(SIDES)}, got {_told(found)}")
    return {side: [_item(item, f"{name}, {side} {row}") for row, item in enumerate(found[side])] for side in SIDES}


def _told(found: Any) -> str:
    return f"a dict with {', '.join(shape_text(str(key)) for key in list(found)[:8])}" if isinstance(found, dict) else type(found).__name__


def _item(item: Any, where: str) -> tuple[NDArray[Any], int, str]:
    """One shape of a list.

    Raises:
        UserError: it is something else than a cloud, a number and a class.
    """
    if not isinstance(item, list | tuple) or len(item) != 3 or not isinstance(item[0], np.ndarray):
        raise UserError(f"{where}: expected (cloud, number of the class in the fold, class), got {type(item).__name__}")
    cloud, number, kind = item
    if isinstance(kind, str):
        return cloud, _number(number, where), shape_text(kind)
    place = _number(kind, where)
    if not 0 <= place < len(CLASSES):
        raise UserError(f"{where}: the class {place} is none of the {len(CLASSES)} of ModelNet40 (0 to {len(CLASSES) - 1})")
    return cloud, _number(number, where), CLASSES[place]


def _number(value: Any, where: str) -> int:
    """A whole number, from a number of Python or NumPy, or from an array with one.

    Raises:
        UserError: it is anything else.
    """
    values = np.asarray(value).reshape(-1)
    if values.dtype.kind not in "iu" or values.size != 1:
        raise UserError(f"{where}: expected a whole number for the class, got {str(value)[:40]!r}")
    return int(values[0])


# ----------------------------------------------------------------------------------------------------------------- listing


def recognises(location: str) -> bool:
    """Whether there is a folder of folds with a pickle that is named by a number."""
    path = Path(location)
    folders = [one for one in path.iterdir() if FOLDER.fullmatch(one.name) and one.is_dir()] if path.is_dir() else []
    return any(re.fullmatch(r"\d+\.pkl", file.name) for folder in folders for file in folder.iterdir())


def open_source(location: str, *, textures: Textures = "require", up: str = "y") -> Source:
    """Lists the folds. The layout is explained at the head of this module."""
    axis: Literal["y", "z"] = choice("option up", up, ("y", "z"))
    root = folder_at(location)
    names, skipped = find_files(root, (".pkl",))
    entries: list[Entry] = []
    files: dict[Fold, str] = {}
    for name in sorted(names):
        way = FILE.fullmatch(name)
        if way is None:
            skipped[".pkl elsewhere"] += 1
            continue
        fold = Fold(ways=int(way[1]), shots=int(way[2]), number=int(way[3]))
        if fold in files:
            raise UserError(f"two files hold one fold: {shape_text(files[fold])} and {shape_text(name)}; keep one of them")
        files[fold] = name
        entries += _entries(root, name, fold)
    options = (("up", up),) if up != "y" else ()
    reader = FoldReader(location=str(root), up=axis, options=options, textures=textures)
    notes = [_counted(files), f"+{axis.upper()} is taken for up; choose with --set source.up=y|z"] if files else []
    return Source.of(reader, entries, +skipped, notes)


def _counted(files: dict[Fold, str]) -> str:
    """How many folds there are, in words, with the way to use them."""
    counts = Counter((fold.ways, fold.shots) for fold in files)
    told = ", ".join(f"{count} of {ways}-way {shots}-shot" for (ways, shots), count in sorted(counts.items()))
    return f"folds: {told}; each has splits of its own, which `mmpd-train eval fewshot ... --set stored=true` reads"


def _entries(root: Path, name: str, fold: Fold) -> list[Entry]:
    """The entries of a fold.

    Raises:
        UserError: the file is not the fold that its name says.
    """
    sides = _read(root / name)
    text = shape_text(name)
    named: dict[int, str] = {}
    for number, label in ((number, label) for side in SIDES for _, number, label in sides[side]):
        if named.setdefault(number, label) != label:
            raise UserError(f"{text}: the number {number} means {named[number]!r} and {label!r}: the file is no sound fold, fetch it again")
    if len(set(named.values())) != len(named):
        raise UserError(f"{text}: one class has two numbers: the file is no sound fold, fetch it again")
    shots = Counter(label for _, _, label in sides["train"])
    asked = {label for _, _, label in sides["test"]}
    if len(shots) != fold.ways or set(shots.values()) != {fold.shots} or asked != set(shots):
        got = f"{len(shots)} classes with {sorted(set(shots.values()))} training shapes, and queries of {len(asked)}"
        raise UserError(f"{text}: expected {fold.ways} classes with {fold.shots} training shapes and queries each, got {got}")
    return [
        Entry(
            id=shape_id(f"{fold.ways}way{fold.shots}shot/{fold.number}/{side}/{row:06d}"),
            locator=f"{name}#{side}#{row}",
            label=label,
            split=fold.train if side == "train" else fold.test,
        )
        for side in SIDES
        for row, (_, _, label) in enumerate(sides[side])
    ]


# ----------------------------------------------------------------------------------------------------------------- example


def write_example(folder: Path, ways: int = 2, shots: int = 1, queries: int = 1, count: int = 2, points: int = 64) -> str:
    """Write small folds as Point-BERT writes them, and return their location.

    Args:
        folder: where.
        ways: number of classes of a fold.
        shots: number of training shapes of a class.
        queries: number of queries of a class.
        count: number of folds.
        points: number of points of a cloud.
    """
    import pickle  # only to write: nothing is ever read by it

    rng = np.random.default_rng(0)
    place = folder / f"{ways}way_{shots}shot"
    place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        chosen = rng.choice(len(CLASSES), ways, replace=False).astype(np.int32)

        def shape(kind: np.int32) -> NDArray[np.float32]:
            rays = rng.normal(size=(points, 3))
            normals = rays / np.linalg.norm(rays, axis=1, keepdims=True)
            return np.hstack([normals * [1 + kind % 3, 1, 1], normals]).astype(np.float32)

        sides = {
            side: [(shape(kind), i, kind) for i, kind in enumerate(chosen) for _ in range(each)]
            for side, each in (("train", shots), ("test", queries))
        }
        (place / f"{number}.pkl").write_bytes(pickle.dumps(sides))
    return str(folder)


def example(folder: Path) -> str:
    return write_example(folder)
