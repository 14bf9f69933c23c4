"""Stage 1: one encoder aligned with several teachers, in images and in texts.

    stage = Align(encoder, teachers, AlignOptions())
    losses = stage(batch, stage.draw(len(batch.points), generator))      # {"image/clip": ..., "text/clip": ..., "loss": ...}

If a teacher has a text side, its loss is contrast (InfoNCE) with its image and text embeddings of the shape. Otherwise its loss is
regression to its image embedding. Each pair of teacher and modality has its own head and, for contrast, its own temperature.

With several ranks (`torch.distributed`), the mean of a loss over the ranks is the loss of the whole batch. So gradients that are averaged
over the ranks, as DDP does, are the gradients of that loss. All ranks need batches of the same size.

A step may have several views and texts of each shape (`data.views`), for one pass of the encoder. Then a loss is the mean over them. In
contrast each view is the right answer of a softmax of its own, in which the views of other shapes are the wrong answers, all V of each.
In one softmax with V right answers these would compete: the loss would be least where all have one V-th of the probability, and would pull
apart what is nearer, instead of attending to the wrong answers (HOLA, https://arxiv.org/abs/2606.01334, calls this crowding).

Texts that are wrong of a shape in one thing (`data.hard`) are wrong answers of this shape in each of these softmaxes, as in
https://arxiv.org/abs/2210.01936, but of no other shape, of which they may be right.

Letters: B shapes, V views of each, A shapes of all ranks, Q extra negatives, H wrong texts of a shape, P points, C channels, D encoder
width, E a teacher's width, T teachers.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import added
from trainer import reconstruction
from trainer.batch import Batch, Draw, Features, Statistics, targets
from trainer.distributed import gathered, mean
from trainer.encoders.protocol import Encoded, Encoder, missing
from trainer.heads import AttentionPool, EachQuery, MaxPool, Projection
from trainer.options import UNBALANCED, AlignOptions
from trainer.points import Convention, as_trained


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The properties of a teacher that the losses need."""

    name: str
    dim: int
    """Embedding width, E."""
    text: bool
    """Whether its text embeddings are targets as well."""
    objective: Literal["contrast", "regress"]
    """`contrast`: symmetric InfoNCE. `regress`: 0.9 cosine distance + 0.1 SmoothL1 to standardised embeddings."""
    weight: float | None = None
    """Weight in the loss; None for one over the number of teachers."""
    fingerprint: str = ""
    """Fingerprint of its specification in the cache, by which an evaluation recognises it; empty if unknown."""
    imported: str = added("", identity=False)
    """Name of the model that its embeddings are told to be of, if they were imported from a file; empty for a teacher that made them."""


@dataclass(frozen=True, kw_only=True)
class PatchTeacher:
    """The properties of a teacher whose patch features on groups of points are targets of tokens."""

    name: str
    dim: int
    """Width of a patch feature, E."""
    text: bool
    """Whether the features lie in the space of the teacher's texts."""
    fingerprint: str = ""
    """Fingerprint of the teacher's specification in the cache; empty if unknown."""


@dataclass(frozen=True, kw_only=True)
class AlignDraw(Draw):
    """The random choices of one step of stage 1."""

    keep: Tensor
    """[B, T] bool: whether a teacher counts for a shape."""
    visible: Tensor | None = None
    """[B, Gv] int64, ascending: the groups from which the others' coordinates are predicted; None without that loss."""
    hidden: Tensor | None = None
    """[B, Gh] int64, ascending."""
    curve: Tensor | None = None
    """[B] int64: the curve along which the encoder reads the visible groups; None if it has no curves."""
    ranking: Tensor | None = None
    """[B, G] int64: the random order of groups by which `visible` and `hidden` were chosen; None if the encoder leaves none out."""


class Contrast(nn.Module):
    """Symmetric InfoNCE between summaries and one teacher's embeddings in one modality."""

    largest: float = math.log(100)

    def __init__(self, dim: int, width: int, linear: bool = False) -> None:
        super().__init__()
        self.head = Projection(dim, width, unit=True, linear=linear)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @torch.no_grad()
    def limit(self) -> None:
        """Bring the temperature back to its limit if it is beyond."""
        # On the parameter itself: a clamp in the graph would leave it without gradient beyond the limit.
        self.log_scale.clamp_(max=self.largest)

    def forward(
        self,
        summary: Tensor,
        target: Tensor,
        rows: Tensor,
        valid: Tensor,
        right: "Answers",
        extra: Tensor | None,
        hard: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            summary: [B, D], of each shape.
            target: [B, V, E], the teacher's embeddings of each shape.
            rows: [B] bool, shapes whose loss counts.
            valid: [B, V] bool, targets that are there. Others are no wrong answers either.
            right: the right answers among all ranks' shapes and the extra rows.
            extra: [Q, E], more wrong answers.
            hard: wrong answers of each shape for itself alone, [B, H, E], and which of them are there, [B, H] bool. What is wrong of one
                shape may be right of another.
        """
        views = target.shape[1]
        if self.training:
            self.limit()
        scale = self.log_scale.float().exp()
        points, target = self.head(summary), F.normalize(target.float(), dim=-1).flatten(0, 1)  # [B, E], [B * V, E]
        all_points, all_targets, all_valid = gathered(points), gathered(target), gathered(valid.flatten())
        if extra is not None:
            all_targets = torch.cat([all_targets, F.normalize(extra.float(), dim=-1)])
            all_valid = torch.cat([all_valid, all_valid.new_ones(len(extra))])
        logits, apart = scale * points @ all_targets.T, []  # [B, A * V + Q]
        for view in range(views):
            # Right answers of other views stay out of the softmax of this one.
            own = right.of_shapes & _of_view(view, views, len(all_points), logits.shape[1], logits.device)
            positive, usable = own & all_valid, all_valid & (own | ~right.of_shapes)
            if hard is None:
                apart.append(_cross_entropy(logits, positive, usable))
                continue
            wrong, there = hard[0], hard[1] & (hard[0] != 0).any(-1)  # zeros are no embedding
            beside = scale * (points.unsqueeze(1) * F.normalize(wrong.float(), dim=-1)).sum(-1)  # [B, H]
            none = torch.zeros_like(there)
            apart.append(_cross_entropy(torch.cat([logits, beside], 1), torch.cat([positive, none], 1), torch.cat([usable, there], 1)))
        to_target = torch.stack(apart, 1)  # [B, V]
        everyone = torch.ones_like(right.of_targets[:1])
        to_points = _cross_entropy(scale * target @ all_points.T, right.of_targets, everyone).unflatten(0, (-1, views))  # [B, V]
        return mean(over_views((to_target + to_points) / 2, valid), rows)


class Regression(nn.Module):
    """Distance of a head's output from one teacher's standardised embeddings in one modality, as in Theia
    (https://arxiv.org/abs/2407.20179).
    """

    average: Tensor
    deviation: Tensor

    def __init__(self, dim: int, width: int, average: Tensor, variance: Tensor, linear: bool = False) -> None:
        super().__init__()
        self.head = Projection(dim, width, unit=False, linear=linear)
        self.register_buffer("average", average.float().clone())
        self.register_buffer("deviation", variance.float().sqrt().where(variance > 1e-12, 1.0))  # a constant has no scale to take out

    def forward(self, summary: Tensor, target: Tensor, rows: Tensor, valid: Tensor) -> Tensor:
        """The loss, a scalar, given summary [B, D], target [B, V, E], the shapes that count, rows [B] bool, and the targets that are there,
        valid [B, V] bool.

        Of several views it is the mean of the losses, and not the loss to the mean of their embeddings: it is then the loss of one view,
        with less noise, and the weights of teachers mean the same for any number of views.
        """
        target = (target.float() - self.average) / self.deviation
        out = self.head(summary).unsqueeze(1).expand_as(target)
        cosine = 1 - F.cosine_similarity(out, target, dim=-1)
        return mean(over_views(0.9 * cosine + 0.1 * F.smooth_l1_loss(out, target, reduction="none").mean(-1), valid), rows)


class Balance(nn.Module):
    """Brings losses to a common scale. What it remembers of each is in the order of `products`."""

    def __init__(self, products: Sequence[str]) -> None:
        super().__init__()
        self.products = tuple(products)

    def forward(self, product: str, loss: Tensor, heard: Tensor, contrast: bool) -> Tensor:
        """A loss on the common scale.

        Args:
            product: its name.
            loss: the loss, a scalar, on one rank.
            heard: bool, whether it counts any shape on any rank.
            contrast: whether it is a cross-entropy. Otherwise it is a distance.
        """
        raise NotImplementedError


class Uncertainty(Balance):
    """Homoscedastic uncertainty (https://arxiv.org/abs/1705.07115): a loss is divided by a learned variance, or twice that if it is a
    distance, and the logarithm of the deviation is added, without which the variance would grow for ever.

    Both kinds of loss come to rest where they are multiplied by half of their inverse. The sum may become negative.
    """

    def __init__(self, products: Sequence[str]) -> None:
        super().__init__(products)
        self.log_variance = nn.Parameter(torch.zeros(len(self.products)))

    def forward(self, product: str, loss: Tensor, heard: Tensor, contrast: bool) -> Tensor:
        own = self.log_variance[self.products.index(product)]
        # A loss of no shape is 0, and would pull its variance to 0.
        return torch.where(heard, (-own).exp() * loss / (1 if contrast else 2) + own / 2, loss)


class RunningMean(Balance):
    """A loss is divided by its own running mean, over all ranks, as in AdaLoss (https://arxiv.org/abs/1708.06832). So all count the same,
    whatever their scale, and a loss that falls keeps its share. The sum of the losses says little: it stays near 1, also if a training
    diverges. `unbalanced` is watched instead."""

    mean: Tensor
    decay: float = 0.99

    def __init__(self, products: Sequence[str]) -> None:
        super().__init__(products)
        self.register_buffer("mean", torch.zeros(len(self.products)))

    def forward(self, product: str, loss: Tensor, heard: Tensor, contrast: bool) -> Tensor:
        place = self.products.index(product)
        before, now = self.mean[place].clone(), gathered(loss.detach().reshape(1)).mean()
        if self.training:
            moved = torch.where(before > 0, self.decay * before + (1 - self.decay) * now, now)
            self.mean[place] = before = torch.where(heard, moved, before)
        return loss / before.where(before > 0, 1)


BALANCES: Final[dict[str, type[Balance]]] = {"uncertainty": Uncertainty, "running": RunningMean}


class TeacherLosses(nn.Module):
    """The losses of all teachers, given a summary.

    With `queries="teacher"` every teacher's heads read a summary of its own. What is called the summary here is then all of them, one
    behind the other in the order of the teachers, [B, T * D], as `Align.summaries` gives them.
    """

    def __init__(self, dim: int, teachers: tuple[Teacher, ...], options: AlignOptions, statistics: Statistics) -> None:
        """
        Args:
            dim: width of the summary, D.
            teachers: at least one.
            options: choices of stage 1.
            statistics: mean and variance, needed for every product that is regressed.

        Raises:
            UserError: no teacher, two of one name, or statistics missing.
        """
        super().__init__()
        if not teachers or len({t.name for t in teachers}) < len(teachers):
            raise UserError(f"expected one or more teachers of different names, got {[t.name for t in teachers]}")
        self.teachers, self.options = teachers, options
        self.own = options.queries == "teacher"
        """Whether each teacher has a summary of its own."""
        if self.own and len(teachers) == 1:
            raise UserError("align.queries=teacher has no effect with one teacher: leave it out")
        self.targets = nn.ModuleDict()
        linear = options.projection == "linear"
        for teacher in teachers:
            for product in _products(teacher):
                if teacher.objective == "contrast":
                    self.targets[module_name(product)] = Contrast(dim, teacher.dim, linear)
                elif product in statistics:
                    self.targets[module_name(product)] = Regression(dim, teacher.dim, *statistics[product], linear=linear)
                else:
                    raise UserError(
                        f"{product}: regression needs the mean and variance of its embeddings, got them for {sorted(statistics)}"
                    )

        products = [product for teacher in teachers for product in _products(teacher)]
        self.balance = BALANCES[options.balance](products) if options.balance != "none" else None

    def draw(self, count: int, generator: torch.Generator) -> AlignDraw:
        """Random choices for `count` shapes, on the generator's device."""
        chance = torch.rand(count, len(self.teachers), generator=generator, device=generator.device)
        keep = (chance >= self.options.teacher_drop) | (chance == chance.amax(1, keepdim=True))
        return AlignDraw(keep=keep)

    def embed(self, summary: Tensor) -> dict[str, Tensor]:
        """The summary [B, D] in every teacher's space: product to [B, E]. It has unit length where the objective is contrast."""
        return {product: self.project(product, summary) for teacher in self.teachers for product in _products(teacher)}

    def project(self, product: str, summary: Tensor) -> Tensor:
        """The summary [B, D] in the space of a teacher by the head of one product, such as `text/clip`, [B, E]."""
        column = next(i for i, teacher in enumerate(self.teachers) if product in _products(teacher))
        embedded: Tensor = self._of(product).head(self._read(summary, column))
        return embedded

    def contrast(self, product: str) -> Contrast:
        """The head and the temperature of a product, such as `text/clip`, whose objective is contrast."""
        module = self._of(product)
        assert isinstance(module, Contrast)
        return module

    def forward(self, summary: Tensor, batch: Batch, draw: AlignDraw) -> dict[str, Tensor]:
        """Losses by product, and under "loss" their weighted sum. If the losses are balanced, under "unbalanced" the sum without that.

        Raises:
            UserError: the batch lacks a teacher's targets.
        """
        with torch.autocast(summary.device.type, enabled=False):  # logits reach 100, where bf16 counts in halves
            return self._losses(summary.float(), batch, draw)

    def _losses(self, summary: Tensor, batch: Batch, draw: AlignDraw) -> dict[str, Tensor]:
        right = answers(batch, self.options.positives)
        everyone = torch.ones_like(batch.label, dtype=torch.bool).unsqueeze(1).expand(-1, batch.views)
        losses, total, unbalanced = {}, summary.new_zeros(()), summary.new_zeros(())
        for column, teacher in enumerate(self.teachers):
            products, own = targets(teacher.name, teacher.text), self._read(summary, column)
            for side, product in products.items():
                text = side == "text"
                embedded = batch.text if text else batch.image
                if teacher.name not in embedded:
                    raise UserError(f"the batch has no target {product}, only {sorted(embedded)}")
                target = _by_view(embedded[teacher.name], 3)
                valid = _by_view((batch.text_valid if text else batch.image_valid).get(teacher.name, everyone), 2)
                rows = valid.any(1) & draw.keep[:, column]
                loss_of = self._of(product)
                if isinstance(loss_of, Contrast):
                    extra = batch.negatives and (batch.negatives.text if text else batch.negatives.image)[teacher.name]
                    hard = (batch.hard[teacher.name], batch.hard_valid) if text and batch.hard_valid is not None else None
                    loss = loss_of(own, target, rows, valid, right, extra, hard)
                else:
                    loss = loss_of(own, target, rows, valid)
                weight = 1 / len(self.teachers) if teacher.weight is None else teacher.weight
                losses[product] = loss
                if self.balance is not None:
                    unbalanced = unbalanced + weight * loss.detach() / len(products)
                    loss = self.balance(product, loss, gathered(rows).any(), isinstance(loss_of, Contrast))
                total = total + weight * loss / len(products)
        return losses | {"loss": total} | ({UNBALANCED: unbalanced} if self.balance is not None else {})

    def _read(self, summary: Tensor, column: int) -> Tensor:
        """What a teacher's heads read of the summary. [B, D]"""
        return summary.unflatten(-1, (len(self.teachers), -1))[..., column, :] if self.own else summary

    def _of(self, product: str) -> Contrast | Regression:
        module = self.targets[module_name(product)]
        assert isinstance(module, Contrast | Regression)
        return module


class LocalLosses(nn.Module):
    """The losses of tokens against teachers' patch features on the same groups of points: 1 - cosine, for each group that a view sees.

    The features are compared as they are, without taking out their mean: a teacher with a text side compares its patches with texts by the
    same cosine.
    """

    def __init__(self, dim: int, teachers: tuple[PatchTeacher, ...], linear: bool = False) -> None:
        """
        Args:
            dim: width of a token, D.
            teachers: at least one.
            linear: whether a head is one matrix, and no MLP.

        Raises:
            UserError: no teacher.
        """
        super().__init__()
        if not teachers:
            raise UserError("align.local_weight needs patch features of a teacher: `mmpd-cache add-dense CACHE TEACHER` makes them")
        self.teachers = teachers
        self.heads = nn.ModuleDict({module_name(t.name): Projection(dim, t.dim, unit=False, linear=linear) for t in teachers})

    def embed(self, tokens: Tensor) -> dict[str, Tensor]:
        """Tokens [..., D] in the space of each teacher's patches: name of the teacher to [..., E]."""
        return {teacher.name: self.heads[module_name(teacher.name)](tokens) for teacher in self.teachers}

    def forward(self, tokens: Tensor, batch: Batch, real: Tensor | None = None) -> dict[str, Tensor]:
        """Losses by name, such as `local/clip`, given tokens [B, G, D] and which of them are not missing, [B, G] bool.

        Raises:
            UserError: the batch lacks a teacher's patch features.
        """
        losses = {}
        with torch.autocast(tokens.device.type, enabled=False):
            for name, predicted in self.embed(tokens.float()).items():
                features, seen = patch_targets(batch, name, tokens.shape[1])
                seen = seen if real is None else seen & real
                apart = 1 - F.cosine_similarity(predicted, features, dim=-1)  # [B, G]
                losses[f"local/{name}"] = mean(apart.flatten(), seen.flatten())
        return losses


def patch_targets(batch: Batch, name: str, groups: int) -> tuple[Tensor, Tensor]:
    """A teacher's patch features of the first groups, [B, G, E] float32, and which of them a view sees, [B, G] bool.

    Raises:
        UserError: the batch has none of this teacher, or of too few groups.
    """
    if name not in batch.dense or batch.dense[name].shape[1] < groups:
        raise UserError(f"the batch has no patch features of {name} for {groups} groups, only of {sorted(batch.dense)}")
    return batch.dense[name][:, :groups].detach().float(), batch.dense_seen[name][:, :groups]


class Align(nn.Module):
    """Encoder, pooling and the teachers' losses."""

    convention: Convention | None = None
    """The kind of points that the run was trained on; None if the model is new, or its file does not say."""

    def __init__(
        self,
        encoder: Encoder,
        teachers: tuple[Teacher, ...],
        options: AlignOptions,
        statistics: Statistics | None = None,
        patches: tuple[PatchTeacher, ...] = (),
    ) -> None:
        """
        Args:
            encoder: the encoder.
            teachers: teachers of the summary.
            options: settings of the losses.
            statistics: see `TeacherLosses`.
            patches: teachers of the tokens; none without `local_weight`.
        """
        super().__init__()
        self.encoder = encoder
        queries = len(teachers) if options.queries == "teacher" else 1
        self.pool = AttentionPool(encoder.dim, options.heads, queries) if options.pool == "attention" else MaxPool()
        self.teachers = TeacherLosses(encoder.dim, teachers, options, statistics or {})
        self.options = options
        # Made last, so that all other weights begin as without them.
        self.local = LocalLosses(encoder.dim, patches, options.projection == "linear") if options.local_weight else None
        self.reconstruction = None
        if options.reconstruction_weight:
            if reconstruction.shown(encoder) == encoder.groups:
                raise UserError(f"align.reconstruction_weight needs hidden groups: the encoder hides none of {encoder.groups}")
            self.reconstruction = reconstruction.decoder(encoder, options.reconstruction_depth, options.heads, drop_path=0.0)

    def draw(self, count: int, generator: torch.Generator) -> AlignDraw:
        """Random choices for a step on `count` shapes, on the generator's device."""
        drawn = self.teachers.draw(count, generator)
        if self.reconstruction is None:
            return drawn
        ranking = torch.rand(count, self.encoder.groups, generator=generator, device=generator.device).argsort(1)  # [B, G]
        visible, hidden = reconstruction.divided(ranking, self.encoder)
        curve = reconstruction.draw_curve(self.encoder, count, generator)
        kept = ranking if missing(self.encoder) == "mask" else None
        return dataclasses.replace(drawn, visible=visible, hidden=hidden, curve=curve, ranking=kept)

    def forward(self, batch: Batch, draw: AlignDraw) -> dict[str, Tensor]:
        """Losses by product, and under "loss" their weighted sum."""
        patches = self.encoder.patchify(batch.points, batch.ordered)
        whole = self.encoder(patches)
        losses: dict[str, Tensor] = self.teachers(self.summaries(whole), batch, draw)
        total = losses["loss"]
        if self.local is not None:
            local: dict[str, Tensor] = self.local(whole.tokens, batch, whole.real)
            losses |= local
            total = total + self.options.local_weight * torch.stack(list(local.values())).mean()
        if self.reconstruction is not None:
            visible, hidden = draw.visible, draw.hidden
            if whole.real is not None:
                assert draw.ranking is not None
                visible, hidden = reconstruction.divided(draw.ranking, self.encoder, real=whole.real)
            assert hidden is not None
            # A pass of its own: the teachers' losses need all groups, and from all groups there is nothing left to predict.
            encoded = self.encoder(patches, visible, **({} if draw.curve is None else {"curve": draw.curve}))
            losses["reconstruction"] = self.reconstruction(encoded, patches, hidden)
            total = total + self.options.reconstruction_weight * losses["reconstruction"]
        return losses | {"loss": total}

    @property
    def reader(self) -> nn.Module:
        """What makes the summary that the teachers' heads read: the pooling, or the summaries of its queries if each teacher has one."""
        return EachQuery(self.pool) if self.teachers.own and isinstance(self.pool, AttentionPool) else self.pool

    def summaries(self, whole: Encoded) -> Tensor:
        """What the teachers' heads read, from the tokens of whole shapes: the summary [B, D], or one for each teacher, [B, T * D]."""
        if self.teachers.own:
            assert isinstance(self.pool, AttentionPool)
            return self.pool.each(whole.tokens, whole.real).flatten(1)
        summary: Tensor = self.pool(whole.tokens, whole.real)
        return summary

    @torch.no_grad()
    def features(self, points: Tensor, ordered: bool) -> Features:
        """Tokens and summary of whole shapes, points [B, P, C], without gradient. A guide writes these. The model must be in evaluation
        mode.
        """
        assert not self.training, "batch norms would take their statistics from this batch"
        points = as_trained(points, self.convention, self.encoder.centres if ordered else 0)
        whole = self.encoder(self.encoder.patchify(points, ordered))
        return Features(tokens=whole.tokens, summary=self.pool(whole.tokens, whole.real))


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The right answers of a step."""

    of_shapes: Tensor
    """[B, A * V + Q] bool: which targets are right for a shape, among those of all ranks' shapes, view by view of each, and the extra
    rows."""
    of_targets: Tensor
    """[B * V, A] bool: which shapes are right for a target."""


def answers(batch: Batch, mode: Literal["either", "text", "category", "none"]) -> Answers:
    """Right answers for the shapes of the batch and their targets.

    A shape is always its own right answer, also if it comes twice in a batch: batches are cut across epochs, and `data.passes` may repeat
    shapes. Of several texts one that is equal is enough.
    """
    more, views = batch.negatives, batch.views
    same = batch.index.unsqueeze(1) == gathered(batch.index)  # [B, A]
    if mode in ("either", "category"):
        same = same | _equal(batch.label, gathered(batch.label))
    of_shapes, of_targets = same.repeat_interleave(views, 1), same.repeat_interleave(views, 0)
    if more is not None:
        beyond = torch.zeros_like(of_shapes[:, :1]).expand(-1, len(more.label))  # [B, Q]
        if mode in ("either", "category"):
            beyond = beyond | _equal(batch.label, more.label)
        of_shapes = torch.cat([of_shapes, beyond], 1)
    if mode in ("either", "text") and batch.text_key is not None:
        keys = _by_view(batch.text_key, 2)  # [B, V]
        everywhere = gathered(keys)  # [A, V]
        targets = everywhere.flatten() if more is None else torch.cat([everywhere.flatten(), more.text_key])
        for view in range(views):  # one after the other: all pairs of views at once would be V times as large
            of_shapes = of_shapes | _equal(keys[:, view], targets)
            of_targets = of_targets | _equal(keys.flatten(), everywhere[:, view])
    return Answers(of_shapes=of_shapes, of_targets=of_targets)


def over_views(losses: Tensor, valid: Tensor) -> Tensor:
    """Mean over the views of each shape that are there, losses [B, V] to [B]; 0 without any. valid: [B, V] bool."""
    return losses.where(valid, 0).sum(1) / valid.sum(1).clamp(min=1)


def _equal(here: Tensor, there: Tensor) -> Tensor:
    """Which numbers [n] equal which others [m], [n, m] bool. Negative ones stand for nothing, and equal none."""
    return (here.unsqueeze(1) == there) & (here.unsqueeze(1) >= 0)


def _by_view(tensor: Tensor, axes: int) -> Tensor:
    """A tensor of a batch with an axis for views, [B, V, ...], which it has not if there is one view. `axes`: how many it then has."""
    return tensor if tensor.dim() == axes else tensor.unsqueeze(1)


def _of_view(view: int, views: int, shapes: int, columns: int, device: torch.device) -> Tensor:
    """Which columns of logits are one view of the A shapes, or extra rows, which have one view. [A * V + Q] bool"""
    column = torch.arange(columns, device=device)
    return (column % views == view) | (column >= shapes * views)


def _cross_entropy(logits: Tensor, positive: Tensor, usable: Tensor) -> Tensor:
    """Cross-entropy [n] of logits [n, m] with the truth spread evenly over the positives [n, m]. Only usable columns count, [n, m]."""
    truth = (logits * positive).sum(1) / positive.sum(1).clamp(min=1)
    return logits.masked_fill(~usable, -1e4).logsumexp(1) - truth  # exp(-1e4) is 0, and a row with no usable key stays finite


def _products(teacher: Teacher) -> tuple[str, ...]:
    return tuple(targets(teacher.name, teacher.text).values())


def module_name(product: str) -> str:
    """The name of a product, or of a teacher, as the name of a submodule, in which torch allows no dot."""
    return product.replace(".", "_")
