"""Builds on a real Slurm of two nodes that runs on this machine; see `tests.slurm.local`."""

import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from cache_schema import store, validate
from pipeline.executors import slurm
from pipeline.timings import measured
from tests.boxes import contents
from tests.pipeline.conftest import build
from tests.slurm.local import lacking, local

ADDRESS = "slurm:partition=few,nodes=2,cores=1,memory=1GB"

real = pytest.mark.skipif(bool(lacking()), reason=lacking())


@pytest.fixture(scope="module")
def cluster():
    """The environment of a Slurm of two nodes, which is that of this process meanwhile."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mmpd-slurm-") as folder, local(Path(folder) / "s") as environment:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("PATH", "SLURM_CONF"):
                patch.setenv(name, environment[name])
            patch.setenv("XDG_CACHE_HOME", f"{folder}/home")
            yield Path(folder)


def queue(form="%i"):
    return subprocess.run(["squeue", "-h", "-o", form], capture_output=True, text=True, check=True).stdout.split()


def until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@real
def test_a_build_on_two_nodes_with_one_killed_makes_the_same_bytes(cluster, built, meshes, tmp_path):
    path, said, killed = tmp_path / "c.zarr", [], []

    def kill():
        until(lambda: len(queue("%T")) == 2 and set(queue("%T")) == {"RUNNING"} and any(path.glob("points/xyz/c/*/*/*/*")))
        killed.append(queue()[0])
        subprocess.run(["scancel", killed[0]], check=True)
        killed.append(all(record.complete for record in store.open_cache(path).records().values()))

    killer = threading.Thread(target=kill)
    killer.start()
    with slurm.held(said.append):
        build(meshes, path, scheduler=ADDRESS)
    killer.join()
    assert killed[1] is False, "it was killed too late"
    assert contents(path) == contents(built)
    assert validate.problems(path) == []
    assert any("Slurm says of 2 jobs" in text for text in said), said
    assert queue() == [] and not any((cluster / "home" / "mmpd" / "slurm").iterdir())
    assert measured(store.open_cache(path))["machines"] == measured(store.open_cache(built))["machines"]
