"""English for sentences that code makes: articles, plurals, numbers, lists.

with_article("oval table")               # "an oval table"
several(4, "metal leg")                  # "four metal legs"
listed(["a lid", "two handles"])         # "a lid and two handles"
"""

from collections.abc import Sequence
from typing import Final

MOST: Final = 6
"""Things are counted in words up to this many; of more one says `many`."""
NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six")
MANY: Final = "many"
ADJECTIVES: Final = {"wood": "wooden"}
"""Substances whose adjective is another word."""


def counted(count: int) -> str:
    """Write a number of things: `two`, or `many`."""
    return NUMBERS[count] if count <= MOST else MANY


def plural(noun: str) -> str:
    """Return the plural of a noun. Of irregular ones it knows `shelf` alone."""
    if noun.endswith("shelf"):
        return noun[:-1] + "ves"
    if noun.endswith("y") and noun[-2:-1].lower() not in set("aeiou") | {""}:
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def with_article(words: str) -> str:
    """Put `a` or `an` before some words, but not before `stairs`."""
    if not words.strip() or words.split()[0] == "stairs":
        return words
    return ("an " if words.lstrip()[0].lower() in "aeiou" else "a ") + words


def several(count: int, words: str) -> str:
    """Write a number of things: `a black handle`, `four legs`. `words`: the singular, with adjectives before it."""
    return with_article(words) if count == 1 else f"{counted(count)} {plural(words)}"


def listed(texts: Sequence[str]) -> str:
    """Join texts: `a, b and c`."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def adjective(substance: str) -> str:
    """Return the adjective of a substance: `wooden`, `metal`."""
    return ADJECTIVES.get(substance, substance)
