"""A label for each cluster: `induce` on the unit's activation without the tokens of its other clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.explainers import gather
from autolabel.explainers.gather import Layer
from autolabel.explainers.induce import Induce
from autolabel.explainers.induce.search import Material
from autolabel.explainers.induce.wording import Label
from autolabel.explainers.lexicon import Lexicon

Ints = NDArray[np.int64]
MEMORY_BYTES = 512 << 20  # of the activations of clusters held at once


@dataclass(frozen=True)
class Clustered:
    """A unit and its clusters."""

    column: int  # of the layer
    clusters: tuple[Ints, ...]  # words of the lexicon; one cluster, empty or not, means: all of it


def owners(clusters: Sequence[Ints], word: Ints, n_words: int) -> Ints:
    """[tokens] the cluster that a token's word [tokens] belongs to; -1 where it belongs to none."""
    of_word = np.full(n_words + 1, -1, np.int64)
    for k, words in enumerate(clusters):
        of_word[words] = k
    return of_word[word]


def labels(induce: Induce, material: Material, layer: Layer, units: Sequence[Clustered]) -> list[list[Label | None]]:
    """A label for every cluster of every unit, None where nothing was found. Only the explain split is read."""
    lexicon = material.lexicon
    word = word_of_token(lexicon)
    asked = [(i, k) for i, unit in enumerate(units) for k in range(len(unit.clusters))]
    out: list[list[Label | None]] = [[None] * len(unit.clusters) for unit in units]
    step = max(1, MEMORY_BYTES // (4 * max(1, lexicon.n_tokens)))
    for first in range(0, len(asked), step):
        some = asked[first:first + step]
        a = np.empty((lexicon.n_tokens, len(some)), np.float32)
        for column, (i, k) in enumerate(some):
            owner = owners(units[i].clusters, word, len(lexicon.words))
            a[:, column] = np.where((owner == k) | (owner < 0), layer.a[:, units[i].column], 0)
        # what is strong is said of each cluster by itself
        mine = gather.summed(layer.site, layer.side, layer.tau[[units[i].column for i, _ in some]], np.quantile(a, .99, axis=0), a, lexicon)
        label = induce.labels(mine, material)
        for column, (i, k) in enumerate(some):
            out[i][k] = label(column)
    return out


def word_of_token(lexicon: Lexicon) -> Ints:
    """[N] the word of each token, -1 where it has none."""
    if not len(lexicon.run_word):
        return lexicon.run_of_token
    return np.where(lexicon.run_of_token >= 0, lexicon.run_word[lexicon.run_of_token], -1)
