"""The K best windows do not depend on order, batches or device strategy; sums in one reading are those of plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.neurons import QUANTILES
from autolabel.sampling.best import Best, DenseBest
from autolabel.sampling.moments import Moments
from autolabel.sampling.observe import ExplainSite, Frame
from autolabel.sampling.priority import Priority
from autolabel.sampling.shared import Places, Spool, quantiles
from autolabel.sampling.strata import Strata
from autolabel.sampling.typesums import TypeTable
from autolabel.sampling.work import Content, Work
from autolabel.stats.uniform import uniform
from autolabel.types import Site

CPU = torch.device("cpu")



def content(x, ids, special=None, around=0):
    """Content x [B, T, U], with `around` rows of rubbish before and after every window."""
    b, t, u = x.shape
    whole = np.full((b, t + 2 * around, u), 77, np.float32)
    whole[:, around:around + t] = x
    tokens = np.zeros((b, t), np.int64) if special is None else special.astype(np.int64)
    return Content(torch.from_numpy(whole), slice(around, around + t), Work(ids, tokens, np.array([1])))


def feed(best, x, ids, order, size):
    """x [n, T, cells] in the given order, `size` at a time."""
    for first in range(0, len(order), size):
        rows = order[first:first + size]
        best.add(torch.from_numpy(x[rows].max(1)), content(x[rows], ids[rows], around=first % 2), 1)
    return best.result()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 9), st.booleans())
def test_both_strategies_equal_sorting(seed, n, size, dense):
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, (n, 3, 4)).astype(np.float32)  # few values: ties everywhere
    ids = rng.permutation(n).astype(np.int64) * 7 + 1
    value, got, rows = feed((DenseBest if dense else Best)(4, 3, 5, CPU), x, ids, rng.permutation(n), size)
    for cell in range(4):
        peak = x[:, :, cell].max(1)
        expected = [i for i in np.lexsort((ids, -peak)) if peak[i] > 0][:3]
        assert got[cell, :len(expected)].tolist() == ids[expected].tolist()
        assert value[cell].tolist() == peak[expected].tolist() + [0.0] * (3 - len(expected))
        for k, i in enumerate(expected):
            assert rows[cell, k, :3].tolist() == np.maximum(x[i, :, cell], 0).tolist()
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


def test_strata_agree_between_strategies(monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 4, 3)).astype(np.float32)
    ids = rng.integers(0, 2**62, 60)
    found = []
    for kind in (Best, DenseBest):
        strata = Strata(3, 4, CPU)
        strata.steps(torch.tensor([2.0, 1.0, 0.0]))
        strata.best = kind(30, 2, 4, CPU)
        for first in range(0, 60, 11):
            y = x[first:first + 11]
            here = content(y, ids[first:first + 11])
            if kind is DenseBest:
                monkeypatch.setattr(Content, "on_cpu", False)
            strata.add(torch.from_numpy(y.max(1)), here, 1)
        found.append((strata.counts(), *strata.result()[1:]))
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
    assert moments.n == 640
    assert moments.mean() == pytest.approx(x.astype(np.float64).mean(0), rel=1e-7, abs=1e-8)
    assert np.sqrt(moments.variance()) == pytest.approx(x.astype(np.float64).std(0), rel=1e-5)


def test_moments_pass_over_special_tokens_and_need_no_pivot_near_zero():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 6, 8, 5)).astype(np.float32)
    special = rng.random((4, 6, 8)) < 0.3
    moments = Moments(5, CPU)
    for batch, mask in zip(x, special, strict=True):
        moments.add(torch.from_numpy(batch), torch.from_numpy(np.flatnonzero(~mask)))
    kept = x[~special].astype(np.float64)
    assert not moments.shift
    assert moments.mean() == pytest.approx(kept.mean(0), abs=1e-6)
    assert moments.variance() == pytest.approx(kept.var(0), rel=1e-5)


@pytest.mark.parametrize("special_share", [0, 0.3])
@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("sides", [("+",), ("+", "-")])
def test_explain_counts_what_plain_arithmetic_counts(special_share, on_cpu, sides, monkeypatch, tmp_path):
    """Both ways of counting (kernels, and the operations for accelerators) against float64 over all tokens at once."""
    monkeypatch.setattr(Content, "on_cpu", on_cpu)
    monkeypatch.setattr("autolabel.sampling.observe.best_for", lambda device: Best if on_cpu else DenseBest)
    monkeypatch.setattr("autolabel.sampling.strata.best_for", lambda device: Best if on_cpu else DenseBest)
    rng = np.random.default_rng(5)
    n, length, units, size = 90, 7, 19, 16
    x = rng.normal(size=(n, length, units)).astype(np.float32)
    x[:, :, 3] += 1000  # far from 0
    kinds = np.minimum(rng.geometric(0.25, (n, length)) - 1, 12)
    special = rng.random((n, length)) < special_share
    special[4] = special_share > 0  # a window without any text
    kinds[special] = 99
    ids = rng.permutation(n).astype(np.int64) + 1
    types, count = np.unique(kinds[~special], return_counts=True)
    table = TypeTable.choose(types, count, 100, 1, 11)  # room for 10: the rarest types share the last row
    site = Site("0", 0, "mlp", units, len(sides) == 2)
    frame = Frame(length + 2, CPU, frozenset(ids[[1, 8]].tolist()))
    gathered = ExplainSite(site, frame, table, Spool(tmp_path / "s", Places({}, 0), units, fresh=True))
    gathered.begin({side: torch.ones(units) for side in sides})
    for first in range(0, n, size):
        rows = slice(first, first + size)
        whole = np.full((len(x[rows]), length + 2, units), 77, np.float32)
        whole[:, 1:-1] = x[rows]
        gathered.visit(torch.from_numpy(whole), slice(1, length + 1), Work(ids[rows], kinds[rows], np.array([99]), None, table))
        assert (whole[:, 1:-1] == x[rows]).all()
    kept = x[~special].astype(np.float64)
    assert gathered.moments.n == len(kept)
    assert gathered.moments.mean() == pytest.approx(kept.mean(0), rel=1e-6, abs=1e-6)
    assert np.sqrt(gathered.moments.variance()) == pytest.approx(kept.std(0), rel=1e-4)
    assert (gathered.low.numpy() == kept.min(0)).all() and (gathered.high.numpy() == kept.max(0)).all()
    for side in sides:
        part, sign = gathered.sides[side], 1 if side == "+" else -1
        a = np.maximum(sign * x.astype(np.float64), 0) * ~special[..., None]
        flat = a[~special]
        assert (part.fired.numpy() == (flat > 0).sum(0)).all()
        assert part.moments.mean() == pytest.approx(flat.mean(0), rel=1e-6, abs=1e-6)
        row = table.row(kinds)
        for r in range(len(table) + 1):
            assert part.types.sum[r].numpy() == pytest.approx(a[(row == r) & ~special].sum(0), rel=1e-5, abs=1e-5)
        eligible = table.eligible[row] & ~special
        rest = ~table.eligible[row] & ~special
        assert part.types.position[:length].numpy() == pytest.approx((a * eligible[..., None]).sum(0), rel=1e-5, abs=1e-5)
        assert part.types.rest[:length].numpy() == pytest.approx((a * rest[..., None]).sum(0), rel=1e-5, abs=1e-5)
        assert part.types.position_n[:length].tolist() == eligible.sum(0).tolist()
        assert part.types.rest_n[:length].tolist() == rest.sum(0).tolist()
        alone = a[~table.repeated[row] & ~special] - part.moments.pivots()
        assert part.types.alone_square.numpy() == pytest.approx((alone**2).sum(0), rel=1e-4, abs=1e-5)
        peak = a.max(1)
        value, got, rows = part.records.top.result()
        for u in range(units):
            expected = [i for i in np.lexsort((ids, -peak[:, u])) if peak[i, u] > 0][:20]
            assert got[u, :len(expected)].tolist() == ids[expected].tolist()
            assert (rows[u, :len(expected), :length] == a[expected, :, u].astype(np.float32)).all()
            assert np.isnan(rows[u, :len(expected), length:]).all() and (value[u, len(expected):] == 0).all()
        assert part.strata.counts().sum(0).tolist() == [n] * units
        assert sorted(part.records.random) == sorted(ids[[1, 8]].tolist())


@pytest.mark.parametrize("on_cpu", [True, False])
def test_priority_keeps_the_largest_keys(on_cpu, monkeypatch):
    monkeypatch.setattr(Content, "on_cpu", on_cpu)
    monkeypatch.setattr("autolabel.sampling.priority.best_for", lambda device: Best if on_cpu else DenseBest)
    rng = np.random.default_rng(6)
    n, length, units = 130, 6, 5
    x, special = rng.normal(size=(n, length, units)).astype(np.float32), rng.random((n, length)) < 0.2
    ids, mean = rng.permutation(n).astype(np.int64), rng.random(units)
    priority = Priority(torch.from_numpy(mean), 3, CPU)
    u = uniform(3, ids)
    for first in range(0, n, 25):
        rows = slice(first, first + 25)
        there = Content(torch.from_numpy(x[rows]), slice(None), Work(ids[rows], special[rows].astype(np.int64), np.array([1]), u[rows]))
        peak = priority.add(there, -1)
        a = np.maximum(-x[rows], 0) * ~special[rows][..., None]
        assert (peak.numpy() == a.max(1)).all()
    a = np.maximum(-x.astype(np.float64), 0)
    s = np.sqrt((((a - mean) ** 2) * ~special[..., None]).sum(1))
    got_s, got, key = priority.result()
    for unit in range(units):
        expected = np.argsort(-(s[:, unit] / u))[:64]
        assert set(got[unit].tolist()) == set(ids[expected].tolist())
        assert np.sort(got_s[unit]) == pytest.approx(np.sort(s[expected, unit]), rel=1e-5)
        assert (np.diff(key[unit]) <= 0).all()


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


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 300), st.sampled_from([1, -1]), st.integers(0, 2**32 - 1))
def test_quantiles_are_those_of_sorted_numbers(n, units, sign, seed):
    rng = np.random.default_rng(seed)
    x = rng.choice([0, -0.0, 1e-7, -1e-7, .5, -.5, 3, 65504, -65504], (n, units)).astype(np.float16)  # ties, and the ends of float16
    tau = rng.choice([0, 1e-8, .1, np.nextafter(.5, 0), .5, np.nextafter(.5, 1), 6e4], units)
    a = np.sort(np.maximum(sign * x.astype(np.float64), 0), axis=0)
    q, active = quantiles(x, sign, tau)
    place = np.array(QUANTILES) * (n - 1)
    low, share = np.floor(place).astype(int), place % 1
    assert (q == (a[low].T * (1 - share) + a[np.minimum(low + 1, n - 1)].T * share)).all()
    assert (active == (a > tau).sum(0) / n).all()
