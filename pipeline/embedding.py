"""Add a teacher to a cache: embeddings of its views, captions and label sets (`add-teacher`), or patch features on points (`add-dense`).

Everything that was given is checked first, and the cache is locked only then. After a kill, call it again: it continues.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cache_schema import products, spec, store
from cache_schema.errors import UserError
from cache_schema.records import differences
from cache_schema.spec import DenseSpec, PointSpec, Record, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from cache_schema.terminal import counted, duration
from pipeline import build, journal, readings
from pipeline.complete import complete_stored, plan_stored
from pipeline.describe import human, warn_of_starter
from pipeline.executors import catalog as executors
from pipeline.label_sets import embed_stored_labels
from pipeline.models import Models
from pipeline.opening import check_place, described_shapes, finished, place_of, places
from pipeline.origins import source_again
from pipeline.plan import Plan, Todo
from pipeline.recipes import DenseConfig
from pipeline.records import batch_size, dense_record, dense_spec, image_records, software_changes, text_records
from pipeline.sources.catalog import Entry
from pipeline.teachers import catalog as teachers
from pipeline.teachers.catalog import Teacher
from pipeline.work import Machine, Terminal, Work, caught_up, held
from pipeline.worker import Made, Task, Workers


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
        same_teacher(ahead, teacher.spec)
        cache = caught_up(path, terminal, records)
        work = Work(cache=cache, models=models, machine=machine, terminal=terminal, journal=file)
        work.note(journal.AddTeacher(teacher=name, models=used))
        complete_stored(work, [work.cache.begin(record) for record in records], batch)
        embed_stored_labels(work, there, batch, teacher.spec)
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
    same_teacher(opened, teacher.spec)
    with held(path, terminal) as file:
        cache = caught_up(path, terminal, [wanted])
        work = Work(cache=cache, entries=entries, models=models, machine=machine, terminal=terminal, journal=file)
        there = finished(work.cache)
        _foretell(work, work.cache.agreed(wanted), batch, task)
        work.note(journal.AddDense(teacher=name, models=used))
        record = work.cache.begin(wanted)
        complete_stored(work, [record], batch, task)
        embed_stored_labels(work, there, batch, teacher.spec)
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
    models = Models(device, places(path))
    teacher = models.load_teacher(name, terminal.say, precision, licence)
    manifest = store.open_ahead(path).manifest
    warn_of_starter([teacher.spec.model], manifest.source, manifest.classes, terminal.say)
    used = place_of(teacher.spec.weights, teachers.choice(name)[1].model)
    models.places |= used
    return teacher, models, used


def same_teacher(cache: Cache, teacher: TeacherSpec) -> None:
    """Refuse a teacher if another one of the same name made embeddings or patch features of the views of a cache.

    Raises:
        UserError: another one did.
    """
    for kind in (products.IMAGE, products.DENSE):
        for record in products.select(cache.records(), kind, teacher=teacher.name):
            there = record.teacher or record.spec
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
    told = (
        f"{record.product}: {counted(shapes, 'shape')} x {described.blocks * described.groups} groups x {described.dim} dimensions, {size}"
    )
    rows = {shard: build.usable_rows(cache, shard) for shard in left}
    number = sum(map(len, rows.values()))
    if not number:
        work.terminal.say(told)
        return
    first = next(shard for shard in left if rows[shard])
    plan = plan_stored(work, [record], batch, task)
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
