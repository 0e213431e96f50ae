"""The senses of units, from the explain split to the proof on test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autolabel.explainers import gather
from autolabel.explainers.excess import listed
from autolabel.explainers.excess import words as responses
from autolabel.explainers.gather import Key, Layer
from autolabel.explainers.induce import Induce
from autolabel.explainers.induce.search import Material
from autolabel.explainers.tokens import CHANCE, SILENT
from autolabel.patterns.embedded import Embedder
from autolabel.patterns.syntax import Pattern, parse
from autolabel.polysemy import naming, proof, pursuit, reading, triggers
from autolabel.polysemy.naming import Clustered
from autolabel.polysemy.proof import Claim, Proof
from autolabel.polysemy.reading import Read
from autolabel.polysemy.split import LEAST, split
from autolabel.protocols import ExplainSplit, SelectEvidence, TestEvidence
from autolabel.scorers.entries import Run
from autolabel.scorers.walk import pieces
from autolabel.types import Explanation, Unit, hash63

Ints = NDArray[np.int64]
MOST_TOKENS = 262_144  # of select that are read: the first in hash order, a random sample
UNITS = 256  # units whose labels are run at a time
Foreign = Mapping[Key, Sequence[tuple[int, Pattern]]]  # labels of the units of a layer and side


@dataclass(frozen=True)
class Sense:
    """One thing that a unit fires for."""

    label: Explanation
    words: tuple[str, ...]  # of its cluster, those that carry the most first; empty where the unit has one sense and no words stand out
    attribution: float | None  # share of the activation on them that stands when they are read alone
    share: float  # explained mass, as a share of all of the unit's
    gain: float  # in R2 on select, with its 95 % interval
    gain_low: float
    gain_high: float
    confusion: tuple[float, ...]  # rho on its own cluster of the label of each of the unit's senses, on select; nan where it does not vary
    real: bool  # its own label is the best there
    proof: Proof  # on test


@dataclass(frozen=True)
class UnitSenses:
    """What was found of one unit."""

    unit: Unit
    senses: tuple[Sense, ...]  # in the order in which they were taken
    clusters: int  # that the words fell into, before labels were asked to add anything
    n_eff: float  # nan without senses
    reason: str | None = None  # why there is none


@dataclass(frozen=True)
class _Found:
    """A unit on its way."""

    unit: Unit
    clustered: Clustered
    words: tuple[tuple[str, ...], ...]  # of each cluster
    attribution: tuple[float | None, ...]  # of each cluster
    labels: tuple[Explanation, ...] = ()  # of the clusters that have one
    of: tuple[int, ...] = ()  # which cluster each label belongs to
    first: int = 0  # number of its first label among those that are run


def find_senses(units: Sequence[Unit], explain: ExplainSplit, select: SelectEvidence, test: TestEvidence, *, run: Run, embedder: Embedder,
                induce: Induce | None = None, foreign: Foreign | None = None, seed: int = 0,
                progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[UnitSenses]:
    """The senses of units, layer by layer. Labels are `induce`'s, from explain; select says which add something and are the best of
    their cluster; test is read once per call, by the labels that are left."""
    by_key: dict[Key, list[Unit]] = {}
    for unit in units:
        by_key.setdefault((unit.layer, unit.side), []).append(unit)
    keys = list(by_key)
    induce, lexicon = induce or Induce(), gather.lexicon_of(explain, keys)
    ids = listed(lexicon)
    ground = triggers.Ground.build(explain, lexicon, ids, embedder, seed)
    material = induce.material(explain, lexicon)
    done = 0
    for layer in gather.layers(explain, keys, lexicon):
        for first in range(0, len(by_key[layer.key]), UNITS):
            some = by_key[layer.key][first:first + UNITS]
            found = _cluster(some, explain, layer, ground, ids, seed)
            found = _name(found, induce, material, layer)
            yield from _judge(found, explain, select, test, layer, lexicon.n_tokens, run, (foreign or {}).get(layer.key, ()))
            done += len(some)
            progress(done, len(units))


def _cluster(units: Sequence[Unit], explain: ExplainSplit, layer: Layer, ground: triggers.Ground, ids: Ints, seed: int) -> list[_Found]:
    """The clusters of each unit's words."""
    columns = np.array([u.index for u in units], np.int64)
    mine = layer.of(columns)
    response = responses(mine, ground.lexicon, ids)
    by_itself = triggers.alone(explain, layer, ground.lexicon, columns)
    out = []
    for i, unit in enumerate(units):
        t = triggers.triggers(ground, mine, response, by_itself, i)
        number = hash63(seed, str(unit)) % 2**32
        rows = split(t.similarity, ground.draw(t.attribution, number), number) if len(t.words) >= 2 * LEAST else [np.arange(len(t.words))]
        words = tuple(tuple(ground.lexicon.words[w] for w in t.words[np.sort(r)]) for r in rows)
        told = tuple(float(np.average(t.attribution[r], weights=t.mass[r])) if len(r) else None for r in rows)
        out.append(_Found(unit, Clustered(unit.index, tuple(t.words[r] for r in rows)), words, told))
    return out


def _name(found: Sequence[_Found], induce: Induce, material: Material, layer: Layer) -> list[_Found]:
    """A label for each cluster; labels that several clusters share are given to the first."""
    out, first, maker = [], 0, induce.maker()
    for f, labels in zip(found, naming.labels(induce, material, layer, [f.clustered for f in found]), strict=True):
        seen: dict[str, tuple[int, Explanation]] = {}
        for k, label in enumerate(labels):
            if label is not None and label.pattern not in seen:
                made = replace(maker, settings={**maker.settings, "cluster": list(f.words[k])})
                seen[label.pattern] = k, Explanation(f.unit, label.text, label.pattern, made)
        out.append(replace(f, labels=tuple(e for _, e in seen.values()), of=tuple(k for k, _ in seen.values()), first=first))
        first += len(seen)
    return out


def _judge(found: Sequence[_Found], explain: ExplainSplit, select: SelectEvidence, test: TestEvidence, layer: Layer, n_tokens: int, run: Run,
           foreign: Sequence[tuple[int, Pattern]]) -> Iterator[UnitSenses]:
    """Pursuit and confusion on select, then the proof on test."""
    patterns = _patterns([e for f in found for e in f.labels])
    columns = np.array([f.unit.index for f in found], np.int64)
    parts, at = [], 0
    for excerpts in triggers.parts(explain, n_tokens):
        parts.append(reading.read(excerpts, layer.a[at:at + excerpts.n_tokens, columns], patterns, run))
        at += excerpts.n_tokens
    known, held = reading.joined(parts), _select(select, layer, columns, patterns, run)
    _, group = np.unique(held.block, return_inverse=True)
    taken = [_pursue(f, i, known, held, group, layer) for i, f in enumerate(found)]
    claims = [Claim(f.unit.index, patterns[f.first + s.label], tuple(f.words[f.of[x.label]] for x in steps), i)
              for f, (steps, _, _) in zip(found, taken, strict=True) for i, s in enumerate(steps)]
    proofs = iter(proof.prove(test, layer, claims, foreign, run))
    for f, (steps, share, confusion) in zip(found, taken, strict=True):
        senses = tuple(
            Sense(f.labels[s.label], f.words[f.of[s.label]], f.attribution[f.of[s.label]], float(share[i]), s.gain, s.low, s.high,
                  tuple(confusion.rho[i].tolist()), confusion.real[i], next(proofs)) for i, s in enumerate(steps))
        why = None
        if not senses:
            why = SILENT if layer.std[f.unit.index] == 0 else CHANCE if not f.labels else "no label explains anything on select"
        yield UnitSenses(f.unit, senses, len(f.words), pursuit.n_eff(share), why)


def _pursue(f: _Found, column: int, known: Read, held: Read, group: Ints,
            layer: Layer) -> tuple[list[pursuit.Step], NDArray[np.float64], pursuit.Confusion]:
    rows = [f.first + i for i in range(len(f.labels))]
    a, a_select = known.a[:, column].astype(np.float64), held.a[:, column].astype(np.float64)
    c_select = held.strength(rows) if rows else np.zeros((len(a_select), 0))
    steps = pursuit.pursue(a, known.strength(rows), a_select, c_select, group) if rows else []
    order = [s.label for s in steps]
    share = pursuit.shares(a_select, c_select[:, order], np.array([s.beta for s in steps]), float(layer.tau[f.unit.index]))
    owner = held.owner([f.words[f.of[k]] for k in order]) if len(order) > 1 else np.full(len(a_select), -1)
    return steps, share, pursuit.confuse(a_select, c_select[:, order], owner, group)


def _select(select: SelectEvidence, layer: Layer, columns: Ints, patterns: Sequence[Pattern], run: Run) -> Read:
    parts, seen = [], 0
    for piece in pieces(select):
        parts.append(reading.read(piece, reading.activations(select, piece, layer.site, layer.side, columns), patterns, run))
        seen += piece.n_tokens
        if seen >= MOST_TOKENS:
            break
    return reading.joined(parts)


def _patterns(labels: Sequence[Explanation]) -> list[Pattern]:
    return [parse(e.pattern) for e in labels if e.pattern is not None]


__all__ = ["Sense", "UnitSenses", "find_senses"]
