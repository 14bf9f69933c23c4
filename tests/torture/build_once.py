"""Build a cache and die, or run out of disk, at a chosen moment. In a process of its own, forked by `tests.torture.torture`."""

import dataclasses
import os
import resource
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cache_schema.spec import PointSpec
from pipeline import building
from pipeline.recipes import BuildConfig, configured
from pipeline.work import Machine
from tests.boxes import Silent


def config(recipe: str) -> BuildConfig:
    """`points` alone, or `smoke` with pictures, teachers and captions. Several shards each."""
    small = PointSpec(count=64, blocks=2, ordered=16)
    return dataclasses.replace(configured(recipe, []), points=small, shard=3)


def build(meshes: Path, cache: Path, recipe: str) -> None:
    building.build_cache(str(meshes), cache, config(recipe), Machine(workers=1, device="cpu"), Silent())


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


def watched(how: str, number: int, said: Path, act: Callable[..., None], *arguments: Any) -> None:
    """Act, and die or run out of disk at a chosen moment. To be called in a process of its own.

    Args:
        how: `before` or `after` the file with that number is put in its place; `full`: no file may grow beyond so many bytes; `count`:
            nothing happens.
        number: see `how`.
        said: a file for the number of files that were put in their places, or for the error.
        act: called with `arguments`.
    """
    done = counting(how, number)
    if how == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, resource.RLIM_INFINITY))
    try:
        act(*arguments)
    except BaseException as error:
        if how == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        said.write_text("".join(traceback.format_exception(error)))
        raise SystemExit(1) from None
    said.write_text(str(done[0]))
