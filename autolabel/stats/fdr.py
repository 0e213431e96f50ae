"""Multiplicity: Benjamini and Hochberg 1995, Benjamini and Yekutieli 2001, and the empirical p-value of a rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from autolabel.stats.correlation import Floats


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """q-values [n]: q_(i) = min over j >= i of p_(j) n / j, ties sharing the smaller one. p must have no nan: 1 for what was not tested."""
    values = np.asarray(p, np.float64)
    if np.isnan(values).any():
        raise ValueError("a p-value is nan; give 1 for what could not be tested")
    n = len(values)
    order = np.argsort(values, kind="stable")
    raised = values[order] * n / np.arange(1, n + 1)
    out = np.empty(n)
    out[order] = np.minimum(1.0, np.minimum.accumulate(raised[::-1])[::-1])
    return out


def benjamini_yekutieli(p: ArrayLike) -> Floats:
    """q-values [n] that hold under any dependence: those of Benjamini and Hochberg times sum over i <= n of 1/i, at most 1."""
    values = np.asarray(p, np.float64)
    if not len(values):
        return values
    return np.minimum(1.0, benjamini_hochberg(values * (1 / np.arange(1, len(values) + 1)).sum()))


def rank_p(beaten_by: ArrayLike, of: ArrayLike) -> Floats:
    """p = (1 + #{foreign >= own}) / (M + 1): Phipson and Smyth 2010. 1 where M = 0."""
    return (1.0 + np.asarray(beaten_by, np.float64)) / (np.asarray(of, np.float64) + 1.0)
