"""Writes docs/study.md and docs/study-tables.md from the study.json of studies of several sizes.

    python science/page.py build/study/study.json            # a copy of the numbers stays in science/, named by its size
    python science/page.py wider=build/wider/study.json      # of a study of the same size as another one: by a name, too
    python science/page.py                                   # again, after a change of the words

The first page is the template science/top.md: words that people write, with numbers and tables from the studies (`quoted.py`). Then what
was claimed, what ranks alike at another size, and what the marks mean. The second page has, for each study, the largest first, all tables,
and the command and processor time behind every number.
"""

import argparse
import html
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
from quoted import AT_DEPTHS, NAME, Quoted, difference, main_test, size
from report import TITLES, TRAINED, cell, once, tables, training, values_of

HERE: Final = Path(__file__).parent
TOP: Final = HERE / "top.md"
"""The template of the words of the page."""
NUMBERS: Final = "study-*.json"
"""The numbers of the page, beside this file: one for each size (shapes of a kind, epochs), and for each name of a further study."""
PAGE: Final = HERE.parent / "docs" / "study.md"
"""The page that is read."""
TABLES: Final = PAGE.with_name("study-tables.md")
"""The page in which numbers are looked up."""
PICTURE: Final = Path("pictures", "study.svg")
"""The picture of the page, beside it."""
BEFORE: Final = (
    "To look numbers up. [Does it hold where it is hard?](study.md) says in words what they show, and "
    "[how the tables are read](study.md#how-to-read-the-tables)."
)
"""First words of the second page."""
DRAWN: Final = ("main", "recipes", "teachers", "remedies", "ablations", "budgets")
"""Groups of rows that are in the picture."""


def page(studies: Sequence[dict[str, Any]], top: str) -> str:
    """The first page in Markdown. `studies`: of several sizes, the largest first, which is drawn. `top`: the template.

    Raises:
        SystemExit: the template quotes what no study has, or calls significant what is not.
    """

    def study(shapes: int, epochs: int = studies[0]["settings"]["epochs"], name: str = "") -> Quoted:
        for data in studies:
            if (data["settings"]["shapes"], data["settings"]["epochs"], data.get(NAME, "")) == (shapes, epochs, name):
                return Quoted(data)
        named = f", called {name}," if name else ""
        raise SystemExit(f"science/top.md quotes a study of {shapes} shapes of a kind and {epochs} epochs{named} that is not in science/")

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    try:
        words = environment.from_string(top).render(study=study)
    except jinja2.TemplateError as error:
        raise SystemExit(f"science/top.md: {error}") from None
    return "\n".join((words.rstrip() + "\n", *_seen(studies[0]), *_claim(studies[0]), *_sizes(studies), *_marks(studies)))


def all_tables(studies: Sequence[dict[str, Any]]) -> str:
    """The second page in Markdown: every table and command, of studies of several sizes, the largest first."""
    parts = ["# All tables of the study\n", f"{BEFORE}\n"]
    for data in studies:
        parts += [f"## {size(data).capitalize()}\n", *_how(data), tables(data, level=3), *_commands(data)]
    return "\n".join(parts)


def shown(data: dict[str, Any], *, depths: bool = False) -> dict[str, dict[str, list[float]]]:
    """What is drawn: for each collection and each row of the groups in `DRAWN`, one value for each seed.

    It is cross-validation where a collection has it, else the linear SVM. `depths`: the same tests on features of four depths.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for collection in data["collections"]:
        test = f"{main_test(data, collection)}{AT_DEPTHS * depths}"
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


def _sizes(studies: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Rows that are in studies of several sizes, side by side on the main test of each collection. Those with a name are further ones of a
    size."""
    studies = [data for data in studies if NAME not in data]
    rows = [name for name in studies[0]["rows"] if sum(any(one["row"] == name for one in data["numbers"]) for data in studies) > 1]
    if not rows:
        return
    there = [data for data in studies if any(one["row"] in rows for one in data["numbers"])]
    tests = {collection: {main_test(data, collection) for data in there} for collection in studies[0]["collections"]}
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
        yield f"| {one['test']} | {seeds} | {means} | {difference(one)} | {p} |"
    yield ""
    if left := [f"{one['test']}: {one['reason']}" for one in data["claim_not_compared"]]:
        yield f"Of the claim, and not in the table: {'; '.join(left)}.\n"


def _seen(data: dict[str, Any]) -> Iterator[str]:
    """The picture, if there is something to draw."""
    if panels := shown(data):
        about = "a dot for each seed, and a ring where all blocks are read; the numbers are in the tables of the next page"
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
        f"In a study that tells a deviation over seeds ([all tables]({TABLES.name})), all its rows tell together how much a seed changes "
        "a result, as in an analysis of variance: the variance over seeds is taken for the same in all of them, except in those that vary "
        "significantly more (F test), which stand for themselves. `mmpd-train eval compare --share-seeds` does the same. Otherwise, and "
        "for the claim, each row tells for itself.\n"
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
    test = main_test(data, collection)
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


def made() -> dict[Path, str]:
    """The pages of the numbers that are kept in science/."""
    return {PAGE: page(_kept(), TOP.read_text()), TABLES: all_tables(_kept())}


def _kept() -> list[dict[str, Any]]:
    """The studies that are kept in science/, the largest first."""
    studies = [once(json.loads(path.read_text())) for path in HERE.glob(NUMBERS)]
    return sorted(studies, key=lambda data: (-data["settings"]["shapes"], -data["settings"]["epochs"], data.get(NAME, "")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "numbers",
        nargs="*",
        metavar="[NAME=]FILE",
        help="study.json of a study; those of the last page are kept if they are of another size, or another name",
    )
    numbers = [(name, Path(path)) for name, _, path in (given.rpartition("=") for given in parser.parse_args().numbers)]
    if missing := [str(path) for _, path in numbers if not path.is_file()]:
        raise SystemExit(f"{', '.join(missing)}: missing. Give the study.json that `python science/study.py FOLDER` writes")
    if not TOP.exists():
        raise SystemExit(f"{TOP} is missing: write the beginning of the page there, with a heading and what holds in plain words")
    for name, path in numbers:
        data = once(json.loads(path.read_text())) | ({NAME: name} if name else {})
        known = "-".join((str(data["settings"]["shapes"]), str(data["settings"]["epochs"]), *filter(None, [name])))
        (HERE / NUMBERS.replace("*", known)).write_text(json.dumps(data, indent=1) + "\n")
    for path, text in made().items():
        path.write_text(text)
    draw(_kept()[0], PAGE.parent / PICTURE)


if __name__ == "__main__":
    main()
