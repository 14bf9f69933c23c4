"""Random checkpoints: the same bytes each time, made once, by however many ask."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pipeline import random_checkpoints


def bytes_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("name", random_checkpoints.MAKERS)
def test_the_same_bytes_each_time(name, tmp_path, monkeypatch):
    made = []
    for home, seed in (("one", 1), ("two", 2)):
        monkeypatch.setenv("MMPD_HOME", str(tmp_path / home))
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        made.append(random_checkpoints.ensure(name))
        assert torch.equal(torch.get_rng_state(), state)
        assert [path.name for path in made[-1].parent.iterdir()] == [made[-1].name]
    assert bytes_of(made[0]) == bytes_of(made[1])
    assert made[0].name.startswith(f"{name}-")
    assert sum(path.stat().st_size for path in made[0].iterdir()) < 8_000_000


def test_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MMPD_HOME", str(tmp_path))
    folder = random_checkpoints.ensure("random-dino")
    monkeypatch.setitem(random_checkpoints.MAKERS, "random-dino", None)
    assert random_checkpoints.ensure("random-dino") == folder


def test_a_killed_attempt_leaves_nothing_that_is_taken_for_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("MMPD_HOME", str(tmp_path))
    make = random_checkpoints.MAKERS["random-dino"]

    def killed(folder):
        (folder / "half").write_bytes(b"")
        raise KeyboardInterrupt

    monkeypatch.setitem(random_checkpoints.MAKERS, "random-dino", killed)
    with pytest.raises(KeyboardInterrupt):
        random_checkpoints.ensure("random-dino")
    monkeypatch.setitem(random_checkpoints.MAKERS, "random-dino", make)
    assert not (random_checkpoints.ensure("random-dino") / "half").exists()


def test_several_at_once_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MMPD_HOME", str(tmp_path))
    make, together = random_checkpoints.MAKERS["random-dino"], threading.Barrier(4)

    def make_together(folder):  # all have begun before the first is done
        make(folder)
        together.wait(timeout=60)

    monkeypatch.setitem(random_checkpoints.MAKERS, "random-dino", make_together)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(random_checkpoints.ensure, ["random-dino"] * 4))
    (folder,) = folders
    assert (folder / "model.safetensors").is_file()
    assert list(folder.parent.iterdir()) == [folder]


def test_unknown_name_and_unwritable_home(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no random checkpoint 'random-clap'; did you mean 'random-clip'"):
        random_checkpoints.ensure("random-clap")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMPD_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot make the random-clip checkpoint .*set MMPD_HOME"):
        random_checkpoints.ensure("random-clip")
