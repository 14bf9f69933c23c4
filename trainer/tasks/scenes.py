"""Semantic segmentation of scenes: the class of each point, measured on the points of whole scenes.

    scores = run(stage, train_cache, test_cache, Options(tune="full", seeds=3))

A shape of the cache is a crop of a scene, with an id such as `area_5/office_1#x003z012`. The model learns from random stored blocks of
crops. For the test it labels all stored blocks of all crops. A point of a scene may lie in several blocks, since crops overlap: its
probabilities are averaged over them (`points/origin` tells which points are the same), and it counts once.

Scenes are stored in metres, while encoders are pre-trained on shapes in the unit sphere. `scale` brings crops to the encoder's size: by
default the median radius of the training crops becomes 1, and their median middle height becomes 0.

Letters: S scenes, Q points of a block, N points of a scene, K classes.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.spec import GREY
from cache_schema.store import Cache
from trainer.augment import AugmentOptions
from trainer.classes import matched as places
from trainer.encoders.protocol import Encoder
from trainer.points import Convention, specification
from trainer.stage import Stage
from trainer.tasks import miou
from trainer.tasks.features import seeded
from trainer.tasks.finetune import described
from trainer.tasks.picture import Example, Labels, told_apart
from trainer.tasks.propagation import Segmenter
from trainer.tasks.result import Metric, Scores
from trainer.tasks.segment import (
    LABELS,
    NONE,
    Frame,
    Labelled,
    Segmenting,
    check_labelled,
    encoder_of,
    fit,
    notes,
    predicted,
    read_as,
    segmenter,
)
from trainer.tasks.shapes import Shapes, of_split, some

ORIGIN: Final = "points/origin"
"""Array with the number of each point in the list of its scene's points."""
CROP: Final = "#"
"""Character between the name of a scene and the name of a crop in an id."""
MEASURED: Final = 256
"""Largest number of training crops from which the default scale is measured."""
SHOWN: Final = 0.8
"""Share of the height of a scene that a picture shows, from below: ceilings would hide everything."""
FEW: Final = 5
"""Number of test scenes below which a result warns that its intervals say little."""
TURNING: Final = AugmentOptions(rotate=True, tilt=0.0, scale=(0.9, 1.1), shift=0.0, drop=0.0, drop_color=0.0)
"""Augmentation by rotation about the up axis and by scaling. Without a shift, the height above the floor stays known."""


@dataclass(frozen=True, kw_only=True)
class Options(Segmenting):
    """Options of semantic segmentation, in addition to those of `Segmenting`."""

    epochs: int = 60
    batch: int = 32
    augment: AugmentOptions = TURNING
    balance: float = 1 / 3
    """Exponent of the classes' weights in the loss: a class is weighted by (points of the most frequent class / its own points) to this
    power. 0 for equal weights."""
    scale: float | None = None
    """Number of metres that become 1 in the encoder's coordinates, for a cache in metres and a run that was trained in the unit sphere.
    None for the median radius of the training crops."""
    middle: float | None = None
    """Height above the floor, in metres, that becomes 0 in the encoder's coordinates. None for the median middle of the training crops."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, {"balance": 0})
        if self.scale is not None and self.scale <= 0:
            raise UserError(f"scale must be positive, got {self.scale}")


SMOKE: Final = Options(epochs=1, batch=8, seeds=1)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Training and test crops, and the scenes that the test crops belong to."""

    train: Labelled
    test: Labelled
    names: tuple[str, ...]
    """Name of each class, K: those that have a training point."""
    counts: NDArray[np.int64]
    """Number of training points of each class, K."""
    scenes: tuple[str, ...]
    """Name of each test scene, S."""
    crops: tuple[NDArray[np.int64], ...]
    """Indices of the test crops of each scene."""
    merged: bool
    """Whether the cache tells which points of crops are one point of the scene."""
    notes: tuple[str, ...]


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
    for seed in range(options.seeds):
        with seeded(seed, device):
            model = segmenter(stage, task.train, options, len(task.names))
            for _ in fit(model, task.train, options, seed, grey, weights):
                pass
        counts.append(np.stack([miou.confusion(scene.truth, scene.predicted, len(task.names)) for scene in tested(model, task)]))
    found = np.stack(counts)  # [seeds, S, K, K]
    if not found.any():
        raise UserError(f"{task.test.shapes.name} has no point of a class that training knows: {some(task.names)}")
    total = found.sum((0, 1))
    return Scores(
        train=task.train.shapes.data,
        test=task.test.shapes.data,
        metrics=metrics(task, found),
        variant=options.tune + (" from scratch" if options.scratch else ""),
        classes=task.names,
        confusion=tuple(tuple(row) for row in total.tolist()),
        notes=(
            *task.notes,
            *notes(task.train, task.test, model.encoder, stage, options),
            *measured(task, found),
            *described(model.encoder, model.head, options),  # type: ignore[arg-type]
        ),
        drawing=Labels(examples=tuple(examples(model, task, found[-1])), names=task.names, elevation=50.0),
    )


# ------------------------------------------------------------------------------------------------------------------- data


def prepared(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Task:
    """The crops that have labels, with the classes of both caches brought together by name, and the encoder's scale.

    Raises:
        UserError: a cache has no labels of points, no crop is left, or the points are of another kind than the run's.
    """
    train = unsorted(of_split(train_cache, options.train_split, labelled=False))
    test = unsorted(of_split(test_cache, options.test_split, labelled=False))
    names, theirs = check_labelled(train), check_labelled(test)
    with torch.random.fork_rng([]):
        encoder = encoder_of(stage, dataclasses.replace(options, scratch=False))
    frame, told = framed(stage, train, test, encoder, options)
    counts = opened(stage, train, encoder, np.arange(len(names)), frame, options).counts(len(names))  # [n, K]
    blank = counts.sum(1) == 0
    if blank.all():
        raise UserError(f"{train.name} has no point with a class")
    present = np.flatnonzero(counts.any(0))  # classes without a training point cannot be learnt
    number = np.full(len(names) + 1, NONE)  # the last entry is that of a class that training does not have
    number[present] = np.arange(len(present))
    place = number[places(theirs, names, str(test_cache.path), str(train_cache.path))]
    data = opened(stage, train.of(~blank), encoder, number[:-1], frame, options)
    other = opened(stage, test, encoder, place, frame, options)
    scenes, crops = of_scenes(test)
    return Task(
        train=data,
        test=other,
        names=tuple(names[i] for i in present),
        counts=counts[:, present].sum(0),
        scenes=scenes,
        crops=crops,
        merged=specification(test.cache).origins,
        notes=(
            *told,
            *(
                [f"{int(blank.sum())} of {len(train)} training crops are left out, since none of their points has a class"]
                if blank.any()
                else []
            ),
            *unlearnt(names, present),
            *ignored(test, theirs, place),
            *seen_before(train, test, scenes),
        ),
    )


def unsorted(shapes: Shapes) -> Shapes:
    """Crops without regard to any class that a crop as a whole may have."""
    return dataclasses.replace(shapes, labels=np.full(len(shapes), NONE))


def opened(stage: Stage, shapes: Shapes, encoder: Encoder, place: NDArray[np.int64], frame: Frame, options: Options) -> Labelled:
    """The labelled blocks of crops. A scale other than 1 stands for the normalisation of the run's points."""
    convention = read_as(stage.convention, shapes, options.points)
    return Labelled(shapes, encoder, in_metres(convention, frame), place, frame)


def in_metres(convention: Convention | None, frame: Frame) -> Convention | None:
    """The kind of points to read from a cache whose coordinates `frame` changes afterwards."""
    return convention if convention is None or frame == Frame() else dataclasses.replace(convention, normalize="none")


def framed(stage: Stage, train: Shapes, test: Shapes, encoder: Encoder, options: Options) -> tuple[Frame, tuple[str, ...]]:
    """How coordinates become those of the encoder, and a note on it.

    Raises:
        UserError: `scale` or `middle` is given for points in the unit sphere, or the points of the two caches are of different kinds.
    """
    kinds = {shapes.cache.path: specification(shapes.cache).normalize for shapes in (train, test)}
    if len(set(kinds.values())) > 1:
        raise UserError(
            "one cache has metres, the other the unit sphere: " + ", ".join(f"{path} has normalize={k}" for path, k in kinds.items())
        )
    given = options.scale is not None or options.middle is not None
    if "none" not in kinds.values():
        if given:
            raise UserError(f"scale and middle are for caches in metres (normalize=none); {train.cache.path} has points in the unit sphere")
        return Frame(), ()
    trained = stage.convention.normalize if stage.convention else "unit_sphere"
    if trained == "none" and not given:
        return Frame(), ()
    frame = measure(train, encoder.config.channels, options)
    why = "as asked" if options.scale is not None and options.middle is not None else "measured on the training crops"
    kind = "in the unit sphere" if trained == "unit_sphere" else "in metres"
    kind += "" if stage.convention else " (it does not say so: this is the usual kind)"
    unit = f"{frame.scale:.3g} m are 1, and the height {frame.middle:.3g} m is 0 ({why})"
    return frame, (f"crops are brought to the encoder's coordinates, whose run was trained on points {kind}: {unit}",)


def measure(train: Shapes, channels: int, options: Options) -> Frame:
    """The median middle height, and then the median radius, of some training crops, unless they are given."""
    chosen = np.unique(np.linspace(0, len(train) - 1, MEASURED).astype(np.int64))
    xyz = train.points(chosen, 0, channels)[..., :3]  # [b, Q, 3]
    heights = (xyz[..., 1].amax(1) + xyz[..., 1].amin(1)) / 2
    middle = float(heights.median()) if options.middle is None else options.middle
    radii = (xyz - torch.tensor([0.0, middle, 0.0])).norm(dim=-1).amax(1)
    scale = float(radii.median()) if options.scale is None else options.scale
    if scale <= 0:
        raise UserError(f"the training crops of {train.cache.path} have no extent; give scale, in metres")
    # Numbers that a reader can type in again.
    return Frame(middle=float(f"{middle:.3g}"), scale=float(f"{scale:.3g}"))


def of_scenes(crops: Shapes) -> tuple[tuple[str, ...], tuple[NDArray[np.int64], ...]]:
    """The scenes of some crops by name, and the indices of the crops of each. A shape that is no crop is a scene of its own."""
    names = scene_names(crops)
    kinds, which = np.unique(np.array(names, object), return_inverse=True)
    return tuple(kinds.tolist()), tuple(np.flatnonzero(which == i) for i in range(len(kinds)))


def scene_names(crops: Shapes) -> list[str]:
    """The name of the scene of each crop."""
    return [name.rpartition(CROP)[0] or name for name in crops.cache.ids()[crops.rows]]


def unlearnt(names: Sequence[str], present: NDArray[np.int64]) -> tuple[str, ...]:
    """A note on classes of the training cache that no training point has."""
    absent = [name for i, name in enumerate(names) if i not in present]
    return (f"{len(present)} of {len(names)} classes are predicted; no training point has the others: {some(absent)}",) if absent else ()


def ignored(test: Shapes, names: Sequence[str], place: NDArray[np.int64]) -> tuple[str, ...]:
    """A note on classes of the test cache that no training point has; their points count nowhere."""
    if (place >= 0).all():
        return ()
    used = np.zeros(len(names) + 1, np.int64)
    blocks = test.blocks(None, 3, 1)
    for rows in np.array_split(test.rows, -(-len(test) // 64)):
        for block in range(blocks.blocks):
            used += np.bincount(blocks.values(LABELS, rows, block).ravel() + 1, minlength=len(used))
    lost = [name for name, index, count in zip(names, place, used[1:], strict=True) if index < 0 and count]
    return (f"classes of the test crops that no training point has are left out: {some(lost)}",) if lost else ()


def seen_before(train: Shapes, test: Shapes, scenes: Sequence[str]) -> tuple[str, ...]:
    """A note on test scenes with crops among the training crops."""
    if train.cache.path.resolve() != test.cache.path.resolve():
        return ()
    known = len(set(scenes) & set(scene_names(train)))
    return (f"{known} of {len(scenes)} test scenes are also training scenes",) if known else ()


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
            return 100 * float(np.mean([measure(own) for own in counts[:, chosen].sum(1)]))

        return Metric(
            name=name,
            values=tuple(100 * measure(own) for own in seeds),
            over="seeds",
            headline=headline,
            shapes=scenes,
            interval=miou.bootstrap(drawn, scenes),
            chance=100 * measure(uniform),
            largest=100 * measure(lazy) if largest else None,
        )

    each = [
        metric(f"IoU of {name}", Measure("iou", i), largest=False)
        for i, name in enumerate(task.names)
        if seeds[:, i].any() or seeds[:, :, i].any()
    ]
    return metric("mIoU", Measure("iou"), True), metric("mAcc", Measure("recall"), True), metric("accuracy", Measure("accuracy")), *each


@dataclass(frozen=True)
class Measure:
    """A measure of confusion counts [K, K], in 0..1: a mean over classes, the value of one class, or the accuracy over points."""

    kind: str
    """`iou`, `recall` or `accuracy`."""
    which: int | None = None
    """The class; None for the mean over the classes that are present."""

    def __call__(self, counts: miou.Counts) -> float:
        if self.kind == "accuracy":
            return float(miou.overall(counts))
        values = miou.by_class(counts)[0 if self.kind == "iou" else 1]
        if self.which is not None:
            return float(np.nan_to_num(values[self.which]))
        return float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else 0.0


def measured(task: Task, counts: NDArray[np.int64]) -> tuple[str, ...]:
    """Notes on the points and classes that count, from confusion counts [seeds, S, K, K]."""
    total = counts.sum((0, 1))
    points = int(counts[0].sum())
    absent = [name for i, name in enumerate(task.names) if not total[i].any() and not total[:, i].any()]
    scenes = "1 scene" if len(task.scenes) == 1 else f"{len(task.scenes)} scenes"
    crops = f"{len(task.test)} crops of {scenes}" if len(task.test) > len(task.scenes) else scenes
    blocks = "all" if task.test.full.blocks > 1 else "the"
    found = [f"measured on {points} labelled points of {crops}: those that {blocks} stored blocks hold"]
    if not task.merged:
        found.append("the cache does not tell which points of crops are the same: a point counts once for each block that has it")
    if absent:
        found.append(f"classes without a test point and never predicted are left out of the means: {some(absent)}")
    if len(task.scenes) < FEW:
        found.append(f"there are few test scenes ({len(task.scenes)}): an interval over scenes says little, and of one scene there is none")
    return tuple(found)


# --------------------------------------------------------------------------------------------------------------- pictures


def examples(model: Segmenter, task: Task, counts: NDArray[np.int64]) -> Iterator[Example]:
    """The test scenes with the lowest, the median and the highest IoU, from confusion counts of one seed [S, K, K]."""
    ious = np.array([Measure("iou")(own) for own in counts])
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
