"""Build a cache, or complete it: the command `build`.

Everything that was given is checked first. Then the cache is locked (`pipeline.work.held`), the records of the products that are wanted are
begun, and what is missing is made (`pipeline.complete`). After a kill, call it again: it continues.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cache_schema import products, spec, store
from cache_schema.errors import UserError
from cache_schema.records import differences
from cache_schema.spec import DenseSpec, Record, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from cache_schema.terminal import counted
from pipeline import graphics, imported, journal, labels, readings, weights
from pipeline.captioners import catalog as captioners
from pipeline.captioners.catalog import Captioner
from pipeline.captioning import check_names, check_texts, check_told, embed_captions, has_captions
from pipeline.complete import complete, tell_changed
from pipeline.describe import warn_of_starter
from pipeline.embedding import same_teacher
from pipeline.executors import catalog as executors
from pipeline.label_sets import embed_labels, wanted_labels
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
)
from pipeline.opening import described as described_source
from pipeline.plan import rows_to_read
from pipeline.recipes import BuildConfig
from pipeline.records import build_records, check_captions, dense_spec
from pipeline.sources.catalog import Source
from pipeline.teachers import catalog as teachers
from pipeline.teachers.catalog import Teacher
from pipeline.work import Machine, Terminal, Work, held
from pipeline.worker import Task, started

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
        check_texts(work.cache, *_captions_wanted(config, source))
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
            same_teacher(cache, teacher.spec)
        used = _folders(config, loaded, captioner) | judge
        models.places |= used
        work = Work(cache=cache, entries=source.entries, models=models, machine=machine, terminal=terminal, journal=file)
        _note_build(work, source, config, used)
        complete(work, [cache.begin(record) for record in wanted], task, config, every=False)
        tell_changed(work, task)
        if given:
            for captions in imported.store_given(work, source):
                embed_captions(work, captions, config.image_batch)
        _embed_wanted_labels(work, config)
        work.note(journal.Done())
    check_texts(cache, *_captions_wanted(config, source))
    return cache


def check(config: BuildConfig, path: Path) -> None:
    """Refuse a build before anything is opened or loaded.

    Args:
        config: what the cache must hold.
        path: the cache. Settings of captions that it has already may be idle.

    Raises:
        UserError: a label set or a teacher cannot be, a name is given twice or is not among the teachers, or a setting of captions is idle
            or does not fit the others.
    """
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
        if not has_captions(path, config.captions.name):
            captioners.refuse_idle(config.captions)
        check_captions(config.captions, dict.fromkeys(names), config.views.count if config.views is not None else None)


def tell_notes(source: Source, terminal: Terminal) -> None:
    """Say what a source leaves out, and its notes."""
    if source.skipped:
        skipped = ", ".join(f"{count} {what}" for what, count in source.skipped.items())
        terminal.say(f"{counted(len(source.entries), 'shape')}; not shapes, left out: {skipped}")
    for text in source.notes:
        terminal.say(f"Note: {text}")


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


def _unseen(path: Path) -> list[str]:
    """Names of captions that a cache has, and that were made when it had no views."""
    if not (path / "zarr.json").exists():
        return []
    there = products.select(store.open_cache(path).records(), products.CAPTIONS)
    return [products.parts(record)["captions"] for record in there if products.without_views(record)]


def _dense_wanted(config: BuildConfig, loaded: Sequence[Teacher]) -> list[tuple[Teacher, DenseSpec]]:
    """Return the teachers whose patch features a build makes, and what it makes of them."""
    how = config.dense
    wanted = [teacher for teacher in loaded if teacher.spec.name in how.teachers]
    return [(t, dense_spec(t, blocks=how.blocks or config.points.blocks, groups=how.groups, group_size=how.group_size)) for t in wanted]


def _load(config: BuildConfig, source: Source, models: Models, terminal: Terminal) -> tuple[list[Teacher], Captioner | None]:
    """Load the models of a build: the captioner first, which is refused before gigabytes of teachers are loaded, then the teacher that
    ranks captions, then the others."""
    captions, captioner = config.captions, None
    of_captions = (captions.model,) if captions else ()
    warn_of_starter((*config.teachers, *of_captions), described_source(source), {entry.label for entry in source.entries}, terminal.say)
    if captions is not None:
        captioner = models.load_captioner(captions, terminal.say)
        instead = "Build without captions (--set captions=none), or with a captioner that looks at pictures"
        check_names(captions, ((entry.label, entry.id) for entry in source.entries), instead)
        check_told(captioner, source.reader, source.entries, instead)
    ranking = captions.rank_by if captions is not None else ""
    loaded: dict[str, Teacher] = {}
    for name in sorted(config.teachers, key=lambda name: teachers.choice(name)[0] != ranking):
        licence = config.licence_of(teachers.choice(name)[0])
        loaded[name] = models.load_teacher(name, terminal.say, config.precision, licence)
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


def _embed_wanted_labels(work: Work, config: BuildConfig) -> None:
    """Embed the label sets of a build."""
    for made in wanted_labels(work.cache, config, work.terminal.say):
        embed_labels(work, made, config.image_batch)
