"""Where the work of `pipeline.build` runs: in this process with shape processes beside it, or on dask workers.

Either way every shard without a completion marker is made once, by the same functions, and the bytes are the same. While
a teacher is at work on one shard, the next ones are being drawn. The only file that imports dask.
"""

import contextlib
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Final

from cache_schema import store
from cache_schema.errors import UserError
from cache_schema.spec import Record
from cache_schema.store import Cache
from pipeline import build
from pipeline.build import Advance, Models, Plan
from pipeline.sources.catalog import Entry
from pipeline.worker import Made, Task, Workers

if TYPE_CHECKING:
    import distributed

AHEAD: Final = 2
"""Shards being drawn or waiting while one is embedded."""

Note = Callable[[dict[str, Any]], None]
"""Told what each shard cost, for the journal."""


class Todo:
    """What a plan still lacks, by shard."""

    def __init__(self, cache: Cache, plan: Plan, only: dict[str, set[int]] | None = None) -> None:
        """`only` names shards of products instead: those to make again, or of new products alone."""
        lacking = {record.product: set(cache.missing(record)) for record in plan.records}
        if only is not None:
            lacking = {product: set(only.get(product, ())) for product in lacking}
        else:
            # Without its status a shard's shapes are not known to be those of an earlier attempt: all is made again.
            for record in plan.of_kind(*build.FROM_FILES):
                lacking[record.product] |= lacking.get("status", set())
        self.plan = plan
        self.lacking = lacking
        self.shards = sorted(set().union(*lacking.values())) if lacking else []

    def from_files(self, shard: int) -> list[Record]:
        return [r for r in self.plan.of_kind(*build.FROM_FILES) if shard in self.lacking[r.product]]

    def from_cache(self, shard: int) -> list[Record]:
        return [r for r in self.plan.of_kind("image", "captions", "text") if shard in self.lacking[r.product]]

    def totals(self, cache: Cache) -> dict[str, int]:
        """Units of work by product: shapes for `shapes`, views or texts for the others."""
        totals = {}
        shapes = [len(cache.manifest.rows(s)) for s in self.shards if self.from_files(s)]
        if shapes:
            totals["shapes"] = sum(shapes)
        for record in self.plan.of_kind("image", "captions", "text"):
            rows = sum(len(cache.manifest.rows(s)) for s in self.lacking[record.product])
            if rows:
                totals[record.product] = rows * record.per_shape
        return totals


# ---------------------------------------------------------------------------------------------------------------- here


def run_here(cache: Cache, todo: Todo, entries: Sequence[Entry], models: Models, workers: int, advance: Advance, note: Note) -> None:
    """Make what is missing, with `workers` shape processes and the models in this one.

    Args:
        cache: to write to; held with `store.exclusive`.
        todo: what to make.
        entries: every shape, by row; may be empty if nothing is made from files.
        models: loaded models.
        workers: number of shape processes.
        advance: told of progress.
        note: told what each shard cost.
    """
    drawn = [shard for shard in todo.shards if todo.from_files(shard)]
    if not drawn:
        for shard in todo.shards:
            _embed(cache, todo.plan, todo.from_cache(shard), shard, models, advance, note)
        return
    assert todo.plan.task is not None
    with Workers(todo.plan.task, workers) as pool:
        ahead = _submitted({shard: cache.manifest.rows(shard) for shard in drawn}, entries, pool, advance)
        for shard in todo.shards:
            if todo.from_files(shard):
                start = time.perf_counter()
                made = [future.result() for future in next(ahead)]
                waited = time.perf_counter() - start
                lost = build.make_shapes(cache, todo.from_files(shard), shard, made)
                note(_cost(shard, made, waited, lost))
            _embed(cache, todo.plan, todo.from_cache(shard), shard, models, advance, note)


Again = dict[int, list[int]]
"""Failed shapes to try again: by shard, their rows in the cache."""


def retry_here(
    cache: Cache, plan: Plan, again: Again, entries: Sequence[Entry], models: Models, workers: int, advance: Advance, note: Note
) -> int:
    """Try failed shapes again, as `run_here` makes what is missing. Returns how many are ok now."""
    assert plan.task is not None
    mended = 0
    with Workers(plan.task, workers) as pool:
        ahead = _submitted(again, entries, pool, advance)
        for shard, rows in again.items():
            start = time.perf_counter()
            made = [future.result() for future in next(ahead)]
            waited = time.perf_counter() - start
            first = cache.manifest.rows(shard).start
            with models.lock:
                mended += len(
                    build.retry_shard(cache, plan, shard, {r - first: m for r, m in zip(rows, made, strict=True)}, models, advance)
                )
            note(_cost(shard, made, waited, ()))
    return mended


def _submitted(
    shards: Mapping[int, Sequence[int]], entries: Sequence[Entry], pool: Workers, advance: Advance
) -> Iterator[list["Future[Made]"]]:
    """The futures of some rows of one shard after another, always `AHEAD` more shards already handed to the pool."""
    waiting: deque[list[Future[Made]]] = deque()
    todo = iter(shards)
    while True:
        for shard in itertools.islice(todo, 1 + AHEAD - len(waiting)):
            futures = [pool.submit(entries[row]) for row in shards[shard]]
            for future in futures:
                future.add_done_callback(lambda _: advance("shapes", 1))
            waiting.append(futures)
        if not waiting:
            return
        yield waiting.popleft()


def _embed(cache: Cache, plan: Plan, records: Sequence[Record], shard: int, models: Models, advance: Advance, note: Note) -> None:
    """Make one shard of some products that come from what the cache holds already."""
    for record in records:
        start = time.perf_counter()
        with models.lock:
            build.make_product(cache, plan, record, shard, models, advance)
        note({"event": "shard", "product": record.product, "shard": shard, "seconds": round(time.perf_counter() - start, 4)})


def _cost(shard: int, made: Sequence[Made], waited: float, lost: Sequence[str]) -> dict[str, Any]:
    steps: dict[str, float] = {}
    for one in made:
        for step, seconds in one.seconds.items():
            steps[step] = steps.get(step, 0.0) + seconds
    rounded = {step: round(seconds, 4) for step, seconds in steps.items()}
    note = {"event": "shard", "product": "shapes", "shard": shard, "shapes": len(made), "waited": round(waited, 4), "steps": rounded}
    return note | ({"lost": list(lost)} if lost else {})


# ------------------------------------------------------------------------------------------------------- on dask workers


def check_address(address: str) -> None:
    """Raise UserError where an address of a scheduler, if one is given, cannot be one."""
    if not address:
        return
    from distributed.comm import get_address_host_port, parse_address
    from distributed.comm.registry import get_backend

    try:
        scheme, _ = parse_address(address)
        get_backend(scheme)
        if scheme in ("tcp", "tls"):
            get_address_host_port(address)
    except ValueError as error:
        raise UserError(f"{address!r} is no address of a dask scheduler ({error}): expected tcp://HOST:PORT") from error


def _client(address: str) -> "distributed.Client":
    import distributed

    check_address(address)
    try:
        client = distributed.Client(address, timeout=20, set_as_default=False)
    except OSError as error:
        raise UserError(f"no dask scheduler answers at {address}: start one with `dask scheduler`, workers with `dask worker`") from error
    if not client.scheduler_info()["workers"]:
        client.close()
        raise UserError(f"the dask scheduler at {address} has no workers; start some with `dask worker {address}`")
    return client


@contextlib.contextmanager
def _cluster(address: str, plan: Plan) -> Iterator["distributed.Client"]:
    """A client of a running scheduler, or of one process per device of the plan started here.

    Raises:
        UserError: no scheduler answers, or it has no workers; or it is lost, or its workers die, while it is at work.
    """
    import distributed

    cluster = None
    if address:
        client = _client(address)
    else:
        cluster = distributed.LocalCluster(n_workers=len(plan.devices), threads_per_worker=2, dashboard_address=None, processes=True)
        client = distributed.Client(cluster, set_as_default=False)
    where = f"the dask scheduler at {address}" if address else "the dask cluster"
    kept = "What is done is kept; run the same command to go on"
    try:
        yield client
    except distributed.KilledWorker as error:
        raise UserError(f"workers of {where} died, again and again, at the same task: out of memory? See their logs. {kept}") from error
    except Exception as error:
        cancelled = (CancelledError, distributed.CancelledError, distributed.comm.CommClosedError)
        if client.status == "running" and not isinstance(error, cancelled):
            raise
        raise UserError(f"{where} is lost. {kept}, with a scheduler that runs") from error
    finally:
        if client.status == "running":
            with contextlib.suppress(Exception):  # whatever is lost by now, the workers' own end lets go of it too
                client.run(_let_go, plan, on_error="ignore")
        client.close(timeout=5)
        if cluster is not None:
            cluster.close()


def renderer_on_cluster(task: Task, address: str) -> str:
    """What draws the pictures on the cluster's first worker; empty without views."""
    with _client(address) as client:
        return client.submit(renderer, task, pure=False).result()


def renderer(task: Task) -> str:
    """What draws the pictures on this machine; empty without views."""
    with Workers(task, 1) as workers:
        return workers.renderer()


def run_on_cluster(cache: Cache, todo: Todo, entries: Sequence[Entry], address: str, workers: int, advance: Advance, note: Note) -> None:
    """Make what is missing on dask workers that see the cache and the meshes under the same paths.

    Args:
        cache: to write to; held with `store.exclusive`.
        todo: what to make.
        entries: every shape, by row; may be empty if nothing is made from files.
        address: of a running scheduler (`tcp://...`), or empty to start one process per device of the plan here.
        workers: shape processes per dask worker; 0 for as many as the worker has threads.
        advance: told of progress.
        note: told what each shard cost.

    Raises:
        UserError: no scheduler answers, or it has no workers.
    """
    import distributed

    with _cluster(address, todo.plan) as client:
        futures = {}
        for shard in todo.shards:
            first = None
            if records := todo.from_files(shard):
                mine = [entries[row] for row in cache.manifest.rows(shard)]
                first = client.submit(_shapes_task, todo.plan, records, shard, mine, workers, pure=False)
                futures[first] = ("shapes", len(mine))
            if products := todo.from_cache(shard):
                # Higher priority: pictures that are there are embedded before more are drawn.
                second = client.submit(_embed_task, todo.plan, products, shard, first, pure=False, priority=10)
                futures[second] = ("", 0)
        for future in distributed.as_completed(list(futures), loop=client.loop):
            product, units = futures[future]
            notes, counts = future.result()
            if product:
                advance(product, units)
            for name, count in counts.items():
                advance(name, count)
            for line in notes:
                note(line)
            future.release()


def retry_on_cluster(plan: Plan, again: Again, entries: Sequence[Entry], address: str, workers: int, advance: Advance, note: Note) -> int:
    """Try failed shapes again, as `run_on_cluster` makes what is missing. Returns how many are ok now."""
    import distributed

    mended = 0
    with _cluster(address, plan) as client:
        futures = [
            client.submit(_retry_task, plan, shard, rows, [entries[row] for row in rows], workers, pure=False)
            for shard, rows in again.items()
        ]
        for future in distributed.as_completed(futures, loop=client.loop):
            line, count = future.result()
            note(line)
            advance("shapes", line["shapes"])
            mended += count
    return mended


_kept: dict[Plan, tuple[Models, list[Workers]]] = {}
"""What a dask worker keeps between tasks: models, and shape processes once it has drawn something."""
_keeping = threading.Lock()


def _keep(plan: Plan) -> tuple[Models, list[Workers]]:
    with _keeping:
        if plan not in _kept:
            import distributed

            name = distributed.get_worker().name
            place = name if isinstance(name, int) else os.getpid()
            threads = distributed.get_worker().state.nthreads
            _kept[plan] = (Models(plan.devices[place % len(plan.devices)], dict(plan.places), threads), [])
        return _kept[plan]


def _made(plan: Plan, entries: Sequence[Entry], workers: int) -> list[Made]:
    """What this worker's shape processes make of some shapes."""
    import distributed

    _, pools = _keep(plan)
    assert plan.task is not None
    with _keeping:
        if not pools:
            pools.append(Workers(plan.task, workers or distributed.get_worker().state.nthreads))
    return [future.result() for future in [pools[0].submit(entry) for entry in entries]]


def _shapes_task(plan: Plan, records: list[Record], shard: int, entries: list[Entry], workers: int) -> tuple[list[Any], dict[str, int]]:
    start = time.perf_counter()
    made = _made(plan, entries, workers)
    waited = time.perf_counter() - start
    lost = build.make_shapes(store.open_cache(plan.path, token=plan.token), records, shard, made)
    return [_cost(shard, made, waited, lost)], {}


def _retry_task(plan: Plan, shard: int, rows: list[int], entries: list[Entry], workers: int) -> tuple[dict[str, Any], int]:
    cache = store.open_cache(plan.path, token=plan.token)
    start = time.perf_counter()
    made = _made(plan, entries, workers)
    waited = time.perf_counter() - start
    models, _ = _keep(plan)
    first = cache.manifest.rows(shard).start
    with models.lock:
        by_row = {row - first: one for row, one in zip(rows, made, strict=True)}
        mended = build.retry_shard(cache, plan, shard, by_row, models, lambda product, units: None)
    return _cost(shard, made, waited, ()), len(mended)


def _embed_task(plan: Plan, records: list[Record], shard: int, _after: Any) -> tuple[list[Any], dict[str, int]]:
    models, _ = _keep(plan)
    counts: dict[str, int] = {}
    notes: list[Any] = []

    def advance(product: str, units: int) -> None:
        counts[product] = counts.get(product, 0) + units

    _embed(store.open_cache(plan.path, token=plan.token), plan, records, shard, models, advance, notes.append)
    return notes, counts


def _let_go(plan: Plan) -> None:
    with _keeping:
        if plan in _kept:
            for pool in _kept.pop(plan)[1]:
                pool.__exit__()
