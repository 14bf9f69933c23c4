"""The command `eval`: measure runs, and join or compare their results. `trainer.cli` registers it."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from typer.core import TyperCommand

from cache_schema import plugins
from cache_schema.errors import UserError
from cache_schema.terminal import printable
from trainer.tasks.protocol import TASKS
from trainer.terminal import out, print_wide, say

if TYPE_CHECKING:
    from cache_schema.store import Cache
    from trainer.checkpoint import Loaded
    from trainer.tasks.protocol import TaskOptions
    from trainer.tasks.result import Result

Task = Annotated[
    str, typer.Argument(metavar="TASK[,TASK]", help="What to measure, several with commas; or `table`, `compare`.", show_default=False)
]
Paths = Annotated[
    list[Path], typer.Argument(metavar="RUN... CACHE", help="Runs and a cache; for `table` and `compare` only runs.", show_default=False)
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one setting. Repeatable.", show_default=False)]
TestCaches = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="CACHE",
        help="Test on another cache; classes are matched by name. Repeatable: `classify`, `scenes` and `detect` train once for all; --json "
        "prints a list.",
        show_default=False,
    ),
]
PeerProtocol = Annotated[bool, typer.Option("--peer-protocol", help="Also report the best epoch on the test shapes, as many papers do.")]
Keep = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="classify, fewshot, svm: keep the classifier, of the first seed, fold or block, in RUN/classifiers.",
        show_default=False,
    ),
]
Classifier = Annotated[
    str, typer.Option(metavar="NAME", help="classify: measure a kept classifier on CACHE, without training.", show_default=False)
]
AsPublished = Annotated[
    bool, typer.Option("--as-published", help="classify: measure the classifier of an imported run's file on CACHE, without training.")
]
Group = Literal["run", "setup"]
By = Annotated[
    Group | None,
    typer.Option(
        help="table, compare: one column or side for each run (the default), or for each group of runs that differ only in their seeds.",
        show_default=False,
    ),
]
Against = Annotated[
    str, typer.Option(metavar="RUN", help="compare: the run that the others are compared with. Default: all pairs.", show_default=False)
]
ShareSeeds = Annotated[
    bool,
    typer.Option(
        "--share-seeds", help="compare --by setup: how much seeds matter is told by all sides together: for many sides with few seeds each."
    ),
]
Device = Annotated[str, typer.Option(help="Torch device. auto: a GPU if there is one, else the CPU.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="table, compare: print Markdown.")]
Csv = Annotated[bool, typer.Option("--csv", help="table: print CSV, a row for each metric of each run.")]

TABLE, COMPARE = "table", "compare"
"""What stands where a task does, and joins or compares results that are there."""
TRAINING: Final = ("--test-cache", "--peer-protocol", "--keep")
"""Options of tasks that train something."""
KEPT: Final = ("--classifier", "--as-published")
"""Options that measure what is trained already."""
TASK_OPTIONS: Final = ("--set", "--device", *TRAINING, *KEPT)
READ: Final = {TABLE: ("--by", "--markdown", "--csv"), COMPARE: ("--by", "--markdown", "--against", "--share-seeds")}
"""Options that `table` and `compare` read. A task reads all others. Everything reads --json."""

EVAL_HELP: Final = f"""Measure a run, or join the results of several into one table.

Tasks: {", ".join(TASKS)}. `mmpd-train show TASK` prints what --set can change. With several tasks a setting goes to each task that has
it; one that no task has is refused. With --json the results of several tasks, runs or test caches are a list, which is printed even if a
later one fails.

\b
mmpd-train eval svm runs/distill out.zarr
mmpd-train eval svm,knn runs/align runs/distill out.zarr           # several tasks and runs: features are computed once
mmpd-train eval zeroshot runs/align out.zarr --set labels=modelnet40 --json
mmpd-train eval classify runs/distill out.zarr --keep chairs       # then: --classifier chairs, and mmpd-train predict
mmpd-train eval classify runs/distill other.zarr --classifier chairs
mmpd-train eval classify runs/imported out.zarr --as-published
mmpd-train eval table runs/align runs/distill
mmpd-train eval table runs/a0 runs/a1 runs/b0 runs/b1 --by setup --markdown
mmpd-train eval table runs/* --csv > results.csv
mmpd-train eval compare runs/a0 runs/a1 runs/b0 runs/b1 --by setup   # which differences are more than chance? shape by shape
"""


class Eval(TyperCommand):
    """Adds the tasks of other packages to the help. They are looked for only when it is shown."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        told = [f"{name} ({plugins.state('tasks', name, TASKS)})" for name in plugins.others("tasks", TASKS)]
        if told := [*told, *plugins.refused("tasks", TASKS)]:
            formatter.write_paragraph()
            formatter.write_text(printable(f"Tasks of other packages: {', '.join(told)}"))
        super().format_epilog(ctx, formatter)


def evaluate(
    task: Task,
    paths: Paths,
    set_: Set = None,
    test_cache: TestCaches = None,
    peer_protocol: PeerProtocol = False,
    keep: Keep = "",
    classifier: Classifier = "",
    as_published: AsPublished = False,
    by: By = None,
    against: Against = "",
    share_seeds: ShareSeeds = False,
    device: Device = "auto",
    as_json: Json = False,
    markdown: Markdown = False,
    as_csv: Csv = False,
) -> None:
    """Measure a run, or join or compare the results of several."""
    forms = {"--json": as_json, "--markdown": markdown, "--csv": as_csv}
    training = dict(zip(TRAINING, (test_cache, peer_protocol, keep), strict=True))
    kept = dict(zip(KEPT, (classifier, as_published), strict=True))
    others = {"--set": set_, "--device": device != "auto", "--by": by, "--against": against, "--share-seeds": share_seeds}
    _refuse_idle(task, {**others, **training, **kept, **forms})
    asked = [form for form, given in forms.items() if given]
    if task == TABLE:
        return print_joined(paths, by or "run", asked)
    if task == COMPARE:
        if share_seeds and by != "setup":
            raise UserError("--share-seeds: with each run for a side no side has several seeds: give --by setup, too")
        return print_compared(paths, by or "run", against, asked, share_seeds=share_seeds)
    if any(kept.values()):
        if task != "classify" or all(kept.values()) or any(training.values()):
            rest = ", ".join(("the other of them", *TRAINING))
            raise UserError(f"--classifier and --as-published measure CACHE by eval classify, without training: give neither with {rest}")
        runs, cache = _runs_and_cache(task, paths)
        return _print(_measured(runs, cache, classifier, set_ or [], device, as_json), len(runs) > 1, as_json)
    names = _names(task, keep)
    from trainer.tasks import catalog

    chosen = catalog.options_of(names, set_ or [], peer_protocol=peer_protocol)
    runs, cache = _runs_and_cache(task, paths)
    tests = test_cache or []
    several = len(runs) * len(names) * max(1, len(tests)) > 1
    _print(_trained(runs, cache, chosen, tests, keep, device, as_json), several, as_json)


# ------------------------------------------------------------------------------------------------- what is asked for


def _refuse_idle(task: str, given: Mapping[str, object]) -> None:
    """Refuse options that would not be read. `given`: all options, and whether they are given."""
    read = READ.get(task, TASK_OPTIONS)
    if idle := [option for option, value in given.items() if value and option not in (*read, "--json")]:
        raise UserError(f"{' and '.join(idle)} would have no effect on eval {task}: leave it out")


def _names(task: str, keep: str) -> list[str]:
    """The names of the tasks in `A,B`."""
    names = [name.strip() for name in task.split(",")]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UserError(f"eval names the task {repeated[0]} twice: name it once")
    if keep and len(names) > 1:
        raise UserError("--keep would give the classifiers of several tasks one name: name one task")
    return names


def _runs_and_cache(task: str, paths: Sequence[Path]) -> tuple[list[Path], "Cache"]:
    """The runs to measure, and the cache, which is the last path."""
    from cache_schema.overlay import told_behind
    from cache_schema.store import open_cache

    if len(paths) < 2:
        raise UserError(f"eval {task} takes a run and a cache, got {len(paths)} path: mmpd-train eval {task} RUN CACHE")
    *runs, place = paths
    if mistaken := [run for run in runs if (run / "zarr.json").exists()]:
        raise UserError(f"{mistaken[0]} is a cache, and no run: give runs, then one cache; a second cache is tested on by --test-cache")
    cache = open_cache(place)
    if said := told_behind(cache):
        say(f"Note: {said}")
    return runs, cache


def _loaded(run: Path, device: str) -> "Loaded":
    """A run, with its model on a device."""
    from trainer import checkpoint
    from trainer.distributed import device_of

    loaded = checkpoint.load(run)
    loaded.model.to(device_of(device))
    return loaded


# ------------------------------------------------------------------------------------------------- measuring


def _measured(
    runs: Sequence[Path], cache: "Cache", classifier: str, assignments: list[str], device: str, as_json: bool
) -> "Iterator[Result]":
    """Measure a kept classifier of each run, without training; the published one without a name."""
    from trainer.classifiers import PUBLISHED
    from trainer.tasks import catalog

    for run in runs:
        yield tell(catalog.measure(_loaded(run, device), classifier or PUBLISHED, cache, assignments), run, as_json)


def _trained(
    runs: Sequence[Path], cache: "Cache", chosen: "Mapping[str, TaskOptions]", tests: list[Path], keep: str, device: str, as_json: bool
) -> "Iterator[Result]":
    """Measure each run by each task on each test cache. Features of a run are computed once."""
    from trainer.tasks.features import once

    for run in runs:
        loaded = _loaded(run, device)
        with once(features=len(chosen) > 1 or len(tests) > 1):
            for name, options in chosen.items():
                yield from trained_results(name, loaded, cache, options, tests, keep, as_json)


def trained_results(
    task: str, loaded: "Loaded", cache: "Cache", chosen: "TaskOptions", tests: list[Path], keep: str, as_json: bool
) -> "Iterator[Result]":
    """Measure a run by a task, on each of the test caches, and keep its classifier if `keep` names it. Each result is saved when it is
    there.
    """
    from cache_schema.store import open_cache
    from trainer.tasks import catalog

    if keep:
        catalog.check_keep(task, loaded, keep, chosen)
    found = []
    opened: list[Cache | None] = [open_cache(path) for path in tests]
    with catalog.resumable(task, loaded, chosen, [cache, *(test for test in opened if test is not None)]):
        for test in opened or [None]:
            found.append(tell(catalog.evaluate(task, loaded, cache, chosen, test), loaded.run, as_json))
            yield found[-1]
        if keep:
            file, which = catalog.keep(found[0], loaded, keep)
            say(f"The classifier of {which} is in {file}. Next: mmpd-train predict {loaded.run} {cache.path} --classifier {keep}")


def tell(result: "Result", run: Path, as_json: bool) -> "Result":
    """Save a result in the folder of its run, and print it if it will not be printed as JSON. Returns it."""
    from trainer.tasks import catalog

    files = catalog.save(result, run)
    if not as_json:
        print_wide(result.rich())
    say(f"The result is in {files[0]}")
    return result


def _print(results: "Iterator[Result]", several: bool, as_json: bool) -> None:
    """Measure, and print what is there as JSON, as a list if `several` were asked for. A later failure does not lose it."""
    found: list[Result] = []
    try:
        for result in results:
            found.append(result)
    finally:
        if as_json and found:
            print(f"[{','.join(one.json() for one in found)}]" if several else found[0].json())


# ------------------------------------------------------------------------------------------------- results that are there


def print_joined(runs: list[Path], by: Literal["run", "setup"], forms: list[str]) -> None:
    """Print the results of several runs as one table: as JSON, Markdown or CSV, or for a terminal if no form is given."""
    from trainer.tasks.table import collect, table

    if len(forms) > 1:
        raise UserError(f"{' and '.join(forms)} are several forms of one table: choose one")
    results = collect(runs)
    joined = table(results, by)
    for reason in results.without:
        say(f"{reason}: it is left out")
    if forms:
        text = {"--json": joined.json, "--markdown": joined.markdown, "--csv": joined.csv}[forms[0]]()
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    else:
        print_wide(joined.rich(out.width if out.is_terminal else None))


def print_compared(runs: list[Path], by: Literal["run", "setup"], against: str, forms: list[str], *, share_seeds: bool = False) -> None:
    """Print which differences between runs are more than chance: as JSON or Markdown, or for a terminal if no form is given."""
    from trainer.tasks.compare import compare, sides_of
    from trainer.tasks.table import collect

    if len(forms) > 1:
        raise UserError(f"{' and '.join(forms)} are several forms of one table: choose one")
    results = collect(runs)
    if results.without and len({result.run for result in results}) < 2:
        raise UserError(f"a comparison needs two runs with results: {'; '.join(results.without)}")
    named = against in {result.run for result in results}
    found = compare(sides_of(results, by), against if named or not against else Path(against).resolve().name, share_seeds=share_seeds)
    for reason in results.without:
        say(f"{reason}: it is left out")
    if forms:
        text = {"--json": found.json, "--markdown": found.markdown}[forms[0]]()
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    else:
        print_wide(found.rich())
