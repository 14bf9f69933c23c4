"""Rename tensors between published encoders and ours, for encoders with Point-MAE's patch embedding.

from_names(state, {"MAE_encoder.blocks.": "encoder.transformer."}, "Point-MAE")
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from cache_schema.errors import UserError

_CONVOLUTIONS: Final = (
    ".first_conv.0.weight",
    ".first_conv.3.weight",
    ".second_conv.0.weight",
    ".second_conv.3.weight",
    "increase_dim.0.weight",
    ".fuse.net.0.weight",
    ".net1.0.weight",
    ".net2.0.weight",
    "rec_head.weight",
)
"""Endings of the names of layers that are 1x1 convolutions in the published models and linear layers here."""
_LOCAL, _SHARED = ".embed.local.weight", ".embed.shared.weight"


def from_names(state: Mapping[str, Tensor], names: Mapping[str, str], family: str) -> dict[str, Tensor]:
    """Published weights under our names, for an encoder with Point-MAE's patch embedding.

    Args:
        state: tensors by published name.
        names: prefixes of published names, with the prefixes of ours.
        family: name of the encoder in messages.

    Raises:
        UserError: a name begins with none of these prefixes.
    """
    ours = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        if name.endswith(_CONVOLUTIONS):
            value = value.squeeze(-1)
        if (own := _renamed(name, names, family)).endswith(_LOCAL):  # its input is [maximum; point]
            ours[own.replace(_LOCAL, _SHARED)], value = value.tensor_split(2, dim=1)
        ours[own] = value
    return ours


def to_names(state: Mapping[str, Tensor], names: Mapping[str, str], family: str) -> dict[str, Tensor]:
    """Our weights under published names: the inverse of `from_names`, with the same arguments and errors."""
    theirs, back = {}, {ours: published for published, ours in names.items()}
    for name, value in state.items():
        if name.endswith(_SHARED):
            continue
        if name.endswith(_LOCAL):
            value = torch.cat([state[name.replace(_LOCAL, _SHARED)], value], 1)
        name = _renamed(name, back, family)
        theirs[name] = value.unsqueeze(-1) if name.endswith(_CONVOLUTIONS) else value
    return theirs


def _renamed(name: str, prefixes: Mapping[str, str], family: str) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise UserError(f"{name!r} is no parameter of a {family} pre-training model; names there begin with {', '.join(prefixes)}")
