"""Retrying: asks again where that can help, with exponential backoff and jitter above what the server asks for.

`retryable` errors (429, 5xx, resets, timeouts) at most 6 times and within the deadline; a reply with nothing in it once more; a reply
that was cut at the token limit once more with twice the limit, the same prompt. Everything else, quota and refused keys among it, once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autolabel.errors import LLMError, ReplyError, TruncatedError
from autolabel.llms.clock import Clock
from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Completion, hash63

if TYPE_CHECKING:
    from tenacity import RetryCallState

FIRST = 0.5  # seconds of the first backoff; doubles
LONGEST = 60.0  # seconds of the longest backoff; Retry-After may be longer
EMPTY = 2  # attempts where a reply has nothing in it


class Retrying:
    """An LLM that asks again.

    `attempts` in all; `deadline`: seconds after which a call is not begun again; `ceiling`: tokens that a doubled limit may reach.
    """

    def __init__(self, inner: LLM, clock: Clock | None = None, attempts: int = 6, deadline: float = 900.0, ceiling: int = 16_384) -> None:
        self.inner, self.clock, self.attempts, self.deadline, self.ceiling = inner, clock or Clock(), attempts, deadline, ceiling

    @property
    def name(self) -> str:
        """The inner one's."""
        return self.inner.name

    @property
    def capabilities(self) -> frozenset[str]:
        """The inner one's."""
        return self.inner.capabilities

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """The answer, or the last attempt's error."""
        try:
            return self._persist(messages, ask)
        except TruncatedError:
            twice = min(2 * ask.max_tokens, max(self.ceiling, ask.max_tokens))
            if twice == ask.max_tokens:
                raise
        return self._persist(messages, replace(ask, max_tokens=twice))

    def stop(self) -> None:
        """Send nothing more: who waits for another try is woken and stops."""
        self.clock.stop()

    def _persist(self, messages: Sequence[Message], ask: Ask) -> Completion:
        import tenacity

        began = self.clock.now()

        def wait(state: RetryCallState) -> float:
            error = _error(state)
            rng = random.Random(hash63("retry", [dict(m) for m in messages], ask.sample, state.attempt_number))
            backoff = min(FIRST * 2.0 ** (state.attempt_number - 1), LONGEST)
            if error is not None and error.retry_after is not None:  # a floor; who was refused together does not come back together
                return error.retry_after + rng.uniform(0.0, max(backoff, .5 * error.retry_after))
            return backoff * rng.uniform(.5, 1.5)

        def over(state: RetryCallState) -> bool:
            error = _error(state)
            allowed = EMPTY if isinstance(error, ReplyError) else self.attempts
            return state.attempt_number >= allowed or self.clock.now() - began + state.upcoming_sleep > self.deadline

        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, ReplyError) or (isinstance(e, LLMError) and e.retryable)),
            wait=wait, stop=over, sleep=self.clock.sleep, reraise=True)
        return again(self.inner.complete, messages, ask)


def _error(state: RetryCallState) -> LLMError | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, LLMError) else None
