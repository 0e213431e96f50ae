"""From what was found to a pattern and a sentence that a person would write.

Word lists are named where a concept, a class or a likeness covers most of them; a listed word that a feature clause of the
label covers as strongly is left out of the pattern and becomes the feature's example.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from autolabel.explainers import atoms
from autolabel.explainers.induce.around import Around
from autolabel.explainers.induce.search import Found, Material
from autolabel.explainers.objective import LEVELS
from autolabel.patterns.syntax import Clause
from autolabel.patterns.wordclasses import FUNCTION_CLASSES, name_of

WHERE = {"previous": "after", "next": "before", "near": "near", "excerpt": "in texts with"}
SHOWN, EXAMPLES = 7, 4  # words of a list, and of a context or a feature, that a sentence shows
LONGEST = 16  # letters of an example: longer ones are mostly no words
WEAK = 0.4  # strength below which a clause is said to be weaker


@dataclass(frozen=True)
class Label:
    """One label."""

    text: str
    pattern: str


@dataclass(frozen=True)
class Part:
    """One thing that a sentence says."""

    level: int
    text: str
    context: bool = False  # about the surroundings, not the word


@dataclass(frozen=True)
class Wording:
    """The labels of some units of a layer."""

    material: Material
    found: Found

    def label(self, u: int) -> Label | None:
        """The label of unit u, None where nothing was found."""
        own, examples = self._own(u)
        clauses: list[tuple[int, Clause]] = []
        parts: list[Part] = []
        for level in sorted({level for level, _ in own}, reverse=True):
            clauses.append((level, atoms.on(atoms.word([self._text(w) for at, w in own if at == level]))))
        if own:
            parts.append(Part(max(level for level, _ in own), self._list(own)))
        features = [(int(f.level[u]), int(f.pick[u])) for f in self.found.features if f.pick[u] >= 0]
        clauses += [(level, atoms.on(self.material.features.items[row].atom)) for level, row in features]
        parts += self._features(features, examples)
        for context in self.found.contexts:
            if context.family[u] >= 0:
                clause, text = self._context(self.found.around[context.family[u]], u)
                clauses.append((int(context.level[u]), clause))
                parts.append(Part(int(context.level[u]), text, True))
        if not clauses:
            return None
        top = max(level for level, _ in clauses)
        clauses.sort(key=lambda item: -item[0])
        scaled = [replace(c, strength=round(float(LEVELS[level] / LEVELS[top]), 2)) for level, c in clauses]
        return Label(_sentence(parts, top), atoms.pattern(scaled))

    def _text(self, word: int) -> str:
        return self.material.lexicon.words[word]

    def _own(self, u: int) -> tuple[list[tuple[int, int]], dict[int, list[int]]]:
        """(level, word) of the listed words that no feature covers; and by feature the ones it covers."""
        found, names = self.found, self.material.names
        listed = [(int(level), int(found.response.ids[w]))
                  for w, level in zip(found.lists.words[u], found.lists.level[u], strict=True) if w >= 0]
        examples: dict[int, list[int]] = {}
        for feature in found.features:
            row, at = int(feature.pick[u]), int(feature.level[u])
            if row < 0:
                continue
            holds = names.covered([w for _, w in listed], row)
            examples[row] = [w for (_, w), inside in zip(listed, holds, strict=True) if inside]
            listed = [(level, w) for (level, w), inside in zip(listed, holds, strict=True) if not (inside and level <= at)]
        return listed, examples

    def _list(self, own: list[tuple[int, int]]) -> str:
        ordered = [w for _, w in sorted(own, key=lambda item: -item[0])]
        texts = [self._text(w) for w in ordered]
        if name := self.material.names.name(ordered, texts):
            inside = [t for t, holds in zip(texts, name.covers, strict=True) if holds]
            outside = [t for t, holds in zip(texts, name.covers, strict=True) if not holds]
            return f"{name.text}: {atoms.some(inside, SHOWN)}" + (f"; also {atoms.some(outside, EXAMPLES)}" if outside else "")
        return f"“{texts[0]}”" if len(texts) == 1 else f"the words {atoms.some(texts, SHOWN)}"

    def _features(self, features: list[tuple[int, int]], examples: dict[int, list[int]]) -> list[Part]:
        parts: list[Part] = []
        items = self.material.features.items
        rows = [row for _, row in features]
        if len(rows) == 2 and len({items[r].atom.kind for r in rows}) == 1 and items[rows[0]].atom.kind in ("like", "token", "concept"):
            first, second = (items[r].text for r in rows)
            for prefix in ("words like ", "words for ", "the word piece ", "the word part "):
                second = second.removeprefix(prefix) if first.startswith(prefix) else second
            joined = f"{first} or {second}"
            both = list(dict.fromkeys(w for r in rows for w in examples.get(r, ())))
            return [Part(max(level for level, _ in features), joined + self._examples(both))]
        for level, row in features:
            shown = examples.get(row) or ([] if items[row].atom.kind == "class" else list(items[row].members[:3]))
            parts.append(Part(level, items[row].text + self._examples(shown)))
        return parts

    def _examples(self, words: list[int]) -> str:
        shown = [self._text(w) for w in words if self._text(w).isalpha() and len(self._text(w)) <= LONGEST][:EXAMPLES]
        return f" ({atoms.comma(shown)})" if shown else ""

    def _context(self, around: Around, u: int) -> tuple[Clause, str]:
        where, family = self.material.contexts, around.family
        if around.group[u] >= 0:
            group = where.groups[around.group[u]]
            listed = f" ({atoms.comma(group.atom.values[:EXAMPLES])})" if group.atom.kind == "word" and group.text[0] in "a" else ""
            return atoms.context(family, group.atom), f"{WHERE[family]} {group.text}{listed}"
        words = [self._text(int(where.words[k])) for k in around.pick[u] if k >= 0]
        name = name_of(frozenset(words), .7) if len(words) > 2 else None
        shown = atoms.some(words, EXAMPLES + 1)
        if name in FUNCTION_CLASSES:
            return atoms.context(family, atoms.word(words)), f"{WHERE[family]} a {name} ({shown})"
        return atoms.context(family, atoms.word(words)), f"{WHERE[family]} {shown}"


def _sentence(parts: list[Part], top: int) -> str:
    """Strong parts first; contexts in one phrase; what is clearly weaker is said to be."""
    said: list[str] = []
    for weak in (False, True):
        some = [p for p in parts if (LEVELS[p.level] / LEVELS[top] < WEAK) == weak]
        about = [p.text for p in sorted((p for p in some if not p.context), key=lambda p: -p.level)]
        around = [p.text for p in sorted((p for p in some if p.context), key=lambda p: -p.level)]
        if around:
            about.append(f"{'any word' if weak or not about else 'words'} {' or '.join(around)}")
        if about:
            said.append(("more weakly " if weak else "") + "; ".join(about))
    return "; ".join(said)
