"""How long does a search in a million vectors take, by faiss and by matrix products? Both take turns.

    python bench/search.py --vectors 1000000 --widths 192,512

The vectors are mapped from a file and were read before. Both must find the same neighbours.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
from measure import Report

from trainer import search


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--widths", default="192,512")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with Report("search") as report, tempfile.TemporaryDirectory() as folder:
        for width in map(int, arguments.widths.split(",")):
            path = Path(folder) / f"{width}.npy"
            mapped = np.lib.format.open_memmap(path, "w+", np.float32, (arguments.vectors, width))
            for start in range(0, arguments.vectors, search.CHUNK):
                part = mapped[start : start + search.CHUNK]
                part[:] = search.unit(rng.standard_normal(part.shape, np.float32))
            vectors = np.load(path, mmap_mode="r")
            queries = search.unit(rng.standard_normal((8, width), np.float32))
            for query in queries:
                assert all((one == two).all() for one, two in zip(*(search.nearest(vectors, query, 10, by) for by in BY), strict=True))
            ways = {f"{by}": asked(vectors, itertools.cycle(queries), by) for by in BY}
            report.compare(f"one query, {arguments.vectors:,} vectors, {width} wide", ways, arguments.rounds, unit="queries")
            path.unlink()


BY = ("faiss", "numpy")


def asked(vectors, queries, by):
    return lambda: search.nearest(vectors, next(queries), 10, by)


if __name__ == "__main__":
    main()
