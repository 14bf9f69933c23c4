"""LoRA (https://arxiv.org/abs/2106.09685): low-rank updates of the layers that project tokens.

In a Transformer these are the linear layers of attention and MLP. In Mamba they are the input and output layers of the mixer.

Letters: R rank of an update.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.encoders.protocol import Site
from trainer.tuning.adapted import check_positive


@dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes of low-rank updates."""

    lora_rank: int = 8
    """Rank of every update, R. In a Transformer of width 384 and depth 12, rank 8 gives 0.6 M parameters; in PointMamba,
    half as many."""

    def __post_init__(self) -> None:
        check_positive(self, "lora_rank")


class LowRank(nn.Module):
    """A linear layer plus a learned update of rank R. [..., in] to [..., out]."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        # The update is zero at first, so that tuning starts from the features of the encoder.
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.up(self.down(x))
        return out


def attach(sites: Sequence[Site], options: Options, name: str) -> None:
    """Add an update to every linear layer of the sites, in place. See `trainer.tuning.catalog.Method`."""
    for site in sites:
        for path in site.linears:
            linear = site.block.get_submodule(path)
            assert isinstance(linear, nn.Linear), f"{name} offers {path} as a linear layer"
            site.block.set_submodule(path, LowRank(linear, options.lora_rank))
