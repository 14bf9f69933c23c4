"""The caches that a run has read, as they are now: which cache it is, and which of its shapes were read.

    found = find(used, [lambda: at_its_place(used)], config=header.config.data, seed=header.config.seed)
    found.cache, found.rows                             # rows are None if it is not known by now which ones were read

A fingerprint of points says which ids a cache has and how it was made, and nothing of the data. So a cache is the one of then if it has the
same points, and the same data as far as that was recorded. It may have grown since, and have other classes and splits.

What results say of shapes that are not new (`trainer.tasks.seen`) and the licences in a card (`trainer.card`) both come from here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.remote import is_remote
from cache_schema.store import Cache, open_cache
from trainer.batch import Used
from trainer.part import DataConfig, data_digest_of, digest_of, selected

UNREADABLE: Final = (OSError, ValueError, LookupError, TypeError)
"""What reading a damaged cache may raise. `UserError` is a `ValueError`."""


class Absent(UserError):
    """A cache is not here; the message says why, in a few words."""


class Changed(Absent):
    """Another cache is in its place; the message says in what it differs, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A cache that a run has read."""

    cache: Cache
    rows: NDArray[np.signedinteger] | None
    """Rows of the shapes that were read, ascending. None if that is not known by now. [n]"""
    compared: bool
    """Whether the data of these rows was compared with a digest of what was read."""
    before: Exception | None = None
    """Why a place that was asked before it was not the one; None if it is the first place."""


def find(
    used: Used, places: Sequence[Callable[[], Cache]], *, config: DataConfig | None = None, seed: int = 0, alone: bool = False
) -> Found:
    """Find a cache that a run has read.

    Args:
        used: what the run says of it.
        places: open what may be this cache, one after the other.
        config: settings with which its rows may have been selected; None if they are not known.
        seed: the seed that belongs to them.
        alone: whether the settings alone say which rows were read, since the checkpoint is an old one and keeps no digest of them.

    Raises:
        Absent: the cache is in none of the places.
        OSError, ValueError, LookupError, TypeError: it cannot be read.
    """
    unsure: list[Found] = []  # with these points, and with other splits or classes than then
    failed: Exception | None = None
    for place in places:
        try:
            cache = place()
            check(used, cache)
            rows = _selection(used, alone, config, seed, cache)
            if rows is None:
                unsure.append(Found(cache=cache, rows=None, compared=False, before=failed))
                continue
            for one in (*(those.cache for those in unsure), cache):  # they are rows of each of them
                if not used.data or data_digest_of(one, rows) == used.data:
                    return Found(cache=one, rows=rows, compared=bool(used.data), before=failed)
            raise Changed("has other data by now")
        except UNREADABLE as error:
            failed = failed or error
    if unsure:
        return unsure[0]
    assert failed is not None
    raise failed


def why(failed: Exception) -> str:
    """Why a cache could not be compared, in a few words."""
    return str(failed) if isinstance(failed, Absent) else "cannot be read"


def at_its_place(used: Used) -> Cache:
    """Open a cache where it was when a run read it. Raises as `find`."""
    if is_remote(used.path):
        raise Absent("not on this machine")
    path = Path(used.path)
    if not path.is_absolute():  # a run that was handed on keeps names alone
        raise Absent("trained elsewhere")
    if not path.exists():
        raise Absent("not found where it was then")
    return open_cache(path)


def points_of(cache: Cache) -> str:
    """The fingerprint of the points of a cache; empty if it has none."""
    record = cache.products().get(products.POINTS.name)
    return record.fingerprint if record else ""


def alike(used: Used, cache: Cache) -> bool:
    """Whether the points of a cache are those that a run has read, as far as their fingerprint says."""
    return points_of(cache) == dict(used.products).get(products.POINTS.name)


def check(used: Used, cache: Cache) -> None:
    """Check the fingerprint of the points of a cache. Raises `Changed`."""
    if not alike(used, cache):
        raise Changed("has other points by now")


def relabelled_since(used: Used, cache: Cache, *, config: DataConfig, seed: int) -> str:
    """Say which cache a run has read before classes, splits or names of its shapes were changed (`mmpd-cache relabel`), if this is it by
    its points and by its data. Shapes that were appended since change nothing.

    Args:
        used: what the run says of the cache.
        cache: a cache as it is now. It may have been moved or renamed.
        config: settings with which the rows that were read may have been selected.
        seed: the seed that belongs to them.

    Returns:
        The name that it had then, with what it is called now, and with a doubt if its data could not be compared. Empty if nothing was
        changed since, or if it is another cache.
    """
    source, known = cache.manifest.source, dict(used.products).get(products.INDEX.name)
    changed = any(part.relabelled for part in (source, *source.also))
    if not changed or known is None or not alike(used, cache):
        return ""
    before = (dataclasses.replace(source, also=source.also[:count]) for count in range(len(source.also) + 1))
    if known in {products.index_record(dataclasses.replace(cache.manifest, source=one)).fingerprint for one in before}:
        return ""
    try:
        rows = _selection(used, False, config, seed, cache)
        compared = rows is not None and bool(used.data)
        if rows is not None and compared and data_digest_of(cache, rows) != used.data:
            return ""
    except UNREADABLE:
        compared = False
    then, now = PurePosixPath(used.path).name, cache.home.name
    if then == now:
        return then if compared else f"{then} (known by its name and points alone)"
    return f"{then}, which is {'' if compared else 'by its points '}{now} now,"


def _selection(used: Used, alone: bool, config: DataConfig | None, seed: int, cache: Cache) -> NDArray[np.signedinteger] | None:
    """The rows that a run has read of a cache; None if that is not known.

    A checkpoint keeps their number and a digest, which tells whether rows are the right ones. The settings of the run are tried, and those
    with which most runs are made. Rows that a cache got later come after all others.
    """
    own = () if config is None else (config,)
    plain = [DataConfig(splits=()), *(DataConfig(splits=(name,)) for name in cache.manifest.splits)]
    count = int(used.rows.partition(" ")[0]) if used.rows else None
    for tried in (*own, *plain) if used.rows else own if alone else ():
        with suppress(UserError):  # it names a split or a class that this cache does not have
            rows = selected(cache, tried, seed)[:count]
            if alone or digest_of(rows) == used.rows:
                return rows
    return None
