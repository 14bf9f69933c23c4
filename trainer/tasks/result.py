"""Results of evaluations, and how they are stored as JSON. `trainer.tasks.table` joins several into a table.

path = result.save(run)                                                # RUN/eval/svm-shapes-test.json
result = load(path)
"""

import dataclasses
import functools
import glob
import json
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from rich.table import Table as RichTable
from rich.text import Text

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.spec import added, fingerprint, from_json, to_json
from cache_schema.terminal import json_text, printable
from trainer.saved import Settings
from trainer.tasks.predictions import Predictions

if TYPE_CHECKING:
    from trainer.checkpoint import Header, Loaded

FOLDER: Final = "eval"
"""Name of the folder with a run's results, inside the run's folder."""
NEWEST: Final = "measured last"
"""What stands beside the mark of the newest of several results of one title."""
LONGEST: Final = 200
"""Largest length of a file's name in bytes; file systems allow little more."""
PERCENT: Final = "%"
"""What the values of a metric are in if they are shares of 100, as all are of our own tasks."""
FOREIGN: Final = "the task is of another package"
"""How a note begins on a result of another package's task."""
UNTOLD: Final = "unit unknown"
"""What the values of another package's task are in, if a result of an earlier version does not tell it."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a paper's table, with all values that it is the mean of."""

    name: str
    values: tuple[float, ...]
    """Values, one for each seed, fold, block or run."""
    over: Literal["seeds", "folds", "blocks", "runs"]
    """What the values differ in: seeds of training, few-shot folds, or stored blocks of points. In a table also `runs` that differ only in
    their seeds; then each value is the mean of one run."""
    measured_in: str = added("")
    """What the values, the interval and the scores of guessing are in: `%` for shares of 100, else a unit such as `m`. It is empty in
    results of earlier versions of our own tasks: percent."""
    better: Literal["", "higher", "lower"] = added("")
    """Which values are better. It is empty in results of earlier versions: higher ones."""
    headline: bool = False
    """Whether the table of several runs includes it."""
    shapes: int | None = None
    """Number of different test shapes, or scenes; None if unknown. Then the next three fields are None too."""
    units: Literal["shapes", "scenes"] = added("shapes")
    """What `shapes` counts, and what an interval is over."""
    interval: tuple[float, float] | None = None
    """The 95 % interval over test shapes: the range in which the mean would lie for other test shapes of the same kind. The
    deviation of `values` does not show this, because all values use the same test shapes."""
    chance: float | None = None
    """Score of uniform guessing."""
    largest: float | None = None
    """Score of always choosing the most frequent answer; None if it is the same as guessing."""
    answer: Literal["largest class", "largest part of a kind"] = added("largest class")
    """What the most frequent answer is: of parts that of each kind of shape. Results of earlier versions call it a class, too."""

    @property
    def percent(self) -> bool:
        """Whether the values are in percent."""
        return self.measured_in in ("", PERCENT)

    @property
    def scale(self) -> str:
        """What a reader must know beside the name: `m, lower is better`. Empty for percent of which more is better."""
        if self.percent and self.better != "lower":
            return ""
        return ", ".join(filter(None, (self.measured_in or PERCENT, f"{self.better} is better" if self.better else "")))

    @property
    def label(self) -> str:
        """The name, and `scale` in brackets: `error (m, lower is better)`. Files for scripts have these apart."""
        return f"{self.name} ({self.scale})" if self.scale else self.name

    def number(self, value: float) -> str:
        """A value as text: percent with one decimal place, other units with four digits."""
        return f"{value:.1f}" if self.percent else f"{value:.4g}"

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the values; None if there is one only."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def verdict(self) -> str:
        """A warning in words if the mean is not better than chance: the interval includes, or is worse than, the score of guessing or of
        always choosing the most frequent answer. Empty otherwise, or if the interval is unknown.
        """
        if self.interval is None or self.chance is None:
            return ""
        sign, worse = (-1, "above") if self.better == "lower" else (1, "below")
        low, high = sorted(sign * end for end in self.interval)
        chance, largest = sign * self.chance, None if self.largest is None else sign * self.largest
        if low <= chance:
            return f"{worse} chance" if high < chance else "at chance"
        if largest is None or largest < low:
            return ""
        return f"{worse if high < largest else 'as'} always the {self.answer}"

    @property
    def extent(self) -> str:
        """The interval as text; empty if it is unknown."""
        return f"[{self.number(self.interval[0])}, {self.number(self.interval[1])}]" if self.interval else ""

    @property
    def told(self) -> str:
        """Mean, deviation, interval and verdict as text."""
        return " ".join(filter(None, (str(self), self.extent, self.verdict)))

    @property
    def base(self) -> str:
        """The number of test shapes or scenes, and the scores of chance, as text; empty if they are unknown."""
        parts = [counted(self.shapes, self.units) if self.shapes is not None else ""]
        parts += [f"chance {self.number(self.chance)}" if self.chance is not None else ""]
        parts += [f"{self.answer} {self.number(self.largest)}" if self.largest is not None else ""]
        return ", ".join(filter(None, parts))

    def __str__(self) -> str:
        return self.number(self.mean) + ("" if self.deviation is None else f" ± {self.number(self.deviation)}")


share: Final = functools.partial(Metric, measured_in=PERCENT, better="higher")
"""Make a metric in percent of which more is better."""


def counted(count: int, units: str) -> str:
    """A number of test shapes or scenes in words: `20 test scenes`."""
    return f"{count} test {units if count != 1 else units.removesuffix('s')}"


@dataclass(frozen=True, kw_only=True)
class Data:
    """The shapes that a task used."""

    cache: str
    """Name of the cache, without its folder."""
    points: str
    """Fingerprint of the cache's points."""
    split: str
    shapes: int
    labels: str = added("")
    """A digest of the names of these shapes' classes, which `mmpd-cache relabel` changes and no fingerprint of points tells; empty if the
    task asks for no classes, if no shape has one, and in results of earlier versions."""

    mark: str = field(default="", compare=False, metadata={"identity": False, "added": True})
    """What tells results of one title apart: `1a2b3c4d` (`told_apart`); empty if nothing must. It is no part of a stored result."""
    last: bool | None = field(default=None, compare=False, metadata={"identity": False, "added": True})
    """Whether the results with this mark were measured last of those of their title; None if that is not known, or there is no mark."""

    @property
    def told(self) -> str:
        """The cache's name for a reader, with the mark in brackets. Files for scripts have these apart."""
        mark = f"{self.mark}, {NEWEST}" if self.last else self.mark
        return f"{self.cache} ({mark})" if mark else self.cache

    def alike(self, other: "Data | None") -> bool:
        """Whether other shapes are the same, with the same classes as far as both tell."""
        same = other is not None and dataclasses.replace(self, labels=other.labels) == other
        return same and (self == other or "" in (self.labels, other.labels if other else ""))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """How many of the test shapes of a result are not new. A score on them says little about other shapes."""

    tested: int
    """Number of different test shapes, or of scenes where the metrics count scenes."""
    learned: int | None = 0
    """Number of those that the task itself learned from; None if that is not known, as of a classifier that was imported."""
    trained: int | None = 0
    """Number of those that the encoder, or a guide that it learned from, is known to be trained on, in this run or before it; None if it
    may be some, and of none it is known."""
    more: bool = added(False)
    """Whether it may be more of them: the encoder was trained on some shapes of a cache that has them, and on which is not known."""
    unchecked: tuple[str, ...] = ()
    """What the encoder was trained on and could not be compared: names of caches, each with the reason in brackets."""

    @property
    def told(self) -> str:
        """A warning in words that stands beside each score; empty if all test shapes are new, as far as that is known."""
        learned = f"learned from {self.learned} of {self.tested}" if self.learned else ""
        trained = f"encoder saw {'at least ' * self.more}{self.trained} of {self.tested}" if self.trained else ""
        return ", ".join(filter(None, (learned, trained or "encoder may have seen them" * self.more)))

    def notes(self, units: str) -> list[str]:
        """Sentences for the reader of a result."""
        found = []
        if self.learned:
            crops = ", or crops of them" if units == "scenes" else ""
            found.append(f"{self.learned} of {self.tested} test {units} are also training {units}{crops}")
        if self.learned is None:
            found.append(f"not known which test {units} the task has learned from")
        if self.trained:
            found.append(f"the encoder was trained on {'at least ' * self.more}{self.trained} of the {self.tested} test {units}")
        if self.more:
            found.append(f"the encoder was trained on a cache that has these test {units}; which of its shapes is not known")
        if self.unchecked:
            found.append(f"not checked whether the encoder knows test {units}: it was trained on {', '.join(self.unchecked)}")
        return found


class Sides(Protocol):
    """The shapes that a task used (`trainer.tasks.seen.Sides`)."""

    @property
    def test(self) -> Any:
        """The shapes that it tested on: `trainer.tasks.shapes.Shapes`, which imports this module."""

    def seen(self, header: "Header", *, scratch: bool = False, units: str = "shapes") -> Seen:
        """Count the test shapes that are not new."""
        ...


@dataclass(frozen=True, kw_only=True)
class Confused:
    """A class that was often taken for another one."""

    true: str
    predicted: str
    count: int
    """How often; counted as in `Scores.confusion`."""
    total: int
    """Number of predictions for the true class."""
    wrong: tuple[str, ...] = ()
    """Ids of shapes of the true class that were predicted as the other one: examples."""
    right: tuple[str, ...] = ()
    """Id of a shape of the other class that was predicted as what it is; empty if there is none."""

    def __str__(self) -> str:
        return f"{self.true} as {self.predicted}: {self.count} of {self.total}"


class Drawing(Protocol):
    """A picture that belongs to a result, such as predictions beside the truth. It is drawn when the result is saved."""

    @property
    def ending(self) -> str:
        """Last word of the name of the picture's file, such as `shapes`."""
        ...

    def png(self, title: str) -> bytes:
        """The picture as PNG, under a title of plain text."""
        ...


class Trained(Protocol):
    """A classifier that a task has trained, and that can be kept (`trainer.classifiers.Trained`)."""

    def keep(self, loaded: "Loaded", name: str, task: str, settings: tuple[tuple[str, str], ...]) -> tuple[Path, str]:
        """Write it into the folder of its run. Returns the file, and in words which of the task's trainings it is."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The measurements of a task."""

    train: Data | None = None
    """The training shapes; None if the task fits nothing."""
    test: Data
    metrics: tuple[Metric, ...]
    variant: str = ""
    """Form of the task, as papers name it: `5-way 10-shot` or `linear`. Options that differ from their defaults follow: `c=0.1`."""
    precision: Literal["", "float32", "bfloat16"] = added("")
    """Arithmetic of the forward passes in which the task trained (`trainer.arithmetic.of_task`); empty if it trained no network, and in
    results of earlier versions."""
    classes: tuple[str, ...] = ()
    """Names of the rows and columns of `confusion`."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """How often a shape of class i was predicted as class j, summed over the values of the first metric. Tasks that label points count
    points."""
    worst: tuple[Confused, ...] = added(())
    """The most confused pairs of classes, the worst first."""
    predictions: tuple[Predictions, ...] = added(())
    """For each headline metric of a classification the predicted class of each test shape; none in results of earlier versions."""
    seen: Seen | None = added(None)
    """How many of the test shapes are not new; None if that is not known, as in results of earlier versions. Tasks give `sides`, of which
    `trainer.tasks.catalog` counts it."""
    notes: tuple[str, ...] = ()
    """Notes for the reader, for example on shapes that were left out or a solver that did not converge."""
    drawing: Drawing | None = field(default=None, compare=False, metadata={"added": True})
    """Picture of some test shapes; it is saved beside the result, and is no part of the stored one."""
    trained: Trained | None = field(default=None, compare=False, metadata={"added": True})
    """The first classifier that the task trained; it is no part of the stored result."""
    sides: Sides | None = field(default=None, compare=False, metadata={"added": True})
    """The shapes that the task used; they are no part of the stored result."""

    @property
    def warning(self) -> str:
        """A warning that is printed beside each score: how many of the test shapes are not new. Empty if all are new, or if it was not
        counted."""
        return self.seen.told if self.seen else ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one task on one run."""

    task: str
    run: str
    """Name of the run."""
    setup: str
    """Fingerprint of the training without its seeds: runs with the same setup are repetitions of each other."""
    trial: str
    """Fingerprint of the training with its seeds: runs with the same trial are the same experiment, not repetitions."""
    weights: str
    """Digest of the weights that were measured."""
    model: tuple[tuple[str, str], ...] = added(())
    """Settings of the run that change its features and that no weight tells (`trainer.saved.settings`); empty in results of earlier
    versions."""
    protocol: Literal["last epoch", "last epoch, peer protocol where named"]
    """`last epoch`: nothing was chosen by looking at the test shapes."""
    settings: tuple[tuple[str, str], ...]
    """The task's options, value as JSON."""
    scores: Scores
    measured: str = field(default="", compare=False, metadata={"identity": False, "added": True})
    """When it was saved, UTC, such as `2026-11-30T18:04:05.250000`; empty before, and in results of earlier versions."""

    def outdated(self, weights: str, settings: Settings) -> str:
        """A note if a run with these weights and settings has other features than those that were measured; else empty. Settings that are
        not known are not compared."""
        if self.weights != weights:
            return "out of date, the run's weights have changed since: evaluate again"
        if self.model and settings and self.model != settings:
            return "out of date, the settings of the run's encoder have changed since: evaluate again"
        return ""

    @property
    def title(self) -> str:
        """Task, variant and test shapes in words. Results with the same title share a line of a table."""
        return f"{' '.join(filter(None, (self.task, self.scores.variant)))}, {self.place}"

    @property
    def place(self) -> str:
        """The test shapes in words, and the training shapes if they are of another cache."""
        return self._place(self.scores.test.told)

    @property
    def unmarked(self) -> str:
        """`place` without the mark."""
        return self._place(self.scores.test.cache)

    def _place(self, test: str) -> str:
        train = self.scores.train
        source = f"{train.cache} {train.split} to " if train is not None and train.cache != self.scores.test.cache else ""
        return f"{source}{test} {self.scores.test.split}"

    @property
    def file(self) -> str:
        """Name of the result's file, without ending. It differs for another variant, other options or another split. See also `save`."""
        name = "".join(c if c.isalnum() or c in "._" else "-" for c in self.title.replace(", ", "-"))
        return name if len(name.encode()) <= LONGEST else f"{name[: LONGEST // 4]}-{fingerprint(self.title)}"

    def json(self) -> str:
        bare = dataclasses.replace(self, scores=dataclasses.replace(self.scores, drawing=None, trained=None, sides=None))
        return json_text(to_json(bare), allow_nan=False)

    def rich(self) -> RichTable:
        """The result as a table for a terminal."""
        metrics = self.scores.metrics
        # Only what holds for all test shapes: rows by distance or number of points have scores of their own, told as verdicts.
        largest = [f"Always the {m.answer}: {m.number(m.largest)}." for m in metrics if m.headline and m.largest is not None][:1]
        counts = [m.shapes for m in metrics if m.shapes is not None] or [self.scores.test.shapes]
        shapes = counted(max(counts), metrics[0].units)
        if min(counts) < max(counts):
            shapes += f" (in some rows fewer, at least {min(counts)})"
        several = f", {self.together}" if self.together else ""
        confused = [f"Most confused{several}: {'; '.join(map(str, self.scores.worst))}."] if self.scores.worst else []
        first = ", ".join(filter(None, (in_percent(metrics), self.protocol, shapes)))
        caption = [f"{first[0].upper()}{first[1:]}.{brackets(metrics)}", *largest, *confused, *self.scores.notes]
        out = RichTable(title=_text(f"{self.run}: {self.title}"), caption=_text("\n".join(caption)), caption_justify="left")
        for name in ("", "mean ± std [95 %]", "values", "chance"):
            out.add_column(name, justify="right" if name else "left", overflow="fold")
        for metric in metrics:
            values = f"{' '.join(map(metric.number, metric.values))} ({metric.over})"
            chance = "unknown" if metric.chance is None else metric.number(metric.chance)
            out.add_row(*map(_text, (metric.label, self.said(metric), values, chance)))
        return out

    @property
    def together(self) -> str:
        """Over what confusions are counted if a test shape is predicted several times, such as `over 3 blocks together`; else empty."""
        first = self.scores.metrics[0]
        return f"over {len(first.values)} {first.over} together" if len(first.values) > 1 else ""

    def said(self, metric: Metric) -> str:
        """A metric of this result in words: `Metric.told`, and behind it how many of the test shapes are not new."""
        return " ".join(filter(None, (metric.told, self.scores.warning)))

    @property
    def basis(self) -> tuple[Data | None, Data, tuple[str, ...]]:
        """Training shapes, test shapes and classes. Results share a line of a table only if these are `alike`."""
        return self.scores.train, self.scores.test, self.scores.classes

    def alike(self, other: "Result") -> bool:
        """Whether another result has the same `basis`: the classes of shapes are compared as far as both tell them (`Data.alike`)."""
        mine, theirs = self.scores, other.scores
        trained = mine.train.alike(theirs.train) if mine.train is not None else theirs.train is None
        return trained and mine.test.alike(theirs.test) and mine.classes == theirs.classes

    @property
    def mark(self) -> str:
        """Short fingerprint of `basis`."""
        return fingerprint(self.basis)[:8]

    def save(self, run: Path) -> Path:
        """Write the result into the folder of a run. Returns the file. A result with the same title on other shapes is kept: then the name
        of the new file ends in `mark`.
        """
        path = run / FOLDER / f"{self.file}.json"
        if path.exists() and not _replaces(self, path):
            others = sorted(path.parent.glob(f"{glob.escape(self.file)}-*.json"))  # an earlier version may have given it another mark
            path = next(filter(self._again, others), path.with_name(f"{self.file}-{self.mark}.json"))
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        write_file(path, (dataclasses.replace(self, measured=now).json() + "\n").encode())
        return path

    def _again(self, path: Path) -> bool:
        """Whether a file has an earlier result of the same title on the same shapes and classes."""
        with suppress(UserError):
            there = load(path)
            return there.title == self.title and there.alike(self)
        return False


def _replaces(result: Result, path: Path) -> bool:
    """Whether a result may replace the one in a file: both use the same shapes and classes, or the file is damaged."""
    try:
        return load(path).alike(result)
    except UserError:
        return True


def told_apart(results: Sequence[Result]) -> Sequence[Result]:
    """Make titles unique: if results of one run have the same title but other shapes or classes, their test shapes get a `mark`. That of
    the newest result says so, if all of them tell when they were measured."""
    first: dict[tuple[str, str], Result] = {}
    shared = {result.title for result in results if not result.alike(first.setdefault((result.run, result.title), result))}
    newest = {title: _newest([result for result in results if result.title == title]) for title in shared}

    def marked(result: Result) -> Result:
        last = result.mark == newest[result.title] if newest[result.title] else None
        test = dataclasses.replace(result.scores.test, mark=result.mark, last=last)
        return dataclasses.replace(result, scores=dataclasses.replace(result.scores, test=test))

    return [marked(result) if result.title in shared else result for result in results]


def timeless(title: str) -> str:
    """A title for a script: with the mark, and without `NEWEST`, which is told beside it."""
    return title.replace(f", {NEWEST})", ")")


def _newest(results: Sequence[Result]) -> str:
    """The mark of the result that was measured last; empty if that is not known."""
    last = max(result.measured for result in results)
    marks = {result.mark for result in results if result.measured == last}
    return marks.pop() if len(marks) == 1 and all(result.measured for result in results) else ""


def why_apart(results: Sequence[Result], apart: Sequence[Result]) -> list[str]:
    """A sentence on the marks that `told_apart` has added to some results, if there are any. `apart`: what it made of them."""
    marked = list(dict.fromkeys(now.scores.test.told for was, now in zip(results, apart, strict=True) if was.title != now.title))
    if not marked:
        return []
    said = any(now.scores.test.last for now in apart)
    which = f"`{NEWEST}`: those as they were at the last measuring" if said else "which of them was measured last is not known"
    return [
        f"{', '.join(marked)}: results of one name on other shapes, points or classes, as after `mmpd-cache relabel`; {which}. To know how "
        "runs do on a cache as it is now, evaluate again."
    ]


def most_told(results: Sequence[Result]) -> list[Result]:
    """Results in the same order, but first those that tell the classes of their shapes. The first one is then the one to compare the others
    with (`Result.alike`): one of an earlier version may be like two that are not like each other."""
    return sorted(results, key=lambda result: not result.scores.test.labels)


def load(path: Path) -> Result:
    """Read a saved result. What metrics of another package's task are in is unknown if an earlier version has stored it.

    Raises:
        UserError: the file is no result.
    """
    try:
        found: Result = from_json(Result, json.loads(path.read_text(encoding="utf-8")))
        if empty := [metric.name for metric in found.scores.metrics if not metric.values]:
            raise ValueError(f"{empty[0]} has no values")
        return _untold(found) if any(note.startswith(FOREIGN) for note in found.scores.notes) else found
    except ValueError as error:
        raise UserError(f"{path} is no result of an evaluation ({error}); evaluate again to replace it") from error


def _untold(found: Result) -> Result:
    """The result of another package's task; metrics that do not tell a unit are in an unknown one, and the notes say what to do."""
    metrics = tuple(one if one.measured_in else dataclasses.replace(one, measured_in=UNTOLD) for one in found.scores.metrics)
    if metrics == found.scores.metrics:
        return found
    note = "an earlier version did not ask the task for units: evaluate again to know what the values are in, and which are better"
    return dataclasses.replace(found, scores=dataclasses.replace(found.scores, metrics=metrics, notes=(*found.scores.notes, note)))


def in_percent(metrics: Sequence[Metric]) -> str:
    """Words on the unit of some metrics: `percent` if that holds for all, empty if it holds for none."""
    if all(metric.percent for metric in metrics):
        return "percent"
    return "percent where no unit is named" if any(metric.percent for metric in metrics) else ""


def _text(text: str) -> Text:
    """A text for a terminal. Markup and escape sequences in it have no effect."""
    return Text(printable(text))


def brackets(metrics: Sequence[Metric]) -> str:
    """What the brackets of some metrics mean; empty if none has an interval."""
    units = list(dict.fromkeys(metric.units for metric in metrics if metric.interval))
    return f" In brackets the 95 % interval over test {' or '.join(units)}." if units else ""
