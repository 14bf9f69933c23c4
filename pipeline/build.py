"""The story of one shard: read, sample, draw, embed, caption, embed the captions. Nothing here knows where it runs.

A `Plan` says what a cache shall hold. `make_shapes` writes the products that come from files (`status`, `points`,
`views`), `make_product` those that come from stored views and captions, `make_labels` the embedded class names. Each
writes one shard and its completion marker; `pipeline.run` calls them for every shard that has none.
"""

import importlib.metadata
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema import spec, store
from cache_schema.errors import UserError
from cache_schema.spec import CaptionSpec, LabelSet, PointSpec, Record, SourceSpec, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from pipeline import caption, labels
from pipeline.caption import Captioner
from pipeline.teachers import catalog
from pipeline.teachers.catalog import Teacher
from pipeline.worker import Made, Task

Advance = Callable[[str, int], None]
"""Told (product, units done) as work goes on."""

FROM_FILES: Final = ("status", "points", "views")
"""Kinds of products made from a shape's file, together."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be in a cache. Small and picklable: every process of a build has one."""

    path: Path
    records: tuple[Record, ...]
    """In the order of making: status, points, views, image/*, captions, text/*."""
    task: Task | None
    """What shape processes do; None where every shape is made already."""
    devices: tuple[str, ...]
    """Torch devices. A process uses one of them."""
    image_batch: int
    caption_batch: int

    def of_kind(self, *kinds: str) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.kind in kinds)


# --------------------------------------------------------------------------------------------------------- the records


def records(
    source: SourceSpec,
    points: PointSpec,
    views: ViewSpec | None,
    teachers: Sequence[Teacher],
    captioner: Captioner | None,
    *,
    renderer: str,
    device: str,
) -> tuple[Record, ...]:
    """The records of a build, in the order of making.

    Args:
        renderer: what draws the views, e.g. the GL driver's name.
        device: torch device of the teachers.
    """
    files = _versions("numpy", "trimesh", "pillow", "fpsample")
    made = [
        Record(product="status", kind="status", spec=source, inputs=(), made_by=files),
        Record(product="points", kind="points", spec=points, inputs=(("source", spec.fingerprint(source)),), made_by=files),
    ]
    if views is not None:
        # Views are framed on the normalised shape, so how points are normalised is part of what they are.
        inputs = (("normalize", points.normalize), ("source", spec.fingerprint(source)))
        made_by = (*files, *_versions("pyrender", "PyOpenGL"), ("renderer", renderer))
        made.append(Record(product="views", kind="views", spec=views, inputs=inputs, made_by=made_by))
        made += teacher_records(made[-1], None, teachers, device)
        if captioner is not None:
            made.append(caption_record(made, captioner.spec, device))
            made += teacher_records(made[2], made[-1], teachers, device, only="text")
    return tuple(made)


def caption_record(there: Iterable[Record], captions: CaptionSpec, device: str) -> Record:
    """The record of captions on stored views.

    Raises:
        UserError: the teacher that shall rank them is not among `there`, or has no text side.
    """
    by_name = {record.product: record for record in there}
    views = by_name["views"]
    inputs = [("views", views.fingerprint)]
    if captions.rank_by:
        ranker = by_name.get(f"image/{captions.rank_by}")
        known = [r.product.removeprefix("image/") for r in by_name.values() if r.kind == "image"]
        if ranker is None:
            raise UserError(f"captions.rank_by: no teacher {captions.rank_by!r} in this cache{spec.did_you_mean(captions.rank_by, known)}")
        assert isinstance(ranker.spec, TeacherSpec)
        if not ranker.spec.text:
            raise UserError(f"captions.rank_by: teacher {captions.rank_by!r} has no text side; choose one that has, or set it to nothing")
        inputs.append(("ranker", ranker.fingerprint))
    return Record(
        product="captions", kind="captions", spec=captions, per_shape=view_count(views), inputs=tuple(sorted(inputs)),
        made_by=(*_versions("torch", "transformers"), ("device", device.partition(":")[0])),
    )  # fmt: skip


def teacher_records(views: Record, captions: Record | None, teachers: Sequence[Teacher], device: str, only: str = "image") -> list[Record]:
    """`image/<teacher>` records, or with `only="text"` the `text/<teacher>` records of those with a text side."""
    made = []
    for teacher in teachers:
        made_by = (*_versions(*catalog.packages(teacher.spec.backend)), ("device", device.partition(":")[0]))
        name = f"{only}/{teacher.spec.name}"
        if only == "image":
            inputs: tuple[tuple[str, str], ...] = (("views", views.fingerprint),)
            count = view_count(views)
        elif captions is not None and teacher.spec.text:
            assert isinstance(captions.spec, CaptionSpec)
            inputs = (("captions", captions.fingerprint),)
            count = captions.per_shape * captions.spec.keep
        else:
            continue
        made.append(Record(product=name, kind=only, spec=teacher.spec, per_shape=count, inputs=inputs, made_by=made_by))  # type: ignore[arg-type]
    return made


def label_record(label_set: LabelSet, teacher: TeacherSpec, device: str) -> Record:
    """`labels/<set>/<teacher>`."""
    made_by = (*_versions(*catalog.packages(teacher.backend)), ("device", device.partition(":")[0]))
    product = f"labels/{label_set.name}/{teacher.name}"
    return Record(product=product, kind="labels", spec=teacher, labels=label_set, inputs=(), made_by=made_by)


def view_count(views: Record) -> int:
    assert isinstance(views.spec, ViewSpec)
    return len(views.spec.rig.cameras)


def _versions(*packages: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, importlib.metadata.version(name)) for name in packages)


# ------------------------------------------------------------------------------------------------------------- models


class Models:
    """The foundation models of one process, each loaded once, used by one thread at a time."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.lock = threading.Lock()
        self._teachers: dict[str, Teacher] = {}
        self._captioner: Captioner | None = None

    def add(self, model: Teacher | Captioner) -> None:
        """Keep a model that is loaded already."""
        if isinstance(model.spec, TeacherSpec):
            self._teachers[spec.fingerprint(model.spec)] = model  # type: ignore[assignment]
        else:
            self._captioner = model  # type: ignore[assignment]

    def teacher(self, described: TeacherSpec) -> Teacher:
        """The model a record describes.

        Raises:
            ValueError: what its name loads on this machine has other weights.
        """
        key = spec.fingerprint(described)
        if key not in self._teachers:
            revision = f"@{described.revision}" if described.revision else ""
            reference = f"{described.name}={described.backend}:{described.model}{revision}"
            model = catalog.load(reference, device=self.device, precision=described.precision)
            self._check(model.spec, described)
            self._teachers[key] = model
        return self._teachers[key]

    def captioner(self, described: CaptionSpec, batch: int) -> Captioner:
        """The captioner a record describes."""
        if self._captioner is None:
            self._captioner = caption.load(described, device=self.device, batch=batch)
            self._check(self._captioner.spec, described)
        return self._captioner

    @staticmethod
    def _check(loaded: Any, described: Any) -> None:
        if spec.fingerprint(loaded) != spec.fingerprint(described):
            raise UserError(
                f"{described.model} on this machine is not what made the cache: {'; '.join(store.differences(described, loaded))}"
            )


# ---------------------------------------------------------------------------------------------------- from files


def make_shapes(cache: Cache, records: Iterable[Record], shard: int, made: Sequence[Made]) -> None:
    """Write one shard of the products that come from files.

    Args:
        cache: the cache.
        records: which of status, points and views to write.
        shard: which shard.
        made: the shard's shapes, by row.
    """
    written = sorted(records, key=lambda record: record.kind == "status")  # last: a shard with a status has all the rest
    if written and written[-1].kind != "status":
        _check_unchanged(cache, shard, made)
    for record in written:
        if record.kind == "status":
            values: dict[str, Any] = {
                "status": np.array([spec.FAILED if m.reason else spec.OK for m in made], np.uint8),
                "reason": store.text_cells([m.reason or "; ".join(m.warnings) for m in made]),
                "source_sha256": np.frombuffer(b"".join(m.source_sha256 for m in made), np.uint8).reshape(-1, 32),
                "colored": np.array([m.colored for m in made], np.uint8),
                "repeated": np.array([m.repeated for m in made], np.uint8),
            }
            values = {node.path: values[node.path] for node in cache.arrays(record)}  # format 1 has no `repeated`
        elif record.kind == "points":
            xyz, rgb = cache.arrays(record)
            values = {
                xyz.path: _stacked(xyz, [m.xyz for m in made]),
                rgb.path: _stacked(rgb, [m.rgb for m in made]),
            }
        else:
            values = {}
            for node in cache.arrays(record):
                if node.path == "views/pose":
                    values[node.path] = _stacked(node, [m.pose for m in made])
                else:
                    nothing = [store.encode_chunk(node, np.zeros(node.chunk[1:], node.dtype))] * node.shape[1]
                    values[node.path] = [m.pictures.get(node.path, nothing) for m in made]
        cache.write(record, shard, values)


def _check_unchanged(cache: Cache, shard: int, made: Sequence[Made]) -> None:
    """What is added to shapes that were read before must come from the same files, with the same luck."""
    status, _, digest, *_ = cache.arrays(Record(product="status", kind="status", spec=cache.manifest.source, inputs=()))
    before = cache.table(status, shard) == spec.OK
    for row, (one, ok, sha256) in enumerate(zip(made, before, cache.table(digest, shard), strict=True)):
        if (not one.reason) != bool(ok) or (ok and one.source_sha256 != sha256.tobytes()):
            shape = shape_names(cache, shard)[0][row]
            now = one.reason or "its file has changed"
            raise UserError(f"{shape} is not as it was when its points were made ({now}); restore it, or build into another path")


def _stacked(node: spec.ArraySpec, rows: Sequence[NDArray[Any] | None]) -> NDArray[Any]:
    nothing = np.zeros(node.shape[1:], node.dtype)
    return np.stack([nothing if row is None else row.astype(node.dtype, copy=False) for row in rows])


# ---------------------------------------------------------------------------------------------- from views and captions


def make_product(cache: Cache, plan: Plan, record: Record, shard: int, models: Models, advance: Advance) -> None:
    """Write one shard of an `image`, `captions` or `text` product from what the cache already holds."""
    match record.kind, record.spec:
        case "image", TeacherSpec() as described:
            values = image_embeddings(cache, plan, record, shard, models.teacher(described), advance)
            cache.write(record, shard, {record.product: values})
        case "captions", CaptionSpec() as described:
            ranker = _ranker(plan, described, models)
            texts, scores = captions(cache, plan, record, shard, models.captioner(described, plan.caption_batch), ranker, advance)
            cache.write(record, shard, {"captions/text": texts, "captions/score": scores})
        case "text", TeacherSpec() as described:
            values = text_embeddings(cache, plan, record, shard, models.teacher(described), advance)
            cache.write(record, shard, {record.product: values})
        case _:
            raise AssertionError(record.kind)
    failed = len(cache.manifest.rows(shard)) - len(usable_rows(cache, shard))
    advance(record.product, failed * record.per_shape)  # nothing to do for them, and a bar that reaches its end


def _ranker(plan: Plan, described: CaptionSpec, models: Models) -> Teacher | None:
    if not described.rank_by:
        return None
    (record,) = [r for r in plan.records if r.product == f"image/{described.rank_by}"]
    assert isinstance(record.spec, TeacherSpec)
    return models.teacher(record.spec)


def stored_views(cache: Cache, views: Record, shard: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(row within the shard, its pictures [V, H, W, 3]) of every usable shape, decoded from what is stored."""
    pictures = store.ShardFile(cache.path, cache.arrays(views)[0], shard)
    for row in usable_rows(cache, shard):
        yield row, pictures.row(row)


def usable_rows(cache: Cache, shard: int) -> list[int]:
    """Rows within a shard whose shape is ok."""
    status = spec.product_arrays(cache.manifest, Record(product="status", kind="status", spec=cache.manifest.source, inputs=()))[0]
    return np.flatnonzero(cache.table(status, shard) == spec.OK).tolist()


def image_embeddings(cache: Cache, plan: Plan, record: Record, shard: int, teacher: Teacher, advance: Advance) -> NDArray[np.float16]:
    """One teacher's embeddings of a shard's stored views; zeros for shapes that failed. [n, V, E]"""
    (views,) = plan.of_kind("views")
    out = np.zeros((len(cache.manifest.rows(shard)), record.per_shape, teacher.spec.dim), np.float16)
    places: list[tuple[int, int]] = []
    waiting: list[Any] = []

    def embed() -> None:
        pixels = torch.stack([future.result() for future in waiting])
        values = _as_float16(teacher.embed_images(pixels), teacher.spec, cache, shard, places)
        for (row, view), value in zip(places, values, strict=True):
            out[row, view] = value
        advance(record.product, len(places))
        places.clear()
        waiting.clear()

    # Preprocessing of the next pictures goes on in threads while the model is at work on these.
    with ThreadPoolExecutor() as pool:
        ahead: list[tuple[int, int, Any]] = []
        for row, pictures in stored_views(cache, views, shard):
            ahead += [(row, view, pool.submit(teacher.preprocess, picture)) for view, picture in enumerate(pictures)]
            while len(ahead) >= 2 * plan.image_batch:
                _take(ahead, plan.image_batch, places, waiting)
                embed()
        while ahead:
            _take(ahead, plan.image_batch, places, waiting)
            embed()
    return out


def _take(ahead: list[tuple[int, int, Any]], count: int, places: list[tuple[int, int]], waiting: list[Any]) -> None:
    for row, view, future in ahead[:count]:
        places.append((row, view))
        waiting.append(future)
    del ahead[:count]


def captions(
    cache: Cache, plan: Plan, record: Record, shard: int, captioner: Captioner, ranker: Teacher | None, advance: Advance
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A shard's captions, best first, and their scores: text cells [n, V, samples, L] and [n, V, samples]."""
    (views,) = plan.of_kind("views")
    described = captioner.spec
    rows = cache.manifest.rows(shard)
    ids, names = shape_names(cache, shard)
    cells = np.zeros((len(rows), record.per_shape, described.samples, spec.TEXT_BYTES), np.uint8)
    scores = np.zeros(cells.shape[:3], np.float32)
    images = None
    if ranker is not None:
        (image_record,) = [r for r in plan.records if r.product == f"image/{ranker.spec.name}"]
        images = cache.shard_rows(cache.arrays(image_record)[0], shard)  # [n, V, E]
    stream = ((row, view, picture) for row, pictures in stored_views(cache, views, shard) for view, picture in enumerate(pictures))
    for batch in _batches(stream, plan.caption_batch):
        drawn = captioner.caption(
            np.stack([picture for _, _, picture in batch]),
            [f"{ids[row]}#{view}" for row, view, _ in batch],
            [names[row] for row, _, _ in batch],
        )
        if ranker is not None and images is not None:
            texts = ranker.embed_texts([text for some in drawn for text in some]).reshape(len(batch), described.samples, -1)
            order, cosines = caption.rank(np.stack([images[row, view] for row, view, _ in batch]), texts.numpy())
            drawn = [[some[i] for i in best] for some, best in zip(drawn, order, strict=True)]
        else:
            cosines = np.zeros((len(batch), described.samples), np.float32)
        for (row, view, _), some, score in zip(batch, drawn, cosines, strict=True):
            cells[row, view] = store.text_cells(some)
            scores[row, view] = score
        advance(record.product, len(batch))
    return cells, scores


def text_embeddings(cache: Cache, plan: Plan, record: Record, shard: int, teacher: Teacher, advance: Advance) -> NDArray[np.float16]:
    """One teacher's embeddings of a shard's kept captions. [n, V x K, E]. Equal texts are embedded once."""
    (captions_,) = plan.of_kind("captions")
    assert isinstance(captions_.spec, CaptionSpec)
    cells = cache.table(cache.arrays(captions_)[0], shard)[:, :, : captions_.spec.keep]
    rows = usable_rows(cache, shard)
    texts = store.texts(cells[rows].reshape(len(rows), -1, spec.TEXT_BYTES))  # [usable, T]
    out = np.zeros((len(cells), record.per_shape, teacher.spec.dim), np.float16)
    different, where = np.unique(texts.astype(str), return_inverse=True)
    if len(different):
        embedded = embed_all(teacher, different.tolist(), plan.image_batch)
        out[rows] = embedded[where.reshape(texts.shape)]
    advance(record.product, texts.size)
    return out


def make_labels(cache: Cache, record: Record, teacher: Teacher, batch: int) -> None:
    """Write `labels/<set>/<teacher>`: every template of every class, embedded on its own. [C, M, E]"""
    assert record.labels is not None
    cache.write(record, 0, {record.product: labels.embed(record.labels, teacher, batch)})


def embed_all(teacher: Teacher, texts: Sequence[str], batch: int) -> NDArray[np.float16]:
    """Embeddings of texts, a batch at a time. [len(texts), E]"""
    parts = [teacher.embed_texts(texts[i : i + batch]) for i in range(0, len(texts), batch)]
    values = torch.cat(parts).numpy().astype(np.float16)
    if not np.isfinite(values).all():
        raise UserError(f"teacher {teacher.spec.name} gives text embeddings that float16 cannot hold; use another precision")
    return values


def _as_float16(
    values: torch.Tensor, teacher: TeacherSpec, cache: Cache, shard: int, places: Sequence[tuple[int, int]]
) -> NDArray[np.float16]:
    out = values.numpy().astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
    if len(bad):
        row, view = places[bad[0]]
        shape = shape_names(cache, shard)[0][row]
        raise UserError(
            f"teacher {teacher.name} gives values that are not finite in float16 for view {view} of {shape} and {len(bad) - 1} more; "
            f"its precision is {teacher.precision}: use float32 or bfloat16"
        )
    return out


def _batches(stream: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in stream:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def shape_names(cache: Cache, shard: int) -> tuple[list[str], list[str]]:
    """Ids of a shard's shapes, and what to call each in a sentence: its class, else the words of its file name."""
    index = cache.arrays(store.index_record(cache.manifest))
    ids = store.texts(cache.table(index[0], shard)).tolist()
    numbers = cache.table(index[1], shard)
    classes = cache.manifest.classes
    names = [classes[label] if label >= 0 else PurePosixPath(shape).stem for label, shape in zip(numbers, ids, strict=True)]
    return ids, [labels.readable(name) for name in names]
