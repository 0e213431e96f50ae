"""Any server that speaks the OpenAI API: OpenAI, vLLM, Ollama, llama.cpp, LM Studio, OpenRouter.

One answer per call, not streamed; the SDK's own retries are off (`retrying.py` has ours). Whatever goes wrong comes out as an
LLMError, without the SDK's exception behind it: that one holds the request, and with it the key.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar  # Any: JSON
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from autolabel.errors import (
    AuthError,
    EndpointError,
    ExtraError,
    LLMError,
    ModelError,
    RefusedError,
    ReplyError,
    RequestError,
    SetupError,
    TruncatedError,
)
from autolabel.llms import answers
from autolabel.llms.features import Features, Memory, accepted, body, merged, noticed, refused
from autolabel.llms.keys import VARIABLE, Key, hide, redact
from autolabel.protocols import Message
from autolabel.types import Ask, Completion

if TYPE_CHECKING:
    import openai

T = TypeVar("T")
HOME = "https://api.openai.com/v1"  # where `openai/MODEL` lives without a base URL
ADAPTIONS = 8  # features that one call may find refused


class OpenAI:
    """A model behind a chat-completions endpoint. Threads share its connections; it pickles without key and connections."""

    def __init__(self, model: str, base_url: str | None = None, key: Key | None = None, timeout: float = 120.0, memory: Memory | None = None) -> None:
        self.model = model
        self.address, self._url, self._query = split_url(base_url or HOME)
        self.key, self.timeout, self._memory = key, timeout, memory
        if key is None and self.address == HOME:
            raise AuthError(f"no key for {HOME}: set {VARIABLE}, or name a file with --key-file; a server of your own is named with --base-url",
                            sent=False)
        self._guard = threading.Lock()
        self._client: openai.OpenAI | None = None
        self._features = Features.load(memory.get(self._memory_key) if memory else None)

    @property
    def name(self) -> str:
        """`openai/MODEL`."""
        return f"openai/{self.model}"

    @property
    def features(self) -> Features:
        """What is known of the server and the model by now."""
        return self._features

    @property
    def is_near(self) -> bool:
        """The server is on this machine."""
        host = urlsplit(self.address).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")

    @property
    def capabilities(self) -> frozenset[str]:
        """Of logprobs, json (hoped for until a reply says otherwise), batch (OpenAI's own server; others are asked)."""
        return self._features.capabilities | ({"batch"} if self.address == HOME else frozenset())

    def __repr__(self) -> str:
        return f"OpenAI({self.model!r}, {self.address!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model, "base_url": self.address, "key": self.key, "timeout": self.timeout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # the same as making it anew: the key is read again

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """One answer. A feature that the server refuses is left out and the call made again (a refusal costs nothing)."""
        for _ in range(ADAPTIONS):
            features = self._features
            sent = body(self.model, messages, ask, features)
            try:
                raw = self._post(sent)
            except RequestError as error:
                known = refused(features, sent, error)
                if known is None:
                    raise self._helped(error) from None
                self._learn(known)
                continue
            try:
                said = answers.completion(raw, ask.stop)
            except (ReplyError, RefusedError, TruncatedError) as error:
                self._learn(accepted(features, sent, error.usage))
                raise
            self._learn(noticed(features, sent, said))
            return said
        raise RequestError(f"{self.name} refuses one parameter after the other: {self._features.dump()}", sent=False)

    def models(self) -> list[str] | None:
        """The names that the server lists; None where it does not list (that is optional)."""
        try:
            # on a connection of its own: a server that fails here may hang up on whoever asks next
            return sorted(str(m.id) for m in self.client.models.list(extra_headers={"Connection": "close"}))
        except Exception as error:  # the SDK may fail in any way on what is no list
            known = self._failure(error)
            answered = getattr(error, "status_code", None) is not None  # with a 404, or with the 500 of one that cannot list
            if isinstance(known, AuthError) or (isinstance(known, EndpointError) and not known.sent and not answered):
                raise known from None
            return None

    @property
    def client(self) -> openai.OpenAI:
        """The SDK's client, made on first use; for files and batches."""
        with self._guard:
            if self._client is None:
                try:
                    import openai
                except ImportError as error:
                    raise ExtraError("openai", "demo") from error
                # servers of one's own want no key, the SDK does
                self._client = openai.OpenAI(api_key=self.key.reveal() if self.key else "none", base_url=self._url, max_retries=0,
                                             timeout=openai.Timeout(self.timeout, connect=min(10.0, self.timeout)), default_query=self._query)
            return self._client

    def with_client(self, call: Callable[[openai.OpenAI], T]) -> T:
        """What a call of the SDK gives (files, batches). Raises LLMError."""
        try:
            return call(self.client)
        except LLMError:
            raise
        except Exception as error:  # all that the SDK and its transport raise
            failed = self._failure(error)
        raise failed

    def close(self) -> None:
        """End the connections."""
        with self._guard:
            if self._client is not None:
                self._client.close()
                self._client = None

    @property
    def _memory_key(self) -> str:
        return f"{self.address} {self.model}"

    def _post(self, sent: dict[str, Any]) -> str:
        """The text of a 200 reply; else raises an LLMError."""
        client = self.client
        try:
            return client.post("/chat/completions", cast_to=str, body=sent)  # `create` checks the body against its types: a third of a call's CPU time
        except Exception as error:  # all that the SDK and its transport raise, decoding errors among it
            failed = self._failure(error)
        raise failed  # outside the handler: the SDK's exception, which holds the key, is not chained

    def _failure(self, error: Exception) -> LLMError:
        """An exception of the SDK as one of ours."""
        import openai

        if isinstance(error, openai.APIStatusError):
            found = answers.failure(error.status_code, error.response.headers, error.response.text)
            if isinstance(found, AuthError) and self.key is None:
                return AuthError(f"{self.address} wants a key: set {VARIABLE}, or name a file with --key-file ({found})", found.reply, sent=False)
            if isinstance(found, AuthError) and self.key:
                return AuthError(f"{self.address} refuses the key from {self.key.origin}: {found}", found.reply, sent=False)
            return found
        if isinstance(error, openai.APITimeoutError):
            connecting = type(error.__cause__).__name__ in ("ConnectTimeout", "PoolTimeout")
            return EndpointError(f"{self.address} did not answer within {self.timeout:g} s", sent=not connecting)
        if isinstance(error, openai.APIConnectionError):
            connecting = type(error.__cause__).__name__ in ("ConnectError", "UnsupportedProtocol", "ProxyError")
            reason = redact(str(error.__cause__ or error)) or type(error.__cause__).__name__
            verb = "cannot be reached" if connecting else "broke off"
            return EndpointError(f"{self.address} {verb}: {reason}", sent=not connecting)
        if isinstance(error, UnicodeError):
            return RequestError("the prompt holds half a surrogate pair, which is no text", sent=False)
        if isinstance(error, openai.OpenAIError | ValueError | OSError | RuntimeError):
            return EndpointError(f"{self.address}: {type(error).__name__}: {redact(str(error))[:200]}")
        raise error

    def _helped(self, error: RequestError) -> RequestError:
        """A refusal with what to do about it."""
        message = str(error)
        if "is pinned to" in message:  # transformers serve, started with one model
            return ModelError(message, error.reply, sent=False)
        if "404" not in message and "model" not in message.lower():
            return error
        if "404" in message and not urlsplit(self.address).path.rstrip("/"):
            return ModelError(f"{error}; does the base URL end in /v1?", error.reply, sent=False)
        try:
            known = self.models()
        except LLMError:
            known = None
        if known is None and "model_not_found" in message:
            return ModelError(str(error), error.reply, sent=False)
        if known is None or self.model in known:
            return error
        listed = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        return ModelError(f"{self.address} has no model {self.model!r}; it has {listed or 'none'}", error.reply, sent=False)

    def _learn(self, known: Features) -> None:
        if known == self._features:
            return
        with self._guard:
            before, self._features = self._features, merged(self._features, known)
            after = self._features
        if self._memory is not None and after != before:
            self._memory.put(self._memory_key, after.dump())


def split_url(url: str) -> tuple[str, str, dict[str, object]]:
    """(address to store and show: without user info and query; URL to use; query). Passwords in it are hidden from logs. Raises SetupError."""
    try:
        parts = urlsplit(url.strip())
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise SetupError(f"the base URL is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SetupError("the base URL must begin with http:// or https:// and name a host, as in http://localhost:11434/v1")
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"  # goes out in place of the key, as it is and in base64
    for secret in (parts.username, parts.password, base64.b64encode(login.encode()).decode(), *(value for _, value in parse_qsl(parts.query))):
        if secret:
            hide(secret)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/")
    user = parts.netloc.rpartition("@")[0]
    return (urlunsplit((parts.scheme, host + port, path, "", "")), urlunsplit((parts.scheme, f"{user}@{host}{port}" if user else host + port, path, "", "")),
            dict(parse_qsl(parts.query)))
