"""Large JSON files of annotations, {id: annotation}: read entry by entry, and what is made of them kept outside memory.

    with path.open("rb") as file:
        for uid, said in entries(file, 4 << 30):      # one annotation is in memory at a time
            ...
    kept().get(key, uid, lambda: ((uid, told(said)) for uid, said in annotated()))

What is kept lies in a temporary file of this process. It vanishes with the process, also if that is killed.
"""

import functools
import io
import json
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import IO, Any, Final

from cache_schema.errors import UserError

CHUNK: Final = 1 << 20
"""Number of characters that are read at a time."""
LONGEST: Final = 1 << 26
"""Most characters of one annotation. Without a limit, a damaged file would be read into memory to its end."""
SPACE: Final = re.compile(r"[ \t\n\r]*")
TAIL: Final = 4
"""A number may go on if fewer characters than this are known behind it: `1` is the beginning of `1.5` and of `1e-5`."""
DECODER: Final = json.JSONDecoder()


def entries(file: IO[bytes], largest: int) -> Iterator[tuple[str, Any]]:
    """Yield the pairs of a JSON object, in the order of the file.

    Args:
        file: the file, unpacked.
        largest: most characters that are read.

    Raises:
        ValueError: it is no JSON object, or larger.
    """
    text = _Text(file, largest)
    if (first := text.sign()) != "{":
        raise ValueError(f"expected annotations by id, which begin with {{, got {first!r}")
    text.take()
    if text.sign() != "}":
        while True:
            uid = text.value()
            if not isinstance(uid, str) or text.sign() != ":":
                raise ValueError("expected an id, a colon and an annotation")
            text.take()
            yield uid, text.value()
            if text.sign() != ",":
                break
            text.take()
    if text.sign() != "}":
        raise ValueError("expected a comma or } behind an annotation")
    text.take()
    if text.sign():
        raise ValueError("expected nothing behind the last }")


class _Text:
    """A JSON text of which a part is in memory."""

    def __init__(self, file: IO[bytes], largest: int) -> None:
        self.file, self.largest = io.TextIOWrapper(file, "utf-8-sig"), largest
        self.part, self.place, self.read = "", 0, 0

    def sign(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            match = SPACE.match(self.part, self.place)
            assert match is not None
            self.place = match.end()
            if self.place < len(self.part):
                return self.part[self.place]
            if not self._more():
                return ""

    def take(self) -> None:
        """Go behind the character that `sign` returned."""
        self.place += 1

    def value(self) -> Any:
        """Take the next value."""
        self.sign()
        while True:
            try:
                found, end = DECODER.raw_decode(self.part, self.place)
            except json.JSONDecodeError:
                if len(self.part) - self.place > LONGEST or not self._more():
                    raise
                continue
            length = end - self.place
            if len(self.part) - end < TAIL and self._more():
                continue
            self.place += length  # which may be another place than before, since `_more` drops what is read
            return found

    def _more(self) -> bool:
        """Read on: at least as much as there is, so that a long value is not tried many times. Returns whether there was more."""
        self.part, self.place = self.part[self.place :], 0
        more = self.file.read(max(CHUNK, len(self.part)))
        self.read += len(more)
        if self.read > self.largest:
            raise ValueError(f"larger than {self.largest:,} characters")
        self.part += more
        return bool(more)


class Kept:
    """Texts by file and id, in a temporary file."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._files: dict[Hashable, int] = {}
        self._base = sqlite3.connect("", check_same_thread=False, isolation_level=None)  # an empty name: a file that has none
        self._base.execute("CREATE TABLE texts (file INTEGER, id TEXT, text TEXT, PRIMARY KEY (file, id)) WITHOUT ROWID")

    def get(self, file: Hashable, uid: str, read: Callable[[], Iterable[tuple[str, str]]]) -> str | None:
        """The text of an id; None if there is none.

        Args:
            file: what tells the file, with its version.
            uid: the id.
            read: gives the ids and texts of the file. It is called once for each `file`.

        Raises:
            UserError: there is no room for the temporary file. Also the errors of `read`: then nothing of the file is kept.
        """
        try:
            with self._turn:
                if file not in self._files:
                    self._take(len(self._files), read())
                    self._files[file] = len(self._files)
                # Ids are kept as JSON, which holds any character of a file: a text of SQLite has no halves of surrogate pairs.
                found = self._base.execute("SELECT text FROM texts WHERE file = ? AND id = ?", (self._files[file], json.dumps(uid)))
                row: tuple[str] | None = found.fetchone()
        except sqlite3.Error as error:
            raise UserError(
                f"the temporary file of annotations cannot be written or read ({error}). If its disk is full, set SQLITE_TMPDIR to a "
                "folder with more room: it needs about a kilobyte for each object"
            ) from error
        return None if row is None else row[0]

    def _take(self, number: int, texts: Iterable[tuple[str, str]]) -> None:
        self._base.execute("BEGIN")
        try:
            rows = ((number, json.dumps(uid), text) for uid, text in texts)
            self._base.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?, ?)", rows)
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")


@functools.cache
def _kept(process: int) -> Kept:
    return Kept()


def kept() -> Kept:
    """What this process keeps. A process that was forked begins anew, since two must not write to one file."""
    return _kept(os.getpid())
