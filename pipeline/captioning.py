"""Add captions to a cache: by a captioner (`add-captioner`), or from a file (`import-captions`). A build checks its own by the same rules.

Everything that was given is checked first, and the cache is locked only then. After a kill, call it again: it continues.
"""

import dataclasses
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cache_schema import lacking, products, spec, store
from cache_schema.errors import Partial, UserError
from cache_schema.spec import CaptionSpec, Record, TeacherSpec
from cache_schema.store import Cache
from pipeline import build, imported, importing, journal, labels
from pipeline.captioners import catalog as captioners
from pipeline.captioners.catalog import Captioner, Telling
from pipeline.complete import complete_stored
from pipeline.describe import warn_of_starter
from pipeline.executors import catalog as executors
from pipeline.models import Models
from pipeline.opening import check_place, described_shapes, finished, place_of, places, text_teachers
from pipeline.origins import source_again
from pipeline.records import caption_record, text_records
from pipeline.sources.catalog import Entry, Reader
from pipeline.statements import Variety, stated, varied
from pipeline.work import Machine, Terminal, Work, caught_up, held
from pipeline.worker import Task


def add_captioner(path: Path, captions: CaptionSpec, batch: int, machine: Machine, terminal: Terminal, location: str = "") -> Record:
    """Write captions of the stored views with another captioner, or of what the source states about the shapes, and embed them with every
    teacher of the cache that reads text.

    Other products stay unchanged. After a kill, call it again: it continues.

    Args:
        path: the cache.
        captions: the captioner and its settings. Its name becomes the name of the captions in the cache.
        batch: number of pictures per call of the captioner, and of texts per forward pass of a teacher.
        machine: where to run.
        terminal: gets messages and progress.
        location: location of the shapes, if the captions are of what their source states; empty for the one in the journal.

    Returns:
        The record of the captions.

    Raises:
        UserError: a model is missing or differs from the one that made the cache, the source is needed and not there, the captions cannot
            be ranked as asked, the source states too little for a text of any shape, or the cache has other captions of this name. Nothing
            was written.
        Partial: no shape has got a text. The captions are in the cache, and `status` says that they are empty.
    """
    if not has_captions(path, captions.name):
        captioners.refuse_idle(captions)
    opened = store.open_ahead(path)  # no lock file beside what is no cache
    if not captions.stated:
        opened.record(products.VIEWS.name)
    if opened.manifest.format_version == 1 and products.select(opened.records(), products.CAPTIONS):
        raise UserError(
            f"{path} has format 1, with room for one captioner: convert it by `mmpd-cache copy {path} NEW`, then add to the copy"
        )
    devices = executors.devices(machine)
    executors.check(machine)
    check_place(path)
    models = Models(devices[0], places(path))
    wanted = _captions_of(opened, captions, devices[0], batch)
    if (before := opened.records().get(wanted.product)) is not None and isinstance(before.spec, CaptionSpec):
        # All settings are compared before gigabytes are loaded. Only the digest of the weights is not known yet.
        wanted = _captions_of(opened, dataclasses.replace(captions, weights=before.spec.weights), devices[0], batch)
    opened.agreed(wanted, "")
    captioner = models.load_captioner(captions, terminal.say)
    warn_of_starter([captions.model], opened.manifest.source, opened.manifest.classes, terminal.say)
    ok, classes, called = np.flatnonzero(opened.ok()).tolist(), (*opened.manifest.classes, ""), opened.ids()
    numbers = opened.column("label").tolist()  # -1 is none
    check_names(captions, ((classes[numbers[row]], str(called[row])) for row in ok), "Nothing was written")
    task, entries = _stating_task(opened, captioner.spec, location, terminal)
    if task is not None:
        usable = (entries[row] for row in ok)
        check_told(captioner, task.reader, usable, "A captioner that looks at pictures needs nothing stated; nothing was written")
    readers = [models.teacher(described) for described in text_teachers(opened)]
    used = place_of(captioner.spec.weights, captions.model)
    models.places |= used
    with held(path, terminal) as file:
        ahead = store.open_ahead(path)
        made = _captions_of(ahead, captioner.spec, devices[0], batch)
        records = [made, *text_records(made, readers, devices[0], batch)]
        for record in records:
            ahead.agreed(record, "" if record is made else None)
        cache = caught_up(path, terminal, records)
        work = Work(cache=cache, entries=entries, models=models, machine=machine, terminal=terminal, journal=file)
        work.note(journal.AddCaptioner(captioner=captions.name, models=used))
        begun = [work.cache.begin(record) for record in records]
        complete_stored(work, begun, batch, task)
        work.note(journal.Done())
    record = work.cache.record(begun[0].product)
    if captioner.spec.stated:
        imported.tell_lacking([record], terminal)
    check_texts(work.cache, [captions.name])
    return record


def _stating_task(cache: Cache, captions: CaptionSpec, location: str, terminal: Terminal) -> tuple[Task | None, Sequence[Entry]]:
    """Open the source of a cache, if captions are of what it states.

    Returns:
        A task that makes nothing and has the reader of the source, and all shapes; None and nothing for other captions.

    Raises:
        UserError: the shapes are not there, or are not those that the cache was built from.
    """
    if not captions.stated:
        if location:
            terminal.say("these captions are of pictures, so the source is not opened")
        return None, ()
    source, config = source_again(cache, location)
    points, _, _ = described_shapes(cache.records())
    return Task(reader=source.reader, points=points, views=None, limits=config.limits), source.entries


def _captions_of(cache: Cache, captions: CaptionSpec, device: str, batch: int) -> Record:
    """Make the record of captions of a cache's views, or of what its source states. Raises the errors of `caption_record`."""
    images = products.select(finished(cache), products.IMAGE)
    before = cache.records().get(products.CAPTIONS.product(captions=captions.name))
    unseen = captions.stated and (products.VIEWS.name not in cache.records() if before is None else products.without_views(before))
    views = None if unseen else cache.record(products.VIEWS.name)
    return caption_record(views, images, captions, device, batch, source=spec.fingerprint(cache.manifest.source))


def import_captions(
    path: Path, file: Path, asked: importing.Captions, batch: int, machine: Machine, terminal: Terminal, *, embed: bool = True
) -> Record:
    """Store captions of shapes from a file, and embed them with every teacher of the cache that reads text.

    Args:
        path: the cache.
        file: the file.
        asked: what the file is.
        batch: number of texts per forward pass of a teacher.
        machine: where to run.
        terminal: gets messages and progress.
        embed: whether to embed them; without it, no model is loaded.

    Raises:
        UserError: see `pipeline.importing.import_captions`; or a teacher is not on this machine. Nothing was written.
        Partial: all texts are empty. They are in the cache, and `status` says so.
    """
    opened = importing.opened(path)
    models = Models(executors.devices(machine)[0], places(path))
    if embed:
        executors.check(machine)
        for described in text_teachers(opened):
            models.teacher(described)
    record = importing.import_captions(path, file, asked, terminal)
    if embed:
        with held(path, terminal) as notes:
            work = Work(cache=store.open_cache(path), models=models, machine=machine, terminal=terminal, journal=notes)
            embed_captions(work, record, batch)
            work.note(journal.Done())
    for name in sorted(products.parts(r)["teacher"] for r in products.select(finished(opened), products.IMAGE) if _is_reader(r)):
        terminal.say(f"Note: {name} was imported, so no model here embeds these captions for it")
    check_texts(store.open_cache(path), [asked.name])
    return record


def _is_reader(record: Record) -> bool:
    """Whether a product is of an imported teacher that reads text."""
    return isinstance(record.spec, TeacherSpec) and record.spec.imported and record.spec.text


# ------------------------------------------------------------------------------------------------ what a build does, too


def embed_captions(work: Work, captions: Record, batch: int) -> None:
    """Embed captions with every teacher of a cache that reads text and was not imported itself.

    Args:
        work: the cache, and what the command works with.
        captions: the record of the captions, which are complete.
        batch: number of texts in a forward pass.

    Raises:
        UserError: a teacher is not on this machine, or the cache has other embeddings of these captions.
    """
    readers = [work.models.teacher(described) for described in text_teachers(work.cache)]
    if readers:
        records = text_records(captions, readers, work.models.device, batch)
        complete_stored(work, [work.cache.begin(record) for record in records], batch)


def has_captions(path: Path, name: str) -> bool:
    """Whether a cache is there and has captions of this name, perhaps unfinished ones."""
    return (path / "zarr.json").exists() and products.CAPTIONS.product(captions=name) in store.open_cache(path).records()


def check_names(captions: CaptionSpec, shapes: Iterable[tuple[str, str]], instead: str) -> None:
    """Refuse templates before any work, if a shape has no name to fill them with.

    Args:
        captions: the captioner; others than of templates are not refused.
        shapes: class and id of each shape that will have texts.
        instead: what to do, in words.

    Raises:
        UserError: a shape has no name.
    """
    if captions.templates and (nameless := [one for label, one in shapes if not labels.readable(build.name_of(label, one))]):
        more = f" and {len(nameless) - 1} more have" if len(nameless) > 1 else " has"
        raise UserError(
            f"captions of {captions.name!r}: {nameless[0]!r}{more} neither a class nor a name that could fill a template; give them one. "
            f"{instead}"
        )


def check_told(captioner: Captioner, reader: Reader, entries: Iterable[Entry], instead: str) -> None:
    """Refuse captions of what a source states before any work, if that is too little for a text of any shape. Mostly the first shape tells.

    Args:
        captioner: the captioner; others than of what a source states are not refused.
        reader: the reader of the source.
        entries: the shapes that will have texts.
        instead: what to do, in words.

    Raises:
        UserError: no shape would have a text. Or an error of `statements.stated`.
    """
    if not isinstance(captioner, Telling):
        return
    wrong, some = captioner.spec.wrong, False
    for entry in entries:
        some = True
        if any(captioner.tell(entry.id, stated(reader, entry), varied(reader, entry) if wrong else Variety())):
            return
    if some:
        kinds = ", ".join(captioner.spec.kinds)
        little = "nothing that can be exchanged for something that is not so" if wrong else "too little for a text"
        raise UserError(
            f"captions of {captioner.spec.name!r} ({kinds}) would be empty for every shape: the source {reader.kind!r} states {little} of "
            f"any of them. {instead}"
        )


def check_texts(cache: Cache, names: Iterable[str], given: Iterable[str] = ()) -> None:
    """Tell that captions are there and useless, at the end of a command that has made them.

    Args:
        cache: the cache.
        names: names of the captions that a captioner has made, or that were brought from a file.
        given: names of those that the source has.

    Raises:
        Partial: no shape has a text in some of them.
    """
    made, brought = ({products.CAPTIONS.product(captions=name) for name in some} for some in (names, given))
    empty = [name for name in lacking.textless(cache) if name in made | brought]
    if not empty:
        return
    place = shlex.quote(str(cache.path))
    told = (
        f"no shape has a text in {', '.join(empty)}: everything else is complete, but captions without a text teach nothing, and "
        f"`mmpd-cache status {place}` says so"
    )
    if own := [name for name in empty if name in made]:
        told += f". Remove them by `mmpd-cache remove {place} {' '.join(own)}`, and see why before another captioner is tried"
    if theirs := [name for name in empty if name in brought]:
        told += (
            f". The source has {', '.join(theirs)}, and all of these texts are empty there: the next build goes on without by --set "
            "given=false, which leaves what the cache has already"
        )
    raise Partial(told)
