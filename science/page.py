"""Writes docs/study.md from the study.json of studies of several sizes and the words of science/top.md, which people write.

    python science/page.py build/study/study.json     # a copy of the numbers stays in science/, named by its size
    python science/page.py                            # again, after a change of the words

The page has the hand-written words, what ranks alike at another size, and for each study, the largest first, what the marks mean, all
tables, and the command and processor time behind every number.
"""

import argparse
import html
import io
import json
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from report import TITLES, TRAINED, cell, once, tables, training, values_of
from rows import CLAIM

HERE: Final = Path(__file__).parent
TOP: Final = HERE / "top.md"
"""The hand-written beginning of the page."""
NUMBERS: Final = "study-*.json"
"""The numbers of the page, beside this file: one for each number of shapes of a kind and of epochs."""
PAGE: Final = HERE.parent / "docs" / "study.md"
PICTURE: Final = Path("pictures", "study.svg")
"""The picture of the page, beside it."""
AT_DEPTHS: Final = " at depths"
"""End of the name of a test on features of four depths (`testsets.TESTS`)."""
HEADLINE: Final = {
    "scratch": "random weights",
    "point-mae": "Point-MAE",
    "point-mae, three times": "Point-MAE, longer",
    "stage 2": "the method: stage 1, then stage 2 (`tiny`)",
    "on point-mae, stage 2, three": "the course `tiny-on-mae`: Point-MAE, stage 1 from its weights, stage 2 from those",
}
"""The rows of the first table of the page, and what they are in its words."""
CALLED: Final = {
    "unseen": "unseen kinds",
    "shrec16": "SHREC",
    "modelnet10": "ModelNet10",
    "scan-unseen": "scans of unseen kinds",
    "scan-modelnet10": "scans of ModelNet10",
    "scan-kaykit": "scans of props",
}
"""What collections are called in the first tables; others by their names."""
MISSING: Final = "–"
"""What stands in a first table where there is no number."""
DRAWN: Final = ("main", "recipes", "teachers", "remedies", "ablations", "budgets")
"""Groups of rows that are in the picture."""


def page(studies: Sequence[dict[str, Any]], top: str) -> str:
    """The page in Markdown: studies of several sizes, the first one with a picture."""
    for mark, table in MADE.items():
        if mark in top:
            top = top.replace(mark, table(studies))
    top = ROWS_OF.sub(lambda found: _rows(studies, found[1].split("; "), found[2].split("; ") if found[2] else ()), top)
    top = APART.sub(lambda found: _apart_here(studies, int(found[1]), found[2], found[3]), top)
    parts = [top.rstrip() + "\n", *_seen(studies[0]), *_claim(studies[0]), *_sizes(studies), *_marks(studies)]
    for data in studies:
        parts += [f"## {_size(data)}\n", *_how(data), tables(data, level=3), *_commands(data)]
    return "\n".join(parts)


def _headline(studies: Sequence[dict[str, Any]]) -> str:
    """The rows of `HEADLINE` in the largest study: epochs, seeds, processor time, and the main test of each collection, by the last block
    and by all blocks."""
    data = studies[0]
    tests = _main_tests(data)
    lines = [f"| what | epochs | seeds | processor minutes |{_titles(data, tests)}", f"|---|---|---|---{'|---' * len(tests)}|"]
    for row, about in HEADLINE.items():
        seconds = {one["seed"]: one["all_seconds"] for one in data["numbers"] if one["row"] == row}
        if seconds:
            cells = (", ".join(_mean(values_of(data, row, name)) for name in (test, f"{test}{AT_DEPTHS}")) for test in tests)
            minutes = statistics.fmean(seconds.values()) / 60
            lines.append(f"| {about} | {data['rows'][row]['epochs']} | {len(seconds)} | {minutes:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _apart(studies: Sequence[dict[str, Any]]) -> str:
    """By how much the rows of the claim differ from those that they are compared with, on the main test of each collection; in the largest
    study."""
    data = studies[0]
    tests = _main_tests(data)
    lines = [f"| percentage points above | what is read |{_titles(data, tests)}", f"|---|---{'|---' * len(tests)}|"]
    for row in dict.fromkeys(row for row, _ in CLAIM):
        found = {one["test"]: one for one in data["comparisons"] if one["row"] == row}
        against = data["rows"][row]["against"]
        for about, end in (("the last block", ""), ("all blocks", AT_DEPTHS)):
            cells = [_difference(found[f"{test}{end}"]) if f"{test}{end}" in found else MISSING for test in tests]
            lines.append(f"| {HEADLINE.get(against, against)} | {about} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(studies: Sequence[dict[str, Any]], asked: Sequence[str], collections: Sequence[str] = ()) -> str:
    """Some rows and all rows of some groups, with marks, in the largest study that has each: the main test of each collection, by the last
    block and by all blocks. Without `collections` one that fewer than half of the rows were tested on is left to the tables below.

    Raises:
        SystemExit: no study has all of them.
    """

    def there(data: dict[str, Any], *asked: str) -> list[str]:
        trained = {one["row"] for one in data["numbers"]}
        return [row for row, one in data["rows"].items() if row in trained and (row in asked or one["group"] in asked)]

    data = next((data for data in studies if all(there(data, one) for one in asked)), None)
    if data is None:
        raise SystemExit(f"no study has all of these rows and groups: {'; '.join(asked)}")
    rows, marks = there(data, *asked), {(one["row"], one["test"]): one["mark"] for one in data["comparisons"]}
    tests = [test for test in _main_tests(data) if 2 * sum(bool(values_of(data, row, test)) for row in rows) >= len(rows)]
    if collections:
        tests = [test for test in _main_tests(data) if data["tests"][test]["collection"] in collections]
    lines = [f"| row | what it is | seeds | against |{_titles(data, tests)}", f"|---|---|---|---{'|---' * len(tests)}|"]
    for row in rows:
        one = data["rows"][row]
        counts = {len(values_of(data, row, name)) for test in tests for name in (test, f"{test}{AT_DEPTHS}")} - {0}
        seeds = " to ".join(str(count) for count in sorted({min(counts, default=0), max(counts, default=0)}))
        cells = (
            ", ".join(f"{_mean(values_of(data, row, name))}{marks.get((row, name), '')}" for name in (test, f"{test}{AT_DEPTHS}"))
            for test in tests
        )
        lines.append(f"| {row} | {one['about']} | {seeds} | {one['against']} | {' | '.join(cells)} |")
    compared = [one for one in data["comparisons"] if one["row"] in rows]
    halves = (", ".join(_half([one for one in compared if one["test"] == name]) for name in (test, f"{test}{AT_DEPTHS}")) for test in tests)
    lines.append(f"| *half of the 95 % interval of a difference, median* |  |  |  | {' | '.join(halves)} |")
    return "\n".join(lines)


def _apart_here(studies: Sequence[dict[str, Any]], shapes: int, row: str, test: str) -> str:
    """By how much a row differs from the one that it is compared with, for a sentence: `+1.4 [0.6, 2.3]`.

    Raises:
        SystemExit: they were not compared.
    """
    for data in studies:
        for one in data["comparisons"] if data["settings"]["shapes"] == shapes else ():
            if (one["row"], one["test"]) == (row, test):
                return _difference(one | {"mark": ""})
    raise SystemExit(f"{row} was not compared on {test} in the study of {shapes} shapes of a kind")


def _half(compared: Sequence[dict[str, Any]]) -> str:
    """Median of half the width of the intervals of some comparisons."""
    widths = [(one["outcome"]["interval"][1] - one["outcome"]["interval"][0]) / 2 for one in compared]
    return f"± {statistics.median(widths):.1f}" if widths else MISSING


def _main_tests(data: dict[str, Any]) -> list[str]:
    """The main test of each collection that has one."""
    return [test for name in data["collections"] if (test := _main_test(data, name))]


def _titles(data: dict[str, Any], tests: Sequence[str]) -> str:
    """The heads of the columns of some tests: their collections."""
    return "".join(f" {CALLED.get(name, name)} |" for name in (data["tests"][test]["collection"] for test in tests))


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1f}" if values else MISSING


def _difference(one: dict[str, Any]) -> str:
    """A difference of two rows, its interval, and a mark if it is significant: `+1.4 [0.6, 2.3] ▲`."""
    low, high = (round(bound, 1) + 0.0 for bound in one["outcome"]["interval"])  # no -0.0
    return f"{one['outcome']['difference']:+.1f} [{low:.1f}, {high:.1f}]{one['mark']}"


def shown(data: dict[str, Any], *, depths: bool = False) -> dict[str, dict[str, list[float]]]:
    """What is drawn: for each collection and each row of the groups in `DRAWN`, one value for each seed.

    It is cross-validation where a collection has it, else the linear SVM. `depths`: the same tests on features of four depths.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for collection in data["collections"]:
        test = f"{_main_test(data, collection)}{AT_DEPTHS * depths}"
        own: dict[str, list[float]] = {}
        for number in data["numbers"]:
            if number["test"] == test and data["rows"][number["row"]]["group"] in DRAWN:
                own.setdefault(number["row"], []).append(number["value"])
        if own:
            found[collection] = own
    return found


def draw(data: dict[str, Any], path: Path) -> None:
    """Draw the picture of the page as SVG: a panel for each collection, a line for each row, a dot for each seed; with all numbers for
    readers who hear it. The same numbers give the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    panels, deep = shown(data), shown(data, depths=True)
    rows = [row for row in data["rows"] if any(row in own for own in panels.values())]
    with matplotlib.rc_context({"svg.hashsalt": "study", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(2.4 + 2.2 * len(panels), 0.6 + 0.22 * len(rows)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (collection, own) in zip(axes, panels.items(), strict=True):
            for place, row in enumerate(rows):
                axis.plot(own.get(row, []), [place] * len(own.get(row, [])), "o", color="tab:blue", markersize=4)
                rings = deep.get(collection, {}).get(row, [])
                axis.plot(rings, [place] * len(rings), "o", color="tab:orange", markerfacecolor="none", markersize=6)
            axis.set_title(collection, fontsize=8)
            axis.set_xlabel("percent; rings: at four depths" if deep else "percent")
            axis.grid(axis="x", linewidth=0.4)
        axes[0].set_yticks(range(len(rows)), rows)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    told = [
        f"{collection}{where}: {', '.join(f'{row} {cell(values)}' for row, values in own.items())}"
        for where, found in (("", panels), (AT_DEPTHS, deep))
        for collection, own in found.items()
    ]
    said = f"<title>Linear SVM of the rows, percent</title><desc>{html.escape('; '.join(told))}</desc>"
    path.write_text(re.sub(r"(<svg [^>]*>)", rf"\1\n {said}", drawn.getvalue(), count=1))


def _main_test(data: dict[str, Any], collection: str) -> str | None:
    """Cross-validation if the collection has it, else the linear SVM; None if no row has either."""
    tests = [f"{collection} {name}" for name in ("crossval", "SVM")]
    return next((one for one in tests if any(number["test"] == one for number in data["numbers"])), None)


def _size(data: dict[str, Any]) -> str:
    settings = data["settings"]
    return f"{settings['shapes']} shapes of a kind, {settings['epochs']} epochs a stage"


def _sizes(studies: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Rows that are in several studies, side by side on the main test of each collection."""
    rows = [name for name in studies[0]["rows"] if sum(any(one["row"] == name for one in data["numbers"]) for data in studies) > 1]
    if not rows:
        return
    there = [data for data in studies if any(one["row"] in rows for one in data["numbers"])]
    tests = {collection: {_main_test(data, collection) for data in there} for collection in studies[0]["collections"]}
    columns = [(collection, data, test) for collection, (test, *others) in tests.items() if test and not others for data in there]
    yield "## Does another size rank the rows alike?\n"
    yield "Percent of a linear SVM, by shapes of each kind and epochs of each stage. *Starter* is tested on other shapes in each.\n"
    names = [f"{name}, {data['settings']['shapes']} x {data['settings']['epochs']}" for name, data, _ in columns]
    yield f"| row | {' | '.join(names)} |\n|---{'|---' * len(columns)}|"
    for row in rows:
        yield f"| {row} | {' | '.join(cell(values_of(data, row, str(test))) for _, data, test in columns)} |"
    yield ""


def _claim(data: dict[str, Any]) -> Iterator[str]:
    """What was claimed before the seeds were trained that test it."""
    if not (found := data.get("claim", ())):
        return
    row, against = found[0]["row"], found[0]["against"]
    yield "## The claim, tested on other seeds\n"
    yield (
        f"When seed 0 alone was trained, this was claimed: *{row}* is above *{against}*, of as many epochs, where all blocks are read. "
        "Other seeds test it, on the same test shapes; p is corrected for these comparisons alone. One seed on each side lets only shapes "
        "vary; several let shapes and seeds vary.\n"
    )
    yield "| test | seeds | percent | difference [95 %] | p, corrected |\n|---|---|---|---|---|"
    for one in found:
        outcome = one["outcome"]
        means = " and ".join(f"{mean:.1f}" for mean in outcome["means"])
        p = "< 0.001" if one["adjusted"] < 0.001 else f"{one['adjusted']:.3f}"
        seeds = " and ".join(map(str, dict.fromkeys(outcome["runs"])))
        yield f"| {one['test']} | {seeds} | {means} | {_difference(one)} | {p} |"
    yield ""
    if left := [f"{one['test']}: {one['reason']}" for one in data["claim_not_compared"]]:
        yield f"Of the claim, and not in the table: {'; '.join(left)}.\n"


def _seen(data: dict[str, Any]) -> Iterator[str]:
    """The picture, if there is something to draw."""
    if panels := shown(data):
        about = "a dot for each seed, and a ring where all blocks are read; the tables below have the numbers"
        yield f"![Linear SVM of the rows on {', '.join(panels)}: {about}]({PICTURE})\n"


def _marks(studies: Sequence[dict[str, Any]]) -> Iterator[str]:
    """How tables are read."""
    final = ", ".join(name for name, one in studies[0]["collections"].items() if one["use"] == "final")
    yield "## How to read the tables\n"
    yield (
        "All figures are percent: mean and, with several seeds, deviation over them. The value of a seed is the mean over its stored "
        "blocks or folds.\n"
    )
    yield (
        "▲ and ▼: significantly above and below the row that the column `against` names, on the same test shapes, after Holm's "
        "correction for all comparisons of a section. A number without a mark does not differ significantly, or was not compared: then a "
        f"line at the end of the section says why. {TRAINED.strip()}: trained also on shapes of that collection. With several seeds on "
        "both sides, the test lets shapes and seeds vary. With one seed it is a permutation over the shapes, and holds for these runs "
        "alone. `mmpd-train eval compare` does the same for any runs.\n"
    )
    yield (
        "In a study that tells a deviation over seeds below, all its rows tell together how much a seed changes a result, as in an "
        "analysis of variance: the variance over seeds is taken for the same in all of them, except in those that vary significantly "
        "more (F test), which stand for themselves. `mmpd-train eval compare --share-seeds` does the same. Otherwise, and for the "
        "claim, each row tells for itself.\n"
    )
    yield f"Nothing was chosen by looking at {final}. The other sets were looked at during development (`science/held_out.md`).\n"


def _how(data: dict[str, Any]) -> Iterator[str]:
    """What a study is trained on, and what it cost."""
    settings = data["settings"]
    seeds: dict[str, set[int]] = {}
    for one in data["numbers"]:
        seeds.setdefault(one["row"], set()).add(one["seed"])
    counts = sorted({len(own) for own in seeds.values()})
    yield (
        f"Data: {settings['shapes']} starter shapes of each of 35 kinds, a quarter of them kept to test on. {settings['epochs']} epochs a "
        f"stage in {settings['precision']}, {' or '.join(map(str, counts))} seed{'s' * (counts != [1])}, {len(data['comparisons'])} "
        f"comparisons. All of it took {data['hours']:.1f} hours of processor time.\n"
    )
    if told := [f"{name} {', '.join(own)}" for name in data["collections"] if (own := list(_deviations(data, name)))]:
        alone = dict.fromkeys(row for one in data["spreads"].values() for row in one["alone"])
        others = f" Not of {', '.join(f'*{row}*' for row in alone)}: more, on some tests." if alone else ""
        yield (f"Standard deviation over seeds, from all rows: {'; '.join(told)} points (the last block, and all blocks).{others}\n")


def _deviations(data: dict[str, Any], collection: str) -> Iterator[str]:
    """The deviation over seeds that rows share on the main test of a collection, in percent: by the last block, and by all blocks."""
    test = _main_test(data, collection)
    for name in (test, f"{test}{AT_DEPTHS}"):
        if name in data.get("spreads", {}):
            yield f"{100 * data['spreads'][name]['spread']['variance'] ** 0.5:.1f}"


def _commands(data: dict[str, Any]) -> Iterator[str]:
    """The command and the time behind each number: the training of each row for its first seed, and each test once."""
    yield "### Commands and hours\n"
    yield "Commands run in the folder of the study. Other seeds have another `seed`. Minutes are processor time; in brackets with"
    yield "that of the rows which a row needs.\n"
    for group, title in TITLES.items():
        rows = [name for name, one in data["rows"].items() if one["group"] == group]
        first = {one["row"]: one for one in reversed(data["numbers"]) if one["row"] in rows}
        if not first:
            continue
        yield f"#### {title}\n\n| row | commit | minutes | command |\n|---|---|---|---|"
        for row in (row for row in rows if row in first):
            one = first[row]
            job = training(data, one)
            minutes = f"{job['seconds'] / 60:.1f} ({one['all_seconds'] / 60:.1f})"
            yield f"| {row} | `{job['commit']}` | {minutes} | `{job['command']}` |"
        yield ""
    yield "#### Caches and guides\n\n| what | commit | minutes | command |\n|---|---|---|---|"
    for name, job in data["jobs"].items():
        if job["done"] and name.startswith(("build/", "teach/", "taught/", "captions/", "patches/", "guide/")):
            yield f"| {name.partition('/')[2]} | `{job['commit']}` | {job['seconds'] / 60:.1f} | `{job['command']}` |"
    yield ""
    tests = {one["test"]: one for one in reversed(data["numbers"])}
    yield "#### Tests\n\nTests of one run on one collection share its features, and the first one computes them.\n"
    yield "| test | what it is | seconds | command |\n|---|---|---|---|"
    for name in (name for name in data["tests"] if name in tests):
        one = tests[name]
        seconds = f"{one['score_seconds']:.0f}" if one["score_seconds"] >= 1 else "< 1"
        yield f"| {name} | {data['tests'][name]['about']} | {seconds} | `{one['score_command']}` |"
    yield ""  # a heading follows, if there is another study


MADE: Final[dict[str, Callable[[Sequence[dict[str, Any]]], str]]] = {"<!-- headline -->": _headline, "<!-- differences -->": _apart}
"""Lines of the hand-written beginning, and the tables that stand there in the page."""
ROWS_OF: Final = re.compile("<!-- rows: (.+?)(?: @ (.+))? -->")
"""Such a line names rows and groups of rows, with semicolons between them, and perhaps collections, as in
`rows: scratch; main @ designs; drawers`. Their table stands there (`_rows`)."""
APART: Final = re.compile(r"<<(\d+): (.+?) / (.+?)>>")
"""In a sentence: the number of shapes of a kind, a row and a test. Their difference from the row's `against` stands there."""


def made() -> str:
    """The page of the numbers that are kept in science/."""
    return page(_kept(), TOP.read_text())


def _kept() -> list[dict[str, Any]]:
    """The studies that are kept in science/, the largest first."""
    studies = [once(json.loads(path.read_text())) for path in HERE.glob(NUMBERS)]
    return sorted(studies, key=lambda data: (-data["settings"]["shapes"], -data["settings"]["epochs"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "numbers", type=Path, nargs="*", help="study.json of a study; those of the last page are kept if it is of another size"
    )
    numbers: list[Path] = parser.parse_args().numbers
    if missing := [str(path) for path in numbers if not path.is_file()]:
        raise SystemExit(f"{', '.join(missing)}: missing. Give the study.json that `python science/study.py FOLDER` writes")
    if not TOP.exists():
        raise SystemExit(f"{TOP} is missing: write the beginning of the page there, with a heading and what holds in plain words")
    for data in (once(json.loads(path.read_text())) for path in numbers):
        kept = HERE / NUMBERS.replace("*", f"{data['settings']['shapes']}-{data['settings']['epochs']}")
        kept.write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(made())
    draw(_kept()[0], PAGE.parent / PICTURE)


if __name__ == "__main__":
    main()
