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
WIDEST = {"concept": 0.12, "like": 0.03, "stem": 0.03, "regex": 0.05}  # share of all words above which a feature says too little


@dataclass(frozen=True)
class Name:
    """What a list is called."""

    text: str  # `personal pronouns`
    covers: tuple[bool, ...]  # for each word of the list, whether the name holds for it


@dataclass(frozen=True)
class Names:
    """Which features hold for which words."""

    features: Features
    holds: NDArray[np.bool_]  # [W, F] the feature holds for every cell of the word
    said: NDArray[np.float64]  # [F] bits that the feature says of a word, as a name of a list; 0: it is no name

    @classmethod
    def build(cls, lexicon: Lexicon, features: Features) -> Names:
        """From cells to words."""
        inside = np.flatnonzero(lexicon.cell_form >= 0)
        of_word = indicator(lexicon.cell_word[inside], len(lexicon.words), inside, len(lexicon.cell_form))
        count = sp.csr_matrix(of_word @ features.cells.T)
        cells = np.asarray(of_word.sum(1)).ravel()
        holds = count.toarray() >= np.maximum(cells, 1)[:, None]
        said = np.log2(len(holds) / np.maximum(holds.sum(0), 1))
        for row, item in enumerate(features.items):
            kind = item.atom.kind
            wide = holds[:, row].sum() > WIDEST.get(kind, 1) * len(holds)
            # the better readable kinds first
            said[row] *= 0 if wide or kind not in NAMING else 1 - .12 * NAMING.index(kind)
        return cls(features, holds, said)

    def covered(self, words: list[int], feature: int) -> list[bool]:
        """For each word whether the feature holds for it."""
        inside: list[bool] = self.holds[words, feature].tolist()
        return inside

    def name(self, words: list[int], texts: list[str]) -> Name | None:
        """What these words (numbers and texts) are called, None where nothing covers enough of them."""
        if len(words) < 3:
            return None
        function = name_of(frozenset(texts), SHARE)
        if function is not None:
            return Name(plural(function), tuple(t in FUNCTION_CLASSES[function] for t in texts))
        hits = self.holds[words].sum(0)
        worth = np.where(hits >= max(3, SHARE * len(words)), hits * self.said, 0)
        best = int(worth.argmax()) if len(worth) else -1
        if best < 0 or worth[best] <= 0:
            return None
        return Name(self.features.items[best].text, tuple(self.covered(words, best)))
