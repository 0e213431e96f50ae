"""The words of a chunk of excerpts and how tokens lie on them.

Positions are *slots*. An excerpt of n words has 2n + 1 of them: gap, word, gap, word, ..., gap. A token lies on the slots of
the words that it overlaps, or, when it overlaps none (white space, zero width), on one gap. Word w of all words of the
chunk (0-based) in excerpt e has slot 2w + 1 + e. Everything else is counting: the `k` words before a token of slots
[a, b] end at slot a - 1 and start at word first - k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.patterns import kernels, segment

Ints = NDArray[np.int64]
K = TypeVar("K")


@dataclass(frozen=True)
class Grouped:
    """A list of integers for each of n keys, flat: key i owns items[start[i]:start[i + 1]]."""

    start: Ints  # [n + 1]
    items: Ints  # ascending within each key

    @classmethod
    def by(cls, key: Ints, item: Ints, n: int) -> Grouped:
        """Group `item` by `key` in [0, n)."""
        order = np.lexsort((item, key)) if len(item) and np.any(np.diff(item) < 0) else np.argsort(key, kind="stable")
        return cls(np.concatenate([[0], np.cumsum(np.bincount(key, minlength=n))]).astype(np.int64), item[order])

    def __getitem__(self, key: int) -> Ints:
        items: Ints = self.items[self.start[key]:self.start[key + 1]]
        return items

    def union(self, keys: Ints) -> Ints:
        """The items of all `keys`, ascending, each once."""
        return kernels.union(self.start, self.items, keys)


def distinct(items: Ints) -> Ints:
    """Non-negative integers, ascending, each once. Twenty times faster than numpy's `unique` on what comes up here."""
    n = int(items.max(initial=-1)) + 1
    if len(items) * 32 > n:
        mark = np.zeros(n, np.bool_)
        mark[items] = True
        return np.flatnonzero(mark)
    ordered = np.sort(items)
    new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    found: Ints = ordered[new]
    return found


def ranges(first: Ints, length: Ints) -> Ints:
    """[first, first + length) for each pair, one after another."""
    total = int(length.sum())
    ends = np.cumsum(length)
    out: Ints = np.arange(total, dtype=np.int64) + np.repeat(first - (ends - length), length)
    return out


@dataclass(frozen=True)
class WordTable:
    """Words and tokens of E excerpts: W words in S distinct spellings (surfaces), T tokens in C distinct cells."""

    excerpts: Excerpts
    surfaces: tuple[str, ...]  # [S] distinct words as written
    surface: Ints  # [W] surface of each word
    word_offset: Ints  # [E + 1] first word of each excerpt
    word_start: Ints  # [W] first character, in the excerpts' texts joined by one character
    word_end: Ints  # [W] one past the last character
    first: Ints  # [T] first word that the token overlaps; the word after the gap where it overlaps none
    last: Ints  # [T] last word that the token overlaps; first - 1 where it overlaps none
    cell: Ints  # [T] cell of each token: same words, same token id, same cell
    cell_token: Ints  # [C] token id
    cell_blank: NDArray[np.bool_]  # [C] the token's text is white space and not empty
    pairs: tuple[Ints, Ints]  # (cell, surface) wherever a token of the cell overlaps a word of that surface

    @classmethod
    def build(cls, excerpts: Excerpts) -> WordTable:
        """Segment the texts and align. Words are UAX 29 segments but white space; a token may overlap several."""
        joined = "\n".join(excerpts.text)  # a line break is a boundary under every rule, so texts do not touch
        spans = np.array(segment.spans(joined), np.int64).reshape(-1, 2)
        start, end = np.ascontiguousarray(spans[:, 0]), np.ascontiguousarray(spans[:, 1])
        lengths = np.fromiter((len(text) for text in excerpts.text), np.int64, len(excerpts))
        base = np.concatenate([[0], np.cumsum(lengths + 1)])  # where each text begins
        offset = np.searchsorted(start, base).astype(np.int64)
        index: dict[str, int] = {}
        surface = np.fromiter((index.setdefault(joined[a:b], len(index)) for a, b in spans.tolist()), np.int64, len(spans))

        shift = np.repeat(base[:-1], excerpts.lengths)
        token_start, token_end = excerpts.char_start + shift, excerpts.char_end + shift
        first = np.searchsorted(end, token_start, side="right").astype(np.int64)
        last = np.searchsorted(start, token_end, side="left").astype(np.int64) - 1
        # a gap between two excerpts' words belongs to the token's own excerpt; `last` cannot fall short of first - 1
        last = np.maximum(last, first - 1)

        blank = _blank(joined, token_start, token_end) & (last < first)
        key = _surface_key(surface, first, last, len(index))
        _, at, cell = np.unique(_dense(key * 2 + blank, excerpts.tokens), return_index=True, return_inverse=True)
        return cls(excerpts, tuple(index), surface, offset, start, end, first, last, cell.reshape(-1).astype(np.int64),
                   excerpts.tokens[at], blank[at], _cell_surfaces(surface, first[at], last[at]))

    @property
    def n_words(self) -> int:
        """W."""
        return len(self.surface)

    @property
    def n_cells(self) -> int:
        """C."""
        return len(self.cell_token)

    @property
    def n_slots(self) -> int:
        """Slots in all: two per word and one per excerpt."""
        return 2 * self.n_words + len(self.excerpts)

    @cached_property
    def folded(self) -> tuple[str, ...]:
        """[S] the surfaces, case-folded."""
        return tuple(s.casefold() for s in self.surfaces)

    @cached_property
    def folded_index(self) -> dict[str, int]:
        """Case-folded word -> its number, 0-based."""
        return {word: i for i, word in enumerate(dict.fromkeys(self.folded))}

    @cached_property
    def folded_of_surface(self) -> Ints:
        """[S] number of the case-folded word of each surface."""
        index = self.folded_index
        return np.fromiter((index[word] for word in self.folded), np.int64, len(self.folded))

    @cached_property
    def surfaces_of_folded(self) -> Grouped:
        """Number of a case-folded word -> its surfaces."""
        return Grouped.by(self.folded_of_surface, np.arange(len(self.folded), dtype=np.int64), len(self.folded_index))

    @cached_property
    def cells_of_folded(self) -> Grouped:
        """Number of a case-folded word -> cells that lie on it, each once."""
        n = max(self.n_cells, 1)
        pairs = np.unique(self.folded_of_surface[self.pairs[1]] * n + self.pairs[0])
        return Grouped.by(pairs // n, pairs % n, len(self.folded_index))

    @cached_property
    def slots_of_folded(self) -> Grouped:
        """Number of a case-folded word -> slots at which it stands."""
        return Grouped.by(self.folded_of_surface[self.surface], self.slots_of_words(np.arange(self.n_words, dtype=np.int64)), len(self.folded_index))

    @cached_property
    def surface_index(self) -> dict[str, int]:
        """Word as written -> its surface."""
        return {s: i for i, s in enumerate(self.surfaces)}

    @cached_property
    def surfaces_of_stem(self) -> dict[str, list[int]]:
        """Stem -> its surfaces."""
        return _invert([segment.stem(word) for word in self.folded])

    @cached_property
    def cells_of_surface(self) -> Grouped:
        """Surface -> cells that lie on it."""
        return Grouped.by(self.pairs[1], self.pairs[0], len(self.surfaces))

    @cached_property
    def tokens_of_cell(self) -> Grouped:
        """Cell -> tokens."""
        return Grouped.by(self.cell, np.arange(len(self.cell), dtype=np.int64), self.n_cells)

    @cached_property
    def words_of_surface(self) -> Grouped:
        """Surface -> words."""
        return Grouped.by(self.surface, np.arange(self.n_words, dtype=np.int64), len(self.surfaces))

    @cached_property
    def cells_of_token_id(self) -> dict[int, list[int]]:
        """Token id -> cells."""
        return _invert(self.cell_token.tolist())

    @cached_property
    def tokens_of_word(self) -> Grouped:
        """Word -> tokens that overlap it."""
        length = self.last - self.first + 1
        return Grouped.by(ranges(self.first, length), np.repeat(np.arange(len(length), dtype=np.int64), length), self.n_words)

    @cached_property
    def excerpt_of_word(self) -> Ints:
        """[W] row of the excerpt."""
        return np.repeat(np.arange(len(self.excerpts), dtype=np.int64), np.diff(self.word_offset))

    @cached_property
    def slot_low(self) -> Ints:
        """[T] first slot of each token."""
        on_word = self.last >= self.first
        return 2 * self.first + self.excerpts.excerpt_of_token + on_word

    @cached_property
    def slot_high(self) -> Ints:
        """[T] last slot of each token."""
        return np.where(self.last >= self.first, 2 * self.last + 1 + self.excerpts.excerpt_of_token, self.slot_low)

    @cached_property
    def slot_bounds(self) -> tuple[Ints, Ints]:
        """[T], [T] first and last slot of each token's excerpt."""
        rows = np.arange(len(self.excerpts), dtype=np.int64)
        low = 2 * self.word_offset[:-1] + rows
        high = 2 * self.word_offset[1:] + rows
        e = self.excerpts.excerpt_of_token
        return low[e], high[e]

    @cached_property
    def tokens_of_slot(self) -> Grouped:
        """Slot -> tokens that lie on it."""
        length = np.where(self.last >= self.first, self.last - self.first + 1, 1)
        slot = self._slots(np.arange(len(self.first), dtype=np.int64), length)
        return Grouped.by(slot, np.repeat(np.arange(len(length), dtype=np.int64), length), self.n_slots)

    def slots_of_words(self, words: Ints) -> Ints:
        """Slots of words, in the order given."""
        return 2 * words + 1 + self.excerpt_of_word[words]

    def slots_of_tokens(self, tokens: Ints) -> Ints:
        """Slots that any of the tokens lies on, ascending, each once."""
        length = np.where(self.last >= self.first, self.last - self.first + 1, 1)[tokens]
        return distinct(self._slots(tokens, length))

    def _slots(self, tokens: Ints, length: Ints) -> Ints:
        first = np.repeat(self.slot_low[tokens], length)
        return first + 2 * (np.arange(len(first), dtype=np.int64) - np.repeat(np.cumsum(length) - length, length))


def _invert(keys: Sequence[K]) -> dict[K, list[int]]:
    out: dict[K, list[int]] = {}
    for i, key in enumerate(keys):
        out.setdefault(key, []).append(i)
    return out


def _blank(joined: str, start: Ints, end: Ints) -> NDArray[np.bool_]:
    """Whether the characters [start, end) are white space, and at least one."""
    white = _white()
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    total = np.concatenate([[0], np.cumsum(white[np.minimum(codes, len(white) - 1)])])
    return np.asarray((end > start) & (total[end] - total[start] == end - start))


@cache
def _white() -> NDArray[np.bool_]:
    """Whether a character is white space, by its code; the last one stands for all that follow, none of which is."""
    return np.array([chr(code).isspace() for code in range(0x3002)])


def _surface_key(surface: Ints, first: Ints, last: Ints, n: int) -> Ints:
    """[T] equal for tokens that overlap the same surfaces: the surface for one, -1 for none, n and up for several."""
    count = last - first + 1
    key = np.full(len(first), -1, np.int64)
    one = count == 1
    key[one] = surface[first[one]]
    several = np.flatnonzero(count > 1)
    index: dict[tuple[int, ...], int] = {}
    for t, a, b in zip(several.tolist(), first[several].tolist(), (last[several] + 1).tolist(), strict=True):
        key[t] = n + index.setdefault(tuple(surface[a:b].tolist()), len(index))
    return key


def _dense(key: Ints, token: Ints) -> Ints:
    """One integer per pair."""
    low = int(token.min(initial=0))
    return (key + 2) * (int(token.max(initial=0)) - low + 1) + token - low


def _cell_surfaces(surface: Ints, first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """(cell, surface) pairs, each once."""
    length = last - first + 1
    pairs = np.stack([np.repeat(np.arange(len(first), dtype=np.int64), length), surface[ranges(first, length)]], axis=1)
    if int(length.max(initial=0)) > 1:
        pairs = np.unique(pairs, axis=0)
    return pairs[:, 0], pairs[:, 1]
