"""What a server and a model take, learned from what comes back: once per server and model, then remembered.

Every feature begins as `unknown` and is sent; a 400 that names it makes it `refused` (not sent again), a good reply makes it
`taken`, or `ignored` where the reply does not show it. Refused things are made up for: no system role, the first message
takes its text; no stop, the reply is cut here; no schema, the strict parser is all there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Protocol  # Any: JSON

from autolabel.errors import RequestError
from autolabel.llms.answers import param_of
from autolabel.protocols import Message
from autolabel.types import Ask, Completion, Usage

State = Literal["unknown", "taken", "refused", "ignored"]
TOP = 20  # alternatives per token that OpenAI and vLLM give at most
REFUSALS = ("unsupported", "not support", "unknown", "unrecognized", "not permitted", "not allowed", "extra ", "unexpected", "only the default",
            "invalid", "must alternate", "deprecated", "cannot be used", "not available", "unavailable",
            "not enabled", "incompatible", "greater than", "less than", "at most")


class Memory(Protocol):
    """Where features are kept from run to run."""

    def get(self, key: str) -> str | None:
        """What was put under this key last."""

    def put(self, key: str, value: str) -> None:
        """Keep it."""


@dataclass(frozen=True, slots=True)
class Features:
    """One server and model. The names are those of the request's parameters."""

    limit: str = "max_tokens"  # the parameter that limits the answer: max_tokens, or max_completion_tokens (reasoning models)
    temperature: State = "unknown"
    seed: State = "unknown"
    stop: State = "unknown"
    system: State = "unknown"  # messages of role system
    schema: State = "unknown"  # response_format with a JSON schema
    logprobs: State = "unknown"
    top: int = TOP  # alternatives per token, at most
    usage: State = "unknown"  # tokens are told

    @property
    def capabilities(self) -> frozenset[str]:
        """As in LLM.capabilities; what is not known yet is hoped for."""
        return frozenset(name for name, state in (("logprobs", self.logprobs), ("json", self.schema)) if state in ("unknown", "taken"))

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def load(cls, text: str | None) -> Features:
        """Out of JSON; what cannot be read is not known."""
        try:
            said = json.loads(text or "{}")
            return cls(**{f.name: said[f.name] for f in fields(cls) if isinstance(said.get(f.name), type(f.default))})
        except (ValueError, AttributeError):
            return cls()


def body(model: str, messages: Sequence[Message], ask: Ask, features: Features) -> dict[str, Any]:
    """The request for one answer, as JSON. Also a line of a batch file."""
    f = features
    made: dict[str, Any] = {"model": model, "messages": _without_system(messages) if f.system == "refused" else [dict(m) for m in messages],
                            f.limit: ask.max_tokens}
    if ask.temperature is not None and f.temperature != "refused":
        made["temperature"] = ask.temperature
    if ask.seed is not None and f.seed != "refused":
        made["seed"] = ask.seed + ask.sample  # another sample is another seed
    if ask.stop and f.stop != "refused":
        made["stop"] = list(ask.stop[:4])  # OpenAI takes four; the reply is cut here as well
    if ask.schema is not None and f.schema in ("unknown", "taken"):
        strict = ask.schema.get("additionalProperties") is False
        made["response_format"] = {"type": "json_schema", "json_schema": {
            "name": "answer", "schema": dict(ask.schema), **({"strict": True} if strict else {})}}
    if ask.logprobs and f.logprobs in ("unknown", "taken"):
        made["logprobs"], made["top_logprobs"] = True, min(ask.logprobs, f.top)
    return made


def refused(features: Features, sent: Mapping[str, Any], error: RequestError) -> Features | None:
    """After a 400: the features without what it refuses, None where the request is wrong for another reason."""
    param, message = param_of(error.reply)
    low = message.lower()
    if "context length" in low or "context_length" in low or "maximum context" in low:
        return None
    if not (param or any(word in low for word in REFUSALS)):
        return None

    def about(*names: str) -> bool:
        return any(param == name or param.startswith((f"{name}.", f"{name}[")) for name in names) if param else any(name in low for name in names)

    if "max_tokens" in sent and "max_completion_tokens" in low:
        return replace(features, limit="max_completion_tokens")
    if "max_completion_tokens" in sent and about("max_completion_tokens"):
        return replace(features, limit="max_tokens")
    if "top_logprobs" in sent and (param == "top_logprobs" or "top_logprobs" in low or "sample logprobs" in low) and sent["top_logprobs"] > 5:
        return replace(features, top=5)
    if "logprobs" in sent and about("logprobs", "top_logprobs"):
        return replace(features, logprobs="refused")
    if "response_format" in sent and about("response_format", "json_schema", "guided", "structured output"):
        return replace(features, schema="refused")
    plain: dict[str, Any] = {name: "refused" for name in ("temperature", "seed", "stop") if name in sent and about(name)}
    if plain:
        return replace(features, **plain)
    if any(m["role"] == "system" for m in sent["messages"]) and ("system" in low or "role" in low or "alternate" in low):
        return replace(features, system="refused")
    return None


def accepted(features: Features, sent: Mapping[str, Any], usage: Usage | None) -> Features:
    """After a reply that holds no answer (cut, refused, empty): what the server took all the same."""
    seen: dict[str, Any] = {name: "taken" for name in ("temperature", "seed", "stop") if name in sent and getattr(features, name) == "unknown"}
    if features.system == "unknown" and any(m["role"] == "system" for m in sent["messages"]):
        seen["system"] = "taken"
    if features.usage == "unknown" and usage is not None and usage.tokens_in:
        seen["usage"] = "taken"
    return replace(features, **seen) if seen else features


def noticed(features: Features, sent: Mapping[str, Any], said: Completion) -> Features:
    """After a good reply: what it shows of the features that were sent."""
    known = accepted(features, sent, said.usage)
    seen: dict[str, Any] = {"usage": "ignored"} if known.usage == "unknown" else {}
    if "logprobs" in sent and known.logprobs == "unknown":
        seen["logprobs"] = "taken" if said.tokens else "ignored"
    if "response_format" in sent and known.schema == "unknown":
        seen["schema"] = "taken" if _is_json(said.text) else "ignored"
    return replace(known, **seen) if seen else known


def merged(mine: Features, other: Features) -> Features:
    """What two threads learned: refusals first, then what was seen."""
    rank = {"unknown": 0, "taken": 1, "ignored": 2, "refused": 3}
    states = {f.name: max(getattr(mine, f.name), getattr(other, f.name), key=rank.__getitem__) for f in fields(Features)
              if f.name not in ("limit", "top")}
    limit = other.limit if mine.limit == Features().limit else mine.limit
    return Features(limit=limit, top=min(mine.top, other.top), **states)


def _without_system(messages: Sequence[Message]) -> list[dict[Literal["role", "content"], str]]:
    """The system's text in front of the first message that follows."""
    made: list[dict[Literal["role", "content"], str]] = []
    before = ""
    for m in messages:
        if m["role"] == "system":
            before += m["content"] + "\n\n"
        else:
            made.append({"role": m["role"], "content": before + m["content"]})
            before = ""
    return made + ([{"role": "user", "content": before.rstrip("\n")}] if before else [])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
