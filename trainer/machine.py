"""What a program of ours sets in its own process, so that it suits the machine: threads, their waiting, and memory on a CPU.

    suit()                                               # at the start of a program, before NumPy or torch is imported

Threads: libraries start one for each processor of the machine. In a container that may use two of 64 processors, 64 threads would wait for
each other most of the time. So there are as many as the container may use.

Waiting: threads share the work of small operations many thousand times a second. One that sleeps until the next operation wakes up late: on
two free cores a step of the tiny encoder then takes 1.6 times as long as with threads that spin for a moment first. But where two programs
want the same cores, threads that spin make both take three times as long. So threads spin if the processors are free when the program
starts, and else they sleep.

Memory: what a step frees stays with the process, and the next step takes it again. By default the C library of Linux gives every block
above 32 MiB back to the system when it is freed, and often smaller ones. A step of training frees and takes hundreds of these, and the
system clears each page that it gives: a tenth of the time of a step. With this setting a process keeps as much as its largest step needed.
"""

import ctypes
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

THREADS: Final = "OMP_NUM_THREADS"
"""Environment variable with the number of threads of torch and NumPy."""
POLICY: Final = "OMP_WAIT_POLICY"
"""Environment variable of OpenMP: whether waiting threads sleep (`PASSIVE`)."""
SPINS: Final = "GOMP_SPINCOUNT"
"""Environment variable of GNU's OpenMP, which torch uses on Linux: how often a waiting thread looks before it sleeps
(https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html)."""
MOMENT: Final = "10000"
"""A tenth of a millisecond or so. By default it is thirty times as long, which is no faster."""
LOOKS: Final = 5
"""Number of looks at who is running, two milliseconds apart, of which the middle one counts."""
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Numbers of two settings of glibc's `mallopt` (https://man7.org/linux/man-pages/man3/mallopt.3.html)."""
LARGEST: Final = 2**30
"""Size in bytes from which a block is still taken from the system alone, and given back."""
HUGE: Final = "THP_MEM_ALLOC_ENABLE"
"""Environment variable of torch: whether it asks for large pages, which need fewer entries in the processor's tables."""


def suit() -> None:
    """Set threads, their waiting, and memory. Environment variables that a user has set are left as they are.

    NumPy and torch read the variables once, when they are imported: what calls this imports them later.
    """
    allowed = quota()
    if allowed and allowed < (os.cpu_count() or 1):
        os.environ.setdefault(THREADS, str(max(1, int(allowed))))
    if not {POLICY, SPINS} & set(os.environ):
        name, value = (SPINS, MOMENT) if free() else (POLICY, "PASSIVE")
        os.environ[name] = _chosen[name] = value
    keep_freed()


_chosen: Final[dict[str, str]] = {}
"""The environment variables by which `suit` has said how threads wait."""


def environment() -> dict[str, str]:
    """The environment for a program of another kind, which has to choose itself how its threads wait."""
    return {name: value for name, value in os.environ.items() if _chosen.get(name) != value}


def free(root: Path = Path("/")) -> bool:
    """Whether the threads of this process have the processors of the machine for themselves now. False where the system does not say it,
    and where only some of the processors may be used: there one cannot see who else wants these.

    Args:
        root: root of the file system, for tests.
    """
    count = os.cpu_count() or 1
    threads = os.environ.get(THREADS, "")
    if processors() < count:
        return False
    others = []
    for look in range(LOOKS):
        if look:
            time.sleep(0.002)
        try:
            (running,) = re.findall(r"^procs_running (\d+)$", (root / "proc/stat").read_text(), re.MULTILINE)
        except (OSError, ValueError):
            return False
        others.append(int(running) - 1)  # this process is one of them
    return sorted(others)[LOOKS // 2] + (int(threads) if threads.isdigit() else count) <= count


def keep_freed() -> bool:
    """Keep memory that is freed. Returns whether the C library can do that: glibc can, those of Alpine Linux and macOS cannot."""
    if sys.platform != "linux":
        return False
    os.environ.setdefault(HUGE, "1")
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(MMAP_THRESHOLD, LARGEST)) and bool(library.mallopt(TRIM_THRESHOLD, 2**31 - 1))


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
