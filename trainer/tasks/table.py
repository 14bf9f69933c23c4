"""A table of results of several runs, for a terminal, a README or a script.

    joined = table(collect([Path("runs/align"), Path("runs/distill")]))
    print(joined.markdown())

A row is a metric, and a column is a run; the other way round where that is narrower and the first does not fit.
"""

import csv
import dataclasses
import io
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from cache_schema.errors import UserError
from cache_schema.terminal import json_text, printable
from trainer import saved
from trainer.tasks.result import (
    FOLDER,
    PERCENT,
    Metric,
    Result,
    Seen,
    brackets,
    in_percent,
    load,
    most_told,
    timeless,
    told_apart,
    why_apart,
)

NAME: Final = 30
"""Largest width of the first column in a terminal, in characters; longer names are folded."""
HEADING: Final = 14
"""Least width of a column with a long heading in a terminal, in characters."""
MARKDOWN: Final = 120
"""Width in characters up to which Markdown has metrics in rows in any case."""
FRAME: Final = 3
"""Width in characters of what separates two columns."""


class Collected(list[Result]):
    """Results of several runs, and the runs that have no results."""

    without: tuple[str, ...] = ()
    """A sentence for each run that was left out."""


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
            results.without += (f"{run} {'has no results yet' if run.exists() else 'does not exist'}",)
            continue
        label = name if names.count(name) == 1 else str(run)
        there, loaded = saved.path(run).exists(), list(map(load, files))
        weights = saved.weights(run) if there else ""
        settings = saved.settings(run) if there and any(found.model for found in loaded) else ()
        for found in loaded:
            old = found.outdated(weights, settings) if there else ""
            scores = dataclasses.replace(found.scores, notes=(*found.scores.notes, *([old] if old else [])))
            results.append(dataclasses.replace(found, run=label, scores=scores))
    if not results:
        raise UserError(f"{'; '.join(results.without)}. `mmpd-train eval TASK RUN CACHE` adds results")
    return results


@dataclass(frozen=True, kw_only=True)
class Line:
    """The results for one metric of one task, of all runs."""

    task: str
    variant: str
    """Form and options of the task."""
    place: str
    """The shapes: caches and split; with the mark that tells them apart, if they have one."""
    shapes: str
    """The shapes without a mark."""
    mark: str
    last: bool | None
    """See `Data.mark` and `Data.last`."""
    metric: str
    cells: tuple[Metric | None, ...]
    """One for each run; None if it was not measured."""
    seen: tuple[Seen | None, ...]
    """How many of the test shapes of each cell are not new; None if that is not known. Of several runs it is that of the run which knows
    most, as far as it is known."""
    notes: tuple[tuple[str, ...], ...]
    """The notes of the results of each cell, and sentences on what makes cells not comparable."""

    @property
    def title(self) -> str:
        """Task, variant, shapes and metric in words."""
        return f"{' '.join(filter(None, (self.task, self.variant)))}, {self.place}: {self.metric}"

    @property
    def scale(self) -> str:
        """Unit and direction behind a name, in brackets; empty for percent of which more is better (`Metric.scale`)."""
        scale = next((cell.scale for cell in self.cells if cell), "")
        return f" ({scale})" if scale else ""

    @property
    def count(self) -> str:
        """The number of test shapes, if it is the same in all cells."""
        return _same(cell.shapes for cell in self.cells if cell)

    @property
    def chance(self) -> str:
        """Score of guessing, if it is the same in all cells."""
        return _same(cell.number(cell.chance) if cell.chance is not None else None for cell in self.cells if cell)


def _same(values: Any) -> str:
    """The one value, as text; `varies` if there are several, and empty if none is known."""
    known = set(values)
    return "varies" if len(known) > 1 else next(("" if value is None else str(value) for value in known), "")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Results of several runs."""

    names: tuple[str, ...]
    """The runs, or the first run of each setup."""
    lines: tuple[Line, ...]
    """Lines of one task follow each other."""
    by: Literal["run", "setup"]
    notes: tuple[str, ...]

    @property
    def corner(self) -> str:
        """Heading of the names."""
        return "run" if self.by == "run" else "first run of setup"

    def json(self) -> str:
        """The table as JSON: titles (`header`), what they are made of (`columns`), and a row for each run. Each row has a name, then for
        each metric: mean, std (null for a single value), values, what they differ in and are in (`%` or a unit), which are better, number
        of test shapes or scenes and which they are, 95 % interval over these, chance, and the score of the most frequent answer (null if
        unknown); and, where it is known, how many of the test shapes the task learned from and the encoder was trained on, with a warning
        in words if there are any. Of results of one name on other shapes the columns tell a `mark`, and whether they are `measured_last`.
        """

        def body(cell: Metric | None, seen: Seen | None) -> Any:
            if cell is None:
                return None
            more: dict[str, Any] = {"units": cell.units} if cell.shapes is not None else {}
            more |= {"shapes": cell.shapes, "interval": cell.interval, "chance": cell.chance, "largest": cell.largest}
            if seen is not None:
                more |= {"learned": seen.learned, "trained": seen.trained} | ({"warning": seen.told} if seen.told else {})
            scale = dict(zip(("measured_in", "better"), _scale(cell), strict=True))
            return {"mean": cell.mean, "std": cell.deviation, "values": cell.values, "over": cell.over, **scale, **more}

        rows = [[name, *(body(line.cells[i], line.seen[i]) for line in self.lines)] for i, name in enumerate(self.names)]
        columns: list[dict[str, Any]] = [{"name": self.corner}]
        for line in self.lines:
            own = {"task": line.task, "variant": line.variant, "shapes": line.shapes, "metric": line.metric}
            columns.append(own | ({"mark": line.mark, "measured_last": line.last} if line.mark else {}))
        header = [self.corner, *(timeless(line.title) for line in self.lines)]
        return json_text({"header": header, "columns": columns, "rows": rows, "notes": self.notes}, allow_nan=False)

    def csv(self) -> str:
        """The table as CSV: a row for each metric of each run, and each number in a column of its own. Unknown numbers are empty.
        Results of one name on other shapes have a `mark`, and `measured_last` says which are the newest, if that is known.
        `learned` and `trained` count the test shapes that the task learned from, and that the encoder was trained on. The last column has
        the notes of the results behind the row, with semicolons between them."""
        file = io.StringIO()
        out = csv.writer(file, lineterminator="\n")
        columns = ("mean", "std", "values", "over", "measured_in", "better", "n", "units", "low", "high", "chance")
        known = ("largest_class", "verdict", "learned", "trained", "warning")
        names = ("task", "variant", "shapes", "mark", "measured_last", "metric")
        out.writerow((self.corner.replace(" ", "_"), *names, *columns, *known, "notes"))
        for line in self.lines:
            for name, cell, seen, notes in zip(self.names, line.cells, line.seen, line.notes, strict=True):
                if cell is None:
                    continue
                units = cell.units if cell.shapes is not None else None
                low, high = cell.interval or (None, None)
                values = (cell.mean, cell.deviation, " ".join(map(repr, cell.values)), cell.over)
                numbers = (*values, *_scale(cell), cell.shapes, units, low, high)
                new = (seen.learned, seen.trained, seen.told) if seen else (None, None, "")
                more = (cell.chance, cell.largest, cell.verdict, *new, "; ".join(notes))
                out.writerow((name, line.task, line.variant, line.shapes, line.mark, line.last, line.metric, *numbers, *more))
        return file.getvalue()

    def markdown(self) -> str:
        """The table as Markdown, for a README."""
        grid = self._grid(MARKDOWN, " ")
        rows = [(f"**{row}**",) if isinstance(row, str) else row for row in grid.rows]
        width = len(grid.header)
        lines = [
            grid.header,
            tuple("---" if i == 0 else "---:" for i in range(width)),
            *((*row, *[""] * (width - len(row))) for row in rows),
        ]
        body = "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)
        return body + "".join(f"\n\n{printable(note)}" for note in self.notes) + "\n"

    def rich(self, width: int | None = 80) -> Group:
        """The table for a terminal: under a heading for each task its metrics. A table that fits in neither direction is cut into several.
        Long names are folded, numbers are not, and nothing is left out.

        Args:
            width: width of the terminal in characters; None for a file or a pipe, where no line is folded.
        """
        grid = self._grid(width, " " if width is None else "\n")
        parts: list[RichTable] = []
        for columns in grid.cut(width):
            part = RichTable()
            for i in columns:
                part.add_column(_text(grid.header[i]), justify="left" if i == 0 else "right", overflow="fold", width=grid.width(i, width))
            for row in grid.rows:
                if isinstance(row, str):
                    part.add_section()
                    part.add_row(Text(printable(row), style="bold"))
                else:
                    part.add_row(*(_text(row[i]) for i in columns))
            parts.append(part)
        return Group(*parts, *map(_text, self.notes))

    def _grid(self, width: int | None, gap: str) -> "Grid":
        """The better of the two forms of a table. `gap` separates a value from its interval."""
        by_metric, by_run = self._by_metric(gap), self._by_run(gap)
        return by_metric if width is None or by_metric.whole <= max(width, min(by_run.whole, by_metric.whole)) else by_run

    def _by_metric(self, gap: str) -> "Grid":
        """Metrics in rows, under a heading for each task."""
        rows: list[str | tuple[str, ...]] = []
        for task in dict.fromkeys(line.task for line in self.lines):
            own = [line for line in self.lines if line.task == task]
            heading, names = _shortened(own)
            rows.append(heading)
            for line, name in zip(own, names, strict=True):
                rows.append((name, line.count, line.chance, *(_shown(line, i, gap) for i in range(len(self.names)))))
        return Grid(header=("", "n", "chance", *self.names), rows=tuple(rows), fixed=3)

    def _by_run(self, gap: str) -> "Grid":
        """Runs in rows."""
        rows: list[str | tuple[str, ...]] = [("n", *(line.count for line in self.lines)), ("chance", *(line.chance for line in self.lines))]
        rows += [(name, *(_shown(line, i, gap) for line in self.lines)) for i, name in enumerate(self.names)]
        return Grid(header=(self.corner, *(line.title + line.scale for line in self.lines)), rows=tuple(rows), fixed=1)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of a table as text."""

    header: tuple[str, ...]
    rows: tuple[str | tuple[str, ...], ...]
    """Rows of cells, and headings that span all columns."""
    fixed: int
    """Number of first columns that each part of a table repeats, if it is cut."""

    def width(self, i: int, most: int | None) -> int | None:
        """Width of a column in a terminal of a width; None for as wide as its content."""
        cells = [max(map(len, row[i].split("\n"))) for row in self.rows if not isinstance(row, str)]
        if most is None:
            return None
        if i == 0:
            return min(max([len(self.header[0]), *cells]), NAME)
        return min(max([min(len(self.header[i]), HEADING), *cells]), most)

    @property
    def whole(self) -> int:
        """Width of the whole table in characters, with names folded."""
        return sum(self._widths) + 1

    @property
    def _widths(self) -> list[int]:
        return [(self.width(i, 1000) or 0) + FRAME for i in range(len(self.header))]

    def cut(self, width: int | None) -> list[list[int]]:
        """The columns of each part of the table, so that each part fits into a width."""
        first, widths = list(range(self.fixed)), self._widths
        if width is None:
            return [list(range(len(self.header)))]
        groups: list[list[int]] = []
        for i in range(self.fixed, len(self.header)):
            if groups and sum(widths[j] for j in (*first, *groups[-1], i)) + 1 <= width:
                groups[-1].append(i)
            else:
                groups.append([i])
        return [first + group for group in groups] or [first]


def _shown(line: Line, i: int, gap: str) -> str:
    """Cell i of a line as text: mean, deviation and number of runs; then the interval, the verdict, how many of the test shapes are not
    new, and what differs between the runs."""
    cell, seen = line.cells[i], line.seen[i]
    if cell is None:
        return "-"
    count = f" ({len(cell.values)})" if cell.over == "runs" else ""
    own = [f"n {cell.shapes}" if line.count == "varies" and cell.shapes is not None else ""]
    own += [f"chance {cell.number(cell.chance)}" if line.chance == "varies" and cell.chance is not None else ""]
    said = [cell.verdict, seen.told if seen else ""]
    said = [part for text in said for part in textwrap.wrap(text, HEADING)] if gap == "\n" else said
    return gap.join(filter(None, (f"{cell}{count}", cell.extent, *said, *own)))


def _shortened(lines: Sequence[Line]) -> tuple[str, list[str]]:
    """A heading for the lines of one task, with all that they have in common; and a name for each of them, with the rest."""
    words = [line.variant.split(" ") for line in lines]
    common = [word for word in words[0] if word and all(word in other for other in words)]
    one = len({line.place for line in lines}) == 1
    heading = ", ".join(filter(None, (" ".join([lines[0].task, *common]), lines[0].place if one else "")))
    names = []
    for line, own in zip(lines, words, strict=True):
        rest = " ".join(word for word in own if word not in common)
        names.append(": ".join(filter(None, (", ".join(filter(None, (rest, "" if one else line.place))), line.metric + line.scale))))
    return heading, names


def _scale(cell: Metric) -> tuple[str, str]:
    """What the values of a cell are in, and which are better: `%` and `higher` if it tells none, as in results of earlier versions. If the
    unit is unknown, which are better is, too."""
    return cell.measured_in or PERCENT, cell.better or ("higher" if cell.percent else "")


def _text(text: str) -> Text:
    """A text for a terminal. Markup and escape sequences in it have no effect."""
    return Text(printable(text))


def _cell(text: str) -> str:
    return printable(text).replace("|", "/").replace("\n", " ")


# -------------------------------------------------------------------------------------------------- from results to a table


def table(results: Sequence[Result], by: Literal["run", "setup"] = "run") -> Table:
    """Join results into a table: their headline metrics as mean ± standard deviation, and their notes.

    Args:
        results: results of any runs and tasks.
        by: `run`: one row for each run. `setup`: one row for each setup, with mean and deviation over its runs, which differ only in
            their seeds; the row has the name of the first run.

    Raises:
        UserError: there is no result, or the same result was given twice.
    """
    if not results:
        raise UserError("there is no result to put into a table")
    without = [f"{reason}: it is left out." for reason in results.without] if isinstance(results, Collected) else []
    given, results = results, told_apart(results)
    differ = _differences(results)
    cells: dict[tuple[str, str, str, str, tuple[str, str]], dict[str, list[tuple[Result, Metric]]]] = {}
    for result in results:
        for metric in result.scores.metrics:
            if metric.headline:
                key = (result.task, result.scores.variant, result.place, metric.name, _scale(metric))
                cells.setdefault(key, {}).setdefault(getattr(result, by), []).append((result, metric))
    names: dict[str, str] = {}
    for result in results:
        names.setdefault(getattr(result, by), result.run)
    join = _only if by == "run" else _pooled
    lines = [
        Line(
            task=task,
            variant=variant,
            place=place,
            shapes=first.unmarked,
            mark=first.scores.test.mark,
            last=first.scores.test.last,
            metric=metric,
            cells=tuple(join(own[key]) if key in own else None for key in names),
            seen=tuple(_most([result for result, _ in own.get(key, ())]) for key in names),
            notes=tuple(_of_cell([result for result, _ in own.get(key, ())], differ) for key in names),
        )
        for (task, variant, place, metric, _), own in cells.items()
        for first, _ in [next(iter(own.values()))[0]]
    ]
    lines.sort(key=lambda line: [task for task, *_ in cells].index(line.task))  # lines of one task follow each other
    notes = (_legend(lines, by), *_largest(lines), *why_apart(given, results), *(told for _, told in differ), *_notes(results), *without)
    return Table(names=tuple(names.values()), lines=tuple(lines), by=by, notes=notes)


def _most(results: Sequence[Result]) -> Seen | None:
    """The worst count of test shapes that are not new, over some results: first by those that the task learned from, then by
    whether the encoder may have been trained on more than is known, then by those that it was trained on. None if no result has counted
    them."""
    known = [result.scores.seen for result in results if result.scores.seen is not None]
    return max(known, key=lambda seen: (seen.learned or 0, seen.more, seen.trained or 0), default=None)


def _of_cell(results: Sequence[Result], differ: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The notes of the results of a cell, each once, and what `_differences` says about their titles."""
    titles = {result.title for result in results}
    notes = [note for result in results for note in result.scores.notes]
    return tuple(dict.fromkeys((*notes, *(told.removesuffix(".") for title, told in differ if title in titles))))


def _largest(lines: Sequence[Line]) -> list[str]:
    """A sentence for each score of always choosing the most frequent answer, with the metrics that have it."""
    places: dict[str, set[str]] = {}
    for line in lines:
        places.setdefault(line.task, set()).add(line.place)
    names: dict[tuple[str, str], dict[str, None]] = {}
    for line in lines:
        name = f"{line.task}, {line.place}: {line.metric}" if len(places[line.task]) > 1 else f"{line.task}: {line.metric}"
        for cell in line.cells:
            if cell and cell.largest is not None:
                names.setdefault((cell.answer, cell.number(cell.largest)), {})[name] = None
    return [f"Always the {answer}: {largest} ({'; '.join(own)})." for (answer, largest), own in names.items()]


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
    unknown = dict.fromkeys(("shapes", "interval", "chance", "largest"))
    pooled = dataclasses.replace(metrics[0], values=tuple(metric.mean for metric in metrics), over="runs", **unknown)  # type: ignore[arg-type]
    alike = len({(metric.shapes, metric.chance, metric.largest) for metric in metrics}) == 1
    known = [metric.interval for metric in metrics if metric.interval]
    if not alike or len(known) < len(metrics):
        return pooled
    # All runs share the test shapes, so more runs do not make the interval over test shapes smaller.
    low, high = (statistics.fmean(ends) for ends in zip(*known, strict=True))
    same = {name: getattr(metrics[0], name) for name in ("shapes", "chance", "largest")}
    return dataclasses.replace(pooled, interval=(low, high), **same)


def _legend(lines: Sequence[Line], by: str) -> str:
    cells = [cell for line in lines for cell in line.cells if cell]
    counted = dict.fromkeys(cell.units for cell in cells if cell.shapes is not None)
    more = f"{brackets(cells)} n: test {' or '.join(counted)}." if counted else brackets(cells)
    over = sorted({cell.over for cell in cells if cell.deviation is not None})
    spread = "runs (how many)" if by == "setup" else " or ".join(over)
    first = "; ".join(filter(None, (in_percent(cells), f"mean ± standard deviation over {spread}" if spread else "")))
    return (f"{first[0].upper()}{first[1:]}." if first else "") + more


def _differences(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Titles, and sentences on the differences between results of this title that make them not comparable."""
    notes: list[tuple[str, str]] = []
    first: dict[str, Result] = {}
    for result in most_told(results):
        other = first.setdefault(result.title, result)
        mine, theirs = dict(result.settings), dict(other.settings)
        changed = [f"{k} {theirs.get(k)} / {mine.get(k)}" for k in sorted(mine.keys() | theirs) if mine.get(k) != theirs.get(k)]
        if not result.alike(dataclasses.replace(other, scores=dataclasses.replace(other.scores, classes=result.scores.classes))):
            changed.append("other shapes, or other classes of them, under the same name")
        if result.scores.classes != other.scores.classes:
            changed.append(f"among {len(other.scores.classes)} / {len(result.scores.classes)} classes")
        if changed:
            notes.append((result.title, f"Not comparable: {result.title} in {other.run} / {result.run}: {', '.join(changed)}."))
    return notes


def _notes(results: Sequence[Result]) -> list[str]:
    """The notes of the results. Each note appears once, with its runs and titles; `all of TASK` stands for all titles that these runs have
    of a task, if there are several.
    """
    titles: dict[tuple[str, str], dict[str, None]] = {}  # of each run and task
    runs: dict[tuple[str, str], dict[str, None]] = {}
    for result in results:
        titles.setdefault((result.run, result.task), {})[result.title] = None
        for note in result.scores.notes:
            runs.setdefault((note, result.title), {})[result.run] = None
    told: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (note, title), names in runs.items():
        told.setdefault((tuple(names), note), []).append(title)
    for (names_, _), several in told.items():
        for task in dict.fromkeys(task for _, task in titles):
            every = {title for run in names_ for title in titles.get((run, task), {})}
            if len(every) > 1 and every <= set(several):
                several[:] = [f"all of {task}", *(title for title in several if title not in every)]
    return [f"{', '.join(names_)}: {note} ({'; '.join(several)})." for (names_, note), several in told.items()]
