"""The fast reader: it maps all shard files of an uncompressed array into memory as one NumPy array.

Three things can go wrong with a mapped file. Each raises an error that names the file:

- The file has another layout, or was cut short before. This is found when its shard is mapped.
- The file has other bytes than were written. With `sums`, a thread compares each shard with its checksum after it is mapped. The next
  read raises.
- The file is cut short, or its disk fails, while it is mapped. Linux then sends SIGBUS, which would end the process without a message.
  A handler maps zeros into the place of the shard, so that the running copy ends, and the read raises.
"""

import contextlib
import ctypes
import functools
import hashlib
import itertools
import math
import mmap
import os
import queue
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.files import MENDS, MissingFile, is_held, open_regular
from cache_schema.layout import NO_CHUNK, ArraySpec, index_bytes, read_index

# ------------------------------------------------------------------------------------------------------- maps of files

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_MAP_FIXED, _PROT_NONE = 0x10, 0
_NOTHING: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
_ADDRESSES: Final = 1 << 46
"""Size of the largest address space that a process can have, in bytes."""


class Region:
    """A range of addresses with a place for every shard file of an array. A file is mapped into its place when it is first needed.

    One range makes the whole array one NumPy array, so that a batch is one `take` across shards. It calls the `mmap` of the C library,
    because Python's own keeps an open file for each mapping.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.address = _checked(_libc.mmap(None, size, _PROT_NONE, _NOTHING, -1, 0), "address space for a cache array")
        weakref.finalize(self, _forget, self.address, size)

    def place(self, offset: int, file: int, size: int, path: Path | str) -> None:
        """Map an open file, read-only, at `offset` (a multiple of the page size). What lies behind its end must not be read."""
        _checked(_libc.mmap(self.address + offset, size, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, file, 0), str(path))

    def blank(self, offset: int, size: int) -> None:
        """Put zeros in the place of a file."""
        _checked(_libc.mmap(self.address + offset, size, mmap.PROT_READ, _NOTHING | _MAP_FIXED, -1, 0), "nothing")

    def release(self) -> None:
        """Give pages back to the system. They stay in its page cache, and return at the next access."""
        _libc.madvise(self.address, self.size, 4)  # MADV_DONTNEED

    def array(self, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the range as an array. It must not outlive the region, and only mapped parts may be read."""
        buffer = (ctypes.c_char * self.size).from_address(self.address)
        return np.frombuffer(memoryview(buffer), dtype, math.prod(shape)).reshape(shape)


def _forget(address: int, size: int) -> None:
    _readers.pop(address, None)
    _libc.munmap(address, size)


def _checked(address: int | None, what: str) -> int:
    if address is None or address == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot map {what}: {os.strerror(code)}")
    return address


def _most_maps() -> int:
    """Return how many shards a process may map. At least half of the mappings that Linux allows are left to other code."""
    try:
        allowed = int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        allowed = 65536
    return max(allowed // 4, 1024)  # a mapped shard may be two mappings for Linux: itself, and the hole to the next one


# ---------------------------------------------------------------------------------------------------------- the reader


class Rows:
    """Memory-mapped rows of one uncompressed array. Safe to use from several threads, and after a fork.

    Memory and mappings stay bounded. After `RELEASE` bytes the pages are given back to the system. When all arrays of the process together
    have `MAPS` shards mapped, the array that was opened longest ago drops its mappings.
    """

    RELEASE: Final = 1 << 30
    """Bytes that may be read before pages are given back."""
    MAPS: Final = _most_maps()
    """Number of shards that all arrays of a process together may have mapped."""

    def __init__(
        self,
        file: Callable[[str], Path],
        node: ArraySpec,
        sums: Callable[[int], bytes] | None = None,
        open_file: Callable[[str], tuple[Path, int]] | None = None,
        folder: str = "",
    ) -> None:
        """
        Args:
            file: returns where a file lies, by its place in the cache: `Cache.file`.
            node: the array.
            sums: returns the sha256 that the file of a shard must have. Each shard that is read is compared with it once, in the
                background.
            open_file: opens a file, by its place in the cache: `Cache.open_file`; None to open what `file` returns.
            folder: the folder of the array, if all its files are on this machine; empty if `open_file` may have to fetch them.

        Raises:
            UserError: the array is compressed, or its description is impossible.
        """
        if node.codec != "raw" or not node.sharded:
            raise UserError(f"{node.path} is compressed; read it through zarr (Cache.array)")
        self.node = node
        self._file = file
        self._open_file = open_file or self._open_here
        self._chunks, self._zeros = f"{folder}/c/" if folder else "", "/0" * (len(node.shape) - 1)
        self._sums = sums
        self._item = node.row_bytes // node.shape[1]  # bytes of one (row, column)
        # The system maps whole pages, and an entry must not straddle two shards' stretches.
        page = math.lcm(mmap.PAGESIZE, self._item)
        self._full = node.shard * node.row_bytes + 16 * math.prod(node.grid) + 4  # bytes of the file of a full shard
        self._stride = -(-self._full // page) * page
        self._shards = node.shards
        if self._shards * self._stride >= _ADDRESSES:
            raise UserError(f"{file(node.path)} cannot be of shape {list(node.shape)}; its description is damaged")
        self._begun = np.zeros(self._shards, bool)  # shards whose checksum was asked for
        self._problem = ""
        self._pending = 0
        with _mapping:
            try:
                self._start()
            except OSError as error:
                raise UserError(
                    f"{file(node.path)} of shape {list(node.shape)} needs {self._shards * self._stride} bytes of address space ({error}): "
                    "its description is damaged, or this process may not have enough (`ulimit -v`)"
                ) from error
            _open.add(self)
        _catch_bus_errors()

    def _start(self) -> None:
        """Start again with no shard mapped. Threads that are still reading keep the previous region alive."""
        # Addresses alone cost nothing, so there are enough for every shard from the start; files come when they are read.
        region = Region(self._shards * self._stride)
        _readers[region.address] = (region.size, weakref.ref(region), weakref.ref(self))
        self._state = (region, np.zeros(self._shards, bool))
        self._started = next(_starts)
        self._touched = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.shape

    @functools.cached_property
    def _usual(self) -> bytes:
        """The index of a full shard, as nearly every shard has it."""
        chunks = math.prod(self.node.grid)
        return index_bytes([self.node.shard * self.node.row_bytes // chunks] * chunks)

    @property
    def _mapped(self) -> NDArray[np.bool_]:
        return self._state[1]

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
            UserError: a file is missing, or is found to be damaged by this call or a check since an earlier one.
        """
        node = self.node
        for index in (rows, columns):
            if index is not None and np.asarray(index).dtype.kind not in "iu" and np.size(index):
                raise TypeError(f"{node.path}: indices are whole numbers, got {np.asarray(index).dtype}; for a mask, use np.flatnonzero")
        rows = np.asarray(rows, np.int64)
        if len(rows) and not (0 <= rows.min() and rows.max() < node.shape[0]):
            raise IndexError(f"{node.path} has rows 0..{node.shape[0] - 1}, asked {rows.min()}..{rows.max()}")
        for shard, filled in node.partial:
            if ((rows // node.shard == shard) & (rows % node.shard >= filled)).any():
                raise IndexError(f"{node.path} has no shapes in rows {shard * node.shard + filled}..{(shard + 1) * node.shard - 1}")
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
        # Every shard has a stretch of the same length, a multiple of the entry's size, so that all stretches together are one table of
        # entries, and the entry (row, column) has one number in it. The tail of a stretch (the shard's index) is never asked for.
        flat = region.array(node.dtype, (self._shards * (self._stride // self._item), width))
        where = rows // node.shard * (self._stride // self._item) + rows % node.shard * node.shape[1] + columns
        # mode="clip" lets NumPy copy straight into `out`; the indices were checked above.
        np.take(flat, where, axis=0, out=out.reshape(-1, width), mode="clip")
        if self._problem:  # of what was just read, or of what was read before
            raise UserError(self._problem)
        return out

    def mapped(self, shards: NDArray[np.int64]) -> bool:
        """Whether all these shards are mapped, so that reading them needs no file."""
        return bool(self._mapped[shards].all())

    def drop(self, shards: Sequence[int]) -> None:
        """Drop the mappings of shards whose files were deleted, which frees their space. Reads that are running are not disturbed."""
        with _mapping:
            if self._mapped[list(shards)].any():
                self._start()

    def settle(self) -> None:
        """Wait until every shard that was read is compared with its checksum.

        Raises:
            UserError: a shard has other bytes than were written.
        """
        with _checks.done:
            _checks.done.wait_for(lambda: not self._pending)
        if self._problem:
            raise UserError(self._problem)

    def _map(self, shards: NDArray[np.int64]) -> Region:
        region, mapped = self._state
        # An upper bound of what this read adds to the process's memory: an entry touches at least one page.
        self._touched += len(shards) * max(self._item, mmap.PAGESIZE)
        if self._touched > self.RELEASE and self._shards * self._full > self.RELEASE:  # a smaller array adds no more than it has
            region.release()
            self._touched = 0
        if mapped[shards].all():  # needs no lock: a region holds what it once held, until the last who reads from it lets go
            return region
        if not self._chunks:
            for shard in np.unique(shards[~mapped[shards]]).tolist():
                self._file(self.node.key(shard))  # a file elsewhere comes now, while others may map what they need
        with _mapping:
            # Another thread may have mapped some of them, or begun afresh, while this one waited: look again under the lock.
            _make_room(len(np.unique(shards[~self._mapped[shards]])), self.MAPS)
            region, mapped = self._state
            for shard in np.unique(shards[~mapped[shards]]).tolist():
                self._place(region, shard)
                mapped[shard] = True
                if self._sums is not None and not self._begun[shard]:
                    self._begun[shard] = True
                    _checks.add(self, shard)
            return region

    def _place(self, region: Region, shard: int) -> None:
        """Map the file of one shard. A file that another writer laid out differently, or that was cut short, is refused."""
        # A million shapes are tens of thousands of files, so the usual one takes as few calls as possible.
        path, file = self._opened(shard)
        try:
            size = os.fstat(file).st_size
            if size != self._full or os.pread(file, len(self._usual), size - len(self._usual)) != self._usual:
                self._check_layout(shard, file, size, path)
            # The whole stretch is mapped: a gap behind the file would be one more mapping.
            region.place(shard * self._stride, file, self._stride, path)
        finally:
            os.close(file)

    def _check_layout(self, shard: int, file: int, size: int, path: Path | str) -> None:
        """Refuse a file in which row i does not begin at i times the row's size. One NumPy view over all files would read it wrongly.

        Other Zarr writers may order chunks otherwise, or leave out those that equal the fill value; both are valid Zarr.
        """
        node = self.node
        footer = 16 * math.prod(node.grid) + 4
        index = read_index(node, os.pread(file, footer, max(size - footer, 0)), path)
        present = index[index[:, 0] != NO_CHUNK]
        regular = np.arange(len(present), dtype=np.uint64) * np.uint64(node.row_bytes)
        whole = len(present) >= node.rows(shard) and size == len(present) * node.row_bytes + footer
        if not whole or not np.array_equal(present[:, 0], regular):
            raise UserError(f"{path} is not laid out as this software writes it; {MENDS}")

    def _opened(self, shard: int) -> tuple[Path | str, int]:
        """Open the file of one shard. Returns its path and descriptor."""
        if self._chunks:
            path = f"{self._chunks}{shard}{self._zeros}"
            with contextlib.suppress(OSError):  # below, it gets its message
                return path, open_regular(path)
        key = self.node.key(shard)
        try:
            return self._open_file(key)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{self._file(key)} is missing; {MENDS}") from None
        except OSError as error:
            raise UserError(
                f"{self._file(key)} is not a file that can be read ({error.strerror}); move what is in its place away, then {MENDS}"
            ) from None

    def _open_here(self, key: str) -> tuple[Path, int]:
        path = self._file(key)
        return path, open_regular(path)

    def _check(self, shard: int) -> None:
        """Compare a shard with its checksum. The thread of `_Checks` calls this."""
        key = self.node.key(shard)
        path = self._file(key)
        cache = path.parents[key.count("/")]  # the file may lie in the shared cache of an overlay
        problem = self._compared(shard, path)
        # `mmpd-cache retry` removes the marker of a shard, writes it with more shapes, and then writes its marker. The shapes of before
        # keep their bytes, so what is mapped here stays right. Wait for the new marker, as long as somebody holds the cache.
        while problem is None:
            held = is_held(cache)
            problem = self._compared(shard, path)
            if problem is None and not held:
                problem = f"{path} cannot be compared with its checksum: its completion marker is missing"
            elif problem is None:
                time.sleep(0.1)
        if problem:
            self._problem = f"{problem}; {MENDS}"

    def _compared(self, shard: int, path: Path) -> str | None:
        """Compare a shard with its checksum. Returns what is wrong, or nothing; None if the checksum is missing or has just changed."""
        assert self._sums is not None
        try:
            wanted = self._sums(shard)
            with open(path, "rb", opener=open_regular) as file:
                right = hashlib.file_digest(file, "sha256").digest() == wanted
            if right:
                return ""
            if self._sums(shard) != wanted:
                return None
            return f"{path} is not as it was written: its bytes do not match the checksum of its completion marker"
        except MissingFile:
            return None
        except (OSError, ValueError) as error:
            return f"{path} cannot be compared with its checksum ({error})"

    def _lost(self, region: Region, offset: int) -> None:
        """Map zeros where the system could not read a page, and remember the problem for the next read."""
        shard = offset // self._stride
        region.blank(shard * self._stride, self._stride)
        path = self._file(self.node.key(shard))
        self._problem = f"{path} was cut short, or its disk failed, while it was being read; {MENDS}"


_mapping = threading.RLock()
"""Held while the mappings of any array change. A thread that holds it may come again: to map a file can mean to fetch it, and then to drop
the mappings of others."""
_open: "weakref.WeakSet[Rows]" = weakref.WeakSet()
_starts = itertools.count()
_readers: "dict[int, tuple[int, weakref.ref[Region], weakref.ref[Rows]]]" = {}
"""(size, region, owner) of each region, by its address."""


def _make_room(needed: int, most: int) -> None:
    """Let arrays drop their mappings, the oldest array first, until `needed` more shards may be mapped."""
    begun = sorted(_open, key=lambda rows: rows._started)
    total = sum(int(rows._mapped.sum()) for rows in begun)
    for rows in begun:
        if total + needed <= most:
            return
        if held := int(rows._mapped.sum()):
            rows._start()
            total -= held


class _Checks:
    """A thread that compares shards with their checksums, in the order in which they were first read."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[tuple[weakref.ref[Rows], int]] = queue.SimpleQueue()
        self.done = threading.Condition()
        self.thread: threading.Thread | None = None

    def add(self, rows: Rows, shard: int) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, name="checksums", daemon=True)
            self.thread.start()
        with self.done:
            rows._pending += 1
        self.waiting.put((weakref.ref(rows), shard))

    def _work(self) -> None:
        while True:
            reference, shard = self.waiting.get()
            rows = reference()
            if rows is not None:
                rows._check(shard)
                with self.done:
                    rows._pending -= 1
                    self.done.notify_all()
            del rows


_checks = _Checks()


def _after_fork() -> None:
    """Renew locks and the checking thread in a forked child, which has none of the threads of its parent."""
    global _mapping, _checks
    # The maps themselves survive a fork: parent and child read the same pages of the same files.
    _mapping, _checks = threading.RLock(), _Checks()
    for rows in _open:
        rows._pending = 0


os.register_at_fork(after_in_child=_after_fork)


# --------------------------------------------------------------------------------------------------------- bus errors


class _Action(ctypes.Structure):
    """`struct sigaction` of the C library on 64-bit Linux."""

    _fields_ = (("handler", ctypes.c_void_p), ("mask", ctypes.c_ulong * 16), ("flags", ctypes.c_int), ("restorer", ctypes.c_void_p))


_SA_SIGINFO: Final = 4
_SI_ADDR: Final = 16
"""Offset in `siginfo_t` of the address that could not be read."""
_before = _Action()
_caught: list[Any] = []
"""The handler, kept alive once it is in place."""


def _catch_bus_errors() -> None:
    """Install the handler, once. It answers only faults within our own mappings. For any other fault it restores the previous handler.

    The fault comes while NumPy copies. The thread then holds no lock of the interpreter or the C library, so the handler may run Python.
    """
    if _caught or sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(_bus_error)
    _caught.append(handler)
    _libc.sigaction(signal.SIGBUS, ctypes.byref(_Action(ctypes.cast(handler, ctypes.c_void_p), flags=_SA_SIGINFO)), ctypes.byref(_before))


def _bus_error(_signal: int, info: int, _context: int) -> None:
    try:
        at = ctypes.c_void_p.from_address(info + _SI_ADDR).value or 0
        for address, (size, region, rows) in list(_readers.items()):
            if address <= at < address + size and (held := region()) is not None and (whose := rows()) is not None:
                whose._lost(held, at - address)
                return
    except BaseException:  # nothing may leave a signal handler; the fault comes again, and meets the handler of before
        pass
    _libc.sigaction(signal.SIGBUS, ctypes.byref(_before), None)
