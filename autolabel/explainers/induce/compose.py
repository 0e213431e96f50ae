"""Puts a label together, for all units of a layer at once: words first, then features, then contexts, each kept if it pays.

A label is a strength per token, the largest over its clauses. What a clause changes follows from
the cells or tokens where it holds and is stronger than what stands already: a sparse list of entries per unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.explainers.excess import PRIOR, Words, top
from autolabel.explainers.gather import Layer
from autolabel.explainers.lexicon import Lexicon
from autolabel.explainers.objective import Sums, empty, level_of, objective

Ints = NDArray[np.int64]
Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class State:
    """U labels in the making."""

    level: Levels  # [U, C] level of each cell
    sums: Sums
    scale: NDArray[np.float32]  # [U] the excess that strength 1 stands for


@dataclass(frozen=True)
class Lists:
    """The words of each label."""

    words: Ints  # [U, k] rows of `Words`, -1: none
    level: Levels  # [U, k]


def start(layer: Layer, lexicon: Lexicon, response: Words, k: int, bar: float, cost: float) -> tuple[State, Lists]:
    """The best list of at most k words with strengths, by the objective on shrunk means minus `cost` per word."""
    n_units = response.z.shape[1]
    ranking = top(response.z, k)
    z, excess = np.take_along_axis(response.z, ranking, 0), np.take_along_axis(response.excess, ranking, 0)
    fine = np.logical_and.accumulate(z > bar, axis=0)
    scale = np.where(fine, excess, 0).max(0, initial=0).astype(np.float32)
    level = np.where(fine, level_of(excess / np.where(scale > 0, scale, 1)), 0).astype(np.uint8)
    base = (layer.n_strong / max(float(layer.n.sum()), 1)).astype(np.float32)
    sums = best_sums = empty(int(layer.n.sum()), layer.mean, layer.std, layer.n_strong)
    best, length = np.zeros(n_units), np.zeros(n_units, np.int64)
    everyone = np.arange(n_units)
    for row in range(len(ranking)):
        w = ranking[row]
        n = np.where(fine[row], response.n[w], 0).astype(np.float32)
        share = (response.n_eff[w] / (response.n_eff[w] + PRIOR)).astype(np.float32)
        strong = np.where(n > 0, n * base + share * (response.strong[w, everyone] - n * base), 0).astype(np.float32)
        sums = sums.add(everyone, np.zeros(n_units, np.uint8), level[row], n, n * (layer.mean + excess[row]), strong)
        value = objective(sums) - cost * (row + 1)
        better = fine[row] & (level[row] > 0) & (value > best)
        best, length, best_sums = np.where(better, value, best), np.where(better, row + 1, length), best_sums.pick(sums, better)
    listed = np.arange(len(ranking))[:, None] < length
    chosen = Lists(np.where(listed & (level > 0), ranking, -1).T, np.where(listed, level, 0).T)
    return State(_cells(chosen, response, lexicon), best_sums, scale), chosen


def _cells(chosen: Lists, response: Words, lexicon: Lexicon) -> Levels:
    """[U, C] the level that the lists give to each cell."""
    units, places = np.nonzero(chosen.words >= 0)
    words = response.ids[chosen.words[units, places]]
    table = np.zeros((len(chosen.words), len(lexicon.words) + 1), np.uint8)
    table[units, words] = chosen.level[units, places]
    of_cell = np.where(lexicon.cell_word >= 0, lexicon.cell_word, len(lexicon.words))
    return table[:, of_cell]


def entries(rows: sp.csr_matrix, pick: Ints) -> tuple[Ints, Ints]:
    """Units and columns of the ones of rows[pick[u]] for every unit u; pick -1: none."""
    sizes = np.diff(rows.indptr)[pick] * (pick >= 0)
    units = np.repeat(np.arange(len(pick)), sizes)
    begin = np.repeat(rows.indptr[pick] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
    return units, rows.indices[np.arange(len(units)) + begin].astype(np.int64)


def on_cells(state: State, layer: Layer, rows: sp.csr_matrix, pick: Ints, least: int = 1) -> tuple[Sums, Levels, Ints, Ints]:
    """A clause about the word alone: the sums with it, its level, and the entries (unit, cell) that it raises."""
    units, cells = entries(rows, pick)
    before = state.level[units, cells]
    n, a, strong = layer.n[cells], layer.sums[cells, units], layer.strong[cells, units]
    level = _level(state, layer, units, before == 0, n, a, least)
    after = np.maximum(before, level[units])
    return state.sums.add(units, before, after, n, a, strong), level, units, cells


def _level(state: State, layer: Layer, units: Ints, bare: NDArray[np.bool_], n: NDArray[np.float32], a: NDArray[np.float32],
           least: int) -> Levels:
    """[U] the level of the mean excess over the entries that no clause covers yet."""
    n_units = len(state.scale)
    count = np.bincount(units[bare], n[bare], n_units)
    mean = np.divide(np.bincount(units[bare], a[bare], n_units), count, out=np.zeros(n_units), where=count > 0) - layer.mean
    level = level_of((mean / np.where(state.scale > 0, state.scale, 1)).astype(np.float32))
    return np.where(mean > 0, np.maximum(level, least), 0).astype(np.uint8)


def on_tokens(state: State, layer: Layer, lexicon: Lexicon, above: Levels, units: Ints, tokens: Ints,
              weight: float = 1.0, least: int = 1) -> tuple[Sums, Levels]:
    """A clause about context: the sums with it, and its level [U]. `above` [U, N]: levels that earlier context clauses give.

    Each entry stands for `weight` tokens like it.
    """
    before = np.maximum(state.level[units, lexicon.cell[tokens]], above[units, tokens])
    a = layer.a[tokens, units]
    strong = (a > layer.tau99[units]).astype(np.float32)
    n = np.full(len(units), weight, np.float32)
    a, strong = a * n, strong * n
    level = _level(state, layer, units, before == 0, n, a, least)
    after = np.maximum(before, level[units])
    return state.sums.add(units, before, after, n, a, strong), level
