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
from autolabel.scorers.kernels import entries
from autolabel.scorers.labels import Labels
from autolabel.threads import each

Ints = NDArray[np.int64]


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

    start: NDArray[np.int32]  # [n + 1] where the entries of each token begin
    level: NDArray[np.int32]  # [E] level, counted from the first level of the layer
    column: NDArray[np.int32]  # [E] the unit of its label
    sign: float  # +1, or -1: the level is taken back

    def of_token(self, x: Ints) -> Ints:
        """[E] the value of each entry's token, from x [n]."""
        return np.repeat(x, np.diff(self.start))

    @property
    def row(self) -> Ints:
        """[E] the token of each entry."""
        return self.of_token(np.arange(len(self.start) - 1, dtype=np.int64))


@dataclass(frozen=True)
class LayerEntries:
    """Entries of the labels of one layer on one chunk, as CSR matrices [.., W] whose data are levels: a unit may stand in a row more than once."""

    by_cell: sp.csr_matrix  # [cells, W]
    added: sp.csr_matrix  # [tokens, W] levels that context adds
    taken: sp.csr_matrix  # [tokens, W] levels of its cell that context takes back

    def batch(self, cell: Ints, span: slice) -> tuple[Entries, Entries, Entries]:
        """What cells say, what context adds, what it takes back, for the tokens `span`, whose cells are `cell`."""
        return _of(self.by_cell[cell], 1.0), _of(self.added[span], 1.0), _of(self.taken[span], -1.0)

    def tokens(self, cell: Ints, token: Ints) -> tuple[Entries, Entries, Entries]:
        """The same for a list of tokens of the chunk."""
        return _of(self.by_cell[cell], 1.0), _of(self.added[token], 1.0), _of(self.taken[token], -1.0)

    def matrices(self, n_levels: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """([cells, levels] of ones, [tokens, levels] of signs), float32."""
        def ones(of: sp.csr_matrix) -> sp.csr_matrix:
            return sp.csr_matrix((np.ones(of.nnz, np.float32), of.data, of.indptr), shape=(of.shape[0], n_levels))
        return ones(self.by_cell), sp.csr_matrix(ones(self.added) - ones(self.taken))

    @classmethod
    def build(cls, labels: Labels, layer: int, strengths: Strengths) -> LayerEntries:
        """From the strengths of all distinct patterns on a chunk."""
        rows, levels = labels.of_layer(layer), labels.levels_of_layer(layer)
        cells, extra, width = strengths.cells, strengths.extra, labels.layers[layer].width
        found = entries(cells.indptr, cells.indices, cells.data, extra.indptr, extra.indices, extra.data, strengths.cell_of_token, cells.shape[1],
                        labels.pattern[rows], labels.column[rows], labels.levels.first[rows.start:rows.stop + 1] - levels.start,
                        labels.levels.value[levels])
        return cls(*(sp.csr_matrix((found[i + 1], found[i + 2], found[i]), shape=(len(found[i]) - 1, width)) for i in (0, 3, 6)))


class Firing:
    """Where labels fire on the chunk that is being read: looked up once for all parts of a walk that share them."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._layers: list[LayerEntries] = []

    def read(self, strengths: Strengths) -> list[LayerEntries]:
        """The entries of each layer. The strengths of a chunk are read by whoever asks first, and not kept."""
        if not self._layers:
            self._layers = each(lambda k: LayerEntries.build(self.labels, k, strengths), range(len(self.labels.layers)))
        return self._layers

    def clear(self) -> None:
        """Let go of the chunk."""
        self._layers = []

    def levels_of(self, some: Labels, k: int) -> NDArray[np.int32]:
        """For each level of layer k the number of the same level in `some`, a subset of the labels with the same patterns; -1: not there."""
        mine, theirs = self.labels.of_layer(k), some.of_layer(k)
        size = max(1, len(self.labels.patterns))
        keys, wanted = (x.column[rows] * size + x.pattern[rows] for x, rows in ((self.labels, mine), (some, theirs)))
        at = np.searchsorted(keys, wanted)
        if not np.array_equal(keys[np.minimum(at, len(keys) - 1)] if len(keys) else keys, wanted):
            raise ValueError("some of the labels are not among those that are shared")
        out = np.full(self.labels.levels_of_layer(k).stop - self.labels.levels_of_layer(k).start, -1, np.int32)
        first = self.labels.levels.first[mine.start:mine.stop] - self.labels.levels.first[mine.start]
        length = np.diff(some.levels.first)[theirs]
        begin = np.cumsum(length) - length
        number = np.arange(int(length.sum()))
        out[number + np.repeat(first[at] - begin, length)] = number
        return out


def _of(rows: sp.csr_matrix, sign: float) -> Entries:
    return Entries(rows.indptr, rows.data, rows.indices, sign)
