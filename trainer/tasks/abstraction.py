"""Set abstraction of PointNet++ (https://arxiv.org/abs/1706.02413): the pre-encoder of 3DETR.

    tokens, level = SetAbstraction(3, 384, count=2048, radius=0.2, size=64)(points, ordered=True)

Each token is the maximum, over the points in a ball around a centre, of a small network of their places in the ball.

Letters: B scenes, P points, C channels, G groups, K points of a group, D width.
"""

import itertools
from typing import Final

import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer import ops
from trainer.encoders.protocol import Level

WIDTHS: Final = (64, 128)
"""Widths inside the network, as published."""
CHUNK: Final = 256
"""Number of centres whose distances to all points are in memory together."""


class SetAbstraction(nn.Module):
    """Points [B, P, C] to tokens [B, G, D]."""

    def __init__(self, channels: int, dim: int, *, count: int, radius: float, size: int) -> None:
        """
        Args:
            channels: channels of a point, C.
            dim: width of a token, D.
            count: number of groups, G.
            radius: radius of a group.
            size: number of points of a group, K.
        """
        super().__init__()
        self.count, self.radius, self.size = count, radius, size
        widths = (channels, *WIDTHS, dim)
        layers: list[nn.Module] = []
        for width, wider in itertools.pairwise(widths):
            layers += [nn.Linear(width, wider, bias=False), nn.BatchNorm1d(wider), nn.ReLU()]
        self.network = nn.Sequential(*layers)

    def forward(self, points: Tensor, ordered: bool) -> tuple[Tensor, Level]:
        """The tokens, and the grouping.

        Args:
            points: [B, P, C].
            ordered: whether the first points, as many as there are groups, are in farthest-point order.

        Raises:
            UserError: there are fewer points than groups.
        """
        if points.shape[1] < self.count:
            raise UserError(f"the pre-encoder makes {self.count} tokens of {points.shape[1]} points: lower model.pre_tokens")
        xyz = points[..., :3]
        centres = xyz[:, : self.count] if ordered else ops.gather(xyz, ops.farthest_points(xyz, self.count))
        members = in_balls(centres, xyz, self.radius, self.size)
        found = ops.gather(points, members)  # [B, G, K, C]
        found = torch.cat([(found[..., :3] - centres.unsqueeze(2)) / self.radius, found[..., 3:]], -1)
        tokens: Tensor = self.network(found.flatten(0, 2)).unflatten(0, found.shape[:3]).amax(2)
        return tokens, Level(groups=found, centres=centres, members=members)


@torch.no_grad()
def in_balls(centres: Tensor, xyz: Tensor, radius: float, count: int) -> Tensor:
    """Indices [B, G, count] of points xyz [B, P, 3] nearer than a radius to centres [B, G, 3]. Of too many, the first ones are taken, which
    in farthest-point order are spread best; of too few, the first is repeated. Each centre must be one of the points.
    """
    everyone = torch.arange(xyz.shape[1], device=xyz.device)
    parts = []
    for some in centres.split(CHUNK, 1):
        near = ops.squared_distances(some, xyz) < radius**2  # [B, g, P]
        first = torch.where(near, everyone, len(everyone)).topk(min(count, len(everyone)), largest=False, sorted=True).values
        parts.append(torch.where(first < len(everyone), first, first[..., :1]))
    return torch.cat(parts, 1)
