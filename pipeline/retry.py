"""Try failed shapes again: the command `retry`."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from cache_schema import products, spec, store
from cache_schema.errors import UserError
from cache_schema.settings import override
from cache_schema.spec import ViewSpec
from cache_schema.store import Cache
from pipeline import journal, readings
from pipeline.complete import Retried, complete, hindrance
from pipeline.executors import catalog as executors
from pipeline.models import Models
from pipeline.opening import check_place, described_shapes, places, same_labels
from pipeline.origins import source_again
from pipeline.sources.catalog import Entry
from pipeline.work import Machine, Terminal, Work, caught_up, held
from pipeline.worker import Task


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
