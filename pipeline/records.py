"""The records of a cache's products: from what each is made, by which software, and with which batch sizes.

    made = build_records(source, points, views, teachers, captioners, renderer="llvmpipe", device="cpu", image_batch=64, caption_batch=16)
    made = text_records(captions, [teacher], "cpu", 64)    # the texts of one captions product, embedded by teachers

Letters: V views, K captions of a view that are kept.
"""

import importlib.metadata
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from cache_schema import products, spec
from cache_schema.errors import UserError
from cache_schema.products import Kind
from cache_schema.spec import CaptionSpec, LabelSet, PointSpec, Record, SourceSpec, TeacherSpec, ViewSpec
from pipeline.captioners import catalog as captioners
from pipeline.captioners.catalog import Captioner
from pipeline.teachers import catalog as teachers
from pipeline.teachers.catalog import Teacher

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
    files, source_print = software(products.POINTS), spec.fingerprint(source)
    status = _record(products.STATUS, source, made_by=files)
    blocks = _record(products.POINTS, points, inputs=(("source", source_print),), made_by=files)
    if views is None:
        return (status, blocks)
    # Views are framed on the normalised shape, so how points are normalised is part of what they are.
    inputs = (("normalize", points.normalize), ("source", source_print))
    drawn = _record(products.VIEWS, views, inputs=inputs, made_by=software(products.VIEWS, renderer=renderer))
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
        by_name = {products.parts(image)["teacher"]: image for image in images}
        ranker = by_name.get(captions.rank_by)
        if ranker is None:
            hint = spec.did_you_mean(captions.rank_by, by_name)
            raise UserError(f"captions.rank_by: no teacher {captions.rank_by!r} in this cache{hint}")
        assert isinstance(ranker.spec, TeacherSpec)
        if not ranker.spec.text:
            raise UserError(f"captions.rank_by: teacher {captions.rank_by!r} has no text side; choose one that has, or set it to nothing")
        inputs.append(("ranker", ranker.fingerprint))
    named = replace(captions, name=captions.name or captions.captioner)
    return _record(
        products.CAPTIONS,
        named,
        per_shape=view_count(views) if captions.per == "view" else 1,
        inputs=tuple(sorted(inputs)),
        made_by=(*software(products.CAPTIONS, device=device, backend=captions.captioner), ("caption_batch", str(batch))),
        captions=named.name,
    )


def image_records(views: Record, with_teachers: Sequence[Teacher], device: str, batch: int) -> list[Record]:
    """`image/<teacher>`: stored views embedded by each teacher."""
    size = min(batch, CPU_BATCH) if device == "cpu" else batch
    return [
        _record(
            products.IMAGE,
            teacher.spec,
            per_shape=view_count(views),
            inputs=(("views", views.fingerprint),),
            made_by=(*software(products.IMAGE, device=device, backend=teacher.spec.backend), ("image_batch", str(size))),
            teacher=teacher.spec.name,
        )
        for teacher in with_teachers
    ]


def text_records(captions: Record, with_teachers: Sequence[Teacher], device: str, batch: int) -> list[Record]:
    """`text/<captions>/<teacher>`: the kept captions of one captions product, embedded by each teacher that has a text side."""
    assert isinstance(captions.spec, CaptionSpec)
    return [
        _record(
            products.TEXT,
            teacher.spec,
            per_shape=captions.per_shape * captions.spec.keep,
            inputs=(("captions", captions.fingerprint),),
            made_by=(*software(products.TEXT, device=device, backend=teacher.spec.backend), ("text_batch", str(batch))),
            captions=products.parts(captions)["captions"],
            teacher=teacher.spec.name,
        )
        for teacher in with_teachers
        if teacher.spec.text
    ]


def label_record(label_set: LabelSet, teacher: TeacherSpec, device: str, batch: int) -> Record:
    """`labels/<set>/<teacher>`: a label set embedded by a teacher."""
    made_by = (*software(products.LABELS, device=device, backend=teacher.backend), ("text_batch", str(batch)))
    return replace(_record(products.LABELS, teacher, made_by=made_by, set=label_set.name, teacher=teacher.name), labels=label_set)


def _record(
    kind: Kind,
    described: Any,
    *,
    per_shape: int = 0,
    inputs: tuple[tuple[str, str], ...] = (),
    made_by: tuple[tuple[str, str], ...],
    **names: str,
) -> Record:
    """A record of a kind, called by the names in its pattern."""
    return Record(product=kind.product(**names), kind=kind.name, spec=described, per_shape=per_shape, inputs=inputs, made_by=made_by)


def software(kind: Kind, *, renderer: str = "", device: str = "", backend: str = "") -> tuple[tuple[str, str], ...]:
    """The software and device of this machine that make a product of some kind: `Record.made_by` without batch sizes.

    Args:
        kind: the kind of product.
        renderer: of views.
        device: torch device, of what models make.
        backend: of a teacher or a captioner.
    """
    if kind.origin == "files":
        files = _versions("numpy", "scipy", "pillow", "mapbox_earcut", "fpsample")
        return (*files, *_versions("pyrender", "PyOpenGL"), ("renderer", renderer)) if kind is products.VIEWS else files
    packages = captioners.packages(backend) if kind is products.CAPTIONS else teachers.packages(backend)
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
    here = dict(software(products.of(record), renderer=renderer, device=device, backend=backend))
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
