"""Makes a house: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from pipeline.starter.kinds.kit import *


def _window(width: float, height: float, bars: int, rim: Material, pane: Material) -> list[Solid]:
    """Facing +Z, the middle of its sill at the origin, to be put on a wall."""
    edge = 0.08
    solids = [box((width, height, 0.04), (0, 0, 0.0), pane)]
    solids += [box((edge, height + edge, 0.14), (s * width / 2, -edge / 2, 0), rim) for s in (-1, 1)]
    solids += [box((width + edge, edge, 0.14), (0, height - edge / 2, 0), rim), box((width + 0.25, edge, 0.26), (0, -edge / 2, 0.05), rim)]
    solids += [box((0.05, height, 0.09), (0, 0, 0), rim)] if bars else []
    solids += [box((width, 0.05, 0.09), (0, height * 0.55, 0), rim)] if bars > 1 else []
    return named("window", solids)


def _door(rng: Rng, width: float, height: float, leaf: Material, rim: Material) -> list[Solid]:
    """Facing +Z, the middle of its sill at the origin."""
    solids = [
        box((width, height, 0.08), (0, 0, 0), leaf).named("door"),
        box((width + 0.5, 0.14, 0.5), (0, -0.14, 0.25), stone(rng, "grey")).named("step"),
    ]
    solids += [box((0.1, height + 0.1, 0.18), (s * (width + 0.1) / 2, 0, 0), rim) for s in (-1, 1)]
    solids.append(box((width + 0.2, 0.1, 0.18), (0, height, 0), rim))
    panels = pick(rng, (0, 2, 3))
    solids += [box((width * 0.7, height * 0.8 / panels, 0.03), (0, height * (0.06 + 0.9 / panels * i), 0.04), rim) for i in range(panels)]
    solids.append(dowel((width * 0.38, height * 0.48, 0.03), (width * 0.38, height * 0.48, 0.12), 0.04, BRASS, sides=10))
    return named("door", solids)


def _roof(form: str, width: float, depth: float, pitch: float, over: float, tile: Material, wall: Material) -> list[Solid]:
    """Over a rectangle about the origin, its ridge along X."""
    if form == "flat":
        if over > 0.3:
            return named("roof", [box((width + 2 * over, 0.22, depth + 2 * over), (0, 0, 0), tile)])
        rim = [box((width + 0.1, 0.55, 0.2), (0, 0, s * (depth / 2 - 0.05)), tile) for s in (-1, 1)]
        rim += [box((0.2, 0.55, depth + 0.1), (s * (width / 2 - 0.05), 0, 0), tile) for s in (-1, 1)]
        return named("roof", [box((width, 0.15, depth), (0, 0, 0), wall), *rim])
    half, thick = depth / 2, 0.2
    rise = pitch * half
    if form in ("hip", "mansard"):
        ridge = max(width - depth, 0.0) + (0.02 if form == "hip" else 0)
        levels = [(width + 2 * over, depth + 2 * over, -over * pitch * 0.4)]
        levels.append((width + 2 * over, depth + 2 * over, thick - over * pitch * 0.4))
        if form == "mansard":
            levels += [(width - 0.9, depth - 0.9, rise * 1.1), (width - 0.9 - depth * 0.5, depth * 0.35, rise * 1.45)]
        else:
            levels.append((ridge, 0.02, rise + thick))
        return named(
            "roof",
            [loft([np.array([(x * w / 2, y, z * d / 2) for x, z in ((-1, -1), (1, -1), (1, 1), (-1, 1))]) for w, d, y in levels], tile)],
        )
    if form == "shed":
        line = [(-half - over, rise + over * pitch / 2), (half + over, -over * pitch / 2)]
        plate = slab([*line, *((x, y + thick) for x, y in line[::-1])], width + 2 * over, tile).named("roof")
        gable = _under_roof(slab([(-half, 0.0), (half, 0.0), (-half, rise)], width, wall), width / 2)
        return [solid.turned("y", -90) for solid in (plate, gable)]
    knee = [(half * 0.62, rise * 0.72)] if form == "gambrel" else []
    steep = (rise * 0.72) / (half * 0.38) if knee else pitch
    line = [(half, 0.0), *knee, (0.0, rise)]
    low = [(half + over * (0.5 if knee else 1), -over * (0.5 if knee else 1) * steep), *line[1:]]
    under = [*low, *((-x, y) for x, y in low[-2::-1])]
    upper = [(x, y + thick * 1.2) for x, y in under]
    plate = slab([*under, *upper[::-1]], width + 2 * over, tile).named("roof")
    gable = _under_roof(slab([*line, *((-x, y) for x, y in line[-2::-1])], width, wall), width / 2)
    return [solid.turned("y", 90) for solid in (plate, gable)]


def _under_roof(gable: Solid, half: float) -> Solid:
    """Name the slopes of a gable, which the roof hides, after the roof; its other sides are wall."""
    return gable.hidden("wall", half, "z").hidden("wall", -half, "z").hidden("wall", 0.0).named("roof")


@dataclass
class _Site:
    """A house as it is built: its sizes, its materials and what stands already."""

    rng: Rng
    form: str
    """The form of the roof."""
    width: float
    depth: float
    tall: float
    """The height of the walls, where the roof begins."""
    storey: float
    pitch: float
    over: float
    """How far the roof stands out."""
    wall: Material
    tile: Material
    rim: Material
    pane: Material
    shutter: Material | None
    bars: int
    opening: tuple[float, float]
    """Width and height of a window."""
    solids: list[Solid]
    windows: int = 0

    def put(self, things: Sequence[Solid], x: float, y: float, z: float, turn: float = 0.0) -> None:
        self.solids.extend(solid.turned("y", turn).moved((x, y, z)) for solid in things)

    def put_box(self, size: Point, at: Point, material: Material, part: str = "wall") -> None:
        self.solids.append(box(size, at, material).named(part))

    def put_window(self, width: float, height: float, x: float, y: float, z: float) -> None:
        self.put(_window(width, height, self.bars, self.rim, self.pane), x, y, z)
        self.windows += 1

    def put_gable(self, length: float, width: float, pitch: float, over: float, x: float, y: float, z: float, form: str = "gable") -> None:
        """A roof of its own whose gable looks to the front."""
        self.put(_roof(form, length, width, pitch, over, self.tile, self.wall), x, y, z, 90)

    def open_wall(self, span: float, skip: Sequence[float], x: float, z: float, turn: float, rows: int) -> None:
        """Windows evenly along a wall of some length, but for those near the places to skip on the ground floor."""
        count, (width, height) = max(1, int(span / self.rng.uniform(2.2, 2.9))), self.opening
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        one = _window(width, height, self.bars, self.rim, self.pane)
        if self.shutter:
            one += named(
                "shutter", [box((width * 0.42, height + 0.05, 0.06), (k * (width * 0.71 + 0.05), 0, 0.03), self.shutter) for k in (-1, 1)]
            )
        for row, k in product(range(rows), range(count)):
            along = (k + 0.5) * span / count - span / 2
            if row or all(abs(along - place) >= width / 2 + room for place, room in zip(skip[::2], skip[1::2], strict=True)):
                self.put(one, x + along * c, 0.3 + row * self.storey + 0.95, z - along * s, turn)
                self.windows += 1

    def add_garage(self, side: int) -> None:
        w, d, x = 3.4, self.depth * 0.8, side * (self.width / 2 + 1.65)
        self.put_box((w, 2.9, d), (x, 0, 0.0), self.wall)
        self.put_gable(d, w, self.pitch * 0.8, 0.3, x, 2.9, 0.0, "flat" if self.form == "flat" else "gable")
        gate = named("door", [cushion((2.6, 2.2, 0.12), (0, 0, 0), 0.02, self.rim)])
        self.put(named("door", [*gate, *(box((2.5, 0.04, 0.14), (0, 0.5 * i, 0), STEEL) for i in (1, 2, 3, 4))]), x, 0.02, d / 2)

    def add_wing(self, side: int) -> list[float]:
        """What stands out at the front; where, and the room it takes."""
        front, w, d = self.depth / 2, self.width * self.rng.uniform(0.32, 0.45), self.rng.uniform(1.5, 3.0)
        x, high = side * (self.width - w) / 2, self.tall if maybe(self.rng, 0.6) else self.storey + 0.3
        self.put_box((w, high, d + 1), (x, 0, front + d / 2 - 0.5), self.wall)
        above = self.form if self.form in ("flat", "hip") else "gable"
        deep = d + (self.depth / 2 if high == self.tall and above != "flat" else 1)
        self.put_gable(deep, w, self.pitch, self.over, x, high, front + d - deep / 2, above)
        self.open_wall(w, (), x, front + d, 0.0, max(1, round((high - 0.3) / self.storey)))
        return [x, w / 2 + 0.2]

    def add_porch(self, door: float) -> int:
        """How many columns it has."""
        front, wide, deep = self.depth / 2, pick(self.rng, (2.4, self.width * 0.98)), self.rng.uniform(1.2, 2.0)
        x, columns = (door, 2) if wide < 3 else (0.0, int(self.rng.integers(3, 6)))
        self.put_box((wide, 0.28, deep), (x, 0, front + deep / 2), stone(self.rng, "grey"), "base")
        self.put_box((1.6, 0.14, 0.35), (door, 0, front + deep + 0.17), stone(self.rng, "grey"), "step")
        post = [(0, 0), (0.16, 0), (0.16, 0.12), (0.11, 0.16), (0.095, 2.15), (0.15, 2.22), (0.15, 2.35), (0, 2.35)]
        for k in np.linspace(-1, 1, columns):
            self.solids.append(
                turned(post, (x + float(k) * (wide / 2 - 0.2), 0.27, front + deep - 0.2), self.rim, sides=16).named("column")
            )
        if wide < 3 and self.form != "flat":
            self.put_gable(deep, wide, 0.6, 0.15, x, 2.6, front + deep / 2)
        else:
            cover = slab([(0, 2.95), (deep + 0.25, 2.6), (deep + 0.25, 2.75), (0, 3.12)], wide + 0.2, self.tile).turned("y", -90)
            self.solids.append(cover.moved((x, 0, front)).named("roof"))
        return columns

    def add_dormers(self) -> int:
        """How many."""
        count = int(self.rng.integers(1, 4)) if self.form != "hip" else 1
        slope, z, y = self.pitch if self.form != "gambrel" else self.pitch * 0.72 / 0.38, self.depth / 2 - 0.45, self.tall + 0.3
        for k in range(count):
            x, back = ((k + 0.5) / count - 0.5) * self.width * 0.8, min(1.5 / slope + 0.7, self.depth * 0.4)
            self.put_box((1.4, 1.5, back), (x, y - 0.2, z - back / 2), self.wall)
            self.put_gable(back + 0.5, 1.4, 0.8, 0.15, x, y + 1.3, z - back / 2 - 0.25)
            self.put_window(0.8, 0.95, x, y + 0.2, z + 0.02)
        return count

    def add_chimney(self, x: float, z: float, top: float, brick: Material) -> None:
        self.put_box((0.7, top - self.tall + 0.1, 0.7), (x, self.tall - 0.1, z), brick, "chimney")
        self.put_box((0.86, 0.16, 0.86), (x, top - 0.2, z), brick, "chimney")
        self.solids.append(disc(0.16, 0.3, (x, top - 0.05, z), self.tile, sides=12).named("chimney"))


def house(rng: Rng) -> Thing:
    plaster = stone(rng, pick(rng, ("white", "white", "beige", "grey")))
    wall = pick(rng, (plaster, stone(rng, pick(rng, ("red", "yellow", "blue", "green", "pink", "orange"))), wood(rng)))
    fired = ceramic(rng, pick(rng, ("red", "brown", "orange", "black")))
    tile = pick(rng, (fired, stone(rng, pick(rng, ("grey", "black"))), wood(rng, "brown")))
    rim, pane = pick(rng, (WHITE, WHITE, wood(rng), BLACK)), glass(rng, pick(rng, ("black", "black", "blue", "grey")))
    leaf = wood(rng, pick(rng, ("brown", "red", "green", "blue", "white", "black")))
    form = pick(rng, ("gable", "gable", "gable", "hip", "hip", "flat", "gambrel", "shed", "mansard", "steep"))
    floors, storey = pick(rng, (1, 1, 2, 2, 3)), rng.uniform(2.6, 3.0)
    width, depth, pitch, over = rng.uniform(5.5, 11), rng.uniform(5, 8), rng.uniform(0.55, 1.2), rng.uniform(0.25, 0.7)
    if form == "steep":  # the roof comes down to the ground
        floors, width, depth = 0, rng.uniform(5, 7), rng.uniform(6, 8)
        pitch, over = rng.uniform(1.6, 2.1), 0.15
    front_gable = form == "steep" or (form in ("gable", "gambrel") and maybe(rng, 0.4))
    tall, front, bars = floors * storey + 0.3, depth / 2, int(rng.integers(3))
    solids = [
        box((width, tall, depth), (0, 0, 0), wall)
        .hidden("base", 0.0)
        .hidden("roof" if form in ("flat", "hip", "mansard") else "wall", tall),
        box((width + 0.12, 0.35, depth + 0.12), (0, 0, 0), stone(rng, "grey")).named("base"),
    ]
    flat_over = over if maybe(rng, 0.5) else 0.0
    over = flat_over if form == "flat" else over
    long, span = (depth, width) if front_gable else (width, depth)
    top, rise = _roof("gable" if form == "steep" else form, long, span, pitch, over, tile, wall), pitch * span / 2
    solids += [(solid.turned("y", 90) if front_gable else solid).moved((0, tall, 0)) for solid in top]
    opening = (rng.uniform(0.8, 1.5), rng.uniform(1.1, 1.6))
    shutter = wood(rng, pick(rng, ("green", "blue", "brown", "red", "black"))) if maybe(rng, 0.3) and opening[0] < 1.15 else None
    site = _Site(rng, form, width, depth, tall, storey, pitch, over, wall, tile, rim, pane, shutter, bars, opening, solids)

    # The front: a door, perhaps a garage or a porch, and windows where there is room.
    door = pick(rng, (0.0, rng.uniform(-0.3, 0.3) * width)) * (form != "steep")
    taken, garage = [door, 0.75], floors > 0 and maybe(rng, 0.25)
    site.put(_door(rng, rng.uniform(0.95, 1.2) * (1.6 if maybe(rng, 0.2) else 1), 2.15, leaf, rim), door, 0.3, front + 0.02)
    wing = floors > 0 and not garage and form != "shed" and maybe(rng, 0.4)
    side = -1 if door > 0 else 1
    if garage:
        site.add_garage(side)
    if wing:
        taken += site.add_wing(side)
    columns = site.add_porch(door) if not wing and form != "steep" and maybe(rng, 0.4) else 0
    if form == "steep":
        site.put_window(1.2, 1.2, 0, rise * 0.5 + 0.2, front + 0.02)
        if maybe(rng, 0.5):
            site.put_box((2.6, 0.15, 1.0), (0, rise * 0.5 - 0.1, front + 0.5), rim, "railing")
            y, z = rise * 0.5 + 0.05, front + 0.95
            solids += railing(np.linspace((-1.25, y, z), (1.25, y, z), 9), 0.8, 0, rim, rim)
    else:
        site.open_wall(width, taken, 0, front + 0.02, 0.0, floors)
        site.open_wall(width, (), 0, -front - 0.02, 180.0, floors)
        for s in (1, -1):
            site.open_wall(depth, (), s * width / 2 + s * 0.02, 0, s * 90.0, 0 if garage and s == side else floors)
        if front_gable and rise > 2.2:
            site.put_window(0.9, 1.0, 0, tall + rise * 0.2, front + 0.02)
    broad = form in ("gable", "gambrel", "hip") and not front_gable and not wing and pitch > 0.7 and depth > 5.5
    dormers = site.add_dormers() if broad and maybe(rng, 0.5) else 0
    chimneys = pick(rng, (0, 1, 1, 2)) if form not in ("flat", "shed") else 0
    brick = stone(rng, pick(rng, ("red", "grey", "brown", "white")))
    for k in range(chimneys):
        x, z = (side, -side)[k] * long * 0.28, -span * 0.14
        if front_gable:
            x, z = z * 1.2 * side, x
        site.add_chimney(x, z, tall + rise * (1.05 if form != "mansard" else 1.45) + rng.uniform(0.4, 0.9), brick)
    counted = (("chimney", chimneys), ("dormer", dormers), ("garage", int(garage)), ("column", columns), ("window", site.windows))
    style = {"flat": ("square", "low"), "steep": ("tall",)}.get(form, ("corner",) if wing else ())
    return Thing.of(grounded(solids), wall if form != "steep" else tile, style, parts_of(*counted)[:4], rest="wall")
