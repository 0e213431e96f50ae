"""The foreign-label null: every label on every unit of its layer (science: p_foreign; identifiability rank).

sum over tokens of c_p a_u splits as (labels x cells) @ (cells x units), for what no context changes, plus
(labels x tokens) @ (tokens x units), for the few tokens that context adds. The middle table (sums of a by cell) is kept for
the most frequent cells of a chunk within a memory limit; tokens of rarer cells take the second way. Where a layer has fewer
than 200 other units, all such layers are pooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.scorers.entries import Strengths
from autolabel.scorers.labels import Labels
from autolabel.scorers.walk import Block
from autolabel.stats import rank_p
from autolabel.threads import each

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ENOUGH = 200  # foreign units, or foreign labels, below which a rank is too coarse
COLUMNS = 128  # of the activations that are multiplied at a time
TABLE_BYTES = 256 * 2**20  # for the sums of a by cell


class ForeignSums:
    """A part of the walk: S[p, u] = sum of c_p a_u over the split, for all patterns and units of a layer (or of the pool)."""

    def __init__(self, labels: Labels, table_bytes: int = TABLE_BYTES) -> None:
        self.labels = labels
        self.widths = [lay.width for lay in labels.layers]
        self.pool = [k for k, w in enumerate(self.widths) if w - 1 < ENOUGH]
        pooled = np.unique(labels.pattern[np.isin(labels.layer, self.pool)])
        self.patterns = [pooled if k in self.pool else np.unique(labels.pattern[labels.of_layer(k)]) for k in range(len(self.widths))]
        self.sums = [np.zeros((len(q), w)) for q, w in zip(self.patterns, self.widths, strict=True)]
        self.max_cells = max(64, table_bytes // (4 * max(1, sum(self.widths))))
        self.watchers: list[CellWatcher] = []  # what else wants the sums by cell

    def chunk(self, excerpts: Excerpts, strengths: Strengths) -> None:
        """Choose the cells that get a row, and put the rest by token."""
        import torch

        cell = np.asarray(strengths.cell_of_token, np.int64)
        n_cells = strengths.cells.shape[1]
        count = np.bincount(cell, minlength=n_cells)
        kept = np.sort(np.argsort(-count, kind="stable")[:min(self.max_cells, int((count > 0).sum()))])
        slot = np.full(n_cells, len(kept), np.int64)
        slot[kept] = np.arange(len(kept))
        self._slot = torch.from_numpy(slot[cell])
        self._rare = slot[cell] == len(kept)
        self._table = [torch.zeros(len(kept) + 1, w) for w in self.widths]
        self._cells = each(lambda q: strengths.cells[q].tocsc()[:, kept].tocsr().astype(np.float32), self.patterns)
        tokens = each(lambda q: self._tokens(strengths, q, cell), self.patterns)
        self._live = [np.unique(t.indices) for t in tokens]  # the others would be added up for nothing in every batch
        self._by_token = [t[:, live] for t, live in zip(tokens, self._live, strict=True)]
        self._added = [torch.zeros(len(live), w) for live, w in zip(self._live, self.widths, strict=True)]
        cell_token = np.zeros(n_cells, np.int64)
        cell_token[cell] = excerpts.tokens
        self._kept_token, self._kept_count, self._tokens_of = cell_token[kept], count[kept], excerpts.tokens

    def _tokens(self, strengths: Strengths, patterns: Ints, cell: Ints) -> sp.csr_matrix:
        """[tokens, Q]: what context adds everywhere, and all of c at tokens without a row in the table."""
        out = strengths.extra[patterns].T.tocsr().astype(np.float32)
        if self._rare.any():
            whole = strengths.cells[patterns].T.tocsr().astype(np.float32)[cell]
            out = out + sp.diags_array(self._rare.astype(np.float32)).tocsr() @ whole
        return sp.csr_matrix(out)

    def add(self, block: Block) -> None:
        """One layer of one batch."""
        k, span = block.layer, block.batch.span
        self._table[k].index_add_(0, self._slot[span], block.flat)
        here = self._by_token[k][span]
        if here.nnz:
            _add_product(self._added[k], here.T.tocsr(), block.flat)
        rare = np.flatnonzero(self._rare[span])
        if len(rare):
            for watch in self.watchers:
                watch.rows(k, self._tokens_of[span][rare], np.ones(len(rare)), block.flat.numpy()[rare])

    def end_chunk(self) -> None:
        """From sums by cell to sums by pattern."""
        import torch

        for k, table in enumerate(self._table):
            rows = table[:-1].numpy()
            whole = torch.zeros(len(self.patterns[k]), self.widths[k])
            _add_product(whole, self._cells[k], table[:-1])
            whole[torch.from_numpy(self._live[k].astype(np.int64))] += self._added[k]
            self.sums[k] += whole.numpy()
            for watch in self.watchers:
                watch.rows(k, self._kept_token, self._kept_count.astype(np.float64), rows)
        self._table, self._by_token, self._added = [], [], []


class CellWatcher(Protocol):
    """Wants sums of a by token type: rows(layer, token id [R], how many tokens [R], sum of a [R, W])."""

    def rows(self, layer: int, token: Ints, count: Floats, total: NDArray[np.float32]) -> None:
        """Some rows; every token of the split is in exactly one."""


def _add_product(total: torch.Tensor, left: sp.csr_matrix, right: torch.Tensor) -> None:
    """total += sparse @ dense on all threads: a gemm where the left side is dense enough for it to be faster; else weighted sums of rows,
    a few columns at a time, so that the rows stay in the cache."""
    import torch

    if left.nnz > 0.1 * left.shape[0] * left.shape[1]:
        torch.addmm(total, torch.from_numpy(left.toarray()), right, out=total)
        return
    index, offset, weight = (torch.from_numpy(x) for x in (left.indices.astype(np.int64), left.indptr[:-1].astype(np.int64), left.data))
    for first in range(0, right.shape[1], COLUMNS):
        part = slice(first, first + COLUMNS)
        total[:, part] += torch.nn.functional.embedding_bag(index, right[:, part], offset, mode="sum", per_sample_weights=weight)


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

    def correlations(k: int) -> Floats:
        cs = np.array([totals[int(q)] for q in sums.patterns[k]]).reshape(-1, 2) / n
        return correlation_matrix(sums.sums[k], cs[:, 0], cs[:, 1], a[k] / n, a2[k] / n, n)

    def ranks(group: list[int]) -> None:
        rows = np.flatnonzero(np.isin(labels.layer, group))
        if not len(rows):
            return
        matrix = correlations(group[0]) if len(group) == 1 else np.concatenate([correlations(k) for k in group], axis=1)
        offset = np.zeros(len(sums.widths), np.int64)
        offset[group] = np.cumsum([0] + [sums.widths[k] for k in group[:-1]])
        column = offset[labels.layer[rows]] + labels.column[rows]
        which = np.searchsorted(sums.patterns[group[0]], labels.pattern[rows])
        plain = np.array_equal(which, np.arange(matrix.shape[0]))  # the rule: every label has a pattern of its own
        on_unit = np.ascontiguousarray(matrix.T) if plain else matrix.T[:, which]  # [W, labels] every label on this unit
        foreign = column[None, :] != np.arange(matrix.shape[1])[:, None] if len(set(column.tolist())) < len(column) else None
        live = np.flatnonzero(~np.isnan(rho[rows]))
        layer_of_column = np.repeat(np.asarray(group), [sums.widths[k] for k in group])
        known_unit, known_label = ~np.isnan(matrix).all(0), ~np.isnan(matrix).all(1)[which]
        for first in range(0, len(live), 64):
            at = live[first:first + 64]
            own, size, line = column[at], rho[rows[at]][:, None], np.arange(len(at))
            beaten = matrix[which[at]] >= size  # this label on every unit; nan is not
            beaten[line, own] = False
            p_units[rows[at]] = rank_p(beaten.sum(1), known_unit.sum() - known_unit[own])
            if len(group) > 1:
                beaten &= layer_of_column[None, :] == labels.layer[rows[at]][:, None]
            rank[rows[at]] = 1 + beaten.sum(1)
            better = on_unit[own] >= size
            if foreign is None:
                better[line, at] = False
                others = known_label.sum() - known_label[at]
            else:
                better &= foreign[own]
                others = (known_label[None, :] & foreign[own]).sum(1)
            p_labels[rows[at]] = np.where(others >= ENOUGH, rank_p(better.sum(1), others), np.nan)

    each(ranks, groups)  # the rows of one group are no other's
    return Null(np.fmax(p_units, p_labels), p_units, p_labels, rank, pooled)


def correlation_matrix(ac: Floats, mc: Floats, mc2: Floats, ma: Floats, ma2: Floats, n: float = 1.0) -> Floats:
    """[Q, W] correlations from n times the means of products [Q, W], and means of c, c^2 [Q] and of a, a^2 [W]; nan where one of the two does not vary."""
    va, vc = ma2 - ma * ma, mc2 - mc * mc
    sa, sc = np.sqrt(np.where(va > 1e-12 * ma2, va, np.nan)), np.sqrt(np.where(vc > 1e-12 * mc2, vc, np.nan))
    out = np.empty(ac.shape)
    for first in range(0, len(out), 64):  # some rows at a time: what is in between stays in the cache
        rows = slice(first, first + 64)
        np.subtract(ac[rows] / n, mc[rows, None] * ma, out=out[rows])
        out[rows] /= sc[rows, None]
        out[rows] /= sa
    return out
