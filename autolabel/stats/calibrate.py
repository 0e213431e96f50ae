"""From strength to activation: linear and isotonic maps fitted on one split, R2 on another.

R2 = 1 - sum (a - f(c))^2 / sum (a - mean a)^2, with the mean of the split it is reported on (mean-centred: dividing by
mean a^2, as some tools do, flatters every label). Isotonic: pool adjacent violators (Barlow et al. 1972), the weights being
the tokens of each level. Both are functions of sums by level alone.
"""

from __future__ import annotations

import numpy as np

from autolabel.stats.correlation import Floats, Sums, moments
from autolabel.stats.levels import Levels


def linear(s: Sums) -> tuple[Floats, Floats]:
    """Slope and intercept [P] of a on c by least squares; slope 0 and the mean where c does not vary."""
    n, ma, mc, _, vc = moments(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(vc > 0, (s.ac.sum(0) / n - ma * mc) / vc, 0.0)
    return slope, ma - slope * mc


def r2_linear(s: Sums, slope: Floats, intercept: Floats) -> Floats:
    """Mean-centred R2 [P] of intercept + slope c on the sums of another split; nan where a does not vary."""
    n, ma, mc, va, _ = moments(s)
    a2, c2, ac = (x.sum(0) / n for x in (s.a2, s.c2, s.ac))
    mse = a2 + slope**2 * c2 + intercept**2 - 2 * slope * ac - 2 * intercept * ma + 2 * slope * intercept * mc
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(va > 0, 1 - mse / va, np.nan)


def isotonic(levels: Levels, tokens: Floats, a: Floats) -> Floats:
    """Fitted activation by level [L], rising with the strength, from tokens and sums of a by level [L].

    A level that no token has takes the value of the nearest weaker level (what a step function says there).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(tokens > 0, a / tokens, np.nan)
    out = mean.copy()
    run = np.diff(levels.first)
    later = np.r_[mean[1:], np.nan]
    inside = np.ones(len(mean), bool)
    inside[levels.first[1:] - 1] = False
    wrong = inside & ~(mean >= later)  # not falling from strong to weak, or unknown
    for p in np.unique(np.repeat(np.arange(len(run)), run)[wrong]):
        rows = slice(int(levels.first[p]), int(levels.first[p + 1]))
        out[rows] = _pool(tokens[rows][::-1], a[rows][::-1])[::-1]
    return out


def isotonic_curve(c: Floats, a: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """The rising fit of a on strengths that are no levels: knots (strength [K] ascending, activation [K]) for np.interp.

    c, a, weight [tokens]; between knots it is linear, beyond them constant, as in scikit-learn.
    """
    value, at = np.unique(c, return_inverse=True)
    n, total = np.zeros(len(value)), np.zeros(len(value))
    np.add.at(n, at, weight)
    np.add.at(total, at, weight * a)
    return value, _pool(n, total)


def _pool(tokens: Floats, a: Floats) -> Floats:
    """Pool adjacent violators over rising strengths."""
    blocks: list[list[float]] = []  # tokens, sum, levels
    for n, total in zip(tokens.tolist(), a.tolist(), strict=True):
        if n == 0 and blocks:
            blocks[-1][2] += 1
            continue
        blocks.append([n, total, 1])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][0] > blocks[-1][1] * blocks[-2][0]:
            n1, total1, k1 = blocks.pop()
            blocks[-1] = [blocks[-1][0] + n1, blocks[-1][1] + total1, blocks[-1][2] + k1]
    return np.repeat([total / n if n else np.nan for n, total, _ in blocks], [int(k) for *_, k in blocks])


def r2_levels(levels: Levels, tokens: Floats, a: Floats, a2: Floats, fitted: Floats) -> Floats:
    """Mean-centred R2 [P] of fitted values by level [L] on tokens and sums of a by level [L] and a2 [P] of another split."""
    n, total = levels.per_label(tokens), levels.per_label(a)
    used = np.where(tokens > 0, fitted, 0.0)
    sse = a2 - 2 * levels.per_label(used * a) + levels.per_label(used**2 * tokens)
    with np.errstate(divide="ignore", invalid="ignore"):
        sst = a2 - total**2 / n
        return np.where(sst > 0, 1 - sse / sst, np.nan)
