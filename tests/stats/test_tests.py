"""AUC with DeLong's interval, permutation tests and Benjamini-Yekutieli, against scipy, scikit-learn and brute force."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import roc_auc_score

from autolabel.stats import benjamini_yekutieli, delong, paired_auc, signs, two_groups


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_auc_is_sklearns_and_its_variance_delongs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.r_[True, True, False, False, rng.random(20) < 0.4]
    z = np.round(rng.normal(size=(24, 3)) + y[:, None], 1)  # ties
    have = delong(z, y)
    for u in range(3):
        x, w = z[y, u], z[~y, u]
        psi = (x[:, None] > w[None, :]) + 0.5 * (x[:, None] == w[None, :])
        assert have.value[u] == pytest.approx(roc_auc_score(y, z[:, u]))
        variance = psi.mean(1).var(ddof=1) / len(x) + psi.mean(0).var(ddof=1) / len(w)
        assert have.se[u] == pytest.approx(np.sqrt(variance), abs=1e-12)
        if 0 < have.value[u] < 1:
            assert 0 <= have.low[u] <= have.value[u] <= have.high[u] <= 1


def test_a_perfect_auc_has_the_exact_bound() -> None:
    z, y = np.r_[np.arange(8), 10 + np.arange(5)].astype(float), np.r_[np.zeros(8), np.ones(5)].astype(bool)
    have = delong(np.stack([z, -z], 1), y)
    assert have.value.tolist() == [1.0, 0.0] and have.high[0] == 1 and have.low[1] == 0
    assert have.low[0] == pytest.approx(scipy_stats.binomtest(5, 5).proportion_ci(method="exact").low)
    assert have.high[1] == pytest.approx(1 - have.low[0])
    assert np.isnan(delong(z, np.ones(13, bool)).value).all()


def test_delong_coverage() -> None:
    rng = np.random.default_rng(0)
    truth = scipy_stats.norm.cdf(1 / np.sqrt(2))
    y = np.r_[np.ones(30), np.zeros(40)].astype(bool)
    have = delong(rng.normal(size=(70, 2000)) + y[:, None], y)
    assert ((have.low <= truth) & (truth <= have.high)).mean() == pytest.approx(0.95, abs=0.02)


def test_the_same_auc_twice_differs_by_nothing() -> None:
    rng = np.random.default_rng(1)
    y = rng.random(60) < 0.5
    one = delong(rng.normal(size=60) + 2 * y, y)
    d = paired_auc(one, one)
    assert (d.value[0], d.low[0], d.high[0]) == (0, 0, 0)
    noise = delong(rng.normal(size=60), y)
    assert paired_auc(one, noise).low[0] > 0


def welch(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(scipy_stats.ttest_ind(z[y], z[~y], equal_var=False).statistic)


def test_permutations_of_two_groups_against_all_of_them() -> None:
    rng = np.random.default_rng(3)
    z, y = rng.normal(size=(10, 3)), np.arange(10) < 5
    z[y, 0] += 1.5
    every = np.array([welch(z, np.isin(np.arange(10), chosen)) for chosen in combinations(range(10), 5)])
    have = two_groups(z, y, np.random.default_rng(0), 20_000)
    np.testing.assert_allclose(np.abs(have.statistic), welch(z, y), rtol=1e-9)
    np.testing.assert_allclose(have.p, (every >= welch(z, y) - 1e-9).mean(0), atol=0.015)
    np.testing.assert_allclose(have.p_max, (every.max(1)[:, None] >= welch(z, y) - 1e-9).mean(0), atol=0.015)


def test_sign_flips_against_all_of_them() -> None:
    d = np.random.default_rng(4).normal(size=(9, 3)) + np.array([0.8, 0, 0])

    def t(x: np.ndarray) -> np.ndarray:
        return np.abs(scipy_stats.ttest_1samp(x, 0).statistic)
    every = np.array([t(d * np.array(s)[:, None]) for s in product([-1, 1], repeat=9)])
    have = signs(d, np.random.default_rng(0), 20_000)
    np.testing.assert_allclose(np.abs(have.statistic), t(d), rtol=1e-9)
    np.testing.assert_allclose(have.p, (every >= t(d) - 1e-9).mean(0), atol=0.015)
    np.testing.assert_allclose(have.p_max, (every.max(1)[:, None] >= t(d) - 1e-9).mean(0), atol=0.015)


def test_strata_take_a_confound_away() -> None:
    rng = np.random.default_rng(5)
    topic = np.repeat([0, 1], 100)
    y = rng.random(200) < np.where(topic == 1, 0.8, 0.2)
    z = 2.0 * topic + rng.normal(size=200)
    assert two_groups(z, y, np.random.default_rng(0), 499).p[0] < 0.01
    assert two_groups(z, y, np.random.default_rng(0), 499, strata=topic).p[0] > 0.05


def test_the_maximum_holds_the_family_wise_error() -> None:
    rng = np.random.default_rng(6)
    shared = rng.normal(size=(400, 30, 1))
    wrong = sum(two_groups((0.5 * shared[k] + rng.normal(size=(30, 20))), np.arange(30) < 12, rng, 99).p_max.min() <= 0.05 for k in range(400))
    assert scipy_stats.binomtest(int(wrong), 400, 0.05, alternative="greater").pvalue > 0.001


def test_a_unit_that_does_not_vary_is_not_found() -> None:
    z = np.stack([np.full(12, 3.0), np.r_[np.zeros(6), np.ones(6)]], 1)
    have = two_groups(z, np.arange(12) >= 6, np.random.default_rng(0), 999)
    assert have.p[0] == 1 and have.statistic[0] == 0 and have.p[1] < 0.02


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_yekutieli_is_scipys(p: list[float]) -> None:
    np.testing.assert_allclose(benjamini_yekutieli(p), scipy_stats.false_discovery_control(p, method="by"), atol=1e-12)
