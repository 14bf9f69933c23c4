"""What lacks in products that were brought from files, and in captions of a server or of what a source states: shapes without an
embedding or a text.

for shard, rows in lacking(cache, record): ...             # rows of usable shapes that lack something
record = counted(cache, record)                            # the record with their number, `Record.lacking`
for name, ids in lacking_ids(cache).items(): ...           # {"captions/cap3d": ["00a1", ...]}
textless(cache)                                            # ["captions/mine"]: no shape at all has a text in it
"""

import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_schema import products
from cache_schema.spec import COUNTED, CUT, LACKING, CaptionSpec, Record, TeacherSpec
from cache_schema.store import Cache


def is_imported(record: Record) -> bool:
    """Whether a product was brought from a file."""
    return isinstance(record.spec, TeacherSpec | CaptionSpec) and record.spec.imported


def may_lack(record: Record) -> bool:
    """Whether shapes may lack something in a product: it was brought from a file, or holds captions of a server or of what is stated."""
    return is_imported(record) or (isinstance(record.spec, CaptionSpec) and record.spec.may_lack)


def remedy(path: Path, record: Record) -> str:
    """Say which command makes the rest of a product that lacks new shapes."""
    place = shlex.quote(str(path))
    if is_imported(record):
        return f"It was imported: `mmpd-cache remove {place} {record.product}`, then bring it again for all shapes."
    if products.of(record) is products.GUIDE:
        return f"`mmpd-train guide {place} RUN --name {products.parts(record)['guide']}` makes the rest, with the run it is of."
    return f"`mmpd-cache retry {place}` makes the rest, once what made it is there."


def lacking(cache: Cache, record: Record) -> Iterator[tuple[int, list[int]]]:
    """For each shard: its number, and the rows of the cache that are usable and lack an embedding or a text of a shape or a view."""
    node, ok = cache.arrays(record)[0], cache.ok()
    for shard in range(cache.manifest.shards):
        rows = cache.manifest.rows(shard)
        values = cache.shard_rows(node, shard, record if record.complete else None)
        if isinstance(record.spec, CaptionSpec):
            there = np.asarray((values[..., 0] != 0).any(axis=2))
        elif products.of(record) is products.TEXT:
            there = np.asarray(values.reshape(len(values), -1).any(axis=1))[:, None]
        else:
            there = np.asarray(values.any(axis=2))
        lost = ok[rows.start : rows.stop] & ~np.asarray(there.all(axis=1))
        yield shard, (rows.start + np.flatnonzero(lost)).tolist()


def textless(cache: Cache) -> list[str]:
    """List the complete captions in which no usable shape has a text. Empty if no shape is usable."""
    there = {name: record for name, record in cache.records().items() if record.complete}
    captions = products.select(there, products.CAPTIONS)
    ok = cache.ok() if captions and products.STATUS.name in there else np.zeros(0, np.bool_)
    return [record.product for record in captions if ok.any() and not _any_text(cache, record, ok)]


def _any_text(cache: Cache, record: Record, ok: NDArray[np.bool_]) -> bool:
    """Whether a usable shape has a text in complete captions. Nearly always the first shard tells."""
    if may_lack(record) and record.lacking < np.count_nonzero(ok):
        return True  # one lacks nothing
    node = cache.arrays(record)[0]
    for shard in range(cache.manifest.shards):
        rows = cache.manifest.rows(shard)
        if (cache.shard_rows(node, shard, record)[..., 0][ok[rows.start : rows.stop]] != 0).any():
            return True
    return False


def lacking_ids(cache: Cache) -> dict[str, list[str]]:
    """By product in which shapes may lack something: the ids of the usable shapes that do."""
    found = {}
    for name, record in cache.records().items():
        if record.complete and record.lacking and may_lack(record):
            ids = cache.ids()
            found[name] = [ids[row] for _, rows in lacking(cache, record) for row in rows]
    return found


def counted(cache: Cache, record: Record) -> Record:
    """Return the record of a product whose shards are all there, with the number of usable shapes that lack something in it. A record of
    a product in which nothing may lack stays as it is."""
    if not may_lack(record) or products.of(record).labelled:
        return record
    count = sum(len(rows) for _, rows in lacking(cache, record))
    return dataclasses.replace(record, made_by=(*uncounted(record), *([(LACKING, str(count))] if count else [])))


def uncounted(record: Record) -> tuple[tuple[str, str], ...]:
    """Return `made_by` of a record without what was counted in its product: shapes that lack something, and texts that were cut."""
    return tuple(pair for pair in record.made_by if pair[0] not in COUNTED)


def grown(record: Record, more: Record) -> Record:
    """Return the record of a product that grows by the shapes of another one, with what was counted in both."""
    lost, cut = record.lacking + more.lacking, None if record.cut is None or more.cut is None else record.cut + more.cut
    said = [*([(LACKING, str(lost))] if lost else []), *([(CUT, str(cut))] if cut is not None else [])]
    return dataclasses.replace(record, made_by=(*uncounted(record), *said))
