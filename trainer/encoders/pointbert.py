"""Point-BERT's Vision Transformer (https://arxiv.org/abs/2111.14819), the encoder of ULIP and ULIP-2: Point-MAE's with a class token and a
narrower patch embedding, which a linear layer brings to the width.

    encoder = build("pointbert-s", channels=6, depth=18)  # trainer.encoders.catalog; that of ULIP-2

The class token stands beside every other one: the maximum over tokens is [class; maximum], which the published models project.
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
    "pointbert-tiny": dataclasses.replace(pointmae.CONFIGS["pointmae-tiny"], reduce=64, class_token="joined"),
}


def build(config: PointMAEConfig) -> PointMAE:
    return PointMAE(config)


PUBLISHED: Final = {
    theirs.replace(pointmae.PREFIX, "point_encoder."): ours
    for theirs, ours in pointmae.PUBLISHED.items()
    if theirs.startswith(pointmae.PREFIX)
}
"""Prefix of a name in ULIP's point encoder, to ours in any stage."""


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published point encoder of ULIP under our names.

    Raises:
        UserError: such a model does not have a tensor of this name.
    """
    return from_names(state, PUBLISHED, "ULIP")


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an encoder of ours under the names of its authors: the inverse of `from_published`."""
    return to_names(state, PUBLISHED, "ULIP")
