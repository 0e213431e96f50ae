"""Samples that grow until the interval is short enough, and what that costs in confidence.

Start with n = 40 excerpts and add 16 until the half-width is at most .1 or n reaches the cap. An interval that decides when
to stop is too short at its nominal level (stopping on a plain 95 % interval from n = 24 covered .868), so while the sample
may grow the quantile of t is taken at 97 % and used and reported (measured coverage 95.6 %), and p_size is taken times 5/3
(Jennison and Turnbull 1999 on repeated looks; here they are few, and the price is measured).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from autolabel.stats.correlation import Correlation, Floats
from autolabel.stats.levels import Ints

ENOUGH_DF = 6.0
TOO_WIDE = 0.15  # half-width at the cap above which a score is imprecise


@dataclass(frozen=True)
class Budget:
    """How many excerpts a label may cost."""

    start: int = 40
    step: int = 16
    cap: int = 120
    half_width: float = 0.1  # of the interval of rho: precise enough

    def __post_init__(self) -> None:
        if not (0 < self.start <= self.cap and self.step > 0 and self.half_width > 0):
            raise ValueError(f"a budget of {self.start} excerpts, {self.step} more each time, {self.cap} at most, is none")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The n of each look: start, start + step, ..., the cap last."""
        return (*range(self.start, self.cap, self.step), self.cap)

    @property
    def adaptive(self) -> bool:
        """Whether there is more than one look."""
        return self.cap > self.start

    @property
    def confidence(self) -> float:
        """At which the interval is computed, to hold at 95 %."""
        return 0.97 if self.adaptive else 0.95


@dataclass(frozen=True)
class Grown:
    """What a growing sample ended in. Arrays are [P]."""

    result: Correlation
    n: Ints  # excerpts asked for at the last look
    looks: Ints


Measure = Callable[[Ints, int, float], Correlation]  # (labels [Q], n, confidence) -> their correlations [Q] on samples of n


def half_width(r: Correlation) -> Floats:
    """[P] of the interval on the scale of rho; nan where there is none."""
    return (r.high - r.low) / 2


def sequential(measure: Measure, n_labels: int, budget: Budget = Budget()) -> Grown:
    """Look at growing samples; each round only at labels that are not yet precise enough."""
    columns: dict[str, Floats] = {}
    n, looks = np.zeros(n_labels, np.int64), np.zeros(n_labels, np.int64)
    open_ = np.arange(n_labels, dtype=np.int64)
    for size in budget.sizes:
        if not len(open_):
            break
        now = measure(open_, size, budget.confidence)
        for f in fields(Correlation):
            value = getattr(now, f.name)
            columns.setdefault(f.name, np.zeros(n_labels, value.dtype))[open_] = value
        n[open_], looks[open_] = size, looks[open_] + 1
        open_ = open_[~(half_width(now) <= budget.half_width)]
    empty = {f.name: np.zeros(0) for f in fields(Correlation)}
    return Grown(Correlation(**(columns or empty)), n, looks)


def imprecision(r: Correlation) -> list[str | None]:
    """Why each of P sampled scores is not to be relied on, at the end of its budget; None where it is."""
    out: list[str | None] = []
    for df, half in zip(r.df.tolist(), half_width(r).tolist(), strict=True):
        out.append(f"the interval rests on {df:.1f} degrees of freedom, fewer than {ENOUGH_DF:.0f}" if not df >= ENOUGH_DF
                   else f"the interval is +-{half:.2f} wide at the end of the budget, more than {TOO_WIDE}" if not half <= TOO_WIDE else None)
    return out
