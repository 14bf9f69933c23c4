"""Fast reading of text with many lines of numbers, for OBJ, OFF and ASCII STL.

    lines = Lines(file.data)
    vertex = lines.are(b"v")                                 # [l] numbers of lines
    values, counts = lines.numbers(vertex, skip=1)

Letters: L lines, l selected lines, N numbers.
"""

import re
import warnings
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline.geometry import GREY
from pipeline.reading import File, decoded

BLANKS: Final = bytes(ord(" ") if code < 32 and code not in b"\t\n" else code for code in range(256))
"""Translation table that turns control characters into blanks. NumPy and Python disagree which of them are blanks."""

SMALL: Any = np.uint8(0x20)
"""The bit that differs between small letters and capitals in ASCII."""


class Lines:
    """The lines of a text that end in LF, CRLF or CR. A backslash at the end of a line joins it with the next.

    Blanks before the first word and the case of keywords are ignored.
    """

    def __init__(self, data: bytes) -> None:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            data = decoded(data).encode()
        data = data.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        data = data.translate(BLANKS)
        self._whole = data
        if b"\\" in data:
            data = _joined(data)
        self._data = data + b"\n"
        self._bytes = np.frombuffer(self._data + b"\n" * 8, np.uint8)
        self.ends = np.flatnonzero(self._bytes[: len(self._data)] == ord("\n"))
        """[L] where each line ends."""
        self._starts = np.concatenate([[0], self.ends[:-1] + 1])
        self.words = self._starts.copy()
        """[L] where the first word of each line begins; the end of the line where it has none."""
        blank = np.flatnonzero((self._bytes[self.words] <= 32) & (self.words < self.ends))
        if len(blank):
            ink = np.append(np.flatnonzero(self._bytes[: len(self._data)] > 32), len(self._data))
            self.words[blank] = np.minimum(ink[np.searchsorted(ink, self.words[blank])], self.ends[blank])
        self._letters = self._bytes[self.words] | SMALL

    def __len__(self) -> int:
        return len(self.ends)

    def are(self, *keywords: bytes) -> NDArray[Any]:
        """Indices of the lines that begin with one of these words, ascending. A word has at most 7 letters."""
        found = []
        for keyword in keywords:
            chosen = np.flatnonzero(self._letters == (keyword[0] | SMALL))
            for i, letter in enumerate(keyword[1:], 1):
                chosen = chosen[(self._bytes[self.words[chosen] + i] | SMALL) == (letter | SMALL)]
            found.append(chosen[self._bytes[self.words[chosen] + len(keyword)] <= 32])
        return found[0] if len(found) == 1 else np.sort(np.concatenate(found))

    def said(self) -> NDArray[Any]:
        """`[L]` bool: whether a line is neither empty nor a comment (`#`)."""
        said: NDArray[np.bool_] = (self.words < self.ends) & (self._bytes[self.words] != ord("#"))
        return said

    def text(self, line: int) -> str:
        """One line without the blanks around it."""
        return decoded(self._data[self.words[line] : self.ends[line]]).strip()

    def number(self, line: int) -> int:
        """The number of a line in a text editor, from 1."""
        return self._whole.count(b"\n", 0, int(self.words[line])) + 1

    def cut(self, chosen: NDArray[Any], skip: int = 0) -> bytes:
        """The text of lines `[l]` (ascending), without the first `skip` letters of each and without comments. The text begins with an
        empty line."""
        if not len(chosen):
            return b"\n"
        breaks = np.flatnonzero(np.diff(chosen) != 1) + 1
        first, last = chosen[np.concatenate([[0], breaks])], chosen[np.concatenate([breaks - 1, [len(chosen) - 1]])]
        runs = zip(self._starts[first].tolist(), (self.ends[last] + 1).tolist(), strict=True)
        text = bytearray(b"\n")
        for begin, end in runs:
            text += self._data[begin:end]
        if skip:
            lengths = self.ends[chosen] + 1 - self._starts[chosen]
            words = 1 + np.cumsum(lengths) - lengths + self.words[chosen] - self._starts[chosen]
            letters = np.frombuffer(text, np.uint8)
            for i in range(skip):
                letters[words + i] = ord(" ")
        return re.sub(rb"(?<![^\s])#[^\n]*", b"", text) if b"#" in text else bytes(text)

    def numbers(self, chosen: NDArray[Any], skip: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
        """The numbers in lines `[l]` (ascending), after the first `skip` letters of each.

        Returns:
            All numbers `[N]` float64, and how many each line has `[l]`.

        Raises:
            UserError: a word is no number. The message says in which line.
        """
        text = self.cut(chosen, skip)
        if not len(chosen):
            return np.zeros(0), np.zeros(0, np.int64)
        array = np.frombuffer(text, np.uint8)
        ink = array > 32
        first = np.flatnonzero(ink[1:] > ink[:-1]) + 1  # where each number begins
        counts = np.diff(np.searchsorted(first, np.flatnonzero(array == ord("\n"))))
        values = parsed(text, np.float64)
        if values is None or len(values) != len(first):
            values = np.empty(len(first))
            owner = np.repeat(chosen, counts)
            for i, word in enumerate(text.split()):
                number = _number(word)
                if number is None:
                    raise UserError(f"line {self.number(owner[i])}: {decoded(word)[:40]!r} is no number{_advice(word)}")
                values[i] = number
        return values, counts


def parsed(text: bytes, kind: type) -> NDArray[Any] | None:
    """The numbers in a text, separated by blanks. None where the text holds anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy warns if it stops before the end of the text
        try:
            return np.fromstring(text, kind, sep=" ")
        except (DeprecationWarning, ValueError):
            return np.zeros(0, kind) if not text.strip() else None


def shades(raw: NDArray[Any], file: File) -> NDArray[Any] | None:
    """Colours `[n, 3]` or `[n, 4]` as `[n, 4]` uint8. None where no colour is a number.

    Values are 0..1 if all are below 2, else 0..255; for alpha this is decided separately. A colour that is no number becomes grey. A
    missing alpha becomes opaque.
    """
    done = np.full((len(raw), 4), 255, np.uint8)
    bad = ~np.isfinite(raw[:, :3]).all(axis=1)
    if bad.any():
        file.warn(f"{np.count_nonzero(bad):,} of {len(bad):,} colours are no numbers and drawn grey")
    if bad.all():
        return None
    for columns in (slice(0, 3), slice(3, raw.shape[1])):
        values = raw[:, columns]
        if not values.size:
            continue
        top = np.max(values, where=np.isfinite(values), initial=0)
        values = values / (255 if top >= 2 else 1)  # 1.0001 is a rounded 1
        fallback = GREY if columns.start == 0 else 1.0
        done[:, columns] = np.rint(np.clip(np.where(np.isfinite(values), values, fallback), 0, 1) * 255)
    done[bad, :3] = round(GREY * 255)
    return done


def _number(word: bytes) -> float | None:
    """The number that a word stands for; None where it is none. Microsoft's old words for NaN and infinity become NaN."""
    if re.fullmatch(rb"[-+]?\d*\.?\d*#(IND|QNAN|SNAN|INF)\d*|[-+]?nan(\(\w*\))?", word, re.IGNORECASE):
        return float("nan")
    try:
        return None if b"_" in word else float(word)
    except ValueError:
        return None


def _advice(word: bytes) -> str:
    """What to do about a word that is no number, as the end of a message."""
    if re.fullmatch(rb"[-+]?\d*,\d+(e[-+]?\d+)?", word, re.IGNORECASE):
        return ": write decimals with a point, not a comma"
    return ""


def _joined(data: bytes) -> bytes:
    """The text with every line that ends in a backslash joined with the next, each byte in its old place."""
    changed, joined = bytearray(data), -1
    for match in re.finditer(rb"\\[ \t]*\n", data):
        begin = data.rfind(b"\n", 0, match.start()) + 1
        # A comment may end in the name of a folder, so a backslash there joins nothing. A line that was joined to the one before is no
        # comment.
        if begin == joined or not data[begin : match.start()].lstrip().startswith(b"#"):
            changed[match.start() : match.end()] = b" " * (match.end() - match.start())
            joined = match.end()
    return bytes(changed)
