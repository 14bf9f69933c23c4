"""One vector per shape, computed by a trained model: input of linear probes and start of fine-tuning.

    body = Body.of(stage, "mean_max")
    features = extract(body, shapes, block=0)                           # [n, F]

Letters: B and n shapes, P points, C channels, D width, F features.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import GREY
from cache_schema.store import Cache
from trainer.align import Align
from trainer.encoders.protocol import Encoded, Encoder, Layered, missing
from trainer.heads import average, largest
from trainer.points import Blocks, Convention, specification
from trainer.stage import Stage
from trainer.tasks.shapes import Shapes

T = TypeVar("T")

Pool = Literal["mean_max", "summary", "summary_max", "depths", "max", "mean", "mean_plus_max"]
"""How tokens become one vector: mean and maximum over them, the model's own summary, the summary and the maximum, or mean and maximum
after each quarter of the encoder's blocks, rounded up (of an encoder with several levels: on each). Then what heads of papers read: the
maximum alone, the mean alone, and the sum of both."""
QUARTERS: Final = 4
"""Number of depths of `depths`. DINO (https://arxiv.org/abs/2104.14294) reads as many in linear probes of ViT-S: the last four blocks."""

Readout = Literal[Pool, "mean_later_max"]
"""A `Pool`, or the mean of all tokens and the maximum of all but the first, which published classifiers of Point-M2AE read."""

SUMMARIES: Final = ("summary", "summary_max")
"""Readouts of the model's own summary."""

BATCH: Final = 64
"""Number of shapes in one forward pass without gradients; fewer if they have more than `USUAL` points. It changes no result."""
USUAL: Final = 1024
"""Largest number of points per shape at which a forward pass takes `BATCH` shapes."""


class Body(nn.Module):
    """Encoder and pooling: points [B, P, C] to features [B, F]."""

    def __init__(self, encoder: Encoder, summary: nn.Module | None, pool: Readout) -> None:
        super().__init__()
        assert (summary is None) == (pool not in SUMMARIES)
        self.encoder, self.summary, self.pool = encoder, summary, pool
        self.convention: Convention | None = None
        """The kind of points that the run was trained on; None if unknown."""

    @classmethod
    def of(cls, stage: Stage, pool: Pool, *, scratch: bool = False) -> "Body":
        """The body of a trained model in evaluation mode. It shares the model's weights. With `scratch`, it has the same architecture and
        new weights from torch's global generators.

        Raises:
            UserError: the pooling needs a summary that the model does not have, or features of several depths, which the encoder does not
                give.
        """
        assert not stage.training
        if pool == "depths" and not (isinstance(stage.encoder, Layered) and "parts" in inspect.signature(stage.encoder.layers).parameters):
            raise UserError(f"{type(stage.encoder).__name__} gives no features of {QUARTERS} depths: set pool to mean_max")
        if scratch:
            if pool in SUMMARIES:
                raise UserError(f"before training there is no summary: set pool to mean_max, got {pool}")
            return cls(encoder_of(stage, scratch=True), None, pool)._like(stage).eval()
        summary = None if pool not in SUMMARIES else stage.pool if isinstance(stage, Align) else stage.summary
        if summary is None and pool in SUMMARIES:
            raise UserError(f"this model was trained without a summary: set pool to mean_max, got {pool}")
        return cls(stage.encoder, summary, pool)._like(stage).eval()

    @classmethod
    def for_teachers(cls, stage: Stage) -> "Body":
        """The body that gives what the heads of teachers read: the model's summary, or those of all queries if each teacher has its own.

        Raises:
            UserError: the model has no summary.
        """
        found = cls.of(stage, "summary")
        if isinstance(stage, Align):
            found.summary = stage.reader
        return found.eval()

    def _like(self, stage: Stage) -> "Body":
        self.convention = stage.convention
        return self

    def forward(self, points: Tensor, ordered: bool) -> Tensor:
        patches = self.encoder.patchify(points, ordered)
        if self.pool == "depths":
            assert isinstance(self.encoder, Layered)
            depths = [scale.tokens for scale in self.encoder.layers(patches, QUARTERS)]  # [B, G, D] each
            parts = tuple(pooled(tokens, None) for tokens in depths for pooled in (average, largest))
        else:
            parts = self._parts(self.encoder(patches))
        return torch.cat([part.float() for part in parts], -1)  # [B, F]

    def _parts(self, whole: Encoded) -> tuple[Tensor, ...]:
        """The vectors of `Readout` for the tokens of whole shapes, before they are joined. [B, D] each"""
        tokens, real = whole.tokens, whole.real
        if self.summary is not None:
            summary = self.summary(tokens, real)
            return (summary,) if self.pool == "summary" else (summary, largest(tokens, real))
        if self.pool == "max":
            return (largest(tokens, real),)
        if self.pool == "mean":
            return (average(tokens, real),)
        if self.pool == "mean_plus_max":
            return (average(tokens, real) + largest(tokens, real),)
        if self.pool == "mean_later_max":
            later = None if real is None else real[:, 1:]
            if later is not None and not later.any(1).all():
                raise UserError("a shape is one point, repeated, and this classifier reads all groups but the first: leave such shapes out")
            return average(tokens, real), largest(tokens[:, 1:], later)
        return average(tokens, real), largest(tokens, real)

    def copy(self) -> "Body":
        """A body with copies of the weights, to be trained."""
        return copy.deepcopy(self).requires_grad_(True)

    @property
    def channels(self) -> int:
        return self.encoder.config.channels

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def state(self) -> tuple[Any, ...]:
        """What the features of given points depend on. Whatever changes weights in place, such as an optimiser, changes it."""
        versions = tuple(tensor._version for tensor in self.state_dict(keep_vars=True).values())
        return self.encoder, self.summary, self.pool, self.convention, versions

    @property
    def grey(self) -> float:
        """The colour of shapes without colours."""
        return self.convention.grey if self.convention else GREY

    def blocks(self, shapes: Shapes) -> Blocks:
        """The blocks of some shapes, prepared as in the run's training. If `ordered` is set, the first points are the encoder's centres."""
        return shapes.blocks(self.convention, self.channels, self.encoder.centres)

    def notes(self, test: Shapes, train: Shapes | None = None, *, asked: bool = False) -> tuple[str, ...]:
        """Notes for the reader of a result: how these shapes' points differ from those in training (`trainer.points.Blocks.notes`).
        `asked`: whether a user asked for their number."""
        other = train is not None and train.cache.home != test.cache.home
        masked = missing(self.encoder) == "mask"
        notes = self.blocks(test).notes(test.rows, asked=asked, masked=masked)
        return (*notes, *(self.blocks(train).notes(train.rows, "training", asked=asked, masked=masked) if train and other else ()))


def encoder_of(stage: Stage, *, scratch: bool) -> Encoder:
    """The encoder of a trained model, in evaluation mode. With `scratch`, one of the same architecture on the same device, with new weights
    from torch's global generator.
    """
    if not scratch:
        return stage.encoder
    made = type(stage.encoder)(stage.encoder.config)  # type: ignore[call-arg]
    assert isinstance(made, nn.Module)
    return cast(Encoder, made.to(next(stage.parameters()).device).eval())


def read_as(convention: Convention | None, shapes: Shapes, points: int | None) -> Convention | None:
    """The kind of points that the encoder is to read, if a user asks for another number of `points` than in the run's training.

    Raises:
        UserError: the cache has fewer.
    """
    if points is None:
        return convention
    spec = specification(shapes.cache)
    if points > spec.count * spec.blocks:
        raise UserError(f"points={points}: a shape of {shapes.cache.path} has {spec.count} points in each of {spec.blocks} blocks")
    return dataclasses.replace(convention or Convention(count=points, normalize=spec.normalize), count=points)


def as_asked(stage: Stage, encoder: Encoder, count: int, options: "Regrouping") -> list[str]:
    """Notes for the reader of a result on points and groups that a user asked for and the run was not trained with.

    Args:
        stage: the model of the run.
        encoder: the encoder that reads the shapes.
        count: number of points that it reads of a shape.
        options: options of the task.
    """
    run, notes = stage.convention, []
    if options.points is not None and run is not None and options.points != run.count:
        notes.append(f"the encoder reads {count} points a shape as asked, its run was trained on {run.count}")
    had = stage.encoder.groups, stage.encoder.group_size
    if (options.groups, options.group_size) != (None, None) and had != (encoder.groups, encoder.group_size):
        now = f"{encoder.groups} groups of {encoder.group_size}"
        notes.append(f"the encoder reads {now} as asked, its run was trained with {had[0]} groups of {had[1]}")
    return notes


class Regrouping(Protocol):
    """Options of a task in which the encoder may read other points and groups than in its pre-training."""

    @property
    def points(self) -> int | None:
        """Number of points of a shape; None for as many as in pre-training."""

    @property
    def groups(self) -> int | None:
        """Number of groups; None likewise."""

    @property
    def group_size(self) -> int | None:
        """Number of points of a group; None likewise."""


def repeats(asked: int | None, body: Body, *shapes: Shapes) -> int:
    """Number of stored blocks to evaluate: `asked`; if that is None, three, or all if there are fewer.

    Raises:
        UserError: `asked` is more than the number of stored blocks, or below 1.
    """
    stored = min(body.blocks(s).blocks for s in shapes)
    if asked is None:
        return min(3, stored)
    if not 1 <= asked <= stored:
        several = max(body.blocks(s).joined for s in shapes)
        parts = f" ({several} stored blocks are joined to reach the point count of the run)" if several > 1 else ""
        raise UserError(f"repeats must lie in 1..{stored}, the number of stored blocks of a shape{parts}, got {asked}")
    return asked


def readings(average: bool, asked: int | None, body: Body, *shapes: Shapes) -> list[range]:
    """The blocks that are read in each repetition: with `average` all that every shape has in one repetition, else one in each.

    Raises:
        UserError: as `repeats`; or the average would be over one block.
    """
    if average:
        stored = [body.blocks(s) for s in shapes]
        least = min(stored, key=lambda one: one.blocks)
        if least.blocks < 2:
            parts = f" ({least.joined} stored blocks are joined to reach the point count of the run)" if least.joined > 1 else ""
            raise UserError(
                f"average=true needs two blocks of a shape or more, and only one can be read in {least.cache.path}{parts}: leave it out"
            )
        return [range(least.blocks)]
    return [range(block, block + 1) for block in range(repeats(asked, body, *shapes))]


def read(body: Body, shapes: Shapes, blocks: range) -> Tensor:
    """The mean of the features of some blocks of every shape, [n, F] on the CPU. Raises as `extract`."""
    return torch.stack([extract(body, shapes, block) for block in blocks]).mean(0)


def averaged(average: bool, several: Sequence[range], body: Body, *shapes: Shapes) -> tuple[str, ...]:
    """A note for the reader of a result on the blocks of a shape, if their features are averaged."""
    if not average:
        return ()
    read, most = len(several[0]), max(body.blocks(s).blocks for s in shapes)
    few = f"{read} of {most} blocks, as many as there are in both caches" if most > read else f"its {read} blocks"
    return (f"a shape is read by the mean of the features of {few}",)


@torch.no_grad()
def extract(
    body: Body, shapes: Shapes, block: int, head: nn.Module | None = None, change: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Features of one block of every shape, computed in float32. Returns [n, F] on the CPU. In `once` with `features`, those of the same
    body without `head` and `change` are computed once.

    Args:
        body: the body, in evaluation mode.
        shapes: the n shapes.
        block: index of the stored block of each shape.
        head: module applied to the body's features, in evaluation mode; None for the features themselves.
        change: function applied to points [B, P, C] before the body; None for no change.

    Raises:
        UserError: a feature is NaN or infinite, or a file does not match its checksum.
    """
    assert not body.training and (head is None or not head.training)
    done = _DONE.get()
    if done is None or not done.features or head is not None or change is not None:
        return _extracted(body, shapes, block, head, change)
    key = (*body.state, shapes.cache.path, shapes.rows.tobytes(), block)
    if key not in done.results:
        done.results[key] = _extracted(body, shapes, block, head, change)
    return cast(Tensor, done.results[key]).clone()


def _extracted(body: Body, shapes: Shapes, block: int, head: nn.Module | None, change: Callable[[Tensor], Tensor] | None) -> Tensor:
    """See `extract`."""
    out, blocks = [], body.blocks(shapes)
    for chosen in np.array_split(np.arange(len(shapes)), -(-len(shapes) // batch_size(blocks.count))):
        points = blocks.read(shapes.rows[chosen], block).to(body.device)
        features = body(points if change is None else change(points), blocks.ordered)
        out.append((features if head is None else head(features)).cpu())
    blocks.settle()
    return finite(torch.cat(out))


def finite(features: Tensor) -> Tensor:
    """The features themselves.

    Raises:
        UserError: one is NaN or infinite.
    """
    if not features.isfinite().all():
        raise UserError("a feature of the model is NaN or infinite: its training diverged; take another run")
    return features


def batch_size(points: int) -> int:
    """Number of shapes of so many points in one forward pass without gradients: the memory for distances grows with the points."""
    return max(1, min(BATCH, BATCH * USUAL // points))


@dataclass(frozen=True)
class _Done:
    """What was computed in a block of `once`."""

    features: bool
    """Whether features are kept, and not only what was trained."""
    results: dict[Hashable, object] = field(default_factory=dict)


_DONE: ContextVar[_Done | None] = ContextVar("results computed in this block", default=None)


@contextmanager
def once(*, features: bool = False) -> Iterator[None]:
    """Within this block, `trained` does no training twice, so that one training is tested on several caches. With `features`, `extract`
    does no forward pass twice, so that several tasks share the features of a run; they stay in memory until the end of the block.
    """
    token = _DONE.set(_Done(features))
    try:
        yield
    finally:
        _DONE.reset(token)


def trained(stage: Stage, cache: Cache, options: Any, seed: int, fit: Callable[[], T]) -> T:
    """The result of a training, in `once` only one for each model, cache, options and seed; the test split does not count.

    New weights and dropout come from torch's global generators, which are seeded here.

    Args:
        stage: the model that the training begins with.
        cache: the cache with the training shapes.
        options: options of the task, a frozen dataclass with a field `test_split`.
        seed: seed of the training.
        fit: does the training. It may depend on nothing else, and its result must not be changed afterwards.
    """
    done = _DONE.get()
    key = (stage, stage.convention, cache.path, dataclasses.replace(options, test_split=None), seed)
    if done is None or key not in done.results:
        with seeded(seed, next(stage.parameters()).device):
            model = fit()
        if done is None:
            return model
        done.results[key] = model
    return cast(T, done.results[key])


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, which give new weights and dropout. On exit, restore the state that they had before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(seed)
        yield
