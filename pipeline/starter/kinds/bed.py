"""Makes a bed: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def _mattress(
    rng: Rng, width: float, length: float, top: float, thick: float, blanket: Material, linen: Material
) -> tuple[list[Solid], int]:
    """A mattress that lies at `top`, what lies on it, and how many pillows there are."""
    solids = named("mattress", [cushion((width, thick, length), (0, top, 0), 0.05, linen)])
    up = top + thick
    if maybe(rng, 0.8):  # a cover that hangs over the sides
        cover, drop = rng.uniform(0.5, 0.8) * length, thick * rng.uniform(0.4, 0.9)
        z = (length - cover) / 2 + 0.01
        solids.append(cushion((width + 0.04, drop + 0.03, cover), (0, up - drop, z), 0.05, blanket).named("blanket"))
        blankets = [cushion((width + 0.05, 0.06, 0.22), (0, up - 0.015, z - cover / 2 + 0.1), 0.028, linen)] if maybe(rng, 0.5) else []
        solids += named("blanket", blankets)
        if maybe(rng, 0.25):
            at = (0, up - drop * 0.88 + 0.01, length * 0.3)
            solids.append(cushion((width + 0.06, drop * 0.9 + 0.03, length * 0.16), at, 0.045, fabric(rng)).named("blanket"))
    pillows = int(rng.integers(0, 3)) if width < 1.2 else int(rng.choice((2, 2, 3, 4, 4)))
    abreast, lying = (1 if width < 1.2 else 2), rng.uniform(30, 75)
    for i in range(pillows):
        x = (i % abreast - (abreast - 1) / 2) * width * 0.47 if pillows != 3 or i < 2 else 0.0
        row = i // abreast
        size = (min(0.72, width * 0.44 if abreast == 2 else width * 0.7) * (1 - 0.12 * row), 0.42)
        cloth = linen if row == 0 else blanket
        lean = 38 if row else lying
        z = -length / 2 + 0.1 + 0.42 * math.sin(math.radians(lean)) + 0.2 * row  # its top just reaches the head of the bed
        solids += placed([pillow(rng, *size, cloth)], (x, up - 0.02, z), lean=lean)
    return solids, pillows


def _headboard(rng: Rng, width: float, tall: float, low: float, timber: Material, soft: Material) -> tuple[list[Solid], tuple[Parts, ...]]:
    """An upright end of a bed around Z = 0, from the floor to `tall`; `low` is where the mattress begins."""
    half = width / 2
    posts = [dowel((s * (half - 0.02), 0, 0), (s * (half - 0.02), tall, 0), 0.028, timber) for s in (-1, 1)]
    knobs = [ball(0.042, (s * (half - 0.02), tall + 0.02, 0), timber, rings=6, sides=10) for s in (-1, 1)]
    count = int(rng.integers(3, 10))
    match rng.integers(7):
        case 0:
            return [plate([(-half, 0), (half, 0), (half, tall), (-half, tall)], 0.045, timber)], ()
        case 1:  # arched or with shoulders
            u = np.linspace(1, -1, 29)
            crest = pick(rng, (0.18 * (1 - u**2), 0.1 * np.cos(u * math.pi), 0.12 * (np.abs(u) < 0.7))) * min(1.0, tall)
            return [plate(np.concatenate([[(-half, 0), (half, 0)], np.stack([u * half, tall - 0.05 + crest], 1)]), 0.05, timber)], ()
        case 2:  # upholstered
            cols = int(rng.integers(1, 5))
            pads = [
                pad_of(width / cols, tall - low, 0.1, (0, 0, 0), soft, 0.1)
                .turned("x", 90)
                .moved(((i - (cols - 1) / 2) * width / cols, (tall + low) / 2, -0.02))
                for i in range(cols)
            ]
            if cols == 1:
                for x in np.linspace(-0.4, 0.4, 5) * width:
                    for y in (low + (tall - low) * 0.5, low + (tall - low) * 0.8):
                        pads.append(ball(0.014, (float(x), y, 0.08), soft, rings=6, sides=10))
            return [box((width, tall - 0.02, 0.04), (0, 0, -0.03), soft), *pads], ()
        case 3:
            bars = [
                dowel((float(x), low - 0.05, 0), (float(x), tall - 0.04, 0), 0.012, timber, sides=10)
                for x in np.linspace(-half, half, count + 2)[1:-1]
            ]
            rails = [box((width - 0.03, 0.05, 0.03), (0, y, 0), timber) for y in (tall - 0.08, low - 0.06)]
            return [*posts, *(knobs if maybe(rng, 0.5) else ()), *rails, *bars], (Parts("headboard bar", count),)
        case 4:
            each = (tall - low) / max(2, count // 2)
            slats = [box((width - 0.03, each * 0.7, 0.022), (0, low + i * each, 0), timber) for i in range(max(2, count // 2))]
            return [*posts, *slats], ()
        case 5:  # a hoop with bars
            a, rise = np.linspace(0, math.pi, 25), min(0.3, (tall - low) * 0.6)
            arch = np.stack([np.cos(a) * (half - 0.02), tall - rise + np.sin(a) * rise, 0 * a], axis=1)
            bars = []
            for x in np.linspace(-half, half, count + 2)[1:-1]:
                top = tall - rise + rise * math.sqrt(max(0.0, 1 - (float(x) / half) ** 2))
                bars.append(dowel((float(x), low - 0.03, 0), (float(x), top, 0), 0.01, timber, sides=10))
            sides = [dowel((s * (half - 0.02), 0, 0), (s * (half - 0.02), tall - rise + 0.02, 0), 0.022, timber) for s in (-1, 1)]
            return [*sides, tube(arch, 0.02, timber), box((width - 0.04, 0.03, 0.025), (0, low - 0.04, 0), timber), *bars], (
                Parts("headboard bar", count),
            )
        case _:  # frame and panels
            cols = int(rng.integers(2, 5))
            wide = (width - 0.08) / cols
            panels = [
                cushion((wide - 0.07, tall - low - 0.16, 0.03), ((i - (cols - 1) / 2) * wide, low + 0.05, 0.016), 0.01, timber)
                for i in range(cols)
            ]
            cap = soft_board(width + 0.06, 0.1, 0.03, (0, tall - 0.005, 0), timber, 0.2)
            return [box((width, tall, 0.035), (0, 0, -0.005), timber), *panels, cap], ()


def bed(rng: Rng) -> Thing:
    """Its head is behind, its foot in front."""
    double = maybe(rng, 0.6)
    width, length, low = rng.uniform(1.35, 1.95) if double else rng.uniform(0.85, 1.15), rng.uniform(1.92, 2.15), rng.uniform(0.16, 0.38)
    timber, blanket = pick(rng, (wood, wood, wood, metal))(rng), fabric(rng)
    linen = pick(rng, (WHITE, WHITE, fabric(rng, "beige"), fabric(rng)))
    if not double and maybe(rng, 0.3):
        return _bunk(rng, width, length, timber, blanket, linen)
    thick, parts = rng.uniform(0.16, 0.28), []
    style: list[str] = ["wide"] if double else ["slim"]
    solids: list[Solid] = []
    end, board, soft = length / 2 + 0.05, rng.uniform(0.75, 1.3), pick(rng, (blanket, softened(rng)))
    form = rng.integers(6)
    if form == 0:  # a chest with drawers
        columns, knob = int(rng.integers(1, 3)), pick(rng, (STEEL, BLACK, BRASS))
        solids.append(box((width, low + 0.08, length), (0, 0, 0), timber).hidden("mattress", low + 0.08))
        side = pick(rng, (-1, 1))
        more, _ = drawers(rng, (length * 0.96, low, 0.2), (0, 0.04, width / 2 - 0.1 + 0.01), 1, columns, timber, knob)
        solids += [part.turned("y", 90 * side) for part in more]
        parts.append(Parts("drawer", columns))
    elif form == 1:  # upholstered frame
        timber = soft
        solids += [cushion((width + 0.08, low + 0.06, length + 0.08), (0, 0.02 if low < 0.25 else 0.06, 0), 0.035, soft)]
        solids += legs(rng, width, length, 0.09, 0.06, BLACK)[0]
    elif form == 2:  # a platform wider than the mattress
        solids.append(soft_board(width + 0.24, length + 0.14, 0.07, (0, low + 0.01, 0.02), timber, 0.06))
        solids.append(box((width * 0.8, low + 0.02, length * 0.85), (0, 0, 0), pick(rng, (timber, BLACK))))
        style.append("low")
    else:
        more, feet = seat_legs(rng, width, length, low, 0.085, timber, brace=0)
        solids += more
        solids += [box((0.035, 0.16, length), (s * (width / 2 - 0.02), low - 0.08, 0), timber) for s in (-1, 1)]
        solids += [box((width - 0.04, 0.14, 0.03), (0, low - 0.07, s * (length / 2 - 0.02)), timber) for s in (-1, 1)]
        solids.append(box((width - 0.04, 0.03, length - 0.04), (0, low + 0.03, 0), timber).hidden("mattress", low + 0.06))
        parts.append(feet)
    top = low + 0.06
    bedding, pillows = _mattress(rng, width - 0.05, length - 0.04, top, thick, blanket, linen)
    solids += bedding
    parts += [Parts("pillow", pillows)] if pillows else []
    sleigh, footed = maybe(rng, 0.12), maybe(rng, 0.45)
    if sleigh:
        for s, tall in ((-1, 1.05), (1, 0.75)):
            line = smoothed([(0, 0.02), (0.0, low + 0.1), (0.02, tall * 0.7), (0.12, tall), (0.22, tall * 0.98), (0.22, tall * 0.88)])
            grid = np.stack(
                [np.stack([np.full(len(line), x), line[:, 1], s * (end + line[:, 0])], 1) for x in (-s * width / 2, s * width / 2)][::-1]
            )
            solids.append(bent_board(grid, 0.05, timber).named("headboard" if s < 0 else "footboard"))
        parts.append(Parts("footboard", 1))
        style.append("curved")
    elif maybe(rng, 0.9):
        state = rng.bit_generator.state
        more, words = _headboard(rng, width + pick(rng, (0.04, 0.04, 0.3)) * (form != 3), board, top, timber, soft)
        solids += named("headboard", placed(more, (0, 0, -end)))
        if footed:
            after = rng.bit_generator.state
            rng.bit_generator.state = state  # the same design again, lower
            more, _ = _headboard(
                rng, width + pick(rng, (0.04, 0.04, 0.3)) * (form != 3), max(top + thick * 0.6, board * 0.62), top * 0.6, timber, soft
            )
            rng.bit_generator.state = after
            solids += named("footboard", placed(more, (0, 0, end)))
            parts.append(Parts("footboard", 1))
        parts += words
    if maybe(rng, 0.15):  # four posts, with curtains or a roof
        high, r, cloth = rng.uniform(1.8, 2.15), 0.03, fabric(rng)
        for x, z in four(width + 0.06, 2 * end):
            profile = [(0, 0), (r * 1.3, 0), (r * 1.3, low + 0.2), (r, low + 0.3), (r * 1.3, high * 0.5), (r * 0.7, high * 0.6), (r, high)]
            profile += [(0, high)]
            solids.append(turned(profile, (x, 0, z), timber, sides=14).named("post"))
        roof = rng.integers(3)
        posts = [dowel((s * (width / 2 + 0.03), high - r, -end), (s * (width / 2 + 0.03), high - r, end), 0.02, timber) for s in (-1, 1)]
        solids += named("post", posts)
        posts = [dowel((-width / 2 - 0.03, high - r, s * end), (width / 2 + 0.03, high - r, s * end), 0.02, timber) for s in (-1, 1)]
        solids += named("post", posts)
        if roof == 0:
            solids.append(cushion((width + 0.16, 0.12, 2 * end + 0.1), (0, high - 0.06, 0), 0.03, cloth).named("roof"))
        elif roof == 1:
            u = np.linspace(0, 1, 25)
            for x, z in four(width + 0.06, 2 * end - 0.3):
                points = [np.stack([x + 0.02 * np.sin(u * 30), np.full(25, y), z + (u - 0.5) * 0.4], 1) for y in (0.12, high - 0.05)]
                fold = np.stack(points, axis=1)
                solids.append(bent_board(fold, 0.012, cloth).named("curtain"))
            parts.append(Parts("curtain", 4))
        parts.insert(0, Parts("post", 4))
        style.append("tall")
    if maybe(rng, 0.1):
        tall, z, sides = top + thick - 0.05, -length / 2 + 0.18, pick(rng, ((1,), (-1, 1)))
        for s in sides:
            solids += named(
                "cabinet",
                drawers(
                    rng, (0.42, tall, 0.38), (s * (width / 2 + 0.42), 0, z), int(rng.integers(1, 4)), 1, timber, pick(rng, (STEEL, BRASS))
                )[0],
            )
        parts.insert(0, Parts("night stand", len(sides)))
    return Thing.of(solids, blanket if form else timber, style, parts[:4], rest="frame")


def _bunk(rng: Rng, width: float, length: float, timber: Material, blanket: Material, linen: Material) -> Thing:
    """Two beds, one above the other, or one on high legs, and a ladder."""
    high, low, t = rng.uniform(1.2, 1.45), rng.uniform(0.25, 0.35), rng.uniform(0.05, 0.08)
    top, loft = high + rng.uniform(0.35, 0.5), maybe(rng, 0.25)
    solids: list[Solid] = named("post", [cushion((t, top, t), (x, 0, z), 0.008, timber) for x, z in four(width, length)])
    pillows, levels = 0, (high,) if loft else (low, high)
    for y in levels:
        solids += [box((0.03, 0.15, length), (s * width / 2, y - 0.05, 0), timber) for s in (-1, 1)]
        solids += [box((width, 0.15, 0.03), (0, y - 0.05, s * length / 2), timber) for s in (-1, 1)]
        solids.append(box((width, 0.02, length), (0, y - 0.02, 0), timber).hidden("mattress", y))
        more, count = _mattress(rng, width - 0.06, length - 0.06, y, 0.14, blanket, linen)
        solids, pillows, rise = solids + more, pillows + count, (top if y == high else y + 0.5) - y
        bars = int(rng.integers(0, 6))
        for s in (-1, 1):
            solids += named("railing", [box((width, 0.07, 0.025), (0, y + h, s * length / 2), timber) for h in (rise * 0.55, rise - 0.08)])
            solids += named(
                "railing",
                [
                    box((0.03, rise - 0.2, 0.02), (float(x), y + 0.08, s * length / 2), timber)
                    for x in np.linspace(-width / 2, width / 2, bars + 2)[1:-1]
                ],
            )
    side = pick(rng, (-1, 1))
    for s, span, z in ((-side, length, 0.0), (side, length * 0.72, -length * 0.14)):
        solids += named("railing", [box((0.022, 0.07, span), (s * width / 2, high + h, z), timber) for h in (0.2, top - high - 0.08)])
    solids.append(box((0.03, top - high, 0.05), (side * width / 2, high, length * 0.21), timber).named("railing"))
    z, rungs, foot, reach = length * 0.36, int(rng.integers(4, 7)), rng.uniform(0.05, 0.3), high + 0.25
    for dz in (-0.17, 0.17):
        ladder = dowel((side * (width / 2 + foot), 0, z + dz), (side * (width / 2 + 0.03), reach, z + dz), 0.02, timber)
        solids.append(ladder.named("ladder"))
    for i in range(rungs):
        y = (i + 0.8) * reach / (rungs + 0.6)
        x = side * (width / 2 + 0.03 + (foot - 0.03) * (1 - y / reach))
        solids.append(dowel((x, y, z - 0.17), (x, y, z + 0.17), 0.016, timber).named("ladder"))
    tops = [box((width * 0.6, 0.03, length * 0.9), (-side * width * 0.2, 0.72, 0), timber)] if loft and maybe(rng, 0.6) else []
    solids += named("top", tops)
    parts = [Parts("ladder", 1), Parts("rung", rungs)]
    parts += [Parts("pillow", pillows)] if pillows else []
    return Thing.of(solids, timber, ("tall", "open") if loft else ("tall",), parts, rest="frame")
