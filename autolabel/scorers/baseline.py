"""The baseline of the same length: the best word list with at most K words, chosen on *select*, for every K at once.

Lists are nested (the explainer `tokens` orders the words of a unit, best first), so counts by word and unit and their
cumulative sums give rho and peak of every list: with n_k tokens, sum of a s_k and positives h_k on the first k words,

    rho_k = (s_k/N - m(a) n_k/N) / sqrt(var(a) (n_k/N)(1 - n_k/N)),   peak_k = (h_k/H)(h_k/n_k) + (1 - h_k/H)(H/N)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.patterns.syntax import Pattern
from autolabel.scorers.block import Block
from autolabel.scorers.entries import Grouped, Strengths
from autolabel.scorers.labels import Layer, word_list
from autolabel.types import Side, Unit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Key = tuple[str, Side]


class Ranked(Protocol):
    """Ordered word lists of all units: `ids[layer, side][u]` are numbers into `words`, best first, -1 after the last."""

    @property
    def words(self) -> Sequence[str]:
        """The words."""

    @property
    def ids(self) -> Mapping[Key, Ints]:
        """(layer, side) -> [U, K]."""


@dataclass(frozen=True)
class Baselines:
    """The best list of at most K words of every unit."""

    words: tuple[str, ...]
    ids: Mapping[Key, Ints]  # [U, K] numbers into `words`, best first, -1 after the last
    best: Mapping[Key, Ints]  # [U, K] how many of them make the best list of at most 1, 2, ... K words; 0: there is none

    def list(self, unit: Unit, size: int) -> tuple[str, ...]:
        """The best list of at most `size` words; empty where no word stands out for the unit."""
        key = (unit.layer, unit.side)
        if key not in self.best:
            return ()
        ids = self.ids[key][unit.index]
        k = int(self.best[key][unit.index, min(max(size, 1), len(ids)) - 1])
        return tuple(self.words[i] for i in ids[:k])

    def pattern(self, unit: Unit, size: int) -> Pattern | None:
        """The same as a pattern; None where there is none."""
        words = self.list(unit, size)
        return word_list(words) if words else None


class NestedLists:
    """A part of the walk over select. Its patterns, one per distinct word, stand at `first_pattern` of the walk's patterns."""

    def __init__(self, layers: Sequence[Layer], ranked: Ranked) -> None:
        self.layers, self.ranked = layers, ranked
        self.ids = [np.concatenate([ranked.ids[lay.site.layer, side] for side in lay.sides])
                    if all((lay.site.layer, side) in ranked.ids for side in lay.sides)
                    else np.full((lay.width, 0), -1, np.int64) for lay in layers]
        self.used = np.unique(np.concatenate([i[i >= 0] for i in self.ids] or [np.zeros(0, np.int64)]))
        self.patterns = tuple(word_list((ranked.words[i],)) for i in self.used)
        self.first_pattern = 0
        self.n, self.total, self.hits = ([np.zeros(i.size) for i in self.ids] for _ in range(3))
        self._slots: list[Grouped] = []

    def chunk(self, excerpts: Excerpts, strengths: Strengths) -> None:
        """Which (unit, rank) fires at each cell: the first word of the list that covers it."""
        cells = strengths.cells[self.first_pattern:self.first_pattern + len(self.patterns)].tocsr()
        by_word = Grouped(cells.indptr.astype(np.int64), cells.indices)
        self._cell = np.asarray(strengths.cell_of_token, np.int64)
        self._slots = []
        for ids in self.ids:
            column, rank = np.nonzero(ids >= 0)
            length, items, _ = by_word.gather(np.searchsorted(self.used, ids[column, rank]))
            place = np.repeat(np.arange(len(length)), length)
            order = np.lexsort((rank[place], column[place], items))
            cell, column, rank = items[order].astype(np.int64), column[place][order], rank[place][order]
            fresh = np.ones(len(cell), bool)
            fresh[1:] = (cell[1:] != cell[:-1]) | (column[1:] != column[:-1])
            self._slots.append(Grouped.by(cell[fresh], (column * ids.shape[1] + rank)[fresh], cells.shape[1])[0])

    def end_chunk(self) -> None:
        """Let go of the chunk."""
        self._slots = []

    def add(self, block: Block) -> None:
        """One layer of one batch."""
        k = block.layer
        length = self.ids[k].shape[1]
        if not length:
            return
        entries, slot, _ = self._slots[k].gather(self._cell[block.batch.span])
        row = np.repeat(np.arange(len(entries)), entries)
        column = slot // length  # int32
        v = block.flat[row, column]
        size = self.ids[k].size
        strong = v > self.layers[k].tau99.astype(np.float32)[column]
        self.n[k] += np.bincount(slot, minlength=size)
        self.total[k] += np.bincount(slot, weights=v, minlength=size)
        self.hits[k] += np.bincount(slot[strong], minlength=size)

    def finish(self, n: float, a: Sequence[Floats], a2: Sequence[Floats], positives: Sequence[Floats]) -> Baselines:
        """From the sums of the units over the same n tokens: a, a2, positives per layer [W]."""
        best: dict[Key, Ints] = {}
        ids: dict[Key, Ints] = {}
        for k, layer in enumerate(self.layers):
            shape = self.ids[k].shape
            count, total, hits = (np.cumsum(x[k].reshape(shape), axis=1) for x in (self.n, self.total, self.hits))
            value = np.where(self.ids[k] >= 0, objective(*nested(n, a[k], a2[k], positives[k], count, total, hits)), -1.0)
            chosen = _running_best(value)
            for i, side in enumerate(layer.sides):
                rows = slice(i * layer.site.width, (i + 1) * layer.site.width)
                best[layer.site.layer, side], ids[layer.site.layer, side] = chosen[rows], self.ids[k][rows]
        return Baselines(tuple(self.ranked.words), ids, best)


def nested(n: float, a: Floats, a2: Floats, positives: Floats, count: Floats, total: Floats, hits: Floats) -> tuple[Floats, Floats]:
    """rho and peak [W, K] of lists that fire on `count` tokens with sum of a `total` and `hits` positives, each [W, K]."""
    share, ma = count / n, a[:, None] / n
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = (total / n - ma * share) / np.sqrt((a2[:, None] / n - ma**2) * share * (1 - share))
        found = hits / positives[:, None]
        peak = np.where(count > 0, found * (hits / count), 0.0) + (1 - found) * (positives[:, None] / n)
    return rho, peak


def objective(rho: Floats, peak: Floats) -> Floats:
    """sqrt(max(rho, 0) max(peak, 0)): what candidates are chosen by; 0 where one of the two does not exist."""
    out: Floats = np.sqrt(np.maximum(np.nan_to_num(rho), 0) * np.maximum(np.nan_to_num(peak), 0))
    return out


def _running_best(value: Floats) -> Ints:
    """[W, K] how many words make the best list among the first 1, 2, ... K; 0 where the unit has no word."""
    if not value.size:
        return np.zeros(value.shape, np.int64)
    top = np.maximum.accumulate(value, axis=1)
    new = np.concatenate([np.ones((len(value), 1), bool), top[:, 1:] > top[:, :-1]], axis=1)
    k = np.maximum.accumulate(np.where(new, np.arange(1, value.shape[1] + 1), 0), axis=1)
    return np.where(top >= 0, k, 0).astype(np.int64)
