"""Independent pieces of numpy work on all cores: numpy lets go of the interpreter for every large operation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """work(item) of every item, in order, on as many threads as there are `cores`."""
    threads = min(len(items), cores())
    if threads < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def both(first: Callable[[], T], second: Callable[[], R]) -> tuple[T, R]:
    """What two independent pieces give, side by side where there are two cores: neither may read what the other writes.

    Raises what either raises: the first one's where both do.
    """
    if cores() < 2:
        return first(), second()
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(second)
        return first(), beside.result()


def cores() -> int:
    """As many as torch was given, all where it is not loaded."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else os.cpu_count() or 1


def stretches(n: int, size: int) -> list[slice]:
    """0 to n in slices of `size`; one empty slice where n is 0."""
    return [slice(first, min(first + size, n)) for first in range(0, max(n, 1), size)]
