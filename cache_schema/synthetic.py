"""A small, valid cache of random numbers: for tests, benchmarks and first contact. Its values mean nothing.

python -m cache_schema.synthetic random.zarr --shapes 64
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, spec, store
from cache_schema.layout import text_cells
from cache_schema.spec import CaptionSpec, GuideSpec, LabelSet, Manifest, PointSpec, Record, SourceSpec, TeacherSpec
from cache_schema.store import Cache


def teacher(name: str, dim: int = 32, *, text: bool = True) -> TeacherSpec:
    """The description of a teacher that does not exist."""
    return TeacherSpec(name=name, backend="synthetic", model="random", weights=name, preprocess="none", dim=dim, text=text, image_size=32)


def write(
    path: str | os.PathLike[str],
    *,
    shapes: int = 24,
    shard: int = 8,
    views: int = 3,
    points: PointSpec | None = None,
    teachers: tuple[TeacherSpec, ...] = (),
    labels: LabelSet | None = None,
    guide: GuideSpec | None = None,
    failed: tuple[int, ...] = (),
    captions: tuple[str, ...] = ("synthetic",),
    format_version: int = spec.FORMAT_VERSION,
    seed: int = 0,
    licence: str = "",
    real: tuple[int, ...] = (),
) -> Cache:
    """Write a complete cache of random numbers, with every product but the pictures.

    Args:
        path: where.
        shapes, shard, views: N, S, V.
        points: the blocks; 2 of 64 points by default. Every block is one farthest-point ordered block, turned at random.
        teachers: whose embeddings to make; one image-text and one vision-only teacher by default.
        labels: a label set; three classes by default. Shapes have its classes in turn, and splits train, train, test.
        guide: guide features to make, if any.
        failed: rows that are marked failed and hold zeros.
        captions: names of the captions to make, each embedded by every teacher with a text side.
        format_version: format of the cache. Format 1 has room for one set of captions, without a name.
        seed: of everything random.
        licence: of all shapes; empty for unknown.
        real: number of different points of a block, for shapes in turn. The other points of a block repeat these. Empty: all differ.
    """
    points = points or PointSpec(count=64, blocks=2, ordered=32)
    teachers = teachers or (teacher("random-a"), teacher("random-b", 16, text=False))
    labels = labels or LabelSet(name="three", classes=("cone", "cube", "torus"), templates=("a {}", "the shape of a {}"))
    rng = np.random.default_rng(seed)
    ids = [f"{labels.classes[i % len(labels.classes)]}/{i:06d}" for i in range(shapes)]
    source = SourceSpec(kind="synthetic", ids=spec.ids_digest(ids))
    manifest = Manifest(
        format_version=format_version,
        shapes=shapes,
        shard=shard,
        source=source,
        classes=labels.classes,
        splits=("train", "test"),
        licences=(licence,) if licence else (),
    )
    classes = [i % len(labels.classes) for i in range(shapes)]
    cache = store.create(path, manifest, ids, classes, [int(i % 3 == 2) for i in range(shapes)], [0] * shapes if licence else None)
    alive = np.isin(np.arange(shapes), failed, invert=True)
    words = [labels.classes[c] for c in classes]
    base = _ordered_sphere(points.count, points.ordered, rng)
    there = np.minimum(np.resize(real or points.count, shapes), points.count)
    for record in _records(source, points, views, teachers, guide, captions):
        begun = cache.begin(record)
        for number in range(manifest.shards):
            cache.write(begun, number, _values(cache, begun, manifest.rows(number), alive, words, base, there, rng))
        cache.finish(begun)
    for t in (t for t in teachers if t.text):
        product = products.LABELS.product(set=labels.name, teacher=t.name)
        record = Record(product=product, kind=products.LABELS.name, spec=t, labels=labels, inputs=())
        shape = (len(labels.classes), len(labels.templates), t.dim)
        fill(cache, {record: {product: rng.standard_normal(shape, np.float32).astype(np.float16)}})
    return cache


def _records(
    source: SourceSpec, points: PointSpec, views: int, teachers: tuple[TeacherSpec, ...], guide: GuideSpec | None, captions: tuple[str, ...]
) -> list[Record]:
    """The records of a cache but for its index and labels, in the order of making."""

    def record(kind: products.Kind, described: Any, per_shape: int = 0, **names: str) -> Record:
        return Record(product=kind.product(**names), kind=kind.name, spec=described, per_shape=per_shape, inputs=())

    readers = [t for t in teachers if t.text]
    return [
        record(products.STATUS, source),
        record(products.POINTS, points),
        *(record(products.CAPTIONS, CaptionSpec(name=c, captioner="synthetic", samples=2), views, captions=c) for c in captions),
        *(record(products.IMAGE, t, views, teacher=t.name) for t in teachers),
        *(record(products.TEXT, t, views, captions=c, teacher=t.name) for c in captions for t in readers),
        *([record(products.GUIDE, guide, guide=guide.name)] if guide else []),
    ]


def _values(
    cache: Cache,
    record: Record,
    rows: range,
    alive: NDArray[np.bool_],
    words: list[str],
    base: NDArray[np.float32],
    real: NDArray[np.int64],
    rng: np.random.Generator,
) -> dict[str, NDArray[Any]]:
    """Random values of one shard of a product, by array. Shapes that are not alive have zeros and a reason.

    Args:
        cache, record, rows: of which product which rows.
        alive: which shapes are. [N]
        words: name of each shape's class. [N]
        base: the block of points that every block is, turned. [P, 3]
        real: number of different points in a block of each shape. [N]
        rng: of everything random.
    """
    keep = alive[rows.start : rows.stop]
    values: dict[str, NDArray[Any]] = {}
    for node in cache.arrays(record):
        size = (len(rows), *node.shape[1:])
        match node.path.rpartition("/")[2], record.spec:
            case "status", _:
                full = np.where(keep, spec.OK, spec.FAILED).astype(np.uint8)
            case "reason", _:
                full = text_cells(["" if ok else "synthetic failure" for ok in keep])
            case "xyz", PointSpec() as points:
                full = (base @ _rotations(len(rows) * points.blocks, rng)).reshape(size).astype(node.dtype)
                for i, there in enumerate(real[rows.start : rows.stop]):
                    full[i] = full[i][:, np.arange(points.count) % there]
            case "normal", PointSpec():
                full = np.zeros(size, np.float16)
                full[..., 1] = 1
            case "part" | "instance" | "origin" as which, PointSpec() as points:
                full = rng.integers(-1, len(points.parts) if which == "part" else 3, size).astype(node.dtype)
            case "text", CaptionSpec():
                said = [f"a random {words[r]}, view {v}" for r in rows for v in range(size[1] * size[2])]
                full = text_cells(said).reshape(size)
            case "repeated", _:
                full = (real[rows.start : rows.stop] < len(base)).astype(np.uint8)
            case "colored", _:
                rng.integers(0, 256, size, np.uint8)  # other values of a seed stay what they were
                full = np.ones(size, np.uint8)
            case _ if node.dtype == "uint8":
                full = rng.integers(0, 256, size, np.uint8)
            case _:
                full = rng.standard_normal(size, np.float32).astype(node.dtype)
        if node.path not in ("status", "reason"):
            full[~keep] = 0
        values[node.path] = full
    return values


def fill(cache: Cache, values: Mapping[Record, Mapping[str, NDArray[Any]]]) -> None:
    """Make products of given values, each finished.

    Args:
        cache: to write them into.
        values: by record, the whole arrays by path.
    """
    for record, arrays in values.items():
        begun = cache.begin(record)
        for shard in range(cache.arrays(begun)[0].shards):
            part = slice(shard * cache.arrays(begun)[0].shard, (shard + 1) * cache.arrays(begun)[0].shard)
            cache.write(begun, shard, {name: whole[part] for name, whole in arrays.items()})
        cache.finish(begun)


def _ordered_sphere(count: int, ordered: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Points on the unit sphere, the first `ordered` of them in farthest-point order. [P, 3]"""
    points = rng.standard_normal((count, 3))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    order, nearest = [0], np.full(count, np.inf)
    for _ in range(ordered - 1):
        nearest = np.minimum(nearest, ((points - points[order[-1]]) ** 2).sum(1))
        order.append(int(nearest.argmax()))
    rest = np.setdiff1d(np.arange(count), order)
    return np.asarray(points[np.concatenate([order, rest])], np.float32)


def _rotations(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Random rotations [count, 3, 3]; they keep the farthest-point order."""
    q, r = np.linalg.qr(rng.standard_normal((count, 3, 3)))
    return np.asarray(q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :], np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a valid cache of random numbers.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--shapes", type=int, default=24)
    arguments = parser.parse_args()
    write(arguments.path, shapes=arguments.shapes)
