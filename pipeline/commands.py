"""The commands that change a cache, without the command line: build, retry failed shapes, add a teacher, a captioner or a label set.

Each command first checks everything it was given. Then it locks the cache (`pipeline.work.held`), begins the records of the products that
are wanted, lets `pipeline.executors` make what is missing, and marks the products complete. After a kill, call it again: it continues.
"""

import contextlib
import dataclasses
import math
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cache_schema import label_files, lacking, products, spec, store
from cache_schema.errors import Partial, UserError
from cache_schema.files import held_token
from cache_schema.label_files import LabelFile
from cache_schema.overlay import told_behind
from cache_schema.records import differences
from cache_schema.settings import override
from cache_schema.spec import CaptionSpec, DenseSpec, LabelSet, PointSpec, Record, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from cache_schema.terminal import counted, duration
from pipeline import build, graphics, imported, importing, journal, labels, lengths, readings, weights
from pipeline.captioners import catalog as captioners
from pipeline.captioners.catalog import Captioner, Telling
from pipeline.complete import Retried, complete, hindrance, tell_changed
from pipeline.describe import human, starter_warning
from pipeline.executors import catalog as executors
from pipeline.models import Models
from pipeline.opening import (
    check_place,
    create,
    described_shapes,
    finished,
    has_views,
    labelled,
    open_again,
    open_config_source,
    place_of,
    places,
    same_labels,
)
from pipeline.opening import described as described_source
from pipeline.origins import source_again
from pipeline.plan import Plan, Todo, drawing, rows_to_read
from pipeline.recipes import BuildConfig, DenseConfig
from pipeline.records import (
    batch_size,
    build_records,
    caption_record,
    check_captions,
    dense_record,
    dense_spec,
    image_records,
    label_record,
    software_changes,
    text_records,
)
from pipeline.sources.catalog import Entry, Reader, Source
from pipeline.statements import Variety, stated, varied
from pipeline.teachers import catalog as teachers
from pipeline.teachers.catalog import Teacher
from pipeline.work import Machine, Terminal, Work, caught_up, held
from pipeline.worker import Made, Task, Workers, started

SETTINGS: Final = {kind.name: f"{kind.name}." for kind in (products.POINTS, products.VIEWS, products.CAPTIONS)}
"""What `build --set` writes before a field of a product's specification, by kind of product."""


def build_cache(
    location: str, path: Path, config: BuildConfig, machine: Machine, terminal: Terminal, opened: Source | None = None
) -> Cache:
    """Make or complete a cache. Failed shapes whose files have changed are tried again. Other shapes whose files have changed stay as they
    are, and a warning names them.

    Args:
        location: a path, or the name of a built-in collection.
        path: the cache.
        config: what the cache must hold. Products that it holds already stay unchanged.
        machine: where to run.
        terminal: gets messages and progress.
        opened: the source, if it is open already, perhaps with a part of its shapes. Its notes are not told again.

    Raises:
        UserError: the source, a model or a setting is wrong, no OpenGL is available, or the cache holds something else. The cache is then
            unchanged. Errors while shapes are made: a teacher gives values too large for float16, a label set does not fit, the dask
            scheduler is lost, or another build takes over. Finished work is then kept, and the same command continues.
        Partial: everything is made, and some captions have no text of any shape.
    """
    check(config, path)
    devices = executors.devices(machine)
    executors.check(machine)
    check_place(path)
    if opened is None:
        source = open_config_source(location, config)
        tell_notes(source, terminal)
    else:
        source = opened
    points, boxes = labelled(config, source, path)
    open_again(path, source, config.shard)
    models = Models(devices[0], places(path))
    if not (config.given and source.given) and _all_there(path, config):
        _, views, _ = described_shapes(store.open_cache(path).records())  # with the digest of the teacher that chose them
        task = Task(reader=source.reader, points=points, views=views, boxes=boxes, limits=config.limits, judge=models.judge(views))
        with held(path, terminal) as file:
            work = Work(
                cache=store.open_cache(path), entries=source.entries, models=models, machine=machine, terminal=terminal, journal=file
            )
            if config.captions is not None:
                models.served(config.captions, work.cache)
            if not tell_changed(work, task):
                terminal.say(f"{path} has everything that this build makes, so no model is loaded")
            _note_build(work, source, config, {})
            complete(work, [], task, config, every=False)
            work.note(journal.Done())
        _check_texts(work.cache, *_captions_wanted(config, source))
        return work.cache
    task = Task(reader=source.reader, points=points, views=config.views, boxes=boxes, limits=config.limits)
    # Loading models takes one core for seconds. Meanwhile shape processes start on the others, if they are this process's own.
    early = config.views is not None and not machine.scheduler and len(devices) == 1
    with started(machine.processes(), graphics.environment(models.device)) if early else contextlib.nullcontext():
        return _made_with_models(path, config, source, task, models, machine, terminal)


def _made_with_models(
    path: Path, config: BuildConfig, source: Source, task: Task, models: Models, machine: Machine, terminal: Terminal
) -> Cache:
    """Load the models of a build, and make or complete its cache; see `build_cache`. `task` is what the shape processes do."""
    views, judge = _with_judge(config.views, models, terminal)  # it is small, so what lacks is told before gigabytes are loaded
    loaded, captioner = _load(config, source, models, terminal)
    models.places |= judge
    task = dataclasses.replace(task, views=views, judge=models.judge(views))
    wanted = build_records(
        described_source(source),
        task.points,
        views,
        task.boxes,
        loaded,
        [captioner] if captioner is not None else [],
        renderer="" if views is None or has_views(path) else executors.renderer(task, machine),
        device=models.device,
        image_batch=config.image_batch,
        caption_batch=config.caption_batch,
        dense=_dense_wanted(config, loaded),
        unseen=_unseen(path),
    )
    with held(path, terminal) as file:
        cache = open_again(path, source, config.shard) or create(path, source, config.shard)
        wanted = _with_readings(cache, wanted, source)
        for record in wanted:
            cache.agreed(record, SETTINGS.get(record.kind))
        given = imported.given_records(source.given, spec.fingerprint(cache.manifest.source)) if config.given else []
        _check_given(cache, wanted, given)
        for teacher in loaded:
            _same_teacher(cache, teacher.spec)
        used = _folders(config, loaded, captioner) | judge
        models.places |= used
        work = Work(cache=cache, entries=source.entries, models=models, machine=machine, terminal=terminal, journal=file)
        _note_build(work, source, config, used)
        complete(work, [cache.begin(record) for record in wanted], task, config, every=False)
        tell_changed(work, task)
        if given:
            for captions in imported.store_given(work, source):
                _embed_given(work, captions, config.image_batch)
        _embed_wanted_labels(work, config)
        work.note(journal.Done())
    _check_texts(cache, *_captions_wanted(config, source))
    return cache


def _with_readings(cache: Cache, wanted: Sequence[Record], source: Source) -> tuple[Record, ...]:
    """Let the record of the points say how the files were read, or as what a cache says of its points.

    Raises:
        UserError: files that are read now would be read otherwise than those of the shapes that the cache has.
    """
    entries = [source.entries[row] for row in rows_to_read(cache, wanted)]
    readings.refuse_other(cache, source.reader, entries, "go on with the version that began it, or build into another path")
    there = cache.records().get(products.POINTS.name)
    return tuple(
        readings.alike(readings.noted(record, source.reader, source.entries), there) if products.of(record) is products.POINTS else record
        for record in wanted
    )


def _captions_wanted(config: BuildConfig, source: Source) -> tuple[list[str], list[str]]:
    """Names of the captions that a build makes, and of those that it takes from the source."""
    made = [config.captions.name] if config.captions is not None else []
    return made, [one.name for one in source.given.texts] if config.given else []


def _check_names(captions: CaptionSpec, shapes: Iterable[tuple[str, str]], instead: str) -> None:
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


def _check_told(captioner: Captioner, reader: Reader, entries: Iterable[Entry], instead: str) -> None:
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


def _check_texts(cache: Cache, names: Iterable[str], given: Iterable[str] = ()) -> None:
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


def _note_build(work: Work, source: Source, config: BuildConfig, models: Mapping[str, str]) -> None:
    """Write the beginning of a build to the journal. `models` has the folders of local models by the digest of their weights."""
    reader = source.reader
    work.note(journal.Build(source=reader.location, kind=reader.kind, config=spec.to_json(config), models=models))


def _all_there(path: Path, config: BuildConfig) -> bool:
    """Whether a cache has all that a build makes, as far as that can be told without loading models.

    The last build of the cache must have had the same settings, and all its products must be complete. Weights in a folder or of a branch
    may have changed since, so a build with such models loads and compares them.
    """
    if not (path / "zarr.json").exists():
        return False
    cache = store.open_cache(path)
    last = journal.journal_of(cache).last_build
    there = finished(cache)
    if last is None or last.config != spec.to_json(config) or len(there) < len(cache.records()):
        return False
    captions = config.captions
    used = [teachers.choice(name)[1] for name in config.teachers]
    models = [(one.model, one.revision) for one in used]
    if captions is not None and captions.reproducible:  # the texts of a server that are there stay, whatever it writes now
        models.append((captions.model, captions.revision))
    if any(model and not weights.is_shipped(model) and not weights.is_commit(revision) for model, revision in models):
        return False
    names = {products.POINTS.name, products.STATUS.name, *([products.VIEWS.name] if config.views is not None else [])}
    names |= {products.DENSE.product(teacher=teacher) for teacher in config.dense.teachers}
    names |= {products.CAPTIONS.product(captions=captions.name)} if captions is not None else set()
    sets = [made.name for made in wanted_labels(cache, config)]
    for reference in config.teachers:
        teacher = teachers.choice(reference)[0]
        image = products.IMAGE.product(teacher=teacher)
        names.add(image)
        if image in there and (described := there[image].spec) and isinstance(described, TeacherSpec) and described.text:
            names |= {products.LABELS.product(set=name, teacher=teacher) for name in sets}
            names |= {products.TEXT.product(captions=captions.name, teacher=teacher)} if captions is not None else set()
    return names <= there.keys() and not any(cache.missing(record) for record in there.values())


def _has_captions(path: Path, name: str) -> bool:
    """Whether a cache is there and has captions of this name, perhaps unfinished ones."""
    return (path / "zarr.json").exists() and products.CAPTIONS.product(captions=name) in store.open_cache(path).records()


def _unseen(path: Path) -> list[str]:
    """Names of captions that a cache has, and that were made when it had no views."""
    if not (path / "zarr.json").exists():
        return []
    there = products.select(store.open_cache(path).records(), products.CAPTIONS)
    return [products.parts(record)["captions"] for record in there if products.without_views(record)]


def check(config: BuildConfig, path: Path) -> None:
    """Refuse names that cannot be, and idle settings of captions that the cache does not have yet, before anything is opened or loaded."""
    for name in config.labels:
        labels.label_set(name, ("source",), ("part",))
    names = [teachers.choice(reference)[0] for reference in config.teachers]
    if len(set(names)) < len(names):
        raise UserError(f"a teacher is named twice: {', '.join(config.teachers)}")
    licensed = [one.partition("=")[0] for one in config.licences]
    for setting, asked in (("dense.teachers", config.dense.teachers), ("licences", licensed)):
        if unknown := [name for name in asked if name not in names]:
            raise UserError(f"{setting}: this build has no teacher {unknown[0]!r}{spec.did_you_mean(unknown[0], names)}")
    if config.views is not None and config.views.policy is not None and config.views.policy.teacher:
        teachers.choice(config.views.policy.teacher)
    if config.captions is not None:
        if not _has_captions(path, config.captions.name):
            captioners.refuse_idle(config.captions)
        check_captions(config.captions, dict.fromkeys(names), config.views.count if config.views is not None else None)


def _dense_wanted(config: BuildConfig, loaded: Sequence[Teacher]) -> list[tuple[Teacher, DenseSpec]]:
    """Return the teachers whose patch features a build makes, and what it makes of them."""
    how = config.dense
    wanted = [teacher for teacher in loaded if teacher.spec.name in how.teachers]
    return [(t, dense_spec(t, blocks=how.blocks or config.points.blocks, groups=how.groups, group_size=how.group_size)) for t in wanted]


def tell_notes(source: Source, terminal: Terminal) -> None:
    """Say what a source leaves out, and its notes."""
    if source.skipped:
        skipped = ", ".join(f"{count} {what}" for what, count in source.skipped.items())
        terminal.say(f"{counted(len(source.entries), 'shape')}; not shapes, left out: {skipped}")
    for text in source.notes:
        terminal.say(f"Note: {text}")


def _load(config: BuildConfig, source: Source, models: Models, terminal: Terminal) -> tuple[list[Teacher], Captioner | None]:
    """Load the models of a build: the captioner first, which is refused before gigabytes of teachers are loaded, then the teacher that
    ranks captions, then the others."""
    captions, captioner = config.captions, None
    of_captions = (captions.model,) if captions else ()
    _warn((*config.teachers, *of_captions), described_source(source), {entry.label for entry in source.entries}, terminal)
    if captions is not None:
        terminal.say(f"loading captioner {captions.captioner} {captions.model}".rstrip())
        captioner = captioners.load(captions, device=models.here)
        instead = "Build without captions (--set captions=none), or with a captioner that looks at pictures"
        _check_names(captions, ((entry.label, entry.id) for entry in source.entries), instead)
        _check_told(captioner, source.reader, source.entries, instead)
        models.add(captioner)
    ranking = captions.rank_by if captions is not None else ""
    loaded: dict[str, Teacher] = {}
    for name in sorted(config.teachers, key=lambda name: teachers.choice(name)[0] != ranking):
        terminal.say(f"loading teacher {name}")
        licence = config.licence_of(teachers.choice(name)[0])
        loaded[name] = teachers.load(name, device=models.here, precision=config.precision, licence=licence)
        _tell_of(loaded[name], terminal)
        models.add(loaded[name])
        if captions is not None and teachers.choice(name)[0] == ranking:
            check_captions(captions, {ranking: loaded[name].spec})
    return [loaded[name] for name in config.teachers], captioner


def _with_judge(views: ViewSpec | None, models: Models, terminal: Terminal) -> tuple[ViewSpec | None, dict[str, str]]:
    """Load the teacher that chooses the views of each shape, if one does, and put its digest into their specification.

    Returns:
        The specification, and the folder of a local teacher by the digest of its weights.

    Raises:
        UserError: no such teacher, or its weights are missing.
    """
    if views is None or views.policy is None:
        return views, {}
    policy = views.policy
    by = f", by {policy.teacher}" if policy.teacher else ""
    terminal.say(f"for each shape, {policy.count} of the {len(views.rig.cameras)} cameras of {views.rig.name} are chosen{by}")
    if not policy.teacher:
        return views, {}
    judge = teachers.load(policy.teacher).spec  # on a CPU, as in the shape processes
    if policy.judge is not None and spec.fingerprint(policy.judge) != spec.fingerprint(judge):
        raise UserError(f"views.policy.judge: {policy.teacher} is another teacher here ({'; '.join(differences(policy.judge, judge))})")
    place = place_of(judge.weights, teachers.choice(policy.teacher)[1].model)
    known = judge.name if place else policy.teacher  # no folder of this machine goes into a record
    return dataclasses.replace(views, policy=dataclasses.replace(policy, teacher=known, judge=judge)), place


def _warn(models: Iterable[str], source: spec.SourceSpec, classes: Iterable[str], terminal: Terminal) -> None:
    """Say what models that come with the project do not know of the shapes of a source."""
    if warning := starter_warning(models, source, classes):
        terminal.say(f"Warning: {warning}")


def _tell_of(teacher: Teacher, terminal: Terminal) -> None:
    """Say what a teacher cannot do. Back ends of other packages may have no notes."""
    for note in getattr(teacher, "notes", ()):
        terminal.say(f"Note: {note}")


def _folders(config: BuildConfig, loaded: Sequence[Teacher], captioner: Captioner | None) -> dict[str, str]:
    """Return the folders of local models of a build, by the digest of their weights."""
    used: dict[str, str] = {}
    for name, teacher in zip(config.teachers, loaded, strict=True):
        used |= place_of(teacher.spec.weights, teachers.choice(name)[1].model)
    if config.captions is not None and captioner is not None:
        used |= place_of(captioner.spec.weights, config.captions.model)
    return used


def _check_given(cache: Cache, wanted: Sequence[Record], given: Sequence[Record]) -> None:
    """Refuse names that both a build's own products and those that its source has would take, or that the cache has otherwise."""
    own = {record.product for record in wanted}
    for record in given:
        if record.product in own:
            raise UserError(
                f"both this build and its source would make {record.product}: leave the model out, or give it another name (MINE=NAME), or "
                "leave out what the source has by --set given=false"
            )
        cache.agreed(record)
        if isinstance(record.spec, TeacherSpec):
            imported.check_teacher(cache, record.spec)


def _embed_given(work: Work, captions: Record, batch: int) -> None:
    """Embed imported captions with every teacher of the cache that reads text and was not imported itself."""
    readers = [work.models.teacher(described) for described in _text_teachers(work.cache)]
    if readers:
        records = text_records(captions, readers, work.models.device, batch)
        _embed_stored(work, [work.cache.begin(record) for record in records], batch)


def wanted_labels(cache: Cache, config: BuildConfig, say: Callable[[str], None] = lambda text: None) -> list[LabelSet]:
    """Return the label sets of a build. `say` gets a warning for one that is left out, because its names are easily confused."""
    own = {"source": cache.manifest.classes, "parts": parts_of(cache)}
    found = []
    for name in config.labels:
        if name in own and not own[name]:
            continue
        if name in own and (said := labels.told_confused(own[name])):
            say(f"Warning: {said}")
            continue
        found.append(labels.label_set(name, own["source"], own["parts"]))
    return found


def _embed_wanted_labels(work: Work, config: BuildConfig) -> None:
    """Embed the label sets of a build."""
    for made in wanted_labels(work.cache, config, work.terminal.say):
        _embed_labels(work, made, config.image_batch)


def parts_of(cache: Cache) -> tuple[str, ...]:
    """Names of the parts that the points of a cache are labelled with; empty if they have no labels."""
    record = cache.records().get(products.POINTS.name)
    return record.spec.parts if record is not None and isinstance(record.spec, PointSpec) else ()


def retry(
    path: Path,
    location: str,
    machine: Machine,
    terminal: Terminal,
    limits: Sequence[str] = (),
    servers: Sequence[str] = (),
    *,
    reread: bool = False,
) -> Retried:
    """Try failed shapes again, make those anew whose files have changed, and add those that are ok now to every product.

    Args:
        path: the cache.
        location: location of the shapes; empty for the one in the journal beside the cache.
        machine: where to run.
        terminal: gets messages and progress.
        limits: settings of `pipeline.worker.Limits`, such as `seconds=600`.
        servers: settings of the servers of captioners, such as `address=http://there/v1`, if they have moved.
        reread: whether to make the shapes anew, too, whose files this version reads otherwise than the cache's were read, or of which that
            is not known.

    Raises:
        UserError: the shapes, a model, the software or, without `reread`, the reading of files differ from those that made the cache.
            Nothing was written.
    """
    cache = store.open_ahead(path)
    devices = executors.devices(machine)
    executors.check(machine)
    check_place(path)
    there = cache.records()
    if products.POINTS.name not in there:
        raise UserError(f"{path} has no points yet; run the command that began it again")
    points, views, boxes = described_shapes(there)
    source, before = source_again(cache, location)
    config = dataclasses.replace(before, points=points, views=views, limits=override(before.limits, limits))
    same_labels(cache, source)
    models = Models(devices[0], places(path))
    models.moved(servers, cache)
    task = Task(reader=source.reader, points=points, views=views, boxes=boxes, limits=config.limits, judge=models.judge(views))
    _check_makers(cache, task, models, machine, () if reread else source.entries)
    with held(path, terminal) as file:
        cache = caught_up(path, terminal)
        work = Work(cache=cache, entries=source.entries, models=models, machine=machine, terminal=terminal, journal=file)
        work.note(journal.Retry(source=source.reader.location, kind=source.reader.kind, config=spec.to_json(config)))
        found = complete(work, [], task, config, every=True, reread=reread)
        work.note(journal.Done())
    return found


def _check_makers(cache: Cache, task: Task, models: Models, machine: Machine, entries: Sequence[Entry]) -> None:
    """Load every model that makes the rest of an overlay's products, if its shared cache has grown, before they are unfinished for it.

    Raises:
        UserError: a product cannot be made here as it was made. The message names all of them, and what to do. Or some new shapes among
            `entries`, which has one for each row, are read otherwise by now, and products are made from files.
    """
    if cache.below is None or not cache.below.since:
        return
    own = [record for record in cache.on_disk().all()[0].values() if products.of(record).origin in ("files", "cache")]
    if any(map(products.from_files, own)):
        new = [entry for entry in entries[cache.below.since :] if entry.id]
        readings.refuse_other(cache, task.reader, new, "leave the overlay as it is: it can be read with the shapes of before")
    views = [record for record in own if isinstance(record.spec, ViewSpec)]
    renderer = executors.renderer(task, machine) if views else ""
    reasons = {record.product: reason for record in own if (reason := hindrance(record, models, renderer))}
    if reasons:
        lines = "\n".join(f"- {name}: {reason}" for name, reason in reasons.items())
        raise UserError(
            f"{cache.path}: these products cannot be made for the new shapes of {cache.home} as they were made for the others:\n{lines}\n"
            f"Make that possible, or leave them out by `{shlex.join(['mmpd-cache', 'remove', str(cache.path), *reasons])}`. Until then the "
            "overlay can be read with the shapes of before"
        )


# ---------------------------------------------------------------------------------------- what an existing cache can gain


def add_teacher(
    path: Path, name: str, precision: str | None, batch: int, machine: Machine, terminal: Terminal, licence: str = ""
) -> Record:
    """Embed the stored views, captions and label sets with another teacher. Other products stay unchanged. Returns its image record.

    `licence` names the licence of the weights; empty for that of the model's card.

    Raises:
        UserError: no such teacher, its weights are missing, the cache has no finished views, or something of another teacher of this name.
    """
    store.open_ahead(path).record(products.VIEWS.name)  # no lock file beside what is no cache
    devices = executors.devices(machine)
    executors.check(machine)
    check_place(path)
    teacher, models, used = _loaded(path, name, devices[0], precision, terminal, licence)
    with held(path, terminal) as file:
        ahead = store.open_ahead(path)
        there = finished(ahead)
        records = image_records(ahead.record(products.VIEWS.name), [teacher], devices[0], batch)
        for captions in products.select(there, products.CAPTIONS):
            records += text_records(captions, [teacher], devices[0], batch)
        for record in records:
            ahead.agreed(record)
        _same_teacher(ahead, teacher.spec)
        cache = caught_up(path, terminal, records)
        work = Work(cache=cache, models=models, machine=machine, terminal=terminal, journal=file)
        work.note(journal.AddTeacher(teacher=name, models=used))
        _embed_stored(work, [work.cache.begin(record) for record in records], batch)
        _embed_stored_labels(work, there, batch, teacher.spec)
        work.note(journal.Done())
    return work.cache.record(products.IMAGE.product(teacher=teacher.spec.name))


def add_dense(
    path: Path, name: str, how: DenseConfig, precision: str | None, batch: int, machine: Machine, terminal: Terminal, location: str = ""
) -> Record:
    """Carry the patch features of a teacher to the points, and embed the label sets if it reads text. Other products stay unchanged.

    If the views have no depth, it is drawn again from the files of the shapes. It is not stored. Time and size are said before anything
    is made. After a kill, call it again: it continues.

    Args:
        path: the cache, with points and views.
        name: name or reference of the teacher.
        how: blocks, groups and their size.
        precision: arithmetic of the teacher; None for that of the catalogue.
        batch: number of views of a shape in a forward pass.
        machine: where to run.
        terminal: gets messages and progress.
        location: location of the shapes, if depth has to be drawn; empty for the one in the journal beside the cache.

    Returns:
        The record of the features.

    Raises:
        UserError: no such teacher, its weights are missing, its patch features are not known, the cache lacks points or views, or it has
            other features of this name. Nothing was written. Errors while depth is drawn: the shapes or their files are not those that the
            cache was built from. Finished work is then kept, and the same command continues.
    """
    opened = store.open_ahead(path)  # no lock file beside what is no cache
    points, views = opened.record(products.POINTS.name), opened.record(products.VIEWS.name)
    devices = executors.devices(machine)
    executors.check(machine)
    check_place(path)
    task, entries, renderer = _depth_task(opened, views, location, machine, terminal)
    teacher, models, used = _loaded(path, name, devices[0], precision, terminal)
    assert isinstance(points.spec, PointSpec)
    described = dense_spec(teacher, blocks=how.blocks or points.spec.blocks, groups=how.groups, group_size=how.group_size)
    wanted = dense_record(points, views, described, devices[0], batch, renderer)
    _same_teacher(opened, teacher.spec)
    with held(path, terminal) as file:
        cache = caught_up(path, terminal, [wanted])
        work = Work(cache=cache, entries=entries, models=models, machine=machine, terminal=terminal, journal=file)
        there = finished(work.cache)
        _foretell(work, work.cache.agreed(wanted), batch, task)
        work.note(journal.AddDense(teacher=name, models=used))
        record = work.cache.begin(wanted)
        _embed_stored(work, [record], batch, task)
        _embed_stored_labels(work, there, batch, teacher.spec)
        work.note(journal.Done())
    return work.cache.record(record.product)


def _depth_task(
    cache: Cache, views: Record, location: str, machine: Machine, terminal: Terminal
) -> tuple[Task | None, Sequence[Entry], str]:
    """Prepare to draw the depth of stored views again.

    Args:
        cache: the cache.
        views: the record of its views.
        location: location of the shapes; empty for the one in the journal beside the cache.
        machine: where to run.
        terminal: gets messages.

    Returns:
        What the shape processes do, all shapes, and the name of the driver; None and nothing if the views have depth.

    Raises:
        UserError: the shapes are not there, or are not those that the cache was built from.
    """
    assert isinstance(views.spec, ViewSpec)
    if views.spec.depth:
        if location:
            terminal.say("the views have depth, so the shapes are not read")
        return None, (), ""
    terminal.say("the views have no depth: it is drawn again from the files of the shapes, and not stored")
    try:
        source, config = source_again(cache, location)
    except UserError as error:
        raise UserError(f"{error}. {build.AGAIN}") from error
    readings.refuse_other(cache, source.reader, [e for e in source.entries if e.id], "build with depth (--set views.depth=true)")
    points, _, _ = described_shapes(cache.records())
    # Cameras that were chosen for each shape are stored, and not chosen again.
    task = Task(reader=source.reader, points=points, views=dataclasses.replace(views.spec, policy=None), limits=config.limits)
    renderer = executors.renderer(task, machine)
    if changes := software_changes(views, renderer=renderer, device=""):
        terminal.say(f"Note: other software draws the depth than drew the views ({', '.join(changes)}); they may differ by rounding")
    return task, source.entries, renderer


def _loaded(
    path: Path, name: str, device: str, precision: str | None, terminal: Terminal, licence: str = ""
) -> tuple[Teacher, Models, dict[str, str]]:
    """Load a teacher for a cache.

    Returns:
        The teacher, the models of this process with it among them, and the folder of a local one by the digest of its weights.

    Raises:
        UserError: no such teacher, or its weights are missing.
    """
    terminal.say(f"loading teacher {name}")
    models = Models(device, places(path))
    teacher = teachers.load(name, device=models.here, precision=precision, licence=licence)
    _tell_of(teacher, terminal)
    manifest = store.open_ahead(path).manifest
    _warn([teacher.spec.model], manifest.source, manifest.classes, terminal)
    models.add(teacher)
    used = place_of(teacher.spec.weights, teachers.choice(name)[1].model)
    models.places |= used
    return teacher, models, used


def _same_teacher(cache: Cache, teacher: TeacherSpec) -> None:
    """Refuse a teacher if another one of the same name made embeddings or patch features of the views."""
    for kind in (products.IMAGE, products.DENSE):
        for record in products.select(cache.records(), kind, teacher=teacher.name):
            there = record.spec.teacher if isinstance(record.spec, DenseSpec) else record.spec
            if spec.fingerprint(there) != spec.fingerprint(teacher):
                raise UserError(
                    f"{cache.path} has {record.product} by another teacher ({'; '.join(differences(there, teacher))}): give this one "
                    "another name, as in MINE=BACKEND:MODEL"
                )


def _foretell(work: Work, record: Record, batch: int, task: Task | None) -> None:
    """Say how large patch features on points will be, and about how long they take, measured on one shape. `task` draws depth, if it has to
    be drawn."""
    cache, described = work.cache, record.spec
    assert isinstance(described, DenseSpec)
    shapes, left = cache.manifest.count, cache.missing(record)
    size = human(sum(math.prod(node.shape) * np.dtype(node.dtype).itemsize for node in cache.arrays(record)))
    told = f"{record.product}: {counted(shapes, 'shape')} x {described.blocks * described.groups} groups x {described.dim} dimensions, "
    told += size
    rows = {shard: build.usable_rows(cache, shard) for shard in left}
    number = sum(map(len, rows.values()))
    if not number:
        work.terminal.say(told)
        return
    first = next(shard for shard in left if rows[shard])
    plan = _plan_stored(work, [record], batch, task)
    drawn = _drawn_once(work, plan, first, rows[first][0])
    depth = build.depth_of(cache, plan.views(), first, rows[first][:1], drawn)
    carry = build.patch_carrier(cache, plan, described, batch_size(record, "image_batch", batch), first, work.models, depth)
    for _ in work.models.each(carry, rows[first][:1]):
        pass  # the first pass of a model is slower than those that follow
    start = time.perf_counter()
    for _ in work.models.each(carry, rows[first][:1]):
        pass
    seconds = time.perf_counter() - start
    at_once = work.models.threads if work.models.device == "cpu" else len(plan.devices)
    whole, how = seconds * number / at_once, f"{seconds:.2g} s each, {at_once} at a time"
    for one in drawn.values():  # on a CPU, drawing and the teacher share the cores
        drawing, processes = sum(one.seconds.values()), work.machine.processes()
        whole += drawing * number / processes
        how += f"; and {drawing:.2g} s to draw the depth again, {processes} at a time"
    work.terminal.say(f"{told}; about {duration(whole)} here for {counted(number, 'shape')} ({how})")


def _drawn_once(work: Work, plan: Plan, shard: int, row: int) -> dict[int, Made]:
    """Draw one shape, if depth has to be drawn, and time it. Returns it by its row in the shard."""
    if plan.task is None:
        return {}
    with Workers(plan.task, 1) as pool:
        at = work.cache.manifest.rows(shard).start + row
        (pose,) = build.stored_poses(work.cache, Todo(work.cache, plan, {}), shard, [at])
        pool.submit(work.entries[at], pose).result()  # the first one compiles shaders
        return {row: pool.submit(work.entries[at], pose).result()}


def _embed_stored(work: Work, records: Sequence[Record], batch: int, task: Task | None = None) -> None:
    """Make whole products from other products of the cache, and mark them complete. `task` draws what they need and the cache lacks."""
    cache = work.cache
    plan = _plan_stored(work, records, batch, task)
    executors.run(work, Todo(cache, plan, {record.product: set(cache.missing(record)) for record in records}))
    for record in records:
        cache.finish(lengths.measured(work, lacking.counted(cache, record)))


def _plan_stored(work: Work, records: Sequence[Record], batch: int, task: Task | None = None) -> Plan:
    """The plan to make some products from the finished products of a cache."""
    there = finished(work.cache)
    views = [record for record in there.values() if products.of(record) is products.VIEWS]
    return Plan(
        path=work.cache.path.absolute(),
        records=(*there.values(), *(record for record in records if record.product not in there)),
        task=None if task is None else drawing(task, work.cache, [*views, *records]),
        devices=executors.devices(work.machine),
        image_batch=batch,
        caption_batch=batch,
        token=held_token(work.cache.path),
        places=tuple(sorted(work.models.places.items())),
        servers=tuple(work.models.servers.items()),
    )


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
    if not _has_captions(path, captions.name):
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
    terminal.say(f"loading captioner {captions.captioner} {captions.model}".rstrip())
    captioner = captioners.load(captions, device=models.here)
    models.add(captioner)
    _warn([captions.model], opened.manifest.source, opened.manifest.classes, terminal)
    ok, classes, called = np.flatnonzero(opened.ok()).tolist(), (*opened.manifest.classes, ""), opened.ids()
    numbers = opened.column("label").tolist()  # -1 is none
    _check_names(captions, ((classes[numbers[row]], str(called[row])) for row in ok), "Nothing was written")
    task, entries = _stating_task(opened, captioner.spec, location, terminal)
    if task is not None:
        usable = (entries[row] for row in ok)
        _check_told(captioner, task.reader, usable, "A captioner that looks at pictures needs nothing stated; nothing was written")
    readers = [models.teacher(described) for described in _text_teachers(opened)]
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
        _embed_stored(work, begun, batch, task)
        work.note(journal.Done())
    record = work.cache.record(begun[0].product)
    if captioner.spec.stated:
        imported.tell_lacking([record], terminal)
    _check_texts(work.cache, [captions.name])
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
        for described in _text_teachers(opened):
            models.teacher(described)
    record = importing.import_captions(path, file, asked, terminal)
    if embed:
        with held(path, terminal) as notes:
            work = Work(cache=store.open_cache(path), models=models, machine=machine, terminal=terminal, journal=notes)
            _embed_given(work, record, batch)
            work.note(journal.Done())
    for name in sorted(products.parts(r)["teacher"] for r in products.select(finished(opened), products.IMAGE) if _is_reader(r)):
        terminal.say(f"Note: {name} was imported, so no model here embeds these captions for it")
    _check_texts(store.open_cache(path), [asked.name])
    return record


def _is_reader(record: Record) -> bool:
    """Whether a product is of an imported teacher that reads text."""
    return isinstance(record.spec, TeacherSpec) and record.spec.imported and record.spec.text


def add_labels(path: Path, reference: str, batch: int, machine: Machine, terminal: Terminal) -> LabelSet:
    """Embed a label set (see `pipeline.labels.label_set`) with every teacher of a cache that reads text.

    Raises:
        UserError: there is no such label set, no teacher reads text, or a teacher is not on this machine.
    """
    opened = store.open_cache(path)  # no lock file beside what is no cache
    if said := told_behind(opened):
        terminal.say(f"Note: {said}")
    made = labels.label_set(reference, opened.manifest.classes, parts_of(opened))
    if not _text_teachers(opened):
        raise UserError(
            f"{path} has no teacher with a text side to embed labels with; add one with `mmpd-cache add-teacher`, or bring embeddings of "
            "them with `mmpd-cache import-embeddings --kind labels`"
        )
    models = Models(executors.devices(machine)[0], places(path))
    check_place(path)
    with held(path, terminal) as file:
        work = Work(cache=store.open_cache(path), models=models, machine=machine, terminal=terminal, journal=file)
        work.note(journal.Labels(set=reference))
        _embed_labels(work, made, batch)
        work.note(journal.Done())
    return made


def write_labels(
    out: Path, made: LabelSet, teacher: str, precision: str | None, batch: int, machine: Machine, terminal: Terminal
) -> LabelFile:
    """Embed a label set with a teacher, and write it into a label file, without a cache.

    Args:
        out: the file. It must not exist.
        made: the label set.
        teacher: name or reference of the teacher.
        precision: arithmetic of the teacher; None for that of the catalogue.
        batch: number of texts in a forward pass.
        machine: where to run.
        terminal: where to report.

    Raises:
        UserError: the file exists or has another ending, there is no such teacher, its weights are missing, or it reads no text.
    """
    if out.suffix != label_files.SUFFIX:
        raise UserError(f"a label file ends in {label_files.SUFFIX}, got {out}")
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists: remove it, or give another name")
    terminal.say(f"loading teacher {teacher}")
    models = Models(executors.devices(machine)[0])
    loaded = teachers.load(teacher, device=models.here, precision=precision)
    _tell_of(loaded, terminal)
    if not loaded.spec.text:
        raise UserError(f"teacher {teacher} reads no text; `mmpd-cache teachers` lists teachers that do")
    terminal.say(f"embedding {counted(len(made.classes), 'class')} x {counted(len(made.templates), 'template')} with {teacher}")
    file = LabelFile(
        labels=made,
        teacher=loaded.spec,
        embeddings=build.embedded_labels(made, loaded, batch, models),
        made_by=label_record(made, loaded.spec, models.here, batch).made_by,
    )
    label_files.write(out, file)
    return file


def _text_teachers(cache: Cache) -> list[TeacherSpec]:
    """List the teachers of a cache that read text and have finished embeddings or patch features of its views. No model here is the one of
    an imported teacher."""
    found: dict[str, TeacherSpec] = {}
    for kind in (products.IMAGE, products.DENSE):
        for record in products.select(finished(cache), kind):
            teacher = record.spec.teacher if isinstance(record.spec, DenseSpec) else record.spec
            if isinstance(teacher, TeacherSpec) and teacher.text and not teacher.imported:
                found.setdefault(teacher.name, teacher)
    return list(found.values())


def _embed_stored_labels(work: Work, there: Mapping[str, Record], batch: int, teacher: TeacherSpec) -> None:
    """Embed the label sets that a cache has (`there`: its finished products) with one teacher, if it reads text."""
    if teacher.text:
        for label_set in {record.labels.name: record.labels for record in there.values() if record.labels is not None}.values():
            _embed_labels(work, label_set, batch, only=teacher)


def _embed_labels(work: Work, label_set: LabelSet, batch: int, only: TeacherSpec | None = None) -> None:
    """Embed a label set with every teacher of the cache that reads text, or with one teacher only."""
    cache = work.cache
    for teacher in [only] if only is not None else _text_teachers(cache):
        wanted = label_record(label_set, teacher, work.models.here, batch)
        there = cache.agreed(wanted)
        if there.complete and not cache.missing(there):
            continue
        loaded = work.models.teacher(teacher)
        record = cache.begin(wanted)
        work.terminal.say(f"embedding {len(label_set.classes)} classes x {len(label_set.templates)} templates with {teacher.name}")
        if cache.missing(record):
            build.make_labels(cache, record, loaded, batch, work.models)
        cache.finish(record)
