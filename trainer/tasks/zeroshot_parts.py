"""Zero-shot parts: a point gets the part whose name is nearest in a teacher's space. Nothing is fitted, and no picture is needed.

    scores = run(stage, cache, cache, Options(labels="parts"))

A run of stage 1 with `align.local_weight` has a head that maps tokens into the space of a teacher's patch features. For a teacher with a
text side that is the space of its texts. Embedded tokens are interpolated at every point from the three nearest centres, and compared with
the embedded names of parts, among the parts of the shape's category. As in `parts`, these are the parts that training shapes of the
category have, and the intersection over union (IoU) is that of ShapeNetPart. Shapes of the training cache serve for nothing else.

Each number comes as IoU and as the share of points that are right. IoU counts a part that is absent from both truth and prediction as 1,
which favours guesses of few parts. Two more numbers stand beside it. The guess of the summary gives all points of a shape one part, the one
whose name is nearest to the embedding of the whole shape: an embedding that knows only the whole cannot do better. The cached patch
features themselves show what can be had with pictures of the test shapes; they are given if the test cache has them.

Letters: n shapes, b of them in a batch, Q points of a block, G groups, K parts, E a teacher's width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.checks import check_numbers
from cache_schema.classes import matched
from cache_schema.errors import UserError
from cache_schema.products import DENSE, LABELS
from cache_schema.spec import DenseSpec, did_you_mean, fingerprint
from cache_schema.store import Cache
from trainer import ops
from trainer.align import Align, PatchTeacher
from trainer.batch import target
from trainer.encoders.protocol import refuse_masked
from trainer.part import dense_of
from trainer.stage import Stage
from trainer.tasks import parts
from trainer.tasks.parts import Task, prepared
from trainer.tasks.picture import Labels
from trainer.tasks.propagation import NEIGHBOURS
from trainer.tasks.protocol import told
from trainer.tasks.result import Metric, Scores
from trainer.tasks.seen import Sides
from trainer.tasks.teachers import same_teacher
from trainer.tasks.zeroshot import class_embeddings, find_label_set


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of zero-shot parts."""

    train_split: str = "train"
    """Split with the shapes that tell which parts a category has."""
    test_split: str | None = told(None)
    """Split with the test shapes; None for `test`, or `val` if there is no `test`."""
    labels: str = "parts"
    """Label set with the names of parts, in the test cache or the other one."""
    teachers: tuple[str, ...] = ()
    """Teachers whose spaces are used; empty for all that embedded the label set."""
    points: int | None = None
    """Number of a block's points that the encoder reads; None for as many as its run was trained on. All points of a block get labels."""

    def __post_init__(self) -> None:
        check_numbers(self, {"points": 1})


NEEDS: Final = parts.NEEDS
"""See `trainer.tasks.protocol.Task`."""
SMOKE: Final = Options()


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """IoU over shapes and over categories, for every teacher: by the tokens, by the summary's guess, and by cached patch features."""
    met = {teacher.name: teacher for teacher in readers(stage, options.teachers)}
    assert isinstance(stage, Align)
    home, name, embedded = find_label_set(options.labels, list(met), (test_cache, train_cache))
    asked = parts.Options(train_split=options.train_split, test_split=options.test_split, points=options.points)
    task = prepared(stage, train_cache, test_cache, asked)
    metrics: list[Metric] = []
    notes = [f"label set {name!r} of {home.path} was not embedded by {t}" for t in met if t not in embedded]
    first: NDArray[np.int64] | None = None
    for teacher in embedded:
        names = part_names(task, home, name, met[teacher], train_cache)
        tokens, whole = by_points(stage, task, names, teacher)
        first = tokens if first is None else first
        metrics += measured(task, tokens, f"{teacher} mIoU", headline=True)
        if whole is not None:
            metrics += measured(task, whole, f"{teacher} mIoU of the summary's guess")
        pictured, why = by_pictures(task, names, met[teacher], test_cache)
        if pictured is not None:
            metrics += measured(task, pictured, f"{teacher} mIoU of patch features, with pictures")
        notes += [why] if why else []
    assert first is not None
    ious = task.ious(first)
    return Scores(
        test=task.test.shapes.data,
        sides=Sides(test=task.test.shapes),
        metrics=tuple(metrics),
        variant="" if name == "parts" else name,
        classes=task.names,
        confusion=parts.points_confused(task, [first]),
        notes=(*task.notes, *notes, *task.test.usual.notes(task.test.shapes.rows)),
        drawing=Labels(examples=tuple(parts.examples(task, first, ious)), names=parts.shown_names(task)),
    )


def readers(stage: Stage, names: tuple[str, ...]) -> tuple[PatchTeacher, ...]:
    """The teachers with a text side whose patch features the model's tokens learned.

    Raises:
        UserError: there is none, or not one of `names`.
    """
    local = stage.local if isinstance(stage, Align) else None
    if local is None:
        raise UserError(
            "this model has no head from tokens to patch features: evaluate a run of stage 1 that was trained with --set "
            "align.local_weight=1"
        )
    refuse_masked(stage.encoder, "zero-shot segmentation")
    known = {teacher.name: teacher for teacher in local.teachers if teacher.text}
    for name in names:
        if name not in known:
            raise UserError(
                f"this model's tokens did not learn patch features in the space of texts of {name!r}{did_you_mean(name, known)}"
            )
    if not known:
        had = ", ".join(teacher.name for teacher in local.teachers)
        raise UserError(f"this model's tokens learned patch features of teachers without a text side only: {had}")
    return tuple(known[name] for name in names) or tuple(known.values())


def part_names(task: Task, home: Cache, labels: str, teacher: PatchTeacher, train_cache: Cache) -> Tensor:
    """Embedded name of each part of the training cache, [K, E], of unit length.

    Raises:
        UserError: the label set lacks a part, or comes from another teacher than the model learned from.
    """
    product = LABELS.product(set=labels, teacher=teacher.name)
    record = home.record(product)
    same_teacher(teacher, home, product)
    assert record.labels is not None
    place = matched(task.names, record.labels.classes, str(train_cache.path), f"label set {labels!r} of {home.path}")
    used = task.known.any(0)
    if missing := [task.names[i] for i in np.flatnonzero((place < 0) & used)]:
        raise UserError(
            f"label set {labels!r} of {home.path} has no part {missing[0]!r}: `mmpd-cache labels {train_cache.path} parts` makes one that "
            "has"
        )
    return class_embeddings(home, labels, teacher.name)[torch.from_numpy(np.maximum(place, 0))]


@torch.no_grad()
def by_points(stage: Align, task: Task, names: Tensor, teacher: str) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Predicted parts of all points of the test shapes, [n, Q], from points alone: by the tokens; and by the guess of the summary, which is
    None if the model was not aligned with the teacher's embeddings by contrast.
    """
    assert stage.local is not None and not stage.training
    device, data = next(stage.parameters()).device, task.test
    aligned = {t.name for t in stage.teachers.teachers if t.objective == "contrast"}
    near, whole = [], []
    for chosen in data.batches():
        points = data.read(chosen, 0).to(device)  # [b, Q, C]
        patches = stage.encoder.patchify(points if data.inside is None else points[:, data.inside.to(device)], data.ordered)
        encoded = stage.encoder(patches)
        tokens = encoded.tokens.float()  # [b, G, D]
        embedded = F.normalize(stage.local.embed(tokens)[teacher], dim=-1)  # [b, G, E]
        own = interpolated(points[..., :3], patches.coarsest.centres, embedded @ names.to(device).T)  # [b, Q, K]
        near.append(parts.allowed(own.cpu(), task, chosen).argmax(-1).numpy())
        if teacher in aligned:
            summary = stage.teachers.embed(stage.summaries(encoded))[target("image", teacher)]  # [b, E]
            scores = (summary @ names.to(device).T)[:, None].expand(-1, points.shape[1], -1)
            whole.append(parts.allowed(scores.cpu(), task, chosen).argmax(-1).numpy())
    data.full.settle()
    return np.concatenate(near), np.concatenate(whole) if whole else None


def by_pictures(task: Task, names: Tensor, teacher: PatchTeacher, cache: Cache) -> tuple[NDArray[np.int64] | None, str]:
    """Predicted parts of all points of the test shapes, [n, Q], by the patch features that the test cache holds, and a note on shapes
    without any. If the cache has none of this teacher, None and the reason."""
    if teacher.name not in dense_of(cache):
        return None, f"{cache.path} has no patch features of {teacher.name}, which would show what can be had with pictures"
    record, data = cache.proven(DENSE.product(teacher=teacher.name)), task.test
    spec = record.spec
    assert isinstance(spec, DenseSpec)
    if teacher.fingerprint not in ("", fingerprint(spec.teacher)):
        return None, f"{record.product} of {cache.path} comes from another teacher than the {teacher.name!r} of this model"
    if data.full.joined > 1:
        return None, f"{record.product} of {cache.path} belongs to single blocks, of which {data.full.joined} are joined here"
    features, seen = (cache.rows(node.path) for node in cache.arrays(record))
    centres = cache.rows("points/xyz")
    found, blind, first = [], 0, np.zeros(1, np.int64)
    for i, row in enumerate(data.shapes.rows):
        here = row[None]
        clear = torch.from_numpy(seen.gather(here, first)[0] > 0)
        points = data.full.read(here, 0)[..., :3]  # [1, Q, 3]
        at = torch.from_numpy(centres.gather(here, first)[:, : spec.groups].astype(np.float32))[:, clear]
        values = F.normalize(torch.from_numpy(features.gather(here, first)).float(), dim=-1)[:, clear]  # [1, seen, E]
        if not clear.any():
            blind += 1
            at, values = torch.zeros(1, 1, 3), torch.zeros(1, 1, spec.dim)
        scores = interpolated(points, at, values @ names.T)
        found.append(parts.allowed(scores, task, np.array([i])).argmax(-1).numpy())
    told = f"no view sees a group of {blind} of {len(found)} test shapes: with pictures, their points get the first part of the category"
    return np.concatenate(found), told if blind else ""


def interpolated(points: Tensor, centres: Tensor, values: Tensor) -> Tensor:
    """Values of groups [b, G, K] at points [b, Q, 3], from the nearest centres [b, G, 3]. [b, Q, K]"""
    return ops.interpolate(points, centres, values, min(NEIGHBOURS, centres.shape[1]))


def measured(task: Task, predictions: NDArray[np.int64], name: str, *, headline: bool = False) -> Iterator[Metric]:
    """IoU over shapes and over categories, and the share of right points, of predicted parts [n, Q]. Each has its interval, the score of
    chance, and that of the largest part.
    """
    lazy, (by_iou, by_point) = parts.largest(task), parts.chances(task)
    ious, guesses = task.ious(predictions)[None], (by_iou, task.ious(lazy))
    yield parts.mean_of(task, f"{name} over shapes", ious, "blocks", guesses, headline=headline)
    yield parts.mean_of(task, f"{name} over categories", ious, "blocks", guesses, by_category=True, headline=headline)
    points = parts.right(task, predictions)[None]
    yield parts.mean_of(task, f"{name.replace('mIoU', 'points right')} over shapes", points, "blocks", (by_point, parts.right(task, lazy)))
