"""Shapes that are files: which extensions are shapes, finding them in a tree, and the reader that opens one.

Used by the sources `folder`, `modelnet`, `shapenet` and `list`. Reading a file is `pipeline.reading.load`'s work.
"""

import hashlib
import heapq
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean
from pipeline import reading
from pipeline.formats import collada
from pipeline.formats.table import is_table
from pipeline.geometry import Geometry
from pipeline.sources.catalog import Entry, Textures

Axis = Literal["auto", "y", "z"]
Choice = TypeVar("Choice", bound=str)

WORDS_OR_NUMBERS: Final = (".txt", ".csv", ".asc")
"""Files that are as often notes or lists as clouds: a look inside tells."""

UP: Final[dict[str, Literal["y", "z"]]] = {
    ".glb": "y",
    ".gltf": "y",
    ".obj": "y",
    ".dae": "y",
    ".zae": "y",
    ".off": "z",
    ".ply": "z",
    ".stl": "z",
    ".3mf": "z",
    ".xyz": "z",
    ".npy": "z",
    ".npz": "z",
    ".asc": "z",
    ".pts": "z",
    ".pcd": "z",
    ".las": "z",
    ".laz": "z",
    ".csv": "z",
    ".txt": "y",
}
"""The files that are shapes, and which axis points up in them: glTF says +Y, COLLADA where it says nothing, .obj is written so
by nearly all programs; the formats of CAD, printing and scanning have +Z; the clouds in .txt files that are handed around (ModelNet40
with normals, ShapeNetPart) have +Y."""


@dataclass(frozen=True, kw_only=True)
class FileReader:
    """Reads files below a root. See `catalog.Reader`."""

    kind: str
    location: str
    root: str = ""
    """Absolute path that locators are relative to; the location itself where none is given."""
    up: Axis
    """`auto`: see `usual_up`."""
    options: tuple[tuple[str, str], ...]
    textures: Textures

    def read(self, entry: Entry) -> Geometry:
        path = self._path(entry)
        return reading.load(path, up=entry.up or (usual_up(path) if self.up == "auto" else self.up), textures=self.textures)

    def digest(self, entry: Entry) -> bytes:
        with self._path(entry).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def _path(self, entry: Entry) -> Path:
        path = Path(self.root or self.location, entry.locator)
        if not path.is_file():
            raise UserError(f"no such file: {entry.locator}")
        return path


def usual_up(path: Path) -> Literal["x", "y", "z"]:
    """The axis that points up in a file, by `UP`; a COLLADA file says it itself, and only there it can be x."""
    suffix = path.suffix.lower()
    if suffix in (".dae", ".zae"):
        said = re.search(rb"up_axis\s*>\s*([XYZ])_UP", collada.head(path))
        if said:
            return "x" if said[1] == b"X" else "z" if said[1] == b"Z" else "y"
    return UP.get(suffix, "y")


def axes_told(extensions: Iterable[str]) -> str:
    """A sentence about the axis that `auto` takes for up, by extension."""
    kinds: dict[str, list[str]] = {}
    for extension in sorted(set(extensions)):
        kinds.setdefault(UP[extension], []).append(extension)
    told = ", ".join(f"+{axis.upper()} for {' '.join(names)}" for axis, names in sorted(kinds.items()))
    return f"up is what is usual for the format: {told}; choose with --set source.up=y|z"


def choice(what: str, value: str, allowed: Sequence[Choice]) -> Choice:
    """A value of which there are only a few.

    Raises:
        UserError: it is another one.
    """
    for one in allowed:
        if value == one:
            return one
    raise UserError(f"{what}: expected one of {', '.join(map(repr, allowed))}, got {value!r}{did_you_mean(value, allowed)}")


def folder_at(location: str) -> Path:
    """The absolute path of a folder.

    Raises:
        UserError: it is none.
    """
    path = Path(location).absolute()
    if not path.is_dir():
        raise UserError(f"{location!r} is no folder")
    return path


def find_files(root: Path, extensions: Collection[str]) -> tuple[list[str], Counter[str]]:
    """All files below a folder with one of the extensions, and a count of everything else by extension or reason.

    Links to folders are followed, but no folder is read twice and none above the root, so loops end.

    Returns:
        Paths relative to the root with `/`, in no particular order, and the counts.

    Raises:
        UserError: a folder may not be read. Leaving it out would give other rows on another machine.
    """
    found: list[str] = []
    skipped: Counter[str] = Counter()
    home = root.resolve()
    seen = {_inode(path) for path in (home, *home.parents)}
    folders, links = [""], list[str]()
    while folders or links:
        # Links come after all real folders, and in order: what is found under which name depends on the tree alone.
        folder = folders.pop() if folders else heapq.heappop(links)
        if folder:
            inode = _inode(root / folder)
            if inode in seen:
                skipped["link to a folder seen before"] += 1
                continue
            seen.add(inode)
        try:
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
            elif item.is_file(follow_symlinks=False) or item.is_symlink():  # a link to nothing is a shape that will fail, with its name
                found.append(path)
            else:
                skipped["device or pipe"] += 1
    return found, skipped


def _inode(path: Path) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_dev, state.st_ino
