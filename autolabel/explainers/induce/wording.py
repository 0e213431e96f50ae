"""From what was found to a pattern and a sentence that a person would write."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autolabel.explainers import atoms
from autolabel.explainers.induce.around import Around
from autolabel.explainers.induce.search import Found, Material
from autolabel.explainers.objective import LEVELS
from autolabel.patterns.syntax import Clause

WITH = {"previous": "after", "next": "before", "near": "near", "excerpt": "in a text with"}


@dataclass(frozen=True)
class Label:
    """One label."""

    text: str
    pattern: str


@dataclass(frozen=True)
class Wording:
    """The labels of one layer."""

    material: Material
    found: Found

    def label(self, u: int) -> Label | None:
        """The label of unit u, None where nothing was found."""
        found, lexicon = self.found, self.material.lexicon
        parts: list[tuple[int, str]] = []
        clauses: list[tuple[int, Clause]] = []
        own = [(int(level), lexicon.words[found.response.ids[w]]) for w, level in zip(found.lists.words[u], found.lists.level[u], strict=True) if w >= 0]
        top = max([level for level, _ in own] + [int(f.level[u]) for f in found.features if f.pick[u] >= 0]
                  + [int(c.level[u]) for c in found.contexts if c.family[u] >= 0], default=0)
        if not top:
            return None
        for level in sorted({level for level, _ in own}, reverse=True):
            words = [word for at, word in own if at == level]
            clauses.append((level, atoms.on(atoms.word(words))))
        if own:
            strong, weak = [w for at, w in own if at >= 4] or [w for _, w in own], [w for at, w in own if at < 4]
            parts.append((max(at for at, _ in own), f"the word{'s' if len(own) > 1 else ''} {atoms.comma(strong + [w for w in weak if w not in strong])}"))
        for feature in found.features:
            if feature.pick[u] >= 0:
                item = self.material.features.items[feature.pick[u]]
                clauses.append((int(feature.level[u]), atoms.on(item.atom)))
                parts.append((int(feature.level[u]), item.text))
        for context in found.contexts:
            if context.family[u] >= 0:
                clause, text = self._context(found.around[context.family[u]], u)
                clauses.append((int(context.level[u]), clause))
                parts.append((int(context.level[u]), text))
        clauses.sort(key=lambda item: -item[0])
        scaled = [Clause(c.on, c.before, c.after, c.near, c.within, c.unless, round(float(LEVELS[level] / LEVELS[top]), 2)) for level, c in clauses]
        parts.sort(key=lambda item: -item[0])
        return Label("; ".join(text for _, text in parts), atoms.pattern(scaled))

    def _context(self, around: Around, u: int) -> tuple[Clause, str]:
        lexicon, where = self.material.lexicon, self.material.contexts
        if around.group[u] >= 0:
            group = where.groups[around.group[u]]
            return atoms.context(around.family, group.atom), f"words {WITH[around.family]} {group.text}"
        words = [lexicon.words[where.words[k]] for k in around.pick[u] if k >= 0]
        return atoms.context(around.family, atoms.word(words)), f"words {WITH[around.family]} {atoms.comma(words)}"


__all__ = ["Label", "Wording", "np"]
