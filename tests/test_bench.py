"""The harness of `bench/`: what it computes from turns, with a clock and processors made up, and with real children."""

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
MODULES = ("machine", "measure", "served", "page")


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield __import__("measure")
    for name in MODULES:
        sys.modules.pop(name, None)


class Machine:
    """Two cores. Work takes the time that it says; another process takes a share of the cores meanwhile."""

    def __init__(self, measure, monkeypatch, others):
        self.now = self.ours = self.busy = 0.0
        self.others = others
        monkeypatch.setattr(measure, "clock", lambda: self.now)
        for name, value in {"own": lambda: self.ours, "running": lambda: 0.0, "busy": lambda: self.busy, "cores": lambda: 2}.items():
            monkeypatch.setattr(measure.machine, name, value)

    def work(self, seconds, units=None):
        """Seconds of the next calls, one after the other; the last one stays."""

        def way():
            took = seconds.pop(0) if len(seconds) > 1 else seconds[0]
            self.now += took
            self.ours += 1.5 * took
            self.busy += 1.5 * took + 2 * self.others * took
            return units

        return way


def test_rounds_are_paired_and_the_machine_is_watched(measure, monkeypatch, tmp_path, capsys):
    """A machine that is twice as slow in one round, for both, changes no ratio. The first round does not count."""
    made = Machine(measure, monkeypatch, others=0.2)
    ways = {"ours": made.work([9.0, 1.0, 2.0, 1.0]), "peer": made.work([7.0, 3.0, 6.0, 3.0])}
    with measure.Report("x", tmp_path) as report:
        report.compare("a step", ways, rounds=3, per=32, unit="samples")
        made.others = 0.0
        report.limit("reading", ours=made.work([2.0], units=10), limit=made.work([1.0], units=8), name="memory", rounds=2, unit="rows")
        report.figure("bytes", {"ours": 3.0, "PNG": 6.0}, "KB")
        report.missing("on a GPU", "needs a GPU")
    said = json.loads((tmp_path / "x.json").read_text())
    step, reading, size, gpu = said["rows"]
    ours, peer = step["ways"]
    assert ours["rate"]["median"] == 32 and ours["seconds"] == {"median": 1, "q1": 1, "q3": 1.5, "min": 1, "max": 2, "rounds": 3}
    assert peer["ratio"] == {"median": 3, "q1": 3, "q3": 3, "min": 3, "max": 3, "rounds": 3} == peer["processor_ratio"]
    assert ours["processor_seconds"]["median"] == 1.5
    assert step["others"] == pytest.approx(0.2) and step["quiet"] is False
    assert reading["others"] == pytest.approx(0) and reading["quiet"] is True
    assert reading["ways"][1]["limit"] and reading["ways"][1]["ratio"]["median"] == pytest.approx(5 / 8)
    assert size["figures"][1]["ratio"] == 0.5 and gpu["missing"] == "needs a GPU"
    assert {"processor", "cores", "memory_gib", "gpu"} <= said["machine"].keys() and {"python", "numpy", "commit"} <= said[
        "versions"
    ].keys()
    printed = capsys.readouterr().out
    assert "BUSY MACHINE: other processes took 20%" in printed and printed.count("BUSY") == 1
    assert "3x as fast as this" in printed and "0.625 of this limit" in printed and "not measured: needs a GPU" in printed


def test_short_work_is_repeated_until_a_turn_is_long_enough(measure, monkeypatch):
    made = Machine(measure, monkeypatch, others=0.0)
    (turns,) = measure.in_turns({"ours": made.work([0.001])}, rounds=2, per=4).values()
    assert all(turn.wall == pytest.approx(measure.TURN) and turn.units == 4 * turn.calls == 800 for turn in turns)


def test_the_page_of_numbers_is_that_of_the_measurements(measure):
    page = importlib.import_module("page")
    assert page.PAGE.read_text() == page.page(page.KEPT), "python bench/page.py"


def test_a_page_says_what_was_measured_and_what_was_not(measure, monkeypatch, tmp_path):
    made = Machine(measure, monkeypatch, others=0.2)
    with measure.Report("step-tiny", tmp_path) as report:
        report.compare("a step", {"ours": made.work([1.0]), "peer": made.work([3.0])}, rounds=2, per=32, unit="samples")
        report.missing("on a GPU", "needs a GPU")
    text = importlib.import_module("page").page(tmp_path)
    assert "## Training\n" in text and "| a step* | ours: 1 s, 32 samples/s | peer: 3 s, 10.7 samples/s | 3x (3 to 3) | 3x |" in text
    assert "| on a GPU | not measured: needs a GPU |" in text and "5 % of our cores" in text and "not measured on a GPU" in text
    assert report.facts["versions"]["commit"] in text and report.facts["machine"]["processor"] in text


def test_a_limit_that_noise_beats_has_no_ratio(measure, monkeypatch, tmp_path, capsys):
    """The rounds say 0.9 of the limit, the medians 1.4 times: others disturbed the limit."""
    made = Machine(measure, monkeypatch, others=0.0)
    with measure.Report("reader", tmp_path) as report:
        ours, limit = made.work([1.0, 1.0, 1.0, 3.0]), made.work([1.0, 0.9, 1.4, 2.7])
        report.limit("copy", ours=ours, limit=limit, name="memory", rounds=3, unit="rows")
        report.limit("sums", ours=made.work([1.0]), limit=made.work([0.99]), name="memory", rounds=3, unit="rows")
    said, printed = importlib.import_module("page").page(tmp_path), capsys.readouterr().out
    assert said.count("| noisy: not comparable |") == 1 == printed.count("   noisy: not comparable")
    assert "| 0.99 (0.99 to 0.99) |" in said


def test_what_no_commit_has_is_kept_only_if_asked_and_said(measure, monkeypatch, tmp_path, capsys):
    page = importlib.import_module("page")
    new, kept = tmp_path / "new", tmp_path / "kept"
    for name, value in {"FOLDER": new, "KEPT": kept, "PAGE": tmp_path / "numbers.md", "ROOT": tmp_path}.items():
        monkeypatch.setattr(page, name, value)
    for name, commit in {"reader": "0123456789", "step": "0123456789 with changes"}.items():
        monkeypatch.setattr(measure.machine, "versions", lambda commit=commit: {"commit": commit})
        with measure.Report(name, new) as report:
            report.missing("a step", "needs a GPU")
    monkeypatch.setattr(sys, "argv", ["page.py", "--keep"])
    with pytest.raises(SystemExit):
        page.main()
    assert "step.json" in capsys.readouterr().err and not kept.exists()
    monkeypatch.setattr(sys, "argv", ["page.py", "--keep", "--dirty"])
    page.main()
    assert page.PAGE.read_text().count(page.DIRTY) == 1 and len(list(kept.iterdir())) == 2


SPIN = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def test_processor_time_of_commands_and_served_children_counts(measure):
    served = importlib.import_module("served")
    child = served.Served([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(BENCH)!r})\nfrom served import serve\n"
                           f"def run():\n {SPIN.replace(chr(10), chr(10) + ' ')}\n return 5\nserve(run)"])  # fmt: skip
    try:
        one, other = measure.turn(child), measure.turn([sys.executable, "-c", SPIN], per=7)
    finally:
        child.close()
    assert one.units == 5 and other.units == 7
    assert 0.27 < one.processor < 0.6 and 0.3 < other.processor < 3


def test_a_child_that_dies_is_told(measure):
    served = importlib.import_module("served")
    with pytest.raises(RuntimeError, match="before it was ready"):
        served.Served([sys.executable, "-c", "print('hello')"])
