"""Settings of the losses of both stages, as frozen dataclasses.

    AlignOptions(pool="max")
    DistillOptions(local_weight=0, global_weight=0, reconstruction_weight=1)

This module does not import the losses, so that a configuration (`trainer.config`) can be read without them.
"""

from dataclasses import dataclass
from typing import Final, Literal

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.spec import added

LOSS: Final = "loss"
"""Name of the loss that a stage minimises."""
UNBALANCED: Final = "unbalanced"
"""Name of the sum of a stage's losses before `AlignOptions.balance` changes them. If there is one, divergence shows in it alone."""


@dataclass(frozen=True, kw_only=True)
class AlignOptions:
    """Settings of the losses of stage 1."""

    pool: Literal["attention", "max"] = "attention"
    """How tokens are pooled to one summary. `attention`: a learned query attends to them. `max`: their maximum, as in ULIP."""
    heads: int = 6
    """Number of heads in attention pooling and in the decoder of coordinates. `pool=max` has no heads."""
    queries: Literal["shared", "teacher"] = added("shared")
    """Queries of attention pooling. `shared`: one, whose summary goes to all teachers. `teacher`: one for each teacher, as each teacher has
    a token of its own in AM-RADIO (https://arxiv.org/abs/2312.06709). The summary of the model, which is embedded, written by a guide and
    exported, is then their mean, and a teacher's heads read the summary of its own query, also in zero-shot classification."""
    projection: Literal["mlp", "linear"] = "mlp"
    """How a summary is projected into a teacher's space: by an MLP, or by one matrix as in ULIP."""
    positives: Literal["either", "text", "category", "none"] = "either"
    """Which other shapes of a batch count as right answers: those with the same text, the same category, either of these, or none."""
    local_weight: float = added(0.0)
    """Weight of the local loss of stage 1: the encoder's tokens predict the patch features of teachers on their groups of points. With 0 it
    is not computed."""
    reconstruction_weight: float = added(0.0)
    """Weight of Point-MAE's loss in stage 1: in a second pass the encoder sees a part of the groups, and a decoder predicts the coordinates
    of the others. It keeps the features of shapes that the teachers do not know. With 0 it is not computed."""
    reconstruction_depth: int = added(2)
    """Number of blocks in that decoder; on each level if it has several."""
    balance: Literal["none", "uncertainty", "running"] = added("none")
    """How losses of teachers are brought to a common scale, before their weights. `none`: not. `uncertainty`: each has a learned noise, by
    which it is divided (https://arxiv.org/abs/1705.07115). `running`: each is divided by its own running mean, as in AdaLoss
    (https://arxiv.org/abs/1708.06832)."""
    teacher_drop: float = 0.0
    """Probability that a shape ignores a teacher in a step; at least one teacher is always kept (UNIC, https://arxiv.org/abs/2408.05088)."""

    def __post_init__(self) -> None:
        check_numbers(self, prefix="align.")
        if self.heads < 1:
            raise UserError(f"align.heads must be at least 1, got {self.heads}")
        if self.pool == "max":
            refuse_unread(self, ["queries", *([] if self.reconstruction_weight else ["heads"])], "align.pool=max", prefix="align.")
        for name in ("local_weight", "reconstruction_weight", "reconstruction_depth"):
            if getattr(self, name) < 0:
                raise UserError(f"align.{name} must not be negative, got {getattr(self, name)}")
        if not self.reconstruction_weight:
            refuse_unread(self, ["reconstruction_depth"], "align.reconstruction_weight=0", prefix="align.")
        if not 0 <= self.teacher_drop < 1:
            raise UserError(f"teacher_drop must lie in [0, 1), got {self.teacher_drop}")


@dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """Settings of the losses of stage 2. A loss with weight 0 is not computed."""

    mask_ratio: float | None = None
    """Share of groups that are hidden; None for the encoder's own share."""
    local_weight: float = 1.0
    """Weight of the local loss: for every group, what `tokens` names is predicted."""
    tokens: Literal["guide", "dense"] = added("guide")
    """What the local loss predicts: the guide's tokens, or the patch features of one teacher on the groups, which `data.dense` names."""
    global_weight: float = 1.0
    """Weight of the global loss: the guide's summary is predicted from the visible tokens."""
    projected_weight: float = 0.0
    """Weight of the loss on the guide's summary in every teacher's space, by the guide's frozen heads. It keeps the zero-shot ability."""
    teacher_weight: float = 0.0
    """Weight of the losses on the teachers' own embeddings, by heads that are trained in this stage."""
    reconstruction_weight: float = 0.0
    """Weight of the Chamfer-L2 loss on coordinates of the hidden groups, as in the publication of the encoder."""
    shuffle: Literal["all", "visible_only", "none"] = "all"
    """Tokens that are shuffled before the local decoder: all, only the visible ones among themselves, or none."""
    masked_only: bool = False
    """Compute the local loss on hidden groups only."""
    normalise_targets: bool = False
    """Apply LayerNorm without weights to the guide's tokens and summary. The method does not do this; its effect is not measured."""
    standardise_targets: bool = added(False)
    """Take the mean and the deviation of each dimension out of the guide's tokens and summary: those of the batch, over all ranks. Without,
    the direction that all tokens share counts most in the cosine."""
    local_depth: int = 4
    """Number of blocks in the local decoder."""
    global_depth: int = 1
    """Number of blocks in the global decoder."""
    reconstruction_depth: int = 4
    """Number of blocks in the coordinate decoder; on each level if it has several."""
    heads: int = 6
    """Number of attention heads in decoders and pooling."""
    drop_path: float = 0.1
    """Rate of drop path at the last block of the local and the coordinate decoder, rising linearly from 0."""

    def __post_init__(self) -> None:
        check_numbers(self, prefix="distill.")
        weights = self.local_weight, self.global_weight, self.projected_weight, self.teacher_weight, self.reconstruction_weight
        if min(weights) < 0 or max(weights) == 0:
            raise UserError(f"weights must not be negative and one must be positive, got {weights}")
        depths = self.local_depth, self.global_depth, self.reconstruction_depth
        if self.heads < 1 or min(depths) < 0:
            raise UserError(f"distill: expected heads >= 1 and depths >= 0, got {self.heads} and {depths}")
        if not 0 <= self.drop_path < 1:
            raise UserError(f"drop_path must lie in [0, 1), got {self.drop_path}")
        if self.mask_ratio is not None and not 0 <= self.mask_ratio < 1:
            raise UserError(f"mask_ratio must lie in [0, 1), got {self.mask_ratio}")
        if not self.local_weight:
            refuse_unread(self, ["tokens"], "distill.local_weight=0", prefix="distill.")
        if self.predicts == "dense" and not self.global_weight:
            refuse_unread(
                self, ["normalise_targets", "standardise_targets"], "distill.tokens=dense without a global loss", prefix="distill."
            )
        if self.predicts != "guide" and not self.global_weight:
            refuse_unread(self, ["standardise_targets"], "no loss is on the guide's tokens or summary", prefix="distill.")
        if self.projected_weight and self.teacher_weight:
            raise UserError("projected_weight uses the teachers' heads frozen, teacher_weight trains them: set one of them to 0")

    @property
    def predicts(self) -> Literal["guide", "dense", ""]:
        """What the local loss predicts; empty if it is not computed."""
        return self.tokens if self.local_weight else ""

    @property
    def summarises(self) -> bool:
        """Whether a loss needs a summary of the shape."""
        return self.global_weight + self.projected_weight + self.teacher_weight > 0
