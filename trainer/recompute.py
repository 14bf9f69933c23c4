"""Activation checkpointing (https://arxiv.org/abs/1604.06174): less memory for more arithmetic.

    recompute(stage.encoder)

The backward pass needs the activations of every block. Usually the forward pass keeps all of them. With this, it keeps only the tokens
that enter each block, and the backward pass computes the rest again, one block at a time. Losses and gradients are the same: drop path
draws the same numbers again. A step costs about one more forward pass of the blocks.
"""

import functools

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cache_schema.errors import UserError
from trainer.encoders.protocol import Encoder, Tunable


def blocks(encoder: Encoder) -> list[nn.Module]:
    """The blocks of an encoder, in the order in which they run; none if it does not tell them (`protocol.Tunable`)."""
    return [site.block for site in encoder.sites()] if isinstance(encoder, Tunable) else []


def recompute(encoder: Encoder) -> None:
    """Let the backward pass compute the activations of the encoder's blocks again. Names of weights stay as they are.

    Raises:
        UserError: the encoder does not tell its blocks, or one has a batch norm, which would count the same shapes twice.
    """
    found = blocks(encoder)
    if not found:
        raise UserError(f"recompute: {type(encoder).__name__} does not tell its blocks (`sites`), so nothing can be computed again")
    for block in found:
        if any(isinstance(module, _BatchNorm) for module in block.modules()):
            raise UserError(f"recompute: a block of {type(encoder).__name__} has a batch norm, whose statistics would be updated twice")
        # On the object, not around it: a wrapper would put its own name into the names of the weights.
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
