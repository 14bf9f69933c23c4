"""What a command makes: the records it is for, and which of their shards the cache still lacks.

plan = Plan(path=cache.path, records=records, task=task, devices=("cpu",), image_batch=64, caption_batch=16)
todo = Todo(cache, plan)
todo.shards, todo.totals(cache)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cache_schema import products
from cache_schema.products import Kind
from cache_schema.spec import CaptionSpec, Record
from cache_schema.store import Cache
from pipeline.worker import Task

Again = dict[int, list[int]]
"""Failed shapes to try again: by shard, their rows in the cache."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a command makes, and with which settings. Small and picklable: every process at work has one."""

    path: Path
    records: tuple[Record, ...]
    """In the order of making, that of `cache_schema.products.KINDS`."""
    task: Task | None
    """What shape processes do; None where every shape is made already."""
    devices: tuple[str, ...]
    """Torch devices. A process uses one of them."""
    image_batch: int
    caption_batch: int
    token: str = ""
    """What `held_token` says of the process that holds the cache."""
    places: tuple[tuple[str, str], ...] = ()
    """The folders of local models, by digest of their weights; see `pipeline.models.Models`."""

    def of_kind(self, kind: Kind, **names: str) -> list[Record]:
        """The records of a kind of products, as `plan.of_kind(products.IMAGE, teacher="clip")`."""
        return products.select({record.product: record for record in self.records}, kind, **names)

    def from_files(self) -> list[Record]:
        """The products that are made from a shape's own files."""
        return [record for record in self.records if products.from_files(record)]

    def from_cache(self) -> list[Record]:
        """The products that are made from what the cache holds."""
        return [record for record in self.records if products.from_cache(record)]

    def views(self) -> Record:
        """The record of the views."""
        (views,) = self.of_kind(products.VIEWS)
        return views

    def ranker_of(self, captions: Record) -> Record | None:
        """The record of the image embeddings that some captions are ranked with; None where they are not ranked."""
        assert isinstance(captions.spec, CaptionSpec)
        if not captions.spec.rank_by:
            return None
        (ranker,) = self.of_kind(products.IMAGE, teacher=captions.spec.rank_by)
        return ranker

    def captions_of(self, texts: Record) -> Record:
        """The record of the captions that some text embeddings are made from."""
        (captions,) = self.of_kind(products.CAPTIONS, captions=products.parts(texts)["captions"])
        return captions


class Todo:
    """What a cache still lacks of a plan, by shard."""

    def __init__(self, cache: Cache, plan: Plan, only: Mapping[str, set[int]] | None = None) -> None:
        """
        Args:
            cache: the cache.
            plan: what it shall hold.
            only: shards by product, to be made in place of what is missing: damaged ones, or those of new products alone.
        """
        lacking = {record.product: set(cache.missing(record)) for record in plan.records}
        if only is not None:
            lacking = {product: set(only.get(product, ())) for product in lacking}
        else:
            # Without its status a shard's shapes are not known to be those of an earlier attempt: all is made again.
            for record in plan.from_files():
                lacking[record.product] |= lacking.get(products.STATUS.name, set())
        self.plan = plan
        self.lacking = lacking
        self.shards = sorted(set().union(*lacking.values())) if lacking else []

    def from_files(self, shard: int) -> list[Record]:
        """Products to make from files."""
        return [r for r in self.plan.from_files() if shard in self.lacking[r.product]]

    def from_cache(self, shard: int) -> list[Record]:
        """Products to make from what the cache holds."""
        return [r for r in self.plan.from_cache() if shard in self.lacking[r.product]]

    def totals(self, cache: Cache) -> dict[str, int]:
        """Units of work by product: shapes for `shapes`, and for the others what `Kind.unit` says."""
        totals = {}
        shapes = [len(cache.manifest.rows(s)) for s in self.shards if self.from_files(s)]
        if shapes:
            totals["shapes"] = sum(shapes)
        for record in self.plan.from_cache():
            rows = sum(len(cache.manifest.rows(s)) for s in self.lacking[record.product])
            if rows:
                totals[record.product] = rows * products.of(record).per_shape(record)
        return totals
