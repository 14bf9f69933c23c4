"""Complete a cache: try failed shapes again, make what is missing, or some products of what it has, and mark products complete."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cache_schema import lacking, products, spec
from cache_schema.errors import UserError
from cache_schema.files import held_token
from cache_schema.lacking import is_imported
from cache_schema.layout import texts
from cache_schema.spec import CaptionSpec, Record
from cache_schema.store import Cache
from cache_schema.terminal import counted, some
from pipeline import build, lengths, readings
from pipeline.executors import catalog as executors
from pipeline.models import IMPORTED_AGAIN, Models
from pipeline.opening import finished
from pipeline.plan import Again, Plan, Todo, drawing, rows_to_read
from pipeline.recipes import BuildConfig
from pipeline.records import not_installed, only_with, software_changes
from pipeline.sources.catalog import DatedReader, Entry, Reader
from pipeline.work import Work
from pipeline.worker import Task, Workers

SOME: Final = 5
"""Most shapes that a message names."""
OTHER_SOFTWARE: Final = "was made by other software"
"""Words of a message on a product of other software than is here. Installing that software is the remedy."""


@dataclass(frozen=True, kw_only=True)
class Retried:
    """How many shapes were tried again, and how many of them are ok now."""

    tried: int = 0
    """Number of shapes that had failed, or whose files had changed."""
    changed: int = 0
    """Number of those that were ok, and whose files had changed."""
    reread: int = 0
    """Number of those that were ok, and whose unchanged files are read otherwise by now, or may be."""
    mended: int = 0
    """Number of those that are ok now."""
    left: int = 0
    """Number of failed or changed shapes that were not tried again, because their files are read otherwise than those of the cache."""


def complete(work: Work, records: Sequence[Record], task: Task, config: BuildConfig, *, every: bool, reread: bool = False) -> Retried:
    """Try failed shapes again, make what is missing, and mark products complete.

    Args:
        work: the cache, and what the command works with.
        records: the products that are wanted. Other products of the cache get the same changes.
        task: what the shape processes do.
        config: gives the batch sizes for products whose records have none.
        every: whether to try all failed shapes again, and make those anew whose files have changed since they were read; or only to try
            failed shapes again whose files have changed.
        reread: with `every`, whether to make those anew, too, whose files are read otherwise by now, or of which that is not known.

    Returns:
        How many shapes were tried again and are ok now.

    Raises:
        UserError: shapes that the cache lacks would be read otherwise than those that it has; or `every` is set and no failed shape can be
            tried again. Also the errors of `pipeline.building.build_cache`.
    """
    cache = work.cache
    again = _again(work, task, every)
    anew = changed_rows(work, task) if every else []
    otherwise = sorted(set(readings.rows_read_otherwise(cache, task.reader, work.entries)) - set(anew)) if reread else []
    again = _with(cache, again, [*anew, *otherwise])
    again, clashing, mixed = (again, 0, "") if reread else _unmixed(work, records, task, again)
    anew = [row for row in anew if row in again.get(row // cache.manifest.shard, ())]
    theirs = bool(again) and not cache.owns(products.STATUS.name)
    others, reasons = _others(work, records, task, bool(again) and not theirs)
    if theirs:
        reasons.insert(0, f"they belong to the shared cache {cache.home}; `mmpd-cache retry {cache.home}` tries them there")
    rest = [record for record in others if not record.complete]  # an overlay's own, which lack new shapes of its shared cache
    refused = every and not (rest and cache.below is not None)
    if mixed:
        _keep_from(work, clashing, mixed, refused and not again)
    if reasons:
        again = _kept_from(work, again, reasons, refused, len(anew) + len(otherwise))
    if again and otherwise:
        readings.mixing(cache)
        others = [cache.records()[record.product] for record in others]
    records = products.in_order([*records, *others])
    made = [record for record in records if again or products.of(record) is products.VIEWS or cache.missing(record)]
    plan = _plan(work, records, drawing(task, cache, made), config.image_batch, config.caption_batch)
    found = dataclasses.replace(_retry(work, plan, again, len(anew), len(otherwise)) if again else Retried(), left=clashing)
    executors.run(work, Todo(cache, plan))
    now = cache.records()
    changed = {record.product for record in made}
    for record in records:
        counted_in = lacking.counted(cache, now[record.product])
        # A kill may have come after the last shard and before the count. What was complete before is compared with its digest.
        again_counted = record.product in changed or not record.complete
        cache.finish(lengths.measured(work, counted_in) if again_counted else counted_in)
    if reread and cache.owns(products.POINTS.name):
        readings.renew(cache, task.reader, work.entries)
    _remind_of_guides(work, now.values())
    return found


def complete_stored(work: Work, records: Sequence[Record], batch: int, task: Task | None = None) -> None:
    """Make products from other products of a cache, and mark them complete.

    Args:
        work: the cache, and what the command works with.
        records: the products. They are begun.
        batch: number of pictures or texts in a forward pass, for products whose records have none.
        task: makes what the products need and the cache lacks: depth, or what a source states. None if nothing lacks.

    Raises:
        UserError: a model gives what cannot be stored, depth that is drawn again does not fit the stored views, the dask scheduler is
            lost, or another command takes over. Finished shards are kept.
    """
    cache = work.cache
    plan = plan_stored(work, records, batch, task)
    executors.run(work, Todo(cache, plan, {record.product: set(cache.missing(record)) for record in records}))
    for record in records:
        cache.finish(lengths.measured(work, lacking.counted(cache, record)))


def plan_stored(work: Work, records: Sequence[Record], batch: int, task: Task | None = None) -> Plan:
    """Return the plan to make products from the finished products of a cache. Arguments as in `complete_stored`, but the products need
    not be begun."""
    there = finished(work.cache)
    views = [record for record in there.values() if products.of(record) is products.VIEWS]
    needed = (*there.values(), *(record for record in records if record.product not in there))
    return _plan(work, needed, None if task is None else drawing(task, work.cache, [*views, *records]), batch, batch)


def _plan(work: Work, records: Sequence[Record], task: Task | None, image_batch: int, caption_batch: int) -> Plan:
    """Return the plan to make some of `records` where the command works. `task` is what the shape processes do."""
    return Plan(
        path=work.cache.path.absolute(),
        records=tuple(records),
        task=task,
        devices=executors.devices(work.machine),
        image_batch=image_batch,
        caption_batch=caption_batch,
        token=held_token(work.cache.path),
        places=tuple(sorted(work.models.places.items())),
        servers=tuple(work.models.servers.items()),
    )


def _unmixed(work: Work, records: Sequence[Record], task: Task, again: Again) -> tuple[Again, int, str]:
    """Refuse to make what is missing, or leave failed shapes out, if they would put shapes of two readings into a cache.

    Returns:
        The shapes that can be tried again, the number of the others, and which ones these are and what to do; empty if there are none.

    Raises:
        UserError: shapes that the cache lacks would be read otherwise than those that it has.
    """
    cache, there = work.cache, {record.product: record for record in (*work.cache.records().values(), *records)}
    lacking_rows = rows_to_read(cache, [record for record in there.values() if cache.owns(record.product)])
    tried = [row for rows in again.values() for row in rows]
    lacks, retried = ([work.entries[row] for row in rows] for rows in (lacking_rows, tried))
    readings.refuse_other(cache, task.reader, lacks, "go on with the version that began it, or build into another path")
    readings.tell_unknown(cache, task.reader, [*lacks, *retried], work.terminal.say)
    clashing = {entry.id for entry in readings.clashing(cache, task.reader, retried)}
    if not clashing:
        return again, 0, ""
    left = {shard: [row for row in rows if work.entries[row].id not in clashing] for shard, rows in again.items()}
    why = f"{readings.clash(cache, task.reader, retried)}. {readings.remedy(cache)}"
    return {shard: rows for shard, rows in left.items() if rows}, len(clashing), why


def _keep_from(work: Work, number: int, why: str, refused: bool) -> None:
    """Say which failed or changed shapes are left as they are while the others are tried again.

    Raises:
        UserError: `refused`: there are no others.
    """
    if refused:
        raise UserError(f"{work.cache.path}: {counted(number, 'failed or changed shape')} cannot be tried again: {why}")
    work.terminal.say(f"{counted(number, 'failed or changed shape')} {'is' if number == 1 else 'are'} not tried again: {why}")


def _kept_from(work: Work, again: Again, reasons: Sequence[str], every: bool, anew: int) -> Again:
    """Say why shapes are not tried again, or why products stay unfinished. Returns an empty `Again`.

    Raises:
        UserError: `every` asks for all failed shapes, and there are some.
    """
    number, why = sum(map(len, again.values())), "; ".join(reasons)
    if any(OTHER_SOFTWARE in reason for reason in reasons):
        why = f"{why}. Install what made the cache, or build it anew elsewhere"
    if not again:
        work.terminal.say(f"left unfinished: {why}")
    elif every:
        what = "failed or changed shape" if anew else "failed shape"
        raise UserError(f"{work.cache.path}: {counted(number, what)} cannot be tried again: {why}")
    else:
        are = "is" if number == 1 else "are"
        work.terminal.say(f"{counted(number, 'failed shape')} {are} not tried again, though files may be others by now: {why}")
    return {}


def _retry(work: Work, plan: Plan, again: Again, anew: int, reread: int) -> Retried:
    """Try shapes again, and say how many are ok that had failed because their files changed. Of those that were ok, the files of `anew`
    changed, and those of `reread` are read otherwise."""
    cache, terminal = work.cache, work.terminal
    tried = sum(map(len, again.values()))
    if failed := tried - anew - reread:
        terminal.say(f"trying {failed} failed shape{'s' * (failed != 1)} again")
    if reread:
        terminal.say(f"making {counted(reread, 'shape')} anew whose files may be read otherwise by now")
    if anew:
        terminal.say(f"making {anew} shape{'s' * (anew != 1)} anew whose file has changed")
    changed = _changed(cache, again)
    found = Retried(tried=tried, changed=anew, reread=reread, mended=executors.retry(work, plan, again))
    if changed and (taken := int(cache.ok()[changed].sum())):
        terminal.say(
            f"{taken} shape{'s' * (taken != 1)} had failed because of files that changed after the points were made: "
            "made again from the files as they are now"
        )
    return found


def _remind_of_guides(work: Work, records: Iterable[Record]) -> None:
    """Say how to finish unfinished guides."""
    for record in records:
        if products.of(record) is products.GUIDE and not record.complete:
            name = products.parts(record)["guide"]
            work.terminal.say(
                f"{record.product} is not finished: run `mmpd-train guide {work.cache.path.name} RUN --name {name}` with the run it is of"
            )


def _again(work: Work, task: Task, every: bool) -> Again:
    """Find the failed shapes to try again: all of them, or those whose own file has changed since.

    A shape that failed because of another file next to its own is tried again each time, because the digest recorded for it never equals
    the digest of its own file alone (see `pipeline.worker.Made`).
    """
    cache = work.cache
    record = cache.records().get(products.STATUS.name)
    found: Again = {}
    done = set(range(cache.manifest.shards)) - set(cache.missing(record)) if record else set()
    for shard in sorted(done):
        failed = (cache.shard_rows(cache.node("status"), shard, record) == spec.FAILED).nonzero()[0].tolist()
        if not failed:  # as in nearly all of thousands of shards: the other arrays need not be read
            continue
        status = build.stored_status(cache, shard)
        first = cache.manifest.rows(shard).start
        for row in failed:
            if every or _digest(task.reader, work.entries[first + row]) != status["source_sha256"][row].tobytes():
                found.setdefault(shard, []).append(first + row)
    return found


def _with(cache: Cache, again: Again, rows: Sequence[int]) -> Again:
    """Add rows to those that are tried again."""
    found = {shard: list(mine) for shard, mine in again.items()}
    for row in rows:
        found.setdefault(row // cache.manifest.shard, []).append(row)
    return {shard: sorted(found[shard]) for shard in sorted(found)}


def changed_rows(work: Work, task: Task) -> list[int]:
    """Find the shapes that are ok and whose own files have changed since they were read.

    A file is compared only if it was written or moved after the shard of its shape was finished, so a finished cache costs one `stat` for
    each shape. A change of another file that a shape names, such as a texture, is not found, nor one that is older than the cache's own
    files, because the cache was copied afterwards.

    Returns:
        The rows, in order. Empty for sources that do not keep each shape in a file of its own.
    """
    cache = work.cache
    record = cache.records().get(products.STATUS.name)
    if record is None or not isinstance(task.reader, DatedReader):
        return []
    marker, late = products.markers(cache.manifest, record), list[int]()
    for shard in sorted(set(range(cache.manifest.shards)) - set(cache.missing(record))):
        since = cache.file(marker.key(shard)).stat().st_mtime
        rows = cache.manifest.rows(shard)
        newer = [row for row in rows if task.reader.written(work.entries[row]) >= since]
        if newer:
            status = build.stored_status(cache, shard)
            for row in newer:
                at = row - rows.start
                known = status["source_sha256"][at].tobytes()
                if status["status"][at] == spec.OK and _digest(task.reader, work.entries[row]) != known:
                    late.append(row)
    return _read_otherwise(work, task, late) if late else []


def _read_otherwise(work: Work, task: Task, rows: Sequence[int]) -> list[int]:
    """Select the rows whose digests are not those in the cache, among shapes that may have been read from several files. They are read."""
    known = work.cache.column("source_sha256")[list(rows)]
    with Workers(dataclasses.replace(task, views=None, boxes=None, pictures=(), sampled=False), work.machine.processes()) as pool:
        made = [future.result() for future in [pool.submit(work.entries[row]) for row in rows]]
    return [row for row, one, before in zip(rows, made, known, strict=True) if one.reason or one.source_sha256 != before.tobytes()]


def tell_changed(work: Work, task: Task) -> bool:
    """Say which shapes are in a cache as their files were, and not as they are now. Returns whether there are any."""
    rows = changed_rows(work, task)
    if rows:
        again = f"`mmpd-cache retry {work.cache.path}` makes what changed anew{only_with(work.cache.records().values())}"
        names = some([work.entries[row].id for row in rows], SOME)
        whose = f"the file{'s' * (len(rows) > 1)} of {counted(len(rows), 'shape')}"
        work.terminal.say(
            f"Warning: {whose} changed after the cache was made, which keeps what was there before: {names}. "
            f"{again}; or build into another path"
        )
    return bool(rows)


def _changed(cache: Cache, again: Again) -> list[int]:
    """Select the rows that failed because their files had changed since their points were made."""
    rows = [row for mine in again.values() for row in mine]
    reasons = texts(cache.column("reason")[rows])
    return [row for row, reason in zip(rows, reasons, strict=True) if reason.startswith(build.CHANGED)]


def _digest(reader: Reader, entry: Entry) -> bytes:
    """Return the sha256 of a shape's own file; zeros if the file cannot be read."""
    try:
        return reader.digest(entry)
    except (UserError, OSError):
        return bytes(32)


def _others(work: Work, records: Sequence[Record], task: Task, again: bool) -> tuple[list[Record], list[str]]:
    """Find the other products of the same shapes. They are needed as inputs, or are unfinished, or must change with shapes that are tried
    again. Nothing is written.

    Args:
        work: the cache, and what the command works with.
        records: the products that are wanted.
        task: what the shape processes do.
        again: whether failed shapes are to be tried again.

    Returns:
        The records, and the reasons why shapes cannot be tried again.
    """
    cache, models = work.cache, work.models
    mine = {record.product for record in records}
    there = [r for r in cache.records().values() if products.of(r).origin in ("files", "cache") and r.product not in mine]
    there = [r for r in there if r.complete or cache.owns(r.product)]  # an overlay leaves to the shared cache what is begun there
    reasons: list[str] = []
    if again:
        drawn = executors.renderer(task, work.machine) if products.VIEWS.name in cache.records() else ""
        reasons += [f"{record.product}: {IMPORTED_AGAIN}" for record in there if is_imported(record)]
        for record in (*(r for r in records if r.complete), *(r for r in there if not is_imported(r))):
            changes = software_changes(record, renderer=drawn, device=models.device)
            if changes:
                reasons.append(f"{record.product} {OTHER_SOFTWARE} ({', '.join(changes)})")
    found = []
    unfinished = {record.product for record in there if is_imported(record) and not record.complete}
    for record in there:
        if record.complete and not again:
            # It does not change, but other products may be made from it.
            found.append(record)
            continue
        if is_imported(record):
            continue  # the command that brings it goes on with it
        if brought := sorted(unfinished & set(products.needs(record, cache.manifest.format_version))):
            reasons.append(f"{record.product} is made from {brought[0]}: {IMPORTED_AGAIN}")
            continue
        try:
            _load_for(record, models)
        except UserError as error:
            reasons.append(f"{record.product} cannot be made here: {error}")
            continue
        found.append(record)
    return found, reasons


def hindrance(record: Record, models: Models, renderer: str) -> str:
    """Say why a product from files or from a cache cannot be made on this machine as it was made; empty if it can.

    Args:
        record: the product.
        models: the models of this process. Those that the product needs are loaded.
        renderer: the name of the driver that would draw.
    """
    try:
        _load_for(record, models)
    except (UserError, ModuleNotFoundError) as error:
        return ". ".join(filter(None, (str(error), not_installed(record))))
    drawn = renderer if products.of(record) in (products.VIEWS, products.DENSE) else ""
    changes = software_changes(record, renderer=drawn, device=models.device)
    return f"it {OTHER_SOFTWARE} ({', '.join(changes)})" if changes else ""


def _load_for(record: Record, models: Models) -> None:
    """Load the model that makes a product, if one does."""
    if record.teacher is not None:
        models.teacher(record.teacher)
    elif isinstance(record.spec, CaptionSpec):
        models.captioner(record.spec)
