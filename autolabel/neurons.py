"""All neurons of one layer at once: the statistics of the explain split, as columns.

x is the hooked value of a neuron at a token; a = max(side * x, 0). Everything that an explainer, a threshold or a
calibration may use comes from the explain split alone (Section "What is measured" of the README).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.types import Side, Site, UnitStats

QUANTILES: tuple[float, ...] = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LayerStats:
    """U units: one layer, one side. Every array is [U]."""

    site: Site
    side: Side
    n_tokens: int  # tokens of explain
    x_mean: Floats  # of x, not of a
    x_std: Floats
    x_min: Floats
    x_max: Floats
    mean: Floats  # of a
    std: Floats  # of a
    max: Floats  # of a
    firing_rate: Floats  # share of tokens with a > 0
    active_rate: Floats  # share of tokens with a > tau
    quantiles: Floats  # [U, len(QUANTILES)] of a, from the shared random set of explain tokens
    lexicality: Floats  # eta squared of the token type; nan where it cannot be said

    @property
    def tau(self) -> Floats:
        """[U] .2 * max: what counts as active."""
        return 0.2 * self.max

    @property
    def tau99(self) -> Floats:
        """[U] the 99th percentile of a; 0 where that is 0 (then a > 0 counts): what counts as strong."""
        return self.quantiles[:, QUANTILES.index(0.99)]

    def unit(self, index: int, top_tokens: tuple[str, ...] = ()) -> UnitStats:
        """The statistics of one unit as a value."""
        eta = float(self.lexicality[index])
        return UnitStats(self.n_tokens, float(self.firing_rate[index]), float(self.active_rate[index]), float(self.mean[index]),
                         float(self.std[index]), float(self.x_min[index]), float(self.max[index]), float(self.tau[index]),
                         float(self.tau99[index]), tuple(self.quantiles[index].tolist()), None if np.isnan(eta) else eta, top_tokens)


@dataclass(frozen=True)
class TypeMeans:
    """Mean activation by token type and by position, of all units of one layer and side, from the explain split.

    Only types inside the tables of the extraction have a row (the most frequent ones of explain; all of them where they fit).
    """

    types: NDArray[np.int64]  # [R] token ids, ascending
    count: NDArray[np.int64]  # [R] how often each occurs in explain
    mean: NDArray[np.float32]  # [R, U] mean of a over its occurrences
    position_count: NDArray[np.int64]  # [T] eligible tokens at each position of the window
    position_mean: NDArray[np.float32]  # [T, U] mean of a over the eligible tokens; eligible: the type has a row and count >= 5
