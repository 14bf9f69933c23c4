"""S3DIS (Stanford 3D Indoor Scene Dataset, https://arxiv.org/abs/1702.01105): rooms of six areas with 13 classes of points.

    open_source("Stanford3dDataset_v1.2_Aligned_Version/")     # Area_1/office_1/Annotations/chair_1.txt: lines x y z r g b
    open_source("stanford_indoor3d/")                          # Area_1_office_1.npy [n, 7]: x y z r g b class
    open_source("stanford_indoor3d/", crop="whole", test_area="6")

Id: `Area_1/office_1#x003z012` in both layouts, see `crops`; label: the kind of room. Split: one area is for tests (option `test_area`,
usually 5), the others for training. The points of a room of text files are those of its files in `Annotations`, one file after another in
the order of their names; each file is one object. The .npy rooms have no objects, and so no boxes. Boxes are axis-aligned. `boxes=all`
gives one to each object; `boxes=furniture` only to the five classes that detectors are compared on (GSDN,
https://arxiv.org/abs/2006.12356).

Cutting rooms into columns reads every room once before the build begins: about one second for a million points of an .npy room, two of
text files. All of S3DIS has 273 million points.
"""

import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.geometry import Boxes, Cloud
from pipeline.reading import decoded
from pipeline.sources import crops
from pipeline.sources.catalog import Entry, Labelled, Source, Textures, shape_text
from pipeline.sources.crops import USUAL, Crop
from pipeline.sources.files import choice, folder_at
from pipeline.sources.scenes import SceneReader, array, boxes_around, colors_from, finished_scene, present, whole_numbers

LOOKS_FOR: Final = "Area_1/office_1/Annotations or Area_1_office_1.npy (S3DIS)"

CLASSES: Final = ("ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa", "bookcase", "board", "clutter")
"""The 13 classes, in the order of the numbers in the .npy rooms."""

CLUTTER: Final = {"stairs": "clutter"}
"""Names of annotation files that belong to another class. All users of the data set count stairs as clutter."""

FURNITURE: Final = ("table", "chair", "sofa", "bookcase", "board")
"""The classes that detectors are compared on."""

AREA: Final = re.compile(r"area_(\d+)[a-z]?", re.IGNORECASE)
ROOM_FILE: Final = re.compile(r"(area_\d+[a-z]?)_(.+)\.npy", re.IGNORECASE)
ANNOTATION: Final = re.compile(r"([a-z]+)_?\d*\.txt", re.IGNORECASE)

CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Control characters that are no blanks. A file of the published version has one between two numbers."""


@dataclass(frozen=True, kw_only=True)
class RoomReader(SceneReader):
    """Reads rooms. A locator is `Area_1/office_1`, or `Area_1_office_1.npy`."""

    boxes: Literal["all", "furniture"]

    def files(self, scene: str) -> list[Path]:
        if scene.lower().endswith(".npy"):
            return [present(Path(self.location, scene))]
        return [path for path, _ in annotations(Path(self.location, scene))]

    def scene(self, scene: str) -> Cloud:
        if scene.lower().endswith(".npy"):
            return _from_array(Path(self.location, scene))
        boxed = FURNITURE if self.boxes == "furniture" else CLASSES
        return _from_texts(Path(self.location, scene), boxed)


def _from_array(path: Path) -> Cloud:
    values = array(path, 7, "x y z r g b class")
    part = whole_numbers(values[:, 6], -1, len(CLASSES) - 1, f"{path.name}, column 7 (class)")
    colors, said = colors_from(values[:, 3:6], 255, path.name)
    return finished_scene(values[:, :3], colors, part=part, warnings=said)


def _from_texts(room: Path, boxed: tuple[str, ...]) -> Cloud:
    tables: list[NDArray[Any]] = []
    parts: list[NDArray[Any]] = []
    kinds: dict[int, int] = {}
    said: list[str] = []
    for number, (path, name) in enumerate(annotations(room)):
        values = numbers(path, said)
        tables.append(values)
        parts.append(np.full(len(values), CLASSES.index(name)))
        if name in boxed:
            kinds[number] = boxed.index(name)
    values = np.concatenate(tables)
    said += _missing(room, len(values))
    instance = np.repeat(np.arange(len(tables)), [len(one) for one in tables])
    colors, odd = colors_from(values[:, 3:], 255, room.name)
    boxes: Boxes = boxes_around(values[:, :3], instance, kinds)
    return finished_scene(values[:, :3], colors, part=np.concatenate(parts), instance=instance, boxes=boxes, warnings=(*said, *odd))


def annotations(room: Path) -> list[tuple[Path, str]]:
    """The files of the objects of a room, in the order of their names, each with its class.

    Raises:
        UserError: there are none, or a name has none of the classes.
    """
    folder = _annotated(room)
    if folder is None:
        raise UserError(f"{room.name} has no folder Annotations, which says what its points are")
    found: list[tuple[Path, str]] = []
    for name in sorted(os.listdir(folder)):
        if name.startswith(".") or not name.lower().endswith(".txt"):
            continue
        said = ANNOTATION.fullmatch(name)
        kind = said[1].lower() if said else ""
        kind = CLUTTER.get(kind, kind)
        if kind not in CLASSES:
            raise UserError(f"{room.name}/Annotations/{shape_text(name)}: expected CLASS_NUMBER.txt, where CLASS is {', '.join(CLASSES)}")
        found.append((present(folder / name), kind))
    if not found:
        raise UserError(f"{room.name}/Annotations holds no file CLASS_NUMBER.txt")
    return found


def _annotated(room: Path) -> Path | None:
    """The folder Annotations of a room, in any case; None if it has none."""
    names = sorted(os.listdir(room)) if room.is_dir() else []
    return next((room / name for name in names if name.lower() == "annotations" and (room / name).is_dir()), None)


def numbers(path: Path, said: list[str]) -> NDArray[Any]:
    """The table `[n, 6]` of a text file, with lines x y z r g b.

    Args:
        path: the file.
        said: takes remarks.

    Raises:
        UserError: a line has other than six numbers.
    """
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if CONTROLS.search(data):
        data, lines = _cleaned(data)
        said.append(f"{path.name}: control characters in line {', '.join(map(str, lines[:3]))}{' ...' * (len(lines) > 3)} are left out")
    if not data.strip():
        said.append(f"{path.name} has no points")
        return np.zeros((0, 6))
    try:
        values = np.loadtxt(io.BytesIO(data), ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path.name}: expected lines x y z r g b ({decoded(str(error).encode())})") from error
    if values.shape[1] != 6:
        raise UserError(f"{path.name}: expected six numbers a line (x y z r g b), got {values.shape[1]}")
    return values


def _cleaned(data: bytes) -> tuple[bytes, list[int]]:
    """The text without control characters, and the numbers of the lines that had some.

    A character that stands between two numbers becomes a blank. If the line then has more than six numbers, the character stood within a
    number and is removed.
    """
    lines = data.split(b"\n")
    odd = [index for index, line in enumerate(lines) if CONTROLS.search(line)]
    for index in odd:
        apart = CONTROLS.sub(b" ", lines[index])
        lines[index] = apart if len(apart.split()) <= 6 else CONTROLS.sub(b"", lines[index])
    return b"\n".join(lines), [index + 1 for index in odd]


def _missing(room: Path, count: int) -> Iterator[str]:
    """A remark if the file of the whole room has another number of points than its annotations together."""
    whole = room / f"{room.name}.txt"
    if not whole.is_file():
        return
    lines = sum(1 for line in whole.read_bytes().splitlines() if line.strip())
    if lines != count:
        yield f"{whole.name} has {lines:,} points and its Annotations have {count:,}: is a file of an object missing?"


# ------------------------------------------------------------------------------------------------------------ listing


def recognises(location: str) -> bool:
    """Whether there are rooms in folders of areas, or .npy rooms."""
    if not os.path.isdir(location):
        return False
    root = Path(location)
    return bool(_room_files(root)) or any(_annotated(home / room) for home in _homes(root) for room in _rooms(home))


def _homes(root: Path) -> list[Path]:
    """The folders that hold areas: the location, or folders of the published name in it."""
    inner = [root / name for name in sorted(os.listdir(root)) if name.lower().startswith("stanford3ddataset") and (root / name).is_dir()]
    return [home for home in (root, *inner) if any(AREA.fullmatch(name) and (home / name).is_dir() for name in os.listdir(home))]


def _rooms(home: Path) -> Iterator[str]:
    """The rooms in the areas of a folder: `Area_1/office_1`. A room without its files is among them, and fails when it is read."""
    for area in sorted(home.iterdir()):
        if AREA.fullmatch(area.name) and area.is_dir():
            for room in sorted(area.iterdir()):
                if not room.name.startswith(".") and room.is_dir():
                    yield f"{area.name}/{room.name}"


def _room_files(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root) if ROOM_FILE.fullmatch(name))


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    crop: str = "columns",
    size: str = USUAL["size"],
    stride: str = USUAL["stride"],
    least: str = USUAL["least"],
    test_area: str = "5",
    boxes: str = "all",
) -> Source:
    """Lists rooms. The layouts, `test_area` and `boxes` are explained at the head of this module, the other options in `crops`."""
    cut = Crop.chosen(crop, size, stride, least)
    boxed: Literal["all", "furniture"] = choice("option boxes", boxes, ("all", "furniture"))
    if not re.fullmatch(r"\d+", test_area, re.ASCII):
        raise UserError(f"option test_area: expected the number of an area, as 5, got {test_area!r}")
    root, locators = _found(folder_at(location))
    texts = bool(locators) and not locators[0].lower().endswith(".npy")
    if boxed != "all" and not texts:
        raise UserError("option boxes: the .npy rooms have no boxes; the text folders have them")
    options = (("boxes", boxed), *cut.options, ("test_area", test_area))
    reader = RoomReader(kind="s3dis", location=str(root), options=tuple(sorted(options)), textures=textures, crop=cut, boxes=boxed)
    scenes = [_entry(locator, int(test_area)) for locator in locators]
    entries, notes = crops.listed(scenes, cut, lambda scene: reader.scene(scene.locator).points)
    areas = sorted({entry.id.partition("/")[0] for entry in scenes})
    notes.append(f"rooms of area {test_area} are the test split (--set source.test_area=K chooses another); found: {', '.join(areas)}")
    if not any(entry.split == "test" for entry in scenes):
        notes.append(f"there is no room of area {test_area}, so nothing is left for tests")
    names = FURNITURE if boxed == "furniture" else CLASSES
    if texts:
        told = Labelled(parts=CLASSES, instances=True, origins=True, boxes=names, most=_most(root, locators, names))
    else:
        told = Labelled(parts=CLASSES, origins=True)
        notes.append("the .npy rooms say no objects, so there are neither instances nor boxes; the text folders have them")
    return Source.of(reader, entries, _skipped(root, texts), notes, labelled=told)


def _found(root: Path) -> tuple[Path, list[str]]:
    """The folder that locators are relative to, and the rooms in one of the layouts.

    Raises:
        UserError: there are rooms in both layouts, or in several folders.
    """
    files = _room_files(root)
    homes = [home for home in _homes(root) if next(_rooms(home), None)]
    if files and homes:
        raise UserError(f"{root.name!r} holds rooms as .npy files and as folders of areas; give a folder that holds one of them")
    if len(homes) > 1:
        raise UserError(f"rooms are in several folders, {', '.join(home.name for home in homes)}; give one of them")
    return (homes[0], list(_rooms(homes[0]))) if homes else (root, files)


def _entry(locator: str, test_area: int) -> Entry:
    file = ROOM_FILE.fullmatch(locator)
    area, room = (file[1], file[2]) if file else locator.split("/")
    said = AREA.fullmatch(area)
    number = int(said[1]) if said else -1
    kind = re.sub(r"_\d+$", "", room)
    return Entry(id=shape_text(f"{area}/{room}"), locator=locator, label=shape_text(kind), split="test" if number == test_area else "train")


def _most(root: Path, locators: list[str], names: tuple[str, ...]) -> int:
    """The largest number of boxes of a room; rooms that cannot be listed fail when they are read."""
    counts = [1]  # an array of boxes has room for one at least
    for locator in locators:
        try:
            counts.append(sum(kind in names for _, kind in annotations(root / locator)))
        except UserError:
            continue
    return max(counts)


def _skipped(root: Path, texts: bool) -> Counter[str]:
    """Files beside the rooms, by extension."""
    skipped: Counter[str] = Counter()
    for path in root.iterdir():
        if path.is_file() and (texts or not ROOM_FILE.fullmatch(path.name)):
            skipped["hidden" if path.name.startswith(".") else path.suffix.lower() or "no extension"] += 1
    return skipped


def example(folder: Path) -> str:
    rng = np.random.default_rng(0)
    for room in ("Area_1/office_1", "Area_5/hallway_1"):
        place = folder / room / "Annotations"
        place.mkdir(parents=True, exist_ok=True)
        for name, low, high in (("floor_1", (0, 0, 0), (0.9, 0.9, 0)), ("chair_1", (0.2, 0.2, 0), (0.6, 0.6, 0.8))):
            rows = np.column_stack([rng.uniform(low, high, (200, 3)), rng.integers(0, 256, (200, 3))])
            np.savetxt(place / f"{name}.txt", rows, fmt=("%.3f",) * 3 + ("%d",) * 3)
    return str(folder)
