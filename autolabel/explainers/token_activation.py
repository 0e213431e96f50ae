"""`token_activation`: every token of an excerpt with its activation in tenths.

Bills et al. 2023, "Language models can explain neurons in language models": token and discretised activation, and once more the active ones alone.
They showed the five strongest records; here weaker ones stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from autolabel.explainers import asking, views
from autolabel.explainers.asking import Asking, Style
from autolabel.explainers.replies import label_answer, read_label
from autolabel.prompts import Prompt
from autolabel.protocols import ExplainSplit
from autolabel.types import Exemplars, Explanation

STYLE = Style("token_activation", {"excerpts": views.token_blocks, "active": views.active_lists}, label_answer, read_label)


@dataclass(frozen=True)
class TokenActivation(Asking):
    """One sentence per unit and candidate."""

    style: ClassVar[Style] = STYLE
    needs: ClassVar[frozenset[str]] = frozenset({"records"})

    top: int = 5  # records of the top band
    strata: int = 5  # further records, one stratum after the other from the highest to the lowest
    window: int = 48  # tokens shown of an excerpt, around its strongest; 0: all

    def prompt(self, exemplars: Exemplars) -> Prompt:
        """What is sent for one unit."""
        return asking.prompt_for(self, STYLE, exemplars)

    def read(self, exemplars: Exemplars, reply: str, llm: str) -> Explanation:
        """A reply that came by another way than a call of ours, as if it had been one. Raises ReplyError."""
        return asking.explanation(self, STYLE, exemplars, self.prompt(exemplars), STYLE.read(reply), llm)

    def explain(self, units: Iterable[Exemplars], explain_split: ExplainSplit) -> Iterator[Explanation]:
        """One call per unit and candidate."""
        return asking.explain(self, STYLE, units)
