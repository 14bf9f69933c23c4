"""Which way of fine-tuning is worth its parameters? All of `trainer/tuning/`, full fine-tuning and frozen encoders, on scans of objects.

    python science/tuning.py build/tuning --run runs/both --caches scan-modelnet10.zarr scan-kaykit.zarr
    python science/tuning.py build/tuning --run runs/both --caches scan-modelnet10.zarr --methods full lora pointgst --epochs 60

Fine-tunes a classifier in each way on the training shapes of each cache, once for each seed, with the same number of epochs, and tests it
on the other shapes. `scratch` is full fine-tuning from random weights. After any stop, run the same command again: it goes on. Writes
tuning.json and tuning.md: mean and deviation over the seeds, the parameters learned inside the encoder, processor time, and p of a paired
test against full fine-tuning, or another way by `--against` (a permutation over test shapes, Holm's correction for each cache).
"""

import argparse
import json
import os
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from jobs import Job, Ledger, options, told
from running import plainly

from cache_schema import products
from cache_schema.files import write_file
from cache_schema.store import open_cache
from trainer import saved
from trainer.tasks import catalog
from trainer.tasks.compare import LEVEL, holm, paired
from trainer.tasks.result import Result
from trainer.tasks.table import collect
from trainer.tuning.catalog import MODES

WAYS: Final = ("scratch", "full", "mlp", "linear", *MODES)
"""Ways of fine-tuning, as `--set tune=` names them; and full fine-tuning from random weights."""


class Study:
    """A run that is fine-tuned in several ways on several caches."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.run, self.caches = asked.run.resolve(), [path.resolve() for path in asked.caches]
        self.ways, self.settings = list(asked.methods), {"epochs": str(asked.epochs), "seeds": str(asked.seeds), "lr": f"{asked.lr:g}"}
        self.base: str = asked.against
        """The way that the others are compared with."""
        self.ledger, self.folder = Ledger(asked.folder.resolve()), asked.folder.resolve()

    def jobs(self) -> list[Job]:
        """A job for each cache and way."""
        return [
            Job(
                name=self._name(cache, way),
                command=("mmpd-train", "eval", "classify", str(self.run), str(cache), *options(self._of(way))),
                reads=(str(cache),),
            )
            for cache in self.caches
            for way in self.ways
        ]

    def rows(self) -> list[dict[str, Any]]:
        """What is there, for each cache and way."""
        there = self._found()
        rows: list[dict[str, Any]] = []
        for cache in self.caches:
            name = cache.name.removesuffix(".zarr")
            own = {way: there[name, way] for way in self.ways if (name, way) in there}
            for way, result in own.items():
                metric = next(one for one in result.scores.metrics if one.headline)
                job = next(job for job in self.jobs() if job.name == self._name(cache, way))
                rows.append(
                    {"cache": name, "way": way, "values": list(metric.values), "shapes": metric.shapes, "chance": metric.chance}
                    | {"learned": _learned(result), "seconds": self.ledger.seconds(job.name), "command": told(job.command)}
                    | {"notes": list(result.scores.notes)}
                )
            self._compare(rows, name, own)
        return rows

    def lost(self, failed: Sequence[str]) -> list[tuple[str, str]]:
        """Caches and ways whose jobs are done, but whose results are not there: the run was trained on, or its folder `eval` changed."""
        there = self._found()
        every = [(cache, cache.name.removesuffix(".zarr"), way) for cache in self.caches for way in self.ways]
        return [(name, way) for cache, name, way in every if self._name(cache, way) not in failed and (name, way) not in there]

    def _compare(self, rows: Sequence[dict[str, Any]], cache: str, own: dict[str, Result]) -> None:
        """Add the difference to the way that is compared with, and its corrected p, to the rows of a cache."""
        others = [row for row in rows if row["cache"] == cache and row["way"] != self.base and self.base in own]
        outcomes = [paired(own[row["way"]].scores.predictions, own[self.base].scores.predictions) for row in others]
        for row, outcome, p in zip(others, outcomes, holm([one.p for one in outcomes]), strict=True):
            row |= {"difference": outcome.difference, "interval": outcome.interval, "p": p}

    def _found(self) -> dict[tuple[str, str], Result]:
        """The results of this study's jobs, by the name of the cache and the way: of the run's present weights, the caches' present points,
        and these settings alone."""
        points = {cache.name.removesuffix(".zarr"): self._points(cache) for cache in self.caches}
        weights, settings = saved.weights(self.run), saved.settings(self.run)
        asked = {tuple(catalog.settled("classify", self._of(way))): way for way in self.ways}
        found = {}
        for result in collect([self.run]) if (self.run / "eval").exists() else ():
            test = result.scores.test
            if (
                result.task == "classify"
                and not result.outdated(weights, settings)
                and points.get(test.cache) == test.points
                and result.settings in asked
            ):
                found[test.cache, asked[result.settings]] = result
        return found

    @staticmethod
    def _points(cache: Path) -> str:
        return str(open_cache(cache).record(products.POINTS.name).fingerprint)

    def _of(self, way: str) -> list[str]:
        """The settings of a way."""
        own = ["tune=full", "scratch=true"] if way == "scratch" else [f"tune={way}"]
        return [*own, *(f"{key}={value}" for key, value in self.settings.items())]

    def _name(self, cache: Path, way: str) -> str:
        return f"{cache.name.removesuffix('.zarr')}/{way}"


def _learned(result: Result) -> int | None:
    """Number of parameters that a method of `trainer.tuning` learned inside the encoder; None for the other ways."""
    said = [re.search(r"parameters learned, ([\d,]+) in the encoder", note) for note in result.scores.notes]
    return next((int(one[1].replace(",", "")) for one in said if one), None)


def table(rows: Sequence[dict[str, Any]], base: str) -> str:
    """All rows in Markdown, a table for each cache. `base` is the way that the others are compared with."""
    parts = []
    for cache in dict.fromkeys(row["cache"] for row in rows):
        own = [row for row in rows if row["cache"] == cache]
        parts.append(f"### {cache}: {own[0]['shapes']} test shapes, chance {own[0]['chance']:.1f}\n")
        parts.append(f"| way | accuracy | against {base} [95 %] | p | learned in the encoder | minutes |\n|---|---|---|---|---|---|")
        for row in own:
            spread = f" ± {statistics.stdev(row['values']):.1f}" if len(row["values"]) > 1 else ""
            low, high = row.get("interval", (0.0, 0.0))
            apart = f"{row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]" if "difference" in row else ""
            p = f"{row['p']:.3f}{' *' * (row['p'] <= LEVEL)}" if "p" in row else ""
            learned = {"mlp": "none", "linear": "none", "full": "all", "scratch": "all"}.get(row["way"]) or f"{row['learned']:,}"
            mean = statistics.fmean(row["values"])
            parts.append(f"| {row['way']} | {mean:.1f}{spread} | {apart} | {p} | {learned} | {row['seconds'] / 60:.1f} |")
        parts.append("")
    return "\n".join(parts)


@plainly(goes_on=True)
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="the pre-trained run; results are also added to its folder eval/")
    parser.add_argument("--caches", type=Path, nargs="+", required=True, help="caches with classes and splits, of different names")
    parser.add_argument("--methods", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--against", choices=WAYS, default="full", help="the way that the others are compared with")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="commands that run side by side, one thread each")
    asked = parser.parse_args()
    missing = [str(path) for path in (asked.run, *asked.caches) if not path.is_dir()]
    if missing:
        parser.error(f"there is no {', '.join(missing)}")
    if len({path.name for path in asked.caches}) < len(asked.caches):
        parser.error("two caches have the same name: results could not be told apart")
    if asked.against not in asked.methods:
        parser.error(f"--against {asked.against} is none of --methods")
    study = Study(asked)
    failed = study.ledger.work(study.jobs(), asked.jobs)
    rows = study.rows()
    lost = [f"{name}: {way}" for name, way in study.lost(failed)]
    if lost:
        raise SystemExit(
            f"done, but without a result of the present weights and points: {', '.join(lost)}. Remove their files in {study.folder}/jobs "
            "and run the same command again"
        )
    text = table(rows, study.base)
    write_file(
        study.folder / "tuning.json",
        (json.dumps({"settings": study.settings, "against": study.base, "rows": rows}, indent=1) + "\n").encode(),
    )
    write_file(study.folder / "tuning.md", text.encode())
    print(text)
    if failed:
        raise SystemExit(f"failed or left out: {', '.join(failed)}; see {study.folder}/jobs/NAME.log. The same command tries them again")


if __name__ == "__main__":
    main()
