"""Run work on dask workers, or on one process per GPU of this machine. Workers must see the cache and the shapes at the same paths.

No other file imports dask. The functions that make shards are those of `executors.here`, so the bytes are the same.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from cache_schema import store
from cache_schema.errors import UserError
from cache_schema.spec import Record
from pipeline import build
from pipeline.executors import here
from pipeline.journal import Event, ShapesMade
from pipeline.models import Models
from pipeline.plan import Again, Plan, Todo
from pipeline.sources.catalog import Entry
from pipeline.work import Work
from pipeline.worker import Made, Task, Workers

if TYPE_CHECKING:
    import distributed

Costs = tuple[list[Event], dict[str, int]]
"""Result of a task: events for the journal, and units that are done, by product."""


def check_address(address: str) -> None:
    """Refuse a malformed address of a scheduler. An empty one means no scheduler.

    Raises:
        UserError: the address is malformed.
    """
    if not address:
        return
    from distributed.comm.addressing import get_address_host_port, parse_address
    from distributed.comm.registry import get_backend

    try:
        scheme, _ = parse_address(address)
        get_backend(scheme)
        if scheme in ("tcp", "tls"):
            get_address_host_port(address)
    except ValueError as error:
        raise UserError(f"{address!r} is no address of a dask scheduler ({error}): expected tcp://HOST:PORT") from error


def renderer(task: Task, address: str) -> str:
    """Name the driver that draws pictures on a worker of the cluster; empty without views."""
    with _client(address) as client:
        drawn: str = client.submit(here.renderer, task, pure=False).result()
    return drawn


def run(work: Work, todo: Todo) -> None:
    """Make what is missing, and note what each shard cost.

    Raises:
        UserError: no scheduler answers, or it has no workers, or it is lost.
    """
    import distributed

    machine = work.machine
    with _cluster(machine.scheduler, todo.plan) as client:
        futures = {}
        for shard in todo.shards:
            first = None
            if rows := build.rows_drawn(work.cache, todo, shard):
                mine, again = [work.entries[row] for row in rows], todo.from_cache(shard) if todo.draws_again(shard) else []
                records = todo.from_files(shard)
                first = client.submit(_shapes_task, todo.plan, records, again, shard, list(rows), mine, machine.workers, pure=False)
                futures[first] = {"shapes": len(work.cache.manifest.rows(shard))}
                if again:
                    continue  # one task draws and embeds, so that no pictures travel between workers
            if products := todo.from_cache(shard):
                # Higher priority, so that finished pictures are embedded before more are drawn.
                second = client.submit(_embed_task, todo.plan, products, shard, first, pure=False, priority=10)
                futures[second] = {}
        for future in distributed.as_completed(list(futures), loop=client.loop):  # type: ignore[no-untyped-call]
            events, counts = future.result()
            for product, units in (futures[future] | counts).items():
                work.terminal.advance(product, units)
            for event in events:
                work.note(event)
            future.release()


def retry(work: Work, plan: Plan, again: Again) -> int:
    """Try failed shapes again, and note what each shard cost. Returns how many shapes are ok now. Raises as `run`."""
    import distributed

    mended = 0
    with _cluster(work.machine.scheduler, plan) as client:
        futures = [
            client.submit(_retry_task, plan, shard, rows, [work.entries[row] for row in rows], work.machine.workers, pure=False)
            for shard, rows in again.items()
        ]
        for future in distributed.as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]
            event, count = future.result()
            work.note(event)
            work.terminal.advance("shapes", event.shapes)
            mended += count
    return mended


# ------------------------------------------------------------------------------------------------------- the cluster


def _client(address: str) -> "distributed.Client":
    """Connect to a running scheduler. Raises the errors of `_cluster`."""
    import distributed

    check_address(address)
    try:
        client = distributed.Client(address, timeout=20, set_as_default=False)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise UserError(f"no dask scheduler answers at {address}: start one with `dask scheduler`, workers with `dask worker`") from error
    if not client.scheduler_info()["workers"]:
        client.close()  # type: ignore[no-untyped-call]
        raise UserError(f"the dask scheduler at {address} has no workers; start some with `dask worker {address}`")
    return client


@contextlib.contextmanager
def _cluster(address: str, plan: Plan) -> Iterator["distributed.Client"]:
    """Connect to a running scheduler, or start one process per device of the plan.

    Raises:
        UserError: no scheduler answers, it has no workers, or it is lost or its workers die during the work.
    """
    import distributed
    from distributed.comm.core import CommClosedError

    cluster = None
    if address:
        client = _client(address)
    else:
        cluster = distributed.LocalCluster(n_workers=len(plan.devices), threads_per_worker=2, dashboard_address=None, processes=True)  # type: ignore[no-untyped-call]
        client = distributed.Client(cluster, set_as_default=False)  # type: ignore[no-untyped-call]
    where = f"the dask scheduler at {address}" if address else "the dask cluster"
    kept = "What is done is kept; run the same command to go on"
    try:
        yield client
    except distributed.KilledWorker as error:
        raise UserError(f"workers of {where} died, again and again, at the same task: out of memory? See their logs. {kept}") from error
    except Exception as error:
        cancelled = (CancelledError, distributed.CancelledError, CommClosedError)
        if client.status == "running" and not isinstance(error, cancelled):
            raise
        raise UserError(f"{where} is lost. {kept}, with a scheduler that runs") from error
    finally:
        if client.status == "running":
            with contextlib.suppress(Exception):  # a lost worker has nothing left to close
                client.run(_let_go, plan, on_error="ignore")
        client.close(timeout=5)  # type: ignore[no-untyped-call]
        if cluster is not None:
            cluster.close()


# ---------------------------------------------------------------------------------------------------- in a dask worker


_kept: dict[Plan, tuple[Models, list[Workers]]] = {}
"""What a dask worker keeps between tasks: models and shape processes."""
_keeping = threading.Lock()


def _keep(plan: Plan) -> tuple[Models, list[Workers]]:
    """Return the models and shape processes of this worker for a plan. They are made at the first call."""
    with _keeping:
        if plan not in _kept:
            import distributed

            name = distributed.get_worker().name
            place = name if isinstance(name, int) else os.getpid()
            threads = distributed.get_worker().state.nthreads
            _kept[plan] = (Models(plan.devices[place % len(plan.devices)], dict(plan.places), threads), [])
        return _kept[plan]


def _made(plan: Plan, entries: Sequence[Entry], workers: int) -> list[Made]:
    """Make some shapes with the shape processes of this worker."""
    import distributed

    _, pools = _keep(plan)
    assert plan.task is not None
    with _keeping:
        if not pools:
            pools.append(Workers(plan.task, workers or distributed.get_worker().state.nthreads))
    return [future.result() for future in [pools[0].submit(entry) for entry in entries]]


def _shapes_task(
    plan: Plan, records: list[Record], again: list[Record], shard: int, rows: list[int], entries: list[Entry], workers: int
) -> Costs:
    """Make a shard of products that are made from files, and then of products `again`, which need what was drawn."""
    cache = store.open_cache(plan.path, token=plan.token)
    start = time.perf_counter()
    made = _made(plan, entries, workers)
    waited = time.perf_counter() - start
    lost = build.make_shapes(cache, records, shard, made) if records else []
    events, counts = _embedded(plan, again, shard, build.by_row(cache, shard, rows, made))
    return [here.cost(shard, made, waited, lost), *events], counts


def _retry_task(plan: Plan, shard: int, rows: list[int], entries: list[Entry], workers: int) -> tuple[ShapesMade, int]:
    cache = store.open_cache(plan.path, token=plan.token)
    start = time.perf_counter()
    made = _made(plan, entries, workers)
    waited = time.perf_counter() - start
    models, _ = _keep(plan)
    with models.lock:
        by_row = build.by_row(cache, shard, rows, made)
        mended = build.retry_shard(cache, plan, shard, by_row, models, lambda product, units: None)
    return here.cost(shard, made, waited), len(mended)


def _embed_task(plan: Plan, records: list[Record], shard: int, _after: object) -> Costs:
    return _embedded(plan, records, shard, {})


def _embedded(plan: Plan, records: list[Record], shard: int, drawn: Mapping[int, Made]) -> Costs:
    models, _ = _keep(plan)
    counts: dict[str, int] = {}
    events: list[Event] = []

    def advance(product: str, units: int) -> None:
        counts[product] = counts.get(product, 0) + units

    here.embed(store.open_cache(plan.path, token=plan.token), plan, records, shard, models, advance, events.append, drawn)
    return events, counts


def _let_go(plan: Plan) -> None:
    """End the shape processes of this worker for a plan, and forget its models."""
    with _keeping:
        if plan in _kept:
            for pool in _kept.pop(plan)[1]:
                pool.__exit__()
