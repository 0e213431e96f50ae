"""A sample of windows drawn where a unit is active: priority sampling (Duffield, Lund and Thorup 2007, J. ACM 54:6).

Of each unit the 64 windows with the largest s_i / u_i are kept: s_i = sqrt(sum_t (a - m)^2) with m, the mean of a, from
explain, and u_i one uniform number per window, shared by all units, a hash of the seed and the excerpt id.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling.best import Best
from autolabel.stats.uniform import uniform

SIZE = 64


class Priority:
    """Of U units on one split. mean [U]: of a on explain."""

    def __init__(self, mean: Tensor, seed: int, device: torch.device) -> None:
        self.mean, self.seed, self.device = mean.float().to(device), seed, device
        self.best = Best(len(mean), SIZE, 0, device)

    def spread(self, a: Tensor, special: Tensor | None) -> Tensor:
        """[b, U] sums of (a - m)^2 of windows a [b, t, U] >= 0, which are overwritten; the tokens `special` [b, t] do not count."""
        torch.sub(a, self.mean, out=a)
        if special is not None:
            a[special] = 0
        return torch.square(a, out=a).sum(1)

    def add(self, square: Tensor, ids: Tensor, u: Tensor) -> None:
        """square [B, U]: s^2, overwritten; ids and u [B]."""
        self.best.add(square.sqrt_().div_(u[:, None]), ids, _no_rows)

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """s, id and key [U, 64], the largest key first; key 0 where there are fewer windows."""
        key, ids, _ = self.best.result()
        there = key > 0
        s = np.where(there, key.astype(np.float64) * uniform(self.seed, np.where(there, ids, 0)), 0.0)
        return s, ids, key.astype(np.float64)


def _no_rows(_b: Tensor, _cell: Tensor) -> Tensor:
    raise AssertionError("the priority sample keeps no rows")
