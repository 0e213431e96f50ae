"""Time as the wrappers see it: a clock, waits that end when the run stops, and the reason why it stopped.

One clock is shared by all wrappers of a stack. Tests put another in its place, whose time passes only while everybody waits.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Protocol

from autolabel.errors import AutolabelError, StoppedError


class Condition(Protocol):
    """What of threading.Condition is used."""

    def __enter__(self) -> bool:
        """Lock."""

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None, /) -> None:
        """Unlock."""

    def wait(self, timeout: float | None = None) -> bool:
        """Unlock, sleep until notified or `timeout` seconds have passed, lock."""

    def notify_all(self) -> None:
        """Wake all who wait."""


class Clock:
    """Seconds that only go forward, and one way to stop all who wait."""

    def __init__(self) -> None:
        self.reason: AutolabelError | None = None  # why the run stops
        self._stopped = threading.Event()
        self._conditions: list[Condition] = []

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def condition(self) -> Condition:
        """A condition that `stop` wakes."""
        made: Condition = threading.Condition()
        self._conditions.append(made)
        return made

    def sleep(self, seconds: float) -> None:
        """Wait. Raises what the run was stopped for."""
        if self._stopped.wait(max(seconds, 0.0)):
            self.check()

    def stop(self, reason: AutolabelError | None = None) -> None:
        """Nobody sends anything from now on; who waits is woken. The first reason counts."""
        if self.reason is None:
            self.reason = reason or StoppedError("stopped; the same command goes on where it stopped")
        self._stopped.set()
        for condition in self._conditions:
            with condition:
                condition.notify_all()

    def check(self) -> None:
        """Raise what the run was stopped for, if it was."""
        if self.reason is not None:
            raise type(self.reason)(*self.reason.args)
