"""What large encoders need: their sizes, memory that is computed again, compiled modes, and steps in which the CPU never waits for a GPU."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.gpu import batch_of
from cache_schema.errors import UserError
from tests.trainer.conftest import config_of
from tests.trainer.test_loop import losses, same_tensors
from trainer import layers, loop, optim
from trainer.align import Align
from trainer.config import AlignConfig, EncoderConfig, OptimConfig
from trainer.encoders import catalog
from trainer.loop import train
from trainer.recompute import recompute
from trainer.stage import Facts, build
from trainer.distributed import Ranks

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
"""Millions of parameters. A Transformer of depth L and width D has about 12 L D^2, whatever else there is."""


@pytest.mark.parametrize("name", sorted(name for name in catalog.ENCODERS if not name.endswith("-tiny")))
def test_sizes_have_as_many_parameters_as_said(name):
    assert catalog.parameters(name) / 1e6 == pytest.approx(MILLIONS[name], abs=0.05)
