"""How a file becomes a shape.

    shape = load("chair.glb", up="y", textures="require")    # Mesh or Cloud, +Y up, all parts in place

The file's extension chooses a module of `pipeline.formats`, which reads a `File`: its bytes, the files beside it, its pictures.
Every fault of a file ends in a `UserError` with one line that a person understands. A feature of a format that is not applied makes the
shape fail with a message that names the feature. If the shape is still right without the feature, `File.warn` records it instead.
"""

import dataclasses
import functools
import hashlib
import importlib
import itertools
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.terminal import one_line
from pipeline import textures as pictures
from pipeline.formats.catalog import ELSEWHERE, FORMATS, sign_of
from pipeline.geometry import Geometry, Up, finished

REASON: Final = 200
"""Longest error message, in bytes."""

NAME: Final = 4096
"""Longest file name, in characters, that is looked for. No system has longer names."""

NEARBY: Final = (
    "textures",
    "texture",
    "images",
    "maps",
    "materials",
    "materials/textures",
    "../textures",
    "../images",
    "../materials",
    "../materials/textures",
)
"""Folders, relative to the folder of a shape, that are searched in this order for a file that is not where the shape says. Gazebo,
Sketchfab and many asset stores keep meshes and pictures in folders beside each other."""


class PartLabels(Protocol):
    """What `load` needs of a `pipeline.formats.labels.Labelling`. It is a protocol, because that module imports this one."""

    def checked(self, file: "File", shape: Geometry) -> Geometry:
        """The shape that was read from a file, with a warning if some of it has no label."""


class Missing(UserError):
    """A file that a shape names is missing."""


def load(path: str | Path, *, up: Up, textures: Literal["require", "grey"], labels: "PartLabels | None" = None) -> Geometry:
    """Reads a file of any format in `pipeline.formats.catalog.FORMATS`.

    Args:
        path: The file. Materials and textures are looked for where the file says, then beside it.
        up: The axis of the file that points up. The shape is turned so that +Y points up, see `pipeline.geometry.TURNS`.
        textures: `require` makes a missing texture file an error, `grey` goes on without it.
        labels: Turns labels into parts; None if no labels are read. A shape that has none gets a warning.

    Returns:
        A `Mesh`, or a `Cloud` where the file has points and no triangles. Vertices that no triangle uses are dropped. A shape
        that lies farther from the origin than a hundred times its size is moved there, because float32 would be too coarse.
        Its `beside` is `File.digest_beside`.

    Raises:
        Missing: a file that the shape names and needs is not there.
        UserError: the file is missing, empty, damaged, misnamed, of an unknown format or without a surface, its
            indices or coordinates are no good, or a texture is missing, damaged or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(one_line(f"there is no file {path.name}", REASON))
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise UserError(f"the file cannot be opened: {error.strerror}") from error
    if not head:
        raise UserError("the file is empty (0 bytes)")
    file = File(path, textures, labels)
    try:
        if file.suffix not in FORMATS:
            if file.suffix in ELSEWHERE:
                raise UserError(f"'{file.suffix}' files cannot be read: {ELSEWHERE[file.suffix]}")
            raise UserError(f"'{file.suffix}' files cannot be read; what can: {' '.join(sorted(FORMATS))}")
        shape = finished(importlib.import_module(FORMATS[file.suffix]).read(file), up)
        shape = dataclasses.replace(shape, beside=file.digest_beside())
        return shape if labels is None else labels.checked(file, shape)
    except UserError as error:
        kind = Missing if isinstance(error, Missing) else UserError
        raise kind(one_line(f"{_misnamed(head, path.suffix)}{error}", REASON)) from error


class File:
    """The main file of a shape, as a format reads it: its bytes, the files beside it, its pictures.

    File names in shapes are often wrong: they have backslashes, folders of another machine, another case or other blanks. Such files are
    found all the same. A file that is not where the shape says is looked for in the folders `NEARBY`. Names may lead to folders above
    the shape, because ShapeNet keeps its textures there.
    """

    def __init__(self, path: Path, textures: Literal["require", "grey"], labels: "PartLabels | None" = None) -> None:
        self.path, self.textures, self.labels = path, textures, labels
        self.suffix = path.suffix.lower()
        self.warnings: list[str] = []
        self._read: set[tuple[str, str]] = set()
        """Name and sha256 of every file beside this one that was read."""
        self._textures: dict[tuple[str, Path], NDArray[Any] | None] = {}
        self._listings: dict[Path, dict[str, Path]] = {}

    @functools.cached_property
    def data(self) -> bytes:
        """The whole file."""
        return self.path.read_bytes()

    def warn(self, text: str) -> None:
        """Records a feature that is left out although the shape is still right. Each text is kept once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def beside(self, name: str, named_in: Path | None = None) -> bytes:
        """The bytes of a file that this file names, or that the file `named_in` (such as an `.mtl`) names.

        Raises:
            Missing: there is no such file, here or nearby.
            UserError: it cannot be opened.
        """
        path = self.find(name, named_in)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"file {path.name!r} cannot be opened: {error.strerror}") from error
        self._read.add((name, hashlib.sha256(data).hexdigest()))
        return data

    def digest_beside(self) -> bytes:
        """sha256 (32 bytes) over the names and contents of all files beside this one that were read; empty where none was.

        The names are as the shape writes them, so the digest does not depend on where the files are found.
        """
        text = "".join(f"{name}\0{digest}\0" for name, digest in sorted(self._read))
        return hashlib.sha256(text.encode(errors="surrogatepass")).digest() if text else b""

    def find(self, name: str, named_in: Path | None = None) -> Path:
        """The path of a file that this file, or the file `named_in`, names.

        The name is tried relative to the file that names it and relative to the shape: first in full, then without its first folders,
        then in the folders `NEARBY`. In each place the exact spelling comes first, then a spelling that differs in case, blanks or the
        composition of accents.

        Raises:
            Missing: there is no such file, here or nearby.
        """
        clean = name.strip().strip('"').replace("\\", "/")
        asker = named_in or self.path
        places = _places(clean) if len(clean) <= NAME else ()
        for candidate, folder in itertools.product(places, dict.fromkeys((asker.parent, self.path.parent))):
            path = self._found(folder, candidate)
            if path is not None:
                return path
        raise Missing(f"file {clean[:REASON]!r}, named in {asker.name}, is missing")

    def _found(self, folder: Path, relative: str) -> Path | None:
        """The file with this name relative to a folder, spelled exactly so or alike; None where there is none."""
        path = folder
        try:
            if (path / relative).is_file():
                return path / relative
            for part in relative.split("/"):
                if part in ("", "."):
                    continue
                known = path / part
                if part != ".." and not known.exists():
                    known = self._listing(path).get(_alike(part), known)
                path = known
            return path if path.is_file() else None
        except (OSError, ValueError):  # a name that no file can have: too long, or with a zero byte
            return None

    def _listing(self, folder: Path) -> dict[str, Path]:
        """The contents of a folder by `_alike` name. Where several names are alike, the first in order is kept."""
        if folder not in self._listings:
            paths = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
            self._listings[folder] = {_alike(path.name): path for path in paths}
        return self._listings[folder]

    def texture(self, name: str, named_in: Path | None = None) -> NDArray[Any] | None:
        """The pixels `[H, W, 4]` uint8 of a picture that this file (or `named_in`) names. A picture is decoded once; later calls return the
        same array. None where the file is missing and `textures` is `grey`.

        Raises:
            Missing: the file is missing, and textures are required.
            UserError: the file is damaged, too large, or no picture.
        """
        key = (name, (named_in or self.path).parent)
        if key not in self._textures:
            try:
                self._textures[key] = pictures.decode(self.beside(name, named_in), name)
            except Missing as error:
                self.lacks(error)
                self._textures[key] = None
        return self._textures[key]

    def lacks(self, missing: Exception) -> None:
        """Reports a missing texture or material file: as an error where textures are required, else as a warning.

        Raises:
            Missing: textures are required, and `missing` is a `Missing`.
            UserError: textures are required, and `missing` is another error, such as a picture that an archive lacks.
        """
        if self.textures == "require":
            kind = Missing if isinstance(missing, Missing) else UserError
            raise kind(f"{missing}: put it there, or build with `--set source.textures=grey`") from missing
        self.warn(f"{missing}; drawn without it")


WINDOWS: Final = {code: bytes([code]).decode("cp1252", errors="ignore") or chr(code) for code in range(0x80, 0xA0)}
"""By code, the characters of Windows-1252 that differ from Latin-1."""


def decoded(data: bytes) -> str:
    """Decodes text of unknown encoding: UTF-8 or UTF-16 by its byte order mark, else UTF-8, else Windows-1252, which is usual in western
    Europe."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode()
    except UnicodeDecodeError:
        # Each byte becomes one character, so that a name reads alike in two files. Bytes that Windows-1252 lacks are read as Latin-1.
        return data.decode("latin-1").translate(WINDOWS)


def _places(name: str) -> Iterator[str]:
    """Relative paths at which a file with this name may be, best first."""
    relative = re.sub(r"^([a-zA-Z]:)?/+", "", re.sub(r"^file:/*", "/", name, flags=re.IGNORECASE))
    comment = re.split(r"\s+#", relative)[0]  # in case a comment follows the name
    spellings = dict.fromkeys((relative, urllib.parse.unquote(relative), comment))
    for spelling in spellings:
        parts = spelling.split("/")
        yield from ("/".join(parts[i:]) for i in range(len(parts)) if parts[-1])
    for folder in NEARBY:
        yield from (f"{folder}/{last}" for last in dict.fromkeys(s.rsplit("/", 1)[-1] for s in spellings) if last)


def _alike(name: str) -> str:
    """A file name without differences between machines: case, runs of blanks, and the composition of accents."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", name)).casefold().strip()


def _misnamed(head: bytes, suffix: str) -> str:
    """For a file that could not be read: a sentence about what it looks like if its extension is wrong, else empty."""
    sign = sign_of(head)
    return "" if sign is None or suffix.lower() in sign.suffixes else f"named {suffix or 'without extension'} but looks like {sign.what}: "
