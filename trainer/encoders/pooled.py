"""The maximum over the points of a group of what a linear layer makes of each, with a backward pass that is small on a CPU.

    pooled = linear_max(points, weight)                  # [N, K, D] and [C, D] to [N, C]

Letters: N groups, K points per group, D width of a point, C channels of the result.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK: Final = 64
"""Groups whose points are summed at a time for the gradient of the weight: those of the widest layer fit into a cache of 2 to 4 MB."""


def linear_max(points: Tensor, weight: Tensor) -> Tensor:
    """Maximum over K of points [N, K, D] times weight [C, D]: [N, C]. Of equal values, the first point gets the gradient.

    Only one point of a group gets a gradient in each channel. On a CPU the backward pass therefore sums one row per group and channel,
    where torch's own multiplies matrices of which all but one in K entries are zero. `plain` is the same without that.
    """
    if torch.is_autocast_enabled(points.device.type):
        dtype = torch.get_autocast_dtype(points.device.type)
        points, weight = points.to(dtype), weight.to(dtype)
    if not (torch.is_grad_enabled() and (points.requires_grad or weight.requires_grad)):
        return F.linear(points, weight).amax(1)
    if points.device.type != "cpu" or torch.compiler.is_compiling():
        return plain(points, weight)
    pooled: Tensor = _LinearMax.apply(points, weight)  # type: ignore[no-untyped-call]  # torch has no types on it
    return pooled


def plain(points: Tensor, weight: Tensor) -> Tensor:
    """`linear_max` by torch's own operations."""
    return F.linear(points, weight).max(1).values


class _LinearMax(torch.autograd.Function):
    """`linear_max` for a CPU. Sums of chosen rows are `embedding_bag`s, for which torch has a fast kernel."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, points: Tensor, weight: Tensor) -> Tensor:
        values = F.linear(points, weight)  # [N, K, C]
        pooled = values.amax(1)
        ctx.save_for_backward(points, weight, _first(values == pooled.unsqueeze(1)))
        return pooled

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        points, weight, first = ctx.saved_tensors  # type: ignore[attr-defined]
        count, members, _ = points.shape
        rows = first.int() + torch.arange(0, count * members, members, dtype=torch.int32).unsqueeze(1)  # [N, C] rows of all points
        of_points, of_weight = ctx.needs_input_grad  # type: ignore[attr-defined]
        return (
            _scattered(rows, gradient, weight, count * members).view_as(points) if of_points else None,
            _collected(rows, gradient, points.flatten(0, 1)) if of_weight else None,
        )


def _first(hit: Tensor) -> Tensor:
    """The first point [N, C] at which hit [N, K, C] is true; the last point if it is nowhere true, as it is for NaN.

    It takes a fifth of the time of torch's argmax along an axis in the middle.
    """
    last = hit.shape[1] - 1
    left = torch.arange(last, -1, -1, dtype=torch.uint8 if last < 256 else torch.int32).unsqueeze(1)  # [K, 1]
    return last - (hit * left).amax(1)


def _scattered(rows: Tensor, gradient: Tensor, weight: Tensor, count: int) -> Tensor:
    """Gradient [count, D] of the points: at the row of each [N, C] in `rows`, the channel's weight [D] times gradient [N, C]."""
    chosen = rows.flatten()
    order = chosen.argsort(stable=True)
    ends = torch.bincount(chosen, minlength=count).cumsum(0)
    return F.embedding_bag(
        order % len(weight), weight, F.pad(ends, (1, 0)), mode="sum", per_sample_weights=gradient.flatten()[order], include_last_offset=True
    )


def _collected(rows: Tensor, gradient: Tensor, points: Tensor) -> Tensor:
    """Gradient [C, D] of the weight: for each channel, the sum over groups of its point times gradient [N, C]."""
    total = points.new_zeros(rows.shape[1], points.shape[1], dtype=torch.promote_types(points.dtype, torch.float32))
    for part, scale in zip(rows.split(CHUNK), gradient.split(CHUNK), strict=True):
        total += F.embedding_bag(part.T.contiguous(), points, mode="sum", per_sample_weights=scale.T.contiguous())
    return total.to(points.dtype)
