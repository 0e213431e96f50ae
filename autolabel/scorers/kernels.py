"""The inner loops of scoring, compiled: what the windows of a batch add up to, by unit, by level of a label, by cell and by pattern.

What a model gave is read where it lies, x [R, U], and rectified on the way: unit w = k * U + u of W is neuron u on the k-th side,
a = max(signs[k] * x[:, u], 0); token i of a batch is row rows[i]. Arrays are C-contiguous. The innermost loops run along a row and touch few
arrays at a time, so that they become vector instructions while the row stays in the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.compiled import kernel

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
FLUSH = 64  # tokens that are summed in float32
COLUMNS = 128  # of the activations that are multiplied at a time: those of a batch fit a core's own cache


@kernel
def rectify(x: Floats32, rows: Ints, signs: Floats32, out: Floats32) -> None:
    """out [n, W] = a."""
    width, zero = x.shape[1], np.float32(0)
    for i in range(len(rows)):
        row = x[rows[i]]
        for k in range(len(signs)):
            into, sign = out[i, k * width:(k + 1) * width], signs[k]
            for u in range(width):
                v = sign * row[u]
                into[u] = zero if v <= zero else v


@kernel
def add_window(x: Floats32, rows: Ints, sign: np.float32, tau: Floats32, tau99: Floats32, total: Floats, square: Floats, mass: Floats,
               largest: Floats32, strong: Floats32) -> None:
    """Of the tokens `rows` of one window and one side, all arrays [U]: sums of a and a^2 are added to `total` and `square`, that of a above tau to
    `mass` (where that has a length); the largest a and the number above tau99 are written."""
    a, t, s, m = np.empty_like(tau), np.empty_like(tau), np.empty_like(tau), np.empty_like(tau)
    zero, one = np.float32(0), np.float32(1)
    largest[:] = 0
    strong[:] = 0
    for begin in range(0, len(rows), FLUSH):
        t[:] = 0
        s[:] = 0
        m[:] = 0
        for i in range(begin, min(begin + FLUSH, len(rows))):
            row = x[rows[i]]
            for u in range(len(a)):
                v = sign * row[u]
                a[u] = zero if v <= zero else v
            for u in range(len(a)):
                v = a[u]
                t[u] += v
                s[u] += v * v
            for u in range(len(a)):
                v = a[u]
                largest[u] = v if v > largest[u] else largest[u]
            for u in range(len(a)):
                strong[u] += one if a[u] > tau99[u] else zero
            if len(mass):
                for u in range(len(a)):
                    v = a[u]
                    m[u] += v if v > tau[u] else zero
        total += t
        square += s
        if len(mass):
            mass += m


@kernel
def add_units(x: Floats32, rows: Ints, length: int, signs: Floats32, tau: Floats32, tau99: Floats32, scale: Floats32, group: Ints, coarse: Ints,
              strata: int, window: int, total: Floats, square: Floats, strong: Floats, mass: Floats, stratum: Ints32) -> None:
    """One window: rows [length] of `total` [groups, W], `square` and `strong` [coarse, W], and `mass` [coarse * strata, W] by the stratum of its
    largest activation, largest * scale cut to 0 .. strata - 1 (0 where that is no number). mass [0, W]: nobody asked."""
    width = x.shape[1]
    largest, hits, here = np.empty(width, np.float32), np.empty(width, np.float32), np.zeros(width if len(mass) else 0)
    g, c, mine = group[window], coarse[window], rows[window * length:(window + 1) * length]
    for k in range(len(signs)):
        left, right = k * width, (k + 1) * width
        here[:] = 0
        add_window(x, mine, signs[k], tau[left:right], tau99[left:right], total[g, left:right], square[g, left:right], here, largest, hits)
        strong[c, left:right] += hits
        if len(mass):
            for u in range(width):
                place = largest[u] * scale[left + u]
                stratum[left + u] = strata - 1 if place >= strata else np.int32(place) if place > 0 else 0
            for u in range(width):
                if here[u] > 0:
                    mass[c * strata + stratum[left + u], left + u] += here[u]


@kernel
def add_entries(row: Floats32, signs: Floats32, level: Ints32, column: Ints32, once: float, low: Floats32, tau: Floats32, tau99: Floats32,
                tokens: Floats32, total: Floats, strong: Floats, mass: Floats, stratum: Ints32, label: Ints) -> None:
    """Entries (level, unit) of one token, `once` each: tokens, sums of a and tokens above tau99 by level; sums of a above tau by stratum and label."""
    width = len(row)
    for e in range(len(level)):
        w, at = column[e], level[e]
        v = signs[0] * row[w] if w < width else signs[1] * row[w - width]
        tokens[at] += once
        total[at] += once * v if v > 0 else 0.0
        if v > low[w]:  # the lower of tau and tau99: few are
            if v > tau99[w]:
                strong[at] += once
            if v > tau[w] and len(mass):
                mass[stratum[w], label[at]] += once * v


@kernel
def own_sums(x: Floats32, rows: Ints, length: int, signs: Floats32, tau: Floats32, tau99: Floats32, scale: Floats32, group: Ints, coarse: Ints,
             strata: int, total: Floats, square: Floats, strong: Floats, mass: Floats, cell: Ints, first: int,
             cell_start: Ints32, cell_level: Ints32, cell_column: Ints32, added_start: Ints32, added_level: Ints32, added_column: Ints32,
             taken_start: Ints32, taken_level: Ints32, taken_column: Ints32, first_level: int, last_level: int, label: Ints,
             tokens_by_level: Floats32, total_by_level: Floats, strong_by_level: Floats, mass_by_label: Floats) -> None:
    """All that OwnSums (own.py) counts of one layer of a batch of windows of `length` tokens, a window at a time, as it stays in the cache.

    cell [n]: of each token; first: the number of the first token in its chunk. The entries of a token are those of its cell, those that context
    adds, and those that it takes back. first_level, last_level: where the levels of the layer stand among all.
    """
    low = np.minimum(tau, tau99)
    stratum = np.zeros(len(tau), np.int32)
    for b in range(len(group)):
        add_units(x, rows, length, signs, tau, tau99, scale, group, coarse, strata, b, total, square, strong, mass, stratum)
        tokens, sums = tokens_by_level[group[b], first_level:last_level], total_by_level[group[b], first_level:last_level]
        hits = strong_by_level[coarse[b], first_level:last_level]
        by_stratum = mass_by_label[coarse[b] * strata:(coarse[b] + 1) * strata] if len(mass) else mass_by_label[:0]
        for i in range(b * length, (b + 1) * length):
            row, c, t = x[rows[i]], cell[i], first + i
            p, q = cell_start[c], cell_start[c + 1]
            add_entries(row, signs, cell_level[p:q], cell_column[p:q], 1.0, low, tau, tau99, tokens, sums, hits, by_stratum, stratum, label)
            p, q = added_start[t], added_start[t + 1]
            add_entries(row, signs, added_level[p:q], added_column[p:q], 1.0, low, tau, tau99, tokens, sums, hits, by_stratum, stratum, label)
            p, q = taken_start[t], taken_start[t + 1]
            add_entries(row, signs, taken_level[p:q], taken_column[p:q], -1.0, low, tau, tau99, tokens, sums, hits, by_stratum, stratum, label)


@kernel
def add_rows(x: Floats32, rows: Ints, signs: Floats32, order: Ints, slot: Ints, table: Floats32) -> None:
    """table[slot[i]] += a of token i, for every i of `order` that has a slot, not -1: sorted by slot, a row of the table is fetched once."""
    width, zero = x.shape[1], np.float32(0)
    for i in order:
        if slot[i] < 0:
            continue
        row = x[rows[i]]
        for k in range(len(signs)):
            into, sign = table[slot[i], k * width:(k + 1) * width], signs[k]
            for u in range(width):
                v = sign * row[u]
                into[u] += zero if v <= zero else v


@kernel
def add_product(start: Ints32, index: Ints32, weight: Floats32, first: int, x: Floats32, rows: Ints, signs: Floats32, total: Floats32) -> None:
    """total[q] += sum of weight[e] times a of token index[e] - first, over the entries start[q] .. start[q + 1] - 1 of tokens of this batch;
    they ascend. A few columns at a time, which are rectified once, and four tokens at a time."""
    begin, end = np.empty(len(total), np.int64), np.empty(len(total), np.int64)
    for q in range(len(total)):
        mine = index[start[q]:start[q + 1]]
        begin[q], end[q] = start[q] + np.searchsorted(mine, first), start[q] + np.searchsorted(mine, first + len(rows))
    tile, width, zero = np.empty((len(rows), COLUMNS), np.float32), x.shape[1], np.float32(0)
    for k in range(len(signs)):
        for left in range(0, width, COLUMNS):
            n = min(COLUMNS, width - left)
            for i in range(len(rows)):
                row, into, sign = x[rows[i], left:left + n], tile[i], signs[k]
                for u in range(n):
                    v = sign * row[u]
                    into[u] = zero if v <= zero else v
            for q in range(len(total)):
                into, e = total[q, k * width + left:k * width + left + n], begin[q]
                while e + 4 <= end[q]:
                    w0, w1, w2, w3 = weight[e], weight[e + 1], weight[e + 2], weight[e + 3]
                    a0, a1, a2, a3 = tile[index[e] - first], tile[index[e + 1] - first], tile[index[e + 2] - first], tile[index[e + 3] - first]
                    for u in range(n):
                        into[u] += w0 * a0[u] + w1 * a1[u] + w2 * a2[u] + w3 * a3[u]
                    e += 4
                while e < end[q]:
                    w0, a0 = weight[e], tile[index[e] - first]
                    for u in range(n):
                        into[u] += w0 * a0[u]
                    e += 1


@kernel
def fired_groups(tokens: Floats32, first_level: int, first: Ints) -> Ints:
    """[P] in how many rows of `tokens` [groups, levels] the levels first_level + first[p] .. first_level + first[p + 1] - 1 have a token."""
    out = np.zeros(len(first) - 1, np.int64)
    for g in range(len(tokens)):
        for p in range(len(out)):
            for at in range(first_level + first[p], first_level + first[p + 1]):
                if tokens[g, at] > 0.5:
                    out[p] += 1
                    break
    return out


@kernel
def level_sums(tokens: Floats32, total: Floats, value: Floats, first: Ints, begin: int, end: int, c: Floats, c2: Floats, ac: Floats) -> None:
    """Rows begin .. end - 1 of c, c2 and ac [groups, P]: sums over the levels first[p] .. first[p + 1] - 1 of a label of their strength, and of its
    square, times their tokens, and of their strength times their sum of a."""
    for g in range(begin, end):
        for p in range(len(first) - 1):
            x, y, z = 0.0, 0.0, 0.0
            for at in range(first[p], first[p + 1]):
                x += tokens[g, at] * value[at]
                y += tokens[g, at] * value[at] * value[at]
                z += total[g, at] * value[at]
            c[g, p], c2[g, p], ac[g, p] = x, y, z


@kernel
def foreign_ranks(ac: Floats, n: float, mc: Floats, sc: Floats, ma: Floats, sa: Floats, which: Ints, column: Ints, left: Ints, right: Ints,
                  rho: Floats) -> tuple[Ints, Ints, Ints]:
    """Of P labels, pattern which[p] on unit column[p], with rho[p]: on how many other units the pattern correlates as well (nan: not), on how many
    of the columns left[p] .. right[p] - 1, and how many labels of other units do on this one.

    ac [Q, W]: sums over n tokens of c a; mc, sc [Q] and ma, sa [W] means and standard deviations, nan where there is no correlation.
    """
    beaten, within, better = np.zeros(len(rho), np.int64), np.zeros(len(rho), np.int64), np.zeros(len(rho), np.int64)
    row = np.empty(len(ma))
    for p in range(len(rho)):
        q, own = which[p], column[p]
        mean, sd, sums = mc[q], sc[q], ac[q]
        for u in range(len(row)):
            row[u] = (sums[u] / n - mean * ma[u]) / sd / sa[u]
        for other in range(len(rho)):
            better[other] += 1 if row[column[other]] >= rho[other] and column[other] != own else 0
        row[own] = np.nan
        count, here, value = 0, 0, rho[p]
        for u in range(len(row)):
            count += 1 if row[u] >= value else 0
        for u in range(left[p], right[p]):
            here += 1 if row[u] >= value else 0
        beaten[p], within[p] = count, here
    return beaten, within, better
