"""Whether an encoder tells shapes apart: the effective rank of its features, beside that of random weights.

A training can get stuck with features that vary along a few directions alone. Its loss is then a little too high, and no error says so.

    effective_rank(features)    # 8.3: of 256 numbers of a shape, so many are of use
    notes(stage, shapes)        # empty, or a sentence for the reader of a result
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from trainer.stage import Stage
from trainer.tasks.features import Body, extract, seeded
from trainer.tasks.shapes import Shapes

LEAST: Final = 32
"""Smallest number of shapes that are judged by."""
MOST: Final = 256
"""Largest number of shapes that are read."""
LOW: Final = 8
"""Features are suspected if their effective rank is below this part of the largest that is possible. On 120 to 150 shapes, encoders that
had trained well had a third of it to a half, random weights a sixth, one that had got stuck a twentieth to a twelfth."""
CLEAR: Final = 0.75
"""A note is given if the effective rank is below this share of that of random weights."""


def effective_rank(features: Tensor) -> float:
    """RankMe (https://arxiv.org/abs/2210.02885) of centred features [n, F]: the exponential of the entropy of their singular values as
    shares of the sum. It lies between 1 and the smaller of n and F; 0 if all features are equal.
    """
    values = torch.linalg.svdvals((features - features.mean(0)).double())
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return float(torch.exp(torch.special.entr(share).sum())) if values.any() else 0.0


def notes(stage: Stage, shapes: Shapes) -> tuple[str, ...]:
    """A note for the reader of a result, if a trained encoder tells shapes apart less than random weights do.

    Random weights are asked only if the features are suspect, so it costs at most one forward pass for `MOST` shapes otherwise.

    Args:
        stage: the model, in evaluation mode.
        shapes: the shapes that are tested on.

    Raises:
        UserError: as `extract`.
    """
    if len(shapes) < LEAST:
        return ()
    some = shapes.of(np.linspace(0, len(shapes) - 1, min(len(shapes), MOST)).astype(np.int64))
    body = Body.of(stage, "mean_max")
    features = extract(body, some, 0)
    found = effective_rank(features)
    if found >= min(features.shape) / LOW:
        return ()
    with seeded(0, body.device):
        fresh = Body.of(stage, "mean_max", scratch=True)
    usual = effective_rank(extract(fresh, some, 0))
    if found >= CLEAR * usual:
        return ()
    return (
        "the encoder tells these shapes apart less than random weights do: the effective rank of its features is "
        f"{found:.1f}, of random weights {usual:.1f}. Its training got stuck, or its shapes were too much alike: look at its loss, and try "
        "another seed, a smaller optim.lr, or objective=contrast where a teacher is regressed",
    )
