"""The empty room: its floor and walls, with doors and windows.

    shell = planned(rng, "bedroom")
    shell.walls[0].length, shell.walls[0].doors
    labelled = built(shell, rng, ceiling=False)         # [("floor", Solid), ("wall", Solid), ...]

A room covers 0..width along x and 0..depth along z; if it is an L, one corner is missing. Nothing of it lies outside these bounds.
Lengths are in metres, +Y is up, the floor is at y = 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.starter.indoors.footprints import Footprint
from pipeline.starter.kinds.solids import Material, Solid, box
from pipeline.starter.kinds.thing import BRASS, STEEL, WHITE, Rng, fabric, maybe, pick, plastic, wood

SIZES: Final[dict[str, tuple[tuple[float, float], tuple[float, float]]]] = {
    "bathroom": ((2.4, 3.6), (2.2, 3.2)),
    "bedroom": ((3.2, 5.2), (3.0, 4.6)),
    "dining room": ((3.4, 6.0), (3.2, 5.0)),
    "kitchen": ((3.0, 5.0), (3.0, 4.6)),
    "living room": ((4.2, 7.5), (3.8, 6.0)),
    "office": ((3.4, 8.0), (3.2, 6.0)),
    "room": ((3.2, 7.0), (3.2, 6.0)),
}
"""By kind of room: the least and largest width and depth."""

L_FROM: Final = 3.8
"""Least width and depth of a room that may be an L."""

L_CHANCE: Final = 0.5
"""Share of these rooms that are an L."""

SKIRTING: Final = (0.08, 0.012)
"""Height and depth of the boards along the walls."""

FRAME: Final = (0.07, 0.025)
"""Width and depth of the frames of doors and windows."""

PLAIN: Final = ((0.93, 0.92, 0.89), (0.88, 0.86, 0.80), (0.80, 0.85, 0.88), (0.86, 0.88, 0.80), (0.90, 0.82, 0.76), (0.75, 0.75, 0.77))
"""Colours of walls."""

CARPETS: Final = ("grey", "grey", "beige", "brown", "blue", "green", "red")
"""Colours of carpets."""

PANE: Final = Material(color=(0.62, 0.76, 0.86), roughness=0.1)
"""Material of window panes."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A hole in a wall."""

    begin: float
    """Where it begins along the wall."""
    width: float
    bottom: float
    top: float

    @property
    def end(self) -> float:
        return self.begin + self.width


@dataclass(frozen=True, kw_only=True)
class Wall:
    """The inner face of a wall."""

    x: float
    z: float
    """Where it begins."""
    turn: float
    """Radians about +Y that turn +z to the direction from the wall into the room, and +x to the direction along the wall."""
    length: float
    doors: tuple[Opening, ...] = ()
    windows: tuple[Opening, ...] = ()

    def at(self, along: float, off: float) -> tuple[float, float]:
        """x and z of the place that lies so far along the wall and so far off it."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        return self.x + c * along + s * off, self.z - s * along + c * off

    def moved(self, solid: Solid) -> Solid:
        """A solid that was made for a wall along +x with the room towards +z."""
        return solid.turned("y", math.degrees(self.turn)).moved((self.x, 0.0, self.z))

    def strip(self, opening: Opening, depth: float) -> Footprint:
        """The floor before an opening."""
        x, z = self.at((opening.begin + opening.end) / 2, depth / 2)
        return Footprint(x=x, z=z, width=opening.width, depth=depth, turn=self.turn)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """An empty room."""

    kind: str
    width: float
    depth: float
    height: float
    notch: Footprint | None
    """The corner that is missing; None for a rectangle."""
    walls: tuple[Wall, ...]

    @property
    def high(self) -> NDArray[np.float32]:
        """The largest x, y, z of the room `[3]`; the least are 0."""
        return np.array([self.width, self.height, self.depth], np.float32)

    @property
    def area(self) -> float:
        """Square metres of floor."""
        return self.width * self.depth - (0.0 if self.notch is None else self.notch.width * self.notch.depth)

    def holds(self, footprint: Footprint) -> bool:
        """Whether a rectangle lies on the floor, with all of its area."""
        corners = footprint.corners()
        if corners.min() < 0 or (corners > (self.width, self.depth)).any():
            return False
        return self.notch is None or not footprint.overlaps(self.notch)

    def rectangles(self) -> list[tuple[float, float, float, float]]:
        """x0, x1, z0, z1 of one or two rectangles that make up the floor."""
        if self.notch is None:
            return [(0.0, self.width, 0.0, self.depth)]
        x0, x1 = self.notch.x - self.notch.width / 2, self.notch.x + self.notch.width / 2
        z0, z1 = self.notch.z - self.notch.depth / 2, self.notch.z + self.notch.depth / 2
        left, right = (x1, self.width) if x0 <= 0 else (0.0, x0)
        low, high = (z1, self.depth) if z0 <= 0 else (0.0, z0)
        return [(0.0, self.width, low, high), (left, right, max(z0, 0.0), min(z1, self.depth))]


# ------------------------------------------------------------------------------------------------------------- the plan


def planned(rng: Rng, kind: str) -> Shell:
    """A room of a kind in `SIZES`, without anything in it."""
    width, depth = (round(float(rng.uniform(*bounds)), 2) for bounds in SIZES[kind])
    if maybe(rng, 0.5):
        width, depth = depth, width
    height = round(float(rng.uniform(2.4, 3.0)), 2)
    notch = None
    if min(width, depth) >= L_FROM and maybe(rng, L_CHANCE):
        w, d = (round(float(length * rng.uniform(0.3, 0.45)), 2) for length in (width, depth))
        notch = Footprint(x=pick(rng, (w / 2, width - w / 2)), z=pick(rng, (d / 2, depth - d / 2)), width=w, depth=d)
    shell = Shell(kind=kind, width=width, depth=depth, height=height, notch=notch, walls=_walls(_outline(width, depth, notch)))
    return replace(shell, walls=_opened(rng, shell))


def _outline(width: float, depth: float, notch: Footprint | None) -> list[tuple[float, float]]:
    """The corners x, z of the floor; the room lies on the side to which +x turns by going to +z."""
    corners = [(0.0, 0.0), (width, 0.0), (width, depth), (0.0, depth)]
    if notch is None:
        return corners
    way = []
    for x, z in corners:
        if abs(x - notch.x) > notch.width or abs(z - notch.z) > notch.depth:
            way.append((x, z))
            continue
        inner_x, inner_z = (notch.width, width - notch.width)[x > 0], (notch.depth, depth - notch.depth)[z > 0]
        # Two of the four corners of the room are reached along z, the other two along x.
        way += [(x, inner_z), (inner_x, inner_z), (inner_x, z)][:: 1 if (x > 0) == (z > 0) else -1]
    return way


def _walls(outline: Sequence[tuple[float, float]]) -> tuple[Wall, ...]:
    walls = []
    for (x, z), (to_x, to_z) in zip(outline, [*outline[1:], outline[0]], strict=True):
        length = math.hypot(to_x - x, to_z - z)
        walls.append(Wall(x=x, z=z, turn=math.atan2(-(to_z - z), to_x - x), length=length))
    return tuple(walls)


def _opened(rng: Rng, shell: Shell) -> tuple[Wall, ...]:
    """The walls with one or two doors and up to four windows."""
    walls = list(shell.walls)
    large = shell.width * shell.depth > 22
    for _ in range(2 if large and maybe(rng, 0.5) else 1):
        leaf = round(float(rng.uniform(0.8, 1.0)), 2)
        _open(rng, walls, leaf, 0.0, round(float(rng.uniform(2.0, 2.1)), 2), "doors")
    bottom, top = rng.uniform(0.75, 1.1), min(shell.height - 0.15, rng.uniform(2.0, 2.35))
    if shell.kind == "bathroom":
        bottom = 1.3
    for _ in range(int(rng.integers(0 if shell.kind == "bathroom" else 1, 5 if large else 4))):
        wide = rng.uniform(0.5, 0.9) if shell.kind == "bathroom" else rng.uniform(0.8, 2.0)
        _open(rng, walls, round(float(wide), 2), round(float(bottom), 2), round(float(top), 2), "windows")
    return tuple(walls)


def _open(rng: Rng, walls: list[Wall], width: float, bottom: float, top: float, what: str) -> None:
    """Make an opening in one of the walls, at a free place; none if no place is found in 20 tries."""
    for _ in range(20):
        index = int(rng.integers(len(walls)))
        wall = walls[index]
        if wall.length < width + 0.5:
            continue
        begin = round(float(rng.uniform(0.2, wall.length - width - 0.2)), 3)
        if any(begin < other.end + 0.25 and other.begin < begin + width + 0.25 for other in (*wall.doors, *wall.windows)):
            continue
        made = Opening(begin=begin, width=width, bottom=bottom, top=top)
        doors, windows = (made,) if what == "doors" else (), (made,) if what == "windows" else ()
        walls[index] = replace(wall, doors=wall.doors + doors, windows=wall.windows + windows)
        return


# --------------------------------------------------------------------------------------------------------- the surfaces


def built(shell: Shell, rng: Rng, ceiling: bool) -> list[tuple[str, Solid]]:
    """The surfaces of a room, each with its class: `floor`, `wall`, `door`, `window`, `ceiling`, and `clutter` for curtains."""
    color = tuple(np.clip(np.array(pick(rng, PLAIN)) + rng.normal(0, 0.015, 3), 0.05, 1.0))
    paint, frame = Material(color=color, roughness=0.9), pick(rng, (WHITE, WHITE, wood(rng)))
    done = _floor(rng, shell)
    for wall in shell.walls:
        done += _wall(wall, shell.height, paint, frame)
        for door in wall.doors:
            done += [("door", wall.moved(solid)) for solid in _door(rng, door, frame)]
        for window in wall.windows:
            done += [("window", wall.moved(solid)) for solid in _window(rng, window, frame)]
            if curtained(shell, wall, window):
                done += [("clutter", wall.moved(solid)) for solid in _curtains(rng, wall, window)]
    if ceiling:
        white = Material(color=(0.94, 0.94, 0.93), roughness=0.9)
        done += [("ceiling", _level(rectangle, shell.height, white, down=True)) for rectangle in shell.rectangles()]
    return done


def curtained(shell: Shell, wall: Wall, window: Opening) -> bool:
    """Whether a window has curtains. It is told by its measures, so that a plan need not be built to know it."""
    return shell.kind != "bathroom" and round(window.begin * 1000 + wall.length * 100) % 3 == 0


def _quad(corners: Sequence[tuple[float, float, float]], material: Material) -> Solid:
    """Two triangles; the corners go around counter-clockwise for one who sees the front."""
    a = np.array(corners)
    normal = np.cross(a[1] - a[0], a[2] - a[0])
    normal /= np.linalg.norm(normal)
    return Solid(vertices=a, normals=np.tile(normal, (4, 1)), faces=np.array([(0, 1, 2), (0, 2, 3)]), material=material)


def _level(rectangle: tuple[float, float, float, float], y: float, material: Material, down: bool = False) -> Solid:
    x0, x1, z0, z1 = rectangle
    corners = [(x0, y, z0), (x0, y, z1), (x1, y, z1), (x1, y, z0)]
    return _quad(corners[::-1] if down else corners, material)


def _upright(begin: float, end: float, low: float, high: float, material: Material, z: float = 0.0) -> Solid:
    """A rectangle that faces +z."""
    return _quad([(begin, low, z), (end, low, z), (end, high, z), (begin, high, z)], material)


def _floor(rng: Rng, shell: Shell) -> list[tuple[str, Solid]]:
    """A floor of planks or tiles in three shades of one colour, or a carpet of one."""
    kind = "tiles" if shell.kind in ("bathroom", "kitchen") else pick(rng, ("planks", "planks", "carpet", "tiles"))
    base = {
        "planks": wood(rng, pick(rng, ("brown", "beige"))),
        "carpet": fabric(rng, pick(rng, CARPETS)),
        "tiles": plastic(rng, pick(rng, ("white", "grey", "beige"))),
    }
    shades = [replace(base[kind], color=tuple(np.clip(np.array(base[kind].color) * k, 0, 1))) for k in (0.9, 1.0, 1.08)]
    long, wide = {"planks": (1.3, 0.16), "tiles": (0.4, 0.4), "carpet": (9.0, 9.0)}[kind]
    done = []
    for x0, x1, z0, z1 in shell.rectangles():
        for row, low in enumerate(np.arange(z0, z1, wide)):
            first = x0 - (0.37 * row * long) % long if kind == "planks" else x0
            for left in np.arange(first, x1, long):
                cell = (max(float(left), x0), min(float(left) + long, x1), float(low), min(float(low) + wide, z1))
                if cell[1] - cell[0] > 1e-6 and cell[3] - cell[2] > 1e-6:
                    done.append(("floor", _level(cell, 0.0, shades[1 if kind == "carpet" else int(rng.integers(3))])))
    return done


def _wall(wall: Wall, height: float, paint: Material, frame: Material) -> list[tuple[str, Solid]]:
    """A wall around its openings, with skirting between the doors."""
    solids, at = [], 0.0
    for hole in sorted((*wall.doors, *wall.windows), key=lambda hole: hole.begin):
        solids.append(_upright(at, hole.begin, 0, height, paint))
        if hole.bottom > 0:
            solids.append(_upright(hole.begin, hole.end, 0, hole.bottom, paint))
        solids.append(_upright(hole.begin, hole.end, hole.top, height, paint))
        at = hole.end
    solids.append(_upright(at, wall.length, 0, height, paint))
    at, high, deep = 0.0, *SKIRTING
    for door in (*sorted(wall.doors, key=lambda door: door.begin), None):
        end = wall.length if door is None else door.begin - FRAME[0]
        if end > at:
            solids += [
                _upright(at, end, 0, high, frame, deep),
                _quad([(at, high, deep), (end, high, deep), (end, high, 0), (at, high, 0)], frame),
            ]
        at = end if door is None else door.end + FRAME[0]
    return [("wall", wall.moved(solid)) for solid in solids]


def _frame(hole: Opening, material: Material) -> list[Solid]:
    """A frame around an opening: its inner edge is the edge of the opening. A door has none at the floor."""
    wide, deep = FRAME
    high = hole.top - hole.bottom
    posts = [box((wide, high, deep), (x, hole.bottom, deep / 2), material) for x in (hole.begin - wide / 2, hole.end + wide / 2)]
    bars = [hole.top] + ([hole.bottom - wide] if hole.bottom > 0 else [])
    return posts + [box((hole.width + 2 * wide, wide, deep), ((hole.begin + hole.end) / 2, y, deep / 2), material) for y in bars]


def _door(rng: Rng, door: Opening, frame: Material) -> list[Solid]:
    """A door with its frame: closed, or open into the room by 20 to 90 degrees."""
    leaf, thick = pick(rng, (frame, WHITE, wood(rng))), 0.035
    wide, high, handle = door.width, door.top - 0.005, pick(rng, (STEEL, BRASS))
    solids = [box((wide, high, thick), (wide / 2, 0, thick / 2), leaf)]
    rows = int(rng.integers(0, 3))
    for row in range(rows):
        low, tall = 0.2 + row * (high - 0.3) / rows, (high - 0.3) / rows - 0.12
        solids.append(box((wide * 0.7, tall, 0.012), (wide / 2, low, thick + 0.006), leaf))
    solids.append(box((0.12, 0.02, 0.04), (wide - 0.12, 1.02, thick + 0.02), handle))
    angle = -rng.uniform(20, 90) if maybe(rng, 0.35) else 0.0
    if maybe(rng, 0.5):  # hinges on the other side
        solids = [_mirrored(solid, wide) for solid in solids]
        solids = [solid.moved((-wide, 0, 0)).turned("y", -angle).moved((wide, 0, 0)) for solid in solids]
    else:
        solids = [solid.turned("y", angle) for solid in solids]
    return _frame(door, frame) + [solid.moved((door.begin, 0, 0)) for solid in solids]


def _mirrored(solid: Solid, wide: float) -> Solid:
    flip = np.array([-1.0, 1.0, 1.0])
    return replace(solid, vertices=solid.vertices * flip + (wide, 0, 0), normals=solid.normals * flip, faces=solid.faces[:, ::-1])


def _window(rng: Rng, window: Opening, frame: Material) -> list[Solid]:
    """A window with its frame, bars and sill. The pane lies in the plane of the wall."""
    solids = [*_frame(window, frame), _upright(window.begin, window.end, window.bottom, window.top, PANE)]
    high, deep = window.top - window.bottom, 0.02
    wings = max(1, round(window.width / 0.7))
    for wing in range(1, wings):
        solids.append(box((0.05, high, deep), (window.begin + wing * window.width / wings, window.bottom, deep / 2), frame))
    if maybe(rng, 0.3):
        solids.append(box((window.width, 0.04, deep), ((window.begin + window.end) / 2, window.bottom + high * 0.65, deep / 2), frame))
    sill = box((window.width + 0.16, 0.03, 0.12), ((window.begin + window.end) / 2, window.bottom - 0.03, 0.06), frame)
    return [*solids, sill]


CURTAIN: Final = 0.14
"""Metres off the wall that curtains reach."""


def _curtains(rng: Rng, wall: Wall, window: Opening) -> list[Solid]:
    """Two curtains in folds, drawn aside, on a rod. They hang down to the sill."""
    cloth, rod_y = fabric(rng), window.top + 0.1
    wide, low = window.width * rng.uniform(0.14, 0.24), max(window.bottom - 0.05, 0.05)
    begin, end = max(window.begin - 0.15, 0.02), min(window.end + 0.15, wall.length - 0.02)
    solids = [box((end - begin, 0.025, 0.025), ((begin + end) / 2, rod_y, CURTAIN - 0.05), STEEL)]
    for left in (begin, end - wide):
        x = np.linspace(left, left + wide, 25)
        z = CURTAIN - 0.04 + 0.025 * np.sin(np.linspace(0, math.pi * 2 * max(2, round(wide / 0.1)), 25))
        for k in range(24):
            solids.append(_quad([(x[k], low, z[k]), (x[k + 1], low, z[k + 1]), (x[k + 1], rod_y, z[k + 1]), (x[k], rod_y, z[k])], cloth))
    return solids
