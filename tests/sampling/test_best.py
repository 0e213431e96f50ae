"""The K best windows do not depend on order, batches, spare places or device strategy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.sampling.best import Best
from autolabel.sampling.moments import Moments
from autolabel.sampling.shared import quantiles
from autolabel.sampling.strata import Strata
from autolabel.sampling.work import Content, Work
from autolabel.stats.uniform import uniform

CPU = torch.device("cpu")


class Dense(Best):
    """The strategy of accelerators."""

    lazy = property(lambda self: False)


def feed(best, x, ids, order, size):
    """x [n, T, cells] in the given order, `size` at a time."""
    for first in range(0, len(order), size):
        rows = order[first:first + size]
        y = torch.from_numpy(x[rows])
        best.add(y.amax(1), torch.from_numpy(ids[rows]), lambda b, cell, y=y: y[b, :, cell])
    return best.result()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 9), st.booleans())
def test_both_strategies_equal_sorting(seed, n, size, dense):
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, (n, 3, 4)).astype(np.float32)  # few values: ties everywhere
    ids = rng.permutation(n).astype(np.int64) * 7 + 1
    value, got, rows = feed((Dense if dense else Best)(4, 3, 5, CPU, spare=int(rng.integers(1, 30))), x, ids, rng.permutation(n), size)
    for cell in range(4):
        peak = x[:, :, cell].max(1)
        expected = [i for i in np.lexsort((ids, -peak)) if peak[i] > 0][:3]
        assert got[cell, :len(expected)].tolist() == ids[expected].tolist()
        assert value[cell].tolist() == peak[expected].tolist() + [0.0] * (3 - len(expected))
        for k, i in enumerate(expected):
            assert rows[cell, k, :3].tolist() == x[i, :, cell].tolist()
            assert np.isnan(rows[cell, k, 3:]).all()


def test_state_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    x, ids = rng.random((50, 3, 4)).astype(np.float32), rng.permutation(50)
    whole = feed(Best(4, 3, 3, CPU), x, ids, np.arange(50), 7)
    first = Best(4, 3, 3, CPU)
    feed(first, x, ids, np.arange(21), 7)
    np.savez(tmp_path / "s.npz", **first.state())
    second = Best(4, 3, 3, CPU)
    second.load(dict(np.load(tmp_path / "s.npz")))
    for a, b in zip(feed(second, x, ids, np.arange(21, 50), 7), whole, strict=True):
        assert np.array_equal(a, b)


def test_strata_agree_between_strategies():
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(60, 4, 3)).astype(np.float32))
    ids = torch.from_numpy(rng.integers(0, 2**62, 60))
    found = []
    for kind in (Best, Dense):
        strata = Strata(torch.tensor([2.0, 1.0, 0.0]), 4, CPU)
        strata.best = kind(30, 2, 4, CPU)
        for first in range(0, 60, 11):
            y = x[first:first + 11]
            strata.add(y.amax(1), ids[first:first + 11], lambda b, unit, y=y: y[b, :, unit])
        found.append((strata.counts(), *strata.best.result()[1:]))
    for a, b in zip(*found, strict=True):
        assert np.array_equal(a, b, equal_nan=True)
    assert found[0][0].sum(0).tolist() == [60, 60, 60]


@pytest.mark.parametrize("far", [0, 1000])
def test_moments_keep_their_digits_far_from_zero(far):
    rng = np.random.default_rng(2)
    x = (np.array([far, 0, 1]) + 0.01 * rng.normal(size=(640, 3))).astype(np.float32)
    moments = Moments(3, CPU)
    for first in range(0, 640, 64):
        moments.add(torch.from_numpy(x[first:first + 64].reshape(8, 8, 3)))
        if first % 128:
            moments.settle()  # twice a batch
    assert moments.n == 640
    assert moments.mean() == pytest.approx(x.astype(np.float64).mean(0), rel=1e-7, abs=1e-8)
    assert np.sqrt(moments.variance()) == pytest.approx(x.astype(np.float64).std(0), rel=1e-5)


def test_moments_pass_over_special_tokens_and_need_no_pivot_near_zero():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 6, 8, 5)).astype(np.float32)
    special = rng.random((4, 6, 8)) < 0.3
    moments = Moments(5, CPU)
    for batch, mask in zip(x, special, strict=True):
        moments.add(torch.from_numpy(batch), torch.from_numpy(mask))
        moments.settle()
    kept = x[~special].astype(np.float64)
    assert not moments.shift
    assert moments.mean() == pytest.approx(kept.mean(0), abs=1e-6)
    assert moments.variance() == pytest.approx(kept.var(0), rel=1e-5)


@pytest.mark.parametrize("windows, length, units", [(1, 5, 3), (7, 64, 1536), (33, 13, 700)])
def test_parts_of_a_batch_are_all_of_it_once(windows, length, units):
    x = torch.arange(windows * (length + 2), dtype=torch.float32).view(windows, length + 2, 1).expand(-1, -1, units).contiguous()
    content = Content(x, slice(1, length + 1), Work(np.arange(windows), np.zeros((windows, length), np.int64), np.zeros(0, np.int64)))
    seen = torch.zeros(windows, length)
    for part in content.parts():
        seen[part.windows, part.positions] += part.x[..., 0]
    assert torch.equal(seen, x[:, 1:-1, 0])


def test_uniforms_are_uniform_and_differ_by_seed():
    ids = np.random.default_rng(3).integers(0, 2**63, 20_000)
    u, v = uniform(0, ids), uniform(1, ids)
    assert ((u > 0) & (u <= 1)).all()
    assert np.abs(np.sort(u) - np.linspace(0, 1, len(u))).max() < 1.63 / np.sqrt(len(u))  # Kolmogorov-Smirnov at 1 %
    assert abs(np.corrcoef(u, v)[0, 1]) < 0.03
    assert np.array_equal(u, uniform(0, ids))


def test_quantiles_of_both_sides():
    x = np.random.default_rng(4).normal(size=(999, 4)).astype(np.float16)
    for sign in (1, -1):
        a = np.maximum(sign * x.astype(np.float64), 0)
        q, active = quantiles(x, sign, np.full(4, 0.5))
        assert q == pytest.approx(np.quantile(a, (0.5, 0.75, 0.9, 0.95, 0.99, 0.999), axis=0).T)
        assert active == pytest.approx((a > 0.5).mean(0))
