"""Self-normalised estimates from weighted samples: every figure of a whole split, from a few excerpts of it.

Each of P labels has a sample of its own. With w_i = 1/pi_i the moments of `correlation.py` are ratios of weighted sums
(Hajek 1971; Sarndal, Swensson and Wretman 1992, section 5.7), so that the sums by label and document made here go through
the same formulas as those of a whole split: `correlate` for rho, `peak` and `at_cut` for precision and recall, `linear` and
`r2_linear` for calibration. The document is the unit of every interval. Tokens for which a simulator gave no value (nan)
are left out of every sum, the number of tokens included, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autolabel.stats.correlation import Floats, Sums, influence
from autolabel.stats.levels import Ints, Levels
from autolabel.stats.paired import Difference, paired_rho

STRATA = 10


@dataclass(frozen=True)
class Sampled:
    """The sampled tokens of P labels, flat. Every array but `n_labels` is [tokens]."""

    n_labels: int  # P
    label: Ints  # which label's sample the token belongs to, [0, P)
    document: Ints  # Document (block) id
    excerpt: Ints  # Excerpt.id
    weight: Floats  # 1/pi of the excerpt
    a: Floats  # activation
    c: Floats  # predicted strength; nan where the simulator gave none

    @classmethod
    def one(cls, document: Ints, excerpt: Ints, weight: Floats, a: Floats, c: Floats) -> Sampled:
        """The sample of a single label."""
        return cls(1, np.zeros(len(a), np.int64), document, excerpt, weight, np.asarray(a, np.float64), np.asarray(c, np.float64))

    @property
    def missing(self) -> Ints:
        """[P] tokens without a value."""
        return np.bincount(self.label[np.isnan(self.c)], minlength=self.n_labels).astype(np.int64)

    @property
    def n_excerpts(self) -> Ints:
        """[P] distinct excerpts read."""
        pairs = np.unique(np.stack([self.label, self.excerpt]), axis=1)
        return np.bincount(pairs[0], minlength=self.n_labels).astype(np.int64)

    @cached_property
    def known(self) -> Sampled:
        """Only tokens with a value."""
        have = ~np.isnan(self.c)
        if have.all():
            return self
        return Sampled(self.n_labels, self.label[have], self.document[have], self.excerpt[have], self.weight[have], self.a[have], self.c[have])

    @cached_property
    def group(self) -> Ints:
        """[tokens] the document of each token, numbered within its label from 0."""
        if not len(self.label):
            return np.zeros(0, np.int64)
        order = np.lexsort((self.document, self.label))
        label, document = self.label[order], self.document[order]
        fresh = np.r_[True, (np.diff(label) != 0) | (np.diff(document) != 0)]
        number = np.cumsum(fresh) - 1
        start = number[np.searchsorted(label, np.arange(self.n_labels)).clip(max=len(label) - 1)]
        out = np.empty(len(order), np.int64)
        out[order] = number - start[label]
        return out

    @property
    def n_groups(self) -> int:
        """G: the largest number of documents of any label."""
        return int(self.group.max()) + 1 if len(self.group) else 0

    def with_strength(self, c: Floats) -> Sampled:
        """Another label, or a corrupted copy, on the same sample."""
        return replace(self, c=np.asarray(c, np.float64))

    def with_activation(self, a: Floats) -> Sampled:
        """The same label against another unit, on the same sample: the foreign-label null."""
        return replace(self, a=np.asarray(a, np.float64))


def joined(parts: Sequence[Sampled]) -> Sampled:
    """The samples of several single labels as one, label p being that of parts[p]."""
    label = np.repeat(np.arange(len(parts), dtype=np.int64), [len(x.a) for x in parts])
    return Sampled(len(parts), label, *(np.concatenate([getattr(x, name) for x in parts]) for name in ("document", "excerpt", "weight", "a", "c")))


def sums(x: Sampled) -> Sums:
    """The six weighted sums by document and label, [G, P]: what `correlate`, `linear`, `r2_linear` and `paired_rho` need."""
    x = x.known
    g, p = x.n_groups, x.n_labels
    cell = x.group * p + x.label

    def add(values: Floats) -> Floats:
        return _add(cell, values, g * p).reshape(g, p)

    w = x.weight
    return Sums(add(w), add(w * x.a), add(w * x.a * x.a), add(w * x.c), add(w * x.c * x.c), add(w * x.a * x.c))


def by_level(x: Sampled, positive: NDArray[np.bool_]) -> tuple[Levels, Floats, Floats]:
    """(levels, weighted tokens [G, L], weighted positives [G, L]) for `peak`, `best_cut` and `at_cut`.

    positive [tokens]: what the label should find, as a > tau99. Levels are the distinct strengths of each label, and 0.
    """
    have = ~np.isnan(x.c)
    positive, x = positive[have], x.known
    runs = [np.unique(np.r_[0.0, x.c[x.label == p]])[::-1] for p in range(x.n_labels)]
    first = np.concatenate([[0], np.cumsum([len(r) for r in runs])]).astype(np.int64)
    levels = Levels(np.concatenate(runs) if runs else np.zeros(0), first)
    level = np.empty(len(x.c), np.int64)
    for p, run in enumerate(runs):
        mine = x.label == p
        level[mine] = first[p] + len(run) - 1 - np.searchsorted(run[::-1], x.c[mine])
    g, n = x.n_groups, len(levels.value)
    cell = x.group * n + level
    return levels, _add(cell, x.weight, g * n).reshape(g, n), _add(cell, x.weight * positive, g * n).reshape(g, n)


def mass_recall(x: Sampled, cut: Floats, tau: Floats, top: Floats) -> tuple[Floats, Floats]:
    """Share of the activation mass on which the label fires: [P] over all and [P, 10] by stratum; nan where there is no mass.

    A label fires where c > 0 and c >= cut [P]. Mass: the sum of a over tokens with a > tau [P]. Stratum of an excerpt: the
    tenth of [0, top [P]] in which its largest a falls, the last one for what is above.
    """
    _, where = np.unique(np.stack([x.label, x.excerpt]), axis=1, return_inverse=True)
    where = where.reshape(-1)
    largest = np.zeros(int(where.max()) + 1 if len(where) else 0)
    np.maximum.at(largest, where, x.a)
    have = ~np.isnan(x.c)
    largest, x = largest[where[have]], x.known
    with np.errstate(divide="ignore", invalid="ignore"):
        tenth = np.nan_to_num(largest * (STRATA / top[x.label]), posinf=STRATA)
    cell = x.label * STRATA + np.clip(tenth, 0, STRATA - 1).astype(np.int64)
    mass = x.weight * x.a * (x.a > tau[x.label])
    fires = (x.c > 0) & (x.c >= np.nan_to_num(cut[x.label]))
    total = _add(cell, mass, x.n_labels * STRATA).reshape(-1, STRATA)
    found = _add(cell, mass * fires, x.n_labels * STRATA).reshape(-1, STRATA)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.where(total.sum(1) > 0, found.sum(1) / total.sum(1), np.nan), np.where(total > 0, found / total, np.nan))


def r2(x: Sampled, fitted: Floats) -> Floats:
    """Mean-centred R2 [P] of fitted activations [tokens]: 1 - sum w (a - f)^2 / sum w (a - m(a))^2; nan where a does not vary."""
    have = ~np.isnan(x.c)
    fitted, x = fitted[have], x.known

    def add(values: Floats) -> Floats:
        return _add(x.label, values, x.n_labels)

    with np.errstate(divide="ignore", invalid="ignore"):
        mean = add(x.weight * x.a) / add(x.weight)
        sst = add(x.weight * np.square(x.a - mean[x.label]))
        return np.where(sst > 0, 1 - add(x.weight * np.square(x.a - fitted)) / sst, np.nan)


def compare(x: Sampled, first: Floats, second: Floats, confidence: float = 0.975) -> Difference:
    """rho of one label minus rho of another on the same sample (c [tokens] each), with the paired interval.

    Tokens for which either has no value are left out of both.
    """
    both = ~np.isnan(first + second)
    one, two = (x.with_strength(np.where(both, c, np.nan)) for c in (first, second))
    return paired_rho(influence(sums(one)), influence(sums(two)), confidence)


def _add(cell: Ints, values: Floats, n: int) -> Floats:
    """Sums of values by cell, [n]."""
    return np.bincount(cell, values, n).astype(np.float64)
