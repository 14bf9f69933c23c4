"""The Point-MAE Vision Transformer (https://arxiv.org/abs/2203.06604): mini-PointNet patches, position MLP, pre-norm blocks.

    encoder = build("pointmae-s")                        # trainer.encoders.catalog
    encoder.load_state_dict(...)                         # published weights: `from_published`

Only the groups it is shown are embedded.

Letters: B shapes, P points, C channels, G groups, Gv visible ones, K points per group, D width.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from trainer import ops
from trainer.encoders.blocks import PatchEmbed, Transformer, initialise, position_mlp
from trainer.encoders.catalog import Encoded, Level, Patches


@dataclass(frozen=True, kw_only=True)
class PointMAEConfig:
    """Sizes of the encoder. The defaults are the published ones."""

    channels: int = 3
    """3 for coordinates, 6 with colours."""
    groups: int = 64
    """Tokens of a shape, G."""
    group_size: int = 32
    """Points per group, K."""
    embed: tuple[int, int, int] = (128, 256, 512)
    """Widths inside the patch embedding."""
    dim: int = 384
    """Width of a token, D."""
    depth: int = 12
    heads: int = 6
    drop_path: float = 0.1
    """Rate at the last block, rising linearly from 0."""
    mask_ratio: float = 0.6
    """Share of groups hidden in masked modelling."""

    def __post_init__(self) -> None:
        if self.channels not in (3, 6):
            raise ValueError(f"channels must be 3 (coordinates) or 6 (with colours), got {self.channels}")
        sizes = {name: getattr(self, name) for name in ("groups", "group_size", "dim", "depth", "heads")} | {"embed": min(self.embed)}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads, got {self.dim} and {self.heads}")
        if not 0 <= self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie in [0, 1), got {self.mask_ratio}")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1), got {self.drop_path}")

    @property
    def centres(self) -> int:
        return self.groups


S: Final = PointMAEConfig()
CONFIGS: Final = {
    "pointmae-s": S,
    # Trains on two CPU cores.
    "pointmae-tiny": dataclasses.replace(S, groups=32, embed=(32, 64, 128), dim=96, depth=4, drop_path=0.0),
}


class PointMAE(nn.Module):
    """See `trainer.encoders.catalog.Encoder`."""

    def __init__(self, config: PointMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.dim, self.groups, self.group_size, self.mask_ratio = config.dim, config.groups, config.group_size, config.mask_ratio
        self.centres = config.centres
        self.embed = PatchEmbed(config.channels, config.embed, config.dim)
        self.positions = position_mlp(config.dim)
        self.transformer = Transformer(config.dim, config.depth, config.heads, config.drop_path)
        self.norm = nn.LayerNorm(config.dim)
        self.apply(initialise)

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        """One level. Raises ValueError for points of another width or fewer than a grouping needs."""
        count, needed = points.shape[1], max(self.groups, self.group_size)
        if points.shape[2] != self.config.channels:
            raise ValueError(
                f"points have {points.shape[2]} channels, the encoder was built for {self.config.channels}: set its `channels`"
            )
        if count < needed:
            raise ValueError(f"{self.groups} groups of {self.group_size} need at least {needed} points, got {count}")
        xyz = points[..., :3]
        first = xyz if ordered else ops.gather(xyz, ops.farthest_points(xyz, self.groups))
        centres = first[:, : self.groups]  # [B, G, 3]
        members = ops.nearest(centres, xyz, self.group_size)
        groups = ops.gather(points, members)  # [B, G, K, C]
        relative = groups[..., :3] - centres.unsqueeze(2)
        groups = torch.cat([relative, groups[..., 3:]], -1)
        return Patches(levels=(Level(groups=groups, centres=centres, members=members),))

    def forward(self, patches: Patches, visible: Tensor | None = None) -> Encoded:
        level = patches.coarsest
        groups, centres = level.groups, level.centres
        if visible is None:
            visible = torch.arange(self.groups, device=centres.device).expand(len(centres), -1)
        else:
            groups = ops.gather(groups.flatten(2), visible).unflatten(2, groups.shape[2:])  # [B, Gv, K, C]
            centres = ops.gather(centres, visible)
        tokens = self.transformer(self.embed(groups), self.positions(centres))  # [B, Gv, D]
        return Encoded(tokens=self.norm(tokens), visible=visible)


def build(config: PointMAEConfig) -> PointMAE:
    return PointMAE(config)


PUBLISHED: Final = {
    "MAE_encoder.encoder.first_conv.0.": "encoder.embed.lift.",
    "MAE_encoder.encoder.first_conv.1.": "encoder.embed.norm1.",
    "MAE_encoder.encoder.first_conv.3.": "encoder.embed.widen.",
    "MAE_encoder.encoder.second_conv.0.": "encoder.embed.local.",
    "MAE_encoder.encoder.second_conv.1.": "encoder.embed.norm2.",
    "MAE_encoder.encoder.second_conv.3.": "encoder.embed.out.",
    "MAE_encoder.pos_embed.": "encoder.positions.",
    "MAE_encoder.blocks.": "encoder.transformer.",
    "MAE_encoder.norm.": "encoder.norm.",
    "mask_token": "reconstruction.mask_token",
    "decoder_pos_embed.": "reconstruction.positions.",
    "MAE_decoder.blocks.": "reconstruction.decoder.blocks.",
    "MAE_decoder.norm.": "reconstruction.norm.",
    "increase_dim.0.": "reconstruction.head.",
}
"""How the names of the published pre-training model begin, and ours in a `trainer.distill.Distill` with coordinate reconstruction."""

_MIXED, _LOCAL, _SHARED = "MAE_encoder.encoder.second_conv.0.weight", "encoder.embed.local.weight", "encoder.embed.shared.weight"
_CONVOLUTIONS = (".first_conv.0.weight", ".first_conv.3.weight", ".second_conv.0.weight", ".second_conv.3.weight", "increase_dim.0.weight")


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published Point-MAE pre-training model (its `base_model`) under our names.

    Raises ValueError for a name that such a model does not have.
    """
    ours = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        if name.endswith(_CONVOLUTIONS):
            value = value.squeeze(-1)
        if name == _MIXED:  # its input is [maximum; point]
            ours[_SHARED], value = value.tensor_split(2, dim=1)
        ours[_renamed(name, PUBLISHED)] = value
    return ours


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_published`."""
    theirs, names = {}, {ours: published for published, ours in PUBLISHED.items()}
    for name, value in state.items():
        if name == _SHARED:
            continue
        if name == _LOCAL:
            value = torch.cat([state[_SHARED], value], 1)
        name = _renamed(name, names)
        theirs[name] = value.unsqueeze(-1) if name.endswith(_CONVOLUTIONS) else value
    return theirs


def _renamed(name: str, prefixes: Mapping[str, str]) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise ValueError(f"{name!r} is no parameter of a Point-MAE pre-training model; names there begin with {', '.join(prefixes)}")
