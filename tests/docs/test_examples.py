"""The examples run, on the cache and the run of the quickstart, and say what they promise."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

from tests.docs.pages import QUICKSTART, ROOT, blocks, commands
from tests.forks import Command

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if path.stem != "shared")
SAID = {
    "few_shot": "percent right over 20 draws; chance is 50",
    "own_meshes": "Model.embed and the command: cosine ",
    "own_teacher": "licence CC0-1.0",
    "read_a_cache": "largest extent of a shape: ",
    "text_search": "near ",
}
"""What a script prints at its end."""


@pytest.fixture(scope="module")
def folder(quickstart: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache and the run that an example would make first: the quickstart makes them with the same commands."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(quickstart[0] / "tiny.zarr", folder / "tiny.zarr")
    shutil.copy(quickstart[0] / "tiny.zarr.journal", folder)
    shutil.copytree(quickstart[0] / "runs" / "a", folder / "run")
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs(script: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPD_EXAMPLES", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = Command([script], tmp_path / "said", folder)  # a process of its own: JAX has threads, after which no other test could fork
    assert done.end() == 0, done.err[-3000:]
    assert SAID[script.stem] in done.out
    if script.stem == "own_meshes":
        assert float(done.out.rsplit("cosine ", 1)[1]) > 0.95


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_a_notebook(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert lines[0] == "# %% [markdown]" and lines[1].startswith("# # ") and len(lines) < 80
    assert script.name in (EXAMPLES / "README.md").read_text()


def test_without_a_cache_an_example_makes_that_of_the_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPD_EXAMPLES", str(tmp_path))
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, "shared", raising=False)
    shared, said = importlib.import_module("shared"), []
    monkeypatch.setattr(shared, "call", lambda line, **paths: said.append(line.format(cache="tiny.zarr", run="runs/a").split()))
    shared.ready()
    monkeypatch.delitem(sys.modules, "shared")
    (quick,) = [block for block in blocks(QUICKSTART) if block.run]
    build, _, align, *_ = commands(quick.text)
    assert said == [build, [*align, "--resume"]]
