"""Patterns in English, as a person would write a label. Made for reading: the pattern itself is the exact thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autolabel.patterns.classes import SCRIPTS
from autolabel.patterns.syntax import Atom, Clause, Pattern
from autolabel.patterns.wordclasses import name_of, plural

MAX_LENGTH = 120  # characters, about
WEAK = 0.5  # a clause whose strength is less than this share of the strongest is said to be weak
Names = Callable[[str], str]  # concept -> label

_CLASSES: dict[str, tuple[str, str]] = {  # one, many
    "any": ("any token", "every token"), "word": ("a word", "words"), "digit": ("a number", "numbers"),
    "punct": ("a punctuation mark", "punctuation"), "space": ("white space", "white space"),
    "upper": ("a word in capitals", "words in capitals"), "title": ("a capitalised word", "capitalised words"),
    "mixed": ("a word in mixed case", "words in mixed case"), "name": ("a name", "names (capitalised within a sentence)"),
    "url": ("a web address", "web addresses"), "email": ("an e-mail address", "e-mail addresses"), "code": ("program code", "program code"),
    "emoji": ("an emoji", "emoji"), "start": ("the start of the excerpt", "the first word of the excerpt"),
    "end": ("the end of the excerpt", "the last word of the excerpt"),
} | {name: (f"a word in {name.title()} script", f"words in {name.title()} script") for name in SCRIPTS}


def english(pattern: Pattern, *, topic: str | None = None, concepts: Names | None = None) -> str:
    """A sentence of about 120 characters at most. `topic` is what the words are for, where the caller knows; `concepts` gives
    a concept's label (Hierarchy.label)."""
    clauses = sorted(pattern.any, key=lambda c: -c.strength)  # stable: the strongest first
    strongest = clauses[0].strength if clauses else 1.0
    for most in (8, 6, 5, 4, 3, 2, 1):
        parts = [_line(_weakly(c, strongest, _clause(c, most, topic if c is clauses[0] else None, concepts))) for c in clauses]
        text = "; ".join(dict.fromkeys(parts))
        if len(text) <= MAX_LENGTH:
            return text
    # even the shortest form is too long: say as many clauses as fit, and that there are more
    kept, *others = [part if len(part) <= MAX_LENGTH else part[:MAX_LENGTH - 3].rstrip() + "..." for part in dict.fromkeys(parts)]
    for part in others:
        if len(kept) + len(part) > MAX_LENGTH - 7:
            return kept + "; ..."
        kept += "; " + part
    return kept


def _weakly(clause: Clause, strongest: float, text: str) -> str:
    return f"weakly: {text}" if clause.strength < 1.0 and (clause.strength < strongest * WEAK or strongest < WEAK) else text


def _clause(clause: Clause, most: int, topic: str | None, concepts: Names | None) -> str:
    bare = not clause.on or clause.on == (Atom("class", ("any",)),) or clause.on == (Atom("class", ("word",)),)
    sides = [("after", clause.before), ("before", clause.after), ("near", clause.near)]  # what stands before t, t comes after
    said = [(word, atom) for word, atoms in sides for atom in atoms]
    if bare and said:
        word, atom = said.pop(0)
        one = clause.within == 1 and word != "near"
        where = f"in {_about(atom)}" if atom.kind == "about" else f"{_relation(word, clause)} {_one(atom, most, concepts)}"
        text = f"{'the word' if one else 'words'} {where}"
    elif bare:
        text = "every word" if clause.on and clause.on[0].values == ("word",) else "every token"
    else:
        text = _many(clause.on, most, topic, bool(said or clause.unless), concepts)
    for i, (word, atom) in enumerate(said):
        where = f"in {_about(atom)}" if atom.kind == "about" else f"{_relation(word, clause)} {_one(atom, most, concepts)}"
        text += f"{' and' if i or bare else ''} {where}"
    if clause.unless:
        text += f", but not near {_one(clause.unless, most, concepts)}"
    return text


def _relation(word: str, clause: Clause) -> str:
    """`after`, `soon after`, `anywhere after`, ..."""
    if clause.within == "excerpt":
        return {"after": "anywhere after", "before": "anywhere before", "near": "in a text with"}[word]
    if word == "near":
        return "next to" if clause.within == 1 else "near"
    return word if clause.within == 1 else f"soon {word}" if word == "after" else f"shortly {word}"


def _many(on: Sequence[Atom], most: int, topic: str | None, modified: bool, concepts: Names | None) -> str:
    """What the clause fires on."""
    first, *rest = sorted(on, key=lambda a: a.kind not in ("word", "stem", "token"))  # a list reads best in front
    text = _head(first, most, topic, modified or bool(rest), concepts)
    for atom in rest:
        text += f" as {_head(atom, most, None, True, concepts)}" if atom.kind != "about" else f" in {_about(atom)}"
    return text


def _head(atom: Atom, most: int, topic: str | None, modified: bool, concepts: Names | None) -> str:
    value = atom.values[0]
    if atom.kind == "word":
        name = name_of(frozenset(v.casefold() for v in atom.values))
        if topic:
            return f"words for {topic}: {_list(atom.values, most)}"
        if name:
            return f"{plural(name)} ({_list(atom.values, min(most, 5))})"
        if modified or len(atom.values) == 1:
            quoted = _list([f"'{v}'" for v in atom.values], most, "or")
            return quoted if modified else f"the word {quoted}"
        return f"the words {_list(atom.values, most, 'and')}" if len(atom.values) == 2 else f"words: {_list(atom.values, most)}"
    if atom.kind == "stem":
        return f"forms of {_list([_quoted(v) for v in atom.values], most, 'or')}"
    if atom.kind == "token":
        return f"{'the token' if len(atom.values) == 1 else 'tokens'} {_list([_quoted(v) for v in atom.values], most)}"
    if atom.kind == "class":
        return _CLASSES[value][1]
    if atom.kind == "concept":
        return f"words for {concepts(value) if concepts else value}"
    if atom.kind == "like":
        return f"words like {_quoted(value)}"
    return f"text that matches /{value}/" if atom.kind == "regex" else _about(atom)


def _one(atom: Atom, most: int, concepts: Names | None) -> str:
    """One instance of it, as a context: `a personal pronoun (he, she, ...)`, `'river' or 'water'`."""
    value = atom.values[0]
    if atom.kind == "word":
        name = name_of(frozenset(v.casefold() for v in atom.values))
        if name:
            return f"{_article(name)} {name} ({_list(atom.values, min(most, 3))})"
        return _list([_quoted(v) for v in atom.values], most, "or")
    if atom.kind == "stem":
        return f"a form of {_list([_quoted(v) for v in atom.values], most, 'or')}"
    if atom.kind == "token":
        return f"the token {_list([_quoted(v) for v in atom.values], most, 'or')}"
    if atom.kind == "class":
        return _CLASSES[value][0]
    if atom.kind == "concept":
        return f"a word for {concepts(value) if concepts else value}"
    if atom.kind == "like":
        return f"a word like {_quoted(value)}"
    return f"/{value}/" if atom.kind == "regex" else f"text about {value}"


def _about(atom: Atom) -> str:
    return f"text about {atom.values[0]}"


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _quoted(value: str) -> str:
    """In single quotes."""
    return f"'{value}'"


def _line(text: str) -> str:
    """On one line: characters that cannot be seen are written as escapes."""
    return "".join(c if c.isprintable() or c in "\u200c\u200d" else c.encode("unicode_escape").decode("ascii") for c in text)


def _list(items: Sequence[str], most: int, last: str | None = None) -> str:
    """`a, b, c`, `a, b or c`, `a, b, ...`."""
    if len(items) > most:
        return ", ".join([*items[:most], "..."])
    if last and len(items) > 1:
        return f"{', '.join(items[:-1])} {last} {items[-1]}"
    return ", ".join(items)
