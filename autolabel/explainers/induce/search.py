"""The search of `induce` over units of one layer: what each unit's label is made of, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autolabel.explainers.excess import Words, words
from autolabel.explainers.gather import Layer
from autolabel.explainers.induce import carry, compose
from autolabel.explainers.induce.around import Around, rows_of, search
from autolabel.explainers.induce.contexts import Contexts
from autolabel.explainers.induce.features import Features
from autolabel.explainers.induce.naming import Names
from autolabel.explainers.lexicon import Lexicon
from autolabel.explainers.objective import objective

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """What a clause must bring. Costs are in units of the objective."""

    words: int = 12  # words at most
    features: int = 2  # classes, concepts, likenesses at most
    contexts: int = 2  # context clauses at most
    bar: float = 3.0  # z that a listed word must reach
    cost: float = 0.003  # of a word
    tolerance: float = 0.004  # what a feature may lose on the words seen, for what it says of words not seen
    weight: float = 0.15  # of a feature's correlation over words, each counted once, beside the objective
    weight_context: float = 0.3  # of a context's correlation with the residual, beside the objective
    tried: int = 6  # features tried per unit and round


@dataclass(frozen=True)
class Material:
    """What all layers share."""

    lexicon: Lexicon
    listed: Ints  # words that may stand in lists
    features: Features
    halves: carry.Halves
    contexts: Contexts
    names: Names


@dataclass(frozen=True)
class Feature:
    """One feature clause per unit."""

    pick: Ints  # [U] row of the features, -1: none
    level: NDArray[np.uint8]  # [U]


@dataclass(frozen=True)
class Context:
    """One context clause per unit: of the family around[family[u]]."""

    family: Ints  # [U] index into `Found.around`, -1: none
    level: NDArray[np.uint8]  # [U]


@dataclass(frozen=True)
class Found:
    """The labels of a layer."""

    response: Words
    lists: compose.Lists
    features: tuple[Feature, ...]
    around: tuple[Around, ...]
    contexts: tuple[Context, ...]
    value: NDArray[np.float64]  # [U] the objective on explain


def run(layer: Layer, material: Material, settings: Settings) -> Found:
    """Search the units of a layer."""
    lexicon = material.lexicon
    response = words(layer, lexicon, material.listed)
    state, lists = compose.start(layer, lexicon, response, settings.words, settings.bar, settings.cost)
    features = []
    tried, gain = carry.candidates(layer, material.halves, settings.tried)
    for _ in range(settings.features):
        state, feature = _feature(state, layer, material, tried, gain, settings)
        tried = np.where(tried == feature.pick[:, None], -1, tried)
        features.append(feature)
    around, contexts = tuple(search(layer, material.contexts)), []
    over = np.zeros((len(state.scale), lexicon.n_tokens), np.uint8)
    done = np.zeros((len(around), len(state.scale)), np.bool_)
    for _ in range(settings.contexts):
        state, context = _context(state, layer, material, around, done, over, settings)
        contexts.append(context)
    return Found(response, lists, tuple(features), around, tuple(contexts), objective(state.sums))


def _feature(state: compose.State, layer: Layer, material: Material, tried: Ints, rho: NDArray[np.float32],
             settings: Settings) -> tuple[compose.State, Feature]:
    """The best of the tried features of each unit, where one pays."""
    n_units = len(state.scale)
    base, best = objective(state.sums), np.zeros(n_units)
    sums, pick, level = state.sums, np.full(n_units, -1, np.int64), np.zeros(n_units, np.uint8)
    # a unit without a list takes its scale from its first feature
    bare = state.scale <= 0
    for j in range(tried.shape[1]):
        row = tried[:, j]
        scaled = replace(state, scale=np.where(bare, _own_scale(layer, material, row), state.scale).astype(np.float32))
        new, at, units, cells = compose.on_cells(scaled, layer, material.features.cells, row)
        fresh = _fresh(state, units, cells, n_units)
        on_seen = objective(new) - base
        total = on_seen + settings.weight * rho[:, j] * fresh - settings.cost
        take = (row >= 0) & (at > 0) & (on_seen > -settings.tolerance) & (total > best)
        best, pick, level = np.where(take, total, best), np.where(take, row, pick), np.where(take, at, level).astype(np.uint8)
        sums = sums.pick(new, take)
    scale = np.where(bare & (pick >= 0), _own_scale(layer, material, pick), state.scale).astype(np.float32)
    units, cells = compose.entries(material.features.cells, pick)
    raised = state.level.copy()
    raised[units, cells] = np.maximum(raised[units, cells], level[units])
    return compose.State(raised, sums, scale), Feature(pick, level)


def _own_scale(layer: Layer, material: Material, row: Ints) -> NDArray[np.float32]:
    units, cells = compose.entries(material.features.cells, row)
    n = np.bincount(units, layer.n[cells], len(row))
    mean = np.divide(np.bincount(units, layer.sums[cells, units], len(row)), n, out=np.zeros(len(row)), where=n > 0)
    return np.maximum(mean - layer.mean, 0).astype(np.float32)


def _fresh(state: compose.State, units: Ints, cells: Ints, n_units: int) -> NDArray[np.float64]:
    """[U] share of a feature's cells that no clause covers yet."""
    count = np.bincount(units, minlength=n_units)
    bare = np.bincount(units[state.level[units, cells] == 0], minlength=n_units)
    return np.divide(bare, count, out=np.zeros(n_units), where=count > 0)


def _context(state: compose.State, layer: Layer, material: Material, around: tuple[Around, ...], done: NDArray[np.bool_],
             over: NDArray[np.uint8], settings: Settings) -> tuple[compose.State, Context]:
    """The best context of each unit that it has not yet, where it pays. Marks `done`, raises `over` in place."""
    n_units = len(state.scale)
    rho = np.where(done, 0, np.stack([a.rho for a in around]))
    family, value = rho.argmax(0), rho.max(0)
    base, level = objective(state.sums), np.zeros(n_units, np.uint8)
    sums, chosen, scale, bare = state.sums, np.full(n_units, -1, np.int64), state.scale, state.scale <= 0
    for i, a in enumerate(around):
        units = np.flatnonzero((family == i) & (value > 0.02))
        if not len(units):
            continue
        entry_units, tokens, weight = rows_of(a, material.contexts, units)
        scaled = state
        if bare[units].any():  # a unit without any clause yet takes its scale from the context
            n = np.maximum(np.bincount(entry_units, minlength=n_units), 1)
            own = np.maximum(np.bincount(entry_units, layer.a[tokens, entry_units], n_units) / n - layer.mean, 0)
            scaled = replace(state, scale=np.where(bare, own, state.scale).astype(np.float32))
        new, at = compose.on_tokens(scaled, layer, material.lexicon, over, entry_units, tokens, weight)
        gain = objective(new) - base
        take = np.zeros(n_units, np.bool_)
        take[units] = True
        take &= (at > 0) & (gain + settings.weight_context * value > 2 * settings.cost) & (gain > -settings.tolerance)
        sums, level, chosen = sums.pick(new, take), np.where(take, at, level).astype(np.uint8), np.where(take, i, chosen)
        scale = np.where(take, scaled.scale, scale).astype(np.float32)
        kept = take[entry_units]
        entry_units, tokens = entry_units[kept], tokens[kept]
        over[entry_units, tokens] = np.maximum(over[entry_units, tokens], at[entry_units])
        done[i, units] = True
    return replace(state, sums=sums, scale=scale), Context(chosen, level)
