"""Shares of independent trials with intervals.

One share: Wilson 1927. The mean of two shares (balanced accuracy): the method of variance estimates recovery (MOVER; Newcombe
1998, Donner and Zou 2012), which puts the Wilson limits of the two together:

    low = m - sqrt((p1 - l1)^2 + (p2 - l2)^2)/2,   high = m + sqrt((u1 - p1)^2 + (u2 - p2)^2)/2,   m = (p1 + p2)/2
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True)
class Share:
    """A share in [0, 1] with its 95 % (or other) interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, of: int, confidence: float = 0.95) -> Share:
    """hits out of `of` > 0 independent trials."""
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + confidence / 2))
    p = hits / of
    centre, half = p + z * z / (2 * of), z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return Share(p, max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


def mean_of_two(first: Share, second: Share) -> Share:
    """(p1 + p2)/2 of two independent shares."""
    m = (first.value + second.value) / 2
    down = sqrt((first.value - first.low) ** 2 + (second.value - second.low) ** 2) / 2
    up = sqrt((first.high - first.value) ** 2 + (second.high - second.value) ** 2) / 2
    return Share(m, max(0.0, m - down), min(1.0, m + up))
