"""Find the classes of one cache among those of another, or of a label set, by their names.

    places = matched(["night_stand", "bed"], ["bed", "night stand"])    # [1, 0]

A class is looked for by its exact name first. Another spelling of the name (case, hyphen, underscore, blanks) is taken only if the exact
name is not there and no second class of either list is spelled alike: a cache may hold the classes `-1` and `+1`, `c` and `C`, or `t-bar`
and `T bar`, and they stay apart. Two equal lists are the same classes in the same order, whatever their names are.
"""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError

NONE: Final = -1
"""The place of a class that the other list does not have."""
SOURCE: Final = "source"
"""Name of the label set that is made of a cache's own classes, in their order."""


def spelling(name: str) -> str:
    """The form that all spellings of one name share: `night stand` for `Night_Stand`, `night-stand` and `night - stand`. A hyphen at the
    beginning or the end of a word is a sign and stays: `-1` is not `1`.
    """
    return " ".join(re.sub(r"(?<=\w)-+(?=\w)|(?<=\s)-+(?=\s)", " ", name.lower().replace("_", " ")).split()) or name


def _words(name: str) -> str:
    """A class name with blanks in the place of hyphens and underscores, as the label set `source` has it."""
    return " ".join(re.sub(r"[-_]", " ", name).split())


def matched(names: Sequence[str], others: Sequence[str], where: str = "", there: str = "", *, own: bool = False) -> NDArray[np.int64]:
    """The place of each class name in another list of names, [n]; `NONE` where the other list does not have it.

    Args:
        names: the classes of one cache, each once.
        others: the classes of another cache, of a label set, or of several caches taken together.
        where: what `names` belong to, for messages.
        there: what `others` belong to, for messages.
        own: whether `others` may have been made from `names` one by one, with blanks for hyphens and underscores: if each of `others` is
            the name at its place so changed, the same place is the same class. If not, names decide.

    Raises:
        UserError: a name is not in `others` exactly, and several classes in `names` or in `others` have its spelling.
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
    """The classes of several caches as one list, and for each cache the places of its classes in that list. A class that caches spell
    differently has the name that it has in the first of them.

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
    """The place in `names` of each class that a setting names, [n]; `NONE` for a class that is not there. Each is looked for by itself.

    Raises:
        UserError: as `matched`.
    """
    return np.array([matched([name], names, "", where)[0] for name in wanted], np.int64)


def _of(what: str) -> str:
    return f" in {what}" if what else ""
