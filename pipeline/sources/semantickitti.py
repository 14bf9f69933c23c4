"""SemanticKITTI's objects (http://semantic-kitti.org): the laser points of each labelled thing in a scan, as a shape.

    open_source("dataset/")                   # sequences/00/{velodyne/000000.bin, labels/000000.label}, as downloaded
    open_source("dataset/", every="1")        # every scan; scans are 0.1 s apart, so neighbours show the same things
    open_source("downloads/")                 # each archive unpacked into a folder of its own: data_odometry_velodyne/dataset/sequences ...

A file of labels has an unsigned 32-bit number for each point of the scan: the class in the low half, and in the high half the number of the
thing, 0 for none. Things that move have classes of their own, which become those of things that stand, as in the authors' learning_map.
That map also makes other-vehicle of bus and on-rails, which stay classes of their own here.

Split: sequence 08 is val, 11 to 21 are test, the others are train, as the authors divide them. They publish no labels of 11 to 21, so these
have no shapes unless somebody else labelled them.
Id: `08/000120/car_17@23.4m`, thing 17 of the scan, and the distance of the mean of its points from the laser over the ground. Things with
fewer than `least` points (8) are left out. Listing reads every chosen scan once. Broken scans are left out, and a note names them.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.distances import at_distance
from cache_schema.errors import UserError
from cache_schema.terminal import counted, some
from pipeline.geometry import Cloud
from pipeline.sources.catalog import Entry, Source, Textures
from pipeline.sources.crops import remembered
from pipeline.sources.folders import ABOVE, BESIDE, folder_at, folders_alone, folders_in, inner_alone, meant, named_below
from pipeline.sources.kitti import REACH, file_digest, laser_points, object_seen, placed, state_of, words
from pipeline.sources.options import whole
from pipeline.sources.scenes import present

LOOKS_FOR: Final = "sequences/00/velodyne/000000.bin and sequences/00/labels/000000.label (SemanticKITTI)"

THINGS: Final = {
    10: "car",
    11: "bicycle",
    13: "bus",
    15: "motorcycle",
    16: "on-rails",
    18: "truck",
    20: "other-vehicle",
    30: "person",
    31: "bicyclist",
    32: "motorcyclist",
    252: "car",
    253: "bicyclist",
    254: "person",
    255: "motorcyclist",
    256: "on-rails",
    257: "bus",
    258: "truck",
    259: "other-vehicle",
}
"""Classes of things by number. From 252 they move."""

OTHERS: Final = frozenset((0, 1, 40, 44, 48, 49, 50, 51, 52, 60, 70, 71, 72, 80, 81, 99))
"""The other classes of labels: not labelled, roads, buildings, plants and the like."""

VALIDATION: Final = "08"
"""The sequence that the authors validate on."""
HIDDEN: Final = frozenset(f"{number}" for number in range(11, 22))
"""The sequences whose labels the authors keep for their benchmark."""

OWN: Final = re.compile(r"\d{6}\.label")

UNNUMBERED: Final = "without a number of a thing (points of one class in one scan)"
FEW: Final = "with too few points (source.least)"

SOME: Final = 3
"""Most scans that a note names."""

ARCHIVES: Final = {"velodyne": "data_odometry_velodyne.zip of KITTI's odometry benchmark", "labels": "data_odometry_labels.zip"}
"""By name of a folder of a sequence: the download that it comes from."""


@dataclass(frozen=True, kw_only=True)
class InstanceReader:
    """Reads things. See `catalog.Reader`. A locator is sequence, scan, and the 32-bit label of the thing's points: `08/000120#1114122`."""

    kind: str = "semantickitti"
    location: str
    options: tuple[tuple[str, str], ...]
    textures: Textures
    least: int
    apart: tuple[tuple[str, str], ...] = ()
    """(`00/velodyne`, path) of folders of sequences, where each archive was unpacked into a folder of its own."""

    def read(self, entry: Entry) -> Cloud:
        points, labels = self._files(entry)
        mine = laser_points(points)[labels_of(labels, points) == int(entry.locator.partition("#")[2])]
        there = placed(mine)
        said = f"{np.count_nonzero(~there)} points of it have no place within {REACH:g} m and are left out: is the scan damaged?"
        return object_seen(mine[there], self.least, *([] if there.all() else [said]))

    def digest(self, entry: Entry) -> bytes:
        points, labels = self._files(entry)
        mark = entry.locator.partition("#")[2].encode()
        return hashlib.sha256(file_digest(points) + file_digest(labels) + mark).digest()

    def _files(self, entry: Entry) -> tuple[Path, Path]:
        sequence, _, scan = entry.locator.partition("#")[0].partition("/")
        apart = dict(self.apart)
        points, labels = (
            Path(apart.get(f"{sequence}/{name}") or os.path.join(self.location, "sequences", sequence, name)) for name in ARCHIVES
        )
        return present(points / f"{scan}.bin"), present(labels / f"{scan}.label")


def labels_of(path: Path, points: Path) -> NDArray[np.uint32]:
    """The label of each point of a scan `[n]`.

    Raises:
        UserError: there is not one for each point.
    """
    return remembered("labels of a scan", (state_of(path), state_of(points)), lambda: _labels_of(path, points))


def _labels_of(path: Path, points: Path) -> NDArray[np.uint32]:
    raw, count = path.read_bytes(), len(laser_points(points))
    if len(raw) != 4 * count:
        name = f"{path.parent.name}/{path.name}"
        raise UserError(f"{name} has {len(raw):,} bytes for {count:,} points, expected 4 for each: is it of another scan?")
    return np.frombuffer(raw, "<u4")


def recognises(location: str) -> bool:
    """Whether there are sequences with labels or laser scans, in the folder, in the only one in it (see `inner_alone`), or in several into
    which archives were unpacked; or it is one of them, or a part of one. `open_source` says what is not there."""
    if not os.path.isdir(location):
        return False
    root = Path(location).absolute()
    if (alone := _alone(root)) is not None:
        return any((alone / name).is_dir() for name in ARCHIVES)
    if _fits(_home(root)) or inner_alone(root, _fits) is not None:
        return True
    return sum(_fits(home) for path in folders_alone(root, BESIDE) for home in (path, path / "dataset")) > 1


def _fits(root: Path) -> bool:
    """Whether a folder has `sequences` with labels or laser scans."""
    return any((home / name).is_dir() for home in _sequences(root) for name in ARCHIVES)


def _home(root: Path) -> Path:
    """The folder with `sequences`, which may be given itself."""
    return root.parent if root.name == "sequences" else root


def _alone(root: Path) -> Path | None:
    """The sequence that a folder is, or that it is a part of; None if it is neither."""
    inside = [path for path in (root, root.parent) if path.parent.name == "sequences" and re.fullmatch(r"\d\d", path.name)]
    return inside[0] if inside else None


def _sequences(root: Path) -> list[Path]:
    home = root / "sequences"
    return sorted(path for path in home.iterdir() if re.fullmatch(r"\d\d", path.name)) if home.is_dir() else []


Folders = dict[str, dict[str, Path]]
"""By sequence, such as `00`: its folders by name, `velodyne` and `labels`."""


def _folders(homes: Sequence[Path]) -> Folders:
    """The folders of all sequences in several folders `sequences`.

    Raises:
        UserError: a sequence has one of its folders in several of them.
    """
    found: Folders = {}
    for home in homes:
        for sequence in _sequences(home.parent):
            own = found.setdefault(sequence.name, {})
            for name in ARCHIVES:
                if not (sequence / name).is_dir():
                    continue
                if name in own:
                    raise UserError(
                        f"sequence {sequence.name} has several folders {name}: {str(own[name])!r} and {str(sequence / name)!r}; give a "
                        "folder that holds one of each, or move the others away"
                    )
                own[name] = sequence / name
    return dict(sorted(found.items()))


def _lacking(folders: Folders) -> list[str]:
    """Which of `velodyne` and `labels` no sequence has."""
    return [name for name in ARCHIVES if not any(name in own for own in folders.values())]


def _elsewhere(location: str, root: Path, homes: Sequence[Path], lacking: str) -> UserError | None:
    """The error for a folder beside which the other archive was unpacked; None if it was not."""
    for above in root.parents[:ABOVE] if any(map(_sequences, (home.parent for home in homes))) else ():
        others = [home for home in named_below(above, ["sequences"]) if _fits(home.parent)]
        try:
            folders = _folders(others)
        except UserError:  # too far up: there are several collections
            return None
        if not _lacking(folders):
            place = next(own[lacking].parents[1] for own in folders.values() if lacking in own)
            return UserError(
                f"{location!r}: no sequence has a folder {lacking}; some in {str(place)!r} have: give {str(above)!r}, below which both are"
            )
    return None


def _found(location: str) -> tuple[Path, Folders]:
    """The folder that is read, and the folders of its sequences, in it or below it.

    Raises:
        UserError: scans or labels are not there at all, a sequence alone is given, or there are several collections.
    """
    given = folder_at(location)
    if (single := _alone(given)) is not None:
        what = "is one sequence" if single == given else "is a part of one sequence"
        raise UserError(f"{location!r} {what}; give {str(single.parent.parent)!r}, because the split goes by sequences")
    root = _home(given)
    homes = [root / "sequences"] if _fits(root) else []
    if not homes or _lacking(_folders(homes)):
        homes = [home for home in named_below(root, ["sequences"]) if _fits(home.parent)] or [meant(root, _fits, ()) / "sequences"]
    folders = _folders(homes)
    if lacking := _lacking(folders):
        raise _elsewhere(location, root, homes, lacking[0]) or UserError(
            f"{location!r}: no sequence has a folder {lacking[0]}; it is downloaded apart ({ARCHIVES[lacking[0]]}), and may be unpacked "
            "anywhere below the folder that is given"
        )
    return (homes[0].parent if len(homes) == 1 else root), folders


def open_source(location: str, *, textures: Textures = "require", every: str = "10", least: str = "8") -> Source:
    """Lists the things of labelled scans.

    Args:
        location: the folder with `sequences`, `sequences` itself, or a folder above, also one below which scans and labels are apart, or
            some sequences and others.
        textures: of no importance here, there are none.
        every: take each scan whose number is a multiple of this.
        least: fewest laser points of a thing.
    """
    step, fewest = whole("every", every, 1, 100_000), whole("least", least, 2, 100_000)
    root, folders = _found(location)
    given = _home(folder_at(location))
    apart = {f"{name}/{part}": path for name, own in folders.items() for part, path in own.items() if path.parents[1] != root / "sequences"}
    entries, skipped, unlabelled, broken = list[Entry](), Counter[str](), 0, list[str]()
    labelled, chosen, alone = 0, 0, 0
    for sequence, own in folders.items():
        if "labels" not in own:
            unlabelled += 1
            continue
        names = sorted(os.listdir(own["labels"]))
        alone += len(_chosen(own.get("velodyne"), step) - set(names))
        for name in names:
            labelled += bool(OWN.fullmatch(name))
            if not OWN.fullmatch(name):
                skipped["hidden" if name.startswith(".") else Path(name).suffix.lower() or "no extension"] += 1
            elif int(name[:6]) % step == 0:
                chosen += 1
                try:
                    entries += _things(sequence, own, name[:6], fewest, skipped)
                except (UserError, OSError) as error:
                    reason = error.strerror if isinstance(error, OSError) else str(error)
                    broken.append(f"sequences/{sequence}, scan {name[:6]}: {reason}")
    notes = [f"{counted(unlabelled, 'sequence')} without labels left out"] if unlabelled else []
    if apart:
        homes = sorted({str(path.parents[1].relative_to(root)) for own in folders.values() for path in own.values()})
        notes.insert(0, f"sequences are taken from {', '.join(homes)}")
    elif root != given:
        notes.insert(0, f"{location!r} is taken for SemanticKITTI's folder {str(root)!r}")
    if alone:
        notes.append(f"{counted(alone, 'scan')} without a file of labels left out")
    if others := sorted(
        {
            path.name
            for home in {own.parents[1] for one in folders.values() for own in one.values()}
            for path in folders_in(home)
            if not re.fullmatch(r"\d\d", path.name)
        }
    ):
        notes.append(f"folders of sequences have two digits; left out: {some(others, SOME)}")
    if broken:
        skipped["scan that cannot be read"] = len(broken)
        notes.append(f"{counted(len(broken), 'scan')} left out that cannot be read: {some(broken, SOME, '; ')}")
        if not entries:
            raise UserError(f"{location!r}: {notes[-1]}")
    if not entries and labelled and not chosen:
        raise UserError(
            f"{location!r}: none of {labelled} labelled scans has a number that {step} divides; take all with --set source.every=1"
        )
    if not entries and skipped[UNNUMBERED]:
        raise UserError(
            f"{location!r}: the labels of {chosen} scans have classes, but no numbers of things in their upper half; "
            "expected the labels as downloaded, which tell one car from the next"
        )
    if not entries and chosen and not skipped:
        raise UserError(f"{location!r}: the labels of {chosen} scans name no thing, such as a car; expected the labels as downloaded")
    if not any(entry.split == "val" for entry in entries):
        notes.append(f"nothing is in the split val: no thing of sequence {VALIDATION} is there")
    if hidden := sorted({entry.id[:2] for entry in entries if entry.split == "test"}):
        notes.append(
            "somebody labelled sequences whose labels the authors keep for their benchmark; they are in the split test: "
            f"{', '.join(hidden)}"
        )
    if step > 1:
        notes.append(f"one scan in {step} is taken, because neighbouring scans show the same things; choose with --set source.every=1")
    options = (("every", str(step)), ("least", str(fewest)))
    reader = InstanceReader(location=str(root), options=options, textures=textures, least=fewest, apart=words(apart))
    return Source.of(reader, entries, skipped, notes)


def _chosen(velodyne: Path | None, step: int) -> set[str]:
    """The names of the files of labels that the chosen scans of a sequence should have. `velodyne`: the folder of its scans, if there is
    one."""
    scans = [name for name in os.listdir(velodyne) if re.fullmatch(r"\d{6}\.bin", name)] if velodyne is not None else []
    return {f"{name[:6]}.label" for name in scans if int(name[:6]) % step == 0}


def _things(sequence: str, folders: Mapping[str, Path], scan: str, least: int, skipped: Counter[str]) -> list[Entry]:
    """The things of a scan of a sequence with these folders, by name. Counts those that are left out.

    Raises:
        UserError: the scan or its labels cannot be read, or a class is none of SemanticKITTI.
    """
    if "velodyne" not in folders:
        raise UserError("the sequence has labels, and no folder velodyne")
    points = present(folders["velodyne"] / f"{scan}.bin")
    places, labels = laser_points(points), labels_of(folders["labels"] / f"{scan}.label", points)
    seen = placed(places)
    places, labels = places[seen], labels[seen]
    marks, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if strange := sorted({mark & 0xFFFF for mark in marks.tolist()} - THINGS.keys() - OTHERS):
        raise UserError(
            f"class {strange[0]} is none of SemanticKITTI; expected labels as downloaded: were they mapped to other numbers, "
            "as by learning_map?"
        )
    sums = np.column_stack([np.bincount(which, places[:, axis]) for axis in (0, 1)])
    entries = []
    for mark, count, total in zip(marks.tolist(), counts.tolist(), sums, strict=True):
        kind, thing = THINGS.get(mark & 0xFFFF), mark >> 16
        if kind is None:
            continue
        if not thing:
            skipped[UNNUMBERED] += 1
            continue
        if count < least:
            skipped[FEW] += 1
            continue
        # The class of a moving thing is in its name, too: a thing may have points of both.
        moving = "moving-" if mark & 0xFFFF >= 252 else ""
        known = at_distance(f"{sequence}/{scan}/{moving}{kind}_{thing}", float(np.hypot(*(total / count))))
        entries.append(Entry(id=known, locator=f"{sequence}/{scan}#{mark}", label=kind, split=_split(sequence)))
    return entries


def _split(sequence: str) -> str:
    return "val" if sequence == VALIDATION else "test" if sequence in HIDDEN else "train"


def example(folder: Path) -> str:
    """A scan of each of two sequences: a car that stands, a person who walks, and the road."""
    for sequence in ("00", "08"):
        rng = np.random.default_rng(int(sequence))
        car, person = rng.uniform((8, -1, -1.7), (12, 1, 0), (200, 3)), rng.uniform((5, 3, -1.7), (5.5, 3.5, 0), (40, 3))
        road = np.column_stack([rng.uniform(2, 20, 300), rng.uniform(-5, 5, 300), np.full(300, -1.75)])
        places = np.column_stack([np.concatenate([car, person, road]), np.full(540, 0.2)])
        labels = np.repeat(np.array([10 | 1 << 16, 254 | 2 << 16, 40], "<u4"), (200, 40, 300))
        for name, data in (("velodyne/000000.bin", places.astype("<f4").tobytes()), ("labels/000000.label", labels.tobytes())):
            path = folder / "sequences" / sequence / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return str(folder)
