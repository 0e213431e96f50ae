"""AUC of documents with the interval of DeLong, DeLong and Clarke-Pearson 1988 (fast ranks: Sun and Xu 2014), on the logit scale.

    AUC = P(z of a positive document > z of a negative one), ties counting half
    var = var(V10)/m + var(V01)/n,   V10, V01 the placements of the m positive and n negative documents

Interval: expit(logit(AUC) +- z se/(AUC (1 - AUC))) (Pepe 2003, section 5.2.4). At 0 and 1 the variance is 0 and says nothing: there the exact
binomial (Clopper-Pearson) bound for min(m, n) trials that all went one way takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.stats.correlation import Floats
from autolabel.stats.paired import Difference
from autolabel.stats.precision import expit


@dataclass(frozen=True)
class AUC:
    """U areas under the ROC curve. Arrays are [U] unless said."""

    value: Floats  # [0, 1]; nan where there is no positive or no negative document
    low: Floats
    high: Floats
    se: Floats  # on the scale of the area; nan with fewer than two documents on a side
    v10: Floats  # [m, U] share of negatives that each positive beats
    v01: Floats  # [n, U] share of positives that beat each negative


def delong(z: Floats, positive: NDArray[np.bool_], confidence: float = 0.95) -> AUC:
    """Of U units at once: z [D] or [D, U] one value per document, positive [D]."""
    from scipy.stats import norm, rankdata

    z = np.asarray(z, np.float64).reshape(len(positive), -1)
    x, y = z[positive], z[~positive]
    m, n, u = len(x), len(y), z.shape[1]
    if not m or not n:
        nothing = np.full(u, np.nan)
        return AUC(nothing, nothing, nothing, nothing, np.zeros((m, u)), np.zeros((n, u)))
    rank = rankdata(z, axis=0)
    v10 = (rank[positive] - rankdata(x, axis=0)) / n
    v01 = 1 - (rank[~positive] - rankdata(y, axis=0)) / m
    value = v10.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        se = np.sqrt(v10.var(0, ddof=1) / m + v01.var(0, ddof=1) / n) if min(m, n) > 1 else np.full(u, np.nan)
        centre = np.log(value) - np.log1p(-value)
        half = norm.ppf(0.5 + confidence / 2) * se / (value * (1 - value))
        low, high = expit(centre - half), expit(centre + half)
    edge = ((1 - confidence) / 2) ** (1 / min(m, n))
    low = np.where(value == 1, edge, np.where(value == 0, 0.0, low))
    high = np.where(value == 0, 1 - edge, np.where(value == 1, 1.0, high))
    return AUC(value, low, high, se, v10, v01)


def paired_auc(first: AUC, second: AUC, confidence: float = 0.95) -> Difference:
    """AUC_1 - AUC_2 [U] over the same documents; df is infinite (a normal interval)."""
    from scipy.stats import norm

    value = first.value - second.value
    m, n = len(first.v10), len(first.v01)
    if min(m, n) < 2:
        half = np.full(len(value), np.nan)
    else:
        half = norm.ppf(0.5 + confidence / 2) * np.sqrt((first.v10 - second.v10).var(0, ddof=1) / m + (first.v01 - second.v01).var(0, ddof=1) / n)
    return Difference(value, value - half, value + half, np.full(len(value), np.inf))
