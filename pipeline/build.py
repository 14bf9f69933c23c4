"""Make one shard of a product. This code does not depend on where it runs.

- `make_shapes` writes the products that are made from files: `status`, `points`, `views`.
- `make_product` writes those that are made from stored views and captions.
- `make_labels` writes embedded class names.
Each writes one shard and its completion marker. `pipeline.executors` calls them for every shard that has no marker.

Letters: n shapes of a shard, V views, K captions of a view that are kept, L bytes of a text cell, E embedding width.
"""

import dataclasses
import hashlib
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema import layout, products, spec
from cache_schema.errors import UserError
from cache_schema.layout import ArraySpec, ShardFile, decode_chunk, encode_chunk, text_cells
from cache_schema.mending import Mending
from cache_schema.products import Kind, index_record, status_record
from cache_schema.spec import CaptionSpec, DenseSpec, LabelSet, Record, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from cache_schema.terminal import one_line, some
from pipeline import dense, labels
from pipeline.captioners.catalog import Asking, Captioner, Pending, Telling, texts_of
from pipeline.models import Models
from pipeline.plan import Plan, Todo, pictures
from pipeline.ranking import scored, scored_over
from pipeline.records import batch_size, view_count
from pipeline.sheets import sheet
from pipeline.sources.catalog import Entry
from pipeline.statements import Variety, stated, varied
from pipeline.teachers.catalog import Measuring, Teacher
from pipeline.teachers.trial import answers, not_finite, patch_answers
from pipeline.worker import Made

Advance = Callable[[str, int], None]
"""Called with (product, units done) as work goes on."""

Depth = Callable[[int], NDArray[np.float16]]
"""Gives the depth of the views of a shape [V, H, W] by its row in a shard."""

AGAIN: Final = (
    "The cache stores no depth, so the files of its shapes are needed as they were. Restore them and run this again, or build the cache "
    "anew with --set views.depth=true"
)
"""What to do if depth cannot be drawn again."""

CHANGED: Final = "its file, or one beside it, has changed since its points were made"
"""Beginning of the reason of a shape that fails because its files have changed since its points were made."""

ALIKE: Final = (16, 0.01)
"""Levels (of 255) and share: pictures that are drawn again may differ from the stored ones by more than these levels in at most this share
of their values. Drivers round differently, most of all at edges. The same driver draws the same bytes."""
POSE: Final = 1e-4
"""Largest difference between numbers of the pose of a stored view and of the same view drawn again. They differ by rounding alone."""

# ---------------------------------------------------------------------------------------------------- from files

FEWEST: Final = 16
"""Smallest number of pictures that a teacher is given at a time, unless batches are smaller. On some processors, products of matrices with
fewer rows round otherwise; then a shape at the end of a shard would not have the bytes that it has elsewhere."""


def make_shapes(cache: Cache, records: Iterable[Record], shard: int, made: Sequence[Made]) -> list[str]:
    """Write one shard of products that are made from files.

    If some products of a shape were made before, the new ones must be made from the same files. A shape whose files have changed, or
    can no longer be read, fails with a reason in all products. Other shapes are not affected.

    Args:
        cache: the cache.
        records: the records to write, among status, points and views.
        shard: number of the shard.
        made: what was made of each shape of the shard, in the order of rows.

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
        row = lost[0]
        if not cache.owns(products.STATUS.name):
            raise UserError(
                f"{ids[row]} is not as it was when its points were made ({made[row].reason.partition(';')[0]}), and its status lies in the "
                f"shared cache {cache.home}, to which an overlay writes nothing. Restore the file, or `mmpd-cache retry {cache.home}` there"
            )
        if isinstance(cache, Mending):
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
    """Compare the files of shapes with those that older products of the shard were made from.

    Args:
        cache: the cache.
        shard: number of a shard that has a status.
        made: what was made of its shapes now, in the order of rows.

    Returns:
        What to write for each row, and the rows of shapes that were ok and fail from now on.
    """
    status = stored_status(cache, shard)
    out, lost = [], []
    for row, one in enumerate(made):
        before = status["source_sha256"][row].tobytes()
        if status["status"][row] != spec.OK:
            out.append(Made(reason="failed before", source_sha256=before))  # only `retry_shard` tries it again
        elif not one.reason and one.source_sha256 == before:
            out.append(one)
        else:
            remedy = "restore it and build again, or take it as it is with `mmpd-cache retry`"
            out.append(Made(reason=one_line(f"{one.reason or CHANGED}; {remedy}"), source_sha256=one.source_sha256))
            lost.append(row)
    return out, lost


def stored_status(cache: Cache, shard: int, *, reopened: bool = False) -> dict[str, NDArray[Any]]:
    """Read the status arrays of one shard, by path of the array. The caller may change them. [n, ...] each

    Args:
        cache: the cache.
        shard: which shard.
        reopened: whether `reopen` has removed its completion marker, so that there is nothing to compare with.

    Raises:
        UserError: a file is missing or damaged.
    """
    record = status_record(cache.manifest)
    return {node.path: cache.shard_rows(node, shard, None if reopened else record).copy() for node in cache.arrays(record)}


def _write_shapes(cache: Cache, records: Sequence[Record], shard: int, made: Mapping[int, Made], *, fresh: bool = False) -> None:
    """Write one shard of products that are made from files. `made` has the rows that change, or all rows if `fresh`."""
    # The status is written last, so that a shard with a status has all other products.
    for record in sorted(records, key=lambda record: products.of(record) is products.STATUS):
        if products.of(record) is products.STATUS:
            values = _status_values(cache, record, shard, made, fresh)
        else:
            values = {node.path: _shape_values(cache, node, shard, made, fresh) for node in cache.arrays(record)}
        cache.write(record, shard, values)


def _status_values(cache: Cache, record: Record, shard: int, made: Mapping[int, Made], fresh: bool) -> dict[str, Any]:
    """Return the status arrays of one shard, by path. [n, ...] each"""
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
    """Return one shard of an array of the points or the views: values, or pictures as encoded chunks [n][V]."""
    if node.codec == "raw":
        return _rows(cache, node, shard, {row: one.arrays.get(node.path) for row, one in made.items()}, fresh)
    nothing = [encode_chunk(node, np.zeros(node.chunk[1:], node.dtype))] * node.shape[1]
    count = len(cache.manifest.rows(shard))
    pictures: list[list[bytes]] = [nothing] * count if fresh else ShardFile(cache.file(node.key(shard)), node).encoded(count)
    for row, one in made.items():
        pictures[row] = one.pictures.get(node.path, nothing)
    return pictures


def _rows(cache: Cache, node: ArraySpec, shard: int, changed: Mapping[int, NDArray[Any] | None], fresh: bool) -> NDArray[Any]:
    """Return all rows of one shard with some of them changed. The others are read from the cache, or zeros if `fresh`. [n, ...]"""
    shape = (len(cache.manifest.rows(shard)), *node.shape[1:])
    out = np.zeros(shape, node.dtype) if fresh else cache.shard_rows(node, shard).copy()
    for row, value in changed.items():
        out[row] = 0 if value is None else value.astype(node.dtype, copy=False)
    return out


# ------------------------------------------------------------------------------------------------ shapes tried again


def reopen(cache: Cache, shard: int, only: Kind | None = None) -> None:
    """Remove the completion markers of one shard from all products of its shapes, or from those of one kind. After a kill the shard is then
    made again. Products that depend on others come first.

    Callers read rows of the shard afterwards, when no marker is left to compare them with. So all files are compared before.

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


def retry_shapes(cache: Cache, shard: int, made: Mapping[int, Made]) -> tuple[list[int], list[int]]:
    """Write shapes that were tried again to the products that are made from files, and reopen their shard in all other products.

    Args:
        cache: the cache.
        shard: number of a shard that has a status.
        made: what was made of the shapes, by row of the shard. They had failed, or were ok and their files changed.

    Returns:
        The rows that are ok now, and the rows that were ok and fail now. `make_product` has to make them in the other products.
    """
    status = stored_status(cache, shard)
    lost = [row for row, one in made.items() if one.reason and status["status"][row] == spec.OK]
    cells = text_cells([one.reason for one in made.values()])
    mended = [row for row, one in made.items() if not one.reason]
    others = bool(mended or lost)
    changed = others or any(
        not np.array_equal(status["reason"][row], cell) or status["source_sha256"][row].tobytes() != one.source_sha256
        for (row, one), cell in zip(made.items(), cells, strict=True)
    )
    if not changed:
        return [], []
    written = [r for r in cache.records().values() if products.from_files(r) and (others or products.of(r) is products.STATUS)]
    there = [r for r in written if shard not in cache.missing(r)]  # an unfinished product may lack this shard, and gets it later
    if others:
        reopen(cache, shard)
    else:
        reopen(cache, shard, products.STATUS)
    _write_shapes(cache, there, shard, made)
    return mended, lost


# ---------------------------------------------------------------------------------------------- from views and captions


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """What is needed to make one shard of a product."""

    cache: Cache
    plan: Plan
    number: int
    models: Models
    rows: Sequence[int]
    """Rows of the shard to make. Their shapes are ok."""
    advance: Callable[[int], None]
    """Called with the number of units that are done."""
    drawn: Mapping[int, Made]
    """What shape processes made of the rows, if they did now."""
    entries: Mapping[int, Entry]
    """Where the source has the shapes, by row; empty if the source is not open."""


def make_product(
    cache: Cache,
    plan: Plan,
    record: Record,
    shard: int,
    models: Models,
    advance: Advance,
    rows: Sequence[int] | None = None,
    drawn: Mapping[int, Made] | None = None,
    entries: Mapping[int, Entry] | None = None,
) -> None:
    """Write one shard of an `image`, `captions`, `text` or `dense` product from other products in the cache.

    The result for a shape depends on the shape, its place in the shard and the batch sizes in the record. It never depends on whether
    other shapes failed. So a shape that is repaired later gets the same bytes as if it had never failed.

    Args:
        cache: the cache.
        plan: the plan that the record belongs to.
        record: the product.
        shard: number of the shard.
        models: the models that make it.
        advance: called as work goes on.
        rows: rows of the shard to make; the others keep their stored values. None: all rows.
        drawn: what the shape processes made of the rows now. Patch features need it if the cache stores no depth; see `rows_drawn`.
        entries: where the source has the shapes, by row of the shard. Captions of what it states need it; see `entries_of`.

    Raises:
        UserError: depth that is drawn again is not that of the stored views. Also the errors of the models.
    """
    usable = usable_rows(cache, shard)
    nodes = cache.arrays(record)
    count = len(cache.manifest.rows(shard))
    if rows is None:
        out = [np.zeros((count, *node.shape[1:]), node.dtype) for node in nodes]
    else:
        out = [cache.shard_rows(node, shard).copy() for node in nodes]
        for values in out:  # a shape whose file changed may have fewer texts than before, or have failed
            values[list(rows)] = np.zeros((), values.dtype)
        usable = [row for row in usable if row in set(rows)]
    work = _Shard(
        cache=cache,
        plan=plan,
        number=shard,
        models=models,
        rows=usable,
        advance=lambda n: advance(record.product, n),
        drawn={} if drawn is None else drawn,
        entries={} if entries is None else entries,
    )
    match products.of(record), record.spec:
        case products.IMAGE, TeacherSpec() as described:
            _embed_views(work, models.teacher(described), batch_size(record, "image_batch", plan.image_batch), out[0])
        case products.CAPTIONS, CaptionSpec() as described:
            batch = batch_size(record, "caption_batch", plan.caption_batch)
            _caption_views(work, models.captioner(described), plan.ranker_of(record), batch, (out[0], out[1]))
        case products.TEXT, TeacherSpec() as described:
            size = batch_size(record, "text_batch", plan.image_batch)
            _embed_captions(work, models.teacher(described), plan.captions_of(record), size, out[0])
            advance(record.product, len(usable) * record.per_shape)
        case products.DENSE, DenseSpec() as described:
            _carry_patches(work, described, batch_size(record, "image_batch", plan.image_batch), (out[0], out[1]))
        case _:
            raise AssertionError(record.kind)
    cache.write(record, shard, {node.path: values for node, values in zip(nodes, out, strict=True)})
    advance(record.product, (count - len(usable)) * record.per_shape)  # failed shapes count as done, so that the bar reaches its end


def _pictures(cache: Cache, views: Record, shard: int) -> ShardFile:
    """Open the stored pictures of a shard, compared with their checksum, so that nothing is made from damaged pictures."""
    node = cache.arrays(views)[0]
    return _shard_file(cache, views, node, shard)


def _shard_file(cache: Cache, record: Record, node: ArraySpec, shard: int) -> ShardFile:
    """Open one shard of an array of a product, compared with its checksum."""
    return ShardFile(cache.file(node.key(shard)), node, cache.digest(record, node, shard))


def usable_rows(cache: Cache, shard: int) -> list[int]:
    """Return the rows of a shard whose shape is ok."""
    record = status_record(cache.manifest)
    rows: list[int] = np.flatnonzero(cache.shard_rows(cache.node("status"), shard, record) == spec.OK).tolist()
    return rows


def rows_drawn(cache: Cache, todo: Todo, shard: int) -> Sequence[int]:
    """Return the rows of a cache that the shape processes make for a shard: all of the shard, those that are ok if only depth is to be
    drawn again, or none."""
    rows = cache.manifest.rows(shard)
    if todo.from_files(shard):
        return rows
    return [rows.start + row for row in usable_rows(cache, shard)] if todo.draws_again(shard) else ()


def stored_poses(cache: Cache, todo: Todo, shard: int, rows: Sequence[int]) -> list[NDArray[np.float32] | None]:
    """Return the cameras from which the shape processes are to draw some rows of a cache. [V, 4, 4] each

    They are those of the stored views, if these were chosen for each shape and are drawn again for their depth. None: the shape processes
    find them.
    """
    for views in todo.plan.of_kind(products.VIEWS):
        described = views.spec
        assert isinstance(described, ViewSpec)
        if described.policy is not None and shard not in todo.lacking[views.product]:
            node = next(node for node in cache.arrays(views) if node.path == "views/pose")
            poses = cache.shard_rows(node, shard, views)  # [n, V, 4, 4]
            first = cache.manifest.rows(shard).start
            return [pose if pose.any() else None for pose in (poses[row - first].copy() for row in rows)]  # a failed shape has zeros
    return [None] * len(rows)


def by_row(cache: Cache, shard: int, rows: Sequence[int], made: Sequence[Made]) -> dict[int, Made]:
    """Return what was made of some rows of a cache, by row of the shard."""
    first = cache.manifest.rows(shard).start
    return {row - first: one for row, one in zip(rows, made, strict=True)}


def entries_of(cache: Cache, entries: Sequence[Entry], shard: int) -> dict[int, Entry]:
    """Return where the source has the shapes of a shard, by row of the shard; nothing if it is not open and `entries` are none."""
    return dict(enumerate(entries[row] for row in cache.manifest.rows(shard))) if entries else {}


def _embed_views(work: _Shard, teacher: Teacher, size: int, out: NDArray[np.float16]) -> None:
    """Write one teacher's embeddings of stored views into `out` [n, V, E], in batches of `size` views.

    Batches are cut from the views of all shapes of the shard, even of failed ones. So each picture has the same place in a batch of the
    same size, whether or not other shapes failed, and rounding does not change. The last batch of a shard is filled up to `FEWEST`.
    """
    stored = _pictures(work.cache, work.plan.views(), work.number)
    count, per_shape = out.shape[:2]
    wanted = np.zeros(count, bool)
    wanted[list(work.rows)] = True
    slots = np.arange(count * per_shape)
    batches = [batch for i in range(0, len(slots), size) if wanted[(batch := slots[i : i + size]) // per_shape].any()]
    prepare = _preparing(work, teacher, stored, per_shape)

    def embed(batch: NDArray[np.int64]) -> tuple[list[tuple[int, int]], NDArray[np.float32]]:
        places = [divmod(int(slot), per_shape) for slot in batch]
        pixels = {i: prepare(int(slot)) for i, slot in enumerate(batch) if wanted[slot // per_shape]}
        filler = next(iter(pixels.values()))  # stands for views that are not wanted; any picture of the right size will do
        several = max(len(places), min(size, FEWEST))
        with work.models.turn:
            values = answers(teacher, teacher.embed_images(torch.stack([pixels.get(i, filler) for i in range(several)])), several)
        kept = list(pixels)
        return [places[i] for i in kept], values[kept]

    for places, values in work.models.each(embed, batches):
        for (row, view), value in zip(places, _as_float16(work, values, teacher.spec, places), strict=True):
            out[row, view] = value
        work.advance(len(places))


def _preparing(work: _Shard, teacher: Teacher, stored: ShardFile, per_shape: int) -> Callable[[int], torch.Tensor]:
    """Return the function that prepares one stored view of a shard for a teacher: number of the view, `per_shape` for each shape, ->
    [3, S, S].

    Teachers that prepare with the same object share what was prepared. A method belongs to one teacher, so it is never shared.
    """

    def picture(slot: int) -> NDArray[np.uint8]:
        return stored.entry(*divmod(slot, per_shape))

    prepare = teacher.preprocess
    if len(work.plan.of_kind(products.IMAGE)) < 2 or inspect.ismethod(prepare):
        return lambda slot: prepare(picture(slot))
    kept = work.models.prepared(hashlib.sha256(stored.data).digest(), prepare)
    return lambda slot: kept.get(slot, lambda: picture(slot))


def _caption_views(
    work: _Shard, captioner: Captioner, ranked_with: Record | None, batch: int, out: tuple[NDArray[np.uint8], NDArray[np.float32]]
) -> None:
    """Write captions, the best first or by kind, and their scores into `out`: text cells [n, V, samples, L] and scores [n, V, samples].

    A batch holds views of one shape.

    Args:
        work: the shard.
        captioner: the captioner.
        ranked_with: record of the image embeddings by the teacher that scores the captions; None: their scores are 0.
        batch: number of views per call of the captioner.
        out: arrays that get the captions and the scores.
    """
    order = _ranking(work, ranked_with, captioner.spec, batch)
    if isinstance(captioner, Telling):
        tell = _teller(work, captioner)
        found = work.models.each(lambda row: (row, *order(row, [tell(row)])), work.rows)
    elif isinstance(captioner, Asking):
        found = work.models.each(lambda one: (one[0], *order(*one)), _asked(work, captioner, out[0].shape[1]))
    else:
        describe = _describer(work, captioner, batch, out[0].shape[1])
        found = work.models.each(lambda row: (row, *order(row, describe(row))), work.rows)
    for row, texts, scores in found:
        out[0][row] = text_cells([text for some in texts for text in some]).reshape(out[0].shape[1:])
        out[1][row] = scores
        work.advance(len(texts))


def _shown(work: _Shard, described: CaptionSpec, count: int) -> Callable[[int], tuple[NDArray[np.uint8], list[str], str]]:
    """Return the function that gives what a captioner is shown of a row: pictures [count, H, W, 3], their keys, and the shape's name.

    For captions of a shape, `count` is 1: the first view, or a sheet of several.
    """
    stored = _pictures(work.cache, work.plan.views(), work.number)
    ids, names = shape_names(work.cache, work.number)

    def show(row: int) -> tuple[NDArray[np.uint8], list[str], str]:
        views = stored.row(row)  # [V, H, W, 3]
        pictures = sheet(views, described.sheet)[None] if described.sheet else views[:count]
        return pictures, [f"{ids[row]}#{view}" for view in range(count)], names[row]

    return show


def _teller(work: _Shard, captioner: Telling) -> Callable[[int], list[str]]:
    """Return the function that makes the texts of a row of what the source states about its shape."""
    task, entries = work.plan.task, work.entries
    assert task is not None and entries, "captions of what a source states need the source"

    def tell(row: int) -> list[str]:
        entry = entries[row]
        variety = varied(task.reader, entry) if captioner.spec.wrong else Variety()
        return captioner.tell(entry.id, stated(task.reader, entry), variety)

    return tell


def _describer(work: _Shard, captioner: Captioner, batch: int, count: int) -> Callable[[int], list[list[str]]]:
    """Return the function that lets a captioner in memory describe `count` pictures of a row. It returns the texts of each."""
    show = _shown(work, captioner.spec, count)

    def describe(row: int) -> list[list[str]]:
        pictures, keys, name = show(row)
        texts: list[list[str]] = []
        for start in range(0, len(pictures), batch):
            part = slice(start, start + batch)
            with work.models.turn:
                texts += texts_of(captioner, captioner.caption(pictures[part], keys[part], [name] * len(keys[part])), len(keys[part]))
        return texts

    return describe


def _asked(work: _Shard, captioner: Asking, count: int) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield rows with the texts of each of their `count` pictures, in order. Many pictures wait for their texts at a time."""
    show, waiting = _shown(work, captioner.spec, count), deque[tuple[int, Pending]]()
    for row in work.rows:
        pictures, keys, name = show(row)
        waiting.append((row, captioner.begin(pictures, keys, [name] * count)))
        while len(waiting) * count > captioner.ahead:
            first, pending = waiting.popleft()
            yield first, texts_of(captioner, pending.result(), count)
    for row, pending in waiting:
        yield row, texts_of(captioner, pending.result(), count)


def _ranking(
    work: _Shard, ranked_with: Record | None, described: CaptionSpec, batch: int
) -> Callable[[int, list[list[str]]], tuple[list[list[str]], NDArray[np.float32]]]:
    """Return the function that scores the texts about the views of a row, or about its shape, and puts the best first unless they are of
    different kinds: (row, texts [V][samples]) -> texts, scores [V, samples]. A text that is missing comes last, with the lowest score.

    The teacher reads the texts of `batch` views at a time."""
    samples = described.samples
    if ranked_with is None:
        return lambda row, texts: (texts, np.zeros((len(texts), samples), np.float32))
    assert isinstance(ranked_with.spec, TeacherSpec)
    teacher = work.models.teacher(ranked_with.spec)
    images = work.cache.shard_rows(work.cache.arrays(ranked_with)[0], work.number, ranked_with)  # [n, V, E]

    def read(texts: list[list[str]]) -> NDArray[np.float32]:
        different, where = np.unique([text for some in texts for text in some], return_inverse=True)  # samples are often alike
        with work.models.turn:
            embedded = answers(teacher, teacher.embed_texts(different.tolist()), len(different), "embed_texts")
        return embedded[where].reshape(len(texts), samples, -1)

    def order(row: int, texts: list[list[str]]) -> tuple[list[list[str]], NDArray[np.float32]]:
        embedded = np.concatenate([read(texts[start : start + batch]) for start in range(0, len(texts), batch)])
        if described.per == "view":
            scores = scored(images[row, : len(texts)], embedded)
        else:
            scores = scored_over(images[row], embedded[0], described.over)[None]
        if described.may_lack:
            scores[[[not text for text in some] for some in texts]] = -1
        best = np.argsort(-scores, axis=1, kind="stable")
        if described.kinds:
            best[:] = np.arange(samples)
        return [[some[i] for i in places] for some, places in zip(texts, best, strict=True)], np.take_along_axis(scores, best, axis=1)

    return order


def _embed_captions(work: _Shard, teacher: Teacher, captions: Record, size: int, out: NDArray[np.float16]) -> None:
    """Write one teacher's embeddings of kept captions into `out` [n, V x K, E]. Equal texts of a shape are embedded once.

    A batch holds texts of one shape. The longest text of a batch decides how far the others are padded, so texts of other shapes would
    change the rounding.
    """
    described = captions.spec
    assert isinstance(described, CaptionSpec)
    cells = work.cache.shard_rows(work.cache.arrays(captions)[0], work.number, captions)[:, :, : described.keep]  # [n, V, K, L]

    def embed(row: int) -> tuple[int, NDArray[np.float16]]:
        texts = layout.texts(cells[row].reshape(-1, spec.TEXT_BYTES))  # [T]
        different, where = np.unique(texts.astype(str), return_inverse=True)
        with work.models.turn:
            values = labels.embed_texts(teacher, different.tolist(), size, captions.product)
        if described.may_lack:
            values[different == ""] = 0  # there is no text
        if described.wrong and isinstance(teacher, Measuring):
            values[teacher.too_long(different.tolist())] = 0  # what makes it wrong may be in the rest, which the teacher does not read
        return row, values[where.reshape(-1)]

    for row, values in work.models.each(embed, work.rows):
        out[row] = values


def _carry_patches(work: _Shard, described: DenseSpec, size: int, out: tuple[NDArray[np.float16], NDArray[np.uint8]]) -> None:
    """Write a teacher's patch features on groups of points, and the numbers of views that see them, into `out`: [n, R, G, E] and
    [n, R, G]."""
    views = work.plan.views()
    depth = depth_of(work.cache, views, work.number, work.rows, work.drawn)
    carry = patch_carrier(work.cache, work.plan, described, size, work.number, work.models, depth)
    for row, features, seen in work.models.each(carry, work.rows):
        out[0][row], out[1][row] = features, seen
        work.advance(view_count(views))


def depth_of(cache: Cache, views: Record, shard: int, rows: Sequence[int], drawn: Mapping[int, Made]) -> Depth:
    """Return the function that gives the depth of the views of a shape: as it is stored, or as it was drawn again.

    Args:
        cache: the cache.
        views: the record of its views.
        shard: number of the shard.
        rows: rows of the shard that are asked for.
        drawn: what was drawn again of these rows, if the views have no depth. Else it is not used.

    Returns:
        A function of the row of a shape in the shard, which returns [V, H, W]. It raises a `UserError` if what was drawn again is not what
        the views show.

    Raises:
        UserError: a shape could not be drawn again, or its files have changed since its points were made.
    """
    rgb, *stored = (_shard_file(cache, views, node, shard) for node in pictures(cache, views))
    if stored:
        return stored[0].row
    ids, _ = shape_names(cache, shard)
    status = stored_status(cache, shard)["source_sha256"]
    changed = [row for row in rows if drawn[row].reason or drawn[row].source_sha256 != status[row].tobytes()]
    if changed:
        named = some([f"{ids[row]} ({drawn[row].reason or CHANGED})" for row in changed], 5, "; ")
        raise UserError(f"{cache.path}: depth cannot be drawn again: {named}. {AGAIN}")
    nodes = pictures(cache, views, depth=True)
    poses = cache.shard_rows(next(node for node in cache.arrays(views) if node.path == "views/pose"), shard, views)  # [n, V, 4, 4]

    def depth(row: int) -> NDArray[np.float16]:
        one = drawn[row]
        picture, found = (np.concatenate([decode_chunk(n, chunk, rgb.path) for chunk in one.pictures[n.path]]) for n in nodes)
        assert one.pose is not None
        if np.abs(one.pose - poses[row]).max() > POSE or not _alike(picture, rgb.row(row)):
            raise UserError(
                f"{cache.path}: {ids[row]} drawn again does not look like its stored views, though its files are the same. Another version "
                "of mmpd or of its renderer drew them. Build the cache anew with --set views.depth=true"
            )
        return found

    return depth


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two lots of pictures [V, H, W, 3] show the same, up to the rounding of drivers."""
    level, share = ALIKE
    if np.array_equal(one, other):
        return True
    return bool((np.abs(one.astype(np.int16) - other) > level).mean(axis=(1, 2, 3)).max() <= share)


def patch_carrier(
    cache: Cache, plan: Plan, described: DenseSpec, size: int, shard: int, models: Models, depth: Depth
) -> Callable[[int], tuple[int, NDArray[np.float16], NDArray[np.uint8]]]:
    """Return the function that carries a teacher's patch features to the points of one shape.

    Args:
        cache, plan: the cache, and a plan with its points and views.
        described: the teacher and the groups.
        size: number of views of a shape in a forward pass.
        shard: number of the shard.
        models: has the teacher.
        depth: gives the depth of the views; see `depth_of`.

    Returns:
        A function of the row of a shape in the shard. It returns the row, the features [R, G, E] and the number of views that see each
        group [R, G].
    """
    teacher, views, (points,) = models.teacher(described.teacher), plan.views(), plan.of_kind(products.POINTS)
    assert isinstance(views.spec, ViewSpec)
    nodes = {node.path: node for record in (points, views) for node in cache.arrays(record)}
    rgb = _pictures(cache, views, shard)
    pose = cache.shard_rows(nodes["views/pose"], shard, views)  # [n, V, 4, 4]
    xyz = cache.shard_rows(nodes["points/xyz"], shard, points)  # [n, R, P, 3]
    grid, fov = models.patch_grid(described.teacher, views.spec.size), views.spec.rig.fov

    def carry(row: int) -> tuple[int, NDArray[np.float16], NDArray[np.uint8]]:
        share, seen = dense.weights(xyz[row], pose[row], depth(row), fov, grid, described)
        shown, parts = rgb.row(row), []
        for start in range(0, len(shown), size):
            pixels = torch.stack([teacher.preprocess(picture) for picture in shown[start : start + size]])
            with models.turn:
                values = teacher.embed_patches(pixels)
            parts.append(patch_answers(teacher, values, len(pixels), grid.count, described.dim))
        patches = torch.cat(parts).flatten(0, 2)  # [V h h, E]
        means = (torch.from_numpy(share).flatten(0, 1) @ patches).unflatten(0, seen.shape).numpy()
        with np.errstate(over="ignore"):  # overflow gives infinity; the error below says more than numpy's warning
            features = means.astype(np.float16)
        if not np.isfinite(features).all():
            raise UserError(
                f"teacher {described.teacher.name} gives patch features that are not finite in float16 for "
                f"{shape_names(cache, shard)[0][row]}{not_finite(means, described.teacher.precision)}"
            )
        return row, features, seen

    return carry


def make_labels(cache: Cache, record: Record, teacher: Teacher, batch: int, models: Models) -> None:
    """Write `labels/<set>/<teacher>`: an embedding of every class in every template. [C, M, E]"""
    assert record.labels is not None
    values = embedded_labels(record.labels, teacher, batch_size(record, "text_batch", batch), models)
    cache.write(record, 0, {record.product: values})


def embedded_labels(label_set: LabelSet, teacher: Teacher, batch: int, models: Models) -> NDArray[np.float16]:
    """Embed every class of a label set in every template. [C, M, E]"""

    def embed(one: LabelSet) -> NDArray[np.float16]:
        with models.turn:
            return labels.embed(one, teacher, batch)

    return np.concatenate(list(models.each(embed, [dataclasses.replace(label_set, classes=(name,)) for name in label_set.classes])))


def _as_float16(work: _Shard, values: NDArray[np.float32], teacher: TeacherSpec, places: Sequence[tuple[int, int]]) -> NDArray[np.float16]:
    """Convert a batch of embeddings `[n, E]` to float16, as they are stored.

    Args:
        work: the shard.
        values: `[n, E]`.
        teacher: the teacher that made them, for the message.
        places: (row of the shard, view) of each, for the message.

    Raises:
        UserError: a value is not finite in float16.
    """
    with np.errstate(over="ignore"):  # overflow gives infinity; the error below says more than numpy's warning
        out = values.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
    if len(bad):
        row, view = places[bad[0]]
        shape = shape_names(work.cache, work.number)[0][row]
        raise UserError(
            f"teacher {teacher.name} gives values that are not finite in float16 for view {view} of {shape}"
            f"{f' and {len(bad) - 1} more' * (len(bad) > 1)}{not_finite(values[bad[0]], teacher.precision)}"
        )
    return out


def shape_names(cache: Cache, shard: int) -> tuple[list[str], list[str]]:
    """Return the ids of a shard's shapes, and a name of each for sentences: its class, or else the words of its file name."""
    record = index_record(cache.manifest)
    ids = layout.texts(cache.shard_rows(cache.node("id"), shard, record)).tolist()
    numbers = cache.shard_rows(cache.node("label"), shard, record)
    classes = cache.manifest.classes
    names = [name_of(classes[label] if label >= 0 else "", shape) for label, shape in zip(numbers, ids, strict=True)]
    return ids, [labels.readable(name) for name in names]


def name_of(label: str, shape: str) -> str:
    """The name that templates say of a shape: its class, or its id without folders and ending."""
    return label or PurePosixPath(shape).stem
