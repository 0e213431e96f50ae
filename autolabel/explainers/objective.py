"""What a label is chosen by: sqrt(max(rho, 0) * max(peak, 0)), from sums over tokens.

rho is the correlation of a and c, peak the average precision of c for a > tau99 (tied strengths as one step). Strengths
are levels of a fixed scale, so that both follow from six sums and two histograms per unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# strength of each level: about equal ratios, the coarsest scale on which rho loses less than .01 against exact strengths
LEVELS: NDArray[np.float32] = np.array([0, .1, .2, .35, .6, 1], np.float32)


@dataclass(frozen=True)
class Sums:
    """What rho and peak of U labels on N tokens follow from."""

    n: int  # tokens
    mean: Floats  # [U] of a
    std: Floats  # [U] of a
    c: Floats  # [U] sum of c
    c2: Floats  # [U] sum of c squared
    ac: Floats  # [U] sum of a c
    tokens: Floats  # [U, levels] tokens at each level
    strong: Floats  # [U, levels] those of them with a > tau99

    def add(self, unit: NDArray[np.int64], before: NDArray[np.uint8], after: NDArray[np.uint8], n: NDArray[np.float32],
            a: NDArray[np.float32], strong: NDArray[np.float32]) -> Sums:
        """The sums after entries change level. Entry e: n[e] tokens of unit[e], whose a sum to a[e], strong[e] of them strong."""
        u, k = len(self.c), len(LEVELS)
        old, new = LEVELS[before], LEVELS[after]
        def total(weights: NDArray[np.float32]) -> Floats:
            return np.bincount(unit, weights, u).astype(np.float64)
        def moved(weights: NDArray[np.float32]) -> Floats:
            gain = np.bincount(unit * k + after, weights, u * k) - np.bincount(unit * k + before, weights, u * k)
            return gain.reshape(u, k).astype(np.float64)
        return replace(self, c=self.c + total((new - old) * n), c2=self.c2 + total((new ** 2 - old ** 2) * n),
                       ac=self.ac + total((new - old) * a), tokens=self.tokens + moved(n), strong=self.strong + moved(strong))

    def pick(self, other: Sums, take: NDArray[np.bool_]) -> Sums:
        """The other's sums where `take` [U], else these."""
        def one(a: Floats, b: Floats) -> Floats:
            return np.where(take if a.ndim == 1 else take[:, None], b, a)
        return replace(self, c=one(self.c, other.c), c2=one(self.c2, other.c2), ac=one(self.ac, other.ac),
                       tokens=one(self.tokens, other.tokens), strong=one(self.strong, other.strong))


def empty(n: int, mean: NDArray[np.float32], std: NDArray[np.float32], n_strong: NDArray[np.float32]) -> Sums:
    """The sums of the label that predicts 0 everywhere."""
    zero = np.zeros(len(mean))
    tokens, strong = np.zeros((len(mean), len(LEVELS))), np.zeros((len(mean), len(LEVELS)))
    tokens[:, 0], strong[:, 0] = n, n_strong
    return Sums(n, mean.astype(np.float64), std.astype(np.float64), zero, zero, zero, tokens, strong)


def rho(sums: Sums) -> Floats:
    """[U] corpus correlation; 0 where a or c does not vary."""
    cov = sums.ac / sums.n - sums.mean * sums.c / sums.n
    spread = sums.std * np.sqrt(np.maximum(sums.c2 / sums.n - (sums.c / sums.n) ** 2, 0))
    out: Floats = np.divide(cov, spread, out=np.zeros_like(cov), where=spread > 1e-12)
    return out


def peak(sums: Sums) -> Floats:
    """[U] average precision of c for a > tau99; 0 where nothing is strong."""
    hits, seen = np.cumsum(sums.strong[:, ::-1], 1), np.cumsum(sums.tokens[:, ::-1], 1)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    total = (precision * sums.strong[:, ::-1]).sum(1)
    out: Floats = np.divide(total, hits[:, -1], out=np.zeros(len(hits)), where=hits[:, -1] > 0)
    return out


def objective(sums: Sums) -> Floats:
    """[U] sqrt(max(rho, 0) * max(peak, 0))."""
    out: Floats = np.sqrt(np.maximum(rho(sums), 0) * np.maximum(peak(sums), 0))
    return out


def level_of(ratio: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The level nearest to a ratio, by ratio; 0 below the middle of the lowest step."""
    edges = np.sqrt(LEVELS[1:-1] * LEVELS[2:])
    return (np.searchsorted(edges, ratio, side="right") + 1).astype(np.uint8) * (ratio > .06).astype(np.uint8)
