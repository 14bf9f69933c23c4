"""How long does a search in a million vectors take, by faiss and by matrix products? Both take turns.

    python bench/search.py --vectors 1000000 --widths 192,512

Prints the median time of a query in seconds with its spread, for vectors that are mapped from a file and were read before.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from trainer import search


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--widths", default="192,512")
    parser.add_argument("--queries", type=int, default=9)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    for width in map(int, arguments.widths.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.npy"
            mapped = np.lib.format.open_memmap(path, "w+", np.float32, (arguments.vectors, width))
            for start in range(0, arguments.vectors, search.CHUNK):
                part = mapped[start : start + search.CHUNK]
                part[:] = search.unit(rng.standard_normal(part.shape, np.float32))
            vectors = np.load(path, mmap_mode="r")
            times = {"faiss": [], "numpy": []}
            for query in search.unit(rng.standard_normal((arguments.queries + 1, width), np.float32)):
                found = []
                for by, taken in times.items():
                    start = time.perf_counter()
                    found.append(search.nearest(vectors, query, 10, by))
                    taken.append(time.perf_counter() - start)
                assert all((one == two).all() for one, two in zip(*found, strict=True))
            for by, taken in times.items():
                taken = taken[1:]  # the first reads the file
                print(f"{arguments.vectors:,} x {width} by {by}: {statistics.median(taken):.3f} s ({min(taken):.3f}..{max(taken):.3f})")


if __name__ == "__main__":
    main()
