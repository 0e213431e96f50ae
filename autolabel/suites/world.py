"""What the suites stand on: a subject, and the excerpts of a corpus in three splits, read as any run reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.audits.bed import Bed
from autolabel.audits.beds import Views, joined, planted_bed, views_of
from autolabel.excerpts import Excerpts
from autolabel.protocols import Explainer
from autolabel.sampling.scout import take
from autolabel.subjects.rules import Reading, Speller
from autolabel.subjects.suite import Garden, suite
from autolabel.types import Exemplars, Explanation, Site, Unit

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
class Some:
    """Some neurons of one layer of `inner`, numbered from 0. Other attributes are those of `inner`."""

    inner: Any  # a Subject
    site: Site  # of `inner`
    units: Ints  # [n]

    def __getattr__(self, name: str) -> Any:  # whatever the subject has
        return getattr(self.inner, name)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The one site, as wide as there are units."""
        return (replace(self.site, width=len(self.units)),)

    def run(self, tokens: NDArray[np.int64], _sites: Sequence[Site], visit: Any) -> None:
        """As `Subject.run`."""
        self.inner.run(tokens, [self.site], lambda _site, x, span: visit(self.sites[0], x[..., self.units].contiguous(), span))

    def activations(self, tokens: NDArray[np.int64], _site: Site) -> Any:
        """As `Subject.activations`."""
        return self.inner.activations(tokens, self.site)[..., self.units]


@dataclass(frozen=True, eq=False)
class World:
    """A subject on a corpus."""

    subject: Any  # an HFSubject: its tokenizer and vocabulary are used
    explain: Excerpts
    test: Excerpts
    select: Excerpts

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
        site = self.site(layer)
        out = np.zeros((excerpts.n_tokens, len(units)), np.float32)
        for batch in excerpts.batches(32):
            def visit(_site: Any, x: Any, span: slice, where: slice = batch.span) -> None:
                out[where] = x[:, span].clamp_min(0).reshape(-1, x.shape[-1])[:, units].numpy()
            self.subject.run(batch.tokens, [site], visit)
        return out

    def site(self, layer: str) -> Site:
        """Where the neurons of a layer are read."""
        found: Site = next(s for s in self.subject.sites if s.layer == layer)
        return found

    def views(self, layer: str, units: Ints, explain: Excerpts | None = None) -> Views:
        """These units as explainers and scorers see them; explain: other excerpts to learn from."""
        return views_of(Some(self.subject, self.site(layer), units), self.explain if explain is None else explain, self.test)

    def labels(self, explainer: Explainer, views: Views) -> list[Explanation]:
        """What an explainer that needs no LLM says of each unit, in order."""
        stats = views.explain.stats
        (key, layer), = stats.items()
        units = [Unit(self.subject.name, key[0], layer.site.name, i) for i in range(layer.site.width)]
        return list(explainer.explain([Exemplars(u, layer.unit(u.index)) for u in units], views.explain))

    def strengths(self, patterns: Sequence[str | None], excerpts: Excerpts) -> NDArray[np.float32]:
        """c [tokens, P] of patterns (JSON); 0 where there is none."""
        from autolabel.patterns.syntax import parse
        from autolabel.pipeline.labels import hierarchy, runner

        out = np.zeros((excerpts.n_tokens, len(patterns)), np.float32)
        some = [i for i, p in enumerate(patterns) if p is not None]
        found: Any = runner(self.subject, hierarchy())([parse(p) for p in patterns if p is not None], excerpts)
        out[:, some] = found.csr().toarray().T
        return out

    def part(self, tokens: int) -> World:
        """The first excerpts of both splits, a random sample, until there are so many tokens."""
        return World(self.subject, _first(self.explain, tokens), _first(self.test, tokens), self.select)

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
    return take(e, order[:int(np.searchsorted(np.cumsum(e.lengths[order]), tokens)) + 1])


def world(subject: str, corpus: Sequence[str], max_tokens: int, context: int = 64) -> World:
    """Read the corpus into a catalogue that is thrown away."""
    from autolabel.ingest import ingest
    from autolabel.pipeline.session import open_catalogue, open_subject

    loaded: Any = open_subject(subject)
    with tempfile.TemporaryDirectory() as folder:
        catalogue = open_catalogue(Path(folder) / "world.duckdb", create=True)
        corpus_id = ingest(catalogue, list(corpus), loaded.tokenizer, loaded.tokenizer_hash, context, max_tokens=max_tokens or None)
        explain, test, select = (joined(catalogue.excerpts(corpus_id, split)) for split in ("explain", "test", "select"))
    return World(loaded, explain, test, select)
