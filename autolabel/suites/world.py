"""What the suites stand on: a subject, and the excerpts of a corpus in three splits, read as any run reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.audits.bed import Bed
from autolabel.audits.beds import joined, planted_bed
from autolabel.excerpts import Excerpts
from autolabel.subjects.rules import Reading, Speller
from autolabel.subjects.suite import Garden, suite

Ints = NDArray[np.int64]
WORDS = 16  # token types of a real unit's label


@dataclass(frozen=True)
class Line:
    """One row of a report."""

    what: str
    measured: str
    bar: str = ""  # what was asked for; empty where the row only tells
    held: bool | None = None


@dataclass(frozen=True, eq=False)
class World:
    """A subject on a corpus."""

    subject: Any  # an HFSubject: its tokenizer and vocabulary are used
    explain: Excerpts
    test: Excerpts

    @cached_property
    def speller(self) -> Speller:
        """Of the subject's vocabulary."""
        return Speller(self.subject.vocabulary)

    @cached_property
    def garden(self) -> Garden:
        """Rules are drawn on explain."""
        return Garden(Reading(self.speller.respelt(self.explain), self.speller.vocabulary))

    def planted(self, n: int, seed: int, **options: Any) -> Bed:  # options of `suite`
        """A bed of n planted units on test."""
        return planted_bed(suite(self.garden, n, seed, **options), self.speller, self.explain, self.test)

    def activations(self, excerpts: Excerpts, layer: str, units: Ints) -> NDArray[np.float32]:
        """a [tokens, units] of one layer, positive side."""
        site = next(s for s in self.subject.sites if s.layer == layer)
        out = np.zeros((excerpts.n_tokens, len(units)), np.float32)
        for batch in excerpts.batches(32):
            def visit(_site: Any, x: Any, span: slice, where: slice = batch.span) -> None:
                out[where] = x[:, span].clamp_min(0).reshape(-1, x.shape[-1])[:, units].numpy()
            self.subject.run(batch.tokens, [site], visit)
        return out

    def part(self, tokens: int) -> World:
        """The first excerpts of both splits, a random sample, until there are so many tokens."""
        return World(self.subject, _first(self.explain, tokens), _first(self.test, tokens))

    def real(self, layer: str, units: Ints) -> Bed:
        """Real units on test, each with a label chosen on explain: the sixteen token types with the largest mean activation."""
        known = self.activations(self.explain, layer, units)  # the memory of a suite: tokens x units, twice
        types, inverse, count = np.unique(self.explain.tokens, return_inverse=True, return_counts=True)
        by_type = sp.csr_matrix((np.ones(len(inverse), np.float32), (inverse, np.arange(len(inverse)))), shape=(len(types), len(inverse)))
        mean = np.asarray(by_type @ known) / count[:, None]
        mean[count < 5] = 0
        best = types[np.argsort(-mean, axis=0)[:WORDS]]  # [WORDS, units]
        c = np.stack([np.isin(self.test.tokens, best[:, u]) for u in range(len(units))], 1).astype(np.float32)
        return Bed("real", tuple(f"{layer}/{u}" for u in units), (layer,) * len(units), self.test, self.activations(self.test, layer, units), c,
                   known.mean(0).astype(np.float64), np.array([np.quantile(known[:, u], 0.99) for u in range(len(units))]))


def _first(e: Excerpts, tokens: int) -> Excerpts:
    """In hash order."""
    order = np.argsort(e.id)
    rows = order[:int(np.searchsorted(np.cumsum(e.lengths[order]), tokens)) + 1]
    x = [slice(int(e.offset[r]), int(e.offset[r + 1])) for r in rows]
    return Excerpts.build(e.id[rows], e.document[rows], e.block[rows], e.start[rows], [e.tokens[s] for s in x], [e.char_start[s] for s in x],
                          [e.char_end[s] for s in x], [e.text[r] for r in rows])


def world(subject: str, corpus: Sequence[str], max_tokens: int, context: int = 64) -> World:
    """Read the corpus into a catalogue that is thrown away."""
    from autolabel.ingest import ingest
    from autolabel.pipeline.session import open_catalogue, open_subject

    loaded: Any = open_subject(subject)
    with tempfile.TemporaryDirectory() as folder:
        catalogue = open_catalogue(Path(folder) / "world.duckdb", create=True)
        corpus_id = ingest(catalogue, list(corpus), loaded.tokenizer, loaded.tokenizer_hash, context, max_tokens=max_tokens or None)
        explain, test = (joined(catalogue.excerpts(corpus_id, split)) for split in ("explain", "test"))
    return World(loaded, explain, test)
