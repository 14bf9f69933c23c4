"""How the files of shapes were read: what a cache notes of it, and what this version reads otherwise.

    points = noted(points, reader, entries)                   # the record of new points: made by ("reader .npz", "1"), ...
    refuse_other(cache, reader, entries, "Do that")           # before files are read for shapes of a cache

The numbers are those of `pipeline.formats.catalog.READINGS`. They are no part of a fingerprint, because a reader that was mended changes
some shapes of some caches. Files are read for a cache only if that does not put shapes of two readings of one format into it. Caches that
earlier versions built note nothing. For these it is said that it is not known.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from cache_schema import products, spec
from cache_schema.errors import UserError
from cache_schema.spec import READER, Manifest, Record
from cache_schema.store import Cache
from cache_schema.terminal import counted, some
from pipeline.formats.catalog import READINGS
from pipeline.records import only_with
from pipeline.sources.catalog import Entry, Reader, read_by

SOME: Final = 5
"""Most shapes, or numbers of one format, that a message names."""


# --------------------------------------------------------------------------------------------------- what a cache notes


def names(reader: Reader, entries: Iterable[Entry]) -> list[str]:
    """Return the names in `READINGS` of everything that reads the files of some shapes, sorted."""
    return sorted({name for entry in entries for name in read_by(reader, entry)})


def noted(record: Record, reader: Reader, entries: Iterable[Entry]) -> Record:
    """Return the record of points with the present readings of the files of its shapes, and no others."""
    return _with(record, {name: (str(READINGS[name]),) for name in names(reader, entries)})


def grown(record: Record, more: Record, manifest: Manifest) -> Record:
    """Return the record of points that grow by those of another record.

    Args:
        record: the points of the cache.
        more: those of the new shapes. What both have read, they have read alike.
        manifest: that of the cache before it grows. If it does not note how its files were read, it does not do so afterwards.
    """
    known = record.readings
    return record if not known and manifest.source.from_files else _with(record, {**more.readings, **known})


def alike(record: Record, there: Record | None) -> Record:
    """Return a record of points with the readings of the one that a cache has already, if it has one."""
    return record if there is None else _with(record, there.readings)


def _with(record: Record, readings: dict[str, tuple[str, ...]]) -> Record:
    """Return a record with some readings instead of its own. The first number of a name is written as new caches do, further ones as caches
    do that several became."""
    others = tuple(pair for pair in record.made_by if not spec.is_reading(pair[0]))
    said = [
        ("also " * bool(at or not name) + f"{READER} {name}".rstrip(), number)
        for name, numbers in readings.items()
        for at, number in enumerate(numbers)
    ]
    return dataclasses.replace(record, made_by=(*others, *sorted(said)))


# ------------------------------------------------------------------------------------------------- what differs by now


def otherwise(record: Record | None, found: Iterable[str]) -> dict[str, str]:
    """Tell which files this version reads otherwise than the shapes of a cache were read.

    Args:
        record: the points of the cache; None if it has none yet.
        found: names in `READINGS`.

    Returns:
        By name: the numbers in the record, in words.
    """
    known = record.readings if record is not None else {}
    return {
        name: " and ".join(number[:20] for number in known[name][:5])
        for name in found
        if name in known and known[name] != (str(READINGS[name]),)
    }


def not_known(manifest: Manifest, record: Record | None, found: Iterable[str]) -> list[str]:
    """Select the names of which a cache does not say how all of its files were read. Arguments as in `otherwise`."""
    if record is None or (record.readings and "" not in record.readings) or not manifest.source.from_files:
        return []
    return [name for name in found if name not in otherwise(record, [name])]


def in_words(found: dict[str, str]) -> str:
    """Write what `otherwise` has found, such as `reader .npz 1, here 2`."""
    return "; ".join(f"{READER} {name} {numbers}, here {READINGS[name]}" for name, numbers in found.items())


def told(cache: Cache) -> dict[str, Any]:
    """Tell how the files of a cache were read.

    Returns:
        `readers`: numbers by name, with the empty name if it is not known of some shapes; only if some shapes are from files. Where there
        are any, `read_otherwise`: by name, the number of this version if it is another one.
    """
    record = cache.records().get(products.POINTS.name)
    if record is None or not (record.readings or cache.manifest.source.from_files):
        return {}
    known: dict[str, Any] = {name: list(numbers) for name, numbers in record.readings.items()}
    now = {name: READINGS[name] for name in otherwise(record, [name for name in known if name in READINGS])}
    return {"readers": known or {"": [spec.NOT_KNOWN]}} | ({"read_otherwise": now} if now else {})


def clashing(cache: Cache, reader: Reader, entries: Sequence[Entry]) -> list[Entry]:
    """Select the shapes that would be read otherwise than those that a cache has.

    Args:
        cache: the cache.
        reader: the reader of the shapes.
        entries: the shapes that would be read.
    """
    record = cache.records().get(products.POINTS.name)
    if not (found := otherwise(record, READINGS)):  # there may be a million shapes
        return []
    return [entry for entry in entries if not found.keys().isdisjoint(read_by(reader, entry))]


def clash(cache: Cache, reader: Reader, entries: Sequence[Entry]) -> str:
    """Say which shapes would be read otherwise than those that a cache has; empty if none would. Arguments as in `clashing`."""
    if not (these := clashing(cache, reader, entries)):
        return ""
    found, mine = otherwise(cache.records().get(products.POINTS.name), names(reader, these)), [entry.id for entry in these]
    shapes = f"{counted(len(mine), 'shape')} ({some(mine, SOME)})"
    return f"{shapes} would be read otherwise than the shapes that the cache has of such files ({in_words(found)})"


def left_out(cache: Cache, reader: Reader, entries: Sequence[Entry]) -> tuple[frozenset[str], str]:
    """Tell which shapes a cache may get as failed ones only, because they would be read otherwise than those that it has.

    Args: as in `clashing`.

    Returns:
        Their ids, and the reason that is stored with them.
    """
    these = clashing(cache, reader, entries)
    found = otherwise(cache.records().get(products.POINTS.name), names(reader, these))
    why = f"not read, because the other shapes of such files were read otherwise ({in_words(found)}): `mmpd-cache retry CACHE --reread`"
    return frozenset(entry.id for entry in these), f"{why} reads all of them anew" if these else ""


def refuse_other(cache: Cache, reader: Reader, entries: Sequence[Entry], instead: str) -> None:
    """Refuse to read shapes for a cache that would be read otherwise than those that it has. Arguments as in `clashing`.

    Raises:
        UserError: there are such shapes. The message names them and says what to do: `instead`, or to make the others anew.
    """
    if found := clash(cache, reader, entries):
        raise UserError(f"{cache.path}: {found}. {remedy(cache)}. Or {instead}")


def remedy(cache: Cache) -> str:
    """Say which command makes shapes anew whose files are read otherwise by now, and what that takes if it would be refused now."""
    place = cache.path if cache.owns(products.POINTS.name) else cache.home
    anew = f"`mmpd-cache retry {place} --reread` makes all its shapes of such files anew, in all products"
    return anew + only_with(cache.records().values())


def tell_unknown(cache: Cache, reader: Reader, entries: Sequence[Entry], say: Callable[[str], None]) -> None:
    """Say that it is not known whether shapes are read as those that the cache has, if that is so. Arguments as in `clashing`."""
    record = cache.records().get(products.POINTS.name)
    if not_known(cache.manifest, record, READINGS) and (found := not_known(cache.manifest, record, names(reader, entries))):
        say(
            f"Note: {cache.path} was built by an earlier version, and does not say how it read {', '.join(found)}. If that was otherwise "
            f"than now (see CHANGELOG.md), shapes of two readings are mixed. {remedy(cache)}"
        )


# -------------------------------------------------------------------------------------------------- shapes to make anew


def rows_read_otherwise(cache: Cache, reader: Reader, entries: Sequence[Entry]) -> list[int]:
    """Return the rows of shapes that are ok and whose files are read otherwise by now, or of which that is not known."""
    points, status = (cache.records().get(kind.name) for kind in (products.POINTS, products.STATUS))
    if points is None or status is None:
        return []
    rows: list[int] = []
    gone = set(cache.missing(status))
    found = stale(cache, reader, entries)
    for shard in range(cache.manifest.shards) if found else ():
        if shard not in gone:
            ok = cache.shard_rows(cache.node("status"), shard, status) == spec.OK
            here = cache.manifest.rows(shard)
            rows += [row for row in here if ok[row - here.start] and not found.isdisjoint(read_by(reader, entries[row]))]
    return rows


def stale(cache: Cache, reader: Reader, entries: Sequence[Entry]) -> set[str]:
    """Return the names of what reads files of a cache otherwise by now, or of which that is not known."""
    points, found = cache.records().get(products.POINTS.name), names(reader, _held(cache, entries))
    return {*otherwise(points, found), *not_known(cache.manifest, points, found)}


def mixing(cache: Cache) -> None:
    """Note in the record of points the present readings beside those of before, until `renew`. So a cache whose shapes are being made anew
    says after a kill that it has shapes of both, and all of them are made anew again. Where readings are not known, nothing is noted."""
    record = cache.records()[products.POINTS.name]  # unfinished after a kill
    both = {
        name: tuple(sorted({*numbers, str(READINGS[name])} if name in READINGS else numbers)) for name, numbers in record.readings.items()
    }
    if (now := _with(record, both)) != record:
        cache.rewrite_record(now)


def renew(cache: Cache, reader: Reader, entries: Sequence[Entry]) -> None:
    """Write the present readings into the record of points, after all shapes that were read otherwise were made anew."""
    record = cache.record(products.POINTS.name)
    if (now := noted(record, reader, _held(cache, entries))) != record:
        cache.rewrite_record(now)


def _held(cache: Cache, entries: Sequence[Entry]) -> list[Entry]:
    """Select the entries of rows that hold a shape."""
    return [entries[row] for span in cache.manifest.spans for row in span]
