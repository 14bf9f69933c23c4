"""Builds on a real Slurm of two nodes that runs on this machine; see `tests.slurm.local`."""

import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from cache_schema import store, validate
from cache_schema.errors import UserError
from cache_schema.files import exclusive
from pipeline.executors import slurm
from pipeline.recipes import configured
from pipeline.timings import measured
from tests.boxes import contents
from tests.pipeline.conftest import build, small
from tests.slurm.local import lacking, local

ADDRESS = "slurm:partition=few,nodes=2,cores=1,memory=1GB,gpus=1"
"""The GPUs are only counted; models run on the CPU."""

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


def until(holds, rest=0.02):
    """Wait until something holds, with a rest between two looks. To ask Slurm is a process each time."""
    end = time.monotonic() + 500
    while not holds():
        assert time.monotonic() < end
        time.sleep(rest)


@real
def test_a_build_on_two_nodes_with_one_killed_makes_the_same_bytes(cluster, built, meshes, tmp_path):
    path, said, killed = tmp_path / "c.zarr", [], []

    def kill():
        until(lambda: any(path.glob("points/xyz/c/*/*/*/*")) and queue("%T") == ["RUNNING", "RUNNING"])
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
    until(lambda: queue() == [], 0.3)  # Slurm lists cancelled jobs until their processes have ended
    assert not any((cluster / "home" / "mmpd" / "slurm").iterdir())
    assert measured(store.open_cache(path))["machines"] == measured(store.open_cache(built))["machines"]


@real
def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(cluster, meshes, tmp_path):
    path = tmp_path / "c.zarr"
    arguments = ["build", str(meshes), str(path), "--recipe", "points", "--set", "shard=1", "--workers", "1", "--device", "cpu"]
    line = [sys.executable, "-c", "from pipeline.cli import main; main()", *arguments, "--scheduler", ADDRESS]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: any(path.glob("points/xyz/c/*")))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=500)
    assert process.returncode == 130 and "stopped. What is done is kept; run the same command to go on." in said
    assert "Traceback" not in said and "INFO" not in said, said
    until(lambda: queue() == [], 0.3)
    config = configured("points", ["shard=1"])
    build(meshes, path, config)
    build(meshes, tmp_path / "alone.zarr", config)
    with exclusive(path):  # a worker that was killed last may have left a temporary file, which the next command removes
        pass
    assert contents(path) == contents(tmp_path / "alone.zarr")


@real
def test_jobs_that_end_in_vain_are_given_up_with_what_they_wrote(cluster, meshes, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(slurm, "IN_VAIN", 1)
    points = small(views=None, teachers=(), captions=None, labels=())
    with pytest.raises(
        UserError, match=r"jobs of Slurm ended 2 times in a row before a shard was done \(.*/nowhere/python.*\)\. Their logs are in"
    ):
        build(meshes, tmp_path / "c.zarr", points, scheduler="slurm:nodes=1,cores=1,memory=1GB")
    with pytest.raises(UserError, match=r"Slurm refuses the job: .*invalid partition specified: nope"):
        build(meshes, tmp_path / "c.zarr", points, scheduler="slurm:partition=nope,memory=1GB,cores=1")
    until(lambda: queue() == [], 0.3)
