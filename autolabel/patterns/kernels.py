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
def beyond(owner: Ints, strength: Floats, start: Ints, token: Ints, cell_start: Ints32, cells: Ints32, value: Floats, cell: Ints,
           n_cells: int) -> tuple[Ints, Ints32, Floats]:
    """What clauses add to what cells say, max(0, c - cells), as rows of a sparse matrix [patterns, tokens]: where they begin, tokens, values.

    Clause i belongs to pattern owner[i], ascending, and holds with strength[i] > 0 at token[start[i]:start[i + 1]], which ascend. Pattern p
    has value[e] at cells[e] for e = cell_start[p] .. cell_start[p + 1] - 1; `cell` is that of each token.
    """
    rows, column, added = np.zeros(len(cell_start), np.int64), np.empty(len(token), np.int32), np.empty(len(token))
    own, best, n, i = np.zeros(n_cells), np.zeros(len(cell)), 0, 0
    for p in range(len(cell_start) - 1):
        begin = i
        while i < len(owner) and owner[i] == p:
            i += 1
        if i > begin:
            for e in range(cell_start[p], cell_start[p + 1]):
                own[cells[e]] = value[e]
            mine = token[start[begin]:start[i]].copy()
            for c in range(begin, i):
                for at in range(start[c], start[c + 1]):
                    best[token[at]] = max(best[token[at]], strength[c])
            if i > begin + 1:
                mine.sort()
            for t in mine:
                more = best[t] - own[cell[t]]
                if more > 0:
                    column[n], added[n] = t, more
                    n += 1
                best[t] = 0  # met again, it adds nothing
            for e in range(cell_start[p], cell_start[p + 1]):
                own[cells[e]] = 0
        rows[p + 1] = n
    return rows, column[:n], added[:n]
