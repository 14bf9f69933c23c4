"""Few-shot classification: a classifier learns a few classes from a few shapes each, in several folds.

    scores = run(stage, train_cache, test_cache, Options(ways=5, shots=10))
    scores = run(stage, cache, cache, Options(ways=5, shots=10, stored=True))           # the folds that a data set has fixed

Training shapes come from the training split, queries from the test split. The seed and the fold's number decide its classes and shapes.
Folds that the cache stores (`cache_schema.folds`), as the published ones of ModelNet40, are taken as they are: a fold has two splits of
its own, and nothing else is read for it.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.folds import Fold
from cache_schema.folds import folds as folds_of
from cache_schema.settings import refuse_unread
from cache_schema.store import Cache
from cache_schema.terminal import some
from trainer.classifiers import Trained
from trainer.config import check_seed
from trainer.stage import Stage
from trainer.tasks import svm
from trainer.tasks.accuracy import counted
from trainer.tasks.features import Body, Pool, extract, seeded
from trainer.tasks.finetune import FROZEN, Classifying, arithmetic, asked, begin, described, fit
from trainer.tasks.predictions import UNTESTED, predictions
from trainer.tasks.protocol import told
from trainer.tasks.result import Data, Scores
from trainer.tasks.seen import Sides
from trainer.tasks.shapes import Shapes, matched, of_split


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of few-shot classification."""

    train_split: str = "train"
    test_split: str | None = told(None)
    """Split with the test shapes; None for `test`, or `val` if there is no `test`."""
    ways: int = told(5)
    """Number of classes in a fold."""
    shots: int = told(10)
    """Number of training shapes of each class."""
    queries: int = 20
    """Number of test shapes of each class; all if a class has fewer."""
    folds: int = 10
    """Number of folds."""
    stored: bool = told(False)
    """Take the first `folds` folds of `ways` classes and `shots` shapes that the cache stores, with all of their queries, instead of
    dealing folds here. The source `modelnetfewshot` stores the published ones of ModelNet40."""
    by: Literal["svm", "finetune"] = told("svm")
    """Classifier: a linear SVM on frozen features, or fine-tuning with the settings of `training`."""
    c: float = 1.0
    """Inverse strength of the SVM's regularisation. A fold is too small for a search; the default was chosen on validation shapes."""
    training: Classifying = Classifying(epochs=150)
    """Settings of the method `finetune`."""
    pool: Pool = "mean_max"
    """Input of the classifier (`trainer.tasks.features.Pool`): `mean_max` is mean and maximum of the tokens."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, {"ways": 2, "shots": 1, "queries": 1, "folds": 1})
        check_seed(self.seed)
        if self.c <= 0:
            raise UserError(f"c must be positive, got {self.c}")
        refuse_unread(self, ["training" if self.by == "svm" else "c"], f"by={self.by}")
        if self.stored:
            refuse_unread(self, ["train_split", "test_split", "queries"], "stored=true, where each fold has its own splits")
            refuse_unread(self, ["seed"] if self.by == "svm" else [], "stored=true and by=svm, where nothing is drawn")


SMOKE: Final = Options(ways=2, shots=1, queries=2, folds=2)
PROBES: Final = True
KEEPS: Final = True
"""Whether `--keep` can keep a classifier of this task."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """One fold: its training shapes and its queries, which have the same classes."""

    support: Shapes
    queries: Shapes
    features: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    """Features of the training shapes and of the queries, [m, F] each, which only the SVM needs."""
    asked: NDArray[np.int64]
    """Index of each query among all test shapes. [m]"""


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Accuracy in each fold."""
    known = folds_of(train_cache.manifest.splits)
    if known and not options.stored:
        raise UserError(
            f"{train_cache.path} stores the folds of a data set, and folds that are dealt here would mix them: take them by --set "
            "stored=true"
        )
    body = Body.of(stage, options.pool)
    if options.stored:
        train, test, notes, given = _stored(body, train_cache, test_cache, options)
        of_train, shapes, tested = _whole(train, options, "train"), test, _whole(test, options, "test")
    else:
        train, shapes, notes = matched(of_split(train_cache, options.train_split), of_split(test_cache, options.test_split))
        of_train, tested, given = train.data, shapes.data, _dealt(body, train, shapes, options)
    values: list[float] = []
    kept: Trained | None = None
    tuned: Body
    head: nn.Module
    digests = test_cache.column("source_sha256") if options.stored else None
    seen: set[int | bytes] = set()  # different test shapes: folds may share some, and of stored folds each has a row of its own for it
    every: list[NDArray[np.int64]] = []
    folds: list[tuple[Shapes, Shapes]] = []
    places: list[NDArray[np.int64]] = []
    tuning: tuple[str, ...] = ()
    for fold, one in enumerate(given):
        support, queries = one.support, one.queries
        if options.by == "svm":
            assert one.features is not None
            probe = svm.fit(one.features[0], support.labels, options.c)
            predicted, tuned, head = probe.predict(one.features[1]), body, svm.voting(probe, options.ways)
        else:
            with seeded(options.seed + fold, body.device):
                begun = begin(stage, options.pool, options.training, support)
                *_, (tuned, head) = fit(begun, support, options.training, options.seed + fold)
            predicted = extract(tuned, queries, 0, head).argmax(1).numpy()
            tuning = (*asked(stage, tuned, options.training, shapes), *described(tuned, head, options.training))
        seen.update(queries.rows.tolist() if digests is None else (digests[row].tobytes() for row in queries.rows))
        values.append(100 * float((predicted == queries.labels).mean()))
        every.append(_among(shapes, one.asked, queries, predicted))
        folds.append((support, queries))
        places.append(one.asked)
        if fold == 0:
            kept = _first(tuned, head, support, queries, values[0], options)
    form = f"{options.ways}-way {options.shots}-shot" + (f" {options.training.tune}" if options.by == "finetune" else "")
    return Scores(
        train=of_train,
        test=tested,
        sides=Sides(test=shapes.of(np.unique(np.concatenate(places))), folds=tuple(folds)),  # a fold may ask for what another learns from
        metrics=(counted("accuracy", values, "folds", len(seen), 100 / options.ways, headline=True),),
        variant=form + " in stored folds" * options.stored,
        predictions=(predictions("accuracy", shapes, every),),
        precision=arithmetic(options.training, body.device).precision if options.by == "finetune" else "",
        notes=(*notes, *tuned.notes(shapes, train, asked=options.training.points is not None), *tuning),
        trained=kept,
    )


# ------------------------------------------------------------------------------------------------------------------ folds


def _dealt(body: Body, train: Shapes, test: Shapes, options: Options) -> Iterator[Given]:
    """Folds that are dealt here, one after the other."""
    features = None
    if options.by == "svm":
        features = extract(body, train, 0).numpy(), extract(body, test, 0).numpy()
    for fold in range(options.folds):
        learned, asked = deal(train, test, options, fold)
        support, queries, _ = matched(train.of(learned), test.of(asked))
        own = None if features is None else (features[0][learned], features[1][asked])
        yield Given(support=support, queries=queries, features=own, asked=asked)


def _stored(body: Body, train_cache: Cache, test_cache: Cache, options: Options) -> tuple[Shapes, Shapes, tuple[str, ...], Iterator[Given]]:
    """The folds that a cache stores: all their training shapes and queries, notes, and the folds one after the other.

    Raises:
        UserError: the test cache is another one, there are too few folds, or a fold lacks training shapes or all queries of a class.
    """
    if train_cache.home != test_cache.home:
        raise UserError(f"stored=true takes training shapes and queries of one cache: leave out the test cache {test_cache.path}")
    known = folds_of(train_cache.manifest.splits)
    fitting = [fold for fold in known if (fold.ways, fold.shots) == (options.ways, options.shots)][: options.folds]
    if len(fitting) < options.folds:
        sizes = sorted({(fold.ways, fold.shots) for fold in known})
        there = ", ".join(f"{sum((f.ways, f.shots) == size for f in known)} of {size[0]}-way {size[1]}-shot" for size in sizes) or "none"
        raise UserError(
            f"{train_cache.path} stores {len(fitting)} folds of {options.ways}-way {options.shots}-shot, and {options.folds} are asked "
            f"for; it has {there}: set ways, shots and folds to what is there, or stored=false to deal folds from another cache"
        )
    pairs = [(of_split(train_cache, fold.train), of_split(train_cache, fold.test)) for fold in fitting]
    for fold, (support, queries) in zip(fitting, pairs, strict=True):
        counts = np.bincount(support.labels)
        if sorted(counts[counts > 0].tolist()) != [options.shots] * options.ways:
            raise UserError(
                f"{support.name} has {len(support)} usable shapes of {np.count_nonzero(counts)} classes, and fold {fold.number} needs "
                f"{options.shots} of each of {options.ways}: some failed; `mmpd-cache status {train_cache.path}` says why"
            )
        if lost := sorted(set(support.labels.tolist()) - set(queries.labels.tolist())):
            raise UserError(
                f"{queries.name} has no usable query of {some([queries.classes[label] for label in lost])}, and fold {fold.number} needs "
                f"one of each of its {options.ways} classes: they failed; `mmpd-cache status {train_cache.path}` says why"
            )
    train, test = (
        dataclasses.replace(shapes[0], rows=np.concatenate([s.rows for s in shapes]), labels=np.concatenate([s.labels for s in shapes]))
        for shapes in zip(*pairs, strict=True)
    )

    def folds() -> Iterator[Given]:
        start = 0
        for own in pairs:
            support, queries, _ = matched(*own)
            asked = np.arange(start, start := start + len(queries))
            features = (extract(body, support, 0).numpy(), extract(body, queries, 0).numpy()) if options.by == "svm" else None
            yield Given(support=support, queries=queries, features=features, asked=asked)

    return train, test, _doubts(fitting, pairs), folds()


def _doubts(fitting: list[Fold], pairs: list[tuple[Shapes, Shapes]]) -> tuple[str, ...]:
    """Notes on folds of which a query is the same data as a training shape, or could not be built."""
    cache = pairs[0][0].cache
    digests, split, known = cache.column("source_sha256"), cache.column("split"), cache.manifest.splits
    repeated, lacking = [], []
    for fold, (support, queries) in zip(fitting, pairs, strict=True):
        learned = {digests[row].tobytes() for row in support.rows}
        if count := sum(digests[row].tobytes() in learned for row in queries.rows):
            repeated.append(f"{count} of {len(queries)} in fold {fold.number}")
        if count := int((split == known.index(fold.test)).sum()) - len(queries):
            lacking.append(f"{count} of {len(queries) + count} in fold {fold.number}")
    said = {"that are also training shapes of their fold": repeated, "that could not be built and are left out": lacking}
    return tuple(f"queries {what}: {', '.join(told)}" for what, told in said.items() if told)


def _whole(shapes: Shapes, options: Options, side: Literal["train", "test"]) -> Data:
    """The description of all training shapes, or all queries, of the stored folds."""
    return dataclasses.replace(shapes.data, split=f"{options.ways}way{options.shots}shot-folds-{side}")


def _among(test: Shapes, asked: NDArray[np.int64], queries: Shapes, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The predicted class of each test shape, [n], of the classes of all folds; `UNTESTED` for a shape that a fold did not ask for.

    Args:
        test: all test shapes.
        asked: indices of those that the fold asked for. [m]
        queries: the same shapes, with the classes of the fold.
        predicted: predicted class of each query, of the classes of the fold. [m]
    """
    place = np.full(len(queries.classes), UNTESTED)
    place[queries.labels] = test.labels[asked]  # every class of a fold has a query
    found = np.full(len(test), UNTESTED)
    found[asked] = place[predicted]
    return found


def _first(body: Body, head: nn.Module, support: Shapes, queries: Shapes, accuracy: float, options: Options) -> Trained:
    """The classifier of the first fold, which knows the classes of this fold only."""
    tune = options.training.tune if options.by == "finetune" else "svm"
    return Trained(
        body=body,
        head=head,
        classes=support.classes,
        tune=tune,
        efficient=options.training.efficient,
        own=options.by == "finetune" and tune not in FROZEN,
        seed=0,
        train=support,
        test=queries.data,
        score=counted("accuracy", [accuracy], "folds", len(queries), 100 / options.ways, headline=True),
        of=f"fold 0 of {options.folds}, of the classes {some(support.classes)}",
    )


def deal(train: Shapes, test: Shapes, options: Options, fold: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the training shapes [ways * shots] and the test shapes of a fold.

    Raises:
        UserError: too few classes have enough shapes.
    """
    chance = np.random.default_rng([options.seed, fold])
    there, asked = (np.bincount(shapes.labels, minlength=len(train.classes)) for shapes in (train, test))
    eligible = np.flatnonzero((there >= options.shots) & (asked >= 1))
    if len(eligible) < options.ways:
        raise UserError(
            f"{options.ways}-way {options.shots}-shot needs {options.ways} classes with {options.shots} shapes in {train.name} and one in "
            f"{test.name}; {len(eligible)} of {len(train.classes)} have them. Lower ways or shots."
        )
    classes = chance.choice(eligible, options.ways, replace=False)

    def some(shapes: Shapes, count: int) -> NDArray[np.int64]:
        return np.concatenate([chance.permutation(np.flatnonzero(shapes.labels == label))[:count] for label in classes])

    return some(train, options.shots), some(test, options.queries)
