"""The shapes of a cache that a task uses, and their points.

    train, test, notes = matched(of_split(cache, "train"), of_split(cache, None))
    points = test.points(np.arange(32), blocks, channels=6)             # [32, P, 6], as they are stored

Shapes whose building failed are left out everywhere. Classes of two caches are matched by name; within one cache, by index.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cache_schema import products
from cache_schema.classes import NONE
from cache_schema.classes import matched as places
from cache_schema.errors import UserError
from cache_schema.spec import PointSpec, did_you_mean
from cache_schema.store import Cache
from cache_schema.terminal import some
from trainer import ops
from trainer.points import Blocks, Convention
from trainer.tasks.result import Data

EVERYTHING: Final = "all"
"""Name that stands for the whole cache where a split is asked for."""
CROP: Final = "#"
"""Character between the name of a scene and the name of a crop in an id."""
AT_ONCE: Final = 256
"""Number of blocks that are read together."""
FEW: Final = 5
"""Number of test scenes below which a result warns that its intervals say little."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """A selection of n usable shapes of a cache."""

    cache: Cache
    split: str
    rows: NDArray[np.int64]
    """Row of each shape in the cache. [n]"""
    labels: NDArray[np.int64]
    """Index of each shape's class in `classes`; -1 for none. [n]"""
    classes: tuple[str, ...]
    _opened: dict[tuple[Convention | None, int, int], Blocks] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Shapes":
        """The chosen shapes: indices, or a boolean mask [n]."""
        return dataclasses.replace(self, rows=self.rows[chosen], labels=self.labels[chosen])

    @property
    def ids(self) -> list[str]:
        """Id of each shape, [n]."""
        return [str(name) for name in self.cache.ids()[self.rows]]

    @property
    def name(self) -> str:
        return f"split {self.split!r} of {self.cache.path}"

    def blocks(self, convention: Convention | None, channels: int, centres: int) -> Blocks:
        """The blocks of the cache, prepared for a model. See `trainer.points.Blocks`."""
        key = convention, channels, centres
        if key not in self._opened:
            self._opened[key] = Blocks(self.cache, convention, channels=channels, centres=centres)
        return self._opened[key]

    def points(self, chosen: NDArray[np.int64], blocks: NDArray[np.int64] | int, channels: int) -> Tensor:
        """Points of the given blocks [b] of the chosen shapes [b], as stored: [b, P, C] float32. Six channels include colours in 0..1."""
        return self.blocks(None, channels, 1).read(self.rows[chosen], blocks)

    @property
    def different(self) -> NDArray[np.int64] | None:
        """Number of different points of each shape, [n], in its first stored block; None if no shape has fewer than a block."""
        few = np.flatnonzero(self.cache.repeated()[self.rows])
        if not len(few):
            return None
        blocks = self.blocks(None, 3, 1)
        counts = np.full(len(self), blocks.count)
        for part in np.array_split(few, -(-len(few) // AT_ONCE)):
            counts[part] = ops.first_in_place(blocks.read(self.rows[part], 0)).sum(1).numpy()
        blocks.settle()
        return counts

    @property
    def data(self) -> Data:
        """The description of these shapes that a result stores."""
        points = self.cache.record(products.POINTS.name).fingerprint
        name = self.cache.home.name.removesuffix(".zarr")
        return Data(
            cache=name, points=points, split=self.split, shapes=len(self), labels=labels_digest(self.rows, self.labels, self.classes)
        )


def of_split(cache: Cache, split: str | None, *, labelled: bool = True) -> Shapes:
    """The usable shapes of a split.

    Args:
        cache: the cache.
        split: name of the split, or several joined by `+`, as `train+val`; `all` for the whole cache; None for `test`, or `val` if there is
            no `test`.
        labelled: whether classes are asked for: shapes without one are left out. If not, no shape has a label, whatever the cache says.

    Raises:
        UserError: there is no such split, it has no class or no usable shape, or the cache has changed since it was finished.
    """
    known = cache.manifest.splits
    if split is None:
        split = next((name for name in ("test", "val") if name in known), None)
        if split is None:
            raise UserError(
                f"{cache.path} has neither a split 'test' nor 'val'; there is: {', '.join((*known, EVERYTHING))}. Name the one to test on "
                f"by --set test_split=NAME{_to_split(cache)}"
            )
    names = split_names(split, known)
    for name in names:
        if name not in (*known, EVERYTHING):
            raise UserError(f"{cache.path} has no split {name!r}{did_you_mean(name, (*known, EVERYTHING))}{_to_split(cache)}")
    cache.proven(products.INDEX.name)
    cache.proven(products.STATUS.name)
    labels = cache.column("label").astype(np.int64)
    if labelled and (not cache.manifest.classes or (labels < 0).all()):
        raise UserError(f"{cache.path} has no classes, which this task needs; `retrieval` works without")
    keep = cache.ok()
    if not keep.any():
        raise UserError(f"{cache.path} has no usable shape; `mmpd-cache status {cache.path}` says why")
    if split in known or EVERYTHING not in names:
        keep &= np.isin(cache.column("split"), [known.index(name) for name in names])
    if labelled:
        keep &= labels >= 0
    if not keep.any():
        raise UserError(f"split {split!r} of {cache.path} has no usable shape{' with a class' if labelled else ''}")
    rows = np.flatnonzero(keep)
    labels = labels[rows] if labelled else np.full(len(rows), NONE)
    return Shapes(cache=cache, split=split, rows=rows, labels=labels, classes=cache.manifest.classes)


def split_names(split: str, known: Sequence[str] = ()) -> tuple[str, ...]:
    """The names in `train+val`. A split of a cache that has such a name itself, as `known` says, is one."""
    return (split,) if split in known else tuple(dict.fromkeys(split.split("+")))


def labels_digest(rows: NDArray[np.int64], labels: NDArray[np.int64], classes: Sequence[str]) -> str:
    """A digest of the names of the classes of some shapes, whatever the order of the classes; empty if no shape has a class.

    Args:
        rows: their rows. [n]
        labels: index of each shape's class in `classes`; -1 for none. [n]
        classes: names of classes.
    """
    present = sorted({classes[i] for i in np.unique(labels) if i != NONE})
    if not present:
        return ""
    place = {name: i for i, name in enumerate(present)}
    index = np.array([*(place.get(name, NONE) for name in classes), NONE], "<i8")  # the last entry is that of -1
    body = json.dumps(present).encode() + rows.astype("<i8").tobytes() + index[labels].tobytes()
    return hashlib.sha256(body).hexdigest()[:16]


def of_rows(cache: Cache, rows: NDArray[np.int64]) -> Shapes:
    """The shapes in some rows of a cache, without labels."""
    return Shapes(cache=cache, split=EVERYTHING, rows=rows, labels=np.full(len(rows), NONE), classes=())


def _to_split(cache: Cache) -> str:
    """Advice for a cache without splits: how to build one with splits. Empty if the cache has splits."""
    if cache.manifest.splits:
        return ""
    return (
        ". `mmpd-cache build SOURCE CACHE --set source.split=0.8` makes a cache with a train and a test split; "
        "`mmpd-train eval crossval` tests every shape once and needs none"
    )


def relabelled(shapes: Shapes, classes: Sequence[str], there: str = "", *, own: bool = False) -> tuple[Shapes, tuple[str, ...]]:
    """Replace the labels of shapes by indices into another list of classes, matched by name (`cache_schema.classes`).

    Args:
        shapes: the shapes, with labels.
        classes: the other classes.
        there: what has the other classes, for messages.
        own: whether each of `classes` was made from the class of `shapes` with the same index.

    Returns:
        The shapes with new labels, without shapes whose class is not in `classes`; and a note on the shapes left out, if any.

    Raises:
        UserError: no shape is left, or a name may mean several classes.
    """
    return _renumbered(shapes, places(shapes.classes, classes, str(shapes.cache.path), there, own=own), classes)


def _renumbered(shapes: Shapes, place: NDArray[np.int64], classes: Sequence[str]) -> tuple[Shapes, tuple[str, ...]]:
    """Relabel shapes, with a note on those left out. `place[i]` is the new index of class i; NONE drops its shapes."""
    labels = place[shapes.labels]
    lost = labels == NONE
    names = [shapes.classes[i] for i in np.unique(shapes.labels[lost])]
    if lost.all():
        raise UserError(f"{shapes.name} has no class that the classifier knows: it has {some(names)}; the classifier knows {some(classes)}")
    notes = (
        (f"{int(lost.sum())} of {len(shapes)} test shapes are left out, since the classifier does not know their classes: {some(names)}",)
        if names
        else ()
    )
    return dataclasses.replace(shapes.of(~lost), labels=labels[~lost], classes=tuple(classes)), notes


def matched(train: Shapes, test: Shapes, least: int = 2) -> tuple[Shapes, Shapes, tuple[str, ...]]:
    """Label training and test shapes by the same classes: those that have a training shape.

    Args:
        train, test: the shapes, with labels.
        least: least number of classes that the training shapes must have.

    Returns:
        The training shapes; the test shapes, without shapes of other classes; and notes on test shapes that were left out.

    Raises:
        UserError: the training shapes have fewer than `least` classes, no test shape has one of these classes, or a name may mean several
            classes.
    """
    present = np.unique(train.labels)
    classes = tuple(train.classes[i] for i in present)
    if len(classes) < least:
        raise UserError(f"{train.name} has shapes of one class only ({some(classes)}); a classifier needs two")
    # Match the full class lists first. For one cache both lists are equal, so indices stay, even if names repeat.
    place = places(test.classes, train.classes, str(test.cache.path), str(train.cache.path))
    kept = np.full(len(train.classes) + 1, NONE)  # index -1 is the last entry: NONE stays NONE
    kept[present] = np.arange(len(present))
    train = dataclasses.replace(train, labels=kept[train.labels], classes=classes)
    test, notes = _renumbered(test, kept[place], classes)
    return train, test, notes


def scene_names(crops: Shapes) -> list[str]:
    """The name of the scene of each crop. A shape that is no crop is a scene of its own."""
    return [scene_of(name) for name in crops.cache.ids()[crops.rows]]


def scene_of(name: str) -> str:
    """The name of the scene of a crop, or of the thing of a scan, from an id. An id that is no such name is returned as it is."""
    return name.rpartition(CROP)[0] or name


def in_pieces(cache: Cache) -> bool:
    """Whether shapes of a cache are crops of scenes, or scans of one thing, so that `scene_of` says which belong together. Elsewhere the
    character may stand in the name of any file."""
    known = cache.products()
    spec = known[products.POINTS.name].spec if products.POINTS.name in known else None
    sources = (cache.manifest.source, *cache.manifest.source.also)
    cut = any({"crop", "inner"} & {name for name, _ in source.options} for source in sources)
    return cut or products.BOXES.name in known or (isinstance(spec, PointSpec) and spec.origins)


def few_scenes(count: int) -> tuple[str, ...]:
    """A note if there are too few test scenes for an interval over them."""
    if count >= FEW:
        return ()
    return (f"there are few test scenes ({count}): an interval over scenes says little, and of one scene there is none",)
