"""What an evaluation found, as JSON in and out, and several of them side by side.

result.save(run)                                       # RUN/eval/svm-shapes-test.json
print(table(collect([Path("runs/align"), Path("runs/distill")])).markdown())
"""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table as RichTable
from rich.text import Text

from cache_schema.spec import from_json, to_json
from cache_schema.store import write_file

FOLDER = "eval"
"""Where a run keeps its results."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a paper, with everything it is the mean of."""

    name: str
    values: tuple[float, ...]
    """In percent, one for each seed, fold or block."""
    over: Literal["seeds", "folds", "blocks"]
    """What the values differ in: seeds of training, few-shot episodes, or the stored block of points that each shape is seen by."""
    headline: bool = False
    """Whether it stands in the table of several runs."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation; None of a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.deviation is None else f"{self.mean:.1f} ± {self.deviation:.1f}"


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which shapes were used."""

    cache: str
    """Name of the cache, without its folder."""
    points: str
    """Fingerprint of its points."""
    split: str
    shapes: int


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a task measured."""

    train: Data | None = None
    """None where nothing is fitted."""
    test: Data
    metrics: tuple[Metric, ...]
    variant: str = ""
    """Which form of the task, where it has several that are told apart in a paper: `5-way 10-shot`, `linear`."""
    classes: tuple[str, ...] = ()
    """Names of the rows and columns of `confusion`."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """How often a shape of class i was taken for class j, added up over the values of the first metric."""
    notes: tuple[str, ...] = ()
    """What a reader must know: shapes left out, a solver that did not converge."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One task on one run."""

    task: str
    run: str
    """Name of the run."""
    setup: str
    """Fingerprint of what was trained, seed aside: runs of one setup are repetitions of each other."""
    protocol: Literal["last epoch", "last epoch, peer protocol where named"]
    """`last epoch`: nothing was chosen by looking at the test shapes."""
    settings: tuple[tuple[str, str], ...]
    """The task's options, value as JSON."""
    scores: Scores

    @property
    def title(self) -> str:
        """Task, variant and test shapes in words: results of one title can stand in one column."""
        train, test = self.scores.train, self.scores.test
        source = f"{train.cache} {train.split} to " if train is not None and train.cache != test.cache else ""
        variant = f" {self.scores.variant}" if self.scores.variant else ""
        return f"{self.task}{variant}, {source}{test.cache} {test.split}"

    @property
    def file(self) -> str:
        """Name of its file, without ending: another variant or other test shapes do not overwrite it."""
        return "".join(c if c.isalnum() or c in "._" else "-" for c in self.title.replace(", ", "-"))

    def json(self) -> str:
        return json.dumps(to_json(self), indent=2, ensure_ascii=False, allow_nan=False)

    def rich(self) -> RichTable:
        """For a terminal."""
        caption = [f"Percent, {self.protocol}, {self.scores.test.shapes} test shapes.", *self.scores.notes]
        out = RichTable(title=Text(f"{self.run}: {self.title}"), caption=Text("\n".join(caption)), caption_justify="left")
        for name in ("", "mean ± std", "values"):
            out.add_column(name, justify="right" if name else "left")
        for metric in self.scores.metrics:
            out.add_row(Text(metric.name), str(metric), f"{' '.join(f'{value:.1f}' for value in metric.values)} ({metric.over})")
        return out

    def save(self, run: Path) -> Path:
        """Write it into the folder of a run. Returns the file."""
        path = run / FOLDER / f"{self.file}.json"
        write_file(path, (self.json() + "\n").encode())
        return path


def load(path: Path) -> Result:
    """A saved result.

    Raises:
        ValueError: the file is no result.
    """
    try:
        return from_json(Result, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} is no result of an evaluation ({error}); evaluate again to replace it") from error


def collect(runs: Sequence[Path]) -> list[Result]:
    """All saved results of several runs. Runs of one name in different folders go by their paths.

    Raises:
        ValueError: a run has none, or a file is damaged.
    """
    results = []
    names = [run.resolve().name for run in runs]
    for run, name in zip(runs, names, strict=True):
        files = sorted((run / FOLDER).glob("*.json"))
        if not files:
            raise ValueError(f"{run} has no results yet; `mmpd-train eval TASK {run} CACHE` makes some")
        label = name if names.count(name) == 1 else str(run)
        results += [dataclasses.replace(load(file), run=label) for file in files]
    return results


@dataclass(frozen=True, kw_only=True)
class Table:
    """Runs in rows, what was measured in columns."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def markdown(self) -> str:
        lines = [self.header, tuple("---" if i == 0 else "---:" for i in range(len(self.header))), *self.rows]
        body = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
        return body + "".join(f"\n\n{note}" for note in self.notes) + "\n"

    def rich(self) -> RichTable:
        """For a terminal."""
        out = RichTable(caption=Text("\n".join(self.notes)), caption_justify="left")
        for i, name in enumerate(self.header):
            out.add_column(Text(name), justify="left" if i == 0 else "right")
        for row in self.rows:
            out.add_row(*map(Text, row))
        return out


def table(results: Sequence[Result], by: Literal["run", "setup"] = "run") -> Table:
    """Results side by side: their headline metrics in percent, mean ± standard deviation.

    Args:
        results: of any runs and tasks.
        by: a row for each run; or for each setup, with the mean and deviation over its runs, which differ in their seed only. It goes by
            the name of the first.

    Raises:
        ValueError: there is no result.
    """
    if not results:
        raise ValueError("there is no result to put into a table")
    columns: dict[tuple[str, str], dict[str, list[Metric]]] = {}
    for result in results:
        for metric in result.scores.metrics:
            if metric.headline:
                cells = columns.setdefault((result.title, metric.name), {})
                cells.setdefault(getattr(result, by), []).append(metric)
    names = {getattr(result, by): result.run for result in reversed(results)}
    rows = tuple((names[key], *(_cell(cells.get(key, []), by) for cells in columns.values())) for key in reversed(names))
    header = ("run" if by == "run" else "first run of setup", *(f"{title}: {metric}" for title, metric in columns))
    return Table(header=header, rows=rows, notes=(_legend(columns, by), *_differences(results)))


def _cell(metrics: Sequence[Metric], by: str) -> str:
    if by == "run" and len(metrics) == 1:
        return str(metrics[0])
    if by == "run" and metrics:
        raise ValueError("a run was given twice")
    return f"{Metric(name='', values=tuple(m.mean for m in metrics), over='seeds')} ({len(metrics)})" if metrics else "-"


def _legend(columns: dict[tuple[str, str], dict[str, list[Metric]]], by: str) -> str:
    if by == "setup":
        return "Percent; mean ± standard deviation over runs (how many)."
    over = sorted({m.over for cells in columns.values() for metrics in cells.values() for m in metrics if m.deviation is not None})
    return f"Percent; mean ± standard deviation over {' or '.join(over)}." if over else "Percent."


def _differences(results: Sequence[Result]) -> list[str]:
    """What keeps results of one column from being comparable."""
    notes: list[str] = []
    first: dict[str, Result] = {}
    for result in results:
        other = first.setdefault(result.title, result)
        mine, theirs = dict(result.settings), dict(other.settings)
        changed = [f"{k} {theirs.get(k)} / {mine.get(k)}" for k in sorted(mine.keys() | theirs) if mine.get(k) != theirs.get(k)]
        if (result.scores.train, result.scores.test) != (other.scores.train, other.scores.test):
            changed.append("other shapes under the same name")
        if changed:
            notes.append(f"Not comparable: {result.title} in {other.run} / {result.run}: {', '.join(changed)}.")
    return notes
