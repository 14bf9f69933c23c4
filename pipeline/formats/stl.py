"""STL: triangles as text or binary, with the two kinds of colours in binary files.

Sources: https://www.fabbers.com/tech/STL_Format for both kinds of file, and for colours "STL (file format)" in Wikipedia, section
"Color in binary STL": Materialise Magics writes `COLOR=` into the header, VisCAM and SolidView write only colours of triangles. What
MeshLab writes differs from Materialise in the alpha and in the highest bit:
https://github.com/cnr-isti-vclab/vcglib/blob/main/wrap/io_trimesh/export_stl.h

Letters: F triangles.
"""

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.formats.labels import labelling
from pipeline.formats.lines import Lines
from pipeline.geometry import GREY, Geometry, Mesh, Part
from pipeline.reading import File

HEAD: Final = 84
"""Number of bytes before the first triangle: 80 bytes of any text, and the number of triangles."""

FACET: Final = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("color", "<u2")])
"""One triangle of a binary file."""

MESHLAB: Final = re.compile(rb"COLOR=.{3}[ ,;]MATERIAL=", re.DOTALL)
"""Beginning of MeshLab's headers. They have three bytes of colour; Materialise has four bytes and then a comma."""

PLAIN: Final = 0x7F
"""Value of red, green and blue in all headers of MeshLab."""

THIN: Final = 13
"""Smallest alpha of a header (5 percent) that is believed."""

LOST: Final = 0.01
"""Largest share of triangles that may be left out because their coordinates are no numbers. If there are more, the shape fails."""


def read(file: File) -> Geometry:
    """The triangles of an STL file. Its normals are left out: there is one for each triangle, and the corners give it more precisely.

    Raises:
        UserError: the file cannot be read, is cut short, or has no triangles.
    """
    data = file.data
    fits = len(data) >= HEAD and len(data) == HEAD + FACET.itemsize * int.from_bytes(data[80:84], "little")
    words = re.search(rb"^\W*solid\b|\b(facet|endsolid)\b", data[:65536], re.IGNORECASE)
    if not fits and words and b"\0" not in data[:512]:
        return _mesh(_text(data, file), None, file)
    corners, colors = _binary(data, file)
    return _mesh(corners, colors, file)


def _mesh(corners: NDArray[Any], colors: NDArray[Any] | None, file: File) -> Mesh:
    """Triangles `[F, 3, 3]` and their colours `[F, 4]` uint8 as a mesh. Triangles share no vertices."""
    if not len(corners):
        raise UserError("the file holds no triangles")
    given = asked.of_faces(file, len(corners)) if (asked := labelling(file)) else None
    good = np.isfinite(corners).all(axis=(1, 2))
    lost = len(good) - np.count_nonzero(good)
    if 0 < lost <= LOST * len(good):
        file.warn(f"{lost:,} of {len(good):,} triangles have coordinates that are no numbers and are left out")
        corners, colors = corners[good], None if colors is None else colors[good]
        given = None if given is None else given[good]
    look: dict[str, Any] = {"base_color": (GREY, GREY, GREY, 1.0)}
    if colors is not None:
        look = {"colors": np.repeat(colors, 3, axis=0)}
        if colors[:, 3].min() < 255:
            look["alpha_mode"] = "BLEND"
    faces = np.arange(3 * len(corners)).reshape(-1, 3)
    with np.errstate(invalid="ignore"):  # NaN of any kind
        places = corners.reshape(-1, 3).astype(np.float64)
    part = Part(vertices=places, faces=faces, part=given, **look)
    return Mesh(parts=(part,), colored=colors is not None, warnings=tuple(file.warnings))


def _text(data: bytes, file: File) -> NDArray[Any]:
    """Triangles `[F, 3, 3]` of all solids in a text file."""
    lines = Lines(data)
    if len(lines.are(b"vertex")) != data.lower().count(b"vertex"):  # several statements in a line, or names like these words
        lines = Lines(re.sub(rb"(?i)(?<=\s)(?=vertex\s+[-+.\dni]|facet\s+normal\s|outer\s|endloop|endfacet|endsolid)", b"\n", data))
    vertices, facets = lines.are(b"vertex"), lines.are(b"facet")
    if not len(facets):
        raise UserError("the file holds no triangles")
    values, counts = lines.numbers(vertices, skip=len("vertex"))
    wrong = counts != 3
    if wrong.any():
        i = int(wrong.argmax())
        raise UserError(f"line {lines.number(vertices[i])}: a vertex of {counts[i]} numbers, expected 3; damaged or cut short?")
    each = np.diff(np.searchsorted(vertices, np.append(facets, len(lines))))
    if len(vertices) != 3 * len(facets) or (each != 3).any():
        i = int((each != 3).argmax())
        raise UserError(f"line {lines.number(facets[i])}: a facet of {each[i]} vertices, expected 3; damaged or cut short?")
    if len(lines.are(b"color", b"colour")):
        file.warn("colours in a text file (color) are no part of STL and left out")
    if not len(lines.are(b"endsolid")):
        file.warn("the file ends without 'endsolid': it may be cut short")
    return values.reshape(-1, 3, 3)


def _binary(data: bytes, file: File) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Triangles `[F, 3, 3]` of a binary file, and their colours `[F, 4]` uint8 or None."""
    if len(data) < HEAD:
        raise UserError(f"damaged or cut short: {len(data)} bytes, and the header of a binary STL file alone has {HEAD}")
    count = int.from_bytes(data[80:HEAD], "little")
    extra = len(data) - HEAD - FACET.itemsize * count
    if extra < 0:
        held = (len(data) - HEAD) // FACET.itemsize
        raise UserError(f"damaged or cut short: the file declares {count:,} triangles and holds {held:,}")
    if extra and not count:
        raise UserError(f"damaged: the file declares no triangles, and {extra:,} bytes follow")
    if extra and extra % FACET.itemsize == 0 and data[-extra:].strip(b"\0"):
        held = count + extra // FACET.itemsize
        raise UserError(f"damaged: the file declares {count:,} triangles and holds {held:,}")
    if extra:
        file.warn(f"{extra:,} bytes after the last of {count:,} triangles are left out")
    facets = np.frombuffer(data, FACET, count, HEAD)
    return facets["corners"], _colors(data[:80], facets["color"], file)


def _colors(header: bytes, words: NDArray[Any], file: File) -> NDArray[Any] | None:
    """Colours `[F, 4]` uint8 from the header and the last two bytes of each triangle `[F]`; None where there are none.

    Materialise writes `COLOR=` and four bytes into the header; this is the colour of all triangles whose highest bit is set. The other
    triangles have five bits each of red, green and blue, red lowest. MeshLab does the same, but there the highest bit means that a triangle
    has a colour of its own. Other programs write no `COLOR=`; the highest bit means that a triangle has a colour, blue lowest.
    """
    low, middle, high = (((words >> shift) & 31) * 255.0 / 31 for shift in (0, 5, 10))
    own, rest, meshlab = words & 0x8000 == 0, _whole(header, file), MESHLAB.search(header)
    if rest is not None:
        red, green, blue = low, middle, high
        if not words.any():
            if meshlab and (rest[:3] == PLAIN).all():
                return None  # MeshLab always writes this grey, also if there is no colour
            own = np.zeros_like(own)  # only the header has a colour
        elif meshlab and not own.all():
            own = words != 0
    elif not own.all():
        own = ~own
        red, green, blue, rest = high, middle, low, np.array([*[round(GREY * 255)] * 3, 255], np.uint8)
    else:
        return None
    shades = np.rint(np.stack([red, green, blue, np.full(len(words), 255.0)], axis=1)).astype(np.uint8)
    return np.where(own[:, None], shades, rest)


def _whole(header: bytes, file: File) -> NDArray[Any] | None:
    """The colour `[4]` uint8 of the whole file, which the header gives after `COLOR=`; None where there is none."""
    found = re.search(rb"COLOR=(.{3})(.)(.?)", header, re.DOTALL)
    if not found:
        return None
    rgb, last, after = found.groups()
    three = MESHLAB.match(header, found.start())
    words = re.fullmatch(rb"[A-Za-z0-9#_.,()-]{3}", rgb) and (last == b"\0" or 32 <= last[0] < 127)
    if words and not (three and re.search(rb"[^ -~]", header[three.end() : three.end() + 12])):
        file.warn("the header has text behind 'COLOR=', which is no colour and left out")
        return None
    alpha = last[0]
    if three or (last == b" " and after in (b" ", b"\0")):
        alpha = 255  # the colour has three bytes, and the next byte is no alpha
    elif alpha == 0:
        alpha = 255  # nobody means an invisible shape
    elif alpha < THIN:
        file.warn(f"the header's colour is {alpha / 255:.2g} opaque, which would leave nothing to see: taken as opaque")
        alpha = 255
    return np.array([*rgb, alpha], np.uint8)
