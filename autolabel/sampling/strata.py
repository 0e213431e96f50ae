"""How excerpts spread over ten equal steps of the excerpt maximum, and two excerpts of each step, per unit.

The steps run from 0 to the largest maximum among the first 256 excerpts in hash order; what lies above belongs to the last.
Ids are uniform hashes, so the two smallest ids of a stratum are a uniform random choice from it: weight = count / 2.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling import kernels
from autolabel.sampling.best import best_for
from autolabel.sampling.work import Content

STRATA = 10
PER_STRATUM = 2
HEAD = 256  # excerpts that fix the steps


class Strata:
    """Of U units. `top` [U]: the upper end of the last step; where it is 0 whatever fires is in the last."""

    def __init__(self, top: Tensor, context: int, device: torch.device) -> None:
        self.units = len(top)
        self.top = top.to(device).clamp(min=1e-30)  # its inverse must be a float
        self.count = torch.zeros(STRATA * self.units, dtype=torch.int64, device=device)
        self.best = best_for(device)(STRATA * self.units, PER_STRATUM, context, device)
        self._column = torch.arange(self.units, device=device)
        self._scale = STRATA / self.top

    def add(self, peak: Tensor, content: Content, sign: int) -> None:
        """peak [B, U] largest x of each window (below 0 counts as 0)."""
        ids, _ = content.work.on(peak.device)
        value = nearness(ids)
        if content.on_cpu:
            kernels.stratify(peak.numpy(), self._scale.numpy(), value.numpy(), content.work.ids, *content.windows(sign),
                             self.count.numpy(), *self.best.places())
            return
        step = (peak * self._scale).nan_to_num_(0.0).clamp_(0, STRATA - 1).to(torch.int64)
        cell = step.mul_(self.units).add_(self._column)
        self.count.scatter_add_(0, cell.reshape(-1), torch.ones_like(cell).reshape(-1))
        every = torch.zeros(len(peak), STRATA * self.units, device=peak.device)
        self.best.add(every.scatter_(1, cell, value[:, None].expand(-1, self.units)), content, sign)

    def counts(self) -> NDArray[np.int64]:
        """[strata, U] excerpts in each stratum."""
        return np.asarray(self.count.reshape(STRATA, self.units).cpu().numpy(), np.int64)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was counted and kept."""
        return {"top": self.top.cpu().numpy(), "count": self.count.cpu().numpy(), **{f"best.{k}": v for k, v in self.best.state().items()}}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        self.top = torch.from_numpy(state["top"].copy()).to(self.top.device)
        self._scale = STRATA / self.top
        self.count.copy_(torch.from_numpy(state["count"]))
        self.best.load({k.removeprefix("best."): v for k, v in state.items() if k.startswith("best.")})


def nearness(ids: Tensor) -> Tensor:
    """[B] float32 in (0, 1], larger for smaller ids (which `Best` keeps); equal ones are told apart by the id itself."""
    return (1.0 - ids.double() / 2.0**63).clamp(min=2.0**-63).float()
