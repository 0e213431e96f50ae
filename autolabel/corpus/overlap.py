"""Which of some texts are near-duplicates of others: exact Jaccard similarity of word shingles, any number of pairs at once.

An inverted index from shingle to text. A pair at Jaccard J shares at least J |A| of the shingles of each side, so that a text which
has fewer of its own anywhere in the index is done with at once. Memory: 16 bytes a word of the indexed texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autolabel.corpus import near

Ints = NDArray[np.int64]


class Overlap:
    """The indexed texts, numbered from 0 in the order they were given."""

    def __init__(self, normalised: Sequence[str]) -> None:
        self._shingler = near.Shingler()
        text, shingle, self._size = self._sets(normalised)
        order = np.argsort(shingle, kind="stable")
        self._shingle, self._text = shingle[order], text[order]

    def near_duplicates(self, normalised: Sequence[str], threshold: float = near.THRESHOLD) -> NDArray[np.bool_]:
        """[n] which of the indexed texts have a Jaccard similarity >= `threshold` with any of these."""
        found = np.zeros(len(self._size), bool)
        text, shingle, size = self._sets(normalised)
        low, high = (np.searchsorted(self._shingle, shingle, side) for side in ("left", "right"))
        shared = np.bincount(text, weights=high > low, minlength=len(size))
        live = np.flatnonzero((shared >= threshold * size)[text] & (high > low))
        length = (high - low)[live]
        at = np.repeat(low[live] - (np.cumsum(length) - length), length) + np.arange(length.sum())
        pair, both = np.unique(np.repeat(text[live], length) * len(found) + self._text[at], return_counts=True) if len(live) else (live, live)
        theirs, mine = pair // max(1, len(found)), pair % max(1, len(found))
        found[mine[both >= threshold * (size[theirs] + self._size[mine] - both)]] = True
        return found

    def _sets(self, normalised: Sequence[str]) -> tuple[Ints, near.Hashes, Ints]:
        """(text, shingle) of every distinct shingle of every text, and [n] how many each text has."""
        flat, first = self._shingler.shingles(normalised)
        text = np.repeat(np.arange(len(normalised)), np.diff(first))
        order = np.lexsort((flat, text))
        text, flat = text[order], flat[order]
        new = np.ones(len(flat), bool)
        new[1:] = (text[1:] != text[:-1]) | (flat[1:] != flat[:-1])
        return text[new], flat[new], np.bincount(text[new], minlength=len(normalised))
