"""Prompts: learned tokens that every block attends to, through a gate for each head (https://arxiv.org/abs/2303.16199).

Prompts have a softmax of their own. In the softmax of the other tokens they would change the features from the first step. An encoder
without attention, such as Mamba, cannot use prompts and is refused.

Letters: B shapes, N tokens, D width, H heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer.encoders import blocks
from trainer.encoders.protocol import Site
from trainer.tuning.adapted import check_positive


@dataclass(frozen=True, kw_only=True)
class Options:
    """Number of prompts."""

    prompts: int = 10
    """Number of learned tokens in every block."""

    def __post_init__(self) -> None:
        check_positive(self, "prompts")


class Prompted(nn.Module):
    """Attention with an additional, separate attention to learned tokens."""

    def __init__(self, attention: blocks.Attention, prompts: int) -> None:
        super().__init__()
        self.attention = attention
        # The other tokens come from a norm, so prompts are initialised with the same scale.
        self.prompts = nn.Parameter(torch.randn(prompts, attention.proj.in_features))
        # A gate of zero hides the prompts, so tuning starts from the features of the encoder.
        self.gates = nn.Parameter(torch.zeros(attention.heads, 1, 1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention over tokens x [B, N, D], with a result of the same shape. The mask is that of `Attention`; it does not hide prompts."""
        attention, heads = self.attention, self.attention.heads
        of_queries, of_others = attention.qkv.weight.tensor_split((x.shape[-1],))
        q = F.linear(x, of_queries).unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, H, N, D / H]
        k, v = F.linear(self.prompts, of_others).unflatten(-1, (2, heads, -1)).permute(1, 2, 0, 3)  # [H, prompts, D / H] each
        k, v = (side.expand(len(x), -1, -1, -1) for side in (k, v))
        seen = self.gates * blocks.attend(q, k, v)
        out: Tensor = attention(x, mask) + F.linear(seen.transpose(1, 2).flatten(2).to(x.dtype), attention.proj.weight)
        return out


def attach(sites: Sequence[Site], options: Options, name: str) -> None:
    """Add prompts to the attention of every block, in place. See `trainer.tuning.catalog.Method`.

    Raises:
        UserError: a block has no attention.
    """
    paths = [site.attention for site in sites if site.attention is not None]
    if len(paths) < len(sites):
        raise UserError(f"tune=prompt: prompts need attention, and {name} has no attention; take lora, adapter or pointgst")
    for site, path in zip(sites, paths, strict=True):
        attention = site.block.get_submodule(path)
        assert isinstance(attention, blocks.Attention), f"{name} offers {path} as attention"
        site.block.set_submodule(path, Prompted(attention, options.prompts))
