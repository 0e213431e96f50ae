"""Find labels: by keyword in SQL, or by meaning with the embedding model."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from autolabel.audited import failed_anywhere, veil_rows
from autolabel.catalogue import Catalogue

COLUMNS = ("similarity", "unit", "label", "score", "verdict")


def search(catalogue: Catalogue, text: str, *, method: Literal["meaning", "keyword"] = "meaning",
           limit: int = 10) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows of the best labels. `meaning`: cosine between text and label; `keyword`: labels that contain it."""
    if method == "keyword":
        pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = catalogue.read("SELECT unit, label, score, verdict FROM labels WHERE label ILIKE ? ESCAPE '\\' "
                              "ORDER BY score DESC NULLS LAST, unit LIMIT ?", [pattern, limit])
        return COLUMNS[1:], list(veil_rows(COLUMNS[1:], rows, failed_anywhere(catalogue)))
    from autolabel.embeddings import default_embedder
    from autolabel.patterns.embedded import products, vectors

    rows = catalogue.read("SELECT unit, label, score, verdict FROM labels WHERE label <> '' ORDER BY unit")
    if not rows:
        return COLUMNS, []
    texts = sorted({row[1] for row in rows})
    embedder = default_embedder()
    similarity = products(embedder, [text], vectors(embedder, texts))[0]  # a running process embeds each text once
    of = dict(zip(texts, similarity.tolist(), strict=True))
    order = np.argsort([-of[row[1]] for row in rows], kind="stable")[:limit]
    return COLUMNS, list(veil_rows(COLUMNS, [(of[rows[i][1]], *rows[i]) for i in order.tolist()], failed_anywhere(catalogue)))
