"""Does the method do what it says? The baseline table with the tiny encoder on starter shapes, and what stored blocks cost.

    python science/learn.py build/science                          # make science: a night on two cores
    python science/learn.py build/look --seeds 1 --epochs 10       # a first look
    python science/learn.py build/science --also modelnet10.zarr   # and what it is worth on other shapes

Builds one cache, trains every row for every seed with `mmpd-train`, one run a core, and evaluates each: a linear SVM on the encoder's
features, fitted on the split train and scored on test; and zero-shot for rows of stage 1. On another cache, zero-shot uses all shapes.
Finished work is kept: after an interruption, run the same command again. Writes table.json, table.md and table.png, and the same for
blocks, and prints both tables.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
TEACHER = "starter-resnet"
SMALL = ("encoder.name=pointmae-tiny", "optim.batch=32", "optim.lr=1e-3", "optim.warmup=5")
"""Encoder and optimisation of the recipe `tiny`, for rows with another recipe."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a run, which may begin with the run of another row."""

    about: str
    stage: str
    recipe: str = "tiny"
    settings: tuple[str, ...] = ()
    after: str = ""
    """Name of the row of stage 1 whose guide and weights this row begins with; empty for none."""
    guided: bool = True
    """Whether the features of the row `after` are read from the cache."""
    times: int = 1
    """Factor for the number of epochs."""


def studied(count: str, *settings: str) -> dict[str, Row]:
    """The rows of both stages, with the settings that choose the blocks. `count`: the blocks in words, for the names of the rows."""
    online = "data.resample=true" in settings
    first = Row(about="stage 1", stage="align", settings=settings)
    second = Row(
        about="stage 2",
        stage="distill",
        settings=(*settings, "guide_online=true") if online else settings,
        after=f"align, {count}",
        guided=not online,
    )
    return {f"align, {count}": first, f"distill, {count}": second}


TABLE: dict[str, Row] = {
    "scratch": Row(about="random weights", stage="distill", recipe="scratch", settings=SMALL[:1]),
    "point-mae": Row(
        about="coordinates of hidden groups", stage="distill", recipe="point-mae", settings=(*SMALL, "distill.reconstruction_depth=2")
    ),
    "ulip2-like": Row(
        about="one teacher, its captions, no class names", stage="align", recipe="ulip2-like", settings=(*SMALL, f"data.teachers={TEACHER}")
    ),
    "mmpd stage 1": Row(about="three teachers, captions and class names", stage="align"),
    "mmpd stage 2": Row(about="and distillation of that guide", stage="distill", after="mmpd stage 1"),
    "one teacher": Row(about="stage 1 with one of the three teachers", stage="align", settings=(f"data.teachers={TEACHER}",)),
    "no class names": Row(about="stage 1 with captions only", stage="align", settings=("align.positives=text", "data.templates=0")),
    "twice stage 1": Row(about="stage 1 for as long as both stages", stage="align", times=2),
    "no shuffle": Row(about="stage 2 without shuffling", stage="distill", settings=("distill.shuffle=none",), after="mmpd stage 1"),
    "no global": Row(
        about="stage 2 without the global branch", stage="distill", settings=("distill.global_weight=0",), after="mmpd stage 1"
    ),
    "no local": Row(about="stage 2 without the local branch", stage="distill", settings=("distill.local_weight=0",), after="mmpd stage 1"),
}
BLOCKS: dict[str, Row] = {
    **studied("1 block", "data.blocks=1"),
    **studied("2 blocks", "data.blocks=2"),
    **studied("4 blocks", "data.blocks=4"),
    **studied("8 blocks", "data.blocks=8"),
    **studied("resampled", "data.resample=true"),
}


class Study:
    """A folder with a cache and the runs that were trained on it."""

    def __init__(self, folder: Path, epochs: int, shapes: int, precision: str, also: Path | None, **more: Any) -> None:
        """`more`: other settings that results depend on. A folder keeps to all of them."""
        self.folder, self.epochs, self.cache, self.also = folder, epochs, folder / "shapes.zarr", also
        self.shapes, self.precision = shapes, precision
        folder.mkdir(parents=True, exist_ok=True)
        kept, asked = folder / "study.json", {"epochs": epochs, "shapes": shapes, "precision": precision, **more}
        if kept.exists() and json.loads(kept.read_text()) != asked:
            raise SystemExit(f"{folder} holds results of {kept.read_text().strip()}, asked {json.dumps(asked)}: choose another folder")
        kept.write_text(json.dumps(asked) + "\n")
        self.guiding = threading.Lock()  # one writes to the cache at a time
        self.locks: dict[tuple[str, int], threading.Lock] = {}
        self.locking = threading.Lock()

    def build(self) -> None:
        settings = [f"source.count={self.shapes}", "points.blocks=8", "views.rig=ring4"]
        command = ["mmpd-cache", "build", "starter", str(self.cache), *options(settings)]
        called(command, threads=os.cpu_count() or 1, log=self.folder / "build.log")

    def run(self, rows: dict[str, Row], name: str, seed: int) -> dict[str, Any]:
        """Train and measure one row, after the row that it begins with. Results that are there already are read."""
        row, run = rows[name], self._run(name, seed)
        kept, asked = run.with_suffix(".json"), json.loads(json.dumps(asdict(replace(row, about=""))))
        if row.after:
            self._guide(rows, row.after, seed, read=row.guided)
        with self._lock(name, seed):
            if not kept.exists():
                self._train(row, run, seed)
                kept.write_text(json.dumps({"row": asked, **self._scores(row, run, self.cache)}))
        found = dict(json.loads(kept.read_text()))
        if found["row"] != asked:
            raise SystemExit(f"{kept} is of {json.dumps(found['row'])}, asked {json.dumps(asked)}: choose another folder")
        if self.also is None:
            return found
        elsewhere = self._scores(row, run, self.also, "test_split=all")
        return found | {f"{task} on {self.also.stem}": values for task, values in elsewhere.items()}

    def _scores(self, row: Row, run: Path, cache: Path, *zeroshot: str) -> dict[str, list[float]]:
        """The scores of a run in each task that its row can do. `zeroshot`: more settings for zero-shot."""
        svm = {"svm": self._measured("svm", run, cache)}
        return svm | {"zeroshot": self._measured("zeroshot", run, cache, *zeroshot)} if row.stage == "align" else svm

    def _train(self, row: Row, run: Path, seed: int) -> None:
        epochs = () if row.recipe == "scratch" else (f"optim.epochs={self.epochs * row.times}",)
        settings = [*row.settings, *epochs, f"seed={seed}", f"precision={self.precision}"]
        command = ["mmpd-train", row.stage, str(self.cache), str(run), "--recipe", row.recipe]
        if row.after:
            before = self._run(row.after, seed)
            command += ["--init", str(before), *(["--guide", before.name] if row.guided else [])]
        if (run / "config.json").exists():
            command.append("--resume")
        command += options(settings)
        called(command, threads=1, log=run.with_suffix(".log"))

    def _guide(self, rows: dict[str, Row], name: str, seed: int, *, read: bool) -> None:
        """Train a row of stage 1 if it is not there, and write its features into the cache if they are read from it."""
        self.run(rows, name, seed)
        run = self._run(name, seed)
        written = run.with_suffix(".guided")
        with self.guiding:
            if read and not written.exists():
                called(["mmpd-train", "guide", str(self.cache), str(run)], threads=1, log=run.with_suffix(".guide.log"))
                written.touch()

    def _run(self, name: str, seed: int) -> Path:
        return self.folder / "runs" / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"

    def _lock(self, name: str, seed: int) -> threading.Lock:
        with self.locking:
            return self.locks.setdefault((name, seed), threading.Lock())

    def _measured(self, task: str, run: Path, cache: Path, *settings: str) -> list[float]:
        """A task's headline number on the unseen shapes, one for each stored block, in percent; zero-shot in the words of `TEACHER`."""
        return measured([task, str(run), str(cache), *options(settings)], f"{TEACHER} top-1" if task == "zeroshot" else "")[0]


def options(settings: Iterable[str]) -> list[str]:
    """Words of a command that give it some settings."""
    return [part for setting in settings for part in ("--set", setting)]


def measured(words: list[str], metric: str = "") -> list[list[float]]:
    """For each test cache of `mmpd-train eval`, the values of a metric, one for each seed or stored block. Without a name, it is the
    headline metric."""
    results = json.loads(called(["mmpd-train", "eval", *words, "--json"], threads=1, log=None))
    every = [one["scores"]["metrics"] for one in (results if isinstance(results, list) else [results])]
    return [list(next(one for one in own if (one["name"] == metric if metric else one["headline"]))["values"]) for own in every]


def called(command: list[str], *, threads: int, log: Path | None) -> str:
    """Run a command of this environment, and return what it prints. With `log`, all of its words are written there."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([str(BIN / command[0]), *command[1:]], capture_output=True, text=True, env=environment)
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout + done.stderr)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout


def table(results: dict[str, list[dict[str, Any]]], about: dict[str, Row], epochs: int) -> str:
    """Markdown: mean and standard deviation over seeds of each seed's mean over blocks."""
    tasks = list(dict.fromkeys(task for seeds in results.values() for one in seeds for task in one if task != "row"))
    tasks.sort(key=lambda task: " on " in task)  # the unseen shapes first, then those of another cache
    headings = [task.replace("svm", "linear SVM").replace("zeroshot", "zero-shot") for task in tasks]
    lines = [f"| row | what it is | epochs | {' | '.join(headings)} |", "|---|---|---|" + "---|" * len(tasks)]
    for name, seeds in results.items():
        cells = [_cell([statistics.fmean(one[task]) for one in seeds if task in one]) for task in tasks]
        row = about[name]
        budget = "0" if row.recipe == "scratch" else f"{epochs} + {epochs}" if row.after else str(epochs * row.times)
        lines.append(f"| {name} | {row.about} | {budget} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    return f"{statistics.fmean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def picture(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.4 * len(results) + 1), layout="constrained")
    axes = figure.add_subplot()
    for i, seeds in enumerate(results.values()):
        values = [statistics.fmean(one["svm"]) for one in seeds]
        axes.barh(i, statistics.fmean(values), color="#7a9cc6")
        axes.plot(values, [i] * len(values), "k.", markersize=4)
    axes.set_yticks(range(len(results)), list(results))
    axes.invert_yaxis()
    axes.set_xlabel("linear SVM on unseen starter shapes, % (a dot for each seed)")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--shapes", type=int, default=2880)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of training")
    parser.add_argument("--only", choices=["table", "blocks"])
    parser.add_argument("--rows", nargs="*", choices=list(TABLE), help="of the table; all without")
    parser.add_argument("--also", type=Path, help="another cache with the starter teachers, to score the rows on")
    arguments = parser.parse_args()
    also = arguments.also.absolute() if arguments.also else None
    study = Study(arguments.folder.resolve(), arguments.epochs, arguments.shapes, arguments.precision, also)
    study.build()
    chosen = {name: row for name, row in TABLE.items() if not arguments.rows or name in arguments.rows}
    for part, rows, names in (("table", TABLE, chosen), ("blocks", BLOCKS, BLOCKS)):
        if arguments.only not in (None, part):
            continue
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            futures = {name: [pool.submit(study.run, rows, name, seed) for seed in range(arguments.seeds)] for name in names}
            results = {name: [future.result() for future in runs] for name, runs in futures.items()}
        (study.folder / f"{part}.json").write_text(json.dumps(results, indent=1))
        (study.folder / f"{part}.md").write_text(table(results, rows, arguments.epochs) + "\n")
        picture(results, study.folder / f"{part}.png")
        print(table(results, rows, arguments.epochs), flush=True)


if __name__ == "__main__":
    main()
