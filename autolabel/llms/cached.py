"""Cached: the same model, messages and settings, no second call; across threads, runs and crashes.

A reply is stored as it came, before anyone reads it, and handed out only after its commit. So a reader that was wrong can be
mended and read the same replies again for nothing; cut and refused replies, which were paid for too, end the same way again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

from autolabel.errors import LLMError, RefusedError, TruncatedError
from autolabel.llms import answers
from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Call, Completion

AGAIN: dict[str, type[LLMError]] = {"failed:truncated": TruncatedError, "failed:refused": RefusedError}


class Store(Protocol):
    """Where calls are kept: `catalogue.calls.CallStore`."""

    def get(self, digest: str) -> Call | None:
        """The call of this digest that was answered, cut or refused."""

    def put(self, call: Call) -> None:
        """Keep an outcome (returns when it is safe), or note that a call is about to be sent (`asked`)."""


def request_of(name: str, address: str, messages: Sequence[Message], ask: Ask) -> tuple[str, str]:
    """(digest, the JSON that it is made of): everything that can change the answer, whatever the order of keys; not the excerpts' ids."""
    request = json.dumps({
        "model": name, "address": address, "messages": [dict(m) for m in messages], "role": ask.role, "temperature": ask.temperature,
        "seed": ask.seed, "max_tokens": ask.max_tokens, "logprobs": ask.logprobs, "schema": ask.schema, "stop": ask.stop, "sample": ask.sample,
    }, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    data = request.encode("utf-8", "replace")
    return hashlib.sha256(data).hexdigest()[:16], data.decode("utf-8")


class Cached:
    """An LLM that remembers. `hits` and `asked` count what was found and what was sent on."""

    def __init__(self, inner: LLM, store: Store, address: str = "") -> None:
        self.inner, self.store, self.address = inner, store, address
        self.hits = self.asked = 0
        self._guard = threading.Lock()
        self._flying: dict[str, Future[Completion]] = {}

    @property
    def name(self) -> str:
        """The inner one's."""
        return self.inner.name

    @property
    def capabilities(self) -> frozenset[str]:
        """The inner one's."""
        return self.inner.capabilities

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """The stored reply, else the inner one's. Equal calls at the same time are one call: the others wait for it."""
        digest, request = request_of(self.name, self.address, messages, ask)
        with self._guard:
            flying = self._flying.get(digest)
            if flying is None:
                mine = self._flying[digest] = Future()
        if flying is not None:
            return flying.result()
        try:
            said = self._known(digest, ask) or self._ask(digest, request, messages, ask)
        except BaseException as error:
            with self._guard:
                del self._flying[digest]
            mine.set_exception(error)
            raise
        with self._guard:
            del self._flying[digest]
        mine.set_result(said)
        return said

    def _known(self, digest: str, ask: Ask) -> Completion | None:
        call = self.store.get(digest)
        if call is None or call.reply is None:
            return None
        with self._guard:
            self.hits += 1
        try:
            said = answers.completion(call.reply, ask.stop)
        except LLMError as error:
            kind = AGAIN.get(call.state, type(error))
            again = kind(f"{error} (stored)", call.reply, usage=call.usage)
            again.cost_usd = call.cost_usd
            raise again from None
        return replace(said, cost_usd=call.cost_usd, call=digest)

    def _ask(self, digest: str, request: str, messages: Sequence[Message], ask: Ask) -> Completion:
        with self._guard:
            self.asked += 1
        call = Call(digest, ask.role, self.name, "done", request, excerpts=ask.excerpts)
        try:
            said = self.inner.complete(messages, ask)
        except LLMError as error:
            self.store.put(replace(call, state=f"failed:{error.kind}", reply=error.reply or None, usage=error.usage, cost_usd=error.cost_usd))
            raise
        self.store.put(replace(call, reply=answers.body_of(said), usage=said.usage, cost_usd=said.cost_usd))
        return replace(said, call=digest)


class Noted:
    """The innermost wrapper: notes in the store that a call is about to be sent, so that a kill leaves no call unknown."""

    def __init__(self, inner: LLM, store: Store, address: str = "") -> None:
        self.inner, self.store, self.address = inner, store, address

    @property
    def name(self) -> str:
        """The inner one's."""
        return self.inner.name

    @property
    def capabilities(self) -> frozenset[str]:
        """The inner one's."""
        return self.inner.capabilities

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """The inner one's answer."""
        digest, _ = request_of(self.name, self.address, messages, ask)
        self.store.put(Call(digest, ask.role, self.name, "asked", excerpts=ask.excerpts))
        return self.inner.complete(messages, ask)
