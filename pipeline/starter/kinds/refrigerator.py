"""Makes a refrigerator: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.starter.kinds.kit import *

_SORTS: Final = (
    *("freezer above",) * 2,
    *("freezer below",) * 2,
    "single",
    *("twin",) * 2,
    *("french",) * 2,
    *("small",) * 2,
    "retro",
    "shop",
)
"""What one is drawn from; the common ones twice."""


_Leaf = tuple[float, float, float, float, int]
"""x, y, width, height and the side of the handle; 0 for a drawer."""

_GAP: Final = 0.006
"""Between two doors, and between a door and the case; in metres."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    sort: str
    width: float
    height: float
    depth: float
    low: float
    """Height of the feet."""
    thick: float
    """The thickness of a door."""
    edge: float
    paint: Material
    grip: Material
    pulls: int
    """Short, medium or bent handles, or such as are sunk into the edge."""


def _leaves(rng: Rng, sort: str, width: float, height: float, low: float, side: int) -> tuple[list[_Leaf], int]:
    """Doors and drawers, and how many of them are drawers."""
    split = height * rng.uniform(0.62, 0.74)
    match sort:
        case "freezer above" | "retro" | "small" if sort == "freezer above" or maybe(rng, 0.4):
            return [(0, low, width, split - low, side), (0, split, width, height - split, side)], 0
        case "freezer below":
            cut, drawers = height - split + low, int(pick(rng, (0, 0, 1, 2)))
            part = (cut - low) / max(1, drawers)
            below = [(0, low + i * part, width, part, 0 if drawers else side) for i in range(max(1, drawers))]
            return [(0, cut, width, height - cut, side), *below], drawers
        case "twin":
            share = rng.uniform(0.4, 0.5) * width
            return [(-(width - share) / 2, low, share, height - low, 1), (share / 2, low, width - share, height - low, -1)], 0
        case "french":
            drawers, cut = int(rng.integers(1, 3)), height * rng.uniform(0.34, 0.42)
            part = (cut - low) / drawers
            doors = [(s * width / 4, cut, width / 2, height - cut, -s) for s in SIDES]
            return [*doors, *((0, low + i * part, width, part, 0) for i in range(drawers))], drawers
        case "shop" if width > 0.95:
            return [(s * 0.5 * width / 2, low + 0.12, width / 2, height - low - 0.36, -s) for s in SIDES], 0
        case "shop":
            return [(0, low + 0.12, width, height - low - 0.36, side)], 0
    return [(0, low, width, height - low, side)], 0


def _hollow(rng: Rng, of: _Case) -> tuple[list[Solid], int]:
    """Walls around shelves with bottles, and how many shelves."""
    wall, inside, tall = 0.05, metal(rng, "white"), of.height - of.low
    solids = [cushion((wall, tall, of.depth), (s * (of.width - wall) / 2, of.low, 0), 0.01, of.paint) for s in SIDES]
    solids += [cushion((of.width, wall, of.depth), (0, y, 0), 0.01, of.paint) for y in (of.low, of.height - wall)]
    for z, material in ((0.01, of.paint), (0.03, inside)):
        solids.append(box((of.width - 0.02, tall - 0.02, 0.02), (0, of.low + 0.01, z - of.depth / 2), material))
    shelves = int(rng.integers(2, 4)) if of.sort == "small" else int(rng.integers(3, 6))
    bottom, top = of.low + 0.05, of.height - (0.25 if of.sort == "shop" else 0.05)
    for i in range(shelves):
        y = bottom + (i + 0.6) * (top - bottom) / (shelves + 0.5)
        solids.append(box((of.width - 0.08, 0.012, of.depth - 0.1), (0, y, -0.02), inside).named("shelf"))
        for x in np.arange(-of.width / 2 + 0.12, of.width / 2 - 0.08, 0.11):
            if maybe(rng, 0.5):
                tall = rng.uniform(0.08, 0.18)
                bottle = [(0, 0), (0.035, 0), (0.035, tall * 0.6), (0.014, tall * 0.8), (0.014, tall), (0, tall)]
                solids.append(turned(bottle, (float(x), y + 0.012, rng.uniform(-0.05, 0.1)), plastic(rng), sides=12).named("bottle"))
    return solids, shelves


def _panel(of: _Case, w: float, h: float, swing: int) -> list[Solid]:
    """A door or drawer without its handle: a rim around glass, or a slab with a seal and a hinge."""
    if of.sort == "shop":
        rim = 0.05
        solids = [box((w, rim, 0.04), (0, up, 0.02), of.grip) for up in (0, h - rim)]
        return solids + [box((rim, h, 0.04), (s * (w - rim) / 2, 0, 0.02), of.grip) for s in SIDES]
    solids = [cushion((w, h, of.thick), (0, 0, of.thick / 2 + _GAP), min(of.edge, of.thick * 0.48), of.paint)]
    solids.append(box((w - 2 * of.edge, h - 2 * of.edge, 0.03), (0, of.edge, 0.01), BLACK))
    if of.sort != "retro" and swing:
        solids.append(cushion((0.05, 0.025, 0.06), (-swing * (w / 2 - 0.04), h - 0.004, 0.01), 0.008, BLACK))
    return solids


def _handle(of: _Case, y: float, w: float, h: float, swing: int, out: float, alone: bool) -> list[Solid]:
    """The handle of a leaf whose underside is at y; `out` is how far its front stands out, `alone` whether it is the only leaf."""
    at, long = swing * (w / 2 - 0.05), min(0.9 * h, max(0.16, h * (0.2, 0.5, 0.75, 0.3)[of.pulls]))
    if swing == 0:
        bar = min(w * 0.8, 0.6)
        ends = [box((0.03, 0.025, 0.04), (s * bar * 0.45, h - 0.108, out + 0.018), of.grip) for s in SIDES]
        return [cushion((bar, 0.03, 0.03), (0, h - 0.11, out + 0.035), 0.012, of.grip), *ends]
    if of.sort == "retro":
        start = h * 0.42 if y < of.height * 0.5 else h * 0.15
        lever = cushion((0.15, 0.04, 0.03), (at - swing * 0.05, start, out + 0.03), 0.013, STEEL)
        return [lever, cushion((0.05, 0.075, 0.04), (at, start - 0.0175, out + 0.01), 0.018, STEEL)]
    start = h * 0.5 - long / 2 if alone or of.sort in ("twin", "shop") else (0.06 if y > 0.3 else h - long - 0.06)
    if of.pulls == 3 and of.sort != "shop":
        return [box((0.035, long, 0.006), (swing * (w / 2 - 0.02), start, out + 0.001), BLACK)]
    if of.pulls == 2:
        bend = np.linspace(0, 1, 11)
        path = np.stack([np.full(11, at), start + bend * long, out - 0.004 + 0.05 * np.sin(math.pi * bend) ** 0.5], axis=1)
        return [tube(path, 0.012, of.grip)]
    ends = [box((0.022, 0.03, 0.05), (at, start + u * long - 0.015, out + 0.02), of.grip) for u in (0.12, 0.88)]
    return [cushion((0.028, long, 0.026), (at, start, out + 0.045), 0.011, of.grip), *ends]


def _dispenser(rng: Rng, w: float, h: float, out: float, pane: Material) -> list[Solid]:
    """A dispenser of water and ice in a door."""
    tall = min(0.36, h * 0.35)
    solids = [cushion((w * 0.52, tall, 0.02), (-w * 0.08, h * 0.5, out), 0.008, pick(rng, (BLACK, STEEL)))]
    solids.append(box((w * 0.42, tall * 0.55, 0.006), (-w * 0.08, h * 0.5 + tall * 0.08, out + 0.01), BLACK))
    return [*solids, box((w * 0.42, tall * 0.2, 0.006), (-w * 0.08, h * 0.5 + tall * 0.72, out + 0.01), pane)]


def refrigerator(rng: Rng) -> Thing:
    sort, paint = pick(rng, _SORTS), metal(rng, pick(rng, ("white", "white", "grey", "grey", "black")))
    width, height, depth = rng.uniform(0.55, 0.75), rng.uniform(1.5, 2.0), rng.uniform(0.6, 0.72)
    if sort in ("twin", "french"):
        width, height = rng.uniform(0.85, 1.0), rng.uniform(1.7, 1.9)
    elif sort == "small":
        width, height, depth = rng.uniform(0.45, 0.55), rng.uniform(0.68, 1.0), rng.uniform(0.45, 0.55)
    elif sort == "retro":
        paint = metal(rng, pick(rng, ("red", "blue", "green", "pink", "white", "beige", "yellow", "black")))
    elif sort == "shop":
        width = rng.uniform(0.6, 1.3)
    style = {"twin": ["wide"], "french": ["wide"], "small": ["low"], "retro": ["curved"]}.get(sort, [])
    low, thick = rng.uniform(0.03, 0.07), rng.uniform(0.05, 0.08)
    grip = STEEL if sort == "retro" else pick(rng, (STEEL, STEEL, BLACK, WHITE))
    edge = 0.1 if sort == "retro" else rng.uniform(0.006, 0.02)
    side, pulls = pick(rng, SIDES), pick(rng, (0, 0, 1, 1, 2, 2, 3))
    size = {"width": width, "height": height, "depth": depth, "low": low, "thick": thick, "edge": edge}
    of = _Case(sort=sort, paint=paint, grip=grip, pulls=pulls, **size)
    leaves, drawers = _leaves(rng, sort, width, height, low, side)
    ajar = sort in ("single", "small", "retro") and len(leaves) == 1 and maybe(rng, 0.3)
    solids = named("foot", [disc(0.022, low + 0.03, (x, 0, z), BLACK, sides=12) for x, z in four(width - 0.14, depth - 0.14)])
    body = [cushion((width, height - low, depth), (0, low, 0), min(edge, 0.09), paint).hidden("door", depth / 2, "z")]
    more, shelves = _hollow(rng, of) if ajar or sort == "shop" else (body, 0)
    solids += more
    if sort == "shop":
        sign = pick(rng, (plastic(rng), paint))
        solids.append(cushion((width - 0.01, 0.23, depth + 0.04), (0, height - 0.24, 0.02), 0.02, sign).named("sign"))
        solids.append(box((width - 0.02, 0.12, depth), (0, low, 0.01), paint))
    pane, out = glass(rng, pick(rng, ("blue", "white"))), (0.04 if sort == "shop" else thick) + _GAP
    for x, y, w, h, swing in leaves:
        w, h = w - _GAP, h - _GAP
        door = _panel(of, w, h, swing) + named("handle", _handle(of, y, w, h, swing, out, len(leaves) == 1))
        if sort in ("twin", "french") and x < 0 and swing and maybe(rng, 0.6):
            door += named("dispenser", _dispenser(rng, w, h, out, pane))
        if ajar:
            hinge, turn = -swing * w / 2, swing * -rng.uniform(60, 120)
            door += [box((w - 0.14, 0.07, 0.09), (0, h * u, -0.04), WHITE) for u in (0.15, 0.4, 0.65)]
            door = [p.moved((-hinge, 0, 0)).turned("y", turn).moved((hinge, 0, 0)) for p in door]
        solids += named("door" if swing else "drawer", [p.moved((x, y + _GAP / 2, depth / 2)) for p in door])
    sunk = pulls == 3 and sort not in ("retro", "shop")
    doors, handles = len(leaves) - drawers, sum(1 for leaf in leaves if not (sunk and leaf[4]))
    counted = (("door", doors, paint), ("drawer", drawers, paint), ("handle", handles, grip), ("shelf", shelves, paint))
    return Thing.of(solids, paint, [*style, *["open"] * ajar], said_of(paint, *counted))
