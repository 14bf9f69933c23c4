"""Run work on dask workers, or on one process per GPU of this machine. Workers must see the cache and the shapes at the same paths.

Only this file and `executors.slurm` import dask. The functions that make shards are those of `executors.here`, so the bytes are the same.

A task may run twice: its worker is taken for dead and goes on, or the command is killed and begins anew while the task runs. So each task
claims its shard when it begins (`cache_schema.files.claim`), leaves out what is there, and writes nothing once its claim or the hold of
the cache has ended.
"""

import contextlib
import dataclasses
import functools
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, store
from cache_schema.errors import UserError
from cache_schema.files import claim, claims, held_token, is_held, leftovers
from cache_schema.lacking import is_imported
from cache_schema.spec import CaptionSpec, Record
from cache_schema.store import Cache
from pipeline import build, graphics, waits
from pipeline.executors import here, slurm
from pipeline.formats.catalog import READINGS
from pipeline.journal import Asked, Asking, Event, ShapesMade, ShardMade
from pipeline.models import Models
from pipeline.plan import Again, Plan, Todo
from pipeline.records import software_changes
from pipeline.sources.catalog import Entry
from pipeline.work import Machine, Work
from pipeline.worker import Made, Stopped, Task, Workers

if TYPE_CHECKING:
    import distributed

Answer = TypeVar("Answer")
Costs = tuple[list[Event], dict[str, int]]
"""Result of a task: events for the journal, and units that are done, by product."""
SECONDS: Final = 20
"""Seconds in which a scheduler must answer."""
KEPT: Final = "What is done is kept; run the same command to go on"
"""What to say when a cluster is lost."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
    """What a dask worker may use of its machine. 0: as many as the worker has threads."""

    workers: int
    """Number of shape processes."""
    cores: int
    """Number of threads of models on a CPU."""

    @classmethod
    def of(cls, machine: Machine) -> "Share":
        """Return the share of each worker of a cluster."""
        cores = slurm.parsed(machine.scheduler).cores_each if slurm.is_slurm(machine.scheduler) else 0
        return cls(workers=machine.workers or cores, cores=cores)


def check_address(address: str) -> None:
    """Refuse a malformed address of a scheduler. An empty one means no scheduler.

    Raises:
        UserError: the address is malformed.
    """
    if not address:
        return
    if slurm.is_slurm(address):
        slurm.parsed(address)
        return
    from distributed.comm.addressing import get_address_host_port, parse_address
    from distributed.comm.registry import get_backend

    try:
        scheme, _ = parse_address(address)
        get_backend(scheme)
        if scheme in ("tcp", "tls"):
            get_address_host_port(address)
    except ValueError as error:
        raise UserError(
            f"{address!r} is no address of a dask scheduler ({error}): expected tcp://HOST:PORT or slurm:KEY=VALUE,..."
        ) from error


def devices(address: str, device: str) -> tuple[str, ...]:
    """Return the torch devices of a worker; `device` is `Machine.device`. A cluster of Slurm is not asked: its jobs have what they ask for.

    Raises:
        UserError: no scheduler answers, or a worker has no such device.
    """
    check_address(address)
    if slurm.is_slurm(address):
        asked = slurm.parsed(address).devices
        names = asked if device == "auto" else tuple(name.strip() for name in device.split(","))
        if not set(names) <= {"cpu", "cuda", *asked}:
            raise UserError(f"--device {device}: jobs of {address} have {', '.join(asked)}; leave --device out, or ask for GPUs by gpus=1")
        return names
    return _answer(address, Machine(device=device).devices)


def at_once(machine: Machine) -> tuple[int, int]:
    """Return the numbers of workers and of their shape processes; all that are asked for in a cluster of Slurm. Raises as `devices`."""
    if slurm.is_slurm(machine.scheduler):
        jobs = slurm.parsed(machine.scheduler)
        count = jobs.nodes * jobs.processes
        return count, count * Share.of(machine).workers
    with _client(machine.scheduler) as client:
        threads: dict[str, int] = client.nthreads()  # type: ignore[no-untyped-call]
    return len(threads), sum(machine.workers or count for count in threads.values())


def renderer(task: Task, address: str, device: str) -> str:
    """Name the driver that draws pictures on a worker of the cluster; empty without views. Raises the errors of `_cluster`."""
    return _answer(address, here.renderer, task, device)


def _answer(address: str, function: Callable[..., Answer], *arguments: object) -> Answer:
    """Call a function on a worker of the cluster at once, even if tasks of a command that was killed keep its threads busy."""
    with _client(address) as client, _told_if_lost(client, address):
        worker = next(iter(client.scheduler_info(n_workers=1)["workers"]))
        found: dict[str, Answer] = client.run(function, *arguments, workers=[worker])
    return found[worker]


def run(work: Work, todo: Todo) -> None:
    """Make what is missing, and note what each shard cost.

    Raises:
        UserError: no scheduler answers, or it has no workers, or it is lost.
    """
    import distributed

    share = Share.of(work.machine)
    with _cluster(work.machine.scheduler, todo.plan, work.entries) as client:
        noted, futures = _told(client, work, todo.plan), {}
        for shard in todo.shards:
            first = None
            if rows := build.rows_drawn(work.cache, todo, shard):
                mine, again = [work.entries[row] for row in rows], todo.from_cache(shard) if todo.draws_again(shard) else []
                arguments = (todo.plan, todo.from_files(shard), again, shard, list(rows), mine, share, _stating(work, again, shard))
                first = client.submit(_shapes_task, *arguments, pure=False, key=_key("shapes", shard))
                futures[first] = {"shapes": len(work.cache.manifest.rows(shard))}
                if again:
                    continue  # one task draws and embeds, so that no pictures travel between workers
            if made := todo.from_cache(shard):
                # Higher priority, so that finished pictures are embedded before more are drawn.
                key = _key("models", shard)
                stating = _stating(work, made, shard)
                second = client.submit(_embed_task, todo.plan, made, shard, share, first, stating, pure=False, priority=10, key=key)
                futures[second] = {}
        for future in distributed.as_completed(list(futures), loop=client.loop):  # type: ignore[no-untyped-call]
            events, counts = noted.result(future)
            slurm.progress(work.machine.scheduler)
            for product, units in (futures[future] | counts).items():
                work.terminal.advance(product, units)
            for event in events:
                noted.note(event)
            future.release()


def retry(work: Work, plan: Plan, again: Again) -> int:
    """Try failed shapes again, and note what each shard cost. Returns how many shapes are ok now. Raises as `run`."""
    import distributed

    mended, share = 0, Share.of(work.machine)
    with _cluster(work.machine.scheduler, plan, work.entries) as client:
        noted = _told(client, work, plan)
        futures = []
        for shard, rows in again.items():
            arguments = (plan, shard, rows, [work.entries[row] for row in rows], share, _stating(work, plan.from_cache(), shard))
            futures.append(client.submit(_retry_task, *arguments, pure=False, key=_key("retry", shard)))
        for future in distributed.as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]
            events, count = noted.result(future)
            slurm.progress(work.machine.scheduler)
            for event in events:
                noted.note(event)
                work.terminal.advance("shapes", event.shapes if isinstance(event, ShapesMade) else 0)
            mended += count
    return mended


def _stating(work: Work, records: Sequence[Record], shard: int) -> dict[int, Entry]:
    """Return where the source has the shapes of a shard, by row, if a worker needs it to make captions of what the source states."""
    needed = any(isinstance(record.spec, CaptionSpec) and record.spec.stated for record in records)
    return build.entries_of(work.cache, work.entries, shard) if needed else {}


def _key(what: str, shard: int) -> str:
    """Name a task, so that `_shard_of` finds its shard in an error."""
    return f"{what}-{shard}-{uuid.uuid4().hex}"


def _shard_of(key: object) -> int | None:
    found = re.fullmatch(r"[a-z]+-([0-9]+)-[0-9a-f]{32}", str(key))
    return int(found[1]) if found else None


# ------------------------------------------------------------------------------------- what workers tell while they work


class _Failed(Exception):
    """A task failed. `args`: the error, and the events of what it had done."""


class _Noted:
    """What workers tell a command besides the results of their tasks: that they begin to ask a server, and what they wait for."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._lock = threading.Lock()
        self._asked: set[tuple[str, int]] = set()
        """Product and shard of all that is known to have been asked. An `Asking` that comes later would say that this is unknown."""
        self._waits = waits.Once()

    def hear(self, told: tuple[float, object]) -> None:
        """Take one message of a worker, in the thread of the client: (time, what `_tell` was given)."""
        match told[1]:
            case ["asking", str(product), int(shard)]:
                if (product, shard) not in self._asked:
                    self.note(Asking(product=product, shard=shard))
            case ["wait", str(why), float(seconds)]:
                self._waits.tell(why, seconds)

    def note(self, event: Event) -> None:
        """Write one event to the journal. The threads of this process and of the client may do so."""
        with self._lock:
            self.work.note(event)

    def result(self, future: "distributed.Future[tuple[list[Event], Answer]]") -> tuple[list[Event], Answer]:
        """Return the result of a task. If it failed, note what it had asked, and raise its error."""
        try:
            events, answer = future.result()
        except _Failed as failed:
            error, events = failed.args
            self._known(events)
            for event in events:
                self.note(event)
            raise error from None
        self._known(events)
        return events, answer

    def _known(self, events: Sequence[Event]) -> None:
        self._asked |= {(event.product, event.shard) for event in events if isinstance(event, Asked | ShardMade)}


def _told(client: "distributed.Client", work: Work, plan: Plan) -> _Noted:
    """Hear what workers tell while they work on a plan, until the client ends."""
    noted = _Noted(work)
    client.subscribe_topic(_topic(plan), noted.hear)  # type: ignore[no-untyped-call]
    return noted


def _topic(plan: Plan) -> str:
    return f"mmpd-{plan.token}"


@contextlib.contextmanager
def _noting(plan: Plan, share: Share) -> Iterator[tuple[list[Event], Callable[[Event], None]]]:
    """Collect the events of a task in a worker. The command learns at once that a server is being asked, and what is waited for.

    Yields:
        The events so far, and the function that notes one.

    Raises:
        _Failed: the task failed.
    """
    import distributed

    events, tell = list[Event](), functools.partial(distributed.get_worker().log_event, _topic(plan))

    def note(event: Event) -> None:
        if isinstance(event, Asking):
            tell(["asking", event.product, event.shard])
        else:
            events.append(event)

    with waits.heard(lambda why, seconds: tell(["wait", why, seconds])):
        try:
            yield events, note
        except UserError as error:
            raise _Failed(error, _here(events, plan, share)) from error


# ------------------------------------------------------------------------------------------------------- the cluster


@contextlib.contextmanager
def _client(address: str) -> Iterator["distributed.Client"]:
    """Connect to a scheduler that runs, or to one of Slurm that is started. Raises the errors of `_cluster`."""
    import distributed

    if slurm.is_slurm(address):
        with slurm.connected(address) as client:
            yield client
        return
    check_address(address)
    try:
        client = distributed.Client(address, timeout=SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise UserError(f"no dask scheduler answers at {address}: start one with `dask scheduler`, workers with `dask worker`") from error
    try:
        if not client.scheduler_info()["workers"]:
            raise UserError(f"the dask scheduler at {address} has no workers; start some with `dask worker {address}`")
        yield client
    finally:
        client.close(timeout=5)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _of_this_machine(count: int) -> Iterator["distributed.Client"]:
    """Start some worker processes here. They end with the block."""
    import distributed

    cluster = distributed.LocalCluster(n_workers=count, threads_per_worker=2, dashboard_address="127.0.0.1:0", processes=True)  # type: ignore[no-untyped-call]
    client = distributed.Client(cluster, set_as_default=False)  # type: ignore[no-untyped-call]
    try:
        yield client
    finally:
        client.close(timeout=5)  # type: ignore[no-untyped-call]
        cluster.close()


@contextlib.contextmanager
def _cluster(address: str, plan: Plan, entries: Sequence[Entry]) -> Iterator["distributed.Client"]:
    """Connect to a running scheduler, or start one process per device of the plan. `entries` are all shapes, which an error may name.

    Raises:
        UserError: no scheduler answers, it has no workers, or it is lost or its workers die during the work.
    """
    import distributed

    with _client(address) if address else _of_this_machine(len(plan.devices)) as client:
        try:
            with _told_if_lost(client, address):
                yield client
            for leftover in leftovers(plan.path):  # of workers that were killed while they wrote
                leftover.unlink(missing_ok=True)
        except distributed.KilledWorker as error:
            raise UserError(_killed(error.task, _name(address), plan, entries, slurm.logs(address))) from error
        finally:
            if client.status == "running":
                with contextlib.suppress(Exception):  # a lost worker has nothing left to close
                    client.run(_let_go, plan, on_error="ignore")


@contextlib.contextmanager
def _told_if_lost(client: "distributed.Client", address: str) -> Iterator[None]:
    """Turn the many errors of a lost scheduler into one that says what to do."""
    import distributed
    from distributed.comm.core import CommClosedError

    try:
        yield
    except distributed.KilledWorker:
        raise
    except Exception as error:
        cancelled = (CancelledError, distributed.CancelledError, CommClosedError)
        if client.status == "running" and not isinstance(error, cancelled):
            raise
        raise UserError(f"{_name(address)} is lost. {KEPT}, with a scheduler that runs") from error


def _name(address: str) -> str:
    if slurm.is_slurm(address):
        return f"the cluster {address}"
    return f"the dask scheduler at {address}" if address else "the dask cluster"


def _killed(task: object, where: str, plan: Plan, entries: Sequence[Entry], logs: object) -> str:
    """Say which shards workers died of."""
    cache = store.open_cache(plan.path)
    named = []
    for shard in _suspects(cache, plan, task):
        rows = cache.manifest.rows(shard)
        named.append(f"shard {shard}" + (f" (shapes {entries[rows.start].id} to {entries[rows.stop - 1].id})" if entries else ""))
    kept = f"Their logs are in {logs}. {KEPT}" if logs else f"See their logs. {KEPT}"
    return f"workers of {where} died, again and again, at {' or '.join(named) or 'the same task'}: out of memory? {kept}"


def _suspects(cache: Cache, plan: Plan, task: object) -> list[int]:
    """Return the shards that were begun most often and are not done. Dask blames tasks that waited on the same worker, too."""
    begun = claims(plan.path)
    tries = {shard: begun[_part(shard)] for shard in range(cache.manifest.shards) if not all(cache.has(r, shard) for r in plan.records)}
    most = max(tries.values(), default=0)
    blamed = _shard_of(task)
    return [shard for shard, count in tries.items() if count == most][:3] if most else [blamed] if blamed is not None else []


# ---------------------------------------------------------------------------------------------------- in a dask worker


_kept: dict[Plan, tuple[Models, list[Workers]]] = {}
"""What a dask worker keeps between tasks: models and shape processes."""
_keeping = threading.Lock()


def _keep(plan: Plan, share: Share) -> tuple[Models, list[Workers]]:
    """Return the models and shape processes of this worker for a plan. They are made at the first call, which checks the machine."""
    with _keeping:
        if plan not in _kept:
            import distributed

            device = plan.devices[_place(distributed.get_worker().name) % len(plan.devices)]
            _check_machine(plan, device)
            threads = share.cores or distributed.get_worker().state.nthreads
            _kept[plan] = (Models(device, dict(plan.places), threads, dict(plan.servers)), [])
        return _kept[plan]


def _place(name: object) -> int:
    """Number of a worker among those of its machine, by its name: a number, or that of a worker in a job of Slurm."""
    if isinstance(name, int):
        return name
    ends = re.fullmatch(r".*-([0-9]{1,4})", str(name))
    return int(ends[1]) if ends else os.getpid()


def _check_machine(plan: Plan, device: str) -> None:
    """Refuse a machine that cannot do its part of a plan, or would do it otherwise than the record of a product says.

    Raises:
        UserError: it does not see the cache or its lock, lacks the device, or has other software.
    """
    me = platform.node()
    if not plan.path.is_dir():
        raise UserError(f"{me} does not see {plan.path}: all machines of a cluster must see the cache at the same path")
    if held_token(plan.path) == plan.token and not is_held(plan.path):
        raise UserError(
            f"{me} does not see that {plan.path} is locked, so two commands could write to it at once: its file system passes no locks "
            "from machine to machine (NFS with nolock or local_lock, Lustre without flock). Mount it with locks, or build on one machine"
        )
    Machine(device=device).devices()
    if differ := [f"{name} {there}, here {READINGS.get(name)}" for name, there in plan.readings if READINGS.get(name) != there]:
        raise UserError(f"{me} has another version of this software, which reads files otherwise ({', '.join(differ)}): install the same")
    for record in plan.records:
        if not record.complete and not is_imported(record):
            drawn = dict(record.made_by).get("renderer", "")
            if changes := software_changes(record, renderer=drawn, device=device):
                raise UserError(f"{me} has other software than the machine of this command, for {record.product}: {', '.join(changes)}")


def _made(plan: Plan, entries: Sequence[Entry], share: Share, poses: Sequence[NDArray[np.float32] | None]) -> list[Made]:
    """Make some shapes with the shape processes of this worker, seen from some cameras; see `Workers.submit`."""
    import distributed

    models, pools = _keep(plan, share)
    assert plan.task is not None
    with _keeping:
        if not pools:
            count = share.workers or distributed.get_worker().state.nthreads
            pools.append(Workers(plan.task, count, graphics.environment(models.device)))
            _check_driver(plan, pools[0])
    try:
        return [future.result() for future in [pools[0].submit(*one) for one in zip(entries, poses, strict=True)]]
    except (Stopped, CancelledError) as stopped:
        raise distributed.Reschedule from stopped  # this worker ends; another one makes the shard


def _check_driver(plan: Plan, pool: Workers) -> None:
    """Refuse to draw with another driver than the record of the views says, unless the views are there."""
    for record in plan.of_kind(products.VIEWS):
        said = dict(record.made_by).get("renderer", "")
        if not record.complete and said != (found := pool.renderer()):
            raise UserError(f"{platform.node()} would draw with {found}, and the views of {plan.path} are drawn with {said}")


def _part(shard: int) -> str:
    return f"shard-{shard}"


def _claimed(plan: Plan, shard: int) -> Cache:
    """Open the cache to make one shard of it. Earlier tasks that make this shard write nothing from now on."""
    return store.open_cache(plan.path, token=claim(plan.path, plan.token, _part(shard)))


def _shapes_task(
    plan: Plan,
    records: list[Record],
    again: list[Record],
    shard: int,
    rows: list[int],
    entries: list[Entry],
    share: Share,
    stating: dict[int, Entry],
) -> Costs:
    """Make a shard of products that are made from files, and then of products `again`, which need what was drawn."""
    _keep(plan, share)
    cache = _claimed(plan, shard)
    if all(products.of(record) is not products.STATUS or cache.has(record, shard) for record in records):
        records = [record for record in records if not cache.has(record, shard)]  # a task before this one made the others
    if not records and all(cache.has(record, shard) for record in again):
        return [], {}
    start = time.perf_counter()
    todo = Todo(cache, plan, {record.product: {shard} for record in (*records, *again)})
    made = _made(plan, entries, share, build.stored_poses(cache, todo, shard, rows))
    waited = time.perf_counter() - start
    lost = build.make_shapes(cache, records, shard, made) if records else []
    events, counts = _embedded(cache, plan, again, shard, share, build.by_row(cache, shard, rows, made), stating)
    return [*_here([here.cost(shard, made, waited, lost)], plan, share), *events], counts


def _retry_task(
    plan: Plan, shard: int, rows: list[int], entries: list[Entry], share: Share, stating: dict[int, Entry]
) -> tuple[list[Event], int]:
    models, _ = _keep(plan, share)
    cache = _claimed(plan, shard)
    start = time.perf_counter()
    made = _made(plan, entries, share, [None] * len(entries))
    waited = time.perf_counter() - start
    with _noting(plan, share) as (events, note):
        by_row = build.by_row(cache, shard, rows, made)
        mended = here.retry_shard(cache, plan, shard, by_row, models, lambda product, units: None, note, stating)
    return _here([*events, here.cost(shard, made, waited)], plan, share), mended


def _embed_task(plan: Plan, records: list[Record], shard: int, share: Share, _after: object, stating: dict[int, Entry]) -> Costs:
    _keep(plan, share)
    return _embedded(_claimed(plan, shard), plan, records, shard, share, {}, stating)


def _embedded(
    cache: Cache, plan: Plan, records: Sequence[Record], shard: int, share: Share, drawn: Mapping[int, Made], stating: Mapping[int, Entry]
) -> tuple[list[Event], dict[str, int]]:
    models, _ = _keep(plan, share)
    counts: dict[str, int] = {}

    def advance(product: str, units: int) -> None:
        counts[product] = counts.get(product, 0) + units

    left = [record for record in records if not cache.has(record, shard)]
    with _noting(plan, share) as (events, note):
        here.embed(cache, plan, left, shard, models, advance, note, drawn, stating)
    return _here(events, plan, share), counts


def _here(events: Sequence[Event], plan: Plan, share: Share) -> list[Event]:
    """Note on the cost of a shard which machine it was made on."""
    kind = Machine(device=_keep(plan, share)[0].device).kind()
    return [dataclasses.replace(event, machine=kind) if isinstance(event, ShapesMade | ShardMade | Asked) else event for event in events]


def _let_go(plan: Plan) -> None:
    """End the shape processes of this worker for a plan, and forget its models."""
    with _keeping:
        if plan in _kept:
            for pool in _kept.pop(plan)[1]:
                pool.__exit__()
