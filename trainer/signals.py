"""React to SIGINT (Ctrl-C) and SIGTERM (`kill`). A training finishes its step and saves first; everything else stops at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """Raised to stop after SIGINT or SIGTERM. It is no KeyboardInterrupt, since typer handles that itself."""


def stop(*_: object) -> None:
    """Signal handler that raises `Stopped`."""
    raise Stopped


def install() -> None:
    """Make SIGINT and SIGTERM raise `Stopped`."""
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


@contextmanager
def postponed(insisting: bool = True) -> Iterator[Callable[[], bool]]:
    """Record SIGINT and SIGTERM instead of acting on them. The yielded function returns whether one has arrived.

    Args:
        insisting: whether a second signal raises `Stopped`. False under torchrun, whose processes get several signals from one Ctrl-C.
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
