"""Create a cache, add products shard by shard, find missing shards, and read.

    cache = open_cache("shapes.zarr")
    cache.products()                                   # complete ones: {"points": Record, "image/clip": Record, ...}
    xyz = cache.rows("points/xyz")                     # memory-mapped
    batch = xyz.gather(shapes, blocks)                 # [B, P, 3], contiguous, owned by the caller

A cache survives a kill at any moment, because of the order in which it is written:
1. Every file is written beside its place, synced and then renamed.
2. The completion marker of a shard is written after all files of the shard. It is one chunk of the Zarr array `products/<product>` and
   holds the checksums of these files.
3. The record of a product is marked complete after all its shards.
Readers use complete products only.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema import below, layout, products, records, spec
from cache_schema.below import Below
from cache_schema.errors import UserError
from cache_schema.files import MENDS, open_regular, read_file, refuse_links, regular_bytes, staged, still_held, write_file
from cache_schema.layout import ArraySpec, check_bytes, digests, encode, ends_in_crc, node_json, text_cells, texts
from cache_schema.names import path_name
from cache_schema.products import Kind, index_record, markers, statistics_array, status_record
from cache_schema.records import KEY, Records, attributes_of, differences, restoring, sealed
from cache_schema.remote import CARD, TABLE
from cache_schema.rows import Rows
from cache_schema.spec import COUNTED, Manifest, Record

GROUPS: Final = ("points", "views", "captions", "image", "text", "labels", "guide", "stats", "products")
"""Groups that every cache has from the start, even if they are empty."""

ELSEWHERE: Final = "Build into another path"
"""Advice to a user who would make a product again with other settings."""
RENAME: Final = "Give the new captions a name of their own (captions.name, or MINE=CAPTIONER), build into another path"
"""The same for captions, of which a cache may have several."""


class Cache:
    """An existing cache, made by `open_cache` or `create`. It keeps no file open.

    With a `token` (see `held_token`) every write is refused once another process holds the cache.

    An overlay is one `Cache` too. It has the products of its own folder and, `below` it, those of the shared cache.
    """

    def __init__(self, path: Path, manifest: Manifest, token: str = "", below: Below | None = None) -> None:
        self.path = path
        """The folder that is written to. Messages name the cache by it, and its lock and journal lie beside it."""
        self.manifest = manifest
        self.token = token
        self.below = below
        """The shared cache of an overlay; None for a cache of its own."""
        self._proven: dict[str, tuple[str, NDArray[np.uint8]]] = {}
        """(digest in the record, checksums that add up to it) of products, by name; see `marked`."""

    @property
    def address(self) -> str:
        """Where the cache is, for people: its path, or the address of a cache elsewhere."""
        return str(self.path)

    # where files lie

    def file(self, key: str) -> Path:
        """Return where a file of the cache lies. Nothing else says so: all that reads or writes a file of a cache asks here.

        Args:
            key: its place in the cache, such as `points/xyz/c/0/0/0/0` or `products/points/zarr.json`.
        """
        return self.below.cache.file(key) if self.below is not None and self.below.holds(key) else self.path / key

    def open_file(self, key: str) -> tuple[Path, int]:
        """Open a file of the cache for reading. Returns its path and descriptor, which the caller closes.

        Raises:
            OSError: there is no such file, or it is not a regular one.
            UserError: it lies elsewhere and cannot be fetched.
        """
        if self.below is not None and self.below.holds(key):
            return self.below.cache.open_file(key)
        path = self.file(key)
        return path, open_regular(path)

    def fetch(self, keys: Sequence[str]) -> None:
        """Bring files of the cache to this machine, several at once. Those of a local cache are here.

        Args:
            keys: their places in the cache, as `file` takes them.
        """

    def again(self) -> "Cache":
        """Open the cache once more, as it is now.

        Raises:
            UserError: see `open_cache`.
        """
        return open_cache(self.path)

    def at(self, manifest: Manifest) -> "Cache":
        """Return the cache as it was when it had another manifest, with fewer shapes; see `spec.earlier`."""
        return Cache(self.path, manifest, self.token)

    @property
    def home(self) -> Path:
        """The folder of the index: that of the shared cache, for an overlay. Caches with one home have the same shapes in their rows."""
        return self.path if self.below is None else self.below.cache.path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folders that hold the products, each with a journal beside it: that of the shared cache first, for an overlay."""
        return (self.path,) if self.below is None else (self.below.cache.path, self.path)

    def owns(self, product: str) -> bool:
        """Whether a product lies in the folder of this cache, or would be made there, and not in the shared cache of an overlay."""
        return self.below is None or product not in self.below.products

    def _holder(self, product: str) -> Path:
        """Return the folder in which a product lies: that of this cache, or that of the shared cache of an overlay."""
        return self.path if self.owns(product) else self.home

    def _outgrown(self, record: Record) -> bool:
        """Whether the cache that a product lies in has more shapes than are seen."""
        if self.below is not None and self.below.behind and not self.owns(record.product):
            return True
        return Records(self._holder(record.product), self.manifest).has_outgrown(record.product)

    def folder(self, path: str) -> Path:
        """Return the folder of an array or a product, such as `points/xyz` or `products/points`."""
        return self.file(f"{path}/zarr.json").parent

    # reading

    def records(self) -> dict[str, Record]:
        """Read the record of every product that was begun, complete or not.

        Raises:
            UserError: a record is damaged.
        """
        found, damaged = self.read_records()
        for problem in damaged.values():
            raise UserError(problem)
        return found

    def read_records(self) -> tuple[dict[str, Record], dict[str, str]]:
        """Read the record of every product that was begun. Also returns, by product, what is wrong with records that cannot be read."""
        found, damaged = self.on_disk().all()
        if self.below is None:
            return found, damaged
        theirs, theirs_damaged = self.below.read_records()
        there = found | {name: record for name, record in theirs.items() if not self.owns(name)}
        in_order = {name: there[name] for name in sorted(there, key=records.place_of)}
        return in_order, {name: problem for name, problem in theirs_damaged.items() if not self.owns(name)} | damaged

    def on_disk(self) -> Records:
        """Return what reads the records in the folder of this cache, without those of the shared cache."""
        if self.below is None:
            return Records(self.path, self.manifest)
        return Records(self.path, self.manifest, index=False, since=self.below.since)

    def lost(self) -> dict[str, str]:
        """Find products that have completion markers but no record. Returns a message for each."""
        below = {} if self.below is None else self.below.cache.lost()
        return {name: message for name, message in below.items() if not self.owns(name)} | self.on_disk().lost()

    def of(self, kind: Kind, **names: str) -> list[Record]:
        """Select complete products of a kind by names, such as `cache.of(products.TEXT, teacher="clip")`.

        Raises:
            UserError: see `products`.
        """
        return products.select(self.products(), kind, **names)

    def products(self) -> dict[str, Record]:
        """Read the record of every complete product.

        Raises:
            UserError: a record is damaged, or it is lost while completion markers are there: a reader would otherwise miss the product
                without a word.
        """
        for product, message in self.lost().items():
            raise UserError(f"{self.file(f'products/{product}/zarr.json')} {message}, or delete the folder that it was in")
        return {name: record for name, record in self.records().items() if record.complete}

    def record(self, product: str) -> Record:
        """Read the record of a complete product.

        Raises:
            UserError: the cache has no such product, or it is still being made.
        """
        records = self.records()
        if self.below is not None and product in self.below.later:
            raise UserError(
                f"{self.path}: {product} was made in the shared cache {self.home} after that had grown, and what this overlay has is about "
                f"the {self.manifest.count} shapes of before. {self.below.catching_up(self.path)}"
            )
        if product not in records:
            raise UserError(f"{self.path} has no product {product!r}{spec.did_you_mean(product, records)}")
        if not records[product].complete:
            raise UserError(f"{self.path}: product {product!r} is not finished; run the command that began it again")
        self._refuse_relabelled(records[product])
        return records[product]

    def proven(self, product: str) -> Record:
        """Read the record of a complete product, and compare its completion markers with the digest in the record.

        Shards that changed places, or were replaced together with their markers, still match their markers. Only this digest finds
        them. Shards themselves are not read, only their markers.

        Raises:
            UserError: the cache has no such product, the product is unfinished, or its markers have changed since it was finished.
        """
        record = self.record(product)
        if self.content(record) != record.content:
            again = self.record(product)  # another command may have finished it anew, or the cache may have grown, in between
            if again != record and self.content(again) == again.content:
                return again
            self._refuse_outgrown()
            raise UserError(
                f"{self.path}: {product} is not as it was when it was finished, shards of it were exchanged or replaced; {MENDS}"
            )
        return record

    def _refuse_outgrown(self) -> None:
        """Refuse to go on if the cache has changed so much since it was opened that this reader cannot tell damage from change.

        Raises:
            UserError: the cache has grown, or has other classes or splits.
        """
        if open_cache(self.path).manifest != self.manifest:
            raise UserError(f"{self.path} has grown or was relabelled since it was opened; run the command again")

    def _refuse_relabelled(self, record: Record) -> None:
        """Refuse an index that was written with another manifest: its numbers mean names in that manifest.

        Raises:
            UserError: `record` is that of the index, and belongs to another manifest.
        """
        if record.product == products.INDEX.name and record.spec != self.manifest.source:
            raise UserError(f"{self.path} was relabelled since it was opened, or a relabelling was stopped; run the command again")

    def arrays(self, record: Record) -> tuple[ArraySpec, ...]:
        """List the arrays of a product, in the order of the checksums in its completion marker."""
        return products.arrays(self.manifest, record)

    def node(self, path: str) -> ArraySpec:
        """Return the description of an array, such as `cache.node("status")`. Every cache has those of the index and the status.

        Raises:
            UserError: no product that was begun has this array.
        """
        for record in (index_record(self.manifest), status_record(self.manifest)):
            for node in self.arrays(record):
                if node.path == path:
                    return node
        return self._owned(path)[1]

    def array(self, path: str) -> Any:
        """Open any array with zarr-python. This allows any indexing, but is slow and compares nothing with checksums; `column` and `rows`
        are better for most uses.

        Returns:
            A `zarr.Array`. The type is Any, because zarr's annotations do not say that indexing gives NumPy arrays.

        Raises:
            UserError: the product is complete, but a file of the array is missing. Zarr would read zeros instead.
        """
        # Here, because it takes a quarter of a second to import, and most commands never need it.
        import zarr
        from zarr.storage import LocalStore, StorePath

        owner = self._owner(path)
        if owner is not None and owner[0].complete:
            node = owner[1]
            gone = next((key for key in map(node.key, range(node.shards)) if not self.file(key).is_file()), None)
            if gone is not None:
                raise UserError(f"{self.file(gone)} is missing; {MENDS}")
            if self._outgrown(owner[0]):  # the array on disk is longer by now
                place = StorePath(LocalStore(self._holder(owner[0].product), read_only=True), path)
                return zarr.Array.from_dict(place, json.loads(node_json(node)))
        return zarr.open_array(self.folder(path), mode="r")

    def column(self, path: str) -> NDArray[Any]:
        """Read a whole array, and compare every file with its checksum. [N, ...]

        This suits the arrays of the index and the status, captions, labels and `stats/*`. Shards that an unfinished product lacks are
        zeros.

        Raises:
            UserError: there is no such array, a file is missing or damaged, or a value is impossible.
        """
        _, node = self._owned(path)
        names = {"label": self.manifest.classes, "split": self.manifest.splits, "licence": self.manifest.licences}
        least, end = (spec.PENDING, spec.FAILED + 1) if path == "status" else (-1, len(names.get(path, ())))
        out = np.full(node.shape, -1 if path in names else 0, node.dtype)
        for shard, values in self.column_shards(path):
            out[shard * node.shard : shard * node.shard + len(values)] = values
        if (path == "status" or path in names) and not ((out >= least) & (out < end)).all():
            raise UserError(f"{self.path}: {path} holds values outside {least}..{end - 1}; the cache is not sound, build it anew")
        return out

    def column_shards(self, path: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield what `column` returns shard by shard, as (shard, its rows [n, ...]). The next shard takes the memory of the rows."""
        record, node = self._owned(path)
        self._refuse_relabelled(record)
        if path.startswith("stats/"):
            yield 0, self._decoded_statistics(node, self._statistics_file(record))
            return
        place = [other.path for other in self.arrays(record)].index(path)
        missing = set() if record.complete else set(self.missing(record))
        shards = [shard for shard in range(node.shards) if shard not in missing]
        sums, memory = self._wanted(record, shards), bytearray(node.shard * node.row_bytes if node.codec == "zstd" and shards else 0)
        for shard, wanted, (where, data) in zip(shards, sums[:, place], self.shard_files(node, shards), strict=True):
            check_bytes(data, wanted.tobytes(), where)
            yield shard, self._decoded(node, shard, data, where, memory)

    def _wanted(self, record: Record, shards: Sequence[int]) -> NDArray[np.uint8]:
        """Return the checksums of shards: those that a digest has proven, or those in the completion markers. [n, files, 32]"""
        if record.complete and not products.of(record).statistics and self._proven.get(record.product, ("",))[0] != record.content:
            self.content(record)
        content, sums = self._proven.get(record.product, ("", None))
        return self.marked(record, shards) if sums is None or content != record.content else sums[list(shards)]

    def shard_files(self, node: ArraySpec, shards: Iterable[int]) -> Iterator[tuple[str, bytes]]:
        """Read the files of shards of an array. Yields the path of each, for messages, and its bytes.

        Raises:
            UserError: a file is missing, cannot be fetched or is not a regular one.
        """
        # A million shapes have tens of thousands of files. Paths as texts and one look at the folder make reading three times as fast.
        folder, zeros = self.folder(node.path), "/0" * (len(node.shape) - 1)
        for shard in shards:
            where = f"{folder}/c/{shard}{zeros}"
            try:
                data = regular_bytes(where)
            except OSError:
                data = self._bytes(node.key(shard))  # which fetches it, or says what is wrong with it
            yield where, data

    def read_statistics(self, node: ArraySpec) -> NDArray[np.float64]:
        """Read the statistics of a product, and compare them with the checksum in their file. [2, E]"""
        return self._decoded_statistics(node, read_file(self.file(node.key(0))))

    def _decoded_statistics(self, node: ArraySpec, data: bytes) -> NDArray[np.float64]:
        if not ends_in_crc(data, 2 * node.row_bytes + 4):
            raise UserError(f"{self.file(node.key(0))} is damaged; {MENDS}")
        return np.frombuffer(data[:-4], node.dtype).reshape(node.shape)

    def _statistics_file(self, record: Record) -> bytes:
        """Return the statistics of a product as their file holds them.

        If the cache has grown since it was opened, the file is about more shapes. Then they are computed again from the shards of before.
        """
        if not self._outgrown(record):
            data = read_file(self.file(statistics_array(self.manifest, record).key(0)))
            if not self._outgrown(record):  # it did not grow while the file was read
                return data
        return self.statistics(record, checked=True)

    def _owned(self, path: str) -> tuple[Record, ArraySpec]:
        owner = self._owner(path)
        if owner is None:
            known = [node.path for record in self.records().values() for node in self.arrays(record)]
            raise UserError(f"{self.path} has no array {path!r}{spec.did_you_mean(path, known)}")
        return owner

    def _owner(self, path: str) -> tuple[Record, ArraySpec] | None:
        """Return the product that owns an array, and the array's description; None if no product that was begun has it."""
        of_stats = path.startswith("stats/")
        name = products.owner(path.removeprefix("stats/"), self.manifest.format_version)
        record = None if name is None else self._read_record(name)
        if record is None:
            return None
        if of_stats:
            return (record, statistics_array(self.manifest, record)) if products.of(record).statistics else None
        return next(((record, node) for node in self.arrays(record) if node.path == path), None)

    def _read_record(self, product: str) -> Record | None:
        """Read the record of a product; None if the product was not begun."""
        if self.below is not None and not self.owns(product):
            return self.below.record(product)
        return self.on_disk().one(product)

    def rows(self, path: str, verify: Literal["off", "first_use"] = "off") -> Rows:
        """Map an uncompressed array of a complete product into memory.

        Args:
            path: path of the array.
            verify: `first_use` compares each shard with its checksum in the background after its first read. If a shard differs, the
                next read raises.

        Raises:
            UserError: no complete product has this array, or the array is compressed.
        """
        owner = self._owner(path)
        if owner is None or not owner[0].complete:
            known = [node.path for record in self.products().values() for node in self.arrays(record)]
            raise UserError(f"{self.path} has no finished array {path!r}{spec.did_you_mean(path, known)}")
        record, node = owner
        place = self.arrays(record).index(node)
        sums = (lambda shard: self.checksums(record, shard)[place].tobytes()) if verify == "first_use" else None
        return Rows(self.file, node, sums, self.open_file, self._near(path))

    def _near(self, path: str) -> str:
        """Return the folder of an array whose files are all on this machine; empty for one whose files have to be fetched."""
        return str(self.folder(path))

    def shard_rows(self, node: ArraySpec, shard: int, record: Record | None = None) -> NDArray[Any]:
        """Read one shard of an array that is uncompressed or has one chunk per shard. Its product may be unfinished. [n, ...]

        Args:
            node: the array.
            shard: number of the shard.
            record: the product of the array; the file is then compared with the completion marker. None: the file is not compared.

        Raises:
            UserError: the file is missing or damaged.
        """
        data = self._current(node.key(shard))
        if record is not None:
            check_bytes(data, self.digest(record, node, shard), self.file(node.key(shard)))
        return self._decoded(node, shard, data, self.file(node.key(shard)))

    def digest(self, record: Record, node: ArraySpec, shard: int) -> bytes:
        """Return the sha256 that the file of one shard of an array must have. Raises the errors of `checksums`."""
        place = [other.path for other in self.arrays(record)].index(node.path)
        return bytes(self._expected(record, shard)[place])

    def _expected(self, record: Record, shard: int) -> NDArray[np.uint8]:
        """Return the checksums that the files of one shard must have when they are read. [files, 32]"""
        return self.checksums(record, shard)

    def check_shard(self, record: Record, shard: int) -> None:
        """Compare every file of one shard of a product with the completion marker.

        Raises:
            UserError: a file, or the marker, is missing or damaged.
        """
        sums = self._expected(record, shard)
        for node, wanted in zip(self.arrays(record), sums, strict=True):
            check_bytes(self._current(node.key(shard)), wanted.tobytes(), self.file(node.key(shard)))

    def _decoded(
        self, node: ArraySpec, shard: int, data: bytes | bytearray, where: Path | str, memory: bytearray | None = None
    ) -> NDArray[Any]:
        """Decode the bytes of a shard's file, which is read only. [n, ...]

        Args:
            node, shard, data: the bytes of which shard of which array.
            where: the file, for messages.
            memory: memory for a decompressed shard; None for new memory.
        """
        rows = node.rows(shard)
        if node.codec == "zstd":
            data = layout.unpacked(bytes(data), node.shard * node.row_bytes, where, memory)
        if len(data) < rows * node.row_bytes:
            raise UserError(f"{where} is cut short; {MENDS}")
        values = np.frombuffer(data, node.dtype, rows * math.prod(node.shape[1:])).reshape(rows, *node.shape[1:])
        values.flags.writeable = False
        return values

    def _bytes(self, key: str) -> bytes:
        """Read a file of data. Raises a UserError if it is missing or is not a regular file."""
        return read_file(self.file(key))

    def _current(self, key: str) -> bytes:
        """Read a file of data as it is while the cache is being written. Raises the errors of `_bytes`."""
        return self._bytes(key)

    def ids(self) -> NDArray[np.object_]:
        """Read the ids of all shapes. [N]"""
        # Shard by shard: as they are stored, those of a million shapes are a quarter of a gigabyte.
        found = np.full(self.manifest.shapes, "", object)
        for shard, cells in self.column_shards("id"):
            found[shard * self.manifest.shard :][: len(cells)] = texts(cells)
        return found

    def ok(self) -> NDArray[np.bool_]:
        """Tell which shapes are usable. [N]"""
        return np.asarray(self.column("status") == spec.OK)

    def colored(self) -> NDArray[np.bool_]:
        """Tell which shapes have colours of their own. All others are stored in grey. [N]"""
        return self.column("colored").astype(bool)

    def repeated(self) -> NDArray[np.bool_]:
        """Tell which shapes have fewer points in their files than a block holds, so that blocks hold some points several times. [N]

        In a cache of format 1, which does not store this, all are False.
        """
        known = any(node.path == "repeated" for node in self.arrays(status_record(self.manifest)))
        return self.column("repeated").astype(bool) if known else np.zeros(self.manifest.shapes, bool)

    # writing

    def begin(self, record: Record) -> Record:
        """Begin a product, or continue one. Call it under `exclusive`. Returns the record that is on disk then.

        Raises:
            UserError: the product exists with another specification, an unfinished one was begun by other software, or another build
                holds the cache now.
        """
        assert not record.complete and not record.content
        with still_held(self.path, self.token):
            self._refuse_changed()
            return self._begin(record)

    def agreed(self, record: Record, prefix: str | None = None) -> Record:
        """Return what `begin` would return, and write nothing. Raises the errors of `begin`.

        Args:
            record: the product.
            prefix: what the `--set` of the calling command writes before a field of the record's specification, such as `points.`. The
                error then names the options that ask for what is recorded. None: no option sets these fields.
        """
        record = products.renamed(record, self.manifest.format_version)
        there = self._read_record(record.product)
        if self.below is not None:
            self._agreed_with_shared(self.below, record, there)
        if there is not None:
            if there.fingerprint != record.fingerprint:
                advice = RENAME if products.of(record) is products.CAPTIONS else ELSEWHERE
                options = [] if prefix is None else restoring(there.spec, record.spec, prefix)
                raise UserError(
                    f"{self.path} holds {record.product} made from another specification ({'; '.join(differences(there, record))}). "
                    f"{advice}, or with the recorded settings{': ' if options else '.'}{' '.join(options)}"
                )
            changed = sorted(pair for pair in set(there.made_by) ^ set(record.made_by) if pair[0] not in COUNTED)
            if not there.complete and changed:
                raise UserError(
                    f"{self.path}: {record.product} was begun with other software ({', '.join(f'{k} {v}' for k, v in changed)}); "
                    "go on with the software it was begun with, or build into another path."
                )
            return there
        products.check(record, self.manifest.format_version)
        for part in record.product.split("/"):
            path_name(part, f"product {record.product}")
        return record

    def _agreed_with_shared(self, below: Below, record: Record, there: Record | None) -> None:
        """Refuse a product of an overlay that is begun in the shared cache and not finished there."""
        unfinished = not self.owns(record.product) and (there is None or not there.complete)
        if unfinished or below.begun_since(record.product):
            raise UserError(
                f"{record.product} was begun in the shared cache {below.cache.path}: let it be finished there and use it from there, or "
                "give this one another name"
            )

    def _begin(self, record: Record) -> Record:
        record = self.agreed(record)
        if not self.owns(record.product):
            return record
        if self.below is not None:
            self._note_inputs(self.below, record)
        new = self._read_record(record.product) is None
        if new:
            # Markers may be left of a product whose record was deleted. They say nothing about this product.
            markers_of_before = self.folder(f"products/{record.product}") / "c"
            refuse_links(markers_of_before, self.path)
            shutil.rmtree(markers_of_before, ignore_errors=True)
        for array in self.arrays(record):
            self._put_groups(array.path)
            self._put_node(array.path, node_json(array, {"product": record.product}))
        self._put_groups(f"products/{record.product}")
        if new:
            self._put_node(f"products/{record.product}", node_json(markers(self.manifest, record), sealed(record)))
        elif record.complete:
            self._summarise()  # a command may have been stopped right before this
        return record

    def rewrite_record(self, record: Record) -> None:
        """Write the record of a product again. Only fields that are no part of its fingerprint may differ, like a licence.

        Raises:
            UserError: another build holds the cache now.
        """
        with still_held(self.path, self.token):
            self._refuse_changed()
            there = self._read_record(record.product)
            assert there is not None and there.fingerprint == record.fingerprint
            assert (there.complete, there.content) == (record.complete, record.content)
            self._put_node(f"products/{record.product}", node_json(markers(self.manifest, record), sealed(record)))
            self._summarise()

    def _put(self, key: str, data: bytes) -> None:
        """Write one file of the cache."""
        self._refuse_shared(key)
        write_file(self.file(key), data, within=self.path)

    def _refuse_shared(self, key: str) -> None:
        if self.below is not None and self.below.holds(key):
            raise self.below.refusal(key)

    def _put_node(self, path: str, content: bytes) -> None:
        node = self.file(f"{path}/zarr.json")
        if not node.is_file() or read_file(node) != content:
            self._put(f"{path}/zarr.json", content)

    def _put_groups(self, path: str) -> None:
        """Write the descriptions of all groups above an array."""
        for parent in PurePosixPath(path).parents:
            if parent.name:
                self._put_node(parent.as_posix(), node_json())

    def missing(self, record: Record) -> list[int]:
        """List the shards of a product that lack their completion marker or a file."""
        marker = markers(self.manifest, record)
        gone = np.zeros(marker.shape[0], bool)
        for node in (marker, *self.arrays(record)):
            gone |= [size is None for size in self.sizes(node)]
        return np.flatnonzero(gone).tolist()

    def sizes(self, node: ArraySpec) -> Iterator[int | None]:
        """Yield the bytes of the file of each shard of an array; None where there is no regular file."""
        folder, zeros = self.folder(node.path), "/0" * (len(node.shape) - 1)
        for shard in range(node.shards):
            try:
                found = os.stat(f"{folder}/c/{shard}{zeros}")
            except OSError:
                yield None
            else:
                yield found.st_size if stat.S_ISREG(found.st_mode) else None

    def has(self, record: Record, shard: int) -> bool:
        """Whether a shard of a product has its completion marker and all its files."""
        nodes = (markers(self.manifest, record), *self.arrays(record))
        return all(self.file(node.key(shard)).is_file() for node in nodes)

    def write(self, record: Record, shard: int, values: Mapping[str, NDArray[Any] | Sequence[Sequence[bytes]]]) -> None:
        """Write one shard of all arrays of a product, and then its completion marker.

        Args:
            record: the product, as `begin` returned it.
            shard: number of the shard.
            values: rows as `encode` takes them, by path of the array.

        Raises:
            UserError: another build holds the cache now. Nothing was written.
        """
        nodes = self.arrays(record)
        assert {node.path for node in nodes} == set(values), (record.product, set(values))
        self.write_files(record, shard, [encode(node, values[node.path]) for node in nodes])

    def write_files(self, record: Record, shard: int, files: Sequence[bytes]) -> None:
        """Write files that `encode` has made, one for each array of the product, and then the completion marker; see `write`."""
        nodes = self.arrays(record)
        marker = markers(self.manifest, record)
        new = [(node.key(shard), data) for node, data in zip(nodes, files, strict=True)]
        new.append((marker.key(shard), encode(marker, digests(files)[None])))
        for key, _ in new:
            self._refuse_shared(key)
        done = self.file(marker.key(shard))
        with staged([(self.file(key), data) for key, data in new], self.path) as place, still_held(self.path, self.token):
            if done.is_file() and read_file(done) != new[-1][1]:  # it would not fit what is put in place before the new one
                refuse_links(done, self.path)
                done.unlink()
            place()

    def reopen(self, record: Record, shard: int) -> None:
        """Remove the completion marker of a shard, so that the product is unfinished. The files of the shard stay until they are rewritten.

        Raises:
            UserError: another build holds the cache now.
        """
        if self.below is not None and not self.owns(record.product):
            raise self.below.refusal(record.product)
        with still_held(self.path, self.token):
            self._refuse_changed()
            marker = markers(self.manifest, record)
            # Readers that opened the cache before it grew go on with what they know, unless this shard is among it, or an earlier one was.
            there = self._read_record(record.product) or record
            before = tuple(one for one in record.before if one in there.before and one[0] <= shard * self.manifest.shard)
            if record.complete or before != record.before:
                begun = dataclasses.replace(record, complete=False, content="", before=before)
                self._put(f"products/{record.product}/zarr.json", node_json(marker, sealed(begun)))
            refuse_links(self.file(marker.key(shard)), self.path)
            self.file(marker.key(shard)).unlink(missing_ok=True)
            self._summarise()

    def checksums(self, record: Record, shard: int) -> NDArray[np.uint8]:
        """Read a completion marker: the checksums of the files of one shard. [files, 32]

        Raises:
            UserError: the marker is missing or damaged.
        """
        return np.asarray(self.marked(record, [shard])[0])

    def marked(self, record: Record, shards: Sequence[int]) -> NDArray[np.uint8]:
        """Read completion markers: the checksums of the files of shards. [n, files, 32]

        Raises:
            UserError: a marker is missing or damaged.
        """
        marker = markers(self.manifest, record)
        size, found = marker.row_bytes, bytearray()
        for where, data in self.shard_files(marker, shards):
            if not ends_in_crc(data, size + 4):
                raise UserError(f"{where}: the completion marker is damaged; {MENDS}")
            found += data[:size]
        return np.frombuffer(found, np.uint8).reshape(len(shards), *marker.shape[1:])

    def finish(self, record: Record) -> Record:
        """Mark a product complete. No shard may be missing. Embeddings get their statistics. Returns the final record.

        If the product is marked complete already, it is compared with the digest in its record.

        Raises:
            UserError: another build holds the cache now, or a product that was complete before has other bytes now.
        """
        assert not self.missing(record), (record.product, self.missing(record))
        with still_held(self.path, self.token):
            self._refuse_changed()
            return self._finish(record)

    def _finish(self, record: Record) -> Record:
        there = self._read_record(record.product)
        if there is not None and there.complete:
            final = self._still_complete(there)
        else:
            if self.below is not None:
                self._check_inputs(self.below, record)
            if products.of(record).statistics:
                self._put_statistics(record, self.statistics(record, checked=True))
            final = dataclasses.replace(record, complete=True, content=self.content(record))
            self._put(f"products/{record.product}/zarr.json", node_json(markers(self.manifest, record), sealed(final)))
        self._summarise()
        return final

    def adopt(self, record: Record, statistics: bytes | None = None) -> None:
        """Mark a product complete whose files came unchanged from another copy of this cache. Call it under `exclusive`.

        Args:
            record: the product, as the other copy records it.
            statistics: bytes of the file of its statistics, if it has any.

        Raises:
            UserError: the completion markers and the statistics do not add up to the digest in the record.
        """
        assert record.complete and (statistics is not None) == products.of(record).statistics, record.product
        with still_held(self.path, self.token):
            if self.content(record, statistics=statistics) != record.content:
                raise UserError(
                    f"{self.path}: {record.product} does not match the digest in its record, so its files do not belong together"
                )
            if statistics is not None:
                self._put_statistics(record, statistics)
            self._put(f"products/{record.product}/zarr.json", node_json(markers(self.manifest, record), sealed(record)))
            if record.product == products.INDEX.name and not self.file("zarr.json").is_file():
                self._put("zarr.json", self.root(self.on_disk().all()[0]))  # from now on, this is a cache
            self._summarise()

    def _refuse_changed(self) -> None:
        """Refuse to write to a cache that has grown or was relabelled since it was opened: its root would be that of then again.

        Whoever opened it before it held the lock may meet this; taking the lock can itself finish an append that was stopped.

        Raises:
            UserError: it has.
        """
        root = self.path / "zarr.json"
        if self.below is not None:
            if below.described(self.path).rows != below.rows_digest(self.manifest) and has_shapes(self.on_disk()):
                raise UserError(f"{self.path} got the new shapes of its shared cache since it was opened; run the command again")
            return
        if not root.is_file():
            return
        try:
            there = records.opened(Manifest, attributes_of(root), root)
        except UserError:
            return  # it is damaged, and what is written now mends it
        if there != self.manifest:
            raise UserError(f"{self.path} has grown or was relabelled since it was opened; run the command again")

    def _put_statistics(self, record: Record, data: bytes) -> None:
        node = statistics_array(self.manifest, record)
        self._put_groups(node.path)
        self._put_node(node.path, node_json(node))
        self._put(node.key(0), data)

    def _still_complete(self, record: Record) -> Record:
        lost = products.of(record).statistics and not self.file(statistics_array(self.manifest, record).key(0)).is_file()
        made = self.statistics(record) if lost else None
        if self.content(record, statistics=made) != record.content:
            raise UserError(
                f"{self.path}: {record.product} is not as it was when it was finished: damaged files were made again by other software, "
                f"models or settings. {MENDS}; else delete {self.folder(f'products/{record.product}')} and run the command that made it "
                "again"
            )
        if made is not None:
            self._put_statistics(record, made)
        return record

    def _summarise(self) -> None:
        """Update the list of finished arrays in the `zarr.json` of the root, if that file exists yet."""
        root = self.file("zarr.json")
        if not root.is_file():
            return
        content = self.root(self.on_disk().all()[0])
        if read_file(root) != content:
            self._put("zarr.json", content)

    def root(self, there: Mapping[str, Record]) -> bytes:
        """Return what the `zarr.json` of this cache's root must hold.

        Args:
            there: records in the folder of this cache, by name of the product.

        Raises:
            UserError: the root of an overlay is damaged.
        """
        return root_json(self.manifest, there, None if self.below is None else below.described(self.path))

    def _note_inputs(self, shared: Below, record: Record) -> None:
        """Note in the root of an overlay what a product that begins is made from."""
        said, own = below.described(self.path), self.on_disk().all()[0]
        made = shared.made_from(record)
        # An overlay without products about shapes goes along with a shared cache that grows.
        fitting = dataclasses.replace(said, shapes=self.manifest.shapes, rows=below.rows_digest(self.manifest))
        if record.product in own:
            self._check_inputs(shared, record)
        elif made not in said.made_from or fitting != said:
            self._put("zarr.json", root_json(self.manifest, own, fitting.with_made_from(made, own)))

    def _check_inputs(self, shared: Below, record: Record) -> None:
        """Refuse to go on with a product of an overlay if what it is made from has changed in the shared cache."""
        wrong = below.faults(below.described(self.path), shared, {record.product: record}, self.path)
        if wrong:
            raise UserError(f"{self.path}: {'; '.join(wrong)}")

    def content(self, record: Record, sums: Mapping[int, NDArray[np.uint8]] | None = None, statistics: bytes | None = None) -> str:
        """Compute the digest of a product: the sha256 over the checksums of all its files.

        Args:
            record: the product.
            sums: checksums [files, 32] by shard, which replace those of the completion markers.
            statistics: bytes that replace the file of the product's statistics.

        Raises:
            UserError: a marker or the statistics are missing or damaged.
        """
        marker, known = markers(self.manifest, record), sums or {}
        everything = np.empty(marker.shape, np.uint8)
        stored = [shard for shard in range(marker.shape[0]) if shard not in known]
        everything[stored] = self.marked(record, stored)
        for shard, given in known.items():
            everything[shard] = given
        digest = hashlib.sha256(everything.data)
        if products.of(record).statistics:
            digest.update(self._statistics_file(record) if statistics is None else statistics)
        found = digest.hexdigest()
        if record.complete and found == record.content and not known:
            self._proven[record.product] = (found, everything)
        return found

    def statistics(self, record: Record, *, checked: bool = False) -> bytes:
        """Compute the statistics of a product from its shards. Returns the bytes of their file.

        Args:
            record: the product.
            checked: whether to compare each shard with its completion marker.

        Raises:
            UserError: a file is missing or damaged.
        """
        (node,) = self.arrays(record)
        return encode(statistics_array(self.manifest, record), self._moments(node, record if checked else None))

    def _moments(self, node: ArraySpec, record: Record | None) -> NDArray[np.float64]:
        """Compute mean and variance of an embedding over all entries of usable shapes, in the order of rows. [2, E]

        Entries that are all zeros are left out: there an imported product has no embedding."""
        ok = self.ok()
        total, square, count = np.zeros(0), np.zeros(0), 0
        for shard in range(self.manifest.shards):
            rows = self.manifest.rows(shard)
            kept = self.shard_rows(node, shard, record)[ok[rows.start : rows.stop]].reshape(-1, node.shape[-1]).astype(np.float64)
            if not shard:  # only now it is known that the width is not just said
                total, square = np.zeros(node.shape[-1]), np.zeros(node.shape[-1])
            kept = kept[kept.any(axis=1)]
            total += kept.sum(0)
            square += (kept**2).sum(0)
            count += len(kept)
        mean = total / max(count, 1)
        return np.stack([mean, np.maximum(square / max(count, 1) - mean**2, 0)])


def root_json(manifest: Manifest, there: Mapping[str, Record], overlay: below.Overlay | None = None) -> bytes:
    """Return the `zarr.json` of a cache's root.

    It holds the manifest and Zarr's consolidated metadata: copies of the descriptions of all groups and of all arrays of finished
    products. A client can list the cache with one read, and sees no unfinished product. Format 1 has no consolidated metadata.

    Args:
        manifest: the manifest of the cache.
        there: the record of every product that was begun, by name.
        overlay: the description of an overlay, which takes the place of the manifest; None for a cache of its own.
    """
    said = sealed(manifest if overlay is None else overlay)
    if manifest.format_version == 1:
        return node_json(None, said)
    done = {name: record for name, record in there.items() if record.complete}
    below_root = nodes(manifest, done, GROUPS if overlay is None else ())
    return node_json(None, said, summary={place: content for place, (content, _) in below_root.items()})


def nodes(manifest: Manifest, there: Mapping[str, Record], groups: Sequence[str] = GROUPS) -> dict[str, tuple[bytes, str]]:
    """Return the `zarr.json` of every group and array below the root, by its place, with the name of the product that it belongs to.

    Args:
        manifest: the manifest of the cache.
        there: records by name of the product.
        groups: groups that are there even if they are empty.
    """
    found: dict[str, tuple[bytes, str]] = {}
    for product, record in there.items():
        found[f"products/{product}"] = (node_json(markers(manifest, record), sealed(record)), product)
        for node in products.arrays(manifest, record):
            found[node.path] = (node_json(node, {"product": product}), product)
        if record.complete and products.of(record).statistics:
            stats = statistics_array(manifest, record)
            found[stats.path] = (node_json(stats), product)
    above = {parent.as_posix() for name in found for parent in PurePosixPath(name).parents if parent.name}
    for group in sorted({*above, *groups}):
        found.setdefault(group, (node_json(), ""))
    return found


def open_cache(path: str | os.PathLike[str], token: str = "") -> Cache:
    """Open an existing cache.

    Args:
        path: its folder.
        token: what `held_token` returned to the process that holds the cache. A process that writes on its behalf passes it, and is
            refused once another process holds the cache.

    Raises:
        UserError: nothing is there, or it is not a cache, unfinished, damaged, or of a newer format.
    """
    return _open(Path(path), token)


def open_ahead(path: str | os.PathLike[str]) -> Cache:
    """Open a cache to plan what is made in it next. It is that of `open_cache`, but for an overlay whose shared cache has grown.

    Such an overlay is seen with all shapes of its shared cache, and its own products that lack the new ones as unfinished. Nothing can be
    written until `overlay.catch_up` has made it so on disk.

    Raises:
        UserError: see `open_cache`.
    """
    return _open(Path(path), "", ahead=True)


def _open(path: Path, token: str, ahead: bool = False) -> Cache:
    node = path / "zarr.json"
    if not node.is_file():
        if elsewhere := _elsewhere(path):
            raise UserError(elsewhere)
        what = "has no zarr.json: it is no cache, or its build was stopped in the first second" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}. `mmpd-cache build SOURCE {path}` makes one.")
    attributes = attributes_of(node)
    body = attributes.get(KEY)
    if below.is_overlay(attributes):
        return _open_overlay(path, token, ahead)
    if not isinstance(body, dict):
        raise UserError(f"{path} is a Zarr group but no cache of this project (no {KEY!r} in its attributes)")
    if body.get("format_version") not in range(1, spec.FORMAT_VERSION + 1):
        raise UserError(
            f"{path} has format version {body.get('format_version')}, this software reads 1 to {spec.FORMAT_VERSION}; "
            "use the version of mmpd that wrote it, or rebuild it"
        )
    if body["format_version"] > 1 and not (path / "licence").exists() and b"consolidated_metadata" not in read_file(node):
        raise UserError(
            f"{path} was written by a development version, between formats 1 and 2, that no release can read; build it again, or use the "
            "version of mmpd that wrote it"
        )
    cache = Cache(path.resolve(), records.opened(Manifest, attributes, node), token)
    _check_size(cache)
    return cache


def _open_overlay(path: Path, token: str, ahead: bool) -> Cache:
    """Open an overlay and the shared cache below it. If that has grown and the overlay has products about shapes, the new shapes are seen
    only if `ahead` is set.

    Raises:
        UserError: the shared cache is not there or holds other shapes, or products of the overlay do not fit it any more.
    """
    said = below.described(path)
    shared = below.opened(path, said, open_cache)
    own = Records(path.resolve(), shared.cache.manifest, index=False)
    wrong = below.faults(said, shared, own.all()[0], path)
    if wrong:
        raise UserError(f"{path} does not fit its shared cache any more: {'; '.join(wrong)}")
    of_shapes = has_shapes(own)
    if ahead or not of_shapes:
        shared = shared.brought(of_shapes)
    return Cache(path.resolve(), shared.cache.manifest, token, shared)


def has_shapes(own: Records) -> bool:
    """Whether the folder of an overlay has products about shapes, or some whose records cannot be read."""
    there, damaged = own.all()
    return bool(damaged) or any(not products.of(record).labelled for record in there.values())


def _elsewhere(path: Path) -> str:
    """Say what to do with an address or an archive, which is no folder of a cache; empty for anything else."""
    text = os.fspath(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) and not path.exists():  # a Path has one of the slashes of `s3://`
        scheme, _, rest = text.partition(":/")
        return (
            f"{scheme}://{rest.lstrip('/')} is an address, and this command works on a folder. `mmpd-cache pull` brings a cache here; "
            "`mmpd-train` reads one from afar with data.mirror"
        )
    if path.is_file():
        return f"{path} is a file, and a cache is a folder: unpack it if it is an archive, and give the folder NAME.zarr that it becomes"
    return ""


ZSTD_MOST: Final = 1 << 16
"""Most bytes that one byte of zstd data can decode to: a block of 128 KiB takes at least four bytes."""


def _check_size(cache: Cache) -> None:
    """Refuse a manifest that speaks of more shapes than the files can hold, before memory is reserved for each of them.

    Some files may be missing, which `verify` reports, but not most files of every column.
    """
    manifest = cache.manifest
    columns = cache.arrays(index_record(manifest))
    most, held = 0, 0
    for node in columns[1:] + columns[:1]:
        try:
            with os.scandir(cache.folder(node.path) / "c") as entries:
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


def create(
    path: str | os.PathLike[str],
    manifest: Manifest,
    ids: Sequence[str],
    labels: Sequence[int],
    splits: Sequence[int],
    licences: Sequence[int] | None = None,
) -> Cache:
    """Make a new, empty cache. The `zarr.json` of its root is written last, so that an unfinished folder does not count as a cache.

    Args:
        path: a folder that does not exist, is empty, or was left unfinished by an earlier call.
        manifest: the manifest of the cache.
        ids: id of the shape of each row. [N]
        labels, splits, licences: for each row an index into the names of the manifest, -1 for none. [N] each. Without `licences` all are
        -1.

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
        write_index(cache, shard, ids, labels, splits, licences)
    cache.finish(record)
    cache._put("zarr.json", root_json(manifest, cache.records()))
    return cache


def receive(path: str | os.PathLike[str], manifest: Manifest) -> Cache:
    """Begin a cache whose files come from another copy of it, product by product; see `Cache.adopt`. It is a cache once it has its index.

    Args:
        path: a folder that does not exist, is empty, or was left unfinished by an earlier call.
        manifest: the manifest of the other copy.

    Raises:
        UserError: the folder holds something else.
    """
    path = Path(path)
    check_empty(path)
    cache = Cache(path.resolve(), manifest)
    for name in GROUPS:
        cache._put_node(name, node_json())
    index = cache._read_record(products.INDEX.name)
    if index is not None and index.fingerprint != index_record(manifest).fingerprint:  # the other copy has changed since that call
        shutil.rmtree(cache.folder(f"products/{index.product}"))
    elif index is not None and index.complete:  # an earlier call was stopped right before the root; `adopt` writes it with the index
        begun = dataclasses.replace(index, complete=False, content="")
        cache._put(f"products/{index.product}/zarr.json", node_json(markers(manifest, index), sealed(begun)))
    return cache


def check_empty(path: Path) -> None:
    """Refuse a folder without `zarr.json` that holds anything but leftovers of a stopped `create`.

    A cache that lost the `zarr.json` of its root passes: `create` writes that file again, and the rest of the cache stays.

    Raises:
        UserError: the folder holds something else.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; give the path of a folder NAME.zarr")
    ours = {*GROUPS, *products.FIXED[products.INDEX.name], CARD, TABLE}
    if any((path / "products" / name).exists() for name in products.FIXED):
        ours |= {*products.FIXED[products.STATUS.name], *products.KINDS}
    foreign = [p.name for p in path.iterdir() if p.name not in ours] if path.exists() else []
    if foreign:
        raise UserError(f"{path} exists and is no cache (it holds {foreign[0]!r}); give another path")


def write_index(
    cache: Cache, shard: int, ids: Sequence[str], labels: Sequence[int], splits: Sequence[int], licences: Sequence[int] | None = None
) -> None:
    """Write one shard of the index. The arguments are those of `create`."""
    rows = cache.manifest.rows(shard)
    part = slice(rows.start, rows.stop)
    record = index_record(cache.manifest)
    columns: dict[str, NDArray[Any]] = {
        "id": text_cells(ids[part]),
        "label": np.asarray(labels[part], np.int32),
        "split": np.asarray(splits[part], np.int32),
        "licence": np.full(len(rows), -1, np.int32) if licences is None else np.asarray(licences[part], np.int32),
    }
    cache.write(record, shard, {node.path: columns[node.path] for node in cache.arrays(record)})
