"""Looking at folders: which ones are in a folder, which one is meant, and where parts of a collection lie.

Sources use it to recognise a collection. It reads no shapes; `pipeline.sources.files` finds these.
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from cache_schema.axes import UP
from cache_schema.errors import UserError
from pipeline.formats.table import is_table

WORDS_OR_NUMBERS: Final = (".txt", ".csv", ".asc")
"""Extensions of files that may be notes, lists or clouds. The contents tell."""

JUNK: Final = ("__MACOSX",)
"""Folders that programs leave beside what they unpack."""

ABOVE: Final = 3
"""Number of folders above a location that are asked whether they are meant."""

BELOW: Final = 4
"""Number of folders below a location in which parts of a collection are looked for."""

LISTED: Final = 1000
"""Most folders that are listed to find parts of a collection."""

BESIDE: Final = 24
"""Most folders beside each other that are asked for parts of a collection, before it is known that there is one."""


def folder_at(location: str) -> Path:
    """The absolute path of a folder.

    Raises:
        UserError: there is no such folder.
    """
    path = Path(location).absolute()
    if not path.is_dir():
        raise UserError(f"{location!r} is no folder")
    return path


def folders_in(root: Path) -> list[Path]:
    """The folders in a folder, in order, without hidden ones. None where it may not be read."""
    try:
        with os.scandir(root) as items:
            return sorted(Path(item.path) for item in items if not item.name.startswith(".") and _is_folder(item))
    except OSError:
        return []


def _is_folder(item: "os.DirEntry[str]") -> bool:
    """Whether something in a folder is a folder or a link to one. Only for a link, the disk is asked."""
    return item.is_dir(follow_symlinks=False) or (item.is_symlink() and os.path.isdir(item.path))


def inner_alone(root: Path, fits: Callable[[Path], bool]) -> Path | None:
    """The only folder in a folder, if it fits and no file beside it is one that the source `folder` reads as a shape; else None.

    Hidden files and folders, and `JUNK`, do not count. It ends as soon as a second folder or a shape is seen.
    """
    inner = folders_alone(root, 1)
    return inner[0] if inner and fits(inner[0]) else None


def folders_alone(root: Path, most: int) -> list[Path]:
    """The folders in a folder, in order, if they are not more than `most`, and no file beside them is one that the source `folder` reads as
    a shape; else none. Hidden files and folders, and `JUNK`, do not count. It ends as soon as one folder too many or a shape is seen."""
    inner, texts = list[Path](), list[Path]()
    try:
        with os.scandir(root) as items:
            for item in items:
                extension = os.path.splitext(item.name)[1].lower()
                if item.name.startswith(".") or item.name in JUNK:
                    continue
                if _is_folder(item):
                    inner.append(Path(item.path))
                    if len(inner) > most:
                        return []
                elif extension in WORDS_OR_NUMBERS:
                    texts.append(Path(item.path))
                elif extension in UP:
                    return []
    except OSError:
        return []
    return [] if any(map(is_table, texts)) else sorted(inner)


def named_below(root: Path, names: Collection[str], depth: int = BELOW) -> list[Path]:
    """The folders of some names below a folder, in order, each real folder once. Nothing is looked for in them, deeper than `depth`
    folders, or after `LISTED` folders."""
    found: dict[Path, Path] = {}
    level, listed = [root], 0
    for _ in range(depth):
        inner: list[Path] = []
        for folder in level:
            if (listed := listed + 1) > LISTED:
                break
            for path in folders_in(folder):
                if path.name in names:
                    found.setdefault(path.resolve(), path)
                else:
                    inner.append(path)
        level = inner
    return sorted(found.values())


def meant(root: Path, fits: Callable[[Path], bool], parts: Collection[str]) -> Path:
    """The folder of a collection that is meant by one that lies one too high or one too deep; the folder itself if none is near.

    Args:
        root: the folder that was given.
        fits: whether a folder is that of a collection.
        parts: names of folders in one, which can mean nothing else.

    Raises:
        UserError: several folders in it fit, or one above it does and more than that can be meant. The message names them.
    """
    if fits(root):
        return root
    if root.name in parts and fits(root.parent):
        return root.parent
    inner = [path for path in folders_in(root) if fits(path)]
    if len(inner) > 1:
        raise UserError(f"{str(root)!r} holds several collections: give one of {', '.join(repr(str(path)) for path in inner)}")
    above = next((path for path in root.parents[:ABOVE] if fits(path)), None)
    if not inner and above is not None:
        raise UserError(f"{str(root)!r} is a part of a collection: give {str(above)!r}")
    return inner[0] if inner else root
