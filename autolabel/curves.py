"""The coverage-risk curve: of the attempted units keep the best-labelled, and see what the labels that are kept are worth.

The same figures as the view `coverage`, for controls too. Coverage against risk: El-Yaniv and Wiener 2010 (selective classification);
the risk here is the share of kept labels that are not shown to be true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autolabel.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Curve:
    """One model. A share of the attempted units that has no scored label to give is not on the curve."""

    model: str
    share: tuple[float, ...]  # of the attempted units that is kept, in hundredths, best rho first
    n: tuple[int, ...]  # units kept
    mean_score: tuple[float, ...]  # mean rho of the kept
    unconfirmed: tuple[float, ...]  # share of the kept that is not confirmed


def read_curve(catalogue: Catalogue, model: str) -> Curve:
    """The curve of a model or of a control; empty where nothing is scored."""
    attempted = catalogue.read("SELECT count(*) FROM choices WHERE model = ?", [model])[0][0]
    rows = catalogue.read("SELECT score, verdict = 'confirmed' FROM choices WHERE model = ? AND score IS NOT NULL "
                          "ORDER BY score DESC, layer, site, neuron, side", [model])
    percent = np.arange(1, 101)
    kept = np.maximum(1, np.floor(attempted * percent / 100 + 0.5).astype(np.int64))
    there = kept <= len(rows)
    percent, kept = percent[there], kept[there]
    so_far = np.arange(1, len(rows) + 1)
    mean = np.cumsum([score for score, _ in rows]) / so_far if rows else np.zeros(0)
    risk = np.cumsum([not confirmed for _, confirmed in rows]) / so_far if rows else np.zeros(0)
    return Curve(model, tuple((percent / 100).tolist()), tuple(kept.tolist()), tuple(mean[kept - 1].tolist()), tuple(risk[kept - 1].tolist()))
