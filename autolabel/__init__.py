"""autolabel: labels for the neurons of language models, and a number that says how far each can be trusted.

    import autolabel as al
    catalogue = al.extract("demo", corpus="demo", layers=["5"], db="demo.duckdb")
    al.explain(catalogue, explainer="induce", units="5/0-99")
    al.score(catalogue)
    al.choose(catalogue)
    catalogue.sql("select unit, label, score, ci_low from labels where verdict = 'confirmed' order by score desc")

Names are imported on first use: `import autolabel` loads neither torch nor duckdb.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Catalogue": "autolabel.catalogue",
    "Document": "autolabel.types",
    "Excerpt": "autolabel.types",
    "Exemplars": "autolabel.types",
    "Explanation": "autolabel.types",
    "Score": "autolabel.types",
    "Searcher": "autolabel.searching",
    "Unit": "autolabel.types",
    "account": "autolabel.pipeline",
    "audit": "autolabel.pipeline",
    "choose": "autolabel.pipeline",
    "errors": "",
    "explain": "autolabel.pipeline",
    "explainers": "",
    "extract": "autolabel.pipeline",
    "kinds": "autolabel.pipeline",
    "label": "autolabel.pipeline",
    "load_subject": "autolabel.subjects",
    "nulls": "autolabel.pipeline",
    "open_catalogue": "autolabel.pipeline",
    "patterns": "",
    "probe": "autolabel.probing",
    "run": "autolabel.pipeline",
    "score": "autolabel.pipeline",
    "score_checkpoint": "autolabel.pipeline",
    "score_label": "autolabel.pipeline",
    "senses": "autolabel.pipeline",
    "score_on": "autolabel.pipeline",
    "search": "autolabel.searching",
}

__all__ = [
    "Catalogue",
    "Document",
    "Excerpt",
    "Exemplars",
    "Explanation",
    "Score",
    "Searcher",
    "Unit",
    "account",
    "audit",
    "choose",
    "errors",
    "explain",
    "explainers",
    "extract",
    "kinds",
    "label",
    "load_subject",
    "nulls",
    "open_catalogue",
    "patterns",
    "probe",
    "run",
    "score",
    "score_checkpoint",
    "score_label",
    "score_on",
    "search",
    "senses",
]


def __getattr__(name: str) -> Any:  # Any: each name has its own type
    if name not in _WHERE:
        raise AttributeError(f"module 'autolabel' has no attribute {name!r}")
    where = _WHERE[name]
    value = importlib.import_module(f"autolabel.{name}") if not where else getattr(importlib.import_module(where), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
