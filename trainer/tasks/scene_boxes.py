"""The scenes of a cache with their boxes, and their augmentation.

    train, test, notes = both(scenes(train_cache, "train"), scenes(test_cache, None))
    points, boxes = changed(points, boxes, draw(options, len(points), generator), upright=train.upright)

Letters: n and B scenes, P points, C channels, M places for boxes of a scene, K classes.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema import products
from cache_schema.checks import check_numbers
from cache_schema.classes import NONE
from cache_schema.classes import matched as places
from cache_schema.errors import UserError
from cache_schema.spec import BoxSpec
from cache_schema.store import Cache
from trainer.tasks.shapes import Shapes, few_scenes, of_split, scene_names

EXACT: Final = 1e-3
"""Angle in radians below which a box counts as not turned."""


# ------------------------------------------------------------------------------------------------------------- the scenes


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """A selection of n usable scenes of a cache, with their boxes."""

    shapes: Shapes
    """The scenes as shapes, without labels."""
    names: tuple[str, ...]
    """Names of the classes of boxes."""
    boxes: NDArray[np.float64]
    """[n, M, 7], as in `trainer.tasks.boxes`. A box turned by a quarter is stored here as one that is not turned."""
    kinds: NDArray[np.int64]
    """Class of each box, [n, M]; -1 for a place without a box."""

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def upright(self) -> bool:
        """Whether no box is turned."""
        return bool((self.boxes[self.kinds >= 0, 6] == 0).all())

    def of(self, scene: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The boxes [m, 7] of one scene and their classes [m]."""
        there = self.kinds[scene] >= 0
        return self.boxes[scene, there], self.kinds[scene, there]

    @property
    def flat(self) -> int:
        """Number of boxes without a volume. Their overlap with any box is 0, so they cannot be found."""
        return int((self.boxes[self.kinds >= 0, 3:6].prod(-1) == 0).sum())


def scenes(cache: Cache, split: str | None) -> Scenes:
    """The usable scenes of a split, as `trainer.tasks.shapes.of_split` chooses them.

    Raises:
        UserError: there is no such split, the cache has no boxes, or a box is impossible.
    """
    if products.BOXES.name not in cache.products():
        raise UserError(
            f"{cache.path} has no boxes, which a detector learns from: build it from a source of scenes with boxes, as "
            "`mmpd-cache sources` names them"
        )
    spec = cache.proven(products.BOXES.name).spec
    assert isinstance(spec, BoxSpec)
    shapes = of_split(cache, split, labelled=False)
    boxes = cache.column("boxes/box")[shapes.rows].astype(np.float64)
    kinds = cache.column("boxes/class")[shapes.rows].astype(np.int64)
    _check(shapes, boxes, kinds, spec)
    return Scenes(shapes=shapes, names=spec.names, boxes=_straight(np.where(kinds[..., None] >= 0, boxes, 0)), kinds=kinds)


def _check(shapes: Shapes, boxes: NDArray[np.float64], kinds: NDArray[np.int64], spec: BoxSpec) -> None:
    """Raise UserError for a box that cannot be: a class without a name, a number that is not finite, or a negative size."""
    there = kinds >= 0
    wrong = (kinds < -1) | (kinds >= len(spec.names))
    wrong |= there & ~np.isfinite(boxes).all(-1)
    with np.errstate(invalid="ignore"):
        wrong |= there & (boxes[..., 3:6] < 0).any(-1)
    if wrong.any():
        scene, place = np.argwhere(wrong)[0]
        raise UserError(
            f"{shapes.cache.path}: box {place} of row {shapes.rows[scene]} must have a class in -1..{len(spec.names) - 1}, finite numbers "
            f"and no negative size, got class {kinds[scene, place]} and {boxes[scene, place].tolist()}; build the cache again"
        )


def _straight(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes [..., 7] with angles from 0 up to half a turn. A quarter turn becomes an exchange of two sizes, and an angle of nearly 0
    becomes 0."""
    boxes = boxes.copy()
    quarters = np.round(boxes[..., 6] / (math.pi / 2))
    near = np.abs(boxes[..., 6] - quarters * math.pi / 2) < EXACT
    swapped = near & (quarters % 2 == 1)
    boxes[swapped] = boxes[swapped][:, [0, 1, 2, 5, 4, 3, 6]]
    boxes[..., 6] = np.where(near, 0, boxes[..., 6] % math.pi)
    return boxes


def both(train: Scenes, test: Scenes) -> tuple[Scenes, Scenes, tuple[str, ...]]:
    """Give training and test boxes the same classes: those that have a training box, matched by name.

    Returns:
        The training scenes; the test scenes, without boxes of other classes; and notes for the reader of a result.

    Raises:
        UserError: there is no training box, no test box has one of the classes, or a name may mean several classes.
    """
    present = np.unique(train.kinds[train.kinds >= 0])
    if not len(present):
        raise UserError(f"{train.shapes.name} has no box to learn from")
    names = tuple(train.names[i] for i in present)
    own = np.full(len(train.names) + 1, NONE)  # index -1 is the last entry: NONE stays NONE
    own[present] = np.arange(len(present))
    there = np.append(own[places(test.names, train.names, str(test.shapes.cache.path), str(train.shapes.cache.path))], NONE)
    kinds = there[test.kinds]
    if (kinds < 0).all():
        raise UserError(f"{test.shapes.name} has no box of a class that the detector knows: {', '.join(names)}")
    lost = (test.kinds >= 0) & (kinds < 0)
    notes = []
    if lost.any():
        other = ", ".join(test.names[i] for i in np.unique(test.kinds[lost]))
        notes.append(
            f"{int(lost.sum())} of {int((test.kinds >= 0).sum())} test boxes are left out, since no training box has their class: {other}"
        )
    train = dataclasses.replace(train, names=names, kinds=own[train.kinds])
    test = dataclasses.replace(test, names=names, kinds=kinds)
    if train.upright and not test.upright:
        notes.append("boxes of the training scenes are not turned, those of the test scenes are: the detector predicts no angles")
    if (whole := len(set(scene_names(test.shapes)))) < len(test):
        notes.append(f"the {len(test)} test scenes are crops of {whole}: each counts alone, so an interval over them is too narrow")
    if test.flat:
        notes.append(f"{test.flat} test boxes have no volume: they count as not found")
    return train, test, (*notes, *few_scenes(len(test)))


# ------------------------------------------------------------------------------------------------------------ augmentation


@dataclass(frozen=True, kw_only=True)
class SceneAugment:
    """Limits of the random changes of a scene and its boxes. Turn and mirror images are 3DETR's for ScanNet, which also trains on random
    cuboids of a scene."""

    turn: float = 5.0
    """Largest turn about the vertical, in degrees. If no box of the cache is turned, a turned box is replaced by the smallest box around it
    that is not turned, as published; so a large turn makes boxes too large."""
    quarters: bool = True
    """Also turn by a random number of quarter turns, which is exact for any box. The published training has none."""
    mirror: bool = True
    """Take the mirror image along each horizontal axis with probability 1/2."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest uniform scale. 3DETR takes 0.85 to 1.15 on SUN RGB-D and none on ScanNet."""
    shift: float = 0.0
    """Largest shift along each axis, in the units of the cache."""

    def __post_init__(self) -> None:
        check_numbers(self, {"turn": 0, "shift": 0}, "augment.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"augment.scale must be two positive numbers in ascending order, got {self.scale}")
        if self.turn > 180:
            raise UserError(f"augment.turn must be at most 180 degrees, got {self.turn}")


@dataclass(frozen=True, kw_only=True)
class SceneDraw:
    """The random changes of each scene of a batch: a mirror image, then a turn, a scale and a shift."""

    signs: Tensor
    """[B, 2]: 1, or -1 for a mirror image along x and along z."""
    angle: Tensor
    """[B]: the turn about +Y, in radians."""
    scale: Tensor
    """[B]."""
    shift: Tensor
    """[B, 3]."""


def draw(options: SceneAugment, count: int, generator: torch.Generator) -> SceneDraw:
    """Changes for `count` scenes, on the generator's device."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, device=generator.device)

    angle = uniform(-1, 1, count) * math.radians(options.turn)
    quarters = uniform(0, 4, count).floor() * (math.pi / 2)
    mirror = 1 - 2 * (uniform(0, 1, count, 2) < 0.5).float()
    return SceneDraw(
        signs=mirror if options.mirror else torch.ones_like(mirror),
        angle=angle + quarters * options.quarters,
        scale=uniform(*options.scale, count),
        shift=uniform(-options.shift, options.shift, count, 3),
    )


def changed(points: Tensor, boxes: Tensor, drawn: SceneDraw, *, upright: bool) -> tuple[Tensor, Tensor]:
    """The changed points and boxes. They keep the farthest-point order, since no change decides which point is farthest.

    Args:
        points: [B, P, C]; the first three channels are coordinates.
        boxes: [B, M, 7].
        drawn: the changes of each scene.
        upright: whether to replace turned boxes by the smallest boxes around them that are not turned.
    """
    xyz = _moved(points[..., :3], drawn)
    centres = _moved(boxes[..., :3], drawn)
    angles = drawn.angle[:, None] + drawn.signs.prod(-1)[:, None] * boxes[..., 6]
    sizes = boxes[..., 3:6] * drawn.scale[:, None, None]
    if upright:
        c, s = angles.cos().abs(), angles.sin().abs()
        sizes = torch.stack([c * sizes[..., 0] + s * sizes[..., 2], sizes[..., 1], s * sizes[..., 0] + c * sizes[..., 2]], -1)
        angles = torch.zeros_like(angles)
    return torch.cat([xyz, points[..., 3:]], -1), torch.cat([centres, sizes, angles.unsqueeze(-1)], -1)


def _moved(xyz: Tensor, drawn: SceneDraw) -> Tensor:
    """Places [B, N, 3] after the changes."""
    c, s = drawn.angle.cos()[:, None], drawn.angle.sin()[:, None]
    x, y, z = drawn.signs[:, :1] * xyz[..., 0], xyz[..., 1], drawn.signs[:, 1:] * xyz[..., 2]
    turned = torch.stack([c * x + s * z, y, c * z - s * x], -1)
    return turned * drawn.scale[:, None, None] + drawn.shift[:, None]


def named(counts: Sequence[int], names: Sequence[str]) -> str:
    """Numbers of boxes by class as text, the most frequent class first."""
    order = sorted(range(len(names)), key=lambda i: -counts[i])
    return ", ".join(f"{names[i]} {counts[i]}" for i in order)
