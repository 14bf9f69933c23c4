"""Makes a keyboard: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def keyboard(rng: Rng) -> Thing:
    case = pick(rng, (BLACK, WHITE, STEEL, plastic(rng), plastic(rng, pick(rng, ("beige", "grey", "white", "black")))))
    key = pick(rng, (case, BLACK, WHITE, plastic(rng)))
    accent, rows, cursor = pick(rng, (key, key, plastic(rng), case)), int(rng.integers(4, 7)), maybe(rng, 0.7)
    pad, unit = cursor and maybe(rng, 0.75), rng.uniform(0.0175, 0.0205)
    width, depth = unit * (15 + (3.25 if cursor else 0) + (4.25 if pad else 0)), rows * unit * rng.uniform(0.92, 1.02)
    tall, thick = pick(rng, ((0.003, 0.008), (0.007, 0.016), (0.011, 0.022), (0.011, 0.03)))
    rise = rng.uniform(0, 9)
    edge, front, behind = rng.uniform(0.006, 0.02), rng.uniform(0.006, 0.03), pick(rng, (0.008, 0.012, rng.uniform(0.02, 0.05)))
    parts = [Parts("number pad", 1)] if pad else []
    style: tuple[str, ...] = ("slim",) if thick < 0.01 else ()
    keys = [k.moved((0, thick - 0.001, 0)) for k in keys_of(rng, width, depth, tall, rows, pad, cursor, (key, accent))]
    z0, z1, whole = -depth / 2 - behind, depth / 2 + front, width + 2 * edge
    if maybe(rng, 0.2):  # two halves that part in the middle
        rows, depth, wide = 5, 5 * unit, unit * 7
        turn, apart, tent = rng.uniform(6, 20), pick(rng, (0.0, rng.uniform(0.01, 0.08))), pick(rng, (0.0, rng.uniform(3, 10)))
        solids: list[Solid] = []
        for side in (-1, 1):
            rects = [((c - 3 + 0.1 * (r % 2)) * unit, (r - 2) * unit, unit * 0.86, unit * 0.86) for r in range(4) for c in range(7)]
            thumbs = [(-side * (1.8 - 2.2 * i) * unit, 2 * unit, unit * 1.9, unit * 0.86) for i in range(2)]
            z0, z1 = -depth / 2 - behind, depth / 2 + front * 2
            outline = rounded_rect(wide + 2 * edge, z1 - z0, rng.uniform(0.01, 0.03))
            half = [lying(outline, thick, case, 0.004).moved((0, 0, z1))]
            half += named("key", [blocks_of(b, tall, m, 0.002).moved((0, thick - 0.001, 0)) for b, m in ((rects, key), (thumbs, accent))])
            # Each half turns about its inner far corner, which stays in the middle and rises with the tent.
            reach = side * (wide / 2 + edge)
            half = [s.moved((reach, 0, -z0)).turned("y", -side * turn).turned("z", -side * tent) for s in half]
            up = 0.0 if not tent else math.sin(math.radians(tent)) * (wide + 2 * edge) * 1.05
            solids += [s.moved((side * apart / 2, up, 0)) for s in half]
        low = min(float(s.vertices[:, 1].min()) for s in solids)
        solids = [s.moved((0, -low, -depth / 2)) for s in solids]
        end, back = apart / 2 + 0.02, (0, 0, -depth / 2)
        bridge = [(0, 0), (depth * 0.7, 0), (depth * 0.7, 0.004), (0, thick * 0.8)]
        cable = arch_of((-end, 0.012, 0.0), (end, 0.012, 0.0), 0.0, 0.003, BLACK).moved((0, 0, -depth / 2 + 0.02))
        solids.append(cable.named("cable") if apart > 0 else profile_of(bridge, 0.05, case).moved(back))
        return Thing.of(solids, case, ("open",) if apart else ("curved",), [Parts("half board", 2)])
    if maybe(rng, 0.5):
        outline = rounded_rect(whole, z1 - z0, pick(rng, (0.003, rng.uniform(0.01, 0.03))))
        board = lying(outline, thick, case, min(0.004, thick * 0.3)).moved((0, 0, z1))
    else:
        contour = [(z1, 0.0), (z1, thick * 0.5), (depth / 2 + 0.002, thick), (-depth / 2 - 0.004, thick)]
        contour += [(z0 + behind * 0.3, thick * pick(rng, (1.0, 1.7))), (z0, thick * 0.5), (z0, 0.0)]
        board = profile_of(contour, whole, case, 0.002)
    top = [board, *keys]
    if behind > 0.02 and maybe(rng, 0.6):
        buttons = int(rng.integers(3, 9))
        parts.append(Parts("extra button", buttons))
        rects = [((i - buttons / 2) * 0.022 - width * 0.2, z0 + behind * 0.6, 0.014, 0.008) for i in range(buttons)]
        top.append(blocks_of(rects, thick + 0.004, accent).named("button"))
        if maybe(rng, 0.5):
            parts.append(Parts("knob", 1))
            top.append(disc(0.012, 0.02, (width * 0.4, thick - 0.002, z0 + behind * 0.5), accent, sides=20).named("knob"))
    if maybe(rng, 0.3):
        parts.append(Parts("wrist rest", 1))
        reach, rest = rng.uniform(0.05, 0.09), pick(rng, (case, fabric(rng, "black"), wood(rng)))
        top.append(cushion((whole * 0.98, thick * 0.9, reach), (0, 0, z1 + reach / 2 + 0.001), 0.007, rest).named("rest"))
        z1 += reach
    lift = math.sin(math.radians(rise)) * (z1 - z0)
    solids = [solid.moved((0, 0, -z1)).turned("x", rise).moved((0, 0, z1)) for solid in top]
    some = [box((0.03, lift + thick * 0.3, 0.006), (x * whole * 0.4, 0, z0 + 0.012), case) for x in (-1, 1)] if lift > 0.008 else []
    solids += named("leg", some)
    if maybe(rng, 0.3):
        parts.append(Parts("cable", 1, BLACK))
        bend, t = rng.uniform(-0.2, 0.2), np.linspace(0, 1, 16)
        path = np.stack([whole * 0.2 + bend * t**2, 0.0025 + (lift + thick * 0.4) * (1 - t) ** 3, z0 + 0.006 - 0.16 * t], axis=1)
        solids += named("cable", [tube(path, 0.0024, BLACK, sides=8), box((0.012, 0.006, 0.03), (whole * 0.2 + bend, 0, z0 - 0.16), BLACK)])
    style += ("wide",) if pad else ("square",) if not cursor else ()
    return Thing.of(solids, case, style, parts[:4])
