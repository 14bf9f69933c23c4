"""Make text from outside (ids, class names, model names, paths, reasons) safe for a terminal.

    print(printable("chair\\x1b[2J"))        # chair\\x1b[2J, in letters

These texts come from whoever made a mesh collection or a cache. A terminal obeys escape sequences, and some characters reverse the order
of others. So such characters are shown as letters.
"""

import importlib.metadata
import json
from typing import Any

from cache_schema.spec import TEXT_BYTES


def printable(text: str) -> str:
    """Return a text in which every character is visible: others become `\\xNN` or `\\uNNNN`. Line breaks stay."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\n" else escaped(character) for character in text)


def counted(count: int, noun: str) -> str:
    """Write a number of things: `1 shape`, `2 shapes`, `0 classes`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"


def one_line(text: str, most: int = TEXT_BYTES) -> str:
    """Write a message as one line of visible characters, as a text cell of a cache stores it.

    Args:
        text: the message. Each run of white space and invisible characters becomes a space.
        most: largest length in bytes of UTF-8. A longer line is cut between words and ends with dots.
    """
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    if len(line.encode()) <= most:
        return line
    end = " ..."
    room = line.encode()[: most - len(end)].decode(errors="ignore")
    whole = room if line[len(room)] == " " else room.rpartition(" ")[0]
    return (whole or room) + end


def json_text(value: Any, *, allow_nan: bool = True) -> str:
    """Write a value as JSON for a script. Characters that are not visible are written as `\\uNNNN`.

    Raises:
        ValueError: a number is not finite, and `allow_nan` is False.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=allow_nan)
    # Outside of strings, line breaks are the only such characters in JSON.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) if not text.isprintable() else text


def version_line() -> str:
    """Return what `--version` of both commands prints."""
    return f"mmpd {importlib.metadata.version('mmpd')}\n"


def escaped(character: str) -> str:
    """The escape sequence that stands for a character: `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`."""
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
