"""Yes or no about texts, several to a question: what `detection` and `fuzzing` ask an LLM.

Texts stand on one line each, numbered, behind a mark of letters that occur in none of them. The reply is
`{"answers": [[number, 0 or 1], ...]}`; a number without an answer is missing, one with two different answers too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolabel.errors import LLMError, ReplyError
from autolabel.llms.asking import Question
from autolabel.llms.replies import entries
from autolabel.prompts import Template, conversation
from autolabel.protocols import LLM
from autolabel.render import nonce
from autolabel.scorers.plans import ENOUGH, Figure, Plan, too_few
from autolabel.simulators.text import quoted
from autolabel.stats.proportions import mean_of_two, wilson
from autolabel.types import Ask, Completion, Role, hash63

SCHEMA: Mapping[str, object] = {
    "type": "object", "additionalProperties": False, "required": ["answers"],
    "properties": {"answers": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}}}


@dataclass(frozen=True)
class Item:
    """One text to be judged."""

    text: str  # on one line
    truth: bool
    excerpt: int  # Excerpt.id


def questions(llm: LLM, template: Template, label: str, items: Sequence[Item], shown: int, role: Role, seed: object,
              word: str = "") -> tuple[list[list[Item]], list[Question]]:
    """The items in random order, `shown` to a question. `word`: what marks inside the texts are made with; else one is drawn here."""
    mixed = sorted(items, key=lambda item: hash63(seed, "order", item.excerpt))
    groups = [mixed[i:i + shown] for i in range(0, len(mixed), shown)]
    out: list[Question] = []
    for group in groups:
        mark = word or nonce(hash63(seed, *(i.excerpt for i in group)), [i.text for i in group])
        lines = "\n".join(f"[{mark} {k}] {item.text}" for k, item in enumerate(group, 1))
        ask = Ask(role, max_tokens=64 + 16 * len(group), schema=SCHEMA if "json" in llm.capabilities else None,
                  excerpts=tuple(i.excerpt for i in group))
        out.append((conversation(template, {"label": quoted(label), "texts": lines, "word": mark}), ask))
    return groups, out


def read_answers(reply: Completion, n: int) -> list[bool | None]:
    """The answer to each of n numbered texts. Raises ReplyError where there is not one."""
    found: dict[int, bool] = {}
    wrong = set()
    for entry, _ in entries(reply.text, "answers"):
        if not isinstance(entry, list) or len(entry) != 2 or type(entry[0]) is not int or not 1 <= entry[0] <= n or entry[1] not in (0, 1):
            continue
        if found.setdefault(entry[0], bool(entry[1])) != bool(entry[1]):
            wrong.add(entry[0])
    if not found:
        raise ReplyError('the reply has no {"answers": [[number, 0 or 1], ...]}', reply.text)
    return [None if k in wrong else found.get(k) for k in range(1, n + 1)]


def yes_or_no(groups: Sequence[Sequence[Item]], asked: Sequence[Question]) -> Plan:
    """Balanced accuracy of the answers: (share of yes among the true + share of no among the false)/2; chance is .5."""
    def finish(answers: list[Any]) -> Figure:
        given = [(item.truth, a) for group, found in zip(groups, answers, strict=True) if not isinstance(found, LLMError)
                 for item, a in zip(group, found, strict=True) if a is not None]
        yes, no = [a for truth, a in given if truth], [a for truth, a in given if not truth]
        missing = sum(len(group) for group in groups) - len(given)
        if min(len(yes), len(no)) < ENOUGH:
            return Figure(None, reason=f"{missing} of {missing + len(given)} texts have no answer: {too_few(len(yes), len(no))}")
        hit, silent = wilson(sum(yes), len(yes)), wilson(len(no) - sum(no), len(no))
        both = mean_of_two(hit, silent)
        fired = sum(yes) + sum(no)
        return Figure(both.value, both.low, both.high, len(given), None, {
            "chance": 0.5, "recall": hit.value, "specificity": silent.value, "precision": sum(yes) / fired if fired else None,
            "f1": 2 * sum(yes) / (fired + len(yes)), "n_active": len(yes), "n_silent": len(no), "missing": missing})

    return Plan(asked, lambda k, reply: read_answers(reply, len(groups[k])), finish)
