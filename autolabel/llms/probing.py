"""What a server and a model take, found out by one small question (and one more for each feature that it refuses)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autolabel.errors import RefusedError, ReplyError, TruncatedError
from autolabel.llms.prices import most_tokens
from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Completion

if TYPE_CHECKING:
    from autolabel.llms.features import Features

MESSAGES: tuple[Message, ...] = (
    {"role": "system", "content": "You answer with JSON only."},
    {"role": "user", "content": 'What is 3 + 4? Answer in the form {"answer": 0}.'})
SCHEMA = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"], "additionalProperties": False}
ASK = Ask("probe", max_tokens=1024, temperature=0.0, seed=0, schema=SCHEMA, logprobs=20, stop=("<|never|>",))  # 1024: a reasoning model thinks first


@dataclass(frozen=True, slots=True)
class Probe:
    """What came back."""

    seconds: float  # until the answer was there, refusals included
    said: Completion | None  # None where the model answered nothing that can be read
    failure: str  # why, empty where it did
    features: Features | None  # of an OpenAI-compatible server


def probe(llm: LLM) -> Probe:
    """Ask once. What is learned stays with `llm`. Raises the LLMError of an endpoint, key, quota or model that does not work."""
    began = time.monotonic()
    said, failure = None, ""
    try:
        said = llm.complete(MESSAGES, ASK)
    except (ReplyError, RefusedError, TruncatedError) as error:
        failure = str(error)
    return Probe(time.monotonic() - began, said, failure, getattr(llm, "features", None))


def most_probe_tokens() -> tuple[int, int]:
    """(prompt, answer): tokens that a probe can cost at most."""
    return most_tokens(MESSAGES, ASK), ASK.max_tokens
