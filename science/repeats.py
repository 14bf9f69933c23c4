"""What is made of points that only repeat others, on laser scans of 8 to 1,000 points in blocks of 1024?

    python science/repeats.py build/repeats                              # about 900 scans of seven kinds, 30 epochs, one seed
    python science/repeats.py build/repeats-kitti --kitti ../kitti       # and a linear SVM on the objects of KITTI

Builds two caches of the starter kinds that stand outdoors: the meshes, and laser scans of the same objects (docs/howto/laser-scans.md).
Trains small encoders with repeated points taken as any (`encoder.missing=repeat`) and left out (`mask`): with random weights, by stage 1 on
the meshes, by stage 1 on the scans, and by Point-MAE on the scans. A linear SVM and zero-shot classification test them on the scans of
objects of the test split, which none of them has seen, by distance and by number of points. Finished work is kept: after an interruption,
run the same command again. KITTI is divided by its ImageSets; without, 80 % of the scans are learned from. Writes table.md and
scores.json, and prints the table.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jobs import options
from running import called, plainly

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.store import open_cache

KINDS: Final = ("car", "house", "fence", "bench", "mailbox", "traffic cone", "tent")
"""The starter kinds that stand outdoors."""
TEACHER: Final = "starter-resnet"
"""The teacher of stage 1, in whose words zero-shot classification is done."""
PICTURES: Final = ("views.rig=ring4", "captions=none", f"teachers={TEACHER}", "points.normals=false", "points.blocks=4")
TRAINED: Final = ("optim.lr=1e-3", "optim.warmup=5", "probe=")
ENCODER: Final = "encoder.name=pointmae-tiny"
MISSING: Final = ("repeat", "mask")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to train an encoder."""

    about: str
    stage: str
    cache: str
    settings: tuple[str, ...] = ()
    named: bool = True
    """Whether it can name classes without training, since it learned from a teacher with a text side."""


STAGE_1: Final = ("--recipe", "tiny", *options(["data.templates=1"]))
ROWS: Final[dict[str, Row]] = {
    "random": Row(about="random weights", stage="align", cache="scans", settings=(*STAGE_1, *options(["optim.epochs=0"])), named=False),
    "meshes": Row(about="stage 1 on the meshes", stage="align", cache="meshes", settings=STAGE_1),
    "scans": Row(about="stage 1 on the scans", stage="align", cache="scans", settings=STAGE_1),
    "point-mae": Row(
        about="Point-MAE on the scans",
        stage="distill",
        cache="scans",
        settings=("--recipe", "point-mae", *options([ENCODER, "distill.reconstruction_depth=2"])),
        named=False,
    ),
}


class Study:
    """A folder with caches, runs and scores."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.folder: Path = arguments.folder.resolve()
        self.each, self.epochs, self.seeds, self.batch = arguments.each, arguments.epochs, arguments.seeds, arguments.batch
        self.kitti: str = arguments.kitti
        self.kept = self.folder / "scores.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        asked = {"each": self.each, "epochs": self.epochs, "seeds": self.seeds, "batch": self.batch, "kitti": self.kitti}
        found = json.loads(self.kept.read_text()) if self.kept.exists() else {"asked": asked, "scores": {}}
        if found["asked"] != asked:
            raise SystemExit(f"{self.kept} is of {found['asked']}, asked {asked}: choose another folder")
        self.asked, self.scores = asked, dict[str, dict[str, Any]](found["scores"])

    def prepare(self) -> None:
        """Build the caches.

        Raises:
            UserError: KITTI has no split to learn from, or none to test on.
        """
        if self.kitti:  # first, because what is wrong with it is not to be found after the trainings
            homes = (Path(self.kitti), Path(self.kitti).absolute().parent, Path(self.kitti, "training"))
            divided = any((home / "ImageSets" / "train.txt").is_file() for home in homes)
            more = () if divided else ("source.split=0.8",)  # the download has no lists
            self._build(self.kitti, "kitti", "--recipe", "points", *options(["points.normals=false", "points.blocks=4", *more]))
            known = set(open_cache(self._cache("kitti")).manifest.splits)
            if "train" not in known or not known & {"val", "test"}:
                raise UserError(
                    f"{self.kitti}: a linear SVM is fitted on the split train and tested on val or test, "
                    f"got {', '.join(sorted(known)) or 'none'}: mend ImageSets/train.txt and val.txt beside training, "
                    "and choose another folder of results"
                )
        objects = [f"source.classes={','.join(KINDS)}", f"source.count={self.each * len(KINDS)}"]
        self._build("starter", "meshes", *options([*objects, *PICTURES]))
        self._build("lidar:starter", "scans", *options([*objects, *PICTURES, "source.copies=2"]))

    def measure(self) -> None:
        """Train and test every row, one after the other."""
        for seed in range(self.seeds):
            for name, row in ROWS.items():
                for missing in MISSING:
                    self._measure(f"{name} {missing} {seed}", row, missing, seed)

    def table(self) -> str:
        """Markdown: accuracy by range, one table for each task and cache: the mean over blocks and seeds, and the deviation over seeds."""
        return "\n".join(line for key in self._tests() for line in self._lines(key)) + "\n"

    def _tests(self) -> list[str]:
        """The names of the tests, in the order of the scores."""
        return list(dict.fromkeys(test for own in self.scores.values() for test in own))

    def _lines(self, test: str) -> Iterator[str]:
        every = [own[test] for own in self.scores.values() if test in own]
        columns = list(dict.fromkeys(name for own in every for name in own))
        shapes = [next(own[name]["shapes"] for own in every if name in own) for name in columns]
        yield f"**{test}**\n"
        yield f"| | repeats | {' | '.join(f'{name} ({count})' for name, count in zip(columns, shapes, strict=True))} |"
        yield "|---|---|" + "---|" * len(columns)
        for name, row in ROWS.items():
            for missing in MISSING:
                of = [own[test] for seed in range(self.seeds) if test in (own := self.scores.get(f"{name} {missing} {seed}", {}))]
                if of:
                    cells = [_cell([statistics.fmean(one[column]["values"]) for one in of]) for column in columns]
                    yield f"| {row.about} | {missing} | {' | '.join(cells)} |"
        yield ""

    def _build(self, location: str, name: str, *settings: str) -> None:
        words = ["mmpd-cache", "build", location, str(self._cache(name)), "--workers", "1", *settings]
        called(words, threads=1, log=self.folder / f"{name}.log")

    def _cache(self, name: str) -> Path:
        return self.folder / f"{name}.zarr"

    def _measure(self, name: str, row: Row, missing: str, seed: int) -> None:
        if name in self.scores:  # of an earlier call
            return
        run = self.folder / name.replace(" ", "-")
        if not (run / "done").exists():
            more = options([*TRAINED, f"optim.batch={self.batch}", f"encoder.missing={missing}", f"seed={seed}"])
            epochs = [] if "optim.epochs=0" in row.settings else options([f"optim.epochs={self.epochs}"])
            words = ["mmpd-train", row.stage, str(self._cache(row.cache)), str(run), "--resume", *row.settings, *more, *epochs]
            called(words, threads=1, log=run.with_suffix(".log"))
            (run / "done").touch()
        scores = {"linear SVM on scans": self._scored("svm", run, "scans")}
        if row.named:
            scores["zero-shot on scans"] = self._scored("zeroshot", run, "scans")
        if self.kitti:
            scores["linear SVM on KITTI"] = self._scored("svm", run, "kitti")
        self.scores[name] = scores
        print(name, {test: _cell([statistics.fmean(own["all"]["values"])]) for test, own in scores.items()}, flush=True)
        write_file(self.kept, (json.dumps({"asked": self.asked, "scores": self.scores}, indent=1) + "\n").encode())

    def _scored(self, task: str, run: Path, cache: str) -> dict[str, dict[str, Any]]:
        """The accuracy of a task by range: values of all blocks, and number of shapes."""
        result = json.loads(called(["mmpd-train", "eval", task, str(run), str(self._cache(cache)), "--json"], threads=1, log=None))
        metrics = (result[0] if isinstance(result, list) else result)["scores"]["metrics"]
        what = next(one["name"] for one in metrics if one["headline"])
        found = {}
        for one in metrics:
            if one["name"] == what or one["name"].startswith((f"{what} at ", f"{what} of ")):
                found[one["name"].removeprefix(what).strip() or "all"] = {"values": one["values"], "shapes": one["shapes"]}
        return found


def _cell(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


@plainly(goes_on=True)
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=64, help="objects of each kind; each is scanned twice")
    parser.add_argument("--epochs", type=int, default=30, help="of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32, help="shapes in a step")
    parser.add_argument("--kitti", default="", help="folder of KITTI in its official layout, for one more test")
    asked = parser.parse_args()
    if asked.kitti and not Path(asked.kitti).is_dir():
        parser.error(f"--kitti: {asked.kitti} is no folder")
    study = Study(asked)
    study.prepare()
    study.measure()
    write_file(study.folder / "table.md", study.table().encode())
    print(study.table())


if __name__ == "__main__":
    main()
