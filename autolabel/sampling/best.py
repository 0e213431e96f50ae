"""The K best windows of each of N cells (a cell: a unit, or a stratum of a unit), with a row of T numbers each.

Best: the largest value, ties to the smaller excerpt id; so the result is a function of the set of windows alone, whatever their order
or the batch size. On a CPU a window that is better than the worst one kept takes its place at once; after n windows that is K/n of
the time. On an accelerator a test would wait for the device at every batch: there each batch is merged densely (`DenseBest`), with
the same result.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling import kernels
from autolabel.sampling.kernels import NOBODY
from autolabel.sampling.work import LOW, Content

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
FLOOR = float(np.finfo(np.float32).tiny)  # an empty place has value 0; what is below this never enters


class Best:
    """Values are > 0. `width` 0: no rows are kept; rows shorter than `width` are filled up with nan."""

    def __init__(self, cells: int, k: int, width: int, device: torch.device) -> None:
        self.cells, self.k, self.width, self.device = cells, k, width, device
        self.value = torch.zeros(cells, k, device=device)  # 0 where empty
        self.id = torch.full((cells, k), NOBODY, dtype=torch.int64, device=device)
        self.rows = torch.zeros(cells, k, width, device=device)
        self.refresh()

    def refresh(self) -> None:
        """What follows from the values."""
        order = self._order()
        worst = order[:, -1]
        self.worst: Ints = np.ascontiguousarray(worst)
        self.bar: Floats = np.maximum(self.value.numpy()[np.arange(self.cells), worst], np.float32(FLOOR))

    def add(self, value: Tensor, content: Content, sign: int) -> None:
        """value [B, cells] of the windows of the content; a cell is a unit."""
        kernels.keep(value.numpy(), content.work.ids, *content.windows(sign), *self.places())

    def places(self) -> tuple[Floats, Ints, Floats, Floats, Ints]:
        """What a kernel writes into."""
        return self.value.numpy(), self.id.numpy(), self.rows.numpy(), self.bar, self.worst

    def largest(self) -> Floats:
        """[cells] the largest value, 0 where there is none."""
        best: Floats = self.value.amax(1).float().cpu().numpy()
        return best

    def result(self) -> tuple[Floats, Ints, Floats]:
        """value [cells, K] (0 where there is none), id [cells, K], rows [cells, K, T]; best first."""
        order, cell = self._order(), np.arange(self.cells)[:, None]
        return self.value.numpy()[cell, order], self.id.numpy()[cell, order], self.rows.numpy()[cell, order]

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was kept, in order."""
        value, ids, rows = self.result()
        return {"value": value, "id": ids, "rows": rows}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        for kept, name in ((self.value, "value"), (self.id, "id"), (self.rows, "rows")):
            kept.copy_(torch.from_numpy(state[name]))
        self.refresh()

    def _order(self) -> Ints:
        return np.lexsort((self.id.numpy(), -self.value.numpy()), axis=1)


class DenseBest(Best):
    """The same on an accelerator: nothing waits for it.

    A float32 >= 0 as a float64 ends in 29 bits of 0 and compares as its bits do. Into these goes the place in the order of ids, which makes
    an integer that no two windows share; one `topk` of those kept and those that came is the merge.
    """

    def __init__(self, cells: int, k: int, width: int, device: torch.device) -> None:
        super().__init__(cells, k, width, device)
        self.value = self.value.double()
        self._zero = torch.zeros(1, dtype=torch.float64, device=device)
        self._places = LOW - torch.arange(k, device=device)  # [K]
        self._unit: Tensor | None = None  # [cells * K] unit of each place

    def refresh(self) -> None:
        """Nothing: values are always in order."""

    def add(self, value: Tensor, content: Content, sign: int) -> None:
        """value [B, cells]; unit = cell modulo the units of the content."""
        k, batch = self.k, content.work.on(self.device)
        # of the n-th smallest id in the batch: n (K + 1) + K; of one kept that n of the batch are smaller than: n (K + 1) + its place
        old = self.value.view(torch.int64) | torch.sub(self._places, torch.searchsorted(batch.ascending, self.id), alpha=k + 1)
        new = torch.fmax(value, self._zero).view(torch.int64) | batch.low(k)
        key, chosen = torch.topk(torch.cat([old, new.T], 1), k, dim=1)
        self.value = (key & ~LOW).view(torch.float64)
        self.id = torch.cat([self.id, batch.ids.expand(self.cells, -1)], 1).gather(1, chosen)
        if self.width:
            self.move(chosen, (chosen - k).clamp_min_(0), content, sign)

    def move(self, chosen: Tensor, window: Tensor, content: Content, sign: int) -> None:
        """Rows [cells, K]: of those chosen the first K were kept; the others are windows of the content (any where kept)."""
        if self._unit is None:
            self._unit = (torch.arange(self.cells, device=self.device) % content.units).repeat_interleave(self.k)
        rows = content.rows(sign, window.view(-1), self._unit).view(self.cells, self.k, -1)
        if rows.shape[2] < self.width:
            rows = torch.nn.functional.pad(rows, (0, self.width - rows.shape[2]), value=torch.nan)
        old = self.rows.gather(1, chosen.clamp_max(self.k - 1)[:, :, None].expand(-1, -1, self.width))
        self.rows = torch.where((chosen < self.k)[:, :, None], old, rows)

    def result(self) -> tuple[Floats, Ints, Floats]:
        """As `Best.result`."""
        value, ids, rows = (part.cpu().numpy() for part in (self.value.float(), self.id, self.rows))
        there = value >= FLOOR
        rows[~there] = 0
        return np.where(there, value, np.float32(0)), np.where(there, ids, NOBODY), rows


def best_for(device: torch.device) -> type[Best]:
    """The one that is fast there."""
    return Best if device.type == "cpu" else DenseBest
