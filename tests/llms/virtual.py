"""Time that passes only while every thread waits: hours of waiting in milliseconds, and the same each time."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from autolabel.llms.clock import Clock, Condition


class _Waiter:
    def __init__(self) -> None:
        self.event, self.woken = threading.Event(), False


class Virtual(Clock):
    """A clock for threads that were begun with `run`."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self._lock = threading.Lock()
        self._heap: list[tuple[float, int, _Waiter]] = []
        self._order = itertools.count()
        self._running = 0
        self._made: list[_Condition] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        with self._lock:
            waiter = self.park(max(seconds, 0.0))
        waiter.event.wait()
        self.check()

    def condition(self) -> Condition:
        made = _Condition(self)
        self._conditions.append(made)
        return made

    def park(self, timeout: float | None) -> _Waiter:
        """With the lock held: this thread waits."""
        waiter = _Waiter()
        if timeout is not None:
            heapq.heappush(self._heap, (self.time + timeout, next(self._order), waiter))
        self._running -= 1
        self.advance()
        return waiter

    def wake(self, waiter: _Waiter) -> None:
        """With the lock held: that thread goes on."""
        if not waiter.woken:
            waiter.woken = True
            self._running += 1
            waiter.event.set()

    def advance(self) -> None:
        """With the lock held: to the next moment at which somebody goes on, if all wait."""
        while self._running == 0 and self._heap:
            at, _, waiter = heapq.heappop(self._heap)
            if not waiter.woken:
                self.time = max(self.time, at)
                self.wake(waiter)

    def run(self, function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> list[Any]:
        """function(item) for all items on so many threads; an exception is its result."""
        results: list[Any] = [None] * len(items)
        todo = iter(range(len(items)))

        def work() -> None:
            while True:
                with self._lock:
                    i = next(todo, None)
                if i is None:
                    break
                try:
                    results[i] = function(items[i])
                except Exception as error:
                    results[i] = error
            with self._lock:
                self._running -= 1
                self.advance()

        self._running = threads
        pool = [threading.Thread(target=work) for _ in range(threads)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        return results


class _Condition:
    def __init__(self, clock: Virtual) -> None:
        self.clock, self.mutex, self.waiters = clock, threading.RLock(), list[_Waiter]()

    def __enter__(self) -> bool:
        return self.mutex.__enter__()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None, /) -> None:
        self.mutex.release()

    def wait(self, timeout: float | None = None) -> bool:
        with self.clock._lock:
            waiter = self.clock.park(timeout)
        self.waiters.append(waiter)
        self.mutex.release()
        waiter.event.wait()
        self.mutex.acquire()
        self.waiters.remove(waiter)
        return True

    def notify_all(self) -> None:
        with self.clock._lock:
            for waiter in self.waiters:
                self.clock.wake(waiter)
