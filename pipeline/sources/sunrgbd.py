"""SUN RGB-D (https://rgbd.cs.princeton.edu) as VoteNet exports it: single depth pictures as clouds, with turned boxes of ten classes.

    open_source("sunrgbd/")                                   # sunrgbd_pc_bbox_votes_50k_v1_{train,val}/000001_{pc.npz,bbox.npy,votes.npz}
    open_source("sunrgbd_pc_bbox_votes_50k_v1_val/")          # one of the folders
    open_source("sunrgbd/", version="v2")                     # where both versions of the labels are there

`pc` in `ID_pc.npz` is [n, 6]: x to the right, y forward, z up in metres, and colours 0..1. A row of `ID_bbox.npy` [m, 8] is the centre,
**half** the lengths l, w, h, the heading, and the class. The heading turns the box from +x towards -y (VoteNet, sunrgbd_data.py,
https://github.com/facebookresearch/votenet). In a cache the same box has its full lengths l, h, w along x, y, z, and the negative angle.

The data have no classes of points. `votes=objects` (the usual) takes the votes in `ID_votes.npz` [n, 10] for them: a point that votes for
the centre of a box belongs to the box, with its class. So floor and neighbours within a box count as its object, and all other points have
no class. `votes=none` leaves points without labels, and needs no file of votes.

Split: from the name of the folder. Id: `000001#whole`.
"""

import os
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.formats import table
from pipeline.geometry import Boxes, Cloud
from pipeline.sources.catalog import Entry, Labelled, Source, Textures
from pipeline.sources.crops import USUAL, Crop
from pipeline.sources.folders import folder_at
from pipeline.sources.options import choice
from pipeline.sources.scenes import (
    SceneReader,
    colors_from,
    finished_scene,
    other_files,
    present,
    room_for,
    rows_of_boxes,
    shaped,
    upright,
    whole_numbers,
)

LOOKS_FOR: Final = "000001_pc.npz and 000001_bbox.npy (SUN RGB-D as VoteNet exports it)"

CLASSES: Final = ("bed", "table", "sofa", "chair", "toilet", "desk", "dresser", "night_stand", "bookshelf", "bathtub")
"""The ten classes, in the order of their numbers."""

FOLDER: Final = re.compile(r"sunrgbd_pc_bbox_votes_\d+k_(v\d+)_(train|val|test)")
OWN: Final = re.compile(r"(\d{6})_(pc\.npz|bbox\.npy|votes\.npz)")
"""Names of the files of a scene."""

NEAR: Final = 1e-2
"""Largest distance between the place a point votes for and the centre of its box, in metres. Both are sums of float32 or float64."""


@dataclass(frozen=True, kw_only=True)
class PictureReader(SceneReader):
    """Reads scenes. A locator is the path of `ID_pc.npz`."""

    votes: Literal["objects", "none"]

    def files(self, scene: str) -> list[Path]:
        cloud, boxes, votes = _paths(Path(self.location, scene))
        return [present(path) for path in ((cloud, boxes, votes) if self.votes == "objects" else (cloud, boxes))]

    def scene(self, scene: str) -> Cloud:
        cloud, boxes, votes = _paths(Path(self.location, scene))
        values = archived(cloud, "pc", 6)
        colors, said = colors_from(values[:, 3:], 1, cloud.name)
        found = boxes_of(boxes)
        if self.votes == "none":
            return finished_scene(values[:, :3], colors, boxes=found, warnings=said)
        given = archived(votes, "point_votes", 10)
        if len(given) != len(values):
            raise UserError(f"{votes.name} has {len(given):,} votes for the {len(values):,} points of {cloud.name}")
        instance = chosen(values[:, :3], given, found, votes.name)
        part = np.append(found.kind, -1)[instance]
        return finished_scene(values[:, :3], colors, part=part, instance=instance, boxes=found, warnings=said)


def _paths(cloud: Path) -> tuple[Path, Path, Path]:
    """The files of points, boxes and votes."""
    number = cloud.name.removesuffix("_pc.npz")
    return cloud, cloud.with_name(f"{number}_bbox.npy"), cloud.with_name(f"{number}_votes.npz")


def archived(path: Path, name: str, width: int) -> NDArray[Any]:
    """The array `[n, width]` of this name in a .npz file.

    Raises:
        UserError: the file is missing or damaged, or has no such array of this shape.
    """
    try:
        with present(path).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            if name not in archive.files:
                raise UserError(f"{path.name} has no array {name!r}; it has {', '.join(archive.files) or 'none'}")
            values = archive[name]
    except (*table.NO_ARRAY, zipfile.BadZipFile, zlib.error, NotImplementedError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path.name} cannot be read as an archive of arrays, damaged or cut short? ({error})") from error
    return shaped(values, width, f"{path.name}, {name}")


def boxes_of(path: Path) -> Boxes:
    """The boxes in a file `[m, 8]`, with +Y up, full lengths and our sign of the angle."""
    values = rows_of_boxes(path, 8, "centre, half lengths, heading and class of a box")
    kind = whole_numbers(values[:, 7], 0, len(CLASSES) - 1, f"{path.name}, column 8 (class)")
    # Half the lengths along the heading, across it and upwards. With +Y up, the box is turned by the negative heading about +Y.
    box = np.column_stack([upright(values[:, :3]), 2 * values[:, [3, 5, 4]], -values[:, 6]])
    return Boxes(box=box, kind=kind.astype(np.int32))


def chosen(points: NDArray[Any], votes: NDArray[Any], boxes: Boxes, what: str) -> NDArray[np.int64]:
    """The box that each point votes for first `[n]`, -1 for none.

    Args:
        points: `[n, 3]`, +Z up.
        votes: `[n, 10]`: whether the point votes, and three ways from the point to a centre, which are alike if it lies in one box.
        boxes: the boxes, +Y up.
        what: name of the file of votes, for messages.

    Raises:
        UserError: a point votes for a place where no box has its centre.
    """
    voting = np.flatnonzero(whole_numbers(votes[:, 0], 0, 1, f"{what}, column 1 (whether a point votes)"))
    found = np.full(len(points), -1)
    if not len(voting):
        return found
    ends = upright(points[voting].astype(np.float64) + votes[voting, 1:4])
    near, nearest = np.full(len(voting), np.inf), np.full(len(voting), -1)
    for number, center in enumerate(boxes.box[:, :3]):
        distance = np.linalg.norm(ends - center, axis=1)
        closer = distance < near
        near[closer], nearest[closer] = distance[closer], number
    if not (near <= NEAR).all():
        count = int(np.count_nonzero(~(near <= NEAR)))
        raise UserError(f"{what}: {count:,} points vote for places where no box has its centre; are votes and boxes of one version?")
    found[voting] = nearest
    return found


# ------------------------------------------------------------------------------------------------------------ listing


def recognises(location: str) -> bool:
    """Whether there are folders of VoteNet's export, or the location is one of them."""
    if not os.path.isdir(location):
        return False
    root = Path(location).absolute()
    return any(_clouds(home) for home in _homes(root))


def _homes(root: Path) -> list[Path]:
    """The location, or the folders of the export in it."""
    return [root, *(root / name for name in sorted(os.listdir(root)) if FOLDER.fullmatch(name) and (root / name).is_dir())]


def _clouds(home: Path) -> list[str]:
    """The locators of the scenes in a folder. A scene is listed if it has any of its files; without its points it fails when it is read."""
    said = (OWN.fullmatch(name) for name in os.listdir(home))
    return sorted({f"{one[1]}_pc.npz" for one in said if one})


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    crop: str = "whole",
    size: str = USUAL["size"],
    stride: str = USUAL["stride"],
    least: str = USUAL["least"],
    version: str = "",
    votes: str = "objects",
) -> Source:
    """Lists scenes. `version` and `votes` are explained at the head of this module, the other options in `crops`."""
    cut = Crop.chosen(crop, size, stride, least)
    voted: Literal["objects", "none"] = choice("option votes", votes, ("objects", "none"))
    root = folder_at(location)
    homes = _chosen_homes(root, version)
    options = (*cut.options, ("votes", voted), *((("version", version),) if version else ()))
    reader = PictureReader(kind="sunrgbd", location=str(root), options=tuple(sorted(options)), textures=textures, crop=cut, votes=voted)
    scenes = [_entry(root, home, name) for home in homes for name in _clouds(home)]
    entries, notes = reader.listed(scenes)
    if voted == "objects":
        notes.append("classes of points are those of the boxes that they vote for, so a box's floor counts too (--set source.votes=none)")
    if not all(scene.split for scene in scenes):
        notes.append("the name of the folder says no split; give the folder above sunrgbd_pc_bbox_votes_50k_v1_train, or keep its name")
    most = room_for((_count(root / scene.locator) for scene in scenes), cut)
    parts = CLASSES if voted == "objects" else ()
    labelled = Labelled(parts=parts, instances=bool(parts), origins=True, boxes=CLASSES, most=most)
    return Source.of(reader, entries, other_files(homes, OWN.fullmatch), notes, labelled=labelled)


def _chosen_homes(root: Path, version: str) -> list[Path]:
    """The folders of one version of the labels.

    Raises:
        UserError: there are several versions, or not the one that is asked for.
    """
    homes = [home for home in _homes(root) if _clouds(home)]
    names = {home: FOLDER.fullmatch(home.name) for home in homes}
    versions = sorted({said[1] for said in names.values() if said})
    if version:
        if version not in versions:
            raise UserError(f"option version: {version!r} is not among the folders, which have {', '.join(versions) or 'no version'}")
        return [home for home, said in names.items() if said and said[1] == version]
    if len(versions) > 1:
        raise UserError(f"{root.name!r} holds the labels {' and '.join(versions)}; choose one with --set source.version={versions[0]}")
    return homes


def _entry(root: Path, home: Path, name: str) -> Entry:
    said = FOLDER.fullmatch(home.name)
    locator = name if home == root else f"{home.name}/{name}"
    return Entry(id=name.removesuffix("_pc.npz"), locator=locator, split=said[2] if said else "")


def _count(cloud: Path) -> int | None:
    """The number of boxes of a scene; None if its file is broken, which it says when it is read."""
    try:
        return len(boxes_of(_paths(cloud)[1]).box)
    except (UserError, OSError):
        return None


def example(folder: Path) -> str:
    rng = np.random.default_rng(0)
    for split, number in (("train", 1), ("val", 2)):
        home = folder / f"sunrgbd_pc_bbox_votes_50k_v1_{split}"
        home.mkdir(parents=True, exist_ok=True)
        places = rng.uniform((-1, 1, 0), (1, 3, 1), (300, 3))
        center, half = np.array([0.2, 2.0, 0.4]), np.array([0.4, 0.3, 0.4])
        inside = (np.abs(places - center) <= half).all(axis=1)
        votes = np.column_stack([inside, np.tile((center - places) * inside[:, None], 3)])
        np.savez_compressed(home / f"{number:06d}_pc.npz", pc=np.column_stack([places, rng.uniform(0, 1, (300, 3))]))
        np.save(home / f"{number:06d}_bbox.npy", np.array([[*center, *half, 0.0, 3]]))
        np.savez_compressed(home / f"{number:06d}_votes.npz", point_votes=votes)
    return str(folder)
