"""What the commands do to a cache, without the terminal: build, add a teacher, add a label set.

Each holds the cache alone (`store.exclusive`), begins the records of what is wanted, lets `pipeline.run` make what is
missing, and marks products complete. Called again after a kill, each goes on where it was.
"""

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from cache_schema import spec, store
from cache_schema.errors import UserError
from cache_schema.spec import LabelSet, Manifest, Record, SourceSpec, TeacherSpec
from cache_schema.store import Cache
from pipeline import build, caption, labels, run, weights
from pipeline.build import Models, Plan
from pipeline.journal import note
from pipeline.recipes import BuildConfig, shard_size
from pipeline.sources.catalog import Source, open_source
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
        import torch

        if self.device != "auto":
            return tuple(self.device.split(","))
        return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count())) or ("cpu",)

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


# --------------------------------------------------------------------------------------------------------------- build


def build_cache(location: str, path: Path, config: BuildConfig, machine: Machine, terminal: Terminal) -> Cache:
    """Make or complete a cache.

    Args:
        location: a path, or the name of a built-in collection.
        path: the cache.
        config: what it shall hold. Products it already holds are left as they are.
        machine: where to run.
        terminal: who to tell.

    Raises:
        UserError: the source, a model or a setting is wrong, or the cache holds something else.
        UserError: nothing here can draw.
    """
    for name in config.labels:
        labels.label_set(name, ("source",))  # a wrong name is better known now than after the build
    if len(set(config.teachers)) < len(config.teachers):
        raise UserError(f"a teacher is named twice: {', '.join(config.teachers)}")
    source = open_config_source(location, config)
    if source.skipped:
        skipped = ", ".join(f"{count} {what}" for what, count in source.skipped.items())
        terminal.say(f"{len(source.entries)} shapes; not shapes, left out: {skipped}")
    with store.exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as journal:
        cache = _open_or_create(path, source, config.shard)
        devices = machine.devices()
        models = Models(devices[0])
        teachers, captioner = _load(config, source.reader.kind, models, terminal)
        task = Task(reader=source.reader, points=config.points, views=config.views, limits=config.limits)
        drawn = "" if config.views is None or "views" in cache.products() else _renderer(task, machine)
        records = [
            cache.begin(record)
            for record in build.records(
                cache.manifest.source, config.points, config.views, teachers, captioner, renderer=drawn, device=devices[0]
            )
        ]
        note(journal, event="build", source=source.reader.location, kind=source.reader.kind, config=spec.to_json(config))
        if config.views is not None:
            task = dataclasses.replace(task, pictures=tuple(n for n in cache.arrays(records[2]) if n.codec == "zstd"))
        plan = Plan(
            path=path.absolute(), records=tuple(records), task=task, devices=devices,
            image_batch=config.image_batch, caption_batch=config.caption_batch,
        )  # fmt: skip
        run_plan(cache, run.Todo(cache, plan), source, models, machine, terminal, journal)
        _finish(cache, records)
        for name in config.labels:
            if name == "source" and not cache.manifest.classes:
                continue
            _embed_labels(cache, labels.label_set(name, cache.manifest.classes), models, config.image_batch, terminal)
        note(journal, event="done")
    return cache


def open_config_source(location: str, config: BuildConfig) -> Source:
    """The source of a build.

    Raises:
        UserError: nothing there, or an option is wrong.
    """
    options = {}
    for option in config.source.options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UserError(f"source.options takes name=value, got {option!r}")
        options[name] = value
    return open_source(location, kind=config.source.kind, textures=config.source.textures, **options)


def _open_or_create(path: Path, source: Source, shard: int) -> Cache:
    entries = source.entries
    if not entries:
        raise UserError(f"{source.reader.location} has no shapes")
    reader = source.reader
    described = SourceSpec(
        kind=reader.kind, ids=spec.ids_digest(e.id for e in entries), options=tuple(reader.options), textures=reader.textures
    )
    if not (path / "zarr.json").exists():
        classes = tuple(sorted({e.label for e in entries if e.label}))
        splits = tuple(sorted({e.split for e in entries if e.split}))
        manifest = Manifest(shapes=len(entries), shard=shard or shard_size(len(entries)), source=described, classes=classes, splits=splits)
        return store.create(path, manifest, *columns(manifest, source))
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
    shipped = [name for name in (*config.teachers, *captioners) if weights.is_shipped(name)]
    if shipped and kind != "starter":
        terminal.say(
            f"Warning: {', '.join(shipped)} know the kinds of the starter collection and nothing else. For shapes of your own take real "
            "models: --recipe clip-dino, or see `mmpd-cache recipes` and `mmpd-cache teachers`"
        )
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


def run_plan(
    cache: Cache, todo: run.Todo, source: Source | None, models: Models, machine: Machine, terminal: Terminal, journal: TextIO
) -> None:
    terminal.begin(todo.totals(cache))
    entries = source.entries if source else ()

    def written(line: dict[str, Any]) -> None:
        note(journal, **line)

    if machine.scheduler or len(todo.plan.devices) > 1:
        run.run_on_cluster(cache, todo, entries, machine.scheduler, machine.workers, terminal.advance, written)
    else:
        run.run_here(cache, todo, entries, models, machine.processes(), terminal.advance, written)


def _finish(cache: Cache, records: Iterable[Record]) -> None:
    for record in records:
        cache.finish(record)  # one that is complete already must still be what it was


# ---------------------------------------------------------------------------------------- what an existing cache can gain


def add_teacher(path: Path, name: str, precision: str | None, batch: int, machine: Machine, terminal: Terminal) -> Record:
    """Embed the stored views, captions and label sets with one more teacher. Touches no other file. Returns its image record.

    Raises:
        UserError: no such teacher, its weights are missing, or the cache has no finished views.
    """
    store.open_cache(path)  # no lock file beside what is no cache
    with store.exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as journal:
        cache = store.open_cache(path)
        views = cache.record("views")
        there = cache.products()
        devices = machine.devices()
        terminal.say(f"loading teacher {name}")
        teacher = catalog.load(name, device=devices[0], precision=precision)
        models = Models(devices[0])
        models.add(teacher)
        captions = there.get("captions")
        records = build.teacher_records(views, None, [teacher], devices[0])
        records += build.teacher_records(views, captions, [teacher], devices[0], only="text")
        records = [cache.begin(record) for record in records]
        note(journal, event="add-teacher", teacher=name)
        everything = (*there.values(), *(r for r in records if r.product not in there))
        plan = Plan(path=path.absolute(), records=everything, task=None, devices=devices, image_batch=batch, caption_batch=batch)
        new = {record.product: set(cache.missing(record)) for record in records}
        run_plan(cache, run.Todo(cache, plan, new), None, models, machine, terminal, journal)
        _finish(cache, records)
        if teacher.spec.text:
            for labels_ in {r.labels.name: r.labels for r in there.values() if r.labels is not None}.values():
                _embed_labels(cache, labels_, models, batch, terminal, only=teacher.spec)
        note(journal, event="done")
    return cache.record(f"image/{teacher.spec.name}")


def add_labels(path: Path, reference: str, batch: int, machine: Machine, terminal: Terminal) -> LabelSet:
    """Embed a label set (see `pipeline.labels.label_set`) with every teacher of a cache that has a text side."""
    store.open_cache(path)  # no lock file beside what is no cache
    with store.exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as journal:
        cache = store.open_cache(path)
        made = labels.label_set(reference, cache.manifest.classes)
        note(journal, event="labels", set=reference)
        models = Models(machine.devices()[0])
        if not _embed_labels(cache, made, models, batch, terminal):
            raise UserError(f"{path} has no teacher with a text side to embed labels with; add one with `mmpd-cache add-teacher`")
        note(journal, event="done")
    return made


def _embed_labels(cache: Cache, labels_: LabelSet, models: Models, batch: int, terminal: Terminal, only: TeacherSpec | None = None) -> int:
    """Embed with every text teacher of the cache; returns how many have one."""
    found = [r.spec for r in cache.products().values() if r.kind == "image" and isinstance(r.spec, TeacherSpec) and r.spec.text]
    for teacher in [only] if only is not None else found:
        record = cache.begin(build.label_record(labels_, teacher, models.device))
        if not record.complete:
            terminal.say(f"embedding {len(labels_.classes)} classes x {len(labels_.templates)} templates with {teacher.name}")
            if cache.missing(record):
                build.make_labels(cache, record, models.teacher(teacher), batch)
            cache.finish(record)
    return len(found)
