"""Explainers. Those without an LLM give a sentence and a pattern that runs, for all neurons of a layer at once:

* `tokens`: the words that drive the neuron, a plain list; the yardstick that any other label must beat
* `ngram`: context tries over the words before and after (Foote et al. 2023, Neuron to Graph)
* `induce`: a search over words, stems, classes, concepts, likenesses and contexts
* `constant`: the same label for every neuron; the null

One pass over the explain split serves them all (`gather.py`). Those that ask an LLM take one unit at a time (`asking.py`):

* `structured`: a sentence and a pattern
* `token_activation` (Bills et al. 2023), `highlight` (Paulo et al. 2024), `summary` (Lee et al. 2023): a sentence, from three views of the same records
* `contrastive`: with hard negatives
* `input_output`: with the output tokens that the unit raises (Gur-Arieh et al. 2025)
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "Constant": "autolabel.explainers.constant",
    "Contrastive": "autolabel.explainers.contrastive",
    "Highlight": "autolabel.explainers.highlight",
    "Induce": "autolabel.explainers.induce",
    "InputOutput": "autolabel.explainers.input_output",
    "Ngram": "autolabel.explainers.ngram",
    "Structured": "autolabel.explainers.structured",
    "Summary": "autolabel.explainers.summary",
    "TokenActivation": "autolabel.explainers.token_activation",
    "Tokens": "autolabel.explainers.tokens",
    "ranked_words": "autolabel.explainers.tokens",
}

__all__ = [
    "Constant", "Contrastive", "Highlight", "Induce", "InputOutput", "Ngram", "Structured", "Summary", "TokenActivation", "Tokens", "ranked_words",
]


def __getattr__(name: str) -> Any:  # Any: each name has its own type
    if name not in _WHERE:
        raise AttributeError(f"module 'autolabel.explainers' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
