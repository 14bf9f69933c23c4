"""Does the method hold where it is hard? Rows x collections x seeds: what is trained (`rows.py`), and what it is tested on (`testsets.py`).

    python science/study.py build/study --data ../data                          # the main rows first: hours
    python science/study.py build/study --data ../data --rows scratch point-mae "stage 2" --seeds 5
    python science/study.py build/look --data ../data --shapes 4 --epochs 2 --seeds 1 --rows point-mae "stage 1" --collections shrec16
    python science/study.py build/study --tables                                # only write the tables of what is there and still holds

Builds the collections, trains each row for each seed, and scores it on each test; also the teachers' own embeddings of pictures, as a
ceiling. Jobs run side by side, `--jobs` of them, one thread each. After any stop, also kill -9, run the same command again: it goes on.
More rows, seeds and collections may be asked for later; what is there is kept. Numbers of other settings, weights, points or labels than
those of now are left out of the tables, and named below them. Writes study.json (every number with the command, processor time and commit
of its test, and every job with its own: the training of a number is the job `train/ROW-SEED`) and study.md (tables, with marks for what
differs significantly from the row that it is compared with).
`science/page.py` writes docs/study.md and docs/study-tables.md from study.json.

A study goes on on another machine with its numbers alone, a few megabytes without caches and weights (`science/elsewhere.py` says what
holds there):

    python science/study.py build/study --pack study.tar.xz
    python science/study.py build/there --unpack study.tar.xz
    python science/study.py build/there --data ../data --seeds 5
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import ceiling
import elsewhere
import score  # it suits the machine
from jobs import Job, Ledger, guide_in, guided_otherwise, options, told, trained_otherwise, weights_of
from rows import KNOWING_LESS, LEARN, ONE, ROWS, VIEWS, WORDS, Group, Row, beside, order, slug
from running import plainly
from testsets import COLLECTIONS, TESTS, teachers

from cache_schema.errors import UserError
from trainer import checkpoint, saved
from trainer.config import DistillConfig
from trainer.recipes import configured

KINDS: Final = 35
"""Number of kinds that pre-training sees."""
FILE: Final = "settings.json"
NEEDS: Final = "it needs "
"""Beginning of a sentence on a row that another one needs."""
SEEN: Final = {beside(name): name for name in VIEWS}
"""Caches of the starter shapes with other pictures (`Row.views`)."""
TESTED: Final = [name for name, one in COLLECTIONS.items() if one.tested]
"""Names of the collections that rows are tested on."""


class Study:
    """A folder with caches, runs and scores."""

    def __init__(self, folder: Path, asked: dict[str, Any], data: Path | None, *, keep: bool = True) -> None:
        """`asked`: the settings that results depend on. A folder keeps to them. `keep`: whether to write them down; a plan does not."""
        self.folder, self.ledger = folder, Ledger(folder)
        kept = folder / FILE
        found = json.loads(kept.read_text()) if kept.exists() else asked
        if changed := {name: (found.get(name), value) for name, value in asked.items() if found.get(name) != value}:
            said = "; ".join(f"{name} {was}, asked {now}" for name, (was, now) in changed.items())
            raise SystemExit(f"{folder} holds results of {said}: choose another folder")
        self.settings: dict[str, Any] = found
        if not keep:
            return
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found, indent=1) + "\n")
        link = folder / "DATA"
        if data is not None and (not link.is_symlink() or link.resolve() != data.resolve()):
            link.unlink(missing_ok=True)
            link.symlink_to(data.resolve())

    # -------------------------------------------------------------------------------------------------------- jobs

    def jobs(self, rows: Sequence[str], seeds: int, collections: Sequence[str]) -> list[Job]:
        """Everything that has to be run, the main rows first. `rows` has those that others need before them."""
        for row in rows:
            final = [name for name in ROWS[row].also if COLLECTIONS[name].use == "final"]
            assert not final, f"row {row} is trained on {', '.join(final)}, which is kept for final numbers (held_out.md)"
        learned = [base(ROWS[row]) for row in rows]
        wanted = dict.fromkeys([*learned, *(name for row in rows for name in ROWS[row].also), *collections])
        jobs = [self._build(name) for name in wanted]
        jobs += [self._ceiling(name) for name in collections]
        jobs += [self._captions(captioner) for captioner in dict.fromkeys(c for row in rows for c in ROWS[row].captions)]
        for teacher in dict.fromkeys(t for row in rows for t in ROWS[row].taught):
            jobs += [self._teach(teacher), self._taught(teacher)]
        jobs += [self._patches(teacher) for teacher in dict.fromkeys(t for row in rows for t in ROWS[row].patches)]
        groups = get_args(Group)
        trained = sorted(
            ((name, seed) for seed in range(seeds) for name in rows), key=lambda one: (groups.index(ROWS[one[0]].group), one[1])
        )
        known: dict[str, Job] = {}

        def add(name: str, seed: int) -> None:
            row = ROWS[name]
            for before in row.before:  # it may be of a later group
                add(before, seed)
            for job in self._guides(row, seed):
                known.setdefault(job.name, job)
            known.setdefault(f"train/{slug(name, seed)}", self._train(row, name, seed))
            known.setdefault(f"score/{slug(name, seed)}", self._score(name, seed, collections))

        for name, seed in trained:
            add(name, seed)
        return jobs + list(known.values())

    def _build(self, name: str) -> Job:
        one = COLLECTIONS[LEARN if name in SEEN else name]
        settings = [*one.settings, *([f"source.count={self.settings['shapes'] * KINDS}"] if one is COLLECTIONS[LEARN] else [])]
        if name in SEEN:
            kept = [setting for setting in settings if not setting.startswith("views.")]
            settings = [*kept, "captions=none", *VIEWS[SEEN[name]], f"teachers={ONE}"]
        else:
            settings.append(teachers(name))
        words = ("mmpd-cache", "build", one.location, f"caches/{name}.zarr", *options(settings))
        return Job(name=f"build/{name}", command=words, writes=name, threads=os.cpu_count() or 1)

    def _ceiling(self, name: str) -> Job:
        tests = [test for test, one in TESTS.items() if one.collection == name and not one.depths]
        return Job(
            name=f"ceiling/{name}",
            command=("ceiling.py", f"caches/{name}.zarr", "ceilings", *tests),
            after=(f"build/{name}",),
            grows=True,
            reads=(f"caches/{name}.zarr",),
            beside=(f"caches/{name}.zarr",),
            made=lambda: not any(self.ceiling_changed(test) for test in tests if self._ceiling_of(test).exists()),
        )

    def _patches(self, teacher: str) -> Job:
        words = ("mmpd-cache", "add-dense", f"caches/{LEARN}.zarr", teacher)
        return Job(name=f"patches/{teacher}", command=words, after=(f"build/{LEARN}",), writes=LEARN, threads=os.cpu_count() or 1)

    def _teach(self, teacher: str) -> Job:
        return Job(name=f"teach/{teacher}", command=("untaught.py", f"teachers/{teacher}"), threads=os.cpu_count() or 1)

    def _taught(self, teacher: str) -> Job:
        # In an overlay: ceilings of the starter cache are of the teachers that all rows have.
        named = f"{teacher}=open_clip:teachers/{teacher}/{ONE}"
        words = ("mmpd-cache", "add-teacher", f"caches/{LEARN}.zarr", named, "--overlay", f"caches/{KNOWING_LESS}.zarr")
        after = (f"build/{LEARN}", f"teach/{teacher}")
        return Job(name=f"taught/{teacher}", command=words, after=after, writes=KNOWING_LESS, threads=os.cpu_count() or 1)

    def _captions(self, captioner: str) -> Job:
        # In an overlay: rows that name no captions train on all that their cache has.
        words = ("mmpd-cache", "add-captioner", f"caches/{LEARN}.zarr", captioner, "--overlay", f"caches/{WORDS}.zarr")
        return Job(name=f"captions/{captioner}", command=words, after=(f"build/{LEARN}",), writes=WORDS, threads=os.cpu_count() or 1)

    def _train(self, row: Row, name: str, seed: int) -> Job:
        words = ["mmpd-train", row.stage, f"caches/{row.cache}.zarr", f"runs/{slug(name, seed)}", "--recipe", row.recipe, "--resume"]
        words += [word for also in row.also for word in ("--also", f"caches/{also}.zarr")]
        epochs = () if row.recipe == "scratch" else (f"optim.epochs={max(1, round(self.settings['epochs'] * row.times))}",)
        settings = [*row.settings, *epochs, f"seed={seed}", f"precision={self.settings['precision']}"]
        settings += ["guide_online=true"] if row.online else []
        settings += ["start=run"] if row.guide and row.init and row.init != row.guide else []
        config = configured(row.recipe, row.stage, settings)  # a mistake in a row is found before hours of training
        runs = {need: f"runs/{slug(need, seed)}" for need in row.before}
        if row.guide and not row.online:
            words += ["--guide", slug(row.guide, seed)]
        if row.init:
            words += ["--init", runs[row.init]]
        if row.guide and row.guide != row.init and isinstance(config, DistillConfig) and config.needs_guide_run:
            words += ["--guide-run" if row.init else "--init", runs[row.guide]]
        after = [f"build/{base(row)}", *(f"build/{also}" for also in row.also), *(f"patches/{teacher}" for teacher in row.patches)]
        after += [f"captions/{captioner}" for captioner in row.captions]
        after += [f"taught/{teacher}" for teacher in row.taught]
        after += [f"train/{slug(need, seed)}" for need in row.before]
        after += [job.name for job in self._guides(row, seed)]
        reads = tuple(f"caches/{cache}.zarr" for cache in (base(row), *row.also))
        home = self.folder / "runs"
        guide, init = (home / slug(need, seed) if need else None for need in (row.guide, row.init or row.guide))
        return Job(
            name=f"train/{slug(name, seed)}",
            command=(*words, *options(settings)),
            after=tuple(after),
            reads=reads,
            run=f"runs/{slug(name, seed)}",
            beside=(*reads, *([] if row.cache == base(row) else [f"caches/{row.cache}.zarr"])),
            refuses=lambda: self._needs_away(row, seed) or trained_otherwise(home / slug(name, seed), config, guide, init),
        )

    def _needs_away(self, row: Row, seed: int) -> str:
        """Why a row cannot be trained for a seed, in words: the weights that it needs are on another machine. Empty if they are not."""
        away = [run for need in row.before if self.ledger.trained_away(run := slug(need, seed))]
        return f"of {' and '.join(away)}, trained elsewhere: copy runs/{away[0]} from there, or train other seeds" if away else ""

    def _guides(self, row: Row, seed: int) -> list[Job]:
        """The jobs that write the features of a row's guide into every cache that the row is trained on."""
        if not row.guide or row.online:
            return []
        run, found = slug(row.guide, seed), []
        for cache in (LEARN, *row.also):
            words = ("mmpd-train", "guide", f"caches/{cache}.zarr", f"runs/{run}")
            name = f"guide/{run}" if cache == LEARN else f"guide/{run}-{cache}"
            place = self.folder / "caches" / f"{cache}.zarr"
            found.append(
                Job(
                    name=name,
                    command=words,
                    after=(f"build/{cache}", f"train/{run}"),
                    writes=cache,
                    run=f"runs/{run}",
                    beside=(f"caches/{cache}.zarr",),
                    made=partial(self._guide_there, place, run),
                    refuses=partial(guided_otherwise, place, run, self.folder / "runs" / run),
                )
            )
        return found

    def _guide_there(self, cache: Path, run: str) -> bool:
        """Whether a cache has the features of a guide. A cache that is not there is not asked."""
        record = guide_in(cache, run)
        return record.complete if record is not None else not (cache / "zarr.json").exists()

    def _score(self, name: str, seed: int, collections: Sequence[str]) -> Job:
        run = slug(name, seed)
        tests = [test for test, one in TESTS.items() if one.collection in collections]
        after = (f"train/{run}", *(f"build/{one}" for one in collections))
        words = ("score.py", f"runs/{run}", f"scores/{run}", *tests)
        holds = partial(self._scores_hold, run, tests)
        beside = tuple(f"caches/{one}.zarr" for one in collections)
        return Job(name=f"score/{run}", command=words, after=after, grows=True, made=holds, run=f"runs/{run}", beside=beside)

    def _scores_hold(self, run: str, tests: Sequence[str]) -> bool:
        """Whether the scores of a run that are there are those that would be measured now."""
        paths = {test: self.folder / "scores" / run / f"{test}.json" for test in tests}
        return not any(self.score_changed(run, test, json.loads(path.read_text())) for test, path in paths.items() if path.exists())

    # ------------------------------------------------------------------------------------------------- what still holds

    def score_changed(self, run: str, test: str, found: dict[str, Any]) -> str:
        """What has changed since a run was scored on a test, in words; empty if nothing has. Runs and caches that are not there are not
        compared, nor caches here with runs that were scored elsewhere. `found`: what the file of the score says."""
        home, place = self.folder / "runs" / run, Path("runs") / run
        cache = self.folder / "caches" / f"{TESTS[test].collection}.zarr"
        try:
            trained = checkpoint.path(home).exists()
            weights, settings = (weights_of(home), saved.settings(home)) if trained else ("", ())
            there = (cache / "zarr.json").exists() and not self.ledger.trained_away(run)
            points, labels = ([score.points(cache)], [cache]) if there else ([], [])
            return score.changed(found, score.command(TESTS[test], place), weights, *points, settings=settings, labels=labels)
        except UserError as error:  # damaged, or half made
            return f"its run or its cache cannot be read: {error}"

    def ceiling_changed(self, test: str) -> str:
        """What has changed since a ceiling was measured, in words, as `score_changed`."""
        found = json.loads(self._ceiling_of(test).read_text())
        try:
            return ceiling.changed(found, TESTS[test], self.folder / "caches" / f"{TESTS[test].collection}.zarr")
        except UserError as error:
            return f"its cache cannot be read: {error}"

    def training_changed(self, name: str, seed: int) -> str:
        """What has changed since a row, or one that it needs, was trained, in words; empty if nothing has."""
        row = ROWS[name]
        for need in row.before:
            if reason := self.training_changed(need, seed):
                return reason if reason.startswith(NEEDS) else f"{NEEDS}{need}: {reason}"
        reason = self.ledger.stale(self._train(row, name, seed))
        return f"its training is {reason}" if reason else ""

    def unscored(self, jobs: Sequence[Job]) -> list[str]:
        """Say which runs that were trained elsewhere lack tests among those of some jobs: they cannot be scored here."""
        found = []
        for job in jobs:
            if job.name.startswith("score/") and self.ledger.away(job):
                name = job.name.removeprefix("score/")
                if lacks := [test for test in job.command[3:] if not (self.folder / "scores" / name / f"{test}.json").exists()]:
                    found.append(f"{name}, trained elsewhere, has no score on {', '.join(lacks)}")
        return found

    # ------------------------------------------------------------------------------------------------------ numbers

    def numbers(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Every number that is there, of every row, seed and test; and the numbers that do not hold any more, each with the reason."""
        found: list[dict[str, Any]] = []
        old: list[dict[str, Any]] = []
        trained: dict[tuple[str, int], str] = {}
        for name in ROWS:
            for path in sorted((self.folder / "scores").glob(f"{slug(name, None)}-[0-9]*/*.json")):
                seed, one = int(path.parent.name.rpartition("-")[2]), json.loads(path.read_text())
                if path.parent.name != slug(name, seed) or path.stem not in TESTS or "skipped" in one:
                    continue
                if (name, seed) not in trained:
                    trained[name, seed] = self.training_changed(name, seed)
                if reason := trained[name, seed] or self.score_changed(slug(name, seed), path.stem, one):
                    old.append({"row": name, "seed": seed, "test": path.stem, "reason": reason})
                    continue
                test = TESTS[path.stem]
                scores = one["result"]["scores"]
                metric = next(m for m in scores["metrics"] if m["name"] == test.metric)
                found.append(
                    {"row": name, "seed": seed, "test": path.stem, "value": sum(metric["values"]) / len(metric["values"])}
                    | {key: metric.get(key) for key in ("values", "over", "shapes", "chance", "largest")}
                    | {"score_command": one["command"], "score_seconds": one["seconds"], "score_commit": one["commit"]}
                    | {"all_seconds": self._seconds(self.ledger, name, seed), "notes": scores.get("notes", []), "file": str(path)}
                    | ({elsewhere.MARK: True} if self.ledger.trained_away(slug(name, seed)) else {})
                )
        return found, old

    def ceilings(self) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """By test: the ceilings that are there; and why others do not hold any more."""
        paths = {test: path for test in TESTS if (path := self._ceiling_of(test)).exists()}
        old = {test: reason for test in paths if (reason := self.ceiling_changed(test))}
        return {test: json.loads(path.read_text()) for test, path in sorted(paths.items()) if test not in old}, old

    def _ceiling_of(self, test: str) -> Path:
        return self.folder / "ceilings" / f"{test}.json"

    def epochs(self, name: str) -> str:
        """The epochs of a row and of those before it: `100 + 100`."""
        row = ROWS[name]
        before = [self.epochs(one) for one in row.before]
        return " + ".join((*before, str(round(self.settings["epochs"] * row.times))))

    def _seconds(self, ledger: Ledger, name: str, seed: int) -> float:
        """Processor time of a training and of all trainings and guides that it needs."""
        row, own = ROWS[name], ledger.seconds(f"train/{slug(name, seed)}")
        return (
            own
            + sum(ledger.seconds(job.name) for job in self._guides(row, seed))
            + sum(self._seconds(ledger, before, seed) for before in row.before)
        )

    def ran(self) -> dict[str, dict[str, Any]]:
        """Every job that ever began in this folder, by name: its command, whether it is done, its processor time and the commit."""
        jobs = self.folder / "jobs"
        return {str(path.relative_to(jobs).with_suffix("")): json.loads(path.read_text()) for path in sorted(jobs.glob("*/*.json"))}

    def hours(self) -> float:
        """Processor time of everything that was ever run in this folder."""
        return sum(float(one["seconds"]) for one in self.ran().values()) / 3600


def base(row: Row) -> str:
    """Name of the built cache that a row is trained on: of an overlay the one below, with the starter shapes."""
    return LEARN if row.captions or row.taught else row.cache


@plainly(goes_on=True)
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="folder with shrec16, modelnet10-sample and kaykit, for the collections of real meshes")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), metavar="ROW", help=f"all without; {', '.join(ROWS)}")
    parser.add_argument("--groups", nargs="+", choices=get_args(Group), help="the rows of these groups")
    parser.add_argument("--collections", nargs="+", choices=TESTED, help="all for development without")
    parser.add_argument(
        "--final", action="store_true", help="score collections for final numbers (held_out.md), once nothing is chosen any more"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100, help="of each stage")
    parser.add_argument(
        "--shapes", type=int, default=64, help="starter shapes of each kind to pre-train and test on; a quarter is tested on"
    )
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], default="float32", help="of training; bfloat16 where the processor computes it"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="commands that run side by side")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="run nothing, write what was found into a file for another machine")
    parser.add_argument("--unpack", type=Path, metavar="FILE", help="run nothing, start a new folder with such a file")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the tables of what is there")
    parser.add_argument("--plan", action="store_true", help="run nothing, print the commands that are still to be run")
    arguments = parser.parse_args()
    from report import write

    folder: Path = arguments.folder.resolve()
    if arguments.pack is not None:
        print(f"{elsewhere.pack(folder, arguments.pack)} scores are in {arguments.pack}")
        return
    if arguments.unpack is not None:
        print(f"{elsewhere.unpack(arguments.unpack, folder)} scores are in {folder}, as they were found elsewhere")
        return
    if arguments.tables:
        if not (folder / FILE).exists():
            raise SystemExit(
                f"{folder} is no folder of a study: it has no {FILE}. Give the folder of one, or run it first, without --tables"
            )
        kept = json.loads((folder / FILE).read_text())
        print(write(Study(folder, kept, None)))
        return
    asked = {"epochs": arguments.epochs, "shapes": arguments.shapes, "precision": arguments.precision}
    names = arguments.collections or [name for name in TESTED if COLLECTIONS[name].use == "development" or arguments.final]
    if final := [name for name in names if COLLECTIONS[name].use == "final" and not arguments.final]:
        parser.error(
            f"{', '.join(final)}: for final numbers alone (science/held_out.md). Choose everything on the others, then give --final"
        )
    if arguments.data is None and not (folder / "DATA").exists() and (real := [n for n in names if "DATA" in COLLECTIONS[n].location]):
        parser.error(f"{', '.join(real)}: real meshes need --data, or name other --collections")
    chosen = [name for name, row in ROWS.items() if name in (arguments.rows or ROWS) and row.group in (arguments.groups or get_args(Group))]
    if left := [name for name, one in COLLECTIONS.items() if one.use == "final" and name not in names and not arguments.collections]:
        print(f"not scored without --final (science/held_out.md): {', '.join(left)}", file=sys.stderr)
    study = Study(folder, asked, arguments.data, keep=not arguments.plan)
    jobs = study.jobs(order(chosen), arguments.seeds, names)
    ledger = study.ledger
    if arguments.plan:
        scripts = str(Path(__file__).resolve().parent)
        left = [job for job in jobs if not ledger.done(job)]
        todo = [f"# {job.name} is {why}" if (why := ledger.refuses(job)) else told(job.command, scripts) for job in left]
        print("\n".join([shlex.join(["cd", str(folder)]), *todo]))
        return
    failed = ledger.work(jobs, arguments.jobs)
    for text in study.unscored(jobs):
        print(text, file=sys.stderr)
    print(write(study))
    if failed:
        said = f"failed or left out: {', '.join(failed)}; see {folder}/jobs/NAME.log. The same command tries them again"
        reasons = [f"{job.name} is {reason}" for job in jobs if job.name in failed and (reason := ledger.stale(job))]
        raise SystemExit("\n".join([said, *([f"In {folder}:"] if reasons else []), *reasons]))


if __name__ == "__main__":
    main()
