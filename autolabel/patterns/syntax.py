"""The pattern language: what a pattern is, how it is read and written. the README's section on patterns is the contract.

A pattern is a small JSON value, never code:

    {"any": [{"on": ATOM, "before": [ATOM...], "after": [ATOM...], "near": [ATOM...], "within": 4, "unless": ATOM, "strength": 1.0}, ...]}

`run.py` says what it means. Defaults: `on` every token, `within` 4 words, `strength` 1, `case` false. A `stem` entry may be
a word or a stem. `case` belongs to `word` alone; `above` to `like` and `about`, which need it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import re2

from autolabel.errors import PatternError
from autolabel.patterns.classes import CLASSES, compile_regex
from autolabel.patterns.reader import Node, read
from autolabel.patterns.segment import is_one_word, words

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
MAX_PROGRAM = 600  # instructions of a regular expression, its Unicode classes counted as byte classes: bounds nested repetition
MAX_PROGRAM_UTF8 = 20_000  # the same, Unicode classes spelt out


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


def parse(text: str) -> Pattern:
    """Read and check a pattern. Raises PatternError, whose position is that of the offending JSON value (or key)."""
    return _Parser(text).pattern()


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


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.terms = text, 0

    def fail(self, message: str, at: int | Node) -> PatternError:
        return PatternError(message, self.text, at.position if isinstance(at, Node) else at)

    def object(self, node: Node, what: str, known: tuple[str, ...]) -> dict[str, Node]:
        if not isinstance(node.value, dict):
            raise self.fail(f"{what} is an object, not {node.kind}", node)
        for key in node.value:
            if key not in known:
                raise self.fail(f"{what} has no key {key!r}; it knows {', '.join(known)}", node.keys[key])
        return node.value

    def list(self, node: Node, what: str, most: int) -> list[Node]:
        if not isinstance(node.value, list):
            raise self.fail(f"{what} is a list, not {node.kind}", node)
        if not node.value:
            raise self.fail(f"{what} is empty: leave it out or put something in", node)
        if len(node.value) > most:
            raise self.fail(f"{what} has {len(node.value):,} entries; {most:,} are allowed", node.value[most])
        return node.value

    def number(self, node: Node, what: str) -> float:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float) or not 0 < node.value <= 1:
            raise self.fail(f"{what} is a number above 0 and at most 1", node)
        return float(node.value)

    def pattern(self) -> Pattern:
        root = read(self.text)
        items = self.object(root, "a pattern", ("any",))
        if "any" not in items:
            raise self.fail('a pattern is {"any": [CLAUSE, ...]}; "any" is missing', root)
        return Pattern(tuple(self.clause(node) for node in self.list(items["any"], "any", MAX_CLAUSES)))

    def clause(self, node: Node) -> Clause:
        items = self.object(node, "a clause", CLAUSE_KEYS)
        on: tuple[Atom, ...] = ()
        if "on" in items:
            on = self.atoms(items["on"], "on") if isinstance(items["on"].value, list) else (self.atom(items["on"]),)
        sides = {key: self.atoms(items[key], key) for key in ("before", "after", "near") if key in items}
        within: Reach = self.within(items["within"]) if "within" in items else DEFAULT_WITHIN
        unless = self.atom(items["unless"]) if "unless" in items else None
        strength = self.number(items["strength"], "strength") if "strength" in items else 1.0
        return Clause(on, sides.get("before", ()), sides.get("after", ()), sides.get("near", ()), within, unless, strength)

    def within(self, node: Node) -> Reach:
        if node.value == "excerpt":
            return "excerpt"
        if isinstance(node.value, bool) or not isinstance(node.value, int) or not 1 <= node.value <= MAX_WITHIN:
            raise self.fail(f'within is a whole number of words from 1 to {MAX_WITHIN}, or "excerpt"', node)
        return node.value

    def atoms(self, node: Node, what: str) -> tuple[Atom, ...]:
        return tuple(self.atom(item) for item in self.list(node, what, MAX_ATOMS))

    def atom(self, node: Node) -> Atom:
        items = self.object(node, "an atom", (*KINDS, "case", "above"))
        kinds = [key for key in items if key in KINDS]
        if not kinds:
            raise self.fail(f"an atom has one of {', '.join(KINDS)}", node)
        if len(kinds) > 1:
            raise self.fail(f"an atom is one thing, not {kinds[0]} and {kinds[1]}: give `on` a list of two atoms", node.keys[kinds[1]])
        kind = kinds[0]
        if "case" in items and kind != "word":
            raise self.fail(f"case belongs to word, not to {kind}", node.keys["case"])
        if "above" in items and kind not in MEASURED:
            raise self.fail(f"above belongs to {' and '.join(MEASURED)}, not to {kind}", node.keys["above"])
        if "above" not in items and kind in MEASURED:
            raise self.fail(f"{kind} needs above, the smallest cosine that counts, as in 0.4", node)
        values = self.values(kind, items[kind])
        above = self.number(items["above"], "above") if "above" in items else None
        case = items["case"].value if "case" in items else False
        if not isinstance(case, bool):
            raise self.fail("case is true or false", items["case"])
        return Atom(kind, values, case, above)

    def values(self, kind: Kind, node: Node) -> tuple[str, ...]:
        if kind not in LISTED:
            check: dict[Kind, Callable[[str, Node], None]] = {"regex": self.regex, "class": self.named}
            value = self.string(kind, node, MAX_REGEX if kind == "regex" else MAX_TERM)
            if kind in check:
                check[kind](value, node)
            return (value,)
        nodes = self.list(node, kind, MAX_TERMS)
        self.terms += len(nodes)
        if self.terms > MAX_TERMS:
            raise self.fail(f"the pattern lists more than {MAX_TERMS:,} words, stems and tokens", node)
        out = tuple(self.string(kind, item, MAX_TERM) for item in nodes)
        if kind != "token":
            for value, item in zip(out, nodes, strict=True):
                if not is_one_word(value):
                    raise self.fail(f"{value!r} is {len(words(value))} words, so no single word is equal to it: "
                                    f"list single words, or use regex, or before with within 1", item)
        return out

    def string(self, kind: Kind, node: Node, most: int) -> str:
        if not isinstance(node.value, str):
            raise self.fail(f"{kind} holds strings, not {node.kind}", node)
        if not node.value or (kind != "token" and kind != "regex" and not node.value.strip()):
            raise self.fail(f"{kind} holds an empty string", node)
        if len(node.value) > most:
            raise self.fail(f"{kind} holds a string of {len(node.value):,} characters; {most:,} are allowed", node)
        return node.value

    def named(self, value: str, node: Node) -> None:
        if value not in CLASSES:
            raise self.fail(f"there is no class {value!r}; the classes are {', '.join(CLASSES)}", node)

    def regex(self, value: str, node: Node) -> None:
        try:
            size = compile_regex(value).programsize
            shape = _program_shape(value)
        except re2.error as error:
            reason = error.args[0].decode("utf-8", "replace") if error.args and isinstance(error.args[0], bytes) else str(error)
            raise self.fail(f"RE2 cannot read this regular expression: {reason}. It has no look-around and no "
                            "back-references (use before, after, unless); its \\b \\w \\d are ASCII, "
                            "\\pL is any letter and \\pN any number", node) from None
        if size > MAX_PROGRAM_UTF8 or shape > MAX_PROGRAM:
            raise self.fail(f"this regular expression becomes {max(size, shape):,} instructions, too many to run quickly: "
                            "use fewer or smaller repetitions", node)


def _program_shape(pattern: str) -> int:
    """Instructions when characters are bytes: \\pL is then small, and what is left is the pattern's own size."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    try:
        return int(re2.compile(pattern.encode("utf-8"), options).programsize)
    except re2.error:  # scripts beyond Latin-1 are empty classes there, which is fine; anything else was refused before
        return 0
