"""Point-BERT's Vision Transformer (https://arxiv.org/abs/2111.14819), the encoder of ULIP and ULIP-2.

It is the same as Point-MAE's, plus a class token. Patch embeddings are narrower; a linear layer maps them to width D.

    encoder = build("pointbert-s", channels=6, depth=18)  # trainer.encoders.catalog; the encoder of ULIP-2

Each output token is [class; patch]. So the maximum over tokens is [class; max of patches], the input of the published projection.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

from torch import Tensor

from trainer.encoders import pointmae
from trainer.encoders.names import from_names, to_names
from trainer.encoders.pointmae import PointMAE, PointMAEConfig

CONFIGS: Final = {
    # ULIP's encoder (https://arxiv.org/abs/2212.05171).
    "pointbert-s": PointMAEConfig(groups=512, reduce=256, class_token="joined"),
    # ULIP has one size; these widen and deepen its Transformer as ViT-B and ViT-L do.
    "pointbert-b": dataclasses.replace(pointmae.B, groups=512, reduce=256, class_token="joined"),
    "pointbert-l": dataclasses.replace(pointmae.L, groups=512, reduce=256, class_token="joined"),
    "pointbert-tiny": dataclasses.replace(pointmae.CONFIGS["pointmae-tiny"], reduce=64, class_token="joined"),
}


def build(config: PointMAEConfig) -> PointMAE:
    return PointMAE(config)


PUBLISHED: Final = {
    theirs.replace(pointmae.PREFIX, "point_encoder."): ours
    for theirs, ours in pointmae.PUBLISHED.items()
    if theirs.startswith(pointmae.PREFIX)
}
"""Prefixes of tensor names: from ULIP's point encoder to ours. They hold for both stages."""


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published point encoder of ULIP under our names.

    Raises:
        UserError: a name in `state` is unknown for this model.
    """
    return from_names(state, PUBLISHED, "ULIP")


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of our encoder under the authors' names: the inverse of `from_published`."""
    return to_names(state, PUBLISHED, "ULIP")
