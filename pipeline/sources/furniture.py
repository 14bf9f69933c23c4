"""Twelve kinds of furniture and household things, each a function from a random generator to a list of solids.

    solids = KINDS["chair"](np.random.default_rng(0))

Everything stands on Y = 0, faces +Z and measures in metres what it does in life. What is drawn at random: proportions, variants of parts,
materials. A new kind is one function and one line in `KINDS`, and another `shapes.REVISION`, since the kinds of all indices move.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from pipeline.sources.solids import Material, Point, Solid, box, cushion, disc, rod, tube, turned

Rng = np.random.Generator
T = TypeVar("T")

WOODS: Final = ((0.80, 0.62, 0.42), (0.62, 0.43, 0.27), (0.43, 0.28, 0.18), (0.88, 0.77, 0.60), (0.30, 0.20, 0.15), (0.92, 0.91, 0.88))
FABRICS: Final = (
    (0.24, 0.36, 0.52), (0.62, 0.23, 0.21), (0.33, 0.45, 0.33), (0.78, 0.70, 0.58), (0.35, 0.35, 0.38), (0.82, 0.62, 0.24),
    (0.52, 0.36, 0.50), (0.20, 0.46, 0.48), (0.86, 0.84, 0.80),
)  # fmt: skip
GLAZES: Final = (
    (0.93, 0.92, 0.88), (0.20, 0.40, 0.62), (0.75, 0.25, 0.20), (0.25, 0.55, 0.45), (0.90, 0.72, 0.25), (0.16, 0.18, 0.22),
    (0.85, 0.55, 0.50), (0.55, 0.68, 0.80),
)  # fmt: skip
GLASSES: Final = ((0.16, 0.38, 0.22), (0.45, 0.26, 0.10), (0.62, 0.80, 0.84), (0.85, 0.30, 0.25), (0.24, 0.35, 0.66), (0.90, 0.90, 0.86))
STEEL: Final = Material(color=(0.70, 0.71, 0.73), metallic=0.6, roughness=0.35)
BLACK: Final = Material(color=(0.10, 0.10, 0.11), roughness=0.5)
BRASS: Final = Material(color=(0.78, 0.62, 0.30), metallic=0.6, roughness=0.35)
WHITE: Final = Material(color=(0.93, 0.93, 0.91), roughness=0.7)
LEAF: Final = Material(color=(0.24, 0.48, 0.22), roughness=0.8)


# ------------------------------------------------------------------------------------------------------ parts of things


def pick(rng: Rng, things: Sequence[T]) -> T:
    return things[int(rng.integers(len(things)))]


def maybe(rng: Rng, chance: float) -> bool:
    return bool(rng.random() < chance)


def wood(rng: Rng) -> Material:
    return Material(color=pick(rng, WOODS), roughness=0.75)


def fabric(rng: Rng) -> Material:
    return Material(color=pick(rng, FABRICS), roughness=1.0)


def glaze(rng: Rng) -> Material:
    return Material(color=pick(rng, GLAZES), roughness=0.35)


def frame(rng: Rng) -> Material:
    """What legs and stands are made of."""
    return pick(rng, (STEEL, BLACK, BRASS, WHITE, wood(rng)))


def four(width: float, depth: float) -> list[tuple[float, float]]:
    """x and z of the corners of a rectangle around the origin."""
    return [(x * width / 2, z * depth / 2) for x in (-1, 1) for z in (-1, 1)]


def legs(rng: Rng, width: float, depth: float, height: float, thick: float, material: Material) -> list[Solid]:
    """Four legs below a rectangle: square, round, or round and splayed."""
    corners = four(width - 1.5 * thick, depth - 1.5 * thick)
    match rng.integers(3):
        case 0:
            return [box((thick, height, thick), (x, 0, z), material) for x, z in corners]
        case 1:
            inset, splay = 0.0, 0.0
        case _:
            inset, splay = 0.05, rng.uniform(0.08, 0.2) * height

    def bar(x: float, z: float) -> Solid:
        top = (x - math.copysign(inset, x), height, z - math.copysign(inset, z))
        foot = (top[0] + math.copysign(splay, x), 0, top[2] + math.copysign(splay, z))
        return rod(foot, top, thick * 0.35, thick * 0.55, material)

    return [bar(x, z) for x, z in corners]


def drawers(rng: Rng, size: Point, at: Point, count: int, material: Material, knob: Material) -> list[Solid]:
    """A chest of drawers, with fronts towards +Z."""
    width, height, depth = size
    x, y, z = at
    solids = [box(size, at, material)]
    each = height / count
    handle = maybe(rng, 0.5)
    for i in range(count):
        front = z + depth / 2
        middle = y + (i + 0.5) * each
        solids.append(box((width - 0.03, each - 0.025, 0.015), (x, y + i * each + 0.0125, front + 0.0075), material))
        if handle:
            solids.append(box((width * 0.35, 0.012, 0.02), (x, middle - 0.006, front + 0.025), knob))
        else:
            solids.append(rod((x, middle, front + 0.01), (x, middle, front + 0.04), 0.008, 0.015, knob))
    return solids


# --------------------------------------------------------------------------------------------------------------- kinds


def bed(rng: Rng) -> list[Solid]:
    width, length, height = rng.uniform(0.95, 1.85), rng.uniform(1.95, 2.15), rng.uniform(0.22, 0.38)
    timber, blanket = wood(rng), fabric(rng)
    solids = legs(rng, width, length, height, 0.08, timber)
    solids.append(box((width, 0.12, length), (0, height - 0.04, 0), timber))
    top = height + 0.08
    thick = rng.uniform(0.16, 0.26)
    solids.append(cushion((width - 0.06, thick, length - 0.08), (0, top, 0), 0.06, WHITE))
    cover = rng.uniform(0.5, 0.72) * length
    solids.append(cushion((width + 0.02, thick * 0.8, cover), (0, top + thick * 0.25, (length - cover) / 2), 0.05, blanket))
    pillows = 2 if width > 1.3 else 1
    for i in range(pillows):
        x = (i - (pillows - 1) / 2) * width * 0.46
        solids.append(
            cushion((width * 0.4 if pillows == 2 else width * 0.6, 0.12, 0.36), (x, top + thick - 0.01, -length / 2 + 0.28), 0.055, WHITE)
        )
    board = rng.uniform(0.75, 1.25)
    back = -length / 2 - 0.025
    match rng.integers(3):
        case 0:
            solids.append(box((width, board, 0.05), (0, 0.05, back), timber))
        case 1:
            solids.append(cushion((width + 0.06, board - height, 0.12), (0, height, back - 0.02), 0.05, blanket))
        case _:
            solids += [box((0.06, board, 0.05), (side * (width / 2 - 0.03), 0, back), timber) for side in (-1, 1)]
            solids += [box((width, 0.07, 0.05), (0, y, back), timber) for y in (board - 0.1, height)]
            count = int(rng.integers(5, 10))
            for x in np.linspace(-width / 2, width / 2, count + 2)[1:-1]:
                solids.append(box((0.035, board - height - 0.05, 0.03), (float(x), height, back), timber))
    if maybe(rng, 0.4):
        solids.append(box((width, rng.uniform(0.1, 0.3) + height, 0.05), (0, 0.05, length / 2 + 0.025), timber))
    return solids


def bench(rng: Rng) -> list[Solid]:
    length, depth, height = rng.uniform(1.1, 1.9), rng.uniform(0.36, 0.5), rng.uniform(0.4, 0.47)
    timber, stand = wood(rng), pick(rng, (STEEL, BLACK, wood(rng)))
    planks = int(rng.integers(1, 5))
    each = depth / planks
    solids = [box((length, 0.04, each - 0.015), (0, height, -depth / 2 + (i + 0.5) * each), timber) for i in range(planks)]
    x = length / 2 - rng.uniform(0.08, 0.25)
    backed = maybe(rng, 0.6)
    match rng.integers(3):
        case 0:
            solids += [box((0.06, height, depth), (side * x, 0, 0), stand) for side in (-1, 1)]
        case 1:
            solids += legs(rng, length, depth, height, 0.06, stand)
        case _:
            for side in (-1, 1):
                solids += [box((0.05, height, 0.05), (side * x, 0, z * depth / 2 * 0.8), stand) for z in (-1, 1)]
                solids.append(box((0.05, 0.05, depth), (side * x, height - 0.05, 0), stand))
    if backed:
        lean, tall = rng.uniform(5, 14), rng.uniform(0.35, 0.48)
        rails = int(rng.integers(1, 5))
        part = tall / rails
        back = [box((length, part * 0.7, 0.03), (0, 0.06 + i * part, 0), timber) for i in range(rails)]
        back += [box((0.05, tall + 0.04, 0.04), (side * x, 0, -0.035), stand) for side in (-1, 1)]
        solids += [solid.turned("x", -lean).moved((0, height, -depth / 2)) for solid in back]
    if backed and maybe(rng, 0.5):
        for side in (-1, 1):
            solids.append(box((0.05, 0.03, depth), (side * x, height + 0.22, 0), stand))
            solids.append(box((0.05, 0.22, 0.05), (side * x, height, depth / 2 - 0.05), stand))
    return solids


def bookshelf(rng: Rng) -> list[Solid]:
    width, height, depth = rng.uniform(0.6, 1.3), rng.uniform(0.9, 2.1), rng.uniform(0.24, 0.36)
    timber = wood(rng)
    board = rng.uniform(0.02, 0.035)
    shelves = max(2, round(height / rng.uniform(0.3, 0.42)))
    step = (height - board) / shelves
    solids = [box((board, height, depth), (side * (width - board) / 2, 0, 0), timber) for side in (-1, 1)]
    solids += [box((width - 2 * board, board, depth), (0, i * step, 0), timber) for i in range(shelves + 1)]
    if maybe(rng, 0.7):
        solids.append(box((width, height, 0.008), (0, 0, -depth / 2), timber))
    filled = rng.uniform(0.3, 0.9)
    covers = [fabric(rng) for _ in range(4)]
    for i in range(shelves):
        if not maybe(rng, filled):
            continue
        x, end = -width / 2 + board + 0.01, width / 2 - board - rng.uniform(0.02, 0.4) * width
        while x < end:
            thick, tall = rng.uniform(0.018, 0.05), rng.uniform(0.55, 0.85) * (step - board)
            deep = rng.uniform(0.6, 0.85) * depth
            solids.append(box((thick * 0.94, tall, deep), (x + thick / 2, i * step + board, (depth - deep) / 2 - 0.02), pick(rng, covers)))
            x += thick
    return solids


def bottle(rng: Rng) -> list[Solid]:
    radius, height = rng.uniform(0.032, 0.05), rng.uniform(0.2, 0.33)
    glass = Material(color=pick(rng, GLASSES), roughness=0.3)
    neck = radius * rng.uniform(0.28, 0.5)
    shoulder, throat = height * rng.uniform(0.5, 0.66), height * rng.uniform(0.72, 0.82)
    curve = np.linspace(0, 1, 9)
    bend = rng.uniform(0.8, 1.6)
    sweep = neck + (radius - neck) * (0.5 + 0.5 * np.cos(math.pi * curve**bend))
    waist = radius * pick(rng, (1.0, 1.0, rng.uniform(0.84, 0.95)))
    profile = [(0, 0), (radius * 0.9, 0), (radius, radius * 0.12), (waist, shoulder * 0.5), (radius, shoulder)]
    profile += [(float(r), float(shoulder + (throat - shoulder) * t)) for r, t in zip(sweep[1:], curve[1:], strict=True)]
    profile += [(neck, height), (0, height)]
    squash = pick(rng, (1.0, 1.0, rng.uniform(0.55, 0.75)))
    solids = [turned(profile, (0, 0, 0), glass, sides=40, squash=squash)]
    lid = pick(rng, (STEEL, BLACK, WHITE, BRASS, fabric(rng)))
    solids.append(disc(neck * 1.2, height * rng.uniform(0.05, 0.1), (0, height - height * 0.03, 0), lid, squash=squash))
    if maybe(rng, 0.65):
        low, high = shoulder * rng.uniform(0.12, 0.25), shoulder * rng.uniform(0.75, 0.92)
        at = np.interp([low, shoulder * 0.5, high], [radius * 0.12, shoulder * 0.5, shoulder], [radius, waist, radius]) + 0.0007
        label = [(0, low), (float(at[0]), low), (float(at[1]), shoulder * 0.5), (float(at[2]), high), (0, high)]
        solids.append(turned(label, (0, 0, 0), pick(rng, (WHITE, fabric(rng))), sides=40, squash=squash))
    return solids


def chair(rng: Rng) -> list[Solid]:
    width, depth, height = rng.uniform(0.4, 0.52), rng.uniform(0.4, 0.5), rng.uniform(0.41, 0.48)
    timber = wood(rng)
    soft = fabric(rng)
    stand = pick(rng, (timber, timber, frame(rng)))
    padded = maybe(rng, 0.4)
    seat = cushion((width, 0.07, depth), (0, height - 0.02, 0), 0.03, soft) if padded else box((width, 0.03, depth), (0, height, 0), timber)
    solids = [seat]
    match rng.integers(4):
        case 0:
            solids.append(disc(0.03, height - 0.06, (0, 0.06, 0), STEEL))
            arms = int(rng.integers(4, 6))
            for turn in np.arange(arms) * 360 / arms:
                arm = [box((0.045, 0.035, 0.28), (0, 0.05, 0.14), BLACK), disc(0.028, 0.05, (0, 0, 0.26), BLACK, sides=16)]
                solids += [solid.turned("y", float(turn)) for solid in arm]
        case _:
            solids += legs(rng, width, depth, height, rng.uniform(0.035, 0.05), stand)
    tall, lean = rng.uniform(0.38, 0.6), rng.uniform(3, 13)
    posts = [box((0.035, tall, 0.03), (side * (width / 2 - 0.03), 0, 0), stand) for side in (-1, 1)]
    back: list[Solid]
    match rng.integers(5):
        case 0:
            back = [box((width, tall * 0.75, 0.02), (0, tall * 0.25, 0), timber), *posts]
        case 1:
            back = [cushion((width, tall * 0.85, 0.06), (0, tall * 0.15, 0), 0.028, soft), *posts]
        case 2:
            count = int(rng.integers(2, 5))
            back = posts + [box((width - 0.06, 0.05, 0.02), (0, float(y), 0), timber) for y in np.linspace(tall * 0.3, tall - 0.05, count)]
        case 3:
            count = int(rng.integers(3, 7))
            bars = np.linspace(-width / 2 + 0.05, width / 2 - 0.05, count + 2)[1:-1]
            back = [*posts, box((width, 0.06, 0.03), (0, tall - 0.06, 0), timber)]
            back += [rod((float(x), 0, 0), (float(x), tall - 0.03, 0), 0.009, 0.009, timber) for x in bars]
        case _:
            angle = np.linspace(0, math.pi, 24)
            hoop = np.stack([np.cos(angle) * (width / 2 - 0.02), np.sin(angle) ** 0.7 * tall, np.zeros(24)], axis=1)
            back = [tube(hoop, 0.013, stand)]
            for x in np.linspace(-0.32, 0.32, 5) * width:
                top = tall * (1 - (2 * x / width) ** 2) ** 0.35
                back.append(rod((float(x), 0, 0), (float(x), float(top) - 0.01, 0), 0.007, 0.007, stand))
    solids += [solid.turned("x", -lean).moved((0, height + 0.02, -depth / 2 + 0.03)) for solid in back]
    if maybe(rng, 0.3):
        for side in (-1, 1):
            x = side * (width / 2 + 0.01)
            solids += [box((0.045, 0.025, depth * 0.85), (x, height + 0.21, -depth * 0.05), timber)]
            solids += [box((0.03, 0.21, 0.03), (x, height, depth * 0.28), stand)]
    return solids


def desk(rng: Rng) -> list[Solid]:
    width, depth, height = rng.uniform(1.05, 1.7), rng.uniform(0.55, 0.75), rng.uniform(0.7, 0.76)
    timber, stand, knob = wood(rng), frame(rng), pick(rng, (STEEL, BLACK, BRASS))
    chest = rng.uniform(0.32, 0.45) if maybe(rng, 0.8) else 0.0
    both = maybe(rng, 0.35)
    solids = [box((width, 0.035, depth), (0, height - 0.035, 0), timber)]
    side = pick(rng, (-1, 1))
    for one in (side, -side):
        x = one * (width / 2 - 0.03)
        if chest and (one == side or both):
            at = (one * (width / 2 - chest / 2 - 0.02), 0.06, 0.0)
            solids += drawers(rng, (chest, height - 0.035 - 0.06, depth - 0.06), at, int(rng.integers(2, 5)), timber, knob)
            solids.append(box((chest - 0.06, 0.06, depth - 0.14), (at[0], 0, 0), BLACK))
        elif maybe(rng, 0.4):
            solids.append(box((0.035, height - 0.035, depth - 0.04), (x, 0, 0), timber))
        else:
            solids += [box((0.045, height - 0.035, 0.045), (x, 0, z * (depth / 2 - 0.05)), stand) for z in (-1, 1)]
            solids.append(box((0.045, 0.04, depth - 0.1), (x, 0.08, 0), stand))
    if maybe(rng, 0.6):
        solids.append(box((width - 0.1, height * rng.uniform(0.25, 0.6), 0.02), (0, height * 0.35, -depth / 2 + 0.06), timber))
    if maybe(rng, 0.3):
        solids.append(box((width, rng.uniform(0.15, 0.3), 0.025), (0, height, -depth / 2 + 0.0125), timber))
    return solids


def lamp(rng: Rng) -> list[Solid]:
    metal, cloth = pick(rng, (STEEL, BLACK, BRASS, WHITE)), pick(rng, (fabric(rng), WHITE))
    floor = maybe(rng, 0.5)
    height = rng.uniform(1.2, 1.65) if floor else rng.uniform(0.3, 0.55)
    width = height * (rng.uniform(0.12, 0.18) if floor else rng.uniform(0.3, 0.45))
    tall = width * rng.uniform(0.8, 1.5)
    mouth = width * pick(rng, (1.0, rng.uniform(0.5, 0.8), 0.3))
    wall = width * 0.03
    shade = [(width, 0), (mouth, tall), (mouth - wall, tall), (width - wall, 0), (width, 0)]
    thick = height * (0.008 if floor else 0.02)
    top = height - tall
    solids = [turned([(0, 0), (width * 0.16, 0.02 * width), (width * 0.2, width * 0.2), (0, width * 0.4)], (0, top + tall * 0.3, 0), WHITE)]
    match rng.integers(4):
        case 0:  # three legs
            for turn in (0, 120, 240):
                leg = rod((0, 0, width * 0.95), (0, top + tall * 0.15, 0), thick, thick * 1.3, metal)
                solids.append(leg.turned("y", turn))
            solids.append(rod((0, top * 0.95, 0), (0, top + tall * 0.35, 0), thick, thick, metal))
        case 1 if not floor:  # a round belly of clay
            belly, body = width * rng.uniform(0.35, 0.6), glaze(rng)
            t = np.linspace(0, 1, 14)
            curve = belly * (0.35 + 0.65 * np.sin(math.pi * t ** rng.uniform(0.6, 1.3)))
            line = [(0.0, 0.0), *((float(r), float(h)) for r, h in zip(curve, t * top, strict=True)), (0.0, top)]
            solids += [turned(line, (0, 0, 0), body), rod((0, top, 0), (0, top + tall * 0.35, 0), thick, thick, metal)]
        case _:
            base = width * rng.uniform(0.5, 0.75)
            solids.append(turned([(0, 0), (base, 0), (base, base * 0.08), (thick, base * 0.3), (0, base * 0.3)], (0, 0, 0), metal))
            solids.append(rod((0, 0, 0), (0, top + tall * 0.35, 0), thick, thick, metal))
    solids.append(turned(shade, (0, top, 0), cloth, sides=40))
    return solids


def monitor(rng: Rng) -> list[Solid]:
    width = rng.uniform(0.45, 0.85)
    tall = width * rng.uniform(0.52, 0.66)
    case, stand = pick(rng, (BLACK, WHITE, STEEL)), pick(rng, (BLACK, STEEL, WHITE))
    deep = rng.uniform(0.02, 0.05)
    rim = rng.uniform(0.008, 0.03)
    lift = rng.uniform(0.06, 0.18)
    glow = Material(color=pick(rng, ((0.07, 0.08, 0.10), (0.16, 0.30, 0.48), (0.20, 0.42, 0.40), (0.45, 0.28, 0.48))), roughness=0.3)
    screen = [
        cushion((width, tall, deep), (0, 0, 0), 0.008, case),
        box((width - 2 * rim, tall - 2 * rim, 0.004), (0, rim, deep / 2), glow),
        cushion((width * 0.5, tall * 0.5, deep), (0, tall * 0.25, -deep * 0.6), 0.015, case),
    ]
    tilt = rng.uniform(0, 8)
    solids = [solid.turned("x", -tilt).moved((0, lift, 0)) for solid in screen]
    back = -deep * 1.1
    match rng.integers(4):
        case 0:
            solids.append(disc(width * rng.uniform(0.17, 0.24), 0.015, (0, 0, 0), stand, sides=40, squash=0.75))
            solids.append(rod((0, 0, back), (0, lift + tall * 0.45, back), 0.022, 0.018, stand))
        case 1:
            solids.append(box((width * rng.uniform(0.3, 0.45), 0.014, width * 0.26), (0, 0, back), stand))
            solids.append(box((0.07, lift + tall * 0.5, 0.02), (0, 0, back - 0.01), stand))
        case 2:
            for side in (-1, 1):
                x = side * width * 0.33
                solids += [rod((x, lift + 0.02, 0), (x * 1.08, 0, z * width * 0.16), 0.008, 0.008, stand) for z in (-1, 1)]
        case _:
            foot = width * 0.2
            solids += [rod((0, 0.02, back), (side * foot, 0.01, foot * 0.7), 0.014, 0.008, stand) for side in (-1, 1)]
            solids += [rod((0, 0.02, back), (0, 0.01, back - foot * 0.5), 0.014, 0.008, stand)]
            solids.append(rod((0, 0.005, back), (0, lift + tall * 0.5, back), 0.018, 0.018, stand))
    return solids


def mug(rng: Rng) -> list[Solid]:
    radius, height = rng.uniform(0.036, 0.048), rng.uniform(0.08, 0.12)
    body, inside = glaze(rng), pick(rng, (WHITE, glaze(rng)))
    foot = radius * pick(rng, (1.0, 1.0, rng.uniform(0.65, 0.9)))
    belly = radius * pick(rng, (1.0, rng.uniform(1.02, 1.12)))
    wall = 0.004
    t = np.linspace(0, 1, 9)
    out = foot + (radius - foot) * t + (belly - radius) * np.sin(math.pi * t)
    outer = [(0.0, 0.0), (foot * 0.93, 0.0), *((float(r), float(0.003 + h * (height - 0.003))) for r, h in zip(out, t, strict=True))]
    inner = [(float(r) - wall, float(0.008 + h * (height - 0.008))) for r, h in zip(out[::-1], t[::-1], strict=True)]
    solids = [
        turned([*outer, inner[0]], (0, 0, 0), body, sides=48),
        turned([*inner, (0.0, 0.008)], (0, 0, 0), inside, sides=48),
    ]
    if maybe(rng, 0.4):
        low = rng.uniform(0.15, 0.6)
        high = low + rng.uniform(0.08, 0.3)
        band = [(float(np.interp(h, t, out)) + 0.0006, float(0.003 + h * (height - 0.003))) for h in np.linspace(low, high, 6)]
        solids.append(turned(band, (0, 0, 0), glaze(rng), sides=48))
    angle = np.linspace(-0.5, 0.5, 24) * math.pi
    reach, half, power = rng.uniform(0.024, 0.036), height * rng.uniform(0.25, 0.33), rng.uniform(0.6, 1.0)
    up = height * 0.52 + half * np.sign(angle) * np.abs(np.sin(angle)) ** power
    side = np.interp(up / height, t, out) - wall / 2  # where the ear grows out of the wall
    loop = np.stack([side + reach * np.cos(angle) ** power, up, np.zeros(24)], axis=1)
    solids.append(tube(loop, rng.uniform(0.004, 0.006), body))
    return solids


def sofa(rng: Rng) -> list[Solid]:
    seats = int(rng.integers(1, 4))
    each, depth = rng.uniform(0.55, 0.72), rng.uniform(0.75, 0.95)
    arm, low, seat = rng.uniform(0.12, 0.24), rng.uniform(0.06, 0.15), rng.uniform(0.4, 0.46)
    cloth, inner = fabric(rng), seats * each
    width = inner + 2 * arm
    thick, back, armed = rng.uniform(0.12, 0.18), rng.uniform(0.34, 0.5), rng.uniform(0.12, 0.26)
    stand = pick(rng, (wood(rng), BLACK, STEEL))
    solids = legs(rng, width - 0.08, depth - 0.08, low + 0.02, 0.05, stand)
    solids.append(cushion((width, seat - thick - low + 0.02, depth), (0, low, 0), 0.03, cloth))
    solids += [
        cushion((arm, seat + armed - low, depth), (side * (width - arm) / 2, low, 0), min(arm / 2.2, 0.07), cloth) for side in (-1, 1)
    ]
    solids.append(cushion((width - 0.02, seat + back - low, 0.2), (0, low, -depth / 2 + 0.1), 0.07, cloth))
    solids_of_seat = pick(rng, (seats, seats, 1))
    for i in range(solids_of_seat):
        part = inner / solids_of_seat
        x = (i - (solids_of_seat - 1) / 2) * part
        solids.append(cushion((part - 0.01, thick, depth - 0.18), (x, seat - thick, 0.1), 0.05, cloth))
        rest = cushion((part - 0.02, back + 0.02, 0.16), (0, 0, 0), 0.07, cloth)
        solids.append(rest.turned("x", -10).moved((x, seat - 0.02, -depth / 2 + 0.27)))
    if maybe(rng, 0.5):
        pillow = cushion((0.38, 0.36, 0.13), (0, 0, 0), 0.06, fabric(rng))
        for side in (-1, 1)[: int(rng.integers(1, 3))]:
            solids.append(
                pillow.turned("x", -18).turned("y", -12 * side).moved((side * (inner / 2 - 0.22), seat - 0.01, -depth / 2 + 0.42))
            )
    return solids


def table(rng: Rng) -> list[Solid]:
    low = maybe(rng, 0.3)
    height = rng.uniform(0.32, 0.45) if low else rng.uniform(0.7, 0.77)
    timber, thick = wood(rng), rng.uniform(0.025, 0.05)
    stand = pick(rng, (timber, frame(rng)))
    under = height - thick
    if maybe(rng, 0.45):
        radius, squash = rng.uniform(0.35, 0.65), pick(rng, (1.0, 1.0, rng.uniform(0.6, 0.8)))
        solids = [disc(radius, thick, (0, under, 0), timber, sides=56, squash=squash)]
        if maybe(rng, 0.6):
            foot = radius * rng.uniform(0.45, 0.65)
            stem = rng.uniform(0.03, 0.06)
            line = [
                (0, 0),
                (foot, 0),
                (foot, 0.02),
                (stem * 1.3, 0.07),
                (stem, 0.2 * under),
                (stem, 0.85 * under),
                (stem * 2, under),
                (0, under),
            ]
            return [*solids, turned(line, (0, 0, 0), stand)]
        return solids + legs(rng, radius * 1.4, radius * 1.4 * squash, under, rng.uniform(0.05, 0.07), stand)
    width, depth = rng.uniform(0.8, 1.9), rng.uniform(0.55, 0.95)
    leg = rng.uniform(0.05, 0.09)
    solids = [box((width, thick, depth), (0, under, 0), timber)]
    match rng.integers(4):
        case 0:  # trestles
            for side in (-1, 1):
                x = side * width * 0.34
                solids += [rod((x, 0, z * depth * 0.42), (x, under, z * depth * 0.2), leg * 0.4, leg * 0.4, stand) for z in (-1, 1)]
                solids.append(box((leg, leg * 0.7, depth * 0.6), (x, under - leg * 0.7, 0), stand))
            solids.append(box((width * 0.68, leg * 0.6, leg * 0.6), (0, under * 0.4, 0), stand))
        case _:
            solids += legs(rng, width - 0.06, depth - 0.06, under, leg, stand)
            if maybe(rng, 0.6):
                solids += [box((width - 0.14, 0.08, 0.02), (0, under - 0.08, z * (depth / 2 - 0.07)), timber) for z in (-1, 1)]
                solids += [box((0.02, 0.08, depth - 0.14), (x * (width / 2 - 0.07), under - 0.08, 0), timber) for x in (-1, 1)]
    if low and maybe(rng, 0.5):
        solids.append(box((width - 0.12, 0.02, depth - 0.12), (0, under * 0.3, 0), timber))
    return solids


def vase(rng: Rng) -> list[Solid]:
    height, radius = rng.uniform(0.18, 0.4), rng.uniform(0.06, 0.11)
    body = glaze(rng)
    knots = radius * np.array(
        [rng.uniform(0.45, 0.8), rng.uniform(0.7, 1.0), 1.0, rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.5), rng.uniform(0.4, 0.7)]
    )
    t = np.linspace(0, 1, 28)
    where = np.array([0, 0.2, rng.uniform(0.35, 0.55), 0.7, 0.87, 1.0])
    line = np.interp(t, where, knots)
    for _ in range(6):  # from a polygon to a curve
        line[1:-1] = (line[:-2] + 2 * line[1:-1] + line[2:]) / 4
    outer = [(0.0, 0.0), *((float(r), float(h)) for r, h in zip(line, t * height, strict=True))]
    inner = [(max(float(r) - 0.006, 0.004), float(h)) for r, h in zip(line[:8:-1], t[:8:-1] * height, strict=True)]
    solids = [turned([*outer, *inner, (0.0, inner[-1][1])], (0, 0, 0), body, sides=48)]
    if maybe(rng, 0.5):
        for turn in np.arange(int(rng.integers(5, 11))) * 137.5:  # as leaves are on a stem
            tall, lean = rng.uniform(0.5, 0.95) * height, rng.uniform(10, 45)
            bow = np.linspace(0, 1, 7)
            stem = np.stack([0 * bow, tall * bow, tall * math.tan(math.radians(lean)) * 0.6 * bow**2], axis=1)
            end = (0.0, float(stem[-1, 1]), float(stem[-1, 2]))
            blade = turned([(0, 0), (0.025, 0.035), (0.03, 0.065), (0, 0.13)], (0, -0.01, 0), LEAF, sides=16, squash=0.15)
            solids += [
                part.turned("y", float(turn)).moved((0, height * 0.9, 0))
                for part in (tube(stem, 0.002, LEAF, sides=6), blade.turned("x", lean).moved(end))
            ]
    return solids


KINDS: Final[dict[str, Callable[[Rng], list[Solid]]]] = {
    "bed": bed, "bench": bench, "bookshelf": bookshelf, "bottle": bottle, "chair": chair, "desk": desk,
    "lamp": lamp, "monitor": monitor, "mug": mug, "sofa": sofa, "table": table, "vase": vase,
}  # fmt: skip
"""Every kind and its maker. The order is part of what an index means."""
