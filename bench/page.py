"""Write docs/numbers.md from the measurements in docs/numbers/*.json.

    python bench/page.py               # the page from what is kept
    python bench/page.py --keep        # first keep build/bench/*.json, those of the last `make bench`
    python bench/page.py --keep step   # only build/bench/step*.json

What was measured with files that no commit has is kept only with --dirty, and the page says so.

The page's numbers are those of the JSON. Text stands in the docstring of each benchmark, and below.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import FOLDER, noisy, number

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "numbers"
PAGE = ROOT / "docs" / "numbers.md"

HEAD = """# Numbers

<!-- Written by bench/page.py. -->

`make bench` measures this; but a million shapes are `make bench-scale`, a GPU is `make bench-gpu`, and "Before and after" is
`bench/against.py`. The command of each table stands below it. Ways to do the same thing take turns within one run, forth and back.
"Measured" is the median of the rounds. "Ratio" is how many times as fast we are as what we compare with: the median over the rounds of the
ratio within a round, with the least and the most of them. Where the machine's speed changes between rounds it differs from the ratio of
the medians. Beside it stands the same ratio in processor time. A limit is something that nothing can beat, such as a copy within memory;
there the ratio is our share of it. Where we seem to beat it by more than 5 %, there is no ratio but "noisy: not comparable". Ratios hold
on other machines of the kind; rates do not.
"""
BUSY = "A row with * was measured while other processes took more than 5 % of our cores."
DIRTY = "Files were changed since that commit: the numbers are not those of the commit alone."
TITLES = {
    "reader": "Reading",
    "codec": "Size of pictures",
    "render": "Drawing",
    "build": "Building",
    "step": "Training",
    "profile": "Where a step's time goes",
    "embed": "Using a model",
    "search": "Searching",
    "scale": "A million shapes",
    "captions": "Captions",
    "afar": "Training from afar",
    "gpu": "On a GPU",
    "against": "Before and after",
}
"""Sections, in the order of the page. A file `step-data.json` belongs to `step`."""
POINTS = """## Size of points

A point takes 15 bytes: 6 for float16 coordinates, 3 for colours, 6 for the float16 normal. With the default 8 blocks of 1024 points that is
120 KiB a shape, or 72 KiB with `--set points.normals=false`. Rows are not compressed, so this is what lies on disk.
"""
NEEDS_GPU = (
    "steps and samples a second of both stages, ViT, Point-M2AE and PointMamba, batch 128 and 512, and their peak memory",
    "the same step from a cache, from device memory, and on a batch that stays on the device",
    "image towers of teachers, ViT-B/32 and of the size of bigG",
    "captions a second of a model of BLIP-2's size",
    "views a second with EGL on a GPU",
)
"""What nobody has measured until there is a gpu.json."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", nargs="?", const="", help="keep the last measurements whose name begins like this")
    parser.add_argument("--dirty", action="store_true", help="also keep what was measured with files that no commit has")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        files = [  # a comparison of two commits is kept if it is named
            file for file in sorted(FOLDER.glob(f"{arguments.keep}*.json")) if arguments.keep or not file.name.startswith("against")
        ]
        unclean = [file.name for file in files if dirty(json.loads(file.read_text()))]
        if unclean and not arguments.dirty:
            parser.error(f"not measured at a commit: {', '.join(unclean)}. Commit and measure again, or give --dirty; nothing was kept")
        KEPT.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(file, KEPT)
    PAGE.write_text(page(KEPT))
    print(f"Look at {PAGE.relative_to(ROOT)}")


def dirty(report: dict[str, Any]) -> bool:
    """Whether files were changed since the commit that a report names, or its commit is not known."""
    return any(word in report["versions"].get("commit", "unknown") for word in ("with changes", "unknown"))


def page(folder: Path) -> str:
    """The page of the measurements in a folder."""
    kept: dict[str, list[dict[str, Any]]] = {name: [] for name in TITLES}
    for file in sorted(folder.glob("*.json")):
        kept.setdefault(file.stem.partition("-")[0], []).append(json.loads(file.read_text()))
    parts = [HEAD]
    for name, reports in kept.items():
        if reports:
            parts += [f"## {TITLES.get(name, name.capitalize())}\n", *("\n".join(section(report)) for report in reports)]
        elif name == "gpu":
            parts += [f"## {TITLES[name]}\n", "\n".join(unmeasured())]
        else:
            parts += [f"## {TITLES[name]}\n", f"Nobody has kept a measurement of this version: see `bench/{name}.py`.\n"]
        if name == "codec":
            parts.append(POINTS)
    return "\n".join(parts)


def section(report: dict[str, Any]) -> Iterator[str]:
    """One file: what it is about, its table, and on what it was measured."""
    rows = report["rows"]
    yield f"{report['about']}\n"
    yield "| what | measured | compared with | ratio | in processor time |"
    yield "|---|---|---|---|---|"
    for row in rows:
        yield from cells(row)
    yield ""
    if any(row.get("quiet") is False for row in rows):
        yield f"{BUSY}\n"
    machine, versions = report["machine"], report["versions"]
    cores = f"{machine['cores']} core" + "s" * (machine["cores"] != 1)
    minutes = f", {number(report['minutes'])} minutes" if "minutes" in report else ""
    yield f"`{report['command']}` on {report['date']}{minutes}. {machine['processor']}, {cores},"
    yield f"{machine['memory_gib']} GiB, GPU: {machine['gpu']}. {', '.join(f'{name} {version}' for name, version in versions.items())}.\n"
    if dirty(report):
        yield f"{DIRTY}\n"


def cells(row: dict[str, Any]) -> Iterator[str]:
    """One row of a table for each thing that ours is compared with. Ours is told in the first one."""
    if "missing" in row:
        yield f"| {row['what']} | not measured: {row['missing']} | | | |"
        return
    ways, unit = row.get("figures") or row["ways"], row["unit"]
    if "figures" in row and not any(way["ratio"] for way in ways[1:]):  # they are not compared
        values = [f"{way['name']} {number(way['value'])}" for way in ways]
        yield f"| {row['what']}, {unit} | {', '.join(values)} | | | |"
        return
    ours, *others = [f"{way['name']}{' (a limit)' if way.get('limit') else ''}: {took(way, unit)}" for way in ways]
    told = f"{row['what']}{'*' if row.get('quiet') is False else ''} | {ours}"
    for way, other in zip(ways[1:], others, strict=True):
        compared = ("noisy: not comparable", "") if "rate" in way and noisy(ways[0], way) else ratios(way)
        yield f"| {told} | {other} | {' | '.join(compared)} |"
        told = " | "
    if not others:
        yield f"| {told} | | | |"


def ratios(way: dict[str, Any]) -> tuple[str, str]:
    """The ratio by the clock and in processor time; of a figure there is one."""
    if "value" in way:
        return number(way["ratio"]) if way["ratio"] else "", ""
    ratio, effort, times = way["ratio"], way["processor_ratio"], "" if way["limit"] else "x"
    spread = f" ({number(ratio['min'])} to {number(ratio['max'])})" if ratio["rounds"] > 1 else ""
    return f"{number(ratio['median'])}{times}{spread}", number(effort["median"]) + times if effort else ""


def took(way: dict[str, Any], unit: str) -> str:
    """A figure; of work the rate, and the seconds of a call where they say something."""
    if "value" in way:
        return f"{number(way['value'])} {unit}"
    seconds, rate = way["seconds"]["median"], f"{number(way['rate']['median'])} {unit}/s"
    return f"{number(seconds)} s" if not unit else rate if seconds < 0.5 else f"{number(seconds)} s, {rate}"


def unmeasured() -> Iterator[str]:
    yield "| what | measured |\n|---|---|"
    for what in NEEDS_GPU:
        yield f"| {what} | not measured on a GPU |"
    yield "\n`make bench-gpu` measures these rows where there is a GPU.\n"


if __name__ == "__main__":
    main()
