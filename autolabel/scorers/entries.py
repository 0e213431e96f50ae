"""Where labels fire, by token: the bridge from strengths by pattern to sums over the tokens of a batch.

Every sum over the tokens of a label is linear in its *entries* (token, level): a token on which the label predicts that
level. What holds whatever the context is kept once per cell (distinct word and token within the word) and looked up; what
context adds is an entry of its own with sign +1, beside one with sign -1 that takes back the weaker level of the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.patterns.syntax import Pattern
from autolabel.scorers.labels import Labels

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Strengths(Protocol):
    """c of Q patterns on one chunk: c = cells[:, cell_of_token] + extra (see patterns/run.py)."""

    @property
    def cells(self) -> sp.csr_matrix:
        """[Q, cells] the part that no context changes."""

    @property
    def cell_of_token(self) -> Ints:
        """[tokens] the cell of each token."""

    @property
    def extra(self) -> sp.csr_matrix:
        """[Q, tokens] what context clauses add to it."""


Run = Callable[[Sequence[Pattern], Excerpts], Strengths]


@dataclass(frozen=True)
class Grouped:
    """Lists of integers, flat: row i owns item[start[i]:start[i + 1]]."""

    start: Ints
    item: NDArray[np.int32]

    @classmethod
    def by(cls, row: Ints, item: Ints, n_rows: int) -> tuple[Grouped, Ints]:
        """Group items by row; also the order they were put in."""
        order = np.argsort(row, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_rows))]).astype(np.int64)
        return cls(start, item[order].astype(np.int32)), order

    def gather(self, rows: Ints) -> tuple[Ints, NDArray[np.int32], Ints]:
        """For a list of rows: how many items each has, the items, and where they stand in `item`."""
        first = self.start[rows]
        length = self.start[rows + 1] - first
        ends = np.cumsum(length)
        at = np.arange(ends[-1] if len(ends) else 0, dtype=np.int64) + np.repeat(first - (ends - length), length)
        return length, self.item[at], at


@dataclass(frozen=True)
class Entries:
    """Entries of n tokens and one layer: each says that its token has level `level`, `sign` times. Sorted by token."""

    length: Ints  # [n] entries of each token
    level: NDArray[np.int32]  # [E] level, counted from the first level of the layer
    sign: NDArray[np.float64] | None  # [E] +1 or -1; None: all +1

    def of_token(self, x: Ints) -> Ints:
        """[E] the value of each entry's token, from x [n]."""
        return np.repeat(x, self.length)

    @property
    def row(self) -> Ints:
        """[E] the token of each entry."""
        return self.of_token(np.arange(len(self.length), dtype=np.int64))


@dataclass(frozen=True)
class LayerEntries:
    """Entries of the labels of one layer on one chunk."""

    by_cell: Grouped  # cell -> levels
    by_token: Grouped  # token -> levels added or taken back by context
    sign: NDArray[np.float64]  # of the items of by_token

    def batch(self, cell: Ints, span: slice) -> tuple[Entries, Entries]:
        """(what cells say, what context changes) for the tokens `span`, whose cells are `cell`."""
        length, level, _ = self.by_cell.gather(cell)
        return Entries(length, level, None), self.tokens(np.arange(span.start, span.stop, dtype=np.int64))

    def matrices(self, n_levels: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """([cells, levels] of ones, [tokens, levels] of signs), float32."""
        one, two = self.by_cell, self.by_token
        return (sp.csr_matrix((np.ones(len(one.item), np.float32), one.item, one.start), shape=(len(one.start) - 1, n_levels)),
                sp.csr_matrix((self.sign.astype(np.float32), two.item, two.start), shape=(len(two.start) - 1, n_levels)))

    def tokens(self, token: Ints) -> Entries:
        """What context changes at a list of tokens of the chunk."""
        length, level, at = self.by_token.gather(token)
        return Entries(length, level, self.sign[at])

    @classmethod
    def build(cls, labels: Labels, layer: int, strengths: Strengths) -> LayerEntries:
        """From the strengths of all distinct patterns on a chunk."""
        rows, levels = labels.of_layer(layer), labels.levels_of_layer(layer)
        find = _Finder.build(labels, rows, levels)
        cells = strengths.cells[labels.pattern[rows]].tocsr()
        label = np.repeat(np.arange(cells.shape[0], dtype=np.int64), np.diff(cells.indptr))
        keep = cells.data > 0
        by_cell, _ = Grouped.by(cells.indices[keep].astype(np.int64), find(label[keep], cells.data[keep]), cells.shape[1])
        extra = strengths.extra[labels.pattern[rows]].tocsr()
        label = np.repeat(np.arange(extra.shape[0], dtype=np.int64), np.diff(extra.indptr))
        keep = extra.data > 0
        label, token = label[keep], extra.indices[keep].astype(np.int64)
        free = np.zeros(len(token)) if not len(token) else np.asarray(
            cells[label, strengths.cell_of_token[token]], np.float64).reshape(-1)
        total = find(label, free + extra.data[keep])
        under = free > 0
        items = np.concatenate([total, find(label[under], free[under])])
        sign = np.concatenate([np.ones(len(token)), -np.ones(int(under.sum()))])
        by_token, order = Grouped.by(np.concatenate([token, token[under]]), items, extra.shape[1])
        return cls(by_cell, by_token, sign[order])


@dataclass(frozen=True)
class _Finder:
    """From (label, strength) to the number of the level, the nearest one (sums of float32 are off by an ulp)."""

    key: Floats  # ascending: 4 * label + strength of every level
    number: Ints  # the level it stands for, counted from the first of the layer

    @classmethod
    def build(cls, labels: Labels, rows: slice, levels: slice) -> _Finder:
        key = 4.0 * (labels.levels.label[levels] - rows.start) + labels.levels.value[levels]
        order = np.argsort(key)
        return cls(key[order], order.astype(np.int64))

    def __call__(self, label: Ints, strength: NDArray[np.floating]) -> Ints:
        if not len(label):
            return np.zeros(0, np.int64)
        wanted = 4.0 * label + np.asarray(strength, np.float64)
        right = np.clip(np.searchsorted(self.key, wanted), 1, len(self.key) - 1)
        near = right - (wanted - self.key[right - 1] < self.key[right] - wanted)
        if np.abs(self.key[near] - wanted).max() > 1e-3:
            raise ValueError("a pattern predicted a strength that none of its clauses has")
        return self.number[near]
