"""A simulator around a simulator: levels become activations, by a map fitted on *select* (Bills et al. 2023, "calibration").

`linear` is a + b c by weighted least squares; `isotonic` the rising step-and-line fit (Barlow et al. 1972). One map belongs to
one label of one unit. Correlation does not change under a rising line; R2 and ablation need activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autolabel.errors import CorpusError
from autolabel.protocols import Simulator
from autolabel.registry import part
from autolabel.stats.calibrate import isotonic_curve
from autolabel.stats.correlation import Floats
from autolabel.types import Excerpt, Simulation

Method = Literal["linear", "isotonic"]


@dataclass(frozen=True)
class Calibrated:
    """Predicts in the unit's own activation: the line or curve through `knots` applied to what `inner` says."""

    method: Method = "linear"
    knots: tuple[tuple[float, float], ...] = ()  # (what the simulator says, activation), ascending; two of them for a line
    inner: Simulator | None = part()

    def simulate(self, label: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        """What `inner` says of this label, on the scale `activation`; no value stays no value."""
        if self.inner is None:
            raise ValueError("a calibrated simulator needs the simulator that it is around")
        return [Simulation(s.excerpt, self.map(s.expected), "activation", s.failure, s.reply) for s in self.inner.simulate(label, excerpts)]

    def map(self, expected: Sequence[float | None]) -> tuple[float | None, ...]:
        """Values of the simulator -> activations."""
        x, y = (np.array([k[i] for k in self.knots]) for i in (0, 1))
        c = np.array([np.nan if v is None else v for v in expected], np.float64)
        if self.method == "linear":
            out = y[0] + (c - x[0]) * ((y[1] - y[0]) / (x[1] - x[0]))
        else:
            out = np.where(np.isnan(c), np.nan, np.interp(c, x, y))
        return tuple(None if np.isnan(v) else v for v in out.tolist())


def fit(inner: Simulator, c: Floats, a: Floats, weight: Floats, method: Method = "linear") -> Calibrated:
    """The map from c to a [tokens] of *select* (weight 1/pi; nan: no value, left out). Raises CorpusError where c does not vary."""
    have = ~np.isnan(c)
    c, a, w = c[have], a[have], weight[have]
    if not len(c) or not np.ptp(c) > 0:
        raise CorpusError("the simulator says the same of every token on select: it cannot be calibrated")
    if method == "isotonic":
        x, y = isotonic_curve(c, a, w)
        return Calibrated(method, tuple(zip(x.tolist(), y.tolist(), strict=True)), inner)
    mc, ma = np.average(c, weights=w), np.average(a, weights=w)
    slope = float(np.average((c - mc) * (a - ma), weights=w) / np.average((c - mc) ** 2, weights=w))
    x0, x1 = float(c.min()), float(c.max())
    return Calibrated(method, tuple((x, float(ma + slope * (x - mc))) for x in (x0, x1)), inner)
