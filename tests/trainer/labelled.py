"""Small caches whose points have labels by geometry: shapes with parts, and rooms in overlapping crops."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema import spec, store, synthetic
from cache_schema.spec import Manifest, PointSpec, Record, SourceSpec
from cache_schema.store import Cache
from trainer import ops

FORMS = {"tower": (0.35, 1.0, 0.35), "table": (0.9, 0.4, 0.9), "rod": (1.0, 0.15, 0.15)}
PARTS = ("foot", "top", "left", "right", "middle")
CLASSES = ("floor", "wall", "ceiling", "table", "clutter")


def parts_of(kind: str, xyz: NDArray[np.float64]) -> NDArray[np.int16]:
    """A tower has foot and top, a table too but cut elsewhere, a rod has left, middle and right."""
    x, y = xyz[..., 0], xyz[..., 1]
    if kind == "rod":
        return np.where(x < -0.3, 2, np.where(x > 0.3, 3, 4)).astype(np.int16)
    return (y > (0.0 if kind == "tower" else 0.2)).astype(np.int16)


def write_cache(
    path: Path,
    ids: Sequence[str],
    splits: Sequence[int],
    points: PointSpec,
    arrays: dict[str, NDArray[np.generic]],
    labels: Sequence[int] | None = None,
    classes: tuple[str, ...] = (),
    names: tuple[str, ...] = ("train", "test"),
    digests: NDArray[np.uint8] | None = None,
    failed: Sequence[int] = (),
) -> Cache:
    """A cache of points alone. `arrays` holds `points/xyz` and labels, `names` the names of the splits, `failed` rows that failed."""
    count = len(ids)
    source = SourceSpec(kind="synthetic", ids=spec.ids_digest(list(ids)))
    manifest = Manifest(shapes=count, shard=16, source=source, classes=classes, splits=names)
    cache = store.create(path, manifest, list(ids), list(labels) if labels else [-1] * count, list(splits))
    status = {
        "status": np.where(np.isin(np.arange(count), failed), spec.FAILED, spec.OK).astype(np.uint8),
        "reason": np.zeros((count, spec.TEXT_BYTES), np.uint8),
        "source_sha256": np.zeros((count, 32), np.uint8) if digests is None else digests,
        "colored": np.zeros(count, np.uint8),
        "repeated": np.zeros(count, np.uint8),
    }
    rgb = {"points/rgb": np.full(arrays["points/xyz"].shape, 128, np.uint8)}
    synthetic.fill(
        cache,
        {
            Record(product="status", kind="status", spec=source, inputs=()): status,
            Record(product="points", kind="points", spec=points, inputs=()): rgb | arrays,
        },
    )
    return cache


def ordered(xyz: NDArray[np.float64], *labels: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """Points [N, P, 3] as float16 in farthest-point order, and their labels [N, P] with them."""
    stored = torch.from_numpy(xyz.astype(np.float16))
    order = ops.farthest_points(stored, stored.shape[1]).numpy()
    return [np.take_along_axis(stored.numpy(), order[..., None], 1), *(np.take_along_axis(label, order, 1) for label in labels)]


def write_parts(
    path: Path, shapes: int = 36, count: int = 128, forms: Sequence[str] = tuple(FORMS), unlabelled: Sequence[int] = ()
) -> Cache:
    """Boxes of three kinds, two blocks each; every third is a test shape. Rows in `unlabelled` have no label."""
    rng = np.random.default_rng(3)
    kinds = [forms[i % len(forms)] for i in range(shapes)]
    size = np.array([FORMS[kind] for kind in kinds])[:, None, None]
    xyz = (rng.uniform(-1, 1, (shapes, 2, count, 3)) * size * rng.uniform(0.8, 1.0, (shapes, 1, 1, 3))) / np.sqrt(3)
    part = np.stack([parts_of(kind, own) for kind, own in zip(kinds, xyz, strict=True)])
    part[list(unlabelled)] = -1
    flat, labels = ordered(xyz.reshape(-1, count, 3), part.reshape(-1, count))
    arrays = {"points/xyz": flat.reshape(xyz.shape), "points/part": labels.reshape(part.shape)}
    spec_ = PointSpec(count=count, blocks=2, ordered=count, parts=PARTS)
    where = [int(i // len(forms) % 3 == 2) for i in range(shapes)]
    return write_cache(
        path, [f"{kind}/{i:03d}" for i, kind in enumerate(kinds)], where, spec_, arrays, [list(forms).index(k) for k in kinds], tuple(forms)
    )


def room(rng: np.random.Generator, count: int = 3000) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """A room of 2 m x 2 m x 2.5 m with a table: points [n, 3] in metres, +Y up, and their classes [n]."""
    kind = rng.choice(5, count, p=(0.25, 0.35, 0.2, 0.15, 0.05)).astype(np.int16)
    xyz = rng.uniform(0, 1, (count, 3)) * (2.0, 2.5, 2.0)
    xyz[kind == 0, 1], xyz[kind == 2, 1] = 0.0, 2.5
    side = rng.integers(0, 4, count)
    for i, (axis, value) in enumerate(((0, 0.0), (0, 2.0), (2, 0.0), (2, 2.0))):
        xyz[(kind == 1) & (side == i), axis] = value
    at = rng.uniform(0.5, 1.5, 2)
    table = kind == 3
    xyz[table] = rng.uniform(-0.5, 0.5, (table.sum(), 3)) * (0.8, 0.05, 0.8) + (at[0], 0.75, at[1])
    return xyz, kind


def write_scenes(
    path: Path, scenes: int = 6, count: int = 192, classes: tuple[str, ...] = CLASSES, normalize: str = "none", points: int = 3000
) -> Cache:
    """Rooms in 9 overlapping columns of 1 m x 1 m, two blocks each. Every third room is a test scene. Class 4 has no label (-1)."""
    rng = np.random.default_rng(5)
    ids, splits, xyzs, parts, origins = [], [], [], [], []
    for i in range(scenes):
        xyz, kind = room(rng, points)
        kind = np.where(kind == 4, -1, kind).astype(np.int16)
        for a in range(3):
            for b in range(3):
                low = np.array([a, b]) / 2
                inside = np.flatnonzero(((xyz[:, [0, 2]] >= low) & (xyz[:, [0, 2]] <= low + 1)).all(1))
                chosen = rng.choice(inside, (2, count), replace=len(inside) < 2 * count)
                ids.append(f"room{i}#x{a}z{b}")
                splits.append(int(i % 3 == 2))
                xyzs.append(xyz[chosen] - (low[0] + 0.5, 0.0, low[1] + 0.5))
                parts.append(kind[chosen])
                origins.append(chosen.astype(np.int32))
    shape = (len(ids), 2, count)
    flat = [np.stack(values).reshape(-1, *np.stack(values).shape[2:]) for values in (xyzs, parts, origins)]
    xyz16, part, origin = ordered(*flat)
    arrays = {"points/xyz": xyz16.reshape(*shape, 3), "points/part": part.reshape(shape), "points/origin": origin.reshape(shape)}
    spec_ = PointSpec(count=count, blocks=2, ordered=count, normalize=normalize, parts=classes, origins=True)  # type: ignore[arg-type]
    return write_cache(path, ids, splits, spec_, arrays)
