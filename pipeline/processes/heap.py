"""How the C library keeps the memory of a process."""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: glibc's options (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def keep_freed() -> None:
    """Have freed memory kept for the next tensor, in one pool for all threads, where the C library can (glibc).

    By itself it maps each large tensor anew and gives it back at once, so that every step of a training writes to pages that
    the system has to find and clear first: a third of the time of a step of ``small``. No number depends on it.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 1 << 26)):
            libc.mallopt(option, value)
