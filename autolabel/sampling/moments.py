"""Exact count, mean and variance of U columns over any number of batches.

Sums of v - p and (v - p)^2 are taken in float32 over a batch and added up in float64. The pivot p,
the mean of the first batch, keeps every digit where a neuron's mean is large against its spread; without it the variance
of such a neuron drowns in rounding (Chan, Golub and LeVeque 1983, section 3).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling.bags import Bags


class Moments:
    """Of U columns. `pivot` is None until the first batch."""

    def __init__(self, units: int, device: torch.device) -> None:
        self.n = 0
        self.pivot: Tensor | None = None  # [U] float32
        self.sum = torch.zeros(units, dtype=torch.float64, device=device)  # of v - pivot
        self.square = torch.zeros(units, dtype=torch.float64, device=device)  # of (v - pivot)^2

    def add(self, v: Tensor, out: Tensor, bags: Bags, outside: Tensor | None = None) -> Tensor:
        """v [rows, U], of which the rows of `bags` count and `outside` [m] are all others; `out`, of the same shape (v itself if it may be
        overwritten), becomes v - pivot, 0 outside, and is returned."""
        n = int(bags.counts.sum())
        if self.pivot is None:
            self.pivot = (bags.sum(v).double().sum(0) / max(n, 1)).float()
        torch.sub(v, self.pivot, out=out)
        if outside is not None:
            out[outside] = 0
        mean, variance = torch.batch_norm_update_stats(out, None, None, 0.0)  # a third of the time of torch.var_mean
        mean = mean.double()
        self.sum += mean * len(out)
        self.square += (variance.double() + mean * mean) * len(out)
        self.n += n
        return out

    def mean(self) -> NDArray[np.float64]:
        """[U]"""
        return np.asarray(self.pivots() + self.sum.cpu().numpy() / max(self.n, 1), np.float64)

    def variance(self) -> NDArray[np.float64]:
        """[U] of the population, never below 0."""
        shift = self.sum.cpu().numpy() / max(self.n, 1)
        return np.asarray(np.maximum(self.square.cpu().numpy() / max(self.n, 1) - shift * shift, 0.0), np.float64)

    def pivots(self) -> NDArray[np.float64]:
        """[U] the pivot, 0 before the first batch."""
        if self.pivot is None:
            return np.zeros(len(self.sum))
        return np.asarray(self.pivot.double().cpu().numpy(), np.float64)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was counted."""
        pivot = {} if self.pivot is None else {"pivot": self.pivot.cpu().numpy()}
        return {"n": np.array(self.n), "sum": self.sum.cpu().numpy(), "square": self.square.cpu().numpy(), **pivot}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        self.n = int(state["n"])
        self.sum.copy_(torch.from_numpy(state["sum"]))
        self.square.copy_(torch.from_numpy(state["square"]))
        self.pivot = torch.from_numpy(state["pivot"].copy()).to(self.sum.device) if "pivot" in state else None
