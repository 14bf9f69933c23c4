"""Run the models in this process, and shape processes beside it. While teachers work on one shard, the next shards are drawn."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.spec import Record
from cache_schema.store import Cache
from pipeline import build, graphics
from pipeline.build import Advance
from pipeline.journal import Asked, Asking, Event, ShapesMade, ShardMade
from pipeline.models import Models
from pipeline.plan import Again, Plan, Todo
from pipeline.sources.catalog import Entry
from pipeline.work import Machine, Work
from pipeline.worker import Made, Task, Workers, driver

REASONS: Final = 100
"""Most reasons that the journal keeps of a shard, why a server refused pictures."""
AHEAD: Final = 2
"""Number of shards that are drawn ahead while one is embedded."""


def run(work: Work, todo: Todo) -> None:
    """Make what is missing, and note what each shard cost."""
    cache, drawn = work.cache, {shard: rows for shard in todo.shards if (rows := build.rows_drawn(work.cache, todo, shard))}
    if not drawn:
        for shard in todo.shards:
            _embed_here(work, todo, shard, {})
        return
    assert todo.plan.task is not None
    with Workers(todo.plan.task, work.machine.processes(), graphics.environment(work.models.device)) as pool:
        ahead = _submitted(work, drawn, pool, lambda shard: build.stored_poses(cache, todo, shard, drawn[shard]))
        for shard in todo.shards:
            by_row: dict[int, Made] = {}
            if shard in drawn:
                start = time.perf_counter()
                made = [future.result() for future in next(ahead)]
                waited = time.perf_counter() - start
                by_row = build.by_row(cache, shard, drawn[shard], made)
                lost = build.make_shapes(cache, todo.from_files(shard), shard, made) if todo.from_files(shard) else []
                work.note(cost(shard, made, waited, lost))
                work.terminal.advance("shapes", len(cache.manifest.rows(shard)) - len(made))  # failed ones are not drawn again
            _embed_here(work, todo, shard, by_row)


def retry(work: Work, plan: Plan, again: Again) -> int:
    """Try failed shapes again, and note what each shard cost. Returns how many shapes are ok now."""
    assert plan.task is not None
    mended = 0
    with Workers(plan.task, work.machine.processes(), graphics.environment(work.models.device)) as pool:
        ahead = _submitted(work, again, pool, lambda shard: [None] * len(again[shard]))
        for shard, rows in again.items():
            start = time.perf_counter()
            made = [future.result() for future in next(ahead)]
            waited = time.perf_counter() - start
            by_row = build.by_row(work.cache, shard, rows, made)
            entries = build.entries_of(work.cache, work.entries, shard)
            mended += retry_shard(work.cache, plan, shard, by_row, work.models, work.terminal.advance, work.note, entries)
            work.note(cost(shard, made, waited))
    return mended


def retry_shard(
    cache: Cache,
    plan: Plan,
    shard: int,
    made: Mapping[int, Made],
    models: Models,
    advance: Advance,
    note: Callable[[Event], None],
    entries: Mapping[int, Entry],
) -> int:
    """Write shapes that were tried again to all products of a plan, for one shard. Returns how many are ok now.

    What this asks of a captioner's server is noted. The time is not: a shard of a few shapes would count as a whole one.
    """
    by_models = [record for record in plan.from_cache() if shard not in cache.missing(record)]
    mended, lost = build.retry_shapes(cache, shard, made)
    if mended or lost:
        for record in by_models:
            _made(cache, plan, record, shard, models, advance, note, made, entries, rows=mended + lost)
    return len(mended)


def renderer(task: Task, device: str) -> str:
    """Name the driver that draws pictures beside models on a device of this machine, as `Machine.device`; empty without views."""
    drawn = task.views is not None
    return driver(task, graphics.environment(Machine(device=device).devices()[0]) if drawn else {})


def embed(
    cache: Cache,
    plan: Plan,
    records: Sequence[Record],
    shard: int,
    models: Models,
    advance: Advance,
    note: Callable[[Event], None],
    drawn: Mapping[int, Made],
    entries: Mapping[int, Entry],
) -> None:
    """Make one shard of products that are made from other products of the cache. `drawn`, `entries`: see `build.make_product`."""
    for record in records:
        _made(cache, plan, record, shard, models, advance, note, drawn, entries)


def _made(
    cache: Cache,
    plan: Plan,
    record: Record,
    shard: int,
    models: Models,
    advance: Advance,
    note: Callable[[Event], None],
    drawn: Mapping[int, Made],
    entries: Mapping[int, Entry],
    rows: Sequence[int] | None = None,
) -> None:
    """Make one shard of a product, or some of its rows, and note what that cost. Arguments as in `build.make_product`."""
    start = time.perf_counter()
    with models.lock:
        server = models.asking(record)
        if server is not None:
            if any((first := models.asked(server)).values()):
                note(Asked(product=record.product, shard=shard, asked=first))
            note(Asking(product=record.product, shard=shard))
        try:
            build.make_product(cache, plan, record, shard, models, advance, rows, drawn, entries)
        except BaseException:
            if server is not None:  # what was asked for nothing may cost money, too
                note(Asked(product=record.product, shard=shard, asked=models.asked(server)))
            raise
        asked = {} if server is None else models.asked(server)
        refused = () if server is None else tuple(server.reasons()[:REASONS])
    if rows is None:
        seconds = round(time.perf_counter() - start, 4)
        note(ShardMade(product=record.product, shard=shard, seconds=seconds, asked=asked, refused=refused))
    elif server is not None:
        note(Asked(product=record.product, shard=shard, asked=asked, refused=refused))


def cost(shard: int, made: Sequence[Made], waited: float, lost: Sequence[str] = ()) -> ShapesMade:
    """Add up the cost of the shapes of one shard, for the journal. `waited` is in seconds."""
    steps: dict[str, float] = {}
    for one in made:
        for step, seconds in one.seconds.items():
            steps[step] = steps.get(step, 0.0) + seconds
    rounded = {step: round(seconds, 4) for step, seconds in steps.items()}
    return ShapesMade(shard=shard, shapes=len(made), waited=round(waited, 4), steps=rounded, lost=tuple(lost))


def _embed_here(work: Work, todo: Todo, shard: int, drawn: Mapping[int, Made]) -> None:
    entries = build.entries_of(work.cache, work.entries, shard)
    embed(work.cache, todo.plan, todo.from_cache(shard), shard, work.models, work.terminal.advance, work.note, drawn, entries)


def _submitted(
    work: Work, shards: Mapping[int, Sequence[int]], pool: Workers, poses: Callable[[int], Sequence[NDArray[np.float32] | None]]
) -> Iterator[list["Future[Made]"]]:
    """Yield the futures of the shapes of one shard after another. `AHEAD` more shards are always in the pool already.

    Args:
        work: what the command works with.
        shards: rows to make, by shard.
        pool: the shape processes.
        poses: gives the cameras of the rows of a shard; see `Workers.submit`.
    """
    waiting: deque[list[Future[Made]]] = deque()
    todo = iter(shards)
    while True:
        for shard in itertools.islice(todo, 1 + AHEAD - len(waiting)):
            futures = [pool.submit(work.entries[row], pose) for row, pose in zip(shards[shard], poses(shard), strict=True)]
            for future in futures:
                future.add_done_callback(lambda _: work.terminal.advance("shapes", 1))
            waiting.append(futures)
        if not waiting:
            return
        yield waiting.popleft()
