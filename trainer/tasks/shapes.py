"""Which shapes of a cache a task sees, and their points.

    train, test, notes = matched(of_split(cache, "train"), of_split(cache, None))
    points = test.points(np.arange(32), blocks, channels=6)             # [32, P, 6]

Shapes whose building failed are left out everywhere. Two caches are brought together by the names of their classes.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.spec import PointSpec, did_you_mean
from cache_schema.store import Cache, Rows
from trainer.data import same_name
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

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Shapes":
        """Some of them."""
        return dataclasses.replace(self, rows=self.rows[chosen], labels=self.labels[chosen])

    @property
    def name(self) -> str:
        return f"split {self.split!r} of {self.cache.path}"

    @cached_property
    def spec(self) -> PointSpec:
        spec = self.cache.record("points").spec
        assert isinstance(spec, PointSpec)
        return spec

    @cached_property
    def _arrays(self) -> tuple[Rows, Rows]:
        return self.cache.rows("points/xyz"), self.cache.rows("points/rgb")

    def points(self, chosen: NDArray[np.int64], blocks: NDArray[np.int64] | int, channels: int) -> Tensor:
        """Coordinates, and with 6 channels colours in 0..1, of the blocks [b] of the shapes chosen [b]: [b, P, C] float32."""
        xyz, rgb = self._arrays
        rows = self.rows[chosen]
        columns = np.broadcast_to(np.asarray(blocks), rows.shape)
        points = torch.from_numpy(xyz.gather(rows, columns)).float()
        if channels == 3:
            return points
        return torch.cat([points, torch.from_numpy(rgb.gather(rows, columns) * np.float32(1 / 255))], -1)

    @property
    def data(self) -> Data:
        """What a result says of them."""
        points = self.cache.record("points").fingerprint
        return Data(cache=self.cache.path.resolve().name.removesuffix(".zarr"), points=points, split=self.split, shapes=len(self))


def of_split(cache: Cache, split: str | None, *, labelled: bool = True) -> Shapes:
    """The usable shapes of a split.

    Args:
        cache: where.
        split: its name; `all` for the whole cache; None for `test`, or `val` where there is no `test`.
        labelled: only those that have a class.

    Raises:
        UserError: there is no such split, no class, or no shape in it.
    """
    known = cache.manifest.splits
    if split is None:
        split = next((name for name in ("test", "val") if name in known), None)
        if split is None:
            raise UserError(
                f"{cache.path} has neither a split 'test' nor 'val'; there is: {', '.join((*known, EVERYTHING))}. Name the one to test on."
            )
    if split not in (*known, EVERYTHING):
        raise UserError(f"{cache.path} has no split {split!r}{did_you_mean(split, (*known, EVERYTHING))}")
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


def relabelled(shapes: Shapes, classes: Sequence[str]) -> tuple[Shapes, tuple[str, ...]]:
    """Labelled shapes with labels into other classes, matched by name, and a note on those left out.

    Raises:
        UserError: no shape is left.
    """
    place = {same_name(name): i for i, name in reversed(list(enumerate(classes)))}
    there = np.array([place.get(same_name(name), -1) for name in shapes.classes])
    labels = there[shapes.labels]
    lost = labels < 0
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
        UserError: fewer than two classes to learn, or no test shape of one of them.
    """
    present = np.unique(train.labels)
    classes = tuple(train.classes[i] for i in present)
    if len(classes) < 2:
        raise UserError(f"{train.name} has shapes of one class only ({_some(classes)}); a classifier needs two")
    train = dataclasses.replace(train, labels=np.searchsorted(present, train.labels), classes=classes)
    test, notes = relabelled(test, classes)
    if test.cache.path.resolve() == train.cache.path.resolve() and (known := int(np.isin(test.rows, train.rows).sum())):
        notes += (f"{known} of {len(test)} test shapes were learned from",)
    return train, test, notes


def repeats(asked: int | None, *shapes: Shapes) -> int:
    """How many blocks to go through: as many as asked, or three or all there are where None.

    Raises:
        UserError: more are asked than stored.
    """
    stored = min(s.spec.blocks for s in shapes)
    if asked is None:
        return min(3, stored)
    if not 1 <= asked <= stored:
        raise UserError(f"repeats must lie in 1..{stored}, the number of stored blocks of a shape, got {asked}")
    return asked


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
