"""Exact count, mean and variance of U columns over any number of batches.

Mean and variance of a few windows are taken in float32, in two passes, and merged in float64 about a pivot, the mean of the first windows.
Where a unit's mean is large against its spread, float32 means lose the digits that matter (Chan, Golub and LeVeque 1983,
section 3): if the first batch shows such a unit, the pivot is taken off before every sum.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.subjects.moving import moved

FAR = 30  # a mean so many standard deviations from 0 asks for the pivot


class Moments:
    """Of U columns. `pivot` is None until the first windows."""

    def __init__(self, units: int, device: torch.device) -> None:
        self.n = 0
        self.pivot: Tensor | None = None  # [U] float32
        self.shift = True  # the pivot is taken off before sums are taken
        self.sum = torch.zeros(units, dtype=torch.float64, device=device)  # of v - pivot
        self.square = torch.zeros(units, dtype=torch.float64, device=device)  # of (v - pivot)^2
        self._waiting: list[tuple[int, Tensor, Tensor]] = []  # rows, mean and variance, to be added in one go

    def add(self, v: Tensor, special: Tensor | None = None) -> None:
        """v [b, T, U], contiguous; of its tokens those that are `special` [b, T] do not count."""
        rows = v.view(-1, v.shape[-1]) if special is None else v[~special]
        if not len(rows):
            return
        if self.pivot is None:
            self.pivot = rows.double().mean(0).float()
        mean, variance = torch.batch_norm_update_stats(rows - self.pivot if self.shift else rows, None, None, 0.0)  # a third of var_mean's time
        self._waiting.append((len(rows), mean, variance))
        self.n += len(rows)

    def settle(self) -> None:
        """Add up what came since: after every batch, so that the sums do not depend on when they are looked at."""
        if not self._waiting or self.pivot is None:
            return
        rows, means, variances = zip(*self._waiting, strict=True)
        count = moved(torch.tensor(rows, dtype=torch.float64), self.sum.device)
        mean = torch.stack(means).double()
        if not self.shift:
            mean -= self.pivot
        first = self.n == sum(rows)
        self.sum += count @ mean
        self.square += count @ torch.stack(variances).double().add_(mean.square_())
        self._waiting = []
        if first:
            self.shift = bool((self.pivot.double().square() * self.n > FAR**2 * self.square).any())

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
        return {"n": np.array(self.n), "shift": np.array(self.shift), "sum": self.sum.cpu().numpy(), "square": self.square.cpu().numpy(), **pivot}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        self.n, self.shift = int(state["n"]), bool(state.get("shift", True))
        self.sum.copy_(torch.from_numpy(state["sum"]))
        self.square.copy_(torch.from_numpy(state["square"]))
        self.pivot = torch.from_numpy(state["pivot"].copy()).to(self.sum.device) if "pivot" in state else None
