"""The maximum over the points of a group of what a linear layer makes of each, with a backward pass that is small on a CPU.

    pooled = linear_max(points, weight)                  # [N, K, D] and [C, D] to [N, C]

Letters: N groups, K points per group, D width of a point, C channels of the result.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK: Final = 128
"""Groups at a time. With Point-MAE's widths, what is made of 128 groups of 32 points takes 4 MB."""
EXACT: Final = 256
"""Whole numbers up to this one are exact in bfloat16."""


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
    """`linear_max` for a CPU, some groups at a time, so that what is made of their points stays in the processor's cache."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, points: Tensor, weight: Tensor) -> Tensor:
        parts = [_pooled(part, weight) for part in points.split(CHUNK)]
        pooled, first = (torch.cat(each) for each in zip(*parts, strict=True))
        ctx.save_for_backward(points, weight, first)
        return pooled

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        points, weight, first = ctx.saved_tensors  # type: ignore[attr-defined]
        of_points, of_weight = ctx.needs_input_grad  # type: ignore[attr-defined]
        found = torch.empty_like(points) if of_points else None
        total = torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32)) if of_weight else None
        for start in range(0, len(points), CHUNK):
            own = slice(start, start + CHUNK)
            part = points[own].flatten(0, 1)
            rows = first[own] + torch.arange(0, len(part), points.shape[1], dtype=torch.int32).unsqueeze(1)  # [n, C], of the part
            if found is not None:
                found[own] = _scattered(rows, gradient[own], weight, len(part)).view_as(points[own])
            if total is not None:
                total += F.embedding_bag(rows.T.contiguous(), part, mode="sum", per_sample_weights=gradient[own].T.contiguous())
        return found, None if total is None else total.to(weight.dtype)


def _pooled(points: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum [N, C], and the first point that has it [N, C] int32; the last point if none has it, as with NaN.

    The order of points is found by three passes in the type of the values. Truth values, or torch's own index of a maximum along an axis in
    the middle, take several times as long.
    """
    values = F.linear(points, weight)  # [N, K, C]
    pooled = values.amax(1)
    last = points.shape[1] - 1
    left = torch.arange(last, -1, -1, dtype=values.dtype if last < EXACT else torch.float32).unsqueeze(1)  # [K, 1]
    return pooled, (last - (values.eq_(pooled.unsqueeze(1)) * left).amax(1)).int()


def _scattered(rows: Tensor, gradient: Tensor, weight: Tensor, count: int) -> Tensor:
    """Gradient [count, D] of the points: at the row of each [N, C] in `rows`, the channel's weight [D] times gradient [N, C].

    A sum of chosen rows is an `embedding_bag`, for which torch has a fast kernel.
    """
    chosen = rows.flatten()
    order = chosen.argsort(stable=True)
    ends = torch.bincount(chosen, minlength=count).cumsum(0)
    return F.embedding_bag(
        order % len(weight), weight, F.pad(ends, (1, 0)), mode="sum", per_sample_weights=gradient.flatten()[order], include_last_offset=True
    )
