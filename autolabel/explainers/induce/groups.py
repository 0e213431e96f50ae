"""Groups of words that a context can name in a few words: function words by what they do, and classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from autolabel.explainers.induce.contexts import Group
from autolabel.explainers.induce.features import Features
from autolabel.explainers.lexicon import Lexicon
from autolabel.patterns.classes import holds
from autolabel.patterns.syntax import Atom
from autolabel.patterns.wordclasses import FUNCTION_CLASSES

MIN_COUNT = 20  # occurrences of a group's words in all
MAX_CONCEPTS = 150  # the most common ones
MAX_WORDS = 12  # of a function-word group that a pattern lists: the most common ones in the corpus
SIGNS: Mapping[str, tuple[str, ...]] = {
    "a subject pronoun": ("i", "you", "he", "she", "we", "they"),
    "a comma or semicolon": (",", ";", ":"),
    "the end of a sentence": (".", "!", "?"),
    "a bracket": ("(", ")", "[", "]"),
    "a quotation mark": ("\"", "“", "”", "‘", "’", "'"),
    "a dash": ("-", "–", "—"),
}
CLASSES = {"digit": "a number", "punct": "a punctuation mark", "title": "a capitalised word", "upper": "a word in capitals"}


def groups(lexicon: Lexicon, features: Features) -> tuple[Group, ...]:
    """The groups whose words are common enough in a lexicon."""
    return tuple(g for g in _all(lexicon, features) if len(g.forms) and _count(lexicon, g) >= MIN_COUNT)


def _all(lexicon: Lexicon, features: Features) -> Iterator[Group]:
    folded = [lexicon.words[w] for w in lexicon.form_word]
    place = {word: w for w, word in enumerate(lexicon.words)}
    named = {_article(name): sorted(words) for name, words in FUNCTION_CLASSES.items()}
    for text, words in (named | {text: list(signs) for text, signs in SIGNS.items()}).items():
        common = sorted((w for w in words if w in place), key=lambda w: (-int(lexicon.word_count[place[w]]), w))[:MAX_WORDS]
        if len(common) >= 2:
            inside = set(common)
            yield Group(Atom("word", tuple(common)), text, np.array([f for f, w in enumerate(folded) if w in inside], np.int64))
    for name, text in CLASSES.items():
        yield Group(Atom("class", (name,)), text, np.flatnonzero(holds(name, lexicon.forms)))
    concepts = [(i, f) for i, f in enumerate(features.items) if f.atom.kind == "concept"][:MAX_CONCEPTS]
    for row, feature in concepts:
        forms = np.unique(lexicon.cell_form[features.cells[row].indices])
        yield Group(feature.atom, feature.text, forms.astype(np.int64))


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _count(lexicon: Lexicon, group: Group) -> int:
    inside = np.zeros(len(lexicon.forms), np.bool_)
    inside[group.forms] = True
    return int(inside[lexicon.run_form].sum())
