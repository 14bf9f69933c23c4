"""Linear SVM on frozen features: the usual measure of a representation, without further training of the encoder.

    scores = run(stage, train_cache, test_cache, Options(c=0.01))

Cross-validation on the training shapes finds C, on standardised features. Other papers chose C by hand, on features as they are; one of
them chose it anew for each test set.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.store import Cache
from trainer.classifiers import Trained, Votes
from trainer.config import check_seed
from trainer.stage import Stage
from trainer.tasks.accuracy import accuracies, confusion, few_shapes, in_all
from trainer.tasks.features import Body, Pool, averaged, read, readings
from trainer.tasks.mistakes import mistakes
from trainer.tasks.predictions import predictions as kept
from trainer.tasks.protocol import told
from trainer.tasks.result import Scores
from trainer.tasks.seen import Sides
from trainer.tasks.shapes import matched, of_split

GRID: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C that cross-validation chooses among."""
FOLDS: Final = 3
"""Number of cross-validation folds."""
UNSEARCHED: Final = 1.0
"""C if there are too few shapes for cross-validation."""
STEPS: Final = 1_000_000
"""Largest number of iterations of the solver."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the linear SVM."""

    train_split: str = "train"
    test_split: str | None = told(None)
    """Split with the test shapes; None for `test`, or `val` if there is no `test`."""
    pool: Pool = "mean_max"
    """Input of the SVM: mean and maximum of the tokens, the model's summary, or the summary and the maximum."""
    c: float | None = None
    """Inverse strength of regularisation; None to find it by cross-validation on the training shapes as the first repetition reads them."""
    average: bool = False
    """Read a shape by the mean of the features of all its stored blocks, instead of one repetition per block."""
    repeats: int | None = None
    """Number of repetitions, each on the next stored block of every shape; None for three, or all if there are fewer."""
    seed: int = 0
    """Seed of the folds of cross-validation, by which `c` is found."""

    def __post_init__(self) -> None:
        check_numbers(self, {"repeats": 1})
        if self.average:
            refuse_unread(self, ["repeats"], "average=true, which takes every block")
        check_seed(self.seed)
        if self.c is not None and self.c <= 0:
            raise UserError(f"c must be positive, got {self.c}")
        if self.c is not None:
            refuse_unread(self, ["seed"], f"c={self.c:g}, for which nothing is searched")


SMOKE: Final = Options(c=0.1, repeats=1)
PROBES: Final = True
KEEPS: Final = True
"""Whether `--keep` can keep a classifier of this task."""


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Test accuracy of an SVM that is fitted on the training shapes, once for each repetition."""
    train, test, notes = matched(of_split(train_cache, options.train_split), of_split(test_cache, options.test_split))
    body, c = Body.of(stage, options.pool), options.c
    predictions, probes = [], []
    several = readings(options.average, options.repeats, body, train, test)
    doubts = [*notes, *body.notes(test, train), *averaged(options.average, several, body, train, test)]
    for blocks in several:
        features = read(body, train, blocks).numpy()
        if c is None:
            c = choose(features, train.labels, options.seed)
            found = "by cross-validation on the training shapes"
            none = "not searched: the training shapes of a class are too few for cross-validation"
            doubts.append(f"C = {c:g} {found if _folds(train.labels, options.seed) else none}")
        probe = fit(features, train.labels, c)
        probes.append(probe)
        predictions.append(probe.predict(read(body, test, blocks).numpy()))
        if probe[-1].fit_status_:
            doubts.append(f"the SVM stopped at C = {c:g} before it had converged; a smaller c converges sooner")
    worst, drawing = mistakes(test, predictions)
    return Scores(
        train=train.data,
        test=test.data,
        sides=Sides(train=train, test=test),
        metrics=in_all(test, predictions, "blocks"),
        classes=test.classes,
        confusion=confusion(test.labels, predictions, len(test.classes)),
        predictions=(kept("accuracy", test, predictions),),
        worst=worst,
        drawing=drawing,
        notes=tuple(dict.fromkeys(doubts)),
        trained=Trained(
            body=body,
            head=voting(probes[0], len(train.classes)),
            classes=train.classes,
            tune="svm",
            own=False,
            seed=0,
            train=train,
            test=test.data,
            score=accuracies(test.labels, predictions[:1], "blocks", len(test.classes))[0],
            of=f"block 0 of {len(probes)}",
        )
        if not options.average
        else None,
    )


def voting(probe: Pipeline, classes: int) -> Votes:
    """The SVM of `fit` as a head: [B, F] to votes [B, K]. It must know every class.

    It is moved to a GPU with the body; then votes of decisions near zero may differ.
    """
    scaler, machine = probe[0], probe[-1]
    assert len(machine.classes_) == classes
    return Votes.of(scaler.mean_, scaler.scale_, machine.coef_, machine.intercept_, classes)


def fit(features: NDArray[np.float32], labels: NDArray[np.int64], c: float) -> Pipeline:
    """A linear SVM on standardised features [n, F]. Its last step has `fit_status_` 1 if it stopped before it had converged."""
    # LinearSVC was slower on the features on which both were measured.
    probe = make_pipeline(StandardScaler(), SVC(kernel="linear", C=c, cache_size=1000, max_iter=STEPS))
    with few_shapes():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `fit_status_` shows it
        return probe.fit(features, labels)


def choose(features: NDArray[np.float32], labels: NDArray[np.int64], seed: int, objects: NDArray[np.int64] | None = None) -> float:
    """The C of `GRID` with the best accuracy in cross-validation on features [n, F]; the smallest if several are equally good. `UNSEARCHED`
    if there are too few shapes for cross-validation. Shapes of one object, by its number in `objects` [n], stay in one fold.
    """
    parts = _folds(labels, seed, objects)
    if not parts:
        return UNSEARCHED
    with few_shapes():
        scores = [np.mean([fit(features[a], labels[a], c).score(features[b], labels[b]) for a, b in parts]) for c in GRID]
    return GRID[int(np.argmax(scores))]


def _folds(
    labels: NDArray[np.int64], seed: int, objects: NDArray[np.int64] | None = None
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of the training and the validation shapes of each fold. A fold is left out if its training shapes have fewer than two
    classes, or none of the classes of its validation shapes.
    """
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    if len(labels if objects is None else set(objects)) < FOLDS:
        return []
    if objects is not None and rarest >= FOLDS and len(set(objects)) < len(objects):
        parts = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels, objects))
    else:
        folds = (StratifiedKFold if rarest >= FOLDS else KFold)(FOLDS, shuffle=True, random_state=seed)
        with few_shapes():
            parts = list(folds.split(labels, labels))
    return [(a, b) for a, b in parts if len(np.unique(labels[a])) > 1 and np.isin(labels[b], labels[a]).any()]
