"""The story of one shard: read, sample, draw, embed, caption, embed the captions. Nothing here knows where it runs.

`make_shapes` writes the products that come from files (`status`, `points`, `views`), `make_product` those that come from
stored views and captions, `make_labels` the embedded class names. Each writes one shard and its completion marker;
`pipeline.executors` call them for every shard that has none.

Letters: n shapes of a shard, V views, K captions of a view that are kept, L bytes of a text cell, E embedding width.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema import layout, products, spec
from cache_schema.errors import UserError
from cache_schema.layout import ArraySpec, ShardFile, encode_chunk, text_cells
from cache_schema.mending import Mending
from cache_schema.products import Kind, index_record, status_record
from cache_schema.spec import CaptionSpec, LabelSet, Record, TeacherSpec
from cache_schema.store import Cache
from pipeline import labels
from pipeline.captioners.catalog import Captioner
from pipeline.models import Models
from pipeline.plan import Plan
from pipeline.ranking import rank
from pipeline.records import batch_size
from pipeline.teachers.catalog import Teacher
from pipeline.worker import Made, one_line

Advance = Callable[[str, int], None]
"""Told (product, units done) as work goes on."""

CHANGED: Final = "its file, or one beside it, has changed since its points were made"
"""How the reason begins of a shape to which nothing can be added, because its files are no longer those of its points."""

# ---------------------------------------------------------------------------------------------------- from files


def make_shapes(cache: Cache, records: Iterable[Record], shard: int, made: Sequence[Made]) -> list[str]:
    """Write one shard of the products that come from files.

    What is added to shapes that were read before must come from the same files, and those must still be readable. A shape of which
    that is not so fails with a reason, in every product; the others are not affected.

    Args:
        cache: the cache.
        records: which of status, points and views to write.
        shard: which shard.
        made: the shard's shapes, by row.

    Returns:
        Ids of the shapes that fail from now on.
    """
    written = list(records)
    if any(products.of(record) is products.STATUS for record in written):
        _write_shapes(cache, written, shard, dict(enumerate(made)), fresh=True)
        return []
    made, lost = _as_before(cache, shard, made)
    ids, _ = shape_names(cache, shard)
    if lost:
        if isinstance(cache, Mending):
            row = lost[0]
            raise UserError(
                f"{ids[row]} is not as it was when its points were made ({made[row].reason.partition(';')[0]}); restore it, or build into "
                "another path"
            )
        others = [r for r in cache.records().values() if products.from_files(r) and r.product not in {w.product for w in written}]
        there = [r for r in others if shard not in cache.missing(r)]
        reopen(cache, shard)
        _write_shapes(cache, there, shard, {row: made[row] for row in lost})
    _write_shapes(cache, written, shard, dict(enumerate(made)), fresh=True)
    return [ids[row] for row in lost]


def _as_before(cache: Cache, shard: int, made: Sequence[Made]) -> tuple[list[Made], list[int]]:
    """Sort out shapes of which some products are there already: a new product must come from the same files.

    Args:
        cache: the cache.
        shard: which shard; it has a status.
        made: what came of its shapes now, by row.

    Returns:
        What to write, by row, and the rows of the shapes that were ok and fail from now on.
    """
    status = stored_status(cache, shard)
    out, lost = [], []
    for row, one in enumerate(made):
        before = status["source_sha256"][row].tobytes()
        if status["status"][row] != spec.OK:
            out.append(Made(reason="failed before", source_sha256=before))  # `retry_shard` is what gives it another chance
        elif not one.reason and one.source_sha256 == before:
            out.append(one)
        else:
            remedy = "restore it and build again, or take it as it is with `mmpd-cache retry`"
            out.append(Made(reason=one_line(f"{one.reason or CHANGED}; {remedy}"), source_sha256=one.source_sha256))
            lost.append(row)
    return out, lost


def stored_status(cache: Cache, shard: int, *, reopened: bool = False) -> dict[str, NDArray[Any]]:
    """The columns of `status` of one shard, by array path: copies, which the caller may change. [n, ...] each

    Args:
        cache: the cache.
        shard: which shard.
        reopened: whether it has no completion marker to be compared with, by `reopen`.

    Raises:
        UserError: a file is missing or damaged.
    """
    record = status_record(cache.manifest)
    return {node.path: cache.shard_rows(node, shard, None if reopened else record).copy() for node in cache.arrays(record)}


def _write_shapes(cache: Cache, records: Sequence[Record], shard: int, made: Mapping[int, Made], *, fresh: bool = False) -> None:
    """Write one shard of some products that come from files. `made` has the rows that change, or all of them where it is `fresh`."""
    # The status comes last: a shard with a status has all the rest.
    for record in sorted(records, key=lambda record: products.of(record) is products.STATUS):
        if products.of(record) is products.STATUS:
            values = _status_values(cache, record, shard, made, fresh)
        else:
            values = {node.path: _shape_values(cache, node, shard, made, fresh) for node in cache.arrays(record)}
        cache.write(record, shard, values)


def _status_values(cache: Cache, record: Record, shard: int, made: Mapping[int, Made], fresh: bool) -> dict[str, Any]:
    """The columns of `status` of one shard, by array path. [n, ...] each"""
    if fresh:
        values = {node.path: np.zeros((len(cache.manifest.rows(shard)), *node.shape[1:]), node.dtype) for node in cache.arrays(record)}
    else:
        values = stored_status(cache, shard, reopened=True)
    for row, one in made.items():
        cells = {
            "status": spec.FAILED if one.reason else spec.OK,
            "reason": text_cells([one_line(one.reason or "; ".join(one.warnings))])[0],
            "source_sha256": np.frombuffer(one.source_sha256, np.uint8),
            "colored": one.colored,
            "repeated": one.repeated,
        }
        for path, column in values.items():  # format 1 has no `repeated`
            column[row] = cells[path]
    return values


def _shape_values(cache: Cache, node: ArraySpec, shard: int, made: Mapping[int, Made], fresh: bool) -> NDArray[Any] | list[list[bytes]]:
    """One shard of an array of the points or the views: values, or pictures as encoded chunks [n][V]."""
    if node.codec == "raw":
        return _rows(cache, node, shard, {row: one.arrays.get(node.path) for row, one in made.items()}, fresh)
    nothing = [encode_chunk(node, np.zeros(node.chunk[1:], node.dtype))] * node.shape[1]
    count = len(cache.manifest.rows(shard))
    pictures: list[list[bytes]] = [nothing] * count if fresh else ShardFile(cache.path, node, shard).encoded(count)
    for row, one in made.items():
        pictures[row] = one.pictures.get(node.path, nothing)
    return pictures


def _rows(cache: Cache, node: ArraySpec, shard: int, changed: Mapping[int, NDArray[Any] | None], fresh: bool) -> NDArray[Any]:
    """Rows of one shard: those that change, the others as they are stored, or zeros where all is fresh. [n, ...]"""
    shape = (len(cache.manifest.rows(shard)), *node.shape[1:])
    out = np.zeros(shape, node.dtype) if fresh else cache.shard_rows(node, shard).copy()
    for row, value in changed.items():
        out[row] = 0 if value is None else value.astype(node.dtype, copy=False)
    return out


# ------------------------------------------------------------------------------------------------ shapes tried again


def reopen(cache: Cache, shard: int, only: Kind | None = None) -> None:
    """Take one shard out of all products of its shapes, or of one kind alone, those first that depend on others: killed from here on, the
    shard is made again.

    Its rows may be taken over from here on, with no completion marker to compare them with: so they are compared first.

    Raises:
        UserError: a file of the shard is damaged.
    """
    records = products.in_order(r for r in cache.records().values() if products.of(r).origin in ("files", "cache", "guide"))[::-1]
    records = [record for record in records if only is None or products.of(record) is only]
    for record in records:
        if products.of(record).origin != "guide" and shard not in cache.missing(record):
            cache.check_shard(record, shard)
    for record in records:
        cache.reopen(record, shard)


def retry_shard(cache: Cache, plan: Plan, shard: int, made: Mapping[int, Made], models: Models, advance: Advance) -> list[int]:
    """Put failed shapes of one shard that were tried again into all products of a plan. Returns the rows that are ok now."""
    by_models = [r for r in plan.from_cache() if shard not in cache.missing(r)]
    mended = _retry_shapes(cache, shard, made)
    if mended:
        for record in by_models:
            make_product(cache, plan, record, shard, models, advance, mended)
    return mended


def _retry_shapes(cache: Cache, shard: int, made: Mapping[int, Made]) -> list[int]:
    """Put failed shapes that were tried again into the products that come from files, and take their shard out of all others.

    Args:
        cache: the cache.
        shard: which shard; it has a status.
        made: what came of it, by row of the shard.

    Returns:
        The rows that are no longer failed: what `make_product` has to make of this shard.
    """
    status = stored_status(cache, shard)
    cells = text_cells([one.reason for one in made.values()])
    mended = [row for row, one in made.items() if not one.reason]
    changed = mended or any(
        not np.array_equal(status["reason"][row], cell) or status["source_sha256"][row].tobytes() != one.source_sha256
        for (row, one), cell in zip(made.items(), cells, strict=True)
    )
    if not changed:
        return []
    written = [r for r in cache.records().values() if products.from_files(r) and (mended or products.of(r) is products.STATUS)]
    there = [r for r in written if shard not in cache.missing(r)]  # of one that is being made, this shard is yet to come
    if mended:
        reopen(cache, shard)
    else:
        reopen(cache, shard, products.STATUS)
    _write_shapes(cache, there, shard, made)
    return mended


# ---------------------------------------------------------------------------------------------- from views and captions


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """What one shard of a product is made from, and by what."""

    cache: Cache
    plan: Plan
    number: int
    models: Models
    rows: Sequence[int]
    """Rows of the shard to make; their shapes are ok."""
    advance: Callable[[int], None]
    """Told of units that are done."""


def make_product(
    cache: Cache, plan: Plan, record: Record, shard: int, models: Models, advance: Advance, rows: Sequence[int] | None = None
) -> None:
    """Write one shard of an `image`, `captions` or `text` product from what the cache already holds.

    What is made of a shape depends on the shape, on its place in the shard and on the batch sizes in the record, and never on how
    other shapes fared. So a shape that is mended later gets the bytes that it would have had at once.

    Args:
        cache, plan, record, shard: what to make.
        models: what makes it.
        advance: told of progress.
        rows: of the shard to make; the others stay as they are stored. None for all.
    """
    usable = usable_rows(cache, shard)
    nodes = cache.arrays(record)
    count = len(cache.manifest.rows(shard))
    if rows is None:
        out = [np.zeros((count, *node.shape[1:]), node.dtype) for node in nodes]
    else:
        out = [cache.shard_rows(node, shard).copy() for node in nodes]
        usable = [row for row in usable if row in set(rows)]
    work = _Shard(cache=cache, plan=plan, number=shard, models=models, rows=usable, advance=lambda n: advance(record.product, n))
    match products.of(record), record.spec:
        case products.IMAGE, TeacherSpec() as described:
            _embed_views(work, models.teacher(described), batch_size(record, "image_batch", plan.image_batch), out[0])
        case products.CAPTIONS, CaptionSpec() as described:
            batch = batch_size(record, "caption_batch", plan.caption_batch)
            _caption_views(work, models.captioner(described, batch), plan.ranker_of(record), batch, (out[0], out[1]))
        case products.TEXT, TeacherSpec() as described:
            size = batch_size(record, "text_batch", plan.image_batch)
            _embed_captions(work, models.teacher(described), plan.captions_of(record), size, out[0])
            advance(record.product, len(usable) * record.per_shape)
        case _:
            raise AssertionError(record.kind)
    cache.write(record, shard, {node.path: values for node, values in zip(nodes, out, strict=True)})
    advance(record.product, (count - len(usable)) * record.per_shape)  # nothing to do for them, and a bar that reaches its end


def _pictures(cache: Cache, views: Record, shard: int) -> ShardFile:
    """The stored pictures of a shard, compared with their checksum: nothing is made of damaged ones."""
    node = cache.arrays(views)[0]
    return ShardFile(cache.path, node, shard, cache.digest(views, node, shard))


def usable_rows(cache: Cache, shard: int) -> list[int]:
    """Rows within a shard whose shape is ok."""
    record = status_record(cache.manifest)
    rows: list[int] = np.flatnonzero(cache.shard_rows(cache.node("status"), shard, record) == spec.OK).tolist()
    return rows


def _embed_views(work: _Shard, teacher: Teacher, size: int, out: NDArray[np.float16]) -> None:
    """Put one teacher's embeddings of stored views into `out` [n, V, E], `size` views at a time.

    Batches are cut from all views of the shard in order, whether or not their shape is usable, so that each picture is in the same
    place of an equally large batch whatever becomes of the others.
    """
    stored = _pictures(work.cache, work.plan.views(), work.number)
    count, per_shape = out.shape[:2]
    wanted = np.zeros(count, bool)
    wanted[list(work.rows)] = True
    slots = np.arange(count * per_shape)
    batches = [batch for i in range(0, len(slots), size) if wanted[(batch := slots[i : i + size]) // per_shape].any()]

    def embed(batch: NDArray[np.int64]) -> tuple[list[tuple[int, int]], torch.Tensor]:
        places = [divmod(int(slot), per_shape) for slot in batch]
        pixels = {i: teacher.preprocess(stored.entry(row, view)) for i, (row, view) in enumerate(places) if wanted[row]}
        filler = next(iter(pixels.values()))  # in the place of what is not wanted: any picture of the right size
        with work.models.turn:
            values = teacher.embed_images(torch.stack([pixels.get(i, filler) for i in range(len(places))]))
        kept = list(pixels)
        return [places[i] for i in kept], values[kept]

    for places, values in work.models.each(embed, batches):
        for (row, view), value in zip(places, _as_float16(work, values, teacher.spec, places), strict=True):
            out[row, view] = value
        work.advance(len(places))


def _caption_views(
    work: _Shard, captioner: Captioner, ranked_with: Record | None, batch: int, out: tuple[NDArray[np.uint8], NDArray[np.float32]]
) -> None:
    """Put captions, best first, and their scores into `out`: text cells [n, V, samples, L] and [n, V, samples].

    A batch holds views of one shape.

    Args:
        work: the shard.
        captioner: what makes them.
        ranked_with: the image embeddings of the teacher that ranks them; None where they are not ranked.
        batch: views at a time.
        out: where they go.
    """
    samples = captioner.spec.samples
    stored = _pictures(work.cache, work.plan.views(), work.number)
    ids, names = shape_names(work.cache, work.number)
    order = _ranking(work, ranked_with, samples)

    def describe(row: int) -> tuple[int, list[list[str]], NDArray[np.float32]]:
        pictures = stored.row(row)[: out[0].shape[1]]  # [V, H, W, 3]; the first one for captions of a shape
        drawn: list[list[str]] = []
        scores = []
        for start in range(0, len(pictures), batch):
            part = pictures[start : start + batch]
            with work.models.turn:
                some = captioner.caption(part, [f"{ids[row]}#{start + i}" for i in range(len(part))], [names[row]] * len(part))
            some, cosines = order(row, start, some)
            drawn += some
            scores.append(cosines)
        return row, drawn, np.concatenate(scores)

    for row, drawn, scores in work.models.each(describe, work.rows):
        out[0][row] = text_cells([text for texts in drawn for text in texts]).reshape(out[0].shape[1:])
        out[1][row] = scores
        work.advance(len(drawn))


def _ranking(
    work: _Shard, ranked_with: Record | None, samples: int
) -> Callable[[int, int, list[list[str]]], tuple[list[list[str]], NDArray[np.float32]]]:
    """What puts the texts of some views of a shape into order: (row, first view, texts [B][samples]) -> texts, scores [B, samples]."""
    if ranked_with is None:
        return lambda row, start, texts: (texts, np.zeros((len(texts), samples), np.float32))
    assert isinstance(ranked_with.spec, TeacherSpec)
    teacher = work.models.teacher(ranked_with.spec)
    images = work.cache.shard_rows(work.cache.arrays(ranked_with)[0], work.number, ranked_with)  # [n, V, E]

    def order(row: int, start: int, drawn: list[list[str]]) -> tuple[list[list[str]], NDArray[np.float32]]:
        with work.models.turn:
            texts = teacher.embed_texts([text for texts in drawn for text in texts]).reshape(len(drawn), samples, -1)
        best, cosines = rank(images[row, start : start + len(drawn)], texts.numpy())
        return [[texts[i] for i in places] for texts, places in zip(drawn, best, strict=True)], cosines

    return order


def _embed_captions(work: _Shard, teacher: Teacher, captions: Record, size: int, out: NDArray[np.float16]) -> None:
    """Put one teacher's embeddings of kept captions into `out` [n, V x K, E]. Equal texts of a shape are embedded once.

    A batch holds texts of one shape: how long others are decides how far each is padded.
    """
    assert isinstance(captions.spec, CaptionSpec)
    cells = work.cache.shard_rows(work.cache.arrays(captions)[0], work.number, captions)[:, :, : captions.spec.keep]  # [n, V, K, L]

    def embed(row: int) -> tuple[int, NDArray[np.float16]]:
        texts = layout.texts(cells[row].reshape(-1, spec.TEXT_BYTES))  # [T]
        different, where = np.unique(texts.astype(str), return_inverse=True)
        return row, _embed_texts(teacher, different.tolist(), size, work.models)[where.reshape(-1)]

    for row, values in work.models.each(embed, work.rows):
        out[row] = values


def make_labels(cache: Cache, record: Record, teacher: Teacher, batch: int, models: Models) -> None:
    """Write `labels/<set>/<teacher>`: every template of every class, embedded on its own. [C, M, E]"""
    assert record.labels is not None
    size = batch_size(record, "text_batch", batch)

    def embed(one: LabelSet) -> NDArray[np.float16]:
        with models.turn:
            return labels.embed(one, teacher, size)

    classes = [dataclasses.replace(record.labels, classes=(name,)) for name in record.labels.classes]
    cache.write(record, 0, {record.product: np.concatenate(list(models.each(embed, classes)))})


def _embed_texts(teacher: Teacher, texts: Sequence[str], size: int, models: Models) -> NDArray[np.float16]:
    """Embeddings of texts, at most `size` at a time. [len(texts), E]"""
    parts = []
    for start in range(0, len(texts), size):
        with models.turn:
            parts.append(teacher.embed_texts(texts[start : start + size]))
    values = torch.cat(parts).numpy()
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and the error below says more than numpy's warning
        found = values.astype(np.float16)
    if not np.isfinite(found).all():
        raise UserError(f"teacher {teacher.spec.name} gives text embeddings that float16 cannot hold; use another precision")
    return found


def _as_float16(work: _Shard, values: torch.Tensor, teacher: TeacherSpec, places: Sequence[tuple[int, int]]) -> NDArray[np.float16]:
    """One batch of embeddings `[n, E]` as they are stored.

    Args:
        work: the shard.
        values: `[n, E]`.
        teacher: what made them, for the message.
        places: (row of the shard, view) of each, for the message.

    Raises:
        UserError: a value is not finite in float16.
    """
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and the error below says more than numpy's warning
        out = values.numpy().astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
    if len(bad):
        row, view = places[bad[0]]
        shape = shape_names(work.cache, work.number)[0][row]
        raise UserError(
            f"teacher {teacher.name} gives values that are not finite in float16 for view {view} of {shape} and {len(bad) - 1} more; "
            f"its precision is {teacher.precision}: use float32 or bfloat16"
        )
    return out


def shape_names(cache: Cache, shard: int) -> tuple[list[str], list[str]]:
    """Ids of a shard's shapes, and what to call each in a sentence: its class, else the words of its file name."""
    record = index_record(cache.manifest)
    ids = layout.texts(cache.shard_rows(cache.node("id"), shard, record)).tolist()
    numbers = cache.shard_rows(cache.node("label"), shard, record)
    classes = cache.manifest.classes
    names = [classes[label] if label >= 0 else PurePosixPath(shape).stem for label, shape in zip(numbers, ids, strict=True)]
    return ids, [labels.readable(name) for name in names]
