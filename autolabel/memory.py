"""What fits the cache, and keeping freed memory for the next batch.

glibc hands blocks of megabytes back to the system when they are freed, and every page of the next one faults: a tenth of the time of a forward
pass on a CPU. With higher thresholds the same pages are used again.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

PART_BYTES = 800_000  # of activations that are walked through at a time: with a buffer of the same size they fit a core's own cache
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
BLOCK = 32 << 20  # bytes: the most that glibc takes; larger blocks are still handed back
KEPT = 64 << 20  # bytes that may lie free


def keep_pages() -> bool:
    """From now on; whether it could be done (glibc alone knows how)."""
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(M_MMAP_THRESHOLD, BLOCK) and libc.mallopt(M_TRIM_THRESHOLD, KEPT))


def give_back() -> None:
    """Hand what lies free back to the system, once: before work of another kind."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError):  # another libc
        return None
