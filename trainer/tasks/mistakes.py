"""The pairs of classes that a classifier confuses most often, and a picture of shapes that it took for another class.

    worst, drawing = mistakes(test, predictions)                        # for `trainer.tasks.result.Scores`

Letters: n shapes, K classes, P points.
"""

import dataclasses
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.mirror import MirroredCache
from cache_schema.products import VIEWS
from trainer.tasks.accuracy import confusion
from trainer.tasks.result import Confused
from trainer.tasks.shapes import Shapes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORST: Final = 5
"""Number of confused pairs that a result lists."""
WRONG: Final = 3
"""Number of wrongly classified shapes that are shown of each pair."""
POINTS: Final = np.array([[0.25, 0.4, 0.6]])
"""Colour of a shape that is drawn from its points."""


def pairs(confused: Sequence[Sequence[int]], classes: Sequence[str]) -> tuple[Confused, ...]:
    """The most confused pairs of classes, out of confusion counts [K, K]: the highest counts, and of equal ones the highest shares."""
    counts = np.array(confused, np.int64).reshape(len(confused), len(confused))
    return tuple(_confused(counts, classes, pair) for pair in _highest(counts))


def mistakes(test: Shapes, predictions: Sequence[NDArray[np.int64]]) -> "tuple[tuple[Confused, ...], Mistakes | None]":
    """The most confused pairs, with ids of shapes as examples, and a picture of these shapes; no picture if all is right.

    Args:
        test: the n test shapes.
        predictions: predicted class of each shape, [n], once for each repetition.
    """
    several = np.stack(predictions)  # [repetitions, n]
    counts = np.array(confusion(test.labels, predictions, len(test.classes)))  # [K, K]
    worst, rows, ids = [], [], test.cache.ids()
    for i, j in _highest(counts):
        often = np.where(test.labels == i, (several == j).sum(0), 0)  # [n]
        known = np.where(test.labels == j, (several == j).sum(0), 0)  # [n]
        wrong = test.rows[_most(often)[:WRONG]]
        right = test.rows[_most(known)[:1]]
        pair = _confused(counts, test.classes, (i, j))
        worst.append(dataclasses.replace(pair, wrong=tuple(ids[wrong]), right=tuple(ids[right])))
        rows.append((tuple(wrong.tolist()), tuple(right.tolist())))
    return tuple(worst), Mistakes(test=test, worst=tuple(worst), rows=tuple(rows)) if worst else None


def _highest(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Indices of the most confused classes, true and predicted. Names may repeat, indices do not."""
    totals = counts.sum(1)
    found = [(int(i), int(j)) for i, j in np.argwhere(counts) if i != j]
    return sorted(found, key=lambda pair: (-counts[pair], -counts[pair] / totals[pair[0]], pair))[:WORST]


def _confused(counts: NDArray[np.int64], classes: Sequence[str], pair: tuple[int, int]) -> Confused:
    return Confused(true=classes[pair[0]], predicted=classes[pair[1]], count=int(counts[pair]), total=int(counts[pair[0]].sum()))


def _most(often: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the positive numbers among `often` [n], the highest first."""
    return np.argsort(-often, kind="stable")[: int((often > 0).sum())]


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Wrongly classified shapes of the most confused pairs. A `trainer.tasks.result.Drawing`.

    A line for each pair: shapes of the one class that were taken for the other, and at the right a shape of that other class.
    """

    test: Shapes
    worst: tuple[Confused, ...]
    rows: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """For each pair the rows in the cache of the wrongly classified shapes, and of at most one right one."""

    @property
    def ending(self) -> str:
        """See `trainer.tasks.result.Drawing`."""
        return "worst"

    def png(self, title: str) -> bytes:
        """See `trainer.tasks.result.Drawing`."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # only here: a command that draws nothing starts faster
        from matplotlib.figure import Figure

        from trainer.tasks.picture import as_png, plain

        columns = max(len(wrong) for wrong, _ in self.rows) + 1
        figure = Figure(figsize=(max(2.5 * columns, 6.5), 2.75 * len(self.worst) + 0.9), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(plain(title), fontsize=9)
        for part, pair, (wrong, right) in zip(
            figure.subfigures(len(self.worst), 1, squeeze=False)[:, 0], self.worst, self.rows, strict=True
        ):
            part.suptitle(plain(str(pair)), fontsize=8.5, fontweight="bold")
            panels = part.subplots(1, columns)
            for axes in panels:
                axes.set_axis_off()
            for axes, row, name in zip(panels, wrong, pair.wrong, strict=False):
                self._shape(axes, row, f"{name}\ntaken for {pair.predicted}")
            for row, name in zip(right, pair.right, strict=True):
                self._shape(panels[-1], row, f"{name}\nrecognised as {pair.predicted}")
                panels[-1].set_axis_on()
                panels[-1].set(xticks=[], yticks=[])
            if not right:
                panels[-1].text(0.5, 0.5, plain(f"no {pair.predicted}\nwas recognised"), ha="center", va="center", fontsize=8)
        return as_png(figure)

    def _shape(self, axes: "Axes", row: int, title: str) -> None:
        """Show a shape: its first view, or its points if the cache has no views here."""
        from trainer.tasks.picture import plain, scatter

        cache = self.test.cache
        if VIEWS.name in cache.products() and not isinstance(cache, MirroredCache):
            axes.imshow(np.asarray(cache.array("views/rgb")[row, 0]))
        else:
            points = self.test.blocks(None, 3, 1).read(np.array([row]), 0)[0].numpy()  # [P, 3]
            scatter(axes, points, np.repeat(POINTS, len(points), 0))
        axes.set_title("\n".join(textwrap.shorten(plain(line), 34, placeholder="...") for line in title.split("\n")), fontsize=7)
