"""Tables of points: `.npy` and `.xyz`. Columns are positions, then colours or normals."""

import numpy as np

from cache_schema.errors import UserError
from pipeline.geometry import Cloud
from pipeline.reading import File


def read(file: File) -> Cloud:
    """The points of a table `[n, 3]` or `[n, 6]`.

    Raises:
        UserError: it is no such table.
    """
    return _from_table(_table(file))


def _table(file: File) -> np.ndarray:
    """Numbers `[n, columns]`. Not by trimesh, which casts every fourth column to a byte, normals too."""
    try:
        if file.suffix == ".npy":
            return np.load(file.path, allow_pickle=False)
        text = file.path.read_text(errors="replace").replace(",", " ")
        return np.loadtxt(text.splitlines(), ndmin=2, comments=("#", "//"))
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"cannot be read as a table of numbers, damaged or cut short? ({error})") from error


def _from_table(table: np.ndarray) -> Cloud:
    if table.ndim != 2 or table.shape[1] < 3 or table.dtype.kind not in "fiu":
        raise UserError(f"expected numbers [n, 3] or [n, 6], got {table.dtype} {list(table.shape)}")
    extra = table[:, 3:6]
    colors = None
    if extra.size and extra.shape[1] == 3 and np.isfinite(extra).all() and extra.min() >= 0 and extra.max() <= 255:
        whole = extra.dtype.kind in "iu" or extra.max() > 1
        colors = np.rint(extra if whole else extra * 255).astype(np.uint8)  # else they are normals
    return Cloud(points=table[:, :3].astype(np.float64), colors=colors)
