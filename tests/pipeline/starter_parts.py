"""Measure the parts of starter shapes. `python -m tests.pipeline.starter_parts` writes the table of `docs/starter-parts.md` again.

`test_kinds.py` compares that table with the code.
"""

import functools
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.kinds.thing import Thing

PAGE: Final = Path(__file__).parents[2] / "docs" / "starter-parts.md"

SHAPES: Final = 40
"""Number of shapes of each kind that are measured."""

OFTEN: Final = 0.5
"""Least share of the shapes of a kind that have a part of most shapes."""

LARGE: Final = 0.01
"""Least share of the surface, in the median of the shapes that have the part, that is written as a number."""


class Extent(NamedTuple):
    """One part of one shape."""

    area: float
    low: NDArray[np.float64]
    """Least x, y and z [3]."""
    high: NDArray[np.float64]
    """Largest x, y and z [3]."""

    @property
    def middle(self) -> NDArray[np.float64]:
        return (self.low + self.high) / 2


def extents(thing: Thing) -> dict[str, Extent]:
    """Return the area and the bounds of each part of a thing by its name."""
    corners: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for solid in thing.solids:
        names = np.broadcast_to(solid.part, len(solid.faces))
        for name in np.unique(names):
            corners[str(name)].append(solid.vertices[solid.faces[names == name]])
    found = {}
    for name, some in corners.items():
        of = np.concatenate(some)  # [F, 3, 3]
        area = np.linalg.norm(np.cross(of[:, 1] - of[:, 0], of[:, 2] - of[:, 0]), axis=1).sum() / 2
        found[name] = Extent(area=float(area), low=of.min(axis=(0, 1)), high=of.max(axis=(0, 1)))
    return found


@functools.cache
def shapes(kind: str, count: int = SHAPES) -> list[dict[str, Extent]]:
    """Return the parts of each of the first shapes of a kind, of those that are measured."""
    return [extents(KINDS[kind](np.random.default_rng((11, i)))) for i in range(count)]


def shares(kind: str) -> dict[str, tuple[float, float]]:
    """Return for each part of a kind the share of shapes that have it, and its median share of their surface."""
    of: dict[str, list[float]] = defaultdict(list)
    for shape in shapes(kind):
        whole = sum(part.area for part in shape.values())
        for name, part in shape.items():
            of[name].append(part.area / whole)
    return {name: (len(some) / SHAPES, float(np.median(some))) for name, some in of.items()}


def row(kind: str) -> str:
    """Return the line of the table about a kind."""
    ordered = sorted(shares(kind).items(), key=lambda one: (-one[1][0], -one[1][1], one[0]))
    often = [f"{name} {100 * share:.0f}" if share >= LARGE else f"{name} <1" for name, (many, share) in ordered if many >= OFTEN]
    rare = [name for name, (many, _) in ordered if many < OFTEN]
    return f"| {kind} | {', '.join(often)} | {', '.join(rare)} |\n"


if __name__ == "__main__":
    text = PAGE.read_text()
    start = text.index("| kind |")
    head = "".join(text[start:].splitlines(keepends=True)[:2])
    PAGE.write_text(text[:start] + head + "".join(row(kind) for kind in KINDS))
