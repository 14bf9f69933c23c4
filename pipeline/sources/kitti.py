"""KITTI's objects (https://www.cvlibs.net/datasets/kitti/eval_object.php): the laser points in each labelled box, as a shape.

    open_source("kitti/")                     # training/{velodyne/000000.bin, label_2/000000.txt, calib/000000.txt}, as downloaded
    open_source("kitti/training/")            # the same
    open_source("kitti/", margin="0.1")       # boxes 10 cm larger on each side
    open_source("downloads/")                 # each archive unpacked into a folder of its own: data_object_velodyne/training/velodyne ...

A row of `velodyne` is x (forward), y (left), z (up) in metres and the reflectance, float32. A line of `label_2` is a class, how far the
object is cut off and hidden, its box in the picture, height, width and length, the middle of its bottom in the axes of the rectified camera
(x right, y down, z forward), and its turn about the camera's y axis. `calib` leads from the laser to that camera: R0_rect * Tr_velo_to_cam.
Labels `DontCare` are no objects. The downloaded `testing` has no labels, so it has no shapes.

Split: `ImageSets/train.txt` and `val.txt` beside `training`, as other projects divide the labelled scans. Without them there is none;
`split=0.8` makes one by a hash of the number of the scan, so that no scan is in two splits (`splits.made`).
Id: `000012/Car_3@23.4m`, the fourth line of label_2/000012.txt, and the distance of the middle of the box from the camera over the
ground. A box with fewer than `least` points (8) is recorded as failed. Damaged lines are left out, and a note names them.
"""

import dataclasses
import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema.distances import at_distance
from cache_schema.errors import UserError
from cache_schema.terminal import counted, some
from pipeline.geometry import Cloud, finished_cloud
from pipeline.sources import splits
from pipeline.sources.catalog import Entry, Source, Textures
from pipeline.sources.crops import remembered
from pipeline.sources.folders import ABOVE, BESIDE, folder_at, folders_alone, folders_in, inner_alone, meant, named_below
from pipeline.sources.options import number, whole
from pipeline.sources.scenes import present, upright

LOOKS_FOR: Final = "training/velodyne/000000.bin, training/label_2/000000.txt and training/calib/000000.txt (KITTI object detection)"

CLASSES: Final = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
"""The classes of labels that are objects."""
NO_OBJECT: Final = "DontCare"

UNEVEN: Final = 0.01
"""Most by which a calibration may differ from a rotation. Those of KITTI differ by less than a thousandth."""

REACH: Final = 1000.0
"""Metres beyond which no laser on a car sees anything: a place farther out is damaged. That of KITTI sees 120 m."""
LONGEST: Final = 100.0
"""Metres above which a size of a box is damaged. Trams of KITTI are 35 m long."""

OWN: Final = re.compile(r"\d{6}\.txt")

SOME: Final = 3
"""Most damaged lines that a note names."""

ARCHIVES: Final = {"velodyne": "data_object_velodyne.zip", "label_2": "data_object_label_2.zip", "calib": "data_object_calib.zip"}
"""By name of a folder of `training`: the download that it comes from."""


class Labelled(NamedTuple):
    """A line of `label_2`."""

    kind: str
    size: NDArray[np.float64]
    """[3] length, height and width."""
    bottom: NDArray[np.float64]
    """[3] middle of the bottom, in the axes of the rectified camera."""
    turn: float
    """Radians about the camera's y axis."""

    @property
    def distance(self) -> float:
        """Distance in metres from the camera, over the ground."""
        return float(np.hypot(self.bottom[0], self.bottom[2]))


@dataclass(frozen=True, kw_only=True)
class KittiReader:
    """Reads objects. See `catalog.Reader`. A locator is the number of a scan and that of a line: `000012#3`."""

    kind: str = "kitti"
    location: str
    options: tuple[tuple[str, str], ...]
    textures: Textures
    margin: float
    least: int
    apart: tuple[tuple[str, str], ...] = ()
    """(name, path) of folders that are not in the location: where each archive was unpacked into a folder of its own."""

    def read(self, entry: Entry) -> Cloud:
        scan, line = entry.locator.split("#")
        rows = lines_of(self._path("label_2", scan, "txt"))
        label = label_in(rows[int(line)], f"label_2/{scan}.txt, line {int(line) + 1}") if int(line) < len(rows) else None
        if label is None:
            raise UserError(f"line {int(line) + 1} of label_2/{scan}.txt was an object when it was listed, and is none now")
        points = laser_points(self._path("velodyne", scan, "bin"))
        there = placed(points)
        lost = len(points) - int(there.sum())
        points = points[there]
        seen = points[inside(points, label, calibration(self._path("calib", scan, "txt")), self.margin)]
        said = f"{lost} points of the scan have no place within {REACH:g} m and are left out: is velodyne/{scan}.bin damaged?"
        return object_seen(seen, self.least, *([said] if lost else []))

    def digest(self, entry: Entry) -> bytes:
        scan, line = entry.locator.split("#")
        done = hashlib.sha256(file_digest(self._path("velodyne", scan, "bin")) + file_digest(self._path("calib", scan, "txt")))
        rows = self._path("label_2", scan, "txt").read_bytes().splitlines()
        done.update(rows[int(line)] if int(line) < len(rows) else b"")
        return done.digest()

    def _path(self, folder: str, scan: str, extension: str) -> Path:
        return present(Path(dict(self.apart).get(folder) or os.path.join(self.location, folder), f"{scan}.{extension}"))


# ------------------------------------------------------------------------------------------------- shared with SemanticKITTI


def laser_points(path: Path) -> NDArray[np.float64]:
    """The places `[n, 3]` in a file of float32 x, y, z and reflectance; z is up.

    Raises:
        UserError: the file is cut short, or has no reflectance.
    """
    return remembered("laser", state_of(path), lambda: _laser_points(path))


def _laser_points(path: Path) -> NDArray[np.float64]:
    raw = path.read_bytes()
    if len(raw) % 16 or not raw:
        raise UserError(f"{path.parent.name}/{path.name} has {len(raw):,} bytes, expected 16 for each point: cut short?")
    rows = np.frombuffer(raw, "<f4").reshape(-1, 4)
    odd = np.logical_not(rows[:, 3] >= 0)  # no number is not
    if odd.any():
        # Files of three numbers a point, or of float64, can be of a fitting length, too, and would be read as other places.
        raise UserError(
            f"{path.parent.name}/{path.name}: a reflectance is negative or no number: {rows[odd, 3][0]:g}; expected x, y, z and "
            "reflectance of each point as float32: is it damaged, or of another layout, such as three numbers a point, or float64?"
        )
    points = rows[:, :3].astype(np.float64)
    if np.count_nonzero(placed(points)) * 2 < len(points):
        raise UserError(
            f"{path.parent.name}/{path.name}: most points have no place within {REACH:g} m of the laser; expected metres as float32: is it "
            "damaged, or of another unit?"
        )
    return points


def placed(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points `[n, 3]` are where a laser can have seen them."""
    return np.asarray((np.abs(points) <= REACH).all(axis=1))  # no number is not


def file_digest(path: Path) -> bytes:
    """sha256 of a file; that of the last one is kept, because objects of a scan follow each other."""
    return remembered(f"digest of {path.suffix}", state_of(path), lambda: hashlib.sha256(path.read_bytes()).digest())


def state_of(path: Path) -> tuple[str, int, int]:
    """Name, size and time of a file, which change when it is mended."""
    state = path.stat()
    return str(path), state.st_size, state.st_mtime_ns


def object_seen(points: NDArray[np.float64], least: int, *said: str) -> Cloud:
    """The cloud of an object from its laser points `[n, 3]`, z up. `said`: remarks about it.

    Raises:
        UserError: they are fewer than `least`.
    """
    if len(points) < least:
        raise UserError(f"{len(points)} laser points are in it, which are fewer than {least} (--set source.least)")
    cloud = finished_cloud(upright(points), None)
    return dataclasses.replace(cloud, warnings=(*cloud.warnings, *said))


# ------------------------------------------------------------------------------------------------------------ the files


def lines_of(path: Path) -> list[str]:
    """The lines of a file of labels."""
    return path.read_text("ascii", errors="replace").splitlines()


def label_in(line: str, where: str) -> Labelled | None:
    """The object of a line of labels; None for what is no object.

    Args:
        line: the line.
        where: its file and number, for messages.

    Raises:
        UserError: it is damaged, or names an unknown class.
    """
    words = line.split()
    if not words or words[0] == NO_OBJECT:
        return None
    if words[0] not in CLASSES or len(words) not in (15, 16):  # results of detectors have a score, too
        raise UserError(f"{where}: expected a class of {', '.join(CLASSES)} or {NO_OBJECT}, and 14 numbers, got {line[:80]!r}")
    values = _numbers(words[1:], where)
    height, width, length = values[7:10]
    if min(height, width, length) <= 0:
        raise UserError(f"{where}: a size is not positive: {height:g} {width:g} {length:g}")
    if max(height, width, length) > LONGEST or np.abs(values[10:13]).max() > REACH:
        raise UserError(f"{where}: expected sizes up to {LONGEST:g} m and places within {REACH:g} m, got {' '.join(words[8:14])}")
    if abs(values[13]) > 2 * np.pi:
        raise UserError(f"{where}: expected a turn in radians, from -pi to pi, got {values[13]:g}: is it in degrees?")
    return Labelled(words[0], np.array([length, height, width]), values[10:13], float(values[13]))


def calibration(path: Path) -> NDArray[np.float64]:
    """The matrix `[3, 4]` from the laser to the rectified camera.

    Raises:
        UserError: the file lacks one of the two matrices that it is made of, or they do not turn alone.
    """
    texts = _rows(path)
    if twice := [name for name, count in Counter(name for name, _ in texts).items() if count > 1]:
        raise UserError(f"calib/{path.name}: {twice[0]} is there twice; expected the calibration as downloaded")
    rows = {name: _numbers(text.split(), f"calib/{path.name}, {name}") for name, text in texts}
    for name, count in (("R0_rect", 9), ("Tr_velo_to_cam", 12)):
        if name not in rows or len(rows[name]) != count:
            raise UserError(f"calib/{path.name}: expected {name} with {count} numbers, got {len(rows[name]) if name in rows else 'none'}")
    done: NDArray[np.float64] = rows["R0_rect"].reshape(3, 3) @ rows["Tr_velo_to_cam"].reshape(3, 4)
    turn = done[:, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > UNEVEN or np.linalg.det(turn) < 0:
        raise UserError(f"calib/{path.name}: R0_rect * Tr_velo_to_cam is no rotation: expected the calibration as downloaded")
    return done


def _rows(path: Path) -> list[tuple[str, str]]:
    return [(name.strip(), text) for name, colon, text in (line.partition(":") for line in lines_of(path)) if colon]


def _numbers(words: list[str], where: str) -> NDArray[np.float64]:
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    if not np.isfinite(values).all():
        raise UserError(f"{where}: a number is not finite")
    return values


def inside(points: NDArray[np.float64], label: Labelled, to_camera: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
    """Whether each laser point `[n, 3]` is in the box of a label, made larger by `margin` metres on each side."""
    seen = points @ to_camera[:, :3].T + to_camera[:, 3] - label.bottom
    c, s = np.cos(label.turn), np.sin(label.turn)
    # At turn 0 the length of an object lies along x. A positive turn about y, which points down, takes x towards -z.
    along, across = c * seen[:, 0] - s * seen[:, 2], s * seen[:, 0] + c * seen[:, 2]
    half = label.size / 2 + margin
    places = np.column_stack([along, seen[:, 1] + label.size[1] / 2, across])
    found: NDArray[np.bool_] = (np.abs(places) <= half).all(axis=1)
    return found


# ------------------------------------------------------------------------------------------------------------ listing


def _home(root: Path) -> Path:
    """The folder with the labelled scans."""
    return root / "training" if (root / "training").is_dir() else root


def _fits(root: Path) -> bool:
    """Whether there are two of the three folders of KITTI, or laser scans in `training` or `testing`."""
    homes = (root, root / "training", root / "testing")
    return any((home / "velodyne").is_dir() for home in homes[1:]) or any(
        sum((home / name).is_dir() for name in ARCHIVES) > 1 for home in homes
    )


def recognises(location: str) -> bool:
    """Whether a folder is KITTI's, the only one in it is (see `inner_alone`), it is one of the three folders, or the folders in it have
    several of the three. `open_source` says what lacks."""
    if not os.path.isdir(location):
        return False
    root = Path(location).absolute()
    if _fits(root) or (root.name in ARCHIVES and _fits(root.parent)) or inner_alone(root, _fits) is not None:
        return True
    parts = [_parts(path) for path in folders_alone(root, BESIDE)]
    return len(set().union(*parts)) > 1 and all(len(one) < len(ARCHIVES) for one in parts)


def _parts(root: Path) -> set[str]:
    """Which of the three folders a folder has."""
    return {name for name in ARCHIVES if (_home(root) / name).is_dir()}


def _apart(root: Path) -> dict[str, Path]:
    """By name: the three folders wherever they are below a folder, each archive unpacked into a folder of its own.

    Raises:
        UserError: one of them is there several times.
    """
    found: dict[str, Path] = {}
    for path in named_below(root, ARCHIVES):
        if path.parent.name == "testing":
            continue
        if path.name in found:
            raise UserError(
                f"{str(root)!r} holds several folders {path.name}: {str(found[path.name])!r} and {str(path)!r}; give a folder that holds "
                "one of each, or move the others away"
            )
        found[path.name] = path
    return {name: found[name] for name in ARCHIVES if name in found}


def _folders(location: str) -> tuple[Path, dict[str, Path]]:
    """The folder that is read, and by name the three folders in it or below it.

    Raises:
        UserError: one of the three is not there, or there are several collections. The message says what to give or to download.
    """
    given = folder_at(location)
    if given.name == "testing" and (given.parent / "training").is_dir():
        raise UserError(f"{location!r} has no labels; give {str(given.parent)!r}, whose `training` has them")
    if given.name == "testing" and _home(given) == given:
        raise _without(location, given, list(ARCHIVES))
    complete = [path for path in folders_in(given) if path.name != "testing" and _parts(path) == ARCHIVES.keys()]
    below: dict[str, Path] = {}
    if _parts(given) != ARCHIVES.keys() and not complete:
        below = _apart(given)
        if below.keys() == ARCHIVES.keys():
            homes = {path.parent for path in below.values()}
            return (homes.pop() if len(homes) == 1 else given), below
    elif len(complete) == 1 and _parts(given) != ARCHIVES.keys():
        given = complete[0]
    try:
        home = _home(root := meant(given, _fits, ARCHIVES))
        if lacking := [name for name in ARCHIVES if not (home / name).is_dir()]:
            raise _without(location, root, [name for name in lacking if name not in below] or lacking)
    except UserError as error:
        raise _elsewhere(location, given) or error from None
    return home, {name: home / name for name in ARCHIVES}


def _without(location: str, root: Path, lacking: Sequence[str]) -> UserError:
    """The error for a folder that has not all of the three."""
    if _home(root) == root and (root.name == "testing" or (root / "testing").is_dir()):
        return UserError(f"{location!r} has only `testing`, whose scans have no labels; download `training`, too")
    names, archives = " and ".join(lacking), " and ".join(ARCHIVES[name] for name in lacking)
    one = len(lacking) == 1
    return UserError(
        f"{location!r} has no folder {names}; {'it is' if one else 'they are'} downloaded apart ({archives}), and may be unpacked anywhere "
        "below the folder that is given"
    )


def _elsewhere(location: str, given: Path) -> UserError | None:
    """The error for a folder that is one of several into which the archives were unpacked; None if it is not."""
    if not (given.name in ARCHIVES or _parts(given)):
        return None
    for above in given.parents[:ABOVE]:
        try:
            others = _apart(above)
        except UserError:  # too far up: there are several collections
            return None
        if others.keys() == ARCHIVES.keys() and any(path.is_relative_to(given) for path in others.values()):
            lacking = next(path for name, path in others.items() if not path.is_relative_to(given))
            return UserError(
                f"{location!r} has no folder {lacking.name}; it lies in {str(lacking.parent)!r}: give {str(above)!r}, below which all "
                f"{len(ARCHIVES)} are"
            )
    return None


def open_source(
    location: str, *, textures: Textures = "require", margin: str = "0", least: str = "8", split: str = "", split_seed: str = "0"
) -> Source:
    """Lists the labelled objects of all scans.

    Args:
        location: the folder with `training`, or `training` itself. The folder above, and one of the three folders, mean the same. Or a
            folder below which the three are apart, each in a folder of its own.
        textures: of no importance here, there are none.
        margin: length in metres by which boxes are larger on each side.
        least: fewest laser points of an object.
        split: parts for training and validation, as 0.8 or 0.8,0.1; all objects of a scan get the same split. Empty for ImageSets.
        split_seed: another number makes another split.
    """
    wider, fewest = number("margin", margin, 0, 5, "metres"), whole("least", least, 2, 100_000)
    recorded = splits.settings(split, split_seed)
    home, folders = _folders(location)
    folder = folders["label_2"]
    entries, skipped, broken = list[Entry](), Counter[str](), list[str]()
    for name in sorted(os.listdir(folder)):
        if not OWN.fullmatch(name):
            skipped["hidden" if name.startswith(".") else Path(name).suffix.lower() or "no extension"] += 1
            continue
        scan = name.removesuffix(".txt")
        try:
            lines = lines_of(folder / name)
        except OSError as error:
            broken.append(f"label_2/{name} cannot be read: {error.strerror}")
            continue
        for line, text in enumerate(lines):
            try:
                label = label_in(text, f"label_2/{name}, line {line + 1}")
            except UserError as error:
                broken.append(str(error))
                continue
            if label is None:
                skipped[NO_OBJECT] += 1
            else:
                known = at_distance(f"{scan}/{label.kind}_{line}", label.distance)
                entries.append(Entry(id=known, locator=f"{scan}#{line}", label=label.kind))
    given, apart = folder_at(location), {name: path for name, path in folders.items() if path.parent != home}
    # Lists lie beside `training` as downloaded; beside `velodyne` where the files were moved up; anywhere where the parts are apart.
    lists = (home, home.parent, *(path.parent for path in (named_below(home, ["ImageSets"]) if apart else [])))
    entries, notes = _with_splits(entries, next(filter(None, map(_splits, lists)), {}), split, split_seed)
    if apart:
        notes.append(f"the parts of KITTI are taken from {', '.join(str(path.relative_to(home)) for path in folders.values())}")
    elif given not in (home, home.parent):
        notes.append(f"{str(given)!r} is taken for KITTI's folder {str(home)!r}")
    scans = {name.removesuffix(".bin") for name in os.listdir(folders["velodyne"]) if name.endswith(".bin")}
    if unlabelled := scans - {name.removesuffix(".txt") for name in os.listdir(folder)}:
        notes.append(f"{counted(len(unlabelled), 'scan')} without a file in label_2 left out, such as {min(unlabelled)}")
    if broken:
        skipped["line that is no label"] = len(broken)
        notes.append(f"{counted(len(broken), 'damaged line')} of labels left out: {some(broken, SOME, '; ')}")
        if not entries:
            raise UserError(f"{location!r}: {notes[-1]}")
    if not entries and not skipped.keys() - {NO_OBJECT}:
        alone = f", and {counted(skipped[NO_OBJECT], 'line')} {NO_OBJECT}" if skipped else ""
        raise UserError(
            f"{location!r}: no file of label_2 names an object{alone}; expected lines such as `Car 0.00 0 -1.58 ...`, as downloaded"
        )
    options = tuple(sorted((("least", str(fewest)), ("margin", str(wider).removesuffix(".0")), *recorded)))
    reader = KittiReader(location=str(home), options=options, textures=textures, margin=wider, least=fewest, apart=words(apart))
    return Source.of(reader, entries, skipped, notes)


def words(folders: Mapping[str, Path]) -> tuple[tuple[str, str], ...]:
    """Folders by name as a reader keeps them."""
    return tuple((name, str(path)) for name, path in sorted(folders.items()))


def _with_splits(entries: list[Entry], by_scan: dict[str, str], split: str, split_seed: str) -> tuple[list[Entry], list[str]]:
    """Entries with their splits, all those of a scan with the same, and notes. `by_scan`, of `ImageSets`, tells them, unless a split is
    asked for."""
    told = bool(by_scan)
    if split:
        scans = sorted({entry.locator.partition("#")[0] for entry in entries})
        by_scan = {one.id: one.split for one in splits.made([Entry(id=scan, locator=scan) for scan in scans], split, split_seed)}
    done = [replace(entry, split=by_scan.get(entry.locator.partition("#")[0], "")) for entry in entries]
    if split:
        replaced = f"; that of ImageSets is replaced by source.split={split}" if told else ""
        return done, [f"split made by a hash of the number of the scan: {splits.counted(Counter(one.split for one in done))}{replaced}"]
    if told:
        alone = sorted({entry.locator.partition("#")[0] for entry in done if not entry.split})
        without = f"; {counted(len(alone), 'scan')} in no list, such as {alone[0]}, so their objects have no split" if alone else ""
        return done, [f"splits of ImageSets: {splits.counted(Counter(one.split for one in done if one.split)) or 'none'}{without}"]
    return done, [
        "there are no ImageSets/train.txt and ImageSets/val.txt beside training, so no object has a split; "
        "--set source.split=0.8 makes one, by scans"
    ]


def _splits(root: Path) -> dict[str, str]:
    """By number of a scan: its split, from lists in `ImageSets`."""
    found: dict[str, str] = {}
    for split in ("train", "val"):
        listed = root / "ImageSets" / f"{split}.txt"
        if listed.is_file():
            for scan in (name.zfill(6) for name in listed.read_text("utf-8-sig", errors="replace").split()):
                if not re.fullmatch(r"\d{6}", scan, re.ASCII):
                    raise UserError(f"ImageSets/{split}.txt: expected the numbers of scans, such as 000012, got {scan[:40]!r}")
                if found.setdefault(scan, split) != split:
                    raise UserError(f"scan {scan} is in both ImageSets/train.txt and ImageSets/val.txt")
    return found


def example(folder: Path) -> str:
    """Two scans with a car each: its sides are at 10 m before the laser, and 20 m."""
    home = folder / "training"
    for number_, ahead in enumerate((10.0, 20.0)):
        rng = np.random.default_rng(number_)
        places = rng.uniform((ahead - 2, 0.2, -1.7), (ahead + 2, 1.8, -0.2), (300, 3))
        ground = np.column_stack([rng.uniform(5, 30, 300), rng.uniform(-10, 10, 300), np.full(300, -1.75)])
        scan = np.column_stack([np.concatenate([places, ground]), np.full(600, 0.3)]).astype("<f4")
        calib = {"R0_rect": np.eye(3), "Tr_velo_to_cam": np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]])}
        rows = [f"{name}: {' '.join(f'{value:g}' for value in matrix.ravel())}" for name, matrix in calib.items()]
        car = f"Car 0.00 0 0.00 100 100 200 200 1.5 1.6 4.0 -1.0 1.7 {ahead:g} {-np.pi / 2:.6f}"
        label = f"{car}\nDontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10\n"
        for name, data in (("velodyne", scan.tobytes()), ("label_2", label.encode()), ("calib", "\n".join(rows).encode())):
            (home / name).mkdir(parents=True, exist_ok=True)
            (home / name / f"{number_:06d}.{'bin' if name == 'velodyne' else 'txt'}").write_bytes(data)
    return str(folder)
