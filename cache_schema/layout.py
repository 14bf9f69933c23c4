"""Describe Zarr arrays, and encode their `zarr.json` and their shard files.

    node = ArraySpec(path="label", dtype="int32", shape=(1000,), chunk=(512,), shard=512, codec="zstd", dims=("shape",))
    node_json(node)                                    # its zarr.json
    encode(node, labels[:512])                         # the file of its first shard

Every array is cut along axis 0 into shards. Each shard is one file, which holds one chunk or, with Zarr's sharding codec, several:
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html. The letters of shapes are those of `cache_schema.spec`.
"""

import functools
import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd, decompress
from numpy.typing import NDArray

from cache_schema import spec
from cache_schema.errors import UserError
from cache_schema.files import MENDS, read_file


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """Describes one Zarr array on disk. `cache_schema.rows.Rows` can map it into memory if it is sharded and its codec is `raw`."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    """Shape of a chunk, which is the smallest part that a Zarr client reads."""
    shard: int
    """Number of entries of axis 0 in one file."""
    codec: Literal["raw", "zstd", "crc32c"] = "raw"
    level: int = 3
    dims: tuple[str, ...]
    """Names of the axes. Axes of the same name have the same length in all arrays of a group."""
    sharded: bool = False
    partial: tuple[tuple[int, int], ...] = ()
    """(shard, its number of rows) of shards before the last one that are not full; see `spec.Manifest.segments`."""

    @functools.cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks in a shard file along each axis."""
        return (self.shard // self.chunk[0], *(-(-s // c) for s, c in zip(self.shape[1:], self.chunk[1:], strict=True)))

    @functools.cached_property
    def row_bytes(self) -> int:
        """Number of bytes of one entry of axis 0."""
        size = {"uint8": 1, "int16": 2, "int32": 4, "float16": 2, "float32": 4, "float64": 8}[self.dtype]
        return size * math.prod(self.shape[1:])

    @property
    def shards(self) -> int:
        """Number of shard files."""
        return -(-self.shape[0] // self.shard)

    def rows(self, shard: int) -> int:
        """Return the number of entries of axis 0 in the file of one shard."""
        return dict(self.partial).get(shard, min(self.shard, self.shape[0] - shard * self.shard))

    def key(self, shard: int) -> str:
        """Return the path of the file of one shard, relative to the cache."""
        return f"{self.path}/c/" + "/".join([str(shard)] + ["0"] * (len(self.shape) - 1))


def node_json(
    node: ArraySpec | None = None, attributes: Mapping[str, Any] | None = None, *, summary: Mapping[str, bytes] | None = None
) -> bytes:
    """Return the `zarr.json` of an array, or of a group if `node` is None. It has only one form, so that any changed byte is found.

    Args:
        node: the array.
        attributes: attributes of the node.
        summary: Zarr's consolidated metadata, for the root: the `zarr.json` of every node below it, by place.
    """
    if node is None:
        group: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
        if summary is not None:
            below = {place: json.loads(content) for place, content in summary.items()}
            group["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": below}
        return _pretty(group)
    data_bytes = {"name": "bytes"} if node.dtype == "uint8" else {"name": "bytes", "configuration": {"endian": "little"}}
    codecs: list[dict[str, Any]] = [data_bytes]
    if node.codec == "zstd":
        codecs.append({"name": "zstd", "configuration": {"level": node.level, "checksum": False}})
    if node.codec == "crc32c":
        codecs.append({"name": "crc32c"})
    if node.sharded:
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        sharding = {"chunk_shape": node.chunk, "codecs": codecs, "index_codecs": index, "index_location": "end"}
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    return _pretty(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": node.shape,
            "data_type": node.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": (node.shard, *node.shape[1:])}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": codecs,
            "dimension_names": node.dims,
            "attributes": dict(attributes or {}),
        }
    )


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def encode(node: ArraySpec, rows: NDArray[Any] | Sequence[Sequence[bytes]]) -> bytes:
    """Encode the file of one shard.

    Args:
        node: the array.
        rows: values of the rows of the shard [n <= S, ...]. For `zstd` arrays with several chunks per row they may also be chunks that
            `encode_chunk` has encoded, as [n][chunks per row].
    """
    if isinstance(rows, np.ndarray):
        assert rows.dtype == node.dtype and rows.shape[1:] == node.shape[1:] and len(rows) <= node.shard, (node, rows.dtype, rows.shape)
        if not node.sharded:
            padded = np.zeros((node.shard, *node.shape[1:]), node.dtype)
            padded[: len(rows)] = rows
            return encode_chunk(node, padded)
        chunks = [encode_chunk(node, chunk) for row in rows for chunk in row.reshape(-1, *node.chunk[1:])]
    else:
        chunks = [chunk for row in rows for chunk in row]
    return b"".join([*chunks, index_bytes([len(chunk) for chunk in chunks], math.prod(node.grid))])


def index_bytes(sizes: Sequence[int], count: int = 0) -> bytes:
    """Return the shard index that stands behind chunks: offset and size of each, and the CRC-32C of these.

    Args:
        sizes: bytes of each chunk, in their order.
        count: number of chunks that a shard has room for, if these are fewer.
    """
    index = np.full((max(count, len(sizes)), 2), NO_CHUNK, "<u8")
    index[: len(sizes), 1] = sizes
    index[: len(sizes), 0] = np.cumsum(sizes, dtype=np.uint64) - np.array(sizes, np.uint64)
    footer = index.tobytes()
    return footer + struct.pack("<I", google_crc32c.value(footer))


def encode_chunk(node: ArraySpec, values: NDArray[Any]) -> bytes:
    """Encode one chunk."""
    data = np.ascontiguousarray(values).astype(node.dtype, copy=False).tobytes()
    if node.codec == "zstd":
        return bytes(Zstd(level=node.level).encode(data))
    return data + struct.pack("<I", google_crc32c.value(data)) if node.codec == "crc32c" else data


def decode_chunk(node: ArraySpec, chunk: bytes, path: Path) -> NDArray[Any]:
    """Decode one chunk, as `encode_chunk` makes it for `raw` and `zstd`. `path` is its file, for messages.

    Raises:
        UserError: the data is damaged.
    """
    size = math.prod(node.chunk) * np.dtype(node.dtype).itemsize
    raw = bytes(unpacked(chunk, size, path)) if node.codec == "zstd" else chunk
    return np.frombuffer(raw, node.dtype).reshape(node.chunk[1:])


class ShardFile:
    """Reads single rows of one shard file of a sharded array."""

    def __init__(self, path: Path, node: ArraySpec, digest: bytes = b"") -> None:
        """
        Args:
            path: the file.
            node: the array.
            digest: sha256 that the file must have; empty for no check.

        Raises:
            UserError: the file is missing or damaged.
        """
        self.node = node
        self.path = path
        self.data = read_file(self.path)
        if digest:
            check_bytes(self.data, digest, self.path)
        self.index = read_index(node, self.data[-(16 * math.prod(node.grid) + 4) :], self.path)
        self.per_row = math.prod(node.grid[1:])

    def row(self, row: int) -> NDArray[Any]:
        """Decode one row of the shard. [...]"""
        parts = [self._decoded(row * self.per_row + i) for i in range(self.per_row)]
        return np.concatenate(parts).reshape(self.node.shape[1:])

    def entry(self, row: int, column: int) -> NDArray[Any]:
        """Decode one entry of axis 1 of a row, in an array that has a chunk for each entry. [...]"""
        assert self.node.grid[2:] == (1,) * len(self.node.grid[2:]) and self.node.chunk[1] == 1, self.node
        return self._decoded(row * self.per_row + column).reshape(self.node.shape[2:]).copy()  # so that the caller may write to it

    def encoded(self, rows: int) -> list[list[bytes]]:
        """Return the stored chunks of the first rows, as `encode` takes them."""
        return [[self._chunk(row * self.per_row + i) for i in range(self.per_row)] for row in range(rows)]

    def _chunk(self, number: int) -> bytes:
        offset, size = map(int, self.index[number])
        return self.data[offset : offset + size]

    def _decoded(self, number: int) -> NDArray[Any]:
        return decode_chunk(self.node, self._chunk(number), self.path)


def ends_in_crc(data: bytes, size: int) -> bool:
    """Whether data has `size` bytes, the last four of which are the CRC-32C of the others."""
    return len(data) == size and struct.pack("<I", google_crc32c.value(data[:-4])) == data[-4:]


def digests(files: Iterable[bytes]) -> NDArray[np.uint8]:
    """Return the sha256 of the bytes of each file, as completion markers hold them. [files, 32]"""
    return np.stack([np.frombuffer(hashlib.sha256(data).digest(), np.uint8) for data in files])


def check_bytes(data: bytes, digest: bytes, path: Path | str) -> None:
    """Refuse bytes of a file that differ from what was written.

    Raises:
        UserError: the sha256 of `data`, the bytes of the file `path`, is not `digest`.
    """
    if hashlib.sha256(data).digest() != digest:
        raise UserError(f"{path} is not as it was written; {MENDS}")


def unpacked(data: bytes, size: int, path: Path | str, out: bytearray | None = None) -> bytes | bytearray:
    """Decompress zstd data. No more memory is taken than `size`, whatever the data says.

    Args:
        data: the data.
        size: number of bytes that it must give.
        path: its file, for messages.
        out: memory of `size` bytes to decompress into and to return. New memory takes longer than decompressing.

    Raises:
        UserError: the data is damaged, or does not give `size` bytes.
    """
    try:
        if _content_size(data) == size:
            out = bytearray(size) if out is None else out
            if size:
                decompress(data, out)
            return out
    except (RuntimeError, ValueError, MemoryError):
        pass
    raise UserError(f"{path} is damaged: it does not unpack to what was written; {MENDS}")


def _content_size(data: bytes) -> int:
    """Return the size that the header of a zstd frame says its content has, -1 if it says none.

    Source: RFC 8878, section 3.1.1.1 (https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1).
    """
    if len(data) < 5 or data[:4] != b"\x28\xb5\x2f\xfd":
        return -1
    flags, single = data[4] >> 6, data[4] >> 5 & 1
    length = (single, 2, 4, 8)[flags]
    start = 5 + (1 - single) + (0, 1, 2, 4)[data[4] & 3]
    said = data[start : start + length]
    return int.from_bytes(said, "little") + 256 * (flags == 1) if length and len(said) == length else -1


def text_cells(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Write texts as UTF-8 padded with zeros. [n] -> [n, L]. A longer text is cut between two characters."""
    cells = np.zeros((len(texts), spec.TEXT_BYTES), np.uint8)
    for cell, text in zip(cells, texts, strict=True):
        data = text.encode()[: spec.TEXT_BYTES].decode(errors="ignore").encode()
        cell[: len(data)] = np.frombuffer(data, np.uint8)
    return cells


def texts(cells: NDArray[np.uint8]) -> NDArray[np.object_]:
    """Read the texts in text cells. [..., L] -> [...]"""
    # NumPy's own text type leaves out the zeros behind a text.
    flat = np.ascontiguousarray(cells).view(f"S{cells.shape[-1]}").ravel()
    out = np.empty(len(flat), object)
    out[:] = [cell.decode(errors="replace") for cell in flat.tolist()]
    return out.reshape(cells.shape[:-1])


NO_CHUNK: Final = 2**64 - 1
"""Offset and size of a missing chunk in the shard index of Zarr."""


def read_index(node: ArraySpec, footer: bytes, path: Path | str) -> NDArray[np.uint64]:
    """Read the shard index at the end of a shard file: offset and size of each chunk. [chunks, 2]"""
    expected = 16 * math.prod(node.grid) + 4
    if not ends_in_crc(footer, expected):
        raise UserError(f"{path}: the shard index is damaged; {MENDS}")
    return np.frombuffer(footer[:-4], "<u8").reshape(-1, 2)
