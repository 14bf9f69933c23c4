"""The blocks of README and documentation that are marked to be run do run, on a cache that the quickstart itself makes."""

import os
import shutil
import subprocess
import sys

from tests.docs.pages import PAGES, README, ROOT, blocks, commands

MODULES = {"mmpd-cache": "pipeline.cli", "mmpd-train": "trainer.cli"}
QUICKSTART = ROOT / "docs" / "quickstart.md"


def run(words, folder, **more):
    """Run one of our commands as a user does, in a folder. Returns what it printed."""
    program = f"import sys; sys.argv[0] = {words[0]!r}; from {MODULES[words[0]]} import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run([sys.executable, "-c", program, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_marked_blocks_run(tmp_path, monkeypatch):
    (quick,) = [block for block in blocks(QUICKSTART) if block.run]
    printed = [run(words, tmp_path) for words in commands(quick.text)]
    assert "24 ok" in printed[1]
    assert printed[-1].startswith("|")
    shutil.copytree(tmp_path / "tiny.zarr", tmp_path / "my.zarr")
    monkeypatch.chdir(tmp_path)
    marked = [block for page in PAGES for block in blocks(page) if block.run and block is not quick and page != QUICKSTART]
    assert {block.language for block in marked} == {"python"}
    assert any(block.where.startswith(README.name) for block in marked)
    for block in marked:
        exec(compile(block.text, block.where, "exec"), {})


def test_completion_and_version():
    words = {"_MMPD_CACHE_COMPLETE": "complete_bash", "COMP_WORDS": "mmpd-cache bui", "COMP_CWORD": "1"}
    assert run(["mmpd-cache"], ROOT, **words).split() == ["build"]
    words = {"_MMPD_TRAIN_COMPLETE": "complete_bash", "COMP_WORDS": "mmpd-train dis", "COMP_CWORD": "1"}
    assert run(["mmpd-train"], ROOT, **words).split() == ["distill"]
    assert run(["mmpd-cache", "--version"], ROOT) == run(["mmpd-train", "--version"], ROOT)
