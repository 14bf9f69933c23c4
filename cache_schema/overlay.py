"""Make an overlay: a folder for new products of a cache that one may not write to, or does not want to change.

    with laid(Path("/lab/shapes.zarr"), Path("mine.zarr")) as path:
        cache = open_cache(path)                       # the products of both; what is written goes to mine.zarr

What an overlay is on disk, and when it no longer fits its shared cache, says `cache_schema.below`.
"""

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cache_schema import below, lacking, products, spec, store
from cache_schema.below import Overlay
from cache_schema.errors import UserError
from cache_schema.files import exclusive, is_held, journal_file, made_in, write_file, write_together
from cache_schema.lacking import is_imported
from cache_schema.layout import node_json
from cache_schema.products import markers
from cache_schema.records import Records, attributes_of, sealed
from cache_schema.spec import Record
from cache_schema.store import Cache
from cache_schema.terminal import counted, some

SOME: Final = 5
"""Most names that a message lists."""


@contextlib.contextmanager
def laid(shared: Path, mine: Path | None) -> Iterator[Path]:
    """Give the path that a command writes to: that of an overlay, which is made if it is not there, or of the cache itself.

    An overlay that was made here is removed again if the command fails before it begins a product.

    Args:
        shared: the cache.
        mine: the overlay; None to write to the cache itself.

    Raises:
        UserError: `shared` is no plain cache, or `mine` is something else than an overlay of it, or cannot be made.
    """
    if mine is None:
        yield shared
        return
    made = lay(shared, mine)
    try:
        yield mine
    except BaseException:
        if made:
            _remove_empty(mine)
        raise


def lay(shared: Path, mine: Path) -> bool:
    """Make an empty overlay of a cache, or tell one whose shared cache was moved where that is now.

    Returns:
        Whether the overlay is new.

    Raises:
        UserError: as in `laid`.
    """
    cache = store.open_cache(shared)
    if cache.below is not None:
        raise UserError(
            f"{shared} is an overlay itself: lay yours on its shared cache, {cache.home}, or write to {shared} without --overlay"
        )
    _check_place(cache, mine)
    if (mine / "zarr.json").exists():
        _place_again(cache, shared, mine)
        return False
    with made_in(mine.parent, mine):
        write_file(mine / "zarr.json", store.root_json(cache.manifest, {}, _description(cache, shared, mine)), within=mine)
    return True


def catch_up(path: Path, made: Sequence[Record] | None = None) -> tuple[str, ...]:
    """Let an overlay have all shapes of its shared cache, if that has grown. Call it under `exclusive`.

    The overlay's own products about shapes are unfinished from then on. Their files stay, and what made a product makes the rest of it.
    Readers that opened the overlay before go on with what they know. After a kill, the overlay is as before, or all of this is done.

    Args:
        path: the overlay.
        made: the products that the caller makes next, all of which it is able to make. None: it has looked after all that it can make.

    Returns:
        Names of the products that lack the new shapes now. Empty if there was nothing to do, or for a plain cache.

    Raises:
        UserError: a product was imported, so that nothing here can make the rest; one that another was made from lacks the new shapes in
            the shared cache; or the overlay has other products about shapes than those that are `made`, or one of these in another way.
            Nothing was changed.
    """
    cache = store.open_ahead(path)
    if cache.below is None or not cache.below.since:
        return ()
    own, damaged = cache.on_disk().all()
    for problem in damaged.values():
        raise UserError(problem)
    of_shapes = {name: record for name, record in own.items() if not products.of(record).labelled}
    if brought := [name for name, record in of_shapes.items() if is_imported(record)]:
        raise UserError(
            f"{cache.home} has grown, and {', '.join(brought)} of {path} was imported, so nothing here can make it for the new shapes: "
            f"{lacking.remedy(path, of_shapes[brought[0]])} Or go on with the shapes of before, or with another overlay"
        )
    if made is not None:
        _refuse_others(cache, path, of_shapes.keys() - {record.product for record in made})
        for record in made:
            cache.agreed(record)
    said = below.described(path)
    known = {made.product: made for made in said.made_from if made.product in own}
    known |= {name: cache.below.made_from(record) for name, record in of_shapes.items()}
    said = dataclasses.replace(
        said, shapes=cache.manifest.shapes, rows=below.rows_digest(cache.manifest), made_from=tuple(known[name] for name in sorted(known))
    )
    files: list[tuple[str, bytes]] = []
    for name, record in of_shapes.items():
        files.append((f"products/{name}/zarr.json", node_json(markers(cache.manifest, record), sealed(record))))
        files += [(f"{node.path}/zarr.json", node_json(node, {"product": name})) for node in cache.arrays(record)]
    write_together(cache.path, [*files, ("zarr.json", store.root_json(cache.manifest, own, said))])
    return tuple(of_shapes)


def _refuse_others(cache: Cache, path: Path, others: Collection[str]) -> None:
    """Refuse to take in new shapes if products would be left unfinished that are finished now.

    Args:
        cache: the overlay, as `store.open_ahead` opens it.
        path: its path, as the user gave it.
        others: the products.

    Raises:
        UserError: there are some.
    """
    if not others:
        return
    names = [name for name in cache.records() if name in others]
    raise UserError(
        f"{path} lacks the new shapes of {cache.home} in {', '.join(names)}, which this command does not make; they would be unfinished. "
        f"First: {_how(path, [cache.records()[name] for name in names])} Or put new products into another overlay (--overlay ANOTHER.zarr)"
    )


def _how(path: Path, records: Sequence[Record]) -> str:
    """Say which commands make products whole that lack new shapes, in the order of calling."""
    # `retry` comes before `mmpd-train guide`, which refuses as long as others lack something.
    ordered = sorted(records, key=lambda record: products.of(record) is products.GUIDE)
    return " ".join(dict.fromkeys(lacking.remedy(path, record) for record in ordered))


def behind(cache: Cache) -> int:
    """Number of shapes that the shared cache of an overlay has got since, and that the overlay's own products lack; 0 for other caches."""
    return 0 if cache.below is None else cache.below.now.count - cache.manifest.count


def told_behind(cache: Cache) -> str:
    """Say which new shapes of its shared cache an overlay lacks, and what to do; empty if none."""
    more = behind(cache)
    if not more:
        return ""
    own = [record for name, record in cache.records().items() if cache.owns(name) and not products.of(record).labelled]
    lacks, have = ("lacks", "it has") if len(own) == 1 else ("lack", "they have")
    return (
        f"{cache.home} has grown by {counted(more, 'shape')}, which {', '.join(record.product for record in own)} of {cache.path} {lacks}. "
        f"Until {have} them, the overlay is used with the {cache.manifest.count} shapes of before.{_later_names(cache)} "
        f"{_how(cache.path, own)}"
    )


def _later_names(cache: Cache) -> str:
    """Say which classes and splits of an overlay none of the shapes of before has; empty if none.

    They may have come with the growth, or may have been there: the names are those of the shared cache as it is now.
    """
    m, said = cache.manifest, list[str]()
    for word, known, path in (("class", m.classes, "label"), ("split", m.splits, "split")):
        there = set(np.unique(cache.column(path)).tolist())
        if unused := [name for number, name in enumerate(known) if number not in there]:
            said.append(f"the {word} {some([*map(spec.short, unused)], SOME)}")
    if not said:
        return ""
    return (
        f" None of the shapes of before has {' or '.join(said)}. These names count all the same, so chance levels and what chooses among "
        "all classes may differ from before the growth."
    )


def refuse_behind(cache: Cache, what: str) -> None:
    """Refuse to hand on an overlay that lacks new shapes of its shared cache.

    Args:
        cache: the cache.
        what: what would be made of it, such as `a copy`.

    Raises:
        UserError: it lacks some. The message says which command makes the rest.
    """
    if said := told_behind(cache):
        raise UserError(f"{said} Do that first: {what} would lack the new shapes, and what {cache.home} has made for them")


def refuse_unwritable(path: Path, also: str = "") -> None:
    """Refuse a cache that this user may not write to.

    Args:
        path: the cache. Where there is none, nothing is refused.
        also: another way out, which the message adds.

    Raises:
        UserError: it is read-only for this user. The message names `--overlay`.
    """
    if not (path / "zarr.json").is_file():
        return
    place = path.resolve()  # the lock and the journal lie beside the cache itself, not beside a link to it
    for folder in (place, *(place / group for group in store.GROUPS), place.parent):
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            cache = store.open_cache(path)
            which = "" if cache.below is None else f", and give {cache.home} in place of {path}"
            raise UserError(
                f"{path} cannot be written: {folder} is read-only for you. Put new products into a folder of your own by --overlay "
                f"MINE.zarr{which}{also}"
            )


def _check_place(cache: Cache, mine: Path) -> None:
    """Refuse a place for an overlay before anything is written there.

    Raises:
        UserError: it is the shared cache, lies in it or around it, holds something else, or nobody may write there.
    """
    place = mine.resolve()
    if place == cache.path:
        raise UserError(f"{mine} is the shared cache itself; give another path for the overlay")
    if place.is_relative_to(cache.path) or cache.path.is_relative_to(place):
        raise UserError(f"{mine} lies inside {cache.path}, or around it; give a path beside it for the overlay")
    if mine.exists() and not mine.is_dir():
        raise UserError(f"{mine} is a file; give the path of a folder NAME.zarr for the overlay")
    if mine.is_dir() and not (mine / "zarr.json").exists():
        foreign = sorted(item.name for item in mine.iterdir() if not item.name.endswith(".tmp"))
        if foreign:
            raise UserError(f"{mine} exists and is no overlay (it holds {foreign[0]!r}); give another path")
    for folder in (place, *place.parents):
        if folder.is_dir():
            if not os.access(folder, os.W_OK | os.X_OK):
                raise UserError(f"{mine} cannot be written: {folder} is read-only for you. Give a place you may write to")
            return


def _description(cache: Cache, shared: Path, mine: Path) -> Overlay:
    """Return the description of a new, empty overlay at `mine`. `shared` is the path of the cache as the user gave it."""
    relative, absolute = os.path.relpath(cache.path, mine.resolve()), os.path.abspath(shared)
    try:
        f"{relative}{absolute}".encode()
    except UnicodeEncodeError:
        raise UserError(f"{absolute!r} is no UTF-8 text, which a path in an overlay must be; rename the folder") from None
    manifest = cache.manifest
    return Overlay(shared=relative, absolute=absolute, shapes=manifest.shapes, rows=below.rows_digest(manifest))


def _place_again(cache: Cache, shared: Path, mine: Path) -> None:
    """Compare an overlay that is there with the cache it is said to lie on. If its shared cache was moved, note the new place.

    Raises:
        UserError: `mine` is no overlay, lies on another cache, or does not fit this one.
    """
    if not below.is_overlay(attributes_of(mine / "zarr.json")):
        raise UserError(f"{mine} is a cache of its own and no overlay; give another path for the overlay")
    there = below.described(mine)
    for place in there.places(mine):
        if os.path.isfile(place / "zarr.json"):
            if place.resolve() != cache.path and below.fits(place, there):
                raise UserError(f"{mine} is an overlay of {place}, not of {shared}; give another path for the overlay")
            if place.resolve() == cache.path:
                return  # `open_cache` says what does not fit
    with exclusive(mine):
        now = below.over(there, cache)
        if now is None:
            raise UserError(f"{mine} does not fit {shared}: {below.other_rows(there, cache)}")
        own = Records(mine, now.cache.manifest, index=False).all()[0]
        if wrong := below.faults(there, now, own, mine):
            raise UserError(f"{mine} does not fit {shared}: {'; '.join(wrong)}")
        moved = _description(cache, shared, mine)
        said = dataclasses.replace(there, shared=moved.shared, absolute=moved.absolute)
        write_file(mine / "zarr.json", store.root_json(now.cache.manifest, own, said), within=mine)


def _remove_empty(mine: Path) -> None:
    """Remove an overlay of which nothing but the root was written, and its journal if nothing was noted in it."""
    if [item.name for item in mine.iterdir()] != ["zarr.json"] or is_held(mine):
        return
    with contextlib.suppress(OSError):
        (mine / "zarr.json").unlink()
        mine.rmdir()
        journal = journal_file(mine.resolve())
        if journal.stat().st_size == 0:
            journal.unlink()
