"""Shared parts of encoders, decoders and heads: Transformer, position embedding, patch embedding.

Linear layers on flat rows replace the 1x1 convolutions of the published code. The arithmetic is the same, without transposing.

Letters: B shapes, P points, N tokens, S learnt tokens, D width, H heads, G groups, K points per group, C channels.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cache_schema.errors import UserError
from trainer import ops
from trainer.distributed import batch_norm, share
from trainer.encoders.pooled import linear_max
from trainer.encoders.protocol import EncoderSettings, Level, Missing, Site


def check_sizes(config: EncoderSettings, *sizes: str) -> None:
    """Check the configuration of an encoder: channels, rates, and the fields listed in `sizes`. `dim` must be a multiple of `heads`.

    Raises:
        UserError: a value is out of its range. The message names the field.
    """
    if config.channels not in (3, 6):
        raise UserError(f"channels must be 3 (coordinates) or 6 (with colours), got {config.channels}")
    for name in sizes:
        value = getattr(config, name)
        if (least := min(value) if isinstance(value, tuple) else value) < 1:
            raise UserError(f"{name} must be at least 1, got {least}")
    if "heads" in sizes and (dim := getattr(config, "dim", 0)) % (heads := getattr(config, "heads", 1)):
        raise UserError(f"dim must be a multiple of heads, got {dim} and {heads}")
    for name in ("mask_ratio", "drop_path"):
        if not 0 <= getattr(config, name) < 1:
            raise UserError(f"{name} must lie in [0, 1), got {getattr(config, name)}")


def initialise(module: nn.Module) -> None:
    """Initialise a linear layer as Point-MAE does: truncated normal with deviation 0.02, and bias 0. For `Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def position_mlp(dim: int, hidden: int = 128) -> nn.Sequential:
    """Position embedding of centres: [..., 3] to [..., dim]."""
    return nn.Sequential(nn.Linear(3, hidden), nn.GELU(), nn.Linear(hidden, dim))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of queries [B, H, N, C] to M keys and values [B, H, M, C].

    If the boolean mask (broadcast to [B, H, N, M]) is False, the query does not attend to the key. On a CPU in bfloat16, torch's fused
    kernel is not used: its backward pass takes three to eight times as long as three plain operations (torch 2.13, 26 to 64 tokens). With
    many keys of few channels, these spend their time on reading and writing logits, and the fused kernel in float32 takes half as long.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, mask)
    if k.shape[-2] > 12 * k.shape[-1]:
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask).to(v.dtype)
    logits: Tensor = (q * q.shape[-1] ** -0.5) @ k.mT  # [B, H, N, M]
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    return logits.softmax(-1).to(v.dtype) @ v


def keys(real: Tensor | None, learnt: int = 0) -> Tensor | None:
    """The attention mask [B, 1, 1, S + N] of tokens [B, S + N, D], of which the first S are learnt: no token attends to missing groups.
    real: [B, N] bool, `Level.real`; None if no group is missing, and then there is no mask."""
    return None if real is None else F.pad(real, (learnt, 0), value=True)[:, None, None]


def cleared(tokens: Tensor, real: Tensor | None) -> Tensor:
    """Tokens [B, N, D] with zeros for missing groups, real [B, N] bool as in `keys`."""
    return tokens if real is None else tokens.masked_fill(~real.unsqueeze(-1), 0)


def on_rows(module: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, rows: Tensor | None) -> Tensor:
    """What a module makes of the rows of x [B, N, ...] that count, rows [B, N] bool; zeros for the others. [B, N, D]

    Its batch norms count each of these rows once, and no other. So the module gets one shape of them alone, [1, n, ...], and None. A
    compiled graph has fixed sizes: there the module gets all rows, and which of them count, for `normalised`.
    """
    if rows is None:
        return module(x, None)
    if torch.compiler.is_compiling():
        return cleared(module(x, rows), rows)
    index = rows.flatten().nonzero().squeeze(1)
    found = module(x.flatten(0, 1)[index].unsqueeze(0), None).squeeze(0)  # [n, D]
    every: Tensor = found.new_zeros(rows.numel(), found.shape[1]).index_copy(0, index, found).unflatten(0, rows.shape)
    return every


def normalised(norm: nn.Module, x: Tensor, counts: Tensor | None) -> Tensor:
    """Batch norm of the rows x [n, C]. In training its statistics are those of the rows that count, [n] bool; None for all."""
    if counts is None or not norm.training:
        found: Tensor = norm(x)
        return found
    assert isinstance(norm, _BatchNorm)
    return batch_norm(norm, x, counts)


def in_turn(layers: nn.Sequential, x: Tensor, counts: Tensor | None) -> Tensor:
    """Layers one after another on the rows x [n, C], of which those count in batch norms that are given, [n] bool; None for all."""
    for layer in layers:
        x = normalised(layer, x, counts) if isinstance(layer, _BatchNorm) else layer(x)
    return x


def grouped(points: Tensor, ordered: bool, *, groups: int, group_size: int, channels: int, missing: Missing = "repeat") -> Level:
    """Group the points [B, P, C] around centres, for the finest or only level of an encoder. Coordinates are relative to the centre.

    Args:
        points: coordinates first, then colours if there are 6 channels.
        ordered: whether the points are in farthest-point order. If so, the first ones are the centres; if not, the centres are sampled.
        groups: number of groups, G.
        group_size: points per group, K.
        channels: number of channels that the encoder reads.
        missing: what is made of points that repeat others.

    Raises:
        UserError: the points have another number of channels, or are too few for the groups.
    """
    count = points.shape[1]
    if points.shape[2] != channels:
        raise UserError(f"points have {points.shape[2]} channels, the encoder was built for {channels}: set its `channels`")
    if count < max(groups, group_size):
        raise UserError(f"{groups} groups of {group_size} need at least {max(groups, group_size)} points, got {count}")
    xyz = points[..., :3]
    first = xyz if ordered else ops.gather(xyz, ops.farthest_points(xyz, groups))
    real = _some_missing(ops.first_in_place(xyz)) if missing == "mask" else None
    return grouped_around(first[:, :groups], points, group_size, real)


def grouped_around(centres: Tensor, points: Tensor, group_size: int, real: Tensor | None = None) -> Level:
    """A level whose groups are the `group_size` points, out of [B, P, C], nearest to each of the centres [B, G, 3].

    If `real` [B, P] bool is given, only these points are members. A shape with fewer than K of them has all in every group, some of them
    several times. That changes no token: a group's points are embedded one by one and then pooled by a maximum, twice (`PatchEmbed`), and a
    maximum does not depend on how often a member is there. Only batch norms in training count points as often as they are there.
    """
    if real is None:
        members = ops.nearest(centres, points[..., :3], group_size)
    else:
        members = ops.nearest_among(centres, points[..., :3], group_size, real)
    found = ops.gather(points, members)  # [B, G, K, C]
    found = torch.cat([found[..., :3] - centres.unsqueeze(2), found[..., 3:]], -1)
    return Level(groups=found, centres=centres, members=members, real=None if real is None else _some_missing(ops.first_in_place(centres)))


def _some_missing(real: Tensor) -> Tensor | None:
    """The same [B, N] bool; None if all of it is true, so that nothing is computed otherwise than without a mask. A compiled graph cannot
    look at values, and always gets the mask."""
    return None if not torch.compiler.is_compiling() and bool(real.all()) else real


def chamfer(predicted: Tensor, true: Tensor, which: Tensor | None, missing: Missing) -> Tensor:
    """`ops.chamfer` of predicted and true members of groups, [B, G, N, 3] and [B, G, M, 3], over the groups that count, [B, G] bool.

    If some may be missing, ranks have different numbers of groups that count, and the mean over the ranks' results is that over all their
    groups. Whether any is missing must not decide that: all ranks have to take part.
    """
    found = ops.chamfer(predicted, true, which)
    if missing == "repeat":
        return found
    return found * share(torch.ones(predicted.shape[:2], dtype=torch.bool, device=predicted.device) if which is None else which)


def evenly(depth: int, parts: int) -> tuple[int, ...]:
    """The number of blocks that make up each of equal parts of `depth` blocks with all before it, rounded up: 4, 8 and 12 of 12 for
    three parts. See `protocol.Layered`."""
    return tuple(-(-depth * part // parts) for part in range(1, parts + 1))


class DropPath(nn.Module):
    """Skips a residual branch, for each shape with probability `rate` (https://arxiv.org/abs/1603.09382).

    Like dropout, it draws from torch's global generator.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0 or not self.training:
            return x
        keep = torch.rand(len(x), *[1] * (x.dim() - 1), device=x.device) >= self.rate
        return x * (keep / (1 - self.rate)).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention without a bias on queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"attention: the width must be a multiple of the number of heads, got {dim} and {heads}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention over tokens x [B, N, D], with a result of the same shape. If mask [B, 1, N or 1, N] is False, the query does not attend
        to the key."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # [B, H, N, D / H] each
        out: Tensor = self.proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Two linear layers with a GELU between them. The hidden layer is four times as wide. [..., D] to the same shape."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm Transformer block. The first `learnt` of its tokens are learnt tokens, which belong to no group."""

    def __init__(self, dim: int, heads: int, drop_path: float, learnt: int = 0) -> None:
        super().__init__()
        self.learnt = learnt
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.drop_path = DropPath(drop_path)
        self.beside: nn.Module | None = None
        """An optional branch parallel to the MLP. Its input is the groups' tokens before the norm: see `Site.beside`."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), mask))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out if self.beside is None else out + F.pad(self.beside(x[:, self.learnt :]), (0, 0, self.learnt, 0))

    def site(self, level: int = 0) -> Site:
        """The places for new parts in this block. Its tokens belong to the groups of a level of `Patches.levels`."""
        linears = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        return Site(block=self, dim=self.attn.proj.in_features, linears=linears, branch="mlp", attention="attn", level=level)


class Transformer(nn.Module):
    """A sequence of blocks. Positions are added before each block. The rate of drop path grows linearly from `first_drop` to
    `drop_path`."""

    def __init__(
        self, dim: int, depth: int, heads: int, drop_path: float, first_drop: float = 0.0, *, block: type[Block] = Block, learnt: int = 0
    ) -> None:
        super().__init__()
        rates = torch.linspace(first_drop, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList([block(dim, heads, rate, learnt) for rate in rates])

    def forward(self, tokens: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return self.states(tokens, positions, mask, (len(self.blocks),))[0]

    def states(self, tokens: Tensor, positions: Tensor | None, mask: Tensor | None, after: Sequence[int]) -> list[Tensor]:
        """The tokens [B, N, D] after each of the given numbers of blocks; 0 for the tokens themselves."""
        kept = {0: tokens}
        for i, block in enumerate(self.blocks, 1):
            tokens = block(tokens if positions is None else tokens + positions, mask)
            if i in after:
                kept[i] = tokens
        return [kept[i] for i in after]

    def sites(self, level: int = 0) -> list[Site]:
        """The places for new parts in every block: see `Block.site`."""
        return [cast(Block, block).site(level) for block in self.blocks]


class LearntTokens(nn.Module):
    """Learnt tokens that belong to no group, such as a class token, each with a learnt position."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.tokens = nn.ParameterList([torch.empty(1, 1, dim) for _ in range(count)])
        self.positions = nn.ParameterList([torch.empty(1, 1, dim) for _ in range(count)])
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Put the learnt tokens and positions in front of those of the groups [B, N, D]. Returns both, [B, S + N, D] each."""
        first, places = (torch.cat(list(own), 1).expand(tokens.shape[0], -1, -1) for own in (self.tokens, self.positions))
        return torch.cat([first.to(tokens.dtype), tokens], 1), torch.cat([places.to(positions.dtype), positions], 1)


class PatchEmbed(nn.Module):
    """Mini-PointNet: embeds the points of a group as one token, [B, G, K, C] to [B, G, dim]. The order of the points does not matter.

    Two layers (`lift`, `widen`) embed every point. The maximum over the group is joined to each point, a layer mixes [maximum; point], and
    a second maximum pools the group. Three identities save most of the arithmetic of mixing: the part of the maximum is the same for a
    whole group and is computed once; the part of the point directly follows `widen`, so both layers are one matrix; and a bias can be
    added after a maximum.

    In training, the batch norms use only the points of the given groups, so not those of hidden groups. The visible groups are a random
    choice, so the running statistics approach the same values. But a single step differs from a published training step, which
    normalises over all groups before it hides some. In evaluation there is no difference.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int], dim: int) -> None:
        super().__init__()
        first, second, mixed = widths
        self.lift = nn.Linear(channels, first)
        self.norm1 = nn.BatchNorm1d(first)
        self.widen = nn.Linear(first, second)
        self.shared = nn.Linear(second, mixed, bias=False)
        self.local = nn.Linear(second, mixed)
        self.norm2 = nn.BatchNorm1d(mixed)
        self.out = nn.Linear(mixed, dim)

    def forward(self, groups: Tensor, rows: Tensor | None = None) -> Tensor:
        """rows: which groups count in batch norms, [B, G] bool; None for all."""
        b, g, k, _ = groups.shape
        counts = None if rows is None else rows.flatten().repeat_interleave(k, output_size=b * g * k)  # [B * G * K]
        points = F.relu(normalised(self.norm1, self.lift(groups.flatten(0, 2)), counts), inplace=True)  # [B * G * K, first]
        points = points.unflatten(0, (b * g, k))
        whole = linear_max(points, self.widen.weight) + self.widen.bias  # [B * G, second]
        per_group = self.shared(whole) + self.local(self.widen.bias)  # [B * G, mixed]
        mixed = F.linear(points, self.local.weight @ self.widen.weight).add_(per_group.unsqueeze(1))
        points = F.relu(normalised(self.norm2, mixed.flatten(0, 1), counts), inplace=True)  # [B * G * K, mixed]
        pooled = linear_max(points.unflatten(0, (b * g, k)), self.out.weight) + self.out.bias  # [B * G, dim]
        tokens: Tensor = pooled.unflatten(0, (b, g))
        return tokens
