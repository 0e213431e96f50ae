"""One number for each token from any chat API (Bills et al. 2023, as a question that a chat model can answer).

The reply is `{"activations": [[number, token, level], ...]}`. An entry counts where its number is that of a token, the token
is the one that was asked about and the level is in 0..10; what is wrong, missing, or given twice with two levels has no
value (None, never 0). Where the server gives `top_logprobs`, a level is their expected value over 0..10, at the token of the
reply that holds the level; else the level as written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from autolabel.errors import LLMError, ReplyError
from autolabel.llms.asking import Question, ask_all, failure, need
from autolabel.llms.replies import entries
from autolabel.prompts import conversation
from autolabel.protocols import LLM
from autolabel.registry import part
from autolabel.render import TOP, pieces, show, show_token
from autolabel.simulators.text import quoted, template
from autolabel.types import Ask, Completion, Excerpt, Simulation

SCHEMA: Mapping[str, object] = {
    "type": "object", "additionalProperties": False, "required": ["activations"],
    "properties": {"activations": {"type": "array", "items": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}}}}
ALTERNATIVES = 15  # asked for per token of the reply: more than there are levels
_LEVEL = re.compile(r"(\d+)(?:\.0*)?\s*\]$")
_SPLIT = re.compile(r"(\D*)(\d+)(.*)", re.DOTALL)


@dataclass(frozen=True)
class DigitsSimulator:
    """Levels 0..10 from a chat model; one call per excerpt."""

    prompt: str = "simulate_digits"  # file of prompts/
    llm: LLM | None = part()
    threads: int = part(1)
    prompts: str | None = part()  # the user's own folder of templates

    def simulate(self, label: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        """An excerpt whose call failed has no values, and says why. Raises what ends a run, and PendingError when all was asked."""
        tokens = [[show_token(piece) for piece in pieces(e)] for e in excerpts]
        llm = need(self.llm, "the simulator digits")
        questions = [self.question(label, e) for e in excerpts]

        def read(i: int, reply: Completion) -> Simulation:
            return Simulation(excerpts[i].id, tuple(levels(reply, tokens[i])), "decile")

        done = ask_all(llm, questions, read, self.threads)
        return [Simulation(e.id, (None,) * len(e.tokens), "decile", failure(r), r.reply) if isinstance(r, LLMError) else r
                for e, r in zip(excerpts, done, strict=True)]

    def question(self, label: str, excerpt: Excerpt) -> Question:
        """What is asked about one excerpt."""
        has = need(self.llm, "the simulator digits").capabilities
        shown = [[i, show_token(piece)] for i, piece in enumerate(pieces(excerpt))]
        text = json.dumps(shown, ensure_ascii=False)
        messages = conversation(template(self.prompt, self.prompts), {"label": quoted(label), "tokens": text})
        most = 256 + 8 * len(shown) + len(text.encode("utf-8", "surrogatepass"))  # no token is shorter than a byte
        ask = Ask("simulate", max_tokens=most, schema=SCHEMA if "json" in has else None,
                  logprobs=ALTERNATIVES if "logprobs" in has else 0, excerpts=(excerpt.id,))
        return messages, ask


def levels(reply: Completion, tokens: Sequence[str]) -> list[float | None]:
    """The level of each of the tokens (as `show_token` writes them) in a reply. Raises ReplyError where not one can be read."""
    found: dict[int, float] = {}
    wrong: set[int] = set()
    spelled = _spelled(reply)
    for entry, end in entries(reply.text, "activations"):
        if not isinstance(entry, list) or len(entry) != 3:
            continue
        number, token, level = entry
        if type(number) is not int or not 0 <= number < len(tokens) or not isinstance(token, str) or not _same(token, tokens[number]):
            continue
        if type(level) not in (int, float) or not 0 <= level <= TOP:
            continue
        value = _expected(reply.text, end, spelled, float(level))
        if found.setdefault(number, value) != value:
            wrong.add(number)
    if not found:
        raise ReplyError("the reply has no list of [number, token, activation] for the tokens that were asked about", reply.text)
    return [None if i in wrong else found.get(i) for i in range(len(tokens))]


def _same(token: str, asked: str) -> bool:
    """Whether the reply's token is the one asked about; white space at its ends and the writing of escapes do not count."""
    return asked.strip() in (token.strip(), show(token).strip(), show_token(token))


def _spelled(reply: Completion) -> list[tuple[int, str, Mapping[str, float]]]:
    """(first character, text, alternatives) of the reply's tokens; empty where they do not spell the reply."""
    if "".join(text for text, _ in reply.tokens) != reply.text:
        return []
    out, at = [], 0
    for text, alternatives in reply.tokens:
        out.append((at, text, alternatives))
        at += len(text)
    return out


def _expected(text: str, end: int, spelled: Sequence[tuple[int, str, Mapping[str, float]]], written: float) -> float:
    """Expected level from the alternatives of the token that holds the whole level written before `end`; else what is written."""
    m = _LEVEL.search(text, max(0, end - 24), end)
    if m is None:
        return written
    for first, token, alternatives in spelled:
        if first <= m.start(1) and m.end(1) <= first + len(token):
            before = token[:m.start(1) - first]
            total = sum_ = 0.0
            for other, logp in alternatives.items():
                parts = _SPLIT.fullmatch(other)
                if parts and parts[1] == before and int(parts[2]) <= TOP:
                    total += exp(logp)
                    sum_ += int(parts[2]) * exp(logp)
            return sum_ / total if total > 0 else written
    return written
