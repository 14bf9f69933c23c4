"""What every command works with: the machine, the terminal and the cache.

with held(path, terminal) as journal:
    work = Work(cache=cache, models=Models("cpu"), machine=Machine(), terminal=terminal, journal=journal)
"""

import contextlib
import os
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from cache_schema.errors import UserError
from cache_schema.files import exclusive
from cache_schema.overlay import catch_up
from cache_schema.spec import Record
from cache_schema.store import Cache, open_cache
from cache_schema.terminal import counted, some
from pipeline import labels
from pipeline.describe import asked_in_words
from pipeline.journal import Asked, Begun, Event, ShardMade, append
from pipeline.sources.catalog import Entry

SOME: Final = 5
"""Most names that a message lists."""

if TYPE_CHECKING:
    from pipeline.models import Models  # it imports torch, which commands that make nothing do without


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where to run. This changes results only by rounding."""

    workers: int = 0
    """Number of shape processes; 0 for one per core."""
    scheduler: str = ""
    """Address of a dask scheduler, or `slurm:` and what its jobs ask for; empty for this machine."""
    device: str = "auto"
    """Torch devices with commas between them. `auto`: all GPUs, or the CPU if there is none; of a worker, if there is a scheduler."""

    def devices(self) -> tuple[str, ...]:
        """Return the names of the torch devices of this machine. `pipeline.executors.catalog.devices` asks a cluster, too.

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

    def kind(self) -> str:
        """Say what the machine is: processor, cores and GPUs, such as `AMD EPYC 7B13, 16 cores, 1 x NVIDIA H200`. It names no host."""
        if self.scheduler:
            return "a dask cluster"
        import torch

        try:
            names = [
                line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
            ]
        except OSError:
            names = []
        gpus = Counter(torch.cuda.get_device_name(name) for name in self.devices() if name.startswith("cuda"))
        cores = f"{len(os.sched_getaffinity(0))} cores"
        return ", ".join([*(names[:1] or [platform.machine()]), cores, *(f"{count} x {name}" for name, count in gpus.items())])

    def processes(self) -> int:
        """Number of shape processes on this machine."""
        return self.workers or len(os.sched_getaffinity(0))


class Terminal(Protocol):
    """What a command calls to report its progress."""

    def say(self, text: str) -> None:
        """Show a line about what happens next."""

    def begin(self, totals: dict[str, int]) -> None:
        """Begin to show progress. `totals` has the units of work of each product."""

    def advance(self, product: str, units: int) -> None:
        """Add units of a product that are done."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a command works with after it has locked the cache."""

    cache: Cache
    """The cache to write to; see `held`."""
    entries: Sequence[Entry] = ()
    """All shapes in the order of rows; empty if nothing is made from files."""
    models: "Models"
    machine: Machine
    terminal: Terminal
    journal: TextIO

    def note(self, event: Event) -> None:
        """Write one event to the journal. What a server was asked is also said, because it may cost money."""
        append(self.journal, replace(event, machine=self.machine.kind()) if isinstance(event, Begun) else event)
        if isinstance(event, ShardMade | Asked) and event.asked:
            seconds = event.seconds if isinstance(event, ShardMade) else 0.0
            self.terminal.say(f"{event.product}, shard {event.shard}: {asked_in_words(event.asked, seconds)}")
            if event.refused:
                self.terminal.say(f"{event.product}, shard {event.shard}: no text of {some(event.refused, 3, '; ')}")


@contextlib.contextmanager
def held(path: Path, terminal: Terminal) -> Iterator[TextIO]:
    """Lock a cache. If another command is at work on it, say so and wait. Yields the journal, open for appending."""
    with exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as file:
        yield file


def lacking_classes(cache: Cache) -> list[str]:
    """Say which label sets of a cache's own classes lack some of these, and what to do."""
    said = []
    for record in cache.products().values():
        if record.labels is not None and record.labels.name == "source":
            lacking = {labels.readable(name) for name in cache.manifest.classes} - set(record.labels.classes)
            if lacking:
                again = f"`mmpd-cache labels {cache.path.name} source`"
                said.append(f"{record.product} lacks {some(sorted(lacking), SOME)}: remove it, and make it again by {again}")
    return said


def caught_up(path: Path, terminal: Terminal, made: Sequence[Record] | None = None) -> Cache:
    """Open a cache to write to it, under `held`. An overlay whose shared cache has grown gets the new shapes, which its own products lack.

    Args:
        path: the cache.
        terminal: is told what an overlay lacks.
        made: the products that the command makes next; None for `retry`, which looks after all that can be made.

    Raises:
        UserError: see `cache_schema.overlay.catch_up`. Nothing was changed.
    """
    lack, cache = catch_up(path, made), open_cache(path)
    if lack:
        number, lacks = cache.manifest.count, "lacks" if len(lack) == 1 else "lack"
        terminal.say(f"{cache.home} has grown: {path} has its {counted(number, 'shape')} now, and {', '.join(lack)} {lacks} the new ones")
        for text in lacking_classes(cache):
            terminal.say(f"Warning: {text}")
    return cache
