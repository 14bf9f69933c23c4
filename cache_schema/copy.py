"""Copy a cache: all of it, some of its products or shapes, or several caches as one. A copy has the newest format.

    copy(Path("old.zarr"), Path("new.zarr"))
    copy("old.zarr", "new.zarr", products=("points", "image/clip"), where=Selection.parse("split=train"), also=("other.zarr",))

Nothing is computed again but statistics. All of a cache is copied file by file; each is compared with its checksum and written unchanged.
Only the arrays that format 1 lacks are added: `licence` (unknown) and `repeated` (no). Of selected shapes, or of several caches, the rows
are copied, as they are. After a kill, call `copy` again: it continues.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cache_schema import products, spec, store
from cache_schema.errors import UserError
from cache_schema.files import exclusive, read_file
from cache_schema.layout import ArraySpec, check_bytes, encode
from cache_schema.merging import Copied, bring_journal, merge
from cache_schema.overlay import refuse_behind
from cache_schema.records import differences
from cache_schema.selection import ALL, Selection, chosen_products, left_out
from cache_schema.spec import CaptionSpec, Record
from cache_schema.store import Cache

UNKNOWN: Final = {"licence": -1, "repeated": 0}
"""Value that fills an array which format 1 lacks, by name of the array."""


def copy(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    *,
    names: Sequence[str] = (),
    where: Selection = ALL,
    also: Sequence[str | os.PathLike[str]] = (),
    wait: Callable[[], None] | None = None,
    begin: Callable[[Mapping[str, int]], None] = lambda totals: None,
    advance: Callable[[str, int], None] = lambda product, shards: None,
) -> Copied:
    """Copy a cache, and convert it to the newest format.

    Args:
        old: the original, which stays unchanged.
        new: where to put the copy. Nothing is there yet, or an unfinished copy of `old`.
        names: products to copy; empty for all that are finished. The index and the status are always copied.
        where: shapes to copy. A name that none of the caches has is refused.
        also: caches whose shapes come after those of `old`.
        wait: called once if another command is at work on the copy.
        begin: called with the number of shards to copy, by product.
        advance: called with (product, number of shards) after each step.

    Raises:
        UserError: a cache is none or is damaged, has format 1 and is not copied as a whole, has no such product, or no shape fits; the
            caches have shapes of the same id, or a product of other settings; an overlay lacks new shapes of its shared cache; or
            `new` holds something else.
    """
    originals = [store.open_cache(path) for path in (old, *also)]
    for original in originals:
        check_place(original, Path(new))
        refuse_behind(original, "a copy")
    if where.values or also:
        return merge(originals, Path(new), names, where, wait, begin, advance)
    (original,) = originals
    there = original.products()
    chosen = chosen_products(original, names)
    records = products.in_order(record for name, record in chosen.items() if name != products.INDEX.name)
    for name in chosen:
        original.proven(name)
    if (Path(new) / "zarr.json").is_file():
        _opened(original, Path(new))
    with exclusive(new, wait) as journal:
        copied = _opened(original, Path(new))
        bring_journal(journal, [original])
        begun = [(record, copied.begin(_new(original, record))) for record in records]
        index = products.INDEX.name
        same = [(there[index], copied.record(index)), *begun]
        _compare(original, copied, same)
        begin({record.product: count for _, record in begun if (count := len(copied.missing(record)))})
        for before, record in begun:
            for shard in copied.missing(record):
                _copy_shard(original, before, copied, record, shard)
                advance(record.product, 1)
            copied.finish(record)
        # The original may have been changed while it was read.
        _compare(original, copied, same)
    return Copied(cache=copied, left_out=left_out(original, names, chosen))


def check_place(original: Cache, new: Path) -> None:
    """Refuse a place for the copy before anything is written there or beside it.

    Raises:
        UserError: the place is the original, lies in it or around it, or holds something else than a copy of it.
    """
    place = new.resolve()
    if place == original.path:
        raise UserError(f"{new} is the cache itself; give another path for the copy")
    for path in original.paths:
        if place.is_relative_to(path) or path.is_relative_to(place):
            raise UserError(f"{new} lies inside {path}, or around it; give a path beside it for the copy")
    if not (new / "zarr.json").is_file():
        store.check_empty(new)


def _compare(original: Cache, copied: Cache, records: Sequence[tuple[Record, Record]]) -> None:
    """Compare the checksums of all shards that the copy has with those of the original.

    Raises:
        UserError: they differ: the original was changed after these shards had been copied.
    """
    for before, record in records:
        old = {_last(node.path): i for i, node in enumerate(original.arrays(before))}
        shared = [(i, old[_last(node.path)]) for i, node in enumerate(copied.arrays(record)) if _last(node.path) in old]
        new, theirs = [i for i, _ in shared], [j for _, j in shared]
        missing = set(copied.missing(record))
        for shard in (shard for shard in range(copied.arrays(record)[0].shards) if shard not in missing):
            if not np.array_equal(copied.checksums(record, shard)[new], original.checksums(before, shard)[theirs]):
                raise UserError(
                    f"{original.path} was changed after {copied.path} had been begun: {record.product} differs in shard {shard}. Delete "
                    f"{copied.path} and copy again, or give another path"
                )


def _opened(original: Cache, new: Path) -> Cache:
    """Open the unfinished copy, or create an empty one.

    Raises:
        UserError: the place holds a cache of other shapes, or something else.
    """
    manifest = dataclasses.replace(original.manifest, format_version=spec.FORMAT_VERSION)
    if not (new / "zarr.json").is_file():
        columns = [original.column(name) for name in ("label", "split")]
        licences = original.column("licence").tolist() if manifest.licences else None
        return store.create(new, manifest, original.ids().tolist(), columns[0].tolist(), columns[1].tolist(), licences)
    copied = store.open_cache(new)
    if copied.manifest != manifest:
        raise UserError(f"{new} is another cache ({'; '.join(differences(copied.manifest, manifest))}); give another path")
    return copied


def _new(original: Cache, record: Record) -> Record:
    """Return the record that a product gets in the copy when its copying begins."""
    names = products.parts(record)
    described = record.spec
    if "captions" in names and original.manifest.format_version == 1:
        names["captions"] = _captions_name(original)
        if isinstance(described, CaptionSpec):
            described = dataclasses.replace(described, name=names["captions"])
    return dataclasses.replace(record, product=products.of(record).product(**names), spec=described, complete=False, content="", before=())


def _captions_name(original: Cache) -> str:
    """Choose a name for the captions of a format 1 cache: that of their model, or of the captioner if it has no model.

    Raises:
        UserError: there are embeddings of captions, but the captions were deleted, so that nothing says what made them.
    """
    found = products.select(original.records(), products.CAPTIONS)
    if not found:
        raise UserError(
            f"{original.path} holds embeddings of captions but no captions: they were deleted. Run the command that made them again, and "
            "then copy"
        )
    described = found[0].spec
    assert isinstance(described, CaptionSpec)
    return described.usual_name


def _copy_shard(original: Cache, before: Record, copied: Cache, record: Record, shard: int) -> None:
    """Copy the files of one shard of a product."""
    sums = original.checksums(before, shard)
    old = {_last(node.path): (node, sums[i].tobytes()) for i, node in enumerate(original.arrays(before))}
    files = []
    for node in copied.arrays(record):
        if _last(node.path) in old:
            there, digest = old[_last(node.path)]
            assert _layout(there) == _layout(node), (there, node)
            path = original.file(there.key(shard))
            data = read_file(path)
            check_bytes(data, digest, path)
        else:
            data = encode(node, np.full((node.rows(shard), *node.shape[1:]), UNKNOWN[node.path], node.dtype))
        files.append(data)
    copied.write_files(record, shard, files)


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _layout(node: ArraySpec) -> Any:
    """Return all of a description that decides the bytes of the array's files."""
    return dataclasses.replace(node, path="", dims=())
