"""What a million shapes cost: opening their cache, batches, memory, `verify`, `status` and `info`; and whether memory stays as it is.

    python bench/scale.py                                     # a million shapes: many minutes, 3 GB on the disk
    python bench/scale.py --shapes 100000 --only data,loader

data      `Data()` against reading the same files and nothing else; 1,000 batches against those of a cache of 1,000 shapes, and against the
          same gathers by NumPy from one memory map for each array
loader    `feed` with two threads against torch's DataLoader with two processes on the same memory maps: a batch at a time, and a shape at
          a time with torch's collation
memory    private memory of a process after 1,000 batches, with a million and with 1,000 shapes; and after each of 10 parts of 10,000 steps
verify    against reading the same bytes, and against their checksums by as many threads
commands  `status` and `info` against a cache of 1,000 shapes
build     private memory of a points build of 3,000 shapes and of its processes, after each of 10 parts

Shapes have one block of 64 points, 3 views and two teachers. All is read once before, so that the page cache is warm. Of the disk, in the
temporary folder, 1.6 GB are the cache, and 1.1 GB the copies of its arrays that NumPy and the DataLoader read. A few minutes are the build.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Report
from numpy.typing import NDArray

from cache_schema import synthetic
from cache_schema.rows import Rows
from cache_schema.spec import PointSpec
from cache_schema.store import Cache, open_cache
from trainer.data import Data, feed
from trainer.part import DataConfig, Needs

BATCH, BATCHES, FEW = 512, 1000, 1000
SIZES = {"xyz": (64 * 3, "float16"), "rgb": (64 * 3, "uint8"), "image": (32, "float16"), "other": (16, "float16"), "text": (32, "float16")}
"""Numbers of an entry of each array that a batch reads, and their type."""


def made(path: Path, shapes: int) -> Cache:
    """A synthetic cache, or the one that an earlier run left there."""
    if not (path / "zarr.json").exists():
        synced = os.fsync
        os.fsync = lambda descriptor: None  # it is thrown away: nobody waits for the disk
        try:
            synthetic.write(path, shapes=shapes, shard=512, views=3, points=PointSpec(count=64, blocks=1, ordered=32))
        finally:
            os.fsync = synced
    return open_cache(path)


def data(cache: Cache, verify: str = "off") -> Data:
    config = DataConfig(verify="first_use" if verify == "first_use" else "off", labels="three")
    return Data([cache], config, batch=BATCH, seed=0, needs=Needs(teachers=True, color=True))


def files(path: Path) -> list[str]:
    return [f"{folder}/{name}" for folder, _, names in os.walk(path) for name in names]


def read(path: str) -> int:
    """Read a file as fast as a program of Python can. Returns its bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return len(os.read(descriptor, os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


def opened_files(cache: Cache) -> list[str]:
    """The files that `Data` reads when it opens a cache: completion markers, columns of the index and the status, captions."""
    columns = ["status", "split", "label", "colored", "captions/synthetic/text"]
    products = ["index", "status", "points", "image/random-a", "image/random-b", "captions/synthetic", "text/synthetic/random-a"]
    return [one for place in (*columns, *(f"products/{name}" for name in products)) for one in files(cache.path / place)]


def arrays(data: Data) -> list[Rows]:
    """The arrays that a batch reads, in the order of `SIZES`."""
    return [*data.points_of(data.parts[0]), *data.parts[0].opened]


def copied(data: Data, root: Path) -> dict[str, NDArray[Any]]:
    """The same arrays, each as one file that NumPy maps. [N, entries, numbers]"""
    found = {}
    for (name, (width, dtype)), rows in zip(SIZES.items(), arrays(data), strict=True):
        shape = (*rows.node.shape[:2], width)
        values = np.lib.format.open_memmap(root / f"{name}-{data.epoch}.npy", "w+", dtype, shape)
        for at in range(0, shape[0], 4096):
            some = np.arange(at, min(at + 4096, shape[0]))
            values[at : at + 4096] = rows.gather(some).reshape(len(some), *shape[1:])
        found[name] = values
    return found


def gathers(values: dict[str, NDArray[Any]], seed: int) -> Callable[[], int]:
    """The limit of `BATCHES` batches: the same number of random entries of each array, copied by NumPy."""
    flat = {name: array.reshape(-1, array.shape[-1]) for name, array in values.items()}

    def run() -> int:
        rng = np.random.default_rng(seed)
        for _ in range(BATCHES):
            for array in flat.values():
                np.take(array, rng.integers(0, len(array), BATCH), axis=0)
        return BATCHES * BATCH

    return run


def batches(data: Data) -> Callable[[], int]:
    def run() -> int:
        for number in range(BATCHES):
            data.batch(number)
        return BATCHES * BATCH

    return run


def measure_data(report: Report, big: Cache, small: Cache, root: Path) -> None:
    shapes, names = f"{big.manifest.shapes:,} shapes", opened_files(big)
    ways = {f"Data(), {shapes}": lambda: data(big) and None, "reading the same files": lambda: sum(map(read, names)) and None}
    report.compare(f"Data() of {shapes}: {len(names):,} files", ways, limits=["reading the same files"])
    large, few = data(big), data(small)
    report.compare(f"{BATCHES:,} batches of {BATCH}", {shapes: batches(large), f"{FEW:,} shapes": batches(few)}, unit="samples")
    limits = {shapes: gathers(copied(large, root), 0), f"{FEW:,} shapes": gathers(copied(few, root), 0)}
    report.compare(f"the same gathers by NumPy from {len(SIZES)} memory maps: what the processor's memory allows", limits, unit="samples")


class Mapped(torch.utils.data.Dataset[dict[str, NDArray[Any]]]):
    """What a DataLoader needs to read the same arrays. A shape gives one random entry of each."""

    def __init__(self, values: dict[str, NDArray[Any]], together: bool) -> None:
        self.values = values
        if together:  # torch then asks for a whole batch at once, and `stacked` has little to do
            self.__getitems__ = self.several

    def __len__(self) -> int:
        return len(self.values["xyz"])

    def __getitem__(self, row: int) -> dict[str, NDArray[Any]]:
        return {name: array[row, np.random.randint(array.shape[1])] for name, array in self.values.items()}

    def several(self, rows: list[int]) -> list[dict[str, NDArray[Any]]]:
        return [{name: array[rows, np.random.randint(array.shape[1], size=len(rows))] for name, array in self.values.items()}]


def stacked(found: list[dict[str, NDArray[Any]]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in found[0].items()}


def loader(values: dict[str, NDArray[Any]], together: bool, count: int) -> Callable[[], int]:
    loads = torch.utils.data.DataLoader(
        Mapped(values, together),
        batch_size=BATCH,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        prefetch_factor=4,
        collate_fn=stacked if together else None,
    )

    def run() -> int:
        for number, _ in enumerate(loads):
            if number + 1 == count:
                return count * BATCH
        raise RuntimeError(f"the cache has fewer than {count} batches")

    return run


def fed(data: Data, count: int) -> Callable[[], int]:
    def run() -> int:
        with closing(feed(data, range(count), slice(None), threads=2, device=torch.device("cpu"))) as found:
            return sum(len(batch.label) for batch in found)

    return run


def measure_loader(report: Report, big: Cache, root: Path) -> None:
    whole = data(big)
    values, count = copied(whole, root), min(200, whole.epoch // BATCH)
    ways = {
        "feed, 2 threads": fed(whole, count),
        "DataLoader, a batch at a time": loader(values, True, count),
        "DataLoader, a shape at a time": loader(values, False, count),
    }
    report.compare(f"batches of {BATCH} from {big.manifest.shapes:,} shapes, beside the consumer", ways, rounds=5, unit="samples")


def private(process: int | str = "self") -> float:
    """Private memory of a process in MiB: without the pages of mapped files, which the system takes back when it needs them."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def child(path: str, steps: int) -> None:
    """Read batches, and print the private memory after each of ten parts."""
    torch.set_num_threads(1)
    held, part = data(open_cache(path), "first_use"), steps // 10
    with closing(feed(held, range(steps), slice(None), threads=2, device=torch.device("cpu"))) as found:
        for number, _ in enumerate(found):
            if (number + 1) % part == 0:
                print(f"{private():.1f}", flush=True)


def series(path: Path, steps: int) -> list[float]:
    command = [sys.executable, __file__, "--child", str(path), "--steps", str(steps)]
    return [float(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


def told(report: Report, what: str, values: list[float], name: str) -> None:
    report.figure(f"private memory {what}", {f"{name} {i}": value for i, value in reversed(list(enumerate(values, 1)))}, "MiB")


def measure_memory(report: Report, big: Cache, small: Cache, steps: int) -> None:
    ends = {f"{cache.manifest.shapes:,} shapes": series(cache.path, BATCHES)[-1] for cache in (big, small)}
    report.figure(f"private memory after {BATCHES:,} batches", ends, "MiB")
    told(report, f"in {steps:,} steps of reading {big.manifest.shapes:,} shapes", series(big.path, steps), "part")


def measure_verify(report: Report, big: Cache) -> None:
    from cache_schema import validate

    names = files(big.path)

    def hashed(share: list[str]) -> None:
        for name in share:
            with open(name, "rb") as file:
                hashlib.file_digest(file, "sha256")

    def pooled(work: Callable[[list[str]], object]) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(work, [names[i : i + 64] for i in range(0, len(names), 64)]))

    ways: dict[str, Callable[[], object]] = {
        "mmpd-cache verify": lambda: validate.problems(big.path) and None,
        "checksums of the same files": lambda: pooled(hashed),
        "reading the same files": lambda: pooled(lambda share: sum(map(read, share))),
    }
    size = sum(os.stat(name).st_size for name in names)
    report.compare(f"verify: {len(names):,} files, {size / 2**30:.2f} GiB", ways, rounds=3, limits=list(ways)[1:])


def measure_commands(report: Report, big: Cache, small: Cache) -> None:
    for name in ("status", "info"):
        run = [sys.executable, "-c", "from pipeline.cli import main; main()", name]
        ways = {f"{cache.manifest.shapes:,} shapes": [*run, str(cache.path)] for cache in (big, small)}
        report.compare(f"mmpd-cache {name}", ways, rounds=5)


def family(process: int) -> Iterator[int]:
    """A process and its descendants."""
    yield process
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for one in task.read_text().split():
            yield from family(int(one))


def measure_build(report: Report, root: Path, shapes: int) -> None:
    """Build points of shapes that are made in code, and look at all its processes."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "build", "starter", str(root / "built.zarr"), "--recipe"]
    command += ["points", "--set", f"source.options=count={shapes}", "--set", "shard=16"]
    with open(root / "build.log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log) as build:
        markers, seen = root / "built.zarr/products/points/c", list[tuple[int, float, int]]()
        while build.poll() is None:
            time.sleep(0.5)
            try:
                those = list(family(build.pid))
                held, descriptors = sum(map(private, those)), sum(len(os.listdir(f"/proc/{one}/fd")) for one in those)
                seen.append((len(os.listdir(markers)), held, descriptors))
            except (OSError, StopIteration):  # a process has just ended
                continue
    if build.returncode:
        raise RuntimeError((root / "build.log").read_text()[-2000:])
    most = max(done for done, _, _ in seen)
    for place, what, unit in ((1, "private memory of the build's processes", "MiB"), (2, "open files of the build's processes", "")):
        parts = {f"part {i + 1}": [one[place] for one in seen if i * most < 10 * one[0] <= (i + 1) * most] for i in range(10)}
        report.figure(f"{what}, {shapes:,} shapes", {name: max(some) for name, some in reversed(parts.items()) if some}, unit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--build", type=int, default=3_000, help="number of shapes of the build")
    parser.add_argument("--only", default="data,loader,memory,verify,commands,build")
    parser.add_argument("--folder", type=Path, help="where to put the caches; they stay there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.steps)
        return
    torch.set_num_threads(1)
    root = arguments.folder or Path(tempfile.mkdtemp(prefix="mmpd-bench-"))
    only = arguments.only.split(",")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with Report("scale") as report:
            if only != ["build"]:
                big, small = made(root / "big.zarr", arguments.shapes), made(root / "small.zarr", FEW)
                sum(map(read, files(big.path)))  # warms the page cache
            runs: dict[str, Callable[[], None]] = {
                "data": lambda: measure_data(report, big, small, root),
                "loader": lambda: measure_loader(report, big, root),
                "memory": lambda: measure_memory(report, big, small, arguments.steps),
                "verify": lambda: measure_verify(report, big),
                "commands": lambda: measure_commands(report, big, small),
                "build": lambda: measure_build(report, root, arguments.build),
            }
            for name in only:
                runs[name]()
    finally:
        if not arguments.folder:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
