"""Everything that is wrong with a cache, at once, each with its place.

    for problem in problems("shapes.zarr"):
        print(problem.where, problem.kind, problem.message)

Checked: every byte of every file against its checksum or its only possible form, that no file is missing or stray, that
records match their fingerprints, that numbers are finite and points lie where the specification says. Not checked:
whether pictures and embeddings are right; that takes the pipeline.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema import spec, store
from cache_schema.errors import UserError
from cache_schema.spec import ArraySpec, Manifest, PointSpec, Problem, Record
from cache_schema.store import Cache


def problems(path: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None) -> list[Problem]:
    """All problems of a cache, in the order of its files.

    Args:
        path: the cache.
        progress: called with (files done, files in all).

    Raises:
        UserError: `path` is no cache that this software reads.
    """
    cache = store.open_cache(path)
    return list(_problems(cache, progress or (lambda done, total: None)))


def _problems(cache: Cache, progress: Callable[[int, int], None]) -> Iterator[Problem]:
    expected: set[str] = {"zarr.json"}
    yield from _same_bytes(cache, "zarr.json", store.node_json(None, store.sealed(cache.manifest)))
    records = {}
    for file in sorted((cache.path / "products").rglob("zarr.json")):
        product = file.parent.relative_to(cache.path / "products").as_posix()
        where = file.relative_to(cache.path).as_posix()
        expected.add(where)
        try:
            body = json.loads(file.read_bytes())
            if body.get("node_type") == "array":
                records[product] = spec.from_json(Record, body["attributes"][store.KEY])
                if records[product].product != product:
                    raise UserError(f"it describes {records.pop(product).product!r}")
            else:
                yield from _same_bytes(cache, where, store.node_json())
        except (ValueError, KeyError, TypeError) as error:
            yield Problem(where=where, kind="metadata", message=f"cannot be read: {error}", product=product)
    jobs: list[tuple[Record, int]] = []
    for product, record in records.items():
        marker = store.markers(cache.manifest, record)
        nodes = cache.arrays(record)
        yield from _same_bytes(cache, f"products/{product}/zarr.json", store.node_json(marker, store.sealed(record)), product)
        for node in nodes:
            expected.add(f"{node.path}/zarr.json")
            content = store.node_json(node, {"product": product})
            yield from _same_bytes(cache, f"{node.path}/zarr.json", content, product)
            expected.update(node.key(shard) for shard in range(marker.shape[0]))
        expected.update(marker.key(shard) for shard in range(marker.shape[0]))
        if record.kind in ("image", "text"):
            expected |= {f"stats/{product}/zarr.json", store.stats_array(nodes[0]).key(0)}
        if record.complete:
            jobs += [(record, shard) for shard in range(marker.shape[0])]
        else:
            done = [shard for shard in range(marker.shape[0]) if (cache.path / marker.key(shard)).exists()]
            message = f"{len(done)} of {marker.shape[0]} shards made; run the command that began it again"
            yield Problem(where=f"products/{product}", kind="unfinished", message=message, product=product)
            jobs += [(record, shard) for shard in done]
    for group in _groups(expected):
        expected.add(f"{group}/zarr.json")
        yield from _same_bytes(cache, f"{group}/zarr.json", store.node_json())
    with ThreadPoolExecutor() as pool:
        for i, found in enumerate(pool.map(lambda job: list(_shard_problems(cache, *job)), jobs)):
            progress(i + 1, len(jobs))
            yield from found
    for record in records.values():
        if record.complete:
            yield from _content_problems(cache, record)
    files = [file.relative_to(cache.path).as_posix() for file in sorted(cache.path.rglob("*")) if not file.is_dir()]
    late = tuple(place for name in _begun_since(cache, records) for place in (name, f"products/{name}", f"stats/{name}"))
    for name in files:
        # What another command is adding right now is none of the cache's problems.
        beside = name.endswith("/zarr.json") and any(place.startswith(name.removesuffix("zarr.json")) for place in late)
        if name not in expected and not name.startswith(late) and not name.endswith(".tmp") and not beside:
            yield Problem(where=name, kind="stray", message="no product has this file")


def _begun_since(cache: Cache, records: dict[str, Record]) -> set[str]:
    found = (file.parent.relative_to(cache.path / "products").as_posix() for file in (cache.path / "products").rglob("zarr.json"))
    return {name for name in found if name not in records and name not in store.GROUPS} - {"."}


def _groups(files: set[str]) -> list[str]:
    """Folders above the arrays: the groups a Zarr client walks through."""
    arrays = {name.removesuffix("/zarr.json") for name in files if name.endswith("/zarr.json")}
    return sorted({parent.as_posix() for name in arrays for parent in Path(name).parents if parent.name} - arrays | set(store.GROUPS))


def _same_bytes(cache: Cache, where: str, content: bytes, product: str = "") -> Iterator[Problem]:
    path = cache.path / where
    if not path.exists():
        yield Problem(where=where, kind="missing", message="is not there", product=product)
    elif path.read_bytes() != content:
        yield Problem(where=where, kind="metadata", message="differs from what this software writes for it", product=product)


def _shard_problems(cache: Cache, record: Record, shard: int) -> Iterator[Problem]:
    def problem(where: str, kind: Any, message: str) -> Problem:
        return Problem(where=where, kind=kind, message=message, product=record.product, shard=shard)

    marker = store.markers(cache.manifest, record)
    try:
        sums = cache.checksums(record, shard)
    except (ValueError, OSError) as error:
        kind = "missing" if isinstance(error, OSError) else "corrupt"
        yield problem(marker.key(shard), kind, str(error).rpartition(": ")[2])
        sums = None
    for i, node in enumerate(cache.arrays(record)):
        path = cache.path / node.key(shard)
        try:
            data = path.read_bytes()
        except OSError as error:
            yield problem(node.key(shard), "missing", error.strerror or str(error))
            continue
        if sums is None:
            continue
        if hashlib.sha256(data).digest() != sums[i].tobytes():
            yield problem(node.key(shard), "corrupt", "its bytes do not match the checksum in its completion marker")
        elif message := _value_problem(cache.manifest, record, node, shard, data):
            yield problem(node.key(shard), "values", message)


def _value_problem(manifest: Manifest, record: Record, node: ArraySpec, shard: int, data: bytes) -> str:
    """What is wrong with intact numbers; empty if nothing is. Compressed pixels and texts have no wrong values."""
    if node.codec != "raw" or node.dtype == "uint8":
        return ""
    rows = min(node.shard, node.shape[0] - shard * node.shard)
    values: NDArray[Any] = np.frombuffer(data[: rows * node.row_bytes], node.dtype)
    if not np.isfinite(values).all():
        return f"{int((~np.isfinite(values)).sum())} values are not finite"
    if isinstance(record.spec, PointSpec) and record.spec.normalize == "unit_sphere":
        radius = float(np.linalg.norm(values.reshape(-1, 3).astype(np.float32), axis=1).max(initial=0))
        if radius > 1.01:
            return f"a point lies {radius:.3f} from the origin, outside the unit sphere"
    return ""


def _content_problems(cache: Cache, record: Record) -> Iterator[Problem]:
    try:
        content = cache.content(record)
    except (ValueError, OSError):
        return  # the marker at fault is already named
    if record.kind in ("image", "text"):
        node = store.stats_array(cache.arrays(record)[0])
        yield from _same_bytes(cache, f"{node.path}/zarr.json", store.node_json(node), record.product)
    if content != record.content:
        where = store.stats_array(cache.arrays(record)[0]).key(0) if record.kind in ("image", "text") else f"products/{record.product}"
        message = "the checksums of the product's files do not add up to the one in its record"
        yield Problem(where=where, kind="corrupt", message=message, product=record.product)
