"""Masked modelling of coordinates: which groups an encoder sees, and the decoder that predicts the points of the others.

    made = decoder(encoder, depth=4, heads=6, drop_path=0.1)
    loss = made(encoder(patches, visible), patches, hidden)

Letters: B shapes, G groups (Gv visible, Gh hidden), K points per group, D encoder width.
"""

import torch
from torch import Tensor, nn

from trainer import ops
from trainer.encoders.blocks import Transformer, chamfer, initialise, keys, position_mlp
from trainer.encoders.protocol import Curved, Encoded, Encoder, Missing, OwnDecoder, Patches, missing


class Reconstruction(nn.Module):
    """Point-MAE's objective (https://arxiv.org/abs/2203.06604): a decoder predicts the coordinates of hidden groups, without shuffling."""

    def __init__(self, dim: int, group_size: int, depth: int, heads: int, drop_path: float, missing: Missing = "repeat") -> None:
        super().__init__()
        self.missing = missing
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim))
        self.positions = position_mlp(dim)
        self.decoder = Transformer(dim, depth, heads, drop_path)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 3 * group_size)
        self.apply(initialise)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, encoded: Encoded, patches: Patches, hidden: Tensor) -> Tensor:
        """Chamfer-L2, a scalar, between predicted and true members of the hidden groups [B, Gh], relative to their centres. Groups that are
        missing do not count."""
        b, count = hidden.shape
        level = patches.coarsest
        masked = self.mask_token.to(encoded.tokens.dtype).expand(b, count, -1)
        groups = torch.cat([encoded.visible, hidden], 1)
        centres, real = ops.gather(level.centres, groups), None if level.real is None else level.real.gather(1, groups)
        decoded = self.decoder(torch.cat([encoded.tokens, masked], 1), self.positions(centres), keys(real))  # [B, Gv + Gh, D]
        predicted = self.head(self.norm(decoded[:, -count:])).unflatten(-1, (-1, 3))  # [B, Gh, K, 3]
        true = ops.gather(level.groups[..., :3].flatten(2), hidden).unflatten(2, (-1, 3))  # [B, Gh, K, 3]
        return chamfer(predicted, true, None if real is None else real[:, -count:], self.missing)


def decoder(encoder: Encoder, depth: int, heads: int, drop_path: float) -> nn.Module:
    """A new decoder of coordinates for an encoder: the encoder's own if it has one (`OwnDecoder`), else Point-MAE's.

    Args:
        encoder: the encoder whose tokens it reads.
        depth: number of blocks; on each level if the encoder has several.
        heads: number of attention heads.
        drop_path: rate of drop path at the last block, rising linearly from 0.
    """
    if isinstance(encoder, OwnDecoder):
        return encoder.decoder(depth, heads, drop_path)
    return Reconstruction(encoder.dim, encoder.group_size, depth, heads, drop_path, missing(encoder))


def shown(encoder: Encoder, mask_ratio: float | None = None) -> int:
    """Number of groups of a shape that an encoder sees in masked modelling.

    Args:
        encoder: the encoder.
        mask_ratio: share of groups that are hidden; None for the encoder's own share.
    """
    return _shown(encoder.groups, encoder, mask_ratio)


def _shown(groups: int, encoder: Encoder, mask_ratio: float | None) -> int:
    return groups - int((encoder.mask_ratio if mask_ratio is None else mask_ratio) * groups)


def divided(ranking: Tensor, encoder: Encoder, mask_ratio: float | None = None, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The groups that are visible, [B, Gv], and those that are hidden, [B, Gh], ascending, by a random order of the groups [B, G].

    Without `real`, the first `shown` groups of the order are visible. With `real` [B, G] bool, the same share of the groups that are not
    missing is hidden. The missing ones fill both up to the same sizes, and who reads either looks at `real` again.
    """
    count = shown(encoder, mask_ratio)
    if real is not None:
        shares = torch.tensor([_shown(groups, encoder, mask_ratio) for groups in range(encoder.groups + 1)], device=ranking.device)
        there = real.gather(1, ranking)
        late = there.cumsum(1) > shares[real.sum(1)].unsqueeze(1)  # [B, G]: beyond the share that is visible
        # With one group more, at most one more is visible, so there are enough missing groups to fill up.
        ranking = ranking.gather(1, torch.where(there, 2 * late, 1).argsort(dim=1, stable=True))
    return ranking[:, :count].sort(1).values, ranking[:, count:].sort(1).values


def within(permutation: Tensor, real: Tensor) -> Tensor:
    """A permutation [B, n] that moves the entries which are real [B, n] bool among themselves, in the order of the given one."""
    places = (~real).byte().argsort(dim=1, stable=True)
    sources = permutation.gather(1, (~real.gather(1, permutation)).byte().argsort(dim=1, stable=True))
    return torch.empty_like(permutation).scatter(1, places, sources)


def draw_curve(encoder: Encoder, count: int, generator: torch.Generator) -> Tensor | None:
    """The curve along which an encoder reads each of `count` shapes, [B] int64; None if it has no curves (`Curved`)."""
    if not isinstance(encoder, Curved):
        return None
    return torch.randint(encoder.curves, (count,), generator=generator, device=generator.device)
