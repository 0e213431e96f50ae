"""Weighted figures of samples against scikit-learn and plain loops; growing samples; what is missing is left out and counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score, f1_score, precision_score, r2_score, recall_score

from autolabel.stats import Budget, Correlation, Sampled, Sums, at_cut, best_cut, correlate, half_width, isotonic_curve, linear, peak, sequential
from autolabel.stats.sampled import by_level, compare, mass_recall, r2, sums
from autolabel.stats.sequential import imprecision


def draw(seed: int, labels: int = 3, tokens: int = 90) -> Sampled:
    rng = np.random.default_rng(seed)
    label = np.sort(rng.integers(0, labels, tokens))
    label[:labels] = np.arange(labels)
    excerpt = rng.integers(0, 12, tokens) + 1000 * label
    c = rng.choice([0.0, 0.0, 0.2, 0.5, 0.9, 1.0], tokens) + rng.choice([0, 0.013], tokens)
    return Sampled(labels, label, (excerpt // 2) * 10**15, excerpt, rng.integers(1, 6, 12 + 1000 * labels)[excerpt].astype(float),
                   np.maximum(rng.normal(size=tokens) + c, 0), c)


def mine(x: Sampled, p: int) -> tuple[np.ndarray, ...]:
    at = x.label == p
    return x.a[at], x.c[at], x.weight[at], x.document[at]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_sums_are_those_of_each_label_alone(seed: int) -> None:
    x = draw(seed)
    have = correlate(sums(x))
    for p in range(3):
        a, c, w, d = mine(x, p)
        group = np.unique(d, return_inverse=True)[1]
        want = correlate(Sums.of(a, c, group, int(group.max()) + 1, w))
        for name in ("rho", "low", "high", "df", "groups"):
            np.testing.assert_allclose(getattr(have, name)[p], getattr(want, name)[0], rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_auprc_and_cut_are_sklearns_with_weights(seed: int) -> None:
    x = draw(seed)
    positive = x.a > 0.8
    levels, tokens, hits = by_level(x, positive)
    top = peak(levels, tokens, hits)
    cut = best_cut(levels, tokens.sum(0), hits.sum(0))
    have = at_cut(levels, tokens.sum(0), hits.sum(0), cut)
    for p in range(3):
        _, c, w, _ = mine(x, p)
        y = positive[x.label == p]
        if not y.any():
            assert np.isnan(top.value[p])
            continue
        assert top.value[p] == pytest.approx(average_precision_score(y, c, sample_weight=w))
        scores = [f1_score(y, c >= v, sample_weight=w, zero_division=0) for v in np.unique(c[c > 0])]
        assert have.f1[p] == pytest.approx(max(scores))
        assert have.precision[p] == pytest.approx(precision_score(y, c >= cut[p], sample_weight=w))
        assert have.recall[p] == pytest.approx(recall_score(y, c >= cut[p], sample_weight=w))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_calibration_and_r2_are_sklearns(seed: int) -> None:
    x = draw(seed, labels=1)
    knots = isotonic_curve(x.c, x.a, x.weight)
    fitted = np.interp(x.c, *knots)
    np.testing.assert_allclose(fitted, IsotonicRegression(out_of_bounds="clip").fit(x.c, x.a, x.weight).predict(x.c), atol=1e-9)
    assert r2(x, fitted)[0] == pytest.approx(r2_score(x.a, fitted, sample_weight=x.weight))
    slope, intercept = linear(sums(x))
    np.testing.assert_allclose([slope[0], intercept[0]], np.polyfit(x.c, x.a, 1, w=np.sqrt(x.weight)), atol=1e-9)


def test_mass_recall_by_hand() -> None:
    x = draw(3)
    cut, tau, top = np.array([0.5, 0.0, np.nan]), np.array([0.2, 0.1, 0.3]), np.array([2.0, 3.0, 1.5])
    all_, strata = mass_recall(x, cut, tau, top)
    for p in range(3):
        total, found = np.zeros(10), np.zeros(10)
        for e in np.unique(x.excerpt[x.label == p]):
            at = x.excerpt == e
            k = min(9, int(x.a[at].max() / (top[p] / 10)))
            for a, c, w in zip(x.a[at], x.c[at], x.weight[at], strict=True):
                if a > tau[p]:
                    total[k] += w * a
                    found[k] += w * a * (c > 0 and (np.isnan(cut[p]) or c >= cut[p]))
        assert all_[p] == pytest.approx(found.sum() / total.sum())
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(strata[p], np.where(total > 0, found / total, np.nan))


def test_tokens_without_a_value_are_left_out_and_counted() -> None:
    x = draw(4)
    gone = np.random.default_rng(0).random(len(x.c)) < 0.2
    holed = x.with_strength(np.where(gone, np.nan, x.c))
    kept = Sampled(3, *(v[~gone] for v in (x.label, x.document, x.excerpt, x.weight, x.a, x.c)))
    np.testing.assert_allclose(correlate(sums(holed)).rho, correlate(sums(kept)).rho)
    assert holed.missing.tolist() == np.bincount(x.label[gone], minlength=3).tolist() and x.missing.sum() == 0
    levels, tokens, _ = by_level(holed, x.a > 1)
    assert levels.per_label(tokens.sum(0)) == pytest.approx(np.bincount(kept.label, kept.weight))


def test_a_label_with_no_tokens_has_no_score() -> None:
    x = Sampled(2, np.zeros(4, np.int64), np.arange(4), np.arange(4), np.ones(4), np.array([0, 1, 2, 0.0]), np.array([0, 1, 1, 0.0]))
    r = correlate(sums(x))
    assert r.rho[0] > 0.8 and np.isnan(r.rho[1]) and x.n_excerpts.tolist() == [4, 0]


def test_compare_is_paired() -> None:
    x = draw(5, labels=1, tokens=400)
    half = np.where(np.random.default_rng(1).random(400) < 0.5, 0, x.c)
    d = compare(x, x.c, half)
    rho = [np.cov(x.a, c, aweights=x.weight, ddof=0) for c in (x.c, half)]
    want = [m[0, 1] / np.sqrt(m[0, 0] * m[1, 1]) for m in rho]
    assert d.value[0] == pytest.approx(want[0] - want[1]) and d.low[0] < d.value[0] < d.high[0]


def correlations(half: np.ndarray, df: float = 30.0) -> Correlation:
    k = len(half)
    flat = np.zeros(k, bool)
    return Correlation(np.full(k, 0.4), 0.4 - half, 0.4 + half, half / 2, np.full(k, df), np.full(k, df + 1), flat, flat)


def test_samples_grow_until_they_are_precise() -> None:
    seen: list[tuple[list[int], int, float]] = []
    need = np.array([40, 70, 500, 120])

    def measure(labels: np.ndarray, n: int, confidence: float) -> Correlation:
        seen.append((labels.tolist(), n, confidence))
        return correlations(np.where(n >= need[labels], 0.1, 0.2))
    grown = sequential(measure, 4, Budget())
    assert grown.n.tolist() == [40, 72, 120, 120] and grown.looks.tolist() == [1, 3, 6, 6]
    assert [n for _, n, _ in seen] == [40, 56, 72, 88, 104, 120] and seen[1][0] == [1, 2, 3] and seen[3][0] == [2, 3]
    assert {c for *_, c in seen} == {0.97} and Budget(40, 16, 40).confidence == 0.95
    assert [bool(why) for why in imprecision(grown.result)] == [False, False, True, False]
    assert half_width(grown.result).tolist() == pytest.approx([0.1, 0.1, 0.2, 0.1])
    assert all("degrees of freedom" in str(w) for w in imprecision(correlations(np.full(2, 0.1), df=4)))


def test_a_budget_that_is_none() -> None:
    with pytest.raises(ValueError, match="is none"):
        Budget(50, 16, 40)
