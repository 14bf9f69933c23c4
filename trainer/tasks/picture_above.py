"""Pictures of scenes from above, with true and found boxes.

    png = Above(views=(view,), names=("chair", "table")).png("a title")

Letters: P points, M true and Q found boxes, K classes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon
from numpy.typing import NDArray

from trainer.tasks.boxes import Detections, corners
from trainer.tasks.picture import as_png, plain, wheel

SURE: Final = 0.3
"""Lowest score of the boxes that are drawn."""
THINNED: Final = 8000
"""Largest number of points that are drawn."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A scene, its true boxes and those found in it."""

    title: str
    points: NDArray[np.float32]
    """[P, 3]; +Y is up."""
    true: NDArray[np.float64]
    """[M, 7], as in `trainer.tasks.boxes`."""
    kinds: NDArray[np.int64]
    """Class of each true box, [M]."""
    found: Detections


@dataclass(frozen=True, kw_only=True)
class Above:
    """Some scenes from above. A `trainer.tasks.result.Drawing`."""

    views: tuple[View, ...]
    names: tuple[str, ...]
    """Names of the classes, K."""

    @property
    def ending(self) -> str:
        """See `trainer.tasks.result.Drawing`."""
        return "shapes"

    def png(self, title: str) -> bytes:
        """See `trainer.tasks.result.Drawing`. A row for each scene: the true boxes; then the found ones with a score of at least `SURE`,
        over the outlines of the true ones."""
        figure = Figure(figsize=(9, 4.2 * len(self.views) + 1), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(plain(title), fontsize=9)
        colors = wheel(len(self.names))
        for (left, right), view in zip(figure.subplots(len(self.views), 2, squeeze=False), self.views, strict=True):
            best = view.found.scores.argmax(1)
            scores = view.found.scores.max(1, initial=0)
            sure = np.flatnonzero(scores >= SURE)
            for axes, what in (
                (left, f"{view.title}\n{len(view.true)} true boxes"),
                (right, f"{len(sure)} found boxes, score >= {SURE:g}"),
            ):
                _floor(axes, view.points)
                axes.set_title(plain(what), fontsize=8)
            for box, kind in zip(view.true, view.kinds, strict=True):
                _outline(left, box, colors[kind])
                _outline(right, box, np.full(3, 0.35), dashed=True)
            for row in sure:
                _outline(right, view.found.boxes[row], colors[best[row]], f"{scores[row]:.2f}")
        present = np.unique(np.concatenate([kind for v in self.views for kind in (v.kinds, v.found.scores.argmax(1))]))
        marks = [Patch(color=colors[kind], label=plain(self.names[kind])) for kind in present.tolist()]
        figure.legend(handles=marks, loc="outside lower center", ncols=6, fontsize=7)
        return as_png(figure)


def _floor(axes: Axes, points: NDArray[np.float32]) -> None:
    """Draw points [P, 3] seen from above, with +X to the right and +Z down: the higher, the darker."""
    some = points[:: -(-len(points) // THINNED)]
    some = some[np.argsort(some[:, 1])]
    size = float(np.clip(4000 / len(some), 0.8, 8))
    # The lowest points, the floor, must not be white.
    height = some[:, 1] - some[:, 1].min()
    axes.scatter(some[:, 0], some[:, 2], s=size, c=height, cmap="Greys", vmin=-0.5 * height.max() - 1e-9, linewidths=0)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.tick_params(labelsize=6)


def _outline(axes: Axes, box: NDArray[np.float64], color: NDArray[np.float64], text: str = "", *, dashed: bool = False) -> None:
    """Draw the footprint of a box [7]; a text stands in its middle."""
    footprint = corners(box)[:4, ::2]
    face = (*color, 0.0 if dashed else 0.2)
    axes.add_patch(Polygon(footprint, closed=True, edgecolor=color, facecolor=face, linewidth=1.4, linestyle="--" if dashed else "-"))
    if text:
        axes.text(box[0], box[2], text, ha="center", va="center", fontsize=6, color="black")
