"""The table of published architectures ("peers"), with the rules for reading their checkpoints.

    PEERS["point-mae"].recipe                            # "point-mae"

To add a peer, add an entry to `PEERS`; `mmpd-train import --as` then accepts its name. Add a line to the help of that command too. The
peer's encoder is one of `trainer.encoders.catalog`.

Letters: D width, E a teacher's width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from trainer.points import Convention
from trainer.recipes import StageName
from trainer.tasks.features import Readout

Value = int | str | tuple[int, ...] | tuple[float, ...]
"""Value of a setting."""


@dataclass(frozen=True, kw_only=True)
class Reads:
    """A form of features that a published classifier reads."""

    pool: Readout
    """How tokens become these features."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the encoder that gives these tokens, where they differ from the run's."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Rules for reading the files of one architecture. Every tensor name begins with a prefix in `renamed`, `dropped` or `replaced`."""

    recipe: str
    """Name of our recipe for the architecture's pre-training."""
    stage: StageName = "distill"
    settings: tuple[str, ...] = ()
    """Settings in which the published model differs from the recipe."""
    implied: Mapping[str, str] = field(default_factory=dict)
    """Endings of optional tensor names, with the setting that each one needs."""
    input: str
    """Input of the published model, in words: number and kind of points, and their groups."""
    points: Convention
    """The kind of points in the published training, for the run's file."""
    teacher: str = ""
    """Name of the model's teacher in `mmpd-cache teachers`, for stage 1; empty if that list does not have it."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Prefixes of tensor names: from the file to the form that the encoder's `from_published` reads."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Prefixes of tensors that our model does not use, with the reason. They are applied before `renamed`."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Prefixes of tensors that fine-tuning replaces, with the prefix of the replacement. If a file with a head has both, the replaced
    tensors are dropped, since fine-tuning did not load or train them."""
    signs: tuple[str, ...] = ()
    """Parts of tensor names that identify this architecture. Architectures may share a sign."""
    shared_signs: tuple[str, ...] = ()
    """Parts of tensor names that identify this architecture if a file has no sign of any peer."""
    head: str = "cls_head_finetune."
    """Prefix of the tensors of the classifier that fine-tuning adds."""
    reads: tuple[Reads, ...] = ()
    """Forms of features that a published classifier reads. Its width decides among them."""
    told: str = ""
    """A doubt about the classifier, in words; empty if its published code was read."""
    tuned: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    """By name of a class list: settings of the published fine-tuning for it, which no file stores."""


HEAD: Final = "head of a downstream task"
"""Reason to drop the head of a fine-tuned model. A file with such a head counts as fine-tuned."""
PROJECTION, SCALE = "pc_projection", "logit_scale"
"""Tensor names in ULIP's files: the projection [D, E], and the logarithm of the inverse temperature."""
ENDS: Final = {PROJECTION: ".head.layers.weight", SCALE: ".log_scale"}
"""Endings of our names for the projection and the scale, once for images and once for texts. Our projection is transposed."""
ULIP_HEADS: Final = ("align.pool=max", "align.projection=linear")
"""Settings in which ULIP's stage 1 differs from ours."""

_MAE: Final = {
    name: f"MAE_encoder.{name}"
    for name in ("encoder.", "reduce_dim.", "cls_", "img_token", "img_pos", "text_token", "text_pos", "pos_embed.", "blocks.", "norm.")
}
"""Prefixes of tensor names: from a fine-tuned Point-MAE, ACT or ReCon to the pre-trained model. Fine-tuned models have no common prefix."""
_TUNED: Final = {"cls_head_finetune.": HEAD}
_USUAL: Final = "1024 points, coordinates in the unit sphere, in 64 groups of 32"
_POINTS: Final = Convention(count=1024, colored=False)
_FROZEN: Final = "the frozen teacher"
_PATCHES: Final = "decoder of patch tokens alone: here the class, image and text token are joined to them"
_FEATURES: Final = "decoder of features: our decoder predicts coordinates"
_SLIP: Final = ("visual.", "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "image_projection", "text_projection")
_POINT_HEAD: Final = "point_encoder.cls_head_finetune."
_TOWERS: Final = dict.fromkeys((*_SLIP, "open_clip_model."), _FROZEN) | {_POINT_HEAD: HEAD}
_UNSEEN: Final = (
    "no fine-tuned file of this encoder is published: the classifier is read as Point-BERT's, which the authors' code has as a comment"
)

_Settings = Mapping[str, Value]
_GROUPED: Final[Mapping[str, _Settings]] = {
    "modelnet40": {"points.count": 1024, "points.normalize": "unit_sphere", "encoder.groups": 64, "encoder.group_size": 32},
    "scanobjectnn": {"points.count": 2048, "points.normalize": "none", "encoder.groups": 128, "encoder.group_size": 32},
}
"""Settings of the fine-tuning of Point-MAE, and of models that follow it."""
_ROUND: Final[_Settings] = {"points.count": 1024, "points.normalize": "unit_sphere", "encoder.counts": (512, 256, 64)}
_SCANNED: Final[_Settings] = {
    "points.count": 2048,
    "points.normalize": "none",
    "encoder.counts": (512, 256, 64),
    "encoder.sizes": (32, 16, 16),
}
"""Settings of the fine-tuning of Point-M2AE for ModelNet40 and for ScanObjectNN."""
_I2P_ROUND: Final[_Settings] = {**_ROUND, "encoder.sizes": (48, 24, 24), "encoder.radii": (0.24, 0.48, 0.96)}
_I2P_SCANNED: Final[_Settings] = {**_SCANNED, "encoder.radii": (0.48, 0.96, 1.92)}
"""Settings of the fine-tuning of I2P-MAE for both."""
_CLASS_AND_MAX: Final = (Reads(pool="max", settings={"class_token": "joined"}),)
"""The output of the class token joined with the maximum over patches."""

_POINT_MAE: Final = Peer(
    recipe="point-mae",
    input=_USUAL,
    points=_POINTS,
    implied={"cls_token": "encoder.class_token=attended"},
    renamed=_MAE,
    dropped=_TUNED,
    signs=("MAE_encoder.",),
    shared_signs=("blocks.blocks.",),
    reads=_CLASS_AND_MAX,
    tuned=_GROUPED,
)
_POINT_M2AE: Final = Peer(
    recipe="point-m2ae",
    input="2048 points, coordinates in the unit sphere, in 512, 256 and 64 groups of 16, 8 and 8",
    points=Convention(count=2048, colored=False),
    renamed={"norm.": "h_encoder.encoder_norms.2."},
    dropped=_TUNED,
    replaced={"h_encoder.encoder_norms.": "norm."},
    signs=("rec_head.",),
    shared_signs=("h_encoder.",),
    # Its model for ScanObjectNN leaves the first token out of the maximum, that for ModelNet40 adds mean and maximum.
    reads=(Reads(pool="mean_later_max"), Reads(pool="mean_plus_max")),
    tuned={"modelnet40": _ROUND, "scanobjectnn": _SCANNED},
)

PEERS: Final = {
    # https://arxiv.org/abs/2203.06604
    "point-mae": _POINT_MAE,
    # https://arxiv.org/abs/2205.14401
    "point-m2ae": _POINT_M2AE,
    # https://arxiv.org/abs/2402.10739
    "pointmamba": Peer(
        recipe="pointmamba", input=_USUAL, points=_POINTS, dropped=_TUNED, signs=(".mixer.",), reads=(Reads(pool="mean"),), tuned=_GROUPED
    ),
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
        reads=(Reads(pool="max"),),
        tuned=_GROUPED,
    ),
    # https://arxiv.org/abs/2212.08320
    "act": replace(
        _POINT_MAE,
        renamed={"ACT_encoder.": "MAE_encoder."} | _MAE,
        dropped={
            "ACT_encoder.cls_head.": "head of the class token",
            "ACT_encoder.lm_head.": "head of the dVAE's codes",
            **dict.fromkeys(("ACT_decoder.", "decoder_pos_embed.", "mask_token", "proj_head."), _FEATURES),
            "dvae_tokenizer.": _FROZEN,
            **_TUNED,
        },
        signs=("ACT_encoder.",),
    ),
    # https://arxiv.org/abs/2212.06785
    "i2p-mae": replace(
        _POINT_M2AE,
        dropped={
            "rec_head_3d.": "predicts 8 points a group, the decoder of Point-M2AE has a head for 16",
            "rec_head_2d.": "head of the image features",
            "clip_model.": _FROZEN,
            **_TUNED,
        },
        signs=("rec_head_3d.", "clip_model."),
        # Unlike Point-M2AE's, its model for ScanObjectNN takes the maximum over all tokens.
        reads=(Reads(pool="mean_max"), Reads(pool="mean_plus_max")),
        tuned={"modelnet40": _I2P_ROUND, "scanobjectnn": _I2P_SCANNED},
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
        head=_POINT_HEAD,
        reads=(Reads(pool="max"),),
        told=_UNSEEN,
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
        head=_POINT_HEAD,
        reads=(Reads(pool="max"),),
        told=_UNSEEN,
    ),
}
"""Peers by the name of the architecture."""

UNREAD: Final = "transformer_q."
"""Sign of a file from Point-BERT's own pre-training, which no peer reads. Point-MAE's blocks have the same names."""


def signs() -> dict[str, tuple[str, ...]]:
    """Parts of tensor names, with the architectures that have them. The first part that a file has decides.

    Later entries of the table come first, because their names contain names of the earlier, simpler models. Shared signs come last.
    """
    own = [sign for peer in reversed(PEERS.values()) for sign in peer.signs]
    shared = [sign for peer in reversed(PEERS.values()) for sign in peer.shared_signs]
    of_own = {sign: tuple(name for name, peer in PEERS.items() if sign in peer.signs) for sign in own}
    return of_own | {UNREAD: ()} | {sign: tuple(name for name, peer in PEERS.items() if sign in peer.shared_signs) for sign in shared}
