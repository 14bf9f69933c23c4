"""What COLLADA and 3MF have in common: XML, ZIP archives, and textures that do not repeat.

    archive = Archive(file.data)
    root = parsed(archive.read("3D/3dmodel.model"), "3D/3dmodel.model")

A hostile XML document or archive can harm the program that opens it. XML that declares entities is refused, because a few lines of it
can expand without end or name other files. Nothing is fetched. An archive declares the sizes of its files, and at most `LIMIT` bytes
are unpacked.
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
"""Largest number of bytes that are unpacked from one archive."""

RATIO: Final = 100
"""Largest ratio of unpacked to packed size for a file above `SMALL`. Meshes compress to about a tenth."""

SMALL: Final = 50_000_000
"""Largest unpacked size, in bytes, of a file that may have any ratio."""


class Archive:
    """A ZIP archive from an untrusted source."""

    def __init__(self, data: bytes) -> None:
        """Opens an archive.

        Raises:
            UserError: the data are no archive, damaged or cut short.
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
        """The name of a file as the archive writes it; None where there is no such file. Case, a leading slash and percent-encoding of
        `name` do not matter."""
        for candidate in (name, urllib.parse.unquote(name)):
            item = self._items.get(_clean(candidate).lower())
            if item is not None:
                return item.filename
        return None

    def read(self, name: str) -> bytes:
        """The bytes of a file, by a name that `find` returned.

        Raises:
            UserError: the file is encrypted, damaged or too large (`LIMIT`, `RATIO`).
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
    """A name inside an archive without a leading slash, `.` and `..`, so that it stays inside."""
    return posixpath.normpath("/" + name.strip().replace("\\", "/")).lstrip("/")


def not_repeated(file: File, part: Part, modes: tuple[str, str]) -> Part:
    """The part with its wrap mode applied. All textures of a `Part` repeat; clamping is done by cutting triangles.

    Args:
        file: gets a warning about a wrap mode that cannot be shown.
        part: has a texture and UV coordinates.
        modes: wrap mode in u and v: `wrap` (repeat), `clamp`, `none`, `border` or `mirror`, in any case.
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
    uv, faces, values, _ = clamped(part.uv, part.faces, (width, height), values)
    normals = unit(values.get("normals"), len(uv))
    return dataclasses.replace(part, uv=uv, faces=faces, vertices=values["vertices"], normals=normals)


def parsed(data: bytes, name: str) -> Any:
    """The root element of an XML document.

    Where the bytes do not fit the declared encoding, `reading.decoded` decodes them.

    Raises:
        UserError: the data are no XML, damaged or cut short, or declare entities.
    """
    from lxml import etree

    text = _text(data)
    if "<!ENTITY" in text:
        raise UserError(f"{name} declares XML entities (<!ENTITY), which are never expanded here: remove them")
    start = re.match(r"\s*(<\?xml.*?\?>)?", text, re.DOTALL)  # the declaration names the encoding of the bytes, not of this text
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
    """The text of an XML document: decoded as it declares, or by `reading.decoded` where that fails."""
    if data[:4] in (b"<\0?\0", b"\0<\0?"):
        return data.decode("utf-16-le" if data[0] else "utf-16-be", errors="replace")
    said = re.match(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)", data)
    # The declaration could be read byte by byte, so it is wrong if it says UTF-16.
    if said and not said[1].lower().startswith((b"utf-16", b"ucs-2")):
        with contextlib.suppress(UnicodeError, LookupError):
            return data.decode(said[1].decode())
    return decoded(data)
