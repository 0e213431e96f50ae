"""Compiled loops against numpy, where the small world does not reach: long windows, odd widths, both sides, no mass, nothing to add."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from autolabel.scorers import kernels

RNG = np.random.default_rng(0)


def layer(signs: list[int], n: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x with rows in between that are no tokens, rows, signs, and a [n, W] in float64."""
    x = RNG.normal(size=(n + 7, width)).astype(np.float32)
    rows = np.sort(RNG.choice(n + 7, n, replace=False))
    return x, rows, np.array(signs, np.float32), np.concatenate([np.maximum(s * x[rows].astype(np.float64), 0) for s in signs], axis=1)


@pytest.mark.parametrize("signs", [[1], [-1], [1, -1]])
@pytest.mark.parametrize("wanted", [True, False])
def test_units_of_windows_longer_than_what_is_summed_in_float32(signs: list[int], wanted: bool) -> None:
    length, windows, width, strata = 150, 3, 21, 10
    x, rows, s, a = layer(signs, length * windows, width)
    wide = a.shape[1]
    tau, tau99 = np.full(wide, 0.5, np.float32), np.full(wide, 1.5, np.float32)
    scale = np.full(wide, strata / 2.5, np.float32)
    scale[0] = np.inf  # a unit that was silent on explain: whatever it does now is above its largest
    total, square, strong, mass = np.zeros((4, wide)), np.zeros((4, wide)), np.zeros((2, wide)), np.zeros((strata if wanted else 0, wide))
    group, coarse, stratum = np.array([3, 0, 3]), np.array([1, 0, 1]), np.zeros(wide, np.int32)
    for b in range(windows):
        kernels.add_units(x, rows, length, s, tau, tau99, scale, group, coarse, b, total, square, strong, mass, stratum)
    want = [np.zeros_like(y) for y in (total, square, strong, mass)]
    for b, here in enumerate(a.reshape(windows, length, wide)):
        want[0][group[b]] += here.sum(0)
        want[1][group[b]] += (here**2).sum(0)
        want[2][coarse[b]] += (here > tau99).sum(0)
        if wanted:
            place = np.clip(here.max(0).astype(np.float32) * scale, 0, strata - 1).astype(int)
            want[3][place, np.arange(wide)] += np.where(here > tau, here, 0).sum(0)
    for got, expected in zip((total, square, strong, mass), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("signs", [[1], [1, -1]])
def test_products_and_rows_by_slot(signs: list[int]) -> None:
    n, width = 61, 150
    x, rows, s, a = layer(signs, n, width)
    by_kind = sp.random(6, 9, 0.5, format="csr", dtype=np.float32, random_state=1)
    kind = RNG.integers(-1, 6, n)
    total = np.ones((9, a.shape[1]), np.float32)
    kernels.add_kinds(x, rows, s, np.argsort(kind, kind="stable"), kind, by_kind.indptr, by_kind.indices, by_kind.data, total)
    np.testing.assert_allclose(total, 1 + by_kind[kind[kind >= 0]].T @ a[kind >= 0], rtol=1e-4)
    slot, table = RNG.integers(-1, 5, n), np.zeros((5, a.shape[1]), np.float32)
    kernels.add_rows(x, rows, s, np.argsort(slot, kind="stable"), slot, table)
    np.testing.assert_allclose(table, [a[slot == i].sum(0) for i in range(5)], rtol=1e-4, atol=1e-5)


def test_rows_that_are_alike_are_of_one_kind() -> None:
    rows = RNG.integers(0, 3, (4000, 5)) * RNG.integers(0, 2, (4000, 5)) / 2
    matrix = sp.csr_matrix(rows.astype(np.float32))
    kind, first = kernels.alike(matrix.indptr, matrix.indices, matrix.data)
    empty = ~rows.any(1)
    assert (kind[empty] == -1).all() and empty.any() and len(first) == len(np.unique(rows[~empty], axis=0)) == kind.max() + 1
    np.testing.assert_array_equal(rows[first][kind[~empty]], rows[~empty])
    assert (np.diff(first) > 0).all()


def test_what_is_no_number_stays_none() -> None:
    x, rows = np.array([[np.nan, 1.0]], np.float32), np.zeros(1, np.int64)
    out = np.empty((1, 2), np.float32)
    kernels.rectify(x, rows, np.ones(1, np.float32), out)
    assert np.isnan(out[0, 0]) and out[0, 1] == 1
