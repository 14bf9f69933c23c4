"""Curves of one run or several: losses, results of probes, learning rate, gradient norm and speed, as a picture or as CSV.

draw([Path("runs/align")], Path("curves.png"))                          # related curves share a panel
draw([Path("runs/a"), Path("runs/b")], Path("curves.svg"), x="hours")   # one panel for each curve, a line for each run

Every line has its own style and marker, and its name beside its end, so that no colour needs to be told from another. With one run, thin
faint lines are the stored values and thick ones a running mean of them; a run of several has the running mean only.
"""

import csv
import functools
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.terminal import printable
from trainer.log import CHANCE, SCALE, records
from trainer.options import UNBALANCED

X = Literal["step", "epoch", "samples", "hours"]
"""What the horizontal axis shows."""
TITLES: Final[dict[X, str]] = {"step": "step", "epoch": "epoch", "samples": "training shapes seen", "hours": "hours of training"}
"""Title of the horizontal axis."""
FILE: Final = "curves.png"
"""Name of the picture in the folder of a run."""
ENDINGS: Final = (".png", ".svg", ".csv")
"""Endings of the files that can be written."""
COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9")
"""Colours that also differ in brightness (Okabe and Ito, https://jfly.uni-koeln.de/color/)."""
STYLES: Final = ("-", "--", "-.", ":")
"""Line styles; with `MARKERS` they tell lines apart without colours."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
"""Markers, a few on each line."""
MARKED: Final = 8
"""Number of markers on a line."""
GAP: Final = 0.062
"""Least distance between the names of two lines, as a share of the panel's height."""
SMOOTHED: Final = 25
"""By default a running mean is over one in this many records of a run."""


@dataclass(frozen=True)
class Kind:
    """Curves that share a panel when one run is drawn."""

    title: str
    unit: str
    """Title of the vertical axis."""
    of: Callable[[str], bool]
    """Whether a key of the records belongs here."""
    log: bool = False
    """Whether the vertical axis is logarithmic, if all values are positive."""
    scale: float = 1.0
    """Factor that brings stored values to the unit."""
    probes: bool = False
    """Whether these are results of probes."""


PARTS: Final = ("local", "global", "projected", "reconstruction")
"""Keys of the losses of stage 2."""
KINDS: Final = (
    Kind("Total loss", "weighted sum of losses", lambda name: name in ("loss", UNBALANCED)),
    Kind("Losses against teachers", "contrast in nats, regression without unit", lambda name: name.startswith(("image/", "text/"))),
    Kind("Losses against patch features", "1 - cosine", lambda name: name.startswith("local/")),
    Kind("Parts of the loss of stage 2", "distance, without unit", lambda name: name in PARTS),
    Kind("Learning rate", "rate", lambda name: name == "lr"),
    Kind("Gradient norm", "norm before clipping", lambda name: name == "grad_norm", log=True),
    Kind("Speed", "shapes per second", lambda name: name == "samples_per_s"),
    Kind("Waiting for data", "percent of the time", lambda name: name == "data_wait", scale=100),
)
"""The kinds of curves, in the order of their panels. Other keys are results of probes (`_probes`); their panels come second."""
HIDDEN: Final = ("step", "epoch", "seconds")
"""Keys that are no curves."""


@dataclass(frozen=True)
class Line:
    """One curve of one run."""

    run: str
    name: str
    """Key of the records."""
    x: NDArray[np.float64]
    """[n]"""
    y: NDArray[np.float64]
    """[n], in the unit of its kind."""
    chance: float | None
    """Score of guessing, for a result of a probe; None if it is unknown."""


def draw(runs: Sequence[Path], out: Path, x: X = "step", smooth: int | None = None) -> list[str]:
    """Draw the curves of runs into a file. Returns the runs that were left out, because they have no metrics.

    Args:
        runs: folders of runs.
        out: file that ends in .png, .svg or .csv.
        x: what the horizontal axis shows.
        smooth: number of records in a running mean; None for a number that fits the length of a run, 1 for none.

    Raises:
        UserError: no run has metrics, metrics are damaged, or the ending is unknown.
    """
    if out.suffix not in ENDINGS:
        raise UserError(f"{out} must end in {', '.join(ENDINGS)}: the ending chooses the form")
    if smooth is not None and smooth < 1:
        raise UserError(f"smooth must be at least 1 record, got {smooth}")
    names = _names(runs)
    found = {names[run]: there for run in runs if (there := _completed(records(run)))}
    without = [str(run) for run in runs if names[run] not in found]
    if not found:
        raise UserError(f"{', '.join(without)}: no metrics.jsonl there. A run writes it while it trains, see `mmpd-train align --help`")
    if out.suffix == ".csv":
        write_file(out, _csv(found, {names[run]: _batch(run) for run in runs}).encode())
        return without
    batches = {names[run]: _batch(run) for run in runs if names[run] in found} if x == "samples" else {}
    lines = [line for name, there in found.items() for line in _lines(name, there, x, batches.get(name, 1))]
    figure = _figure(lines, x, smooth, list(found))
    file = io.BytesIO()
    figure.savefig(file, format=out.suffix[1:], dpi=130)
    write_file(out, file.getvalue())
    return without


# -------------------------------------------------------------------------------------------------------- from records to lines


def _names(runs: Sequence[Path]) -> dict[Path, str]:
    """What runs are called: the name of the folder, or the path if two folders have one name."""
    short = [run.resolve().name for run in runs]
    return {run: name if short.count(name) == 1 else str(run) for run, name in zip(runs, short, strict=True)}


def _completed(there: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records with `epoch` and with `hours` of training since the run's start.

    Results of probes of earlier versions have no epoch. `seconds` begins anew where a run was continued.
    """
    rate = next((record["epoch"] / record["step"] for record in there if record.get("epoch") and record["step"]), math.nan)
    before = last = 0.0
    out = []
    for record in there:
        seconds = record.get("seconds", math.nan)
        if seconds < last:
            before += last
        last = seconds
        out.append({**record, "epoch": record.get("epoch", record["step"] * rate), "hours": (before + seconds) / 3600})
    return out


def _batch(run: Path) -> int:
    """Number of shapes in a step of a run.

    Raises:
        UserError: the run's configuration is gone or damaged.
    """
    from trainer.folder import begun

    config = begun(run).config
    if config is None:
        raise UserError(f"{run} has no config.json, so its batch size is unknown: draw over --x step, or leave the run out")
    return config.optim.batch


def _place(record: dict[str, Any], x: X, batch: int) -> float:
    return float(record["step"] * batch if x == "samples" else record[x])


def _lines(run: str, there: Sequence[dict[str, Any]], x: X, batch: int) -> list[Line]:
    """The curves of a run, in the order in which their keys first appear."""
    points: dict[str, list[tuple[float, float]]] = {}
    chances: dict[str, float] = {}
    for record in there:
        for name, value in record.items():
            if name.startswith(CHANCE):
                chances[name.removeprefix(CHANCE)] = value
            elif name not in (*HIDDEN, "hours"):
                points.setdefault(name, []).append((_place(record, x, batch), value * _kind(name).scale))
    both = {name: np.array(several, float) for name, several in points.items()}  # [n, 2] each
    return [Line(run, name, xy[:, 0], xy[:, 1], chances.get(name)) for name, xy in both.items()]


def _kind(name: str) -> Kind:
    scale = SCALE.search(name)
    return next((kind for kind in KINDS if kind.of(name)), _probes(scale["scale"] if scale else "percent"))


@functools.cache
def _probes(unit: str) -> Kind:
    """Kind of the keys that `KINDS` does not have: results of probes in one unit. The same object for the same unit."""
    return Kind("Probes of the validation or test split", unit, lambda name: True, probes=True)


def _csv(found: dict[str, list[dict[str, Any]]], batches: dict[str, int]) -> str:
    """All values as CSV: a row for each value of each record."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(("run", "step", "epoch", "samples", "hours", "name", "value"))
    for run, there in found.items():
        for record in there:
            place = (record["step"], record["epoch"], record["step"] * batches[run], record["hours"])
            rows.writerows((run, *place, name, value) for name, value in record.items() if name not in (*HIDDEN, "hours"))
    return file.getvalue()


def smoothed(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Running mean of values [n], centred: it does not lag behind. Towards both ends the window shrinks, and stays symmetric."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    i = np.arange(len(values))
    half = np.minimum(window // 2, np.minimum(i, len(values) - 1 - i))
    return np.asarray((sums[i + half + 1] - sums[i - half]) / (2 * half + 1))


# -------------------------------------------------------------------------------------------------------- from lines to a picture


def _figure(lines: Sequence[Line], x: X, smooth: int | None, runs: Sequence[str]) -> Figure:
    panels = _panels(lines, several=len(runs) > 1)
    columns = min(3, len(panels))
    ends = min(line.x.min() for line in lines), max(line.x.max() for line in lines)
    margin = 0.03 * (ends[1] - ends[0])
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(5.4 * columns, 3.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)  # a separate canvas: it needs no window system and no global state
    figure.suptitle(_plain(runs[0] if len(runs) == 1 else f"{len(runs)} runs"), fontsize=11)
    for place, (kind, own) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, place + 1)
        title = kind.title if len(runs) == 1 else ": ".join(dict.fromkeys((kind.title, _told(own[0].name, kind))))
        axes.set_title(_plain(title), fontsize=9.5)
        axes.set_xlabel(TITLES[x], fontsize=8.5)
        axes.set_ylabel(_plain(kind.unit), fontsize=8.5)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        if margin > 0:  # all panels show the same range, also that of probes
            axes.set_xlim(ends[0] - margin, ends[1] + margin)
        if kind.log and all((line.y > 0).all() for line in own):
            axes.set_yscale("log", base=2)  # the norm changes by small factors: powers of two give enough ticks
            axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        for line in own:
            look = runs.index(line.run) if len(runs) > 1 else own.index(line)
            _line(axes, line, look, smooth, faint=len(runs) == 1)
        _finish(axes, own, [line.run if len(runs) > 1 else _told(line.name, kind) for line in own], runs)
    return figure


def _panels(lines: Sequence[Line], *, several: bool) -> list[tuple[Kind, list[Line]]]:
    """Panels and their lines: for each kind; with several runs for each curve."""
    units = dict.fromkeys(kind for line in lines if (kind := _kind(line.name)).probes)
    order = (KINDS[0], *sorted(units, key=lambda kind: kind.unit != "percent"), *KINDS[1:])
    panels: dict[tuple[int, str], list[Line]] = {}
    for line in sorted(lines, key=lambda line: order.index(_kind(line.name))):
        panels.setdefault((order.index(_kind(line.name)), line.name if several else ""), []).append(line)
    return [(order[number], own) for (number, _), own in panels.items()]


def _told(name: str, kind: Kind) -> str:
    """Name of a curve in its panel. A panel with one curve by nature says it all in its title."""
    return SCALE.sub("", name) if kind.probes or "/" in name or name in PARTS else kind.title


def _line(axes: Axes, line: Line, look: int, smooth: int | None, *, faint: bool) -> None:
    """Draw a curve in the look of a number: colour, line style and marker."""
    color, style, marker = COLORS[look % len(COLORS)], STYLES[look % len(STYLES)], MARKERS[look % len(MARKERS)]
    window = max(1, len(line.y) // SMOOTHED) if smooth is None else smooth
    if window > 1 and faint:
        axes.plot(line.x, line.y, color=color, linewidth=0.7, alpha=0.3)
    every = max(1, len(line.x) // MARKED)
    # Each line has its first marker at another place, and a smaller marker than the one before: lines that lie close do not hide it.
    marks = (look * every // 4 % max(every, 1), every)
    values = smoothed(line.y, window) if window > 1 else line.y
    axes.plot(
        line.x, values, color=color, linestyle=style, marker=marker, markevery=marks, markersize=max(3.0, 5.0 - look / 2), linewidth=1.4
    )


def _finish(axes: Axes, own: Sequence[Line], names: Sequence[str], runs: Sequence[str]) -> None:
    """Write the name of each line beside its end, and draw what guessing scores."""
    levels: dict[float, list[str]] = {}
    for line, name in zip(own, names, strict=True):
        if line.chance is not None:
            levels.setdefault(round(line.chance, 4), []).append(name)
    for level, those in levels.items():
        axes.axhline(level, color="#555555", linestyle=(0, (1, 2)), linewidth=1)
        told = f"chance {level:.3g}" if len(levels) == 1 else f"chance {level:.3g}: {', '.join(those)}"
        axes.annotate(_plain(told), (0.01, level), xycoords=("axes fraction", "data"), va="bottom", fontsize=7, color="#555555")
    if levels:
        axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], 1))
    if names[0] == axes.get_title():  # the one line of a panel
        return
    axes.get_ylim()  # matplotlib computes the limits of the axes when it is asked for them
    shares = [float(axes.transAxes.inverted().transform(axes.transData.transform((line.x[-1], line.y[-1])))[1]) for line in own]
    for place, share, line, name in zip(apart(shares), shares, own, names, strict=True):
        look = runs.index(line.run) if len(runs) > 1 else own.index(line)
        color = COLORS[look % len(COLORS)]
        axes.plot([1.0, 1.03], [share, place], color=color, linewidth=0.6, transform=axes.transAxes, clip_on=False)
        axes.plot([1.05], [place], marker=MARKERS[look % len(MARKERS)], color=color, markersize=4, transform=axes.transAxes, clip_on=False)
        axes.text(1.075, place, _plain(name), color=color, fontsize=7.5, va="center", transform=axes.transAxes)


def apart(places: Sequence[float], gap: float = GAP) -> list[float]:
    """Move heights apart until neighbours have a distance of at least `gap`. Their order stays, and they stay as near as possible to where
    they were: groups that touch are moved together.
    """
    groups: list[list[int]] = []
    starts: list[float] = []
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        groups.append([i])
        starts.append(places[i])
        while len(groups) > 1 and starts[-1] < starts[-2] + gap * len(groups[-2]) - 1e-12:
            last, _ = groups.pop(), starts.pop()
            groups[-1] += last
            starts[-1] = float(np.mean([places[j] - gap * rank for rank, j in enumerate(groups[-1])]))
    out = [0.0] * len(places)
    for start, group in zip(starts, groups, strict=True):
        for rank, j in enumerate(group):
            out[j] = start + gap * rank
    return out


def _plain(text: str) -> str:
    """Escape a text for matplotlib: unprintable characters become escape codes, and dollar signs do not start a formula."""
    return printable(text).replace("$", r"\$")
