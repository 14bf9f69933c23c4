"""Which codec the stored views deserve: bytes and time per view, measured on the views of a cache.

    python bench/codec.py CACHE

Zarr codecs (zstd, blosc) can be read as pixels by any client; PNG, WebP and JPEG would be bytes that only we decode.
"""

import io
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numcodecs import Blosc, Zstd
from PIL import Image

from cache_schema import store


def pillow(kind: str, **options: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    def encode(view: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(view).save(file, kind, **options)
        return file.getvalue()

    return encode, lambda data: np.asarray(Image.open(io.BytesIO(data)))


def numcodec(codec: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    return lambda view: codec.encode(np.ascontiguousarray(view)), codec.decode


CODECS = {
    "zstd 1": numcodec(Zstd(1)),
    "zstd 3": numcodec(Zstd(3)),
    "zstd 9": numcodec(Zstd(9)),
    "blosc zstd 3 shuffle": numcodec(Blosc("zstd", 3, Blosc.SHUFFLE)),
    "png": pillow("PNG"),
    "webp lossless": pillow("WEBP", lossless=True),
    "webp 90 (lossy)": pillow("WEBP", quality=90),
    "jpeg 95 (lossy)": pillow("JPEG", quality=95),
}


def main() -> None:
    cache = store.open_cache(sys.argv[1])
    rows = np.flatnonzero(cache.ok())[:: max(1, int(cache.ok().sum()) // 40)]
    views = [view for row in rows for view in cache.array("views/rgb")[int(row)]]
    print(f"{len(views)} views of {views[0].shape[0]} pixels, {views[0].nbytes:,} bytes raw each")
    print(f"{'codec':22} {'bytes':>9} {'encode ms':>10} {'decode ms':>10}  exact")
    for name, (encode, decode) in CODECS.items():
        start = time.perf_counter()
        packed = [encode(view) for view in views]
        middle = time.perf_counter()
        back = [decode(data) for data in packed]
        end = time.perf_counter()
        exact = all(bytes(b) == v.tobytes() if isinstance(b, bytes) else np.array_equal(b, v) for b, v in zip(back, views, strict=True))
        size = sum(map(len, packed)) / len(views)
        print(f"{name:22} {size:9,.0f} {(middle - start) / len(views) * 1e3:10.2f} {(end - middle) / len(views) * 1e3:10.2f}  {exact}")


if __name__ == "__main__":
    main()
