"""What a cluster may do to a build: workers that die or are only slow, schedulers and commands that are killed and begin anew."""

import os
import re
import runpy
import socket
import sys
import time

import dask
import distributed
import numpy as np
import pytest

from cache_schema import store, validate
from cache_schema.errors import UserError
from cache_schema.files import claim, exclusive, held_token
from pipeline.executors import catalog as executors
from pipeline.executors import slurm
from pipeline.executors.dask import _place
from pipeline.work import Machine
from tests.boxes import contents
from tests.forks import FORKS, has_environment, local_cluster, says_into
from tests.pipeline.conftest import build, small

POINTS = small(views=None, teachers=(), captions=None, labels=())
PRELOAD = "tests.pipeline.slow_worker"


# ---------------------------------------------------------------------------------------------------------- what is asked


def test_what_jobs_are_asked_for_is_read_strictly():
    jobs = slurm.parsed("slurm:partition=gpu,gpus=a100:2,nodes=4,cores=16,memory=64GB,time=1-08:00:00")
    assert (jobs.partition, jobs.nodes, jobs.processes, jobs.devices, jobs.cores_each) == ("gpu", 4, 2, ("cuda:0", "cuda:1"), 8)
    assert [_place(name) for name in (3, "SLURMCluster-0-1", "SLURMCluster-2")] == [3, 1, 2]  # of 2 devices: 1, 1, 0
    assert slurm.parsed("slurm").devices == ("cpu",) and slurm.parsed("slurm:").nodes == 1
    for wrong, words in (
        ("slurm:partiton=gpu", "no key 'partiton'; did you mean 'partition'.*with the keys nodes, partition, gpus"),
        ("slurm:gpus", "'gpus' has no value"),
        ("slurm:nodes=2,nodes=3", "nodes is given twice"),
        ("slurm:nodes=0", "nodes cannot be '0'; expected a whole number"),
        ("slurm:gpus=-1", "gpus cannot be '-1'"),
        ("slurm:memory=16", "memory cannot be '16'; expected a size like"),
        ("slurm:time=8h", "time cannot be '8h'; expected HH:MM:SS"),
        ("slurm:partition=gpu -A other", "partition cannot be"),
        ("slurm:partition=a\n#SBATCH -A b", "partition cannot be"),
        ("slurm:account=", "account cannot be ''"),
        ("slurm:logs=/tmp/$(id)", "logs cannot be"),
    ):
        with pytest.raises(UserError, match=words):
            slurm.parsed(wrong)


def test_the_device_of_jobs_is_what_they_ask_for():
    """Whatever this machine has: the command may run on a login node."""
    assert executors.devices(Machine(scheduler="slurm:gpus=2")) == ("cuda:0", "cuda:1")
    assert executors.devices(Machine(scheduler="slurm:partition=cpu")) == ("cpu",)
    with pytest.raises(UserError, match="jobs of slurm:partition=cpu have cpu"):
        executors.devices(Machine(scheduler="slurm:partition=cpu", device="cuda:0"))


def test_without_slurm_the_error_says_where_it_would_work(meshes, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch is not found: --scheduler slurm: works where jobs are submitted"):
        build(meshes, tmp_path / "c.zarr", POINTS, scheduler="slurm:partition=gpu")


# ------------------------------------------------------------------------------------------------------ one writer of a shard


def test_a_shard_that_was_given_to_another_worker_is_written_by_that_one_alone(copied):
    cache = store.open_cache(copied)
    record = cache.record("image/starter-resnet")
    with exclusive(copied):
        token = held_token(copied)
        first, other, second = (store.open_cache(copied, token=claim(copied, token, part)) for part in ("shard-0", "shard-1", "shard-0"))
        assert held_token(copied) == token  # claims do not change who holds the cache
        before = contents(copied)
        for attempt in (
            lambda: first.write(record, 0, {record.product: np.ones((4, 4, 128), np.float16)}),
            lambda: first.reopen(record, 0),
        ):
            with pytest.raises(UserError, match="shard-0 was given to another worker"):
                attempt()
        assert contents(copied) == before
        for cache, shard in ((second, 0), (other, 1)):
            values = {record.product: cache.shard_rows(cache.node(record.product), shard).copy()}
            cache.write(record, shard, values)
        assert contents(copied) == before  # the same values
    with exclusive(copied), pytest.raises(UserError, match="another build has taken over"):
        second.write(record, 0, {record.product: np.ones((4, 4, 128), np.float16)})
    with exclusive(copied), pytest.raises(UserError, match="another build has taken over"):
        claim(copied, token, "shard-0")
    assert contents(copied) == before


def test_a_holder_whose_lock_was_given_to_another_writes_nothing_and_leaves_the_other_its_lock(copied):
    """As after a file server was cut off and has forgotten the lock."""
    cache = store.open_cache(copied)
    record = cache.record("image/starter-resnet")
    lock = copied.with_name(copied.name + ".lock")
    with exclusive(copied):
        lock.write_text("f" * 32 + "\n")
        with pytest.raises(UserError, match="another build has taken over"):
            cache.write(record, 0, {record.product: np.ones((4, 4, 128), np.float16)})
    assert lock.read_text() == "f" * 32 + "\n"


def test_a_marker_never_speaks_of_other_files_than_those_in_place(copied, monkeypatch):
    """A shard is made again with other values, as a GPU may make them, and the worker dies between two files."""
    record = store.open_cache(copied).record("captions/blip2")
    replace, calls = os.replace, 0

    def dying(beside, path):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        replace(beside, path)

    with exclusive(copied):
        cache = store.open_cache(copied)
        values = {node.path: cache.shard_rows(node, 0).copy() for node in cache.arrays(record)}
        values["captions/blip2/score"][:] = 0
        values["captions/blip2/text"][:] = 0
        monkeypatch.setattr(os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            cache.write(record, 0, values)
        monkeypatch.undo()
        assert cache.missing(record) == [0]


# ------------------------------------------------------------------------------------------------------ real processes


class Dask:
    """A dask scheduler and a worker of two threads, by the programs that a user starts, forked. They end with the test."""

    def __init__(self, folder, port):
        self.folder, self.address = folder, f"tcp://127.0.0.1:{port}"
        self.environment = {**os.environ, "MMPD_TEST_FOLDER": str(folder)}
        self.processes = []

    def start(self):
        port = self.address.rpartition(":")[2]
        self.scheduler = self._run("dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        self.worker = self._run("dask_worker", self.address, "--nthreads", "2", "--no-nanny", "--no-dashboard", "--preload", PRELOAD)
        with distributed.Client(self.address, timeout=400, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=400)

    def _run(self, what, *arguments):
        process = FORKS.Process(target=program, args=([what, *arguments], self.environment, str(self.folder / "dask.log")))
        process.start()
        self.processes.append(process)
        return process

    def end(self):
        for process in self.processes:
            process.kill()
            process.join()

    def outcomes(self, what):
        path = self.folder / "outcomes"
        return [line for line in path.read_text().splitlines() if line.startswith(what)] if path.exists() else []


def program(words, environment, log):
    """A program of dask, in this process."""
    says_into(log, log)
    has_environment(environment)
    sys.argv = words
    runpy.run_module(f"distributed.cli.{words[0]}", run_name="__main__", alter_sys=True)


@pytest.fixture
def cluster(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "dask").mkdir()
    running = Dask(tmp_path / "dask", port)
    try:
        running.start()
        yield running
    finally:
        running.end()


def until(holds, seconds=500):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def apart(meshes, path, address):
    """A build in a process of its own."""
    process = FORKS.Process(target=build, args=(meshes, path, POINTS), kwargs={"scheduler": address})
    process.start()
    return process


def test_killed_commands_and_schedulers_leave_tasks_that_write_nothing(cluster, meshes, tmp_path):
    path = tmp_path / "c.zarr"
    first = apart(meshes, path, cluster.address)
    until(lambda: len(cluster.outcomes("begun")) == 2)  # both threads are at work
    first.kill()
    first.join()
    second = apart(meshes, path, cluster.address)
    token = held_token(path)  # that of the first, which could not take it away
    until(lambda: held_token(path) not in ("", token))
    (cluster.folder / "go").touch()
    until(lambda: len(cluster.outcomes("refused")) == 2 or second.exitcode is not None)  # one thread may be later than the other
    assert len(cluster.outcomes("refused")) == 2 and "another build has taken over" in cluster.outcomes("refused")[0]
    second.join()
    assert second.exitcode == 0
    build(meshes, tmp_path / "alone.zarr", POINTS)
    assert contents(path) == contents(tmp_path / "alone.zarr")

    # Now the scheduler is killed, and starts again at the same address.
    (cluster.folder / "go").unlink()
    (cluster.folder / "outcomes").unlink()
    third = apart(meshes, tmp_path / "d.zarr", cluster.address)
    until(lambda: len(cluster.outcomes("begun")) == 2)
    cluster.scheduler.kill()
    third.join(500)
    assert third.exitcode == 1  # one line says what to do: see `test_build`
    (cluster.folder / "go").touch()
    cluster.start()
    build(meshes, tmp_path / "d.zarr", POINTS, scheduler=cluster.address)
    assert contents(tmp_path / "d.zarr") == contents(path)
    assert validate.problems(path) == []


def test_a_shard_at_which_workers_die_is_named(meshes, tmp_path):
    for name in ("go", "die-1"):
        (tmp_path / name).touch()
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        local_cluster(preload=[PRELOAD], env={"MMPD_TEST_FOLDER": str(tmp_path)}) as workers,
        pytest.raises(UserError) as caught,
    ):
        build(meshes, tmp_path / "c.zarr", POINTS, scheduler=workers.scheduler_address)
    cache = store.open_cache(tmp_path / "c.zarr")
    rows = cache.manifest.rows(1)
    ids = cache.ids()
    assert re.search(rf"died, again and again, at shard 1 \(shapes {ids[rows.start]} to {ids[rows.stop - 1]}\)", str(caught.value))
    (tmp_path / "die-1").unlink()
    build(meshes, tmp_path / "c.zarr", POINTS)
    build(meshes, tmp_path / "alone.zarr", POINTS)
    assert contents(tmp_path / "c.zarr") == contents(tmp_path / "alone.zarr")
