"""Pictures of a result: its confusion matrix, and predicted labels of points beside the true ones.

picture.confusion(result, run / "eval" / "svm.png")
png = Labels(examples=examples, names=("seat", "leg")).png("a title")

Letters: P points.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cache_schema.files import write_file
from cache_schema.terminal import printable
from trainer.tasks.result import Result

MOST, NUMBERED = 40, 20
"""Largest number of classes in a confusion matrix, and largest number for which cells show numbers."""


def confusion(result: Result, path: Path) -> None:
    """Draw a confusion matrix as PNG: true classes in rows, predicted classes in columns, each row in percent of all predictions for its
    class. Of more than `MOST` classes it has the most confused ones, and says so.
    """
    scores = result.scores
    counts = np.array(scores.confusion, float)  # [K, K]
    chosen = most_confused(counts)
    percent = (100 * counts / np.maximum(counts.sum(1, keepdims=True), 1))[np.ix_(chosen, chosen)]
    size = 3 + 0.35 * len(chosen)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    FigureCanvasAgg(figure)  # a separate canvas: it needs no window system and no global state
    axes = figure.add_subplot()
    shown = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(shown, label="percent of the class", shrink=0.8)
    first = scores.metrics[0]
    part = f"The {len(chosen)} most confused of {len(counts)} classes" if len(chosen) < len(counts) else ""
    counts_of = f"Predictions are counted {result.together}" if result.together else ""
    title = "\n".join(filter(None, (f"{result.run}: {result.title}", f"{first.label} {result.said(first)}", first.base, counts_of, part)))
    axes.set(title=plain(title), xlabel="predicted class", ylabel="class")
    names = [plain(scores.classes[i]) for i in chosen]
    axes.set_xticks(range(len(chosen)), names, rotation=90)
    axes.set_yticks(range(len(chosen)), names)
    if len(chosen) <= NUMBERED:
        for (row, column), value in np.ndenumerate(percent):
            if value >= 0.5:
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if value > 50 else "black", fontsize=7)
    write_file(path, as_png(figure))


def most_confused(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the classes to show, in ascending order: all, or of more than `MOST` those that the most frequent confusions are between.

    `counts` [K, K] has true classes in rows.
    """
    if len(counts) <= MOST:
        return np.arange(len(counts))
    between = counts - np.diag(np.diag(counts))
    order = np.argsort(-between, axis=None, kind="stable")
    found = dict.fromkeys(int(i) for pair in zip(*np.unravel_index(order, counts.shape), strict=True) for i in pair)
    return np.sort(np.array(list(found)[:MOST]))


def as_png(figure: Figure) -> bytes:
    """A figure with a canvas, as PNG. It cannot be changed afterwards."""
    figure.set_dpi(120)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)  # once: `Figure.savefig` would arrange and draw everything twice, with the same pixels
        figure.set_layout_engine("none")
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
    return file.getvalue()


@dataclass(frozen=True, kw_only=True)
class Example:
    """A shape whose points have true and predicted labels."""

    title: str
    points: NDArray[np.float32]
    """[P, 3]; +Y is up."""
    truth: NDArray[np.int64]
    """Label of each point, -1 for none. [P]"""
    predicted: NDArray[np.int64]
    """Predicted label of each point. [P]"""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """True and predicted labels of some shapes, and where both differ. A `trainer.tasks.result.Drawing`."""

    examples: tuple[Example, ...]
    names: tuple[str, ...]
    """Name of each label."""
    elevation: float = 20.0
    """Angle from which shapes are seen, in degrees above the horizon; see also `AZIMUTH`."""

    @property
    def ending(self) -> str:
        """See `trainer.tasks.result.Drawing`."""
        return "shapes"

    def png(self, title: str) -> bytes:
        """See `trainer.tasks.result.Drawing`. A row for each shape: the truth, the prediction, and the points where they differ in red."""
        figure = Figure(figsize=(10.5, 3.1 * len(self.examples) + 1), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(plain(title), fontsize=9)
        grid = figure.subplots(len(self.examples), 3, squeeze=False)
        for axes, example in zip(grid, self.examples, strict=True):
            differ = np.where(example.truth < 0, -1, example.truth != example.predicted)
            for panel, (what, colors) in zip(
                axes,
                (
                    (f"{example.title}\ntruth", self._colors(example.truth)),
                    ("prediction", self._colors(np.where(example.truth < 0, -1, example.predicted))),
                    (
                        f"wrong: {100 * np.mean(differ[differ >= 0]) if (differ >= 0).any() else 0:.1f} % of these points",
                        RIGHT_WRONG[differ],
                    ),
                ),
                strict=True,
            ):
                scatter(panel, example.points, colors, self.elevation)
                panel.set_title(plain(what), fontsize=8)
        marks = [Line2D([], [], linestyle="", marker="o", color=self._colors(np.array([label]))[0]) for label in self.kinds]
        figure.legend(marks, [plain(self.names[label]) for label in self.kinds], loc="outside lower center", ncols=6, fontsize=7)
        return as_png(figure)

    @property
    def kinds(self) -> list[int]:
        """The labels that the examples have or were given, in ascending order."""
        seen = np.unique(np.concatenate([np.concatenate([example.truth, example.predicted]) for example in self.examples]))
        return [label for label in seen.tolist() if label >= 0]

    def _colors(self, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Colour of each label, [P, 3]; grey for -1. Only the labels in `kinds` share the colours out, so that they differ well."""
        colors = np.full((len(self.names) + 1, 3), GREY)  # the last entry is that of -1
        colors[self.kinds] = wheel(len(self.kinds))
        return colors[labels]


def wheel(count: int) -> NDArray[np.float64]:
    """Colours of `count` labels, [count, 3], so that neighbours in the list look different."""
    return np.array(matplotlib.colormaps["tab20" if count <= 20 else "gist_rainbow"](_spread(count))[:, :3])


def told_apart(order: NDArray[np.int64]) -> list[tuple[str, int]]:
    """Which shapes to show, out of an order from the lowest to the highest score: the worst, the median and the best; fewer if there are
    fewer."""
    named = {int(order[0]): "worst", int(order[len(order) // 2]): "median", int(order[-1]): "best"}
    return [(what, i) for i, what in named.items()]


GREY: Final = (0.8, 0.8, 0.8)
"""Colour of points without a label."""
RIGHT_WRONG: Final = np.array([(0.75, 0.8, 0.85), (0.85, 0.1, 0.1), GREY])
"""Colour of points whose prediction is right, wrong, and of those without a label."""
AZIMUTH: Final = 35.0
"""Angle from which shapes are seen, in degrees about +Y from the +Z axis."""
NEAR: Final = 0.55
"""Brightness of the farthest point; the nearest has 1."""


def _spread(count: int) -> NDArray[np.float64]:
    """Places on a colour map for `count` labels, so that neighbours in the list look different."""
    if count <= 20:  # even entries of tab20 are the strong colours: these first
        return (np.array([*range(0, 20, 2), *range(1, 20, 2)])[:count] + 0.5) / 20
    return np.arange(count) * (math.sqrt(5) - 1) / 2 % 1


def scatter(axes: Axes, points: NDArray[np.float32], colors: NDArray[np.float64], elevation: float = 20.0) -> None:
    """Draw points [P, 3] in colours [P, 3] from a fixed direction, without perspective, the nearest last and brightest."""
    turn, rise = math.radians(AZIMUTH), math.radians(elevation)
    x, y, z = (points - points.mean(0)).T.astype(float)
    right = math.cos(turn) * x - math.sin(turn) * z
    ahead = math.sin(turn) * x + math.cos(turn) * z  # towards the viewer
    up, near = math.cos(rise) * y - math.sin(rise) * ahead, math.sin(rise) * y + math.cos(rise) * ahead
    order = np.argsort(near)
    light = np.interp(near, [near.min(), max(near.max(), near.min() + 1e-9)], [NEAR, 1])
    size = float(np.clip(20000 / len(points), 2, 12))
    axes.scatter(right[order], up[order], s=size, c=(colors * light[:, None])[order], linewidths=0)
    axes.set_aspect("equal")
    axes.set_axis_off()


def plain(text: str) -> str:
    """Escape a text for matplotlib: unprintable characters become escape codes, and dollar signs do not start a formula."""
    return printable(text).replace("$", r"\$")
