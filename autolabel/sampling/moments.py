"""Exact count, mean and variance of U columns over any number of batches.

Sums of a few tokens are taken in float32 and merged in float64 about a pivot, the mean of the first tokens. Where a unit's mean is large
against its spread, float32 sums lose the digits that matter (Chan, Golub and LeVeque 1983, section 3), so the pivot is taken off before every
sum; on an accelerator, where that costs a pass over memory, only if the first batch shows such a unit.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling.kernels import STRETCH
from autolabel.sampling.work import Content

FAR = 30  # a mean so many standard deviations from 0 asks for the pivot


class Moments:
    """Of U columns. `pivot` is None until the first windows."""

    def __init__(self, units: int, device: torch.device) -> None:
        self.n = 0
        self.pivot: Tensor | None = None  # [U] float32
        self.shift = True  # the pivot is taken off before sums are taken (on an accelerator; kernels always do)
        self.sum = torch.zeros(units, dtype=torch.float64, device=device)  # of v - pivot
        self.square = torch.zeros(units, dtype=torch.float64, device=device)  # of (v - pivot)^2

    def about(self, content: Content, sign: int) -> NDArray[np.float32]:
        """[U] the pivot, which is the mean of x (sign 0) or of a over the first tokens of the first batch (on a CPU)."""
        if self.pivot is None:
            first = torch.from_numpy(content.flat[np.sort(content.read().at)[:STRETCH]]).double()
            self.pivot = ((first * sign).clamp_min_(0) if sign else first).mean(0).float()
        pivot: NDArray[np.float32] = self.pivot.numpy()
        return pivot

    def add(self, v: Tensor, kept: Tensor | None = None) -> None:
        """v [B, T, U]; of its B * T tokens those that are `kept` [n] count, all where it is None (on an accelerator)."""
        some = v if kept is None else v.reshape(-1, v.shape[-1]).index_select(0, kept)  # [B, T, U] or [n, U]
        if not len(some):
            return
        first = self.pivot is None
        if self.pivot is None:
            self.pivot = some.double().view(-1, v.shape[-1]).mean(0).float()
        variance, mean = torch.var_mean(some - self.pivot if self.shift else some, 0, correction=0)  # over windows: [T, U], or [U]
        off = mean.double() if self.shift else mean - self.pivot.double()
        n = len(some)
        self.n += some.numel() // v.shape[-1]
        self.sum.add_(off.view(-1, v.shape[-1]).sum(0), alpha=n)
        self.square.add_(off.square_().add_(variance).view(-1, v.shape[-1]).sum(0), alpha=n)
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
