"""Digests of the shapes of the starter collection. `python -m tests.pipeline.starter_digests` writes the file of digests again.

`test_kinds.py` compares shapes with that file. If you change a shape on purpose, raise `shapes.REVISION` and train the starter models
again.
"""

import dataclasses
import hashlib
import re
from pathlib import Path

import numpy as np

from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.shapes import make

FILE = Path(__file__).with_suffix(".txt")
SHAPES = [(0, index) for index in range(450)] + [(1, index) for index in range(90)]
"""The seed and the index of every shape in the file, one line each."""


def _rounded(array: np.ndarray) -> bytes:
    """To four digits: processors differ in the last ones of a sine. Without negative zeros."""
    return (np.round(np.asarray(array, np.float64), 4) + 0.0).tobytes()


def digest(seed: int, index: int) -> str:
    """Return twelve hex digits over a shape's mesh and description, and over the solids of its kind."""
    made = make(seed, index)
    thing = list(KINDS.values())[index % len(KINDS)](np.random.default_rng((seed, index)))
    # Without the name of the design, which is younger than the file and changes no shape.
    described = re.sub(r", design='[^']*'", "", repr(made.description))
    state = hashlib.sha256(f"({described}, {thing.main!r}, {thing.style!r}, {thing.parts!r})".encode())
    for part in made.mesh.parts:
        state.update(repr((part.base_color, part.metallic, part.roughness)).encode())
        for array in (part.vertices, part.normals, part.faces):
            state.update(_rounded(array))
    for solid in thing.solids:
        state.update(repr(dataclasses.astuple(solid.material)).encode())
        state.update(_rounded(solid.vertices) + _rounded(solid.normals))
        state.update(solid.faces.astype(np.int64).tobytes())
    return state.hexdigest()[:12]


if __name__ == "__main__":
    FILE.write_text("".join(f"{digest(seed, index)}\n" for seed, index in SHAPES))
