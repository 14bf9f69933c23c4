"""Copy selected shapes of a cache, or shapes of several caches, into a new cache.

`cache_schema.copy.copy` calls `merge`. Every row keeps its bytes; statistics are computed anew. The rows of each source form a segment of
the new cache, so that it says which shapes are of which source, and `retry` finds their files.
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, spec, store
from cache_schema.errors import UserError
from cache_schema.files import exclusive, journal_file, read_file
from cache_schema.lacking import counted, uncounted
from cache_schema.layout import ArraySpec, ShardFile
from cache_schema.records import differences
from cache_schema.selection import ALL, COLUMNS, UNASKED, Selection, chosen_products, left_out, names_of
from cache_schema.spec import CUT, NOT_KNOWN, READER, Manifest, Record, SourceSpec, did_you_mean, short
from cache_schema.store import Cache
from cache_schema.terminal import some

SOME: Final = 5
"""Number of names that a message lists."""
COPY: Final = "copy"
"""Name of the event in the journal that says what was copied."""


@dataclass(frozen=True, kw_only=True)
class Copied:
    """The result of `copy`."""

    cache: Cache
    left_out: dict[str, str]
    """Products that were not copied, each with the reason."""


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Rows of one source of one cache. They become a segment of the new cache."""

    cache: Cache
    source: SourceSpec
    rows: NDArray[np.int64]
    records: Mapping[str, Record]
    """The finished products of the cache."""


def merge(
    originals: Sequence[Cache],
    new: Path,
    names: Sequence[str],
    where: Selection,
    wait: Callable[[], None] | None,
    begin: Callable[[Mapping[str, int]], None],
    advance: Callable[[str, int], None],
) -> Copied:
    """Copy rows of some caches into a new one. Arguments and errors as in `cache_schema.copy.copy`."""
    merging = Merging(originals, names, where)
    with exclusive(new, wait) as journal:
        return merging.write(new, journal, begin, advance)


class Merging:
    """What is copied from which caches. Nothing is written before `write` is called."""

    def __init__(self, originals: Sequence[Cache], names: Sequence[str], where: Selection) -> None:
        """Arguments and errors as in `cache_schema.copy.copy`."""
        for original in originals:
            if original.manifest.format_version == 1:
                raise UserError(f"{original.path} has format 1: convert it first by `mmpd-cache copy {original.path} NEW`")
        if len({original.path for original in originals}) < len(originals):
            raise UserError("a cache is named twice")
        self.originals = originals
        self._pieces = _pieces(originals, where)
        _refuse_collisions(self._pieces)
        self.manifest = _manifest(self._pieces, originals[0].manifest.shard)
        self.records, self._left = _records(originals, names, self.manifest)
        """The products of the new cache but its index, in the order of making."""
        for original in originals:
            for name in (products.INDEX.name, *self.records):
                original.proven(name)

    def write(self, new: Path, journal: TextIO, begin: Callable[[Mapping[str, int]], None], advance: Callable[[str, int], None]) -> Copied:
        """Make the new cache, or continue it. Call it under `exclusive(new)`, which yields the journal. Errors as in `copy`."""
        contents = {
            str(i): {n: r.content for n, r in o.products().items() if n in self.records or n == products.INDEX.name}
            for i, o in enumerate(self.originals)
        }
        copied = _opened(self._pieces, self.manifest, new)
        new_one = bring_journal(journal, self.originals)
        _note(journal, copied, self.originals, contents, begun=not new_one)
        begun = [copied.begin(record) for record in self.records.values()]
        begin({record.product: count for record in begun if (count := len(copied.missing(record)))})
        for record in begun:
            for shard in copied.missing(record):
                for original, keys in self.files(record, shard):
                    original.fetch(keys)
                copied.write(record, shard, {node.path: _rows(self._pieces, copied, record, node, shard) for node in copied.arrays(record)})
                advance(record.product, 1)
        for original, known in zip(self.originals, contents.values(), strict=True):
            now = original.again()  # it may have been changed while it was read
            if {n: r.content for n, r in now.products().items() if n in known} != known or now.manifest != original.manifest:
                raise UserError(f"{original.address} was changed while it was copied; delete {new} and copy again")
        for record in begun:
            copied.finish(counted(copied, record))
        return Copied(cache=copied, left_out=self._left)

    def files(self, record: Record, shard: int) -> list[tuple[Cache, list[str]]]:
        """List the files, by their places in each original, that one shard of a product of the new cache is made from."""
        if products.of(record).labelled:
            piece = self._pieces[0]
            return [(piece.cache, [node.key(shard) for node in piece.cache.arrays(piece.records[record.product])])]
        piece, wanted = _wanted(self._pieces, self.manifest, shard)
        numbers = np.unique(wanted // piece.cache.manifest.shard).tolist()
        nodes = piece.cache.arrays(piece.records[record.product])
        return [(piece.cache, [node.key(number) for number in numbers for node in nodes])]


def bring_journal(journal: TextIO, originals: Sequence[Cache]) -> bool:
    """Copy the journals of the originals into that of a new cache, because they say where the shapes are.

    Returns whether that was done now, and not before."""
    if journal.seek(0, os.SEEK_END):
        return False
    for path in (path for original in originals for path in original.paths):
        if journal_file(path).is_file():
            text = read_file(journal_file(path)).decode(errors="replace")
            journal.write(text if text.endswith("\n") or not text else f"{text}\n")  # a kill may have cut the last line
    journal.flush()
    return True


# -------------------------------------------------------------------------------------------------------- which shapes


def _pieces(originals: Sequence[Cache], where: Selection) -> list[_Piece]:
    """Choose the rows of each source of each cache.

    Raises:
        UserError: a name of the selection is in none of the caches, or no shape fits.
    """
    for word, names in where.values:
        known = {name for original in originals for name in names_of(original.manifest)[word]}
        for name in names:
            if name not in known:
                raise UserError(f"no cache has the {word} {short(name)}{did_you_mean(name, known) or '; there is none'}")
    pieces = []
    for original in originals:
        m = original.manifest
        rows = _fitting(original, where)
        sources = (dataclasses.replace(m.source, also=()), *m.source.also)
        spans = m.spans if m.source.also else [range(m.shapes)]
        ids, there = original.ids(), original.products()
        for source, span in zip(sources, spans, strict=True):
            mine = rows[(rows >= span.start) & (rows < span.stop)]
            if len(mine):
                listed = source.of or sum(1 for row in span if ids[row])
                of = listed if len(mine) < listed else source.of
                described = dataclasses.replace(source, ids=spec.ids_digest(str(name) for name in ids[mine]), of=of)
                pieces.append(_Piece(cache=original, source=described, rows=mine, records=there))
    if not pieces:
        raise UserError(f"no shape of {', '.join(o.address for o in originals)} fits {where.text}")
    return pieces


def _fitting(original: Cache, where: Selection) -> NDArray[np.int64]:
    """Return the rows of a cache that fit; none if it has none of the names. Other caches may have them. [n]"""
    known = names_of(original.manifest)
    values = tuple((word, tuple(name for name in names if name in known[word])) for word, names in where.values)
    if not all(names for _, names in values):
        return np.zeros(0, np.int64)
    fits = ALL.rows(original)
    for word, names in values:
        column = original.column(COLUMNS[word])[fits]
        fits = fits[np.isin(column, [known[word].index(name) for name in names])]
    return fits


def _refuse_collisions(pieces: Sequence[_Piece]) -> None:
    """Refuse shapes of the same id.

    Raises:
        UserError: two caches have one.
    """
    owner: dict[str, Path] = {}
    double = []
    for piece in pieces:
        for name in piece.cache.ids()[piece.rows]:
            if owner.setdefault(name, piece.cache.path) != piece.cache.path:
                double.append(str(name))
    if double:
        raise UserError(
            f"{len(double)} ids are in several of the caches: {some([*map(short, double)], SOME)}. Give the shapes of one of them "
            "other names (`mmpd-cache relabel`, column name), or leave them out by --where"
        )


def _manifest(pieces: Sequence[_Piece], shard: int) -> Manifest:
    """Return the manifest of the new cache. Names are those of the first cache, and then new ones of the others, in their order."""
    counts = [len(piece.rows) for piece in pieces]
    first, *others = (piece.source for piece in pieces)
    shapes = sum(-(-count // shard) for count in counts[:-1]) * shard + counts[-1]
    joined = {word: tuple(dict.fromkeys(n for p in pieces for n in names_of(p.cache.manifest)[word])) for word in COLUMNS}
    return Manifest(
        shapes=shapes,
        shard=shard,
        source=dataclasses.replace(first, also=tuple(others)),
        classes=joined["class"],
        splits=joined["split"],
        licences=joined["licence"],
        segments=tuple(counts) if others else (),
    )


# ------------------------------------------------------------------------------------------------------ which products


def _records(originals: Sequence[Cache], names: Sequence[str], manifest: Manifest) -> tuple[dict[str, Record], dict[str, str]]:
    """Return the records of the new cache in the order of making, and the products that are left out with the reason.

    Raises:
        UserError: a product was made otherwise in another cache, or one that was asked for is not in all of them.
    """
    first, *others = originals
    chosen = {name: record for name, record in chosen_products(first, names).items() if name != products.INDEX.name}
    left = left_out(first, names, chosen)
    made: dict[str, tuple[Record, ...]] = {name: (record,) for name, record in chosen.items()}
    for other in others:
        theirs = other.products()
        left |= {name: UNASKED if names else f"is only in {other.path}" for name in theirs if name not in first.records()}
        for name, records in list(made.items()):
            if products.of(records[0]).labelled:
                if name in theirs and theirs[name].fingerprint != records[0].fingerprint:
                    left[name] = f"is another label set in {other.path}: `mmpd-cache labels NEW SET` makes it for all shapes"
                    del made[name]
            elif name in theirs:
                _refuse_other(first, records[0], other, theirs[name])
                made[name] = (*records, theirs[name])
            elif name in names:
                raise UserError(f"{other.path} has no finished product {name!r}: leave it out, or make it there first")
            else:
                left[name] = f"is not finished in {other.path}"
                del made[name]
    new = partial(_new, originals, whole=manifest.count == sum(original.manifest.count for original in originals))
    return {record.product: record for record in products.in_order(new(records) for records in made.values())}, left


def _new(originals: Sequence[Cache], records: Sequence[Record], *, whole: bool) -> Record:
    """Return the record that a product gets in the copy, from its record in each cache. If other software made it in another cache, it says
    so.

    Of several caches of which some do not tell how their files were read, that is not known of the copy (`Record.readings`). It does not
    apply to those whose shapes are made in code.

    How many of the copied shapes lack something is counted at the end. How many texts were cut only a teacher can count: it is known if the
    `whole` of all caches is copied and each of them knows it."""
    record, made_by = records[0], uncounted(records[0])
    more = {(f"also {name}", value) for other in records[1:] for name, value in set(uncounted(other)) - set(made_by)}
    silent = [not one.readings and cache.manifest.source.from_files for one, cache in zip(records, originals, strict=True)]
    if any(silent) and any(one.readings for one in records):
        more.add((f"also {READER}", NOT_KNOWN))
    cut = [one.cut for one in records if one.cut is not None]
    known = [(CUT, str(sum(cut)))] if whole and len(cut) == len(records) else []
    return dataclasses.replace(record, complete=False, content="", before=(), made_by=(*made_by, *sorted(more), *known))


def _refuse_other(first: Cache, record: Record, other: Cache, theirs: Record) -> None:
    """Refuse a product that was made in another way in another cache. The source of the shapes may differ.

    Raises:
        UserError: it was.
    """
    if products.of(record) is products.STATUS or lineage(first.records())[record.product] == lineage(other.records())[theirs.product]:
        return
    why = [text for text in differences(record, theirs) if not text.startswith("inputs")]
    raise UserError(
        f"{record.product} was made otherwise in {other.path}: {'; '.join(why) or 'from products that were made otherwise'}. "
        "Leave it out by --products, or make it in the same way in both"
    )


def lineage(records: Mapping[str, Record]) -> dict[str, str]:
    """Return fingerprints that two caches have in common if their products were made in the same way from shapes of any source.

    Args:
        records: the records of a cache, by name.

    Returns:
        A fingerprint by name of the product, in which the source of the shapes does not count.
    """
    known: dict[str, str] = {}
    found = {}
    for record in products.in_order(records.values()):
        inputs = sorted((role, "" if role == "source" else known.get(value, value)) for role, value in record.inputs)
        found[record.product] = dataclasses.replace(record, inputs=tuple(inputs)).fingerprint
        known[record.fingerprint] = found[record.product]
    return found


# ----------------------------------------------------------------------------------------------------------- the copying


def _opened(pieces: Sequence[_Piece], manifest: Manifest, new: Path) -> Cache:
    """Open the unfinished copy, or create an empty one.

    Raises:
        UserError: the place holds another cache.
    """
    if (new / "zarr.json").is_file():
        copied = store.open_cache(new)
        if copied.manifest != manifest:
            why = "; ".join(differences(copied.manifest, manifest)) or "other names"
            raise UserError(f"{new} is another cache ({why}); give another path")
        return copied
    ids = [""] * manifest.shapes
    columns = {array: np.full(manifest.shapes, -1, np.int32) for array in COLUMNS.values()}
    for piece, span in zip(pieces, manifest.spans, strict=True):
        ids[span.start : span.stop] = [str(name) for name in piece.cache.ids()[piece.rows]]
        for word, array in COLUMNS.items():
            ours, theirs = names_of(manifest)[word], names_of(piece.cache.manifest)[word]
            places = np.array([*(ours.index(name) for name in theirs), -1], np.int32)  # -1, for none, finds the last one
            columns[array][span.start : span.stop] = places[piece.cache.column(array)[piece.rows]]
    label, split, licence = (columns[COLUMNS[word]].tolist() for word in ("class", "split", "licence"))
    return store.create(new, manifest, ids, label, split, licence)


def _note(journal: TextIO, copied: Cache, originals: Sequence[Cache], contents: Mapping[str, Mapping[str, str]], *, begun: bool) -> None:
    """Note in the journal what is copied, so that a copy that is continued (`begun`) does not mix two states of an original.

    Raises:
        UserError: an original has changed since the copy was begun.
    """
    journal.seek(0)
    for line in reversed(journal.read().splitlines()) if begun else ():
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(said, dict) or said.get("event") != COPY or said.get("shapes") != copied.manifest.source.ids:
            continue
        before = said.get("contents")
        if isinstance(before, dict) and any(_differ(before.get(number), now) for number, now in contents.items()):
            raise UserError(f"an original was changed after {copied.path} had been begun: delete {copied.path} and copy again")
        break  # earlier ones are of the originals, which may be copies themselves
    event = {"time": round(time.time(), 3), "event": COPY, "of": [o.address for o in originals], "contents": contents}
    journal.write(json.dumps(event | {"shapes": copied.manifest.source.ids}) + "\n")
    journal.flush()


def _differ(before: Any, now: Mapping[str, str]) -> bool:
    """Whether a product of an original has another digest than a journal says. Products that the journal does not name may be new."""
    return not isinstance(before, dict) or any(before.get(name, content) != content for name, content in now.items())


def _rows(pieces: Sequence[_Piece], copied: Cache, record: Record, node: ArraySpec, shard: int) -> NDArray[Any] | list[list[bytes]]:
    """Return the rows of one shard of the copy: values, or encoded chunks. Label sets are taken as they are."""
    if products.of(record).labelled:
        return pieces[0].cache.shard_rows(node, shard, pieces[0].records[record.product])
    piece, wanted = _wanted(pieces, copied.manifest, shard)
    theirs = piece.records[record.product]
    source = next(one for one in piece.cache.arrays(theirs) if one.path == node.path)
    values: list[NDArray[Any]] = []
    chunks: list[list[bytes]] = []
    for number, local in _by_shard(wanted, piece.cache.manifest.shard):
        if node.sharded and node.codec == "zstd":
            stored = ShardFile(piece.cache.file(source.key(number)), source, piece.cache.digest(theirs, source, number))
            encoded = stored.encoded(source.rows(number))
            chunks += [encoded[row] for row in local]
        else:
            values.append(piece.cache.shard_rows(source, number, theirs)[local])
    return chunks or np.concatenate(values)


def _wanted(pieces: Sequence[_Piece], manifest: Manifest, shard: int) -> tuple[_Piece, NDArray[np.int64]]:
    """Return what one shard of the new cache is made from: a piece, and rows of its cache in ascending order. [n]"""
    rows = manifest.rows(shard)
    piece, span = next((p, s) for p, s in zip(pieces, manifest.spans, strict=True) if rows.start in s)
    return piece, piece.rows[rows.start - span.start : rows.stop - span.start]


def _by_shard(rows: NDArray[np.int64], shard: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield (number of a shard, places in it) for rows in ascending order."""
    for number in np.unique(rows // shard).tolist():
        yield number, rows[rows // shard == number] % shard
