"""Counts by level of strength: the ragged table from which precision, recall, AUPRC and isotonic calibration are read.

A pattern predicts few distinct strengths, so tokens tied at one strength are one step of every curve and P labels need only
sum over labels of (levels) counts, flat, each label a run of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Levels:
    """The strengths that P labels can predict, flat: label p owns [first[p], first[p + 1]), strongest first, 0 last."""

    value: Floats  # [L] strength in [0, 1]
    first: Ints  # [P + 1]

    @classmethod
    def build(cls, strengths: Sequence[Collection[float]]) -> Levels:
        """One list of strengths per label, in any order; 0 is added to each."""
        runs = [sorted({0.0, *s}, reverse=True) for s in strengths]
        first = np.concatenate([[0], np.cumsum([len(r) for r in runs])]).astype(np.int64)
        return cls(np.array([v for r in runs for v in r], np.float64), first)

    def take(self, rows: Ints) -> Levels:
        """The levels of some labels, in that order, any label any number of times."""
        length = np.diff(self.first)[rows]
        first = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        return Levels(self.value[np.arange(first[-1]) + np.repeat(self.first[rows] - first[:-1], length)], first)

    @cached_property
    def label(self) -> Ints:
        """[L] which label each level belongs to."""
        return np.repeat(np.arange(len(self.first) - 1, dtype=np.int64), np.diff(self.first))

    def per_label(self, x: Floats) -> Floats:
        """Sum over the levels of each label: [..., L] -> [..., P]."""
        if len(self.first) == 1:
            return np.zeros((*x.shape[:-1], 0))
        out: Floats = np.add.reduceat(x, self.first[:-1], axis=-1)
        return out

    def cumulate(self, x: Floats) -> Floats:
        """Running sum from the strongest level of each label: [..., L] -> [..., L]."""
        total = np.cumsum(x, axis=-1)
        start = np.concatenate([np.zeros((*x.shape[:-1], 1)), total], axis=-1)[..., self.first[:-1]]
        out: Floats = total - np.repeat(start, np.diff(self.first), axis=-1)
        return out
