"""Likeness of label and text tells active from silent texts: no LLM (Paulo et al. 2024, arXiv 2410.13928, "Embedding scoring").

Value: AUC of the cosine between the label's embedding and that of each text, chance .5, DeLong's interval. It sees topics
only; what the simulator `embedding` says about its weakness holds here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autolabel.patterns.embedded import Embedder, vectors
from autolabel.protocols import SelectEvidence, TestEvidence
from autolabel.registry import part
from autolabel.scorers.contrast import contrast
from autolabel.scorers.labels import Layer
from autolabel.scorers.plans import Plan, area, run_plans
from autolabel.scorers.reading import Reading
from autolabel.simulators.text import clean
from autolabel.types import Explanation, Score

SCORER = "embedding"


@dataclass(frozen=True)
class EmbeddingScorer:
    """AUC in [0, 1] of the likeness of label and text."""

    active: int = 30  # texts in which the unit is active
    silent: int = 30  # and in which it is not
    seed: int = 0
    embedder: Embedder | None = part()  # None: all-MiniLM-L6-v2

    def score(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence) -> list[Score]:
        """One score per explanation, in order. Raises ExtraError where there is no embedding model."""
        embedder = self.embedder or _default()

        def plan(e: Explanation, layer: Layer, reading: Reading) -> Plan:
            found = contrast(reading, layer, e.unit, self.active, self.silent)
            texts = [r.excerpt.text for r in (*found.active, *found.silent)]
            cosines = vectors(embedder, texts) @ vectors(embedder, [clean(e.text)])[0] if texts else np.zeros(0)
            n = len(found.active)
            return Plan([], _nothing, lambda _: area(cosines[:n].tolist(), cosines[n:].tolist()))

        return run_plans(explanations, evidence, SCORER, str(getattr(embedder, "name", embedder.hash)), self.seed, plan)


def _default() -> Embedder:
    from autolabel.embeddings import default_embedder
    return default_embedder()


def _nothing(_k: int, _reply: object) -> None:
    raise AssertionError("nothing is asked")
