"""Named experiments. A recipe is a function that returns the full configurations of both stages. It may start from another recipe.

    config = configured("mmpd-no-shuffle", "distill", ["optim.batch=256", "encoder.depth=6"])

There is a recipe for every row of a paper's table: the method, its ablations, and the published methods for comparison. Comments mark our
own choices. The settings of published methods come from their publications and their authors' code, which are linked. What is still
otherwise than there, docs/howto/paper-table.md lists.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, overload

from cache_schema.errors import UserError
from cache_schema.settings import override
from cache_schema.spec import did_you_mean
from trainer.augment import AugmentOptions
from trainer.config import AlignConfig, DistillConfig, EncoderConfig, OptimConfig
from trainer.options import AlignOptions, DistillOptions
from trainer.part import DataConfig

StageName = Literal["align", "distill"]

TEACHERS: Final = ("openclip-bigg14", "siglip-so400m", "dinov2-large")
"""Teachers of the method's recipes, as `mmpd-cache teachers` names them: two with a text side, one without."""
NO_CHANGE: Final = AugmentOptions(rotate=False, tilt=0, scale=(1, 1), shift=0, drop=0, drop_color=0)
"""No augmentation."""
STORED_POSE: Final = dataclasses.replace(NO_CHANGE, scale=(0.8, 1.25), shift=0.1)
"""Augmentation for students of a cached guide: no rotation and no dropped points, since the guide has features of stored points."""
SHORT: Final = 50
"""Epochs of each of the three trainings of tiny-on-mae, the first of which is tiny-mae. `tiny` has 80 in each of two."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The configurations of an experiment: one row of a paper's table."""

    align: AlignConfig | None = None
    distill: DistillConfig | None = None


# ------------------------------------------------------------------------------------------------------------ the method


def mmpd() -> Experiment:
    """The method, ViT-S, three teachers: alignment, then distillation of its guide with token shuffling."""
    align = AlignConfig(
        encoder=EncoderConfig(name="pointmae-s"),
        data=DataConfig(teachers=TEACHERS),
        optim=OptimConfig(batch=512, epochs=250, lr=1e-3, warmup=1, betas=(0.9, 0.98), weight_decay=0.1),
    )
    distill = DistillConfig(
        encoder=EncoderConfig(name="pointmae-s"), augment=STORED_POSE, optim=OptimConfig(batch=128, epochs=300, lr=5e-4)
    )
    return Experiment(align=align, distill=distill)


def mmpd_2_teachers() -> Experiment:
    """The method with two teachers."""
    return _aligned(mmpd(), data=DataConfig(teachers=TEACHERS[:2]))


def mmpd_1_teacher() -> Experiment:
    """The method with one teacher."""
    return _aligned(mmpd(), data=DataConfig(teachers=TEACHERS[:1]))


def mmpd_no_shuffle() -> Experiment:
    """The method without token shuffling."""
    return _distilled(mmpd(), distill=DistillOptions(shuffle="none"))


def mmpd_no_global() -> Experiment:
    """The method without the global branch."""
    return _distilled(mmpd(), distill=DistillOptions(global_weight=0))


def mmpd_no_local() -> Experiment:
    """The method without the local branch."""
    return _distilled(mmpd(), distill=DistillOptions(local_weight=0))


def mmpd_dense() -> Experiment:
    """The method, and in stage 1 a local loss: tokens also learn the teachers' patch features on their groups of points."""
    # The weight is our choice: local and global losses of stage 1 then have about the same size.
    return _aligned(mmpd(), align=AlignOptions(local_weight=1.0), data=DataConfig(teachers=TEACHERS, dense=TEACHERS))


def mmpd_dense_tokens() -> Experiment:
    """As mmpd-dense, and stage 2 predicts patch features of the vision-only teacher instead of the guide's tokens, as in PatchAlign3D
    (arXiv:2601.02457). The guide's summary stays a target.
    """
    return _distilled(mmpd_dense(), distill=DistillOptions(tokens="dense"), data=DataConfig(dense=TEACHERS[2:]))


def mmpd_on_mae() -> Experiment:
    """The method in one course with Point-MAE: stage 1 starts from a run of the recipe point-mae (`--init`), and both stages go on
    predicting coordinates of hidden groups. Measured with the tiny encoder alone.
    """
    return _on_mae(mmpd(), point_mae())


# ------------------------------------------------------------------------------------------------------------- the peers


def scratch() -> Experiment:
    """No pre-training: saves random initial weights, as a baseline for evaluation."""
    base = point_mae()
    assert base.distill is not None
    # No step is taken, so no augmentation is drawn: the setting stays what it was, and random weights of before are the same row.
    unread = dataclasses.replace(base.distill.augment, per_axis=False)
    return _distilled(base, augment=unread, optim=dataclasses.replace(base.distill.optim, epochs=0))


def point_mae() -> Experiment:
    """Point-MAE (arXiv:2203.06604): predicts only coordinates of the hidden groups. Stage 2 only, from random weights."""
    return Experiment(
        distill=DistillConfig(
            augment=dataclasses.replace(NO_CHANGE, scale=(2 / 3, 3 / 2), per_axis=True, shift=0.2),
            optim=OptimConfig(batch=128, epochs=300, lr=1e-3, clip=0),
            distill=DistillOptions(local_weight=0, global_weight=0, reconstruction_weight=1),
            start="random",
        )
    )


def point_m2ae() -> Experiment:
    """Point-M2AE (arXiv:2205.14401): predicts coordinates on the middle level of three. Stage 2 only, from random weights. Published with
    blocks of 2048 points.
    """
    base = point_mae()
    assert base.distill is not None
    return _distilled(
        base,
        encoder=EncoderConfig(name="pointm2ae-s"),
        optim=dataclasses.replace(base.distill.optim, cosine=0.75),  # in the authors' code a run ends after 300 of 400 epochs
        distill=DistillOptions(local_weight=0, global_weight=0, reconstruction_weight=1, reconstruction_depth=1),
    )


def pointmamba() -> Experiment:
    """PointMamba (arXiv:2402.10739): like Point-MAE, but with PointMamba's encoder and decoder, and rotation about the up axis."""
    return _distilled(point_mae(), encoder=EncoderConfig(name="pointmamba-s"), augment=dataclasses.replace(NO_CHANGE, rotate=True))


def ulip2_like() -> Experiment:
    """The training of ULIP-2 (arXiv:2305.08275) on the encoder of the other rows: one teacher, captions without templates, stage 1 only.

    Contrast, pooling by the maximum and projection by a matrix are ULIP's, which has one matrix and one temperature for pictures and texts
    together. Its encoder is another (`--set encoder.name=pointbert-s`), and so are its number of points (8,192, or 10,000 with colours),
    the largest share of them that is dropped (7/8) and its learning rate (3e-3).
    """
    return Experiment(
        align=AlignConfig(
            encoder=EncoderConfig(name="pointmae-s"),
            data=DataConfig(teachers=TEACHERS[:1], templates=0),
            align=AlignOptions(positives="none", pool="max", projection="linear"),
            optim=OptimConfig(batch=512, epochs=250, lr=1e-3, lr_end=1e-5, warmup=1, betas=(0.9, 0.98), weight_decay=0.1, clip=0),
        )
    )


def recon_like() -> Experiment:
    """The training of ReCon (arXiv:2302.02318) in spirit: reconstruction, and regression to a teacher's image and text, in one stage.

    Pictures and texts are predicted from a summary of the visible tokens, and their losses reach the encoder. In ReCon three query tokens
    predict them, whose losses stop before the tokens of groups, and the loss is SmoothL1 of embeddings as they are.
    """
    return Experiment(
        distill=DistillConfig(
            data=DataConfig(teachers=TEACHERS[:1], templates=1),
            augment=dataclasses.replace(NO_CHANGE, rotate=True),
            optim=OptimConfig(batch=128, epochs=300, lr=5e-4, clip=0),
            distill=DistillOptions(local_weight=0, global_weight=0, reconstruction_weight=1, teacher_weight=1),
            align=AlignOptions(projection="linear"),
            objective="regress",
            start="random",
        )
    )


def act_like() -> Experiment:
    """The training of ACT (arXiv:2212.08320) in spirit: predicts the guide's tokens of hidden groups only. No global branch, no shuffling.

    The guide is our stage 1. In ACT it is an autoencoder of points around a frozen image Transformer, and the student has a class token.
    Augmentation draws one scale for all axes, where ACT has one for each: the guide's tokens belong to groups of the stored points.
    """
    return Experiment(
        align=mmpd().align,
        distill=DistillConfig(
            augment=dataclasses.replace(NO_CHANGE, scale=(2 / 3, 3 / 2), shift=0.2),
            optim=OptimConfig(batch=128, epochs=300, lr=1e-3, clip=0),
            distill=DistillOptions(global_weight=0, shuffle="none", masked_only=True, mask_ratio=0.8, local_depth=2),
            start="random",
        ),
    )


# --------------------------------------------------------------------------------------------------------- small machines


def tiny() -> Experiment:
    """The method with all teachers of the cache and a small encoder. Two CPU cores train it in minutes."""
    encoder = EncoderConfig(name="pointmae-tiny")
    align = AlignConfig(
        encoder=encoder,
        optim=OptimConfig(batch=32, epochs=80, lr=1e-3, warmup=5, betas=(0.9, 0.98), weight_decay=0.1),
        log_every=5,
        save_every=100,
    )
    distill = DistillConfig(
        encoder=encoder,
        augment=STORED_POSE,
        optim=OptimConfig(batch=32, epochs=80, lr=1e-3, warmup=5),
        distill=DistillOptions(local_depth=2, global_depth=1, drop_path=0),
        log_every=5,
        save_every=100,
    )
    return Experiment(align=align, distill=distill)


def tiny_on_mae() -> Experiment:
    """`tiny` in one course with Point-MAE, as mmpd-on-mae: three trainings of 50 epochs, the first by the recipe tiny-mae."""
    base = tiny()
    assert base.align is not None and base.distill is not None
    shorter = _aligned(base, optim=dataclasses.replace(base.align.optim, epochs=SHORT))
    return _on_mae(_distilled(shorter, optim=dataclasses.replace(base.distill.optim, epochs=SHORT)), tiny_mae())


def tiny_mae() -> Experiment:
    """Point-MAE with a small encoder, in minutes on two CPU cores. tiny-on-mae starts from such a run."""
    small, base = tiny().distill, point_mae().distill
    assert small is not None and base is not None
    return Experiment(
        distill=dataclasses.replace(
            base,
            encoder=small.encoder,
            optim=dataclasses.replace(base.optim, batch=small.optim.batch, epochs=SHORT, warmup=small.optim.warmup),
            distill=dataclasses.replace(base.distill, reconstruction_depth=2),
            log_every=small.log_every,
            save_every=small.save_every,
        )
    )


def smoke() -> Experiment:
    """Two epochs of `tiny` with batches of 8, in a few seconds. It only checks that everything works."""
    base = tiny()
    assert base.align is not None and base.distill is not None
    return Experiment(
        align=dataclasses.replace(base.align, log_every=1, optim=dataclasses.replace(base.align.optim, batch=8, epochs=2)),
        distill=dataclasses.replace(base.distill, log_every=1, optim=dataclasses.replace(base.distill.optim, batch=8, epochs=2)),
    )


RECIPES: Final[dict[str, Callable[[], Experiment]]] = {
    "tiny": tiny,
    "tiny-mae": tiny_mae,
    "tiny-on-mae": tiny_on_mae,
    "smoke": smoke,
    "mmpd": mmpd,
    "mmpd-2-teachers": mmpd_2_teachers,
    "mmpd-1-teacher": mmpd_1_teacher,
    "mmpd-no-shuffle": mmpd_no_shuffle,
    "mmpd-no-global": mmpd_no_global,
    "mmpd-no-local": mmpd_no_local,
    "mmpd-dense": mmpd_dense,
    "mmpd-dense-tokens": mmpd_dense_tokens,
    "mmpd-on-mae": mmpd_on_mae,
    "scratch": scratch,
    "point-mae": point_mae,
    "pointmamba": pointmamba,
    "point-m2ae": point_m2ae,
    "ulip2-like": ulip2_like,
    "recon-like": recon_like,
    "act-like": act_like,
}


def experiment(recipe: str) -> Experiment:
    """Both stages of a recipe.

    Raises:
        UserError: there is no such recipe.
    """
    if recipe not in RECIPES:
        raise UserError(f"no recipe {recipe!r}{did_you_mean(recipe, RECIPES)}")
    return RECIPES[recipe]()


@overload
def configured(recipe: str, stage: Literal["align"], assignments: Sequence[str] = ()) -> AlignConfig: ...
@overload
def configured(recipe: str, stage: Literal["distill"], assignments: Sequence[str] = ()) -> DistillConfig: ...
@overload
def configured(recipe: str, stage: StageName, assignments: Sequence[str] = ()) -> AlignConfig | DistillConfig: ...
def configured(recipe: str, stage: StageName, assignments: Sequence[str] = ()) -> AlignConfig | DistillConfig:
    """One stage of a recipe with `--set` assignments.

    Raises:
        UserError: the recipe or a field is unknown, a value is invalid, or the recipe does not have this stage.
    """
    both = experiment(recipe)
    config = both.align if stage == "align" else both.distill
    if config is None:
        other = "distill" if stage == "align" else "align"
        raise UserError(f"recipe {recipe} has no stage {stage}: its only stage is `mmpd-train {other} --recipe {recipe}`")
    return override(config, assignments)


def _on_mae(base: Experiment, mae: Experiment) -> Experiment:
    # The weights are our choice: with the tiny encoder and the starter teachers, the loss of coordinates then has about the size of the
    # other losses together, in both stages. The decoder of coordinates is as deep as that of `mae`, so that it goes on, too.
    assert base.align is not None and base.distill is not None and mae.distill is not None
    depth = mae.distill.distill.reconstruction_depth
    align = dataclasses.replace(base.align.align, reconstruction_weight=100, reconstruction_depth=depth)
    distill = dataclasses.replace(base.distill.distill, reconstruction_weight=30, reconstruction_depth=depth)
    return _distilled(_aligned(base, align=align, start="run"), distill=distill)


def _aligned(base: Experiment, **changes: Any) -> Experiment:
    assert base.align is not None
    return dataclasses.replace(base, align=dataclasses.replace(base.align, **changes))


def _distilled(base: Experiment, **changes: Any) -> Experiment:
    assert base.distill is not None
    return dataclasses.replace(base, distill=dataclasses.replace(base.distill, **changes))
