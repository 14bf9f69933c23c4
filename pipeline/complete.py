"""Brings a cache to completion: tries failed shapes again, makes what is missing, and marks products complete."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cache_schema import products, spec
from cache_schema.errors import UserError
from cache_schema.files import held_token
from cache_schema.layout import ArraySpec, texts
from cache_schema.spec import CaptionSpec, Record, TeacherSpec
from cache_schema.store import Cache
from pipeline import build
from pipeline.executors import catalog as executors
from pipeline.plan import Again, Plan, Todo
from pipeline.recipes import BuildConfig
from pipeline.records import batch_size, software_changes
from pipeline.sources.catalog import Entry, Reader
from pipeline.work import Work
from pipeline.worker import Task


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What came of failed shapes that were tried again."""

    tried: int = 0
    mended: int = 0


def complete(work: Work, records: Sequence[Record], task: Task, config: BuildConfig, *, every: bool) -> Retried:
    """Try failed shapes again, make what is missing, and mark products complete.

    Args:
        work: the cache, and what it is made with.
        records: what is wanted; what else the cache holds or was begun in it is kept in step with that.
        task: what shape processes do.
        config: its batch sizes are those of products whose records say none.
        every: whether all failed shapes are tried again, or only those whose files have changed.

    Returns:
        What came of the shapes that were tried again.

    Raises:
        UserError: failed shapes cannot be tried again, with `every`; or see `pipeline.commands.build_cache`.
    """
    cache = work.cache
    again = _again(work, task, every)
    others, reasons = _others(work, records, task, bool(again))
    if reasons:
        again = _kept_from(work, again, reasons, every)
    records = products.in_order([*records, *others])
    if views := [record for record in records if products.of(record) is products.VIEWS]:
        task = dataclasses.replace(task, pictures=pictures(cache, views[0]))
    plan = Plan(
        path=cache.path.absolute(),
        records=tuple(records),
        task=task,
        devices=work.machine.devices(),
        image_batch=config.image_batch,
        caption_batch=config.caption_batch,
        token=held_token(cache.path),
        places=tuple(sorted(work.models.places.items())),
    )
    found = _retry(work, plan, again) if again else Retried()
    executors.run(work, Todo(cache, plan))
    now = cache.records()
    for record in records:
        cache.finish(now[record.product])  # one that is complete already must still be what it was
    _remind_of_guides(work, now.values())
    return found


def pictures(cache: Cache, views: Record) -> tuple[ArraySpec, ...]:
    """The arrays of the views that hold compressed pictures."""
    return tuple(node for node in cache.arrays(views) if node.codec == "zstd")


def _kept_from(work: Work, again: Again, reasons: Sequence[str], every: bool) -> Again:
    """Say why shapes are not tried again, or products are left unfinished. Returns what is tried again: nothing.

    Raises:
        UserError: shapes had to be tried again, with `every`.
    """
    number, why = sum(map(len, again.values())), "; ".join(reasons)
    if not again:
        work.terminal.say(f"left unfinished: {why}")
    elif every:
        raise UserError(f"{work.cache.path}: {number} failed shapes cannot be tried again: {why}")
    else:
        work.terminal.say(f"{number} failed shapes may have other files by now, but are not tried again: {why}")
    return {}


def _retry(work: Work, plan: Plan, again: Again) -> Retried:
    """Try failed shapes again, and say what came of those whose files had changed."""
    cache, terminal = work.cache, work.terminal
    tried = sum(map(len, again.values()))
    terminal.say(f"trying {tried} failed shape{'s' * (tried != 1)} again")
    changed = _changed(cache, again)
    found = Retried(tried=tried, mended=executors.retry(work, plan, again))
    if changed and (taken := int(cache.ok()[changed].sum())):
        terminal.say(
            f"{taken} shape{'s' * (taken != 1)} had failed because of files that changed after the points were made: "
            "made again from the files as they are now"
        )
    return found


def _remind_of_guides(work: Work, records: Iterable[Record]) -> None:
    """Say how guides that are not finished are finished."""
    for record in records:
        if products.of(record) is products.GUIDE and not record.complete:
            name = products.parts(record)["guide"]
            work.terminal.say(
                f"{record.product} is not finished: run `mmpd-train guide {work.cache.path.name} RUN --name {name}` with the run it is of"
            )


def _again(work: Work, task: Task, every: bool) -> Again:
    """Failed shapes to try again: every one, or those whose file is not the one that failed.

    Of a shape that lacked a file beside it, or of which such a file has changed, the digest on record is never that of its own file
    alone (see `pipeline.worker.Made`): it is tried again each time.
    """
    cache = work.cache
    record = cache.records().get(products.STATUS.name)
    found: Again = {}
    done = set(range(cache.manifest.shards)) - set(cache.missing(record)) if record else set()
    for shard in sorted(done):
        status = build.stored_status(cache, shard)
        first = cache.manifest.rows(shard).start
        for row in (status["status"] == spec.FAILED).nonzero()[0].tolist():
            if every or _digest(task.reader, work.entries[first + row]) != status["source_sha256"][row].tobytes():
                found.setdefault(shard, []).append(first + row)
    return found


def _changed(cache: Cache, again: Again) -> list[int]:
    """The rows, among those that are tried again, that failed because their files were others than when their points were made."""
    rows = [row for mine in again.values() for row in mine]
    reasons = texts(cache.column("reason")[rows])
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
    there = [r for r in cache.records().values() if products.of(r).origin in ("files", "cache") and r.product not in mine]
    reasons: list[str] = []
    if again:
        drawn = executors.renderer(task, work.machine) if products.VIEWS.name in cache.records() else ""
        for record in (*(r for r in records if r.complete), *there):
            changes = software_changes(record, renderer=drawn, device=models.device)
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
                models.captioner(record.spec, batch_size(record, "caption_batch", 16))
        except UserError as error:
            reasons.append(f"{record.product} cannot be made here: {error}")
            continue
        found.append(record)
    return found, reasons
