"""Training a model that labels points: what the tasks `parts` and `scenes` share.

    data = Labelled(shapes, model.encoder, convention, place)            # blocks, and a label for each of their points
    *_, model = fit(model, data, options, seed=0)                        # after the last epoch
    for chosen, logits in predicted(model, data, block=0): ...

A block's points all get a label. The encoder reads as many of them as its run was trained on.

Letters: B and n shapes, Q points of a block, P points that the encoder reads, C channels, K classes of points.
"""

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.spec import GREY
from trainer.augment import AugmentOptions, augment, draw
from trainer.encoders.catalog import regrouped
from trainer.encoders.protocol import Encoder
from trainer.points import Blocks, Convention, share, specification
from trainer.stage import Stage
from trainer.tasks import features
from trainer.tasks.features import BATCH, USUAL, as_asked
from trainer.tasks.finetune import Training, arithmetic, epochs
from trainer.tasks.metres import Frame
from trainer.tasks.propagation import Head, Linear, Segmenter, layers
from trainer.tasks.protocol import told
from trainer.tasks.shapes import Shapes
from trainer.tuning.catalog import MODES, adapt, check_sizes

LABELS: Final = "points/part"
"""Array with the label of each point."""
NONE: Final = -1
"""Label of points that have none."""
UNCHANGED: Final = AugmentOptions(rotate=False, tilt=0.0, scale=(1.0, 1.0), shift=0.0, drop=0.0, drop_color=0.0)
"""No augmentation."""


@dataclass(frozen=True, kw_only=True)
class Segmenting(Training):
    """Options of tasks that label points, in addition to those of `Training`. The head is that of `trainer.tasks.propagation`; `tune=mlp`
    trains it on the frozen encoder, `tune=linear` a single linear layer on the same features."""

    batch: int = 16
    lr: float = 2e-4
    train_split: str = "train"
    test_split: str | None = told(None)
    """Split with the test shapes; None for `test`, or `val` if there is no `test`."""
    scratch: bool = told(False)
    """Start from random weights, new ones for every seed, instead of the run's."""
    seeds: int = 3
    """Number of trainings, with seeds 0, 1, ..."""
    groups: int | None = None
    """Number of groups in which the encoder reads a block; None for as many as in its pre-training. Papers fine-tune with 128. An encoder
    with several levels gets more groups on each."""
    group_size: int | None = None
    """Number of points of a group; None for as many as in pre-training. An encoder with several levels gets larger groups on each."""
    points: int | None = None
    """Number of a block's points that the encoder reads; None for as many as its run was trained on. All points of a block get labels."""

    loss_points: int = 4096
    """Largest number of a block's points on which the loss of a step is computed; a random choice of larger blocks. It bounds the memory of
    a training on whole scenes. In tests all points of a block get labels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, {"seeds": 1, "groups": 1, "group_size": 1, "points": 1, "loss_points": 1})


# ------------------------------------------------------------------------------------------------------------------- data


class Labelled:
    """Blocks of shapes, and a class for each of their points."""

    def __init__(
        self, shapes: Shapes, encoder: Encoder, convention: Convention | None, place: NDArray[np.int64], frame: Frame | None = None
    ) -> None:
        """
        Args:
            shapes: the n shapes.
            encoder: the encoder that will read the blocks.
            convention: the kind of points that the encoder is to read; None for blocks as they are stored.
            place: the class of each label that the cache stores, -1 for none.
            frame: what is done to coordinates; None for nothing.

        Raises:
            UserError: the cache has no labels of points, or points of another kind.
        """
        channels = encoder.config.channels
        check_labelled(shapes)
        usual = shapes.blocks(convention, channels, encoder.centres)
        stored = usual.spec.count * usual.joined
        whole = convention if convention is None or usual.count == stored else dataclasses.replace(convention, count=stored)
        self.shapes, self.frame = shapes, frame or Frame()
        self.usual: Blocks = usual
        """The blocks as the encoder reads them, for their notes."""
        self.full: Blocks = shapes.blocks(whole, channels, encoder.centres)
        """The blocks with all their points."""
        self.inside = None if usual.count == stored else torch.from_numpy(share(stored, usual.count, 0))
        """Which points of a full block the encoder reads, [P]; None for all."""
        self.ordered = usual.ordered
        self._place = np.append(place, NONE)  # the last entry is that of the index -1

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def count(self) -> int:
        """Number of points of a full block, Q."""
        return self.full.count

    def of(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Labelled":
        """The chosen shapes: indices, or a boolean mask [n]."""
        other = copy.copy(self)
        other.shapes = self.shapes.of(chosen)
        return other

    def labels(self, chosen: NDArray[np.int64], which: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """The classes of the points in blocks `which` of the chosen shapes, -1 for none. [b, Q]"""
        classes: NDArray[np.int64] = self._place[self.values(LABELS, chosen, which)]
        return classes

    def values(self, path: str, chosen: NDArray[np.int64], which: NDArray[np.int64] | int) -> NDArray[Any]:
        """The values of an array that the cache stores for these points. [b, Q]"""
        return self.full.values(path, self.shapes.rows[chosen], np.broadcast_to(np.asarray(which), chosen.shape))

    def read(self, chosen: NDArray[np.int64], which: NDArray[np.int64] | int) -> Tensor:
        """The points in blocks `which` of the chosen shapes, in the encoder's coordinates. [b, Q, C] float32"""
        return self.frame(self.full.read(self.shapes.rows[chosen], which))

    def counts(self, classes: int) -> NDArray[np.int64]:
        """How many points of each class each shape has in all its stored blocks. [n, K]"""
        out = np.zeros((len(self), classes), np.int64)
        for chosen in self.batches():
            for block in range(self.full.blocks):
                labels = self.labels(chosen, block)
                cells = (np.arange(len(chosen))[:, None] * classes + labels)[labels >= 0]
                out[chosen] += np.bincount(cells, minlength=len(chosen) * classes).reshape(-1, classes)
        return out

    def batches(self) -> Iterator[NDArray[np.int64]]:
        """Indices of the shapes, in batches for a pass without gradients: fewer shapes if they have more points."""
        size = max(1, min(BATCH, BATCH * USUAL // self.count))
        yield from np.array_split(np.arange(len(self)), -(-len(self) // size)) if len(self) else ()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Training and test shapes of a task that labels points, whose classes of points are brought together by name."""

    train: Labelled
    test: Labelled
    names: tuple[str, ...]
    """Name of each class of points that the model predicts, K."""
    notes: tuple[str, ...]
    """Notes for the reader of the result."""


def check_labelled(shapes: Shapes) -> tuple[str, ...]:
    """The names of the labels that a cache stores for points.

    Raises:
        UserError: it stores none.
    """
    names = specification(shapes.cache).parts
    if not names:
        raise UserError(
            f"{shapes.cache.path} has no labels of points ({LABELS}), which this task needs: build a cache from a source that has them; "
            f"`mmpd-cache sources` says which do"
        )
    return names


# ------------------------------------------------------------------------------------------------------------------ model


def encoder_of(stage: Stage, options: Segmenting) -> Encoder:
    """A copy of a model's encoder, in evaluation mode, with the groups that the options ask for. With `scratch` it has new weights, from
    torch's global generator.

    Raises:
        UserError: the encoder has no such setting.
    """
    return regrouped(features.encoder_of(stage, scratch=options.scratch), options.groups, options.group_size)


def segmenter(stage: Stage, data: Labelled, options: Segmenting, classes: int, categories: int = 0) -> Segmenter:
    """A model to train: an encoder with what is tuned in it, and a new head. New weights come from torch's global generator.

    Args:
        stage: the pre-trained model. It is copied.
        data: the training shapes.
        options: options of the task.
        classes: number of classes of points, K.
        categories: number of categories of shapes that the head is told; 0 for none.

    Raises:
        UserError: `efficient` sets a size that `tune` does not read, or the encoder has no place for new parts, has only its last tokens,
            or cannot group the points.
    """
    check_sizes(options.tune, options.efficient)
    encoder, device = encoder_of(stage, options), next(stage.parameters()).device
    points = data.read(np.arange(1), 0).to(device)
    with torch.no_grad():
        widths = [
            scale.tokens.shape[-1] for scale in layers(encoder, points if data.inside is None else points[:, data.inside], data.ordered)
        ]
    head: nn.Module
    if options.tune == "linear":
        head = Linear(widths, classes, categories)
    else:
        head = Head(widths, points.shape[-1], classes, categories, options.dropout)
    assert isinstance(encoder, nn.Module)
    encoder.requires_grad_(options.tune == "full")
    tuned: Encoder = adapt(encoder, options.tune, options.efficient) if options.tune in MODES else encoder
    return Segmenter(tuned, head).to(device).eval()


def fit(
    model: Segmenter, data: Labelled, options: Segmenting, seed: int, grey: float = GREY, weights: Tensor | None = None
) -> Iterator[Segmenter]:
    """Train, and yield the model in evaluation mode after every epoch. Every epoch uses each shape once, by a random stored block.

    Dropout comes from torch's global generators, everything else from the seed.

    Args:
        model: the model, which is changed.
        data: training shapes, with a category in their `labels` if the head reads it.
        options: settings of the training.
        seed: seed of the order, the blocks and the augmentation.
        grey: colour of shapes whose colours augmentation drops.
        weights: weight of each class in the loss, [K]; None for equal weights.

    Raises:
        UserError: there are fewer than two shapes, or the loss is NaN or infinite.
    """
    if len(data) < 2:
        raise UserError(f"{data.shapes.name}: training needs two shapes at least, got {len(data)}")
    device = next(model.parameters()).device
    inside = None if data.inside is None else data.inside.to(device)
    computing = arithmetic(options, device)

    def loss(chosen: NDArray[np.int64], order: np.random.Generator, chance: torch.Generator) -> Tensor:
        which = order.integers(data.full.blocks, size=len(chosen))
        points, labels = data.read(chosen, which).to(device), torch.from_numpy(data.labels(chosen, which)).to(device)
        points, labels = changed(points, labels, options.augment, chance, grey)
        query = None
        if data.count > options.loss_points:
            query = torch.randperm(data.count, generator=chance, device=device)[: options.loss_points]
            labels = labels[:, query]
        with computing.autocast(device):
            logits = model(points, inside, data.ordered, categories(data, chosen, device), query)
        return cross_entropy(logits.float(), labels, weights)

    def begin() -> None:
        model.head.train()
        assert isinstance(model.encoder, nn.Module)
        model.encoder.train(options.tune == "full")

    for _ in epochs(model, len(data), options, seed, begin, loss):
        data.full.settle()
        yield model.eval()


def changed(
    points: Tensor, labels: Tensor, augmentation: AugmentOptions, chance: torch.Generator, grey: float = GREY
) -> tuple[Tensor, Tensor]:
    """Points [B, Q, C] after random changes, and their labels [B, Q]. The point that replaces a dropped one brings its label along."""
    drawn = draw(augmentation, len(points), points.shape[1], chance)
    if drawn.source is not None:
        labels = labels.gather(1, drawn.source)
    return augment(points, drawn, grey), labels


def categories(data: Labelled, chosen: NDArray[np.int64], device: torch.device) -> Tensor:
    """Category of each of the chosen shapes, [b] int64."""
    return torch.from_numpy(data.shapes.labels[chosen]).to(device)


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Mean cross-entropy, a scalar, over the points that have a label; 0 if none has.

    Args:
        logits: [B, Q, K].
        labels: [B, Q], -1 for none.
        weights: weight of each class, [K]; None for equal weights.
    """
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weights, ignore_index=NONE, reduction="none")
    known = labels.flatten() >= 0
    share = known.float() if weights is None else weights[labels.flatten().clamp(min=0)] * known
    return each.sum() / share.sum().clamp(min=1e-6)


@torch.no_grad()
def predicted(
    model: Segmenter, data: Labelled, block: int, chance: torch.Generator | None = None, changes: AugmentOptions = UNCHANGED
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Logits of all points in one block of every shape, computed in float32.

    Args:
        model: the model, in evaluation mode.
        data: the shapes.
        block: index of the stored block of each shape.
        chance: generator of random changes of the shapes, on the model's device; None for no change.
        changes: the changes, without dropped points or colours.

    Yields:
        Indices of some shapes [b], and their logits [b, Q, K] on the CPU.

    Raises:
        UserError: a logit is NaN or infinite, or a file does not match its checksum.
    """
    assert not model.training and changes.drop == changes.drop_color == 0
    device = next(model.parameters()).device
    inside = None if data.inside is None else data.inside.to(device)
    for chosen in data.batches():
        points = data.read(chosen, block).to(device)
        if chance is not None:
            points = augment(points, draw(changes, len(points), points.shape[1], chance))
        logits = model(points, inside, data.ordered, categories(data, chosen, device)).cpu()
        if not logits.isfinite().all():
            raise UserError("a logit of the model is NaN or infinite: its training diverged; lower lr, or take another run")
        yield chosen, logits
    data.full.settle()


def notes(train: Labelled, test: Labelled, encoder: Encoder, stage: Stage, options: Segmenting) -> tuple[str, ...]:
    """Notes for the reader of a result on what the encoder was given: points, groups, and labels."""
    other = train.shapes.cache.home != test.shapes.cache.home
    asked = options.points is not None
    found = list(test.usual.notes(test.shapes.rows, asked=asked))
    found += train.usual.notes(train.shapes.rows, "training", asked=asked) if other else ()
    if test.inside is not None:
        found.append(f"all {test.count} points of a block get a label, the encoder reads {len(test.inside)} of them")
    found += [] if options.scratch else as_asked(stage, encoder, test.usual.count, options)
    return tuple(found)
