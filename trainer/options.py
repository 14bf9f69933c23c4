"""The choices that a user has in both stages' losses, as frozen dataclasses.

    AlignOptions(pool="max")
    DistillOptions(local_weight=0, global_weight=0, reconstruction_weight=1)

They stand apart from the losses so that a configuration (`trainer.config`) can be read without them.
"""

from dataclasses import dataclass
from typing import Literal

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread


@dataclass(frozen=True, kw_only=True)
class AlignOptions:
    """Choices of stage 1."""

    pool: Literal["attention", "max"] = "attention"
    """How tokens become one summary: a learned query attends to them, or their maximum (ULIP's)."""
    heads: int = 6
    """Heads of attention pooling; the maximum has none."""
    projection: Literal["mlp", "linear"] = "mlp"
    """From the summary into a teacher's space: an MLP, or one matrix (ULIP's)."""
    positives: Literal["either", "text", "category", "none"] = "either"
    """Which other shapes of a batch are right answers too: those of the same text, of the same category, of either, or none."""
    teacher_drop: float = 0.0
    """Probability with which a shape ignores a teacher in a step; one teacher always stays (UNIC, https://arxiv.org/abs/2408.05088)."""

    def __post_init__(self) -> None:
        check_numbers(self, prefix="align.")
        if self.heads < 1:
            raise UserError(f"align.heads must be at least 1, got {self.heads}")
        if self.pool == "max":
            refuse_unread(self, ["heads"], "align.pool=max", prefix="align.")
        if not 0 <= self.teacher_drop < 1:
            raise UserError(f"teacher_drop must lie in [0, 1), got {self.teacher_drop}")


@dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """Choices of stage 2. A weight of 0 leaves a part out."""

    mask_ratio: float | None = None
    """Share of groups hidden; None for the encoder's own."""
    local_weight: float = 1.0
    """Guide's tokens from all slots."""
    global_weight: float = 1.0
    """Guide's summary from the visible tokens."""
    projected_weight: float = 0.0
    """Guide's summary in every teacher's space, through the guide's frozen heads: keeps zero-shot ability."""
    teacher_weight: float = 0.0
    """Teachers' own embeddings, through heads that are trained here."""
    reconstruction_weight: float = 0.0
    """Coordinates of the hidden groups, Chamfer-L2, as the encoder's authors do it."""
    shuffle: Literal["all", "visible_only", "none"] = "all"
    """What changes places before the local decoder: every token, the visible ones among themselves, or nothing."""
    masked_only: bool = False
    """Local loss on hidden slots only."""
    normalise_targets: bool = False
    """LayerNorm without affine on the guide's tokens and summary. The method compares them as they are; nobody measured what it changes."""
    local_depth: int = 4
    """Blocks of the local decoder."""
    global_depth: int = 1
    """Blocks of the global decoder."""
    reconstruction_depth: int = 4
    """Blocks of the coordinate decoder; of one with several levels, on each."""
    heads: int = 6
    """Attention heads of decoders and pooling."""
    drop_path: float = 0.1
    """In the local and the coordinate decoder: rate at the last block, rising linearly from 0."""

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
        if self.projected_weight and self.teacher_weight:
            raise UserError("projected_weight uses the teachers' heads frozen, teacher_weight trains them: set one of them to 0")

    @property
    def summarises(self) -> bool:
        return self.global_weight + self.projected_weight + self.teacher_weight > 0
