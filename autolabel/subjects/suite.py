"""Seeded suites of planted units: rules of every kind, drawn so that they fire in the corpus that they are planted on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autolabel.errors import CorpusError
from autolabel.hierarchy import Hierarchy
from autolabel.subjects.planted import Noise, Plant, noise_for
from autolabel.subjects.rules import Again, Both, Floats, Position, Reading, Rule, Says, Topic, clause, word_rule
from autolabel.types import hash63

LEAST, MOST = 0.0005, 0.2  # share of tokens on which a rule may fire
TRIES = 60  # draws of one rule before the corpus is called too small
BEYOND = ("topic", "parity", "position", "again")  # kinds that the pattern language cannot say
FAMILIES = ("families1", "families2", "families3", "families4")  # senses that mean different things: lists of words of so many concepts
LEXICAL = ("words", "concept", "class", "or")  # kinds that a token alone decides
KINDS = ("words", "class", "concept", "and", "or", "context", "senses2", "senses3", "senses4", "twin", *BEYOND, "noise", "dead")
CLASSES = ("digit", "punct")  # that an uncased tokenizer still tells


@dataclass(frozen=True)
class Garden:
    """A sample of the corpus on which rules are drawn and tried."""

    reading: Reading

    @cached_property
    def words(self) -> tuple[tuple[str, ...], Floats]:
        """Words of letters alone, at least three, and the share of tokens that each marks; the most frequent first."""
        table = self.reading.table
        words = list(table.folded_index)  # by the number that `folded` gives
        count = np.bincount(self.reading.folded, minlength=len(words)) / max(1, self.reading.excerpts.n_tokens)
        kept = [i for i in np.argsort(-count, kind="stable").tolist() if len(words[i]) > 2 and words[i].isalpha()]
        return tuple(words[i] for i in kept), count[kept]

    @cached_property
    def hierarchy(self) -> Hierarchy:
        """Of everyday concepts."""
        return Hierarchy.default()

    @cached_property
    def families(self) -> tuple[tuple[str, ...], ...]:
        """Words of the sample that one concept holds, for every concept with at least four that occur three times or more."""
        names, share = self.words
        often = [name for name, s in zip(names, share.tolist(), strict=True) if s * self.reading.excerpts.n_tokens >= 3]
        own = {name: {often[m[0]] for m in matches if len(m) == 1} for name, matches in self.hierarchy.find(often).items()}
        held = (sorted(set().union(*(own.get(below.name, set()) for below in self.hierarchy.below(name)))) for name in self.hierarchy.concepts)
        return tuple(dict.fromkeys(tuple(words) for words in held if 4 <= len(words) <= 40))

    def some_families(self, rng: np.random.Generator, n: int, most: int = 8) -> list[tuple[str, ...]]:
        """n lists of at most `most` words, each of words that mean similar things, no word in two families. Raises CorpusError."""
        chosen: list[tuple[str, ...]] = []
        taken: set[str] = set()
        for i in rng.permutation(len(self.families)).tolist():
            if len(chosen) < n and not taken.intersection(self.families[i]):
                taken.update(self.families[i])
                chosen.append(tuple(rng.permutation(self.families[i])[:most].tolist()))
        if len(chosen) < n:
            raise CorpusError(f"{len(chosen)} families of words occur in the corpus, {n} are needed: take a larger corpus")
        return chosen

    def rate(self, rule: Rule) -> float:
        """Share of the sample's tokens on which it fires."""
        return float((rule.strength(self.reading) > 0).mean())

    def some_words(self, rng: np.random.Generator, n: int, low: float = 1e-4, high: float = 2e-3) -> tuple[str, ...]:
        """n different words whose shares of tokens lie in a range. Raises CorpusError where there are fewer."""
        names, share = self.words
        fit = np.flatnonzero((share >= low) & (share <= high))
        if len(fit) < n:
            raise CorpusError(f"{len(fit)} words of the corpus are frequent enough to plant a rule on, {n} are needed: take a larger corpus")
        return tuple(names[i] for i in rng.choice(fit, n, replace=False))

    def frequent(self, rng: np.random.Generator, n: int) -> tuple[str, ...]:
        """n of the sixty most frequent words: contexts that occur."""
        return self.some_words(rng, n, float(self.words[1][:60].min(initial=1.0)), 1.0)


def _drawn(kind: str, garden: Garden, rng: np.random.Generator) -> list[Rule]:
    """One rule of a kind, or its senses."""
    some = garden.some_words
    if kind == "words":
        return [word_rule(some(rng, int(rng.integers(3, 9))))]
    if kind == "class":
        return [clause(on={"class": str(rng.choice(CLASSES))})]
    if kind == "concept":
        names = sorted(garden.hierarchy.concepts)
        return [clause(on={"concept": names[int(rng.integers(len(names)))]})]
    if kind == "and":
        return [clause(on={"word": list(some(rng, 12, 5e-4, 5e-3))}, near=[{"word": list(garden.frequent(rng, 8))}], within=3)]
    if kind == "or":
        return [Says(json.dumps({"any": [{"on": {"word": list(some(rng, 4))}}, {"on": {"word": list(some(rng, 3))}, "strength": 0.6}]}))]
    if kind == "context":
        return [clause(before=[{"word": list(garden.frequent(rng, 2))}], within=1)]
    if kind.startswith("senses"):
        return [word_rule(some(rng, 5)) for _ in range(int(kind.removeprefix("senses")))]
    if kind.startswith("families"):
        return [word_rule(words) for words in garden.some_families(rng, int(kind.removeprefix("families")))]
    if kind == "topic":
        return [Topic(some(rng, 25), 2)]
    if kind == "parity":
        return [Both(word_rule(garden.frequent(rng, 6)), Position(0, 10_000, 2))]
    if kind == "position":
        first = int(rng.integers(0, 12))
        return [Position(first, first + int(rng.integers(0, 3)))]
    if kind == "again":
        return [Again(int(rng.integers(4, 7)), 1)]
    raise ValueError(f"no planted unit is of kind {kind!r}: {', '.join((*KINDS, *FAMILIES))}")


def _live(kind: str, garden: Garden, rng: np.random.Generator) -> list[Rule]:
    for _ in range(TRIES):
        rules = _drawn(kind, garden, rng)
        if all(LEAST <= garden.rate(rule) <= MOST for rule in rules):
            return rules
    raise CorpusError(f"no rule of kind {kind!r} fires on {LEAST:.2%} to {MOST:.0%} of the tokens of this corpus: take a larger one")


def twins(garden: Garden, rng: np.random.Generator) -> tuple[Rule, Rule]:
    """Two rules that differ in one attribute: the same words, the second only after some frequent ones."""
    words = list(garden.some_words(rng, 20, 5e-4, 5e-3))
    return word_rule(words), clause(on={"word": words}, before=[{"word": list(garden.frequent(rng, 10))}], within=2)


def suite(garden: Garden, n: int, seed: int = 0, *, layer: str = "0", kinds: Sequence[str] = KINDS, rhos: Sequence[float] = (0.3, 0.5, 0.7, 0.9),
          place: Callable[[int], int] = lambda i: i) -> tuple[Plant, ...]:
    """n planted units, the kinds in turn, rho drawn from `rhos` for those of one sense; unit i is neuron place(i).

    The same sample and seed give the same suite. Raises CorpusError where the sample is too small for a kind.
    """
    plants: list[Plant] = []
    turn = 0
    while len(plants) < n:
        kind, i = kinds[turn % len(kinds)], len(plants)
        turn += 1
        rng = np.random.default_rng([seed, i])
        noise = hash63(seed, i)
        if kind == "dead":
            plants.append(Plant(layer, place(i), kind, ()))
        elif kind == "noise":
            plants.append(Plant(layer, place(i), kind, (), Noise(0.0, 0.05, 1.0, noise)))
        elif kind == "twin":
            rho = float(rng.choice(rhos))
            for rule in twins(garden, rng)[:n - i]:
                plants.append(_planted(garden, layer, place(len(plants)), kind, [rule], rho, noise))
        else:
            plants.append(_planted(garden, layer, place(i), kind, _live(kind, garden, rng), float(rng.choice(rhos)), noise))
    return tuple(plants)


def _planted(garden: Garden, layer: str, index: int, kind: str, rules: list[Rule], rho: float, seed: int) -> Plant:
    """One sense: at the wanted rho. Several: gains 1, .8, .6, .4, the noise that the first one alone would need."""
    noise = noise_for(rho, rules[0].strength(garden.reading), seed=seed)
    senses = tuple((rule, 1 - 0.2 * k) for k, rule in enumerate(rules))
    return Plant(layer, index, kind, senses, noise, rho if len(rules) == 1 else None)


__all__ = ["BEYOND", "FAMILIES", "KINDS", "LEXICAL", "Garden", "suite", "twins"]
