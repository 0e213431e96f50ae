"""Beds from a catalogue's own excerpts: planted units, whose truth is known, and views of them that scorers can read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.audits.bed import Bed
from autolabel.excerpts import Excerpts
from autolabel.neurons import QUANTILES, LayerStats, TypeMeans
from autolabel.protocols import ExplainSplit, Subject, TestEvidence
from autolabel.subjects.planted import Plant, windows_of
from autolabel.subjects.rules import Reading, Speller
from autolabel.types import Side

Ints = NDArray[np.int64]
MOST_TOKENS = 100_000  # of a split that an audit reads: enough for every test, and bounded
Chunks = Callable[[], Iterator[Excerpts]]


def capped(chunks: Iterable[Excerpts], tokens: int = MOST_TOKENS) -> Iterator[Excerpts]:
    """The first chunks in hash order, a random sample, until there are enough tokens."""
    seen = 0
    for chunk in chunks:
        yield chunk
        seen += chunk.n_tokens
        if seen >= tokens:
            return


def joined(chunks: Iterable[Excerpts]) -> Excerpts:
    """All chunks as one."""
    parts = list(chunks)
    if not parts:
        return Excerpts.build([], [], [], [], [], [], [], [])

    def cut(name: str) -> list[Ints]:
        return [piece for part in parts for piece in np.split(getattr(part, name), part.offset[1:-1])]

    head = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("id", "document", "block", "start")}
    return Excerpts.build(head["id"], head["document"], head["block"], head["start"], cut("tokens"), cut("char_start"), cut("char_end"),
                          [text for part in parts for text in part.text])


def activations(plants: Sequence[Plant], speller: Speller, excerpts: Excerpts) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """a and c [tokens, U] of planted units, c being each one's true label."""
    reading = Reading(speller.respelt(excerpts), speller.vocabulary)
    window = windows_of(np.split(excerpts.tokens, excerpts.offset[1:-1]))
    a, c = (np.zeros((excerpts.n_tokens, len(plants)), np.float32) for _ in range(2))
    for u, plant in enumerate(plants):
        a[:, u] = plant.activation(reading, window)
        c[:, u] = plant.rule.strength(reading) if plant.senses else 0.0
    return a, c


def planted_bed(plants: Sequence[Plant], speller: Speller, explain: Excerpts, test: Excerpts) -> Bed:
    """Planted units on `test`, their means and thresholds from `explain`. Dead units have no score and are left out."""
    live = [p for p in plants if p.senses]
    a, c = activations(live, speller, test)
    known, _ = activations(live, speller, explain)
    return Bed("planted", tuple(str(p.index) for p in live), tuple(p.kind for p in live), test, a, c, known.mean(0).astype(np.float64),
               np.quantile(known, 0.99, axis=0), tuple(p.rho for p in live))


@dataclass(frozen=True)
class Views:
    """A subject as explainers and scorers see it in a catalogue."""

    explain: ExplainSplit
    test: TestEvidence


def views_of(subject: Subject, explain: Excerpts, test: Excerpts, chunk: int = 512) -> Views:
    """Statistics and tables of a subject's first layer, computed in full: [tokens, units] of memory."""
    site = subject.sites[0]
    a = _dense(subject, explain)
    stats: dict[tuple[str, Side], LayerStats] = {(site.layer, "+"): LayerStats(
        site, "+", len(a), a.mean(0), a.std(0), a.min(0), a.max(0), a.mean(0), a.std(0), a.max(0), (a > 0).mean(0),
        (a > 0.2 * a.max(0)).mean(0), np.quantile(a, QUANTILES, axis=0).T, np.full(site.width, np.nan))}
    means = _type_means(a, explain)
    return Views(ExplainSplit(subject, lambda: _cut(explain, chunk), len(explain), explain.n_tokens, stats, 64, type_means=lambda _layer, _side: means),
                 TestEvidence(subject, lambda: _cut(test, chunk), len(test), test.n_tokens, stats, 64))


def _dense(subject: Subject, excerpts: Excerpts) -> NDArray[np.float64]:
    site = subject.sites[0]
    rows = [subject.activations(b.tokens, site).reshape(-1, site.width).numpy() for b in excerpts.batches(64)]
    return np.maximum(np.concatenate(rows).astype(np.float64), 0)


def _type_means(a: NDArray[np.float64], e: Excerpts) -> TypeMeans:
    types, inverse, count = np.unique(e.tokens, return_inverse=True, return_counts=True)
    total = np.zeros((len(types), a.shape[1]))
    np.add.at(total, inverse, a)
    eligible, width = count[inverse] >= 5, int(e.position.max()) + 1
    n = np.bincount(e.position[eligible], minlength=width)
    position = np.zeros((width, a.shape[1]))
    np.add.at(position, e.position[eligible], a[eligible])
    return TypeMeans(types.astype(np.int64), count.astype(np.int64), (total / count[:, None]).astype(np.float32), n.astype(np.int64),
                     (position / np.maximum(n, 1)[:, None]).astype(np.float32))


def _cut(e: Excerpts, size: int) -> Iterator[Excerpts]:
    for i in range(0, len(e), size):
        rows = range(i, min(len(e), i + size))
        x = [slice(int(e.offset[r]), int(e.offset[r + 1])) for r in rows]
        yield Excerpts.build(e.id[i:i + size], e.document[i:i + size], e.block[i:i + size], e.start[i:i + size], [e.tokens[s] for s in x],
                             [e.char_start[s] for s in x], [e.char_end[s] for s in x], [e.text[r] for r in rows])
