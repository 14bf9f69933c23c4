"""The state of a cache at one moment, complete or not, for pages and tables.

    snapshot = Snapshot(cache)
    snapshot.table("reason", rows)      # [n, 256], of the rows that are done

Letters: N shapes of the cache, n rows asked for.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, spec
from cache_schema.layout import texts
from cache_schema.rows import Rows
from cache_schema.selection import held
from cache_schema.spec import CameraRig, ViewSpec
from cache_schema.store import Cache

VIEWS: Final = 6
"""Number of views that are shown of a shape."""


class Snapshot:
    """The finished shards of a cache at one moment. Their products may be unfinished."""

    def __init__(self, cache: Cache) -> None:
        """Note which shards of a cache are finished now. Shards that a build finishes later are not seen."""
        self.cache = cache
        self.records = {record.product: record for record in products.in_order(cache.records().values())}
        self.manifest = cache.manifest
        self.nodes = {node.path: node for record in self.records.values() for node in cache.arrays(record)}
        # Asked before anything is read, so that what is read was written.
        self.missing = {name: cache.missing(record) for name, record in self.records.items()}
        of_shapes = [name for name, record in self.records.items() if not products.of(record).labelled]
        self._done = {name: self._written(self.missing[name]) for name in of_shapes}
        self.label: NDArray[np.int32] = cache.column("label")
        self.split: NDArray[np.int32] = cache.column("split")
        self.status: NDArray[np.uint8] = np.full(self.manifest.shapes, spec.PENDING, np.uint8)
        if products.STATUS.name in self.records:
            self.status = np.where(self.done(products.STATUS.name), cache.column("status"), self.status)
        self.held: NDArray[np.bool_] = held(self.manifest)
        """Which rows hold a shape. [N]"""
        self.views: list[int] = []
        """The views that are shown, evenly spread."""
        if products.VIEWS.name in self.records:
            self.views = spread(np.arange(self._described.count), VIEWS).tolist()

    def _written(self, missing: list[int]) -> NDArray[np.bool_]:
        shards = np.ones(self.manifest.shards, bool)
        shards[missing] = False
        return np.repeat(shards, self.manifest.shard)[: self.manifest.shapes]

    @property
    def counts(self) -> dict[str, int]:
        """Number of shapes by status. Rows between two segments hold no shape."""
        names = {"ok": spec.OK, "failed": spec.FAILED, "pending": spec.PENDING}
        return {name: int((self.status[self.held] == value).sum()) for name, value in names.items()}

    @property
    def _described(self) -> ViewSpec:
        described = self.records[products.VIEWS.name].spec
        assert isinstance(described, ViewSpec)
        return described

    @property
    def rig(self) -> CameraRig:
        """The cameras of the views, or those that they were chosen among."""
        return self._described.rig

    def done(self, product: str) -> NDArray[np.bool_]:
        """Which rows of a product are written. [N]"""
        return self._done.get(product, np.zeros(self.manifest.shapes, bool))

    def table(self, path: str, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows of an array that is stored a shard at a time. [n, ...]"""
        node = self.nodes[path]
        out = np.zeros((len(rows), *node.shape[1:]), node.dtype)
        for shard in np.unique(rows // node.shard):
            mine = rows // node.shard == shard
            out[mine] = self.cache.shard_rows(node, int(shard))[rows[mine] % node.shard]
        return out

    @property
    def points_view(self) -> int:
        """The shown view that is nearest to a three-quarter one, or the best one if views were chosen for each shape."""
        if self._described.policy is not None:
            return self.views[0]
        return min(self.views, key=lambda v: abs((self.rig.cameras[v].azimuth - 45 + 180) % 360 - 180))

    def mapped(self, path: str) -> Rows:
        """An uncompressed array, memory-mapped. Read only rows that are `done`."""
        return Rows(self.cache.file, self.nodes[path])

    def names(self, rows: NDArray[Any]) -> list[tuple[str, str]]:
        """The ids of shapes, and the names of their classes; these are empty where there are none."""
        found = texts(self.table("id", rows))
        return [
            (str(name), self.manifest.classes[label] if label >= 0 else "")
            for name, label in zip(found, self.label[rows].tolist(), strict=True)
        ]

    def name(self, row: int) -> tuple[str, str]:
        """A shape's id, and the name of its class; that is empty where it has none."""
        return self.names(np.array([row]))[0]

    def split_name(self, row: int) -> str:
        """The name of a shape's split; empty where it has none."""
        return self.manifest.splits[self.split[row]] if self.split[row] >= 0 else ""


def spread(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """At most `count` of the rows, evenly spaced."""
    return rows if len(rows) <= count else rows[np.arange(count) * len(rows) // count]
