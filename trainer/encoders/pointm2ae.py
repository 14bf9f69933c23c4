"""Point-M2AE (https://arxiv.org/abs/2205.14401): three levels of tokens, each made of the ones below, masked from coarse to fine.

    encoder = build("pointm2ae-s")                       # trainer.encoders.catalog
    encoder.load_state_dict(...)                         # published weights: `from_published`

The centres of every level are the first of those below, because a farthest-point order begins with the order of fewer points: one
sampling serves all levels, and blocks stored in that order need none.

The authors pre-trained on 2048 points and used 1024 for the linear probe, with the same groups and radii. So the encoder takes any number
of points that has room for the finest level's centres. Stored blocks of 1024 serve as they are; `mmpd-cache build --set
points.count=2048` stores the published number. Blocks are not joined: a guide's cached tokens belong to one block each.

Letters: B shapes, P points, C channels, D width. On a level: G groups, L slots for the groups that are shown, K members of a group.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer import ops
from trainer.batch import Tensors
from trainer.encoders.blocks import PatchEmbed, Transformer, check_sizes, grouped, grouped_around, initialise, position_mlp
from trainer.encoders.names import from_names, to_names
from trainer.encoders.protocol import Encoded, Finer, Patches, Site

Three = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class PointM2AEConfig:
    """Sizes of the encoder, from the finest level to the coarsest. The defaults are the published ones."""

    channels: int = 3
    """3 for coordinates, 6 with colours."""
    counts: Three = (512, 256, 64)
    """Groups of each level."""
    sizes: Three = (16, 8, 8)
    """Members of a group: points, above the finest level centres of the level below."""
    embed: Three = (128, 256, 512)
    """Widths inside the patch embedding of the finest level."""
    widths: Three = (96, 192, 384)
    """Width of a token, by level."""
    depths: Three = (5, 5, 5)
    heads: int = 6
    radii: tuple[float, float, float] = (0.32, 0.64, 1.28)
    """Radius of attention in whole shapes, by level: a token attends to those whose centre is nearer, as in the published fine-tuning. 0
    for no limit. In masked shapes a token attends to all that are shown. So it does in the published linear probe: to have that, give all
    groups as visible."""
    drop_path: float = 0.1
    """Rate at the last block of the last level, rising linearly from 0."""
    mask_ratio: float = 0.8
    """Share of the coarsest groups hidden in masked modelling."""
    authors_padding: bool = False
    """Encode masked shapes as the authors' code does, where a shape depends on the others of its batch (`padded`). Only for comparison."""

    def __post_init__(self) -> None:
        check_sizes(self, "counts", "sizes", "embed", "widths", "depths")
        if self.heads < 1 or any(width % self.heads for width in self.widths):
            raise UserError(f"widths must be multiples of heads, got {self.widths} and {self.heads}")
        if list(self.counts) != sorted(self.counts, reverse=True):
            raise UserError(f"counts must not grow from fine to coarse, got {self.counts}")
        for below, size in zip(self.counts, self.sizes[1:], strict=False):
            if size > below:
                raise UserError(f"sizes must not exceed the groups of the level below, got {size} of {below}")
        if min(self.radii) < 0:
            raise UserError(f"radii must not be negative, got {self.radii}")

    @property
    def groups(self) -> int:
        return self.counts[-1]

    @property
    def centres(self) -> int:
        return self.counts[0]


S: Final = PointM2AEConfig()
CONFIGS: Final = {
    "pointm2ae-s": S,
    # Trains on two CPU cores, on 256 points or more.
    "pointm2ae-tiny": dataclasses.replace(
        S, counts=(256, 128, 32), embed=(32, 64, 128), widths=(24, 48, 96), depths=(2, 2, 2), heads=3, drop_path=0.0
    ),
}


@dataclass(frozen=True, kw_only=True)
class Shown(Tensors):
    """The groups of a level that are encoded. Every shape of a batch has the same number of slots for them, L."""

    group: Tensor
    """[B, L] int64: the group in each slot."""
    slot: Tensor
    """[B, G] int64: the slot of each group; -1 for groups that are hidden."""
    filled: Tensor | None
    """[B, L] bool: False for slots that only repeat a group, because another shape shows more. None: all are filled."""


class Tier(nn.Module):
    """The modules of one level: patch embedding, position embedding and Transformer."""

    def __init__(self, channels: int, embed: Three, width: int, depth: int, heads: int, drops: tuple[float, float]) -> None:
        super().__init__()
        self.embed = PatchEmbed(channels, embed, width)
        self.positions = position_mlp(width, hidden=width)
        self.transformer = Transformer(width, depth, heads, first_drop=drops[0], drop_path=drops[1])


class PointM2AE(nn.Module):
    """Point-M2AE, an encoder as `trainer.encoders.protocol.Encoder` says. It computes nothing for hidden groups, on any level."""

    def __init__(self, config: PointM2AEConfig) -> None:
        super().__init__()
        self.config = config
        self.dim, self.groups, self.centres = config.widths[-1], config.groups, config.centres
        self.group_size, self.mask_ratio = config.sizes[-1], config.mask_ratio
        below = (config.channels, *config.widths)
        embeds = (config.embed, *((below[i], below[i], config.widths[i]) for i in (1, 2)))
        drops = [
            (rates[0].item(), rates[-1].item()) for rates in torch.linspace(0, config.drop_path, sum(config.depths)).split(config.depths)
        ]
        self.tiers = nn.ModuleList(
            [Tier(below[i], embeds[i], config.widths[i], config.depths[i], config.heads, drops[i]) for i in range(3)]
        )
        self.norm = nn.LayerNorm(self.dim)
        self.apply(initialise)

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        """Group points [B, P, C] on three levels.

        Raises:
            UserError: the points have another width than the encoder reads, or are fewer than a grouping needs.
        """
        config = self.config
        levels = [grouped(points, ordered, groups=config.counts[0], group_size=config.sizes[0], channels=config.channels)]
        for count, size in zip(config.counts[1:], config.sizes[1:], strict=True):
            # The first centres in farthest-point order are the sampling of fewer: one sampling serves all levels.
            levels.append(grouped_around(levels[0].centres[:, :count], levels[-1].centres, size))
        return Patches(levels=tuple(levels))

    def forward(self, patches: Patches, visible: Tensor | None = None) -> Encoded:
        shown = everything(patches) if visible is None else self.reveal(patches, visible)
        encoded: list[Tensor] = []
        for i, (level, seen, tier) in enumerate(zip(patches.levels, shown, self.tiers, strict=True)):
            assert isinstance(tier, Tier)
            if encoded:
                # A group of this level is made of tokens of the level below. `slot` tells where they are; members of a shown group
                # are always shown themselves (`reveal`), so no -1 is looked up.
                members = ops.gather(level.members, seen.group)  # [B, L, K] groups of the level below
                members = ops.gather(encoded[-1], shown[i - 1].slot.gather(1, members.flatten(1)).view_as(members))  # [B, L, K, D below]
            else:
                members = ops.gather(level.groups.flatten(2), seen.group).unflatten(2, level.groups.shape[2:])  # [B, L, K, C]
            tokens, centres = tier.embed(members), ops.gather(level.centres, seen.group)  # [B, L, D] and [B, L, 3]
            # Slots that only fill up the batch are no keys for anybody. Their own queries are computed and never used.
            mask, radius = None if seen.filled is None else seen.filled[:, None, None], self.config.radii[i]  # [B, 1, 1, L]
            if visible is None and radius:
                # Local attention (https://arxiv.org/abs/2205.14401). The mask above is None here, since whole shapes fill their slots.
                mask = near(centres, radius)
            # The coarsest level of masked shapes is always filled, so the authors' padding changes only the levels below.
            if self.config.authors_padding and seen.filled is not None:
                tokens, centres, mask = padded(tokens, centres, seen.filled, radius)
            encoded.append(tier.transformer(tokens, tier.positions(centres), mask))
        # Only the last level has a norm here: the decoder has its own for the tokens that it takes from the middle one.
        finer = tuple(Finer(tokens=tokens, slot=seen.slot) for tokens, seen in zip(encoded[:-1], shown[:-1], strict=True))
        return Encoded(tokens=self.norm(encoded[-1]), visible=shown[-1].group, finer=finer)

    def reveal(self, patches: Patches, visible: Tensor) -> list[Shown]:
        """The groups to encode on each level, from fine to coarse, when the coarse groups `visible` [B, Gv] are shown.

        This is the multi-scale masking of the paper (https://arxiv.org/abs/2205.14401): the mask is drawn on the coarsest
        level, and a group below it is shown if any shown group has it as a member.
        """
        # On the coarsest level every shape shows as many groups as any other, so each slot is filled.
        rows = torch.arange(visible.shape[1], device=visible.device).expand_as(visible)
        slot = torch.full(patches.coarsest.centres.shape[:2], -1, device=visible.device).scatter(1, visible, rows)
        shown = [Shown(group=visible, slot=slot, filled=None)]
        # From coarse to fine, since what is shown above decides what is shown below. Were each level masked for itself, a shown group
        # could have hidden members, and its token would tell of them.
        for below, above in reversed(list(itertools.pairwise(patches.levels))):
            members = ops.gather(above.members, shown[0].group).flatten(1)  # [B, L * K]
            # Groups overlap, so shapes with equally many coarse groups show different numbers of fine ones.
            there = torch.zeros(below.centres.shape[:2], dtype=torch.bool, device=visible.device).scatter(1, members, True)  # [B, G]
            if self.config.authors_padding:
                there[0, 0] = True  # their code always shows the first group of the first shape
            shown.insert(0, slots(there, None if self.config.authors_padding else members.shape[1]))
        return shown

    def sites(self) -> list[Site]:
        """See `trainer.encoders.protocol.Tunable`."""
        return [site for level, tier in enumerate(self.tiers) for site in cast(Tier, tier).transformer.sites(level)]

    def decoder(self, depth: int, heads: int, drop_path: float) -> "Propagation":
        """See `trainer.encoders.protocol.OwnDecoder`."""
        return Propagation(self.config, depth, heads, drop_path)


def everything(patches: Patches) -> list[Shown]:
    """The groups to encode on each level when the whole shape is shown: all of them, each in the slot of its own number."""
    shapes = [level.centres.shape[:2] for level in patches.levels]
    # Whole shapes take the same way through `forward` as masked ones, with every group at its own number.
    rows = [torch.arange(g, device=patches.coarsest.centres.device).expand(b, -1) for b, g in shapes]
    return [Shown(group=row, slot=row, filled=None) for row in rows]


def slots(there: Tensor, bound: int | None) -> Shown:
    """Give the groups that are there [B, G] bool their slots, in the order of the groups.

    There are as many slots as the shape with most groups needs; in a compiled graph, as many as `bound` and G allow. Slots that are left
    over repeat groups of the same shape, and nothing attends to them.
    """
    count = there.sum(1, keepdim=True)  # [B, 1]
    # A compiled graph has fixed sizes: reading the largest count would break it in two.
    length = min(bound, there.shape[1]) if bound and torch.compiler.is_compiling() else int(count.max())
    column = torch.arange(length, device=there.device)
    # A stable sort keeps the groups' order. The remainder walks through them again: repeated groups are real ones, so the batch norms
    # of the patch embedding see a fair sample, which zeros would not be.
    first = there.byte().argsort(dim=1, descending=True, stable=True)  # [B, G] groups, those that are there in front
    return Shown(group=first.gather(1, column % count), slot=torch.where(there, there.cumsum(1) - 1, -1), filled=column < count)


def near(centres: Tensor, radius: float) -> Tensor:
    """Whether two centres of [B, G, 3] are nearer to each other than a radius, as an attention mask [B, 1, G, G] bool."""
    return (ops.squared_distances(centres, centres) < radius**2).unsqueeze(1)


def padded(tokens: Tensor, centres: Tensor, filled: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [B, L, D], centres [B, L, 3] and attention mask [B, 1, L, L] of masked shapes as the authors' code has them.

    Slots that are left over hold zeros at the origin, and tokens near the origin attend to them. The authors' code also shows the first
    group of the first shape on the lower levels (`reveal`).
    """
    empty = ~filled.unsqueeze(-1)  # [B, L, 1]
    tokens, centres = tokens.masked_fill(empty, 0), centres.masked_fill(empty, 0)
    # Their mask sees pairs of two filled or two empty slots, and then every pair within the radius, whatever the slots hold.
    both = filled.unsqueeze(1) & filled.unsqueeze(2) | ~filled.unsqueeze(1) & ~filled.unsqueeze(2)
    return tokens, centres, near(centres, radius) | both.unsqueeze(1)


class Propagation(nn.Module):
    """The objective of Point-M2AE's own pre-training: it predicts the coordinates of the middle level's hidden groups.

    The coarsest tokens and mask tokens are decoded. Interpolation as in PointNet++ carries them to the middle level. There they are fused
    with the encoder's own tokens, where it has any, and decoded again. As published, the number of predicted points is that of a group of
    the finest level, although the true groups have fewer: the Chamfer distance compares sets of different sizes.
    """

    def __init__(self, config: PointM2AEConfig, depth: int, heads: int, drop_path: float) -> None:
        super().__init__()
        _, middle, coarse = config.widths
        # The rate of drop path rises through both Transformers as if they were one.
        step = drop_path / (2 * depth - 1)
        self.mask_token = nn.Parameter(torch.empty(1, 1, coarse))
        self.coarse_positions, self.middle_positions = position_mlp(coarse, hidden=coarse), position_mlp(middle, hidden=middle)
        self.coarse = Transformer(coarse, depth, heads, (depth - 1) * step)
        self.middle = Transformer(middle, depth, heads, drop_path, depth * step)
        self.skip_norm = nn.LayerNorm(middle)
        self.fuse = nn.Sequential(nn.Linear(middle + coarse, middle), nn.BatchNorm1d(middle), nn.GELU())
        self.extract = nn.Sequential(
            nn.Linear(middle, middle), nn.BatchNorm1d(middle), nn.GELU(), nn.Linear(middle, middle), nn.BatchNorm1d(middle)
        )
        self.norm = nn.LayerNorm(middle)
        self.head = nn.Linear(middle, 3 * config.sizes[0])
        for module in (*self.coarse.modules(), *self.middle.modules()):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, encoded: Encoded, patches: Patches, hidden: Tensor) -> Tensor:
        """Chamfer-L2, scalar, between predicted and true members of the middle groups that are hidden, relative to their centres."""
        _, middle, coarse = patches.levels
        finer, tokens = encoded.finer[-1], encoded.tokens
        # Mask tokens in all places, then the encoder's tokens over those that were shown.
        full = self.mask_token.to(tokens.dtype).expand(*coarse.centres.shape[:2], -1)
        full = full.scatter(1, encoded.visible.unsqueeze(-1).expand_as(tokens), tokens)  # [B, G, D]
        full = self.coarse(full, self.coarse_positions(coarse.centres))
        out = finer.slot < 0  # [B, G of the middle level]
        # A hidden group has no token to skip with: it gets zeros after the norm, since a norm would turn zeros into its bias.
        skip = ops.gather(self.skip_norm(finer.tokens), finer.slot.clamp(min=0)).masked_fill(out.unsqueeze(-1), 0)
        both = torch.cat([skip, ops.interpolate(middle.centres, coarse.centres, full)], -1)
        fused = self.fuse(both.flatten(0, 1))
        fused = F.gelu(self.extract(fused) + fused).unflatten(0, both.shape[:2])  # [B, G, D]
        decoded = self.middle(fused, self.middle_positions(middle.centres))
        predicted = self.head(self.norm(decoded)).unflatten(-1, (-1, 3))  # [B, G, K of the finest level, 3]
        # Only groups that no shown token covers count: the others could be copied.
        return ops.chamfer(predicted, middle.groups, out)


def build(config: PointM2AEConfig) -> PointM2AE:
    return PointM2AE(config)


PUBLISHED: Final = {
    **{
        f"h_encoder.{theirs.format(i)}.": f"encoder.tiers.{i}.{ours}."
        for i in range(3)
        for theirs, ours in {
            "token_embed.{}.first_conv.0": "embed.lift",
            "token_embed.{}.first_conv.3": "embed.widen",
            "token_embed.{}.second_conv.0": "embed.local",
            "token_embed.{}.second_conv.3": "embed.out",
            "token_embed.{}.first_conv.1": "embed.norm1",
            "token_embed.{}.second_conv.1": "embed.norm2",
            "encoder_pos_embeds.{}": "positions",
            "encoder_blocks.{}": "transformer",
        }.items()
    },
    "h_encoder.encoder_norms.1.": "reconstruction.skip_norm.",
    "h_encoder.encoder_norms.2.": "encoder.norm.",
    "mask_token": "reconstruction.mask_token",
    "h_decoder.0.": "reconstruction.coarse.",
    "h_decoder.1.": "reconstruction.middle.",
    "decoder_pos_embeds.0.": "reconstruction.coarse_positions.",
    "decoder_pos_embeds.1.": "reconstruction.middle_positions.",
    "token_prop.0.fuse.net.": "reconstruction.fuse.",
    "token_prop.0.extraction.operation.0.net1.0.": "reconstruction.extract.0.",
    "token_prop.0.extraction.operation.0.net1.1.": "reconstruction.extract.1.",
    "token_prop.0.extraction.operation.0.net2.0.": "reconstruction.extract.3.",
    "token_prop.0.extraction.operation.0.net2.1.": "reconstruction.extract.4.",
    "decoder_norm.": "reconstruction.norm.",
    "rec_head.": "reconstruction.head.",
}
"""Prefix of a name in the published pre-training model, to ours in a `trainer.distill.Distill` with coordinate reconstruction."""

_UNUSED: Final = "h_encoder.encoder_norms.0."
"""Prefix of a norm in the published model whose result is never used, so that it keeps the weights it began with."""
_MASK_TOKEN: Final = "mask_token"
"""Published name of the mask token, which has the shape [1, D] there and [1, 1, D] here."""


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published Point-M2AE pre-training model (its `base_model`) under our names.

    Raises:
        UserError: such a model does not have a tensor of this name.
    """
    used = {name: value for name, value in state.items() if not name.removeprefix("module.").startswith(_UNUSED)}
    ours = from_names(used, PUBLISHED, "Point-M2AE")
    if (token := PUBLISHED[_MASK_TOKEN]) in ours:
        ours[token] = ours[token].unsqueeze(0)
    return ours


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an encoder of ours under the names of its authors: the inverse of `from_published`."""
    theirs = to_names(state, PUBLISHED, "Point-M2AE")
    if _MASK_TOKEN in theirs:
        theirs[_MASK_TOKEN] = theirs[_MASK_TOKEN].squeeze(0)
    finest = len(state["encoder.tiers.0.positions.2.bias"])
    return theirs | {_UNUSED + "weight": torch.ones(finest), _UNUSED + "bias": torch.zeros(finest)}
