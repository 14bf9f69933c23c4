"""Rooms that are made in code and furnished: for semantic segmentation and detection without data.

    open_source("rooms", count="400")                              # furnished with starter shapes
    open_source("rooms:ModelNet10/", count="40")                   # furnished with the meshes of another source
    open_source("rooms", crop="columns", size="1.0", stride="0.5")  # a row for each column of a room

A room is made from (seed, index) alone, and from the sorted ids of the meshes. It has a floor, walls, doors, windows, furniture against
walls, in the middle and on tables, and clutter. `part` is the class of each point, `instance` the piece of furniture, and each piece of
furniture has a box. Rooms are in metres, +Y is up, the floor is at y = 0. Classes are the same words for all collections, so that models
tried on rooms of one are tested on rooms of another.

Every fourth room is in the split test and holds only meshes of that split, as other rooms hold none of them. If the collection has a split
val and none called test, these rooms hold its meshes and are in val; if it has both, every eighth room is in val. Id: `room/0003`, followed
by the crop.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.spec import canonical, did_you_mean
from pipeline import geometry
from pipeline.sources import catalog
from pipeline.sources.catalog import Entry, Labelled, Source, Textures
from pipeline.sources.crops import USUAL, Crop, listed, parted, remembered
from pipeline.sources.options import choice, number, whole
from pipeline.starter import shapes
from pipeline.starter.indoors import programmes, scene
from pipeline.starter.indoors.known import kind_of, known
from pipeline.starter.indoors.stock import Collection, Starters, Stock

LOOKS_FOR: Final = "`rooms` for rooms made in code, or `rooms:PATH` to furnish them with the meshes at a path"

REVISION: Final = f"1.{shapes.REVISION}"
"""Version of the rooms that the code makes, and of the starter shapes in them."""

COUNT: Final = 8
"""Number of rooms unless a count is given."""

DENSITY: Final = (10.0, 5000.0)
"""Least and largest number of points per square metre."""

PASSED: Final = ("label", "split", "split_seed", "up")
"""Options that the source of the meshes is given."""


def recognises(location: str) -> bool:
    return location == "rooms" or location.startswith("rooms:")


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    count: str = str(COUNT),
    seed: str = "0",
    revision: str = REVISION,
    classes: str = "",
    ceiling: str = "no",
    density: str = "600",
    crop: str = "whole",
    size: str = USUAL["size"],
    stride: str = USUAL["stride"],
    least: str = USUAL["least"],
    inner: str = "",
    label: str = "",
    split: str = "",
    split_seed: str = "",
    up: str = "",
    meshes: str = "",
) -> Source:
    """Lists rooms.

    Args:
        location: `rooms`, or `rooms:` and the location of a source of meshes with classes.
        textures: of the meshes, see `catalog.open_source`.
        count: how many rooms.
        seed: another seed makes other rooms.
        revision: of the code that makes them, recorded with a cache. Only the present one can be had.
        classes: the kinds of furniture to use, with commas between them (`chair,table,night stand`); all that there are if empty.
        ceiling: `yes` for rooms with a ceiling, as in S3DIS; `no` for open ones, as most of ScanNet.
        density: points per square metre of surface.
        crop: `whole` rooms or `columns`, see `pipeline.sources.crops`.
        size: side of a column, in metres.
        stride: distance between columns, in metres.
        least: fewest points of a column.
        inner: kind of the source of the meshes; found by itself if empty.
        label: option of the source of the meshes.
        split: option of the source of the meshes.
        split_seed: option of the source of the meshes.
        up: option of the source of the meshes.
        meshes: a hash of the ids, classes and splits of the meshes. A cache records it. Users do not set it.
    """
    cut = Crop.chosen(crop, size, stride, least)
    if revision != REVISION:
        raise UserError(f"option revision: this version makes the rooms of revision {REVISION}, asked for {revision!r}")
    passed = {"inner": inner, "label": label, "split": split, "split_seed": split_seed, "up": up}
    options = {
        "ceiling": choice("option ceiling", ceiling, ("no", "yes")),
        "count": str(whole("count", count, 0)),
        "density": repr(number("density", density, *DENSITY, "points per square metre")),
        "revision": REVISION,
        "seed": str(whole("seed", seed, 0)),
        **dict(cut.options),
        **{name: value for name, value in passed.items() if value},
    }
    return _listed(location, textures, options, cut, classes, meshes)


def _listed(location: str, textures: Textures, options: dict[str, str], cut: Crop, classes: str, meshes: str) -> Source:
    """The source with these options, which were checked, and with `classes` and `meshes`, which depend on what the location holds."""
    place, stock, own = _opened(location, textures, options)
    if meshes not in ("", own):
        raise UserError(
            f"{location!r} holds other meshes than the cache was made with (option meshes): some were added, removed or renamed"
        )
    furniture = _classes(classes, stock)
    options |= ({"classes": ",".join(furniture)} if classes else {}) | ({"meshes": own} if own else {})
    reader = RoomMaker(location=place, options=tuple(sorted(options.items())), textures=textures, cut=cut)
    entries, notes = listed(_rooms(reader, stock), cut, reader.outline)
    parts = (*programmes.structure(reader.ceiling), *furniture)
    labelled = Labelled(parts=parts, instances=True, origins=True, boxes=furniture, most=scene.MOST)
    return Source.of(reader, entries, None, (*stock.notes, *notes), labelled)


def example(folder: Path) -> str:
    return "rooms"


# ---------------------------------------------------------------------------------------------------------------- options


def _classes(text: str, stock: Stock) -> tuple[str, ...]:
    """The kinds of furniture that are used, in alphabetical order.

    Raises:
        UserError: there is no such kind in the stock.
    """
    there = programmes.furniture(frozenset().union(*(stock.kinds(split) for split in stock.splits())))
    chosen = set()
    for name in (name.strip() for name in text.split(",") if name.strip()):
        kind = kind_of(name) or name
        if kind not in there:
            raise UserError(
                f"option classes: there is no furniture called {name!r}{did_you_mean(kind, there)}; there are {', '.join(there)}"
            )
        chosen.add(kind)
    return tuple(sorted(chosen)) if chosen else there


def _opened(location: str, textures: Textures, options: Mapping[str, str]) -> tuple[str, Stock, str]:
    """The location with an absolute path, what rooms are furnished with, and a hash of its ids (empty for starter shapes).

    Raises:
        UserError: there are no meshes, or options for meshes where none are read.
    """
    passed = {name: options[name] for name in PASSED if name in options}
    if location == "rooms":
        for name in (*passed, *(["inner"] if "inner" in options else [])):
            raise UserError(f"option {name} is for the source of the meshes: name one, as rooms:PATH")
        return location, Starters(seed=int(options["seed"])), ""
    path = location.removeprefix("rooms:")
    if not path or recognises(path):
        raise UserError(f"{location!r}: expected rooms:PATH, where PATH is a place with meshes")
    source = catalog.open_source(path, kind=options.get("inner", "auto"), textures=textures, **passed)
    stock = Collection.of(source)
    told = [[entry.id, entry.label, entry.split, entry.up] for _, entry in sorted(stock.entries.items())]
    return f"rooms:{source.reader.location}", stock, hashlib.sha256(canonical(told)).hexdigest()[:16]


# -------------------------------------------------------------------------------------------------------------- the rooms


def _rooms(reader: "RoomMaker", stock: Stock) -> list[Entry]:
    """One entry for each room."""
    rooms = []
    for index in range(int(reader.told["count"])):
        split = _split(index, stock.splits())
        kind = scene.planned(reader.wanted(index, split)).kind
        rooms.append(Entry(id=f"room/{index:04d}", locator=f"{index}", label=kind, split=split, licence=stock.licence))
    return rooms


def _split(index: int, there: frozenset[str]) -> str:
    """The split of a room, which is that of its meshes."""
    held_out = [split for split in ("test", "val") if split in there]
    rest = sorted(there - set(held_out))
    if held_out and rest:
        if index % shapes.TEST_ONE_IN == shapes.TEST_ONE_IN - 1:
            return held_out[0]
        if index % (2 * shapes.TEST_ONE_IN) == 1 and len(held_out) == 2:
            return held_out[1]
    return rest[index % len(rest)] if rest else held_out[index % len(held_out)]


@dataclass(frozen=True, kw_only=True)
class RoomMaker:
    """Makes rooms. See `catalog.Reader`. A locator is an index, `#` and the name of a crop."""

    kind: str = "rooms"
    location: str
    options: tuple[tuple[str, str], ...]
    textures: Textures
    cut: Crop

    def read(self, entry: Entry) -> geometry.Cloud:
        index, crop = parted(entry.locator)
        cloud = remembered("room", (self, index, entry.split), lambda: self._made(int(index), entry.split))
        return self.cut.of(cloud, crop)

    def digest(self, entry: Entry) -> bytes:
        index, _ = parted(entry.locator)
        return remembered(
            "digest of a room", (self, index, entry.split), lambda: scene.digest(self.wanted(int(index), entry.split), self._stock())
        )

    def read_by(self, entry: Entry) -> tuple[str, ...]:
        """See `catalog.NamingReader`. Any mesh of the stock may stand in any room."""
        key = ("readers of a stock", self.location, self.options)
        return remembered("readers of a stock", key, lambda: self._stock().read_by())

    def outline(self, entry: Entry) -> NDArray[np.float32]:
        """The points `[n, 3]` of the empty room, by which crops are listed: that takes a tenth of the time of a furnished one.

        They are the first points of the furnished room, and have its bounds. So each crop that they give is a crop of the room.
        """
        return scene.outline(self.wanted(int(entry.locator), entry.split), float(self.told["density"]), f"room {entry.locator}")

    @property
    def told(self) -> dict[str, str]:
        """The options by name."""
        return dict(self.options)

    @property
    def ceiling(self) -> bool:
        return self.told["ceiling"] == "yes"

    def wanted(self, index: int, split: str) -> scene.Wanted:
        """Everything that decides a room, beside the meshes."""
        stock = self._stock()
        furniture = _classes(self.told.get("classes", ""), stock)
        kinds = frozenset(kind for kind in stock.kinds(split) if kind in furniture or not known(kind).furniture)
        return scene.Wanted(seed=int(self.told["seed"]), index=index, split=split, ceiling=self.ceiling, kinds=kinds)

    def _made(self, index: int, split: str) -> geometry.Cloud:
        stock = self._stock()
        room = scene.made(self.wanted(index, split), stock)
        furniture = _classes(self.told.get("classes", ""), stock)
        classes = (*programmes.structure(self.ceiling), *furniture)
        return scene.sampled(room, classes, furniture, float(self.told["density"]), f"room {index}")

    def _stock(self) -> Stock:
        """What rooms are furnished with. It is opened once in each process, because a reader is sent to many and must be small."""

        def opened() -> Stock:
            _, stock, own = _opened(self.location, self.textures, self.told)
            if own != self.told.get("meshes", ""):
                raise UserError(
                    f"{self.location.removeprefix('rooms:')!r} has changed since the rooms were listed: meshes were added or removed"
                )
            return stock

        return remembered("stock of rooms", (self.location, self.options, self.textures), opened)
