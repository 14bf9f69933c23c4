"""Makes a clock: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def _dial(rng: Rng, radius: float, paper: Material, ink: Material) -> tuple[list[Solid], Parts]:
    """A face centred on the origin with its back on Z = 0, marks and hands on it, and the words for the hands."""
    thin = radius * 0.03
    solids = [facing([(0, 0), (radius, 0), (radius, thin), (0, thin)], (0, 0, 0), paper, sides=48)]
    every, long, wide = pick(rng, ((1, 0.14, 0.05), (1, 0.2, 0.06), (3, 0.2, 0.08), (1, 0.06, 0.06)))
    for i in range(0, 12, every):
        grow = 1.5 if i % 3 == 0 else 1.0
        mark = box((radius * wide * grow, radius * long, thin), (0, radius * (0.92 - long), thin * 1.3), ink)
        solids.append(mark.turned("z", -30 * i))
    hour = rng.uniform(0, 12)
    hands = [(hour * 30, 0.5, 0.09), ((hour % 1) * 360, 0.78, 0.06)]
    hands += [(rng.uniform(0, 360), 0.85, 0.025)] if maybe(rng, 0.35) else []
    for k, (angle, length, thick) in enumerate(hands):
        line = [(-thick / 2, -0.12), (thick / 2, -0.12), (thick * 0.7, length * 0.7), (0, length), (-thick * 0.7, length * 0.7)]
        hand = sawn(np.array(line) * radius, thin, ink if k < 2 else plastic(rng, "red"))
        solids.append(hand.turned("z", -angle).moved((0, 0, thin * (2.2 + k))).named("hand"))
    solids.append(facing([(0, 0), (radius * 0.06, 0), (radius * 0.05, thin * 6), (0, thin * 6)], (0, 0, 0), ink, sides=16))
    return named("dial", solids), Parts("hand", len(hands))


def _face(rng: Rng) -> tuple[Material, Material]:
    return pick(
        rng, ((WHITE, BLACK), (WHITE, BLACK), (plastic(rng, "beige"), BLACK), (BLACK, WHITE), (BRASS, BLACK), (plastic(rng), WHITE))
    )


def _wall_clock(rng: Rng) -> Thing:
    """A dial in a frame: round, cornered, in rays, or above a case with a pendulum."""
    radius, trim = rng.uniform(0.12, 0.22), pick(rng, (wood(rng), metal(rng), plastic(rng), BRASS))
    dial, hands = _dial(rng, radius, *_face(rng))
    deep = radius * rng.uniform(0.15, 0.35)
    parts = [hands]
    style: tuple[str, ...] = ("round",)
    match rng.integers(5):
        case 0 | 1:
            out = radius * rng.uniform(1.06, 1.3)
            ring = [(0, 0), (out * 0.97, 0), (out, deep * 0.4), (out * 0.98, deep), (radius * 1.01, deep * rng.uniform(0.7, 1.2))]
            ring += [(radius * 0.98, deep * 0.55), (0, deep * 0.55)]
            body = [facing(ring, (0, 0, 0), trim, sides=56).hidden("dial", deep * 0.55, "z")]
        case 2:
            sides = pick(rng, (4, 6, 8, 8))
            out = radius * 1.12 / math.cos(math.pi / sides)
            line = ngon(sides, out, math.pi / sides)
            body = [
                skin([placed_at(line, 0), placed_at(line, deep * 0.8), placed_at(line, deep, 0.95), placed_at(line, deep * 0.5, 0.9)], trim)
            ]
            style = ("square",) if sides == 4 else ()
        case 3:  # rays
            count, far = int(rng.integers(8, 17)), radius * rng.uniform(1.8, 2.4)
            body = [
                facing(
                    [(0, 0), (radius * 1.12, 0), (radius * 1.12, deep * 0.8), (radius, deep), (0, deep * 0.55)], (0, 0, 0), trim, sides=48
                )
            ]
            for i in range(count):
                reach = far * (1 if i % 2 else 0.8)
                ray = [rod((0, radius, deep * 0.4), (0, reach, deep * 0.4), radius * 0.05, radius * 0.02, trim, sides=8)]
                ray += [ball(radius * 0.09, (0, reach, deep * 0.4), trim)] if count < 12 else []
                body += [s.turned("z", i * 360 / count) for s in ray]
            style = ("open",)
        case _:  # a case with a pendulum below
            line, drop = ngon(8, radius * 1.3, math.pi / 8), radius * rng.uniform(1.9, 2.8)
            body = [
                skin(
                    [placed_at(line, 0), placed_at(line, deep * 0.8), placed_at(line, deep, 0.95), placed_at(line, deep * 0.5, 0.85)], trim
                )
            ]
            wide = radius * 0.75
            chest = [(-wide, -radius * 1.1), (-wide, -drop), (-wide * 0.5, -drop - wide * 0.5), (wide * 0.5, -drop - wide * 0.5)]
            chest += [(wide, -drop), (wide, -radius * 1.1)]
            view = [(x * 0.75, min(y, -radius * 1.25) * 0.95) for x, y in chest]
            body += [sawn(chest, deep * 0.7, trim, 0.006), sawn(view, 0.004, plastic(rng, "beige")).moved((0, 0, deep * 0.7 - 0.001))]
            pendulum = dowel((0, -radius * 1.15, deep * 0.8), (0, -drop + wide * 0.1, deep * 0.8), 0.005, BRASS, sides=8)
            body.append(pendulum.named("pendulum"))
            pendulum = facing([(0, 0), (wide * 0.4, 0), (wide * 0.35, 0.008), (0, 0.012)], (0, -drop + wide * 0.1, deep * 0.75), BRASS)
            body.append(pendulum.named("pendulum"))
            parts.append(Parts("pendulum", 1, BRASS))
            style = ("tall",)
    if len(parts) == 1 and maybe(rng, 0.2):  # on feet
        for s in (-1, 1):
            start = (s * radius * 0.5, -radius * 0.9, deep * 0.5)
            body.append(rod(start, (s * radius * 0.8, -radius * 1.35, deep), radius * 0.06, radius * 0.05, trim).named("leg"))
        body.append(rod((0, -radius * 0.9, 0), (0, -radius * 1.33, -deep), radius * 0.06, radius * 0.05, trim).named("leg"))
        parts.append(Parts("leg", 3))
    solids = [*body, *(s.moved((0, 0, deep * 0.56)) for s in dial)]
    low = min(float(s.vertices[:, 1].min()) for s in solids)
    return Thing.of((s.moved((0, -low, 0)) for s in solids), trim, style, parts)


def _alarm_clock(rng: Rng) -> Thing:
    radius = rng.uniform(0.05, 0.08)
    paint = pick(rng, (metal(rng, pick(rng, ("red", "blue", "green", "black", "white", "grey", "pink", "yellow"))), BRASS, STEEL))
    deep, trim = radius * rng.uniform(0.7, 1.1), pick(rng, (STEEL, BRASS, BLACK))
    dial, hands = _dial(rng, radius * 0.92, *_face(rng))
    parts, y = [hands], radius * 1.25
    if maybe(rng, 0.6):  # a drum with bells above
        ring = [(0, 0), (radius * 0.9, 0), (radius, deep * 0.15), (radius, deep * 0.9), (radius * 1.05, deep), (radius * 0.93, deep)]
        ring += [(radius * 0.92, deep * 0.9), (0, deep * 0.9)]
        body = [facing(ring, (0, y, -deep / 2), paint, sides=40).hidden("dial", deep * 0.4, "z")]
        bells = pick(rng, (1, 2, 2, 2))
        for s in (-1, 1) if bells == 2 else (0,):
            line = [(0, 0), (radius * 0.42, 0), (radius * 0.38, radius * 0.16), (radius * 0.2, radius * 0.3), (0, radius * 0.35)]
            bell, stem = lathe(line, trim), dowel((0, -radius * 0.3, 0), (0, 0.001, 0), radius * 0.06, trim)
            body += named("bell", [part.moved((0, radius * 1.22, 0)).turned("z", -38 * s).moved((0, y, 0)) for part in (bell, stem)])
        if bells == 2 and maybe(rng, 0.7):
            body.append(
                arch_of(
                    (-radius * 0.55, y + radius * 0.85, 0), (radius * 0.55, y + radius * 0.85, 0), radius * 1.05, radius * 0.06, trim
                ).named("handle")
            )
            parts.append(Parts("handle", 1, trim))
            body.append(rod((0, y + radius * 0.9, 0), (0, y + radius * 1.4, 0), radius * 0.04, radius * 0.12, trim))
        some = [dowel((s * radius * 0.55, y - radius * 0.75, 0), (s * radius * 0.85, 0.004, 0), radius * 0.08, trim) for s in (-1, 1)]
        body += named("leg", some)
        body += named("button", [knob(radius * 0.12, 0.01, (s * radius * 0.4, y, -deep / 2 - 0.009), trim) for s in (-1, 1)])
        parts.append(Parts("bell", bells, trim))
        return Thing.of((*body, *(s.moved((0, y, deep * 0.41)) for s in dial)), paint, ("round",), parts)
    if maybe(rng, 0.5):  # digits
        width, tall, far = rng.uniform(0.14, 0.26), rng.uniform(0.06, 0.1), rng.uniform(0.05, 0.12)
        case, glow = pick(rng, (BLACK, plastic(rng), wood(rng))), plastic(rng, pick(rng, ("red", "green", "blue", "white", "orange")))
        body = (
            [profile_of([(far / 2, 0), (far * 0.4, tall), (-far * 0.4, tall), (-far / 2, 0)], width, case, 0.006)]
            if maybe(rng, 0.6)
            else [cushion((width, tall, far), (0, 0, 0), min(tall, far) * 0.3, case)]
        )
        front = [box((width * 0.88, tall * 0.66, 0.004), (0, tall * 0.17, 0.0), BLACK)]
        on = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
        where = {"a": (0, 1, 1), "b": (0.5, 0.75, 0), "c": (0.5, 0.25, 0), "d": (0, 0, 1)}
        where |= {"e": (-0.5, 0.25, 0), "f": (-0.5, 0.75, 0), "g": (0, 0.5, 1)}
        w, h, t = width * 0.11, tall * 0.46, width * 0.02
        for x in (-0.32, -0.14, 0.14, 0.32):
            for segment in on[int(rng.integers(10))]:
                dx, dy, flat = where[segment]
                at = (x * width + dx * w, tall * 0.27 + dy * h - (t / 2 if flat else h / 4), 0.002)
                front.append(box((w, t, 0.004) if flat else (t, h / 2, 0.004), at, glow))
        front += [box((t, t, 0.004), (0, tall * y, 0.002), glow) for y in (0.38, 0.58)]
        lean = math.degrees(math.atan2(far * 0.1, tall)) if len(body[0].vertices) < 300 else 0.0
        body += named("screen", [s.turned("x", -lean).moved((0, 0, far / 2 + 0.001)) for s in front])
        buttons = int(rng.integers(1, 6))
        some = [box((0.014, 0.008, 0.01), ((i - (buttons - 1) / 2) * 0.025, tall - 0.003, 0), glow) for i in range(buttons)]
        body += named("button", some)
        return Thing.of(body, case, ("wide",), (Parts("digit", 4, glow), Parts("button", buttons)))
    size = radius * 2.3
    body = [cushion((size, size, deep * 1.2), (0, 0, 0), pick(rng, (0.004, size * 0.12)), paint)]
    style: tuple[str, ...] = ("square",)
    if maybe(rng, 0.5):
        body.append(cushion((size * 0.5, 0.014, deep * 0.5), (0, size - 0.004, 0), 0.004, trim).named("button"))
        parts.append(Parts("button", 1, trim))
    return Thing.of((*body, *(s.moved((0, size / 2, deep * 0.6 - 0.001)) for s in dial)), paint, style, parts)


def _mantel_clock(rng: Rng) -> Thing:
    """Stands on a shelf: arched, a bent hat, a little temple, or a house with a cuckoo's door."""
    radius, timber = rng.uniform(0.06, 0.1), pick(rng, (wood(rng, "brown"), wood(rng), stone(rng), BRASS))
    deep, trim = radius * rng.uniform(0.8, 1.2), pick(rng, (BRASS, BRASS, STEEL))
    dial, hands = _dial(rng, radius, *_face(rng))
    parts, y = [hands], radius * rng.uniform(1.5, 1.9)
    style: tuple[str, ...] = ("curved",)
    turn = np.linspace(0, math.pi, 21)
    match rng.integers(4):
        case 0:  # arch
            half = radius * 1.35
            body = [
                sawn([(-half, 0), (half, 0), *((half * math.cos(a), y + half * math.sin(a)) for a in turn)], deep, timber, 0.006).moved(
                    (0, 0, -deep / 2)
                )
            ]
        case 1:  # hat
            wide, s = radius * rng.uniform(2.6, 3.6), np.linspace(-1, 1, 41)
            hump = [
                (float(-x * wide), float(radius * 0.45 + (y + radius * 0.85) * math.exp(-((x * wide / (radius * 1.45)) ** 4)))) for x in s
            ]
            body = [sawn([(-wide, 0), (wide, 0), *hump], deep, timber, 0.006).moved((0, 0, -deep / 2))]
            style = ("curved", "wide")
        case 2:  # temple
            half, columns = radius * 1.6, pick(rng, (2, 4))
            body = [box((half * 1.7, y * 1.55, deep * 0.8), (0, 0, 0), timber)]
            body += [box((half * 2.2, radius * 0.25, deep * 1.5), (0, y * 1.5, 0), timber)]
            y = y * 0.85
            outline = [(-half * 1.1, 0), (half * 1.1, 0), (0, radius * 0.7)]
            roof = sawn(outline, deep * 1.3, timber, 0.003).moved((0, body[0].vertices[:, 1].max() + radius * 0.1, -deep * 0.65))
            body.append(roof.named("roof"))
            high = float(body[0].vertices[:, 1].max())
            line = [(0, 0), (radius * 0.2, 0), (radius * 0.13, 0.02), (radius * 0.11, high - 0.02), (radius * 0.2, high), (0, high)]
            for sx in (-1, 1):
                for sz in (0.8,) if columns == 2 else (-0.8, 1):
                    body.append(turned(line, (sx * half * 0.93, 0, sz * deep * 0.5), trim, sides=16).named("column"))
            parts.append(Parts("column", columns, trim))
            style = ()
        case _:  # a house under a roof, weights on chains below
            half, eave = radius * 1.4, radius * 2.4
            body = [
                sawn([(-half, 0), (half, 0), (half, eave), (0, eave + half), (-half, eave)], deep, timber, 0.003).moved((0, 0, -deep / 2))
            ]
            for s1 in (-1, 1):
                size = (half * 1.9, radius * 0.18, deep * 1.5)
                roof = box(size, (0, 0, 0), timber).turned("z", -s1 * 45).moved((s1 * half * 0.62, eave + half * 0.45, 0))
                body.append(roof.named("roof"))
            body.append(box((radius * 0.6, radius * 0.75, 0.01), (0, eave - radius * 0.1, deep / 2), trim).named("door"))
            body.append(box((half * 2.3, radius * 0.2, deep * 1.3), (0, -radius * 0.05, 0), timber).named("base"))
            weights, drop = int(rng.integers(2, 4)), radius * rng.uniform(2, 4)
            for i in range(weights):
                x, z, low = (i - (weights - 1) / 2) * half * 0.8, 0.0, -drop * (1 - 0.25 * (i % 2))
                body += named("weight", [dowel((x, 0, z), (x, low, z), 0.003, trim, sides=6), ball(radius * 0.2, (x, low, z), timber, 2.2)])
            parts.append(Parts("weight", weights))
            y, style = radius * 1.2, ("tall",)
    if style != ("tall",):
        if maybe(rng, 0.6):
            span = float(body[0].vertices[:, 0].max()) * 2
            body.append(cushion((span * 1.12, radius * 0.3, deep * 1.5), (0, -radius * 0.25, 0), radius * 0.08, timber).named("base"))
        else:
            span = float(body[0].vertices[:, 0].max()) * 2
            body += named("leg", [ball(radius * 0.15, (px, -radius * 0.1, pz), trim) for px, pz in four(span * 0.85, deep * 0.7)])
            parts.append(Parts("ball", 4, trim))
        if maybe(rng, 0.3):
            top = max(float(b.vertices[:, 1].max()) for b in body)
            handle = arch_of((-radius * 0.5, top - 0.01, 0), (radius * 0.5, top - 0.01, 0), radius * 0.6, radius * 0.07, trim)
            body.append(handle.named("handle"))
            parts.append(Parts("handle", 1, trim))
    ring = [(radius * 0.97, 0.0), (radius * 1.12, 0.0), (radius * 1.08, radius * 0.1), (radius * 0.98, radius * 0.08), (radius * 0.97, 0.0)]
    front = deep * (0.4 if any(p.noun == "column" for p in parts) else 0.5) - 0.001
    solids = [*body, *(s.moved((0, y, front)) for s in dial), facing(ring, (0, y, front), trim, sides=40)]
    low = min(float(s.vertices[:, 1].min()) for s in solids)
    return Thing.of((s.moved((0, -low, 0)) for s in solids), timber, style, parts)


def _tall_clock(rng: Rng) -> Thing:
    """A grandfather: base, waist with a pendulum behind its door, hood with the dial. Or a clock on a post."""
    radius = rng.uniform(0.13, 0.18)
    dial, hands = _dial(rng, radius, *_face(rng))
    if maybe(rng, 0.2):
        iron, tall = pick(rng, (BLACK, metal(rng, "green"), STEEL)), rng.uniform(1.6, 2.6)
        faces, big = pick(rng, (2, 4)), radius * 1.15
        post = [(0.0, 0.0), (0.2, 0.0), (0.19, 0.08), (0.1, 0.2), (0.06, 0.3), (0.05, tall * 0.9), (0.1, tall * 0.95), (0.06, tall)]
        post += [(0.0, tall)]
        solids, mid = [lathe(post, iron).named("post")], tall + big * 0.95
        solids.append(
            facing([(0, 0), (big, 0), (big * 1.05, 0.02), (big * 1.05, 0.14), (big, 0.16), (0, 0.16)], (0, mid, -0.08), iron, sides=40)
            if faces == 2
            else cushion((big * 2.1, big * 2.1, big * 2.1), (0, mid - big * 1.05, 0), 0.02, iron)
        )
        out = 0.079 if faces == 2 else big * 1.05 - 0.001
        solids += [s.moved((0, 0, out)).turned("y", 360 / faces * i).moved((0, mid, 0)) for i in range(faces) for s in dial]
        solids += [ball(0.03, (0, mid + big * 1.08, 0), iron, 1.8)]
        return Thing.of(solids, iron, ("tall", "slim"), (Parts("dial", faces), Parts("post", 1)))
    timber, trim = wood(rng, pick(rng, ("brown", "brown", "black", "white", "beige"))), BRASS
    wide, deep, height = radius * rng.uniform(2.5, 2.9), rng.uniform(0.24, 0.32), rng.uniform(1.7, 2.2)
    low, hood = height * rng.uniform(0.18, 0.26), wide * rng.uniform(1.05, 1.25)
    waist, top = wide * rng.uniform(0.62, 0.9), height - hood
    solids = named("base", [box((wide, low, deep), (0, 0.05, 0), timber), box((wide * 1.08, 0.07, deep * 1.08), (0, 0, 0), timber)])
    solids.append(cushion((wide * 1.04, 0.05, deep * 1.04), (0, low + 0.03, 0), 0.02, timber).named("base"))
    solids.append(box((waist, top - low, deep * 0.8), (0, low, 0), timber))
    solids += [cushion((wide * 1.06, 0.06, deep * 1.06), (0, top - 0.03, 0), 0.025, timber), box((wide, hood, deep), (0, top, 0), timber)]
    solids.append(box((wide * 0.7, low * 0.6, 0.012), (0, 0.05 + low * 0.2, deep / 2), timber).named("base"))
    glazed, front, tall, mid = maybe(rng, 0.7), deep * 0.4, (top - low) * 0.78, low + 0.05 + (top - low - 0.1) / 2
    view = waist * 0.7
    parts = [hands]
    if glazed:
        door = box((view, tall, 0.01), (0, mid - tall / 2, front), plastic(rng, pick(rng, ("beige", "black", "grey"))))
        solids.append(door.named("door"))
        pendulums = [dowel((0, mid - tall * 0.25, front + 0.012), (0, mid + tall * 0.48, front + 0.012), 0.006, trim, sides=8)]
        solids += named("pendulum", pendulums)
        pendulum = facing([(0, 0), (view * 0.3, 0), (view * 0.26, 0.012), (0, 0.018)], (0, mid - tall * 0.28, front + 0.006), trim)
        solids.append(pendulum.named("pendulum"))
        parts.append(Parts("pendulum", 1, trim))
        if maybe(rng, 0.5):
            weights = int(rng.integers(2, 4))
            solids += named(
                "weight",
                [
                    disc(view * 0.1, tall * 0.2, ((i - (weights - 1) / 2) * view * 0.33, mid + tall * 0.05, front + 0.012), trim, sides=16)
                    for i in range(weights)
                ],
            )
            parts.append(Parts("weight", weights, trim))
        doors = [box((view + 0.03, 0.02, 0.02), (0, y - 0.01, front + 0.005), timber) for y in (mid - tall / 2, mid + tall / 2)]
        solids += named("door", doors)
        solids += named("door", [box((0.02, tall, 0.02), (s * (view / 2 + 0.005), mid - tall / 2, front + 0.005), timber) for s in (-1, 1)])
    else:
        solids.append(box((view, tall, 0.015), (0, mid - tall / 2, front + 0.005), timber).named("door"))
        solids.append(ball(0.015, (view * 0.42, mid, front + 0.02), trim).named("handle"))
        parts.append(Parts("door", 1))
    style: tuple[str, ...] = ("tall",)
    turn = np.linspace(0, math.pi, 17)
    match rng.integers(4):
        case 0:  # gable
            outline = [(-wide * 0.56, 0), (wide * 0.56, 0), (0, wide * 0.35)]
            solids.append(sawn(outline, deep * 1.06, timber, 0.004).moved((0, height, -deep * 0.53)).named("roof"))
        case 1:  # arch
            outline = [(wide * 0.5 * math.cos(a), wide * 0.3 * math.sin(a)) for a in turn]
            solids.append(sawn(outline, deep, timber, 0.004).moved((0, height - 0.01, -deep / 2)).named("roof"))
            style = ("tall", "curved")
        case 2:  # two horns and a finial
            for s in (-1, 1):
                horn = [(0.5, 0.0), (0.5, 0.08), (0.35, 0.16), (0.22, 0.3), (0.1, 0.36), (0.06, 0.3), (0.1, 0.0)]
                roofs = [sawn([(s * x * wide, y * wide) for x, y in horn], 0.04, timber).moved((0, height - 0.01, deep / 2 - 0.04))]
                solids += named("roof", roofs)
            solids.append(ball(wide * 0.07, (0, height + wide * 0.1, deep / 2 - 0.02), trim, 1.8).named("roof"))
            solids.append(box((wide, wide * 0.06, deep), (0, height - 0.01, 0), timber).named("roof"))
        case _:
            solids.append(cushion((wide * 1.12, 0.06, deep * 1.1), (0, height - 0.01, 0), 0.02, timber).named("roof"))
    if maybe(rng, 0.4):
        for s in (-1, 1):
            line = [(0, 0), (0.02, 0), (0.014, 0.05), (0.02, 0.1), (0.012, hood - 0.1), (0.02, hood), (0, hood)]
            solids.append(turned(line, (s * wide * 0.47, top, deep * 0.53), timber, sides=12).named("column"))
        parts.append(Parts("column", 2))
    solids += [s.moved((0, top + hood / 2, deep / 2 - 0.001)) for s in dial]
    return Thing.of(solids, timber, style, parts)


def clock(rng: Rng) -> Thing:
    return pick(
        rng, (_wall_clock, _wall_clock, _wall_clock, _alarm_clock, _alarm_clock, _mantel_clock, _mantel_clock, _tall_clock, _tall_clock)
    )(rng)
