"""From a trained model to one vector a shape: what probes are fitted on and what fine-tuning goes on from.

    body = Body.of(stage, "mean_max")
    features = extract(body, shapes, block=0)                           # [n, F]

Letters: B and n shapes, P points, C channels, D width, F features.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer.align import Align
from trainer.encoders.catalog import Encoder
from trainer.stage import Stage
from trainer.tasks.shapes import Shapes

Pool = Literal["mean_max", "summary", "summary_max"]
"""How tokens become one vector: mean and maximum over them, the model's own summary, or the summary and the maximum."""

BATCH: Final = 64
"""Shapes at a time where nothing is learned. Changes no result."""


class Body(nn.Module):
    """Encoder and pooling: points [B, P, C] to [B, F]."""

    def __init__(self, encoder: Encoder, summary: nn.Module | None, pool: Pool) -> None:
        super().__init__()
        assert summary is not None or pool == "mean_max"
        self.encoder, self.summary, self.pool = encoder, summary, pool

    @classmethod
    def of(cls, stage: Stage, pool: Pool, *, scratch: bool = False) -> "Body":
        """The one inside a trained model in evaluation mode, which it shares; or with `scratch` another of the same architecture with
        new weights from torch's global generators.

        Raises:
            ValueError: the pooling needs a summary that the model does not have.
        """
        assert not stage.training
        if scratch:
            if pool != "mean_max":
                raise UserError(f"before training there is no summary worth reading: set pool to mean_max, got {pool}")
            device = next(stage.parameters()).device
            encoder = type(stage.encoder)(stage.encoder.config)  # type: ignore[call-arg]
            return cls(encoder, None, pool).to(device).eval()
        summary = None if pool == "mean_max" else stage.pool if isinstance(stage, Align) else stage.summary
        if summary is None and pool != "mean_max":
            raise UserError(f"this model was trained without a summary: set pool to mean_max, got {pool}")
        return cls(stage.encoder, summary, pool).eval()

    def forward(self, points: Tensor, ordered: bool) -> Tensor:
        tokens = self.encoder(self.encoder.patchify(points, ordered)).tokens  # [B, G, D]
        parts = [tokens.mean(1) if self.summary is None else self.summary(tokens)]
        if self.pool != "summary":
            parts.append(tokens.amax(1))
        return torch.cat([part.float() for part in parts], -1)  # [B, F]

    def copy(self) -> "Body":
        """One of its own weights, to be trained."""
        return copy.deepcopy(self).requires_grad_(True)

    @property
    def channels(self) -> int:
        return self.encoder.config.channels

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def ordered(self, shapes: Shapes) -> bool:
        """Whether the stored order of the points gives the encoder its centres."""
        return shapes.spec.ordered >= self.encoder.centres


@torch.no_grad()
def extract(
    body: Body, shapes: Shapes, block: int, head: nn.Module | None = None, change: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """What a model makes of one block of every shape, [n, F] float32 on the CPU. In float32 on any device, however it was trained.

    Args:
        body: in evaluation mode.
        shapes: of which.
        block: which of their stored blocks.
        head: applied to the body's features, where they are not what is wanted themselves. In evaluation mode.
        change: applied to points [B, P, C] before.

    Raises:
        UserError: the model answers with something infinite.
    """
    assert not body.training and (head is None or not head.training)
    out = []
    for chosen in np.array_split(np.arange(len(shapes)), -(-len(shapes) // BATCH)):
        points = shapes.points(chosen, block, body.channels).to(body.device)
        features = body(points if change is None else change(points), body.ordered(shapes))
        out.append((features if head is None else head(features)).cpu())
    features = torch.cat(out)
    if not features.isfinite().all():
        raise UserError("the model answers with infinite numbers: its training diverged; take an earlier checkpoint")
    return features


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators, from which new weights and dropout come, seeded for a while."""
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(seed)
        yield
