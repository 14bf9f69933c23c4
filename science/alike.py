"""How much of one teacher's embeddings those of another teacher predict linearly.

    python science/alike.py caches/modelnet10.zarr

For each pair of teachers of a cache: how much of the second one's embeddings a linear map from the first one's predicts, on shapes that the
map was not fitted to. 100 % is all that tells shapes apart, 0 % is no more than their mean. A high share is a hint, not a proof, that the
second one adds little. The features of a shape are the mean of a teacher's embeddings of its pictures. Shapes without such embeddings are
left out, and their number is printed.
"""

import argparse
from itertools import permutations
from pathlib import Path
from typing import Final

import numpy as np
from ceiling import embedded
from numpy.typing import NDArray
from running import plainly
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from cache_schema.errors import UserError
from cache_schema.store import Cache, open_cache
from cache_schema.terminal import counted
from trainer.part import teachers_of

FOLDS: Final = 5
PENALTIES: Final = tuple(10.0**power for power in range(-2, 6))
"""Penalties of the linear map on standardised features; leave-one-out on the shapes of the fit chooses one."""


def explained(known: NDArray[np.float32], asked: NDArray[np.float32], seed: int = 0) -> float:
    """Percentage of the variance of `asked` over the shapes that a linear map from `known` predicts in cross-validation. Below 0 if it
    predicts worse than the mean.

    Args:
        known: features of one teacher, [n, E].
        asked: those of another one, of the same shapes, [n, F].
        seed: deals the shapes to the folds.

    Raises:
        UserError: all shapes have the same features in `asked`.
    """
    left = spread = 0.0
    for fit, new in KFold(FOLDS, shuffle=True, random_state=seed).split(known):
        scale = StandardScaler().fit(known[fit])
        found = RidgeCV(PENALTIES).fit(scale.transform(known[fit]), asked[fit]).predict(scale.transform(known[new]))
        left += float(np.square(asked[new] - found).sum())
        spread += float(np.square(asked[new] - asked[fit].mean(0)).sum())
    if not spread:
        raise UserError("all shapes have the same embedding, so there is nothing to predict")
    return 100 * (1 - left / spread)


def table(cache: Cache, seed: int = 0) -> tuple[dict[tuple[str, str], float], int]:
    """For each ordered pair of teachers of a cache, the percentage of the second one that the first one explains. And the number of shapes
    that were looked at: those of which all teachers have embeddings.

    Raises:
        UserError: it has fewer than two teachers, or fewer such shapes than folds, or they are all the same to a teacher.
    """
    names = sorted(teachers_of(cache))
    if len(names) < 2:
        raise UserError(f"{cache.path} has {counted(len(names), 'teacher')}: two are needed. `mmpd-cache add-teacher` adds one")
    rows = np.arange(len(cache.ids()))
    found = {name: embedded(cache, name, rows).mean(1).numpy() for name in names}
    there = np.all([np.isfinite(own).all(1) & own.any(1) for own in found.values()], axis=0)
    if (count := int(there.sum())) < FOLDS:
        raise UserError(f"{cache.path} has {counted(count, 'shape')} that all teachers have seen, and {FOLDS} are needed")
    return {(one, other): explained(found[one][there], found[other][there], seed) for one, other in permutations(names, 2)}, count


@plainly()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    cache = open_cache(parser.parse_args().cache)
    found, count = table(cache)
    print(f"{counted(count, 'shape')}; {len(cache.ids()) - count} left out")
    names = sorted({name for pair in found for name in pair})
    wide = max(map(len, names))
    print(" " * wide, *(f"explains {name}" for name in names), sep="  ")
    for one in names:
        cells = (f"{found[one, other]:.0f} %" if other != one else "" for other in names)
        print(one.ljust(wide), *(cell.rjust(len(f"explains {name}")) for cell, name in zip(cells, names, strict=True)), sep="  ")


if __name__ == "__main__":
    main()
