"""Every label on its own unit: the sums from which rho, peak, mass recall and calibration are read.

Kept per group of documents (by hash of the document): tokens, sums of a and a^2 by unit; sums of c, c^2 and ac by label.
Kept over coarser groups: tokens and positives by level of strength; over all: sums of a by level, and the activation mass by stratum.
Mass is the sum of a over tokens with a > tau; the stratum of a window is the tenth of the largest activation of *explain* in which
its maximum falls (what is above falls in the last one).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.scorers.block import Block
from autolabel.scorers.entries import Firing, LayerEntries, Strengths
from autolabel.scorers.kernels import fired_groups, level_sums, own_sums
from autolabel.scorers.labels import Labels
from autolabel.scorers.walk import COARSE, GROUPS, FirstDocuments
from autolabel.stats import Sums
from autolabel.threads import each, stretches

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STRATA = 10


class OwnSums:
    """A part of the walk. `groups`: 256 where intervals are reported; fewer save memory where candidates are many."""

    def __init__(self, labels: Labels, groups: int = GROUPS, coarse: int = COARSE, mass: bool = True,
                 firing: Firing | None = None) -> None:
        if groups % coarse:
            raise ValueError("groups must be a multiple of coarse")
        self.labels, self.groups, self.coarse, self.mass = labels, groups, coarse, mass
        n, n_levels, widths = len(labels), len(labels.levels.value), [lay.width for lay in labels.layers]
        self.n = np.zeros(groups)  # tokens
        self.n_coarse = np.zeros(coarse)
        self.n_excerpts = 0
        self.a = [np.zeros((groups, w)) for w in widths]
        self.a2 = [np.zeros((groups, w)) for w in widths]
        self._tokens, self._a_level = np.zeros((groups, n_levels), np.float32), np.zeros((groups, n_levels))
        self.positives = np.zeros((coarse, n_levels))
        self.unit_positives = [np.zeros((coarse, w)) for w in widths]
        self.unit_mass = [np.zeros((STRATA, w)) for w in widths] if mass else []
        self.label_mass = np.zeros((STRATA if mass else 0, n))
        self.documents = FirstDocuments(n)
        self._by_layer = [_LayerLevels(labels, k) for k in range(len(labels.layers))]
        self._firing = firing or Firing(labels)
        self._entries: list[LayerEntries] = []

    def chunk(self, excerpts: Excerpts, strengths: Strengths) -> None:
        """Look up where the labels fire on the chunk."""
        self._entries = self._firing.read(strengths)
        self._cell = np.asarray(strengths.cell_of_token, np.int64)
        lengths = excerpts.lengths
        self.n += np.bincount(excerpts.block % self.groups, weights=lengths, minlength=self.groups)
        self.n_coarse += np.bincount(excerpts.block % self.coarse, weights=lengths, minlength=self.coarse)
        self.n_excerpts += len(excerpts)
        self._block = np.repeat(excerpts.block, lengths)

    def end_chunk(self) -> None:
        """Count documents, and let go of the chunk."""
        each(self._documents, range(len(self._entries)))
        self._entries = []
        self._firing.clear()

    def _documents(self, k: int) -> None:
        """Of the labels that fire in too few groups to say that they fire in enough documents, the documents of the chunk."""
        lay = self._by_layer[k]
        if lay.rows.stop == lay.rows.start:
            return
        self.documents.close(lay.rows.start + np.flatnonzero(fired_groups(self._tokens, lay.levels.start, lay.first) >= self.documents.enough))
        still = np.flatnonzero(self.documents.open[lay.label])
        if len(still):
            by_cell, by_token = self._entries[k].matrices(len(lay.label))
            blocks, number = np.unique(self._block, return_inverse=True)
            fired = _spread(number, len(blocks), self._cell, by_cell[:, still], by_token[:, still]).tocoo()
            live = fired.data > 0.5
            self.documents.add(lay.label[still[fired.col[live]]], blocks[fired.row[live]])

    def add(self, block: Block) -> None:
        """One layer of one batch."""
        k, lay = block.layer, self._by_layer[block.layer]
        of, span, mass = self._entries[k], block.batch.span, self.unit_mass[k] if self.mass else np.zeros((0, lay.width))
        own_sums(block.x, block.rows, block.length, block.signs, lay.tau, lay.tau99, lay.scale, block.block % self.groups, block.block % self.coarse,
                 self.a[k], self.a2[k], self.unit_positives[k], mass, self._cell[span], span.start,
                 of.by_cell.indptr, of.by_cell.data, of.by_cell.indices, of.added.indptr, of.added.data, of.added.indices,
                 of.taken.indptr, of.taken.data, of.taken.indices, lay.levels.start, lay.levels.stop, lay.label,
                 self._tokens, self._a_level, self.positives, self.label_mass)

    def finish(self) -> None:
        """From sums by level to sums by label, and the level of strength 0: what the others leave of the unit. Once, after the walk."""
        levels, zero = self.labels.levels, self.labels.levels.first[1:] - 1
        self.c, self.c2, self.ac = (np.empty((self.groups, len(self.labels))) for _ in range(3))

        each(lambda some: level_sums(self._tokens, self._a_level, levels.value, levels.first, some.start, some.stop, self.c, self.c2, self.ac),
             stretches(self.groups, 32))
        self.tokens, self.a_level = self._gather(self._tokens), self._a_level.sum(0)
        self.tokens[:, zero] = self.n_coarse[:, None] - levels.per_label(self.tokens)
        self.positives[:, zero] = self.of_unit(self.unit_positives) - levels.per_label(self.positives)
        self.a_level[zero] = self.of_unit([a.sum(0, keepdims=True) for a in self.a])[0] - levels.per_label(self.a_level)
        self._tokens, self._a_level = np.zeros((0, 0), np.float32), np.zeros((0, 0))

    def _gather(self, x: NDArray[np.floating]) -> Floats:
        """From groups to coarse groups: block % coarse = (block % groups) % coarse, as groups is a multiple of coarse."""
        out: Floats = x.reshape(self.groups // self.coarse, self.coarse, -1).sum(0, dtype=np.float64)
        return out

    def of_unit(self, units: list[Floats]) -> Floats:
        """[G, P] the column of each label's own unit."""
        parts = [np.take(x, self.labels.column[self.labels.of_layer(k)], axis=1) for k, x in enumerate(units)]  # [:, columns] would lie column by column
        return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0))

    def sums(self) -> Sums:
        """The six sums per group and label."""
        return Sums(self.n, self.of_unit(self.a), self.of_unit(self.a2), self.c, self.c2, self.ac)

    def mass_recall(self) -> tuple[Floats, Floats]:
        """Share of the activation mass on which the label fires: [P] over all, [P, 10] by stratum; nan where there is no mass."""
        fired, total = self.label_mass, self.of_unit(self.unit_mass)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(total.sum(0) > 0, fired.sum(0) / total.sum(0), np.nan), np.where(total > 0, fired / total, np.nan).T


class _LayerLevels:
    """What the levels of one layer's labels look up, as flat arrays."""

    def __init__(self, labels: Labels, layer: int) -> None:
        lay = labels.layers[layer]
        self.rows, self.levels = labels.of_layer(layer), labels.levels_of_layer(layer)
        self.label = labels.levels.label[self.levels]
        self.first = labels.levels.first[self.rows.start:self.rows.stop + 1] - self.levels.start
        self.width = lay.width
        self.tau, self.tau99 = lay.tau.astype(np.float32), lay.tau99.astype(np.float32)
        with np.errstate(divide="ignore"):
            self.scale = np.float32(STRATA) / lay.top.astype(np.float32)


def _spread(row: Ints, n_rows: int, cell: Ints, by_cell: sp.csr_matrix, by_token: sp.csr_matrix) -> sp.csr_matrix:
    """[rows, levels] entries of the tokens of each row (a group, a document), from entries by cell and by token."""
    ones, n = np.ones(len(row), np.float32), len(row)
    cells = sp.csr_matrix((ones, (row, cell)), shape=(n_rows, by_cell.shape[0]))
    tokens = sp.csr_matrix((ones, (row, np.arange(n))), shape=(n_rows, n))
    return sp.csr_matrix(cells @ by_cell + tokens @ by_token)
