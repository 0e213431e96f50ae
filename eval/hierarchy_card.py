"""Figures of data/hierarchy/everyday.tsv: `python -m eval.hierarchy_card` prints them; the tests hold them to their bars.

Coverage: of the content-word tokens of the English documents in data/, how many belong to a concept outside the function
words. A content word is of two letters or more, alphabetic, and not in STOP.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from autolabel.hierarchy import Hierarchy, inflections
from autolabel.patterns import segment
from eval.data_card import DATA

SMALL = "function-words"  # the concept of the function words: what lies below it covers no content word
CORPORA = ("corpus",)
_STOP = """
a an the and or but nor so yet if unless while because although though whereas than as of in to for with on at from by about into like through
after over between out against during without before under around among within along across behind beyond towards toward upon near off onto per
via despite up down since until till i me you he him she her it we us they them myself yourself himself herself itself ourselves themselves my
your his its our their mine yours hers ours theirs whose this that these those such who whom what which when where why how whether whoever
whatever whenever wherever whichever be am is are was were been being have has had having do does did done doing can could may might must shall
should will would ought cannot not no never none nothing nobody neither either both each every all any some many much more most few fewer less
least several other another own same very too just only even also then there here again still once now ever always already quite rather almost
nearly perhaps maybe however therefore thus hence otherwise instead else anyone anybody anything someone somebody something everyone everybody
everything one ones
"""
STOP = frozenset(_STOP.split())


@dataclass(frozen=True, slots=True)
class Card:
    """Counts of the hierarchy, and how much of the corpus it covers."""

    concepts: int
    levels: int  # concepts on the longest of the shortest ways to the root, the root among them
    entries: int  # terms, each as often as a concept lists it
    terms: int  # distinct terms, case-folded
    own: int  # distinct terms that are no regular form of another term of the same concept
    tokens: int  # content-word tokens of the English documents
    covered: int  # of them, those with a concept
    words: int  # distinct content words
    words_covered: int  # of them, those with a concept


def content_words() -> Counter[str]:
    """How often each content word stands in the English documents of the box."""
    count: Counter[str] = Counter()
    for folder in CORPORA:
        for path in sorted((DATA / folder).glob("*.jsonl")):
            for line in path.read_text("utf-8").splitlines():
                document = json.loads(line)
                if document["language"] == "en":
                    count.update(word.casefold() for word in segment.words(document["text"]))
    return Counter({word: n for word, n in count.items() if len(word) > 1 and word.isalpha() and word not in STOP})


def covered(hierarchy: Hierarchy, words: list[str]) -> set[str]:
    """The words that are a term of some concept, or an inflected form of one, outside the function words."""
    small = {c.name for c in hierarchy.below(SMALL)}
    return {words[match[0]] for name, matches in hierarchy.find(words).items() if name not in small for match in matches if len(match) == 1}


def card(hierarchy: Hierarchy | None = None) -> Card:
    """All figures."""
    h = hierarchy or Hierarchy.default()
    entries = [term.casefold() for c in h.concepts.values() for term in c.terms]
    own: set[str] = set()
    for concept in h.concepts.values():
        regular = {form for term in concept.terms for form in inflections(term.casefold())[1:]}
        own |= {term.casefold() for term in concept.terms} - regular
    count = content_words()
    found = covered(h, list(count))
    return Card(len(h.concepts), max(h.levels.values()) + 1, len(entries), len(set(entries)), len(own), count.total(),
                sum(count[word] for word in found), len(count), len(found))


if __name__ == "__main__":
    c = card()
    print(f"concepts {c.concepts:,}, levels {c.levels}, entries {c.entries:,}, distinct terms {c.terms:,} ({c.own:,} without regular forms)")
    print(f"content-word tokens covered: {c.covered:,} of {c.tokens:,} ({c.covered / c.tokens:.1%}); distinct words {c.words_covered:,} of {c.words:,}")
