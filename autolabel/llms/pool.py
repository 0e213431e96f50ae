"""Many calls at once, results in the order of the items: what is computed never depends on how many threads computed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from autolabel.errors import PendingError

Item = TypeVar("Item")
Result = TypeVar("Result")
SETTLE = 10.0  # seconds that an interrupted run waits for the calls in flight: they may be paid for


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], threads: int = 1, halt: Callable[[], None] = lambda: None) -> list[Result]:
    """[function(item) for item in items], on up to `threads` threads (one of its own even for 1); items are begun in order.

    After an exception no further item is begun; the first in the order of items is raised when the calls in flight have ended.
    A PendingError is raised only after every item was begun: where calls go through files, one round asks all that can be asked.
    Ctrl-C calls `halt`, which keeps the calls from sending more, and waits at most SETTLE seconds for what is in flight; a second one does not.
    """
    upcoming = iter(items)
    pool = ThreadPoolExecutor(max(threads, 1), thread_name_prefix="ask")
    futures: list[Future[Result]] = []
    running: set[Future[Result]] = set()
    try:
        ended = False
        while not ended:
            begun = [pool.submit(function, item) for item in islice(upcoming, max(threads, 1) - len(running))]
            futures += begun
            running.update(begun)
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            ended = any(not isinstance(future.exception(), PendingError | None) for future in done)
        wait(running)
    except KeyboardInterrupt:
        halt()
        wait(running, timeout=SETTLE)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for future in futures:  # a failure comes before what is merely not there yet
        if not isinstance(future.exception(), PendingError | None):
            future.result()
    return [future.result() for future in futures]
