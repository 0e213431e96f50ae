"""A ratio of two totals over documents, with the delta-method interval.

    R = sum_d N_d / sum_d M_d,   G_d = (N_d - R M_d) / sum M,   SE^2 = S2 D/(D - 1),  S2 = sum G_d^2

with the Satterthwaite df of `correlation.error` (Cochran 1977, section 6.4; the jackknife over documents agrees to the order 1/D).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autolabel.stats.correlation import Floats, error


@dataclass(frozen=True)
class Ratio:
    """P ratios with intervals. Every array is [P]; nan where the denominator's total is 0, or a single document says it all."""

    value: Floats
    low: Floats
    high: Floats
    se: Floats
    df: Floats


def ratio(top: Floats, bottom: Floats, confidence: float = 0.95) -> Ratio:
    """sum top / sum bottom for totals by document, [D, P] each (bottom may be [D]); documents are independent.

    Where every document has the same ratio the interval is that point.
    """
    from scipy.stats import t as student

    bottom = np.broadcast_to(bottom[:, None] if bottom.ndim < top.ndim else bottom, top.shape)
    total = bottom.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(total != 0, top.sum(0) / total, np.nan)
        g = (top - value * bottom) / total
    se, df, _ = error(g)
    same = (np.abs(g) <= 1e-12 * np.maximum(1.0, np.abs(value))).all(0) & (len(g) > 1)
    se, df = np.where(same, 0.0, se), np.where(same, float(max(1, len(g) - 1)), df)
    half = se * student.ppf(0.5 + confidence / 2, df)
    return Ratio(value, value - half, value + half, se, df)
