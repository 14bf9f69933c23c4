"""What a maker of a kind gives back - surfaces and the words for them - and the materials and parts that makers share.

    def stool(rng: Rng) -> Thing:
        timber = wood(rng)
        seat = disc(0.18, 0.03, (0, 0.45, 0), timber).named("seat")
        stands, feet = legs(rng, 0.3, 0.3, 0.45, 0.04, timber)
        return Thing.of([seat, *stands], timber, ["round"], [feet])

A description says only what a picture from some side shows: nothing hidden inside, and counts up to `pipeline.words.MOST`.
Rng is passed in; the same state gives the same thing.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from pipeline.starter.kinds.solids import *

Rng = np.random.Generator
T = TypeVar("T")

STYLES: Final = tuple("round square oval tall low wide slim padded folding corner curved open closed striped".split())
"""Every word a `Thing.style` may hold."""


PARTS: Final = tuple(
    (
        "antenna arm awning back bar base basin basket beam bell blanket board body book booster bottle bowl bridge bulb bumper button "
        "cabin cabinet cable cage candle canopy chimney column container cord curtain deck dial dispenser door drawer egg engine fender "
        "filling fin flag float floor flower foot footboard footrest frame fruit funnel garment hand handle head headboard headrest "
        "holder hook hull keel key knob ladder lamp landing leaf leg lid lifeboat light mast mattress mirror missile mount mouse neck nose "
        "nozzle oar pane panel paper pedal pedestal peg pendulum pillow pipe plate pole post pot propeller rail railing rest rib rim ring "
        "rocker roof sail saucer screen seat shade shelf shutter side sign slot soil spade speaker spoon spout stand stem step stool "
        "string strut tail tank tap top trunk wall weight wheel window wing wire"
    ).split()
)
"""Every name that a `Solid.part` may have, in alphabetical order. A thing of the same sort has the same name in all kinds."""


@dataclass(frozen=True)
class Parts:
    """Parts of one sort that can be seen."""

    noun: str
    """One or two words in the singular, regular in the plural: `drawer`, `armrest`, `leg`, `door`."""
    count: int
    material: Material | None = None
    """Where it differs from the thing's main material; None where it does not or where several occur."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One thing of a kind. Stands on Y = 0, faces +Z, in metres."""

    solids: tuple[Solid, ...]
    main: Material
    """The material of most of its visible surface."""
    style: tuple[str, ...] = ()
    """Words from `STYLES` that set this one apart from others of its kind."""
    parts: tuple[Parts, ...] = ()
    """What comes and goes or varies in number within the kind. What every one of the kind has alike is not worth saying."""
    design: str = ""
    """Name of its design among those of the kind, such as `rowing boat`; empty if its kind names none."""

    def __post_init__(self) -> None:
        unknown = {str(name) for solid in self.solids for name in np.unique(solid.part)} - set(PARTS)
        assert not unknown, f"names of parts that `PARTS` lacks: {sorted(unknown)}"

    @classmethod
    def of(
        cls, solids: Iterable[Solid], main: Material, style: Iterable[str] = (), parts: Iterable[Parts] = (), *, rest: str = "body"
    ) -> "Thing":
        """From solids, words and parts in any collection. What has no name in `PARTS` yet is named `rest`."""
        return cls(solids=tuple(named(rest, solids)), main=main, style=tuple(style), parts=tuple(parts))


COLORS: Final[dict[str, tuple[tuple[float, float, float], ...]]] = {
    "white": ((0.93, 0.93, 0.91), (0.90, 0.89, 0.86)),
    "black": ((0.10, 0.10, 0.11), (0.14, 0.13, 0.13)),
    "grey": ((0.45, 0.46, 0.48), (0.58, 0.58, 0.57), (0.35, 0.36, 0.38)),
    "red": ((0.72, 0.16, 0.14), (0.62, 0.12, 0.16)),
    "orange": ((0.90, 0.48, 0.14),),
    "yellow": ((0.92, 0.78, 0.22), (0.88, 0.72, 0.30)),
    "green": ((0.22, 0.50, 0.26), (0.35, 0.55, 0.30), (0.16, 0.40, 0.30)),
    "blue": ((0.16, 0.32, 0.62), (0.24, 0.40, 0.58), (0.35, 0.58, 0.80)),
    "purple": ((0.45, 0.26, 0.52), (0.55, 0.38, 0.60)),
    "pink": ((0.90, 0.56, 0.62), (0.85, 0.48, 0.58)),
    "brown": ((0.43, 0.28, 0.18), (0.50, 0.33, 0.20), (0.36, 0.22, 0.14)),
    "beige": ((0.82, 0.72, 0.55), (0.86, 0.78, 0.64)),
}
"""Names of colours, and the sRGB values around which they vary. Names are what a person would call them."""

WOODS: Final = ("brown", "brown", "brown", "beige", "beige", "white", "black")
FABRICS: Final = ("grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "beige", "white", "black", "brown")


def pick(rng: Rng, things: Sequence[T]) -> T:
    return things[int(rng.integers(len(things)))]


def designed(rng: Rng, makers: Sequence[Callable[..., Thing]], *more: object) -> Thing:
    """A thing of one of several designs, which is called as its maker: `_rowing_boat` makes a `rowing boat`.

    Args:
        rng: the generator, which chooses.
        makers: functions from the generator, and from `more`, to a thing. One that is there twice is chosen twice as often.
        more: further arguments of the makers.
    """
    maker = pick(rng, makers)
    return dataclasses.replace(maker(rng, *more), design=maker.__name__.strip("_").replace("_", " "))


def maybe(rng: Rng, chance: float) -> bool:
    return bool(rng.random() < chance)


def _made(rng: Rng, color: str, substance: str, roughness: float, metallic: float = 0.0) -> Material:
    """A material whose colour lies near one of the name's values."""
    r, g, b = np.clip(np.array(pick(rng, COLORS[color])) + rng.normal(0, 0.015, 3), 0.04, 0.96)
    return Material(color=(float(r), float(g), float(b)), metallic=metallic, roughness=roughness, color_name=color, substance=substance)


def wood(rng: Rng, color: str = "") -> Material:
    """Wood of a colour named in `COLORS`; by default one that wood has."""
    return _made(rng, color or pick(rng, WOODS), "wood", 0.75)


def fabric(rng: Rng, color: str = "") -> Material:
    return _made(rng, color or pick(rng, FABRICS), "fabric", 1.0)


def leather(rng: Rng, color: str = "") -> Material:
    return _made(rng, color or pick(rng, ("brown", "black", "red", "white", "beige")), "leather", 0.5)


def plastic(rng: Rng, color: str = "") -> Material:
    return _made(rng, color or pick(rng, FABRICS), "plastic", 0.45)


def metal(rng: Rng, color: str = "") -> Material:
    """Bare (grey) or, in any other colour, painted."""
    color = color or pick(rng, ("grey", "grey", "black", "white"))
    return _made(rng, color, "metal", 0.35, 0.6 if color == "grey" else 0.1)


def ceramic(rng: Rng, color: str = "") -> Material:
    return _made(rng, color or pick(rng, ("white", "white", "blue", "green", "red", "yellow", "black", "beige", "pink")), "ceramic", 0.3)


def glass(rng: Rng, color: str = "") -> Material:
    return _made(rng, color or pick(rng, ("green", "brown", "blue", "white", "red")), "glass", 0.25)


def stone(rng: Rng, color: str = "") -> Material:
    return _made(rng, color or pick(rng, ("grey", "white", "beige", "black")), "stone", 0.9)


STEEL: Final = Material(color=(0.70, 0.71, 0.73), metallic=0.6, roughness=0.35, color_name="grey", substance="metal")
BLACK: Final = Material(color=(0.10, 0.10, 0.11), roughness=0.5, color_name="black", substance="plastic")
BRASS: Final = Material(color=(0.78, 0.62, 0.30), metallic=0.6, roughness=0.35, color_name="yellow", substance="metal")
WHITE: Final = Material(color=(0.93, 0.93, 0.91), roughness=0.7, color_name="white", substance="plastic")
LEAF: Final = Material(color=(0.24, 0.48, 0.22), roughness=0.8, color_name="green")


def frame(rng: Rng) -> Material:
    """What legs and stands are made of."""
    return pick(rng, (STEEL, BLACK, BRASS, WHITE, wood(rng)))


def four(width: float, depth: float) -> list[tuple[float, float]]:
    """x and z of the corners of a rectangle around the origin."""
    return [(x * width / 2, z * depth / 2) for x in (-1, 1) for z in (-1, 1)]


def standing(solids: Sequence[Solid]) -> list[Solid]:
    """Moved up or down until the lowest point is at Y = 0."""
    low = min(float(solid.vertices[:, 1].min()) for solid in solids)
    return [solid.moved((0, -low, 0)) for solid in solids]


def legs(rng: Rng, width: float, depth: float, height: float, thick: float, material: Material) -> tuple[list[Solid], Parts]:
    """Four legs below a rectangle, and the words for them: square, round, tapered and splayed, or turned on a lathe."""
    corners, said = four(width - 1.5 * thick, depth - 1.5 * thick), Parts(noun="leg", count=4, material=material)
    style = rng.integers(4)
    if style == 0:
        return named("leg", [box((thick, height, thick), (x, 0, z), material) for x, z in corners]), said
    if style == 1:
        half, rings = thick / 2, rng.uniform(0.3, 0.6, 3) * thick
        line = [(0, 0), (half * 0.6, 0), (rings[0], height * 0.2), (half * 0.5, height * 0.3), (rings[1], height * 0.55)]
        line += [(rings[2] * 0.8, height * 0.75), (half, height * 0.8), (half, height), (0, height)]
        return named("leg", [turned(line, (x, 0, z), material, sides=12) for x, z in corners]), said
    inset, splay = (0.0, 0.0) if style == 2 else (0.05 * min(width, depth), rng.uniform(0.08, 0.2) * height)

    def bar(x: float, z: float) -> Solid:
        top = (x - math.copysign(inset, x), height, z - math.copysign(inset, z))
        foot = (top[0] + math.copysign(splay, x), 0, top[2] + math.copysign(splay, z))
        return rod(foot, top, thick * 0.35, thick * 0.55, material)

    return named("leg", [bar(x, z) for x, z in corners]), said


def drawers(rng: Rng, size: Point, at: Point, rows: int, columns: int, material: Material, knob: Material) -> tuple[list[Solid], Parts]:
    """A chest with rows x columns of drawers towards +Z, and the words for them. One style of handle: bar, knob, cup or groove."""
    width, height, depth = size
    x, y, z = at
    solids = [box(size, at, material)]
    tall, wide = height / rows, width / columns
    front, style, gap = z + depth / 2, rng.integers(4), min(0.012, 0.05 * tall)
    for row in range(rows):
        for column in range(columns):
            middle, left = y + (row + 0.5) * tall, x - width / 2 + (column + 0.5) * wide
            face = (wide - 2 * gap, tall - 2 * gap, 0.018)
            solids.append(box(face, (left, y + row * tall + gap, front + 0.009), material).named("drawer"))
            match style:
                case 0:
                    solids.append(box((wide * 0.35, 0.014, 0.022), (left, middle - 0.007, front + 0.029), knob).named("handle"))
                case 1:
                    solids.append(rod((left, middle, front + 0.01), (left, middle, front + 0.045), 0.009, 0.017, knob).named("handle"))
                case 2:
                    solids.append(cushion((wide * 0.22, 0.03, 0.03), (left, middle - 0.01, front + 0.026), 0.012, knob).named("handle"))
                case _:
                    solids.append(box((wide * 0.5, 0.02, 0.006), (left, middle + tall * 0.3, front + 0.019), BLACK).named("handle"))
    return solids, Parts(noun="drawer", count=rows * columns)
