"""What is counted of a layer on a CPU, in one reading of its activations and, on explain, another by token type.

x [R, U] is a batch as it stands in memory, a row to a token, special tokens included; lists of row numbers say which tokens count. The
innermost loops run over units, so that each becomes vector instructions and the rows stay in the first cache.
Sums are taken in float32 over at most STRETCH tokens and go on in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.compiled import kernel

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
STRETCH = 64
SOME = 32  # units whose tokens are copied together
ZERO, ONE = np.float32(0), np.float32(1)
LARGEST, NORMAL, STEP = np.float32(65504), np.float32(2.0**-14), np.float32(0.5)  # of float16: the largest, the least with all digits; see `halves`
STEP_BITS = int(STEP.view(np.int32))
NOBODY = np.iinfo(np.int64).max  # the id of an empty place


@kernel
def look(x: Floats32, at: Ints, window: Ints, pivot: Floats32, total: Floats, square: Floats, high: Floats32, low: Floats32,
         sign: int, a_pivot: Floats32, a_total: Floats, a_square: Floats, fired: Floats, slot: Ints, position: Floats, rest: Floats) -> None:
    """Tokens at[n] of window[n] and slot[n], those of a window one after another.

    Of x, where pivot is not empty: total and square [U] of x - pivot; high and low [B, U] by window. Of a = max(sign x, 0): a_total and a_square [U] of
    a - a_pivot, fired [U], (position, then rest)[slot] [U]. Four tokens at a time, as sums would else be fetched for each; where a window ends sooner,
    the first of them stands in for those that are missing, with a weight of 0, and their positions are spare ones.
    """
    units, n, length, s = x.shape[1], len(at), len(position), np.float32(sign)
    s1, s2, a1, a2 = np.zeros(units, np.float32), np.zeros(units, np.float32), np.zeros(units, np.float32), np.zeros(units, np.float32)
    count, spare = np.zeros(units, np.float32), np.zeros((3, units), np.float32)
    every = np.zeros((slot.max() + 1 if n else 0, units), np.float32)
    for begin in range(0, n, STRETCH):
        end, i = min(begin + STRETCH, n), begin
        while i < end:
            here, m = window[i], 1
            while m < 4 and i + m < end and window[i + m] == here:
                m += 1
            w1, w2, w3 = ONE if m > 1 else ZERO, ONE if m > 2 else ZERO, ONE if m > 3 else ZERO
            v0, v1, v2, v3 = x[at[i]], x[at[i + 1 if m > 1 else i]], x[at[i + 2 if m > 2 else i]], x[at[i + 3 if m > 3 else i]]
            if len(pivot):
                top, bottom = high[here], low[here]
                for u in range(units):
                    d0, d1, d2, d3, p, most, least = v0[u], v1[u], v2[u], v3[u], pivot[u], top[u], bottom[u]
                    most = d0 if d0 > most else most  # one after another: what is no number is passed over
                    most = d1 if d1 > most else most
                    most = d2 if d2 > most else most
                    top[u] = d3 if d3 > most else most
                    least = d0 if d0 < least else least
                    least = d1 if d1 < least else least
                    least = d2 if d2 < least else least
                    bottom[u] = d3 if d3 < least else least
                    d0, d1, d2, d3 = d0 - p, w1 * (d1 - p), w2 * (d2 - p), w3 * (d3 - p)
                    s1[u] += (d0 + d1) + (d2 + d3)
                    s2[u] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            e0, e1 = every[slot[i]], every[slot[i + 1]] if m > 1 else spare[0]
            e2, e3 = every[slot[i + 2]] if m > 2 else spare[1], every[slot[i + 3]] if m > 3 else spare[2]
            for u in range(units):
                d0, d1, d2, d3, p = s * v0[u], s * v1[u], s * v2[u], s * v3[u], a_pivot[u]
                count[u] += ((ONE if d0 > ZERO else ZERO) + (w1 if d1 > ZERO else ZERO)) + (
                    (w2 if d2 > ZERO else ZERO) + (w3 if d3 > ZERO else ZERO))
                d0, d1, d2, d3 = _over(d0), _over(d1), _over(d2), _over(d3)
                e0[u] += d0
                e1[u] += d1
                e2[u] += d2
                e3[u] += d3
                d0, d1, d2, d3 = d0 - p, w1 * (d1 - p), w2 * (d2 - p), w3 * (d3 - p)
                a1[u] += (d0 + d1) + (d2 + d3)
                a2[u] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            i += m
        if len(pivot):
            _pour(s1, total)
            _pour(s2, square)
        _pour(a1, a_total)
        _pour(a2, a_square)
        _pour(count, fired)
    for t in range(len(every)):
        _pour(every[t], position[t] if t < length else rest[t - length])


@kernel
def add_types(x: Floats32, at: Ints, kind: Ints, alone: Bools, sign: int, a_pivot: Floats32, table: Floats32, alone_square: Floats) -> None:
    """Tokens at[n], those of one kind[n] (row of the table) one after another. Of a = max(sign x, 0): table[kind] [U] and, of tokens that are alone[n],
    alone_square [U] of a - a_pivot. Four tokens at a time, as in `look`; most kinds have one in a batch, which goes straight to the table."""
    units, n, s, i = x.shape[1], len(at), np.float32(sign), 0
    same = np.zeros(units, np.float32)
    while i < n:
        m, c = 1, np.uint64(kind[i])
        while m < 4 and i + m < n and kind[i + m] == kind[i]:
            m += 1
        begins, ends = i == 0 or kind[i - 1] != kind[i], i + m == n or kind[i + m] != kind[i]
        r0, r1, r2, r3 = _row(at, i, 0, m), _row(at, i, 1, m), _row(at, i, 2, m), _row(at, i, 3, m)
        w1, w2, w3 = ONE if m > 1 else ZERO, ONE if m > 2 else ZERO, ONE if m > 3 else ZERO
        if m == 1 and begins and ends:
            for u in range(units):
                table[c, u] += _over(s * x[r0, u])
        else:
            for u in range(units):
                same[u] += (_over(s * x[r0, u]) + w1 * _over(s * x[r1, u])) + (w2 * _over(s * x[r2, u]) + w3 * _over(s * x[r3, u]))
            for u in range(units if ends else 0):
                table[c, u] += same[u]
                same[u] = ZERO
        for k in range(m if alone[i] else 0):
            r = np.uint64(at[i + k])
            for u in range(units):
                d = np.float64(_over(s * x[r, u]) - a_pivot[u])
                alone_square[u] += d * d
        i += m


@kernel
def _row(at: Ints, i: Any, k: Any, m: Any) -> Any:
    """The k-th of m tokens from i on; the first in place of one that is missing."""
    return np.uint64(at[i + k if k < m else i])


@kernel
def _over(v: Any) -> Any:
    return v if v > ZERO else ZERO


@kernel
def _pour(some: Floats32, total: Floats) -> None:
    for u in range(len(some)):
        total[u] += some[u]
        some[u] = ZERO


@kernel
def spread(x: Floats32, at: Ints, window: Ints, sign: int, mean: Floats32, high: Floats32, square: Floats32) -> None:
    """Select and test: high [B, U] the largest a = max(sign x, 0) of each window, square [B, U] its sum of (a - mean)^2. Tokens as in `look`, but eight
    at a time: there is so little to do for each that the rows of high and square would be most of it."""
    units, n, s, i = x.shape[1], len(at), np.float32(sign), 0
    while i < n:
        m, b = 1, np.uint64(window[i])
        while m < 8 and i + m < n and window[i + m] == window[i]:
            m += 1
        r0, r1, r2, r3 = _row(at, i, 0, m), _row(at, i, 1, m), _row(at, i, 2, m), _row(at, i, 3, m)
        r4, r5, r6, r7 = _row(at, i, 4, m), _row(at, i, 5, m), _row(at, i, 6, m), _row(at, i, 7, m)
        w1, w2, w3, w4 = ONE if m > 1 else ZERO, ONE if m > 2 else ZERO, ONE if m > 3 else ZERO, ONE if m > 4 else ZERO
        w5, w6, w7 = ONE if m > 5 else ZERO, ONE if m > 6 else ZERO, ONE if m > 7 else ZERO
        for u in range(units):
            p, d0, d1, d2, d3 = mean[u], _over(s * x[r0, u]), _over(s * x[r1, u]), _over(s * x[r2, u]), _over(s * x[r3, u])
            d4, d5, d6, d7 = _over(s * x[r4, u]), _over(s * x[r5, u]), _over(s * x[r6, u]), _over(s * x[r7, u])
            high[b, u] = max(high[b, u], max(max(max(d0, d1), max(d2, d3)), max(max(d4, d5), max(d6, d7))))
            d0, d1, d2, d3 = d0 - p, w1 * (d1 - p), w2 * (d2 - p), w3 * (d3 - p)
            d4, d5, d6, d7 = w4 * (d4 - p), w5 * (d5 - p), w6 * (d6 - p), w7 * (d7 - p)
            square[b, u] += ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7))
        i += m


@kernel
def keep(value: Floats32, ids: Ints, x: Floats32, first: Ints, length: int, sign: int, special: Bools,
         kept: Floats32, kept_id: Ints, rows: Floats32, bar: Floats32, worst: Ints) -> None:
    """Windows with value [B, C] and ids [B] enter the K best of each cell, with a of their tokens: rows first[b] to first[b] + length of x.

    kept and kept_id [C, K], rows [C, K, T]; bar [C] what a value must reach, worst [C] the place that goes next. special [B, length] tokens
    have a = 0.
    """
    cells = value.shape[1]
    cell, place, good = np.empty(cells, np.int64), np.empty(cells, np.int64), np.empty(cells, np.float32)
    for b in range(len(ids)):
        n = 0
        for c in range(cells):
            if value[b, c] >= bar[c]:
                cell[n], good[n] = c, value[b, c]
                n += 1
        n = _enter(good, ids[b], cell[:n], place, kept, kept_id, bar, worst)
        if rows.shape[2]:
            _copy(x, first[b], length, sign, special, b, cell[:n], place, rows)


@kernel
def stratify(peak: Floats32, scale: Floats32, near: Floats32, ids: Ints, x: Floats32, first: Ints, length: int, sign: int, special: Bools,
             count: Ints, kept: Floats32, kept_id: Ints, rows: Floats32, bar: Floats32, worst: Ints) -> None:
    """The same for the strata of peak * scale [B, U] (cell = stratum * U + unit), which are counted; the value is near [B], however large the peak."""
    units = peak.shape[1]
    last = np.float32(len(count) // units - 1)
    cell, place, good = np.empty(units, np.int64), np.empty(units, np.int64), np.empty(units, np.float32)
    for b in range(len(ids)):
        good[:], n = near[b], 0
        for u in range(units):
            tenth = peak[b, u] * scale[u]
            tenth = tenth if tenth > ZERO else ZERO
            tenth = tenth if tenth < last else last
            c = np.int64(tenth) * units + u
            count[c] += 1
            if near[b] >= bar[c]:
                cell[n] = c
                n += 1
        n = _enter(good, ids[b], cell[:n], place, kept, kept_id, bar, worst)
        _copy(x, first[b], length, sign, special, b, cell[:n], place, rows)


@kernel
def outline(rows: Floats32, length: NDArray[np.int32], largest: Floats32, position: NDArray[np.int32]) -> None:
    """Of rows [N, T] >= 0 that end where only nan follows: how long each is, its largest value and where that first stands (-1 and 0 in an empty row)."""
    for i in range(len(rows)):
        row = rows[i]
        end, top, where = 0, np.float32(-1), 0
        for t in range(len(row)):
            if row[t] == row[t]:
                end = t + 1
            if row[t] > top:
                top, where = row[t], t
        length[i], largest[i], position[i] = end, top, where


@kernel
def halves(table: Floats32, count: Ints, half: NDArray[np.uint16]) -> None:
    """table / count [R, U], which is >= 0, as the bits of float16: the nearest, of two as near the even one, and at most the largest that is finite.
    numpy converts number by number."""
    units = table.shape[1]
    mean, moved = np.empty(units, np.float32), np.empty(units, np.float32)
    bits, small = mean.view(np.int32), moved.view(np.int32)
    for r in range(len(count)):
        sums, out, n = table[r], half[r], np.float32(count[r])
        for u in range(units):
            m = sums[u] / n
            mean[u] = m if m < LARGEST else LARGEST
            moved[u] = mean[u] + STEP  # below NORMAL the steps of float16 are as wide as those of a float32 from here on
        for u in range(units):
            large = (bits[u] - (112 << 23) + 0xFFF + ((bits[u] >> 13) & 1)) >> 13  # the bias is less by 112, the digits by 13
            out[u] = large if mean[u] >= NORMAL else small[u] - STEP_BITS


@kernel
def between(table: Floats32, count: Ints, pivot: Floats, total: Floats) -> None:
    """total [U] of n (mean - pivot)^2 of the types that were seen at least twice: table [R, U] sums over count [R] tokens."""
    some = np.zeros(len(total))
    for r in range(len(count)):
        if count[r] > 1:
            sums, n = table[r], np.float64(count[r])
            for u in range(len(total)):
                d = np.float64(sums[u]) / n - pivot[u]
                some[u] += d * d * n
    for u in range(len(total)):
        total[u] += some[u]


@kernel
def strongest(table: Floats32, row: Ints, count: Ints, least: int, value: Floats32, found: Ints) -> None:
    """Rows of table [R, U], one for each of row [R] and count [R] >= least, enter the n largest of table / count: value and found [n, U], the largest
    first. Of equal ones the first stays before the others; what is not above 0 is not among them where value begins at 0."""
    last = len(value) - 1
    for r in range(len(row)):
        if count[r] < least:
            continue
        sums, n, bar = table[r], np.float32(count[r]), value[last]
        for u in range(table.shape[1]):
            mean = sums[u] / n
            if mean > bar[u]:
                k = last
                while k > 0 and mean > value[k - 1, u]:
                    value[k, u], found[k, u] = value[k - 1, u], found[k - 1, u]
                    k -= 1
                value[k, u], found[k, u] = mean, row[r]


@kernel
def _enter(value: Floats32, number: Any, cell: Ints, place: Ints, kept: Floats32, kept_id: Ints, bar: Floats32, worst: Ints) -> Any:
    """value[i] of one window enters cell[i] for every i, but where the cell holds better ones: larger, or as large with a smaller id. How many do; these
    and the places that they get are the first of cell and place. No array is made on the way: a slice of one costs as much as all else."""
    bits, n = kept.view(np.int32), 0  # floats >= 0 compare as their bits do, and a least integer is found by vector instructions
    for i in range(len(cell)):
        c, v = np.uint64(cell[i]), value[i]
        p = worst[c]
        if v == kept[c, p] and number > kept_id[c, p]:
            continue
        kept[c, p], kept_id[c, p], cell[n], place[n] = v, number, cell[i], p
        n += 1
        if p > 0 and bits[c, p - 1] == 0:  # empty, as `worst` comes down from the last place
            worst[c] = p - 1
            continue
        least = bits[c, 0]
        for k in range(kept.shape[1]):
            least = min(least, bits[c, k])
        w, equal = np.int32(0), np.int32(0)
        for k in range(kept.shape[1]):
            w = max(w, np.int32(k) if bits[c, k] == least else np.int32(0))
            equal += np.int32(bits[c, k] == least)
        for k in range(kept.shape[1] if equal > 1 else 0):
            if bits[c, k] == least and kept_id[c, k] > kept_id[c, w]:
                w = np.int32(k)
        worst[c] = w
        if kept[c, w] > bar[c]:
            bar[c] = kept[c, w]
    return n


@kernel
def _copy(x: Floats32, first: Any, length: Any, sign: Any, special: Bools, b: Any, cell: Ints, place: Ints, rows: Floats32) -> None:
    """a of the tokens of one window, of unit cell[i] % U, to rows[cell[i], place[i]] for every i. Tokens are read one after another and put down in a
    corner of the cache first: a unit's numbers stand on as many pages of memory as it has tokens."""
    s, held, unit = np.float32(sign), np.empty((SOME, length), np.float32), np.empty(SOME, np.uint64)
    for begin in range(0, len(cell), SOME):
        n = min(SOME, len(cell) - begin)
        for i in range(n):
            unit[i] = cell[begin + i] % x.shape[1]
        for t in range(length):
            v = x[first + t]
            for i in range(n):
                a = s * v[unit[i]]
                held[i, t] = a if a > ZERO else ZERO
        if len(special):
            for t in range(length):
                if special[b, t]:
                    held[:n, t] = ZERO
        for i in range(n):
            row = rows[cell[begin + i], place[begin + i]]
            for t in range(length):
                row[t] = held[i, t]
            for t in range(length, len(row)):
                row[t] = np.nan
