"""From what labels say to the values that their neurons should have.

    x^_jt = m(x_j) + sum over labels p of neuron j of b_p (c_pt - m(c_p))

the least-squares line of the hooked value x (not of a) on the strengths c, on *select*, m being the means there. A neuron whose two
sides are labelled has two strengths, fitted together. A neuron whose labels do not vary on select is given its mean of *explain*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.patterns.syntax import Pattern
from autolabel.scorers.entries import Run
from autolabel.scorers.labels import Layer
from autolabel.scorers.lookup import Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Read = Callable[[slice], NDArray[np.floating]]  # flat tokens of the piece -> c [tokens, P]
FLAT = 1e-9  # of the largest possible variance: below it a strength, or what a second one adds, does not vary


class Source(Protocol):
    """Says c of P labels."""

    def read(self, excerpts: Excerpts) -> Read:
        """For a piece of a split."""


@dataclass(frozen=True)
class PatternSource:
    """Patterns, one per label; None: strength 0 everywhere."""

    patterns: Sequence[Pattern | None]
    run: Run

    def read(self, excerpts: Excerpts) -> Read:
        """The distinct patterns are run once per piece."""
        distinct = list({id(p): p for p in self.patterns if p is not None}.values())
        if not distinct:
            return lambda span: np.zeros((span.stop - span.start, len(self.patterns)))
        number = {id(p): i for i, p in enumerate(distinct)}
        at = np.array([number.get(id(p), len(distinct)) for p in self.patterns], np.int64)
        found = self.run(distinct, excerpts)
        cells, extra, cell = found.cells.T.tocsr(), found.extra.T.tocsr(), np.asarray(found.cell_of_token, np.int64)

        def dense(span: slice) -> NDArray[np.floating]:
            c = np.zeros((span.stop - span.start, len(distinct) + 1))
            c[:, :-1] = (cells[cell[span]] + extra[span]).toarray()
            return c[:, at]
        return dense


@dataclass(frozen=True)
class TableSource:
    """The token lookup table: the mean of each unit over each type's tokens in explain, the unit's own mean where a type has no row."""

    table: Table
    layer: Layer
    column: Ints  # [P] units

    def read(self, excerpts: Excerpts) -> Read:
        """One look-up per token."""
        row, unseen = self.table.find(excerpts.tokens), self.layer.mean[self.column]

        def dense(span: slice) -> NDArray[np.floating]:
            at = row[span]
            known = self.table.mean[np.maximum(at, 0)][:, self.column].astype(np.float64)
            return np.where(at[:, None] >= 0, known, unseen)
        return dense


@dataclass(frozen=True)
class Wiring:
    """Which neuron each of P labels belongs to: neurons in ascending order, each with one label or one of either side."""

    neuron: Ints  # [N] distinct neurons, ascending
    of_label: Ints  # [P] place of each label's neuron in `neuron`
    partner: Ints  # [P] the other label of the same neuron, -1 where there is none

    @classmethod
    def of(cls, neuron: Ints) -> Wiring:
        """From the neuron of each label [P]."""
        distinct, place, count = np.unique(neuron, return_inverse=True, return_counts=True)
        if (count > 2).any():
            raise ValueError("a neuron has two sides, so at most two labels")
        order = np.argsort(place, kind="stable")
        partner = np.full(len(neuron), -1, np.int64)
        twice = np.flatnonzero(place[order][1:] == place[order][:-1])
        partner[order[twice]], partner[order[twice + 1]] = order[twice + 1], order[twice]
        return cls(distinct, place.reshape(-1), partner)


@dataclass(frozen=True)
class Line:
    """The fitted map of one source."""

    wiring: Wiring
    mean: Floats  # [N] of x on select; of x on explain where no label varies
    slope: Floats  # [P] b
    centre: Floats  # [P] mean of c on select

    def __call__(self, c: NDArray[np.floating]) -> Floats:
        """c [tokens, P] -> x^ [tokens, N]."""
        part = (c - self.centre) * self.slope
        out = np.repeat(self.mean[None, :], len(c), 0)
        first = self.wiring.partner < 0
        first |= np.arange(len(first)) < self.wiring.partner  # of two labels of a neuron
        out[:, self.wiring.of_label[first]] += part[:, first]
        if not first.all():
            out[:, self.wiring.of_label[~first]] += part[:, ~first]
        return out

    @property
    def flat(self) -> int:
        """Labels that add nothing."""
        return int((self.slope == 0).sum())


class Fit:
    """Sums of one source over select, from which its line comes."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring, p = wiring, len(wiring.of_label)
        self.n, self.c, self.c2, self.cc, self.xc, self.x = 0, *(np.zeros(p) for _ in range(5))

    def add(self, c: NDArray[np.floating], x: NDArray[np.floating]) -> None:
        """c [tokens, P], x [tokens, N] of the wiring's neurons."""
        c, mine = np.asarray(c, np.float64), np.asarray(x, np.float64)[:, self.wiring.of_label]
        both = np.flatnonzero(self.wiring.partner >= 0)
        self.n += len(c)
        self.c += c.sum(0)
        self.c2 += np.einsum("tp,tp->p", c, c)
        self.x += mine.sum(0)
        self.xc += np.einsum("tp,tp->p", mine, c)
        self.cc[both] += np.einsum("tp,tp->p", c[:, both], c[:, self.wiring.partner[both]])

    def line(self, known: Floats) -> Line:
        """Least squares; known [N]: the mean of x on explain."""
        n, q = max(self.n, 1), self.wiring.partner
        centre = self.c / n
        variance, covariance = self.c2 / n - centre**2, self.xc / n - centre * self.x / n
        varies = variance > FLAT * np.maximum(self.c2 / n, 1e-300)
        slope = np.where(varies, covariance / np.where(varies, variance, 1.0), 0.0)
        two = np.flatnonzero((q >= 0) & varies & varies[q])
        other = q[two]
        between = self.cc[two] / n - centre[two] * centre[other]
        determinant = variance[two] * variance[other] - between**2
        apart = determinant > FLAT * variance[two] * variance[other]
        together = (covariance[two] * variance[other] - covariance[other] * between) / np.where(apart, determinant, 1.0)
        slope[two] = np.where(apart, together, np.where(two < other, slope[two], 0.0))  # the same strength twice counts once
        mean, varying = np.array(known, np.float64), slope != 0
        mean[self.wiring.of_label[varying]] = self.x[varying] / n
        return Line(self.wiring, mean, slope, centre)


Sources = Mapping[str, Source]  # by the name of the row: `labels`, `ceiling`, ...
