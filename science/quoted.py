"""What the words of docs/study.md quote from the numbers of a study. `science/page.py` gives it to their template, science/top.md:

    {% set small = study(16) %}
    {% set wider = study(16, name="wider") %}
    On SHREC stage 2 has {{ small.all("stage 2", "shrec16") }} percent, {{ small.all_apart("stage 2", "shrec16", "▲") }} points more.

A sentence says that a difference is significant, or it says that it is not. So whoever quotes one gives its mark, and the page is not
written if the numbers have another one by now.
"""

import statistics
from collections.abc import Sequence
from typing import Any, Final

from report import MARKS, values_of
from rows import CLAIM

NAME: Final = "name"
"""Key of the numbers of a study that is a further one of its size. `science/page.py` gives it."""
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
"""What collections are called in tables between words; others by their names."""
MISSING: Final = "–"
"""What stands in such a table where there is no number."""
INTERVALS: Final = "*half of the 95 % interval of a difference, median*"
"""First cell of the last line of such a table."""


class Quoted:
    """The numbers of one study as text. Methods take rows and collections by their names; the *main test* of a collection is meant:
    cross-validation where the collection has it, else the linear SVM. *Last* reads the last block of the encoder, *all* reads all blocks.

    Every method raises SystemExit for a row without that number, so that a misspelt name, or a row that is no longer there, is found.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        """`data`: what study.json says."""
        self.data = data

    def last(self, row: str, collection: str) -> str:
        """The mean of a row over its seeds in percent, such as `67.7`."""
        return self._mean(row, self._test(collection))

    def all(self, row: str, collection: str) -> str:
        """The same with all blocks."""
        return self._mean(row, self._test(collection, AT_DEPTHS))

    def score(self, row: str, test: str) -> str:
        """The mean of a row over its seeds on any test (`testsets.TESTS`), in percent."""
        return self._mean(row, test)

    def last_apart(self, row: str, collection: str, mark: str = "") -> str:
        """By how many points a row differs from the one that it is compared with, and the 95 % interval, such as `+1.4 [0.6, 2.3]`.
        `mark`: ▲ or ▼ if the sentence says that this is significant; SystemExit if it is not so."""
        return self._apart(row, self._test(collection), mark)

    def all_apart(self, row: str, collection: str, mark: str = "") -> str:
        """The same with all blocks."""
        return self._apart(row, self._test(collection, AT_DEPTHS), mark)

    def none_apart(self, *rows: str, mark: str = "▲▼") -> str:
        """Nothing, if no comparison of these rows and groups of rows has one of these marks on a main test. Else SystemExit: stands
        beside a sentence that says so."""
        names = self._rows(rows)
        found = [one for one in self.data["comparisons"] if one["row"] in names and one["mark"].strip() and one["mark"].strip() in mark]
        if wrong := [
            f"{one['row']}{one['mark']} on {one['test']}" for one in found if one["test"].removesuffix(AT_DEPTHS) in self._main_tests()
        ]:
            raise SystemExit(f"science/top.md says that nothing is significant here: {', '.join(wrong)}")
        return ""

    def headline(self) -> str:
        """A table of the rows of `HEADLINE`: epochs, seeds, processor time, and the main test of each collection, last and all blocks."""
        tests = self._main_tests()
        lines = [f"| what | epochs | seeds | processor minutes |{self._titles(tests)}", f"|---|---|---|---{'|---' * len(tests)}|"]
        for row, about in HEADLINE.items():
            seconds = {one["seed"]: one["all_seconds"] for one in self.data["numbers"] if one["row"] == row}
            if seconds:
                cells = (", ".join(_mean(values_of(self.data, row, name)) for name in (test, f"{test}{AT_DEPTHS}")) for test in tests)
                minutes = statistics.fmean(seconds.values()) / 60
                lines.append(f"| {about} | {self.data['rows'][row]['epochs']} | {len(seconds)} | {minutes:.0f} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def differences(self) -> str:
        """A table of how much the rows of the claim differ from those that they are compared with, on the main test of each collection."""
        tests = self._main_tests()
        lines = [f"| percentage points above | what is read |{self._titles(tests)}", f"|---|---{'|---' * len(tests)}|"]
        for row in dict.fromkeys(row for row, _ in CLAIM):
            found = {one["test"]: one for one in self.data["comparisons"] if one["row"] == row}
            against = self.data["rows"][row]["against"]
            for about, end in (("the last block", ""), ("all blocks", AT_DEPTHS)):
                cells = [difference(found[f"{test}{end}"]) if f"{test}{end}" in found else MISSING for test in tests]
                lines.append(f"| {HEADLINE.get(against, against)} | {about} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def rows(self, *asked: str, at: Sequence[str] = ()) -> str:
        """A table of rows and groups of rows, with marks: the main test of each collection, last and all blocks. `at`: the collections;
        without, all but those that fewer than half of the rows were tested on."""
        names, data = self._rows(asked), self.data
        marks = {(one["row"], one["test"]): one["mark"] for one in data["comparisons"]}
        tests = [test for test in self._main_tests() if 2 * sum(bool(values_of(data, row, test)) for row in names) >= len(names)]
        if at:
            tests = [self._test(name) for name in at]
        lines = [f"| row | what it is | seeds | against |{self._titles(tests)}", f"|---|---|---|---{'|---' * len(tests)}|"]
        for row in names:
            one = data["rows"][row]
            counts = {len(values_of(data, row, name)) for test in tests for name in (test, f"{test}{AT_DEPTHS}")} - {0}
            seeds = " to ".join(str(count) for count in sorted({min(counts, default=0), max(counts, default=0)}))
            cells = (
                ", ".join(f"{_mean(values_of(data, row, name))}{marks.get((row, name), '')}" for name in (test, f"{test}{AT_DEPTHS}"))
                for test in tests
            )
            lines.append(f"| {row} | {one['about']} | {seeds} | {one['against']} | {' | '.join(cells)} |")
        compared = [one for one in data["comparisons"] if one["row"] in names]
        halves = (", ".join(_half(compared, name) for name in (test, f"{test}{AT_DEPTHS}")) for test in tests)
        lines.append(f"| {INTERVALS} |  |  |  | {' | '.join(halves)} |")
        return "\n".join(lines)

    def _rows(self, asked: Sequence[str]) -> list[str]:
        """The rows with numbers that are asked for by their names or by their groups."""
        trained = {one["row"] for one in self.data["numbers"]}
        there = {row: (row, one["group"]) for row, one in self.data["rows"].items() if row in trained}
        if missing := [name for name in asked if not any(name in called for called in there.values())]:
            raise SystemExit(f"the study of {size(self.data)} has no such rows and groups: {'; '.join(missing)}")
        return [row for row, called in there.items() if not set(called).isdisjoint(asked)]

    def _main_tests(self) -> list[str]:
        return [test for name in self.data["collections"] if (test := main_test(self.data, name))]

    def _test(self, collection: str, end: str = "") -> str:
        if not (test := main_test(self.data, collection)):
            raise SystemExit(f"no row of the study of {size(self.data)} was tested on {collection}")
        return f"{test}{end}"

    def _titles(self, tests: Sequence[str]) -> str:
        """The heads of the columns of some tests: their collections."""
        return "".join(f" {CALLED.get(name, name)} |" for name in (self.data["tests"][test]["collection"] for test in tests))

    def _mean(self, row: str, test: str) -> str:
        if not (values := values_of(self.data, row, test)):
            raise SystemExit(f"{row} has no number on {test} in the study of {size(self.data)}")
        return _mean(values)

    def _apart(self, row: str, test: str, mark: str) -> str:
        for one in self.data["comparisons"]:
            if (one["row"], one["test"]) == (row, test):
                if mark != one["mark"].strip():
                    raise SystemExit(
                        f"science/top.md says '{mark}' of {row} on {test}, the study of {size(self.data)} '{one['mark'].strip()}' "
                        f"({MARKS[1].strip()} and {MARKS[0].strip()}: significant): write the sentence anew"
                    )
                return difference(one | {"mark": ""})
        raise SystemExit(f"{row} was not compared on {test} in the study of {size(self.data)}")


def size(data: dict[str, Any]) -> str:
    """The size of a study in words, and its name if it has one."""
    settings = data["settings"]
    named = f": {data[NAME]}" if NAME in data else ""
    return f"{settings['shapes']} shapes of a kind, {settings['epochs']} epochs a stage{named}"


def main_test(data: dict[str, Any], collection: str) -> str | None:
    """Cross-validation if the collection has it, else the linear SVM; None if no row has either."""
    tests = [f"{collection} {name}" for name in ("crossval", "SVM")]
    return next((one for one in tests if any(number["test"] == one for number in data["numbers"])), None)


def difference(one: dict[str, Any]) -> str:
    """The difference of a comparison, its interval, and a mark if it is significant: `+1.4 [0.6, 2.3] ▲`."""
    low, high = (round(bound, 1) + 0.0 for bound in one["outcome"]["interval"])  # no -0.0
    return f"{one['outcome']['difference']:+.1f} [{low:.1f}, {high:.1f}]{one['mark']}"


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1f}" if values else MISSING


def _half(compared: Sequence[dict[str, Any]], test: str) -> str:
    """Median of half the width of the intervals of some comparisons on a test."""
    widths = [(one["outcome"]["interval"][1] - one["outcome"]["interval"][0]) / 2 for one in compared if one["test"] == test]
    return f"± {statistics.median(widths):.1f}" if widths else MISSING
