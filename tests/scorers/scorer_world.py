"""A small world in which everything can be recomputed: a corpus of made-up words and a subject whose neurons are known functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from autolabel.excerpts import Excerpts
from autolabel.neurons import QUANTILES, LayerStats, TypeMeans
from autolabel.protocols import ExplainSplit, SelectEvidence, TestEvidence
from autolabel.types import Site, hash63

STEMS = [a + b for a in ("ba", "ce", "di", "fo", "gu", "ha", "ki", "lo", "mu", "ne") for b in ("la", "mi", "no", "ru", "se", "ti", "vo", "za")]
PIECES = ["##ing", "##er"]
VOCABULARY = tuple(STEMS + PIECES)


def excerpts(seed: int, n_documents: int, words: list[str], mixed_case: bool = True) -> Excerpts:
    """Documents of one to three windows of 8 to 20 tokens, words drawn by a Zipf law."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, len(words) + 1)
    share /= share.sum()
    ids, documents, starts, tokens, first, last, texts = [], [], [], [], [], [], []
    for d in range(n_documents):
        document = hash63("document", seed, d)
        for w in range(int(rng.integers(1, 4))):
            text, t, a, b = "", [], [], []
            length = int(rng.integers(8, 21))
            while len(t) < length:
                word = words[int(rng.choice(len(words), p=share))]
                text += " " if text else ""
                a.append(len(text))
                text += word.upper() if mixed_case and rng.random() < 0.1 else word
                b.append(len(text))
                t.append(VOCABULARY.index(word))
                if len(t) < length and rng.random() < 0.15:
                    piece = PIECES[int(rng.integers(2))]
                    a.append(len(text))
                    text += piece[2:]
                    b.append(len(text))
                    t.append(VOCABULARY.index(piece))
            ids.append(hash63("excerpt", seed, d, w))
            documents.append(document)
            starts.append(w * 20)
            tokens.append(np.array(t))
            first.append(np.array(a))
            last.append(np.array(b))
            texts.append(text)
    return Excerpts.build(ids, documents, documents, starts, tokens, first, last, texts)


def cut(e: Excerpts, size: int) -> Iterator[Excerpts]:
    """The same excerpts in chunks."""
    for i in range(0, len(e), size):
        rows = range(i, min(len(e), i + size))
        x = [slice(int(e.offset[r]), int(e.offset[r + 1])) for r in rows]
        yield Excerpts.build(e.id[i:i + size], e.document[i:i + size], e.block[i:i + size], e.start[i:i + size], [e.tokens[s] for s in x],
                             [e.char_start[s] for s in x], [e.char_end[s] for s in x], [e.text[r] for r in rows])


@dataclass(frozen=True)
class ToySubject:
    """x = type effect + effect of the previous token + position effect, one special token on either side."""

    width: int = 24
    layers: int = 2
    seed: int = 0
    context: int = 20
    name: str = "toy"
    hash: str = "toy"
    vocabulary: tuple[str, ...] = VOCABULARY
    two_sided: bool = False
    sites: tuple[Site, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(Site(str(k), k, "mlp", self.width, self.two_sided) for k in range(self.layers)))

    def table(self, layer: int, what: str, rows: int, scale: float) -> np.ndarray:
        """A fixed random table [rows, width]."""
        rng = np.random.default_rng([self.seed, layer, {"type": 1, "previous": 2, "position": 3}[what]])
        return scale * rng.normal(size=(rows, self.width)) * (rng.random((rows, self.width)) < 0.4)

    def x(self, tokens: np.ndarray, layer: int) -> np.ndarray:
        """[B, T, U] float32."""
        v = len(VOCABULARY)
        previous = np.concatenate([np.zeros((len(tokens), 1), np.int64), tokens[:, :-1] + 1], axis=1)
        out = self.table(layer, "type", v, 1.0)[tokens] + self.table(layer, "previous", v + 1, 0.7)[previous]
        return (out + self.table(layer, "position", 32, 0.3)[np.arange(tokens.shape[1])] - 0.1).astype(np.float32)

    def run(self, tokens, sites, visit) -> None:
        for site in sites:
            x = self.x(np.asarray(tokens), site.order)
            special = np.full((len(x), 1, self.width), 50.0, np.float32)
            visit(site, torch.from_numpy(np.concatenate([special, x, special], axis=1)), slice(1, 1 + x.shape[1]))

    def activations(self, tokens, site) -> torch.Tensor:
        return torch.from_numpy(self.x(np.asarray(tokens), site.order))


def dense(subject, e: Excerpts, site: Site, side: str = "+") -> np.ndarray:
    """a [tokens, U] float64 of all excerpts, in the flat order."""
    rows = [subject.activations(b.tokens, site).reshape(-1, site.width).numpy() for b in e.batches(64)]
    x = np.concatenate(rows).astype(np.float64)
    return np.maximum(x if side == "+" else -x, 0)


def layer_stats(subject, e: Excerpts, site: Site, side: str = "+") -> LayerStats:
    x = dense(subject, e, site, side)
    tau = 0.2 * x.max(0)
    return LayerStats(site, side, len(x), x.mean(0), x.std(0), x.min(0), x.max(0), x.mean(0), x.std(0), x.max(0), (x > 0).mean(0),
                      (x > tau).mean(0), np.quantile(x, QUANTILES, axis=0).T, np.full(site.width, np.nan))


def type_means(subject, e: Excerpts, site: Site, side: str = "+", least: int = 2) -> TypeMeans:
    """Types seen fewer than `least` times have no row, as outside the tables of an extraction."""
    a = dense(subject, e, site, side)
    types, inverse, count = np.unique(e.tokens, return_inverse=True, return_counts=True)
    mean = np.stack([a[inverse == r].mean(0) for r in range(len(types))])
    eligible = np.isin(e.tokens, types[count >= 5])
    width = int(e.position.max()) + 1
    n = np.bincount(e.position[eligible], minlength=width)
    position = np.stack([a[eligible & (e.position == t)].mean(0) if n[t] else np.zeros(a.shape[1]) for t in range(width)])
    keep = count >= least
    return TypeMeans(types[keep], count[keep], mean[keep].astype(np.float32), n, position.astype(np.float32))


@dataclass(frozen=True)
class World:
    subject: ToySubject
    split: dict[str, Excerpts]
    explain: ExplainSplit
    select: SelectEvidence
    test: TestEvidence


def world(subject: ToySubject | None = None, documents: tuple[int, int, int] = (80, 50, 60), chunk: int = 40, sides: str = "+") -> World:
    """Three splits; the last ten stems are never seen in explain."""
    subject = subject or ToySubject()
    known, every = STEMS[:-10], STEMS[:20] + STEMS[-10:] + STEMS[20:-10]
    split = {"explain": excerpts(1, documents[0], known), "select": excerpts(2, documents[1], every), "test": excerpts(3, documents[2], every)}
    stats = {(s.layer, side): layer_stats(subject, split["explain"], s, side) for s in subject.sites for side in sides}
    means = {(s.layer, side): type_means(subject, split["explain"], s, side) for s in subject.sites for side in sides}

    def view(name: str) -> tuple:
        e = split[name]
        return subject, lambda: cut(e, chunk), len(e), e.n_tokens, stats, 16
    return World(subject, split, ExplainSplit(*view("explain"), type_means=lambda layer, side: means[layer, side]),
                 SelectEvidence(*view("select")), TestEvidence(*view("test")))
