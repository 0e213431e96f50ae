"""Small builders of pattern values, so that no explainer writes JSON by hand."""

from __future__ import annotations

from collections.abc import Sequence

from autolabel.patterns.syntax import Atom, Clause, Pattern, Reach, dump


def word(values: Sequence[str]) -> Atom:
    """Any of these words."""
    return Atom("word", tuple(values))


def on(*atoms: Atom, strength: float = 1.0) -> Clause:
    """A clause about the token alone."""
    return Clause(on=atoms, strength=strength)


def context(family: str, atom: Atom, strength: float = 1.0) -> Clause:
    """A clause about one atom in a context: `previous` or `next` word, `near` (4 words), `excerpt` (anywhere in it)."""
    reach: Reach = {"previous": 1, "next": 1, "near": 4, "excerpt": "excerpt"}[family]  # type: ignore[assignment]  # values of Reach
    if family == "previous":
        return Clause(before=(atom,), within=reach, strength=strength)
    if family == "next":
        return Clause(after=(atom,), within=reach, strength=strength)
    return Clause(near=(atom,), within=reach, strength=strength)


def pattern(clauses: Sequence[Clause]) -> str:
    """Canonical JSON."""
    return dump(Pattern(tuple(clauses)))


def comma(values: Sequence[str]) -> str:
    """`a, b, c`; signs that a comma would hide are quoted."""
    return ", ".join(v if any(c.isalnum() for c in v) else f"“{v}”" for v in values)


def some(values: Sequence[str], most: int) -> str:
    """`a, b, c`, or `a, b and 5 more`."""
    if len(values) <= most + 1:
        return comma(values)
    return f"{comma(values[:most])} and {len(values) - most} more"
