"""Semantic segmentation of scenes: the class of each point, measured on the points of whole scenes.

    scores = run(stage, train_cache, test_cache, Options(tune="full", seeds=3))

A shape of the cache is a crop of a scene, with an id such as `area_5/office_1#x003z012`. The model learns from random stored blocks of
crops. For the test it labels all stored blocks of all crops. A point of a scene may lie in several blocks, since crops overlap: its
probabilities are averaged over them (`points/origin` tells which points are the same), and it counts once.

Scenes are stored in metres, while encoders are pre-trained on shapes in the unit sphere. `trainer.tasks.metres` brings crops to the
encoder's size.

Letters: S scenes, Q points of a block, N points of a scene, K classes.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.checks import check_numbers
from cache_schema.classes import matched as places
from cache_schema.errors import UserError
from cache_schema.spec import GREY
from cache_schema.store import Cache
from cache_schema.terminal import some
from trainer.augment import AugmentOptions
from trainer.encoders.protocol import Encoder
from trainer.points import specification
from trainer.stage import Stage
from trainer.tasks import accuracy, miou, segment
from trainer.tasks.features import read_as, trained
from trainer.tasks.finetune import arithmetic, described
from trainer.tasks.metres import Frame, InMetres, as_stored, framed
from trainer.tasks.picture import Example, Labels, told_apart
from trainer.tasks.propagation import Segmenter
from trainer.tasks.result import Metric, Scores, share
from trainer.tasks.seen import Sides
from trainer.tasks.segment import LABELS, NONE, Labelled, Segmenting, check_labelled, encoder_of, fit, notes, predicted, segmenter
from trainer.tasks.shapes import Shapes, few_scenes, of_split, scene_names

ORIGIN: Final = "points/origin"
"""Array with the number of each point in the list of its scene's points."""
SHOWN: Final = 0.8
"""Share of the height of a scene that a picture shows, from below: ceilings would hide everything."""
TURNING: Final = AugmentOptions(rotate=True, tilt=0.0, scale=(0.9, 1.1), shift=0.0, drop=0.0, drop_color=0.0)
"""Augmentation by rotation about the up axis and by scaling. Without a shift, the height above the floor stays known. Papers on S3DIS
scale by 0.8 to 1.25 and shift by 0.1, and do not rotate."""


@dataclass(frozen=True, kw_only=True)
class Options(InMetres, Segmenting):
    """Options of semantic segmentation, in addition to those of `Segmenting` and `InMetres`."""

    epochs: int = 60
    batch: int = 32
    augment: AugmentOptions = TURNING
    balance: float = 1 / 3
    """Exponent of the classes' weights in the loss: a class is weighted by (points of the most frequent class / its own points) to this
    power. 0 for equal weights."""

    def __post_init__(self) -> None:
        Segmenting.__post_init__(self)
        InMetres.__post_init__(self)
        check_numbers(self, {"balance": 0})


NEEDS: Final = (LABELS,)
"""See `trainer.tasks.protocol.Task`."""
SMOKE: Final = Options(epochs=1, batch=8, seeds=1)
RESUMES: Final = True
"""Whether its trainings go on after a stop."""


@dataclass(frozen=True, kw_only=True)
class Task(segment.Prepared):
    """Training and test crops, and the scenes that the test crops belong to. `names` are the classes that have a training point."""

    counts: NDArray[np.int64]
    """Number of training points of each class, K."""
    scenes: tuple[str, ...]
    """Name of each test scene, S."""
    crops: tuple[NDArray[np.int64], ...]
    """Indices of the test crops of each scene."""
    merged: bool
    """Whether the cache tells which points of crops are one point of the scene."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Labels of the points of a scene that the cache holds."""

    truth: NDArray[np.int64]
    """Class of each point, -1 for none. [N]"""
    predicted: NDArray[np.int64]
    """Predicted class of each point. [N]"""


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """IoU and recall over classes, and accuracy over points, after the last epoch, for each seed."""
    task = prepared(stage, train_cache, test_cache, options)
    device, grey = next(stage.parameters()).device, stage.convention.grey if stage.convention else GREY
    weights = balanced(task.counts, options.balance).to(device) if options.balance else None
    counts = []
    models: list[Segmenter] = []

    def learned(seed: int) -> Segmenter:
        model = segmenter(stage, task.train, options, len(task.names))
        for _ in fit(model, task.train, options, seed, grey, weights):
            pass
        return model

    for seed in range(options.seeds):
        model = trained(stage, train_cache, options, seed, partial(learned, seed))
        models = models or [model]  # the first training is drawn
        counts.append(np.stack([miou.confusion(scene.truth, scene.predicted, len(task.names)) for scene in tested(model, task)]))
    found = np.stack(counts)  # [seeds, S, K, K]
    total = found.sum((0, 1))
    return Scores(
        train=task.train.shapes.data,
        test=task.test.shapes.data,
        sides=Sides(train=task.train.shapes, test=task.test.shapes),
        metrics=metrics(task, found),
        variant=options.tune + (" from scratch" if options.scratch else ""),
        precision=arithmetic(options, device).precision,
        classes=task.names,
        confusion=tuple(tuple(row) for row in total.tolist()),
        notes=(
            *task.notes,
            *notes(task.train, task.test, model.encoder, stage, options),
            *measured(task, found),
            *described(model.encoder, model.head, options),  # type: ignore[arg-type]
        ),
        drawing=Labels(examples=tuple(examples(models[0], task, found[0])), names=task.names, elevation=50.0),
    )


# ------------------------------------------------------------------------------------------------------------------- data


def prepared(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Task:
    """The crops that have labels, with the classes of both caches brought together by name, and the encoder's scale.

    Raises:
        UserError: a cache has no labels of points, no training crop or no test point has a class that both know, or the points are of
            another kind than the run's.
    """
    train = of_split(train_cache, options.train_split, labelled=False)
    test = of_split(test_cache, options.test_split, labelled=False)
    names, theirs = check_labelled(train), check_labelled(test)
    with torch.random.fork_rng([]):
        encoder = encoder_of(stage, dataclasses.replace(options, scratch=False))
    frame, told = framed(stage.convention, train, test, encoder.config.channels, options)
    counts = opened(stage, train, encoder, np.arange(len(names)), frame, options).counts(len(names))  # [n, K]
    blank = counts.sum(1) == 0
    if blank.all():
        raise UserError(f"{train.name} has no point with a class")
    if blank.any():
        told += (f"{int(blank.sum())} of {len(train)} training crops are left out, since none of their points has a class",)
    present = np.flatnonzero(counts.any(0))  # classes without a training point cannot be learnt
    number = np.full(len(names) + 1, NONE)  # the last entry is that of a class that training does not have
    number[present] = np.arange(len(present))
    place = number[places(theirs, names, str(test_cache.path), str(train_cache.path))]
    there = opened(stage, test, encoder, np.arange(len(theirs)), frame, options).counts(len(theirs)).sum(0)
    scenes, crops = of_scenes(test)
    known = tuple(names[i] for i in present)
    return Task(
        train=opened(stage, train.of(~blank), encoder, number[:-1], frame, options),
        test=opened(stage, test, encoder, place, frame, options),
        names=known,
        counts=counts[:, present].sum(0),
        scenes=scenes,
        crops=crops,
        merged=specification(test.cache).origins,
        notes=(*told, *unlearnt(names, present), *ignored(test, theirs, place, there, known)),
    )


def opened(stage: Stage, shapes: Shapes, encoder: Encoder, place: NDArray[np.int64], frame: Frame, options: Options) -> Labelled:
    """The labelled blocks of crops, in the encoder's coordinates."""
    convention = read_as(stage.convention, shapes, options.points)
    return Labelled(shapes, encoder, as_stored(convention, shapes), place, frame)


def of_scenes(crops: Shapes) -> tuple[tuple[str, ...], tuple[NDArray[np.int64], ...]]:
    """The scenes of some crops by name, and the indices of the crops of each. A shape that is no crop is a scene of its own."""
    names = scene_names(crops)
    kinds, which = np.unique(np.array(names, object), return_inverse=True)
    return tuple(kinds.tolist()), tuple(np.flatnonzero(which == i) for i in range(len(kinds)))


def unlearnt(names: Sequence[str], present: NDArray[np.int64]) -> tuple[str, ...]:
    """A note on classes of the training cache that no training point has."""
    absent = [name for i, name in enumerate(names) if i not in present]
    return (f"{len(present)} of {len(names)} classes are predicted; no training point has the others: {some(absent)}",) if absent else ()


def ignored(
    test: Shapes, names: Sequence[str], place: NDArray[np.int64], points: NDArray[np.int64], known: Sequence[str]
) -> tuple[str, ...]:
    """A note on classes of the test cache that no training point has; their points count nowhere.

    Args:
        test: the test crops.
        names: classes of the test cache.
        place: index of each of these classes among those that are predicted; -1 for a class that is not.
        points: number of test points of each class.
        known: the classes that are predicted.

    Raises:
        UserError: no point is left.
    """
    if not points[place >= 0].any():
        raise UserError(f"{test.name} has no point of a class that training knows: {some(known)}")
    lost = [name for name, index, count in zip(names, place, points, strict=True) if index < 0 and count]
    return (f"classes of the test crops that no training point has are left out: {some(lost)}",) if lost else ()


def balanced(counts: NDArray[np.int64], exponent: float) -> Tensor:
    """Weight of each class in the loss, [K]."""
    return torch.from_numpy((counts.max() / counts) ** exponent).float()


# ------------------------------------------------------------------------------------------------------------ predictions


def tested(model: Segmenter, task: Task) -> Iterator[Scene]:
    """Truth and prediction of each test scene, from all stored blocks of all its crops."""
    for name, crops in zip(task.scenes, task.crops, strict=True):
        yield merge(name, *pooled(model, task, crops))


def pooled(model: Segmenter, task: Task, crops: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """What the blocks of some crops say of points, once for each time that a block has a point.

    Returns:
        The number of the point in the scene [M], its class or -1 [M], and its probabilities [M, K].
    """
    data = task.test.of(crops)
    origins, labels, chances = [], [], []
    for block in range(data.full.blocks):
        for chosen, logits in predicted(model, data, block):
            labels.append(data.labels(chosen, block).ravel())
            chances.append(logits.softmax(-1).flatten(0, 1).numpy())
            if task.merged:
                origins.append(data.values(ORIGIN, chosen, block).astype(np.int64).ravel())
    label, chance = np.concatenate(labels), np.concatenate(chances)
    origin = np.concatenate(origins) if task.merged else np.arange(len(label))
    inside = origin >= 0
    return origin[inside], label[inside], chance[inside]


def merge(scene: str, origin: NDArray[np.int64], label: NDArray[np.int64], chance: NDArray[np.float32]) -> Scene:
    """The points of a scene, each once, with the class of the largest mean probability. Points are in the order of their numbers.

    Args:
        scene: name of the scene, for messages.
        origin, label, chance: as returned by `pooled`.

    Raises:
        UserError: a point has two classes.
    """
    points, which = np.unique(origin, return_inverse=True)  # [N] and [M]
    truth = np.full(len(points), NONE)
    np.maximum.at(truth, which, label)
    if (wrong := label != truth[which]).any():
        raise UserError(
            f"point {origin[wrong][0]} of scene {scene} has one class in one crop and another in a second: {ORIGIN} or {LABELS} of the "
            f"cache is wrong; build it again"
        )
    sums = np.zeros((len(points), chance.shape[1]))
    np.add.at(sums, which, chance)  # the mean has its largest value where the sum has
    return Scene(truth=truth, predicted=sums.argmax(1))


# ---------------------------------------------------------------------------------------------------------------- numbers


def metrics(task: Task, counts: NDArray[np.int64]) -> tuple[Metric, ...]:
    """Means over classes, accuracy, and the IoU of each class, from confusion counts of each seed and scene [seeds, S, K, K]."""
    seeds = counts.sum(1)  # [seeds, K, K]
    lazy = np.zeros_like(seeds[0])
    lazy[:, task.counts.argmax()] = seeds[0].sum(1)
    uniform = miou.guessed(seeds[0])
    scenes = len(task.scenes)

    def metric(name: str, measure: "Measure", headline: bool = False, largest: bool = True) -> Metric:
        def drawn(chosen: NDArray[np.int64]) -> float:
            values = np.array([measure(own) for own in counts[:, chosen].sum(1)])
            return 100 * float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

        return share(
            name=name,
            values=tuple(100 * measure(own) for own in seeds),
            over="seeds",
            headline=headline,
            shapes=scenes,
            units="scenes",
            interval=accuracy.interval(drawn, scenes),
            chance=100 * measure(uniform),
            largest=100 * measure(lazy) if largest else None,
        )

    each = [metric(f"IoU of {name}", Measure("iou", i), largest=False) for i, name in enumerate(task.names) if seeds[:, i].any()]
    return metric("mIoU", Measure("iou"), True), metric("mAcc", Measure("recall"), True), metric("accuracy", Measure("accuracy")), *each


@dataclass(frozen=True)
class Measure:
    """A measure of confusion counts [K, K], in 0..1: a mean over classes, the value of one class, or the accuracy over points. NaN if there
    is nothing to measure.
    """

    kind: str
    """`iou`, `recall` or `accuracy`."""
    which: int | None = None
    """The class; None for the mean over the classes that are present."""

    def __call__(self, counts: miou.Counts) -> float:
        if self.kind == "accuracy":
            return float(miou.overall(counts))
        values = miou.by_class(counts)[0 if self.kind == "iou" else 1]
        if self.which is not None:
            return float(values[self.which])
        return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def measured(task: Task, counts: NDArray[np.int64]) -> tuple[str, ...]:
    """Notes on the points and classes that count, from confusion counts [seeds, S, K, K]."""
    total = counts.sum((0, 1))
    points = int(counts[0].sum())
    missing = [i for i in range(len(task.names)) if not total[i].any()]
    absent, invented = ([task.names[i] for i in missing if bool(total[:, i].any()) == guess] for guess in (False, True))
    scenes = "1 scene" if len(task.scenes) == 1 else f"{len(task.scenes)} scenes"
    crops = f"{len(task.test)} crops of {scenes}" if len(task.test) > len(task.scenes) else scenes
    blocks = "all" if task.test.full.blocks > 1 else "the"
    found = [f"measured on {points} labelled points of {crops}: those that {blocks} stored blocks hold"]
    if not task.merged:
        found.append("the cache does not tell which points of crops are the same: a point counts once for each block that has it")
    if absent:
        found.append(f"classes without a test point and never predicted are left out of the means: {some(absent)}")
    if invented:
        found.append(f"classes without a test point have an IoU of 0 in the mean of each training that predicts them: {some(invented)}")
    return (*found, *few_scenes(len(task.scenes)))


# --------------------------------------------------------------------------------------------------------------- pictures


def examples(model: Segmenter, task: Task, counts: NDArray[np.int64]) -> Iterator[Example]:
    """The test scenes with the lowest, the median and the highest IoU, from confusion counts of one seed [S, K, K]."""
    ious = np.nan_to_num([Measure("iou")(own) for own in counts])  # a scene without a label has none
    order = np.argsort(ious, kind="stable")
    for what, i in told_apart(order):
        scene, crops = merge(task.scenes[i], *pooled(model, task, task.crops[i])), task.crops[i]
        points, there = assembled(task, crops)
        low, high = points[there, 1].min(), points[there, 1].max()
        there &= points[:, 1] <= low + SHOWN * (high - low)
        yield Example(
            title=f"{what}: {task.scenes[i]}, mIoU {100 * ious[i]:.1f} (its top is not drawn)",
            points=points[there],
            truth=scene.truth[there],
            predicted=scene.predicted[there],
        )


def assembled(task: Task, crops: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The points of a scene in one frame, [N, 3], and whether the place of a point is known, [N].

    The reader of a crop puts its middle at the origin. Two crops that share points are put together by these, from the first crop on.
    """
    data = task.test.of(crops)
    blocks, chosen = range(data.full.blocks), np.arange(len(crops))
    xyz = np.concatenate([data.full.read(data.shapes.rows, block)[..., :3].numpy() for block in blocks], 1)  # [crops, R * Q, 3]
    if task.merged:
        origin = np.concatenate([data.values(ORIGIN, chosen, block).astype(np.int64) for block in blocks], 1)
    else:
        origin = np.arange(xyz[..., 0].size).reshape(xyz.shape[:2])
    numbers, which = np.unique(origin, return_inverse=True)
    which = which.reshape(origin.shape)
    out, there = np.zeros((len(numbers), 3), np.float32), np.zeros(len(numbers), bool)
    waiting, placed = list(range(len(crops))), True
    while waiting and placed:
        placed = False
        for crop in list(waiting):
            shared = there[which[crop]] & (origin[crop] >= 0)
            if shared.any() or len(waiting) == len(crops):
                shift = np.median(out[which[crop]][shared] - xyz[crop][shared], 0) if shared.any() else 0.0
                out[which[crop]], there[which[crop]] = xyz[crop] + shift, True
                waiting.remove(crop)
                placed = True
    known = numbers >= 0
    return out[known], there[known]
