"""The starter collection: furniture, household things and vehicles that are made in code, so that everything runs without data.

    open_source("starter")                        # 8 shapes of each kind
    open_source("starter", count="4500", seed="1")
    made = make(0, 8)                             # the ninth shape: its surface and description
    made.description                              # Description(kind="bucket", color="black", parts=(Parts(noun="handle", count=1, ...

A shape is made from (seed, index) alone: a kind (index modulo their number), then random design, proportions, parts and colours. One in
four has no colour, as CAD models do. Every fourth of a kind is in the split test, the others in train. Id: `chair/0003`, the fourth
chair.

Every triangle carries the name of its part of the thing (seat, leg, wheel), an index in `kinds.thing.PARTS`.

The kinds are in `kinds`, written in the words of the toolkit that `kinds.kit` gathers.
"""

import functools
import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.spec import canonical, did_you_mean
from pipeline import geometry, weights
from pipeline.sources.catalog import Entry, Labelled, Source, Textures
from pipeline.sources.options import choice, whole
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.kinds.solids import Material, Solid, unit
from pipeline.starter.kinds.thing import PARTS, Parts
from pipeline.statements import Sort, Statement, Variety
from pipeline.words import MOST

LOOKS_FOR: Final = "its own name, for a small collection made in code"

REVISION: Final = "2"
"""Version of the shapes that the code makes."""

EACH: Final = 8
"""Number of shapes of each kind, unless a count or kinds are given."""

LICENCE: Final = weights.LICENCE
"""Licence of the code that makes the shapes, and so of the shapes."""

LABELS: Final = ("kind", "design", "color", "material")
"""What classes may be, beside counts of parts."""

COUNT: Final = "count:"
"""Beginning of the option `label` if the classes are numbers of parts; the noun follows."""

NOUNS: Final = ("bar", "button", "door", "drawer", "knob", "leg", "pillow", "post", "rung", "shelf", "step", "window")
"""Parts whose number can be the class: they occur in several numbers, in shapes of several kinds."""

GREY_ONE_IN: Final = 4
TEST_ONE_IN: Final = 4

SELF_EXPLAINING: Final = frozenset(
    ("airliner", "biplane", "glider", "lantern", "missile", "pavilion", "receiver", "ship", "shuttle", "tall ship", "television", "tipi")
)
"""Names of designs that need no name of the kind behind them."""

STRETCH: Final = (0.06, 0.10, 0.06)
"""Standard deviations of the logarithm by which a shape is stretched along x, y and z."""


# ----------------------------------------------------------------------------------------------------------- one shape


@dataclass(frozen=True, kw_only=True)
class Description:
    """The visible facts about a shape, in words."""

    kind: str
    color: str = ""
    """Colour of the main material, a name in `kinds.thing.COLORS`; empty for a shape without colours."""
    material: str = ""
    """Substance of the main material (wood, metal ...); empty if it is unknown or the shape has no colours."""
    style: tuple[str, ...] = ()
    parts: tuple[Parts, ...] = ()
    """Parts of the shape. They have no materials if the shape has no colours."""
    design: str = ""
    """Name of its design among those of its kind, such as `rowing boat`; empty if the kind names none."""

    def label(self, of: str) -> str:
        """The class of the shape if classes are kinds (`kind`), or something else (`design`, `color`, `material`, `count:leg`); empty for
        none. A description does not say what all shapes of a kind have, so no part of the name means no class, and not 0. Counts above
        `MOST` are `many`."""
        if of == "design":
            whole = not self.design or self.design.endswith(self.kind) or self.design in SELF_EXPLAINING
            return self.design if whole else f"{self.design} {self.kind}"
        if of.startswith(COUNT):
            count = sum(part.count for part in self.parts if part.noun == of.removeprefix(COUNT))
            return "" if not count else str(count) if count <= MOST else "many"
        return {"kind": self.kind, "color": self.color, "material": self.material}[of]

    def without_colors(self) -> "Description":
        return replace(self, color="", material="", parts=tuple(replace(part, material=None) for part in self.parts))


@dataclass(frozen=True, kw_only=True)
class Made:
    """A shape and the words for it."""

    mesh: geometry.Mesh
    description: Description


def make(seed: int, index: int) -> Made:
    """The shape of a seed and an index; +Y up, facing +Z, in metres."""
    kind = list(KINDS)[index % len(KINDS)]
    rng = np.random.default_rng((seed, index))
    grey = bool(rng.integers(GREY_ONE_IN) == 0)
    stretch = np.exp(rng.normal(0, STRETCH))
    thing = KINDS[kind](rng)
    solids = [replace(solid, vertices=solid.vertices * stretch, normals=unit(solid.normals / stretch)) for solid in thing.solids]
    main = thing.main
    description = Description(
        kind=kind, color=main.color_name, material=main.substance, style=thing.style, parts=thing.parts, design=thing.design
    )
    if grey:
        solids = [replace(solid, material=Material(color=(geometry.GREY,) * 3, roughness=1.0)) for solid in solids]
        description = description.without_colors()
    return Made(mesh=geometry.Mesh(parts=parts_of(solids), colored=not grey), description=description)


# ------------------------------------------------------------------------------------------------------- the collection


def recognises(location: str) -> bool:
    return location == "starter"


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    count: str = str(EACH * len(KINDS)),
    seed: str = "0",
    classes: str = "",
    label: str = "kind",
    revision: str = REVISION,
) -> Source:
    """The collection.

    Args:
        location: `starter`.
        textures: of no importance here, there are none.
        count: how many shapes.
        seed: another seed makes others.
        classes: the kinds to make, with commas between them (`chair,table,night stand`); all if empty. A shape is the same whichever other
            kinds are made.
        label: what the classes are: `kind`; `design` within a kind (a rowing boat, a folding chair), of the kinds that name some; `color`
            or `material` of the main part, of shapes with colours; or `count:leg`, the number of parts of this name that can be seen. All
            but `kind` make every shape once to list them. A shape without such a thing has no class.
        revision: of the code that makes them, recorded with a cache. Only the present one can be had.
    """
    kinds, chooses = _kinds(classes), _label(label)
    shapes, chosen = whole("count", count, 0), whole("seed", seed, 0)
    if revision != REVISION:
        raise UserError(f"option revision: this version makes the shapes of revision {REVISION}, asked for {revision!r}")
    options = {"count": str(shapes), "revision": REVISION, "seed": str(chosen)}
    options |= ({"classes": ",".join(kinds)} if len(kinds) < len(KINDS) else {}) | ({"label": chooses} if chooses != "kind" else {})
    entries = []
    for i in range(shapes):
        kind, number = kinds[i % len(kinds)], i // len(kinds)
        index = number * len(KINDS) + list(KINDS).index(kind)
        split = "test" if number % TEST_ONE_IN == TEST_ONE_IN - 1 else "train"
        own = kind if chooses == "kind" else make(chosen, index).description.label(chooses)
        entries.append(Entry(id=f"{kind}/{number:04d}", locator=str(index), label=own, split=split, licence=LICENCE))
    without = sum(not entry.label for entry in entries)
    if without and without == len(entries):
        raise UserError(f"option label: none of {without} shapes has a class by label={label}: choose other classes or another label")
    notes = (f"{without} of {len(entries)} shapes have no class by label={label}",) if without else ()
    reader = ShapeMaker(seed=chosen, options=tuple(sorted(options.items())), textures=textures)
    return Source.of(reader, entries, labelled=Labelled(parts=PARTS), notes=notes)


def _kinds(text: str) -> tuple[str, ...]:
    """The kinds that are made, in the order of `KINDS`.

    Raises:
        UserError: there is no such kind.
    """
    asked = {name.strip() for name in text.split(",") if name.strip()}
    if unknown := sorted(asked - set(KINDS)):
        raise UserError(f"option classes: there is no kind {unknown[0]!r}{did_you_mean(unknown[0], KINDS)}")
    if text and not asked:
        raise UserError(f"option classes: expected names of kinds with commas between them, got {text!r}; leave it out for all kinds")
    return tuple(kind for kind in KINDS if kind in asked or not asked)


def _label(text: str) -> str:
    """What the classes are, checked.

    Raises:
        UserError: there is no such thing, or no part of the name.
    """
    if not text.startswith(COUNT):
        return choice("option label", text, LABELS)
    noun = text.removeprefix(COUNT)
    if noun not in NOUNS:
        raise UserError(f"option label: nothing counts parts called {noun!r}{did_you_mean(noun, NOUNS)}")
    return text


def example(folder: Path) -> str:
    return "starter"


@dataclass(frozen=True, kw_only=True)
class ShapeMaker:
    """Makes the shapes of one seed. See `catalog.Reader`. A locator is an index."""

    kind: str = "starter"
    location: str = "starter"
    seed: int
    options: tuple[tuple[str, str], ...]
    textures: Textures

    def read(self, entry: Entry) -> geometry.Mesh:
        return make(self.seed, int(entry.locator)).mesh

    def states(self, entry: Entry) -> Statement:
        """See `pipeline.statements.StatingReader`."""
        told, _ = _told(self.seed, int(entry.locator))
        return Statement(
            name=told.kind,
            design=told.label("design"),
            style=told.style,
            color=told.color,
            material=told.material,
            parts=tuple(_sort(part) for part in told.parts),
        )

    def varies(self, entry: Entry) -> Variety:
        """See `pipeline.statements.VaryingReader`."""
        told, named = _told(self.seed, int(entry.locator))
        whole = _variety(told.kind)
        stated = {part.noun for part in told.parts}
        # A description says of a shape what comes and goes within its kind. Where makers of two designs differ in that, the names of the
        # faces know better.
        absent = tuple((noun, counts) for noun, counts in whole.counts if noun in PARTS and noun not in stated and noun not in named)
        return replace(whole, absent=absent)

    def digest(self, entry: Entry) -> bytes:
        return hashlib.sha256(canonical({"starter": REVISION, "seed": self.seed, "index": int(entry.locator)})).digest()


SAMPLED: Final = 24
"""Number of shapes of a kind that tell what varies within it."""


@functools.lru_cache(maxsize=64)
def _told(seed: int, index: int) -> tuple[Description, frozenset[str]]:
    """The description of a shape, and the names of parts that its faces have."""
    made = make(seed, index)
    found = {int(label) for part in made.mesh.parts if part.part is not None for label in np.unique(part.part) if label >= 0}
    return made.description, frozenset(PARTS[label] for label in found)


@functools.cache
def _variety(kind: str) -> Variety:
    """What varies within a kind, among its first shapes of seed 0, whichever shapes a collection has."""
    first = list(KINDS).index(kind)
    told = [make(0, first + number * len(KINDS)).description for number in range(SAMPLED)]
    counts: dict[str, set[int]] = defaultdict(set)
    for part in (part for one in told for part in one.parts):
        counts[part.noun].add(part.count)
    return Variety(
        colors=tuple(sorted({one.color for one in told} - {""})),
        materials=tuple(sorted({one.material for one in told} - {""})),
        counts=tuple((noun, tuple(sorted(found))) for noun, found in sorted(counts.items())),
    )


def _sort(part: Parts) -> Sort:
    look = part.material
    return Sort(noun=part.noun, count=part.count, color=look.color_name if look else "", material=look.substance if look else "")


def parts_of(solids: list[Solid]) -> tuple[geometry.Part, ...]:
    """Solids of one material become one `geometry.Part`. Its labels are indices in `PARTS` of the names of faces, -1 without a name."""
    groups: dict[Material, list[Solid]] = defaultdict(list)
    for solid in solids:
        groups[solid.material].append(solid)
    parts = []
    for material, group in groups.items():
        starts = np.cumsum([0, *(len(solid.vertices) for solid in group[:-1])])
        parts.append(
            geometry.Part(
                vertices=np.concatenate([solid.vertices for solid in group]).astype(np.float32),
                faces=np.concatenate([solid.faces + start for solid, start in zip(group, starts, strict=True)]).astype(np.int32),
                part=np.concatenate([_labels(solid) for solid in group]),
                normals=np.concatenate([solid.normals for solid in group]).astype(np.float32),
                base_color=(*material.color, 1.0),
                metallic=material.metallic,
                roughness=material.roughness,
            )
        )
    return tuple(parts)


def _labels(solid: Solid) -> NDArray[np.int16]:
    """Index in `PARTS` of the name of each face, -1 for a face without one [F]."""
    names = np.broadcast_to(solid.part, len(solid.faces))
    return np.where(names == "", -1, np.searchsorted(PARTS, names)).astype(np.int16)
