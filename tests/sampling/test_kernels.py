"""What is counted of a batch: as numpy counts it, where windows end between fours and eights and tokens are left out."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.sampling import kernels

BATCHES = given(st.integers(1, 5), st.integers(1, 21), st.integers(1, 40), st.sampled_from([1, -1]), st.integers(0, 2**32 - 1))


def batch(windows: int, length: int, units: int, seed: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """rng, x [B * T', U] with a token before and after each window, and at, window and position of its tokens that count."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, (windows * (length + 2), units)).astype(np.float32)
    window, position = np.nonzero(rng.random((windows, length)) < .9)
    return rng, x, window * (length + 2) + 1 + position, window, position


@settings(deadline=None)  # the first call compiles
@BATCHES
def test_look_and_add_types(windows: int, length: int, units: int, sign: int, seed: int) -> None:
    rng, x, at, window, position = batch(windows, length, units, seed)
    pivot, a_pivot = rng.random((2, units), np.float32)
    total, square, a_total, a_square, fired, alone_square = np.zeros((6, units))
    high, low = np.full((windows, units), -np.inf, np.float32), np.full((windows, units), np.inf, np.float32)
    by_position, rest = np.zeros((2, length, units))
    slot = position + np.where(rng.random(len(at)) < .2, length, 0)
    kernels.look(x, at, window, pivot, total, square, high, low, sign, a_pivot, a_total, a_square, fired, slot, by_position, rest)
    kind = np.sort(rng.integers(0, 6, len(at)))
    table, order, alone = np.zeros((7, units), np.float32), rng.permutation(len(at)), kind == 3
    kernels.add_types(x, at[order], kind, alone, sign, a_pivot, table, alone_square)
    v = x[at].astype(np.float64)
    a = np.maximum(sign * v, 0)
    for found, want in ((total, (v - pivot).sum(0)), (square, ((v - pivot) ** 2).sum(0)), (a_total, (a - a_pivot).sum(0)),
                        (a_square, ((a - a_pivot) ** 2).sum(0)), (alone_square, ((a[order][alone] - a_pivot) ** 2).sum(0))):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-4)
    assert (fired == (a > 0).sum(0)).all()
    for b in range(windows):
        assert (high[b] == x[at[window == b]].max(0, initial=-np.inf)).all() and (low[b] == x[at[window == b]].min(0, initial=np.inf)).all()
    for t in range(2 * length):
        np.testing.assert_allclose((by_position if t < length else rest)[t % length], a[slot == t].sum(0), rtol=1e-5, atol=1e-6)
    for k in range(7):
        np.testing.assert_allclose(table[k], a[order][kind == k].sum(0), rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@BATCHES
def test_spread(windows: int, length: int, units: int, sign: int, seed: int) -> None:
    rng, x, at, window, _ = batch(windows, length, units, seed)
    mean = rng.random(units, np.float32)
    high, square = np.zeros((2, windows, units), np.float32)
    kernels.spread(x, at, window, sign, mean, high, square)
    a = np.maximum(sign * x[at], np.float32(0))
    for b in range(windows):
        assert (high[b] == a[window == b].max(0, initial=0)).all()
        np.testing.assert_allclose(square[b], ((a[window == b] - mean).astype(np.float64) ** 2).sum(0), rtol=1e-5, atol=1e-6)
