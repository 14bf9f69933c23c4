"""How much a seed changes a result, estimated from several sides of a comparison together.

    found = shared({"stage 1": [0.61, 0.63], "stage 2": [0.64, 0.65, 0.62], ...})
    paired(one, other, seeds=found.of("stage 1", "stage 2"))

Two or three seeds of a side tell little of how much seeds matter: Student's t with one degree of freedom has intervals six times as wide
as with many. Sides that are encoders of one kind, trained alike, may have the same variance over seeds; then it is told by all of them, as
in an analysis of variance. A side that varies significantly more, such as a training that gets stuck with some seeds, stands for itself.

That sides vary alike is an assumption, and two seeds cannot test it. Of twelve sides with two seeds, one that varies twice as much as the
others (standard deviation) has 95 % intervals that hold in 85 % of all cases; one that varies three times as much, in 76 %
(`science/seeds.py`). Sides that vary less than the others have intervals that are too wide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

LEAST: Final = 10
"""With fewer degrees of freedom in all, each side stands for itself."""
LEVEL: Final = 0.05
"""p of an F test at which a side stands for itself."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How much the share of right predictions varies over seeds, as other trainings tell."""

    variance: float
    """Variance over seeds of the share of right predictions, which is 0 to 1."""
    freedom: int
    """Degrees of freedom of the estimated variance."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The variance over seeds that sides have in common, on one test."""

    spread: Spread
    alone: tuple[str, ...]
    """Sides that vary significantly more."""

    def of(self, one: str, other: str) -> Spread | None:
        """The variance for a comparison of two sides; none if one of them stands for itself."""
        return None if {one, other} & set(self.alone) else self.spread


def shared(values: Mapping[str, Sequence[float]]) -> Shared | None:
    """The variance over seeds that sides have in common: the mean of theirs, weighted by degrees of freedom.

    Sides are taken out one by one, the most varying first, as long as an F test against the others finds it to vary more, at `LEVEL` after
    Bonferroni's correction for all sides that are left.

    Args:
        values: by side its share of right predictions, one for each seed. Sides of a single seed tell nothing.

    Returns:
        None, if fewer than `LEAST` degrees of freedom are left.
    """
    sides = {side: (float(np.var(own, ddof=1)), len(own) - 1) for side, own in values.items() if len(own) > 1}
    alone: list[str] = []
    while True:
        freedom = sum(count for _, count in sides.values())
        if freedom < LEAST:
            return None
        whole = sum(variance * count for variance, count in sides.values())
        tested = {
            side: _tail(variance, count, (whole - variance * count) / (freedom - count), freedom - count)
            for side, (variance, count) in sides.items()
            if freedom > count
        }
        most = min(tested, key=lambda side: tested[side], default="")
        if not most or min(1.0, tested[most] * len(tested)) > LEVEL:
            return Shared(spread=Spread(variance=whole / freedom, freedom=freedom), alone=tuple(alone))
        alone.append(most)
        del sides[most]


def _tail(variance: float, count: int, others: float, freedom: int) -> float:
    """p of an F test that a side does not vary more than the others: a variance and its degrees of freedom, and theirs."""
    if others <= 0:
        return float(variance == 0)
    return float(stats.f.sf(variance / others, count, freedom))
