"""Image networks with batch norms, rewritten to compute the same faster on a CPU.

    compute = folded(network)           # None: there is nothing to fold
    compute(pixels)                     # [B, 3, S, S] -> what network(pixels) gives, up to rounding

In inference a batch norm multiplies and adds constants for each channel. They become part of the convolution before it
(https://arxiv.org/abs/1712.05877, section 3.2), so that the values are not read and written once more. The channels of a place lie side by
side (`torch.channels_last`), as the convolutions of oneDNN read them.

Letters: B pictures, S pixels per side.
"""

import copy
import itertools
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

FORM: Final = "folded batch norms, channels last"
"""Name of this form of a network, as it is recorded with embeddings."""

AGREES: Final = 1e-4
"""Largest difference from the network's own results, as a part of the largest value. Rounding of float32 gives about 1e-6."""


def folded(network: nn.Module, size: int) -> nn.Module | None:
    """Return a copy of an image network in inference form; None if it has no batch norms, or if the copy computes something else.

    A network may use its layers in another order than it lists them. So the copy is tried on a picture of `size` pixels.
    """
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()):
        return None
    new: Any = copy.deepcopy(network).eval()
    for parent in list(new.modules()):
        layers = list(parent.named_children())
        for (name, layer), (after, norm) in itertools.pairwise(layers):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and layer.out_channels == norm.num_features:
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                # timm's batch norms hold what comes after them: a dropout and an activation.
                setattr(parent, after, nn.Sequential(*norm.children()))
    new.to(memory_format=torch.channels_last)
    picture = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            expected, found = network(picture), new(picture.contiguous(memory_format=torch.channels_last))
    except (AttributeError, RuntimeError, TypeError):  # it looks into its batch norms
        return None
    agrees = isinstance(found, Tensor) and bool((found - expected).abs().max() <= AGREES * expected.abs().max())
    return new if agrees else None
