"""The peers: how checkpoints of each published architecture are read, as a table.

    PEERS["point-mae"].recipe                            # "point-mae"

A new peer is one entry of `PEERS`, which `mmpd-train import --as` then takes; its help has a line on it. Its encoder is one of
`trainer.encoders.catalog`.

Letters: D width, E a teacher's width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from trainer.points import Convention
from trainer.recipes import StageName


@dataclass(frozen=True, kw_only=True)
class Peer:
    """How files of one architecture are read. A name begins with a prefix in `renamed`, `dropped` and `replaced`."""

    recipe: str
    """Our recipe of its pre-training."""
    stage: StageName = "distill"
    settings: tuple[str, ...] = ()
    """Settings in which its model differs from the recipe's."""
    implied: Mapping[str, str] = field(default_factory=dict)
    """Ending of a name that not every file has, to the setting that it asks for."""
    input: str
    """What the model was published with, in words: points, what they are, and how they are grouped."""
    points: Convention
    """The same points, for the run's file."""
    teacher: str = ""
    """In stage 1 what `mmpd-cache teachers` calls the one it was aligned with; empty where that is none of them."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Prefix in its files, to the prefix that the encoder's `from_published` reads."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Prefix of names that have no place here, to the reason. This comes before `renamed`."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Prefix of names that fine-tuning neither loads nor trains, to the prefix of what it has in their place. Where a file with a head
    has both, the first are dropped."""
    signs: tuple[str, ...] = ()
    """Parts of tensor names that tell this architecture from all others, or from all but those with the same sign."""
    shared_signs: tuple[str, ...] = ()
    """Parts of tensor names that tell this architecture where no sign of any peer is found."""


HEAD: Final = "head of a downstream task"
"""Reason to drop the head of a fine-tuned model. A file with such a head counts as fine-tuned."""
PROJECTION, SCALE = "pc_projection", "logit_scale"
"""Names in ULIP's files: the projection [D, E], and the logarithm of the inverse temperature."""
ENDS: Final = {PROJECTION: ".head.layers.weight", SCALE: ".log_scale"}
"""Endings of our names for these two, once for images and once for texts. The projection is transposed here."""
ULIP_HEADS: Final = ("align.pool=max", "align.projection=linear")
"""How ULIP's stage 1 differs from ours, as settings."""

_MAE: Final = {
    name: f"MAE_encoder.{name}"
    for name in ("encoder.", "reduce_dim.", "cls_", "img_token", "img_pos", "text_token", "text_pos", "pos_embed.", "blocks.", "norm.")
}
"""Prefixes in a fine-tuned Point-MAE, ACT or ReCon, whose names have none in common, to those in a pre-trained one."""
_TUNED: Final = {"cls_head_finetune.": HEAD}
_CLASS_TOKEN: Final = {"cls_token": "encoder.class_token=attended"}
_USUAL: Final = "1024 points, coordinates in the unit sphere, in 64 groups of 32"
_POINTS: Final = Convention(count=1024, colored=False)
_FROZEN: Final = "the frozen teacher"
_PATCHES: Final = "decoder of patches alone: here the class, image and text token stand beside them"
_FEATURES: Final = "decoder of features, which a decoder of coordinates cannot take over"
_SLIP: Final = ("visual.", "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "image_projection", "text_projection")
_TOWERS: Final = dict.fromkeys((*_SLIP, "open_clip_model."), _FROZEN)
_M2AE_INPUT: Final = "2048 points, coordinates in the unit sphere, in 512, 256 and 64 groups of 16, 8 and 8"
_M2AE_POINTS: Final = Convention(count=2048, colored=False)
_M2AE_RENAMED: Final = {"norm.": "h_encoder.encoder_norms.2."}
_M2AE_REPLACED: Final = {"h_encoder.encoder_norms.": "norm."}

PEERS: Final = {
    # https://arxiv.org/abs/2203.06604
    "point-mae": Peer(
        recipe="point-mae",
        input=_USUAL,
        points=_POINTS,
        implied=_CLASS_TOKEN,
        renamed=_MAE,
        dropped=_TUNED,
        signs=("MAE_encoder.",),
        shared_signs=("blocks.blocks.",),
    ),
    # https://arxiv.org/abs/2205.14401
    "point-m2ae": Peer(
        recipe="point-m2ae",
        points=_M2AE_POINTS,
        input=_M2AE_INPUT,
        renamed=_M2AE_RENAMED,
        dropped=_TUNED,
        replaced=_M2AE_REPLACED,
        signs=("rec_head.",),
        shared_signs=("h_encoder.",),
    ),
    # https://arxiv.org/abs/2402.10739
    "pointmamba": Peer(recipe="pointmamba", input=_USUAL, points=_POINTS, dropped=_TUNED, signs=(".mixer.",)),
    # https://arxiv.org/abs/2302.02318
    "recon": Peer(
        recipe="point-mae",
        settings=("encoder.name=recon-s",),
        input=_USUAL,
        points=_POINTS,
        renamed=_MAE,
        dropped={
            **dict.fromkeys(("MAE_decoder.", "decoder_pos_embed.", "mask_token", "increase_dim."), _PATCHES),
            **dict.fromkeys(("img_encoder.", "text_encoder."), _FROZEN),
            **dict.fromkeys(("img_proj.", "text_proj."), "regresses to the frozen teacher"),
            "cls_proj.": "head of the class token",
            **_TUNED,
        },
        signs=("_contrast.",),
    ),
    # https://arxiv.org/abs/2212.08320
    "act": Peer(
        recipe="point-mae",
        input=_USUAL,
        points=_POINTS,
        implied=_CLASS_TOKEN,
        renamed={"ACT_encoder.": "MAE_encoder."} | _MAE,
        dropped={
            "ACT_encoder.cls_head.": "head of the class token",
            "ACT_encoder.lm_head.": "head of the dVAE's codes",
            **dict.fromkeys(("ACT_decoder.", "decoder_pos_embed.", "mask_token", "proj_head."), _FEATURES),
            "dvae_tokenizer.": _FROZEN,
            **_TUNED,
        },
        signs=("ACT_encoder.",),
        shared_signs=("blocks.blocks.",),
    ),
    # https://arxiv.org/abs/2212.06785
    "i2p-mae": Peer(
        recipe="point-m2ae",
        input=_M2AE_INPUT,
        points=_M2AE_POINTS,
        renamed=_M2AE_RENAMED,
        replaced=_M2AE_REPLACED,
        dropped={
            "rec_head_3d.": "predicts 8 points a group, the decoder of Point-M2AE has a head for 16",
            "rec_head_2d.": "head of the image features",
            "clip_model.": _FROZEN,
            **_TUNED,
        },
        signs=("rec_head_3d.", "clip_model."),
        shared_signs=("h_encoder.",),
    ),
    # https://arxiv.org/abs/2212.05171
    "ulip": Peer(
        recipe="ulip2-like",
        stage="align",
        settings=("encoder.name=pointbert-s", *ULIP_HEADS),
        points=Convention(count=8192, colored=False),
        input="8192 points, coordinates in the unit sphere, in 512 groups of 32",
        dropped=_TOWERS,
        signs=("point_encoder.",),
    ),
    # https://arxiv.org/abs/2305.08275
    "ulip-2": Peer(
        recipe="ulip2-like",
        stage="align",
        settings=("encoder.name=pointbert-s", "encoder.channels=6", "encoder.depth=18", *ULIP_HEADS),
        points=Convention(count=10000, colored=True, grey=0.4),
        input="10000 points, coordinates in the unit sphere and colours in 0..1 (all 0.4 where there are none), in 512 groups of 32",
        teacher="openclip-bigg14",
        dropped=_TOWERS,
        signs=("point_encoder.",),
    ),
}
"""Peers by the name of the architecture."""

UNREAD: Final = "transformer_q."
"""Sign of Point-BERT's own pre-training, whose files no peer reads. Its blocks have names that Point-MAE's have too."""


def signs() -> dict[str, tuple[str, ...]]:
    """Part of a tensor name to the architectures that have it. The first part that is found in a file decides.

    Later entries of the table come first, because names of the earlier, plainer models are part of theirs; shared signs come last.
    """
    own = [sign for peer in reversed(PEERS.values()) for sign in peer.signs]
    shared = [sign for peer in reversed(PEERS.values()) for sign in peer.shared_signs]
    of_own = {sign: tuple(name for name, peer in PEERS.items() if sign in peer.signs) for sign in own}
    return of_own | {UNREAD: ()} | {sign: tuple(name for name, peer in PEERS.items() if sign in peer.shared_signs) for sign in shared}
