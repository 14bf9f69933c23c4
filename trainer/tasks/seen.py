"""Test shapes that are not new: those that a task learned from itself, and those that the encoder was trained on.

    scores = Scores(..., sides=Sides(train=train, test=test))            # a task says which shapes it used
    scores.sides.seen(loaded)                                           # Seen(tested=24, learned=24, trained=24)

Two shapes are the same if they are rows of one object (one row, scans of one thing, crops of one scene: `shapes.scene_names`) in one cache,
or if they were made from the same data, byte for byte (`source_sha256`), in any two caches. So copies, parts of a cache, and caches of the
same files with other points are found.

Letters: n test shapes, m others.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.remote import is_remote
from cache_schema.store import Cache, open_cache
from trainer.batch import Used
from trainer.checkpoint import Header
from trainer.part import DataConfig, digest_of, selected
from trainer.tasks.result import Seen
from trainer.tasks.shapes import Shapes, scene_names


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The shapes that a task used."""

    test: Shapes
    train: Shapes | None = None
    """None if the task fits nothing, or tests no shape by what has learned from it, as in cross-validation."""

    def seen(self, header: Header, *, scratch: bool = False, units: str = "shapes") -> Seen:
        """Count the test shapes that are not new.

        Args:
            header: the header of the run whose encoder was measured.
            scratch: whether its weights were left aside, so that its training does not count.
            units: `scenes` to count scenes, of which a cache may have several crops.
        """
        names = np.array(scene_names(self.test) if units == "scenes" else self.test.rows)
        learned = np.zeros(len(self.test), bool) if self.train is None else same(self.test, self.train.cache, self.train.rows)
        trained, known, unknown = np.zeros(len(self.test), bool), True, []
        for used, config, seed in [] if scratch else _read(header):
            rows = _rows(used, config, seed, self.test.cache)
            if rows is not None:
                trained |= same(self.test, *rows)
            elif _of(used, self.test.cache):
                known = False
            else:
                unknown.append(used.path.rpartition("/")[2])

        def counted(mask: NDArray[np.bool_]) -> int:
            return len(np.unique(names[mask]))

        return Seen(
            tested=len(np.unique(names)),
            learned=counted(learned),
            trained=counted(trained) if known else None,
            unchecked=tuple(dict.fromkeys(unknown)),
        )


def same(test: Shapes, cache: Cache, rows: NDArray[np.signedinteger]) -> NDArray[np.bool_]:
    """Whether each test shape is one of the shapes in some rows [m] of a cache, or of the same object. [n]"""
    digests = test.cache.column("source_sha256")[test.rows]
    theirs = np.unique(_joined(cache.column("source_sha256")[rows]))
    found = np.isin(_joined(digests), theirs) & digests.any(1)  # zeros where there is no digest
    if test.cache.home == cache.home:
        other = Shapes(cache=cache, split="", rows=rows.astype(np.int64), labels=np.full(len(rows), -1), classes=())
        found |= np.isin(scene_names(test), scene_names(other))
    return found


def _joined(digests: NDArray[np.uint8]) -> NDArray[np.void]:
    """Digests [n, 32] as one value each, [n]."""
    return np.ascontiguousarray(digests).view(f"V{digests.shape[1]}").ravel()


def _read(header: Header) -> Iterator[tuple[Used, DataConfig | None, int]]:
    """What the weights of a run have learned from: the caches, each with the settings by which its shapes were selected, as far as they are
    known, and the seed."""
    if header.step:
        yield from ((used, header.config.data, header.config.seed) for used in header.caches)
    yield from ((used, None, 0) for used in (header.init.caches if header.init else ()))


def _rows(used: Used, config: DataConfig | None, seed: int, tested: Cache) -> tuple[Cache, NDArray[np.signedinteger]] | None:
    """A cache that a run was trained on, and the rows that it read; None if the cache is not here any more, or it is not known which they
    were."""
    places = [tested] if _of(used, tested) else []
    with suppress(UserError, OSError):  # moved, or gone
        places += [] if is_remote(used.path) else [open_cache(used.path)]
    for cache in places:
        if _of(used, cache):
            with suppress(UserError, OSError):  # a split or a class is not there any more
                if (rows := _selection(used, config, seed, cache)) is not None:
                    return cache, rows
    return None


def _of(used: Used, cache: Cache) -> bool:
    """Whether the points of a cache are those that a run has read."""
    known, record = dict(used.products).get(products.POINTS.name), cache.products().get(products.POINTS.name)
    return record is not None and record.fingerprint == known


def _selection(used: Used, config: DataConfig | None, seed: int, cache: Cache) -> NDArray[np.signedinteger] | None:
    """The rows that a run has read of a cache; None if that is not known.

    A checkpoint keeps their number and a digest, which tells whether rows are the right ones. Without the settings of the run, those with
    which most runs are made are tried. Rows that a cache got later come after all others.
    """
    plain = [DataConfig(splits=()), *(DataConfig(splits=(name,)) for name in cache.manifest.splits)]
    count = int(used.rows.partition(" ")[0]) if used.rows else None
    for tried in [config] if config is not None and count is None else [*([config] if config else []), *plain]:
        with suppress(UserError):  # it names a split or a class that this cache does not have
            rows = selected(cache, tried, seed)
            if count is None or digest_of(rows[:count]) == used.rows:
                return rows[:count]
    return None
