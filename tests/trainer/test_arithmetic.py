"""Which precision a training takes, and that a run keeps it; threads and memory of the process."""

import io
import json
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from cache_schema import memory
from cache_schema.errors import UserError
from tests.trainer.conftest import config_of
from tests.trainer.test_loop import Killed, die_at, losses, same_tensors
from trainer import checkpoint, machine
from trainer.arithmetic import choose
from trainer.loop import train

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def processor(monkeypatch):
    """Sets the instructions of the processor."""

    def has(*names):
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "cpu_name": "bf16 in its name"} | dict.fromkeys(names, True)
        )

    return has


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_bfloat16_is_taken_where_the_processor_computes_it(processor, monkeypatch, instruction):
    processor(instruction)
    assert choose("auto", CPU).precision == "bfloat16" and instruction in choose("auto", CPU).why
    assert choose("float32", CPU).precision == "float32"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose("auto", CPU).precision == "float32"


def test_float32_is_taken_elsewhere(processor, monkeypatch):
    processor()
    assert choose("auto", CPU).precision == "float32" and choose("bfloat16", CPU).precision == "bfloat16"
    assert choose("auto", torch.device("mps")).precision == "float32"
    for capability, expected in (((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, capability=capability: capability)
        assert choose("auto", GPU).precision == expected


def test_an_older_torch_that_does_not_know_the_processor_takes_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    chosen = choose("auto", CPU)
    assert chosen.precision == "float32" and "torch 2.11" in chosen.why


def test_a_run_keeps_what_it_began_with(processor, monkeypatch):
    processor()
    kept = choose("auto", CPU, "bfloat16")
    assert kept.precision == "bfloat16" and "float32" in kept.why
    processor("avx512_bf16")
    assert choose("auto", CPU, "float32").precision == "float32"
    # Earlier versions stored nothing. There `auto` was float32 on every CPU, and bfloat16 on every GPU.
    assert choose("auto", CPU, "").precision == "float32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert choose("auto", GPU, "").precision == "bfloat16"


def test_the_precision_is_told_stored_and_kept(cache_path, tmp_path, processor, monkeypatch):
    """A run goes on with its own precision on a processor for which `auto` means another one, to the same end as at home."""
    config = config_of("align", "precision=auto", "save_every=4")

    def trained(run, resume=False):
        said = io.StringIO()
        train(config, [cache_path], tmp_path / run, resume=resume, device="cpu", console=Console(file=said, width=400))
        return said.getvalue()

    processor("amx_bf16")
    assert "in bfloat16 (this processor has amx_bf16)" in trained("whole")
    header = checkpoint.header(tmp_path / "whole")
    assert header.precision == "bfloat16" and header.config.precision == "auto"
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["precision"] == "bfloat16"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(patch, 6)
        trained("moved")
    processor()
    assert "in bfloat16 (as the run was begun; a new one would take float32" in trained("moved", resume=True)
    assert same_tensors(tmp_path / "whole", tmp_path / "moved")
    with pytest.raises(UserError, match="it computed in bfloat16, asked float32"):
        train(config, [cache_path], tmp_path / "moved", init=tmp_path / "whole", resume=True, device="cpu")
    trained("exact")
    exact = checkpoint.header(tmp_path / "exact")
    assert exact.precision == "float32" and checkpoint.setup(exact) != checkpoint.setup(header), "not one experiment"
    rough, precise = losses(tmp_path / "whole"), losses(tmp_path / "exact")
    assert rough != precise and rough == pytest.approx(precise, rel=0.05)


def test_a_run_without_steps_is_the_same_on_every_processor(cache_path, tmp_path, processor):
    config = config_of("distill", "precision=auto", "encoder.name=pointmae-tiny", "optim.batch=8", "distributed=fsdp", recipe="scratch")
    setups = set()
    for instruction in ("amx_bf16", "avx2"):
        processor(instruction)
        said = io.StringIO()
        train(config, [cache_path], tmp_path / instruction, device="cpu", console=Console(file=said, width=400))
        assert "0 steps of 8 on cpu\n" in said.getvalue() and "distributed=fsdp has no effect in one process" in said.getvalue()
        setups.add(checkpoint.setup(checkpoint.header(tmp_path / instruction)))
    assert len(setups) == 1


FAULTS = """
import resource, sys
import numpy as np
from trainer import machine

if "keep" in sys.argv:
    assert machine.keep_freed()
np.ones(6_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(6_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_taken_again():
    """48 MB, five times: with the setting no page is fetched anew."""

    def faults(*words):
        return int(subprocess.run([sys.executable, "-c", FAULTS, *words], capture_output=True, text=True, check=True).stdout)

    assert faults("keep") < 100 < 200 < faults()


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not machine.keep_freed()


@pytest.mark.parametrize(
    "group, files, expected",
    [
        ("0::/", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {}, None),
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}, 1.5),  # the group around it limits it, too
        ("0::/../../pod", {"cpu.max": "200000 100000"}, 2),  # the name on the host, which a container does not see
        ("4:cpu,cpuacct:/docker/1\n1:memory:/x", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("4:cpuset:/\n3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (None, {}, None),
    ],
)
def test_processors_of_a_container(tmp_path, monkeypatch, group, files, expected):
    for name, text in files.items():
        (tmp_path / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup" / name).write_text(text + "\n")
    if group:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(group + "\n")
    assert machine.quota(tmp_path) == expected


@pytest.mark.parametrize(
    "asked, allowed, expected", [(None, 2.5, "2"), (None, 0.5, "1"), ("7", 2.5, "7"), (None, None, None), (None, 64, None)]
)
def test_as_many_threads_as_a_container_may_use(monkeypatch, asked, allowed, expected):
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(machine, "quota", lambda: allowed)
    monkeypatch.setattr(machine, "keep_freed", lambda: True)
    monkeypatch.setattr(machine.os, "environ", {machine.THREADS: asked} if asked else {})
    monkeypatch.setattr(machine, "_chosen", {})
    machine.suit()
    assert machine.os.environ.get(machine.THREADS) == expected


@pytest.mark.parametrize(
    "weights, given, chosen, expected",
    [
        (machine.SMALL // 8, {}, {}, 1),
        (machine.SMALL // 8 + 1, {}, {}, 3),
        (machine.SMALL // 8, {machine.THREADS: "3"}, {}, 3),  # the user has said so
        (machine.SMALL // 8, {machine.THREADS: "3"}, {machine.THREADS: "3"}, 1),  # the container allows so many
    ],
)
def test_small_steps_are_made_by_one_thread(monkeypatch, weights, given, chosen, expected):
    before = torch.get_num_threads()
    monkeypatch.setattr(machine, "_chosen", chosen)
    monkeypatch.delenv(machine.THREADS, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    try:
        torch.set_num_threads(3)
        with machine.suited(weights, 8) as alone:
            assert torch.get_num_threads() == expected and alone is (expected == 1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("allowed, expected", [(None, 3), (2.5, 2), (0.5, 1), (64, 3)])
def test_processors_are_those_of_the_affinity_and_of_the_container(monkeypatch, allowed, expected):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    monkeypatch.setattr(machine, "quota", lambda: allowed)
    assert machine.processors() == expected


FRESH = """
import sys
from trainer import machine
machine.os.cpu_count, machine.quota = (lambda: 64), (lambda: 1.0)
import trainer.cli, numpy, threadpoolctl
print(*(one["num_threads"] for one in threadpoolctl.threadpool_info()), "torch" in sys.modules)
"""


def test_numpy_of_a_command_has_the_threads_of_the_container():
    """In a process of its own: NumPy's OpenBLAS counts its threads when it is imported."""
    left = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", FRESH], env=left, capture_output=True, text=True)
    *threads, torch_there = done.stdout.split()
    assert torch_there == "False" and threads and set(threads) == {"1"}, done.stdout + done.stderr
