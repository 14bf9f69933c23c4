"""Inputs of a training step: the batch, and the random choices for it.

A stage is called as `stage(batch, stage.draw(count, generator))` and returns losses by name. The loss called "loss" is minimised. Random
choices are drawn outside of the forward pass, so that the stage compiles as one graph, and so that each of several ranks can draw for the
whole batch from an equal generator and then keep its own rows (`Draw.rows`).

Letters: B shapes, V views of a shape, P points, C channels (xyz, or xyz and rgb), E a teacher's width, G tokens, D encoder width, Q extra
rows, H wrong texts of a shape.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import torch
from torch import Tensor

from cache_schema.spec import added, label


class Tensors:
    """Base of dataclasses with tensors. Its methods change all tensors, also those in dicts, tuples and nested `Tensors`."""

    def to(self, device: torch.device | str) -> Self:
        """A copy on a device. The transfer may still be running when this returns."""
        moved: Self = _each(self, lambda tensor: tensor.to(device, non_blocking=True))
        return moved

    def pinned(self) -> Self:
        """The same in page-locked memory, from which a GPU copies while the CPU goes on. Tensors that lie there, or on a GPU, stay where
        they are."""
        pinned: Self = _each(self, lambda tensor: tensor.pin_memory() if tensor.device.type == "cpu" else tensor)
        return pinned

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory of tensors from another stream until `stream` has finished its present work with them."""

        def record(tensor: Tensor) -> Tensor:
            tensor.record_stream(stream)
            return tensor

        _each(self, record)


class Draw(Tensors):
    """The random choices for the shapes of a batch. Every tensor has one row per shape."""

    def rows(self, start: int, stop: int) -> Self:
        """The same for shapes start..stop of the batch."""
        part: Self = _each(self, lambda tensor: tensor[start:stop])
        return part


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _each(item, change) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_each(item, change) for item in value)
    if isinstance(value, Tensors):
        return type(value)(**{f.name: _each(getattr(value, f.name), change) for f in dataclasses.fields(value)})  # type: ignore[arg-type]
    return value


@dataclass(frozen=True, kw_only=True)
class Negatives(Tensors):
    """Embeddings of other shapes: wrong answers that cost no forward pass."""

    image: dict[str, Tensor] = field(default_factory=dict)
    """Teacher to [Q, E]."""
    text: dict[str, Tensor] = field(default_factory=dict)
    """Teacher to [Q, E]."""
    text_key: Tensor
    """[Q] int64, as in `Batch`."""
    label: Tensor
    """[Q] int64, as in `Batch`."""


@dataclass(frozen=True, kw_only=True)
class Batch(Tensors):
    """B shapes and their targets. Floats are float32; targets may be float16 as stored."""

    points: Tensor
    """[B, P, C]: coordinates, then colours in 0..1 where there are any."""
    index: Tensor
    """[B] int64: number of the shape: its row in the cache, plus the number of shapes in the caches before this one."""
    label: Tensor
    """[B] int64: class, -1 for none."""
    ordered: bool = True
    """Whether the points are in farthest-point order, as the blocks of a cache are."""
    image: dict[str, Tensor] = field(default_factory=dict)
    """Teacher to [B, E]: the embedding of one view. This and the next four are [B, V, ...] if a step has several views of each shape."""
    text: dict[str, Tensor] = field(default_factory=dict)
    """Teacher to [B, E]: the embedding of one text."""
    text_key: Tensor | None = None
    """[B] int64: equal for equal texts, -1 for none."""
    image_valid: dict[str, Tensor] = field(default_factory=dict)
    """Teacher to [B] bool: whether there is an image target; otherwise its row in `image` has any finite numbers. A teacher without an
    entry has all its image targets."""
    text_valid: dict[str, Tensor] = field(default_factory=dict)
    """Teacher to [B] bool: the same for `text`."""
    guide_tokens: Tensor | None = None
    """[B, G, D]: the guide's tokens, by centre."""
    guide_summary: Tensor | None = None
    """[B, D]: the guide's summary."""
    dense: dict[str, Tensor] = field(default_factory=dict)
    """Teacher to [B, G, E]: its patch features on the groups of points, by centre."""
    dense_seen: dict[str, Tensor] = field(default_factory=dict)
    """Teacher to [B, G] bool: whether a view of the shape sees the group. Otherwise its row in `dense` has any finite numbers."""
    negatives: Negatives | None = None
    hard: dict[str, Tensor] = field(default_factory=dict)
    """Teacher to [B, H, E]: embeddings of texts that are wrong of the shape."""
    hard_valid: Tensor | None = None
    """[B, H] bool: which of them are there; None without any. A teacher that has not embedded one of these has zeros in its place."""

    @property
    def views(self) -> int:
        """Number of views, and of texts, of each shape, V."""
        found = next(iter((*self.image.values(), *self.text.values())), None)
        return 1 if found is None or found.dim() == 2 else found.shape[1]


def regrouped(batch: Batch, source: Tensor | None) -> Batch:
    """The batch with patch features for points that were put into other places.

    Args:
        batch: a batch whose patch features belong to the points as stored.
        source: the point that was put into each place, [B, P] int64; None if all points are in their places.

    A group whose centre is now a point that had no group counts as not seen.
    """
    if source is None or not batch.dense:
        return batch
    dense, seen = {}, {}
    for name, features in batch.dense.items():
        groups = features.shape[1]
        centre = source[:, :groups]  # [B, G]
        index = centre.clamp(max=groups - 1)
        dense[name] = features.gather(1, index.unsqueeze(-1).expand(-1, -1, features.shape[-1]))
        seen[name] = batch.dense_seen[name].gather(1, index) & (centre < groups)
    return dataclasses.replace(batch, dense=dense, dense_seen=seen)


@dataclass(frozen=True, kw_only=True)
class Features(Tensors):
    """Features of whole shapes, computed by a frozen model."""

    tokens: Tensor
    """[B, G, D], by centre."""
    summary: Tensor | None
    """[B, D]; None if the model was trained without a summary."""


Side = Literal["image", "text"]
"""Side of a teacher: the embedded views of a shape, or the embedded texts about it."""
SIDES: Final[tuple[Side, ...]] = ("image", "text")


def target(side: Side, teacher: str) -> str:
    """Name of a teacher's embeddings of one side in losses, heads and statistics, such as `text/clip`. It does not depend on the
    product."""
    return f"{side}/{teacher}"


def targets(teacher: str, text: bool) -> dict[Side, str]:
    """The names of a teacher's targets by side. `text`: whether it has a text side."""
    return {side: target(side, teacher) for side in SIDES if text or side != "text"}


Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""Name of a target, as `target` gives it, to mean and variance of its embeddings, [E] each."""


@dataclass(frozen=True, kw_only=True)
class Used:
    """A cache that was trained on."""

    path: str = label()
    products: tuple[tuple[str, str], ...]
    """(product, fingerprint) of everything that was read, sorted."""
    rows: str = added("", identity=False)
    """Number of the selected shapes, and a digest of their rows in the cache, such as `96 of 1f0a...`; empty in older checkpoints."""
    data: str = added("", identity=False)
    """A digest of the data that these shapes were made from (`trainer.part.data_digest_of`); empty if it is not known, and in older
    checkpoints."""
