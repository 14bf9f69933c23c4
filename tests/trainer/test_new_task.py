"""A task is added by a module and one line in the catalogue: a made-up one is evaluated, saved, put into a table and asked for by name."""

import csv
import dataclasses
import io
import json
import shutil
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest
import torch
from rich.console import Console

from cache_schema import store
from tests.trainer.test_cli import command  # noqa: F401  a fixture
from trainer import checkpoint, curves, probes
from trainer.tasks import catalog, result, table
from trainer.tasks.protocol import told
from trainer.tasks.result import Metric, Scores, share
from trainer.tasks.shapes import of_split


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Options within options."""

    speed: str = told("slow")
    size: float = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Choices of guessing."""

    test_split: str | None = told(None)
    """As everywhere."""
    luck: float = 0.5
    """Share that is right."""
    inner: Inner = Inner()
    """More of them."""


def run(stage, train_cache, test_cache, options):
    """As many right as luck has it."""
    shapes = of_split(test_cache, options.test_split)
    metric = share(name="luck", values=(100 * options.luck,), over="seeds", headline=True)
    return Scores(test=shapes.data, metrics=(metric,), variant=options.inner.speed)


@pytest.fixture
def guessing(monkeypatch):
    """The module, and its line in the catalogue."""
    module = ModuleType("made_up.guessing")
    vars(module).update(Options=Options, SMOKE=Options(luck=0.25), run=run)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(catalog.TASKS, "guessing", module.__name__)


def test_a_made_up_task_is_evaluated_saved_and_put_into_a_table(guessing, cache_path, aligned, tmp_path):
    cache, loaded = store.open_cache(cache_path), checkpoint.load(aligned)
    assert catalog.lacks("guessing", cache) == ""
    chosen = catalog.options("guessing", ["luck=0.75", "inner.speed=fast", "inner.size=2"])
    assert chosen == Options(luck=0.75, inner=Inner(speed="fast", size=2))
    found = catalog.evaluate("guessing", loaded, cache, chosen)
    # What differs from its default is named, but for what the field says is told in words.
    assert found.title == "guessing fast luck=0.75 inner.size=2.0, small test"
    assert ("inner.speed", '"fast"') in found.settings
    (file,) = catalog.save(found, tmp_path / "run")
    assert result.load(file) == found
    joined = table.table(table.collect([tmp_path / "run"]))
    assert [line.title for line in joined.lines] == ["guessing fast luck=0.75 inner.size=2.0, small test: luck"]
    assert str(joined.lines[0].cells[0]) == "75.0"


def test_a_task_in_metres_says_so_wherever_its_numbers_are_shown(guessing, cache_path, aligned, tmp_path, monkeypatch):
    def measured(stage, train_cache, test_cache, options):
        error = Metric(name="error", values=(0.0214, 0.0226), over="blocks", headline=True, measured_in="m", better="lower", shapes=8,
                       interval=(0.019, 0.03), chance=0.025)  # fmt: skip
        return Scores(
            test=of_split(test_cache, None).data, metrics=(error, share(name="luck", values=(50.0,), over="blocks", headline=True))
        )

    monkeypatch.setattr(sys.modules["made_up.guessing"], "run", measured)
    cache, loaded = store.open_cache(cache_path), checkpoint.load(aligned)
    found = catalog.evaluate("guessing", loaded, cache, catalog.options("guessing"))
    catalog.save(found, tmp_path / "run")
    joined = table.table(table.collect([tmp_path / "run"]))
    assert joined.notes[0].startswith("Percent where no unit is named; mean ±")
    shown = joined.markdown()
    assert "error (m, lower is better)" in shown and "0.022 ± 0.0008485 [0.019, 0.03] at chance" in shown and "50.0" in shown
    # A script finds the unit and the direction in places of their own.
    cells = json.loads(joined.json())
    assert cells["header"][1].endswith(": error") and (cells["rows"][0][1]["measured_in"], cells["rows"][0][1]["better"]) == ("m", "lower")
    rows = list(csv.DictReader(io.StringIO(joined.csv())))
    assert [(row["metric"], row["measured_in"], row["better"]) for row in rows] == [("error", "m", "lower"), ("luck", "%", "higher")]
    console = Console(width=200, file=io.StringIO())
    console.print(found.rich())
    assert (
        "Percent where no unit is named, last epoch" in console.file.getvalue() and "error (m, lower is better)" in console.file.getvalue()
    )
    # A result of an earlier version, and of another package, does not become percent.
    old = [dataclasses.replace(metric, measured_in="", better="") for metric in found.scores.metrics]
    notes = ("the task is of another package: somebody 1.0",)
    before = dataclasses.replace(found, scores=dataclasses.replace(found.scores, metrics=tuple(old), notes=notes))
    read = result.load(before.save(tmp_path / "old"))
    assert read.scores.metrics[1].label == "luck (unit unknown)" and "did not ask the task for units" in read.scores.notes[-1]
    # As a probe it has a panel of its own in the curves.
    probing = object.__new__(probes.Probes)
    vars(probing).update(cache=cache, ranks=SimpleNamespace(device=torch.device("cpu")), costs={}, _automatic=None)
    probed = probing.measure(["guessing"], aligned, print)
    key = "guessing error [m, lower is better]"
    assert probed == {key: pytest.approx(0.022), f"chance/{key}": 0.025, "guessing luck": 50.0}
    lines = curves._lines("run", [{"step": 1, "epoch": 1.0, **probed}], "step", 1)
    assert [(kind.unit, [curves._told(line.name, kind) for line in own]) for kind, own in curves._panels(lines, several=False)] == [
        ("percent", ["guessing luck"]),
        ("m, lower is better", ["guessing error"]),
    ]


def test_a_made_up_task_is_known_to_the_commands(guessing, command, cache_path, aligned, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    shutil.copytree(aligned, run)
    code, out, _ = command("show", "guessing")
    assert code == 0 and json.loads(out) == {"test_split": None, "luck": 0.5, "inner": {"speed": "slow", "size": 1.0}}
    code, out, err = command("eval", "guessing", run, cache_path, "--set", "luck=1", "--device", "cpu", "--json")
    assert code == 0 and json.loads(out)["scores"]["metrics"][0]["values"] == [100.0], err
    code, out, _ = command("eval", "table", run, "--json")
    assert code == 0 and "guessing slow luck=1.0, small test: luck" in json.loads(out)["header"]
    code, _, err = command("eval", "gessing", run, cache_path)
    assert code == 2 and "did you mean 'guessing'" in err
