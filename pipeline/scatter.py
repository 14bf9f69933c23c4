"""A map of a cache's shapes in the plane: similar pictures lie close to each other, as one teacher sees them.

    for one in maps(Snapshot(cache), "pca"):
        one.places                         # [n, 2]

Letters: n shapes, E embedding width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.spec import TeacherSpec
from pipeline.describe import is_random
from pipeline.findings import compared, embedded, sampled, usable
from pipeline.snapshot import Snapshot

Method = Literal["pca", "umap"]
MAPPED: Final = 1000
"""Largest number of shapes on a map."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """A map of the shapes by one teacher."""

    teacher: str
    random: bool
    """Whether the teacher has random weights, so that the map means little."""
    rows: NDArray[np.int64]
    """Row of each shape in the cache. [n]"""
    places: NDArray[np.float64]
    """Place of each shape. [n, 2]"""
    axes: tuple[str, str]
    """What the two axes are, in words."""


def maps(snapshot: Snapshot, method: Method) -> Iterator[Map]:
    """Make the map of every teacher.

    Args:
        snapshot: the cache.
        method: `pca` for the two directions of largest variance; `umap` for https://arxiv.org/abs/1802.03426, which keeps neighbours
            together. Distances on its map say little.

    Raises:
        UserError: `umap` is not installed, or no method has this name.
    """
    if method not in ("pca", "umap"):
        raise UserError(f"a map is made by pca or umap, got {method!r}")
    for record in compared(snapshot):
        rows, values = embedded(snapshot, record, sampled(np.flatnonzero(usable(snapshot, record)), MAPPED))
        assert isinstance(record.spec, TeacherSpec)
        if len(rows) < 2:
            continue
        # UMAP needs more shapes than dimensions and neighbours.
        places, axes = _umap(values) if method == "umap" and len(rows) > 4 else _pca(values)
        yield Map(teacher=record.spec.name, random=is_random(record), rows=rows, places=places, axes=axes)


def _pca(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Project on the two directions of largest variance. The largest weight of each is positive, so that the map is always the same."""
    centred = values.astype(np.float64) - values.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    directions *= np.where(directions[np.arange(len(directions)), np.abs(directions).argmax(1)] < 0, -1, 1)[:, None]
    places = np.zeros((len(values), 2))
    places[:, : len(directions)] = centred @ directions.T
    shares = [*(sizes**2 / max(float((sizes**2).sum()), 1e-12)), 0.0]
    first, second = (f"component {i + 1}: {shares[i]:.0%} of the variance" for i in range(2))
    return places, (first, second)


def _umap(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    try:
        import umap
    except ImportError as error:
        raise UserError(f"a map by UMAP needs a package that is not installed ({error}): pip install 'mmpd[umap]', or --map pca") from error
    # A fixed seed makes UMAP use one thread; more threads would give another map each time.
    made = umap.UMAP(n_neighbors=min(15, len(values) - 1), metric="cosine", random_state=0, n_jobs=1).fit_transform(values)
    return np.asarray(made, np.float64), ("UMAP 1", "UMAP 2")
