"""Intruder: which of five texts does not belong? (Paulo et al. 2024, arXiv 2410.13928; the task of Chang et al. 2009 for topics.)

Four texts in which the unit is active, its active tokens marked, and one in which it is silent, with as many random tokens
marked. The LLM is told the label and names the text that the label does not fit. Value: share of right answers, chance .2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolabel.errors import LLMError, ReplyError
from autolabel.llms.asking import Question, need
from autolabel.prompts import Template, conversation
from autolabel.protocols import LLM, SelectEvidence, TestEvidence
from autolabel.registry import part
from autolabel.render import TOP, Snippet, marked, nonce, pieces
from autolabel.scorers.contrast import Contrast, contrast
from autolabel.scorers.fuzzing import marks
from autolabel.scorers.labels import Layer
from autolabel.scorers.plans import ENOUGH, Figure, Plan, run_plans
from autolabel.scorers.reading import Reading
from autolabel.simulators.text import quoted, template
from autolabel.stats.proportions import wilson
from autolabel.types import ActivationRecord, Ask, Completion, Explanation, Score, hash63

SCORER = "intruder"
FELLOWS = 4  # active texts beside the intruder
SCHEMA: Mapping[str, object] = {"type": "object", "additionalProperties": False, "required": ["intruder"], "properties": {"intruder": {"type": "integer"}}}
_ANSWER = re.compile(r'"intruder"\s*:\s*(\d+)\s*\}')


@dataclass(frozen=True)
class Intruder:
    """Share in [0, 1] of questions in which an LLM finds the text that the label does not fit."""

    questions: int = 15  # at most; each takes four active texts
    prompt: str = "intrude"  # file of prompts/
    seed: int = 0
    llm: LLM | None = part()
    threads: int = part(1)
    prompts: str | None = part()  # the user's own folder of templates

    def score(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence) -> list[Score]:
        """One score per explanation, in order; `extra`: chance, questions, failed."""
        llm = need(self.llm, "the scorer intruder")
        made = template(self.prompt, self.prompts)

        def plan(e: Explanation, layer: Layer, reading: Reading) -> Plan | str:
            found = contrast(reading, layer, e.unit, FELLOWS * self.questions, self.questions)
            n = min(len(found.active) // FELLOWS, len(found.silent))
            if n < ENOUGH:
                return (f"{len(found.active)} active and {len(found.silent)} silent excerpts make {n} questions of {FELLOWS} and 1: "
                        f"at least {ENOUGH} are needed")
            seed = (self.seed, str(e.unit))
            made_up = [question(llm, made, e.text, found, k, seed) for k in range(n)]
            return Plan([q for q, _ in made_up], lambda k, reply: read_number(reply, FELLOWS + 1) == made_up[k][1], finish)

        return run_plans(explanations, evidence, SCORER, llm.name, self.seed, plan, llm, self.threads)


def question(llm: LLM, made: Template, label: str, found: Contrast, k: int, seed: object) -> tuple[Question, int]:
    """The k-th question of a unit, and the number of the intruder in it."""
    fellows, intruder = found.active[FELLOWS * k:FELLOWS * (k + 1)], found.silent[k]
    usual = max(1, round(sum(sum(a > found.tau for a in r.activations) for r in fellows) / FELLOWS))
    order = sorted((*fellows, intruder), key=lambda r: hash63(seed, "order", r.excerpt.id))
    word = nonce(hash63(seed, k), [r.excerpt.text for r in order])
    shown = [marked(_random(r, usual, seed) if r is intruder else marks(r, found.tau, True, seed), word) for r in order]
    lines = "\n".join(f"[{word} {number}] {text}" for number, text in enumerate(shown, 1))
    ask = Ask("intrude", max_tokens=64, schema=SCHEMA if "json" in llm.capabilities else None, excerpts=tuple(r.excerpt.id for r in order))
    return (conversation(made, {"label": quoted(label), "texts": lines, "word": word}), ask), 1 + order.index(intruder)


def read_number(reply: Completion, n: int) -> int:
    """The number in `{"intruder": NUMBER}`, the last where there are several. Raises ReplyError."""
    found = _ANSWER.findall(reply.text)
    if not found or not 1 <= int(found[-1]) <= n:
        raise ReplyError(f'the reply has no {{"intruder": NUMBER}} from 1 to {n}', reply.text)
    return int(found[-1])


def finish(answers: list[Any]) -> Figure:
    """Share of right answers with Wilson's interval."""
    given = [a for a in answers if not isinstance(a, LLMError)]
    if len(given) < ENOUGH:
        return Figure(None, reason=f"{len(given)} of {len(answers)} questions have an answer: at least {ENOUGH} are needed")
    share = wilson(sum(given), len(given))
    return Figure(share.value, share.low, share.high, (FELLOWS + 1) * len(given), None, {"chance": 1 / (FELLOWS + 1), "questions": len(given)})


def _random(record: ActivationRecord, n: int, seed: object) -> Snippet:
    """The intruder, n tokens of it marked."""
    tokens = pieces(record.excerpt)
    chosen = set(sorted(range(len(tokens)), key=lambda t: hash63(seed, "intruder", record.excerpt.id, t))[:n])
    return Snippet(tokens, tuple(TOP if t in chosen else 0 for t in range(len(tokens))), excerpt=record.excerpt.id)
