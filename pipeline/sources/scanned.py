"""The shapes of another source, as a hand-held depth camera sees them in a room. `pipeline.scan` is the camera.

    open_source("scan:../meshes")                              # the objects alone, as OBJ_ONLY of ScanObjectNN (arXiv:1908.04616)
    open_source("scan:../meshes", variant="bg")                # with what else is in their boxes: floor, wall, neighbour; as OBJ_BG
    open_source("scan:starter", variant="hard", count="400")   # five boxes around each, shifted, turned and scaled; as PB_T50_RS

The location is `scan:` and the location of the other source. Its options pass through, and its labels, splits and licences hold. All three
variants crop one and the same scan: the object stands on a floor, near a wall, beside another shape of the same split.

Options:
  variant        only (default), bg or hard
  copies         number of boxes of each object, for `hard` alone; 5 by default. Ids are `chair/0001#0`, `chair/0001#1` ...
  poses          number of pictures that are taken, 12
  pixels         height and width of the pictures, 192
  noise          standard deviation of depth at 1 m, in metres, 0.0015
  drop           share of the pixels that are lost in holes, 0.1
  scan_seed      another number makes other scans
  scan_revision  version of the code that scans, recorded with a cache; only the present one can be had
  inner          kind of the other source; auto by default

Every object is made 1 m long in its longest side, because most files do not say how large they are. A scan depends on the seed, the id of
the object, and the files of the object and its neighbour.

Labels of points: where the other source names parts, a point has the label of its triangle, and the background has none. Else `bg` and
`hard` tell the background (0) from the object (1).
"""

import bisect
import dataclasses
import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from cache_schema.errors import UserError
from cache_schema.licences import both
from cache_schema.spec import canonical
from cache_schema.terminal import counted
from pipeline.geometry import Cloud, Mesh, beside, compact, finished_cloud, normalized
from pipeline.sources import catalog
from pipeline.sources.catalog import Entry, Reader, Source, Textures, read_by, shape_id
from pipeline.sources.options import choice, number, whole
from pipeline.statements import Statement, Variety, stated, varied

if TYPE_CHECKING:
    from pipeline.scan import Crop, Scan, Sensor

PREFIX: Final = "scan:"

LOOKS_FOR: Final = "scan: and the location of another source, to scan its shapes"

Variant = Literal["only", "bg", "hard"]

REVISION: Final = "1"
"""Version of the scans that the code makes."""

COPIES: Final = 5
"""Number of boxes of each object in PB_T50_RS."""

OWNERS: Final = ("background", "object")
"""Names of labels of points where the other source names no parts."""

MARGIN: Final = 0.05
"""Length in metres by which a box is larger than its object on each side, so that noise is not cut off and the floor is within."""

LEAST: Final = 64
"""Fewest points of a scan."""

KEPT: Final = 0.1
"""Least share of the points of an object that a box of `hard` must hold. Another one is drawn until it does."""

DRAWS: Final = 100
"""Most boxes that are drawn."""


def recognises(location: str) -> bool:
    return location.startswith(PREFIX)


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    variant: str = "only",
    copies: str = "",
    poses: str = "12",
    pixels: str = "192",
    noise: str = "0.0015",
    drop: str = "0.1",
    scan_seed: str = "0",
    scan_revision: str = REVISION,
    inner: str = "auto",
    **more: str,
) -> Source:
    """Lists the shapes of another source, to be scanned. The options are explained at the head of this module; `more` is for the other
    source."""
    within_it = location.removeprefix(PREFIX)
    if location == within_it or recognises(within_it):
        raise UserError(f"expected scan: and the location of a source of meshes, got {location!r}")
    if inner not in ("auto", *catalog.kinds()):
        raise UserError(f"option inner: expected auto or a kind of source, got {inner!r}")
    found = catalog.recognised(within_it) if inner == "auto" else inner
    scenes = f"{within_it!r} holds scenes, and the scanner walks around single objects; give a source of objects"
    if "crop" in catalog.about()[found][1]:
        raise UserError(scenes)  # before its options are compared, which have names of the scanner's own
    catalog.check_options("scan", more, inner=found)
    settings = _settings(variant, copies, poses, pixels, noise, drop, scan_seed, scan_revision)
    source = catalog.open_source(within_it, kind=found, textures=textures, **more)
    if source.labelled.boxes or source.labelled.origins:
        raise UserError(scenes)
    options = (*settings.options, ("inner", found), *source.reader.options)
    told = variant != "only" and not source.labelled.parts
    reader = ScanReader(inner=source.reader, settings=settings, options=tuple(sorted(options)), told=told)
    entries, alone = _entries(source.entries, settings)
    labelled = dataclasses.replace(source.labelled, parts=OWNERS) if told else source.labelled
    done = Source.of(reader, entries, source.skipped, alone, labelled)
    return dataclasses.replace(done, notes=tuple(dict.fromkeys((*source.notes, *done.notes))))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How shapes are scanned and cropped."""

    variant: Variant
    copies: int
    poses: int
    pixels: int
    noise: float
    drop: float
    seed: int

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """The settings as options of the source."""
        numbers = {"poses": self.poses, "pixels": self.pixels, "noise": self.noise, "drop": self.drop, "scan_seed": self.seed}
        texts = {"variant": self.variant, "scan_revision": REVISION} | {name: str(number) for name, number in numbers.items()}
        return tuple((texts | ({"copies": str(self.copies)} if self.variant == "hard" else {})).items())

    @property
    def sensor(self) -> "Sensor":
        from pipeline.scan import Sensor

        return Sensor(pixels=self.pixels, noise=self.noise, drop=self.drop)


def _settings(variant: str, copies: str, poses: str, pixels: str, noise: str, drop: str, scan_seed: str, scan_revision: str) -> Settings:
    """Checks the options of a scan.

    Raises:
        UserError: one of them is wrong.
    """
    asked: Variant = choice("option variant", variant, ("only", "bg", "hard"))
    if copies and asked != "hard":
        raise UserError(f"option copies: only variant=hard makes several boxes of an object, and the variant is {asked}")
    if scan_revision != REVISION:
        raise UserError(f"option scan_revision: this version makes scans of revision {REVISION}, asked for {scan_revision!r}")
    return Settings(
        variant=asked,
        copies=whole("copies", copies or str(COPIES), 1, 1000) if asked == "hard" else 1,
        poses=whole("poses", poses, 1, 200),
        pixels=whole("pixels", pixels, 16, 1024),
        noise=number("noise", noise, 0, 0.1),
        drop=number("drop", drop, 0, 0.9),
        seed=whole("scan_seed", scan_seed, 0, 10**9),
    )


def example(folder: Path) -> str:
    for name, height in (("box_A.off", 1), ("box_B.off", 2), ("shelf.off", 3)):
        corners = "\n".join(f"{x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, height))
        faces = "4 0 1 3 2\n4 4 6 7 5\n4 0 4 5 1\n4 2 3 7 6\n4 0 2 6 4\n4 1 5 7 3"
        (folder / name).write_text(f"OFF\n8 6 0\n{corners}\n{faces}\n")
    return f"{PREFIX}{folder}"


# -------------------------------------------------------------------------------------------------------- the entries


def _entries(entries: Sequence[Entry], settings: Settings) -> tuple[list[Entry], list[str]]:
    """The entries of all scans, and a sentence about objects without a neighbour."""
    beside_it = _neighbours(entries, settings.seed)
    done = []
    for entry in entries:
        other = beside_it.get(entry.id)
        for copy in range(settings.copies):
            locator = Locator(entry, other, copy).text()
            name = shape_id(f"{entry.id}#{copy}") if settings.variant == "hard" else entry.id
            licence = entry.licence if other is None or settings.variant == "only" else both(sorted((entry.licence, other.licence)))
            done.append(dataclasses.replace(entry, id=name, locator=locator, up="", licence=licence))
    alone = len(entries) - len(beside_it)
    said = [f"scanned without a neighbour, because no other shape is in the split: {counted(alone, 'shape')}"] if alone else []
    return done, said


def _neighbours(entries: Sequence[Entry], seed: int) -> dict[str, Entry]:
    """By id of an entry: another entry of its split, so that no test shape is seen in a scan to train on.

    The hashes of the ids of a split lie on a circle. The neighbour is the next one after a second hash of the id. So a collection that
    grows changes few neighbours.
    """
    splits: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        splits[entry.split].append(entry)
    found: dict[str, Entry] = {}
    for group in splits.values():
        circle = sorted((_hash(seed, "place", entry.id), index) for index, entry in enumerate(group))
        for index, entry in enumerate(group):
            if len(group) > 1:
                at = bisect.bisect(circle, (_hash(seed, "beside", entry.id), -1)) % len(circle)
                after = (at + 1) % len(circle)
                found[entry.id] = group[circle[after if circle[at][1] == index else at][1]]
    return found


def _hash(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"scan\0{seed}\0{purpose}\0{name}".encode()).digest()


def _random(seed: int, purpose: str, name: str) -> np.random.Generator:
    """Random numbers for one purpose in the scan of the shape with a name."""
    return np.random.default_rng(np.frombuffer(_hash(seed, purpose, name), np.uint32))


@dataclass(frozen=True)
class Locator:
    """What a scan is made from: two entries of the inner source, and the number of the box."""

    object: Entry
    neighbour: Entry | None
    copy: int

    def text(self) -> str:
        """The locator as a text, which `Locator.of` reads."""
        both = [self.object] if self.neighbour is None else [self.object, self.neighbour]
        fields = [[one.id, one.locator, one.label, one.split, one.up] for one in both]
        return json.dumps([self.copy, *fields], ensure_ascii=True, separators=(",", ":"))

    @staticmethod
    def of(text: str) -> "Locator":
        """Reads `text`."""
        copy, *both = json.loads(text)
        entries = [Entry(id=name, locator=locator, label=label, split=split, up=up) for name, locator, label, split, up in both]
        return Locator(entries[0], entries[1] if len(entries) > 1 else None, copy)


# ----------------------------------------------------------------------------------------------------------- one scan


@dataclass(frozen=True, kw_only=True)
class ScanReader:
    """Scans the shapes of another reader. See `catalog.Reader`. A locator is a `Locator` as text."""

    kind: str = "scan"
    inner: Reader
    settings: Settings
    options: tuple[tuple[str, str], ...]
    told: bool
    """Whether points are labelled with `OWNERS`."""

    def __hash__(self) -> int:
        return hash((self.location, self.options))  # the inner reader may have none

    @property
    def location(self) -> str:
        return PREFIX + self.inner.location

    @property
    def textures(self) -> Textures:
        return self.inner.textures

    def digest(self, entry: Entry) -> bytes:
        here = Locator.of(entry.locator)
        mine = self.inner.digest(here.object).hex()
        try:
            other = "" if here.neighbour is None else self.inner.digest(here.neighbour).hex()
        except UserError:
            other = "missing"
        made = {"object": mine, "neighbour": other, "id": here.object.id, "copy": here.copy, "options": self.settings.options}
        return hashlib.sha256(canonical(made)).digest()

    def read_by(self, entry: Entry) -> tuple[str, ...]:
        """See `catalog.NamingReader`."""
        here = Locator.of(entry.locator)
        return tuple(name for one in (here.object, here.neighbour) if one is not None for name in read_by(self.inner, one))

    def states(self, entry: Entry) -> Statement:
        """What is stated about the object; see `statements.StatingReader`."""
        return stated(self.inner, Locator.of(entry.locator).object)

    def varies(self, entry: Entry) -> Variety:
        """See `statements.VaryingReader`."""
        return varied(self.inner, Locator.of(entry.locator).object)

    def read(self, entry: Entry) -> Cloud:
        here = Locator.of(entry.locator)
        files = self.digest(dataclasses.replace(entry, locator=dataclasses.replace(here, copy=0).text()))
        return self._cloud(_scanned(self, here.object, here.neighbour, files), here)

    def scan(self, mesh: Mesh, neighbour: Mesh | None, name: str, warnings: tuple[str, ...] = ()) -> "Scanned":
        """Scans an object in a room.

        Args:
            mesh: the object, from `geometry.normalized`.
            neighbour: what stands beside it; None for nothing.
            name: the name that the random numbers depend on.
            warnings: what was left out of the meshes.
        """
        from pipeline import scan

        settings = self.settings
        mine, part, instance = _apart(scan.standing(mesh, 1.0))
        room = scan.room(mine, neighbour, _random(settings.seed, "room", name))
        low, high = scan.bounds(mine)
        walk = scan.poses_around(low, high, settings.poses, _random(settings.seed, "walk", name), room.front)
        seen = scan.scanned(room.mesh, walk, settings.sensor, _random(settings.seed, "sensor", name))
        box = scan.Crop((low + high) / 2, high - low + 2 * MARGIN, 0.0)
        others = [beside(one, normals=False) for one in (mesh, neighbour) if one is not None]
        together = hashlib.sha256(b"".join(one or bytes(32) for one in others)).digest() if any(others) else b""
        if self.told:
            part = np.ones(room.own, np.int16)
        return Scanned(scan.fused(_near(seen, box)), room.own, box, part, instance, warnings, together)

    def _mesh(self, entry: Entry) -> Mesh:
        """Reads a mesh of the inner source.

        Raises:
            UserError: it cannot be read, or is no mesh.
        """
        shape = self.inner.read(entry)
        if isinstance(shape, Cloud):
            raise UserError("it is a cloud of points, and only surfaces can be scanned; give meshes")
        mesh = normalized(shape, "none")
        assert isinstance(mesh, Mesh)
        return mesh

    def _neighbour(self, entry: Entry | None) -> tuple[Mesh | None, tuple[str, ...]]:
        """Reads the neighbour. If it is broken, the object is scanned without, and a warning says so."""
        if entry is None:
            return None, ()
        try:
            return self._mesh(entry), ()
        except UserError as error:
            return None, (f"scanned without a neighbour, because {entry.id} cannot be read: {error}",)

    def _cloud(self, seen: "Scanned", here: Locator) -> Cloud:
        """Crops a scan as the variant asks.

        Raises:
            UserError: hardly a point of the object is left.
        """
        count = int(np.count_nonzero(seen.scan.part < seen.own))
        if count < LEAST:
            raise UserError(
                f"the scanner saw {count} points of it, which are fewer than {LEAST}: it is too thin or see-through; more poses or pixels "
                "see more"
            )
        cut = self._cut(seen, _random(self.settings.seed, f"box {here.copy}", here.object.id))
        own = cut.part < seen.own
        part, instance = (_spread(label, cut.part, own, 0 if self.told else -1) for label in (seen.part, seen.instance))
        cloud = finished_cloud(cut.points, cut.colors, part=part, instance=instance)
        return dataclasses.replace(cloud, warnings=(*seen.warnings, *cloud.warnings), beside=seen.beside)

    def _cut(self, seen: "Scanned", rng: np.random.Generator) -> "Scan":
        """The points of a scan that the variant keeps, in the axes of their box."""
        from pipeline import scan

        own = seen.scan.part < seen.own
        if self.settings.variant == "only":
            return scan.cropped(seen.scan.rows(own), seen.box)  # what flies far off is no part of an object that was cut out
        if self.settings.variant == "bg":
            return scan.cropped(seen.scan, seen.box)
        for _ in range(DRAWS):
            cut = scan.cropped(seen.scan, scan.perturbed(seen.box, rng))
            if np.count_nonzero(cut.part < seen.own) >= max(KEPT * np.count_nonzero(own), 1):
                return cut
        raise UserError(f"none of {DRAWS} boxes drawn around it holds {KEPT:.0%} of its points; another scan_seed may find one")


class Scanned(NamedTuple):
    """The scan of an object in a room, before it is cropped."""

    scan: "Scan"
    """Fused points."""
    own: int
    """Number of the parts of the object, which are the first."""
    box: "Crop"
    """The box around the object, with a margin."""
    part: np.ndarray | None
    """[own] label of each part of the object; None for no labels."""
    instance: np.ndarray | None
    """[own] number of the object that each part belongs to; None for no labels."""
    warnings: tuple[str, ...]
    """What was left out of the meshes."""
    beside: bytes
    """sha256 over the other files that the meshes were read from; empty if there were none."""


@functools.lru_cache(maxsize=1)
def _scanned(reader: ScanReader, entry: Entry, other: Entry | None, files: bytes) -> Scanned:
    """The scan of an object beside another one. The last one is kept, because copies of an object follow each other. `files` is the digest
    of what they are read from, so that a file that changes is read again."""
    mesh = reader._mesh(entry)
    neighbour, said = reader._neighbour(other)
    return reader.scan(mesh, neighbour, entry.id, (*mesh.warnings, *said))


def _near(seen: "Scan", box: "Crop") -> "Scan":
    """The points that any box of `hard` may hold: its middle is shifted by half the size, and its half diagonal is 1.25 times as long."""
    reach = np.linalg.norm(box.size) / 2 * (1 + 1.25)
    return seen.rows(np.linalg.norm(seen.points - box.center, axis=1) <= reach)


def _apart(mesh: Mesh) -> tuple[Mesh, np.ndarray | None, np.ndarray | None]:
    """Cuts the parts of a mesh so that each has one label.

    Returns:
        The mesh, and the labels `part` and `instance` of its parts `[parts]`; None for labels that no part has.
    """
    if all(part.part is None and part.instance is None for part in mesh.parts):
        return mesh, None, None
    parts, labels = [], []
    for part in mesh.parts:
        none = np.full(len(part.faces), -1)
        both = np.column_stack([none if label is None else label for label in (part.part, part.instance)])  # [F, 2]
        for pair in np.unique(both, axis=0):
            rows = (both == pair).all(axis=1)
            side = None if part.side is None else part.side[rows]
            parts.append(compact(dataclasses.replace(part, faces=part.faces[rows], side=side, part=None, instance=None, outline=None)))
            labels.append(pair)
    given = [any(getattr(part, name) is not None for part in mesh.parts) for name in ("part", "instance")]
    columns = [np.array(labels)[:, column] if there else None for column, there in enumerate(given)]
    return dataclasses.replace(mesh, parts=tuple(parts)), columns[0], columns[1]


def _spread(label: np.ndarray | None, part: np.ndarray, own: np.ndarray, other: int) -> np.ndarray | None:
    """The label `[n]` of each point, from the labels of the parts of the object. Points that are not its own get `other`."""
    return None if label is None else np.where(own, label[np.where(own, part, 0)], other)
