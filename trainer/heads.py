"""Heads: modules that map tokens to one summary, or a summary to a teacher's space.

Poolings leave out the tokens of groups that are missing, if they are told which ones are there: `real` [B, N] bool, as in
`trainer.encoders.protocol.Encoded`.

Letters: B shapes, N tokens, D encoder width, H heads, Q queries, E a teacher's width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer.encoders.blocks import Mlp, attend, initialise, keys


class AttentionPool(nn.Module):
    """Multi-head attention pooling with one learned query, then an MLP with a residual: [B, N, D] to [B, D].

    The "MAP head" of https://arxiv.org/abs/2106.04560; the same for every encoder. With several queries, which share everything else, the
    result is the mean of their summaries: one vector, as wide as with one query, in which no query counts more than another.
    """

    def __init__(self, dim: int, heads: int, queries: int = 1) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"attention pooling: the width must be a multiple of the number of heads, got {dim} and {heads}")
        self.heads, self.queries = heads, queries
        self.query = nn.Parameter(torch.empty(1, 1, queries * dim))  # one row, so that several do not decay, either
        self.norm1 = nn.LayerNorm(dim)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.apply(initialise)
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        found = self.each(tokens, real)
        return found.squeeze(1) if self.queries == 1 else found.mean(1)

    def each(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        """The summary of each query, tokens [B, N, D] to [B, Q, D]."""
        k, v = self.kv(self.norm1(tokens)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # [B, H, N, D / H] each
        # Not `len`, here and in the encoders: it would fix the number of shapes in an exported graph.
        query = self.query.unflatten(-1, (self.queries, -1)).squeeze(1)  # [1, Q, D]
        q = query.to(k.dtype).expand(tokens.shape[0], -1, -1).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, Q, D / H]
        x = self.proj(attend(q, k, v, keys(real)).transpose(1, 2).flatten(2))  # [B, Q, D]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class EachQuery(nn.Module):
    """The summaries of all queries of a pooling, one behind the other: [B, N, D] to [B, Q * D]. It shares the weights of the pooling."""

    def __init__(self, pool: AttentionPool) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        return self.pool.each(tokens, real).flatten(1)


class MaxPool(nn.Module):
    """The maximum over tokens: [B, N, D] to [B, D]."""

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        return largest(tokens, real)


def largest(tokens: Tensor, real: Tensor | None) -> Tensor:
    """The maximum over tokens [B, N, D] that are real [B, N] bool, or over all if that is None. [B, D]"""
    return tokens.amax(1) if real is None else tokens.masked_fill(~real.unsqueeze(-1), -torch.inf).amax(1)


def average(tokens: Tensor, real: Tensor | None) -> Tensor:
    """The mean over the same tokens. [B, D]"""
    return tokens.mean(1) if real is None else tokens.where(real.unsqueeze(-1), 0).sum(1) / real.sum(1, keepdim=True)


class Projection(nn.Module):
    """Projects a summary [B, D] into a teacher's space [B, E], by LayerNorm, Linear, GELU, Linear, or by one matrix if `linear`.

    The result is float32, and of unit length if `unit`.
    """

    def __init__(self, dim: int, width: int, unit: bool, linear: bool = False) -> None:
        super().__init__()
        self.unit = unit
        layers = [nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, width)]
        self.layers = nn.Linear(dim, width, bias=False) if linear else nn.Sequential(*layers)
        self.apply(initialise)

    def forward(self, summary: Tensor) -> Tensor:
        out = self.layers(summary).float()
        return F.normalize(out, dim=-1) if self.unit else out
