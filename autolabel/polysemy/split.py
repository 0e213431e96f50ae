"""Are these words one cluster or several? Two-means on similarities, again and again, as long as chance does not explain the halves.

A set of n words is halved by spherical two-means (Dhillon and Modha 2001). The halves are two clusters where both hold:

    apart    t = mean similarity within the halves - mean similarity between them is larger than in 95 % of sets of n random
             words of the corpus, halved in the same way (p = (1 + #{t* >= t})/(B + 1) <= .05)
    strange  the halves are no more alike than random words are: their mean similarity is below the 95th percentile of that between
             two random sets of their sizes. A family of related words has halves that are apart, but no strangers.

The reference of random words stands for any list that is one rule without a common meaning: halving it is what must not happen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Draw = Callable[[int, int], Floats]  # (B, n) -> similarities [B, n, n] of random sets of n words
LEVEL = 0.05
LEAST = 3  # words of a cluster
MOST = 6  # clusters of a unit
DRAWS = 199
STARTS, ROUNDS = 8, 12  # of two-means


def split(similarity: Floats, draw: Draw, seed: int = 0) -> list[Ints]:
    """The clusters of n words with similarities [n, n] (1 on the diagonal), as rows; the largest first."""
    rng = np.random.default_rng(seed)
    done: list[Ints] = []
    todo = [np.arange(len(similarity), dtype=np.int64)]
    while todo:
        rows = todo.pop(0)
        half = halved(similarity[np.ix_(rows, rows)], draw, rng) if len(done) + len(todo) + 1 < MOST else None
        if half is None:
            done.append(rows)
        else:
            todo += [rows[half], rows[~half]]
    return sorted(done, key=lambda rows: (-len(rows), rows[0] if len(rows) else 0))


def halved(g: Floats, draw: Draw, rng: np.random.Generator) -> Bools | None:
    """[n] one half of a set that is two clusters; None where it is one."""
    n = len(g)
    if n < 2 * LEAST:
        return None
    half = two_means(g[None], rng)[0]
    if min(int(half.sum()), int((~half).sum())) < LEAST:
        return None
    within, between = (float(x[0]) for x in likeness(half[None], g[None]))
    random = draw(DRAWS, n)
    chance = np.subtract(*likeness(two_means(random, rng), random))
    if (1 + (chance >= within - between).sum()) / (DRAWS + 1) > LEVEL:
        return None
    unrelated = likeness(np.broadcast_to(np.arange(n) < half.sum(), (DRAWS, n)), random)[1]  # random sets, parted at random
    return half if (1 + (unrelated <= between).sum()) / (DRAWS + 1) <= 1 - LEVEL else None


def two_means(g: Floats, rng: np.random.Generator) -> Bools:
    """[B, n] the better of several two-means partitions of sets with similarities g [B, n, n]; the first start is the main axis."""
    b, n = g.shape[:2]
    centred = g - g.mean(1, keepdims=True) - g.mean(2, keepdims=True) + g.mean((1, 2), keepdims=True)
    best, chosen = np.full(b, -np.inf), np.zeros((b, n), bool)
    for start in range(STARTS):
        if start == 0:
            half = np.linalg.eigh(centred)[1][:, :, -1] > 0
        else:
            one = rng.integers(0, n, b)
            other = (one + rng.integers(1, n, b)) % n
            half = g[np.arange(b), one] > g[np.arange(b), other]
        for _ in range(ROUNDS):
            (to_one, size_one), (to_other, size_other) = _pull(g, half), _pull(g, ~half)
            half = to_one / size_one > to_other / size_other
        value = _pull(g, half)[1][:, 0] + _pull(g, ~half)[1][:, 0]
        better = value > best
        best[better], chosen[better] = value[better], half[better]
    return chosen


def _pull(g: Floats, half: Bools) -> tuple[Floats, Floats]:
    """Similarity of every word to the sum of one half [B, n], and the length of that sum [B, 1]."""
    to = np.einsum("bn,bnm->bm", half.astype(np.float64), g)
    return to, np.sqrt(np.maximum((to * half).sum(1, keepdims=True), 1e-12))


def likeness(half: Bools, g: Floats) -> tuple[Floats, Floats]:
    """Mean similarity of two different words [B] within the halves and between them."""
    n = half.shape[1]
    same = (half[:, :, None] == half[:, None, :]) & ~np.eye(n, dtype=bool)
    other = half[:, :, None] != half[:, None, :]

    def mean(where: Bools) -> Floats:
        found: Floats = (g * where).sum((1, 2)) / np.maximum(where.sum((1, 2)), 1)
        return found
    return mean(same), mean(other)
