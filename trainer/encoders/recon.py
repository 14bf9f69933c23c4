"""ReCon's Vision Transformer (https://arxiv.org/abs/2302.02318): like Point-MAE's, with other blocks and three additional learnt tokens.

    encoder = build("recon-s")                           # trainer.encoders.catalog

The residual sum of a block starts from the normalised tokens: x = LN(x), x = x + f(x). Other Transformers start from x itself. The class,
image and text token have their own branch in every block. They attend to the patches; the patches do not attend to them. Each output token
is [class; image; text; patch]. So the maximum over tokens is [class; image; text; max of patches], the input of the published classifier.

As in the published fine-tuning, gradients pass from the three tokens to the patches. The published pre-training stopped them there.

Letters: B shapes, N patches, D width, H heads.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer.encoders import pointmae
from trainer.encoders.blocks import Block, Mlp, attend
from trainer.encoders.names import from_names, to_names
from trainer.encoders.pointmae import PointMAE, PointMAEConfig

QUERIES: Final = ("cls", "img", "text")

CONFIGS: Final = {
    "recon-s": PointMAEConfig(class_token="joined"),
    # The widths and depths of ReCon++ (https://arxiv.org/abs/2402.17766), on the groups of ReCon.
    "recon-b": dataclasses.replace(pointmae.B, class_token="joined"),
    "recon-l": dataclasses.replace(pointmae.L, class_token="joined"),
    "recon-tiny": dataclasses.replace(pointmae.CONFIGS["pointmae-tiny"], class_token="joined"),
}


class CrossAttention(nn.Module):
    """Multi-head cross-attention, without a bias on queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of the tokens x [B, 3, D] to the others [B, N, D], where mask [B, 1, 1, N] is not False. The result has the shape of
        x."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, 3, D / H]
        k, v = self.kv(others).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # [B, H, N, D / H] each
        out: Tensor = self.proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        return out


class ContrastBlock(Block):
    """A block for tokens [B, 3 + N, D]. Patches attend to each other only, and the first three tokens attend to the patches. Its layers
    have the published names."""

    def __init__(self, dim: int, heads: int, drop_path: float, learnt: int) -> None:
        super().__init__(dim, heads, drop_path, learnt)
        self.norm1_contrast = nn.LayerNorm(dim)
        self.attn_contrast = CrossAttention(dim, heads)
        self.norm2_contrast = nn.LayerNorm(dim)
        self.mlp_contrast = Mlp(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens [B, 3 + N, D] after the block. If mask [B, 1, 1, 3 + N] is False for a patch, no token attends to it."""
        mask = None if mask is None else mask[..., self.learnt :]
        queries, patches = self.norm1_contrast(x[:, : self.learnt]), self.norm1(x[:, self.learnt :])
        queries = self.norm2_contrast(queries + self.drop_path(self.attn_contrast(queries, patches, mask)))
        queries = queries + self.drop_path(self.mlp_contrast(queries))
        attended = patches + self.drop_path(self.attn(patches, mask))
        patches = self.norm2(attended)
        patches = patches + self.drop_path(self.mlp(patches))
        if self.beside is not None:
            patches = patches + self.beside(attended)
        return torch.cat([queries, patches], 1)


class ReCon(PointMAE):
    """ReCon's Transformer, an implementation of `trainer.encoders.protocol.Encoder`."""

    learnt = len(QUERIES)
    block = ContrastBlock

    def __init__(self, config: PointMAEConfig) -> None:
        """
        Raises:
            UserError: `class_token` is not `joined`, so the configuration lacks the three tokens.
        """
        if config.class_token != "joined":
            raise UserError(
                f"class_token of ReCon must be joined, got {config.class_token}: its patches do not attend to the learnt tokens"
            )
        super().__init__(config)


def build(config: PointMAEConfig) -> ReCon:
    return ReCon(config)


PUBLISHED: Final = pointmae.PUBLISHED | {
    f"{pointmae.PREFIX}{name}_{theirs}": f"encoder.learnt_tokens.{ours}.{i}"
    for i, name in enumerate(QUERIES)
    for theirs, ours in {"token": "tokens", "pos": "positions"}.items()
}
"""Prefixes of tensor names: from the published pre-training model to ours."""


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published ReCon encoder under our names.

    Raises:
        UserError: a name in `state` is unknown for this model.
    """
    return from_names(state, PUBLISHED, "ReCon")


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of our encoder under the authors' names: the inverse of `from_published`."""
    return to_names(state, PUBLISHED, "ReCon")
