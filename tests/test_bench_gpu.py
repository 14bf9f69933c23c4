"""`bench/gpu.py` on a CPU, at its smallest: every section gives its rows, and an error in one leaves the others alone."""

import json
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parent.parent / "bench"
MODULES = ("machine", "measure", "gpu")
SECTIONS = ("matrix product", "step: align", "feeding:", "teacher:", "captions:", "drawing:", "sizes:", "profile of", "modes:")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield __import__("gpu")
    for name in MODULES:
        sys.modules.pop(name, None)


def rows(folder):
    return json.loads((folder / "gpu.json").read_text())["rows"]


def test_all_sections_run_on_a_cpu(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)  # it would take most of the time
    monkeypatch.setattr(gpu, "FAMILIES", gpu.FAMILIES[::2])  # the same lines for each
    assert gpu.main(["--device", "cpu", "--smoke", "--folder", str(tmp_path)]) == 0
    found = rows(tmp_path)
    assert [row for row in found if "missing" in row] == []
    for name in SECTIONS:
        assert any(row["what"].startswith(name) for row in found), name
    shares = [row for row in found if row["what"].startswith("share of the matrix product's rate")]
    assert len(shares) == 4 and all(0 < row["figures"][0]["value"] for row in shares)
    facts = json.loads((tmp_path / "gpu.json").read_text())["gpu"]
    assert facts["device"] == "cpu" and facts["smoke"] is True


def test_without_the_device_there_is_one_line_and_no_file(gpu, tmp_path, capsys):
    assert gpu.main(["--device", "cuda:99", "--folder", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("bench/gpu.py: device 'cuda:99' cannot be used") and not list(tmp_path.iterdir())


def test_an_error_is_a_row_and_time_that_is_over_is_one(gpu, tmp_path, monkeypatch):
    def broken(session):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu, "limits", broken)
    monkeypatch.setitem(gpu.BUDGETS, "drawing", -1.0)
    chosen = ["--device", "cpu", "--smoke", "--folder", str(tmp_path), "--only", "limits", "--only", "drawing"]
    assert gpu.main(chosen) == 1
    assert [row["missing"] for row in rows(tmp_path)] == ["RuntimeError: no such kernel", "its time was over before the rest of its rows"]
