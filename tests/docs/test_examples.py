"""The examples run, on a cache and a run that they make once, and say what they promise."""

import io
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if path.stem != "shared")
SAID = {
    "few_shot": "percent right over 20 draws; chance is 50",
    "own_meshes": "Model.embed and the command: cosine ",
    "own_teacher": "'licence': 'CC0-1.0'",
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
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "shared", raising=False)
    with redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(script), run_name="__main__")
    assert SAID[script.stem] in printed.getvalue()
    if script.stem == "own_meshes":
        assert float(printed.getvalue().rsplit("cosine ", 1)[1]) > 0.95


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_a_notebook(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert lines[0] == "# %% [markdown]" and lines[1].startswith("# # ") and len(lines) < 80
    assert script.name in (EXAMPLES / "README.md").read_text()
