"""Generative: texts written for the label, near misses and neutral ones, which the subject reads.

The LLM sees the label alone and no text of the corpus. z = the unit's largest activation in a text;

    value = 2 AUC - 1 in [-1, 1]:   AUC = P(z of a text that fits > z of one that does not), ties counting half; chance is 0

with DeLong's interval. It asks whether the label is sufficient (do its texts excite the unit?) where the other scorers ask
whether it covers what was seen. Huang et al. 2023 (arXiv 2309.10312) test labels by texts in this way; Gur-Arieh et al. 2025
(arXiv 2501.08319) call it the input-based evaluation. Texts are the writer's own, so it says nothing of the corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import LLMError, ReplyError, SettingsError
from autolabel.llms.asking import Question, need
from autolabel.llms.replies import entries
from autolabel.prompts import conversation
from autolabel.protocols import LLM, SelectEvidence, TestEvidence
from autolabel.registry import part
from autolabel.scorers.labels import Layer
from autolabel.scorers.plans import ENOUGH, Figure, Plan, run_plans
from autolabel.scorers.reading import Reading
from autolabel.simulators.text import quoted, template
from autolabel.stats.delong import delong
from autolabel.types import Ask, Completion, Explanation, Score

SCORER = "generative"
KINDS = ("fits", "near miss", "neutral")
SCHEMA: Mapping[str, object] = {"type": "object", "additionalProperties": False, "required": ["texts"],
                                "properties": {"texts": {"type": "array", "items": {"type": "string"}}}}


@dataclass(frozen=True)
class Generative:
    """Signed 2 AUC - 1 of texts that fit the label against near misses and neutral texts."""

    texts: int = 10  # of each kind
    prompt: str = "generate"  # file of prompts/
    seed: int = 0
    llm: LLM | None = part()
    threads: int = part(1)
    prompts: str | None = part()  # the user's own folder of templates

    def score(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence) -> list[Score]:
        """One score per explanation, in order; `extra`: near_miss and neutral (the same against one kind alone), texts of each kind, failed."""
        llm = need(self.llm, "the scorer generative")
        tokenizer: Any = getattr(evidence.subject, "tokenizer", None)
        if tokenizer is None:
            raise SettingsError(f"the scorer generative needs the tokenizer of {evidence.subject.name}, which this subject does not give")

        def plan(e: Explanation, layer: Layer, reading: Reading) -> Plan:
            def finish(answers: list[Any]) -> Figure:
                seen: set[str] = set()
                z = []
                for found in answers:
                    fresh = [t for t in dict.fromkeys(() if isinstance(found, LLMError) else found) if t not in seen]
                    seen.update(fresh)
                    z.append(largest(reading, layer, layer.column(e.unit), tokenizer, fresh))
                return figure(z)

            return Plan([self.question(llm, e.text, kind) for kind in KINDS], lambda _, reply: read_texts(reply, self.texts), finish)

        return run_plans(explanations, evidence, SCORER, llm.name, self.seed, plan, llm, self.threads)

    def question(self, llm: LLM, label: str, kind: str) -> Question:
        """A request for texts of one kind."""
        values = {"label": quoted(label), "n": str(self.texts), "kind": kind}
        return conversation(template(self.prompt, self.prompts), values), Ask(
            "generate", max_tokens=128 + 96 * self.texts, seed=self.seed, schema=SCHEMA if "json" in llm.capabilities else None)


def read_texts(reply: Completion, most: int) -> list[str]:
    """The first `most` texts of `{"texts": [...]}`. Raises ReplyError where there is none."""
    found = [text.strip() for text, _ in entries(reply.text, "texts") if isinstance(text, str) and text.strip()]
    if not found:
        raise ReplyError('the reply has no {"texts": ["...", ...]}', reply.text)
    return found[:most]


def largest(reading: Reading, layer: Layer, column: int, tokenizer: Any, texts: Sequence[str]) -> list[float]:
    """The unit's largest activation in each text, cut at the longest window the subject takes; texts without a token have none."""
    subject = reading.view.subject
    special: frozenset[int] = getattr(subject, "special_ids", frozenset())
    rows = [[i for i in tokenizer(text, add_special_tokens=False)["input_ids"] if i not in special][:subject.context] for text in texts]
    return [float(reading.run(np.array([row], np.int64), layer)[0, :, column].max()) for row in rows if row]


def figure(z: Sequence[Sequence[float]]) -> Figure:
    """From the activations of texts that fit, near misses and neutral ones."""
    fits, near, neutral = z
    counts: dict[str, float | int | str | bool | None] = {"chance": 0.0, "n_fits": len(fits), "n_near_miss": len(near), "n_neutral": len(neutral)}
    if min(len(fits), len(near) + len(neutral)) < ENOUGH:
        return Figure(None, reason=f"{len(fits)} texts that fit and {len(near) + len(neutral)} others are too few: at least {ENOUGH} of each", extra=counts)
    value, low, high = signed(fits, [*near, *neutral])
    counts["near_miss"] = signed(fits, near)[0] if near else None
    counts["neutral"] = signed(fits, neutral)[0] if neutral else None
    return Figure(value, low, high, len(fits) + len(near) + len(neutral), None, counts)


def signed(positive: Sequence[float], negative: Sequence[float]) -> tuple[float, float, float]:
    """2 AUC - 1 with its interval."""
    z: NDArray[np.float64] = np.array([*positive, *negative], np.float64)
    found = delong(z, np.arange(len(z)) < len(positive))
    value, low, high = (2 * float(x[0]) - 1 for x in (found.value, found.low, found.high))
    return value, low, high
