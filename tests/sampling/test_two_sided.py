"""The two-sided sample: nested, its probabilities exact, its estimates unbiased against full enumeration."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.sampling.two_sided import Frame, Stored, claim, proportional, shared_affinity, spread
from autolabel.stats import Sampled, correlate
from autolabel.stats.sampled import sums
from autolabel.stats.uniform import uniform

N, LENGTH = 600, 8


def world(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, c [N, LENGTH] of a rare feature, and the document of each excerpt."""
    rng = np.random.default_rng(seed)
    rate = rng.beta(0.5, 12, N)[:, None]
    truth = rng.random((N, LENGTH)) < rate
    a = np.maximum(truth * rng.gamma(3, 0.4, truth.shape) + 0.15 * rng.normal(size=truth.shape), 0)
    c = (truth & (rng.random(truth.shape) < 0.7)) | (rng.random(truth.shape) < 0.02)
    return a, c.astype(float), np.arange(N) // 3


def stored(s: np.ndarray, ids: np.ndarray, seed: int, k: int = 64) -> Stored:
    key = s / uniform(seed, ids)
    order = np.argsort(-key)[:k]
    order = order[key[order] > 0]
    return Stored(ids[order], s[order], key[order])


IDS = np.sort(np.random.default_rng(0).integers(0, 2**62, N))


def estimate(a: np.ndarray, c: np.ndarray, document: np.ndarray, n: int, seed: int, mean: float = 0.05) -> tuple[float, float, float, int]:
    excerpt = np.repeat(np.arange(N), LENGTH)
    s = spread(a.ravel(), mean, excerpt, N)
    sample = Frame(IDS, seed).draw(stored(s, IDS, seed), claim(c.ravel(), excerpt, N), n)
    w = sample.weights(s[sample.row])
    rows = np.repeat(sample.row, LENGTH)
    x = Sampled.one(document[rows], IDS[rows], np.repeat(w, LENGTH), a[sample.row].ravel(), c[sample.row].ravel())
    r = correlate(sums(x))
    return float(r.rho[0]), float(r.low[0]), float(r.high[0]), len(sample)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 70))
def test_proportional(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    r = np.where(rng.random(100) < 0.6, rng.gamma(0.3, 1, 100), 0)
    p = proportional(r, size)
    if (r > 0).sum() <= size:
        assert (p == (r > 0)).all()
        return
    assert p.sum() == pytest.approx(size) and (p <= 1).all() and (p[r == 0] == 0).all()
    inner = (p < 1) & (r > 0)
    np.testing.assert_allclose(p[inner] / r[inner], (p[inner] / r[inner])[0])
    assert not inner.any() or (r[p == 1] >= r[inner].max()).all()


def test_a_larger_sample_contains_the_smaller() -> None:
    a, c, _ = world(1)
    excerpt = np.repeat(np.arange(N), LENGTH)
    s, r = spread(a.ravel(), 0.05, excerpt, N), claim(c.ravel(), excerpt, N)
    drawn = [set(Frame(IDS, 3).draw(stored(s, IDS, 3), r, n).excerpt) for n in (40, 56, 72, 120, 157)]
    assert all(small < large for small, large in pairwise(drawn))


def test_every_probability_is_the_share_of_seeds_that_draw_it() -> None:
    """Hajek weights are right if an excerpt's mean of drawn/pi is 1; over seeds, excerpt by excerpt."""
    a, c, _ = world(2)
    excerpt = np.repeat(np.arange(N), LENGTH)
    s, r = spread(a.ravel(), 0.05, excerpt, N), claim(c.ravel(), excerpt, N)
    total, square, seeds, size = np.zeros(N), np.zeros(N), 3000, 0.0
    for seed in range(seeds):
        sample = Frame(IDS, seed).draw(stored(s, IDS, seed), r, 40)
        w = sample.weights(s[sample.row])
        total[sample.row] += w
        square[sample.row] += w * w
        size += len(sample)
    mean = total / seeds
    z = (mean - 1) / np.sqrt((square / seeds - mean**2) / seeds)
    assert abs(z.mean()) < 0.2 and 0.85 < z.std() < 1.2 and np.abs(z).max() < 5
    assert 30 < size / seeds <= 41


def test_estimates_are_unbiased_and_intervals_hold() -> None:
    a, c, document = world(5)
    truth = np.corrcoef(a.ravel(), c.ravel())[0, 1]
    got = np.array([estimate(a, c, document, 120, seed) for seed in range(200)])
    assert abs(got[:, 0].mean() - truth) < 0.01
    assert ((got[:, 1] <= truth) & (truth <= got[:, 2])).mean() >= 0.9


def test_both_sides_are_seen() -> None:
    """False positives of the label, on excerpts where the unit is silent, are in the sample and pull the estimate down to the truth."""
    a, c, document = world(6)
    silent = np.flatnonzero(a.max(1) < 0.3)[:60]
    c = c.copy()
    c[silent] = 1.0
    truth = np.corrcoef(a.ravel(), c.ravel())[0, 1]
    got = np.mean([estimate(a, c, document, 120, seed)[0] for seed in range(60)])
    assert abs(got - truth) < 0.03


def test_all_excerpts_where_few_are_active() -> None:
    s = np.zeros(N)
    s[:7] = 1.0
    sample = Frame(IDS, 0).draw(stored(s, IDS, 0), np.zeros(N), 40)
    assert set(sample.row[sample.by_priority]) == set(range(7))
    assert (sample.pi(s[sample.row])[sample.by_priority] == 1).all()


def test_labels_are_compared_on_the_mean_of_what_they_claim() -> None:
    one, two = np.array([1.0, 3.0, 0.0]), np.array([0.0, 0.0, 50.0])
    np.testing.assert_allclose(shared_affinity([one, two]), [0.125, 0.375, 0.5])
    assert (shared_affinity([np.zeros(3), np.zeros(3)]) == 0).all()


def test_what_cannot_be_drawn_is_refused() -> None:
    s = np.ones(N)
    with pytest.raises(ValueError, match="largest keys"):
        Frame(IDS, 0).draw(stored(s, IDS, 0), np.zeros(N), 200)
    with pytest.raises(ValueError, match="negative or nan"):
        Frame(IDS, 0).draw(stored(s, IDS, 0), np.full(N, np.nan), 40)
    with pytest.raises(ValueError, match="different splits"):
        Frame(IDS[5:], 0).draw(Stored(IDS[:3], np.ones(3), np.ones(3)), np.zeros(N - 5), 40)
