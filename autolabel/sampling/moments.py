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
        self._apart: Tensor | None = None  # [2, T, U] more of both, by position: added up when they are read
        self._origin = torch.zeros_like(self.sum)  # [U] what is still to be taken off

    def about(self, content: Content, sign: int) -> NDArray[np.float32]:
        """[U] the pivot, which is the mean of x (sign 0) or of a over the first tokens of the first batch (on a CPU)."""
        if self.pivot is None:
            first = torch.from_numpy(content.flat[content.read().at[:STRETCH]]).double()
            self.pivot = ((first * sign).clamp_min_(0) if sign else first).mean(0).float()
        pivot: NDArray[np.float32] = self.pivot.numpy()
        return pivot

    def add(self, v: Tensor, kept: Tensor | None = None) -> Tensor | None:
        """v [B, T, U]; of its B * T tokens those that are `kept` [n] count, all where it is None (on an accelerator).

        The mean of v by position [T, U], where all count.
        """
        units = v.shape[-1]
        some = v if kept is None else v.reshape(-1, units).index_select(0, kept)[:, None]  # [B, T, U] or [n, 1, U]
        if not len(some):
            return None
        first = self.pivot is None
        if self.pivot is None:
            self.pivot = some.double().mean((0, 1)).float()
        variance, mean = torch.var_mean(some - self.pivot if self.shift else some, 0, correction=0)  # over windows
        n, off = len(some), mean - self._origin
        total, square = self._room(len(mean))
        total.add_(off, alpha=n)
        square.addcmul_(off, off, value=n).add_(variance, alpha=n)
        self.n += n * len(mean)
        by_position = None if kept is not None else mean + self.pivot if self.shift else mean
        if first:
            self._settle()
            self.shift = bool((self.pivot.double().square() * self.n > FAR**2 * self.square).any())
            if not self.shift:
                self._origin = self.pivot.double()
        return by_position

    def _room(self, length: int) -> Tensor:
        if self._apart is None or self._apart.shape[1] < length:
            self._settle()
            self._apart = self.sum.new_zeros(2, length, len(self.sum))
        return self._apart[:, :length]

    def _settle(self) -> None:
        if self._apart is not None:
            total, square = self._apart.sum(1)
            self.sum.add_(total)
            self.square.add_(square)
            self._apart = None

    def squares(self) -> NDArray[np.float64]:
        """[U] sum of (v - pivot)^2."""
        self._settle()
        return np.asarray(self.square.cpu().numpy(), np.float64)

    def mean(self) -> NDArray[np.float64]:
        """[U]"""
        return np.asarray(self.pivots() + self._shifts(), np.float64)

    def variance(self) -> NDArray[np.float64]:
        """[U] of the population, never below 0."""
        return np.asarray(np.maximum(self.squares() / max(self.n, 1) - self._shifts() ** 2, 0.0), np.float64)

    def _shifts(self) -> NDArray[np.float64]:
        self._settle()
        return np.asarray(self.sum.cpu().numpy() / max(self.n, 1), np.float64)

    def pivots(self) -> NDArray[np.float64]:
        """[U] the pivot, 0 before the first batch."""
        if self.pivot is None:
            return np.zeros(len(self.sum))
        return np.asarray(self.pivot.double().cpu().numpy(), np.float64)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was counted, in the parts that it is in: so sums do not depend on when they were asked for."""
        parts = {name: part.cpu().numpy() for name, part in (("pivot", self.pivot), ("apart", self._apart)) if part is not None}
        return {"n": np.array(self.n), "shift": np.array(self.shift), "sum": self.sum.cpu().numpy(), "square": self.square.cpu().numpy(), **parts}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        self.n, self.shift = int(state["n"]), bool(state.get("shift", True))
        self.sum.copy_(torch.from_numpy(state["sum"]))
        self.square.copy_(torch.from_numpy(state["square"]))
        self.pivot, self._apart = (torch.from_numpy(state[name].copy()).to(self.sum.device) if name in state else None for name in ("pivot", "apart"))
        if self.pivot is not None and not self.shift:
            self._origin = self.pivot.double()
