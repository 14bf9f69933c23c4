"""S3DIS (Stanford 3D Indoor Scene Dataset, https://arxiv.org/abs/1702.01105): rooms of six areas with 13 classes of points.

    open_source("Stanford3dDataset_v1.2_Aligned_Version/")     # Area_1/office_1/Annotations/chair_1.txt: lines x y z r g b
    open_source("stanford_indoor3d/")                          # Area_1_office_1.npy [n, 7]: x y z r g b class; also trainval_fullarea/
    open_source("s3dis_data/")                                 # Area_1_office_1_{point,sem_label,ins_label}.npy of MMDetection3D
    open_source("s3dis/")                                      # Area_1/office_1/{coord,color,segment,instance}.npy of Pointcept
    open_source("stanford_indoor3d/", crop="whole", test_area="6")

The location may also be the folder above. Id: `Area_1/office_1#x003z012` in all layouts, see `crops`; label: the kind of room. Split: one
area is for tests (option `test_area`, usually 5), the others for training. The points of a room of text files are those of its files in
`Annotations`, one file after another in the order of their names; each file is one object. A file called as a copy, as `wall_3 (1).txt` of
Area_5/office_36, is left out if all of its lines are in `wall_3.txt`, too. Rooms `[n, 7]` have no objects, and so no
boxes. Boxes are axis-aligned. `boxes=all` gives one to each object; `boxes=furniture` only to the five classes that detectors are compared
on (GSDN, https://arxiv.org/abs/2006.12356).

Cutting rooms into columns reads every room once before the build begins: about one second for a million points of an .npy room, two of
text files. All of S3DIS has 273 million points.
"""

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.geometry import Boxes, Cloud
from pipeline.reading import decoded
from pipeline.sources.catalog import Entry, Labelled, Source, Textures, shape_text
from pipeline.sources.crops import USUAL, Crop
from pipeline.sources.folders import folder_at
from pipeline.sources.options import choice
from pipeline.sources.scenes import (
    COORDINATES,
    SceneReader,
    array,
    array_files,
    boxes_around,
    colors_from,
    finished_scene,
    from_arrays,
    kinds_of,
    labels_of_points,
    other_files,
    present,
    room_for,
    whole_numbers,
)

LOOKS_FOR: Final = "Area_1/office_1/Annotations, Area_1/office_1/coord.npy or Area_1_office_1.npy (S3DIS)"

CLASSES: Final = ("ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa", "bookcase", "board", "clutter")
"""The 13 classes, in the order of the numbers in the .npy rooms."""

CLUTTER: Final = {"stairs": "clutter"}
"""Names of annotation files that belong to another class. All users of the data set count stairs as clutter."""

FURNITURE: Final = ("table", "chair", "sofa", "bookcase", "board")
"""The classes that detectors are compared on."""

AREA: Final = re.compile(r"area_(\d+)[a-z]?", re.IGNORECASE)
ROOM_FILE: Final = re.compile(r"(area_\d+[a-z]?)_(.+?)(_point|_sem_label|_ins_label)?\.npy", re.IGNORECASE)
"""Pattern for the names of .npy rooms: area, room and, in MMDetection3D's layout, which of three arrays it is."""
POINTS: Final = "_point.npy"
"""End of the locator of a room in MMDetection3D's layout."""
SEGMENTS: Final = "segment.npy"
"""Name of the classes in a folder of arrays."""
GLANCE: Final = 100
"""Number of subfolders in which rooms are looked for."""
ANNOTATION: Final = re.compile(r"([a-z]+)_?\d*(?: \(\d+\))?\.txt", re.IGNORECASE)
COPY: Final = re.compile(r"(.+?) \(\d+\)(\.txt)", re.IGNORECASE)
"""Pattern of the name of a file that a program wrote beside another one of the same name."""

CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Control characters that are no blanks. A file of the published version has one between two numbers."""


@dataclass(frozen=True, kw_only=True)
class RoomReader(SceneReader):
    """Reads rooms. A locator is `Area_1/office_1`, or `Area_1_office_1.npy`."""

    boxes: Literal["all", "furniture"]

    def files(self, scene: str) -> list[Path]:
        path = Path(self.location, scene)
        if scene.endswith(POINTS):
            return [present(other) for other in _three(path)]
        if scene.lower().endswith(".npy"):
            return [present(path)]
        return array_files(path, SEGMENTS) if _of_arrays(path) else [other for other, _ in annotations(path)]

    def scene(self, scene: str) -> Cloud:
        path = Path(self.location, scene)
        boxed = FURNITURE if self.boxes == "furniture" else CLASSES
        if scene.endswith(POINTS):
            return _from_three(path, boxed)
        if scene.lower().endswith(".npy"):
            return _from_array(path)
        return _from_folder(path, boxed) if _of_arrays(path) else _from_texts(path, boxed)


def _from_array(path: Path) -> Cloud:
    values = array(path, 7, "x y z r g b class")
    part = whole_numbers(values[:, 6], -1, len(CLASSES) - 1, f"{path.name}, column 7 (class)")
    colors, said = colors_from(values[:, 3:6], 255, path.name)
    return finished_scene(values[:, :3], colors, part=part, warnings=said)


def _three(points: Path) -> tuple[Path, Path, Path]:
    """The files of points, classes and objects of a room in MMDetection3D's layout."""
    stem = points.name.removesuffix(POINTS)
    return points, points.with_name(f"{stem}_sem_label.npy"), points.with_name(f"{stem}_ins_label.npy")


def _from_three(path: Path, boxed: tuple[str, ...]) -> Cloud:
    """A room in MMDetection3D's layout (https://github.com/open-mmlab/mmdetection3d, data/s3dis). Objects are counted from 1."""
    points, classes, objects = _three(path)
    values = array(points, 6, "x y z r g b")
    part, instance = (labels_of_points(path, points, len(values)) for path in (classes, objects))
    part = whole_numbers(part, -1, len(CLASSES) - 1, classes.name)
    instance = whole_numbers(instance, 0, 2**31 - 1, objects.name) - 1
    colors, said = colors_from(values[:, 3:], 255, points.name)
    boxes = boxes_around(values[:, :3], instance, kinds_of(instance, part, _places(boxed)))
    return finished_scene(values[:, :3], colors, part=part, instance=instance, boxes=boxes, warnings=said)


def _from_folder(room: Path, boxed: tuple[str, ...]) -> Cloud:
    """A room in a folder of arrays, see `scenes.from_arrays`. A room without objects has no boxes."""
    points, given = from_arrays(room, SEGMENTS, len(CLASSES))
    part, instance = given["part"], given["instance"]
    known = part is not None and instance is not None
    boxes = boxes_around(points, instance, kinds_of(instance, part, _places(boxed))) if known else None
    return finished_scene(points, boxes=boxes, **given)


def _of_arrays(room: Path) -> bool:
    """Whether a room is a folder of arrays."""
    return (room / COORDINATES).is_file() and _annotated(room) is None


def _places(boxed: tuple[str, ...]) -> list[int]:
    """By class of points: that of boxes, -1 for none."""
    return [boxed.index(name) if name in boxed else -1 for name in CLASSES]


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
    said += [f"{one} is left out: all of its lines are in {other}, too" for one, other in _copies(room).items()]
    values = np.concatenate(tables)
    said += _missing(room, len(values))
    instance = np.repeat(np.arange(len(tables)), [len(one) for one in tables])
    colors, odd = colors_from(values[:, 3:], 255, room.name)
    boxes: Boxes = boxes_around(values[:, :3], instance, kinds)
    return finished_scene(values[:, :3], colors, part=np.concatenate(parts), instance=instance, boxes=boxes, warnings=(*said, *odd))


def annotations(room: Path) -> list[tuple[Path, str]]:
    """The files of the objects of a room, in the order of their names, each with its class. Copies of others are left out.

    Raises:
        UserError: there are none, or a name has none of the classes.
    """
    folder = _annotated(room)
    if folder is None:
        raise UserError(f"{room.name} has no folder Annotations, which says what its points are")
    found: list[tuple[Path, str]] = []
    copies = _copies(room)
    for name in sorted(os.listdir(folder)):
        if name.startswith(".") or not name.lower().endswith(".txt") or name in copies:
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


def _copies(room: Path) -> dict[str, str]:
    """The files of objects that are called as a copy of another one and hold nothing else than it does, each with the other one."""
    folder = _annotated(room)
    found: dict[str, str] = {}
    for name in sorted(os.listdir(folder)) if folder else ():
        said = COPY.fullmatch(name)
        other = f"{said[1]}{said[2]}" if said else ""
        if folder and other and not name.startswith(".") and (folder / other).is_file():
            own, known = (set((folder / one).read_bytes().split(b"\n")) for one in (name, other))
            if {line.strip() for line in own} <= {line.strip() for line in known} | {b""}:
                found[name] = other
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
    """Whether there are rooms in folders of areas, or .npy rooms; or it is an area or a room, of which `open_source` says what to give."""
    if not os.path.isdir(location):
        return False
    if _whole(Path(location).absolute()) is not None:
        return True
    try:
        _, locators = _found(Path(location).absolute())
    except UserError:  # there are several layouts, which `open_source` refuses
        return True
    except OSError:  # a folder may not be read
        return False
    return bool(locators)


def _whole(part: Path) -> Path | None:
    """The folder of areas that an area, a room or its annotations belong to; None if the folder is none of these."""
    part = part.parent if part.name.lower() == "annotations" else part
    area = part if AREA.fullmatch(part.name) else part.parent
    if not AREA.fullmatch(area.name) or (part != area and not (_annotated(part) or _of_arrays(part))):
        return None
    return area.parent if _areas(area.parent) else None


def _holders(root: Path) -> list[Path]:
    """The folders in which rooms or areas are looked for: the location, the folders in it, and `raw` in those, as OpenPoints has it."""
    inner = [root / name for name in sorted(os.listdir(root))[:GLANCE] if not name.startswith(".") and (root / name).is_dir()]
    return [root, *inner, *(home / "raw" for home in inner if (home / "raw").is_dir())]


def _areas(home: Path) -> list[str]:
    """The rooms in the areas of a folder, if one of them has its files."""
    if not any(AREA.fullmatch(name) and (home / name).is_dir() for name in os.listdir(home)):
        return []
    rooms = list(_rooms(home))
    return rooms if any(_annotated(home / room) or _of_arrays(home / room) for room in rooms) else []


def _rooms(home: Path) -> Iterator[str]:
    """The rooms in the areas of a folder: `Area_1/office_1`. A room without its files is among them, and fails when it is read."""
    for area in sorted(home.iterdir()):
        if AREA.fullmatch(area.name) and area.is_dir():
            for room in sorted(area.iterdir()):
                if not room.name.startswith(".") and room.is_dir():
                    yield f"{area.name}/{room.name}"


def _room_files(home: Path) -> list[str]:
    """The locators of the .npy rooms of a folder. A room in three arrays is listed if any of them is there."""
    said = [match for name in os.listdir(home) if (match := ROOM_FILE.fullmatch(name))]
    return sorted({f"{one[1]}_{one[2]}{POINTS}" if one[3] else one[0] for one in said})


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
    if (whole := _whole(folder_at(location))) is not None:
        raise UserError(f"{location!r} is a part of a collection; give {str(whole)!r}, because the split goes by areas")
    root, locators = _found(folder_at(location))
    bare = all(locator.lower().endswith(".npy") and not locator.endswith(POINTS) for locator in locators)
    if boxed != "all" and bare:
        raise UserError("option boxes: rooms [n, 7] have no boxes; the text folders have them")
    options = (("boxes", boxed), *cut.options, ("test_area", test_area))
    reader = RoomReader(kind="s3dis", location=str(root), options=tuple(sorted(options)), textures=textures, crop=cut, boxes=boxed)
    scenes = [_entry(locator, int(test_area)) for locator in locators]
    entries, notes = reader.listed(scenes)
    areas = sorted({entry.id.partition("/")[0] for entry in scenes})
    notes.append(f"rooms of area {test_area} are the test split (--set source.test_area=K chooses another); found: {', '.join(areas)}")
    if not any(entry.split == "test" for entry in scenes):
        notes.append(f"there is no room of area {test_area}, so nothing is left for tests")
    names = FURNITURE if boxed == "furniture" else CLASSES
    if not bare:
        most = room_for((_count(root / locator, names) for locator in locators), cut)
        told = Labelled(parts=CLASSES, instances=True, origins=True, boxes=names, most=most)
    else:
        told = Labelled(parts=CLASSES, origins=True)
        notes.append("rooms [n, 7] say no objects, so there are neither instances nor boxes; the text folders have them")
    return Source.of(reader, entries, other_files([root], ROOM_FILE.fullmatch), notes, labelled=told)


def _found(root: Path) -> tuple[Path, list[str]]:
    """The folder that locators are relative to, and the rooms in one of the layouts.

    Raises:
        UserError: there are rooms in several layouts, or in several folders.
    """
    held = {home: (_room_files(home), _areas(home)) for home in _holders(root)}
    found = [(home, one) for home, both in held.items() for one in both if one]
    if any(both[0] and both[1] for both in held.values()):
        raise UserError(f"{root.name!r} holds rooms as .npy files and as folders of areas; give a folder that holds one of them")
    if len(found) > 1:
        raise UserError(f"rooms are in several folders, {', '.join(home.name for home, _ in found)}; give one of them")
    return found[0] if found else (root, [])


def _entry(locator: str, test_area: int) -> Entry:
    file = ROOM_FILE.fullmatch(locator)
    area, room = (file[1], file[2]) if file else locator.split("/")
    said = AREA.fullmatch(area)
    number = int(said[1]) if said else -1
    kind = re.sub(r"_\d+$", "", room)
    return Entry(id=shape_text(f"{area}/{room}"), locator=locator, label=shape_text(kind), split="test" if number == test_area else "train")


def _count(room: Path, names: tuple[str, ...]) -> int | None:
    """The number of boxes of a room, or a little more: objects in arrays are counted whatever their class. None if it cannot be read."""
    try:
        arrays = room.name.endswith(POINTS)
        if arrays or _of_arrays(room):
            objects = _three(room)[2] if arrays else room / "instance.npy"
            return len(np.unique(array(objects, None, "one object for each point")))
        return sum(kind in names for _, kind in annotations(room))
    except (UserError, OSError):
        return None


def example(folder: Path) -> str:
    rng = np.random.default_rng(0)
    for room in ("Area_1/office_1", "Area_5/hallway_1"):
        place = folder / room / "Annotations"
        place.mkdir(parents=True, exist_ok=True)
        for name, low, high in (("floor_1", (0, 0, 0), (0.9, 0.9, 0)), ("chair_1", (0.2, 0.2, 0), (0.6, 0.6, 0.8))):
            rows = np.column_stack([rng.uniform(low, high, (200, 3)), rng.integers(0, 256, (200, 3))])
            np.savetxt(place / f"{name}.txt", rows, fmt=("%.3f",) * 3 + ("%d",) * 3)
    return str(folder)
