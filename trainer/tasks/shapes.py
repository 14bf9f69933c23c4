"""Which shapes of a cache a task sees, and their points.

    train, test, notes = matched(of_split(cache, "train"), of_split(cache, None))
    points = test.points(np.arange(32), blocks, channels=6)             # [32, P, 6], as they are stored

Shapes whose building failed are left out everywhere. Two caches are brought together by the names of their classes,
one with itself by their numbers.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean
from cache_schema.store import Cache
from trainer.classes import NONE
from trainer.classes import matched as places
from trainer.points import Blocks, Convention
from trainer.tasks.result import Data

EVERYTHING: Final = "all"
"""Name of the split that is the whole cache."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Some usable shapes of a cache, n of them."""

    cache: Cache
    split: str
    rows: NDArray[np.int64]
    """[n], in the cache."""
    labels: NDArray[np.int64]
    """[n], into `classes`; -1 for none."""
    classes: tuple[str, ...]
    _opened: dict[tuple[Convention | None, int, int], Blocks] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Shapes":
        """Some of these shapes."""
        return dataclasses.replace(self, rows=self.rows[chosen], labels=self.labels[chosen])

    @property
    def name(self) -> str:
        return f"split {self.split!r} of {self.cache.path}"

    def blocks(self, convention: Convention | None, channels: int, centres: int) -> Blocks:
        """Their cache's blocks as a model takes them. See `trainer.points.Blocks`."""
        key = convention, channels, centres
        if key not in self._opened:
            self._opened[key] = Blocks(self.cache, convention, channels=channels, centres=centres)
        return self._opened[key]

    def points(self, chosen: NDArray[np.int64], blocks: NDArray[np.int64] | int, channels: int) -> Tensor:
        """Coordinates, and with 6 channels colours in 0..1, of the blocks [b] of the shapes chosen [b]: [b, P, C] float32."""
        return self.blocks(None, channels, 1).read(self.rows[chosen], blocks)

    @property
    def data(self) -> Data:
        """What a result says of these shapes."""
        points = self.cache.record("points").fingerprint
        return Data(cache=self.cache.path.resolve().name.removesuffix(".zarr"), points=points, split=self.split, shapes=len(self))


def of_split(cache: Cache, split: str | None, *, labelled: bool = True) -> Shapes:
    """The usable shapes of a split.

    Args:
        cache: where.
        split: its name; `all` for the whole cache; None for `test`, or `val` where there is no `test`.
        labelled: only those that have a class.

    Raises:
        UserError: there is no such split, no class, or no shape in it; or the cache is not as it was finished.
    """
    known = cache.manifest.splits
    if split is None:
        split = next((name for name in ("test", "val") if name in known), None)
        if split is None:
            raise UserError(
                f"{cache.path} has neither a split 'test' nor 'val'; there is: {', '.join((*known, EVERYTHING))}. Name the one to test on "
                f"by --set test_split=NAME{_to_split(cache)}"
            )
    if split not in (*known, EVERYTHING):
        raise UserError(f"{cache.path} has no split {split!r}{did_you_mean(split, (*known, EVERYTHING))}{_to_split(cache)}")
    cache.proven("index")
    cache.proven("status")
    labels = cache.column("label").astype(np.int64)
    if labelled and (not cache.manifest.classes or (labels < 0).all()):
        raise UserError(f"{cache.path} has no classes, which this task needs; `retrieval` works without")
    keep = cache.ok()
    if not keep.any():
        raise UserError(f"{cache.path} has no usable shape; `mmpd-cache status {cache.path}` says why")
    if split in known:
        keep &= cache.column("split") == known.index(split)
    if labelled:
        keep &= labels >= 0
    if not keep.any():
        raise UserError(f"split {split!r} of {cache.path} has no usable shape{' with a class' if labelled else ''}")
    rows = np.flatnonzero(keep)
    return Shapes(cache=cache, split=split, rows=rows, labels=labels[rows], classes=cache.manifest.classes)


def _to_split(cache: Cache) -> str:
    """Advice on how a cache without splits gets some."""
    if cache.manifest.splits:
        return ""
    return ". `mmpd-cache build SOURCE CACHE --set source.split=0.8` makes a cache with a train and a test split"


def relabelled(shapes: Shapes, classes: Sequence[str], there: str = "", *, own: bool = False) -> tuple[Shapes, tuple[str, ...]]:
    """Give shapes labels into other classes, matched by name (`trainer.classes`), and a note on the shapes left out.

    Args:
        shapes: with labels.
        classes: the other classes.
        there: what those belong to, for messages.
        own: whether they were made of the names of these shapes' classes, one by one.

    Raises:
        UserError: no shape is left, or a name may mean several classes.
    """
    return _renumbered(shapes, places(shapes.classes, classes, str(shapes.cache.path), there, own=own), classes)


def _renumbered(shapes: Shapes, place: NDArray[np.int64], classes: Sequence[str]) -> tuple[Shapes, tuple[str, ...]]:
    """As `relabelled`, from the place of each class among the other ones; NONE leaves its shapes out."""
    labels = place[shapes.labels]
    lost = labels == NONE
    names = [shapes.classes[i] for i in np.unique(shapes.labels[lost])]
    if lost.all():
        raise UserError(f"{shapes.name} and the classes to tell apart have none in common: {_some(names)} there, {_some(classes)} here")
    notes = (
        (f"{int(lost.sum())} of {len(shapes)} test shapes are left out, of classes that are not among those to tell apart: {_some(names)}",)
        if names
        else ()
    )
    return dataclasses.replace(shapes.of(~lost), labels=labels[~lost], classes=tuple(classes)), notes


def matched(train: Shapes, test: Shapes) -> tuple[Shapes, Shapes, tuple[str, ...]]:
    """Both with labels into the classes that have a shape to learn from, and notes on the test shapes: what was left out of them, and how
    many are among those to learn from.

    Raises:
        UserError: fewer than two classes to learn, no test shape of one of them, or a name may mean several classes.
    """
    present = np.unique(train.labels)
    classes = tuple(train.classes[i] for i in present)
    if len(classes) < 2:
        raise UserError(f"{train.name} has shapes of one class only ({_some(classes)}); a classifier needs two")
    # Among all classes of both first: of one cache these are the same list, in which each number is itself whatever the names are like.
    place = places(test.classes, train.classes, str(test.cache.path), str(train.cache.path))
    kept = np.full(len(train.classes) + 1, NONE)  # the last is for a class that is not there, whose place is -1
    kept[present] = np.arange(len(present))
    train = dataclasses.replace(train, labels=kept[train.labels], classes=classes)
    test, notes = _renumbered(test, kept[place], classes)
    if test.cache.path.resolve() == train.cache.path.resolve() and (known := int(np.isin(test.rows, train.rows).sum())):
        notes += (f"{known} of {len(test)} test shapes were learned from",)
    return train, test, notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
