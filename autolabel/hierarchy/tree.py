"""Concepts, what lies above and below them, and where their words stand in a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from autolabel.errors import SetupError
from autolabel.hierarchy.inflections import bases, folded, inflections

ROOT = "everything"  # put above the tops of a hierarchy that has several


@dataclass(frozen=True, slots=True)
class Concept:
    """One concept."""

    name: str  # unique, as in `animal.n`
    parents: tuple[str, ...]  # names of the concepts right above; none for the root
    label: str  # what a person calls it
    terms: tuple[str, ...]  # its own words, not those below


@dataclass(frozen=True)
class Hierarchy:
    """Concepts under one root; a concept may lie under several others, none above itself."""

    concepts: Mapping[str, Concept]  # by name, in the order of the file
    hash: str = field(default="", compare=False)  # sha256 of the file: stored with what was made with it

    @classmethod
    def load(cls, path: str | Path) -> Hierarchy:
        """Read and check a file: TSV, WordNet's TSV, SKOS or OWL. Raises SetupError that names the file (and the line), ExtraError."""
        from autolabel.hierarchy.files import load

        return load(path)

    @classmethod
    def default(cls) -> Hierarchy:
        """The hierarchy of everyday concepts that comes with the package."""
        from autolabel.assets import data_path

        return cls.load(data_path("hierarchy", "everyday.tsv"))

    @classmethod
    def parse(cls, text: str, name: str = "hierarchy") -> Hierarchy:
        """Read and check the text of a TSV file; `name` is what errors call it."""
        from autolabel.hierarchy.files import parse

        return parse(text, name)

    @classmethod
    def build(cls, concepts: Mapping[str, Concept], place: Callable[[str], str], name: str, sha256: str) -> Hierarchy:
        """Check that the parents are known, that there is one root and no circle: then every concept hangs under the root.

        `place` says where a concept stands (`file, line 3`), for errors. Raises SetupError.
        """
        if not concepts:
            raise SetupError(f"{name}: there is no concept in it")
        for concept in concepts.values():
            for parent in concept.parents:
                if parent not in concepts:
                    raise SetupError(f"{place(concept.name)}: the parent {parent!r} of {concept.name!r} is not in the file")
        roots = [c.name for c in concepts.values() if not c.parents]
        if len(roots) > 1:
            raise SetupError(f"{place(roots[1])}: {roots[1]!r} has no parent, but {roots[0]!r} is the root already")
        _no_circle(concepts, place)
        return cls(concepts, sha256)

    @cached_property
    def root(self) -> str:
        """The concept above all."""
        return next(c.name for c in self.concepts.values() if not c.parents)

    @cached_property
    def levels(self) -> Mapping[str, int]:
        """How many steps the root is away from each concept, by the shortest way."""
        out, now = {self.root: 0}, [self.root]
        while now:
            now = [child for name in now for child in self._children[name] if out.setdefault(child, out[name] + 1) > out[name]]
            now = list(dict.fromkeys(now))
        return out

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        out: dict[str, list[str]] = {name: [] for name in self.concepts}
        for concept in self.concepts.values():
            for parent in concept.parents:
                out[parent].append(concept.name)
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
        """The concepts above, nearest first."""
        out: dict[str, None] = {}
        now = list(self.concept(name).parents)
        while now:
            out |= dict.fromkeys(now)
            now = [parent for above in now for parent in self.concepts[above].parents]
        return tuple(out)

    def below(self, name: str) -> Iterator[Concept]:
        """The concept itself and all below it, each once."""
        stack, seen = [self.concept(name).name], set()
        while stack:
            top = stack.pop()
            if top not in seen:
                seen.add(top)
                yield self.concepts[top]
                stack.extend(reversed(self._children[top]))

    def terms(self, name: str) -> tuple[str, ...]:
        """Its words and those of all concepts below it, as written, each once."""
        return tuple(dict.fromkeys(term for concept in self.below(name) for term in concept.terms))

    @cached_property
    def _listed(self) -> tuple[dict[str, list[str]], dict[str, list[tuple[tuple[str, ...], str]]]]:
        """Single words -> concepts that list them; last words of longer terms -> (words before, concept)."""
        single: dict[str, list[str]] = {}
        several: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for concept in self.concepts.values():
            for words in dict.fromkeys(folded(term) for term in concept.terms):
                if len(words) == 1:
                    single.setdefault(words[0], []).append(concept.name)
                elif words:
                    several.setdefault(words[-1], []).append((words[:-1], concept.name))
        return single, several

    def find(self, words: Sequence[str]) -> Mapping[str, list[tuple[int, ...]]]:
        """Which of these distinct case-folded words mean what: concept -> its own matches, each as the places in `words` of one
        word or of the consecutive words of a longer term, inflected forms included. Concepts that match nothing are left out.

        Looks up each word's possible base forms, so its cost is that of the words, not of the hierarchy.
        """
        single, several = self._listed
        place = {word: i for i, word in enumerate(words)}
        out: dict[str, dict[tuple[int, ...], None]] = {}
        for i, word in enumerate(words):
            for base in bases(word):
                if (base in single or base in several) and (base == word or word in inflections(base)):
                    for name in single.get(base, ()):
                        out.setdefault(name, {})[(i,)] = None
                    for before, name in several.get(base, ()):
                        if all(w in place for w in before):
                            out.setdefault(name, {})[(*(place[w] for w in before), i)] = None
        return {name: sorted(found) for name, found in out.items()}

    def concepts_of(self, term: str) -> tuple[str, ...]:
        """The concepts that list `term` (or a term of which it is an inflected form) themselves, in the order of the file."""
        words = folded(term)
        distinct = list(dict.fromkeys(words))
        wanted = tuple(distinct.index(w) for w in words)
        found = {name for name, matches in self.find(distinct).items() if wanted in matches} if words else set()
        return tuple(name for name in self.concepts if name in found) if found else ()


def rooted(concepts: Mapping[str, Concept]) -> dict[str, Concept]:
    """With one root above all that have no parent, where there are several."""
    tops = [c for c in concepts.values() if not c.parents]
    if len(tops) < 2:
        return dict(concepts)
    root = ROOT
    while root in concepts:
        root += "_"
    return {root: Concept(root, (), ROOT, ()),
            **{name: c if c.parents else Concept(name, (root,), c.label, c.terms) for name, c in concepts.items()}}


def _no_circle(concepts: Mapping[str, Concept], place: Callable[[str], str]) -> None:
    done: set[str] = set()
    for start in concepts:
        path: dict[str, Iterator[str]] = {}
        at: str | None = start
        while at is not None:
            if at not in path:
                path[at] = iter(() if at in done else concepts[at].parents)
            above = next(path[at], None)
            if above is None:
                done.add(at)
                path.popitem()
                at = next(reversed(path), None)
            elif above in path:
                circle = [*list(path)[list(path).index(above):], above]
                raise SetupError(f"{place(above)}: {above!r} lies above itself: {' < '.join(circle[:8])}{' < ...' if len(circle) > 8 else ''}")
            else:
                at = above
