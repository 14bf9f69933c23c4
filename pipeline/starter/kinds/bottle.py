"""Makes a bottle: its designs, proportions and parts, and the words for them. See `thing`."""

from dataclasses import replace

import numpy as np

from pipeline.starter.kinds.kit import *


def bottle(rng: Rng) -> Thing:
    """Wine, beer, soda, milk, spray, soap, perfume, jug, decanter, flask of a laboratory, and now and then a flat one for the hip."""
    form = pick(rng, list(BOTTLES))
    knots, (widths, heights, (low, high), closures) = PROFILES[form], BOTTLES[form]
    wide, tall, sort, body = rng.uniform(*widths) / 2, rng.uniform(*heights), pick(rng, closures), glass(rng)
    if form in ("water", "medicine", "sauce", "dispenser", "spray") and maybe(rng, 0.8):
        body = plastic(rng)
    elif form in ("thermos", "jug"):
        body = pick(rng, (metal(rng), plastic(rng))) if form == "thermos" else pick(rng, (body, ceramic(rng), plastic(rng)))
    outer = smooth(knots, wide, tall)
    neck = outer[-1][0]
    mouth = [(neck * 0.75, tall), (neck * 0.7, tall - neck), (0.0, tall - neck)]
    shoulder = max(height for radius, height in outer if radius > neck + 0.35 * (wide - neck))
    style: list[str] = []
    bulbs = ("flask", "globe", "decanter")
    chance = {"whisky": 0.9, "perfume": 0.8, "spray": 0.6, "dispenser": 0.4, "medicine": 0.2, "water": 0.2, "jug": 0.35}.get(form, 0.0)
    angular = maybe(rng, chance)
    squash = (
        rng.uniform(0.45, 0.72) if maybe(rng, 0.7 if form in ("spray", "whisky", "perfume") else 0.0 if form in bulbs else 0.08) else 1.0
    )
    solids = [lathe([(0.0, 0.0), (outer[0][0] * 0.92, 0.0), *outer, *mouth], body, sides=72, squash=squash).named("neck", above=shoulder)]
    parts = []
    if form not in bulbs and maybe(rng, 0.6):
        paper = pick(rng, (WHITE, paint(rng, pick(rng, ("red", "yellow", "beige", "blue", "green", "black")))))
        ends = low + (high - low) * rng.uniform((0, 0.7), (0.3, 1))
        solids.append(band(outer, tall * float(ends[0]), tall * float(ends[1]), paper, squash))
        parts.append(Parts("label", 1, replace(paper, substance="")))
    if angular:  # square below, round at the neck
        square = squared(rng.uniform(4, 12))
        solids = shaped(solids, lambda a, h: 1 + (square(a, h) - 1) * np.clip((0.92 * tall - h) / (0.25 * tall), 0, 1))
        style.append("square")
    elif squash < 0.75:
        style.append("oval")
    if form == "jug":
        ear = ear_of(rng, (radius_at(outer, tall * 0.55), tall * 0.55), (neck, tall * rng.uniform(0.86, 0.93)), wide * 0.55, 0.008, body)
        solids.append(ear)
        solids += [ear.turned("y", 180)] if (both := (body.substance == "ceramic" and maybe(rng, 0.5))) else []
        parts.append(Parts("handle", 1 + both))
    if form == "thermos" and maybe(rng, 0.4):
        solids.append(ear_of(rng, (wide * 0.98, tall * 0.25), (wide * 0.98, tall * 0.7), wide * 0.7, 0.007, BLACK))
        parts.append(Parts("handle", 1, BLACK))
    solids += named("lid", closure(rng, sort, neck, tall, squash))
    if sort == "open":
        style.append("open")
    elif sort != "foil":
        parts.append(Parts(sort if sort in ("cork", "stopper", "pump", "trigger") else "cap", 1))
    style += ["slim"] if tall / wide > 7 else ["wide"] if tall / wide < 3.6 else []
    return Thing.of(solids, body, style, parts)
