"""What COLLADA and 3MF are made of: XML, and ZIP archives that hold it, which can both be made to harm whoever opens them; and pictures
that do not repeat.

    archive = Archive(file.data)
    root = parsed(archive.read("3D/3dmodel.model"), "3D/3dmodel.model")

XML that declares entities is refused, because a few lines of it can expand without end or name other files; nothing is ever
fetched. An archive says how large its files are, and more than `LIMIT` is not unpacked.
"""

import contextlib
import dataclasses
import io
import posixpath
import re
import urllib.parse
import zipfile
import zlib
from typing import Any, Final

import numpy as np

from cache_schema.errors import UserError
from pipeline.geometry import Part, unit
from pipeline.polygons import clamped
from pipeline.reading import File, decoded

LIMIT: Final = 1 << 30
"""More bytes than this are not unpacked from one archive."""

RATIO: Final = 100
SMALL: Final = 50_000_000
"""What unpacks to more than `SMALL` bytes and `RATIO` times its size is no mesh, which compresses to a tenth."""


class Archive:
    """A ZIP archive, opened without trust."""

    def __init__(self, data: bytes) -> None:
        """
        Raises:
            UserError: it is no archive, damaged or cut short.
        """
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UserError(f"cannot be read as a ZIP archive, damaged or cut short? ({error})") from error
        self._items = {_clean(item.filename).lower(): item for item in self._zip.infolist() if not item.is_dir()}
        self._left = LIMIT

    @property
    def names(self) -> list[str]:
        """Names of the files in the archive, as it writes them, in its order."""
        return [item.filename for item in self._items.values()]

    def find(self, name: str) -> str | None:
        """The archive's own name of a file, whatever the case, leading slash or percent signs; None where there is none."""
        for candidate in (name, urllib.parse.unquote(name)):
            item = self._items.get(_clean(candidate).lower())
            if item is not None:
                return item.filename
        return None

    def read(self, name: str) -> bytes:
        """The bytes of a file, by a name that `find` gave.

        Raises:
            UserError: it is encrypted, damaged, or more than `LIMIT` bytes would be unpacked in all.
        """
        item = self._items[_clean(name).lower()]
        if item.flag_bits & 1:
            raise UserError(f"{name!r} in the archive is encrypted")
        if item.file_size > self._left:
            raise UserError(f"{name!r} in the archive declares {item.file_size:,} bytes; at most {LIMIT:,} in all are unpacked")
        if item.file_size > SMALL and item.file_size > RATIO * item.compress_size:
            raise UserError(f"{name!r} in the archive unpacks to {item.file_size:,} bytes, {RATIO} times what it holds: refused")
        self._left -= item.file_size
        try:
            with self._zip.open(item) as stream:
                return stream.read(item.file_size)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise UserError(f"{name!r} in the archive is damaged or cut short ({error})") from error


def _clean(name: str) -> str:
    """A name inside an archive without leading slash, `.` and `..`; it cannot lead out."""
    return posixpath.normpath("/" + name.strip().replace("\\", "/")).lstrip("/")


def not_repeated(file: File, part: Part, modes: tuple[str, str]) -> Part:
    """A part whose picture goes on beyond its edges as the file says, on a picture that repeats.

    Args:
        file: Where a warning goes for what cannot be shown.
        part: With a texture and coordinates.
        modes: How the picture goes on in u and v: `wrap`, `clamp`, `none`, `border`, `mirror`, in any case.
    """
    assert part.uv is not None and part.texture is not None
    ends = [mode.lower() in ("clamp", "none", "border") for mode in modes]
    odd = [i for i, mode in enumerate(modes) if mode.lower() != "wrap" and (np.abs(part.uv[:, i] - 0.5) > 0.5 + 1e-3).any()]
    if not odd:
        return part
    if not all(ends):
        file.warn("a picture that is mirrored, or ends in one direction only, is repeated")
        return part
    height, width = part.texture.shape[:2]
    values = {"vertices": part.vertices} | ({} if part.normals is None else {"normals": part.normals})
    uv, faces, values = clamped(part.uv, part.faces, (width, height), values)
    normals = unit(values.get("normals"), len(uv))
    return dataclasses.replace(part, uv=uv, faces=faces, vertices=values["vertices"], normals=normals)


def parsed(data: bytes, name: str) -> Any:
    """The root element of an XML document.

    Bytes that are not of the encoding they claim are read as `reading.decoded` reads any text.

    Raises:
        UserError: it is no XML, damaged or cut short, or declares entities.
    """
    from lxml import etree

    text = _text(data)
    if "<!ENTITY" in text:
        raise UserError(f"{name} declares XML entities (<!ENTITY), which are never expanded here: remove them")
    start = re.match(r"\s*(<\?xml.*?\?>)?", text, re.DOTALL)  # it names the encoding of the bytes, not of this text
    text = text[start.end() :] if start else text
    # Sizes are not limited by the parser (`huge_tree`), because the numbers of a mesh are one long text.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, remove_comments=True, remove_pis=True, encoding="utf-8"
    )
    try:
        return etree.fromstring(text.encode("utf-8", errors="replace"), parser)
    except etree.XMLSyntaxError as error:
        raise UserError(f"{name} cannot be read as XML, damaged or cut short? ({error})") from error


def _text(data: bytes) -> str:
    """The text of an XML document, in the encoding that it declares where it is of that, else in what it looks like."""
    if data[:4] in (b"<\0?\0", b"\0<\0?"):
        return data.decode("utf-16-le" if data[0] else "utf-16-be", errors="replace")
    said = re.match(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)", data)
    if said and not said[1].lower().startswith((b"utf-16", b"ucs-2")):  # what can be read here is of 8 bits, though some programs say 16
        with contextlib.suppress(UnicodeError, LookupError):
            return data.decode(said[1].decode())
    return decoded(data)
