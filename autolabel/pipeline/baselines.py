"""The word lists that every label must beat: ordered on explain, their best lengths chosen on select, both kept in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autolabel.catalogue import Catalogue
from autolabel.protocols import ExplainSplit
from autolabel.types import Side

if TYPE_CHECKING:
    from autolabel.scorers.baseline import Baselines

Key = tuple[str, Side]  # layer and side
SELECT = "SELECT layer, side, neuron, words, best FROM baselines WHERE model = ? ORDER BY layer, side, neuron"


@dataclass(frozen=True)
class Lists:
    """Ordered word lists of all units: `words[ids[layer, side][u, k]]` is the k-th word of unit u, -1 after the last."""

    words: tuple[str, ...]
    ids: Mapping[Key, NDArray[np.int64]]  # [U, K]


def order_lists(catalogue: Catalogue, model: str, split: ExplainSplit, keys: list[Key], run: str) -> None:
    """Order the words of all units of these layers on explain, where that has not been done, and keep the lists."""
    from autolabel.explainers.tokens import ranked_words

    known = {(layer, side) for layer, side in catalogue.read("SELECT DISTINCT layer, side FROM baselines WHERE model = ?", [model])}
    missing = [key for key in keys if key not in known]
    if not missing:
        return
    ranked = ranked_words(split, missing)
    columns: dict[str, list[Any]] = {name: [] for name in ("model", "layer", "side", "neuron", "words", "best", "run")}
    for (layer, side), ids in ranked.ids.items():
        for u, row in enumerate(ids):
            words = [ranked.words[i] for i in row if i >= 0]
            for name, value in zip(columns, (model, layer, side, u, words, None, run), strict=True):
                columns[name].append(value)
    with catalogue.writer() as writer:
        writer.insert("baselines", columns, ignore_existing=True)


def read_lists(catalogue: Catalogue, model: str) -> Lists | None:
    """The ordered lists of a model; None where no explainer has run yet."""
    rows = catalogue.read(SELECT, [model])
    if not rows:
        return None
    words = {w: i for i, w in enumerate(dict.fromkeys(w for row in rows for w in row[3]))}
    length = max(1, max(len(row[3]) for row in rows))
    ids: dict[Key, NDArray[np.int64]] = {}
    for key in dict.fromkeys((row[0], row[1]) for row in rows):
        mine = [row for row in rows if (row[0], row[1]) == key]
        table = np.full((len(mine), length), -1, np.int64)
        for u, row in enumerate(mine):
            table[u, :len(row[3])] = [words[w] for w in row[3]]
        ids[key] = table
    return Lists(tuple(words), ids)


def store_best(catalogue: Catalogue, model: str, found: Baselines, run: str) -> None:
    """Keep how many words make the best list of at most 1, 2, ... words."""
    rows = catalogue.read(SELECT, [model])
    keep = [row for row in rows if (row[0], row[1]) in found.best]
    columns: dict[str, list[Any]] = {
        "model": [model] * len(keep), "layer": [r[0] for r in keep], "side": [r[1] for r in keep], "neuron": [r[2] for r in keep],
        "words": [r[3] for r in keep], "best": [found.best[r[0], r[1]][r[2]].tolist() for r in keep], "run": [run] * len(keep)}
    with catalogue.writer() as writer:
        def replace_them(_connection: object) -> None:  # one transaction
            for layer, side in found.best:
                writer.delete("baselines", "model = ? AND layer = ? AND side = ?", [model, layer, side])
            writer.insert("baselines", columns)
        writer.write(replace_them)


def read_baselines(catalogue: Catalogue, model: str) -> Baselines | None:
    """The lists with their best lengths; None before `score`."""
    from autolabel.scorers.baseline import Baselines

    lists = read_lists(catalogue, model)
    rows = [row for row in catalogue.read(SELECT, [model]) if row[4] is not None]
    if lists is None or not rows:
        return None
    best = {}
    for key in dict.fromkeys((row[0], row[1]) for row in rows):
        best[key] = np.array([row[4] for row in rows if (row[0], row[1]) == key], np.int64)
    return Baselines(lists.words, {key: ids for key, ids in lists.ids.items() if key in best}, best)
