"""Read shapes from a cache in the form that a model needs: coordinates and colours in 0..1, with the point count of its training.

    blocks = Blocks(cache, convention, channels=6, centres=64)
    points = blocks.read(rows, 0)                                       # [n, P, 6] float32
    blocks.notes(rows)                                                  # notes for the reader of a result

A model that was trained on 1024 points a shape has other features for 512 or 4096 points: a group is a fixed number of nearest points, so
it covers more of the shape or less. A run's file therefore says what its points were (`Convention`), and every reader prepares the points
of a cache like those:

- If a block has more points, an even share of them is taken, which is a smaller even sample of the surface. Training, the guide and
  `features` of a model keep the block's leading points as centres of groups. Tasks sample the centres anew, which scores better.
- If a block has fewer points, tasks join several blocks of a shape. If all its blocks together are too few, a block is given as it is, and
  the result says so. Training uses the points of the smallest blocks, and the guide refuses.
- A shape without colours of its own gets the grey that the run was trained with, whatever stands in the cache. So does every shape if the
  run never saw a colour.

Letters: n shapes, P points, C channels (xyz, or xyz and rgb).
"""

import warnings
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema import products
from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.rows import Rows
from cache_schema.spec import GREY, PointSpec
from cache_schema.store import Cache

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SCALE: Final = np.float32(1 / 255)
"""Factor from stored colours, 0..255, to 0..1. It is multiplied: a division by 255 differs in the last bit for 126 of the 256 values."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """The kind of points that a run was trained on. A run's checkpoint holds it."""

    count: int
    """Points of a shape, P."""
    normalize: Literal["unit_sphere", "none"] = "unit_sphere"
    """Normalisation of the coordinates, as in `cache_schema.spec.PointSpec`."""
    ordered: int = 0
    """Number of leading points of a block that were in farthest-point order."""
    dtype: Literal["float16", "float32"] = "float32"
    """Type of the stored coordinates."""
    colored: bool | None = None
    """Whether the run saw the colours of at least one shape; None if that is unknown."""
    grey: float = GREY
    """Colour, in 0..1 for all channels, of shapes without colours, and of those whose colours were dropped."""

    def __post_init__(self) -> None:
        check_numbers(self, {"ordered": 0}, "points.")
        if self.count < 1:
            raise UserError(f"points.count must be at least 1, got {self.count}")
        if not 0 <= self.grey <= 1:
            raise UserError(f"points.grey is a colour and must lie in [0, 1], got {self.grey}")


def specification(cache: Cache) -> PointSpec:
    """The specification of a cache's points: count, normalisation and order.

    Raises:
        UserError: the cache has no points, or they are unfinished or changed since they were finished.
    """
    spec = cache.proven(products.POINTS.name).spec
    assert isinstance(spec, PointSpec)
    return spec


def share(there: int, count: int, leading: int) -> Ints:
    """Choose `count` points of a block that has `there`: the `leading` ones, which serve as centres, then an even share of the others.
    The choice is the same for every shape. Returns positions in ascending order. [count]
    """
    leading = min(leading, count)
    rest = leading + np.random.default_rng(0).permutation(there - leading)[: count - leading]
    return np.concatenate([np.arange(leading), np.sort(rest)])


def as_trained(points: Tensor, convention: Convention | None, leading: int) -> Tensor:
    """Points [B, P, C] that a caller gives to a model, brought to the number that it was trained on.

    If there are more, `share` chooses among them and keeps the `leading` ones, which serve as centres: as training and the guide do.
    (Tasks read by `Blocks`, which has the centres of a larger block sampled anew. Their features of it are therefore not exactly these.)
    If there are fewer, all are given, with a warning.
    """
    if convention is None or points.shape[1] == convention.count:
        return points
    if points.shape[1] < convention.count:
        warnings.warn(
            f"the run was trained on {convention.count} points a shape and is given {points.shape[1]}: its features may be wrong for that",
            stacklevel=3,
        )
        return points
    return points[:, torch.from_numpy(share(points.shape[1], convention.count, leading)).to(points.device)]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What `Blocks` reads of a cache besides its arrays."""

    spec: PointSpec
    colored: NDArray[np.bool_] | None
    """Which shapes have colours, [N]; None if colours are not read."""


class Blocks:
    """The blocks of one cache's shapes, in the form that a model needs."""

    def __init__(
        self,
        cache: Cache,
        convention: Convention | None,
        *,
        channels: int,
        centres: int,
        join: bool = True,
        verify: Literal["off", "first_use"] = "first_use",
        known: Known | None = None,
    ) -> None:
        """
        Args:
            cache: the cache with the points.
            convention: the kind of points that the model was trained on; None to read blocks as they are stored.
            channels: 3, or 6 with colours.
            centres: number of leading points of a block that the model uses as centres, if they are in farthest-point order.
            join: whether to read as tasks do. Then several smaller blocks may be joined, and a share of a larger block counts as not
                ordered, so that its centres are sampled anew.
            verify: whether files are compared with their checksums when they are first read; see `settle`.
            known: what the caller has read and proven already.

        Raises:
            UserError: the points have another normalisation than those of the model's training, or have changed since they were finished.
        """
        self.cache, self.convention, self.channels = cache, convention, channels
        if known is None:
            cache.proven(products.STATUS.name)  # it stores which shapes have colours
        self.spec = spec = specification(cache) if known is None else known.spec
        if convention and convention.normalize != spec.normalize:
            raise UserError(
                f"the run was trained on points with normalize={convention.normalize}, those of {cache.path} have {spec.normalize}: "
                f"build a cache with --set points.normalize={convention.normalize}"
            )
        self.xyz: Rows = cache.rows("points/xyz", verify)
        self.rgb: Rows | None = cache.rows("points/rgb", verify) if channels == 6 else None
        self._others: dict[str, Rows] = {}
        self._verify = verify
        self.colored = known.colored if known is not None else cache.colored() if channels == 6 else None
        """Which shapes have colours of their own, [N]; None if colours are not read."""
        self.grey = np.float32(convention.grey if convention else GREY)
        self.colorless = convention is not None and convention.colored is False
        """Whether the run never saw a colour, so that all colours are dropped."""
        wanted = convention.count if convention else spec.count
        several = -(-wanted // spec.count)
        self.joined = several if join and several <= spec.blocks else 1
        """Number of stored blocks that are joined to one."""
        self.count = min(wanted, spec.count * self.joined)
        """Points of a block, P."""
        self.blocks = spec.blocks // self.joined
        """Blocks of a shape."""
        self.ordered = self.joined == 1 and spec.ordered >= centres
        """Whether the first points of a block give the model its centres."""
        stored = spec.count * self.joined
        if join and self.count < stored:
            # Farthest-point samples of more points lie farther out than those the run knew: with an SVM on blocks of 4096 they gave 70.4 %,
            # centres found anew 71.9 %, its own 1024 points 73.7 %. Training and the guide keep them: their groups must be the same.
            self.ordered = False
        self.kept = share(stored, self.count, centres if self.ordered else 0) if self.count < stored else None
        """Which points of a stored block are read; None for all."""

    @property
    def short(self) -> bool:
        """Whether a block has fewer points than the model was trained on."""
        return self.convention is not None and self.count < self.convention.count

    def read(self, rows: Ints, blocks: Ints | int) -> Tensor:
        """Blocks [n] of the shapes in rows [n] of the cache. [n, P, C] float32"""
        out = torch.empty(len(rows), self.count, self.channels)
        self.fill(out.numpy(), rows, np.broadcast_to(np.asarray(blocks), rows.shape))
        return out

    def fill(self, out: Floats, rows: Ints, blocks: Ints) -> None:
        """Write blocks [n] of the shapes in rows [n] of the cache into `out` [n, P, C]."""
        out[:, :, :3] = self._gathered(self.xyz, rows, blocks)
        if self.rgb is not None:
            assert self.colored is not None
            out[:, :, 3:] = self._gathered(self.rgb, rows, blocks) * SCALE
            out[~self.colored[rows] | self.colorless, :, 3:] = self.grey

    def values(self, path: str, rows: Ints, blocks: Ints | int) -> NDArray[Any]:
        """Values of another array of the points, such as the labels `points/part`, for exactly the points that `read` gives. [n, P, ...]

        Raises:
            UserError: the cache has no such array.
        """
        if path not in self._others:
            self._others[path] = self.cache.rows(path, self._verify)
        return self._gathered(self._others[path], rows, np.broadcast_to(np.asarray(blocks), rows.shape))

    @property
    def opened(self) -> tuple[Rows, ...]:
        """The arrays that `fill` reads."""
        return (self.xyz,) if self.rgb is None else (self.xyz, self.rgb)

    def settle(self) -> None:
        """Wait until every file read so far is compared with its checksum, if `verify` is `first_use`.

        Raises:
            UserError: a file does not match its checksum.
        """
        for array in (self.xyz, self.rgb, *self._others.values()):
            if array is not None:
                array.settle()

    def _gathered(self, array: Rows, rows: Ints, blocks: Ints) -> NDArray[Any]:
        if self.joined == 1:
            values = array.gather(rows, blocks)
        else:
            values = np.concatenate([array.gather(rows, blocks * self.joined + i) for i in range(self.joined)], 1)
        return values if self.kept is None else values[:, self.kept]

    def notes(self, rows: Ints, what: str = "test", *, asked: bool = False, masked: bool = False) -> tuple[str, ...]:
        """Notes for the reader of a result on the shapes in these rows, in sentences.

        Args:
            rows: rows of the cache.
            what: the role of the shapes, `test` or `training`.
            asked: whether the number of points is one that a user asked for, and not that of the run.
            masked: whether the encoder leaves out points that repeat others.
        """
        run, notes, shapes = self.convention, [], f"of {len(rows)} {what} shapes"
        if run and self.short:
            wanted = f"{run.count} points a shape were asked for" if asked else f"the run was trained on {run.count} points a shape"
            notes.append(f"{wanted}, the {what} shapes have {self.count}: its numbers may be wrong for that")
        elif run and self.spec.count != run.count:
            how = f"{self.joined} stored blocks of {self.spec.count} together" if self.joined > 1 else f"out of {self.spec.count} stored"
            why = "as asked" if asked else "as many as the run was trained on"
            notes.append(f"the {what} shapes are given by {run.count} points, {why}: {how}")
        if repeated := int(self.cache.repeated()[rows].sum()):
            made = ": the encoder leaves out the points that repeat others (encoder.missing=mask)" if masked else ", some are repeated"
            notes.append(f"{repeated} {shapes} have fewer points than a block{made}")
        if self.rgb is not None:
            assert self.colored is not None
            colored = int(self.colored[rows].sum())
            if colored < len(rows) and (run is None or run.colored is not False):
                known = "; the run was trained with colours" if run and run.colored else ""
                notes.append(f"{len(rows) - colored} {shapes} have no colours of their own and are given grey {self.grey:.3g}{known}")
            if colored and run and run.colored is False:
                notes.append(f"{colored} {shapes} have colours, which are dropped, since the run was trained without any")
        return tuple(notes)
