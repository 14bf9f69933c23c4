"""Two processes as one, with a copy of the model each or a part of it: same losses, same weights; and if one dies, the other does not
wait for it."""

import contextlib
import itertools
import os
import signal
import sys
from typing import Final

import numpy as np
import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tests.forks import says_into
from tests.trainer.conftest import config_of
from tests.trainer.ranks import in_ranks
from tests.trainer.ranks import joined as joined_ranks
from trainer import checkpoint, cli, log, loop, signals
from trainer.align import Contrast
from trainer.distributed import Ranks, SyncBatchNorm, batch_norm, device_of, joined
from trainer.loop import train

ONCE: Final = "optim.epochs=1"
RUNS = {
    "align": (("align", "align.teacher_drop=0.3", "data.negatives=6", "optim.ema=0.5", ONCE), {}),
    "distill": (("distill", "guide=own", "distill.projected_weight=1", "distill.reconstruction_weight=1", ONCE), {"guide_run": True}),
    "dealt": (("distill", "distributed=fsdp", "guide=own", "distill.projected_weight=1", "recompute=true", ONCE), {"guide_run": True}),
    "turns": (("align", "optim.batch=16", "optim.accumulate=2", "optim.ema=0.5", "optim.epochs=4"), {}),
}
TURNS = ("fsdp", "ddp", "fsdp")
"""How the two ranks of the run `turns` share the model; after three steps they stop and go on in the next way."""
LIMIT: Final = 2.6
"""Limit of temperatures during these trainings. They begin at 2.66, so it acts from the first step on."""


def train_all(cache, aligned, out, turns=("auto",)):
    for name, (arguments, options) in RUNS.items():
        for i, how in enumerate(turns if name == "turns" else [""]):
            more = [f"distributed={how}"] if how else []
            with stopped_after(3 if how and i < len(turns) - 1 else 0):
                train(config_of(*arguments, *more), [cache], out / name, guide_run=aligned if options else None, device="cpu", resume=i > 0)


@contextlib.contextmanager
def stopped_after(steps):
    """Stop a training after so many steps, as a signal would; 0 for never."""
    calls = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(signals.Stopped):
        patch.setattr(Contrast, "largest", LIMIT)
        if steps:
            patch.setattr(signals, "postponed", lambda _: contextlib.nullcontext(lambda: next(calls) == steps))
        yield


def dying(cache, aligned, out):
    """What each rank does, of which one dies in its third step."""
    draw, calls = loop.draw, itertools.count(1)

    def killing(*arguments):
        if next(calls) == 3:
            os._exit(9)
        return draw(*arguments)

    if os.environ["RANK"] == "1":
        loop.draw = killing
    torch.set_num_threads(1)
    out.mkdir(exist_ok=True)
    (out / f"rank-{os.environ['RANK']}.pid").write_text(str(os.getpid()))
    torch.distributed.init_process_group("gloo")
    train_all(cache, aligned, out, TURNS)


def mistaken(folder):
    """What each rank does: a command with a mistake. What it says goes into a file."""
    rank = os.environ["RANK"]
    says_into(folder / f"out-{rank}", folder / f"err-{rank}")
    sys.argv = ["mmpd-train", "align", "nowhere.zarr", str(folder / "run"), "--device=cpu"]
    cli.main()


def launched(function, *arguments):
    """Call a function in two ranks, with the launcher that `torchrun` is, whose ranks are forked. Returns the error that it ends with."""
    settings = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "max_restarts": 0, "monitor_interval": 0.1}
    two = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2, run_id=function.__name__, start_method="forkserver", **settings)
    with pytest.raises(ChildFailedError) as failed:
        elastic_launch(two, function)(*arguments)
    return failed.value


@pytest.fixture
def handlers():
    """Signals do afterwards what they did before."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_two_ranks_train_as_one_would(guided, aligned, tmp_path):
    train_all(guided, aligned, tmp_path / "one")
    in_ranks(joined_ranks, tmp_path, train_all, guided, aligned, tmp_path / "two", TURNS)
    for name in RUNS:
        one, two = log.records(tmp_path / "one" / name), log.records(tmp_path / "two" / name)
        assert len(one) == len(two) > 3
        for a, b in zip(one, two, strict=True):
            for key in a.keys() - {"samples_per_s", "data_wait", "seconds", "grad_norm"}:
                assert abs(a[key] - b[key]) < 1e-4, (name, a["step"], key, a[key], b[key])
            assert abs(a["grad_norm"] - b["grad_norm"]) < 1e-3 * a["grad_norm"]
        there, here = (checkpoint.load(tmp_path / kind / name).model.state_dict() for kind in ("two", "one"))
        # Not the means: a bias before a batch norm has no gradient but rounding, which Adam blows up to full steps in any direction.
        buffers = [key for key in here if key.endswith("running_var")]
        assert buffers
        if name in ("align", "turns"):
            scales = [value for key, value in there.items() if key.endswith("log_scale")]
            assert scales and all(value.ndim == 0 and abs(value - LIMIT) < 0.02 for value in scales)
        for key in buffers:
            np.testing.assert_allclose(there[key], here[key], rtol=1e-3, atol=1e-5)


def test_a_rank_that_dies_ends_the_others(guided, aligned, tmp_path, handlers):
    failed = launched(dying, guided, aligned, tmp_path / "two")
    # The launcher looks now and then. By then the other rank may have failed as well, because nobody answers it, and is named instead.
    rank, failure = failed.get_first_failure()
    assert failure.exitcode == 9 if rank == 1 else "gloo" in str(failure.message), failure
    for rank in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "two" / f"rank-{rank}.pid").read_text()), 0)
    assert not checkpoint.path(tmp_path / "two" / "align").exists()


def test_a_mistake_is_told_once_however_many_ranks_there_are(tmp_path, handlers):
    failed = launched(mistaken, tmp_path)
    assert failed.get_first_failure()[1].exitcode == 2
    said = "".join(path.read_text() for path in tmp_path.glob("err-*"))
    assert said.count("mmpd-train: nowhere.zarr does not exist") == 1 and len(list(tmp_path.glob("err-*"))) == 2, said


def test_alone_a_batch_norm_that_synchronises_is_the_usual_one(monkeypatch):
    torch.manual_seed(0)
    usual, ours = torch.nn.BatchNorm1d(5), SyncBatchNorm(5)
    x = torch.randn(40, 5, requires_grad=True)
    y = x.detach().clone().requires_grad_(True)
    weights = torch.randn(40, 5)
    for _ in range(2):
        (usual(x) * weights).sum().backward()
        (ours(y) * weights).sum().backward()
    torch.testing.assert_close(y.grad, x.grad)
    torch.testing.assert_close(ours.weight.grad, usual.weight.grad)
    torch.testing.assert_close(ours.running_var, usual.running_var)
    torch.testing.assert_close(ours.eval()(y), usual.eval()(x))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_batch_norm_of_some_rows_in_bfloat16_counts_them_in_float32(compiled):
    """As torch's own does for these rows alone. In bfloat16 there is no number between 600 and 604, and none between 20 and 20.125."""
    torch.manual_seed(0)
    usual, ours, counts = torch.nn.BatchNorm1d(5), torch.nn.BatchNorm1d(5), torch.rand(1000) < 0.6
    x = (20 + torch.randn(1000, 5)).where(counts.unsqueeze(1), 1e4).bfloat16()
    own, theirs, weights = x.clone().requires_grad_(), x[counts].requires_grad_(), torch.randn(int(counts.sum()), 5)
    with torch.autocast("cpu", torch.bfloat16):
        call = torch.compile(batch_norm, backend="aot_eager", fullgraph=True) if compiled else batch_norm
        found, expected = call(ours, own, counts)[counts], usual(theirs)
        (found * weights).sum().backward()
        (expected * weights).sum().backward()
    exact = x[counts].double()
    normed = (exact - exact.mean(0)) / (exact.var(0, correction=0) + usual.eps).sqrt()
    for norm, y in ((usual, expected), (ours, found)):
        torch.testing.assert_close(norm.running_mean.double(), 0.1 * exact.mean(0), rtol=1e-6, atol=0)
        torch.testing.assert_close(norm.running_var.double(), 0.9 + 0.1 * exact.var(0), rtol=1e-6, atol=0)
        torch.testing.assert_close(y.double(), normed, rtol=2**-8, atol=1e-4)  # a rounding of the result
    assert own.grad is not None and theirs.grad is not None and not own.grad[~counts].any()
    torch.testing.assert_close(own.grad[counts].float(), theirs.grad.float(), rtol=2**-7, atol=1e-3)
    torch.testing.assert_close(ours.weight.grad, usual.weight.grad, rtol=1e-5, atol=1e-4)


def test_a_batch_norm_is_over_all_rows_of_ranks_that_have_different_numbers_of_them(monkeypatch):
    torch.manual_seed(0)
    usual, ours, x = torch.nn.BatchNorm1d(5), SyncBatchNorm(5), 3 * torch.randn(50, 5) + 1
    others = x[13:]
    of_others = torch.stack([others.mean(0), others.var(0, correction=0), torch.full((5,), 37.0)])
    monkeypatch.setattr("trainer.distributed.gathered", lambda own: torch.cat([own, of_others.unsqueeze(0)]))
    torch.testing.assert_close(ours(x[:13]), usual(x)[:13])
    torch.testing.assert_close(ours.running_mean, usual.running_mean)
    torch.testing.assert_close(ours.running_var, usual.running_var)


def test_a_batch_is_dealt_evenly_or_not_at_all():
    ranks = [Ranks(device=torch.device("cpu"), rank=rank, count=3) for rank in range(3)]
    assert [rank.share(12) for rank in ranks] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    with pytest.raises(ValueError, match="cannot be dealt to 3 ranks"):
        ranks[0].share(8)


@pytest.fixture
def gpus(monkeypatch):
    """A machine with GPUs, the second of them the present one. What is asked of them is written down."""
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: asked.append("present") or 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: asked.append(("set", str(device))))
    monkeypatch.setattr(torch, "empty", lambda *_, device: asked.append(str(device)))
    return asked


def test_a_gpu_comes_with_its_number(gpus):
    assert [device_of("auto"), device_of("cuda"), device_of("cuda:3")] == [torch.device("cuda", 1)] * 2 + [torch.device("cuda", 3)]
    assert device_of("auto", 2) == torch.device("cuda", 2)


def test_each_rank_touches_its_own_gpu_only(gpus, monkeypatch):
    for name, value in {"WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    with joined("auto") as ranks:
        assert ranks == Ranks(device=torch.device("cuda", 3), rank=3, count=4)
    assert gpus == ["cuda:3", ("set", "cuda:3")]
    with pytest.raises(ValueError, match="4 ranks cannot share cuda:0"), joined("cuda:0"):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named():
    assert device_of("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="device 'cuda' cannot be used"):
        device_of("cuda")
    with pytest.raises(ValueError, match="device 'gpu' cannot be used"):
        device_of("gpu")
