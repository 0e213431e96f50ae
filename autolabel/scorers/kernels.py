"""The inner loops of scoring, compiled: what the windows of a batch add up to, by unit, by level of a label, by cell and by pattern.

What a model gave is read where it lies, x [R, U], and rectified on the way: unit w = k * U + u of W is neuron u on the k-th side,
a = max(signs[k] * x[:, u], 0); token i of a batch is row rows[i]. Arrays are C-contiguous. The innermost loops run along a row, so that they
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
FLUSH = 64  # tokens that are summed in float32


@kernel
def nearest(value: Floats, begin: int, end: int, wanted: float) -> int:
    """Which of begin .. end - 1 has the value that is nearest (sums of float32 are off by an ulp)."""
    best = begin
    for i in range(begin + 1, end):
        if abs(value[i] - wanted) < abs(value[best] - wanted):
            best = i
    if begin == end or abs(value[best] - wanted) > 1e-3:
        raise ValueError("a pattern predicted a strength that none of its clauses has")
    return best


@kernel
def entries(cell_start: Ints32, cells: Ints32, strength: Floats, extra_start: Ints32, tokens: Ints32, extra: Floats, cell: Ints, n_cells: int,
            pattern: Ints, column: Ints, first: Ints, value: Floats) -> tuple[Ints32, Ints32, Ints32, Ints32, Ints32, Ints32, Ints32, Ints32, Ints32]:
    """Where P labels fire, as three lists of (level, unit) in the order of what they are at: by cell, what context adds by token, and what it takes
    back by token; of each where the entries begin, levels and units.

    Two sparse matrices say what patterns predict, strength [patterns, cells] and extra [patterns, tokens], which adds to that of the token's cell.
    Label p runs pattern[p] on unit column[p] and can predict value[first[p]] .. value[first[p + 1] - 1].
    """
    by_cell, added, taken = np.zeros(n_cells + 1, np.int32), np.zeros(len(cell) + 1, np.int32), np.zeros(len(cell) + 1, np.int32)
    own = np.zeros(n_cells)
    level, unit = np.empty(0, np.int32), np.empty(0, np.int32)
    more_level, more_unit, less_level, less_unit = level, unit, level, unit
    for fill in (False, True):  # counted first
        for p in range(len(pattern)):
            q = pattern[p]
            for e in range(cell_start[q], cell_start[q + 1]):
                if strength[e] > 0:
                    own[cells[e]] = strength[e]
                    if fill:
                        at = by_cell[cells[e]]
                        level[at], unit[at] = nearest(value, first[p], first[p + 1], strength[e]), column[p]
                    by_cell[cells[e]] += 1
            for e in range(extra_start[q], extra_start[q + 1]):
                t = tokens[e]
                before = own[cell[t]]
                if extra[e] > 0:
                    if fill:
                        more_level[added[t]], more_unit[added[t]] = nearest(value, first[p], first[p + 1], before + extra[e]), column[p]
                    added[t] += 1
                    if before > 0:
                        if fill:
                            less_level[taken[t]], less_unit[taken[t]] = nearest(value, first[p], first[p + 1], before), column[p]
                        taken[t] += 1
            for e in range(cell_start[q], cell_start[q + 1]):
                own[cells[e]] = 0
        for start in (by_cell, added, taken):  # from numbers to where they begin; from where they end back to that
            total = 0
            for i in range(len(start)):
                here = start[i]
                start[i] = total
                total = here if fill else total + here
        if not fill:
            level, unit = np.empty(by_cell[-1], np.int32), np.empty(by_cell[-1], np.int32)
            more_level, more_unit = np.empty(added[-1], np.int32), np.empty(added[-1], np.int32)
            less_level, less_unit = np.empty(taken[-1], np.int32), np.empty(taken[-1], np.int32)
    return by_cell, level, unit, added, more_level, more_unit, taken, less_level, less_unit


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
def add_window(x: Floats32, rows: Ints, sign: np.float32, tau: Floats32, tau99: Floats32, total: Floats, square: Floats, mass: Floats32,
               largest: Floats32, strong: Floats32) -> None:
    """Of the tokens `rows` of one window and one side, all arrays [U]: sums of a and a^2 are added to `total` and `square`; the sum of a above tau,
    the largest a and the number above tau99 are written. Four tokens at a time, as what is written would else be fetched for each."""
    zero, one, none = np.float32(0), np.float32(1), np.zeros_like(tau)
    t, s = np.empty_like(tau), np.empty_like(tau)
    mass[:], largest[:], strong[:] = 0, 0, 0
    for begin in range(0, len(rows), FLUSH):
        t[:], s[:] = 0, 0
        end = min(begin + FLUSH, len(rows))
        for i in range(begin, end, 4):
            x0, x1 = x[rows[i]], x[rows[i + 1]] if i + 1 < end else none
            x2, x3 = x[rows[i + 2]] if i + 2 < end else none, x[rows[i + 3]] if i + 3 < end else none
            for u in range(len(t)):
                a0, a1, a2, a3 = sign * x0[u], sign * x1[u], sign * x2[u], sign * x3[u]
                a0, a1 = zero if a0 <= zero else a0, zero if a1 <= zero else a1
                a2, a3 = zero if a2 <= zero else a2, zero if a3 <= zero else a3
                t[u] += (a0 + a1) + (a2 + a3)
                s[u] += (a0 * a0 + a1 * a1) + (a2 * a2 + a3 * a3)
                m, q = tau[u], tau99[u]
                mass[u] += ((a0 if a0 > m else zero) + (a1 if a1 > m else zero)) + ((a2 if a2 > m else zero) + (a3 if a3 > m else zero))
                strong[u] += ((one if a0 > q else zero) + (one if a1 > q else zero)) + ((one if a2 > q else zero) + (one if a3 > q else zero))
                most = largest[u]
                most = a0 if a0 > most else most
                most = a1 if a1 > most else most
                most = a2 if a2 > most else most
                largest[u] = a3 if a3 > most else most
        total += t
        square += s


@kernel
def add_units(x: Floats32, rows: Ints, length: int, signs: Floats32, tau: Floats32, tau99: Floats32, scale: Floats32, group: Ints, coarse: Ints,
              window: int, total: Floats, square: Floats, strong: Floats, mass: Floats, stratum: Ints32) -> None:
    """One window: rows [length] of `total` and `square` [groups, W], `strong` [coarse, W], and `mass` [strata, W] by the stratum of its largest
    activation, largest * scale cut to 0 .. strata - 1 (0 where that is no number). mass [0, W]: nobody asked."""
    width, strata = x.shape[1], len(mass)
    largest, hits, above, some = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.uint64)
    g, c, mine = group[window], coarse[window], rows[window * length:(window + 1) * length]
    for k in range(len(signs)):
        left, right = k * width, (k + 1) * width
        add_window(x, mine, signs[k], tau[left:right], tau99[left:right], total[g, left:right], square[g, left:right], above, largest, hits)
        strong[c, left:right] += hits
        if len(mass):
            into, size, n = stratum[left:right], scale[left:right], np.uint64(0)
            for u in range(width):
                place = largest[u] * size[u]
                into[u] = strata - 1 if place >= strata else np.int32(place) if place > 0 else 0
            for u in range(width):  # those that have any
                some[n] = u
                n += np.uint64(1) if above[u] > 0 else np.uint64(0)
            for u in some[:n]:
                mass[into[u], left + u] += above[u]


@kernel
def add_entries(row: Floats32, signs: Floats32, begin: int, end: int, level: Ints32, column: Ints32, once: np.float32, low: Floats32, tau: Floats32,
                tau99: Floats32, tokens: Floats32, total: Floats, strong: Floats, mass: Floats, stratum: Ints32, label: Ints) -> None:
    """Entries begin .. end - 1 (level, unit), of one token, `once` each: tokens, sums of a and tokens above tau99 by level; sums of a above tau by
    stratum and label."""
    width, zero = len(row), np.float32(0)
    for e in range(np.uint64(begin), np.uint64(end)):
        w, at = np.uint64(column[e]), np.uint64(level[e])  # without a sign no test whether they count from the end
        v = signs[0] * row[w] if w < width else signs[1] * row[w - width]
        tokens[at] += once
        total[at] += once * (v if v > zero else zero)
        if v > low[w]:  # the lower of tau and tau99: few are
            if v > tau99[w]:
                strong[at] += once
            if v > tau[w] and len(mass):
                mass[stratum[w], label[at]] += once * v


@kernel
def own_sums(x: Floats32, rows: Ints, length: int, signs: Floats32, tau: Floats32, tau99: Floats32, scale: Floats32, group: Ints, coarse: Ints,
             total: Floats, square: Floats, strong: Floats, mass: Floats, cell: Ints, first: int,
             cell_start: Ints32, cell_level: Ints32, cell_column: Ints32, added_start: Ints32, added_level: Ints32, added_column: Ints32,
             taken_start: Ints32, taken_level: Ints32, taken_column: Ints32, first_level: int, last_level: int, label: Ints,
             tokens_by_level: Floats32, total_by_level: Floats, strong_by_level: Floats, mass_by_label: Floats) -> None:
    """All that OwnSums (own.py) counts of one layer of a batch of windows of `length` tokens, a window at a time, as it stays in the cache.

    cell [n]: of each token; first: the number of the first token in its chunk. The entries of a token are those of its cell, those that context
    adds, and those that it takes back. first_level, last_level: where the levels of the layer stand among all.
    """
    low, one = np.minimum(tau, tau99), np.float32(1)
    stratum = np.zeros(len(tau), np.int32)
    for b in range(len(group)):
        add_units(x, rows, length, signs, tau, tau99, scale, group, coarse, b, total, square, strong, mass, stratum)
        tokens, sums = tokens_by_level[group[b], first_level:last_level], total_by_level[group[b], first_level:last_level]
        hits = strong_by_level[coarse[b], first_level:last_level]
        for i in range(b * length, (b + 1) * length):
            row, c, t = x[rows[i]], cell[i], first + i
            add_entries(row, signs, cell_start[c], cell_start[c + 1], cell_level, cell_column, one, low, tau, tau99, tokens, sums, hits,
                        mass_by_label, stratum, label)
            add_entries(row, signs, added_start[t], added_start[t + 1], added_level, added_column, one, low, tau, tau99, tokens, sums, hits,
                        mass_by_label, stratum, label)
            add_entries(row, signs, taken_start[t], taken_start[t + 1], taken_level, taken_column, -one, low, tau, tau99, tokens, sums, hits,
                        mass_by_label, stratum, label)


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
def alike(start: Ints32, index: Ints32, weight: Floats32) -> tuple[Ints, Ints]:
    """Rows of a sparse matrix that are equal, told apart by a hash and then compared: (number of each row's kind, -1 where it is empty; the first row of
    each kind). Kinds are numbered in the order in which they come up."""
    n = len(start) - 1
    size = 2
    while size < 2 * n:
        size *= 2
    slots, kind, firsts, found = np.full(size, -1, np.int64), np.full(n, -1, np.int64), np.empty(n, np.int64), 0
    for t in range(n):
        begin, end = start[t], start[t + 1]
        if begin == end:
            continue
        h = np.uint64(14695981039346656037)
        for e in range(begin, end):
            h = (h ^ np.uint64(index[e])) * np.uint64(1099511628211)
            h = (h ^ np.uint64(np.int64(weight[e] * np.float32(1 << 20)))) * np.uint64(1099511628211)
        at = np.int64((h ^ (h >> np.uint64(32))) & np.uint64(size - 1))
        while slots[at] >= 0:
            first = start[firsts[slots[at]]]
            same = start[firsts[slots[at]] + 1] - first == end - begin
            for e in range(end - begin):
                if not same:
                    break
                same = index[first + e] == index[begin + e] and weight[first + e] == weight[begin + e]
            if same:
                break
            at = (at + 1) & (size - 1)
        if slots[at] < 0:
            slots[at], firsts[found] = found, t
            found += 1
        kind[t] = slots[at]
    return kind, firsts[:found].copy()


@kernel
def add_kinds(x: Floats32, rows: Ints, signs: Floats32, order: Ints, kind: Ints, start: Ints32, label: Ints32, weight: Floats32,
              total: Floats32) -> None:
    """total[label[e]] += weight[e] times the sum of a over the tokens of kind c, for the entries e = start[c] .. start[c + 1] - 1 of each kind c of the
    tokens `order`, sorted by kind; those of kind -1 are left out."""
    width, zero, sums, i = x.shape[1], np.float32(0), np.empty(total.shape[1], np.float32), 0
    while i < len(order):
        c = kind[order[i]]
        if c < 0:
            i += 1
            continue
        sums[:] = 0
        while i < len(order) and kind[order[i]] == c:
            row = x[rows[order[i]]]
            for k in range(len(signs)):
                into, sign = sums[k * width:(k + 1) * width], signs[k]
                for u in range(width):
                    v = sign * row[u]
                    into[u] += zero if v <= zero else v
            i += 1
        for e in range(start[c], start[c + 1]):
            into, w = total[label[e]], weight[e]
            for u in range(len(sums)):
                into[u] += w * sums[u]


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
def foreign_ranks(ac: NDArray[np.floating], n: float, mc: Floats, sc: Floats, ma: Floats, sa: Floats, which: Ints, column: Ints, left: Ints, right: Ints,
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
