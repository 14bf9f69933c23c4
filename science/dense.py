"""What is pre-training worth for parts, rooms and boxes? Tiny encoders, one budget: random weights, Point-MAE, and the two stages.

    python science/dense.py build/dense-study                                    # three seeds
    python science/dense.py build/look --seeds 1 --epochs 4 --shapes 360         # a first look
    python science/dense.py build/dense-study --meshes ../modelnet10 --meshes ../props   # and rooms of other people's meshes

Builds a cache of starter shapes with patch features on points, and rooms of starter shapes: in columns for segmentation, whole for
detection. Trains every row for every seed with `mmpd-train`, one run a core, and measures it by `eval parts` on the frozen encoder, and by
`eval scenes` and `eval detect`, which train the encoder too. `--meshes` makes rooms of other collections, on which the models that learned
in starter rooms are tested. Finished work is kept: after an interruption, run the same command again. Writes dense.json and dense.md, and
prints the table.
"""

import argparse
import json
import os
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jobs import options
from report import cell
from rows import ROWS as STUDIED
from rows import Row, slug
from running import called, measured, plainly

ROWS: Final[dict[str, Row]] = {
    "scratch": STUDIED["scratch"],
    "point-mae": STUDIED["point-mae"],
    "stage 1": Row(group="main", about="alignment of whole shapes", stage="align"),
    "stage 1 local": Row(group="main", about="and of groups with patch features", stage="align", settings=("align.local_weight=1",)),
    "stage 2": Row(group="main", about="distillation of the guide of stage 1", stage="distill", guide="stage 1"),
    "stage 2 local": Row(group="main", about="distillation of the guide of stage 1 local", stage="distill", guide="stage 1 local"),
}

CLASSES: Final = "bathtub,bed,chair,desk,dresser,monitor,night stand,sofa,table,toilet"
"""Furniture of the rooms: the classes of ModelNet10."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How a task is trained and measured, the same for every row."""

    crop: str = ""
    """Crops of rooms that the task reads; empty if it reads shapes."""
    settings: tuple[str, ...]
    tune: str = "full"
    """What the task trains. `full`: encoder and head. `mlp`: only the head; the encoder is frozen."""


BUDGETS: Final[dict[str, Budget]] = {
    "parts": Budget(settings=("lr=1e-3", "warmup=1", "batch=8", "epochs=5"), tune="mlp"),
    "scenes": Budget(crop="columns", settings=("lr=1e-3", "warmup=1", "batch=8", "epochs=6")),
    "detect": Budget(
        crop="whole",
        settings=("warmup=1", "epochs=30", "queries=96", "groups=128", "model.layers=3", "model.dropout=0", "model.head_dropout=0"),
    ),
}


class DenseStudy:
    """A folder with caches of shapes and rooms, and the runs that were trained on the shapes."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder, self.epochs, self.precision, self.shapes = folder, arguments.epochs, arguments.precision, arguments.shapes
        self.rooms, self.patches, self.cache = arguments.rooms, arguments.patches, folder / "shapes.zarr"
        self.meshes = [path.resolve() for path in arguments.meshes]
        folder.mkdir(parents=True, exist_ok=True)
        asked = {name: getattr(self, name) for name in ("epochs", "shapes", "precision", "rooms", "patches")}
        kept = folder / "study.json"
        if kept.exists() and json.loads(kept.read_text()) != asked:
            raise SystemExit(f"{folder} holds results of {kept.read_text().strip()}, asked {json.dumps(asked)}: choose another folder")
        kept.write_text(json.dumps(asked) + "\n")
        self.guiding = threading.Lock()  # one writes to the cache at a time
        self.locks: dict[tuple[str, int], threading.Lock] = {}
        self.locking = threading.Lock()

    def build(self) -> None:
        shapes = [f"source.count={self.shapes}", "points.blocks=4", "views.rig=ring4", f"dense.teachers={self.patches}"]
        self._built("starter", self.cache, "dense", shapes)
        for name, where in {"starter": "rooms", **{path.name: f"rooms:{path}" for path in self.meshes}}.items():
            furniture = [f"source.classes={CLASSES}"] if name == "starter" else []  # others may lack a class, and tests leave theirs out
            common = [*furniture, "points.blocks=1", "points.normals=false"]
            columns = ["source.size=2", "source.stride=1.5", *common]
            self._built(where, self._rooms(name, "columns"), "scenes", [f"source.count={self.rooms // 4}", *columns])
            whole = [f"source.count={self.rooms}", "points.count=4096", "points.ordered=512", *common]
            self._built(where, self._rooms(name, "whole"), "whole-scenes", whole)

    def run(self, name: str, seed: int) -> dict[str, Any]:
        """Train and measure one row, after the row that it begins with. What is there already is kept."""
        row, run = ROWS[name], self._run(name, seed)
        if row.guide:
            self._guide(row.guide, seed)
        with self._lock(name, seed):
            if not (done := run.with_suffix(".trained")).exists():
                self._train(row, run, seed)
                done.touch()
            return self._tasks(run)

    def _train(self, row: Row, run: Path, seed: int) -> None:
        epochs = () if row.recipe == "scratch" else (f"optim.epochs={self.epochs}",)
        command = ["mmpd-train", row.stage, str(self.cache), str(run), "--recipe", row.recipe, "--resume"]
        if row.guide:
            before = self._run(row.guide, seed)
            command += ["--init", str(before), "--guide", before.name]
        command += options([*row.settings, *epochs, f"seed={seed}", f"precision={self.precision}"])
        called(command, threads=1, log=run.with_suffix(".log"))

    def _guide(self, name: str, seed: int) -> None:
        """Train a row of stage 1 if it is not there, and write its features into the cache."""
        self.run(name, seed)
        run = self._run(name, seed)
        written = run.with_suffix(".guided")
        with self.guiding:
            if not written.exists():
                called(["mmpd-train", "guide", str(self.cache), str(run)], threads=1, log=run.with_suffix(".guide.log"))
                written.touch()

    def _run(self, name: str, seed: int) -> Path:
        return self.folder / "runs" / slug(name, seed)

    def _lock(self, name: str, seed: int) -> threading.Lock:
        with self.locking:
            return self.locks.setdefault((name, seed), threading.Lock())

    def _built(self, location: str, path: Path, recipe: str, settings: list[str]) -> None:
        command = ["mmpd-cache", "build", location, str(path), "--recipe", recipe, *options(settings)]
        called(command, threads=os.cpu_count() or 1, log=path.with_suffix(".log"))

    def _rooms(self, name: str, crop: str) -> Path:
        return self.folder / f"rooms-{name}-{crop}.zarr"

    def _tasks(self, run: Path) -> dict[str, list[float]]:
        """The headline number of each task on each collection's test."""
        found: dict[str, list[float]] = {}
        for task, budget in BUDGETS.items():
            found |= self._kept(run, task, budget)
        return found

    def _kept(self, run: Path, task: str, budget: Budget) -> dict[str, list[float]]:
        """Values of the headline metric on each collection, from one training. They are read if they are there already."""
        # A row without training has random weights. `scratch` draws other ones for each seed.
        settings = [f"tune={budget.tune}", "seeds=1", *budget.settings]
        if budget.crop:
            names = ["starter", *(path.name for path in self.meshes)]
            rooms = [str(self._rooms(name, budget.crop)) for name in names]
            caches = [rooms[0], *(word for path in rooms for word in ("--test-cache", path))]
        else:
            names, caches = ["starter"], [str(self.cache)]
        kept = run.with_suffix(f".{'-'.join([task, budget.tune, *names[1:]])}.json")
        if not kept.exists():
            kept.write_text(json.dumps(measured([task, str(run), *caches, *options(settings)])))
        titles = [" ".join(filter(None, (task, budget.tune, f"on {name}" if i else ""))) for i, name in enumerate(names)]
        return dict(zip(titles, json.loads(kept.read_text()), strict=True))


def table(results: dict[str, list[dict[str, Any]]], epochs: int) -> str:
    """Markdown: mean and standard deviation over seeds of each seed's mean over its values."""
    tasks = list(dict.fromkeys(task for seeds in results.values() for one in seeds for task in one))
    tasks.sort(key=lambda task: " on " in task)  # the first collection's tasks, then those of others
    lines = [f"| row | what it is | epochs | {' | '.join(tasks)} |", "|---|---|---|" + "---|" * len(tasks)]
    for name, seeds in results.items():
        row = ROWS[name]
        budget = f"{epochs} + {epochs}" if row.guide else str(round(epochs * row.times))
        cells = [cell([statistics.fmean(one[task]) for one in seeds if task in one]) for task in tasks]
        lines.append(f"| {name} | {row.about} | {budget} | {' | '.join(cells)} |")
    return "\n".join(lines)


@plainly(goes_on=True)
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40, help="of each stage of pre-training")
    parser.add_argument("--shapes", type=int, default=960)
    parser.add_argument("--rooms", type=int, default=128, help="whole ones, for detection; a quarter as many are cut into columns")
    parser.add_argument("--patches", default="starter-attributes", help="the teacher whose patch features the local loss uses")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of pre-training")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), help="all without")
    parser.add_argument("--meshes", type=Path, action="append", default=[], help="a folder of labelled meshes, to furnish test rooms from")
    arguments = parser.parse_args()
    if len(names := ["starter", *(path.resolve().name for path in arguments.meshes)]) > len(set(names)):
        parser.error(f"each collection is known by the name of its folder, and {', '.join(sorted(names))} are not all different")
    study = DenseStudy(arguments.folder.resolve(), arguments)
    study.build()
    chosen = arguments.rows or list(ROWS)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = {
            (name, seed): pool.submit(study.run, name, seed)
            for later in (False, True)
            for seed in range(arguments.seeds)
            for name in chosen
            if bool(ROWS[name].guide) == later  # a row that waits for another one would keep a core idle
        }
        results: dict[str, list[dict[str, Any]]] = {
            name: [futures[name, seed].result() for seed in range(arguments.seeds)] for name in chosen
        }
    (study.folder / "dense.json").write_text(json.dumps(results, indent=1))
    text = table(results, arguments.epochs)
    (study.folder / "dense.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
