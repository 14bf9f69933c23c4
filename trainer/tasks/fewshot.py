"""Few-shot classification: a classifier learns a few classes from a few shapes each, in several folds.

    scores = run(stage, train_cache, test_cache, Options(ways=5, shots=10))

Training shapes come from the training split, queries from the test split. The seed and the fold's number decide its classes and shapes.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.store import Cache
from trainer.classifiers import Trained
from trainer.config import check_seed
from trainer.stage import Stage
from trainer.tasks import svm
from trainer.tasks.accuracy import counted
from trainer.tasks.features import Body, Pool, extract, seeded
from trainer.tasks.finetune import FROZEN, Training, arithmetic, described, fit
from trainer.tasks.predictions import UNTESTED, predictions
from trainer.tasks.protocol import told
from trainer.tasks.result import Scores
from trainer.tasks.shapes import Shapes, matched, of_split, some


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
    by: Literal["svm", "finetune"] = told("svm")
    """Classifier: a linear SVM on frozen features, or fine-tuning with the settings of `training`."""
    c: float = 1.0
    """Inverse strength of the SVM's regularisation. A fold is too small for a search; the default was chosen on validation shapes."""
    training: Training = Training(epochs=150)
    """Settings of the method `finetune`."""
    pool: Pool = "mean_max"
    """Input of the classifier: mean and maximum of the tokens, the model's summary, or the summary and the maximum."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, {"ways": 2, "shots": 1, "queries": 1, "folds": 1})
        check_seed(self.seed)
        if self.c <= 0:
            raise UserError(f"c must be positive, got {self.c}")
        refuse_unread(self, ["training" if self.by == "svm" else "c"], f"by={self.by}")


SMOKE: Final = Options(ways=2, shots=1, queries=2, folds=2)
KEEPS: Final = True
"""Whether `--keep` can keep a classifier of this task."""


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Accuracy in each fold."""
    train, test, notes = matched(of_split(train_cache, options.train_split), of_split(test_cache, options.test_split))
    body = Body.of(stage, options.pool)
    if options.by == "svm":
        of_train, of_test = extract(body, train, 0).numpy(), extract(body, test, 0).numpy()
    values: list[float] = []
    kept: Trained | None = None
    tuned: Body
    head: nn.Module
    seen: set[int] = set()  # different test shapes: folds may share some
    every: list[NDArray[np.int64]] = []
    tuning: tuple[str, ...] = ()
    for fold in range(options.folds):
        learned, asked = deal(train, test, options, fold)
        support, queries, _ = matched(train.of(learned), test.of(asked))
        if options.by == "svm":
            probe = svm.fit(of_train[learned], support.labels, options.c)
            predicted, tuned, head = probe.predict(of_test[asked]), body, svm.voting(probe, options.ways)
        else:
            with seeded(options.seed + fold, body.device):
                *_, (tuned, head) = fit(body, support, options.training, options.seed + fold)
            predicted = extract(tuned, queries, 0, head).argmax(1).numpy()
            tuning = described(tuned, head, options.training)
        seen.update(queries.rows.tolist())
        values.append(100 * float((predicted == queries.labels).mean()))
        every.append(_among(test, asked, queries, predicted))
        if fold == 0:
            kept = _first(tuned, head, support, queries, values[0], options)
    form = f"{options.ways}-way {options.shots}-shot" + (f" {options.training.tune}" if options.by == "finetune" else "")
    return Scores(
        train=train.data,
        test=test.data,
        metrics=(counted("accuracy", values, "folds", len(seen), 100 / options.ways, headline=True),),
        variant=form,
        predictions=(predictions("accuracy", test, every),),
        precision=arithmetic(options.training, body.device).precision if options.by == "finetune" else "",
        notes=(*notes, *body.notes(test, train), *tuning),
        trained=kept,
    )


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
        train=support.data,
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
