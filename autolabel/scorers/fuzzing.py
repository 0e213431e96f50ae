"""Fuzzing: are the marked words the ones that the label means? (Paulo et al. 2024, arXiv 2410.13928, section "Fuzzing".)

All texts are ones in which the unit is active. In half of them the active tokens are marked, in the other half as many silent
ones, drawn at random. Value: balanced accuracy, chance .5. It asks about tokens what `detection` asks about texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.llms.asking import need
from autolabel.protocols import LLM, SelectEvidence, TestEvidence
from autolabel.registry import part
from autolabel.render import TOP, Snippet, marked, nonce, pieces
from autolabel.scorers.contrast import contrast
from autolabel.scorers.judging import Item, questions, yes_or_no
from autolabel.scorers.labels import Layer
from autolabel.scorers.plans import ENOUGH, Plan, run_plans
from autolabel.scorers.reading import Reading
from autolabel.simulators.text import template
from autolabel.types import ActivationRecord, Explanation, Score, hash63

SCORER = "fuzzing"


@dataclass(frozen=True)
class Fuzzing:
    """Balanced accuracy in [0, 1] of an LLM that tells right marks from wrong ones by the label."""

    texts: int = 40  # half with right marks, half with wrong ones
    shown: int = 5  # texts to a question
    prompt: str = "fuzz"  # file of prompts/
    seed: int = 0
    llm: LLM | None = part()
    threads: int = part(1)
    prompts: str | None = part()  # the user's own folder of templates

    def score(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence) -> list[Score]:
        """One score per explanation, in order; `extra`: chance, recall, specificity, precision, f1, missing, failed."""
        llm = need(self.llm, "the scorer fuzzing")
        made = template(self.prompt, self.prompts)

        def plan(e: Explanation, layer: Layer, reading: Reading) -> Plan | str:
            found = contrast(reading, layer, e.unit, self.texts, 0)
            seed = (self.seed, str(e.unit))
            usable = [r for r in found.active if min(r.activations) <= found.tau]
            if len(usable) < 2 * ENOUGH:
                return f"{len(usable)} excerpts with active and silent tokens are too few: at least {2 * ENOUGH}"
            halves = sorted(usable, key=lambda r: hash63(seed, "half", r.excerpt.id))
            word = nonce(hash63(seed), [r.excerpt.text for r in usable])
            items = [Item(marked(marks(r, found.tau, k % 2 == 0, seed), word), k % 2 == 0, r.excerpt.id) for k, r in enumerate(halves)]
            return yes_or_no(*questions(llm, made, e.text, items, self.shown, "fuzz", seed, word))

        return run_plans(explanations, evidence, SCORER, llm.name, self.seed, plan, llm, self.threads)


def marks(record: ActivationRecord, tau: float, right: bool, seed: object) -> Snippet:
    """The excerpt with its active tokens marked (`right`), or as many silent ones, as far as there are."""
    active = [t for t, a in enumerate(record.activations) if a > tau]
    silent = [t for t, a in enumerate(record.activations) if a <= tau]
    silent.sort(key=lambda t: hash63(seed, "mark", record.excerpt.id, t))
    chosen = set(active if right else silent[:len(active)])
    tokens = pieces(record.excerpt)
    return Snippet(tokens, tuple(TOP if t in chosen else 0 for t in range(len(tokens))), excerpt=record.excerpt.id)
