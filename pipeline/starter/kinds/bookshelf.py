"""Makes a bookshelf: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pipeline.starter.kinds.kit import *


def _books(rng: Rng, left: float, right: float, y: float, room: float, depth: float, z: float, covers: Sequence[Material]) -> list[Solid]:
    """A row of books from the left, some leaning at its end, or a pile; z is the middle of the board."""
    solids: list[Solid] = []
    if maybe(rng, 0.15):
        wide, at = min(0.22, (right - left) * 0.8), rng.uniform(0.3, 0.7) * (right - left) + left
        while y < room and len(solids) < 5:
            high = rng.uniform(0.02, 0.04)
            solids.append(box((wide * rng.uniform(0.8, 1), high, depth * 0.7), (at, y, z), pick(rng, covers)))
            y += high
        return solids
    x, end = left, right - rng.uniform(0, 0.6) * (right - left)
    while x < end - 0.05:
        thick, tall, deep = rng.uniform(0.02, 0.055), rng.uniform(0.55, 0.88) * room, rng.uniform(0.6, 0.85) * depth
        book = box((thick * 0.94, tall, deep), (x + thick / 2, y, z), pick(rng, covers))
        solids.append(book)
        x += thick
    return solids


def _case(
    sort: str,
    rng: Rng,
    style: list[str],
    width: float,
    solids: list[Solid],
    board: float,
    height: float,
    depth: float,
    timber: Material,
    levels: int,
    bays: list[tuple[float, float, float, float]],
    doors: int,
    drawer_count: int,
) -> tuple[float, int, int, int]:
    """A case, high or low."""
    if sort == "low":
        height, width, levels = rng.uniform(0.75, 1.05), rng.uniform(0.9, 1.7), int(rng.integers(2, 4))
        style.append("low")
    columns, base = int(rng.integers(1, 3)) + int(width > 1.1), 0.0
    foot, crown = rng.uniform(0.03, 0.1), maybe(rng, 0.4)
    sides = [box((board, height, depth), (float(x), 0, 0), timber) for x in np.linspace(-1, 1, columns + 1) * (width - board) / 2]
    solids += named("side", sides)
    solids.append(box((width - 0.01, foot, depth - 0.03), (0, 0, 0), timber).named("base"))
    if sort == "case" and maybe(rng, 0.35):  # closed below
        base, face = height * rng.uniform(0.22, 0.36), joinery(rng, timber, pick(rng, (STEEL, BLACK, BRASS)))
        solids.append(box((width, base - foot, depth + 0.02), (0, foot, 0.01), timber).named("cabinet"))
        solids.append(cushion((width + 0.03, 0.03, depth + 0.07), (0, base - 0.01, 0.02), 0.01, timber).named("top"))
        fronts = 2 * max(1, columns - 1)
        if maybe(rng, 0.7):
            doors, each = fronts, width / fronts
            for i in range(fronts):
                solids += face(-width / 2 + (i + 0.5) * each, foot, depth / 2 + 0.02, each, base - foot - 0.01, 1 - 2 * (i % 2))
        else:
            drawer_count = 2 * (fronts // 2)
            solids += stacked(face, 0, foot, depth / 2 + 0.02, width, base - foot - 0.01, [fronts // 2] * 2)
        levels = max(2, levels - 2)
    start = base or foot
    step = (height - board - start) / levels
    solids += named("shelf", [box((width - 0.004, board, depth - 0.004), (0, start + i * step, 0), timber) for i in range(levels + 1)])
    solids += named("back", [box((width - 0.002, height, 0.008), (0, 0, -depth / 2 + 0.006), timber)] if maybe(rng, 0.6) else [])
    if crown:
        solids.append(cushion((width + 0.06, 0.05, depth + 0.06), (0, height - 0.01, 0.005), 0.015, timber).named("top"))
        if maybe(rng, 0.5):
            run, arch = arch_over(width, rng.uniform(0.06, 0.16))
            top = plate_between(run, np.full(len(run), height), height + 0.035 + arch, 0.03, timber).moved((0, 0, depth / 2 - 0.02))
            solids.append(top.named("top"))
    edges = np.linspace(-1, 1, columns + 1) * (width - board) / 2
    for i in range(levels):
        bays += [(a + board / 2, b - board / 2, start + i * step + board, step - board) for a, b in pairwise(edges)]
    return width, levels, doors, drawer_count


def bookshelf(rng: Rng) -> Thing:
    width, height, depth = rng.uniform(0.6, 1.4), rng.uniform(1.2, 2.2), rng.uniform(0.24, 0.36)
    timber, board = wood(rng), rng.uniform(0.018, 0.035)
    style: list[str] = []
    covers = [fabric(rng) for _ in range(5)]
    filled = rng.uniform(0.4, 1.0) if maybe(rng, 0.65) else 0.0
    sort = pick(rng, ("case", "case", "case", "cubes", "posts", "ladder", "steps", "low", "uneven", "corner"))
    doors = drawer_count = 0
    solids: list[Solid] = []
    bays: list[tuple[float, float, float, float]] = []  # left, right, y, room above: where books can stand
    levels = max(3, round(height / rng.uniform(0.3, 0.42)))
    match sort:
        case "case" | "low":
            width, levels, doors, drawer_count = _case(
                sort, rng, style, width, solids, board, height, depth, timber, levels, bays, doors, drawer_count
            )
        case "cubes":
            style.append("square")
            across, levels, cell = int(rng.integers(2, 5)), int(rng.integers(2, 6)), rng.uniform(0.33, 0.4)
            width, height, depth = across * cell + board, levels * cell + board, rng.uniform(0.3, 0.38)
            sides = [box((board, height, depth), (-width / 2 + board / 2 + i * cell, 0, 0), timber) for i in range(across + 1)]
            solids += named("side", sides)
            solids += named("shelf", [box((width - 0.002, board, depth - 0.002), (0, i * cell, 0), timber) for i in range(levels + 1)])
            for i in range(across * levels):
                x, y = -width / 2 + board + (i % across) * cell, (i // across) * cell + board
                if maybe(rng, 0.12):
                    room = cell - board
                    basket = cushion((room - 0.02, room - 0.03, depth - 0.04), (x + room / 2, y, 0.01), 0.02, pick(rng, covers))
                    solids.append(basket.named("basket"))
                else:
                    bays.append((x, x + cell - board, y, cell - board))
        case "posts":
            style.append("open")
            stand, thin = pick(rng, (STEEL, BLACK, BRASS, timber)), rng.uniform(0.012, 0.02)
            step, low = (height - 0.15) / (levels - 1), rng.uniform(0.05, 0.15)
            posts = [box((2 * thin, height, 2 * thin), (x, 0, z), stand) for x, z in four(width - 2 * thin, depth - 2 * thin)]
            solids += named("post", posts)
            solids += named("shelf", [box((width, board, depth), (0, low + i * step, 0), timber) for i in range(levels)])
            if maybe(rng, 0.5):
                for s in SIDES:
                    end = (-s * (width / 2 - 0.03), height * 0.95, -depth / 2)
                    solids.append(dowel((s * (width / 2 - 0.03), 0.1, -depth / 2), end, 0.008, stand, sides=8).named("post"))
            bays += [(-width / 2 + 0.05, width / 2 - 0.05, low + i * step + board, step - board) for i in range(levels - 1)]
        case "ladder":
            style.append("open")
            levels, deep = int(rng.integers(4, 6)), depth + 0.2
            for i in range(levels):
                y, share = 0.08 + i * (height - 0.2) / (levels - 1), 1 - 0.62 * i / (levels - 1)
                solids.append(box((width - 0.03, 0.022, deep * share), (0, y, -deep / 2 + deep * share / 2), timber).named("shelf"))
                solids += named("shelf", [box((width - 0.03, 0.05, 0.012), (0, y, -deep / 2 + 0.01), timber)] if maybe(rng, 0.6) else [])
            top = -deep / 2 + 0.36 * deep
            for s in SIDES:
                x = s * (width / 2 - 0.012)
                solids.append(dowel((x, 0, deep / 2 + 0.02), (x, height, top), 0.019, timber, sides=8).named("post"))
                solids.append(box((0.025, height, 0.03), (x, 0, -deep / 2 + 0.015), timber).named("post"))
            filled *= 0.5
            bays += [(-width / 2 + 0.08, width / 2 - 0.08, 0.103 + i * (height - 0.2) / (levels - 1), 0.24) for i in range(levels - 1)]
        case "steps":
            across, cell = int(rng.integers(3, 6)), rng.uniform(0.33, 0.4)
            levels, width, side = across, across * cell, pick(rng, SIDES)
            for i in range(across):
                high, left = (i + 1) * cell, side * (-width / 2 + (i + 0.5) * cell)
                solids += named("side", [box((board, high + board, depth), (left + s * (cell - 0.001) / 2, 0, 0), timber) for s in SIDES])
                solids += named("shelf", [box((cell + board, board, depth - 0.002), (left, j * cell, 0), timber) for j in range(i + 2)])
                bays += [(left - cell / 2 + board, left + cell / 2 - board, j * cell + board, cell - board) for j in range(i + 1)]
        case "uneven":  # uprights jump from level to level
            step = (height - board) / levels
            solids += named("shelf", [box((width, board, depth), (0, i * step, 0), timber) for i in range(levels + 1)])
            framed = maybe(rng, 0.5)
            for i in range(levels):
                cuts = (-1.0, float(rng.uniform(-0.5, 0.5)), 1.0) if framed else ((-0.9, 0.4) if i % 2 else (-0.4, 0.9))
                at = [c * (width - board) / 2 for c in cuts]
                solids += named("side", [box((board, step, depth), (x, i * step, 0), timber) for x in at])
                bays += [(a + board, b - board, i * step + board, step - board) for a, b in pairwise(at)]
        case _:  # a quarter of a disc in a corner
            style.append("corner")
            radius, step = rng.uniform(0.4, 0.6), (height - board) / levels
            run, back = radius * np.cos(np.linspace(0, math.pi / 2, 13)), -radius / 2
            bow = np.sqrt(np.maximum(radius**2 - run**2, 0))
            shelfs = [lying_between(radius / 2 - run, np.full(13, back), back + bow, board, i * step, timber) for i in range(levels + 1)]
            solids += named("shelf", shelfs)
            backs = [box((radius, height, 0.018), (0, 0, back), timber), box((0.018, height, radius), (radius / 2, 0, 0), timber)]
            solids += named("back", backs)
            bays += [(-radius * 0.25, radius * 0.45, i * step + board, step - board) for i in range(levels)]
            filled *= 0.6
    z, book_depth = (-0.12, 0.24) if sort in ("corner", "ladder") else (0.0, depth)
    bare = len(solids)
    for left, right, y, room in bays:
        if maybe(rng, filled):
            solids += named("book", _books(rng, left + 0.005, right - 0.01, y, min(room, 0.36), book_depth, z, covers))
    style += ["slim"] if sort == "case" and width < 0.75 else []
    parts = said_of(
        timber, ("shelf", levels, timber), ("door", doors, timber), ("drawer", drawer_count, timber), ("book", len(solids) - bare, timber)
    )
    return Thing.of(solids, timber, style, parts, rest="side")
