"""The examples run, on a cache and a run that they make once, and say what they promise."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs(script: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPD_EXAMPLES", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # In a process of its own: JAX has threads, after which no other test could fork.
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert SAID[script.stem] in done.stdout
    if script.stem == "own_meshes":
        assert float(done.stdout.rsplit("cosine ", 1)[1]) > 0.95


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_a_notebook(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert lines[0] == "# %% [markdown]" and lines[1].startswith("# # ") and len(lines) < 80
    assert script.name in (EXAMPLES / "README.md").read_text()
