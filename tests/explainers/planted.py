"""A small corpus and a subject whose neurons follow known rules: one token per word, 40 words per excerpt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.hierarchy import Hierarchy
from autolabel.neurons import QUANTILES, LayerStats, TypeMeans
from autolabel.protocols import ExplainSplit
from autolabel.types import Exemplars, Site, Unit, UnitStats

LIST, NUMBERS, AFTER_VERY, ING, ANIMALS, DEAD, NOISE, TOPIC = range(8)
ANIMAL_WORDS = ("dog", "cat", "horse", "cow", "sheep", "goat", "pig", "duck", "goose", "hen", "fox", "wolf", "bear", "deer", "otter", "mole")
HIERARCHY = Hierarchy.parse(f"all\t\tthings\t\nanimals\tall\tanimals\t{'|'.join(ANIMAL_WORDS)}\ntools\tall\ttools\thammer|saw|drill\n")
if TYPE_CHECKING:
    from autolabel.protocols import Visit

_SYLLABLES = ("ba", "do", "fe", "gu", "ka", "lo", "mi", "nu", "pe", "ro", "sa", "tu", "va", "wo", "zi")


def corpus(seed: int = 0, documents: int = 240) -> Excerpts:
    """Random text: common words, animals, numbers, -ing words most of which occur once."""
    rng = np.random.default_rng(seed)
    common = ["the", "a", "of", "very", "river", "stone", "and", "in", "house", "tree", ",", "market", "not", "door", "sea"]
    def word() -> str:
        draw = rng.random()
        if draw < .72:
            return str(rng.choice(common))
        if draw < .78:
            return str(rng.choice(ANIMAL_WORDS))
        if draw < .84:
            return str(rng.integers(1, 3000))
        stem = "".join(rng.choice(_SYLLABLES, 3))
        return stem + "ing" if draw < .90 else stem
    ids, tokens, starts, ends, texts = {}, [], [], [], []  # type: ignore[var-annotated]  # filled below
    for document in range(documents):
        words = [word() for _ in range(40)]
        if document % 3 == 0:
            words[int(rng.integers(5, 35))] = "harbour"
        at, begin, end = 0, [], []
        for w in words:
            begin.append(at)
            end.append(at + len(w))
            at += len(w) + 1
        tokens.append(np.array([ids.setdefault(w, len(ids)) for w in words]))
        starts.append(np.array(begin))
        ends.append(np.array(end))
        texts.append(" ".join(words))
    numbers = rng.permutation(10 ** 6)[:documents]
    return Excerpts.build(numbers, numbers, numbers, np.zeros(documents, int), tokens, starts, ends, texts)


def rule(words: Sequence[str]) -> NDArray[np.float32]:
    """[T, 8] the planted activations of one excerpt."""
    a = np.zeros((len(words), 8), np.float32)
    for t, w in enumerate(words):
        a[t, LIST] = 2. if w == "river" else 1. if w == "stone" else 0.
        a[t, NUMBERS] = w.isdigit()
        a[t, AFTER_VERY] = t > 0 and words[t - 1] == "very"
        a[t, ING] = w.endswith("ing")
        a[t, ANIMALS] = w in ANIMAL_WORDS
        a[t, TOPIC] = "harbour" in words
    return a


@dataclass(frozen=True)
class Planted:
    """A subject that knows its corpus."""

    x: dict[tuple[int, ...], NDArray[np.float32]]  # window -> [T, 8]
    vocabulary: tuple[str, ...]
    name: str = "planted"
    hash: str = "planted"
    sites: tuple[Site, ...] = (Site("0", 0, "mlp", 8, False),)
    context: int = 64

    def run(self, tokens: NDArray[np.int64], sites: Sequence[Site], visit: Visit) -> None:
        """One special position before and one after, as in an encoder; they hold what must never be read."""
        x = np.full((len(tokens), tokens.shape[1] + 2, 8), 1e6, np.float32)
        for row, window in enumerate(tokens.tolist()):
            x[row, 1:-1] = self.x[tuple(window)]
        for site in sites:
            visit(site, torch.from_numpy(x), slice(1, -1))

    def activations(self, tokens: NDArray[np.int64], site: Site) -> torch.Tensor:
        """Not needed here."""
        raise NotImplementedError


def split(seed: int = 0, documents: int = 240, noise: float = .05, chunk: int = 100) -> ExplainSplit:
    """The explain split of a planted subject, in several chunks; noise on all units but the dead one."""
    excerpts = corpus(seed, documents)
    rng, windows, vocabulary = np.random.default_rng(seed + 1), {}, {}
    rows = []
    for i, text in enumerate(excerpts.text):
        a, words = rule(text.split(" ")), text.split(" ")
        a += noise * rng.random(a.shape).astype(np.float32)
        a[:, NOISE], a[:, DEAD] = rng.random(len(words)), 0
        ids = excerpts.tokens[excerpts.offset[i]:excerpts.offset[i + 1]].tolist()
        windows[tuple(ids)] = a.astype(np.float32)
        vocabulary.update(zip(ids, words, strict=True))
        rows.append(a)
    a = np.concatenate(rows).astype(np.float64)
    site = Site("0", 0, "mlp", 8, False)
    stats = LayerStats(site, "+", len(a), a.mean(0), a.std(0), a.min(0), a.max(0), a.mean(0), a.std(0), a.max(0), (a > 0).mean(0),
                       (a > .2 * a.max(0)).mean(0), np.quantile(a, QUANTILES, axis=0).T, np.full(8, np.nan))
    subject = Planted(windows, tuple(vocabulary[i] for i in range(len(vocabulary))))
    def chunks() -> Iterator[Excerpts]:
        for first in range(0, len(excerpts), chunk):
            s = slice(int(excerpts.offset[first]), int(excerpts.offset[min(first + chunk, len(excerpts))]))
            r = slice(first, first + chunk)
            yield Excerpts(excerpts.id[r], excerpts.document[r], excerpts.block[r], excerpts.start[r],
                           excerpts.offset[first:first + chunk + 1] - excerpts.offset[first], excerpts.tokens[s], excerpts.char_start[s],
                           excerpts.char_end[s], excerpts.text[r])
    def no_tables(layer: str, side: str) -> TypeMeans:
        raise NotImplementedError
    return ExplainSplit(subject, chunks, len(excerpts), excerpts.n_tokens, {("0", "+"): stats}, 16, no_tables)


def units() -> Iterator[Exemplars]:
    """All eight, lazily."""
    stats = UnitStats(1, 0., 0., 0., 0., 0., 0., 0., 0.)
    for index in range(8):
        yield Exemplars(Unit("planted", "0", "mlp", index), stats)
