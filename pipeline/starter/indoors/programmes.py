"""What belongs in which room: a list of wishes, drawn before any mesh is read.

    wishes = wished(rng, "bedroom", 14.0, stock, "train", kinds)
    wishes[0]                       # Wish(kind="bed", where="wall", names=("bed/17", "bed/2204", "bed/31"), ...)

So it is known which meshes a room depends on without reading them. Each wish names a few things; the first that can be read and for which
there is room is taken.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.starter.indoors.known import KNOWN, known
from pipeline.starter.indoors.stock import Stock
from pipeline.starter.kinds.thing import Rng, maybe, pick

Where = Literal["wall", "corner", "middle", "floor", "top", "beside", "before", "around"]
"""Where a thing is put: a place by itself (see `known.Place`), or beside, before or around another thing."""

SPARE: Final = 2
"""Number of things that a wish names; twice as many if their height matters."""

EXTRAS: Final = (0.12, 0.3)
"""Least and largest number of further pieces of furniture of random kinds for each square metre of floor, so that every kind occurs."""

STRANGE: Final = 0.15
"""How often a kind may be added of which nothing is known, where there are enough others."""

ENOUGH: Final = 3
"""Least number of known kinds that are enough to furnish rooms with."""

CLUTTER: Final = (0.25, 0.6)
"""Least and largest number of small things for each square metre of floor."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Things that belong in a kind of room."""

    kinds: tuple[str, ...]
    """One of them is drawn."""
    where: Where
    least: int = 1
    most: int = 1
    near: tuple[str, ...] = ()
    """Kinds of the things that they stand on, beside, before or around."""
    chance: float = 1.0
    alike: bool = False
    """Whether they are copies of one."""
    height: tuple[float, float] = (0.0, 9.0)
    """Least and largest height."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One thing that is to be put into a room."""

    kind: str
    where: Where
    near: tuple[str, ...] = ()
    names: tuple[str, ...]
    """Names of things in the stock, in the order in which they are tried."""
    height: tuple[float, float] = (0.0, 9.0)


SURFACES: Final = ("table", "desk", "dresser", "night stand", "cabinet", "counter", "bookshelf", "chest")
"""Kinds that things are put on."""

ON_TOP: Final = 0.8
"""Largest height of what is put on other things, in metres."""

DINING: Final = (0.6, 0.95)
"""Least and largest height of tables to sit at, in metres."""
LOW: Final = (0.2, 0.58)
"""Least and largest height of tables before sofas, in metres."""

PROGRAMMES: Final[dict[str, tuple[Step, ...]]] = {
    "bathroom": (
        Step(kinds=("bathtub",), where="wall", chance=0.85),
        Step(kinds=("toilet",), where="wall"),
        Step(kinds=("sink",), where="wall"),
        Step(kinds=("cabinet", "dresser", "shelf"), where="wall", chance=0.4),
        Step(kinds=("stool", "bucket"), where="floor", chance=0.4),
    ),
    "bedroom": (
        Step(kinds=("bed",), where="wall", most=2),
        Step(kinds=("night stand",), where="beside", near=("bed",), most=2, alike=True, chance=0.9),
        Step(kinds=("wardrobe",), where="wall", most=2, chance=0.8),
        Step(kinds=("dresser", "cabinet"), where="wall", chance=0.6),
        Step(kinds=("desk",), where="wall", chance=0.35),
        Step(kinds=("chair", "stool"), where="before", near=("desk",), chance=0.8),
        Step(kinds=("bench",), where="before", near=("bed",), chance=0.2),
        Step(kinds=("lamp",), where="top", near=("night stand",), most=2, alike=True),
        Step(kinds=("bookshelf", "shelf"), where="wall", chance=0.3),
    ),
    "dining room": (
        Step(kinds=("table",), where="middle", height=DINING),
        Step(kinds=("chair",), where="around", near=("table",), least=4, most=8, alike=True),
        Step(kinds=("dresser", "cabinet"), where="wall", chance=0.7),
        Step(kinds=("bench", "piano"), where="wall", chance=0.4),
        Step(kinds=("potted plant",), where="corner", most=2, chance=0.6),
    ),
    "kitchen": (
        Step(kinds=("refrigerator",), where="wall", chance=0.9),
        Step(kinds=("sink",), where="wall"),
        Step(kinds=("counter", "cabinet", "dresser"), where="wall", most=3),
        Step(kinds=("oven", "cabinet", "dresser"), where="wall", chance=0.6),
        Step(kinds=("table",), where="middle", height=DINING),
        Step(kinds=("chair", "stool"), where="around", near=("table",), least=2, most=4, alike=True),
        Step(kinds=("microwave", "frying pan", "pot"), where="top", near=SURFACES, chance=0.7),
    ),
    "living room": (
        Step(kinds=("sofa",), where="wall", most=2),
        Step(kinds=("table",), where="before", near=("sofa",), height=LOW, chance=0.9),
        Step(kinds=("chair",), where="floor", most=2, chance=0.6, alike=True),
        Step(kinds=("dresser", "cabinet", "bench"), where="wall"),
        Step(kinds=("monitor",), where="top", near=("dresser", "cabinet", "bench"), chance=0.8),
        Step(kinds=("bookshelf", "shelf"), where="wall", most=2, chance=0.8),
        Step(kinds=("piano",), where="wall", chance=0.3),
        Step(kinds=("table",), where="middle", height=DINING, chance=0.4),
        Step(kinds=("chair", "stool"), where="around", near=("table",), least=2, most=6, alike=True, chance=0.9),
        Step(kinds=("potted plant",), where="corner", most=2, chance=0.7),
        Step(kinds=("lamp",), where="corner", chance=0.6, height=(ON_TOP, 2.0)),
    ),
    "office": (
        Step(kinds=("desk",), where="wall", most=5),
        Step(kinds=("chair",), where="before", near=("desk",), least=5, most=5, alike=True),
        Step(kinds=("monitor", "monitor", "laptop"), where="top", near=("desk",), least=2, most=4),
        Step(kinds=("laptop",), where="top", near=("desk",), chance=0.6),
        Step(kinds=("keyboard",), where="top", near=("desk",), most=4, chance=0.8),
        Step(kinds=("bookshelf", "cabinet", "shelf", "dresser"), where="wall", most=3),
        Step(kinds=("table",), where="middle", chance=0.4, height=DINING),
        Step(kinds=("chair", "stool"), where="around", near=("table",), least=2, most=6, alike=True),
        Step(kinds=("potted plant",), where="corner", most=2, chance=0.6),
        Step(kinds=("lamp",), where="top", near=("desk",), most=2, chance=0.5),
    ),
    "room": (),
}
"""By kind of room: what belongs in it. A `room` has only what any room may have."""

ESSENTIAL: Final[dict[str, tuple[str, ...]]] = {
    "bathroom": ("toilet", "bathtub", "sink"),
    "bedroom": ("bed",),
    "dining room": ("table", "chair"),
    "kitchen": ("refrigerator", "oven", "sink"),
    "living room": ("sofa",),
    "office": ("desk",),
}
"""By kind of room: one of these kinds must be there, for a dining room both."""


ONLY_IN: Final[dict[str, tuple[str, ...]]] = {
    "bathtub": ("bathroom",),
    "bed": ("bedroom",),
    "counter": ("kitchen",),
    "night stand": ("bedroom",),
    "oven": ("kitchen",),
    "piano": ("living room", "dining room"),
    "refrigerator": ("kitchen", "office"),
    "sink": ("bathroom", "kitchen"),
    "sofa": ("living room", "office", "bedroom"),
    "toilet": ("bathroom",),
    "wardrobe": ("bedroom", "office", "living room"),
}
"""By kind: the rooms to which it may be added at random. A `room` may have all, and other kinds may be in all rooms."""


def possible(kinds: Set[str]) -> list[str]:
    """The kinds of room that can be furnished with these kinds of thing."""
    found = [room for room, needed in ESSENTIAL.items() if (all if room == "dining room" else any)(kind in kinds for kind in needed)]
    return found or ["room"]


def wished(rng: Rng, room: str, area: float, stock: Stock, split: str, kinds: Set[str]) -> list[Wish]:
    """Draw the list of things to put into a room, large ones first.

    Args:
        rng: decides all that is random.
        room: its kind.
        area: of its floor, in square metres.
        stock: where things come from.
        split: the split of the room.
        kinds: the kinds that may be used.
    """
    wishes: list[Wish] = []
    for step in PROGRAMMES[room]:
        wishes += _drawn(rng, step, stock, split, kinds)
    held = {kind for kind in kinds if known(kind).place != "top" or not kinds.isdisjoint(SURFACES)}  # the others would find no place
    fitting = [kind for kind in furniture(held) if room == "room" or room in ONLY_IN.get(kind, (room,))]
    for _ in range(round(area * rng.uniform(*EXTRAS) * (2 if room == "room" else 1)) if fitting else 0):
        wishes += _drawn(rng, _alone(rng, _one_of(rng, fitting)), stock, split, kinds)
    things = sorted(kind for kind in held if not known(kind).furniture)
    for _ in range(min(round(area * rng.uniform(*CLUTTER)), 3 * len(things))):
        wishes += _drawn(rng, _alone(rng, pick(rng, things)), stock, split, kinds)
    return sorted(wishes, key=lambda wish: _rank(wish.where))  # stable: within a rank the order stays


def _one_of(rng: Rng, kinds: list[str]) -> str:
    """A random kind. Where there are enough others, those of which nothing is known are seldom taken."""
    familiar = [kind for kind in kinds if kind in KNOWN]
    return pick(rng, familiar if len(familiar) >= ENOUGH and not maybe(rng, STRANGE) else kinds)


def _alone(rng: Rng, kind: str) -> Step:
    """A thing that belongs to no other. One lamp in two stands on the floor, and screens stand on no tables."""
    if kind == "lamp" and maybe(rng, 0.5):
        return Step(kinds=(kind,), where="corner", height=(ON_TOP, 2.0))
    where = known(kind).place
    near = SURFACES if where == "top" else ()
    return Step(kinds=(kind,), where=where, near=tuple(name for name in near if kind != "monitor" or name != "table"))


def _rank(where: Where) -> int:
    """When a thing is put down: what stands against walls first, what stands on other things last but for what lies around."""
    return {"wall": 0, "beside": 1, "middle": 2, "before": 3, "around": 4, "corner": 5, "top": 6, "floor": 7}[where]


def _drawn(rng: Rng, step: Step, stock: Stock, split: str, kinds: Set[str]) -> list[Wish]:
    """The wishes of a step; none if chance or the stock does not allow it."""
    there = [kind for kind in step.kinds if kind in kinds]
    wanted, count = maybe(rng, step.chance), int(rng.integers(step.least, step.most + 1))
    if not there or not wanted:
        return []
    kind = pick(rng, there)

    spare = SPARE if step.height == Step.height else 2 * SPARE

    def names() -> tuple[str, ...]:
        return tuple(dict.fromkeys(stock.drawn(rng, kind, split) for _ in range(spare)))

    first = names()
    return [
        Wish(kind=kind, where=step.where, near=step.near, names=first if step.alike or not turn else names(), height=step.height)
        for turn in range(count)
    ]


def structure(ceiling: bool) -> tuple[str, ...]:
    """The classes that every room has, before those of its furniture."""
    return ("floor", "wall", "door", "window", "clutter", *(("ceiling",) if ceiling else ()))


def furniture(kinds: Set[str]) -> tuple[str, ...]:
    """The classes of furniture among kinds, in alphabetical order."""
    return tuple(sorted(kind for kind in kinds if known(kind).furniture))
