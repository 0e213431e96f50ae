"""rho and peak from sums equal the same figures from tokens."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from autolabel.explainers.excess import top
from autolabel.explainers.objective import LEVELS, empty, level_of, peak, rho


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 200))
def test_sums_equal_tokens(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.random((n, 3)).astype(np.float32) ** 4
    strong = (a > .5).astype(np.float32)
    first, second = rng.integers(0, len(LEVELS), (2, n, 3)).astype(np.uint8)
    second = np.maximum(first, second)
    sums = empty(n, a.mean(0), a.std(0), strong.sum(0))
    unit, token = (x.ravel() for x in np.meshgrid(np.arange(3), np.arange(n)))
    ones = np.ones(3 * n, np.float32)
    for before, after in ((np.zeros_like(first), first), (first, second)):
        sums = sums.add(unit, before[token, unit], after[token, unit], ones, a[token, unit], strong[token, unit])
    c = LEVELS[second]
    for u in range(3):
        expected = np.corrcoef(a[:, u], c[:, u])[0, 1] if c[:, u].std() > 0 else 0
        assert abs(rho(sums)[u] - expected) < 1e-4
        if strong[:, u].any():
            assert abs(peak(sums)[u] - average_precision_score(strong[:, u], c[:, u])) < 1e-5
        else:
            assert peak(sums)[u] == 0


def test_levels_are_nearest_by_ratio() -> None:
    assert LEVELS[level_of(np.array([0, .05, .1, .19, .21, .5, .7, .9, 1, 3], np.float32))].tolist() == LEVELS[[0, 0, 1, 2, 2, 4, 4, 5, 5, 5]].tolist()


def test_top_is_sorted_and_breaks_ties_by_row() -> None:
    z = np.array([[1, 5], [3, 5], [3, 1], [2, 5]], np.float32)
    assert top(z, 3).T.tolist() == [[1, 2, 3], [0, 1, 3]]
    assert top(z, 9).shape == (4, 2) and top(z[:0], 3).shape == (0, 2)
