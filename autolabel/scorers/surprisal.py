"""Surprisal: does the label make active texts likelier than silent ones? (Paulo et al. 2024, arXiv 2410.13928.) Local models only.

    gain_i = [log p(text_i | label) - log p(text_i | "any text at all")] / tokens of text_i

Value: AUC of the gain between active and silent texts, chance .5, DeLong's interval. What a model expects of any text cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.errors import LLMError, RequestError
from autolabel.llms.asking import failure
from autolabel.llms.local import LocalLLM, Prefix, local_of
from autolabel.prompts import fill
from autolabel.protocols import LLM, SelectEvidence, TestEvidence
from autolabel.registry import part
from autolabel.scorers.contrast import contrast
from autolabel.scorers.labels import Layer
from autolabel.scorers.plans import Figure, Plan, area, run_plans
from autolabel.scorers.reading import Reading
from autolabel.simulators.text import clean, template
from autolabel.types import Explanation, Score

SCORER = "surprisal"
ANYTHING = "any text at all"


@dataclass(frozen=True)
class Surprisal:
    """AUC in [0, 1] of how much likelier the label makes a text."""

    active: int = 20  # texts in which the unit is active
    silent: int = 20  # and in which it is not
    prompt: str = "surprise"  # file of prompts/
    seed: int = 0
    llm: LLM | None = part()
    prompts: str | None = part()  # the user's own folder of templates

    def score(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence) -> list[Score]:
        """One score per explanation, in order; texts that do not fit into the model's context are missing, and counted."""
        llm = local_of(self.llm, "the scorer surprisal")
        plain: dict[int, float | LLMError] = {}  # mean log probability of a text by itself
        nothing: list[Prefix] = []

        def prefix(label: str) -> Prefix:
            return llm.read(llm.ids(llm.plain(fill(template(self.prompt, self.prompts), "user", {"label": clean(label)}) + "\n")))

        def plan(e: Explanation, layer: Layer, reading: Reading) -> Plan | str:
            found = contrast(reading, layer, e.unit, self.active, self.silent)
            try:
                nothing[:] = nothing or [prefix(ANYTHING)]
                told = prefix(e.text)
            except LLMError as error:
                return failure(error)
            gains: dict[str, list[float]] = {"active": [], "silent": []}
            missing = []
            for r in (*found.active, *found.silent):
                if r.excerpt.id not in plain:
                    plain[r.excerpt.id] = mean_logp(llm, nothing[0], r.excerpt.text)
                base, with_label = plain[r.excerpt.id], mean_logp(llm, told, r.excerpt.text)
                if isinstance(base, LLMError) or isinstance(with_label, LLMError):
                    missing.append(failure(base if isinstance(base, LLMError) else with_label if isinstance(with_label, LLMError) else LLMError("")))
                else:
                    gains[r.band].append(with_label - base)
            return Plan([], _nothing, lambda _: _figure(gains, missing))

        return run_plans(explanations, evidence, SCORER, llm.name, self.seed, plan)


def mean_logp(llm: LocalLLM, after: Prefix, text: str) -> float | LLMError:
    """Mean log probability of a text's tokens after a prefix; some tokenizers know nothing of a text, and then there is none."""
    ids = llm.ids(llm.plain(text))
    if not ids:
        return RequestError(f"the text has no token that {llm.name} knows")
    try:
        return float(llm.continuation(after, ids).mean())
    except LLMError as error:
        return error


def _figure(gains: dict[str, list[float]], missing: list[str]) -> Figure:
    found = area(gains["active"], gains["silent"], {"missing": len(missing), "first_missing": missing[0] if missing else None})
    if found.reason is not None and missing:
        return Figure(None, reason=f"{found.reason}; {len(missing)} texts could not be read, first {missing[0]}")
    return found


def _nothing(_k: int, _reply: object) -> None:
    raise AssertionError("nothing is asked")
