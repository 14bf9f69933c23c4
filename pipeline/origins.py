"""Open the shapes of a cache again, from the places where they were or are now.

    source, config = source_again(cache, "")           # from the places in the journal
    source.entries[row]                                # the shape of a row

A cache that has grown, or was copied from several, has shapes of several sources. They are opened as one: `Joined`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cache_schema import spec
from cache_schema.errors import UserError
from cache_schema.spec import SourceSpec
from cache_schema.store import Cache
from cache_schema.terminal import some
from pipeline.journal import Append, Build, journal_of
from pipeline.opening import config_of, last_config, open_config_source
from pipeline.recipes import BuildConfig, SourceConfig
from pipeline.sources.catalog import DatedReader, Entry, Reader, Source, Textures, read_by
from pipeline.statements import Statement, Variety, stated, varied

if TYPE_CHECKING:
    from pipeline.geometry import Cloud, Mesh

PLACES: Final = 16
"""Most places of the journal in which a source is looked for."""
LEFT_OUT: Final = 100
"""Most shapes that a collection makes for each one that a cache of it holds."""
NOBODY: Final = Entry(id="", locator="0:")
"""Stands in rows that hold no shape."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Reads shapes of several sources. The locator of an entry begins with the number of its reader and a colon."""

    readers: tuple[Reader, ...]

    @property
    def kind(self) -> str:
        """Kind of the first source."""
        return self.readers[0].kind

    @property
    def location(self) -> str:
        """Location of the first source."""
        return self.readers[0].location

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """Options of the first source."""
        return self.readers[0].options

    @property
    def textures(self) -> Textures:
        """What happens to a shape of the first source whose texture file is missing."""
        return self.readers[0].textures

    def read(self, entry: Entry) -> "Mesh | Cloud":
        """See `Reader.read`."""
        reader, own = self._of(entry)
        return reader.read(own)

    def digest(self, entry: Entry) -> bytes:
        """See `Reader.digest`."""
        reader, own = self._of(entry)
        return reader.digest(own)

    def states(self, entry: Entry) -> Statement:
        """See `statements.StatingReader`."""
        return stated(*self._of(entry))

    def varies(self, entry: Entry) -> Variety:
        """See `statements.VaryingReader`."""
        return varied(*self._of(entry))

    def read_by(self, entry: Entry) -> tuple[str, ...]:
        """See `catalog.NamingReader`."""
        return read_by(*self._of(entry))

    def written(self, entry: Entry) -> float:
        """See `catalog.DatedReader`."""
        reader, own = self._of(entry)
        return reader.written(own) if isinstance(reader, DatedReader) else 0.0

    def _of(self, entry: Entry) -> tuple[Reader, Entry]:
        number, _, locator = entry.locator.partition(":")
        return self.readers[int(number)], dataclasses.replace(entry, locator=locator)


def source_again(cache: Cache, location: str) -> tuple[Source, BuildConfig]:
    """Open the source that a cache was built from, or the sources of all its segments. Also returns the settings of its last build.

    Args:
        cache: the cache.
        location: where the shapes are now; empty for the place in the journal. The shapes of several sources are looked for there first,
            and then in the places of the journal.

    Returns:
        The source, with one entry for each row of the cache, and the settings of the last build, if the journal has them.

    Raises:
        UserError: the place of the shapes is unknown, other shapes are there, or `relabel` has given the shapes other ids.
    """
    whole, manifest = cache.manifest.source, cache.manifest
    if manifest.renamed:
        raise UserError(
            f"{cache.path}: `relabel` has given its shapes other names, so nothing says any more which file is which shape's. What needs "
            "the files of shapes cannot be done with this cache"
        )
    parts = [dataclasses.replace(whole, also=(), relabelled=()), *whole.also]
    rows = [row for span in manifest.spans for row in span]
    spans: list[Sequence[int]] = [*manifest.spans] if whole.also else [rows]
    if len(parts) == 1 and not manifest.segments and not whole.of:
        source, _ = _opened(cache, parts[0], spans[0], location)
        return source, last_config(cache)
    found = [_opened(cache, part, span, location) for part, span in zip(parts, spans, strict=True)]
    entries = [NOBODY] * manifest.shapes
    for number, ((_, own), span) in enumerate(zip(found, spans, strict=True)):
        for row, entry in zip(span, own, strict=True):
            entries[row] = dataclasses.replace(entry, locator=f"{number}:{entry.locator}")
    reader = Joined(readers=tuple(source.reader for source, _ in found))
    return Source(reader=reader, entries=tuple(entries), skipped={}, labelled=found[0][0].labelled), last_config(cache)


def _opened(cache: Cache, part: SourceSpec, rows: Sequence[int], location: str) -> tuple[Source, list[Entry]]:
    """Open the source of some rows of a cache. Also returns its entries of these rows, in order.

    Raises:
        UserError: it is not where it was, or there are other shapes.
    """
    error = UserError(f"{cache.path} has no journal beside it that names its source; give it with --source")
    tried = 0
    for place, config in _places(cache, part, location):
        try:
            # Anybody may have written the journal, and ids are only compared after the source is open. So what the cache says comes first.
            source = _open(cache, part, len(rows), place, config)
            if spec.ids_digest(entry.id for entry in source.entries) == part.ids:
                return source, list(source.entries)  # `repair` comes here while the index is damaged
            ids = [str(name) for name in cache.ids()[list(rows)]]
            by_id = {entry.id: entry for entry in source.entries}
            gone = [name for name in ids if name not in by_id]
            if gone or spec.ids_digest(ids) != part.ids:
                told = f": {len(gone)} of {len(ids)} are not there, or are no shapes any more ({some(gone, 3)})" if gone else ""
                raise UserError(f"{place} does not hold the shapes {cache.path} was built from{told}")
            others = by_id.keys() - set(ids)
            if not part.of and others:
                new = sorted(others - {str(name) for name in cache.ids()})  # some may be those of a later `append`
                if new:
                    raise UserError(
                        f"{place} holds shapes that {cache.path} does not hold: {some(new)}. `mmpd-cache append` takes them in; or name a "
                        "folder without them"
                    )
            return source, [by_id[name] for name in ids]
        except UserError as problem:
            error = error if tried else problem
            tried += 1
    raise error


def _open(cache: Cache, part: SourceSpec, count: int, place: str, config: BuildConfig) -> Source:
    """Open a source as a part of a cache describes it. `count` is the number of its shapes in the cache."""
    options = {**config.source.settings, **dict(part.options)}
    listed = part.of or count
    # `count` is an option of collections that are generated, `copies` of scans of them. Scans from a car leave out what stands indoors, and
    # add people and trees. The caller compares ids; this keeps a forged number from listing shapes without end.
    if "count" in options and not 0 < _times(options["count"], options.get("copies", "1")) <= LEFT_OUT * listed:
        raise UserError(
            f"{cache.path} holds {listed} shapes, but its source is said to make {options['count'][:20]}: "
            "it is damaged; build the cache anew"
        )
    asked = SourceConfig(kind=part.kind, textures=part.textures, options=tuple(f"{name}={value}" for name, value in options.items()))
    return open_config_source(place, dataclasses.replace(config, source=asked))


def _places(cache: Cache, part: SourceSpec, location: str) -> Iterator[tuple[str, BuildConfig]]:
    """Yield the places where the shapes of a part may be, each with the settings of the build that named it."""
    alone = not cache.manifest.source.also
    if location:
        yield location, last_config(cache)
    if location and alone:
        return
    seen: set[str] = {location}
    for event in reversed(journal_of(cache).events):
        if isinstance(event, Build) and event.source and event.source not in seen and len(seen) <= PLACES:
            if alone or event.kind in ("", part.kind):
                seen.add(event.source)
                yield event.source, config_of(event) or last_config(cache)
            if alone and not isinstance(event, Append):  # one that was stopped names a source that is none of this cache
                return


def _times(count: str, copies: str) -> int:
    """Return the product of two numbers that are given as texts; 0 if one of them is no number of at most nine digits."""
    whole = all(text.isascii() and text.isdigit() and len(text) <= 9 for text in (count, copies))
    return int(count) * int(copies) if whole else 0
