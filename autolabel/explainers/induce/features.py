"""What can be said of a word without its context, beyond naming it: classes, stems, endings, lengths, word pieces, concepts, likenesses.

Every feature is a 0/1 row over cells, so that its statistics for all neurons are one sparse product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import regex
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.explainers.gather import indicator
from autolabel.explainers.lexicon import Lexicon
from autolabel.hierarchy import Hierarchy
from autolabel.patterns import embedded
from autolabel.patterns.classes import SCRIPTS, holds
from autolabel.patterns.segment import stem
from autolabel.patterns.syntax import Atom

MIN_WORDS, MAX_SHARE = 6, 0.35  # distinct words that a feature must hold for; share of all words that it may hold for at most
CLASSES = ("digit", "punct", "upper", "title", "mixed", "emoji")
PREFIXES = ("un", "re", "dis", "pre", "over", "inter", "trans", "sub", "non", "micro", "hyper", "anti", "counter", "under", "out", "con",
            "com", "pro")
LENGTHS = ((1, 1), (2, 2), (3, 3), (10, 99), (13, 99))  # letters, from and to
ANCHORS, ABOVE = 1_500, (0.4, 0.5)  # words whose neighbourhoods are tried, and how near a word must be
MIN_SUFFIX, MAX_SUFFIX = 2, 4
_GRAMMAR = frozenset(["words", "pronouns", "verbs", "prepositions", "conjunctions", "articles", "adverbs", "greetings", "exclamations", "quantifiers",
                      "denials", "abbreviations", "names", "surnames", "numerals"])
_BARE = ("forms of", "short forms", "letters of")
_WORDLIKE = regex.compile(r"\p{L}{3,}")


@dataclass(frozen=True)
class Feature:
    """One thing to say of a word."""

    atom: Atom  # as a pattern says it
    text: str  # as a sentence says it: `words ending in -tion`
    members: tuple[int, ...] = ()  # the words of the lexicon it holds for, most common first: examples for the sentence


@dataclass(frozen=True)
class Features:
    """F features over the C cells of a lexicon."""

    items: tuple[Feature, ...]
    cells: sp.csr_matrix  # [F, C] 0/1 float32


def features(lexicon: Lexicon, vocabulary: Sequence[str], embedder: embedded.Embedder | None, hierarchy: Hierarchy | None) -> Features:
    """All features that hold for enough words of the lexicon; of those that hold for the same cells, the first."""
    items: list[Feature] = []
    rows: list[NDArray[np.int64]] = []
    seen: set[bytes] = set()
    inside = np.flatnonzero(lexicon.cell_form >= 0)
    of_form = indicator(lexicon.cell_form[inside], len(lexicon.forms), inside, len(lexicon.cell_form))
    word_of = lexicon.cell_word
    for feature, forms, cells in _candidates(lexicon, vocabulary, embedder, hierarchy):
        if cells is None:
            assert forms is not None
            cells = np.sort(of_form[forms].indices.astype(np.int64))
        members = np.unique(word_of[cells])
        if not MIN_WORDS <= len(members) <= MAX_SHARE * len(lexicon.words) or (key := cells.tobytes()) in seen:
            continue
        seen.add(key)
        common = members[np.argsort(-lexicon.word_spread[members], kind="stable")][:12]
        items.append(Feature(feature.atom, feature.text, tuple(common.tolist())))
        rows.append(cells)
    row = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    return Features(tuple(items), indicator(row, len(rows), np.concatenate(rows) if rows else row, len(lexicon.cell_form)))


Candidate = tuple[Feature, "NDArray[np.int64] | None", "NDArray[np.int64] | None"]  # holds for these forms, or for these cells


def _candidates(lexicon: Lexicon, vocabulary: Sequence[str], embedder: embedded.Embedder | None,
                hierarchy: Hierarchy | None) -> Iterator[Candidate]:
    forms = lexicon.forms
    for name in (*CLASSES, *(s for s in SCRIPTS if s != "latin")):
        text = {"digit": "numbers", "punct": "punctuation marks", "upper": "words in capitals", "title": "capitalised words",
                "mixed": "words in mixed case", "emoji": "emoji"}.get(name, f"words in {name.title()} script")
        yield Feature(Atom("class", (name,)), text), np.flatnonzero(holds(name, forms)), None
    if hierarchy is not None:
        yield from _concepts(lexicon, hierarchy)
    if embedder is not None:
        yield from _likenesses(lexicon, embedder)
    yield from _shapes(lexicon)
    yield from _stems(lexicon)
    if vocabulary:
        yield from _pieces(lexicon, vocabulary)


def _concepts(lexicon: Lexicon, hierarchy: Hierarchy) -> Iterator[Candidate]:
    by_word = _forms_of_word(lexicon)
    held: dict[str, set[int]] = {}
    for name, matches in hierarchy.find(lexicon.words).items():
        words = {match[0] for match in matches if len(match) == 1}
        for above in (name, *hierarchy.ancestors(name)):
            held.setdefault(above, set()).update(words)
    # the most specific first: of concepts that hold for the same words it is kept; the root says nothing
    order = {name: i for i, name in enumerate(hierarchy.concepts)}
    for name in sorted(held.keys() - {hierarchy.root}, key=lambda n: (-hierarchy.levels[n], order[n])):
        if len(held[name]) >= MIN_WORDS:
            forms = np.unique(np.concatenate([by_word[w] for w in held[name]]))
            yield Feature(Atom("concept", (name,)), _said(hierarchy.label(name))), forms, None


def _said(label: str) -> str:
    """`animals` -> `words for animals`; `personal pronouns`, which are words themselves, stay."""
    return label if label.startswith(_BARE) or any(part in _GRAMMAR for part in label.split()) else f"words for {label}"


def _likenesses(lexicon: Lexicon, embedder: embedded.Embedder) -> Iterator[Candidate]:
    words = [w for w, word in enumerate(lexicon.words) if _WORDLIKE.fullmatch(word)]
    if len(words) < MIN_WORDS:
        return
    vectors = embedded.vectors(embedder, [lexicon.words[w] for w in words])
    spread = lexicon.word_spread[words]
    anchors = np.argsort(-spread, kind="stable")[:ANCHORS]
    by_word = _forms_of_word(lexicon)
    near = vectors[anchors] @ vectors.T
    for above in ABOVE:
        for row, anchor in enumerate(anchors.tolist()):
            inside = np.flatnonzero(near[row] >= above)
            if len(inside) >= MIN_WORDS and spread[anchor] >= 2:
                word = lexicon.words[words[anchor]]
                forms = np.concatenate([by_word[words[i]] for i in inside])
                yield Feature(Atom("like", (word,), above=above), f"words like “{word}”"), np.unique(forms), None


def _shapes(lexicon: Lexicon) -> Iterator[Candidate]:
    """Endings, beginnings and lengths, as RE2 sees them: \\b is ASCII, so only words of ASCII letters take part."""
    plain = [(f, form.lower()) for f, form in enumerate(lexicon.forms) if form.isascii() and form.isalpha()]
    ends: dict[str, list[int]] = {}
    for f, form in plain:
        for k in range(MIN_SUFFIX, MAX_SUFFIX + 1):
            if len(form) >= k + 2:
                ends.setdefault(form[-k:], []).append(f)
    for suffix, forms in sorted(ends.items()):
        yield Feature(Atom("regex", (rf"(?i)\b[a-z]{{2,}}{suffix}\b",)), f"words ending in -{suffix}"), np.array(forms, np.int64), None
    for prefix in PREFIXES:
        found = [f for f, form in plain if form.startswith(prefix) and len(form) >= len(prefix) + 3]
        yield Feature(Atom("regex", (rf"(?i)\b{prefix}[a-z]{{3,}}\b",)), f"words beginning with {prefix}-"), np.array(found, np.int64), None
    for least, most in LENGTHS:
        found = [f for f, form in plain if least <= len(form) <= most]
        span = f"{least}" if least == most else f"{least},"
        short = "single letters" if least == 1 else f"words of {least} letters"
        text = short if least == most else f"long words ({least} letters or more)"
        yield Feature(Atom("regex", (rf"(?i)\b[a-z]{{{span}}}\b",)), text), np.array(found, np.int64), None


def _stems(lexicon: Lexicon) -> Iterator[Candidate]:
    """Families of one stem have fewer words than other features need: they are tried where they are large enough."""
    families: dict[str, list[int]] = {}
    for f, form in enumerate(lexicon.forms):
        if form.isalpha():
            families.setdefault(stem(form.casefold()), []).append(f)
    for name, forms in families.items():
        if len(forms) >= MIN_WORDS:
            yield Feature(Atom("stem", (name,)), f"forms of “{name}”"), np.array(forms, np.int64), None


def _pieces(lexicon: Lexicon, vocabulary: Sequence[str]) -> Iterator[Candidate]:
    """Tokens that continue a word: what a model sees of the words it has no token for."""
    later = np.flatnonzero(lexicon.cell_later)
    if not len(later):
        return
    order = later[np.argsort(lexicon.cell_token[later], kind="stable")]
    tokens, first = np.unique(lexicon.cell_token[order], return_index=True)
    for token, cells in zip(tokens.tolist(), np.split(order, first[1:]), strict=True):
        text = vocabulary[token].removeprefix("##")
        # one letter of a script that is written with few letters says nothing to a reader
        if text.isprintable() and any(c.isalnum() for c in text) and (len(text) > 1 or text.isascii()):
            said = f"the word piece -{text}" if vocabulary[token] != text else f"the word part “{text}”"  # `do-ing`, but `it ' s`
            yield Feature(Atom("token", (vocabulary[token],)), said), None, np.sort(cells)


def _forms_of_word(lexicon: Lexicon) -> list[NDArray[np.int64]]:
    order = np.argsort(lexicon.form_word, kind="stable")
    return np.split(order, np.searchsorted(lexicon.form_word[order], np.arange(1, len(lexicon.words))))
