"""Shapes in files: the extensions of shapes, the search in a tree of folders, and the reader.

The sources `folder`, `modelnet`, `shapenet` and `list` use this module. `pipeline.reading.load` reads a file.
"""

import hashlib
import heapq
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cache_schema.axes import UP
from cache_schema.errors import UserError
from pipeline import reading
from pipeline.formats import collada
from pipeline.formats.labels import Labelling, Labels
from pipeline.formats.table import is_table
from pipeline.geometry import Geometry
from pipeline.sources.catalog import Entry, Textures
from pipeline.sources.folders import WORDS_OR_NUMBERS

Axis = Literal["auto", "x", "y", "z", "-x", "-y", "-z"]
"""The option `up`."""

AXES: Final = ("auto", "x", "y", "z", "-x", "-y", "-z")
"""What the option `up` may be."""


@dataclass(frozen=True, kw_only=True)
class FileReader:
    """Reads files below a root. See `catalog.Reader`."""

    kind: str
    location: str
    root: str = ""
    """Absolute path that locators are relative to; empty for the location."""
    up: Axis
    """`auto`: see `usual_up`."""
    options: tuple[tuple[str, str], ...]
    textures: Textures
    labels: Labels | None = None
    """Where part labels are and what they mean; None if no labels are read."""

    def read(self, entry: Entry) -> Geometry:
        path = self._path(entry)
        up = entry.up or (usual_up(path) if self.up == "auto" else self.up)
        return reading.load(path, up=up, textures=self.textures, labels=Labelling(self.labels) if self.labels else None)

    def digest(self, entry: Entry) -> bytes:
        with self._path(entry).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def written(self, entry: Entry) -> float:
        """See `catalog.DatedReader`."""
        try:
            state = os.stat(os.path.join(self.root or self.location, entry.locator))  # no Path: this is asked for every shape
        except (OSError, ValueError):
            return 0.0
        return max(state.st_mtime, state.st_ctime)  # a file that was moved here keeps the time at which it was written

    def read_by(self, entry: Entry) -> tuple[str, ...]:
        """See `catalog.NamingReader`."""
        return (suffix_of(entry.locator), *(("labels",) if self.labels else ()))

    def _path(self, entry: Entry) -> Path:
        path = Path(self.root or self.location, entry.locator)
        if not path.is_file():
            raise UserError(f"no such file: {entry.locator}")
        return path


def suffix_of(locator: str) -> str:
    """The extension of a file, in lower case."""
    return os.path.splitext(locator)[1].lower()


def usual_up(path: Path) -> Literal["x", "y", "z"]:
    """The axis that points up in a file, by its extension. A COLLADA file names the axis, and only there it can be x."""
    suffix = path.suffix.lower()
    if suffix in (".dae", ".zae"):
        said = re.search(rb"up_axis\s*>\s*([XYZ])_UP", collada.head(path))
        if said:
            return "x" if said[1] == b"X" else "z" if said[1] == b"Z" else "y"
    return UP.get(suffix, "y")


def axes_told(extensions: Iterable[str]) -> str:
    """A sentence about the up axes that `auto` chose for these extensions."""
    kinds: dict[str, list[str]] = {}
    for extension in sorted(set(extensions)):
        kinds.setdefault(UP[extension], []).append(extension)
    told = ", ".join(f"+{axis.upper()} for {' '.join(names)}" for axis, names in sorted(kinds.items()))
    differ = ". These differ: for files that stand alike" if len(kinds) > 1 else ";"
    return f"up is what is usual for the format: {told}{differ} choose with --set source.up=y|z (x, -x, -y and -z work, too)"


def find_files(root: Path, extensions: Collection[str], no_tables: list[str] | None = None) -> tuple[list[str], Counter[str]]:
    """Finds all files with one of the extensions below a folder.

    `no_tables` gets the paths of files that have one of `WORDS_OR_NUMBERS` among the extensions, and are no tables of points. They count as
    other files. Links to folders are followed. No folder is read twice and no folder above the root is read, so loops of links end.

    Returns:
        The paths relative to the root, with `/`, in no particular order; and the number of all other files by extension or reason.

    Raises:
        UserError: a folder may not be read. It is not left out, because then the shapes would differ between machines.
    """
    found: list[str] = []
    skipped: Counter[str] = Counter()
    home = root.resolve()
    seen = {_inode(path) for path in (home, *home.parents)}
    folders, links = [""], list[str]()
    while folders or links:
        # Links come after all real folders, and in order, so that the names of the files depend only on the tree.
        folder = folders.pop() if folders else heapq.heappop(links)
        try:
            inode = _inode(root / folder) if folder else None
            if inode in seen:
                skipped["link to a folder seen before"] += 1
                continue
            if inode:
                seen.add(inode)
            items = list(os.scandir(root / folder))
        except OSError as error:
            raise UserError(f"cannot list the folder {str(root / folder)!r}: {error.strerror}") from error
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            extension = os.path.splitext(item.name)[1].lower()
            if item.name.startswith("."):
                skipped["hidden"] += 1
            elif item.is_dir(follow_symlinks=False):
                folders.append(path)
            elif item.is_symlink() and os.path.isdir(item.path):
                heapq.heappush(links, path)
            elif extension not in extensions or (extension in WORDS_OR_NUMBERS and item.is_file() and not is_table(Path(item.path))):
                skipped[extension or "no extension"] += 1
                if no_tables is not None and extension in extensions:
                    no_tables.append(path)
            elif item.is_file(follow_symlinks=False) or item.is_symlink():  # a broken link counts as a shape, which will fail with its name
                found.append(path)
            else:
                skipped["device or pipe"] += 1
    return found, skipped


def _inode(path: Path) -> tuple[int, int]:
    """Two numbers that identify a folder."""
    state = os.stat(path)
    return state.st_dev, state.st_ino
