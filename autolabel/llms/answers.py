"""Chat completions as JSON: a reply -> what the LLM said, or the LLMError that the call ended in. Pure functions.

The same reader serves the client, the cache (replies are stored as they came and read again) and batch files.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any  # JSON of other people's making: anything

from autolabel.errors import AuthError, EndpointError, LLMError, QuotaError, RateError, RefusedError, ReplyError, RequestError, TruncatedError
from autolabel.llms.keys import redact
from autolabel.types import Completion, Usage

CUT = frozenset({"length", "max_tokens", "MAX_TOKENS", "model_length"})  # finish reasons of a cut reply: OpenAI, Anthropic, Gemini, Mistral
FILTERED = frozenset({"content_filter", "refusal", "safety", "SAFETY", "PROHIBITED_CONTENT", "RECITATION"})
NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance", "quota_exceeded")
TEMPLATE = ("role not supported", "roles must alternate")  # chat templates of some models; llama.cpp tells it with a 500
SHOWN = 300  # characters of a server's message that are passed on


def completion(raw: str, stop: Sequence[str] = ()) -> Completion:
    """What a 200 reply says. `stop`: texts that end the answer, for servers that do not take them.

    Raises EndpointError (the JSON is broken off), ReplyError (nothing in it), RefusedError, TruncatedError; or, where a
    server reports its error with a 200, what `failure` says.
    """
    raw = redact(raw)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise EndpointError("the reply is no whole JSON: it was broken off", raw) from None
    if not isinstance(body, dict):
        raise ReplyError("the reply is no JSON object", raw)
    used = usage(body.get("usage"))
    choices = body.get("choices")
    if not choices and body.get("error"):
        code = _dict(body["error"]).get("code")
        raise failure(code if isinstance(code, int) else 500, {}, raw)
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ReplyError("the reply has no choice", raw, usage=used)
    choice, message = choices[0], _dict(choices[0].get("message"))
    finish = str(choice.get("finish_reason"))
    if message.get("refusal"):
        raise RefusedError(f"the model refuses: {_short(message['refusal'])}", raw, usage=used)
    if finish in FILTERED:
        raise RefusedError("a content filter ended the reply", raw, usage=used)
    if finish in CUT:
        raise TruncatedError(f"the reply was cut at the token limit ({used.tokens_out if used else '?'} tokens)", raw, usage=used)
    text = _text(message.get("content"))
    if text is None:
        raise ReplyError("the reply has no text", raw, usage=used)
    tokens = _tokens(choice.get("logprobs"))
    for end in stop:
        if end and end in text:
            text = text.partition(end)[0]
            tokens = _until(tokens, text)
    return Completion(text, tokens, used or Usage(), str(body.get("model") or ""), raw=raw)


def body_of(said: Completion) -> str:
    """A completion that came over no wire, in the form of one that did: `completion` reads it back."""
    if said.raw:
        return said.raw
    u = said.usage
    content = [{"token": token, "top_logprobs": [{"token": t, "logprob": p} for t, p in top.items()]} for token, top in said.tokens]
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said.text},
              "logprobs": {"content": content} if content else None}
    body: dict[str, Any] = {"object": "chat.completion", "model": said.model, "choices": [choice]}
    if u.tokens_in:
        body["usage"] = {"prompt_tokens": u.tokens_in, "completion_tokens": u.tokens_out,
                         "prompt_tokens_details": {"cached_tokens": u.tokens_cached, "cache_write_tokens": u.tokens_written},
                         "completion_tokens_details": {"reasoning_tokens": u.tokens_reasoning}}
    return json.dumps(body, ensure_ascii=False)


def usage(said: object) -> Usage | None:
    """Tokens, whichever way they are told; None where they are not."""
    if not isinstance(said, dict) or not _count(said.get("prompt_tokens")):
        return None
    read, written = _dict(said.get("prompt_tokens_details")), _dict(said.get("completion_tokens_details"))
    n_in, n_out, total = (_count(said.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    thought = _count(written.get("reasoning_tokens"))
    if thought and total == n_in + n_out + thought:  # some count the thoughts beside the answer; they are paid for all the same
        n_out += thought
    cached = _count(read.get("cached_tokens")) or _count(said.get("prompt_cache_hit_tokens"))
    return Usage(n_in, n_out, min(cached, n_in), min(thought, n_out), min(_count(read.get("cache_write_tokens")), n_in))


def failure(status: int, headers: Mapping[str, str], raw: str, now: float | None = None) -> LLMError:
    """The error that a status of 400 or more stands for. `now`: Unix time, for dates in Retry-After."""
    raw = redact(raw)
    message, code = _message(raw)
    said = f"{status}{f' {code}' if code else ''}: {message}"
    wait = retry_after(headers, now)
    if code in NO_QUOTA or status == 402:
        return QuotaError(f"the quota of this account is used up ({said})", raw, sent=False)
    if status in (401, 403) and code != "content_filter":
        return AuthError(f"the key is refused ({said})", raw, sent=False)
    if status == 429:
        return RateError(f"too many requests ({said})", raw, wait, sent=False)
    if status >= 500 and any(words in message.lower() for words in TEMPLATE):
        return RequestError(f"the server refuses the request ({said})", raw, sent=False)
    if status >= 500 or status in (408, 409, 425):
        return EndpointError(f"the server failed ({said})", raw, wait, sent=status in (408, 504, 524))
    if code == "content_filter":
        return RefusedError(f"a content filter refuses the prompt ({said})", raw, sent=False)
    return RequestError(f"the server refuses the request ({said})", raw, sent=False)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait, 0 or more, from `retry-after-ms` or `retry-after` (seconds or a date); None where nothing can be read."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name) or "") / unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after") or "")
        return max(date.timestamp() - (time.time() if now is None else now), 0.0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def param_of(raw: str) -> tuple[str, str]:
    """(name of the parameter that a refusal is about, empty where it is not said; the message)."""
    try:
        error = _dict(json.loads(raw)).get("error")
    except (ValueError, RecursionError):
        error = None
    return str(_dict(error).get("param") or ""), _message(raw)[0]


def _message(raw: str) -> tuple[str, str]:
    """(message, code) of an error body: OpenAI's form, vLLM's, FastAPI's, Ollama's, or plain text."""
    try:
        body = _dict(json.loads(raw))
    except (ValueError, RecursionError):
        return _short(raw) or "no message", ""
    error = body.get("error")
    if isinstance(error, dict):
        return _short(error.get("message") or error), str(error.get("code") or error.get("type") or "")
    return _short(error or body.get("message") or body.get("detail") or raw), str(body.get("code") or "")


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _text(content: object) -> str | None:
    """The text of a message: a string, or a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in ("text", "output_text")]
        content = "".join(part for part in parts if isinstance(part, str)) if parts else None
    if not isinstance(content, str) or not content:
        return None
    return content.encode("utf-8", "replace").decode()  # half a surrogate pair is no text


def _tokens(said: object) -> tuple[tuple[str, dict[str, float]], ...]:
    """Each token of the answer with the log probabilities of its alternatives, itself among them."""
    found = []
    content = _dict(said).get("content")
    for item in content if isinstance(content, list) else ():
        if not isinstance(item, dict) or not isinstance(item.get("token"), str):
            return ()
        top = item.get("top_logprobs")
        listed = [item, *(top if isinstance(top, list) else [])]
        found.append((_letters(item), {_letters(t): float(t["logprob"]) for t in listed if isinstance(t, dict) and _is_number(t.get("logprob"))}))
    return tuple(found)


def _letters(item: Mapping[str, Any]) -> str:
    """A token as text: from its bytes where they are whole characters (the name of a byte token is an escape)."""
    try:
        return bytes(item["bytes"]).decode("utf-8")
    except (KeyError, TypeError, ValueError):
        return str(item.get("token", ""))


def _until(tokens: tuple[tuple[str, dict[str, float]], ...], text: str) -> tuple[tuple[str, dict[str, float]], ...]:
    """The tokens that lie within `text`, from its start."""
    length, kept = 0, []
    for token in tokens:
        length += len(token[0])
        if length > len(text):
            break
        kept.append(token)
    return tuple(kept)


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and _is_number(value) and value > 0 else 0
