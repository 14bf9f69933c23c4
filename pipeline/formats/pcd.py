"""Point clouds of the Point Cloud Library (.pcd): as text, binary or compressed.

The fields in the header name the columns. Colours are in the bits of `rgb` or `rgba`. Format:
https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

import dataclasses
import io
import itertools
import re
import struct
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.formats import columns, labels
from pipeline.geometry import Cloud
from pipeline.reading import File

POINTS: Final = 500_000_000
"""Largest number of points that a header may declare."""

IDENTITY: Final = r"(-?0(\.0*)?\s+){3}1(\.0*)?(\s+-?0(\.0*)?){3}"
"""Pattern of the VIEWPOINT of a scanner that was not moved and not rotated."""


def read(file: File) -> Cloud:
    """The points of a PCD file.

    Raises:
        UserError: the file is no PCD file, or damaged.
    """
    header, body = _header(file.data)
    fields, count = _fields(header), _count(header)
    match header["DATA"]:
        case "ascii":
            table = _ascii(body, fields, count)
        case "binary":
            table = _binary(body, fields, count)
        case "binary_compressed":
            table = _compressed(body, fields, count)
        case other:
            raise UserError(f"DATA {other[:40]!r}: expected ascii, binary or binary_compressed")
    if not re.fullmatch(IDENTITY, header.get("VIEWPOINT", "0 0 0 1 0 0 0")):
        file.warn("the scanner's pose (VIEWPOINT) is not applied")
    given, rest = labels.fields_apart(file, list(_usable(table).items()))
    cloud = labels.with_labels(file, columns.named(rest, file.warn), given)
    return dataclasses.replace(cloud, warnings=tuple(file.warnings))


def _usable(table: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The fields without padding, and with unpacked colours."""
    known: dict[str, NDArray[Any]] = {}
    for name, values in table.items():
        if columns.plain(name) in ("rgb", "rgba") and values.ndim == 1:
            known[name] = columns.unpacked(values)
        elif not name.startswith("_"):  # padding
            known[name] = values
    return known


def _header(data: bytes) -> tuple[dict[str, str], bytes]:
    """The lines of the header by their first word, and the data after the header."""
    end = re.search(rb"(?m)^DATA[ \t]+(\w+)[ \t]*\r?\n", data[: 1 << 16])
    if not end:
        raise UserError("no PCD header: a line that begins with DATA is missing")
    header = {}
    for line in data[: end.end()].decode("latin-1").splitlines():
        word, _, rest = line.strip().partition(" ")
        header[word.upper()] = rest.strip()
    return header | {"DATA": end[1].decode("latin-1").lower()}, data[end.end() :]


def _fields(header: dict[str, str]) -> list[tuple[str, np.dtype, int]]:
    """Name, type and how many values of each field."""
    names = header.get("FIELDS", header.get("COLUMNS", "")).split()
    sizes, kinds = header.get("SIZE", "").split(), header.get("TYPE", "").upper().split()
    counts = header.get("COUNT", "").split() or ["1"] * len(names)
    if not names or not len(names) == len(sizes) == len(kinds) == len(counts):
        raise UserError("PCD header: FIELDS, SIZE, TYPE and COUNT do not have the same number of words")
    fields = []
    for name, size, kind, count in zip(names, sizes, kinds, counts, strict=True):
        letter = {"F": "f", "I": "i", "U": "u"}.get(kind, "")
        if (
            not letter
            or size not in ("1", "2", "4", "8")
            or (letter, size) == ("f", "1")
            or not count.isdecimal()
            or not 0 < int(count) < 4096
        ):
            raise UserError(f"PCD header: the field {name[:40]!r} has type {kind}, size {size} and count {count}, which nothing reads")
        fields.append((name, np.dtype(f"<{letter}{size}"), int(count)))
    return fields


def _count(header: dict[str, str]) -> int:
    """The number of points that the header declares."""
    numbers = [header.get("POINTS", "")] if header.get("POINTS") else [header.get("WIDTH", ""), header.get("HEIGHT", "1")]
    if not all(re.fullmatch(r"\d{1,12}", number) for number in numbers):
        raise UserError("PCD header: no number of points")
    count = int(np.prod([int(number) for number in numbers]))
    if count > POINTS:
        raise UserError(f"PCD header: {count:,} points; more than {POINTS:,} are not read")
    return count


def _ascii(body: bytes, fields: list[tuple[str, np.dtype, int]], count: int) -> dict[str, NDArray[Any]]:
    # Packed colours are written as the digits of a float or as a signed integer, whatever TYPE says.
    packed = [columns.plain(name) in ("rgb", "rgba") and repeat == 1 for name, _, repeat in fields]
    layout = _layout(
        [
            (name, np.dtype(f"<{kind.kind.replace('u', 'i')}8") if one else kind, n)
            for one, (name, kind, n) in zip(packed, fields, strict=True)
        ]
    )
    if not count or not body.strip():
        rows = np.empty(0, layout)
    else:
        try:
            lines = (line for line in io.TextIOWrapper(io.BytesIO(body), "latin-1") if not line.isspace())
            rows = np.atleast_1d(np.loadtxt(lines, layout, comments=None, max_rows=count))
        except (ValueError, OverflowError) as error:
            raise UserError(_fault(body, fields, count) or f"the points cannot be read: {error}") from error
    if len(rows) < count:
        raise UserError(f"the file is cut short: it says {count} points and holds {len(rows)}")
    table = {name: rows[f"f{i}"] for i, (name, _, _) in enumerate(fields)}
    for one, (name, kind, _) in zip(packed, fields, strict=True):
        if one and kind.kind == "f":
            table[name] = _packed(table[name])
    return table


def _packed(values: NDArray[Any]) -> NDArray[Any]:
    """Packed colours `[n]` float64 as int64 if they were written as integers, else as float32, whose bits are the colours."""
    whole = np.isfinite(values) & (values == np.rint(values)) & (values >= 0) & (values < 1 << 32)
    # Floats whose bits are a colour without alpha are far below 1.
    return values.astype(np.int64) if len(values) and whole.all() and values.max() >= 1 else values.astype(np.float32)


def _fault(body: bytes, fields: list[tuple[str, np.dtype, int]], count: int) -> str:
    """A message about the first point of a text that differs from the header; empty where there is none."""
    names = [(name, kind) for name, kind, repeat in fields for _ in range(repeat)]
    rows = (line.split() for line in io.TextIOWrapper(io.BytesIO(body), "latin-1") if line.strip())
    for number, cells in enumerate(itertools.islice(rows, count), 1):
        if len(cells) != len(names):
            held = number + sum(1 for _ in rows)
            if held < count or number == held:
                return f"the file is cut short: it says {count} points and holds {held - (number == held)}"
            return f"point {number} has {len(cells)} numbers, expected {len(names)}"
        for cell, (name, kind) in zip(cells, names, strict=True):
            try:
                np.array(cell).astype(np.float64 if kind.kind == "f" else kind)
            except (ValueError, OverflowError):
                return f"point {number}, field {name[:40]!r}: {cell[:40]!r} is no number of its type ({kind.name})"
    return ""


def _layout(fields: list[tuple[str, np.dtype, int]]) -> np.dtype:
    """The type of one point. Its fields are called f0, f1 ... because names may repeat."""
    return np.dtype([(f"f{i}", kind, (repeat,) if repeat > 1 else ()) for i, (_, kind, repeat) in enumerate(fields)])


def _binary(body: bytes, fields: list[tuple[str, np.dtype, int]], count: int) -> dict[str, NDArray[Any]]:
    layout = _layout(fields)
    if len(body) < layout.itemsize * count:
        raise UserError(f"the file is cut short: {count} points take {layout.itemsize * count:,} bytes, it holds {len(body):,}")
    rows = np.frombuffer(body, layout, count)
    return {name: rows[f"f{i}"] for i, (name, _, _) in enumerate(fields)}


def _compressed(body: bytes, fields: list[tuple[str, np.dtype, int]], count: int) -> dict[str, NDArray[Any]]:
    """The fields from a compressed block, which holds them one after another."""
    if len(body) < 8:
        raise UserError("the file is cut short: the sizes of the compressed block are missing")
    packed, size = struct.unpack("<II", body[:8])
    total = sum(kind.itemsize * repeat for _, kind, repeat in fields) * count
    if len(body) < 8 + packed or size < total:
        raise UserError(
            f"the file is cut short: {count} points take {total:,} bytes, the block says {size:,} and {len(body) - 8:,} are left"
        )
    data = _lzf(body[8 : 8 + packed], size)
    table, start = {}, 0
    for name, kind, repeat in fields:
        values = np.frombuffer(data, kind, count * repeat, start)
        table[name] = values.reshape(count, repeat) if repeat > 1 else values
        start += values.nbytes
    return table


def _lzf(packed: bytes, size: int) -> bytes:
    """Decompresses LZF with HDF5, which has it as a filter: the block becomes the only chunk of a file in memory."""
    if not size:
        return b""
    with h5py.File("block", "w", driver="core", backing_store=False) as file:
        block = file.create_dataset("b", (size,), np.uint8, chunks=(size,), compression="lzf")
        block.id.write_direct_chunk((0,), packed)
        try:
            return np.asarray(block[:]).tobytes()
        except OSError as error:
            raise UserError("the compressed block is damaged") from error
