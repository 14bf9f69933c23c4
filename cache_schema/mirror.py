"""Read a cache from afar as if it were here: files come to a local folder, the mirror, when they are needed, and are mapped from there.

    cache = opened("s3://lab/shapes.zarr", Path("mirror"), limit=50 << 30)
    xyz = cache.rows("points/xyz")                     # like any cache's; files come as they are read

A mirror is a store of files by their sha256, so that several caches, and several states of one cache, share it. Every file is compared
with its completion marker on arrival, and once more when a process first uses one that was there before. Where files together exceed the
limit, those that were used longest ago are deleted. Several processes may use one mirror: a file is fetched
once, is renamed into its place when it is whole, and a ledger (SQLite) says how large each one is and when it was used.

    mirror/files/ab/abcdef...         a file of data, by its sha256
    mirror/caches/<digest>/NAME.zarr  descriptions and completion markers of a cache, which are small and stay
    mirror/ledger.sqlite, mirror/locks

A mapped file that is deleted keeps its space until it is unmapped. So a process drops its mappings of what it deletes, and looks once in
a while whether another process has deleted files.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, spec, store
from cache_schema.errors import UserError
from cache_schema.files import made_in, open_regular, refuse_links, write_file
from cache_schema.layout import ArraySpec
from cache_schema.products import markers, statistics_array
from cache_schema.remote import ROOT, Described, Place, described_at, file_most, place_of
from cache_schema.rows import Rows
from cache_schema.spec import Record
from cache_schema.store import Cache

JOBS: Final = 8
"""Number of files that are fetched at once."""
LOOK: Final = 2.0
"""Seconds between two looks at what other processes have deleted. Times of use are noted as often."""
ABANDONED: Final = 3600.0
"""Seconds after which an unfinished file was left behind by a process that was killed."""
UNITS: Final = {
    "": 1,
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
"""Bytes of each unit of a size."""


def bytes_of(text: str, name: str) -> int:
    """Read a size such as `50GiB` or `1.5 TB`.

    Args:
        text: the size.
        name: the setting that holds it, for messages.

    Raises:
        UserError: it is no size above 0.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    units = {unit.lower(): size for unit, size in UNITS.items()}
    size = round(float(found[1]) * units[found[2].lower()]) if found and found[2].lower() in units else 0
    if not 0 < size < 2**62:
        raise UserError(f"{name} must be a size such as 50GiB (KiB, MiB, GiB, TiB, KB, MB, GB, TB), got {text!r}")
    return size


def size_text(size: int) -> str:
    """Write a size so that `bytes_of` reads at least as much."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= 10 * UNITS[unit]:
            return f"{-(-size // UNITS[unit])}{unit}"
    return f"{size}B"


class Mirror:
    """A local folder of files by their sha256, of bounded size. Methods may be called from several threads."""

    def __init__(self, folder: Path, limit: int) -> None:
        """
        Args:
            folder: the mirror, which is made if it is not there.
            limit: largest size in bytes of all files of data together.

        Raises:
            UserError: the folder holds something else.
        """
        self.folder, self.limit = folder.absolute(), limit
        self.fetched = 0
        """Bytes that this process has fetched."""
        if self.folder.is_dir() and not (self.folder / "files").is_dir() and any(self.folder.iterdir()):
            raise UserError(f"{folder} holds something else than a mirror: give an empty or a new folder")
        for name in ("files", "caches", "locks", "ledger.sqlite"):
            if (self.folder / name).is_symlink():
                raise UserError(
                    f"{self.folder / name} is a symbolic link, where a mirror keeps its files: remove it, or give another folder"
                )
        with made_in(self.folder.parent, self.folder):
            for name in ("files", "caches", "locks"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._pins: dict[str, tuple[int, int]] = {}  # how often, bytes
        self._free = threading.Condition()
        self._known: set[str] = set()  # compared by this process
        self._used: dict[str, float] = {}
        self._caches: weakref.WeakSet[MirroredCache] = weakref.WeakSet()
        self._looked = time.monotonic()
        self._settle()
        self._seen = self._evictions()

    # ---- the ledger

    @contextlib.contextmanager
    def _ledger(self) -> Iterator[sqlite3.Connection]:
        """Open the ledger for one change, which other processes see whole or not at all."""
        with contextlib.closing(sqlite3.connect(self.folder / "ledger.sqlite", timeout=120, isolation_level=None)) as ledger:
            # Without waiting for the disk: after a power cut the ledger is made again from the files.
            ledger.execute("PRAGMA synchronous=OFF")
            ledger.execute("BEGIN IMMEDIATE")
            try:
                yield ledger
                ledger.execute("COMMIT")
            except BaseException:
                ledger.execute("ROLLBACK")
                raise

    def _settle(self) -> None:
        """Bring the ledger in line with the files, which a killed process may have left otherwise."""
        try:
            self._compare()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise UserError(f"{self.folder}: its ledger cannot be opened ({error}); a mirror lies on a local disk") from error
            (self.folder / "ledger.sqlite").unlink(missing_ok=True)  # damaged: it only repeats what the files say
            self._compare()

    def _compare(self) -> None:
        with self._ledger() as ledger:
            ledger.execute("CREATE TABLE IF NOT EXISTS files (sha TEXT PRIMARY KEY, bytes INTEGER NOT NULL, used REAL NOT NULL)")
            ledger.execute("CREATE TABLE IF NOT EXISTS evictions (count INTEGER NOT NULL)")
            if ledger.execute("SELECT count(*) FROM evictions").fetchone()[0] == 0:
                ledger.execute("INSERT INTO evictions VALUES (0)")
            there = {}
            for path in (self.folder / "files").glob("??/*"):
                with contextlib.suppress(FileNotFoundError):  # another process may move or delete it just now
                    if not path.name.endswith(".tmp"):
                        there[path.name] = path.stat()
                    elif time.time() - path.stat().st_mtime > ABANDONED:
                        path.unlink()
            listed = {sha for (sha,) in ledger.execute("SELECT sha FROM files")}
            ledger.executemany("DELETE FROM files WHERE sha = ?", [(sha,) for sha in listed - set(there)])
            new = [(sha, there[sha].st_size, there[sha].st_mtime) for sha in set(there) - listed]
            ledger.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", new)

    def _evictions(self) -> int:
        with self._ledger() as ledger:
            return int(ledger.execute("SELECT count FROM evictions").fetchone()[0])

    def size(self) -> int:
        """Return the size in bytes of all files of data."""
        with self._ledger() as ledger:
            return int(ledger.execute("SELECT coalesce(sum(bytes), 0) FROM files").fetchone()[0])

    # ---- files

    def path(self, sha: str) -> Path:
        """Return the place of a file of data, here or to come."""
        return self.folder / "files" / sha[:2] / sha

    def pin(self, wanted: Mapping[str, int]) -> None:
        """Keep files from being deleted by this process until `unpin`. Waits until they and all pinned files fit into the limit together.

        Args:
            wanted: size in bytes of each file, by sha256.

        Raises:
            UserError: they alone exceed the limit.
        """
        if sum(wanted.values()) > self.limit:
            raise too_small(self.limit, sum(wanted.values()))
        with self._free:
            while True:
                new = sum(size for sha, size in wanted.items() if sha not in self._pins)
                if sum(size for _, size in self._pins.values()) + new <= self.limit:
                    break
                self._free.wait()
            for sha, size in wanted.items():
                self._pins[sha] = (self._pins.get(sha, (0, size))[0] + 1, size)

    def unpin(self, wanted: Iterable[str]) -> None:
        """Release files that were pinned."""
        with self._free:
            for sha in wanted:
                count, size = self._pins.pop(sha)
                if count > 1:
                    self._pins[sha] = (count - 1, size)
            self._free.notify_all()

    def bring(self, sha: str, place: Place, key: str, most: int) -> Path:
        """Return a file of data, and fetch it first if it is not here.

        Args:
            sha: its sha256.
            place: where its cache is.
            key: its place in the cache.
            most: largest size in bytes that it may have.

        Raises:
            UserError: it is not there, or has other bytes, the connection is lost, or the limit is too small.
        """
        path, file = self.open(sha, place, key, most)
        os.close(file)
        return path

    def open(self, sha: str, place: Place, key: str, most: int) -> tuple[Path, int]:
        """Open a file of data for reading, and fetch it first if it is not here. Returns its path and descriptor, which the caller closes.

        No process can delete the file before it is open: it is opened before it comes to its place, or it is there and open, and its bytes
        stay until it is closed. So this comes to an end however fast others delete files. See `bring` for arguments and errors.
        """
        path = self.path(sha)
        self._used[sha] = time.time()
        if sha in self._known:
            with contextlib.suppress(FileNotFoundError):
                return path, open_regular(path)
        gone: list[str] = []
        with self._alone(sha):
            file = self._whole(path, sha)
            if file is None:
                data = place.read(key, most)
                if hashlib.sha256(data).hexdigest() != sha:
                    raise UserError(
                        f"{place.address(key)} does not match the checksum in its completion marker: it is damaged there. Push that cache "
                        "again from where it is whole, and run the same command again"
                    )
                self.fetched += len(data)
                file, gone = self._keep(path, sha, data)
            self._known.add(sha)
        try:
            # Only now, because dropping waits for threads that map files, and these may wait to fetch one.
            self._drop(gone)
            self.look()
        except BaseException:
            os.close(file)
            raise
        return path, file

    def _whole(self, path: Path, sha: str) -> int | None:
        """Open a file that is here with the right bytes, else return None. A damaged one is deleted."""
        try:
            file = open_regular(path)
        except FileNotFoundError:
            return None
        try:
            with open(file, "rb", closefd=False) as stream:
                right = hashlib.file_digest(stream, "sha256").hexdigest() == sha
        except BaseException:
            os.close(file)
            raise
        if right:
            os.lseek(file, 0, os.SEEK_SET)  # who reads it begins at its beginning
            return file
        os.close(file)
        path.unlink(missing_ok=True)
        return None

    @contextlib.contextmanager
    def _alone(self, sha: str) -> Iterator[None]:
        """Let no other thread or process fetch the same file at the same time."""
        with open(self.folder / "locks" / sha[:2], "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _keep(self, path: Path, sha: str, data: bytes) -> tuple[int, list[str]]:
        """Make room for a file, and put it into its place. Returns its descriptor for reading, and the files that were deleted."""
        temporary = path.with_name(f".{sha}.{os.getpid()}.{threading.get_ident()}.tmp")
        path.parent.mkdir(exist_ok=True)
        try:
            refuse_links(path, self.folder)
            # Not synced: the next process that uses it compares it again. O_EXCL: no link under this name is followed.
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:
                file.write(data)
            opened = open_regular(temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        try:
            with self._ledger() as ledger:
                gone = self._make_room(ledger, sha, len(data))
                # Within the change of the ledger, so that no other process deletes what is listed and not here yet.
                os.replace(temporary, path)
        except BaseException:
            os.close(opened)
            temporary.unlink(missing_ok=True)
            raise
        return opened, gone

    def _make_room(self, ledger: sqlite3.Connection, sha: str, size: int) -> list[str]:
        """Delete files until another one fits in, and list that one. Returns the files that were deleted."""
        self._note(ledger)
        gone: list[str] = []
        total = size + int(ledger.execute("SELECT coalesce(sum(bytes), 0) FROM files WHERE sha != ?", (sha,)).fetchone()[0])
        if total > self.limit:
            with self._free:
                pinned = {sha, *self._pins}
            for victim, held in ledger.execute("SELECT sha, bytes FROM files ORDER BY used").fetchall():
                if total > self.limit and victim not in pinned:
                    gone.append(victim)
                    total -= held
            if total > self.limit:
                raise too_small(self.limit, total)
            for victim in gone:
                self.path(victim).unlink(missing_ok=True)
            ledger.executemany("DELETE FROM files WHERE sha = ?", [(victim,) for victim in gone])
            ledger.execute("UPDATE evictions SET count = count + 1")
        ledger.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (sha, size, time.time()))
        return gone

    def _drop(self, gone: list[str]) -> None:
        """Forget files that were deleted."""
        self._known.difference_update(gone)
        for cache in list(self._caches) if gone else ():
            cache.drop(gone)

    def _note(self, ledger: sqlite3.Connection) -> None:
        """Write down when this process used which files."""
        used, self._used = self._used, {}
        ledger.executemany("UPDATE files SET used = max(used, ?) WHERE sha = ?", [(when, sha) for sha, when in list(used.items())])

    def use(self, shas: Iterable[str]) -> None:
        """Note that files are in use."""
        self._used.update(dict.fromkeys(shas, time.time()))

    def look(self) -> None:
        """Drop mappings of files that another process has deleted, and note times of use; once in a while."""
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        with self._ledger() as ledger:
            self._note(ledger)
            count = int(ledger.execute("SELECT count FROM evictions").fetchone()[0])
        if count != self._seen:
            self._seen = count
            self._drop([sha for sha in list(self._known) if not self.path(sha).exists()])


def too_small(limit: int, least: int) -> UserError:
    """Return the error for a limit that is too small."""
    return UserError(
        f"a mirror of {size_text(limit)} is too small: {size_text(least)} are needed at one time. Raise the limit: "
        f"data.mirror_limit={size_text(least)} is the least that works"
    )


class MirroredCache(Cache):
    """A cache elsewhere, of which files come to a mirror when they are needed. It is read only."""

    def __init__(self, path: Path, described: Described, place: Place, mirror: Mirror, jobs: int = JOBS) -> None:
        """
        Args:
            path: the folder in the mirror for its descriptions and completion markers.
            described: what its root says.
            place: where it is.
            mirror: holds its files.
            jobs: number of files that are fetched at once.
        """
        super().__init__(path, described.manifest)
        self.place, self.mirror, self.jobs = place, mirror, jobs
        self._records = described.records
        self._owners = {
            node.path: (record, i, node)
            for record in described.records.values()
            for i, node in enumerate(products.arrays(described.manifest, record))
        }
        self._sums: dict[str, list[str]] = {}  # sha256 of each shard of the arrays that are mapped, by path
        self._shards: dict[str, tuple[str, int]] = {}  # array and shard of each of these files
        self._mapped: dict[str, weakref.WeakSet[Rows]] = {}
        mirror._caches.add(self)

    @property
    def address(self) -> str:
        return self.place.url

    def file(self, key: str) -> Path:
        """Return where a file lies in the mirror. It comes first if it is not there.

        Raises:
            UserError: it cannot be fetched.
        """
        array, _, chunk = key.partition("/c/")
        if not chunk:
            return self.path / key
        if array not in self._owners:
            return self._small(key, array)
        return self.mirror.bring(*self._data(key))

    def open_file(self, key: str) -> tuple[Path, int]:
        array, _, chunk = key.partition("/c/")
        if chunk and array in self._owners:
            return self.mirror.open(*self._data(key))
        return super().open_file(key)

    def _bytes(self, key: str) -> bytes:
        """Read a file of data from its open descriptor, because another process may delete it from the mirror at any time."""
        _, file = self.open_file(key)
        with open(file, "rb") as stream:
            return stream.read()

    def _data(self, key: str) -> tuple[str, Place, str, int]:
        """What `Mirror.bring` needs for a file of data."""
        array, _, chunk = key.partition("/c/")
        shard = int(chunk.partition("/")[0])
        record, i, node = self._owners[array]
        sha = self._sums[array][shard] if array in self._sums else self.checksums(record, shard)[i].tobytes().hex()
        return sha, self.place, key, file_most(self.manifest, node, shard)

    def fetch(self, keys: Sequence[str]) -> None:
        with ThreadPoolExecutor(self.jobs, "transfer") as pool:
            list(pool.map(self.file, keys))

    def again(self) -> Cache:
        """Return this cache: all that is read of it has the digests that its root had when it was opened, whatever is there now."""
        return self

    def _small(self, key: str, array: str) -> Path:
        """Fetch a completion marker or statistics, which stay. Their own checksums and the digest of their product prove them."""
        path = self.path / key
        if not path.exists():
            name = array.partition("/")[2]
            record = next((r for r in self._records.values() if name in (r.product, *(n.path for n in self.arrays(r)))), None)
            if record is None:
                return path
            node = markers(self.manifest, record) if array.startswith("products/") else statistics_array(self.manifest, record)
            write_file(path, self.place.read(key, (1 if array.startswith("products/") else 2) * node.row_bytes + 4))
        return path

    def content(self, record: Record, sums: Mapping[int, NDArray[np.uint8]] | None = None, statistics: bytes | None = None) -> str:
        marker = markers(self.manifest, record)
        for start in range(0, marker.shape[0], 1024):
            keys = [marker.key(shard) for shard in range(start, min(start + 1024, marker.shape[0]))]
            if gone := [key for key in keys if not (self.path / key).exists()]:
                self.fetch(gone)
        return super().content(record, sums, statistics)

    def proven(self, product: str) -> Record:
        record = self.record(product)
        if self.content(record) != record.content:
            raise UserError(
                f"{self.place.url}: the completion markers of {product} do not add up to the digest in its record: they were changed, or a "
                f"push is at work there. Delete {self.path} and try again, or push that cache again"
            )
        return record

    def array(self, path: str) -> Any:
        raise UserError(
            f"{self.place.url}: {path} is read as a whole Zarr array; pull the cache first: mmpd-cache pull {self.place.url} CACHE"
        )

    def _near(self, path: str) -> str:
        return ""

    def rows(self, path: str, verify: Literal["off", "first_use"] = "off") -> Rows:
        """Map an array; see `Cache.rows`. The mirror compares its files, whatever `verify` says."""
        rows = super().rows(path, "off")
        record, i, node = self._owners[path]
        if path not in self._sums:
            self.content(record)
            self._sums[path] = [sums[i].tobytes().hex() for sums in self.marked(record, range(node.shards))]
            self._shards |= {sha: (path, shard) for shard, sha in enumerate(self._sums[path])}
        self._mapped.setdefault(path, weakref.WeakSet()).add(rows)
        return rows

    def drop(self, gone: Iterable[str]) -> None:
        """Drop the mappings of files that were deleted, so that their space becomes free."""
        shards: dict[str, list[int]] = {}
        for sha in gone:
            if sha in self._shards:
                array, shard = self._shards[sha]
                shards.setdefault(array, []).append(shard)
        for array, those in shards.items():
            for rows in list(self._mapped.get(array, ())):
                rows.drop(those)

    def files(self, rows: Rows, shards: NDArray[np.int64]) -> dict[str, tuple[str, int]]:
        """List files of an array that `rows` has mapped: (place in the cache, bytes) by sha256."""
        node, sums = rows.node, self._sums[rows.node.path]
        return {sums[shard]: (node.key(shard), shard_bytes(node, shard)) for shard in shards.tolist()}


def shard_bytes(node: ArraySpec, shard: int) -> int:
    """Return the size in bytes of the file of one shard of an uncompressed array."""
    chunks = 1
    for length in node.grid:
        chunks *= length
    return node.rows(shard) * node.row_bytes + 16 * chunks + 4


def opened(url: str, mirror: Mirror) -> MirroredCache:
    """Open a cache elsewhere for reading. Only its root and its index are read at once.

    Raises:
        UserError: there is no cache, it is damaged, or the connection is lost.
    """
    place = place_of(url)
    return opened_at(place, described_at(place), mirror)


def opened_at(place: Place, found: Described, mirror: Mirror, jobs: int = JOBS) -> MirroredCache:
    """Open a cache elsewhere for reading. Only its index is read at once.

    Args:
        place: where it is.
        found: what its root says.
        mirror: holds its files.
        jobs: number of files that are fetched at once.

    Raises:
        UserError: the cache is damaged, or the connection is lost.
    """
    contents = [place.url, spec.fingerprint(found.manifest), *(record.content for record in found.records.values())]
    digest = hashlib.sha256(spec.canonical(contents)).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9._-]", "-", place.url.rstrip("/").rpartition("/")[2]).lstrip(".") or "cache"
    path = mirror.folder / "caches" / digest / name
    if not (path / ROOT).is_file():
        for at, (content, _) in store.nodes(found.manifest, found.records).items():
            write_file(path / at / ROOT, content)
        write_file(path / ROOT, store.root_json(found.manifest, found.records))
    cache = MirroredCache(path, found, place, mirror, jobs)
    cache.proven(products.INDEX.name)
    _check_size(cache)
    return cache


def _check_size(cache: MirroredCache) -> None:
    """Refuse a manifest that speaks of larger shards than the files can hold, before memory is reserved for them."""
    m = cache.manifest
    sizes = [len(cache._bytes(node.key(0))) // node.row_bytes for node in cache.arrays(cache.record(products.INDEX.name))]
    if m.shard > max(sizes) * store.ZSTD_MOST + store.ZSTD_MOST:
        raise UserError(f"{cache.place.address(ROOT)} speaks of shards of {m.shard} shapes, but its files hold fewer: it is damaged")
