"""Splits of shapes into train, val and test: read from names or lists, or made by a hash of the id."""

import hashlib
import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from cache_schema.errors import UserError
from pipeline.sources.catalog import Entry, shape_text

SPLITS: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""By name of a folder, or of a split in a list, in small letters: its split. Those of lists are kept as they are written."""

MAKE_ONE: Final = "--set source.split=0.8 makes one by a hash of the id"
"""The advice for a source without a split."""

LIST_BYTES: Final = 64 << 20
"""Largest size of a list of names, in bytes."""

_IN_NAME: Final = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?:sets?|data|split|lists?|files?|names|ids)?(?![a-z])")


def split_named(name: str) -> str:
    """The split in the name of a file or folder, in any case: `ply_data_Train0.h5` is train. Empty where the name has none or two."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    found = set(_IN_NAME.findall(apart))
    return found.pop() if len(found) == 1 else ""


def fractions(text: str) -> tuple[float, ...]:
    """`0.8` as (0.8,), `0.8,0.1` as (0.8, 0.1): the shares of training and validation. The rest is for tests.

    Raises:
        UserError: the text is anything else.
    """
    try:
        parts = tuple(float(part) for part in text.split(","))
    except ValueError:
        parts = ()
    if len(parts) not in (1, 2) or not all(math.isfinite(part) and 0 < part < 1 for part in parts) or sum(parts) > 1 - 1e-9:
        raise UserError(
            f"option split: expected the part for training, as 0.8, or those for training and validation, as 0.8,0.1, got {text!r}"
        )
    return parts


def made(entries: Iterable[Entry], split: str, seed: str) -> list[Entry]:
    """Entries with a split made by a hash of seed and id. So no shape changes its split when other shapes are added.

    Args:
        entries: the shapes. Their own split is replaced.
        split: see `fractions`.
        seed: digits. Another seed makes another split.
    """
    parts = fractions(split)
    names = ("train", "test") if len(parts) == 1 else ("train", "val", "test")
    bounds = [sum(parts[: i + 1]) for i in range(len(parts))]
    done = []
    for entry in entries:
        place = int.from_bytes(hashlib.sha256(f"split\0{seed}\0{entry.id}".encode()).digest()[:8]) / 2**64
        done.append(replace(entry, split=names[sum(place >= bound for bound in bounds)]))
    return done


def settings(split: str, split_seed: str) -> tuple[tuple[str, str], ...]:
    """The recorded options of a split that is made; empty where none is asked for.

    Raises:
        UserError: the split or the seed is invalid.
    """
    if not re.fullmatch(r"\d{1,9}", split_seed):
        raise UserError(f"option split_seed: expected a number of at most nine digits, got {split_seed!r}")
    if not split:
        if split_seed != "0":
            raise UserError("option split_seed has no effect without the option split: set split=0.8, or leave it out")
        return ()
    kept = (("split", ",".join(map(repr, fractions(split)))),)
    return (*kept, ("split_seed", str(int(split_seed)))) if int(split_seed) else kept


def finished(entries: list[Entry], split: str, split_seed: str, told_by: str) -> tuple[list[Entry], list[str]]:
    """Entries with the split that was asked for, and notes about it.

    Args:
        entries: the shapes with the split of their source.
        split: the option `split`; empty keeps the split of the source.
        split_seed: the option `split_seed`.
        told_by: in words, where the split of the source was read from.
    """
    own = Counter(entry.split for entry in entries)
    notes = []
    if split:
        if set(own) - {""}:
            notes.append(f"the split told by {told_by} is replaced by source.split={split}")
        entries = made(entries, split, split_seed)
        own = Counter(entry.split for entry in entries)
        notes.append(f"split made by a hash of the id: {counted(own)}")
        trained, tested = ({entry.label for entry in entries if entry.split == name and entry.label} for name in ("train", "test"))
        lacking = trained ^ tested
        if lacking:
            notes.append(f"no shape in train, or none in test: {len(lacking)} of {len(trained | tested)} classes, such as {min(lacking)!r}")
    elif set(own) == {""}:
        notes.append(f"no split found; {MAKE_ONE}")
    elif entries:
        notes.append(f"split told by {told_by}: {counted(own)}")
        if own[""]:
            notes.append(f"{own['']} shapes are in no split")
    return entries, notes


def otherwise(entries: Iterable[Entry]) -> list[str]:
    """A note about splits that a list seems to mean as train, val or test and writes otherwise (`SPLITS`). They are kept as they are."""
    other = sorted({entry.split for entry in entries if SPLITS.get(entry.split.lower(), entry.split) != entry.split})
    if not other:
        return []
    told = ", ".join(f"{name!r} is not {SPLITS[name.lower()]}" for name in other)
    return [f"splits are kept as the list writes them, and {told}: write it so in the list; `mmpd-cache relabel` changes a cache"]


def counted(splits: Counter[str]) -> str:
    """The number of shapes in each split, such as `480 train, 120 test`."""
    known = [name for name in ("train", "val", "test") if splits[name]]
    return ", ".join(f"{splits[name]} {name}" for name in (*known, *sorted(set(splits) - {"train", "val", "test", ""})))


def listed(root: Path, texts: Sequence[str], lists: Iterable[Path]) -> tuple[list[str], str, list[str]]:
    """The split of each shape according to lists of names beside the shapes, such as `modelnet40_train.txt`.

    Args:
        root: the folder of the shapes.
        texts: their paths below it.
        lists: files that may be such lists: text with one name a line, or JSON with a list of names. A name is a path or the end of a
            path, with or without extension.

    Returns:
        The splits, each empty where no list names the shape; the lists that were used, in words; and notes about other lists.
        If two lists contradict each other, all splits are empty.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        stem = os.path.splitext(text)[0]
        for name in {stem, stem.rsplit("/", 1)[-1], "/".join(stem.split("/")[-2:])}:
            by_name[name].append(index)
    none, lists = [""] * len(texts), sorted(lists)
    if not lists:
        return none, "", []
    splits, used, notes = list(none), list[str](), list[str]()
    for path in lists:
        split = split_named(path.stem)
        shown = shape_text(path.relative_to(root).as_posix())
        names = _list_of_names(path) if split else []
        if names is None:
            notes.append(f"{shown} cannot be read as a list of names: not taken for the list of a split")
            continue
        places = [place for name in names if len(place := _named(name, by_name)) == 1]
        if 2 * len(places) < len(names):
            if places:
                notes.append(f"{shown} names {len(places)} of these shapes among {len(names)}: not taken for the list of a split")
            continue
        for (index,) in places:
            if splits[index] not in ("", split):
                return none, "", [f"{texts[index]} is in {split} by {shown} and in {splits[index]} by another list: no list is taken"]
            splits[index] = split
        if places:
            used.append(shown)
    return splits, ", ".join(used), notes


def _named(name: str, by_name: dict[str, list[int]]) -> list[int]:
    """Indices of the shapes that a name in a list means."""
    parts = name.replace("\\", "/").removeprefix("./").split("/")
    for count in (len(parts), 2, 1):
        text = "/".join(parts[-count:])
        if found := by_name.get(text) or by_name.get(os.path.splitext(text)[0]):
            return found
    return []


def _list_of_names(path: Path) -> list[str] | None:
    """The names in a file; empty where it holds something else, None where it cannot be read or is too large."""
    try:
        if path.stat().st_size > LIST_BYTES:
            return None
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if path.suffix.lower() == ".json" else text.splitlines()
    except (OSError, ValueError, RecursionError):
        return None
    return [name.strip() for name in names if isinstance(name, str) and name.strip()] if isinstance(names, list) else []
