"""Augmentation of a batch of shapes, on the device of the batch.

    points = augment(points, draw(options, *points.shape[:2], generator))

Rotation, one scale for all axes and shift keep the farthest-point order of a block, since they do not change which point is farthest. If
points are dropped, the others keep their order: the first G of them are still well spread and serve as centres, but are not exactly the
result of farthest-point sampling. A scale for each axis changes that, too, and which points are nearest to a centre. With a guide neither
is done, because its tokens belong to groups of the block as it is stored.

Letters: B shapes, P points, C channels (xyz, or xyz and rgb).
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.spec import GREY, added
from trainer import ops
from trainer.batch import Draw


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Limits of the random changes of a shape. Without any change, the values are False, 0, (1, 1), False, 0, 0, 0."""

    rotate: bool = True
    """Turn about the up axis, +Y, by any angle."""
    tilt: float = 10.0
    """Largest angle of a tilt about a random horizontal axis, in degrees."""
    scale: tuple[float, float] = (0.8, 1.25)
    """Smallest and largest scale."""
    per_axis: bool = added(False)
    """Draw a scale for each axis of a shape, which becomes wider, deeper or taller, instead of one for all three. The first points of a
    block are then centres that are still well spread, but not exactly those of farthest-point sampling."""
    shift: float = 0.1
    """Largest shift along each axis."""
    drop: float = 0.4
    """Largest share of points dropped; a shape's own share is drawn from 0 to this. Of shapes with fewer points than a block, repeats of a
    point are dropped with it if encoder.missing=mask; with repeat, each for itself."""
    drop_color: float = 0.2
    """Probability that a shape loses its colours."""

    def __post_init__(self) -> None:
        check_numbers(self, {"tilt": 0, "shift": 0}, "augment.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"scale must be two positive numbers in ascending order, got {self.scale}")
        if self.per_axis and self.scale[0] == self.scale[1]:
            raise UserError(
                f"augment.per_axis=true draws a scale for each axis, and augment.scale={self.scale[0]:g},{self.scale[1]:g} leaves nothing "
                "to draw: give a range, or set augment.per_axis=false"
            )
        if not 0 <= self.drop < 1 or not 0 <= self.drop_color <= 1:
            raise UserError(f"drop must lie in [0, 1) and drop_color in [0, 1], got {self.drop} and {self.drop_color}")


@dataclass(frozen=True, kw_only=True)
class AugmentDraw(Draw):
    """The random changes of each shape of a batch."""

    matrix: Tensor
    """[B, 3, 3]: scale, then rotation."""
    shift: Tensor
    """[B, 1, 3]."""
    source: Tensor | None
    """[B, P] int64: the point to put in each place; None if no points are dropped."""
    grey: Tensor
    """[B] bool: shapes without colours."""


def draw(options: AugmentOptions, count: int, points: int, generator: torch.Generator) -> AugmentDraw:
    """Changes for `count` shapes of `points` points each, on the generator's device."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, device=generator.device)

    turn = uniform(-math.pi, math.pi, count) * options.rotate
    rotation = _about_y(turn)
    if options.tilt:
        axis, tilt = uniform(-math.pi, math.pi, count), math.radians(options.tilt) * uniform(-1, 1, count)
        rotation = _product(_about_y(axis), _product(_about_x(tilt), _about_y(turn - axis)))
    matrix = rotation * uniform(*options.scale, count, 1, 3 if options.per_axis else 1)
    shift = uniform(-options.shift, options.shift, count, 1, 3)
    source = None
    if options.drop:
        kept = uniform(0, 1, count, points) >= uniform(0, options.drop, count, 1)
        kept[:, 0] = True  # never none
        source = _survivors(kept)
    return AugmentDraw(matrix=matrix, shift=shift, source=source, grey=uniform(0, 1, count) < options.drop_color)


def augment(points: Tensor, drawn: AugmentDraw, grey: float = GREY) -> Tensor:
    """The changed points [B, P, C]. Dropped points are replaced by repeating the others, from the first, so that P stays the same.

    Args:
        points: coordinates, and colours if there are six channels.
        drawn: the changes of each shape.
        grey: colour of shapes whose colours are dropped; the same as for shapes without colours (`trainer.points.Convention`).
    """
    xyz = _product(points[..., :3], drawn.matrix.mT) + drawn.shift
    color = torch.where(drawn.grey.view(-1, 1, 1), grey, points[..., 3:])
    points = torch.cat([xyz, color], -1)
    return points if drawn.source is None else ops.gather(points, drawn.source)


def together(drawn: AugmentDraw, points: Tensor) -> AugmentDraw:
    """The same changes for an encoder that leaves out points which repeat others: repeats of points [B, P, C] are dropped with their
    originals, and kept with them. Otherwise, of a shape with few points hardly any would be dropped, since one of its repeats is left.
    Where nothing repeats, the changes stay as they are."""
    if drawn.source is None:
        return drawn
    kept = torch.zeros_like(drawn.source, dtype=torch.bool).scatter(1, drawn.source, True)
    return dataclasses.replace(drawn, source=_survivors(kept.gather(1, ops.originals(points[..., :3]))))


def _survivors(kept: Tensor) -> Tensor:
    """The point to put in every place, [B, P]: the kept points, given as [B, P] bool, in their order, then again from the first.

    Repeating keeps both the shape of the batch and the density of points, on which the radius of a group of nearest points depends.
    """
    order = kept.sort(dim=1, descending=True, stable=True).indices  # those kept first, in their order
    place = torch.arange(kept.shape[1], device=kept.device) % kept.sum(1, keepdim=True)
    return order.gather(1, place)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product of [..., N, 3] and [..., 3, 3]. With TF32 or autocast, torch's own product would be exact to a few digits only."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def _about_y(angle: Tensor) -> Tensor:
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, zero, s, zero, one, zero, -s, zero, c], -1).reshape(*angle.shape, 3, 3)


def _about_x(angle: Tensor) -> Tensor:
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([one, zero, zero, zero, c, -s, zero, s, c], -1).reshape(*angle.shape, 3, 3)
