"""A task is added by a module and one line in the catalogue: a made-up one is evaluated, saved, put into a table and asked for by name."""

import json
import shutil
import sys
from dataclasses import dataclass
from types import ModuleType

import pytest

from cache_schema import store
from tests.trainer.test_cli import command  # noqa: F401  a fixture
from trainer import checkpoint
from trainer.tasks import catalog, result, table
from trainer.tasks.protocol import told
from trainer.tasks.result import Metric, Scores
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
    metric = Metric(name="luck", values=(100 * options.luck,), over="seeds", headline=True)
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
