"""Likeness to the label, by sentence embeddings: needs no LLM, costs next to nothing, and knows next to nothing.

    c_t = clip(bias + word f1 + window f2 + excerpt f3 + quoted f4, 0, 1)

f1 cosine of the label with the word of token t alone, f2 with the words around it, f3 with the whole excerpt, f4 the largest
cosine of the word with a word that the label quotes (1 where it is that word; 0 where it quotes none). The weights are the
same for all labels and are fitted on *select* across units (`fit`), never for one unit.

How weak it is: a sentence embedding says what a text is about. It does not read "only", "not", "before" or "the second", it
takes a label for its own negation, and it finds a word like those of the label wherever it stands. It ranks labels that name
topics or words; of a label about grammar, position or context it says nothing. Measured on 80 units of MiniLM's layer 4 with
the sentences of `induce`: mean rho .22, where the patterns of the same labels, run, have .33. Paulo et al. 2024 (arXiv 2410.13928) use
embeddings to compare whole excerpts with a label for the same reason: cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import regex
from numpy.typing import NDArray

from autolabel.errors import CorpusError
from autolabel.patterns import segment
from autolabel.patterns.embedded import Embedder, vectors
from autolabel.registry import part
from autolabel.simulators.text import clean
from autolabel.types import Excerpt, Simulation

Floats = NDArray[np.float64]
NAMES = ("word", "window", "excerpt", "quoted")
AROUND = 3  # words on either side that make the window
_QUOTED = regex.compile(r"""["\u201c\u2018\u00ab](.{1,40}?)["\u201d\u2019\u00bb]|(?<!\w)'(.{1,40}?)'(?!\w)""")


@dataclass(frozen=True)
class EmbeddingSimulator:
    """Strength in [0, 1] per token; settings are the weights above."""

    word: float = 1.8  # these are what `fit` gave for 80 units of MiniLM
    window: float = 0.35
    excerpt: float = 0.1
    quoted: float = 1.05
    bias: float = -0.5
    embedder: Embedder | None = part()

    def simulate(self, label: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        """`label` is a sentence. Raises ExtraError where there is no embedding model."""
        weights = np.array([self.word, self.window, self.excerpt, self.quoted])
        return [Simulation(e.id, tuple(np.clip(self.bias + f @ weights, 0, 1).tolist()))
                for e, f in zip(excerpts, self.features(label, excerpts), strict=True)]

    def features(self, label: str, excerpts: Sequence[Excerpt]) -> list[Floats]:
        """[T, 4] of each excerpt: f1 to f4."""
        label = clean(label)
        quotes = quoted_words(label)
        texts: dict[str, int] = {}

        def row(text: str) -> int:
            return texts.setdefault(text, len(texts))

        places = []
        for e in excerpts:
            spans = segment.spans(e.text)
            words = [row(e.text[a:b]) for a, b in spans]
            around = [row(e.text[spans[max(0, i - AROUND)][0]:spans[min(len(spans) - 1, i + AROUND)][1]]) for i in range(len(spans))]
            places.append((_word_of_token(e, spans), np.array(words, np.int64), np.array(around, np.int64), row(e.text)))
        if not texts:
            return [np.zeros((len(e.tokens), 4)) for e in excerpts]
        found = vectors(self._embedder, list(texts)).astype(np.float64)
        likeness = found @ vectors(self._embedder, [label])[0].astype(np.float64)
        nearest = np.zeros(len(texts))
        if quotes:
            nearest = (found @ vectors(self._embedder, quotes).T.astype(np.float64)).max(1)
            named = {q.casefold() for q in quotes}
            nearest[[i for text, i in texts.items() if text.casefold() in named]] = 1.0
        out = []
        for e, (which, alone, near, whole) in zip(excerpts, places, strict=True):
            f = np.zeros((len(e.tokens), 4))
            on = which >= 0  # tokens of white space lie on no word: only the excerpt speaks for them
            f[on, 0], f[on, 1], f[on, 3] = likeness[alone[which[on]]], likeness[near[which[on]]], nearest[alone[which[on]]]
            f[:, 2] = likeness[whole]
            out.append(f)
        return out

    @cached_property
    def _embedder(self) -> Embedder:
        if self.embedder is not None:
            return self.embedder
        from autolabel.embeddings import default_embedder
        return default_embedder()


def fit(simulator: EmbeddingSimulator, labels: Sequence[str], excerpts: Sequence[Sequence[Excerpt]],
        activations: Sequence[Sequence[Sequence[float]]]) -> EmbeddingSimulator:
    """Weights >= 0 by least squares on activations of *select*, each unit's standardised, all units together.

    labels [U]; excerpts and activations [U][n][T]. The bias puts the median token at 0, the scale the strongest 1 in 1,000 at
    1: activations are sparse. Raises CorpusError where nothing varies.
    """
    from scipy.optimize import nnls

    xs, ys = [], []
    for label, some, a in zip(labels, excerpts, activations, strict=True):
        x = np.concatenate(simulator.features(label, some))
        y = np.concatenate([np.asarray(row, np.float64) for row in a])
        if len(y) and y.std() > 0:
            xs.append(x)
            ys.append((y - y.mean()) / y.std())
    if not xs:
        raise CorpusError("no unit varies on these excerpts: the embedding simulator cannot be calibrated")
    x, y = np.concatenate(xs), np.concatenate(ys)
    weights, _ = nnls(x - np.concatenate([np.broadcast_to(one.mean(0), one.shape) for one in xs]), y)
    said = x @ weights
    middle, top = np.quantile(said, [0.5, 0.999])
    if not top > middle:
        raise CorpusError("likeness to the label says nothing about these units: the embedding simulator cannot be calibrated")
    scale = 1 / (top - middle)
    return replace(simulator, **dict(zip(NAMES, (weights * scale).tolist(), strict=True)), bias=-float(middle * scale))


def quoted_words(label: str) -> list[str]:
    """What stands in quotes in a label, each once."""
    return list(dict.fromkeys(text for m in _QUOTED.finditer(label) if (text := (m[1] or m[2] or "").strip())))


def _word_of_token(excerpt: Excerpt, spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """[T] number of the word that a token lies on (the last one, where several), -1 where none."""
    out = np.full(len(excerpt.tokens), -1, np.int64)
    if not spans:
        return out
    starts, ends = np.array([a for a, _ in spans]), np.array([b for _, b in spans])
    for t, (a, b) in enumerate(excerpt.offsets):
        last = int(np.searchsorted(starts, max(b, a + 1), side="left")) - 1
        if last >= 0 and ends[last] > a:
            out[t] = last
    return out


__all__ = ["EmbeddingSimulator", "fit", "quoted_words"]
