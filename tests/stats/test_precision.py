"""AUPRC, F1, isotonic calibration and FDR against scikit-learn, scipy and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from autolabel.stats import (
    Levels,
    at_cut,
    average_precision,
    benjamini_hochberg,
    best_cut,
    isotonic,
    logit,
    paired_peak,
    peak,
    r2_levels,
    rank_p,
)

STRENGTHS = [1.0, 0.7, 0.4]


def draw(seed: int, n: int = 80, groups: int = 6) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    c = rng.choice([0.0, *STRENGTHS], n, p=[0.55, 0.15, 0.15, 0.15])
    a = np.maximum(rng.normal(size=n) + c, 0)
    return a, c, a > np.quantile(a, 0.8), rng.integers(0, groups, n)


def count(c: np.ndarray, group: np.ndarray, weight: np.ndarray, levels: Levels, groups: int = 6) -> np.ndarray:
    """[G, L] for one label."""
    out = np.zeros((groups, len(levels.value)))
    for g, x, w in zip(group, c, weight, strict=True):
        out[g, np.flatnonzero(levels.value == x)[0]] += w
    return out


LEVELS = Levels.build([STRENGTHS])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000))
def test_auprc_is_average_precision(seed: int) -> None:
    _, c, strong, group = draw(seed)
    n, hits = count(c, group, np.ones(80), LEVELS), count(c, group, strong, LEVELS)
    assert peak(LEVELS, n, hits).value[0] == pytest.approx(average_precision_score(strong, c), abs=1e-12)


def test_labels_of_different_length_do_not_mix() -> None:
    draws = [draw(k) for k in range(4)]
    strengths = [STRENGTHS, [1.0, 0.7, 0.4, 0.2], [], STRENGTHS]
    levels = Levels.build(strengths)
    draws[2] = (draws[2][0], np.zeros(80), *draws[2][2:])
    one = [Levels.build([s]) for s in strengths]
    n = np.concatenate([count(c, g, np.ones(80), k) for (_, c, _, g), k in zip(draws, one, strict=True)], axis=1)
    hits = np.concatenate([count(c, g, s, k) for (_, c, s, g), k in zip(draws, one, strict=True)], axis=1)
    value = average_precision(levels, n.sum(0), hits.sum(0))
    np.testing.assert_allclose(value, [average_precision_score(s, c) for _, c, s, _ in draws])
    assert value[2] == pytest.approx(draws[2][2].mean())  # a constant label reaches the base rate
    have = peak(levels, n, hits)
    for p, own in enumerate(one):
        alone = peak(own, *(x[:, levels.first[p]:levels.first[p + 1]] for x in (n, hits)))
        assert [have.low[p], have.high[p], *have.theta[:, p]] == pytest.approx([alone.low[0], alone.high[0], *alone.theta[:, 0]])


def test_jackknife_by_hand() -> None:
    _, c, strong, group = draw(7)
    n, hits = count(c, group, np.ones(80), LEVELS), count(c, group, strong, LEVELS)
    n, hits = np.vstack([n, np.zeros((2, 4))]), np.vstack([hits, np.zeros((2, 4))])  # two empty groups count for nothing
    have = peak(LEVELS, n, hits)
    theta = logit(np.array([average_precision_score(strong[group != g], c[group != g]) for g in range(6)]))
    d = theta - theta.mean()
    half = scipy_stats.t.ppf(0.975, np.clip(2 * (d**2).sum() ** 2 / ((d**4).sum() - (d**2).sum() ** 2 / 6), 1, 5)) * np.sqrt(5 / 6 * (d**2).sum())
    z = logit(np.array([average_precision_score(strong, c)]))[0]
    assert (have.low[0], have.high[0]) == pytest.approx((1 / (1 + np.exp(half - z)), 1 / (1 + np.exp(-half - z))))
    assert have.base_rate[0] == pytest.approx(strong.mean())


def test_no_positive_no_peak() -> None:
    _, c, strong, group = draw(7)
    have = peak(LEVELS, count(c, group, np.ones(80), LEVELS), count(c, group, 0 * strong, LEVELS))
    assert np.isnan([have.value[0], have.low[0], have.high[0]]).all()


def test_paired_peak() -> None:
    rng = np.random.default_rng(0)
    strong = rng.random(3000) < 0.1
    group = rng.integers(0, 30, 3000)
    good, bad = np.where(strong, 1.0, rng.choice([0.0, 0.4], 3000)), rng.choice([0.0, 0.4, 1.0], 3000)
    p = [peak(LEVELS, count(c, group, np.ones(3000), LEVELS, 30), count(c, group, strong, LEVELS, 30)) for c in (good, bad)]
    assert paired_peak(p[0], p[1]).low[0] > 0 > paired_peak(p[1], p[0]).high[0]
    same = paired_peak(p[1], p[1])
    assert (same.low[0], same.high[0]) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_f1_at_the_best_cut(seed: int) -> None:
    _, c, strong, group = draw(seed)
    n, hits = count(c, group, np.ones(80), LEVELS).sum(0), count(c, group, strong, LEVELS).sum(0)
    cut = best_cut(LEVELS, n, hits)
    have = at_cut(LEVELS, n, hits, cut)
    values = {v: f1_score(strong, c >= v) for v in STRENGTHS}
    assert have.f1[0] == pytest.approx(max(values.values())) and values[float(cut[0])] == pytest.approx(have.f1[0])
    assert have.precision[0] == pytest.approx(precision_score(strong, c >= cut)) and have.recall[0] == pytest.approx(recall_score(strong, c >= cut))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_isotonic_is_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, c, _, group = draw(seed)
    a = a - rng.random() * 2 * c  # often falls
    n, total = count(c, group, np.ones(80), LEVELS).sum(0), count(c, group, a, LEVELS).sum(0)
    fitted = isotonic(LEVELS, n, total)
    want = IsotonicRegression().fit(c, a).predict(LEVELS.value)
    np.testing.assert_allclose(fitted, want, atol=1e-9)
    r2 = r2_levels(LEVELS, n, total, np.array([(a**2).sum()]), fitted)[0]
    at = {v: f for v, f in zip(LEVELS.value, fitted, strict=True)}
    assert r2 == pytest.approx(1 - ((a - [at[x] for x in c]) ** 2).sum() / ((a - a.mean()) ** 2).sum())


def test_isotonic_level_without_tokens() -> None:
    fitted = isotonic(LEVELS, np.array([10.0, 0.0, 5.0, 80.0]), np.array([20.0, 0.0, 5.0, 8.0]))
    np.testing.assert_allclose(fitted, [2.0, 1.0, 1.0, 0.1])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_hochberg_is_scipys(p: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p), scipy_stats.false_discovery_control(p), atol=1e-12)


def test_benjamini_hochberg_refuses_nan() -> None:
    with pytest.raises(ValueError, match="nan"):
        benjamini_hochberg([0.1, float("nan")])


def test_rank_p() -> None:
    assert rank_p([0, 3], [9, 9]).tolist() == [0.1, 0.4]
    assert rank_p(0, 0) == 1.0
