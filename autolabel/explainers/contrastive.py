"""`contrastive`: excerpts that activate the unit beside hard negatives.

Paulo et al. 2024, arXiv 2410.13928, show non-activating examples beside activating ones. Hard ones here: the same token inactive, the nearest
excerpts by embedding, and the excerpts of neighbouring neurons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from autolabel.explainers import asking, views
from autolabel.explainers.asking import Asking, Style
from autolabel.explainers.replies import label_answer, read_label
from autolabel.explainers.showing import NEGATIVES
from autolabel.prompts import Prompt
from autolabel.protocols import ExplainSplit
from autolabel.types import Exemplars, Explanation

STYLE = Style("contrastive", {"excerpts": views.graded, "negatives": views.hard}, label_answer, read_label, ("excerpts", "negatives"))


@dataclass(frozen=True)
class Contrastive(Asking):
    """One sentence per unit and candidate."""

    style: ClassVar[Style] = STYLE
    needs: ClassVar[frozenset[str]] = frozenset({"records", *NEGATIVES})

    def prompt(self, exemplars: Exemplars) -> Prompt:
        """What is sent for one unit."""
        return asking.prompt_for(self, STYLE, exemplars)

    def read(self, exemplars: Exemplars, reply: str, llm: str) -> Explanation:
        """A reply that came by another way than a call of ours, as if it had been one. Raises ReplyError."""
        return asking.explanation(self, STYLE, exemplars, self.prompt(exemplars), STYLE.read(reply), llm)

    def explain(self, units: Iterable[Exemplars], explain_split: ExplainSplit) -> Iterator[Explanation]:
        """One call per unit and candidate."""
        return asking.explain(self, STYLE, units)
