"""The order of the shapes in epochs and batches, and the arrays that say what is drawn of them.

    pool = Pool(parts, classes)                                         # all selected shapes of all caches
    epochs = Epochs([38, 20], [1.0, 0.5], batch=8, seed=0)
    shapes = pool.at(epochs.batch(3))                                   # Shapes: the cache, the row and the class of each

Letters: B shapes in a batch, S places, V views in a step, Q extra rows.
"""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cache_schema.classes import NONE
from cache_schema.errors import UserError
from cache_schema.terminal import counted
from trainer.captions import Ints
from trainer.part import Part

ORDER = 0
"""Number of the stream of random numbers that orders an epoch. A generator is seeded by the run's seed, the stream, and the number of an
epoch or a batch. Streams 1, 3 and 4 are in `trainer.data`, stream 2 is `trainer.part.SUBSET`. These numbers must not change, since a
continued run must draw the same values."""
PlaceNumbers = NDArray[np.int32]
"""Positions in the list of all selected shapes."""


class Arrays:
    """Base of dataclasses whose fields are arrays of equal length."""

    def of(self, which: Ints | slice) -> Self:
        """The entries at some positions."""
        return type(self)(**{name: values[which] for name, values in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Shapes(Arrays):
    """Some of the shapes of all caches. Every array has the shape [B]."""

    part: Ints
    """Index of the shape's cache."""
    row: Ints
    """Row of the shape in its cache."""
    own_class: Ints
    """Index of the shape's class in its cache; -1 for none."""
    label: Ints
    """Index of the shape's class over all caches; -1 for none."""


class Pool:
    """The list of all selected shapes of all caches, cache after cache. It holds nothing of its own: a million shapes would take 30 MB."""

    def __init__(self, parts: Sequence[Part], classes: Sequence[Ints]) -> None:
        """
        Args:
            parts: what is selected of each cache.
            classes: for each cache, the index over all caches of each of its classes.
        """
        self.ends = np.cumsum([len(part.rows) for part in parts])
        """Number of shapes up to the end of each cache. [parts]"""
        self._parts = parts
        # A shape without a class has index -1, which finds the entry added at the end.
        self._classes = [np.append(own, NONE) for own in classes]

    @property
    def part(self) -> Ints:
        """Index of each shape's cache. [S]"""
        return np.repeat(np.arange(len(self._parts)), np.diff(self.ends, prepend=0))

    @property
    def row(self) -> Ints:
        """Row of each shape in its cache. [S]"""
        return np.concatenate([part.rows for part in self._parts], dtype=np.int64)

    def at(self, places: PlaceNumbers) -> Shapes:
        """The shapes at these places. [B]"""
        part = np.searchsorted(self.ends, places, side="right")
        row, own_class, label = np.empty((3, len(places)), np.int64)
        for i, selected in enumerate(self._parts):
            here = np.flatnonzero(part == i)
            where = places[here] - (self.ends[i] - len(selected.rows))
            row[here], own_class[here] = selected.rows[where], selected.own_class[where]
            label[here] = self._classes[i][own_class[here]]
        return Shapes(part=part, row=row, own_class=own_class, label=label)


@dataclass(frozen=True, kw_only=True)
class Choices(Arrays):
    """Number of blocks and templates to draw from: for each cache [parts], or for each shape of a batch [B]."""

    blocks: Ints
    templates: Ints


@dataclass(frozen=True, kw_only=True)
class Drawn(Shapes):
    """The shapes of a batch and the random choices for them. Every array has the shape [B]; or [B * V], the V views of one shape after
    those of the one before, which differ in nothing but view and text."""

    block: Ints
    look: NDArray[np.float64]
    """Random number in [0, 1) that chooses the view in every array. So arrays with as many views agree on it."""
    captioner: Ints
    """Index in `Part.captions` of the captioner that wrote the text."""
    caption: Ints
    """Column of the caption in the captioner's arrays: a caption of the drawn view, or of the shape."""
    template: Ints
    """Index of the template that replaces the caption; -1 for none."""


class Epochs:
    """The order of places, epoch after epoch, and the batches that are cut from it.

    An epoch depends only on the seed and its number. So a run that continues at batch 10,000 does not draw the 9,999 batches before.
    """

    def __init__(self, counts: Sequence[int], passes: Sequence[float], batch: int, seed: int) -> None:
        """
        Args:
            counts: number of shapes of each cache.
            passes: how often an epoch repeats each cache.
            batch: shapes in a batch, over all ranks.
            seed: seed of the run.

        Raises:
            UserError: an epoch would have fewer shapes than a batch.
        """
        self.batch_size, self.seed = batch, seed
        # 2.5 passes are two full passes and one over a random half, drawn anew in every epoch.
        places = [range(end - count, end) for end, count in zip(itertools.accumulate(counts), counts, strict=True)]
        self._quota = [(own, int(p), round((p - int(p)) * len(own))) for own, p in zip(places, passes, strict=True)]
        self.length = sum(whole * len(own) + rest for own, whole, rest in self._quota)
        """Shapes in an epoch."""
        if self.length < min(batch, 2):
            raise UserError(
                f"an epoch would have {counted(self.length, 'shape')}, but a batch needs at least 2: raise data.fraction or data.passes, "
                "or take more splits or classes"
            )
        if batch > self.length:
            raise UserError(
                f"a batch of {batch} is larger than an epoch of {counted(self.length, 'shape')}: --set optim.batch={self.length} or less"
            )
        self._orders: dict[int, PlaceNumbers] = {}
        self._lock = threading.Lock()

    def order(self, epoch: int) -> PlaceNumbers:
        """The places in the order of one epoch. [length]"""
        # Several threads ask for a new epoch at the same time: one shuffles it, the others wait.
        with self._lock:
            if epoch not in self._orders:
                rng = np.random.default_rng((self.seed, ORDER, epoch))
                order, at = np.empty(self.length, np.int32), 0
                for places, whole, rest in self._quota:
                    own = np.arange(places.start, places.stop, dtype=np.int32)
                    order[at : (at := at + whole * len(own))].reshape(whole, len(own))[:] = own
                    # They are shuffled even where none of them is taken: the draws after it must stay the same.
                    rng.shuffle(own)
                    order[at : (at := at + rest)] = own[:rest]
                rng.shuffle(order)  # in its place: four times a million places would stay with the process
                # Threads run ahead by less than an epoch, so only the neighbouring epochs may still be requested.
                self._orders = {e: known for e, known in self._orders.items() if abs(e - epoch) <= 1}
                self._orders[epoch] = order
            return self._orders[epoch]

    def batch(self, number: int) -> PlaceNumbers:
        """The places of batch `number`. [B]"""
        # Epochs form one endless stream: a batch may have the end of one epoch and the beginning of the next. So no shape is left over
        # at the end of an epoch, and all batches have the same size, which batch norm and torch.compile need.
        epoch, offset = np.divmod(np.arange(number * self.batch_size, (number + 1) * self.batch_size), self.length)
        return np.concatenate([self.order(int(e))[offset[epoch == e]] for e in np.unique(epoch)])

    def following(self, number: int, count: int) -> PlaceNumbers:
        """The next `count` places after a batch in the order of its epoch, without places of the batch itself. [Q]"""
        # The order is random already, so these places need no draw. After the end of the epoch, its beginning follows.
        epoch, offset = divmod((number + 1) * self.batch_size - 1, self.length)
        # Look at `batch_size` more places, since all places of the batch may be among them; at most one full round.
        ahead = np.arange(min(count + self.batch_size, self.length))
        following = self.order(epoch)[(offset + 1 + ahead) % self.length]
        return following[~np.isin(following, self.batch(number))][:count]
