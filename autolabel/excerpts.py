"""Many excerpts at once, as columns: what every pass over a split walks through.

Excerpts of one chunk are sorted by length (longest first), then by id, so that a batch is a slice, holds windows of one
length and needs no padding, and its tokens are a contiguous range of the flat columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.types import Excerpt

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of one length: a slice of an `Excerpts`."""

    rows: slice  # which excerpts
    span: slice  # which of the flat tokens
    tokens: NDArray[np.int64]  # [B, T] content token ids


@dataclass(frozen=True)
class Excerpts:
    """N excerpts of one split. `tokens`, `char_start` and `char_end` are flat: excerpt i owns [offset[i], offset[i+1])."""

    id: Ints  # [N] Excerpt.id
    document: Ints  # [N] Document.id
    block: Ints  # [N] Document.block: the unit of every interval
    start: Ints  # [N] first token within the document
    offset: Ints  # [N + 1] first flat token of each excerpt
    tokens: Ints  # [tokens] token ids
    char_start: Ints  # [tokens] first character of the token in its excerpt's text
    char_end: Ints  # [tokens] one past the last character
    text: tuple[str, ...]  # [N]

    @classmethod
    def build(cls, id: object, document: object, block: object, start: object, tokens: list[NDArray[np.int64]],
              char_start: list[NDArray[np.int64]], char_end: list[NDArray[np.int64]], text: list[str]) -> Excerpts:
        """Put columns into the order described above. The three lists hold one array per excerpt."""
        ids, lengths = np.asarray(id, np.int64), np.array([len(t) for t in tokens], np.int64)
        order = np.lexsort((ids, -lengths))
        def flat(parts: list[NDArray[np.int64]]) -> Ints:
            return np.concatenate([np.asarray(parts[i], np.int64) for i in order]) if len(order) else np.zeros(0, np.int64)
        return cls(ids[order], np.asarray(document, np.int64)[order], np.asarray(block, np.int64)[order],
                   np.asarray(start, np.int64)[order], np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64),
                   flat(tokens), flat(char_start), flat(char_end), tuple(text[i] for i in order))

    def __len__(self) -> int:
        return len(self.id)

    @property
    def n_tokens(self) -> int:
        """Content tokens in all."""
        return len(self.tokens)

    @property
    def lengths(self) -> Ints:
        """[N] content tokens of each excerpt."""
        return np.diff(self.offset)

    @property
    def excerpt_of_token(self) -> Ints:
        """[tokens] the row of the excerpt that each flat token belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    @property
    def position(self) -> Ints:
        """[tokens] 0-based position in the window."""
        return np.arange(self.n_tokens, dtype=np.int64) - np.repeat(self.offset[:-1], self.lengths)

    def batches(self, size: int) -> Iterator[Batch]:
        """Slices of at most `size` windows of one length, in order."""
        lengths, first = self.lengths, 0
        while first < len(self):
            last = first + int(np.searchsorted(-lengths[first:first + size], -lengths[first], side="right"))
            span = slice(int(self.offset[first]), int(self.offset[last]))
            yield Batch(slice(first, last), span, self.tokens[span].reshape(last - first, int(lengths[first])))
            first = last

    def excerpt(self, row: int) -> Excerpt:
        """One of them as a value."""
        s = slice(int(self.offset[row]), int(self.offset[row + 1]))
        pairs = zip(self.char_start[s].tolist(), self.char_end[s].tolist(), strict=True)
        return Excerpt(int(self.id[row]), int(self.document[row]), int(self.start[row]), tuple(self.tokens[s].tolist()),
                       tuple(pairs), self.text[row])
