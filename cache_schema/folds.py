"""Folds of few-shot classification that a data set has fixed: how a cache says which shapes belong to which fold.

    fold = Fold(ways=5, shots=10, number=3)
    fold.train                                           # "5way10shot-fold3-train"
    folds(cache.manifest.splits)                         # every fold of a cache, in order

Each fold has two splits of its own, one with its training shapes and one with its queries. A shape of a cache has one split, so it
belongs to one fold; a shape that is in several folds of the data set is several rows of the cache. No split holds shapes of two folds; a
task over all splits must see that it does not learn and test the same shape.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cache_schema.errors import UserError

_SPLIT: Final = re.compile(r"([1-9]\d{0,3})way([1-9]\d{0,3})shot-fold(0|[1-9]\d{0,3})-(train|test)")
"""Pattern of the name of a split of a fold."""


@dataclass(frozen=True, kw_only=True, order=True)
class Fold:
    """A fold: a few classes, a few training shapes of each, and queries."""

    ways: int
    """Number of classes."""
    shots: int
    """Number of training shapes of each class."""
    number: int
    """Number of the fold among those with as many classes and shapes, from 0."""

    @property
    def train(self) -> str:
        """Name of the split with the training shapes."""
        return f"{self._name}-train"

    @property
    def test(self) -> str:
        """Name of the split with the queries."""
        return f"{self._name}-test"

    @property
    def _name(self) -> str:
        return f"{self.ways}way{self.shots}shot-fold{self.number}"


def folds(splits: Iterable[str]) -> tuple[Fold, ...]:
    """The folds that some splits belong to, in order.

    Raises:
        UserError: a fold has only one of its two splits, as in a copy of a part of a cache.
    """
    sides: dict[Fold, set[str]] = {}
    for name in splits:
        if found := _SPLIT.fullmatch(name):
            fold = Fold(ways=int(found[1]), shots=int(found[2]), number=int(found[3]))
            sides.setdefault(fold, set()).add(found[4])
    for fold, there in sides.items():
        if there != {"train", "test"}:
            lacking = fold.test if "train" in there else fold.train
            raise UserError(f"a fold has two splits, and {lacking} is missing: build the cache again from all files of the folds")
    return tuple(sorted(sides))
