"""A sample of windows drawn where a unit is active: priority sampling (Duffield, Lund and Thorup 2007, J. ACM 54:6).

Of each unit the 64 windows with the largest s_i / u_i are kept: s_i = sqrt(sum_t (a - m)^2) with m, the mean of a, from
explain, and u_i one uniform number per window, shared by all units, a hash of the seed and the excerpt id.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling.bags import BatchBags
from autolabel.sampling.best import Best
from autolabel.stats.uniform import uniform

SIZE = 64


class Priority:
    """Of U units on one split. mean [U]: of a on explain."""

    def __init__(self, mean: Tensor, seed: int, device: torch.device) -> None:
        self.mean, self.seed, self.device = mean.float().to(device), seed, device
        self.best = Best(len(mean), SIZE, 0, device)

    def add(self, a: Tensor, bags: BatchBags, ids: Tensor, u: Tensor) -> None:
        """a [B * T', U] >= 0, overwritten; ids and u [B]."""
        torch.sub(a, self.mean, out=a)
        torch.square(a, out=a)
        s = bags.windows.sum(a).sqrt_()
        self.best.add(s.div_(u[:, None]), ids, _no_rows)

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """s, id and key [U, 64], the largest key first; key 0 where there are fewer windows."""
        key, ids, _ = self.best.result()
        there = key > 0
        s = np.where(there, key.astype(np.float64) * uniform(self.seed, np.where(there, ids, 0)), 0.0)
        return s, ids, key.astype(np.float64)


def _no_rows(_b: Tensor, _cell: Tensor) -> Tensor:
    raise AssertionError("the priority sample keeps no rows")
