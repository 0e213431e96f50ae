"""rho_new: does a label carry over to words that it never saw?

Over those tokens of test of which neither the word, case-folded, nor the token type ever occurs in *explain*, the correlation within
excerpts:

    sum over excerpts i, new tokens t of (a_it - a_i)(c_it - c_i), over the root of both sums of squares,  a_i, c_i means of i's new tokens

A list of words cannot earn it, nor one of word pieces: a new word is often made of old pieces, and what a random network does at a
piece it does again in the next word. Nor can what an excerpt is about, its language or its script: those are seen from its old words
too, which a random network mixes into every token (rho_context tells of that). A class, a concept, a likeness can. Copies of a model
that learned nothing get 0 (suite `control`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.protocols import ExplainSplit
from autolabel.scorers.block import Block
from autolabel.scorers.entries import Firing, LayerEntries, Strengths
from autolabel.scorers.labels import Labels
from autolabel.scorers.walk import GROUPS, FirstDocuments, add_rows
from autolabel.stats import Sums
from autolabel.types import hash63

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FLAT = 1e-9  # of the sum of squares: less is rounding
Words = Callable[[Excerpts], tuple[tuple[str, ...], Ints]]


def words_of(excerpts: Excerpts) -> tuple[tuple[str, ...], Ints]:
    """The distinct case-folded words of a chunk, and for each token the number of its (first) word; -1 where it lies on none."""
    from autolabel.patterns.words import WordTable

    table = WordTable.build(excerpts)
    number = {w: i for i, w in enumerate(dict.fromkeys(table.folded))}
    of_surface = np.array([number[w] for w in table.folded], np.int64)
    on = table.last >= table.first
    out = np.full(excerpts.n_tokens, -1, np.int64)
    out[on] = of_surface[table.surface[table.first[on]]]
    return tuple(number), out


def _hashes(words: tuple[str, ...]) -> Ints:
    return np.array([hash63(w) for w in words], np.int64)


@dataclass(frozen=True)
class Known:
    """What occurs in explain."""

    words: Ints  # hashes of all case-folded words, ascending: 8 bytes a word
    types: Ints  # token ids, ascending

    @classmethod
    def of(cls, explain: ExplainSplit, words: Words = words_of) -> Known:
        """One look at its text."""
        found, types = np.zeros(0, np.int64), np.zeros(0, np.int64)
        for excerpts in explain.chunks():
            found, types = np.union1d(found, _hashes(words(excerpts)[0])), np.union1d(types, excerpts.tokens)
        return cls(found, types)


class NewWordSums:
    """A part of the walk, for the chosen labels."""

    def __init__(self, labels: Labels, known: Known, words: Words = words_of, groups: int = GROUPS,
                 firing: Firing | None = None) -> None:
        self.labels, self.known, self.words, self.groups = labels, known, words, groups
        n = len(labels)
        self.n = np.zeros(groups)  # tokens that are new
        self.a2 = [np.zeros((groups, lay.width)) for lay in labels.layers]  # of a - a_i
        self.c2, self.ac = (np.zeros((groups, n)) for _ in range(2))
        self.documents = FirstDocuments(n)
        self._firing = firing or Firing(labels)  # of these labels and perhaps others
        self._level = [self._firing.levels_of(labels, k) for k in range(len(labels.layers))]
        self._entries: list[LayerEntries] = []

    def chunk(self, excerpts: Excerpts, strengths: Strengths) -> None:
        """Find the new tokens of the chunk."""
        self._entries = self._firing.read(strengths)
        self._cell = np.asarray(strengths.cell_of_token, np.int64)
        words, word = self.words(excerpts)
        fresh = np.append(~np.isin(_hashes(words), self.known.words), False)  # -1, no word, looks at the last place
        new = fresh[word] & ~np.isin(excerpts.tokens, self.known.types)
        excerpt = excerpts.excerpt_of_token
        self._new = new & (np.bincount(excerpt[new], minlength=len(excerpts)) > 1)[excerpt]  # one by itself is its own mean
        self.n += np.bincount(np.repeat(excerpts.block % self.groups, excerpts.lengths)[self._new], minlength=self.groups)

    def end_chunk(self) -> None:
        """Let go of the chunk."""
        self._entries = []
        self._firing.clear()

    def add(self, block: Block) -> None:
        """One layer of one batch."""
        import torch

        k, span = block.layer, block.batch.span
        windows, length, width = *block.batch.tokens.shape, block.width
        new = self._new[span]
        rows = self.labels.of_layer(k)
        at = np.flatnonzero(new)
        if not len(at) or rows.start == rows.stop:
            return
        group = block.block % self.groups
        a = torch.from_numpy(block.flat[at])
        window = torch.from_numpy(at // length)
        each = np.maximum(np.bincount(at // length, minlength=windows), 1)[:, None]
        mean = torch.zeros(windows, width).index_add_(0, window, a) / torch.from_numpy(each.astype(np.float32))
        add_rows(self.a2[k], group, torch.zeros(windows, width).index_add_(0, window, (a - mean[window]).square_()).numpy())
        first_level = int(self.labels.levels.first[rows.start])
        n_labels = rows.stop - rows.start
        size, shape = windows * n_labels, (windows, n_labels)
        count, c, c2, ac = (np.zeros(shape) for _ in range(4))
        flat = block.a.reshape(-1)
        # the tokens at `at` are few: only theirs are looked up
        for e in self._entries[k].tokens(self._cell[span][at], at + span.start):
            level = self._level[k][e.level]
            mine = np.flatnonzero(level >= 0)
            token = at[e.row[mine]]
            label = self.labels.levels.label[first_level + level[mine]] - rows.start
            value = self.labels.levels.value[first_level + level[mine]]
            sign = np.full(len(token), e.sign)
            key = (token // length) * n_labels + label
            v = flat[token * width + self.labels.column[rows][label]]
            for kept, weight in ((count, sign), (c, sign * value), (c2, sign * value * value), (ac, sign * value * v)):
                kept += np.bincount(key, weights=weight, minlength=size).reshape(shape)
        which, fired = np.nonzero(count > 0.5)
        self.documents.add(rows.start + fired, block.block[which])
        spread = c2 - c**2 / each
        spread[spread < FLAT * c2] = 0  # the same strength for all of them
        for total, x in ((self.c2, spread), (self.ac, np.where(spread > 0, ac - mean.numpy()[:, self.labels.column[rows]] * c, 0))):
            add_rows(total[:, rows], group, x)

    def sums(self) -> Sums:
        """Six sums per group and label over the tokens that are new; those of a and c are 0, as both are centred in each excerpt."""
        a2 = np.concatenate([x[:, self.labels.column[self.labels.of_layer(k)]] for k, x in enumerate(self.a2)], axis=1)
        zero = np.zeros_like(self.c2)
        return Sums(self.n, zero, a2, zero, self.c2, self.ac)
