"""Repair the files of a damaged cache, and put only proven bytes into it.

A file that is made again is first written beside its place. It replaces the damaged file once a checksum proves that it has the lost
bytes. The proof is the completion marker of its shard. Where markers themselves are damaged, or shards changed places, the proof is the
digest over the whole product, which its record holds. A damaged file never serves as the proof of its own repair.

Remarks about usable shapes are the exception, because another version of the software may word them otherwise: see `Mending.reword`.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, spec, validate
from cache_schema.errors import UserError
from cache_schema.files import read_file, refuse_links, write_file
from cache_schema.layout import digests, encode
from cache_schema.spec import Record
from cache_schema.store import Cache


class Mending(Cache):
    """A cache under repair: `write` puts a shard beside its place, `settle` moves it there once it is proven."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache.path, cache.manifest, below=cache.below)
        self.made: dict[str, dict[int, NDArray[np.uint8]]] = {}
        """Checksums [files, 32] of each shard that was made again, by product and shard."""
        self.refused: set[tuple[str, int]] = set()
        """(product, shard) that came out with other bytes than their completion markers say."""
        self.doubted: set[str] = set()
        """Products whose completion markers cannot be trusted, because the digest over the product contradicts them."""
        self.reworded: dict[str, dict[int, list[bytes]]] = {}
        """Files of each shard that came out as before but for lost remarks about usable shapes, by product and shard."""
        self._beside: dict[str, Path] = {}

    def write(self, record: Record, shard: int, values: Mapping[str, NDArray[Any] | Sequence[Sequence[bytes]]]) -> None:
        """Write one shard of a product beside its place. A shard that its completion marker contradicts is dropped and noted in
        `refused`, or in `reworded` if only remarks differ that are lost. Sound remarks stay as they are."""
        arrays = self.arrays(record)
        files = [encode(node, values[node.path]) for node in arrays]
        sums = digests(files)
        if self._contradicted(record, shard, sums):
            said = self._remarks(record, shard, sums)
            if said >= 0 and (stored := self._sound(record, shard, said)) is not None:
                files[said], sums = stored, self.checksums(record, shard)
            elif said >= 0 and np.all(np.asarray(values["status"]) == spec.OK):  # else the reason of a failure may be among what is lost
                self.reworded.setdefault(record.product, {})[shard] = files
                return
            else:
                self.refused.add((record.product, shard))
                return
        for node, data in zip(arrays, files, strict=True):
            place = self.file(node.key(shard))
            if not place.is_file() or read_file(place) != data:
                beside = place.with_name(f".{place.name}.mending.tmp")
                write_file(beside, data, within=self.path)
                self._beside[node.key(shard)] = beside
        self.made.setdefault(record.product, {})[shard] = sums

    def _contradicted(self, record: Record, shard: int, sums: NDArray[np.uint8]) -> bool:
        """Whether a trusted completion marker says that a shard has other checksums."""
        if record.product in self.doubted:
            return False
        try:
            return not np.array_equal(self.checksums(record, shard), sums)
        except (UserError, OSError):
            return False  # the marker is lost as well; `settle` asks the digest over the product

    def _remarks(self, record: Record, shard: int, sums: NDArray[np.uint8]) -> int:
        """Return the place of `reason` among the arrays of `status`, if all other files of a shard are as its completion marker says; else
        -1."""
        if products.of(record) is not products.STATUS:
            return -1
        place = [node.path for node in self.arrays(record)].index("reason")
        same = (self.checksums(record, shard) == sums).all(axis=1)
        return place if same.sum() == len(same) - 1 and not same[place] else -1

    def _sound(self, record: Record, shard: int, place: int) -> bytes | None:
        """Read a stored file of a shard; None if it is not what its completion marker says."""
        try:
            data = read_file(self.file(self.arrays(record)[place].key(shard)))
        except (UserError, OSError):
            return None
        return data if hashlib.sha256(data).digest() == bytes(self.checksums(record, shard)[place]) else None

    def reword(self, record: Record) -> set[int]:
        """Write the shards in `reworded` of a product, with new completion markers and a new digest of the product. Returns these shards.

        All their other files are proven, and so are the remarks of all other shards: the completion markers must add up to the digest.
        """
        found = self.reworded.pop(record.product, {})
        if not found or not record.complete or not self._adds_up(record, {}):
            return set()
        for shard, files in found.items():
            self.reopen(record, shard)  # until the end, the product is unfinished
            record = self.records()[record.product]
            self.write_files(record, shard, files)
        self.adopt(dataclasses.replace(record, complete=True, content=self.content(record)))
        return set(found)

    def _expected(self, record: Record, shard: int) -> NDArray[np.uint8]:
        made = self.made.get(record.product, {}).get(shard)
        return self.checksums(record, shard) if made is None else made

    def _current(self, key: str) -> bytes:
        return read_file(self._beside[key]) if key in self._beside else self._bytes(key)

    def settle(self, record: Record) -> set[int]:
        """Move the shards of a product that were made again to their places, if they are proven. Returns the shards that were moved."""
        made = self.made.pop(record.product, {})
        right = set(made) if not record.complete or self._adds_up(record, made) else self._believed(record, made)
        marker = products.markers(self.manifest, record)
        for shard, sums in made.items():
            for node in self.arrays(record):
                beside = self._beside.pop(node.key(shard), None)
                if beside is not None and shard in right:
                    self._put_in_place(beside, self.file(node.key(shard)))
                elif beside is not None:
                    refuse_links(beside, self.path)
                    beside.unlink()
            if shard in right:
                self.put_file(marker.key(shard), encode(marker, sums[None]))
        return right

    def _put_in_place(self, beside: Path, place: Path) -> None:
        refuse_links(place, self.path)
        clear(place)
        os.replace(beside, place)

    def put_file(self, key: str, data: bytes) -> None:
        """Write one file, unless it holds these bytes already."""
        place = self.file(key)
        refuse_links(place, self.path)
        clear(place)
        if not place.is_file() or read_file(place) != data:
            self._put(key, data)

    def _adds_up(self, record: Record, made: Mapping[int, NDArray[np.uint8]]) -> bool:
        """Whether the product has the digest of its record once these shards are in place."""
        try:
            statistics = None
            if products.of(record).statistics and validate.statistics_damage(self, products.statistics_array(self.manifest, record)):
                statistics = self.statistics(record)
            return self.content(record, made, statistics) == record.content
        except (UserError, OSError):
            return False

    def _believed(self, record: Record, made: Mapping[int, NDArray[np.uint8]]) -> set[int]:
        """Shards that a completion marker proves, for a product that has more damage than these shards."""
        if record.product in self.doubted:
            return set()
        known = set()
        for shard in made:
            try:
                self.checksums(record, shard)
            except (UserError, OSError):
                continue
            known.add(shard)
        return known

    def mark_again(self, record: Record, shards: Iterable[int]) -> bool:
        """Write lost completion markers for shards whose files are all there, if the digest of the product proves these files."""
        try:
            found = {shard: self._sums_of_files(record, shard) for shard in shards}
        except (UserError, OSError):
            return False
        if not found or not record.complete or not self._adds_up(record, found):
            return False
        marker = products.markers(self.manifest, record)
        for shard, sums in found.items():
            self.put_file(marker.key(shard), encode(marker, sums[None]))
        return True

    def _sums_of_files(self, record: Record, shard: int) -> NDArray[np.uint8]:
        files = [read_file(self.file(node.key(shard))) for node in self.arrays(record)]
        return digests(files)

    def put_statistics(self, record: Record) -> bool:
        """Compute and write the statistics of a product again, if its digest proves them."""
        try:
            made = self.statistics(record)
            right = self.content(record, statistics=made) == record.content
        except (UserError, OSError):
            return False
        if right:
            self.put_file(products.statistics_array(self.manifest, record).key(0), made)
        return right


def clear(place: Path) -> None:
    """Remove an empty folder from the place of a file.

    Raises:
        UserError: the folder is not empty. Its contents belong to somebody, so they stay.
    """
    if place.is_dir() and not place.is_symlink():
        try:
            place.rmdir()
        except OSError as error:
            raise UserError(f"{place} is a folder where a file belongs; move it away, then repair again") from error
