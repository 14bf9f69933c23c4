"""The numbers of a study as study.json and study.md: every number with its command, time and commit, or the job that has them; tables
with marks.

text = write(study)
"""

import json
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

import elsewhere
from jobs import told
from rows import CLAIM, CLAIMED_AT, ROWS, Group, slug
from testsets import COLLECTIONS, TESTS

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.spec import from_json, to_json
from trainer.tasks.compare import LEVEL, UNTESTED_TASKS, Outcome, holm, paired, refuse_unlike
from trainer.tasks.predictions import Predictions
from trainer.tasks.result import Result
from trainer.tasks.spread import Shared, Spread, shared

if TYPE_CHECKING:
    from study import Study

MARKS: Final = (" ▼", " ▲")
"""Marks of a row that is significantly below or above the one that it is compared with (`Row.against`)."""
TRAINED: Final = " †"
"""Mark of a row that was trained on a collection, beside its scores on it."""
STATED: Final = " ‡"
"""Mark of a row whose texts state, of the shapes that it is trained on, what a collection asks."""
TRAINING: Final = "train_"
"""Beginning of what numbers of earlier versions repeat of the job that trained their row."""
TITLES: Final[dict[str, str]] = {
    "main": "The main rows",
    "recipes": "Recipes for shapes that the teachers do not know",
    "teachers": "One, two and three teachers",
    "remedies": "Remedies, if several teachers are not better than one",
    "ablations": "Parts of the method",
    "budgets": "The same number of epochs",
    "blocks": "Number of stored blocks",
    "families": "Other families of encoders",
    "language": "Several views and texts, texts of three lengths, hard prompts",
    "kinds": "Kinds that no teacher knows",
    "views": "Views of a ring, and chosen ones",
}


def write(study: "Study") -> str:
    """Write study.json and study.md into the folder of a study. Returns the tables."""
    data = gathered(study)
    write_file(study.folder / "study.json", (json.dumps(data, indent=1) + "\n").encode())
    text = tables(data)
    write_file(study.folder / "study.md", text.encode())
    return text


def gathered(study: "Study") -> dict[str, Any]:
    """Everything that a reader of the numbers needs."""
    numbers, old = study.numbers()
    ceilings, old_ceilings = study.ceilings()
    spreads = {test: own for test in TESTS if (own := shared(seeds_of(numbers, test)))}
    found, left = comparisons(numbers, spreads)
    claim = CLAIM if study.settings == CLAIMED_AT else ()
    claimed, unclaimed = compared(claim, kept([one for one in numbers if one["seed"] != 0]))
    return {
        "settings": study.settings,
        "hours": round(study.hours(), 2),
        "rows": {
            name: {
                "about": row.about,
                "group": row.group,
                "epochs": study.epochs(name),
                "against": row.against,
                "also": list(row.also),
                "captions": list(row.captions),
            }
            for name, row in ROWS.items()
        },
        "tests": {name: {"about": one.about, "collection": one.collection} for name, one in TESTS.items()},
        "collections": {
            name: {"about": one.about, "use": one.use, "note": one.note, "stated": list(one.stated)} for name, one in COLLECTIONS.items()
        },
        "ceilings": ceilings,
        "not_current": old,
        "ceilings_not_current": old_ceilings,
        "numbers": [{key: value for key, value in one.items() if key != "file"} for one in numbers],
        "spreads": {test: to_json(one) for test, one in spreads.items()},
        "comparisons": found,
        "not_compared": left,
        "claim": claimed,
        "claim_not_compared": unclaimed,
        "jobs": {
            name: {"command": told(one["command"]), "done": one["done"], "seconds": one["seconds"], "commit": one["commit"]}
            for name, one in study.ran().items()
        },
    }


def training(data: dict[str, Any], number: dict[str, Any]) -> dict[str, Any]:
    """The job that trained the row of a number: its `command`, `seconds` and `commit`."""
    return dict(data["jobs"][f"train/{slug(number['row'], number['seed'])}"])


def once(data: dict[str, Any]) -> dict[str, Any]:
    """What study.json says, with each training once, among the jobs. Earlier versions repeated it in each of its numbers.

    Raises:
        SystemExit: a number and its job tell different trainings.
    """
    jobs = dict(data["jobs"])
    numbers = []
    for one in data["numbers"]:
        repeated = {key: one[f"{TRAINING}{key}"] for key in ("command", "seconds", "commit") if f"{TRAINING}{key}" in one}
        job = jobs.setdefault(f"train/{slug(one['row'], one['seed'])}", {"done": True} | repeated)
        if any(job[key] != value for key, value in repeated.items()):
            raise SystemExit(f"{one['row']}, seed {one['seed']}: its number and its job tell different trainings. Write study.json anew")
        numbers.append({key: value for key, value in one.items() if not key.startswith(TRAINING)})
    return data | {"numbers": numbers, "jobs": jobs}


def seeds_of(numbers: Sequence[dict[str, Any]], test: str) -> dict[str, list[float]]:
    """By row its shares of right predictions on a test, one for each seed."""
    found: dict[str, list[float]] = {}
    for one in numbers:
        if one["test"] == test:
            found.setdefault(one["row"], []).append(one["value"] / 100)
    return found


def comparisons(numbers: Sequence[dict[str, Any]], spreads: Mapping[str, Shared]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Each row against the one that it names (`Row.against`) on each test, with p corrected by Holm's method for all comparisons of the
    row's group; and what was not compared, each with the reason. `spreads`: by test, how much seeds change a result."""
    results = kept(numbers)
    found: list[dict[str, Any]] = []
    left: list[dict[str, Any]] = []
    for group in get_args(Group):
        one, without = compared([(row, test) for row, test in results if ROWS[row].group == group and ROWS[row].against], results, spreads)
        found += one
        left += without
    return found, left


def kept(numbers: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[Result]]:
    """The whole results behind the numbers, by row and test; one for each seed."""
    found: dict[tuple[str, str], list[Result]] = {}
    for one in numbers:
        result = from_json(Result, json.loads(Path(one["file"]).read_text())["result"])
        found.setdefault((one["row"], one["test"]), []).append(result)
    return found


def compared(
    pairs: Sequence[tuple[str, str]],
    results: Mapping[tuple[str, str], Sequence[Result]],
    spreads: Mapping[str, Shared] = MappingProxyType({}),
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Some rows and tests: each row against the one that it names, with p corrected by Holm's method for all of them; and what was not
    compared, each with the reason. `spreads`: by test, how much seeds change a result; otherwise the seeds of the two rows tell."""
    outcomes: list[tuple[dict[str, Any], Outcome]] = []
    left: list[dict[str, Any]] = []
    for row, test in pairs:
        about = {"group": ROWS[row].group, "row": row, "against": ROWS[row].against, "test": test}
        one, other = (results.get((name, test), ()) for name in (row, ROWS[row].against))
        spread = spreads[test].of(row, ROWS[row].against) if test in spreads else None
        try:
            outcomes.append((about, _outcome(test, one, other, spread)))
        except UserError as error:
            left.append(about | {"reason": str(error)})
    found: list[dict[str, Any]] = []
    for (about, outcome), own in zip(outcomes, holm([outcome.p for _, outcome in outcomes]), strict=True):
        mark = MARKS[outcome.difference > 0] if own <= LEVEL else ""
        found.append(about | {"adjusted": own, "mark": mark, "outcome": to_json(outcome)})
    return found, left


def _outcome(test: str, one: Sequence[Result], other: Sequence[Result], spread: Spread | None) -> Outcome:
    """Two rows on a test.

    Raises:
        UserError: they cannot be compared.
    """
    if reason := UNTESTED_TASKS.get(TESTS[test].task):
        raise UserError(f"not tested: {reason}")
    if not one or not other:
        raise UserError(f"not tested: the {'other ' * bool(one)}row has no score here")
    try:
        refuse_unlike(test, [*one, *other])
        return paired([_own(test, result) for result in one], [_own(test, result) for result in other], seeds=spread)
    except UserError as error:
        raise UserError(f"not comparable: {error}") from error


def _own(test: str, result: Result) -> Predictions:
    for own in result.scores.predictions:
        if own.metric == TESTS[test].metric:
            return own
    raise UserError(f"a result has no predictions for {TESTS[test].metric}")


def tables(data: dict[str, Any], level: int = 2) -> str:
    """All tables in Markdown: one for each group of rows and each collection with its tests. `level` is that of the groups' headings."""
    parts = []
    for group in get_args(Group):
        rows = [name for name, row in data["rows"].items() if row["group"] == group]
        there = [name for name in rows if any(one["row"] == name for one in data["numbers"])]
        if not there:
            continue
        parts.append(f"{'#' * level} {TITLES[group]}\n")
        for collection, about in data["collections"].items():
            tests = [name for name, one in data["tests"].items() if one["collection"] == collection]
            if table := _table(data, group, there, tests):
                note = f" {about['note'][:1].upper()}{about['note'][1:]}." if about["note"] else ""
                parts.append(f"{'#' * (level + 1)} {collection}: {about['about']}\n\n{table}" + (f"\n{note.strip()}\n" if note else ""))
        parts += _not_compared(data, group, level + 1)
    return "\n".join([*parts, *_elsewhere(data, level), *_not_current(data, level)])


def _not_compared(data: dict[str, Any], group: str, level: int) -> Iterator[str]:
    """List what was not compared among the rows of a group: a line for each reason."""
    reasons: dict[str, dict[str, set[str]]] = {}
    for one in data["not_compared"]:
        if one["group"] == group:
            reasons.setdefault(one["reason"], {}).setdefault(f"*{one['row']}* with *{one['against']}*", set()).add(one["test"])
    if not reasons:
        return
    yield f"{'#' * level} Not compared\n"
    for reason, pairs in reasons.items():
        alike: dict[str, list[str]] = {}
        for pair, tests in pairs.items():
            alike.setdefault(_named(data, tests), []).append(pair)
        said = "; ".join(f"{', '.join(rows)} on {tests}" for tests, rows in alike.items())
        yield f"- {said}: {reason}."
    yield ""


def _named(data: dict[str, Any], tests: Collection[str]) -> str:
    """Tests by their collections, such as `shrec16 (SVM, crossval), starter (SVM)`, in the order of the tables."""
    found: dict[str, list[str]] = {}
    for name, one in data["tests"].items():
        if name in tests:
            found.setdefault(one["collection"], []).append(name.partition(" ")[2])
    return ", ".join(f"{collection} ({', '.join(own)})" for collection, own in found.items())


def _elsewhere(data: dict[str, Any], level: int) -> Iterator[str]:
    """List the numbers that came from another machine, whose runs are not here."""
    found: dict[str, set[int]] = {}
    for one in data["numbers"]:
        if one.get(elsewhere.MARK):
            found.setdefault(one["row"], set()).add(one["seed"])
    if not found:
        return
    yield f"{'#' * level} Not checked again: from another machine\n"
    yield "These were trained and scored elsewhere. Their weights are not here, nor the caches that they were scored on, so it was not"
    yield "checked whether their numbers still hold.\n"
    by_seeds: dict[str, list[str]] = {}
    for row, seeds in found.items():
        by_seeds.setdefault(f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))}", []).append(row)
    yield from (f"- {seeds}: {'; '.join(rows)}." for seeds, rows in by_seeds.items())
    yield ""


def _not_current(data: dict[str, Any], level: int) -> Iterator[str]:
    """List the numbers that are left out, since rows, runs or caches have changed after they were measured. The study.json of an earlier
    version has no such list."""
    said: dict[str, dict[str, list[str]]] = {}
    for one in data.get("not_current", ()):
        said.setdefault(one["reason"], {}).setdefault(one["test"], []).append(f"{one['row']} (seed {one['seed']})")
    for test, reason in data.get("ceilings_not_current", {}).items():
        said.setdefault(reason, {}).setdefault(test, []).append("ceilings")
    if not said:
        return
    yield f"{'#' * level} Left out: out of date\n"
    yield "These do not hold any more. The command of the study without --tables measures them again, or says what to do.\n"
    for reason, tests in said.items():
        by_rows: dict[str, list[str]] = {}
        for test, rows in tests.items():
            by_rows.setdefault(", ".join(rows), []).append(test)
        yield from (f"- {rows} on {', '.join(named)}: {reason}." for rows, named in by_rows.items())
    yield ""


def _table(data: dict[str, Any], group: str, rows: Sequence[str], tests: Sequence[str]) -> str:
    """A table of some rows on some tests, with sentences below on marks and ceilings; empty if nothing is there."""
    bases = dict.fromkeys(data["rows"][row]["against"] for row in rows)
    every = [*(base for base in bases if base and base not in rows), *rows]
    by = {(row, test): values_of(data, row, test) for row in every for test in tests}
    tests = [test for test in tests if any(by[row, test] for row in rows)]
    if not tests:
        return ""
    marks = {(one["row"], one["test"]): one["mark"] for one in data["comparisons"] if one["group"] == group}
    own = {data["tests"][test]["collection"] for test in tests}
    lines = [
        f"| row | what it is | epochs | against | {' | '.join(test.partition(' ')[2] for test in tests)} |",
        "|---|---|---|---" + "|---" * len(tests) + "|",
    ]
    shown = [row for row in every if any(by[row, test] for test in tests)]
    for row in shown:
        about = data["rows"][row]
        name = row + TRAINED * bool(own & set(about["also"])) + STATED * _stated(data, row, own)
        cells = [cell(by[row, test], marks.get((row, test), "")) for test in tests]
        against = about["against"] if row in rows else ""
        lines.append(f"| {name} | {about['about']} | {about['epochs']} | {against} | {' | '.join(cells)} |")
    for name in dict.fromkeys(name for test in tests for name in data["ceilings"].get(test, {}).get("values", {})):
        found = [data["ceilings"].get(test, {}).get("values", {}).get(name, []) for test in tests]
        cells = [cell([statistics.fmean(one)] if one else []) for one in found]
        lines.append(f"| *{name}* | *ceiling: embeddings of pictures* |  |  | {' | '.join(cells)} |")
    said = (
        [f"{TRAINED.strip()} Trained also on shapes of this collection."]
        if any(own & set(data["rows"][row]["also"]) for row in shown)
        else []
    )
    if any(_stated(data, row, own) for row in shown):
        said.append(f"{STATED.strip()} The texts of this row state what is asked here, of the shapes that it is trained on.")
    without: dict[str, list[str]] = {}
    for test in tests:
        for name, reason in data["ceilings"].get(test, {}).get("left_out", {}).items():
            without.setdefault(f"ceiling of {name}: {reason}", []).append(test.partition(" ")[2])
    said += [f"{', '.join(named)}, {reason}." for reason, named in without.items()]
    return "\n".join(lines) + "\n" + "".join(f"\n{one}\n" for one in said)


def _stated(data: dict[str, Any], row: str, collections: set[str]) -> bool:
    """Whether captions of a row state what one of these collections asks. A study that was written earlier does not tell."""
    stated = {name for one in collections for name in data["collections"][one].get("stated", ())}
    return bool(stated & set(data["rows"][row].get("captions", ())))


def values_of(data: dict[str, Any], row: str, test: str) -> list[float]:
    """The values of a row on a test, one for each seed."""
    return [one["value"] for one in data["numbers"] if (one["row"], one["test"]) == (row, test)]


def cell(values: Sequence[float], mark: str = "") -> str:
    """Mean and deviation of some values, and a mark; empty without values."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}{mark}"
