"""The words of the explain split, and which word each token belongs to.

A *cell* is a distinct (word as written, token id) pair: what a context-free clause can tell apart. All statistics of own
words, classes, concepts and likenesses are sums over cells.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.patterns.segment import spans

Ints = NDArray[np.int64]
GROUPS = 256  # documents fall by hash into so many groups; a word's spread is counted in groups, so that memory stays bounded


@dataclass(frozen=True)
class Lexicon:
    """W case-folded words, F forms (words as written), C cells, of N tokens of the explain split in a fixed order."""

    words: tuple[str, ...]  # [W] case-folded
    forms: tuple[str, ...]  # [F] as written
    form_word: Ints  # [F] the word of each form
    word_count: Ints  # [W] occurrences
    word_spread: Ints  # [W] document groups it occurs in
    cell_form: Ints  # [C] its form, -1: tokens that belong to no word (white space)
    cell_token: Ints  # [C] its token id
    cell_later: NDArray[np.bool_]  # [C] the token continues a word: it is never the word's first
    cell_count: Ints  # [C] tokens
    cell: Ints  # [N] the cell of each token
    token: Ints  # [N] token ids
    position: Ints  # [N] 0-based position in the window
    excerpt: Ints  # [N] excerpt number
    group: Ints  # [N] document group
    run_word: Ints  # [R] the words of the text in order: word number
    run_form: Ints  # [R] their forms
    run_excerpt: Ints  # [R] its excerpt
    run_of_token: Ints  # [N] index into run_word, -1 where the token belongs to no word

    @property
    def cell_word(self) -> Ints:
        """[C] the word of each cell, -1 where it has none."""
        return np.where(self.cell_form >= 0, self.form_word[self.cell_form], -1)

    @property
    def n_tokens(self) -> int:
        """N."""
        return len(self.cell)


def align(excerpts: Excerpts) -> tuple[list[str], Ints, Ints, NDArray[np.bool_]]:
    """The words of `excerpts`: forms [R], their excerpt [R]; of each token its word (-1: none) and whether it is not the first of it."""
    forms: list[str] = []
    owner: list[int] = []
    of_token = np.full(excerpts.n_tokens, -1, np.int64)
    for row, text in enumerate(excerpts.text):
        found = spans(text)
        base, tokens = len(forms), slice(int(excerpts.offset[row]), int(excerpts.offset[row + 1]))
        if found:
            bounds = np.asarray(found, np.int64)
            at = np.searchsorted(bounds[:, 1], excerpts.char_start[tokens], side="right")
            inside = at < len(found)
            inside[inside] = bounds[at[inside], 0] < excerpts.char_end[tokens][inside]
            of_token[tokens] = np.where(inside, at + base, -1)
        forms += [text[a:b] for a, b in found]
        owner += [row] * len(found)
    later = np.zeros(excerpts.n_tokens, np.bool_)
    later[1:] = (of_token[1:] >= 0) & (of_token[1:] == of_token[:-1])
    return forms, np.asarray(owner, np.int64), of_token, later


def read(chunks: Iterable[Excerpts], n_tokens: int) -> Lexicon:
    """The lexicon of the first `n_tokens` tokens of a split, whole excerpts only, in the order of the chunks."""
    form_id: dict[str, int] = {}
    run_form: list[int] = []
    parts: dict[str, list[Ints]] = {k: [] for k in ("owner", "of_token", "later", "token", "position", "excerpt", "group")}
    seen = rows = 0
    for chunk in chunks:
        chunk = head(chunk, n_tokens - seen)
        if not len(chunk):
            break
        forms, owner, of_token, later = align(chunk)
        base = len(run_form)
        run_form += [form_id.setdefault(form, len(form_id)) for form in forms]
        for key, value in (("owner", owner + rows), ("of_token", np.where(of_token >= 0, of_token + base, -1)), ("later", later),
                           ("token", chunk.tokens), ("position", chunk.position), ("excerpt", chunk.excerpt_of_token + rows),
                           ("group", chunk.document[chunk.excerpt_of_token] % GROUPS)):
            parts[key].append(np.asarray(value, np.int64))
        rows, seen = rows + len(chunk), seen + chunk.n_tokens
    flat = {key: np.concatenate(value) if value else np.zeros(0, np.int64) for key, value in parts.items()}
    word_id: dict[str, int] = {}
    form_word = np.array([word_id.setdefault(form.casefold(), len(word_id)) for form in form_id], np.int64)
    runs = np.asarray(run_form, np.int64)
    form = np.where(flat["of_token"] >= 0, runs[flat["of_token"]], -1) if len(runs) else flat["of_token"]
    codes = (form + 1) * (int(flat["token"].max(initial=0)) + 1) + flat["token"]
    _, first, cell, count = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    ever_first = np.zeros(len(first), np.bool_)
    ever_first[cell[~flat["later"].astype(bool)]] = True
    run_word = form_word[runs] if len(runs) else runs
    inside = form >= 0
    pairs = np.unique(form_word[form[inside]] * GROUPS + flat["group"][inside])
    return Lexicon(tuple(word_id), tuple(form_id), form_word, np.bincount(run_word, minlength=len(word_id)),
                   np.bincount(pairs // GROUPS, minlength=len(word_id)), form[first], flat["token"][first], ~ever_first, count,
                   cell, flat["token"], flat["position"], flat["excerpt"], flat["group"], run_word, runs, flat["owner"], flat["of_token"])


def head(chunk: Excerpts, n_tokens: int) -> Excerpts:
    """The first excerpts of a chunk that together have at most `n_tokens` tokens."""
    rows = int(np.searchsorted(chunk.offset, n_tokens, side="right")) - 1
    if rows >= len(chunk):
        return chunk
    rows, last = max(rows, 0), int(chunk.offset[max(rows, 0)])
    return Excerpts(chunk.id[:rows], chunk.document[:rows], chunk.block[:rows], chunk.start[:rows], chunk.offset[:rows + 1],
                    chunk.tokens[:last], chunk.char_start[:last], chunk.char_end[:last], chunk.text[:rows])
