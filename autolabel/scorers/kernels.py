"""The inner loops of scoring, compiled: what each window of activations adds up to, and sums over tokens by label, by cell and by pattern.

Arrays are C-contiguous. Rows of `a` are tokens, W units each. The innermost loops run along a row and touch few arrays at a time, so that they
become vector instructions while the row stays in the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.compiled import kernel

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Bytes = NDArray[np.uint8]
FLUSH = 64  # tokens that are summed in float32
COLUMNS = 256  # of the activations that are multiplied at a time


@kernel
def window_sums(x: Floats32, stride: int, first: int, length: int, sign: np.float32, tau: Floats32, tau99: Floats32, wanted: bool,
                a: Floats32, left: int, total: Floats, square: Floats, largest: Floats32, positives: Floats32, mass: Floats) -> None:
    """Columns `left` and up of `a` [B * length, W] and of the five sums [B, W] (see windows.py), from x [B * stride, U], whose windows hold
    `length` tokens from row `first` on; a = max(sign * x, 0). tau, tau99 [W]. `wanted`: whether mass is summed, 0 otherwise."""
    right = left + x.shape[1]
    low, high = tau[left:right], tau99[left:right]
    t, s, m = np.empty_like(x[0]), np.empty_like(x[0]), np.empty_like(x[0])
    zero, one = np.float32(0), np.float32(1)
    for window in range(len(total)):
        top, strong = largest[window, left:right], positives[window, left:right]
        top[:] = 0
        strong[:] = 0
        total[window, left:right] = 0
        square[window, left:right] = 0
        mass[window, left:right] = 0
        for begin in range(0, length, FLUSH):
            t[:] = 0
            s[:] = 0
            m[:] = 0
            for token in range(begin, min(begin + FLUSH, length)):
                row, out = x[window * stride + first + token], a[window * length + token, left:right]
                for u in range(len(row)):
                    v = sign * row[u]
                    out[u] = zero if v <= zero else v
                for u in range(len(row)):
                    v = out[u]
                    t[u] += v
                    s[u] += v * v
                for u in range(len(row)):
                    v = out[u]
                    top[u] = v if v > top[u] else top[u]
                for u in range(len(row)):
                    strong[u] += one if out[u] > high[u] else zero
                if wanted:
                    for u in range(len(row)):
                        v = out[u]
                        m[u] += v if v > low[u] else zero
            total[window, left:right] += t
            square[window, left:right] += s
            mass[window, left:right] += m


@kernel
def add_windows(group: Ints, coarse: Ints, total: Floats, square: Floats, positives: Floats32, a: Floats, a2: Floats, hits: Floats) -> None:
    """a[group[b]] += total[b], a2[group[b]] += square[b], hits[coarse[b]] += positives[b] for every window b."""
    for b in range(len(group)):
        for u in range(total.shape[1]):
            a[group[b], u] += total[b, u]
            a2[group[b], u] += square[b, u]
        for u in range(total.shape[1]):
            hits[coarse[b], u] += positives[b, u]


@kernel
def add_mass(coarse: Ints, largest: Floats32, scale: Floats32, mass: Floats, strata: int, total: Floats, stratum: Bytes) -> None:
    """stratum[b, u] = largest * scale cut to 0 .. strata - 1 (0 where that is no number); total[coarse[b] * strata + stratum[b, u], u] += mass[b, u]."""
    for b in range(len(coarse)):
        for u in range(largest.shape[1]):
            x = largest[b, u] * scale[u]
            stratum[b, u] = strata - 1 if x >= strata else np.uint8(x) if x > 0 else 0
            if mass[b, u] > 0:
                total[coarse[b] * strata + stratum[b, u], u] += mass[b, u]


@kernel
def add_levels(a: Floats32, length: int, rows: Ints, start: Ints32, level: Ints32, column: Ints32, sign: float, tau99: Floats32, group: Ints,
               coarse: Ints, first_level: int, by_level: Floats, positives: Floats) -> None:
    """Entries start[r] .. start[r + 1] - 1 of r = rows[i] belong to token i, row i of `a`, in window i // length. Where its unit `column` is above 0
    its activation is added to by_level[group of the window, first_level + level]; where above tau99 [W], `sign` to positives[coarse, ...]."""
    for i in range(len(rows)):
        row, into, hits = a[i], by_level[group[i // length]], positives[coarse[i // length]]
        for e in range(start[rows[i]], start[rows[i] + 1]):
            v = row[column[e]]
            if v > 0:
                into[first_level + level[e]] += sign * v
                if v > tau99[column[e]]:
                    hits[first_level + level[e]] += sign


@kernel
def add_label_mass(a: Floats32, length: int, rows: Ints, start: Ints32, level: Ints32, column: Ints32, sign: float, tau: Floats32, coarse: Ints,
                   strata: int, stratum: Bytes, label: Ints, total: Floats) -> None:
    """The same entries: where the activation is above tau [W] it is added to total[coarse * strata + stratum of window and unit, label of the level]."""
    for i in range(len(rows)):
        b, row = i // length, a[i]
        for e in range(start[rows[i]], start[rows[i] + 1]):
            v = row[column[e]]
            if v > tau[column[e]]:
                total[coarse[b] * strata + stratum[b, column[e]], label[level[e]]] += sign * v


@kernel
def add_rows(a: Floats32, order: Ints, slot: Ints, table: Floats32) -> None:
    """table[slot[i]] += a[i] for every i of `order` that has a slot, not -1: sorted by slot, a row of the table is fetched once."""
    for i in order:
        if slot[i] >= 0:
            row, into = a[i], table[slot[i]]
            for u in range(len(row)):
                into[u] += row[u]


@kernel
def add_product(start: Ints32, index: Ints32, weight: Floats32, first: int, last: int, a: Floats32, total: Floats32) -> None:
    """total[q] += sum of weight[e] a[index[e] - first] over the entries start[q] .. start[q + 1] - 1 with first <= index < last; these ascend.

    A few columns at a time, so that the rows stay in the cache, and four rows at a time, so that sums stay in registers.
    """
    begin, end = np.empty(len(total), np.int64), np.empty(len(total), np.int64)
    for q in range(len(total)):
        mine = index[start[q]:start[q + 1]]
        begin[q], end[q] = start[q] + np.searchsorted(mine, first), start[q] + np.searchsorted(mine, last)
    for left in range(0, a.shape[1], COLUMNS):
        right = min(left + COLUMNS, a.shape[1])
        for q in range(len(total)):
            into = total[q, left:right]
            e = begin[q]
            while e + 4 <= end[q]:
                w0, w1, w2, w3 = weight[e], weight[e + 1], weight[e + 2], weight[e + 3]
                a0, a1 = a[index[e] - first, left:right], a[index[e + 1] - first, left:right]
                a2, a3 = a[index[e + 2] - first, left:right], a[index[e + 3] - first, left:right]
                for u in range(len(into)):
                    into[u] += w0 * a0[u] + w1 * a1[u] + w2 * a2[u] + w3 * a3[u]
                e += 4
            while e < end[q]:
                w0, a0 = weight[e], a[index[e] - first, left:right]
                for u in range(len(into)):
                    into[u] += w0 * a0[u]
                e += 1
