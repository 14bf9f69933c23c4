"""Caches of made-up rooms: boxes of points of three kinds on a floor, with their true boxes."""

import numpy as np
import torch

from cache_schema import spec, store, synthetic
from cache_schema.spec import BoxSpec, Manifest, PointSpec, Record, SourceSpec
from trainer import ops

KINDS = {"crate": (0.6, 0.6, 0.6), "pillar": (0.35, 1.4, 0.35), "table": (1.3, 0.25, 0.7)}
"""Kinds of furniture, and their usual sizes in metres."""


def surface(rng, size, count):
    """Points on the surface of a box at the origin, [count, 3]."""
    points = rng.uniform(-0.5, 0.5, (count, 3))
    area = np.array([size[1] * size[2], size[0] * size[2], size[0] * size[1]])
    axis = rng.choice(3, count, p=area / area.sum())
    points[np.arange(count), axis] = np.sign(points[np.arange(count), axis]) / 2
    return points * size


def room(rng, count, kinds, turned, side=4.0):
    """Points [count, 3] of a room with 2 to 4 pieces of furniture that stand apart, their boxes [m, 7] and kinds [m]."""
    found, parts = [], []
    for _ in range(rng.integers(2, 5)):
        kind = int(rng.integers(len(kinds)))
        size = np.array(KINDS[kinds[kind]]) * rng.uniform(0.9, 1.1, 3)
        for _ in range(20):
            x, z = rng.uniform(-side / 2 + 0.7, side / 2 - 0.7, 2)
            if all(np.hypot(x - b[0], z - b[2]) > 1.2 for b, _ in found):
                break
        else:
            continue
        angle = rng.uniform(-4, 4) if turned else 0.0
        found.append((np.array([x, size[1] / 2, z, *size, angle]), kind))
    share = count // (len(found) + 2)
    for box, _ in found:
        c, s = np.cos(box[6]), np.sin(box[6])
        parts.append(surface(rng, box[3:6], share) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + box[:3])
    floor = rng.uniform(-side / 2, side / 2, (count - share * len(found), 3)) * [1, 0, 1]
    return np.concatenate([*parts, floor]), np.array([b for b, _ in found]), np.array([k for _, k in found])


def write(path, *, rooms=12, tests=4, count=512, kinds=tuple(KINDS), turned=False, seed=0, most=6, ids=None, change=None, normalize="none"):
    """A cache of rooms, the last `tests` of them in the split `test`. `change` may alter the arrays of boxes and classes before they are
    written."""
    rng = np.random.default_rng(seed)
    ids = ids or [f"room{i:03d}" for i in range(rooms)]
    source = SourceSpec(kind="synthetic", ids=spec.ids_digest(ids))
    manifest = Manifest(shapes=rooms, shard=8, source=source, splits=("train", "test"))
    cache = store.create(path, manifest, ids, [-1] * rooms, [int(i >= rooms - tests) for i in range(rooms)])
    xyz, boxes = np.zeros((rooms, 1, count, 3), np.float32), np.zeros((rooms, most, 7), np.float32)
    classes = np.full((rooms, most), -1, np.int32)
    for i in range(rooms):
        points, own, kind = room(rng, count, kinds, turned)
        points = torch.from_numpy(points.astype(np.float32))[None]
        xyz[i] = ops.gather(points, ops.farthest_points(points, count)).numpy()
        boxes[i, : len(own)], classes[i, : len(own)] = own, kind
    if change is not None:
        change(boxes, classes)
    zeros = np.zeros(rooms, np.uint8)
    points = PointSpec(count=count, blocks=1, ordered=count, dtype="float32", normalize=normalize)
    products = {
        Record(product="status", kind="status", spec=source, inputs=()): {
            "status": np.full(rooms, spec.OK, np.uint8),
            "reason": np.zeros((rooms, spec.TEXT_BYTES), np.uint8),
            "source_sha256": np.zeros((rooms, 32), np.uint8),
            "colored": zeros,
            "repeated": zeros,
        },
        Record(product="points", kind="points", spec=points, inputs=()): {
            "points/xyz": xyz,
            "points/rgb": np.full((rooms, 1, count, 3), 128, np.uint8),
        },
        Record(product="boxes", kind="boxes", spec=BoxSpec(names=tuple(kinds), most=most), inputs=()): {
            "boxes/box": boxes,
            "boxes/class": classes,
        },
    }
    synthetic.fill(cache, products)
    return cache
