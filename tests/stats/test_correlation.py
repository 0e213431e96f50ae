"""rho, its interval and p_size against dense recomputation, resampling theory and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from autolabel.stats import Sums, correlate, error, influence, linear, p_size, paired_rho, r2_linear


def sample(seed: int, n: int = 60, documents: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a, c = np.maximum(rng.normal(size=n), 0), rng.choice([0.0, 0.5, 1.0], n)
    a[:3], c[:3] = [1.0, 2.0, 0.0], [0.0, 1.0, 0.5]  # neither is constant
    return a, c, rng.integers(0, documents, n)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_rho_is_pearson(seed: int) -> None:
    a, c, group = sample(seed)
    assert correlate(Sums.of(a, c, group, 9)).rho[0] == pytest.approx(scipy_stats.pearsonr(a, c).statistic, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-50, 50))
def test_scale_shift_and_order_do_not_matter(seed: int, scale: float, shift: float) -> None:
    a, c, group = sample(seed)
    want = correlate(Sums.of(a, c, group, 9))
    order = np.random.default_rng(seed).permutation(len(a))
    have = correlate(Sums.of(scale * a[order] + shift * scale, c[order], group[order], 9))
    for name in ("rho", "low", "high", "df", "se"):
        np.testing.assert_allclose(getattr(have, name), getattr(want, name), rtol=1e-5, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_weight_is_a_repetition(seed: int) -> None:
    a, c, group = sample(seed)
    w = np.random.default_rng(seed).integers(1, 5, len(a))
    weighted = correlate(Sums.of(a, c, group, 9, w.astype(float)))
    repeated = correlate(Sums.of(np.repeat(a, w), np.repeat(c, w), np.repeat(group, w), 9))
    for name in ("rho", "low", "high", "df"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-9)


def test_influence_formula_term_by_term() -> None:
    a, c, group = sample(3)
    u, v = (a - a.mean()) / a.std(), (c - c.mean()) / c.std()
    rho = (u * v).mean()
    g = (u * v - rho * (u**2 + v**2) / 2) / len(a)
    by_group = np.bincount(group, g, minlength=9)
    have_rho, have = influence(Sums.of(a, c, group, 9))
    np.testing.assert_allclose(have[:, 0], by_group, atol=1e-14)
    s2, s4, d = (by_group**2).sum(), (by_group**4).sum(), (by_group != 0).sum()
    se, df, n = error(have)
    assert (se[0], df[0], n[0]) == pytest.approx((np.sqrt(s2 * d / (d - 1)), np.clip(2 * s2**2 / (s4 - s2**2 / d), 1, d - 1), d))
    half = scipy_stats.t.ppf(0.975, df[0]) * se[0] / (1 - rho**2)
    full = correlate(Sums.of(a, c, group, 9))
    assert (full.low[0], full.high[0]) == pytest.approx((np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)))
    assert have_rho[0] == pytest.approx(rho)


def test_influence_is_the_derivative_of_rho() -> None:
    a, c, group = sample(5)
    s = Sums.of(a, c, group, 9)
    rho, g = influence(s)
    for d in range(9):
        w = np.where(group == d, 1 + 1e-6, 1.0)
        moved = correlate(Sums.of(a, c, group, 9, w)).rho[0]
        assert (moved - rho[0]) / 1e-6 == pytest.approx(g[d, 0], abs=1e-6)


def test_constants_have_no_correlation() -> None:
    a, c, group = sample(1)
    both = correlate(Sums.of(np.stack([np.full(60, 0.3), a], 1), np.stack([c, np.full(60, 0.7)], 1), group, 9))
    assert np.isnan(both.rho).all() and both.flat_a.tolist() == [True, False] and both.flat_c.tolist() == [False, True]
    assert np.isnan(both.low).all() and (p_size(both.rho, both.se, both.df) == 1).all()


def test_a_perfect_correlation_is_precise() -> None:
    c, group = np.tile([0.0, 1.0, 1.0], 40), np.repeat(np.arange(30), 4)
    r = correlate(Sums.of(3 * c, c, group, 40))
    assert r.rho[0] == pytest.approx(1) and r.df[0] == 29 and r.low[0] > 0.999
    assert p_size(r.rho, r.se, r.df)[0] < 1e-9


def test_one_document_gives_no_interval() -> None:
    a, c, _ = sample(1)
    one = correlate(Sums.of(a, c, np.zeros(60, np.int64), 4))
    assert not np.isnan(one.rho[0]) and np.isnan(one.low[0])


def test_p_size_is_the_interval_turned_round() -> None:
    a, c, group = sample(8, 400, 40)
    a = a + 0.8 * c
    r = correlate(Sums.of(a, c, group, 40))
    p = p_size(r.rho, r.se, r.df, bar=float(r.low[0]))
    assert p[0] == pytest.approx(0.025, abs=1e-9)
    assert p_size(r.rho, r.se, r.df, adaptive=True)[0] == pytest.approx(min(1, p_size(r.rho, r.se, r.df)[0] * 5 / 3))


def test_paired_difference_cancels_what_is_shared() -> None:
    a, c, group = sample(2, 500, 50)
    a = a + c
    worse = np.where(np.random.default_rng(0).random(500) < 0.02, 0, c)
    s = influence(Sums.of(np.stack([a, a], 1), np.stack([c, worse], 1), group, 50))
    one, two = (s[0][:1], s[1][:, :1]), (s[0][1:], s[1][:, 1:])
    d = paired_rho(one, two)
    alone = correlate(Sums.of(a, c, group, 50))
    assert d.value[0] == pytest.approx(s[0][0] - s[0][1])
    assert d.high[0] - d.low[0] < 0.6 * (alone.high[0] - alone.low[0])
    same = paired_rho(one, one)
    assert (same.value[0], same.low[0], same.high[0]) == (0, 0, 0)


def test_linear_calibration_is_least_squares() -> None:
    a, c, group = sample(4)
    b, d, _ = sample(5)
    slope, intercept = linear(Sums.of(a, c, group, 9))
    want = np.polyfit(c, a, 1)
    assert (slope[0], intercept[0]) == pytest.approx(tuple(want))
    r2 = r2_linear(Sums.of(b, d, group, 9), slope, intercept)[0]
    assert r2 == pytest.approx(1 - ((b - intercept - slope * d) ** 2).sum() / ((b - b.mean()) ** 2).sum())


def coverage(trials: int, documents: int, seed: int) -> float:
    """Share of 95 % intervals that hold the truth: documents with an effect of their own, rare firing, a skewed activation."""
    rng = np.random.default_rng(seed)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        length = rng.integers(5, 40, n)
        doc = np.repeat(np.arange(n), length)
        rate = rng.beta(0.8, 6, n)[doc]
        c = (rng.random(len(doc)) < rate).astype(float)
        a = np.maximum(0.9 * c + 0.3 * rng.normal(size=n)[doc] + rng.normal(size=len(doc)), 0)
        return a, c, doc

    a, c, _ = draw(200_000)
    truth = np.corrcoef(a, c)[0, 1]
    held = 0
    for _ in range(trials):
        a, c, doc = draw(documents)
        r = correlate(Sums.of(a, c, doc, documents))
        held += bool(r.low[0] <= truth <= r.high[0])
    return held / trials


def test_coverage_small() -> None:
    assert coverage(200, 60, seed=1) >= 0.90


@pytest.mark.slow
def test_coverage() -> None:
    assert coverage(2000, 200, seed=2) >= 0.93
