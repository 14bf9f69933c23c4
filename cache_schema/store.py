"""Writing and reading a cache: create it, add products shard by shard, see what is missing, read rows fast.

    cache = open_cache("shapes.zarr")
    cache.products()                                   # complete ones: {"points": Record, "image/clip": Record, ...}
    xyz = cache.rows("points/xyz")                     # memory-mapped
    batch = xyz.gather(shapes, blocks)                 # [B, P, 3], contiguous, owned by the caller

How data survives a kill: every file is written beside its place, synced and renamed; a shard's completion marker - one
chunk of the Zarr array `products/<product>`, the checksums of the shard's files - is written after them; a product's
record is marked complete last. Whoever reads sees complete products only.
"""

import dataclasses
import hashlib
import json
import math
import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from cache_schema import spec
from cache_schema.errors import UserError
from cache_schema.files import MENDS, exclusive, held_token, is_held, leftovers, read_file, refuse_links, still_held, write_file
from cache_schema.names import path_name
from cache_schema.rows import NO_CHUNK, Region, Rows, read_index
from cache_schema.spec import ArraySpec, Manifest, Record

__all__ = [
    "GROUPS",
    "KEY",
    "NO_CHUNK",
    "Cache",
    "Region",
    "Rows",
    "ShardFile",
    "check_bytes",
    "check_empty",
    "create",
    "differences",
    "encode",
    "encode_chunk",
    "exclusive",
    "held_token",
    "index_record",
    "is_held",
    "leftovers",
    "markers",
    "node_json",
    "open_cache",
    "read_index",
    "sealed",
    "stats_array",
    "status_record",
    "text_cells",
    "texts",
    "write_file",
    "write_index",
]

KEY: Final = "mmpd"
"""Our key in Zarr attributes."""

INDEX: Final = "index"
STATUS: Final = "status"
GROUPS_OF_PRODUCTS: Final = ("image", "text", "guide", "labels")
GROUPS: Final = ("points", "views", "captions", "image", "text", "labels", "guide", "stats", "products")

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

    def __init__(self, root: Path, node: ArraySpec, shard: int, digest: bytes = b"") -> None:
        """
        Args:
            root: the cache's folder.
            node: the array.
            shard: which shard.
            digest: sha256 that the file must have; empty to take it as it is.

        Raises:
            UserError: the file is missing or damaged.
        """
        self.node = node
        self.path = root / node.key(shard)
        self.data = read_file(self.path)
        if digest:
            check_bytes(self.data, digest, self.path)
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
        chunk, size = self._chunk(number), self.node.row_bytes // self.per_row
        raw = _unpacked(chunk, size, self.path) if self.node.codec == "zstd" else chunk
        return np.frombuffer(raw, self.node.dtype).reshape(self.node.chunk[1:])


def check_bytes(data: bytes, digest: bytes, path: Path) -> None:
    """Refuse what is not what was written.

    Raises:
        UserError: the sha256 of `data`, the bytes of the file `path`, is not `digest`.
    """
    if hashlib.sha256(data).digest() != digest:
        raise UserError(f"{path} is not as it was written; {MENDS}")


def _unpacked(data: bytes, size: int, path: Path) -> bytes:
    """What zstd packed, which must be `size` bytes."""
    try:
        raw = bytes(Zstd().decode(data))
    except (RuntimeError, ValueError, MemoryError):
        raw = b""
    if len(raw) != size:
        raise UserError(f"{path} is damaged: it does not unpack to what was written; {MENDS}")
    return raw


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
    out[:] = [cell.tobytes().rstrip(b"\0").decode(errors="replace") for cell in flat]
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
        """Every product that was begun, complete or not.

        Raises:
            UserError: a record is damaged.
        """
        found, damaged = self.read_records()
        for problem in damaged.values():
            raise UserError(problem)
        return found

    def read_records(self) -> tuple[dict[str, Record], dict[str, str]]:
        """Every product that was begun, and what is wrong with each whose record cannot be read."""
        found: dict[str, Record] = {}
        damaged: dict[str, str] = {}
        for node in _below_products(self.path / "products"):
            name = node.parent.relative_to(self.path / "products").as_posix()
            if name in GROUPS_OF_PRODUCTS:
                continue
            try:
                record = self._read_record(name)
            except UserError as error:
                damaged[name] = (
                    f"{error}. It says what the product's files are, and cannot be made from them: delete {node.parent} and run the "
                    "command that made it again"
                )
            else:
                if record is not None:
                    found[name] = record
        return found, damaged

    def _read_record(self, product: str) -> Record | None:
        """The record of a product; None where there is nothing, or a group of products."""
        node = self.path / "products" / product / "zarr.json"
        if not node.exists():
            return None
        attributes = _attributes(node)
        if KEY not in attributes:
            if self._is_group(product):
                return None
            raise UserError(f"{node} is damaged: it does not say what the product {product!r} is")
        record: Record = _parse(Record, _unsealed(attributes, node), node)
        if record.product != product:
            raise UserError(f"{node} describes {record.product!r}: it is damaged or was moved")
        try:
            spec.check_record(record)
        except UserError as error:
            raise UserError(f"{node}: {error}") from None
        return record

    def _is_group(self, product: str) -> bool:
        """Whether a node of `products` without a record is a group, above products or somebody's own, and no record that was emptied."""
        if product in GROUPS_OF_PRODUCTS or PurePosixPath(product).parts[:-1] == ("labels",):
            return True
        place, said = self.path / "products" / product, json.dumps(product).encode()
        if product in (INDEX, STATUS) or read_file(place / "zarr.json") != node_json() or (place / "c").exists():
            return False
        return not any(said in read_file(array) for array in (self.path / product).rglob("zarr.json"))

    def lost_records(self) -> dict[str, str]:
        """Products that have completion markers and no record, and what to say of each."""
        found = {folder.parent for folder in (self.path / "products").rglob("c") if folder.is_dir()} | {self.path / "products" / INDEX}
        gone = [folder for folder in sorted(found) if not (folder / "zarr.json").exists()]
        message = "is not there, and nothing else says what the product is; run the command that made it again"
        return {folder.relative_to(self.path / "products").as_posix(): message for folder in gone}

    def ownerless(self) -> list[str]:
        """Products of which there are arrays and nothing in `products`: that folder was deleted."""
        found: dict[Path, str] = {}
        for record in (index_record(self.manifest), status_record(self.manifest)):
            found |= {self.path / node.path: record.product for node in self.arrays(record)}
        for group in ("points", "views", "captions"):
            found |= dict.fromkeys((self.path / group).glob("*/"), group)
        for group, pattern in (("image", "*/"), ("text", "*/"), ("labels", "*/*/"), ("guide", "*/*/")):
            for folder in (self.path / group).glob(pattern):
                product = folder.parent if group == "guide" else folder
                found[folder] = product.relative_to(self.path).as_posix()
        products = {product for folder, product in found.items() if self._is_array_of(folder, product)}
        return sorted(product for product in products if not (self.path / "products" / product / "zarr.json").exists())

    def _is_array_of(self, folder: Path, product: str) -> bool:
        """Whether an array that says it is of a product lies in a folder, or the data of one that says nothing any more."""
        node = folder / "zarr.json"
        if not node.exists():
            return (folder / "c").is_dir()
        try:
            return bool(_attributes(node).get("product") == product)
        except (UserError, OSError):
            return (folder / "c").is_dir()

    def products(self) -> dict[str, Record]:
        """Every complete product.

        Raises:
            UserError: a record is damaged, or one is gone of which there are completion markers: whoever reads would do without the
                product and not know.
        """
        for product, message in self.lost_records().items():
            raise UserError(f"{self.path / 'products' / product / 'zarr.json'} {message}, or delete the folder that it was in")
        return {name: record for name, record in self.records().items() if record.complete}

    def record(self, product: str) -> Record:
        """The record of a complete product.

        Raises:
            UserError: the cache has no such product, or it is still being made.
        """
        records = self.records()
        if product not in records:
            raise UserError(f"{self.path} has no product {product!r}{spec.did_you_mean(product, records)}")
        if not records[product].complete:
            raise UserError(f"{self.path}: product {product!r} is not finished; run the command that began it again")
        return records[product]

    def proven(self, product: str) -> Record:
        """The record of a complete product whose completion markers are, all together, those it was finished with.

        Shards that changed places, or were replaced together with their markers, match their own markers; only this finds them. It
        reads no shard, only a small file for each.

        Raises:
            UserError: the cache has no such product, it is still being made, or it is not as it was finished.
        """
        record = self.record(product)
        if self.content(record) != record.content:
            raise UserError(
                f"{self.path}: {product} is not as it was when it was finished, shards of it were exchanged or replaced; {MENDS}"
            )
        return record

    def arrays(self, record: Record) -> tuple[ArraySpec, ...]:
        return spec.product_arrays(self.manifest, record)

    def array(self, path: str) -> Any:
        """An array through zarr-python, a `zarr.Array`: any array, any indexing, slow, nothing compared with checksums. Reading
        one gives NumPy arrays, which its annotations do not say; hence Any. For small arrays there is `column`.

        Raises:
            UserError: the product is complete and a file of the array is missing, which Zarr would read as zeros.
        """
        owner = self._owner(path)
        if owner is not None and owner[0].complete:
            node = owner[1]
            shards = -(-node.shape[0] // node.shard)
            gone = next((key for key in map(node.key, range(shards)) if not (self.path / key).is_file()), None)
            if gone is not None:
                raise UserError(f"{self.path / gone} is missing; {MENDS}")
        return zarr.open_array(self.path / path, mode="r")

    def column(self, path: str) -> NDArray[Any]:
        """A small array whole, every file of it there and as it was written. [N, ...]

        For `id`, `label`, `split`, `status` and its companions, `captions/*`, `labels/*` and `stats/*`. Of a product that is
        still being made, what is not there yet is zeros.

        Raises:
            UserError: there is no such array, a file of it is missing or damaged, or a value cannot be.
        """
        _, node = self._owned(path)
        out = np.zeros(node.shape, node.dtype)
        for shard, values in self.column_shards(path):
            out[shard * node.shard : shard * node.shard + len(values)] = values
        limits = {
            "label": (-1, len(self.manifest.classes)),
            "split": (-1, len(self.manifest.splits)),
            "status": (spec.PENDING, spec.FAILED + 1),
        }
        least, end = limits.get(path, (0, 0))
        if path in limits and not ((out >= least) & (out < end)).all():
            raise UserError(f"{self.path}: {path} holds values outside {least}..{end - 1}; the cache is not sound, build it anew")
        return out

    def column_shards(self, path: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """Shard by shard what `column` gives at once: (shard, its rows [n, ...])."""
        record, node = self._owned(path)
        if path.startswith("stats/"):
            yield 0, self.read_statistics(node)
            return
        place = [other.path for other in self.arrays(record)].index(path)
        missing = set() if record.complete else set(self.missing(record))
        for shard in range(-(-node.shape[0] // node.shard)):
            if shard in missing:
                continue
            data = read_file(self.path / node.key(shard))
            check_bytes(data, self.checksums(record, shard)[place].tobytes(), self.path / node.key(shard))
            yield shard, self._decoded(node, shard, data)

    def read_statistics(self, node: ArraySpec) -> NDArray[np.float64]:
        """A `stats_array`, compared with the checksum within its file. [2, E]"""
        path = self.path / node.key(0)
        data = read_file(path)
        if len(data) != 2 * node.row_bytes + 4 or struct.pack("<I", google_crc32c.value(data[:-4])) != data[-4:]:
            raise UserError(f"{path} is damaged; {MENDS}")
        return np.frombuffer(data[:-4], node.dtype).reshape(node.shape)

    def _owned(self, path: str) -> tuple[Record, ArraySpec]:
        owner = self._owner(path)
        if owner is None:
            known = [node.path for record in self.records().values() for node in self.arrays(record)]
            raise UserError(f"{self.path} has no array {path!r}{spec.did_you_mean(path, known)}")
        return owner

    def _owner(self, path: str) -> tuple[Record, ArraySpec] | None:
        """The product an array belongs to, and its description; None if no product that was begun has it."""
        tables = (index_record(self.manifest), status_record(self.manifest))
        names = [r.product for r in tables if path in (node.path for node in self.arrays(r))]
        of_stats = path.startswith("stats/")
        parts = PurePosixPath(path.removeprefix("stats/")).parts
        for name in names or ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]:
            if (record := self._read_record(name)) is not None:
                for node in self.arrays(record):
                    if node.path == path or (of_stats and record.kind in ("image", "text")):
                        return record, stats_array(node) if of_stats else node
        return None

    def rows(self, path: str, verify: Literal["off", "first_use"] = "off") -> Rows:
        """An uncompressed array of a complete product, memory-mapped.

        Args:
            path: the array.
            verify: `first_use` compares each shard with its checksum in the background once it is first read; the read
                after a shard was found to differ raises.

        Raises:
            UserError: no complete product has this array, or it is compressed.
        """
        records = self.products()
        nodes = {node.path: (node, record) for record in records.values() for node in self.arrays(record)}
        if path not in nodes:
            raise UserError(f"{self.path} has no finished array {path!r}{spec.did_you_mean(path, nodes)}")
        node, record = nodes[path]
        place = self.arrays(record).index(node)
        return Rows(self.path, node, (lambda shard: self.checksums(record, shard)[place].tobytes()) if verify == "first_use" else None)

    def shard_rows(self, node: ArraySpec, shard: int, record: Record | None = None) -> NDArray[Any]:
        """The rows of one shard of an array that is uncompressed or has one chunk a shard, whether or not its product is complete. [n, ...]

        Args:
            node: the array.
            shard: which shard.
            record: the array's product, to compare the file with its completion marker first; None to take the file as it is.

        Raises:
            UserError: the file is missing or damaged.
        """
        data = read_file(self._file(node.key(shard)))
        if record is not None:
            check_bytes(data, self.digest(record, node, shard), self.path / node.key(shard))
        return self._decoded(node, shard, data)

    def digest(self, record: Record, node: ArraySpec, shard: int) -> bytes:
        """The sha256 that the file of one shard of an array must have. Raises as `checksums`."""
        place = [other.path for other in self.arrays(record)].index(node.path)
        return self._expected(record, shard)[place].tobytes()

    def _expected(self, record: Record, shard: int) -> NDArray[np.uint8]:
        """The checksums of the files as they are read. [files, 32]"""
        return self.checksums(record, shard)

    def check_shard(self, record: Record, shard: int) -> None:
        """Compare every file of one shard of a product with its completion marker.

        Raises:
            UserError: a file, or the marker, is missing or damaged.
        """
        sums = self._expected(record, shard)
        for node, wanted in zip(self.arrays(record), sums, strict=True):
            check_bytes(read_file(self._file(node.key(shard))), wanted.tobytes(), self.path / node.key(shard))

    def _decoded(self, node: ArraySpec, shard: int, data: bytes) -> NDArray[Any]:
        """The rows of one shard from the bytes of its file. [n, ...]"""
        rows = min(node.shard, node.shape[0] - shard * node.shard)
        if node.codec == "zstd":
            data = _unpacked(data, node.shard * node.row_bytes, self.path / node.key(shard))
        if len(data) < rows * node.row_bytes:
            raise UserError(f"{self.path / node.key(shard)} is cut short; {MENDS}")
        return np.frombuffer(data, node.dtype, rows * math.prod(node.shape[1:])).reshape(rows, *node.shape[1:])

    def _file(self, key: str) -> Path:
        """Where a file is read from."""
        return self.path / key

    def ids(self) -> NDArray[np.object_]:
        """Shape ids. [N]"""
        return texts(self.column("id"))

    def ok(self) -> NDArray[np.bool_]:
        """Which shapes are complete and usable. [N]"""
        return self.column("status") == spec.OK

    def colored(self) -> NDArray[np.bool_]:
        """Which shapes have colours of their own; the stored colour of all others is a stand-in. [N]"""
        return self.column("colored").astype(bool)

    def repeated(self) -> NDArray[np.bool_]:
        """Which shapes came from fewer points than a block holds, so that blocks hold some points several times. [N]

        All False in a cache of format 1, which does not know.
        """
        if self.manifest.format_version < 2:
            return np.zeros(self.manifest.shapes, bool)
        return self.column("repeated").astype(bool)

    # writing

    def begin(self, record: Record) -> Record:
        """Make the arrays of a product, or find them again. Call under `exclusive`. Returns the record as it is on disk.

        Raises:
            UserError: the product exists with another specification, or was half made by other package versions; or another
                build has taken over.
        """
        assert not record.complete and not record.content
        with still_held(self.path, self.token):
            return self._begin(record)

    def agreed(self, record: Record) -> Record:
        """What `begin` would return, with nothing written. Raises as it does."""
        there = self._read_record(record.product)
        if there is not None:
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
            return there
        spec.check_record(record)
        for part in record.product.split("/"):
            path_name(part, f"product {record.product}")
        return record

    def _begin(self, record: Record) -> Record:
        record, new = self.agreed(record), self._read_record(record.product) is None
        if new:
            # Completion markers of a product whose record was deleted say nothing about this one.
            markers_of_before = self.path / "products" / record.product / "c"
            refuse_links(markers_of_before, self.path)
            shutil.rmtree(markers_of_before, ignore_errors=True)
        for array in self.arrays(record):
            self._put_groups(array.path)
            self._put_node(array.path, node_json(array, {"product": record.product}))
        self._put_groups(f"products/{record.product}")
        if new:
            self._put_node(f"products/{record.product}", node_json(markers(self.manifest, record), sealed(record)))
        return record

    def _put(self, key: str, data: bytes) -> None:
        """Write one file of the cache."""
        write_file(self.path / key, data, within=self.path)

    def _put_node(self, path: str, content: bytes) -> None:
        node = self.path / path / "zarr.json"
        if not node.is_file() or read_file(node) != content:
            self._put(f"{path}/zarr.json", content)

    def _put_groups(self, path: str) -> None:
        """The groups above an array."""
        for parent in PurePosixPath(path).parents:
            if parent.name:
                self._put_node(parent.as_posix(), node_json())

    def missing(self, record: Record) -> list[int]:
        """Shards of a product that lack a completion marker, or a file of which is not there."""
        marker = markers(self.manifest, record)
        nodes = (marker, *self.arrays(record))
        return [shard for shard in range(marker.shape[0]) if not all((self.path / node.key(shard)).is_file() for node in nodes)]

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
        marker = markers(self.manifest, record)
        with still_held(self.path, self.token):
            for node, data in zip(nodes, files, strict=True):
                self._put(node.key(shard), data)
            self._put(marker.key(shard), encode(marker, sums))

    def reopen(self, record: Record, shard: int) -> None:
        """Take a shard out of a product, which is unfinished from here on. Its files stay until they are written again.

        Raises:
            UserError: another build has taken over.
        """
        with still_held(self.path, self.token):
            marker = markers(self.manifest, record)
            if record.complete:
                begun = dataclasses.replace(record, complete=False, content="")
                self._put(f"products/{record.product}/zarr.json", node_json(marker, sealed(begun)))
            refuse_links(self.path / marker.key(shard), self.path)
            (self.path / marker.key(shard)).unlink(missing_ok=True)

    def checksums(self, record: Record, shard: int) -> NDArray[np.uint8]:
        """What a completion marker says. [files, 32]

        Raises:
            UserError: the marker itself is missing or damaged.
        """
        marker = markers(self.manifest, record)
        data = read_file(self.path / marker.key(shard))
        if len(data) != marker.row_bytes + 4 or struct.pack("<I", google_crc32c.value(data[:-4])) != data[-4:]:
            raise UserError(f"{self.path / marker.key(shard)}: the completion marker is damaged; {MENDS}")
        return np.frombuffer(data[:-4], np.uint8).reshape(marker.shape[1:])

    def finish(self, record: Record) -> Record:
        """Mark a product complete once no shard is missing; embeddings get their statistics. Returns the final record.

        A product that is complete already must be as it was then.

        Raises:
            UserError: another build has taken over; or the product was complete and some of it was made again, with other bytes.
        """
        assert not self.missing(record), (record.product, self.missing(record))
        with still_held(self.path, self.token):
            return self._finish(record)

    def _finish(self, record: Record) -> Record:
        there = self._read_record(record.product)
        if there is not None and there.complete:
            return self._still_complete(there)
        if record.kind in ("image", "text"):
            node = stats_array(self.arrays(record)[0])
            self._put_groups(node.path)
            self._put_node(node.path, node_json(node))
            self._put(node.key(0), self.statistics(record, checked=True))
        final = dataclasses.replace(record, complete=True, content=self.content(record))
        self._put(f"products/{record.product}/zarr.json", node_json(markers(self.manifest, record), sealed(final)))
        return final

    def _still_complete(self, record: Record) -> Record:
        stats = stats_array(self.arrays(record)[0]) if record.kind in ("image", "text") else None
        lost = stats is not None and not (self.path / stats.key(0)).is_file()
        made = self.statistics(record) if lost else None
        if self.content(record, statistics=made) != record.content:
            raise UserError(
                f"{self.path}: {record.product} is not as it was when it was finished: damaged files were made again by other software, "
                f"models or settings. {MENDS}; else delete {self.path / 'products' / record.product} and run the command that made it again"
            )
        if stats is not None and made is not None:
            self._put_groups(stats.path)
            self._put_node(stats.path, node_json(stats))
            self._put(stats.key(0), made)
        return record

    def content(self, record: Record, sums: Mapping[int, NDArray[np.uint8]] | None = None, statistics: bytes | None = None) -> str:
        """sha256 over the checksums of a product's files.

        Args:
            record: the product.
            sums: checksums [files, 32] of some shards, instead of what their completion markers say.
            statistics: bytes instead of those in the file of the product's statistics.

        Raises:
            UserError: a marker, or the statistics, are missing or damaged.
        """
        digest = hashlib.sha256()
        for shard in range(markers(self.manifest, record).shape[0]):
            known = None if sums is None else sums.get(shard)
            digest.update((self.checksums(record, shard) if known is None else known).tobytes())
        if record.kind in ("image", "text"):
            node = stats_array(self.arrays(record)[0])
            digest.update(read_file(self.path / node.key(0)) if statistics is None else statistics)
        return digest.hexdigest()

    def statistics(self, record: Record, *, checked: bool = False) -> bytes:
        """The file of a product's statistics, computed from its shards.

        Args:
            record: the product.
            checked: whether each shard must be as its completion marker says.

        Raises:
            UserError: a file it takes is missing or damaged.
        """
        (node,) = self.arrays(record)
        return encode(stats_array(node), self._moments(node, record if checked else None))

    def _moments(self, node: ArraySpec, record: Record | None) -> NDArray[np.float64]:
        """Mean and variance of an embedding over all entries of usable shapes, added up in row order. [2, E]"""
        ok = self.ok()
        total, square, count = np.zeros(node.shape[-1]), np.zeros(node.shape[-1]), 0
        for shard in range(self.manifest.shards):
            rows = self.manifest.rows(shard)
            kept = self.shard_rows(node, shard, record)[ok[rows.start : rows.stop]].reshape(-1, node.shape[-1]).astype(np.float64)
            total += kept.sum(0)
            square += (kept**2).sum(0)
            count += len(kept)
        mean = total / max(count, 1)
        return np.stack([mean, np.maximum(square / max(count, 1) - mean**2, 0)])


def markers(manifest: Manifest, record: Record) -> ArraySpec:
    """The array of a product's completion markers: sha256 of each file of each shard. [shards, files, 32]"""
    nodes = spec.product_arrays(manifest, record)
    shape = (-(-nodes[0].shape[0] // nodes[0].shard), len(nodes), 32)
    return ArraySpec(
        path=f"products/{record.product}",
        dtype="uint8",
        shape=shape,
        chunk=(1, *shape[1:]),
        shard=1,
        codec="crc32c",
        dims=("shard", "file", "byte"),
    )


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
    cache = Cache(path.resolve(), _parse(Manifest, _unsealed(attributes, node), node), token)
    _check_size(cache)
    return cache


ZSTD_MOST: Final = 1 << 16
"""One byte of zstd never stands for more than this: a block of 128 KiB takes four."""


def _check_size(cache: Cache) -> None:
    """Refuse a description of more shapes than the files can hold, before anything is done for each of them.

    Some files may be missing - `verify` names them - but not most of every column.
    """
    manifest = cache.manifest
    nodes = cache.arrays(index_record(manifest))
    most, held = 0, 0
    for node in nodes[1:] + nodes[:1]:
        try:
            with os.scandir(cache.path / node.path / "c") as entries:
                found = list(entries)
            sizes = [entry.stat().st_size for entry in islice(found, 8)]
        except OSError:
            continue
        most = max(most, len(found))
        held = max(held, max(sizes, default=0) * ZSTD_MOST // node.row_bytes)
        if most >= manifest.shards and held >= min(manifest.shard, manifest.shapes):
            return
    if manifest.shards > 2 * most + 16 or (most and manifest.shard > held + ZSTD_MOST):
        raise UserError(
            f"{cache.path / 'zarr.json'} speaks of {manifest.shapes} shapes in {manifest.shards} shards of {manifest.shard}, but there are "
            f"files of {most} shards: it is damaged. Restore it from a copy, or delete it and run the command that built the cache again"
        )


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
        cache._put_node(name, node_json())
    record = index_record(manifest)
    cache.begin(record)
    for shard in range(manifest.shards):
        write_index(cache, shard, ids, labels, splits)
    cache.finish(record)
    cache._put("zarr.json", node_json(None, sealed(manifest)))
    return cache


def check_empty(path: Path) -> None:
    """Refuse a folder, without a root description, that holds anything but what `create` may have left there when it was stopped.

    A cache that lost its root description gets it again by `create`, and whatever else it holds is found as it is.

    Raises:
        UserError: it holds something else.
    """
    columns = {"id", "label", "split"}
    if (path / "products" / "status").exists():
        columns |= {"status", "reason", "source_sha256", "colored", "repeated"}
    foreign = [p.name for p in path.iterdir() if p.name not in {*GROUPS, *columns}] if path.exists() else []
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
    return Record(product=INDEX, kind="index", spec=manifest.source, inputs=())


def status_record(manifest: Manifest) -> Record:
    """The record of how each shape fared, as far as its arrays depend on it."""
    return Record(product=STATUS, kind="status", spec=manifest.source, inputs=())


def differences(there: Any, asked: Any, where: str = "") -> list[str]:
    """Where two descriptions differ in what changes a result, as `points.seed is 0, asked 1`."""
    if dataclasses.is_dataclass(there) and type(there) is type(asked):
        fields = [f.name for f in dataclasses.fields(there) if f.metadata.get("identity", True)]
        return [d for f in fields for d in differences(getattr(there, f), getattr(asked, f), f"{where}.{f}" if where else f)]
    return [] if there == asked else [f"{where} is {spec.short(there)}, asked {spec.short(asked)}"]


def _below_products(root: Path) -> list[Path]:
    """The `zarr.json` of every product, and of groups of products, in one order."""
    bases = (root, *(root / group for group in GROUPS_OF_PRODUCTS if group != "labels"), *sorted((root / "labels").glob("*/")))
    return [node for base in bases for node in sorted(base.glob("*/zarr.json"))]


def _attributes(node: Path) -> dict[str, Any]:
    try:
        body = json.loads(read_file(node))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{node} is damaged: {str(error).removeprefix(f'{node} ')}") from error
    attributes = body.get("attributes", {}) if isinstance(body, dict) else None
    if not isinstance(attributes, dict):
        raise UserError(f"{node} is damaged: it is no description of a Zarr node with attributes")
    return attributes


def _unsealed(attributes: Mapping[str, Any], node: Path) -> Any:
    """The description in attributes made by `sealed`."""
    body = attributes[KEY]
    try:
        whole = hashlib.sha256(spec.canonical(body)).hexdigest() == attributes.get("sha256")
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise UserError(f"{node} is damaged: its description does not match its checksum")
    return body


def _parse(cls: Any, body: Any, node: Path) -> Any:
    try:
        return spec.from_json(cls, body)
    except ValueError as error:
        raise UserError(f"{node}: {error}") from error
