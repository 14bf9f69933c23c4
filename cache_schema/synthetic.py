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

from cache_schema import spec, store
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
    seed: int = 0,
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
        seed: of everything random.
    """
    points = points or PointSpec(count=64, blocks=2, ordered=32)
    teachers = teachers or (teacher("random-a"), teacher("random-b", 16, text=False))
    labels = labels or LabelSet(name="three", classes=("cone", "cube", "torus"), templates=("a {}", "the shape of a {}"))
    rng = np.random.default_rng(seed)
    ids = [f"{labels.classes[i % len(labels.classes)]}/{i:06d}" for i in range(shapes)]
    source = SourceSpec(kind="synthetic", ids=spec.ids_digest(ids))
    manifest = Manifest(shapes=shapes, shard=shard, source=source, classes=labels.classes, splits=("train", "test"))
    classes = [i % len(labels.classes) for i in range(shapes)]
    cache = store.create(path, manifest, ids, classes, [int(i % 3 == 2) for i in range(shapes)])
    alive = np.isin(np.arange(shapes), failed, invert=True)
    base = _ordered_sphere(points.count, points.ordered, rng)

    captions = CaptionSpec(captioner="synthetic", samples=2)
    records = [
        Record(product="status", kind="status", spec=source, inputs=()),
        Record(product="points", kind="points", spec=points, inputs=()),
        Record(product="captions", kind="captions", spec=captions, per_shape=views, inputs=()),
        *(Record(product=f"image/{t.name}", kind="image", spec=t, per_shape=views, inputs=()) for t in teachers),
        *(Record(product=f"text/{t.name}", kind="text", spec=t, per_shape=views, inputs=()) for t in teachers if t.text),
        *([Record(product=f"guide/{guide.name}", kind="guide", spec=guide, inputs=())] if guide else []),
    ]
    for record in records:
        cache.begin(record)
        for shard_ in range(manifest.shards):
            rows = manifest.rows(shard_)
            keep = alive[rows.start : rows.stop]
            values: dict[str, NDArray[Any]] = {}
            for node in cache.arrays(record):
                size = (len(rows), *node.shape[1:])
                if node.path == "status":
                    full = np.where(keep, spec.OK, spec.FAILED).astype(np.uint8)
                elif node.path == "reason":
                    full = store.text_cells(["" if ok else "synthetic failure" for ok in keep])
                elif node.path == "points/xyz":
                    turns = _rotations(len(rows) * points.blocks, rng)
                    full = (base @ turns).reshape(size).astype(node.dtype)
                elif node.path == "captions/text":
                    words = [f"a random {labels.classes[classes[r]]}, view {v}" for r in rows for v in range(views * captions.samples)]
                    full = store.text_cells(words).reshape(size)
                elif node.path == "repeated":
                    full = np.zeros(size, np.uint8)
                elif node.dtype == "uint8":
                    full = rng.integers(0, 256, size, np.uint8)
                    if node.path == "colored":
                        full[:] = 1
                else:
                    full = rng.standard_normal(size, np.float32).astype(node.dtype)
                if node.path not in ("status", "reason"):
                    full[~keep] = 0
                values[node.path] = full
            cache.write(record, shard_, values)
        cache.finish(record)
    for t in teachers:
        if t.text:
            record = Record(product=f"labels/{labels.name}/{t.name}", kind="labels", spec=t, labels=labels, inputs=())
            cache.begin(record)
            shape = (len(labels.classes), len(labels.templates), t.dim)
            cache.write(record, 0, {record.product: rng.standard_normal(shape, np.float32).astype(np.float16)})
            cache.finish(record)
    return cache


def fill(cache: Cache, products: Mapping[Record, Mapping[str, NDArray[Any]]]) -> None:
    """Make products of given values, each finished.

    Args:
        cache: to write them into.
        products: by record, the whole arrays by path.
    """
    for record, arrays in products.items():
        cache.begin(record)
        for shard in range(cache.manifest.shards):
            rows = cache.manifest.rows(shard)
            cache.write(record, shard, {name: values[rows.start : rows.stop] for name, values in arrays.items()})
        cache.finish(record)


def _ordered_sphere(count: int, ordered: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Points on the unit sphere, the first `ordered` of them in farthest-point order. [P, 3]"""
    points = rng.standard_normal((count, 3))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    order, nearest = [0], np.full(count, np.inf)
    for _ in range(ordered - 1):
        nearest = np.minimum(nearest, ((points - points[order[-1]]) ** 2).sum(1))
        order.append(int(nearest.argmax()))
    rest = np.setdiff1d(np.arange(count), order)
    return points[np.concatenate([order, rest])]


def _rotations(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Random rotations [count, 3, 3]; they keep the farthest-point order."""
    q, r = np.linalg.qr(rng.standard_normal((count, 3, 3)))
    return (q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]).astype(np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a valid cache of random numbers.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--shapes", type=int, default=24)
    arguments = parser.parse_args()
    write(arguments.path, shapes=arguments.shapes)
