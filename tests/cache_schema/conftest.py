"""What the tests of the cache's format share."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def at_once(read: Callable[[int], None], count: int) -> Iterator[None]:
    """Call `read(0)`, `read(1)` and so on, each in a thread of its own. All have ended afterwards."""
    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
