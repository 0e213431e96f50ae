"""Which of a unit's labels add something, how much of it each explains, and whether each is the best label of its own cluster.

Residual pursuit (matching pursuit, Mallat and Zhang 1993): r_0 = a; in each step the label that explains most of the residual on
explain is subtracted, r <- r - beta c with beta = cov(r, c)/var(c) from explain, as long as its gain on *select*

    gain = [var(r before) - var(r after)] / var(a)

has a 95 % interval above 0 (by documents: each one's part of the gain minus the gain times its part of var(a), Satterthwaite t).

Explained mass: the activation (of tokens with a > tau) on which a label predicts more than those taken before it do (beta c);
share = explained mass / all mass; n_eff = exp(entropy of the shares among the senses).

Confusion: entry (k, j) is the correlation of a with label j on the tokens that are in no other cluster than k. A sense is real
where its own label has a correlation above 0 there and beats every other label, both by a paired 95 % interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.stats.correlation import Sums, correlate, error, influence
from autolabel.stats.paired import paired_rho

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TOP = 1e-12


@dataclass(frozen=True)
class Step:
    """One label that was taken."""

    label: int  # its number among the labels that were given
    beta: float  # its weight
    gain: float  # in R2, on select
    low: float  # 95 % interval
    high: float


def pursue(a: Floats, c: Floats, a_select: Floats, c_select: Floats, group: Ints) -> list[Step]:
    """a [N] and c [N, K] on explain, the same on select [T], group [T] document of each select token. Labels in the order taken."""
    left = list(range(c.shape[1]))
    rest, rest_select = a - a.mean(), a_select - a_select.mean()
    total = float(np.square(rest_select).sum())
    steps: list[Step] = []
    if total <= 0:
        return steps
    centred, variance = c - c.mean(0), c.var(0)
    own = np.bincount(group, np.square(rest_select)) / total
    while left:
        covariance = rest @ centred[:, left] / len(rest)
        beta = np.divide(covariance, variance[left], out=np.zeros(len(left)), where=variance[left] > TOP)
        best = int(np.argmax(beta * covariance))
        if beta[best] <= 0:
            break
        k = left.pop(best)
        after = rest_select - beta[best] * (c_select[:, k] - c_select[:, k].mean())
        parts = np.bincount(group, np.square(rest_select) - np.square(after), len(own)) / total
        gain = float(parts.sum())
        low, high = _interval(gain, parts - gain * own)
        if not low > 0:
            break
        steps.append(Step(k, float(beta[best]), gain, low, high))
        rest, rest_select = rest - beta[best] * centred[:, k], after
    return steps


def _interval(value: float, g: Floats) -> tuple[float, float]:
    from scipy.stats import t as student

    se, df, _ = (float(x[0]) for x in error(g[:, None]))
    half = se * float(student.ppf(0.975, df))
    return value - half, value + half


def shares(a: Floats, c: Floats, beta: Floats, tau: float) -> Floats:
    """[K] explained mass of the labels c [T, K] with weights beta [K], in the order taken, as a share of all mass; nan where there is none."""
    mass = np.where(a > tau, a, 0)
    if not mass.sum():
        return np.full(c.shape[1], np.nan)
    said = c * beta
    first = np.where(said.max(1, initial=0) > 0, said.argmax(1), -1) if c.shape[1] else np.full(len(a), -1)
    found: Floats = np.bincount(first + 1, mass, c.shape[1] + 1)[1:] / mass.sum()
    return found


def n_eff(share: Floats) -> float:
    """exp(entropy) of shares that are taken to add up to 1; nan where none is above 0."""
    p = share[share > 0]
    if not len(p):
        return float("nan")
    p = p / p.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


@dataclass(frozen=True)
class Confusion:
    """K senses."""

    rho: Floats  # [K, K] cluster k, label j; nan where the label or the unit does not vary there
    real: tuple[bool, ...]  # [K]


def confuse(a: Floats, c: Floats, owner: Ints, group: Ints) -> Confusion:
    """a [T], c [T, K] and the cluster of each token's word (-1: none), on select."""
    k_all = c.shape[1]
    rho, real = np.full((k_all, k_all), np.nan), []
    for k in range(k_all):
        here = (owner == k) | (owner < 0)
        s = sums(a[here], c[here], group[here])
        found = correlate(s)
        rho[k] = found.rho
        own = bool(found.low[k] > 0)
        value, g = influence(s)
        for j in range(k_all):
            if j != k and own and not np.isnan(rho[k, j]):
                own = bool(paired_rho((value[[k]], g[:, [k]]), (value[[j]], g[:, [j]]), 0.95).low[0] > 0)
        real.append(own)
    return Confusion(rho, tuple(real))


def sums(a: Floats, c: Floats, group: Ints) -> Sums:
    """The six sums of a [T] with every column of c [T, K], by document."""
    _, where = np.unique(group, return_inverse=True)
    n = int(where.max()) + 1 if len(where) else 0

    def add(x: Floats) -> Floats:
        return np.bincount(where, x, n).astype(np.float64)

    def each(x: Floats) -> Floats:
        return np.stack([add(x[:, k]) for k in range(x.shape[1])], 1) if x.shape[1] else np.zeros((n, 0))
    one, square, many = add(a)[:, None], add(a * a)[:, None], (1, c.shape[1])
    return Sums(add(np.ones(len(a))), np.tile(one, many), np.tile(square, many), each(c), each(c * c), each(c * a[:, None]))
