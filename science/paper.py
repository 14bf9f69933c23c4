"""The table of the abstract of "Multimodal Masked Point Distillation", from the official files of the data sets: one command.

    python science/paper.py build/paper --data /data --plan            # what is there, all commands, and hours
    python science/paper.py build/paper --data /data                   # everything: days of one GPU
    python science/paper.py build/paper --data /data --only pb_t50_rs --recipes scratch mmpd --epochs 0.1x
    python science/paper.py build/trial --data /data --small           # every command, at sizes that mean nothing

Builds caches, pre-trains each row on ShapeNet-55, and tests it on every data set that is there (`science/official.py` says what is looked
for, and `science/finding.py` looks). What was found is printed first. A data set that is missing is named and left out. Jobs run one at a
time unless `--jobs` says otherwise. After any stop, also kill -9, the same command goes on; when all is there it does nothing but write the
tables. Writes paper.md and paper.json: for each number its mean and deviation, its seeds, and the command that gives it; beside them the
figures that are published.
"""

import argparse
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from evals import Eval
from finding import look
from finding import told as told_of
from jobs import Job, Ledger, guided_otherwise, last_words, options, told, trained_otherwise
from official import DATA_SETS, LEARN, LINK, Build, Found, Test, build
from promised import kept
from running import plainly

import pipeline.captioners.catalog as captioners
import pipeline.teachers.catalog as teachers
from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean
from cache_schema.store import open_cache
from trainer.config import AlignConfig, DistillConfig
from trainer.encoders.catalog import ENCODERS
from trainer.recipes import RECIPES, TEACHERS, StageName, configured, experiment

MAIN: Final = "mmpd"
"""The recipe of the method."""
BASELINES: Final = {"pointm2ae": "point-m2ae", "pointmamba": "pointmamba"}
"""By family of the encoder: the recipe of pre-training by coordinates alone. `point-mae` for all others."""
OWN: Final = ("tiny", "tiny-mae", "tiny-on-mae", "smoke")
"""Recipes for small machines, which are no rows of a paper."""
POINTS: Final = {"pointm2ae": 2048}
"""By family of the encoder: the number of points that its authors give it. 1024 for all others."""
LARGE: Final = "blip2-opt-2.7b"
"""The captioner that is used unless another is asked for."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user wants."""

    encoder: str = "pointm2ae-s"
    """Name of the encoder. The paper's main rows have Point-M2AE."""
    recipes: tuple[str, ...] = ()
    """Recipes of the rows; empty for the row without pre-training, that of the encoder's authors, and the method."""
    teachers: tuple[str, ...] = TEACHERS
    captioner: str = LARGE
    seeds: int = 3
    """Number of fine-tunings of each pre-trained run."""
    runs: int = 1
    """Number of pre-trainings of each row."""
    epochs: str = "1x"
    """`0.1x`: a share of the usual number of each training; `20`: so many of each."""
    small: bool = False
    """Whether everything is only tried, at sizes that mean nothing."""

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise UserError(f"no encoder {self.encoder!r}{did_you_mean(self.encoder, ENCODERS)}; expected one of {', '.join(ENCODERS)}")
        for name in self.recipes:
            known = [one for one in RECIPES if one not in OWN]
            if name not in known:
                raise UserError(
                    f"no recipe {name!r} for a row of the table{did_you_mean(name, known)}; expected some of {', '.join(known)}"
                )
        if min(self.seeds, self.runs) < 1 or not self.teachers:
            raise UserError(f"seeds and runs must be at least 1 and teachers name one, got {self.seeds}, {self.runs} and {self.teachers}")
        for teacher in self.teachers:
            teachers.choice(teacher)
        captioners.asked(self.captioner)
        if not re.fullmatch(r"\d+(\.\d+)?x|[1-9]\d*", self.epochs) or self.epochs.rstrip("x.0") == "":
            raise UserError(f"epochs must be a number, such as 20, or a share of the usual number, such as 0.1x, got {self.epochs!r}")

    @property
    def family(self) -> str:
        return self.encoder.rpartition("-")[0]

    @property
    def points(self) -> int:
        """Number of points of a shape."""
        return (256 if self.family == "pointm2ae" else 128) if self.small else POINTS.get(self.family, 1024)

    @property
    def baseline(self) -> str:
        """The recipe of pre-training by coordinates alone."""
        return BASELINES.get(self.family, "point-mae")

    @property
    def rows(self) -> tuple[str, ...]:
        """The recipes of the rows."""
        return self.recipes or ("scratch", self.baseline, MAIN)

    def times(self, usual: int) -> int:
        """The number of epochs of a training that usually has `usual`; at least one, but none where it has none."""
        if not usual:
            return 0
        return max(1, round(usual * float(self.epochs[:-1]))) if self.epochs.endswith("x") else int(self.epochs)

    def replaced(self, names: Sequence[str]) -> tuple[str, ...]:
        """The teachers that take the place of those of a recipe.

        Raises:
            UserError: fewer are asked for than it needs.
        """
        if len(names) == len(TEACHERS):
            return self.teachers
        places = [TEACHERS.index(name) for name in names]
        if places and max(places) >= len(self.teachers):
            raise UserError(
                f"a recipe of the table needs {max(places) + 1} teachers, and {len(self.teachers)} are given: name more by --teachers"
            )
        return tuple(self.teachers[place] for place in places)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table."""

    name: str
    """Its name, and the beginning of those of its runs."""
    about: str
    stage: StageName
    recipe: str
    first: str = ""
    """The row whose run is its guide; empty for none."""
    init: str = ""
    """The row whose weights it starts from, if that is not its guide; empty for none."""

    def run(self, seed: int) -> str:
        return f"{self.name}-{seed}"


def rows(names: Sequence[str], baseline: str) -> dict[str, Row]:
    """The rows of some recipes by name, each after those that it needs: of a recipe of two stages, stage 1 is a row of its own. Recipes
    with the same stage 1 share its run. A stage 1 that goes on with a run goes on with that of the recipe `baseline`."""
    found: dict[str, Row] = {}
    for name in names:
        both, about = experiment(name), _about(name)
        if both.align is None or both.distill is None:
            found.setdefault(name, Row(name=name, about=about, stage="align" if both.align else "distill", recipe=name))
            continue
        owner = next(other for other in RECIPES if experiment(other).align == both.align)
        init = baseline if both.align.start == "run" else ""
        if init:
            found.setdefault(init, Row(name=init, about=_about(init), stage="distill", recipe=init))
        first = Row(name=f"{owner}-stage-1", about=f"stage 1 of {owner} alone", stage="align", recipe=owner, init=init)
        found.setdefault(first.name, first)
        found[name] = Row(name=name, about=about, stage="distill", recipe=name, first=first.name)
    return found


def _about(recipe: str) -> str:
    """A recipe in words. That of the method names an encoder, which is another one here."""
    if recipe == MAIN:
        return "The method: both stages, all teachers"
    return re.split(r"\.\s|: ", " ".join((RECIPES[recipe].__doc__ or "").split()))[0].rstrip(".")


class Paper:
    """What is to be done, and where."""

    def __init__(self, folder: Path, found: Mapping[str, Found], asked: Asked, threads: int = 1) -> None:
        self.folder, self.found, self.asked, self.threads = folder, found, asked, threads
        self.rows = rows(asked.rows, asked.baseline)
        self.configs = {name: self._config(row) for name, row in self.rows.items()}  # a mistake is found before hours of building

    @property
    def runs(self) -> Iterator[tuple[Row, int]]:
        """Every run: all rows with the first seed, then with the next one."""
        return ((row, seed) for seed in range(self.asked.runs) for row in self.rows.values())

    # -------------------------------------------------------------------------------------------------------- jobs

    def builds(self) -> dict[str, list[Job]]:
        """By data set: the jobs that build its caches."""
        return {
            name: [
                Job(
                    name=f"build/{one.name}",
                    command=self._build(name, one, found),
                    writes=one.name,
                    threads=self.threads,
                    made=(self.folder / "caches" / f"{one.name}.zarr" / "zarr.json").exists,
                )
                for one in DATA_SETS[name].builds
                if name == LEARN or any(test.cache == one.name for test in self.tests())
            ]
            for name, found in self.found.items()
        }

    def trainings(self) -> list[Job]:
        """Labels, patch features, pre-trainings and guides, each after what it needs."""
        cache, made = f"caches/{LEARN}.zarr", list[Job]()

        def add(
            name: str,
            *words: str,
            after: Sequence[str] = (),
            there: Callable[[], bool] | None = None,
            refuses: Callable[[], str] | None = None,
            adds: bool = True,
        ) -> str:
            """`there` and `refuses`: those of the job. `adds`: whether it adds what it makes to the cache."""
            if name not in {job.name for job in made}:
                job = Job(
                    name=name,
                    command=words,
                    after=tuple(after),
                    reads=(cache,),
                    writes=LEARN if adds else "",
                    threads=self.threads,
                    made=there,
                    refuses=refuses,
                )
                made.append(job)
            return name

        for labels in sorted({self._label_set(test) for row in self.rows.values() for test in self.tests(row) if test.labels}):
            add(f"labels/{labels}", "mmpd-cache", "labels", cache, labels, there=self._holds(products.LABELS, set=labels))
        for row, seed in self.runs:
            config, words, after, home = self.configs[row.name], list[str](), list[str](), self.folder / "runs"
            for teacher in config.data.dense:
                there = self._holds(products.DENSE, teacher=teachers.choice(teacher)[0])
                after.append(add(f"patches/{teacher}", "mmpd-cache", "add-dense", cache, teacher, there=there))
            if row.first:
                assert isinstance(config, DistillConfig)
                guide = f"{row.first}-{seed}"
                words += ["--guide", guide] + ["--init", f"runs/{guide}"] * config.needs_guide_run
                written = add(
                    f"guide/{guide}",
                    "mmpd-train",
                    "guide",
                    cache,
                    f"runs/{guide}",
                    after=(f"train/{guide}",),
                    there=self._holds(products.GUIDE, guide=guide),
                    refuses=partial(guided_otherwise, self.folder / cache, guide, home / guide),
                )
                after.append(written)
            if row.init:
                words += ["--init", f"runs/{row.init}-{seed}"]
                after.append(f"train/{row.init}-{seed}")
            run = row.run(seed)
            settings = [*self._training(row), f"seed={seed}"]
            before = (home / f"{need}-{seed}" if need else None for need in (row.first, row.init or row.first))
            refuses = partial(trained_otherwise, home / run, configured(row.recipe, row.stage, settings), *before)
            words = [row.stage, cache, f"runs/{run}", "--recipe", row.recipe, "--resume", *words, *options(settings)]
            add(f"train/{run}", "mmpd-train", *words, after=after, refuses=refuses, adds=False)
        return made

    def _holds(self, kind: products.Kind, **names: str) -> Callable[[], bool]:
        """A question to the cache for pre-training: whether it has a product. It has none of its products after it was built again."""
        path = self.folder / "caches" / f"{LEARN}.zarr"

        def found() -> bool:
            there = products.select(open_cache(path).records(), kind, **names) if (path / "zarr.json").exists() else []
            return any(record.complete for record in there)

        return found

    def scores(self) -> list[Job]:
        """The tests of each run. A job is done only while each of its results holds, so none of them names what it reads: after another
        training, or with another cache, the tests are done again instead of being refused."""
        made = []
        for row, seed in self.runs:
            if tests := self.tests(row):
                run = row.run(seed)
                evals = [f"{test.name}: {self.eval(test, row, seed)}" for test in tests]
                words = ("evals.py", f"scores/{run}", *evals)
                needs = dict.fromkeys((f"train/{run}", *(need for test in tests for need in self.needs(test))))
                holds = partial(self.all_scored, row, seed)
                made.append(Job(name=f"score/{run}", command=words, after=tuple(needs), threads=self.threads, grows=True, made=holds))
        return made

    def needs(self, test: Test) -> list[str]:
        """Names of the jobs that a test needs beside a run and its cache."""
        return [f"labels/{self._label_set(test)}"] if test.labels else []

    def all_scored(self, row: Row, seed: int) -> bool:
        """Whether a run has the result of each test that it can do."""
        return all(self.scored(test, row, seed) for test in self.tests(row))

    def scored(self, test: Test, row: Row, seed: int) -> bool:
        """Whether the result of a test is there, by the command that is planned now, weights and points of now."""
        one = Eval.of(f"{test.name}: {self.eval(test, row, seed)}")
        return one.beside(self.folder).done(self.scores_of(row, seed))

    def scores_of(self, row: Row, seed: int) -> Path:
        """The folder with the results of a run."""
        return self.folder / "scores" / row.run(seed)

    def tests(self, row: Row | None = None) -> list[Test]:
        """The tests on what is there; with a row, those that its runs can do."""
        there = [test for name, found in self.found.items() for test in DATA_SETS[name].tests if test.name not in found.lacking]
        return [test for test in there if row is None or row.stage == "align" or not test.labels]

    def eval(self, test: Test, row: Row, seed: int) -> str:
        """The command of a test, as a line."""
        cache, run = f"caches/{test.cache}.zarr", f"runs/{row.run(seed)}"
        places = [run, f"caches/{LEARN}.zarr", "--test-cache", cache] if test.labels else [run, cache]
        scratch = ["scratch=true"] * (test.scratch and row.recipe == "scratch")
        return shlex.join(["mmpd-train", "eval", test.task, *places, *options([*self._settings(test), *scratch])])

    # ---------------------------------------------------------------------------------------------------- settings

    def _build(self, name: str, one: Build, found: Found) -> tuple[str, ...]:
        asked, settings = self.asked, list[str]()
        if asked.small:
            count, ordered = (asked.points, 64) if one.objects else (512, 64)
            settings += [f"points.count={count}", "points.blocks=1", f"points.ordered={ordered}", "points.normals=false"]
        elif one.objects:
            settings += [f"points.count={max(asked.points, one.points)}", "points.blocks=8", "points.normals=false"]
        if name == LEARN:
            settings += [f"teachers={','.join(asked.teachers)}", "labels=source", f"captions={asked.captioner}"]
            settings += ["views.rig=ring4", "views.size=96"] if asked.small else []
            if "blip2" in asked.captioner:
                settings += ["captions.samples=10", f"captions.rank_by={asked.teachers[0]}"]
            if asked.captioner == LARGE:
                settings += ["captions.precision=bfloat16", "precision=bfloat16"]
        return build(one, found, tuple(settings)) + ("--workers", "1") * asked.small

    def _training(self, row: Row) -> list[str]:
        """The settings of a row's training, apart from its seed."""
        asked, base = self.asked, configured(row.recipe, row.stage)
        settings = [f"encoder.name={asked.encoder}"]
        if base.optim.epochs:
            settings.append(f"optim.epochs={asked.times(base.optim.epochs)}")
        if base.data.teachers:
            settings.append(f"data.teachers={','.join(asked.replaced(base.data.teachers))}")
        if base.data.dense:
            settings.append(f"data.dense={','.join(asked.replaced(base.data.dense))}")
        return settings + ["optim.batch=4", "probe="] * asked.small

    def _config(self, row: Row) -> AlignConfig | DistillConfig:
        return configured(row.recipe, row.stage, self._training(row))

    def _label_set(self, test: Test) -> str:
        """The label set that a test compares with."""
        return next(value for name, _, value in (setting.partition("=") for setting in self._settings(test)) if name == "labels")

    def _settings(self, test: Test) -> list[str]:
        """The settings of a test, apart from what depends on the row."""
        asked, by_family = self.asked, test.by_family or {"": ()}
        own = test.small if asked.small else (*test.settings, *by_family.get(asked.family, by_family[""]))
        settings = [*own, *([f"{test.epochs}={asked.times(test.usual)}"] if test.epochs and asked.times(test.usual) != test.usual else [])]
        return [*settings, *([f"seeds={asked.seeds}"] if test.seeds else [])]


# ------------------------------------------------------------------------------------------------------------ the command


def prepared(folder: Path, data: Path) -> None:
    """Make the folder of the results, with a link to that of the data.

    Raises:
        UserError: it cannot take these data (`check_data`).
    """
    check_data(folder, data)
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / LINK
    if not link.is_symlink() or link.resolve() != data.resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(data.resolve())


def check_data(folder: Path, data: Path) -> None:
    """Refuse a folder of results that cannot take these data.

    Raises:
        UserError: its results are of other data; or something else lies where the link to the data belongs.
    """
    link = folder / LINK
    if not link.is_symlink():
        if link.exists():
            raise UserError(f"{link} lies where a link to the data belongs, and is none: move it away, or give another folder of results")
        return
    begun = any((folder / name).exists() for name in ("jobs", "caches"))
    if begun and link.resolve() != data.resolve():
        raise UserError(
            f"{folder} holds results of {link.resolve()}, and --data is {data.resolve()}: give another folder of results. If the same data "
            f"have moved: ln -sfn {shlex.quote(str(data.resolve()))} {shlex.quote(str(link))}"
        )


def run(paper: Paper, slots: int) -> dict[str, str]:
    """Do everything. Returns what failed, by name: a data set whose build failed, or was made by another command before, costs only its own
    columns.

    Raises:
        SystemExit: the cache for pre-training could not be built, or was by another command.
    """
    ledger, failed = Ledger(paper.folder), dict[str, str]()
    builds = paper.builds()
    if lost := ledger.work(builds[LEARN], slots):
        log = f"jobs/{lost[0]}.log"
        raise SystemExit(
            f"{LEARN} could not be built{last_words(paper.folder / log)}. See {log} in {paper.folder}. The same command tries it again"
        )
    others = {name: jobs for name, jobs in builds.items() if name != LEARN}
    failed |= {name: why for name, jobs in others.items() if (why := refused(ledger, jobs))}
    others = {name: jobs for name, jobs in others.items() if name not in failed}
    lost = ledger.work([job for jobs in others.values() for job in jobs], slots)
    for name, jobs in others.items():
        if own := [job.name for job in jobs if job.name in lost]:
            log = f"jobs/{own[0]}.log"
            failed[name] = f"could not be built{last_words(paper.folder / log)}; see {log}"
    there = {name: found for name, found in paper.found.items() if name not in failed}
    rest = Paper(paper.folder, there, paper.asked, paper.threads)
    jobs = {job.name: job for job in (*rest.trainings(), *rest.scores())}
    for name, job in jobs.items():
        if why := refused(ledger, [job]):
            failed[name] = why
        elif before := [need for need in job.after if need in failed]:
            failed[name] = f"not done, because it needs {before[0]}"
    lost = ledger.work([job for name, job in jobs.items() if name not in failed], slots)
    for name in lost:
        before = [need for need in jobs[name].after if need in lost]
        if why := ledger.refuses(jobs[name]):
            failed[name] = f"it is {why}"
        else:
            log = f"jobs/{name}.log"
            failed[name] = f"not done, because it needs {before[0]}" if before else f"failed{last_words(paper.folder / log)}; see {log}"
    return failed


def refused(ledger: Ledger, jobs: Sequence[Job]) -> str:
    """Why the first of some jobs that may not be run again is not what it was when it was run, and what to remove; empty if none is."""
    for job in jobs:
        if why := ledger.refused(job):
            what = {"build": f"caches/{job.writes}.zarr", "train": f"runs/{job.name.partition('/')[2]}"}.get(job.name.partition("/")[0], "")
            away = " and ".join(filter(None, (f"jobs/{job.name}.json", what or "what its command made")))
            return f"{job.name} is {' '.join(why.split())}: remove {away}, and the same command makes it anew"
    return ""


def commands(paper: Paper) -> list[str]:
    """Every command that is still to be run, as lines for a shell in the folder of the results; with a `#`, what will not be run."""
    ledger, scripts = Ledger(paper.folder), str(Path(__file__).resolve().parent)
    lines = list[str]()
    for job in (*(job for several in paper.builds().values() for job in several), *paper.trainings()):
        if why := refused(ledger, [job]):
            lines.append(f"# {why}")
        elif not ledger.done(job):
            lines.append(f"# {job.name} is {why}" if (why := ledger.refuses(job)) else told(job.command, scripts))
    for row, seed in paper.runs:
        lines += [paper.eval(test, row, seed) for test in paper.tests(row) if not paper.scored(test, row, seed)]
    return lines


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the results")
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets, by whatever names")
    parser.add_argument(
        "--at",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FOLDER",
        help=f"where some data sets are, if they are not below --data, or several times: {', '.join(DATA_SETS)}",
    )
    parser.add_argument("--models", type=Path, help="folder of the hub with the weights of teachers and captioner (HF_HOME)")
    parser.add_argument("--encoder", default=Asked.encoder, help=f"one of {', '.join(ENCODERS)}")
    parser.add_argument(
        "--recipes",
        nargs="+",
        default=[],
        metavar="RECIPE",
        help="rows, such as mmpd-no-shuffle; scratch, the encoder's own and mmpd without",
    )
    parser.add_argument("--teachers", nargs="+", default=list(Asked.teachers), metavar="TEACHER", help="the first one ranks captions")
    parser.add_argument("--captioner", default=LARGE, help="a name of `mmpd-cache captioners`")
    parser.add_argument("--only", nargs="+", choices=[name for name in DATA_SETS if name != LEARN], help="test on these data sets alone")
    parser.add_argument("--seeds", type=int, default=Asked.seeds, help="fine-tunings of each run")
    parser.add_argument("--runs", type=int, default=Asked.runs, help="pre-trainings of each row")
    parser.add_argument("--epochs", default=Asked.epochs, help="of every training: 20, or 0.1x for a share of the usual number")
    parser.add_argument("--small", action="store_true", help="try every command at sizes that mean nothing")
    parser.add_argument("--jobs", type=int, default=1, help="commands that run side by side")
    parser.add_argument("--plan", action="store_true", help="run nothing: print what is there, all commands and hours")
    parser.add_argument("--rate", type=float, help="plan: shapes a second of the encoder on the machine to come, instead of measuring here")
    parser.add_argument("--table", action="store_true", help="run nothing: write the tables of what is there")
    return parser.parse_args()


@plainly(goes_on=True)
def main() -> None:
    given = arguments()
    folder: Path = given.folder.resolve()
    asked = Asked(
        encoder=given.encoder if not given.small or given.encoder != Asked.encoder else "pointmae-tiny",
        recipes=tuple(given.recipes),
        teachers=tuple(given.teachers),
        captioner=given.captioner,
        seeds=given.seeds,
        runs=given.runs,
        epochs=given.epochs,
        small=given.small,
    )
    if given.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {given.jobs}")
    if given.rate is not None and not 0 < given.rate < math.inf:
        raise UserError(f"--rate must be a positive number of shapes a second, got {given.rate}")
    check_data(folder, given.data)
    found, left = found_in(given.data, given.only, named(given.at), folder / "caches")
    threads = max(1, (os.cpu_count() or 1) // given.jobs)
    paper = Paper(folder, found, asked, threads)
    if given.models is not None:
        os.environ["HF_HOME"] = str(given.models.resolve())
    if given.plan:
        import hours

        place = [["mkdir", "-p", str(folder)], ["cd", str(folder)], ["ln", "-sfn", str(given.data.resolve()), LINK]]
        print("\n".join(["# Data sets", *told_of(found, left), "", "# Commands", *map(shlex.join, place), *commands(paper), ""]))
        print(hours.told(hours.estimate(paper, given.data, given.rate)))
        return
    from paper_table import write

    failed: dict[str, str] = {}
    if not given.table:
        print("\n".join(["# Data sets", *told_of(found, left), ""]), file=sys.stderr, flush=True)
        prepared(folder, given.data)
        failed = run(paper, threads * given.jobs)
    print(write(paper, left | {name: why for name, why in failed.items() if name in DATA_SETS}))
    print(f"This is {folder / 'paper.md'}. Each value with its command is in {folder / 'paper.json'}", file=sys.stderr)
    if failed:
        raise SystemExit("\n".join(["not everything is done; the same command tries it again:", *(f"{n}: {w}" for n, w in failed.items())]))


def named(words: Sequence[str]) -> dict[str, Path]:
    """Folders that the user names, by data set.

    Raises:
        UserError: a word is not NAME=FOLDER, or a data set is named twice.
    """
    found: dict[str, Path] = {}
    for word in words:
        name, sign, folder = word.partition("=")
        if not (name and sign and folder):
            raise UserError(f"--at expects NAME=FOLDER, such as modelnet40=/data/mn40, got {word!r}")
        if name in found:
            raise UserError(f"--at names {name} twice: {found[name]} and {folder}")
        found[name] = Path(folder)
    return found


def found_in(
    data: Path, only: Sequence[str] | None, at: Mapping[str, Path] | None = None, caches: Path | None = None
) -> tuple[dict[str, Found], dict[str, str]]:
    """What is there and can be built, and why each other data set and test is left out.

    Args:
        data: the folder of the data sets.
        only: the names of those to test on; None for all.
        at: folders that the user names, by data set.
        caches: the folder of the caches. Those that are there are not looked at again.

    Raises:
        UserError: nothing to train on or nothing to test on is there, or what `look` refuses.
    """
    if not data.is_dir():
        raise UserError(f"{data} is no folder: give the folder that holds the data sets")
    found, left = look(data, None if only is None else dict.fromkeys((LEARN, *only)), at)
    found, unfit = kept(found, data, caches or data / "caches")
    left |= unfit
    if LEARN not in found or len(found) < 2:
        what = "every data set to test on" if LEARN in found else "ShapeNet-55, which every row is trained on"
        raise UserError("\n".join([f"{data} lacks {what}:", *(f"{name}: {why}" for name, why in left.items())]))
    for one in found.values():
        left |= one.lacking
    return found, left | {name: "not asked for (--only)" for name in DATA_SETS if only is not None and name not in (LEARN, *only)}


if __name__ == "__main__":
    main()
