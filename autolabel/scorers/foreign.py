"""The foreign-label null: every label on every unit of its layer (science: p_foreign; identifiability rank).

sum over tokens of c_p a_u splits as (labels x cells) @ (cells x units), for what no context changes, plus
(labels x tokens) @ (tokens x units), for the few tokens that context adds. The middle table (sums of a by cell) is kept for
the most frequent cells of a chunk within a memory limit; tokens of rarer cells take the second way. Where a layer has fewer
than 200 other units, all such layers are pooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.scorers.block import Block
from autolabel.scorers.entries import Strengths
from autolabel.scorers.kernels import add_kinds, add_rows, alike, foreign_ranks
from autolabel.scorers.labels import Labels
from autolabel.stats import rank_p
from autolabel.threads import each

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
ENOUGH = 200  # foreign units, or foreign labels, below which a rank is too coarse
TABLE_BYTES = 256 * 2**20  # for the sums of a by cell


class ForeignSums:
    """A part of the walk: S[p, u] = sum of c_p a_u over the split, for all patterns and units of a layer (or of the pool)."""

    def __init__(self, labels: Labels, table_bytes: int = TABLE_BYTES) -> None:
        self.labels = labels
        self.widths = [lay.width for lay in labels.layers]
        self.pool = [k for k, w in enumerate(self.widths) if w - 1 < ENOUGH]
        pooled = np.unique(labels.pattern[np.isin(labels.layer, self.pool)])
        self.patterns = [pooled if k in self.pool else np.unique(labels.pattern[labels.of_layer(k)]) for k in range(len(self.widths))]
        self._here = [np.zeros((len(q), w), np.float32) for q, w in zip(self.patterns, self.widths, strict=True)]  # of one chunk
        self.sums: list[NDArray[np.floating]] = list(self._here)  # float64 from the second chunk on
        self._first = True
        self.max_cells = max(64, table_bytes // (4 * max(1, sum(self.widths))))
        self.watchers: list[CellWatcher] = []  # what else wants the sums by cell

    def chunk(self, excerpts: Excerpts, strengths: Strengths) -> None:
        """Choose the cells that get a row, and put the rest by token."""
        cell = np.asarray(strengths.cell_of_token, np.int64)
        n_cells = strengths.cells.shape[1]
        named = np.bincount(strengths.cells.indices, minlength=n_cells) > 0
        count = np.bincount(cell, minlength=n_cells) * (named if not self.watchers else 1)  # nobody asks for the others
        kept = np.sort(np.argsort(-count, kind="stable")[:min(self.max_cells, int((count > 0).sum()))])
        slot = np.full(n_cells, -1, np.int64)
        slot[kept] = np.arange(len(kept))
        self._slot = slot[cell]
        rare = np.flatnonzero((self._slot < 0) & named[cell])
        whole = sp.csr_matrix((np.ones(len(rare), np.float32), (cell[rare], rare)), shape=(n_cells, len(cell)))  # from cells to rare tokens

        def look_up(patterns: Ints) -> tuple[_ByKind, _ByKind]:
            cells, extra = (sp.csr_matrix(x[patterns], dtype=np.float32) for x in (strengths.cells, strengths.extra))
            return _ByKind.of(cells[:, kept]), _ByKind.of(sp.csr_matrix(extra + cells @ whole) if len(rare) else extra)

        found = each(look_up, self.patterns)
        self._cells, self._by_token = [cells for cells, _ in found], [by_token for _, by_token in found]
        self._table = [np.zeros((len(kept), w), np.float32) for w in self.widths]
        self._here = self._here if self._first else [np.zeros(sums.shape, np.float32) for sums in self.sums]
        cell_token = np.zeros(n_cells, np.int64)
        cell_token[cell] = excerpts.tokens
        self._kept_token, self._kept_count, self._tokens_of = cell_token[kept], count[kept], excerpts.tokens

    def add(self, block: Block) -> None:
        """One layer of one batch."""
        k, span = block.layer, block.batch.span
        slot = self._slot[span]
        add_rows(block.x, block.rows, block.signs, np.argsort(slot, kind="stable"), slot, self._table[k])
        self._by_token[k].add(block.x, block.rows, block.signs, span, self._here[k])
        rare = np.flatnonzero(slot < 0)
        if len(rare):
            for watch in self.watchers:
                watch.rows(k, self._tokens_of[span][rare], np.ones(len(rare)), block.flat[rare])

    def end_chunk(self) -> None:
        """From sums by cell to sums by pattern."""
        def add_up(k: int) -> None:
            table, here = self._table[k], self._here[k]
            self._cells[k].add(table, np.arange(len(table)), np.ones(1, np.float32), slice(0, len(table)), here)
            if not self._first:
                self.sums[k] = np.add(self.sums[k], here, dtype=np.float64)
            for watch in self.watchers:
                watch.rows(k, self._kept_token, self._kept_count.astype(np.float64), table)

        each(add_up, range(len(self._table)))
        self._table, self._by_token, self._here, self._cells, self._first = [], [], [], [], False


class CellWatcher(Protocol):
    """Wants sums of a by token type: rows(layer, token id [R], how many tokens [R], sum of a [R, W])."""

    def rows(self, layer: int, token: Ints, count: Floats, total: NDArray[np.float32]) -> None:
        """Some rows; every token of the split is in exactly one."""


@dataclass(frozen=True)
class _ByKind:
    """Strengths of Q patterns on n tokens (or cells). Tokens on which all patterns say the same are of one kind, and are added up before they are
    multiplied: what is before a token, after it or near it recurs as words do."""

    kind: Ints  # [n] -1 where no pattern fires
    start: NDArray[np.int32]  # [K + 1] where the entries of each kind begin
    pattern: NDArray[np.int32]  # [E]
    weight: Floats32  # [E]

    @classmethod
    def of(cls, strengths: sp.csr_matrix) -> _ByKind:
        """From [Q, n]."""
        by_token = strengths.tocsc()
        by_token.sort_indices()
        kind, first = alike(by_token.indptr, by_token.indices, by_token.data)
        one = sp.csr_matrix((by_token.data, by_token.indices, by_token.indptr), shape=by_token.shape[::-1])[first]
        return cls(kind, one.indptr, one.indices, one.data)

    def add(self, x: Floats32, rows: Ints, signs: Floats32, span: slice, total: Floats32) -> None:
        """total [Q, W] += strengths times a, for the tokens `span`; token i of them is row rows[i] of x, read as `Block` says."""
        kind = self.kind[span]
        add_kinds(x, rows, signs, np.argsort(kind, kind="stable"), kind, self.start, self.pattern, self.weight, total)


@dataclass(frozen=True)
class Null:
    """The foreign-label null of P labels. Every array is [P]; p is 1 and rank 0 for a label without rho."""

    p: Floats  # the larger of the two ranks
    p_units: Floats  # this label on the other units
    p_labels: Floats  # the other units' labels on this unit; nan where there are fewer than 200
    rank: Ints  # of the own unit among the units of its layer by this label, 1 is best; ties count against it
    pooled: NDArray[np.bool_]  # foreign units came from several layers


def foreign_null(sums: ForeignSums, n: float, c: Floats, c2: Floats, rho: Floats, a: list[Floats], a2: list[Floats]) -> Null:
    """Ranks of rho [P] among the foreign ones.

    n tokens; c, c2 [P] sums of the labels' strengths and their squares; a, a2 per layer [W] sums of the units.
    """
    labels = sums.labels
    p = len(labels)
    p_units, p_labels, rank = np.ones(p), np.full(p, np.nan), np.zeros(p, np.int64)
    pooled = np.isin(labels.layer, sums.pool)
    totals = {int(q): (c[i], c2[i]) for i, q in enumerate(labels.pattern)}
    groups = [[k] for k in range(len(sums.widths)) if k not in sums.pool] + ([sums.pool] if sums.pool else [])

    def ranks(group: list[int]) -> None:
        rows = np.flatnonzero(np.isin(labels.layer, group))
        if not len(rows):
            return
        widths = [sums.widths[k] for k in group]
        first = np.zeros(len(sums.widths) + 1, np.int64)  # of the columns of each layer
        first[group], first[-1] = np.cumsum([0, *widths[:-1]]), sum(widths)
        ac = sums.sums[group[0]] if len(group) == 1 else np.concatenate([sums.sums[k] for k in group], axis=1)
        mc, mc2 = np.array([totals[int(q)] for q in sums.patterns[group[0]]]).reshape(-1, 2).T / n
        ma, ma2 = (np.concatenate([x[k] for k in group]) / n for x in (a, a2))
        sa, sc = spread(ma, ma2), spread(mc, mc2)
        layer, which = labels.layer[rows], np.searchsorted(sums.patterns[group[0]], labels.pattern[rows])
        column = first[layer] + labels.column[rows]
        beaten, within, better = foreign_ranks(ac, n, mc, sc, ma, sa, which, column, first[layer], first[layer] + np.array(sums.widths)[layer], rho[rows])
        known_unit, known_label = ~np.isnan(sa) & ~np.isnan(sc).all(), ~np.isnan(sc)[which] & ~np.isnan(sa).all()
        others = known_label.sum() - np.bincount(column, known_label, len(ma))[column]  # labels of the same unit are not foreign to it
        live = ~np.isnan(rho[rows])
        p_units[rows] = np.where(live, rank_p(beaten, known_unit.sum() - known_unit[column]), 1.0)
        p_labels[rows] = np.where(live & (others >= ENOUGH), rank_p(better, others), np.nan)
        rank[rows] = np.where(live, 1 + within, 0)

    each(ranks, groups)  # the rows of one group are no other's
    return Null(np.fmax(p_units, p_labels), p_units, p_labels, rank, pooled)


def spread(m: Floats, m2: Floats) -> Floats:
    """Standard deviations from means of x and of x^2; nan where x does not vary."""
    v = m2 - m * m
    return np.sqrt(np.where(v > 1e-12 * m2, v, np.nan))


def correlation_matrix(ac: Floats, mc: Floats, mc2: Floats, ma: Floats, ma2: Floats) -> Floats:
    """[Q, W] correlations from means of products [Q, W], and means of c, c^2 [Q] and of a, a^2 [W]; nan where one of the two does not vary."""
    return (ac - mc[:, None] * ma) / spread(mc, mc2)[:, None] / spread(ma, ma2)
