"""Where the things in rooms come from: starter shapes, or the meshes of another source.

    stock = Starters(seed=0)                         # or Collection.of(source)
    name = stock.drawn(rng, "chair", "train")        # the name of one chair
    item = stock.item(name)                          # its surface, in metres, ready to be put down

An item stands on y = 0 with the middle of its footprint at x = z = 0, and faces +z where that is known.
"""

import dataclasses
import hashlib
import math
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from cache_schema.errors import UserError
from cache_schema.spec import canonical
from cache_schema.terminal import counted, some
from pipeline.geometry import Cloud, Mesh, Part, normalized, triangles
from pipeline.sources import splits
from pipeline.sources.catalog import Entry, Reader, Source, read_by
from pipeline.starter import shapes
from pipeline.starter.indoors.known import KNOWN, Known, kind_of, known
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.kinds.thing import Rng, pick

NUMBERS: Final = 1_000_000
"""Number of starter shapes of each kind among which is drawn."""

BACK: Final = 0.15
"""How far the upper part of a mesh must lie off its middle, in halves of its length, to count as its back."""

LONGER: Final = 1.15
"""How many times as long as the other a horizontal side must be to be taken for the front of what stands against a wall."""

LEFT: Final = frozenset("bathtub desk dresser monitor sofa".split()) | {"night stand"}
"""Kinds of ModelNet10 whose meshes face -X once +Y is up, as one sees in pictures of them. Its other kinds face +Z."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A thing that can be put down."""

    parts: tuple[Part, ...]
    """Its surface, as `geometry.normalized` returns it."""
    size: tuple[float, float, float]
    """Metres along its own x, y and z."""
    beside: bytes = b""
    """See `geometry.Mesh.beside`."""
    warnings: tuple[str, ...] = ()
    """See `geometry.Mesh.warnings`."""


class Stock(Protocol):
    """Things of known kinds."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about guesses, see `pipeline.sources.catalog.Source.notes`."""

    @property
    def licence(self) -> str:
        """Licence of all things; empty if they have several, or if it is unknown."""

    def splits(self) -> frozenset[str]:
        """The splits that its things are in."""

    def kinds(self, split: str) -> frozenset[str]:
        """The kinds that can be drawn for rooms of a split."""

    def drawn(self, rng: Rng, kind: str, split: str) -> str:
        """The name of a random thing of a kind."""

    def item(self, name: str) -> Item:
        """The thing of a name.

        Raises:
            UserError: it cannot be read, or is no surface.
        """

    def digest(self, name: str) -> bytes:
        """sha256 (32 bytes) of the data that the thing is made from; zeros if there is none any more."""

    def read_by(self) -> tuple[str, ...]:
        """What reads the files of its things; see `pipeline.sources.catalog.NamingReader`."""


def standing(mesh: Mesh) -> Item:
    """A mesh as an item, moved to where items stand.

    Raises:
        UserError: the surface has no area, or nothing of it is visible.
    """
    done = normalized(mesh, "none")
    assert isinstance(done, Mesh)
    return _placed(Item(parts=done.parts, size=(0.0, 0.0, 0.0), beside=mesh.beside, warnings=done.warnings), 1.0, 0.0)


def _placed(item: Item, scale: float, turn: float) -> Item:
    """An item scaled, turned about +Y by radians, and moved to where items stand."""
    c, s = math.cos(turn), math.sin(turn)
    matrix = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    placed = [part.vertices.astype(np.float64) @ matrix.T * scale for part in item.parts]
    low, high = np.min([v.min(axis=0) for v in placed], axis=0), np.max([v.max(axis=0) for v in placed], axis=0)
    shift = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    done = []
    for part, vertices in zip(item.parts, placed, strict=True):
        normals = None if part.normals is None else (part.normals @ matrix.T).astype(np.float32)
        done.append(dataclasses.replace(part, vertices=(vertices - shift).astype(np.float32), normals=normals, outline=None))
    width, height, depth = (float(length) for length in high - low)
    return dataclasses.replace(item, parts=tuple(done), size=(width, height, depth))


# --------------------------------------------------------------------------------------------------------- starter shapes


@dataclass(frozen=True, kw_only=True)
class Starters:
    """The starter collection's indoor kinds. Rooms of the split test hold only shapes that the collection of this seed has in test."""

    seed: int
    notes: tuple[str, ...] = ()
    licence: str = shapes.LICENCE

    def splits(self) -> frozenset[str]:
        return frozenset(("train", "test"))

    def kinds(self, split: str) -> frozenset[str]:
        return frozenset(KNOWN).intersection(KINDS)

    def drawn(self, rng: Rng, kind: str, split: str) -> str:
        number = int(rng.integers(NUMBERS // shapes.TEST_ONE_IN)) * shapes.TEST_ONE_IN
        number += shapes.TEST_ONE_IN - 1 if split == "test" else int(rng.integers(shapes.TEST_ONE_IN - 1))
        return f"{kind}/{number}"

    def item(self, name: str) -> Item:
        return standing(shapes.make(self.seed, self._index(name)).mesh)

    def digest(self, name: str) -> bytes:
        return hashlib.sha256(canonical({"starter": shapes.REVISION, "seed": self.seed, "index": self._index(name)})).digest()

    def read_by(self) -> tuple[str, ...]:
        return ()

    def _index(self, name: str) -> int:
        kind, _, number = name.rpartition("/")
        return list(KINDS).index(kind) + len(KINDS) * int(number)


# ------------------------------------------------------------------------------------------------------ other collections


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The meshes of another source. Names are the ids of its shapes."""

    reader: Reader
    entries: Mapping[str, Entry]
    """By id: the shapes whose class can furnish a room."""
    by_kind: Mapping[tuple[str, str], tuple[str, ...]]
    """By kind and split: ids in order."""
    notes: tuple[str, ...] = field(default=(), compare=False)

    @staticmethod
    def of(source: Source) -> "Collection":
        """The stock of a source.

        Raises:
            UserError: none of its classes can furnish a room.
        """
        entries, notes = source.entries, list(source.notes)
        if not any(entry.split for entry in entries):
            entries = tuple(splits.made(entries, "0.75", "0"))
            notes = [note for note in notes if splits.MAKE_ONE not in note]
            notes.append("no split found: a quarter of the meshes, by a hash of the id, is kept for the rooms of the split test")
        kinds = {entry.label: kind_of(entry.label) for entry in entries}
        used = [entry for entry in entries if entry.label and kinds[entry.label] is not None]
        if not used:
            raise UserError(
                f"rooms: none of the {len(entries)} shapes of {source.reader.location!r} has a class that can furnish a room "
                "(chair, table, ...); choose where classes come from with source.label=folder|file, or give a list with labels"
            )
        by_kind = defaultdict(list)
        for entry in used:
            by_kind[kinds[entry.label] or "", entry.split].append(entry.id)
        notes += _told(entries, used, {label: kind for label, kind in kinds.items() if kind})
        return Collection(
            reader=source.reader,
            entries={entry.id: entry for entry in used},
            by_kind={key: tuple(sorted(ids)) for key, ids in sorted(by_kind.items())},
            notes=tuple(notes),
        )

    @property
    def licence(self) -> str:
        licences = {entry.licence for entry in self.entries.values()}
        return licences.pop() if len(licences) == 1 else ""

    def kinds(self, split: str) -> frozenset[str]:
        return frozenset(kind for kind, one in self.by_kind if one == split)

    def splits(self) -> frozenset[str]:
        return frozenset(split for _, split in self.by_kind)

    def drawn(self, rng: Rng, kind: str, split: str) -> str:
        return pick(rng, self.by_kind[kind, split])

    def item(self, name: str) -> Item:
        entry = self.entries[name]
        geometry = self.reader.read(entry)
        if isinstance(geometry, Cloud):
            raise UserError("it is a cloud of points; rooms are furnished with meshes")
        kind = kind_of(entry.label) or ""
        plain = standing(geometry)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        turn = self._front(entry, kind, plain, rng)
        scale = 1.0 if self.reader.kind == "starter" else _scale(plain.size, known(kind)) * float(np.exp(rng.normal(0, 0.05)))
        return _placed(plain, scale, turn)

    def digest(self, name: str) -> bytes:
        try:
            return self.reader.digest(self.entries[name])
        except UserError:
            return bytes(32)

    def read_by(self) -> tuple[str, ...]:
        return tuple(sorted({name for entry in self.entries.values() for name in read_by(self.reader, entry)}))

    def _front(self, entry: Entry, kind: str, item: Item, rng: Rng) -> float:
        """Radians about +Y that turn a mesh to face +z: known by the collection or the format, seen by its back or its longer side, or
        random."""
        extension = os.path.splitext(entry.locator)[1].lower()
        if self.reader.kind == "modelnet" and kind in KNOWN:
            return math.pi / 2 if kind in LEFT else 0.0
        if extension in (".gltf", ".glb") or self.reader.kind == "starter":
            return 0.0  # "the front of a glTF asset faces +Z": https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html#coordinate-system-and-units
        facts = known(kind)
        seen = _back(item) if facts.backed else None
        if seen is not None:
            return seen
        quarters = int(rng.integers(4))
        width, _, depth = item.size
        if facts.place == "wall" and max(width, depth) > LONGER * min(width, depth):
            quarters = 2 * (quarters % 2) + (depth > width)
        return quarters * math.pi / 2


def _told(entries: Iterable[Entry], used: list[Entry], kinds: Mapping[str, str]) -> list[str]:
    """Notes about what classes were taken for, and what was left out."""
    notes = []
    renamed = [f"{label!r} is {kind!r}" for label, kind in sorted(kinds.items()) if label != kind]
    if renamed:
        notes.append(f"classes taken for kinds of thing by their words ({len(renamed)}): {some(renamed, 6)}")
    out = Counter(entry.label or "(no class)" for entry in entries) - Counter(entry.label for entry in used)
    if out:
        notes.append(f"left out, because such things do not furnish rooms ({counted(out.total(), 'shape')}): {some(sorted(out), 6)}")
    strange = sorted(set(kinds.values()) - set(KNOWN))
    if strange:
        size = f"their longest side on the floor becomes about {known('').metres:g} m"
        notes.append(f"kinds whose usual size is not known ({len(strange)}): {some(strange, 6)}; {size}")
    fronts = "where a front is not known it is guessed by back or longer side, or random"
    return [*notes, f"meshes are scaled to the usual size of their kind; {fronts}"]


def _scale(size: tuple[float, float, float], facts: Known) -> float:
    """The factor that brings a mesh to the usual size of its kind."""
    width, height, depth = size
    longest = max(width, depth)
    scale = facts.metres / max(height if facts.by == "height" else longest, 1e-9)
    return min(scale, facts.most / max(longest, 1e-9), 2.3 / max(height, 1e-9))


def _back(item: Item) -> float | None:
    """Radians about +Y that turn an item so that its upper part is at its back; None where that part is not on one side."""
    sums, area = np.zeros(3), 0.0
    for part in item.parts:
        for corners, areas in triangles(part):
            middles = corners.mean(axis=1)
            high = middles[:, 1] > 0.7 * item.size[1]
            sums += areas[high] @ middles[high]
            area += float(areas[high].sum())
    if area <= 0:
        return None
    x, z = sums[0] / area / (item.size[0] / 2), sums[2] / area / (item.size[2] / 2)
    if max(abs(x), abs(z)) < BACK:
        return None
    if abs(x) > abs(z):
        return math.pi / 2 if x > 0 else -math.pi / 2
    return 0.0 if z < 0 else math.pi
