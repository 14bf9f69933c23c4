"""Makes a chair: its designs, proportions and parts, and the words for them. See `thing`."""

import math
from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def _back(rng: Rng, width: float, tall: float, timber: Material, soft: Material) -> tuple[list[Solid], list[Parts], bool]:
    """A chair's back that stands on Y = 0; words for what it holds; whether it is padded."""
    bow, thick = rng.uniform(0.0, 0.05), rng.uniform(0.022, 0.034)
    half = width / 2 - thick / 2
    posts = [rod((s * half, -0.04, bow), (s * half, tall, bow), thick * 0.6, thick * 0.45, timber) for s in (-1, 1)]
    crest = backrest(width + pick(rng, (0.0, 0.03)), tall * 0.14, bow, (0, tall * 0.88, 0.008), 0.02, timber, top=pick(rng, (0, 0.04)))
    match rng.integers(9):
        case 0:
            count = int(rng.integers(2, 8))
            where, slim = np.linspace(-1, 1, count + 2)[1:-1], min(0.05, 0.5 * width / count)
            bars = [box((slim, tall * 0.92, 0.012), (float(u) * half, -0.02, bow * float(u) ** 2 - 0.004), timber) for u in where]
            return [*posts, crest, *bars], [Parts("bar", count)], False
        case 1:
            count = int(rng.integers(2, 6))
            each = tall / count
            rungs = [backrest(width, each * 0.45, bow, (0, (i + 0.5) * each, 0.006), 0.014, timber, top=each * 0.12) for i in range(count)]
            return [*posts, *rungs], [Parts("rung", count)], False
        case 2:
            low = rng.uniform(0.0, 0.35) * tall
            panel = backrest(width + 0.01, tall - low, bow + 0.02, (0, low, 0.012 - 0.02), 0.016, timber, top=pick(rng, (0, 0.05)))
            return ([*posts, panel] if low else [panel]), [], False
        case 3:
            low = rng.uniform(0.1, 0.3) * tall
            pad = (
                pad_of(width * 0.9, (tall - low) * 0.96, 0.05, (0, 0, 0), soft, 0.25)
                .turned("x", 90)
                .moved((0, (tall + low) / 2, bow - 0.01))
            )
            board = box((width * 0.96, tall - low, 0.018), (0, low, bow - 0.018), timber)
            return [*posts, board, pad], [], True
        case 4:  # a splat cut like a vase
            heights = np.linspace(0, 1, 15)
            side = width * (0.14 + 0.05 * np.sin(heights * rng.uniform(6, 10) + rng.uniform(0, 3)))
            line = np.concatenate([np.stack([side, heights], 1), np.stack([-side, heights], 1)[::-1]]) * (1, tall * 0.95)
            return [*posts, crest, plate(line, 0.014, timber, edge=0.003)], [], False
        case 5:
            angle, lift = np.linspace(0, math.pi, 20), rng.uniform(0.5, 1.0)
            arch = np.stack([np.cos(angle) * half, np.sin(angle) ** lift * tall, 0 * angle], axis=1)
            count = int(rng.integers(3, 7))
            solids = [tube(arch, thick / 2, timber)]
            for u in np.linspace(-1, 1, count + 2)[1:-1]:
                end = (float(u) * half, tall * float(1 - u**2) ** (lift / 2), 0)
                solids.append(dowel((float(u) * half * 0.8, -0.02, 0), end, 0.007, timber))
            return solids, [Parts("bar", count)], False
        case 6:  # an oval medallion
            low, up, angle = tall * 0.25, tall * 0.38, np.linspace(0, 2 * math.pi, 33)[:-1]
            oval = np.stack([np.cos(angle) * half, np.sin(angle) * up], axis=1)
            pad = pad_of(1.7 * half, 1.7 * up, 0.06, (0, 0, 0), soft, 0.98).turned("x", 90)
            stems = [dowel((s * half * 0.6, -0.03, 0), (s * half * 0.75, low + up * 0.4, 0), thick * 0.5, timber) for s in (-1, 1)]
            return [*stems, *placed([plate(oval, 0.035, timber), pad], (0, low + up, 0))], [], True
        case 7:
            cross = [dowel((-s * half, 0.1 * tall, bow), (s * half, 0.86 * tall, bow), 0.009, timber) for s in (-1, 1)]
            return [*posts, crest, *cross, box((2 * half, 0.03, 0.02), (0, 0.07 * tall, bow - 0.01), timber)], [], False
        case _:  # upholstered all over
            deep = rng.uniform(0.05, 0.09)
            slab = cushion((width, tall + 0.05, deep), (0, -0.05, 0), 0.03, soft)
            nails = [ball(0.008, (x * width * 0.25, tall * y, deep / 2), soft, rings=6, sides=10) for x in (-1, 0, 1) for y in (0.45, 0.7)]
            return [slab, *(nails if maybe(rng, 0.3) else ())], [], True


def _armrests(rng: Rng, width: float, depth: float, seat: float, stand: Material, rest: Material) -> list[Solid]:
    """A pair on a seat of this width, from its back edge forward."""
    up, solids = seat + rng.uniform(0.18, 0.25), []
    form, ahead = rng.integers(4), depth * rng.uniform(0.25, 0.42)
    for s in (-1, 1):
        x, hind = s * (width / 2 + 0.012), -depth / 2 - 0.02
        match form:
            case 0:
                solids.append(soft_board(0.05, ahead - hind + 0.04, 0.024, (x, up - 0.01, (ahead + hind) / 2 + 0.02), rest, 0.7))
                solids.append(rod((x, seat - 0.03, ahead - 0.03), (x, up, ahead - 0.02), 0.016, 0.013, stand))
            case 1:
                points = [(x, up + 0.04, hind), (x * 1.1, up, 0), (x * 1.12, up - 0.01, ahead), (x, up - 0.1, ahead)]
                points += [(x, seat - 0.02, ahead * 0.6)]
                solids.append(piped(points, 0.015, rest, bend=1))
            case 2:
                points = [(x, seat - 0.03, hind + 0.06), (x, up, hind + 0.06), (x, up, ahead), (x, seat - 0.03, ahead)]
                solids.append(piped(points, 0.012, stand))
                solids.append(cushion((0.045, 0.03, (ahead - hind) * 0.7), (x, up - 0.005, (ahead + hind) / 2 + 0.03), 0.012, rest))
            case _:
                rings = [closed_loop(0.04, ahead - hind, seat - 0.04, (ahead + hind) / 2, x)]
                rings += [closed_loop(0.04, ahead - hind, up, (ahead + hind) / 2, x)]
                solids.append(layered(rings, rest))
    return named("arm", solids)


def _joinery(rng: Rng) -> Thing:
    """The chair of the dining room: four legs, a seat, one of many backs."""
    width, depth, height = rng.uniform(0.38, 0.53), rng.uniform(0.37, 0.48), rng.uniform(0.41, 0.48)
    timber, soft = pick(rng, (wood, wood, wood, metal, plastic))(rng), softened(rng)
    solids, feet = seat_legs(rng, width, depth, height, rng.uniform(0.028, 0.045), timber)
    back, parts, padded = _back(rng, width - 0.01, rng.uniform(0.34, 0.68), timber, soft)
    corner = pick(rng, (0.08, 0.2, 0.3, 0.98))
    square = 0.15 if corner > 0.9 else corner
    flat = maybe(rng, 0.45) and not padded
    if flat:
        seat = soft_board(width + 0.02, depth + 0.02, rng.uniform(0.018, 0.045), (0, height - 0.005, 0), timber, corner, square)
        solids.append(seat.named("seat"))
    else:
        solids += named("seat", [box((width - 0.02, 0.06, depth - 0.02), (0, height - 0.06, 0), timber)] if corner < 0.5 else [])
        solids.append(pad_of(width + 0.02, depth + 0.02, rng.uniform(0.05, 0.1), (0, height - 0.02, 0), soft, corner, square).named("seat"))
    lift = height + 0.01
    solids += named("back", placed(back, (0, lift, -depth / 2 + 0.025), lean=rng.uniform(3, 14)))
    if maybe(rng, 0.3):
        solids += _armrests(rng, width, depth, height, timber, timber)
        parts.append(Parts("armrest", 2))
    if maybe(rng, 0.08):
        z = np.linspace(-0.55, 0.5, 9)
        for x in (-1, 1):
            path = np.stack([np.full(9, x * (width / 2 - 0.02)), 0.016 + 0.35 * (z - 0.02) ** 2, z], axis=1)
            solids.append(piped(path, 0.016, timber, bend=0).moved((0, -0.03, 0)).named("rocker"))
        solids = placed(solids, (0, 0.03, 0))
        parts.append(Parts("rocker", 2))
    tall = ("tall",) if max(s.vertices[:, 1].max() for s in solids) > 1.06 else ()
    return Thing.of(solids, soft if padded else timber, (*(() if flat else ("padded",)), *tall), (feet, *parts))


def _windsor(rng: Rng) -> Thing:
    width, depth, height, timber = rng.uniform(0.42, 0.54), rng.uniform(0.4, 0.48), rng.uniform(0.41, 0.46), wood(rng)
    solids: list[Solid] = [soft_board(width, depth, 0.04, (0, height - 0.03, 0), timber, 0.7, 0.95).named("seat")]
    feet = []
    for x, z in four(width * 0.55, depth * 0.55):
        foot, top = np.array((x * 1.75, 0.0, z * 1.7)), np.array((x, height, z))
        knots = [foot + (top - foot) * t for t in (0, 0.3, 0.4, 0.65, 1)]
        for a, b, r, q in zip(knots, knots[1:], (0.011, 0.019, 0.013, 0.021), (0.019, 0.013, 0.021, 0.013), strict=False):
            solids.append(rod(tuple(a), tuple(b), r, q, timber, sides=10).named("leg"))
        feet.append(knots[2])
    solids += named("leg", [dowel(tuple(feet[a]), tuple(feet[b]), 0.011, timber, sides=10) for a, b in ((0, 1), (2, 3))])
    solids.append(dowel(tuple((feet[0] + feet[1]) / 2), tuple((feet[2] + feet[3]) / 2), 0.011, timber, sides=10).named("leg"))
    tall, count = rng.uniform(0.42, 0.68), int(rng.integers(5, 10))
    lean, comb, us, angle = 0.18 * tall, maybe(rng, 0.4), np.linspace(-1, 1, count), np.linspace(0, math.pi, 24)
    hind, arms = -depth * 0.4, maybe(rng, 0.5)
    for u in map(float, us):
        peak = tall if comb else tall * float(max(0.0, 1 - (0.92 * u) ** 2)) ** 0.4
        end = (u * width * (0.5 if comb else 0.46), height + peak, hind + 0.09 * u**2 - lean * peak / tall)
        solids.append(rod((u * width * 0.33, height, hind + 0.09 * u**2), end, 0.008, 0.006, timber, sides=8).named("back"))
    if comb:
        back = backrest(width * 1.08, 0.07, 0.09, (0, height + tall - 0.01, hind - lean + 0.008), 0.02, timber, top=0.03)
        solids.append(back.named("back"))
    else:
        up, c = np.sin(angle) ** 0.75 * tall, np.cos(angle)
        back = piped(np.stack([c * width * 0.46, height + up, hind + 0.09 * c**2 - lean * up / tall], 1), 0.012, timber, bend=0)
        solids.append(back.named("back"))
    if arms:
        turn = np.linspace(-0.15, math.pi + 0.15, 24)
        points = [np.cos(turn) * width * 0.54, np.full(24, height + 0.22), depth * 0.1 - np.sin(turn) * (depth * 0.5 + lean * 0.35)]
        rail = np.stack(points, 1)
        solids.append(piped(rail, 0.016, timber, bend=0).named("arm"))
        for s in (-1, 1):
            for z in (-0.02, 0.12):
                arm = dowel((s * width * 0.4, height, z - 0.02), (s * width * 0.535, height + 0.22, z), 0.008, timber, sides=8)
                solids.append(arm.named("arm"))
    parts = (Parts("bar", count), *((Parts("armrest", 2),) if arms else ()))
    return Thing.of(solids, timber, ("curved",), parts)


def _swivel(rng: Rng) -> Thing:
    """The chair of the office."""
    width, depth, height = rng.uniform(0.46, 0.56), rng.uniform(0.44, 0.52), rng.uniform(0.42, 0.52)
    soft, stand = pick(rng, (fabric, leather))(rng), pick(rng, (BLACK, STEEL, WHITE))
    solids, parts = star(rng, rng.uniform(0.28, 0.34), height - 0.02, stand, wheels=maybe(rng, 0.85))
    solids.append(pad_of(width, depth, rng.uniform(0.07, 0.12), (0, height - 0.03, 0), soft, 0.45, 0.35).named("seat"))
    solids.append(cushion((0.2, 0.03, 0.24), (0, height - 0.06, 0), 0.01, BLACK).named("seat"))
    tall, lean, hind = rng.uniform(0.38, 0.72), rng.uniform(4, 14), -depth / 2 + 0.02
    back: list[Solid]
    match rng.integers(4):
        case 0:  # a mesh in a frame
            back = [backrest(width * 0.9, tall, 0.06, (0, 0.1, -0.03), 0.012, soft, top=0.03)]
            for s in (-1, 1):
                path = np.stack([np.full(8, s * width * 0.45), np.linspace(0.1, 0.1 + tall, 8), np.full(8, 0.025)], 1)
                back.append(tube(path, 0.014, stand))
        case 1:  # leather in rolls across
            rolls = max(3, round(tall / 0.14))
            back = [cushion((width * 0.94, tall / rolls + 0.006, 0.09), (0, 0.06 + i * tall / rolls, 0), 0.035, soft) for i in range(rolls)]
        case 2:
            back = [
                pad_of(width * 0.88, tall, 0.09, (0, 0, 0), soft, pick(rng, (0.3, 0.6, 0.95)), 0.4)
                .turned("x", -90)
                .moved((0, 0.1 + tall / 2, 0.03))
            ]
            back = [s.turned("y", 180) for s in back]
        case _:
            back = [backrest(width * 0.95, tall, 0.1, (0, 0.06, -0.05), 0.05, soft, top=0.05)]
    if maybe(rng, 0.3):
        headrests = [cushion((0.28, 0.15, 0.07), (0, tall + 0.14, 0), 0.032, soft), box((0.1, 0.12, 0.015), (0, tall + 0.05, -0.02), stand)]
        back += named("headrest", headrests)
        parts.append(Parts("headrest", 1))
    solids += named("back", placed(back, (0, height, hind), lean=lean))
    bends = [(0, height - 0.04, -0.05), (0, height - 0.04, hind - 0.12), (0, height + 0.06, hind - 0.12)]
    bends += [(0, height + tall * 0.5, hind - 0.09 - tall * 0.5 * math.tan(math.radians(lean)))]
    solids.append(piped(bends, 0.02, stand).named("back"))
    if maybe(rng, 0.65):
        high, form = height + rng.uniform(0.17, 0.23), rng.integers(3)
        for s in (-1, 1):
            x = s * (width / 2 + 0.035)
            if form < 2:
                solids.append(soft_board(0.075, 0.26, 0.03, (x, high, 0.02), BLACK if form else soft, 0.6).named("arm"))
                solids.append(box((0.03, high - height + 0.02, 0.06), (x, height - 0.015, 0.0), stand).named("arm"))
                solids.append(box((0.14, 0.02, 0.06), (x - s * 0.06, height - 0.025, 0.0), stand).named("arm"))
            else:
                loop = [(x - s * 0.05, height - 0.02, 0.12), (x, height + 0.02, 0.16), (x, high, 0.14), (x, high, -0.14)]
                loop += [(x, height + 0.02, -0.12), (x - s * 0.05, height - 0.02, -0.1)]
                solids.append(piped(loop, 0.018, stand).named("arm"))
        parts.append(Parts("armrest", 2))
    return Thing.of(solids, soft, ("padded", *(("tall",) if tall > 0.62 else ())), parts)


def _tubular(rng: Rng) -> Thing:
    """Seat and back on bent tube: cantilever or sled."""
    width, depth, height, tall = rng.uniform(0.42, 0.54), rng.uniform(0.42, 0.5), rng.uniform(0.42, 0.47), rng.uniform(0.33, 0.5)
    stand, soft = pick(rng, (STEEL, STEEL, BLACK, metal(rng))), pick(rng, (softened, wood, leather, plastic))(rng)
    arms, sled, front, hind, r = maybe(rng, 0.45), maybe(rng, 0.3), depth / 2, -depth / 2, 0.0125
    solids: list[Solid] = []
    top, high = (hind - 0.1, height + tall), height + 0.22
    for s in (-1, 1):
        x = s * width / 2
        rail = [(x, height + 0.01, front - 0.02), (x, height, hind), (x, top[1], top[0])]
        if sled:
            solids.append(piped([(x, height, front - 0.04), (x, r, front), (x, r, hind), (x, height, hind + 0.04)], r, stand).named("leg"))
            solids.append(piped(rail, r, stand).named("back", above=height + 0.03).named("leg"))
        else:
            solids.append(
                piped([(0, r, hind - 0.02), (x, r, hind - 0.02), (x, r, front), (x, height, front), *rail[1:]], r, stand)
                .named("back", above=height + 0.03)
                .named("leg")
            )
        if arms:
            solids.append(piped([(x, height - 0.02, front - 0.06), (x, high, front - 0.06), (x, high, hind - 0.04)], r, stand).named("arm"))
            solids.append(cushion((0.04, 0.025, depth * 0.6), (x, high + 0.005, 0), 0.01, pick(rng, (BLACK, soft))).named("arm"))
    some = [dowel((-width / 2, r, z), (width / 2, r, z), r, stand, sides=10) for z in (hind + 0.1, front - 0.1)] if sled else []
    solids += named("leg", some)
    padded, low = soft.substance in ("fabric", "leather") and maybe(rng, 0.6), pick(rng, (0.05, tall * 0.4))
    lean = math.degrees(math.atan2(hind - top[0], tall))
    if padded:
        solids.append(pad_of(width + 0.01, depth - 0.02, 0.07, (0, height - 0.01, 0), soft, 0.25).named("seat"))
        back = pad_of(width + 0.01, tall - low + 0.03, 0.06, (0, 0, -0.02), soft, 0.25).turned("x", 90).moved((0, (tall + low) / 2, 0))
    else:
        solids.append(soft_board(width + 0.025, depth - 0.03, 0.025, (0, height - 0.008, 0), soft, 0.25).named("seat"))
        back = backrest(width + 0.025, tall - low + 0.02, 0.015, (0, low, 0.008), 0.018, soft)
    solids += named("back", placed([back], (0, height, hind), lean=lean))
    return Thing.of(solids, soft, ("curved", *(("padded",) if padded else ())), (Parts("armrest", 2),) if arms else ())


def _shell(rng: Rng) -> Thing:
    """One bent shell for seat and back, on one of many stands; or, with no stand, bent down to the floor in one piece."""
    width, depth, height, tall = rng.uniform(0.44, 0.6), rng.uniform(0.42, 0.5), rng.uniform(0.4, 0.46), rng.uniform(0.3, 0.5)
    skin, stand = pick(rng, (plastic, plastic, wood, fabric, leather))(rng), frame(rng)
    arms, whole = rng.uniform(0.0, 0.24) if maybe(rng, 0.6) else 0.0, maybe(rng, 0.12)
    front, hind = depth / 2, -depth / 2 - 0.02
    side = [(front + 0.03, height - 0.05), (front - 0.02, height + 0.02), (0, height - 0.01), (hind + 0.05, height - 0.01)]
    side += [(hind - 0.02, height + 0.12), (hind - 0.1 - 0.1 * tall, height + tall)]
    if whole:
        side = [(front - 0.1, 0.02), (hind + 0.05, 0.01), (0.02, height * 0.4), (front + 0.02, height + 0.02), *side[2:]]
    line = smoothed(side)
    t = np.linspace(0, 1, len(line))
    u, v = np.meshgrid(np.linspace(-1, 1, 17), t, indexing="ij")
    bend = np.interp(t, (0, 0.35, 0.6, 1), (0.01, 0.03, 0.09, 0.04)) + arms * np.exp(-(((t - 0.55) / 0.2) ** 2))
    if whole:
        bend = 0.05 * np.clip(t * 3 - 1.2, 0, 1)
    waist = rng.uniform(0.85, 1.0)
    wide = width / 2 * np.interp(t, (0, 0.1, 0.5, 0.75, 1), (0.85, 1, 1, waist, 0.8 if not whole else 0.95))
    grid = np.stack([u * wide, line[:, 1] + bend * u**2, line[:, 0] + bend * u**2 * (t > 0.4) * np.clip(t * 3 - 1.2, 0, 1)], axis=2)
    grid[:, :, 1] -= 0.3 * (tall if not whole else 0.0) * 0.5 * np.abs(u) ** 4 * np.clip(v * 4 - 3, 0, 1)  # round shoulders
    shell = bent_board(grid, 0.018 if whole else rng.uniform(0.008, 0.025), skin)
    pattern = bent_board(np.stack([u, v, 0 * u], axis=2), 0.01, skin)  # the same faces laid out flat, where parts end at straight lines
    pattern = pattern.named("back", above=float(t[np.argmax(line[:, 1] > height + 0.05)]))
    if whole:
        pattern = pattern.named("leg", below=float(t[np.argmax(line[:, 1] > height - 0.06)]))
    elif arms > 0.12:
        pattern = pattern.named("seat", below=0.35).named("arm", above=0.74, axis="x").named("arm", below=-0.74, axis="x")
    solids = [replace(shell, part=pattern.named("seat").part)]
    parts: list[Parts] = [Parts("armrest", 2)] if arms > 0.12 and not whole else []
    under, pad = height - 0.024, not whole and maybe(rng, 0.4)
    solids += named("seat", [pad_of(width * 0.8, depth * 0.85, 0.05, (0, height - 0.01, 0), fabric(rng), 0.5)] if pad else [])
    match -1 if whole else rng.integers(5):
        case -1:
            solids = [s.moved((0, -float(s.vertices[:, 1].min()), 0)) for s in solids]
        case 0:  # tulip
            profile = [(0, 0), (0.25, 0), (0.24, 0.012), (0.1, 0.04), (0.03, 0.14), (0.028, under * 0.6), (0.07, under - 0.02)]
            profile += [(0.14, under), (0, under)]
            solids.append(lathe(profile, stand, sides=32).named("base", below=0.05).named("pole"))
        case 1:
            more, words = star(rng, rng.uniform(0.26, 0.32), under, stand, wheels=maybe(rng, 0.5))
            solids, parts = solids + more, parts + words
        case 2:  # wires
            for x, z in four(0.42, 0.4):
                solids += named("leg", [piped([(x, 0.008, z), (k * x, under, z * 0.3)], 0.007, stand, bend=0) for k in (0.2, 0.7)])
            corners = [(x, under * 0.35, z) for x, z in ((-0.14, -0.1), (0.14, 0.1), (0.14, -0.1), (-0.14, 0.1))]
            solids += named("leg", [dowel(corners[i], corners[i + 1], 0.006, stand, sides=8) for i in (0, 2)])
            solids.append(cushion((0.28, 0.014, 0.2), (0, under - 0.012, 0), 0.005, stand).named("leg"))
        case _:
            some = [rod((x * 1.1, 0, z), (x * 0.6, under + 0.005, z * 0.55), 0.011, 0.018, stand) for x, z in four(0.4, 0.4)]
            solids += named("leg", some)
            solids.append(cushion((0.3, 0.03, 0.26), (0, under - 0.025, 0), 0.01, stand).named("leg"))
            parts.append(Parts("leg", 4, stand))
    return Thing.of(solids, skin, ("curved", *(("padded",) if pad else ())), parts)


def _folding(rng: Rng) -> Thing:
    """Legs that cross: garden and director's chairs."""
    width, depth, height = rng.uniform(0.4, 0.52), rng.uniform(0.36, 0.44), rng.uniform(0.42, 0.48)
    stand, cloth = pick(rng, (wood, metal))(rng), pick(rng, (fabric, plastic, wood))(rng)
    tall, r, solids = rng.uniform(0.33, 0.42), 0.013, []
    director = maybe(rng, 0.4)
    if director:
        for z in (-depth / 2, depth / 2):
            solids += named("leg", [dowel((-s * width / 2, 0.012, z), (s * width / 2, height, z), r, stand) for s in (-1, 1)])
        for s in (-1, 1):
            x = s * width / 2
            solids.append(dowel((x, 0.013, -depth / 2), (x, 0.013, depth / 2), r, stand).named("leg"))
            solids.append(dowel((x, height, -depth / 2), (x, height, depth / 2), r, stand).named("leg"))
            solids += named("arm", [dowel((x, height, z), (x, height + 0.2, z), r, stand) for z in (-depth / 2, depth / 2)])
            solids += named("back", [dowel((x, height + 0.2, -depth / 2), (x, height + tall + 0.05, -depth / 2 - 0.04), r, stand)])
            solids.append(soft_board(0.055, depth + 0.08, 0.022, (x, height + 0.19, 0), stand, 0.4).named("arm"))
        u, v = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(1, -1, 3), indexing="ij")
        seat = bent_board(np.stack([u * width / 2, height + 0.01 - 0.025 * (1 - u**2), v * depth * 0.46], axis=2), 0.008, cloth)
        solids.append(seat.named("seat"))
        solids.append(backrest(width + 0.03, 0.17, 0.03, (0, height + tall - 0.12, -depth / 2 - 0.05), 0.008, cloth).named("back"))
    else:
        lean = 0.12 * (height + tall)
        for s in (-1, 1):
            x = s * width / 2
            solids.append(dowel((x, 0.012, depth * 0.55), (x, height + tall, -depth / 2 - lean), r, stand).named("leg"))
            solids.append(dowel((x - s * 0.03, 0.012, -depth * 0.62), (x - s * 0.03, height, depth * 0.36), r, stand).named("leg"))
        ways = ((0.09, depth * 0.42), (0.09, -depth * 0.47))
        solids += named("leg", [dowel((-width / 2, y, z), (width / 2, y, z), r * 0.8, stand) for y, z in ways])
        slats = int(rng.integers(1, 7))
        each = depth / slats
        for i in range(slats):
            seat = soft_board(width - 0.035, each * 0.88, 0.018, (0, height, -depth / 2 + (i + 0.5) * each + 0.02), cloth, 0.15)
            solids.append(seat.named("seat"))
        rails = int(rng.integers(1, 4))
        foot, top = np.array((0.012, depth * 0.55)), np.array((height + tall, -depth / 2 - lean))
        for i in range(rails):
            t = 0.97 - 0.12 * i - (0.1 if rails == 1 else 0.04)
            y, z = foot + (top - foot) * t
            solids += named(
                "back",
                placed([backrest(width, 0.16 if rails == 1 else 0.07, 0.0, (0, 0, 0.01), 0.014, cloth)], (0, float(y), float(z)), lean=30),
            )
    arms = (Parts("armrest", 2, stand),) if director else (Parts("leg", 4, stand),)
    return Thing.of(solids, cloth, ("folding",), arms)


def _armchair(rng: Rng) -> Thing:
    """Upholstered all over: club, wing or barrel."""
    width, depth, height = rng.uniform(0.48, 0.62), rng.uniform(0.5, 0.62), rng.uniform(0.38, 0.44)
    soft, timber, low = softened(rng), frame(rng), rng.uniform(0.08, 0.2)
    inner, arm, tall = pick(rng, (soft, soft, fabric(rng))), rng.uniform(0.08, 0.15), rng.uniform(0.36, 0.7)
    up, outer, form = rng.uniform(0.14, 0.22), width + 2 * arm, rng.integers(3)
    inset = 0.8 if form == 2 else 1.0
    solids, feet = seat_legs(rng, (outer - 0.04) * inset, (depth + 0.04) * inset, low + 0.02, 0.045, timber, brace=0)
    solids.append(pad_of(width + 0.02, depth, 0.14, (0, height - 0.12, 0.03), inner, 0.2).named("seat"))
    parts = [Parts("armrest", 2)]
    if form == 2:  # arms and back are one curve
        turn, t = np.meshgrid(np.linspace(math.pi * 1.06, -math.pi * 0.06, 33), np.linspace(0, 1, 6), indexing="ij")
        hug = np.maximum(0, np.sin(turn)) ** 2 * rng.uniform(0, 1)
        top, flare = height + up - low + hug * (tall - up), 1 + rng.uniform(0, 0.1) * t
        grid = np.stack([np.cos(turn) * (width / 2 + 0.01) * flare, low + t * top, 0.1 - np.sin(turn) * (depth / 2 + 0.1) * flare], axis=2)
        behind = 0.1 - 0.7 * (depth / 2 + 0.1)
        solids.append(bent_board(grid, arm * 0.7, soft).named("back", below=behind, axis="z").named("arm"))
        seat = layered([closed_loop(width + 0.06, depth + 0.04, y, 0.01, front=0.3, back=0.95) for y in (low, height - 0.1)], soft)
        solids.append(seat.named("seat"))
        style: tuple[str, ...] = ("padded", "round")
    else:
        base = cushion((outer, height - 0.1 - low, depth + 0.02), (0, low, 0), 0.02, soft)
        base = base.named("arm", above=width / 2, axis="x").named("arm", below=-width / 2, axis="x")  # its flanks are those of the arms
        solids.append(base.named("seat"))
        lean, thick = rng.uniform(6, 16), rng.uniform(0.1, 0.16)
        if maybe(rng, 0.5):
            back = cushion((width + 2 * arm * form, tall + height - low - 0.04, thick), (0, low - height + 0.02, 0), 0.05, soft)
        else:
            a, half = np.linspace(0, math.pi, 15), width / 2 + arm * form
            arch = np.stack([np.cos(a) * half, tall * 0.75 + np.sin(a) * tall * 0.25], axis=1)
            back = plate(np.concatenate([[(-half, low - height + 0.02), (half, low - height + 0.02)], arch]), thick, soft, edge=0.025)
        solids += named("back", placed([back], (0, height, -depth / 2 + 0.02), lean=lean))
        solids += named(
            "back",
            placed(
                [pad_of(width * 0.94, tall * 0.9, 0.13, (0, 0, 0), inner, 0.3).turned("x", 90).moved((0, tall * 0.45, 0))],
                (0, height, -depth / 2 + 0.06),
                lean=lean,
            ),
        )
        rolled = maybe(rng, 0.4)
        for s in (-1, 1):
            x = s * (width + arm) / 2
            solids.append(cushion((arm, height + up - low, depth + 0.04), (x, low, 0.02), arm * 0.4, soft).named("arm"))
            if rolled:
                end = (x + s * 0.01, height + up - 0.02, depth / 2 + 0.055)
                solids.append(dowel((x + s * 0.01, height + up - 0.02, -depth / 2), end, arm * 0.62, soft, sides=20).named("arm"))
        if form == 1 and tall > 0.5:  # wings
            knots = [(0, up - 0.04), (0.26, up - 0.02), (0.24, up + 0.12), (0.2, tall * 0.8), (0.08, tall + 0.02), (-0.05, tall)]
            line = smoothed(knots, 2)
            for s in (-1, 1):
                wing = plate(line, 0.07, soft, edge=0.015).turned("y", -90)
                solids += named("back", placed([wing], (s * (width / 2 + 0.03), height, -depth / 2 + 0.02), lean=lean * 0.7))
            parts.append(Parts("wing", 2))
        style = ("padded", *(("tall",) if tall > 0.6 else ()))
    if maybe(rng, 0.25):
        solids += placed([pillow(rng, 0.38, 0.36, fabric(rng))], (0, height + 0.01, -depth / 2 + 0.24), lean=20)
        parts.append(Parts("pillow", 1))
    return Thing.of(solids, soft, style, (feet, *parts))


def _lounge(rng: Rng) -> Thing:
    """Low and leant back: slats for the garden, or cushions on a frame of steel or wood."""
    width, depth, height = rng.uniform(0.54, 0.74), rng.uniform(0.52, 0.62), rng.uniform(0.32, 0.4)
    tall, lean, tilt = rng.uniform(0.5, 0.75), rng.uniform(20, 32), rng.uniform(5, 10)
    stand, parts, solids = frame(rng), [], []
    seat: list[Solid]
    form = rng.integers(3)
    if form == 0:
        soft, slats = pick(rng, (wood, plastic))(rng), int(rng.integers(4, 8))
        each, fan = width / slats, rng.uniform(0, 0.12)
        seat = named("seat", [soft_board(width, 0.07, 0.02, (0, 0, -z), soft, 0.1) for z in np.arange(0.03, depth, 0.085)])
        back = []
        for i in range(slats):
            u = (2 * i + 1) / slats - 1
            back.append(
                soft_board(each * 0.86, tall * (1 - fan * 2 * u * u), 0.018, (0, 0, 0), soft, 0.3)
                .turned("x", -90)
                .moved((u * width / 2, tall * (0.5 - fan * u * u), 0))
            )
        back += [box((width * 0.95, 0.06, 0.02), (0, y, -0.036), soft) for y in (0.1, tall * 0.6)]
        high = height + 0.2
        for s in (-1, 1):
            x = s * (width / 2 + 0.02)
            outline = [(-0.03, 0), (0.06, 0), (0.06, height - 0.06), (-depth - 0.2, 0.1), (-depth - 0.24, 0)]
            solids.append(plate(outline, 0.025, soft).turned("y", -90).moved((x, 0, depth / 2 - 0.06)).named("leg"))
            solids.append(box((0.03, high, 0.09), (x + s * 0.025, 0, depth / 2 - 0.1), soft).named("leg"))
            solids.append(box((0.03, high, 0.07), (x + s * 0.025, 0, -depth / 2 + 0.06), soft).named("leg"))
            solids.append(soft_board(0.13, depth + 0.12, 0.022, (x + s * 0.03, high, -0.02), soft, 0.5).named("arm"))
        parts = [Parts("armrest", 2), Parts("bar", slats)]
    else:
        soft, thick = softened(rng), rng.uniform(0.08, 0.14)
        seat = [cushion((width, thick, depth), (0, 0, -depth / 2), 0.035, soft)]
        back = [cushion((width, tall, thick), (0, 0, thick / 2), 0.035, soft)]
        if maybe(rng, 0.5):
            seat += [
                ball(0.012, (x * width / 3, thick, -depth * (0.2 + 0.3 * z)), soft, rings=6, sides=10) for x in (-1, 0, 1) for z in range(3)
            ]
            back += [
                ball(0.012, (x * width / 3, tall * (0.25 + 0.25 * y), thick), soft, rings=6, sides=10) for x in (-1, 0, 1) for y in range(3)
            ]
        for s in (-1, 1):
            x, reach = s * (width / 2 + 0.015), tall * 0.9 * math.sin(math.radians(lean))
            if form == 1:  # two bent bars that cross
                curve = [(x, 0.016, depth / 2), (x, 0.1, depth * 0.2), (x, height * 0.8, -depth * 0.35)]
                curve += [(x, height + tall * 0.9, -depth / 2 - reach)]
                other = [(x, height - 0.02, depth / 2), (x, height * 0.75, depth * 0.2), (x, 0.12, -depth * 0.35)]
                other += [(x, 0.016, -depth * 0.75)]
                solids += [piped(c, 0.016, stand, bend=1).named("back", above=height + 0.06).named("leg") for c in (curve, other)]
            else:
                high = height + 0.22
                solids.append(rod((x, 0, depth * 0.45), (x, high, depth * 0.36), 0.014, 0.022, stand).named("leg"))
                solids.append(rod((x, 0, -depth * 0.6), (x, high, -depth * 0.45), 0.014, 0.022, stand).named("leg"))
                solids.append(soft_board(0.06, depth * 1.05, 0.03, (x, high - 0.01, -0.02), stand, 0.7).named("arm"))
                solids.append(box((0.03, 0.05, depth), (x - s * 0.01, height - 0.05, -0.02), stand).named("frame"))
        for z in (-depth * 0.35, depth * 0.35):
            solids.append(dowel((-width / 2, height - 0.04, z), (width / 2, height - 0.04, z), 0.014, stand).named("frame"))
        parts = [Parts("armrest", 2, stand)] if form == 2 else [Parts("leg", 4, stand)]
    solids += named("seat", placed(seat, (0, height, depth / 2), lean=tilt))
    solids += named("back", placed(back, (0, height - 0.09 + 0.02, -depth / 2 + 0.04), lean=lean))
    return Thing.of(solids, soft, ("low", *(("padded",) if form else ())), parts)


def chair(rng: Rng) -> Thing:
    designs = (*(_joinery,) * 6, *(_shell,) * 3, *(_swivel,) * 3, *(_armchair,) * 3, *(_tubular,) * 2, _windsor, _folding, _lounge, _lounge)
    return designed(rng, designs)
