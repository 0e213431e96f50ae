"""Differences of two labels on the same documents.

rho: the influence sums of the two labels are subtracted group by group, so what both share cancels (the delta method for a
difference of two estimates on one sample). peak: the jackknife of the difference on the logit scale, one group left out at
a time, in `precision.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autolabel.stats.correlation import Floats, error


@dataclass(frozen=True)
class Difference:
    """P differences, first minus second, with intervals. Every array is [P]; nan where one of the two does not exist."""

    value: Floats
    low: Floats
    high: Floats
    df: Floats


def paired_rho(first: tuple[Floats, Floats], second: tuple[Floats, Floats], confidence: float = 0.975) -> Difference:
    """rho_1 - rho_2 from two pairs (rho [P], influence sums [G, P]) over the same groups.

    SE^2 = S2 D/(D - 1) and the Satterthwaite df are those of G_1 - G_2, as in `correlation.error`.
    """
    from scipy.stats import t as student

    value = first[0] - second[0]
    se, df, _ = error(first[1] - second[1])
    same = np.nan_to_num(first[1] - second[1], nan=1.0) == 0
    se, df = np.where(same.all(0), 0.0, se), np.where(same.all(0), 1.0, df)  # the same label twice: the difference is exactly 0
    half = se * student.ppf(0.5 + confidence / 2, df)
    return Difference(value, value - half, value + half, df)
