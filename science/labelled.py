"""The labels of caches that a number was measured with: `mmpd-cache relabel` changes them, and no fingerprint of points tells.

digest = labels_of(Path("caches/shrec16.zarr"))            # kept with scores and ceilings, and with jobs (`jobs.Ledger`), as `labels`
labels_hold(json.loads(file.read_text()), [cache])         # whether a score or ceiling still holds
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cache_schema.store import open_cache


def labels_of(path: Path) -> str:
    """Digest of what `relabel` changes in a cache: name, class and split of each shape, and the order of the classes."""
    path = path.resolve()
    state = (path / "zarr.json").stat()
    return _labels_of(path, state.st_mtime_ns, state.st_ino)


@lru_cache
def _labels_of(path: Path, *state: int) -> str:
    """The digest, computed once while the description of the cache, which `relabel` replaces, is the same file."""
    cache = open_cache(path)
    classes, splits = ((*names, "") for names in (cache.manifest.classes, cache.manifest.splits))  # -1 is none
    told = {
        "classes": classes,
        "names": cache.ids().tolist(),
        "class": [classes[number] for number in cache.column("label").tolist()],
        "split": [splits[number] for number in cache.column("split").tolist()],
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def labels_hold(number: Mapping[str, Any], caches: Sequence[Path]) -> bool:
    """Whether the labels that a score or a ceiling was measured with are those that its caches have now, in the order of its command. True
    where it does not record them, and without caches."""
    return not number.get("labels") or not caches or number["labels"] == [labels_of(path) for path in caches]
