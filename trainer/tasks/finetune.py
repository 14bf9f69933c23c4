"""Training a classifier on labelled shapes: the whole model, a head on the frozen encoder, or a head and small new parts in the encoder.

    body = begin(stage, "mean_max", training, train)                     # training = Classifying(epochs=100)
    *_, (tuned, top) = fit(body, train, training, seed=0)                # after the last epoch
    logits = extract(tuned, test, block=0, head=top)

Head and schedule follow Point-MAE (https://arxiv.org/abs/2203.06604): three layers with batch norm and dropout, AdamW, a cosine schedule
with warm-up, gradients clipped at 10. What the head reads is another choice (`Pool`). Papers fine-tune a plain Transformer with a new class
token, of which the head reads the output, beside the maximum over tokens: `class_token=true` and `pool=max`.

Letters: B shapes, P points, F features, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.spec import added
from cache_schema.terminal import Pace, time_left
from trainer import layers
from trainer.arithmetic import Arithmetic, of_task
from trainer.augment import AugmentOptions, augment, draw
from trainer.classifiers import layered
from trainer.config import OptimConfig
from trainer.encoders.catalog import refitted, regrouped
from trainer.optim import adamw, learning_rate, set_rate
from trainer.stage import Stage
from trainer.tasks import unfinished
from trainer.tasks.features import Body, Pool, as_asked, read_as
from trainer.tasks.protocol import told
from trainer.tasks.shapes import Shapes
from trainer.terminal import err, say
from trainer.tuning.adapted import Adapted
from trainer.tuning.catalog import MODES, Efficient, Mode, adapt, check_sizes, learned

ROTATION: Final = AugmentOptions(rotate=True, tilt=0.0, scale=(1.0, 1.0), shift=0.0, drop=0.0, drop_color=0.0)
"""Augmentation by rotation about the up axis only. On ScanObjectNN it gives about three points more accuracy than scaling and shifting."""


HIDDEN: Final = (256, 256)
"""Widths of the hidden layers of the three-layer head."""
FROZEN: Final = ("mlp", "linear")
"""Values of `tune` that leave the encoder as it is."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is trained, and how: the settings that every fine-tuning has."""

    tune: Literal["full", "mlp", "linear", Mode] = told("full")
    """The part of the model that the task trains. `full`: the encoder and a three-layer head (in bfloat16 on a GPU that has it). `mlp`:
    only the three-layer head. `linear`: only one linear layer. Any other name is a method of `trainer.tuning.catalog`: the head and new
    parts in the blocks of the frozen encoder."""
    efficient: Efficient = Efficient()
    """Sizes of the new parts. Each method of `trainer.tuning.catalog` reads its own."""
    epochs: int = 300
    batch: int = 32
    lr: float = 5e-4
    weight_decay: float = 0.05
    warmup: float = 10.0
    """Number of epochs over which the learning rate rises; at most a tenth of all epochs."""
    clip: float = 10.0
    """Norm at which the gradient is clipped."""
    freeze: int = added(0)
    """tune=full: number of the encoder's first blocks that stay as they are, with the embeddings below them."""
    layer_decay: float = added(1.0)
    """tune=full: layer-wise decay of the learning rate. Each block learns at this share of the rate of the layer above it, as in BEiT
    (https://arxiv.org/abs/2106.08254). 1 for one rate; 0.65 to 0.9 is usual."""

    def __post_init__(self) -> None:
        check_numbers(self, {"weight_decay": 0, "warmup": 0})
        if self.batch < 2:
            raise UserError(f"batch must be at least 2, got {self.batch}: a batch norm cannot learn from one shape")
        if self.epochs < 1 or self.clip <= 0:
            raise UserError(f"epochs and clip must be positive, got {self.epochs} and {self.clip}")
        if self.tune != "full":
            refuse_unread(self, ["freeze", "layer_decay"], f"tune={self.tune}")
        if self.freeze < 0:
            raise UserError(f"freeze must be a number of blocks, got {self.freeze}; tune=mlp leaves the whole encoder as it is")
        assert self.optim  # creating it checks the remaining fields

    @property
    def optim(self) -> OptimConfig:
        return OptimConfig(
            batch=self.batch,
            epochs=self.epochs,
            lr=self.lr,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip=self.clip,
            freeze=self.freeze,
            layer_decay=self.layer_decay,
        )


@dataclass(frozen=True, kw_only=True)
class Training(Schedule):
    """Settings of the training of a classifier."""

    dropout: float = 0.5
    """Dropout rate in the three-layer head."""
    augment: AugmentOptions = ROTATION

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.tune == "linear":
            refuse_unread(self, ["dropout"], "tune=linear")


@dataclass(frozen=True, kw_only=True)
class Classifying(Training):
    """Settings of the training of a classifier of shapes."""

    points: int | None = added(None)
    """Number of a shape's points that the encoder reads; None for as many as its run was trained on. Papers read 2048 of a scan."""
    groups: int | None = added(None)
    """Number of groups in which the encoder reads a shape; None for as many as in its pre-training. Papers read scans in 128. An encoder
    with several levels gets more groups on each."""
    group_size: int | None = added(None)
    """Number of points of a group; None for as many as in pre-training. An encoder with several levels gets larger groups on each."""
    class_token: bool = added(False)
    """tune=full, pool=max: the encoder gets a new class token, whose output is joined to the maximum over tokens, as in the fine-tuning of
    Point-MAE and ACT."""
    drop_path: float | None = added(None)
    """tune=full: rate of drop path at the encoder's last block; None for that of its pre-training. PointMamba is fine-tuned with 0.5 on
    scans."""
    smoothing: float = added(0.0)
    """Label smoothing: the share of the target that all classes have together, in equal parts. Point-M2AE takes 0.3 on ModelNet40."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, {"points": 1, "groups": 1, "group_size": 1})
        if not 0 <= self.smoothing < 1:
            raise UserError(f"smoothing must lie in [0, 1), got {self.smoothing}")
        if self.drop_path is not None and not 0 <= self.drop_path < 1:
            raise UserError(f"drop_path must lie in [0, 1), got {self.drop_path}")
        if self.tune != "full":
            refuse_unread(self, ["class_token", "drop_path"], f"tune={self.tune}, which leaves the encoder's own weights as they are")


def begin(stage: Stage, pool: Pool, training: Classifying, shapes: Shapes, *, scratch: bool = False) -> Body:
    """The body that a training begins with. It shares the model's weights if the training adds nothing to them.

    Args:
        stage: the model of the run.
        pool: how tokens become the input of the head.
        training: settings of the training.
        shapes: the training shapes.
        scratch: whether the weights are new ones, from torch's global generators.

    Raises:
        UserError: the encoder cannot be set so, the shapes have too few points, or a class token is asked for that the head would not read.
    """
    if training.class_token and pool != "max":
        raise UserError(f"class_token=true is read with pool=max, which gives its output and the maximum over tokens; got pool={pool}")
    body = Body.of(stage, pool, scratch=scratch)
    body.convention = read_as(body.convention, shapes, training.points)
    if (training.groups, training.group_size) != (None, None):
        body.encoder = regrouped(body.encoder, training.groups, training.group_size)
    if training.class_token or training.drop_path is not None:
        body.encoder = refitted(body.encoder, class_token=training.class_token, drop_path=training.drop_path)
    return body


def head(features: int, classes: int, training: Training) -> nn.Sequential:
    """The head of a classifier, from features [B, F] to logits [B, K]."""
    return layered(features, () if training.tune == "linear" else HIDDEN, classes, training.dropout)


def fit(body: Body, shapes: Shapes, training: Classifying, seed: int) -> Iterator[tuple[Body, nn.Sequential]]:
    """Train, and yield body and head in evaluation mode after every epoch.

    New weights and dropout come from torch's global generators (`features.seeded`), everything else from the seed.

    Args:
        body: the pre-trained body. It is copied if it learns or gets new parts.
        shapes: training shapes with labels. Every epoch uses each of them once, by a random block.
        training: settings of the training.
        seed: seed of the order, the blocks and the augmentation.

    Raises:
        UserError: there are fewer than two shapes, `efficient` sets a size that `tune` does not read, the encoder has no place for the new
            parts, or the loss is NaN or infinite.
    """
    check_sizes(training.tune, training.efficient)
    if len(shapes) < 2:
        raise UserError(f"{shapes.name}: training needs two shapes at least, got {len(shapes)}")
    frozen, device = training.tune in FROZEN, body.device
    if not frozen:
        body = body.copy()
    if training.tune in MODES:
        body.requires_grad_(False)
        body.encoder = adapt(body.encoder, training.tune, training.efficient)
    blocks = body.blocks(shapes)
    with torch.no_grad():
        width = body.eval()(blocks.read(shapes.rows[:1], 0).to(device), blocks.ordered).shape[1]
    top = head(width, len(shapes.classes), training).to(device)
    learning = nn.ModuleList([top] if frozen else [body, top])
    labels = torch.from_numpy(shapes.labels).to(device)
    computing = arithmetic(training, device)

    def loss(chosen: NDArray[np.int64], order: np.random.Generator, chance: torch.Generator) -> Tensor:
        which = order.integers(blocks.blocks, size=len(chosen))
        points = blocks.read(shapes.rows[chosen], which).to(device)
        points = augment(points, draw(training.augment, len(points), points.shape[1], chance), body.grey)
        with computing.autocast(device):
            with torch.set_grad_enabled(not frozen):
                features = body(points, blocks.ordered)  # [B, F]
            logits = top(features)
        return F.cross_entropy(logits.float(), labels[torch.from_numpy(chosen).to(device)], label_smoothing=training.smoothing)

    def begin() -> None:
        top.train()
        body.train(training.tune == "full")

    for _ in epochs(learning, len(shapes), training, seed, begin, loss):
        blocks.settle()
        yield body.eval(), top.eval()


def epochs(
    learning: nn.Module,
    shapes: int,
    training: Schedule,
    seed: int,
    begin: Callable[[], None],
    loss: Callable[[NDArray[np.int64], np.random.Generator, torch.Generator], Tensor],
) -> Iterator[None]:
    """Train for all epochs, and yield after each of them. Every epoch uses each shape once. A training that was stopped goes on where its
    state was kept (`trainer.tasks.unfinished`): of one that had come to its end, it yields once.

    Args:
        learning: the modules that are trained.
        shapes: number of training shapes.
        training: settings of the training.
        seed: seed of the order, and of both generators that `loss` is given.
        begin: called before each epoch, to put modules into training mode.
        loss: the loss of a batch. Its arguments are the indices of the batch's shapes, a generator of NumPy for the choice of blocks, and a
            generator of torch, on the device, for augmentation.

    Raises:
        UserError: the loss is NaN or infinite, or the encoder does not have the blocks that `training` names.
    """
    device = next(learning.parameters()).device
    frozen = [layers.freeze(encoder, training.freeze) for _, encoder in layers.tunable(learning)] if training.freeze else []
    if training.freeze and not frozen:
        raise UserError("freeze needs an encoder that tells its blocks (`sites`), and this one does not: leave freeze out")
    optimizer = adamw(learning, training.optim)
    order = np.random.default_rng(seed)
    chance = torch.Generator(device).manual_seed(seed)
    parts = batches(shapes, training.batch)
    label = f"{training.tune}, seed {seed}"
    state = unfinished.training()
    done = state.restore(learning, optimizer, order, chance) if state else 0
    if done:
        say(f"{label}: goes on after {done} of {training.epochs} epochs")
    if done == training.epochs:
        yield
    pace = Pace()
    for epoch in track(range(done, training.epochs), label, console=err, transient=True, disable=not err.is_terminal or err.quiet):
        if (err.quiet or not err.is_terminal) and pace.due():
            say(f"{label}: {epoch} of {training.epochs} epochs{time_left((pace.began, epoch - done, training.epochs - epoch))}")
        begin()
        for held in frozen:
            held.hold()
        total = torch.zeros((), device=device)
        for step, chosen in enumerate(np.array_split(order.permutation(shapes), parts)):
            set_rate(optimizer, learning_rate(training.optim, epoch * parts + step, training.epochs * parts, parts))
            found = loss(chosen, order, chance)
            optimizer.zero_grad()
            found.backward()
            torch.nn.utils.clip_grad_norm_(learning.parameters(), training.clip)
            optimizer.step()
            total += found.detach()
        if not total.isfinite():
            if state:
                state.drop()
            raise UserError(f"fine-tuning diverged in epoch {epoch + 1} of {training.epochs}: lower lr, now {training.lr:g}")
        if state:
            state.keep(epoch + 1, learning, optimizer, order, chance, last=epoch + 1 == training.epochs)
        yield


def batches(shapes: int, batch: int) -> int:
    """Number of batches in an epoch. Batches have nearly equal sizes, and at least 2 shapes, since a batch norm cannot learn from one.

    A batch has at most `batch` shapes; only if `batch` is 2 and the number of shapes is odd, one batch has 3.
    """
    return max(1, min(-(-shapes // batch), shapes // 2))


def arithmetic(training: Schedule, device: torch.device) -> Arithmetic:
    """The precision in which a fine-tuning computes, which belongs into its result."""
    return of_task(training.tune not in FROZEN, device)


def asked(stage: Stage, body: Body, training: Classifying, test: Shapes, *, scratch: bool = False) -> tuple[str, ...]:
    """Notes for the reader of a result on how the encoder was read otherwise than in its pre-training.

    Args:
        stage: the model of the run.
        body: the body that was trained.
        training: settings of the training.
        test: the test shapes.
        scratch: whether the encoder had no pre-training.
    """
    notes = [] if scratch else as_asked(stage, body.encoder, body.blocks(test).count, training)
    if training.class_token and not scratch:
        notes.append("the encoder has a class token that is new in this training")
    return tuple(notes)


def described(encoder: nn.Module, top: nn.Module, training: Schedule) -> tuple[str, ...]:
    """Notes on parameter-efficient tuning: the number of trained parameters. Empty for the other ways of tuning.

    Args:
        encoder: the tuned encoder, with any modules that are trained or frozen with it.
        top: the head.
        training: settings of the training.
    """
    if not any(isinstance(module, Adapted) for module in encoder.modules()):
        return ()
    inside, above = learned(encoder), learned(top)
    frozen = sum(parameter.numel() for parameter in encoder.parameters()) - inside
    parts = f"{inside:,} in the encoder and {above:,} in the head; {frozen:,} frozen"
    count = f"{training.tune}: {inside + above:,} parameters learned, {parts}"
    if training.tune == "pointgst" and training.efficient.basis == "batch":
        return count, "basis=batch: the features of a shape depend on the other shapes of its batch, in the test too"
    return (count,)
