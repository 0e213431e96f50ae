"""Two-sided sampling: excerpts where the unit is active, where the label claims to fire, and some of all the others.

A score that samples only where the unit is active cannot see a label's false positives, and one that samples only where the
label fires cannot see what it misses. An excerpt enters by three independent routes, each with uniforms of its own, a hash
of (seed, route, excerpt), so that a larger n contains the smaller sample and two labels of one unit share their draws:

    (s) priority   the first .4 n of the windows with the largest s_i/u_i, which the extraction stored for every unit;
                   pi_s = min(1, s_i/tau), tau the (.4 n + 1)-th largest s/u for those, the .4 n-th for every other window
    (r) label      with probability pi_r = min(1, k r_i), k such that the sum is .4 n; all with r_i > 0 where they are fewer
    (0) chance     with probability pi_0 = .2 n/N

    pi_i = 1 - (1 - pi_s)(1 - pi_r)(1 - pi_0),   w_i = 1/pi_i

Sources: priority sampling, Duffield, Lund and Thorup 2007 (J. ACM 54:6), whose threshold given the other windows is what
makes pi_s exact; several frames, Hartley 1962; importance sampling of explanations' scores, arXiv 2506.07985.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autolabel.stats.uniform import uniform
from autolabel.types import hash63

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
SHARES = {"priority": 0.4, "label": 0.4, "chance": 0.2}  # of n, by route


@dataclass(frozen=True)
class Stored:
    """The priority sample of one unit on one split, the largest key first: rows of the table `priority`."""

    excerpt: Ints  # [K] Excerpt.id
    s: Floats  # [K] sqrt(sum_t (a - mean)^2), mean of explain
    key: Floats  # [K] s/u


@dataclass(frozen=True)
class Sample:
    """The excerpts drawn for one label. Every array is [m], by row of the frame."""

    n: int  # excerpts asked for; about as many were drawn, fewer where the routes met
    row: Ints  # rows of the frame, ascending
    excerpt: Ints  # Excerpt.id
    s: Floats  # spread of the unit on the excerpt, as stored; nan where it follows from running the subject
    by_priority: Bools  # it came by route (s); an excerpt may come by several
    by_label: Bools
    by_chance: Bools
    tau: Floats  # the threshold of route (s) for this excerpt; 0 where every window with s > 0 was taken
    pi_label: Floats
    pi_chance: Floats

    def __len__(self) -> int:
        return len(self.row)

    def pi(self, s: Floats) -> Floats:
        """Inclusion probability [m] given the spread s [m] of the unit on every excerpt (`spread`); in (0, 1]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            pi_s = np.where(s > 0, np.where(self.tau > 0, np.minimum(1.0, s / self.tau), 1.0), 0.0)
        pi_s = np.where(self.by_priority, np.maximum(pi_s, np.finfo(np.float64).tiny), pi_s)
        out: Floats = 1 - (1 - pi_s) * (1 - self.pi_label) * (1 - self.pi_chance)
        return out

    def weights(self, s: Floats) -> Floats:
        """[m] 1/pi. Stored values of s take precedence over those given, which may differ by rounding."""
        return 1 / self.pi(np.where(np.isnan(self.s), s, self.s))


@dataclass(frozen=True)
class Frame:
    """The N excerpts of a split, and the uniforms by which they are drawn."""

    ids: Ints  # [N] Excerpt.id
    seed: int = 0

    @cached_property
    def u_label(self) -> Floats:
        """[N] in (0, 1]"""
        return uniform(hash63(self.seed, "label"), self.ids)

    @cached_property
    def u_chance(self) -> Floats:
        """[N] in (0, 1]"""
        return uniform(hash63(self.seed, "chance"), self.ids)

    @cached_property
    def _order(self) -> Ints:
        return np.argsort(self.ids, kind="stable").astype(np.int64)

    def rows(self, ids: Ints) -> Ints:
        """Rows of these excerpts. Raises ValueError where one is not of the split."""
        order = self._order
        at = np.searchsorted(self.ids, ids, sorter=order)
        found = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(ids), np.int64)
        if len(ids) and (not len(order) or not np.array_equal(self.ids[found], ids)):
            raise ValueError("a stored excerpt is not in the frame: the two are of different splits")
        return found

    def draw(self, stored: Stored, affinity: Floats, n: int) -> Sample:
        """About n excerpts. affinity [N] >= 0: how much the label claims of each excerpt (only ratios matter).

        Raises ValueError where more is asked than the stored sample can give, or an affinity is negative or nan.
        """
        big = len(self.ids)
        if not (affinity >= 0).all():
            raise ValueError("an affinity is negative or nan")
        k = round(SHARES["priority"] * n)
        if k >= len(stored.key) and len(stored.key) >= 64 and big > len(stored.key):
            raise ValueError(f"{n} excerpts need the {k + 1} largest keys of a unit, and {len(stored.key)} are stored")
        inside = np.zeros(big, bool)
        known = np.full(big, np.nan)
        rows = self.rows(stored.excerpt)
        known[rows] = stored.s
        inside[rows[:k]] = True
        tau_in = stored.key[k] if k < len(stored.key) else 0.0  # fewer windows with s > 0 than asked: all are taken
        tau_out = stored.key[k - 1] if 0 < k <= len(stored.key) else 0.0
        pi_r = proportional(affinity, SHARES["label"] * n)
        pi_0 = min(1.0, SHARES["chance"] * n / big)
        by_label, by_chance = self.u_label <= pi_r, self.u_chance <= pi_0
        row = np.flatnonzero(inside | by_label | by_chance).astype(np.int64)
        tau = np.where(inside[row], tau_in, tau_out if k else np.inf)
        return Sample(n, row, self.ids[row], known[row], inside[row], by_label[row], by_chance[row], tau, pi_r[row], np.full(len(row), pi_0))


def expected_draws(n: int, big: int) -> float:
    """Distinct excerpts that `draw` takes of a split of `big` when it is asked for n, as far as can be said before anything is known of unit and label."""
    missed = 1.0
    for share in SHARES.values():
        missed *= 1 - min(1.0, share * n / big) if big else 1.0
    return big * (1 - missed)


def proportional(r: Floats, size: float) -> Floats:
    """Probabilities min(1, k r_i) [N] whose sum is `size`; 1 for all r_i > 0 where they are at most as many."""
    positive = r > 0
    if positive.sum() <= size:
        return positive.astype(np.float64)
    x = np.sort(r)[::-1]
    rest = np.cumsum(x[::-1])[::-1]
    sure = np.arange(len(x))  # how many are certain
    with np.errstate(divide="ignore", invalid="ignore"):
        k = np.where(rest > 0, (size - sure) / rest, 0.0)
    first = int(np.argmax((k * x <= 1) & (sure < size) & (rest > 0)))
    out: Floats = np.minimum(1.0, k[first] * r)
    return out


def shared_affinity(affinities: Sequence[Floats]) -> Floats:
    """[N] for the sample on which labels are compared: the mean of theirs, each scaled to sum 1, as only ratios have a meaning."""
    totals = [r.sum() for r in affinities]
    parts = [r / total for r, total in zip(affinities, totals, strict=True) if total > 0]
    out: Floats = np.mean(parts, axis=0) if parts else np.zeros_like(affinities[0])
    return out


def claim(c: Floats, excerpt: Ints, n: int) -> Floats:
    """The affinity [N] of a label whose strengths are known everywhere: sqrt(sum_t c^2) per excerpt, from c [tokens] and excerpt [tokens]."""
    out: Floats = np.sqrt(np.bincount(excerpt, np.square(c), n))
    return out


def spread(a: Floats, mean: float, excerpt: Ints, n: int) -> Floats:
    """s_i = sqrt(sum_t (a - mean)^2) of a unit on n excerpts, from a [tokens] and excerpt [tokens] in [0, n)."""
    out: Floats = np.sqrt(np.bincount(excerpt, np.square(a - mean), n))
    return out


__all__ = ["SHARES", "Frame", "Sample", "Stored", "claim", "expected_draws", "proportional", "shared_affinity", "spread"]
