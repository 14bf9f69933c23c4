"""What every command works with: the machine it runs on, the terminal it speaks to, and the cache it holds.

with held(path, terminal) as journal:
    work = Work(cache=cache, models=Models("cpu"), machine=Machine(), terminal=terminal, journal=journal)
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from cache_schema.errors import UserError
from cache_schema.files import exclusive
from cache_schema.store import Cache
from pipeline.journal import Event, append
from pipeline.models import Models
from pipeline.sources.catalog import Entry


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where to run. Changes no result but for float rounding."""

    workers: int = 0
    """Shape processes; 0 for one per core."""
    scheduler: str = ""
    """Address of a dask scheduler; empty for this machine."""
    device: str = "auto"
    """Torch device, several with commas, or auto: every GPU, else the CPU."""

    def devices(self) -> tuple[str, ...]:
        """The torch devices by name.

        Raises:
            UserError: there is no such device.
        """
        import torch

        if self.device == "auto":
            return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count())) or ("cpu",)
        names = tuple(name.strip() for name in self.device.split(","))
        for name in names:
            try:
                torch.empty(0, device=torch.device(name))
            except (RuntimeError, AssertionError) as error:
                reason = str(error).partition("\n")[0]
                raise UserError(f"device {name!r} cannot be used ({reason}); `--device cpu` works everywhere") from error
        return names

    def processes(self) -> int:
        """Number of shape processes."""
        return self.workers or len(os.sched_getaffinity(0))


class Terminal(Protocol):
    """How a command speaks while it works."""

    def say(self, text: str) -> None:
        """A line about what happens next."""

    def begin(self, totals: dict[str, int]) -> None:
        """Work is about to start: units by product."""

    def advance(self, product: str, units: int) -> None:
        """Some of it is done."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a command works with once it holds the cache."""

    cache: Cache
    """The cache to write to; see `held`."""
    entries: Sequence[Entry] = ()
    """Every shape, by row; empty where nothing is made from files."""
    models: Models
    machine: Machine
    terminal: Terminal
    journal: TextIO

    def note(self, event: Event) -> None:
        """Write one event into the journal."""
        append(self.journal, event)


@contextlib.contextmanager
def held(path: Path, terminal: Terminal) -> Iterator[TextIO]:
    """Hold a cache alone; where another command is at work on it, say so and wait. Gives the journal, open for appending."""
    with exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as file:
        yield file
