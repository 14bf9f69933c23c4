"""Cross-modal retrieval: given a shape's points, find its pictures and its texts among those of the whole split.

    scores = run(stage, cache, cache, Options())                        # recall at 1, 5 and 10 of 3D to image and 3D to text

A shape's pictures, and its texts, are one entry each: the mean of their embeddings at unit length. Shapes whose entries are equal, as
with a caption that several share, are one answer.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.store import Cache
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
    repeats: int | None = None
    """Each with the next stored block of every shape; None for three, or as many as there are."""

    def __post_init__(self) -> None:
        check_numbers(self, {"repeats": 1})


SMOKE: Final = Options(repeats=1)


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Recall for every teacher and modality. `train_cache` is not read."""
    teachers = contrasted(stage, options.teachers, text=False)
    shapes = of_split(test_cache, options.test_split, labelled=False)
    products = {f"{side}/{t.name}": t for t in teachers for side in (("image", "text") if t.text else ("image",))}
    for product, teacher in products.items():
        same_teacher(teacher, test_cache, product)
    body = Body.of(stage, "summary")
    blocks = range(repeats(options.repeats, body, shapes))
    seen = [embeddings(stage, body, shapes, block) for block in blocks]
    metrics, notes = [], [*body.notes(shapes)]
    for product in products:
        entries, answer = gallery(shapes, product)
        if len(entries) < len(shapes):
            notes.append(f"{product}: {len(shapes)} shapes share {len(entries)} different entries")
        places = [ranks(embedding[product], entries, answer) for embedding in seen]
        side, _, name = product.partition("/")
        for k in (1, 5, 10):
            if k < len(entries):
                values = tuple(100 * float((place < k).float().mean()) for place in places)
                chance = 100 * k / len(entries)
                metrics.append(counted(f"{name} 3D to {side} R@{k}", values, "blocks", len(shapes), chance, headline=k == 1))
    if not metrics:
        raise UserError(f"{shapes.name} holds {len(shapes)} shapes without two different entries; there is nothing to retrieve")
    return Scores(test=shapes.data, metrics=tuple(metrics), notes=tuple(notes))


def gallery(shapes: Shapes, product: str) -> tuple[Tensor, Tensor]:
    """The different entries to retrieve, [U, E] of unit length, and the position of each shape's own among them, [n]."""
    stored = shapes.cache.rows(product, "first_use")
    means = []
    for rows in np.array_split(shapes.rows, -(-len(shapes) // CHUNK)):
        several = torch.from_numpy(stored.gather(rows)).float()  # [n, V, E]
        means.append(F.normalize(F.normalize(several, dim=-1).mean(1), dim=-1))
    stored.settle()
    entries, answer = np.unique(torch.cat(means).numpy(), axis=0, return_inverse=True)
    return torch.from_numpy(entries), torch.from_numpy(answer)


def ranks(queries: Tensor, entries: Tensor, answer: Tensor) -> Tensor:
    """Number of entries [U, E] that are as near to a query [n, E] as the right one, `answer` [n], or nearer: 0 is best. [n]"""
    places = []
    for query, right in zip(queries.split(CHUNK), answer.split(CHUNK), strict=True):
        similar = query @ entries.T  # [n, U]
        places.append((similar >= similar.gather(1, right[:, None])).sum(1) - 1)
    return torch.cat(places)
