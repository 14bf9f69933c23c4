"""Part segmentation: which part of its shape each point belongs to.

    scores = run(stage, train_cache, test_cache, Options(tune="linear", seeds=3))

The protocol is that of ShapeNetPart (https://arxiv.org/abs/1612.00593): the category of a shape is known, and a point gets one of the parts
of that category. The parts of a category are those that its training shapes have. The intersection over union (IoU) of a shape is the mean
over the parts of its category; a part that is absent from both truth and prediction counts as 1. Two means are given: over all shapes
(papers: mIoU_I), and over categories (mIoU_C).

Labels are measured on all points of the first stored block of every test shape, after the last epoch. Other papers report the best test
epoch, and some let augmented copies vote; with `peer_protocol` these numbers are added. The published training loops of Point-MAE and its
followers step the optimiser twice for each batch, once before the gradient is clipped; this is not repeated here.

Letters: n shapes, Q points of a block, K parts, M categories.
"""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cache_schema.classes import matched as places
from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.spec import GREY
from cache_schema.store import Cache
from cache_schema.terminal import some
from trainer.augment import AugmentOptions
from trainer.published import segmentation
from trainer.stage import Stage
from trainer.tasks import accuracy, miou, segment
from trainer.tasks.features import read_as, seeded
from trainer.tasks.finetune import arithmetic, described
from trainer.tasks.picture import Example, Labels, told_apart
from trainer.tasks.propagation import Segmenter
from trainer.tasks.protocol import told
from trainer.tasks.result import Metric, Scores, share
from trainer.tasks.seen import Sides
from trainer.tasks.segment import LABELS, Labelled, Segmenting, check_labelled, encoder_of, fit, notes, predicted, segmenter
from trainer.tasks.shapes import Shapes, matched, of_split

SCALING: Final = AugmentOptions(rotate=False, tilt=0.0, scale=(0.8, 1.25), shift=0.1, drop=0.0, drop_color=0.0)
"""Augmentation by scaling and shifting only, as published."""


@dataclass(frozen=True, kw_only=True)
class Options(Segmenting):
    """Options of part segmentation, in addition to those of `Segmenting`."""

    augment: AugmentOptions = SCALING
    peer_protocol: bool = False
    """Also report the best epoch on the test shapes, the best seed, and votes: for comparison with papers that report these."""
    votes: int = 10
    """Peer protocol: number of augmented copies of a shape that vote."""

    published: str | None = told(None)
    """Path of a published model of part segmentation, Point-MAE's or Point-M2AE's. It is tested as it is, with the published groups and
    number of points, instead of a model that is trained here; the run gives the sizes of the encoder. The cache must have its parts and
    categories in the published order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.published is not None:
            known = ("train_split", "test_split", "published", "groups", "group_size", "points")
            refuse_unread(self, [f.name for f in dataclasses.fields(self) if f.name not in known], "a published model is tested as it is")
        if self.votes < 1:
            raise UserError(f"votes must be at least 1, got {self.votes}")
        if not self.peer_protocol:
            refuse_unread(self, ["votes"], "--peer-protocol is not given")


GUESSES: Final = 20
"""Number of random labellings of which the mean is the score of chance."""
NEEDS: Final = (LABELS,)
"""See `trainer.tasks.protocol.Task`."""
SMOKE: Final = Options(epochs=1, batch=8, seeds=1)
RESUMES: Final = True
"""Whether its trainings go on after a stop."""


@dataclass(frozen=True, kw_only=True)
class Task(segment.Prepared):
    """Training and test shapes, and what is known about their parts. `names` are all parts that the training cache has."""

    known: NDArray[np.bool_]
    """Whether a category has a part, [M, K]: whether a training shape of the category has it."""
    largest: NDArray[np.int64]
    """The part of each category with the most points in training, [M]."""
    truth: NDArray[np.int64]
    """True part of each point of the test shapes, -1 for none, [n, Q]. Parts that only the test cache has are numbered from K."""

    @property
    def categories(self) -> NDArray[np.int64]:
        """Category of each test shape. [n]"""
        return self.test.shapes.labels

    def ious(self, predictions: NDArray[np.int64]) -> NDArray[np.float64]:
        """IoU of each test shape, in percent, for predicted parts [n, Q]. [n]"""
        parts = [np.flatnonzero(row).tolist() for row in self.known]
        rows = zip(self.truth, predictions, self.categories, strict=True)
        return np.array([100 * miou.shape_iou(truth, guess, parts[category]) for truth, guess, category in rows])


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """IoU over shapes and over categories after the last epoch, for each seed."""
    if options.published is not None:
        return tested(stage, train_cache, test_cache, options, Path(options.published))
    task = prepared(stage, train_cache, test_cache, options)
    grey = stage.convention.grey if stage.convention else GREY
    last, best, voted = [], [], []
    for seed in range(options.seeds):
        peak, at_peak = -1.0, None
        with seeded(seed, next(stage.parameters()).device):
            model = segmenter(stage, task.train, options, len(task.names), len(task.known))
            for _ in fit(model, task.train, options, seed, grey):
                if options.peer_protocol and (found := task.ious(guesses(model, task)).mean()) > peak:
                    peak, at_peak = found, copy.deepcopy(model)
        last.append(guesses(model, task))
        if at_peak is not None:
            best.append(task.ious(guesses(at_peak, task)))
            voted.append(task.ious(vote(at_peak, task, options, seed)))
    variant = options.tune + (" from scratch" if options.scratch else "")
    assert isinstance(model.encoder, nn.Module)
    given = (*notes(task.train, task.test, model.encoder, stage, options), *described(model.encoder, model.head, options))
    scores = scored(task, last, variant, given)
    computed = arithmetic(options, next(stage.parameters()).device).precision
    return dataclasses.replace(scores, precision=computed, metrics=(*scores.metrics, *peers(task, best, voted)))


def scored(task: Task, predictions: Sequence[NDArray[np.int64]], variant: str, given: tuple[str, ...]) -> Scores:
    """The scores of predicted parts [n, Q], one array for each seed."""
    ious = np.stack([task.ious(own) for own in predictions])  # [seeds, n]
    return Scores(
        train=task.train.shapes.data,
        test=task.test.shapes.data,
        sides=Sides(train=task.train.shapes, test=task.test.shapes),
        metrics=tuple(metrics(task, ious)),
        variant=variant,
        classes=task.names,
        confusion=points_confused(task, predictions),
        notes=(*task.notes, *given),
        drawing=Labels(examples=tuple(examples(task, predictions[0], ious[0])), names=shown_names(task)),
    )


def tested(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options, file: Path) -> Scores:
    """The scores of a published model. The training shapes only tell which parts a category has.

    Raises:
        UserError: the file holds another model, or the cache has another number of parts or categories.
    """
    options = dataclasses.replace(options, points=options.points or segmentation.POINTS)
    if isinstance(getattr(stage.encoder.config, "group_size", None), int):  # else the levels of a pyramid have their own
        groups, size = segmentation.GROUPS
        options = dataclasses.replace(options, groups=options.groups or groups, group_size=options.group_size or size)
    task = with_all_categories(prepared(stage, train_cache, test_cache, options), train_cache.manifest.classes)
    device = next(stage.parameters()).device
    with torch.random.fork_rng([]):
        encoder = encoder_of(stage, options)
        assert isinstance(encoder, nn.Module)
        model, sizes = segmentation.load(file, encoder.cpu())
    if sizes != (categories := len(task.known), parts := len(task.names)):
        raise UserError(
            f"{file} knows {sizes[1]} parts of {sizes[0]} categories, {train_cache.path} has {parts} of {categories}: they must be the "
            f"same, in the same order"
        )
    order = f"the parts and categories of {file.name} have no names: they are taken to be in the order of the cache"
    given = (order, *task.test.usual.notes(task.test.shapes.rows))
    scores = scored(task, [guesses(model.to(device), task)], f"as published in {file.name}", given)
    return dataclasses.replace(scores, sides=Sides(test=task.test.shapes))  # nothing here learned from the training shapes


def with_all_categories(task: Task, classes: tuple[str, ...]) -> Task:
    """The same task with all classes of the training cache as categories, in their order, although some have no training shape."""
    place = np.array([classes.index(name) for name in task.train.shapes.classes])

    def renumbered(data: Labelled) -> Labelled:
        other = data.of(np.ones(len(data), bool))
        other.shapes = dataclasses.replace(data.shapes, labels=place[data.shapes.labels], classes=classes)
        return other

    known, largest = np.zeros((len(classes), len(task.names)), bool), np.zeros(len(classes), np.int64)
    known[place], largest[place] = task.known, task.largest
    return dataclasses.replace(task, train=renumbered(task.train), test=renumbered(task.test), known=known, largest=largest)


# ------------------------------------------------------------------------------------------------------------------- data


def prepared(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Task:
    """The shapes that have labels, with categories and parts of both caches brought together by name.

    Raises:
        UserError: a cache has no labels of points or no classes, or no shape is left.
    """
    if not train_cache.manifest.classes:
        raise UserError(f"{train_cache.path} has no classes of shapes, on which their parts depend; `scenes` labels points without any")
    train, test, lost = matched(of_split(train_cache, options.train_split), of_split(test_cache, options.test_split), least=1)
    names, theirs = check_labelled(train), check_labelled(test)
    place = places(theirs, names, str(test_cache.path), str(train_cache.path))
    place = np.where(place < 0, len(names) + np.arange(len(place)), place)  # parts that no training shape can have
    with torch.random.fork_rng([]):
        encoder = encoder_of(stage, dataclasses.replace(options, scratch=False))
    own, other = (
        Labelled(shapes, encoder, read_as(stage.convention, shapes, options.points), index)
        for shapes, index in ((train, np.arange(len(names))), (test, place))
    )
    counts = own.counts(len(names))  # [n, K]
    labelled = counts.sum(1) > 0
    own, unlabelled = with_labels(own, labelled, "training")
    counts = counts[labelled]
    by_category = np.zeros((len(train.classes), len(names)), np.int64)
    np.add.at(by_category, own.shapes.labels, counts)
    known = by_category > 0
    usable = known.sum(1) > 0
    other, strangers = without_parts(other, usable[test.labels], train)
    truth = labels_of(other)
    labelled = (truth >= 0).sum(1) > 0
    other, blank = with_labels(other, labelled, "test")
    truth = truth[labelled]
    task = Task(train=own, test=other, names=names, known=known, largest=by_category.argmax(1), truth=truth, notes=())
    remarks = (*lost, *unlabelled, *strangers, *blank, *unknown_parts(task, theirs, place), *single_parts(task))
    return dataclasses.replace(task, notes=remarks)


def labels_of(data: Labelled) -> NDArray[np.int64]:
    """True part of each point in the first block of every shape, [n, Q]."""
    return np.concatenate([data.labels(chosen, 0) for chosen in data.batches()])


def with_labels(data: Labelled, has: NDArray[np.bool_], what: str) -> tuple[Labelled, tuple[str, ...]]:
    """The shapes that have labels, and a note on the others.

    Raises:
        UserError: none has.
    """
    if not has.any():
        raise UserError(f"{data.shapes.name} has no point with a label of a part")
    if has.all():
        return data, ()
    return data.of(has), (f"{int((~has).sum())} of {len(data)} {what} shapes are left out, since none of their points has a label",)


def without_parts(data: Labelled, usable: NDArray[np.bool_], train: Shapes) -> tuple[Labelled, tuple[str, ...]]:
    """The test shapes whose category has parts in training, and a note on the others.

    Raises:
        UserError: no category has.
    """
    if usable.all():
        return data, ()
    classes = some([train.classes[i] for i in np.unique(data.shapes.labels[~usable])])
    if not usable.any():
        raise UserError(f"no training shape of the test shapes' classes ({classes}) has a label of a part")
    lost = f"{int((~usable).sum())} of {len(data)} test shapes are left out, since no training shape of their class has labels: {classes}"
    return data.of(usable), (lost,)


def unknown_parts(task: Task, names: Sequence[str], place: NDArray[np.int64]) -> tuple[str, ...]:
    """A note on points of test shapes whose part no training shape of their class has.

    Raises:
        UserError: no point is left.
    """
    wide = np.zeros((len(task.known), int(max(place.max(), len(task.names) - 1)) + 1), bool)
    wide[:, : len(task.names)] = task.known
    labelled = task.truth >= 0
    strange = labelled & ~wide[task.categories[:, None], task.truth.clip(min=0)]  # [n, Q]
    if not strange.any():
        return ()
    named = {int(new): name for new, name in zip(place, names, strict=True)}
    pairs = sorted({(task.train.shapes.classes[task.categories[i]], named[int(task.truth[i, j])]) for i, j in np.argwhere(strange)})
    told = some([f"{part} of {category}" for category, part in pairs])
    if (strange == labelled).all():
        raise UserError(f"no training shape has one of the parts that the test shapes of its class have: {told}")
    return (f"{int(strange.any(1).sum())} test shapes have parts that no training shape of their class has, which count as wrong: {told}",)


def single_parts(task: Task) -> tuple[str, ...]:
    """A note on categories with one part, in which no guess can be wrong."""
    present = np.unique(task.categories)
    trivial = [task.train.shapes.classes[i] for i in present if task.known[i].sum() == 1]
    return (f"classes with one part only, where any guess is right: {some(trivial)}",) if trivial else ()


# ------------------------------------------------------------------------------------------------------------ predictions


def guesses(model: Segmenter, task: Task) -> NDArray[np.int64]:
    """The most likely part of every point of the test shapes, among the parts of its category. [n, Q]"""
    return np.concatenate([allowed(logits, task, chosen).argmax(-1).numpy() for chosen, logits in predicted(model, task.test, 0)])


def allowed(logits: torch.Tensor, task: Task, chosen: NDArray[np.int64]) -> torch.Tensor:
    """Logits [b, Q, K] of the chosen shapes, with minus infinity for the parts of other categories."""
    known = torch.from_numpy(task.known[task.categories[chosen]])
    return logits.masked_fill(~known.unsqueeze(1), -torch.inf)


def vote(model: Segmenter, task: Task, options: Options, seed: int) -> NDArray[np.int64]:
    """Peer protocol: the part with the largest mean probability over augmented copies. [n, Q]"""
    chance = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    changes = dataclasses.replace(options.augment, drop=0.0, drop_color=0.0)
    total: list[torch.Tensor] = []
    for _ in range(options.votes):
        once = [allowed(logits, task, chosen).softmax(-1) for chosen, logits in predicted(model, task.test, 0, chance, changes)]
        total = [a + b for a, b in zip(total, once, strict=True)] if total else once
    return np.concatenate([part.argmax(-1).numpy() for part in total])


# ---------------------------------------------------------------------------------------------------------------- numbers


def over_categories(values: NDArray[np.float64], categories: NDArray[np.int64]) -> float:
    """Mean over categories of the mean over their shapes, for values of shapes [n]."""
    sums, counts = np.bincount(categories, values), np.bincount(categories)
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def mean_of(
    task: Task,
    name: str,
    values: NDArray[np.float64],
    over: Literal["seeds", "blocks"],
    guesses: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    by_category: bool = False,
    headline: bool = False,
) -> Metric:
    """The mean over test shapes of values that each shape has, with its interval.

    Args:
        task: the task.
        name: name of the metric.
        values: values in percent, once for each repetition. [repetitions, n]
        over: what the repetitions differ in.
        guesses: the values of random guessing, and of the largest part of each category. [n] each
        by_category: whether to take the mean over categories of the mean over their shapes.
        headline: see `Metric`.
    """
    everything, shapes = np.arange(values.shape[1]), values.mean(0)

    def measure(own: NDArray[np.float64], chosen: NDArray[np.int64]) -> float:
        return over_categories(own[chosen], task.categories[chosen]) if by_category else float(own[chosen].mean())

    return share(
        name=name,
        values=tuple(measure(own, everything) for own in values),
        over=over,
        headline=headline,
        shapes=len(shapes),
        interval=accuracy.interval(lambda drawn: measure(shapes, drawn), len(shapes)),
        chance=measure(guesses[0], everything),
        largest=measure(guesses[1], everything),
        answer="largest part of a kind",
    )


def metrics(task: Task, ious: NDArray[np.float64]) -> Iterator[Metric]:
    """Both means, and the mean of every category, from the IoU of each test shape for each seed [seeds, n]."""
    guesses = chances(task)[0], task.ious(largest(task))
    yield mean_of(task, "mIoU over shapes", ious, "seeds", guesses, headline=True)
    yield mean_of(task, "mIoU over categories", ious, "seeds", guesses, by_category=True, headline=True)
    for category in np.unique(task.categories):
        own = task.categories == category
        name = f"IoU of {task.train.shapes.classes[category]}"
        yield mean_of(task, name, ious[:, own], "seeds", (guesses[0][own], guesses[1][own]))


def largest(task: Task) -> NDArray[np.int64]:
    """The part with the most training points of its category, for all points of a test shape. [n, Q]"""
    return np.broadcast_to(task.largest[task.categories][:, None], task.truth.shape)


def right(task: Task, predictions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the labelled points of each test shape whose predicted part [n, Q] is right, in percent. [n]"""
    known = task.truth >= 0
    return np.asarray(100 * ((predictions == task.truth) & known).sum(1) / known.sum(1), np.float64)


def chances(task: Task) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean IoU and share of right points of each test shape, in percent, if every point gets a random part of its category. [n] each"""
    rng = np.random.default_rng(0)
    parts = [np.flatnonzero(task.known[category]) for category in task.categories]
    found = []
    for _ in range(GUESSES):
        guess = np.stack([rng.choice(own, task.truth.shape[1]) for own in parts])
        found.append((task.ious(guess), right(task, guess)))
    ious, share = np.mean(found, axis=0)
    return ious, share


def peers(task: Task, best: Sequence[NDArray[np.float64]], voted: Sequence[NDArray[np.float64]]) -> tuple[Metric, ...]:
    """The numbers of other papers' protocols, from the IoU of each test shape [n] for each seed. Empty if there are none."""
    out = []
    for what, ious in (("best test epoch", best), ("vote of best test epoch", voted)):
        means = {
            "mIoU over shapes": tuple(float(own.mean()) for own in ious),
            "mIoU over categories": tuple(over_categories(own, task.categories) for own in ious),
        }
        for name, values in means.items():
            if values:
                out.append(share(name=f"{name}, {what} (peer protocol)", values=values, over="seeds", headline=True))
                out.append(share(name=f"{name}, {what} of best seed (peer protocol)", values=(max(values),), over="seeds", headline=True))
    return tuple(out)


def points_confused(task: Task, predictions: Sequence[NDArray[np.int64]]) -> tuple[tuple[int, ...], ...]:
    """Confusion counts [K, K] of points, summed over seeds. Points of parts that the training cache does not have are left out."""
    truth = np.where(task.truth < len(task.names), task.truth, -1)
    counts = sum(miou.confusion(truth, own, len(task.names)) for own in predictions)
    assert isinstance(counts, np.ndarray)
    return tuple(tuple(row) for row in counts.tolist())


# --------------------------------------------------------------------------------------------------------------- pictures


def examples(task: Task, predictions: NDArray[np.int64], ious: NDArray[np.float64]) -> Iterator[Example]:
    """The test shapes with the lowest, the median and the highest IoU."""
    order = np.argsort(ious, kind="stable")
    shapes, ids = task.test.shapes, task.test.shapes.cache.ids()
    for what, i in told_apart(order):
        points = task.test.full.read(shapes.rows[i : i + 1], 0)[0, :, :3].numpy()
        yield Example(
            title=f"{what}: {ids[shapes.rows[i]]}, IoU {ious[i]:.1f}", points=points, truth=task.truth[i], predicted=predictions[i]
        )


def shown_names(task: Task) -> tuple[str, ...]:
    """Names of all parts in `Task.truth`, for a legend."""
    more = int(task.truth.max()) + 1 - len(task.names)
    return (*task.names, *["a part unknown in training"] * max(0, more))
