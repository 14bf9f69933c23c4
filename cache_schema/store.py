"""Writing and reading a cache: create it, add products shard by shard, see what is missing, read rows fast.

    cache = open_cache("shapes.zarr")
    cache.products()                                   # complete ones: {"points": Record, "image/clip": Record, ...}
    xyz = cache.rows("points/xyz")                     # memory-mapped
    batch = xyz.gather(shapes, blocks)                 # [B, P, 3], contiguous, owned by the caller

How data survives a kill: every file is written beside its place, synced and renamed; a shard's completion marker - one
chunk of the Zarr array `products/<product>`, the checksums of the shard's files - is written after them; a product's
record is marked complete last. Whoever reads sees complete products only.
"""

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import hashlib
import json
import math
import mmap
import os
import secrets
import struct
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, TextIO

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from cache_schema import spec
from cache_schema.errors import UserError
from cache_schema.spec import ArraySpec, Manifest, Record

KEY: Final = "mmpd"
"""Our key in Zarr attributes."""

GROUPS: Final = ("points", "views", "captions", "image", "text", "labels", "guide", "stats", "products")
NO_CHUNK: Final = 2**64 - 1
"""What Zarr's shard index holds for a chunk that is not there."""

# ------------------------------------------------------------------------------------------------------- Zarr on disk


def node_json(node: ArraySpec | None = None, attributes: Mapping[str, Any] | None = None) -> bytes:
    """The `zarr.json` of an array, or of a group where `node` is None. One byte form, so that a changed byte shows."""
    if node is None:
        return _pretty({"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})})
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


def sealed(value: Manifest | Record) -> dict[str, Any]:
    """Attributes that carry a description with its fingerprint and a checksum of every letter of it."""
    body = spec.to_json(value)
    return {KEY: body, "fingerprint": spec.fingerprint(value), "sha256": hashlib.sha256(spec.canonical(body)).hexdigest()}


def encode(node: ArraySpec, rows: NDArray[Any] | Sequence[Sequence[bytes]]) -> bytes:
    """The file of one shard.

    Args:
        node: the array.
        rows: values [n <= S, ...] of the shard's rows; or, for `zstd` arrays with several chunks a row, those chunks
            already encoded by `encode_chunk`, as [n][chunks per row].
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
    index = np.full((math.prod(node.grid), 2), NO_CHUNK, "<u8")
    sizes = np.array([len(chunk) for chunk in chunks], "<u8")
    index[: len(chunks), 1] = sizes
    index[: len(chunks), 0] = np.cumsum(sizes) - sizes
    footer = index.tobytes()
    return b"".join([*chunks, footer, struct.pack("<I", google_crc32c.value(footer))])


def encode_chunk(node: ArraySpec, values: NDArray[Any]) -> bytes:
    """One chunk as stored."""
    data = np.ascontiguousarray(values).astype(node.dtype, copy=False).tobytes()
    if node.codec == "zstd":
        return bytes(Zstd(level=node.level).encode(data))
    return data + struct.pack("<I", google_crc32c.value(data)) if node.codec == "crc32c" else data


class ShardFile:
    """Random access to the rows of one shard file of a sharded array."""

    def __init__(self, root: Path, node: ArraySpec, shard: int) -> None:
        self.node = node
        self.path = root / node.key(shard)
        self.data = self.path.read_bytes()
        self.index = read_index(node, self.data[-(16 * math.prod(node.grid) + 4) :], self.path)
        self.per_row = math.prod(node.grid[1:])

    def row(self, row: int) -> NDArray[Any]:
        """Row `row` of the shard, decoded. [...]"""
        parts = [self._decoded(row * self.per_row + i) for i in range(self.per_row)]
        return np.concatenate(parts).reshape(self.node.shape[1:])

    def entry(self, row: int, column: int) -> NDArray[Any]:
        """One entry of axis 1 of a row, decoded, of an array with a chunk for each. [...]"""
        assert self.node.grid[2:] == (1,) * len(self.node.grid[2:]) and self.node.chunk[1] == 1, self.node
        return self._decoded(row * self.per_row + column).reshape(self.node.shape[2:]).copy()  # which its caller may write to

    def encoded(self, rows: int) -> list[list[bytes]]:
        """The first rows as `encode` takes them: their chunks as they are stored."""
        return [[self._chunk(row * self.per_row + i) for i in range(self.per_row)] for row in range(rows)]

    def _chunk(self, number: int) -> bytes:
        offset, size = map(int, self.index[number])
        return self.data[offset : offset + size]

    def _decoded(self, number: int) -> NDArray[Any]:
        chunk = self._chunk(number)
        raw = Zstd().decode(chunk) if self.node.codec == "zstd" else chunk
        return np.frombuffer(raw, self.node.dtype).reshape(self.node.chunk[1:])


def read_index(node: ArraySpec, footer: bytes, path: Path) -> NDArray[np.uint64]:
    """Offsets and sizes [chunks, 2] from the end of a shard file."""
    expected = 16 * math.prod(node.grid) + 4
    if len(footer) != expected or struct.pack("<I", google_crc32c.value(footer[:-4])) != footer[-4:]:
        raise UserError(f"{path}: the shard index is damaged; `mmpd-cache verify --repair` mends it")
    return np.frombuffer(footer[:-4], "<u8").reshape(-1, 2)


def text_cells(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts as zero-padded UTF-8. [n] -> [n, L]. Longer ones are cut at a character."""
    cells = np.zeros((len(texts), spec.TEXT_BYTES), np.uint8)
    for cell, text in zip(cells, texts, strict=True):
        data = text.encode()[: spec.TEXT_BYTES].decode(errors="ignore").encode()
        cell[: len(data)] = np.frombuffer(data, np.uint8)
    return cells


def texts(cells: NDArray[np.uint8]) -> NDArray[np.object_]:
    """The strings in text cells. [..., L] -> [...]"""
    flat = cells.reshape(-1, cells.shape[-1])
    out = np.empty(len(flat), object)
    out[:] = [cell.tobytes().rstrip(b"\0").decode() for cell in flat]
    return out.reshape(cells.shape[:-1])


# ---------------------------------------------------------------------------------------------------------- the cache


class Cache:
    """An existing cache. Holds no open file. Make one with `open_cache` or `create`.

    With a `token` (see `held_token`) nothing is written once another process holds the cache.
    """

    def __init__(self, path: Path, manifest: Manifest, token: str = "") -> None:
        self.path = path
        self.manifest = manifest
        self.token = token

    # reading

    def records(self) -> dict[str, Record]:
        """Every product that was begun, complete or not."""
        found = {}
        for base in (self.path / "products", *(self.path / "products" / g for g in ("image", "text", "guide")), *self._label_groups()):
            for node in sorted(base.glob("*/zarr.json")):
                name = node.parent.relative_to(self.path / "products").as_posix()
                attributes = _attributes(node)
                if KEY in attributes:
                    found[name] = _parse(Record, attributes[KEY], node)
                    if found[name].product != name:
                        raise UserError(f"{node} describes {found[name].product!r}: it is damaged or was moved")
        return found

    def _label_groups(self) -> list[Path]:
        return sorted((self.path / "products" / "labels").glob("*/"))

    def products(self) -> dict[str, Record]:
        """Every complete product."""
        return {name: record for name, record in self.records().items() if record.complete}

    def record(self, product: str) -> Record:
        """The record of a complete product.

        Raises:
            ValueError: the cache has no such product, or it is still being made.
        """
        records = self.records()
        if product not in records:
            raise UserError(f"{self.path} has no product {product!r}{spec.did_you_mean(product, records)}")
        if not records[product].complete:
            raise UserError(f"{self.path}: product {product!r} is not finished; run the command that began it again")
        return records[product]

    def arrays(self, record: Record) -> tuple[ArraySpec, ...]:
        return spec.product_arrays(self.manifest, record)

    def array(self, path: str) -> Any:
        """An array through zarr-python, a `zarr.Array`: any array, any indexing, slow. Reading one gives NumPy arrays,
        which its annotations do not say; hence Any."""
        return zarr.open_array(self.path / path, mode="r")

    def rows(self, path: str) -> "Rows":
        """An uncompressed array of a complete product, memory-mapped.

        Raises:
            ValueError: no complete product has this array, or it is compressed.
        """
        records = self.products()
        nodes = {node.path: node for record in records.values() for node in self.arrays(record)}
        if path not in nodes:
            raise UserError(f"{self.path} has no finished array {path!r}{spec.did_you_mean(path, nodes)}")
        return Rows(self.path, nodes[path])

    def table(self, node: ArraySpec, shard: int) -> NDArray[Any]:
        """The rows of one shard of an array with one chunk a shard. [n, ...]"""
        data = Zstd().decode((self.path / node.key(shard)).read_bytes())
        return np.frombuffer(data, node.dtype).reshape(node.shard, *node.shape[1:])[: self._rows_in(node, shard)]

    def shard_rows(self, node: ArraySpec, shard: int) -> NDArray[Any]:
        """The rows of one shard of an uncompressed array, whether or not its product is complete. [n, ...]"""
        rows = self._rows_in(node, shard)
        with open(self.path / node.key(shard), "rb") as file:
            return np.frombuffer(file.read(rows * node.row_bytes), node.dtype).reshape(rows, *node.shape[1:])

    def _rows_in(self, node: ArraySpec, shard: int) -> int:
        return min(node.shard, node.shape[0] - shard * node.shard)

    def ids(self) -> NDArray[np.object_]:
        """Shape ids. [N]"""
        return texts(self.array("id")[:])

    def ok(self) -> NDArray[np.bool_]:
        """Which shapes are complete and usable. [N]"""
        return self.array("status")[:] == spec.OK

    def colored(self) -> NDArray[np.bool_]:
        """Which shapes have colours of their own; the stored colour of all others is a stand-in. [N]"""
        return self.array("colored")[:].astype(bool)

    def repeated(self) -> NDArray[np.bool_]:
        """Which shapes came from fewer points than a block holds, so that blocks hold some points several times. [N]

        All False in a cache of format 1, which does not know.
        """
        if self.manifest.format_version < 2:
            return np.zeros(self.manifest.shapes, bool)
        return self.array("repeated")[:].astype(bool)

    # writing

    def begin(self, record: Record) -> Record:
        """Make the arrays of a product, or find them again. Call under `exclusive`. Returns the record as it is on disk.

        Raises:
            UserError: the product exists with another specification, or was half made by other package versions; or another
                build has taken over.
        """
        assert not record.complete and not record.content
        with _still_held(self):
            return self._begin(record)

    def agreed(self, record: Record) -> Record:
        """What `begin` would return, with nothing written. Raises as it does."""
        node = self.path / "products" / record.product / "zarr.json"
        if node.exists():
            there = _parse(Record, _attributes(node).get(KEY), node)
            if there.fingerprint != record.fingerprint:
                raise UserError(
                    f"{self.path} holds {record.product} made from another specification ({'; '.join(differences(there, record))}). "
                    "Build into another path, or with the recorded settings."
                )
            if not there.complete and there.made_by != record.made_by:
                changed = sorted(set(there.made_by) ^ set(record.made_by))
                raise UserError(
                    f"{self.path}: {record.product} was begun with other software ({', '.join(f'{k} {v}' for k, v in changed)}); "
                    "go on with the software it was begun with, or build into another path."
                )
            record = there
        return record

    def _begin(self, record: Record) -> Record:
        record = self.agreed(record)
        node = self.path / "products" / record.product / "zarr.json"
        for array in self.arrays(record):
            self._put_groups(array.path)
            self._put_node(array.path, array, {"product": record.product})
        self._put_groups(f"products/{record.product}")
        if not node.exists():
            self._put_node(f"products/{record.product}", markers(self.manifest, record), sealed(record))
        return record

    def _put_node(self, path: str, array: ArraySpec | None = None, attributes: Mapping[str, Any] | None = None) -> None:
        if not (self.path / path / "zarr.json").exists():
            write_file(self.path / path / "zarr.json", node_json(array, attributes))

    def _put_groups(self, path: str) -> None:
        """The groups above an array."""
        for parent in PurePosixPath(path).parents:
            if parent.name:
                self._put_node(parent.as_posix())

    def missing(self, record: Record) -> list[int]:
        """Shards of a product without a completion marker."""
        marker = markers(self.manifest, record)
        return [shard for shard in range(marker.shape[0]) if not (self.path / marker.key(shard)).exists()]

    def write(self, record: Record, shard: int, values: Mapping[str, NDArray[Any] | Sequence[Sequence[bytes]]]) -> None:
        """Write one shard of every array of a product, then its completion marker.

        Args:
            record: the product, as given to `begin`.
            shard: which shard.
            values: by array path, what `encode` takes.

        Raises:
            UserError: another build has taken over; nothing was written.
        """
        nodes = self.arrays(record)
        assert {node.path for node in nodes} == set(values), (record.product, set(values))
        files = [encode(node, values[node.path]) for node in nodes]
        sums = np.stack([np.frombuffer(hashlib.sha256(data).digest(), np.uint8) for data in files])[None]
        self._check(record, shard, sums[0])
        marker = markers(self.manifest, record)
        with _still_held(self):
            for node, data in zip(nodes, files, strict=True):
                write_file(self.path / node.key(shard), data)
            write_file(self.path / marker.key(shard), encode(marker, sums))

    def _check(self, record: Record, shard: int, sums: NDArray[np.uint8]) -> None:
        """Called before anything is written. Anything may be, except in `Mending`."""

    def reopen(self, record: Record, shard: int) -> None:
        """Take a shard out of a product, which is unfinished from here on. Its files stay until they are written again.

        Raises:
            UserError: another build has taken over.
        """
        with _still_held(self):
            if record.complete:
                begun = dataclasses.replace(record, complete=False, content="")
                node = node_json(markers(self.manifest, record), sealed(begun))
                write_file(self.path / "products" / record.product / "zarr.json", node)
            (self.path / markers(self.manifest, record).key(shard)).unlink(missing_ok=True)

    def checksums(self, record: Record, shard: int) -> NDArray[np.uint8]:
        """What a completion marker says. [files, 32]

        Raises:
            ValueError: the marker itself is damaged.
        """
        marker = markers(self.manifest, record)
        data = (self.path / marker.key(shard)).read_bytes()
        if len(data) != marker.row_bytes + 4 or struct.pack("<I", google_crc32c.value(data[:-4])) != data[-4:]:
            raise UserError(f"{marker.key(shard)}: the completion marker is damaged")
        return np.frombuffer(data[:-4], np.uint8).reshape(marker.shape[1:])

    def finish(self, record: Record) -> Record:
        """Mark a product complete once no shard is missing; embeddings get their statistics. Returns the final record.

        Raises:
            UserError: another build has taken over.
        """
        assert not self.missing(record), (record.product, self.missing(record))
        with _still_held(self):
            return self._finish(record)

    def _finish(self, record: Record) -> Record:
        if record.kind in ("image", "text"):
            (node,) = self.arrays(record)
            self._put_groups(stats_array(node).path)
            self._put_node(stats_array(node).path, stats_array(node))
            write_file(self.path / stats_array(node).key(0), encode(stats_array(node), self._statistics(node)))
        final = dataclasses.replace(record, complete=True, content=self.content(record))
        write_file(self.path / "products" / record.product / "zarr.json", node_json(markers(self.manifest, record), sealed(final)))
        return final

    def content(self, record: Record) -> str:
        """sha256 over the checksums of a product's files."""
        digest = hashlib.sha256()
        for shard in range(markers(self.manifest, record).shape[0]):
            digest.update(self.checksums(record, shard).tobytes())
        if record.kind in ("image", "text"):
            digest.update((self.path / stats_array(self.arrays(record)[0]).key(0)).read_bytes())
        return digest.hexdigest()

    def _statistics(self, node: ArraySpec) -> NDArray[np.float64]:
        """Mean and variance of an embedding over all entries of usable shapes, added up in row order. [2, E]"""
        ok = self.ok()
        total, square, count = np.zeros(node.shape[-1]), np.zeros(node.shape[-1]), 0
        for shard in range(self.manifest.shards):
            rows = self.manifest.rows(shard)
            kept = self.shard_rows(node, shard)[ok[rows.start : rows.stop]].reshape(-1, node.shape[-1]).astype(np.float64)
            total += kept.sum(0)
            square += (kept**2).sum(0)
            count += len(kept)
        mean = total / max(count, 1)
        return np.stack([mean, np.maximum(square / max(count, 1) - mean**2, 0)])


class Mending(Cache):
    """A cache in which a shard may only be written again as it was: with the checksums of its completion marker."""

    def _check(self, record: Record, shard: int, sums: NDArray[np.uint8]) -> None:
        try:
            before = self.checksums(record, shard)
        except (ValueError, OSError):
            return  # the marker is lost as well; the product's content digest tells afterwards
        if not np.array_equal(before, sums):
            raise UserError(
                f"{self.path}: {record.product}, shard {shard}, cannot be made again with the bytes of before: a mesh, a model, a package, "
                "a limit or a batch size has changed. Nothing was written. Restore what has changed, or build the cache anew."
            )


def markers(manifest: Manifest, record: Record) -> ArraySpec:
    """The array of a product's completion markers: sha256 of each file of each shard. [shards, files, 32]"""
    nodes = spec.product_arrays(manifest, record)
    shape = (-(-nodes[0].shape[0] // nodes[0].shard), len(nodes), 32)
    return ArraySpec(
        path=f"products/{record.product}", dtype="uint8", shape=shape, chunk=(1, *shape[1:]), shard=1, codec="crc32c",
        dims=("shard", "file", "byte"),
    )  # fmt: skip


def stats_array(node: ArraySpec) -> ArraySpec:
    """Mean and variance per dimension of an embedding array. [2, E]"""
    shape = (2, node.shape[-1])
    return ArraySpec(path=f"stats/{node.path}", dtype="float64", shape=shape, chunk=shape, shard=2, codec="crc32c", dims=("moment", "dim"))


def open_cache(path: str | os.PathLike[str], token: str = "") -> Cache:
    """Open an existing cache.

    Args:
        path: its folder.
        token: what `held_token` told the process that holds it. Others that write on its behalf give it, and are refused
            once somebody else holds the cache.

    Raises:
        UserError: nothing there, not a cache, half made, damaged, or written by a newer version of this software.
    """
    path = Path(path)
    node = path / "zarr.json"
    if not node.is_file():
        what = "has no zarr.json: it is no cache, or its build was stopped in the first second" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}. `mmpd-cache build SOURCE {path}` makes one.")
    attributes = _attributes(node)
    body = attributes.get(KEY)
    if not isinstance(body, dict):
        raise UserError(f"{path} is a Zarr group but no cache of this project (no {KEY!r} in its attributes)")
    if body.get("format_version") not in range(1, spec.FORMAT_VERSION + 1):
        raise UserError(
            f"{path} has format version {body.get('format_version')}, this software reads 1 to {spec.FORMAT_VERSION}; "
            "use the version of mmpd that wrote it, or rebuild it"
        )
    return Cache(path.resolve(), _parse(Manifest, body, node), token)


def create(path: str | os.PathLike[str], manifest: Manifest, ids: Sequence[str], labels: Sequence[int], splits: Sequence[int]) -> Cache:
    """Make a new, empty cache. Its root description is written last, so that a half-made one is no cache yet.

    Args:
        path: a folder that does not exist, is empty, or was half made by an earlier call.
        manifest: what it will hold.
        ids, labels, splits: by row; label and split are indices into the manifest's names, -1 for none. [N] each.

    Raises:
        UserError: the folder holds something else, or an id is too long.
    """
    path = Path(path)
    assert len(ids) == len(labels) == len(splits) == manifest.shapes
    long = [i for i in ids if len(i.encode()) > spec.TEXT_BYTES]
    if long:
        raise UserError(f"{len(long)} shape ids are longer than {spec.TEXT_BYTES} bytes, the first is {long[0]!r}; shorten the paths")
    check_empty(path)
    cache = Cache(path.resolve(), manifest)
    for name in GROUPS:
        cache._put_node(name)
    record = index_record(manifest)
    cache.begin(record)
    for shard in range(manifest.shards):
        write_index(cache, shard, ids, labels, splits)
    cache.finish(record)
    write_file(path / "zarr.json", node_json(None, sealed(manifest)))
    return cache


def check_empty(path: Path) -> None:
    """Refuse a folder, without a root description, that holds anything but what `create` may have left there when it was stopped.

    Raises:
        UserError: it holds something else.
    """
    foreign = [p.name for p in path.iterdir() if p.name not in {*GROUPS, "id", "label", "split"}] if path.exists() else []
    if foreign:
        raise UserError(f"{path} exists and is no cache (it holds {foreign[0]!r}); give another path")


def write_index(cache: Cache, shard: int, ids: Sequence[str], labels: Sequence[int], splits: Sequence[int]) -> None:
    """Write one shard of who is in which row. Arguments as in `create`."""
    rows = cache.manifest.rows(shard)
    part = slice(rows.start, rows.stop)
    columns: dict[str, NDArray[Any]] = {
        "id": text_cells(ids[part]),
        "label": np.asarray(labels[part], np.int32),
        "split": np.asarray(splits[part], np.int32),
    }
    cache.write(index_record(cache.manifest), shard, columns)


def index_record(manifest: Manifest) -> Record:
    """The record of the arrays every cache begins with: id, label and split."""
    return Record(product="index", kind="index", spec=manifest.source, inputs=())


def differences(there: Any, asked: Any, where: str = "") -> list[str]:
    """Where two descriptions differ in what changes a result, as `points.seed is 0, asked 1`."""
    if dataclasses.is_dataclass(there) and type(there) is type(asked):
        fields = [f.name for f in dataclasses.fields(there) if f.metadata.get("identity", True)]
        return [d for f in fields for d in differences(getattr(there, f), getattr(asked, f), f"{where}.{f}" if where else f)]
    return [] if there == asked else [f"{where} is {_short(there)}, asked {_short(asked)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _attributes(node: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(node.read_bytes()).get("attributes", {}))
    except (ValueError, AttributeError) as error:
        raise UserError(f"{node} is damaged: {error}") from error


def _parse(cls: Any, body: Any, node: Path) -> Any:
    try:
        return spec.from_json(cls, body)
    except ValueError as error:
        raise UserError(f"{node}: {error}") from error


# ------------------------------------------------------------------------------------------------- files and the lock


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Raises:
        OSError: the disk is full or not writable; the message names the file. Nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def exclusive(path: str | os.PathLike[str], wait: Any = None) -> Iterator[TextIO]:
    """Hold a cache for writing. Others wait; the hold ends with the process, however it ends. Clears a dead writer's leftovers.

    Args:
        path: the cache. The lock is on `<path>.journal` beside it, which is also where a build notes its timings: what
            differs from run to run stays outside the cache.
        wait: called once, without arguments, if somebody else holds it.

    Yields:
        The journal, open for appending lines.
    """
    path = Path(path).resolve()  # one lock, by whatever name the cache is reached
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".journal"), "a+", encoding="utf-8") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            if wait is not None:
                wait()
            fcntl.flock(journal, fcntl.LOCK_EX)
        with open(_lock_file(path), "a", encoding="ascii") as lock:
            _say_holder(lock, secrets.token_hex(16))
            for leftover in path.rglob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            try:
                yield journal
            finally:
                _say_holder(lock, "")
                _lock_file(path).unlink(missing_ok=True)


def held_token(path: str | os.PathLike[str]) -> str:
    """What tells the present hold of a cache from every other; empty if nobody holds it. Give it to `open_cache`."""
    try:
        return _lock_file(Path(path).resolve()).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return ""


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _say_holder(lock: TextIO, token: str) -> None:
    """Write who holds a cache into its lock file. Waits until whoever is writing a shard right now has written it."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)  # in place: those who wait for this file are to read what is in it now
    lock.write(token)
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_UN)


@contextlib.contextmanager
def _still_held(cache: Cache) -> Iterator[None]:
    """Write on behalf of who holds the cache; nobody can take it over until the writing is done.

    A dask worker whose client was killed goes on with its task. By the time it writes, another build may be at work.
    """
    if not cache.token:
        yield
        return
    taken = UserError(f"{cache.path}: another build has taken over; this one writes nothing any more")
    try:
        lock = open(_lock_file(cache.path), encoding="ascii", errors="replace")
    except FileNotFoundError:
        raise taken from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if lock.read() != cache.token:
            raise taken
        yield


# --------------------------------------------------------------------------------------------------- the fast reader


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_MAP_FIXED, _PROT_NONE = 0x10, 0


class Region:
    """A stretch of addresses in which every shard file of an array has its place, mapped there when first needed.

    One stretch makes the whole array one NumPy array, so a batch is one `take` whatever shards its rows lie in; and a
    mapping made by the C library's `mmap` needs no open file, where Python's own keeps one each.
    """

    def __init__(self, size: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self.size = size
        self.address = _checked(_libc.mmap(None, size, _PROT_NONE, flags, -1, 0), "address space for a cache array")
        weakref.finalize(self, _libc.munmap, self.address, size)

    def place(self, offset: int, path: Path) -> None:
        """Map a whole file, read-only, at `offset` (a multiple of the page size)."""
        file = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(file).st_size
            _checked(_libc.mmap(self.address + offset, size, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, file, 0), str(path))
        finally:
            os.close(file)

    def release(self) -> None:
        """Give touched pages back. They stay in the page cache, and come again at the next touch."""
        _libc.madvise(self.address, self.size, 4)  # MADV_DONTNEED

    def array(self, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The stretch as an array. It must not outlive the region, and only mapped parts may be read."""
        buffer = (ctypes.c_char * self.size).from_address(self.address)
        return np.frombuffer(memoryview(buffer), dtype, math.prod(shape)).reshape(shape)


def _checked(address: int | None, what: str) -> int:
    if address is None or address == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot map {what}: {os.strerror(code)}")
    return address


class Rows:
    """Memory-mapped rows of one uncompressed array. Safe to use from several threads, and after a fork.

    Memory and maps are bounded whatever is read: after `RELEASE` bytes the touched pages are given back, after `MAPS`
    shards the mapping starts afresh.
    """

    RELEASE: Final = 1 << 30
    MAPS: Final = 4096

    def __init__(self, root: Path, node: ArraySpec) -> None:
        if node.codec != "raw" or not node.sharded:
            raise UserError(f"{node.path} is compressed; read it through zarr (Cache.array)")
        self.node = node
        self._root = root
        self._item = node.row_bytes // node.shape[1]  # bytes of one (row, column)
        page = math.lcm(mmap.PAGESIZE, self._item)
        full = node.shard * node.row_bytes + 16 * math.prod(node.grid) + 4
        self._stride = -(-full // page) * page
        self._shards = -(-node.shape[0] // node.shard)
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._region = Region(self._shards * self._stride)
        self._mapped = np.zeros(self._shards, bool)
        self._touched = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.shape

    def gather(self, rows: NDArray[Any], columns: NDArray[Any] | None = None, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Copy rows, or (row, column) entries, into one contiguous array.

        Args:
            rows: indices along axis 0. [B]
            columns: indices along axis 1, or None for whole rows. [B]
            out: where to put them.

        Returns:
            [B, *shape[2:]], or [B, *shape[1:]] for whole rows.

        Raises:
            IndexError: an index is out of range.
        """
        node = self.node
        for index in (rows, columns):
            if index is not None and np.asarray(index).dtype.kind not in "iu" and np.size(index):
                raise TypeError(f"{node.path}: indices are whole numbers, got {np.asarray(index).dtype}; for a mask, use np.flatnonzero")
        rows = np.asarray(rows, np.int64)
        if len(rows) and not (0 <= rows.min() and rows.max() < node.shape[0]):
            raise IndexError(f"{node.path} has rows 0..{node.shape[0] - 1}, asked {rows.min()}..{rows.max()}")
        if columns is None:
            columns = np.tile(np.arange(node.shape[1]), len(rows))
            shape: tuple[int, ...] = (len(rows), *node.shape[1:])
            rows = np.repeat(rows, node.shape[1])
        else:
            columns = np.asarray(columns, np.int64)
            shape = (len(rows), *node.shape[2:])
            if len(columns) and not (0 <= columns.min() and columns.max() < node.shape[1]):
                raise IndexError(f"{node.path} has columns 0..{node.shape[1] - 1}, asked {columns.min()}..{columns.max()}")
        if out is None:
            out = np.empty(shape, node.dtype)
        assert out.shape == shape and out.dtype == node.dtype and out.flags.c_contiguous, (out.shape, shape, out.dtype)
        region = self._map(rows // node.shard)
        width = math.prod(node.shape[2:])
        flat = region.array(node.dtype, (self._shards * (self._stride // self._item), width))
        where = rows // node.shard * (self._stride // self._item) + rows % node.shard * node.shape[1] + columns
        # mode="clip" lets NumPy copy straight into `out`; the indices were checked above.
        np.take(flat, where, axis=0, out=out.reshape(-1, width), mode="clip")
        return out

    def _map(self, shards: NDArray[np.int64]) -> Region:
        with self._lock:
            self._touched += len(shards) * max(self._item, mmap.PAGESIZE)
            if self._touched > self.RELEASE:
                self._region.release()
                self._touched = 0
            if not self._mapped[shards].all():
                needed = np.unique(shards[~self._mapped[shards]])
                if self._mapped.sum() + len(needed) > self.MAPS:
                    self._start()  # a thread still reading holds the old region
                    needed = np.unique(shards)
                for shard in needed:
                    path = self._root / self.node.key(int(shard))
                    self._check_layout(path)
                    self._region.place(int(shard) * self._stride, path)
                    self._mapped[shard] = True
            return self._region

    def _check_layout(self, path: Path) -> None:
        """A file laid out otherwise - by another writer, or cut short - must not be read as if it were ours."""
        node = self.node
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            footer = 16 * math.prod(node.grid) + 4
            file.seek(max(size - footer, 0))
            index = read_index(node, file.read(), path)
        present = index[index[:, 0] != NO_CHUNK]
        regular = np.arange(len(present), dtype=np.uint64) * np.uint64(node.row_bytes)
        if size != len(present) * node.row_bytes + footer or not np.array_equal(present[:, 0], regular):
            raise UserError(f"{path} is not laid out as this software writes it; `mmpd-cache verify --repair` mends it")
