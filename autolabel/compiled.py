"""Loops that numpy and torch take several passes over memory for, compiled to machine code on first use and kept on disk.

A kernel is a plain function over arrays in a file that is imported only where it is needed. It lets go of the interpreter, runs on
the thread that calls it, and reorders no sum: its result is the same to the bit on any number of threads and any width of vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """The function, compiled when it is called with new types of arguments. Kernels that call each other stand in one file."""
    from numba import njit

    try:
        made: F = njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder to keep it in can be written to
        made = njit(nogil=True, error_model="numpy")(function)
    return made
