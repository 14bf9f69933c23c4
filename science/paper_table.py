"""The paper's table from the results that are there: paper.json with everything, paper.md with the table and what a reader must know.

    text = write(paper, {"s3dis": "expected ..."})

A number counts only if it comes from the command that is planned now, from the weights that its run has now, and from the points and labels
that its caches have now, and if its run was trained so. All are of the last epoch. What has no number is named, with the reason.
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobs import Job, Ledger, commit, told
from official import BEST, DATA_SETS, LEARN, LEARNED, TESTS, Test

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.spec import from_json
from cache_schema.store import open_cache
from cache_schema.terminal import counted
from trainer.tasks.result import Metric, Result
from trainer.tasks.result import counted as tested_on
from trainer.tasks.shapes import of_split

if TYPE_CHECKING:
    from paper import Paper, Row


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of somebody's paper."""

    name: str
    values: Mapping[str, float]
    """By column, in percent."""
    source: str


PUBLISHED: Final = (
    Published(
        name="MMPD, Point-M2AE",
        values={"OBJ_BG": 96.1, "OBJ_ONLY": 94.2, "PB_T50_RS": 91.2},
        source="abstract of Multimodal Masked Point Distillation (https://openreview.net/forum?id=Gxb3z4VlM7)",
    ),
    Published(
        name="ReCon",
        values={"OBJ_BG": 95.2, "OBJ_ONLY": 93.6, "PB_T50_RS": 90.6},
        source="https://arxiv.org/abs/2302.02318, best epoch of the best of eight seeds",
    ),
    Published(
        name="Point-M2AE",
        values={"PB_T50_RS": 88.1},
        source="about this much under the same rotation augmentation, by the table of Point-PEFT "
        "(https://github.com/Ivan-Tang-3D/Point-PEFT); its own paper does not rotate, and has 86.43",
    ),
)
"""Rows of papers. They were measured by their authors, not here."""
SHARED: Final = (
    "of a row: of its training. Of a number: of its test alone, in one process with the other tests of its run on the same cache. Features "
    "that several of them need are extracted once, and count for the first one that needs them"
)
"""What the processor times mean."""
COLUMNS: Final = {title: (test.name, metric) for test in TESTS.values() for title, metric in test.columns}
"""By title of a column: its test, and the name of its metric."""


def write(paper: "Paper", left: Mapping[str, str]) -> str:
    """Write paper.json and paper.md. `left`: what was left out, with the reason. Returns the table."""
    data = gathered(paper, left)
    write_file(paper.folder / "paper.json", (json.dumps(data, indent=1) + "\n").encode())
    text = markdown(data)
    write_file(paper.folder / "paper.md", text.encode())
    return text


def gathered(paper: "Paper", left: Mapping[str, str]) -> dict[str, Any]:
    """Everything that a reader of the numbers needs."""
    ledger, asked = Ledger(paper.folder), paper.asked
    numbers, stale, missing = list[dict[str, Any]](), list[str](), list[dict[str, Any]]()
    jobs = {job.name: job for job in (*paper.trainings(), *(job for several in paper.builds().values() for job in several))}
    changed = {name: reason for name, job in jobs.items() if (reason := ledger.stale(job))}
    for row in paper.rows.values():
        for test in paper.tests(row):
            scores = list(_scores(paper, row, test, stale, changed, jobs))
            missing += [] if _set_of(test) in left else _missing(paper, ledger, row, test, jobs)
            numbers += [_number(row.name, title, metric, test, scores) for title, metric in test.columns if scores]
    rows = {
        name: {
            "about": row.about,
            "recipe": row.recipe,
            "stage": row.stage,
            "epochs": paper.configs[name].optim.epochs,
            "guide": row.first,
            "commands": [told(record["command"]) for seed in range(asked.runs) if (record := ledger.read(f"train/{row.run(seed)}"))],
            "processor_seconds": [ledger.seconds(f"train/{row.run(seed)}") for seed in range(asked.runs)],
        }
        for name, row in paper.rows.items()
    }
    return {
        "settings": {
            "encoder": asked.encoder,
            "points": asked.points,
            "teachers": list(asked.teachers),
            "captioner": asked.captioner,
            "seeds": asked.seeds,
            "runs": asked.runs,
            "epochs": asked.epochs,
            "small": asked.small,
        },
        "protocol": "last epoch",
        "processor_seconds": SHARED,
        "commit": commit(),
        "data": {
            name: {"about": DATA_SETS[name].about, "folder": str(found.path), "source": found.place.kind, "notes": list(found.notes)}
            for name, found in paper.found.items()
        },
        "learned_from": _learned_from(paper),
        "left_out": dict(left),
        "not_current": stale,
        "jobs_not_current": changed,
        "missing": missing,
        "rows": rows,
        "numbers": numbers,
        "published": [{"row": one.name, "values": dict(one.values), "source": one.source} for one in PUBLISHED],
    }


def _learned_from(paper: "Paper") -> int | None:
    """Number of shapes that every row but the one without pre-training learns from; None where their cache is not there, or damaged."""
    try:
        return len(of_split(open_cache(paper.folder / "caches" / f"{LEARN}.zarr"), "train", labelled=False))
    except UserError:
        return None


def _scores(
    paper: "Paper", row: "Row", test: Test, stale: list[str], changed: Mapping[str, str], jobs: Mapping[str, Job]
) -> Iterator[tuple[dict[str, Any], Result]]:
    """The results of a test that are there, one for each pre-training. `stale` gets the files of other commands, weights or points, and
    those that rest on jobs in `changed`."""
    for seed in range(paper.asked.runs):
        path = paper.scores_of(row, seed) / f"{test.name}.json"
        if not path.exists():
            continue
        if not paper.scored(test, row, seed) or not changed.keys().isdisjoint(_needs(paper, row, test, seed, jobs)):
            stale.append(str(path.relative_to(paper.folder)))
            continue
        record = json.loads(path.read_text())
        yield record, from_json(Result, record["result"])


def _missing(paper: "Paper", ledger: Ledger, row: "Row", test: Test, jobs: Mapping[str, Job]) -> Iterator[dict[str, Any]]:
    """The results of a test that are not there, one for each pre-training, and how far the jobs are that they need."""
    for seed in range(paper.asked.runs):
        if (paper.scores_of(row, seed) / f"{test.name}.json").exists():
            continue
        state = _state(ledger, *_needs(paper, row, test, seed, jobs), f"score/{row.run(seed)}")
        yield {"row": row.name, "run": row.run(seed), "test": test.name, "state": state}


def _needs(paper: "Paper", row: "Row", test: Test, seed: int, jobs: Mapping[str, Job]) -> tuple[str, ...]:
    """Names of the jobs that a result rests on, each after those that it needs. `jobs`: all of them by name."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        for need in jobs[name].after:
            add(need)
        found[name] = None

    for name in (f"build/{LEARN}", f"build/{test.cache}", f"train/{row.run(seed)}", *paper.needs(test)):
        add(name)
    return tuple(found)


def _state(ledger: Ledger, *jobs: str) -> str:
    """How far some jobs are that are run one after the other, in words: of the first one that is not done."""
    for name in jobs:
        found = ledger.read(name)
        if not found:
            return f"{name} has not begun"
        if not found["done"]:
            return f"{name} has failed, was stopped or still runs: see jobs/{name}.log"
    return f"its file was removed after {jobs[-1]} was done"


def _set_of(test: Test) -> str:
    """The data set of a test."""
    return next(name for name, one in DATA_SETS.items() if test in one.tests)


def _metric(name: str, result: Result) -> Metric:
    """A metric of a result by name; without one, the first headline metric."""
    for one in result.scores.metrics:
        if one.name == name or (not name and one.headline):
            return one
    raise UserError(f"the result of {result.title} has no metric {name!r}: it has {', '.join(one.name for one in result.scores.metrics)}")


def _number(row: str, title: str, name: str, test: Test, scores: Sequence[tuple[dict[str, Any], Result]]) -> dict[str, Any]:
    """One cell. With one pre-training, its values are those of the fine-tunings, folds or blocks; with several, the means of the runs."""
    metrics = [_metric(name, result) for _, result in scores]
    several = len(metrics) > 1
    values = [metric.mean for metric in metrics] if several else list(metrics[0].values)
    first = metrics[0]
    return {
        "row": row,
        "column": title,
        "test": test.name,
        "metric": first.name,
        "values": values,
        "over": "pre-trainings" if several else first.over,
        "each": [list(metric.values) for metric in metrics],
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "train_shapes": None if (train := scores[0][1].scores.train) is None else train.shapes,
        "test_shapes": first.shapes,
        "units": first.units,
        "chance": first.chance,
        "precision": scores[0][1].scores.precision,
        "commands": [record["command"] for record, _ in scores],
        "processor_seconds": [record["seconds"] for record, _ in scores],
        "commits": [record["commit"] for record, _ in scores],
        "weights": [record["weights"] for record, _ in scores],
        "notes": list(dict.fromkeys(note for _, result in scores for note in result.scores.notes)),
    }


# -------------------------------------------------------------------------------------------------------------------- text


def markdown(data: Mapping[str, Any]) -> str:
    """The table in Markdown, and below it what a reader must know."""
    return "\n".join([*_head(data), "", *_table(data), "", *_below(data), ""])


def _head(data: Mapping[str, Any]) -> Iterator[str]:
    own = data["settings"]
    yield "# The table of the paper\n"
    if own["small"]:
        yield "**A trial of the commands at sizes that mean nothing.**\n"
    words = (
        f"Encoder `{own['encoder']}`, {own['points']} points a shape, teachers {', '.join(own['teachers'])}, captions by {own['captioner']}"
    )
    epochs = own["epochs"]
    yield f"{words}; epochs {epochs} of the usual ones." if epochs.endswith("x") else f"{words}; {counted(int(epochs), 'epoch')}."
    yield (
        "Percent, after the last epoch: mean ± deviation (number of values). The values are fine-tunings with different seeds, the ten "
        "folds of few-shot tests, or stored blocks of points"
        + (
            f"; with {own['runs']} pre-trainings of each row, they are the means of these."
            if own["runs"] > 1
            else ", all of one pre-training."
        )
    )
    if _published(data):
        yield "Rows in italics are published by their authors; they were not measured here."


def _parts(data: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about data sets of which the numbers have other shapes than the published files: only a part of them, as a rule. A few
    that failed are told, and compare."""
    if (count := data["learned_from"]) not in (None, LEARNED):
        said = f"{LEARN}: pre-training learns from {count:,} shapes, and the papers' list has {LEARNED:,}"
        yield said if _nearly(count, LEARNED) else f"{said}: no row is comparable"
    for name, test in TESTS.items():
        own = next((one for one in data["numbers"] if one["test"] == name), None)
        if own is None:
            continue
        (learned, tested), train = test.whole, own["train_shapes"]
        reasons = []
        if learned and train is not None and train not in learned:
            reasons.append(f"{counted(train, 'training shape')} where the published files have {learned[0]:,}")
        if tested and own["test_shapes"] not in (None, tested):
            reasons.append(f"{tested_on(own['test_shapes'], own['units'])} where the published files have {tested:,}")
        few = (not learned or train is None or any(_nearly(train, one) for one in learned)) and (
            not tested or own["test_shapes"] is None or _nearly(own["test_shapes"], tested)
        )
        if reasons:
            yield f"{name}: {' and '.join(reasons)}{'' if few else ': its numbers are not comparable with those of papers'}"


def _nearly(count: int, whole: int) -> bool:
    """Whether at most 1 % of the shapes of a published list are missing: broken meshes, which all who use it have."""
    return 0.99 * whole <= count <= whole


def _published(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The published rows that have a number in a column of the table."""
    columns = {one["column"] for one in data["numbers"]}
    return [one for one in data["published"] if columns.intersection(one["values"])]


def _table(data: Mapping[str, Any]) -> Iterator[str]:
    cells = {(one["row"], one["column"]): _cell(one) for one in data["numbers"]}
    published = {(one["row"], column): f"{value:.1f}" for one in data["published"] for column, value in one["values"].items()}
    columns = [title for title in COLUMNS if any(column == title for _, column in cells)]
    if not columns:
        yield "There is no number yet."
        return
    yield f"| row | epochs | {' | '.join(columns)} |"
    yield "|---|---" + "|---" * len(columns) + "|"
    for name, row in data["rows"].items():
        if any((name, title) in cells for title in columns):
            epochs = _epochs(data, name)
            yield f"| {name}: {row['about']} | {epochs} | {' | '.join(cells.get((name, title), '') for title in columns)} |"
    for one in _published(data):
        values = [f"*{value}*" if (value := published.get((one["row"], title))) else "" for title in columns]
        yield f"| *{one['row']} (published, not ours)* |  | {' | '.join(values)} |"


def _epochs(data: Mapping[str, Any], name: str) -> str:
    """The epochs of a row and of its guide: `250 + 300`."""
    row = data["rows"][name]
    return f"{data['rows'][row['guide']]['epochs']} + {row['epochs']}" if row["guide"] else str(row["epochs"])


def _cell(one: Mapping[str, Any]) -> str:
    spread = "" if one["deviation"] is None else f" ± {one['deviation']:.1f}"
    return f"{one['mean']:.1f}{spread} ({len(one['values'])})"


def _below(data: Mapping[str, Any]) -> Iterator[str]:
    yield "## How the papers measure, and we\n"
    yield f"- Everywhere: {BEST}."
    there, own = {one["test"] for one in data["numbers"]}, data["settings"]
    for name, test in TESTS.items():
        if name in there and (said := test.unlike(own["encoder"].rpartition("-")[0], own["points"])):
            yield f"- {name}: {said}."
    if published := _published(data):
        yield "\n## Published rows\n"
        yield from (f"- {one['row']}: {one['source']}." for one in published)
    notes = [*_parts(data), *(f"{name}: {note}" for name, one in data["data"].items() for note in one["notes"])]
    if notes:
        yield "\n## Data\n"
        yield from (f"- {note}." for note in notes)
    if data["left_out"] or data["not_current"] or data["jobs_not_current"] or data["missing"]:
        yield "\n## Left out\n"
        yield from (f"- {name}: {why}." for name, why in data["left_out"].items())
        why = "of another command, of other weights, or of other points or labels; the same command without --table measures it again"
        yield from (f"- {path}: {why}." for path in data["not_current"])
        yield from (f"- {name}, and what rests on it: {reason}." for name, reason in data["jobs_not_current"].items())
        lacking: dict[tuple[str, str], list[str]] = {}
        for one in data["missing"]:
            lacking.setdefault((one["run"], one["state"]), []).append(one["test"])
        yield from (f"- {run} has no result of {', '.join(tests)}: {state}." for (run, state), tests in lacking.items())
    said: dict[str, list[str]] = {}
    for one in data["numbers"]:
        for note in one["notes"]:
            said.setdefault(f"{one['test']}: {note}", []).append(one["row"])
    if said:
        yield "\n## Notes of the results\n"
        yield from (f"- {note} ({', '.join(dict.fromkeys(rows))})" for note, rows in said.items())
    yield "\n## Commands\n\nEach is run in the folder of this table.\n\n```sh"
    yield from dict.fromkeys(command for row in data["rows"].values() for command in row["commands"])
    yield from dict.fromkeys(command for one in data["numbers"] for command in one["commands"])
    yield "```"
