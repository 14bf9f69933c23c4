"""Test shapes that are not new: those that a task learned from itself, and those that the encoder was trained on.

    sides = Sides(train=train, test=test)               # a task says which shapes it used, as `Scores.sides`
    sides.seen(checkpoint.header(run))                  # Seen(tested=24, learned=24, trained=24)

Two shapes are the same if they are one row of one cache, scans of one thing or crops of one scene in one cache (`shapes.in_pieces`), or if
they were made from the same data, byte for byte (`source_sha256`), in any two caches. So copies, parts of a cache, and caches of the same
files with other points are found. A fingerprint of points says which ids a cache has and how it was made, and nothing of the data: where
the cache of a training and the tested one have the same one, a row of both is one shape unless its data differs.

No score depends on this: a cache that cannot be compared is named in the result, with the reason.

Letters: n test shapes, m others.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.store import Cache
from trainer.batch import Used
from trainer.checkpoint import Header, before
from trainer.part import DataConfig, digest_of
from trainer.tasks.result import Seen
from trainer.tasks.shapes import Shapes, in_pieces, scene_names, scene_of
from trainer.trained import UNREADABLE, alike, at_its_place, find, points_of, why

SHORT: Final = 8
"""Number of bytes that are kept of a digest. Two of a million shapes share them with a chance of 1 in 30 million."""


@dataclass(frozen=True, kw_only=True)
class Identities:
    """Which shapes some are, m of them, as they are remembered without their cache."""

    points: str
    """Fingerprint of the points of their cache."""
    rows: NDArray[np.int64]
    """Row of each in its cache. [m]"""
    digests: NDArray[np.uint8]
    """The first `SHORT` bytes of the digest of each shape's data; zeros where there is none. [m, SHORT]"""

    @classmethod
    def of(cls, shapes: Shapes) -> "Identities":
        """The identities of the shapes of a cache."""
        digests = np.ascontiguousarray(_digests(shapes.cache)[shapes.rows][:, :SHORT])
        return cls(points=points_of(shapes.cache), rows=shapes.rows.astype(np.int64), digests=digests)

    def among(self, test: Shapes, *, pieces: bool = False) -> NDArray[np.bool_]:
        """Whether each test shape is one of these, or of the same object; see `same`. [n]"""
        known = _agreeing(test.cache, self.rows, self.digests) if points_of(test.cache) == self.points else self.rows[:0]
        return _with_data(test, _in_rows(test, known, pieces), self.digests)

    def rows_in(self, cache: Cache) -> NDArray[np.int64] | None:
        """The rows of these shapes in a cache, [m]; None if it is another one: with other points, fewer rows, or other data in one of
        them."""
        if points_of(cache) != self.points or len(_agreeing(cache, self.rows, self.digests)) < len(self.rows):
            return None
        return self.rows


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The shapes that a task used."""

    test: Shapes
    train: Shapes | Identities | None = None
    """None if the task fits nothing, or tests no shape by what has learned from it, as in cross-validation."""
    folds: tuple[tuple[Shapes, Shapes], ...] = ()
    """Training shapes and test shapes of each fold, for a task that learns anew in each; then `train` is None."""
    unknown: bool = False
    """Whether it is not known which shapes the task has learned from; then `train` is None."""

    def seen(self, header: Header, *, scratch: bool = False, units: str = "shapes") -> Seen:
        """Count the test shapes that are not new.

        Args:
            header: the header of the run whose encoder was measured.
            scratch: whether its weights were left aside, so that its training does not count.
            units: `scenes` to count scenes, of which a cache may have several crops.
        """
        names: list[Any] = scene_names(self.test) if units == "scenes" else self.test.rows.tolist()

        def counted(mask: NDArray[np.bool_]) -> int:
            return len({names[i] for i in np.flatnonzero(mask)})

        learned = None
        if not self.unknown:
            with suppress(*UNREADABLE):
                learned = counted(self._learned(units == "scenes"))
        trained, maybe, unchecked = np.zeros(len(self.test), bool), np.zeros(len(self.test), bool), []
        tested = _Tested(self.test.cache, digest_of(self.test.rows), units == "scenes", self.test)
        foreign: tuple[str, ...] = () if scratch else before(header).unknown
        for used, alone in () if scratch else _read(header):
            try:
                found, possible, doubt = _compared(used, alone, header.config.data, header.config.seed, tested)
                trained, maybe = trained | found, maybe | possible
            except UNREADABLE as error:
                doubt = why(error)
            if doubt:
                unchecked.append(f"{used.path.rpartition('/')[2]} ({doubt})")
        count, more = counted(trained), counted(trained | maybe) > counted(trained)
        return Seen(
            tested=len(set(names)),
            learned=learned,
            trained=None if count == 0 and (more or foreign) else count,
            more=more,
            unchecked=tuple(dict.fromkeys((*unchecked, *foreign))),
        )

    def _learned(self, pieces: bool) -> NDArray[np.bool_]:
        """Whether the task learned from each test shape before it tested it. [n]"""
        known = np.zeros(len(self.test), bool)
        if isinstance(self.train, Identities):
            known |= self.train.among(self.test, pieces=pieces)
        elif self.train is not None:
            known |= same(self.test, self.train.cache, self.train.rows, pieces=pieces)
        for support, queries in self.folds:
            known |= np.isin(self.test.rows, queries.rows[same(queries, support.cache, support.rows, pieces=pieces)])
        return known


def same(test: Shapes, cache: Cache, rows: NDArray[np.signedinteger], *, pieces: bool = False, by_name: bool = False) -> NDArray[np.bool_]:
    """Whether each test shape is one of the shapes in some rows [m] of a cache, or of the same object. [n]

    Args:
        test: the test shapes.
        cache: the cache with the others.
        rows: their rows.
        pieces: whether shapes are crops, whatever the cache says.
        by_name: whether a row of two caches with the same fingerprint of points is one shape, too, unless its data differs.
    """
    theirs, known = _digests(cache)[rows], rows
    if test.cache.home != cache.home:
        known = _agreeing(test.cache, rows, theirs) if by_name and points_of(cache) == points_of(test.cache) else rows[:0]
    return _with_data(test, _in_rows(test, known, pieces), theirs)


def _agreeing(cache: Cache, rows: NDArray[np.signedinteger], theirs: NDArray[np.uint8]) -> NDArray[np.signedinteger]:
    """Those of some rows [m] of another cache with the same ids in which this one has the same data, by the other's digests [m, bytes], or
    beginnings of them. A digest that is not known on one side contradicts nothing."""
    own = _digests(cache)
    inside = rows < len(own)  # one of two copies may have grown
    rows, theirs = rows[inside], theirs[inside]
    mine = own[rows][:, : theirs.shape[1]]
    agree: NDArray[np.bool_] = (mine == theirs).all(1) | ~mine.any(1) | ~theirs.any(1)
    return rows[agree]


def _in_rows(test: Shapes, rows: NDArray[np.signedinteger], pieces: bool) -> NDArray[np.bool_]:
    """Whether each test shape is in some rows [m] of its own cache, or of the same object as a shape there. [n]"""
    found: NDArray[np.bool_] = np.isin(test.rows, rows)
    if not found.all() and (pieces or in_pieces(test.cache)):
        ids = test.cache.ids()
        scenes = {scene_of(ids[row]) for row in rows}
        found |= np.array([scene_of(ids[row]) in scenes for row in test.rows], bool)
    return found


def _with_data(test: Shapes, found: NDArray[np.bool_], theirs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """`found` [n], and the test shapes that were made from data with one of some digests, or beginnings of them. [m, bytes]"""
    rest = np.flatnonzero(~found)
    if len(rest):
        digests, known = _digests(test.cache)[test.rows[rest]][:, : theirs.shape[1]], set(_values(theirs))
        found[rest] = np.array([value in known for value in _values(digests)], bool) & digests.any(1)  # zeros where there is no digest
    return found


def _values(digests: NDArray[np.uint8]) -> list[bytes]:
    """Digests [n, bytes] as one value each."""
    values: list[bytes] = np.ascontiguousarray(digests).view(f"V{digests.shape[1]}").ravel().tolist()
    return values


@lru_cache(maxsize=2)
def _digests(cache: Cache) -> NDArray[np.uint8]:
    """The digests of the data of all shapes, [N, 32], read once for all folds and tasks."""
    return cache.column("source_sha256")


@dataclass(frozen=True)
class _Tested:
    """Test shapes, as a key under which a comparison is remembered."""

    cache: Cache
    rows: str
    """Digest of the rows."""
    pieces: bool
    """Whether the shapes are crops, whatever the cache says."""
    shapes: Shapes = field(compare=False)


def _read(header: Header) -> list[tuple[Used, bool]]:
    """The caches that the weights of a run have learned from, each once, and whether the settings of the run alone say which rows of it
    were read, since the checkpoint is an old one. Of a cache that was read before this run, or by its guide, they say nothing."""
    own = [(used, not used.rows) for used in header.caches] if header.step else []
    return list(dict.fromkeys((*own, *((used, False) for used in before(header).caches))))


@lru_cache(maxsize=16)  # for all tasks of a command
def _compared(used: Used, alone: bool, config: DataConfig, seed: int, tested: _Tested) -> tuple[NDArray[np.bool_], NDArray[np.bool_], str]:
    """Which test shapes a run has read of one cache, [n], and which others it may have read, since its rows are not known, [n].

    The cache is looked for where it was then. The tested cache takes its place only if `trainer.trained.find` says that it is the same. If
    their data could not be compared, the third value says so in a few words; it is empty otherwise.

    Raises:
        Absent: the cache is not here.
        OSError, ValueError, LookupError, TypeError: it cannot be read.
    """
    test, none = tested.shapes, np.zeros(len(tested.shapes), bool)
    places: list[Callable[[], Cache]] = [lambda: at_its_place(used)]
    if alike(used, test.cache):
        places.append(lambda: test.cache)
    found = find(used, places, config=config, seed=seed, alone=alone)
    known = found.rows is not None
    rows = np.arange(found.cache.manifest.shapes) if found.rows is None else found.rows
    shapes = same(test, found.cache, rows, pieces=tested.pieces, by_name=True)
    doubt = _taken(found.before, test.cache) if found.before and not found.compared else ""
    return (shapes, none, doubt) if known else (none, shapes, doubt)


def _taken(failed: Exception, cache: Cache) -> str:
    """What a reader should know where the tested cache was taken for the one that a run has read."""
    return f"{why(failed)}; {cache.home.name}, with shapes of the same names, was taken for it, and their data could not be compared"
