"""The records of a cache's products: from what each is made, by which software, and with which batch sizes.

    made = build_records(source, points, views, teachers, captioners, renderer="llvmpipe", device="cpu", image_batch=64, caption_batch=16)
    made = text_records(captions, [teacher], "cpu", 64)    # the texts of one captions product, embedded by teachers

Letters: V views, K captions of a view that are kept.
"""

import importlib.metadata
import re
from collections.abc import Iterable, Sequence
from typing import Final

from cache_schema import spec
from cache_schema.errors import UserError
from cache_schema.spec import CaptionSpec, LabelSet, PointSpec, Record, SourceSpec, TeacherSpec, ViewSpec
from pipeline.captioners import catalog as captioners
from pipeline.captioners.catalog import Captioner
from pipeline.teachers import catalog as teachers
from pipeline.teachers.catalog import Teacher

FROM_FILES: Final = ("status", "points", "views")
"""Kinds of products made from a shape's file, together."""
ORDER: Final = (*FROM_FILES, "image", "captions", "text")
"""Kinds of products that are made shard by shard. What others are made from comes first."""
CPU_BATCH: Final = 16
"""Largest number of pictures in a forward pass on a CPU: larger batches gain nothing there, and threads share these evenly."""


def build_records(
    source: SourceSpec,
    points: PointSpec,
    views: ViewSpec | None,
    with_teachers: Sequence[Teacher],
    with_captioners: Sequence[Captioner],
    *,
    renderer: str,
    device: str,
    image_batch: int,
    caption_batch: int,
) -> tuple[Record, ...]:
    """The records of a build, in the order of making.

    Args:
        source, points, views: what to make from files.
        with_teachers, with_captioners: what to make from views; nothing where there are no views.
        renderer: what draws the views, e.g. the GL driver's name.
        device: torch device of the models.
        image_batch, caption_batch: see `pipeline.recipes.BuildConfig`.

    Raises:
        UserError: see `caption_record`.
    """
    files, source_print = software("points"), spec.fingerprint(source)
    status = Record(product="status", kind="status", spec=source, inputs=(), made_by=files)
    blocks = Record(product="points", kind="points", spec=points, inputs=(("source", source_print),), made_by=files)
    if views is None:
        return (status, blocks)
    # Views are framed on the normalised shape, so how points are normalised is part of what they are.
    inputs = (("normalize", points.normalize), ("source", source_print))
    drawn = Record(product="views", kind="views", spec=views, inputs=inputs, made_by=software("views", renderer=renderer))
    images = image_records(drawn, with_teachers, device, image_batch)
    made = [status, blocks, drawn, *images]
    for captioner in with_captioners:
        captions = caption_record(drawn, images, captioner.spec, device, caption_batch)
        made += [captions, *text_records(captions, with_teachers, device, image_batch)]
    return tuple(made)


def caption_record(views: Record, images: Iterable[Record], captions: CaptionSpec, device: str, batch: int) -> Record:
    """The record of captions on stored views.

    Args:
        views: the views.
        images: records of teachers' image embeddings, among them that of the teacher that ranks.
        captions: what makes them.
        device: torch device of the captioner.
        batch: pictures per call of the captioner.

    Raises:
        UserError: the teacher that shall rank them is not among `images`, or has no text side.
    """
    inputs = [("views", views.fingerprint)]
    if captions.rank_by:
        by_name = {image.product.removeprefix("image/"): image for image in images}
        ranker = by_name.get(captions.rank_by)
        if ranker is None:
            hint = spec.did_you_mean(captions.rank_by, by_name)
            raise UserError(f"captions.rank_by: no teacher {captions.rank_by!r} in this cache{hint}")
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
        made_by=(*software("captions", device=device, backend=captions.captioner), ("caption_batch", str(batch))),
    )


def image_records(views: Record, with_teachers: Sequence[Teacher], device: str, batch: int) -> list[Record]:
    """`image/<teacher>`: stored views embedded by each teacher."""
    size = min(batch, CPU_BATCH) if device == "cpu" else batch
    return [
        Record(
            product=f"image/{teacher.spec.name}",
            kind="image",
            spec=teacher.spec,
            per_shape=view_count(views),
            inputs=(("views", views.fingerprint),),
            made_by=(*software("image", device=device, backend=teacher.spec.backend), ("image_batch", str(size))),
        )
        for teacher in with_teachers
    ]


def text_records(captions: Record, with_teachers: Sequence[Teacher], device: str, batch: int) -> list[Record]:
    """`text/<teacher>`: the kept captions of one captions product, embedded by each teacher that has a text side."""
    assert isinstance(captions.spec, CaptionSpec)
    return [
        Record(
            product=f"text/{teacher.spec.name}",
            kind="text",
            spec=teacher.spec,
            per_shape=captions.per_shape * captions.spec.keep,
            inputs=(("captions", captions.fingerprint),),
            made_by=(*software("text", device=device, backend=teacher.spec.backend), ("text_batch", str(batch))),
        )
        for teacher in with_teachers
        if teacher.spec.text
    ]


def label_record(label_set: LabelSet, teacher: TeacherSpec, device: str, batch: int) -> Record:
    """`labels/<set>/<teacher>`: a label set embedded by a teacher."""
    made_by = (*software("labels", device=device, backend=teacher.backend), ("text_batch", str(batch)))
    product = f"labels/{label_set.name}/{teacher.name}"
    return Record(product=product, kind="labels", spec=teacher, labels=label_set, inputs=(), made_by=made_by)


def software(kind: str, *, renderer: str = "", device: str = "", backend: str = "") -> tuple[tuple[str, str], ...]:
    """The software and device of this machine that make a product of some kind: `Record.made_by` without batch sizes.

    Args:
        kind: see `Record`.
        renderer: of views.
        device: torch device, of what models make.
        backend: of a teacher or a captioner.
    """
    if kind in FROM_FILES:
        files = _versions("numpy", "scipy", "pillow", "mapbox_earcut", "fpsample")
        return (*files, *_versions("pyrender", "PyOpenGL"), ("renderer", renderer)) if kind == "views" else files
    packages = captioners.packages(backend) if kind == "captions" else teachers.packages(backend)
    where = device.partition(":")[0]
    # On a CPU, float rounding depends on how many threads share one sum: see `Models`.
    return (*_versions(*packages), ("device", where), *([("threads", "1")] if where == "cpu" else []))


def software_changes(record: Record, *, renderer: str, device: str) -> list[str]:
    """How this machine differs from the one that made a product, as `torch 2.9.0, here 2.9.1`. Empty if it does not."""
    match record.spec:
        case TeacherSpec():
            backend = record.spec.backend
        case CaptionSpec():
            backend = record.spec.captioner
        case _:
            backend = ""
    there = {name: value for name, value in record.made_by if not name.endswith("_batch")}
    here = dict(software(record.kind, renderer=renderer, device=device, backend=backend))
    names = dict.fromkeys([*there, *here])
    return [f"{name} {there.get(name, 'unknown')}, here {here.get(name, 'none')}" for name in names if there.get(name) != here.get(name)]


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
    """Number of views of a shape, V."""
    assert isinstance(views.spec, ViewSpec)
    return len(views.spec.rig.cameras)


def _versions(*packages: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, importlib.metadata.version(name)) for name in packages)
