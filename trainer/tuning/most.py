"""MoST (https://arxiv.org/abs/2503.18368): updates of linear layers by Monarch matrices, which also look at neighbouring groups.

A Monarch matrix (https://arxiv.org/abs/2204.00595) is M = P L P R, where L and R are block-diagonal and P is a fixed permutation. The
update of a layer is K M K. K mixes the tokens of neighbouring groups: K = I + strength * A. Row i of A has the weights of the groups
nearest to group i, by inverse distance, with the sum 1. K works on groups and M works on channels, so K M K is M after K twice.

Which layers: those whose output is wider than their input. These are the query-key-value layer and the first MLP layer of a Transformer,
and the layer into Mamba's mixer. We chose them because they alone give the published counts: 0.8, 1.3 and 2.3 M learned parameters in
Point-MAE with 32, 16 and 8 blocks. The authors' code (for PointGPT) differs from the paper: one 8-block update beside the attention of each
block, with a learned norm of what neighbours add.

Without neighbours the update is a matrix, and `fold` adds it to the weights: features cost no more than before. With neighbours it cannot
be folded, since K differs from shape to shape. The paper says that MoST costs nothing in use, and does not say how K would vanish.

Our choices: `neighbours` and the term 0.05 in the distances are from the authors' code; `strength` is not published. Learnt tokens, which
have no place, are not mixed. R begins with random numbers and L with zeros (in the authors' code both are zero, where neither has a
gradient). The paper's fusion of several layers belongs to a head, so it is not here.

Letters: B shapes, G groups, S sequences of a shape, D width, b blocks.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.spec import added
from trainer import ops
from trainer.encoders.protocol import Level, Site
from trainer.tuning.adapted import Told, check_positive

NEAR: Final = 0.05
"""Added to a distance before it is inverted, as in the authors' code. Shapes lie in the unit sphere."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes of Monarch updates."""

    monarch_blocks: int = added(32)
    """Number of blocks of each factor. It must divide the width of the layers. In a Transformer of width 384 and depth 12, 32 blocks give
    0.5 M parameters: 0.8 M with a head, as published."""
    neighbours: int = added(4)
    """MoST: number of neighbouring groups that an update looks at; all others if there are fewer. 0: none, so the update can be folded."""
    strength: float = added(0.5)
    """MoST: weight of the neighbours, as a share of the group's own token."""

    def __post_init__(self) -> None:
        check_positive(self, "monarch_blocks")
        if self.neighbours < 0:
            raise UserError(f"neighbours must not be negative, got {self.neighbours}")
        if not 0 < self.strength <= 10:
            raise UserError(f"strength must lie in (0, 10], got {self.strength}; neighbours=0 leaves neighbours out")
        if not self.neighbours:
            refuse_unread(self, ["strength"], "neighbours=0")


class Monarch(nn.Module):
    """A linear layer whose matrix is the product of two block-diagonal ones and permutations. [..., in] to [..., out].

    The result is zero at first, so that tuning starts from the features of the encoder.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        rank = min(inputs, outputs) // blocks
        self.right = nn.Parameter(torch.empty(blocks, rank, inputs // blocks))
        self.left = nn.Parameter(torch.zeros(blocks, outputs // blocks, rank))
        self.bias = nn.Parameter(torch.zeros(outputs))
        bound = 1 / math.sqrt(inputs // blocks)  # that of nn.Linear
        nn.init.uniform_(self.right, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return self._product(x) + self.bias

    def dense(self) -> Tensor:
        """The matrix [out, in] of the layer."""
        inputs = self.right.shape[0] * self.right.shape[2]
        return self._product(torch.eye(inputs, device=self.right.device, dtype=self.right.dtype)).mT

    def _product(self, x: Tensor) -> Tensor:
        blocks, rank, _ = self.right.shape
        x = torch.einsum("...bi,bri->...br", x.unflatten(-1, (blocks, -1)), self.right)
        x = x.flatten(-2).unflatten(-1, (rank, blocks))  # the permutation: channels that are neighbours go to different blocks
        x = torch.einsum("...rb,bor->...ob", x, self.left)
        return x.flatten(-2)  # the permutation again: a block's outputs are spread, too


class Updated(nn.Module):
    """A linear layer plus a Monarch update. [B, T, in] to [B, T, out]. With `mixes`, it works only inside its `Adapted` encoder."""

    def __init__(self, base: nn.Linear, blocks: int, mixes: bool) -> None:
        super().__init__()
        self.base, self.mixes = base, mixes
        self.update = Monarch(base.in_features, base.out_features, blocks)
        self.mixing: Tensor | None = None
        """[B, S, G, G] during a forward pass of the encoder, else None: see `mixing`."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.update(self._mixed(x) if self.mixes else x)
        return out

    def _mixed(self, x: Tensor) -> Tensor:
        assert self.mixing is not None, "an update of MoST works only inside its `Adapted` encoder, which sets the neighbours"
        sequences, groups = self.mixing.shape[1:3]
        learnt, rest = x.tensor_split((x.shape[1] - sequences * groups,), 1)  # learnt tokens, if any, come first
        mixed = self.mixing.to(x.dtype) @ rest.unflatten(1, (sequences, groups))  # [B, S, G, D]
        return torch.cat([learnt, mixed.flatten(1, 2)], 1)


def attach(sites: Sequence[Site], options: Options, name: str) -> Told | None:
    """Add an update to every linear layer that widens its input, in place. See `trainer.tuning.catalog.Method`.

    Raises:
        UserError: the blocks do not divide a width.
    """
    levels: list[list[nn.Module]] = [[] for _ in range(1 + max(site.level for site in sites))]
    found = [(site, path, _linear(site, path)) for site in sites for path in site.linears]
    wider = [one for one in found if one[2].out_features > one[2].in_features]
    if not wider:
        raise UserError(f"tune=most: {name} has no linear layer that is wider at its output; take lora or adapter")
    for _, path, linear in wider:
        if linear.in_features % options.monarch_blocks or linear.out_features % options.monarch_blocks:
            raise UserError(
                f"tune=most: {options.monarch_blocks} blocks do not divide {path} of {name}, which maps {linear.in_features} to "
                f"{linear.out_features}; set efficient.monarch_blocks to a common divisor"
            )
    for site, path, linear in wider:
        part = Updated(linear, options.monarch_blocks, mixes=options.neighbours > 0)
        site.block.set_submodule(path, part)
        levels[site.level].append(part)
    if not options.neighbours:
        return None
    return Told("most: the neighbours are", "mixing", levels, functools.partial(mixing, options=options))


def _linear(site: Site, path: str) -> nn.Linear:
    """The linear layer of a site at a path."""
    linear = site.block.get_submodule(path)
    assert isinstance(linear, nn.Linear), f"a site offers {path} as a linear layer"
    return linear


@torch.no_grad()
def mixing(level: Level, options: Options) -> Tensor:
    """The matrix K K of the groups of a level, in the order of their tokens, [B, S, G, G]."""
    centres = level.centres
    groups = centres.shape[1]
    near = ops.nearest(centres, centres, min(options.neighbours + 1, groups))[..., 1:]  # [B, G, neighbours], without the group itself
    gaps = (centres.unsqueeze(2) - ops.gather(centres, near)).norm(dim=-1)
    shares = 1 / (gaps + NEAR)
    shares = shares / shares.sum(-1, keepdim=True)
    once = torch.eye(groups, device=centres.device).expand(len(centres), -1, -1)
    once = once.scatter_add(2, near, options.strength * shares)
    both = (once @ once).unsqueeze(1)  # [B, 1, G, G]
    if (order := level.order) is not None:  # [B, S, G]
        rows = order.unsqueeze(-1).expand(-1, -1, -1, groups)
        both = both.expand(-1, order.shape[1], -1, -1).gather(2, rows).gather(3, order.unsqueeze(2).expand(-1, -1, groups, -1))
    return both


@torch.no_grad()
def fold(encoder: nn.Module) -> None:
    """Add all updates to the weights of their layers, in place. Features stay the same up to rounding, and cost what they did before.

    Raises:
        UserError: the updates look at neighbours, so no weights are equal to them.
    """
    for path, part in list(encoder.named_modules()):
        if isinstance(part, Updated):
            if part.mixes:
                raise UserError("most: updates that look at neighbours cannot be folded into weights; tune with efficient.neighbours=0")
            folded = nn.Linear(part.base.in_features, part.base.out_features, device=part.base.weight.device)
            folded.weight.copy_(part.base.weight + part.update.dense())
            folded.bias.copy_(part.update.bias if part.base.bias is None else part.base.bias + part.update.bias)
            encoder.set_submodule(path, folded.requires_grad_(False))
