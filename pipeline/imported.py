"""Products that were brought from files of other people: their records, how they are written, and what lacks in them.

An imported teacher has the backend `imported`, and imported captions have the captioner `imported`. So their fingerprints differ from those
of everything that was computed. The record names what the products were brought from: the digest of the file is among its inputs, or the
source of the shapes. Nobody here can make such a product again.

Where a shape has no embedding in a file, zeros are stored, and where it has no text, an empty one. `Record.lacking` counts these shapes,
training leaves them out of the loss, and `mmpd-cache status` lists them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, spec
from cache_schema.errors import UserError
from cache_schema.lacking import counted
from cache_schema.layout import text_cells
from cache_schema.records import differences
from cache_schema.spec import IMPORTED, TEXT_BYTES, CaptionSpec, LabelSet, Record, TeacherSpec
from cache_schema.store import Cache
from pipeline import build
from pipeline.captioners.catalog import fit
from pipeline.sources.catalog import Extras, Given, GivenTexts, Source
from pipeline.work import Terminal, Work

Inputs = tuple[tuple[str, str], ...]

SHOWN: Final = 5
"""Number of ids that a message names."""


# ----------------------------------------------------------------------------------------------------------- descriptions


def teacher_spec(name: str, model: str, dim: int, *, text: bool) -> TeacherSpec:
    """Describe a teacher whose embeddings are imported.

    Args:
        name: its name in the cache.
        model: the model that the embeddings are told to be of; empty for the name.
        dim: width of an embedding.
        text: whether the model also reads texts.
    """
    return TeacherSpec(
        name=name,
        backend=IMPORTED,
        model=model or name,
        weights=f"told:{model or name}",
        preprocess="unknown",
        dim=dim,
        text=text,
        image_size=0,
    )


def image_record(teacher: TeacherSpec, views: int, inputs: Inputs, made_by: Inputs) -> Record:
    """Make the record of imported embeddings of pictures, `views` for each shape."""
    name = products.IMAGE.product(teacher=teacher.name)
    return Record(product=name, kind=products.IMAGE.name, spec=teacher, per_shape=views, inputs=inputs, made_by=made_by)


def caption_record(name: str, author: str, views: int, samples: int, inputs: Inputs, made_by: Inputs) -> Record:
    """Make the record of imported texts. `views` is 0 for texts about whole shapes. All texts are kept for teachers to embed."""
    described = CaptionSpec(name=name, captioner=IMPORTED, model=author, samples=samples, keep=samples, per="view" if views else "shape")
    return Record(
        product=products.CAPTIONS.product(captions=name),
        kind=products.CAPTIONS.name,
        spec=described,
        per_shape=views or 1,
        inputs=inputs,
        made_by=made_by,
    )


def text_record(captions: Record, teacher: TeacherSpec, inputs: Inputs, made_by: Inputs) -> Record:
    """Make the record of imported embeddings of the kept texts of some captions."""
    assert isinstance(captions.spec, CaptionSpec)
    name = products.TEXT.product(captions=products.parts(captions)["captions"], teacher=teacher.name)
    return Record(
        product=name,
        kind=products.TEXT.name,
        spec=teacher,
        per_shape=captions.per_shape * captions.spec.keep,
        inputs=tuple(sorted((*inputs, ("captions", captions.fingerprint)))),
        made_by=made_by,
    )


def label_record(labels: LabelSet, teacher: TeacherSpec, inputs: Inputs, made_by: Inputs) -> Record:
    """Make the record of an imported label set."""
    name = products.LABELS.product(set=labels.name, teacher=teacher.name)
    return Record(product=name, kind=products.LABELS.name, spec=teacher, labels=labels, inputs=inputs, made_by=made_by)


def check_teacher(cache: Cache, teacher: TeacherSpec) -> None:
    """Refuse a teacher if the cache has anything of another one of this name.

    Raises:
        UserError: it has. The message says how they differ.
    """
    for record in cache.records().values():
        there = record.teacher
        if there is not None and there.name == teacher.name and spec.fingerprint(there) != spec.fingerprint(teacher):
            raise UserError(
                f"{cache.path} has {record.product} by another teacher {teacher.name} ({'; '.join(differences(there, teacher))}): "
                "give this one another name by --teacher, or tell the same --model, width and text side"
            )


# ----------------------------------------------------------------------------------------------------------------- writing


def float16(values: NDArray[Any], what: Callable[[int], str], empty: NDArray[np.bool_] | None = None) -> NDArray[np.float16]:
    """Embeddings as they are stored, after a check. [n, V, E]

    Args:
        values: of any floating type. [n, V, E]
        what: says which entry is number i of the first axis, for messages.
        empty: where no embedding is expected, [n, V]; zeros are stored there.

    Raises:
        UserError: a number is NaN, infinite or too large for float16, or an embedding is all zeros.
    """
    values = np.asarray(values)
    if empty is not None:
        values = np.where(empty[..., None], 0, values)
    finite = np.asarray(np.isfinite(values).all(axis=(1, 2)))
    if not finite.all():
        raise UserError(f"{what(int(np.argmin(finite)))} has an embedding with NaN or infinity, and {int((~finite).sum()) - 1} more have")
    with np.errstate(over="ignore"):
        stored = values.astype(np.float16)
    fits = np.asarray(np.isfinite(stored).all(axis=(1, 2)))
    if not fits.all():
        raise UserError(f"{what(int(np.argmin(fits)))} has an embedding with numbers beyond 65504, which float16 cannot hold")
    some = np.asarray(stored.any(axis=2))
    there = np.asarray((some if empty is None else some | empty).all(axis=1))
    if not there.all():
        raise UserError(
            f"{what(int(np.argmin(there)))} has an embedding of all zeros (or one that is too small for float16), and "
            f"{int((~there).sum()) - 1} more have; zeros are no embedding"
        )
    return stored


def zeros(cache: Cache, record: Record, shard: int) -> list[NDArray[Any]]:
    """The arrays of one shard of a product, with nothing in them."""
    count = len(cache.manifest.rows(shard))
    return [np.zeros((count, *node.shape[1:]), node.dtype) for node in cache.arrays(record)]


def finish(cache: Cache, record: Record) -> Record:
    """Mark an imported product complete, and note how many usable shapes lack something in it."""
    return cache.finish(counted(cache, record))


# -------------------------------------------------------------------------------------------------- what a source has


def given_records(given: Given, source: str) -> list[Record]:
    """Make the records of everything that a source has beside the shapes themselves, in the order of making.

    Args:
        given: what it has.
        source: fingerprint of the description of the source.
    """
    inputs, made_by = (("source", source),), ((IMPORTED, "from the files of the source"),)
    teacher = teacher_spec(given.teacher, given.model, given.dim, text=any(one.embedded for one in given.texts)) if given.dim else None
    made = [image_record(teacher, given.views, inputs, made_by)] if teacher is not None and given.views else []
    for one in given.texts:
        named = tuple(sorted((*inputs, ("given", one.name))))  # two kinds of texts of one source may be described alike
        captions = caption_record(one.name, one.author, one.views, one.samples, named, made_by)
        made.append(captions)
        if one.embedded and teacher is not None:
            made.append(text_record(captions, teacher, inputs, made_by))
    return made


def store_given(work: Work, source: Source) -> list[Record]:
    """Store what a source has of the shapes that are ok. After a kill, call it again: it continues.

    Returns:
        The records of the captions.

    Raises:
        UserError: a file has changed since its shape was read, or the cache has other products of these names. What was stored is kept.
    """
    cache, given = work.cache, source.given
    records = [cache.begin(record) for record in given_records(given, spec.fingerprint(cache.manifest.source))]
    cut = 0
    shards = sorted({shard for record in records for shard in cache.missing(record)})
    if shards:
        names = ", ".join(record.product for record in records)
        work.terminal.say(f"storing what the source has: {names}")
    for shard in shards:
        cut += _store_shard(work, source, records, shard)
    if cut:
        work.terminal.say(f"Note: {cut} texts are longer than {TEXT_BYTES} bytes and are cut; their embeddings are of the whole texts")
    finished = [finish(cache, record) for record in records]
    tell_lacking(finished, work.terminal)
    return [record for record in finished if isinstance(record.spec, CaptionSpec)]


def tell_lacking(records: Iterable[Record], terminal: Terminal) -> None:
    """Say how many shapes lack something in imported products."""
    for record in records:
        if record.lacking:
            lack = "1 shape lacks" if record.lacking == 1 else f"{record.lacking} shapes lack"
            terminal.say(f"Note: {lack} something in {record.product}; `mmpd-cache status` lists them")


def _store_shard(work: Work, source: Source, records: Sequence[Record], shard: int) -> int:
    """Write one shard of everything that a source has. Returns the number of texts that were cut."""
    cache = work.cache
    todo = [record for record in records if shard in cache.missing(record)]
    arrays = {record.product: zeros(cache, record, shard) for record in todo}
    first, cut = cache.manifest.rows(shard).start, 0
    for row in build.usable_rows(cache, shard):
        entry = source.entries[first + row]
        try:
            extras: Extras = source.reader.extras(entry)  # type: ignore[attr-defined]  # a source with `given` has a `GivingReader`
        except UserError as error:
            raise UserError(f"{entry.id} has changed since its points were made: {error}. Build the cache anew") from error
        for record in todo:
            cut += _place(record, arrays[record.product], row, extras, source.given.texts)
    for record in todo:
        nodes = cache.arrays(record)
        cache.write(record, shard, {node.path: values for node, values in zip(nodes, arrays[record.product], strict=True)})
    return cut


def _place(record: Record, arrays: list[NDArray[Any]], row: int, extras: Extras, texts: Sequence[GivenTexts]) -> int:
    """Put what a shape has into its row of the arrays of a product. Returns the number of texts that were cut."""
    if products.of(record) is products.IMAGE:
        assert extras.image is not None
        arrays[0][row] = float16(extras.image[None], lambda _: record.product)[0]
        return 0
    name = products.parts(record)["captions"]
    said, embedded = extras.texts.get(name, ()), extras.embedded.get(name, ())
    if products.of(record) is products.CAPTIONS:
        return place_texts(arrays[0][row], said)
    samples = next(one.samples for one in texts if one.name == name)
    for view, vectors in enumerate(embedded):
        start = view * samples
        arrays[0][row][start : start + len(vectors)] = float16(vectors[None], lambda _: record.product)[0]
    return 0


def place_texts(cells: NDArray[np.uint8], said: Sequence[Sequence[str]]) -> int:
    """Put texts into the cells of a shape, [V, samples, L], those of a view one after another. Returns how many were cut."""
    cut = 0
    for view, texts in enumerate(said):
        lines = [fit(text) for text in texts]
        cut += sum(len(" ".join(text.split()).encode()) > TEXT_BYTES for text in texts)
        cells[view, : len(lines)] = text_cells(lines)
    return cut


def sorted_ids(ids: Iterable[str], count: int | None = None) -> str:
    """Some ids for a message: the first ones in order, and the number of the others."""
    ordered = sorted(ids)
    more = (len(ordered) if count is None else count) - SHOWN
    return ", ".join(ordered[:SHOWN]) + (f" and {more} more" if more > 0 else "")
