"""Makes a frying pan: its designs, proportions and parts, and the words for them. See `thing`."""

import math

import numpy as np

from pipeline.starter.kinds.kit import *


def _egg(rng: Rng, radius: float) -> list[Solid]:
    """Fried."""
    white, yolk = paint(rng, "white"), paint(rng, "orange")
    edge = lathe(smooth([(0, 0), (1, 0), (1, 0.05), (0.8, 0.12), (0, 0.13)], radius, radius), white)
    return named(
        "egg",
        [
            *shaped([edge], fluted_by(int(rng.integers(3, 6)), rng.uniform(0.06, 0.13))),
            bulb(radius * 0.36, (0, radius * 0.1, 0), yolk, 0.7, 16),
        ],
    )


def _pan_handle(rng: Rng, path: Floats, wide: float, grip: Material, bracket: Material) -> list[Solid]:
    """A flat bar along a path of 28 points, its first third of the bracket's material."""
    t, flat = np.linspace(0, 1, 28), rng.uniform(1.4, 2.2)
    styles = (
        0.055 + 0.03 * t,
        0.075 - 0.03 * np.sin(math.pi * t**0.8),
        0.045 + 0.035 * np.sin(math.pi * np.clip(t * 1.5 - 0.5, 0, 1)),
        0.06 + 0 * t,
    )
    radii = wide * pick(rng, styles)
    if bracket is grip:
        return named("handle", [stretched(horn(path, radii, grip), z=flat)])
    return named(
        "handle",
        [stretched(horn(path[:10], np.full(10, wide * 0.035), bracket), z=flat), stretched(horn(path[9:], radii[9:], grip), z=flat)],
    )


def frying_pan(rng: Rng) -> Thing:
    """Skillets of cast iron, coated and square grill pans, woks, crepe pans, saucepans and saute pans with lids, paella pans."""
    form = pick(rng, ("coated", "coated", "coated", "iron", "iron", "grill", "wok", "crepe", "sauce", "sauce", "saute", "paella"))
    wide, dark, bare = rng.uniform(0.1, 0.16), metal(rng, "black"), metal(rng, "grey")
    body = pick(rng, (dark, bare, bare, metal(rng, pick(rng, ("red", "blue", "green", "orange", "white", "beige")))))
    inside = pick(rng, (dark, bare, body))
    depth, knots = {
        "coated": (rng.uniform(0.28, 0.42), [(0.74, 0), (0.8, 0.05), (0.88, 0.35), (0.95, 0.8), (1.02, 1)]),
        "iron": (rng.uniform(0.3, 0.45), [(0.86, 0), (0.9, 0.05), (0.95, 0.5), (1, 0.9), (1, 1)]),
        "grill": (rng.uniform(0.3, 0.4), [(0.84, 0), (0.88, 0.05), (0.95, 0.6), (1, 1)]),
        "wok": (rng.uniform(0.5, 0.7), [(0.3, 0), (0.45, 0.05), (0.75, 0.35), (0.93, 0.75), (1, 1)]),
        "crepe": (rng.uniform(0.12, 0.18), [(0.88, 0), (0.92, 0.1), (1, 1)]),
        "sauce": (rng.uniform(0.95, 1.5), [(0.92, 0), (1, 0.06), (1, 0.4), (1, 0.9), (1.04, 1)]),
        "saute": (rng.uniform(0.42, 0.6), [(0.92, 0), (1, 0.1), (1, 0.5), (1, 0.9), (1.02, 1)]),
        "paella": (rng.uniform(0.2, 0.28), [(0.82, 0), (0.86, 0.05), (1, 0.9), (1.03, 1)]),
    }[form]
    if form == "iron" or form == "grill":
        body = inside = pick(rng, (dark, dark, metal(rng, "grey"), body))
    wide *= 0.75 if form == "sauce" else 1.25 if form in ("wok", "paella") else 1
    tall, wall = wide * depth, wide * (0.045 if form in ("iron", "grill") else 0.025)
    outer = smooth(knots, wide, tall)
    solids = vessel(outer, wall, body, inside, sides=72)
    style: list[str] = {"sauce": ["tall"], "saute": [], "crepe": ["low"], "paella": ["wide"], "wok": ["curved", "wide"]}.get(form, [])
    parts: list[Parts] = []
    rim, floor, square = outer[-1][0], wall, form == "grill" and maybe(rng, 0.6)
    lips = form in ("iron", "sauce") and maybe(rng, 0.7)
    if square:
        solids, style = shaped(solids, squared(rng.uniform(5, 10))), [*style, "square"]
    elif lips:  # to pour over
        solids = shaped(solids, lambda a, h: 1 + 0.07 * np.abs(np.cos(a)) ** 24 * np.clip(h / tall * 2 - 1, 0, 1))
    if form == "grill":
        for x in np.linspace(-0.7, 0.7, 9) * wide:
            half = wide * 0.78 if square else 0.97 * math.sqrt((wide * 0.86) ** 2 - x * x)
            solids.append(cushion((wide * 0.05, wide * 0.05, 2 * half), (float(x), floor - 0.001, 0), wide * 0.02, inside))
    grip = pick(rng, (BLACK, BLACK, wood(rng, pick(rng, ("brown", "beige"))), STEEL, body)) if form not in ("iron", "grill") else body
    from_side = radius_at(outer, tall * 0.8) - wall
    if form == "paella":
        arc = bezier((-0.32, 0, 0), (-0.32, 0.05, 0.42), (0.32, 0.05, 0.42), (0.32, 0, 0), steps=20) * wide
        loop = tube(arc, wide * 0.035, pick(rng, (body, STEEL)), sides=10).moved((0, tall * 0.75, from_side - wall))
        solids += named("handle", [loop.turned("y", turn) for turn in (90, 270)])
        parts.append(Parts("handle", 2))
    else:
        long = wide * (rng.uniform(0.9, 1.3) if form in ("iron", "grill") else rng.uniform(1.4, 2.1))
        rise, start = wide * rng.uniform(0.0, 0.45), tall * rng.uniform(0.75, 0.9)
        path = bezier(
            (from_side, start, 0),
            (rim + long * 0.35, start + rise * 1.1, 0),
            (rim + long * 0.6, start + rise, 0),
            (rim + long, start + rise, 0),
            steps=28,
        )
        solids += _pan_handle(rng, path, wide, grip, body if grip is body else pick(rng, (STEEL, body, dark, grip)))
        if maybe(rng, 0.5):  # to hang it up
            eye = ring_of(wide * 0.085, wide * 0.03, (0, 0, 0), pick(rng, (STEEL, grip)))
            solids.append(eye.moved((float(path[-1, 0]) + wide * 0.13, float(path[-1, 1]), 0)).named("handle"))
            parts.append(Parts("ring", 1))
        if form == "coated" or form == "saute":
            rivet = bulb(wide * 0.03, (0, 0, 0), STEEL, sides=10)
            solids += named("handle", [rivet.moved((radius_at(outer, start) - wall, start, z * wide * 0.07)) for z in (-1, 1)])
        if second := (form in ("iron", "wok", "saute") and maybe(rng, 0.5)):
            arc = bezier((-0.25, 0, 0), (-0.25, 0, 0.3), (0.25, 0, 0.3), (0.25, 0, 0), steps=16) * wide
            handle = tube(arc, wide * 0.04, grip if form == "wok" else body, sides=10).moved((0, start, from_side)).turned("y", 270)
            solids.append(handle.named("handle"))
        parts.append(Parts("handle", 1 + second, grip if grip is not body else None))
    if form in ("sauce", "saute", "wok") and maybe(rng, 0.6):
        lid, high = pick(rng, (glass(rng, "white"), glass(rng, "blue"), body, STEEL)), rim * rng.uniform(0.12, 0.4)
        line = smooth([(0, 0), (1.02, 0), (1.02, 0), (1.0, 0.1), (0.7, 0.75), (0.1, 1), (0, 1)], rim, high)
        cover = turned(line, (0, tall - 0.001, 0), lid, sides=48)
        knob = smooth([(0, -0.3), (0.4, -0.3), (0.4, 0.6), (1, 0.9), (1, 1.3), (0, 1.5)], rim * 0.16, rim * 0.16)
        solids += named("lid", [cover, turned(knob, (0, tall + high, 0), pick(rng, (BLACK, grip, STEEL)))])
        solids += [ring_of(rim, wide * 0.03, (0, tall + wide * 0.01, 0), STEEL).named("lid")] if lid is not body else []
        parts.append(Parts("lid", 1, lid))
    elif form not in ("sauce", "grill") and maybe(rng, 0.35):
        count = int(rng.integers(1, 4))
        place = wide * (0.0 if count == 1 else 0.4)
        if form == "wok":
            place *= 0.6
        for i in range(count):
            solids += placed(
                [solid.moved((0, floor, place)) for solid in _egg(rng, wide * (0.5 if count == 1 else 0.33))],
                (0, 0, 0),
                turn=i * 360 / count + 30,
            )
        parts.append(Parts("egg", count, paint(rng, "white")))
    turn = pick(rng, (0.0, 0.0, -90.0))
    return Thing.of(placed(solids, (0, 0, 0), turn=turn), body, style, parts[:4])
