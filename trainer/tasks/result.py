"""Results of evaluations: how they are stored as JSON, and how several are joined into a table.

result.save(run)                                       # RUN/eval/svm-shapes-test.json
print(table(collect([Path("runs/align"), Path("runs/distill")])).markdown())
"""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.spec import added, fingerprint, from_json, to_json
from cache_schema.terminal import json_text, printable
from trainer import checkpoint

FOLDER: Final = "eval"
"""Name of the folder with a run's results, inside the run's folder."""
LONGEST: Final = 200
"""Largest length of a file's name in bytes; file systems allow little more."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a paper's table, with all values that it is the mean of."""

    name: str
    values: tuple[float, ...]
    """Values in percent, one for each seed, fold, block or run."""
    over: Literal["seeds", "folds", "blocks", "runs"]
    """What the values differ in: seeds of training, few-shot folds, or stored blocks of points. In a table also `runs` that differ only in
    their seeds; then each value is the mean of one run."""
    headline: bool = False
    """Whether the table of several runs includes it."""
    shapes: int | None = None
    """Number of different test shapes, or scenes; None if unknown. Then the next three fields are None too."""
    units: Literal["shapes", "scenes"] = added("shapes")
    """What `shapes` counts, and what an interval is over."""
    interval: tuple[float, float] | None = None
    """The 95 % interval over test shapes, in percent: the range in which the mean would lie for other test shapes of the same kind. The
    deviation of `values` does not show this, because all values use the same test shapes."""
    chance: float | None = None
    """Score of uniform guessing, in percent."""
    largest: float | None = None
    """Score of always choosing the most frequent class, in percent; None if it is the same as guessing."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the values; None if there is one only."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def verdict(self) -> str:
        """A warning in words if the mean is not above chance: the interval includes, or lies below, the score of guessing or of always
        choosing the most frequent class. Empty otherwise, or if the interval is unknown.
        """
        if self.interval is None or self.chance is None:
            return ""
        low, high = self.interval
        if low <= self.chance:
            return "below chance" if high < self.chance else "at chance"
        return "as always the largest class" if self.largest is not None and low <= self.largest <= high else ""

    @property
    def extent(self) -> str:
        """The interval as text; empty if it is unknown."""
        return f"[{self.interval[0]:.1f}, {self.interval[1]:.1f}]" if self.interval else ""

    @property
    def told(self) -> str:
        """Mean, deviation, interval and verdict as text."""
        return " ".join(filter(None, (str(self), self.extent, self.verdict)))

    @property
    def base(self) -> str:
        """The number of test shapes or scenes, and the scores of chance, as text; empty if they are unknown."""
        parts = [counted(self.shapes, self.units) if self.shapes is not None else ""]
        parts += [f"chance {self.chance:.1f}" if self.chance is not None else ""]
        parts += [f"largest class {self.largest:.1f}" if self.largest is not None else ""]
        return ", ".join(filter(None, parts))

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.deviation is None else f"{self.mean:.1f} ± {self.deviation:.1f}"


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


class Drawing(Protocol):
    """A picture that belongs to a result, such as predictions beside the truth. It is drawn when the result is saved."""

    def png(self, title: str) -> bytes:
        """The picture as PNG, under a title of plain text."""
        ...


class Trained(Protocol):
    """A classifier that a task has trained, and that can be kept (`trainer.classifiers.Trained`)."""

    def keep(self, loaded: checkpoint.Loaded, name: str, task: str, settings: tuple[tuple[str, str], ...]) -> tuple[Path, str]:
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
    classes: tuple[str, ...] = ()
    """Names of the rows and columns of `confusion`."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """How often a shape of class i was predicted as class j, summed over the values of the first metric. Tasks that label points count
    points."""
    notes: tuple[str, ...] = ()
    """Notes for the reader, for example on shapes that were left out or a solver that did not converge."""
    drawing: Drawing | None = field(default=None, compare=False, metadata={"added": True})
    """Picture of some test shapes; it is saved beside the result, and is no part of the stored one."""
    trained: Trained | None = field(default=None, compare=False, metadata={"added": True})
    """The first classifier that the task trained; it is no part of the stored result."""


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
    protocol: Literal["last epoch", "last epoch, peer protocol where named"]
    """`last epoch`: nothing was chosen by looking at the test shapes."""
    settings: tuple[tuple[str, str], ...]
    """The task's options, value as JSON."""
    scores: Scores

    @property
    def title(self) -> str:
        """Task, variant and test shapes in words. Results with the same title share a column of a table."""
        train, test = self.scores.train, self.scores.test
        source = f"{train.cache} {train.split} to " if train is not None and train.cache != test.cache else ""
        variant = f" {self.scores.variant}" if self.scores.variant else ""
        return f"{self.task}{variant}, {source}{test.cache} {test.split}"

    @property
    def file(self) -> str:
        """Name of the result's file, without ending. It differs for another variant, other options or another split. See also `save`."""
        name = "".join(c if c.isalnum() or c in "._" else "-" for c in self.title.replace(", ", "-"))
        return name if len(name.encode()) <= LONGEST else f"{name[: LONGEST // 4]}-{fingerprint(self.title)}"

    def json(self) -> str:
        bare = dataclasses.replace(self, scores=dataclasses.replace(self.scores, drawing=None, trained=None))
        return json_text(to_json(bare), allow_nan=False)

    def rich(self) -> RichTable:
        """The result as a table for a terminal."""
        metrics = self.scores.metrics
        largest = [f"Always the largest class: {m.largest:.1f}." for m in metrics if m.largest is not None][:1]
        counts = [m.shapes for m in metrics if m.shapes is not None] or [self.scores.test.shapes]
        shapes = counted(max(counts), metrics[0].units)
        if min(counts) < max(counts):
            shapes += f" (in some rows fewer, at least {min(counts)})"
        caption = [f"Percent, {self.protocol}, {shapes}.{_brackets(metrics)}", *largest, *self.scores.notes]
        out = RichTable(title=_text(f"{self.run}: {self.title}"), caption=_text("\n".join(caption)), caption_justify="left")
        for name in ("", "mean ± std [95 %]", "values", "chance"):
            out.add_column(name, justify="right" if name else "left", overflow="fold")
        for metric in metrics:
            values = f"{' '.join(f'{value:.1f}' for value in metric.values)} ({metric.over})"
            chance = "unknown" if metric.chance is None else f"{metric.chance:.1f}"
            out.add_row(*map(_text, (metric.name, metric.told, values, chance)))
        return out

    @property
    def basis(self) -> tuple[Data | None, Data, tuple[str, ...]]:
        """Training shapes, test shapes and classes. Results share a column of a table only if these are the same."""
        return self.scores.train, self.scores.test, self.scores.classes

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
            path = path.with_name(f"{self.file}-{self.mark}.json")
        write_file(path, (self.json() + "\n").encode())
        return path


def _replaces(result: Result, path: Path) -> bool:
    """Whether a result may replace the one in a file: both use the same shapes and classes, or the file is damaged."""
    try:
        return load(path).basis == result.basis
    except UserError:
        return True


def load(path: Path) -> Result:
    """Read a saved result.

    Raises:
        UserError: the file is no result.
    """
    try:
        found: Result = from_json(Result, json.loads(path.read_text(encoding="utf-8")))
        if empty := [metric.name for metric in found.scores.metrics if not metric.values]:
            raise ValueError(f"{empty[0]} has no values")
        return found
    except ValueError as error:
        raise UserError(f"{path} is no result of an evaluation ({error}); evaluate again to replace it") from error


class Collected(list[Result]):
    """Results of several runs, and the runs that have no results."""

    without: tuple[str, ...] = ()
    """Names of runs that have no results."""


def collect(runs: Sequence[Path]) -> Collected:
    """Read all saved results of several runs. Runs with the same name in different folders are called by their paths. If a run's training
    has continued since an evaluation, that result gets a note.

    Raises:
        UserError: no run has results, or a file is damaged.
    """
    results = Collected()
    names = [run.resolve().name for run in runs]
    for run, name in zip(runs, names, strict=True):
        files = sorted((run / FOLDER).glob("*.json"))
        if not files:
            results.without += (str(run),)
            continue
        label = name if names.count(name) == 1 else str(run)
        weights = checkpoint.weights(run) if checkpoint.path(run).exists() else None
        for found in map(load, files):
            old = () if weights in (None, found.weights) else ("out of date, the run's weights have changed since: evaluate again",)
            scores = dataclasses.replace(found.scores, notes=(*found.scores.notes, *old))
            results.append(dataclasses.replace(found, run=label, scores=scores))
    if not results:
        has = "has" if len(results.without) == 1 else "have"
        raise UserError(f"{', '.join(results.without)} {has} no results yet; `mmpd-train eval TASK RUN CACHE` adds them")
    return results


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table: the metrics of one run, or of several runs that are repetitions of each other."""

    name: str
    """Name of the run, or of the first of several."""
    cells: tuple[Metric | None, ...]
    """One metric for each column; None if it was not measured."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Name and cells as text. A cell of several runs has their number in brackets."""
        return (self.name, *map(_shown, self.cells))


def _shown(cell: Metric | None) -> str:
    if cell is None:
        return "-"
    count = f" ({len(cell.values)})" if cell.over == "runs" else ""
    return " ".join(filter(None, (f"{cell}{count}", cell.extent, cell.verdict)))


def _text(text: str) -> Text:
    """A text for a terminal. Markup and escape sequences in it have no effect."""
    return Text(printable(text))


WIDTH: Final = 80
"""Width for which tables are laid out, in characters."""
HEADING: Final = 14
"""Least width of a column with a long heading, in characters."""
NAME: Final = 30
"""Largest width of the first column, in characters; longer names are folded."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with runs in rows and metrics in columns."""

    header: tuple[str, ...]
    """Headings: of the column of names, then of each metric."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def json(self) -> str:
        """The table as JSON. Each row has a name, then for each column: mean, std (null for a single value), values and what they differ
        in, number of test shapes or scenes and which they are, 95 % interval over these, chance, and the share of the largest class (null
        if unknown).
        """

        def body(cell: Metric | None) -> Any:
            if cell is None:
                return None
            more: dict[str, Any] = {"units": cell.units} if cell.shapes is not None else {}
            more |= {"shapes": cell.shapes, "interval": cell.interval, "chance": cell.chance, "largest": cell.largest}
            return {"mean": cell.mean, "std": cell.deviation, "values": cell.values, "over": cell.over, **more}

        rows = [[row.name, *map(body, row.cells)] for row in self.rows]
        table = {"header": self.header, "rows": rows, "notes": self.notes}
        return json_text(table, allow_nan=False)

    def markdown(self) -> str:
        """The table as Markdown, for a README."""
        lines = [self.header, tuple("---" if i == 0 else "---:" for i in range(len(self.header))), *(row.texts for row in self.rows)]
        body = "\n".join(f"| {' | '.join(printable(cell).replace('|', '/').replace(chr(10), ' ') for cell in line)} |" for line in lines)
        return body + "".join(f"\n\n{printable(note)}" for note in self.notes) + "\n"

    def rich(self) -> RichTable | Group:
        """The table for a terminal. Runs are rows, or columns if the headings do not fit otherwise. A table that fits neither way is cut
        into several. Long names are folded, numbers are not, and nothing is left out.
        """
        lines = [self.header, *(row.texts for row in self.rows)]
        if sum(_widths(lines)) > WIDTH:
            turned = list(zip(*lines, strict=True))
            lines = turned if sum(_widths(turned)) < sum(_widths(lines)) else lines
        first, *widths = _widths(lines)
        groups: list[list[int]] = []
        for i, width in enumerate(widths, 1):
            if groups and first + sum(widths[j - 1] for j in groups[-1]) + width <= WIDTH:
                groups[-1].append(i)
            else:
                groups.append([i])
        parts = [_drawn([(line[0], *(line[i] for i in group)) for line in lines]) for group in groups or [[]]]
        parts[-1].caption, parts[-1].caption_justify = _text("\n".join(self.notes)), "left"
        return parts[0] if len(parts) == 1 else Group(*parts)


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    """Width of each column of a table in characters, with its separator. The first of `lines` holds the headings."""
    names, *columns = zip(*lines, strict=True)
    first = min(max(map(len, names)), NAME) + 4
    return [first, *(min(max(min(len(head), HEADING), *map(len, cells)), WIDTH - first - 3) + 3 for head, *cells in columns)]


def _drawn(lines: Sequence[Sequence[str]]) -> RichTable:
    """A table for a terminal. In a narrow terminal only the column of names is folded."""
    out = RichTable()
    for i, (name, width) in enumerate(zip(lines[0], _widths(lines), strict=True)):
        out.add_column(_text(name), justify="right" if i else "left", overflow="fold", width=width - 3 if i else None)
    for line in lines[1:]:
        out.add_row(*map(_text, line))
    return out


def table(results: Sequence[Result], by: Literal["run", "setup"] = "run") -> Table:
    """Join results into a table: their headline metrics in percent, as mean ± standard deviation, and their notes.

    Args:
        results: results of any runs and tasks.
        by: `run`: one row for each run. `setup`: one row for each setup, with mean and deviation over its runs, which differ only in
            their seeds; the row has the name of the first run.

    Raises:
        UserError: there is no result, or the same result was given twice.
    """
    if not results:
        raise UserError("there is no result to put into a table")
    without = [f"{name} has no results yet." for name in results.without] if isinstance(results, Collected) else []
    results = _told_apart(results)
    columns: dict[tuple[str, str], dict[str, list[tuple[Result, Metric]]]] = {}
    for result in results:
        for metric in result.scores.metrics:
            if metric.headline:
                cells = columns.setdefault((result.title, metric.name), {})
                cells.setdefault(getattr(result, by), []).append((result, metric))
    names = {getattr(result, by): result.run for result in reversed(results)}
    join = _only if by == "run" else _pooled
    rows = tuple(
        Row(name=names[key], cells=tuple(join(cells[key]) if key in cells else None for cells in columns.values()))
        for key in reversed(names)
    )
    header = ("run" if by == "run" else "first run of setup", *(f"{title}: {metric}" for title, metric in columns))
    notes = (_legend(rows, by), *_bases(header, rows), *_differences(results), *_notes(results), *without)
    return Table(header=header, rows=rows, notes=notes)


def _told_apart(results: Sequence[Result]) -> Sequence[Result]:
    """Make titles unique: if results of one run have the same title but other shapes or classes, `mark` is added to their caches' names."""
    bases: dict[tuple[str, str], set[Any]] = {}
    for result in results:
        bases.setdefault((result.run, result.title), set()).add(result.basis)
    shared = {title for (_, title), several in bases.items() if len(several) > 1}

    def marked(result: Result) -> Result:
        test = dataclasses.replace(result.scores.test, cache=f"{result.scores.test.cache} ({result.mark})")
        train = result.scores.train
        if train is not None and train.cache == result.scores.test.cache:  # both names are equal, so the title has the name once
            train = dataclasses.replace(train, cache=test.cache)
        return dataclasses.replace(result, scores=dataclasses.replace(result.scores, test=test, train=train))

    return [marked(result) if result.title in shared else result for result in results]


def _bases(header: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """One line for each pair of shape count and chance level, with the columns that have it."""
    columns: dict[str, list[str]] = {}
    for name, *cells in zip(header[1:], *(row.cells for row in rows), strict=True):
        for base in dict.fromkeys(cell.base for cell in cells if cell and cell.base):
            columns.setdefault(base, []).append(name)
    return [f"{'; '.join(names)}: {base}." for base, names in columns.items()]


def _only(found: Sequence[tuple[Result, Metric]]) -> Metric:
    if len(found) > 1:
        raise UserError(f"{found[0][0].run} was given twice: leave one out")
    return found[0][1]


def _pooled(found: Sequence[tuple[Result, Metric]]) -> Metric:
    trials: dict[str, str] = {}
    for result, _ in found:
        if result.trial in trials:
            raise UserError(
                f"{trials[result.trial]} and {result.run} are one experiment with the same seeds, which is no repetition: leave one out"
            )
        trials[result.trial] = result.run
    metrics = [metric for _, metric in found]
    pooled = Metric(name=metrics[0].name, values=tuple(metric.mean for metric in metrics), over="runs", units=metrics[0].units)
    alike = len({(metric.shapes, metric.chance, metric.largest) for metric in metrics}) == 1
    known = [metric.interval for metric in metrics if metric.interval]
    if not alike or len(known) < len(metrics):
        return pooled
    # All runs share the test shapes, so more runs do not make the interval over test shapes smaller.
    low, high = (statistics.fmean(ends) for ends in zip(*known, strict=True))
    return dataclasses.replace(pooled, shapes=metrics[0].shapes, interval=(low, high), chance=metrics[0].chance, largest=metrics[0].largest)


def _brackets(metrics: Sequence[Metric]) -> str:
    """What the brackets of some metrics mean; empty if none has an interval."""
    units = list(dict.fromkeys(metric.units for metric in metrics if metric.interval))
    return f" In brackets the 95 % interval over test {' or '.join(units)}." if units else ""


def _legend(rows: Sequence[Row], by: str) -> str:
    brackets = _brackets([cell for row in rows for cell in row.cells if cell])
    if by == "setup":
        return f"Percent; mean ± standard deviation over runs (how many).{brackets}"
    over = sorted({cell.over for row in rows for cell in row.cells if cell and cell.deviation is not None})
    return (f"Percent; mean ± standard deviation over {' or '.join(over)}." if over else "Percent.") + brackets


def _differences(results: Sequence[Result]) -> list[str]:
    """Sentences on the differences between results of one column that make them not comparable."""
    notes: list[str] = []
    first: dict[str, Result] = {}
    for result in results:
        other = first.setdefault(result.title, result)
        mine, theirs = dict(result.settings), dict(other.settings)
        changed = [f"{k} {theirs.get(k)} / {mine.get(k)}" for k in sorted(mine.keys() | theirs) if mine.get(k) != theirs.get(k)]
        if (result.scores.train, result.scores.test) != (other.scores.train, other.scores.test):
            changed.append("other shapes under the same name")
        if result.scores.classes != other.scores.classes:
            changed.append(f"among {len(other.scores.classes)} / {len(result.scores.classes)} classes")
        if changed:
            notes.append(f"Not comparable: {result.title} in {other.run} / {result.run}: {', '.join(changed)}.")
    return notes


def _notes(results: Sequence[Result]) -> list[str]:
    """The notes of the results. Each note appears once, with its runs and columns; `all of TASK` stands for all columns of a task."""
    columns: dict[str, list[str]] = {}
    for result in results:
        if result.title not in columns.setdefault(result.task, []):
            columns[result.task].append(result.title)
    runs: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for note in result.scores.notes:
            runs.setdefault((note, result.title), []).append(result.run)
    titles: dict[tuple[str, str], list[str]] = {}
    for (note, title), names in runs.items():
        titles.setdefault((", ".join(names), note), []).append(title)
    for several in titles.values():
        for task, every in columns.items():
            if len(every) > 1 and set(every) <= set(several):
                several[:] = [f"all of {task}", *(title for title in several if title not in every)]
    return [f"{names}: {note} ({'; '.join(several)})." for (names, note), several in titles.items()]
