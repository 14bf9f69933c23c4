"""Where the things of a house usually stand, and how large they usually are.

    known("bed")                       # Known(place="wall", by="length", metres=2.05, ...)
    kind_of("night_stand")             # "night stand"
    kind_of("couch pillows")           # "sofa"
    kind_of("wall doorway")            # None: a room has its own walls

Sizes are what such things usually have in flats and offices. They only serve to bring meshes of unknown units to a plausible size.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

Place = Literal["wall", "corner", "middle", "floor", "top"]
"""Where a thing stands by itself: with its back to a wall, near a wall, in the middle, anywhere on the floor, or on other things."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """Where things of one kind stand, and how large they are."""

    place: Place
    by: Literal["height", "length"] = "height"
    """Whether its usual size is its height, or its longest horizontal side."""
    metres: float
    """Its usual size."""
    most: float = 2.4
    """Longest horizontal side in metres, and for small things the largest height, too. A mesh that would be longer is made smaller."""
    furniture: bool = True
    """Whether it is a class of its own with boxes. Other things are clutter."""
    front: float = 0.0
    """Metres that stay free before it."""
    backed: bool = False
    """Whether its upper part is its back, so that one can tell where it faces."""


def _wall(metres: float, most: float = 2.4, front: float = 0.5, by: Literal["height", "length"] = "height", backed: bool = False) -> Known:
    return Known(place="wall", metres=metres, most=most, front=front, by=by, backed=backed)


def _thing(metres: float, place: Place = "top", by: Literal["height", "length"] = "height", most: float = 1.2) -> Known:
    return Known(place=place, by=by, metres=metres, most=most, furniture=False)


KNOWN: Final[dict[str, Known]] = {
    "bathtub": _wall(1.65, 1.9, by="length"),
    "bed": _wall(2.05, 2.3, by="length", backed=True),
    "bench": _wall(0.75, 1.6, backed=True),
    "bookshelf": _wall(1.8, 1.6),
    "chair": Known(place="floor", metres=0.88, most=0.95, backed=True),
    "desk": _wall(0.76, 1.8, front=0.7),
    "dresser": _wall(0.95, 1.7),
    "lamp": Known(place="top", metres=0.5, most=0.6),
    "laptop": Known(place="top", by="length", metres=0.35, most=0.4),
    "monitor": Known(place="top", by="length", metres=0.55, most=0.7),
    "night stand": _wall(0.55, 0.65, front=0.2),
    "piano": _wall(1.15, 1.6, front=0.7),
    "potted plant": Known(place="corner", metres=0.7, most=0.9),
    "refrigerator": _wall(1.75, 1.0),
    "sink": _wall(0.9, 1.3),
    "sofa": _wall(0.82, 2.4, front=0.6, backed=True),
    "stool": Known(place="floor", metres=0.5, most=0.5),
    "table": Known(place="middle", metres=0.74, most=2.2),
    "toilet": _wall(0.78, 0.8, backed=True),
    "wardrobe": _wall(2.0, 2.2, front=0.6),
    "cabinet": _wall(0.9, 1.6),
    "counter": _wall(0.9, 1.8),
    "oven": _wall(0.9, 0.9),
    "shelf": _wall(1.4, 1.4),
    "barrel": Known(place="corner", metres=0.8, most=0.8),
    "chest": Known(place="corner", metres=0.5, most=1.0),
    "crate": Known(place="corner", by="length", metres=0.5, most=0.6),
    "bag": _thing(0.4, "floor"),
    "ball": _thing(0.22, "floor"),
    "book": _thing(0.25, by="length"),
    "bottle": _thing(0.27),
    "bowl": _thing(0.22, by="length"),
    "box": _thing(0.4, "floor", "length"),
    "bucket": _thing(0.3, "floor"),
    "can": _thing(0.14),
    "candle": _thing(0.18),
    "clock": _thing(0.25),
    "cup": _thing(0.1),
    "food": _thing(0.15, by="length"),
    "frying pan": _thing(0.45, by="length"),
    "guitar": _thing(1.0, "corner", most=1.3),
    "jar": _thing(0.17),
    "keyboard": _thing(0.44, by="length"),
    "knife": _thing(0.28, by="length"),
    "ladder": _thing(1.6, "corner", most=2.2),
    "microwave": _thing(0.5, by="length"),
    "mug": _thing(0.1),
    "pillow": _thing(0.45, "floor", "length"),
    "plate": _thing(0.25, by="length"),
    "pot": _thing(0.26, by="length"),
    "radio": _thing(0.35, by="length"),
    "teapot": _thing(0.24, by="length"),
    "traffic cone": _thing(0.55, "floor", most=0.9),
    "trash": _thing(0.5, "floor"),
    "umbrella": _thing(0.9, "floor"),
    "vase": _thing(0.3),
}
"""Kinds of things, each with its place and size."""

UNKNOWN: Final = Known(place="floor", by="length", metres=0.5, most=0.5)
"""Place and size of a kind that is not in `KNOWN`. They are a guess."""

SAME: Final[dict[str, str]] = {
    "armchair": "chair",
    "bedside table": "night stand",
    "bin": "trash",
    "book case": "bookshelf",
    "book shelf": "bookshelf",
    "bookcase": "bookshelf",
    "cactus": "potted plant",
    "chest of drawers": "dresser",
    "cooker": "oven",
    "couch": "sofa",
    "cupboard": "cabinet",
    "desk chair": "chair",
    "desk lamp": "lamp",
    "floor lamp": "lamp",
    "flower pot": "potted plant",
    "flowerpot": "potted plant",
    "fridge": "refrigerator",
    "garbage can": "trash",
    "keg": "barrel",
    "ketchup": "bottle",
    "light": "lamp",
    "mustard": "bottle",
    "nightstand": "night stand",
    "office chair": "chair",
    "pan": "frying pan",
    "piano bench": "bench",
    "piano stool": "stool",
    "plant": "potted plant",
    "screen": "monitor",
    "shelves": "shelf",
    "sofa chair": "chair",
    "stove": "oven",
    "table lamp": "lamp",
    "television": "monitor",
    "television stand": "cabinet",
    "trunk": "chest",
    "tub": "bathtub",
    "tv": "monitor",
    "tv cabinet": "cabinet",
    "tv stand": "cabinet",
    "washbasin": "sink",
}
"""Other words for kinds, each with the kind that it means."""

OUTSIDE: Final = frozenset(
    (
        "airplane banner barrier base boat building bus car carpet ceiling column curtain door dumpster fence firehydrant floor helicopter "
        "house lid mailbox mirror motorbike painting picture pictureframe pillar road rocket rug ship stairs stair streetlight tent train "
        "trafficlight tree truck wall watertower window"
    ).split()
) | {"light switch", "toilet brush", "toilet paper"}
"""Names of what does not furnish rooms: what a room has of its own, what hangs on walls or lies under furniture, and what is outside."""

_HEADS: Final = tuple(sorted((word for word in (*KNOWN, *SAME) if len(word) >= 4), key=len, reverse=True))
"""Words that count as the end of a longer word, too: a `kitchentable` is a table."""


def known(kind: str) -> Known:
    """Return the entry of a kind in `KNOWN`; for a kind that is not there, the guess `UNKNOWN`."""
    return KNOWN.get(kind, UNKNOWN)


def kind_of(name: str) -> str | None:
    """The kind that the name of a class means.

    Case, hyphens and underscores do not count. A name that is a kind, or another word for one, means this kind. Otherwise the first of its
    words that is a kind, or ends with one, decides; two or three words that are one name together come before single ones. So `bed double`
    is a bed, `table lamp` a lamp and `lamp table` a lamp. A name without such a word is a kind of its own.

    Returns:
        The kind in small letters with blanks; None for what rooms are not furnished with, see `OUTSIDE`.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    parts = re.sub(r"[\W_]+", " ", spaced).lower().split()
    whole = " ".join(parts)
    for length in (len(parts), 3, 2):
        for start in range(len(parts) - length + 1):
            words = " ".join(parts[start : start + length])
            if words in OUTSIDE:
                return None
            if (found := _exactly(words)) is not None:
                return found
    for part in parts:
        if part in OUTSIDE:
            return None
        if (found := _exactly(part) or _head(part)) is not None:
            return found
    return whole


def _exactly(text: str) -> str | None:
    """The kind that a text is, in the singular or the plural."""
    for word in (text, text.removesuffix("s")):
        if word in KNOWN:
            return word
        if word in SAME:
            return SAME[word]
    return None


def _head(word: str) -> str | None:
    return next((SAME.get(head, head) for head in _HEADS if word.endswith(head)), None)
