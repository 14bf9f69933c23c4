"""Classification by the nearest training shapes, on frozen features. Nothing is fitted.

    scores = run(stage, train_cache, test_cache, Options(neighbours=10))

Neighbours vote with exp(cosine / 0.07), as in DINO (https://arxiv.org/abs/2104.14294).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.store import Cache
from trainer import search
from trainer.stage import Stage
from trainer.tasks.accuracy import accuracies, confusion
from trainer.tasks.features import Body, Pool, averaged, read, readings
from trainer.tasks.mistakes import mistakes
from trainer.tasks.predictions import predictions as kept
from trainer.tasks.protocol import told
from trainer.tasks.result import Scores
from trainer.tasks.seen import Sides
from trainer.tasks.shapes import matched, of_split


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of classification by nearest neighbours."""

    train_split: str = "train"
    test_split: str | None = told(None)
    """Split with the test shapes; None for `test`, or `val` if there is no `test`."""
    pool: Pool = "mean_max"
    """Features to compare: mean and maximum of the tokens, the model's summary, or the summary and the maximum."""
    neighbours: int = 20
    average: bool = False
    """Read a shape by the mean of the features of all its stored blocks, instead of one repetition per block."""
    repeats: int | None = None
    """Number of repetitions, each on the next stored block of every shape; None for three, or all if there are fewer."""

    def __post_init__(self) -> None:
        check_numbers(self, {"neighbours": 1, "repeats": 1})
        if self.average:
            refuse_unread(self, ["repeats"], "average=true, which takes every block")


TEMPERATURE: Final = 0.07
"""A vote has the weight exp((cosine - 1) / temperature)."""
PAIRS: Final = 1 << 24
"""Number of pairs of a shape to name and a known one that are compared at a time, in 16 bytes each. It changes no result."""
SMOKE: Final = Options(neighbours=3, repeats=1)
PROBES: Final = True


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Accuracy on the test shapes, by their nearest neighbours among the training shapes."""
    train, test, notes = matched(of_split(train_cache, options.train_split), of_split(test_cache, options.test_split))
    if not 1 <= options.neighbours <= len(train):
        raise UserError(
            f"neighbours must lie in 1..{len(train)}, the number of training shapes, got {options.neighbours}: "
            f"--set neighbours={len(train)} or less"
        )
    predictions = []
    body = Body.of(stage, options.pool)
    several = readings(options.average, options.repeats, body, train, test)
    for blocks in several:
        known, asked = (read(body, shapes, blocks).numpy() for shapes in (train, test))
        predictions.append(vote(known, train.labels, asked, options.neighbours))
    worst, drawing = mistakes(test, predictions)
    return Scores(
        train=train.data,
        test=test.data,
        sides=Sides(train=train, test=test),
        metrics=accuracies(test.labels, predictions, "blocks", len(test.classes)),
        classes=test.classes,
        confusion=confusion(test.labels, predictions, len(test.classes)),
        predictions=(kept("accuracy", test, predictions),),
        worst=worst,
        drawing=drawing,
        notes=(*notes, *body.notes(test, train), *averaged(options.average, several, body, train, test)),
    )


def vote(known: NDArray[np.float32], labels: NDArray[np.int64], asked: NDArray[np.float32], neighbours: int) -> NDArray[np.int64]:
    """The class of each shape, by the votes of its nearest known shapes; of equal votes the lowest class.

    NumPy does it here, because a probe during training would otherwise import scikit-learn, which takes longer than the probe.

    Args:
        known: features of the known shapes. [n, F]
        labels: their classes, from 0. [n]
        asked: features of the shapes to name. [m, F]
        neighbours: number of known shapes that vote.

    Returns:
        Classes. [m]
    """
    known, asked = search.unit(known), search.unit(asked)
    found = np.empty(len(asked), np.int64)
    step = max(1, PAIRS // len(known))
    for start in range(0, len(asked), step):
        cosines = asked[start : start + step] @ known.T  # [M, n]
        near = np.argpartition(-cosines, neighbours - 1)[:, :neighbours]  # [M, neighbours]
        votes = np.zeros((len(cosines), int(labels.max()) + 1))  # [M, K]
        rows = np.arange(len(cosines))[:, None]
        np.add.at(votes, (rows, labels[near]), np.exp((cosines[rows, near].astype(np.float64) - 1) / TEMPERATURE))
        found[start : start + step] = votes.argmax(1)
    return found
