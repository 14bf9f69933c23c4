"""From features of groups to labels of points: propagation by distance, and the head that labels points.

    model = Segmenter(encoder, classes=50, categories=16)
    logits = model(points, inside=None, ordered=True, category=category)   # [B, Q, K]

The head is that of Point-MAE for parts (https://arxiv.org/abs/2203.06604): features of three depths are interpolated at every point from
its three nearest centres, as in PointNet++ (https://arxiv.org/abs/1706.02413, section 3.4), and joined with the maximum and the mean over
all groups, and with the category of the shape. Widths follow the encoder; at width 384 they are the published ones. A pyramid's levels are
interpolated each from its own centres.

Points that get labels are independent of those that the encoder reads: an encoder that was trained on 1024 points reads 1024 of a block of
2048, and all 2048 get a label.

Letters: B shapes, P points that the encoder reads, Q points that get a label, C channels, G groups, D width of a scale, K classes.
"""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer import ops
from trainer.encoders.protocol import Encoder, Layered, Scale

NEIGHBOURS: Final = 3
"""Number of centres from which a point's feature is interpolated; fewer if there are fewer centres."""
CATEGORY: Final = 64
"""Width of the embedded category of a shape."""
SLOPE: Final = 0.2
"""Slope of the category's activation below 0."""


def propagate(query: Tensor, values: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of values of groups, each interpolated at the points query [B, Q, 3]: [B, Q, D].

    Args:
        query: the points.
        values: pairs of centres [B, G, 3] and values [B, G, D]. Values at the same centres are added before they are interpolated, which
            gives the same and costs less.
    """
    joined: dict[int, tuple[Tensor, Tensor]] = {}
    for centres, own in values:
        before = joined.get(id(centres))
        joined[id(centres)] = centres, own if before is None else before[1] + own
    first, *others = [matrix(query, at).to(value.dtype) @ value for at, value in joined.values()]
    for other in others:
        first = first + other
    return first


def matrix(query: Tensor, centres: Tensor) -> Tensor:
    """The weight of each centre [B, G, 3] at each point [B, Q, 3], mostly zeros: [B, Q, G].

    A product with it equals `ops.interpolate`. For wide features it takes half the time or less on a CPU, since gathering three rows for
    every point, and adding their gradients up again, costs more than multiplying by zeros.
    """
    index, weights = ops.shares(query, centres, min(NEIGHBOURS, centres.shape[1]))
    return weights.new_zeros(*query.shape[:2], centres.shape[1]).scatter(2, index, weights)


class Join(nn.Module):
    """A linear layer on the interpolated features of all scales, and on `more` further numbers of each point.

    Interpolation is a weighted mean, so the layer is applied to the groups, before the features are interpolated. The result is the same,
    and there are far fewer groups than points.
    """

    def __init__(self, widths: Sequence[int], more: int, out: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList([nn.Linear(width, out, bias=False) for width in widths])
        self.more = nn.Linear(more, out)

    def forward(self, query: Tensor, scales: Sequence[Scale], more: Tensor) -> Tensor:
        """[B, Q, out], for points query [B, Q, 3] with further numbers [B, Q, more] or, the same for all points, [B, 1, more]."""
        values = [(scale.centres, layer(scale.tokens)) for scale, layer in zip(scales, self.scales, strict=True)]
        out: Tensor = propagate(query, values) + self.more(more)
        return out


class Normed(nn.Module):
    """Batch norm over all points and ReLU, [B, Q, D] to the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.relu(self.norm(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        return out


class Category(nn.Module):
    """The category of a shape as a vector, [B] int64 to [B, CATEGORY]."""

    def __init__(self, categories: int) -> None:
        super().__init__()
        self.categories = categories
        self.embed = nn.Linear(categories, CATEGORY, bias=False)
        self.norm = nn.BatchNorm1d(CATEGORY)

    def forward(self, category: Tensor) -> Tensor:
        one_hot = F.one_hot(category, self.categories).to(self.embed.weight.dtype)
        out: Tensor = F.leaky_relu(self.norm(self.embed(one_hot)), SLOPE)
        return out


class Head(nn.Module):
    """From three scales of features to logits of points."""

    def __init__(self, widths: Sequence[int], channels: int, classes: int, categories: int, dropout: float) -> None:
        """
        Args:
            widths: width of each scale, the deepest last.
            channels: channels of a point, C.
            classes: number of classes, K.
            categories: number of categories of shapes; 0 if labels do not depend on the category.
            dropout: rate.
        """
        super().__init__()
        deep, whole = widths[-1], 2 * sum(widths)
        wide, point, joined, last = 4 * deep, 8 * deep // 3, 4 * deep // 3, 2 * deep // 3
        self.category = Category(categories) if categories else None
        self.join, self.normed = Join(widths, channels, wide), Normed(wide)
        self.point, self.normed_point = nn.Linear(wide, point), Normed(point)
        # One layer reads [point; whole shape]. The part of the whole shape is the same for all points, and is computed once.
        self.local, self.normed_joined = nn.Linear(point, joined), Normed(joined)
        self.shared = nn.Linear(whole + (CATEGORY if categories else 0), joined, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.last, self.normed_last = nn.Linear(joined, last), Normed(last)
        self.out = nn.Linear(last, classes)

    def forward(self, points: Tensor, scales: Sequence[Scale], category: Tensor | None) -> Tensor:
        """Logits [B, Q, K] of points [B, Q, C] in shapes of a category [B]."""
        x = self.normed(self.join(points[..., :3], scales, points))
        x = self.normed_point(self.point(x))
        whole = summary(scales)
        if self.category is not None:
            assert category is not None
            whole = torch.cat([whole, self.category(category)], -1)
        x = self.normed_joined(self.local(x) + self.shared(whole).unsqueeze(1))
        out: Tensor = self.out(self.normed_last(self.last(self.dropout(x))))
        return out


class Linear(nn.Module):
    """A single linear layer on the same inputs as `Head`, without the points' own coordinates."""

    def __init__(self, widths: Sequence[int], classes: int, categories: int) -> None:
        super().__init__()
        self.categories = categories
        self.join = Join(widths, 2 * sum(widths) + categories, classes)

    def forward(self, points: Tensor, scales: Sequence[Scale], category: Tensor | None) -> Tensor:
        """As `Head.forward`."""
        whole = summary(scales)
        if self.categories:
            assert category is not None
            whole = torch.cat([whole, F.one_hot(category, self.categories).to(whole.dtype)], -1)
        out: Tensor = self.join(points[..., :3], scales, whole.unsqueeze(1))
        return out


def summary(scales: Sequence[Scale]) -> Tensor:
    """Maximum over the groups of every scale, then the mean: [B, 2 * the sum of the scales' widths]."""
    return torch.cat([*(scale.tokens.amax(1) for scale in scales), *(scale.tokens.mean(1) for scale in scales)], -1)


class Segmenter(nn.Module):
    """An encoder and a head that labels points."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(
        self, points: Tensor, inside: Tensor | None, ordered: bool, category: Tensor | None = None, query: Tensor | None = None
    ) -> Tensor:
        """Logits [B, Q, K] of all points [B, Q, C], or of those in `query`.

        Args:
            points: the points of each shape.
            inside: indices [P] of the points that the encoder reads; None for all.
            ordered: whether the first of these are in farthest-point order.
            category: category of each shape, [B]; None if the head has none.
            query: indices of the points that get labels; None for all.
        """
        seen = points if inside is None else points[:, inside]
        out: Tensor = self.head(points if query is None else points[:, query], layers(self.encoder, seen, ordered), category)
        return out


def layers(encoder: Encoder, points: Tensor, ordered: bool) -> tuple[Scale, ...]:
    """The features of three depths that an encoder gives for points [B, P, C].

    Raises:
        UserError: the encoder gives only its last tokens, leaves points out, or cannot group the points.
    """
    if not isinstance(encoder, Layered):
        raise UserError(f"{type(encoder).__name__} gives no features of several depths, which tasks that label points need")
    return encoder.layers(encoder.patchify(points, ordered))
