"""Classification by the nearest training shapes, on frozen features. Nothing is fitted.

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
from trainer.tasks.mistakes import mistakes
from trainer.tasks.protocol import told
from trainer.tasks.result import Scores
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
    repeats: int | None = None
    """Number of repetitions, each on the next stored block of every shape; None for three, or all if there are fewer."""

    def __post_init__(self) -> None:
        check_numbers(self, {"neighbours": 1, "repeats": 1})


SMOKE: Final = Options(neighbours=3, repeats=1)


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Accuracy on the test shapes, by their nearest neighbours among the training shapes."""
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
    worst, drawing = mistakes(test, predictions)
    return Scores(
        train=train.data,
        test=test.data,
        metrics=accuracies(test.labels, predictions, "blocks", len(test.classes)),
        classes=test.classes,
        confusion=confusion(test.labels, predictions, len(test.classes)),
        worst=worst,
        drawing=drawing,
        notes=(*notes, *body.notes(test, train)),
    )


def _weight(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the neighbours' votes, from cosine distances [n, neighbours] to the same shape."""
    return np.exp(-distance / 0.07)
