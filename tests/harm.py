"""Damage that tests do to caches, and the copies that they do it to."""

import shutil
from pathlib import Path

from cache_schema import store
from cache_schema.products import markers


def copied(path: Path, folder: Path) -> store.Cache:
    """A copy of a cache that a test may write into."""
    shutil.copytree(path, folder / "copy.zarr")
    return store.open_cache(folder / "copy.zarr")


def exchange(cache: store.Cache, product: str, one: int = 0, other: int = 1) -> None:
    """Let two shards of a product change places, with their completion markers: each still matches its own."""
    record = cache.record(product)
    for node in (*cache.arrays(record), markers(cache.manifest, record)):
        first, second = cache.path / node.key(one), cache.path / node.key(other)
        held = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(held)


def flip(path: Path) -> None:
    """Change one bit in the midst of a file, which keeps its size."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
