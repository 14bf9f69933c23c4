"""The plan of a command: the records to make, and the shards of them that the cache lacks.

plan = Plan(path=cache.path, records=records, task=task, devices=("cpu",), image_batch=64, caption_batch=16)
todo = Todo(cache, plan)
todo.shards, todo.totals(cache)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cache_schema import products
from cache_schema.layout import ArraySpec
from cache_schema.products import Kind
from cache_schema.spec import CaptionSpec, Record, Server, ViewSpec
from cache_schema.store import Cache
from pipeline.formats.catalog import READINGS
from pipeline.worker import Task

Again = dict[int, list[int]]
"""Rows of failed shapes to try again, by shard."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a command makes, and the settings. It is small and can be pickled, because each process gets a copy."""

    path: Path
    records: tuple[Record, ...]
    """Records in the order of making, which is that of `cache_schema.products.KINDS`."""
    task: Task | None
    """What the shape processes do; None if nothing is made from files."""
    devices: tuple[str, ...]
    """Torch devices. Each process uses one of them."""
    image_batch: int
    caption_batch: int
    token: str = ""
    """Token of the process that holds the cache; see `held_token`."""
    places: tuple[tuple[str, str], ...] = ()
    """(digest of weights, folder) of local models; see `pipeline.models.Models`."""
    servers: tuple[tuple[str, Server], ...] = ()
    """(fingerprint of captions, how this command asks their server); see `pipeline.models.Models`."""
    readings: tuple[tuple[str, int], ...] = field(default_factory=lambda: tuple(READINGS.items()))
    """`READINGS` on the machine of the command. A worker on another machine refuses the plan if its own differ."""

    def of_kind(self, kind: Kind, **names: str) -> list[Record]:
        """Select records by kind and names, such as `plan.of_kind(products.IMAGE, teacher="clip")`."""
        return products.select({record.product: record for record in self.records}, kind, **names)

    def from_files(self) -> list[Record]:
        """List the products that are made from a shape's own files."""
        return [record for record in self.records if products.from_files(record)]

    def from_cache(self) -> list[Record]:
        """List the products that are made from other products of the cache."""
        return [record for record in self.records if products.from_cache(record)]

    def views(self) -> Record:
        """Return the record of the views."""
        (views,) = self.of_kind(products.VIEWS)
        return views

    def ranker_of(self, captions: Record) -> Record | None:
        """Return the record of the image embeddings that rank some captions; None if the captions are not ranked."""
        assert isinstance(captions.spec, CaptionSpec)
        if not captions.spec.rank_by:
            return None
        (ranker,) = self.of_kind(products.IMAGE, teacher=captions.spec.rank_by)
        return ranker

    def captions_of(self, texts: Record) -> Record:
        """Return the record of the captions that text embeddings are made from."""
        (captions,) = self.of_kind(products.CAPTIONS, captions=products.parts(texts)["captions"])
        return captions


def depth_again(records: Iterable[Record]) -> bool:
    """Whether patch features among some records need depth, and the views among them have none, so that it has to be drawn again."""
    there = list(records)
    views = [record.spec for record in there if isinstance(record.spec, ViewSpec)]
    return any(products.of(record) is products.DENSE for record in there) and not all(spec.depth for spec in views)


def rows_to_read(cache: Cache, records: Iterable[Record]) -> list[int]:
    """Return the rows of all shards for which files have to be read, because they lack one of some products."""
    wanted = list(records)
    shards: set[int] = set()
    for record in wanted:
        if products.from_files(record) or (products.of(record) is products.DENSE and depth_again(wanted)):
            shards.update(cache.missing(record))
    return [row for shard in sorted(shards) for row in cache.manifest.rows(shard)]


def pictures(cache: Cache, views: Record, *, depth: bool = False) -> tuple[ArraySpec, ...]:
    """Return the arrays of views that hold compressed pictures; with `depth`, that of the depth even if the cache does not store it."""
    assert isinstance(views.spec, ViewSpec)
    described = replace(views, spec=replace(views.spec, depth=views.spec.depth or depth))
    return tuple(node for node in products.arrays(cache.manifest, described) if node.codec == "zstd")


def drawing(task: Task, cache: Cache, records: Iterable[Record]) -> Task:
    """Return a task with the pictures that it makes of each shape.

    Args:
        task: what the shape processes do, as far as the source and the settings tell it.
        cache: the cache.
        records: the products to make, and the views. If they need depth that the cache does not store, it is drawn, too. If they are
            made from pictures alone, no points are sampled.
    """
    there = list(records)
    found = [record for record in there if products.of(record) is products.VIEWS]
    if not found or task.views is None:
        return task
    again = depth_again(there)
    drawn = replace(task.views, depth=task.views.depth or again)
    sampled = any(products.from_files(record) for record in there if record is not found[0])
    return replace(task, views=drawn, pictures=pictures(cache, found[0], depth=again), sampled=sampled)


class Todo:
    """The shards of a plan that a cache lacks."""

    def __init__(self, cache: Cache, plan: Plan, only: Mapping[str, set[int]] | None = None) -> None:
        """
        Args:
            cache: the cache.
            plan: what the cache must hold.
            only: shards to make, by product, instead of all missing ones. Repairs pass damaged shards.
        """
        lacking = {record.product: set(cache.missing(record)) for record in plan.records}
        if only is not None:
            lacking = {product: set(only.get(product, ())) for product in lacking}
        else:
            # Without a status nobody knows which files the products of a shard were made from. So all of them are made again.
            for record in plan.from_files():
                lacking[record.product] |= lacking.get(products.STATUS.name, set())
        self.plan = plan
        self.lacking = lacking
        self.shards = sorted(set().union(*lacking.values())) if lacking else []

    def from_files(self, shard: int) -> list[Record]:
        """List the products to make from files for a shard."""
        return [r for r in self.plan.from_files() if shard in self.lacking[r.product]]

    def from_cache(self, shard: int) -> list[Record]:
        """List the products to make from other products for a shard."""
        return [r for r in self.plan.from_cache() if shard in self.lacking[r.product]]

    def draws_again(self, shard: int) -> bool:
        """Whether a product that is made from other products needs the depth of the shard's views to be drawn again."""
        return depth_again([*self.plan.of_kind(products.VIEWS), *self.from_cache(shard)])

    def totals(self, cache: Cache) -> dict[str, int]:
        """Count units of work by product. The unit is a shape for `shapes`, and `Kind.unit` for the others."""
        totals = {}
        shapes = [len(cache.manifest.rows(s)) for s in self.shards if self.from_files(s) or self.draws_again(s)]
        if shapes:
            totals["shapes"] = sum(shapes)
        for record in self.plan.from_cache():
            rows = sum(len(cache.manifest.rows(s)) for s in self.lacking[record.product])
            if rows:
                totals[record.product] = rows * products.of(record).per_shape(record)
        return totals
