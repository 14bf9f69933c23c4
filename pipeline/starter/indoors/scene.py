"""A whole room: made from a seed and an index, as surfaces with classes, and as a cloud of labelled points.

    room = made(Wanted(seed=0, index=7, split="train", ceiling=False, kinds=stock.kinds("train")), stock)
    cloud = sampled(room, classes, furniture, density=600, name="room 7")

A room is a list of pieces. A piece is a surface of one class, and the whole of one object if it is furniture. Each piece is sampled by
itself, so that the labels of its points are exact.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cache_schema.errors import UserError
from cache_schema.spec import PointSpec
from cache_schema.terminal import some
from pipeline.geometry import Boxes, Cloud, Mesh, Part, copied, of_faces, triangles
from pipeline.points import Samples, sample
from pipeline.starter.indoors import decor, programmes, shell
from pipeline.starter.indoors.arranging import Arrangement, Placed
from pipeline.starter.indoors.known import known
from pipeline.starter.indoors.programmes import Wish
from pipeline.starter.indoors.stock import Item, Stock
from pipeline.starter.kinds.solids import Solid
from pipeline.starter.shapes import parts_of

MOST: Final = 64
"""Most pieces of furniture of a room."""

INNER: Final = 2.0
"""Largest area of a piece for its density of points, in surfaces of its box. Many meshes have more surface inside than outside."""

SOLE: Final = 0.003
"""What lies lower than this above the floor under a thing is not seen, in metres."""

SHELL, WISHES, THINGS, DECOR = range(4)
"""Purposes of random numbers: each has its own, so that a room's plan does not depend on its furniture."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Everything that decides a room, beside the meshes themselves."""

    seed: int
    index: int
    split: str
    ceiling: bool
    kinds: frozenset[str]
    """Kinds of things that may be used."""

    def rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.index, purpose))


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A surface of one class, in the axes of the room."""

    label: str
    mesh: Mesh
    instance: int = -1
    """Row of its box; -1 for what is not furniture."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """A furnished room."""

    shell: shell.Shell
    pieces: tuple[Piece, ...]
    placed: tuple[Placed, ...]
    """The furniture, in the order of instances."""
    warnings: tuple[str, ...] = ()
    beside: bytes = field(default=b"", repr=False)


# -------------------------------------------------------------------------------------------------------- plan and wishes


def planned(wanted: Wanted) -> shell.Shell:
    """The empty room. Its kind is drawn among those that can be furnished."""
    return _planned(wanted)[0]


def _planned(wanted: Wanted) -> tuple[shell.Shell, np.random.Generator]:
    rng = wanted.rng(SHELL)
    rooms = programmes.possible(wanted.kinds)
    return shell.planned(rng, rooms[int(rng.integers(len(rooms)))]), rng


def bare(wanted: Wanted) -> tuple[shell.Shell, list[Piece]]:
    """The empty room and its surfaces, one piece for each class."""
    plan, rng = _planned(wanted)
    by_label: dict[str, list[Solid]] = {}
    for label, solid in shell.built(plan, rng, wanted.ceiling):
        by_label.setdefault(label, []).append(solid)
    return plan, [Piece(label=label, mesh=_within(_mesh(solids), plan)) for label, solids in by_label.items()]


def wished(wanted: Wanted, stock: Stock) -> list[Wish]:
    """The list of things to put into a room, as `programmes.wished` draws it."""
    plan = planned(wanted)
    return programmes.wished(wanted.rng(WISHES), plan.kind, plan.area, stock, wanted.split, wanted.kinds)


def digest(wanted: Wanted, stock: Stock) -> bytes:
    """sha256 over what a room is made from: its numbers, and the data of all meshes that it may hold."""
    told = f"{wanted.seed}\0{wanted.index}\0{wanted.split}\0{wanted.ceiling}\0{sorted(wanted.kinds)}"
    total = hashlib.sha256(told.encode())
    for name in sorted({name for wish in wished(wanted, stock) for name in wish.names}):
        total.update(name.encode() + b"\0" + stock.digest(name))
    return total.digest()


# ---------------------------------------------------------------------------------------------------------- the room


def made(wanted: Wanted, stock: Stock) -> Room:
    """Furnish a room.

    A mesh that cannot be read is replaced by the next that the wish names, and told in `Room.warnings`.

    Raises:
        UserError: no mesh that was chosen can be read.
    """
    plan, pieces = bare(wanted)
    room = Arrangement(plan, wanted.rng(THINGS))
    broken = _furnish(room, wished(wanted, stock), stock)
    loose = decor.decorated(room, wanted.rng(DECOR))
    furniture = [one for one in room.placed if known(one.kind).furniture]
    for instance, one in enumerate(furniture):
        pieces.append(Piece(label=one.kind, mesh=_put(one), instance=instance))
    pieces += [Piece(label="clutter", mesh=_put(one)) for one in room.placed if not known(one.kind).furniture]
    if loose:
        pieces.append(Piece(label="clutter", mesh=_within(_mesh(loose), plan)))
    beside = b"".join(sorted({one.item.beside for one in room.placed} - {b""}))
    return Room(
        shell=plan,
        pieces=tuple(pieces),
        placed=tuple(furniture),
        warnings=_told(broken, room.placed),
        beside=hashlib.sha256(beside).digest() if beside else b"",
    )


def _furnish(room: Arrangement, wishes: Iterable[Wish], stock: Stock) -> dict[str, str]:
    """Put what is wished into a room, as far as there is space.

    Returns:
        The meshes that cannot be read, each with the reason.

    Raises:
        UserError: none can be read.
    """
    read, broken = dict[str, Item](), dict[str, str]()
    for wish in wishes:
        if not room.awaits(wish) or (known(wish.kind).furniture and sum(known(one.kind).furniture for one in room.placed) >= MOST):
            continue
        tried = []
        for name in wish.names:
            item = _item(stock, name, read, broken)
            tried += [item] if item is not None else []
            if item is not None and room.put(wish, item):
                break
        else:
            if wish.where == "middle" and tried:  # rather a table of another height than none
                room.put(dataclasses.replace(wish, height=Wish.height), tried[0])
    if broken and not read:
        name, reason = next(iter(broken.items()))
        raise UserError(f"none of the {len(broken)} meshes chosen for the room can be read; the first is {name}: {reason}")
    return broken


def _item(stock: Stock, name: str, read: dict[str, Item], broken: dict[str, str]) -> Item | None:
    """The thing of a name, read once for a room; None if it cannot be read."""
    if name not in read and name not in broken:
        try:
            read[name] = stock.item(name)
        except UserError as error:
            broken[name] = str(error)
        except MemoryError:  # it depends on the machine, and a room must not
            raise
        except Exception as error:  # a loader may raise anything, and one mesh must not cost the room
            broken[name] = f"it is damaged, or holds something mmpd does not know [{type(error).__name__}: {error}]"
    return read.get(name)


def _told(broken: dict[str, str], placed: Iterable[Placed]) -> tuple[str, ...]:
    """Remarks about meshes that were replaced, and those that reading the others gave."""
    remarks = sorted({text for one in placed for text in one.item.warnings})
    if broken:
        named = some([f"{name} ({reason})" for name, reason in broken.items()], 3, "; ")
        remarks.insert(0, f"meshes that cannot be read are replaced by others ({len(broken)}): {named}")
    return tuple(remarks)


def _mesh(solids: Iterable[Solid]) -> Mesh:
    return Mesh(parts=parts_of(list(solids)), colored=True)


def _within(mesh: Mesh, plan: shell.Shell) -> Mesh:
    """The mesh with its corners clipped to the bounds of the room: turning walls rounds in the last digit."""
    done = [dataclasses.replace(part, vertices=np.clip(part.vertices, np.float32(0), plan.high)) for part in mesh.parts]
    return dataclasses.replace(mesh, parts=tuple(done))


def _put(placed: Placed) -> Mesh:
    """The surface of a thing in its place, without its sole."""
    done = []
    for part in _unsoled(placed.item.parts):
        there = copied(part, placed.matrix()[None])
        normals = None if there.normals is None else there.normals.astype(np.float32)
        done.append(
            dataclasses.replace(there, vertices=there.vertices.astype(np.float32), faces=there.faces.astype(np.int32), normals=normals)
        )
    return Mesh(parts=tuple(done), colored=True)


def _unsoled(parts: Sequence[Part]) -> list[Part]:
    """Parts without the triangles on which the thing stands; all of them, if no others are left."""
    kept = []
    for part in parts:
        rows = np.flatnonzero((part.vertices[part.faces][..., 1] > SOLE).any(axis=1))
        if len(rows):
            kept.append(of_faces(part, rows))
    return kept or list(parts)


# --------------------------------------------------------------------------------------------------------- as points


def sampled(room: Room, classes: Sequence[str], furniture: Sequence[str], density: float, name: str) -> Cloud:
    """The points of a room, with colours, normals, classes, objects and boxes.

    Args:
        room: a furnished room.
        classes: what `part` holds indices into.
        furniture: what `Boxes.kind` holds indices into.
        density: points per square metre of surface.
        name: of the room, which decides the random numbers.
    """
    samples = [_points(piece, density, f"{name}/{number}", normals=True) for number, piece in enumerate(room.pieces)]
    corners = _corners(room.shell)
    counts = [len(corners), *(len(one.xyz[0]) for one in samples)]
    labels = [classes.index(piece.label) for piece in room.pieces]
    floor = labels.index(classes.index("floor"))
    up = np.tile(np.array([0, 1, 0], np.float32), (len(corners), 1))
    return Cloud(
        points=np.concatenate([corners, *(np.clip(one.xyz[0], np.float32(0), room.shell.high) for one in samples)]),
        colors=np.concatenate([np.repeat(samples[floor].rgb[0, :1], len(corners), axis=0), *(one.rgb[0] for one in samples)]),
        normals=np.concatenate([up, *(one.normal[0].astype(np.float32) for one in samples if one.normal is not None)]),
        part=np.repeat([labels[floor], *labels], counts).astype(np.int16),
        instance=np.repeat([-1, *(piece.instance for piece in room.pieces)], counts).astype(np.int32),
        boxes=Boxes(
            box=np.array([one.box() for one in room.placed], np.float64).reshape(-1, 7),
            kind=np.array([furniture.index(one.kind) for one in room.placed], np.int32),
        ),
        warnings=room.warnings,
        beside=room.beside,
    )


def outline(wanted: Wanted, density: float, name: str) -> np.ndarray:
    """The points of the empty room `[n, 3]`, which are the first of the furnished one. They have its bounds."""
    plan, pieces = bare(wanted)
    return np.concatenate([_corners(plan), *(_points(piece, density, f"{name}/{number}").xyz[0] for number, piece in enumerate(pieces))])


def _corners(plan: shell.Shell) -> np.ndarray:
    """The corners of the floor `[k, 3]` float32. They are among the points, so that the bounds of a room do not depend on chance."""
    return np.array([(wall.x, 0.0, wall.z) for wall in plan.walls], np.float32)


def _points(piece: Piece, density: float, name: str, normals: bool = False) -> Samples:
    """One block of points of a piece."""
    area = sum(float(areas.sum()) for part in piece.mesh.parts for _, areas in triangles(part))
    if piece.instance >= 0:
        vertices = np.concatenate([part.vertices for part in piece.mesh.parts])
        x, y, z = np.ptp(vertices, axis=0).astype(np.float64)
        area = min(area, INNER * 2 * (x * y + y * z + z * x))
    count = max(1, round(area * density))
    spec = PointSpec(count=count, blocks=1, ordered=1, dtype="float32", normalize="none", normals=normals)
    return sample(piece.mesh, spec, name)
