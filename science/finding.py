"""Looking for the data sets of the paper's table in a folder, by what is in the folders there and not by what they are called.

    found, left = look(Path("/data"))            # {"modelnet40": Found(...)}, and a sentence for each data set that is not there
    found, left = look(Path("/data"), at={"modelnet40": Path("/other/mn40")})    # one of them is looked for elsewhere

A folder is a data set if it has the files by which one of its layouts is known (`official.Place.tells`). The location and the folders up
to two below it are asked. Two folders with one data set in one layout are refused, because numbers would depend on which is taken. Of two
layouts the one that `official.py` names first is taken, and the other one is told. A folder that has only the usual name of a data set is
told, with what it lacks.
"""

import fnmatch
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from official import DATA_SETS, FOLDS, LEARN, LINK, LISTS, DataSet, Found, Place

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean
from pipeline.sources import modelnetfewshot
from pipeline.sources.catalog import ARCHIVES
from pipeline.sources.hdf5 import SPLIT_FOLDER

DEPTH: Final = 2
"""Number of folders below the location that are looked into."""
CROWDED: Final = 1000
"""A folder with more folders than this holds shapes, and no data sets: those in it are not asked. The location itself may have more."""
GLANCE: Final = 100
"""Number of folders of one level that are entered to find a telling file."""
PICKLED: Final = (
    "pickles (.dat) are not read: fetch the texts that they were made of (modelnet40_normal_resampled.zip), or write them to HDF5 as "
    "docs/howto/official-data.md shows"
)
"""What is told of a folder with the pickles of Point-BERT and others."""
SHOWN: Final = 6
"""Largest number of folders of which it is told why they are not a data set."""


class Folders:
    """The folders at a location, each listed once."""

    def __init__(self, location: Path, depth: int = DEPTH) -> None:
        self._listed: dict[Path, dict[str, bool]] = {}
        self.crowded: dict[Path, int] = {}
        """Folders that were not looked into, and how many folders they have."""
        self.paths = tuple(self._down(location, depth))
        """The location, then the folders below it, the upper ones first, each level by name."""

    def names(self, folder: Path) -> dict[str, bool]:
        """The names in a folder, in order, and whether each is a folder itself. Hidden ones are left out. A folder that may not be read has
        none."""
        if folder not in self._listed:
            try:
                items = sorted(os.scandir(folder), key=lambda one: one.name)
            except OSError:
                items = []
            self._listed[folder] = {one.name: _is_folder(one) for one in items if not one.name.startswith(".")}
        return self._listed[folder]

    def first(self, folder: Path, pattern: str) -> Path | None:
        """The first file below a folder that has a pattern with `/`, as `*/train/*.off`; None if there is none."""
        here, _, rest = pattern.partition("/")
        names = [name for name, inner in self.names(folder).items() if inner == bool(rest) and fnmatch.fnmatchcase(name, here)]
        if not rest:
            return folder / names[0] if names else None
        return next((found for name in names[:GLANCE] if (found := self.first(folder / name, rest))), None)

    def _down(self, location: Path, depth: int) -> Iterator[Path]:
        level = [location]
        for below in range(depth + 1):
            yield from level
            inner: list[Path] = []
            for folder in level if below < depth else ():
                own = [folder / name for name, inside in self.names(folder).items() if inside]
                if below and len(own) > CROWDED:
                    self.crowded[folder] = len(own)
                else:
                    inner += own
            level = inner


def _is_folder(item: os.DirEntry[str]) -> bool:
    """Whether it is a folder; a link that leads nowhere, in a circle or into the forbidden is none."""
    try:
        return item.is_dir()
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A folder that is a data set."""

    place: Place
    path: Path
    told: tuple[Path, ...]
    """The files by which it is known."""


def look(
    location: Path, only: Mapping[str, object] | None = None, at: Mapping[str, Path] | None = None
) -> tuple[dict[str, Found], dict[str, str]]:
    """Look for the data sets.

    Args:
        location: the folder that holds them.
        only: names of the data sets to look for; None for all.
        at: by name of a data set: the folder where it is looked for instead.

    Returns:
        The data sets that are there; and for each other one what is expected, and what a folder of its usual name lacks.

    Raises:
        UserError: several folders hold one data set; one that is looked for elsewhere is not there; or a name is none of a data set.
    """
    at = at or {}
    _check_names(at, only)
    folders = Folders(location)
    found: dict[str, Found] = {}
    left: dict[str, str] = {}
    several: list[str] = []
    for name, data_set in DATA_SETS.items():
        if only is not None and name not in only:
            continue
        own = Folders(at[name]) if name in at else folders
        candidates = _candidates(data_set, own, asked=at.get(name))
        if name in at and not candidates:
            candidates = _above(data_set, at[name])
        first = next((place for place in data_set.places if any(one.place is place for one in candidates)), None)
        alike = [one for one in candidates if one.place is first]
        if len(alike) > 1:
            which = " and ".join(_told(one.path, location) for one in alike)
            several.append(f"{name} is in {which}: choose with --at {name}={alike[0].path}, or move one away")
        elif alike:
            others = [f"{_told(one.path, location)}, the same in another layout" for one in candidates if one is not alike[0]]
            found[name] = _found(name, alike[0], location, folders)
            found[name] = replace(found[name], passed=(*others, *_passed(data_set, own, candidates, location)))
        else:
            expected = "; or ".join(place.expected for place in data_set.places)
            reasons = [f"expected in a folder of any name: {expected}", *_passed(data_set, own, (), location, at.get(name))]
            reasons += [f"{_told(path, location)} was not looked into, it has {count:,} folders" for path, count in own.crowded.items()]
            if name in at:
                raise UserError(f"--at {name}={at[name]}: {'; '.join(reasons)}")
            left[name] = "; ".join(reasons)
    if several:
        raise UserError("\n".join(["data sets of which there are several:", *several]))
    return found, left


def told(found: Mapping[str, Found], left: Mapping[str, str]) -> list[str]:
    """Lines about what was found and what was not."""
    lines = []
    for name, one in found.items():
        lines.append(f"{name}: {one.path} ({one.place.kind})")
        lines += [f"  {said}" for said in (*one.notes, *filter(None, [one.fewer]), *(f"not taken: {reason}" for reason in one.passed))]
    return lines + [f"{name}: left out, {why}" for name, why in left.items()]


def _check_names(at: Mapping[str, Path], only: Mapping[str, object] | None) -> None:
    """Refuse folders for data sets that are not known, that are not looked for, or that are no folders.

    Raises:
        UserError: there is one.
    """
    for name, folder in at.items():
        if name not in DATA_SETS:
            raise UserError(f"--at {name}=...: no data set {name!r}{did_you_mean(name, DATA_SETS)}; expected one of {', '.join(DATA_SETS)}")
        if only is not None and name not in only:
            raise UserError(f"--at {name}=... has no effect, because --only leaves {name} out")
        if not folder.is_dir():
            raise UserError(f"--at {name}={folder}: that is no folder")


# ---------------------------------------------------------------------------------------------------------------- by files


def _candidates(data_set: DataSet, folders: Folders, asked: Path | None = None) -> tuple[_Candidate, ...]:
    """The folders that are the data set, each real folder once. `asked`: one that the user names as it; None if there is none.

    A folder may be known by files in folders that tell by themselves, as `scans` and `scans_test` of ScanNet. It is then taken if they are
    several, and else the one in it."""
    known: list[_Candidate] = []
    for path in folders.paths:
        for place in data_set.places:
            if (files := _telling(path, place, folders, path == asked)) and not _differs(path, place):
                known.append(_Candidate(place=place, path=path, told=files))
    known = [one for one in known if not any(_within(other, one) and all(_below(file, other.path) for file in one.told) for other in known)]
    known = [one for one in known if not any(_within(one, other) and any(_below(file, one.path) for file in other.told) for other in known)]
    once = {(one.path.resolve(), one.place.expected): one for one in reversed(known)}
    kept = [one for one in known if one in once.values()]
    best = [one for one in kept if not one.place.stands_in]
    return tuple(best or kept)


def _above(data_set: DataSet, folder: Path) -> tuple[_Candidate, ...]:
    """The folder above one that is named by the user, if that is the data set by files in it: its `main_split`, for instance."""
    above = folder.resolve().parent
    found = _candidates(data_set, Folders(above, depth=0))
    return tuple(one for one in found if any(_below(file, folder.resolve()) for file in one.told))


def _telling(path: Path, place: Place, folders: Folders, asked: bool) -> tuple[Path, ...]:
    """The files by which a folder is known as this layout; none if it is not."""
    groups = (*place.tells, place.named) if asked and place.named and not SPLIT_FOLDER.fullmatch(path.name) else place.tells
    told: list[Path] = []
    for group in groups:
        files = [folders.first(path, pattern) for pattern in group]
        told += [file for file in files if file is not None] if None not in files else []
    return tuple(told)


def _differs(path: Path, place: Place) -> str:
    """Why a folder with the telling files is another data set all the same; empty if it is not."""
    return place.holds(path) if place.holds else ""


def _within(inner: _Candidate, outer: _Candidate) -> bool:
    return inner.path != outer.path and _below(inner.path, outer.path)


def _below(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder)


# ---------------------------------------------------------------------------------------------------------------- by names


def _passed(data_set: DataSet, folders: Folders, taken: Sequence[_Candidate], location: Path, asked: Path | None = None) -> Iterator[str]:
    """Sentences about folders and archives that seem to be a data set and are not: by their names, because the user says so (`asked`), or
    by files that do not tell everything. Folders around and in one that is taken are none."""
    reasons: list[str] = []
    for path in folders.paths:
        if any(_below(path, one.path) or _below(one.path, path) or path.resolve() == one.path.resolve() for one in taken):
            continue
        if path == asked or _named(path, data_set):
            around = any(path in other.parents and _named(other, data_set) for other in folders.paths)
            reason = "" if around and path != asked else _lacks(path, data_set, folders)
        else:
            reason = "" if taken else _unsure(path, data_set, folders)
        reasons += [f"{_told(path, location)} {reason}"] * bool(reason)
        archives = [] if taken else [name for name, inner in folders.names(path).items() if not inner and _archived(name, data_set)]
        reasons += [f"{_told(path / name, location)} is an archive: unpack it" for name in archives]
    yield from reasons[:SHOWN]
    if len(reasons) > SHOWN:
        yield f"and {len(reasons) - SHOWN} more folders of such names"


def _named(path: Path, data_set: DataSet) -> bool:
    """Whether a folder has a usual name of a data set."""
    return re.fullmatch(data_set.named, path.name.lower()) is not None


def _archived(name: str, data_set: DataSet) -> bool:
    """Whether a file is an archive with a usual name of a data set."""
    stem = re.sub(rf"({'|'.join(map(re.escape, ARCHIVES))})+$", "", name.lower())
    return stem != name.lower() and re.fullmatch(data_set.named, stem) is not None


def _lacks(path: Path, data_set: DataSet, folders: Folders) -> str:
    """Why a folder is not the data set."""
    groups = [(place, group) for place in data_set.places for group in place.tells]
    nearest: list[str] = []
    for place, group in groups:
        missing = [pattern for pattern in group if folders.first(path, pattern) is None]
        if not missing:
            return _differs(path, place)
        if (len(missing) < len(group) or len(groups) == 1) and (not nearest or len(missing) < len(nearest)):
            nearest = missing
    if unsure := _unsure(path, data_set, folders):
        return unsure
    dat = f"; {PICKLED}" if folders.first(path, "*.dat") else ""
    return f"lacks {', '.join(nearest)}{dat}" if nearest else f"has none of the files by which it would be known{dat}"


def _unsure(path: Path, data_set: DataSet, folders: Folders) -> str:
    """Why files in a folder do not tell the data set, though the user could; empty if there are no such files."""
    for place in data_set.places:
        if place.named and not SPLIT_FOLDER.fullmatch(path.name) and all(folders.first(path, pattern) for pattern in place.named):
            return f"has {' and '.join(place.named)}, and nothing tells {place.unsure}: if you know, --at NAME=FOLDER"
    return ""


def _told(path: Path, location: Path) -> str:
    """A folder in words: relative to the location where it lies below it."""
    return str(path.relative_to(location)) if _below(path, location) and path != location else str(path)


# ------------------------------------------------------------------------------------------------------------- what is beside


def _found(name: str, one: _Candidate, location: Path, folders: Folders) -> Found:
    """A data set, with the settings that depend on what lies beside it.

    Raises:
        UserError: there are several lists that differ.
    """
    place, path = one.place, one.path
    settings, notes, lacking = list(place.settings), [place.note] * bool(place.note), dict[str, str]()
    if name == LEARN and not place.stands_in:  # meshes: the lists are of other people
        lists = _lists(folders, location) or _lists(Folders(path, depth=1), location)
        if lists is not None:
            settings.append(f"source.lists={Path(LINK, _beside(lists, location))}")
        else:
            settings.append("source.split=0.8")
            notes.append(
                f"no {LISTS}/train.txt was found, so 80 % of the meshes were trained on, chosen by a hash; the papers train on the list of "
                "Point-BERT (41,952 shapes)"
            )
    if name == "fewshot":
        for test in DATA_SETS[name].tests:
            if len(_folds(path, test.name)) < FOLDS:
                lacking[test.name] = f"{len(_folds(path, test.name))} of {FOLDS} folds of {test.name} in {_told(path, location)}"
    return Found(place=place, path=_beside(path, location), settings=tuple(settings), notes=tuple(notes), lacking=lacking)


def _lists(folders: Folders, location: Path) -> Path | None:
    """The folder with the usual lists of ShapeNet; None if there is none.

    Raises:
        UserError: there are several that differ.
    """
    wanted = ("train*.txt", "test*.txt")
    paths = dict.fromkeys(inner for one in folders.paths for inner in (one, one / LISTS) if inner.name == LISTS and inner.is_dir())
    there = [path for path in paths if folders.first(path, wanted[0])]
    texts = {tuple(file.read_bytes() for pattern in wanted for file in sorted(path.glob(pattern))): path for path in reversed(there)}
    if len(texts) > 1:
        raise UserError(f"lists of {LISTS} that differ are in {' and '.join(_told(path, location) for path in there)}: move one away")
    return there[0] if there else None


def _beside(path: Path, location: Path) -> Path:
    """A path relative to the location; absolute if it lies elsewhere."""
    if _below(path, location):
        return path.relative_to(location)
    whole, home = path.resolve(), location.resolve()
    return whole.relative_to(home) if _below(whole, home) else whole


def _folds(path: Path, test: str) -> list[Path]:
    """The files of the folds of a few-shot test."""
    ways, shots = re.findall(r"\d+", test)
    return [
        file for file in path.glob("*/*.pkl") if (way := modelnetfewshot.FILE.fullmatch(str(file))) and way.groups()[:2] == (ways, shots)
    ]
