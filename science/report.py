"""The numbers of a study as study.json and study.md: every number with its command, time and commit; tables with marks.

text = write(study)
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from rows import ROWS, Group
from testsets import COLLECTIONS, TESTS

from cache_schema.files import write_file
from cache_schema.spec import from_json, to_json
from trainer.tasks.compare import LEVEL, holm, paired
from trainer.tasks.predictions import Predictions
from trainer.tasks.result import Result

if TYPE_CHECKING:
    from study import Study

BASE: Final = "point-mae"
"""The row that the others are compared with."""
MARKS: Final = (" ▼", " ▲")
"""Marks of a row that is significantly below or above that one."""
TITLES: Final[dict[str, str]] = {
    "main": "The main rows",
    "teachers": "One, two and three teachers",
    "ablations": "Parts of the method",
    "budgets": "The same number of epochs",
    "blocks": "Number of stored blocks",
    "families": "Other families of encoders",
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
    folder: Path = study.folder
    ceilings = {path.stem: json.loads(path.read_text()) for path in sorted((folder / "ceilings").glob("*.json")) if path.stem in TESTS}
    numbers = study.numbers()
    return {
        "settings": study.settings,
        "hours": round(study.hours(), 2),
        "rows": {name: {"about": row.about, "group": row.group, "epochs": study.epochs(name)} for name, row in ROWS.items()},
        "tests": {name: {"about": one.about, "collection": one.collection} for name, one in TESTS.items()},
        "collections": {name: {"about": one.about, "use": one.use, "note": one.note} for name, one in COLLECTIONS.items()},
        "ceilings": ceilings,
        "numbers": [{key: value for key, value in one.items() if key != "file"} for one in numbers],
        "comparisons": comparisons(numbers),
    }


def comparisons(numbers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row against Point-MAE on each test, with p corrected by Holm's method for all comparisons of the row's group."""
    kept: dict[tuple[str, str], list[Predictions]] = {}
    for one in numbers:
        result = from_json(Result, json.loads(Path(one["file"]).read_text())["result"])
        own = next(own for own in result.scores.predictions if own.metric == TESTS[one["test"]].metric)
        kept.setdefault((one["row"], one["test"]), []).append(own)
    found: list[dict[str, Any]] = []
    for group in get_args(Group):
        pairs = [(row, test) for row, test in kept if ROWS[row].group == group and row != BASE and (BASE, test) in kept]
        outcomes = [paired(kept[row, test], kept[BASE, test]) for row, test in pairs]
        for (row, test), outcome, adjusted in zip(pairs, outcomes, holm([outcome.p for outcome in outcomes]), strict=True):
            mark = MARKS[outcome.difference > 0] if adjusted <= LEVEL else ""
            about = {"group": group, "row": row, "against": BASE, "test": test, "adjusted": adjusted, "mark": mark}
            found.append(about | {"outcome": to_json(outcome)})
    return found


def tables(data: dict[str, Any]) -> str:
    """All tables in Markdown: one for each group of rows and each collection with its tests."""
    parts = []
    for group in get_args(Group):
        rows = [name for name, row in data["rows"].items() if row["group"] == group]
        there = [name for name in rows if any(one["row"] == name for one in data["numbers"])]
        if not there:
            continue
        parts.append(f"## {TITLES[group]}\n")
        for collection, about in data["collections"].items():
            tests = [name for name, one in data["tests"].items() if one["collection"] == collection]
            if table := _table(data, group, there, tests):
                note = f" {about['note'][:1].upper()}{about['note'][1:]}." if about["note"] else ""
                parts.append(f"### {collection}: {about['about']}\n\n{table}{note}\n")
    return "\n".join(parts)


def _table(data: dict[str, Any], group: str, rows: Sequence[str], tests: Sequence[str]) -> str:
    """A table of some rows on some tests; empty if nothing is there."""
    by = {(row, test): _values(data, row, test) for row in (*rows, BASE) for test in tests}
    tests = [test for test in tests if any(by[row, test] for row in rows)]
    if not tests:
        return ""
    marks = {(one["row"], one["test"]): one["mark"] for one in data["comparisons"] if one["group"] == group}
    shown = list(rows) if BASE in rows or not any(by[BASE, test] for test in tests) else [BASE, *rows]
    lines = [
        f"| row | what it is | epochs | {' | '.join(test.partition(' ')[2] for test in tests)} |",
        "|---|---|---" + "|---" * len(tests) + "|",
    ]
    for row in shown:
        cells = [cell(by[row, test], marks.get((row, test), "")) for test in tests]
        lines.append(f"| {row} | {data['rows'][row]['about']} | {data['rows'][row]['epochs']} | {' | '.join(cells)} |")
    for name in dict.fromkeys(name for test in tests for name in data["ceilings"].get(test, {}).get("values", {})):
        found = [data["ceilings"].get(test, {}).get("values", {}).get(name, []) for test in tests]
        lines.append(
            f"| *{name}* | *ceiling: embeddings of pictures* |  | {' | '.join(cell([statistics.fmean(v)] if v else []) for v in found)} |"
        )
    return "\n".join(lines) + "\n"


def _values(data: dict[str, Any], row: str, test: str) -> list[float]:
    """The values of a row on a test, one for each seed."""
    return [one["value"] for one in data["numbers"] if (one["row"], one["test"]) == (row, test)]


def cell(values: Sequence[float], mark: str = "") -> str:
    """Mean and deviation of some values, and a mark; empty without values."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}{mark}"
