"""The confusion matrix of a result as a picture.

picture.confusion(result, run / "eval" / "svm.png")
"""

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cache_schema.files import write_file
from cache_schema.terminal import printable
from trainer.tasks.result import Result

NAMED, NUMBERED = 60, 20
"""Largest number of classes for which names are drawn, and largest number for which cells show numbers."""


def confusion(result: Result, path: Path) -> None:
    """Draw a confusion matrix as PNG: true classes in rows, predicted classes in columns, each row in percent."""
    scores = result.scores
    counts = np.array(scores.confusion, float)  # [K, K]
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(3 + 0.35 * min(len(counts), NAMED), 16)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    FigureCanvasAgg(figure)  # a separate canvas: it needs no window system and no global state
    axes = figure.add_subplot()
    shown = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(shown, label="percent of the class")
    first = scores.metrics[0]
    told = f"{first.name} {first.told}" + (f"\n{first.base}" if first.base else "")
    axes.set(title=_plain(f"{result.run}: {result.title}\n{told}"), xlabel="predicted class", ylabel="class")
    if len(counts) <= NAMED:
        names = [_plain(name) for name in scores.classes]
        axes.set_xticks(range(len(counts)), names, rotation=90)
        axes.set_yticks(range(len(counts)), names)
    if len(counts) <= NUMBERED:
        for (row, column), value in np.ndenumerate(percent):
            if value >= 0.5:
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if value > 50 else "black", fontsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    write_file(path, file.getvalue())


def _plain(text: str) -> str:
    """Escape a text for matplotlib: unprintable characters become escape codes, and dollar signs do not start a formula."""
    return printable(text).replace("$", r"\$")
