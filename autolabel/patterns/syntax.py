"""Reads patterns: the README's section on patterns is the contract, `language.py` says what a pattern is.

Two readers: a slow one that knows where each value stands, so that an error can point at it, and a fast one for what
`dump` wrote, which is nearly all that is ever read. The fast one declines whatever it is not sure of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import re2

from autolabel.errors import PatternError
from autolabel.patterns.classes import CLASSES, oversize
from autolabel.patterns.language import (
    CLAUSE_KEYS,
    DEFAULT_WITHIN,
    KINDS,
    LISTED,
    MAX_ATOMS,
    MAX_CLAUSES,
    MAX_REGEX,
    MAX_TERM,
    MAX_TERMS,
    MAX_WITHIN,
    MEASURED,
    Atom,
    Clause,
    Kind,
    Pattern,
    Reach,
    dump,
    n_words,
    notes,
    requires,
)
from autolabel.patterns.reader import MAX_BYTES, Node, read
from autolabel.patterns.segment import is_one_word, words


def parse(text: str) -> Pattern:
    """Read and check a pattern. Raises PatternError, whose position is that of the offending JSON value (or key)."""
    return _canonical(text) or _Parser(text).pattern()


def _canonical(text: str) -> Pattern | None:
    """The pattern of a text that `dump` wrote; None for any other text, right or wrong: the slow reader knows where each value stands."""
    try:
        if len(text.encode("utf-8")) > MAX_BYTES:  # half a surrogate pair is an error here
            return None
        pattern = Pattern(tuple(map(_read_clause, json.loads(text)["any"])))
        return pattern if dump(pattern) == text and _sound(pattern) else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _read_clause(c: dict[str, Any]) -> Clause:
    on, unless = c.get("on", []), c.get("unless")
    own, before, after, near = (tuple(map(_read_atom, x)) for x in (
        on if isinstance(on, list) else [on], *(c.get(key, ()) for key in ("before", "after", "near"))))
    return Clause(own, before, after, near, c.get("within", DEFAULT_WITHIN), _read_atom(unless) if unless else None, c.get("strength", 1.0))


def _read_atom(a: dict[str, Any]) -> Atom:
    kind: Any  # whether it is a Kind is asked later
    [kind, values], *_ = a.items() if len(a) == 1 else [(key, a[key]) for key in KINDS if key in a]  # most atoms have one key
    return Atom(kind, tuple(values) if kind in LISTED else (values,), a.get("case", False), a.get("above"))


def _sound(pattern: Pattern) -> bool:
    """Whether a pattern of the right shape keeps to all limits."""
    terms = 0
    for clause in pattern.any:
        if not (type(clause.strength) is float and 0 < clause.strength <= 1
                and max(map(len, (clause.on, clause.before, clause.after, clause.near))) <= MAX_ATOMS
                and (clause.within == "excerpt" or (type(clause.within) is int and 1 <= clause.within <= MAX_WITHIN))):
            return False
        for atom in clause.atoms():
            terms += len(atom.values) if atom.kind in LISTED else 0
            if not (atom.kind in KINDS and all([_sound_value(atom.kind, v) for v in atom.values]) and (not atom.case or atom.kind == "word")
                    and (type(atom.above) is float and 0 < atom.above <= 1 if atom.kind in MEASURED else atom.above is None)):
                return False
    return 0 < len(pattern.any) <= MAX_CLAUSES and terms <= MAX_TERMS and all(atom.values for atom in pattern.atoms())


def _sound_value(kind: Kind, value: object) -> bool:
    if type(value) is not str or not value or len(value) > (MAX_REGEX if kind == "regex" else MAX_TERM):
        return False
    if kind in ("word", "stem"):
        return is_one_word(value)
    if kind == "class":
        return value in CLASSES
    return not _oversize(value) if kind == "regex" else kind == "token" or bool(value.strip())


@lru_cache(maxsize=1 << 12)
def _oversize(value: str) -> bool:
    try:
        return oversize(value) > 0
    except re2.error:
        return True


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
            size = oversize(value)
        except re2.error as error:
            reason = error.args[0].decode("utf-8", "replace") if error.args and isinstance(error.args[0], bytes) else str(error)
            raise self.fail(f"RE2 cannot read this regular expression: {reason}. It has no look-around and no "
                            "back-references (use before, after, unless); its \\b \\w \\d are ASCII, "
                            "\\pL is any letter and \\pN any number", node) from None
        if size:
            raise self.fail(f"this regular expression becomes {size:,} instructions, too many to run quickly: "
                            "use fewer or smaller repetitions", node)


__all__ = [
    "CLAUSE_KEYS", "DEFAULT_WITHIN", "KINDS", "LISTED", "MAX_ATOMS", "MAX_CLAUSES", "MAX_REGEX", "MAX_TERM", "MAX_TERMS", "MAX_WITHIN", "MEASURED",
    "Atom", "Clause", "Kind", "Pattern", "Reach", "dump", "n_words", "notes", "parse", "requires",
]
