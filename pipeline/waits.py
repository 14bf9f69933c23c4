"""Tell the user why a command stands still: what it waits for, and how long.

    with heard(terminal.wait):                  # a command
        waits = Once()                          # whoever may have to wait notes who hears of it
    waits.tell("the server asks for it", 30.0)  # any thread

A worker of a cluster passes its waits on to the command.
"""

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterator
from typing import Final

Listener = Callable[[str, float], None]
"""Called with the reason of a wait and its seconds."""

LONG: Final = 5.0
"""Shortest wait in seconds that is told."""
AGAIN: Final = 120.0
"""Seconds until a wait for the same reason is told again, unless it is longer than the one told."""

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("listener", default=None)
"""Who hears of the waits of what is made in this context."""


@contextlib.contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Let a function hear of the waits of all that is made in this block, also after its end. Any thread may call it."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


class Once:
    """Waits of several threads for one thing. Those that end together are one wait, and are told once."""

    def __init__(self) -> None:
        self._listener = _listener.get()
        self._end = 0.0
        """When the wait that was told last ends."""
        self._why, self._seconds, self._told = "", 0.0, -AGAIN
        """That wait, and when it was told."""

    def tell(self, why: str, seconds: float) -> None:
        """Tell a wait, unless it is short or was told. Threads that share this hold a lock meanwhile."""
        now = time.monotonic()
        end = now + seconds
        recurs = why == self._why and now < self._told + AGAIN and seconds <= self._seconds
        if self._listener is not None and seconds >= LONG and end >= self._end + LONG and not recurs:
            self._end, self._why, self._seconds, self._told = end, why, seconds, now
            self._listener(why, float(seconds))
