"""What the commands print: answers on standard output, messages and progress on standard error, all of it safe for a terminal."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from cache_schema.terminal import LogFile, Pace, json_text, printable, time_left


class Messages(Console):
    """A console whose lines of text also go into the log file. Quiet, it shows nothing, and the file has them all the same."""

    def print(self, *objects: Any, **how: Any) -> None:
        for one in objects:
            if isinstance(one, Text):
                log.note(one.plain)
        super().print(*objects, **how)


log: Final = LogFile()
out = Console()
err = Messages(stderr=True)
UNBOUNDED: Final = 10_000
"""Width of lines in a file or a pipe, in characters."""


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, without line wrapping."""
    sys.stdout.write(json_text(value) + "\n")


def print_wide(table: RenderableType) -> None:
    """Print a table. A file or a pipe gets lines as long as they need to be, so that no name is folded or cut."""
    (out if out.is_terminal else Console(width=UNBOUNDED)).print(table)


def answer(text: str) -> None:
    """Print the answer of a command on standard output. Control characters are escaped, and markup has no effect."""
    out.print(Text(printable(text)), soft_wrap=True)


def say(text: str) -> None:
    """Print a message on standard error. If there are several ranks, only the first one prints."""
    if os.environ.get("RANK", "0") == "0":
        err.print(Text(printable(text)), soft_wrap=True)


@contextmanager
def progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error, or a line from time to time if that is no terminal.

    Yields a function that sets the number of finished steps and the number of all steps. Call it before the first step, too: what was
    finished then has taken no time.
    """
    pace, before = Pace(), -1

    def step(done: int, total: int) -> None:
        nonlocal before
        before = done if before < 0 else before
        bars.update(task, completed=done, total=total)
        if (err.quiet or not err.is_terminal) and done < total and pace.due():
            say(f"{name} {done}/{total}{time_left((pace.began, done - before, total - done))}")

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=err.quiet,
    ) as bars:
        task = bars.add_task(printable(name))
        yield step
