"""Memory of a training on a CPU: what a step frees stays with the process, and the next step takes it again.

    keep_freed()                                         # at the start of a program, before its first large tensor

By default the C library of Linux gives every block above 32 MiB back to the system when it is freed, and often smaller ones. A step of
training frees and takes hundreds of these, and the system clears each page that it gives: a tenth of the time of a step, and a fifth of its
processor time. A process with this setting keeps as much memory as its largest step needed.
"""

import ctypes
import os
import sys
from typing import Final

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Numbers of two settings of glibc's `mallopt` (https://man7.org/linux/man-pages/man3/mallopt.3.html)."""
LARGEST: Final = 2**30
"""Size in bytes from which a block is still taken from the system alone, and given back."""
HUGE: Final = "THP_MEM_ALLOC_ENABLE"
"""Environment variable of torch: whether it asks for large pages, which need fewer entries in the processor's tables."""


def keep_freed() -> bool:
    """Keep memory that is freed. Returns whether the C library can do that: glibc can, those of Alpine Linux and macOS cannot."""
    if sys.platform != "linux":
        return False
    os.environ.setdefault(HUGE, "1")
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(MMAP_THRESHOLD, LARGEST)) and bool(library.mallopt(TRIM_THRESHOLD, 2**31 - 1))
