"""Which features carry over to words that were left out of the search.

The vocabulary is halved by a hash; a feature counts where it sets its words apart from the others in both halves, every word
counted once, however common. Two thirds of the words of a corpus of this size occur in one or two documents and are much
like the words of a text never seen (Good and Turing), so that common words do not decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.explainers.excess import top
from autolabel.explainers.gather import Layer
from autolabel.explainers.lexicon import Lexicon
from autolabel.types import hash63

MIN_CELLS = 3  # cells of a feature in each half
BAR = 2.3  # smallest z in each half; both halves by chance: one in 8,700


@dataclass(frozen=True)
class Halves:
    """The cells of a lexicon, in two halves of the vocabulary."""

    cells: tuple[NDArray[np.int64], NDArray[np.int64]]  # cell numbers
    rows: tuple[sp.csr_matrix, sp.csr_matrix]  # [F, cells of the half] of the features
    count: tuple[NDArray[np.float32], NDArray[np.float32]]  # [F] cells of each feature


def halves(lexicon: Lexicon, rows: sp.csr_matrix) -> Halves:
    """Cells by the hash of their word. `rows` [F, C]: the features."""
    word = lexicon.cell_word
    side = np.array([hash63("half", w) & 1 for w in lexicon.words] + [0], np.int64)[word]
    cells = (np.flatnonzero((word >= 0) & (side == 0)), np.flatnonzero((word >= 0) & (side == 1)))
    parts = (sp.csr_matrix(rows[:, cells[0]]), sp.csr_matrix(rows[:, cells[1]]))
    return Halves(cells, parts, (np.asarray(parts[0].sum(1)).ravel(), np.asarray(parts[1].sum(1)).ravel()))


def candidates(layer: Layer, split: Halves, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """[U, k] the features that carry over best (-1: none), and their correlation with the mean activation over cells."""
    found = [_z(layer, split, side) for side in (0, 1)]
    n_cells = sum(len(c) for c in split.cells)
    both, weakest = (found[0] + found[1]) / np.float32(np.sqrt(2)), np.minimum(found[0], found[1])
    both = np.where(weakest >= BAR, both, -np.inf).astype(np.float32)
    pick = top(both, k)
    z = np.take_along_axis(both, pick, 0)
    share = ((split.count[0] + split.count[1]) / max(n_cells, 1))[pick]
    rho = np.where(np.isfinite(z), z / np.sqrt(max(n_cells, 1)) / np.sqrt(np.maximum(1 - share, .1)), 0)
    return np.where(np.isfinite(z), pick, -1).T, rho.T.astype(np.float32)


def _z(layer: Layer, split: Halves, side: int) -> NDArray[np.float32]:
    cells, rows, count = split.cells[side], split.rows[side], split.count[side]
    if not len(cells):
        return np.full((rows.shape[0], layer.sums.shape[1]), -np.inf, np.float32)
    mean = layer.sums[cells] / layer.n[cells, None]
    mean -= mean.mean(0)
    spread = np.sqrt(np.einsum("cu,cu->u", mean, mean) / np.float32(len(mean)))
    mean /= np.where(spread > 0, spread, np.inf)
    z = np.asarray(rows @ mean) / np.sqrt(np.maximum(count, 1))[:, None]
    z[count < MIN_CELLS] = -np.inf
    return z.astype(np.float32)
