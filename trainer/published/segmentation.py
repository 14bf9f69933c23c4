"""Published models of part segmentation as ours: Point-MAE's, encoder and head.

    model, (categories, parts) = load(Path("best_model.pth"), encoder)   # trainer.tasks.propagation.Segmenter

The file is one that the authors' training for ShapeNetPart writes. Each of its tensors is used, or the file is refused. The published
layers read joined features: our head applies parts of these layers earlier (`trainer.tasks.propagation`), so their weights are split.

Letters: D width of the encoder, M categories, K parts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torch import Tensor

from cache_schema.errors import UserError
from trainer import checkpoint
from trainer.encoders import catalog
from trainer.encoders.protocol import Encoder
from trainer.foreign import read
from trainer.published.peers import PEERS
from trainer.recipes import configured
from trainer.tasks.propagation import CATEGORY, Head, Segmenter

PEER: Final = "point-mae"
"""The architecture whose models are read: a name of `trainer.published.peers.PEERS`."""
GROUPS: Final = (128, 32, 2048)
"""How the published models read a shape: number of groups, points of a group, points of a shape."""
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
    if absent := [name for name in (*SPLIT, "convs3.weight") if name not in state]:
        raise UserError(f"{file} is no model of part segmentation in the layout of {PEER}: it has no {absent[0]}")
    for name, value in state.items():
        if not value.isfinite().all():
            raise UserError(f"{file} is damaged, or its training diverged: {name} is not finite")
    width, classes, categories = encoder.dim, len(state["convs3.weight"]), state["label_conv.0.weight"].shape[1]
    head = Head((width,) * 3, XYZ, classes, categories, dropout=0.5)
    model = Segmenter(encoder, head)
    checkpoint.assign(model, _renamed(file, state, width), str(file))
    return model.eval(), (categories, classes)


def _renamed(file: Path, state: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """The tensors of a file by their names in `Segmenter`. Raises UserError for a name that is unknown."""
    peer = PEERS[PEER]
    from_published = catalog.family(configured(peer.recipe, peer.stage, peer.settings).encoder.name).from_published
    ours = {f"head.{name}": value for name, value in _split(file, state, width).items()}
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
        start = next((start for start in peer.renamed if name.startswith(start)), "")
        ours |= from_published({peer.renamed.get(start, "") + name.removeprefix(start): value})
    return ours


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
