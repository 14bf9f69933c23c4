"""Compute what a cache cost from the journal beside it: the seconds of each command and each stage.

costs(Snapshot(cache))["stages"]    # [{"name": "read", "unit": "shapes", "seconds": 4.0, "units": 16}, ...]
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cache_schema import products, spec
from cache_schema.store import Cache
from pipeline.describe import asked_in_words
from pipeline.journal import SHAPES, Begun, Done, Event, ShapesMade, ShardMade, asked, journal_of
from pipeline.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Run:
    """One command that wrote to the cache, from the journal."""

    start: float
    """Unix time in seconds."""
    end: float
    what: str
    finished: bool
    machine: str
    """Kind of the machine; empty if the journal does not say it."""
    shards: tuple[ShapesMade | ShardMade, ...]
    """The cost of each shard."""

    @property
    def machines(self) -> tuple[str, ...]:
        """Kinds of the machines that made shards: those of a cluster, or that of the command."""
        found = dict.fromkeys(made.machine or self.machine for made in self.shards)
        return tuple(name for name in found if name)

    @property
    def wall(self) -> float:
        """Wall time in seconds."""
        return self.end - self.start

    @property
    def waited(self) -> float:
        """Seconds that the process with the models waited for shapes."""
        return sum(made.waited for made in self.shards if isinstance(made, ShapesMade))

    @property
    def models(self) -> float:
        """Seconds that teachers and captioners took, with reading and writing."""
        return sum(made.seconds for made in self.shards if isinstance(made, ShardMade))

    @property
    def rest(self) -> float:
        """All other seconds: loading, writing, label sets."""
        return max(self.wall - self.waited - self.models, 0.0)

    @property
    def overlapping(self) -> bool:
        """Whether several shards were made at once, so that their seconds add up to more than the wall time."""
        return self.waited + self.models > self.wall + 0.1

    @property
    def date(self) -> str:
        """Time of the beginning as text."""
        return datetime.fromtimestamp(self.start, UTC).strftime("%Y-%m-%d %H:%M UTC")


def runs(cache: Cache) -> list[Run]:
    """List the commands in the journal beside a cache."""
    found: list[tuple[Begun, list[Event]]] = []
    for event in journal_of(cache).events:
        if isinstance(event, Begun):
            found.append((event, [event]))
        elif found:
            found[-1][1].append(event)
    return [
        Run(
            start=begun.time,
            end=events[-1].time,
            what=begun.title,
            finished=isinstance(events[-1], Done),
            machine=begun.machine,
            shards=tuple(event for event in events if isinstance(event, ShapesMade | ShardMade)),
        )
        for begun, events in found
    ]


def costs(snapshot: Snapshot) -> dict[str, Any]:
    """Compute the seconds of each stage over all runs, and how the longest run spent its time."""
    every = runs(snapshot.cache)
    longest = max((run for run in every if run.shards), key=lambda run: run.wall, default=None)
    return {
        "runs": every,
        "ignored": journal_of(snapshot.cache).ignored,
        "stages": stage_costs(snapshot, [made for run in every for made in run.shards]),
        "longest": longest,
        "asked": [f"For {name}, {asked_in_words(numbers)}" for name, numbers in asked(snapshot.cache).items()],
        "lanes": lanes(longest) if longest is not None and longest.wall and not longest.overlapping else [],
    }


def measured(cache: Cache) -> dict[str, Any]:
    """Return the hours that each stage took over all commands, and the kinds of machines that they ran on, from the journal.

    Returns:
        `machines`: their names. `stages`: dicts with `name`, `unit`, `units`, `seconds` and `hours`. Hours of steps of shapes are those of
        one process, those of models of one device. `asked`: what the servers of captioners were asked, by product; see
        `pipeline.captioners.http.Http.used`.
    """
    every = runs(cache)
    shards = [made for run in every for made in run.shards]
    stages = stage_costs(Snapshot(cache), shards) if shards else []
    return {
        "machines": list(dict.fromkeys(machine for run in every for machine in run.machines)),
        "stages": [{**stage, "hours": stage["seconds"] / 3600} for stage in stages],
        "asked": asked(cache),
    }


def stage_costs(snapshot: Snapshot, shards: Iterable[ShapesMade | ShardMade]) -> list[dict[str, Any]]:
    """Add up seconds and units of each stage. Stages are the steps of shape processes, and the products of models."""
    usable = snapshot.status == spec.OK
    stages: dict[str, dict[str, Any]] = {}

    def add(name: str, unit: str, seconds: float, units: int) -> None:
        stage = stages.setdefault(name, {"name": name, "unit": unit, "seconds": 0.0, "units": 0})
        stage["seconds"] += seconds
        stage["units"] += units

    for made in shards:
        if isinstance(made, ShapesMade):
            for step, seconds in made.steps.items():
                add(step, "shapes", seconds, made.shapes)
        elif made.product in snapshot.records:
            record, rows = snapshot.records[made.product], snapshot.manifest.rows(made.shard)
            kind = products.of(record)
            units = int(usable[rows.start : rows.stop].sum()) * kind.per_shape(record)
            add(made.product, f"{kind.unit}s", made.seconds, units)
    return list(stages.values())


def lanes(run: Run) -> list[dict[str, Any]]:
    """Tell when the process with the models worked on which product: its seconds, and time spans in thousandths of the run."""
    found: dict[str, dict[str, Any]] = {}
    for made in run.shards:
        seconds, name = (made.waited, SHAPES) if isinstance(made, ShapesMade) else (made.seconds, made.product)
        lane = found.setdefault(name, {"name": name, "seconds": 0.0, "spans": []})
        lane["seconds"] += seconds
        end = (made.time - run.start) / run.wall * 1000
        start = max(end - seconds / run.wall * 1000, 0.0)
        spans = lane["spans"]
        if spans and start - spans[-1][1] < 1:  # closer than the page can show
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return list(found.values())
