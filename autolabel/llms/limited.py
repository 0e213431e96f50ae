"""Limited: as many requests as the server takes, and none inside a cool-down.

Concurrency adapts (additive increase, halved on a 429: Chiu and Jain 1989, "Analysis of the increase and decrease algorithms for
congestion avoidance"). A limit of requests per minute cannot be met by concurrency alone, so a 429 also sets a pace: a bit
less than what was accepted in the last minute, raised slowly while all goes well. Requests and tokens per minute can be given too.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from autolabel.errors import LLMError, RateError, StoppedError
from autolabel.llms.clock import Clock
from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Completion

MINUTE = 60.0
LOOK = 1.0  # seconds after which who waits looks again, whatever woke or did not wake it
BACKOFF = (1.0, 60.0)  # seconds of cool-down where the server does not say: from, to
SLOWER, FASTER, STEP = .9, .02, 30.0  # pace after a 429, as a share of what was accepted; growth per clean step of so many seconds
PATIENCE = 900.0  # seconds: who is asked to wait longer (a limit per day) is told so, and the run stops
_log = logging.getLogger(__name__)


class Limited:
    """An LLM that waits its turn. `most`: requests in flight at once; begins with `first` and finds its way."""

    def __init__(self, inner: LLM, clock: Clock | None = None, most: int = 64, first: int = 8, requests_per_minute: float | None = None,
                 tokens_per_minute: float | None = None, say: Callable[[str], None] = _log.warning, wall: Callable[[], float] = time.time) -> None:
        self.inner, self.clock, self.most, self.say, self.wall = inner, clock or Clock(), most, say, wall
        self.requests_per_minute, self.tokens_per_minute = requests_per_minute, tokens_per_minute
        self.limit = float(min(first, most))  # requests that may be in flight now
        self.flying = 0
        self.pace: float | None = None  # requests per minute, learned; None: no 429 yet
        self._turn = self.clock.condition()
        self._began = self.clock.now()
        self._cool_until = self._next = self._cut = self._clean_since = self._began
        self._over: StoppedError | None = None
        self._steps = self._storms = 0  # clean steps since the last 429; 429s in a row
        self._accepted: deque[float] = deque()  # times, of the last minute
        self._sent: deque[list[float]] = deque()  # [time, tokens] of the last minute

    @property
    def name(self) -> str:
        """The inner one's."""
        return self.inner.name

    @property
    def capabilities(self) -> frozenset[str]:
        """The inner one's."""
        return self.inner.capabilities

    @property
    def waiting_until(self) -> float | None:
        """Unix time of the end of the cool-down, None where there is none."""
        left = self._cool_until - self.clock.now()
        return self.wall() + left if left > 0 else None

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """The inner one's answer, when it is its turn. Raises what the run was stopped for."""
        entry = self._enter(sum(len(m["content"]) for m in messages) / 4 + ask.max_tokens)
        try:
            said = self.inner.complete(messages, ask)
        except LLMError as error:
            self._leave(entry, error if isinstance(error, RateError) or error.retry_after is not None else None)
            raise
        except BaseException:
            with self._turn:
                self.flying -= 1
                self._turn.notify_all()
            raise
        if said.usage.tokens_in:
            entry[1] = said.usage.tokens_in + said.usage.tokens_out
        self._leave(entry, None)
        return said

    def _enter(self, tokens: float) -> list[float]:
        with self._turn:
            while True:
                self.clock.check()
                now = self.clock.now()
                pause = self._pause(now, tokens)
                if self.flying < int(self.limit) and pause <= 0:
                    break
                self._turn.wait(min(pause, LOOK) if pause > 0 else LOOK)
            self.flying += 1
            if self.pace is not None:
                self._next = now + MINUTE / self.pace
            entry = [now, tokens]
            if self.requests_per_minute or self.tokens_per_minute:
                self._sent.append(entry)
            return entry

    def _pause(self, now: float, tokens: float) -> float:
        """Seconds until the next request may be sent, as far as time goes."""
        until = max(self._cool_until, self._next)
        while self._sent and self._sent[0][0] <= now - MINUTE:
            self._sent.popleft()
        if self.requests_per_minute and len(self._sent) >= self.requests_per_minute:
            until = max(until, self._sent[-int(self.requests_per_minute)][0] + MINUTE)
        if self.tokens_per_minute:
            room = self.tokens_per_minute - tokens - sum(used for _, used in self._sent)
            for at, used in self._sent:
                if room >= 0:
                    break
                room, until = room + used, max(until, at + MINUTE)
        return until - now

    def _leave(self, entry: list[float], error: LLMError | None) -> None:
        said = ""
        with self._turn:
            now = self.clock.now()
            self.flying -= 1
            while self._accepted and self._accepted[0] <= now - MINUTE:
                self._accepted.popleft()
            if error is None:
                self._accepted.append(now)
                self._storms = 0
                grown = self.limit + (1 if self.pace is None else 1 / self.limit)  # doubles per round until the first 429, then one per round
                self.limit = min(grown, float(self.most))
                if self.pace is not None and now - self._clean_since > STEP:
                    self._steps += 1
                    self.pace *= 1 + FASTER * self._steps
                    self._clean_since = now
            else:
                said = self._refused(entry[0], now, error)
            self._turn.notify_all()
        if self._over is not None:
            self.clock.stop(self._over)
        if said:
            self.say(said)

    def _refused(self, sent: float, now: float, error: LLMError) -> str:
        """Slow down; what to say, empty where it was said."""
        if sent >= self._cut:  # one cut for all that were in flight together
            self.limit, self._cut = max(self.limit / 2, 1.0), now
            self._storms += 1
            if self._accepted:
                self.pace = max(SLOWER * len(self._accepted) * MINUTE / min(MINUTE, max(now - self._began, 1.0)), 1.0)
        self._steps, self._clean_since = 0, now
        wait = error.retry_after if error.retry_after is not None else min(BACKOFF[0] * 2.0 ** (self._storms - 1), BACKOFF[1])
        reason = "429" if isinstance(error, RateError) else "the server is busy"  # a 503 with Retry-After
        if wait > PATIENCE:
            until = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.wall() + wait))
            self._over = StoppedError(f"the server takes no more requests until {until} ({reason}). The same command goes on then")
            return ""
        before, self._cool_until = self._cool_until, max(self._cool_until, now + wait)
        if before > now:  # within a cool-down already: said
            return ""
        return f"waiting until {time.strftime('%H:%M:%S', time.localtime(self.wall() + wait))} ({reason})"
