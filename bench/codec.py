"""Which codec the stored views deserve: bytes and time per view, measured on the views of a cache.

    python bench/codec.py [CACHE]                     # without one, on views of starter shapes

Zarr codecs (zstd, blosc) can be read as pixels by any client; PNG, WebP and JPEG would be bytes that only we decode.
"""

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Report
from numcodecs import Blosc, Zstd
from PIL import Image

from cache_schema import store
from pipeline import building
from pipeline.recipes import BuildConfig, SourceConfig
from pipeline.work import Machine
from tests.pipeline.afar import Quiet


def pillow(kind: str, **options: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    def encode(view: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(view).save(file, kind, **options)
        return file.getvalue()

    return encode, lambda data: np.asarray(Image.open(io.BytesIO(data)))


def numcodec(codec: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    return lambda view: codec.encode(np.ascontiguousarray(view)), codec.decode


CODECS = {
    "zstd 3": numcodec(Zstd(3)),  # what caches have
    "zstd 1": numcodec(Zstd(1)),
    "zstd 9": numcodec(Zstd(9)),
    "blosc zstd 3 shuffle": numcodec(Blosc("zstd", 3, Blosc.SHUFFLE)),
    "png": pillow("PNG"),
    "webp lossless": pillow("WEBP", lossless=True),
    "webp 90 (lossy)": pillow("WEBP", quality=90),
    "jpeg 95 (lossy)": pillow("JPEG", quality=95),
}


def pixels(data: Any, view: Any) -> bool:
    """Is it the view, bit for bit?"""
    return data == view.tobytes() if isinstance(data, bytes) else np.array_equal(data, view)


def drawn(path: Path) -> Path:
    """A cache of 40 starter shapes and their views, without teachers."""
    config = BuildConfig(source=SourceConfig(options=("count=40",)), labels=(), teachers=())
    building.build_cache("starter", path, config, Machine(device="cpu"), Quiet())
    return path


def views_of(cache: store.Cache) -> list[Any]:
    """The views of about 40 shapes."""
    rows = np.flatnonzero(cache.ok())[:: max(1, int(cache.ok().sum()) // 40)]
    return [view for row in rows for view in cache.array("views/rgb")[int(row)]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmpd-bench-") as folder:
        views = views_of(store.open_cache(arguments.cache or drawn(Path(folder) / "starter.zarr")))
    packed = {name: [encode(view) for view in views] for name, (encode, _) in CODECS.items()}
    for name, (_, decode) in CODECS.items():
        exact = all(pixels(decode(data), view) for data, view in zip(packed[name], views, strict=True))
        assert exact is not ("lossy" in name), f"{name} is {'not ' * (not exact)}exact"
    what = f"views of {views[0].shape[0]} x {views[0].shape[1]} pixels"
    with Report("codec") as report:
        report.figure(what, {name: sum(map(len, data)) / len(data) for name, data in packed.items()}, "bytes a view")
        encoding = {name: lambda encode=encode: [encode(view) for view in views] for name, (encode, _) in CODECS.items()}
        report.compare(f"encode {what}", encoding, arguments.rounds, per=len(views), unit="views")
        decoding = {name: lambda decode=decode, data=packed[name]: [decode(one) for one in data] for name, (_, decode) in CODECS.items()}
        report.compare(f"decode {what}", decoding, arguments.rounds, per=len(views), unit="views")


if __name__ == "__main__":
    main()
