"""Detection: which of these texts contain what the label says? (Paulo et al. 2024, arXiv 2410.13928, section "Detection".)

An LLM reads the label and five texts at a time, some in which the unit is active, some in which it is silent, unmarked.
Value: balanced accuracy, chance .5. It rewards labels that name what a text is about, and does not fall when half of a label's
positives are lost or as many false ones are added (Oikarinen, Yan and Weng 2025): reported for agreement with other tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.llms.asking import need
from autolabel.protocols import LLM, SelectEvidence, TestEvidence
from autolabel.registry import part
from autolabel.render import show
from autolabel.scorers.contrast import contrast
from autolabel.scorers.judging import Item, questions, yes_or_no
from autolabel.scorers.labels import Layer
from autolabel.scorers.plans import ENOUGH, Plan, run_plans, too_few
from autolabel.scorers.reading import Reading
from autolabel.simulators.text import template
from autolabel.types import Explanation, Score

SCORER = "detection"


@dataclass(frozen=True)
class Detection:
    """Balanced accuracy in [0, 1] of an LLM that tells active from silent texts by the label."""

    active: int = 20  # texts in which the unit is active
    silent: int = 20  # and in which it is not
    shown: int = 5  # texts to a question
    prompt: str = "detect"  # file of prompts/
    seed: int = 0
    llm: LLM | None = part()
    threads: int = part(1)
    prompts: str | None = part()  # the user's own folder of templates

    def score(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence) -> list[Score]:
        """One score per explanation, in order; `extra`: chance, recall, specificity, precision, f1, missing, failed."""
        llm = need(self.llm, "the scorer detection")
        made = template(self.prompt, self.prompts)

        def plan(e: Explanation, layer: Layer, reading: Reading) -> Plan | str:
            found = contrast(reading, layer, e.unit, self.active, self.silent)
            if min(len(found.active), len(found.silent)) < ENOUGH:
                return too_few(len(found.active), len(found.silent))
            items = [Item(show(r.excerpt.text), r.band == "active", r.excerpt.id) for r in (*found.active, *found.silent)]
            return yes_or_no(*questions(llm, made, e.text, items, self.shown, "detect", (self.seed, str(e.unit))))

        return run_plans(explanations, evidence, SCORER, llm.name, self.seed, plan, llm, self.threads)
