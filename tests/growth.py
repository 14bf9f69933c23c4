"""A cache of random numbers that grows as `mmpd-cache append` lets one grow, without files of shapes."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cache_schema import products, spec, store, synthetic
from cache_schema.files import exclusive, write_together
from cache_schema.products import markers
from cache_schema.store import Cache
from pipeline import append


def grow(path: Path, more: int = 5, leave: tuple[str, ...] = (), classes: tuple[str, ...] = (), **settings: Any) -> Cache:
    """Append shapes of random numbers, and names of classes. The products in `leave` are unfinished then. `settings`: those of
    `synthetic.write` that made it."""
    cache = store.open_cache(path)
    old, beside = cache.manifest, path.with_name(f"{path.name}.part")
    part = synthetic.write(beside, shapes=more, shard=old.shard, seed=old.shapes, **settings)
    ids = [f"new{old.shapes}/{i}" for i in range(more)]
    manifest = dataclasses.replace(
        old,
        classes=(*old.classes, *classes),
        shapes=old.shards * old.shard + more,
        segments=(*(old.segments or (old.shapes,)), more),
        source=dataclasses.replace(old.source, also=(*old.source.also, spec.SourceSpec(kind="synthetic", ids=spec.ids_digest(ids)))),
    )
    grown = Cache(cache.path, manifest)
    of_shapes = [r for r in cache.products().values() if not products.of(r).labelled and r.product not in (products.INDEX.name, *leave)]
    with exclusive(path):
        for record in of_shapes:
            own = part.record(record.product)
            for theirs, ours in zip(
                (*part.arrays(own), markers(part.manifest, own)), (*grown.arrays(record), markers(manifest, record)), strict=True
            ):
                for shard in range(part.manifest.shards):
                    place = grown.file(ours.key(old.shards + shard))
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(part.file(theirs.key(shard)), place)
        gap = old.shards * old.shard
        for shard in range(old.shards, manifest.shards):
            store.write_index(grown, shard, [""] * gap + ids, [-1] * gap + [0] * more, [-1] * gap + [0] * more)
        plan = SimpleNamespace(carried=tuple(of_shapes), manifest=manifest)
        write_together(cache.path, append._changes(cache, grown, part, plan, []))
    shutil.rmtree(beside)
    return store.open_cache(path)


def again(cache, product):
    """Make a product of a cache again with other values, as after `retry`."""
    record = cache.record(product)
    for shard in range(products.markers(cache.manifest, record).shape[0]):
        cache.reopen(record, shard)
        begun = cache.records()[product]
        values = {node.path: cache.shard_rows(node, shard).copy() for node in cache.arrays(record)}
        for value in values.values():
            value[-1] = 0
        cache.write(begun, shard, values)
    return cache.finish(begun)
