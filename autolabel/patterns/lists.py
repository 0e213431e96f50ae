"""Clauses put together by pattern. Those that are one list of words, on a token or in reach of it, are most of all, and are done in bulk."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from autolabel.patterns import kernels
from autolabel.patterns.context import Contexts, Direction
from autolabel.patterns.syntax import Atom, Clause, Reach
from autolabel.patterns.words import Ints, WordTable
from autolabel.threads import each, stretches

Floats = NDArray[np.float64]
Way = tuple[Direction, Reach] | None
PATTERNS = 512  # put together by one thread at a time


def listed(atom: Atom) -> bool:
    """Whether it is a list of words, however they are written."""
    return atom.kind == "word" and not atom.case


def in_reach(clause: Clause) -> tuple[Atom, Way] | None:
    """The list of words, and where it is looked for, of a clause that asks for nothing else; None for any other."""
    if clause.on or clause.unless or len(clause.before) + len(clause.after) + len(clause.near) != 1:
        return None
    side: Direction = "before" if clause.before else "after" if clause.after else "near"
    [atom] = clause.before or clause.after or clause.near
    return (atom, (side, clause.within)) if listed(atom) else None


@dataclass
class Found:
    """Clauses and the cells, or tokens, at which they hold; patterns ascend."""

    pattern: list[int] = field(default_factory=list)
    strength: list[float] = field(default_factory=list)
    items: list[Ints] = field(default_factory=list)

    def add(self, pattern: int, clause: Clause, items: Ints) -> None:
        """One clause of a pattern."""
        self.pattern.append(pattern)
        self.strength.append(clause.strength)
        self.items.append(items)

    def arrays(self) -> tuple[Ints, Floats, Ints, Ints]:
        """Of each clause pattern, strength and where its items begin; all items."""
        return (np.array(self.pattern, np.int64), np.array(self.strength, np.float64), _starts([len(x) for x in self.items]),
                np.concatenate([np.zeros(0, np.int64), *self.items]))


@dataclass
class Listed:
    """Clauses that are one list of words, and on which way they look."""

    table: WordTable
    pattern: list[int] = field(default_factory=list)
    strength: list[float] = field(default_factory=list)
    values: list[tuple[str, ...]] = field(default_factory=list)
    way: list[Way] = field(default_factory=list)

    def add(self, pattern: int, clause: Clause, atom: Atom, way: Way = None) -> None:
        """One clause of a pattern."""
        self.pattern.append(pattern)
        self.strength.append(clause.strength)
        self.values.append(atom.values)
        self.way.append(way)

    def arrays(self) -> tuple[Ints, Floats, Ints, Ints]:
        """Of each clause pattern, strength and where its words begin; the numbers of all words, case-folded, that occur."""
        index = self.table.folded_index
        number = np.fromiter(map(index.get, map(str.casefold, chain.from_iterable(self.values)), repeat(-1)), np.int64)
        known = np.concatenate([[0], np.cumsum(number >= 0)])
        return (np.array(self.pattern, np.int64), np.array(self.strength, np.float64), known[_starts(list(map(len, self.values)))], number[number >= 0])


def decided(table: WordTable, words: Listed, free: Found, n_patterns: int) -> sparse.csr_matrix:
    """[P, C] what clauses say that a token's cell decides."""
    of = table.cells_of_folded
    rows, column, value = kernels.decided(n_patterns, *words.arrays(), *free.arrays(), of.start, of.items, table.n_cells)
    return sparse.csr_matrix((value, column, rows), shape=(n_patterns, table.n_cells))


def beyond(contexts: Contexts, context: Listed, further: Found, cells: sparse.csr_matrix) -> sparse.csr_matrix:
    """[P, T] what clauses that look further add to it."""
    table, of = contexts.table, contexts.table.slots_of_folded
    sides = {way: (way[0] in ("before", "near"), way[0] in ("after", "near")) for way in dict.fromkeys(context.way) if way is not None}
    tables: list[tuple[Ints, Ints]] = []
    rows: dict[Way, tuple[int, int]] = {}
    for way, (before, after) in sides.items():
        rows[way] = (len(tables) if before else -1, len(tables) + before if after else -1)
        tables += [contexts.stretch("before", way[1])] * before + [contexts.stretch("after", way[1])] * after
    first, last = (np.stack([np.zeros(table.n_slots, np.int64), *(t[i] for t in tables)])[1:] for i in range(2))
    ways = np.array([rows[way] for way in context.way], np.int64).reshape(-1, 2)
    given = (*context.arrays(), ways, *further.arrays(), of.start, of.items, first, last, contexts.order(), cells.indptr, cells.indices, cells.data,
             table.cell, table.n_cells)
    n = cells.shape[0]
    parts = each(lambda some: kernels.beyond(np.arange(some.start, some.stop, dtype=np.int64), *given), stretches(n, PATTERNS) if n else [])
    start = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *(counts for counts, _, _ in parts)]))])
    column, value = (np.concatenate([np.zeros(0, kind), *(part[i] for part in parts)]) for i, kind in ((1, np.int32), (2, np.float64)))
    return sparse.csr_matrix((value, column, start), shape=(n, len(table.cell)))


def _starts(lengths: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
