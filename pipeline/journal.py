"""The journal beside a cache: what commands did to it and what each shard cost, a JSON object a line.

It comes from wherever the cache comes from, and a kill may cut its last line short: lines that are not what this software
writes are left out and counted.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from cache_schema.files import journal_file, regular_bytes


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What a journal says."""

    notes: tuple[dict[str, Any], ...] = ()
    """In the order written. Each has `time` (seconds since 1970) and `event`, and the fields of `FIELDS` are of their types."""
    ignored: int = 0
    """Lines that are no notes."""

    @property
    def last_build(self) -> dict[str, Any]:
        """The note of the last `build` or `retry`; empty if there is none."""
        return next((note for note in reversed(self.notes) if note["event"] in ("build", "retry")), {})


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11


def _count(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


def _text(value: Any) -> bool:
    return isinstance(value, str)


FIELDS: Final[dict[str, Callable[[Any], bool]]] = {
    "time": _number,
    "event": _text,
    "source": _text,
    "kind": _text,
    "teacher": _text,
    "set": _text,
    "product": _text,
    "shard": _count,
    "shapes": _count,
    "waited": _number,
    "seconds": _number,
    "steps": lambda value: isinstance(value, dict) and all(map(_number, value.values())),
    "config": lambda value: isinstance(value, dict),
    "models": lambda value: isinstance(value, dict) and all(map(_text, value.values())),
}
"""What each field of a note must be, where it is there."""


def read_journal(path: Path) -> Journal:
    """The journal beside the cache at `path`; an empty one where there is none."""
    try:
        text = regular_bytes(journal_file(path)).decode(errors="replace")
    except (FileNotFoundError, IsADirectoryError):
        return Journal()
    notes, ignored = [], 0
    for line in filter(str.strip, text.splitlines()):
        try:
            note = json.loads(line)
        except (ValueError, RecursionError):
            note = None
        if _is_note(note):
            notes.append(note)
        else:
            ignored += 1
    return Journal(notes=tuple(notes), ignored=ignored)


def _is_note(note: Any) -> bool:
    if not isinstance(note, dict) or not {"time", "event"} <= note.keys():
        return False
    if not all(holds(note[name]) for name, holds in FIELDS.items() if name in note):
        return False
    if note["event"] != "shard":
        return True
    return {"product", "shard", *({"shapes", "steps"} if note.get("product") == "shapes" else {"seconds"})} <= note.keys()


def note(journal: TextIO, **line: Any) -> None:
    """Write one note, with the time.

    Raises:
        OSError: the disk is full; `filename` says which file it was.
    """
    try:
        journal.write(json.dumps({"time": round(time.time(), 3), **line}) + "\n")
        journal.flush()
    except OSError as error:
        error.filename = journal.name
        raise
