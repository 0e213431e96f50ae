"""What the calls of one piece of work cost: an LLM around an LLM that adds up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Completion


@dataclass(eq=False)
class Billed:
    """Passes every call on. `cost`: dollars so far, None once a call came without a price; `calls`: answers so far."""

    inner: LLM
    cost: float | None = 0.0
    calls: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def name(self) -> str:
        """Of the LLM inside."""
        return self.inner.name

    @property
    def capabilities(self) -> frozenset[str]:
        """Of the LLM inside."""
        return self.inner.capabilities

    def stop(self) -> None:
        """Send nothing more."""
        getattr(self.inner, "stop", lambda: None)()

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """The answer of the LLM inside."""
        completion = self.inner.complete(messages, ask)
        with self._lock:
            self.calls += 1
            self.cost = None if self.cost is None or completion.cost_usd is None else self.cost + completion.cost_usd
        return completion
