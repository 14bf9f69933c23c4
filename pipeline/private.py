"""Find what is nobody else's business in a cache that is given away, and take it out: places on this machine, names of its user and itself.

    outgoing = Outgoing(cache)
    outgoing.records["image/mine"].spec.model          # './my-siglip', never '/home/jane/my-siglip'
    outgoing.files(record, shard)                      # the files of a shard as they go out

Labels in records, and the reasons of failed shapes, may be changed: nothing depends on them. What decides a fingerprint may not, so a place
of this machine in it is refused. The cache itself stays unchanged.
"""

import dataclasses
import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.files import read_file
from cache_schema.layout import check_bytes, digests, encode, text_cells, texts
from cache_schema.local import Cleaner, own_names
from cache_schema.products import statistics_array
from cache_schema.spec import Manifest, Record, short
from cache_schema.store import Cache
from pipeline.journal import Build, Loading, journal_of


def own_places(cache: Cache) -> tuple[str, ...]:
    """List places of this machine that texts of a cache may name, longest first: the cache, and sources and models of its journal."""
    found = {str(path) for path in cache.paths}
    for event in journal_of(cache).events:
        if isinstance(event, Loading):
            found |= {str(Path(place).expanduser().absolute()) for place in event.models.values()}
        if isinstance(event, Build) and event.source:
            place = Path(event.source.removeprefix("scan:")).expanduser().absolute()
            found |= {str(place), str(place.resolve()), *([str(place.parent)] if place.suffix else [])}  # a list lies beside its shapes
    return tuple(sorted((place for place in found if place.count("/") >= 1 and len(place) > 1), key=len, reverse=True))


def check(cache: Cache, names: Collection[str], manifest: Manifest, rows: NDArray[np.int64]) -> None:
    """Refuse what cannot go out, before some shapes of a cache are copied to give the copy away.

    Args:
        cache: the cache.
        names: the complete products that go out.
        manifest: that of the copy.
        rows: the shapes that go out. [rows]

    Raises:
        UserError: something local cannot be left out.
    """
    cleaner = Cleaner(own_places(cache), own_names())
    cleaner.description(manifest, f"{cache.address}: the manifest")
    _check_ids(cleaner, cache, rows, cache.address)
    for name in names:
        cleaner.description(cache.proven(name), f"{cache.address}: the record of {name}")


def _check_ids(cleaner: Cleaner, cache: Cache, rows: NDArray[np.int64], where: str) -> None:
    ids = cache.ids()
    for row in rows.tolist():
        if place := cleaner.local(str(ids[row])):
            raise UserError(
                f"{where}: the id of row {row} holds a place of this machine ({short(place)}), and nothing local goes out. Name shapes by "
                "paths relative to a folder, and build the cache anew"
            )


class Outgoing:
    """A cache as it goes out: complete products, without anything local."""

    def __init__(self, cache: Cache, names: Collection[str] = (), where: str = "") -> None:
        """
        Args:
            cache: the cache, which stays unchanged.
            names: the complete products that go out; all if empty.
            where: the name of the cache in messages; its address if empty.

        Raises:
            UserError: something local cannot be left out, or a product was changed since it was finished.
        """
        self.cache = cache
        self.cleaner = Cleaner(own_places(cache), own_names())
        self._rewritten: dict[tuple[str, int], list[bytes]] = {}
        self._where = where or cache.address
        self.manifest: Manifest = self.cleaner.description(cache.manifest, f"{self._where}: the manifest")
        _check_ids(self.cleaner, cache, np.arange(len(cache.ids())), self._where)
        complete = products.in_order(record for record in cache.products().values() if not names or record.product in names)
        self.records = {record.product: self._cleaned_record(cache.proven(record.product)) for record in complete}

    def _cleaned_record(self, record: Record) -> Record:
        made = self.cleaner.description(record, f"{self._where}: the record of {record.product}")
        assert made.fingerprint == record.fingerprint, record.product
        # No reader of what goes out has opened this cache before it grew.
        made = dataclasses.replace(made, before=())
        if record.product != products.STATUS.name or not self._rewrite_reasons(record):
            return made
        digest = hashlib.sha256()
        for shard in range(self.shards(record)):
            digest.update(self.sums(record, shard).tobytes())
        return dataclasses.replace(made, content=digest.hexdigest())

    def _rewrite_reasons(self, record: Record) -> bool:
        """Encode the shards of the status again whose reasons name places. Returns whether there are any."""
        nodes = self.cache.arrays(record)
        place = [node.path for node in nodes].index("reason")
        for shard, cells in self.cache.column_shards("reason"):
            said = [str(text) for text in texts(cells)]
            clean = [self.cleaner.cleaned(text) for text in said]
            if clean != said:
                files = [read_file(self.cache.file(node.key(shard))) for node in nodes]
                files[place] = encode(nodes[place], text_cells(clean))
                self._rewritten[record.product, shard] = files
        return bool(self._rewritten)

    def shards(self, record: Record) -> int:
        """Number of shards of a product."""
        return self.cache.arrays(record)[0].shards

    def sums(self, record: Record, shard: int) -> NDArray[np.uint8]:
        """Return the checksums of the files of a shard as they go out. [files, 32]"""
        made = self._rewritten.get((record.product, shard))
        return self.cache.checksums(record, shard) if made is None else digests(made)

    def files(self, record: Record, shard: int) -> Iterator[tuple[str, bytes]]:
        """Yield (place, bytes) of each file of a shard as it goes out, compared with its completion marker.

        Raises:
            UserError: a file is missing or damaged.
        """
        made = self._rewritten.get((record.product, shard))
        sums = self.sums(record, shard)
        for i, node in enumerate(self.cache.arrays(record)):
            data = read_file(self.cache.file(node.key(shard))) if made is None else made[i]
            check_bytes(data, sums[i].tobytes(), self.cache.file(node.key(shard)))
            yield node.key(shard), data

    def statistics(self, record: Record) -> tuple[str, bytes] | None:
        """Return (place, bytes) of the statistics of a product, if it has any."""
        if not products.of(record).statistics:
            return None
        node = statistics_array(self.manifest, record)
        return node.key(0), read_file(self.cache.file(node.key(0)))
