"""Clauses put together by pattern. Those that are one list of words, on a token or in reach of it, are most of all, and are done in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from autolabel.patterns import kernels
from autolabel.patterns.context import Contexts, Direction
from autolabel.patterns.syntax import Clause, Pattern, Reach
from autolabel.patterns.words import Ints, WordTable
from autolabel.threads import each, stretches

Floats = NDArray[np.float64]
Way = tuple[Direction, Reach]
BESIDE: tuple[Direction, ...] = ("before", "after")
PATTERNS = 512  # put together by one thread at a time


class Listed(NamedTuple):
    """A clause that is one list of words, however they are written, and where it looks for them; None: on the token."""

    pattern: int
    strength: float
    words: tuple[str, ...]
    way: Way | None


def sort(patterns: Sequence[Pattern]) -> tuple[list[Listed], list[Listed], list[tuple[int, Clause]]]:
    """The clauses that are a list of words on the token, those that are one in reach of it, and all others, each with its pattern's number."""
    on, reach, others = [], [], []
    for p, pattern in enumerate(patterns):
        for clause in pattern.any:
            parts = clause.on, clause.before, clause.after, clause.near
            atoms = parts[0] or parts[1] or parts[2] or parts[3]
            if clause.unless or len(atoms) != 1 or atoms[0].kind != "word" or atoms[0].case or sum(map(len, parts)) > 1:
                others.append((p, clause))
            elif clause.on:
                on.append(Listed(p, clause.strength, atoms[0].values, None))
            else:
                side: Direction = "before" if clause.before else "after" if clause.after else "near"
                reach.append(Listed(p, clause.strength, atoms[0].values, (side, clause.within)))
    return on, reach, others


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


def _numbers(table: WordTable, clauses: Sequence[Listed]) -> tuple[Ints, Floats, Ints, Ints]:
    """Of each clause pattern, strength and where its words begin; the numbers of all words, case-folded, that occur."""
    words = chain.from_iterable(c.words for c in clauses)
    number = np.fromiter(map(table.folded_index.get, map(str.casefold, words), repeat(-1)), np.int64)
    known = np.concatenate([[0], np.cumsum(number >= 0)])
    return (np.array([c.pattern for c in clauses], np.int64), np.array([c.strength for c in clauses], np.float64),
            known[_starts([len(c.words) for c in clauses])], number[number >= 0])


def decided(table: WordTable, words: Sequence[Listed], free: Found, n_patterns: int) -> sparse.csr_matrix:
    """[P, C] what clauses say that a token's cell decides."""
    of = table.cells_of_folded
    rows, column, value = kernels.decided(n_patterns, *_numbers(table, words), *free.arrays(), of.start, of.items, table.n_cells)
    return sparse.csr_matrix((value, column, rows), shape=(n_patterns, table.n_cells))


def beyond(contexts: Contexts, context: Sequence[Listed], further: Found, cells: sparse.csr_matrix) -> sparse.csr_matrix:
    """[P, T] what clauses that look further add to it."""
    table, of = contexts.table, contexts.table.slots_of_folded
    tables: list[tuple[Ints, Ints]] = []
    rows: dict[Way | None, list[int]] = {}
    for way in dict.fromkeys(c.way for c in context if c.way is not None):
        asked = [side for side in BESIDE if way[0] in (side, "near")]
        rows[way] = [len(tables) + asked.index(side) if side in asked else -1 for side in BESIDE]
        tables += [contexts.stretch(side, way[1]) for side in asked]
    first, last = (np.stack([np.zeros(table.n_slots, np.int64), *(t[i] for t in tables)])[1:] for i in range(2))
    ways = np.array([rows[c.way] for c in context], np.int64).reshape(-1, 2)
    given = (*_numbers(table, context), ways, *further.arrays(), of.start, of.items, first, last, contexts.order(), cells.indptr, cells.indices, cells.data,
             table.cell, table.n_cells)
    n = cells.shape[0]
    parts = each(lambda some: kernels.beyond(np.arange(some.start, some.stop, dtype=np.int64), *given), stretches(n, PATTERNS) if n else [])
    start = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *(counts for counts, _, _ in parts)]))])
    column, value = (np.concatenate([np.zeros(0, kind), *(part[i] for part in parts)]) for i, kind in ((1, np.int32), (2, np.float64)))
    return sparse.csr_matrix((value, column, start), shape=(n, len(table.cell)))


def _starts(lengths: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
