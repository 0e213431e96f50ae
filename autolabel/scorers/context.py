"""rho_context: what a label says about a unit beyond token type and position.

The additive effects of both (effects.py, fitted on *explain*) are removed from a and from c, on the test tokens whose type
takes part; the correlation of what is left, with the interval of correlation.py over the same groups of documents.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.scorers.block import Block
from autolabel.scorers.effects import Design, PatternEffects
from autolabel.scorers.entries import Firing, LayerEntries, Strengths
from autolabel.scorers.labels import Labels
from autolabel.scorers.lookup import Table
from autolabel.scorers.walk import GROUPS, FirstDocuments
from autolabel.stats import Sums

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEFT = 1e-4  # share of the variance of c below which nothing is left of it


class ContextSums:
    """A part of the walk, for the chosen labels of the layers that have tables (`design` and `table` not None)."""

    def __init__(self, labels: Labels, tables: Sequence[Table | None], designs: Sequence[Design | None],
                 effects: Sequence[PatternEffects | None], groups: int = GROUPS, firing: Firing | None = None) -> None:
        import torch

        self.labels, self.designs, self.tables, self.groups = labels, designs, tables, groups
        n = len(labels)
        self.n = [np.zeros(groups) for _ in labels.layers]  # tokens that take part, by layer
        self.left_out = [0 for _ in labels.layers]  # tokens that do not
        self.a, self.a2, self.c, self.c2, self.ac = (np.zeros((groups, n)) for _ in range(5))
        self.raw_c, self.raw_c2 = np.zeros(n), np.zeros(n)  # of c itself over the same tokens
        self.documents = FirstDocuments(n)
        self._beta: list[tuple[torch.Tensor, torch.Tensor] | None] = []
        self._means: list[NDArray[np.float16] | NDArray[np.float32] | None] = []
        self._c_means: list[sp.csr_matrix | None] = []
        self._rows: list[Ints] = []
        for k, (table, design, effect) in enumerate(zip(tables, designs, effects, strict=True)):
            rows = labels.of_layer(k)
            if table is None or design is None or effect is None or rows.start == rows.stop:
                self._beta.append(None)
                self._means.append(None)
                self._c_means.append(None)
                continue
            column, pattern = labels.column[rows], np.searchsorted(effect.patterns, labels.pattern[rows])
            used = np.isin(table.types, design.types)
            mean = table.mean[used]
            std = labels.layers[k].std[column]
            beta_a = design.fit(mean[:, column].astype(np.float64), table.position_mean[:, column].astype(np.float64), std)
            beta = (torch.from_numpy(beta_a.astype(np.float32)), torch.from_numpy(effect.beta[:, pattern].astype(np.float32)))
            self._beta.append(beta)
            self._means.append(mean)
            self._c_means.append(effect.by_type[:, pattern].tocsr())
        self._value = labels.levels.value
        self._label = labels.levels.label
        self._firing = firing or Firing(labels)  # of these labels and perhaps others
        self._level = [self._firing.levels_of(labels, k) for k in range(len(labels.layers))]
        self._entries: list[LayerEntries] = []

    def chunk(self, excerpts: Excerpts, strengths: Strengths) -> None:
        """Look up where the chosen labels fire."""
        live = [b is not None for b in self._beta]
        self._entries = self._firing.read(strengths)
        self._cell = np.asarray(strengths.cell_of_token, np.int64)
        self._rows = []
        position = excerpts.position
        group = np.repeat(excerpts.block % self.groups, excerpts.lengths)
        for k, design in enumerate(self.designs):
            row = design.find(excerpts.tokens, position) if design is not None and live[k] else np.full(excerpts.n_tokens, -1, np.int64)
            self._rows.append(row)
            self.left_out[k] += int((row < 0).sum())
            self.n[k] += np.bincount(group[row >= 0], minlength=self.groups)
        self._position = position

    def end_chunk(self) -> None:
        """Let go of the chunk."""
        self._entries = []
        self._firing.clear()

    def add(self, block: Block) -> None:
        """One layer of one batch."""
        import torch

        k, span = block.layer, block.batch.span
        beta, means, entries, design, c_means = self._beta[k], self._means[k], self._entries[k], self.designs[k], self._c_means[k]
        if beta is None or means is None or design is None or c_means is None:
            return
        rows = self.labels.of_layer(k)
        first_level = int(self.labels.levels.first[rows.start])
        windows, length, width = block.a.shape
        n, labels = windows * length, rows.stop - rows.start
        row = self._rows[k][span]
        used = np.flatnonzero(row >= 0)
        if not len(used):
            return
        group = block.block % self.groups
        c = torch.zeros(n, labels)
        for e in entries.batch(self._cell[span], span)[:2]:  # the stronger level that context adds overwrites that of the cell
            level = self._level[k][e.level]
            mine = np.flatnonzero(level >= 0)
            number = first_level + level[mine]
            at = e.row[mine] * labels + (self._label[number] - rows.start)
            c.view(-1)[torch.from_numpy(at)] = torch.from_numpy(self._value[number].astype(np.float32))
        skipped = torch.from_numpy(np.flatnonzero(row < 0))
        c[skipped] = 0
        window, label = np.nonzero((c.view(windows, length, labels).amax(1) > 0).numpy())
        self.documents.add(rows.start + label, block.block[window])
        self.raw_c[rows] += c.sum(0).numpy()
        self.raw_c2[rows] += torch.linalg.vector_norm(c, dim=0).numpy().astype(np.float64) ** 2
        types = row[used]
        mix = design.by_type[types].copy()
        mix[np.arange(len(used)), self._position[span][used]] -= 1
        kernel = torch.from_numpy(mix)
        place = torch.from_numpy(used)
        column = self.labels.column[rows]
        a = torch.zeros(n, labels)
        whole = torch.from_numpy(block.flat)
        own = whole[place] if len(column) == width and (column == np.arange(width)).all() else whole[place][:, torch.from_numpy(column)]
        picked = torch.from_numpy(means[types]) if len(column) == width and (column == np.arange(width)).all() else torch.from_numpy(
            means[types[:, None], column[None, :]])
        a[place] = torch.addmm(own.sub_(picked), kernel, beta[0], out=own)
        del own, picked
        rest = c[place].sub_(torch.from_numpy(c_means[types].toarray()))
        c[place] = torch.addmm(rest, kernel, beta[1], out=rest)
        del rest
        a, c = a.view(windows, length, labels), c.view(windows, length, labels)
        for kept, x, y in ((self.a, a, None), (self.c, c, None), (self.a2, a, a), (self.c2, c, c), (self.ac, a, c)):
            for w in range(windows):  # a window at a time: a product of all of them would be as large as a
                kept[group[w], rows] += (x[w] if y is None else x[w] * y[w]).sum(0).numpy()

    def sums(self) -> Sums:
        """Six sums per group and label of what is left; c is exactly 0 for a label of which nothing is left."""
        counts = np.concatenate([np.repeat(x[:, None], rows.stop - rows.start, axis=1)
                                 for k, x in enumerate(self.n) for rows in [self.labels.of_layer(k)]], axis=1)
        return Sums(counts, self.a, self.a2, self.c, self.c2, self.ac)

    def nothing_left(self) -> NDArray[np.bool_]:
        """[P] the variance of c that is left is below 1e-4 of the variance of c: rho_context is 0."""
        n = self.sums().n.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            whole = self.raw_c2 / n - (self.raw_c / n) ** 2
            left = self.c2.sum(0) / n - (self.c.sum(0) / n) ** 2
            return np.asarray((whole > 1e-12) & (left < LEFT * whole))
