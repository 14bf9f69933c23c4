"""Find everything that is wrong with a cache, and say where.

    for problem in problems("shapes.zarr"):
        print(problem.where, problem.kind, problem.message)

`problems` checks that
- every file of data has the bytes of its checksum, and every description the only bytes it can have;
- no file is missing, and no file is there that belongs to no product;
- records match their checksums;
- numbers are finite, and points lie where the specification says.

It does not check whether pictures and embeddings are right. Only the pipeline could tell, by making them again.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, store
from cache_schema.errors import UserError
from cache_schema.files import is_held, open_regular, regular_bytes
from cache_schema.layout import ArraySpec
from cache_schema.remote import CARD, TABLE
from cache_schema.spec import PointSpec, Problem, Record
from cache_schema.store import Cache

ROOT: Final = "zarr.json"
"""File that describes the root of a cache."""
SUMMARY: Final = "consolidated_metadata"
"""Key of Zarr's consolidated metadata in that file."""
EXCHANGED: Final = (
    "the checksums of the product's files do not add up to the one in its record: shards changed places, or were replaced "
    "together with their completion markers"
)
"""Message for every shard of a product whose digest is wrong: the digest covers all shards, so it cannot tell which one is at fault."""


GROWING: Final = "an append was stopped after it had begun to change the cache; the next command that writes to the cache finishes it"
"""Message if products are those of a cache that has grown, and its root is not."""
SHARE: Final = 16
"""Number of shards that a thread checks before it takes more."""
VECTORS: Final = 1 << 14
"""Number of points or normals that are looked at together."""
AHEAD: Final = "is about shapes that the cache does not have yet: an append or a pull was stopped; run it again"
"""Message for a file of a shard after the last one."""


def problems(path: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None) -> list[Problem]:
    """List all problems of a cache.

    Args:
        path: the cache.
        progress: called with (files done, files in all).

    Raises:
        UserError: `path` is not a cache that this software can read.

    Problems of the shared cache of an overlay come after its own.
    """
    cache, say = store.open_cache(path), progress or (lambda done, total: None)
    found = list(_problems(cache, say))
    if cache.below is not None:
        found += [dataclasses.replace(problem, shared=str(cache.home)) for problem in _problems(store.open_cache(cache.home), say)]
    return found


def nodes(cache: Cache, records: dict[str, Record]) -> dict[str, tuple[bytes, str]]:
    """Tell every `zarr.json` that the folder of a cache must have: by its place, the only bytes it may hold, and its product."""
    groups = store.GROUPS if cache.below is None else ()
    below = {f"{place}/zarr.json": found for place, found in store.nodes(cache.manifest, records, groups).items()}
    return {ROOT: (cache.root(records), ""), **below}


def _problems(cache: Cache, progress: Callable[[int, int], None]) -> Iterator[Problem]:
    on_disk = cache.on_disk()
    records, damaged = on_disk.all()
    lost, ownerless = on_disk.lost(), on_disk.ownerless()
    for product, message in (damaged | lost).items():
        kind: Any = "metadata" if product in damaged else "missing"
        yield Problem(where=f"products/{product}/zarr.json", kind=kind, message=message.removeprefix(f"{cache.path}/"), product=product)
    expected = set()
    outgrown = {product for product in records if on_disk.has_outgrown(product)}
    if outgrown:
        yield Problem(where=ROOT, kind="unfinished", message=GROWING)
    for where, (content, product) in nodes(cache, records).items():
        expected.add(where)
        if where == ROOT:
            yield from _root_problems(cache, content, known=not (damaged or lost or ownerless))
        elif product in outgrown:
            continue  # it is that of a larger cache already
        else:
            yield from _same_bytes(cache, where, content, product)
    jobs: list[tuple[Record, list[int]]] = []
    for product, record in records.items():
        marker = products.markers(cache.manifest, record)
        for node in (marker, *cache.arrays(record)):
            expected.update(map(node.key, range(marker.shape[0])))
        if products.of(record).statistics:
            stats = products.statistics_array(cache.manifest, record)
            above = {f"{group.as_posix()}/zarr.json" for group in PurePosixPath(stats.path).parents if group.name}
            expected |= {f"{stats.path}/zarr.json", stats.key(0), *above}  # those of an unfinished product may be there
        if record.complete:
            jobs.append((record, list(range(marker.shape[0]))))
        else:
            done = [shard for shard in range(marker.shape[0]) if cache.file(marker.key(shard)).exists()]
            message = f"{len(done)} of {marker.shape[0]} shards made; run the command that began it again"
            yield Problem(where=f"products/{product}", kind="unfinished", message=message, product=product)
            jobs.append((record, done))
    unsound: set[str] = set()
    places = {product: _Places.of(cache, record) for product, record in records.items()}

    shares = [(record, shards[at : at + SHARE]) for record, shards in jobs for at in range(0, len(shards), SHARE)]
    looked, total = 0, sum(len(shards) for _, shards in shares)
    with ThreadPoolExecutor() as pool:
        for (_, shards), found in zip(
            shares, pool.map(lambda share: list(places[share[0].product].problems(cache, share[1])), shares), strict=True
        ):
            looked += len(shards)
            progress(looked, total)
            unsound |= {problem.product for problem in found}
            yield from found
    for record in records.values():
        if record.complete:
            yield from _content_problems(cache, record, record.product in unsound)
    # A command that begins a product writes its arrays before its record. So ask again: what has a record by now is not lost.
    gone = sorted({*ownerless} & {*on_disk.ownerless()} - {*damaged, *lost})
    for product in gone:
        message = "is not there, but arrays of this product are; run the command that made it again"
        yield Problem(where=f"products/{product}", kind="missing", message=message, product=product)
    ahead = {f"{node.path}/c/" for r in records.values() for node in (products.markers(cache.manifest, r), *cache.arrays(r))}
    yield from _strays(cache, expected, ahead, {*damaged, *lost, *ownerless, *_begun_since(cache, records)})


def _begun_since(cache: Cache, records: dict[str, Record]) -> set[str]:
    """Names of products that another command has begun since `records` were read. They are no problem of the cache."""
    return set(cache.on_disk().all()[0]) - set(records)


def _strays(cache: Cache, expected: set[str], arrays: set[str], unknown: set[str]) -> Iterator[Problem]:
    """Find files, links and empty folders that belong to no product.

    Args:
        cache: the cache.
        expected: places of all files that belong to a product.
        arrays: folders of the shards of all arrays.
        unknown: names of products whose records are lost, so that nobody can tell which files they have.
    """
    fixed = {record.product: record for record in (products.index_record(cache.manifest), products.status_record(cache.manifest))}
    places = {place for name in unknown for place in (name, f"products/{name}", f"stats/{name}")}
    places |= {node.path for name in unknown & set(fixed) for node in cache.arrays(fixed[name])}
    above = set[str]()
    for name in expected:
        while (name := name.rpartition("/")[0]) and name not in above:
            above.add(name)
    at_work = is_held(cache.path)

    def foreign(name: str) -> bool:
        """Whether a place can belong neither to an unknown product nor to a group above one."""
        inside = any(name == place or name.startswith(f"{place}/") for place in places)
        beside = name.endswith("/zarr.json") and any(place.startswith(name.removesuffix("zarr.json")) for place in places)
        return not inside and not beside

    for inside, folders, files, links in _walk(cache.path):
        for name in sorted([*files, *links]):
            where = f"{inside}{name}"
            if name in links:
                path = cache.path / where
                out = "" if path.resolve().is_relative_to(cache.path) else ", outside the cache"
                message = f"is a symbolic link to {os.readlink(path)}{out}: put the files themselves here, or remove it"
                yield Problem(where=where, kind="stray", message=message)
            elif name.startswith(".") and name.endswith(".tmp"):
                if not at_work:
                    message = "was left behind by a writer that was stopped; the next command that writes to the cache removes it"
                    yield Problem(where=where, kind="stray", message=message)
            elif where not in expected and where not in (CARD, TABLE) and foreign(where):
                ahead = _is_ahead(cache, where, arrays)
                if not (ahead and at_work):
                    yield Problem(
                        where=where, kind="unfinished" if ahead else "stray", message=AHEAD if ahead else "no product has this file"
                    )
        where = inside.removesuffix("/")
        if where and not folders and not files and not links and where not in above and where not in expected and foreign(where):
            yield Problem(where=where, kind="stray", message="is an empty folder that no product has")


def _walk(path: Path) -> Iterator[tuple[str, list[str], list[str], set[str]]]:
    """Walk through a folder as `os.walk` does, in the order of names. Yields for each folder its place with a slash behind it, and the
    names of its folders, its files and its symbolic links.

    A million shapes have a hundred thousand folders, for which the paths of `pathlib` would take most of the time.
    """
    todo = [""]
    while todo:
        inside = todo.pop()
        folders, files, links = list[str](), list[str](), set[str]()
        with contextlib.suppress(OSError), os.scandir(f"{path}/{inside}") as entries:
            for entry in entries:
                if entry.is_symlink():
                    links.add(entry.name)
                else:
                    (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
        yield inside, folders, files, links
        todo += [f"{inside}{name}/" for name in sorted(folders, reverse=True)]


def _is_ahead(cache: Cache, where: str, arrays: set[str]) -> bool:
    """Whether a file is that of a shard after the last one. An append puts such files there before it lets the cache grow."""
    folder, mark, rest = where.rpartition("/c/")
    shard, *zeros = rest.split("/")
    if f"{folder}{mark}" not in arrays or not shard.isdecimal() or set(zeros) - {"0"}:
        return False
    return int(shard) >= cache.manifest.shards


def _root_problems(cache: Cache, content: bytes, known: bool) -> Iterator[Problem]:
    """Check the `zarr.json` of the root.

    Args:
        cache: the cache. It could be opened, so its manifest is sound.
        content: what the file must hold, as far as records could be read.
        known: whether every record could be read.
    """
    try:
        there = regular_bytes(cache.file(ROOT))
        said, wanted = json.loads(there), json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        yield Problem(where=ROOT, kind="metadata", message=f"cannot be read: {error}")
        return
    if there == content:
        return
    behind, ahead = (set(_summary(node)) for node in (said, wanted))
    without = [{key: value for key, value in node.items() if key != SUMMARY} for node in (said, wanted)]
    if without[0] != without[1] or (known and behind == ahead):
        yield Problem(where=ROOT, kind="metadata", message="differs from what this software writes for it")
    elif known:
        message = "does not list the products that are finished: a command was stopped; run it again"
        yield Problem(where=ROOT, kind="unfinished", message=message)


def _summary(node: Any) -> dict[str, Any]:
    """Return the consolidated metadata of a root description; empty if there is none or it is malformed."""
    summary = node.get(SUMMARY)
    below = summary.get("metadata") if isinstance(summary, dict) else None
    return below if isinstance(below, dict) else {}


def _same_bytes(cache: Cache, where: str, content: bytes, product: str = "") -> Iterator[Problem]:
    path = cache.file(where)
    try:
        if regular_bytes(path) != content:
            yield Problem(where=where, kind="metadata", message="differs from what this software writes for it", product=product)
    except FileNotFoundError:
        yield Problem(where=where, kind="missing", message="is not there", product=product)
    except OSError as error:
        yield Problem(where=where, kind="metadata", message=f"cannot be read: {error.strerror}", product=product)


_memory = threading.local()
"""For each thread, memory that holds one file after the other: new memory for each would take as long as its checksum."""


def _read_into_memory(path: str) -> memoryview:
    """Read all bytes of a regular file. The next call of this thread takes their memory. Raises the errors of `open_regular`."""
    file = open_regular(path)
    try:
        size = os.fstat(file).st_size
        if len(getattr(_memory, "bytes", b"")) < size:
            _memory.bytes = bytearray(size)
        data = memoryview(getattr(_memory, "bytes", b""))[:size]
        got = 0
        while got < size and (more := os.preadv(file, [data[got:]], got)):
            got += more
        return data[:got]
    finally:
        os.close(file)


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Where the files of a product lie. They are worked out once, not for each of tens of thousands of shards."""

    record: Record
    marker: ArraySpec
    arrays: tuple[ArraySpec, ...]
    folders: tuple[str, ...]
    """The folder of the shards of each array."""

    @staticmethod
    def of(cache: Cache, record: Record) -> "_Places":
        arrays = cache.arrays(record)
        folders = tuple(f"{cache.folder(node.path)}/c" for node in arrays)
        return _Places(record=record, marker=products.markers(cache.manifest, record), arrays=arrays, folders=folders)

    def problems(self, cache: Cache, shards: list[int]) -> Iterator[Problem]:
        """Compare the files of shards with their completion markers, and look at their values."""
        try:
            known: Sequence[NDArray[np.uint8] | None] = list(cache.marked(self.record, shards))
        except (UserError, OSError):  # one of them is not sound
            known = [None] * len(shards)
        for shard, sums in zip(shards, known, strict=True):
            yield from self._shard_problems(cache, shard, sums)

    def _shard_problems(self, cache: Cache, shard: int, sums: NDArray[np.uint8] | None) -> Iterator[Problem]:
        """Compare the files of a shard with their checksums, or with those of its completion marker if they are not known."""
        try:
            sums = cache.checksums(self.record, shard) if sums is None else sums
        except (UserError, OSError) as error:
            lost = not cache.file(self.marker.key(shard)).exists()
            message = "is not there" if lost else "the completion marker is damaged" if isinstance(error, UserError) else str(error)
            yield self._problem(self.marker, shard, "missing" if lost else "corrupt", message)
        for i, (node, folder) in enumerate(zip(self.arrays, self.folders, strict=True)):
            try:
                data = _read_into_memory(f"{folder}/{shard}{'/0' * (len(node.shape) - 1)}")
            except FileNotFoundError:
                yield self._problem(node, shard, "missing", "is not there")
                continue
            except OSError as error:
                yield self._problem(node, shard, "corrupt", f"cannot be read: {error.strerror}")
                continue
            if sums is None:
                continue
            if hashlib.sha256(data).digest() != sums[i].tobytes():
                yield self._problem(node, shard, "corrupt", "its bytes do not match the checksum in its completion marker")
            elif message := _value_problem(self.record, node, shard, data):
                yield self._problem(node, shard, "values", message)

    def _problem(self, node: ArraySpec, shard: int, kind: Any, message: str) -> Problem:
        return Problem(where=node.key(shard), kind=kind, message=message, product=self.record.product, shard=shard)


def _value_problem(record: Record, node: ArraySpec, shard: int, data: memoryview) -> str:
    """Say what is wrong with the numbers of a file whose bytes are intact; empty if nothing is. Pixels and texts cannot be wrong, nor whole
    numbers."""
    if node.codec != "raw" or not node.dtype.startswith("float"):
        return ""
    values: NDArray[Any] = np.frombuffer(data[: node.rows(shard) * node.row_bytes], node.dtype)
    if count := _infinite(values):
        return f"{count} values are not finite"
    if node.path == "points/normal":
        # Shapes that failed have zeros.
        wrong = sum(int(((np.abs(np.sqrt(some) - 1) > 0.01) & (some > 0)).sum()) for some in _squares(values))
        if wrong:
            return f"{wrong} normals are not of length 1"
    if isinstance(record.spec, PointSpec) and node.path == "points/xyz" and record.spec.normalize == "unit_sphere":
        radius = math.sqrt(max((float(some.max()) for some in _squares(values)), default=0))
        if radius > 1.01:
            return f"a point lies {radius:.3f} from the origin, outside the unit sphere"
    return ""


def _infinite(values: NDArray[Any]) -> int:
    """Count the values that are not finite."""
    if values.dtype != np.float16:
        return len(values) - int(np.count_nonzero(np.isfinite(values)))
    # NumPy converts each half to ask; in its bits the answer is 15 times as fast. Those above 0x7C00 are infinite or no number.
    magnitudes = values.view(np.uint16) & 0x7FFF
    return int(np.count_nonzero(magnitudes >= 0x7C00)) if magnitudes.max(initial=0) >= 0x7C00 else 0


def _squares(values: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    """Yield the squared lengths of vectors of three values each, as many at a time as the processor's cache holds. [n]"""
    for at in range(0, len(values), 3 * VECTORS):
        some = values[at : at + 3 * VECTORS].astype(np.float32)
        some *= some
        yield some[0::3] + some[1::3] + some[2::3]


def _content_problems(cache: Cache, record: Record, unsound: bool) -> Iterator[Problem]:
    """Check the digest over all files of a product. It finds wrong statistics, shards that changed places, and shards that were replaced
    together with their completion markers.

    Args:
        cache: the cache.
        record: a complete product.
        unsound: whether damage to its shards is reported already.
    """
    stats = products.statistics_array(cache.manifest, record) if products.of(record).statistics else None
    damage = "" if stats is None else statistics_damage(cache, stats)
    try:
        if not damage and cache.content(record) == record.content:
            return
    except (UserError, OSError):
        return  # a damaged marker is reported already
    if stats is not None:
        try:
            right = None if unsound else cache.content(record, statistics=cache.statistics(record)) == record.content
        except (UserError, OSError):
            right = None  # unknown: the files they are computed from are damaged, and reported already
        if damage or right:
            message = damage or "does not hold the statistics of the product's embeddings"
            kind: Any = "missing" if damage == "is not there" else "corrupt"
            yield Problem(where=stats.key(0), kind=kind, message=message, product=record.product)
        if right or (damage and right is None):
            return
    marker = products.markers(cache.manifest, record)
    for shard in range(marker.shape[0]):
        yield Problem(where=marker.key(shard), kind="corrupt", message=EXCHANGED, product=record.product, shard=shard)


def statistics_damage(cache: Cache, stats: ArraySpec) -> str:
    """Say what is wrong with the file of a product's statistics, by its own checksum; empty if nothing is."""
    try:
        cache.read_statistics(stats)
    except (UserError, OSError):
        return "is damaged" if cache.file(stats.key(0)).exists() else "is not there"
    return ""
