"""A concept hierarchy: which concept lies under which, and the words for each.

The file has one line per concept: `concept TAB parent TAB label TAB terms`, terms separated by `|`. The root has an empty
parent. Empty lines and lines that begin with # are skipped.

A term matches whole words, case-folded. Its last word also matches in the inflected forms that English spelling gives it
(-s, -es, -ed, -ing, 's), of those only the ones whose Snowball stem is the term's own, so that `bus` does not match `busing`
by accident of a rule that does not fit. Terms of several words match consecutive words. Labels are no terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from autolabel.errors import SetupError
from autolabel.patterns import segment

_VOWELS = "aeiou"


@dataclass(frozen=True, slots=True)
class Concept:
    """One line of the file."""

    name: str  # unique, as in `animal.n`
    parent: str  # name of the concept above; empty for the root
    label: str  # what a person calls it
    terms: tuple[str, ...]  # its own words, not those below


@dataclass(frozen=True)
class Hierarchy:
    """Concepts in a tree."""

    concepts: Mapping[str, Concept]  # by name, in the order of the file

    @classmethod
    def load(cls, path: str | Path) -> Hierarchy:
        """Read and check a file. Raises SetupError that names the file and the line."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"the hierarchy {path} cannot be read: {error}") from None
        return cls.parse(text, str(path))

    @classmethod
    def default(cls) -> Hierarchy:
        """The hierarchy of everyday concepts that comes with the package."""
        from autolabel.assets import data_path

        return cls.load(data_path("hierarchy", "everyday.tsv"))

    @classmethod
    def parse(cls, text: str, name: str = "hierarchy") -> Hierarchy:
        """Read and check the file's text; `name` is what errors call it."""
        concepts: dict[str, Concept] = {}
        lines: dict[str, int] = {}
        for number, line in enumerate(text.split("\n"), 1):
            line = line.removesuffix("\r").removeprefix("\ufeff")
            if not line.strip() or line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) != 4:
                raise SetupError(f"{name}, line {number}: {len(fields)} columns where concept, parent, label, terms should stand")
            concept, parent, label = (field.strip() for field in fields[:3])
            if not concept or not label:
                raise SetupError(f"{name}, line {number}: the {'label' if concept else 'concept'} is empty")
            if concept in concepts:
                raise SetupError(f"{name}, line {number}: the concept {concept!r} stands in line {lines[concept]} already")
            terms = tuple(dict.fromkeys(term for part in fields[3].split("|") if (term := " ".join(part.split()))))
            concepts[concept], lines[concept] = Concept(concept, parent, label, terms), number
        _check(concepts, lines, name)
        return cls(concepts)

    @cached_property
    def root(self) -> str:
        """The concept above all."""
        return next(c.name for c in self.concepts.values() if not c.parent)

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        out: dict[str, list[str]] = {name: [] for name in self.concepts}
        for concept in self.concepts.values():
            if concept.parent:
                out[concept.parent].append(concept.name)
        return out

    def concept(self, name: str) -> Concept:
        """One concept. Raises SetupError with the nearest names where there is none of that name."""
        if name not in self.concepts:
            import difflib

            near = difflib.get_close_matches(name, self.concepts, 3, 0.5)
            raise SetupError(f"the hierarchy has no concept {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
        return self.concepts[name]

    def label(self, name: str) -> str:
        """What a person calls the concept."""
        return self.concept(name).label

    def children(self, name: str) -> tuple[str, ...]:
        """The concepts directly below."""
        self.concept(name)
        return tuple(self._children[name])

    def ancestors(self, name: str) -> tuple[str, ...]:
        """The concepts above, nearest first, the root last."""
        out, above = [], self.concept(name).parent
        while above:
            out.append(above)
            above = self.concepts[above].parent
        return tuple(out)

    def below(self, name: str) -> Iterator[Concept]:
        """The concept itself and all below it."""
        stack = [self.concept(name).name]
        while stack:
            top = stack.pop()
            yield self.concepts[top]
            stack.extend(reversed(self._children[top]))

    def terms(self, name: str) -> tuple[str, ...]:
        """Its words and those of all concepts below it, as written, each once."""
        return tuple(dict.fromkeys(term for concept in self.below(name) for term in concept.terms))

    def lexicon(self, name: str) -> tuple[frozenset[str], frozenset[tuple[str, ...]]]:
        """What to look for in a text: case-folded single words, and sequences of words, inflected forms included."""
        known = self._lexicons.get(name)
        if known is None:
            matches = [m for term in self.terms(name) for m in matches_of(term)]
            single, several = frozenset(m[0] for m in matches if len(m) == 1), frozenset(m for m in matches if len(m) > 1)
            known = self._lexicons[name] = (single, several)
        return known

    @cached_property
    def _lexicons(self) -> dict[str, tuple[frozenset[str], frozenset[tuple[str, ...]]]]:
        return {}

    @cached_property
    def _by_match(self) -> dict[tuple[str, ...], list[str]]:
        out: dict[tuple[str, ...], list[str]] = {}
        for concept in self.concepts.values():
            for match in dict.fromkeys(m for term in concept.terms for m in matches_of(term)):
                out.setdefault(match, []).append(concept.name)
        return out

    def concepts_of(self, term: str) -> tuple[str, ...]:
        """The concepts that list `term` (or a term of which it is an inflected form) themselves, in the order of the file."""
        return tuple(self._by_match.get(tuple(w.casefold() for w in segment.words(term)), ()))


@lru_cache(maxsize=1 << 16)
def matches_of(term: str) -> tuple[tuple[str, ...], ...]:
    """The case-folded word sequences that count as `term`: itself first, then its inflected forms."""
    words = tuple(word.casefold() for word in segment.words(term))
    return tuple((*words[:-1], form) for form in inflections(words[-1])) if words else ()


def inflections(word: str) -> tuple[str, ...]:
    """`word` (case-folded) and its regular English forms that share its stem; only itself where it is not of letters a-z."""
    if not (word.isascii() and word.isalpha() and len(word) > 2):
        return (word,)
    forms = [word + "s", word + "'s", word + "’s"]
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        forms.append(word + "es")
    if word.endswith("y") and word[-2] not in _VOWELS:
        forms += [word[:-1] + "ies", word[:-1] + "ied", word + "ing"]
    elif word.endswith("e"):
        forms += [word + "d", word[:-1] + "ing"]
    else:
        forms += [word + "ed", word + "ing"]
        if word[-1] not in _VOWELS + "wxy" and word[-2] in _VOWELS and word[-3] not in _VOWELS:
            forms += [word + word[-1] + "ed", word + word[-1] + "ing"]
    stem = segment.stem(word)
    return (word, *(form for form in dict.fromkeys(forms) if segment.stem(form) == stem))


def _check(concepts: Mapping[str, Concept], lines: Mapping[str, int], name: str) -> None:
    """One root, known parents, no circle: then every concept hangs under the root."""
    if not concepts:
        raise SetupError(f"{name}: there is no concept in it")
    roots = [c.name for c in concepts.values() if not c.parent]
    for concept in concepts.values():
        if concept.parent and concept.parent not in concepts:
            raise SetupError(f"{name}, line {lines[concept.name]}: the parent {concept.parent!r} of {concept.name!r} is not in the file")
    if len(roots) > 1:
        raise SetupError(f"{name}, line {lines[roots[1]]}: {roots[1]!r} has no parent, but {roots[0]!r} is the root already")
    hangs: set[str] = set(roots)
    for start in concepts:
        path: dict[str, None] = {}
        at = start
        while at not in hangs:
            if at in path:
                circle = [*list(path)[list(path).index(at):], at]
                raise SetupError(f"{name}, line {lines[at]}: {at!r} lies above itself: {' < '.join(circle)}")
            path[at] = None
            at = concepts[at].parent
        hangs.update(path)
