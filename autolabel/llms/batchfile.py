"""Calls through files, in the JSONL of the OpenAI Batch API: requests out, replies in. Pure functions over lines.

A request is {"custom_id": digest of the call, "method": "POST", "url": "/v1/chat/completions", "body": {...}}. A reply is a line of
the output or error file of the Batch API; people who answer with something else may write {"custom_id": ..., "text": ...}.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any  # JSON of other people's making: anything

from autolabel.llms import answers
from autolabel.llms.features import Features, body
from autolabel.protocols import Message
from autolabel.types import Ask, Completion

URL = "/v1/chat/completions"
LONGEST = 4 << 20  # characters of one line of replies: longer ones are no answers
SHOWN = 5  # broken lines that are named


def request_line(custom_id: str, model: str, messages: Sequence[Message], ask: Ask, features: Features | None = None) -> str:
    """One request, without the line's end."""
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": URL, "body": body(model, messages, ask, features or Features())},
                      ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """One line of a reply file that can be read."""

    custom_id: str
    raw: str | None  # a chat completion as JSON; None where the call brought none
    status: int = 200  # HTTP status of the call
    error: str = ""  # what the batch says of a call without a reply: expired, cancelled, ...


@dataclass
class Read:
    """What a reply file held."""

    replies: dict[str, Reply] = field(default_factory=dict)  # one per custom_id: a good one where there is one, else the first
    lines: int = 0  # not empty ones
    broken: list[str] = field(default_factory=list)  # "line 7: no JSON": the first SHOWN
    n_broken: int = 0
    repeated: Counter[str] = field(default_factory=Counter)  # custom_id -> further lines


def read_replies(lines: Iterable[str]) -> Read:
    """Replies in any order, some twice, some broken."""
    read = Read()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        read.lines += 1
        reply, wrong = _reply(line)
        if reply is None:
            read.n_broken += 1
            if len(read.broken) < SHOWN:
                read.broken.append(f"line {number}: {wrong}")
            continue
        before = read.replies.get(reply.custom_id)
        if before is not None:
            read.repeated[reply.custom_id] += 1
        if before is None or (before.raw is None and reply.raw is not None):
            read.replies[reply.custom_id] = reply
    return read


def _reply(line: str) -> tuple[Reply | None, str]:
    if len(line) > LONGEST:
        return None, f"longer than {LONGEST:,} characters"
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None, "no JSON"
    if not isinstance(said, dict):
        return None, "no JSON object"
    name = said.get("custom_id")
    if not isinstance(name, str) or not name:
        return None, "no custom_id"
    if isinstance(said.get("text"), str):
        return Reply(name, answers.body_of(Completion(said["text"], model=str(said.get("model") or "")))), ""
    response = said.get("response")
    if isinstance(response, dict) and isinstance(response.get("body"), dict):
        status = response.get("status_code")
        code = status if isinstance(status, int) and not isinstance(status, bool) else 200
        raw = json.dumps(response["body"], ensure_ascii=False)
        return Reply(name, raw if code < 400 else None, code, "" if code < 400 else raw), ""
    error = said.get("error")
    if isinstance(error, dict):
        return Reply(name, None, 0, f"{error.get('code') or 'error'}: {error.get('message') or 'no message'}"), ""
    return None, "neither a response nor an error"


def requests_of(text: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """The requests of a file that `request_line` wrote."""
    for line in text:
        if line.strip():
            yield json.loads(line)
