"""Keeping freed memory for the next batch.

glibc hands blocks of megabytes back to the system when they are freed, and every page of the next one faults: a tenth of the time of a forward
pass on a CPU. With higher thresholds the same pages are used again; and with one arena for all threads, as those of the others give
back whatever is free at their end at any threshold.

oneDNN, which torch asks for some functions (GELU, on some processors all products), keeps what it made for each of the last 1,024 shapes, and so does the
layer between the two: small blocks that are made in the midst of a batch, stay, and leave between them holes that no later batch fits into.
Of few shapes that are kept, few holes.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
BLOCK = 32 << 20  # bytes: the most that glibc takes; larger blocks are still handed back
KEPT = 64 << 20  # bytes that may lie free
SHAPES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # read by oneDNN, and by what stands between, when first asked for anything
EACH = 8  # for each core: a model asks for fewer functions of one shape


def keep_pages() -> bool:
    """From now on; whether it could be done (glibc alone knows how). A number of shapes that the user has set stays."""
    for name in SHAPES:
        os.environ.setdefault(name, str(EACH * (os.cpu_count() or 1)))
    libc = _glibc()
    return libc is not None and all(
        libc.mallopt(name, value) for name, value in ((M_MMAP_THRESHOLD, BLOCK), (M_TRIM_THRESHOLD, KEPT), (M_ARENA_MAX, 1)))


@contextmanager
def given_back() -> Iterator[None]:
    """What lies free is handed back to the system before and after: where the most memory is used, pieces that no batch fits into would count, too."""
    libc = _glibc()
    try:
        if libc is not None:
            libc.malloc_trim(0)
        yield
    finally:
        if libc is not None:
            libc.malloc_trim(0)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without searches for cycles of objects while much is made that has none: a search walks through all that is loaded, a fifth of a second
    each. What nobody refers to any more is freed at once, as ever."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError):  # another libc
        return None
