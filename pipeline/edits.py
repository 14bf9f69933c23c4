"""Remove products from a cache, and give its shapes other classes, splits or names. Nothing is computed again.

    remove(Path("shapes.zarr"), ["image/clip"], True, terminal)
    relabel(Path("shapes.zarr"), Path("labels.csv"), terminal)

Both go on after a kill: the same command, or the next one that writes to the cache, finishes what was begun.
"""

import csv
import hashlib
import io
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, spec, store
from cache_schema.errors import UserError
from cache_schema.files import regular_bytes, write_together
from cache_schema.layout import digests, encode, node_json, text_cells
from cache_schema.products import markers
from cache_schema.records import sealed
from cache_schema.selection import held as rows_held
from cache_schema.spec import CaptionSpec, Manifest, Record, did_you_mean, short
from cache_schema.store import Cache
from cache_schema.terminal import some
from pipeline import journal
from pipeline.formats.said import separator
from pipeline.journal import append as noted
from pipeline.sources.catalog import shape_id
from pipeline.work import Terminal, held, lacking_classes

SOME: Final = 5
"""Number of names that a message lists."""

# ------------------------------------------------------------------------------------------------------------ removing


def remove(path: Path, names: Sequence[str], dependants: bool, terminal: Terminal, *, for_good: bool = False) -> list[str]:
    """Remove products, finished or not. A reader that opened the cache before keeps what it has mapped.

    The record goes first, together with the completion markers: from then on the product is not there. Then the arrays go. After a kill,
    the next command that writes to the cache goes on with this.

    Args:
        path: the cache.
        names: names of the products.
        dependants: whether to remove the products that are made from them, too.
        terminal: gets messages.
        for_good: whether to remove products that no command can make again.

    Returns:
        Names of all products that were removed.

    Raises:
        UserError: there is no such product, it is part of every cache, others are made from it and `dependants` is not set, or nothing can
            make it again and `for_good` is not set. Nothing was removed.
    """
    opened = store.open_cache(path)  # no lock file beside what is no cache
    asked = list(dict.fromkeys(name.strip("/") for name in names))
    if not _stopped(opened.path):
        _removable(opened, asked, dependants, for_good)
    with held(path, terminal) as notes:  # which finishes a removal that was stopped after it was decided
        cache, stopped = store.open_cache(path), _stopped(opened.path)
        known = _known(cache)
        if stopped and not [name for name in asked if name in known or name not in stopped]:
            noted(notes, journal.Done())
            return stopped
        gone = _removable(cache, asked, dependants, for_good)
        noted(notes, journal.Remove(product=",".join(gone)))
        left = {name: record for name, record in cache.on_disk().all()[0].items() if name not in gone}
        write_together(cache.path, [("zarr.json", cache.root(left))], _places(cache, gone, left))
        noted(notes, journal.Done())
    return gone


def _stopped(path: Path) -> list[str]:
    """Names of the products of the last command on a cache, if that was a removal which was stopped."""
    last = journal.read_journal(path).events[-1:]
    return [name for event in last if isinstance(event, journal.Remove) for name in event.product.split(",")]


def _known(cache: Cache) -> set[str]:
    """Names of all products of which anything is there."""
    on_disk = cache.on_disk()
    return {name for found in (*cache.read_records(), on_disk.lost(), on_disk.ownerless()) for name in found}


def _removable(cache: Cache, asked: Sequence[str], dependants: bool, for_good: bool) -> list[str]:
    """Return the products to remove: those that are made from others come first. Raises as `remove`."""
    (records, _), known = cache.read_records(), _known(cache)
    for name in asked:
        if name in products.FIXED:
            raise UserError(f"{name} is part of every cache and cannot be removed; `rm -r {cache.path}` removes the cache")
        if name not in known:
            raise UserError(f"{cache.path} has no product {name!r}{did_you_mean(name, known)}")
    version = cache.manifest.format_version
    gone = set(asked)
    while more := {r.product for r in records.values() if r.product not in gone and gone & set(products.needs(r, version))}:
        gone |= more
    shared = [name for name in asked if not cache.owns(name)]
    if cache.below is not None and shared:
        raise cache.below.not_here(cache.path, f"{', '.join(shared)} lies in")
    others = [name for name in records if name in gone and name not in asked]
    if others and not dependants:
        raise UserError(
            f"{cache.path}: {', '.join(others)} {'is' if len(others) == 1 else 'are'} made from {', '.join(asked)}: name them, too, or add "
            "--with-dependants"
        )
    # `build` makes these products, and it refuses a cache whose shapes are of several sources, or not all of one.
    lost = [name for name in gone if name in records and products.from_files(records[name])]
    if lost and not for_good and (cache.manifest.segments or cache.manifest.source.of):
        raise UserError(
            f"{cache.path}: {', '.join(sorted(lost))} cannot be made again, because its shapes are of several sources, or not all of one. "
            "Without points nothing is made or trained of it any more; --for-good removes all the same"
        )
    ordered = [record.product for record in products.in_order(records.values()) if record.product in gone]
    return [*(name for name in asked if name not in records), *ordered[::-1]]


def _places(cache: Cache, gone: Sequence[str], left: Mapping[str, Record]) -> list[str]:
    """List the folders of some products in the order of removing: records with markers, statistics, arrays, groups that nobody needs.

    Args:
        cache: the cache.
        gone: names of the products.
        left: the records that stay.
    """
    on_disk = cache.on_disk()
    arrays = [
        place.relative_to(cache.path).as_posix()
        for name in gone
        for place in (cache.folder(name), *sorted(cache.folder(name).glob("*/")))
        if place.is_dir() and on_disk.is_array_of(place, name)
    ]
    places = [*(f"products/{name}" for name in gone), *(f"stats/{name}" for name in gone), *arrays]
    needed = set(store.nodes(cache.manifest, left, store.GROUPS if cache.below is None else ()))
    above = {parent.as_posix() for place in places for parent in PurePosixPath(place).parents if parent.name}
    for group in sorted(above - needed, key=lambda name: -name.count("/")):
        folder = cache.folder(group)
        there = {f"{group}/{name}" for name in os.listdir(folder)} if folder.is_dir() else set()
        if there <= {f"{group}/zarr.json", *places}:
            places.append(group)
    return places


# ---------------------------------------------------------------------------------------------------------- relabelling

NAMES: Final = {"class": "label", "split": "split", "name": "id"}
"""Arrays of the index by the column of a file that changes them."""


@dataclass(frozen=True, kw_only=True)
class Relabelled:
    """What `relabel` changed."""

    changed: dict[str, int]
    """Number of shapes that have changed, by column of the file."""
    notes: tuple[str, ...]
    """What does not fit any more."""


def relabel(path: Path, file: Path, terminal: Terminal) -> Relabelled:
    """Give shapes other classes, splits or names. Everything changes together, or nothing does.

    Args:
        path: the cache.
        file: a table with the column `id`, and `class`, `split` or `name`, in UTF-8, with commas, semicolons or tabs. An empty class or
            split is none. Shapes that it does not name stay as they are.
        terminal: gets messages.

    Raises:
        UserError: the file has another form, names an id twice or one that the cache does not have, or two shapes would have one name.
    """
    cache = store.open_cache(path)  # no lock file beside what is no cache
    if cache.below is not None:
        raise cache.below.not_here(cache.path, "its shapes are those of")
    if cache.manifest.format_version == 1:
        raise UserError(f"{path} has format 1, which cannot say that it was relabelled: convert it by `mmpd-cache copy {path} NEW`")
    table = read_table(file)
    with held(path, terminal) as notes:
        cache = store.open_cache(path)
        before = cache.proven(products.INDEX.name)
        names = _names(cache)
        after = _changed(names, table, file)
        changed = {
            column: int(sum(a != b for a, b in zip(names[column], after[column], strict=True))) for column in table if column != "id"
        }
        noted(notes, journal.Relabel(source=str(file.absolute()), changed=changed))
        said: tuple[str, ...] = ()
        if any(changed.values()):
            manifest = _manifest(cache, after, [column for column, count in changed.items() if count])
            write_together(cache.path, _files(cache, Cache(cache.path, manifest), before, after))
            said = (*told_new(cache.manifest, manifest), *unfitting(store.open_cache(path), changed))
        noted(notes, journal.Done())
    return Relabelled(changed=changed, notes=said)


def read_table(file: Path) -> dict[str, list[str]]:
    """Read a table of shapes: its columns by name, each with one text for each line.

    Raises:
        UserError: it is missing or empty, is no UTF-8, has unknown or double columns, lines of another length, or an id twice.
    """
    try:
        text = regular_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no UTF-8 text ({error}); save it as CSV UTF-8") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f"{file} is not a file; give a table with the columns id and class, split or name") from error
    told, text = separator(text)
    first = text.lstrip("\r\n").partition("\n")[0]
    marks = [told] if told else [mark for mark in (",", ";", "\t") if mark in first]
    if len(marks) > 1:
        raise UserError(f"{file}: the first line has both {marks[0]!r} and {marks[1]!r}; separate the columns by one of them")
    if "\0" in text or not text.strip():
        raise UserError(
            f"{file} is {'no text' if text.strip() else 'empty'}; expected a table with the columns id and class, split or name"
        )
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=marks[0] if marks else ",", strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: {error}; is every quotation mark there that closes a cell?") from error
    return _columns(file, lines)


def _columns(file: Path, lines: Sequence[tuple[int, list[str]]]) -> dict[str, list[str]]:
    """Return the columns of a table. `lines` has the number and the cells of each line. Raises as `read_table`."""
    (_, header), *rows = lines
    header = [name.lower() for name in header]
    for name in header:
        if name != "id" and name not in NAMES:
            near = did_you_mean(name, ["id", *NAMES])
            raise UserError(
                f"{file}: its first line names the columns: id and any of {', '.join(NAMES)}; got {short(name)}"
                f"{near if near.startswith('; did') else ''}"
            )
    if len(set(header)) < len(header) or "id" not in header or len(header) < 2:
        raise UserError(f"{file}: expected the column id and at least one of {', '.join(NAMES)}, each once, got {', '.join(header)}")
    wrong = next(((number, len(cells)) for number, cells in rows if len(cells) != len(header)), None)
    if wrong is not None:
        raise UserError(f"{file}, line {wrong[0]}: expected {len(header)} cells, got {wrong[1]}")
    if not rows:
        raise UserError(f"{file} has no lines below its first one, so nothing would change")
    table = {name: [cells[i] for _, cells in rows] for i, name in enumerate(header)}
    seen: dict[str, int] = {}
    for (number, _), name in zip(rows, table["id"], strict=True):
        if name in seen:
            raise UserError(f"{file}: the id {short(name)} is in lines {seen[name]} and {number}; keep one of them")
        seen[name] = number
    return table


def _names(cache: Cache) -> dict[str, list[str]]:
    """Return the class, the split and the id of each row, by column. Rows without a shape have empty texts. [N] each"""
    m = cache.manifest
    known = {"class": m.classes, "split": m.splits}
    found = {word: [names[i] if i >= 0 else "" for i in cache.column(NAMES[word])] for word, names in known.items()}
    return {**found, "name": [str(name) for name in cache.ids()]}


def _changed(names: Mapping[str, list[str]], table: Mapping[str, list[str]], file: Path) -> dict[str, list[str]]:
    """Return the names of all rows as a table changes them. Raises as `relabel`."""
    rows = {name: row for row, name in enumerate(names["name"]) if name}
    unknown = [name for name in table["id"] if name not in rows]
    if unknown:
        near = did_you_mean(unknown[0], rows) if len(rows) <= 10_000 else ""
        raise UserError(f"{file}: the cache has no shapes {some([*map(short, unknown)], SOME)}{near if near.startswith('; did') else ''}")
    after = {column: list(values) for column, values in names.items()}
    for column in (column for column in table if column != "id"):
        for name, value in zip(table["id"], table[column], strict=True):
            if column == "name" and (not value or shape_id(value) != value or len(value.encode()) > spec.TEXT_BYTES):
                raise UserError(
                    f"{file}: {short(value)} cannot be the name of {short(name)}: expected 1 to {spec.TEXT_BYTES} plain characters"
                )
            after[column][rows[name]] = value
    used: dict[str, str] = {}
    for old, new in zip(names["name"], after["name"], strict=True):
        if new and new in used:
            raise UserError(f"{file}: {short(used[new])} and {short(old)} would both be called {short(new)}")
        used[new] = old
    return after


def _manifest(cache: Cache, after: Mapping[str, list[str]], columns: Sequence[str]) -> Manifest:
    """Return the manifest after a change of some columns. Names stay in their order, new ones come last, and none is dropped."""
    old = cache.manifest
    there = dict(old.source.relabelled)
    for column in columns:
        digest = hashlib.sha256(spec.canonical([after[column][row] for row in np.flatnonzero(rows_held(old)).tolist()])).hexdigest()
        there[column] = digest[:16]

    def joined(known: tuple[str, ...], now: Sequence[str]) -> tuple[str, ...]:
        return (*known, *sorted(set(now) - {*known, ""}))

    return replace(
        old,
        classes=joined(old.classes, after["class"]),
        splits=joined(old.splits, after["split"]),
        source=replace(old.source, relabelled=tuple(sorted(there.items()))),
    )


def _files(cache: Cache, new: Cache, before: Record, after: Mapping[str, list[str]]) -> list[tuple[str, bytes]]:
    """Return the files that change, in the order of writing. While they are written, the index counts as unfinished."""
    m = new.manifest
    place = {name: {text: i for i, text in enumerate(known)} for name, known in (("class", m.classes), ("split", m.splits))}
    numbers: dict[str, NDArray[Any]] = {
        NAMES[word]: np.array([known.get(text, -1) for text in after[word]], np.int32) for word, known in place.items()
    }
    begun = replace(before, spec=m.source, complete=False, content="", before=())
    marker, arrays = markers(m, begun), new.arrays(begun)
    files, sums = [(f"products/{begun.product}/zarr.json", node_json(marker, sealed(begun)))], {}
    for shard in range(m.shards):
        rows = m.rows(shard)
        old = cache.checksums(before, shard)
        made = [_column(cache, node, shard, numbers, after["name"][rows.start : rows.stop], before) for node in arrays]
        sums[shard] = digests(made)
        if not np.array_equal(sums[shard], old):
            files += [(node.key(shard), data) for node, data in zip(arrays, made, strict=True)]
            files.append((marker.key(shard), encode(marker, sums[shard][None])))
    final = replace(begun, complete=True, content=new.content(begun, sums))
    files.append((f"products/{begun.product}/zarr.json", node_json(marker, sealed(final))))
    return [*files, ("zarr.json", store.root_json(m, cache.records() | {begun.product: final}))]


def _column(cache: Cache, node: Any, shard: int, numbers: Mapping[str, NDArray[Any]], ids: Sequence[str], record: Record) -> bytes:
    """Return one shard of an array of the index after a change."""
    rows = cache.manifest.rows(shard)
    if node.path == NAMES["name"]:
        return encode(node, text_cells(ids))
    if node.path in numbers:
        return encode(node, numbers[node.path][rows.start : rows.stop])
    return encode(node, cache.shard_rows(node, shard, record))


def told_new(before: Manifest, now: Manifest) -> tuple[str, ...]:
    """Say which classes and splits are new, and which of them differ from another one only in letter case or spacing."""
    said = []
    for word, known, names in (("class", before.classes, now.classes), ("split", before.splits, now.splits)):
        new = [name for name in names if name not in known]
        if new:
            said.append(f"new {'splits' if word == 'split' else 'classes'}: {some([*map(short, new)], SOME)}")
        alike: dict[str, list[str]] = {}
        for name in names:
            alike.setdefault("".join(name.casefold().split()), []).append(name)
        said += [
            f"{' and '.join(map(short, group))} count as different {'splits' if word == 'split' else 'classes'}; to make one of them, "
            f"give their shapes one {word} by `mmpd-cache relabel`"
            for group in alike.values()
            if set(group) & set(new) and len(group) > 1
        ]
    return tuple(said)


def unfitting(cache: Cache, changed: Mapping[str, int], fits: Collection[str] = ()) -> tuple[str, ...]:
    """Say which products no longer fit the new classes or names.

    Args:
        cache: the cache as it is now.
        changed: number of shapes that have changed, by column of a file as `relabel` takes one.
        fits: names of captions that were written after the change, or perhaps were.
    """
    said = []
    if changed.get("class"):
        said += lacking_classes(cache)
        for name, record in cache.products().items():
            if isinstance(record.spec, CaptionSpec) and record.spec.templates and name not in fits:
                said.append(f"{name} was written with the names of the old classes, and what is made from it still says them")
    if changed.get("name"):
        said.append("the names of files are no longer known: `retry`, `append --skip` and repairs that read files cannot match them")
    return tuple(said)
