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
from autolabel.sampling.best import DenseBest, best_for
from autolabel.sampling.kernels import NOBODY
from autolabel.sampling.work import Content

STRATA = 10
PER_STRATUM = 2
HEAD = 256  # excerpts that fix the steps


class Strata:
    """Of U units. The steps must be known before anything is added."""

    def __init__(self, units: int, context: int, device: torch.device) -> None:
        self.units = units
        self.count = torch.zeros(STRATA * self.units, dtype=torch.int64, device=device)
        self.best = best_for(device)(STRATA * self.units, PER_STRATUM, context, device)
        self._first = torch.arange(PER_STRATUM, device=device)
        self._bounds: dict[int, Tensor] = {}

    def steps(self, top: Tensor) -> None:
        """top [U]: the upper end of the last step; where it is 0 whatever fires is in the last."""
        self.top = top.to(self.count.device).clamp(min=1e-30)  # its inverse must be a float
        self._scale = STRATA / self.top

    def add(self, peak: Tensor, content: Content, sign: int) -> None:
        """peak [B, U] largest x of each window (below 0 counts as 0)."""
        batch = content.work.on(peak.device)
        if content.on_cpu:
            kernels.stratify(peak.numpy(), self._scale.numpy(), nearness(batch.ids).numpy(), content.work.ids, *content.windows(sign),
                             self.count.numpy(), *self.best.places())
            return
        assert isinstance(self.best, DenseBest)
        n, best = len(peak), self.best
        step = (peak * self._scale).clamp_(0, STRATA - 1).to(torch.int32)
        # the windows of a unit by stratum and, within one, by id; the first two of each stratum are its smallest
        code = torch.topk(torch.add(batch.short_rank, step, alpha=n).T, n, dim=1, largest=False).values  # [U, B]
        start = torch.searchsorted(code, self._starts(n))  # [U, strata + 1]
        came = start.diff().T.reshape(-1, 1)  # [cells, 1]
        self.count += came.view(-1)
        places = torch.add(start[:, :-1, None], self._first).clamp_max_(n - 1).view(self.units, -1)
        found = code.gather(1, places).remainder_(n).view(self.units, STRATA, -1).transpose(0, 1)
        found = found.to(torch.int64, memory_format=torch.contiguous_format).view(-1, PER_STRATUM)  # [cells, 2] ranks
        ids = torch.where(self._first < came, batch.ascending[found], NOBODY)
        best.id, chosen = torch.topk(torch.cat([best.id, ids], 1), PER_STRATUM, dim=1, largest=False)
        best.move(chosen, batch.order[found.gather(1, (chosen - PER_STRATUM).clamp_min_(0))], content, sign)

    def _starts(self, n: int) -> Tensor:
        """[U, strata + 1] the smallest code of each stratum where a batch has n windows."""
        if n not in self._bounds:
            self._bounds[n] = torch.arange(0, STRATA * n + 1, n, dtype=torch.int32, device=self.count.device).expand(self.units, -1).contiguous()
        return self._bounds[n]

    def counts(self) -> NDArray[np.int64]:
        """[strata, U] excerpts in each stratum."""
        return np.asarray(self.count.reshape(STRATA, self.units).cpu().numpy(), np.int64)

    def result(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """As `Best.result`, of cells stratum * U + unit."""
        # what compares ids does not need this
        self.best.value.copy_(nearness(self.best.id).masked_fill_(self.best.id == NOBODY, 0))
        return self.best.result()

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was counted and kept."""
        value, ids, rows = self.result()
        best: dict[str, np.ndarray] = {"best.value": value, "best.id": ids, "best.rows": rows}
        return {"top": self.top.cpu().numpy(), "count": self.count.cpu().numpy(), **best}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        self.steps(torch.from_numpy(state["top"].copy()))
        self.count.copy_(torch.from_numpy(state["count"]))
        self.best.load({k.removeprefix("best."): v for k, v in state.items() if k.startswith("best.")})


def nearness(ids: Tensor) -> Tensor:
    """[B] float32 in (0, 1], larger for smaller ids (which `Best` keeps); equal ones are told apart by the id itself."""
    return (1.0 - ids.double() / 2.0**63).clamp(min=2.0**-63).float()
