"""What the verbs that read whole layers share: the labels that take part, a bounded sample of a split, a look at test that is counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.labels import read_explanations, runnable
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow
from autolabel.types import Explanation

if TYPE_CHECKING:
    from autolabel.excerpts import Excerpts
    from autolabel.protocols import SplitView


def chosen_labels(catalogue: Catalogue, row: ModelRow, units: str | Iterable[str] | None, seed: int,
            used: Any) -> tuple[dict[str, list[Explanation]], int, tuple[str, ...]]:
    """Layer -> the labels that take part, how many chosen ones do not, and the layers that were asked for."""
    wanted = select_units(catalogue, row.name, units, seed=seed)
    layers = tuple(dict.fromkeys(u.layer for u in wanted))
    scored = dict(catalogue.read("SELECT explanation, score IS NOT NULL FROM choices WHERE model = ? AND verdict <> 'abstained' "
                                 "AND explanation IS NOT NULL", [row.name]))
    mine = [e for e in runnable(read_explanations(catalogue, row.name, wanted), used) if e.id in scored]
    part = [e for e in mine if scored[e.id] and e.pattern is not None]
    if not part:
        raise SettingsError(f"{row.name} has no chosen label with a pattern and a score in this selection: run `autolabel label`")
    by_layer: dict[str, list[Explanation]] = {}
    for e in part:
        by_layer.setdefault(e.unit.layer, []).append(e)
    return by_layer, len(mine) - len(part), layers


def sample(view: SplitView, max_tokens: int) -> Excerpts:
    """The first excerpts of a split in hash order, a random sample, up to so many tokens (one excerpt at least)."""
    assert view.ids is not None and view.some is not None  # views of a catalogue have both
    ids = view.ids()
    if not len(ids):
        raise SettingsError(f"the {view.split} split is empty: nothing can be measured on it")
    enough = int(1.25 * max_tokens * len(ids) / view.n_tokens) + 32  # excerpts differ in length
    found = view.some(ids[:enough])
    order = np.argsort(found.id)
    kept = found.id[order[:max(1, int(np.searchsorted(np.cumsum(found.lengths[order]), max_tokens, side="right")))]]
    return view.some(kept)


def count_looks(connection: Any, model: str, labels: Sequence[Explanation]) -> None:
    """One more look at test for each of these chosen labels; inside a transaction of the writer."""
    connection.execute("UPDATE choices SET test_looks = test_looks + 1 WHERE model = ? AND explanation IN (SELECT unnest(?::VARCHAR[]))",
                       [model, [e.id for e in labels]])
