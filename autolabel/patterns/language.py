"""What a pattern is, and how it is written down. `syntax.py` reads it, `run.py` says what it means.

A pattern is a small JSON value, never code:

    {"any": [{"on": ATOM, "before": [ATOM...], "after": [ATOM...], "near": [ATOM...], "within": 4, "unless": ATOM, "strength": 1.0}, ...]}

Defaults: `on` every token, `within` 4 words, `strength` 1, `case` false. A `stem` entry may be a word or a stem. `case`
belongs to `word` alone; `above` to `like` and `about`, which need it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["word", "stem", "token", "regex", "class", "concept", "like", "about"]
Reach = int | Literal["excerpt"]

KINDS: tuple[Kind, ...] = ("word", "stem", "token", "regex", "class", "concept", "like", "about")
LISTED: tuple[Kind, ...] = ("word", "stem", "token")  # these hold a list, the others one string
MEASURED: tuple[Kind, ...] = ("like", "about")  # these have a threshold
CLAUSE_KEYS = ("on", "before", "after", "near", "within", "unless", "strength")
DEFAULT_WITHIN = 4  # words
MAX_WITHIN = 8
MAX_CLAUSES, MAX_ATOMS, MAX_TERMS = 64, 16, 2_000  # in a pattern; in one list of atoms; words, stems and tokens in a pattern
MAX_TERM, MAX_REGEX = 200, 1_000  # characters


@dataclass(frozen=True, slots=True)
class Atom:
    """One thing that can hold at a token."""

    kind: Kind
    values: tuple[str, ...]  # the listed words, stems, tokens; one string for the other kinds
    case: bool = False  # of `word`: compare as written instead of case-folded
    above: float | None = None  # of `like` and `about`: smallest cosine, in (0, 1]


@dataclass(frozen=True, slots=True)
class Clause:
    """Where a strength is given: all of it must hold."""

    on: tuple[Atom, ...] = ()  # all hold at the token; none: every token
    before: tuple[Atom, ...] = ()  # each holds somewhere in the `within` words before
    after: tuple[Atom, ...] = ()  # ... after
    near: tuple[Atom, ...] = ()  # ... on either side
    within: Reach = DEFAULT_WITHIN  # words, 1 to 8, or the whole excerpt
    unless: Atom | None = None  # holds nowhere in the `within` words on either side, nor at the token
    strength: float = 1.0  # in (0, 1]

    @property
    def contextual(self) -> bool:
        """Whether it looks beyond the token."""
        return bool(self.before or self.after or self.near or self.unless)

    def atoms(self) -> Iterator[Atom]:
        """All of them, in reading order."""
        yield from (*self.on, *self.before, *self.after, *self.near)
        if self.unless:
            yield self.unless


@dataclass(frozen=True, slots=True)
class Pattern:
    """A label that runs: the strongest clause that holds gives a token its strength in [0, 1]."""

    any: tuple[Clause, ...]

    def atoms(self) -> Iterator[Atom]:
        """All of them, in reading order."""
        for clause in self.any:
            yield from clause.atoms()


def dump(pattern: Pattern) -> str:
    """The canonical JSON text: sorted keys, no spaces, defaults left out. parse(dump(p)) == p."""
    return json.dumps({"any": [_clause(c) for c in pattern.any]}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def n_words(pattern: Pattern) -> int:
    """Size of a pattern: every word, stem and token listed, and 1 for each other atom."""
    return sum(len(atom.values) if atom.kind in LISTED else 1 for atom in pattern.atoms())


def requires(pattern: Pattern) -> set[str]:
    """What must be loaded to run it: of `embedder`, `hierarchy`. Whoever stores the pattern stores the embedder's hash with it."""
    needs = {"concept": "hierarchy", "like": "embedder", "about": "embedder"}
    return {needs[atom.kind] for atom in pattern.atoms() if atom.kind in needs}


def notes(pattern: Pattern) -> list[str]:
    """What the writer of a pattern should know, though it is no error."""
    found = []
    for atom in pattern.atoms():
        if atom.kind == "regex" and (ascii_only := [c for c in (r"\b", r"\w", r"\d") if c in atom.values[0].lower()]):
            found.append(f"{', '.join(ascii_only)} in {atom.values[0]!r} see ASCII only (RE2): \\pL is any letter, \\pN any number")
        if atom.kind == "about":
            found.append(f"about {atom.values[0]!r} embeds every excerpt: one pass of the embedding model over the text")
    return list(dict.fromkeys(found))


def _clause(clause: Clause) -> dict[str, object]:
    out: dict[str, object] = {}
    if clause.on:
        out["on"] = _atom(clause.on[0]) if len(clause.on) == 1 else [_atom(a) for a in clause.on]
    for key in ("before", "after", "near"):
        if atoms := getattr(clause, key):
            out[key] = [_atom(a) for a in atoms]
    if clause.unless:
        out["unless"] = _atom(clause.unless)
    if clause.contextual or clause.within != DEFAULT_WITHIN:
        out["within"] = clause.within
    if clause.strength != 1.0:
        out["strength"] = clause.strength
    return out


def _atom(atom: Atom) -> dict[str, object]:
    out: dict[str, object] = {atom.kind: list(atom.values) if atom.kind in LISTED else atom.values[0]}
    if atom.case:
        out["case"] = True
    if atom.above is not None:
        out["above"] = atom.above
    return out
