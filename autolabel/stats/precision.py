"""How well a strength finds the tokens where a unit fires strongly: AUPRC with a jackknife interval, F1, precision, recall.

    AP = sum over levels l, strongest first, of (R_l - R_(l-1)) P_l

with tied strengths as one step (average precision as in scikit-learn; Davis and Goadrich 2006 on why no interpolation).
Interval: jackknife over groups of documents on the logit scale, clipped at 1e-6,

    var = (G - 1)/G sum_g (theta_g - mean)^2,   theta_g = logit(AP without group g), G non-empty groups,

with Student's t at the Satterthwaite df of the pseudo-values (Efron and Stein 1981; Satterthwaite 1946).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.stats.levels import Floats, Ints, Levels
from autolabel.stats.paired import Difference
from autolabel.threads import each, stretches

CLIP = 1e-6


@dataclass(frozen=True)
class Peak:
    """P average precisions with intervals. Every array is [P]; nan where there is no positive token."""

    value: Floats  # AUPRC in [0, 1]
    low: Floats
    high: Floats
    base_rate: Floats  # share of positive tokens: what a constant label reaches
    theta: Floats  # [G, P] logit of the leave-one-out values: what paired differences need
    live: NDArray[np.bool_]  # [G, P] the group has tokens

    def of(self, rows: Ints) -> Peak:
        """Those of some labels."""
        return Peak(self.value[rows], self.low[rows], self.high[rows], self.base_rate[rows], self.theta[:, rows], self.live[:, rows])


def average_precision(levels: Levels, tokens: Floats, positives: Floats) -> Floats:
    """AUPRC [P] from weighted tokens and positives by level [L]; nan where a label has no positive token."""
    nothing = np.zeros((1, len(tokens)))
    out: Floats = _without(levels, tokens, positives, nothing, nothing)[0]
    return out


def _without(levels: Levels, tokens: Floats, positives: Floats, less_tokens: Floats, less_positives: Floats) -> Floats:
    """[G, P] the same without each of G groups [G, L]."""
    from autolabel.stats.kernels import precision_without

    out: Floats = precision_without(levels.first, tokens, positives, less_tokens, less_positives)
    return out


def logit(p: Floats) -> Floats:
    """log(p/(1 - p)), p clipped at 1e-6 from either end."""
    q = np.clip(p, CLIP, 1 - CLIP)
    out: Floats = np.log(q) - np.log1p(-q)
    return out


def peak(levels: Levels, tokens: Floats, positives: Floats, confidence: float = 0.95) -> Peak:
    """AUPRC of every label with its jackknife interval, from counts by group and level [G, L]."""
    all_tokens, all_positives = tokens.sum(0), positives.sum(0)
    value = average_precision(levels, all_tokens, all_positives)
    theta = np.concatenate(each(lambda some: logit(_without(levels, all_tokens, all_positives, tokens[some], positives[some])), stretches(len(tokens), 8)))
    live = levels.per_label(tokens) > 0
    half, _ = _half(theta, live, confidence)
    z = logit(value)
    with np.errstate(divide="ignore", invalid="ignore"):
        base = levels.per_label(all_positives) / levels.per_label(all_tokens)
    return Peak(value, expit(z - half), expit(z + half), base, theta, live)


def paired_peak(first: Peak, second: Peak, confidence: float = 0.975) -> Difference:
    """peak_1 - peak_2 on the logit scale, from the leave-one-out values of both over the same groups."""
    value = logit(first.value) - logit(second.value)
    half, df = _half(first.theta - second.theta, first.live, confidence)
    return Difference(value, value - half, value + half, df)


def _half(theta: Floats, live: NDArray[np.bool_], confidence: float) -> tuple[Floats, Floats]:
    """Half-width of the jackknife interval and its df, [P]; nan where a leave-one-out value does not exist, or G < 2."""
    from scipy.stats import t as student

    g = live.sum(0).astype(np.float64)
    broken = (np.isnan(theta) & live).any(0) | (g < 2)
    filled = np.where(live, np.nan_to_num(theta), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        d = np.where(live, filled - filled.sum(0) / g, 0.0)
        square = d * d
        s2, s4 = square.sum(0), (square * square).sum(0)
        spread = s4 - s2**2 / g
        df = np.clip(np.where(spread > 0, 2 * s2**2 / spread, np.inf), 1.0, np.maximum(g - 1, 1))
        half = student.ppf(0.5 + confidence / 2, df) * np.sqrt((g - 1) / g * s2)
    return np.where(broken, np.nan, half), np.where(broken, np.nan, df)


def expit(z: Floats) -> Floats:
    """1/(1 + exp(-z)), without overflow."""
    out: Floats = 0.5 * (1 + np.tanh(z / 2))
    return out


@dataclass(frozen=True)
class Cut:
    """Precision, recall and F1 of P labels at one cut each; a label fires where its strength >= cut. Every array is [P]."""

    cut: Floats
    f1: Floats  # nan where there is no positive token
    precision: Floats  # nan where it never fires
    recall: Floats


def at_cut(levels: Levels, tokens: Floats, positives: Floats, cut: Floats) -> Cut:
    """From tokens and positives by level [L] at given cuts [P] (chosen on select)."""
    fires = levels.value >= np.repeat(cut, np.diff(levels.first))
    n, hits, total = (levels.per_label(x) for x in (tokens * fires, positives * fires, positives))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Cut(cut, np.where(total > 0, 2 * hits / (n + total), np.nan), np.where(n > 0, hits / n, np.nan),
                   np.where(total > 0, hits / total, np.nan))


def best_cut(levels: Levels, tokens: Floats, positives: Floats) -> Floats:
    """The strength above 0 whose F1 is largest, [P]; the strongest one where all are 0, nan for a label with no strength above 0."""
    n, hits = levels.cumulate(tokens), levels.cumulate(positives)
    total = np.repeat(levels.per_label(positives), np.diff(levels.first))
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(levels.value > 0, np.nan_to_num(2 * hits / (n + total)), -1.0)
    row = first_best(levels.first, f1)
    return np.where(levels.value[row] > 0, levels.value[row], np.nan)


def first_best(first: Ints, x: Floats) -> Ints:
    """The first position of the largest value of every run [first[p], first[p + 1]): [P]."""
    top = np.repeat(np.maximum.reduceat(x, first[:-1]), np.diff(first)) if len(first) > 1 else x
    where = np.where(x == top, np.arange(len(x)), len(x))
    out: Ints = np.minimum.reduceat(where, first[:-1]).astype(np.int64) if len(first) > 1 else np.zeros(0, np.int64)
    return out
