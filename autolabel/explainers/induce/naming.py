"""What a list of words is called: the concept, class or likeness that covers most of it and says most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.explainers.gather import indicator
from autolabel.explainers.induce.features import Features
from autolabel.explainers.lexicon import Lexicon
from autolabel.patterns.wordclasses import FUNCTION_CLASSES, name_of, plural

SHARE = 0.6  # of the listed words that a name must cover
NAMING = ("class", "concept", "like", "stem", "regex")  # kinds of features that can name a list, best first
TOO_WIDE = 0.12  # share of all words above which a likeness or an ending says nothing of a list


@dataclass(frozen=True)
class Name:
    """What a list is called."""

    text: str  # `personal pronouns`
    covers: tuple[bool, ...]  # for each word of the list, whether the name holds for it


@dataclass(frozen=True)
class Names:
    """Which features hold for which words."""

    features: Features
    holds: sp.csr_matrix  # [W, F] 0/1: the feature holds for every cell of the word
    size: NDArray[np.float64]  # [F] words it holds for

    @classmethod
    def build(cls, lexicon: Lexicon, features: Features) -> Names:
        """From cells to words."""
        inside = np.flatnonzero(lexicon.cell_form >= 0)
        of_word = indicator(lexicon.cell_word[inside], len(lexicon.words), inside, len(lexicon.cell_form))
        count = sp.csr_matrix(of_word @ features.cells.T)
        cells = np.asarray(of_word.sum(1)).ravel()
        count.data = (count.data >= np.repeat(cells, np.diff(count.indptr))).astype(np.float32)
        count.eliminate_zeros()
        return cls(features, count, np.asarray(count.sum(0), np.float64).ravel())

    def covered(self, words: list[int], feature: int) -> list[bool]:
        """For each word whether the feature holds for it."""
        return [feature in self.holds.indices[self.holds.indptr[w]:self.holds.indptr[w + 1]] for w in words]

    def name(self, words: list[int], texts: list[str]) -> Name | None:
        """What these words (numbers and texts) are called, None where nothing covers enough of them."""
        if len(words) < 3:
            return None
        function = name_of(frozenset(texts), SHARE)
        if function is not None:
            return Name(plural(function), tuple(t in FUNCTION_CLASSES[function] for t in texts))
        found = np.concatenate([self.holds.indices[self.holds.indptr[w]:self.holds.indptr[w + 1]] for w in words])
        rows, count = np.unique(found, return_counts=True)
        best: tuple[float, int] | None = None
        for row, hits in zip(rows.tolist(), count.tolist(), strict=True):
            kind = self.features.items[row].atom.kind
            wide = kind != "class" and self.size[row] > TOO_WIDE * self.holds.shape[0]
            if wide or kind not in NAMING or hits < max(3, SHARE * len(words)):
                continue
            # bits that the name says of a word, for the words it covers; the better readable kinds first
            said = hits * np.log2(self.holds.shape[0] / self.size[row]) * (1 - .12 * NAMING.index(kind))
            if best is None or said > best[0]:
                best = (said, row)
        return Name(self.features.items[best[1]].text, tuple(self.covered(words, best[1]))) if best else None
