"""Class names of data sets, in the order of their label numbers: one text file for each data set, in `lists/`.

    names("modelnet40")                                  # ("airplane", "bathtub", ...)

`objaverse-lvis` has the spelling of the data set: `bat_(animal)`.
"""

import functools
from pathlib import Path
from typing import Final

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean

_FOLDER: Final = Path(__file__).parent / "lists"

CLASS_LISTS: Final = tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))
"""Names of the data sets."""


@functools.cache
def names(data_set: str) -> tuple[str, ...]:
    """The class names of a data set.

    Raises:
        UserError: `data_set` is not one of `CLASS_LISTS`.
    """
    if data_set not in CLASS_LISTS:
        raise UserError(f"no list of classes is called {data_set!r}{did_you_mean(data_set, CLASS_LISTS)}")
    return tuple((_FOLDER / f"{data_set}.txt").read_text(encoding="utf-8").splitlines())
