"""What `mmpd-cache` prints: answers on standard output, messages and progress bars on standard error, all of it safe for a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cache_schema import products
from cache_schema.terminal import LogFile, Pace, json_text, printable, time_left

out = Console()
err = Console(stderr=True)
log: Final = LogFile()


def print_json(value: Any) -> None:
    """Print a value as JSON, without breaking lines at the width of the terminal."""
    sys.stdout.write(json_text(value) + "\n")


def show(text: str) -> None:
    """Print a line of the result on standard output. Characters that a terminal would obey are shown as letters."""
    out.print(Text(printable(text)), soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print a line about progress or a mistake on standard error, made safe like `show`."""
    log.note(text)
    err.print(Text(printable(text), style), soft_wrap=True)


def cell(text: str) -> Text:
    """Return a text for the cell of a table, made safe like `show`."""
    return Text(printable(text))


class Rate(ProgressColumn):
    """Column with the units per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f}/s")


class Rest(ProgressColumn):
    """Column with the seconds that captions wait for their server."""

    end = 0.0
    """When the wait ends."""

    def render(self, task: Task) -> Text:
        left = self.end - time.monotonic()
        waits = left > 0 and not task.finished and task.description.startswith(f"{products.CAPTIONS.name}/")
        return Text(f"waits {left:.0f} s" if waits else "")


class Bars:
    """Progress bars by product: a `pipeline.work.Terminal`. Where no bar can be seen, a line tells the same from time to time."""

    def __init__(self, bars: Progress, rest: Rest) -> None:
        self.bars, self.rest = bars, rest
        self.tasks: dict[str, TaskID] = {}
        self.pace = Pace()
        self.first: dict[TaskID, tuple[float, float]] = {}
        """When each bar moved first, and how far: what was there before is counted in no time. Some bars begin only after others end."""

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        log.note(text)
        self.bars.console.print(Text(printable(text)), soft_wrap=True)

    def begin(self, totals: dict[str, int]) -> None:
        """Draw a bar for each product. `totals` has the units of each."""
        self.tasks = {name: self.bars.add_task(printable(name), total=total) for name, total in totals.items()}

    def advance(self, product: str, units: int) -> None:
        """Move the bar of a product on. Products without a bar are ignored."""
        if product in self.tasks:
            self.bars.advance(self.tasks[product], units)
            self._tell()

    def wait(self, why: str, seconds: float) -> None:
        """Print why nothing goes on, and count the seconds down beside the bars of captions."""
        self.say(why)
        self.rest.end = time.monotonic() + seconds

    def at(self, name: str, done: int, total: int) -> None:
        """Move a bar to `done` of `total`. A new bar is drawn first."""
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(printable(name), total=total)
        self.bars.update(self.tasks[name], completed=done)
        self._tell()

    def _tell(self) -> None:
        """Print what is not finished yet, if a line is due."""
        if self.bars.console.is_terminal and not self.bars.console.quiet:
            return
        now, open_ones = time.monotonic(), [task for task in self.bars.tasks if not task.finished and task.total]
        for task in open_ones:
            if task.completed:
                self.first.setdefault(task.id, (now, task.completed))
        if not open_ones or not self.pace.due():
            return
        since = [self.first.get(task.id, (now, 0.0)) for task in open_ones]
        parts = zip(since, open_ones, strict=True)
        left = time_left(*((began, task.completed - before, task.remaining or 0.0) for (began, before), task in parts))
        self.say(f"done so far: {', '.join(f'{task.description} {task.completed:.0f}/{task.total:.0f}' for task in open_ones)}{left}")


@contextmanager
def progress() -> Iterator[Bars]:
    """Show progress bars with rates and remaining time on standard error. Jobs of Slurm that are started inside end with this."""
    from pipeline import waits
    from pipeline.executors import slurm

    rest = Rest()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        rest,
    )
    with Progress(*columns, console=err, disable=err.quiet) as bars:
        shown = Bars(bars, rest)
        with slurm.held(shown.say), waits.heard(shown.wait):
            yield shown
