"""Rules that planted units obey: what fires where, known without asking anyone.

A rule gives every token a strength in [0, 1]. `Says` is anything that the pattern language can say (words, classes, concepts,
and, or, context windows); the others cannot be said in it: what an excerpt is about, positions, parity, a word's second
occurrence. So an explainer that searches patterns is not judged on its own hypothesis class.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.patterns.run import run
from autolabel.patterns.syntax import parse
from autolabel.patterns.words import WordTable

if TYPE_CHECKING:
    from autolabel.hierarchy import Hierarchy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Speller:
    """How a tokenizer writes: from its token strings (`##ing`, `Ġthe`, `▁the`) back to text, as far as they tell."""

    vocabulary: Sequence[str] = field(repr=False)  # token strings by id

    @cached_property
    def pieces(self) -> list[tuple[bool, str]]:
        """By id: (goes on with the word before, its letters)."""
        if any(t.startswith("##") for t in self.vocabulary):
            return [(t.startswith("##"), t.removeprefix("##")) for t in self.vocabulary]
        return [(not t.startswith(("Ġ", "▁")), t.lstrip("Ġ▁")) for t in self.vocabulary]

    def read(self, tokens: NDArray[np.int64]) -> Excerpts:
        """Windows [B, T] as excerpts: words with one space between them, none around an apostrophe."""
        texts, starts, ends = self._spell(tokens.tolist())
        n = np.arange(len(tokens))
        return Excerpts.build(n, n, n, n, list(tokens), starts, ends, texts)

    def respelt(self, excerpts: Excerpts) -> Excerpts:
        """The same excerpts with the text that their tokens alone tell: what a planted subject sees of them."""
        texts, starts, ends = self._spell([t.tolist() for t in np.split(excerpts.tokens, excerpts.offset[1:-1])] if len(excerpts) else [])
        none = [np.zeros(0, np.int64)]
        return replace(excerpts, char_start=np.concatenate(starts or none), char_end=np.concatenate(ends or none), text=tuple(texts))

    def _spell(self, rows: list[list[int]]) -> tuple[list[str], list[Ints], list[Ints]]:
        texts, starts, ends = [], [], []
        for row in rows:
            text, start, end, last = "", [], [], "'"
            for i in row:
                glued, piece = self.pieces[i] if i < len(self.pieces) else (False, "")
                if not glued and "'" not in (piece, last):
                    text += " "
                start.append(len(text))
                text += piece
                end.append(len(text))
                last = piece
            texts.append(text)
            starts.append(np.array(start, np.int64))
            ends.append(np.array(end, np.int64))
        return texts, starts, ends


@dataclass(frozen=True)
class Reading:
    """Excerpts as rules see them."""

    excerpts: Excerpts
    vocabulary: Sequence[str] = field(repr=False)

    @cached_property
    def table(self) -> WordTable:
        """Their words."""
        return WordTable.build(self.excerpts)

    @cached_property
    def word(self) -> Ints:
        """[tokens] the (first) word that each token lies on; -1 where it lies on none."""
        return np.where(self.table.last >= self.table.first, self.table.first, -1)

    @cached_property
    def folded(self) -> Ints:
        """[words] number of each word's case-folded form."""
        return self.table.folded_of_surface[self.table.surface]

    def among(self, words: Sequence[str]) -> NDArray[np.bool_]:
        """[words] whether each word is one of these, case-folded."""
        index = self.table.folded_index
        wanted = np.zeros(len(self.table.folded), bool)
        wanted[[index[w.casefold()] for w in words if w.casefold() in index]] = True
        return wanted[self.folded]


class Rule(Protocol):
    """Where a planted unit fires."""

    def strength(self, reading: Reading) -> Floats:
        """[tokens] in [0, 1]."""


@lru_cache(maxsize=1)
def _hierarchy() -> Hierarchy:
    from autolabel.hierarchy import Hierarchy

    return Hierarchy.default()


@dataclass(frozen=True)
class Says:
    """What a pattern says."""

    pattern: str  # its JSON

    def strength(self, reading: Reading) -> Floats:
        """The pattern's own."""
        found = run([parse(self.pattern)], reading.excerpts, vocabulary=reading.vocabulary, hierarchy=_hierarchy(), table=reading.table)
        return found.row(0)


@dataclass(frozen=True)
class Topic:
    """Every token of an excerpt that has at least `least` different words of a list."""

    words: tuple[str, ...]
    least: int = 2

    def strength(self, reading: Reading) -> Floats:
        """1 or 0, the same for the whole excerpt."""
        table, on = reading.table, reading.among(self.words)
        pairs = np.unique(np.stack([table.excerpt_of_word[on], reading.folded[on]]), axis=1)
        many = np.bincount(pairs[0], minlength=len(reading.excerpts)) >= self.least
        return many[reading.excerpts.excerpt_of_token].astype(np.float64)


@dataclass(frozen=True)
class Position:
    """The tokens at some positions of the window."""

    first: int = 0  # counted from 0
    last: int = 7  # included
    every: int = 1  # of the positions between, each so many-th alone: 2 is parity

    def strength(self, reading: Reading) -> Floats:
        """1 or 0."""
        at = reading.excerpts.position
        here: NDArray[np.bool_] = (at >= self.first) & (at <= self.last) & ((at - self.first) % self.every == 0)
        return here.astype(np.float64)


@dataclass(frozen=True)
class Again:
    """A word of at least `letters` letters that has occurred in the excerpt before, exactly `times` times."""

    letters: int = 4
    times: int = 1

    def strength(self, reading: Reading) -> Floats:
        """1 or 0."""
        table = reading.table
        excerpt, folded = table.excerpt_of_word, reading.folded
        order = np.lexsort((np.arange(len(folded)), folded, excerpt))
        fresh = np.r_[True, (np.diff(excerpt[order]) != 0) | (np.diff(folded[order]) != 0)] if len(order) else np.zeros(0, bool)
        run_start = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0)) if len(order) else np.zeros(0, np.int64)
        before = np.empty(len(order), np.int64)
        before[order] = np.arange(len(order)) - run_start
        long = np.array([len(w) >= self.letters and w.isalpha() for w in table.folded], bool)
        on = (before == self.times) & long[folded] if len(order) else np.zeros(0, bool)
        word = reading.word
        return np.where(word >= 0, np.r_[on, False][word], False).astype(np.float64)


@dataclass(frozen=True)
class Both:
    """The weaker of two rules: and."""

    one: Rule
    two: Rule

    def strength(self, reading: Reading) -> Floats:
        """The minimum."""
        return np.minimum(self.one.strength(reading), self.two.strength(reading))


@dataclass(frozen=True)
class Either:
    """The strongest of some rules: or."""

    rules: tuple[Rule, ...]

    def strength(self, reading: Reading) -> Floats:
        """The maximum; 0 for no rule."""
        out = np.zeros(reading.excerpts.n_tokens)
        for rule in self.rules:
            out = np.maximum(out, rule.strength(reading))
        return out


@dataclass(frozen=True)
class Not:
    """Where a rule does not fire: the negated label."""

    rule: Rule

    def strength(self, reading: Reading) -> Floats:
        """1 - strength."""
        out: Floats = 1 - self.rule.strength(reading)
        return out


def word_rule(words: Sequence[str]) -> Says:
    """Fires on any of these words."""
    return Says(json.dumps({"any": [{"on": {"word": list(words)}}]}))


def clause(**parts: object) -> Says:
    """Fires where one clause holds: its keys as in a pattern, `on={"word": [...]}`."""
    return Says(json.dumps({"any": [parts]}))
