"""Find the nearest of many vectors exactly: by faiss where it is installed, by matrix products otherwise. Both give the same answer.

    scores, rows = nearest(vectors, query, top=10)      # cosines, highest first; equal ones in the order of rows

Letters: n vectors, E their width, k neighbours.
"""

import importlib.util
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError

Engine = Literal["faiss", "numpy"]

CHUNK: Final = 65_536
"""Number of vectors in one matrix product. It changes no result."""
DIGITS: Final = 6
"""Decimals to which cosines are compared. Float32 sums of different orders differ in the seventh; vectors so near are taken for equal."""
SLACK: Final = 4e-6
"""How far a first, rough score may lie from the exact one."""
MORE: Final = 64
"""Number of candidates beyond those asked for, which are scored exactly."""


def engine() -> Engine:
    """What searches on this machine."""
    return "faiss" if importlib.util.find_spec("faiss") else "numpy"


def nearest(
    vectors: NDArray[np.float32], query: NDArray[np.float32], top: int, by: Engine | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The vectors with the highest cosine to a query.

    Args:
        vectors: of unit length, perhaps mapped from a file. [n, E]
        query: of unit length. [E]
        top: number of neighbours, at least 1; all vectors if there are fewer.
        by: what searches; None for faiss if it is installed.

    Returns:
        Cosines rounded to `DIGITS` decimals, and rows. They are in descending order of cosines; of equal ones the lower row comes first.
        [k] each

    Raises:
        UserError: `top` is below 1, or the query has another width or is not finite.
    """
    if top < 1:
        raise UserError(f"a search gives at least one neighbour, asked for {top}")
    if query.shape != vectors.shape[1:] or not np.isfinite(query).all():
        raise UserError(f"a query must be {vectors.shape[1]} finite numbers, got {list(query.shape)}")
    top = min(top, len(vectors))
    query = np.ascontiguousarray(query, np.float32)
    rough = _by_faiss if (by or engine()) == "faiss" else _by_product
    some = rough(vectors, query, top)
    exact = np.round(np.einsum("ne,e->n", vectors[some].astype(np.float64), query.astype(np.float64)), DIGITS)
    best = np.lexsort((some, -exact))[:top]
    return exact[best], some[best]


def _by_product(vectors: NDArray[np.float32], query: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """Rows of all vectors that may be among the `top` nearest, ascending."""
    scores = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), CHUNK):
        np.matmul(vectors[start : start + CHUNK], query, out=scores[start : start + CHUNK])
    least = np.partition(scores, len(scores) - top)[len(scores) - top]
    return np.flatnonzero(scores >= least - SLACK)


def _by_faiss(vectors: NDArray[np.float32], query: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """The same by faiss. Where more vectors than it was asked for are as near as the last neighbour, the product decides."""
    import faiss

    wanted = min(top + MORE, len(vectors))
    scores, rows = faiss.knn(query[None], vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT)
    if wanted < len(vectors) and scores[0, -1] >= scores[0, top - 1] - SLACK:
        return _by_product(vectors, query, top)
    return np.sort(rows[0].astype(np.int64))


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Vectors of length 1 in the same directions; zeros stay. [n, E]"""
    out = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK].astype(np.float64)
        length = np.linalg.norm(part, axis=-1, keepdims=True)
        out[start : start + CHUNK] = part / np.where(length > 0, length, 1)
    return out
