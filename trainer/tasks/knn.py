"""Classification by the nearest training shapes: what frozen features say without anything being fitted.

    scores = run(stage, train_cache, test_cache, Options(neighbours=10))

Neighbours vote with exp(cosine / 0.07), as in DINO (https://arxiv.org/abs/2104.14294).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.store import Cache
from trainer.stage import Stage
from trainer.tasks.accuracy import accuracies, confusion, few_shapes
from trainer.tasks.features import Body, Pool, extract, repeats
from trainer.tasks.protocol import told
from trainer.tasks.result import Scores
from trainer.tasks.shapes import matched, of_split


@dataclass(frozen=True, kw_only=True)
class Options:
    """Choices of classification by neighbours."""

    train_split: str = "train"
    test_split: str | None = told(None)
    """None for `test`, or `val` where there is no `test`."""
    pool: Pool = "mean_max"
    """What the features are: mean and maximum of the tokens, the model's summary, or the summary and the maximum."""
    neighbours: int = 20
    repeats: int | None = None
    """Each with the next stored block of every shape; None for three, or as many as there are."""

    def __post_init__(self) -> None:
        check_numbers(self, {"neighbours": 1, "repeats": 1})


SMOKE: Final = Options(neighbours=3, repeats=1)


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Accuracy on shapes of one cache by their neighbours in another or the same."""
    train, test, notes = matched(of_split(train_cache, options.train_split), of_split(test_cache, options.test_split))
    if not 1 <= options.neighbours <= len(train):
        raise UserError(f"neighbours must lie in 1..{len(train)}, the number of training shapes, got {options.neighbours}")
    predictions = []
    body = Body.of(stage, options.pool)
    for block in range(repeats(options.repeats, body, train, test)):
        voters = KNeighborsClassifier(options.neighbours, metric="cosine", algorithm="brute", weights=_weight)
        with few_shapes():
            voters.fit(extract(body, train, block).numpy(), train.labels)
        predictions.append(voters.predict(extract(body, test, block).numpy()))
    return Scores(
        train=train.data,
        test=test.data,
        metrics=accuracies(test.labels, predictions, "blocks", len(test.classes)),
        classes=test.classes,
        confusion=confusion(test.labels, predictions, len(test.classes)),
        notes=(*notes, *body.notes(test, train)),
    )


def _weight(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of the votes of neighbours at these cosine distances. [n, neighbours]"""
    return np.exp(-distance / 0.07)
