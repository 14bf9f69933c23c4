"""Text from outside - ids, class names, model names, paths, reasons - as it is shown on a terminal.

    print(printable("chair\\x1b[2J"))        # chair\\x1b[2J, in letters

Whoever made a mesh collection or a cache chose these texts. A terminal obeys escape sequences, and some characters turn the
order of others around, so nothing of the kind is passed on.
"""

import importlib.metadata
import json
from typing import Any


def printable(text: str) -> str:
    """A text in which every character shows: others are written as `\\xNN` or `\\uNNNN`. A line break stays one."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\n" else escaped(character) for character in text)


def json_text(value: Any, *, allow_nan: bool = True) -> str:
    """A value as JSON for a script, in readable letters, but with every character that does not show as its `\\uNNNN`.

    Raises:
        ValueError: a number is not finite, and `allow_nan` is False.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=allow_nan)
    # Outside of strings, JSON has none of these but line breaks.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) if not text.isprintable() else text


def version_line() -> str:
    """What `--version` of both command lines prints."""
    return f"mmpd {importlib.metadata.version('mmpd')}\n"


def escaped(character: str) -> str:
    """The escape sequence that stands for a character: `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`."""
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
