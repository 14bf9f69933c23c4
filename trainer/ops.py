"""Point-set operations in plain torch: farthest points, nearest neighbours, gather, Chamfer distance, interpolation.

They run on any device, with `torch.compile` and with autocast. For every type of input, distances are computed in float32 or wider, from
the differences of coordinates. The formula |a|^2 - 2ab + |b|^2 would be inexact for near points, and useless in bfloat16.

Letters: B shapes, P points, Q queries, G groups, K neighbours, C channels; `...` any leading axes.
"""

from typing import Final

import torch
from torch import Tensor

from cache_schema.errors import UserError

PAIRS: Final = 2**16
"""Number of distances that `nearest` computes at a time on a CPU: so many, and the sort keys made of them, stay in the second cache."""


@torch.library.custom_op("mmpd::farthest_points", mutates_args=())
def farthest_points(xyz: Tensor, count: int) -> Tensor:
    """Indices [B, count] of greedy farthest-point sampling of points xyz [B, P, 3]. The first index is 0.

    Each next point is the one farthest from the points already chosen; of equally far points, the one with the lowest index. So the first g
    indices are the result for `count = g`, and for points stored in this order the result is 0, 1, 2, ... It is a custom operator, because
    torch.compile would unroll the loop.

    Raises:
        UserError: the count is not positive or exceeds the number of points.
    """
    if not 1 <= count <= xyz.shape[1]:
        raise UserError(f"farthest points: count must lie in 1..{xyz.shape[1]}, the number of points, got {count}")
    x, y, z = _wide(xyz).transpose(1, 2).contiguous().unbind(1)  # [B, P] each
    gap = torch.full_like(x, torch.inf)
    last = torch.zeros(len(xyz), 1, dtype=torch.int64, device=xyz.device)
    chosen = [last]
    for _ in range(count - 1):
        dx, dy, dz = (axis - axis.gather(1, last) for axis in (x, y, z))
        gap = torch.minimum(gap, dx * dx + dy * dy + dz * dz)
        last = gap.argmax(1, keepdim=True)
        chosen.append(last)
    return torch.cat(chosen, 1)


@farthest_points.register_fake
def _(xyz: Tensor, count: int) -> Tensor:
    return xyz.new_empty((xyz.shape[0], count), dtype=torch.int64)


@torch.no_grad()
def nearest(query: Tensor, xyz: Tensor, count: int) -> Tensor:
    """Indices [B, Q, count] of the points in xyz [B, P, 3] that are nearest to query [B, Q, 3], nearest first.

    Of equally near points, the one with the lower index comes first, so that groups are the same on every device.

    Raises:
        UserError: the count is not positive or exceeds the number of points.
    """
    if not 1 <= count <= xyz.shape[1]:
        raise UserError(f"nearest: count must lie in 1..{xyz.shape[1]}, the number of points, got {count}")
    query, xyz = query.float(), xyz.float()
    # Other devices have no such caches, and a compiled or exported graph should not be unrolled.
    if query.device.type != "cpu" or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
        return _nearest(query, xyz, count)
    shapes, rows = (PAIRS // max(1, size) or 1 for size in (query.shape[1] * xyz.shape[1], xyz.shape[1]))
    found = [
        torch.cat([_nearest(part, points, count) for part in queries.split(rows, 1)], 1)
        for queries, points in zip(query.split(shapes), xyz.split(shapes), strict=True)
    ]
    return torch.cat(found)


def _nearest(query: Tensor, xyz: Tensor, count: int) -> Tensor:
    """The same result as `nearest`, for points in float32, with all distances in memory at once."""
    squared = squared_distances(query, xyz)  # [B, Q, P]
    if torch.onnx.is_in_onnx_export():  # ONNX has no such view of bits, and its TopK takes the lower index first by itself
        return squared.topk(count, dim=-1, largest=False).indices
    # Non-negative float32 numbers keep their order if their bits are read as integers. The index in the low bits makes all keys different.
    keys = (squared.view(torch.int32).long() << 32) | torch.arange(xyz.shape[1], device=xyz.device)
    return keys.topk(count, dim=-1, largest=False).values & 0xFFFFFFFF


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances [..., N, M] between a [..., N, 3] and b [..., M, 3]."""
    dx, dy, dz = (p.unsqueeze(-1) - q.unsqueeze(-2) for p, q in zip(_wide(a).unbind(-1), _wide(b).unbind(-1), strict=True))
    return dx * dx + dy * dy + dz * dz


@torch.no_grad()
def first_in_place(xyz: Tensor) -> Tensor:
    """Which points of xyz [B, P, 3] have no point before them in the same place, [B, P] bool: all but repeats. The first one always is.

    Coordinates are compared exactly. A repeat that was moved, turned or scaled together with its original is still in the same place, since
    equal numbers go through the same arithmetic.
    """
    order, first = _by_place(xyz)
    return torch.empty_like(first).scatter(1, order, first)


@torch.no_grad()
def originals(xyz: Tensor) -> Tensor:
    """The first point of xyz [B, P, 3] that is in the place of each point, [B, P] int64: for all but repeats, the point itself."""
    order, first = _by_place(xyz)
    at = torch.arange(xyz.shape[1], device=xyz.device).expand_as(order)
    return torch.empty_like(order).scatter(1, order, order.gather(1, at.where(first, 0).cummax(1).values))


def _by_place(xyz: Tensor) -> tuple[Tensor, Tensor]:
    """An order of the points of xyz [B, P, 3] in which those of one place are neighbours, by their indices; and which entries of the
    order are the first of a place. [B, P] int64 and bool."""
    order = xyz[..., 2].argsort(dim=1, stable=True)  # [B, P]
    for axis in (1, 0):  # stable sorts, the most important axis last
        order = order.gather(1, xyz[..., axis].gather(1, order).argsort(dim=1, stable=True))
    in_order = gather(xyz, order)
    differs = (in_order[:, 1:] != in_order[:, :-1]).any(-1)  # [B, P - 1]
    return order, torch.cat([torch.ones_like(differs[:, :1]), differs], 1)


@torch.no_grad()
def nearest_among(query: Tensor, xyz: Tensor, count: int, real: Tensor) -> Tensor:
    """As `nearest`, but only among the points that are real [B, P] bool. If a shape has n of these, and n is less than `count`, its results
    begin again after n: every real point is there equally often, give or take one. At least one point of each shape must be real."""
    found = nearest(query, xyz.float().masked_fill(~real.unsqueeze(-1), torch.inf), count)  # the real ones first
    place = torch.arange(count, device=found.device) % real.sum(1).view(-1, 1, 1)  # [B, 1, K]
    return found.gather(2, place.expand_as(found))


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Rows of values [B, P, C] at index [B, ...]: [B, ..., C]."""
    flat = index.flatten(1).unsqueeze(-1).expand(-1, -1, values.shape[-1])
    rows: Tensor = values.gather(1, flat).unflatten(1, index.shape[1:])
    return rows


def chamfer(a: Tensor, b: Tensor, which: Tensor | None = None) -> Tensor:
    """Chamfer-L2 distance between sets a [..., N, 3] and b [..., M, 3], a scalar in squared units of the input.

    It is the mean squared distance from the points of a to the nearest of b, plus that from the points of b to the nearest of a. If
    `which` [...] bool is given, only the sets where it is true count, and the result is 0 if there are none.
    """
    a, b = _wide(a).reshape(-1, *a.shape[-2:]), _wide(b).reshape(-1, *b.shape[-2:])
    with torch.no_grad():  # indices have no gradient, so nothing of size N x M is kept for the backward pass
        squared = squared_distances(a, b)
        nearest_b, nearest_a = squared.argmin(2), squared.argmin(1)
    to_b, to_a = (a - gather(b, nearest_b)).square().sum(-1), (b - gather(a, nearest_a)).square().sum(-1)  # [sets, N] and [sets, M]
    if which is None:
        return to_b.mean() + to_a.mean()
    share = which.flatten() / which.sum().clamp(min=1)
    return ((to_b.mean(1) + to_a.mean(1)) * share).sum()


def interpolate(query: Tensor, xyz: Tensor, features: Tensor, count: int = 3) -> Tensor:
    """Features [B, Q, C] at query [B, Q, 3], interpolated from features [B, P, C] at xyz [B, P, 3].

    The `count` nearest points are weighted by inverse squared distance, as in PointNet++ (https://arxiv.org/abs/1706.02413, eq. 2).
    """
    index, weights = shares(query, xyz, count)
    return (weights.unsqueeze(-1) * gather(features, index)).sum(2).to(features.dtype)


def shares(query: Tensor, xyz: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` points of xyz [B, P, 3] that are nearest to query [B, Q, 3], [B, Q, K], and the weight of each in `interpolate`."""
    index = nearest(query, xyz, count)
    squared = (_wide(query).unsqueeze(2) - gather(_wide(xyz), index)).square().sum(-1)
    weights = 1 / (squared + 1e-8)
    return index, weights / weights.sum(-1, keepdim=True)


def _wide(x: Tensor) -> Tensor:
    """The tensor in float32; unchanged if it is float64."""
    return x if x.dtype == torch.float64 else x.float()
