"""What the command lines share: text from outside that is safe for a terminal, options that may stand anywhere, a file of messages.

    print(printable("chair\\x1b[2J"))        # chair\\x1b[2J, in letters

Texts from outside (ids, class names, model names, paths, reasons) come from whoever made a mesh collection or a cache. A terminal obeys
escape sequences, and some characters reverse the order of others. So such characters are shown as letters.
"""

import importlib.metadata
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cache_schema.errors import UserError
from cache_schema.spec import TEXT_BYTES

QUIET = "Show results and mistakes only, no messages and no progress."
"""Help of `--quiet`."""
LOG_FILE = "Also append messages with their times to a file."
"""Help of `--log-file`."""


class LogFile:
    """The file that `--log-file` names. It is true if there is one; without it, nothing is written."""

    def __init__(self) -> None:
        self.path: Path | None = None

    def __bool__(self) -> bool:
        return self.path is not None

    def begin(self, path: Path | None, command: str) -> None:
        """Take a file, or none, and write the command into it.

        Raises:
            UserError: the file cannot be written.
        """
        self.path = path
        try:
            self._append(command)
        except OSError as error:
            self.path = None
            raise UserError(f"the log file {path} cannot be written: {error.strerror or error}") from error

    def note(self, text: str) -> None:
        """Append a message with its time. If the file cannot be written any more, that is said, and the command goes on without it."""
        try:
            self._append(text)
        except OSError as error:
            path, self.path = self.path, None
            sys.stderr.write(f"the log file {path} cannot be written: {error.strerror or error}. The command goes on without it\n")

    def _append(self, text: str) -> None:
        """Append a line with its time, if there is a file. Names, passwords and keys in addresses are left out."""
        if self.path is None:
            return
        text = re.sub(r"(\w://)[^\s/@]*@", r"\1...@", text)
        text = re.sub(r"(\w://[^\s?]*\?)\S*", r"\1...", text)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {printable(text)}\n")


class Pace:
    """Tells when to write a line about progress where no bar is seen: in a file, a pipe, the log of a job.

    The first line is due after ten seconds. Each later one is due when a tenth more time has passed, at most ten minutes after the line
    before. So the log of a week stays short.
    """

    first: Final = 10.0
    """Seconds before the first line, and the least between two."""
    share: Final = 0.1
    """Time between two lines as a share of all time since the beginning."""
    most: Final = 600.0
    """The most seconds between two lines."""

    def __init__(self) -> None:
        self.began = self.told = time.monotonic()

    def due(self) -> bool:
        """Whether to write a line now. If so, the time until the next one begins."""
        now = time.monotonic()
        if now - self.told < min(max(self.first, (now - self.began) * self.share), self.most):
            return False
        self.told = now
        return True


def time_left(*parts: tuple[float, float, float]) -> str:
    """Write how long the rest takes if it goes on as before: `; about 3 minutes left`. Empty if that is not known yet.

    Args:
        parts: for each kind of work when it began, by `time.monotonic()`, how many units were done since then, and how many are left. The
            slowest kind counts.
    """
    if not parts or not all(done > 0 for _, done, _ in parts):
        return ""
    now = time.monotonic()
    return f"; about {duration(max((now - began) * left / done for began, done, left in parts))} left"


def everywhere(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of a command line: into `--quiet` and `--log-file`, which may stand anywhere, and the others."""
    front, rest = list[str](), list[str]()
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--quiet" or word.startswith("--log-file="):
            front.append(word)
        elif word == "--log-file":
            value = next(words, None)
            if value is None or value.startswith("-"):
                raise UserError(f"--log-file needs the name of a file, got {value or 'nothing'}; for a name like this: --log-file=./-name")
            front += [word, value]
        else:
            rest.append(word)
    return front, rest


def printable(text: str) -> str:
    """Return a text in which every character is visible: others become `\\xNN` or `\\uNNNN`. Line breaks stay."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\n" else escaped(character) for character in text)


def counted(count: int, noun: str) -> str:
    """Write a number of things: `1 shape`, `2 shapes`, `0 classes`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"


def article(name: str) -> str:
    """Put `a` or `an` before the name of a type: `an int32`, `a uint8`, `a list`."""
    return ("an " if name[:1].lower() in tuple("aeiou") and not name.lower().startswith(("uint", "uni", "use")) else "a ") + name


def some(names: Sequence[str], most: int = 8, separator: str = ", ") -> str:
    """Write the first names of a list, and how many more there are: `a, b and 3 more`."""
    return separator.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it: `1 second`, `30 minutes`, `3.0 hours`, `4.2 days`."""
    if seconds < 90:
        return counted(max(1, round(seconds)), "second")
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours" if minutes < 2880 else f"{minutes / 1440:.1f} days"


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
