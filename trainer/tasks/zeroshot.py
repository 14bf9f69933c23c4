"""Zero-shot classification: a shape gets the class whose name is nearest in a teacher's embedding space. Nothing is fitted.

    scores = run(stage, cache, cache, Options(labels="modelnet40"))

The embedding of a class is the mean of its sentences' embeddings, normalised before and after the mean. A shape has two embeddings: one
from the head trained on pictures, one from the head trained on texts. By default the cosines of both are averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.checks import check_numbers
from cache_schema.classes import SOURCE
from cache_schema.errors import UserError
from cache_schema.products import LABELS, parts
from cache_schema.settings import refuse_unread
from cache_schema.spec import did_you_mean
from cache_schema.store import Cache
from trainer.batch import Side, target
from trainer.stage import Stage
from trainer.tasks.accuracy import confusion, counted, in_ranges
from trainer.tasks.features import Body, readings
from trainer.tasks.mistakes import mistakes
from trainer.tasks.predictions import Predictions, predictions
from trainer.tasks.protocol import told
from trainer.tasks.result import Metric, Scores
from trainer.tasks.seen import Sides
from trainer.tasks.shapes import of_split, relabelled
from trainer.tasks.teachers import contrasted, embeddings, same_teacher


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of zero-shot classification."""

    test_split: str | None = told(None)
    """Split with the test shapes; `all` for the whole cache; None for `test`, or `val` if there is no `test`."""
    labels: str | None = told(None)
    """Label set, in the test cache or the other one; None for `source`, or for the only label set of the cache."""
    teachers: tuple[str, ...] = ()
    """Teachers whose spaces are used; empty for all teachers that embedded the label set."""
    head: Literal["both", "image", "text"] = "both"
    """Embedding of a shape that is compared: from the head for pictures, from the head for texts, or both by their mean cosine."""
    average: bool = False
    """Average the scores of all stored blocks of a shape, instead of one repetition per block."""
    repeats: int | None = None
    """Number of repetitions, each on the next stored block of every shape; None for three, or all if there are fewer."""

    def __post_init__(self) -> None:
        check_numbers(self, {"repeats": 1})
        if self.average:
            refuse_unread(self, ["repeats"], "average=true, which takes every block")


SMOKE: Final = Options(repeats=1)
PROBES: Final = True


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Top-1, top-3 and top-5 accuracy, for every teacher. From `train_cache` only a label set is read, if the test cache has none."""
    met = {t.name: t for t in contrasted(stage, options.teachers, text=True)}
    teachers = list(met)
    home, name, embedded = find_label_set(options.labels, teachers, (test_cache, train_cache))
    missing = [t for t in teachers if t not in embedded]
    if missing and options.teachers:
        raise UserError(f"label set {name!r} of {home.path} was not embedded by {', '.join(missing)}; {_remedy(home)}")
    notes = tuple(f"label set {name!r} of {home.path} was not embedded by {t}" for t in missing)
    label_set = home.record(LABELS.product(set=name, teacher=embedded[0])).labels
    assert label_set is not None
    if len(label_set.classes) < 2:
        raise UserError(f"label set {name!r} of {home.path} has one class only; zero-shot classification needs two")
    for teacher in embedded:
        same_teacher(met[teacher], home, LABELS.product(set=name, teacher=teacher))
    own = name == SOURCE and home.home == test_cache.home
    shapes, lost = relabelled(of_split(test_cache, options.test_split), label_set.classes, f"label set {name!r} of {home.path}", own=own)

    body = Body.for_teachers(stage)
    blocks = [block for some in readings(options.average, options.repeats, body, shapes) for block in some]
    seen = [embeddings(stage, body, shapes, block) for block in blocks]
    truth = torch.from_numpy(shapes.labels)
    metrics: list[Metric] = []
    first: list[NDArray[np.int64]] = []
    kept: list[Predictions] = []
    for teacher in embedded:
        classes = class_embeddings(home, name, teacher)  # [K, E]
        heads: tuple[Side, ...] = ("image", "text") if options.head == "both" else (options.head,)
        _same_width(classes, seen[0][target(heads[0], teacher)], teacher)
        scores = [
            torch.stack([embedding[target(head, teacher)] @ classes.T for head in heads]).mean(0) for embedding in seen
        ]  # [n, K] each
        scores = [torch.stack(scores).mean(0)] if options.average else scores
        ranked = [s.argsort(dim=1, descending=True, stable=True) for s in scores]
        nearest = [order[:, 0].numpy() for order in ranked]
        first = first or nearest
        kept.append(predictions(f"{teacher} top-1", shapes, nearest))
        for k in (1, 3, 5):
            if k < len(label_set.classes):
                hits = tuple(100 * float((order[:, :k] == truth[:, None]).any(1).float().mean()) for order in ranked)
                chance = 100 * k / len(label_set.classes)
                metrics.append(counted(f"{teacher} top-{k}", hits, "blocks", len(shapes), chance, headline=k == 1))
        metrics += in_ranges(shapes, nearest, "blocks", f"{teacher} top-1")
    worst, drawing = mistakes(shapes, first)
    return Scores(
        test=shapes.data,
        sides=Sides(test=shapes),
        metrics=tuple(metrics),
        variant=_variant(name, home, test_cache),
        classes=label_set.classes,
        confusion=confusion(shapes.labels, first, len(label_set.classes)),
        predictions=tuple(kept),
        worst=worst,
        drawing=drawing,
        notes=(*lost, *notes, *body.notes(shapes)),
    )


def class_embeddings(cache: Cache, label_set: str, teacher: str) -> Tensor:
    """Embedding of each class, [K, E]: the mean of its sentences' embeddings, normalised before and after the mean."""
    return class_means(cache.column(LABELS.product(set=label_set, teacher=teacher)))


def class_means(embeddings: NDArray[np.float16]) -> Tensor:
    """Embedding of each class, [K, E], from those of its sentences, [K, M, E]; see `class_embeddings`."""
    sentences = torch.from_numpy(embeddings).float()
    return F.normalize(F.normalize(sentences, dim=-1).mean(1), dim=-1)


def find_label_set(name: str | None, teachers: Sequence[str], caches: Sequence[Cache]) -> tuple[Cache, str, list[str]]:
    """Find a label set.

    Args:
        name: its name; None for `source`, or for the only one of a cache.
        teachers: names of teachers, one of which must have embedded it.
        caches: where to look, in this order.

    Returns:
        The cache that holds it, its name, and the teachers that embedded it there.

    Raises:
        UserError: no cache has it, or a cache has several and none is named.
    """
    known: dict[str, list[str]] = {}
    for cache in caches:
        sets: dict[str, list[str]] = {}
        for names in map(parts, cache.of(LABELS)):
            if names["teacher"] in teachers:
                sets.setdefault(names["set"], []).append(names["teacher"])
        if name is None and len(sets) > 1 and SOURCE not in sets:
            raise UserError(f"{cache.path} has several label sets, name one with --set labels=NAME: {', '.join(sets)}")
        if sets and (name is None or name in sets):
            chosen = name or (SOURCE if SOURCE in sets else next(iter(sets)))
            return cache, chosen, sets[chosen]
        known |= sets
    what = f"label set {name!r}" if name else "label set"
    raise UserError(
        f"{caches[0].path} has no {what} embedded by {' or '.join(teachers)}{did_you_mean(name or '', known)}; {_remedy(caches[0])}"
    )


def _variant(name: str, home: Cache, test_cache: Cache) -> str:
    """The label set in words, for the title of a result; empty for the test cache's own classes."""
    own = "" if name == SOURCE else name
    if home.home == test_cache.home:
        return own
    return f"{own or 'classes'} of {home.path.resolve().name.removesuffix('.zarr')}"


def _remedy(cache: Cache) -> str:
    return f"`mmpd-cache labels {cache.path} --help` explains how to add one"


def _same_width(classes: Tensor, shapes: Tensor, teacher: str) -> None:
    if classes.shape[1] != shapes.shape[1]:
        raise UserError(
            f"{teacher}: class names have {classes.shape[1]} dimensions, the model {shapes.shape[1]}: another teacher of the same name"
        )
