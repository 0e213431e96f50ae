"""Every label on its own unit: the sums from which rho, peak, mass recall and calibration are read.

Kept per group of documents (by hash of the document): tokens, sums of a and a^2 by unit; sums of c, c^2 and ac by label.
Kept over coarser groups: tokens, positives and sums of a by level of strength, and the activation mass by stratum. Mass is
the sum of a over tokens with a > tau; the stratum of a window is the tenth of the largest activation of *explain* in which
its maximum falls (what is above falls in the last one).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.scorers.entries import LayerEntries, Strengths
from autolabel.scorers.labels import Labels
from autolabel.scorers.walk import COARSE, GROUPS, Block, FirstDocuments, add_rows
from autolabel.stats import Sums

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STRATA = 10


class OwnSums:
    """A part of the walk. `groups`: 256 where intervals are reported; fewer save memory where candidates are many."""

    def __init__(self, labels: Labels, groups: int = GROUPS, coarse: int = COARSE, mass: bool = True) -> None:
        self.labels, self.groups, self.coarse, self.mass = labels, groups, coarse, mass
        n, n_levels, widths = len(labels), len(labels.levels.value), [lay.width for lay in labels.layers]
        self.n = np.zeros(groups)  # tokens
        self.n_coarse = np.zeros(coarse)
        self.n_excerpts = 0
        self.a = [np.zeros((groups, w)) for w in widths]
        self.a2 = [np.zeros((groups, w)) for w in widths]
        self.c, self.c2, self.ac = (np.zeros((groups, n)) for _ in range(3))
        self.tokens, self.positives, self.a_level = (np.zeros((coarse, n_levels)) for _ in range(3))
        self.unit_a = [np.zeros((coarse, w)) for w in widths]
        self.unit_positives = [np.zeros((coarse, w)) for w in widths]
        self.unit_mass = [np.zeros((coarse * STRATA, w)) for w in widths] if mass else []
        self.label_mass = np.zeros((coarse * STRATA, n if mass else 0))
        self.documents = FirstDocuments(n)
        self._by_layer = [_LayerLevels(labels, k) for k in range(len(labels.layers))]
        self._entries: list[LayerEntries] = []

    def chunk(self, excerpts: Excerpts, strengths: Strengths) -> None:
        """Look up where the labels fire on the chunk."""
        self._entries = [LayerEntries.build(self.labels, k, strengths) for k in range(len(self.labels.layers))]
        self._cell = np.asarray(strengths.cell_of_token, np.int64)
        lengths = excerpts.lengths
        self.n += np.bincount(excerpts.block % self.groups, weights=lengths, minlength=self.groups)
        self.n_coarse += np.bincount(excerpts.block % self.coarse, weights=lengths, minlength=self.coarse)
        self.n_excerpts += len(excerpts)

    def end_chunk(self) -> None:
        """Let go of the chunk."""
        self._entries = []

    def add(self, block: Block) -> None:
        """One layer of one batch."""
        import torch

        k, a = block.layer, block.a
        group, coarse = block.block % self.groups, block.block % self.coarse
        lay = self._by_layer[k]
        window_a = a.sum(1).numpy()
        add_rows(self.a[k], group, window_a)
        add_rows(self.unit_a[k], coarse, window_a)
        add_rows(self.a2[k], group, torch.mul(a, a, out=block.scratch).sum(1).numpy())
        add_rows(self.unit_positives[k], coarse, torch.gt(a, lay.tau99, out=block.scratch).sum(1).numpy())
        stratum = np.zeros((0, 0), np.int64)
        if self.mass:
            mass = torch.gt(a, lay.tau, out=block.scratch).mul_(a).sum(1).numpy()
            stratum = _stratum(a.amax(1).numpy(), lay.top)
            window, unit = np.nonzero(mass)
            np.add.at(self.unit_mass[k], (coarse[window] * STRATA + stratum[window, unit], unit), mass[window, unit])
        if lay.rows.start == lay.rows.stop:
            return
        tokens, positives, total = self._levels(block, lay, coarse, stratum)
        first = lay.first[:-1]
        self.documents.add(lay.rows.start, np.add.reduceat(tokens, first, axis=1) > 0.5, block.block)
        scaled = tokens * lay.value
        add_rows(self.c[:, lay.rows], group, np.add.reduceat(scaled, first, axis=1))
        add_rows(self.c2[:, lay.rows], group, np.add.reduceat(scaled * lay.value, first, axis=1))
        add_rows(self.ac[:, lay.rows], group, np.add.reduceat(total * lay.value, first, axis=1))
        for kept, new in ((self.tokens, tokens), (self.positives, positives), (self.a_level, total)):
            add_rows(kept[:, lay.levels], coarse, new)

    def _levels(self, block: Block, lay: _LayerLevels, coarse: Ints, stratum: Ints) -> tuple[Floats, Floats, Floats]:
        """Tokens, positives and sums of a, each [B, levels of the layer], 0 at the level of strength 0."""
        windows, length, width = block.a.shape
        flat, n_levels = block.a.view(-1).numpy(), len(lay.value)
        shape = (windows, n_levels)
        out = [np.zeros(shape) for _ in range(3)]
        for e in self._entries[block.layer].batch(self._cell[block.batch.span], block.batch.span):
            if not len(e.row):
                continue
            level = e.level
            v = flat[e.row * width + lay.column[level]]
            window = e.row // length
            key = window * n_levels + level
            size = windows * n_levels
            strong = v > lay.tau99_of[level]
            weight, value = e.sign, v if e.sign is None else v * e.sign
            out[0] += np.bincount(key, weights=weight, minlength=size).reshape(shape)
            out[1] += np.bincount(key[strong], weights=None if weight is None else weight[strong], minlength=size).reshape(shape)
            out[2] += np.bincount(key, weights=value, minlength=size).reshape(shape)
            if self.mass:
                at = np.flatnonzero(v > lay.tau_of[level])
                label, row = lay.label[level[at]], window[at]
                np.add.at(self.label_mass, (coarse[row] * STRATA + stratum[row, lay.column[level[at]]], label), value[at])
        return out[0], out[1], out[2]

    def finish(self) -> None:
        """Fill in the level of strength 0 of every label: what the other levels leave of its unit. Call once, after the walk."""
        zero = self.labels.levels.first[1:] - 1
        for kept, units in ((self.tokens, None), (self.positives, self.unit_positives), (self.a_level, self.unit_a)):
            fired = self.labels.levels.per_label(kept)
            kept[:, zero] = self.of_unit(units) - fired if units is not None else self.n_coarse[:, None] - fired

    def of_unit(self, units: list[Floats]) -> Floats:
        """[G, P] the column of each label's own unit."""
        parts = [x[:, self.labels.column[self.labels.of_layer(k)]] for k, x in enumerate(units)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0))

    def sums(self) -> Sums:
        """The six sums per group and label."""
        return Sums(self.n, self.of_unit(self.a), self.of_unit(self.a2), self.c, self.c2, self.ac)

    def mass_recall(self) -> tuple[Floats, Floats]:
        """Share of the activation mass on which the label fires: [P] over all, [P, 10] by stratum; nan where there is no mass."""
        fired = self.label_mass.reshape(self.coarse, STRATA, -1).sum(0)
        total = self.of_unit([m.reshape(self.coarse, STRATA, -1).sum(0) for m in self.unit_mass])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(total.sum(0) > 0, fired.sum(0) / total.sum(0), np.nan), np.where(total > 0, fired / total, np.nan).T


class _LayerLevels:
    """What the levels of one layer's labels look up, as flat arrays, and the thresholds of its units as tensors."""

    def __init__(self, labels: Labels, layer: int) -> None:
        import torch

        lay = labels.layers[layer]
        self.rows, self.levels = labels.of_layer(layer), labels.levels_of_layer(layer)
        self.value = labels.levels.value[self.levels]
        self.label = labels.levels.label[self.levels]
        self.first = labels.levels.first[self.rows.start:self.rows.stop + 1] - self.levels.start
        self.column = labels.column[self.label]
        self.tau = torch.from_numpy(lay.tau.astype(np.float32))
        self.tau99 = torch.from_numpy(lay.tau99.astype(np.float32))
        self.tau_of, self.tau99_of = self.tau.numpy()[self.column], self.tau99.numpy()[self.column]
        self.top = lay.top.astype(np.float32)


def _stratum(largest: NDArray[np.float32], top: NDArray[np.float32]) -> Ints:
    """Which tenth of [0, top] each maximum falls in, [B, W]; above top: the last."""
    with np.errstate(divide="ignore", invalid="ignore"):
        tenth = np.nan_to_num(largest * (STRATA / top), posinf=STRATA)
    return np.clip(tenth, 0, STRATA - 1).astype(np.int64)
