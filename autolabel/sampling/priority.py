"""A sample of windows drawn where a unit is active: priority sampling (Duffield, Lund and Thorup 2007, J. ACM 54:6).

Of each unit the 64 windows with the largest s_i / u_i are kept: s_i = sqrt(sum_t (a - m)^2) with m, the mean of a, from
explain, and u_i one uniform number per window, shared by all units, a hash of the seed and the excerpt id.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling import kernels
from autolabel.sampling.best import best_for
from autolabel.sampling.work import Content
from autolabel.stats.uniform import uniform

SIZE = 64


class Priority:
    """Of U units on one split. mean [U]: of a on explain."""

    def __init__(self, mean: Tensor, seed: int, device: torch.device) -> None:
        self.mean, self.seed = mean.float().to(device), seed
        self.best = best_for(device)(len(mean), SIZE, 0, device)

    def add(self, content: Content, sign: int) -> Tensor:
        """One batch; the largest a of each window, [B, U]."""
        u = content.work.on(content.x.device).uniform
        assert u is not None
        if content.on_cpu:
            peak, spread, tokens = content.per_window(0.0), content.per_window(0.0), content.read()
            kernels.spread(content.flat, tokens.at, tokens.window, sign, self.mean.numpy(), peak.numpy(), spread.numpy())
            spread.sqrt_()
        else:
            a, special = content.a(sign), content.work.lists(content.x.device).special
            peak = a.amax(1)
            off = a.sub_(self.mean)
            spread = torch.linalg.vector_norm(off if special is None else off.masked_fill_(special[..., None], 0), dim=1)
        self.best.add(spread.div_(u[:, None]), content, sign)
        return peak

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """s, id and key [U, 64], the largest key first; key 0 where there are fewer windows."""
        key, ids, _ = self.best.result()
        there = key > 0
        s = np.where(there, key.astype(np.float64) * uniform(self.seed, np.where(there, ids, 0)), 0.0)
        return s, ids, key.astype(np.float64)

