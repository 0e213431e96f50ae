"""The inner loops of running patterns, compiled: unions of lists, the tokens that a context reaches, what contexts add to what cells say.

Thousands of patterns ask for lists of a few dozen tokens each; numpy takes longer to begin than to do what is asked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.compiled import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]


@kernel
def union(start: Ints, items: Ints, keys: Ints) -> Ints:
    """The items of `keys`, ascending, each once: key i owns items[start[i]:start[i + 1]], which ascend and are not negative."""
    n, top = 0, -1
    for key in keys:
        if start[key + 1] > start[key]:
            n += start[key + 1] - start[key]
            top = max(top, items[start[key + 1] - 1])
    if n * 32 > top + 1:  # many: marking all places is faster than sorting
        mark = np.zeros(top + 1, np.bool_)
        for key in keys:
            for i in range(start[key], start[key + 1]):
                mark[items[i]] = True
        return np.flatnonzero(mark)
    out, n = np.empty(n, np.int64), 0
    for key in keys:
        for i in range(start[key], start[key + 1]):
            out[n] = items[i]
            n += 1
    out.sort()
    kept = 0
    for i in range(n):
        if i == 0 or out[i] != out[i - 1]:
            out[kept] = out[i]
            kept += 1
    return out[:kept].copy()


@kernel
def reached(slots: Ints, first: Ints, last: Ints) -> Ints:
    """All of first[s] .. last[s] - 1 of the `slots`, ascending, each once; first and last ascend as slots do."""
    n, end = 0, 0
    for s in slots:
        n += max(last[s] - max(first[s], end), 0)
        end = max(end, last[s])
    out, n, end = np.empty(n, np.int64), 0, 0
    for s in slots:
        for t in range(max(first[s], end), last[s]):
            out[n] = t
            n += 1
        end = max(end, last[s])
    return out


@kernel
def strengthen(items: Ints, strength: float, best: Floats, found: Ints, n: int) -> int:
    """best[item] is at least `strength` > 0 for all `items`; those that had none are noted at found[n] and on. How many are noted then."""
    for item in items:
        if best[item] == 0:
            found[n] = item
            n += 1
        best[item] = max(best[item], strength)
    return n


@kernel
def decided(n_patterns: int, listed: Ints, listed_strength: Floats, listed_start: Ints, words: Ints, free: Ints, free_strength: Floats, free_start: Ints,
            cells: Ints, word_start: Ints, word_cells: Ints, n_cells: int) -> tuple[Ints32, Ints32, Floats]:
    """What patterns say of cells, as rows of a sparse matrix [patterns, cells]: where they begin, cells, values.

    Clauses `listed` belong to the pattern of that number, ascending, and hold at the cells of words[listed_start[i]:listed_start[i + 1]]: word w has
    word_cells[word_start[w]:word_start[w + 1]]. Clauses `free` say it themselves: they hold at cells[free_start[i]:free_start[i + 1]]. All
    strengths are > 0.
    """
    rows, column, value = np.zeros(n_patterns + 1, np.int32), np.empty(n_cells, np.int32), np.empty(n_cells)
    best, mine, n, i, j = np.zeros(n_cells), np.empty(n_cells, np.int64), 0, 0, 0
    for p in range(n_patterns):
        m = 0
        while i < len(listed) and listed[i] == p:
            for w in words[listed_start[i]:listed_start[i + 1]]:
                m = strengthen(word_cells[word_start[w]:word_start[w + 1]], listed_strength[i], best, mine, m)
            i += 1
        while j < len(free) and free[j] == p:
            m = strengthen(cells[free_start[j]:free_start[j + 1]], free_strength[j], best, mine, m)
            j += 1
        mine[:m].sort()
        if n + m > len(column):
            size = max(2 * len(column), n + m)
            column, value = np.append(column[:n], np.empty(size - n, np.int32)), np.append(value[:n], np.empty(size - n))
        for c in mine[:m]:
            column[n], value[n] = c, best[c]
            best[c] = 0
            n += 1
        rows[p + 1] = n
    return rows, column[:n].copy(), value[:n].copy()


@kernel
def beyond(patterns: Ints, listed: Ints, listed_strength: Floats, listed_start: Ints, words: Ints, ways: Ints, further: Ints, further_strength: Floats,
           further_start: Ints, tokens: Ints, word_start: Ints, slots: Ints, first: Ints, last: Ints, order: Ints, cell_start: Ints32, cells: Ints32,
           value: Floats, cell: Ints, n_cells: int) -> tuple[Ints, Ints32, Floats]:
    """What clauses add to what cells say, max(0, c - cells), for some consecutive patterns: how many tokens of each, the tokens, ascending, the values.

    Clauses `listed` belong to the pattern of that number, ascending, and hold where any of words[listed_start[i]:listed_start[i + 1]] is in reach:
    word w stands at slots[word_start[w]:word_start[w + 1]], and slot s reaches the tokens order[d, first[r, s]:last[r, s]] for each direction d
    whose row r = ways[i, d] is not -1. Clauses `further` say it themselves: they hold at tokens[further_start[i]:further_start[i + 1]]. All strengths
    are > 0. Pattern p has value[e] at cells[e] for e = cell_start[p] .. cell_start[p + 1] - 1; `cell` is that of each token.
    """
    counts, column, added = np.zeros(len(patterns), np.int64), np.empty(len(cell), np.int32), np.empty(len(cell))
    own, best, mine, n = np.zeros(n_cells), np.zeros(len(cell)), np.empty(len(cell), np.int64), 0
    i, j = np.searchsorted(listed, patterns[0]), np.searchsorted(further, patterns[0])
    for row, p in enumerate(patterns):
        m = 0
        while i < len(listed) and listed[i] == p:
            for w in words[listed_start[i]:listed_start[i + 1]]:
                for d in range(2):
                    r, end = ways[i, d], 0
                    if r < 0:
                        continue
                    for s in slots[word_start[w]:word_start[w + 1]]:
                        m = strengthen(order[d, max(first[r, s], end):max(last[r, s], end)], listed_strength[i], best, mine, m)
                        end = max(end, last[r, s])
            i += 1
        while j < len(further) and further[j] == p:
            m = strengthen(tokens[further_start[j]:further_start[j + 1]], further_strength[j], best, mine, m)
            j += 1
        if m == 0:
            continue
        if m * 32 > len(cell):  # many: looking at all is faster than sorting
            m = 0
            for t in range(len(cell)):
                mine[m] = t
                m += 1 if best[t] > 0 else 0
        else:
            mine[:m].sort()
        if n + m > len(column):
            size = max(2 * len(column), n + m)
            column, added = np.append(column[:n], np.empty(size - n, np.int32)), np.append(added[:n], np.empty(size - n))
        for e in range(cell_start[p], cell_start[p + 1]):
            own[cells[e]] = value[e]
        begin = n
        for t in mine[:m]:
            more = best[t] - own[cell[t]]
            best[t] = 0
            column[n], added[n] = t, more
            n += 1 if more > 0 else 0
        for e in range(cell_start[p], cell_start[p + 1]):
            own[cells[e]] = 0
        counts[row] = n - begin
    return counts, column[:n], added[:n]
