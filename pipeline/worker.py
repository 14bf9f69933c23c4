"""Read, sample and draw shapes in separate processes, because a mesh file may hang a loader, exhaust the memory or crash the GL driver.

    with Workers(task, count=2) as workers:
        result = workers.submit(entry).result()      # always an answer: values, or the reason there are none

Each process makes one GL context and gets shapes over a pipe. It has a memory limit, and the parent sets a time limit for each shape. A
process that dies is replaced. Its shape is tried once more in a new process, and then fails with the signal as its reason.
"""

import contextlib
import hashlib
import os
import pickle
import resource
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.checks import within
from cache_schema.errors import UserError
from cache_schema.layout import ArraySpec, encode_chunk
from cache_schema.products import label_array
from cache_schema.spec import BoxSpec, PointSpec, ViewSpec, fingerprint
from cache_schema.terminal import article, one_line
from pipeline.sources.catalog import Entry, Reader

if TYPE_CHECKING:
    from pipeline.choosing import Judge
    from pipeline.geometry import Geometry

_MEMORY: Final = "GiB of memory"
"""Words in the reason of a shape that needs too much memory."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits beyond which a shape fails."""

    seconds: float = 120.0
    """Seconds of wall time for reading, sampling and drawing."""
    memory_gib: float = 6.0
    """Memory of the process, in GiB."""

    def __post_init__(self) -> None:
        # A larger memory limit would overflow in the operating system.
        within("limits.seconds", self.seconds, 1.0, 86_400.0)
        within("limits.memory_gib", self.memory_gib, 0.25, 65_536.0)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to make of every shape."""

    reader: Reader
    points: PointSpec
    views: ViewSpec | None
    boxes: BoxSpec | None = None
    pictures: tuple[ArraySpec, ...] = ()
    """The compressed arrays of the views to make: `views/rgb`, perhaps `views/depth`; see `pipeline.plan.drawing`."""
    sampled: bool = True
    """Whether to sample points. False: shapes are only drawn."""
    judge: str = ""
    """Reference of the cheap teacher that `views.policy` chooses cameras by, as found on this machine; empty for none."""
    limits: Limits = Limits()
    refused: frozenset[str] = frozenset()
    """Ids of shapes that are not read, for the reason in `why`."""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Made:
    """Everything that was made of one shape, or the reason why it failed."""

    reason: str = ""
    """Why the shape failed; empty if it is ok."""
    source_sha256: bytes = bytes(32)
    """sha256 of the shape's own file, if it was read from that alone or failed. If other files were read, too: sha256 over that digest
    and `geometry.beside`. Zeros if its file or another file it needs is missing."""
    warnings: tuple[str, ...] = ()
    """What was left out or replaced in a shape that is ok; see `geometry.Mesh.warnings`."""
    colored: bool = False
    repeated: bool = False
    """Whether its file has fewer different points than a block holds."""
    xyz: NDArray[Any] | None = None
    rgb: NDArray[np.uint8] | None = None
    normal: NDArray[np.float16] | None = None
    """None if `Task.points` asks for no normals."""
    labels: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Labels of the points, by path of the array."""
    boxes: dict[str, NDArray[Any]] = field(default_factory=dict)
    """The arrays of the boxes, by path."""
    pictures: dict[str, list[bytes]] = field(default_factory=dict)
    """One encoded chunk per view, by path of the array."""
    pose: NDArray[np.float32] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent in each step."""

    @property
    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """The shape's row of each uncompressed array, by path; None if it was not made."""
        points = {"points/xyz": self.xyz, "points/rgb": self.rgb, "points/normal": self.normal}
        return {**points, **self.labels, **self.boxes, "views/pose": self.pose}


# ------------------------------------------------------------------------------------------------------ in the parent


class Stopped(UserError):
    """The shape processes were ended before a shape was made."""


class Workers:
    """A fixed number of shape processes, each served by a thread. Use it as a context manager.

    Raises:
        UserError: on the first `submit(...).result()`, if no process can make a GL context.
    """

    def __init__(self, task: Task, count: int, environment: Mapping[str, str] | None = None) -> None:
        """
        Args:
            task: what to make of every shape.
            count: number of processes.
            environment: variables that the processes get in addition to those of this one, such as those of `pipeline.graphics`.
        """
        self.task = task
        self.count = count
        self.environment = environment or {}
        self._local = threading.local()
        self._processes: set[_Process] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="shape-worker")

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for process in self._processes:
                process.popen.kill()
        self._threads.shutdown(wait=True)
        for process in self._processes:
            process.close()

    def submit(self, entry: Entry, pose: NDArray[np.float32] | None = None) -> "Future[Made]":
        """Make one shape. A fault of the shape becomes the `reason` of the result, not an exception.

        Args:
            entry: the shape.
            pose: cameras to draw it from. [V, 4, 4]. None: those of the rig, or those that are chosen among them.
        """
        return self._threads.submit(self._make, entry, pose)

    def renderer(self) -> str:
        """Name the driver that draws the pictures; empty without views."""
        return self._threads.submit(lambda: self._process().renderer).result()

    def _process(self) -> "_Process":
        process: _Process | None = getattr(self._local, "process", None)
        if process is None or process.popen.poll() is not None:
            if process is not None:
                process.close()
            process = _Process(self.task, _renderer_threads(self.count), self.environment)
            self._local.process = process
            with self._lock:
                self._processes = {p for p in self._processes if not p.closed} | {process}
        return process

    def _make(self, entry: Entry, pose: NDArray[np.float32] | None) -> Made:
        made, digest = self._attempt(entry, pose)
        if made is None and not self._closed:
            made, digest = self._attempt(entry, pose)  # the process may have been damaged by an earlier shape
        if made is not None:
            return made
        if self._closed:
            raise Stopped("the shape processes were stopped; run the same command again")  # we ended it: that is no fault of the shape
        code = self._local.process.popen.wait()
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        hint = "it ran out of memory" if code == -signal.SIGKILL else "the loader or the GL driver crashed"
        return Made(reason=f"the process that read it died ({name}), twice: {hint}", source_sha256=digest)

    def _attempt(self, entry: Entry, pose: NDArray[np.float32] | None) -> tuple[Made | None, bytes]:
        """Return the answer, or None if the process died, and the digest of the shape's file if the process had sent it."""
        process = self._process()
        digest = bytes(32)
        end = time.monotonic() + self.task.limits.seconds
        try:
            process.send((entry, pose))
            while not isinstance(answer := process.receive(max(end - time.monotonic(), 0.0)), Made):
                digest = answer
            return answer, digest
        except TimeoutError:
            process.popen.kill()
            process.popen.wait()
            reason = f"took longer than {self.task.limits.seconds:g} s to read and draw (limits.seconds)"
            return Made(reason=reason, source_sha256=digest), digest
        except (EOFError, BrokenPipeError):
            process.popen.wait()
            return None, digest


@contextlib.contextmanager
def started(count: int, environment: Mapping[str, str]) -> Iterator[None]:
    """Start `count` shape processes before there is a task for them, so that they import what draws while this process loads models. Then
    `driver` and `Workers` take them, if these ask for the same `environment`. Those that are left at the end of the block are ended."""
    new = [_popen(_renderer_threads(count), environment, "main(ahead=True)") for _ in range(count)]
    _ahead.extend(new)
    _started.update({popen: dict(environment) for popen in new})
    try:
        yield
    finally:
        for popen in new:
            del _started[popen]
            if popen in _ahead:
                _ahead.remove(popen)
                _end(popen)


_started: Final[dict["subprocess.Popen[bytes]", dict[str, str]]] = {}
"""Processes that were started ahead, in blocks that have not ended, and the variables that they got in addition."""
_ahead: Final[list["subprocess.Popen[bytes]"]] = []
"""Those of them that have nothing to do."""


def driver(task: Task, environment: Mapping[str, str]) -> str:
    """Name the driver that draws the pictures of a task; empty without views.

    Args:
        task: what the process that is asked would make.
        environment: variables that it gets in addition to those of this process, as in `Workers`.

    Raises:
        UserError: no process can make a GL context.
    """
    if task.views is not None:  # a cheap teacher draws nothing, and takes long to load
        task = replace(task, views=replace(task.views, policy=None), judge="")
    process = _Process(task, _renderer_threads(1), environment)
    if process.popen in _started:
        _ahead.append(process.popen)  # it can do another task
    else:
        process.close()
    return process.renderer


def _renderer_threads(count: int) -> int:
    """Number of threads of software GL in each of `count` processes. It takes every core by default, so several renderers share them."""
    return max(1, (os.cpu_count() or 1) // count)


def _taken(more: Mapping[str, str]) -> "subprocess.Popen[bytes] | None":
    """Take a process that was started ahead with the same variables, if there is one that lives."""
    try:
        popen = _ahead.pop()
    except IndexError:
        return None
    if popen.poll() is None and _started[popen] == dict(more):
        return popen
    _end(popen)
    return None


def _popen(threads: int, more: Mapping[str, str], call: str = "main()") -> "subprocess.Popen[bytes]":
    environment = {**os.environ, **more, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment.setdefault("LP_NUM_THREADS", str(threads))
    # Not `-m`: what goes through the pipe must be the classes of `pipeline.worker`, not of `__main__`.
    command = [sys.executable, "-P", "-c", f"from pipeline.worker import main; {call}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)


def _end(popen: "subprocess.Popen[bytes]") -> None:
    """End a process and close its pipes."""
    assert popen.stdin is not None and popen.stdout is not None
    popen.kill()
    popen.wait()
    with contextlib.suppress(OSError):  # what was not read yet cannot be flushed
        popen.stdin.close()
    popen.stdout.close()


class _Process:
    """One shape process, and the pipes to it."""

    START_SECONDS = 120.0
    MODEL_SECONDS = 900.0
    """Seconds for a start with a cheap teacher: on a busy machine torch alone takes minutes."""

    def __init__(self, task: Task, threads: int, more: Mapping[str, str]) -> None:
        self.popen = _taken(more) or _popen(threads, more)
        try:
            self.send(task)
            hello = self.receive(self.MODEL_SECONDS if task.judge else self.START_SECONDS)
        except (TimeoutError, EOFError, BrokenPipeError) as error:
            self.close()
            raise UserError(f"a shape process did not start: {error or 'it died at once'}") from error
        if isinstance(hello, Exception):
            self.close()
            raise UserError(str(hello))
        self.renderer: str = hello

    def send(self, message: Any) -> None:
        assert self.popen.stdin is not None
        _send(self.popen.stdin, message)

    def receive(self, seconds: float) -> Any:
        assert self.popen.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.popen.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise TimeoutError(f"no answer in {seconds:g} s")
        return _receive(self.popen.stdout.raw)  # type: ignore[attr-defined]  # a buffer would hide a second message from `select`

    @property
    def closed(self) -> bool:
        assert self.popen.stdout is not None
        return self.popen.stdout.closed

    def close(self) -> None:
        """End the process and close its pipes. No other thread may be reading them."""
        _end(self.popen)


def _send(pipe: IO[bytes], message: Any) -> None:
    data = pickle.dumps(message)
    pipe.write(struct.pack("<Q", len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    data = _read(pipe, struct.unpack("<Q", _read(pipe, 8))[0])
    return pickle.loads(data)  # from our own process over our own pipe


def _read(pipe: IO[bytes], size: int) -> bytes:
    parts = []
    while size:
        part = pipe.read(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


# ----------------------------------------------------------------------------------------------------- in the process


def make(
    task: Task, entry: Entry, renderer: Any, read: Callable[[bytes], None] = lambda digest: None, pose: NDArray[np.float32] | None = None
) -> Made:
    """Read, sample and draw one shape. A fault of the shape becomes its `reason`.

    Args:
        task: what to make.
        entry: the shape.
        renderer: a `pipeline.render.Renderer`; None for no views.
        read: called with the digest of the shape's file, before anything that may crash.
        pose: cameras to draw it from; see `Workers.submit`.
    """
    from pipeline import geometry as shapes
    from pipeline import points
    from pipeline.reading import Missing

    seconds: dict[str, float] = {}
    digest = bytes(32)
    try:
        with _timed(seconds, "read"):
            digest = _digest(task.reader.digest(entry))
            read(digest)
            if entry.id in task.refused:
                raise UserError(task.why)
            whole = shapes.checked(task.reader.read(entry))
            shapes.check_labels(whole, task.points, task.boxes)
            given = whole.points if isinstance(whole, shapes.Cloud) else None
            geometry = shapes.normalized(whole, task.points.normalize)
            del whole
            beside = shapes.beside(geometry, task.points.normals)
            source = hashlib.sha256(digest + beside).digest() if beside else digest
        warnings = geometry.warnings
        made: dict[str, Any] = {"boxes": boxes_of(geometry, task.boxes)}
        if task.sampled:
            with _timed(seconds, "points"):
                samples = points.sample(geometry, task.points, entry.id)
            labels = {label_array(name): values for name, values in samples.labels.items()}
            # They come first, because a cache keeps only the beginning of long remarks.
            warnings = points.remarks(given, geometry, samples, task.points) + warnings
            made |= {"xyz": samples.xyz, "rgb": samples.rgb, "normal": samples.normal, "labels": labels}
        if renderer is not None:
            with _timed(seconds, "views"):
                pictures = renderer.render(geometry, pose)
            if pictures.choosing:
                seconds["choose views"] = pictures.choosing
                seconds["views"] -= pictures.choosing
            with _timed(seconds, "encode"):
                by_path = {"views/rgb": pictures.rgb, "views/depth": pictures.depth}
                made["pictures"] = {node.path: [encode_chunk(node, view) for view in by_path[node.path]] for node in task.pictures}
                made["pose"] = pictures.pose
                warnings += pictures.warnings
    except Exception as error:  # a loader or GL may raise anything, and one shape must not stop a build
        # A shape that lacks a file gets a digest of zeros. It differs from that of its own file, so `build` tries it again each time.
        failed = bytes(32) if isinstance(error, Missing) else digest
        return Made(reason=reason_of(error, task.limits), source_sha256=failed, seconds=seconds)
    repeated = isinstance(geometry, shapes.Cloud) and geometry.fewer_than(task.points.count)
    made |= {"colored": geometry.colored, "repeated": repeated, "warnings": warnings}
    return Made(source_sha256=source, seconds=seconds, **made)


def _digest(found: object) -> bytes:
    """Return the digest of a shape's file, if its reader returned one.

    Raises:
        UserError: it returned something else.
    """
    if isinstance(found, bytes) and len(found) == 32:
        return found
    told = f"{len(found)} bytes" if isinstance(found, bytes) else article(type(found).__name__)
    raise UserError(f"the reader of this file breaks its promise: `digest` returned {told}, expected 32 bytes of a sha256 (`.digest()`)")


def boxes_of(geometry: "Geometry", described: BoxSpec | None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a scene's boxes by path: `[M, 7]` and `[M]`. Unused boxes have zeros and class -1. Empty if none are asked for.

    Raises:
        UserError: the scene has more boxes than there is room for.
    """
    if described is None:
        return {}
    box, kind = np.zeros((described.most, 7), np.float32), np.full(described.most, -1, np.int32)
    if geometry.boxes is not None:
        count = len(geometry.boxes.box)
        if count > described.most:
            raise UserError(f"the scene has {count} boxes, and the cache has room for {described.most} in a scene")
        box[:count], kind[:count] = geometry.boxes.box, geometry.boxes.kind
    return {"boxes/box": box, "boxes/class": kind}


def reason_of(error: Exception, limits: Limits) -> str:
    """Explain in one line why a shape failed."""
    match error:
        case UserError():
            return one_line(str(error))
        case MemoryError():
            return f"needs more than {limits.memory_gib:g} {_MEMORY} (limits.memory_gib)"
        case OSError():
            return one_line(f"cannot be read: {error.strerror or error}")
    # No reader expected this exception. Its own text only helps the person who repairs the reader.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    words = f": {error}" if str(error) else ""
    return one_line(
        f"it is damaged, or holds something mmpd does not know; if other programs open it, please report this "
        f"[{type(error).__name__}{place}{words}]"
    )


@contextlib.contextmanager
def _timed(seconds: dict[str, float], step: str) -> Any:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[step] = time.perf_counter() - start


def _renderer(task: Task, judge: "Judge | None") -> Any:
    """Return what draws the views of a task; None without views. `judge` is the cheap teacher that chooses cameras, if there is one."""
    if task.views is None:
        return None
    from pipeline.render import Renderer

    return Renderer(task.views, judge=judge)


def _judge(task: Task) -> "Judge | None":
    """Load the cheap teacher that chooses views; None if the task needs none.

    Raises:
        UserError: it is not on this machine, or is another one here.
    """
    policy = None if task.views is None else task.views.policy
    if policy is None or policy.judge is None:
        return None
    import torch

    from pipeline.teachers import catalog, trial

    torch.set_num_threads(1)  # rounding depends on how many threads share one sum
    teacher = catalog.load(task.judge, precision=policy.judge.precision)
    if fingerprint(teacher.spec) != fingerprint(policy.judge):
        raise UserError(f"{task.judge} on this machine is not the teacher that chooses views in this cache")

    def judge(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        prepared = torch.stack([teacher.preprocess(picture) for picture in pictures])
        embedded = trial.answers(teacher, teacher.embed_images(prepared), len(pictures))
        if not np.isfinite(embedded).all():
            raise UserError(f"the teacher that chooses views, {policy.teacher}, gives values that are not finite")
        return embedded

    return judge


def serve(receive: Callable[[], Any], send: Callable[[Any], None]) -> None:
    """Receive tasks and entries until the pipe closes. Answer a task with the name of the driver, and an entry with what was made of it."""
    task: Task | None = None
    renderer = None
    while True:
        try:
            message = receive()
        except EOFError:
            return
        if isinstance(message, Task):
            task = message
            try:
                judge = _judge(task)
            except Exception as error:
                send(UserError(f"the teacher that chooses views cannot be used: {error}"))
                return
            try:
                if renderer is not None:
                    renderer.close()
                renderer = _renderer(task, judge)
                send(renderer.describe() if renderer else "")
            except Exception as error:
                send(UserError(f"cannot draw: {error}. `make setup` checks EGL; on Debian: apt-get install libegl1 libgl1-mesa-dri"))
                return
            limit = int(task.limits.memory_gib * 2**30)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        else:
            assert task is not None
            entry, pose = message
            made = make(task, entry, renderer, send, pose)
            send(made)
            if _MEMORY in made.reason:
                return  # a new process starts with free memory


def _die_with_parent() -> None:
    """Let this process die with its parent, even if it hangs in a loader, so that a killed build leaves no processes. Linux only."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == 1:
            os._exit(1)


def main(*, ahead: bool = False) -> None:
    """Serve over standard input and output. All other output goes to standard error from then on.

    Args:
        ahead: whether the task will come later, so that there is time to import what draws.
    """
    _die_with_parent()
    # These are the parent's to handle, and it takes this process along. Ctrl-C, and a cluster that ends a job, signal all processes of it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = os.fdopen(os.dup(0), "rb")
    if ahead:
        with contextlib.suppress(ImportError):  # the task will need what is missing, or not
            from pipeline import geometry, points, reading, render  # noqa: F401
    serve(lambda: _receive(questions), lambda message: _send(answers, message))
