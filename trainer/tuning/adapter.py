"""Adapters (https://arxiv.org/abs/1902.00751): a narrow layer after every MLP, or in Mamba after every mixer.

Letters: D width of a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.encoders.protocol import Site
from trainer.tuning.adapted import check_positive


@dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes of adapters."""

    adapter_width: int = 64
    """Width of the narrow layer. In a Transformer of width 384 and depth 12, a width of 64 gives 0.6 M parameters."""

    def __post_init__(self) -> None:
        check_positive(self, "adapter_width")


class Bottleneck(nn.Module):
    """A narrow MLP with a residual connection. [..., D] to the same shape."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(dim, width), nn.Linear(width, dim)
        # The output of the layer is zero at first, so that tuning starts from the features of the encoder.
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.up(F.gelu(self.down(x)))
        return out


def attach(sites: Sequence[Site], options: Options, name: str) -> None:
    """Put an adapter after the last branch of every block, in place. See `trainer.tuning.catalog.Method`."""
    for site in sites:
        branch = site.block.get_submodule(site.branch)
        site.block.set_submodule(site.branch, nn.Sequential(branch, Bottleneck(site.dim, options.adapter_width)))
