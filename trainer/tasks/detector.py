"""A detector of boxes on the tokens of an encoder, like 3DETR (https://arxiv.org/abs/2109.08141).

    detector = Detector(encoder, DetectorOptions(), classes=18, turned=False, queries=256, frame=Frame())
    predicted = detector(points, ordered=True)                          # Predictions

Queries are points of the scene, spread by farthest-point sampling. A Transformer decoder lets them attend to each other and to the
encoder's tokens. After every layer, small networks predict the class of each query's box, its centre as an offset from the query, its
size as a share of the scene, and its angle.

It differs from the published code. The networks have layer norms, so that a result does not depend on its batch. Queries start with the
tokens around them (`DetectorOptions.start`). The projection of tokens has two layers, where the published one has three and ends in a norm
and a ReLU, and the network of the queries' places does not end in a ReLU. An encoder with several levels gives the tokens of all levels to
the decoder.

Letters: B scenes, P points, C channels, N tokens (memory), Q queries, G groups, K points of a group or classes, D width of the decoder,
E width of the encoder's tokens, L layers.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from trainer import ops
from trainer.encoders.protocol import Encoder, Stacked, refuse_masked
from trainer.tasks.abstraction import SetAbstraction
from trainer.tasks.matching import Predictions
from trainer.tasks.metres import Frame


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """Sizes of a detector. The defaults are those of PointGST's detector on ScanNet, but for `start` and the pre-encoder."""

    layers: int = 8
    """Number of layers of the decoder."""
    dim: int = 0
    """Width of the decoder; 0 for the width of the encoder's tokens."""
    heads: int = 6
    """Number of attention heads of the decoder. The width must be a multiple of it."""
    dropout: float = 0.1
    """Dropout rate in the decoder."""
    head_dropout: float = 0.3
    """Dropout rate in the networks that predict the boxes."""
    bins: int = 12
    """Number of bins of the angle, over half a turn. It has no effect in a cache whose boxes are not turned."""
    reach: float = 0.5
    """Largest distance of a box's centre from its query along each axis, in the units of the cache: 0.5 m as published."""
    start: Literal["zeros", "tokens"] = "tokens"
    """What the decoder knows of a query at first, in addition to its place. `zeros`: nothing, as published. `tokens`: the tokens around it,
    interpolated. On 96 made-up rooms, 25 epochs then gave an AP25 of 65 %, where 40 epochs from zeros gave 6 %."""
    pre_encoder: bool = False
    """Replace the embedding of the encoder's groups by a set abstraction as in 3DETR's and PointGST's protocol. The encoder's Transformer
    then reads its tokens, without position embedding."""
    pre_tokens: int = 2048
    """Pre-encoder: number of tokens."""
    pre_radius: float = 0.2
    """Pre-encoder: radius of a group, in the units of the cache."""
    pre_points: int = 64
    """Pre-encoder: number of points of a group."""

    def __post_init__(self) -> None:
        check_numbers(self, {"dim": 0, "dropout": 0, "head_dropout": 0}, "model.")
        # With one bin there would be no loss on the angle, and so no angle.
        for name, least in {"layers": 1, "heads": 1, "bins": 2, "pre_tokens": 1, "pre_points": 1}.items():
            if getattr(self, name) < least:
                raise UserError(f"model.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("reach", "pre_radius"):
            if getattr(self, name) <= 0:
                raise UserError(f"model.{name} must be positive, got {getattr(self, name)}")
        if max(self.dropout, self.head_dropout) >= 1:
            raise UserError(f"model.dropout and model.head_dropout must lie in [0, 1), got {self.dropout} and {self.head_dropout}")
        if not self.pre_encoder:
            refuse_unread(self, ["pre_tokens", "pre_radius", "pre_points"], "model.pre_encoder=false", prefix="model.")


class Fourier(nn.Module):
    """Sines and cosines of random projections of positions in 0..1 (https://arxiv.org/abs/2006.10739): [..., 3] to [..., D]."""

    matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.randn(3, dim // 2))

    def forward(self, places: Tensor) -> Tensor:
        # Not a matrix product: under autocast that would round the places to eight bits.
        angles = 2 * math.pi * (places.unsqueeze(-1) * self.matrix).sum(-2)
        return torch.cat([angles.sin(), angles.cos()], -1)


class Layer(nn.Module):
    """A layer of the decoder: queries [B, Q, D] attend to each other, then to the memory [B, N, D], then pass a small network."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(3)])
        self.own = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.across = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.network = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, places: Tensor, memory: Tensor, keys: Tensor) -> Tensor:
        """
        Args:
            x: queries, [B, Q, D].
            places: embedded positions of the queries, [B, Q, D].
            memory: tokens of the encoder, [B, N, D].
            keys: tokens plus their embedded positions, [B, N, D].
        """
        y = self.norms[0](x)
        x = x + self.dropout(self.own(y + places, y + places, y, need_weights=False)[0])
        y = self.norms[1](x)
        x = x + self.dropout(self.across(y + places, keys, memory, need_weights=False)[0])
        out: Tensor = x + self.dropout(self.network(self.norms[2](x)))
        return out


def _network(dim: int, out: int, dropout: float) -> nn.Sequential:
    """A network that predicts one property of a box: [..., D] to [..., out]."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Linear(dim, dim), nn.LayerNorm(dim), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(dim, out))


class Detector(nn.Module):
    """Encoder, decoder and the networks that predict boxes."""

    def __init__(self, encoder: Encoder, options: DetectorOptions, *, classes: int, turned: bool, queries: int, frame: Frame) -> None:
        """
        Args:
            encoder: the encoder. It is used as it is, not copied.
            options: sizes of the rest. Its weights come from torch's global generator.
            classes: number of classes, K.
            turned: whether to predict the angles of boxes.
            queries: number of boxes that are predicted in a scene, Q.
            frame: how coordinates become those of the encoder. Boxes stay in those of the cache.

        Raises:
            UserError: the width of the decoder is no multiple of its heads, or the encoder cannot read the pre-encoder's tokens, or leaves
                points out.
        """
        refuse_masked(encoder, "a detector")
        super().__init__()
        dim = options.dim or encoder.dim
        if dim % options.heads or dim % 2:
            raise UserError(f"the width of the decoder must be even and a multiple of model.heads, got {dim} and {options.heads}")
        self.encoder, self.options, self.queries, self.frame = encoder, options, queries, frame
        self.abstraction = _abstraction(encoder, options, frame) if options.pre_encoder else None
        self.dim = dim
        self.levels = nn.ModuleList()
        """One projection to the decoder's width for each level of tokens, from fine to coarse."""
        self.fourier = Fourier(dim)
        self.query = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.layers = nn.ModuleList([Layer(dim, options.heads, options.dropout) for _ in range(options.layers)])
        self.norm = nn.LayerNorm(dim)
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        bins = options.bins if turned else 1
        widths = {"logits": classes + 1, "centres": 3, "sizes": 3} | ({"bins": bins, "rests": bins} if turned else {})
        self.networks = nn.ModuleDict({name: _network(dim, width, options.head_dropout) for name, width in widths.items()})

    @property
    def tokens(self) -> int:
        """Number of tokens of a scene on the coarsest level."""
        return self.encoder.groups if self.abstraction is None else self.abstraction.count

    @property
    def centres(self) -> int:
        """Number of leading points of a block that must be in farthest-point order, to serve as centres of groups and as queries."""
        return max(self.queries, self.encoder.centres if self.abstraction is None else self.abstraction.count)

    @property
    def below(self) -> nn.Module:
        """The encoder as a module."""
        assert isinstance(self.encoder, nn.Module)
        return self.encoder

    @property
    def above(self) -> nn.ModuleList:
        """Everything but the encoder."""
        return nn.ModuleList([module for name, module in self.named_children() if name != "encoder"])

    def prepare(self, points: Tensor, ordered: bool) -> "Detector":
        """Create the projections, whose widths only a forward pass of the encoder tells. Weights come from torch's global generator."""
        with torch.no_grad():
            tokens, _ = self.encoded(points, ordered)
        for level in tokens:
            width = level.shape[-1]
            self.levels.append(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.dim), nn.ReLU(), nn.Linear(self.dim, self.dim)))
        self.levels.to(points.device)
        return self

    def encoded(self, points: Tensor, ordered: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens [B, G, E] and centres [B, G, 3], in the units of the points, of each level from fine to coarse."""
        read = self.frame(points)
        if self.abstraction is not None:
            assert isinstance(self.encoder, Stacked)
            tokens, level = self.abstraction(read, ordered)
            return [self.encoder.read(tokens, level)], [self.frame.back(level.centres)]
        patches = self.encoder.patchify(read, ordered)
        encoded = self.encoder(patches)
        finer = [ops.gather(level.tokens, level.slot) for level in encoded.finer]
        return [*finer, encoded.tokens], [self.frame.back(level.centres) for level in patches.levels]

    def forward(self, points: Tensor, ordered: bool) -> Predictions:
        """Predict the boxes of scenes.

        Args:
            points: [B, P, C].
            ordered: whether the first points are in farthest-point order: as many as the encoder has centres, and as there are queries.
        """
        xyz = points[..., :3]
        low, extent = bounds(xyz)
        tokens, centres = self.encoded(points, ordered)
        memory = torch.cat([project(level) for project, level in zip(self.levels, tokens, strict=True)], 1)  # [B, N, D]
        start = spread(xyz, ordered, self.queries)  # [B, Q, 3]

        def places(where: Tensor) -> Tensor:
            embedded: Tensor = self.fourier((where - low[:, None]) / extent[:, None])
            return embedded

        keys, asked = memory + places(torch.cat(centres, 1)), self.query(places(start))
        x = self._first(torch.cat(centres, 1), memory, start)
        outputs = []
        for layer in self.layers:
            x = layer(x, asked, memory, keys)
            outputs.append(self.norm(x))
        return self._boxes(torch.stack(outputs), start, extent)

    def _first(self, centres: Tensor, memory: Tensor, start: Tensor) -> Tensor:
        """What the first layer of the decoder reads for queries at `start` [B, Q, 3]: [B, Q, D]."""
        if self.options.start == "zeros":
            return torch.zeros(*start.shape[:2], self.dim, device=start.device)
        return ops.interpolate(start, centres, memory)

    def _boxes(self, x: Tensor, start: Tensor, extent: Tensor) -> Predictions:
        """The boxes of outputs x [L, B, Q, D] of queries at `start` [B, Q, 3], in scenes of size `extent` [B, 3]."""
        out = {name: network(x).float() for name, network in self.networks.items()}
        still = torch.zeros_like(out["logits"][..., :1])
        return Predictions(
            logits=out["logits"],
            centres=start + 2 * self.options.reach * (out["centres"].sigmoid() - 0.5),
            sizes=out["sizes"].sigmoid() * extent[:, None],
            bins=out.get("bins", still),
            rests=out.get("rests", still),
        )


def spread(xyz: Tensor, ordered: bool, count: int) -> Tensor:
    """`count` points of scenes [B, P, 3] that lie far apart, [B, count, 3]. They are the first ones of points that are `ordered`."""
    return (xyz if ordered else ops.gather(xyz, ops.farthest_points(xyz, count)))[:, :count]


def bounds(xyz: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest coordinates and size, [B, 3] each, of scenes with points [B, P, 3]. The size is at least 0.1 along each axis, as published."""
    low = xyz.amin(1)
    return low, (xyz.amax(1) - low).clamp(min=0.1)


def _abstraction(encoder: Encoder, options: DetectorOptions, frame: Frame) -> SetAbstraction:
    """The pre-encoder.

    Raises:
        UserError: the encoder cannot read tokens from outside.
    """
    if not isinstance(encoder, Stacked) or not encoder.width:
        raise UserError(
            f"model.pre_encoder: {type(encoder).__name__} cannot read tokens that it has not embedded itself; the Transformers of "
            "Point-MAE's kind can. Leave model.pre_encoder out"
        )
    radius = options.pre_radius / frame.scale
    return SetAbstraction(encoder.config.channels, encoder.width, count=options.pre_tokens, radius=radius, size=options.pre_points)
