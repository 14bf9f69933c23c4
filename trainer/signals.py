"""Ctrl-C and a polite kill: at once where there is nothing to save, after the present step where there is."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """Ctrl-C or a polite kill. Not a KeyboardInterrupt, which typer would answer on its own."""


def stop(*_: object) -> None:
    """A handler of signals that raises `Stopped`."""
    raise Stopped


def install() -> None:
    """Let SIGINT (Ctrl-C) and SIGTERM raise `Stopped`."""
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


@contextmanager
def postponed(insisting: bool = True) -> Iterator[Callable[[], bool]]:
    """Hold signals back. The yielded function tells whether one has come.

    Args:
        insisting: whether a second signal raises `Stopped`. Not under torchrun, whose processes get several at a single Ctrl-C.
    """
    asked = False

    def ask(*_: object) -> None:
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
