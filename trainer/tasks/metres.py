"""Scenes in metres for an encoder that was trained on shapes in the unit sphere: scale and height, and where they come from.

    frame, notes = framed(stage.convention, train, test, channels=3, options=options)
    points = frame(train.points(rows, 0, channels=3))                   # in the encoder's coordinates

Letters: b crops, Q points of a block, C channels.
"""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from trainer.points import Convention, specification
from trainer.tasks.shapes import Shapes

MEASURED: Final = 256
"""Largest number of training crops from which scale and height are measured."""


@dataclass(frozen=True, kw_only=True)
class InMetres:
    """Options of tasks that read scenes in metres. They change what an encoder reads, and no box and no distance elsewhere."""

    scale: float | None = None
    """Number of metres that become 1 in the encoder's coordinates. None for the median radius of the training crops, or for 1 if the run
    was trained in metres."""
    middle: float | None = None
    """Height above the floor, in metres, that becomes 0 in the encoder's coordinates. None for the median middle of the training crops, or
    for 0 if the run was trained in metres."""

    def __post_init__(self) -> None:
        if self.scale is not None and self.scale <= 0:
            raise UserError(f"scale must be positive, got {self.scale}")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How coordinates of a cache become those that an encoder reads: (x, y - middle, z) / scale."""

    middle: float = 0.0
    """Height, in the cache's units, that becomes 0."""
    scale: float = 1.0
    """Length, in the cache's units, that becomes 1."""

    def __call__(self, points: Tensor) -> Tensor:
        """The points [..., C] in the encoder's coordinates."""
        if self == Frame():
            return points
        return torch.cat([(points[..., :3] - self._origin(points)) / self.scale, points[..., 3:]], -1)

    def back(self, xyz: Tensor) -> Tensor:
        """Places [..., 3] in the encoder's coordinates as those of the cache."""
        return xyz if self == Frame() else xyz * self.scale + self._origin(xyz)

    def _origin(self, like: Tensor) -> Tensor:
        return torch.tensor([0.0, self.middle, 0.0], dtype=like.dtype, device=like.device)


def as_stored(convention: Convention | None, shapes: Shapes) -> Convention | None:
    """The kind of points to read from a cache in metres, whose coordinates a `Frame` changes afterwards. A cache in the unit sphere must
    have the normalisation of the run.
    """
    if convention is None or specification(shapes.cache).normalize != "none":
        return convention
    return dataclasses.replace(convention, normalize="none")


def framed(convention: Convention | None, train: Shapes, test: Shapes, channels: int, options: InMetres) -> tuple[Frame, tuple[str, ...]]:
    """How coordinates become those of the encoder, and a note on it.

    Args:
        convention: the kind of points that the run was trained on; None if unknown.
        train, test: the scenes, or their crops.
        channels: channels of a point, C.
        options: what a user asks for.

    Raises:
        UserError: `scale` or `middle` is given for points in the unit sphere, or the points of the two caches are of different kinds.
    """
    kinds = {shapes.cache.path: specification(shapes.cache).normalize for shapes in (train, test)}
    if len(set(kinds.values())) > 1:
        raise UserError(
            "one cache has metres, the other the unit sphere: " + ", ".join(f"{path} has normalize={k}" for path, k in kinds.items())
        )
    if "none" not in kinds.values():
        try:
            refuse_unread(options, ["scale", "middle"], "")
        except UserError as error:
            raise UserError(
                f"scale and middle are for caches in metres (normalize=none); {train.cache.path} has points in the unit sphere"
            ) from error
        return Frame(), ()
    trained = convention.normalize if convention else "unit_sphere"
    if trained == "none":
        frame = Frame(middle=options.middle or 0.0, scale=options.scale or 1.0)
        if frame == Frame():
            return frame, ()
    else:
        frame = measure(train, channels, options)
    told = trained == "none" or None not in (options.scale, options.middle)
    why = "as asked" if told else "measured on the training crops"
    kind = "in the unit sphere" if trained == "unit_sphere" else "in metres"
    kind += "" if convention else " (it does not say so: this is the usual kind)"
    unit = f"{frame.scale:.3g} m are 1, and the height {frame.middle:.3g} m is 0 ({why})"
    return frame, (f"points are brought to the encoder's coordinates, whose run was trained on points {kind}: {unit}",)


def measure(train: Shapes, channels: int, options: InMetres) -> Frame:
    """The median middle height, and then the median radius, of some training crops, unless they are given."""
    if options.scale is not None and options.middle is not None:
        return Frame(middle=options.middle, scale=options.scale)
    chosen = np.unique(np.linspace(0, len(train) - 1, MEASURED).astype(np.int64))
    xyz = train.points(chosen, 0, channels)[..., :3]  # [b, Q, 3]
    heights = (xyz[..., 1].amax(1) + xyz[..., 1].amin(1)) / 2
    # Numbers that a reader can type in again.
    middle = float(f"{float(heights.median()):.3g}") if options.middle is None else options.middle
    radii = (xyz - torch.tensor([0.0, middle, 0.0])).norm(dim=-1).amax(1)
    scale = float(f"{float(radii.median()):.3g}") if options.scale is None else options.scale
    if scale <= 0:
        raise UserError(f"the training crops of {train.cache.path} have no extent; give scale, in metres")
    return Frame(middle=middle, scale=scale)
