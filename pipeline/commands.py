"""What the commands do to a cache, without the terminal: build, try failed shapes again, add a teacher, add a label set.

Each looks at everything it was given before it writes anything, holds the cache alone (`store.exclusive`), begins the
records of what is wanted, lets `pipeline.run` make what is missing, and marks products complete. Called again after a
kill, each goes on where it was.
"""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

from cache_schema import spec, store
from cache_schema.errors import UserError
from cache_schema.settings import override
from cache_schema.spec import CaptionSpec, LabelSet, Manifest, PointSpec, Record, SourceSpec, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from pipeline import build, caption, labels, run, weights
from pipeline.build import Models, Plan
from pipeline.describe import starter_warning
from pipeline.journal import note, read_journal
from pipeline.recipes import BuildConfig, SourceConfig, shard_size
from pipeline.sources.catalog import Entry, Reader, Source, open_source
from pipeline.teachers import catalog
from pipeline.worker import Task


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where to run. Changes no result but for float rounding."""

    workers: int = 0
    """Shape processes; 0 for one per core."""
    scheduler: str = ""
    """Address of a dask scheduler; empty for this machine."""
    device: str = "auto"
    """Torch device, several with commas, or auto: every GPU, else the CPU."""

    def devices(self) -> tuple[str, ...]:
        """The torch devices by name.

        Raises:
            UserError: there is no such device.
        """
        import torch

        if self.device == "auto":
            return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count())) or ("cpu",)
        names = tuple(name.strip() for name in self.device.split(","))
        for name in names:
            try:
                torch.empty(0, device=torch.device(name))
            except (RuntimeError, AssertionError) as error:
                reason = str(error).partition("\n")[0]
                raise UserError(f"device {name!r} cannot be used ({reason}); `--device cpu` works everywhere") from error
        return names

    def processes(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))


class Terminal(Protocol):
    """How a command speaks while it works."""

    def say(self, text: str) -> None:
        """A line about what happens next."""

    def begin(self, totals: dict[str, int]) -> None:
        """Work is about to start: units by product."""

    def advance(self, product: str, units: int) -> None:
        """Some of it is done."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a command works with once it holds the cache."""

    cache: Cache
    """To write to; held with `store.exclusive`."""
    entries: Sequence[Entry] = ()
    """Every shape, by row; empty where nothing is made from files."""
    models: Models
    machine: Machine
    terminal: Terminal
    journal: TextIO

    def note(self, line: dict[str, Any]) -> None:
        """Write one note into the journal."""
        note(self.journal, **line)


# --------------------------------------------------------------------------------------------------------------- build


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What came of failed shapes that were tried again."""

    tried: int = 0
    mended: int = 0


def build_cache(location: str, path: Path, config: BuildConfig, machine: Machine, terminal: Terminal) -> Cache:
    """Make or complete a cache. Failed shapes whose files have changed are tried again.

    Args:
        location: a path, or the name of a built-in collection.
        path: the cache.
        config: what it shall hold. Products it already holds are left as they are.
        machine: where to run.
        terminal: who to tell.

    Raises:
        UserError: the source, a model or a setting is wrong, nothing here can draw, or the cache holds something else: nothing in it
            was changed. Later, while shapes are made: a teacher gives values that float16 cannot hold, a label set does not fit, the
            dask scheduler is lost, or another build takes over: what is done by then is kept, and the same command goes on with it.
    """
    for name in config.labels:
        labels.label_set(name, ("source",))  # a wrong name is better known now than after the build
    if len(set(config.teachers)) < len(config.teachers):
        raise UserError(f"a teacher is named twice: {', '.join(config.teachers)}")
    devices = machine.devices()
    run.check_address(machine.scheduler)
    _check_place(path)
    source = open_config_source(location, config)
    if source.skipped:
        skipped = ", ".join(f"{count} {what}" for what, count in source.skipped.items())
        terminal.say(f"{len(source.entries)} shapes; not shapes, left out: {skipped}")
    for text in source.notes:
        terminal.say(f"Note: {text}")
    _open(path, source, config.shard)
    models = Models(devices[0], places(path))
    teachers, captioner = _load(config, source.reader.kind, models, terminal)
    task = Task(reader=source.reader, points=config.points, views=config.views, limits=config.limits)
    drawn = "" if config.views is None or _has_views(path) else _renderer(task, machine)
    wanted = build.records(
        _described(source),
        config.points,
        config.views,
        teachers,
        captioner,
        renderer=drawn,
        device=devices[0],
        image_batch=config.image_batch,
        caption_batch=config.caption_batch,
    )
    with store.exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as journal:
        cache = _open(path, source, config.shard) or _create(path, source, config.shard)
        for record in wanted:
            cache.agreed(record)
        used = {t.spec.weights: _place(catalog.choice(name)[1].model) for name, t in zip(config.teachers, teachers, strict=True)}
        if config.captions is not None and captioner is not None:
            used[captioner.spec.weights] = _place(config.captions.model)
        models.places |= {digest: place for digest, place in used.items() if place}
        note(
            journal,
            event="build",
            source=source.reader.location,
            kind=source.reader.kind,
            config=spec.to_json(config),
            models={digest: place for digest, place in used.items() if place},
        )
        records = [cache.begin(record) for record in wanted]
        work = Work(cache=cache, entries=source.entries, models=models, machine=machine, terminal=terminal, journal=journal)
        _complete(work, records, task, config, every=False)
        for name in config.labels:
            if name == "source" and not cache.manifest.classes:
                continue
            if name == "source" and (said := labels.told_confused(cache.manifest.classes)):
                terminal.say(f"Warning: {said}")
                continue
            _embed_labels(cache, labels.label_set(name, cache.manifest.classes), models, config.image_batch, terminal)
        note(journal, event="done")
    return cache


def retry(path: Path, location: str, machine: Machine, terminal: Terminal, limits: Sequence[str] = ()) -> Retried:
    """Try failed shapes again, and put those that are ok now into every product.

    Args:
        path: the cache.
        location: of the shapes; empty for the one that the journal beside the cache names.
        machine: where to run.
        terminal: who to tell.
        limits: settings of `pipeline.worker.Limits`, as `seconds=600`.

    Raises:
        UserError: the shapes, a model or the software is not what made the cache. Nothing was written.
    """
    cache = store.open_cache(path)
    devices = machine.devices()
    run.check_address(machine.scheduler)
    _check_place(path)
    there = cache.records()
    if "points" not in there:
        raise UserError(f"{path} has no points yet; run the command that began it again")
    points, views = there["points"].spec, there["views"].spec if "views" in there else None
    assert isinstance(points, PointSpec) and (views is None or isinstance(views, ViewSpec))
    source, before = source_again(cache, location)
    config = dataclasses.replace(before, points=points, views=views, limits=override(before.limits, limits))
    _open(path, source, 0)
    models = Models(devices[0], places(path))
    task = Task(reader=source.reader, points=points, views=views, limits=config.limits)
    with store.exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as journal:
        cache = store.open_cache(path)
        note(journal, event="retry", source=source.reader.location, kind=source.reader.kind, config=spec.to_json(config))
        work = Work(cache=cache, entries=source.entries, models=models, machine=machine, terminal=terminal, journal=journal)
        found = _complete(work, [], task, config, every=True)
        note(journal, event="done")
    return found


def _complete(work: Work, records: Sequence[Record], task: Task, config: BuildConfig, *, every: bool) -> Retried:
    """Try failed shapes again, make what is missing, and mark products complete.

    Args:
        work: the cache, and what it is made with.
        records: what is wanted; what else the cache holds or was begun in it is kept in step with that.
        task: what shape processes do.
        config: its batch sizes are those of products whose records say none.
        every: whether all failed shapes are tried again, or only those whose files have changed.
    """
    cache, terminal = work.cache, work.terminal
    again = _again(work, task, every)
    others, reasons = _others(work, records, task, bool(again))
    if again and reasons:
        number = sum(map(len, again.values()))
        if every:
            raise UserError(f"{cache.path}: {number} failed shapes cannot be tried again: {'; '.join(reasons)}")
        terminal.say(f"{number} failed shapes may have other files by now, but are not tried again: {'; '.join(reasons)}")
        again = {}
    elif reasons:
        terminal.say(f"left unfinished: {'; '.join(reasons)}")
    records = sorted([*records, *others], key=lambda r: ORDER.index(r.kind))
    by_name = {record.product: record for record in records}
    if "views" in by_name:
        task = dataclasses.replace(task, pictures=tuple(n for n in cache.arrays(by_name["views"]) if n.codec == "zstd"))
    plan = Plan(
        path=cache.path.absolute(),
        records=tuple(records),
        task=task,
        devices=work.machine.devices(),
        image_batch=config.image_batch,
        caption_batch=config.caption_batch,
        token=store.held_token(cache.path),
        places=tuple(sorted(work.models.places.items())),
    )
    found = Retried()
    if again:
        tried = sum(map(len, again.values()))
        terminal.say(f"trying {tried} failed shape{'s' * (tried != 1)} again")
        changed = _changed(cache, again)
        found = Retried(tried=tried, mended=_retry_plan(work, plan, again))
        if changed and (taken := int(cache.ok()[changed].sum())):
            terminal.say(
                f"{taken} shape{'s' * (taken != 1)} had failed because of files that changed after the points were made: "
                "made again from the files as they are now"
            )
    run_plan(work, run.Todo(cache, plan))
    now = cache.records()
    for record in records:
        cache.finish(now[record.product])  # one that is complete already must still be what it was
    for record in now.values():
        if record.kind == "guide" and not record.complete:
            name = record.product.removeprefix("guide/")
            terminal.say(
                f"{record.product} is not finished: run `mmpd-train guide {cache.path.name} RUN --name {name}` with the run it is of"
            )
    return found


ORDER: Final = ("status", "points", "views", "image", "captions", "text")
"""Kinds of products that `build` makes shard by shard, those first that others are made of."""


def _again(work: Work, task: Task, every: bool) -> run.Again:
    """Failed shapes to try again: every one, or those whose file is not the one that failed.

    Of a shape that lacked a file beside it, or of which such a file has changed, the digest on record is never that of its own file
    alone (see `pipeline.worker.Made`): it is tried again each time.
    """
    cache = work.cache
    record = cache.records().get("status")
    found: run.Again = {}
    done = set(range(cache.manifest.shards)) - set(cache.missing(record)) if record else set()
    for shard in sorted(done):
        status = build.stored_status(cache, shard)
        first = cache.manifest.rows(shard).start
        for row in (status["status"] == spec.FAILED).nonzero()[0].tolist():
            if every or _digest(task.reader, work.entries[first + row]) != status["source_sha256"][row].tobytes():
                found.setdefault(shard, []).append(first + row)
    return found


def _changed(cache: Cache, again: run.Again) -> list[int]:
    """The rows, among those that are tried again, that failed because their files were others than when their points were made."""
    rows = [row for mine in again.values() for row in mine]
    reasons = store.texts(cache.column("reason")[rows])
    return [row for row, reason in zip(rows, reasons, strict=True) if reason.startswith(build.CHANGED)]


def _digest(reader: Reader, entry: Entry) -> bytes:
    """sha256 of a shape's own file; zeros where there is none."""
    try:
        return reader.digest(entry)
    except (UserError, OSError):
        return bytes(32)


def _others(work: Work, records: Sequence[Record], task: Task, again: bool) -> tuple[list[Record], list[str]]:
    """What else there is, made of the same shapes, that is not finished or has to follow shapes that are tried again.

    Args:
        work: the cache, and what it is made with.
        records: what is wanted.
        task: what shape processes do.
        again: whether shapes are to be tried again.

    Returns:
        The records, and why shapes cannot be tried again; nothing was written.
    """
    cache, models = work.cache, work.models
    mine = {record.product for record in records}
    there = [record for record in cache.records().values() if record.kind in ORDER and record.product not in mine]
    reasons: list[str] = []
    if again:
        drawn = _renderer(task, work.machine) if "views" in cache.records() else ""
        for record in (*(r for r in records if r.complete), *there):
            changes = build.software_changes(record, renderer=drawn, device=models.device)
            if changes:
                reasons.append(f"{record.product} was made by other software ({', '.join(changes)})")
    found = []
    for record in there:
        if record.complete and not again:
            # Nothing is made of it, but things may be made from it.
            found.append(record)
            continue
        try:
            if isinstance(record.spec, TeacherSpec):
                models.teacher(record.spec)
            elif isinstance(record.spec, CaptionSpec):
                models.captioner(record.spec, build.batch_size(record, "caption_batch", 16))
        except UserError as error:
            reasons.append(f"{record.product} cannot be made here: {error}")
            continue
        found.append(record)
    return found, reasons


def _retry_plan(work: Work, plan: Plan, again: run.Again) -> int:
    """Try failed shapes again, here or on dask workers. Returns how many are ok now."""
    machine, advance = work.machine, work.terminal.advance
    work.terminal.begin({"shapes": sum(map(len, again.values()))})
    if machine.scheduler or len(plan.devices) > 1:
        return run.retry_on_cluster(plan, again, work.entries, machine.scheduler, machine.workers, advance, work.note)
    return run.retry_here(work.cache, plan, again, work.entries, work.models, machine.processes(), advance, work.note)


def _check_place(path: Path) -> None:
    """Refuse a place where no cache can be, before anything is written there or beside it.

    Raises:
        UserError: it is a file, or a folder of something else, or nobody may write there.
    """
    if path.exists() and not path.is_dir():
        raise UserError(
            f"{path} is a file; give the name of a folder, to be made or with a cache in it, such as {path.with_suffix('.zarr')}"
        )
    if path.is_dir() and not (path / "zarr.json").exists():
        store.check_empty(path)
    for folder in [path] * path.is_dir() + [next(parent for parent in path.absolute().parents if parent.exists())]:
        if not folder.is_dir():
            raise UserError(f"{path} cannot be made: {folder} is a file")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"{path} cannot be written: {folder} is read-only for you. Give a place you may write to")


def _finished(cache: Cache) -> dict[str, Record]:
    """Every complete product. Unlike `Cache.products` it lets pass that a record is gone: this command may be what makes it again."""
    return {name: record for name, record in cache.records().items() if record.complete}


def _has_views(path: Path) -> bool:
    return (path / "zarr.json").exists() and "views" in _finished(store.open_cache(path))


def _place(model: str) -> str:
    """The folder a model lies in, if it is one of this machine."""
    return str(Path(model).expanduser().absolute()) if weights.is_path(model) else ""


def places(path: Path) -> dict[str, str]:
    """By digest of its weights, the folder of each local model that was used on a cache, as the journal beside it says."""
    found: dict[str, str] = {}
    for line in read_journal(path).notes:
        if isinstance(models := line.get("models"), dict):
            found |= {str(digest): str(place) for digest, place in models.items()}
    return found


def open_config_source(location: str, config: BuildConfig) -> Source:
    """The source of a build.

    Raises:
        UserError: nothing there, or an option is wrong.
    """
    return open_source(location, kind=config.source.kind, textures=config.source.textures, **config.source.settings)


def _described(source: Source) -> SourceSpec:
    reader = source.reader
    return SourceSpec(
        kind=reader.kind, ids=spec.ids_digest(e.id for e in source.entries), options=tuple(reader.options), textures=reader.textures
    )


def _create(path: Path, source: Source, shard: int) -> Cache:
    entries = source.entries
    classes = tuple(sorted({e.label for e in entries if e.label}))
    splits = tuple(sorted({e.split for e in entries if e.split}))
    manifest = Manifest(
        shapes=len(entries), shard=shard or shard_size(len(entries)), source=_described(source), classes=classes, splits=splits
    )
    return store.create(path, manifest, *columns(manifest, source))


def _open(path: Path, source: Source, shard: int) -> Cache | None:
    """The cache that is there, if any.

    Raises:
        UserError: it is of other shapes, or of the same read otherwise.
    """
    if not (path / "zarr.json").exists():
        return None
    described, entries = _described(source), source.entries
    cache = store.open_cache(path)
    there = cache.manifest.source
    if spec.fingerprint(there) != spec.fingerprint(described):
        if there.ids != described.ids:
            now, then = {e.id for e in entries}, set(cache.ids())
            added, gone = sorted(now - then), sorted(then - now)
            raise UserError(
                f"{path} was built from other shapes: {len(added)} new{f' ({added[0]})' if added else ''}, "
                f"{len(gone)} gone{f' ({gone[0]})' if gone else ''}. Build into another path, or restore the shapes."
            )
        raise UserError(f"{path} was built from this source read otherwise: {'; '.join(store.differences(there, described))}")
    for name, asked in zip(("label", "split"), columns(cache.manifest, source)[1:], strict=True):
        changed = (cache.column(name) != asked).nonzero()[0]
        if len(changed):
            raise UserError(
                f"{path}: the {name} of {entries[changed[0]].id} and {len(changed) - 1} more has changed; build into another path"
            )
    if shard not in (0, cache.manifest.shard):
        raise UserError(f"{path} has {cache.manifest.shard} shapes per shard, asked {shard}; build into another path")
    return cache


def columns(manifest: Manifest, source: Source) -> tuple[list[str], list[int], list[int]]:
    """Ids, labels and splits by row, as `store.create` takes them."""
    label = {name: i for i, name in enumerate(manifest.classes)}
    split = {name: i for i, name in enumerate(manifest.splits)}
    entries = source.entries
    return [e.id for e in entries], [label.get(e.label, -1) for e in entries], [split.get(e.split, -1) for e in entries]


def _load(config: BuildConfig, kind: str, models: Models, terminal: Terminal) -> tuple[list[build.Teacher], build.Captioner | None]:
    teachers = []
    for name in config.teachers:
        terminal.say(f"loading teacher {name}")
        teachers.append(catalog.load(name, device=models.device, precision=config.precision))
        models.add(teachers[-1])
    captioners = (config.captions.model,) if config.captions else ()
    if warning := starter_warning((*config.teachers, *captioners), kind):
        terminal.say(f"Warning: {warning}")
    captioner = None
    if config.captions is not None:
        terminal.say(f"loading captioner {config.captions.captioner} {config.captions.model}".rstrip())
        captioner = caption.load(config.captions, device=models.device, batch=config.caption_batch)
        models.add(captioner)
    return teachers, captioner


def _renderer(task: Task, machine: Machine) -> str:
    """The GL driver that will draw, found by making one context."""
    if machine.scheduler:
        return run.renderer_on_cluster(task, machine.scheduler)
    return run.renderer(task)


def run_plan(work: Work, todo: run.Todo) -> None:
    """Make what a plan lacks, here or on dask workers, and note in the journal what each shard cost.

    Raises:
        UserError: see `build_cache`.
    """
    machine, advance = work.machine, work.terminal.advance
    work.terminal.begin(todo.totals(work.cache))
    if machine.scheduler or len(todo.plan.devices) > 1:
        run.run_on_cluster(work.cache, todo, work.entries, machine.scheduler, machine.workers, advance, work.note)
    else:
        run.run_here(work.cache, todo, work.entries, work.models, machine.processes(), advance, work.note)


# ---------------------------------------------------------------------------------------- what an existing cache can gain


def add_teacher(path: Path, name: str, precision: str | None, batch: int, machine: Machine, terminal: Terminal) -> Record:
    """Embed the stored views, captions and label sets with one more teacher. Touches no other file. Returns its image record.

    Raises:
        UserError: no such teacher, its weights are missing, or the cache has no finished views.
    """
    store.open_cache(path).record("views")  # no lock file beside what is no cache
    devices = machine.devices()
    run.check_address(machine.scheduler)
    _check_place(path)
    terminal.say(f"loading teacher {name}")
    teacher = catalog.load(name, device=devices[0], precision=precision)
    models = Models(devices[0], places(path))
    models.add(teacher)
    place = _place(catalog.choice(name)[1].model)
    models.places |= {teacher.spec.weights: place} if place else {}
    with store.exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as journal:
        cache = store.open_cache(path)
        views = cache.record("views")
        there = _finished(cache)
        captions = there.get("captions")
        records = build.teacher_records(views, None, [teacher], devices[0], batch)
        records += build.teacher_records(views, captions, [teacher], devices[0], batch, only="text")
        for record in records:
            cache.agreed(record)
        note(journal, event="add-teacher", teacher=name, models={teacher.spec.weights: place} if place else {})
        records = [cache.begin(record) for record in records]
        everything = (*there.values(), *(r for r in records if r.product not in there))
        plan = Plan(
            path=path.absolute(),
            records=everything,
            task=None,
            devices=devices,
            image_batch=batch,
            caption_batch=batch,
            token=store.held_token(path),
            places=tuple(sorted(models.places.items())),
        )
        new = {record.product: set(cache.missing(record)) for record in records}
        run_plan(Work(cache=cache, models=models, machine=machine, terminal=terminal, journal=journal), run.Todo(cache, plan, new))
        for record in records:
            cache.finish(record)
        if teacher.spec.text:
            for labels_ in {r.labels.name: r.labels for r in there.values() if r.labels is not None}.values():
                _embed_labels(cache, labels_, models, batch, terminal, only=teacher.spec)
        note(journal, event="done")
    return cache.record(f"image/{teacher.spec.name}")


def add_labels(path: Path, reference: str, batch: int, machine: Machine, terminal: Terminal) -> LabelSet:
    """Embed a label set (see `pipeline.labels.label_set`) with every teacher of a cache that has a text side."""
    opened = store.open_cache(path)  # no lock file beside what is no cache
    made = labels.label_set(reference, opened.manifest.classes)
    if not _text_teachers(opened):
        raise UserError(f"{path} has no teacher with a text side to embed labels with; add one with `mmpd-cache add-teacher`")
    models = Models(machine.devices()[0], places(path))
    _check_place(path)
    with store.exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as journal:
        cache = store.open_cache(path)
        note(journal, event="labels", set=reference)
        _embed_labels(cache, made, models, batch, terminal)
        note(journal, event="done")
    return made


def _text_teachers(cache: Cache) -> list[TeacherSpec]:
    return [r.spec for r in _finished(cache).values() if r.kind == "image" and isinstance(r.spec, TeacherSpec) and r.spec.text]


def _embed_labels(cache: Cache, labels_: LabelSet, models: Models, batch: int, terminal: Terminal, only: TeacherSpec | None = None) -> None:
    """Embed with every text teacher of the cache, or with one."""
    for teacher in [only] if only is not None else _text_teachers(cache):
        wanted = build.label_record(labels_, teacher, models.device, batch)
        there = cache.agreed(wanted)
        if there.complete and not cache.missing(there):
            continue
        loaded = models.teacher(teacher)
        record = cache.begin(wanted)
        terminal.say(f"embedding {len(labels_.classes)} classes x {len(labels_.templates)} templates with {teacher.name}")
        if cache.missing(record):
            build.make_labels(cache, record, loaded, batch, models)
        cache.finish(record)


def source_again(cache: Cache, location: str) -> tuple[Source, BuildConfig]:
    """The source a cache was built from, and the settings of its last build as far as the journal beside it has them.

    Args:
        cache: the cache.
        location: where the shapes are now; empty for where the journal says they were.

    Raises:
        UserError: nobody says where they are, or other shapes are there.
    """
    location = location or read_journal(cache.path).last_build.get("source", "")
    if not location:
        raise UserError(f"{cache.path} has no journal beside it that names its source; give it with --source")
    config, sealed = last_config(cache), cache.manifest.source
    # The journal is anybody's, and a source is opened by it before its ids can tell: what the cache itself says goes first.
    options = {**config.source.settings, **dict(sealed.options)}
    if options.get("count", str(cache.manifest.shapes)) != str(cache.manifest.shapes):  # of a collection that is made, not found
        raise UserError(
            f"{cache.path} holds {cache.manifest.shapes} shapes, but its source is said to make {options['count'][:20]}: "
            "it is damaged; build the cache anew"
        )
    asked = SourceConfig(kind=sealed.kind, textures=sealed.textures, options=tuple(f"{name}={value}" for name, value in options.items()))
    source = open_config_source(location, dataclasses.replace(config, source=asked))
    if spec.ids_digest(e.id for e in source.entries) != cache.manifest.source.ids:
        raise UserError(f"{location} does not hold the shapes {cache.path} was built from")
    return source, config


def last_config(cache: Cache) -> BuildConfig:
    """The settings of a cache's last build as far as the journal beside it has them; else those of its source, and no others."""
    noted = read_journal(cache.path).last_build
    with contextlib.suppress(UserError):  # a build of another version
        if "config" in noted:
            return spec.from_json(BuildConfig, noted["config"])  # type: ignore[no-any-return]
    there = cache.manifest.source
    options = tuple(f"{name}={value}" for name, value in there.options)
    return BuildConfig(source=SourceConfig(kind=there.kind, textures=there.textures, options=options))
