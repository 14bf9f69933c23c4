"""Build a cache and die, or run out of disk, at a chosen moment. A process of its own, started by `tests.torture.torture`.

python -m tests.torture.build_once MESHES CACHE RECIPE before 17      # killed right before the 17th file is put in its place
python -m tests.torture.build_once MESHES CACHE RECIPE full 20000     # no file may grow beyond 20000 bytes
python -m tests.torture.build_once MESHES CACHE RECIPE count 0        # prints how many files are put in their places
"""

import dataclasses
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cache_schema.spec import PointSpec
from pipeline import commands
from pipeline.recipes import BuildConfig, configured
from tests.boxes import Silent


def config(recipe: str) -> BuildConfig:
    """`points` alone, or `smoke` with pictures, teachers and captions. Several shards each."""
    small = PointSpec(count=64, blocks=2, ordered=16)
    return dataclasses.replace(configured(recipe, []), points=small, shard=3)


def build(meshes: Path, cache: Path, recipe: str) -> None:
    commands.build_cache(str(meshes), cache, config(recipe), commands.Machine(workers=1, device="cpu"), Silent())


def counting(how: str, number: int) -> list[int]:
    """Let this process die before or after it puts its n-th file in its place. Returns a list with the number of files so far."""
    replace: Callable[..., None] = os.replace
    done, lock = [0], threading.Lock()

    def counted(*places: Any, **options: Any) -> None:
        """Only the writing of caches replaces files. Several threads may do it."""
        with lock:
            done[0] += 1
            mine = done[0]
        if how == "before" and mine == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*places, **options)
        if how == "after" and mine == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counted
    return done


def main() -> None:
    meshes, cache, recipe, how, number = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
    done = counting(how, number)
    if how == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    build(meshes, cache, recipe)
    print(done[0])


if __name__ == "__main__":
    main()
