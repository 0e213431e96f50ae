"""Splitting, pursuit, shares and confusion: against brute force, and on sets whose clusters are known."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from autolabel.polysemy import pursuit
from autolabel.polysemy.split import LEAST, likeness, split, two_means
from autolabel.suites.senses import correlation, counted, matched


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def words(rng: np.random.Generator, sizes: list[int], spread: float, d: int = 300) -> np.ndarray:
    """Similarities of words around so many random meanings."""
    parts = [rng.normal(size=d) + spread * rng.normal(size=(n, d)) for n in sizes]
    x = unit(np.concatenate(parts))
    return x @ x.T


def strangers(seed: int):
    rng = np.random.default_rng(seed)

    def draw(b: int, n: int) -> np.ndarray:
        x = unit(rng.normal(size=(b, n, 300)))
        return x @ x.transpose(0, 2, 1)
    return draw


def test_words_of_several_meanings_fall_into_their_clusters() -> None:
    rng = np.random.default_rng(0)
    for sizes in ([6, 5], [7, 5, 4]):
        found = split(words(rng, sizes, 1.0), strangers(1))
        ends = np.cumsum([0, *sizes])
        assert {frozenset(rows.tolist()) for rows in found} == {frozenset(range(a, b)) for a, b in pairwise(ends)}


def test_one_meaning_or_none_is_not_split() -> None:
    rng = np.random.default_rng(2)
    torn = {"one": 0, "none": 0}
    for _ in range(15):
        n = int(rng.integers(6, 20))
        torn["one"] += len(split(words(rng, [n], 1.0), strangers(3))) > 1
        torn["none"] += len(split(words(rng, [1] * n, 1.0), strangers(4))) > 1
    assert torn["one"] <= 1 and torn["none"] <= 3
    assert [r.tolist() for r in split(words(rng, [2, 3], 0.1), strangers(5))] == [[0, 1, 2, 3, 4]]  # fewer than two clusters need
    assert all(len(r) >= LEAST for r in split(words(rng, [9, 1], 0.1), strangers(5)))


def test_two_means_finds_the_best_partition_and_likeness_is_a_mean() -> None:
    rng = np.random.default_rng(6)
    x = unit(rng.normal(size=(8, 5)))
    g = x @ x.T
    half = two_means(g[None], rng)[0]

    def value(h: np.ndarray) -> float:
        return float(np.linalg.norm(x[h].sum(0)) + np.linalg.norm(x[~h].sum(0)))
    best = max(value(np.array(h)) for h in product([False, True], repeat=8))
    assert value(half) == pytest.approx(best)
    within, between = likeness(half[None], g[None])
    pairs = [(i, j) for i in range(8) for j in range(8) if i != j]
    assert within[0] == pytest.approx(np.mean([g[i, j] for i, j in pairs if half[i] == half[j]]))
    assert between[0] == pytest.approx(np.mean([g[i, j] for i, j in pairs if half[i] != half[j]]))


def unit_of(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, and three labels: two true ones that do not overlap, one of noise; 40 documents."""
    kind = rng.choice(4, n, p=[0.8, 0.1, 0.06, 0.04])
    c = np.stack([kind == 1, kind == 2, rng.random(n) < 0.05], 1).astype(float)
    a = np.maximum(2 * c[:, 0] + 1.2 * c[:, 1] + 0.3 * rng.normal(size=n), 0)
    return a, c, np.arange(n) % 40


def test_pursuit_takes_what_adds_something_and_its_gains_are_those_of_r2() -> None:
    rng = np.random.default_rng(7)
    a, c, _ = unit_of(rng, 6000)
    a_select, c_select, group = unit_of(rng, 4000)
    steps = pursuit.pursue(a, c, a_select, c_select, group)
    assert [s.label for s in steps] == [0, 1]
    rest, before = a_select.copy(), a_select.var()
    known = a.copy()
    for s in steps:
        k = s.label
        assert s.beta == pytest.approx(np.cov(known, c[:, k], bias=True)[0, 1] / c[:, k].var())
        known, rest = known - s.beta * c[:, k], rest - s.beta * c_select[:, k]
        assert s.gain == pytest.approx((before - rest.var()) / a_select.var()) and s.low < s.gain < s.high and s.low > 0
        before = rest.var()
    assert not pursuit.pursue(a, c[:, 2:], a_select, c_select[:, 2:], group) and not pursuit.pursue(a, c, a_select * 0, c_select, group)


def test_the_interval_of_the_gain_is_that_of_resampled_documents() -> None:
    rng = np.random.default_rng(8)
    a, c, group = unit_of(rng, 4000)
    step = pursuit.pursue(a, c[:, :1], a, c[:, :1], group)[0]
    gains = []
    for _ in range(300):
        rows = np.concatenate([np.flatnonzero(group == d) for d in rng.integers(0, 40, 40)])
        x, y = a[rows], a[rows] - step.beta * c[rows, 0]
        gains.append((x.var() - y.var()) / x.var())
    assert np.quantile(gains, [0.025, 0.975]) == pytest.approx([step.low, step.high], abs=0.012)


def test_shares_and_the_number_of_senses() -> None:
    a, c = np.array([1.0, 2, 3, 4, 0.1]), np.array([[1.0, 0], [0, 1], [1, 1], [0, 0], [1, 0]])
    assert pursuit.shares(a, c, np.array([1.0, 0.5]), 0.5) == pytest.approx([4 / 10, 2 / 10])
    assert np.isnan(pursuit.shares(a * 0, c, np.ones(2), 0.5)).all()
    assert pursuit.n_eff(np.array([0.3, 0.3])) == pytest.approx(2) and pursuit.n_eff(np.array([0.4, 0.0])) == pytest.approx(1)
    assert np.isnan(pursuit.n_eff(np.zeros(2)))


def test_a_sense_is_real_where_its_label_is_the_best_of_its_own_cluster() -> None:
    rng = np.random.default_rng(9)
    a, c, group = unit_of(rng, 4000)
    owner = np.where(c[:, 0] > 0, 0, np.where(c[:, 1] > 0, 1, -1))
    found = pursuit.confuse(a, c[:, :2], owner, group)
    for k in range(2):
        here = (owner == k) | (owner < 0)
        assert found.rho[k, k] == pytest.approx(np.corrcoef(a[here], c[here, k])[0, 1]) and np.isnan(found.rho[k, 1 - k])
    assert found.real == (True, True)
    whole = np.maximum(c[:, 0], c[:, 1])
    assert pursuit.confuse(a, np.stack([whole, whole], 1), owner, group).real == (False, False)  # one label twice: neither is the better
    assert pursuit.confuse(a, np.stack([c[:, 0], whole], 1), owner, group).real == (False, True)
    assert pursuit.confuse(a, c[:, 2:], np.full(len(a), -1), group).real == (False,)


def test_planted_senses_are_matched_one_to_one() -> None:
    assert matched(np.array([[0.9, 0.8], [0.85, 0.1]])) == 2 and matched(np.array([[0.9], [0.8]])) == 1 and matched(np.zeros((2, 0))) == 0
    assert matched(np.array([[0.4, 0.3], [0.2, 0.49]])) == 0
    assert counted([0, 1, 1, 5, 4]) == "1, 2, 0, 0, 2"
    assert correlation(np.ones(4), np.arange(4.0)) == 0 and correlation(np.arange(4.0), np.arange(4.0)) == pytest.approx(1)
