"""Many calls at once, results in the order of the items: what is computed never depends on how many threads computed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from autolabel.errors import PendingError

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], threads: int = 1) -> list[Result]:
    """[function(item) for item in items], on up to `threads` threads; items are begun in order.

    After an exception no further item is begun; the first in the order of items is raised when the calls in flight have ended.
    A PendingError is raised only after every item was begun: where calls go through files, one round asks all that can be asked.
    """
    if threads <= 1:
        return _one_by_one(function, items)
    upcoming = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(function, item) for item in islice(upcoming, threads)]
        running = set(futures)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            if any(not isinstance(future.exception(), PendingError | None) for future in done):
                break
            for item in islice(upcoming, threads - len(running)):
                futures.append(pool.submit(function, item))
                running.add(futures[-1])
    for future in futures:  # a failure comes before what is merely not there yet
        if not isinstance(future.exception(), PendingError | None):
            future.result()
    return [future.result() for future in futures]


def _one_by_one(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    results: list[Result] = []
    pending: PendingError | None = None
    for item in items:
        try:
            results.append(function(item))
        except PendingError as error:
            pending = pending or error
    if pending is not None:
        raise pending
    return results
