"""Options of sources. They are texts; these functions make choices and numbers of them, and refuse everything else.

choice("option up", "z", ("y", "z"))           # "z"
whole("count", "40", 0, 999)                   # 40
number("size", "1.5", 0.001, 10_000, "metres") # 1.5
"""

import math
from collections.abc import Sequence
from typing import Final, TypeVar

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean

MOST: Final = 999_999_999
"""The largest whole number of an option that has no limit of its own."""

Choice = TypeVar("Choice", bound=str)


def choice(what: str, value: str, allowed: Sequence[Choice]) -> Choice:
    """The value, if it is one of the allowed ones.

    Raises:
        UserError: it is another value.
    """
    for one in allowed:
        if value == one:
            return one
    raise UserError(f"{what}: expected one of {', '.join(map(repr, allowed))}, got {value!r}{did_you_mean(value, allowed)}")


def whole(name: str, text: str, least: int, most: int = MOST, what: str = "a whole number") -> int:
    """The whole number that an option gives.

    Args:
        name: the option.
        text: its value.
        least: the smallest number that is allowed.
        most: the largest one.
        what: what the number is, for the message.

    Raises:
        UserError: the text is no number, or one beyond the limits.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise UserError(f"option {name}: expected {what} from {least} to {most}, got {text!r}")
    return int(text)


def number(name: str, text: str, least: float, most: float, what: str = "a number") -> float:
    """The number that an option gives; see `whole`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise UserError(f"option {name}: expected {what} from {least:g} to {most:g}, got {text!r}")
    return value + 0.0  # so that -0 is 0
