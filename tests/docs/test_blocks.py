"""The blocks of README and documentation that are marked to be run do run, on a cache that the quickstart itself makes."""

import shutil

from tests.docs.pages import PAGES, QUICKSTART, README, ROOT, blocks
from tests.docs.running import run


def test_the_marked_blocks_run(quickstart, tmp_path, monkeypatch):
    folder, printed = quickstart
    assert "24 ok" in printed[1]
    assert printed[-1].startswith("|")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.copytree(folder / "tiny.zarr", tmp_path / "my.zarr")
    monkeypatch.chdir(tmp_path)
    marked = [block for page in PAGES for block in blocks(page) if block.run and page != QUICKSTART]
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
