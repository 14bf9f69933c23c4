"""How everything in this folder is measured: ways to do one thing take turns, and each row says on which machine, how quiet it was, and how
far the rounds differ.

    with Report("step") as report:  # prints each row as it is measured; writes build/bench/step.json
        report.compare("stage 2, batch 32", {"ours": run, "plain Point-MAE": plain}, rounds=7, per=32, unit="samples")
        report.limit("reading", ours=run, limit=copy, name="NumPy in memory", unit="samples")

A way is a function without arguments, or a command as a list of strings. It does `per` units of work, or as many as it returns. The first
way is ours. A ratio is our rate divided by the other's in the same round: 2 means twice as fast.
"""

import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import machine

Way = Callable[[], object] | Sequence[str]
TURN = 0.2
"""Seconds that a turn lasts at least: shorter work is repeated."""
BUSY = 0.05
"""Share of the processor time of our cores that other processes may take before a row is marked."""
NOISE = 1.05
"""How many times as fast as a limit ours may seem before the two are not comparable: nothing beats a limit, so this is noise."""
FOLDER = Path(os.environ.get("MMPD_BENCH", "build/bench"))
clock = time.perf_counter  # tests replace it


class Watch:
    """What other processes take from our cores from now on."""

    def __init__(self) -> None:
        self.load = os.getloadavg()[0]
        self.clock, self.ours, self.busy = clock(), machine.own() + machine.running(), machine.busy()

    def share(self) -> float | None:
        """Share of the processor time of our cores that others took since. None: not known on this machine."""
        now, ours, span = machine.busy(), machine.own() + machine.running(), (clock() - self.clock) * machine.cores()
        if now is None or self.busy is None or span <= 0:
            return None
        return max(0.0, (now - self.busy - (ours - self.ours)) / span)


@dataclass(frozen=True)
class Turn:
    """One turn: seconds by the clock, seconds of processors, units of work, and how often the way was called."""

    wall: float
    processor: float
    units: float = 1.0
    calls: int = 1


def turn(way: Way, per: float = 1.0, repeat: int = 1) -> Turn:
    """Time a way, `repeat` times on end."""
    units, children, before, start = 0.0, machine.running(), machine.own(), clock()
    for _ in range(repeat):
        done = way() if callable(way) else subprocess.run(way, check=True, stdout=subprocess.DEVNULL) and None
        units += done if isinstance(done, int | float) and not isinstance(done, bool) else per
    wall, processor = clock() - start, machine.own() - before
    return Turn(wall, processor + machine.running() - children, units, repeat)


def in_turns(ways: Mapping[str, Way], rounds: int, per: float = 1.0, warm: bool = True) -> dict[str, list[Turn]]:
    """Turns of each way: forth, back, forth ... A first round does not count, and tells how often short work is repeated; `warm=False`
    leaves it out, for commands that take minutes.
    """
    repeats = {name: max(1, round(TURN / max(turn(way, per).wall, 1e-6))) if warm else 1 for name, way in ways.items()}
    turns: dict[str, list[Turn]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            turns[name].append(turn(ways[name], per, repeats[name]))
    return turns


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and ends of some values."""
    low, middle, high = statistics.quantiles(values, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": middle, "q1": low, "q3": high, "min": min(values), "max": max(values), "rounds": len(values)}


def summary(turns: Sequence[Turn], first: Sequence[Turn]) -> dict[str, Any]:
    """What a row says about one way: units a second, seconds a call, and how many times as fast the first one is."""
    pairs = list(zip(first, turns, strict=True))
    ratios = [(ours.units / ours.wall) / (theirs.units / theirs.wall) for ours, theirs in pairs]
    known = all(one.processor > 0 for pair in pairs for one in pair)
    effort = [(ours.units / ours.processor) / (theirs.units / theirs.processor) for ours, theirs in pairs] if known else None
    return {
        "rate": spread([one.units / one.wall for one in turns]),
        "seconds": spread([one.wall / one.calls for one in turns]),
        "processor_seconds": spread([one.processor / one.calls for one in turns]),
        "ratio": spread(ratios),
        "processor_ratio": effort and spread(effort),
    }


def noisy(ours: dict[str, Any], way: dict[str, Any]) -> bool:
    """Whether ours seems to beat a limit, by the rounds or by the medians: then others disturbed one of them, and no ratio holds."""
    return way["limit"] and max(way["ratio"]["median"], ours["rate"]["median"] / way["rate"]["median"]) > NOISE


class Report:
    """The rows of one benchmark: printed as they are measured, and kept as JSON with all that a reader needs to judge them."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.file = (folder or FOLDER) / f"{name}.json"
        self.facts = {
            "name": name,
            "about": " ".join((sys.modules["__main__"].__doc__ or "").partition("\n\n")[0].split()),
            "date": datetime.date.today().isoformat(),
            "command": machine.command(),
            "machine": machine.described(),
            "versions": machine.versions(),
        }
        self.rows: list[dict[str, Any]] = []
        self.start = clock()
        one, system = self.facts["machine"], self.facts["versions"]
        print(f"{one['processor']}, {one['cores']} cores, {one['memory_gib']} GiB, GPU: {one['gpu']}", flush=True)
        print(", ".join(f"{key} {value}" for key, value in system.items()), flush=True)
        self.watch = Watch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        print(f"\nKept in {self.file}", flush=True)

    def compare(
        self,
        what: str,
        ways: Mapping[str, Way],
        rounds: int = 7,
        per: float = 1.0,
        unit: str = "",
        limits: Sequence[str] = (),
        warm: bool = True,
    ) -> dict[str, list[Turn]]:
        """Measure ways in turns. The first one is ours; each other one gets a ratio. For those named in `limits`, see `limit`."""
        self.watch = Watch()
        return self.row(what, in_turns(ways, rounds, per, warm), unit, limits)

    def limit(
        self, what: str, ours: Way, limit: Way, name: str = "limit", rounds: int = 7, per: float = 1.0, unit: str = ""
    ) -> dict[str, list[Turn]]:
        """Measure a way against something that no way can beat, such as a copy in memory. The ratio is our share of it."""
        return self.compare(what, {"ours": ours, name: limit}, rounds, per, unit, (name,))

    def row(self, what: str, turns: dict[str, list[Turn]], unit: str = "", limits: Sequence[str] = ()) -> dict[str, list[Turn]]:
        """Turns that the caller has measured since the last row, or since it set `watch`. Those named in `limits` cannot be beaten."""
        others = self.watch.share()
        first = next(iter(turns.values()))
        ways = [{"name": name, "limit": name in limits, **summary(taken, first)} for name, taken in turns.items()]
        quiet = None if others is None else others <= BUSY
        self._add(
            {"what": what, "unit": unit, "ways": ways, "others": others, "load": [self.watch.load, os.getloadavg()[0]], "quiet": quiet}
        )
        return turns

    def figure(self, what: str, values: dict[str, float], unit: str, compared: bool = True) -> None:
        """Something that is not a time, such as bytes. The ratio is ours, the first, divided by the other one, if they are compared."""
        first = next(iter(values.values()))
        ways = [{"name": name, "value": value, "ratio": first / value if value and compared else None} for name, value in values.items()]
        self._add({"what": what, "unit": unit, "figures": ways})

    def missing(self, what: str, why: str) -> None:
        """A row that cannot be measured here, such as one that needs a GPU."""
        self._add({"what": what, "missing": why})

    def _add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        print("\n".join(lines(row)), flush=True)
        self._write()
        self.watch = Watch()

    def _write(self) -> None:
        self.facts["minutes"] = round((clock() - self.start) / 60, 1)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        rows = ",\n".join(json.dumps(rounded(row)) for row in self.rows)  # one row in one line
        self.file.write_text(f'{json.dumps(self.facts, indent=1)[:-2]},\n "rows": [\n{rows}\n ]\n}}\n')


def lines(row: dict[str, Any]) -> Iterator[str]:
    """A row as it is printed."""
    yield f"\n{row['what']}"
    if "missing" in row:
        yield f"  not measured: {row['missing']}"
    for way in row.get("figures", ()):
        yield f"  {way['name']:34} {number(way['value']):>13} {row['unit']}" + (f"   {way['ratio']:.2f}x" if way["ratio"] else "")
    for i, way in enumerate(row.get("ways", ())):
        seconds, ratio, rate = way["seconds"], way["ratio"], way["rate"]
        took = f"{number(rate['median'])} {row['unit']}/s" if row["unit"] else ""
        text = f"  {way['name']:34} {took:>22} {number(seconds['median']):>7} s, processor {number(way['processor_seconds']['median'])} s"
        if i and noisy(row["ways"][0], way):
            text += "   noisy: not comparable, ours seems to beat a limit"
        elif i:
            means = "of this limit" if way["limit"] else "as fast as this"
            text += f"   ours is {ratio['median']:.3g}{'' if way['limit'] else 'x'} {means} ({ratio['min']:.3g} to {ratio['max']:.3g})"
            if way["processor_ratio"]:
                text += f", in processor time {way['processor_ratio']['median']:.3g}"
        yield text
    if row.get("quiet") is False:
        yield f"  BUSY MACHINE: other processes took {row['others']:.0%} of our cores. Ratios hold better than rates; measure again."
    elif "quiet" in row:
        yield "  not known how quiet the machine was" if row["quiet"] is None else f"  others took {row['others']:.1%} of our cores"


def rounded(value: Any) -> Any:
    """JSON with four digits of each float: no timing has more."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
