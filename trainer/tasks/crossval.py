"""Linear SVM on frozen features, tested on every shape of a cache by cross-validation: for collections with few test shapes.

    scores = run(stage, cache, cache, Options(folds=5))

Each shape is classified once, by an SVM that was fitted without it. With 600 shapes the 95 % interval is half as wide as with a test split
of 120. All shapes of one object (`chair/0001#0`, `chair/0001#1`), all crops of one scene and all copies of one file are in the same fold.
Without `test_split` the splits of the cache play no part, so the result compares with no published number.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.folds import folds as fixed_folds
from cache_schema.settings import refuse_unread
from cache_schema.store import Cache
from cache_schema.terminal import counted, some
from trainer.config import check_seed
from trainer.stage import Stage
from trainer.tasks import svm
from trainer.tasks.accuracy import confusion, in_all
from trainer.tasks.features import Body, Pool, averaged, read, readings
from trainer.tasks.mistakes import mistakes
from trainer.tasks.predictions import predictions as kept
from trainer.tasks.protocol import told
from trainer.tasks.result import Scores
from trainer.tasks.seen import Sides
from trainer.tasks.shapes import EVERYTHING, Shapes, matched, of_split, scene_names


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the linear SVM in cross-validation."""

    test_split: str = told(EVERYTHING)
    """Split whose shapes are dealt into folds; `all` for the whole cache."""
    folds: int = 5
    """Number of folds that the shapes are dealt into."""
    pool: Pool = "mean_max"
    """Input of the SVM: mean and maximum of the tokens, the model's summary, or the summary and the maximum."""
    c: float | None = None
    """Inverse strength of regularisation; None to find it for each fold on the other folds, as the first repetition reads them."""
    average: bool = False
    """Read a shape by the mean of the features of all its stored blocks, instead of one repetition per block."""
    repeats: int | None = None
    """Number of repetitions, each on the next stored block of every shape; None for three, or all if there are fewer."""
    seed: int = 0
    """Seed of the folds."""

    def __post_init__(self) -> None:
        check_numbers(self, {"repeats": 1, "folds": 2})
        if self.average:
            refuse_unread(self, ["repeats"], "average=true, which takes every block")
        check_seed(self.seed)
        if self.c is not None and self.c <= 0:
            raise UserError(f"c must be positive, got {self.c}")


SMOKE: Final = Options(folds=2, c=0.1, repeats=1)
PROBES: Final = True


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Accuracy on all shapes of a split. Each is predicted by an SVM that was fitted on the folds without it.

    Raises:
        UserError: there are two caches, one class only, or a class whose shapes are all of one object; or the cache holds folds of few-shot
            classification.
    """
    if test_cache.home != train_cache.home:
        raise UserError("crossval fits and tests on the same shapes of one cache: leave --test-cache out, or take `eval svm`")
    if options.test_split == EVERYTHING and fixed_folds(train_cache.manifest.splits):
        raise UserError(
            f"{train_cache.path} holds folds of few-shot classification, and a shape is in several of them: it would be learned and "
            "tested. Take `eval fewshot --set stored=true`"
        )
    shapes = of_split(train_cache, options.test_split)
    every, _, _ = matched(shapes, shapes)
    body, objects = Body.of(stage, options.pool), objects_of(every)
    parts = list(dealt(every, objects, options.folds, options.seed))
    blocks = readings(options.average, options.repeats, body, every)
    first, *others = (read(body, every, some).numpy() for some in blocks)  # [n, F] each
    chosen = [options.c or svm.choose(first[known], every.labels[known], options.seed, objects[known]) for known, _ in parts]
    predictions: list[NDArray[np.int64]] = []
    unfinished = False
    for features in (first, *others):
        found, stopped = predicted(features, every.labels, parts, chosen)
        predictions.append(found)
        unfinished |= stopped
    worst, drawing = mistakes(every, predictions)
    return Scores(
        train=every.data,
        test=every.data,
        sides=Sides(test=every),
        metrics=in_all(every, predictions, "blocks"),
        classes=every.classes,
        confusion=confusion(every.labels, predictions, len(every.classes)),
        predictions=(kept("accuracy", every, predictions),),
        worst=worst,
        drawing=drawing,
        notes=(
            *body.notes(every),
            *averaged(options.average, blocks, body, every),
            f"cross-validation in {options.folds} folds over all {len(every)} shapes of the split",
            *((f"C = {', '.join(f'{c:g}' for c in chosen)}, found in each fold on the other folds alone",) if options.c is None else ()),
            *(("an SVM stopped before it had converged; a smaller c converges sooner",) if unfinished else ()),
        ),
    )


def predicted(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    chosen: Sequence[float],
) -> tuple[NDArray[np.int64], bool]:
    """The class of each shape, [n], by an SVM on the features [n, F] of the other folds; and whether one had not converged.

    Args:
        features: the features.
        labels: the classes, [n].
        parts: the folds, as `dealt` yields them.
        chosen: C of each fold.
    """
    found, unfinished = np.full(len(labels), -1), False
    for (known, asked), c in zip(parts, chosen, strict=True):
        probe = svm.fit(features[known], labels[known], c)
        found[asked] = probe.predict(features[asked])
        unfinished |= bool(probe[-1].fit_status_)
    return found, unfinished


def objects_of(shapes: Shapes) -> NDArray[np.int64]:
    """A number for the object of each shape, [n]: the same for scans of one object, crops of one scene, and copies of one file."""
    digests = shapes.cache.column("source_sha256")[shapes.rows]  # [n, 32] uint8; zeros where there is none
    known = digests.any(1)
    name = np.unique(scene_names(shapes), return_inverse=True)[1]
    file = np.unique(digests, axis=0, return_inverse=True)[1].ravel()
    count = len(shapes) + len(shapes)  # names, and behind them files
    edges = coo_array((np.ones(known.sum()), (name[known], len(shapes) + file[known])), shape=(count, count))
    together: NDArray[np.int64] = connected_components(edges, directed=False)[1][name].astype(np.int64)
    return together


def dealt(shapes: Shapes, objects: NDArray[np.int64], folds: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Deal shapes into folds, with about the same share of every class in each fold, and the shapes of an object together.

    Args:
        shapes: n shapes with labels.
        objects: number of the object of each shape, [n].
        folds: number of folds.
        seed: seed of the deal.

    Yields:
        For each fold the indices of the shapes of all other folds, and of its own.

    Raises:
        UserError: there are fewer objects than folds, no class has as many shapes as there are folds, or the shapes of a class are all of
            one object: in its fold nobody would know it.
    """
    if (count := len(set(objects))) < folds:
        advice = f"set folds={count} or fewer" if count > 1 else "cross-validation needs two"
        raise UserError(f"{shapes.name} has {counted(count, 'object')}, and folds={folds} needs as many: {advice}")
    if (most := int(np.bincount(shapes.labels).max())) < folds:
        advice = f"set folds={most} or fewer, got {folds}" if most > 1 else "cross-validation needs two of a class"
        raise UserError(f"the largest class of {shapes.name} has {most} shape{'s' * (most > 1)}: {advice}")
    lone = [name for label, name in enumerate(shapes.classes) if len(set(objects[shapes.labels == label])) == 1]
    if lone:
        raise UserError(
            f"cross-validation needs two objects of each class, and {shapes.name} has one of: {some(lone)}. Build the cache with these "
            "classes left out (source.classes), or take `eval svm`"
        )
    deal = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # fewer objects than folds: some folds have none
        yield from deal.split(objects, shapes.labels, objects)
