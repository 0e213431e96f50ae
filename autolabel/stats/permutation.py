"""Permutation tests over documents, for many units at once, with the family-wise correction by the largest statistic.

p = (1 + #{|T*| >= |T|})/(B + 1) (Phipson and Smyth 2010); p_max compares |T| with the largest |T*| over all units of the
same permutation, which holds the family-wise error under any dependence (Westfall and Young 1993, single step). T is
studentised (Welch's t, or the one-sample t), so that units with different spread weigh the same in the maximum, and the
test stays valid for means when the groups' variances differ (Janssen 1997).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.stats.correlation import Floats

CHUNK = 256  # permutations at a time
TOUCH = 1e-9  # relative: statistics that differ by less are tied (sums in another order)


@dataclass(frozen=True)
class Permuted:
    """U tests. Arrays are [U]."""

    statistic: Floats  # t; 0 where the unit does not vary
    p: Floats  # two-sided, of the unit alone
    p_max: Floats  # two-sided, over all units together
    n: int  # permutations drawn


def two_groups(z: Floats, positive: NDArray[np.bool_], rng: np.random.Generator, n: int = 9999, strata: NDArray[np.int64] | None = None) -> Permuted:
    """Difference of means between documents of two kinds: z [D, U], positive [D]; permuted within strata [D] where given."""
    z = np.asarray(z, np.float64).reshape(len(positive), -1)
    z = z - z.mean(0)
    square, total, total2 = z * z, z.sum(0), (z * z).sum(0)
    m, k = int(positive.sum()), int((~positive).sum())
    if min(m, k) < 2:
        raise ValueError("a permutation test needs two documents of either kind")

    def statistic(chosen: Floats) -> Floats:
        s, s2 = chosen @ z, chosen @ square
        m1, m0 = s / m, (total - s) / k
        v1, v0 = (s2 - s * m1) / (m - 1), (total2 - s2 - (total - s) * m0) / (k - 1)
        return _ratio(m1 - m0, np.maximum(v1, 0) / m + np.maximum(v0, 0) / k, total2)

    place = [np.arange(len(positive))] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]

    def draw(b: int) -> Floats:
        out = np.tile(positive.astype(np.float64), (b, 1))
        for rows in place:
            out[:, rows] = rng.permuted(out[:, rows], axis=1)
        return out

    return _count(statistic, positive.astype(np.float64)[None, :], draw, n)


def signs(d: Floats, rng: np.random.Generator, n: int = 9999) -> Permuted:
    """Mean of paired differences d [D, U] against 0: the signs of whole documents are flipped, those of all units together."""
    d = np.asarray(d, np.float64).reshape(len(d), -1)
    many, total2 = len(d), (d * d).sum(0)
    if many < 2:
        raise ValueError("a sign test needs two documents")

    def statistic(sign: Floats) -> Floats:
        s = sign @ d
        return _ratio(s / many, np.maximum(total2 - s * s / many, 0) / (many - 1) / many, total2)

    return _count(statistic, np.ones((1, many)), lambda b: rng.choice(np.array([-1.0, 1.0]), (b, many)), n)


def _ratio(difference: Floats, variance: Floats, total2: Floats) -> Floats:
    """difference/sqrt(variance); 0 where the unit does not vary, very large where only the noise is gone."""
    floor = np.where(total2 > 0, 1e-24 * total2, 1.0)
    out: Floats = np.where(total2 > 0, difference / np.sqrt(np.maximum(variance, floor)), 0.0)
    return out


def _count(statistic: Callable[[Floats], Floats], observed: Floats, draw: Callable[[int], Floats], n: int) -> Permuted:
    have = statistic(observed)[0]
    bar = np.abs(have) * (1 - TOUCH)
    above, above_max, done = np.zeros(len(have)), np.zeros(len(have)), 0
    while done < n:
        b = min(CHUNK, n - done)
        t = np.abs(statistic(draw(b)))
        above += (t >= bar).sum(0)
        above_max += (t.max(1)[:, None] >= bar).sum(0)
        done += b
    return Permuted(have, (1 + above) / (n + 1), (1 + above_max) / (n + 1), n)
