"""What an LLM said, read strictly: the answer is there in the form that was asked for, or it is a ReplyError that carries the reply."""

from __future__ import annotations

import json
import re
from typing import Any

from autolabel.errors import ReplyError
from autolabel.explainers.asking import Answer

_LABEL = re.compile(r"^[ \t>*_#`-]*LABEL[*_`]*[ \t]*:[ \t*_`]*(.*)$", re.MULTILINE | re.IGNORECASE)
NO_PATTERN = "no clear pattern"
_NONE = re.compile(r"no clear pattern\b[\s.:;,-]*", re.IGNORECASE)


def read_label(reply: str) -> Answer:
    """`LABEL: ...` on the last such line; `LABEL: no clear pattern` abstains. Raises ReplyError."""
    found = _LABEL.findall(reply)
    if not found:
        raise ReplyError("the reply has no line that begins with LABEL:", reply)
    text = found[-1].strip(" \t*_`\"“”")
    if not text:
        raise ReplyError("the line LABEL: is empty", reply)
    if m := _NONE.match(text):
        why = text[m.end():].strip()
        return Answer("", None, f"{NO_PATTERN}: {why}" if why else NO_PATTERN)
    return Answer(text)


def label_answer(example: Any) -> str:
    """The answer of a few-shot example in that form."""
    return f"LABEL: {example['label'] or NO_PATTERN}"


def read_object(reply: str) -> dict[str, Any]:
    """The one JSON object of a reply, also in a code fence or between words. Raises ReplyError: none, two, broken, a key twice."""
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    found: list[dict[str, Any]] = []
    at = 0
    try:
        while (at := reply.find("{", at)) >= 0:
            try:
                value, end = decoder.raw_decode(reply, at)
            except json.JSONDecodeError as error:
                if found:  # a brace in the words behind it
                    at += 1
                    continue
                raise ReplyError(f"the reply is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})", reply) from None
            found.append(value)
            at = end
    except (ValueError, RecursionError) as error:
        raise ReplyError(f"the reply is not valid JSON: {error}", reply) from None
    if not found:
        raise ReplyError("the reply holds no JSON object", reply)
    if len(found) > 1 and any(value != found[0] for value in found):
        raise ReplyError("the reply holds several JSON objects", reply)
    return found[0]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"the key {twice[0]!r} comes twice")
    return dict(pairs)
