"""Runs patterns over excerpts. The meaning, exactly:

c(t) is the largest strength among the clauses whose `on` holds at token t, each atom of `before` (`after`, `near`) of which
holds somewhere in the `within` words before (after, on either side of) t, and whose `unless` holds neither in the `within`
words on either side of t nor at t; 0 where there is none. Distance counts words (words.py); the words that t itself lies on
are neither before nor after it; white space lies between words. Context ends at the excerpt's edge.

Clauses without context are decided by the *cell* of a token (the words it lies on as written, and its token id) unless an
atom of theirs looks at more than that (regex, about, start, end, name, url, email, code, concepts of several words).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from autolabel.excerpts import Excerpts
from autolabel.patterns.atoms import Evaluator, Held
from autolabel.patterns.context import Contexts, Direction
from autolabel.patterns.embedded import Embedder
from autolabel.patterns.lists import Found, beyond, decided, sort
from autolabel.patterns.syntax import Atom, Clause, Pattern
from autolabel.patterns.words import Ints, WordTable

if TYPE_CHECKING:
    from autolabel.hierarchy import Hierarchy

Floats = NDArray[np.float64]
SIDES: tuple[Direction, ...] = ("before", "after", "near")


@dataclass(frozen=True)
class Strengths:
    """What P patterns say about T tokens, c = cells[:, cell_of_token] + extra, every c in [0, 1]."""

    cells: sparse.csr_matrix  # [P, C] float64: the part that a token's cell decides
    cell_of_token: Ints  # [T] cell in [0, C)
    extra: sparse.csr_matrix  # [P, T] float64: what clauses that look further add to it, max(0, c - cells)

    def csr(self) -> sparse.csr_matrix:
        """[P, T] the whole c."""
        n = len(self.cell_of_token)
        spread = sparse.csr_matrix((np.ones(n), (self.cell_of_token, np.arange(n))), shape=(self.cells.shape[1], n))
        return sparse.csr_matrix(self.cells @ spread + self.extra)

    def row(self, p: int) -> Floats:
        """[T] c of one pattern."""
        cells, out = np.zeros(self.cells.shape[1]), np.zeros(len(self.cell_of_token))
        a, b = self.cells.indptr[p:p + 2]
        cells[self.cells.indices[a:b]] = self.cells.data[a:b]
        a, b = self.extra.indptr[p:p + 2]
        out[self.extra.indices[a:b]] = self.extra.data[a:b]
        return cells[self.cell_of_token] + out


def run(patterns: Sequence[Pattern], excerpts: Excerpts, *, vocabulary: Sequence[str], embedder: Embedder | None = None,
        hierarchy: Hierarchy | None = None, table: WordTable | None = None) -> Strengths:
    """Run any number of patterns over a chunk of excerpts. `vocabulary` holds the token strings by id.

    `table` saves segmenting the same excerpts again. Raises SetupError where a pattern needs an embedder or a hierarchy
    that is not given.
    """
    table = table or WordTable.build(excerpts)
    return _Run(patterns, table, Evaluator(table, vocabulary, embedder, hierarchy)).strengths()


class _Run:
    def __init__(self, patterns: Sequence[Pattern], table: WordTable, evaluator: Evaluator) -> None:
        self.patterns, self.table, self.evaluator = patterns, table, evaluator
        self.contexts = Contexts(table)
        self.mark = np.zeros(table.excerpts.n_tokens, np.bool_)  # scratch, all False between uses

    def strengths(self) -> Strengths:
        table, n = self.table, len(self.patterns)
        free, further = Found(), Found()  # cells, tokens
        words, context, others = sort(self.patterns)
        self.evaluator.prepare(atom for _, clause in others for atom in clause.atoms())
        for p, clause in others:
            if clause.contextual:
                further.add(p, clause, self._tokens(clause))
                continue
            on = [self.evaluator.held(atom) for atom in clause.on or (Atom("class", ("any",)),)]
            if (cells := _intersect([h.cells for h in on])) is not None:
                free.add(p, clause, cells)
            else:
                further.add(p, clause, self._on(on))
        matrix = decided(table, words, free, n)
        return Strengths(matrix, table.cell, beyond(self.contexts, context, further, matrix))

    def _on(self, on: Sequence[Held]) -> Ints:
        """Tokens at which all of `on` hold, ascending."""
        cells = _intersect([h.cells for h in on])
        if cells is not None:
            return on[0].tokens if len(on) == 1 else self.table.tokens_of_cell.union(cells)
        tokens = on[0].tokens
        for held in on[1:]:
            tokens = self._keep(tokens, held.tokens)
        return tokens

    def _tokens(self, clause: Clause) -> Ints:
        """Tokens at which a clause with context holds, ascending."""
        tokens = self._on([self.evaluator.held(atom) for atom in clause.on]) if clause.on else None
        for side in SIDES:
            for atom in getattr(clause, side):
                if tokens is not None and not len(tokens):
                    self.evaluator.held(atom)  # a missing embedder is an error wherever the clause fails
                    continue
                found = self.contexts.tokens(self.evaluator.held(atom), side, clause.within)
                tokens = found if tokens is None else self._keep(tokens, found)
        if tokens is None:
            tokens = np.arange(len(self.mark), dtype=np.int64)
        if clause.unless:
            held = self.evaluator.held(clause.unless)
            tokens = self._keep(tokens, held.tokens, invert=True)
            tokens = self._keep(tokens, self.contexts.tokens(held, "near", clause.within), invert=True)
        return tokens

    def _keep(self, tokens: Ints, others: Ints, invert: bool = False) -> Ints:
        """Those of `tokens` that are (`invert`: are not) among `others`."""
        self.mark[others] = True
        kept: Ints = tokens[self.mark[tokens] != invert]
        self.mark[others] = False
        return kept


def _intersect(cells: Sequence[Ints | None]) -> Ints | None:
    """What all have, None where one is None."""
    out = cells[0]
    for other in cells[1:]:
        if out is None or other is None:
            return None
        out = np.intersect1d(out, other, assume_unique=True)
    return out


__all__ = ["Strengths", "run"]
