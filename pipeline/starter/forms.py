"""Forms: bodies without names, made in code by random rules. They widen what an encoder sees before it meets other people's shapes.

    open_source("forms", count="3000")            # mmpd-cache build forms forms.zarr --set source.count=3000
    made = make(0, 8)                             # the ninth form of seed 0, a mesh

A form is made from (seed, index) alone: a rule of `wild`, random proportions, limbs and colours, and perhaps a bend of the whole. One
in four has no colour, as CAD models do. Forms have no class, so that nothing is named after them, and all are in the split train.
Pre-training on shapes by random rules carries over to real ones (https://arxiv.org/abs/2411.17467).
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from cache_schema.errors import UserError
from cache_schema.spec import canonical
from pipeline import geometry, weights
from pipeline.sources.catalog import Entry, Source, Textures
from pipeline.sources.options import whole
from pipeline.starter.kinds.solids import Material
from pipeline.starter.shapes import GREY_ONE_IN, parts_of
from pipeline.starter.wild import body

LOOKS_FOR: Final = "its own name, for bodies without classes that are made in code"

REVISION: Final = "1"
"""Version of the forms that the code makes."""

COUNT: Final = 360
"""Number of forms unless a count is given."""

LICENCE: Final = weights.LICENCE
"""Licence of the code that makes the forms, and so of the forms."""


def make(seed: int, index: int) -> geometry.Mesh:
    """The form of a seed and an index; +Y up."""
    rng = np.random.default_rng((seed, index, 1))
    grey = bool(rng.integers(GREY_ONE_IN) == 0)
    solids = body(rng)
    if grey:
        solids = [replace(solid, material=Material(color=(geometry.GREY,) * 3, roughness=1.0)) for solid in solids]
    return geometry.Mesh(parts=parts_of(solids), colored=not grey)


# --------------------------------------------------------------------------------------------------------- the collection


def recognises(location: str) -> bool:
    """Whether these forms are meant. A folder of this name goes first: unlike `starter`, it is a word that people give to folders."""
    return location == "forms" and not os.path.exists(location)


def open_source(
    location: str, *, textures: Textures = "require", count: str = str(COUNT), seed: str = "0", revision: str = REVISION
) -> Source:
    """The collection.

    Args:
        location: `forms`.
        textures: of no importance here, there are none.
        count: how many forms.
        seed: another seed makes others.
        revision: of the code that makes them, recorded with a cache. Only the present one can be had.
    """
    forms, chosen = whole("count", count, 0), whole("seed", seed, 0)
    if revision != REVISION:
        raise UserError(f"option revision: this version makes the forms of revision {REVISION}, asked for {revision!r}")
    options = (("count", str(forms)), ("revision", REVISION), ("seed", str(chosen)))
    entries = [Entry(id=f"form/{index:06d}", locator=str(index), split="train", licence=LICENCE) for index in range(forms)]
    return Source.of(FormMaker(seed=chosen, options=options, textures=textures), entries)


def example(folder: Path) -> str:
    return "forms"


@dataclass(frozen=True, kw_only=True)
class FormMaker:
    """Makes the forms of one seed. See `catalog.Reader`. A locator is an index."""

    kind: str = "forms"
    location: str = "forms"
    seed: int
    options: tuple[tuple[str, str], ...]
    textures: Textures

    def read(self, entry: Entry) -> geometry.Mesh:
        return make(self.seed, int(entry.locator))

    def digest(self, entry: Entry) -> bytes:
        return hashlib.sha256(canonical({"forms": REVISION, "seed": self.seed, "index": int(entry.locator)})).digest()
