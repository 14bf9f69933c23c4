"""Names that become file or folder names: one rule for all of them."""

import re

from cache_schema.errors import UserError

LONGEST_NAME = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def path_name(text: str, what: str) -> str:
    """The given text, once it is known to be safe as the name of a file or folder on any system.

    Letters, digits, dots, hyphens and underscores are allowed; the first is a letter or digit. `what` says in the error what
    the name is for ("the label set"). Raises UserError for anything else, for two dots in a row and for more than 100 characters.
    """
    if not isinstance(text, str) or not _NAME.fullmatch(text) or ".." in text or len(text) > LONGEST_NAME:
        shown = repr(text if not isinstance(text, str) or len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "...")
        raise UserError(
            f"{what}: the name {shown} cannot be a file name here; use letters, digits, '.', '-' and '_', "
            f"beginning with a letter or digit, without '..', at most {LONGEST_NAME} characters"
        )
    return text
