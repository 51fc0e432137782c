"""Where glibc is the allocator: what a run frees is kept for its next arrays.

Tiles need the same arrays of some ten megabytes over and over. By default glibc returns arrays of 32 MB and more to the system when they are freed, and
gives every thread a heap of its own; each new array is then asked for anew, page by page. One heap that keeps what it has costs less time and, because all
threads draw on it, less memory. It holds for the whole process, so programs ask for it (the command line and worker processes do) and the library does not.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Set the allocator; True where it can be set."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # not Linux, or not glibc
        return False
    settings = ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, LARGEST))
    heard = [mallopt(parameter, value) for parameter, value in settings]
    return all(heard)
