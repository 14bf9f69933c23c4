"""Published models of part segmentation as ours, encoder and head: those of Point-MAE and Point-M2AE.

    model, (categories, parts) = load(Path("best_model.pth"), encoder)   # trainer.tasks.propagation.Segmenter

The file is one that the authors' training for ShapeNetPart writes. Each of its tensors is used, or the file is refused. The published
layers read joined features: our head applies parts of these layers earlier (`trainer.tasks.propagation`), so their weights are split.

Letters: B shapes, Q points, D width of the encoder, M categories, K parts.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer import checkpoint
from trainer.encoders import catalog
from trainer.encoders.protocol import Encoder, Scale
from trainer.foreign import read
from trainer.published.peers import PEERS
from trainer.recipes import configured
from trainer.tasks.propagation import CATEGORY, Category, Head, Join, Normed, Segmenter

FLAT: Final = "point-mae"
PYRAMID: Final = "point-m2ae"
"""The architectures whose models are read: names of `trainer.published.peers.PEERS`."""
POINTS: Final = 2048
"""Number of points of a shape in the published models."""
GROUPS: Final = (128, 32)
"""Number of groups, and of points of a group, in Point-MAE's model. Point-M2AE's model has the groups of its pre-training."""
XYZ: Final = 3
"""Number of coordinates, which the first published layer reads before the features."""
NORMS: Final = {
    "label_conv.1.": "category.norm.",
    "propagation_0.mlp_bns.0.": "normed.norm.",
    "propagation_0.mlp_bns.1.": "normed_point.norm.",
    "bns1.": "normed_joined.norm.",
    "bns2.": "normed_last.norm.",
}
"""Prefixes of the head's batch norms: theirs, and ours in `Head`."""
LAYERS: Final = {"propagation_0.mlp_convs.1.": "point.", "convs2.": "last.", "convs3.": "out."}
"""Prefixes of the head's layers that are one layer in both."""
_LEVEL: Final = "propagations.0.mlp_convs.0.weight"
"""Name of a tensor that only the head of a pyramid has."""
_LAST: Final = ("convs3.weight", "convs4.weight")
"""Names of the weights of the last layer: in the head of one level, and in that of a pyramid."""
SPLIT: Final = ("label_conv.0.weight", "propagation_0.mlp_convs.0.weight", "convs1.weight")
"""Weights that `_split` reads; their biases have the names in `BIASES`."""
BIASES: Final = {"propagation_0.mlp_convs.0.bias": "join.more.bias", "convs1.bias": "local.bias"}
"""Biases of the layers that are split: theirs, and ours in `Head`."""


def load(file: Path, encoder: Encoder, key: str = "") -> tuple[Segmenter, tuple[int, int]]:
    """A published model of part segmentation, in evaluation mode; and its numbers of categories and parts, M and K.

    Args:
        file: a file of `torch.save`, or safetensors.
        encoder: an encoder of the published sizes, on the CPU. Its weights are replaced.
        key: key of the weights in the file; empty to find them.

    Raises:
        UserError: the file is damaged, or holds another model: a tensor is missing, is not expected, has another shape, or is not finite.
    """
    state = {name.removeprefix("module."): value for name, value in read(file, key).items()}
    pyramid = _LEVEL in state
    needed = (SPLIT[0], SPLIT[2], _LAST[pyramid], *(_joined(pyramid)))
    if absent := [name for name in needed if name not in state]:
        raise UserError(f"{file} is no model of part segmentation in the layout of {FLAT} or {PYRAMID}: it has no {absent[0]}")
    for name, value in state.items():
        if not value.isfinite().all():
            raise UserError(f"{file} is damaged, or its training diverged: {name} is not finite")
    classes, categories = len(state[_LAST[pyramid]]), state[SPLIT[0]].shape[1]
    head: nn.Module
    if pyramid:
        head, ours = PyramidHead(state), _renamed_pyramid(state)
    else:
        head, ours = Head((encoder.dim,) * 3, XYZ, classes, categories, dropout=0.5), _renamed(file, state, encoder.dim)
    model = Segmenter(encoder, head)
    checkpoint.assign(model, ours, str(file))
    return model.eval(), (categories, classes)


def _joined(pyramid: bool) -> tuple[str, ...]:
    """Names of the weights of the layers that read coordinates and interpolated features."""
    return tuple(f"propagations.{i}.mlp_convs.0.weight" for i in range(3)) if pyramid else (SPLIT[1],)


def _encoder(state: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """The tensors of an encoder by their names in `Segmenter`. Raises UserError for a name that is unknown."""
    peer, ours = PEERS[architecture], dict[str, Tensor]()
    from_published = catalog.family(configured(peer.recipe, peer.stage, peer.settings).encoder.name).from_published
    for name, value in state.items():
        start = next((start for start in peer.renamed if name.startswith(start)), "")
        ours |= from_published({peer.renamed.get(start, "") + name.removeprefix(start): value})
    return ours


def _renamed(file: Path, state: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """The tensors of a file by their names in `Segmenter`. Raises UserError for a name that is unknown."""
    ours = {f"head.{name}": value for name, value in _split(file, state, width).items()}
    others = {}
    for name, value in state.items():
        if name in SPLIT:
            continue
        if name in BIASES:
            ours[f"head.{BIASES[name]}"] = value
            continue
        known = NORMS | LAYERS
        start = next((start for start in known if name.startswith(start)), "")
        if start:
            ours[f"head.{known[start]}{name.removeprefix(start)}"] = _flat(value)
            continue
        others[name] = value
    return ours | _encoder(others, FLAT)


def _split(file: Path, state: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """The layers that read joined features, as our separate layers.

    Theirs read [coordinates; three scales], and [point; maximum of three scales; mean of three scales; category].
    """
    category, lift, join = (_flat(state[name]) for name in SPLIT)
    whole = 6 * width + CATEGORY
    if lift.ndim != 2 or lift.shape[1] != XYZ + 3 * width or join.ndim != 2 or join.shape[1] <= whole:
        raise UserError(
            f"{file} belongs to an encoder of another width than {width}: its head reads {list(lift.shape)} and {list(join.shape)}"
        )
    more, *scales = lift.split((XYZ, width, width, width), 1)
    local, shared = join.split((join.shape[1] - whole, whole), 1)
    return {
        "category.embed.weight": category,
        "join.more.weight": more,
        **{f"join.scales.{i}.weight": scale for i, scale in enumerate(scales)},
        "local.weight": local,
        "shared.weight": shared,
    }


def _flat(value: Tensor) -> Tensor:
    """The weight of a 1x1 convolution as that of a linear layer; other tensors as they are."""
    return value.squeeze(-1) if value.ndim == 3 else value


# ------------------------------------------------------------------------------------------------------------- the pyramid


class PyramidHead(nn.Module):
    """Point-M2AE's head (https://arxiv.org/abs/2205.14401): each level has its own layers at the points. The whole shape is the sum of
    maximum and mean over points."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """
        Args:
            state: the published tensors, which tell the sizes.
        """
        super().__init__()
        self.category = Category(state[SPLIT[0]].shape[1])
        sizes = [(len(state[f"propagations.{i}.mlp_convs.0.bias"]), len(state[f"propagations.{i}.mlp_convs.1.bias"])) for i in range(3)]
        inputs = [state[name].shape[1] - XYZ for name in _joined(True)]
        self.joins = nn.ModuleList([Join((width,), XYZ, wide) for width, (wide, _) in zip(inputs, sizes, strict=True)])
        self.normed = nn.ModuleList([Normed(wide) for wide, _ in sizes])
        self.points = nn.ModuleList([nn.Linear(wide, out) for wide, out in sizes])
        self.normed_points = nn.ModuleList([Normed(out) for _, out in sizes])
        widths = [len(state[f"convs{i}.bias"]) for i in range(1, 5)]
        joined = sum(out for _, out in sizes)
        self.local, self.shared = nn.Linear(joined, widths[0]), nn.Linear(joined + CATEGORY, widths[0], bias=False)
        self.last = nn.ModuleList([nn.Linear(a, b) for a, b in itertools.pairwise(widths)])
        self.normed_last = nn.ModuleList([Normed(width) for width in widths[:3]])

    def forward(self, points: Tensor, scales: Sequence[Scale], category: Tensor) -> Tensor:
        """Logits [B, Q, K] of points [B, Q, 3] in shapes of a category [B]."""
        each = []
        for scale, join, normed, layer, last in zip(scales, self.joins, self.normed, self.points, self.normed_points, strict=True):
            each.append(last(layer(normed(join(points, (scale,), points)))))
        joined = torch.cat(each, -1)
        whole = torch.cat([joined.amax(1) + joined.mean(1), self.category(category)], -1)
        x: Tensor = self.local(joined) + self.shared(whole).unsqueeze(1)
        for norm, layer in zip(self.normed_last, self.last, strict=True):
            x = layer(norm(x))
        return x


def _renamed_pyramid(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file of Point-M2AE by their names in `Segmenter`. Raises UserError for a name that is unknown.

    The finer levels end with a norm with weights, which ours does not have (`PointM2AE.layers`). The next layer is linear in its result,
    also after the interpolation, whose weights have the sum 1: so the norm's weights become a part of that layer.
    """
    ours, rest = {"category.embed.weight": _flat(state[SPLIT[0]])}, dict(state)
    del rest[SPLIT[0]]
    for i, name in enumerate(_joined(True)):
        more, lift = _flat(rest.pop(name)).tensor_split((XYZ,), 1)
        bias = rest.pop(f"propagations.{i}.mlp_convs.0.bias")
        if i < 2:  # the norm of the coarsest level is the encoder's own
            scale, shift = (rest.pop(f"h_encoder.encoder_norms.{i}.{kind}") for kind in ("weight", "bias"))
            bias, lift = bias + lift @ shift, lift * scale
        ours |= {f"joins.{i}.scales.0.weight": lift, f"joins.{i}.more.weight": more, f"joins.{i}.more.bias": bias}
    joined = _flat(rest.pop("convs1.weight"))  # reads [whole shape; category; points]
    count = joined.shape[1] - (joined.shape[1] - CATEGORY) // 2
    ours["shared.weight"], ours["local.weight"] = joined.tensor_split((count,), 1)
    ours["local.bias"] = rest.pop("convs1.bias")
    names = {"label_conv.1.": "category.norm."}
    for i in range(3):
        names |= {f"propagations.{i}.mlp_bns.0.": f"normed.{i}.norm.", f"propagations.{i}.mlp_bns.1.": f"normed_points.{i}.norm."}
        names |= {f"propagations.{i}.mlp_convs.1.": f"points.{i}.", f"convs{i + 2}.": f"last.{i}."}
        names[f"bns{i + 1}."] = f"normed_last.{i}.norm."
    for name in list(rest):
        if start := next((start for start in names if name.startswith(start)), ""):
            ours[names[start] + name.removeprefix(start)] = _flat(rest.pop(name))
    return {f"head.{name}": value for name, value in ours.items()} | _encoder(rest, PYRAMID)
