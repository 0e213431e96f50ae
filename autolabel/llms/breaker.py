"""Breaker: when the endpoint is down or the key or the quota is gone, the whole run stops after one clear line.

A refused key or a used-up quota stops it at once. An endpoint counts as down after `patience` failures in a row without one
success: of any calls where it cannot be reached, of at least `different` calls where it answers with errors (one body that a
server always fails on is that call's failure, not the run's).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from autolabel.errors import AutolabelError, EndpointError, LLMError, SetupError, StoppedError
from autolabel.llms.clock import Clock
from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Completion, hash63

_log = logging.getLogger(__name__)


class Breaker:
    """An LLM that gives up for all. Put inside what waits, so that nobody who waited still sends."""

    def __init__(self, inner: LLM, clock: Clock | None = None, patience: int = 12, different: int = 5, first: int = 3) -> None:
        self.inner, self.clock = inner, clock or Clock()
        self.patience, self.different, self.first = patience, different, first  # first: failures to reach it before it ever answered
        self._guard = threading.Lock()
        self._failed: list[tuple[int, bool]] = []  # since the last success: (call, was it reached)
        self._answered = False

    @property
    def name(self) -> str:
        """The inner one's."""
        return self.inner.name

    @property
    def capabilities(self) -> frozenset[str]:
        """The inner one's."""
        return self.inner.capabilities

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """The inner one's answer. Raises at once what the run was stopped for."""
        self.clock.check()
        try:
            said = self.inner.complete(messages, ask)
        except LLMError as error:
            if error.fatal:
                self._open(error)
            elif isinstance(error, EndpointError):
                self._count(hash63([dict(m) for m in messages], ask.sample), error)
            elif error.kind != "rate":
                self._success()
            raise
        self._success()
        return said

    def _success(self) -> None:
        with self._guard:
            self._answered = True
            self._failed.clear()

    def _count(self, call: int, error: EndpointError) -> None:
        with self._guard:
            self._failed.append((call, error.sent or error.reply != ""))
            failed, answered = list(self._failed), self._answered
        unreached = [c for c, reached in failed if not reached]
        if not answered and len(unreached) >= self.first and len(unreached) == len(failed):
            self._open(SetupError(f"{error}. Is the server running, and the base URL right?"))
        elif len(failed) >= self.patience and (len(unreached) == len(failed) or len({c for c, _ in failed}) >= self.different):
            self._open(StoppedError(f"{len(failed)} calls in a row failed, the last one so: {error}. The run stops; the same command goes on where it stopped"))

    def _open(self, reason: AutolabelError) -> None:
        if self.clock.reason is None:
            _log.info("the run stops: %s", reason)  # whoever called for the run is told by the exception
        self.clock.stop(reason)
