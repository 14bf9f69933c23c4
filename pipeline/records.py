"""Make the records of products: inputs, software and batch sizes.

    made = build_records(source, points, views, None, teachers, captioners, renderer="llvmpipe", device="cpu", image_batch=64,
                         caption_batch=16)
    made = text_records(captions, [teacher], "cpu", 64)    # the texts of one captions product, embedded by teachers

Letters: V views, K captions of a view that are kept.
"""

import importlib.metadata
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from cache_schema import plugins, products, spec
from cache_schema.errors import UserError
from cache_schema.lacking import is_imported
from cache_schema.names import path_name
from cache_schema.products import Kind
from cache_schema.spec import BoxSpec, CaptionSpec, DenseSpec, LabelSet, PointSpec, Record, SourceSpec, TeacherSpec, ViewSpec
from pipeline.captioners import catalog as captioners
from pipeline.captioners.catalog import Captioner
from pipeline.sources.catalog import SOURCES
from pipeline.teachers import catalog as teachers
from pipeline.teachers.catalog import Teacher

CPU_BATCH: Final = 16
"""Most pictures in a forward pass on a CPU. Larger batches are not faster there, and threads share small ones evenly."""
NO_PACKAGES: Final = ("renderer", "device", "threads")
"""Last words of names in `Record.made_by` that are of no package."""


def build_records(
    source: SourceSpec,
    points: PointSpec,
    views: ViewSpec | None,
    boxes: BoxSpec | None,
    with_teachers: Sequence[Teacher],
    with_captioners: Sequence[Captioner],
    *,
    renderer: str,
    device: str,
    image_batch: int,
    caption_batch: int,
    dense: Sequence[tuple[Teacher, DenseSpec]] = (),
    unseen: Collection[str] = (),
) -> tuple[Record, ...]:
    """Make the records of a build, in the order of making.

    Args:
        source, points, views, boxes: specifications of what is made from files.
        with_teachers, with_captioners: models that work on views. Without views only captioners of what a source states count.
        renderer: name of the driver that draws the views.
        device: torch device of the models.
        image_batch, caption_batch: see `pipeline.recipes.BuildConfig`.
        dense: teachers whose patch features are carried to points, and how.
        unseen: names of captions that the cache has, and that were made when it had no views.

    Raises:
        UserError: see `caption_record`.
    """
    files, source_print = (*software(products.POINTS), *_readers(source)), spec.fingerprint(source)
    status = _record(products.STATUS, source, made_by=files)
    blocks = _record(products.POINTS, points, inputs=(("source", source_print),), made_by=files)
    # Views frame the normalised shape, so they depend on how shapes are normalised. Boxes are moved with it.
    inputs = (("normalize", points.normalize), ("source", source_print))
    shapes = [status, blocks, *([] if boxes is None else [_record(products.BOXES, boxes, inputs=inputs, made_by=files)])]
    if views is None:
        stating = [captioner.spec for captioner in with_captioners if captioner.spec.stated]
        return (*shapes, *(caption_record(None, (), told, device, caption_batch, source=source_print) for told in stating))
    drawn = _record(products.VIEWS, views, inputs=inputs, made_by=software(products.VIEWS, renderer=renderer, backend=judging(views)))
    images = image_records(drawn, with_teachers, device, image_batch)
    made = [*products.in_order([*shapes, drawn]), *images]
    for captioner in with_captioners:
        shown = None if captioner.spec.name in unseen else drawn
        captions = caption_record(shown, images, captioner.spec, device, caption_batch, source=source_print)
        made += [captions, *text_records(captions, with_teachers, device, image_batch)]
    made += [dense_record(blocks, drawn, described, device, image_batch) for _, described in dense]
    return tuple(made)


def caption_record(
    views: Record | None, images: Iterable[Record], captions: CaptionSpec, device: str, batch: int, *, source: str
) -> Record:
    """Make the record of captions of stored views, or of what a source states.

    Args:
        views: record of the views; None in a cache without views, which has captions of what a source states alone.
        images: records of image embeddings. The teacher that ranks the captions must be among them.
        captions: the captioner and its settings.
        device: torch device of the captioner.
        batch: pictures per call of the captioner.
        source: fingerprint of the source, from which captions are made if there are no views.

    Raises:
        UserError: there are no views and the captions need them, or a sheet would have more than there are. Also the errors of
            `check_captions`.
    """
    count = view_count(views) if views is not None else 0
    if views is None and not (captions.stated and captions.per == "shape"):
        raise UserError("these captions are made of views, and the cache has none: `mmpd-cache build` with views makes them")
    by_name = {products.parts(image)["teacher"]: image for image in images}
    check_captions(captions, {name: image.spec for name, image in by_name.items() if isinstance(image.spec, TeacherSpec)}, count)
    # In a cache with views, texts of what a source states have them for an input, too: as it was before they could do without.
    inputs = [("views", views.fingerprint) if views is not None else ("source", source)]
    if captions.rank_by:
        inputs.append(("ranker", by_name[captions.rank_by].fingerprint))
    named = replace(captions, name=captions.name or captions.captioner)
    return _record(
        products.CAPTIONS,
        named,
        per_shape=count if captions.per == "view" else 1,
        inputs=tuple(sorted(inputs)),
        made_by=(*software(products.CAPTIONS, device=device, backend=captions.captioner), ("caption_batch", str(batch))),
        captions=named.name,
    )


def check_captions(captions: CaptionSpec, with_teachers: Mapping[str, TeacherSpec | None], views: int | None = None) -> None:
    """Refuse captions that cannot be made or ranked as they ask, or whose name cannot be in a cache.

    Args:
        captions: the captioner and its settings.
        with_teachers: the teachers of the cache by name; None for one that is not loaded yet.
        views: number of views of a shape; None if it is not known.

    Raises:
        UserError: the name is not allowed, a sheet would have more views than there are, or the teacher that ranks the captions is not
            among `with_teachers`, or does not read text.
    """
    if views is not None and captions.sheet > views:
        raise UserError(f"captions.sheet: a shape has {views} views, got {captions.sheet}; set it to that or less")
    path_name(captions.name or captions.captioner, "the captions")
    name = captions.rank_by
    if name and name not in with_teachers:
        raise UserError(f"captions.rank_by: no teacher {name!r} in this cache{spec.did_you_mean(name, with_teachers)}")
    ranker = with_teachers.get(name)
    if ranker is not None and not ranker.text:
        raise UserError(f"captions.rank_by: teacher {name!r} has no text side; choose one that has, or set it to nothing")


def image_records(views: Record, with_teachers: Sequence[Teacher], device: str, batch: int) -> list[Record]:
    """Make the records of `image/<teacher>`: stored views embedded by each teacher."""
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


def dense_record(points: Record, views: Record, described: DenseSpec, device: str, batch: int, renderer: str = "") -> Record:
    """Make the record of `dense/<teacher>`: a teacher's patch features of stored views, carried to stored points.

    Args:
        points, views: the records of what they are made from.
        described: the teacher and the groups.
        device: torch device of the teacher.
        batch: number of views of a shape in a forward pass.
        renderer: name of the driver that draws depth again; empty if the views have depth.

    Raises:
        UserError: the blocks are too few or too small for the groups.
    """
    there = points.spec
    assert isinstance(there, PointSpec) and isinstance(views.spec, ViewSpec)
    for what, asked, most in (
        ("blocks", described.blocks, there.blocks),
        ("groups", described.groups, there.ordered),
        ("group size", described.group_size, there.count),
    ):
        if asked > most:
            why = "centres of groups are points in farthest-point order" if what == "groups" else "so the points were made"
            raise UserError(f"patch features on points: the {what} can be {most} at most ({why}), got {asked}")
    made_by = software(products.DENSE, renderer=renderer, device=device, backend=described.teacher.backend)
    size = min(batch, CPU_BATCH) if device == "cpu" else batch
    return _record(
        products.DENSE,
        described,
        per_shape=view_count(views),
        inputs=(("points", points.fingerprint), ("views", views.fingerprint)),
        made_by=(*made_by, ("image_batch", str(size))),
        teacher=described.teacher.name,
    )


def dense_spec(teacher: Teacher, *, blocks: int, groups: int, group_size: int) -> DenseSpec:
    """Describe the patch features of a loaded teacher on groups of points.

    Raises:
        UserError: nobody has said what the patch features of this architecture are, or the backend of another package has none.
    """
    if lacking := [one for one in ("embed_patches", "patch_grid", "patch_method") if one not in dir(teacher)]:
        raise UserError(f"teacher {teacher.spec.name} has no patch features: its backend {teacher.spec.backend} lacks {', '.join(lacking)}")
    if theirs := plugins.plugin("teachers", teacher.spec.backend, teachers.BACKENDS):
        from pipeline.teachers import trial  # only here, as it imports torch

        trial.refuse_patches(teacher, f"{teacher.spec.backend}:{teacher.spec.model}, {theirs.told}")
    size = teacher.spec.image_size
    method = teacher.patch_method
    dim = teacher.embed_patches(teacher.preprocess(np.zeros((size, size, 3), np.uint8))[None]).shape[-1]
    return DenseSpec(teacher=teacher.spec, blocks=blocks, groups=groups, group_size=group_size, dim=dim, method=method)


def text_records(captions: Record, with_teachers: Sequence[Teacher], device: str, batch: int) -> list[Record]:
    """Make the records of `text/<captions>/<teacher>`: kept captions embedded by each teacher that reads text."""
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
    """Make the record of `labels/<set>/<teacher>`: a label set embedded by a teacher."""
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
    """Make a record of a kind. `names` are those in its pattern."""
    return Record(product=kind.product(**names), kind=kind.name, spec=described, per_shape=per_shape, inputs=inputs, made_by=made_by)


def _readers(source: SourceSpec) -> tuple[tuple[str, str], ...]:
    """(package, version) of the sources of other packages that read a cache's shapes."""
    kinds = dict.fromkeys((source.kind, *(more.kind for more in source.also)))
    return tuple(pair for kind in kinds for pair in plugins.origin("sources", kind, SOURCES))


def software(kind: Kind, *, renderer: str = "", device: str = "", backend: str = "") -> tuple[tuple[str, str], ...]:
    """Tell the software and the device of this machine that would make a product: `Record.made_by` without batch sizes.

    Args:
        kind: the kind of product.
        renderer: name of the driver, for views, and for patch features if depth is drawn for them.
        device: torch device, for products of models.
        backend: backend of the teacher or captioner; for views, of the teacher that chooses them, if there is one.
    """
    if kind.origin == "files":
        files = _versions("numpy", "scipy", "pillow", "mapbox_earcut", "fpsample")
        if kind is not products.VIEWS:
            return files
        chosen = [one for one in _versions(*teachers.packages(backend)) if one not in files] if backend else []
        return (*files, *_versions("pyrender", "PyOpenGL"), *chosen, ("renderer", renderer))
    packages = captioners.packages(backend) if kind is products.CAPTIONS else teachers.packages(backend)
    if kind is products.DENSE:
        packages = (*packages, "numpy")  # it tells which points are seen
    where = device.partition(":")[0]
    drawn = software(products.VIEWS, renderer=renderer) if kind is products.DENSE and renderer else ()
    # On a CPU, rounding depends on how many threads share one sum; see `Models`.
    own = (*_versions(*packages), ("device", where), *([("threads", "1")] if where == "cpu" else []))
    return (*own, *(one for one in drawn if one not in own))


def software_changes(record: Record, *, renderer: str, device: str) -> list[str]:
    """List how this machine differs from the one that made a product, such as `torch 2.9.0, here 2.9.1`, and this version of our code, such
    as `revision 1 of points, here 2`."""
    match record.spec:
        case TeacherSpec():
            backend = record.spec.backend
        case DenseSpec():
            backend = record.spec.teacher.backend
        case CaptionSpec():
            backend = record.spec.captioner
        case ViewSpec():
            backend = judging(record.spec)
        case _:
            backend = ""
    there = {name: value for name, value in record.made_by if not name.endswith("_batch") and name not in spec.COUNTED}
    there = {name: value for name, value in there.items() if not spec.is_reading(name)}  # `pipeline.readings` compares these by shape
    if products.of(record) is products.DENSE and "renderer" not in there:
        renderer = ""  # its depth is stored
    here = dict(software(products.of(record), renderer=renderer, device=device, backend=backend))
    here |= {one.package: one.version for one in plugins.found("sources") if one.package in there}  # a source of another package
    names = dict.fromkeys([*there, *here])
    found = [f"{name} {there.get(name, 'unknown')}, here {here.get(name, 'none')}" for name in names if there.get(name) != here.get(name)]
    return [*found, *_revisions_changed(record)]


def _revisions_changed(record: Record) -> Iterator[str]:
    """Yield which results of our own code had another revision when a product was made."""
    policy = record.spec.policy if isinstance(record.spec, ViewSpec) else None
    for what, part in ((products.of(record).name, record.spec), ("chosen views", policy)):
        name = "revision_of_code" if isinstance(part, CaptionSpec) else "revision"
        if isinstance(part, PointSpec | ViewSpec | CaptionSpec | spec.Coverage) and getattr(part, name) != getattr(type(part), name):
            yield f"revision {getattr(part, name)} of {what}, here {getattr(type(part), name)}"


def packages_changed(records: Iterable[Record]) -> list[str]:
    """List the packages of this machine that are not those which made some products, such as `numpy 2.3.1, here 2.3.2`. Devices and drivers
    are not compared. Products that were imported, or that only a trained run makes, do not count.

    Only packages that a product names are looked up, and none is imported: that takes seconds, and `status` asks."""
    found: dict[str, None] = {}
    for record in records:
        if products.of(record).origin in ("files", "cache") and not is_imported(record):
            for name, there in record.made_by:
                if name.endswith("_batch") or name in spec.COUNTED or spec.is_reading(name) or name.split()[-1] in NO_PACKAGES:
                    continue
                try:
                    here = importlib.metadata.version(name)
                except importlib.metadata.PackageNotFoundError:
                    here = "none"
                if here != there:
                    found[f"{name} {there}, here {here}"] = None
    return list(found)


def not_installed(record: Record) -> str:
    """Write which packages made a product and are not installed here, and the command that installs them; empty if all are there."""
    gone = [one.removesuffix(", here none").split() for one in packages_changed([record]) if one.endswith(", here none")]
    wanted = " ".join("==".join(one) for one in gone)
    return f"It was made with {', '.join(map(' '.join, gone))}, not installed here: `pip install {wanted}`" if gone else ""


def only_with(records: Iterable[Record]) -> str:
    """Write the end of a sentence that recommends a command which makes shapes anew: which packages it takes, where others are installed by
    now; empty if none are."""
    changed = "; ".join(packages_changed(records))
    return f", but only with the packages that made the cache ({changed}): install these, or build it anew elsewhere" if changed else ""


def batch_size(record: Record, name: str, otherwise: int) -> int:
    """Return the batch size that a product was made with.

    Args:
        record: the product.
        name: `image_batch`, `text_batch` or `caption_batch`.
        otherwise: what to return if the record has none.

    Raises:
        UserError: the record has an impossible batch size.
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
    return views.spec.count


def judging(views: ViewSpec) -> str:
    """Backend of the teacher that chooses the views of each shape; empty if none does."""
    return views.policy.judge.backend if views.policy is not None and views.policy.judge is not None else ""


def _versions(*packages: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, importlib.metadata.version(name)) for name in packages)
