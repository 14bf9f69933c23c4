"""Cross-modal retrieval: given a shape's points, find its pictures and its texts among the pictures and texts of the whole split.

    scores = run(stage, cache, cache, Options())                        # recall at 1, 5 and 10 of 3D to image and 3D to text

All pictures of a shape form one entry, and so do all its texts: the mean of their normalised embeddings, over all captioners. If shapes
have equal entries, for example because they share a caption, each of them is a right answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.products import CAPTIONS, IMAGE, TEXT, parts
from cache_schema.spec import added
from cache_schema.store import Cache
from trainer.align import Teacher
from trainer.batch import Side, target, targets
from trainer.captions import chosen, outdated
from trainer.stage import Stage
from trainer.tasks.accuracy import counted
from trainer.tasks.features import Body, repeats
from trainer.tasks.protocol import told
from trainer.tasks.result import Metric, Scores
from trainer.tasks.seen import Sides
from trainer.tasks.shapes import Shapes, of_split
from trainer.tasks.teachers import contrasted, embeddings, same_teacher

CHUNK: Final = 1024
"""Number of shapes in one step of the computation. It changes no result."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of retrieval."""

    test_split: str | None = told(None)
    """Split with the test shapes; `all` for the whole cache; None for `test`, or `val` if there is no `test`."""
    teachers: tuple[str, ...] = ()
    """Teachers whose spaces are used; empty for all with which the model was aligned by contrast."""
    captions: tuple[str, ...] = added(())
    """Names of the captions to search for; empty for all that the test cache has."""
    repeats: int | None = None
    """Number of repetitions, each on the next stored block of every shape; None for three, or all if there are fewer."""

    def __post_init__(self) -> None:
        check_numbers(self, {"repeats": 1})


SMOKE: Final = Options(repeats=1)
PROBES: Final = True


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Recall for every teacher and modality. `train_cache` is not read."""
    teachers = contrasted(stage, options.teachers, text=False)
    shapes = of_split(test_cache, options.test_split, labelled=False)
    stored = {
        (side, teacher.name): _stored(test_cache, side, teacher, options)
        for teacher in teachers
        for side in targets(teacher.name, teacher.text)
    }
    notes = list(_outdated(shapes, [product for (side, _), found in stored.items() if side == "text" for product in found]))
    body = Body.for_teachers(stage)
    blocks = range(repeats(options.repeats, body, shapes))
    seen = [embeddings(stage, body, shapes, block) for block in blocks]
    metrics: list[Metric] = []
    notes += body.notes(shapes)
    for (side, name), products in stored.items():
        entries, answer, there = gallery(shapes, products)
        if not there.all():
            notes.append(f"{target(side, name)}: {int((~there).sum())} of {len(shapes)} shapes have no embedding and are left out")
        if len(entries) < len(answer):
            notes.append(f"{target(side, name)}: {len(answer)} shapes share {len(entries)} different entries")
        if len(products) > 1:
            notes.append(f"{target(side, name)}: the texts of a shape come from {', '.join(products)}")
        places = [ranks(embedding[target(side, name)][there], entries, answer) for embedding in seen]
        for k in (1, 5, 10):
            if k < len(entries):
                values = tuple(100 * float((place < k).float().mean()) for place in places)
                chance = 100 * k / len(entries)
                metrics.append(counted(f"{name} 3D to {side} R@{k}", values, "blocks", len(answer), chance, headline=k == 1))
    if not metrics:
        raise UserError(f"{shapes.name} has no two different entries ({len(shapes)} in all): there is nothing to retrieve")
    return Scores(test=shapes.data, sides=Sides(test=shapes), metrics=tuple(metrics), notes=tuple(notes))


def _stored(cache: Cache, side: Side, teacher: Teacher, options: Options) -> list[str]:
    """The products with a teacher's embeddings of one side, after a check that they come from the model's teacher.

    Raises:
        UserError: there is no such product, it comes from another teacher, or it has changed since it was finished.
    """
    if side == "image":
        found = [IMAGE.product(teacher=teacher.name)]
    else:
        names = chosen(cache, options.captions, teacher.name)
        found = [TEXT.product(cache.manifest.format_version, captions=name, teacher=teacher.name) for name in names]
    for product in found:
        same_teacher(teacher, cache, product)
    return found


def _outdated(shapes: Shapes, products: Sequence[str]) -> Iterator[str]:
    """Notes on captions that say other classes of these shapes than the cache has by now. `products`: those with their embeddings."""
    known, version = shapes.cache.products(), shapes.cache.manifest.format_version
    for name in dict.fromkeys(CAPTIONS.product(version, captions=parts(known[product])["captions"]) for product in products):
        if name in known and (note := outdated(shapes.cache, known[name], shapes.rows)):
            yield note


def gallery(shapes: Shapes, products: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """The entries to retrieve.

    Args:
        shapes: the shapes.
        products: products with the embeddings to average. Zeros are no embedding: imported products may lack some.

    Returns:
        The different entries, [U, E] of unit length; for each shape with an embedding the index of its entry, [m]; and which of the shapes
        have one, [n] bool.
    """
    stored = [shapes.cache.rows(product, "first_use") for product in products]
    means = []
    for rows in np.array_split(shapes.rows, -(-len(shapes) // CHUNK)):
        several = torch.from_numpy(np.concatenate([array.gather(rows) for array in stored], 1)).float()  # [n, V, E]
        means.append(F.normalize(F.normalize(several, dim=-1).mean(1), dim=-1))
    for array in stored:
        array.settle()
    every = torch.cat(means)
    there = (every != 0).any(-1)
    entries, answer = np.unique(every[there].numpy(), axis=0, return_inverse=True)
    return torch.from_numpy(entries), torch.from_numpy(answer.reshape(-1)), there


def ranks(queries: Tensor, entries: Tensor, answer: Tensor) -> Tensor:
    """Rank [n] of the right entry, 0 for the best: the number of other entries [U, E] at least as near to the query [n, E].

    `answer` [n] is the index of the right entry of each query.
    """
    places = []
    for query, right in zip(queries.split(CHUNK), answer.split(CHUNK), strict=True):
        similar = query @ entries.T  # [n, U]
        places.append((similar >= similar.gather(1, right[:, None])).sum(1) - 1)
    return torch.cat(places)
