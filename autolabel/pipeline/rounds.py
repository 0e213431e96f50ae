"""One round of work whose LLM calls go through files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.asked import Access
from autolabel.pipeline.batching import Written, batched, write
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.runfile import label
from autolabel.pipeline.scoring import score

CONCURRENCY = 16  # nothing is waited for but the commits, which calls at the same time share


@dataclass(frozen=True, slots=True)
class Round:
    """What a round came to."""

    count: Count  # of `label`
    written: Written  # what is to be answered before the next


def one_round(catalogue: Catalogue, out: str | Path, access: Access, *, scorers: Sequence[str] = (), **how: Any) -> Round:
    """`label` (and further scorers on select) as far as the answers go; what is open goes to the file `out`. `how`: as for `label`.

    Raises SettingsError where no model is named: its name and base URL are part of what is asked.
    """
    if not access.llm:
        raise SettingsError("name the model that will answer: --llm openai/MODEL (any name will do where a person answers)")
    with batched(catalogue, access.llm, access.base_url) as llm:
        count = label(catalogue, llm=llm, concurrency=CONCURRENCY, **how)
        reads = {name: how[name] for name in ("units", "limit", "model", "hierarchy", "prompts", "progress") if name in how}
        for scorer in scorers:
            score(catalogue, scorer=scorer, llm=llm, concurrency=CONCURRENCY, **reads)
    return Round(count, write(catalogue, out))
