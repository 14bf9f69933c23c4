"""How fast samples come out of the cache, against other formats holding the same shapes.

    python bench/reader.py                          # ours, NumPy in memory, per-shape .npy, h5py
    python bench/reader.py --peers PYTHON           # also MosaicML streaming and webdataset, in that interpreter

A sample is one block of 1024 points (xyz float16, rgb uint8), one view and one caption embedding 1280 wide (float16), 14 KiB.
The formats hold whole shapes: 8 blocks, 12 views and captions, 135 KiB. Peers keep older dependencies, so they live in an
environment of their own: pip install mosaicml-streaming webdataset h5py. Each reader is one process; the page cache is warm.
"""

import argparse
import importlib.util
import io
import itertools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import Report
from served import Served, serve

BLOCKS, POINTS, VIEWS, WIDTH, BATCH = 8, 1024, 12, 1280, 512
ARRAYS = {
    "xyz": ((BLOCKS, POINTS, 3), "float16"),
    "rgb": ((BLOCKS, POINTS, 3), "uint8"),
    "image": ((VIEWS, WIDTH), "float16"),
    "text": ((VIEWS, WIDTH), "float16"),
}


def shape(row: int) -> dict[str, Any]:
    """The arrays of one shape, the same in every process."""
    rng = np.random.default_rng(row)
    return {
        name: (rng.integers(0, 255, size, np.uint8) if dtype == "uint8" else rng.standard_normal(size, np.float32)).astype(dtype)
        for name, (size, dtype) in ARRAYS.items()
    }


def draws(count: int, samples: int, seed: int) -> Iterator[tuple[Any, Any, Any]]:
    """Batches of (shapes, blocks, views)."""
    rng = np.random.default_rng(seed)
    for _ in range(samples // BATCH):
        yield rng.integers(0, count, BATCH), rng.integers(0, BLOCKS, BATCH), rng.integers(0, VIEWS, BATCH)


# -------------------------------------------------------------------------------------------------------- the readers


def ours(root: Path, count: int) -> Callable[[int], int]:
    from cache_schema import products, store, synthetic
    from cache_schema.spec import PointSpec

    path = root / "ours.zarr"
    if not path.exists():
        teacher = synthetic.teacher("t", WIDTH)
        synthetic.write(path, shapes=count, shard=512, views=VIEWS, points=PointSpec(count=POINTS, blocks=BLOCKS), teachers=(teacher,))
    cache = store.open_cache(path)
    embedded = [cache.of(kind, teacher="t")[0].product for kind in (products.IMAGE, products.TEXT)]
    xyz, rgb, image, text = (cache.rows(name) for name in ("points/xyz", "points/rgb", *embedded))

    def read(seed: int) -> int:
        n = 0
        for rows, blocks, views in draws(count, 20480, seed):
            xyz.gather(rows, blocks), rgb.gather(rows, blocks), image.gather(rows, views), text.gather(rows, views)
            n += BATCH
        return n

    return read


def memory(root: Path, count: int) -> Callable[[int], int]:
    """The limit: the same entries, copied within memory to where the last batch lay."""
    held = {name: np.concatenate([shape(row)[name] for row in range(count)]) for name in ARRAYS}
    out = {name: np.empty((BATCH, *array.shape[1:]), array.dtype) for name, array in held.items()}

    def read(seed: int) -> int:
        n = 0
        for rows, blocks, views in draws(count, 20480, seed):
            for name, array in held.items():
                entries = rows * ARRAYS[name][0][0] + (blocks if name in ("xyz", "rgb") else views)
                np.take(array, entries, axis=0, out=out[name], mode="clip")  # "clip" lets it copy straight into `out`
            n += BATCH
        return n

    return read


def pick(one: dict[str, Any], block: int, view: int) -> tuple[Any, ...]:
    return one["xyz"][block], one["rgb"][block], one["image"][view], one["text"][view]


def stacked(batch: list[tuple[Any, ...]]) -> int:
    _ = [np.stack(column) for column in zip(*batch, strict=True)]
    return len(batch)


def npy_pickles(root: Path, count: int) -> Callable[[int], int]:
    """One pickled dictionary per shape, OpenShape's way."""
    folder = root / "npy"
    if not folder.exists():
        folder.mkdir()
        for row in range(count):
            np.save(folder / f"{row}.npy", shape(row), allow_pickle=True)  # type: ignore[arg-type]

    def read(seed: int) -> int:
        n = 0
        for rows, blocks, views in draws(count, 2048, seed):
            shapes = (np.load(folder / f"{row}.npy", allow_pickle=True).item() for row in rows)
            n += stacked([pick(one, b, v) for one, b, v in zip(shapes, blocks, views, strict=True)])
        return n

    return read


def h5(root: Path, count: int) -> Callable[[int], int]:
    """Sequential, the way it is fastest."""
    import h5py

    file = root / "shapes.h5"
    if not file.exists():
        with h5py.File(file, "w") as f:
            for name, (size, dtype) in ARRAYS.items():
                data = f.create_dataset(name, (count, *size), dtype)
                for row in range(count):
                    data[row] = shape(row)[name]
    opened = h5py.File(file, "r")

    def read(seed: int) -> int:
        n = 0
        for start in range(0, min(count, 2048) - BATCH + 1, BATCH):
            part = {name: opened[name][start : start + BATCH] for name in ARRAYS}
            rows = np.arange(BATCH)
            _, blocks, views = next(draws(count, BATCH, seed))
            part["xyz"][rows, blocks], part["rgb"][rows, blocks], part["image"][rows, views], part["text"][rows, views]
            n += BATCH
        return n

    return read


def streaming(root: Path, count: int) -> Callable[[int], int]:
    import torch

    if not torch.cuda.is_available():  # beside a CPU torch, the index's torchvision cannot be imported without its operators' names
        names = torch.library.Library("torchvision", "DEF")
        names.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        names.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from streaming import MDSWriter, StreamingDataset

    folder = root / "mds"
    if not folder.exists():
        columns = {name: f"ndarray:{dtype}:{','.join(map(str, size))}" for name, (size, dtype) in ARRAYS.items()}
        with MDSWriter(out=str(folder), columns=columns) as writer:
            for row in range(count):
                writer.write(shape(row))
    data = StreamingDataset(local=str(folder), batch_size=1)

    def read(seed: int) -> int:
        n = 0
        for rows, blocks, views in draws(count, 4096, seed):
            n += stacked([pick(data[int(row)], b, v) for row, b, v in zip(rows, blocks, views, strict=True)])
        return n

    return read


def webdataset(root: Path, count: int) -> Callable[[int], int]:
    import webdataset as wds

    folder = root / "wds"
    if not folder.exists():
        folder.mkdir()
        with wds.ShardWriter(f"{folder}/%04d.tar", maxcount=512, verbose=0) as writer:
            for row in range(count):
                files = {}
                for name, value in shape(row).items():
                    buffer = io.BytesIO()
                    np.save(buffer, value)
                    files[f"{name}.npy"] = buffer.getvalue()
                writer.write({"__key__": str(row), **files})

    def read(seed: int) -> int:
        urls = sorted(str(p) for p in folder.glob("*.tar"))
        data = wds.WebDataset(urls, shardshuffle=False, empty_check=False).shuffle(200).decode()
        n, batch = 0, []
        rng = np.random.default_rng(seed)
        for one in data:
            named = {name: one[f"{name}.npy"] for name in ARRAYS}
            batch.append(pick(named, rng.integers(BLOCKS), rng.integers(VIEWS)))
            if len(batch) == BATCH:
                n += stacked(batch)
                batch = []
        return n

    return read


READERS: dict[str, Callable[[Path, int], Callable[[int], int]]] = {
    "this cache": ours,
    "NumPy in memory": memory,
    ".npy pickles": npy_pickles,
    "h5py sequential": h5,
    "MosaicML streaming": streaming,
    "webdataset": webdataset,
}
MODULES = {"h5py sequential": "h5py", "MosaicML streaming": "streaming", "webdataset": "webdataset", "this cache": "cache_schema"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="interpreter with mosaicml-streaming, webdataset and h5py")
    parser.add_argument("--shapes", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.shapes < BATCH:
        parser.error(f"--shapes must be at least {BATCH}, a batch")
    if arguments.serve:
        read, seeds = READERS[arguments.serve[0]](Path(arguments.serve[1]), arguments.shapes), itertools.count()
        serve(lambda: read(next(seeds)))
        return
    root, children = Path(tempfile.mkdtemp(prefix="mmpd-bench-")), {}
    what = "random samples: one block, one view, one caption"
    try:
        with Report("reader") as report:
            for name in READERS:
                here = name not in MODULES or importlib.util.find_spec(MODULES[name]) is not None
                if not here and not arguments.peers:
                    report.missing(f"{what}: {name}", f"{MODULES[name]} is not installed")
                    continue
                python = sys.executable if here else arguments.peers
                children[name] = Served([python, __file__, "--shapes", str(arguments.shapes), "--serve", name, str(root)])
            report.compare(what, children, arguments.rounds, unit="samples", limits=("NumPy in memory",))
    finally:
        for child in children.values():
            child.close()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
