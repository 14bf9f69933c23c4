"""What the system says: which machine this is, which versions and which commit run on it, and who uses its processors."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

TICK = os.sysconf("SC_CLK_TCK")


def own() -> float:
    """Processor seconds of this process and of its children that have ended."""
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def running() -> float:
    """Processor seconds, so far, of this process's descendants that still run."""
    found: dict[int, tuple[int, float]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            found[int(stat.parent.name)] = int(fields[1]), sum(map(int, fields[11:15])) / TICK
    ours = {os.getpid()}
    while more := {process for process, (parent, _) in found.items() if parent in ours} - ours:
        ours |= more
    return sum(found[process][1] for process in ours - {os.getpid()})


def busy() -> float | None:
    """Processor seconds that all processes, and other virtual machines, have had of the cores that we may use. None: not known here."""
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    except OSError:
        return None
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    # user, nice, system, (idle, iowait,) irq, softirq, steal
    return sum(sum(map(int, line[1:4] + line[6:9])) for line in lines if line[0] in names) / TICK


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def command() -> str:
    """The command that is measured. Of an absolute path only the name is kept: it is nobody else's business."""
    words = [sys.argv[0], *(Path(word).name if word.startswith("/") else word for word in sys.argv[1:])]
    return " ".join(["python", os.path.relpath(words[0]) if words[0] else "", *words[1:]])


def described() -> dict[str, Any]:
    """Processor, cores we may use, memory, GPU, system."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    gpus = subprocess.run(asked, capture_output=True, text=True).stdout.split("\n") if shutil.which(asked[0]) else []
    return {
        "processor": f"{models[0] if models else platform.processor() or 'unknown processor'} ({platform.machine()})",
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "gpu": ", ".join(filter(None, gpus)) or "none",
        "system": platform.system(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
    }


def versions() -> dict[str, str]:
    """Python, the packages that matter, and ours with its commit."""
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", "zarr", "mmpd"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    place = importlib.util.find_spec("cache_schema")  # imported or not
    return found | {"commit": commit(Path(place.origin if place and place.origin else __file__).parent)}


def commit(folder: Path) -> str:
    """The commit of a checkout, and whether files of it were changed since, apart from docs: a benchmark may have drawn a picture there."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs") else ""
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + changed
