"""What is audited: some units with a label each, on all excerpts of a split, as dense columns; and samples drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autolabel.audits.metrics import Sight
from autolabel.excerpts import Excerpts
from autolabel.sampling.two_sided import Frame, Sample, Stored, claim, shared_affinity, spread
from autolabel.stats import Sampled
from autolabel.stats.uniform import uniform

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KEPT = 64  # priority keys of a unit, as the extraction stores them


@dataclass(frozen=True)
class Bed:
    """U units and their labels on N excerpts."""

    what: str  # `planted` or `real`
    names: tuple[str, ...]  # [U]
    kinds: tuple[str, ...]  # [U] kind of rule, or the layer
    excerpts: Excerpts
    a: NDArray[np.float32] = field(repr=False)  # [tokens, U]
    c: NDArray[np.float32] = field(repr=False)  # [tokens, U] strength of each unit's own label
    mean: Floats  # [U] of a on explain
    tau99: Floats  # [U] of a on explain
    targets: tuple[float | None, ...] = ()  # [U] planted rho

    def with_oracle(self) -> Bed:
        """The same units with the label that says where they are strong, a > tau99: true of a real unit by construction."""
        return replace(self, what=f"{self.what}, oracle", c=(self.a > self.tau99).astype(np.float32))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def excerpt(self) -> Ints:
        """[tokens] row of each token's excerpt."""
        return self.excerpts.excerpt_of_token

    @cached_property
    def block(self) -> Ints:
        """[tokens] document of each token."""
        return self.excerpts.block[self.excerpt]

    @cached_property
    def halves(self) -> NDArray[np.bool_]:
        """[tokens] half of the token types: what a child concept keeps."""
        return uniform(11, self.excerpts.tokens) <= 0.5

    @cached_property
    def _frames(self) -> dict[int, Frame]:
        return {}

    @cached_property
    def _uniforms(self) -> dict[int, Floats]:
        return {}

    def frame(self, seed: int) -> Frame:
        """What samples of this seed are drawn from."""
        if seed not in self._frames:
            self._frames[seed] = Frame(self.excerpts.id, seed)
        return self._frames[seed]

    def _uniform(self, seed: int) -> Floats:
        if seed not in self._uniforms:
            self._uniforms[seed] = uniform(seed, self.excerpts.id)
        return self._uniforms[seed]

    def spread(self, unit: int) -> Floats:
        """[N] s of a unit."""
        return spread(self.a[:, unit].astype(np.float64), float(self.mean[unit]), self.excerpt, len(self.excerpts))

    def about_the_strong(self, unit: int) -> bool:
        """Whether the label, if it is the true one, is true of most strong tokens: of 20 or more with a > tau99 it fires on half."""
        strong = self.a[:, unit] > self.tau99[unit]
        return int(strong.sum()) >= 20 and float((self.c[strong, unit] > 0).mean()) >= 0.5

    def stored(self, unit: int, seed: int, s: Floats | None = None) -> Stored:
        """The priority sample as an extraction with this seed would store it."""
        s = self.spread(unit) if s is None else s
        key = s / self._uniform(seed)
        order = np.argpartition(-key, KEPT)[:KEPT] if len(key) > KEPT else np.arange(len(key))
        order = order[np.argsort(-key[order], kind="stable")]
        order = order[key[order] > 0]
        return Stored(self.excerpts.id[order], s[order], key[order])

    def claim(self, c: Floats) -> Floats:
        """[N] affinity of a label."""
        return claim(c, self.excerpt, len(self.excerpts))

    def whole(self, unit: int, c: Floats) -> Sight:
        """A label on a unit, on all tokens."""
        a = self.a[:, unit].astype(np.float64)
        return Sight(a, c, np.ones(len(a)), a > self.tau99[unit], self.excerpt, True)

    def drawn(self, unit: int, labels: list[Floats], n: int, seed: int, s: Floats | None = None) -> Drawn:
        """One sample of about n excerpts, drawn with the mean of the labels' affinities."""
        s = self.spread(unit) if s is None else s
        sample = self.frame(seed).draw(self.stored(unit, seed, s), shared_affinity([self.claim(c) for c in labels]), n)
        length = self.excerpts.lengths[sample.row]
        ends = np.cumsum(length)
        rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.excerpts.offset[sample.row] - (ends - length), length)
        return Drawn(self, unit, sample, rows, np.repeat(sample.weights(s[sample.row]), length))


@dataclass(frozen=True)
class Drawn:
    """A sample of one unit's excerpts."""

    bed: Bed
    unit: int
    sample: Sample
    rows: Ints  # tokens of the bed
    weight: Floats  # of each of them

    def sight(self, c: Floats) -> Sight:
        """A label (on all tokens of the bed) on the sample."""
        a = self.bed.a[self.rows, self.unit].astype(np.float64)
        return Sight(a, c[self.rows], self.weight, a > self.bed.tau99[self.unit], self.bed.excerpt[self.rows], False)

    def sampled(self, c: Floats) -> Sampled:
        """The same for estimators with intervals."""
        return Sampled.one(self.bed.block[self.rows], self.bed.excerpts.id[self.bed.excerpt[self.rows]], self.weight,
                           self.bed.a[self.rows, self.unit].astype(np.float64), c[self.rows])
