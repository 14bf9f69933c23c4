"""The story of one shard: read, sample, draw, embed, caption, embed the captions. Nothing here knows where it runs.

A `Plan` says what a cache shall hold. `make_shapes` writes the products that come from files (`status`, `points`,
`views`), `make_product` those that come from stored views and captions, `make_labels` the embedded class names. Each
writes one shard and its completion marker; `pipeline.run` calls them for every shard that has none.
"""

import contextlib
import dataclasses
import importlib.metadata
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema import spec, store
from cache_schema.errors import UserError
from cache_schema.mending import Mending
from cache_schema.spec import CaptionSpec, LabelSet, PointSpec, Record, SourceSpec, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from pipeline import caption, labels
from pipeline.caption import Captioner
from pipeline.teachers import catalog
from pipeline.teachers.catalog import Teacher
from pipeline.worker import Made, Task, one_line

Advance = Callable[[str, int], None]
"""Told (product, units done) as work goes on."""

FROM_FILES: Final = ("status", "points", "views")
"""Kinds of products made from a shape's file, together."""

CHANGED: Final = "its file, or one beside it, has changed since its points were made"
"""How the reason begins of a shape to which nothing can be added, because its files are no longer those of its points."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a build makes, and with which settings. Small and picklable: every process of a build has one."""

    path: Path
    records: tuple[Record, ...]
    """In the order of making: status, points, views, image/*, captions, text/*."""
    task: Task | None
    """What shape processes do; None where every shape is made already."""
    devices: tuple[str, ...]
    """Torch devices. A process uses one of them."""
    image_batch: int
    caption_batch: int
    token: str = ""
    """What `store.held_token` says of the process that holds the cache."""
    places: tuple[tuple[str, str], ...] = ()
    """The folders of local models, by digest of their weights; see `Models`."""

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
    image_batch: int,
    caption_batch: int,
) -> tuple[Record, ...]:
    """The records of a build, in the order of making.

    Args:
        source, points, views, teachers, captioner: what to make.
        renderer: what draws the views, e.g. the GL driver's name.
        device: torch device of the teachers.
        image_batch, caption_batch: see `pipeline.recipes.BuildConfig`.
    """
    files = software("points")
    made = [
        Record(product="status", kind="status", spec=source, inputs=(), made_by=files),
        Record(product="points", kind="points", spec=points, inputs=(("source", spec.fingerprint(source)),), made_by=files),
    ]
    if views is not None:
        # Views are framed on the normalised shape, so how points are normalised is part of what they are.
        inputs = (("normalize", points.normalize), ("source", spec.fingerprint(source)))
        made.append(Record(product="views", kind="views", spec=views, inputs=inputs, made_by=software("views", renderer=renderer)))
        made += teacher_records(made[-1], None, teachers, device, image_batch)
        if captioner is not None:
            made.append(caption_record(made, captioner.spec, device, caption_batch))
            made += teacher_records(made[2], made[-1], teachers, device, image_batch, only="text")
    return tuple(made)


def software(kind: str, *, renderer: str = "", device: str = "", backend: str = "") -> tuple[tuple[str, str], ...]:
    """What of this machine a product of some kind is made by, as `Record.made_by` has it, but for batch sizes.

    Args:
        kind: see `Record`.
        renderer: of views.
        device: torch device, of what models make.
        backend: of a teacher.
    """
    if kind in FROM_FILES:
        files = _versions("numpy", "scipy", "pillow", "mapbox_earcut", "fpsample")
        return (*files, *_versions("pyrender", "PyOpenGL"), ("renderer", renderer)) if kind == "views" else files
    packages = ("torch", "transformers") if kind == "captions" else catalog.packages(backend)
    where = device.partition(":")[0]
    # On a CPU, float rounding depends on how many threads share one sum: see `Models`.
    return (*_versions(*packages), ("device", where), *([("threads", "1")] if where == "cpu" else []))


def software_changes(record: Record, *, renderer: str, device: str) -> list[str]:
    """In what this machine differs from the one that made a product, as `torch 2.9.0, here 2.9.1`. Empty if in nothing."""
    backend = record.spec.backend if isinstance(record.spec, TeacherSpec) else ""
    there = {name: value for name, value in record.made_by if not name.endswith("_batch")}
    here = dict(software(record.kind, renderer=renderer, device=device, backend=backend))
    names = dict.fromkeys([*there, *here])
    return [f"{name} {there.get(name, 'unknown')}, here {here.get(name, 'none')}" for name in names if there.get(name) != here.get(name)]


def caption_record(there: Iterable[Record], captions: CaptionSpec, device: str, batch: int) -> Record:
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
        product="captions",
        kind="captions",
        spec=captions,
        per_shape=view_count(views),
        inputs=tuple(sorted(inputs)),
        made_by=(*software("captions", device=device), ("caption_batch", str(batch))),
    )


CPU_BATCH: Final = 16
"""Pictures of one forward pass on a CPU, at most: larger batches gain nothing there, and threads share these evenly."""


def teacher_records(
    views: Record, captions: Record | None, teachers: Sequence[Teacher], device: str, batch: int, only: str = "image"
) -> list[Record]:
    """`image/<teacher>` records, or with `only="text"` the `text/<teacher>` records of those with a text side."""
    made = []
    for teacher in teachers:
        made_by = software(only, device=device, backend=teacher.spec.backend)
        name = f"{only}/{teacher.spec.name}"
        if only == "image":
            inputs: tuple[tuple[str, str], ...] = (("views", views.fingerprint),)
            count = view_count(views)
            made_by = (*made_by, ("image_batch", str(min(batch, CPU_BATCH) if device == "cpu" else batch)))
        elif captions is not None and teacher.spec.text:
            assert isinstance(captions.spec, CaptionSpec)
            inputs = (("captions", captions.fingerprint),)
            count = captions.per_shape * captions.spec.keep
            made_by = (*made_by, ("text_batch", str(batch)))
        else:
            continue
        made.append(Record(product=name, kind=only, spec=teacher.spec, per_shape=count, inputs=inputs, made_by=made_by))  # type: ignore[arg-type]
    return made


def label_record(label_set: LabelSet, teacher: TeacherSpec, device: str, batch: int) -> Record:
    """`labels/<set>/<teacher>`."""
    made_by = (*software("labels", device=device, backend=teacher.backend), ("text_batch", str(batch)))
    product = f"labels/{label_set.name}/{teacher.name}"
    return Record(product=product, kind="labels", spec=teacher, labels=label_set, inputs=(), made_by=made_by)


def batch_size(record: Record, name: str, otherwise: int) -> int:
    """The batch size that a product was made with.

    Args:
        record: the product.
        name: `image_batch`, `text_batch` or `caption_batch`.
        otherwise: what to return where the record does not say.

    Raises:
        UserError: the record says something that is no batch size.
    """
    said = dict(record.made_by).get(name)
    if said is None:
        return otherwise
    if not re.fullmatch("[1-9][0-9]{0,6}", said):
        raise UserError(
            f"the record of {record.product} has {name} {said[:40]!r}, expected a whole number from 1 to 9999999: another program wrote "
            "it; build the cache anew"
        )
    return int(said)


def view_count(views: Record) -> int:
    assert isinstance(views.spec, ViewSpec)
    return len(views.spec.rig.cameras)


def _versions(*packages: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, importlib.metadata.version(name)) for name in packages)


# ------------------------------------------------------------------------------------------------------------- models


class Models:
    """The foundation models of one process, each loaded once.

    On a CPU a model computes in several threads side by side, each of which has torch compute in itself alone: float
    rounding depends on how many threads share one sum, and the bytes of a cache must not depend on the machine's cores.
    """

    def __init__(self, device: str, places: Mapping[str, str] | None = None, threads: int = 0) -> None:
        """
        Args:
            device: torch device of all models.
            places: by digest of its weights, the folder of this machine that a model was loaded from; a record has its name only.
            threads: at work on a CPU; 0 for one per core.
        """
        self.device = device
        self.places = dict(places or {})
        self.lock = threading.Lock()
        self.threads = threads or len(os.sched_getaffinity(0))
        self.pool = ThreadPoolExecutor(self.threads, "model", initializer=lambda: torch.set_num_threads(1))
        self.turn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext() if device == "cpu" else threading.Lock()
        """Held while a model computes. A GPU has room for one batch."""
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
            UserError: it is not on this machine, or what its name loads here has other weights.
        """
        key = spec.fingerprint(described)
        if key not in self._teachers:
            revision = f"@{described.revision}" if described.revision else ""
            reference = f"{described.name}={described.backend}:{self.places.get(described.weights, described.model)}{revision}"
            model = catalog.load(reference, device=self.device, precision=described.precision)
            self._check(model.spec, described)
            self._teachers[key] = model
        return self._teachers[key]

    def captioner(self, described: CaptionSpec, batch: int) -> Captioner:
        """The captioner a record describes. Raises as `teacher`."""
        if self._captioner is None:
            here = dataclasses.replace(described, model=self.places.get(described.weights, described.model))
            self._captioner = caption.load(here, device=self.device, batch=batch)
            self._check(self._captioner.spec, described)
        return self._captioner

    @staticmethod
    def _check(loaded: Any, described: Any) -> None:
        if spec.fingerprint(loaded) != spec.fingerprint(described):
            raise UserError(
                f"{described.model} on this machine is not what made the cache: {'; '.join(store.differences(described, loaded))}"
            )

    def each(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Results of `work` in the order of `items`, several at a time, few of them ahead of who takes them."""
        waiting: deque[Future[Any]] = deque()
        try:
            for item in items:
                waiting.append(self.pool.submit(work, item))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


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
    if any(record.kind == "status" for record in written):
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
        there = [r for r in cache.records().values() if r.kind in FROM_FILES and r.product not in {w.product for w in written}]
        there = [r for r in there if shard not in cache.missing(r)]
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
    record = store.status_record(cache.manifest)
    return {node.path: cache.shard_rows(node, shard, None if reopened else record).copy() for node in cache.arrays(record)}


def _write_shapes(cache: Cache, records: Sequence[Record], shard: int, made: Mapping[int, Made], *, fresh: bool = False) -> None:
    """Write one shard of some products that come from files. `made` has the rows that change, or all of them where it is `fresh`."""
    for record in sorted(records, key=lambda record: record.kind == "status"):  # last: a shard with a status has all the rest
        if record.kind == "status":
            # Made even where all is fresh: one way to write it.
            empty = {n.path: np.zeros((len(cache.manifest.rows(shard)), *n.shape[1:]), n.dtype) for n in cache.arrays(record)}
            values: dict[str, Any] = empty if fresh else stored_status(cache, shard, reopened=True)
            for row, one in made.items():
                cells = {
                    "status": spec.FAILED if one.reason else spec.OK,
                    "reason": store.text_cells([one_line(one.reason or "; ".join(one.warnings))])[0],
                    "source_sha256": np.frombuffer(one.source_sha256, np.uint8),
                    "colored": one.colored,
                    "repeated": one.repeated,
                }
                for path, column in values.items():  # format 1 has no `repeated`
                    column[row] = cells[path]
        elif record.kind == "points":
            xyz, rgb = cache.arrays(record)
            values = {
                xyz.path: _rows(cache, xyz, shard, {row: one.xyz for row, one in made.items()}, fresh),
                rgb.path: _rows(cache, rgb, shard, {row: one.rgb for row, one in made.items()}, fresh),
            }
        else:
            values = {}
            for node in cache.arrays(record):
                if node.path == "views/pose":
                    values[node.path] = _rows(cache, node, shard, {row: one.pose for row, one in made.items()}, fresh)
                else:
                    nothing = [store.encode_chunk(node, np.zeros(node.chunk[1:], node.dtype))] * node.shape[1]
                    count = len(cache.manifest.rows(shard))
                    pictures: list[list[bytes]] = [nothing] * count if fresh else store.ShardFile(cache.path, node, shard).encoded(count)
                    for row, one in made.items():
                        pictures[row] = one.pictures.get(node.path, nothing)
                    values[node.path] = pictures
        cache.write(record, shard, values)


def _rows(cache: Cache, node: spec.ArraySpec, shard: int, changed: Mapping[int, NDArray[Any] | None], fresh: bool) -> NDArray[Any]:
    """Rows of one shard: those that change, the others as they are stored, or zeros where all is fresh. [n, ...]"""
    shape = (len(cache.manifest.rows(shard)), *node.shape[1:])
    out = np.zeros(shape, node.dtype) if fresh else cache.shard_rows(node, shard).copy()
    for row, value in changed.items():
        out[row] = 0 if value is None else value.astype(node.dtype, copy=False)
    return out


# ------------------------------------------------------------------------------------------------ shapes tried again


def reopen(cache: Cache, shard: int, kinds: Sequence[str] = ("guide", "text", "captions", "image", "views", "points", "status")) -> None:
    """Take one shard out of all products of some kinds, those first that depend on others: killed from here on, the shard is made again.

    Its rows may be taken over from here on, with no completion marker to compare them with: so they are compared first.

    Raises:
        UserError: a file of the shard is damaged.
    """
    records = sorted((r for r in cache.records().values() if r.kind in kinds), key=lambda r: kinds.index(r.kind))
    for record in records:
        if record.kind != "guide" and shard not in cache.missing(record):
            cache.check_shard(record, shard)
    for record in records:
        cache.reopen(record, shard)


def retry_shard(cache: Cache, plan: Plan, shard: int, made: Mapping[int, Made], models: Models, advance: Advance) -> list[int]:
    """Put failed shapes of one shard that were tried again into all products of a plan. Returns the rows that are ok now."""
    models_ = [r for r in plan.of_kind("image", "captions", "text") if shard not in cache.missing(r)]
    mended = _retry_shapes(cache, shard, made)
    if mended:
        for record in models_:
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
    cells = store.text_cells([one.reason for one in made.values()])
    mended = [row for row, one in made.items() if not one.reason]
    changed = mended or any(
        not np.array_equal(status["reason"][row], cell) or status["source_sha256"][row].tobytes() != one.source_sha256
        for (row, one), cell in zip(made.items(), cells, strict=True)
    )
    if not changed:
        return []
    written = [r for r in cache.records().values() if r.kind in (FROM_FILES if mended else ("status",))]
    there = [r for r in written if shard not in cache.missing(r)]  # of one that is being made, this shard is yet to come
    if mended:
        reopen(cache, shard)
    else:
        reopen(cache, shard, ("status",))
    _write_shapes(cache, there, shard, made)
    return mended


# ---------------------------------------------------------------------------------------------- from views and captions


def make_product(
    cache: Cache, plan: Plan, record: Record, shard: int, models: Models, advance: Advance, rows: Sequence[int] | None = None
) -> None:
    """Write one shard of an `image`, `captions` or `text` product from what the cache already holds.

    Args:
        cache, plan, record, shard: what to make.
        models: what makes it.
        advance: told of progress.
        rows: of the shard to make; the others stay as they are stored. None for all.

    What is made of a shape depends on the shape, on its place in the shard and on the batch sizes in the record, and never on how
    other shapes fared. So a shape that is mended later gets the bytes that it would have had at once.
    """
    usable = usable_rows(cache, shard)
    nodes = cache.arrays(record)
    count = len(cache.manifest.rows(shard))
    if rows is None:
        out = [np.zeros((count, *node.shape[1:]), node.dtype) for node in nodes]
    else:
        out = [cache.shard_rows(node, shard).copy() for node in nodes]
        usable = [row for row in usable if row in set(rows)]
    match record.kind, record.spec:
        case "image", TeacherSpec() as described:
            size = batch_size(record, "image_batch", plan.image_batch)
            image_embeddings(
                cache, plan, shard, models.teacher(described), models, size, usable, out[0], lambda n: advance(record.product, n)
            )
        case "captions", CaptionSpec() as described:
            batch = batch_size(record, "caption_batch", plan.caption_batch)
            captioner, ranker = models.captioner(described, batch), _ranker(plan, described, models)
            captions(cache, plan, shard, captioner, ranker, models, batch, usable, (out[0], out[1]), lambda n: advance(record.product, n))
        case "text", TeacherSpec() as described:
            size = batch_size(record, "text_batch", plan.image_batch)
            text_embeddings(cache, plan, shard, models.teacher(described), models, size, usable, out[0])
            advance(record.product, len(usable) * record.per_shape)
        case _:
            raise AssertionError(record.kind)
    cache.write(record, shard, {node.path: values for node, values in zip(nodes, out, strict=True)})
    advance(record.product, (count - len(usable)) * record.per_shape)  # nothing to do for them, and a bar that reaches its end


def _ranker(plan: Plan, described: CaptionSpec, models: Models) -> Teacher | None:
    if not described.rank_by:
        return None
    (record,) = [r for r in plan.records if r.product == f"image/{described.rank_by}"]
    assert isinstance(record.spec, TeacherSpec)
    return models.teacher(record.spec)


def stored_views(cache: Cache, views: Record, shard: int, rows: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(row within the shard, its pictures [V, H, W, 3]) of some shapes, decoded from what is stored."""
    pictures = _pictures(cache, views, shard)
    for row in rows:
        yield row, pictures.row(row)


def _pictures(cache: Cache, views: Record, shard: int) -> store.ShardFile:
    """The stored pictures of a shard, compared with their checksum: nothing is made of damaged ones."""
    node = cache.arrays(views)[0]
    return store.ShardFile(cache.path, node, shard, cache.digest(views, node, shard))


def usable_rows(cache: Cache, shard: int) -> list[int]:
    """Rows within a shard whose shape is ok."""
    record = store.status_record(cache.manifest)
    return np.flatnonzero(cache.shard_rows(cache.arrays(record)[0], shard, record) == spec.OK).tolist()


def image_embeddings(
    cache: Cache,
    plan: Plan,
    shard: int,
    teacher: Teacher,
    models: Models,
    size: int,
    rows: Sequence[int],
    out: NDArray[np.float16],
    advance: Callable[[int], None],
) -> None:
    """Put one teacher's embeddings of some shapes' stored views into `out` [n, V, E].

    Batches are cut from all views of the shard in order, whether or not their shape is usable, so that each picture is in the same
    place of an equally large batch whatever becomes of the others.
    """
    (views,) = plan.of_kind("views")
    stored = _pictures(cache, views, shard)
    count, per_shape = out.shape[:2]
    wanted = np.zeros(count, bool)
    wanted[list(rows)] = True
    slots = np.arange(count * per_shape)
    batches = [batch for i in range(0, len(slots), size) if wanted[(batch := slots[i : i + size]) // per_shape].any()]

    def embed(batch: NDArray[np.int64]) -> tuple[list[tuple[int, int]], torch.Tensor]:
        places = [divmod(int(slot), per_shape) for slot in batch]
        pixels = {i: teacher.preprocess(stored.entry(row, view)) for i, (row, view) in enumerate(places) if wanted[row]}
        filler = next(iter(pixels.values()))  # in the place of what is not wanted: any picture of the right size
        with models.turn:
            values = teacher.embed_images(torch.stack([pixels.get(i, filler) for i in range(len(places))]))
        kept = list(pixels)
        return [places[i] for i in kept], values[kept]

    for places, values in models.each(embed, batches):
        for (row, view), value in zip(places, _as_float16(values, teacher.spec, cache, shard, places), strict=True):
            out[row, view] = value
        advance(len(places))


def captions(
    cache: Cache,
    plan: Plan,
    shard: int,
    captioner: Captioner,
    ranker: Teacher | None,
    models: Models,
    batch: int,
    rows: Sequence[int],
    out: tuple[NDArray[np.uint8], NDArray[np.float32]],
    advance: Callable[[int], None],
) -> None:
    """Put some shapes' captions, best first, and their scores into `out`: text cells [n, V, samples, L] and [n, V, samples].

    A batch holds views of one shape.
    """
    (views,) = plan.of_kind("views")
    described = captioner.spec
    ids, names = shape_names(cache, shard)
    images = None
    if ranker is not None:
        (image_record,) = [r for r in plan.records if r.product == f"image/{ranker.spec.name}"]
        images = cache.shard_rows(cache.arrays(image_record)[0], shard, image_record)  # [n, V, E]

    def describe(item: tuple[int, NDArray[np.uint8]]) -> tuple[int, list[list[str]], NDArray[np.float32]]:
        row, pictures = item
        drawn: list[list[str]] = []
        scores = []
        for start in range(0, len(pictures), batch):
            part = pictures[start : start + batch]
            with models.turn:
                some = captioner.caption(part, [f"{ids[row]}#{start + i}" for i in range(len(part))], [names[row]] * len(part))
            cosines = np.zeros((len(part), described.samples), np.float32)
            if ranker is not None and images is not None:
                with models.turn:
                    texts = ranker.embed_texts([text for texts in some for text in texts]).reshape(len(part), described.samples, -1)
                order, cosines = caption.rank(images[row, start : start + len(part)], texts.numpy())
                some = [[texts[i] for i in best] for texts, best in zip(some, order, strict=True)]
            drawn += some
            scores.append(cosines)
        return row, drawn, np.concatenate(scores)

    for row, drawn, scores in models.each(describe, stored_views(cache, views, shard, rows)):
        out[0][row] = store.text_cells([text for texts in drawn for text in texts]).reshape(out[0].shape[1:])
        out[1][row] = scores
        advance(len(drawn))


def text_embeddings(
    cache: Cache, plan: Plan, shard: int, teacher: Teacher, models: Models, size: int, rows: Sequence[int], out: NDArray[np.float16]
) -> None:
    """Put one teacher's embeddings of some shapes' kept captions into `out` [n, V x K, E]. Equal texts of a shape are embedded once.

    A batch holds texts of one shape: how long others are decides how far each is padded.
    """
    (captions_,) = plan.of_kind("captions")
    assert isinstance(captions_.spec, CaptionSpec)
    cells = cache.shard_rows(cache.arrays(captions_)[0], shard, captions_)[:, :, : captions_.spec.keep]  # [n, V, K, L]

    def embed(row: int) -> tuple[int, NDArray[np.float16]]:
        texts = store.texts(cells[row].reshape(-1, spec.TEXT_BYTES))  # [T]
        different, where = np.unique(texts.astype(str), return_inverse=True)
        return row, _embed_texts(teacher, different.tolist(), size, models)[where.reshape(-1)]

    for row, values in models.each(embed, rows):
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


def _as_float16(
    values: torch.Tensor, teacher: TeacherSpec, cache: Cache, shard: int, places: Sequence[tuple[int, int]]
) -> NDArray[np.float16]:
    """One batch of embeddings `[n, E]` as they are stored.

    Args:
        values: `[n, E]`.
        teacher, cache, shard, places: whose they are, for the message: `places` has (row of the shard, view) of each.

    Raises:
        UserError: a value is not finite in float16.
    """
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and the error below says more than numpy's warning
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


def shape_names(cache: Cache, shard: int) -> tuple[list[str], list[str]]:
    """Ids of a shard's shapes, and what to call each in a sentence: its class, else the words of its file name."""
    record = store.index_record(cache.manifest)
    index = cache.arrays(record)
    ids = store.texts(cache.shard_rows(index[0], shard, record)).tolist()
    numbers = cache.shard_rows(index[1], shard, record)
    classes = cache.manifest.classes
    names = [classes[label] if label >= 0 else PurePosixPath(shape).stem for label, shape in zip(numbers, ids, strict=True)]
    return ids, [labels.readable(name) for name in names]
