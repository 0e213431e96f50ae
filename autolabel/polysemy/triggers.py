"""The words that make a unit fire, each with the vector by which they are told apart.

A word stands out by the excess of its mean activation over its standard error (`explainers/excess.py`). Its vector has two parts:
the word alone, and the excerpts in which the unit fires most on it (of documents that no other word has taken), both embedded by
MiniLM and centred on the corpus. How much each part weighs is attribution by occlusion: s = the share of the word's activation
that stands when the model reads its tokens one by one, with nothing around them (sum of min(a alone, a) / sum of a, token type by
token type); the vector is [sqrt(s) word, sqrt(1 - s) context]. A lexical unit's words are told apart by meaning, a context-driven
unit's by where they stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.explainers.excess import Words
from autolabel.explainers.gather import Layer
from autolabel.explainers.lexicon import Lexicon, head
from autolabel.patterns import embedded
from autolabel.patterns.embedded import Embedder
from autolabel.polysemy.split import Draw
from autolabel.protocols import ExplainSplit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BAR = 4.0  # z from which a word stands out: of thousands that are tried, hardly one does by chance
MOST_WORDS = 48  # of a unit, those that carry the most activation
EXCERPTS = 2  # that a word's context is embedded from
RANDOM = 160  # words of the reference


@dataclass(frozen=True)
class Ground:
    """What the words of all units are compared with."""

    lexicon: Lexicon
    texts: tuple[str, ...]  # [E] of the excerpts of the lexicon
    embedder: Embedder
    word_centre: NDArray[np.float32]  # mean vector of the reference words
    context_centre: NDArray[np.float32]  # mean vector of their excerpts
    words: Floats  # [RANDOM, RANDOM] similarities of the reference words alone
    contexts: Floats  # [RANDOM, RANDOM] of their contexts

    @classmethod
    def build(cls, split: ExplainSplit, lexicon: Lexicon, listed: Ints, embedder: Embedder, seed: int = 0) -> Ground:
        """`listed`: words of the lexicon that may stand in lists; the reference is drawn from them."""
        texts = texts_of(split, lexicon.n_tokens)
        rng = np.random.default_rng([seed, 5])
        some = rng.permutation(listed)[:RANDOM]
        order = np.argsort(lexicon.run_word, kind="stable")
        first = np.searchsorted(lexicon.run_word[order], some)
        count = lexicon.word_count[some]
        at = [order[f + rng.integers(0, c, EXCERPTS)] for f, c in zip(first.tolist(), count.tolist(), strict=True)]
        own = embedded.vectors(embedder, [lexicon.words[w] for w in some])
        around = [embedded.vectors(embedder, [texts[e] for e in lexicon.run_excerpt[a].tolist()]) for a in at]
        everywhere = np.concatenate(around)
        word_centre, context_centre = own.mean(0), everywhere.mean(0)
        context = unit(np.stack([x.mean(0) for x in around]) - context_centre)
        word = unit(own - word_centre)
        return cls(lexicon, texts, embedder, word_centre, context_centre, _gram(word), _gram(context))

    def draw(self, attribution: Floats, seed: int) -> Draw:
        """Random sets of words; their attributions are drawn from those of the unit's own words."""
        rng = np.random.default_rng(seed)

        def sets(b: int, n: int) -> Floats:
            rows = np.argsort(rng.random((b, len(self.words))), axis=1)[:, :n]
            s = rng.choice(attribution, (b, n))
            pick = (rows[:, :, None], rows[:, None, :])
            found: Floats = (np.sqrt(s[:, :, None] * s[:, None, :]) * self.words[pick]
                             + np.sqrt((1 - s)[:, :, None] * (1 - s)[:, None, :]) * self.contexts[pick])
            return found
        return sets


@dataclass(frozen=True)
class Triggers:
    """The words of one unit that stand out, those that carry the most first."""

    words: Ints  # [n] of the lexicon
    mass: Floats  # [n] activation above the unit's mean
    attribution: Floats  # [n] s in [0, 1]
    similarity: Floats  # [n, n]


def texts_of(split: ExplainSplit, n_tokens: int) -> tuple[str, ...]:
    """Texts of the excerpts that a lexicon of n_tokens was read from, in its order."""
    return tuple(text for part in parts(split, n_tokens) for text in part.text)


def parts(split: ExplainSplit, n_tokens: int) -> list[Excerpts]:
    """The excerpts of a lexicon of n_tokens, in its order."""
    out: list[Excerpts] = []
    for chunk in split.chunks():
        part = head(chunk, n_tokens - sum(p.n_tokens for p in out))
        if not len(part):
            break
        out.append(part)
    return out


def alone(split: ExplainSplit, layer: Layer, lexicon: Lexicon, units: Ints) -> NDArray[np.float32]:
    """[C, U] activation of each cell's token type when nothing stands around it."""
    import torch

    types, inverse = np.unique(lexicon.cell_token, return_inverse=True)
    out = np.zeros((len(types), len(units)), np.float32)
    sign = 1 if layer.side == "+" else -1
    step = split.batch_size * 64
    for first in range(0, len(types), step):
        def visit(_site: object, x: torch.Tensor, span: slice, at: int = first) -> None:
            chosen = x[:, span][:, 0][:, torch.from_numpy(units).to(x.device)]
            out[at:at + len(x)] = (chosen.float() * sign).clamp_min(0).cpu().numpy()
        split.subject.run(types[first:first + step, None], [layer.site], visit)
    return out[inverse]


def triggers(ground: Ground, layer: Layer, response: Words, by_itself: NDArray[np.float32], unit_: int) -> Triggers:
    """Of column `unit_` of the layer; response: how it answers the listed words; by_itself [C, U]: `alone`."""
    lexicon = ground.lexicon
    mass = response.excess[:, unit_] * response.n
    rows = np.flatnonzero((response.z[:, unit_] >= BAR) & (mass > 0))
    rows = rows[np.argsort(-mass[rows], kind="stable")][:MOST_WORDS]
    words = response.ids[rows]
    if not len(rows):
        return Triggers(words, np.zeros(0), np.zeros(0), np.zeros((0, 0)))
    share = np.zeros(len(words))
    where: list[list[int]] = []
    used: set[int] = set()
    of_run = np.where(lexicon.run_of_token >= 0, lexicon.run_word[lexicon.run_of_token], -1) if len(lexicon.run_word) else lexicon.run_of_token
    a = layer.a[:, unit_]
    for i, word in enumerate(words.tolist()):
        cells = np.flatnonzero(lexicon.cell_word == word)
        total = layer.sums[cells, unit_]
        share[i] = np.minimum(layer.n[cells] * by_itself[cells, unit_], total).sum() / max(float(total.sum()), 1e-12)
        tokens = np.flatnonzero(of_run == word)
        where.append(_apart(tokens[np.argsort(-a[tokens], kind="stable")], lexicon, used))
    share = np.clip(share, 0, 1)
    word = unit(embedded.vectors(ground.embedder, [lexicon.words[w] for w in words]) - ground.word_centre)
    context = unit(np.stack([embedded.vectors(ground.embedder, [ground.texts[e] for e in some]).mean(0) for some in where]) - ground.context_centre)
    similarity = np.sqrt(np.outer(share, share)) * _gram(word) + np.sqrt(np.outer(1 - share, 1 - share)) * _gram(context)
    return Triggers(words, mass[rows].astype(np.float64), share, similarity)


def _apart(tokens: Ints, lexicon: Lexicon, used: set[int]) -> list[int]:
    """The excerpts of the first tokens whose documents no other word has used: words that share a text would be alike for that alone.

    Where all are used, that of the first token.
    """
    chosen: list[int] = []
    for token in tokens.tolist():
        group = int(lexicon.group[token])
        if group not in used and len(chosen) < EXCERPTS:
            used.add(group)
            chosen.append(int(lexicon.excerpt[token]))
    return chosen or [int(lexicon.excerpt[tokens[0]])]


def unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; rows of zeros stay."""
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(norm > 0, norm, 1), np.float32)


def _gram(x: NDArray[np.float32]) -> Floats:
    return np.asarray(x.astype(np.float64) @ x.T.astype(np.float64))


__all__ = ["BAR", "Ground", "Triggers", "alone", "parts", "texts_of", "triggers"]
