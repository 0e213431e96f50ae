"""Types with the largest means, by a loop over rows: as sorting them one unit after another finds them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autolabel.sampling import kernels


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_as_sorted(rows: int, units: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 5, rows)
    table = (rng.integers(-2, 4, (rows, units)) * count[:, None]).astype(np.float32)  # equal means are common
    types = np.sort(rng.choice(1000, rows, replace=False))
    value, found = np.zeros((n, units), np.float32), np.full((n, units), -1, np.int64)
    half = rows // 2
    for part in (slice(0, half), slice(half, rows)):
        kernels.strongest(table[part], types[part], count[part], value, found)
    for u in range(units):
        mean = table[:, u] / count.astype(np.float32)
        best = [i for i in np.argsort(-mean, kind="stable") if mean[i] > 0][:n]
        assert found[:, u].tolist() == types[best].tolist() + [-1] * (n - len(best))
        assert value[:len(best), u].tolist() == mean[best].tolist()
