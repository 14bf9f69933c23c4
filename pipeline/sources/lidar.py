"""The shapes of another source, as a laser scanner on a car sees them on the street. `pipeline.lidar` is the scanner.

    open_source("lidar:starter", count="2880")        # the kinds of the starter that stand outdoors: cars, houses, fences ...
    open_source("lidar:street", count="400")          # the same, and people, poles and trees, which are made here in code
    open_source("lidar:../cars", size="4.5")          # any meshes; the longest side is 4.5 m

The location is `lidar:` and the location of the other source. Its options pass through, and its splits and licences hold. Each object is
seen `copies` times, from a distance of its own. Ids end in that distance: `car/0003#0@23.4m`, so that results can be told by distance. It
is the distance at which the object begins, over the ground; its middle is farther by half the diagonal of its box.

Options:
  copies          number of scans of each object, 2; ids are `car/0003#0@23.4m`, `car/0003#1@7.9m` ...
  near, far       distances in metres between which objects stand, 5 and 70. Their logarithms are uniform: half are nearer than 19 m
  size            length in metres of the longest side; empty for what is usual for the class (`SIZES`), and 1 where that is unknown
  rings           number of lasers, 64
  lowest, highest elevation of the lowest and the highest laser in degrees, -24.8 and 2
  step            angle in degrees between two shots of a laser, 0.17
  noise           standard deviation of the measured distance in metres, 0.02
  drop            share of the rays that do not come back, 0.1
  ground          false, or true to keep the points of the street within 0.5 m of the object. Labels tell them apart
  least           fewest points of a scan, 8; with fewer it fails, with the reason
  lidar_seed      another number makes other scans
  lidar_revision  version of the code that scans, recorded with a cache; only the present one can be had
  inner           kind of the other source; auto by default

A cloud with fewer points than a block is stored with copies of its points; `repeated` of the cache says so.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.classes import spelling
from cache_schema.distances import at_distance
from cache_schema.errors import UserError
from cache_schema.spec import canonical
from cache_schema.terminal import counted, some
from pipeline.geometry import Cloud, Mesh, Part, beside, finished_cloud, normalized
from pipeline.labels import readable
from pipeline.sources import catalog
from pipeline.sources.catalog import Entry, Labelled, Reader, Source, Textures, read_by
from pipeline.sources.options import choice, number, whole
from pipeline.statements import Statement, Variety, stated, varied

if TYPE_CHECKING:
    from pipeline.lidar import Lidar

PREFIX: Final = "lidar:"
STREET: Final = "street"
"""Location of the collection that has people, poles and trees, too."""

LOOKS_FOR: Final = "lidar: and the location of another source, to scan its shapes from a car; or lidar:street"

REVISION: Final = "1"
"""Version of the scans that the code makes."""

SIZES: Final = {
    "car": 4.4,
    "house": 11.0,
    "fence": 3.0,
    "bench": 1.7,
    "mailbox": 1.3,
    "traffic cone": 0.75,
    "tent": 3.0,
    "person": 1.75,
    "pole": 5.0,
    "tree": 6.0,
}
"""Usual length in metres of the longest side, by class. Lengths of single objects vary by a tenth."""

OUTDOORS: Final = tuple(name for name in SIZES if name not in ("person", "pole", "tree"))
"""Kinds of the starter that stand on a street."""

SOME: Final = 3
"""Most classes that a note names."""

MADE: Final = ("person", "pole", "tree")
"""Kinds that are made here."""

PARTS: Final = ("ground", "object")
"""Names of labels of points, if the street is kept."""

AROUND: Final = 0.5
"""Distance in metres from the box of an object within which the street is kept."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How objects are placed and scanned."""

    copies: int
    near: float
    far: float
    size: float
    """0 for the size that is usual for the class."""
    rings: int
    lowest: float
    highest: float
    step: float
    noise: float
    drop: float
    ground: bool
    least: int
    seed: int

    def __post_init__(self) -> None:
        if self.near >= self.far:
            raise UserError(f"option near: expected less than far, got {self.near:g} and {self.far:g}")

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """The settings as options of the source: texts that read as the same numbers, however many digits they have."""
        named = dataclasses.asdict(self) | {"ground": str(self.ground).lower(), "size": self.size or ""}
        named["lidar_seed"] = named.pop("seed")
        done = {name: str(value).removesuffix(".0") for name, value in named.items()}
        return tuple((done | {"lidar_revision": REVISION}).items())

    def lidar(self) -> "Lidar":
        """The scanner.

        Raises:
            UserError: its angles cannot be.
        """
        from pipeline.lidar import Lidar

        own = {name: getattr(self, name) for name in ("rings", "lowest", "highest", "step", "noise", "drop")}
        return Lidar(**own)

    def place(self, name: str, copy: int) -> tuple[float, float, float, float]:
        """Distance in metres (to a decimetre), bearing, heading, and factor of size of a scan of the object with a name (`name_of`)."""
        rng = _random(self.seed, f"place {copy}", name)
        distance = round(math.exp(rng.uniform(math.log(self.near), math.log(self.far))), 1)
        bearing, heading = float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(-math.pi, math.pi))
        length = math.exp(rng.normal(0, 0.1))
        return distance, bearing, heading, length


def recognises(location: str) -> bool:
    return location.startswith(PREFIX)


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    copies: str = "2",
    near: str = "5",
    far: str = "70",
    size: str = "",
    rings: str = "64",
    lowest: str = "-24.8",
    highest: str = "2",
    step: str = "0.17",
    noise: str = "0.02",
    drop: str = "0.1",
    ground: str = "false",
    least: str = "8",
    lidar_seed: str = "0",
    lidar_revision: str = REVISION,
    inner: str = "auto",
    **more: str,
) -> Source:
    """Lists the scans of all shapes of another source. The options are explained at the head of this module."""
    within_it = location.removeprefix(PREFIX)
    if not location.startswith(PREFIX) or not within_it or within_it.startswith((PREFIX, "scan:")):
        raise UserError(f"{location!r}: write {PREFIX} and the location of meshes, or {PREFIX}{STREET}")
    if lidar_revision != REVISION:
        raise UserError(f"option lidar_revision: this version makes scans of revision {REVISION}, asked for {lidar_revision!r}")
    settings = Settings(
        copies=whole("copies", copies, 1, 1000),
        near=number("near", near, 0.5, 500, "metres"),
        far=number("far", far, 0.5, 500, "metres"),
        size=number("size", size, 0.01, 100, "metres") if size else 0.0,
        rings=whole("rings", rings, 1, 256),
        lowest=number("lowest", lowest, -80, 80, "degrees"),
        highest=number("highest", highest, -80, 80, "degrees"),
        step=number("step", step, 0.01, 10, "degrees"),
        noise=number("noise", noise, 0, 1, "metres"),
        drop=number("drop", drop, 0, 0.99),
        ground=choice("option ground", ground, ("false", "true")) == "true",
        least=whole("least", least, 2, 100_000),
        seed=whole("lidar_seed", lidar_seed, 0, 10**9),
    )
    settings.lidar()  # refuses angles that cannot be
    street = within_it == STREET
    found = "starter" if street else catalog.recognised(within_it) if inner == "auto" else inner
    if found in ("scan", "lidar"):
        raise UserError(f"{location!r}: scans cannot be scanned again; give meshes")
    catalog.check_options("lidar", more, inner=found)
    if found == "starter":
        _check_kinds(more)
    source = catalog.open_source("starter" if street else within_it, kind=found, textures=textures, **more)
    if source.labelled.boxes or source.labelled.origins:
        raise UserError(f"{location!r}: a laser scan is made of single objects, and {found} gives scenes")
    notes = list(source.notes)
    listed = source.entries
    if found == "starter":
        listed = tuple(entry for entry in listed if entry.label in OUTDOORS)
        notes.append(f"of the starter kinds only those that stand outdoors are scanned: {', '.join(OUTDOORS)}")
    if street:
        made_ = _made(listed)
        listed += tuple(made_)
        if not made_:
            notes.append(
                "no people, poles and trees are made: there are as many of each as cars, and no car is among source.classes and count"
            )
    unknown = sorted({entry.label for entry in listed if size_of(entry.label) is None})
    if unknown and not settings.size:
        named = some([name or "no class" for name in unknown], SOME)
        notes.append(
            f"no size is known of {counted(len(unknown), 'class')} ({named}), so each is 1 m long; --set source.size=METRES chooses"
        )
    options = (*settings.options, ("inner", found), *source.reader.options)
    reader = LidarReader(inner=source.reader, street=street, settings=settings, options=tuple(sorted(options)))
    entries = []
    for entry in listed:
        for copy in range(settings.copies):
            distance = settings.place(reader.name_of(entry), copy)[0]
            name = at_distance(f"{entry.id}#{copy}", distance)
            place = json.dumps([copy, entry.id, entry.locator, entry.label, entry.split, entry.up], ensure_ascii=True)
            entries.append(dataclasses.replace(entry, id=name, locator=place, up=""))
    return Source.of(reader, entries, source.skipped, notes, Labelled(parts=PARTS if settings.ground else ()))


def size_of(label: str) -> float | None:
    """Usual length in metres of the longest side of a class, in any spelling (`Traffic_Cone`); None if it is unknown."""
    return SIZES.get(spelling(label))


def _check_kinds(options: Mapping[str, str]) -> None:
    """Refuses options of the starter collection that would leave shapes out without a word.

    Raises:
        UserError: classes are no kinds, or a kind that was asked for does not stand outdoors.
    """
    if options.get("label", "kind") != "kind":
        raise UserError(f"option label: sizes go by kinds, so classes of laser scans are kinds alone; got {options['label']!r}")
    asked = [name.strip() for name in options.get("classes", "").split(",")]
    if indoors := [name for name in asked if name and name not in OUTDOORS]:
        raise UserError(f"option classes: {indoors[0]!r} does not stand outdoors; of the starter kinds these do: {', '.join(OUTDOORS)}")


def example(folder: Path) -> str:
    """Two houses and a car, in boxes: large enough to be seen from anywhere."""
    from pipeline.sources import scanned

    made_ = scanned.example(folder)
    for old, new in (("box_A", "house_A"), ("box_B", "house_B"), ("shelf", "car")):
        (folder / f"{old}.off").rename(folder / f"{new}.off")
    return PREFIX + made_.removeprefix(scanned.PREFIX)


@dataclass(frozen=True, kw_only=True)
class LidarReader:
    """Scans the shapes of another reader. See `catalog.Reader`. A locator is a JSON list: the number of the scan, and the fields of the
    entry of the other source."""

    kind: str = "lidar"
    inner: Reader
    street: bool
    """Whether there are people, poles and trees, too."""
    settings: Settings
    options: tuple[tuple[str, str], ...]

    def __hash__(self) -> int:
        return hash((self.location, self.options))  # the inner reader may have none

    @property
    def location(self) -> str:
        return PREFIX + (STREET if self.street else self.inner.location)

    @property
    def textures(self) -> Textures:
        return self.inner.textures

    def name_of(self, entry: Entry) -> str:
        """The name that all random numbers of an object depend on: its id, and for what is made here, the seed of the collection."""
        seed = dict(self.inner.options).get("seed", "0")
        return f"{entry.id}, seed {seed}" if self._is_made(entry) and seed != "0" else entry.id

    def _is_made(self, entry: Entry) -> bool:
        return self.street and entry.locator in MADE

    def digest(self, entry: Entry) -> bytes:
        copy, inside = _parted(entry)
        mine = "" if self._is_made(inside) else self.inner.digest(inside).hex()
        made = {"object": mine, "id": self.name_of(inside), "copy": copy, "label": inside.label, "options": self.settings.options}
        return hashlib.sha256(canonical(made)).digest()

    def read_by(self, entry: Entry) -> tuple[str, ...]:
        """See `catalog.NamingReader`."""
        _, inside = _parted(entry)
        return () if self._is_made(inside) else read_by(self.inner, inside)

    def states(self, entry: Entry) -> Statement:
        """What is stated about the object; see `statements.StatingReader`."""
        _, inside = _parted(entry)
        return Statement(name=readable(inside.label)) if self._is_made(inside) else stated(self.inner, inside)

    def varies(self, entry: Entry) -> Variety:
        """See `statements.VaryingReader`."""
        _, inside = _parted(entry)
        return Variety() if self._is_made(inside) else varied(self.inner, inside)

    def read(self, entry: Entry) -> Cloud:
        copy, inside = _parted(entry)
        if self._is_made(inside):
            mesh = normalized(made(inside.locator, _random(self.settings.seed, "made", self.name_of(inside))), "none")
        else:
            mesh = normalized(self.inner.read(inside), "none")
        if isinstance(mesh, Cloud):
            raise UserError("it is a cloud of points, and only surfaces can be scanned; give meshes")
        return self.scan(mesh, inside, copy)

    def scan(self, mesh: Mesh, entry: Entry, copy: int) -> Cloud:
        """The scan of a mesh as the object of an entry.

        Raises:
            UserError: too few points came back.
        """
        from pipeline import lidar
        from pipeline.scan import bounds

        settings = self.settings
        distance, bearing, heading, length = settings.place(self.name_of(entry), copy)
        # A house next to the road is farther from its middle than a car: the object begins at the distance.
        standing = lidar.on_street(mesh, (settings.size or size_of(entry.label) or 1.0) * length, heading)
        low, high = bounds(standing)
        reach = math.hypot(*np.maximum(np.abs(low), np.abs(high))[[0, 2]])
        there = lidar.placed(standing, distance + reach, bearing)
        own = len(there.parts)
        if settings.ground:
            there = dataclasses.replace(there, parts=(*there.parts, _street(there)))
        seen = lidar.scanned(there, settings.lidar(), _random(settings.seed, f"sensor {copy}", self.name_of(entry)))
        mine = seen.part < own
        if np.count_nonzero(mine) < settings.least:
            raise UserError(
                f"{np.count_nonzero(mine)} points came back from it at {distance:g} m, which are fewer than {settings.least} "
                "(--set source.least); more rings or a smaller `far` see more"
            )
        done = finished_cloud(seen.points, None, part=mine.astype(np.int16) if settings.ground else None)
        return dataclasses.replace(done, warnings=(*mesh.warnings, *done.warnings), beside=beside(mesh, normals=False))


def _parted(entry: Entry) -> tuple[int, Entry]:
    """The number of a scan, and the entry of the other source."""
    copy, name, locator, label, split, up = json.loads(entry.locator)
    return copy, Entry(id=name, locator=locator, label=label, split=split, up=up)


def _random(seed: int, purpose: str, name: str) -> np.random.Generator:
    """Random numbers for one purpose in the scan of the shape with a name."""
    return np.random.default_rng(np.frombuffer(hashlib.sha256(f"lidar\0{seed}\0{purpose}\0{name}".encode()).digest(), np.uint32))


def _street(mesh: Mesh) -> Part:
    """The street around a mesh: a rectangle that is `AROUND` larger than its box."""
    from pipeline.scan import bounds

    low, high = bounds(mesh)
    (x0, z0), (x1, z1) = low[[0, 2]] - AROUND, high[[0, 2]] + AROUND
    corners = np.array([[x0, 0, z0], [x1, 0, z0], [x1, 0, z1], [x0, 0, z1]], np.float32)
    return Part(vertices=corners, faces=np.array([[0, 2, 1], [0, 3, 2]], np.int32))


# ------------------------------------------------------------------------------------------- people, poles and trees


def _made(others: tuple[Entry, ...]) -> list[Entry]:
    """Entries of people, poles and trees: of each as many as the collection has cars, with the splits and the licence of the cars."""
    cars = [entry for entry in others if entry.label == "car"]
    return [dataclasses.replace(car, id=f"{kind}/{car.id.rpartition('/')[2]}", locator=kind, label=kind) for kind in MADE for car in cars]


def made(kind: str, rng: np.random.Generator) -> Mesh:
    """A person, a pole or a tree, roughly; +Y up, standing on y = 0."""
    make = {"person": _person, "pole": _pole, "tree": _tree}[kind]
    return Mesh(parts=tuple(make(rng)), colored=False)


def _person(rng: np.random.Generator) -> list[Part]:
    """Boxes for trunk, legs and arms, and a round head. Legs and arms swing."""
    wide, deep, stride = rng.uniform(0.36, 0.5), rng.uniform(0.2, 0.3), rng.uniform(0, 0.35)
    legs = [_limb((side * wide / 4, 0.85, 0), (side * wide / 4, 0, side * stride), 0.16) for side in (-1, 1)]
    arms = [_limb((side * (wide / 2 + 0.05), 1.4, 0), (side * (wide / 2 + 0.1), 0.8, -side * stride * 0.8), 0.1) for side in (-1, 1)]
    trunk = _limb((0, 1.45, 0), (0, 0.8, 0), wide, deep)
    return [trunk, *legs, *arms, _ball((0, 1.63, 0), (0.1, 0.13, 0.11))]


def _pole(rng: np.random.Generator) -> list[Part]:
    """A thin mast, with an arm and a lamp, with a sign, or bare."""
    high, thick = rng.uniform(2.5, 7), rng.uniform(0.08, 0.25)
    parts = [_limb((0, high, 0), (0, 0, 0), thick)]
    top = int(rng.integers(3))
    if top == 1:
        out = rng.uniform(0.6, 1.8)
        parts += [_limb((0, high, 0), (out, high + 0.1, 0), thick * 0.7), _ball((out, high, 0), (0.35, 0.1, 0.15))]
    if top == 2:
        half = rng.uniform(0.25, 0.5)
        parts.append(_limb((0, high, thick), (0, high - 2 * half, thick), 2 * half, 0.03))
    return parts


def _tree(rng: np.random.Generator) -> list[Part]:
    """A trunk, and a crown of several balls."""
    high, thick, wide = rng.uniform(1.2, 2.5), rng.uniform(0.2, 0.5), rng.uniform(1.0, 2.0)
    parts = [_limb((0, high + 1, 0), (0, 0, 0), thick)]
    for _ in range(int(rng.integers(3, 7))):
        shift = rng.normal(0, 0.45, 3) * wide
        size = wide * rng.uniform(0.5, 0.9, 3)
        parts.append(_ball((shift[0], high + wide + abs(shift[1]), shift[2]), tuple(size.tolist())))
    return parts


def _limb(top: tuple[float, float, float], end: tuple[float, float, float], wide: float, deep: float = 0.0) -> Part:
    """A bar between two places, `wide` along x and `deep` along z (as deep as wide if 0). A level bar is thick along y."""
    one, two = np.array(top), np.array(end)
    level = abs(one[1] - two[1]) < np.abs(one - two).max() / 2
    across = np.array([0, wide, 0] if level else [wide, 0, 0]) / 2
    along = np.array([0, 0, deep or wide]) / 2
    corners = np.array([place + a * across + b * along for place in (one, two) for a in (-1, 1) for b in (-1, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))]
    return Part(vertices=corners.astype(np.float32), faces=np.array(faces, np.int32))


def _ball(middle: tuple[float, float, float], half: tuple[float, ...], steps: int = 8) -> Part:
    """An ellipsoid of flat pieces."""
    up, around = np.meshgrid(np.linspace(-np.pi / 2, np.pi / 2, steps + 1), np.linspace(0, 2 * np.pi, 2 * steps + 1), indexing="ij")
    places = np.stack([np.cos(up) * np.sin(around), np.sin(up), np.cos(up) * np.cos(around)], -1).reshape(-1, 3)
    vertices: NDArray[np.float64] = places * np.array(half) + np.array(middle)
    rows, columns = (grid.ravel() for grid in np.meshgrid(np.arange(steps), np.arange(2 * steps), indexing="ij"))
    at = rows * (2 * steps + 1) + columns
    below, above = at, at + 2 * steps + 1
    faces = np.concatenate([np.stack([below, below + 1, above], -1), np.stack([above, below + 1, above + 1], -1)])
    return Part(vertices=vertices.astype(np.float32), faces=faces.astype(np.int32))
