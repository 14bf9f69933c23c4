"""Train on caches that are elsewhere: open them through a mirror, and fetch the files of the next batches while earlier ones are in use.

    caches = open_all(["s3://lab/shapes.zarr"], DataConfig(mirror="mirror", mirror_limit="50GiB"))
    with contextlib.closing(Ahead(data, numbers, share)) as ahead:
        with ahead.held(number):                       # its files are here, and stay
            batch = data.batch(number, share)

Which shapes a batch has is known in advance, so a batch is the same as from a local cache, bit for bit; only its time differs. The files
of a batch are pinned all at once, in the order of batches, so that batches never wait for each other in a circle.

Letters: n entries of an array that a batch reads.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from cache_schema.errors import UserError
from cache_schema.mirror import JOBS, LOOK, Mirror, MirroredCache, bytes_of, opened, shard_bytes, too_small
from cache_schema.remote import is_remote, place_of
from cache_schema.store import Cache, open_cache
from trainer.data import Data
from trainer.part import DataConfig

DEPTH: Final = 8
"""Number of batches whose files may be here before the first of them is made, if the mirror has room for them."""


def open_all(caches: Sequence[Path | str], config: DataConfig) -> list[Cache]:
    """Open the caches of a run: paths as they are, addresses through the run's mirror.

    Raises:
        UserError: a cache cannot be opened, an address has no mirror, or a mirror has no address.
    """
    afar = [str(cache) for cache in caches if is_remote(str(cache))]
    if afar and not config.mirror:
        raise UserError(f"{afar[0]} is elsewhere, and training reads local files: name a folder for them by --set data.mirror=DIR")
    if config.mirror and not afar:
        raise UserError("data.mirror would have no effect: all caches are local. Leave it out")
    for address in afar:
        place_of(address)  # which refuses what cannot be read, before the folder of the mirror is made
    mirror = Mirror(Path(config.mirror), bytes_of(config.mirror_limit, "data.mirror_limit")) if afar else None
    return [opened(str(cache), mirror) if mirror and is_remote(str(cache)) else open_cache(cache) for cache in caches]


class Ahead:
    """Fetches the files of batches before these are made. It does nothing if batches read no files of a cache elsewhere."""

    def __init__(self, data: Data, numbers: range, share: slice) -> None:
        """
        Args:
            data: the data set.
            numbers: numbers of the batches, in the order in which they are made.
            share: the rows of each batch that this process makes.

        Raises:
            UserError: the mirror is too small for a batch.
        """
        self.data, self.share = data, share
        mirrored = [part.cache for part, _ in data.opened() if isinstance(part.cache, MirroredCache)]
        self.mirror: Mirror | None = mirrored[0].mirror if mirrored else None
        self._pinned: dict[int, list[str]] = {}
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._closed = False
        self._noted = 0.0
        if self.mirror is None:
            return
        least, most = _sizes(data)
        if least > self.mirror.limit:
            raise too_small(self.mirror.limit, least)
        self._roomy = most <= self.mirror.limit
        self._first, self._todo = numbers.start, numbers
        self._made: set[int] = set()
        self._thread = threading.Thread(target=self._work, name="fetching", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def held(self, number: int) -> Iterator[None]:
        """Wait until the files of a batch are here, and keep them while the batch is made.

        Raises:
            UserError: a file cannot be fetched.
        """
        if self.mirror is None:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: number in self._pinned or self._error or self._closed)
            if number not in self._pinned:
                raise self._error or RuntimeError("closed")
        try:
            yield
        finally:
            with self._changed:
                pinned = self._pinned.pop(number, [])
                self._made.add(number)
                while self._first in self._made:
                    self._made.remove(self._first)
                    self._first += 1
                self._changed.notify_all()
            self.mirror.unpin(pinned)

    def close(self) -> None:
        """Stop fetching, and release all files."""
        if self.mirror is None:
            return
        with self._changed:
            self._closed = True
            pinned = [sha for files in self._pinned.values() for sha in files]
            self._pinned.clear()
            self._changed.notify_all()
        self.mirror.unpin(pinned)

    def _work(self) -> None:
        assert self.mirror is not None
        try:
            with ThreadPoolExecutor(JOBS, "fetch") as pool:
                for number in self._todo:
                    with self._changed:
                        self._changed.wait_for(lambda number=number: number < self._first + DEPTH or self._closed)  # type: ignore[misc]
                        if self._closed:
                            return
                    files = self._files(number)
                    self.mirror.pin({sha: size for sha, (_, _, size) in files.items()})
                    try:
                        wanted = [pool.submit(self.mirror.bring, sha, cache.place, key, size) for sha, (cache, key, size) in files.items()]
                        for future in wanted:
                            future.result()
                    except BaseException:
                        self.mirror.unpin(files)
                        raise
                    self._arrived(number, list(files))
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _arrived(self, number: int, files: list[str]) -> None:
        assert self.mirror is not None
        with self._changed:
            if not self._closed:
                self._pinned[number] = files
                self._changed.notify_all()
                return
        self.mirror.unpin(files)

    def _files(self, number: int) -> dict[str, tuple[MirroredCache, str, int]]:
        """The files that a batch reads and that may not be here: (cache, place in it, bytes) by sha256."""
        assert self.mirror is not None
        noting = time.monotonic() - self._noted > LOOK
        found: dict[str, tuple[MirroredCache, str, int]] = {}
        for part, rows, wanted in self.data.reads(number, self.share):
            if not isinstance(part.cache, MirroredCache) or not len(wanted):
                continue
            shards = np.unique(wanted // rows.node.shard)
            # In a mirror with room for everything, what is mapped stays readable, and asking for nothing keeps steps as fast as local ones.
            idle = self._roomy and rows.mapped(shards)
            if idle and not noting:
                continue
            files = part.cache.files(rows, shards)
            if idle:
                self.mirror.use(files)
            else:
                found |= {sha: (part.cache, key, size) for sha, (key, size) in files.items()}
        if noting:
            self._noted = time.monotonic()
            self.mirror.look()
        return found


def _sizes(data: Data) -> tuple[int, int]:
    """Bytes of the files that one batch may need at once, and of all files that batches read from caches elsewhere."""
    least = most = 0
    for part, rows in data.opened():
        if isinstance(part.cache, MirroredCache):
            shards = np.unique(part.rows // rows.node.shard).tolist()
            sizes = sorted((shard_bytes(rows.node, shard) for shard in shards), reverse=True)
            least += sum(sizes[: data.size + data.config.negatives])
            most += sum(sizes)
    return least, most
