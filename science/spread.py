"""How much a seed changes a result, estimated from all rows of a study together.

    found = shared({"stage 1": [0.61, 0.63], "stage 2": [0.64, 0.65, 0.62], ...})
    paired(one, other, seeds=found.of("stage 1", "stage 2"))

Two or three seeds of a row tell little about how much seeds matter: Student's t with one degree of freedom has intervals six times as wide
as with many. Rows of a study are small encoders trained alike, so their variance over seeds is taken for the same, as in an analysis of
variance. A row that varies significantly more, such as a training that gets stuck with some seeds, stands for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from trainer.tasks.compare import LEVEL, Spread

LEAST: Final = 10
"""With fewer degrees of freedom in all, each row stands for itself."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The variance over seeds that rows have in common, on one test."""

    spread: Spread
    alone: tuple[str, ...]
    """Rows that vary significantly more."""

    def of(self, one: str, other: str) -> Spread | None:
        """The variance for a comparison of two rows; none if one of them stands for itself."""
        return None if {one, other} & set(self.alone) else self.spread


def shared(values: Mapping[str, Sequence[float]]) -> Shared | None:
    """The variance over seeds that rows have in common: the mean of theirs, weighted by degrees of freedom.

    Rows are taken out one by one, the most varying first, as long as an F test against the others finds it to vary more, at the level 0.05
    after Bonferroni's correction for all rows that are left.

    Args:
        values: by row its share of right predictions, one for each seed. Rows of a single seed tell nothing.

    Returns:
        None, if fewer than `LEAST` degrees of freedom are left.
    """
    rows = {row: (float(np.var(own, ddof=1)), len(own) - 1) for row, own in values.items() if len(own) > 1}
    alone: list[str] = []
    while True:
        freedom = sum(count for _, count in rows.values())
        if freedom < LEAST:
            return None
        whole = sum(variance * count for variance, count in rows.values())
        tested = {
            row: _tail(variance, count, (whole - variance * count) / (freedom - count), freedom - count)
            for row, (variance, count) in rows.items()
            if freedom > count
        }
        most = min(tested, key=lambda row: tested[row], default="")
        if not most or min(1.0, tested[most] * len(tested)) > LEVEL:
            return Shared(spread=Spread(variance=whole / freedom, freedom=freedom), alone=tuple(alone))
        alone.append(most)
        del rows[most]


def _tail(variance: float, count: int, others: float, freedom: int) -> float:
    """p of an F test that a row does not vary more than the others: a variance and its degrees of freedom, and theirs."""
    if others <= 0:
        return float(variance == 0)
    return float(stats.f.sf(variance / others, count, freedom))
