"""The ratio of totals: its interval against a bootstrap over documents, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.stats.ratio import ratio


def documents(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Totals of documents of unequal length whose true ratio is .3."""
    size = rng.integers(1, 9, n) * 64.0
    bottom = size * rng.gamma(2.0, 0.05, n)
    return 0.3 * bottom + np.sqrt(size) * rng.normal(0, 0.15, n), bottom


def test_interval_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    top, bottom = documents(rng, 300)
    found = ratio(top[:, None], bottom)
    drawn = rng.integers(0, 300, (4_000, 300))
    low, high = np.quantile(top[drawn].sum(1) / bottom[drawn].sum(1), [0.025, 0.975])
    width = high - low
    assert abs(found.low[0] - low) < 0.06 * width and abs(found.high[0] - high) < 0.06 * width
    without = np.array([(top.sum() - t) / (bottom.sum() - b) for t, b in zip(top, bottom, strict=True)])
    assert found.se[0] == pytest.approx(np.sqrt(299 / 300 * ((without - without.mean()) ** 2).sum()), rel=0.02)  # the jackknife


def test_interval_covers() -> None:
    rng = np.random.default_rng(1)
    draws = [documents(rng, 40) for _ in range(600)]
    found = ratio(np.stack([t for t, _ in draws], 1), np.stack([b for _, b in draws], 1))
    assert 0.92 <= ((found.low <= 0.3) & (found.high >= 0.3)).mean() <= 0.98


def test_edges() -> None:
    b = np.array([1.0, 2.0, 3.0])
    same = ratio(np.stack([b, 0 * b, 0.25 * b], 1), b)
    assert same.value.tolist() == same.low.tolist() == same.high.tolist() == [1.0, 0.0, 0.25]
    assert np.isnan(ratio(b[:, None], 0 * b).value).all()
    one = ratio(b[:1, None], 2 * b[:1])
    assert one.value[0] == 0.5 and np.isnan(one.low[0])
