"""The Point-MAE Vision Transformer (https://arxiv.org/abs/2203.06604): mini-PointNet patches, position MLP, pre-norm blocks.

    encoder = build("pointmae-s")                        # trainer.encoders.catalog
    encoder.load_state_dict(...)                         # published weights: `from_published`

Only visible groups are embedded. A class token is optional; fine-tuned models and ACT have one.

Letters: B shapes, P points, C channels, G groups, Gv visible ones, K points per group, S learnt tokens, D width.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import added
from trainer import ops
from trainer.encoders.blocks import (
    Block,
    LearntTokens,
    PatchEmbed,
    Transformer,
    check_sizes,
    cleared,
    evenly,
    grouped,
    initialise,
    keys,
    on_rows,
    position_mlp,
)
from trainer.encoders.names import from_names, to_names
from trainer.encoders.protocol import Encoded, Level, Missing, Patches, Scale, Site, refuse_masked


@dataclass(frozen=True, kw_only=True)
class PointMAEConfig:
    """Sizes of the encoder. The defaults are the published ones."""

    channels: int = 3
    """3 for coordinates, 6 with colours."""
    groups: int = 64
    """Number of groups of a shape, which are its tokens, G."""
    group_size: int = 32
    """Points per group, K."""
    embed: tuple[int, int, int] = (128, 256, 512)
    """Widths inside the patch embedding."""
    reduce: int = 0
    """Width of the patch embedding, which a linear layer then maps to `dim`; 0 for width `dim` without that layer."""
    dim: int = 384
    """Width of a token, D."""
    depth: int = 12
    heads: int = 6
    drop_path: float = 0.1
    """Rate at the last block, rising linearly from 0."""
    mask_ratio: float = 0.6
    """Share of groups hidden in masked modelling."""
    class_token: Literal["none", "attended", "joined"] = "none"
    """Whether there is a learnt class token that the groups attend to. `attended`: its output is not returned. `joined`: every output token
    is [class; group], 2 D wide. So the maximum over tokens is [class; max of groups], the input of the published classifiers."""
    missing: Missing = added("repeat")
    """What is made of points that repeat others, because a shape has fewer than a block. `repeat`: they are points as any. `mask`: they are
    left out of neighbourhoods, and groups around them out of everything."""

    def __post_init__(self) -> None:
        check_sizes(self, "groups", "group_size", "dim", "depth", "heads", "embed")
        if self.reduce < 0:
            raise UserError(f"reduce must not be negative, got {self.reduce}")

    @property
    def centres(self) -> int:
        return self.groups


S: Final = PointMAEConfig()
# Point-MAE has one size. These are ViT-B and ViT-L (https://arxiv.org/abs/2010.11929, table 1), as in PointGPT-B and PointGPT-L
# (https://arxiv.org/abs/2305.11487), whose patch embedding is no wider inside either.
B: Final = dataclasses.replace(S, dim=768, depth=12, heads=12)
L: Final = dataclasses.replace(S, dim=1024, depth=24, heads=16)
CONFIGS: Final = {
    "pointmae-s": S,
    "pointmae-b": B,
    "pointmae-l": L,
    # Trains on two CPU cores.
    "pointmae-tiny": dataclasses.replace(S, groups=32, embed=(32, 64, 128), dim=96, depth=4, drop_path=0.0),
}


class PointMAE(nn.Module):
    """Point-MAE's Transformer, an implementation of `trainer.encoders.protocol.Encoder`."""

    learnt: ClassVar[int] = 1
    """Number of learnt tokens, S, if the configuration has any."""
    block: ClassVar[type[Block]] = Block

    def __init__(self, config: PointMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.joined = config.class_token == "joined"
        learnt = 0 if config.class_token == "none" else self.learnt
        self.dim = config.dim * (1 + learnt if self.joined else 1)
        self.groups, self.group_size, self.mask_ratio, self.centres = config.groups, config.group_size, config.mask_ratio, config.centres
        self.embed = PatchEmbed(config.channels, config.embed, config.reduce or config.dim)
        self.reduce = nn.Linear(config.reduce, config.dim) if config.reduce else nn.Identity()
        self.positions = position_mlp(config.dim)
        self.learnt_tokens = LearntTokens(learnt, config.dim) if learnt else None
        self.transformer = Transformer(config.dim, config.depth, config.heads, config.drop_path, block=self.block, learnt=learnt)
        self.norm = nn.LayerNorm(config.dim)
        self.apply(initialise)

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        """Group points [B, P, C] on one level.

        Raises:
            UserError: the points have another number of channels than the encoder reads, or are too few for the groups.
        """
        config = self.config
        level = grouped(points, ordered, groups=self.groups, group_size=self.group_size, channels=config.channels, missing=config.missing)
        return Patches(levels=(level,))

    def forward(self, patches: Patches, visible: Tensor | None = None) -> Encoded:
        level = patches.coarsest
        groups, centres, real = level.groups, level.centres, level.real
        if visible is None:
            visible = torch.arange(self.groups, device=centres.device).expand(centres.shape[0], -1)
        else:
            groups = ops.gather(groups.flatten(2), visible).unflatten(2, groups.shape[2:])  # [B, Gv, K, C]
            centres = ops.gather(centres, visible)
            real = None if real is None else real.gather(1, visible)
        tokens = self._finished(self._states(groups, centres, (self.config.depth,), real)[0])
        return Encoded(tokens=cleared(tokens, real), visible=visible, real=real)

    def _finished(self, tokens: Tensor) -> Tensor:
        """The output tokens [B, Gv, D or (S + 1) D] for tokens [B, S + Gv, D] after all blocks: normed, without or joined with the learnt
        ones."""
        tokens = self.norm(tokens)
        if self.learnt_tokens is None:
            return tokens
        learnt, tokens = tokens.tensor_split((self.learnt,), 1)
        if self.joined:
            tokens = torch.cat([learnt.flatten(1).unsqueeze(1).expand(-1, tokens.shape[1], -1), tokens], -1)
        return tokens

    @property
    def width(self) -> int:
        """See `trainer.encoders.protocol.Stacked`."""
        return self.config.dim

    def read(self, tokens: Tensor, level: Level) -> Tensor:
        """See `trainer.encoders.protocol.Stacked`."""
        positions = torch.zeros_like(tokens)
        if self.learnt_tokens is not None:
            tokens, positions = self.learnt_tokens(tokens, positions)
        return self._finished(self.transformer(tokens, positions))

    def layers(self, patches: Patches, parts: int = 3) -> tuple[Scale, ...]:
        """See `trainer.encoders.protocol.Layered`."""
        refuse_masked(self, "features of several depths")
        level = patches.coarsest
        states = self._states(level.groups, level.centres, evenly(self.config.depth, parts), None)
        return tuple(Scale(tokens=self.norm(state)[:, -self.groups :], centres=level.centres) for state in states)

    def _states(self, groups: Tensor, centres: Tensor, after: Sequence[int], real: Tensor | None) -> list[Tensor]:
        """The tokens [B, S + Gv, D] of groups [B, Gv, K, C] after each of the given numbers of blocks, before the norm. Learnt tokens, if
        there are any, come first. real: [B, Gv] bool, as in `Encoded`."""
        tokens, positions = self.reduce(on_rows(self.embed, groups, real)), self.positions(centres)  # [B, Gv, D] each
        if self.learnt_tokens is not None:
            tokens, positions = self.learnt_tokens(tokens, positions)
        return self.transformer.states(tokens, positions, keys(real, self.learnt if self.learnt_tokens is not None else 0), after)

    def sites(self) -> list[Site]:
        """See `trainer.encoders.protocol.Tunable`."""
        return [dataclasses.replace(site, embed=self.embedded) for site in self.transformer.sites()]

    def embedded(self, level: Level) -> Tensor:
        """See `trainer.encoders.protocol.Site.embed`."""
        tokens: Tensor = self.reduce(self.embed(level.groups)) + self.positions(level.centres)
        return tokens


def build(config: PointMAEConfig) -> PointMAE:
    return PointMAE(config)


PREFIX: Final = "MAE_encoder."
PUBLISHED: Final = {
    "MAE_encoder.encoder.first_conv.0.": "encoder.embed.lift.",
    "MAE_encoder.encoder.first_conv.1.": "encoder.embed.norm1.",
    "MAE_encoder.encoder.first_conv.3.": "encoder.embed.widen.",
    "MAE_encoder.encoder.second_conv.0.": "encoder.embed.local.",
    "MAE_encoder.encoder.second_conv.1.": "encoder.embed.norm2.",
    "MAE_encoder.encoder.second_conv.3.": "encoder.embed.out.",
    "MAE_encoder.reduce_dim.": "encoder.reduce.",
    "MAE_encoder.cls_token": "encoder.learnt_tokens.tokens.0",
    "MAE_encoder.cls_pos": "encoder.learnt_tokens.positions.0",
    "MAE_encoder.pos_embed.": "encoder.positions.",
    "MAE_encoder.blocks.": "encoder.transformer.",
    "MAE_encoder.norm.": "encoder.norm.",
    "mask_token": "reconstruction.mask_token",
    "decoder_pos_embed.": "reconstruction.positions.",
    "MAE_decoder.blocks.": "reconstruction.decoder.blocks.",
    "MAE_decoder.norm.": "reconstruction.norm.",
    "increase_dim.0.": "reconstruction.head.",
}
"""Prefixes of tensor names: from the published pre-training model to our `trainer.distill.Distill` with coordinate reconstruction.
Point-MAE has no class token; models of other authors use the name `cls_token` for it."""


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published Point-MAE pre-training model (its `base_model`) under our names.

    Raises:
        UserError: a name in `state` is unknown for this model.
    """
    return from_names(state, PUBLISHED, "Point-MAE")


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of our encoder under the authors' names: the inverse of `from_published`."""
    return to_names(state, PUBLISHED, "Point-MAE")
