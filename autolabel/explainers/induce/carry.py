"""Which features carry over to words that were left out of the search.

Words that occur in one or two document groups stand in for the words of a text never seen (Good and Turing: what has been
seen once is like what has not been seen). They are halved by a hash; a feature counts where it sets its words apart from
the others of both halves.
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

RARE = 2  # document groups
MIN_CELLS = 3  # rare cells of a feature in each half
BAR = 2.3  # smallest z in each half; both halves by chance: one in 8,700


@dataclass(frozen=True)
class Halves:
    """The rare cells of a lexicon, in two halves of the vocabulary."""

    cells: tuple[NDArray[np.int64], NDArray[np.int64]]  # cell numbers
    rows: tuple[sp.csr_matrix, sp.csr_matrix]  # [F, cells of the half] of the features
    count: tuple[NDArray[np.float32], NDArray[np.float32]]  # [F] cells of each feature


def halves(lexicon: Lexicon, rows: sp.csr_matrix) -> Halves:
    """Rare cells by the hash of their word. `rows` [F, C]: the features."""
    word = lexicon.cell_word
    rare = (word >= 0) & (lexicon.word_spread[word] <= RARE)
    side = np.array([hash63("half", w) & 1 for w in lexicon.words] + [0], np.int64)[word]
    cells = (np.flatnonzero(rare & (side == 0)), np.flatnonzero(rare & (side == 1)))
    parts = (sp.csr_matrix(rows[:, cells[0]]), sp.csr_matrix(rows[:, cells[1]]))
    return Halves(cells, parts, (np.asarray(parts[0].sum(1)).ravel(), np.asarray(parts[1].sum(1)).ravel()))


def candidates(layer: Layer, split: Halves, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """[U, k] the features that carry over best (-1: none), and their correlation with the activation over the rare cells."""
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
    spread = mean.std(0)
    mean /= np.where(spread > 0, spread, np.inf)
    z = np.asarray(rows @ mean) / np.sqrt(np.maximum(count, 1))[:, None]
    z[count < MIN_CELLS] = -np.inf
    return z.astype(np.float32)
