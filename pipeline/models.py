"""The foundation models of one process. Each is loaded once, compared with its record, and used by several threads.

models = Models("cpu")
teacher = models.teacher(record.spec)              # loaded at the first call
for result in models.each(work, items): ...        # several items at a time, results in order
"""

import contextlib
import dataclasses
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema import products, spec
from cache_schema.errors import UserError
from cache_schema.memory import keep_freed
from cache_schema.records import differences
from cache_schema.settings import override
from cache_schema.spec import CaptionSpec, Record, Server, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from pipeline.captioners import catalog as captioners
from pipeline.captioners.catalog import Asking, Captioner
from pipeline.teachers import catalog as teachers
from pipeline.teachers.catalog import Teacher
from pipeline.teachers.patches import Grid

IMPORTED_AGAIN: Final = (
    "it was imported, and no model here makes it: remove it (`mmpd-cache remove`), then run the command that brought it again"
)
"""What to say where somebody wants an imported product to be made."""

SERVER: Final = "captions.server."
"""What `--set` writes before a setting of a captioner's server."""

Item = TypeVar("Item")
Result = TypeVar("Result")


Preprocess = Callable[[NDArray[np.uint8]], torch.Tensor]
"""Prepares a picture for a teacher: [H, W, 3] -> [3, S, S]."""
PREPARED: Final = 256 * 2**20
"""Most bytes of prepared pictures that are kept."""


class Prepared:
    """Pictures of one shard, prepared for one teacher and kept for the next one that prepares them alike. Threads may share it."""

    def __init__(self, shard: bytes, prepare: Preprocess) -> None:
        self.shard, self.prepare = shard, prepare
        self._kept: dict[int, torch.Tensor] = {}
        self._bytes = 0

    def get(self, number: int, picture: Callable[[], NDArray[np.uint8]]) -> torch.Tensor:
        """Return picture `number` of the shard, prepared. `picture` is called if it was not kept. It is kept if there is room."""
        found = self._kept.get(number)
        if found is None:
            found = self.prepare(picture())
            if self._bytes + found.nbytes <= PREPARED:
                self._kept[number] = found
                self._bytes += found.nbytes
        return found


class Models:
    """The foundation models of one process, each loaded once.

    On a CPU several threads run a model at once, and in each of them torch uses one thread only. Rounding depends on how many threads
    share one sum, and the bytes of a cache must not depend on the number of cores.
    """

    def __init__(
        self, device: str, places: Mapping[str, str] | None = None, threads: int = 0, servers: Mapping[str, Server] | None = None
    ) -> None:
        """
        Args:
            device: torch device that makes products. Workers of a cluster may have it and this process not; then its models are on the CPU.
            places: folders of local models by the digest of their weights. Records only have the names of models.
            threads: number of threads on a CPU; 0 for one more than cores.
            servers: how this command asks the servers of captioners, by fingerprint of the captions. Records only have how they were asked
                first, and a server may have moved.
        """
        self.device = device
        self.here = usable(device)
        self.places = dict(places or {})
        if self.here == "cpu":
            keep_freed()
        self.lock = threading.Lock()
        self.threads = threads or len(os.sched_getaffinity(0))
        # One thread more than cores, so that no core waits for the last batch of a shard, of which there may be an odd number.
        self.pool = ThreadPoolExecutor(threads or self.threads + 1, "model", initializer=lambda: torch.set_num_threads(1))
        self.turn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext() if self.here == "cpu" else Turns(self.here)
        """Held while a model computes: a GPU has room for few batches."""
        self._prepared: Prepared | None = None
        self._teachers: dict[str, Teacher] = {}
        self._captioners: dict[str, Captioner] = {}
        self.servers = dict(servers or {})
        self._told: dict[int, Mapping[str, float]] = {}
        self._grids: dict[tuple[str, int], Grid] = {}

    def load_teacher(self, reference: str, say: Callable[[str], None], precision: str | None = None, licence: str = "") -> Teacher:
        """Load the teacher that a user names, say so and what it cannot do, and keep it.

        Args:
            reference: see `pipeline.teachers.catalog.choice`.
            say: gets messages.
            precision: arithmetic of the teacher; None for that of the catalogue.
            licence: name of the licence of its weights; empty for that of the model's card.

        Raises:
            UserError: see `pipeline.teachers.catalog.load`.
        """
        say(f"loading teacher {reference}")
        teacher = teachers.load(reference, device=self.here, precision=precision, licence=licence)
        for note in getattr(teacher, "notes", ()):  # back ends of other packages may have none
            say(f"Note: {note}")
        self.add(teacher)
        return teacher

    def load_captioner(self, captions: CaptionSpec, say: Callable[[str], None]) -> Captioner:
        """Load the captioner that a user asks for, say so, and keep it. Raises the errors of `pipeline.captioners.catalog.load`."""
        say(f"loading captioner {captions.captioner} {captions.model}".rstrip())
        captioner = captioners.load(captions, device=self.here)
        self.add(captioner)
        return captioner

    def add(self, model: Teacher | Captioner) -> None:
        """Keep a model that is loaded already, and how its server is asked."""
        key = spec.fingerprint(model.spec)
        if isinstance(model.spec, TeacherSpec):
            self._teachers[key] = model
        else:
            self._captioners[key] = model
            self.servers[key] = model.spec.server

    def teacher(self, described: TeacherSpec) -> Teacher:
        """Return the teacher that a record describes. It is loaded at the first call.

        Raises:
            UserError: the model is not on this machine, or has other weights here.
        """
        _refuse_imported(described)
        key = spec.fingerprint(described)
        if key not in self._teachers:
            model = teachers.load(self.reference(described), device=self.here, precision=described.precision)
            self._check(model.spec, described)
            self._teachers[key] = model
        return self._teachers[key]

    def reference(self, described: TeacherSpec) -> str:
        """Return what `pipeline.teachers.catalog.load` takes for the teacher that a record describes, as it is found on this machine."""
        revision = f"@{described.revision}" if described.revision else ""
        return f"{described.name}={described.backend}:{self.places.get(described.weights, described.model)}{revision}"

    def judge(self, views: ViewSpec | None) -> str:
        """Return the reference of the teacher that chooses the views of each shape; empty if none does."""
        return "" if views is None or views.policy is None or views.policy.judge is None else self.reference(views.policy.judge)

    def patch_grid(self, described: TeacherSpec, size: int) -> Grid:
        """Where a teacher's patches lie in pictures of `size` pixels. It is found out at the first call. Raises the errors of `teacher` and
        of `Teacher.patch_grid`."""
        key = spec.fingerprint(described), size
        if key not in self._grids:
            self._grids[key] = self.teacher(described).patch_grid(size)
        return self._grids[key]

    def captioner(self, described: CaptionSpec) -> Captioner:
        """Return the captioner that a record describes. It is loaded at the first call. Raises the errors of `teacher`."""
        _refuse_imported(described)
        key = spec.fingerprint(described)
        if key not in self._captioners:
            server = self.servers.get(key, described.server)
            here = dataclasses.replace(described, model=self.places.get(described.weights, described.model), server=server)
            captioner = captioners.load(here, device=self.here)
            self._check(captioner.spec, described)
            self._captioners[key] = captioner
        return self._captioners[key]

    def asking(self, record: Record) -> Asking | None:
        """Return the captioner of a product if it asks a server; None for all other products. Raises the errors of `teacher`."""
        if not isinstance(record.spec, CaptionSpec) or record.spec.imported:
            return None
        captioner = self.captioner(record.spec)
        return captioner if isinstance(captioner, Asking) else None

    def loaded(self, record: Record) -> Asking | None:
        """Return the captioner of a product if it asks a server and is loaded."""
        captioner = self._captioners.get(spec.fingerprint(record.spec)) if isinstance(record.spec, CaptionSpec) else None
        return captioner if isinstance(captioner, Asking) else None

    def asked(self, server: Asking) -> dict[str, float]:
        """Tell what a captioner's server was asked since the last call, or since the captioner was loaded; see `Asking.used`."""
        used, before = server.used(), self._told.get(id(server), {})
        self._told[id(server)] = used
        return {name: round(value - before.get(name, 0), 6) for name, value in used.items()}

    def prepared(self, shard: bytes, prepare: Preprocess) -> Prepared:
        """Return the pictures that `prepare` has made of a shard, told by the digest of its pictures. Those of others are dropped.

        Only the same object counts as the same preparation: two that are described alike may differ in what the description leaves out.
        """
        kept = self._prepared
        if kept is None or kept.shard != shard or kept.prepare is not prepare:
            kept = self._prepared = Prepared(shard, prepare)
        return kept

    def moved(self, settings: Sequence[str], cache: Cache) -> None:
        """Ask the servers of a cache's captioners in another way than its records say: by settings such as `address=http://there/v1`.

        Raises:
            UserError: no captioner of the cache asks a server, or a setting is wrong.
        """
        found = [record.spec for record in cache.records().values() if isinstance(record.spec, CaptionSpec)]
        asking = [described for described in found if described.server.address]
        if settings and not asking:
            raise UserError(f"{SERVER}{settings[0]}: no captions of {cache.path} were written by a server, so leave it out")
        self.servers |= {spec.fingerprint(described): override(described.server, settings) for described in asking}

    def served(self, captions: CaptionSpec, cache: Cache) -> None:
        """Ask the server of captions that a cache has as the settings of a build say, if they are loaded later."""
        record = cache.records().get(products.CAPTIONS.product(captions=captions.name))
        if record is not None and captions.server.address:
            self.servers[spec.fingerprint(record.spec)] = captions.server

    @staticmethod
    def _check(loaded: TeacherSpec | CaptionSpec, described: TeacherSpec | CaptionSpec) -> None:
        if spec.fingerprint(loaded) != spec.fingerprint(described):
            raise UserError(f"{described.model} on this machine is not what made the cache: {'; '.join(differences(described, loaded))}")

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results of `work` in the order of `items`. Several items are worked on at a time, a few ahead of the caller."""
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self.pool.submit(work, item))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Turns:
    """Turns of threads that compute on a GPU, each on a CUDA stream of its own. Use it as a context manager.

    Two batches may be on the GPU at once: while a model computes on one, the pictures of the next are copied, and small kernels of a small
    model run beside each other. A GPU with little memory takes one. Results are the same, because a batch never meets another one.
    """

    LARGE: Final = 16 << 30
    """Bytes of memory from which a GPU takes two batches."""

    def __init__(self, device: str) -> None:
        place = torch.device(device)
        count = 1 + (torch.cuda.get_device_properties(place).total_memory >= self.LARGE) if place.type == "cuda" else 1
        self._free: queue.SimpleQueue[torch.cuda.Stream | None] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(torch.cuda.Stream(place) if place.type == "cuda" else None)
        self._mine = threading.local()

    def __enter__(self) -> None:
        self._mine.stream = self._free.get()
        self._mine.within = torch.cuda.stream(self._mine.stream)
        self._mine.within.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._mine.within.__exit__(*error)
        self._free.put(self._mine.stream)


def server_settings(settings: Iterable[str]) -> list[str]:
    """Return those of a command's settings that are of a captioner's server, without `captions.server.` in front."""
    return [text.strip().removeprefix(SERVER) for text in settings if text.strip().startswith(SERVER)]


def usable(device: str) -> str:
    """Return a torch device if this process has it, otherwise `cpu`."""
    try:
        torch.empty(0, device=torch.device(device))
    except (RuntimeError, AssertionError):
        return "cpu"
    return device


def _refuse_imported(described: TeacherSpec | CaptionSpec) -> None:
    """Refuse to load the model of something that was imported.

    Raises:
        UserError: it was imported.
    """
    if described.imported:
        raise UserError(f"{described.name} is told to be of {described.model}; {IMPORTED_AGAIN}")
