"""What large encoders need: sizes B and L, activations that are computed again, modes of torch.compile; and steps that never wait."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainer.conftest import config_of
from tests.trainer.test_loop import losses, same_tensors
from trainer import loop, prepare
from trainer.align import Align
from trainer.distributed import Ranks
from trainer.encoders import catalog, mamba_cpu
from trainer.loop import train
from trainer.meter import Meter, Watch
from trainer.recipes import configured
from trainer.recompute import recompute
from trainer.stage import Facts, build

MILLIONS = {
    "pointmae-s": 21.8,
    "pointmae-b": 85.8,
    "pointmae-l": 303.2,
    "pointbert-s": 21.9,
    "pointbert-b": 85.8,
    "pointbert-l": 303.1,
    "recon-s": 43.1,
    "recon-b": 170.9,
    "recon-l": 605.4,
    "pointm2ae-s": 12.7,
    "pointm2ae-b": 49.5,
    "pointm2ae-l": 170.4,
    "pointmamba-s": 12.1,
    "pointmamba-b": 46.1,
    "pointmamba-l": 161.0,
}
"""Millions of parameters. The Transformers of Point-MAE have 12 depth width^2, and the rest is small: 85 and 302 of sizes B and L."""


@pytest.mark.parametrize("name", sorted(name for name in catalog.ENCODERS if not name.endswith("-tiny")))
def test_sizes_have_as_many_parameters_as_the_documentation_says(name):
    assert catalog.parameters(name) / 1e6 == pytest.approx(MILLIONS[name], abs=0.05)


@pytest.mark.parametrize(("stage", "setting"), [("align", "align.heads"), ("distill", "distill.heads")])
def test_heads_that_do_not_fit_a_width_are_named_with_those_that_do(stage, setting):
    config = configured("smoke", stage, ["encoder.name=pointmae-l", "encoder.depth=1"])
    with torch.device("meta"), pytest.raises(ValueError, match=rf"{setting}=6 does not divide the width 1024 .*--set {setting}=16"):
        build(config, Facts())


# ------------------------------------------------------------------------------------------- activations computed again


def test_a_run_with_recomputed_activations_is_the_same_to_the_last_bit(cache_path, tmp_path):
    for name, more in (("kept", []), ("again", ["recompute=true"])):
        config = config_of("distill", "encoder.drop_path=0.3", "start=random", "guide=random", *more)
        train(config, [cache_path], tmp_path / name, device="cpu")
    assert losses(tmp_path / "kept") == losses(tmp_path / "again") and same_tensors(tmp_path / "kept", tmp_path / "again")


class Kept:
    """Counts the elements that a forward pass keeps for the backward pass."""

    def __init__(self, encoder):
        self.elements = 0
        points = torch.randn(4, 64, 3)
        with torch.autograd.graph.saved_tensors_hooks(self.keep, lambda tensor: tensor):
            encoder(encoder.patchify(points, ordered=True)).tokens.sum().backward()

    def keep(self, tensor):
        self.elements += tensor.numel()
        return tensor


@pytest.mark.parametrize("name", ["pointmae-tiny", "pointmamba-tiny"])
def test_it_keeps_less(name):
    encoder = catalog.build(name, group_size=4)
    usual = Kept(encoder).elements
    recompute(encoder)
    assert Kept(encoder).elements < 0.5 * usual


def test_a_block_with_a_batch_norm_is_refused():
    encoder = catalog.build("pointmae-tiny")
    encoder.sites()[0].block.norm1 = torch.nn.BatchNorm1d(96)
    with pytest.raises(ValueError, match="statistics would be updated twice"):
        recompute(encoder)
    with pytest.raises(ValueError, match="does not tell its blocks"):
        recompute(torch.nn.Identity())


# ------------------------------------------------------------------------------------------------------------- compiled


def test_a_compiled_run_has_the_same_losses_in_the_mode_asked_for(cache_path, aligned, tmp_path, monkeypatch):
    modes = []

    def compiled(stage, mode):  # by the first step of torch's compiler alone: the others take most of the time, and have their own tests
        modes.append(mode)
        torch.nn.Module.compile(stage, backend="eager")

    monkeypatch.setattr(Align, "compile", compiled)
    train(config_of("align", "compile=true", "compile_mode=reduce-overhead"), [cache_path], tmp_path / "run", device="cpu")
    assert modes == ["reduce-overhead"] and losses(tmp_path / "run") == pytest.approx(losses(aligned), rel=1e-4)
    with pytest.raises(ValueError, match="compile_mode=max-autotune has no effect without --set compile=true"):
        config_of("align", "compile_mode=max-autotune")


# ---------------------------------------------------------------------------------------------------- steps without waits


class Waits(TorchDispatchMode):
    """Collects the operations for which a CPU waits if the tensors are on a GPU: those whose result it must know to go on."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "is_nonzero", "equal")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_flags = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in self.NAMES or by_flags:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("stage", ["align", "distill"])
@pytest.mark.parametrize("encoder", ["pointmae-tiny", "pointmamba-tiny"])
def test_the_cpu_waits_for_nothing_in_a_step(cache_path, stage, encoder, monkeypatch):
    monkeypatch.setattr(mamba_cpu, "usable", lambda *_: False)  # a GPU takes the plain operations
    more = ["start=random", "guide=random", "distill.reconstruction_weight=1"] if stage == "distill" else ["data.negatives=6"]
    config = configured("smoke", stage, [f"encoder.name={encoder}", "encoder.depth=1", "probe=", "optim.ema=0.5", *more])
    ranks = Ranks(device=torch.device("cpu"))
    training = prepare.prepared(config, [cache_path], cache_path.parent / "run", prepare.Sources(), ranks, asked=())
    batches = iter([training.data.batch(number) for number in range(2)])
    meter = Meter(Watch(3.0, str), 8)
    with Waits() as waits:
        for step in (1, 2):
            loop._step(training, training.stage, batches, step, 1e-3, meter, ranks)
    assert waits.found == []
