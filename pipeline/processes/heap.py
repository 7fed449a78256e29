"""How the C library keeps the memory of a process."""

from __future__ import annotations

import ctypes
import functools
import mmap
from contextlib import suppress
from pathlib import Path

#: glibc's options (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -3, -4, -8

#: Bytes of an array from which on ``keep_small`` leaves it to the system, and bytes of freed ones that it keeps: more than a clip's.
SMALL, KEPT = 1 << 22, 1 << 24

#: Linux: put what is in small pages into large ones now (since 6.1; an older one refuses it, which does no harm).
MADV_COLLAPSE = 25

#: So many bytes of addresses are asked for, to lie in large pages; what is never written to takes no memory.
ASKED = 1 << 31

OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")


@functools.cache
def keep_freed() -> None:
    """Have freed memory kept for the next tensor, in one pool for all threads and in large pages, where the C library can (glibc).

    By itself it maps each large tensor anew and gives it back at once, so that every step of a training writes to pages that
    the system has to find and clear first: a third of the time of a step of ``small``. And of pages of 4 kB the processor looks up a
    thousand for one map of ``cnn2``: about a fifth of a step (docs/speed.md). No number depends on it. Called again it does nothing.
    """
    with suppress(OSError, AttributeError, ImportError):
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 1 << 26)):
            libc.mallopt(option, value)
        import resource  # not on every system

        limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
        # Under one addresses are scarce, and others need them; so do other processes where the system counts them.
        if set(limits) == {resource.RLIM_INFINITY} and not counted():
            in_large_pages(libc, ASKED)


@functools.cache
def keep_small(small: int = SMALL, kept: int = KEPT) -> None:
    """Have the freed arrays of a clip kept for the next one, where the C library can (glibc): else the system clears the pages of half
    of them anew for every clip. What has ``small`` bytes or more goes back at once, as before, and so does what is free beyond
    ``kept`` bytes. No number depends on it."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((M_MMAP_THRESHOLD, small), (M_TRIM_THRESHOLD, kept), (M_TOP_PAD, small)):
            libc.mallopt(option, value)


def in_large_pages(libc: ctypes.CDLL, size: int) -> None:
    """Have the system keep the heap, grown by ``size`` bytes, in pages of 2 MB where it gives such (``transparent_hugepage``)."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if not (block := libc.malloc(size)):
        return
    page = mmap.PAGESIZE
    start, stop = -(-block // page) * page, (block + size) // page * page
    libc.madvise(start, stop - start, mmap.MADV_HUGEPAGE)
    libc.free(block)  # the heap keeps it: the next tensors lie in it
    # What the imports left free lies before it, and is taken first.
    first, end = beginning()
    if first < min(start, end):
        for advice in (mmap.MADV_HUGEPAGE, MADV_COLLAPSE):
            libc.madvise(first, min(start, end) - first, advice)


def beginning() -> tuple[int, int]:
    """Where the heap begins, and where what lies in one piece from there ends; (0, 0) where the system does not tell."""
    for line in Path("/proc/self/maps").read_bytes().splitlines():  # names of files are any bytes
        if line.endswith(b"[heap]"):
            first, end = (int(address, 16) for address in line.split()[0].split(b"-"))
            return first, end
    return 0, 0


def counted() -> bool:
    """Whether Linux refuses addresses that it has no memory for, also those that are never written to (``vm.overcommit_memory`` 2)."""
    try:
        return OVERCOMMIT.read_bytes().strip() == b"2"
    except OSError:
        return False
