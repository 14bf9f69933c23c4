"""Match the classes of two lists by name: of two caches, or of a cache and a label set.

    places = matched(["night_stand", "bed"], ["bed", "night stand"])    # [1, 0]

A class is first searched by its exact name. If the other list does not have this name, another spelling of it (case, hyphens, underscores,
blanks) is accepted, but only if no second class of either list has the same spelling. So classes such as `-1` and `+1`, `c` and `C`, or
`t-bar` and `T bar` stay different. Classes of two equal lists are matched by index.
"""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError

NONE: Final = -1
"""Index of a class that the other list does not have."""
SOURCE: Final = "source"
"""Name of the label set with the cache's own classes, in their order."""


def spelling(name: str) -> str:
    """The form that all spellings of a name have in common: `night stand` for `Night_Stand`, `night-stand` and `night - stand`. A hyphen at
    the beginning or the end of a word is kept, since it may be a sign: `-1` is not `1`.
    """
    return " ".join(re.sub(r"(?<=\w)-+(?=\w)|(?<=\s)-+(?=\s)", " ", name.lower().replace("_", " ")).split()) or name


def words(name: str) -> str:
    """A class name with blanks instead of hyphens and underscores, as in the label set `source`."""
    return " ".join(re.sub(r"[-_]", " ", name).split())


def matched(names: Sequence[str], others: Sequence[str], where: str = "", there: str = "", *, own: bool = False) -> NDArray[np.int64]:
    """The index of each class name in another list of names, [n]; `NONE` for a name that the other list does not have.

    Args:
        names: names of classes.
        others: names to search in: classes of another cache, of a label set, or of several caches together.
        where: the owner of `names`, for messages.
        there: the owner of `others`, for messages.
        own: whether `others` may be a copy of `names` with blanks instead of hyphens and underscores. If it is, classes are matched by
            index, else by name.

    Raises:
        UserError: `others` does not have the exact name, and several classes in `names` or in `others` have its spelling.
    """
    names, others = list(names), list(others)
    if names == others or (own and list(map(words, names)) == list(map(words, others))):
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
    """The classes of several caches as one list, and for each cache the indices of its classes in this list. If caches spell a class
    differently, the list has the spelling of the first cache.

    Args:
        lists: the class names of each cache.
        owners: name of each cache, for messages.

    Raises:
        UserError: `matched` raises it for two of the caches.
    """
    for i, names in enumerate(lists):
        for j, others in enumerate(lists):
            if i != j:  # in both directions: the order of the caches must not decide whether an error is raised
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
    """The index in `names` of each class that a setting names, [n]; `NONE` for a class that is not there. Each class is matched alone.

    Raises:
        UserError: `matched` raises it for a class.
    """
    return np.array([matched([name], names, "", where)[0] for name in wanted], np.int64)


def _of(what: str) -> str:
    return f" in {what}" if what else ""
