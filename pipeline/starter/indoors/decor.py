"""What lies and hangs about in rooms without being furniture: cardboard boxes, stacks of books, pictures, rugs.

All of it has the class `clutter`.
"""

import math
from typing import Final

import numpy as np

from pipeline.geometry import Mesh
from pipeline.starter.indoors.arranging import Arrangement, Placed
from pipeline.starter.indoors.footprints import Footprint
from pipeline.starter.indoors.programmes import SURFACES, Wish
from pipeline.starter.indoors.stock import standing
from pipeline.starter.kinds.solids import Material, Solid, box
from pipeline.starter.kinds.thing import BLACK, Rng, fabric, maybe, pick, plastic, wood
from pipeline.starter.shapes import parts_of

CARDBOARD: Final = Material(color=(0.66, 0.50, 0.34), roughness=0.9)

RUG: Final = 0.008
"""Thickness of a rug, in metres."""


def decorated(room: Arrangement, rng: Rng) -> list[Solid]:
    """Put boxes and books into a room.

    Returns:
        What is not put down as things are: pictures on the walls and a rug, in the axes of the room.
    """
    for _ in range(int(rng.integers(0, 4))):
        put_made(room, [_carton(rng)], Wish(kind="box", where=pick(rng, ("corner", "floor")), names=()))
    for _ in range(int(rng.integers(0, 4))):
        put_made(room, _books(rng), Wish(kind="book", where="top", near=SURFACES, names=()))
    return [*_pictures(room, rng), *_rug(room, rng)]


def put_made(room: Arrangement, solids: list[Solid], wish: Wish) -> bool:
    """Put a thing made of solids into a room; False if there is no room for it."""
    return room.put(wish, standing(Mesh(parts=parts_of(solids), colored=True)))


def _carton(rng: Rng) -> Solid:
    width, height, depth = (float(length) for length in rng.uniform(0.2, 0.5, 3))
    return box((width, height, depth), (0, 0, 0), CARDBOARD)


def _books(rng: Rng) -> list[Solid]:
    """A stack of one to five books, a little turned against each other."""
    solids, y = [], 0.0
    for _ in range(int(rng.integers(1, 6))):
        thick = float(rng.uniform(0.015, 0.045))
        size = (float(rng.uniform(0.12, 0.2)), thick, float(rng.uniform(0.18, 0.28)))
        solids.append(box(size, (0, y, 0), plastic(rng)).turned("y", float(rng.normal(0, 8))))
        y += thick
    return solids


def _pictures(room: Arrangement, rng: Rng) -> list[Solid]:
    """Up to three pictures on walls, beside doors and windows and above what stands there."""
    solids: list[Solid] = []
    taken = list[tuple[float, float, float]]()
    for _ in range(int(rng.integers(0, 4))):
        index = int(rng.integers(len(room.shell.walls)))
        wall = room.shell.walls[index]
        wide, high = float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.3, 0.8))
        middle = 0.3 + wide / 2 + rng.uniform(0, 1) * (wall.length - wide - 0.6)
        low = float(rng.uniform(1.3, 1.5))
        if wall.length < wide + 0.6 or low + high > room.shell.height - 0.1:
            continue
        begin, end = middle - wide / 2 - 0.1, middle + wide / 2 + 0.1
        if any(begin < hole.end + 0.2 and hole.begin - 0.2 < end for hole in (*wall.doors, *wall.windows)):
            continue
        if any(wall.turn == turn and begin < other_end and other_begin < end for turn, other_begin, other_end in taken):
            continue
        x, z = wall.at(middle, 0.1)
        front = Footprint(x=x, z=z, width=wide, depth=0.2, turn=wall.turn)
        if any(one.y + one.item.size[1] > low and one.footprint.overlaps(front) for one in room.placed):
            continue
        taken.append((wall.turn, begin, end))
        border, depth = pick(rng, (BLACK, wood(rng))), 0.025
        solids += [wall.moved(solid) for solid in _picture(rng, middle, low, wide, high, depth, border)]
    return solids


def _picture(rng: Rng, middle: float, low: float, wide: float, high: float, depth: float, border: Material) -> list[Solid]:
    """A frame with three stripes of colour, which lies at a wall along +x."""
    solids = [box((wide, high, depth), (middle, low, depth / 2), border)]
    inner, cuts = wide - 0.08, np.sort(rng.uniform(0, 1, 2))
    for begin, end in zip((0.0, *cuts), (*cuts, 1.0), strict=True):
        at = middle - inner / 2 + (begin + end) / 2 * inner
        solids.append(box((float(end - begin) * inner, high - 0.08, 0.004), (float(at), low + 0.04, depth + 0.002), plastic(rng)))
    return solids


def _rug(room: Arrangement, rng: Rng) -> list[Solid]:
    """A rug under or before a sofa, a bed or a table, one time in three."""
    anchors = [one for one in room.placed if one.kind in ("sofa", "bed", "table") and one.on is None]
    if not anchors or not maybe(rng, 0.35):
        return []
    footprint = _under(pick(rng, anchors), rng)
    if not room.shell.holds(footprint):
        return []
    flat = box((footprint.width, RUG, footprint.depth), (0, 0, 0), fabric(rng))
    return [flat.turned("y", math.degrees(footprint.turn)).moved((footprint.x, 0.0, footprint.z))]


def _under(anchor: Placed, rng: Rng) -> Footprint:
    width, _, depth = anchor.item.size
    ahead = 0.0 if anchor.kind == "table" else depth * 0.5
    x, z = anchor.footprint.place(0.0, ahead)
    size = rng.uniform(1.2, 1.6, 2) * (width, depth)
    return Footprint(x=x, z=z, width=float(size[0]), depth=float(size[1]), turn=anchor.footprint.turn)
