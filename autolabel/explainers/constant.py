"""`constant`: one label for every neuron, whatever it does. The null that any explainer must beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from autolabel.explainers import atoms
from autolabel.protocols import ExplainSplit
from autolabel.types import Exemplars, Explanation, Maker

COMMON = ("the", "of", "and", "to", "a", "in", "is", "that", "it", "was")  # the most common words of English prose


@dataclass(frozen=True)
class Constant:
    """The ten most common English words, for every unit: a constant strength would have no variance, and so no score."""

    def explain(self, units: Iterable[Exemplars], explain_split: ExplainSplit) -> Iterator[Explanation]:
        """Reads nothing."""
        text, pattern = f"common words: {atoms.comma(COMMON)}", atoms.pattern([atoms.on(atoms.word(COMMON))])
        maker = Maker("constant", {})
        for exemplars in units:
            yield Explanation(exemplars.unit, text, pattern, maker)
