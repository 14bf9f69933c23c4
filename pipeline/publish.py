"""Give a cache away and fetch one: `mmpd-cache push` and `mmpd-cache pull`.

    push(Path("shapes.zarr"), "s3://lab/shapes.zarr", terminal=terminal)
    pull("s3://lab/shapes.zarr", Path("mine.zarr"), patterns=("points", "image/*"), terminal=terminal)
    pull("s3://lab/shapes.zarr", Path("chairs.zarr"), where=Selection.parse("class=chair"), terminal=terminal)

Completion markers are compared, not bytes: a file moves if its checksum differs on the other side. A half-pushed cache is never taken for a
complete one, because of the order of writing:
1. Complete products at the place whose files are about to change are withdrawn: the root no longer lists them.
2. The files of a shard are written, and then its completion marker, as a build does.
3. Statistics and descriptions follow, then the card and the table, and the root last. Only products that the root lists are read from afar.
So the same command goes on after a stop. A pull makes an ordinary cache, product by product. If the cache at the place has grown or changed
since, a pull into the same path fetches what is new, and then lets all products change together. With a selection of shapes it fetches
only the shards that hold some of them, into a folder beside the new cache, and copies the rows from there.
"""

import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import os
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from cache_schema import licences, products, spec, store
from cache_schema.errors import UserError
from cache_schema.files import exclusive, journal_file, read_file, write_together
from cache_schema.layout import ArraySpec, encode, ends_in_crc, node_json
from cache_schema.merging import Merging
from cache_schema.mirror import Mirror, opened_at
from cache_schema.overlay import refuse_behind
from cache_schema.products import markers, statistics_array
from cache_schema.records import differences, outgrown, sealed
from cache_schema.remote import (
    CARD,
    FILE_MOST,
    HUB,
    ROOT,
    ROOT_MOST,
    TABLE,
    Absent,
    Described,
    Folder,
    Hub,
    Place,
    described_at,
    file_most,
    place_of,
)
from cache_schema.selection import ALL, Selection
from cache_schema.spec import Manifest, Record
from cache_schema.store import Cache
from cache_schema.terminal import counted
from pipeline import card, edits, private
from pipeline.describe import human
from pipeline.journal import Build, Relabel, read_journal
from pipeline.private import Outgoing
from pipeline.work import Terminal

T = TypeVar("T")

JOBS: Final = 8
"""Number of files that move at once by default."""
PIECE: Final = 1024
"""Number of completion markers that are asked for together."""
ALWAYS: Final = (products.INDEX.name, products.STATUS.name)
"""Products that every fetched cache has."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """The result of a push or a pull."""

    files: int
    bytes: int
    seconds: float
    by_product: dict[str, int]
    """Bytes of shards and completion markers that moved, by product."""

    def __str__(self) -> str:
        rate = human(self.bytes / max(self.seconds, 1e-3))
        return f"{counted(self.files, 'file')} moved, {human(self.bytes)} in {self.seconds:.1f} s ({rate}/s)"


class _Tally:
    """Counts what moves. Several threads count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._files = 0
        self._bytes: dict[str, int] = {}

    def add(self, product: str, size: int) -> None:
        with self._lock:
            self._files += 1
            self._bytes[product] = self._bytes.get(product, 0) + size

    def moved(self) -> Moved:
        by_product = {name: size for name, size in self._bytes.items() if name}
        return Moved(files=self._files, bytes=sum(self._bytes.values()), seconds=time.monotonic() - self._start, by_product=by_product)


def _each(jobs: int, work: Callable[[T], object], items: Iterable[T], done: Callable[[T], None] = lambda item: None) -> None:
    """Call `work` for every item, several at once, and `done` after each. The first error ends it; items that were begun are finished."""
    with ThreadPoolExecutor(jobs, "transfer") as pool:
        futures = {pool.submit(work, item): item for item in items}
        try:
            for future in as_completed(futures):
                future.result()
                done(futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


# ---------------------------------------------------------------------------------------------------------------- push


def push(
    path: Path,
    url: str,
    *,
    patterns: Sequence[str] = (),
    only_licence: Sequence[str] = (),
    jobs: int = JOBS,
    allow_unknown: bool = False,
    staging: Path | None = None,
    public: bool = False,
    terminal: Terminal,
) -> Moved:
    """Write the complete products of a cache to another place, with a card and a table of shapes.

    Args:
        path: the cache.
        url: a folder, or an address of `s3://`, `gs://` or `hf://datasets/`. It may hold an earlier state of this cache.
        patterns: names of products, or patterns such as `image/*`; all complete ones if empty. Index and status always go along.
        only_licence: licences, as `licences.chosen` takes them. Only shapes under one of them go out; all shapes if empty.
        jobs: number of files that move at once.
        allow_unknown: whether to push although nobody knows the licence of some shapes or models.
        staging: folder for the copy of the shapes that go out, with `only_licence`. Default: beside the cache, or another place where
            files can be written; the terminal says which.
        public: whether everybody can see a data set that the push makes on the hub. Default: a private one.
        terminal: for progress.

    Raises:
        UserError: a licence forbids it, something local cannot be left out, the place holds another cache or cannot be written, the cache
            is an overlay that lacks new shapes of its shared cache, or the connection is lost.
    """
    cache = store.open_cache(path)
    if cache.manifest.format_version != spec.FORMAT_VERSION:
        raise UserError(f"{path} has format {cache.manifest.format_version}; convert it first: mmpd-cache copy {path} NEW")
    refuse_behind(cache, "what is pushed")
    place = place_of(url)
    if not place.writable:
        raise UserError(f"{url} can only be read: push to a folder, s3://, gs:// or hf://datasets/ that this server shows")
    if isinstance(place, Folder):
        for own in cache.paths:
            if place.path.resolve().is_relative_to(own) or own.is_relative_to(place.path.resolve()):
                raise UserError(f"{url} is the cache itself, lies inside it or around it; give another place")
    if public and not isinstance(place, Hub):
        raise UserError(f"--public is for data sets on the hub ({HUB}USER/NAME); who can read {url} is decided there")
    for name in sorted(set(cache.records()) - set(cache.products())):
        terminal.say(f"{name} is not finished and stays here")
    names = tuple(record.product for record in choose(cache.products(), patterns, str(path)))
    licence = _under(cache, only_licence, terminal)
    check_licences(cache, names, licence, allow_unknown, terminal)
    if isinstance(place, Hub):
        place.public = public
        terminal.say(place.audience())
    with contextlib.ExitStack() as held:
        if isinstance(place, Folder):
            if not (place.path / ROOT).exists():
                store.check_empty(place.path)
            held.enter_context(exclusive(place.path, lambda: terminal.say(f"another command is at work on {url}; waiting for it")))
        if licence.values:
            beside = place.path.parent if isinstance(place, Folder) else None
            cache = held.enter_context(_filtered(cache, names, licence, _stage(cache, staging, beside, terminal), terminal))
        return _Push(Outgoing(cache, names, str(path)), place, jobs, terminal).run()


def _under(cache: Cache, only: Sequence[str], terminal: Terminal) -> Selection:
    """Return the selection of the shapes that are under some licences; of all shapes if none is named.

    Raises:
        UserError: the cache has no such shape.
    """
    if not only:
        return ALL
    counts = {name: who[0] for name, who in card.licence_holders(cache, ()).items()}
    names = tuple(sorted(name for name in licences.chosen(counts, only) if name))
    if not names:
        there = "; ".join(f"{who} under {name or 'no known licence'}" for name, who in counts.items())
        raise UserError(f"{cache.path} has no shape under {', '.join(only)} (it has {there})")
    rest = "; ".join(f"{who} under {name or 'no known licence'}" for name, who in counts.items() if name not in names)
    terminal.say(f"Shapes under {', '.join(names)} go out. {f'These stay here: {rest}.' if rest else 'These are all.'}")
    return Selection(values=(("licence", names),))


def _stage(cache: Cache, chosen: Path | None, beside: Path | None, terminal: Terminal) -> Path:
    """Return where the copy of the shapes that go out lies meanwhile. Says so if it is not beside the cache.

    Args:
        cache: the cache.
        chosen: the folder that the user named.
        beside: the folder of the place that is pushed to, if it has one.
        terminal: for the place.

    Raises:
        UserError: a link, or what belongs to somebody else, is in its place.
    """
    home = cache.path.parent
    folders = [chosen] if chosen is not None else [home, *([beside] if beside else []), Path(tempfile.gettempdir())]
    folder = next((folder for folder in folders if _takes_files(folder)), folders[-1]).absolute()
    own = "" if folder == home else f"-{hashlib.sha256(str(cache.path).encode()).hexdigest()[:8]}"
    stage = folder / f".{cache.path.name}{own}.outgoing"
    if folder != home:
        terminal.say(f"The shapes that go out are copied to {stage} for a while")
    if stage.is_symlink():
        raise UserError(f"{stage} is a symbolic link, where the shapes that go out are copied to: remove it")
    for path in (stage, journal_file(stage)):
        if path.exists() and path.stat().st_uid != os.getuid():
            raise UserError(
                f"{path} belongs to another user, and the shapes that go out are copied there: give another folder by --staging"
            )
    return stage


def _takes_files(folder: Path) -> bool:
    """Whether this user can make files in a folder, which need not exist yet."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


@contextlib.contextmanager
def _filtered(cache: Cache, names: Sequence[str], where: Selection, stage: Path, terminal: Terminal) -> Iterator[Cache]:
    """Yield a copy of some shapes of a cache, which only this user can read. It is deleted at the end, also after an error; if the process
    is stopped it stays, and the same push goes on with it."""
    merging = Merging([cache], names, where)
    private.check(cache, names, merging.manifest, where.rows(cache))
    needed = _needed(stage, [node for record in merging.records.values() for node in products.arrays(merging.manifest, record)])
    _refuse_full(stage, needed, f"the copy of the shapes that go out needs {human(needed)} for a while")
    with exclusive(stage, lambda: terminal.say(f"another push of {cache.path} is at work; waiting for it"), temporary=True) as journal:
        os.chmod(journal_file(stage), 0o600)  # it names places
        stage.mkdir(mode=0o700, exist_ok=True)
        try:
            yield _copied(merging, stage, journal)
        except Exception:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        shutil.rmtree(stage)


def _copied(merging: Merging, stage: Path, journal: TextIO) -> Cache:
    """Copy the shapes that go out, or go on with a copy of them that was stopped."""
    for last in (False, True):
        try:
            return merging.write(stage, journal, lambda totals: None, lambda product, shards: None).cache
        except UserError:  # what lies there is of a push of other shapes, or of another state of the cache
            if last:
                raise
            shutil.rmtree(stage, ignore_errors=True)
            stage.mkdir(mode=0o700, exist_ok=True)
            journal.truncate(0)
    raise AssertionError


def check_licences(cache: Cache, names: Sequence[str], where: Selection, allow_unknown: bool, terminal: Terminal) -> None:
    """Refuse to give away what a licence forbids to give away.

    Args:
        cache: the cache.
        names: the products that go out. Their models count.
        where: the licences whose shapes go out; all shapes if it has no values.
        allow_unknown: whether unknown licences are only told.
        terminal: for what is only told.

    Raises:
        UserError: a licence of shapes or of a model forbids it, or is not known.
    """
    holders = card.licence_holders(cache, names, dict(where.values).get("licence"))
    forbidden: list[str] = []
    unknown: list[str] = []
    for name, why in licences.forbids(holders).items():
        said = f"{', '.join(holders[name])} ({name or 'no licence'}: {why})"
        (unknown if licences.terms(name).sharing == "unknown" else forbidden).append(said)
    less = "--only-licence NAMES leaves out shapes under other licences, --products NAMES leaves out products"
    if forbidden:
        raise UserError(f"{cache.path} must not be given away: {'; '.join(forbidden)}. Push the part that may be: {less}")
    if unknown and not allow_unknown:
        raise UserError(
            f"nobody knows whether {cache.path} may be given away: {'; '.join(unknown)}. If you know that it may, or the place is for your "
            f"own group only, add --allow-unknown; the card then says what is not known. Or push a part: {less}"
        )
    if unknown:
        terminal.say(f"Pushed although a licence is not known: {'; '.join(unknown)}")


class _Push:
    """One push."""

    def __init__(self, outgoing: Outgoing, place: Place, jobs: int, terminal: Terminal) -> None:
        self.outgoing, self.place, self.jobs, self.terminal = outgoing, place, jobs, terminal
        self.tally = _Tally()
        self.there: Described | None
        try:
            self.there = described_at(place, being_pushed=True)
        except Absent:
            self.there = None
        self.kept = self._kept()

    def _kept(self) -> dict[str, Record]:
        """Records of products at the place that do not go out, and that stay there."""
        if self.there is None:
            return {}
        _check_same(self.there.manifest, self.outgoing.manifest, self.place.url)
        kept = {name: record for name, record in self.there.records.items() if name not in self.outgoing.records}
        if kept and self.there.manifest.shapes != self.outgoing.manifest.shapes:
            raise UserError(
                f"{self.place.url} has {', '.join(kept)}, which do not go out now, and which lack the new shapes: push them, too, "
                "once they are made for the new shapes, or push to another place"
            )
        for name, record in self.outgoing.records.items():
            other = self.there.records.get(name)
            if other is not None and other.fingerprint != record.fingerprint and name not in products.FIXED:  # these change with the shapes
                raise UserError(
                    f"{self.place.url} has {name} made from another specification ({'; '.join(differences(other, record))}): push to "
                    "another place, or delete it there"
                )
        return kept

    def run(self) -> Moved:
        changed = [record for record in self.outgoing.records.values() if not self._same(record)]
        todo = {record.product: self._todo(record) for record in changed}
        self._withdraw([name for name, shards in todo.items() if any(there for _, there in shards)])
        self.terminal.begin({name: len(shards) for name, shards in todo.items() if shards})
        for record in changed:
            _each(
                self.jobs,
                lambda item, record=record: self._shard(record, item[0]),  # type: ignore[misc]
                todo[record.product],
                lambda _, record=record: self.terminal.advance(record.product, 1),  # type: ignore[misc]
            )
            if (stats := self.outgoing.statistics(record)) is not None:
                self._write(record.product, *stats)
        for record in self.outgoing.cache.products().values():
            self.outgoing.cache.proven(record.product)  # a command may have changed the cache while it was read
        self.place.settle()
        self._describe()
        return self.tally.moved()

    def _write(self, product: str, key: str, data: bytes) -> None:
        self.place.write(key, data)
        self.tally.add(product, len(data))

    def _same(self, record: Record) -> bool:
        other = None if self.there is None else self.there.records.get(record.product)
        return other is not None and other.content == record.content and other.fingerprint == record.fingerprint

    def _todo(self, record: Record) -> list[tuple[int, bool]]:
        """List the shards to write, each with whether the place has another state of it."""
        marker = markers(self.outgoing.manifest, record)
        listed = self.place.find(f"{marker.path}/c")
        there = {shard for shard in range(marker.shape[0]) if marker.key(shard) in listed}
        equal: set[int] = set()

        def compare(shard: int) -> None:
            data = self.place.read(marker.key(shard), marker.row_bytes + 4)
            if data == encode(marker, self.outgoing.sums(record, shard)[None]):
                equal.add(shard)

        _each(self.jobs, compare, there)
        return [(shard, shard in there) for shard in range(marker.shape[0]) if shard not in equal]

    def _withdraw(self, names: Sequence[str]) -> None:
        """Take products whose files are about to be replaced out of the root at the place."""
        listed = {} if self.there is None else self.there.records
        gone = {name: listed[name] for name in names if name in listed}
        if not gone or self.there is None:
            return
        rest = {name: record for name, record in listed.items() if name not in gone}
        self._write("", ROOT, store.root_json(self.there.manifest, rest))
        for name, record in gone.items():
            begun = dataclasses.replace(record, complete=False, content="")
            self._write("", f"products/{name}/{ROOT}", node_json(markers(self.there.manifest, record), sealed(begun)))
        self.place.settle()
        self.there = dataclasses.replace(self.there, records=rest, nodes={k: v for k, v in self.there.nodes.items() if k[9:] not in gone})

    def _shard(self, record: Record, shard: int) -> None:
        for key, data in self.outgoing.files(record, shard):
            self._write(record.product, key, data)
        marker = markers(self.outgoing.manifest, record)
        self._write(record.product, marker.key(shard), encode(marker, self.outgoing.sums(record, shard)[None]))

    def _describe(self) -> None:
        """Write descriptions, card and table where they differ, and the root last."""
        every = {record.product: record for record in products.in_order([*self.outgoing.records.values(), *self.kept.values()])}
        known = {} if self.there is None else self.there.nodes
        nodes = store.nodes(self.outgoing.manifest, every)
        changed = [(f"{at}/{ROOT}", content) for at, (content, _) in nodes.items() if json.loads(content) != known.get(at)]
        _each(self.jobs, lambda item: self._write("", *item), changed)
        self._present(every)
        self.place.settle()
        root = store.root_json(self.outgoing.manifest, every)
        if self.there is None or self.place.read(ROOT, ROOT_MOST) != root:
            self._write("", ROOT, root)
            self.place.settle()

    def _present(self, every: Mapping[str, Record]) -> None:
        """Write the card and the table of shapes."""
        here = self.outgoing.cache.products()
        shown = [
            name for name, one in every.items() if name in self.outgoing.records or (name in here and here[name].content == one.content)
        ]
        try:
            before = self.place.read(CARD, ROOT_MOST)
        except Absent:
            before = b""
        digest = card.table_digest(self.outgoing, shown)
        if digest.encode() not in before:
            self._write("", TABLE, card.table(self.outgoing, shown))
        text = card.readme(self.outgoing, every, self.place.url if not isinstance(self.place, Folder) else self.place.path.name, digest)
        if text != before:
            self._write("", CARD, text)


def _check_same(there: Manifest, ours: Manifest, url: str) -> None:
    """Refuse to write over another cache. The one at the place may be an earlier state of ours: with fewer segments, or other labels."""
    if not _follows(there, ours):
        raise UserError(f"{url} holds another cache ({'; '.join(differences(there, ours))}); give another place")


def _ids(manifest: Manifest) -> list[str]:
    return [source.ids for source in (manifest.source, *manifest.source.also)]


def _follows(before: Manifest, now: Manifest) -> bool:
    """Whether one manifest may be a later one of the cache that has the other one: with the same shapes first, relabelled or not."""
    alike = (before.shard, before.format_version, before.source.kind) == (now.shard, now.format_version, now.source.kind)
    same = (before.segments or (before.shapes,)) == (now.segments or (now.shapes,)) and _ids(before) == _ids(now)
    return alike and (same or _grown(before, now))


def _grown(before: Manifest, now: Manifest) -> bool:
    """Whether one manifest is that of a cache which has grown since it had the other one."""
    was, is_ = (m.segments or (m.shapes,) for m in (before, now))
    return len(is_) > len(was) and is_[: len(was)] == was and _ids(now)[: len(_ids(before))] == _ids(before)


# ---------------------------------------------------------------------------------------------------------------- pull


def pull(url: str, path: Path, *, patterns: Sequence[str] = (), where: Selection = ALL, jobs: int = JOBS, terminal: Terminal) -> Moved:
    """Fetch a cache, some of its products, or some of its shapes, and check every file against its completion marker.

    Args:
        url: where the cache is: a folder, or an address of `s3://`, `gs://`, `https://` or `hf://datasets/`.
        path: where to put it: a new path, or a cache that was pulled from there before. What is finished in that changes with the place.
        patterns: names of products, or patterns such as `image/*`; all if empty. Index and status always come along.
        where: which shapes to keep. Only shards that hold some of them are fetched, and the index as a whole.
        jobs: number of files that move at once.
        terminal: for progress.

    Raises:
        UserError: there is no such product or no such shape, a file differs from its completion marker, `path` holds another cache, there
            is too little space, or the connection is lost.
    """
    place = place_of(url)
    if isinstance(place, Folder) and (place.path.resolve() == path.resolve() or path.resolve().is_relative_to(place.path.resolve())):
        raise UserError(f"{path} is the cache itself, or lies inside it; give another path")
    found = described_at(place)
    chosen = choose(found.records, patterns, url)
    with exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as journal:
        if where.values:
            return _pull_shapes(place, found, path, chosen, where, jobs, terminal, journal)
        return Pull(place, found, jobs, terminal).run(path, chosen)


class _Counted(Place):
    """Another place, of which all that is read is counted."""

    def __init__(self, place: Place, tally: _Tally) -> None:
        super().__init__(place.url)
        self.place, self.tally = place, tally

    def read(self, key: str, most: int) -> bytes:
        data = self.place.read(key, most)
        array = key.partition("/c/")[0].removeprefix("products/").removeprefix("stats/")
        self.tally.add(products.owner(array, spec.FORMAT_VERSION) or array, len(data))
        return data

    def address(self, key: str) -> str:
        return self.place.address(key)


def _pull_shapes(
    place: Place, found: Described, path: Path, chosen: Sequence[Record], where: Selection, jobs: int, terminal: Terminal, journal: TextIO
) -> Moved:
    """Fetch the shards that hold selected shapes, and copy these shapes into a cache. Call it under `exclusive(path)`.

    Shards come to a mirror beside the cache, which stays after a stop, so that the same command goes on. It has room for the shards that
    two shards of the cache are made from, so that each is fetched once.
    """
    stage, tally = path.resolve().with_name(f".{path.resolve().name}.pulling"), _Tally()
    if stage.is_symlink():
        raise UserError(f"{stage} is a symbolic link, where files lie until they are copied: remove it")
    mirror = Mirror(stage, FILE_MOST << 10)
    try:
        original = opened_at(_Counted(place, tally), found, mirror, jobs)
        merging = Merging([original], [record.product for record in chosen], where)
        largest = 0
        for record in merging.records.values():
            sizes = {node.path: node for node in original.arrays(record)}
            for shard in range(markers(merging.manifest, record).shape[0]):
                keys = [key.partition("/c/") for _, keys in merging.files(record, shard) for key in keys]
                largest = max(largest, sum(file_most(found.manifest, sizes[at], int(rest.partition("/")[0])) for at, _, rest in keys))
        mirror.limit = mirror.size() + 2 * largest
        needed = _needed(path, [node for record in merging.records.values() for node in products.arrays(merging.manifest, record)])
        _refuse_full(path, needed + 2 * largest, f"{place.url} needs {human(needed)}, and {human(2 * largest)} more for a while")
    except UserError:
        if not (path / ROOT).exists():
            shutil.rmtree(stage)
        raise
    merging.write(path, journal, lambda totals: terminal.begin(dict(totals)), terminal.advance)
    shutil.rmtree(stage)
    return tally.moved()


def _needed(path: Path, nodes: Sequence[ArraySpec]) -> int:
    """Return the bytes that a cache still needs, at least: those of uncompressed arrays, whose size is known, without what is there."""
    raw = sum(node.shape[0] * node.row_bytes for node in nodes if node.codec == "raw")
    held = sum(file.stat().st_size for node in nodes for file in (path / node.path).rglob("*") if file.is_file())
    return max(raw - held, 0)


def _refuse_full(path: Path, needed: int, what: str) -> None:
    """Refuse what cannot fit on the disk.

    Raises:
        UserError: it cannot.
    """
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{what}, and {folder} has {human(free)} free: choose products by --products, or give another path")


def choose(there: Mapping[str, Record], patterns: Sequence[str], url: str) -> list[Record]:
    """Select products by names and patterns, with those that every cache has.

    Raises:
        UserError: a pattern fits no product.
    """
    for pattern in patterns:
        if not fnmatch.filter(there, pattern):
            raise UserError(f"{url} has no complete product {pattern!r}{spec.did_you_mean(pattern, there)}")
    wanted = {name for pattern in patterns or ("*",) for name in fnmatch.filter(there, pattern)}
    return [record for name, record in there.items() if name in wanted or name in ALWAYS]


class Pull:
    """One pull."""

    def __init__(self, place: Place, found: Described, jobs: int, terminal: Terminal) -> None:
        self.place, self.found, self.jobs, self.terminal = place, found, jobs, terminal
        self.manifest = found.manifest
        self.tally = _Tally()

    def run(self, path: Path, chosen: Sequence[Record]) -> Moved:
        """Fetch products into a cache, which is made if it is not there yet. Call it under `exclusive`.

        Raises:
            UserError: see `pull`.
        """
        done: set[str] = set()
        if (path / ROOT).is_file():
            cache = store.open_cache(path)
            if cache.below is not None:
                raise UserError(f"{path} is an overlay, and a pull makes a plain cache; give another path")
            followed = self._changed(cache, chosen)
            every = {record.product: record for record in (*chosen, *followed)}
            self._check_space(path, [*every.values()])
            self.terminal.begin({name: self._shards(record) for name, record in every.items()})
            if followed:
                before = cache.manifest
                self._follow(cache, followed)
                cache, done = store.open_cache(path), {record.product for record in followed}
                self._tell_unfitting(before, cache, done)
        else:
            self._check_space(path, chosen)
            self.terminal.begin({record.product: self._shards(record) for record in chosen})
            cache = store.receive(path, self.manifest)
        for record in chosen:
            if record.product not in done:
                self._product(cache, record)
            if record.product == products.INDEX.name:
                cache = store.open_cache(path)  # which refuses a manifest that speaks of more shapes than the index has
        return self.tally.moved()

    def _changed(self, cache: Cache, chosen: Sequence[Record]) -> list[Record]:
        """Return the products of a cache that have to change together, because those at the place have changed since they were pulled.

        Empty if what is here only has to be completed. Else the products that are finished here, and those that are asked for and begun.

        Raises:
            UserError: the cache is another one, or was itself changed here.
        """
        here, there = cache.records(), self.found.records
        other = [
            name for name, record in here.items() if record.complete and name in there and there[name].content not in (record.content, "")
        ]
        if cache.manifest == self.manifest and not other:
            return []
        if not _follows(cache.manifest, self.manifest):
            raise UserError(self._other(cache.path, cache.manifest))
        self._check_unchanged_here(cache, here, other)
        asked = {record.product for record in chosen}
        return [record for name, record in there.items() if name in here and (here[name].complete or name in asked)]

    def _check_unchanged_here(self, cache: Cache, here: Mapping[str, Record], other: Sequence[str]) -> None:
        """Refuse to change a cache that was itself changed since it was pulled.

        Args:
            cache: the cache.
            here: its records.
            other: names of its finished products that are not as at the place.

        Raises:
            UserError: it has products about shapes that the place lacks, or products of other settings.
        """
        there, path, url = self.found.records, cache.path, self.place.url
        elsewhere = f"Or pull into a new path, and put products of your own over it by --overlay; {path} stays as it is"
        grown, stale = cache.manifest.shapes != self.manifest.shapes, {*other}
        mine = [record for name, record in here.items() if name not in there and record.complete and not products.of(record).labelled]
        if own := [r.product for r in mine if grown or stale & {products.STATUS.name, *products.needs(r)}]:
            raise UserError(
                f"{url} has changed since {path} was pulled, and it lacks {', '.join(own)}, which {path} has: made here, or removed or not "
                "finished there. So nobody can fetch that for the shapes as they are now. Wait until it is finished there, or remove it "
                f"here by `{shlex.join(['mmpd-cache', 'remove', str(path), *own])}`. {elsewhere}"
            )
        for name in sorted(here.keys() & there.keys()):
            ours, theirs = here[name], there[name]
            follows = name == products.INDEX.name or (ours.labels is not None and ours.labels.name == "source")  # these tell of all shapes
            if ours.fingerprint != theirs.fingerprint and not follows:
                raise UserError(
                    f"{path} has {name} made from another specification than {url} ({'; '.join(differences(ours, theirs))}): remove it "
                    f"here. {elsewhere}"
                )

    def _other(self, path: Path, here: Manifest) -> str:
        """Say why a cache cannot be pulled over one with another manifest, and what to do."""
        if _follows(self.manifest, here):
            return (
                f"{path} has {here.count} shapes, and {self.place.url} only the first {self.manifest.count} of them: {path} was appended "
                "to, or the place holds an older state. Pull into a new path"
            )
        if here.source.ids == self.manifest.source.ids:
            return (
                f"{path} and {self.place.url} began with the same shapes, and each of them got other ones since "
                f"({'; '.join(differences(here, self.manifest))}). Pull into a new path, and append to that one, or put products of your "
                "own over it by --overlay"
            )
        return f"{path} is another cache than {self.place.url} ({'; '.join(differences(here, self.manifest))}); give another path"

    def _follow(self, cache: Cache, records: Sequence[Record]) -> None:
        """Bring products of a cache to the state at the place, which has grown or changed since they were pulled.

        Shards of new shapes are put behind those that are there, where nobody reads them yet. A product of which older shards have changed
        is unfinished from the beginning on. At the end all descriptions, the index and the root are written together. After a stop, the
        same call goes on.

        Args:
            cache: the cache as it is.
            records: the products, as the place records them. They are all that is finished in the cache, and perhaps some that are not.

        Raises:
            UserError: something is damaged at the place, or is being changed there.
        """
        after = Cache(cache.path, self.manifest)
        updates = [self._compared(after, record) for record in records]
        here = cache.records()
        others = [
            u.record.product for u in updates if not u.labelled and min(u.todo, default=cache.manifest.shards) < cache.manifest.shards
        ]
        if changed := [name for name in others if here[name].complete]:
            self._refuse_changed_here(cache.path, changed)
        self._refuse_begun_here(cache, here, updates)
        for update in updates:  # before anything is written: old shards of one product beside new ones of another would read as whole
            local = here[update.record.product]
            if not update.together:
                for shard in update.todo:
                    if shard < cache.manifest.shards and (local.complete or cache.has(local, shard)):
                        cache.reopen(local, shard)
        held: dict[str, dict[int, list[bytes]]] = {}
        for update in updates:
            name, last = update.record.product, 1 if update.labelled else cache.manifest.shards
            self.terminal.advance(name, len(update.sums) - len(update.todo))
            held[name] = {}
            now = [shard for shard in update.todo if update.together and shard < last]
            for shard in now:  # few and small: the index, and class names
                held[name][shard] = self._fetched(update.record, shard, update.sums[shard])
                self.terminal.advance(name, 1)
            _each(
                self.jobs,
                lambda shard, update=update: self._shard(after, update.record, shard, update.sums[shard]),  # type: ignore[misc]
                [shard for shard in update.todo if shard not in now],
                lambda _, name=name: self.terminal.advance(name, 1),  # type: ignore[misc]
            )
        for update in updates:
            together = {shard: update.sums[shard] for shard in held[update.record.product]}
            if after.content(update.record, together, update.statistics) != update.record.content:
                raise UserError(
                    f"{cache.path}: {update.record.product} does not match the digest in its record, so its files do not belong together; "
                    "run the same command again"
                )
        write_together(cache.path, self._flip(cache, after, updates, held))

    def _refuse_changed_here(self, path: Path, changed: Sequence[str]) -> None:
        """Refuse to replace shards of a cache, if these are not as at the place because of a command here.

        Args:
            path: the cache.
            changed: products of which shards are others than at the place.

        Raises:
            UserError: the journal beside it knows of a command that may have changed them.
        """
        if any(isinstance(event, Build | Relabel) for event in read_journal(path).events):
            raise UserError(
                f"{path} and {self.place.url} have other values in {', '.join(changed)} for the same shapes, and a command has changed "
                f"{path} here (see {journal_file(path)}). Pull into a new path, and put products of your own over it by --overlay"
            )

    def _tell_unfitting(self, before: Manifest, cache: Cache, followed: Collection[str]) -> None:
        """Say which products of a cache do not fit its classes any more.

        Args:
            before: the manifest before it followed the place.
            cache: the cache as it is now.
            followed: names of the products that are as at the place.
        """
        was, now = (dict(manifest.source.relabelled) for manifest in (before, cache.manifest))
        changed = {"class": int(was.get("class") != now.get("class") or before.classes != cache.manifest.classes)}
        for text in edits.unfitting(cache, changed, followed):
            self.terminal.say(f"Warning: {text}")

    def _refuse_begun_here(self, cache: Cache, here: Mapping[str, Record], updates: "Sequence[_Update]") -> None:
        """Refuse to change shards from which a part of an unfinished product was made: the rest of it would be made from others.

        Args:
            cache: the cache.
            here: its records.
            updates: what changes.

        Raises:
            UserError: there is such a product, which was begun here, or is not among what is fetched now.
        """
        changed = {u.record.product: {shard for shard in u.todo if shard < cache.manifest.shards} for u in updates if not u.labelled}
        mixed, inputs = list[str](), set[str]()
        for name, record in here.items():
            if record.complete or name in changed or products.of(record).labelled:
                continue
            needed = {products.STATUS.name, *products.needs(record)} & changed.keys()
            if stale := {one for one in needed if any(cache.has(record, shard) for shard in changed[one])}:
                mixed.append(name)
                inputs |= stale
        if mixed:
            there = [name for name in mixed if name in self.found.records]
            fetch = f", or pull it whole: name {', '.join(there)} in --products, too" if there else ""
            raise UserError(
                f"{self.place.url} has other values in {', '.join(sorted(inputs))} for the same shapes since {cache.path} was pulled, and "
                f"here a part of {', '.join(mixed)} is made from those of before. The rest would be made from the new ones. Remove it by "
                f"`{shlex.join(['mmpd-cache', 'remove', str(cache.path), *mixed])}`{fetch}. Or pull into a new path; {cache.path} stays "
                "as it is"
            )

    def _compared(self, after: Cache, record: Record) -> "_Update":
        """Compare the completion markers of a product here with those at the place."""
        sums, statistics = self._proven(record)
        todo = [s for s in range(len(sums)) if not (after.has(record, s) and np.array_equal(after.checksums(record, s), sums[s]))]
        return _Update(record=record, sums=sums, statistics=statistics, todo=todo)

    def _flip(
        self, cache: Cache, after: Cache, updates: "Sequence[_Update]", held: Mapping[str, Mapping[int, list[bytes]]]
    ) -> list[tuple[str, bytes]]:
        """Return the files that make a cache the one at the place, in the order of writing: each record before what it describes, the
        root last. While the index changes, it counts as unfinished."""
        rows = cache.manifest.shapes
        grown = rows != self.manifest.shapes
        every = {
            name: outgrown(record, rows) if grown and not products.of(record).labelled else record
            for name, record in cache.records().items()
        }
        for update in updates:  # readers that have the cache open go on with what it was, but for what changes under them
            name = update.record.product
            every[name] = dataclasses.replace(update.record, before=() if held[name] else every[name].before)
        files: list[tuple[str, bytes]] = []
        for update in updates:
            record, marker = every[update.record.product], markers(self.manifest, update.record)
            place, arrays = f"products/{record.product}/{ROOT}", after.arrays(record)
            new = held[record.product]
            if new:
                begun = dataclasses.replace(record, complete=False, content="", before=())
                files.append((place, node_json(marker, sealed(begun))))
            for shard, contents in new.items():
                files += [(node.key(shard), data) for node, data in zip(arrays, contents, strict=True)]
                files.append((marker.key(shard), encode(marker, update.sums[shard][None])))
            files.append((place, node_json(marker, sealed(record))))
            if update.statistics is not None:
                files.append((statistics_array(self.manifest, record).key(0), update.statistics))
        written = {place for place, _ in files}
        for at, (content, _) in store.nodes(self.manifest, every).items():
            if f"{at}/{ROOT}" not in written and not _holds(cache.path / at / ROOT, content):
                files.append((f"{at}/{ROOT}", content))
        return [*files, (ROOT, store.root_json(self.manifest, every))]

    def _shards(self, record: Record) -> int:
        return markers(self.manifest, record).shape[0]

    def _check_space(self, path: Path, chosen: Sequence[Record]) -> None:
        """Refuse what cannot fit on the disk, before anything is fetched. Only uncompressed arrays count, whose size is known."""
        needed = _needed(path, [node for record in chosen for node in products.arrays(self.manifest, record)])
        _refuse_full(path, needed, f"{self.place.url} needs {human(needed)} at least")

    def _product(self, cache: Cache, record: Record) -> None:
        local = cache.begin(dataclasses.replace(record, complete=False, content=""))
        if local.complete and local.content == record.content and not cache.missing(local):
            self.terminal.advance(record.product, self._shards(record))
            return
        sums, statistics = self._proven(record)
        missing = set(cache.missing(local))
        same = [s for s in range(len(sums)) if s not in missing and np.array_equal(cache.checksums(local, s), sums[s])]
        self.terminal.advance(record.product, len(same))
        todo = sorted(set(range(len(sums))) - set(same))
        for shard in todo:
            if shard not in missing:
                cache.reopen(local, shard)  # it is replaced, so it must not look finished meanwhile
        begun = dataclasses.replace(local, complete=False, content="")
        _each(
            self.jobs, lambda shard: self._shard(cache, begun, shard, sums[shard]), todo, lambda _: self.terminal.advance(record.product, 1)
        )
        cache.adopt(record, statistics)

    def _proven(self, record: Record) -> tuple[list[NDArray[np.uint8]], bytes | None]:
        """Fetch the completion markers [files, 32] of a product, and its statistics, and compare them with the digest in its record.

        Raises:
            UserError: a marker is damaged, or they do not add up: they belong to another state of the product.
        """
        marker = markers(self.manifest, record)
        found: dict[int, NDArray[np.uint8]] = {}

        def fetch(shard: int) -> None:
            data = self._read(record.product, marker.key(shard), marker.row_bytes + 4)
            if not ends_in_crc(data, marker.row_bytes + 4):
                raise UserError(f"{self.place.address(marker.key(shard))} is damaged: it is no completion marker. Push that cache again")
            found[shard] = np.frombuffer(data[:-4], np.uint8).reshape(marker.shape[1:])

        # In pieces, so that a description of more shards than there are fails at the first one that is not there.
        for start in range(0, marker.shape[0], PIECE):
            _each(self.jobs, fetch, range(start, min(start + PIECE, marker.shape[0])))
        sums = [found[shard] for shard in range(marker.shape[0])]
        statistics = None
        if products.of(record).statistics:
            node = statistics_array(self.manifest, record)
            statistics = self._read(record.product, node.key(0), 2 * node.row_bytes + 4)
        content = hashlib.sha256(b"".join(part.tobytes() for part in sums) + (statistics or b"")).hexdigest()
        if content != record.content:
            raise UserError(
                f"{self.place.url}: the completion markers of {record.product} do not add up to the digest in its record: they were "
                "changed, or a push is at work there. Try again, or push that cache again"
            )
        return sums, statistics

    def _read(self, product: str, key: str, most: int) -> bytes:
        data = self.place.read(key, min(most, FILE_MOST))
        self.tally.add(product, len(data))
        return data

    def _shard(self, cache: Cache, record: Record, shard: int, sums: NDArray[np.uint8]) -> None:
        """Fetch the files of one shard. Nothing is written unless all of them are as they were pushed."""
        cache.write_files(record, shard, self._fetched(record, shard, sums))

    def _fetched(self, record: Record, shard: int, sums: NDArray[np.uint8]) -> list[bytes]:
        """Fetch the files of one shard, and compare them with their checksums [files, 32]."""
        files = []
        for node, wanted in zip(products.arrays(self.manifest, record), sums, strict=True):
            data = self._read(record.product, node.key(shard), file_most(self.manifest, node, shard))
            if hashlib.sha256(data).digest() != wanted.tobytes():
                raise UserError(
                    f"{self.place.address(node.key(shard))} does not match the checksum in its completion marker: it is damaged there. It "
                    "was not kept. Push that cache again from where it is whole, and run the same command again"
                )
            files.append(data)
        return files


@dataclass(frozen=True, kw_only=True)
class _Update:
    """What a product of a pulled cache lacks of its state at the place."""

    record: Record
    """The product, as the place records it."""
    sums: list[NDArray[np.uint8]]
    """Checksums of the files of each shard. [files, 32] each"""
    statistics: bytes | None
    """The file of its statistics, if it has any."""
    todo: list[int]
    """Shards that are not here, or are others."""

    @property
    def labelled(self) -> bool:
        """Whether it holds class names, and not shapes."""
        return products.of(self.record).labelled

    @property
    def together(self) -> bool:
        """Whether shards that change are written together with the root: those of the index and of class names, which are few."""
        return self.labelled or self.record.product == products.INDEX.name


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file is there and has a content."""
    return path.is_file() and read_file(path) == content
