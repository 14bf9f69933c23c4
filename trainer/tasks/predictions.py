"""What was predicted for each test shape. A result keeps it, so that two runs can be compared shape by shape (`trainer.tasks.compare`).

    kept = predictions("accuracy", test, [first_block, second_block])    # for `trainer.tasks.result.Scores`
    kept.right                                                          # [R, n]: 1 right, 0 wrong, NaN not tested

Letters: n test shapes, R repetitions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cache_schema.spec import fingerprint

UNTESTED: Final = -1
"""Stands for the predicted class of a shape that a repetition did not test."""


class Tested(Protocol):
    """Test shapes: `trainer.tasks.shapes.Shapes` is one."""

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def classes(self) -> Sequence[str]: ...


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The predicted class of each test shape. It holds no names of shapes, so that a result can be given away."""

    metric: str
    """Name of the metric whose values say how many of these predictions are right: a value for each repetition."""
    shapes: str
    """Digest of the ids and the classes of the test shapes, in their order."""
    truth: str
    """Class of each test shape: n numbers with blanks between them, as text, because a list of them takes a line for each."""
    predicted: tuple[str, ...]
    """For each repetition the predicted class of each test shape, written like `truth`; -1 for a shape that the repetition did not test."""

    def __post_init__(self) -> None:
        counts = {len(text.split()) for text in (self.truth, *self.predicted)}
        if len(counts) != 1 or not self.predicted:
            raise ValueError(f"predictions for {self.metric}: expected one class for each test shape in each repetition, got {counts}")

    @property
    def right(self) -> NDArray[np.float64]:
        """Whether each shape was classified rightly, [R, n]: 1 or 0; NaN if the repetition did not test it."""
        truth, found = _numbers(self.truth), np.stack([_numbers(text) for text in self.predicted])
        return np.where(found == UNTESTED, np.nan, found == truth)

    @property
    def values(self) -> tuple[float, ...]:
        """The share of right predictions in each repetition, in percent."""
        return tuple(float(100 * np.nanmean(own)) for own in self.right)


def predictions(metric: str, test: Tested, predicted: Sequence[NDArray[np.int64]]) -> Predictions:
    """Keep what was predicted.

    Args:
        metric: name of the metric that these predictions give.
        test: the n test shapes, with labels.
        predicted: predicted class of each shape, [n], once for each repetition; `UNTESTED` for a shape that was not tested.
    """
    names = [(name, test.classes[label]) for name, label in zip(test.ids, test.labels, strict=True)]
    return Predictions(metric=metric, shapes=fingerprint(names), truth=_text(test.labels), predicted=tuple(map(_text, predicted)))


def _text(numbers: NDArray[np.int64]) -> str:
    return " ".join(map(str, numbers.tolist()))


def _numbers(text: str) -> NDArray[np.int64]:
    return np.array(text.split(), np.int64)
