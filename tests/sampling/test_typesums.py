"""What is stored of the sums by type, by loops over rows: as numpy finds it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.sampling import kernels


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_as_sorted(rows: int, units: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 5, rows)
    table = (rng.integers(-2, 4, (rows, units)) * count[:, None]).astype(np.float32)  # equal means are common
    types = np.sort(rng.choice(1000, rows, replace=False))
    value, found = np.zeros((n, units), np.float32), np.full((n, units), -1, np.int64)
    half = rows // 2
    for part in (slice(0, half), slice(half, rows)):
        kernels.strongest(table[part], types[part], count[part], 2, value, found)
    for u in range(units):
        mean = table[:, u] / count.astype(np.float32)
        best = [i for i in np.argsort(-mean, kind="stable") if mean[i] > 0 and count[i] >= 2][:n]
        assert found[:, u].tolist() == types[best].tolist() + [-1] * (n - len(best))
        assert value[:len(best), u].tolist() == mean[best].tolist()


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_half_precision_as_numpy_rounds(rows: int, units: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)  # every one that is finite, and the middle between it and the next
    special = np.concatenate([halves, (halves[:-1] + halves[1:]) / 2, np.float32([65519, 65520, 1e30, np.inf, 2.0**-25, 2.0**-26, 1e-42])])
    mean = np.where(rng.random((rows, units)) < .5, rng.choice(special, (rows, units)), np.exp(rng.uniform(-20, 13, (rows, units)))).astype(np.float32)
    count = rng.choice([1, 2, 3, 4, 7], rows)
    table = mean * count[:, None].astype(np.float32)
    found = np.empty((rows, units), np.float16)
    kernels.halves(table, count, found.view(np.uint16))
    want = np.minimum(table / count[:, None].astype(np.float32), np.float32(65504)).astype(np.float16)
    assert found.tobytes() == want.tobytes()


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_between(rows: int, units: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, table, pivot = rng.integers(1, 5, rows), rng.random((rows, units), np.float32), rng.random(units)
    total = np.ones(units)
    kernels.between(table, count, pivot, total)
    n = count[count > 1, None]
    np.testing.assert_allclose(total, 1 + (n * (table[count > 1] / n.astype(np.float64) - pivot) ** 2).sum(0), rtol=1e-12)
