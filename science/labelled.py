"""The points and labels of caches that a number was measured with. `mmpd-cache relabel` changes labels, and no fingerprint of points tells.

fingerprint = points_of(Path("caches/shrec16.zarr"))
digest = labels_of(Path("caches/shrec16.zarr"))            # kept with scores and ceilings, and with jobs (`jobs.Ledger`), as `labels`
labels_hold(json.loads(file.read_text()), [cache])         # whether a score or ceiling still holds
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cache_schema import products
from cache_schema.store import Cache, open_cache


def points_of(path: Path) -> str:
    """Fingerprint of the points of a cache: it changes with the shapes, and with nothing that is added to them. Empty if it has no finished
    points.

    Raises:
        UserError: the cache is damaged.
    """
    path = path.resolve()
    opened, own = open_cache(path), path / "products" / products.POINTS.name / "zarr.json"
    if not own.is_file():  # an overlay has those of the cache that it lies on
        return _points_in(opened)
    return _points_of(path, *_state(path / "zarr.json"), *_state(own))


@cache
def _points_of(path: Path, *state: int) -> str:
    """The fingerprint, read once while the descriptions of the cache and of its points are the same files."""
    return _points_in(open_cache(path))


def _points_in(opened: Cache) -> str:
    record = opened.records().get(products.POINTS.name)
    return record.fingerprint if record is not None and record.complete else ""


def labels_of(path: Path) -> str:
    """Digest of what `relabel` changes in a cache: name, class and split of each shape, and the order of the classes."""
    path = path.resolve()
    return _labels_of(path, *_state(path / "zarr.json"))


def _state(file: Path) -> tuple[int, int]:
    """What changes when a file is replaced."""
    state = file.stat()
    return state.st_mtime_ns, state.st_ino


@cache
def _labels_of(path: Path, *state: int) -> str:
    """The digest, computed once while the description of the cache, which `relabel` replaces, is the same file."""
    opened = open_cache(path)
    classes, splits = ((*names, "") for names in (opened.manifest.classes, opened.manifest.splits))  # -1 is none
    told = {
        "classes": classes,
        "names": opened.ids().tolist(),
        "class": [classes[number] for number in opened.column("label").tolist()],
        "split": [splits[number] for number in opened.column("split").tolist()],
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def labels_hold(number: Mapping[str, Any], caches: Sequence[Path]) -> bool:
    """Whether the labels that a score or a ceiling was measured with are those that its caches have now, in the order of its command. True
    where it does not record them, and without caches."""
    return not number.get("labels") or not caches or number["labels"] == [labels_of(path) for path in caches]
