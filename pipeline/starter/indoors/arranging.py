"""Putting things into a room: against walls, around tables, on tables, on the floor. No two footprints overlap, and doors stay free.

room = Arrangement(shell, rng)
room.put(wish, item)               # True if there was room for it
room.placed                        # [Placed(kind="bed", item=..., footprint=..., y=0.0), ...]
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.geometry import triangles
from pipeline.starter.indoors.footprints import Footprint
from pipeline.starter.indoors.known import known
from pipeline.starter.indoors.programmes import ON_TOP, Wish
from pipeline.starter.indoors.shell import CURTAIN, SKIRTING, Shell, Wall, curtained
from pipeline.starter.indoors.stock import Item
from pipeline.starter.kinds.thing import Rng, maybe, pick

TRIES: Final = 60
"""Number of places that are tried for a thing."""

GAP: Final = 0.012
"""Least distance between footprints on the floor, in metres."""

AROUND: Final = 0.75
"""Free floor around what stands in the middle, in metres."""

WAY: Final = 1.0
"""Depth of the free floor before a door, in metres."""

CELL: Final = 0.025
"""Side of the cells in which the height of a surface is measured, in metres."""

FLAT: Final = 0.015
"""Metres by which the heights of a surface may differ below a thing that stands on it."""

RESTS: Final = 0.85
"""Least share of the cells below a thing that must be as high as the highest."""

REACH: Final = (0.25, 1.5)
"""Least and largest height of surfaces on which things are put."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """A thing in its place."""

    kind: str
    item: Item
    footprint: Footprint
    y: float
    """Height of what it stands on."""
    on: "Placed | None" = None
    """What it stands on; None for the floor."""

    def matrix(self) -> np.ndarray:
        """[4, 4]: from the item's own axes to those of the room."""
        c, s = math.cos(self.footprint.turn), math.sin(self.footprint.turn)
        return np.array([[c, 0, s, self.footprint.x], [0, 1, 0, self.y], [-s, 0, c, self.footprint.z], [0, 0, 0, 1]])

    def box(self) -> tuple[float, ...]:
        """Centre, size and turn, as a row of `geometry.Boxes`."""
        width, height, depth = self.item.size
        turn = math.remainder(self.footprint.turn, 2 * math.pi)
        return (self.footprint.x, self.y + height / 2, self.footprint.z, width, height, depth, turn)


class Arrangement:
    """A room that is being furnished."""

    def __init__(self, shell: Shell, rng: Rng) -> None:
        """Begin with an empty room."""
        self.shell, self.placed = shell, list[Placed]()
        self._rng = rng
        self._doors = [wall.strip(door, max(WAY, door.width + 0.1)).wider(0.05) for wall in shell.walls for door in wall.doors]
        self._curtains = [
            wall.strip(window, CURTAIN).wider(0.17) for wall in shell.walls for window in wall.windows if curtained(shell, wall, window)
        ]
        self._reserved = list[tuple[Footprint, Placed]]()
        self._tops = dict[Placed, Top]()
        self._seats = dict[Placed, list[tuple[float, float, float]]]()

    def awaits(self, wish: Wish) -> bool:
        """Whether what a thing shall stand on, beside, before or around is there."""
        return not wish.near or any(one.kind in wish.near and one.on is None for one in self.placed)

    def put(self, wish: Wish, item: Item) -> bool:
        """Put a thing where it is wished; False if there is no room for it, or its size does not suit."""
        facts, high = known(wish.kind), item.size[1]
        if not wish.height[0] <= high <= min(wish.height[1], self.shell.height - 0.1, ON_TOP if wish.where == "top" else math.inf):
            return False
        if not facts.furniture and max(item.size) > facts.most:
            return False
        if wish.where == "top":
            return self._on_top(wish, item)
        for footprint, friend in self._places(wish, item):
            if self._free(wish, item, footprint, friend):
                self._settle(wish, item, footprint)
                return True
        return False

    def _settle(self, wish: Wish, item: Item, footprint: Footprint) -> None:
        y = _hung(wish.kind, item)
        placed = Placed(kind=wish.kind, item=item, footprint=footprint, y=y)
        self.placed.append(placed)
        front = known(wish.kind).front
        if wish.where == "wall" and front:
            self._reserved.append((footprint.before(front), placed))
        if wish.where == "middle":
            self._reserved.append((footprint.wider(AROUND), placed))
            self._seats[placed] = list(_seats(item, self._rng))

    def _free(self, wish: Wish, item: Item, footprint: Footprint, friend: Placed | None) -> bool:
        """Whether a thing may stand somewhere: `friend` does not mind it in the free space before or around itself."""
        if not self.shell.holds(footprint):
            return False
        if any(footprint.overlaps(other) for other in (*self._doors, *self._curtains)):
            return False
        wide = footprint.wider(GAP)
        if any(other.on is None and wide.overlaps(other.footprint) for other in self.placed):
            return False
        loose = wish.where in ("floor", "before", "around")  # what one moves about may stand in the way
        if not loose and any(owner is not friend and footprint.overlaps(zone) for zone, owner in self._reserved):
            return False
        if wish.where in ("wall", "beside") and known(wish.kind).front:
            zone = footprint.before(known(wish.kind).front)
            return not any(other.on is None and other is not friend and zone.overlaps(other.footprint) for other in self.placed)
        return True

    # ---------------------------------------------------------------------------------------------------- where to try

    def _places(self, wish: Wish, item: Item) -> Iterator[tuple[Footprint, Placed | None]]:
        """Places to try, each with the thing that it belongs to."""
        match wish.where:
            case "wall":
                yield from ((place, None) for place in self._along_walls(item))
            case "corner":
                yield from ((place, None) for place in self._near_walls(item))
            case "middle":
                yield from ((place, None) for place in self._in_the_middle(item))
            case "floor":
                yield from ((place, None) for place in self._anywhere(item))
            case "beside":
                yield from self._beside(wish, item)
            case "before":
                yield from self._before(wish, item)
            case "around":
                yield from self._around(wish, item)
            case _:
                raise AssertionError(wish.where)

    def _wall(self) -> Wall:
        lengths = np.array([wall.length for wall in self.shell.walls])
        return self.shell.walls[int(self._rng.choice(len(lengths), p=lengths / lengths.sum()))]

    def _along_walls(self, item: Item) -> Iterator[Footprint]:
        """Back to a wall, one in three in a corner. What is higher than a window sill does not stand before the window."""
        width, height, depth = item.size
        for _ in range(TRIES):
            wall = self._wall()
            room = wall.length - width - 0.04
            if room < 0:
                continue
            along = 0.02 + width / 2 + (pick(self._rng, (0.0, room)) if maybe(self._rng, 0.35) else self._rng.uniform(0, room))
            before = [w for w in wall.windows if w.begin - 0.08 < along + width / 2 and along - width / 2 < w.end + 0.08]
            if any(height > window.bottom - 0.05 for window in before):
                continue
            gap = (0.13 if before else SKIRTING[1]) + self._rng.uniform(0.008, 0.04)
            x, z = wall.at(along, gap + depth / 2)
            turn = wall.turn + (float(np.clip(self._rng.normal(0, 0.015), -0.03, 0.03)) if maybe(self._rng, 0.2) else 0.0)
            yield _covered(item, (x, z), turn)

    def _near_walls(self, item: Item) -> Iterator[Footprint]:
        """Near a wall, one in two in a corner of the room, turned at random."""
        width, _, depth = item.size
        reach = math.hypot(width, depth) / 2 + 0.03
        for _ in range(TRIES):
            wall = self._wall()
            ends = (reach, wall.length - reach)
            along = pick(self._rng, ends) if maybe(self._rng, 0.5) else self._rng.uniform(min(ends), max(ends))
            x, z = wall.at(float(along), reach + self._rng.uniform(0, 0.1))
            yield _covered(item, (x, z), self._rng.uniform(-math.pi, math.pi))

    def _in_the_middle(self, item: Item) -> Iterator[Footprint]:
        """Away from the walls, along them or a little turned. The margin becomes smaller with each try."""
        width, _, depth = item.size
        for trial in range(TRIES):
            margin = AROUND * (1 - trial / TRIES)
            turn = pick(self._rng, (0.0, math.pi / 2)) + (self._rng.normal(0, 0.15) if maybe(self._rng, 0.2) else 0.0)
            x, z = self._somewhere((width if turn < 0.8 else depth) / 2 + margin, (depth if turn < 0.8 else width) / 2 + margin)
            yield _covered(item, (x, z), turn)

    def _anywhere(self, item: Item) -> Iterator[Footprint]:
        width, _, depth = item.size
        for _ in range(TRIES):
            x, z = self._somewhere(width / 2, depth / 2)
            yield _covered(item, (x, z), self._rng.uniform(-math.pi, math.pi))

    def _somewhere(self, off_x: float, off_z: float) -> tuple[float, float]:
        """A random place at least so far from the bounds of the room, or its middle."""
        x0, x1, z0, z1 = off_x, self.shell.width - off_x, off_z, self.shell.depth - off_z
        x = self._rng.uniform(x0, x1) if x0 < x1 else self.shell.width / 2
        z = self._rng.uniform(z0, z1) if z0 < z1 else self.shell.depth / 2
        return float(x), float(z)

    def _of(self, kinds: tuple[str, ...]) -> list[Placed]:
        """Things of these kinds on the floor, in random order."""
        found = [one for one in self.placed if one.kind in kinds and one.on is None]
        return [found[k] for k in self._rng.permutation(len(found))]

    def _beside(self, wish: Wish, item: Item) -> Iterator[tuple[Footprint, Placed]]:
        """Left or right of another thing, its back in line with that thing's back."""
        width, _, depth = item.size
        for anchor in self._of(wish.near):
            for side in (-1, 1)[:: pick(self._rng, (1, -1))]:
                gap = self._rng.uniform(0.02, 0.08)
                x, z = anchor.footprint.place(side * ((anchor.item.size[0] + width) / 2 + gap), (depth - anchor.item.size[2]) / 2)
                yield _covered(item, (x, z), anchor.footprint.turn), anchor

    def _before(self, wish: Wish, item: Item) -> Iterator[tuple[Footprint, Placed]]:
        """Before another thing: seats turned to it, and a table at a hand's reach."""
        depth = item.size[2]
        seat = wish.kind in ("chair", "stool")
        for anchor in self._of(wish.near):
            for trial in range(6):
                gap = self._rng.uniform(0.02, 0.15) if seat else self._rng.uniform(0.3, 0.5)
                aside = self._rng.normal(0, 0.06) + (trial // 2) * 0.15 * pick(self._rng, (-1, 1))
                x, z = anchor.footprint.place(aside, (anchor.item.size[2] + depth) / 2 + gap)
                turn = anchor.footprint.turn + (math.pi + self._rng.normal(0, 0.12) if seat else 0.0)
                yield _covered(item, (x, z), turn), anchor

    def _around(self, wish: Wish, item: Item) -> Iterator[tuple[Footprint, Placed]]:
        """At a free seat of a table, turned to it."""
        depth = item.size[2]
        for table in self._of(wish.near):
            seats = self._seats.get(table, [])
            while seats:
                x, z, turn = seats.pop(0)
                off = depth / 2 + self._rng.uniform(0.03, 0.14)
                x, z = table.footprint.place(x - math.sin(turn) * off, z - math.cos(turn) * off)
                swing = self._rng.normal(0, 0.08)
                yield _covered(item, (x, z), table.footprint.turn + turn + swing), table

    # ------------------------------------------------------------------------------------------------- on other things

    def _on_top(self, wish: Wish, item: Item) -> bool:
        """Put a thing on another. Screens stand at its back and keyboards at its front, turned as it is."""
        depth = item.size[2]
        for anchor in self._of(wish.near):
            if anchor not in self._tops:
                self._tops[anchor] = Top(anchor.item)
            top = self._tops[anchor]
            wide, deep = (anchor.item.size[axis] / 2 for axis in (0, 2))
            for _ in range(TRIES // 2):
                x, z, turn = self._rng.uniform(-wide, wide), self._rng.uniform(-deep, deep), self._rng.uniform(-math.pi, math.pi)
                if wish.kind in ("monitor", "laptop", "keyboard", "microwave", "clock", "radio"):
                    turn = self._rng.normal(0, 0.1)
                    if wish.kind == "monitor":
                        z = -deep + depth / 2 + self._rng.uniform(0.01, 0.1)
                    if wish.kind == "keyboard":
                        z = deep - depth / 2 - self._rng.uniform(0.02, 0.1)
                height = top.under(_covered(item, (x, z), turn))
                if height is None or not REACH[0] <= height + anchor.y <= REACH[1]:
                    continue
                at = anchor.footprint.place(x, z)
                footprint = _covered(item, at, anchor.footprint.turn + turn)
                if height + anchor.y + item.size[1] < self.shell.height and self._free_on(anchor, footprint):
                    self.placed.append(Placed(kind=wish.kind, item=item, footprint=footprint, y=anchor.y + height, on=anchor))
                    return True
        return False

    def _free_on(self, anchor: Placed, footprint: Footprint) -> bool:
        """Whether nothing else is where a thing shall stand on another."""
        if not self.shell.holds(footprint):
            return False
        others = [one.footprint for one in self.placed if one is not anchor]
        return not any(footprint.overlaps(other) for other in (*others, *self._curtains))


def _covered(item: Item, middle: tuple[float, float], turn: float) -> Footprint:
    """The rectangle that an item covers where its middle is at x and z, turned by radians about +Y."""
    width, _, depth = item.size
    return Footprint(x=middle[0], z=middle[1], width=width, depth=depth, turn=turn)


def _hung(kind: str, item: Item) -> float:
    """Height at which a thing hangs: a basin without a foot hangs on the wall, its rim at 0.85 m; all else stands on the floor."""
    return 0.85 - item.size[1] if kind == "sink" and item.size[1] < 0.6 else 0.0


def _seats(item: Item, rng: Rng) -> Iterator[tuple[float, float, float]]:
    """Seats at a table, in its own axes: x and z on its edge, and the turn of one who looks at the table.

    Those at its long sides come first, and opposite ones follow each other.
    """
    width, _, depth = item.size
    long = width >= depth
    for along_x in (long, not long):
        side, other = (width, depth) if along_x else (depth, width)
        count = max(1, int(side / 0.62)) if side > 0.5 else 0
        for number in rng.permutation(count):
            along = (number + 0.5) / count * side - side / 2
            for sign in (1, -1):
                if along_x:
                    yield float(along), sign * other / 2, math.pi if sign > 0 else 0.0
                else:
                    yield sign * other / 2, float(along), -math.pi / 2 if sign > 0 else math.pi / 2


class Top:
    """How high a thing is at each place of its footprint."""

    def __init__(self, item: Item) -> None:
        """Measure an item, at random places of its surface that looks up, which its own measures decide."""
        width, _, depth = item.size
        self._half = np.array([width, depth]) / 2
        self._shape = (math.ceil(width / CELL), math.ceil(depth / CELL))
        self._heights = np.full(self._shape, -1.0)
        corners = np.concatenate([corners for part in item.parts for corners, _ in triangles(part)])  # [F, 3, 3]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        flat = np.abs(cross[:, 1])  # twice the area seen from above
        level = (flat > 0.9 * np.linalg.norm(cross, axis=1)) & (corners[..., 1].max(axis=1) > REACH[0])
        if not level.any():
            return
        corners, areas = corners[level], flat[level] / 2
        count = int(min(12 * areas.sum() / CELL**2, 400_000)) + 1
        rng = np.random.default_rng(count)
        rows = np.searchsorted(np.cumsum(areas), rng.random(count) * areas.sum() * (1 - 1e-9), side="right")
        weights = rng.random((count, 2))
        weights = np.where(weights.sum(axis=1, keepdims=True) > 1, 1 - weights, weights)
        weights = np.column_stack([1 - weights.sum(axis=1), weights])
        places = np.einsum("nk,nkd->nd", weights, corners[rows])
        cells = self._cells(places[:, [0, 2]])
        np.maximum.at(self._heights, (cells[:, 0], cells[:, 1]), places[:, 1])

    def _cells(self, places: np.ndarray) -> np.ndarray:
        return np.clip(((places + self._half) / CELL).astype(np.int64), 0, np.array(self._shape) - 1)

    def under(self, footprint: Footprint) -> float | None:
        """The height at which a thing with this footprint stands, in the axes of the item; None if it would not stand."""
        steps = [np.linspace(-0.45, 0.45, max(3, int(length / CELL) + 1)) for length in (footprint.width, footprint.depth)]
        x, z = (axis.ravel() for axis in np.meshgrid(steps[0] * footprint.width, steps[1] * footprint.depth))
        c, s = math.cos(footprint.turn), math.sin(footprint.turn)
        places = np.column_stack([footprint.x + c * x + s * z, footprint.z - s * x + c * z])
        if (np.abs(places) > self._half).any():
            return None
        cells = self._cells(places)
        heights = self._heights[cells[:, 0], cells[:, 1]]
        highest = float(heights.max())
        return highest if highest > 0 and (heights > highest - FLAT).mean() >= RESTS else None
