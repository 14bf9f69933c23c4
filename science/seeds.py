"""How often the 95 % intervals of `trainer.tasks.spread` hold if not all rows of a study vary alike over seeds: a simulation.

    python science/seeds.py                 # a minute
    python science/seeds.py --trials 20000

Each line: a number of rows with two or three seeds each, one of which varies more than the others (standard deviation, times). How often
the interval of its difference from another row holds, and that of two others, with seeds shared and with each row for itself; and the
median of half of the interval, in standard deviations of the others. Only seeds vary here: test shapes, which make intervals wider, do not.
"""

import argparse
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trainer.tasks.spread import shared

CASES: Final = ((12, 2, 1.0), (12, 2, 2.0), (12, 2, 3.0), (40, 2, 3.0), (40, 3, 3.0), (40, 3, 5.0))
"""Rows, seeds of each, and how many times as much the first row varies."""


def held(rows: int, seeds: int, times: float, trials: int, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The share of trials in which an interval holds and the median of its half, by the pair of rows and by how seeds are read."""
    scale = np.array([times] + [1.0] * (rows - 1))
    found: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(trials):
        values = rng.normal(size=(rows, seeds)) * scale[:, None]
        together = shared({str(row): list(own) for row, own in enumerate(values)})
        for pair, (one, other) in {"it and another": (0, 1), "two others": (1, 2)}.items():
            alone = _alone(values[one], values[other])
            spread = together.of(str(one), str(other)) if together else None
            half = float(stats.t.ppf(0.975, spread.freedom) * np.sqrt(2 * spread.variance / seeds)) if spread else alone
            apart = abs(float(values[one].mean() - values[other].mean()))
            found.setdefault(f"{pair}, shared", []).append((apart <= half, half))
            found.setdefault(f"{pair}, each for itself", []).append((apart <= alone, alone))
    return {name: (float(np.mean([ok for ok, _ in own])), float(np.median([half for _, half in own]))) for name, own in found.items()}


def _alone(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Half of Welch's interval of the difference of two means."""
    parts = [float(side.var(ddof=1)) / len(side) for side in (one, other)]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (one, other), strict=True))
    return float(stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    trials: int = parser.parse_args().trials
    rng = np.random.default_rng(0)
    for rows, seeds, times in CASES:
        print(f"{rows} rows of {seeds} seeds, one varies {times:g} times as much")
        for name, (share, half) in held(rows, seeds, times, trials, rng).items():
            print(f"    {name:36} {share:4.0%}  ± {half:.1f}")


if __name__ == "__main__":
    main()
