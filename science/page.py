"""Writes docs/study.md from the study.json of a study and the words of science/top.md, which people write.

    python science/page.py build/study/study.json     # a copy of the numbers stays in science/study.json
    python science/page.py                            # again, after a change of the words

The page has the hand-written words, what the marks mean, all tables, and the command and processor time behind every number.
"""

import argparse
import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from report import TITLES, TRAINED, cell, tables

HERE: Final = Path(__file__).parent
TOP: Final = HERE / "top.md"
"""The hand-written beginning of the page."""
NUMBERS: Final = HERE / "study.json"
"""The numbers of the page."""
PAGE: Final = HERE.parent / "docs" / "study.md"
PICTURE: Final = Path("pictures", "study.svg")
"""The picture of the page, beside it."""
DRAWN: Final = ("main", "recipes", "teachers", "ablations", "budgets")
"""Groups of rows that are in the picture."""


def page(data: dict[str, Any], top: str) -> str:
    """The page in Markdown."""
    return "\n".join((top.rstrip() + "\n", *_seen(data), *_how(data), tables(data), *_commands(data)))


def shown(data: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """What is drawn: for each collection, for each row of the groups in `DRAWN`, one value for each seed. The test is cross-validation if
    the collection has it, else the linear SVM."""
    found: dict[str, dict[str, list[float]]] = {}
    for collection in data["collections"]:
        tests = [f"{collection} {name}" for name in ("crossval", "SVM")]
        test = next((one for one in tests if any(number["test"] == one for number in data["numbers"])), None)
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

    panels = shown(data)
    rows = [row for row in data["rows"] if any(row in own for own in panels.values())]
    with matplotlib.rc_context({"svg.hashsalt": "study", "font.size": 8}):
        figure = Figure(figsize=(2.4 + 2.2 * len(panels), 0.6 + 0.22 * len(rows)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (collection, own) in zip(axes, panels.items(), strict=True):
            for place, row in enumerate(rows):
                axis.plot(own.get(row, []), [place] * len(own.get(row, [])), "o", color="tab:blue", markersize=4)
            axis.set_title(collection, fontsize=8)
            axis.set_xlabel("percent")
            axis.grid(axis="x", linewidth=0.4)
        axes[0].set_yticks(range(len(rows)), rows)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    told = [f"{collection}: {', '.join(f'{row} {cell(values)}' for row, values in own.items())}" for collection, own in panels.items()]
    said = f"<title>Linear SVM of the rows, percent</title><desc>{html.escape('; '.join(told))}</desc>"
    path.write_text(re.sub(r"(<svg [^>]*>)", rf"\1\n {said}", drawn.getvalue(), count=1))


def _seen(data: dict[str, Any]) -> Iterator[str]:
    """The picture, if there is something to draw."""
    if panels := shown(data):
        yield f"![Linear SVM of the rows on {', '.join(panels)}: a dot for each seed; the tables below have the numbers]({PICTURE})\n"


def _how(data: dict[str, Any]) -> Iterator[str]:
    """What the tables show, and what it cost."""
    settings = data["settings"]
    seeds: dict[str, set[int]] = {}
    for one in data["numbers"]:
        seeds.setdefault(one["row"], set()).add(one["seed"])
    counts = sorted({len(own) for own in seeds.values()})
    said = f"{' or '.join(map(str, counts))} seed{'s' * (counts != [1])}"
    final = ", ".join(name for name, one in data["collections"].items() if one["use"] == "final")
    yield "## How it was measured\n"
    yield (
        f"Data: {settings['shapes']} starter shapes of each of 35 kinds, a quarter of them kept to test on. {settings['epochs']} epochs a "
        f"stage in {settings['precision']}, {said}. All figures are percent: mean and, with several seeds, deviation over them. The value "
        f"of a seed is the mean over its stored blocks or folds. All of it took {data['hours']:.1f} hours of processor time.\n"
    )
    yield (
        "▲ and ▼: significantly above and below the row that the column `against` names, on the same test shapes, after Holm's "
        f"correction for all comparisons of a section; there are {len(data['comparisons'])} in all. A number without a mark does not "
        "differ significantly, or was not compared: then a sentence below the table says why. "
        f"{TRAINED.strip()}: trained also on shapes of that collection. With several seeds on both sides, the test lets shapes and seeds "
        "vary. With one seed it is a permutation over the shapes, and holds for these runs alone. `mmpd-train eval compare` does the same "
        "for any runs.\n"
    )
    yield f"Nothing was chosen by looking at {final}. The other sets were looked at during development (`science/held_out.md`).\n"


def _commands(data: dict[str, Any]) -> Iterator[str]:
    """The command and the time behind each number: the training of each row for its first seed, and each test once."""
    yield "## Commands and hours\n"
    yield "Commands run in the folder of the study. Other seeds have another `seed`. Minutes are processor time; in brackets with"
    yield "that of the rows which a row needs.\n"
    for group, title in TITLES.items():
        rows = [name for name, one in data["rows"].items() if one["group"] == group]
        first = {one["row"]: one for one in reversed(data["numbers"]) if one["row"] in rows}
        if not first:
            continue
        yield f"### {title}\n\n| row | commit | minutes | command |\n|---|---|---|---|"
        for row in (row for row in rows if row in first):
            one = first[row]
            minutes = f"{one['train_seconds'] / 60:.1f} ({one['all_seconds'] / 60:.1f})"
            yield f"| {row} | `{one['train_commit']}` | {minutes} | `{one['train_command']}` |"
        yield ""
    yield "### Caches and guides\n\n| what | commit | minutes | command |\n|---|---|---|---|"
    for name, job in data["jobs"].items():
        if job["done"] and name.startswith(("build/", "captions/", "patches/", "guide/")):
            yield f"| {name.partition('/')[2]} | `{job['commit']}` | {job['seconds'] / 60:.1f} | `{job['command']}` |"
    yield ""
    tests = {one["test"]: one for one in reversed(data["numbers"])}
    yield "### Tests\n\nTests of one run on one collection share its features, and the first one computes them.\n"
    yield "| test | what it is | seconds | command |\n|---|---|---|---|"
    for name in (name for name in data["tests"] if name in tests):
        one = tests[name]
        seconds = f"{one['score_seconds']:.0f}" if one["score_seconds"] >= 1 else "< 1"
        yield f"| {name} | {data['tests'][name]['about']} | {seconds} | `{one['score_command']}` |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", type=Path, nargs="?", help="study.json; that of the last page without")
    numbers: Path = parser.parse_args().numbers or NUMBERS
    if not numbers.is_file():
        raise SystemExit(f"{numbers} is missing: give the study.json that `python science/study.py FOLDER` writes")
    data = json.loads(numbers.read_text())
    if not TOP.exists():
        raise SystemExit(f"{TOP} is missing: write the beginning of the page there, with a heading and what holds in plain words")
    NUMBERS.write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(page(data, TOP.read_text()))
    draw(data, PAGE.parent / PICTURE)


if __name__ == "__main__":
    main()
