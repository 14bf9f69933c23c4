"""Cross-modal retrieval: given a shape's points, find its pictures and its texts among those of the whole split.

    scores = run(stage, cache, cache, Options())                        # recall at 1, 5 and 10 of 3D to image and 3D to text

A shape's pictures, and its texts, are one entry each: the mean of their embeddings at unit length, over all captioners. Shapes whose
entries are equal, as with a caption that several share, are one answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.products import IMAGE, TEXT
from cache_schema.spec import added
from cache_schema.store import Cache
from trainer.align import Teacher
from trainer.batch import Side, target, targets
from trainer.captions import chosen
from trainer.stage import Stage
from trainer.tasks.accuracy import counted
from trainer.tasks.features import Body, repeats
from trainer.tasks.protocol import told
from trainer.tasks.result import Scores
from trainer.tasks.shapes import Shapes, of_split
from trainer.tasks.teachers import contrasted, embeddings, same_teacher

CHUNK: Final = 1024
"""Number of shapes handled at a time. Changes no result."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Choices of retrieval."""

    test_split: str | None = told(None)
    """None for `test`, or `val` where there is no `test`; `all` for the whole cache."""
    teachers: tuple[str, ...] = ()
    """Which teachers' spaces; empty for all that were met by contrast."""
    captions: tuple[str, ...] = added(())
    """Names of the captions that the texts are of; empty for all that the test cache has."""
    repeats: int | None = None
    """Each with the next stored block of every shape; None for three, or as many as there are."""

    def __post_init__(self) -> None:
        check_numbers(self, {"repeats": 1})


SMOKE: Final = Options(repeats=1)


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Recall for every teacher and modality. `train_cache` is not read."""
    teachers = contrasted(stage, options.teachers, text=False)
    shapes = of_split(test_cache, options.test_split, labelled=False)
    stored = {
        (side, teacher.name): _stored(test_cache, side, teacher, options)
        for teacher in teachers
        for side in targets(teacher.name, teacher.text)
    }
    body = Body.of(stage, "summary")
    blocks = range(repeats(options.repeats, body, shapes))
    seen = [embeddings(stage, body, shapes, block) for block in blocks]
    metrics, notes = [], [*body.notes(shapes)]
    for (side, name), products in stored.items():
        entries, answer = gallery(shapes, products)
        if len(entries) < len(shapes):
            notes.append(f"{target(side, name)}: {len(shapes)} shapes share {len(entries)} different entries")
        if len(products) > 1:
            notes.append(f"{target(side, name)}: the texts of a shape are those of {', '.join(products)}")
        places = [ranks(embedding[target(side, name)], entries, answer) for embedding in seen]
        for k in (1, 5, 10):
            if k < len(entries):
                values = tuple(100 * float((place < k).float().mean()) for place in places)
                chance = 100 * k / len(entries)
                metrics.append(counted(f"{name} 3D to {side} R@{k}", values, "blocks", len(shapes), chance, headline=k == 1))
    if not metrics:
        raise UserError(f"{shapes.name} holds {len(shapes)} shapes without two different entries; there is nothing to retrieve")
    return Scores(test=shapes.data, metrics=tuple(metrics), notes=tuple(notes))


def _stored(cache: Cache, side: Side, teacher: Teacher, options: Options) -> list[str]:
    """The products that have a teacher's embeddings of one side, once it is known that they are of that teacher.

    Raises:
        UserError: there is none, or it comes from another teacher or is not as it was finished.
    """
    if side == "image":
        found = [IMAGE.product(teacher=teacher.name)]
    else:
        names = chosen(cache, options.captions, teacher.name)
        found = [TEXT.product(cache.manifest.format_version, captions=name, teacher=teacher.name) for name in names]
    for product in found:
        same_teacher(teacher, cache, product)
    return found


def gallery(shapes: Shapes, products: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The different entries to retrieve, [U, E] of unit length, and the position of each shape's own among them, [n].

    Args:
        shapes: whose.
        products: with the embeddings that a shape's entry is the mean of.
    """
    stored = [shapes.cache.rows(product, "first_use") for product in products]
    means = []
    for rows in np.array_split(shapes.rows, -(-len(shapes) // CHUNK)):
        several = torch.from_numpy(np.concatenate([array.gather(rows) for array in stored], 1)).float()  # [n, V, E]
        means.append(F.normalize(F.normalize(several, dim=-1).mean(1), dim=-1))
    for array in stored:
        array.settle()
    entries, answer = np.unique(torch.cat(means).numpy(), axis=0, return_inverse=True)
    return torch.from_numpy(entries), torch.from_numpy(answer)


def ranks(queries: Tensor, entries: Tensor, answer: Tensor) -> Tensor:
    """Number of entries [U, E] that are as near to a query [n, E] as the right one, `answer` [n], or nearer: 0 is best. [n]"""
    places = []
    for query, right in zip(queries.split(CHUNK), answer.split(CHUNK), strict=True):
        similar = query @ entries.T  # [n, U]
        places.append((similar >= similar.gather(1, right[:, None])).sum(1) - 1)
    return torch.cat(places)
