"""What a program of ours sets in its own process, so that it suits the machine: threads, and memory on a CPU.

    suit()                                               # at the start of a program, before NumPy or torch is imported

Threads: libraries start one for each processor of the machine. In a container that may use two of 64 processors, 64 threads would wait for
each other most of the time. So there are as many as the container may use. Small steps are made by one thread: their operations take some
ten microseconds each, which is what waking another thread takes.

Memory: what a step frees stays with the process, and the next step takes it again (`cache_schema.memory`).
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cache_schema.memory import keep_freed as keep_freed

THREADS: Final = "OMP_NUM_THREADS"
"""Environment variable with the number of threads of torch and NumPy."""
SMALL: Final = 64_000_000
"""Number of weights times shapes up to which a step is small. On two cores, a step of stage 1 with the tiny encoder (0.7 million weights)
and 32 shapes takes two threads 1.15 times as long as one thread (`bench/step.py --only threads`). A step of ViT-S (29 million) takes them
half as long."""


def suit() -> None:
    """Set threads and memory. Environment variables that a user has set are left as they are.

    NumPy and torch read the number of threads once, when they are imported: what calls this imports them later.
    """
    allowed = quota()
    if allowed and allowed < (os.cpu_count() or 1) and THREADS not in os.environ:
        os.environ[THREADS] = _chosen[THREADS] = str(max(1, int(allowed)))
    keep_freed()


_chosen: Final[dict[str, str]] = {}
"""The environment variables that `suit` has set."""


@contextlib.contextmanager
def suited(weights: int, shapes: int) -> Iterator[bool]:
    """Let torch compute with one thread within the block, if the steps that it makes on a CPU are small. Gives whether it does.

    The environment variable `OMP_NUM_THREADS` of a user decides instead.

    Args:
        weights: number of weights of all models that run in a step, learnt or not.
        shapes: number of shapes of one forward pass.
    """
    import torch  # what it reads from the environment is set by `suit` first

    before = torch.get_num_threads()
    alone = weights * shapes <= SMALL and before > 1 and os.environ.get(THREADS) == _chosen.get(THREADS)
    if alone:
        torch.set_num_threads(1)
    try:
        yield alone
    finally:
        if alone:
            torch.set_num_threads(before)


def processors() -> int:
    """Number of processors that this process may use at a time, at least one: those of its affinity, as far as its control groups allow."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(own, quota() or own)))


def quota(root: Path = Path("/")) -> float | None:
    """Processors that the control groups of this process may use on average, such as 1.5; None for all (https://docs.kernel.org/admin-guide/cgroup-v2.html).

    Args:
        root: root of the file system, for tests.
    """
    return min(_quotas(root), default=None)


def _quotas(root: Path) -> Iterator[float]:
    """The limits of the process's control group and of those around it, of version 2 and 1."""
    groups = root / "sys/fs/cgroup"
    try:
        own = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in own:
        base = groups if not controllers else groups / "cpu" if "cpu" in controllers.split(",") else None
        if base is None:
            continue
        inner = base / path.strip("/")
        for folder in (inner, *inner.parents):
            if not folder.is_relative_to(base):
                break
            try:
                if controllers:
                    words = [(folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
                else:
                    words = (folder / "cpu.max").read_text().split()
                allowed, period = (float(word) for word in words)
            except (OSError, ValueError):  # no such file, as in a container that sees only its own part; or no limit, "max"
                continue
            if allowed > 0:  # version 1 says -1 for no limit
                yield allowed / period
