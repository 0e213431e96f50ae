"""Keeps freed memory for the next batch.

glibc hands blocks of megabytes back to the system when they are freed, and every page of the next one faults: a tenth of the time of a forward
pass on a CPU. With higher thresholds the same pages are used again.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
BLOCK = 32 << 20  # bytes: the most that glibc takes; larger blocks are still handed back
KEPT = 256 << 20  # bytes that may lie free


@cache
def keep_pages() -> bool:
    """For this process, once; whether it could be done (glibc alone knows how)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, BLOCK) and mallopt(M_TRIM_THRESHOLD, KEPT))
