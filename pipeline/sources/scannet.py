"""ScanNet v2 (https://arxiv.org/abs/1702.04405): scanned rooms with 20 classes of points, objects, and boxes of 18 classes.

    open_source("scannet/")                             # scans/scene0000_00/scene0000_00_vh_clean_2.ply, and beside it its labels
    open_source("scannet_train_detection_data/")        # scene0000_00_{vert,sem_label,ins_label,bbox}.npy, as VoteNet exports them
    open_source("scannet_instance_data/")               # the same with {aligned_bbox,axis_align_matrix}.npy, as MMDetection3D does
    open_source("scannet/")                             # train/scene0000_00/{coord,color,segment20,instance}.npy, as Pointcept does
    open_source("scans/", lists="meta_data/", crop="columns")

The points of a scan are the vertices of `SCENE_vh_clean_2.ply`, in its order. The axis alignment in `SCENE.txt` is applied. Classes are
those of `SCENE_vh_clean_2.labels.ply`; without it, those of `SCENE.aggregation.json` with `SCENE_vh_clean_2.0.010000.segs.json` and the
table `scannetv2-labels.combined.tsv`. Numbers that are no class of NYU40, as 50 in scene0270_00, count as no label
(https://github.com/ScanNet/ScanNet/issues/20). Objects come from the two .json files. A scan without any of these files, as those for
the test server, has no labels. Boxes are axis-aligned, around the points of the objects that have one of the 18 classes of VoteNet
(https://arxiv.org/abs/1904.09664); VoteNet's export stores them, because it keeps only some of the points. MMDetection3D's vertices are
not aligned, and its matrix is applied to them (https://github.com/open-mmlab/mmdetection3d, data/scannet). Pointcept's are not aligned,
either, and nothing aligns them, so there are no boxes.

The split lists `scannetv2_{train,val,test}.txt` and the table are looked for in the folder of the option `lists`, else at the location,
beside it, and in `meta_data` of both. A scan in `scans_test` is in the split test. Id: `scene0000_00#whole`. Label: the kind of scene.
"""

import csv
import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.terminal import counted
from pipeline.formats import ply
from pipeline.geometry import Boxes, Cloud
from pipeline.reading import File
from pipeline.sources.catalog import Entry, Labelled, Source, Textures, shape_text
from pipeline.sources.crops import USUAL, Crop
from pipeline.sources.folders import folder_at
from pipeline.sources.scenes import (
    COORDINATES,
    SceneReader,
    array,
    array_files,
    boxes_around,
    colors_from,
    finished_scene,
    from_arrays,
    labels_of_points,
    other_files,
    present,
    room_for,
    rows_of_boxes,
    upright,
    whole_numbers,
)

LOOKS_FOR: Final = "SCENE/SCENE_vh_clean_2.ply, SCENE/coord.npy or SCENE_vert.npy (ScanNet)"

NYU40: Final = {
    1: "wall",
    2: "floor",
    3: "cabinet",
    4: "bed",
    5: "chair",
    6: "sofa",
    7: "table",
    8: "door",
    9: "window",
    10: "bookshelf",
    11: "picture",
    12: "counter",
    14: "desk",
    16: "curtain",
    24: "refrigerator",
    28: "shower curtain",
    33: "toilet",
    34: "sink",
    36: "bathtub",
    39: "otherfurniture",
}
"""By number of the 40 classes of NYU: the 20 classes of the benchmark. Points of the other classes count as not labelled."""

CLASSES: Final = tuple(NYU40.values())
"""The classes of points."""

OBJECTS: Final = tuple(name for name in CLASSES if name not in ("wall", "floor"))
"""The classes of boxes. VoteNet has the same 18 and calls the last one garbagebin."""

LAST: Final = 40
"""Largest number of a class of NYU40."""

FEW: Final = 3
"""Most numbers that are no class of NYU40 in the labels of a scan. Published scans have one."""

HOMES: Final = ("scans", "scans_test", "scannet_train_detection_data", "scannet_instance_data", "train", "val", "test")
"""Usual names of folders of scans. The last three are Pointcept's, and tell the split."""

SCENE: Final = re.compile(r"scene\d{4}_\d{2}")
EXPORT: Final = re.compile(r"(scene\d{4}_\d{2})_(?:vert|sem_label|ins_label|bbox|aligned_bbox|unaligned_bbox|axis_align_matrix)\.npy")
"""Names of the files of VoteNet and MMDetection3D."""
TABLE: Final = "scannetv2-labels.combined.tsv"
EXPORTED: Final = ("vert", "sem_label", "ins_label", "bbox")
"""Ends of the names of VoteNet's files."""
ASKEW: Final = ("vert", "sem_label", "ins_label", "aligned_bbox", "axis_align_matrix")
"""Ends of the names of MMDetection3D's files, whose vertices are not aligned."""
SEGMENTS: Final = "segment20.npy"
"""Name of the classes in a folder of arrays. They are numbered as in `CLASSES`."""


@dataclass(frozen=True, kw_only=True)
class ScanReader(SceneReader):
    """Reads scans. A locator is the folder of a scan, or `scene0000_00_vert.npy`."""

    table: str
    """Absolute path of the table of class names; empty if there is none."""

    def files(self, scene: str) -> list[Path]:
        path = Path(self.location, scene)
        if scene.endswith(".npy"):
            return [present(other) for other in _exported(path)]
        if _of_arrays(path):
            return array_files(path, SEGMENTS)
        found = [present(path / f"{path.name}_vh_clean_2.ply")]
        return found + [other for other in _beside(path) if other.is_file()] + ([present(Path(self.table))] if self.table else [])

    def scene(self, scene: str) -> Cloud:
        path = Path(self.location, scene)
        if scene.endswith(".npy"):
            return _from_export(path)
        if _of_arrays(path):
            points, given = from_arrays(path, SEGMENTS, len(CLASSES))
            return finished_scene(points, **given)
        return _from_scan(path, _numbers_of_classes(self.table) if self.table else None)


def _of_arrays(scan: Path) -> bool:
    """Whether a scan is a folder of arrays, as Pointcept prepares it."""
    return (scan / COORDINATES).is_file()


def _beside(scan: Path) -> list[Path]:
    """The files that may lie beside the vertices: classes, segments, objects, alignment."""
    ends = ("_vh_clean_2.labels.ply", "_vh_clean_2.0.010000.segs.json", ".aggregation.json", ".txt")
    return [scan / f"{scan.name}{end}" for end in ends]


def _exported(vertices: Path) -> list[Path]:
    """The files of an exported scene, in the order of `EXPORTED` or of `ASKEW`. A scan for the test server has its vertices alone.

    Raises:
        UserError: there are files of both exports.
    """
    stem = vertices.name.removesuffix("vert.npy")
    there = {end for end in (*EXPORTED, *ASKEW) if vertices.with_name(f"{stem}{end}.npy").is_file()}
    askew = there & (set(ASKEW) - set(EXPORTED))
    if askew and "bbox" in there:
        raise UserError(
            f"{stem}bbox.npy is of VoteNet's export and {stem}{min(askew)}.npy of MMDetection3D's; keep the files of one of them"
        )
    if there == {"vert"} and next(vertices.parent.glob("*_axis_align_matrix.npy"), None):
        return [vertices]
    return [vertices.with_name(f"{stem}{end}.npy") for end in (ASKEW if askew else EXPORTED)]


# ------------------------------------------------------------------------------------------------------------- exports


def _from_export(vertices: Path) -> Cloud:
    """A scene as VoteNet or MMDetection3D exports it: points, and boxes with numbers of NYU40."""
    files = _exported(vertices)
    values = array(vertices, 6, "x y z r g b")
    colors, said = colors_from(values[:, 3:], 255, vertices.name)
    if len(files) == 1:
        return finished_scene(values[:, :3], colors, warnings=(*said, "the scan has no labels", "no axis alignment"))
    labels = [labels_of_points(path, vertices, len(values)) for path in files[1:3]]
    part = _classes(whole_numbers(labels[0], 0, LAST, files[1].name), CLASSES)
    instance = whole_numbers(labels[1], 0, 2**31 - 1, files[2].name) - 1
    points = values[:, :3]
    if len(files) == len(ASKEW):
        matrix = array(files[4], 4, "axis alignment").astype(np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise UserError(f"{files[4].name}: expected 4 x 4 finite numbers, got {list(matrix.shape)}")
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
    boxes, odd = _exported_boxes(files[3])
    return finished_scene(points, colors, part=part, instance=instance, boxes=boxes, warnings=(*said, *odd))


def _exported_boxes(path: Path) -> tuple[Boxes, list[str]]:
    """The boxes in a file `[m, 7]`: centre, full lengths, number of NYU40."""
    values = _rows_of(path)
    number = whole_numbers(values[:, 6], 0, LAST, f"{path.name}, column 7 (class)")
    kind = _classes(number, OBJECTS)
    known = kind >= 0
    said = [f"{np.count_nonzero(~known)} boxes of {path.name} have none of the {len(OBJECTS)} classes and are left out"]
    box = np.column_stack([upright(values[:, :3]), values[:, [3, 5, 4]], np.zeros(len(values))])[known]
    return Boxes(box=box, kind=kind[known].astype(np.int32)), [] if known.all() else said


def _rows_of(path: Path) -> NDArray[np.float64]:
    """The boxes `[m, 7]` of a scene."""
    return rows_of_boxes(path, 7, "centre, size and class of a box")


def _classes(numbers: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.int64]:
    """The places in `names` for numbers of NYU40; -1 for other classes."""
    place = np.full(LAST + 1, -1)
    for number, name in NYU40.items():
        if name in names:
            place[number] = names.index(name)
    found: NDArray[np.int64] = place[numbers]
    return found


# ------------------------------------------------------------------------------------------------------------ scans


def _from_scan(scan: Path, table: Mapping[str, int] | None) -> Cloud:
    said: list[str] = []
    labels, segments, groups, text = _beside(scan)
    points, colors = _vertices(scan / f"{scan.name}_vh_clean_2.ply")
    alignment = aligned(text)
    if alignment is None:
        said.append("no axisAlignment: the axes stay as they were scanned")
    else:
        points = points @ alignment[:3, :3].T + alignment[:3, 3]
    instance, names = _objects(segments, groups, len(points), said)
    part = _labels(labels, len(points), said)
    by_name = None if table is None or names is None else {number: _number(name, table) for number, name in names.items()}
    if part is None and instance is not None:
        if by_name is None:
            raise UserError(
                f"there is neither {labels.name} nor the table {TABLE}, so the names of objects have no classes; "
                "--set source.lists=FOLDER gives the folder of the table"
            )
        place = np.zeros(max(by_name, default=-1) + 2, np.int64)  # the last one is for points without an object
        place[list(by_name)] = list(by_name.values())
        part = place[instance]
    if part is None:
        said.append("the scan has no labels")
    elif instance is None:
        said.append(f"there is no {groups.name}: objects and boxes are unknown")
    boxes = None if instance is None or part is None else _boxes(points, instance, part, by_name)
    return finished_scene(
        points, colors, part=None if part is None else _classes(part, CLASSES), instance=instance, boxes=boxes, warnings=said
    )


def _vertices(path: Path) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """The vertices `[n, 3]` of a scan in their order, and their colours."""
    rows, colors = ply.vertices(File(present(path), "grey"))
    places = rows.stacked(("x", "y", "z"))
    if places is None:
        raise UserError(f"{path.name}: its vertices have no properties x, y, z")
    return places.astype(np.float64), None if colors is None else colors[:, :3]


def aligned(text: Path) -> NDArray[Any] | None:
    """The matrix `[4, 4]` of the line `axisAlignment` in the file about a scan; None if there is no such file or line.

    Raises:
        UserError: the line holds other than 16 finite numbers.
    """
    said = facts(text).get("axisAlignment")
    if said is None:
        return None
    try:
        matrix = np.array([float(word) for word in said.split()])
    except ValueError as error:
        raise UserError(f"{text.name}: axisAlignment: {error}") from error
    if len(matrix) != 16 or not np.isfinite(matrix).all():
        raise UserError(f"{text.name}: axisAlignment: expected 16 numbers, got {said!r}")
    return matrix.reshape(4, 4)


def facts(text: Path) -> dict[str, str]:
    """The lines `name = value` of the file about a scan; empty if there is no such file."""
    if not text.is_file():
        return {}
    lines = text.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _labels(path: Path, count: int, said: list[str]) -> NDArray[np.int64] | None:
    """The number of NYU40 of each of `count` vertices, 0 for none; None if there is no such file. `said` takes remarks."""
    if not path.is_file():
        return None
    rows, _ = ply.vertices(File(path, "grey"))
    if "label" not in rows.columns:
        raise UserError(f"{path.name}: its vertices have no property 'label'; they have {' '.join(rows.types)}")
    if rows.rows != count:
        raise UserError(f"{path.name} has {rows.rows:,} vertices for the {count:,} of the scan: they are of two versions")
    labels = rows.columns["label"]
    strange = labels > LAST
    numbers = np.unique(labels[strange]).tolist()
    if not strange.any() or len(numbers) > FEW or 2 * np.count_nonzero(strange) > count:  # else the file numbers classes otherwise
        return whole_numbers(labels, 0, LAST, path.name)
    told = ", ".join(f"{number:g}" for number in numbers)
    said.append(f"{np.count_nonzero(strange):,} points of {path.name} have labels that are none of NYU40 ({told}): they have none here")
    return whole_numbers(np.where(strange, 0, labels), 0, LAST, path.name)


def _objects(segments: Path, groups: Path, count: int, said: list[str]) -> tuple[NDArray[np.int64] | None, dict[int, str] | None]:
    """The object of each vertex `[count]`, -1 for none, and the name of each object. None if the scan has no objects.

    Raises:
        UserError: the segments are missing, or the two files do not fit together.
    """
    if not groups.is_file():  # scans for the test server have segments and no objects
        return None, None
    segment = _whole_list(_json(present(segments)).get("segIndices"), f"{segments.name}: segIndices")
    if len(segment) != count:
        raise UserError(f"{segments.name} has {len(segment):,} vertices for the {count:,} of the scan: they are of two versions")
    numbers, where = np.unique(segment, return_inverse=True)
    owner, taken = np.full(len(numbers), -1), 0
    names: dict[int, str] = {}
    listed = _groups(groups)
    distinct = _distinct(listed)
    if len(distinct) < len(listed):
        said.append(f"{groups.name} lists {len(listed) - len(distinct)} objects twice")  # as that of scene0217_00 does
    for group in distinct:
        number = group["objectId"]
        if number in names:
            raise UserError(f"{groups.name}: two objects have the number {number}")
        names[number] = group["label"]
        mine = _whole_list(group["segments"], f"{groups.name}: segments of object {number}")
        place = np.searchsorted(numbers, mine)
        lost = (place >= len(numbers)) | (numbers[np.minimum(place, len(numbers) - 1)] != mine)
        if lost.any():
            raise UserError(f"{groups.name}: object {number} has the segment {mine[lost][0]}, which {segments.name} does not have")
        taken += int(np.count_nonzero((owner[place] >= 0) & (owner[place] != number)))
        owner[place] = number
    if taken:
        said.append(f"{taken} segments are in two objects of {groups.name}: they belong to the one that it lists last")
    return owner[where], names


def _distinct(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The objects without those that have the name and all segments of an earlier one."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for group in groups:
        found.setdefault((group["label"], *sorted(map(repr, group["segments"]))), group)
    return list(found.values())


def _groups(path: Path) -> list[dict[str, Any]]:
    """The objects of a scan, each with objectId, label and segments.

    Raises:
        UserError: the file has another form.
    """
    groups = _json(path).get("segGroups")
    if not isinstance(groups, list):
        raise UserError(f"{path.name}: expected a list segGroups")
    for group in groups:
        number = group.get("objectId") if isinstance(group, dict) else None
        fits = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 20
        if not fits or not isinstance(group.get("label"), str) or not isinstance(group.get("segments"), list):
            raise UserError(f"{path.name}: expected objects with objectId, label and segments, got {str(group)[:60]!r}")
    return groups


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path.name} is no JSON, damaged or cut short? ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path.name}: expected a JSON object")
    return found


def _whole_list(values: Any, what: str) -> NDArray[np.int64]:
    """A list of whole numbers as an array."""
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 1 << 62 for value in values):
        raise UserError(f"{what}: expected a list of whole numbers")
    return np.array(values, np.int64)


def _boxes(points: NDArray[Any], instance: NDArray[np.int64], part: NDArray[np.int64], by_name: dict[int, int] | None) -> Boxes:
    """Boxes of the objects that have one of the classes of boxes.

    Args:
        points: `[n, 3]`, +Z up.
        instance: object of each point `[n]`.
        part: number of NYU40 of each point `[n]`, which tells the class of an object where no table does: the most frequent one.
        by_name: number of NYU40 of each object by its name; None without the table.
    """
    if by_name is None:
        seen = instance >= 0
        votes = np.zeros((int(instance.max(initial=-1)) + 1, LAST + 1), np.int64)
        np.add.at(votes, (instance[seen], part[seen]), 1)
        by_name = {number: int(row.argmax()) for number, row in enumerate(votes) if row.any()}
    kinds = {number: OBJECTS.index(NYU40[kind]) for number, kind in by_name.items() if NYU40.get(kind) in OBJECTS}
    return boxes_around(points, instance, kinds)


def _numbers_of_classes(path: str) -> Mapping[str, int]:
    """By raw name of an object: its number of NYU40, 0 for none, from the table of ScanNet.

    Raises:
        UserError: there is no such file, or it is no such table.
    """
    table = present(Path(path))
    return _parsed_table(table, table.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _parsed_table(path: Path, changed: int) -> Mapping[str, int]:
    """See `_numbers_of_classes`. `changed` is the time of the last change, so that a table that is mended is read again."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    if not rows or not {"raw_category", "nyu40id"} <= rows[0].keys():
        raise UserError(f"{TABLE}: expected columns raw_category and nyu40id, separated by tabs")
    found: dict[str, int] = {}
    for line, row in enumerate(rows, 2):
        number = (row["nyu40id"] or "0").strip() or "0"
        if not number.isdigit() or int(number) > LAST:
            raise UserError(f"{TABLE}, line {line}: nyu40id: expected 0 to {LAST}, got {number!r}")
        found[(row["raw_category"] or "").strip()] = int(number)
    return found


def _number(name: str, table: Mapping[str, int]) -> int:
    if name.strip() not in table:
        raise UserError(f"the table {TABLE} has no object {name!r}; is it the one of this version of ScanNet?")
    return table[name.strip()]


# ---------------------------------------------------------------------------------------------------------- listing


def recognises(location: str) -> bool:
    """Whether there are folders of scans, or VoteNet's files, at the location or in the folders that usually hold them."""
    if not os.path.isdir(location):
        return False
    if _alone(Path(location).absolute()):
        return True
    homes = _homes(Path(location))
    scans = (home / name for home in homes for name in _scans(home))
    return any((scan / f"{scan.name}_vh_clean_2.ply").is_file() or _of_arrays(scan) for scan in scans) or any(map(_exports, homes))


def _alone(root: Path) -> bool:
    """Whether a folder is a single scan."""
    return bool(SCENE.fullmatch(root.name)) and ((root / f"{root.name}_vh_clean_2.ply").is_file() or _of_arrays(root))


def _homes(root: Path) -> list[Path]:
    """Folders in which scans usually are: the location itself, and folders in it."""
    return [home for home in (root, *(root / name for name in HOMES)) if home.is_dir()]


def _scans(home: Path) -> list[str]:
    """Folders of scans in a folder. A scan without its files is among them, and fails when it is read."""
    return sorted(name for name in os.listdir(home) if SCENE.fullmatch(name) and (home / name).is_dir())


def _exports(home: Path) -> list[str]:
    """The locators of exported scenes. A scene is listed if it has any of its files; without the others it fails when it is read."""
    said = (EXPORT.fullmatch(name) for name in os.listdir(home))
    return sorted({f"{one[1]}_vert.npy" for one in said if one})


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    crop: str = "whole",
    size: str = USUAL["size"],
    stride: str = USUAL["stride"],
    least: str = USUAL["least"],
    lists: str = "",
) -> Source:
    """Lists scans. The layouts and `lists` are explained at the head of this module, the other options in `crops`."""
    cut = Crop.chosen(crop, size, stride, least)
    root = folder_at(location)
    if _alone(root):
        raise UserError(f"{location!r} is a single scan; give {str(root.parent)!r}, because lists tell the split of a scan by its name")
    locators = _found(root)
    places = [folder_at(lists)] if lists else [*_places(root)]
    table = next((path for place in places if (path := place / TABLE).is_file()), None)
    told = _splits(places)
    reader = ScanReader(
        kind="scannet", location=str(root), options=cut.options, textures=textures, crop=cut, table=str(table) if table else ""
    )
    scenes = [_entry(root, locator, told) for locator in locators]
    notes = _about(root, scenes, told)
    if lists and not told and table is None:
        raise UserError(f"option lists: {lists!r} holds neither scannetv2_train.txt, scannetv2_val.txt nor {TABLE}")
    entries, more = reader.listed(scenes)
    if locators and _of_arrays(root / locators[0]):
        labelled = Labelled(parts=CLASSES, instances=True, origins=True)
        notes.append("nothing aligns the axes of Pointcept's scenes, so there are no boxes; the scans themselves have them")
    else:
        most = room_for((_boxes_of(root / locator, reader.table) for locator in locators), cut)
        labelled = Labelled(parts=CLASSES, instances=True, origins=True, boxes=OBJECTS, most=most)
    return Source.of(reader, entries, other_files(_homes(root), _belongs), [*notes, *more], labelled=labelled)


def _found(root: Path) -> list[str]:
    """The locators of the scans.

    Raises:
        UserError: there are scans in several layouts.
    """
    scans = [home / name for home in _homes(root) for name in _scans(home)]
    arrays = [scan for scan in scans if _of_arrays(scan)]
    exports = [home / name for home in _homes(root) for name in _exports(home)]
    if (scans and exports) or (arrays and any((scan / f"{scan.name}_vh_clean_2.ply").is_file() for scan in scans)):
        raise UserError(f"{root.name!r} holds scans and exports of scans; give the folder of one of them")
    return [path.relative_to(root).as_posix() for path in scans or exports]


def _places(root: Path) -> list[Path]:
    """Folders in which lists and the table are looked for."""
    inner = [place / name for place in (root, root.parent) for name in ("meta_data", "Tasks/Benchmark")]
    return [place for place in (root, *inner[:2], root.parent, *inner[2:]) if place.is_dir()]


def _splits(places: list[Path]) -> dict[str, str]:
    """By scan: its split, from the first list of each split that is found.

    Raises:
        UserError: a line is no name of a scan, or a scan is in two splits.
    """
    told: dict[str, str] = {}
    for split in ("train", "val", "test"):
        path = next((path for place in places if (path := place / f"scannetv2_{split}.txt").is_file()), None)
        if path is None:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
            name = line.strip()
            if name and not SCENE.fullmatch(name):
                raise UserError(f"{path.name}, line {number}: expected the name of a scan, as scene0000_00, got {line!r}")
            if name and told.setdefault(name, split) != split:
                raise UserError(f"{path.name}, line {number}: {name} is in the split {told[name]!r} already")
    return told


def _entry(root: Path, locator: str, told: Mapping[str, str]) -> Entry:
    path = Path(locator)
    export = EXPORT.fullmatch(path.name)
    name = export[1] if export else path.name
    kind = "" if export else facts(root / locator / f"{name}.txt").get("sceneType", "")
    home = (root / locator).parent.name
    folder = {"scans_test": "test"}.get(home, home if _of_arrays(root / locator) and home in ("train", "val", "test") else "")
    return Entry(id=name, locator=locator, label=shape_text(kind), split=told.get(name, folder))


def _about(root: Path, scenes: list[Entry], told: Mapping[str, str]) -> list[str]:
    """Notes about scans that are in no list, listed scans that are missing, and scans without alignment or labels."""
    notes = []
    if told:
        names = {scene.id for scene in scenes}
        lost = sum(name not in names for name, split in told.items() if split != "test")
        alone = sum(not scene.split for scene in scenes)
        notes += [f"{counted(lost, 'scan')} of the lists missing"] if lost else []
        notes += [f"{counted(alone, 'scan')} in no list, so without a split"] if alone else []
    elif not all(scene.split for scene in scenes):
        notes.append("there are no lists scannetv2_train.txt and scannetv2_val.txt, so scans have no split; --set source.lists=FOLDER")
    folders = [root / scene.locator for scene in scenes if not scene.locator.endswith(".npy") and not _of_arrays(root / scene.locator)]
    askew = sum("axisAlignment" not in facts(folder / f"{folder.name}.txt") for folder in folders)
    if askew:
        notes.append(f"{askew} of {len(scenes)} scans have no axisAlignment in SCENE.txt: their axes stay as they were scanned")
    bare = sum(not any(path.is_file() for path in (_beside(folder)[0], _beside(folder)[2])) for folder in folders)
    if bare:
        notes.append(f"{bare} of {len(scenes)} scans have no labels of points (neither .labels.ply nor .aggregation.json): they are -1")
    loose = sum(_beside(folder)[0].is_file() and not _beside(folder)[2].is_file() for folder in folders)
    if loose:
        notes.append(f"{loose} of {len(scenes)} scans have no .aggregation.json, so their objects and boxes are unknown")
    return notes


def _boxes_of(path: Path, table: str) -> int | None:
    """The number of boxes of a scene, or a little more; None if its files are broken, which it says when it is read."""
    try:
        if path.name.endswith(".npy"):
            files = _exported(path)
            return len(_rows_of(files[3])) if len(files) > 1 else 0
        groups = _beside(path)[2]
        names = [group["label"].strip() for group in _groups(groups)] if groups.is_file() else []
        numbers = _numbers_of_classes(table) if table else {}
        return sum(NYU40.get(numbers.get(name, 39)) in OBJECTS for name in names)  # without the table every object may have a box
    except (UserError, OSError, ValueError):
        return None


def _belongs(name: str) -> bool:
    """Whether a file belongs to an export, or is a list or the table."""
    return bool(EXPORT.fullmatch(name) or re.fullmatch(r"scannetv2.*\.(txt|tsv)", name))


def example(folder: Path) -> str:
    rng = np.random.default_rng(0)
    for number in (0, 1):
        scene = folder / f"scene{number:04d}_00"
        low, high = np.array([[0, 0, 0], [1, 1, 0]]), np.array([[3, 3, 0], [1.5, 1.5, 0.8]])
        places = np.concatenate([rng.uniform(*span, (100, 3)) for span in zip(low, high, strict=True)])
        np.save(f"{scene}_vert.npy", np.column_stack([places, rng.integers(0, 256, (200, 3))]).astype(np.float32))
        np.save(f"{scene}_sem_label.npy", np.repeat([2, 5], 100).astype(np.uint32))
        np.save(f"{scene}_ins_label.npy", np.repeat([1, 2], 100).astype(np.uint32))
        np.save(f"{scene}_bbox.npy", np.array([[1.25, 1.25, 0.4, 0.5, 0.5, 0.8, 5]]))
    return str(folder)
