"""Calls that go through files: whoever asks is told that the answer comes later, and the question is kept.

The same work is done again when answers have come: what is known is found in the cache, what follows from it is asked next.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from autolabel.errors import LLMError, PendingError, RefusedError, ReplyError, RequestError, TruncatedError
from autolabel.llms.cached import Store, request_of
from autolabel.protocols import Message
from autolabel.types import Ask, Call, Completion

FINAL: Mapping[str, type[LLMError]] = {f"failed:{e.kind}": e for e in (RequestError, RefusedError, TruncatedError, ReplyError)}
# outcomes of a call in a batch that asking again would not change; all others (expired, 429, 5xx) stay open


class Batched:
    """Stands where a client stands inside the cache. `pending` counts the questions that are open."""

    def __init__(self, name: str, address: str, store: Store, waiting: set[str], failed: Mapping[str, tuple[str, str]]) -> None:
        self.name, self.address, self.store = name, address, store
        self._waiting, self._failed = set(waiting), failed  # digests asked before; digest -> (state, reply) of those that ended in FINAL
        self.capabilities = frozenset({"logprobs", "json", "batch"})  # hoped for: nobody is there to be asked
        self._open: set[str] = set()
        self._guard = threading.Lock()

    @property
    def pending(self) -> int:
        """Distinct questions of this run without an answer."""
        return len(self._open)

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """Never an answer. Raises PendingError; where the batch brought a failure that is final, the LLMError of its kind."""
        digest, request = request_of(self.name, self.address, messages, ask)
        if (known := self._failed.get(digest)) is not None:
            raise FINAL[known[0]](f"the batch brought no answer to this call: {known[0].removeprefix('failed:')}", known[1])
        with self._guard:
            self._open.add(digest)
            fresh = digest not in self._waiting
            self._waiting.add(digest)
        if fresh:
            self.store.put(Call(digest, ask.role, self.name, "waiting", request, excerpts=ask.excerpts))
        raise PendingError("the answer comes with the next batch file")
