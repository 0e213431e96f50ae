"""Ctrl-C, heard wherever it comes: raised again when some library swallowed it, and put off while a module is being imported.

Python raises KeyboardInterrupt at whatever the main thread is doing. In a callback of C code it is ignored or ends the process ("terminate called"), in
a query DuckDB makes a RuntimeError of it, and where it passes through `exec` Python dies of the signal even if it is caught later.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

AGAIN = 0.5  # seconds after which an interrupt that was not heard is raised again
SOON = 0.05  # the same where a module was being imported
PATIENCE = 60  # times that an import puts it off: three seconds


class Interrupts:
    """`with Interrupts() as ctrl_c:` around a command. Where Ctrl-C is ignored (a job in the background), it stays so."""

    def __init__(self) -> None:
        self.asked = False
        self._over = False
        self._put_off = 0
        self._before: dict[signal.Signals, Any] = {}  # Any: a handler as `signal` gives it

    def __enter__(self) -> Interrupts:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler and hasattr(signal, "setitimer"):
            self._before = {signal.SIGINT: signal.signal(signal.SIGINT, self._pressed), signal.SIGALRM: signal.signal(signal.SIGALRM, self._rung)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        self._over = True
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        exec("")  # takes away the mark that an interrupt leaves on its way through `exec`

    def _pressed(self, _number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._raise(frame)

    def _rung(self, _number: int, frame: FrameType | None) -> None:
        if self._over:
            return
        if _heard(sys.exc_info()[1]):  # it is on its way out, or what was interrupted is being put in order
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            self._raise(frame)

    def _raise(self, frame: FrameType | None) -> None:
        if self._put_off < PATIENCE and _importing(frame):
            self._put_off += 1
            signal.setitimer(signal.ITIMER_REAL, SOON)
            return
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise KeyboardInterrupt


def _heard(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
