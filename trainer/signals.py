"""Ctrl-C and a polite kill: at once where there is nothing to save, after the present step where there is."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(BaseException):
    """Ctrl-C or a polite kill. Not a KeyboardInterrupt, which typer would answer on its own."""


def stop(*_: Any) -> None:
    raise Stopped


def install() -> None:
    """Both signals raise `Stopped`."""
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


@contextmanager
def postponed(insisting: bool = True) -> Iterator[Callable[[], bool]]:
    """While inside, a signal only makes the yielded function answer True. If `insisting`, the second one raises `Stopped`; a process that
    torchrun started gets several at a single Ctrl-C.
    """
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        if asked and insisting:
            raise Stopped
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
