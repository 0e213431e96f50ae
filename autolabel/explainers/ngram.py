"""`ngram`: context tries from the corpus's own statistics, for all neurons at once.

After Neuron to Graph (Foote et al. 2023, arXiv 2305.19911), which builds for one neuron a trie of the contexts that activate
it. Here the tries are read off the corpus in one pass and without an LLM: the root's children are the words that drive the
unit, a word's children the words before it, after it or within four words of it that raise the activation above the word's own
mean. No truncation or word replacement is run: the context that a branch names is associated with the activation, not shown
to cause it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.explainers import atoms, gather
from autolabel.explainers.excess import PRIOR, listed, top, words
from autolabel.explainers.gather import Layer, indicator
from autolabel.explainers.induce import compose
from autolabel.explainers.lexicon import GROUPS, Lexicon
from autolabel.explainers.objective import LEVELS, objective
from autolabel.explainers.tokens import CHANCE, SILENT
from autolabel.patterns.syntax import Clause
from autolabel.protocols import ExplainSplit
from autolabel.types import Exemplars, Explanation, Maker

Ints = NDArray[np.int64]
STEPS = {"previous": (-1,), "next": (1,), "near": (-4, -3, -2, 2, 3, 4)}
SAID = {"previous": "after", "next": "before", "near": "near"}
MIN_COUNT, MIN_SPREAD, MAX_PAIRS = 4, 3, 6_000  # occurrences and document groups of a branch; branches per family
BAR = 3.5  # z by which a branch must exceed its word


@dataclass(frozen=True)
class Branches:
    """P pairs of a word and a word in its context."""

    family: tuple[str, ...]  # [P] of STEPS
    word: Ints  # [P] the word
    other: Ints  # [P] the word in its context
    rows: sp.csr_matrix  # [P, N] 0/1: tokens of the word where the pair holds


def branches(lexicon: Lexicon) -> Branches:
    """The pairs that occur often enough, by family the most widely spread ones."""
    n_words, in_word = len(lexicon.words), np.flatnonzero(lexicon.run_of_token >= 0)
    of_run = lexicon.run_of_token[in_word]
    family: list[str] = []
    parts: list[tuple[Ints, Ints, sp.csr_matrix]] = []
    for name, steps in STEPS.items():
        keys, tokens = [], []
        for step in steps:
            there = of_run + step
            fine = (there >= 0) & (there < len(lexicon.run_word))
            fine[fine] = lexicon.run_excerpt[there[fine]] == lexicon.run_excerpt[of_run[fine]]
            keys.append(lexicon.run_word[of_run[fine]] * n_words + lexicon.run_word[there[fine]])
            tokens.append(in_word[fine])
        pair, row, count = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
        token = np.concatenate(tokens)
        spread = np.bincount(np.unique(row * GROUPS + lexicon.group[token]) // GROUPS, minlength=len(pair))
        often = np.flatnonzero((count >= MIN_COUNT) & (spread >= MIN_SPREAD))
        kept = np.sort(often[np.argsort(-spread[often], kind="stable")][:MAX_PAIRS])
        place = np.full(len(pair), -1, np.int64)
        place[kept] = np.arange(len(kept))
        inside = place[row] >= 0
        rows = indicator(place[row][inside], len(kept), token[inside], lexicon.n_tokens)
        parts.append((pair[kept] // n_words, pair[kept] % n_words, rows))
        family += [name] * len(kept)
    return Branches(tuple(family), np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]),
                    sp.csr_matrix(sp.vstack([p[2] for p in parts])))


@dataclass(frozen=True)
class Ngram:
    """Words that drive a unit, and the contexts in which they do."""

    words: int = 8  # children of the root at most
    branches: int = 4  # pairs at most
    cost: float = 0.002  # of the objective, per word

    def explain(self, units: Iterable[Exemplars], explain_split: ExplainSplit) -> Iterator[Explanation]:
        """All units of a layer at once; layers in order."""
        asked = gather.by_layer(units)
        lexicon = gather.lexicon_of(explain_split, list(asked))
        ids, pairs = listed(lexicon), branches(lexicon)
        maker = Maker("ngram", {"words": self.words, "branches": self.branches, "cost": self.cost})
        for layer in gather.layers(explain_split, list(asked), lexicon):
            response = words(layer, lexicon, ids)
            state, lists = compose.start(layer, lexicon, response, self.words, 3.0, self.cost)
            chosen = _branches(state, layer, lexicon, pairs, self.branches, self.cost)
            for exemplars in asked[layer.key]:
                u = exemplars.unit.index
                pairs_of = zip(lists.words[u], lists.level[u], strict=True)
                own = [(int(level), lexicon.words[response.ids[w]]) for w, level in pairs_of if w >= 0]
                taken = [(int(level[u]), int(pick[u])) for pick, level in chosen if pick[u] >= 0]
                if not own and not taken:
                    yield Explanation(exemplars.unit, "", None, maker, SILENT if layer.std[u] == 0 else CHANCE)
                    continue
                yield Explanation(exemplars.unit, *_label(own, taken, pairs, lexicon), maker)


def _branches(state: compose.State, layer: Layer, lexicon: Lexicon, pairs: Branches, k: int,
              cost: float) -> list[tuple[Ints, NDArray[np.uint8]]]:
    """k rounds of (pair [U], -1: none; level [U]): the pairs that exceed their word's mean most, where they pay."""
    if not len(pairs.word):
        return []
    cells = indicator(lexicon.cell_word + 1, len(lexicon.words) + 1)[1:]
    n_word = np.asarray(cells @ layer.n)
    word_mean = np.asarray(cells @ layer.sums) / np.maximum(n_word, 1)[:, None]
    n = np.asarray(pairs.rows.sum(1)).ravel()
    mean = np.asarray(pairs.rows @ layer.a) / n[:, None]
    std = np.where(layer.std > 0, layer.std, np.inf).astype(np.float32)
    share = (n / (n + PRIOR)).astype(np.float32)[:, None]
    z = (mean - np.maximum(word_mean[pairs.word], layer.mean)) * np.sqrt(n * share[:, 0])[:, None] / std
    ranking = top(z.astype(np.float32), 2 * k)
    tall = np.take_along_axis(z, ranking, 0) > BAR
    over = np.zeros((len(state.scale), lexicon.n_tokens), np.uint8)
    chosen: list[tuple[Ints, NDArray[np.uint8]]] = []
    count = np.zeros(len(state.scale), np.int64)
    for row, fine in zip(ranking, tall, strict=True):
        pick = np.where(fine & (state.scale > 0) & (count < k), row, -1)
        units, tokens = compose.entries(pairs.rows, pick)
        sums, level = compose.on_tokens(state, layer, lexicon, over, units, tokens)
        take = (pick >= 0) & (level > 0) & (objective(sums) - objective(state.sums) > 2 * cost)
        kept = take[units]
        over[units[kept], tokens[kept]] = np.maximum(over[units[kept], tokens[kept]], level[units[kept]])
        state, count = replace(state, sums=state.sums.pick(sums, take)), count + take
        chosen.append((np.where(take, pick, -1), level))
    return chosen


def _label(own: list[tuple[int, str]], taken: list[tuple[int, int]], pairs: Branches, lexicon: Lexicon) -> tuple[str, str]:
    """Sentence and pattern: branches of one word, family and level share a clause."""
    tries: dict[tuple[int, str, str], list[str]] = {}
    for level, p in taken:
        tries.setdefault((level, pairs.family[p], lexicon.words[pairs.word[p]]), []).append(lexicon.words[pairs.other[p]])
    clauses: list[tuple[int, Clause]] = []
    for level in sorted({level for level, _ in own}, reverse=True):
        clauses.append((level, atoms.on(atoms.word([w for at, w in own if at == level]))))
    parts = [f"the word{'s' if len(own) > 1 else ''} {atoms.comma([w for _, w in own])}"] if own else []
    for (level, family, word), others in tries.items():
        clauses.append((level, replace(atoms.context(family, atoms.word(others)), on=(atoms.word([word]),))))
        parts.append(f"“{word}” {SAID[family]} {atoms.comma(others)}")
    clauses.sort(key=lambda item: -item[0])
    highest = clauses[0][0]
    return "; ".join(parts), atoms.pattern([replace(c, strength=round(float(LEVELS[at] / LEVELS[highest]), 2)) for at, c in clauses])
