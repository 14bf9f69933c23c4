"""How much harder are scans than CAD models? Classification of the same meshes as they are, and scanned in three variants.

    python science/scans.py build/scans --meshes ../modelnet10                # 60 epochs, three seeds
    python science/scans.py build/scans --meshes ../modelnet10 --pose stored  # without turning shapes in training

Builds a cache of the meshes and one for each variant of `scan:` (see docs/howto/scans.md), trains a small encoder by stage 1 on starter
shapes, and trains a classifier on each cache twice: from random weights, and from those of stage 1. All have the same number of steps. A
linear SVM on the frozen encoder tells what moves from meshes to scans without training. Finished work is kept: after an interruption, run
the same command again. Writes table.md and scores.json, and prints the table.
"""

import argparse
import json
import os
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from jobs import options
from running import called, measured, plainly

POINTS: Final = ("points.blocks=2", "points.normals=false")

VARIANTS: Final[dict[str, tuple[str, ...]]] = {
    "CAD": (),
    "only": ("source.variant=only",),
    "bg": ("source.variant=bg",),
    "hard": ("source.variant=hard", "source.copies=2"),
}
"""By name of a cache: the settings of its source. The first is the meshes themselves."""

COPIES: Final = {"hard": 2}
"""Number of rows of each object, where there are several. Their classifiers have fewer epochs, for the same number of steps."""


class Study:
    """A folder with caches, one run of stage 1, and scores."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.folder: Path = arguments.folder.resolve()
        self.meshes, self.workers = arguments.meshes, arguments.workers
        self.epochs, self.seeds, self.before = arguments.epochs, arguments.seeds, arguments.before
        self.rotate, self.scanner = arguments.pose == "turned", [f"source.{setting}" for setting in arguments.scanner]
        self.kept = self.folder / "scores.json"
        self.run = self.folder / "align"
        self.folder.mkdir(parents=True, exist_ok=True)
        asked = {"meshes": self.meshes, "epochs": self.epochs, "seeds": self.seeds, "before": self.before, "rotate": self.rotate}
        asked["scanner"] = self.scanner
        found = json.loads(self.kept.read_text()) if self.kept.exists() else {"asked": asked, "scores": {}}
        if found["asked"] != asked:
            raise SystemExit(f"{self.kept} is of {found['asked']}, asked {asked}: choose another folder")
        self.asked, self.scores = asked, dict[str, list[float]](found["scores"])
        self.lock = threading.Lock()

    def prepare(self) -> None:
        """Build the caches, and train stage 1 on starter shapes."""
        for name, settings in VARIANTS.items():
            location = f"scan:{self.meshes}" if settings else self.meshes
            scanner = self.scanner if settings else []
            self._build(location, self._cache(name), "--recipe", "points", *options([*settings, *scanner, *POINTS]))
        shapes = self._cache("starter")
        self._build("starter", shapes, *options(["source.count=640", "views.rig=ring4", *POINTS]))
        if not (self.run / "done").exists():
            words = ["mmpd-train", "align", str(shapes), str(self.run), "--resume", *options([f"optim.epochs={self.before}"])]
            called(words, threads=1, log=self.run.with_suffix(".log"))
            (self.run / "done").touch()

    def measure(self) -> None:
        """Score every cache from scratch, pre-trained, and frozen; one score a core at a time."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = []
            for name in VARIANTS:
                jobs.append(pool.submit(self._score, f"{name} frozen, SVM of its own", "svm", self._cache(name)))
                if name != "CAD":
                    other = ("--test-cache", str(self._cache(name)))
                    jobs.append(pool.submit(self._score, f"{name} frozen, SVM of CAD", "svm", self._cache("CAD"), *other))
            for name in VARIANTS:
                epochs = self.epochs // COPIES.get(name, 1)
                settings = [f"epochs={epochs}", "warmup=2", f"seeds={self.seeds}", f"augment.rotate={str(self.rotate).lower()}"]
                for weights, scratch in (("from scratch", "true"), ("pre-trained", "false")):
                    words = options([*settings, f"scratch={scratch}"])
                    jobs.append(pool.submit(self._score, f"{name} {weights}", "classify", self._cache(name), *words))
            for job in jobs:
                job.result()

    def table(self) -> str:
        """Markdown: accuracy on the unseen shapes, mean and standard deviation, and what is lost against CAD. A classifier has a score for
        each seed, and an SVM one for each stored block."""
        columns = ("from scratch", "pre-trained", "frozen, SVM of its own", "frozen, SVM of CAD")
        self.scores["CAD frozen, SVM of CAD"] = self.scores["CAD frozen, SVM of its own"]
        lines = [f"| shapes | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
        for name in VARIANTS:
            cells = []
            for column in columns:
                values, cad = self.scores[f"{name} {column}"], self.scores[f"CAD {column}"]
                spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
                lost = "" if name == "CAD" else f" ({statistics.fmean(values) - statistics.fmean(cad):+.1f})"
                cells.append(f"{statistics.fmean(values):.1f}{spread}{lost}")
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def _cache(self, name: str) -> Path:
        return self.folder / f"{name}.zarr"

    def _build(self, location: str, cache: Path, *settings: str) -> None:
        words = ["mmpd-cache", "build", location, str(cache), "--workers", str(self.workers), *settings]
        called(words, threads=1, log=cache.with_suffix(".log"))

    def _score(self, name: str, task: str, cache: Path, *settings: str) -> None:
        if name in self.scores:  # of an earlier call
            return
        values = measured([task, str(self.run), str(cache), *settings])[0]
        with self.lock:
            self.scores[name] = values
            print(name, self.scores[name], flush=True)
            self.kept.write_text(json.dumps({"asked": self.asked, "scores": self.scores}, indent=1) + "\n")


@plainly(goes_on=True)
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--meshes", default="starter", help="a source of meshes with classes and splits")
    parser.add_argument("--epochs", type=int, default=60, help="of each classifier")
    parser.add_argument("--before", type=int, default=30, help="epochs of stage 1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--pose", choices=["turned", "stored"], default="turned", help="whether classifiers see shapes turned about the vertical axis"
    )
    parser.add_argument("--scanner", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the scanner, such as poses=8")
    parser.add_argument("--workers", type=int, default=0, help="processes that scan; 0: one a core")
    study = Study(parser.parse_args())
    study.prepare()
    study.measure()
    (study.folder / "table.md").write_text(study.table())
    print(study.table())


if __name__ == "__main__":
    main()
