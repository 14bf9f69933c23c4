"""Makes a mailbox: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def mailbox(rng: Rng) -> Thing:
    return designed(rng, (_post_mailbox, _post_mailbox, _post_mailbox, _street_mailbox, _pillar_mailbox, _wall_mailbox, _cluster_mailbox))


def _post_mailbox(rng: Rng) -> Thing:
    """A box with a round, pitched or flat top on a post, its door to the front."""
    paint = pick(rng, (metal(rng, pick(rng, PAINTS)), metal(rng, "black"), wood(rng), plastic(rng)))
    second = metal(rng, pick(rng, ("red", "red", "yellow", "white")))
    width, depth, form = rng.uniform(0.16, 0.28), rng.uniform(0.4, 0.58), int(rng.integers(4))
    wall, lift = width * rng.uniform(0.4, 0.7), rng.uniform(0.75, 1.1)
    if form < 2:
        a = np.linspace(0, math.pi, 15)
        line = [(-width / 2, 0.0), (width / 2, 0.0), *((width / 2 * math.cos(b), wall + width / 2 * math.sin(b)) for b in a)]
    elif form == 2:
        line = [(-width / 2, 0.0), (width / 2, 0.0), (width / 2, wall * 1.3), (0.0, wall * 1.3 + width * 0.4), (-width / 2, wall * 1.3)]
    else:
        line = rounded(width, 0, wall * 2, width * 0.15)
    top = max(y for _, y in line)
    shell = [slab(line, depth, paint)]
    inset = [(x * 0.96, 0.006 + y * 0.965) for x, y in line]
    outer = [(x * 1.06, -0.008 + y * 1.05) for x, y in line]
    fall = maybe(rng, 0.2)
    shell.append(slab(outer, 0.03, paint, bevel=0.006).moved((0, 0, depth / 2 - 0.02)))
    shell.append(slab(outer, 0.02, paint, bevel=0.005).moved((0, 0, -depth / 2)))
    if fall:  # the door hangs open, the inside is dark
        shell.append(slab(inset, 0.01, BLACK).moved((0, 0, depth / 2)))
        shell.append(slab(inset, 0.012, paint, bevel=0.003).turned("x", 100).moved((0, 0, depth / 2 + 0.01)).named("door"))
    else:
        shell.append(slab(inset, 0.016, pick(rng, (paint, paint, second)), bevel=0.005).moved((0, 0, depth / 2 + 0.006)).named("door"))
        path = [(-0.025, 0, 0), (-0.025, 0, 0.03), (0.025, 0, 0.03), (0.025, 0, 0)]
        shell.append(tube(np.array(path), 0.006, STEEL, sides=8).moved((0, top * 0.78, depth / 2)).named("handle"))
    if form == 2:
        s = math.hypot(0.5, 0.4)
        roof = second if maybe(rng, 0.5) else wood(rng, "brown")
        for k in (-1, 1):
            board = cushion((width * s * 1.25, 0.018, depth * 1.12), (0, 0, 0), 0.006, roof).turned("z", -k * math.degrees(math.atan(0.8)))
            shell.append(board.moved((k * width * 0.29, top - width * 0.225, 0.01)).named("roof"))
    flag = maybe(rng, 0.75)
    if flag:
        up, x = maybe(rng, 0.5), width / 2 + 0.012
        arm = [box((0.008, 0.2, 0.018), (0, -0.02, 0), second), cushion((0.01, 0.07, 0.1), (0, 0.14, 0.04), 0.004, second)]
        arm.append(dowel((-0.015, 0, 0), (0.012, 0, 0), 0.014, STEEL, sides=10))
        shell += named("flag", [(solid if up else solid.turned("x", -90)).moved((x, wall * 0.75, depth * 0.1)) for solid in arm])
    boxes = pick(rng, (1, 1, 1, 2))
    solids = [solid.moved(((i - (boxes - 1) / 2) * width * 1.5, lift, 0)) for i in range(boxes) for solid in shell]
    timber, tray = pick(rng, (wood(rng), wood(rng, "brown"), metal(rng))), width * (1.5 * boxes - 0.4)
    solids += named("post", [box((tray + 0.1, 0.04, depth * 0.8), (0, lift - 0.04, 0), timber)] if boxes == 2 else [])
    if maybe(rng, 0.15):
        tube_line = [(0.055 * math.cos(b), 0.055 * math.sin(b)) for b in np.linspace(0, 2 * math.pi, 20, endpoint=False)]
        solids.append(slab(tube_line, depth * 0.9, second).moved((0, lift - 0.1, 0.0)).named("holder"))
        solids.append(slab([(x * 0.8, y * 0.8) for x, y in tube_line], 0.01, BLACK).moved((0, lift - 0.1, depth * 0.45)).named("holder"))
    post = int(rng.integers(5))
    if post == 0:
        solids.append(box((0.09, lift - 0.02, 0.09), (0, 0, -0.05), timber).named("post"))
        solids.append(cushion((width * 0.9, 0.03, depth * 0.85), (0, lift - 0.035, 0), 0.008, timber).named("post"))
        solids.append(dowel((0, lift * 0.62, -0.05), (0, lift - 0.03, depth * 0.33), 0.03, timber, sides=4).named("post"))
    elif post == 1:  # the post goes up behind, the box sits on an arm
        solids.append(box((0.1, lift + top + 0.25, 0.1), (0, 0, -depth / 2 - 0.07), timber).named("post"))
        solids.append(box((0.08, 0.08, depth * 1.15), (0, lift - 0.08, -0.02), timber).named("post"))
        solids.append(dowel((0, lift * 0.6, -depth / 2 - 0.05), (0, lift - 0.05, depth * 0.2), 0.035, timber, sides=4).named("post"))
        profile = [(0, 0), (0.075, 0), (0.075, 0.02), (0.03, 0.05), (0.045, 0.08), (0, 0.12)]
        solids.append(turned(profile, (0, lift + top + 0.25, -depth / 2 - 0.07), timber, sides=16).named("post"))
    elif post == 2:
        solids += named("post", [dowel((0, 0, 0), (0, lift, 0), 0.03, timber), disc(0.12, 0.02, (0, 0, 0), timber)])
        solids.append(disc(0.07, 0.015, (0, lift - 0.015, 0), timber).named("post"))
    elif post == 3:
        line = [(0, 0), (0.11, 0), (0.11, 0.06), (0.06, 0.12), (0.045, 0.2), (0.04, lift - 0.2), (0.055, lift - 0.15), (0.04, lift - 0.1)]
        line += [(0.08, lift), (0, lift)]
        solids.append(lathe(line, timber, sides=20).named("post"))
    else:
        brick = stone(rng, pick(rng, ("grey", "red" if maybe(rng, 0.5) else "beige")))
        wide = max(width * 1.7, tray + 0.1)
        solids.append(box((wide, lift, depth * 0.85), (0, 0, -0.02), brick).named("post"))
        solids.append(cushion((wide * 1.12, 0.06, depth * 0.96), (0, lift - 0.05, -0.02), 0.012, stone(rng)).named("post"))
        solids.append(box((wide * 1.1, 0.08, depth * 0.94), (0, 0, -0.02), brick).named("post"))
    said = parts_of(("flag", boxes * flag), ("door", boxes), ("post", int(post != 4)))
    return Thing.of(grounded(solids), paint, ("round",) if form < 2 else ("open",) if fall else (), said)


def _street_mailbox(rng: Rng) -> Thing:
    """A large collection box with a rounded top, on four legs or on the ground."""
    paint = metal(rng, pick(rng, ("blue", "blue", "red", "green", "yellow", "grey", "white")))
    width, depth, tall = rng.uniform(0.45, 0.65), rng.uniform(0.42, 0.6), rng.uniform(0.7, 1.05)
    lift, low = (rng.uniform(0.15, 0.28), True) if maybe(rng, 0.65) else (0.0, False)
    form, a = int(rng.integers(3)), np.linspace(0, math.pi, 17)
    if form == 0:
        top = [(depth / 2 * math.cos(b), tall + depth / 2 * math.sin(b) * 0.8) for b in a]
    elif form == 1:
        top = [(depth / 2, tall), (depth * 0.42, tall + depth * 0.1), (-depth * 0.3, tall + depth * 0.45)]
        top.append((-depth / 2, tall + depth * 0.42))
    else:
        top = [(depth / 2, tall), (0.0, tall + depth * 0.3), (-depth / 2, tall)]
    line = [(-depth / 2, 0.0), (depth / 2, 0.0), *top]
    solids = [slab(line, width, paint, bevel=0.02).turned("y", -90).moved((0, lift, 0))]
    if low:
        solids += named("leg", [cushion((0.05, lift + 0.03, 0.05), (x, 0, z), 0.01, paint) for x, z in four(width - 0.06, depth - 0.06)])
        solids += named("leg", [cushion((0.09, 0.02, 0.09), (x, 0, z), 0.006, paint) for x, z in four(width - 0.06, depth - 0.06)])
    else:
        solids.append(cushion((width + 0.05, 0.09, depth + 0.05), (0, 0, 0), 0.02, BLACK).named("base"))
    front, y = depth / 2, lift + tall
    solids.append(cushion((width * 0.8, 0.09, 0.04), (0, y - 0.13, front), 0.012, paint).named("slot"))
    solids.append(box((width * 0.68, 0.025, 0.03), (0, y - 0.105, front + 0.01), BLACK).named("slot"))
    path = [(-0.1, 0, 0), (-0.1, 0, 0.045), (0.1, 0, 0.045), (0.1, 0, 0)]
    solids.append(tube(np.array(path), 0.009, STEEL, sides=8).moved((0, y - 0.14, front)).named("handle"))
    solids.append(cushion((width * rng.uniform(0.5, 0.8), tall * 0.5, 0.03), (0, lift + tall * 0.12, front), 0.012, paint).named("door"))
    x, y = width * 0.15, lift + tall * 0.38
    solids.append(dowel((x, y, front), (x, y, front + 0.03), 0.018, STEEL, sides=12).named("door"))
    label = maybe(rng, 0.6)
    if label:
        at = (0, lift + tall * 0.68, front + 0.002)
        solids.append(box((width * 0.4, tall * 0.1, 0.012), at, pick(rng, (WHITE, metal(rng, "yellow")))))
    said = parts_of(("leg", 4 * low), ("slot", 1), ("label", int(label)))
    return Thing.of(grounded(solids), paint, ("round",) if form == 0 else ("square",), said)


def _pillar_mailbox(rng: Rng) -> Thing:
    """A round or modern square pillar with a slot."""
    paint = metal(rng, pick(rng, ("red", "red", "red", "green", "yellow", "blue", "black", "grey", "white")))
    tall, r, square = rng.uniform(1.1, 1.6), rng.uniform(0.19, 0.28), maybe(rng, 0.4)
    if square:
        wide, deep = r * 1.7, r * rng.uniform(1.2, 2.0)
        solids = [cushion((wide, tall, deep), (0, 0.02, 0), rng.uniform(0.008, 0.04), paint)]
        solids.append(box((wide * 0.9, 0.04, deep * 0.9), (0, 0, 0), BLACK).named("base"))
        front = deep / 2
        if maybe(rng, 0.5):
            solids.append(cushion((wide * 1.12, 0.05, deep * 1.12), (0, tall, 0), 0.015, pick(rng, (paint, BLACK, STEEL))).named("roof"))
        solids.append(cushion((wide * 0.75, tall * 0.28, 0.02), (0, tall * 0.42, front), 0.008, pick(rng, (paint, STEEL))).named("door"))
    else:
        cap = [(r * 1.14, tall), (r * 1.17, tall + 0.04), (r * 1.1, tall + 0.07), (r * 0.8, tall + 0.13), (r * 0.3, tall + 0.17)]
        foot = [(0, 0), (r * 1.15, 0), (r * 1.15, 0.14), (r, 0.18)]
        pillar, front = lathe([*foot, (r, tall * 0.93), (r * 1.06, tall * 0.95), *cap, (0, tall + 0.175)], paint, sides=36), r
        solids = [pillar.named("base", below=0.18).named("roof", above=tall * 0.93)]
        solids.append(lathe([(0, 0), (r * 1.16, 0), (r * 1.16, 0.12), (0, 0.12)], BLACK, sides=36).named("base"))
        if maybe(rng, 0.4):
            roof = turned([(0, 0), (r * 0.2, 0), (r * 0.25, 0.06), (r * 0.12, 0.12), (0, 0.14)], (0, tall + 0.16, 0), paint)
            solids.append(roof.named("roof"))
        a = np.linspace(-0.6, 0.6, 9)
        grid = np.array([[(math.sin(b) * r, y, math.cos(b) * r) for b in a] for y in (0.25, tall * 0.68)])
        solids.append(drape(grid * (1.03, 1, 1.03), grid * (0.98, 1, 0.98), paint).named("door"))
    slots = pick(rng, (1, 1, 2))
    for i in range(slots):
        y = tall * (0.82 - 0.08 * i)
        solids.append(cushion((r * 1.15, 0.07, 0.06), (0, y - 0.035, front - 0.012), 0.012, paint).named("slot"))
        solids.append(box((r * 0.95, 0.025, 0.03), (0, y - 0.012, front + 0.008), BLACK).named("slot"))
    label = maybe(rng, 0.6)
    solids += [box((r * 0.6, 0.13, 0.04), (0, tall * 0.55, front), WHITE)] if label else []
    return Thing.of(grounded(solids), paint, ("square",) if square else ("round",), parts_of(("slot", slots), ("label", int(label))))


def _wall_mailbox(rng: Rng) -> Thing:
    """Flat, to hang at a wall: with a lid, a slanted roof, a window, a holder for newspapers."""
    paint, second = pick(rng, (metal(rng, pick(rng, PAINTS)), metal(rng), wood(rng))), pick(rng, (STEEL, BLACK, BRASS))
    width, deep = rng.uniform(0.26, 0.42), rng.uniform(0.1, 0.16)
    tall, slope = width * pick(rng, (rng.uniform(0.7, 0.9), rng.uniform(1.1, 1.5))), rng.uniform(0.03, 0.1)
    bow, upright = rng.uniform(0, 0.04), maybe(rng, 0.35)
    side = [(-deep / 2, 0.0), (deep / 2 - 0.01, 0.0), (deep / 2 + bow, tall * 0.4), (deep / 2, tall), (-deep / 2, tall + slope)]
    solids = [slab(side, width, paint, bevel=0.006).turned("y", -90)]
    back, edge, lean = -deep / 2, deep / 2 + 0.025, slope / deep
    low = tall + slope - lean * (edge - back)
    lid = [(back, tall + slope), (edge, low), (edge, low + 0.015), (back, tall + slope + 0.02)]
    solids.append(slab(lid, width + 0.03, pick(rng, (paint, second)), bevel=0.004).turned("y", -90).named("lid"))
    front = deep / 2 + bow * 0.5
    solids.append(cushion((width * 0.75, 0.04, 0.02), (0, tall * 0.76, front), 0.006, second).named("slot"))
    solids.append(box((width * 0.66, 0.016, 0.014), (0, tall * 0.772, front + 0.006), BLACK).named("slot"))
    windows, y, z = pick(rng, (0, 0, 3)), tall * 0.2, front
    places = [(i - 1) * width * 0.22 for i in range(windows)]
    solids += named("window", [dowel((x, y, z - 0.02), (x, y, z + 0.012), 0.018, BLACK, sides=14) for x in places])
    if maybe(rng, 0.6):
        handle = rod((0, tall * 0.5, front), (0, tall * 0.5, front + bow * 0.4 + 0.012), 0.016, 0.014, second, sides=14)
        solids.append(handle.named("handle"))
    holder = maybe(rng, 0.45)
    if holder:
        for x in (-width * 0.3, width * 0.3):
            path = [(x, 0.02, -deep * 0.3), (x, -0.07, -deep * 0.25), (x, -0.09, 0.02), (x, -0.06, deep * 0.5), (x, -0.01, deep * 0.55)]
            solids.append(tube(bent_by(path, 16), 0.008, second, sides=8).named("holder"))
        papers = [dowel((-width * 0.55, -0.045, 0.02), (width * 0.55, -0.045, 0.02), 0.035, WHITE, sides=14)] if maybe(rng, 0.5) else []
        solids += named("paper", papers)
    if upright:
        solids = [solid.moved((0, 1.0, 0)) for solid in solids]
        post, feet = pick(rng, (STEEL, BLACK, paint)), pick(rng, (1, 2))
        for x in ((0.0,), (-width * 0.55, width * 0.55))[feet - 1]:
            solids.append(box((0.05, 1.0 + (tall * 0.95 if feet == 2 else 0.03), 0.05), (x, 0, -deep * 0.2), post).named("post"))
            solids.append(box((0.14, 0.015, 0.14), (x, 0, -deep * 0.2), post).named("post"))
    flag = not upright and maybe(rng, 0.3)
    if flag:
        solids.append(box((0.008, 0.16, 0.016), (width / 2 + 0.012, tall * 0.6, 0), metal(rng, "red")).named("flag"))
        solids.append(cushion((0.01, 0.06, 0.08), (width / 2 + 0.012, tall * 0.6 + 0.11, 0.03), 0.004, metal(rng, "red")).named("flag"))
    said = parts_of(("newspaper holder", int(holder)), ("window", windows), ("flag", int(flag)), ("post", feet if upright else 0))
    return Thing.of(grounded(solids), paint, ("wide",) if tall < width else ("tall",), said)


def _cluster_mailbox(rng: Rng) -> Thing:
    """Many small doors in one case, for a block of flats."""
    paint, frame_paint = metal(rng, pick(rng, ("grey", "beige", "green", "black", "white", "brown", "blue"))), pick(rng, (STEEL, BLACK))
    rows, columns, deep = int(rng.integers(2, 6)), int(rng.integers(2, 4)), rng.uniform(0.3, 0.45)
    cell = (rng.uniform(0.26, 0.32), rng.uniform(0.13, 0.2))
    width, tall, lift = cell[0] * columns + 0.06, cell[1] * rows + 0.06, rng.uniform(0.4, 0.75)
    solids = [cushion((width, tall, deep), (0, lift, 0), 0.015, paint)]
    roof = cushion((width + 0.06, 0.05, deep + 0.08), (0, lift + tall - 0.01, 0.01), 0.015, pick(rng, (paint, frame_paint)))
    solids.append(roof.named("roof"))
    for r in range(rows):
        for c in range(columns):
            x, y, z = (c - (columns - 1) / 2) * cell[0], lift + 0.03 + r * cell[1], deep / 2 + 0.004
            solids.append(cushion((cell[0] - 0.02, cell[1] - 0.02, 0.02), (x, y + 0.01, z), 0.006, paint).named("door"))
            solids.append(box((cell[0] * 0.6, 0.015, 0.012), (x, y + cell[1] * 0.74, z + 0.006), BLACK).named("slot"))
            side, middle = x + cell[0] * 0.34, y + cell[1] * 0.4
            solids.append(rod((side, middle, z), (side, middle, z + 0.02), 0.012, 0.01, frame_paint, sides=10).named("handle"))
    if maybe(rng, 0.5):
        solids.append(box((width * 0.3, lift, deep * 0.45), (0, 0, 0), frame_paint).named("post"))
        solids.append(box((width * 0.6, 0.03, deep * 0.9), (0, 0, 0), frame_paint).named("post"))
    else:
        solids += named("post", [box((0.06, lift + tall, 0.06), (s * (width / 2 + 0.03), 0, 0), frame_paint) for s in (-1, 1)])
    return Thing.of(grounded(solids), paint, ("square",), parts_of(("door", rows * columns), ("slot", rows * columns)))
