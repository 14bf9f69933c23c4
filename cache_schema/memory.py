"""Memory of a process that computes on a CPU.

    keep_freed()                                         # before the first large computation

By default the C library of Linux gives every block above 32 MiB back to the system when it is freed, and often smaller ones. A step of
training, or a teacher that embeds pictures, frees and takes hundreds of these, and the system clears each page that it gives: about a tenth
of the time. With this setting a process keeps as much as its largest step needed, and the next step takes it again.
"""

import ctypes
import os
import sys
from typing import Final

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Numbers of two settings of glibc's `mallopt` (https://man7.org/linux/man-pages/man3/mallopt.3.html)."""
LARGEST: Final = (2**30, 2**25)
"""Size in bytes from which a block is still taken from the system alone, and given back; and that for older glibc, which takes no larger
one."""
HUGE: Final = "THP_MEM_ALLOC_ENABLE"
"""Environment variable of torch: whether it asks for large pages, which need fewer entries in the processor's tables. Torch reads it when
it takes memory for the first time."""


def keep_freed() -> bool:
    """Keep memory that is freed. Returns whether the C library can do that: glibc can, those of Alpine Linux and macOS cannot."""
    if sys.platform != "linux":
        return False
    os.environ.setdefault(HUGE, "1")
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # Only both together help: with the second alone, every larger block would be taken from the system anew.
    return any(library.mallopt(MMAP_THRESHOLD, size) for size in LARGEST) and bool(library.mallopt(TRIM_THRESHOLD, 2**31 - 1))
