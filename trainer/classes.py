"""Which class of one list is which of another: within a cache by index, between caches by name.

    places = matched(["night_stand", "bed"], ["bed", "night stand"])    # [1, 0]

A name means the same name first. Another spelling of it (case, hyphen, underscore, blanks) counts only where it can be no other class, on
either side: a cache may well hold the classes `-1` and `+1`, `c` and `C`, or `t-bar` and `T bar`, and they stay apart.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError

NONE = -1
"""The place of a class that the other list does not have."""


def spelling(name: str) -> str:
    """What the spellings of one name have in common: `Night_Stand`, `night-stand`, `night - stand` and `night stand` are alike. A hyphen
    at the beginning or the end of a word is a sign and stays: `-1` is not `1`.
    """
    return " ".join(re.sub(r"(?<=\w)-+(?=\w)|(?<=\s)-+(?=\s)", " ", name.lower().replace("_", " ")).split()) or name


def _words(name: str) -> str:
    """A class name without any hyphen or underscore, as the label set `source` has it."""
    return " ".join(re.sub(r"[-_]", " ", name).split())


def matched(names: Sequence[str], others: Sequence[str], where: str = "", there: str = "", *, own: bool = False) -> NDArray[np.int64]:
    """For each of some class names its place among others; `NONE` where it is not among them. [n]

    Args:
        names: of one cache, each once.
        others: of another cache, of a label set, or of several caches taken together.
        where: what `names` belong to, for messages.
        there: what `others` belong to.
        own: whether `others` were made of `names` one by one, by hyphens and underscores that became blanks: then the same place is the
            same class. Where that cannot have been, as for a set of the same name from a file, names decide.

    Raises:
        UserError: a name has no equal, and its spelling is that of several classes here or there: which one is meant cannot be known.
    """
    names, others = list(names), list(others)
    if names == others or (own and list(map(_words, names)) == list(map(_words, others))):
        return np.arange(len(names))
    exactly: dict[str, list[int]] = {}
    alike: dict[str, list[int]] = {}
    for i, other in enumerate(others):
        exactly.setdefault(other, []).append(i)
        alike.setdefault(spelling(other), []).append(i)
    here: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        here.setdefault(spelling(name), []).append(name)
    places = []
    for name in names:
        found = exactly.get(name) or alike.get(spelling(name), [])
        if len(found) > 1 or (found and others[found[0]] != name and len(here[spelling(name)]) > 1):
            mine = " and ".join(map(repr, here[spelling(name)]))
            theirs = " and ".join(repr(others[i]) for i in found)
            raise UserError(
                f"class {name!r}{_of(where)} cannot be told from its spelling: there is {mine}{_of(where) or ' here'}, and "
                f"{theirs}{_of(there) or ' there'}. Give the same class the same name in both"
            )
        places.append(found[0] if found else NONE)
    return np.array(places, np.int64)


def united(lists: Sequence[Sequence[str]], owners: Sequence[str]) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """The classes of several caches together, by the name each has first, and for each cache the place of its classes among them.

    Args:
        lists: the class names of each cache.
        owners: what each cache is called, for messages.

    Raises:
        UserError: as `matched`, for any two caches.
    """
    for i, names in enumerate(lists):
        for j, others in enumerate(lists):
            if i != j:  # whichever comes first: the order of the caches must not decide
                matched(names, others, owners[i], owners[j])
    classes: list[str] = []
    places = []
    for names, owner in zip(lists, owners, strict=True):
        place = matched(names, classes, owner, "the caches before")
        for i in np.flatnonzero(place == NONE).tolist():
            place[i] = len(classes)
            classes.append(names[i])
        places.append(place)
    return tuple(classes), places


def chosen(wanted: Sequence[str], names: Sequence[str], where: str = "") -> NDArray[np.int64]:
    """Places in `names` of the classes that a setting names, one by one; `NONE` where there is none. [n]

    Raises:
        UserError: as `matched`.
    """
    return np.array([matched([name], names, "", where)[0] for name in wanted], np.int64)


def _of(what: str) -> str:
    return f" in {what}" if what else ""
