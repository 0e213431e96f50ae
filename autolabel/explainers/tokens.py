"""`tokens`: the words that drive a neuron, as a plain list. No classes, no context, no strengths: the yardstick.

Words are ranked by excess over their standard error; the list of k words is the first k of the list of 20, so that a
baseline of any length is at hand. For its own label the length is chosen by the objective.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.explainers import atoms, gather
from autolabel.explainers.excess import PRIOR, Words, listed, top, words
from autolabel.explainers.gather import Key, Layer
from autolabel.explainers.lexicon import Lexicon
from autolabel.explainers.objective import LEVELS, Sums, empty, objective
from autolabel.protocols import ExplainSplit
from autolabel.types import Exemplars, Explanation, Maker

MAX_LIST = 20
BAR = 3.0  # z that a listed word must reach
COST = 0.002  # of the objective, per word: what a word must bring on explain
SILENT, CHANCE = "the unit never fires on explain", "no word stands out on explain"


@dataclass(frozen=True)
class RankedWords:
    """Nested word lists: the label of k words of unit u is `[words[i] for i in ids[u, :k]]`."""

    words: tuple[str, ...]  # case-folded
    ids: Mapping[Key, NDArray[np.int64]]  # (layer, side) -> [U, 20] best first, -1: no further word stands out


def ranked_words(explain_split: ExplainSplit, keys: Sequence[Key] | None = None, k: int = MAX_LIST) -> RankedWords:
    """The ordered word lists of all units of `keys` (default: all sites, the sides that have statistics)."""
    keys = list(explain_split.stats) if keys is None else list(keys)
    lexicon = gather.lexicon_of(explain_split, keys)
    ids, found = listed(lexicon), {}
    for layer in gather.layers(explain_split, keys, lexicon):
        response = words(layer, lexicon, ids)
        ranking = _ranking(response)
        found[layer.key] = _padded(np.where(_stands_out(response, ranking), response.ids[ranking], -1), k)
        # the explainer `tokens` asks for this next: its answer is small, and a layer's sums are not
        explain_split.memo["tokens", layer.key, lexicon.n_tokens] = _listed(layer, response, ranking, MAX_LIST, COST)
    return RankedWords(lexicon.words, found)


@dataclass(frozen=True)
class Tokens:
    """The word list that drives each unit."""

    words: int = MAX_LIST  # at most so many
    cost: float = COST  # of the objective, per word

    def explain(self, units: Iterable[Exemplars], explain_split: ExplainSplit) -> Iterator[Explanation]:
        """All units of a layer at once; layers in order."""
        asked = gather.by_layer(units)
        lexicon = gather.lexicon_of(explain_split, list(asked))
        maker = Maker("tokens", {"words": self.words, "cost": self.cost})
        for key, lists in self._lists(explain_split, list(asked), lexicon):
            for exemplars in asked[key]:
                u = exemplars.unit.index
                chosen = [lexicon.words[w] for w in lists.words[:lists.length[u], u]]
                if not chosen:
                    yield Explanation(exemplars.unit, "", None, maker, SILENT if lists.silent[u] else CHANCE)
                    continue
                text = f"the word{'s' if len(chosen) > 1 else ''} {atoms.comma(chosen)}"
                yield Explanation(exemplars.unit, text, atoms.pattern([atoms.on(atoms.word(chosen))]), maker)

    def _lists(self, split: ExplainSplit, keys: list[Key], lexicon: Lexicon) -> Iterator[tuple[Key, Lists]]:
        if (self.words, self.cost) == (MAX_LIST, COST) and all(("tokens", key, lexicon.n_tokens) in split.memo for key in keys):
            yield from ((key, split.memo["tokens", key, lexicon.n_tokens]) for key in keys)
            return
        ids = listed(lexicon)
        for layer in gather.layers(split, keys, lexicon):
            response = words(layer, lexicon, ids)
            yield layer.key, _listed(layer, response, _ranking(response), self.words, self.cost)


@dataclass(frozen=True)
class Lists:
    """The lists of one layer."""

    words: NDArray[np.int64]  # [K, U] words of the lexicon, best first
    length: NDArray[np.int64]  # [U] how many of them are listed
    silent: NDArray[np.bool_]  # [U] the unit never fires


def _listed(layer: Layer, response: Words, ranking: NDArray[np.int64], most: int, cost: float) -> Lists:
    ranking = ranking[:most]
    return Lists(response.ids[ranking], best_length(layer, response, ranking, cost), layer.std == 0)


def best_length(layer: Layer, response: Words, ranking: NDArray[np.int64], cost: float) -> NDArray[np.int64]:
    """[U] how many words of the ranking to list: the length with the largest objective minus cost; 0 where no word stands out."""
    units = np.arange(response.z.shape[1], dtype=np.int64)
    sums: Sums = empty(int(layer.n.sum()), layer.mean, layer.std, layer.n_strong)
    level = np.full(len(units), len(LEVELS) - 1, np.uint8)
    best, length = np.zeros(len(units)), np.zeros(len(units), np.int64)
    out = _stands_out(response, ranking)
    for k, row in enumerate(ranking):
        keep = units[out[k]] if len(out) > k else units[:0]
        w = row[keep]
        n = response.n[w]
        # the shrunk excess, not the raw one: the words were picked for their excess on these very tokens
        share = (response.n_eff[w] / (response.n_eff[w] + PRIOR)).astype(np.float32)
        base = n * (layer.n_strong[keep] / layer.n.sum()).astype(np.float32)
        strong = base + share * (response.strong[w, keep] - base)
        sums = sums.add(keep, np.zeros(len(keep), np.uint8), level[keep], n, n * (layer.mean[keep] + response.excess[w, keep]), strong)
        value = objective(sums) - cost * (k + 1)
        better = (value > best) & out[k]
        best, length = np.where(better, value, best), np.where(better, k + 1, length)
    return length


def _ranking(response: Words) -> NDArray[np.int64]:
    return top(response.z, MAX_LIST)


def _stands_out(response: Words, ranking: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[K, U] whether the word at each place of the ranking, and all before it, are above chance."""
    z = np.take_along_axis(response.z, ranking, 0)
    return np.asarray(np.logical_and.accumulate(z > BAR, axis=0))


def _padded(rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    out = np.full((rows.shape[1], k), -1, np.int64)
    out[:, :min(k, len(rows))] = rows[:k].T
    return out
