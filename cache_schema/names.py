"""The rule for names that become names of files or folders."""

import re

from cache_schema.errors import UserError

LONGEST_NAME = 100
"""Number of characters of the longest name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TAKEN = ("zarr.json",)
"""Names that Zarr gives to files of its own in any group."""


def path_name(text: str, what: str) -> str:
    """Return the given text if it is safe as the name of a file or folder on Linux and macOS.

    Letters, digits, dots, hyphens and underscores are allowed. The first character is a letter or a digit.

    Args:
        text: the name.
        what: what the name is for, in the error ("the label set").

    Raises:
        UserError: the text has other characters, two dots in a row, or more than `LONGEST_NAME` characters.
    """
    if not isinstance(text, str) or not _NAME.fullmatch(text) or ".." in text or len(text) > LONGEST_NAME:
        shown = repr(text if not isinstance(text, str) or len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "...")
        raise UserError(
            f"{what}: the name {shown} cannot be a file name here; use letters, digits, '.', '-' and '_', "
            f"beginning with a letter or digit, without '..', at most {LONGEST_NAME} characters"
        )
    if text in TAKEN:
        raise UserError(f"{what}: the name {text!r} is one that Zarr uses itself; choose another")
    return text
