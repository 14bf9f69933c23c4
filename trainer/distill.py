"""Stage 2: masked point modelling that distils a guide's features, globally and locally, with token shuffling.

    stage = Distill(encoder, DistillOptions())
    losses = stage(batch, stage.draw(len(batch.points), generator))      # {"local": ..., "global": ..., "loss": ...}

The student reads only the visible groups. The local branch shuffles visible tokens and mask tokens, adds the positions of the groups in
their usual order, and predicts the guide's token in every slot. So a student that starts as a copy of its guide cannot just return the
visible tokens: it has to find their places, as in a jigsaw. The global branch, a small decoder with attention pooling, predicts the guide's
summary from the visible tokens. Both follow the second stage of VideoPrism (https://arxiv.org/abs/2402.13217).

The baselines are settings of the same options. Point-MAE only reconstructs: `local_weight=0, global_weight=0, reconstruction_weight=1`. ACT
has only the local branch: `global_weight=0, shuffle="none", masked_only=True, mask_ratio=0.8, local_depth=2`. ReCon reconstructs, and
predicts the embeddings of the teachers in the same stage: `local_weight=0, global_weight=0, reconstruction_weight=1, teacher_weight=1`.

Letters: B shapes, P points, C channels, G groups (Gv visible, Gh hidden), K points per group, D student width, Dg guide width.
"""

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer import ops, reconstruction
from trainer.align import AlignDraw, PatchTeacher, TeacherLosses, patch_targets
from trainer.batch import Batch, Draw, Features
from trainer.distributed import mean, moments
from trainer.encoders.blocks import Transformer, initialise, keys, position_mlp
from trainer.encoders.protocol import Encoded, Encoder, missing
from trainer.heads import AttentionPool
from trainer.options import DistillOptions
from trainer.points import Convention, as_trained


@dataclass(frozen=True, kw_only=True)
class DistillDraw(Draw):
    """The random choices of one step of stage 2."""

    visible: Tensor
    """[B, Gv] int64, ascending."""
    hidden: Tensor
    """[B, Gh] int64, ascending."""
    order: Tensor | None
    """[B, G] int64: slot i of the local decoder holds token `order[i]`; None for no shuffling."""
    teachers: AlignDraw | None
    """Random choices of the teachers' losses; None if their heads are not trained."""
    curve: Tensor | None = None
    """[B] int64: the curve along which encoder and coordinate decoder read a shape; None if the encoder has no curves (`Curved`)."""
    ranking: Tensor | None = None
    """[B, G] int64: the random order of groups by which `visible` and `hidden` were chosen. This and `turns` are kept for shapes of which
    groups are missing; None if the encoder leaves none out."""
    turns: Tensor | None = None
    """[B, G] or [B, Gv] int64: the permutation that `order` was made of; None for no shuffling."""


class LocalBranch(nn.Module):
    """Predicts the guide's token in every slot from shuffled visible tokens."""

    def __init__(self, dim: int, target_dim: int, options: DistillOptions) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim))
        self.positions = position_mlp(dim)
        self.decoder = Transformer(dim, options.local_depth, options.heads, options.drop_path)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, target_dim)
        self.apply(initialise)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, encoded: Encoded, centres: Tensor, order: Tensor | None, real: Tensor | None = None) -> Tensor:
        """Predictions [B, G, Dg] for the groups at centres [B, G, 3]. Slot i has token `order[i]` and the position of group i.

        Of groups that are missing, where `real` [B, G] bool is False, predictions mean nothing, and they change no other one. `order` must
        not bring their tokens to other slots.
        """
        b, visible, _ = encoded.tokens.shape
        tokens = torch.cat([encoded.tokens, self.mask_token.to(encoded.tokens.dtype).expand(b, -1, -1)], 1)  # [B, Gv + 1, D]
        rows = torch.arange(visible, device=centres.device).expand(b, -1)
        source = rows.new_full(centres.shape[:2], visible).scatter(1, encoded.visible, rows)  # [B, G] rows of `tokens`
        if order is not None:
            source = source.gather(1, order)
        # Tokens are permuted, positions are not: this is the jigsaw.
        decoded = self.decoder(ops.gather(tokens, source), self.positions(centres), keys(real))  # [B, G, D]
        predicted: Tensor = self.head(self.norm(decoded))
        return predicted


class GlobalBranch(nn.Module):
    """Predicts the guide's summary from the visible tokens. It adds no positions, since the tokens contain them, and does not shuffle."""

    def __init__(self, dim: int, target_dim: int, options: DistillOptions) -> None:
        super().__init__()
        self.decoder = Transformer(dim, options.global_depth, options.heads, drop_path=0.0)
        self.pool = AttentionPool(dim, options.heads)
        self.head = nn.Linear(dim, target_dim)
        self.decoder.apply(initialise)
        self.head.apply(initialise)

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        """Predicted summaries [B, Dg] from visible tokens [B, Gv, D], of which those count that are real [B, Gv] bool; None for all."""
        predicted: Tensor = self.head(self.pool(self.decoder(tokens, None, keys(real)), real))
        return predicted


class Distill(nn.Module):
    """The student's encoder, its branches and their losses."""

    convention: Convention | None = None
    """The kind of points that the run was trained on; None if the model is new, or its file does not say."""

    def __init__(
        self,
        encoder: Encoder,
        options: DistillOptions,
        guide_dim: int | None = None,
        teachers: TeacherLosses | None = None,
        patches: tuple[PatchTeacher, ...] = (),
    ) -> None:
        """
        Args:
            encoder: the student.
            options: settings of the losses of stage 2.
            guide_dim: width of the guide's tokens and summary; None for the width of the student.
            teachers: heads that project into the teachers' spaces. They are trained if `teacher_weight` is not 0. Otherwise they are the
                guide's heads and stay frozen.
            patches: the teacher whose patch features are predicted instead of the guide's tokens; none with `tokens="guide"`.

        Raises:
            UserError: an option needs heads of teachers, hidden groups, or patch features of one teacher, but there are none.
        """
        super().__init__()
        width = guide_dim or encoder.dim
        if (options.projected_weight or options.teacher_weight) and teachers is None:
            raise UserError("projected_weight and teacher_weight need the teachers' heads: give `teachers`")
        if options.predicts == "dense" and len(patches) != 1:
            named = ", ".join(teacher.name for teacher in patches) or "none"
            raise UserError(
                f"distill.tokens=dense predicts the patch features of one teacher, got {named}: name it by --set data.dense=NAME"
            )
        self.options, self.encoder, self.patches = options, encoder, patches
        self.shown = reconstruction.shown(encoder, options.mask_ratio)
        if self.shown == encoder.groups and (options.masked_only or options.reconstruction_weight):
            raise UserError(f"masked_only and reconstruction need hidden groups: raise mask_ratio so that it hides one of {encoder.groups}")
        local_width = patches[0].dim if options.predicts == "dense" else width
        self.local = LocalBranch(encoder.dim, local_width, options) if options.local_weight else None
        self.summary = GlobalBranch(encoder.dim, width, options) if options.summarises else None
        self.reconstruction = None
        if options.reconstruction_weight:
            self.reconstruction = reconstruction.decoder(encoder, options.reconstruction_depth, options.heads, options.drop_path)
        self.teachers = teachers
        if teachers is not None:
            teachers.requires_grad_(options.teacher_weight > 0)

    def draw(self, count: int, generator: torch.Generator) -> DistillDraw:
        """Masks and permutations for `count` shapes, on the generator's device."""

        def permutations(length: int) -> Tensor:
            return torch.rand(count, length, generator=generator, device=generator.device).argsort(1)

        ranking = permutations(self.encoder.groups)
        visible, hidden = reconstruction.divided(ranking, self.encoder, self.options.mask_ratio)
        turns = None
        if self.local is not None and self.options.shuffle == "all":
            turns = permutations(self.encoder.groups)
        elif self.local is not None and self.options.shuffle == "visible_only":
            turns = permutations(self.shown)
        teachers = self.teachers.draw(count, generator) if self.teachers is not None and self.options.teacher_weight else None
        curve = None if self.reconstruction is None else reconstruction.draw_curve(self.encoder, count, generator)
        drawn = DistillDraw(visible=visible, hidden=hidden, order=self._order(visible, turns), teachers=teachers, curve=curve)
        return dataclasses.replace(drawn, ranking=ranking, turns=turns) if missing(self.encoder) == "mask" else drawn

    def _order(self, visible: Tensor, turns: Tensor | None) -> Tensor | None:
        """`DistillDraw.order` of a permutation of all groups, or of the visible ones."""
        if turns is None or self.options.shuffle == "all":
            return turns
        canonical = torch.arange(self.encoder.groups, device=visible.device).expand(len(visible), -1)
        return canonical.scatter(1, visible, visible.gather(1, turns))

    def _among(self, draw: DistillDraw, real: Tensor) -> DistillDraw:
        """The same random choices among the groups that are not missing, real [B, G] bool."""
        assert draw.ranking is not None
        visible, hidden = reconstruction.divided(draw.ranking, self.encoder, self.options.mask_ratio, real)
        turns = draw.turns
        if turns is not None:
            turns = reconstruction.within(turns, real if self.options.shuffle == "all" else real.gather(1, visible))
        return dataclasses.replace(draw, visible=visible, hidden=hidden, order=self._order(visible, turns))

    def forward(self, batch: Batch, draw: DistillDraw) -> dict[str, Tensor]:
        """Losses by name, and under "loss" their weighted sum.

        Raises:
            UserError: the batch lacks the guide's features.
        """
        options = self.options
        patches = self.encoder.patchify(batch.points, batch.ordered)
        real = patches.coarsest.real
        draw = draw if real is None else self._among(draw, real)
        chosen = {} if draw.curve is None else {"curve": draw.curve}
        encoded = self.encoder(patches, draw.visible, **chosen)
        losses: dict[str, Tensor] = {}
        total = batch.points.new_zeros(())
        if self.local is not None:
            losses["local"] = self._local(self.local(encoded, patches.coarsest.centres, draw.order, real), batch, draw, real)
            total = total + options.local_weight * losses["local"]
        if self.summary is not None:
            summary = self.summary(encoded.tokens, encoded.real).float()  # [B, Dg]
            if options.global_weight:
                losses["global"] = distance(summary, self._target(batch.guide_summary, "summary"))
                total = total + options.global_weight * losses["global"]
            if options.projected_weight:
                losses["projected"] = self._projected(summary, batch)
                total = total + options.projected_weight * losses["projected"]
            if draw.teachers is not None:
                assert self.teachers is not None
                of_teachers = self.teachers(summary, batch, draw.teachers)
                losses |= {product: loss for product, loss in of_teachers.items() if product != "loss"}
                total = total + options.teacher_weight * of_teachers["loss"]
        if self.reconstruction is not None:
            losses["reconstruction"] = self.reconstruction(encoded, patches, draw.hidden)
            total = total + options.reconstruction_weight * losses["reconstruction"]
        return losses | {"loss": total}

    @torch.no_grad()
    def features(self, points: Tensor, ordered: bool) -> Features:
        """Tokens and summary of whole shapes, points [B, P, C], without gradient. The model must be in evaluation mode."""
        assert not self.training, "batch norms would take their statistics from this batch"
        points = as_trained(points, self.convention, self.encoder.centres if ordered else 0)
        whole = self.encoder(self.encoder.patchify(points, ordered))
        return Features(tokens=whole.tokens, summary=None if self.summary is None else self.summary(whole.tokens, whole.real))

    def _local(self, predicted: Tensor, batch: Batch, draw: DistillDraw, real: Tensor | None) -> Tensor:
        """The local loss, a scalar, of what is predicted for each group [B, G, E]. Groups count that are real [B, G] bool; None for all."""
        seen = real
        if self.options.predicts == "dense":
            target, seen = patch_targets(batch, self.patches[0].name, predicted.shape[1])
            seen = seen if real is None else seen & real
        else:
            target = self._target(batch.guide_tokens, "tokens", real)
        if self.options.masked_only:
            predicted, target = ops.gather(predicted, draw.hidden), ops.gather(target, draw.hidden)
            seen = None if seen is None else seen.gather(1, draw.hidden)
        if seen is None:
            if missing(self.encoder) == "repeat":
                return distance(predicted, target)
            # Of this rank's shapes, no group is missing. Those of another rank may lack some, and all ranks have to take part in the mean.
            seen = torch.ones(predicted.shape[:2], dtype=torch.bool, device=predicted.device)
        return mean((1 - F.cosine_similarity(predicted.float(), target, dim=-1)).flatten(), seen.flatten())

    def _target(self, features: Tensor | None, what: str, real: Tensor | None = None) -> Tensor:
        """The guide's features in the form that the local and the global loss predict. real: which tokens are not missing, [B, G] bool."""
        features = _given(features, what)
        if self.options.standardise_targets:
            average, variance, _ = moments(features.flatten(0, -2), None if real is None else real.flatten())
            features = (features - average) / variance.sqrt().clamp(min=1e-6)
        return F.layer_norm(features, features.shape[-1:]) if self.options.normalise_targets else features

    def _projected(self, summary: Tensor, batch: Batch) -> Tensor:
        """Mean cosine distance between the predicted summary and the guide's summary in the teachers' spaces."""
        assert self.teachers is not None
        with torch.no_grad():
            targets = self.teachers.embed(_given(batch.guide_summary, "summary"))
        predicted = self.teachers.embed(summary)
        return torch.stack([distance(predicted[product], target) for product, target in targets.items()]).mean()


def _given(features: Tensor | None, what: str) -> Tensor:
    """The guide's features of a batch, in float32 and without gradient. Raises UserError if the batch has none."""
    if features is None:
        raise UserError(f"the batch has no guide {what}: name a guide of the cache, or run one online")
    return features.detach().float()


def distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cosine over all pairs of vectors [..., D], computed in float32."""
    return (1 - F.cosine_similarity(predicted.float(), target.float(), dim=-1)).mean()
