"""Point-M2AE (https://arxiv.org/abs/2205.14401): three levels of tokens. Each level is built from the level below. Masking goes from coarse
to fine.

    encoder = build("pointm2ae-s")                       # trainer.encoders.catalog
    encoder.load_state_dict(...)                         # published weights: `from_published`

The first points in farthest-point order are a sample of fewer points. So the centres of a level are the first centres of the level below:
one sampling is enough for all levels, and blocks stored in that order need no sampling.

The authors pre-trained on 2048 points and used 1024 for the linear probe, with the same groups and radii. So the encoder takes any number
of points that is enough for the finest level's centres. Stored blocks of 1024 points work without changes; `mmpd-cache build --set
points.count=2048` stores the published number. Blocks are not joined: a guide's cached tokens belong to one block each.

Letters: B shapes, P points, C channels, D width. On a level: G groups, L slots for the visible groups, K members of a group.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import added
from trainer import ops
from trainer.batch import Tensors
from trainer.encoders.blocks import (
    PatchEmbed,
    Transformer,
    chamfer,
    check_sizes,
    cleared,
    grouped,
    grouped_around,
    in_turn,
    initialise,
    keys,
    on_rows,
    position_mlp,
)
from trainer.encoders.names import from_names, to_names
from trainer.encoders.protocol import Encoded, Finer, Missing, Patches, Scale, Site, refuse_masked

Three = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class PointM2AEConfig:
    """Sizes of the encoder, from the finest level to the coarsest. The defaults are the published ones."""

    channels: int = 3
    """3 for coordinates, 6 with colours."""
    counts: Three = (512, 256, 64)
    """Number of groups of each level."""
    sizes: Three = (16, 8, 8)
    """Number of members of a group, by level: points on the finest level, centres of the level below on the others."""
    embed: Three = (128, 256, 512)
    """Widths inside the patch embedding of the finest level."""
    widths: Three = (96, 192, 384)
    """Width of a token, by level."""
    depths: Three = (5, 5, 5)
    heads: int = 6
    radii: tuple[float, float, float] = (0.32, 0.64, 1.28)
    """Radius of attention in whole shapes, by level; 0 for no limit. A token attends to tokens whose centre is nearer than the radius, as
    in the published fine-tuning. In masked shapes a token attends to all visible tokens. The published linear probe has no radius either:
    pass all groups as visible for that."""
    drop_path: float = 0.1
    """Rate at the last block of the last level, rising linearly from 0."""
    mask_ratio: float = 0.8
    """Share of the coarsest groups hidden in masked modelling."""
    authors_padding: bool = False
    """Encode masked shapes as the authors' code does (`padded`): a shape then depends on the other shapes of its batch. Only for
    comparison."""
    missing: Missing = added("repeat")
    """What is made of points that repeat others, because a shape has fewer than a block. `repeat`: they are points as any. `mask`: they are
    left out of neighbourhoods, and groups around them out of everything."""

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
        if self.authors_padding and self.missing == "mask":
            raise UserError(
                "missing=mask has no effect on padding as the authors have it, which shows every shape to others: leave one out"
            )

    @property
    def groups(self) -> int:
        return self.counts[-1]

    @property
    def centres(self) -> int:
        return self.counts[0]


S: Final = PointM2AEConfig()
CONFIGS: Final = {
    "pointm2ae-s": S,
    # Point-M2AE has one size. Its last level is as wide as ViT-S; those of these sizes are as wide as ViT-B, and as wide and twice as deep
    # as ViT-L. The levels below keep their ratios.
    "pointm2ae-b": dataclasses.replace(S, widths=(192, 384, 768), heads=12),
    "pointm2ae-l": dataclasses.replace(S, widths=(256, 512, 1024), depths=(10, 10, 10), heads=16),
    # Trains on two CPU cores, on 256 points or more.
    "pointm2ae-tiny": dataclasses.replace(
        S, counts=(256, 128, 32), embed=(32, 64, 128), widths=(24, 48, 96), depths=(2, 2, 2), heads=3, drop_path=0.0
    ),
}


@dataclass(frozen=True, kw_only=True)
class Shown(Tensors):
    """The groups of a level that are encoded. Every shape of a batch has the same number of slots, L."""

    group: Tensor
    """[B, L] int64: the group in each slot."""
    slot: Tensor
    """[B, G] int64: the slot of each group; -1 for groups that are hidden."""
    filled: Tensor | None
    """[B, L] bool: False for slots that only repeat a group, because another shape has more visible groups, or that hold a missing one
    (`protocol.Level.real`). None: all slots are filled."""


class Tier(nn.Module):
    """The modules of one level: patch embedding, position embedding and Transformer."""

    def __init__(self, channels: int, embed: Three, width: int, depth: int, heads: int, drops: tuple[float, float]) -> None:
        super().__init__()
        self.embed = PatchEmbed(channels, embed, width)
        self.positions = position_mlp(width, hidden=width)
        self.transformer = Transformer(width, depth, heads, first_drop=drops[0], drop_path=drops[1])


class PointM2AE(nn.Module):
    """Point-M2AE, an implementation of `trainer.encoders.protocol.Encoder`. On every level it computes only visible groups."""

    def __init__(self, config: PointM2AEConfig) -> None:
        super().__init__()
        self.config = config
        self.dim, self.groups, self.centres = config.widths[-1], config.groups, config.centres
        self.group_size, self.mask_ratio = config.sizes[-1], config.mask_ratio
        below = (config.channels, *config.widths)
        embeds = (config.embed, *((below[i], below[i], config.widths[i]) for i in (1, 2)))
        drops = [
            (rates[0].item(), rates[-1].item())
            for rates in torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").split(config.depths)
        ]
        self.tiers = nn.ModuleList(
            [Tier(below[i], embeds[i], config.widths[i], config.depths[i], config.heads, drops[i]) for i in range(3)]
        )
        self.norm = nn.LayerNorm(self.dim)
        self.apply(initialise)

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        """Group points [B, P, C] on three levels.

        Raises:
            UserError: the points have another number of channels than the encoder reads, or are too few for the groups.
        """
        config = self.config
        finest = {"groups": config.counts[0], "group_size": config.sizes[0], "channels": config.channels}
        levels = [grouped(points, ordered, **finest, missing=config.missing)]
        for count, size in zip(config.counts[1:], config.sizes[1:], strict=True):
            # The first centres in farthest-point order are a sample of fewer centres: one sampling is enough for all levels.
            levels.append(grouped_around(levels[0].centres[:, :count], levels[-1].centres, size, levels[-1].real))
        return Patches(levels=tuple(levels))

    def forward(self, patches: Patches, visible: Tensor | None = None) -> Encoded:
        shown = everything(patches) if visible is None else self.reveal(patches, visible)
        encoded = self._levels(patches, shown, whole=visible is None)
        # Only the last level has a norm here: the decoder has its own norm for the tokens of the middle level.
        finer = tuple(Finer(tokens=tokens, slot=seen.slot) for tokens, seen in zip(encoded[:-1], shown[:-1], strict=True))
        real = shown[-1].filled
        shown_groups = shown[-1].group if visible is None else visible
        return Encoded(tokens=cleared(self.norm(encoded[-1]), real), visible=shown_groups, finer=finer, real=real)

    def layers(self, patches: Patches, parts: int = 3) -> tuple[Scale, ...]:
        """See `trainer.encoders.protocol.Layered`. There is one scale for each level, whatever `parts` is. The levels below the coarsest
        have no norm of their own, so theirs has no weights."""
        refuse_masked(self, "features of several depths")
        *finer, last = self._levels(patches, everything(patches), whole=True)
        tokens = [*(F.layer_norm(level, level.shape[-1:]) for level in finer), self.norm(last)]
        return tuple(Scale(tokens=own, centres=level.centres) for own, level in zip(tokens, patches.levels, strict=True))

    def _levels(self, patches: Patches, shown: Sequence[Shown], whole: bool) -> list[Tensor]:
        """The tokens [B, L, D] in the slots of each level, from fine to coarse, before any norm. `whole`: no group is hidden."""
        encoded: list[Tensor] = []
        for i, (level, seen, tier) in enumerate(zip(patches.levels, shown, self.tiers, strict=True)):
            assert isinstance(tier, Tier)
            if whole:  # every group is in its own slot, so nothing needs to be looked for
                members = ops.gather(encoded[-1], level.members) if encoded else level.groups
            elif encoded:
                # A group of this level consists of tokens of the level below. `slot` has their positions. Members of a visible group
                # are always visible (`reveal`), so no -1 is looked up.
                members = ops.gather(level.members, seen.group)  # [B, L, K] groups of the level below
                members = ops.gather(encoded[-1], shown[i - 1].slot.gather(1, members.flatten(1)).view_as(members))  # [B, L, K, D below]
            else:
                members = ops.gather(level.groups.flatten(2), seen.group).unflatten(2, level.groups.shape[2:])  # [B, L, K, C]
            # In training the batch norms see every visible group once, whatever the other shapes of the batch show.
            tokens = on_rows(tier.embed, members, seen.filled)
            centres = level.centres if whole else ops.gather(level.centres, seen.group)  # [B, L, 3]
            # No token attends to slots that only fill up the batch. Their own results are computed and not used.
            mask, radius = keys(seen.filled), self.config.radii[i]  # [B, 1, 1, L]
            if whole and radius:
                # Local attention, for whole shapes only. They fill all slots but those of missing groups. The centre of such a group is
                # that of another one, so it has something to attend to, too.
                mask = near(centres, radius) if mask is None else near(centres, radius) & mask
            # The coarsest level of masked shapes is always filled, so the authors' padding changes only the levels below.
            if self.config.authors_padding and seen.filled is not None:
                tokens, centres, mask = padded(tokens, centres, seen.filled, radius)
            encoded.append(tier.transformer(tokens, tier.positions(centres), mask))
        return encoded

    def reveal(self, patches: Patches, visible: Tensor) -> list[Shown]:
        """The groups to encode on each level, from fine to coarse, if the coarse groups `visible` [B, Gv] are visible.

        This is the multi-scale masking of the paper (https://arxiv.org/abs/2205.14401): the mask is drawn on the coarsest level. On the
        other levels a group is visible if it is a member of any visible group.
        """
        # On the coarsest level all shapes have the same number of visible groups, so all slots are filled, or hold a missing group.
        rows = torch.arange(visible.shape[1], device=visible.device).expand_as(visible)
        slot = torch.full(patches.coarsest.centres.shape[:2], -1, device=visible.device).scatter(1, visible, rows)
        real = patches.coarsest.real
        filled = None if real is None else real.gather(1, visible)
        if filled is not None:  # a missing group shows no members: its slot repeats a group that is there
            visible = visible.where(filled, visible.gather(1, filled.byte().argmax(1, keepdim=True)))
        shown = [Shown(group=visible, slot=slot, filled=filled)]
        # From coarse to fine, since the visible groups of a level decide those of the level below. If each level had its own mask, a
        # visible group could have hidden members, and its token would leak information about them.
        for below, above in reversed(list(itertools.pairwise(patches.levels))):
            members = ops.gather(above.members, shown[0].group).flatten(1)  # [B, L * K]
            # Groups overlap, so shapes with the same number of coarse groups may have different numbers of fine groups.
            there = torch.zeros(below.centres.shape[:2], dtype=torch.bool, device=visible.device).scatter(1, members, True)  # [B, G]
            if self.config.authors_padding:
                there[0, 0] = True  # in their code the first group of the first shape is always visible
            shown.insert(0, slots(there, None if self.config.authors_padding else members.shape[1]))
        return shown

    def sites(self) -> list[Site]:
        """See `trainer.encoders.protocol.Tunable`."""
        return [site for level, tier in enumerate(self.tiers) for site in cast(Tier, tier).transformer.sites(level)]

    def decoder(self, depth: int, heads: int, drop_path: float) -> "Propagation":
        """See `trainer.encoders.protocol.OwnDecoder`."""
        return Propagation(self.config, depth, heads, drop_path)


def everything(patches: Patches) -> list[Shown]:
    """The groups to encode on each level if the whole shape is visible: all groups; group i is in slot i."""
    shapes = [level.centres.shape[:2] for level in patches.levels]
    # Whole shapes use the same code in `forward` as masked ones.
    rows = [torch.arange(g, device=patches.coarsest.centres.device).expand(b, -1) for b, g in shapes]
    return [Shown(group=row, slot=row, filled=level.real) for row, level in zip(rows, patches.levels, strict=True)]


def slots(there: Tensor, bound: int | None) -> Shown:
    """Assign slots to the visible groups [B, G] bool, in the order of the groups.

    The number of slots is the largest number of visible groups of any shape; in a compiled graph it is the smaller of `bound` and G. Unused
    slots repeat groups of the same shape, and no token attends to them.
    """
    count = there.sum(1, keepdim=True)  # [B, 1]
    # A compiled graph has fixed sizes: reading the largest count would cause a graph break.
    length = min(bound, there.shape[1]) if bound and torch.compiler.is_compiling() else int(count.max())
    column = torch.arange(length, device=there.device)
    # A stable sort keeps the groups' order. The remainder operation repeats groups. In both kinds of graphs these do not count in batch
    # norms: see `blocks.on_rows`.
    first = there.byte().argsort(dim=1, descending=True, stable=True)  # [B, G] groups, the visible ones first
    return Shown(group=first.gather(1, column % count), slot=torch.where(there, there.cumsum(1) - 1, -1), filled=column < count)


def near(centres: Tensor, radius: float) -> Tensor:
    """Attention mask [B, 1, G, G] bool: whether the distance of two centres [B, G, 3] is below a radius."""
    return (ops.squared_distances(centres, centres) < radius**2).unsqueeze(1)


def padded(tokens: Tensor, centres: Tensor, filled: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [B, L, D], centres [B, L, 3] and attention mask [B, 1, L, L] of masked shapes, as in the authors' code.

    Unused slots hold zeros at the origin, and tokens near the origin attend to them. In the authors' code, the first group of the first
    shape is also always visible on the lower levels (`reveal`).
    """
    empty = ~filled.unsqueeze(-1)  # [B, L, 1]
    tokens, centres = tokens.masked_fill(empty, 0), centres.masked_fill(empty, 0)
    # Their mask allows pairs of two filled or two empty slots, and in addition every pair of slots within the radius.
    both = filled.unsqueeze(1) & filled.unsqueeze(2) | ~filled.unsqueeze(1) & ~filled.unsqueeze(2)
    return tokens, centres, near(centres, radius) | both.unsqueeze(1)


class Propagation(nn.Module):
    """The objective of Point-M2AE's own pre-training: it predicts the coordinates of the middle level's hidden groups.

    A decoder reads the coarsest tokens and mask tokens. They are interpolated to the middle level as in PointNet++, fused with the
    encoder's tokens of visible groups there, and decoded again. As published, each prediction has as many points as a group of the finest
    level, although the true groups have fewer: the Chamfer distance compares sets of different sizes.
    """

    def __init__(self, config: PointM2AEConfig, depth: int, heads: int, drop_path: float) -> None:
        super().__init__()
        _, middle, coarse = config.widths
        self.missing = config.missing
        # The rate of drop path rises over both Transformers, as over a single one.
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
        """Chamfer-L2, a scalar, between predicted and true members of the hidden middle groups, relative to their centres."""
        _, middle, coarse = patches.levels
        finer, tokens = encoded.finer[-1], encoded.tokens
        # Mask tokens for all groups, then the encoder's tokens for the visible groups.
        full = self.mask_token.to(tokens.dtype).expand(*coarse.centres.shape[:2], -1)
        full = full.scatter(1, encoded.visible.unsqueeze(-1).expand_as(tokens), tokens)  # [B, G, D]
        full = self.coarse(full, self.coarse_positions(coarse.centres), keys(coarse.real))
        out = finer.slot < 0  # [B, G of the middle level]
        # Nothing is interpolated from groups that are missing: they are infinitely far.
        near_by = coarse.centres if coarse.real is None else coarse.centres.masked_fill(~coarse.real.unsqueeze(-1), torch.inf)
        # A hidden group has no token for the skip connection. It gets zeros after the norm, since the norm turns zeros into its bias.
        skip = ops.gather(self.skip_norm(finer.tokens), finer.slot.clamp(min=0)).masked_fill(out.unsqueeze(-1), 0)
        both = torch.cat([skip, ops.interpolate(middle.centres, near_by, full)], -1)
        fused = on_rows(self._fused, both, middle.real)  # [B, G, D]
        decoded = self.middle(fused, self.middle_positions(middle.centres), keys(middle.real))
        predicted = self.head(self.norm(decoded)).unflatten(-1, (-1, 3))  # [B, G, K of the finest level, 3]
        # The loss counts only hidden groups: visible groups could be copied.
        return chamfer(predicted, middle.groups, out if middle.real is None else out & middle.real, self.missing)

    def _fused(self, both: Tensor, rows: Tensor | None) -> Tensor:
        """The two kinds of tokens of the middle level [B, G, C], mixed, [B, G, D]. rows: which count in batch norms, [B, G] bool."""
        counts = None if rows is None else rows.flatten()
        fused = in_turn(self.fuse, both.flatten(0, 1), counts)
        mixed: Tensor = F.gelu(in_turn(self.extract, fused, counts) + fused).unflatten(0, both.shape[:2])
        return mixed


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
"""Prefixes of tensor names: from the published pre-training model to our `trainer.distill.Distill` with coordinate reconstruction."""

_UNUSED: Final = "h_encoder.encoder_norms.0."
"""Prefix of a norm in the published model whose result is not used, so it keeps its initial weights."""
_MASK_TOKEN: Final = "mask_token"
"""Published name of the mask token. Its shape is [1, D] in published files, and [1, 1, D] here."""


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published Point-M2AE pre-training model (its `base_model`) under our names.

    Raises:
        UserError: a name in `state` is unknown for this model.
    """
    used = {name: value for name, value in state.items() if not name.removeprefix("module.").startswith(_UNUSED)}
    ours = from_names(used, PUBLISHED, "Point-M2AE")
    if (token := PUBLISHED[_MASK_TOKEN]) in ours:
        ours[token] = ours[token].unsqueeze(0)
    return ours


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of our encoder under the authors' names: the inverse of `from_published`."""
    theirs = to_names(state, PUBLISHED, "Point-M2AE")
    if _MASK_TOKEN in theirs:
        theirs[_MASK_TOKEN] = theirs[_MASK_TOKEN].squeeze(0)
    finest = len(state["encoder.tiers.0.positions.2.bias"])
    return theirs | {_UNUSED + "weight": torch.ones(finest), _UNUSED + "bias": torch.zeros(finest)}
