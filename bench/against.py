"""One benchmark, or one command, in two checkouts in turns: what has changed, and by how much. Prints a table, and writes JSON.

    python bench/against.py ../before step --only distill             # the rows of bench/step.py, with the packages of both
    python bench/against.py ../before --run "-m pipeline.cli build starter {new}/c.zarr"

The benchmark is that of this checkout, and the packages are those of both; `--own` takes each checkout's own script. A command is a line
for `python`, in which {new} is an empty folder for each turn. Each turn is a process of its own; rounds go forth and back.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine
from measure import Report, Turn

HERE = Path(__file__).resolve().parent.parent


def environment(checkout: Path, folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(checkout), "MMPD_BENCH": str(folder)}


def rows(checkout: Path, script: Path, arguments: list[str]) -> dict[tuple[str, str, str], Turn]:
    """One turn of a benchmark with the packages of a checkout: the medians of each way in each row, by (row, unit, way)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(script), *arguments]
        subprocess.run(command, cwd=checkout, env=environment(checkout, Path(folder)), check=True, stdout=subprocess.DEVNULL)
        reports: list[dict[str, Any]] = [json.loads(file.read_text()) for file in sorted(Path(folder).glob("*.json"))]
    found = {}
    for row in (row for report in reports for row in report["rows"] if "ways" in row):
        for way in row["ways"]:
            rate, seconds, processor = (way[key]["median"] for key in ("rate", "seconds", "processor_seconds"))
            found[row["what"], row["unit"], way["name"]] = Turn(seconds, processor, rate * seconds)
    return found


def compare_rows(report: Report, checkouts: dict[str, Path], arguments: argparse.Namespace) -> None:
    """The rows that both have, each with the ratio of its rates, round by round."""
    turns: dict[tuple[str, str, str], dict[str, list[Turn]]] = {}
    for turn in range(arguments.rounds):
        for name in list(checkouts)[:: -1 if turn % 2 else 1]:
            script = (checkouts[name] if arguments.own else HERE) / "bench" / f"{arguments.benchmark}.py"
            for key, taken in rows(checkouts[name], script, arguments.rest).items():
                turns.setdefault(key, {name: [] for name in checkouts})[name].append(taken)
    watch = report.watch  # of all rounds together
    for (what, unit, way), both in turns.items():
        if all(len(taken) == arguments.rounds for taken in both.values()):
            report.watch = watch
            report.row(f"{what}: {way}", both, unit)
        else:
            report.missing(f"{what}: {way}", "only one of the checkouts has it")


def compare_command(report: Report, checkouts: dict[str, Path], arguments: argparse.Namespace) -> None:
    """A command in both, in turns."""

    def way(checkout: Path) -> Any:
        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                words = shlex.split(arguments.run.replace("{new}", folder))
                place = Path(folder)
                subprocess.run(
                    [sys.executable, *words], cwd=checkout, env=environment(checkout, place), check=True, stdout=subprocess.DEVNULL
                )

        return run

    report.compare(arguments.run, {name: way(checkout) for name, checkout in checkouts.items()}, arguments.rounds, warm=not arguments.cold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("benchmark", nargs="?", help="name of a file of bench/, such as step")
    parser.add_argument("--run", help="a command line for python instead of a benchmark")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=3, help="rounds of the benchmark within a turn")
    parser.add_argument("--own", action="store_true", help="each checkout runs its own script")
    parser.add_argument("--cold", action="store_true", help="no first round that does not count")
    arguments, rest = parser.parse_known_args()
    arguments.rest = [*rest, "--rounds", str(arguments.each)]
    if (arguments.benchmark is None) == (arguments.run is None):
        parser.error("name a benchmark, or a command with --run")
    checkouts = {"now": HERE, "before": arguments.other.resolve()}
    with Report(f"against-{arguments.benchmark or 'command'}") as report:
        report.facts["versions"] |= {"commit": f"{machine.commit(HERE)} against {machine.commit(checkouts['before'])}"}
        print(f"now against before: {report.facts['versions']['commit']}")
        (compare_rows if arguments.benchmark else compare_command)(report, checkouts, arguments)


if __name__ == "__main__":
    main()
